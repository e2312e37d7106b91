//! A credential goes into its slot at its place, whatever the agent put there, and is seen nowhere else.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::NamedTempFile;

use crate::support::Stage::{Connect, Request};
use crate::support::{
    Ask, Attache, PROTOCOLS, Protocol, Upstream, Way, curl, free_address, process, records, until, whole_record,
};

#[tokio::test]
async fn every_format_fills_its_slot() {
    const POLICY: &str = r#"
allowedDomains: [api.example.com, other.example]
credentials:
  - name: one
    envVarKey: ONE
    injections:
      - {domain: api.example.com, headerName: X-Raw, headerFormat: "{value}"}
      - {domain: api.example.com, headerName: Authorization, headerFormat: "Bearer {value}"}
      - {domain: api.example.com, headerName: X-Literal, headerFormat: "Token token={value}, again={value}"}
      - {domain: other.example, headerName: X-Elsewhere, headerFormat: "{value}"}
  - name: two
    envVarKey: TWO
    injections:
      - {domain: api.example.com, headerName: X-Basic, headerFormat: "Basic {base64:user@example.com:{value}}"}
      - {domain: api.example.com, headerName: X-Nested, headerFormat: "a {base64:b{base64:{value}c}}d"}
      - {domain: api.example.com, queryParam: api_key}
"#;
    let upstream = Upstream::https(["api.example.com", "other.example"]).await;
    let attache = Attache::up(POLICY)
        .env("ONE", "s3cret/1 =&?")
        .env("TWO", "s3cret+2&x=y\n")
        .resolve("api.example.com", &upstream)
        .resolve("other.example", &upstream)
        .start()
        .await;
    let basic = format!("Basic {}", STANDARD.encode("user@example.com:s3cret+2&x=y"));
    let nested = format!("a {}d", STANDARD.encode(format!("b{}", STANDARD.encode("s3cret+2&x=yc"))));
    for protocol in PROTOCOLS {
        for (scheme, way) in [("https", Way::Tunnel), ("http", Way::Absolute), ("http", Way::PlainTunnel)] {
            let url = format!("{scheme}://api.example.com/a?b=c");
            let reply = Ask::get(protocol, &url).by(way).send(&attache).await;
            assert_eq!(reply.status, 200, "{way:?} {reply:?}");
            let seen = upstream.requests().pop().unwrap();
            for (name, expected) in [
                ("x-raw", Some("s3cret/1 =&?")),
                ("authorization", Some("Bearer s3cret/1 =&?")),
                ("x-literal", Some("Token token=s3cret/1 =&?, again=s3cret/1 =&?")),
                ("x-basic", Some(&*basic)),
                ("x-nested", Some(&*nested)),
                ("x-elsewhere", None),
            ] {
                assert_eq!(seen.header(name), expected, "{name} {way:?} {protocol:?}");
            }
            assert_eq!(seen.path, "/a?b=c&api_key=s3cret%2B2%26x%3Dy", "{way:?} {protocol:?}");
            let record = records(&attache).pop().unwrap();
            let mut names: Vec<_> = record["credential"].as_str().unwrap().split(',').collect();
            names.dedup();
            assert_eq!(names, ["one", "two"], "{record}");

            let url = format!("{scheme}://other.example/");
            let reply = Ask::get(protocol, &url).by(way).send(&attache).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            let seen = upstream.requests().pop().unwrap();
            assert_eq!((seen.header("x-elsewhere"), seen.header("x-raw")), (Some("s3cret/1 =&?"), None));
            assert_eq!(seen.path, "/");
        }
    }
}

#[tokio::test]
async fn a_credential_is_bound_to_host_port_path_and_agent() {
    const POLICY: &str = r#"
allowedDomains:
  - api.example.com
  - api.example.com:8443
  - "*.example.com"
  - plain.example
  - http://clear.example
  - http://silent.example
agents:
  ann: {identity: [{header: {name: X-Agent, value: ann, trusted: true}}]}
  bob: {identity: [{header: {name: X-Agent, value: bob, trusted: true}}]}
credentials:
  - {name: wild, envVarKey: WILD, injections: [{domain: "*.example.com", headerName: X-Key, headerFormat: "{value}"}]}
  - {name: exact, envVarKey: EXACT, injections: [{domain: api.example.com, headerName: X-Key, headerFormat: "{value}"}]}
  - {name: path, envVarKey: PATH_KEY, injections: [{domain: api.example.com, path: "/v1/**", headerName: X-Key, headerFormat: "{value}"}]}
  - {name: deep, envVarKey: DEEP, injections: [{domain: api.example.com, path: "/v1/admin/**", headerName: X-Key, headerFormat: "{value}"}]}
  - {name: port, envVarKey: PORT, injections: [{domain: "api.example.com:8443", headerName: X-Key, headerFormat: "{value}"}]}
  - {name: ann, envVarKey: ANN, agents: [ann], injections: [{domain: api.example.com, headerName: X-Ann, headerFormat: "{value}"}]}
  - {name: bob, envVarKey: BOB, agents: [bob], injections: [{domain: api.example.com, headerName: X-Key, path: "/shared/*", headerFormat: "{value}"}]}
  - {name: clear, envVarKey: CLEAR, injections: [{domain: "http://clear.example", plaintext: true, headerName: X-Key, headerFormat: "{value}"}]}
  - {name: not-clear, envVarKey: CLEAR, injections: [{domain: silent.example, headerName: X-Key, headerFormat: "{value}"}]}
"#;
    let names = ["api.example.com", "a.example.com", "plain.example"];
    let (tls, plain) = (Upstream::https(names).await, Upstream::http().await);
    let mut setup = Attache::up(POLICY)
        .resolve_port("api.example.com", 8443, &tls)
        .resolve_port("clear.example", 80, &plain)
        .resolve_port("silent.example", 80, &plain);
    for name in names {
        setup = setup.resolve(name, &tls);
    }
    for name in ["WILD", "EXACT", "PATH_KEY", "DEEP", "PORT", "ANN", "BOB", "CLEAR"] {
        setup = setup.env(name, &format!("{}-s3cret", name.to_lowercase()));
    }
    let attache = setup.start().await;
    let cases = [
        ("ann", "https://api.example.com/", Some("exact-s3cret"), Some("ann-s3cret")),
        ("bob", "https://api.example.com/", Some("exact-s3cret"), None),
        ("ann", "https://api.example.com/v1/x", Some("path_key-s3cret"), Some("ann-s3cret")),
        ("ann", "https://api.example.com/v1", Some("exact-s3cret"), Some("ann-s3cret")),
        ("ann", "https://api.example.com/V1/x", Some("exact-s3cret"), Some("ann-s3cret")),
        ("ann", "https://api.example.com/v1/admin/x", Some("deep-s3cret"), Some("ann-s3cret")),
        ("ann", "https://api.example.com/v1/x/../admin/x", Some("deep-s3cret"), Some("ann-s3cret")),
        ("ann", "https://api.example.com/v1/x/../../y", Some("exact-s3cret"), Some("ann-s3cret")),
        ("ann", "https://api.example.com:8443/", Some("port-s3cret"), None),
        ("ann", "https://a.example.com/v1/x", Some("wild-s3cret"), None),
        ("ann", "https://api.example.com/shared/x", Some("exact-s3cret"), Some("ann-s3cret")),
        ("bob", "https://api.example.com/shared/x", Some("bob-s3cret"), None),
        ("ann", "https://plain.example/", None, None),
        ("ann", "http://api.example.com/", Some("exact-s3cret"), Some("ann-s3cret")),
        ("ann", "http://clear.example/", Some("clear-s3cret"), None),
        // Bound to TLS: where only plaintext is allowed, it does not go.
        ("ann", "http://silent.example/", None, None),
    ];
    for protocol in PROTOCOLS {
        for (agent, url, key, own) in cases {
            let reply = Ask::get(protocol, url).header("X-Agent", agent).send(&attache).await;
            assert_eq!(reply.status, 200, "{url} {reply:?}");
            let upstream = if url.contains("clear.") || url.contains("silent.") { &plain } else { &tls };
            let seen = upstream.requests().pop().unwrap();
            assert_eq!((seen.header("x-key"), seen.header("x-ann")), (key, own), "{agent} {url} {protocol:?}");
        }
    }
}

#[tokio::test]
async fn whatever_the_agent_put_in_a_slot_is_replaced() {
    const POLICY: &str = r#"
allowedDomains: [api.example.com]
credentials:
  - name: key
    envVarKey: KEY
    injections:
      - {domain: api.example.com, headerName: X-Api-Key, headerFormat: "{value}"}
      - {domain: api.example.com, headerName: Authorization, headerFormat: "Bearer {value}"}
      - {domain: api.example.com, headerName: Cookie, headerFormat: "session={value}"}
      - {domain: api.example.com, queryParam: key}
"#;
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(POLICY).env("KEY", "s3cret").resolve("api.example.com", &upstream).start().await;
    let queries = [
        ("", "?key=s3cret"),
        ("?", "?key=s3cret"),
        ("?key=mine", "?key=s3cret"),
        ("?key", "?key=s3cret"),
        ("?a=1&key=mine&b=2&key=more", "?a=1&b=2&key=s3cret"),
        ("?%6bey=mine&k%65y=more", "?key=s3cret"),
        // Some servers fold case, and some part pairs at a semicolon.
        ("?keys=1&akey=2&Key=mine", "?keys=1&akey=2&key=s3cret"),
        ("?a=1;key=mine&b=2", "?a=1&b=2&key=s3cret"),
    ];
    for protocol in PROTOCOLS {
        for (query, expected) in queries {
            for way in [Way::Tunnel, Way::Absolute] {
                // HTTP/2 has lower-case names only.
                let name = |text: &str| if protocol == Protocol::Http1 { text.to_owned() } else { text.to_lowercase() };
                let reply = Ask::get(protocol, &format!("https://api.example.com/{query}"))
                    .by(way)
                    .header(&name("X-API-KEY"), "mine")
                    .header(&name("x-Api-Key"), "mine too")
                    .header(&name("Authorization"), "Basic bWluZQ==")
                    .header(&name("authorization"), "Bearer mine")
                    .header(&name("Cookie"), "session=mine")
                    .header(&name("Cookie"), "theme=mine")
                    .send(&attache)
                    .await;
                assert_eq!(reply.status, 200, "{query} {reply:?}");
                let seen = upstream.requests().pop().unwrap();
                assert_eq!(seen.header_values("x-api-key"), ["s3cret"], "{query} {protocol:?}");
                assert_eq!(seen.header_values("authorization"), ["Bearer s3cret"], "{query} {protocol:?}");
                assert_eq!(seen.header_values("cookie"), ["session=s3cret"], "{query} {protocol:?}");
                assert_eq!(seen.path, format!("/{expected}"), "{query} {way:?} {protocol:?}");
                let everything = format!("{seen:?}");
                assert!(!everything.contains("mine") && !everything.contains("bWluZQ"), "{everything}");
            }
        }
    }
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes_and_without_it_nothing_leaves() {
    let file = NamedTempFile::new().unwrap();
    let put = |content: &str| {
        // As editors and Kubernetes do: another file in its place.
        let draft = file.path().with_extension("draft");
        std::fs::write(&draft, content).unwrap();
        std::fs::rename(draft, file.path()).unwrap();
    };
    put("first-s3cret\n");
    let policy = format!(
        r#"
allowedDomains: [api.example.com, unset.example, free.example]
credentials:
  - name: key
    file: {}
    injections: [{{domain: api.example.com, headerName: X-Key, headerFormat: "{{value}}"}}]
  - name: absent
    envVarKey: NOT_SET_ANYWHERE
    injections: [{{domain: unset.example, headerName: X-Key, headerFormat: "{{value}}"}}]
"#,
        file.path().display()
    );
    let upstream = Upstream::https(["api.example.com", "unset.example", "free.example"]).await;
    let attache = Attache::up(&policy)
        .resolve("api.example.com", &upstream)
        .resolve("unset.example", &upstream)
        .resolve("free.example", &upstream)
        .start()
        .await;
    let ask = async |protocol, host: &str| {
        Ask::get(protocol, &format!("https://{host}/")).header("x-key", "mine").send(&attache).await
    };
    let key = || upstream.requests().pop().unwrap().header("x-key").map(str::to_owned);
    // Neither a request without it, nor one with a value that would end the header.
    let steps = [
        ("second-s3cret", Some("second-s3cret")),
        ("third-s3cret\r\n", Some("third-s3cret")),
        ("two\nlines\n", None),
        ("back-s3cret\n", Some("back-s3cret")),
        ("\n", None),
    ];
    for protocol in PROTOCOLS {
        assert_eq!(ask(protocol, "api.example.com").await.status, 200);
        assert_eq!(key().as_deref(), Some("first-s3cret"));
    }
    for (content, expected) in steps {
        put(content);
        until(&format!("{content:?} to count"), async || {
            let status = ask(Protocol::Http2, "api.example.com").await.status;
            let arrived = (status == 200).then(|| key().unwrap());
            (arrived.as_deref() == expected).then_some(())
        })
        .await;
        let before = upstream.requests().len();
        let reply = ask(Protocol::Http1, "api.example.com").await;
        match expected {
            Some(value) => assert_eq!((reply.status, key().as_deref()), (200, Some(value))),
            None => {
                assert_eq!((reply.status, &*reply.reason()), (503, "secret_unavailable"), "{content:?}");
                assert_eq!(upstream.requests().len(), before, "{content:?}");
            }
        }
    }

    for protocol in PROTOCOLS {
        let before = upstream.requests().len();
        let reply = ask(protocol, "unset.example").await;
        assert_eq!((reply.status, &*reply.reason()), (503, "secret_unavailable"), "{reply:?}");
        assert_eq!(reply.header("retry-after"), Some("1"));
        let record = records(&attache).pop().unwrap();
        assert_eq!((&record["decision"], &record["reason"]), (&"error".into(), &"secret_unavailable".into()));
        assert!(record["detail"].as_str().unwrap().contains("absent"), "{record}");
        assert_eq!(upstream.requests().len(), before);
        assert_eq!(ask(protocol, "free.example").await.status, 200, "the others go on");
    }
}

#[tokio::test]
async fn a_refused_request_never_has_a_credential() {
    const POLICY: &str = r#"
allowedDomains: [{pattern: api.example.com, httpRestrictions: [{method: GET, path: /ok}]}]
blockedDomains: [blocked.example.com]
credentials:
  - name: key
    envVarKey: KEY
    injections:
      - {domain: api.example.com, headerName: X-Key, headerFormat: "{value}"}
      - {domain: "*.example.com", headerName: X-Wild, headerFormat: "{value}"}
  - {name: absent, envVarKey: NOT_SET, injections: [{domain: api.example.com, path: /absent, headerName: X-Absent, headerFormat: "{value}"}]}
"#;
    let upstream = Upstream::https(["api.example.com", "blocked.example.com"]).await;
    let attache = Attache::up(POLICY)
        .env("KEY", "s3cret")
        .resolve("api.example.com", &upstream)
        .resolve("blocked.example.com", &upstream)
        .start()
        .await;
    for protocol in PROTOCOLS {
        for (method, url, stage, status) in [
            ("POST", "https://api.example.com/ok", Request, 403),
            ("GET", "https://api.example.com/other", Request, 403),
            ("GET", "https://blocked.example.com/", Connect, 403),
            ("GET", "http://blocked.example.com/", Request, 403),
            ("GET", "https://api.example.com/%2fok", Request, 400),
            // Were it fetched, the missing one would make this 503.
            ("GET", "https://api.example.com/absent", Request, 403),
        ] {
            let reply = Ask::new(protocol, method, url).send(&attache).await;
            assert_eq!((reply.stage, reply.status), (stage, status), "{url}: {reply:?}");
            let shown = format!("{reply:?} {:?}", records(&attache).pop());
            assert!(!shown.contains("s3cret") && !shown.contains("\"key\""), "{shown}");
        }
    }
    assert!(upstream.connections().is_empty());
}

const CANARIES: [&str; 3] = ["canary-header-4711", "canary-query-4711", "canary-file-4711"];

#[tokio::test]
async fn a_secret_is_in_nothing_that_attache_says_or_keeps() {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), CANARIES[2]).unwrap();
    let policy = format!(
        r#"
allowedDomains: [api.example.com, gone.example]
credentials:
  - name: header
    envVarKey: HEADER_CANARY
    injections:
      - {{domain: api.example.com, headerName: Authorization, headerFormat: "Bearer {{value}}"}}
      - {{domain: gone.example, queryParam: key}}
  - {{name: query, envVarKey: QUERY_CANARY, injections: [{{domain: api.example.com, queryParam: key}}]}}
  - {{name: file, file: {}, injections: [{{domain: api.example.com, headerName: X-File, headerFormat: "{{value}}"}}]}}
agents:
  ann: {{identity: [{{token: {{env: PROXY_CANARY}}}}]}}
"#,
        file.path().display()
    );
    let upstream = Upstream::https(["api.example.com"]).await;
    let metrics = free_address();
    let attache = Attache::up(&policy)
        .env("HEADER_CANARY", CANARIES[0])
        .env("QUERY_CANARY", CANARIES[1])
        .env("PROXY_CANARY", "canary-proxy-token-4711")
        .env("RUST_LOG", "trace")
        .flags(["--metrics".to_owned(), metrics.to_string()])
        .resolve("api.example.com", &upstream)
        .flags(["--resolve".to_owned(), format!("gone.example:443:{}", free_address())])
        .start()
        .await;
    let mut said = String::new();
    for protocol in PROTOCOLS {
        for (url, status) in [
            ("https://api.example.com/status/200?q=1", 200),
            ("http://api.example.com/status/500", 500),
            ("https://api.example.com/reset", 502),
            ("https://gone.example/", 503),
            ("https://api.example.com/%zz", 400),
            ("https://refused.example/", 403),
        ] {
            let ask = Ask::get(protocol, url).header("Proxy-Authorization", "Bearer canary-proxy-token-4711");
            let ask = ask.connect_header("Proxy-Authorization", "Bearer canary-proxy-token-4711");
            let reply = ask.send(&attache).await;
            assert_eq!(reply.status, status, "{url} {protocol:?}: {reply:?}");
            said.push_str(&format!("{reply:?}\n"));
        }
        let seen = &upstream.requests()[0];
        assert_eq!(seen.path, "/status/200?q=1&key=canary-query-4711");
        assert_eq!(seen.header("x-file"), Some(CANARIES[2]));
    }
    let last = records(&attache).into_iter().rfind(|r| r["decision"] == "allow").unwrap();
    whole_record(&attache, last["requestId"].as_str().unwrap()).await;

    let state = files_below(&attache.ready().state_dir);
    assert!(state.contains("/status/200") && state.contains("\"header\""), "the journal was not read");
    let scraped = curl([format!("http://{metrics}/metrics")]).await;
    assert_eq!(scraped.status, 200, "{scraped:?}");
    let service = attache.service().await;
    let envoy = attache.envoy().await;
    let supervisor = process::parent(service);
    let shown = |pid: u32, file: &str| {
        String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/{file}")).unwrap()).into_owned()
    };
    let envoys = shown(envoy, "environ");
    let lines = [supervisor, service, envoy].map(|pid| shown(pid, "cmdline")).concat();
    assert!(lines.contains("--policy") && envoys.len() + lines.len() > 20);
    for (place, text) in [
        ("an answer", &said),
        ("the state directory", &state),
        ("metrics", &scraped.text()),
        ("stderr", &attache.stderr()),
        ("Envoy's environment", &envoys),
        ("a command line", &lines),
    ] {
        assert_no_canary(place, text);
    }
    for format in ["json", "table"] {
        let logs = attache.command("logs", &["-o", format]).await;
        assert!(logs.stdout.contains("/status/200"), "{logs:?}");
        assert_no_canary("logs", &format!("{}{}", logs.stdout, logs.stderr));
    }
}

fn assert_no_canary(place: &str, text: &str) {
    let text = text.to_lowercase();
    // Its first six bytes, as base64 writes them at the start of a text.
    for canary in ["canary-".to_owned(), STANDARD.encode("canary").to_lowercase()] {
        if let Some(at) = text.find(&canary) {
            panic!(
                "{place}: {}",
                text.get(at.saturating_sub(80)..).unwrap_or(&text).chars().take(200).collect::<String>()
            );
        }
    }
}

/// Everything that is kept, as one text.
fn files_below(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text.push_str(&files_below(&path));
        } else if path.is_file() {
            text.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap()));
        }
    }
    text
}
