//! What a hostile agent sends to get past a rule that names what it wants, or to get more out of a person's yes than
//! they gave.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;

use crate::support::{Answer, Ask, Attache, Protocol, Upstream, tunnel, until, within};

const ORIGIN: &str = "https://api.example.com";

const ASKED: &str = r#"
allowedDomains: [api.example.com]
rules:
  - {name: Asked, host: api.example.com, headers: {X-Amount: "*"}, action: {approval: {hold: 0s, expires: 10m}}}
"#;

fn ticket(answer: &Answer) -> String {
    let json: Value = answer.json();
    assert_eq!(json["reason"], "approval_pending", "{answer:?}");
    json["ticket"].as_str().unwrap().to_owned()
}

/// Some upstreams have in a header which operation it is, on what, or as whom.
#[tokio::test]
async fn an_approval_is_bound_to_the_headers_that_make_it_another_request() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(ASKED).resolve("api.example.com", &upstream).start().await;
    let send = async |headers: &[&str]| {
        let headers = headers.iter().flat_map(|header| ["--header", header]);
        let base = ["--data", "amount=1", "--header", "X-Amount: 1"];
        attache.curl(base.into_iter().chain(headers).chain([&*format!("{ORIGIN}/x")])).await
    };
    let first = ticket(&send(&[]).await);
    let mut seen = vec![first.clone()];
    for header in [
        "X-Amount: 2",
        "X-Amz-Target: DynamoDB_20120810.DeleteTable",
        "SOAPAction: \"urn:delete\"",
        "Destination: https://api.example.com/b",
        "X-Amz-Copy-Source: bucket/secret",
        "X-Amz-Acl: public-read",
        "Stripe-Account: acct_1",
        "Content-Disposition: attachment; filename=x.php",
        "Range: bytes=0-",
        "If-Match: \"1\"",
        "Content-Type: text/second",
        "Content-Encoding: identity",
    ] {
        let other = ticket(&send(&[header]).await);
        assert!(!seen.contains(&other), "{header}");
        seen.push(other);
    }
    // What tries of one request differ in is no part of it.
    for header in ["Idempotency-Key: 7", "X-Retry-Count: 2", "Expect: 100-continue", "Transfer-Encoding: chunked"] {
        assert_eq!(ticket(&send(&["Accept: */*", header]).await), first, "{header}");
    }
    assert!(upstream.connections().is_empty());

    let shown = attache.command("approvals", &["list", "-o", "json"]).await.stdout;
    for sent in ["DynamoDB_20120810.DeleteTable", "text/second"] {
        assert!(shown.contains(sent), "whoever decides sees `{sent}`: {shown}");
    }
}

/// Trailers end a body that attaché never saw, or saw in part.
#[tokio::test]
async fn what_comes_with_trailers_is_not_held_as_if_it_were_whole() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(ASKED).resolve("api.example.com", &upstream).start().await;
    let ask = Ask::new(Protocol::Http2, "POST", &format!("{ORIGIN}/x"));
    for body in [None, Some("amount=1")] {
        let stream = ask.open(&attache).await.unwrap();
        let mut client = tunnel::h2(stream).await;
        let request = http::Request::post(format!("{ORIGIN}/x")).header("x-amount", "1").body(()).unwrap();
        let (answer, mut sending) = client.send_request(request, false).unwrap();
        if let Some(body) = body {
            sending.send_data(body.into(), false).unwrap();
        }
        sending
            .send_trailers([("x-amount".parse().unwrap(), "1000000".parse().unwrap())].into_iter().collect())
            .unwrap();
        let answer = within("an answer", answer).await.unwrap();
        assert!([413, 503].contains(&answer.status().as_u16()), "{body:?}: {answer:?}");
    }
    assert!(upstream.connections().is_empty());
}

/// Requests that are alike ask one question, and each that is held keeps its body in memory.
#[tokio::test]
async fn an_agent_cannot_have_any_number_of_requests_held() {
    const POLICY: &str = "
allowedDomains: [api.example.com]
rules: [{name: Held, host: api.example.com, action: {approval: {hold: 60s, expires: 10m}}}]
";
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(POLICY).resolve("api.example.com", &upstream).start().await;
    let ask = Ask::get(Protocol::Http2, &format!("{ORIGIN}/x"));
    let mut answers = Vec::new();
    for streams in [90, 90, 50] {
        let mut client = tunnel::h2(ask.open(&attache).await.unwrap()).await;
        for _ in 0..streams {
            client = within("a stream", client.ready()).await.unwrap();
            let request = http::Request::get(format!("{ORIGIN}/x")).body(()).unwrap();
            answers.push(client.send_request(request, true).unwrap().0);
        }
    }
    let mut answers: FuturesUnordered<_> = answers.into_iter().collect();
    for number in 0..30 {
        let answer = within(&format!("answer {number}"), answers.next()).await.unwrap().unwrap();
        assert_eq!(answer.status(), 403);
        assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
    }
    let held = async || {
        let shown = attache.command("approvals", &["list", "-o", "json"]).await.stdout;
        shown.contains("\"waiting\":200").then_some(())
    };
    until("200 that are held", held).await;
    assert!(upstream.connections().is_empty());
}

/// What an entry below grants does not lead past the organization's methods and paths.
#[tokio::test]
async fn override_headers_lead_nowhere_the_organization_does_not() {
    const BELOW: &str = "allowedDomains: [{pattern: api.example.com, allowOverrideHeaders: true}]";
    let upstream = Upstream::https(["api.example.com"]).await;
    for (organization, passes) in [
        (
            "{allowedDomains: [api.example.com], rules: [{name: r, host: b.example, method: DELETE, action: block}]}",
            true,
        ),
        ("{allowedDomains: [{pattern: '*.example.com', httpRestrictions: [{method: GET}]}]}", false),
        ("{rules: [{name: r, host: api.example.com, method: DELETE, action: block}]}", false),
        ("{rules: [{name: r, host: '*.example.com', path: /admin/*, action: block}]}", false),
    ] {
        let policy = format!("organization: {organization}\n{BELOW}\n");
        let attache = Attache::up(&policy).resolve("api.example.com", &upstream).start().await;
        let headers = ["--header", "X-HTTP-Method-Override: DELETE", "--header", "X-Rewrite-URL: /admin/x"];
        let answer = attache.curl(headers.into_iter().chain(["https://api.example.com/x"])).await;
        assert_eq!(answer.status, 200, "{organization}: {answer:?}");
        let seen = upstream.requests().pop().unwrap();
        for name in ["x-http-method-override", "x-rewrite-url"] {
            assert_eq!(seen.header(name).is_some(), passes, "{organization}: {name}");
        }
    }
}

/// Every spelling, way in and identity that reaches the same place counts as one, at the same time too.
#[tokio::test]
async fn no_spelling_and_no_identity_gets_more_than_the_limit() {
    const POLICY: &str = "
dlp: {profiles: {default: {webSockets: allow}}}
allowedDomains: [{pattern: api.example.com, upgrades: [websocket]}]
agents:
  ann: {identity: [{token: {env: ONE}}, {token: {env: TWO}}, {sourceAddress: 203.0.113.0/24}, {header: {name: X-Agent, value: ann, trusted: true}}]}
rules: [{name: cap, host: api.example.com, path: /v1/send, method: GET, action: {rateLimit: {requests: 3, per: hour}}}]
";
    let upstream = Upstream::https(["api.example.com"]).await;
    let setup = Attache::up(POLICY).env("ONE", "token-number-one-of-ann").env("TWO", "token-number-two-of-ann");
    let attache = setup.resolve("api.example.com", &upstream).start().await;
    let mut asks = Vec::new();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for url in [
            "https://api.example.com/v1/send",
            "https://API.Example.com./v1/send",
            "https://api.example.com:443/v1/SEND",
            "http://api.example.com/v1/send/",
            "https://api.example.com/v1/send;x=1",
            "https://api.example.com/v1/%73end?x",
            "http://api.example.com:443/v1/send%20",
            "https://api.example.com/v1//send",
            "https://api.example.com/v1/x/../send",
        ] {
            for (name, value) in [
                ("proxy-authorization", "Bearer token-number-one-of-ann"),
                ("proxy-authorization", "Bearer token-number-two-of-ann"),
                ("x-agent", "ann"),
            ] {
                let get = Ask::get(protocol, url).connect("api.example.com:443").sni("api.example.com");
                let ask =
                    if url.starts_with("https") { get.connect_header(name, value) } else { get.header(name, value) };
                asks.push(ask.clone().header("x-forwarded-for", "198.51.100.7"));
            }
        }
        let head = Ask::new(protocol, "HEAD", "https://api.example.com/v1/send");
        asks.push(head.connect_header("x-agent", "ann"));
    }
    let count = asks.len();
    let replies = futures_util::future::join_all(asks.into_iter().map(|ask| ask.send(&attache))).await;
    let of = |status: u16| replies.iter().filter(|reply| reply.status == status).count();
    assert_eq!((of(200), upstream.requests().len()), (3, 3), "{replies:#?}");
    assert_eq!(of(429), count - 3, "{replies:#?}");

    // An address that only a header claims is nobody's.
    let claimed = Ask::get(Protocol::Http1, "http://api.example.com/x").header("x-forwarded-for", "203.0.113.9");
    let reply = claimed.header("x-real-ip", "203.0.113.9").header("forwarded", "for=203.0.113.9").send(&attache).await;
    assert_eq!(reply.status, 401, "{reply:?}");
}

/// What only resembles an endpoint gets no credential, and what is injected replaces every spelling of its slot.
#[tokio::test]
async fn no_spelling_of_a_path_or_slot_gets_a_credential_elsewhere() {
    const POLICY: &str = "
allowedDomains: [api.example.com]
credentials:
  - name: key
    envVarKey: KEY
    placeholder: sk-placeholder
    injections: [{domain: api.example.com, queryParam: api_key}]
    endpoints: [{methods: [GET], paths: [/v1/models]}]
";
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(POLICY).env("KEY", "s3cret").resolve("api.example.com", &upstream).start().await;
    for target in [
        "/v1/models2",
        "/v1/MODELS",
        "/v1/models;x",
        "/v1/models%20",
        "/v1/models%3Fx",
        "/v1/models/..;/admin",
        "/v1/models/%2e%2e/admin",
        "/v1/models/../admin",
        "/v1/models/..%2fadmin",
        "/v1/models%00",
        "//v1/models/../x",
        "/admin?/v1/models",
    ] {
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let before = upstream.requests().len();
            let ask = Ask::get(protocol, "https://api.example.com/").target(target);
            let reply = ask.send_bytes(&attache).await;
            let seen = upstream.requests().split_off(before);
            assert!(seen.iter().all(|seen| !seen.path.contains("s3cret")), "{target}: {seen:?}");
            assert!([400, 403].contains(&reply.status), "{target}: {reply:?}");
        }
    }
    let reply = Ask::get(Protocol::Http2, "https://api.example.com/")
        .target("/v1/models?api_key=sk-placeholder&a%70i_key=x&API_KEY=y;api_key=z&b=1")
        .send(&attache)
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(upstream.requests().pop().unwrap().path, "/v1/models?b=1&api_key=s3cret");
}
