//! What is no policy never takes the place of one.

use super::matrix::Component::PolicyFile;
use super::matrix::Fault::{Absent, ComesBack, DiesMidRequest, Slow, Wrong};
use super::matrix::{Check, Sees};
use super::rig::{Ask, HOST, Rig, Setup};
use crate::support::dns::Reply;
use crate::support::{Dns, script};

const KEPT: &str = "stays in force";
const LOADED: &str = "the policy has been loaded again";

#[tokio::test]
async fn absent() {
    let mut check = Check::of(PolicyFile, Absent);
    let mut rig = Rig::prepare(Setup::default()).await;
    std::fs::remove_file(rig.path("policy.yaml")).unwrap();
    let refused = script::output(&mut rig.serve_command()).await;
    assert_eq!(refused.exit, 2, "{refused:?}");
    rig.heard_say(&refused.stderr);
    rig.start_envoy().await;
    let seen = rig.ask("/status/200/none").await;
    check.case("there is none to begin with", &rig, &seen).await;
    check.part(&rig, "");

    let rig = Rig::new(Setup::default()).await;
    std::fs::remove_file(rig.path("policy.yaml")).unwrap();
    rig.wait_said(KEPT).await;
    let seen = rig.ask("/status/200/removed").await;
    check.case("it is removed", &rig, &seen).await;
    check.end(&rig);
}

#[tokio::test]
async fn slow() {
    let mut check = Check::of(PolicyFile, Slow);
    let rig = Rig::new(Setup::default()).await;
    make_pipe(&rig.path("pipe"));
    std::fs::rename(rig.path("pipe"), rig.path("policy.yaml")).unwrap();
    rig.wait_said(KEPT).await;
    let seen = rig.ask("/status/200/pipe").await;
    check.case("a named pipe takes its place", &rig, &seen).await;
    check.part(&rig, "");

    let rig = Rig::new(Setup::default()).await;
    let next = rig.policy("");
    let half = next.split_once("rateLimit").unwrap().0;
    std::fs::write(rig.path("policy.yaml"), half).unwrap();
    rig.wait_said(KEPT).await;
    let seen = rig.ask("/status/200/half").await;
    check.case("half of the next one is written", &rig, &seen).await;
    check.end(&rig);
}

/// Which nobody ever writes to.
pub fn make_pipe(path: &std::path::Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[tokio::test]
async fn wrong() {
    let mut check = Check::of(PolicyFile, Wrong);
    let rig = Rig::new(Setup::default()).await;
    rig.write_policy("alowedDomains: [trap.example.com]\n");
    rig.wait_said(KEPT).await;
    let seen = rig.ask("/status/200/wrong").await;
    check.case("the next one is no policy", &rig, &seen).await;
    check.end(&rig);
}

#[tokio::test]
async fn dies_mid_request() {
    let mut check = Check::of(PolicyFile, DiesMidRequest);
    let dns = Dns::start().await;
    let rig = Rig::new(Setup::default().flags(["--dns-server", &dns.address().to_string()])).await;
    let streaming = rig.stream(Ask::new("/streams")).await;

    dns.script("forbidden.named.example", [Reply::Silence]);
    let (forbidden, ()) = tokio::join!(rig.send_both(Ask::named("forbidden", &rig, "/status/200/forbidden")), async {
        dns.wait_for("forbidden.named.example", "A", 1).await;
        rig.write_policy(&format!("blockedDomains: [forbidden.named.example, {HOST}]\n"));
        rig.wait_said(LOADED).await;
        dns.answer("forbidden.named.example", ["127.0.0.1"]);
    });
    dns.script("kept.named.example", [Reply::Silence]);
    let (kept, ()) = tokio::join!(rig.send_both(Ask::named("kept", &rig, "/status/200/kept")), async {
        dns.wait_for("kept.named.example", "A", 1).await;
        std::fs::remove_file(rig.path("policy.yaml")).unwrap();
        rig.wait_said(KEPT).await;
        dns.answer("kept.named.example", ["127.0.0.1"]);
    });
    let streamed = rig.end_of(streaming).await;
    check.case("the next one forbids what waits for its verdict", &rig, &forbidden).await;
    check.case("it is removed before the verdict", &rig, &kept).await;
    check.case("the next one forbids what is answered", &rig, &streamed).await;
    check.end(&rig);
}

#[tokio::test]
async fn comes_back() {
    let mut check = Check::of(PolicyFile, ComesBack);
    let rig = Rig::new(Setup::default()).await;
    std::fs::remove_file(rig.path("policy.yaml")).unwrap();
    rig.wait_said(KEPT).await;
    let seen = rig.ask("/status/200/away").await;
    rig.write_policy(&format!("blockedDomains: [{HOST}]\n"));
    let blocked = rig.until("/status/200/blocked", Sees::Refusal(403, "domain_blocked"), Ask::new).await;
    check.case("while it is away", &rig, &seen).await;
    check.case("there is another, which blocks", &rig, &blocked).await;
    check.end(&rig);
}
