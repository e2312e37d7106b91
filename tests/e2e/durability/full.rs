//! A disk without room.

use serde_json::Value;

use super::{Station, Told, paths, segments, state};
use crate::support::endpoint::{Endpoint, Received, reply};
use crate::support::{Disk, free_address, until};

/// In KiB. A few hundred records.
const SIZE: usize = 512;
const SECRET: &str = "a secret that nobody guesses";

#[tokio::test(flavor = "current_thread")]
async fn without_room_nothing_passes_and_with_room_everything_does_buffered() {
    full("buffered").await;
}

#[tokio::test(flavor = "current_thread")]
async fn without_room_nothing_passes_and_with_room_everything_does_strict() {
    full("strict").await;
}

async fn full(durability: &str) {
    let (_home, state) = state();
    let disk = Disk::on(&state.join("journal"), SIZE);
    let hook = Endpoint::start(free_address(), false, async |_| reply(204, "")).await;
    let station = Station::new(&policy(&hook), &state, &["--durability", durability], |s| s.env("HOOK", SECRET)).await;
    let mut told = station.ask(paths("before", 20)).await;
    assert!(told.iter().all(|told| told.status == 200), "{told:?}");
    station.wait_outcomes().await;

    disk.fill();
    let mut refused = 0;
    for round in 0..40 {
        let answers = station.ask(paths(&format!("full-{round:02}"), 10)).await;
        refused += answers.iter().filter(|told| is_refused(told)).count();
        told.extend(answers);
        if refused >= 100 {
            break;
        }
    }
    assert!(refused >= 100, "{told:?}");
    station.assert_all_on_record(&told);
    assert!(station.metric("attache_journal_errors_total").await >= 100.0);
    let failed = until("the webhook", async || told_of(&hook, "journal.failed").pop()).await;
    assert!(failed["data"]["errors"].as_u64().unwrap() > 0, "{failed}");
    let stderr = station.attache().stderr();
    let said = stderr.lines().filter(|line| line.contains("ERROR") || line.contains("\"error\"")).count();
    assert!(stderr.contains("the journal cannot be written: what has no record does not pass"), "{stderr}");
    assert!(said < 20, "{said} errors were logged for {refused} refusals: {stderr}");
    // What is there can be read, and holds.
    station.verified().await;
    assert!(!station.attache().logs(&[]).await.is_empty());

    disk.make_room();
    until("requests to pass again", async || {
        let one = station.ask_one(&format!("/again/{}", told.len())).await;
        told.push(one.clone());
        (one.status == 200).then_some(())
    })
    .await;
    let after = station.ask(paths("after", 50)).await;
    assert!(after.iter().all(|told| told.status == 200), "{after:?}");
    told.extend(after);
    station.attache().wait_stderr("the journal is written again").await;
    // Also of those whose outcome came while there was no room for it.
    station.wait_outcomes().await;
    station.assert_all_on_record(&told);
    // What was refused without a record is on record late, from Envoy's log, and is no bypass.
    until("every refusal", async || {
        let records = station.attache().readable_records();
        let belated = records.iter().filter(|record| record["reason"] == "record_failed" && record["status"] == 503);
        (belated.count() >= refused).then_some(())
    })
    .await;
    let report = station.verified().await;
    assert_eq!(report["chains"].as_array().unwrap().len(), 1, "without a restart: {report}");
    assert_eq!(station.metric("attache_unreconciled_exchanges_total").await, 0.0);
    assert!(told_of(&hook, "exchange.unreconciled").is_empty());
}

/// Killed on a full disk, with half a line behind: it cannot start until there is room, and then goes on.
#[tokio::test(flavor = "current_thread")]
async fn killed_without_room_it_comes_back_with_it() {
    let (_home, state) = state();
    let disk = Disk::on(&state.join("journal"), SIZE);
    let station = Station::new(super::POLICY, &state, &[], |setup| setup).await;
    let mut told = station.ask(paths("before", 20)).await;
    disk.fill();
    told.extend(station.ask(paths("full", 60)).await);
    assert!(told.iter().any(is_refused), "{told:?}");
    // A crash in the middle of a line. The service must not write meanwhile, nor another one begin.
    station.attache().hang().await;
    disk.make_room();
    let newest = segments(&state).pop().unwrap();
    let mut torn = std::fs::OpenOptions::new().append(true).open(&newest).unwrap();
    std::io::Write::write_all(&mut torn, b"{\"type\":\"decision\",\"requestId\":\"ha").unwrap();
    disk.fill();
    station.attache().kill9_service().await;
    station.attache().wait_stderr("no request passes without its record").await;
    let meanwhile = station.ask(paths("down", 3)).await;
    assert!(meanwhile.iter().all(|told| told.status == 503), "{meanwhile:?}");
    told.extend(meanwhile);
    disk.make_room();
    until("requests to pass again", async || {
        let one = station.ask_one(&format!("/again/{}", told.len())).await;
        told.push(one.clone());
        (one.status == 200).then_some(())
    })
    .await;
    station.wait_outcomes().await;
    station.assert_all_on_record(&told);
    let report = station.verified().await;
    assert_eq!(report["chains"].as_array().unwrap().len(), 2, "{report}");
    assert!(!station.attache().logs(&[]).await.is_empty());
}

fn is_refused(told: &Told) -> bool {
    (told.status, &*told.reason) == (503, "record_failed")
}

fn policy(hook: &Endpoint) -> String {
    format!(
        "{}\nnotifications:\n  ops:\n    webhook: {{url: '{}/hook', plaintext: true, secret: {{env: HOOK}}}}\n    \
         events: [journalFailed, unreconciled]\n",
        super::POLICY,
        hook.url()
    )
}

fn told_of(hook: &Endpoint, kind: &str) -> Vec<Value> {
    hook.requests().iter().map(Received::json).filter(|told| told["type"] == kind).collect()
}
