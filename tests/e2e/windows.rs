//! A rule holds at the times it names, by the service's own clock, and from one moment to the next.

use std::time::Duration;

use ::attache::control;
use ::attache::control::api::{AnswerApprovalRequest, Verdict};
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::support::{Ask, PROTOCOLS, Place, Protocol, Way, until};

/// The time of day in a zone, so long from now.
fn clock(zone: &str, from_now: SignedDuration) -> String {
    later(zone, from_now).strftime("%H:%M").to_string()
}

fn later(zone: &str, from_now: SignedDuration) -> Zoned {
    Timestamp::now().checked_add(from_now).unwrap().to_zoned(TimeZone::get(zone).unwrap())
}

fn day(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "mon",
        Weekday::Tuesday => "tue",
        Weekday::Wednesday => "wed",
        Weekday::Thursday => "thu",
        Weekday::Friday => "fri",
        Weekday::Saturday => "sat",
        Weekday::Sunday => "sun",
    }
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Windows of hours around now, so that no minute passes between writing and asking that would matter.
#[tokio::test]
async fn hours_and_days_are_those_of_the_zone_that_is_named() {
    let mut rules = String::new();
    let mut expected = Vec::new();
    for (number, zone) in ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Pacific/Kiritimati"].into_iter().enumerate() {
        let around = format!("from: \"{}\", to: \"{}\"", clock(zone, -HOUR * 2), clock(zone, HOUR * 2));
        let ahead = format!("from: \"{}\", to: \"{}\"", clock(zone, HOUR * 2), clock(zone, HOUR * 4));
        // The day on which a window around now began, and every other one.
        let began = later(zone, -HOUR * 2).weekday();
        let others: Vec<_> = (1..7).map(|days| day(began.wrapping_add(days))).collect();
        let (on, off) = (format!("days: [{}]", day(began)), format!("days: [{}]", others.join(", ")));
        for (case, window, holds) in [
            ("around", format!("only: {{{around}, timezone: {zone}}}"), true),
            ("ahead", format!("only: {{{ahead}, timezone: {zone}}}"), false),
            ("not-around", format!("except: {{{around}, timezone: {zone}}}"), false),
            ("not-ahead", format!("except: {{{ahead}, timezone: {zone}}}"), true),
            ("day", format!("only: {{{on}, {around}, timezone: {zone}}}"), true),
            ("other-days", format!("only: {{{off}, {around}, timezone: {zone}}}"), false),
            ("not-day", format!("except: {{{on}, {around}, timezone: {zone}}}"), false),
            ("not-other-days", format!("except: {{{off}, {around}, timezone: {zone}}}"), true),
        ] {
            let name = format!("{case}-{number}");
            rules += &format!("  - {{name: {name}, host: api.example.com, path: /{name}, action: block, {window}}}\n");
            expected.push((name, holds));
        }
    }
    let policy = format!("allowedDomains: [api.example.com]\nrules:\n{rules}");
    let place = Place::new(&policy, ["api.example.com"]).await;
    for protocol in PROTOCOLS {
        place
            .check(expected.iter().map(|(name, holds)| {
                let ask = Ask::get(protocol, &format!("https://api.example.com/{name}"));
                (ask, if *holds { format!("403 rule_blocked rules[{name}]") } else { "200".to_owned() })
            }))
            .await;
    }
}

/// The same clock in two zones: 12:00 is not 12:00.
#[tokio::test]
async fn the_same_hours_in_another_zone_are_other_hours() {
    let hours = format!("from: \"{}\", to: \"{}\"", clock("UTC", -HOUR), clock("UTC", HOUR));
    let policy = format!(
        "allowedDomains: [api.example.com]\nrules:\n\
         - {{name: here, host: api.example.com, path: /here, action: block, only: {{{hours}, timezone: UTC}}}}\n\
         - {{name: there, host: api.example.com, path: /there, action: block, only: {{{hours}, timezone: Asia/Tokyo}}}}\n"
    );
    let place = Place::new(&policy, ["api.example.com"]).await;
    place
        .check([
            (Ask::get(Protocol::Http1, "https://api.example.com/here"), "403 rule_blocked rules[here]"),
            (Ask::get(Protocol::Http2, "https://api.example.com/there"), "200"),
        ])
        .await;
}

/// No reload, no new connection: the moment is enough.
#[tokio::test]
async fn a_rule_begins_and_ends_at_its_moment() {
    // Until attaché is up there is nobody to ask: from then on, moments are put in by a reload.
    let place = Place::new("allowedDomains: [api.example.com]", ["api.example.com"]).await;
    let begin = Timestamp::now() + Duration::from_secs(3);
    let end = begin + Duration::from_secs(3);
    let policy = format!(
        "allowedDomains: [api.example.com]\nrules:\n\
         - {{name: Begins, host: api.example.com, path: /begins, action: block, notBefore: \"{begin}\"}}\n\
         - {{name: Ends, host: api.example.com, path: /ends, action: block, notAfter: \"{end}\"}}\n\
         - {{name: Both, host: api.example.com, path: /both, action: block, notBefore: \"{begin}\", notAfter: \"{end}\"}}\n\
         - {{name: Past, host: api.example.com, path: /past, action: block, notAfter: \"{}\"}}\n",
        Timestamp::now() - HOUR,
    );
    place.attache.reload(&policy).await;
    let ask = |protocol, path: &str| match protocol {
        Protocol::Http1 => Ask::get(protocol, &format!("http://api.example.com{path}")).by(Way::Absolute),
        Protocol::Http2 => Ask::get(protocol, &format!("https://api.example.com{path}")),
    };
    // What is asked wholly before a moment, or wholly after it, has one right answer.
    let check = async |path: &str, holds: &dyn Fn(Timestamp) -> bool, phase: &str| {
        for protocol in PROTOCOLS {
            let before = Timestamp::now();
            let found = place.send(ask(protocol, path)).await.to_string();
            if holds(before) == holds(Timestamp::now()) {
                let expected = if holds(before) { "403" } else { "200" };
                assert_eq!(&found[..3], expected, "{path} {phase} {protocol:?}: {found}");
            }
        }
    };
    let all = async |phase: &str| {
        check("/begins", &|now| now >= begin, phase).await;
        check("/ends", &|now| now < end, phase).await;
        check("/both", &|now| now >= begin && now < end, phase).await;
        check("/past", &|_| false, phase).await;
    };
    let reached = async |moment: Timestamp, what: &str| {
        until(what, async || (Timestamp::now() > moment).then_some(())).await;
    };
    assert!(Timestamp::now() < begin, "this machine is too busy to say anything");
    all("before").await;
    reached(begin, "the beginning").await;
    assert!(Timestamp::now() < end, "this machine is too busy to say anything");
    all("between").await;
    reached(end, "the end").await;
    all("after").await;
    let records = place.attache.records();
    for rule in ["rules[Begins]", "rules[Ends]", "rules[Both]"] {
        assert!(records.iter().any(|record| record["rule"] == rule), "{rule} never held");
    }
}

/// Whoever agrees in the end, agrees to what policy says then.
#[tokio::test]
async fn a_window_that_begins_while_a_request_is_held_counts_for_it() {
    let place = Place::new("allowedDomains: [api.example.com]", ["api.example.com"]).await;
    let begin = Timestamp::now() + Duration::from_secs(4);
    let policy = format!(
        "allowedDomains: [api.example.com]\nrules:\n\
         - {{name: Held, host: api.example.com, action: {{approval: {{hold: 25s}}}}}}\n\
         - {{name: Begins, host: api.example.com, path: \"/begins/*\", action: block, notBefore: \"{begin}\"}}\n"
    );
    place.attache.reload(&policy).await;
    let (socket, open) = (place.attache.socket(), async |wanted: usize| {
        until("the questions", async || {
            let open = control::list_approvals(&place.attache.socket()).await.unwrap();
            (open.len() == wanted).then_some(open)
        })
        .await
    });
    let urls = ["begins/1", "begins/2", "other/1"].map(|path| format!("https://api.example.com/{path}"));
    let (one, two, other, ()) = tokio::join!(
        place.attache.curl(["--http1.1", &urls[0]]),
        place.attache.curl(["--http2", &urls[1]]),
        place.attache.curl(["--http2", &urls[2]]),
        async {
            let open = open(3).await;
            assert!(Timestamp::now() < begin, "this machine is too busy to say anything");
            until("the beginning", async || (Timestamp::now() > begin).then_some(())).await;
            for question in open {
                let answer = AnswerApprovalRequest {
                    ticket: question.ticket,
                    verdict: Verdict::Approve.into(),
                    ..Default::default()
                };
                control::answer_approval(&socket, answer).await.unwrap();
            }
        }
    );
    for answer in [one, two] {
        assert_eq!((answer.status, &answer.json()["rule"]), (403, &"rules[Begins]".into()), "{answer:?}");
    }
    assert_eq!(other.status, 200, "{other:?}");
    assert_eq!(place.arrived().len(), 1);
}

/// A window on any action: a limit, a question, something watched.
#[tokio::test]
async fn every_action_keeps_its_window() {
    let (past, future) = (Timestamp::now() - HOUR, Timestamp::now() + HOUR);
    let mut rules = String::new();
    for (name, action) in [
        ("limit", "{rateLimit: {requests: 1, per: hour, weight: bytes}}"),
        ("ask", "{approval: {hold: 0s}}"),
        ("watch", "monitor"),
    ] {
        for (when, window) in [("now", format!("notBefore: \"{past}\"")), ("later", format!("notBefore: \"{future}\""))]
        {
            let name = format!("{name}-{when}");
            rules +=
                &format!("  - {{name: {name}, host: api.example.com, path: /{name}, action: {action}, {window}}}\n");
        }
    }
    let place = Place::new(&format!("allowedDomains: [api.example.com]\nrules:\n{rules}"), ["api.example.com"]).await;
    for protocol in PROTOCOLS {
        for (name, expected) in [
            ("limit-now", "429 rate_limited rules[limit-now]"),
            ("limit-later", "200"),
            ("ask-now", "403 approval_pending rules[ask-now]"),
            ("ask-later", "200"),
            ("watch-now", "200"),
            ("watch-later", "200"),
        ] {
            let ask = Ask::new(protocol, "POST", &format!("https://api.example.com/{name}")).body("two");
            let outcome = place.send(ask).await;
            assert_eq!(outcome.to_string(), expected, "{name}");
            assert_eq!(outcome.record["watched"].is_array(), name == "watch-now", "{name}: {}", outcome.record);
        }
    }
}
