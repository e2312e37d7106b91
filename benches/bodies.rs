//! What bodies cost: CPU time and memory of the service with requests without one, with bodies that are held and looked
//! at, and with an upload that is looked at on its way.
//!
//! ```text
//! cargo bench --bench bodies
//! cargo bench --bench bodies -- --quick
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod support;

use clap::Parser;

use support::goals::say;
use support::load::{self, Request};
use support::stand::{self, Kind, Policy};
use support::texts;
use support::turns::{Variant, machine, middle, paired, pin};

#[derive(Parser)]
#[command(about = "What bodies cost")]
struct Options {
    /// Too little to compare: enough to see that it runs.
    #[arg(long)]
    quick: bool,
    /// Rounds; in each, every size has its turn.
    #[arg(long, default_value_t = 25)]
    rounds: usize,
    /// Requests in a turn.
    #[arg(long, default_value_t = 40)]
    requests: usize,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Identity, as many entries and rules, audit, and all rules about data that are built in.
const ATTACHE: Kind = Kind::Attache(Policy { rules: 1000, credential: false });
const MIB: usize = 1 << 20;
/// Bodies that are sent at the same time.
const AT_ONCE: usize = 8;

fn main() {
    if stand::is_service() {
        return;
    }
    let mut options = Options::parse();
    if options.quick {
        (options.rounds, options.requests) = (2, 5);
    }
    let mut tell = |progress: &str| eprintln!("{progress}");
    let envoy = attache::envoy::install::find_or_install(&mut tell).expect("an Envoy").path;
    println!("{}", machine());
    pin(0);
    let upstream = load::upstream();
    let start = |kind, request: &Request, connections| Variant::start(kind, &envoy, upstream, request, connections);

    let sizes = [4 << 10, 64 << 10, MIB];
    let requests = std::iter::once(Request::Get).chain(sizes.map(|size| Request::Post(chat(size))));
    let requests: Vec<_> = requests.collect();
    println!("one CPU for everything, one connection; {} rounds of {} requests\n", options.rounds, options.requests);
    let mut variants: Vec<_> =
        requests.iter().flat_map(|request| [start(Kind::Plain, request, 1), start(ATTACHE, request, 1)]).collect();
    for _ in 0..options.rounds {
        variants.iter_mut().for_each(|variant| variant.alone(options.requests));
    }
    println!(
        "{:12} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "chat JSON", "CPU svc", "CPU Envoy", "p50", "p50 plain", "ratio"
    );
    for (pair, size) in variants.chunks(2).zip([0].into_iter().chain(sizes)) {
        let [plain, attache] = pair else { continue };
        println!(
            "{:12} {:10.0} {:10.0} {:10.0} {:10.0} {:10.2}",
            format!("{} KiB", size >> 10),
            middle(&attache.alone, |turn| turn.service),
            middle(&attache.alone, |turn| turn.envoy),
            middle(&attache.alone, |turn| turn.p50),
            middle(&plain.alone, |turn| turn.p50),
            paired(&attache.alone, &plain.alone, |own, plain| own.p50 / plain.p50),
        );
    }
    println!();
    let [.., largest] = &variants[..] else { return };
    let empty = middle(&variants[1].alone, |turn| turn.service);
    let whole = middle(&largest.alone, |turn| turn.service);
    say("P7", whole, format!("of which {empty:.0} µs are those of a request without a body"));
    drop(variants);

    // Memory is that of a process that has done nothing else.
    let scale = if options.quick { 20 } else { 1 };
    let mut heads = start(ATTACHE, &Request::Get, 32);
    let (fresh, _) = heads.memory();
    heads.busy(40_000 / scale);
    let (now, most) = heads.memory();
    say(
        "P10 heads",
        now,
        format!("after 40,000 requests of 32 clients; {fresh:.1} after 1,000 requests, at most {most:.1}"),
    );
    drop(heads);

    let mut bodies = start(ATTACHE, &Request::Post(chat(MIB)), AT_ONCE);
    let (_, one) = {
        let alone = &mut start(ATTACHE, &Request::Post(chat(MIB)), 1);
        alone.alone(200 / scale);
        alone.memory()
    };
    bodies.busy(400 / scale);
    let (_, many) = bodies.memory();
    say("P10 bodies", one, format!("one at a time; {many:.1} with {AT_ONCE} at once"));
    drop(bodies);

    let part = chat(64 << 10);
    let count = 100 * MIB / part.len();
    let upload = start(ATTACHE, &Request::Get, 1);
    let clients = &mut upload.stand.clients(&Request::Upload { part, count }, 1);
    clients[0].time(2);
    let (_, most) = upload.memory();
    say("P10 upload", most, "twice 100 MiB of chat JSON in chunks of 64 KiB, without a length in the head");
}

fn chat(size: usize) -> Vec<u8> {
    let (_, mut text) = texts::usual(size).swap_remove(0);
    text.truncate(size);
    text
}
