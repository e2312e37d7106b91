//! Nothing goes out without its record, whatever becomes of the disk that the journal is on, and nothing that is on
//! record is lost.

mod damaged;
mod full;
mod load;
mod slow;
mod unwritable;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use attache::journal::reader::Reader;
use futures_util::future::join_all;
use hyper::body::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::attache::Setup;
use crate::support::{Attache, PATIENCE, Place, curl, free_address, tunnel, until, within};

const POLICY: &str = "allowedDomains: [api.example.com]";
const HOST: &str = "api.example.com";

/// An attaché whose journal is on a disk of the test's choice.
struct Station {
    place: Place,
    metrics: SocketAddr,
}

/// What an agent was told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    path: String,
    status: u16,
    reason: String,
}

impl Station {
    async fn new(policy: &str, state: &Path, flags: &[&str], more: impl FnOnce(Setup) -> Setup) -> Station {
        let metrics = free_address();
        let setup = |setup: Setup| {
            let setup = setup.state_dir(state).flags(["--metrics", &metrics.to_string()]);
            more(setup.flags(flags.iter().copied()))
        };
        Station { place: Place::with(policy, [HOST], setup).await, metrics }
    }

    fn attache(&self) -> &Attache {
        &self.place.attache
    }

    /// All at once, over a few connections.
    async fn ask(&self, paths: impl IntoIterator<Item = String>) -> Vec<Told> {
        ask(self.attache().proxy(), paths).await
    }

    async fn ask_one(&self, path: &str) -> Told {
        self.ask([path.to_owned()]).await.pop().unwrap()
    }

    /// The paths of all that arrived upstream.
    fn arrived(&self) -> BTreeSet<String> {
        let arrived = self.place.arrived();
        let paths: BTreeSet<String> = arrived.iter().map(|seen| seen.path.clone()).collect();
        assert_eq!(paths.len(), arrived.len(), "something went out twice");
        paths
    }

    /// What arrived is what is on record as allowed, and what agents were told.
    fn assert_all_on_record(&self, told: &[Told]) {
        let with = |status: u16| -> BTreeSet<String> {
            told.iter().filter(|told| told.status == status).map(|told| told.path.clone()).collect()
        };
        let arrived = self.arrived();
        assert_eq!(arrived, with(200), "what arrived, and what was answered");
        assert_eq!(arrived, allowed(&self.attache().ready().state_dir), "what arrived, and what is on record");
        let refused: BTreeSet<_> = told.iter().filter(|told| told.status != 200).collect_paths();
        assert!(arrived.is_disjoint(&refused), "{refused:?}");
    }

    /// A sample of the metrics port, without labels.
    async fn metric(&self, name: &str) -> f64 {
        metric(self.metrics, name).await
    }

    /// Waits until every allowed request's outcome is on record.
    async fn wait_outcomes(&self) {
        let missing = || {
            let records = self.attache().readable_records().into_iter();
            let is_open = |record: &Value| record["decision"] == "allow" && record["duration"].is_null();
            records.filter(is_open).map(|record| record.to_string()).collect::<Vec<_>>()
        };
        let all = until("every outcome", async || missing().is_empty().then_some(()));
        let done = tokio::time::timeout(PATIENCE / 2, all).await;
        assert!(done.is_ok(), "no outcome of {:#?}", missing());
    }

    /// `attache audit verify -o json`, which has to hold.
    async fn verified(&self) -> Value {
        let output = self.attache().command("audit", &["verify", "-o", "json"]).await;
        assert_eq!(output.exit, 0, "{output:?}");
        serde_json::from_str(&output.stdout).unwrap()
    }
}

async fn metric(port: SocketAddr, name: &str) -> f64 {
    let text = curl([&format!("http://{port}/metrics")]).await.text();
    let line = text.lines().find(|line| line.split(['{', ' ']).next() == Some(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

/// The paths of all that is on record as allowed.
fn allowed(state: &Path) -> BTreeSet<String> {
    let mut reader = Reader::open(&state.join("journal")).unwrap();
    let exchanges = reader.poll(true, std::time::Instant::now()).unwrap();
    let records = exchanges.iter().map(|exchange| serde_json::to_value(exchange).unwrap());
    let allowed = records.filter(|record| record["decision"] == "allow");
    allowed.map(|record| record["path"].as_str().unwrap().to_owned()).collect()
}

trait CollectPaths {
    fn collect_paths(self) -> BTreeSet<String>;
}

impl<'a, I: Iterator<Item = &'a Told>> CollectPaths for I {
    fn collect_paths(self) -> BTreeSet<String> {
        self.map(|told| told.path.clone()).collect()
    }
}

async fn asked(client: h2::client::SendRequest<Bytes>, path: String) -> Told {
    let request = http::Request::get(format!("http://{HOST}{path}")).body(()).unwrap();
    let mut client = within("a stream", client.ready()).await.unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let (head, mut body) = within("an answer", response).await.unwrap().into_parts();
    let mut text = Vec::new();
    while let Some(data) = within("the body", body.data()).await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        text.extend_from_slice(&data);
    }
    let body: Value = serde_json::from_slice(&text).unwrap_or_default();
    let reason = body["reason"].as_str().unwrap_or_default().to_owned();
    Told { path, status: head.status.as_u16(), reason }
}

async fn ask(proxy: SocketAddr, paths: impl IntoIterator<Item = String>) -> Vec<Told> {
    let clients = join_all((0..8).map(|_| async move {
        let stream = within("a connection", TcpStream::connect(proxy)).await.unwrap();
        tunnel::h2(stream).await
    }))
    .await;
    let asked = paths.into_iter().enumerate().map(|(n, path)| asked(clients[n % clients.len()].clone(), path));
    join_all(asked).await
}

/// Paths of their own: what arrives can be told apart.
fn paths(kind: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("/{kind}/{n:04}")).collect()
}

/// A state directory that outlives the attaché which works in it.
fn state() -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    (home, state)
}

fn segments(state: &Path) -> Vec<PathBuf> {
    let segments = ::attache::journal::segment::list(&state.join("journal")).unwrap();
    segments.into_iter().map(|segment| segment.path).collect()
}
