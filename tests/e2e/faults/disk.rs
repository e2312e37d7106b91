//! What cannot be put on record does not pass. As root: these mount disks, and freeze files.

use super::matrix::Component::Disk;
use super::matrix::Fault::{Absent, ComesBack, DiesMidRequest, Slow, Wrong};
use super::matrix::{Check, Sees};
use super::rig::{Ask, Rig, Setup};
use crate::support::dns::Reply;
use crate::support::{Disk as Small, Dns, Frozen, SlowDisk, script};

/// Nothing of the journal can be changed.
fn freeze(rig: &Rig) -> Frozen {
    let segments = ::attache::journal::segment::list(&rig.journal()).unwrap();
    Frozen::new(segments.into_iter().map(|segment| segment.path).chain([rig.journal()]))
}

fn strict(disk: &SlowDisk) -> Setup {
    let [(preload, library), (mode, file)] = disk.variables();
    Setup::default().flags(["--durability", "strict"]).variable(preload, library).variable(mode, file)
}

#[tokio::test]
async fn absent() {
    let mut check = Check::of(Disk, Absent);
    let mut rig = Rig::prepare(Setup::default()).await;
    std::fs::create_dir(rig.state()).unwrap();
    std::fs::write(rig.journal(), "a file in the folder's place").unwrap();
    let refused = script::output(&mut rig.serve_command()).await;
    assert_eq!(refused.exit, 1, "{refused:?}");
    rig.heard_say(&refused.stderr);
    rig.start_envoy().await;
    let seen = rig.ask("/status/200/none").await;
    check.case("there is none to begin with", &rig, &seen).await;
    check.part(&rig, "");

    let rig = Rig::new(Setup::default()).await;
    let frozen = freeze(&rig);
    let seen = rig.ask("/status/200/read-only").await;
    drop(frozen);
    // What was refused without a record is on record late, from Envoy's log.
    check.case("it becomes read-only", &rig, &seen).await;
    check.part(&rig, "");

    let rig = Rig::new(Setup::default()).await;
    std::fs::rename(rig.journal(), rig.path("away")).unwrap();
    rig.wait_said("the journal cannot be written").await;
    let seen = rig.ask("/status/200/taken").await;
    std::fs::rename(rig.path("away"), rig.journal()).unwrap();
    check.case("the journal's folder is taken away", &rig, &seen).await;
    check.end(&rig);
}

#[tokio::test]
async fn slow() {
    let mut check = Check::of(Disk, Slow);
    let disk = SlowDisk::new();
    let rig = Rig::new(strict(&disk)).await;
    disk.hang();
    let seen = rig.ask("/status/200/strict").await;
    disk.work();
    check.case("it does not answer, `strict`", &rig, &seen).await;
    check.part(&rig, "");

    let rig = Rig::new(Setup { flags: vec!["--durability".into(), "buffered".into()], ..strict(&disk) }).await;
    disk.hang();
    let seen = rig.ask("/status/200/buffered").await;
    disk.work();
    check.case("it does not answer, `buffered`", &rig, &seen).await;
    check.end(&rig);
}

#[tokio::test]
async fn wrong() {
    let mut check = Check::of(Disk, Wrong);
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    let small = Small::on(&state.join("journal"), 256);
    let rig = Rig::new(Setup { state: Some(state), ..Setup::default() }).await;
    small.fill();
    // What has part of a page may still grow to its end.
    let seen = rig.until("/status/200/full", Sees::Refusal(503, "record_failed"), Ask::new).await;
    small.make_room();
    check.case("it is full", &rig, &seen).await;
    check.part(&rig, "");

    let disk = SlowDisk::new();
    let rig = Rig::new(strict(&disk)).await;
    disk.fail();
    let seen = rig.ask("/status/200/fails").await;
    disk.work();
    check.case("it loses what it took, `strict`", &rig, &seen).await;
    check.end(&rig);
}

#[tokio::test]
async fn dies_mid_request() {
    let mut check = Check::of(Disk, DiesMidRequest);
    let dns = Dns::start().await;
    let rig = Rig::new(Setup::default().flags(["--dns-server", &dns.address().to_string()])).await;
    dns.script("late.named.example", [Reply::Silence]);
    let streaming = rig.stream(Ask::new("/streams")).await;
    let (decided, frozen) = tokio::join!(rig.send(Ask::named("late", &rig, "/status/200/late")), async {
        dns.wait_for("late.named.example", "A", 1).await;
        let frozen = freeze(&rig);
        dns.answer("late.named.example", ["127.0.0.1"]);
        frozen
    });
    let streamed = rig.end_of(streaming).await;
    drop(frozen);
    check.case("before the verdict", &rig, &decided).await;
    check.case("while an answer streams", &rig, &streamed).await;
    check.end(&rig);
}

#[tokio::test]
async fn comes_back() {
    let mut check = Check::of(Disk, ComesBack);
    let rig = Rig::new(Setup::default()).await;
    let frozen = freeze(&rig);
    let seen = rig.ask("/status/200/away").await;
    drop(frozen);
    let back = rig.until("/status/200/back", Sees::Answer(200), Ask::new).await;
    check.case("while it is away", &rig, &seen).await;
    check.case("it can be written again", &rig, &back).await;
    check.end(&rig);
}
