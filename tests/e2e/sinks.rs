//! Every record arrives where it is taken, whoever is down meanwhile, and nothing waits for it.

use std::collections::{BTreeMap, BTreeSet};

use ::attache::journal::checkpoint::Checkpoint;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::collector::{Taken, number, text};
use crate::support::endpoint::{Endpoint, Received, reply};
use crate::support::process::Running;
use crate::support::{Attache, Collector, attache, free_address, script, until};

/// Stands in what agents send, and nowhere else.
const HIDDEN: &str = "hidden-value-4711";

#[tokio::test]
async fn a_collector_that_was_down_gets_every_record_though_the_service_was_killed() {
    let address = free_address();
    let attache = Attache::up("allowedDomains: [api.example.com]")
        .env("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &format!("http://{address}"))
        .env("OTEL_EXPORTER_OTLP_HEADERS", &format!("x-key={HIDDEN}"))
        .flags(["--sink", "otlp"]);
    let attache = attache.start().await;
    ask(&attache, 0..10).await;
    attache.wait_stderr("a sink does not take records").await;
    let before = attache.kill9_service().await;
    attache.wait_restart(before).await;
    ask(&attache, 10..20).await;

    let collector = Collector::start_at(address).await;
    collector.refuse(true);
    ask(&attache, 20..25).await;
    collector.refuse(false);
    // Beside the segments stands who holds the lock.
    let journal = attache.journal();
    let lines: BTreeSet<String> = journal.lines().filter(|line| line.starts_with('{')).map(str::to_owned).collect();
    let arrived = |taken: &Taken| {
        let bodies: BTreeSet<_> = bodies(taken).into_iter().collect();
        lines.is_subset(&bodies)
    };
    let taken = collector.wait("every line of the journal", arrived).await;
    assert_eq!(refusals(&attache).len(), 25);
    // Each says whose it is: what comes twice can be told from what comes once.
    let mut seen: BTreeMap<(String, i64), String> = BTreeMap::new();
    for log in &taken.logs {
        let attributes = &log.record.attributes;
        let place = (
            text(attributes, "attache.audit.chain").unwrap().to_owned(),
            number(attributes, "attache.audit.seq").unwrap(),
        );
        let body = body(&log.record);
        assert_eq!(*seen.entry(place).or_insert_with(|| body.clone()), body);
        assert_eq!(text(&log.resource.attributes, "service.name"), Some("attache"));
    }
    let checkpoint = |taken: &Taken| bodies(taken).iter().any(|body| verified(body).is_some());
    let taken = collector.wait("a checkpoint", checkpoint).await;
    assert!(!String::from_utf8_lossy(&taken.bytes).contains(HIDDEN), "what agents send in queries is in no record");
    assert!(!attache.stderr().contains(HIDDEN), "{}", attache.stderr());
}

#[tokio::test]
async fn standard_output_has_the_ready_line_and_then_every_record() {
    let home = tempfile::tempdir().unwrap();
    let policy = home.path().join("policy.yaml");
    std::fs::write(&policy, "allowedDomains: [api.example.com]").unwrap();
    let mut command = attache::attache(home.path());
    command.args(["serve", "--sink", "stdout", "--metrics", "off", "--policy"]).arg(&policy);
    command.arg("--state-dir").arg(home.path().join("state"));
    let mut running = Running::start("attache serve", command);
    let ready: Value = serde_json::from_str(&running.line().await).unwrap();
    let first: Value = serde_json::from_str(&running.line().await).unwrap();
    assert_eq!((&first["type"], &first["chain"]), (&"segment".into(), &ready["journal"]["chain"]));
    assert_eq!(first["publicKey"], ready["journal"]["publicKey"]);
    running.signal(Signal::TERM);
    let last = running.line().await;
    let checkpoint = verified(&last).unwrap_or_else(|| panic!("no checkpoint: {last}"));
    assert!(checkpoint.last && *checkpoint.at.chain == *first["chain"].as_str().unwrap());
    assert!(running.exit().await.success());
}

#[tokio::test]
async fn a_sink_that_cannot_be_is_refused_before_anything_starts() {
    let home = tempfile::tempdir().unwrap();
    let policy = home.path().join("policy.yaml");
    std::fs::write(&policy, "allowedDomains: [api.example.com]").unwrap();
    for (command, flags, variables, expected) in [
        ("serve", &["--sink", "kafka"][..], &[][..], "there are `stdout` and `otlp`"),
        ("serve", &["--sink", "otlp"], &[], "has no collector to go to: set `OTEL_EXPORTER_OTLP_ENDPOINT`"),
        ("serve", &["--sink", "otlp"], &[("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4317")], "no collector's address"),
        ("up", &["--sink", "otlp"], &[], "has no collector to go to"),
        ("up", &["--sink", "stdout"], &[], "`--sink stdout` is for `attache serve`"),
        ("run", &["--sink", "stdout", "--", "true"], &[], "that of `run` is the command's"),
    ] {
        let mut attache = attache::attache(home.path());
        attache.arg(command).arg("--policy").arg(&policy).arg("--state-dir").arg(home.path().join("state"));
        let output = script::output(attache.args(flags).envs(variables.iter().copied())).await;
        assert_eq!(output.exit, 2, "{command} {flags:?}: {output:?}");
        assert!(output.stderr.contains(expected), "{command} {flags:?}: {}", output.stderr);
    }
}

#[tokio::test]
async fn a_webhook_that_was_down_over_a_restart_is_told_of_every_refusal() {
    let address = free_address();
    let policy = format!(
        "allowedDomains: [api.example.com]\nnotifications:\n  ops:\n    webhook: {{url: 'http://{address}/hook', \
         plaintext: true, secret: {{env: HOOK}}}}\n    events: [blocked, checkpoint, reloadFailed]\n"
    );
    let attache = Attache::up(&policy).env("HOOK", "a secret that nobody guesses").start().await;
    ask(&attache, 0..5).await;
    let before = attache.kill9_service().await;
    attache.wait_restart(before).await;
    ask(&attache, 5..10).await;
    let hook = Endpoint::start(address, false, async |_| reply(204, "")).await;
    let told = |hook: &Endpoint, kind: &str| -> Vec<Value> {
        hook.requests().iter().map(Received::json).filter(|told| told["type"] == kind).collect()
    };
    let ids = |told: Vec<Value>| -> BTreeSet<String> {
        told.iter().map(|told| told["data"]["requestId"].as_str().unwrap().to_owned()).collect()
    };
    let recorded = refusals(&attache);
    assert_eq!(recorded.len(), 10);
    until("every refusal", async || (ids(told(&hook, "request.blocked")) == recorded).then_some(())).await;
    attache.replace_policy("allowedDomains: 7");
    let refused = until("the policy's refusal", async || told(&hook, "policy.reload_failed").pop()).await;
    assert_eq!(refused["data"]["policyRevision"], attache.revision().await);
    assert!(refused["data"]["problem"].as_str().unwrap().contains("policy.yaml:1"), "{refused}");
    let checkpoint = until("a checkpoint", async || told(&hook, "journal.checkpoint").pop()).await;
    assert!(verified(&checkpoint["data"].to_string()).is_some(), "{checkpoint}");
    let bytes: String = hook.requests().iter().map(|r| String::from_utf8_lossy(&r.body).into_owned()).collect();
    assert!(!bytes.contains(HIDDEN) && !bytes.contains("nobody guesses"));
}

/// Requests that are refused, each at once. After a restart Envoy may still be looking for the service.
async fn ask(attache: &Attache, numbers: std::ops::Range<usize>) {
    let refused = async |n: usize| {
        let url = format!("http://blocked.example/{n}?key={HIDDEN}");
        attache.curl([url.as_str()]).await.status
    };
    for n in numbers {
        until("the service to decide", async || (refused(n).await == 403).then_some(())).await;
    }
}

/// The ids of all that was refused by policy.
fn refusals(attache: &Attache) -> BTreeSet<String> {
    let refused = attache.records_of("blocked.example").into_iter().filter(|record| record["decision"] == "deny");
    refused.map(|record| record["requestId"].as_str().unwrap().to_owned()).collect()
}

fn bodies(taken: &Taken) -> Vec<String> {
    taken.logs.iter().map(|log| body(&log.record)).collect()
}

fn body(record: &opentelemetry_proto::tonic::logs::v1::LogRecord) -> String {
    match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Any::StringValue(text)) => text.clone(),
        other => panic!("no line: {other:?}"),
    }
}

/// The checkpoint that a line is, if it is one, and its signature holds.
fn verified(line: &str) -> Option<Checkpoint> {
    let value: Value = serde_json::from_str(line).ok()?;
    let checkpoint: Checkpoint = (value["type"] == "checkpoint").then(|| serde_json::from_value(value).unwrap())?;
    assert_eq!(checkpoint.verify(), Ok(()));
    Some(checkpoint)
}
