//! Instructions a request, which do not depend on what else the machine does.
//!
//! Each service runs under callgrind twice, for few and for many requests; what lies between is the requests'.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::load::Request;
use super::stand::{Kind, Stand};

/// Requests of all clients in the short and the long run.
const SHORT: usize = 640;
const LONG: usize = 3840;

/// Instructions of the service a request, with so many clients at once. The counts of the long run stay in
/// `target/callgrind.*` for `callgrind_annotate`.
pub fn per_request(kind: Kind, envoy: &Path, upstream: SocketAddr, clients: usize) -> u64 {
    let [few, many] = [SHORT, LONG].map(|requests| count(kind, envoy, upstream, clients, requests));
    (many - few) / (LONG - SHORT) as u64
}

fn count(kind: Kind, envoy: &Path, upstream: SocketAddr, clients: usize, requests: usize) -> u64 {
    let file = counts(&format!("{}.{clients}", kind.to_string().replace(' ', "-")));
    let stand = Stand::start(kind, envoy, upstream, Some(&file));
    let mut connected = stand.clients(&Request::Get, clients);
    std::thread::scope(|scope| {
        for client in &mut connected {
            scope.spawn(|| client.time(requests / clients));
        }
    });
    // callgrind writes when the service ends.
    drop(stand);
    total(&file)
}

/// Where callgrind writes.
pub fn counts(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("..").join(format!("callgrind.{name}"))
}

/// What callgrind has counted.
pub fn total(file: &Path) -> u64 {
    let counts = std::fs::read_to_string(file).expect("callgrind has counted");
    // `totals:` stands at the end of each part (Callgrind Format Specification).
    let total = counts.lines().filter_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok());
    total.sum()
}
