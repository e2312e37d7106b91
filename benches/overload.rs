//! Three times as much as is asked for in peace: how long do those wait who are let in, and how many are?
//!
//! `cargo bench --bench overload`; `-- --times 6` for more. Capacity and flood are measured one after the other, so their
//! ratio is of one machine at one time. See `benches/README.md` and `docs/overload.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[allow(dead_code, unused_imports, reason = "what end-to-end tests stand on: more than is needed here")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use clap::Parser;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use self::support::{Attache, Crowd, Told, Upstream, until};

#[derive(Parser)]
#[command(about = "Latency and yield beyond capacity")]
struct Options {
    /// How many times its capacity is asked of it.
    #[arg(long, default_value_t = 3.0)]
    times: f64,
    /// Seconds that a flood lasts.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// What it is told to keep a request waiting at most, in milliseconds.
    #[arg(long, default_value_t = 300)]
    shed_after: u64,
    /// KiB of a request's body; with 0, requests have none.
    #[arg(long, default_value_t = 24)]
    body: usize,
    /// Floods; what is printed is the middle of each column.
    #[arg(long, default_value_t = 5)]
    floods: usize,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

const COLUMNS: [&str; 9] =
    ["capacity/s", "p50 ms", "passed/capacity", "refused", "p50 ms", "p90 ms", "worst ms", "in Envoy p50", "then ms"];

#[tokio::main(worker_threads = 2)]
async fn main() {
    let options = Options::parse();
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up("allowedDomains: [api.example.com]")
        .resolve("api.example.com", &upstream)
        .flags(["--shed-after", &format!("{}ms", options.shed_after)])
        .start()
        .await;
    // The crowd and its upstream are to have the time to be one.
    keep_to(1, &[std::process::id()]);
    keep_to(0, &[attache.service().await, attache.envoy().await]);
    let crowd = Crowd::new(attache.proxy(), options.body << 10);
    println!("{} times its capacity, `--shed-after {}ms`", options.times, options.shed_after);
    println!("{}", COLUMNS.map(|column| format!("{column:>15}")).concat());
    let mut rows = Vec::new();
    for _ in 0..options.floods {
        let row = flood(&attache, &crowd, &options).await;
        show(&row);
        rows.push(row);
    }
    println!("the middle of each:");
    show(&std::array::from_fn(|column| {
        let mut values: Vec<_> = rows.iter().map(|row| row[column]).collect();
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    }));
}

/// Lets all threads of these processes run on this CPU alone.
fn keep_to(cpu: usize, pids: &[u32]) {
    let mut set = CpuSet::new();
    set.set(cpu);
    for thread in pids.iter().flat_map(|pid| std::fs::read_dir(format!("/proc/{pid}/task")).unwrap()) {
        let thread = thread.unwrap().file_name().to_str().unwrap().parse().unwrap();
        sched_setaffinity(Pid::from_raw(thread), &set).unwrap();
    }
}

async fn flood(attache: &Attache, crowd: &Crowd, options: &Options) -> [f64; COLUMNS.len()] {
    let lasts = Duration::from_secs_f64(options.seconds);
    let (few, rate) = crowd.at_capacity(lasts / 2).await;
    let before = attache.records().len();
    let told = crowd.flood(rate * options.times, lasts).await;
    let recovered = crowd.until_served().await;
    let (passed, refused): (Vec<_>, Vec<_>) = told.into_iter().partition(|told| told.status == 200);
    let (few, took) = (sorted(&few), sorted(&passed));
    let records = until("the outcomes", async || {
        let records = attache.records().split_off(before);
        records.iter().all(|record| !record["duration"].is_null()).then_some(records)
    });
    let records = records.await.into_iter().filter(|record| record["decision"] == "allow");
    let mut in_envoy: Vec<_> = records.filter_map(|record| record["duration"].as_f64()).collect();
    in_envoy.sort_unstable_by(f64::total_cmp);
    [
        rate,
        at(&few, 50),
        passed.len() as f64 / (rate * options.seconds),
        refused.len() as f64,
        at(&took, 50),
        at(&took, 90),
        at(&took, 100),
        at(&in_envoy, 50),
        recovered.as_secs_f64() * 1e3,
    ]
}

/// Milliseconds.
fn sorted(told: &[Told]) -> Vec<f64> {
    let mut took: Vec<_> = told.iter().map(|told| told.took.as_secs_f64() * 1e3).collect();
    took.sort_unstable_by(f64::total_cmp);
    took
}

fn at(sorted: &[f64], percent: usize) -> f64 {
    sorted[((sorted.len() - 1) * percent) / 100]
}

fn show(row: &[f64; COLUMNS.len()]) {
    println!("{}", row.map(|value| format!("{value:>15.2}")).concat());
}
