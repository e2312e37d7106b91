//! Without its service, Envoy lets nothing out.

use std::time::Instant;

use rustix::process::Signal;
use tonic::Code;

use super::matrix::Check;
use super::matrix::Component::Attache;
use super::matrix::Fault::{Absent, ComesBack, DiesMidRequest, Slow, Wrong};
use super::matrix::Sees;
use super::rig::{Ask, MUCH, Rig, Seen, Setup, chunk};
use crate::support::dns::Reply;
use crate::support::interposer::{Act, Consulted};
use crate::support::{Dns, Interposer, process, until};

#[tokio::test]
async fn absent() {
    let mut check = Check::of(Attache, Absent);
    let mut rig = Rig::new(Setup::default()).await;
    rig.kill_service().await;
    let seen = rig.ask("/status/200/absent").await;
    // What Envoy refused by itself is on record once there is somebody to write it.
    rig.serve().await;
    check.case("it is not there", &rig, &seen).await;
    check.end(&rig);
}

#[tokio::test]
async fn slow() {
    let mut check = Check::of(Attache, Slow);
    let rig = Rig::new(Setup::default()).await;
    let ask = Ask::new("/status/200/inside");
    let mut open = rig.begin(&ask).await;
    let service = rig.service().pid();
    rig.service().signal(Signal::STOP);
    until("every thread to stop", async || process::is_stopped(service).then_some(())).await;
    let began = Instant::now();
    let (outside, inside) = tokio::join!(rig.ask("/status/200/outside"), async {
        open.say(&ask.whole()).await;
        let heard = open.rest().await;
        rig.seen(ask, began, heard)
    });
    rig.service().signal(Signal::CONT);
    check.case("it stands still", &rig, &outside).await;
    check.case("it stands still, in an open tunnel", &rig, &inside).await;
    check.end(&rig);
}

#[tokio::test]
async fn wrong() {
    let mut check = Check::of(Attache, Wrong);
    let mut rig = Rig::prepare(Setup { interposed: true, ..Setup::default() }).await;
    rig.serve().await;
    let between = Interposer::before(&rig.socket(), &rig.path("service.sock"), |_| Act::Pass);
    rig.start_envoy().await;
    for (number, (when, act)) in [
        ("its verdict is no message", Act::Say(vec![0xff; 64])),
        ("its stream ends without a verdict", Act::End(Code::Ok)),
        ("its verdict is lost", Act::LoseReply),
    ]
    .into_iter()
    .enumerate()
    {
        rig.warm().await;
        between.script(move |asked: &Consulted| if asked.door == "tls" { act.clone() } else { Act::Pass });
        let seen = rig.ask(&format!("/status/200/wrong/{number}")).await;
        between.script(|_| Act::Pass);
        check.case(when, &rig, &seen).await;
    }
    check.end(&rig);
}

#[tokio::test]
async fn dies_mid_request() {
    let mut check = Check::of(Attache, DiesMidRequest);
    let dns = Dns::start().await;
    let server = dns.address().to_string();
    let mut rig = Rig::new(Setup::default().flags(["--dns-server", &server])).await;
    dns.script("asked.named.example", [Reply::Silence]);
    let waiting = Ask::named("asked", &rig, "/status/200/asked-for");
    let mut talk = rig.begin(&waiting).await;
    talk.say(&waiting.whole()).await;
    dns.wait_for("asked.named.example", "A", 1).await;
    let began = Instant::now();
    rig.kill_service().await;
    let seen = rig.seen(waiting, began, talk.rest().await);
    rig.serve().await;
    rig.warm().await;
    check.case("before its verdict", &rig, &seen).await;

    let sending = Ask::new("/status/200/sending");
    let mut talk = rig.begin(&sending).await;
    talk.say(&sending.chunked()).await;
    talk.say(&chunk(&"x".repeat(MUCH))).await;
    let begun =
        |seen: &crate::support::upstream::Seen| seen.path.starts_with("/status/200/sending") && !seen.body.is_empty();
    rig.upstream.wait_until("the beginning", |seen| seen.iter().any(begun)).await;
    let began = Instant::now();
    rig.kill_service().await;
    talk.say(&chunk("and more")).await;
    let seen = rig.seen(sending, began, talk.rest().await);
    rig.serve().await;
    rig.warm().await;
    check.case("while a body is looked into", &rig, &seen).await;

    let seen = answered(&mut rig, "/looked-into").await;
    check.case("while an answer is looked into", &rig, &seen).await;
    check.part(&rig, "");

    let mut rig = Rig::new(Setup { blind: true, ..Setup::default() }).await;
    let seen = answered(&mut rig, "/passed-on").await;
    check.case("while an answer passes that nobody looks into", &rig, &seen).await;
    check.end(&rig);
}

/// An answer has begun when the service is killed, and ends after it.
async fn answered(rig: &mut Rig, path: &str) -> Seen {
    let streaming = rig.stream(Ask::new(path)).await;
    rig.kill_service().await;
    let seen = rig.end_of(streaming).await;
    rig.serve().await;
    rig.warm().await;
    seen
}

#[tokio::test]
async fn comes_back() {
    let mut check = Check::of(Attache, ComesBack);
    let mut rig = Rig::new(Setup::default()).await;
    rig.kill_service().await;
    let seen = rig.ask("/status/200/away").await;
    rig.serve().await;
    let back = rig.until("/status/200/back", Sees::Answer(200), Ask::new).await;
    check.case("while it is away", &rig, &seen).await;
    check.case("it is started again", &rig, &back).await;
    check.end(&rig);
}
