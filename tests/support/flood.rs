//! More requests than can be dealt with, each with a body that nobody has seen before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::until;

/// What one request got.
pub struct Told {
    pub status: u16,
    pub text: String,
    pub took: Duration,
}

/// Asks one proxy for `http://api.example.com/`, and never twice with the same body.
#[derive(Clone)]
pub struct Crowd {
    proxy: SocketAddr,
    /// Bytes of a body.
    body: usize,
    next: Arc<AtomicUsize>,
}

impl Crowd {
    /// Its requests have bodies of so many bytes; with 0, none.
    pub fn new(proxy: SocketAddr, body: usize) -> Self {
        Self { proxy, body, next: Arc::default() }
    }

    /// How many requests it has sent.
    pub fn sent(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    pub async fn post(&self) -> Told {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (method, body) = if self.body == 0 { ("GET", Vec::new()) } else { ("POST", body(number, self.body)) };
        let begin = Instant::now();
        let mut stream = TcpStream::connect(self.proxy).await.unwrap();
        let head = format!(
            "{method} http://api.example.com/{number} HTTP/1.1\r\nHost: api.example.com\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        // A refusal may come, and the connection end, before all of it is written.
        let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
        let mut answer = Vec::new();
        while !is_whole(&answer) && stream.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {}
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        Told { status, text, took: begin.elapsed() }
    }

    /// Four at a time, each as fast as it is answered: what passed, and how many requests a second that were.
    pub async fn at_capacity(&self, lasts: Duration) -> (Vec<Told>, f64) {
        let begin = Instant::now();
        let clients = (0..4).map(async |_| {
            let mut told = Vec::new();
            while begin.elapsed() < lasts {
                told.push(self.post().await);
            }
            told
        });
        let mut told: Vec<_> = join_all(clients).await.into_iter().flatten().collect();
        // On a busy machine even a few may be too many for a moment.
        told.retain(|told| told.status == 200);
        let rate = told.len() as f64 / begin.elapsed().as_secs_f64();
        (told, rate)
    }

    /// So many requests a second, whatever becomes of those before.
    pub async fn flood(&self, rate: f64, lasts: Duration) -> Vec<Told> {
        let (begin, mut asked) = (Instant::now(), Vec::new());
        let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
        while begin.elapsed() < lasts {
            tick.tick().await;
            let crowd = self.clone();
            asked.push(tokio::spawn(async move { crowd.post().await }));
        }
        join_all(asked).await.into_iter().map(Result::unwrap).collect()
    }

    /// How long it takes until a request passes.
    pub async fn until_served(&self) -> Duration {
        let begin = Instant::now();
        until("a request to pass again", async || (self.post().await.status == 200).then_some(())).await;
        begin.elapsed()
    }
}

/// Whether an answer has come to its end. Where it came before its request was read, Envoy keeps the connection open for
/// another second.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}

/// Words that nobody has seen before, none of them: a block that was clean once is not looked into again. Made in a few
/// microseconds, or the crowd would be what is measured.
fn body(number: usize, length: usize) -> Vec<u8> {
    const LETTERS: u64 = u64::from_ne_bytes([b'a'; 8]);
    let mut state = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    let mut text = Vec::with_capacity(length + 16);
    text.extend(b"{\"text\": \"");
    while text.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = (state >> 4 & u64::from_ne_bytes([15; 8])) + LETTERS;
        text.extend(&word.to_be_bytes()[..5]);
        text.push(b' ');
    }
    text.extend(b"\"}");
    text
}
