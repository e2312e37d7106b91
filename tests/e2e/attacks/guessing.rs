//! Guessing tokens: it is slow, it is on record once and with its number, and it keeps nobody else out.

use std::time::Duration;

use futures_util::future::join_all;

use crate::support::{Ask, Attache, PROTOCOLS, Place, Protocol, Way, until};

const ANN: &str = "ann-token-0123456789";
const BOB: &str = "bob-token-0123456789";
const CAROL: &str = "carol-has-a-token-of-32-or-more-bytes";

const POLICY: &str = "
agents:
  ann: {identity: [{token: {env: ANN}}], allowedDomains: [api.example.com]}
  bob: {identity: [{token: {env: BOB}}], allowedDomains: [api.example.com]}
  carol: {identity: [{token: {env: CAROL}}], allowedDomains: [api.example.com]}
";

async fn place() -> Place {
    let more = |setup: crate::support::attache::Setup| setup.env("ANN", ANN).env("BOB", BOB).env("CAROL", CAROL);
    Place::with(POLICY, ["api.example.com"], more).await
}

/// A way to show a token.
fn show(number: usize, token: &str) -> Ask {
    let protocol = PROTOCOLS[number % 2];
    let bearer = format!("Bearer {token}");
    match number / 2 % 3 {
        0 => Ask::get(protocol, "https://api.example.com/").connect_header("proxy-authorization", &bearer),
        1 => Ask::get(protocol, "http://api.example.com:443/").by(Way::Absolute).header("proxy-authorization", bearer),
        _ => Ask::get(protocol, "https://api.example.com/").header("authorization", bearer),
    }
}

async fn guess(attache: &Attache, from: usize, count: usize) -> (usize, usize) {
    let (mut wrong, mut slowed) = (0, 0);
    for start in (from..from + count).step_by(20) {
        let asks = (start..from + count).take(20).map(|number| show(number, &format!("guess-{number}")).send(attache));
        for reply in join_all(asks).await {
            match (reply.status, &*reply.reason()) {
                (401 | 407, "invalid_token" | "no_identity") => wrong += 1,
                (429, "too_many_tokens") => {
                    slowed += 1;
                    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
                    assert!((1..=120).contains(&wait), "{reply:?}");
                    assert_eq!(reply.json()["error"], "rate_limited");
                }
                _ => panic!("{reply:?}"),
            }
        }
    }
    (wrong, slowed)
}

#[tokio::test]
async fn guessing_is_slowed_down_and_keeps_no_neighbour_out() {
    let place = place().await;
    let attache = &place.attache;
    // Ann works here already, in a tunnel and without.
    for number in 0..6 {
        assert_eq!(show(number, ANN).send(attache).await.status, 200);
    }
    let opened = Ask::get(Protocol::Http1, "https://api.example.com/");
    let opened = opened.connect_header("proxy-authorization", &format!("Bearer {BOB}"));
    let mut tunnel = opened.open(attache).await.unwrap();

    let (wrong, slowed) = guess(attache, 0, 400).await;
    assert!((20..=25).contains(&wrong), "{wrong} were looked up, {slowed} not");
    assert_eq!(wrong + slowed, 400);

    for number in 0..6 {
        assert_eq!(show(number, ANN).send(attache).await.status, 200, "who works here goes on working");
        assert_eq!(show(number, CAROL).send(attache).await.status, 200, "what nobody can guess is not kept waiting");
    }
    let request = b"GET /in-an-open-tunnel HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
    let answer = crate::support::tunnel::raw(&mut tunnel, request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Whether a guess was right is not to be learned now. After a while, it is.
    let reply = show(1, "bob-token-0123456789").send(attache).await;
    assert!(reply.status == 200 || reply.reason() == "too_many_tokens", "{reply:?}");
    let wait = Duration::from_secs(reply.header("retry-after").map_or(0, |wait| wait.parse().unwrap()));
    assert!(wait <= Duration::from_secs(6), "{wait:?}");
    until("the bound to end", async || (show(1, BOB).send(attache).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn a_flood_of_guesses_is_one_record_with_its_number() {
    let place = place().await;
    let (wrong, slowed) = guess(&place.attache, 0, 600).await;
    let sum = until("the number on record", async || {
        let records = place.attache.records();
        let told: Vec<_> = records.into_iter().filter(|record| record["reason"] == "too_many_tokens").collect();
        let (mut first, mut later) = (0, 0);
        for record in &told {
            let detail = record["detail"].as_str().unwrap();
            assert_eq!((&record["decision"], &record["status"]), (&"rate_limited".into(), &429.into()), "{record}");
            match detail.split_once(" more requests were refused") {
                Some((count, _)) => later += count.parse::<usize>().unwrap(),
                None => first += 1,
            }
            assert!(record["source"].as_str().unwrap().starts_with("127.0.0.1"), "{record}");
        }
        assert!(told.len() <= 6, "{told:?}");
        (first + later >= slowed).then_some(first + later)
    });
    assert_eq!(sum.await, slowed, "every one is counted, once");
    let records = place.attache.records();
    let one_by_one = records.iter().filter(|record| record["reason"] != "too_many_tokens").count();
    assert_eq!(one_by_one, wrong);
    // Nor do they come on record by what Envoy says of them.
    assert!(
        records
            .iter()
            .all(|record| !["record_failed", "unreconciled", "no_verdict"].map(Into::into).contains(&record["reason"]))
    );
    assert!(place.arrived().is_empty());
}

/// Who is known may carry a Bearer of its own; a row of them, each another, is a way of guessing too.
#[tokio::test]
async fn an_agent_that_is_known_cannot_try_tokens_in_its_own_field() {
    let place = place().await;
    let ask = |own: &str| {
        let ask =
            Ask::get(Protocol::Http2, "https://api.example.com/").header("authorization", format!("Bearer {own}"));
        ask.connect_header("proxy-authorization", &format!("Bearer {CAROL}"))
    };
    assert_eq!(ask("sk-own").send(&place.attache).await.status, 200);
    let mut slowed = 0;
    for number in 0..60 {
        let reply = ask(&format!("guess-{number}")).send(&place.attache).await;
        slowed += usize::from(reply.reason() == "too_many_tokens");
    }
    assert!(slowed >= 35, "{slowed}");
    assert_eq!(ask("sk-own").send(&place.attache).await.status, 200, "what it had before it keeps");
}
