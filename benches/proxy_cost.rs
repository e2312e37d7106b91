//! What a request costs on its way through the proxy: Envoy alone, Envoy with a service that says yes to
//! everything, and Envoy with attaché.
//!
//! ```text
//! cargo bench --bench proxy_cost
//! cargo bench --bench proxy_cost -- --quick
//! cargo bench --bench proxy_cost -- --instructions     (needs valgrind)
//! ```
//!
//! `benches/README.md` says how to read what it prints.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "support/instructions.rs"]
mod instructions;
#[path = "support/load.rs"]
mod load;
#[path = "support/noop_ext_proc.rs"]
mod noop_ext_proc;
#[path = "support/stand.rs"]
mod stand;
#[path = "support/usage.rs"]
mod usage;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::thread::{CpuSet, sched_setaffinity};

use load::Client;
use stand::{Kind, Stand};

#[derive(Parser)]
#[command(about = "What a request costs on its way through the proxy")]
struct Options {
    /// A few seconds: enough to see that it runs, too little to compare.
    #[arg(long)]
    quick: bool,
    /// Count the instructions of the services instead of time, with callgrind.
    #[arg(long)]
    instructions: bool,
    /// Rounds; in each, every variant has its turn.
    #[arg(long, default_value_t = 60)]
    rounds: usize,
    /// Requests in a variant's turn.
    #[arg(long, default_value_t = 400)]
    requests: usize,
    /// Entries in attaché's policy; each number is a variant.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1000])]
    rules: Vec<usize>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Connections that ask at the same time when the proxy is kept busy.
const BUSY: usize = 32;

fn main() {
    // The no-op service is this executable under another name, so that one command builds and runs it all.
    if std::env::args_os().nth(1).is_some_and(|first| first == stand::NOOP) {
        return noop_ext_proc::run(std::env::args_os().skip(1));
    }
    let mut options = Options::parse();
    if options.quick {
        (options.rounds, options.requests) = (4, 100);
    }
    let services = std::iter::once(Kind::Noop).chain(options.rules.iter().map(|&rules| Kind::Attache { rules }));
    let mut say = |progress: &str| eprintln!("{progress}");
    let envoy = attache::envoy::install::find_or_install(&mut say).expect("an Envoy").path;
    let upstream = load::upstream();
    if options.instructions {
        return instructions::print(&envoy, upstream, services);
    }

    pin();
    let kinds = std::iter::once(Kind::Plain).chain(services);
    let mut variants: Vec<_> = kinds.map(|kind| Variant::start(kind, &envoy, upstream)).collect();
    println!("{}", machine());
    println!(
        "one CPU for everything; {} rounds of {} requests a variant, alternated; medians over the rounds\n",
        options.rounds, options.requests
    );
    for _ in 0..options.rounds {
        for variant in &mut variants {
            let turn = variant.turn(options.requests);
            variant.alone.push(turn);
        }
    }
    print_latency(&variants);
    for _ in 0..options.rounds.div_ceil(4) {
        for variant in &mut variants {
            let turn = variant.busy_turn(options.requests * 4);
            variant.busy.push(turn);
        }
    }
    print_busy(&variants);
}

/// What runs, and what its turns showed.
struct Variant {
    kind: Kind,
    stand: Stand,
    clients: Vec<Client>,
    alone: Vec<Turn>,
    busy: Vec<Turn>,
}

/// One turn of a variant. Times are microseconds.
#[derive(Default)]
struct Turn {
    p50: f64,
    p99: f64,
    /// CPU time a request, all threads, user and system.
    service: f64,
    envoy: f64,
    /// Requests a second.
    rate: f64,
}

impl Variant {
    fn start(kind: Kind, envoy: &std::path::Path, upstream: SocketAddr) -> Self {
        let stand = Stand::start(kind, envoy, upstream, None);
        let clients = stand.clients(upstream, BUSY);
        let mut variant = Self { kind, stand, clients, alone: Vec::new(), busy: Vec::new() };
        // Connections, caches and allocators come to rest before the first round.
        variant.turn(500);
        variant.busy_turn(500);
        variant
    }

    /// One client, one request at a time.
    fn turn(&mut self, requests: usize) -> Turn {
        let client = &mut self.clients[0];
        let (mut times, used) = self.stand.used_by(|| client.time(requests));
        times.sort_unstable();
        let at = |quantile: f64| micros(times[((times.len() - 1) as f64 * quantile) as usize]);
        let each = requests as f64;
        Turn {
            p50: at(0.5),
            p99: at(0.99),
            service: micros(used.service) / each,
            envoy: micros(used.envoy) / each,
            ..Turn::default()
        }
    }

    /// All clients at once, each one request at a time.
    fn busy_turn(&mut self, requests: usize) -> Turn {
        let clients = &mut self.clients;
        let share = requests / clients.len();
        let each = (share * clients.len()) as f64;
        let start = Instant::now();
        let ((), used) = self.stand.used_by(|| {
            std::thread::scope(|scope| {
                for client in clients {
                    scope.spawn(|| client.time(share));
                }
            })
        });
        let rate = each / start.elapsed().as_secs_f64();
        Turn { service: micros(used.service) / each, envoy: micros(used.envoy) / each, rate, ..Turn::default() }
    }
}

fn print_latency(variants: &[Variant]) {
    let [plain, noop, ..] = variants else { return };
    println!("one connection, one request at a time (µs)");
    println!(
        "{:16} {:>7} {:>7} {:>9} {:>9} {:>10} {:>10} {:>9} {:>9} {:>9}",
        "", "p50", "p99", "added p50", "added p99", "p50/no-op", "added/nop", "CPU svc", "svc/no-op", "CPU Envoy"
    );
    for variant in variants {
        let own = |value: fn(&Turn) -> f64| median(variant.alone.iter().map(value));
        let to = |base: &Variant, relation: fn(&Turn, &Turn) -> f64| paired(&variant.alone, &base.alone, relation);
        let added = |quantile: fn(&Turn) -> f64| own(quantile) - median(plain.alone.iter().map(quantile));
        let noop_added = median(noop.alone.iter().map(|t| t.p50)) - median(plain.alone.iter().map(|t| t.p50));
        println!(
            "{:16} {:7.1} {:7.1} {:9.1} {:9.1} {:10.3} {:10.3} {:9.2} {:9.3} {:9.2}",
            variant.kind.to_string(),
            own(|t| t.p50),
            own(|t| t.p99),
            added(|t| t.p50),
            added(|t| t.p99),
            to(noop, |own, noop| own.p50 / noop.p50),
            added(|t| t.p50) / noop_added,
            own(|t| t.service),
            to(noop, |own, noop| own.service / noop.service),
            own(|t| t.envoy),
        );
    }
    println!();
}

fn print_busy(variants: &[Variant]) {
    let [_, noop, ..] = variants else { return };
    println!("{BUSY} connections at once");
    println!(
        "{:16} {:>9} {:>12} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "CPU svc", "svc/no-op", "CPU Envoy", "req/s", "RSS svc", "RSS/no-op", "RSS Envoy"
    );
    let memory = |variant: &Variant| variant.stand.service.as_ref().map_or(0.0, |s| mebibytes(s.id()));
    for variant in variants {
        let own = |value: fn(&Turn) -> f64| median(variant.busy.iter().map(value));
        println!(
            "{:16} {:9.2} {:12.3} {:9.2} {:9.0} {:9.1} {:9.2} {:9.1}",
            variant.kind.to_string(),
            own(|t| t.service),
            paired(&variant.busy, &noop.busy, |own, noop| own.service / noop.service),
            own(|t| t.envoy),
            own(|t| t.rate),
            memory(variant),
            memory(variant) / memory(noop),
            mebibytes(variant.stand.envoy.id()),
        );
    }
}

/// The median over the rounds of a relation between two turns of the same round.
fn paired(own: &[Turn], base: &[Turn], relation: fn(&Turn, &Turn) -> f64) -> f64 {
    median(own.iter().zip(base).map(|(own, base)| relation(own, base)))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn mebibytes(pid: u32) -> f64 {
    usage::resident(pid) as f64 / f64::from(1 << 20)
}

/// Puts this process, and whatever it starts, on one CPU: without a choice of cores there is one path to measure.
fn pin() {
    let mut one = CpuSet::new();
    one.set(0);
    sched_setaffinity(None, &one).expect("CPU 0 may be used");
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    format!(
        "{}, {} CPUs, Linux {}, load {}",
        model.unwrap_or("unknown CPU"),
        cpus.matches("processor\t").count(),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split(' ').next().unwrap_or_default(),
    )
}
