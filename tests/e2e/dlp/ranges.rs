//! Who may choose which part of an answer comes back could fetch in pieces what is not given out whole.

use super::{HELD, KEY, assert_untold, base64};
use crate::support::upstream::Answer;
use crate::support::{Ask, PROTOCOLS, Place, Protocol};

const POLICY: &str = r#"
allowedDomains: [api.example.com, free.example, slots.example]
dlp:
  profiles:
    looking: {responses: {credentials: redact}}
    watching: {responses: {credentials: monitor}}
    trying: {mode: monitor, responses: {credentials: redact}}
credentials:
  - name: key
    envVarKey: KEY
    injections:
      - {domain: api.example.com, headerName: Authorization, headerFormat: "Bearer {value}"}
      - {domain: slots.example, path: "/held/*", headerName: Authorization, headerFormat: "Bearer {value}"}
agents:
  ann: {identity: [{header: {name: X-Attache-Agent, value: ann, trusted: true}}]}
  off: {identity: [{header: {name: X-Attache-Agent, value: off, trusted: true}}], dlp: off}
  looking: {identity: [{header: {name: X-Attache-Agent, value: looking, trusted: true}}], dlp: looking}
  watching: {identity: [{header: {name: X-Attache-Agent, value: watching, trusted: true}}], dlp: watching}
  trying: {identity: [{header: {name: X-Attache-Agent, value: trying, trusted: true}}], dlp: trying}
"#;

async fn place() -> Place {
    Place::with(POLICY, ["api.example.com", "free.example", "slots.example"], |setup| setup.env("KEY", HELD)).await
}

fn get(protocol: Protocol, agent: &str, url: &str) -> Ask {
    Ask::get(protocol, &format!("https://{url}")).header("x-attache-agent", agent)
}

/// Ten bytes at a time, and by each of the fields that services read.
#[tokio::test]
async fn a_credential_is_not_fetched_in_pieces() {
    let place = place().await;
    for spelling in [HELD.to_owned(), base64(format!("Bearer {HELD}"))] {
        let page = format!("authorization: {spelling} ok");
        place.upstream.tell("/echo", Answer::new("text/plain", &page).in_ranges());
        for protocol in PROTOCOLS {
            for agent in ["ann", "off"] {
                for field in ["range", "x-ms-range"] {
                    let mut pieces = String::new();
                    for from in (0..page.len()).step_by(10) {
                        let ask = get(protocol, agent, "api.example.com/echo");
                        let ask = ask.header(field, format!("bytes={from}-{}", from + 9)).header("if-range", "\"1\"");
                        let reply = ask.send(&place.attache).await;
                        assert_eq!(reply.status, 200, "the whole is given: {reply:?}");
                        assert!(reply.body.contains("[REDACTED:") && reply.body.ends_with(" ok"), "{reply:?}");
                        pieces += &reply.body;
                    }
                    assert!(!pieces.contains(&spelling[..12]), "{pieces}");
                }
            }
        }
    }
    let fields = ["range", "if-range", "x-ms-range"];
    assert!(place.upstream.requests().iter().all(|seen| fields.iter().all(|field| seen.header(field).is_none())));
    assert_untold(&place, &[HELD]);
}

#[tokio::test]
async fn parts_are_to_be_had_where_nothing_is_held_back() {
    let place = place().await;
    let page = format!("the key is {KEY}, and the rest of the page");
    place.upstream.tell("/page", Answer::new("text/plain", &page).in_ranges());
    place.upstream.tell("/held/page", Answer::new("text/plain", &page).in_ranges());
    for protocol in PROTOCOLS {
        for (agent, url, partial) in [
            ("ann", "free.example/page", true),
            ("off", "free.example/page", true),
            ("watching", "free.example/page", true),
            ("trying", "free.example/page", true),
            ("looking", "free.example/page", false),
            ("ann", "slots.example/page", true),
            ("ann", "slots.example/held/page", false),
        ] {
            let reply = get(protocol, agent, url).header("range", "bytes=0-19").send(&place.attache).await;
            let case = format!("{agent} {url} {protocol:?}: {reply:?}");
            if partial {
                assert_eq!((reply.status, &*reply.body), (206, &page[..20]), "{case}");
                assert_eq!(reply.header("content-range"), Some(&*format!("bytes 0-19/{}", page.len())), "{case}");
            } else {
                assert_eq!((reply.status, reply.header("content-range")), (200, None), "{case}");
                assert_eq!(reply.body.contains("[REDACTED:"), agent == "looking", "{case}");
            }
        }
    }
    assert_untold(&place, &[HELD]);
}
