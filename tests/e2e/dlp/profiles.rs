//! What a policy says is done: record, replace, block, let pass.

use sha2::{Digest, Sha256};

use super::{KEY, RULE, TOKEN, assert_untold, base64, finding, passed, refused};
use crate::support::{Ask, PROTOCOLS, Place, Protocol};

const HOST: &str = "api.example.com";
const MASK: &str = "[REDACTED:aws-access-key-id]";

fn policy(more: &str) -> String {
    format!("allowedDomains: [{HOST}, other.example, api.openai.com]\n{more}")
}

async fn place(more: &str) -> Place {
    Place::new(&policy(more), [HOST, "other.example", "api.openai.com"]).await
}

fn post(protocol: Protocol, host: &str, content_type: &str, body: impl AsRef<[u8]>) -> Ask {
    Ask::new(protocol, "POST", &format!("https://{host}/things")).header("content-type", content_type).whole_body(body)
}

#[tokio::test]
async fn monitor_puts_on_record_and_lets_pass() {
    let place = place("dlp: {profiles: {default: {mode: monitor}}}").await;
    for protocol in PROTOCOLS {
        let body = format!(r#"{{"a":"{KEY}"}}"#);
        let outcome = passed(&place, post(protocol, HOST, "application/json", &body)).await;
        assert_eq!(outcome.seen.unwrap().text(), body);
        let found = finding(&outcome.record, RULE);
        assert_eq!((&found["location"], &found["action"]), (&"body.$.a".into(), &"monitor".into()), "{found}");
    }
    assert_untold(&place, &[KEY]);
}

#[tokio::test]
async fn redact_replaces_and_the_message_stays_what_it_was() {
    let place = place("dlp: {profiles: {default: {requests: {credentials: redact}}}}").await;
    let encoded = base64(format!("key={KEY}"));
    for protocol in PROTOCOLS {
        for (content_type, body, expected) in [
            (
                "application/json",
                format!(r#"{{"z":1.50, "a":"it is {KEY}, \u00e9","n":[{{"b":"{KEY}"}}]}}"#),
                format!(r#"{{"z":1.50, "a":"it is {MASK}, \u00e9","n":[{{"b":"{MASK}"}}]}}"#),
            ),
            ("application/json", format!(r#"{{"a":"{encoded}"}}"#), format!(r#"{{"a":"{MASK}"}}"#)),
            ("text/plain", format!("it is {KEY}, he said"), format!("it is {MASK}, he said")),
        ] {
            let outcome = passed(&place, post(protocol, HOST, content_type, &body)).await;
            let seen = outcome.seen.unwrap();
            assert_eq!(seen.text(), expected);
            assert_eq!(seen.header("content-length"), Some(&*expected.len().to_string()));
            assert_eq!(finding(&outcome.record, RULE)["action"], "redact", "{}", outcome.record);
        }
        let form = format!("a=b+c&k={KEY}&z=%C3%A9");
        let outcome = passed(&place, post(protocol, HOST, "application/x-www-form-urlencoded", &form)).await;
        let text = outcome.seen.unwrap().text();
        let read = text.replace("%5B", "[").replace("%5D", "]").replace("%3A", ":");
        assert_eq!(read, form.replace(KEY, MASK), "{text}");

        let parts = |value: &str| {
            let part =
                |head: &str, text: &str| format!("--b1\r\nContent-Disposition: form-data; {head}\r\n\r\n{text}\r\n");
            let file = part("name=\"f\"; filename=\"a.txt\"", &format!("it is {value}, he said"));
            format!("{}{file}{}--b1--\r\n", part("name=\"k\"", value), part("name=\"z\"", "\u{e9}"))
        };
        let ask = post(protocol, HOST, "multipart/form-data; boundary=b1", parts(KEY));
        let seen = passed(&place, ask).await.seen.unwrap();
        assert_eq!(seen.text(), parts(MASK));
        assert_eq!(seen.header("content-length"), Some(&*parts(MASK).len().to_string()));

        let ask = Ask::get(protocol, &format!("https://{HOST}/x?a=1&k={KEY}&z=2")).header("x-note", format!("k {KEY}"));
        let seen = passed(&place, ask).await.seen.unwrap();
        assert_eq!(seen.path, format!("/x?a=1&k={}&z=2", MASK.replace('[', "%5B").replace(']', "%5D")));
        assert_eq!(seen.header("x-note"), Some(&*format!("k {MASK}")));

        // Nobody would take these for what they were.
        let signed = post(protocol, HOST, "application/json", format!(r#"{{"a":"{KEY}"}}"#))
            .header("content-digest", "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:");
        refused(&place, signed, RULE, "body.$.a").await;
        let compressed =
            post(protocol, HOST, "text/plain", super::gzip(format!("it is {KEY}"))).header("content-encoding", "gzip");
        refused(&place, compressed, RULE, "body → gzip").await;
        refused(&place, Ask::get(protocol, &format!("https://{HOST}/{KEY}")), RULE, "path").await;
    }
    assert_untold(&place, &[KEY]);
}

/// A body that is not held is replaced on its way.
#[tokio::test]
async fn redact_replaces_in_a_body_that_is_not_held() {
    let place = place("dlp: {profiles: {default: {requests: {credentials: redact}}}}").await;
    for protocol in PROTOCOLS {
        let filler = "some words, and some more of them. ".repeat(40_000);
        let body = format!("{filler}{KEY} {filler}");
        let seen = passed(&place, post(protocol, HOST, "text/plain", &body)).await.seen.unwrap();
        assert!(seen.complete);
        assert!(seen.text() == body.replace(KEY, MASK), "{} bytes", seen.body.len());
    }
}

#[tokio::test]
async fn exemptions_pass_where_they_say_and_nowhere_else() {
    let sha256: String = Sha256::digest(TOKEN).iter().map(|byte| format!("{byte:02x}")).collect();
    let place = place(&format!(
        r#"
dlp:
  rules:
    - id: acme-key
      category: custom.acme
      keywords: [acme_]
      pattern: "acme_[A-Za-z0-9]{{24}}"
      examples: {{match: ["key=acme_x7Kp2mQw9Rt4Yv6Zb8Nc3Lf5"], noMatch: [acme_handbook]}}
  allow:
    - {{rule: {RULE}, host: {HOST}, path: /things, agents: [ann], reason: it makes them}}
    - {{valueSha256: {sha256}, reason: it opens nothing}}
  profiles: {{quiet: {{requests: {{acme-key: off, pii: off}}}}}}
agents:
  ann: {{identity: [{{header: {{name: X-Agent, value: ann, trusted: true}}}}]}}
  bob: {{identity: [{{header: {{name: X-Agent, value: bob, trusted: true}}}}], dlp: quiet}}
  off: {{identity: [{{header: {{name: X-Agent, value: off, trusted: true}}}}], dlp: off}}
"#
    ))
    .await;
    let own = "acme_k3Rq8Zw2Xm7Vb4Nt6Yc9Lf1J";
    let ssn = "my social security number is 536-22-8714";
    for protocol in PROTOCOLS {
        for (agent, host, text, rule) in [
            ("ann", HOST, KEY, ""),
            ("bob", HOST, KEY, RULE),
            ("ann", "other.example", KEY, RULE),
            ("ann", "other.example", TOKEN, ""),
            ("bob", HOST, TOKEN, ""),
            ("ann", HOST, own, "acme-key"),
            ("bob", HOST, own, ""),
            ("ann", HOST, ssn, "pii-us-ssn"),
            ("bob", HOST, ssn, ""),
            ("off", HOST, ssn, ""),
            ("off", HOST, KEY, ""),
        ] {
            let ask = post(protocol, host, "text/plain", format!("it is {text}.")).header("x-agent", agent);
            let expected = if rule.is_empty() { "200".to_owned() } else { format!("403 dlp_blocked {rule}") };
            assert_eq!(place.send(ask).await.to_string(), expected, "{agent} {host} {text}");
        }
        let elsewhere = Ask::new(protocol, "POST", &format!("https://{HOST}/others")).header("x-agent", "ann");
        assert_eq!(place.send(elsewhere.whole_body(KEY)).await.to_string(), format!("403 dlp_blocked {RULE}"));
    }
}

#[tokio::test]
async fn what_documentation_prints_may_be_told_to_a_language_model_alone() {
    let place = place("").await;
    let text = "explain AKIAIOSFODNN7EXAMPLE to me";
    let chat = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#);
    for protocol in PROTOCOLS {
        let outcome = passed(&place, post(protocol, "api.openai.com", "application/json", &chat)).await;
        assert_eq!(finding(&outcome.record, RULE)["action"], "monitor", "{}", outcome.record);
        refused(&place, post(protocol, HOST, "application/json", &chat), RULE, "body.$.messages[0].content").await;
        let real = chat.replace("AKIAIOSFODNN7EXAMPLE", KEY);
        refused(
            &place,
            post(protocol, "api.openai.com", "application/json", &real),
            RULE,
            "body.$.messages[0].content",
        )
        .await;
    }
}

/// A conversation is sent again with each turn: what was clean stays so, and what is new is looked at.
#[tokio::test]
async fn a_long_conversation_is_looked_into_at_every_turn() {
    let place = place("").await;
    let turn =
        |at: usize, text: &str| format!(r#"{{"role":"user","content":"{at}: {} {text}"}}"#, "some words. ".repeat(60));
    for protocol in PROTOCOLS {
        let mut turns = Vec::new();
        for at in 0..4 {
            turns.push(turn(at, "and no more"));
            let chat = format!(r#"{{"model":"m","messages":[{}]}}"#, turns.join(","));
            passed(&place, post(protocol, "api.openai.com", "application/json", &chat)).await;
            let astray = [&turns[..], &[turn(at, KEY)]].concat().join(",");
            let chat = format!(r#"{{"model":"m","messages":[{astray}]}}"#);
            let ask = post(protocol, "api.openai.com", "application/json", &chat);
            refused(&place, ask, RULE, &format!("body.$.messages[{}].content", at + 1)).await;
        }
    }
    assert_untold(&place, &[KEY]);
}

#[tokio::test]
async fn a_body_that_cannot_be_held_is_refused_where_the_policy_says_so() {
    let place = place("dlp: {profiles: {default: {overBuffer: block}}}").await;
    for protocol in PROTOCOLS {
        let outcome = place.send(post(protocol, HOST, "text/plain", vec![b'x'; 2 << 20])).await;
        assert_eq!(outcome.to_string(), "413 body_too_large");
        let unstated = Ask::new(protocol, "POST", &format!("https://{HOST}/things")).streamed_body("hello");
        assert_eq!(place.send(unstated).await.to_string(), "413 body_too_large");
        passed(&place, post(protocol, HOST, "text/plain", vec![b'x'; 900_000])).await;
    }
}
