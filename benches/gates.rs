//! Instructions, which do not depend on what else a machine does, held under the ceilings of `benches/gates.toml`.
//!
//! ```text
//! cargo bench --profile gate --bench gates                (needs valgrind)
//! cargo bench --profile gate --bench gates -- --write     (what is counted becomes the ceiling)
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "support/policies.rs"]
mod policies;
#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use attache::journal::Line;
use attache::pipeline::dlp::scan::Report;
use attache::pipeline::dlp::surface::{Layout, Surface};
use clap::Parser;

use support::stand::{self, Kind, Policy};
use support::{instructions, load, texts};

#[derive(Parser)]
#[command(about = "Instructions, held under ceilings")]
struct Options {
    /// Make what is counted now the ceilings.
    #[arg(long)]
    write: bool,
    /// What runs under callgrind.
    #[arg(long, hide = true)]
    count: Option<String>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// By how much a count may exceed its ceiling, in percent: another compiler, another order of events.
const SLACK: f64 = 3.0;
/// What the request's own count may differ by: how Envoy's messages come together is not the same in every run.
const SLACK_OF_REQUESTS: f64 = 5.0;
const REQUEST: &str = "request";
/// Bytes of a text that is looked at.
const TEXT: usize = 64 << 10;

fn main() -> ExitCode {
    if stand::is_service() {
        return ExitCode::SUCCESS;
    }
    let options = Options::parse();
    if let Some(name) = options.count {
        work(&name);
        return ExitCode::SUCCESS;
    }
    if !env!("CARGO_BIN_EXE_attache").contains("/gate/") {
        eprintln!("the ceilings are those of another build: cargo bench --profile gate --bench gates");
        return ExitCode::from(2);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/gates.toml");
    let ceilings = read(&file);
    let mut counts = BTreeMap::from([(REQUEST.to_owned(), requests())]);
    for name in NAMES {
        counts.insert(name.to_owned(), under_callgrind(name));
    }
    if options.write {
        std::fs::write(&file, written(&counts)).expect("the ceilings can be written");
        println!("{} is written", file.display());
        return ExitCode::SUCCESS;
    }
    let mut failed = false;
    println!("{:34} {:>12} {:>12} {:>8}", "instructions", "counted", "ceiling", "");
    for (name, count) in &counts {
        let ceiling = ceilings.get(name).copied();
        let more = ceiling.map(|ceiling| (*count as f64 / ceiling as f64 - 1.0) * 100.0);
        let slack = if name == REQUEST { SLACK_OF_REQUESTS } else { SLACK };
        let verdict = match more {
            None => "has no ceiling".to_owned(),
            Some(more) if more > slack => format!("{more:+.1} %: too many"),
            Some(more) if more < -slack => format!("{more:+.1} %: lower the ceiling"),
            Some(more) => format!("{more:+.1} %"),
        };
        failed |= more.is_none_or(|more| more > slack);
        println!("{name:34} {count:12} {:12} {verdict}", ceiling.unwrap_or_default());
    }
    if failed {
        eprintln!(
            "\nWhat is asked for most takes more instructions than it did. Where they went: callgrind_annotate --inclusive=yes \
             target/callgrind.…\nIf that is worth it: cargo bench --profile gate --bench gates -- --write, and say why in the \
             commit."
        );
    }
    ExitCode::from(u8::from(failed))
}

/// Of the service, through Envoy: goal P3 with a credential, so that answers are looked at too.
fn requests() -> u64 {
    let mut tell = |progress: &str| eprintln!("{progress}");
    let envoy = attache::envoy::install::find_or_install(&mut tell).expect("an Envoy").path;
    let kind = Kind::Attache(Policy { rules: 1000, credential: true });
    instructions::per_request(kind, &envoy, load::upstream(), 32)
}

const NAMES: [&str; 5] = [
    "decision, everything, admitted",
    "decision, everything, refused",
    "scan, 64 KiB of chat JSON",
    "scan, 64 KiB of API JSON",
    "record, decision",
];

/// How often each is done under callgrind.
const TIMES: u64 = 20;

fn under_callgrind(name: &str) -> u64 {
    let file: PathBuf = instructions::counts(&name.replace([',', ' '], "-"));
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*measured*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe().expect("this executable"))
        .args(["--count", name])
        .output()
        .expect("valgrind is installed");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    instructions::total(&file) / TIMES
}

/// What is counted, between a preparation and an end that are not.
fn work(name: &str) {
    match name {
        "decision, everything, admitted" => decision(true),
        "decision, everything, refused" => decision(false),
        "scan, 64 KiB of chat JSON" => scan("chat JSON"),
        "scan, 64 KiB of API JSON" => scan("API JSON"),
        "record, decision" => {
            let (record, mut line) = (record::decision(1), Vec::new());
            measured(&mut || {
                line.clear();
                record.write(&mut line).expect("a line");
            });
        }
        other => panic!("there is no `{other}`"),
    }
}

#[path = "support/record.rs"]
#[allow(dead_code, reason = "the decision alone")]
mod record;

fn decision(admitted: bool) {
    let cases = policies::cases(1000);
    let case = cases.iter().find(|case| case.name == "everything at once").expect("it is one of them");
    let compiled = policies::load(&case.text);
    let agent = policies::agent_of(case, &compiled);
    let head = policies::head(if admitted { &case.admitted } else { &case.refused });
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_436_600);
    assert_eq!(compiled.rules.decide(agent, &head, wall).is_ok(), admitted);
    measured(&mut || drop(black_box(compiled.rules.decide(agent, black_box(&head), wall))));
}

fn scan(name: &str) {
    let (_, text) = texts::usual(TEXT).into_iter().find(|(other, _)| *other == name).expect("it is one of them");
    let lens = texts::lens();
    let look = || {
        let surface = Surface::new(black_box(&text), Layout::Plain("body".into()));
        let mut report = Report::default();
        lens.scan(&surface, Vec::new(), &mut report);
        black_box(report.findings.len());
    };
    // What is made when it is first needed.
    look();
    measured(&mut || look());
}

/// Where callgrind counts.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    (0..TIMES).for_each(|_| work());
}

fn read(file: &Path) -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn written(counts: &BTreeMap<String, u64>) -> String {
    let mut text = String::from(
        "# The most instructions that CI takes for each of these, with a little slack; callgrind counts them in a build with the\n\
         # profile `gate`. Written by `cargo bench --profile gate --bench gates -- --write`.\n",
    );
    for (name, count) in counts {
        writeln!(text, "{name:?} = {count}").expect("a string grows");
    }
    text
}
