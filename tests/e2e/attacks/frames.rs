//! HTTP/2 used as a weapon: frames that no client sends, in numbers that no client sends them. Envoy stays, its memory
//! too, and whoever else is there is served.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::ask::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, frame, literal};
use crate::support::{Ask, Attache, Protocol, Upstream, process, tunnel, until, within};

/// More than what one such connection may cost, in bytes; far less than what was sent.
const SLACK: u64 = 64 << 20;

struct Place {
    upstream: Upstream,
    attache: Attache,
    before: [(u32, u64); 2],
}

impl Place {
    async fn new() -> Place {
        let upstream = Upstream::https(["api.example.com"]).await;
        let attache = Attache::up("allowedDomains: [api.example.com]").resolve("api.example.com", &upstream);
        let attache = attache.start().await;
        for protocol in ["--http1.1", "--http2"] {
            assert_eq!(attache.curl([protocol, "https://api.example.com/"]).await.status, 200);
        }
        let pids = [attache.envoy().await, attache.service().await];
        let before = pids.map(|pid| (pid, process::resident(pid)));
        Place { upstream, attache, before }
    }

    /// A connection that has begun HTTP/2: in a tunnel, or to the proxy itself.
    async fn begun(&self, inside: bool) -> Box<dyn Stream> {
        let mut stream: Box<dyn Stream> = match inside {
            true => {
                let ask = Ask::get(Protocol::Http2, "https://api.example.com/");
                Box::new(ask.open(&self.attache).await.unwrap())
            }
            false => Box::new(TcpStream::connect(self.attache.proxy()).await.unwrap()),
        };
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        frame(&mut out, SETTINGS, 0, 0, &[]);
        stream.write_all(&out).await.unwrap();
        stream
    }

    /// Sends this and reads what comes, until the other side ends it, or has no more to say.
    async fn flood(&self, inside: bool, bytes: &[u8]) {
        let (mut read, mut write) = tokio::io::split(self.begun(inside).await);
        let sent = async {
            // It may well be ended in the middle.
            let _ = write.write_all(bytes).await;
            let _ = write.flush().await;
        };
        let mut buffer = vec![0; 1 << 16];
        let answered = async {
            while let Ok(Ok(1..)) = tokio::time::timeout(Duration::from_millis(300), read.read(&mut buffer)).await {}
        };
        within("the flood", async { tokio::join!(sent, answered) }).await;
        self.assert_well().await;
    }

    async fn assert_well(&self) {
        for protocol in ["--http1.1", "--http2"] {
            let other =
                within("another agent's answer", self.attache.curl([protocol, "https://api.example.com/"])).await;
            assert_eq!(other.status, 200, "{other:?}");
        }
        for (number, (pid, memory)) in self.before.into_iter().enumerate() {
            let now = if number == 0 { self.attache.envoy().await } else { self.attache.service().await };
            assert_eq!(now, pid, "it was another process that answered");
            let most = process::resident(pid);
            assert!(most < memory + SLACK, "{memory} bytes have become {most}");
        }
    }
}

trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Stream for S {}

fn head(path: &[u8], more: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    let pseudo: [(&[u8], &[u8]); 4] =
        [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"api.example.com"), (b":path", path)];
    for (name, value) in pseudo.iter().chain(more) {
        literal(&mut block, name, value);
    }
    block
}

/// CVE-2023-44487: each request costs a decision and is gone before it.
#[tokio::test]
async fn requests_that_are_taken_back_at_once_cost_little() {
    let place = Place::new().await;
    for inside in [true, false] {
        let mut out = Vec::new();
        for number in 0..4000u32 {
            let stream = 2 * number + 1;
            frame(&mut out, HEADERS, END_HEADERS | END_STREAM, stream, &head(b"/reset-me", &[]));
            frame(&mut out, RST_STREAM, 0, stream, &8u32.to_be_bytes());
        }
        place.flood(inside, &out).await;
    }
    let arrived = place.upstream.requests().iter().filter(|seen| seen.path == "/reset-me").count();
    assert!(arrived < 1000, "{arrived} of them went out");
}

/// CVE-2024-27316 and its kin: a head that never ends.
#[tokio::test]
async fn a_head_that_never_ends_is_ended() {
    let place = Place::new().await;
    for inside in [true, false] {
        for (name, filler) in [
            ("empty", Vec::new()),
            ("full", {
                let mut block = Vec::new();
                literal(&mut block, b"x-a", &[b'b'; 8000]);
                block
            }),
        ] {
            let mut out = Vec::new();
            frame(&mut out, HEADERS, END_STREAM, 1, &head(b"/endless", &[]));
            for _ in 0..(if name == "empty" { 50_000 } else { 2000 }) {
                frame(&mut out, CONTINUATION, 0, 1, &filler);
            }
            place.flood(inside, &out).await;
        }
    }
    assert!(place.upstream.requests().iter().all(|seen| seen.path != "/endless"));
}

/// CVE-2019-9512 and CVE-2019-9515: each of these is owed an answer.
#[tokio::test]
async fn settings_and_pings_without_end_are_ended() {
    let place = Place::new().await;
    for inside in [true, false] {
        for kind in [SETTINGS, PING] {
            let mut out = Vec::new();
            for _ in 0..60_000 {
                frame(&mut out, kind, 0, 0, if kind == PING { &[7; 8] } else { &[] });
            }
            place.flood(inside, &out).await;
        }
    }
}

/// CVE-2016-6581: few bytes that stand for many.
#[tokio::test]
async fn a_head_that_unpacks_to_much_more_is_refused() {
    let place = Place::new().await;
    for inside in [true, false] {
        // RFC 7541 §6.2.1: one field that is kept, then named by its index (62) again and again.
        let mut block = head(b"/unpacked", &[]);
        block.push(0x40);
        block.extend([3, b'x', b'-', b'a']);
        block.extend([0x7f, 0xa1, 0x1e]);
        block.extend([b'b'; 127 + 0x21 + 0x1e * 128]);
        block.extend([0xbe; 12_000]);
        let mut out = Vec::new();
        for stream in (1..80).step_by(2) {
            frame(&mut out, HEADERS, END_HEADERS | END_STREAM, stream, &block);
            // Later ones find it in the table.
            block = head(b"/unpacked", &[]);
            block.extend([0xbe; 16_000]);
        }
        place.flood(inside, &out).await;
    }
    assert!(place.upstream.requests().iter().all(|seen| seen.path != "/unpacked"));
}

/// CVE-2019-9511 and CVE-2019-9517: who asks for much and takes nothing.
#[tokio::test]
async fn who_takes_no_answer_is_not_kept_for() {
    let place = Place::new().await;
    let mut stalled = Vec::new();
    for inside in [true, false] {
        for _ in 0..4 {
            let mut stream = place.begun(inside).await;
            let mut out = Vec::new();
            // RFC 9113 §6.5.2: no window at all.
            frame(&mut out, SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
            for number in 0..20u32 {
                frame(&mut out, HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &head(b"/big/8000000", &[]));
            }
            stream.write_all(&out).await.unwrap();
            stream.flush().await.unwrap();
            stalled.push(stream);
        }
    }
    until("the upstream to be asked", async || {
        let asked = place.upstream.requests().iter().filter(|seen| seen.path == "/big/8000000").count();
        (asked >= 80).then_some(())
    })
    .await;
    // 160 answers of 8 MB each, of which none is taken.
    for (number, (pid, memory)) in place.before.into_iter().enumerate() {
        let now = process::resident(pid);
        let most = if number == 0 { 160 * (2 << 20) } else { SLACK };
        assert!(now < memory + most, "{memory} bytes have become {now}");
    }
    let other = place.attache.curl(["--http2", "https://api.example.com/"]).await;
    assert_eq!(other.status, 200);
    drop(stalled);
    let mut stream = Ask::get(Protocol::Http1, "https://api.example.com/").open(&place.attache).await.unwrap();
    let answer = tunnel::raw(&mut stream, b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
