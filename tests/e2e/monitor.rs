//! What is only watched passes, and the record says what would have become of it. Credentials never go with it, and
//! what is not the policy's own to relax stays refused.

use serde_json::json;

use crate::support::{Ask, PROTOCOLS, Place, Protocol, Stage, Way, every_way};

const RULES: &str = r#"
allowedDomains: [api.example.com]
rules:
  - {name: Watch, host: api.example.com, path: /watched, action: monitor}
  - {name: No, host: api.example.com, path: /blocked, action: block, mode: monitor}
  - {name: Ask, host: api.example.com, path: /asked, action: {approval: {hold: 20s}}, mode: monitor}
  - {name: Really, host: api.example.com, path: /really, action: block}
  - {name: Not really, host: api.example.com, path: /really, action: block, mode: monitor}
credentials:
  - {name: key, envVarKey: KEY, injections: [{domain: api.example.com, headerName: X-Key, headerFormat: "{value}"}]}
"#;

#[tokio::test]
async fn a_rule_that_watches_lets_pass_and_says_what_it_would_have_done() {
    let place = Place::with(RULES, ["api.example.com"], |setup| setup.env("KEY", "s3cret")).await;
    for protocol in PROTOCOLS {
        for (path, would, watched, key) in [
            // Its whole action is to watch: it admits nothing by itself, and the credential goes along.
            ("/watched", "", json!(["rules[Watch]"]), Some("s3cret")),
            ("/blocked", "rule_blocked rules[No]", json!(null), None),
            ("/asked", "approval_pending rules[Ask]", json!(null), None),
            ("/other", "", json!(null), Some("s3cret")),
        ] {
            for ask in every_way(protocol, "POST", &format!("api.example.com{path}")) {
                let outcome = place.send(ask.header("x-key", "own").body("x")).await;
                assert_eq!((outcome.to_string(), outcome.would()), ("200".into(), would.into()), "{path}");
                let record = &outcome.record;
                assert_eq!(record["watched"], watched, "{path} {record}");
                let credential = if key.is_some() { json!("key") } else { json!(null) };
                assert_eq!(record["credential"], credential, "{path} {record}");
                let seen = outcome.seen.unwrap();
                // Without the credential the slot is as the agent left it.
                assert_eq!(seen.header("x-key"), Some(key.unwrap_or("own")), "{path}");
            }
        }
        // What is enforced beside it is enforced.
        let really = Ask::get(protocol, "https://api.example.com/really");
        place.check([(really, "403 rule_blocked rules[Really]")]).await;
    }
    let pending = ::attache::control::list_approvals(&place.attache.socket()).await.unwrap();
    assert_eq!(pending, [], "nobody is asked");
}

const AGENT: &str = r#"
organization:
  blockedDomains: [pastebin.example]
  allowedDomains:
    - "*.example"
    - {pattern: ceiling.example, httpRestrictions: [{method: GET}]}
  rules:
    - {name: Never, host: "*.example", path: /never, action: block}
    - {name: Seldom, host: "*.example", path: /seldom, action: {rateLimit: {requests: 1, per: hour}}}
    - {name: Asked, host: "*.example", path: /asked, action: {approval: {hold: 0s}}}
allowedDomains:
  - api.example
  - {pattern: narrow.example, httpRestrictions: [{method: GET, path: /a}]}
  - ceiling.example
blockedDomains: [blocked.example]
agents:
  watched:
    identity: [{header: {name: X-Agent, value: watched, trusted: true}}]
    mode: monitor
    rateLimit: {requests: 1000, per: hour}
  strict: {identity: [{header: {name: X-Agent, value: strict, trusted: true}}]}
rules:
  - {name: No, host: api.example, path: /no, action: block}
  - {name: Ask, host: api.example, path: /ask, action: {approval: {hold: 0s}}}
  - {name: Cap, host: api.example, path: /cap, action: {rateLimit: {requests: 1, per: hour}}}
credentials:
  - name: key
    envVarKey: KEY
    injections: [{domain: "*.example", headerName: X-Key, headerFormat: "{value}"}]
  - name: bounded
    envVarKey: KEY
    injections: [{domain: "*.example", path: "/bounded/**", headerName: X-Other, headerFormat: "{value}"}]
    endpoints: [{methods: [POST]}]
"#;
const HOSTS: [&str; 7] = [
    "api.example",
    "narrow.example",
    "ceiling.example",
    "blocked.example",
    "unlisted.example",
    "pastebin.example",
    "outside.test",
];

async fn agents() -> Place {
    Place::with(AGENT, HOSTS, |setup| setup.env("KEY", "s3cret")).await
}

/// What this agent would have been refused passes for it, and stays refused to the next.
#[tokio::test]
async fn an_agent_that_is_watched_passes_without_credentials_and_no_other_agent_does() {
    let place = agents().await;
    for protocol in PROTOCOLS {
        for (method, target, reason, rule) in [
            ("GET", "unlisted.example/", "domain_not_allowed", None),
            ("GET", "blocked.example/", "domain_blocked", Some("blockedDomains[blocked.example]")),
            ("GET", "narrow.example/b", "route_not_allowed", Some("allowedDomains[narrow.example]")),
            ("POST", "api.example/no", "rule_blocked", Some("rules[No]")),
            ("POST", "api.example/ask", "approval_pending", Some("rules[Ask]")),
            ("GET", "api.example/bounded/x", "endpoint_not_allowed", Some("credentials[bounded].endpoints")),
        ] {
            let words = [reason, rule.unwrap_or_default()].join(" ");
            let words = words.trim_end();
            for ask in every_way(protocol, method, target) {
                let watched = place.send(ask.clone().header("x-agent", "watched")).await;
                assert_eq!((watched.to_string(), watched.would()), ("200".into(), words.into()), "{target}");
                assert!(watched.record["credential"].is_null(), "{target}: {}", watched.record);
                let seen = watched.seen.unwrap();
                assert_eq!((seen.header("x-key"), seen.header("x-agent")), (None, None), "{target}");
                assert_eq!(seen.sni.as_deref(), Some(target.split('/').next().unwrap()), "it left in plaintext");
                let strict = place.send(ask.header("x-agent", "strict")).await.to_string();
                assert_eq!(strict, format!("403 {words}"), "{target}");
            }
        }
        // What its policy lets pass anyway has its credential.
        let allowed = place.send(Ask::get(protocol, "https://api.example/").header("x-agent", "watched")).await;
        assert_eq!((allowed.would(), allowed.seen.unwrap().header("x-key")), (String::new(), Some("s3cret")));
    }
    let cap = || Ask::get(Protocol::Http1, "https://api.example/cap").header("x-agent", "watched");
    for would in ["", "rate_limited rules[Cap]", "rate_limited rules[Cap]"] {
        let outcome = place.send(cap()).await;
        assert_eq!((outcome.to_string(), outcome.would()), ("200".into(), would.into()));
    }
}

#[tokio::test]
async fn organization_identity_and_form_are_never_only_watched() {
    let place = agents().await;
    for protocol in PROTOCOLS {
        let ask = |url: &str| Ask::get(protocol, url).header("x-agent", "watched");
        let shown = |url: &str| ask(url).connect_header("X-Agent", "watched");
        let outside = "outside_organization organization.allowedDomains";
        let paste = "domain_blocked organization.blockedDomains[pastebin.example]";
        let limited = "429 rate_limited organization.rules[Seldom]";
        place
            .check([
                (ask("https://outside.test/"), format!("CONNECT 403 {outside}")),
                (ask("http://outside.test/"), format!("403 {outside}")),
                (ask("https://pastebin.example/"), format!("CONNECT 403 {paste}")),
                (ask("http://pastebin.example/"), format!("403 {paste}")),
                (ask("http://pastebin.example/").by(Way::PlainTunnel), format!("CONNECT 403 {paste}")),
                (
                    Ask::new(protocol, "POST", "https://ceiling.example/").header("x-agent", "watched"),
                    "403 outside_organization organization.allowedDomains[ceiling.example]".into(),
                ),
                (ask("https://api.example/never"), "403 rule_blocked organization.rules[Never]".into()),
                (ask("https://unlisted.example/never"), "403 rule_blocked organization.rules[Never]".into()),
                (ask("https://api.example/asked"), "403 approval_pending organization.rules[Asked]".into()),
                (
                    ask("https://api.example/seldom"),
                    if protocol == Protocol::Http1 { "200".into() } else { limited.into() },
                ),
                (ask("https://api.example/seldom"), limited.into()),
                (shown("https://api.example/").sni("narrow.example"), "421 authority_mismatch".into()),
                (ask("https://api.example/a%2fb"), "400 malformed_request".into()),
            ])
            .await;
        // Nobody, somebody unknown, and two at once.
        for (name, ask) in [
            ("nobody", Ask::get(protocol, "https://api.example/")),
            ("unknown", Ask::get(protocol, "https://api.example/").header("x-agent", "mallory")),
            ("another inside", shown("https://api.example/").header("x-agent", "strict")),
        ] {
            let outcome = place.send(ask).await;
            assert_eq!((outcome.reply.stage, outcome.reply.status), (Stage::Request, 401), "{name}: {outcome:?}");
        }
    }
}
