//! Three times as much as can be looked into.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::refused;
use crate::support::process::most_resident;
use crate::support::{Attache, Upstream, curl, free_address, until};

const POLICY: &str = "allowedDomains: [api.example.com]";
/// Longer than that no verdict takes: Envoy's `message_timeout`, and what it takes to forward the request.
const VERDICT: Duration = Duration::from_secs(7);
/// What a request may wait for its turn, here and once more in the socket.
const SHED_AFTER: Duration = Duration::from_millis(300);
/// How long a flood lasts.
const FLOOD: Duration = Duration::from_secs(4);
/// One of so many has to be answered in time: in others this machine may have done something else.
const FLOODS: usize = 4;
/// So that looking into it is most of what a request costs.
const BODY: usize = 24 << 10;

struct Told {
    status: u16,
    text: String,
    took: Duration,
}

/// Words that nobody has seen before: what was clean once is not looked into again.
fn body(number: usize) -> Vec<u8> {
    let mut state = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    let mut text = String::from("{\"text\": \"");
    while text.len() < BODY {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = state >> 40;
        text.extend((0..5).map(|letter| char::from(b'a' + ((word >> (4 * letter)) % 16) as u8)));
        text.push(' ');
    }
    (text + "\"}").into_bytes()
}

async fn post(proxy: SocketAddr, number: usize) -> Told {
    let body = body(number);
    let begin = Instant::now();
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let head = format!(
        "POST http://api.example.com/{number} HTTP/1.1\r\nHost: api.example.com\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // A refusal may come, and the connection end, before all of it is written.
    let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Told { status, text, took: begin.elapsed() }
}

/// Requests a second, and how long the slowest took, with a few at a time.
async fn capacity(proxy: SocketAddr, next: &AtomicUsize) -> (f64, Duration) {
    let begin = Instant::now();
    let clients = (0..4).map(async |_| {
        let mut slowest = Duration::ZERO;
        let mut count = 0u32;
        while begin.elapsed() < Duration::from_secs(2) {
            let told = post(proxy, next.fetch_add(1, Ordering::Relaxed)).await;
            // On a busy machine even a few may be too many for a moment.
            if told.status == 200 {
                slowest = slowest.max(told.took);
                count += 1;
            }
        }
        (count, slowest)
    });
    let clients = join_all(clients).await;
    let count: u32 = clients.iter().map(|(count, _)| count).sum();
    let slowest = clients.into_iter().map(|(_, slowest)| slowest).max().unwrap();
    (f64::from(count) / begin.elapsed().as_secs_f64(), slowest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_capacity_the_admitted_are_answered_in_time_and_the_rest_are_told_when_to_come_again() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let metrics = free_address();
    let wait = format!("{}ms", SHED_AFTER.as_millis());
    let attache = Attache::up(POLICY)
        .resolve("api.example.com", &upstream)
        .flags(["--shed-after", &wait, "--metrics", &metrics.to_string()])
        .start()
        .await;
    let (proxy, next) = (attache.proxy(), Arc::new(AtomicUsize::new(0)));
    let mut floods = Vec::new();
    let mut before = None;
    while floods.len() < FLOODS && floods.iter().all(|flood: &Flood| flood.late().is_some()) {
        let (rate, slowest) = capacity(proxy, &next).await;
        if before.is_none() {
            before = Some([most_resident(attache.service().await), most_resident(attache.envoy().await)]);
        }
        floods.push(flood(proxy, &next, rate, slowest).await);
    }
    let late: Vec<_> = floods.iter().map_while(Flood::late).collect();
    assert!(late.len() < floods.len(), "{late:?}");
    floods.iter().for_each(Flood::is_told_apart);

    // Nothing that was refused has left, and each is on record as what it is.
    let shed: usize = floods.iter().map(|flood| flood.shed().count()).sum();
    let overloaded = refused(&attache, "overloaded");
    assert!(overloaded.len() >= shed);
    let records = attache.records();
    let allowed = records.iter().filter(|record| record["decision"] == "allow").count();
    assert_eq!(records.len(), next.load(Ordering::Relaxed), "every request is on record");
    assert_eq!((allowed, allowed + overloaded.len()), (upstream.requests().len(), records.len()));
    assert!(overloaded.iter().all(|record| record["decision"] == "error" && record["agent"] == "default"));
    let text = curl([&format!("http://{metrics}/metrics")]).await.text();
    assert!(text.lines().any(|line| line.starts_with("attache_requests_total") && line.contains("\"overloaded\"")));
    attache.wait_stderr("more is asked than can be decided in time").await;
    let said = attache.stderr().matches("more is asked than can be decided").count();
    assert!(said <= 1 + floods.len() * 2, "{}", attache.stderr());
    let after = [most_resident(attache.service().await), most_resident(attache.envoy().await)];
    for (before, after) in before.unwrap().into_iter().zip(after) {
        assert!(after < before + (256 << 20), "from {} to {} MiB", before >> 20, after >> 20);
    }
}

/// Three times as much as was answered before, and what became of it.
struct Flood {
    rate: f64,
    slowest: Duration,
    told: Vec<Told>,
    /// From its end until a request passed again.
    recovered: Duration,
}

async fn flood(proxy: SocketAddr, next: &Arc<AtomicUsize>, rate: f64, slowest: Duration) -> Flood {
    let (begin, mut asked) = (Instant::now(), Vec::new());
    let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / (3.0 * rate)));
    while begin.elapsed() < FLOOD {
        tick.tick().await;
        let number = next.fetch_add(1, Ordering::Relaxed);
        asked.push(tokio::spawn(post(proxy, number)));
    }
    let told = join_all(asked).await.into_iter().map(Result::unwrap).collect();
    // Nothing is left over: the next is served as the first was.
    let begin = Instant::now();
    let served = until("a request to pass again", async || {
        let told = post(proxy, next.fetch_add(1, Ordering::Relaxed)).await;
        (told.status == 200).then_some(told)
    });
    served.await;
    Flood { rate, slowest, told, recovered: begin.elapsed() }
}

impl Flood {
    fn passed(&self) -> impl Iterator<Item = &Told> {
        self.told.iter().filter(|told| told.status == 200)
    }

    fn shed(&self) -> impl Iterator<Item = &Told> {
        self.told.iter().filter(|told| told.status != 200)
    }

    /// What was not answered in time, if anything was not: one in ten may have been unlucky.
    fn late(&self) -> Option<String> {
        let mut took: Vec<_> = self.passed().map(|told| told.took).collect();
        took.sort_unstable();
        let most = took.get(took.len() * 9 / 10).copied().unwrap_or_default();
        let worst = took.last().copied().unwrap_or_default();
        let bound = 4 * SHED_AFTER + 4 * self.slowest;
        // What is looked into in vain is not most of what is done.
        let enough = took.len() as f64 > self.rate * FLOOD.as_secs_f64() / 4.0;
        let in_time = most < bound && worst < VERDICT && self.recovered < bound;
        (!enough || !in_time || self.shed().next().is_none()).then(|| {
            format!(
                "{} passed and {} were refused, with a capacity of {:.0}/s; nine in ten that passed took {most:?}, and \
                 {bound:?} is the most; the worst {worst:?}; then it took {:?} until it was as before",
                took.len(),
                self.shed().count(),
                self.rate,
                self.recovered
            )
        })
    }

    /// Each refusal says what it is, and when to come again.
    fn is_told_apart(&self) {
        for refusal in self.shed() {
            assert_eq!(refusal.status, 503, "{}", refusal.text);
            let (head, body) = refusal.text.split_once("\r\n\r\n").unwrap();
            assert!(head.to_lowercase().contains("retry-after: 1"), "{head}");
            let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
            assert_eq!((&body["error"], &body["reason"]), (&"unavailable".into(), &"overloaded".into()));
        }
    }
}
