//! How cost grows with rules, bodies and connections: CSV files, and the plots made of them.
//!
//! ```text
//! cargo bench --bench curves                          (installs matplotlib under target/; writes benches/plots)
//! cargo bench --bench curves -- --quick               (the same into target/plots)
//! cargo bench --bench curves -- --draw                (draws what was measured before)
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod support;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;

use support::load::{self, Request};
use support::stand::{self, Kind, Noop, Policy};
use support::turns::{Turn, Variant, machine, middle, pin};
use support::{python, texts};

#[derive(Parser)]
#[command(about = "How cost grows with rules, bodies and connections")]
struct Options {
    /// Too little to compare: enough to see that it runs.
    #[arg(long)]
    quick: bool,
    /// Only draw.
    #[arg(long)]
    draw: bool,
    /// Rounds; in each, everything in one plot has its turn.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    if stand::is_service() {
        return;
    }
    let mut options = Options::parse();
    if options.quick {
        options.rounds = 1;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = root.join(if options.quick { "target/plots" } else { "benches/plots" });
    std::fs::create_dir_all(&place).expect("a folder");
    if !options.draw {
        measure(&options, &place);
    }
    let mut draw = Command::new(python::environment().join("bin/python"));
    python::run(draw.arg(root.join("benches/plots.py")).arg(&place));
}

fn measure(options: &Options, place: &Path) {
    let mut tell = |progress: &str| eprintln!("{progress}");
    let envoy = attache::envoy::install::find_or_install(&mut tell).expect("an Envoy").path;
    println!("{}", machine());
    pin(0);
    let ground = Ground { envoy, upstream: load::upstream(), rounds: options.rounds };
    write(&place.join("rules.csv"), &rules(&ground));
    write(&place.join("bodies.csv"), &bodies(&ground));
    write(&place.join("connections.csv"), &connections(&ground));
}

/// What every plot is measured on.
struct Ground {
    envoy: PathBuf,
    upstream: SocketAddr,
    rounds: usize,
}

/// A point of a curve: whose it is, and where.
type Point = (&'static str, usize, Turn);

const BASES: [(&str, Kind); 3] =
    [("plain Envoy", Kind::Plain), ("no-op on h2", Kind::Noop(Noop::H2)), ("no-op on tonic", Kind::Noop(Noop::Tonic))];

fn attache(rules: usize) -> Kind {
    Kind::Attache(Policy { rules, credential: false })
}

impl Ground {
    fn start(&self, kind: Kind, request: &Request, connections: usize) -> Variant {
        Variant::start(kind, &self.envoy, self.upstream, request, connections)
    }
}

/// One connection, as entries and rules grow; what has no policy is the same everywhere.
fn rules(ground: &Ground) -> Vec<Point> {
    let sizes = [10, 100, 1000, 10_000];
    let kinds = BASES.into_iter().map(|(name, kind)| (name, 0, kind));
    let kinds = kinds.chain(sizes.map(|size| ("attaché", size, attache(size))));
    let mut variants: Vec<_> =
        kinds.map(|(name, size, kind)| (name, size, ground.start(kind, &Request::Get, 1))).collect();
    for _ in 0..ground.rounds {
        variants.iter_mut().for_each(|(.., variant)| variant.alone(300));
    }
    let points = variants.iter().flat_map(|(name, size, variant)| {
        let turn = typical(&variant.alone);
        let at = if *size == 0 { sizes.to_vec() } else { vec![*size] };
        at.into_iter().map(move |size| (*name, size, turn))
    });
    points.collect()
}

/// One connection, as bodies of chat JSON grow.
fn bodies(ground: &Ground) -> Vec<Point> {
    let mut points = Vec::new();
    for size in [1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20] {
        let (_, mut text) = texts::usual(size).swap_remove(0);
        text.truncate(size);
        let request = Request::Post(text);
        let kinds = BASES.into_iter().chain([("attaché", attache(1000))]);
        let mut variants: Vec<_> = kinds.map(|(name, kind)| (name, ground.start(kind, &request, 1))).collect();
        for _ in 0..ground.rounds {
            variants.iter_mut().for_each(|(_, variant)| variant.alone(25));
        }
        points.extend(variants.iter().map(|(name, variant)| (*name, size, typical(&variant.alone))));
    }
    points
}

/// As more clients ask at once.
fn connections(ground: &Ground) -> Vec<Point> {
    let mut points = Vec::new();
    for count in [1, 4, 16, 64, 256] {
        let kinds = BASES.into_iter().chain([("attaché", attache(1000))]);
        let mut variants: Vec<_> = kinds.map(|(name, kind)| (name, ground.start(kind, &Request::Get, count))).collect();
        for _ in 0..ground.rounds.div_ceil(2) {
            variants.iter_mut().for_each(|(_, variant)| variant.busy(1024));
        }
        points.extend(variants.iter().map(|(name, variant)| (*name, count, typical(&variant.busy))));
    }
    points
}

/// The medians of the turns.
fn typical(turns: &[Turn]) -> Turn {
    Turn {
        p50: middle(turns, |turn| turn.p50),
        p99: middle(turns, |turn| turn.p99),
        service: middle(turns, |turn| turn.service),
        envoy: middle(turns, |turn| turn.envoy),
        rate: middle(turns, |turn| turn.rate),
    }
}

fn write(file: &Path, points: &[Point]) {
    let mut text = String::from("variant,x,p50_us,p99_us,service_cpu_us,envoy_cpu_us,requests_per_second\n");
    for (name, x, Turn { p50, p99, service, envoy, rate }) in points {
        writeln!(text, "{name},{x},{p50:.1},{p99:.1},{service:.2},{envoy:.2},{rate:.0}").expect("a string grows");
    }
    std::fs::write(file, text).expect("the figures can be written");
    println!("{}", file.display());
}
