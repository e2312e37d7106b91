//! Whatever the clock on the wall shows, limits and waits go by the time that passes, and what has ended has ended.

use std::time::{Duration, SystemTime};

use super::matrix::Component::Clock;
use super::matrix::Fault::{Absent, ComesBack, DiesMidRequest, Slow, Wrong};
use super::matrix::{Check, Sees};
use super::rig::{Ask, HOST, Rig, Setup};
use crate::support::dns::Reply;
use crate::support::{Dns, WrongClock};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const TOKEN: &str = "ann-token-0123456789";

fn with(clock: &WrongClock) -> Setup {
    let [(preload, library), (setting, file)] = clock.variables();
    Setup::default().variable(preload, library).variable(setting, file)
}

/// An agent whose token ends in an hour.
fn with_a_token(clock: &WrongClock) -> Setup {
    let end = in_an_hour();
    let lines = format!("agents:\n  ann: {{identity: [{{token: {{env: ANN, expires: {end}}}}}]}}");
    Setup { token: Some(TOKEN), ..with(clock).policy(lines).variable("ANN", TOKEN) }
}

fn in_an_hour() -> String {
    let end = SystemTime::now() + Duration::from_secs(HOUR.cast_unsigned());
    jiff::Timestamp::try_from(end).unwrap().to_string()
}

/// Uses the limit up.
async fn exhaust(rig: &Rig) {
    for turn in 0..3 {
        let seen = rig.send(Ask::new(&format!("/status/200/limited/{turn}"))).await;
        assert_eq!(seen.sees(), Sees::Answer(200));
    }
}

#[tokio::test]
async fn absent() {
    let mut check = Check::of(Clock, Absent);
    let clock = WrongClock::new();
    let rig = Rig::new(with(&clock)).await;
    clock.stand_still();
    let seen = rig.ask("/status/200/stopped").await;
    exhaust(&rig).await;
    let limited = rig.ask("/status/200/limited/more").await;
    check.case("it stands still", &rig, &seen).await;
    check.case("it stands still, one more than a limit", &rig, &limited).await;
    check.end(&rig);
}

#[tokio::test]
async fn slow() {
    let mut check = Check::of(Clock, Slow);
    let clock = WrongClock::new();
    clock.off_by(-HOUR);
    let rig = Rig::new(with(&clock)).await;
    let seen = rig.ask("/status/200/behind").await;
    exhaust(&rig).await;
    let limited = rig.ask("/status/200/limited/more").await;
    check.case("it is an hour behind", &rig, &seen).await;
    check.case("it is an hour behind, one more than a limit", &rig, &limited).await;
    check.end(&rig);
}

#[tokio::test]
async fn wrong() {
    let mut check = Check::of(Clock, Wrong);
    let clock = WrongClock::new();
    let rig = Rig::new(with_a_token(&clock)).await;
    clock.off_by(DAY);
    let seen = rig.ask("/status/200/ended").await;
    check.case("it is a day ahead: a token that ends in an hour", &rig, &seen).await;
    check.part(&rig, "");

    let clock = WrongClock::new();
    let rig = Rig::prepare(with(&clock)).await;
    let begin = in_an_hour();
    // Among the rules of the rig's policy.
    let rule = format!(
        "  - {{name: Later, host: {HOST}, path: '/status/200/later/**', action: block, notBefore: \"{begin}\"}}\n"
    );
    rig.write_policy(&rule);
    let mut rig = rig;
    rig.serve().await;
    rig.start_envoy().await;
    rig.warm().await;
    exhaust(&rig).await;
    assert_eq!(rig.send(Ask::new("/status/200/later/not-yet")).await.sees(), Sees::Answer(200));
    clock.off_by(DAY);
    let later = rig.ask("/status/200/later/now").await;
    let limited = rig.ask("/status/200/limited/more").await;
    let elsewhere = rig.send(Ask::named("new", &rig, "/status/200/new")).await;
    check.case("it is a day ahead: a rule that blocks in an hour", &rig, &later).await;
    check.case("it is a day ahead: one more than a limit of this hour", &rig, &limited).await;
    check.case("it is a day ahead: a host that has no certificate yet", &rig, &elsewhere).await;
    check.end(&rig);
}

#[tokio::test]
async fn dies_mid_request() {
    let mut check = Check::of(Clock, DiesMidRequest);
    let (clock, dns) = (WrongClock::new(), Dns::start().await);
    let rig = Rig::new(with_a_token(&clock).flags(["--dns-server", &dns.address().to_string()])).await;
    dns.script("late.named.example", [Reply::Silence]);
    let streaming = rig.stream(Ask::new("/streams")).await;
    let (decided, ()) = tokio::join!(rig.send(Ask::named("late", &rig, "/status/200/late")), async {
        dns.wait_for("late.named.example", "A", 1).await;
        clock.off_by(DAY);
        dns.answer("late.named.example", ["127.0.0.1"]);
    });
    let streamed = rig.end_of(streaming).await;
    check.case("it jumps past a token's end before the verdict", &rig, &decided).await;
    check.case("it jumps while an answer streams", &rig, &streamed).await;
    check.end(&rig);
}

#[tokio::test]
async fn comes_back() {
    let mut check = Check::of(Clock, ComesBack);
    let clock = WrongClock::new();
    let rig = Rig::new(with_a_token(&clock)).await;
    clock.off_by(DAY);
    let seen = rig.ask("/status/200/ahead").await;
    rig.wait_said("the clock was changed").await;
    clock.be_right();
    let back = rig.until("/status/200/right", Sees::Answer(200), Ask::new).await;
    check.case("while it is a day ahead", &rig, &seen).await;
    check.case("it is right again", &rig, &back).await;
    check.end(&rig);
}
