//! A credential goes only with the requests it is for, and a service's name stands for its hosts and its slot.

use crate::support::Stage::{Connect, Request};
use crate::support::collector::Received;
use crate::support::{Ask, Attache, Collector, PROTOCOLS, Protocol, Upstream, Way, records, until};

/// Method, URL, the key that reached the upstream or the reason why nothing did.
type Case = (&'static str, &'static str, Result<&'static str, &'static str>);

async fn check(attache: &Attache, upstream: &Upstream, header: &str, cases: &[Case]) {
    for protocol in PROTOCOLS {
        for (method, url, expected) in cases {
            let before = upstream.requests().len();
            let reply = Ask::new(protocol, method, url).send(attache).await;
            match expected {
                Ok(key) => {
                    assert_eq!(reply.status, 200, "{method} {url} {protocol:?}: {reply:?}");
                    let seen = upstream.requests().pop().unwrap();
                    assert_eq!((&*seen.method, seen.header(header)), (*method, Some(*key)), "{method} {url}");
                }
                Err(reason) => {
                    assert_eq!((reply.stage, reply.status), (Request, 403), "{method} {url} {protocol:?}: {reply:?}");
                    // HEAD has no body to say it in.
                    if *method != "HEAD" {
                        assert_eq!(reply.reason(), *reason, "{method} {url} {protocol:?}: {reply:?}");
                    }
                    let record = records(attache).pop().unwrap();
                    assert_eq!(record["reason"], *reason, "{record}");
                    assert_eq!(upstream.requests().len(), before, "{method} {url} reached the upstream");
                }
            }
        }
    }
}

/// The two named recipes, and the rules they stand on: a method and a path, prefixes and globs, any method.
#[tokio::test]
async fn a_service_is_narrowed_to_its_endpoints() {
    const POLICY: &str = r#"
allowedDomains: [api.openai.com, api.github.com, api.anthropic.com]
credentials:
  - name: openai
    envVarKey: OPENAI
    service: openai
    endpoints:
      - {methods: [POST], paths: [/v1/chat/completions]}
      - {methods: [POST], paths: [/v1/embeddings]}
      - {methods: [GET], paths: [/v1/models]}
  - name: github
    envVarKey: GITHUB
    service: github
    endpoints:
      - {methods: [GET], paths: ["/repos/*"]}
      - {methods: [GET], paths: [/user]}
      - {methods: [], paths: ["/gists/{id}/star"]}
  - {name: anthropic, envVarKey: ANTHROPIC, service: anthropic}
"#;
    const REFUSED: Result<&str, &str> = Err("endpoint_not_allowed");
    let names = ["api.openai.com", "api.github.com", "api.anthropic.com"];
    let upstream = Upstream::https(names).await;
    let mut setup = Attache::up(POLICY).env("OPENAI", "sk-openai").env("GITHUB", "ghp").env("ANTHROPIC", "sk-ant");
    for name in names {
        setup = setup.resolve(name, &upstream);
    }
    let attache = setup.start().await;
    let bearer = Ok("Bearer sk-openai");
    check(
        &attache,
        &upstream,
        "authorization",
        &[
            ("POST", "https://api.openai.com/v1/chat/completions", bearer),
            ("POST", "http://api.openai.com/v1/chat/completions", bearer),
            ("POST", "https://api.openai.com/v1/chat/completions/x?stream=1", bearer),
            ("POST", "https://api.openai.com/v1/embeddings", bearer),
            ("GET", "https://api.openai.com/v1/models", bearer),
            ("GET", "https://api.openai.com/v1/models/gpt", bearer),
            ("GET", "https://api.openai.com/v1/x/../models", bearer),
            ("DELETE", "https://api.openai.com/v1/admin/users", REFUSED),
            ("POST", "https://api.openai.com/v1/models", REFUSED),
            ("HEAD", "https://api.openai.com/v1/models", REFUSED),
            ("GET", "https://api.openai.com/v1/models2", REFUSED),
            ("GET", "https://api.openai.com/v1/Models", REFUSED),
            ("GET", "https://api.openai.com/v1/models/../files", REFUSED),
            ("GET", "http://api.openai.com/v1/files?x=/v1/models", REFUSED),
            ("GET", "https://api.github.com/repos/a/b", Ok("Bearer ghp")),
            ("GET", "https://api.github.com/user", Ok("Bearer ghp")),
            ("DELETE", "https://api.github.com/repos/a/b", REFUSED),
            ("GET", "https://api.github.com/users", REFUSED),
            ("PUT", "https://api.github.com/gists/7/star", Ok("Bearer ghp")),
            ("DELETE", "https://api.github.com/gists/7/star", Ok("Bearer ghp")),
            ("PUT", "https://api.github.com/gists/7/8/star", REFUSED),
        ],
    )
    .await;
    check(&attache, &upstream, "x-api-key", &[("DELETE", "https://api.anthropic.com/v1/x", Ok("sk-ant"))]).await;

    let reply = Ask::new(Protocol::Http1, "GET", "https://api.openai.com/v1/files").send(&attache).await;
    assert_eq!(reply.json()["rule"], "credentials[openai].endpoints", "{reply:?}");
    let record = records(&attache).pop().unwrap();
    assert_eq!((&record["rule"], &record["credential"]), (&reply.json()["rule"], &serde_json::Value::Null), "{record}");
    let said = format!("{:?}{}", records(&attache), attache.stderr());
    assert!(!said.contains("sk-openai") && !said.contains("ghp") && !said.contains("sk-ant"), "{said}");
}

/// What the network policy refuses stays refused, whatever an endpoint admits.
#[tokio::test]
async fn both_the_network_policy_and_the_endpoints_must_admit() {
    const POLICY: &str = r#"
allowedDomains:
  - {pattern: api.openai.com, httpRestrictions: [{method: POST, path: "/v1/**"}, {method: GET, path: /v1/models}]}
  - free.example
blockedDomains: [api.github.com]
agents:
  ann: {identity: [{header: {name: X-Agent, value: ann, trusted: true}}]}
  bob: {identity: [{header: {name: X-Agent, value: bob, trusted: true}}]}
credentials:
  - name: openai
    envVarKey: OPENAI
    service: openai
    agents: [ann]
    endpoints: [{methods: [POST, DELETE], paths: [/v1/chat]}]
  - {name: github, envVarKey: OPENAI, service: github, endpoints: [{paths: [/]}]}
"#;
    let upstream = Upstream::https(["api.openai.com", "api.github.com", "free.example"]).await;
    let attache = Attache::up(POLICY)
        .env("OPENAI", "sk-openai")
        .resolve("api.openai.com", &upstream)
        .resolve("api.github.com", &upstream)
        .resolve("free.example", &upstream)
        .start()
        .await;
    for protocol in PROTOCOLS {
        for (agent, method, url, stage, expected) in [
            ("ann", "POST", "https://api.openai.com/v1/chat", Request, Ok(Some("Bearer sk-openai"))),
            ("ann", "DELETE", "https://api.openai.com/v1/chat", Request, Err("route_not_allowed")),
            ("ann", "GET", "https://api.openai.com/v1/models", Request, Err("endpoint_not_allowed")),
            ("ann", "POST", "https://api.openai.com/v1/files", Request, Err("endpoint_not_allowed")),
            ("ann", "GET", "https://api.github.com/", Connect, Err("domain_blocked")),
            // A credential that is not for this agent says nothing about its requests.
            ("bob", "GET", "https://api.openai.com/v1/models", Request, Ok(None)),
            ("ann", "GET", "https://free.example/", Request, Ok(None)),
        ] {
            let reply = Ask::new(protocol, method, url)
                .header("X-Agent", agent)
                .connect_header("X-Agent", agent)
                .send(&attache)
                .await;
            assert_eq!(reply.stage, stage, "{agent} {method} {url}: {reply:?}");
            match expected {
                Ok(key) => {
                    assert_eq!(reply.status, 200, "{agent} {method} {url}: {reply:?}");
                    let seen = upstream.requests().pop().unwrap();
                    assert_eq!(seen.header("authorization"), key, "{agent} {method} {url}");
                }
                Err(reason) => {
                    assert_eq!((reply.status, &*reply.reason()), (403, reason), "{agent} {method} {url}: {reply:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn each_slot_has_the_closest_credential_that_admits_the_request() {
    const POLICY: &str = r#"
services:
  billing: {hosts: [billing.example, "billing.example:8443"], path: /api/**, headerName: X-Key, headerFormat: "k {value}"}
  tenants: {hosts: [], headerName: X-Tenant, headerFormat: "{value}"}
allowedDomains: ["*.example", billing.example:8443]
credentials:
  - {name: wide, envVarKey: WIDE, injections: [{domain: "*.example", headerName: X-Key, headerFormat: "{value}"}]}
  - {name: billing, envVarKey: BILLING, service: billing, endpoints: [{methods: [GET], paths: [/api/read]}]}
  - {name: tenants, envVarKey: TENANTS, service: tenants, injections: [{domain: billing.example}, {domain: other.example, path: /t/*}]}
  - {name: query, envVarKey: QUERY, injections: [{domain: billing.example, queryParam: q}], endpoints: [{paths: [/api]}, {paths: [/open]}]}
"#;
    let names = ["billing.example", "other.example"];
    let upstream = Upstream::https(names).await;
    let mut setup = Attache::up(POLICY).resolve_port("billing.example", 8443, &upstream);
    for name in names {
        setup = setup.resolve(name, &upstream);
    }
    for name in ["WIDE", "BILLING", "TENANTS", "QUERY"] {
        setup = setup.env(name, &format!("{}-s3cret", name.to_lowercase()));
    }
    let attache = setup.start().await;
    for protocol in PROTOCOLS {
        for (method, url, key, tenant, path) in [
            (
                "GET",
                "https://billing.example/api/read/1",
                "k billing-s3cret",
                Some("tenants-s3cret"),
                "/api/read/1?q=query-s3cret",
            ),
            // Its endpoints refuse, and another fits.
            (
                "POST",
                "https://billing.example/api/read/1",
                "wide-s3cret",
                Some("tenants-s3cret"),
                "/api/read/1?q=query-s3cret",
            ),
            (
                "GET",
                "https://billing.example/open?q=mine",
                "wide-s3cret",
                Some("tenants-s3cret"),
                "/open?q=query-s3cret",
            ),
            ("GET", "https://billing.example:8443/api/read", "k billing-s3cret", None, "/api/read"),
            ("GET", "https://other.example/t/1", "wide-s3cret", Some("tenants-s3cret"), "/t/1"),
            ("GET", "https://other.example/x", "wide-s3cret", None, "/x"),
        ] {
            let reply = Ask::new(protocol, method, url).header("x-key", "mine").send(&attache).await;
            assert_eq!(reply.status, 200, "{method} {url}: {reply:?}");
            let seen = upstream.requests().pop().unwrap();
            assert_eq!((seen.header("x-key"), seen.header("x-tenant")), (Some(key), tenant), "{method} {url}");
            assert_eq!(seen.path, path, "{method} {url}");
        }
        // Two slots are filled, and the one for the query is not to be had for this path.
        let reply = Ask::get(protocol, "https://billing.example/closed").send(&attache).await;
        assert_eq!((reply.status, &*reply.reason()), (403, "endpoint_not_allowed"), "{reply:?}");
    }
}

#[tokio::test]
async fn credentials_that_tie_are_a_policy_error_and_those_kept_apart_are_none() {
    let policy = |one: &str, other: &str| {
        format!(
            "allowedDomains: [api.openai.com]\ncredentials:\n\
             - {{name: one, envVarKey: ONE, service: openai, {one}}}\n\
             - {{name: other, envVarKey: OTHER, {other} injections: [{{domain: api.openai.com, headerName: Authorization, headerFormat: '{{value}}'}}]}}\n"
        )
    };
    let tied = policy("endpoints: [{methods: [GET]}]", "endpoints: [{paths: [/v1]}],");
    let output = Attache::up(&tied).refused().await;
    assert_eq!(output.exit, 2, "{output:?}");
    assert!(output.stderr.contains("is filled for the same requests at "), "{output:?}");

    let upstream = Upstream::https(["api.openai.com"]).await;
    let apart = policy("endpoints: [{methods: [GET]}]", "endpoints: [{methods: [POST], paths: [/v1]}],");
    let attache =
        Attache::up(&apart).env("ONE", "1").env("OTHER", "2").resolve("api.openai.com", &upstream).start().await;
    check(
        &attache,
        &upstream,
        "authorization",
        &[
            ("GET", "https://api.openai.com/v1/x", Ok("Bearer 1")),
            ("POST", "https://api.openai.com/v1/x", Ok("2")),
            ("POST", "https://api.openai.com/v2", Err("endpoint_not_allowed")),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_placeholder_is_replaced_in_its_slot_and_noted_elsewhere() {
    const POLICY: &str = r#"
allowedDomains: [api.openai.com, other.example]
credentials:
  - {name: openai, envVarKey: OPENAI, service: openai, placeholder: sk-agent-placeholder}
  - {name: query, envVarKey: QUERY, placeholder: qk-agent-placeholder, injections: [{domain: other.example, queryParam: key}]}
"#;
    const HELD: &str = "Bearer sk-agent-placeholder";
    let upstream = Upstream::https(["api.openai.com", "other.example"]).await;
    let attache = Attache::up(POLICY)
        .env("OPENAI", "s3cret")
        .env("QUERY", "q-s3cret")
        .resolve("api.openai.com", &upstream)
        .resolve("other.example", &upstream)
        .start()
        .await;
    for protocol in PROTOCOLS {
        for (url, header, arrived, noted) in [
            ("https://api.openai.com/v1/x", "authorization", "Bearer s3cret", None),
            ("https://api.openai.com/v1/x", "x-other", HELD, Some("openai")),
            ("https://api.openai.com/v1/x?k=sk-agent-placeholder", "x-other", HELD, Some("openai")),
            ("https://other.example/", "authorization", HELD, Some("openai")),
            ("https://other.example/?key=qk-agent-placeholder", "x-other", HELD, Some("openai")),
            ("https://other.example/qk-agent-placeholder", "x-other", HELD, Some("openai,query")),
        ] {
            let reply = Ask::get(protocol, url).header(header, HELD).send(&attache).await;
            assert_eq!(reply.status, 200, "{url}: {reply:?}");
            let seen = upstream.requests().pop().unwrap();
            assert_eq!(seen.header(header), Some(arrived), "{url}");
            let record = records(&attache).pop().unwrap();
            assert_eq!(record["placeholders"].as_str(), noted, "{url} {header} {record}");
        }
        let seen = upstream.requests().pop().unwrap();
        assert_eq!(seen.path, "/qk-agent-placeholder?key=q-s3cret");
    }
    let logs = attache.command("logs", &[]).await;
    assert!(logs.stdout.contains("placeholder:openai"), "{logs:?}");
}

/// Envoy logs and traces the path it was told to send, which has the secret in it.
#[tokio::test]
async fn a_query_credential_is_in_no_span_and_no_record() {
    const POLICY: &str = r#"
allowedDomains: [serpapi.com]
credentials: [{name: search, envVarKey: SEARCH, service: serpapi}]
"#;
    let (upstream, collector) = (Upstream::https(["serpapi.com"]).await, Collector::start().await);
    let attache = Attache::up(POLICY)
        .env("SEARCH", "canary-query-4711")
        .env("RUST_LOG", "trace")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .resolve("serpapi.com", &upstream)
        .start()
        .await;
    // Sampling is switched on over the discovery stream, which may come up after the ready line.
    until("the first span", async || {
        Ask::get(Protocol::Http1, "http://warm.example/").send(&attache).await;
        collector.spans().iter().any(|span| span.service == "attache-envoy").then_some(())
    })
    .await;
    let mut requests = 0;
    for protocol in PROTOCOLS {
        for (way, scheme, path) in [
            (Way::Tunnel, "https", "/status/200"),
            (Way::Absolute, "http", "/status/500"),
            (Way::PlainTunnel, "http", "/reset"),
        ] {
            Ask::get(protocol, &format!("{scheme}://serpapi.com{path}?q=x")).by(way).send(&attache).await;
            let seen = upstream.requests().pop().unwrap();
            assert_eq!(seen.path, format!("{path}?q=x&api_key=canary-query-4711"), "{way:?}");
            requests += 1;
        }
    }
    // Envoy's own span of each request and that of the way upstream.
    let whole = |spans: &[Received]| {
        let decisions = spans.iter().filter(|span| span.attribute("server.address") == Some("serpapi.com"));
        let envoys = |trace: &[u8]| {
            spans.iter().filter(|span| span.service == "attache-envoy" && span.span.trace_id == trace).count()
        };
        decisions.filter(|decision| envoys(&decision.span.trace_id) >= 3).count() == requests
    };
    let spans = collector.wait_until("every span of every request", whole).await;
    let records = until("every outcome", async || {
        let records = attache.records_of("serpapi.com");
        (records.len() == requests && records.iter().all(|record| !record["flags"].is_null())).then_some(records)
    })
    .await;
    assert!(records.iter().all(|record| record["query"] == "q=***"), "{records:?}");
    let (spans, stderr) = (format!("{spans:?}"), attache.stderr());
    for (place, text) in [("a span", &spans), ("the journal", &attache.journal())] {
        assert!(text.contains("/status/200") && !text.contains("canary"), "{place}: {text}");
    }
    assert!(!stderr.is_empty() && !stderr.contains("canary"), "{stderr}");
}
