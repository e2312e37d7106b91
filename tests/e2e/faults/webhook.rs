//! No verdict waits for a webhook, and it is told of what it missed.

use std::net::SocketAddr;
use std::time::Instant;

use super::matrix::Check;
use super::matrix::Component::Webhook;
use super::matrix::Fault::{Absent, ComesBack, DiesMidRequest, Slow, Wrong};
use super::rig::{Ask, Rig, Seen, Setup, TRAP};
use crate::support::endpoint::{Endpoint, Received, reply};
use crate::support::{free_address, until};

async fn rig(hook: SocketAddr) -> Rig {
    let hook = format!("{{url: 'http://{hook}/hook', plaintext: true, secret: {{env: HOOK}}}}");
    let lines = format!("notifications:\n  ops: {{webhook: {hook}, events: [blocked, approvalRequested]}}");
    Rig::new(Setup { notified: true, ..Setup::default().policy(lines) }).await
}

/// A request that policy forbids, of which the webhook is told.
async fn refused(rig: &Rig, path: &str) -> Seen {
    rig.send(Ask { host: TRAP.to_owned(), ..Ask::new(path) }).await
}

fn text(hook: &Endpoint) -> String {
    let received = hook.requests();
    received.iter().map(|r| format!("{} {:?} {}\n", r.path, r.headers, String::from_utf8_lossy(&r.body))).collect()
}

#[tokio::test]
async fn absent() {
    let mut check = Check::of(Webhook, Absent);
    let rig = rig(free_address()).await;
    let told = refused(&rig, "/told").await;
    let untold = rig.ask("/status/200/untold").await;
    check.case("nobody listens there: a request that is told of", &rig, &told).await;
    check.case("nobody listens there: a request that is not", &rig, &untold).await;
    check.end(&rig);
}

#[tokio::test]
async fn slow() {
    let mut check = Check::of(Webhook, Slow);
    let hook = Endpoint::start(free_address(), false, async |_| std::future::pending().await).await;
    let rig = rig(hook.address()).await;
    let told = refused(&rig, "/told").await;
    let untold = rig.ask("/status/200/untold").await;
    hook.wait_for(1).await;
    check.case("it never answers: a request that is told of", &rig, &told).await;
    check.case("it never answers: a request that is not", &rig, &untold).await;
    check.end_told(&rig, &text(&hook));
}

#[tokio::test]
async fn wrong() {
    let mut check = Check::of(Webhook, Wrong);
    let elsewhere = Endpoint::start(free_address(), false, async |_| reply(204, "")).await;
    let location = elsewhere.url();
    let fails = Endpoint::start(free_address(), false, async |_| reply(500, "")).await;
    let moves = Endpoint::start(free_address(), false, move |_| {
        let mut moved = reply(307, "");
        moved.headers_mut().insert("location", location.parse().unwrap());
        async { moved }
    });
    let moves = moves.await;
    let first = rig(fails.address()).await;
    let seen = refused(&first, "/told").await;
    fails.wait_for(1).await;
    check.case("it fails: a request that is told of", &first, &seen).await;
    check.part(&first, &text(&fails));
    let rig = rig(moves.address()).await;
    let seen = refused(&rig, "/told").await;
    moves.wait_for(1).await;
    check.case("it sends elsewhere: a request that is told of", &rig, &seen).await;
    assert!(elsewhere.requests().is_empty(), "a redirect was followed");
    check.end_told(&rig, &text(&moves));
}

#[tokio::test]
async fn dies_mid_request() {
    let mut check = Check::of(Webhook, DiesMidRequest);
    let hook = Endpoint::start(free_address(), false, async |_| reply(204, "")).await;
    let rig = rig(hook.address()).await;
    let streaming = rig.stream(Ask::new("/streams")).await;
    let path = "/status/200/asked/while";
    let (seen, told) = tokio::join!(rig.send(Ask::new(path)), async {
        let asked = |received: &Received| received.json()["type"] == "approval.requested";
        until("the question", async || hook.requests().iter().any(asked).then_some(())).await;
        let told = text(&hook);
        drop(hook);
        rig.approve(path).await;
        told
    });
    let streamed = rig.end_of(streaming).await;
    check.case("while a person is asked, who agrees", &rig, &seen).await;
    check.case("while an answer streams", &rig, &streamed).await;
    check.end_told(&rig, &told);
}

#[tokio::test]
async fn comes_back() {
    let mut check = Check::of(Webhook, ComesBack);
    let address = free_address();
    let rig = rig(address).await;
    let seen = refused(&rig, "/missed").await;
    rig.wait_said("no connection to").await;
    let began = Instant::now();
    let hook = Endpoint::start(address, false, async |_| reply(204, "")).await;
    let id = seen.request_id().unwrap();
    let told = |received: &Received| received.json()["data"]["requestId"] == *id;
    until("what it missed", async || hook.requests().iter().any(told).then_some(())).await;
    let seen = Seen { took: began.elapsed(), ..seen };
    check.case("it is started again, and is told of what it missed", &rig, &seen).await;
    check.end_told(&rig, &text(&hook));
}
