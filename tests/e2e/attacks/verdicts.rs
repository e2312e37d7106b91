//! What is remembered for one agent or one moment is no verdict for another.

use crate::support::dns::Reply;
use crate::support::{Ask, Attache, Dns, PROTOCOLS, Place, Protocol, tunnel};

/// A key that the detectors know, in a body larger than a block of what is remembered as clean.
fn body() -> String {
    let filler = "an ordinary sentence that says nothing in particular. ".repeat(400);
    format!("{{\"text\": \"{filler}\", \"key\": \"AKIAQ3EGRXLZ5NVTJWPM\", \"more\": \"{filler}\"}}")
}

#[tokio::test]
async fn what_was_clean_for_a_lenient_agent_is_not_for_a_strict_one() {
    const POLICY: &str = "
allowedDomains: [api.example.com]
agents:
  ann: {identity: [{token: {env: ANN}}], dlp: 'off'}
  bob: {identity: [{token: {env: BOB}}]}
";
    let more =
        |setup: crate::support::attache::Setup| setup.env("ANN", "the-token-of-ann").env("BOB", "the-token-of-bob");
    let place = Place::with(POLICY, ["api.example.com"], more).await;
    let post = |protocol, agent: &str| {
        let ask = Ask::new(protocol, "POST", "https://api.example.com/x").header("content-type", "application/json");
        ask.whole_body(body()).connect_header("proxy-authorization", &format!("Bearer the-token-of-{agent}"))
    };
    for protocol in PROTOCOLS {
        for _ in 0..3 {
            assert_eq!(place.send(post(protocol, "ann")).await.to_string(), "200");
            let outcome = place.send(post(protocol, "bob")).await;
            assert!(outcome.to_string().starts_with("403 dlp_blocked"), "{outcome}");
        }
    }
}

/// One connection of Envoy's to the service, one to the upstream, one of the agent's: and each request for itself.
#[tokio::test]
async fn what_passed_before_passes_nothing_after_it() {
    const POLICY: &str = "
allowedDomains:
  - {pattern: api.example.com, httpRestrictions: [{method: GET, path: '/open/**'}]}
";
    let place = Place::new(POLICY, ["api.example.com"]).await;
    let ask = Ask::get(Protocol::Http2, "https://api.example.com/open/x");
    let client = tunnel::h2(ask.open(&place.attache).await.unwrap()).await;
    let asks = (0..60).map(async |number| {
        let (method, path, status) = match number % 4 {
            0 => ("GET", "/open/x", 200),
            1 => ("GET", "/closed/x", 403),
            2 => ("DELETE", "/open/x", 403),
            _ => ("GET", "/open/../closed/x", 403),
        };
        let request = http::Request::builder().method(method).uri(format!("https://api.example.com{path}"));
        let mut client = client.clone().ready().await.unwrap();
        let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), status, "{number} {method} {path}");
    });
    futures_util::future::join_all(asks).await;
    assert!(place.arrived().iter().all(|seen| seen.method == "GET" && seen.path == "/open/x"));
    assert_eq!(place.arrived().len(), 15);
}

/// What one agent's policy lets it reach at an address says nothing of who else may reach it by that name.
#[tokio::test]
async fn an_answer_of_dns_that_one_entry_admits_is_judged_for_the_other() {
    let dns = Dns::start().await;
    let policy = "
agents:
  ann: {identity: [{token: {env: ANN}}], allowedDomains: [{pattern: 'api.example.com:8443', allowPrivate: [127.0.0.0/8]}]}
  bob: {identity: [{token: {env: BOB}}], allowedDomains: ['api.example.com:8443']}
";
    let attache =
        Attache::up(policy).env("ANN", "the-token-of-ann").env("BOB", "the-token-of-bob").dns(&dns).start().await;
    dns.script("api.example.com", [Reply::addresses(["127.0.0.2"])]);
    let get = async |agent: &str, protocol| {
        let ask = Ask::get(protocol, "https://api.example.com:8443/");
        let ask = ask.connect_header("proxy-authorization", &format!("Bearer the-token-of-{agent}"));
        ask.send(&attache).await.reason()
    };
    for protocol in PROTOCOLS {
        // Nobody listens there, which is as far as ann gets.
        assert_eq!(get("ann", protocol).await, "upstream_unreachable");
        assert_eq!(get("bob", protocol).await, "address_forbidden");
    }
    assert_eq!(dns.count("api.example.com", "A"), 1, "the answer itself was remembered");
}
