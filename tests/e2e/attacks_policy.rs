//! What a hostile agent sends to get past a rule that names what it wants, or to get more out of a person's yes than
//! they gave.

use serde_json::Value;

use crate::support::{Answer, Ask, Attache, Protocol, Upstream, tunnel, within};

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
    ] {
        let other = ticket(&send(&[header]).await);
        assert!(!seen.contains(&other), "{header}");
        seen.push(other);
    }
    // What tries of one request differ in is no part of it.
    assert_eq!(ticket(&send(&["Idempotency-Key: 7", "X-Retry-Count: 2"]).await), first);
    assert!(upstream.connections().is_empty());

    let shown = attache.command("approvals", &["list", "-o", "json"]).await.stdout;
    assert!(shown.contains("DynamoDB_20120810.DeleteTable"), "whoever decides sees it: {shown}");
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
        println!("{body:?}: {answer:?}");
        assert!([403, 413].contains(&answer.status().as_u16()), "{body:?}: {answer:?}");
    }
    assert!(upstream.connections().is_empty());
}
