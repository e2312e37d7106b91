//! What deciding allocates: nothing, however large the policy is; what a whole exchange does; and what looking at a text does.
#![cfg(test)]

#[path = "../benches/support/policies.rs"]
mod policies;
#[path = "../benches/support/texts.rs"]
#[allow(dead_code, reason = "one text of several")]
mod texts;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use attache::pipeline::credential::Secret;
use attache::pipeline::dlp::scan::Report;
use attache::pipeline::dlp::surface::{Layout, Surface};
use attache::pipeline::exchange::{Effect, Event, Exchange, Incoming, Now, Reply, Resolved};
use attache::pipeline::message::{Authority, Door, Fields};
use attache::pipeline::session::Session;
use policies::{Case, agent_of, cases, head, load};
use zeroize::Zeroizing;

/// Allocations of one decision after which nothing is left over.
fn of_decision(case: &Case, request: &[String; 3], admitted: bool) -> u64 {
    let compiled = load(&case.text);
    let (agent, head, wall) = (agent_of(case, &compiled), head(request), monday());
    let decide = || compiled.rules.decide(agent, &head, wall);
    assert_eq!(decide().is_ok(), admitted, "{}: {:?}", case.name, decide());
    allocation_counter::measure(|| drop(decide())).count_total
}

/// Half past eight on a Monday in Berlin.
fn monday() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_436_600)
}

#[test]
fn a_decision_allocates_nothing_whatever_the_policy() {
    for size in [10, 500] {
        for case in cases(size) {
            assert_eq!(of_decision(&case, &case.admitted, true), 0, "{} of {size}", case.name);
            assert_eq!(of_decision(&case, &case.refused, false), 0, "{} of {size}, refused", case.name);
        }
    }
}

/// A path is put into the spelling that rules compare, and followed along their patterns, on the stack; only what is
/// long does not fit there.
#[test]
fn only_a_long_path_costs_allocations() {
    let policy = "allowedDomains: [api.example.com]\n\
         rules: [{name: w, host: api.example.com, path: '/x/*/y', action: monitor}]";
    let long = "a".repeat(600);
    for (path, allocations) in [
        ("/v1/Items/", 0),
        ("/v1/items%20of%20mine", 0),
        ("/v1/items;x=1", 0),
        ("/;/v1/%2561/", 0),
        ("/X;y/%61/y%20/", 0),
        (&*format!("/v1/{long}"), 0),
        // One for what leads up to the pattern's first piece, and one for each of its three.
        (&*format!("/x/{long}/y"), 4),
        // The looser spelling, with and without segments that are blank, each step towards it one.
        (&*format!("/v1/{long}/%20"), 5),
    ] {
        let request = ["GET", "api.example.com", path].map(str::to_owned);
        let [admitted, refused] = [request.clone(), request.clone()];
        let case = Case { name: "odd path", text: policy.to_owned(), agent: None, admitted, refused };
        assert_eq!(of_decision(&case, &request, true), allocations, "{path}");
    }
}

/// From the request to the reply, with a credential and an address to look up. Whoever changes this number should know
/// why; it may always fall.
#[test]
fn an_exchange_allocates_what_it_sends_and_writes() {
    let policy = "allowedDomains: [api.example.com]\n\
         credentials: [{name: key, envVarKey: K, injections: [{domain: api.example.com, headerName: Authorization, headerFormat: 'Bearer {value}'}]}]";
    let rules = Arc::new(load(policy).rules);
    let secret = Arc::new(Secret::new(Zeroizing::new(b"a-secret".to_vec())).unwrap());
    let now = Now { wall: monday(), monotonic: Instant::now() };
    let session = Session {
        authority: Authority::parse(b"api.example.com:443").unwrap(),
        source: "192.0.2.1:1".into(),
        peer: None,
        tokens: Vec::new(),
        headers: Vec::new(),
    };
    let event = || {
        let fields =
            [(":method", "GET"), (":authority", "api.example.com"), (":path", "/v1/items?n=1"), ("accept", "*/*")];
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        Event::Request(Incoming {
            door: Door::Tls,
            fields: Fields::new(fields),
            session: Some(session.encode()),
            sni: Some("api.example.com".to_owned()),
            destination: None,
            source: None,
            peer: None,
            request_id: "id".into(),
            ends: true,
        })
    };
    let run = |mut event: Event| {
        let mut exchange = Exchange::new(rules.clone(), now);
        loop {
            event = match exchange.on(event, &rules, now) {
                Effect::Resolve { .. } => {
                    Event::Resolved(Ok(Resolved::Looked(smallvec::smallvec!["93.184.216.34".parse().unwrap()])))
                }
                Effect::FetchSecrets(_) => Event::Secrets(smallvec::smallvec![Some(secret.clone())]),
                Effect::Record(_) => Event::Recorded(true),
                Effect::Reply(Reply::Allow(_)) => return,
                other => panic!("{other:?}"),
            }
        }
    };
    run(event());
    let first = event();
    let counted = allocation_counter::measure(|| run(first));
    assert_eq!(counted.count_total, 24);
}

/// A conversation in which there is nothing: what is allocated is for what stands near line ends, not for what it is looked
/// at for.
#[test]
fn looking_at_a_clean_text_allocates_little_however_long_it_is() {
    let of = |size: usize| {
        let (_, text) = texts::usual(size).into_iter().find(|(name, _)| *name == "chat JSON").unwrap();
        let look = || {
            let mut report = Report::default();
            texts::lens().scan(&Surface::new(&text, Layout::Plain("body".into())), Vec::new(), &mut report);
            assert!(report.is_clean(), "{report:?}");
        };
        look();
        allocation_counter::measure(look).count_total
    };
    let (short, long) = (of(64 << 10), of(512 << 10));
    assert!(short <= 300, "{short}");
    assert!(long <= 2 * short, "{long} of eight times as much, {short}");
}
