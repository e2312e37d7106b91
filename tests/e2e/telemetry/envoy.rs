//! Envoy's own statistics, beside ours.

use super::POLICY;
use crate::support::attache::attache;
use crate::support::process::Running;
use crate::support::{Attache, Upstream, curl, free_address};

#[tokio::test]
async fn envoys_statistics_that_say_something_stand_beside_ours() {
    let (upstream, metrics) = (Upstream::https(["api.example.com"]).await, free_address());
    let attache = Attache::up(POLICY)
        .env("KEY", "s3cret")
        .flags(["--metrics", &metrics.to_string()])
        .resolve("api.example.com", &upstream)
        .start()
        .await;
    assert_eq!(attache.curl(["https://api.example.com/v1/a?token=t0p"]).await.status, 200);
    let answer = curl([format!("http://{metrics}/metrics/envoy")]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = answer.text();
    let value = |name: &str, label: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")) && line.contains(label))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    // The tunnel and the request in it.
    for door in ["proxy", "tls"] {
        let label = format!("envoy_http_conn_manager_prefix=\"{door}\"");
        let started = value("envoy_http_ext_proc_streams_started", &label);
        assert_eq!(started, Some(1.0), "{door}: {text}");
        assert!(text.contains("envoy_http_downstream_rq_time_bucket"), "{text}");
    }
    assert!(value("envoy_cluster_upstream_rq_total", "envoy_cluster_name=\"attache\"").unwrap() >= 2.0, "{text}");
    let others: Vec<_> =
        text.lines().filter(|line| line.contains("envoy_runtime") || line.contains("envoy_listener")).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(text.len() < 1 << 20, "{} bytes", text.len());
    assert!(!text.contains("t0p") && !text.contains("s3cret") && !text.contains("api.example.com"), "{text}");
}

#[tokio::test]
async fn without_an_envoy_that_is_said_and_our_own_metrics_stay() {
    let (folder, metrics) = (tempfile::tempdir().unwrap(), free_address());
    let policy = folder.path().join("policy.yaml");
    std::fs::write(&policy, "allowedDomains: [api.example.com]").unwrap();
    let mut command = attache(folder.path());
    command.arg("serve").arg("--policy").arg(&policy).arg("--state-dir").arg(folder.path().join("state"));
    command.args(["--metrics", &metrics.to_string()]);
    let mut service = Running::start("attache serve", command);
    service.line().await;
    let answer = curl([format!("http://{metrics}/metrics/envoy")]).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let said = answer.text();
    assert!(said.contains("admin.sock` cannot be reached") && said.contains("--envoy-admin"), "{said}");
    let ours = curl([format!("http://{metrics}/metrics")]).await;
    assert_eq!(ours.status, 200);
    assert!(ours.text().contains("attache_ready 1"), "{}", ours.text());
    service.stop().await;
}
