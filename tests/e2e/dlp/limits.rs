//! What cannot be looked into does not pass, and each says why.

use super::{base64, brotli, gzip, passed};
use crate::support::{Ask, PROTOCOLS, Place, Protocol};

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
    let noise: String = (0..40_000_u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
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
