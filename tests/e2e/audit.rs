//! Every attempt is on record, before anything comes of it, and without what nobody should read there.

use std::time::Instant;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::dns::Reply;
use crate::support::{Attache, Dns, Upstream, tunnel, until};

const POLICY: &str = "
allowedDomains:
  - api.example.com
  - {pattern: get.example.com, httpRestrictions: [{method: GET, path: '/v1/*'}]}
credentials:
  - name: key
    envVarKey: KEY
    injections:
      - {domain: api.example.com, headerName: Authorization, headerFormat: 'Bearer {value}'}
      - {domain: api.example.com, path: '/q/*', queryParam: key}";

#[tokio::test]
async fn a_decision_is_on_record_before_its_answer() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = start(&upstream).await;
    for round in 0..3 {
        let path = format!("/killed-{round}");
        let wanted = format!("https://api.example.com{path}");
        until("an answer", async || (attache.curl([&wanted]).await.status == 200).then_some(())).await;
        let killed = attache.kill9_service().await;
        let records: Vec<Value> = attache.records().into_iter().filter(|record| record["path"] == *path).collect();
        assert!(records.iter().any(|record| record["decision"] == "allow"), "{records:?}");
        attache.wait_restart(killed).await;
    }
    // And what Envoy answered while nobody decided is a failure, not an allowed request.
    for record in attache.records() {
        let answered = record["status"] == 200 || record["status"].is_null();
        assert!(record["decision"] != "allow" || answered, "{record}");
    }
}

#[tokio::test]
async fn a_record_says_who_asked_for_what_and_what_became_of_it() {
    let upstream = Upstream::https(["api.example.com", "get.example.com"]).await;
    let attache = start(&upstream).await;
    for (protocol, path) in [("--http1.1", "/one/big/10"), ("--http2", "/two/big/10")] {
        let url = format!("https://api.example.com{path}?token=t0p&page=2&flag&empty=");
        let answer = attache.curl([protocol, "--data", "12345", &url]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let record = outcome(&attache, path).await;
        let revision = record["policyRevision"].as_str().unwrap();
        assert!(!revision.is_empty());
        for (field, expected) in [
            ("agent", Value::from("researcher")),
            ("identity", "fixed".into()),
            ("method", "POST".into()),
            ("scheme", "https".into()),
            ("host", "api.example.com".into()),
            ("port", 443.into()),
            ("path", path.into()),
            ("query", "token=***&page=***&flag&empty=".into()),
            ("decision", "allow".into()),
            ("reason", Value::Null),
            ("rule", "allowedDomains[api.example.com]".into()),
            ("credential", "key".into()),
            ("status", 200.into()),
            ("requestBytes", 5.into()),
            ("bytes", answer.body.len().into()),
            ("upstream", upstream.address().to_string().into()),
            ("flags", "".into()),
        ] {
            assert_eq!(record[field], expected, "{field}: {record}");
        }
        assert!(record["duration"].as_f64().unwrap() > 0.0, "{record}");
        assert!(record["source"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
        jiff(record["time"].as_str().unwrap());
    }

    // A slow answer takes its time on record too, and a broken one shows how it broke.
    attache.curl(["https://api.example.com/delay/300"]).await;
    let slow = outcome(&attache, "/delay/300").await;
    assert!(slow["duration"].as_f64().unwrap() >= 300.0, "{slow}");
    attache.curl(["https://api.example.com/reset"]).await;
    let broken = outcome(&attache, "/reset").await;
    assert_eq!((&broken["decision"], &broken["status"]), (&"allow".into(), &502.into()), "{broken}");
    assert!(!broken["flags"].as_str().unwrap().is_empty(), "{broken}");
    attache.curl(["--data", "x", "https://get.example.com/v1/x"]).await;
    let refused = outcome(&attache, "/v1/x").await;
    assert_eq!((&refused["decision"], &refused["status"]), (&"deny".into(), &403.into()), "{refused}");
    assert_eq!(refused["reason"], "route_not_allowed");
    assert_eq!((&refused["credential"], &refused["upstream"]), (&Value::Null, &Value::Null), "{refused}");
}

#[tokio::test]
async fn a_tunnel_is_on_record_where_it_is_refused_and_else_only_what_passes_through_it() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = start(&upstream).await;
    let refused = tunnel::connect(attache.proxy(), "evil.example:443", &[]).await.unwrap_err();
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let record = attache.wait_record("a refused tunnel", |record| record["host"] == "evil.example").await;
    assert_eq!((&record["method"], &record["port"]), (&"CONNECT".into(), &443.into()), "{record}");
    assert_eq!((&record["reason"], &record["status"]), (&"domain_not_allowed".into(), &403.into()), "{record}");
    let id = record["requestId"].as_str().unwrap();
    assert!(refused.contains(id), "the answer's requestId is the record's: {refused}");

    let stream = tunnel::connect(attache.proxy(), "api.example.com:443", &[]).await.unwrap();
    let mut stream = tunnel::tls(stream, Some("api.example.com"), &attache.ca_pem(), &["http/1.1"]).await.unwrap();
    for path in ["/a", "/b"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
        assert!(tunnel::raw(&mut stream, request.as_bytes()).await.starts_with("HTTP/1.1 200"));
        outcome(&attache, path).await;
    }
    drop(stream);
    // Envoy reports the tunnel's end after that of what passed through it; a later request comes later still.
    attache.curl(["http://api.example.com/last"]).await;
    outcome(&attache, "/last").await;
    let of_host = attache.records_of("api.example.com");
    let paths: Vec<&str> = of_host.iter().map(|record| record["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/a", "/b", "/last"], "{of_host:?}");
}

#[tokio::test]
async fn no_secret_and_no_query_value_is_ever_on_record() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = start(&upstream).await;
    for url in [
        "https://api.example.com/?password=hunter2-1",
        "https://api.example.com/q/x?key=hunter2-2&a=hunter2-3",
        "http://api.example.com/?password=hunter2-4",
        "https://evil.example/?password=hunter2-5",
        "http://evil.example/?password=hunter2-6",
        "http://api.example.com/%2fbad?password=hunter2-7",
    ] {
        attache.curl(["--header", "authorization: Bearer hunter2-8", "--header", "cookie: hunter2-9", url]).await;
    }
    attache.curl(["--proxy-user", "researcher:hunter2-10", "http://api.example.com/"]).await;
    outcome(&attache, "/q/x").await;
    assert!(upstream.requests()[1].path.contains("key=s3cret-key"), "{:?}", upstream.requests()[1]);
    until("every outcome", async || attache.records().iter().all(|record| !record["flags"].is_null()).then_some(()))
        .await;
    let journal = attache.journal();
    assert!(journal.contains("password=***"), "{journal}");
    assert!(!journal.contains("hunter2"), "{journal}");
    assert!(!journal.contains("s3cret-key"), "{journal}");
    assert!(!attache.stderr().contains("hunter2") && !attache.stderr().contains("s3cret-key"));
}

#[tokio::test]
async fn what_envoy_itself_refuses_is_on_record_too() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = start(&upstream).await;
    let long = "x".repeat(70 << 10);
    for (case, request, status) in [
        ("an underscore", "GET http://api.example.com/underscore HTTP/1.1\r\nHost: api.example.com\r\nx_y: 1\r\n\r\n".to_owned(), 400),
        ("an encoded slash", "GET http://api.example.com/a%2fb HTTP/1.1\r\nHost: api.example.com\r\n\r\n".to_owned(), 400),
        ("not HTTP", "complete nonsense\r\n\r\n".to_owned(), 400),
        ("a head too large", format!("GET http://api.example.com/long HTTP/1.1\r\nHost: api.example.com\r\nx: {long}\r\n\r\n"), 431),
        ("two lengths", "POST http://api.example.com/two HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(), 400),
    ] {
        let before = attache.records().len();
        let mut stream = TcpStream::connect(attache.proxy()).await.unwrap();
        let answer = tunnel::raw(&mut stream, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{case}: {answer}");
        let record = tokio::time::timeout(std::time::Duration::from_secs(4), until(case, async || attache.records().into_iter().nth(before))).await.unwrap_or_else(|_| panic!("{case} {} {answer}", attache.journal()));
        assert_eq!(record["decision"], "deny", "{case}: {record}");
        assert_eq!(record["reason"], "malformed_request", "{case}: {record}");
        assert_eq!(record["status"], status, "{case}: {record}");
        assert!(record["source"].as_str().unwrap().starts_with("127.0.0.1:"), "{case}: {record}");
    }
    assert!(upstream.connections().is_empty());
}

#[tokio::test]
async fn an_agent_that_leaves_before_its_verdict_is_on_record() {
    let (dns, upstream) = (Dns::start().await, Upstream::https(["*.example.com"]).await);
    let attache = Attache::up("allowedDomains: ['*.example.com']").dns(&dns).start().await;
    for host in ["plain.example.com", "inner.example.com"] {
        dns.script(host, [Reply::Silence]);
        let started = Instant::now();
        if host.starts_with("plain") {
            let mut stream = TcpStream::connect(attache.proxy()).await.unwrap();
            let request = format!("GET http://{host}/gone HTTP/1.1\r\nHost: {host}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            dns.wait_for(host, "A", 1).await;
        } else {
            let stream = tunnel::connect(attache.proxy(), &format!("{host}:443"), &[]).await.unwrap();
            let mut stream = tunnel::tls(stream, Some(host), &attache.ca_pem(), &["http/1.1"]).await.unwrap();
            stream.write_all(format!("GET /gone HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            dns.wait_for(host, "A", 1).await;
        }
        let record = attache.wait_record(host, |record| record["host"] == host).await;
        assert_eq!(record["reason"], "client_gone", "{record}");
        assert_eq!(record["decision"], "error", "{record}");
        assert_eq!(record["path"], "/gone", "{record}");
        assert!(started.elapsed().as_secs() < 3, "at once, not when DNS gave up");
    }
    assert!(upstream.connections().is_empty());
}

#[tokio::test]
async fn what_an_agent_writes_cannot_forge_a_record() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = start(&upstream).await;
    let forged = "%0a{%22type%22:%22decision%22,%22decision%22:%22allow%22}";
    let lines = [
        format!("GET http://api.example.com/{forged} HTTP/1.1"),
        "GET http://evil.example/\u{1b}[31m HTTP/1.1".to_owned(),
        "GET http://evil.example/\u{202e}txt HTTP/1.1".to_owned(),
        "GET http://evil\u{202e}.example/ HTTP/1.1".to_owned(),
        "GET http://evil\u{9b}31m.example/ HTTP/1.1".to_owned(),
        "GET http://evil.example/\"},{\"x\":\"\\ HTTP/1.1".to_owned(),
        "X\u{7}Y http://evil.example/ HTTP/1.1".to_owned(),
    ];
    for line in &lines {
        let mut stream = TcpStream::connect(attache.proxy()).await.unwrap();
        let host = line.split('/').nth(2).unwrap();
        let answer = tunnel::raw(&mut stream, format!("{line}\r\nHost: {host}\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{line}: {answer}");
    }
    until("every record", async || (attache.records().len() >= lines.len()).then_some(())).await;
    assert_eq!(attache.records().len(), lines.len());
    assert!(attache.records().iter().all(|record| record["decision"] == "deny"));
    // Each line is one JSON value, and nothing in it moves a terminal.
    for line in attache.journal().lines() {
        serde_json::from_str::<Value>(line).unwrap();
        let moves = |c: char| c.is_control() && !('\u{80}'..='\u{9f}').contains(&c);
        assert!(!line.contains(moves), "{line:?}");
    }
}

#[tokio::test]
async fn logs_shows_what_is_asked_for_even_after_the_end() {
    let upstream = Upstream::https(["*.example.com"]).await;
    let policy = "
agents:
  ann: {identity: [{header: {name: X-Agent, value: ann, trusted: true}}], allowedDomains: ['*.example.com']}
  bob: {identity: [{header: {name: X-Agent, value: bob, trusted: true}}], allowedDomains: [b.example.com]}";
    let setup = Attache::up(policy).resolve("a.example.com", &upstream).resolve("b.example.com", &upstream);
    let mut attache = setup.start().await;
    let requests = [
        ("ann", "a.example.com/1"),
        ("bob", "a.example.com/2"),
        ("bob", "b.example.com/3"),
        ("ann", "b.example.com/reset"),
    ];
    for (before, (agent, path)) in (1..).zip(requests) {
        attache.curl(["--header", &format!("X-Agent: {agent}"), &format!("http://{path}")]).await;
        until("its outcome", async || {
            let records = attache.records();
            (records.len() == before && !records[before - 1]["flags"].is_null()).then_some(())
        })
        .await;
    }
    attache.curl(["http://evil.example/%1b%5b31m"]).await;
    until("the last", async || {
        let records = attache.records();
        (records.len() == 5 && !records[4]["flags"].is_null()).then_some(())
    })
    .await;

    for stopped in [false, true] {
        if stopped {
            assert!(attache.stop().await.success());
        }
        for (arguments, expected) in [
            (&[][..], &["/1", "/2", "/3", "/reset", "/%1b%5b31m"][..]),
            (&["--agent", "ann"], &["/1", "/reset"]),
            (&["--status", "allowed"], &["/1", "/3"]),
            (&["--status", "blocked"], &["/2", "/%1b%5b31m"]),
            (&["--status", "failed"], &["/reset"]),
            (&["--status", "502"], &["/reset"]),
            (&["--status", "pending"], &[]),
            (&["--host", "b.example.com"], &["/3", "/reset"]),
            (&["--host", "*.example.com", "--agent", "bob"], &["/2", "/3"]),
            (&["--reason", "domain_not_allowed"], &["/2"]),
            (&["--limit", "2"], &["/reset", "/%1b%5b31m"]),
            (&["--since", "1h", "--agent", "bob"], &["/2", "/3"]),
            (&["--until", "1h"], &[]),
            (&["--text", "B.Example.Com/3"], &["/3"]),
        ] {
            let shown = attache.logs(arguments).await;
            if !stopped {
                let asked = attache.logs(&[arguments, &["--control"]].concat()).await;
                assert_eq!(asked, shown, "{arguments:?} over the control socket");
            }
            let paths: Vec<&str> = shown.iter().map(|record| record["path"].as_str().unwrap()).collect();
            assert_eq!(paths, expected, "{arguments:?}, stopped: {stopped}");
            for record in &shown {
                for key in [
                    "time",
                    "agent",
                    "method",
                    "host",
                    "path",
                    "query",
                    "decision",
                    "reason",
                    "rule",
                    "credential",
                    "policyRevision",
                    "requestId",
                    "status",
                    "bytes",
                    "duration",
                    "upstream",
                    "flags",
                ] {
                    assert!(record.get(key).is_some(), "{key}: {record}");
                }
            }
        }
        if stopped {
            let asked = attache.command("logs", &["--control"]).await;
            assert!(asked.exit == 5 && asked.stderr.contains("has not been started, or has been stopped"), "{asked:?}");
        }
        let table = attache.command("logs", &[]).await;
        assert_eq!(table.exit, 0, "{table:?}");
        for words in ["ann", "bob", "a.example.com/1", "blocked", "failed", "domain_not_allowed"] {
            assert!(table.stdout.contains(words), "{words}: {}", table.stdout);
        }
        let moves = |c: char| c.is_control() && c != '\n';
        assert!(!table.stdout.contains(moves), "{:?}", table.stdout);
    }
}

/// The record of this path, once its outcome has come.
async fn outcome(attache: &Attache, path: &str) -> Value {
    attache.wait_record(path, |record| record["path"] == path && !record["flags"].is_null()).await
}

/// RFC 3339 in UTC with microseconds.
fn jiff(time: &str) {
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000000Z");
}

async fn start(upstream: &Upstream) -> Attache {
    let setup = Attache::up(POLICY).env("KEY", "s3cret-key").agent("researcher");
    setup.resolve("api.example.com", upstream).resolve("get.example.com", upstream).start().await
}
