//! What holds whatever an agent sends, and in whatever order the world answers.

use proptest::prelude::*;

use super::*;

/// Pieces of heads: what is well-formed, what nearly is, and anything.
pub fn head() -> impl Strategy<Value = Incoming> {
    let door = prop_oneof![Just(Door::Proxy), Just(Door::Tls), Just(Door::Plain)];
    let method = prop_oneof![Just("GET".to_owned()), Just("CONNECT".into()), Just("POST".into()), ".{0,8}"];
    let hosts =
        ["api.example", "API.example.:443", "query.example", "plain.example", "get.example", "evil.wild.example"];
    let authority = prop_oneof![4 => proptest::sample::select(hosts.to_vec()).prop_map(str::to_owned), 1 => ".{0,20}"];
    let paths = ["/", "/v1/x?key=1", "/two/x", "/a/../b", "/%2f", "*"];
    let path = prop_oneof![4 => proptest::sample::select(paths.to_vec()).prop_map(str::to_owned), 1 => "/.{0,20}", 1 => ".{0,20}"];
    let names =
        ["proxy-authorization", "authorization", "x-agent", "upgrade", "host", "x-key", "x-forwarded-for", ":path"];
    let values =
        ["Bearer ann-token", "Bearer bob-token", "Basic YW5uOmFubi10b2tlbg==", "ann", "websocket", "api.example"];
    let value = prop_oneof![3 => proptest::sample::select(values.to_vec()).prop_map(|v| v.as_bytes().to_vec()), 1 => any::<Vec<u8>>()];
    let extra =
        proptest::collection::vec((proptest::sample::select(names.to_vec()).prop_map(str::to_owned), value), 0..4);
    let tunnels = ["api.example:443", "query.example:443", "plain.example:80", "get.example:443"];
    let tunnel = proptest::option::weighted(0.8, (proptest::sample::select(tunnels.to_vec()), any::<bool>()));
    let session = prop_oneof![
        6 => tunnel.prop_map(|t| t.map(|(to, known)| session(to, known.then_some(ANN)))),
        1 => ".{0,30}".prop_map(Some),
    ];
    let sni = prop_oneof![4 => Just(true), 1 => Just(false)];
    (door, method, authority, path, extra, session, sni).prop_map(
        |(door, method, authority, path, extra, session, same)| {
            let own = [(":method", method), (":authority", authority.clone()), (":path", path)];
            let own = own.into_iter().map(|(n, v)| (n.to_owned(), v.into_bytes()));
            Incoming {
                door,
                fields: Fields::new(own.chain(extra).collect()),
                session,
                sni: same.then(|| authority.split(':').next().unwrap_or_default().to_owned()),
                source: None,
                destination: None,
                peer: None,
                request_id: "r1".into(),
                ends: true,
            }
        },
    )
}

/// A head that is refused for its form, if it is; read again, since reading takes the fields.
pub fn is_malformed(incoming: &Incoming) -> bool {
    RequestHead::parse(incoming.door, incoming.fields.clone()).is_err()
}

#[derive(Debug, Clone)]
enum Happens {
    Request(Box<(Incoming2, bool)>),
    Resolved(u8),
    Secrets(Vec<bool>),
    Recorded(bool),
}

/// An [`Incoming`] that can be cloned.
#[derive(Debug, Clone)]
struct Incoming2(Door, Fields, Option<String>, Option<String>);

impl Incoming2 {
    fn again(&self) -> Incoming {
        let Self(door, fields, session, sni) = self.clone();
        Incoming {
            door,
            fields,
            session,
            sni,
            source: None,
            destination: None,
            peer: None,
            request_id: "r1".into(),
            ends: true,
        }
    }
}

fn happens() -> impl Strategy<Value = Happens> {
    let head = head().prop_map(|i| {
        let malformed = is_malformed(&i);
        Happens::Request(Box::new((Incoming2(i.door, i.fields, i.session, i.sni), malformed)))
    });
    prop_oneof![
        1 => head,
        3 => (0u8..5).prop_map(Happens::Resolved),
        3 => proptest::collection::vec(any::<bool>(), 0..4).prop_map(Happens::Secrets),
        3 => proptest::bool::weighted(0.8).prop_map(Happens::Recorded),
    ]
}

fn event(happens: &Happens) -> Event {
    let secret = |there: &bool| there.then(|| Arc::new(Secret::new(Zeroizing::new(b"s".to_vec())).ok().unwrap()));
    match happens {
        Happens::Request(request) => Event::Request(request.0.again()),
        Happens::Resolved(0) => Event::Resolved(Err(ResolveFailure { reason: Reason::DnsFailure, detail: "".into() })),
        Happens::Resolved(1) => Event::Resolved(Ok(Resolved::Looked(SmallVec::new()))),
        Happens::Resolved(2) => Event::Resolved(Ok(Resolved::Stated(SmallVec::new()))),
        Happens::Resolved(3) => {
            Event::Resolved(Ok(Resolved::Looked(SmallVec::from_slice(&["10.0.0.1".parse().unwrap()]))))
        }
        Happens::Resolved(_) => Event::Resolved(Ok(Resolved::Looked(SmallVec::from_slice(&[PUBLIC.parse().unwrap()])))),
        Happens::Secrets(there) => Event::Secrets(there.iter().map(secret).collect()),
        Happens::Recorded(written) => Event::Recorded(*written),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(768))]

    /// A world that answers what is asked.
    #[test]
    fn every_request_gets_one_reply_and_every_answer_one_record(incoming in head(), writes in any::<bool>()) {
        let (malformed, fields) = (is_malformed(&incoming), incoming.fields.clone());
        let read = RequestHead::parse(incoming.door, fields.clone()).ok();
        let outcome = World { writes, ..World::new() }.run(incoming);
        match &outcome.reply {
            Some(Reply::Tunnel { .. }) => prop_assert_eq!(&outcome.asked, &["reply"]),
            Some(Reply::Allow(forward)) => {
                prop_assert!(!malformed && writes);
                prop_assert_eq!(outcome.records.len(), 1);
                prop_assert_eq!(outcome.records[0].decision, Verdict::Allow);
                prop_assert_eq!(&outcome.asked, &["resolve", "secrets", "record", "reply"]);
                // What was decided on is what goes out: nothing of it is rewritten but the query, and that only at its end.
                let (head, record) = (read.unwrap(), &outcome.records[0]);
                prop_assert_eq!((&*record.host, &record.path), (&*head.authority.host.to_string(), &head.path));
                prop_assert_eq!((&record.method, record.port), (&head.method, Some(forward.upstream.first.port())));
                prop_assert_eq!(record.scheme.as_deref() == Some("http"), forward.plaintext);
                let target = forward.set.iter().find(|(name, _)| &**name == ":path");
                let before = fields.get(":path").unwrap_or_default();
                let raw = before.split(|b| *b == b'?').next().unwrap();
                prop_assert!(target.is_none_or(|(_, now)| now.strip_prefix(raw).is_some_and(|rest| rest.starts_with(b"?"))));
                let pseudo = |name: &str| name.starts_with(':') || name == "host";
                prop_assert!(!forward.remove.iter().any(|name| pseudo(name)));
                prop_assert!(!forward.set.iter().any(|(name, _)| pseudo(name) && &**name != ":path"));
                let stays = |n: &str| !forward.remove.iter().any(|r| **r == *n) && !forward.set.iter().any(|(s, _)| **s == *n);
                for (name, value) in fields.iter().filter(|(n, _)| stays(n)) {
                    prop_assert!(!["proxy-authorization", "x-agent", "x-forwarded-for"].contains(&name));
                    prop_assert!(value != b"Bearer ann-token" || name != "authorization");
                }
            }
            _ => {
                prop_assert_eq!(outcome.records.len(), 1);
                prop_assert!(writes || !malformed || outcome.records[0].decision == Verdict::Deny);
                prop_assert!(!malformed || outcome.asked == ["record", "reply"]);
            }
        }
    }

    /// A world that says anything at any time, under policies that come and go.
    #[test]
    fn nothing_leaves_but_on_the_one_way(first in head(), rest in proptest::collection::vec((happens(), any::<bool>()), 0..12), in_order in 0usize..4) {
        let policies = [policy("one", |_| {}), policy("two", |rules| rules.agents.set_default(AgentId(1)))];
        let mut exchange = Exchange::new(policies[0].clone(), now());
        let malformed = is_malformed(&first);
        let first = Happens::Request(Box::new((Incoming2(first.door, first.fields, first.session, first.sni), malformed)));
        let mut malformed_seen = false;
        let mut opened = false;
        let (mut resolving, mut fetching, mut recording) = (false, false, None);
        let (mut replied, mut records) = (false, 0);
        // Left to chance alone, few sequences would come far.
        let start = [first, Happens::Resolved(9), Happens::Secrets(vec![true; 4])].into_iter().take(in_order).map(|h| (h, false));
        for (step, (happening, other)) in start.chain(rest).enumerate() {
            if let Happens::Request(request) = &happening && step == 0 {
                malformed_seen = request.1;
                opened = true;
            }
            let recorded = matches!(happening, Happens::Recorded(true));
            let is_resolved = matches!(happening, Happens::Resolved(_));
            let effect = exchange.on(event(&happening), &policies[usize::from(other)], now());
            let only_refuses = malformed_seen || !opened || replied;
            match &effect {
                Effect::Resolve { .. } => {
                    prop_assert!(!only_refuses);
                    (resolving, fetching, recording) = (true, false, None);
                }
                Effect::FetchSecrets(_) => {
                    prop_assert!(!only_refuses && resolving && is_resolved);
                    (resolving, fetching) = (false, true);
                }
                Effect::Note(_) | Effect::Pass(_) => prop_assert!(false, "nothing is looked into"),
                Effect::Look(_) | Effect::Ask(_) | Effect::Admit { .. } | Effect::Reply(Reply::HoldBody { .. }) => {
                    prop_assert!(false, "this policy neither limits nor asks");
                }
                Effect::Record(record) => {
                    prop_assert!(record.decision != Verdict::Allow || (fetching && !only_refuses));
                    (resolving, fetching, recording) = (false, false, Some(record.decision));
                    records += usize::from(!replied);
                }
                Effect::Reply(Reply::Allow(_)) => {
                    prop_assert!(!only_refuses && recorded && recording == Some(Verdict::Allow));
                    prop_assert_eq!(records, 1);
                    replied = true;
                }
                Effect::Reply(Reply::Tunnel { .. }) => {
                    prop_assert!(!only_refuses && step == 0);
                    prop_assert_eq!(records, 0);
                    replied = true;
                }
                Effect::Reply(Reply::Deny(answer)) => {
                    prop_assert!((400..600).contains(&answer.status) && recording.is_some());
                    prop_assert!(replied || records == 1);
                    replied = true;
                }
            }
        }
    }
}
