//! Collectors that refuse, hang or are not there; and variables that say nothing.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use super::POLICY;
use crate::support::{Attache, Collector, Upstream, free_address};

async fn attache(upstream: &Upstream, endpoint: &str, more: &[(&str, &str)]) -> Attache {
    let mut setup = Attache::up(POLICY)
        .env("KEY", "s3cret")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "500")
        .env("OTEL_BSP_SCHEDULE_DELAY", "20")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "50")
        .resolve("api.example.com", upstream);
    for (name, value) in more {
        setup = setup.env(name, value);
    }
    setup.start().await
}

/// Requests that are answered and on record, and how long the slowest took.
async fn ask(attache: &Attache, count: usize) -> Duration {
    let before = crate::support::records(attache).len();
    let mut slowest = Duration::ZERO;
    for _ in 0..count {
        let begun = Instant::now();
        assert_eq!(attache.curl(["http://api.example.com/v1/a"]).await.status, 200);
        slowest = slowest.max(begun.elapsed());
    }
    assert_eq!(crate::support::records(attache).len(), before + count);
    slowest
}

fn times(attache: &Attache, said: &str) -> usize {
    attache.stderr().matches(said).count()
}

const REFUSED: [&str; 3] = [
    "the collector does not take spans",
    "the collector does not take metrics",
    "the collector does not take envoy's spans",
];

#[tokio::test]
async fn one_that_answers_errors_is_said_once_and_nothing_waits_for_it() {
    let (upstream, collector) = (Upstream::https(["api.example.com"]).await, Collector::start().await);
    collector.refuse(true);
    let attache = attache(&upstream, &collector.endpoint(), &[]).await;
    let mut refused = 0;
    // Envoy traces only once it has been told to.
    while !REFUSED.iter().all(|said| attache.stderr().contains(said)) {
        ask(&attache, 1).await;
        refused += 1;
        assert!(refused < 400, "{}", attache.stderr());
    }
    let sofar = collector.taken().refused;
    ask(&attache, 5).await;
    collector.wait("many refusals", |taken| taken.refused > sofar + 10).await;
    for said in REFUSED {
        assert_eq!(times(&attache, said), 1, "{said}: {}", attache.stderr());
    }
    let stderr = attache.stderr();
    assert!(!stderr.contains("said-by-the-collector"), "it may quote what it was sent: {stderr}");
    collector.refuse(false);
    ask(&attache, 1).await;
    attache.wait_stderr("the collector takes spans again").await;
    attache.wait_stderr("the collector takes metrics again").await;
    collector.wait("both", |taken| !taken.spans.is_empty() && !taken.metrics.is_empty()).await;
}

#[tokio::test]
async fn one_that_is_not_there_or_never_answers_delays_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = format!("http://{}", silent.local_addr().unwrap());
    let absent = format!("http://{}", free_address());
    for endpoint in [absent, hangs] {
        let upstream = Upstream::https(["api.example.com"]).await;
        let mut attache = attache(&upstream, &endpoint, &[]).await;
        let slowest = ask(&attache, 20).await;
        // An export would wait for as long as the timeout.
        assert!(slowest < Duration::from_millis(450), "{endpoint}: {slowest:?}");
        attache.wait_stderr("the collector does not take spans").await;
        attache.wait_stderr("the collector does not take metrics").await;
        ask(&attache, 5).await;
        assert_eq!(times(&attache, "the collector does not take spans"), 1, "{}", attache.stderr());
        let begun = Instant::now();
        assert!(attache.stop().await.success(), "{}", attache.stderr());
        assert!(begun.elapsed() < Duration::from_secs(12), "{endpoint}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn sampling_and_exporters_are_followed_and_the_record_is_complete_all_the_same() {
    for (variables, spans, metrics) in [
        (&[("OTEL_TRACES_SAMPLER", "always_off")][..], false, true),
        (&[("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")], false, true),
        (&[("OTEL_TRACES_EXPORTER", "none")], false, true),
        (&[("OTEL_METRICS_EXPORTER", "none"), ("OTEL_TRACES_SAMPLER", "always_on")], true, false),
        (&[("OTEL_SDK_DISABLED", "true")], false, false),
    ] {
        let (upstream, collector) = (Upstream::https(["api.example.com"]).await, Collector::start().await);
        let never = "3600000";
        let held = [("OTEL_BSP_SCHEDULE_DELAY", never), ("OTEL_METRIC_EXPORT_INTERVAL", never)];
        let mut attache = attache(&upstream, &collector.endpoint(), &[variables, &held[..]].concat()).await;
        ask(&attache, 3).await;
        // Only what is sent at the end arrives, and it does.
        assert!(attache.stop().await.success());
        let taken = collector.taken();
        assert_eq!(taken.spans.iter().any(|s| s.span.name == "egress.decision"), spans, "{variables:?}");
        assert_eq!(!taken.metrics.is_empty(), metrics, "{variables:?}");
        if !spans {
            assert!(taken.spans.is_empty(), "{variables:?}: {:?}", taken.spans);
        }
    }
}

#[tokio::test]
async fn variables_that_say_nothing_are_refused_with_what_they_could_say() {
    for (name, value, said) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "`http/protobuf`: write `grpc`"),
        ("OTEL_TRACES_EXPORTER", "console", "`OTEL_TRACES_EXPORTER` is `console`: write `otlp` or `none`"),
        ("OTEL_TRACES_SAMPLER", "some", "`OTEL_TRACES_SAMPLER` is `some`"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector", "`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is no"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2", "`OTEL_EXPORTER_OTLP_HEADERS` is no list of headers"),
    ] {
        let endpoint = format!("http://{}", free_address());
        let setup = Attache::up("allowedDomains: [a.example]").env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
        let refused = setup.env(name, value).refused().await;
        assert_eq!(refused.exit, 2, "{name}: {refused:?}");
        assert!(refused.stderr.contains(said), "{name}: {}", refused.stderr);
        assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
    }
}
