//! What policy names passes, and nothing else does: hosts, ports, schemes, methods and paths.
//!
//! Every host of these tests leads to the same upstream, the refused ones too: one that is let through by
//! mistake would arrive there.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::Stage::{Connect, Handshake, Request};
use crate::support::{Answer, Ask, Attache, PROTOCOLS, Protocol, Stage, Upstream, Way, records, whole_record};

/// As its documentation gives it to users of such proxies: one restricted host, one wildcard, two recipes.
const POLICY: &str = r#"
allowedDomains:
  - pattern: "api.jira.example.com"
    action: "allow"
    httpRestrictions:
      - method: "GET"
        path: "/rest/api/2/issue/*"
      - method: "POST"
        path: "/rest/api/2/issue"
      - method: "GET"
        path: "/rest/api/2/search"
  - pattern: "*.servicenow.com"
    action: "allow"
  - pattern: "api.pagerduty.com"
    action: "allow"
credentials:
  - name: "jira-token"
    envVarKey: "JIRA_API_TOKEN"
    injections:
      - domain: "api.jira.example.com"
        headerName: "Authorization"
        headerFormat: "Basic {base64:user@example.com:{value}}"
  - name: "pagerduty-token"
    envVarKey: "PAGERDUTY_API_KEY"
    injections:
      - domain: "api.pagerduty.com"
        headerName: "Authorization"
        headerFormat: "Token token={value}"
"#;

const NAMES: [&str; 6] = [
    "api.jira.example.com",
    "dev1.servicenow.com",
    "a.b.servicenow.com",
    "servicenow.com",
    "api.pagerduty.com",
    "events.pagerduty.com",
];

#[tokio::test]
async fn the_documented_recipes_work_as_they_stand() {
    let upstream = Upstream::https(NAMES).await;
    let mut setup = Attache::up(POLICY).env("JIRA_API_TOKEN", "jira-s3cret").env("PAGERDUTY_API_KEY", "pd-s3cret");
    for name in NAMES {
        setup = setup.resolve(name, &upstream);
    }
    let attache = setup.agent("researcher").start().await;
    let jira = format!("Basic {}", STANDARD.encode("user@example.com:jira-s3cret"));

    let allowed = [
        ("GET", "https://api.jira.example.com/rest/api/2/issue/KEY-1", Some(&*jira)),
        ("GET", "https://api.jira.example.com/rest/api/2/issue/KEY-1/comment?expand=x", Some(&*jira)),
        ("POST", "https://api.jira.example.com/rest/api/2/issue", Some(&*jira)),
        ("GET", "https://api.jira.example.com/rest/api/2/search?jql=project%3DA", Some(&*jira)),
        ("DELETE", "https://dev1.servicenow.com/api/now/table/incident/1", None),
        ("PUT", "https://a.b.servicenow.com/x", None),
        ("GET", "https://api.pagerduty.com/incidents", Some("Token token=pd-s3cret")),
        ("PUT", "https://api.pagerduty.com/incidents/P1", Some("Token token=pd-s3cret")),
        // The agent may speak plain HTTP: what leaves is TLS, credential and all.
        ("GET", "http://api.pagerduty.com/oncalls", Some("Token token=pd-s3cret")),
        ("GET", "http://api.jira.example.com/rest/api/2/search", Some(&*jira)),
    ];
    for protocol in PROTOCOLS {
        for (method, url, credential) in allowed {
            let case = format!("{method} {url} {protocol:?}");
            let answer = attache.curl([protocol.flag(), "--request", method, url]).await;
            assert_eq!((answer.status, answer.exit), (200, 0), "{case}: {answer:?}");
            // curl speaks HTTP/1.1 to a proxy that it asks for a plain URL.
            if url.starts_with("https:") && protocol == Protocol::Http2 {
                assert_eq!(answer.version, "2", "{case}");
            }
            let seen = upstream.requests().pop().unwrap();
            let (_, rest) = url.split_once("://").unwrap();
            let (host, path) = rest.split_at(rest.find('/').unwrap());
            assert_eq!((&*seen.method, &*seen.authority, &*seen.path), (method, host, path), "{case}");
            assert_eq!(seen.sni.as_deref(), Some(host), "{case}: it left in plaintext");
            assert_eq!(seen.header("authorization"), credential, "{case}");
            // The agent gets the upstream's own answer, which here repeats the request.
            assert_eq!(answer.json()["path"], path, "{case}");
        }
    }

    let refused = [
        ("DELETE", "https://api.jira.example.com/rest/api/2/issue/KEY-1", Request, "route_not_allowed"),
        ("GET", "https://api.jira.example.com/rest/api/2/issue/", Request, "route_not_allowed"),
        ("GET", "https://api.jira.example.com/rest/api/2/issue", Request, "route_not_allowed"),
        ("POST", "https://api.jira.example.com/rest/api/2/issue/KEY-1", Request, "route_not_allowed"),
        ("POST", "https://api.jira.example.com/rest/api/2/search", Request, "route_not_allowed"),
        ("HEAD", "https://api.jira.example.com/rest/api/2/search", Request, "route_not_allowed"),
        ("GET", "https://api.jira.example.com/rest/api/2/searching", Request, "route_not_allowed"),
        ("GET", "https://api.jira.example.com/rest/api/2/issuetype", Request, "route_not_allowed"),
        ("GET", "https://api.jira.example.com/", Request, "route_not_allowed"),
        ("GET", "http://api.jira.example.com/rest/api/3/search", Request, "route_not_allowed"),
        ("GET", "https://servicenow.com/", Connect, "domain_not_allowed"),
        ("GET", "http://servicenow.com/", Request, "domain_not_allowed"),
        ("GET", "https://notservicenow.com/", Connect, "domain_not_allowed"),
        ("GET", "https://events.pagerduty.com/", Connect, "domain_not_allowed"),
        ("GET", "https://api.pagerduty.com:8443/", Connect, "domain_not_allowed"),
        ("GET", "https://api.pagerduty.com.evil.example/", Connect, "domain_not_allowed"),
        ("GET", "https://unlisted.example/", Connect, "domain_not_allowed"),
        ("GET", "http://unlisted.example/", Request, "domain_not_allowed"),
    ];
    let before = upstream.requests().len();
    for protocol in PROTOCOLS {
        for (method, url, stage, reason) in refused {
            let case = format!("{method} {url} {protocol:?}");
            let reply = Ask::new(protocol, method, url).send(&attache).await;
            assert_eq!((reply.stage, reply.status), (stage, 403), "{case}: {reply:?}");
            if method != "HEAD" {
                assert_eq!(reply.reason(), reason, "{case}");
            }
            let record = records(&attache).pop().unwrap();
            assert_eq!(record["decision"], "deny", "{case}");
            assert_eq!(record["reason"], reason, "{case}");
            assert_eq!(record["method"], if stage == Connect { "CONNECT" } else { method }, "{case}");
            assert!(record["upstream"].is_null() && record["credential"].is_null(), "{case}: {record}");
        }
    }
    assert_eq!(upstream.requests().len(), before, "a refused request reached the upstream");
}

#[tokio::test]
async fn every_request_is_on_record_with_who_where_what_and_how_it_ended() {
    let upstream = Upstream::https(["api.pagerduty.com"]).await;
    let attache = Attache::up(POLICY)
        .env("JIRA_API_TOKEN", "x")
        .env("PAGERDUTY_API_KEY", "pd-s3cret")
        .resolve("api.pagerduty.com", &upstream)
        .agent("researcher")
        .start()
        .await;
    let started = jiff::Timestamp::now();
    for protocol in PROTOCOLS {
        for (url, scheme) in [
            ("https://api.pagerduty.com/status/418?token=agent-value&flag", "https"),
            ("http://api.pagerduty.com/status/418?token=agent-value&flag", "https"),
        ] {
            let count = records(&attache).len();
            let reply = Ask::new(protocol, "PUT", url).send(&attache).await;
            assert_eq!(reply.status, 418, "{reply:?}");
            let all = records(&attache);
            assert_eq!(all.len(), count + 1, "one exchange, one record: a tunnel that opens is none");
            let id = all.last().unwrap()["requestId"].as_str().unwrap().to_owned();
            let record = whole_record(&attache, &id).await;
            for (field, expected) in [
                ("agent", json!("researcher")),
                ("method", json!("PUT")),
                ("scheme", json!(scheme)),
                ("host", json!("api.pagerduty.com")),
                ("port", json!(443)),
                ("path", json!("/status/418")),
                ("query", json!("token=***&flag")),
                ("decision", json!("allow")),
                ("reason", Value::Null),
                ("rule", json!("allowedDomains[api.pagerduty.com]")),
                ("credential", json!("pagerduty-token")),
                ("status", json!(418)),
                ("upstream", json!(upstream.address().to_string())),
                ("flags", json!("")),
            ] {
                assert_eq!(record[field], expected, "{field} of {record}");
            }
            assert!(!record["policyRevision"].as_str().unwrap().is_empty());
            let time: jiff::Timestamp = record["time"].as_str().unwrap().parse().unwrap();
            assert!(started <= time && time <= jiff::Timestamp::now(), "{record}");
            assert!(record["duration"].as_f64().unwrap() > 0.0);
        }
    }
    assert_eq!(upstream.requests().len(), 4);
}

/// `Ok`: passes. `Err`: refused at this stage, for this reason, by this entry.
type Expected = Result<(), (Stage, &'static str, Option<&'static str>)>;

#[tokio::test]
async fn hosts_match_exactly_by_wildcard_and_port_and_block_lists_win() {
    const POLICY: &str = "
allowedDomains:
  - exact.example
  - '*.wild.example'
  - {pattern: special.wild.example, httpRestrictions: [{method: GET, path: /only}]}
  - alt.example:8443
  - {pattern: denied.open.example, action: deny}
  - {pattern: half.example, action: deny, httpRestrictions: [{method: DELETE}, {path: '/admin/**'}]}
  - half.example
  - '*.open.example'
  - {pattern: methods.example, httpRestrictions: [{method: [GET, PUT], path: '/a/{id}/b'}, {method: any, path: /any}, {method: '', path: /empty}]}
  - shadow.example
  - sub.evil.example
  - deep.sub.evil.example
blockedDomains: [evil.example, shadow.example, '*.bad.open.example', 'port.wild.example:8443']
";
    const HOSTS: [&str; 21] = [
        "exact.example",
        "sub.exact.example",
        "xexact.example",
        "a.wild.example",
        "a.b.c.wild.example",
        "wild.example",
        "special.wild.example",
        "alt.example",
        "denied.open.example",
        "half.example",
        "ok.open.example",
        "methods.example",
        "shadow.example",
        "evil.example",
        "sub.evil.example",
        "deep.sub.evil.example",
        "x.bad.open.example",
        "bad.open.example",
        "port.wild.example",
        "x.denied.open.example",
        "unlisted.example",
    ];
    let domain = |stage| Err((stage, "domain_not_allowed", None));
    let blocked = |rule| Err((Connect, "domain_blocked", Some(rule)));
    let route = |rule| Err((Request, "route_not_allowed", Some(rule)));
    let cases: Vec<(&str, &str, Expected)> = vec![
        ("GET", "https://exact.example/", Ok(())),
        ("GET", "https://EXACT.Example./", Ok(())),
        ("GET", "https://sub.exact.example/", domain(Connect)),
        ("GET", "https://xexact.example/", domain(Connect)),
        ("GET", "https://exact.example:8443/", domain(Connect)),
        ("GET", "https://a.wild.example/", Ok(())),
        ("GET", "https://a.b.c.wild.example/", Ok(())),
        ("GET", "https://wild.example/", domain(Connect)),
        ("GET", "https://a.wild.example:8443/", domain(Connect)),
        // The most specific pattern governs.
        ("GET", "https://special.wild.example/only", Ok(())),
        ("GET", "https://special.wild.example/other", route("allowedDomains[special.wild.example]")),
        ("POST", "https://special.wild.example/only", route("allowedDomains[special.wild.example]")),
        ("GET", "https://alt.example:8443/", Ok(())),
        ("GET", "https://alt.example/", domain(Connect)),
        ("GET", "https://ok.open.example/", Ok(())),
        // An entry that denies is about the host it names; only block lists reach below.
        ("GET", "https://x.denied.open.example/", Ok(())),
        ("GET", "https://half.example/", Ok(())),
        ("DELETE", "https://half.example/", route("allowedDomains[half.example]")),
        ("GET", "https://half.example/admin/users", route("allowedDomains[half.example]")),
        ("GET", "https://half.example/ADMIN/users", route("allowedDomains[half.example]")),
        ("GET", "https://methods.example/a/1/b", Ok(())),
        ("PUT", "https://methods.example/a/1/b", Ok(())),
        ("PATCH", "https://methods.example/a/1/b", route("allowedDomains[methods.example]")),
        ("GET", "https://methods.example/a/1/2/b", route("allowedDomains[methods.example]")),
        ("GET", "https://methods.example/A/1/b", route("allowedDomains[methods.example]")),
        ("PROPFIND", "https://methods.example/any", Ok(())),
        ("OPTIONS", "https://methods.example/empty", Ok(())),
        ("TRACE", "https://methods.example/any", route("allowedDomains[methods.example]")),
        ("GET", "https://shadow.example/", blocked("blockedDomains[shadow.example]")),
        ("GET", "https://evil.example/", blocked("blockedDomains[evil.example]")),
        ("GET", "https://sub.evil.example/", blocked("blockedDomains[evil.example]")),
        ("GET", "https://deep.sub.evil.example/", blocked("blockedDomains[evil.example]")),
        ("GET", "https://x.bad.open.example/", blocked("blockedDomains[*.bad.open.example]")),
        ("GET", "https://bad.open.example/", Ok(())),
        ("GET", "https://port.wild.example/", Ok(())),
        ("GET", "https://unlisted.example/", domain(Connect)),
        ("GET", "http://unlisted.example/", domain(Request)),
        ("GET", "http://evil.example/", Err((Request, "domain_blocked", Some("blockedDomains[evil.example]")))),
    ];
    let upstream = Upstream::https(HOSTS).await;
    let mut setup = Attache::up(POLICY);
    for host in HOSTS {
        setup = setup.resolve(host, &upstream).resolve_port(host, 8443, &upstream).resolve_port(host, 80, &upstream);
    }
    let attache = setup.start().await;
    for protocol in PROTOCOLS {
        for (method, url, expected) in &cases {
            let before = upstream.requests().len();
            let reply = Ask::new(protocol, method, url).send(&attache).await;
            let case = format!("{method} {url} {protocol:?}: {reply:?}");
            match *expected {
                Ok(()) => {
                    assert_eq!((reply.stage, reply.status), (Request, 200), "{case}");
                    assert_eq!(upstream.requests().len(), before + 1, "{case}");
                }
                Err((stage, reason, rule)) => {
                    assert_eq!((reply.stage, reply.status, &*reply.reason()), (stage, 403, reason), "{case}");
                    assert_eq!(reply.json()["rule"].as_str(), rule, "{case}");
                    assert_eq!(upstream.requests().len(), before, "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn an_entry_that_denies_says_so_wherever_it_is_met() {
    const POLICY: &str = "
allowedDomains: [{pattern: denied.example, action: deny}, {pattern: blocked.example, action: block}, '*']
";
    let upstream = Upstream::https(["denied.example", "blocked.example"]).await;
    let setup = Attache::up(POLICY).resolve("denied.example", &upstream).resolve("blocked.example", &upstream);
    let attache = setup.start().await;
    let mut wrong = Vec::new();
    for protocol in PROTOCOLS {
        for host in ["denied.example", "blocked.example"] {
            for (scheme, stage) in [("https", Connect), ("http", Request)] {
                let reply = Ask::get(protocol, &format!("{scheme}://{host}/")).send(&attache).await;
                let (reason, rule) = (reply.reason(), reply.json()["rule"].clone());
                let found = (reply.stage, reply.status, &*reason, rule);
                if found != (stage, 403, "domain_blocked", json!(format!("allowedDomains[{host}]"))) {
                    wrong.push(format!("{scheme}://{host} {protocol:?}: {found:?}"));
                }
            }
        }
    }
    assert!(upstream.connections().is_empty());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn nothing_is_allowed_that_policy_does_not_name() {
    let upstream = Upstream::https(["api.example.com"]).await;
    for policy in [
        "allowedDomains: []\n",
        "blockedDomains: [evil.example]\n",
        "allowedDomains: [{pattern: api.example.com, action: deny}]\n",
    ] {
        let attache = Attache::up(policy).resolve("api.example.com", &upstream).start().await;
        for protocol in PROTOCOLS {
            for url in ["https://api.example.com/", "http://api.example.com/"] {
                let reply = Ask::get(protocol, url).send(&attache).await;
                assert_eq!(reply.status, 403, "{policy} {url}: {reply:?}");
            }
            let host_style = Ask::get(Protocol::Http1, "http://api.example.com/").by(Way::HostStyle);
            assert_eq!(host_style.send(&attache).await.status, 403, "{policy}");
        }
    }
    assert!(upstream.connections().is_empty());
}

#[tokio::test]
async fn plain_http_leaves_as_tls_unless_policy_says_plaintext() {
    const POLICY: &str = "
allowedDomains: [tls.example, 'tls.example:8443', 'http://plain.example', 'http://plain.example:8080', both.example, 'http://both.example']
";
    let tls = Upstream::https(["tls.example", "both.example", "plain.example"]).await;
    let plain = Upstream::http().await;
    let attache = Attache::up(POLICY)
        .resolve("tls.example", &tls)
        .resolve_port("tls.example", 8443, &tls)
        .resolve_port("tls.example", 80, &plain)
        .resolve("both.example", &tls)
        .resolve_port("both.example", 80, &plain)
        .resolve("plain.example", &tls)
        .resolve_port("plain.example", 80, &plain)
        .resolve_port("plain.example", 8080, &plain)
        .start()
        .await;
    let to_tls = Ok::<_, (Stage, &str)>((&tls, "https"));
    let to_plain = Ok((&plain, "http"));
    let not_allowed = |stage| Err((stage, "domain_not_allowed"));
    let cases = [
        ("http://tls.example/", Way::Absolute, to_tls),
        ("http://tls.example:80/", Way::Absolute, to_tls),
        ("http://tls.example/", Way::HostStyle, to_tls),
        ("http://tls.example/", Way::PlainTunnel, to_tls),
        ("http://tls.example:443/", Way::Absolute, to_tls),
        ("http://tls.example:8443/", Way::Absolute, to_tls),
        ("http://tls.example:8443/", Way::HostStyle, to_tls),
        ("http://tls.example:81/", Way::Absolute, not_allowed(Request)),
        ("http://tls.example:81/", Way::PlainTunnel, not_allowed(Connect)),
        ("http://plain.example/", Way::Absolute, to_plain),
        ("http://plain.example/", Way::HostStyle, to_plain),
        ("http://plain.example/", Way::PlainTunnel, to_plain),
        ("http://plain.example:8080/", Way::Absolute, to_plain),
        ("http://plain.example:8081/", Way::Absolute, not_allowed(Request)),
        ("https://plain.example/", Way::Tunnel, not_allowed(Connect)),
        // Where there is a choice, TLS.
        ("http://both.example/", Way::Absolute, to_tls),
        ("http://both.example/", Way::HostStyle, to_tls),
        ("https://both.example/", Way::Tunnel, to_tls),
    ];
    for protocol in PROTOCOLS {
        for (url, way, expected) in cases {
            if protocol == Protocol::Http2 && way == Way::HostStyle {
                continue;
            }
            let counts = || (tls.requests().len(), plain.requests().len());
            let before = counts();
            let reply = Ask::get(protocol, url).by(way).send(&attache).await;
            let case = format!("{url} {way:?} {protocol:?}: {reply:?}");
            match expected {
                Ok((upstream, scheme)) => {
                    assert_eq!((reply.stage, reply.status), (Request, 200), "{case}");
                    assert_eq!(counts().0 + counts().1, before.0 + before.1 + 1, "{case}");
                    let seen = upstream.requests().pop().unwrap();
                    let arrived = (upstream.requests().len(), seen.sni.is_some());
                    let count = if scheme == "https" { before.0 } else { before.1 };
                    assert_eq!(arrived, (count + 1, scheme == "https"), "{case}");
                    if let Some(told) = &seen.scheme {
                        assert_eq!(told, scheme, "{case}");
                    }
                    assert_eq!(records(&attache).pop().unwrap()["scheme"], scheme, "{case}");
                }
                Err((stage, reason)) => {
                    assert_eq!((reply.stage, reply.status, &*reply.reason()), (stage, 403, reason), "{case}");
                    assert_eq!(counts(), before, "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn an_address_matches_only_a_pattern_that_is_this_address() {
    const POLICY: &str = "allowedDomains: [192.0.2.7, '[2001:db8::7]', 'http://192.0.2.9', '*.example']\n";
    let upstream = Upstream::https(["192.0.2.7", "192.0.2.8", "2001:db8::7"]).await;
    let plain = Upstream::http().await;
    let attache = Attache::up(POLICY)
        .resolve("192.0.2.7", &upstream)
        .resolve("192.0.2.8", &upstream)
        .resolve("[2001:db8::7]", &upstream)
        .resolve_port("192.0.2.9", 80, &plain)
        .start()
        .await;
    for protocol in PROTOCOLS {
        // A client that dials an address names nobody in the handshake, and still wants a certificate for it.
        for url in ["https://192.0.2.7/a", "https://[2001:db8::7]/b", "http://192.0.2.7/c"] {
            let answer = attache.curl([protocol.flag(), url]).await;
            assert_eq!(answer.status, 200, "{url} {protocol:?}: {answer:?}");
            let seen = upstream.requests().pop().unwrap();
            assert!(url.ends_with(&seen.path), "{url}: {seen:?}");
            assert_eq!(seen.sni, None);
        }
        let reply = Ask::get(protocol, "http://192.0.2.9/").send(&attache).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(plain.requests().len(), if protocol == Protocol::Http1 { 1 } else { 2 });

        let before = upstream.requests().len();
        for (url, status, reason) in [
            ("https://192.0.2.8/", 403, "domain_not_allowed"),
            ("https://192.0.2.7:8443/", 403, "domain_not_allowed"),
            ("https://192.0.2.9/", 403, "domain_not_allowed"),
            ("https://192.0.519/", 400, "malformed_authority"),
            ("https://0xc0.0.2.7/", 400, "malformed_authority"),
            ("https://3221225991/", 400, "malformed_authority"),
            ("https://[2001:db8:0::7]/", 400, "malformed_authority"),
            ("https://[::ffff:c000:207]/", 400, "malformed_authority"),
        ] {
            let reply = Ask::get(protocol, url).send(&attache).await;
            assert_eq!((reply.stage, reply.status, &*reply.reason()), (Connect, status, reason), "{url}: {reply:?}");
        }
        // The certificate for addresses does not make the address one of the names that policy allows.
        let fronted = Ask::get(protocol, "https://192.0.2.7/").authority("192.0.2.8").send(&attache).await;
        assert_eq!((fronted.status, &*fronted.reason()), (421, "authority_mismatch"), "{fronted:?}");
        assert_eq!(upstream.requests().len(), before);
    }
}

#[tokio::test]
async fn a_name_that_policy_could_never_allow_gets_no_certificate() {
    let upstream = Upstream::https(["api.example.com", "other.example"]).await;
    let attache = Attache::up("allowedDomains: [api.example.com]\n")
        .resolve("api.example.com", &upstream)
        .resolve("other.example", &upstream)
        .start()
        .await;
    for protocol in PROTOCOLS {
        for sni in ["other.example", "192.0.2.1"] {
            let reply = Ask::get(protocol, "https://api.example.com/").sni(sni).send(&attache).await;
            assert_eq!((reply.stage, reply.status), (Handshake, 0), "{sni}: {reply:?}");
        }
    }
    assert!(upstream.connections().is_empty());
    let refused = records(&attache);
    let on_record = refused
        .iter()
        .any(|r| r["method"] == "TLS" && r["host"] == "other.example" && r["reason"] == "certificate_refused");
    assert!(on_record, "{refused:?}");
}

#[tokio::test]
async fn an_upstream_that_cannot_prove_its_name_gets_nothing() {
    let other = Upstream::https(["other.example"]).await;
    let expired = Upstream::named(["api.example.com"]).expired().start().await;
    for upstream in [other, expired] {
        let attache =
            Attache::up("allowedDomains: [api.example.com]\n").resolve("api.example.com", &upstream).start().await;
        for protocol in PROTOCOLS {
            for url in ["https://api.example.com/", "http://api.example.com/"] {
                let Answer { status, .. } = attache.curl([protocol.flag(), url]).await;
                assert_eq!(status, 502, "{url}");
            }
        }
        assert!(upstream.requests().is_empty());
    }
}
