//! attaché beside mitmproxy with the same policy: who is calling, 1,000 entries and rules, a credential, a record.
//!
//! ```text
//! cargo bench --bench peers                           (installs mitmproxy under target/)
//! cargo bench --bench peers -- --quick
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod support;

use clap::Parser;

use support::goals::say;
use support::load::{self, Request};
use support::stand::{self, Kind, Policy};
use support::turns::{Turn, Variant, machine, middle, paired, pin};

#[derive(Parser)]
#[command(about = "attaché beside mitmproxy with the same policy")]
struct Options {
    /// Too little to compare: enough to see that it runs.
    #[arg(long)]
    quick: bool,
    /// Rounds; in each, both have their turns.
    #[arg(long, default_value_t = 25)]
    rounds: usize,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Connections that ask at the same time when a proxy is kept busy.
const BUSY: usize = 32;

fn main() {
    if stand::is_service() {
        return;
    }
    let mut options = Options::parse();
    if options.quick {
        options.rounds = 2;
    }
    let mut tell = |progress: &str| eprintln!("{progress}");
    let envoy = attache::envoy::install::find_or_install(&mut tell).expect("an Envoy").path;
    let both = std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1);
    // The clients and the upstream elsewhere: what is measured is how much one CPU of proxy takes.
    let away = || pin(usize::from(both));
    away();
    let upstream = load::upstream();
    let policy = |credential| Policy { rules: 1000, credential };
    let kinds = [Kind::Mitmproxy(policy(true)), Kind::Attache(policy(true)), Kind::Attache(policy(false))];
    support::mitmproxy::program();
    let mut variants: Vec<_> = kinds
        .into_iter()
        .map(|kind| {
            pin(0);
            let variant = Variant::start(kind, &envoy, upstream, &Request::Get, BUSY);
            away();
            variant
        })
        .collect();
    println!("{}", machine());
    println!(
        "one CPU for the proxy and its service, {}; {} rounds, alternated; medians\n",
        if both { "another for clients and upstream" } else { "the same for clients and upstream: there is no other" },
        options.rounds
    );
    for _ in 0..options.rounds {
        for variant in &mut variants {
            let requests = if matches!(variant.kind, Kind::Mitmproxy(_)) { 320 } else { 3200 };
            variant.alone(requests / 2);
            variant.busy(requests);
        }
    }
    println!(
        "{:18} {:>8} {:>8} | {:>8} {:>8} {:>8} {:>9} {:>9}",
        "", "p50", "p99", "req/s", "p50", "p99", "CPU µs", "RSS MiB"
    );
    for variant in &variants {
        let (alone, busy) = (
            |value: fn(&Turn) -> f64| middle(&variant.alone, value),
            |value: fn(&Turn) -> f64| middle(&variant.busy, value),
        );
        println!(
            "{:18} {:8.0} {:8.0} | {:8.0} {:8.0} {:8.0} {:9.1} {:9.1}",
            variant.kind.to_string(),
            alone(|t| t.p50),
            alone(|t| t.p99),
            busy(|t| t.rate),
            busy(|t| t.p50),
            busy(|t| t.p99),
            busy(cpu),
            variant.memory().0 + variant.memory_of_envoy(),
        );
    }
    println!("left: one connection, µs; right: {BUSY} connections; CPU and RSS with Envoy's\n");
    let [peer, keyed, bare] = &variants[..] else { return };
    let rate = |own: &Variant| paired(&own.busy, &peer.busy, |own, peer| own.rate / peer.rate);
    let used = |own: &Variant| paired(&own.busy, &peer.busy, |own, peer| cpu(own) / cpu(peer));
    let absolute = |own: &Variant, value: fn(&Turn) -> f64| middle(&own.busy, value);
    say(
        "P5",
        rate(keyed),
        format!(
            "{:.0} a second against {:.0}; {:.1}× without a credential, which attaché looks for in the answer and the \
             addon does not",
            absolute(keyed, |t| t.rate),
            absolute(peer, |t| t.rate),
            rate(bare)
        ),
    );
    say(
        "P5 CPU",
        used(keyed),
        format!(
            "{:.0} µs against {:.0}, of which attaché's own are {:.0}; {:.2} without a credential",
            absolute(keyed, cpu),
            absolute(peer, cpu),
            absolute(keyed, |t| t.service),
            used(bare)
        ),
    );
}

fn cpu(turn: &Turn) -> f64 {
    turn.service + turn.envoy
}
