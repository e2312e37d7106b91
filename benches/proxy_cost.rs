//! What a request costs on its way through the proxy: Envoy alone, Envoy with services that say yes to everything, and
//! Envoy with attaché.
//!
//! ```text
//! cargo bench --bench proxy_cost
//! cargo bench --bench proxy_cost -- --quick
//! cargo bench --bench proxy_cost -- --instructions     (needs valgrind)
//! ```
//!
//! `benches/README.md` says how to read what it prints.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "support/record.rs"]
mod record;
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod support;

use std::path::Path;

use attache::journal::Journal;
use attache::pipeline::audit::Record;
use clap::Parser;
use nix::time::{ClockId, clock_gettime};

use support::goals::say;
use support::instructions;
use support::load::{self, Request};
use support::stand::{self, Kind, Noop, Policy};
use support::turns::{Turn, Variant, machine, median, micros, middle, paired, pin};

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
    #[arg(long, default_value_t = 300)]
    requests: usize,
    /// Entries and rules in attaché's policy. With another number than 1,000, the figures are not those of the goals.
    #[arg(long, default_value_t = 1000)]
    rules: usize,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Connections that ask at the same time when the proxy is kept busy.
const BUSY: usize = 32;

fn main() {
    if stand::is_service() {
        return;
    }
    let mut options = Options::parse();
    if options.quick {
        (options.rounds, options.requests) = (4, 100);
    }
    let attache = |credential| Kind::Attache(Policy { rules: options.rules, credential });
    let services =
        [Kind::Noop(Noop::H2), Kind::Noop(Noop::Raw), Kind::Noop(Noop::Tonic), attache(false), attache(true)];
    let mut tell = |progress: &str| eprintln!("{progress}");
    let envoy = attache::envoy::install::find_or_install(&mut tell).expect("an Envoy").path;
    let upstream = load::upstream();
    println!("{}", machine());
    if options.instructions {
        return count(&envoy, upstream, &services, options.quick);
    }

    pin(0);
    let kinds = std::iter::once(Kind::Plain).chain(services);
    let mut variants: Vec<_> = kinds.map(|kind| Variant::start(kind, &envoy, upstream, &Request::Get, BUSY)).collect();
    let mut records = Records::new();
    println!(
        "one CPU for everything; {} rounds of {} requests a variant, alternated; medians over the rounds\n",
        options.rounds, options.requests
    );
    for _ in 0..options.rounds {
        variants.iter_mut().for_each(|variant| variant.alone(options.requests));
        records.turn(options.requests);
    }
    for _ in 0..options.rounds.div_ceil(4) {
        variants.iter_mut().for_each(|variant| variant.busy(options.requests * 4));
    }
    print_latency(&variants);
    print_busy(&variants);
    judge(&variants, &records);
}

/// The record that a request leaves, written alone: what is compared with a request's whole way.
struct Records {
    journal: Journal,
    _directory: tempfile::TempDir,
    /// CPU time of a request's two entries in µs, the kernel's work included.
    turns: Vec<f64>,
}

impl Records {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let journal = Journal::open(&directory.path().join("journal"), attache::journal::Options::default());
        Self { journal: journal.expect("a journal"), _directory: directory, turns: Vec::new() }
    }

    fn turn(&mut self, requests: usize) {
        let before = cpu();
        for number in 0..requests as u64 {
            // Decisions are on record one by one before they are told, outcomes as they come from Envoy.
            self.journal.append(&record::decision(number)).expect("appended");
            self.journal.append_all(&[Record::Outcome(Box::new(record::outcome(number)))]).expect("appended");
        }
        self.turns.push(micros(cpu() - before) / requests as f64);
    }
}

/// Of this process, with the thread that brings records onto the disk.
fn cpu() -> std::time::Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("Linux has this clock").into()
}

fn judge(variants: &[Variant], records: &Records) {
    let [plain, h2, raw, tonic, attache, keyed] = variants else { return };
    let p50 = |own: &Variant, base: &Variant| paired(&own.alone, &base.alone, |own, base| own.p50 / base.p50);
    say(
        "P1",
        p50(attache, tonic),
        format!(
            "{:.2} against the no-op that leaves messages as bytes; with a credential, which is then looked for in the answer: \
             {:.2} and {:.2}",
            p50(attache, raw),
            p50(keyed, tonic),
            p50(keyed, raw)
        ),
    );
    let added = |own: &Variant, base: &Variant| {
        let rounds = own.alone.iter().zip(&base.alone).zip(&plain.alone);
        median(rounds.map(|((own, base), plain)| (own.p50 - plain.p50) / (base.p50 - plain.p50)))
    };
    let micros = |variant: &Variant| middle(&variant.alone, |turn| turn.p50) - middle(&plain.alone, |turn| turn.p50);
    say(
        "P2",
        added(attache, h2),
        format!("{:.0} µs against {:.0}; with a credential {:.2}", micros(attache), micros(h2), added(keyed, h2)),
    );
    let service = |own: &Variant, base: &Variant| paired(&own.busy, &base.busy, |own, base| own.service / base.service);
    say(
        "P4",
        service(attache, tonic),
        format!(
            "{:.1} µs; {:.2} against the no-op that leaves messages as bytes; with a credential {:.2}",
            middle(&attache.busy, |turn| turn.service),
            service(attache, raw),
            service(keyed, tonic)
        ),
    );
    let record = median(records.turns.iter().copied());
    let share = median(records.turns.iter().zip(&attache.alone).map(|(record, turn)| record / turn.p50 * 100.0));
    say("P11", share, format!("{record:.1} µs of CPU time for both records, measured beside the requests"));
}

fn print_latency(variants: &[Variant]) {
    let [plain, h2, _, tonic, ..] = variants else { return };
    println!("one connection, one request at a time (µs)");
    println!(
        "{:18} {:>7} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>9}",
        "", "p50", "p99", "added p50", "added p99", "p50/tonic", "added/h2", "CPU svc", "svc/tonic", "CPU Envoy"
    );
    for variant in variants {
        let own = |value: fn(&Turn) -> f64| middle(&variant.alone, value);
        let added =
            |variant: &Variant, value: fn(&Turn) -> f64| middle(&variant.alone, value) - middle(&plain.alone, value);
        let to = |relation: fn(&Turn, &Turn) -> f64| paired(&variant.alone, &tonic.alone, relation);
        println!(
            "{:18} {:7.1} {:7.1} {:9.1} {:9.1} {:9.3} {:9.3} {:9.2} {:10.3} {:9.2}",
            variant.kind.to_string(),
            own(|t| t.p50),
            own(|t| t.p99),
            added(variant, |t| t.p50),
            added(variant, |t| t.p99),
            to(|own, tonic| own.p50 / tonic.p50),
            added(variant, |t| t.p50) / added(h2, |t| t.p50),
            own(|t| t.service),
            to(|own, tonic| own.service / tonic.service),
            own(|t| t.envoy),
        );
    }
    println!();
}

fn print_busy(variants: &[Variant]) {
    let [_, _, _, tonic, ..] = variants else { return };
    println!("{BUSY} connections at once (CPU in µs a request, memory in MiB)");
    println!(
        "{:18} {:>9} {:>10} {:>9} {:>9} {:>9} {:>9}",
        "", "CPU svc", "svc/tonic", "CPU Envoy", "req/s", "RSS svc", "RSS Envoy"
    );
    for variant in variants {
        let own = |value: fn(&Turn) -> f64| middle(&variant.busy, value);
        println!(
            "{:18} {:9.2} {:10.3} {:9.2} {:9.0} {:9.1} {:9.1}",
            variant.kind.to_string(),
            own(|t| t.service),
            paired(&variant.busy, &tonic.busy, |own, tonic| own.service / tonic.service),
            own(|t| t.envoy),
            own(|t| t.rate),
            variant.memory().0,
            variant.memory_of_envoy(),
        );
    }
    println!();
}

/// Counts and prints, one line a service.
fn count(envoy: &Path, upstream: std::net::SocketAddr, services: &[Kind], quick: bool) {
    println!("{:18} {:>16}", "instructions/req", format!("{BUSY} connections"));
    for kind in services
        .iter()
        .copied()
        .filter(|kind| !quick || matches!(kind, Kind::Attache(Policy { credential: false, .. })))
    {
        let counted = instructions::per_request(kind, envoy, upstream, BUSY);
        println!("{:18} {counted:16}", kind.to_string());
        if let Kind::Attache(Policy { credential: false, .. }) = kind {
            say("P3", counted as f64, "");
        }
    }
}
