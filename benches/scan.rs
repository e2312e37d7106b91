//! How fast a text is looked at: by all rules that are built in, personal data and everything it decodes to included.
//!
//! ```text
//! cargo bench --bench scan
//! cargo bench --bench scan -- --quick
//! cargo bench --bench scan -- --crafted      (what is made to be slow)
//! ```
//!
//! `benches/README.md` says how to read what it prints.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "support/texts.rs"]
mod texts;

use std::hint::black_box;
use std::time::Duration;

use attache::pipeline::dlp::scan::{Lens, Report};
use attache::pipeline::dlp::surface::{Layout, Surface};
use clap::Parser;
use nix::time::{ClockId, clock_gettime};
use regex::bytes::RegexSet;

#[derive(Parser)]
#[command(about = "How fast a text is looked at")]
struct Options {
    /// Too little to compare: enough to see that it runs.
    #[arg(long)]
    quick: bool,
    /// What is made to be slow, in milliseconds.
    #[arg(long)]
    crafted: bool,
    /// Bytes of each text.
    #[arg(long, default_value_t = 1 << 20)]
    size: usize,
    /// Rounds; in each, every way has its turn. The median is printed.
    #[arg(long, default_value_t = 41)]
    rounds: usize,
    /// Only the texts with this in their name.
    #[arg(long, default_value = "")]
    only: String,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let mut options = Options::parse();
    if options.quick {
        (options.rounds, options.size) = (3, 64 << 10);
    }
    let lens = texts::lens();
    let named = |(name, _): &(&str, Vec<u8>)| name.contains(&options.only);
    if options.crafted {
        println!("{:20} {:>10} {:>10} {:>10}", "ms", "scan", "rules", "findings");
        for (name, text) in texts::crafted(options.size).into_iter().filter(named) {
            let findings = scan(&lens, &text);
            let rounds = options.rounds.min(5);
            let [all, rules] = medians(rounds, [&mut || scan(&lens, &text), &mut || lens.detector.find(&text).len()]);
            println!("{name:20} {:>10.1} {:>10.1} {findings:>10}", ms(all), ms(rules));
        }
        return;
    }
    let set = RegexSet::new(FEW).unwrap();
    println!(
        "{:12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "GB/s", "scan", "rules", "regexes", "memchr", "findings", "ms"
    );
    for (name, text) in texts::usual(options.size).into_iter().filter(named) {
        let findings = scan(&lens, &text);
        let took = medians(
            options.rounds,
            [
                &mut || scan(&lens, &text),
                &mut || lens.detector.find(&text).len(),
                &mut || set.matches(&text).len(),
                &mut || memchr::memchr(0, black_box(&text)).unwrap_or(0),
            ],
        );
        print!("{name:12}");
        took.iter().for_each(|took| print!(" {:>9.3}", text.len() as f64 / took.as_secs_f64() / 1e9));
        println!(" {findings:>9} {:>9.2}", ms(took[0]));
    }
}

/// A few patterns of tokens that have a head of their own.
const FEW: [&str; 8] = [
    "ghp_[A-Za-z0-9]{36}",
    "AKIA[A-Z2-7]{16}",
    "xox[bp]-[0-9]{10,13}-[0-9A-Za-z-]{20,}",
    "sk_live_[0-9A-Za-z]{24,}",
    "AIza[0-9A-Za-z_-]{35}",
    "glpat-[0-9A-Za-z_-]{20}",
    "eyJ[A-Za-z0-9_-]+[.]eyJ[A-Za-z0-9_-]+[.][A-Za-z0-9_-]+",
    "-----BEGIN [A-Z ]*PRIVATE KEY-----",
];

fn scan(lens: &Lens, text: &[u8]) -> usize {
    let surface = Surface::new(black_box(text), Layout::Plain("body".into()));
    let mut report = Report::default();
    lens.scan(&surface, Vec::new(), &mut report);
    report.findings.len()
}

/// Medians over rounds in which the ways take turns.
fn medians<const N: usize>(rounds: usize, mut ways: [&mut dyn FnMut() -> usize; N]) -> [Duration; N] {
    let mut took = [const { Vec::new() }; N];
    for _ in 0..rounds {
        for (way, took) in ways.iter_mut().zip(&mut took) {
            let started = clock();
            black_box(way());
            took.push(clock() - started);
        }
    }
    took.map(|mut took| {
        took.sort_unstable();
        took[took.len() / 2]
    })
}

/// The time that this thread was at work: what else the machine does is not counted.
fn clock() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock"))
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}
