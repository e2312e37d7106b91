//! Without Envoy there is no way out, and it lets nothing out by itself.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::matrix::Component::Envoy;
use super::matrix::Fault::{Absent, ComesBack, DiesMidRequest, Slow, Wrong};
use super::matrix::{Check, Sees};
use super::rig::{Ask, Rig, Setup};
use crate::support::dns::Reply;
use crate::support::{Dns, process, until};

#[tokio::test]
async fn absent() {
    let mut check = Check::of(Envoy, Absent);
    let mut rig = Rig::new(Setup::default()).await;
    rig.kill_envoy().await;
    let seen = rig.ask("/status/200/absent").await;
    check.case("it is not there", &rig, &seen).await;
    check.end(&rig);
}

#[tokio::test]
async fn slow() {
    let mut check = Check::of(Envoy, Slow);
    let rig = Rig::new(Setup::default()).await;
    let envoy = rig.envoy().pid();
    assert!(process::signal(envoy, Signal::STOP));
    until("every thread to stop", async || process::is_stopped(envoy).then_some(())).await;
    let (given_up, waited) = tokio::join!(
        async {
            let seen = rig.send_both(Ask::new("/status/200/given-up").patience(Duration::from_secs(1))).await;
            assert!(process::signal(envoy, Signal::CONT));
            seen
        },
        rig.ask("/status/200/waited"),
    );
    check.case("it stands still", &rig, &given_up).await;
    check.case("it goes on, and the agent has waited", &rig, &waited).await;
    check.end(&rig);
}

#[tokio::test]
async fn wrong() {
    let mut check = Check::of(Envoy, Wrong);
    let asks_nobody: fn(&mut Value) = |document| without(document, "envoy.filters.http.ext_proc");
    let mut rig = Rig::prepare(Setup { bootstrap: Some(asks_nobody), ..Setup::default() }).await;
    rig.serve().await;
    rig.start_envoy().await;
    let seen = rig.ask("/status/200/nobody").await;
    check.case("its bootstrap asks nobody", &rig, &seen).await;
    check.part(&rig, "");

    let has_no_gate: fn(&mut Value) = |document| without(document, "envoy.filters.http.rbac");
    let rig = Rig::new(Setup { bootstrap: Some(has_no_gate), ..Setup::default() }).await;
    let seen = rig.ask("/status/200/no-gate").await;
    check.case("its bootstrap has no gate", &rig, &seen).await;
    check.end(&rig);
}

/// Takes the filters of this name out of every listener.
fn without(document: &mut Value, name: &str) {
    match document {
        Value::Object(fields) => fields.values_mut().for_each(|value| without(value, name)),
        Value::Array(values) => {
            values.retain(|value| value["name"] != name || value["typed_config"].is_null());
            values.iter_mut().for_each(|value| without(value, name));
        }
        _ => {}
    }
}

#[tokio::test]
async fn dies_mid_request() {
    let mut check = Check::of(Envoy, DiesMidRequest);
    let dns = Dns::start().await;
    let server = dns.address().to_string();
    let mut rig = Rig::new(Setup::default().flags(["--dns-server", &server])).await;
    dns.script("asked.named.example", [Reply::Silence]);
    let waiting = Ask::named("asked", &rig, "/status/200/waiting");
    let mut talk = rig.begin(&waiting).await;
    talk.say(&waiting.whole()).await;
    dns.wait_for("asked.named.example", "A", 1).await;
    let streaming = rig.stream(Ask::new("/streams")).await;

    let began = Instant::now();
    rig.kill_envoy().await;
    let waited = talk.rest().await;
    let (waited, streamed) = (rig.seen(waiting, began, waited), rig.end_of(streaming).await);
    // The next one ends what the one before it had.
    rig.start_envoy().await;
    rig.warm().await;
    check.case("before the verdict", &rig, &waited).await;
    check.case("while an answer streams", &rig, &streamed).await;
    check.end(&rig);
}

#[tokio::test]
async fn comes_back() {
    let mut check = Check::of(Envoy, ComesBack);
    let mut rig = Rig::new(Setup::default()).await;
    rig.kill_envoy().await;
    let seen = rig.ask("/status/200/away").await;
    rig.start_envoy().await;
    let back = rig.until("/status/200/back", Sees::Answer(200), Ask::new).await;
    check.case("while it is away", &rig, &seen).await;
    check.case("it is started again", &rig, &back).await;
    check.end(&rig);
}
