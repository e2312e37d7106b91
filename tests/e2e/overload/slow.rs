//! Those who take their time take nobody else's.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::refused;
use crate::support::process::resident;
use crate::support::{Attache, Upstream, until};

const POLICY: &str = "
agents:
  ann: {identity: [{header: {name: X-Agent, value: ann, trusted: true}}], allowedDomains: [api.example.com]}
  bob: {identity: [{header: {name: X-Agent, value: bob, trusted: true}}], allowedDomains: [api.example.com]}
";
/// How many are slow at once.
const SLOW: usize = 300;
/// How long one who is not slow may take beside them. On an idle machine it takes a few milliseconds.
const PROMPT: Duration = Duration::from_secs(3);

async fn start() -> (Upstream, Attache) {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(POLICY).resolve("api.example.com", &upstream).start().await;
    (upstream, attache)
}

/// Opens so many connections, and writes this on each.
async fn open(attache: &Attache, text: &str) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..SLOW {
        let mut stream = TcpStream::connect(attache.proxy()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    streams
}

async fn others_are_served(attache: &Attache) {
    for _ in 0..3 {
        let begin = Instant::now();
        let answer = attache.curl(["--header", "X-Agent: bob", "https://api.example.com/status/200"]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(begin.elapsed() < PROMPT, "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_costs_other_agents_nothing() {
    let (upstream, attache) = start().await;
    let get = "GET http://api.example.com/hang HTTP/1.1\r\nHost: api.example.com\r\nX-Agent: ann\r\n\r\n";
    let slow = open(&attache, get).await;
    upstream.wait_for(SLOW).await;
    others_are_served(&attache).await;
    drop(slow);
    // It is known of each how it ended.
    until("the ends of those that hung", async || {
        let ended = attache.records().into_iter().filter(|r| r["path"] == "/hang" && r["flags"] == "DC").count();
        (ended == SLOW).then_some(())
    })
    .await;
}

#[tokio::test]
async fn heads_that_never_end_are_answered_408_and_keep_nobody_waiting() {
    let (upstream, attache) = start().await;
    let begin = Instant::now();
    let mut slow = open(&attache, "GET http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\nX-Slow").await;
    others_are_served(&attache).await;
    // Each byte in time makes no difference: what counts is when the head began.
    for stream in &mut slow {
        stream.write_all(b"e").await.unwrap();
    }
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(60), slow[0].read_to_end(&mut answer)).await;
    ended.expect("the bootstrap's `request_headers_timeout` has passed").unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("malformed_request"), "{answer}");
    assert!(begin.elapsed() > Duration::from_secs(25), "{:?}", begin.elapsed());
    until("the slow heads on record", async || (refused(&attache, "malformed_request").len() == SLOW).then_some(()))
        .await;
    assert_eq!(upstream.requests().len(), 3);
}

#[tokio::test]
async fn bodies_that_never_end_are_held_and_keep_nobody_waiting() {
    let (upstream, attache) = start().await;
    let before = [resident(attache.service().await), resident(attache.envoy().await)];
    let text = format!(
        "POST http://api.example.com/slow HTTP/1.1\r\nHost: api.example.com\r\nX-Agent: ann\r\nContent-Type: text/plain\r\n\
         Content-Length: 20000\r\n\r\n{}",
        "x".repeat(10_000)
    );
    let mut slow = open(&attache, &text).await;
    others_are_served(&attache).await;
    for stream in &mut slow {
        stream.write_all(b"x").await.unwrap();
    }
    others_are_served(&attache).await;
    let after = [resident(attache.service().await), resident(attache.envoy().await)];
    for (before, after) in before.into_iter().zip(after) {
        assert!(after < before + (64 << 20), "{} MiB, then {}", before >> 20, after >> 20);
    }
    assert!(upstream.requests().iter().all(|request| request.path == "/status/200"), "nothing of them has left");
    drop(slow);
    until("those that went away on record", async || {
        let gone = refused(&attache, "client_gone").into_iter().filter(|record| record["path"] == "/slow").count();
        (gone == SLOW).then_some(())
    })
    .await;
}

#[tokio::test]
async fn agents_that_do_not_read_their_answers_cost_others_nothing() {
    const READERS: usize = 40;
    let (upstream, attache) = start().await;
    let before = resident(attache.envoy().await);
    let get = "GET http://api.example.com/big/4000000 HTTP/1.1\r\nHost: api.example.com\r\nX-Agent: ann\r\n\r\n";
    let mut slow = Vec::new();
    for _ in 0..READERS {
        let mut stream = TcpStream::connect(attache.proxy()).await.unwrap();
        stream.write_all(get.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    upstream.wait_for(READERS).await;
    others_are_served(&attache).await;
    // Of each only what its buffers hold, and not the 4 MB.
    let after = resident(attache.envoy().await);
    assert!(after < before + READERS as u64 * (3 << 20), "{} MiB, then {}", before >> 20, after >> 20);
    drop(slow);
}
