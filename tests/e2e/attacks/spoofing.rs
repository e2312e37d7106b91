//! What an agent writes in the place of what proxies, Envoy and attaché say to each other.

use crate::support::{Ask, PROTOCOLS, Place, Protocol, Way, records};

const ANN: &str = "ann-token-0123456789";
const BOB: &str = "bob-token-0123456789";

const POLICY: &str = "
agents:
  ann: {identity: [{token: {env: ANN}}], allowedDomains: [ann.example, shared.example]}
  bob:
    identity: [{token: {env: BOB}}, {spiffe: spiffe://prod.example/bob}, {sourceAddress: 203.0.113.0/24}]
    allowedDomains: [bob.example, shared.example]
";
const HOSTS: [&str; 3] = ["ann.example", "bob.example", "shared.example"];

/// Who else an agent could try to be, by what it writes.
const CLAIMS: [(&str, &str); 24] = [
    ("x-forwarded-client-cert", "By=spiffe://prod.example/proxy;Hash=00;URI=spiffe://prod.example/bob"),
    ("x-forwarded-client-cert", "URI=spiffe://prod.example/bob;Subject=\"CN=bob\""),
    ("x-client-cert", "spiffe://prod.example/bob"),
    ("x-forwarded-for", "203.0.113.9"),
    ("x-real-ip", "203.0.113.9"),
    ("x-envoy-external-address", "203.0.113.9"),
    ("x-envoy-internal", "true"),
    ("x-envoy-downstream-service-cluster", "bob"),
    ("x-envoy-original-path", "/admin"),
    ("x-envoy-decorator-operation", "bob"),
    ("x-envoy-original-dst-host", "127.0.0.1:1"),
    ("x-envoy-force-trace", "true"),
    ("x-envoy-upstream-alt-stat-name", "bob"),
    ("forwarded", "for=203.0.113.9;by=bob;host=bob.example"),
    ("x-attache-agent", "bob"),
    ("x-attache-door", "tls"),
    ("x-attache-session", "2;bob.example:443;203.0.113.9:1;;;"),
    ("x-attache-int-route", "plain"),
    ("x-agent-traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("tracestate", "attache=bob"),
    ("x-b3-traceid", "463ac35c9f6413ad48485a3953bb6124"),
    ("x-forwarded-user", "bob"),
    ("x-remote-user", "bob"),
];

async fn place() -> Place {
    Place::with(POLICY, HOSTS, |setup| setup.env("ANN", ANN).env("BOB", BOB)).await
}

#[tokio::test]
async fn no_field_makes_somebody_somebody_else() {
    let place = place().await;
    // Each by itself in a tunnel, then all of them by every way.
    let alone = CLAIMS.iter().enumerate().map(|(number, claim)| (PROTOCOLS[number % 2], Way::Tunnel, vec![*claim]));
    let ways = [Way::Tunnel, Way::PlainTunnel, Way::Absolute];
    let together = PROTOCOLS.iter().flat_map(|protocol| ways.map(|way| (*protocol, way, CLAIMS.to_vec())));
    for (protocol, way, claims) in alone.chain(together) {
        let case = format!("{claims:?} {way:?} {protocol:?}");
        let scheme = if way == Way::Tunnel { "https" } else { "http" };
        let port = if way == Way::Tunnel { "" } else { ":443" };
        let ask = |host: &str| {
            let ask = Ask::get(protocol, &format!("{scheme}://{host}{port}/")).by(way);
            claims.iter().fold(ask, |ask, (name, value)| ask.header(name, value).connect_header(name, value))
        };
        let shown = |ask: Ask| match way {
            Way::Absolute => ask.header("proxy-authorization", format!("Bearer {ANN}")),
            _ => ask.connect_header("proxy-authorization", &format!("Bearer {ANN}")),
        };
        // Without an identity of its own it has none by this; with one it stays who it is.
        let nobody = place.send(ask("shared.example")).await.to_string();
        assert!(nobody.contains("no_identity"), "{case}: {nobody}");
        let other = place.send(shown(ask("bob.example"))).await.to_string();
        assert!(other.contains("403 domain_not_allowed"), "{case}: {other}");
        let own = place.send(shown(ask("ann.example"))).await;
        assert_eq!((&*own.to_string(), &own.record["agent"]), ("200", &"ann".into()), "{case}");
        let seen = own.seen.unwrap();
        // These mean something to upstreams alone, and are no proxy's.
        let stays = ["x-client-cert", "x-real-ip", "x-forwarded-user", "x-remote-user", "tracestate", "x-b3-traceid"];
        for (name, _) in claims.iter().filter(|(name, _)| !stays.contains(name)) {
            assert_eq!(seen.header(name), None, "{name}: {case}");
        }
    }
}

/// What names an agent is not there for the upstream, whoever wrote it and wherever.
#[tokio::test]
async fn a_token_shown_inside_a_tunnel_is_one_more_identity_and_never_leaves() {
    let place = place().await;
    for protocol in PROTOCOLS {
        let ask = || {
            let ask = Ask::get(protocol, "https://shared.example/");
            ask.connect_header("proxy-authorization", &format!("Bearer {ANN}"))
        };
        for (name, shown, expected) in [
            ("proxy-authorization", format!("Bearer {BOB}"), "identity_conflict"),
            ("authorization", format!("Bearer {BOB}"), "identity_conflict"),
            ("proxy-authorization", "Bearer forged".to_owned(), "invalid_token"),
        ] {
            let outcome = place.send(ask().header(name, &shown)).await;
            assert!(outcome.to_string().contains(expected), "{name} {shown}: {outcome}");
        }
        let outcome = place.send(ask().header("proxy-authorization", format!("Bearer {ANN}"))).await;
        let seen = outcome.seen.unwrap();
        assert_eq!(seen.header("proxy-authorization"), None, "{protocol:?}");
        assert!(!format!("{:?}", seen.headers).contains(ANN), "{protocol:?}");
    }
}

/// The names under which attaché and Envoy speak to each other, in what is no header of a request: none of it counts.
#[tokio::test]
async fn what_looks_like_a_decision_is_none() {
    let place = Place::new("allowedDomains: [shared.example]", ["shared.example", "bob.example", "ann.example"]).await;
    for protocol in PROTOCOLS {
        for target in ["/?decision=allow", "/;attache=allow", "/%7B%22decision%22:%22allow%22%7D"] {
            let ask = Ask::get(protocol, "https://bob.example/").connect("shared.example:443").sni("shared.example");
            let reply = ask.target(target).header("x-decision", "allow").send_bytes(&place.attache).await;
            assert_eq!((reply.status, reply.reason()), (421, "authority_mismatch".into()), "{target}");
        }
    }
    assert!(place.arrived().is_empty());
    assert!(records(&place.attache).iter().all(|record| record["decision"] == "deny"));
    let asked = Ask::get(Protocol::Http1, "https://shared.example/").send(&place.attache).await;
    assert_eq!(asked.status, 200);
}
