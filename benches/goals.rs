//! Every goal and what became of it: runs the benchmark of each and writes `benches/RESULTS.md`.
//!
//! ```text
//! cargo bench --bench goals                           (minutes; on a machine that does nothing else)
//! cargo bench --bench goals -- --quick                (does every part run? writes target/RESULTS.md)
//! cargo bench --bench goals -- --only P5,P12
//! ```
//!
//! A part that fails takes no other with it: its row says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "support/goals.rs"]
#[allow(dead_code, reason = "the figures are said elsewhere")]
mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::Parser;
use support::{FIGURES, Figure, Goal, Met, goals};

#[derive(Parser)]
#[command(about = "Every goal and what became of it")]
struct Options {
    /// Too little to compare: enough to see that everything runs.
    #[arg(long)]
    quick: bool,
    /// Only these goals.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Write the page from what was measured last.
    #[arg(long)]
    page: bool,
    /// The most seconds that a part may take.
    #[arg(long, default_value_t = 420)]
    limit: u32,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut goals = goals();
    if !options.only.is_empty() {
        goals.retain(|goal| options.only.iter().any(|only| goal.id.split(' ').next() == Some(only)));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kept = root.join("target/goals.json");
    let run = if options.page {
        let text = std::fs::read_to_string(&kept).expect("something was measured before");
        serde_json::from_str(&text).expect("what was kept can be read")
    } else {
        let mut run = Run::of(&goals, &options);
        if !options.only.is_empty() {
            run.join(std::fs::read_to_string(&kept).ok().and_then(|text| serde_json::from_str(&text).ok()));
        }
        let text = serde_json::to_string_pretty(&run).expect("it can be written");
        if !options.quick {
            std::fs::write(&kept, text).expect("the figures can be kept");
        }
        run
    };
    let page = page(&goals, &run);
    let partly = options.quick || !options.only.is_empty();
    let file = root.join(if partly { "target/RESULTS.md" } else { "benches/RESULTS.md" });
    std::fs::write(&file, &page).expect("the page can be written");
    println!("\n{}\n{}", table(&goals, &run), file.display());
    let missing = goals.iter().any(|goal| run.figure(goal).is_none());
    ExitCode::from(u8::from(missing))
}

/// What was measured, and on what.
#[derive(serde::Serialize, serde::Deserialize)]
struct Run {
    date: String,
    machine: String,
    commit: String,
    build: String,
    minutes: f64,
    figures: Vec<Figure>,
    /// What each part printed, or how it failed, behind its command.
    printed: Vec<(String, String)>,
}

impl Run {
    fn of(goals: &[Goal], options: &Options) -> Self {
        let mut run = Self {
            date: said(Command::new("date").args(["-u", "+%F"])),
            machine: machine(),
            commit: said(Command::new("git").args(["describe", "--always", "--dirty"])),
            build: profile().to_owned(),
            minutes: 0.0,
            figures: Vec::new(),
            printed: Vec::new(),
        };
        build(goals);
        let started = Instant::now();
        let mut done: Vec<&[String]> = Vec::new();
        for goal in goals {
            if !done.contains(&goal.bench.as_slice()) {
                done.push(&goal.bench);
                run.part(&goal.bench, options);
            }
        }
        run.minutes = started.elapsed().as_secs_f64() / 60.0;
        run
    }

    /// Runs one benchmark.
    fn part(&mut self, bench: &[String], options: &Options) {
        let shown = command_of(bench);
        println!("\n== {shown}");
        let figures: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join("figures.jsonl");
        let _ = std::fs::remove_file(&figures);
        let [name, arguments @ ..] = bench else { return };
        // Of its own process group, so that what a part has started ends with it.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=10", &options.limit.to_string(), env!("CARGO"), "bench", "--quiet"]);
        command.args(["--profile", profile(), "--bench", name, "--"]).args(arguments);
        if options.quick {
            command.arg("--quick");
        }
        command.env(FIGURES, &figures).stdin(Stdio::null()).stderr(Stdio::inherit());
        let printed = match command.output() {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let how = if output.status.success() { String::new() } else { format!("failed: {}\n", output.status) };
                text + &how
            }
            Err(error) => format!("failed: {error}\n"),
        };
        print!("{printed}");
        let said = std::fs::read_to_string(&figures).unwrap_or_default();
        self.figures.extend(said.lines().filter_map(|line| serde_json::from_str(line).ok()));
        self.figures.extend(scanned(bench, &printed));
        self.printed.push((shown, printed));
    }

    /// Takes over what was measured before and not now, so that a part that failed can be run again: `--only`, then `--page`.
    fn join(&mut self, before: Option<Self>) {
        let Some(before) = before else { return };
        let printed = before.printed.into_iter().filter(|(part, _)| self.printed.iter().all(|(now, _)| now != part));
        self.printed.extend(printed.collect::<Vec<_>>());
        let figures = before.figures.into_iter().filter(|old| self.figures.iter().all(|now| now.id != old.id));
        self.figures.extend(figures.collect::<Vec<_>>());
    }

    fn figure(&self, goal: &Goal) -> Option<&Figure> {
        self.figures.iter().rfind(|figure| figure.id == goal.id)
    }
}

/// Builds what will run, so that building is not measured and has no limit. What cannot be built fails by itself later.
fn build(goals: &[Goal]) {
    let mut command = Command::new(env!("CARGO"));
    command.args(["bench", "--no-run", "--profile", profile()]);
    for name in goals.iter().filter_map(|goal| goal.bench.first()) {
        command.args(["--bench", name]);
    }
    let _ = command.stdin(Stdio::null()).status();
}

/// The figures of `scan`, which prints tables alone.
fn scanned(bench: &[String], printed: &str) -> Option<Figure> {
    let [name, arguments @ ..] = bench else { return None };
    if name != "scan" {
        return None;
    }
    // A name may have blanks; the first number is that of the whole scan.
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| word.parse::<f64>().is_ok())?;
        Some((words[..at].join(" "), words[at].parse::<f64>().ok()?))
    };
    let mut rows = printed.lines().filter_map(row);
    if arguments.is_empty() {
        let (_, figure) = rows.find(|(name, _)| name == "chat JSON")?;
        return Some(Figure { id: "P8".into(), figure, note: String::new() });
    }
    let (name, figure) = rows.max_by(|one, other| one.1.total_cmp(&other.1))?;
    Some(Figure { id: "P9".into(), figure, note: format!("`{name}`") })
}

/// The page. What is measured stands in it, and so does what the file of the goals remarks.
fn page(goals: &[Goal], run: &Run) -> String {
    let mut page = format!(
        "# Results\n\n\
         Written by `cargo bench --bench goals`; [README.md](README.md) says what is measured and how, `goals.toml` has the\n\
         goals and the remarks.\n\n\
         {}, {}; commit {}, profile `{}`; {:.0} minutes. Ratios are taken within one run, alternated, medians; times are\n\
         this machine's.\n\n{}\n",
        run.date,
        run.machine,
        run.commit,
        run.build,
        run.minutes,
        table(goals, run)
    );
    page += "## How cost grows\n\n`cargo bench --bench curves`; the figures are beside the plots.\n\n";
    for (name, text) in [
        ("rules", "Cost against the number of entries and rules"),
        ("bodies", "Cost against the size of the body"),
        ("connections", "Cost against the number of connections"),
    ] {
        writeln!(page, "![{text}](plots/{name}.svg)\n").expect("a string grows");
    }
    page += "## What each part printed\n";
    for (command, printed) in &run.printed {
        write!(page, "\n`{command}`\n\n```text\n{}\n```\n", printed.trim_end()).expect("a string grows");
    }
    page
}

fn table(goals: &[Goal], run: &Run) -> String {
    let mut table = String::from("| goal | what | bounds | figure | | command | |\n|---|---|---|---|---|---|---|\n");
    for Goal { id, what, bench, remark, .. } in goals {
        let goal = goals.iter().find(|goal| goal.id == *id).expect("it is one of them");
        let (figure, met, note) = match run.figure(goal) {
            None => ("–".to_owned(), "**not measured**", ""),
            Some(Figure { figure, note, .. }) => {
                let met = goal.met(*figure);
                (goal.show(*figure), if met == Met::No { "**not met**" } else { met.as_str() }, note.as_str())
            }
        };
        let more = [note, remark].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(". ");
        let bounds = goal.bounds();
        writeln!(table, "| {id} | {what} | {bounds} | {figure} | {met} | `{}` | {more} |", command_of(bench))
            .expect("a string grows");
    }
    table
}

/// How a person runs it.
fn command_of(bench: &[String]) -> String {
    match bench {
        [name] => format!("cargo bench --bench {name}"),
        [name, arguments @ ..] => format!("cargo bench --bench {name} -- {}", arguments.join(" ")),
        [] => String::new(),
    }
}

/// The profile that this was built with: its parts are built with the same.
fn profile() -> &'static str {
    let path = env!("CARGO_BIN_EXE_attache");
    let folder = Path::new(path).parent().and_then(Path::file_name).and_then(|name| name.to_str());
    match folder {
        Some("release") | None => "bench",
        Some("debug") => "dev",
        Some(other) => other,
    }
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let width = if cpus.contains("avx512bw") { "AVX-512" } else { "no AVX-512" };
    format!(
        "{} ({width}), {} CPUs, Linux {}, load {} at the start",
        model.unwrap_or("unknown CPU"),
        cpus.matches("processor\t").count(),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split(' ').next().unwrap_or_default(),
    )
}

/// What a command prints, or nothing.
fn said(command: &mut Command) -> String {
    let output = command.stderr(Stdio::null()).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
