//! The real service, killed at random moments under load: whatever was answered is on record, and the record holds.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attache::journal::verify::{Expected, verify};
use rustix::process::Signal;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::Place;
use super::killed::Sidecar;
use crate::support::{Upstream, tunnel, until, within};

/// How many at the same time.
const CLIENTS: usize = 8;

fn rounds() -> usize {
    std::env::var("ATTACHE_TEST_CRASHES").map_or(5, |rounds| rounds.parse().unwrap())
}

#[tokio::test]
async fn whatever_was_answered_before_a_kill_is_on_record() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let place = Place::new();
    let _envoy = place.envoy().await;
    let (mut answered, mut refused) = (Vec::new(), 0);
    for round in 0..rounds() {
        let mut sidecar = Sidecar::on(&place, place.service(), &upstream).await;
        until("Envoy to have found it", async || (get(&place, "api.example.com", "/").await? == 200).then_some(()))
            .await;
        let (tell, mut told) = mpsc::unbounded_channel();
        let over = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS).map(|client| {
            let (tell, over, listener) = (tell.clone(), over.clone(), place.listener);
            // One in four asks for what is refused.
            let host = if client % 4 == 3 { "other.example.com" } else { "api.example.com" };
            tokio::spawn(async move {
                for n in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let path = format!("/{round}/{client}/{n}");
                    // Only attaché answers 200 or 403; Envoy alone says 503.
                    if let Some(status @ (200 | 403)) = ask(listener, host, &path).await {
                        tell.send((path, status)).unwrap();
                    }
                }
            })
        });
        let clients: Vec<_> = clients.collect();
        drop(tell);
        for _ in 0..=RandomState::new().hash_one(round) % 100 {
            answered.push(within("an answer", told.recv()).await.unwrap());
        }
        sidecar.service.signal(Signal::KILL);
        sidecar.service.exit().await;
        over.store(true, Ordering::Relaxed);
        for client in clients {
            within("a client's last answer", client).await.unwrap();
        }
        while let Some(answer) = told.recv().await {
            answered.push(answer);
        }
        let holds = verify(&place.journal(), &Expected::default(), &mut |_, _| ());
        let report = holds.unwrap_or_else(|bad| panic!("round {round}: {bad}"));
        assert_eq!(report.chains.len(), round + 1);
        let decisions = decisions(&place.journal());
        for (path, status) in answered.drain(..) {
            let expected = if status == 200 { "allow" } else { "deny" };
            refused += usize::from(status == 403);
            assert_eq!(decisions.get(&path).map(String::as_str), Some(expected), "round {round}: {path}");
        }
    }
    assert!(refused > 0, "the load had nothing that is refused");
}

async fn get(place: &Place, host: &str, path: &str) -> Option<u16> {
    ask(place.listener, host, path).await
}

/// The status of a plain request to the proxy; none where the connection ended without.
async fn ask(proxy: std::net::SocketAddr, host: &str, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(proxy).await.ok()?;
    let request = format!("GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = tunnel::raw(&mut stream, request.as_bytes()).await;
    answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

/// What was decided, by path.
fn decisions(journal: &Path) -> HashMap<String, String> {
    let mut decisions = HashMap::new();
    for file in std::fs::read_dir(journal).unwrap().map(|file| file.unwrap().path()) {
        let text = if file.extension().is_some_and(|is| is == "jsonl") {
            std::fs::read_to_string(file).unwrap()
        } else {
            continue;
        };
        for line in text.lines().filter(|line| line.starts_with("{\"type\":\"decision\"")) {
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            decisions.entry(text("path")).or_insert_with(|| text("decision"));
        }
    }
    decisions
}
