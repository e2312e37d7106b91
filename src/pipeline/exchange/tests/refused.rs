//! Requests that are refused: for what, and what becomes of them.

use super::*;
use crate::pipeline::guesses::{Guesses, Place};

/// Every refusal that a request itself can bring about: its name, the request, the reason, the status.
fn refused() -> Vec<(&'static str, Incoming, Reason, u16)> {
    use Reason::*;
    let ann = basic("ann", ANN);
    let with_ann = [("proxy-authorization", &*ann)];
    let wrong_user = basic("bob", ANN);
    let nobody = basic("ann", "nobody");
    let no_session = |mut i: Incoming| {
        i.session = None;
        i
    };
    let tunnel = |to: &str, token, mut i: Incoming| {
        i.session = Some(session(to, token));
        i
    };
    let sni = |name: Option<&str>, mut i: Incoming| {
        i.sni = name.map(str::to_owned);
        i
    };
    let redirected = |mut i: Incoming| {
        i.session = None;
        i.destination = Some("198.51.100.9:443".into());
        i
    };
    let plain = |url: &str| Incoming { door: Door::Plain, sni: None, ..tls("GET", url, &[]) };
    let two_protocols = [("upgrade", "websocket"), ("upgrade", "h2c")];
    vec![
        ("token of nobody", proxy("GET", "api.example/", &[("proxy-authorization", &nobody)]), InvalidToken, 407),
        ("bearer of nobody", proxy("GET", "api.example/", &[("authorization", "Bearer x")]), InvalidToken, 401),
        (
            "token of nobody at CONNECT",
            proxy("CONNECT", "api.example:443", &[("proxy-authorization", &nobody)]),
            InvalidToken,
            407,
        ),
        (
            "revoked token inside",
            tunnel("api.example:443", Some("old"), tls("GET", "api.example/", &[])),
            InvalidToken,
            401,
        ),
        ("no identity in front", proxy("GET", "api.example/", &[]), NoIdentity, 401),
        ("no identity inside", tunnel("api.example:443", None, tls("GET", "api.example/", &[])), NoIdentity, 401),
        ("unknown header", proxy("GET", "api.example/", &[("x-agent", "x")]), UnknownIdentity, 401),
        ("untrusted header", proxy("GET", "api.example/", &[("x-untrusted", "ann")]), NoIdentity, 401),
        (
            "another user name",
            proxy("GET", "api.example/", &[("proxy-authorization", &wrong_user)]),
            IdentityConflict,
            407,
        ),
        ("two agents", tls("GET", "api.example/", &[("authorization", "Bearer bob-token")]), IdentityConflict, 401),
        ("no method", proxy("G T", "api.example/", &with_ann), MalformedRequest, 400),
        ("two paths", proxy("GET", "api.example/", &[(":path", "/x")]), MalformedRequest, 400),
        ("CONNECT inside", tls("CONNECT", "api.example:443/", &[]), MalformedRequest, 400),
        (
            "CONNECT for a protocol",
            proxy("CONNECT", "api.example:443", &[(":protocol", "connect-udp")]),
            MalformedRequest,
            400,
        ),
        ("user information", proxy("GET", "u:p@api.example/", &with_ann), MalformedAuthority, 400),
        ("an odd address", proxy("GET", "0x7f.1/", &with_ann), MalformedAuthority, 400),
        ("CONNECT without port", proxy("CONNECT", "api.example", &with_ann), MalformedAuthority, 400),
        ("Host differs", proxy("GET", "api.example/", &[("host", "x.example")]), MalformedAuthority, 400),
        ("encoded slash", proxy("GET", "api.example/a%2fb", &with_ann), MalformedPath, 400),
        ("dot segment", tls("GET", "api.example/a/..;/b", &[]), MalformedPath, 400),
        ("redirected, without identity", redirected(tls("GET", "api.example/", &[])), NoIdentity, 401),
        (
            "redirected, with another TLS name",
            sni(Some("ws.example"), redirected(tls("GET", "api.example/", &[("authorization", "Bearer bob-token")]))),
            AuthorityMismatch,
            421,
        ),
        (
            "redirected, without a TLS name",
            sni(None, redirected(tls("GET", "api.example/", &[("authorization", "Bearer bob-token")]))),
            AuthorityMismatch,
            421,
        ),
        (
            "redirected, to a host that nothing allows",
            redirected(tls("GET", "other.example/", &[("authorization", "Bearer bob-token")])),
            DomainNotAllowed,
            403,
        ),
        (
            "another host than the tunnel's",
            tunnel("ws.example:443", Some(ANN), tls("GET", "api.example/", &[])),
            AuthorityMismatch,
            421,
        ),
        (
            "another port than the tunnel's",
            tunnel("api.example:8443", Some(ANN), tls("GET", "api.example/", &[])),
            AuthorityMismatch,
            421,
        ),
        ("another name in TLS", sni(Some("ws.example"), tls("GET", "api.example/", &[])), AuthorityMismatch, 421),
        ("no name in TLS", sni(None, tls("GET", "api.example/", &[])), AuthorityMismatch, 421),
        ("a name for an address", sni(Some("api.example"), tls("GET", "93.184.216.34/", &[])), AuthorityMismatch, 421),
        ("plain HTTP in a tunnel to 443", plain("api.example/"), AuthorityMismatch, 421),
        ("unlisted", tls("GET", "other.example/", &[]), DomainNotAllowed, 403),
        ("another port", tls("GET", "api.example:8443/", &[]), DomainNotAllowed, 403),
        ("plaintext host over TLS", tls("GET", "plain.example/", &[]), DomainNotAllowed, 403),
        ("another agent's domain", tls("GET", "bob.example/", &[]), DomainNotAllowed, 403),
        ("the apex of a wildcard", tls("GET", "wild.example/", &[]), DomainNotAllowed, 403),
        ("CONNECT to an unlisted host", proxy("CONNECT", "other.example:443", &[]), DomainNotAllowed, 403),
        ("CONNECT to another's domain", proxy("CONNECT", "bob.example:443", &with_ann), DomainNotAllowed, 403),
        ("below a blocked name", tls("GET", "x.evil.wild.example/", &[]), DomainBlocked, 403),
        ("denied", tls("GET", "denied.example/", &[]), DomainBlocked, 403),
        ("CONNECT to a blocked host", proxy("CONNECT", "evil.wild.example:443", &with_ann), DomainBlocked, 403),
        ("another path", tls("GET", "get.example/v2", &[]), RouteNotAllowed, 403),
        ("another method", tls("HEAD", "get.example/v1/x", &[]), RouteNotAllowed, 403),
        ("TRACE", tls("TRACE", "api.example/", &[]), RouteNotAllowed, 403),
        ("another path than the credential's", tls("GET", "routes.example/v2", &[]), EndpointNotAllowed, 403),
        ("another method than the credential's", tls("POST", "routes.example/v1", &[]), EndpointNotAllowed, 403),
        ("WebSocket", tls("GET", "api.example/", &[("upgrade", "websocket")]), UpgradeNotAllowed, 403),
        ("two protocols", tls("GET", "ws.example/", &two_protocols), UpgradeNotAllowed, 403),
        ("a private address", tls("GET", "inside.example/", &[]), AddressForbidden, 403),
        ("no such name", tls("GET", "nowhere.example/", &[]), NameNotFound, 503),
        ("DNS is silent", tls("GET", "slow.example/", &[]), DnsFailure, 503),
        ("no secret", tls("GET", "missing.example/", &[]), SecretUnavailable, 503),
        ("a tunnel without its session", no_session(tls("GET", "api.example/", &[])), InternalError, 503),
    ]
}

#[test]
fn every_refusal_has_its_reason_its_status_and_its_record() {
    for (name, incoming, reason, status) in refused() {
        let form = reason.class() == Class::Malformed;
        let outcome = World::new().run(incoming);
        assert_eq!((outcome.reason(), outcome.answer().status), (reason.as_str(), status), "{name}");
        let record = outcome.record();
        assert_eq!(record.status, Some(status), "{name}");
        assert_eq!(record.decision == Verdict::Error, status == 503, "{name}");
        assert!(record.credential.is_empty() && record.upstream.is_none(), "{name}");
        assert!(!form || outcome.asked == ["record", "reply"], "{name}: {:?}", outcome.asked);
        let secrets_asked = outcome.asked.contains(&"secrets");
        assert_eq!(secrets_asked, reason == Reason::SecretUnavailable, "{name}");
    }
}

#[test]
fn every_reason_is_reached() {
    let mut reached: HashSet<_> = refused().into_iter().map(|(_, _, reason, _)| reason).collect();
    reached.extend(obligations::refused().into_iter().map(|(_, _, _, reason, _)| reason));
    // By tests of their own, below.
    reached.extend([Reason::RecordFailed, Reason::ClientGone, Reason::Overloaded, Reason::TooManyTokens]);
    // What looks into messages says these, and the tests of what passes through it.
    reached.extend([
        Reason::DlpBlocked,
        Reason::OwnCredentials,
        Reason::Undecodable,
        Reason::MalformedBody,
        Reason::BodyTooLarge,
        Reason::BudgetExhausted,
        Reason::WebsocketBlocked,
        Reason::ScanFailed,
        Reason::ResponseBlocked,
        Reason::ResponseUnparsable,
    ]);
    // These are written by the certificate service and from the access log.
    reached.extend([Reason::CertificateRefused, Reason::HandshakeFailed, Reason::NoVerdict, Reason::Unreconciled]);
    for reason in Reason::ALL {
        assert!(reached.contains(reason), "{}", reason.as_str());
    }
}

#[test]
fn tokens_that_are_guessed_are_refused_without_a_record_for_each() {
    let guesses = Arc::new(Guesses::new(&std::hash::RandomState::new()));
    let mut world = World::under(|rules| rules.agents.bound_guesses(guesses.clone()));
    let mut show =
        |token: &str| world.run(proxy("GET", "api.example/", &[("authorization", &format!("Bearer {token}"))]));
    for number in 0..20 {
        assert_eq!(show(&format!("guess-{number}")).reason(), "invalid_token");
    }
    let first = show("guess");
    assert_eq!((first.reason(), first.record().decision), ("too_many_tokens", Verdict::RateLimited));
    assert!(!first.answer().is_summed && !first.answer().body.contains("192.0.2.7"), "{first:?}");
    for number in 0..30 {
        let outcome = show(&format!("more-{number}"));
        assert!(outcome.records.is_empty() && outcome.answer().is_summed, "{outcome:?}");
        assert_eq!(outcome.answer().status, 429);
        assert!(outcome.answer().fields.iter().any(|(name, value)| *name == "retry-after" && value == "6"));
    }
    assert_eq!(guesses.take_untold(), [(Place::of(None, Some("192.0.2.7:1")), 30)]);
    // What cannot be read is refused for that, and tells nothing of the token that it shows.
    let malformed = world.run(proxy("G T", "api.example/", &[("authorization", "Bearer one-more")]));
    assert_eq!(malformed.reason(), "malformed_request");
}

#[test]
fn without_a_record_nothing_leaves_and_a_refusal_stands() {
    let mut world = World { writes: false, ..World::new() };
    let outcome = world.run(tls("GET", "api.example/", &[]));
    assert_eq!(outcome.answer().status, 503);
    assert!(outcome.answer().body.contains("record_failed"));
    assert_eq!(world.run(tls("GET", "other.example/", &[])).answer().status, 403);
}

#[test]
fn only_the_answer_to_the_record_releases_a_request() {
    let world = World::new();
    let stray = || Event::Resolved(Ok(Resolved::Looked(SmallVec::from_slice(&[PUBLIC.parse().unwrap()]))));
    let mut exchange = Exchange::new(world.rules.clone(), now());
    exchange.on(Event::Request(tls("GET", "stated.example/", &[])), &world.rules, now());
    exchange.on(stray(), &world.rules, now());
    let effect = exchange.on(Event::Secrets(SmallVec::new()), &world.rules, now());
    assert!(matches!(effect, Effect::Record(record) if record.decision == Verdict::Allow));
    let effect = exchange.on(stray(), &world.rules, now());
    assert!(matches!(effect, Effect::Reply(Reply::Deny(answer)) if answer.status == 503));
}

#[test]
fn a_client_that_goes_away_is_on_record() {
    let world = World::new();
    let mut exchange = Exchange::new(world.rules.clone(), now());
    let effect = exchange.on(Event::Request(tls("GET", "api.example/", &[])), &world.rules, now());
    assert!(matches!(effect, Effect::Resolve { .. }));
    let Effect::Record(record) = exchange.fail(Reason::ClientGone, now()) else { panic!() };
    assert_eq!((record.reason.as_deref(), record.agent.as_deref()), (Some("client_gone"), Some("ann")));
}

#[test]
fn a_request_that_cannot_be_read_is_its_senders_and_keeps_its_secrets() {
    let ann = basic("ann", ANN);
    let fields = [("proxy-authorization", &*ann)];
    let outcome = World::new().run(proxy("GET", "u:hunter2@api.example/x?token=abc#hunter3", &fields));
    let record = outcome.record();
    assert_eq!((record.agent.as_deref(), &*record.host, &*record.path), (Some("ann"), "***@api.example", "/x"));
    for text in [serde_json::to_string(record).unwrap(), outcome.answer().body.clone()] {
        assert!(!text.contains("hunter") && !text.contains("abc"), "{text}");
    }
}

#[test]
fn a_grpc_client_is_told_so_and_a_browsers_grpc_is_http() {
    for (content, grpc) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;charset=x", true),
        ("application/grpc-web", false),
        ("application/json", false),
    ] {
        let outcome = World::new().run(tls("POST", "other.example/", &[("content-type", content)]));
        assert_eq!(outcome.answer().grpc_status.is_some(), grpc, "{content}");
    }
}

#[test]
fn what_stands_in_an_upgrade_is_not_repeated_unless_it_is_a_protocol() {
    for (upgrade, shown) in
        [("h2c", true), ("a secret of the agent's", false), ("sk-0123456789-0123456789-0123456789", false)]
    {
        let outcome = World::new().run(tls("GET", "api.example/", &[("upgrade", upgrade)]));
        assert_eq!(outcome.reason(), "upgrade_not_allowed");
        let told = serde_json::to_string(outcome.record()).unwrap() + &outcome.answer().body;
        assert_eq!(told.contains(upgrade), shown, "{told}");
    }
}

#[test]
fn what_has_waited_too_long_is_refused_undecided_and_on_record_as_whose_it_is() {
    let two_hosts = [("host", "one.example"), ("host", "two.example")];
    for incoming in [
        tls("GET", "api.example/", &[]),
        tls("GET", "not-allowed.example/", &[]),
        proxy("CONNECT", "api.example:443", &[("proxy-authorization", &basic("ann", ANN))]),
        tls("GET", "api.example/", &two_hosts),
    ] {
        let rules = policy("one", |_| {});
        let mut exchange = Exchange::new(rules.clone(), now());
        let Effect::Record(record) = exchange.turn_away(Some(incoming), &rules, now()) else { panic!("no record") };
        assert_eq!((record.reason.as_deref(), record.status), (Some("overloaded"), Some(503)));
        assert_eq!((record.decision, &*record.request_id), (Verdict::Error, "r1"));
        // A refusal stands, whether it could be written or not.
        let effect = exchange.on(Event::Recorded(false), &rules, now());
        let Effect::Reply(Reply::Deny(answer)) = effect else { panic!("{effect:?}") };
        assert_eq!((answer.status, answer.body.contains("\"retryAfterSeconds\":1")), (503, true));
        assert!(answer.fields.contains(&("retry-after", "1".to_owned())));
    }
}
