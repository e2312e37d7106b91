//! What of an attaché's day reaches a collector and a scraper, and what must not.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use crate::dlp::{KEY, RULE, TOKEN, gzip, hex};
use crate::support::collector::{Received, Taken, number, text};
use crate::support::upstream::Answer;
use crate::support::{Ask, Attache, Collector, Place, Protocol, curl, free_address, until};

const HOST: &str = "api.example.com";
const POLICY: &str = r#"
allowedDomains: [api.example.com]
dlp: {profiles: {default: {responses: {credentials: redact, pii: block}}}}
rules:
  - {name: Cap, host: api.example.com, path: /capped, action: {rateLimit: {requests: 1, per: hour}}}
  - {name: Asked, host: api.example.com, path: /asked, action: {approval: {hold: 0s, expires: 10m}}}
credentials:
  - name: key
    envVarKey: KEY
    injections: [{domain: api.example.com, headerName: X-Key, headerFormat: "{value}"}]
"#;
const HELD: &str = "held-7Fq2mXw9Rt4Yv6Zb8Nc3Lk5Jh1";
const QUERY: &str = "q-value-5d1f0c9b7a";
const NUMBER: &str = "her social security number is 536-22-8714.";
const COLLECTORS: &str = "collector-token-81c2";

/// The metrics of which something has happened by the end of the day, as scrapers know them.
const METRICS: [&str; 35] = [
    "attache_requests_total",
    "attache_decision_duration_seconds_bucket",
    "attache_dlp_findings_total",
    "attache_dlp_scanned_bytes_total",
    "attache_dlp_incomplete_total",
    "attache_inspections_total",
    "attache_rate_limit_decisions_total",
    "attache_credential_injections_total",
    "attache_approvals_pending",
    "attache_approvals_oldest_seconds",
    "attache_approvals_total",
    "attache_policy_info",
    "attache_policy_reloads_total",
    "attache_policy_last_reload_timestamp_seconds",
    "attache_policy_last_reload_successful",
    "attache_journal_records_total",
    "attache_journal_bytes_total",
    "attache_journal_errors_total",
    "attache_journal_size_bytes",
    "attache_journal_segments",
    "attache_journal_unsynced_seconds",
    "attache_tls_handshake_failures_total",
    "attache_open_exchanges",
    "attache_unreconciled_exchanges_total",
    "attache_outcomes_unknown_total",
    "attache_undecided_requests_total",
    "attache_leaf_certificates_total",
    "attache_build_info",
    "attache_ready",
    "attache_decision_duration_seconds_count",
    "attache_decision_duration_seconds_sum",
    "attache_requests_total{agent=\"researcher\"",
    "attache_leaf_certificates_total{action=\"minted\"}",
    "attache_leaf_certificates_total{action=\"refused\"}",
    "attache_policy_reloads_total{success=\"true\"}",
];

struct Day {
    place: Place,
    collector: Collector,
    metrics: std::net::SocketAddr,
}

impl Day {
    async fn begin() -> Day {
        let (collector, metrics) = (Collector::start().await, free_address());
        let place = Place::with(POLICY, [HOST], |setup| {
            setup
                .env("KEY", HELD)
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
                .env("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization=Bearer%20{COLLECTORS}"))
                .env("OTEL_BSP_SCHEDULE_DELAY", "50")
                .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
                .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
                .flags(["--metrics", &metrics.to_string()])
                .agent("researcher")
        })
        .await;
        Day { place, collector, metrics }
    }

    async fn send(&self, ask: Ask, status: u16) {
        let reply = ask.clone().send(&self.place.attache).await;
        assert_eq!(reply.status, status, "{ask:?}: {reply:?}");
    }

    /// Something of everything.
    async fn pass(&self) {
        let url = |path: &str| format!("https://{HOST}{path}");
        let get = |path: &str| Ask::get(Protocol::Http2, &url(path));
        let post = |path: &str| Ask::new(Protocol::Http1, "POST", &url(path));
        let answers = [
            ("/redacted", Answer::new("application/json", format!(r#"{{"key":"{KEY}"}}"#))),
            ("/blocked", Answer::new("text/plain", "clean").field("x-note", NUMBER)),
        ];
        for (path, answer) in answers {
            self.place.upstream.tell(path, answer);
        }
        self.send(get(&format!("/plain?token={QUERY}")), 200).await;
        self.send(post("/clean").body(r#"{"a":"clean"}"#), 200).await;
        self.send(get("/redacted"), 200).await;
        self.send(get("/blocked"), 502).await;
        self.send(post("/leak").body(format!(r#"{{"a":{{"token":"{TOKEN}"}}}}"#)), 403).await;
        // In a name, in a path, in the query, encoded.
        self.send(post("/leak").body(format!(r#"{{"{TOKEN}":1}}"#)), 403).await;
        self.send(get(&format!("/leak/{TOKEN}")), 403).await;
        self.send(get(&format!("/leak?x={}", STANDARD.encode(TOKEN))), 403).await;
        self.send(post("/leak").body(gzip(TOKEN)).header("content-encoding", "gzip"), 403).await;
        // On its way, after the head has gone on.
        let late = [vec![b' '; 1 << 20], format!(" {KEY} ").into_bytes()].concat();
        let cut = post("/stream").streamed_body(late).send(&self.place.attache).await;
        assert_ne!(cut.status, 200, "{cut:?}");
        self.send(post("/odd").body("no such coding").header("content-encoding", "odd"), 403).await;
        // Whatever becomes of it: a method is no place to hide one from those who watch.
        Ask::new(Protocol::Http2, KEY, &url("/leak-in-method")).send(&self.place.attache).await;
        self.send(get("/capped"), 200).await;
        self.send(get("/capped"), 429).await;
        self.send(get("/asked"), 403).await;
        self.send(Ask::new(Protocol::Http1, "PROPFIND", &url("/odd-method")), 200).await;
        self.send(Ask::get(Protocol::Http1, "http://unlisted.example/a"), 403).await;
        let refused = self.place.attache.curl(["https://other.example/"]).await;
        assert_eq!(refused.connect_status, 403);
        // What Envoy itself refuses.
        self.send(Ask::get(Protocol::Http1, &format!("http://{HOST}/")).header("a_b", "1"), 400).await;
        // A TLS name that is another than the tunnel's.
        let foreign = get("/").sni("foreign.example").send(&self.place.attache).await;
        assert_ne!(foreign.status, 200);
    }

    async fn scrape(&self) -> String {
        curl([format!("http://{}/metrics", self.metrics)]).await.text().to_owned()
    }
}

#[tokio::test]
async fn what_happens_is_told_and_what_is_secret_is_not() {
    let day = Day::begin().await;
    day.pass().await;
    let scraped = until("every metric", async || {
        let text = day.scrape().await;
        METRICS.iter().all(|name| text.lines().any(|line| line.starts_with(name))).then_some(text)
    });
    let scraped = scraped.await;
    // A handshake is no request, and what Envoy refuses itself is not decided.
    let decided = |record: &serde_json::Value| record["method"] != "TLS" && record["reason"] != "malformed_request";
    let decisions = crate::support::records(&day.place.attache).iter().filter(|record| decided(record)).count();
    let taken = day.collector.wait("spans and metrics of all", |taken| {
        ours(taken, "egress.decision").len() >= decisions
            && !ours(taken, "egress.inspection").is_empty()
            && counted(taken) >= decisions as u64
            && taken.spans.iter().any(|span| span.service == "attache-envoy")
    });
    let taken = taken.await;

    assert_told(&taken);
    assert_unsaid(&day.place.attache, &taken, &scraped);
}

fn ours<'a>(taken: &'a Taken, name: &str) -> Vec<&'a Received> {
    taken.spans.iter().filter(|span| span.service == "attache" && span.span.name == name).collect()
}

/// The decisions that the last metrics tell of.
fn counted(taken: &Taken) -> u64 {
    let last = taken.metrics.iter().rfind(|metric| metric.metric.name == "attache_requests");
    let Some(Data::Sum(sum)) = last.and_then(|last| last.metric.data.as_ref()) else { return 0 };
    assert!(sum.is_monotonic);
    let points = sum.data_points.iter().map(|point| match point.value {
        Some(Value::AsInt(count)) => count as u64,
        ref other => panic!("{other:?}"),
    });
    points.sum()
}

fn assert_told(taken: &Taken) {
    // Who it is: the same in every signal.
    let all: Vec<_> = ours(taken, "egress.decision").iter().map(|span| &span.resource).collect();
    for resource in all.into_iter().chain(taken.metrics.iter().map(|metric| &metric.resource)) {
        let says = |key| text(&resource.attributes, key).unwrap_or_default().to_owned();
        assert_eq!(says("service.name"), "attache");
        assert_eq!(says("service.version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(says("service.instance.id").len(), 36, "{resource:?}");
        assert_eq!(says("deployment.environment.name"), "test");
    }
    // Who asks for it, Envoy's spans included.
    for headers in &taken.headers {
        assert_eq!(headers.get("authorization").unwrap(), &format!("Bearer {COLLECTORS}"));
    }
    let decisions = ours(taken, "egress.decision");
    let of = |path: &str| -> Vec<&Received> {
        decisions.iter().copied().filter(|span| span.attribute("url.path") == Some(path)).collect()
    };
    for span in &decisions {
        assert!(number(&span.span.attributes, "attache.audit.seq").is_some(), "{span:?}");
        let status = span.span.status.clone().unwrap_or_default();
        assert_eq!(status.code(), StatusCode::Unset, "a refusal is no error: {span:?}");
        assert_eq!(span.attribute("error.type"), None);
        assert_eq!(span.attribute("gen_ai.agent.id"), Some("researcher"), "{span:?}");
    }
    let leaks = of("/leak");
    let found: Vec<_> = leaks.iter().flat_map(|span| &span.span.events).collect();
    assert!(found.len() >= 4, "{found:?}");
    for event in &found {
        assert_eq!(event.name, "attache.dlp.finding");
        for key in ["attache.dlp.rule.id", "attache.dlp.category", "attache.dlp.location"] {
            assert!(text(&event.attributes, key).is_some_and(|text| !text.is_empty()), "{key}: {event:?}");
        }
        assert_eq!(text(&event.attributes, "attache.dlp.action"), Some("block"));
    }
    let [clean] = of("/clean")[..] else { panic!("{:?}", of("/clean")) };
    assert_eq!(number(&clean.span.attributes, "attache.body.scanned_bytes"), Some(13));
    assert_eq!(clean.attribute("attache.credential.name"), Some("key"));
    let [odd] = of("/odd-method")[..] else { panic!("{:?}", of("/odd-method")) };
    assert_eq!(odd.attribute("http.request.method"), Some("_OTHER"));
    assert_eq!(odd.attribute("http.request.method_original"), Some("PROPFIND"));
    let [asked] = of("/asked")[..] else { panic!("{:?}", of("/asked")) };
    assert_eq!(asked.attribute("attache.decision"), Some("pending"));
    assert!(asked.attribute("attache.approval.id").is_some_and(|ticket| ticket.starts_with("apr_")));
    let limited: Vec<_> = of("/capped").iter().filter_map(|span| span.attribute("attache.decision")).collect();
    assert_eq!(limited, ["allow", "rate_limited"]);

    // What is found later lies beside the decision it belongs to.
    let inspections = ours(taken, "egress.inspection");
    let actions: Vec<_> = inspections.iter().filter_map(|s| s.attribute("attache.inspection.action")).collect();
    assert!(actions.contains(&"redacted") && actions.contains(&"blocked"), "{actions:?}");
    for inspection in inspections {
        let id = inspection.attribute("attache.request.id").unwrap();
        let decision = decisions.iter().find(|span| span.attribute("attache.request.id") == Some(id)).unwrap();
        assert_eq!(inspection.span.trace_id, decision.span.trace_id);
        assert_eq!(inspection.span.links[0].span_id, decision.span.span_id);
        assert!(text(&inspection.span.events[0].attributes, "attache.dlp.rule.id").is_some(), "{inspection:?}");
    }
    let redacted = ours(taken, "egress.inspection").into_iter().flat_map(|span| &span.span.events);
    assert!(redacted.into_iter().any(|event| text(&event.attributes, "attache.dlp.rule.id") == Some(RULE)));
}

/// No secret stands anywhere, however it is written.
fn assert_unsaid(attache: &Attache, taken: &Taken, scraped: &str) {
    let contains = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(contains(&taken.bytes, "egress.decision") && contains(&taken.bytes, "attache_requests"));
    for secret in [HELD, QUERY, KEY, TOKEN, COLLECTORS, "536-22-8714"] {
        let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let reversed: String = secret.chars().rev().collect();
        // Whole groups of three bytes, wherever they stand in what was encoded.
        let base64 = (0..3).map(|skip| {
            let rest = &secret[skip..];
            STANDARD.encode(&rest[..rest.len() / 3 * 3])
        });
        let others = [secret.to_owned(), hex(secret), hex(secret).to_uppercase(), percent, reversed];
        for spelling in base64.chain([URL_SAFE_NO_PAD.encode(secret)]).chain(others) {
            let start = &spelling[..spelling.len().min(12)];
            for (name, bytes) in [
                ("the collector", &*taken.bytes),
                ("/metrics", scraped.as_bytes()),
                ("stderr", attache.stderr().as_bytes()),
            ] {
                let at = bytes.windows(start.len()).position(|window| window == start.as_bytes());
                let around =
                    at.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(200)..bytes.len().min(at + 80)]));
                assert!(around.is_none(), "`{spelling}` is in what {name} was told: {around:?}");
            }
        }
    }
    // Nor does anything an agent chose make a time series.
    for agents in ["unlisted", "other.example", "/clean", "PROPFIND", "foreign", "apr_"] {
        assert!(!scraped.contains(agents), "{agents}:\n{scraped}");
    }
}
