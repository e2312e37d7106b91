//! A credential that attaché holds leaves through its slot alone, and does not come back.

use tempfile::NamedTempFile;

use super::{HELD, assert_untold, base64, brotli, finding, gzip, hex, passed};
use crate::support::upstream::Answer;
use crate::support::{Ask, PROTOCOLS, Place, Protocol, until};

const HOST: &str = "api.example.com";
const BAIT: &str = "bait-4Wd8sGh2Kp6Qz1Xv9Bn3Mc7Rt5";
const RULE: &str = "known-secret:key";

const POLICY: &str = r#"
allowedDomains: [api.example.com, other.example]
dlp: {canaries: [{name: bait, env: BAIT}]}
agents:
  ann: {identity: [{header: {name: X-Agent, value: ann, trusted: true}}]}
  off: {identity: [{header: {name: X-Agent, value: off, trusted: true}}], dlp: off}
credentials:
  - name: key
    envVarKey: KEY
    injections: [{domain: api.example.com, headerName: Authorization, headerFormat: "Bearer {value}"}]
"#;

async fn place() -> Place {
    Place::with(POLICY, [HOST, "other.example"], |setup| setup.env("KEY", HELD).env("BAIT", BAIT)).await
}

#[tokio::test]
async fn it_does_not_leave_elsewhere_however_it_is_written() {
    let place = place().await;
    let reversed: String = HELD.chars().rev().collect();
    let (first, second) = HELD.split_at(15);
    for protocol in PROTOCOLS {
        for host in [HOST, "other.example"] {
            let get = |rest: String| Ask::get(protocol, &format!("https://{host}/{rest}"));
            let post = |body: String| Ask::new(protocol, "POST", &format!("https://{host}/")).whole_body(body);
            for (agent, ask) in [
                ("ann", get(format!("?q={HELD}"))),
                ("ann", get(format!("?q={}", hex(HELD)))),
                ("ann", get(format!("a/{HELD}"))),
                ("ann", get(String::new()).header("x-note", HELD)),
                ("ann", get(String::new()).header("x-note", format!("Basic {}", base64(format!("u:{HELD}"))))),
                ("ann", get(String::new()).header("cookie", format!("a={HELD}"))),
                ("ann", get(format!("?a={first}&b={second}"))),
                ("ann", post(format!("it is {HELD}"))),
                ("ann", post(format!("it is {}", base64(format!("x{HELD}"))))),
                ("ann", post(format!("it is {}", hex(HELD).to_uppercase()))),
                ("ann", post(format!("it is {}", base64(base64(HELD))))),
                ("ann", post(format!("it is {reversed}"))),
                ("off", post(format!("it is {HELD}"))),
                ("off", get(format!("?q={HELD}"))),
            ] {
                let case = format!("{ask:?}");
                let outcome = place.send(ask.header("x-agent", agent)).await;
                assert_eq!(outcome.to_string(), format!("403 dlp_blocked {RULE}"), "{case} {outcome:?}");
                assert_eq!(finding(&outcome.record, RULE)["category"], "knownSecret");
            }
            let outcome = place.send(post(format!("it is {}", base64(BAIT))).header("x-agent", "off")).await;
            assert_eq!(outcome.to_string(), "403 dlp_blocked canary:bait");
            assert_eq!(finding(&outcome.record, "canary:bait")["category"], "canary");
        }
        let own = Ask::get(protocol, "https://api.example.com/").header("x-agent", "ann");
        let seen = passed(&place, own.header("authorization", format!("Bearer {HELD}"))).await.seen.unwrap();
        assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {HELD}")));
        let other = Ask::get(protocol, "https://other.example/").header("x-agent", "ann");
        let outcome = place.send(other.header("authorization", format!("Bearer {HELD}"))).await;
        assert!(outcome.to_string().ends_with(RULE), "no slot is there: {outcome:?}");
    }
    assert_untold(&place, &[HELD, BAIT]);
}

/// What a service says back is cleaned of it, and otherwise what it was.
#[tokio::test]
async fn it_does_not_come_back_however_it_is_written() {
    let place = place().await;
    let text = format!("{{\"headers\":{{\"authorization\":\"Bearer {HELD}\"}},\"n\":1.50}}");
    let (plain, json) = ("text/plain", "application/json");
    let filler = "some words, and some more of them. ".repeat(3000);
    let stream = format!("data: {{\"a\":1}}\n\ndata: {{\"key\":\"{HELD}\"}}\n\ndata: [DONE]\n\n");
    let answers = [
        ("/plain", Answer::new(json, &text)),
        ("/base64", Answer::new(plain, format!("it is {}", base64(format!("Bearer {HELD}"))))),
        ("/hex", Answer::new(plain, format!("it is {}.", hex(HELD)))),
        ("/gzip", Answer::new(json, gzip(&text)).field("content-encoding", "gzip")),
        ("/br", Answer::new(json, brotli(&text)).field("content-encoding", "br")),
        ("/zstd", Answer::new(json, zstd::encode_all(text.as_bytes(), 3).unwrap()).field("content-encoding", "zstd")),
        ("/sse", Answer::new("text/event-stream", &stream).cut(23)),
        ("/cut", Answer::new(json, &text).cut(3)),
        ("/cut-gzip", Answer::new(json, gzip(&text)).field("content-encoding", "gzip").cut(5)),
        ("/large", Answer::new(plain, format!("{filler}{HELD} {filler}")).cut(16_000)),
        ("/error", Answer::new(json, &text).status(418)),
        ("/header", Answer::new(plain, "clean").field("x-echo", &format!("Bearer {HELD}"))),
        ("/location", Answer::new(plain, "").status(302).field("location", &format!("https://a.example/?k={HELD}"))),
    ];
    for (path, answer) in &answers {
        place.upstream.tell(path, answer.clone());
    }
    for protocol in PROTOCOLS {
        for agent in ["ann", "off"] {
            for (path, _) in &answers {
                let ask = Ask::get(protocol, &format!("https://{HOST}{path}")).header("x-agent", agent);
                let reply = ask.send(&place.attache).await;
                let status = match *path {
                    "/error" => 418,
                    "/location" => 302,
                    _ => 200,
                };
                assert_eq!(reply.status, status, "{path} {reply:?}");
                let all = format!("{:?} {}", reply.headers, reply.text());
                for spelling in [HELD.to_owned(), base64(format!("Bearer {HELD}")), hex(HELD)] {
                    assert!(!all.contains(&spelling), "{path} {protocol:?}: {all}");
                }
                let masked = all.contains("[REDACTED:") || all.contains("****");
                assert!(masked, "{path} {protocol:?}: {all}");
                if ["/plain", "/gzip", "/br", "/zstd", "/cut", "/cut-gzip", "/error"].contains(path) {
                    let json: serde_json::Value = serde_json::from_str(&reply.text()).expect(path);
                    assert_eq!(json["n"].to_string(), "1.5");
                    assert!(reply.text().contains("1.50") && reply.header("content-encoding").is_none(), "{reply:?}");
                }
                if *path == "/large" {
                    let text = reply.text();
                    assert!(text.starts_with(&filler) && text.ends_with(&filler), "{} bytes", text.len());
                }
                if *path == "/sse" {
                    assert!(reply.text().ends_with("data: [DONE]\n\n"), "{reply:?}");
                }
            }
        }
    }
    let seen = place.upstream.requests().pop().unwrap();
    assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {HELD}")), "the slot is filled all the while");
    until("the records", async || {
        let found = place.attache.records().iter().filter(|record| !finding(record, RULE).is_null()).count();
        (found >= 2 * 2 * answers.len()).then_some(())
    })
    .await;
    assert_untold(&place, &[HELD]);
}

#[tokio::test]
async fn another_value_in_its_file_counts_at_once() {
    let file = NamedTempFile::new().unwrap();
    let put = |content: &str| {
        let draft = file.path().with_extension("draft");
        std::fs::write(&draft, content).unwrap();
        std::fs::rename(draft, file.path()).unwrap();
    };
    put(HELD);
    let policy = POLICY.replace("envVarKey: KEY", &format!("file: {}", file.path().display()));
    let place = Place::with(&policy, [HOST, "other.example"], |setup| setup.env("BAIT", BAIT)).await;
    let next = "next-2Bv6Nc8Lk3Jh5Gf1Ds9Aq4Wz7X";
    let say = async |protocol, value: &str| {
        let ask = Ask::new(protocol, "POST", "https://other.example/").header("x-agent", "ann");
        place.send(ask.whole_body(format!("it is {value}"))).await.to_string()
    };
    let refused = format!("403 dlp_blocked {RULE}");
    assert_eq!((say(Protocol::Http1, HELD).await, say(Protocol::Http1, next).await), (refused.clone(), "200".into()));
    put(next);
    let ask = || Ask::get(Protocol::Http2, &format!("https://{HOST}/")).header("x-agent", "ann");
    until("the next value to be used", async || {
        let seen = passed(&place, ask()).await.seen.unwrap();
        (seen.header("authorization")? == format!("Bearer {next}")).then_some(())
    })
    .await;
    for protocol in PROTOCOLS {
        assert_eq!(say(protocol, next).await, refused);
        place.upstream.tell("/echo", Answer::new("text/plain", format!("it is {next}!")));
        let reply =
            Ask::get(protocol, &format!("https://{HOST}/echo")).header("x-agent", "ann").send(&place.attache).await;
        assert!(reply.status == 200 && !reply.body.contains(next), "{reply:?}");
    }
    assert_untold(&place, &[HELD, next]);
}
