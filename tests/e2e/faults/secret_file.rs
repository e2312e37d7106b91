//! What needs a credential does not go out without it, nor with one that was taken away.

use super::matrix::Component::SecretFile;
use super::matrix::Fault::{Absent, ComesBack, DiesMidRequest, Slow, Wrong};
use super::matrix::{Check, Sees};
use super::policy_file::make_pipe;
use super::rig::{Ask, KEY, Rig, Setup};
use crate::support::Dns;

const UNAVAILABLE: Sees = Sees::Refusal(503, "secret_unavailable");
const REFUSED: &str = "requests that need this credential are answered 503";

async fn cold(rig: &mut Rig) {
    rig.serve().await;
    rig.start_envoy().await;
    rig.found().await;
}

#[tokio::test]
async fn absent() {
    let mut check = Check::of(SecretFile, Absent);
    let dns = Dns::start().await;
    dns.answer("free.named.example", ["127.0.0.1"]);
    let mut rig = Rig::prepare(Setup::default().flags(["--dns-server", &dns.address().to_string()])).await;
    std::fs::remove_file(rig.path("key")).unwrap();
    cold(&mut rig).await;
    let seen = rig.ask("/status/200/none").await;
    let free = rig.send_both(Ask::named("free", &rig, "/status/200/free")).await;
    check.case("there is none to begin with", &rig, &seen).await;
    check.case("there is none to begin with: a request that needs none", &rig, &free).await;

    rig.write_key(KEY);
    rig.warm().await;
    std::fs::remove_file(rig.path("key")).unwrap();
    let seen = rig.until("/status/200/removed", UNAVAILABLE, Ask::new).await;
    check.case("it is removed", &rig, &seen).await;
    check.end(&rig);
}

#[tokio::test]
async fn slow() {
    let mut check = Check::of(SecretFile, Slow);
    let mut rig = Rig::prepare(Setup::default()).await;
    std::fs::remove_file(rig.path("key")).unwrap();
    make_pipe(&rig.path("key"));
    cold(&mut rig).await;
    let seen = rig.ask("/status/200/pipe").await;
    check.case("a named pipe is there to begin with", &rig, &seen).await;

    rig.write_key(KEY);
    rig.warm().await;
    make_pipe(&rig.path("pipe"));
    std::fs::rename(rig.path("pipe"), rig.path("key")).unwrap();
    let seen = rig.until("/status/200/replaced", UNAVAILABLE, Ask::new).await;
    check.case("a named pipe takes its place", &rig, &seen).await;
    check.end(&rig);
}

#[tokio::test]
async fn wrong() {
    let mut check = Check::of(SecretFile, Wrong);
    let rig = Rig::new(Setup::default()).await;
    for (number, (when, wrong)) in
        [("it is empty", "".to_owned()), ("it has two lines", format!("{KEY}\n{KEY}"))].into_iter().enumerate()
    {
        rig.write_key(&wrong);
        let seen = rig.until(&format!("/status/200/wrong/{number}"), UNAVAILABLE, Ask::new).await;
        check.case(when, &rig, &seen).await;
        rig.write_key(KEY);
        rig.until(&format!("/status/200/right/{number}"), Sees::Answer(200), Ask::new).await;
    }
    check.end(&rig);
}

#[tokio::test]
async fn dies_mid_request() {
    let mut check = Check::of(SecretFile, DiesMidRequest);
    let rig = Rig::new(Setup::default()).await;
    let streaming = rig.stream(Ask::new("/streams")).await;
    let asked = "/status/200/asked/while";
    let (held, ()) = tokio::join!(rig.ask(asked), async {
        rig.question(asked).await;
        std::fs::remove_file(rig.path("key")).unwrap();
        rig.wait_said(REFUSED).await;
        rig.approve(asked).await;
    });
    let streamed = rig.end_of(streaming).await;
    check.case("it is removed while a person is asked", &rig, &held).await;
    check.case("it is removed while an answer streams", &rig, &streamed).await;
    check.end(&rig);
}

#[tokio::test]
async fn comes_back() {
    let mut check = Check::of(SecretFile, ComesBack);
    let rig = Rig::new(Setup::default()).await;
    std::fs::remove_file(rig.path("key")).unwrap();
    let seen = rig.until("/status/200/away", UNAVAILABLE, Ask::new).await;
    let other = format!("{KEY}-2");
    rig.write_key(&other);
    let back = rig.until("/status/200/back", Sees::Answer(200), Ask::new).await;
    let arrived = rig.upstream.requests().pop().unwrap();
    assert_eq!(arrived.header("authorization"), Some(&*format!("Bearer {other}")));
    check.case("while it is away", &rig, &seen).await;
    check.case("there is another, which is used", &rig, &back).await;
    check.end(&rig);
}
