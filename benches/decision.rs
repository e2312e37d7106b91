//! What a decision costs with few and with very many entries: it should not show.
//!
//! ```text
//! cargo bench --bench decision
//! cargo bench --bench decision -- --quick
//! cargo bench --bench decision -- --instructions     (needs valgrind)
//! ```
//!
//! `benches/README.md` says how to read what it prints.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "support/goals.rs"]
#[allow(dead_code, reason = "only what is said")]
mod goals;
#[path = "support/policies.rs"]
mod policies;

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use attache::config::compile::Compiled;
use attache::pipeline::agent::AgentId;
use attache::pipeline::message::RequestHead;
use clap::Parser;
use policies::{agent_of, cases, head, load};

#[derive(Parser)]
#[command(about = "What a decision costs with few and with very many entries")]
struct Options {
    /// A few seconds: enough to see that it runs, too little to compare.
    #[arg(long)]
    quick: bool,
    /// Count instructions instead of time, with callgrind.
    #[arg(long)]
    instructions: bool,
    /// Rounds; in each, every size has its turn.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Decisions in a turn.
    #[arg(long, default_value_t = 1000)]
    decisions: usize,
    /// How many entries there are; ratios are to the first.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1000, 10_000])]
    sizes: Vec<usize>,
    /// Only the kinds of policy with this in their name.
    #[arg(long, default_value = "")]
    only: String,
    /// What runs under callgrind: one kind of policy, its size, and whether it admits.
    #[arg(long, num_args = 3, hide = true)]
    count: Option<Vec<String>>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let mut options = Options::parse();
    if let Some([name, size, admitted]) = options.count.as_deref() {
        let case = cases(size.parse().unwrap()).into_iter().find(|case| case.name == name).expect("a kind of policy");
        let subject = Subject::of(&case, admitted == "true");
        return decide_many(&subject, options.decisions);
    }
    if options.quick {
        (options.rounds, options.decisions) = (3, 100);
    }
    let unit = if options.instructions { "instructions" } else { "ns" };
    print!("{:24} {:8}", unit, "");
    options.sizes.iter().for_each(|size| print!(" {size:>8}"));
    println!(" {:>8}", "ratio");
    let mut worst = (0.0, String::new());
    let by_size: Vec<_> = options.sizes.iter().map(|size| cases(*size)).collect();
    for at in 0..by_size[0].len() {
        let name = by_size[0][at].name;
        if !name.contains(&options.only) {
            continue;
        }
        for (admitted, verdict) in [(true, "admitted"), (false, "refused")] {
            let row = if options.instructions {
                counted(name, admitted, &options)
            } else {
                let subjects: Vec<_> = by_size.iter().map(|cases| Subject::of(&cases[at], admitted)).collect();
                timed(&subjects, &options)
            };
            print!("{name:24} {verdict:8}");
            row.costs.iter().for_each(|cost| print!(" {cost:>8.0}"));
            println!(" {:>8.2}", row.ratio);
            if row.ratio > worst.0 {
                worst = (row.ratio, format!("{name}, {verdict}"));
            }
        }
    }
    println!();
    goals::say("P6", worst.0, worst.1);
}

/// What a decision costs at each size, and the last size against the first.
struct Row {
    costs: Vec<f64>,
    ratio: f64,
}

/// A compiled policy and the request it is asked about.
struct Subject {
    compiled: Compiled,
    agent: AgentId,
    head: RequestHead,
    wall: SystemTime,
}

impl Subject {
    fn of(case: &policies::Case, admitted: bool) -> Self {
        let compiled = load(&case.text);
        let agent = agent_of(case, &compiled);
        let head = head(if admitted { &case.admitted } else { &case.refused });
        let wall = SystemTime::now();
        let verdict = compiled.rules.decide(agent, &head, wall);
        assert_eq!(verdict.is_ok(), admitted, "{}: {verdict:?}", case.name);
        Self { compiled, agent, head, wall }
    }
}

/// Nanoseconds: medians over rounds in which the sizes take turns.
fn timed(subjects: &[Subject], options: &Options) -> Row {
    let mut costs = vec![Vec::new(); subjects.len()];
    let mut ratios = Vec::new();
    subjects.iter().for_each(|subject| decide_many(subject, options.decisions));
    for _ in 0..options.rounds {
        let round = subjects.iter().map(|subject| {
            let started = Instant::now();
            decide_many(subject, options.decisions);
            started.elapsed()
        });
        let round: Vec<Duration> = round.collect();
        for (costs, took) in costs.iter_mut().zip(&round) {
            costs.push(took.as_nanos() as f64 / options.decisions as f64);
        }
        ratios.push(round[round.len() - 1].as_secs_f64() / round[0].as_secs_f64());
    }
    Row { costs: costs.into_iter().map(median).collect(), ratio: median(ratios) }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Instructions of each decision, which do not depend on what else the machine does.
fn counted(name: &str, admitted: bool, options: &Options) -> Row {
    const DECISIONS: usize = 100;
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("callgrind.decision");
    let count = |size: &usize| {
        let run = Command::new("valgrind")
            .args(["--tool=callgrind", "--toggle-collect=*decide_many*"])
            .arg(format!("--callgrind-out-file={}", file.display()))
            .arg(std::env::current_exe().unwrap())
            .args(["--decisions", &DECISIONS.to_string()])
            .args(["--count", name, &size.to_string(), &admitted.to_string()])
            .output()
            .expect("valgrind is installed");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let counts = std::fs::read_to_string(&file).expect("callgrind has counted");
        // `totals:` stands at the end of each part (Callgrind Format Specification).
        let totals = counts.lines().filter_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok());
        totals.sum::<u64>() as f64 / DECISIONS as f64
    };
    let costs: Vec<f64> = options.sizes.iter().map(count).collect();
    let ratio = costs[costs.len() - 1] / costs[0];
    Row { costs, ratio }
}

#[inline(never)]
fn decide_many(subject: &Subject, decisions: usize) {
    for _ in 0..decisions {
        let verdict = subject.compiled.rules.decide(subject.agent, black_box(&subject.head), subject.wall);
        drop(black_box(verdict));
    }
}
