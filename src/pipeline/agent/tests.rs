use proptest::prelude::*;

use super::*;
use crate::pipeline::message::Fields;

/// The certificates, the token `ann-short` and this moment: what ends, ends 100 s after it.
const NOW: u64 = 1_000_000;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn agents() -> Agents {
    let mut agents = Agents::default();
    let ann = agents.add("ann");
    let bob = agents.add("bob");
    agents.add_certificate("spiffe://a.example/ann", ann);
    agents.add_certificate("spiffe://a.example/bob", bob);
    agents.add_token(TokenHash::of(b"ann-token"), ann, None);
    agents.add_token(TokenHash::of(b"ann-short"), ann, Some(at(NOW + 100)));
    agents.add_token(TokenHash::of(b"ann-old"), ann, Some(at(NOW)));
    agents.add_token(TokenHash::of(b"bob-token"), bob, None);
    agents.add_source("10.1.0.0/16".parse().unwrap(), ann);
    agents.add_source("10.1.2.0/24".parse().unwrap(), bob);
    agents.add_source("10.1.2.3/32".parse().unwrap(), ann);
    agents.add_source("2001:db8::/32".parse().unwrap(), bob);
    agents.add_header("X-Agent", "ann", ann);
    agents
}

fn head(door: Door, method: &str, fields: &[(&str, &str)]) -> RequestHead {
    let own = [(":method", method), (":authority", "a.example:443"), (":path", "/")];
    let fields = own.iter().chain(fields).map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
    RequestHead::parse(door, Fields::new(fields)).unwrap()
}

type Found = Result<Option<(String, How)>, Reason>;

fn who(agents: &Agents, door: Door, fields: &[(&str, &str)]) -> Found {
    who_from(agents, door, fields, &Origin::unknown(at(NOW)))
}

fn who_from(agents: &Agents, door: Door, fields: &[(&str, &str)], origin: &Origin<'_>) -> Found {
    let found = agents.identify(&head(door, "GET", fields), origin).map_err(|d| d.reason)?;
    Ok(found.map(|c| (agents.name(c.agent).to_string(), c.how)))
}

fn is(name: &str, how: How) -> Found {
    Ok(Some((name.to_owned(), how)))
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

#[test]
fn every_shown_identity_must_be_known_and_agree() {
    let agents = agents();
    let (ann, bob) = (basic("ann:ann-token"), basic("bob:bob-token"));
    let wrong_user = basic("bob:ann-token");
    let token = Some(("ann".to_owned(), How::Token));
    for (fields, expected) in [
        (vec![], Ok(None)),
        (vec![("proxy-authorization", &*ann)], Ok(token.clone())),
        (vec![("proxy-authorization", "bearer ann-token")], Ok(token.clone())),
        (vec![("authorization", "Bearer ann-token")], Ok(token.clone())),
        (vec![("x-agent", "ann")], Ok(Some(("ann".to_owned(), How::Header)))),
        (vec![("x-agent", "ann"), ("proxy-authorization", &*ann)], Ok(token.clone())),
        (vec![("x-agent", "ann"), ("proxy-authorization", &*bob)], Err(Reason::IdentityConflict)),
        (vec![("authorization", "Bearer bob-token"), ("proxy-authorization", &*ann)], Err(Reason::IdentityConflict)),
        (vec![("proxy-authorization", &*ann), ("proxy-authorization", &*ann)], Err(Reason::IdentityConflict)),
        (vec![("proxy-authorization", &*wrong_user)], Err(Reason::IdentityConflict)),
        (vec![("proxy-authorization", "Basic !")], Err(Reason::InvalidToken)),
        (vec![("proxy-authorization", "Digest x")], Err(Reason::InvalidToken)),
        (vec![("proxy-authorization", "Bearer nobody")], Err(Reason::InvalidToken)),
        (vec![("x-agent", "nobody")], Err(Reason::UnknownIdentity)),
        (vec![("x-agent", "ann"), ("x-agent", "nobody")], Err(Reason::UnknownIdentity)),
        (vec![("x-other", "ann")], Ok(None)),
    ] {
        assert_eq!(who(&agents, Door::Tls, &fields), expected, "{fields:?}");
    }
}

#[test]
fn an_unknown_bearer_is_the_agents_own_header_but_in_front_of_the_proxy() {
    let agents = agents();
    let own = [("authorization", "Bearer sk-own")];
    assert_eq!(who(&agents, Door::Tls, &own), Ok(None));
    assert_eq!(who(&agents, Door::Proxy, &own), Err(Reason::InvalidToken));
    let both = [("authorization", "Bearer sk-own"), ("x-agent", "ann")];
    assert_eq!(who(&agents, Door::Proxy, &both), Ok(Some(("ann".to_owned(), How::Header))));
}

#[test]
fn a_header_that_nobody_trusts_identifies_nobody_and_stays_behind() {
    let mut agents = agents();
    agents.strip_header("X-Untrusted");
    assert_eq!(who(&agents, Door::Tls, &[("x-untrusted", "ann")]), Ok(None));
    assert!(agents.is_identity_header("x-untrusted") && agents.is_identity_header("x-agent"));
    assert!(!agents.is_identity_header("x-other"));
}

/// Whoever guesses, however it is shown, is bounded; whoever shows what is long enough is not kept waiting by that.
#[test]
fn wrong_tokens_are_bounded_wherever_they_are_shown() {
    let long = "ann-has-a-token-of-thirty-two-or-more";
    let now = Instant::now();
    let session = |token: &str| Session {
        authority: crate::pipeline::message::Authority::parse(b"a.example:443").unwrap(),
        source: "192.0.2.7:1".into(),
        peer: None,
        tokens: vec![TokenHash::of(token.as_bytes())],
        headers: Vec::new(),
    };
    for (door, name, scheme) in [
        (Door::Proxy, "proxy-authorization", "Bearer"),
        (Door::Proxy, "proxy-authorization", "Basic"),
        (Door::Proxy, "authorization", "Bearer"),
        (Door::Tls, "authorization", "Bearer"),
    ] {
        let mut agents = agents();
        agents.add_token(TokenHash::of(long.as_bytes()), AgentId(0), None);
        agents.bound_guesses(Arc::new(Guesses::new(&std::hash::RandomState::new())));
        let origin = Origin { source: Some("192.0.2.7:1"), guessed: Some(now), ..Origin::unknown(at(NOW)) };
        let show = |token: &str, origin: &Origin<'_>| {
            let value = if scheme == "Basic" { basic(&format!("ann:{token}")) } else { format!("Bearer {token}") };
            who_from(&agents, door, &[(name, &value)], origin)
        };
        assert_eq!(show("ann-token", &origin), is("ann", How::Token));
        let refused = (0..100).filter(|n| show(&format!("guess-{n}"), &origin) == Err(Reason::TooManyTokens)).count();
        assert_eq!(refused, 80, "{door:?} {name} {scheme}");
        assert_eq!(show("ann-token", &origin), is("ann", How::Token), "it was right here before");
        assert_eq!(show(long, &origin), is("ann", How::Token));
        // Not found out now by whoever guesses it, and not charged to anybody else.
        let short = show("ann-short", &origin);
        assert_eq!(short, Err(Reason::TooManyTokens));
        let elsewhere = Origin { source: Some("192.0.2.8:1"), ..origin };
        assert_eq!(show("ann-short", &elsewhere), is("ann", How::Token));
        // What opened the tunnel was right then.
        let opened = session("ann-short");
        let inside = Origin { session: Some(&opened), ..origin };
        assert_eq!(who_from(&agents, Door::Tls, &[], &inside), is("ann", How::Token));
        let again = Origin { guessed: None, ..origin };
        assert_eq!(show("ann-short", &again), is("ann", How::Token), "who it is was known before");
    }
}

/// Whoever is known could try in `Authorization` whether it names somebody else.
#[test]
fn an_agents_own_short_bearer_is_its_own_and_a_row_of_them_is_guessing() {
    let mut agents = agents();
    agents.bound_guesses(Arc::new(Guesses::new(&std::hash::RandomState::new())));
    let origin = Origin { source: Some("192.0.2.7:1"), guessed: Some(Instant::now()), ..Origin::unknown(at(NOW)) };
    let show = |own: &str| {
        let own = format!("Bearer {own}");
        who_from(&agents, Door::Tls, &[("x-agent", "ann"), ("authorization", &own)], &origin)
    };
    assert_eq!(show("sk-own"), is("ann", How::Header));
    let passed = (0..100).filter(|n| show(&format!("guess-{n}")).is_ok()).count();
    assert_eq!(passed, 19);
    assert_eq!(show("bob-token"), Err(Reason::TooManyTokens), "whether it is somebody's is not said");
    assert_eq!(show("sk-own"), is("ann", How::Header), "what was used before is not kept waiting");
    for n in 0..100 {
        assert_eq!(show(&format!("sk-an-own-key-of-thirty-two-or-more-{n}")), is("ann", How::Header));
    }
}

#[test]
fn headers_that_speak_of_another_request_are_known() {
    for name in [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-url",
        "x-original-host",
        "x-rewrite-url",
        "x-rewrite-uri",
        "x-override-url",
        "x-host",
        "x-http-host-override",
        "forwarded",
        "x-forwarded",
        "x-forwarded-host",
        "x-forwarded-prefix",
    ] {
        assert!(is_override_header(name), "{name}");
    }
    for name in ["x-forwarded-proto", "host", "x-api-key", "x-original", "authorization"] {
        assert!(!is_override_header(name), "{name}");
    }
}

#[test]
fn a_fixed_agent_is_everybody_but_never_somebody_else() {
    let mut agents = agents();
    agents.fix(AgentId(0));
    assert_eq!(who(&agents, Door::Tls, &[]), Ok(Some(("ann".to_owned(), How::Fixed))));
    assert_eq!(who(&agents, Door::Tls, &[("authorization", "Bearer bob-token")]), Err(Reason::IdentityConflict));
    assert_eq!(
        who(&agents, Door::Proxy, &[("authorization", "Bearer sk-own")]),
        Ok(Some(("ann".to_owned(), How::Fixed)))
    );
}

#[test]
fn a_default_agent_is_only_for_those_who_show_nothing() {
    let mut agents = agents();
    agents.set_default(AgentId(1));
    assert_eq!(who(&agents, Door::Tls, &[]), Ok(Some(("bob".to_owned(), How::Default))));
    assert_eq!(who(&agents, Door::Tls, &[("proxy-authorization", "Bearer nobody")]), Err(Reason::InvalidToken));
}

#[test]
fn a_certificate_names_an_agent_by_its_one_spiffe_id_while_it_lasts() {
    let agents = agents();
    let peer = |uris: &str| Some(Peer { not_after: NOW + 100, uris: uris.into() });
    for (uris, expected) in [
        ("spiffe://a.example/ann", is("ann", How::Mtls)),
        ("spiffe://a.example/bob", is("bob", How::Mtls)),
        ("spiffe://a.example/Ann", Err(Reason::UnknownIdentity)),
        ("spiffe://a.example/ann/", Err(Reason::UnknownIdentity)),
        ("spiffe://a.example/an", Err(Reason::UnknownIdentity)),
        ("SPIFFE://a.example/ann", Err(Reason::UnknownIdentity)),
        ("", Err(Reason::UnknownIdentity)),
        ("spiffe://a.example/ann,spiffe://a.example/ann", Err(Reason::IdentityConflict)),
        ("spiffe://a.example/ann,", Err(Reason::IdentityConflict)),
    ] {
        let peer = peer(uris);
        let origin = Origin { peer: peer.as_ref(), ..Origin::unknown(at(NOW)) };
        assert_eq!(who_from(&agents, Door::Proxy, &[], &origin), expected, "{uris}");
        // What was shown does not vanish because policy says who everybody is, or who nobody is.
        let mut more = agents.clone();
        more.set_default(AgentId(0));
        assert_eq!(who_from(&more, Door::Proxy, &[], &origin), expected, "{uris}");
    }
    let peer = peer("spiffe://a.example/ann");
    for (now, expected) in [(NOW + 99, is("ann", How::Mtls)), (NOW + 100, Err(Reason::UnknownIdentity))] {
        let origin = Origin { peer: peer.as_ref(), ..Origin::unknown(at(now)) };
        assert_eq!(who_from(&agents, Door::Proxy, &[], &origin), expected, "{now}");
    }
    let token = [("proxy-authorization", "Bearer bob-token")];
    let origin = Origin { peer: peer.as_ref(), ..Origin::unknown(at(NOW)) };
    assert_eq!(who_from(&agents, Door::Proxy, &token, &origin), Err(Reason::IdentityConflict));
}

#[test]
fn a_token_that_has_expired_is_nobodys_from_that_moment_on() {
    let mut agents = agents();
    agents.set_default(AgentId(1));
    let session = Session {
        authority: crate::pipeline::message::Authority::parse(b"a.example:443").unwrap(),
        source: "192.0.2.7:1".into(),
        peer: None,
        tokens: vec![TokenHash::of(b"ann-short")],
        headers: Vec::new(),
    };
    for (now, expected) in [
        (NOW, is("ann", How::Token)),
        (NOW + 99, is("ann", How::Token)),
        (NOW + 100, Err(Reason::InvalidToken)),
        (NOW + 100_000, Err(Reason::InvalidToken)),
    ] {
        let origin = Origin::unknown(at(now));
        for name in ["proxy-authorization", "authorization"] {
            let fields = [(name, "Bearer ann-short")];
            for door in [Door::Proxy, Door::Tls] {
                assert_eq!(who_from(&agents, door, &fields, &origin), expected, "{name} {door:?} {now}");
            }
        }
        let inside = Origin { session: Some(&session), ..origin };
        assert_eq!(who_from(&agents, Door::Tls, &[], &inside), expected, "{now}");
    }
    let denial =
        agents.identify(&head(Door::Proxy, "GET", &[("authorization", "Bearer ann-old")]), &Origin::unknown(at(NOW)));
    assert_eq!(denial.unwrap_err().detail.as_deref(), Some("a token of `ann` that has expired"));
}

#[test]
fn the_narrowest_range_of_an_address_names_its_agent() {
    let agents = agents();
    for (source, expected) in [
        ("10.1.0.1:1", Some("ann")),
        ("10.1.2.4:65535", Some("bob")),
        ("10.1.2.3:1", Some("ann")),
        ("[::ffff:10.1.2.4]:1", Some("bob")),
        ("[2001:db8:1::1]:1", Some("bob")),
        ("10.2.0.1:1", None),
        ("[2001:db9::1]:1", None),
        ("10.1.0.1", None),
        ("/tmp/socket", None),
        ("", None),
    ] {
        let origin = Origin { source: Some(source), ..Origin::unknown(at(NOW)) };
        let expected = expected.map(|name| (name.to_owned(), How::Source));
        assert_eq!(who_from(&agents, Door::Tls, &[], &origin), Ok(expected), "{source}");
    }
    let origin = Origin { source: Some("10.1.0.1:1"), ..Origin::unknown(at(NOW)) };
    let token = |value| [("proxy-authorization", value)];
    assert_eq!(who_from(&agents, Door::Tls, &token("Bearer ann-token"), &origin), is("ann", How::Token));
    assert_eq!(who_from(&agents, Door::Tls, &token("Bearer bob-token"), &origin), Err(Reason::IdentityConflict));
    // Whoever is known by its address keeps a Bearer of its own.
    let own = [("authorization", "Bearer sk-own")];
    assert_eq!(who_from(&agents, Door::Proxy, &own, &origin), is("ann", How::Source));
}

#[test]
fn a_session_is_checked_against_the_policy_of_the_moment() {
    let agents = agents();
    let shown =
        [("proxy-authorization", &*basic("ann:ann-token")), ("authorization", "Bearer ann-short"), ("x-agent", "ann")];
    let connect = head(Door::Proxy, "CONNECT", &shown);
    let (tokens, headers) = agents.inherited(&connect);
    assert_eq!(tokens, [TokenHash::of(b"ann-token"), TokenHash::of(b"ann-short")]);
    assert_eq!(headers, [("x-agent".into(), Box::from(*b"ann"))]);
    let session =
        Session { authority: connect.authority.clone(), source: "192.0.2.7:1".into(), peer: None, tokens, headers };
    let origin = Origin { session: Some(&session), ..Origin::unknown(at(NOW)) };
    assert_eq!(who_from(&agents, Door::Tls, &[], &origin), is("ann", How::Token));
    let mut revoked = Agents::default();
    let ann = revoked.add("ann");
    revoked.add_header("x-agent", "ann", ann);
    assert_eq!(who_from(&revoked, Door::Tls, &[], &origin), Err(Reason::InvalidToken));
    // Each of them has to hold, the second as well.
    revoked.add_token(TokenHash::of(b"ann-token"), ann, None);
    assert_eq!(who_from(&revoked, Door::Tls, &[], &origin), Err(Reason::InvalidToken));
}

/// What a request may show, each with whom it names: `Err` for nobody.
#[derive(Debug, Clone, Copy)]
enum Shown {
    Certificate(&'static str),
    Token(&'static str),
    TokenAtConnect(&'static str),
    Bearer(&'static str),
    Header(&'static str),
    Source(&'static str),
}

const EVERYTHING: [(Shown, Result<&str, ()>); 15] = [
    (Shown::Certificate("spiffe://a.example/ann"), Ok("ann")),
    (Shown::Certificate("spiffe://a.example/bob"), Ok("bob")),
    (Shown::Certificate("spiffe://a.example/carl"), Err(())),
    (Shown::Certificate("spiffe://a.example/ann,spiffe://a.example/bob"), Err(())),
    (Shown::Token("ann-token"), Ok("ann")),
    (Shown::Token("bob-token"), Ok("bob")),
    (Shown::Token("ann-old"), Err(())),
    (Shown::TokenAtConnect("ann-short"), Ok("ann")),
    (Shown::TokenAtConnect("bob-token"), Ok("bob")),
    (Shown::TokenAtConnect("nobody"), Err(())),
    (Shown::Bearer("ann-token"), Ok("ann")),
    (Shown::Bearer("bob-token"), Ok("bob")),
    (Shown::Header("ann"), Ok("ann")),
    (Shown::Header("bob"), Err(())),
    (Shown::Source("10.1.2.9:5"), Ok("bob")),
];

proptest! {
    /// Whatever is shown together: either all of it names one agent, and that one it is, or the request is refused.
    #[test]
    fn what_is_shown_names_one_agent_or_is_refused(
        picked in proptest::collection::vec(proptest::sample::select(EVERYTHING.to_vec()), 0..6),
        fixed in proptest::option::of(0usize..2),
        default in proptest::option::of(0usize..2),
        inside in any::<bool>(),
    ) {
        let mut agents = agents();
        if let Some(fixed) = fixed {
            agents.fix(AgentId(fixed));
        }
        if let Some(default) = default {
            agents.set_default(AgentId(default));
        }
        let mut fields = Vec::new();
        let (mut peer, mut source, mut at_connect, mut named) = (None, None, Vec::new(), Vec::new());
        let mut repeated = false;
        for (shown, names) in picked {
            match shown {
                // A connection has one of these.
                Shown::Certificate(_) if peer.is_some() => continue,
                Shown::Source(_) if source.is_some() => continue,
                Shown::Certificate(uris) => peer = Some(Peer { not_after: NOW + 1, uris: uris.into() }),
                Shown::Source(address) => source = Some(address),
                Shown::Token(token) => {
                    repeated |= fields.iter().any(|(name, _)| *name == "proxy-authorization");
                    fields.push(("proxy-authorization", format!("Bearer {token}")));
                }
                Shown::TokenAtConnect(token) => at_connect.push(TokenHash::of(token.as_bytes())),
                Shown::Bearer(token) => fields.push(("authorization", format!("Bearer {token}"))),
                Shown::Header(value) => fields.push(("x-agent", value.to_owned())),
            }
            named.push(names);
        }
        let session = Session {
            authority: crate::pipeline::message::Authority::parse(b"a.example:443").unwrap(),
            source: "192.0.2.7:1".into(),
            peer: None,
            tokens: at_connect,
            headers: Vec::new(),
        };
        let origin = Origin { session: Some(&session), peer: peer.as_ref(), source, now: at(NOW), guessed: None };
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let door = if inside { Door::Tls } else { Door::Proxy };
        let found = who_from(&agents, door, &fields, &origin).map(|found| found.map(|(name, _)| name));

        let name = |id: usize| ["ann", "bob"][id];
        let one = named.iter().flatten().next().copied();
        let all_agree = !repeated && named.iter().all(|names| names.is_ok() && names.ok() == one);
        let expected = match (all_agree, one, fixed) {
            (false, ..) => None,
            (true, Some(one), Some(fixed)) if one != name(fixed) => None,
            (true, Some(one), _) => Some(Some(one)),
            (true, None, _) => Some(fixed.or(default).map(name)),
        };
        prop_assert_eq!(found.ok(), expected.map(|name| name.map(str::to_owned)), "{:?}", named);
    }
}
