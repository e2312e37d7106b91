//! Little that costs much to look into. It is decided in bounded time, and nobody else waits for it.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::{Ask, PROTOCOLS, Place, process};

const HOST: &str = "api.example.com";
/// For a build that is not optimised, on a machine that does other things; without a bound it would be hours.
const MOST: Duration = Duration::from_secs(15);

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What each encodes, again and again.
fn nested(text: &str, times: usize, encode: impl Fn(String) -> String) -> String {
    (0..times).fold(text.to_owned(), |text, _| encode(text))
}

#[tokio::test]
async fn what_costs_much_to_look_into_is_decided_in_bounded_time() {
    let place = Place::new(&format!("allowedDomains: [{HOST}]"), [HOST]).await;
    let zeros = vec![0; 32 << 20];
    let once = gzip(&zeros);
    let percent = |text: String| text.replace('%', "%25");
    let part = "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
    let bodies: [(&str, &str, Vec<u8>); 16] = [
        ("a compressed bomb", "gzip", once.clone()),
        ("one in another", "gzip, gzip", gzip(&once)),
        ("one in text", "", format!("[\"{}\"]", STANDARD.encode(&once)).into_bytes()),
        ("base64 of base64", "", nested("AKIA", 24, |text| STANDARD.encode(text)).into_bytes()),
        ("percent of percent", "", nested(&"%41".repeat(1000), 60, percent).into_bytes()),
        ("escapes of escapes", "", nested("\\u0041", 14, |text| text.replace('\\', "\\\\")).into_bytes()),
        ("addresses that are none", "", "a@".repeat(250_000).into_bytes()),
        ("an address without end", "", [b"a@".to_vec(), b"b.".repeat(250_000)].concat()),
        ("digits", "", "4".repeat(500_000).into_bytes()),
        ("digits with dashes", "", "4-".repeat(250_000).into_bytes()),
        ("almost a key", "", "AKIA".repeat(125_000).into_bytes()),
        ("almost a private key", "", "-----BEGIN PRIVATE KEY-----\n".repeat(18_000).into_bytes()),
        ("almost tokens", "", "eyJhbGciOiJI.eyJ.".repeat(30_000).into_bytes()),
        ("JSON of great depth", "", [b"[".repeat(250_000), b"]".repeat(250_000)].concat()),
        ("names without end", "", format!("{{{}\"a\":1}}", "\"password\":\"".repeat(40_000)).into_bytes()),
        ("parts in parts", "multipart", part.repeat(9000).into_bytes()),
    ];
    for protocol in PROTOCOLS {
        for (case, coding, body) in &bodies {
            let ask = Ask::new(protocol, "POST", &format!("https://{HOST}/x"));
            let ask = match *coding {
                "" => ask.header("content-type", "application/json"),
                "multipart" => ask.header("content-type", "multipart/mixed; boundary=b"),
                coding => ask.header("content-type", "text/plain").header("content-encoding", coding),
            };
            let started = Instant::now();
            let reply = ask.whole_body(body).send(&place.attache).await;
            assert!(started.elapsed() < MOST, "{case} took {:?}", started.elapsed());
            let known = ["budget_exhausted", "undecodable", "malformed_body", "dlp_blocked", "body_too_large"];
            let decided = reply.status == 200 || (reply.status == 403 && known.contains(&&*reply.reason()));
            assert!(decided, "{case}: {reply:?}");
            if case.contains("compressed bomb") || case.contains("one in") {
                assert_ne!(reply.status, 200, "{case}");
            }
        }
    }
    let service = place.attache.service().await;
    assert!(process::most_resident(service) < 400 << 20, "{}", process::most_resident(service));
}

/// Head and target have bounds of their own.
#[tokio::test]
async fn what_costs_much_to_read_in_a_head_does_too() {
    let place = Place::new(&format!("allowedDomains: [{HOST}]"), [HOST]).await;
    for protocol in PROTOCOLS {
        let get = |target: String| Ask::get(protocol, &format!("https://{HOST}/")).target(target);
        for (case, ask) in [
            ("ways back", get(format!("/{}", "a/../".repeat(3000)))),
            ("encoded ways back", get(format!("/{}", "%2e%2e/".repeat(2000)))),
            ("parameters", get(format!("/?{}", "a=%41&".repeat(2500)))),
            ("blanks", get(format!("/{}", "%20".repeat(5000)))),
            ("semicolons", get(format!("/{}", ";".repeat(15_000)))),
            ("encoded in a field", get("/".to_owned()).header("x-a", nested("AKIA", 16, |text| STANDARD.encode(text)))),
            ("many cookies", get("/".to_owned()).header("cookie", "a=eyJhIjoiYiJ9; ".repeat(500))),
        ] {
            let started = Instant::now();
            let reply = ask.send_bytes(&place.attache).await;
            assert!(started.elapsed() < MOST, "{case} took {:?}", started.elapsed());
            assert!(matches!(reply.status, 0 | 200 | 400 | 403 | 414 | 431), "{case}: {reply:?}");
        }
    }
}
