//! A policy that was imported decides as the system did that it comes from: the documented example of each format,
//! by the real command, through the real Envoy.

use std::path::Path;

use tempfile::TempDir;

use crate::support::Stage::{Connect, Request};
use crate::support::script::{self, Output};
use crate::support::upstream::Answer;
use crate::support::{Ask, Attache, PROTOCOLS, Protocol, Upstream, Way, attache, records};

/// What the sources hold and nothing may show.
const SECRETS: [&str; 3] = ["proxy-abc123", "sk-real-openai-key", "ghp_hunter2"];

/// `attache import` of these files, in a directory of their own.
async fn import(format: &str, files: &[(&str, &str)], flags: &[&str]) -> Output {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let paths: Vec<_> = files.iter().map(|(name, _)| folder.path().join(name)).collect();
    run(folder.path(), format, &paths.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>(), flags).await
}

async fn run(home: &Path, format: &str, paths: &[&str], flags: &[&str]) -> Output {
    let mut command = attache::attache(home);
    command.args(["import", "--from", format]).args(flags).args(paths);
    let output = script::output(&mut command).await;
    for secret in SECRETS {
        let shown = format!("{}{}", output.stdout, output.stderr);
        assert!(!shown.contains(secret), "`{secret}` is shown: {shown}");
    }
    output
}

/// The policy, which has to be there.
async fn policy(format: &str, files: &[(&str, &str)], flags: &[&str]) -> String {
    let output = import(format, files, flags).await;
    assert_eq!(output.exit, 0, "{output:?}");
    output.stdout
}

const ABAC: &str = r#"{
  "localToken": "proxy-abc123",
  "policies": [
    {
      "baseUrl": "https://api.example.com",
      "localUpstreamTokenKey": "EXAMPLE_API_KEY",
      "rules": [
        {"route": "/v1/users", "method": "GET", "action": "allow",
         "response_filter": {"type": "include_fields", "fields": ["id", "name", "email"]}},
        {"route": "/v1/users/*", "method": "DELETE", "action": "deny"}
      ]
    }
  ]
}"#;

/// One header, one host, one token: the example's three requests and the host it does not list.
#[tokio::test]
async fn abac_answers_as_its_example_says() {
    let policy = policy("abac", &[("example.policygroup.json", ABAC)], &[]).await;
    let upstream = Upstream::https(["api.example.com", "other.example.com"]).await;
    let attache = Attache::up(&policy)
        .env("EXAMPLE_API_KEY", "sk-real-secret-key")
        .resolve("api.example.com", &upstream)
        .resolve("other.example.com", &upstream)
        .start()
        .await;
    let ask = |method, host: &str, path: &str, token: &str| {
        Ask::new(Protocol::Http1, method, &format!("http://{host}{path}"))
            .by(Way::HostStyle)
            .header("authorization", format!("Bearer {token}"))
            .send(&attache)
    };

    let user = r#"{"id": 1, "name": "Alice", "email": "a@b.com", "ssn": "123-45-6789", "salary": 95000}"#;
    upstream.tell("/v1/users", Answer::new("application/json", user));
    let reply = ask("GET", "api.example.com", "/v1/users", "proxy-abc123").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let seen: serde_json::Value = serde_json::from_str(&reply.text()).unwrap();
    assert_eq!(seen, serde_json::json!({"id": 1, "name": "Alice", "email": "a@b.com"}));
    let seen = upstream.requests().pop().unwrap();
    assert_eq!((seen.header("x-api-key"), seen.header("authorization")), (Some("sk-real-secret-key"), None));
    assert!(!format!("{:?}", seen.headers).contains("proxy-abc123"), "{seen:?}");
    assert_eq!(records(&attache).pop().unwrap()["agent"], "example");

    for (method, host, path, token, status, reason) in [
        ("DELETE", "api.example.com", "/v1/users/1", "proxy-abc123", 403, "route_not_allowed"),
        ("GET", "api.example.com", "/v1/users", "expired-token-xyz", 401, "invalid_token"),
        ("GET", "other.example.com", "/v1/users", "proxy-abc123", 403, "domain_not_allowed"),
        ("GET", "api.example.com", "/v1/users/1", "proxy-abc123", 403, "route_not_allowed"),
        ("POST", "api.example.com", "/v1/users", "proxy-abc123", 403, "route_not_allowed"),
    ] {
        let reply = ask(method, host, path, token).await;
        assert_eq!((reply.status, &*reply.reason()), (status, reason), "{method} {host}{path} {token}: {reply:?}");
    }
    let reply = ask("DELETE", "api.example.com", "/v1/users/1", "proxy-abc123").await;
    assert_eq!(reply.json()["message"], "route not allowed by policy");
    let reply = ask("GET", "api.example.com", "/v1/users", "expired-token-xyz").await;
    assert_eq!(reply.json()["message"], "invalid or expired proxy token");
    assert_eq!(upstream.requests().len(), 1, "what is refused does not reach the API");
}

/// A list whose order matters, and a `*` that is one segment.
#[tokio::test]
async fn abac_rules_decide_in_their_order() {
    let group = r#"{"localToken": "proxy-abc123", "policies": [{"baseUrl": "https://api.example.com", "rules": [
        {"route": "/v1/users/me", "method": "DELETE", "action": "deny"},
        {"route": "/v1/users/*", "method": "", "action": "allow"},
        {"route": "/v1/users/admin", "method": "GET", "action": "deny"}]}]}"#;
    let policy = policy("abac", &[("group.policygroup.json", group)], &[]).await;
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(&policy).resolve("api.example.com", &upstream).start().await;
    for (method, path, status) in [
        ("DELETE", "/v1/users/me", 403),
        ("GET", "/v1/users/me", 200),
        ("DELETE", "/v1/users/1", 200),
        // The rule before it decides.
        ("GET", "/v1/users/admin", 200),
        ("GET", "/v1/users/1/posts", 403),
        ("GET", "/v1/users", 403),
    ] {
        for protocol in PROTOCOLS {
            let url = format!("https://api.example.com{path}");
            let ask = Ask::new(protocol, method, &url).connect_header("proxy-authorization", "Bearer proxy-abc123");
            let reply = ask.send(&attache).await;
            assert_eq!(reply.status, status, "{method} {path} {protocol:?}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn an_import_that_loses_something_is_refused_with_the_reason() {
    let elsewhere = ABAC.replace(r#""email""#, r#""$.email""#);
    let output = import("abac", &[("example.policygroup.json", &elsewhere)], &[]).await;
    assert_eq!((output.exit, &*output.stdout), (2, ""), "{output:?}");
    assert!(output.stderr.contains("error: `$.email` is not the path of a field"), "{output:?}");

    let unknown = OKTSEC.replace("[credentials, pii]", "[credentials, malware]");
    let output = import("oktsec", &[("oktsec.yaml", &unknown)], &[]).await;
    assert_eq!((output.exit, &*output.stdout), (2, ""), "{output:?}");
    assert!(output.stderr.contains("--without-dlp"), "{output:?}");

    let broken = r#"{"localToken": "proxy-abc123", "policies": ["#;
    let output = import("abac", &[("broken.policygroup.json", broken)], &[]).await;
    assert_eq!((output.exit, &*output.stdout), (2, ""), "{output:?}");
}

/// A directory of groups, as the proxy of that format takes it.
#[tokio::test]
async fn a_directory_of_policy_groups_is_one_policy() {
    let folder = TempDir::new().unwrap();
    for (name, token) in [("one", "0123456789abcdef"), ("two", "fedcba9876543210")] {
        let text = ABAC.replace("proxy-abc123", token);
        std::fs::write(folder.path().join(format!("{name}.policygroup.json")), text).unwrap();
    }
    let path = folder.path().to_str().unwrap();
    let output = run(folder.path(), "abac", &[path], &[]).await;
    assert_eq!(output.exit, 0, "{output:?}");
    assert!(output.stdout.contains("\n  one:\n") && output.stdout.contains("\n  two:\n"), "{output:?}");
}

const OKTSEC: &str = "
forward_proxy:
  enabled: true
  scan_requests: true
  blocked_domains: [pastebin.com, paste.ee, hastebin.com, transfer.sh, file.io]
agents:
  researcher:
    can_message: [coordinator]
    egress:
      allowed_domains: [api.arxiv.org, api.semanticscholar.org, scholar.google.com]
      blocked_categories: [credentials, pii]
      rate_limit: 200
      rate_window: 60
  coder:
    egress:
      allowed_domains: [api.github.com]
      blocked_domains: [raw.githubusercontent.com]
      rate_limit: 2
  coordinator:
    can_message: ['*']
";

#[tokio::test]
async fn oktsec_answers_as_its_example_says() {
    let policy = policy("oktsec", &[("oktsec.yaml", OKTSEC)], &[]).await;
    const HOSTS: [&str; 6] = [
        "api.arxiv.org",
        "api.github.com",
        "other.example",
        "pastebin.com",
        "api.pastebin.com",
        "raw.githubusercontent.com",
    ];
    let upstream = Upstream::https(HOSTS).await;
    let mut setup = Attache::up(&policy);
    for host in HOSTS {
        setup = setup.resolve(host, &upstream);
    }
    let attache = setup.start().await;
    for (agent, host, expected) in [
        ("researcher", "api.arxiv.org", Ok(())),
        ("researcher", "api.github.com", Err((403, "domain_not_allowed"))),
        ("researcher", "other.example", Err((403, "domain_not_allowed"))),
        ("coder", "api.github.com", Ok(())),
        ("coder", "raw.githubusercontent.com", Err((403, "domain_blocked"))),
        ("coordinator", "other.example", Ok(())),
        ("coordinator", "pastebin.com", Err((403, "domain_blocked"))),
        ("coordinator", "api.pastebin.com", Err((403, "domain_blocked"))),
        ("nobody", "api.arxiv.org", Err((401, "unknown_identity"))),
    ] {
        for (way, scheme) in [(Way::Tunnel, "https"), (Way::Absolute, "http")] {
            let before = upstream.requests().len();
            let ask = Ask::get(Protocol::Http1, &format!("{scheme}://{host}/search")).by(way);
            let reply = ask.header("x-oktsec-agent", agent).send(&attache).await;
            let status = expected.map_or_else(|(status, _)| status, |()| 200);
            assert_eq!(reply.status, status, "{agent} {host} {way:?}: {reply:?}");
            let arrived = upstream.requests().split_off(before);
            assert_eq!(arrived.len(), usize::from(expected.is_ok()), "{agent} {host}");
            assert!(arrived.iter().all(|seen| seen.header("x-oktsec-agent").is_none()), "{arrived:?}");
            if let (Err((_, reason)), Request) = (expected, reply.stage) {
                assert_eq!(reply.reason(), reason, "{agent} {host} {way:?}");
            }
        }
    }
    let body = "Here are the results. Also, AWS_ACCESS_KEY=AKIA1234567890ABCDEF";
    for (agent, host) in
        [("researcher", "api.arxiv.org"), ("coder", "api.github.com"), ("coordinator", "other.example")]
    {
        let before = upstream.requests().len();
        let ask = Ask::new(Protocol::Http1, "POST", &format!("https://{host}/submit")).body(body);
        let reply = ask.header("x-oktsec-agent", agent).send(&attache).await;
        assert_eq!((reply.status, &*reply.reason()), (403, "dlp_blocked"), "{agent} {reply:?}");
        let record = records(&attache).pop().unwrap();
        assert_eq!((&record["agent"], &record["rule"]), (&agent.into(), &"aws-access-key-id".into()), "{record}");
        assert_eq!(upstream.requests().len(), before, "{agent}");
    }
    // Two of the coder's requests have passed: that is its limit.
    let ask = Ask::get(Protocol::Http1, "https://api.github.com/").header("x-oktsec-agent", "coder");
    let reply = ask.send(&attache).await;
    assert_eq!((reply.status, reply.header("retry-after").is_some()), (429, true), "{reply:?}");
}

const ONECLI: &str = r#"[
  {"id": "3", "name": "Keep research off GitHub", "hostPattern": "api.github.com", "pathPattern": null,
   "method": null, "action": "block", "enabled": true, "agentId": "cm7"},
  {"id": "2", "name": "Slack cap", "hostPattern": "slack.com", "pathPattern": "/api/chat.postMessage",
   "method": "POST", "action": "rate_limit", "enabled": true, "agentId": null, "rateLimit": 10,
   "rateLimitWindow": "hour"},
  {"id": "1", "name": "Block Gmail deletes", "hostPattern": "gmail.googleapis.com",
   "pathPattern": "/gmail/v1/users/*/messages/*", "method": "DELETE", "action": "block", "enabled": true,
   "agentId": null},
  {"id": "0", "name": "Keep other off itself", "hostPattern": "unused.example", "action": "block",
   "enabled": true, "agentId": "cm8"}
]"#;

#[tokio::test]
async fn onecli_answers_as_its_examples_say() {
    let flags = ["--agent", "cm7=research-agent", "--agent", "cm8=other"];
    let policy = policy("onecli", &[("rules.json", ONECLI)], &flags).await;
    const HOSTS: [&str; 3] = ["api.github.com", "slack.com", "gmail.googleapis.com"];
    let upstream = Upstream::https(HOSTS).await;
    let (research, other) = ("research-0123456789", "other-0123456789");
    let mut setup = Attache::up(&policy).env("RESEARCH_AGENT_TOKEN", research).env("OTHER_TOKEN", other);
    for host in HOSTS {
        setup = setup.resolve(host, &upstream);
    }
    let attache = setup.start().await;
    let ask = |token: &str, method: &str, url: &str| {
        let ask = Ask::new(Protocol::Http1, method, url);
        ask.connect_header("proxy-authorization", &format!("Bearer {token}")).send(&attache)
    };
    let mail = "https://gmail.googleapis.com/gmail/v1/users/me/messages";
    for (token, method, url, status) in [
        (research, "DELETE", format!("{mail}/1"), 403),
        (other, "DELETE", format!("{mail}/1"), 403),
        (other, "DELETE", format!("{mail}/1/"), 403),
        (other, "DELETE", mail.to_owned(), 403),
        (other, "GET", format!("{mail}/1"), 200),
        (research, "GET", "https://api.github.com/repos".to_owned(), 403),
        (other, "GET", "https://api.github.com/repos".to_owned(), 200),
    ] {
        let reply = ask(token, method, &url).await;
        let stages = if status == 200 { vec![Request] } else { vec![Connect, Request] };
        assert!(reply.status == status && stages.contains(&reply.stage), "{token} {method} {url}: {reply:?}");
    }
    let slack = "https://slack.com/api/chat.postMessage";
    for n in 1..=11 {
        let reply = ask(research, "POST", slack).await;
        assert_eq!(reply.status, if n <= 10 { 200 } else { 429 }, "{n}: {reply:?}");
    }
    let reply = ask(other, "POST", slack).await;
    assert_eq!(reply.status, 200, "each agent has its own ten: {reply:?}");
    let reply = ask(research, "GET", "https://slack.com/api/conversations.list").await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// A service by its name alone; its hosts come from the catalogue.
#[tokio::test]
async fn credentials_v2_answers_as_its_examples_say() {
    let body = r#"{"image": "python:3.12-slim", "credentials_v2": {
        "openai": {"key": "sk-real-openai-key", "endpoints": [
            {"methods": ["POST"], "paths": ["/v1/chat/completions"]}, {"methods": ["GET"], "paths": ["/v1/models"]}]},
        "github": {"key": "ghp_hunter2", "endpoints": [
            {"methods": ["GET"], "paths": ["/repos/*"]}, {"methods": ["GET"], "paths": ["/user"]}]}}}"#;
    let policy = policy("credentials-v2", &[("sandbox.json", body)], &[]).await;
    const HOSTS: [&str; 3] = ["api.openai.com", "api.github.com", "other.example"];
    let upstream = Upstream::https(HOSTS).await;
    let mut setup = Attache::up(&policy).env("OPENAI_API_KEY", "sk-one").env("GITHUB_API_KEY", "ghp-two");
    for host in HOSTS {
        setup = setup.resolve(host, &upstream);
    }
    let attache = setup.start().await;
    for (method, url, expected) in [
        ("POST", "https://api.openai.com/v1/chat/completions", Some("Bearer sk-one")),
        ("GET", "https://api.openai.com/v1/models", Some("Bearer sk-one")),
        ("DELETE", "https://api.openai.com/v1/admin/users", None),
        ("GET", "https://api.openai.com/v1/chat/completions", None),
        ("GET", "https://api.github.com/repos/a/b", Some("Bearer ghp-two")),
        ("GET", "https://api.github.com/user", Some("Bearer ghp-two")),
        ("POST", "https://api.github.com/repos/a/b", None),
        ("GET", "https://other.example/", None),
    ] {
        let before = upstream.requests().len();
        let reply = Ask::new(Protocol::Http1, method, url).send(&attache).await;
        let arrived = upstream.requests().split_off(before);
        match expected {
            Some(value) => {
                assert_eq!(reply.status, 200, "{method} {url}: {reply:?}");
                assert_eq!(arrived[0].header("authorization"), Some(value), "{method} {url}");
            }
            None => assert_eq!((reply.status, arrived.len()), (403, 0), "{method} {url}: {reply:?}"),
        }
    }
}
