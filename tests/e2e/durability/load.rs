//! Many at once, and more than one file holds.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;

use super::{POLICY, Station, paths, segments, state};
use crate::support::{Collector, free_address};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_at_once_are_on_the_disk_before_they_are_answered() {
    let (_home, state) = state();
    let station = Station::new(POLICY, &state, &["--durability", "strict"], |setup| setup).await;
    let told = station.ask(paths("at-once", 200)).await;
    assert!(told.iter().all(|told| told.status == 200), "{told:?}");
    station.assert_all_on_record(&told);
    assert_eq!(told.len(), 200);
    assert_eq!(station.metric("attache_journal_errors_total").await, 0.0);
    station.verified().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_begun_and_removed_under_load_and_the_sink_gets_every_record() {
    let (_home, state) = state();
    let address = free_address();
    let flags = ["--journal-segment-size", "64KiB", "--journal-max-size", "128KiB", "--sink", "otlp"];
    let otlp = format!("http://{address}");
    let collector = Collector::start_at(address).await;
    collector.refuse(true);
    let station =
        Station::new(POLICY, &state, &flags, |setup| setup.env("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &otlp)).await;
    let mut told = Vec::new();
    for round in 0..10 {
        told.extend(station.ask(paths(&format!("load-{round}"), 200)).await);
    }
    assert!(told.iter().all(|told| told.status == 200), "{told:?}");
    station.wait_outcomes().await;
    // The sink has read nothing: much more is there than is to be kept, and none of it goes.
    station.assert_all_on_record(&told);
    let held = segments(&state).len();
    assert!(held > 8, "{held} segments");
    station.verified().await;
    station.attache().wait_stderr("a sink has not read what should be removed").await;

    collector.refuse(false);
    let arrived = |taken: &crate::support::collector::Taken| {
        let found: BTreeSet<String> = taken.logs.iter().filter_map(allowed_path).collect();
        found.is_superset(&station.arrived())
    };
    collector.wait("every decision", arrived).await;
    // Room is made with the next file.
    let mut round = 0;
    while segments(&state).len() > 4 {
        assert!(round < 10, "nothing was removed: {:?}", segments(&state));
        let told = station.ask(paths(&format!("more-{round}"), 200)).await;
        assert!(told.iter().all(|told| told.status == 200), "{told:?}");
        round += 1;
        collector.wait("every decision", arrived).await;
    }
    let report = station.verified().await;
    assert!(report["removed"].is_object(), "{report}");
    assert_eq!(station.metric("attache_journal_errors_total").await, 0.0);
    assert_eq!(station.metric("attache_unreconciled_exchanges_total").await, 0.0);
}

/// The path of a decision that let its request pass.
fn allowed_path(log: &crate::support::collector::ReceivedLog) -> Option<String> {
    let Some(Any::StringValue(line)) = log.record.body.as_ref()?.value.as_ref() else { return None };
    let record: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_allowed = record["type"] == "decision" && record["decision"] == "allow";
    is_allowed.then(|| record["path"].as_str().unwrap().to_owned())
}
