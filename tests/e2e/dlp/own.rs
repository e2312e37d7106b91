//! What the agent itself sends in `Authorization` and `Cookie`, and what an injection puts in its place.

use super::{TOKEN, assert_untold, finding, passed};
use crate::support::{Ask, PROTOCOLS, Place};

const POLICY: &str = r#"
allowedDomains: [api.example.com, slot.example.com]
dlp: {profiles: {trusting: {ownCredentials: allow}}}
agents:
  ann: {identity: [{header: {name: X-Agent, value: ann, trusted: true}}]}
  bob: {identity: [{header: {name: X-Agent, value: bob, trusted: true}}], dlp: trusting}
credentials:
  - name: key
    envVarKey: KEY
    placeholder: ghp_PLACEHOLDERx2mQwR7tVbZ4nLc8YfJd3HsPa
    injections:
      - {domain: slot.example.com, headerName: Authorization, headerFormat: "Bearer {value}"}
      - {domain: slot.example.com, queryParam: key}
"#;
const HELD: &str = "held-7Fq2mXw9Rt4Yv6Zb8Nc3";
const PLACEHOLDER: &str = "ghp_PLACEHOLDERx2mQwR7tVbZ4nLc8YfJd3HsPa";

async fn place() -> Place {
    Place::with(POLICY, ["api.example.com", "slot.example.com"], |setup| setup.env("KEY", HELD)).await
}

#[tokio::test]
async fn an_agents_own_credential_leaves_only_where_the_policy_says_so() {
    let place = place().await;
    let values = [("authorization", format!("Bearer {TOKEN}")), ("cookie", format!("session={TOKEN}"))];
    for protocol in PROTOCOLS {
        for (name, value) in &values {
            let ask = || Ask::get(protocol, "https://api.example.com/").header(name, value);
            let outcome = place.send(ask().header("x-agent", "ann")).await;
            assert!(outcome.to_string().starts_with("403 own_credentials "), "{outcome:?}");
            assert!(outcome.reply.body.contains("ownCredentials: allow"), "the entry to write: {outcome:?}");
            let rule = outcome.record["rule"].as_str().unwrap();
            assert_eq!(finding(&outcome.record, rule)["location"], format!("header {name}"));
            let outcome = passed(&place, ask().header("x-agent", "bob")).await;
            assert_eq!(outcome.seen.unwrap().header(name), Some(&**value));
            assert_eq!(finding(&outcome.record, rule)["action"], "monitor", "{}", outcome.record);
            // Its own credentials are no leave to send them elsewhere.
            let elsewhere = ask().header("x-agent", "bob").header("x-note", TOKEN);
            assert!(place.send(elsewhere).await.to_string().starts_with("403 dlp_blocked"));
        }
    }
    assert_untold(&place, &[TOKEN]);
}

/// It is for this proxy, and is gone before anybody looks.
#[tokio::test]
async fn what_says_who_an_agent_is_is_no_finding_whatever_its_form() {
    let policy = "
allowedDomains: [api.example.com]
agents:
  ann: {identity: [{token: {env: ANN}}]}
  bob: {identity: [{header: {name: X-Attache-Agent, value: ghp_9Kx2mQwR7tVbZ4nLc8YfJd3HsPa6Ge01uTiW, trusted: true}}]}
";
    let own = "ghp_7Tz4nWqB2rKxV9mLc5YdJf8HsPa3Ge61oSiU";
    let place = Place::with(policy, ["api.example.com"], |setup| setup.env("ANN", own)).await;
    let token = format!("Bearer {own}");
    for protocol in PROTOCOLS {
        let get = |scheme: &str| Ask::get(protocol, &format!("{scheme}://api.example.com/"));
        for (agent, ask) in [
            ("ann", get("https").connect_header("proxy-authorization", &token)),
            ("ann", get("http").header("proxy-authorization", &token)),
            ("ann", get("http").header("authorization", &token)),
            ("bob", get("https").header("x-attache-agent", TOKEN)),
        ] {
            let outcome = passed(&place, ask.clone()).await;
            assert_eq!(outcome.record["agent"], agent, "{ask:?}");
            assert!(outcome.record["findings"].is_null(), "{}", outcome.record);
            let seen = format!("{:?}", outcome.seen);
            assert!(!seen.contains("ghp_"), "{seen}");
            // Elsewhere it is what it looks like.
            let value = if agent == "ann" { own } else { TOKEN };
            let reply = ask.header("x-note", value).send(&place.attache).await;
            assert_eq!((reply.status, &*reply.reason()), (403, "dlp_blocked"), "{reply:?}");
        }
    }
    assert_untold(&place, &[own]);
}

#[tokio::test]
async fn what_an_injection_replaces_is_not_looked_at_and_a_placeholder_is_none() {
    let place = place().await;
    for protocol in PROTOCOLS {
        for own in [TOKEN, PLACEHOLDER, HELD] {
            let ask = Ask::get(protocol, &format!("https://slot.example.com/status/200?a=b&key={own}"))
                .header("x-agent", "ann")
                .header("authorization", format!("Bearer {own}"));
            let outcome = passed(&place, ask).await;
            let seen = outcome.seen.unwrap();
            assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {HELD}")));
            assert_eq!(seen.path, format!("/status/200?a=b&key={HELD}"));
            assert!(outcome.record["findings"].is_null(), "{}", outcome.record);
        }
        for (name, value) in [("x-note", PLACEHOLDER.to_owned()), ("authorization", format!("Bearer {PLACEHOLDER}"))] {
            let ask = Ask::get(protocol, &format!("https://api.example.com/?q={PLACEHOLDER}"));
            passed(&place, ask.header("x-agent", "ann").header(name, value)).await;
        }
    }
}
