//! A service that says back the credential that it was sent, packed in whatever way: the agent does not get it.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use hyper::body::Bytes;
use tokio::net::TcpStream;

use super::{HELD, INJECTED, assert_untold, base64, brotli, deflate, finding, gzip};
use crate::support::upstream::Answer;
use crate::support::{Ask, PROTOCOLS, Place, Protocol, process, tunnel, until, within};

const HOST: &str = "api.example.com";
const BESIDE: &str = r#"agents:
  ann: {identity: [{header: {name: X-Attache-Agent, value: ann, trusted: true}}]}
  bob: {identity: [{token: {env: BOB}}], dlp: off}
"#;
const BOB: &str = "bob-token-0123456789";

async fn place() -> Place {
    Place::with(&format!("{INJECTED}{BESIDE}"), [HOST], |setup| setup.env("KEY", HELD).env("BOB", BOB)).await
}

fn by_each(ask: &Ask) -> [Ask; 2] {
    let token = format!("Bearer {BOB}");
    [ask.clone().header("x-attache-agent", "ann"), ask.clone().connect_header("proxy-authorization", &token)]
}

/// The declared codings are undone: what comes is plain, and says what it said, but for the value.
#[tokio::test]
async fn in_any_coding_and_any_parts() {
    let place = place().await;
    let text = format!("{{\"a\":\"{}\",\"key\":\"Bearer {HELD}\",\"n\":1.50}}", "words, and more. ".repeat(300));
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let members = [gzip(&text[..text.len() - 30]), gzip(&text[text.len() - 30..])].concat();
    for protocol in PROTOCOLS {
        for (coding, body) in [
            ("gzip", gzip(&text)),
            ("x-gzip", gzip(&text)),
            ("GZIP", gzip(&text)),
            ("gzip", members.clone()),
            ("deflate", deflate(&text)),
            ("br", brotli(&text)),
            ("zstd", zstd(text.as_bytes())),
            ("gzip, br", brotli(gzip(&text))),
            ("zstd, gzip", gzip(zstd(text.as_bytes()))),
            ("identity", text.clone().into_bytes()),
        ] {
            for cut in [usize::MAX, 200] {
                let answer = Answer::new("application/json", &body).field("content-encoding", coding).cut(cut);
                place.upstream.tell("/echo", answer);
                for ask in by_each(&Ask::get(protocol, &format!("https://{HOST}/echo"))) {
                    let reply = ask.send(&place.attache).await;
                    let case = format!("{protocol:?} {coding} in parts of {cut}");
                    let json: serde_json::Value = serde_json::from_str(&reply.text()).unwrap_or_else(|error| {
                        panic!("{case}: {error} {reply:?} {:?}", place.attache.records().pop())
                    });
                    let key = json["key"].as_str().unwrap();
                    assert!(key.contains("[REDACTED:") && !reply.body.contains(&HELD[..8]), "{case}: {key}");
                    assert!(
                        reply.text().ends_with("\"n\":1.50}") && json["a"].as_str().unwrap().len() == 5100,
                        "{case}"
                    );
                }
            }
        }
    }
    assert_untold(&place, &[HELD]);
}

/// Nobody has said that it is compressed, or nothing can be replaced in it: it does not come whole.
#[tokio::test]
async fn in_what_nobody_has_named() {
    let place = place().await;
    let text = format!("{} it is Bearer {HELD} {}", "some words. ".repeat(40), "and more. ".repeat(40));
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let zip = gzip(&text);
    let packed = base64(&zip);
    for protocol in PROTOCOLS {
        for (kind, body) in [
            ("application/octet-stream", zip.clone()),
            ("application/gzip", zip.clone()),
            ("text/plain; charset=utf-16le", wide.clone()),
            ("application/json", format!("{{\"file\":\"{packed}\"}}").into_bytes()),
            ("multipart/mixed; boundary=b1", format!("--b1\r\nX-Key: {HELD}\r\n\r\nhello\r\n--b1--\r\n").into_bytes()),
        ] {
            for cut in [usize::MAX, 100] {
                place.upstream.tell("/echo", Answer::new(kind, &body).cut(cut));
                let heard = get(&place, protocol, "/echo").await;
                let mut unzipped = Vec::new();
                // As much of it as there is.
                let _ = MultiGzDecoder::new(&*heard).read_to_end(&mut unzipped);
                let narrow: Vec<u8> = heard.iter().copied().filter(|byte| *byte != 0).collect();
                for way in [&heard, &unzipped, &narrow] {
                    let told = String::from_utf8_lossy(way);
                    assert!(!told.contains(&HELD[..16]), "{protocol:?} {kind} in parts of {cut}: {told}");
                    assert!(!told.contains(&packed), "{protocol:?} {kind} in parts of {cut}: {told}");
                }
            }
        }
    }
    until("the records", async || {
        let found = place.attache.records();
        let found = found.iter().filter(|record| finding(record, "known-secret:key")["category"] == "knownSecret");
        (found.count() == 20).then_some(())
    })
    .await;
    assert_untold(&place, &[HELD]);
}

/// Behind the body, and in fields.
#[tokio::test]
async fn in_fields_before_and_behind_the_body() {
    let place = place().await;
    let hello = || Answer::new("text/plain", "hello");
    place.upstream.tell("/clean", hello().trailer("x-note", "fine"));
    place.upstream.tell("/behind", hello().trailer("x-note", HELD));
    place.upstream.tell("/before", hello().field("x-note", HELD).field("set-cookie", &format!("k={}", base64(HELD))));
    for (path, expected) in [("/clean", Some("fine")), ("/behind", None), ("/before", None)] {
        let mut client = tunnel::h2(TcpStream::connect(place.attache.proxy()).await.unwrap()).await;
        let request = http::Request::get(format!("http://{HOST}{path}")).header("x-attache-agent", "ann");
        let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
        let Ok(answer) = within("an answer", answer).await else {
            assert_eq!(path, "/behind");
            continue;
        };
        let fields = format!("{:?}", answer.headers());
        assert!(!fields.contains(&HELD[..8]) && !fields.contains(&base64(HELD)[..12]), "{fields}");
        let mut body = answer.into_body();
        while let Some(Ok(_)) = within("the body", body.data()).await {}
        let trailers = within("the trailers", body.trailers()).await.ok().flatten().unwrap_or_default();
        assert_eq!(trailers.get("x-note").map(|note| note.to_str().unwrap()), expected, "{path}");
    }
    // Over HTTP/1.1 no field is let through behind the body.
    for path in ["/behind", "/before"] {
        let reply = Ask::get(Protocol::Http1, &format!("https://{HOST}{path}")).header("x-attache-agent", "ann");
        let reply = reply.header("te", "trailers").send(&place.attache).await;
        assert!(!format!("{reply:?}").contains(&HELD[..8]), "{reply:?}");
    }
    assert_untold(&place, &[HELD]);
}

/// More than it may cost to hold; the value stands where parts meet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_an_answer_of_any_size() {
    let place = place().await;
    let words = "some words, and some more of them. ".repeat(1 << 15);
    let part = format!("{words}it is Bearer {HELD}, and {words}");
    place.upstream.tell("/large", Answer::new("text/plain", part.repeat(12)).cut(50_001));
    // The first one pays for what is there from then on.
    get(&place, Protocol::Http1, "/large").await;
    let pid = place.attache.ready().service_pid;
    let before = process::resident(pid);
    for protocol in PROTOCOLS {
        let heard = get(&place, protocol, "/large").await;
        let text = String::from_utf8_lossy(&heard);
        assert_eq!(heard.len(), part.len() * 12, "{protocol:?}");
        assert!(!text.contains(&HELD[..8]), "{protocol:?}");
        assert_eq!(text.matches("it is Bearer [REDACTED:known-secret:key]").count(), 12, "{protocol:?}");
    }
    let grown = process::most_resident(pid).saturating_sub(before);
    assert!(grown < 24 << 20, "it grew by {} KiB", grown >> 10);
    assert_untold(&place, &[HELD]);
}

/// What is heard, byte for byte, however it ends.
async fn get(place: &Place, protocol: Protocol, path: &str) -> Vec<u8> {
    let ask = Ask::get(protocol, &format!("https://{HOST}{path}"));
    let stream = ask.open(&place.attache).await.unwrap();
    if protocol == Protocol::Http1 {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Attache-Agent: ann\r\nConnection: close\r\n\r\n");
        return unchunked(tunnel::raw_bytes(stream, head.as_bytes()).await);
    }
    let mut client = tunnel::h2(stream).await;
    let request = http::Request::get(format!("https://{HOST}{path}")).header("x-attache-agent", "ann");
    let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
    let Ok(answer) = within("an answer", answer).await else { return Vec::new() };
    let mut body = answer.into_body();
    let mut heard = Vec::new();
    while let Some(Ok(data)) = within("the rest", body.data()).await {
        body.flow_control().release_capacity(data.len()).unwrap();
        heard.extend::<Bytes>(data);
    }
    heard
}

/// The body of an HTTP/1.1 answer, without the frames of its chunks.
fn unchunked(answer: Vec<u8>) -> Vec<u8> {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return answer };
    let (head, mut rest) = (String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase(), &answer[end + 4..]);
    if !head.contains("transfer-encoding: chunked") {
        return rest.to_vec();
    }
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|bytes| bytes == b"\r\n") {
        let size = usize::from_str_radix(&String::from_utf8_lossy(&rest[..line]), 16).unwrap();
        let chunk = &rest[line + 2..];
        body.extend_from_slice(&chunk[..size.min(chunk.len())]);
        rest = chunk.get(size + 2..).unwrap_or_default();
    }
    body
}
