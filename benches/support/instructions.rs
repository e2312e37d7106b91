//! Instructions a request, which do not depend on what else the machine does.
//!
//! Each service runs under callgrind twice, for few and for many requests; what lies between is the requests'.

use std::net::SocketAddr;
use std::path::Path;

use super::BUSY;
use super::stand::{Kind, Stand};

/// Requests of each client in the short and the long run.
const SHORT: usize = 20;
const LONG: usize = 120;

/// Counts and prints, one line a service. The counts of the long runs stay in `target/callgrind.*` for
/// `callgrind_annotate`.
pub fn print(envoy: &Path, upstream: SocketAddr, services: impl Iterator<Item = Kind>) {
    println!("{:16} {:>16} {:>16}", "instructions/req", "1 connection", format!("{BUSY} connections"));
    for kind in services {
        let per_request = [1, BUSY].map(|clients| {
            let few = count(kind, envoy, upstream, clients, SHORT * BUSY / clients);
            let many = count(kind, envoy, upstream, clients, LONG * BUSY / clients);
            (many - few) / ((LONG - SHORT) * BUSY) as u64
        });
        println!("{:16} {:16} {:16}", kind.to_string(), per_request[0], per_request[1]);
    }
}

fn count(kind: Kind, envoy: &Path, upstream: SocketAddr, clients: usize, requests: usize) -> u64 {
    let name = format!("callgrind.{}.{clients}", kind.to_string().replace(' ', "-"));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("..").join(name);
    let stand = Stand::start(kind, envoy, upstream, Some(&file));
    let mut connected = stand.clients(upstream, clients);
    std::thread::scope(|scope| {
        for client in &mut connected {
            scope.spawn(|| client.time(requests));
        }
    });
    // callgrind writes when the service ends.
    drop(stand);
    let counts = std::fs::read_to_string(&file).expect("callgrind has counted");
    // `totals:` stands at the end of each part (Callgrind Format Specification).
    let total = counts.lines().filter_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok());
    total.sum()
}
