//! What an admitted request still has to fulfil: limits and approvals, in their order, all or none.

use super::*;
use crate::pipeline::approval::Terms;
use crate::pipeline::limit::Weight;
use crate::pipeline::policy::rule::{Does, Mode, Rule};
use crate::pipeline::policy::schedule::Schedule;

/// A rule for everything at `api.example`.
pub fn rule(name: &str, does: Does) -> Rule {
    Rule {
        id: format!("rules[{name}]").into(),
        pattern: HostPattern::parse("api.example").unwrap(),
        path: None,
        methods: Methods::Any,
        agents: None,
        conditions: Vec::new(),
        schedule: None,
        mode: Mode::Enforce,
        organization: false,
        does,
    }
}

pub fn limit(name: &str, weight: Weight) -> Rule {
    let limit = Limit { rule: format!("rules[{name}]").into(), most: 10, per: Duration::from_secs(60), weight };
    rule(name, Does::Limit(Arc::new(limit)))
}

pub fn approval(name: &str, hold: u64) -> Rule {
    let terms = Terms {
        rule: format!("rules[{name}]").into(),
        hold: Duration::from_secs(hold),
        expires: Duration::from_secs(900),
        notify: vec!["ops".into()],
        fields: vec!["x-amount".into()],
    };
    rule(name, Does::Approval(Arc::new(terms)))
}

fn items() -> Weight {
    Weight::Items(vec!["requests".into()])
}

fn reached() -> Excess {
    Excess::Reached { rule: "rules[cap]".into(), retry_after: Some(Duration::from_millis(2100)) }
}

/// A request whose body is yet to come.
fn post(extra: &[(&str, &str)]) -> Incoming {
    Incoming { ends: false, ..tls("POST", "api.example/x", extra) }
}

/// The world with a limit and an approval, in which everybody agrees.
fn agreeing() -> World {
    let mut world = World::under(|rules| {
        rules.add_rule(limit("cap", Weight::Request));
        rules.add_rule(approval("ask", 20));
    });
    world.store.standing = vec![Standing::Approved(answered())];
    world.body = (Box::from(*b"body"), true);
    world
}

/// Every refusal that needs more than a request: the world in which it comes about, and the request.
pub fn refused() -> Vec<(&'static str, World, Incoming, Reason, u16)> {
    use Reason::*;
    let get = || tls("GET", "api.example/", &[]);
    let capped = |excess: Excess| {
        let mut world = World::under(|rules| rules.add_rule(limit("cap", Weight::Request)));
        world.store.looks.push_back(excess);
        world
    };
    let asked = |standing: Standing| {
        let mut world = World::under(|rules| rules.add_rule(approval("ask", 20)));
        world.store.standing = vec![standing];
        world
    };
    let turned_away = |asked: Asked| {
        let mut world = agreeing();
        world.store.turned_away = Some(asked);
        world
    };
    let not_admitted = |refusal: NotAdmitted| {
        let mut world = agreeing();
        world.store.refusals.push_back(refusal);
        world
    };
    let weighed = |weight: Weight, body: &[u8], whole: bool| {
        let mut world = World::under(|rules| rules.add_rule(limit("cap", weight)));
        // Envoy cuts off what is more than its limit.
        let body = if whole { body.to_vec() } else { vec![b' '; MOST_HELD] };
        world.body = (body.into(), whole);
        world
    };
    let bounded = World::under(|rules| rules.set_ceiling("organization.allowedDomains".into()));
    let changed = World { swap: Some(("admit", policy("two", |_| {}), Vec::new())), ..agreeing() };
    let cut = World { body: (vec![b' '; MOST_HELD].into(), false), ..agreeing() };
    let coded = [("content-encoding", "identity"), ("content-encoding", "gzip")];
    vec![
        ("beyond the ceiling", bounded, get(), OutsideOrganization, 403),
        ("a rule blocks", World::under(|rules| rules.add_rule(rule("no", Does::Block))), get(), RuleBlocked, 403),
        ("a limit is reached", capped(reached()), get(), RateLimited, 429),
        ("counters cannot be had", capped(Excess::Unavailable), get(), StoreUnavailable, 503),
        ("nobody answers", asked(Standing::Pending), get(), ApprovalPending, 403),
        ("somebody refuses", asked(Standing::Refused(answered())), get(), ApprovalRefused, 403),
        ("the question expires", asked(Standing::Expired), get(), ApprovalExpired, 403),
        ("too many questions", turned_away(Asked::TooMany), get(), TooManyApprovals, 429),
        ("no book of approvals", turned_away(Asked::Unavailable), get(), StoreUnavailable, 503),
        ("a body too large to be agreed to", cut, post(&[]), BodyTooLargeForApproval, 413),
        ("a body too large to be counted", weighed(items(), b"", false), post(&[]), BodyTooLargeToCount, 413),
        ("bytes without end", weighed(Weight::Bytes, b"", false), post(&[]), BodyTooLargeToCount, 413),
        ("not JSON", weighed(items(), b"requests=1", true), post(&[]), BodyNotCountable, 400),
        ("compressed", weighed(items(), b"{\"requests\":[]}", true), post(&coded), BodyNotCountable, 400),
        ("a limit is reached meanwhile", not_admitted(NotAdmitted::Excess(reached())), get(), RateLimited, 429),
        ("counters are lost", not_admitted(NotAdmitted::Excess(Excess::Unavailable)), get(), StoreUnavailable, 503),
        ("the policy changes while it is charged", changed, get(), PolicyChanged, 503),
    ]
}

#[test]
fn every_refusal_after_policy_has_its_reason_and_nothing_is_used_for_it() {
    for (name, mut world, incoming, reason, status) in refused() {
        let outcome = world.run(incoming);
        assert_eq!((outcome.reason(), outcome.answer().status), (reason.as_str(), status), "{name}");
        assert_eq!(outcome.record().status, Some(status), "{name}");
        // What is charged when the policy changes cannot be given back.
        assert_eq!(world.store.admitted.is_empty(), reason != Reason::PolicyChanged, "{name}");
        let fetched = outcome.asked.contains(&"secrets");
        assert_eq!(fetched, outcome.asked.contains(&"admit"), "{name}: {:?}", outcome.asked);
    }
}

#[test]
fn what_an_agent_is_told_says_when_to_come_again() {
    let said = |name: &str| {
        let (_, mut world, incoming, ..) = refused().into_iter().find(|(n, ..)| *n == name).unwrap();
        let answer = world.run(incoming).answer().clone();
        let after = answer.fields.into_iter().find(|(name, _)| *name == "retry-after").map(|(_, value)| value);
        (after, serde_json::from_str::<serde_json::Value>(&answer.body).unwrap())
    };
    assert_eq!(said("a limit is reached").0.as_deref(), Some("3"));
    let (after, body) = said("nobody answers");
    assert_eq!(after.as_deref(), Some("5"));
    assert_eq!((body["status"].as_str(), body["ticket"].as_str()), (Some("approval_pending"), Some("apr_1")));
    assert_eq!(body["rule"], "rules[ask]");
    assert_eq!(said("too many questions").0.as_deref(), Some("30"));
    assert_eq!(said("somebody refuses").0, None);
}

#[test]
fn limits_come_before_people_people_before_secrets_and_charges_last() {
    let mut world = agreeing();
    let outcome = world.run(post(&[]));
    let again = ["resolve", "look", "secrets", "admit", "record", "reply"];
    assert_eq!(outcome.asked, [&["hold", "resolve", "look", "ask"][..], &again].concat());
    assert_eq!(world.store.charged(), [("rules[cap]", 1)]);
    assert_eq!(world.store.admitted[0].1, Some(world.store.petitions[0].fingerprint));
    assert_eq!(outcome.set("authorization").as_deref(), Some("Bearer s-api"));
    let record = outcome.record();
    assert_eq!(record.rule.as_deref(), Some("rules[ask]"));
    let note = record.approval.as_ref().unwrap();
    assert_eq!((&*note.ticket, note.by.as_deref()), ("apr_1", Some("carla")));
    // Agreement does not outweigh a limit that is reached by then.
    let mut world = agreeing();
    world.store.looks.extend([reached()]);
    assert_eq!(world.run(post(&[])).asked, ["hold", "resolve", "look", "record", "reply"]);
    assert!(world.store.petitions.is_empty(), "nobody is asked in vain");
}

#[test]
fn a_missing_secret_costs_neither_a_charge_nor_an_approval() {
    let mut world = agreeing();
    world.secrets[0] = None;
    assert_eq!(world.run(post(&[])).reason(), "secret_unavailable");
    assert!(world.store.admitted.is_empty());
}

#[test]
fn an_approval_is_of_one_request_and_no_other() {
    let fingerprint = |incoming: Incoming, body: &[u8]| {
        let mut world = agreeing();
        world.rules = policy("one", |rules| {
            for host in ["api.example", "ws.example", "override.example", "*.wild.example"] {
                rules.add_rule(Rule { pattern: HostPattern::parse(host).unwrap(), ..approval("ask", 0) });
            }
        });
        world.body = (body.into(), true);
        world.store.standing = vec![Standing::Pending];
        world.run(incoming);
        world.store.petitions[0].fingerprint
    };
    let send = |method: &str, url: &str, extra: &[(&str, &str)]| Incoming { ends: false, ..tls(method, url, extra) };
    let bobs = Incoming { session: Some(session("api.example:443", Some(BOB))), ..send("POST", "api.example/x", &[]) };
    let json = ("content-type", "application/json");
    let tunnel = ("x-http-method-override", "DELETE");
    let requests = [
        ("as it is", send("POST", "api.example/x", &[]), "1"),
        ("another body", send("POST", "api.example/x", &[]), "2"),
        ("another method", send("PUT", "api.example/x", &[]), "1"),
        ("another path", send("POST", "api.example/X", &[]), "1"),
        ("another spelling", send("POST", "api.example/%78", &[]), "1"),
        ("a query", send("POST", "api.example/x?", &[]), "1"),
        ("another query", send("POST", "api.example/x?a", &[]), "1"),
        ("another host", send("POST", "a.wild.example/x", &[]), "1"),
        ("another agent", bobs, "1"),
        ("a type", send("POST", "api.example/x", &[json]), "1"),
        ("two types", send("POST", "api.example/x", &[json, ("content-type", "text/plain")]), "1"),
        ("an encoding", send("POST", "api.example/x", &[("content-encoding", "gzip")]), "1"),
        ("a type as encoding", send("POST", "api.example/x", &[("content-encoding", "application/json")]), "1"),
        ("a stream", tls("GET", "ws.example/x", &[]), ""),
        ("a WebSocket", tls("GET", "ws.example/x", &[("upgrade", "websocket")]), ""),
        ("a method", send("POST", "override.example/x", &[]), "1"),
        ("a method overridden", send("POST", "override.example/x", &[tunnel]), "1"),
    ];
    let mut seen = HashMap::new();
    for (name, incoming, body) in requests {
        if let Some(other) = seen.insert(fingerprint(incoming, body.as_bytes()), name) {
            panic!("{name} is taken for {other}");
        }
    }
    // What does not go upstream, or says nothing about the request, is no other request.
    let same = [("accept", "*/*"), ("x-http-method-override", "DELETE"), ("proxy-connection", "close")];
    assert_eq!(seen.get(&fingerprint(send("POST", "api.example/x", &same), b"1")), Some(&"as it is"));
}

#[test]
fn what_was_agreed_to_is_decided_again() {
    let newer = |change: fn(&mut Ruleset)| {
        let mut world = agreeing();
        world.swap = Some(("ask", policy("two", change), world.secrets.clone()));
        world
    };
    let mut blocked = newer(|rules| rules.add_rule(rule("no", Does::Block)));
    assert_eq!(blocked.run(post(&[])).reason(), "rule_blocked");
    let mut gone = newer(|rules| rules.agents = Agents::implicit("somebody"));
    assert_ne!(gone.run(post(&[])).record().agent.as_deref(), Some("ann"));
    assert!(gone.store.admitted.is_empty() && blocked.store.admitted.is_empty());
    // Somebody else has to agree too: what was agreed to is not this.
    let mut more = newer(|rules| {
        rules.add_rule(approval("ask", 20));
        rules.add_rule(approval("ask another", 20));
    });
    more.run(post(&[]));
    let [first, second, ..] = more.store.petitions.as_slice() else { panic!("asked once") };
    assert_ne!(first.fingerprint, second.fingerprint);
    assert_eq!(more.store.admitted[0].1, Some(second.fingerprint));
    // Nobody has to agree any more: then no approval is used.
    let mut free = newer(|_| {});
    assert!(free.run(post(&[])).forward().set.len() == 1 && free.store.admitted.is_empty());
}

#[test]
fn time_that_runs_out_while_a_person_thinks_runs_out_for_the_request() {
    let mut world = agreeing();
    world.rules = policy("one", |rules| {
        rules.add_rule(approval("ask", 20));
        let not_before = Some("1970-01-01T00:00:10Z".parse().unwrap());
        let schedule = Some(Schedule { not_before, ..Schedule::default() });
        rules.add_rule(Rule { schedule, ..rule("closed", Does::Block) });
    });
    world.slow = Some(("ask", Duration::from_secs(15)));
    let outcome = world.run(post(&[]));
    assert_eq!((outcome.reason(), outcome.record().rule.as_deref()), ("rule_blocked", Some("rules[closed]")));
}

#[test]
fn a_request_is_held_no_longer_than_once_however_often_it_is_decided() {
    let rules = |revision: &str, hold| policy(revision, |rules| rules.add_rule(approval("ask", hold)));
    let mut world = World { rules: rules("one", 20), ..World::new() };
    world.slow = Some(("ask", Duration::from_secs(15)));
    world.swap = Some(("ask", rules("two", 600), world.secrets.clone()));
    assert_eq!(world.run(tls("GET", "api.example/", &[])).reason(), "approval_pending");
    let holds: Vec<_> = world.store.petitions.iter().map(|petition| petition.hold.as_secs()).collect();
    assert_eq!(holds, [20, 5]);
}

#[test]
fn an_approval_that_others_are_faster_to_use_is_asked_for_again_and_not_for_ever() {
    let mut world = agreeing();
    world.store.refusals.extend(std::iter::repeat_n(NotAdmitted::NotApproved, 2));
    let outcome = world.run(post(&[]));
    assert_eq!((outcome.forward().set.len(), world.store.petitions.len()), (1, 3));
    let mut world = agreeing();
    world.store.refusals.extend(std::iter::repeat_n(NotAdmitted::NotApproved, 50));
    let outcome = world.run(post(&[]));
    assert_eq!((outcome.reason(), outcome.record().rule.as_deref()), ("approval_pending", Some("rules[ask]")));
    assert!(outcome.answer().body.contains("\"apr_1\""), "{}", outcome.answer().body);
    let holds: Vec<_> = world.store.petitions.iter().map(|petition| petition.hold.is_zero()).collect();
    assert_eq!(holds, [false, false, false, false, true]);
    assert!(world.store.admitted.is_empty());
    // Taken back while it was about to be used.
    let mut world = agreeing();
    world.store.standing.push(Standing::Refused(answered()));
    world.store.refusals.push_back(NotAdmitted::NotApproved);
    assert_eq!(world.run(post(&[])).reason(), "approval_refused");
}

#[test]
fn a_body_is_held_only_for_what_has_to_see_it() {
    let with = |rule: Rule, incoming: Incoming, body: &[u8]| {
        let mut world = World::under(|rules| rules.add_rule(rule));
        world.store.standing = vec![Standing::Approved(answered())];
        world.body = (body.into(), true);
        let outcome = world.run(incoming);
        outcome.forward();
        let charged = world.store.charged().first().map(|(_, units)| *units);
        (outcome.asked.iter().filter(|asked| **asked == "hold").count(), charged)
    };
    let batch = b"{\"requests\": [1, 2, 3]}";
    assert_eq!(with(limit("cap", Weight::Request), post(&[]), batch), (0, Some(1)));
    assert_eq!(with(limit("cap", items()), post(&[]), batch), (1, Some(3)));
    assert_eq!(with(limit("cap", items()), post(&[]), b"{\"requests\": []}"), (1, Some(1)));
    assert_eq!(with(limit("cap", Weight::Bytes), post(&[("content-length", "7")]), batch), (0, Some(7)));
    assert_eq!(with(limit("cap", Weight::Bytes), post(&[]), batch), (1, Some(batch.len() as u64)));
    assert_eq!(with(approval("ask", 0), post(&[]), batch), (1, None));
    assert_eq!(with(approval("ask", 0), tls("GET", "api.example/", &[]), b""), (0, None));
    let twice = post(&[("content-length", "7"), ("content-length", "8")]);
    assert_eq!(with(limit("cap", Weight::Bytes), twice, batch), (1, Some(batch.len() as u64)));
}

#[test]
fn a_stream_that_is_no_get_is_no_way_around_the_body() {
    let upgrade = [("upgrade", "websocket")];
    for (method, reason) in [("GET", None), ("POST", Some("upgrade_not_allowed")), ("get", Some("upgrade_not_allowed"))]
    {
        let outcome = World::new().run(Incoming { ends: false, ..tls(method, "ws.example/x", &upgrade) });
        assert_eq!(outcome.record().reason.as_deref(), reason, "{method}");
    }
}

#[test]
fn what_was_agreed_to_counts_at_once_on_a_newer_policy_that_asks_the_same() {
    let mut world = agreeing();
    let newer = policy("two", |rules| rules.add_rule(approval("ask", 20)));
    world.swap = Some(("ask", newer, world.secrets.clone()));
    let outcome = world.run(post(&[]));
    assert_eq!((&*outcome.record().policy_revision, world.store.petitions.len()), ("two", 1), "nobody is asked again");
    assert_eq!(world.store.admitted[0].1, Some(world.store.petitions[0].fingerprint));
}
