//! What it costs to read and compile a large policy, stage by stage.
//!
//! ```text
//! cargo bench --bench compile
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[allow(dead_code, reason = "what is asked of a policy is for the other benchmark")]
#[path = "support/policies.rs"]
mod policies;

use std::time::{Duration, Instant};

use attache::config::compile::{Setting, compile};
use attache::config::{Problems, Sources, yaml};
use clap::Parser;

#[derive(Parser)]
#[command(about = "What it costs to read and compile a large policy")]
struct Options {
    /// How many entries there are of each kind.
    #[arg(long, default_value_t = 10_000)]
    size: usize,
    /// How often each is done; the median is printed.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Only the kinds of policy with this in their name.
    #[arg(long, default_value = "")]
    only: String,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    println!("{:24} {:>8} {:>8} {:>8} {:>8} {:>8}", "ms", "KiB", "yaml", "decode", "compile", "all");
    for case in policies::cases(options.size).iter().filter(|case| case.name.contains(&options.only)) {
        let mut rounds: Vec<_> = (0..options.rounds).map(|_| stages(&case.text)).collect();
        rounds.sort_unstable_by_key(|[.., all]| *all);
        print!("{:24} {:>8}", case.name, case.text.len() / 1024);
        rounds[rounds.len() / 2].iter().for_each(|took| print!(" {:>8.1}", took.as_secs_f64() * 1000.0));
        println!();
    }
}

/// Text to tree, tree to policy, policy to what decides, and all of it.
fn stages(text: &str) -> [Duration; 4] {
    let started = Instant::now();
    let mut sources = Sources::default();
    let file = sources.add("policy.yaml", text);
    let mut problems = Problems::new(sources);
    let tree = yaml::parse(file, &mut problems);
    let yaml = started.elapsed();
    assert!(tree.is_some() && problems.is_empty(), "{problems}");
    drop(tree);

    let started = Instant::now();
    let draft = attache::config::parse("policy.yaml", text);
    let read = started.elapsed();
    let setting = Setting { agent: None, environment: None, pod: None };
    let accepted = draft.compile(None, |policy, problems| compile(policy, setting, "bench", problems));
    let all = started.elapsed();
    drop(accepted.unwrap_or_else(|problems| panic!("{problems}")));
    [yaml, read.saturating_sub(yaml), all - read, all]
}
