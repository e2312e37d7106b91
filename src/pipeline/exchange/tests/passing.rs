//! What passes after the verdict, by sequences of events: nothing goes on that was not cleared, nothing after a part that
//! must not, and all of it is on record once.

use proptest::prelude::*;

use super::watcher::{FORBIDDEN, PANICS, REPLACED, REPLACEMENT, Watcher};
use super::*;
use crate::pipeline::audit::InspectionRecord;
use crate::pipeline::policy::inspect::ResponseHead;

/// An exchange of Ann's under a policy that looks into messages.
struct Passing {
    exchange: Exchange,
    world: World,
    decisions: Vec<DecisionRecord>,
    notes: Vec<InspectionRecord>,
    /// What has gone on.
    sent: Vec<u8>,
    received: Vec<u8>,
    parts: Vec<Part>,
    cut: Option<Answer>,
}

fn watching(change: impl FnOnce(&mut Ruleset)) -> Arc<Ruleset> {
    policy("one", |rules| {
        rules.inspector = Some(Arc::new(Watcher));
        change(rules);
    })
}

fn post(fields: &[(&str, &str)]) -> Incoming {
    Incoming { ends: false, ..tls("POST", "ws.example/", fields) }
}

fn chunk(bytes: &[u8], ends: bool) -> Chunk {
    Chunk { bytes: bytes.to_vec(), ends }
}

fn head(ends: bool) -> ResponseHead {
    ResponseHead { status: 200, fields: Fields::new(vec![(":status".into(), b"200".to_vec())]), ends }
}

fn trailer(value: &str) -> Fields {
    Fields::new(vec![("x-checksum".into(), value.into())])
}

impl Passing {
    fn new(world: World) -> Self {
        let exchange = Exchange::new(world.rules.clone(), world.now);
        Self {
            exchange,
            world,
            decisions: Vec::new(),
            notes: Vec::new(),
            sent: Vec::new(),
            received: Vec::new(),
            parts: Vec::new(),
            cut: None,
        }
    }

    /// Opens one, to its verdict or the question for its body.
    fn open(incoming: Incoming) -> (Self, Reply) {
        let world = World { rules: watching(|_| {}), ..World::new() };
        let mut passing = Self::new(world);
        let reply = passing.say(Event::Request(incoming)).expect("a reply");
        (passing, reply)
    }

    /// Says what happens, and does what is asked for until there is a reply, or parts have gone on.
    fn say(&mut self, event: Event) -> Option<Reply> {
        let mut event = event;
        for _ in 0..16 {
            event = match self.exchange.on(event, &self.world.rules, self.world.now) {
                Effect::Resolve { .. } => {
                    Event::Resolved(Ok(Resolved::Looked(SmallVec::from_slice(&[PUBLIC.parse().unwrap()]))))
                }
                Effect::FetchSecrets(wanted) => {
                    Event::Secrets(wanted.iter().map(|id| self.world.secret(*id)).collect())
                }
                Effect::Record(record) => {
                    self.decisions.push(*record);
                    Event::Recorded(self.world.writes)
                }
                Effect::Note(record) => {
                    self.notes.push(*record);
                    Event::Recorded(self.world.writes)
                }
                Effect::Look(_) => Event::Looked(Ok(())),
                Effect::Ask(petition) => Event::Asked(self.world.store.ask(&petition)),
                Effect::Admit { charges, redeem } => Event::Admitted(self.world.store.admit(&charges, redeem)),
                Effect::Reply(reply) => {
                    if let Reply::Deny(answer) = &reply {
                        assert!(self.cut.is_none(), "answered twice");
                        self.cut = Some((**answer).clone());
                    }
                    return Some(reply);
                }
                Effect::Pass(parts) => {
                    assert!(self.cut.is_none() || parts.is_empty(), "{parts:?} after the end");
                    for part in parts {
                        match &part {
                            Part::Request(chunk) => self.sent.extend(&chunk.bytes),
                            Part::Response(chunk) => self.received.extend(&chunk.bytes),
                            _ => {}
                        }
                        self.parts.push(part);
                    }
                    return None;
                }
            };
        }
        panic!("no reply");
    }

    fn sent(&self) -> String {
        String::from_utf8_lossy(&self.sent).into_owned()
    }

    fn received(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }

    fn reasons(&self) -> Vec<&str> {
        self.notes.iter().filter_map(|note| note.reason.as_deref()).collect()
    }
}

fn forwarded(reply: Option<Reply>) -> Box<Forward> {
    match reply {
        Some(Reply::Allow(forward)) => forward,
        other => panic!("not allowed: {other:?}"),
    }
}

fn refused(reply: Option<Reply>) -> (u16, String) {
    match reply {
        Some(Reply::Deny(answer)) => {
            let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            (answer.status, body["reason"].as_str().unwrap().to_owned())
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_request_that_nobody_looks_into_is_shown_no_further() {
    let (_, reply) = Passing::open(post(&[]));
    assert_eq!(forwarded(Some(reply)).shows, Shows::default());
    // What follows an upgrade is no body, and no response.
    let upgrade = [("upgrade", "websocket"), ("x-body", "stream"), ("x-response", "hold")];
    let (_, reply) = Passing::open(Incoming { ends: false, ..tls("GET", "ws.example/", &upgrade) });
    assert_eq!(forwarded(Some(reply)).shows, Shows::default());
    let (_, reply) = Passing::open(tls("GET", "ws.example/", &[("x-body", "stream")]));
    assert_eq!(forwarded(Some(reply)).shows, Shows::default());
}

#[test]
fn a_head_is_changed_or_refused_by_what_is_found_in_it() {
    let note = format!("a {REPLACED} b");
    let (passing, reply) = Passing::open(tls("GET", &format!("query.example/?a={REPLACED}"), &[("x-note", &note)]));
    let forward = forwarded(Some(reply));
    let set = |name: &str| forward.set.iter().find(|(n, _)| **n == *name).map(|(_, v)| String::from_utf8_lossy(v));
    assert_eq!(set("x-note").as_deref(), Some(&*format!("a {REPLACEMENT} b")));
    assert_eq!(set(":path").as_deref(), Some("/?a=redacted&key=s%20query"));
    assert_eq!(passing.decisions[0].findings.len(), 2);

    let (passing, reply) = Passing::open(tls("GET", "ws.example/", &[("x-note", FORBIDDEN)]));
    assert_eq!(refused(Some(reply)), (403, "dlp_blocked".into()));
    let record = &passing.decisions[0];
    assert_eq!((record.decision, record.findings.len()), (Verdict::Deny, 1));
    assert!(!serde_json::to_string(record).unwrap().contains(FORBIDDEN));
}

#[test]
fn a_body_is_held_if_it_fits_and_else_streamed_or_refused() {
    let stated = |length: usize| length.to_string();
    for (way, kind, length, expected) in [
        ("stream", "", Some(stated(MOST_HELD)), "held"),
        ("refuse", "", Some(stated(1)), "held"),
        ("stream", "", Some(stated(MOST_HELD + 1)), "streamed"),
        ("any-length", "", Some(stated(MOST_HELD + 1)), "streamed"),
        ("refuse", "", Some(stated(MOST_HELD + 1)), "body_too_large"),
        ("stream", "", None, "streamed"),
        ("refuse", "", None, "body_too_large"),
        // A conversation.
        ("stream", "application/grpc", Some(stated(1)), "streamed"),
    ] {
        let mut fields = vec![("x-body", way), ("content-type", kind)];
        fields.extend(length.as_deref().map(|length| ("content-length", length)));
        let (_, reply) = Passing::open(post(&fields));
        let found = match reply {
            Reply::HoldBody { response: false, plaintext: false } => "held".to_owned(),
            Reply::Allow(forward) => {
                assert_eq!(forward.shows, Shows { request: true, response: false });
                assert_eq!(forward.remove.iter().any(|name| **name == *"content-length"), way == "any-length");
                assert!(forward.once);
                "streamed".to_owned()
            }
            reply => refused(Some(reply)).1,
        };
        assert_eq!(found, expected, "{way} {kind} {length:?}");
    }
}

#[test]
fn a_held_body_goes_out_clean() {
    let fields = [("x-body", "stream"), ("content-length", "9")];
    let held = |bytes: &[u8], whole| {
        let (mut passing, reply) = Passing::open(post(&fields));
        assert!(matches!(reply, Reply::HoldBody { .. }));
        let reply = passing.say(Event::Body { bytes: bytes.into(), whole });
        (passing, reply)
    };
    let (_, reply) = held(b"harmless", true);
    let forward = forwarded(reply);
    assert_eq!((forward.body, forward.shows, forward.awaits_trailers), (None, Shows::default(), false));
    let (passing, reply) = held(format!("a {REPLACED}").as_bytes(), true);
    assert_eq!(forwarded(reply).body, Some(format!("a {REPLACEMENT}").into_bytes()));
    assert_eq!(passing.decisions[0].findings.len(), 1);
    let (passing, reply) = held(FORBIDDEN.as_bytes(), true);
    assert_eq!(refused(reply), (403, "dlp_blocked".into()));
    assert_eq!(passing.decisions[0].findings[0].location.as_ref(), "body");
    // More than its head said.
    let (_, reply) = held(&vec![b'x'; MOST_HELD], false);
    assert_eq!(refused(reply), (413, "body_too_large".into()));
}

#[test]
fn trailers_of_a_held_body_let_it_go_or_refuse_it() {
    let fields = [("x-body", "stream"), ("content-length", "5")];
    for (value, reason) in [("fine", None), (FORBIDDEN, Some("dlp_blocked"))] {
        let (mut passing, _) = Passing::open(post(&fields));
        let forward = forwarded(passing.say(Event::Body { bytes: Box::from(*b"hello"), whole: false }));
        assert!(forward.awaits_trailers && forward.shows.request);
        let reply = passing.say(Event::Trailers(trailer(value)));
        match reason {
            None => assert_eq!(passing.parts, [Part::Trailers(Some(forward.upstream))]),
            Some(reason) => assert_eq!(refused(reply), (403, reason.into())),
        }
        assert_eq!(passing.reasons(), reason.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn who_is_asked_for_approval_sees_the_body_as_it_would_go_out_and_all_of_it() {
    let run = |whole: bool| {
        let rules = watching(|rules| rules.add_rule(super::obligations::approval("ask", 20)));
        let mut passing = Passing::new(World { rules, ..World::new() });
        let fields = [("x-body", "refuse"), ("content-length", "10")];
        let incoming = Incoming { ends: false, ..tls("POST", "api.example/", &fields) };
        assert!(matches!(passing.say(Event::Request(incoming)), Some(Reply::HoldBody { .. })));
        let reply = passing.say(Event::Body { bytes: REPLACED.as_bytes().into(), whole });
        (passing, refused(reply))
    };
    let (passing, found) = run(true);
    assert_eq!(found, (403, "approval_pending".into()));
    assert_eq!(*passing.world.store.petitions[0].about.body_preview, *REPLACEMENT.as_bytes());
    // Nobody is shown what follows it.
    let (passing, found) = run(false);
    assert_eq!(found, (413, "body_too_large_for_approval".into()));
    assert!(passing.world.store.petitions.is_empty());
}

#[test]
fn a_policy_that_wants_to_see_more_than_envoy_was_told_to_show_refuses() {
    let mut passing = Passing::new(World::under(|rules| rules.add_rule(super::obligations::approval("ask", 20))));
    let incoming = Incoming { ends: false, ..tls("POST", "api.example/", &[("x-response", "now")]) };
    assert!(matches!(passing.say(Event::Request(incoming)), Some(Reply::HoldBody { response: false, .. })));
    passing.world.rules = watching(|_| {});
    let reply = passing.say(Event::Body { bytes: Box::default(), whole: true });
    assert_eq!(refused(reply), (503, "policy_changed".into()));
}

#[test]
fn a_policy_that_leads_a_held_body_by_another_route_refuses() {
    let (tls, plain) = ("other.example", "http://other.example");
    for (before, after) in [(tls, plain), (plain, tls), (plain, plain)] {
        let rules = watching(|rules| rules.domains_mut(Scope::All).list(allow(before)));
        let mut passing = Passing::new(World { rules, ..World::new() });
        let fields = [("x-agent", "ann"), ("x-body", "refuse"), ("content-length", "5")];
        let incoming = Incoming { ends: false, ..proxy("POST", "other.example/", &fields) };
        let held = passing.say(Event::Request(incoming));
        let told = matches!(held, Some(Reply::HoldBody { plaintext, .. }) if plaintext == (before == plain));
        assert!(told, "{before}: {held:?}");
        passing.world.rules = policy("two", |rules| rules.domains_mut(Scope::All).list(allow(after)));
        let reply = passing.say(Event::Body { bytes: b"hello"[..].into(), whole: true });
        match before == after {
            true => assert!(forwarded(reply).plaintext),
            false => assert_eq!(refused(reply), (503, "policy_changed".into()), "{before} then {after}"),
        }
    }
}

#[test]
fn a_response_waits_with_its_head_or_not() {
    for (way, waits) in [("now", false), ("hold", true)] {
        let (mut passing, reply) = Passing::open(tls("GET", "ws.example/", &[("x-response", way)]));
        assert_eq!(forwarded(Some(reply)).shows, Shows { request: false, response: true });
        assert!(passing.say(Event::ResponseHead(head(false))).is_none());
        assert_eq!(passing.parts.is_empty(), waits, "{way}");
        // What may become a word is no byte that has been cleared.
        passing.say(Event::ResponseChunk(chunk(b"REPLACE", false)));
        assert_eq!(passing.parts.is_empty(), waits, "{way}");
        passing.say(Event::ResponseChunk(chunk(b"-ME and", true)));
        assert!(matches!(passing.parts[0], Part::ResponseHead(_)));
        assert_eq!(passing.received(), format!("{REPLACEMENT} and"));
        assert_eq!((passing.notes.len(), passing.notes[0].direction), (1, Direction::Response));
    }
    // None has a body, and none gets one.
    let (mut passing, _) = Passing::open(tls("HEAD", "ws.example/", &[("x-response", "hold")]));
    passing.say(Event::ResponseHead(head(true)));
    assert_eq!(passing.parts, [Part::ResponseHead(HeadChange::default())]);
}

#[test]
fn a_refused_response_is_answered_while_none_has_begun() {
    for (way, status) in [("hold", Some(502)), ("now", None)] {
        let (mut passing, _) = Passing::open(tls("GET", "ws.example/", &[("x-response", way)]));
        passing.say(Event::ResponseHead(head(false)));
        let reply = passing.say(Event::ResponseChunk(chunk(FORBIDDEN.as_bytes(), false)));
        assert_eq!(refused(reply), (502, "response_blocked".into()));
        assert_eq!((passing.notes[0].status, passing.received().as_str()), (status, ""));
        // What was under way by then goes nowhere.
        assert!(passing.say(Event::ResponseChunk(chunk(b"more", true))).is_none());
        assert_eq!(passing.received(), "");
    }
    // Envoy's own answer to what the upstream failed at is looked into as well.
    let (mut passing, _) = Passing::open(tls("GET", "ws.example/", &[("x-response", "now")]));
    let fields = Fields::new(vec![("x-note".into(), FORBIDDEN.into())]);
    let reply = passing.say(Event::ResponseHead(ResponseHead { status: 200, fields, ends: false }));
    assert_eq!(refused(reply), (502, "response_blocked".into()));
    assert_eq!(passing.notes[0].findings.len(), 1);
}

#[test]
fn a_panic_while_looking_ends_the_exchange_as_failed() {
    let (mut passing, _) = Passing::open(post(&[("x-body", "stream"), ("content-length", "2000000")]));
    passing.say(Event::Chunk(chunk(b"before", false)));
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        passing.say(Event::Chunk(chunk(PANICS.as_bytes(), false)));
    }));
    assert!(panics.is_err());
    let Effect::Note(note) = passing.exchange.fail(Reason::InternalError, now()) else { panic!("no note") };
    assert_eq!((note.reason.as_deref(), note.status), (Some("scan_failed"), Some(503)));
    assert_eq!(refused(passing.say(Event::Recorded(true))), (503, "scan_failed".into()));
    assert!(passing.say(Event::Chunk(chunk(b"after", true))).is_none());
    assert_eq!(passing.sent(), "before");
}

#[test]
fn a_part_that_was_not_asked_for_ends_the_exchange() {
    let streaming = [("x-body", "stream"), ("x-response", "hold")];
    for (name, events) in [
        ("a body after its end", vec![Event::Chunk(chunk(b"", true)), Event::Chunk(chunk(b"x", false))]),
        ("trailers after the end", vec![Event::Chunk(chunk(b"", true)), Event::Trailers(trailer("x"))]),
        ("a response without a head", vec![Event::ResponseChunk(chunk(b"x", false))]),
        ("two heads", vec![Event::ResponseHead(head(false)), Event::ResponseHead(head(false))]),
        ("a body after none", vec![Event::ResponseHead(head(true)), Event::ResponseChunk(chunk(b"x", true))]),
        ("a second request", vec![Event::Request(post(&streaming))]),
        ("a secret", vec![Event::Secrets(SmallVec::new())]),
    ] {
        let (mut passing, _) = Passing::open(post(&streaming));
        let last = events.into_iter().map(|event| passing.say(event)).last().unwrap();
        assert_eq!(refused(last), (503, "internal_error".into()), "{name}");
        assert_eq!(passing.reasons(), ["internal_error"], "{name}");
    }
}

#[test]
fn a_body_of_stated_length_keeps_it() {
    let (mut passing, _) = Passing::open(post(&[("x-body", "stream"), ("content-length", "2000000")]));
    passing.say(Event::Chunk(chunk(b"before", false)));
    let reply = passing.say(Event::Chunk(chunk(REPLACED.as_bytes(), false)));
    assert_eq!(refused(reply), (503, "internal_error".into()));
    assert_eq!(passing.sent(), "before");
}

#[test]
fn what_is_found_is_on_record_soon_and_not_without_end() {
    let (mut passing, _) = Passing::open(post(&[("x-body", "any-length")]));
    for at in 1..=400 {
        passing.say(Event::Chunk(chunk(REPLACED.as_bytes(), false)));
        assert_eq!(passing.notes.len(), (at / 64).min(4), "after {at}");
    }
    assert!(passing.notes.iter().all(|note| note.action == crate::pipeline::audit::InspectionAction::Redacted));
    let left =
        |passing: &mut Passing| passing.exchange.close(now()).map(|note| note.findings.len()).collect::<Vec<_>>();
    assert_eq!(left(&mut passing), Vec::<usize>::new());
    let (mut passing, _) = Passing::open(post(&[("x-body", "any-length")]));
    passing.say(Event::Chunk(chunk(REPLACED.as_bytes(), false)));
    assert_eq!(left(&mut passing), [1]);
    assert_eq!(left(&mut passing), Vec::<usize>::new());
}

/// Bytes in which the words are likely, cut anywhere.
fn bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let pieces = [FORBIDDEN, REPLACED, "FORB", "REPLACE", "plain text ", "", "F"];
    let piece = proptest::sample::select(pieces.to_vec()).prop_map(|piece| piece.as_bytes().to_vec());
    let weighted = prop_oneof![8 => piece, 1 => any::<Vec<u8>>()];
    (proptest::collection::vec(weighted, 0..6), proptest::collection::vec(any::<u16>(), 0..6)).prop_map(
        |(pieces, cuts)| {
            let whole = pieces.concat();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| usize::from(*cut) % (whole.len() + 1)).collect();
            cuts.sort_unstable();
            let ends = cuts.iter().copied().chain([whole.len()]);
            let starts = [0].into_iter().chain(cuts.iter().copied());
            starts.zip(ends).map(|(start, end)| whole[start..end].to_vec()).collect()
        },
    )
}

/// What is let through of a body: up to the first word that must not be, the others replaced.
fn cleared(body: &[u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let mut rest = body;
    while let Some((first, behind)) = rest.split_first() {
        if rest.starts_with(FORBIDDEN.as_bytes()) {
            return (out, false);
        }
        match rest.strip_prefix(REPLACED.as_bytes()) {
            Some(behind) => {
                out.extend(REPLACEMENT.bytes());
                rest = behind;
            }
            None => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    (out, true)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// Both directions at once, in any order, with trailers or without.
    #[test]
    fn what_goes_on_is_what_was_cleared(
        request in bodies(), response in bodies(), trailers in any::<[bool; 2]>(), order in any::<Vec<bool>>(), holds in any::<bool>(),
    ) {
        prop_assume!(!request.concat().windows(6).chain(response.concat().windows(6)).any(|w| w == PANICS.as_bytes()));
        let way = if holds { "hold" } else { "now" };
        let (mut passing, reply) = Passing::open(post(&[("x-body", "any-length"), ("x-response", way)]));
        prop_assert_eq!(forwarded(Some(reply)).shows, Shows { request: true, response: true });
        let last = |parts: &[Vec<u8>], trailers: bool| (parts.len() - 1, trailers);
        let (ends, response_ends) = (last(&request, trailers[0]), last(&response, trailers[1]));
        let up = request.iter().enumerate().map(|(at, b)| Event::Chunk(chunk(b, (at, false) == ends)));
        let mut up = up.chain(trailers[0].then(|| Event::Trailers(trailer("fine")))).peekable();
        let down = response.iter().enumerate().map(|(at, b)| Event::ResponseChunk(chunk(b, (at, false) == response_ends)));
        let head = [Event::ResponseHead(head(false))].into_iter();
        let mut down = head.chain(down).chain(trailers[1].then(|| Event::ResponseTrailers(trailer("fine")))).peekable();
        let mut order = order.into_iter().cycle();
        while up.peek().is_some() || down.peek().is_some() {
            let first = order.next().unwrap_or(true);
            let event = if first { up.next().or_else(|| down.next()) } else { down.next().or_else(|| up.next()) };
            passing.say(event.unwrap());
        }
        let ((sent, clean), (received, response_clean)) = (cleared(&request.concat()), cleared(&response.concat()));
        prop_assert_eq!(passing.cut.is_some(), !(clean && response_clean));
        prop_assert_eq!(passing.decisions.len(), 1);
        prop_assert_eq!(passing.reasons().len(), usize::from(passing.cut.is_some()));
        prop_assert!(sent.starts_with(&passing.sent) && received.starts_with(&passing.received));
        let from = |direction| passing.parts.iter().filter(move |part| match part {
            Part::Request(_) | Part::Trailers(_) => direction == Direction::Request,
            _ => direction == Direction::Response,
        });
        if passing.cut.is_none() {
            prop_assert_eq!((&passing.sent, &passing.received), (&sent, &received));
            // One end each, and nothing behind it.
            let ends = |part: &&Part| matches!(part, Part::Request(Chunk { ends: true, .. }) | Part::Trailers(_)
                | Part::Response(Chunk { ends: true, .. }) | Part::ResponseTrailers);
            for direction in [Direction::Request, Direction::Response] {
                prop_assert_eq!(from(direction).filter(ends).count(), 1);
                prop_assert!(from(direction).next_back().is_some_and(|part| ends(&part)));
            }
        }
        // The head first, once.
        prop_assert!(from(Direction::Response).next().is_none_or(|part| matches!(part, Part::ResponseHead(_))));
        prop_assert!(from(Direction::Response).filter(|part| matches!(part, Part::ResponseHead(_))).count() <= 1);
    }
}
