//! What `attache explain` says of a request is what becomes of it: the same status, reason, rule, agent and credentials
//! as for the same request through Envoy. It says so without a network, and without one variable or secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::support::attache::attache;
use crate::support::{Ask, Attache, Protocol, Upstream, script};

/// `HASH-OF-ann` stands for the SHA-256 of ann's token.
const POLICY: &str = r#"
organization:
  blockedDomains: [paste.example.com]
  allowedDomains: ["*.example.com", 10.1.2.3]
  rules: [{name: No traces, host: "*", path: /trace, action: block}]
allowedDomains:
  - api.example.com
  - plain.example.com
  - 10.1.2.3
  - outside.example.org
  - {pattern: jira.example.com, httpRestrictions: [{method: GET, path: "/rest/*"}]}
  - {pattern: old.example.com, action: deny}
blockedDomains: [evil.example.com]
agents:
  ann:
    identity: [{token: {sha256: HASH-OF-ann}}]
    allowedDomains: [ann.example.com]
  bob: {identity: [{token: {sha256: HASH-OF-bob}}]}
  mon: {identity: [{token: {sha256: HASH-OF-mon}}], mode: monitor}
rules:
  - {name: Never more, host: api.example.com, path: /capped, action: {rateLimit: {requests: 4, per: hour, weight: bytes}}}
  - {name: Some, host: api.example.com, path: /some, action: {rateLimit: {requests: 100, per: hour}}}
  - {name: Ask, host: api.example.com, path: /asks, action: {approval: {hold: 0s}}}
  - {name: Watched, host: api.example.com, path: /watched, mode: monitor, action: block}
  - {name: Watch, host: api.example.com, path: /watch, action: monitor}
  - {name: No deletes, host: api.example.com, method: DELETE, action: block}
  - {name: Not bob, host: api.example.com, path: /private/*, agents: [bob], action: block}
credentials:
  - name: key
    envVarKey: KEY
    endpoints: [{methods: [GET, DELETE], paths: [/]}, {methods: [POST], paths: [/capped, /asks, /some]}]
    injections:
      - {domain: api.example.com, headerName: X-Key, headerFormat: "{value}"}
      - {domain: api.example.com, path: /query, queryParam: key}
"#;

const NAMES: [&str; 9] = [
    "api.example.com",
    "plain.example.com",
    "ann.example.com",
    "jira.example.com",
    "old.example.com",
    "evil.example.com",
    "paste.example.com",
    "other.example.com",
    "outside.example.org",
];

/// Whose token is shown, method, URL, body, and where it has to come to: so that no case is there for nothing.
type Case = (Option<&'static str>, &'static str, &'static str, &'static str, Result<(), &'static str>);

const CASES: &[Case] = &[
    (Some("ann"), "GET", "https://api.example.com/x?y=z", "", Ok(())),
    (Some("ann"), "GET", "http://api.example.com/x", "", Ok(())),
    (Some("ann"), "GET", "https://API.example.com./query", "", Ok(())),
    (Some("ann"), "GET", "https://api.example.com/a/%2e%2e/watched", "", Ok(())),
    (Some("ann"), "GET", "https://api.example.com//watch", "", Ok(())),
    (Some("ann"), "POST", "https://api.example.com/capped", "abc", Ok(())),
    (Some("ann"), "POST", "https://api.example.com/some", "", Ok(())),
    (Some("ann"), "GET", "https://ann.example.com/", "", Ok(())),
    (Some("ann"), "GET", "https://jira.example.com/rest/api", "", Ok(())),
    (Some("mon"), "GET", "https://jira.example.com/api", "", Ok(())),
    (Some("mon"), "DELETE", "https://api.example.com/x", "", Ok(())),
    (Some("bob"), "GET", "https://ann.example.com/", "", Err("domain_not_allowed")),
    (Some("bob"), "GET", "http://ann.example.com/", "", Err("domain_not_allowed")),
    (Some("bob"), "GET", "https://api.example.com/Private/x;a=b", "", Err("rule_blocked")),
    (Some("ann"), "GET", "https://other.example.com/", "", Err("domain_not_allowed")),
    (Some("ann"), "GET", "https://old.example.com/", "", Err("domain_blocked")),
    (Some("ann"), "GET", "http://sub.evil.example.com/", "", Err("domain_blocked")),
    (Some("ann"), "GET", "https://paste.example.com/", "", Err("domain_blocked")),
    (Some("mon"), "GET", "http://paste.example.com/", "", Err("domain_blocked")),
    (Some("ann"), "GET", "https://outside.example.org/", "", Err("outside_organization")),
    (Some("mon"), "GET", "https://api.example.com/trace", "", Err("rule_blocked")),
    (Some("ann"), "GET", "https://jira.example.com/rest/../api", "", Err("route_not_allowed")),
    (Some("ann"), "PUT", "https://jira.example.com/rest/api", "x", Err("route_not_allowed")),
    (Some("ann"), "DELETE", "https://api.example.com/x", "", Err("rule_blocked")),
    (Some("ann"), "POST", "https://api.example.com/x", "", Err("endpoint_not_allowed")),
    (Some("ann"), "POST", "https://api.example.com/capped", "abcde", Err("rate_limited")),
    (Some("ann"), "POST", "https://api.example.com/asks", "{}", Err("approval_pending")),
    (Some("ann"), "GET", "https://10.1.2.3/", "", Err("address_forbidden")),
    (Some("ann"), "GET", "http://127.1/", "", Err("malformed_authority")),
    (Some("ann"), "GET", "https://api.example.com/a%252fb", "", Err("malformed_path")),
    (Some("eve"), "GET", "https://api.example.com/x", "", Err("invalid_token")),
    (Some("eve"), "GET", "http://api.example.com/x", "", Err("invalid_token")),
    (None, "GET", "https://api.example.com/x", "", Err("no_identity")),
    (None, "GET", "http://api.example.com/x", "", Err("no_identity")),
];

/// A header field.
type Shown = (&'static str, String);

fn token(agent: &str) -> String {
    format!("token-of-{agent}-0123456789")
}

fn policy() -> String {
    ["ann", "bob", "mon"].iter().fold(POLICY.to_owned(), |policy, agent| {
        let hash: String = Sha256::digest(token(agent)).iter().map(|byte| format!("{byte:02x}")).collect();
        policy.replace(&format!("HASH-OF-{agent}"), &format!("\"{hash}\""))
    })
}

#[tokio::test]
async fn it_says_of_every_request_what_becomes_of_it() {
    let upstream = Upstream::https(NAMES).await;
    let mut setup = Attache::up(&policy()).env("KEY", "s3cret");
    for name in NAMES {
        setup = setup.resolve(name, &upstream);
    }
    let attache = setup.start().await;

    for (agent, method, url, body, expected) in CASES {
        let case = format!("{agent:?} {method} {url} {body}");
        let shown: Vec<_> =
            agent.iter().map(|agent| ("Proxy-Authorization", format!("Bearer {}", token(agent)))).collect();
        let explained = explain(&attache, &[], &shown, method, url, body).await;
        let (lived, record) = live(&attache, &shown, method, url, body).await;
        assert_eq!(lived["reason"], expected.err().map_or(Value::Null, |reason| json!(reason)), "{case}: {record}");
        assert_eq!(explained, lived, "{case}: {record}");
        // Whoever is named is decided on as who shows the token.
        if let Some(agent) = agent.filter(|agent| *agent != "eve") {
            assert_eq!(explain(&attache, &["--agent", agent], &[], method, url, body).await, explained, "{case}");
        }
    }
    // What was not admitted never arrived, and all else did.
    let admitted = CASES.iter().filter(|(.., expected)| expected.is_ok()).count();
    assert_eq!(upstream.requests().len(), admitted);
}

/// Whoever calls is who live traffic takes them for, by whatever they show.
#[tokio::test]
async fn it_takes_callers_for_who_they_are() {
    let upstream = Upstream::https(["api.example.com", "web.example.com"]).await;
    let listed = policy().replace("agents:\n", "agents:\n  web:\n    identity: [{header: {name: X-Agent, value: web, trusted: true}}]\n    allowedDomains: [web.example.com]\n");
    let bearer = format!("Bearer {}", token("ann"));
    let basic = |user: &str| format!("Basic {}", STANDARD.encode(format!("{user}:{}", token("ann"))));
    let authorization = |value: &str| vec![("Authorization", value.to_owned())];
    let proxy = |value: &str| vec![("Proxy-Authorization", value.to_owned())];
    let web = ("X-Agent", "web".to_owned());
    let (api, inside) = ("http://api.example.com/x", "https://api.example.com/x");
    let by_source = "allowedDomains: [api.example.com]\nagents: {here: {identity: [{sourceAddress: 127.0.0.0/8}]}}\n";
    let policies = [
        (
            listed.clone(),
            &[][..],
            vec![
                (proxy(&basic("ann")), api),
                (proxy(&basic("bob")), inside),
                (proxy("Bearer unknown"), inside),
                (proxy("Digest x"), api),
                (authorization(&bearer), api),
                (authorization(&bearer), inside),
                (authorization("Bearer its-own"), api),
                (authorization("Bearer its-own"), inside),
                (vec![web.clone()], "https://web.example.com/"),
                (vec![web.clone()], "http://web.example.com/"),
                (vec![("X-Agent", "wob".to_owned())], api),
                ([proxy(&bearer), vec![web.clone()]].concat(), inside),
                ([proxy(&bearer), authorization("Bearer its-own")].concat(), inside),
                (vec![("X-HTTP-Method-Override", "DELETE".to_owned()), web.clone()], api),
            ],
        ),
        (
            format!("{listed}defaultAgent: ann\nproxyChallenge: true\n"),
            &[],
            vec![(vec![], api), (vec![], inside), (vec![web], api), (authorization("Bearer its-own"), api)],
        ),
        (format!("{listed}proxyChallenge: true\n"), &[], vec![(vec![], api), (vec![], inside)]),
        (
            by_source.to_owned(),
            &["--source", "127.0.0.1"],
            vec![(vec![], api), (vec![], inside), (authorization("Bearer its-own"), api)],
        ),
        ("allowedDomains: [api.example.com]\n".to_owned(), &[], vec![(vec![], inside), (proxy(&bearer), inside)]),
    ];
    let mut seen = Vec::new();
    for (policy, flags, cases) in policies {
        let setup = Attache::up(&policy).env("KEY", "s3cret");
        let setup = setup.resolve("api.example.com", &upstream).resolve("web.example.com", &upstream);
        let attache = setup.start().await;
        for (shown, url) in cases {
            let (lived, record) = live(&attache, &shown, "GET", url, "").await;
            let explained = explain(&attache, flags, &shown, "GET", url, "").await;
            assert_eq!(explained, lived, "{shown:?} {url}: {record}\n{policy}");
            seen.push(lived["reason"].as_str().unwrap_or("allowed").to_owned());
        }
    }
    for outcome in ["allowed", "invalid_token", "no_identity", "unknown_identity", "identity_conflict"] {
        assert!(seen.iter().any(|seen| seen == outcome), "no case for {outcome}: {seen:?}");
    }
}

/// Status, reason, rule, what is only watched, agent and credentials, as live traffic has them; and the record.
async fn live(attache: &Attache, shown: &[Shown], method: &str, url: &str, body: &str) -> (Value, Value) {
    let mut ask = Ask::new(Protocol::Http1, method, url).body(body);
    for (name, value) in shown {
        ask = match name.starts_with("Proxy-") && url.starts_with("https") {
            true => ask.connect_header(name, value),
            false => ask.header(name, value),
        };
    }
    let before = attache.records().len();
    let reply = ask.send(attache).await;
    let mut all = attache.records();
    let record = all.pop().unwrap();
    assert_eq!(all.len(), before, "one record for each request: {record}");
    let would = &record["would"];
    let lived = json!({
        "status": if record["decision"] == "allow" { Value::Null } else { json!(reply.status) },
        "decision": record["decision"],
        "reason": record["reason"],
        "rule": record["rule"],
        "would": if would.is_null() { Value::Null } else { json!([would["reason"], would["rule"]]) },
        "agent": record["agent"],
        "credentials": record["credential"],
    });
    if record["decision"] == "allow" {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    (lived, record)
}

/// The same, as `attache explain` says it.
async fn explain(place: &Attache, flags: &[&str], shown: &[Shown], method: &str, url: &str, body: &str) -> Value {
    let mut command: Command = attache(std::path::Path::new("/nonexistent"));
    command.env_clear().args(["explain", "-o", "json", "--exit-code", "--policy"]).arg(place.policy()).args(flags);
    command.args(shown.iter().flat_map(|(name, value)| ["-H".to_owned(), format!("{name}: {value}")]));
    if !body.is_empty() {
        command.args(["-d", body]);
    }
    let output = script::output(command.args([method, url])).await;
    let said: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(output.exit, if said["admitted"] == true { 0 } else { 3 }, "{output:?}");
    let would = &said["would"];
    // A credential is on record where it goes out.
    let credentials = said["credentials"].as_array().unwrap().iter().filter(|_| said["admitted"] == true);
    let credentials: Vec<_> = credentials.map(|credential| credential["name"].as_str().unwrap()).collect();
    json!({
        "status": said["status"],
        "decision": said["decision"],
        "reason": said["reason"],
        "rule": said["rule"]["rule"],
        "would": if would.is_null() { Value::Null } else { json!([would["reason"], would["rule"]["rule"]]) },
        "agent": said["agent"],
        "credentials": if credentials.is_empty() { Value::Null } else { json!(credentials.join(",")) },
    })
}
