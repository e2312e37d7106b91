//! What cannot be looked into does not pass, and each says why.

use super::{HELD, INJECTED, base64, brotli, gzip, passed};
use crate::support::upstream::Answer;
use crate::support::{Ask, PROTOCOLS, Place, Protocol, until};

const HOST: &str = "api.example.com";

fn post(protocol: Protocol, content_type: &str, coding: &str, body: impl AsRef<[u8]>) -> Ask {
    let ask = Ask::new(protocol, "POST", &format!("https://{HOST}/things")).header("content-type", content_type);
    if coding.is_empty() { ask.whole_body(body) } else { ask.header("content-encoding", coding).whole_body(body) }
}

#[tokio::test]
async fn what_cannot_be_decoded_is_refused_for_its_own_reason() {
    let place = Place::new(&format!("allowedDomains: [{HOST}]"), [HOST]).await;
    let zeros = vec![b'0'; 32 << 20];
    let (bomb, twice) = (gzip(&zeros), gzip(gzip(&zeros)));
    let short = &gzip("some words that are long enough to be cut")[..30];
    let multipart = "multipart/form-data; boundary=b1";
    for protocol in PROTOCOLS {
        for (content_type, coding, body, expected) in [
            ("text/plain", "made-up", b"x".to_vec(), "403 undecodable"),
            ("text/plain", "gzip", b"no gzip at all".to_vec(), "403 undecodable"),
            ("text/plain", "gzip", short.to_vec(), "403 undecodable"),
            ("text/plain", "gzip", bomb.clone(), "403 undecodable"),
            ("text/plain", "gzip, gzip", twice.clone(), "403 undecodable"),
            ("text/plain", "br", brotli(&zeros), "403 undecodable"),
            (multipart, "", b"--b2\r\n\r\nx\r\n--b2--\r\n".to_vec(), "403 malformed_body"),
            ("multipart/form-data", "", b"--b1\r\n\r\nx\r\n--b1--\r\n".to_vec(), "403 malformed_body"),
        ] {
            let case = format!("{content_type} {coding} {} bytes", body.len());
            let outcome = place.send(post(protocol, content_type, coding, &body)).await;
            assert_eq!(outcome.to_string(), expected, "{case} {:?}", outcome.reply);
            assert_eq!(outcome.record["decision"], "deny");
        }
        passed(&place, post(protocol, "text/plain", "gzip", gzip("hello"))).await;
        passed(&place, post(protocol, multipart, "", "--b1\r\nA: b\r\n\r\nx\r\n--b1--\r\n")).await;
    }
}

/// Undeclared bombs are no reason to fail, and none to look for ever.
#[tokio::test]
async fn what_is_encoded_beyond_measure_is_refused() {
    let place = Place::new(&format!("allowedDomains: [{HOST}]"), [HOST]).await;
    let noise: String = (0..12_000_u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
    let packed = base64(gzip(&noise));
    let bombs: Vec<String> = (0..60).map(|_| format!("\"{packed}\"")).collect();
    let body = format!("[{}]", bombs[..3].join(","));
    let nested = base64(gzip(vec![b' '; 16 << 20]));
    for protocol in PROTOCOLS {
        let outcome = place.send(post(protocol, "application/json", "", format!("[\"{nested}\"]"))).await;
        assert_eq!(outcome.to_string(), "403 budget_exhausted", "{:?}", outcome.reply);
        passed(&place, post(protocol, "application/json", "", &body)).await;
    }
}

/// What is not held is refused on its way, and is no whole request where it arrives.
#[tokio::test]
async fn what_cannot_be_decoded_on_its_way_is_cut_off() {
    let place = Place::new(&format!("allowedDomains: [{HOST}]"), [HOST]).await;
    let words = "some words, and some more of them. ".repeat(2000);
    let short = gzip(&words);
    let bomb = gzip(vec![b'0'; 32 << 20]);
    let nested = format!("[\"{}\"]", base64(gzip(vec![b' '; 16 << 20])));
    for protocol in PROTOCOLS {
        for (content_type, coding, body, reason) in [
            ("text/plain", "made-up", b"x".to_vec(), "undecodable"),
            ("text/plain", "gzip", b"no gzip at all".to_vec(), "undecodable"),
            ("text/plain", "gzip", short[..short.len() - 20].to_vec(), "undecodable"),
            ("text/plain", "gzip", bomb.clone(), "undecodable"),
            ("multipart/form-data", "", b"--b1\r\n\r\nx\r\n--b1--\r\n".to_vec(), "malformed_body"),
            ("application/json", "", nested.clone().into_bytes(), "budget_exhausted"),
        ] {
            let before = place.arrived().len();
            let ask = Ask::new(protocol, "POST", &format!("https://{HOST}/things"));
            let ask = ask.header("content-type", content_type).streamed_body(&body);
            let ask = if coding.is_empty() { ask } else { ask.header("content-encoding", coding) };
            let reply = ask.send(&place.attache).await;
            let case = format!("{protocol:?} {content_type} {coding} {} bytes: {reply:?}", body.len());
            assert_eq!((reply.status, &*reply.reason()), (403, reason), "{case}");
            assert!(place.arrived()[before..].iter().all(|seen| !seen.complete), "{case}");
            let id = reply.json()["requestId"].as_str().unwrap().to_owned();
            let record = place.attache.wait_record(&case, |record| record["requestId"] == *id).await;
            assert_eq!(record["reason"], reason, "{record}");
        }
        let whole = Ask::new(protocol, "POST", &format!("https://{HOST}/things")).header("content-encoding", "gzip");
        let seen = passed(&place, whole.streamed_body(&short)).await.seen.unwrap();
        assert!(seen.complete && seen.body == short);
    }
}

/// Where a credential was injected, an answer that cannot be looked into does not come back.
#[tokio::test]
async fn an_answer_that_cannot_be_decoded_does_not_come_back() {
    let place = Place::with(INJECTED, [HOST], |setup| setup.env("KEY", HELD)).await;
    let short = &gzip("some words that are long enough to be cut")[..30];
    let bomb = gzip(vec![b'0'; 32 << 20]);
    let nested = base64(gzip(vec![b' '; 16 << 20]));
    let plain = |body: &[u8]| Answer::new("text/plain", body);
    for protocol in PROTOCOLS {
        for (answer, reason) in [
            (plain(b"x").field("content-encoding", "made-up"), "response_unparsable"),
            (plain(b"no gzip at all").field("content-encoding", "gzip"), "response_unparsable"),
            (plain(short).field("content-encoding", "gzip"), "response_unparsable"),
            (plain(&bomb).field("content-encoding", "gzip"), "response_unparsable"),
            (plain(nested.as_bytes()), "response_blocked"),
        ] {
            place.upstream.tell("/things", answer);
            let before = place.attache.records().len();
            let reply = Ask::get(protocol, &format!("https://{HOST}/things")).send(&place.attache).await;
            // Where the head has gone on before, it is no whole answer.
            let cut = reply.status == 200 && !reply.text().contains(&nested);
            assert!(cut || (reply.status, &*reply.reason()) == (502, reason), "{protocol:?} {reason} {reply:?}");
            until("its record", async || {
                let records = place.attache.records().split_off(before);
                records.iter().any(|record| record["reason"] == reason).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_websocket_that_nobody_can_look_into_is_refused() {
    let policy = "
allowedDomains: [{pattern: api.example.com, upgrades: [websocket]}]
agents:
  ann: {identity: [{header: {name: X-Agent, value: ann, trusted: true}}]}
  off: {identity: [{header: {name: X-Agent, value: off, trusted: true}}], dlp: off}
";
    let place = Place::new(policy, [HOST]).await;
    for (agent, status) in [("ann", 403), ("off", 101)] {
        let ask = Ask::get(Protocol::Http1, &format!("https://{HOST}/ws")).header("x-agent", agent);
        let mut stream = ask.open(&place.attache).await.unwrap();
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nX-Agent: {agent}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = vec![0; 12];
        crate::support::within("an answer", stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {status}"), "{agent}");
    }
}
