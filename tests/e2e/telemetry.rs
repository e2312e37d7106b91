//! What operators see of decisions, and what neither agents nor upstreams see of us.

mod collectors;
mod envoy;
mod exported;

use std::collections::BTreeSet;

use crate::support::collector::Received;
use crate::support::{Attache, Collector, Upstream, curl, free_address, until};

const POLICY: &str = "
allowedDomains: [{pattern: api.example.com, httpRestrictions: [{method: GET, path: '/v1/*'}]}]
credentials:
  - name: key
    envVarKey: KEY
    injections: [{domain: api.example.com, headerName: Authorization, headerFormat: 'Bearer {value}'}]";

/// A trace of the agent's own, once marked as not sampled: neither may join ours or switch it off.
const FOREIGN: [&str; 2] = [
    "00-11111111111111111111111111111111-2222222222222222-01",
    "00-33333333333333333333333333333333-4444444444444444-00",
];

#[tokio::test]
async fn each_decision_is_one_span_under_envoys_own() {
    let (upstream, collector) = (Upstream::https(["api.example.com"]).await, Collector::start().await);
    let attache = Attache::up(POLICY)
        .env("KEY", "s3cret")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .agent("researcher")
        .resolve("api.example.com", &upstream)
        .start()
        .await;
    // Sampling is switched on over the discovery stream, which may come up after the ready line.
    until("the first span", async || {
        attache.curl(["http://warm.example/"]).await;
        collector
            .spans()
            .iter()
            .any(|span| span.span.name == "egress.decision" && !span.span.parent_span_id.is_empty())
            .then_some(())
    })
    .await;

    let mut requests = 0;
    for foreign in FOREIGN {
        for (arguments, status) in [
            (&["--http1.1", "https://api.example.com/v1/a?token=t0p"][..], 200),
            (&["--http2", "https://api.example.com/v1/b?token=t0p"], 200),
            (&["http://api.example.com/v1/c?token=t0p"], 200),
            (&["--http2", "https://api.example.com/refused?token=t0p"], 403),
        ] {
            let agents = ["--header", &format!("traceparent: {foreign}"), "--header", "tracestate: agent=1"];
            let answer = attache.curl(arguments.iter().copied().chain(agents)).await;
            assert_eq!(answer.status, status, "{arguments:?}: {answer:?}");
            requests += 1;
        }
    }
    let linked = requests;
    // A refused tunnel is a decision too.
    assert_eq!(attache.curl(["https://other.example/"]).await.connect_status, 403);
    requests += 1;

    let ours = |spans: &[Received]| -> Vec<Received> {
        let decisions = spans.iter().filter(|span| span.span.name == "egress.decision");
        decisions.filter(|span| span.attribute("server.address") != Some("warm.example")).cloned().collect()
    };
    let parents = |spans: &[Received]| -> BTreeSet<(Vec<u8>, Vec<u8>)> {
        let envoys = spans.iter().filter(|span| span.service == "attache-envoy");
        envoys.map(|span| (span.span.trace_id.clone(), span.span.span_id.clone())).collect()
    };
    let spans = collector
        .wait_until("every decision with its parent", |spans| {
            let (decisions, envoys) = (ours(spans), parents(spans));
            decisions.len() >= requests
                && decisions.iter().all(|d| envoys.contains(&(d.span.trace_id.clone(), d.span.parent_span_id.clone())))
        })
        .await;
    let decisions = ours(&spans);
    assert_eq!(decisions.len(), requests, "one for each");

    let records = attache.records();
    for decision in &decisions {
        assert_eq!(decision.service, "attache");
        let trace: String = decision.span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(FOREIGN.iter().all(|foreign| !foreign.contains(&trace)), "the agent's trace is not trusted");
        let id = decision.attribute("attache.request.id").unwrap();
        let record = records.iter().find(|record| record["requestId"] == id).unwrap_or_else(|| panic!("{id}"));
        for (attribute, field) in [
            ("attache.decision", "decision"),
            ("attache.policy.revision", "policyRevision"),
            ("gen_ai.agent.name", "agent"),
            ("http.request.method", "method"),
            ("server.address", "host"),
            ("url.path", "path"),
            ("attache.reason", "reason"),
            ("attache.rule.id", "rule"),
            ("attache.credential.name", "credential"),
        ] {
            assert_eq!(decision.attribute(attribute), record[field].as_str(), "{attribute}: {record}");
        }
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let links: Vec<_> = decisions.iter().flat_map(|decision| &decision.span.links).collect();
    assert_eq!(links.len(), linked, "the agent's own context is linked where it sent one");
    for link in links {
        let context = format!("00-{}-{}-", hex(&link.trace_id), hex(&link.span_id));
        assert!(FOREIGN.iter().any(|foreign| foreign.starts_with(&context)), "{context}");
        assert_eq!(link.trace_state, "", "an agent's own words");
    }
    let traces: BTreeSet<_> = decisions.iter().map(|decision| &decision.span.trace_id).collect();
    assert_eq!(traces.len(), requests, "each request is a trace of its own");
    let everything = format!("{spans:?}");
    assert!(!everything.contains("t0p") && !everything.contains("s3cret"), "a query value or a secret is in a span");
    assert_upstream_sees_nothing_of_us(&upstream);
}

#[tokio::test]
async fn the_upstream_sees_the_agents_request_and_nothing_of_ours() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(POLICY).env("KEY", "s3cret").resolve("api.example.com", &upstream).start().await;
    for (arguments, scheme) in [
        (["--http1.1", "https://api.example.com/v1/a"], "https"),
        (["--http2", "https://api.example.com/v1/a"], "https"),
        (["--http1.1", "http://api.example.com/v1/a"], "http"),
    ] {
        let forged = [
            "x-attache-int-route: plain",
            "x-attache-door: tls",
            "x-attache-session: x",
            "x-envoy-upstream-rq-timeout-ms: 1",
            "x-envoy-original-path: /x",
            "x-envoy-retry-on: 5xx",
            "x-request-id: mine",
            "traceparent: 00-11111111111111111111111111111111-2222222222222222-01",
            "x-agent-traceparent: x",
            "x-forwarded-for: 10.0.0.1",
            "x-forwarded-proto: ftp",
            "forwarded: for=10.0.0.1",
            "proxy-connection: keep-alive",
            "x-kept: yes",
        ];
        let headers = forged.iter().flat_map(|header| ["--header", header]);
        let answer = attache.curl(arguments.into_iter().chain(headers)).await;
        assert_eq!(answer.status, 200, "{scheme}: {answer:?}");
        let seen = upstream.requests().pop().unwrap();
        let names: BTreeSet<&str> = seen.headers.keys().map(|name| name.as_str()).collect();
        let expected = BTreeSet::from(["accept", "authorization", "user-agent", "x-kept"]);
        assert_eq!(
            names.difference(&BTreeSet::from(["host"])).copied().collect::<BTreeSet<_>>(),
            expected,
            "{arguments:?}"
        );
    }
    assert_upstream_sees_nothing_of_us(&upstream);
}

#[tokio::test]
async fn metrics_and_probes_are_served_where_they_are_asked_for() {
    let (upstream, metrics) = (Upstream::https(["api.example.com"]).await, free_address());
    let attache = Attache::up(POLICY)
        .env("KEY", "s3cret")
        .flags(["--metrics", &metrics.to_string()])
        .agent("researcher")
        .resolve("api.example.com", &upstream)
        .start()
        .await;
    for _ in 0..3 {
        assert_eq!(attache.curl(["https://api.example.com/v1/a"]).await.status, 200);
    }
    for host in ["one", "two"] {
        assert_eq!(attache.curl([&format!("http://{host}.unlisted.example/secret-path")]).await.status, 403);
    }
    let get = async |path: &str| curl([&format!("http://{metrics}{path}")]).await;
    for (path, status) in [("/livez", 200), ("/readyz", 200), ("/", 404), ("/metrics/", 404), ("/metrics/envoyer", 404)]
    {
        assert_eq!(get(path).await.status, status, "{path}");
    }
    let exposition = get("/metrics").await;
    assert!(exposition.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = exposition.text();
    let sample = |name: &str, labels: &[&str]| -> Option<f64> {
        let line = text.lines().find(|line| {
            line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label))
        });
        line?.rsplit(' ').next()?.parse().ok()
    };
    let agent = "agent=\"researcher\"";
    assert_eq!(sample("attache_requests_total", &["decision=\"allow\"", agent]), Some(3.0), "{text}");
    let denied = ["decision=\"deny\"", "reason=\"domain_not_allowed\"", agent];
    assert_eq!(sample("attache_requests_total", &denied), Some(2.0), "{text}");
    assert_eq!(sample("attache_decision_duration_seconds_count", &[]), Some(5.0), "{text}");
    assert_eq!(sample("attache_policy_reloads_total", &["success=\"true\""]), Some(1.0), "{text}");
    assert_eq!(sample("attache_policy_last_reload_successful", &[]), Some(1.0), "{text}");
    assert!(sample("attache_policy_last_reload_timestamp_seconds", &[]).unwrap() > 1.7e9, "{text}");
    assert_eq!(sample("attache_policy_info", &["revision="]), Some(1.0), "{text}");
    // What an agent chooses makes no time series, and no secret is in one.
    assert!(!text.contains("unlisted") && !text.contains("secret-path") && !text.contains("s3cret"), "{text}");
}

fn assert_upstream_sees_nothing_of_us(upstream: &Upstream) {
    assert!(!upstream.requests().is_empty());
    for seen in upstream.requests() {
        for name in seen.headers.keys() {
            let name = name.as_str();
            let ours = ["x-attache", "x-envoy", "x-agent-trace"].iter().any(|prefix| name.starts_with(prefix))
                || [
                    "traceparent",
                    "tracestate",
                    "x-request-id",
                    "x-forwarded-proto",
                    "x-forwarded-for",
                    "proxy-authorization",
                ]
                .contains(&name);
            assert!(!ours, "{name} reached the upstream: {seen:?}");
        }
    }
}
