//! `attache audit verify` and `attache audit checkpoint`.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::output::{Format, json_line, printable};
use super::super::{Failure, Outcome};
use crate::journal::checkpoint::{Checkpoint, PublicKey};
use crate::journal::verify::{Bad, Chain, Expected, Report, VerifyError, newest_checkpoint, verify};

/// How much is read before it is looked whether progress is to be shown, in bytes.
const STRIDE: u64 = 4 << 20;

/// Show that no record was changed, removed, added or moved
///
/// Reads the whole journal, while attaché runs or after it has ended. A process that died leaves an open end, which is
/// reported and no fault. Records after the last checkpoint are counted: nobody has signed them, and that they are all
/// there only a later checkpoint can show.
///
/// Without --checkpoint and --key this shows that the journal agrees with itself; with them, that it is the one they
/// come from and reaches as far as they say.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache audit verify
  attache audit verify --checkpoint checkpoints.jsonl --key \"$KEY\"
  attache audit verify --journal /mnt/backup/journal -o json | jq .chains

The key of a run stands in the line that `attache serve` prints when it is ready (.journal.publicKey), and in the
first line of each segment (.publicKey).

Exit codes:
  0  the journal holds, also where it ends in the middle of a line
  1  there is no journal, or it cannot be read
  2  an option cannot be understood, or several state directories could be meant
  4  the journal does not hold: the first bad record is named")]
pub struct Args {
    /// A checkpoint that was kept elsewhere: a file of them, one a line; `-` for standard input; or its JSON. Its
    /// record has to be there. May be repeated
    #[arg(long = "checkpoint", value_name = "FILE|-|JSON")]
    checkpoints: Vec<String>,

    /// The public key of a run that has to be there, as base64 or in a file. Every --checkpoint then has to be signed
    /// by such a key. May be repeated
    #[arg(long = "key", value_name = "BASE64|FILE")]
    keys: Vec<String>,

    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,
}

/// Runs `attache audit verify`.
pub fn run(args: &Args, folder: &Path) -> Outcome {
    let expected = Expected { keys: keys(&args.keys)?, checkpoints: checkpoints(&args.checkpoints)? };
    let began = Instant::now();
    let mut progress = Progress::new();
    let verified = verify(folder, &expected, &mut |done, total| progress.at(done, total));
    progress.end();
    let mut out = io::stdout().lock();
    match (verified, args.output) {
        (Ok(report), Format::Text) => write!(out, "{}", text(&report, began.elapsed()))?,
        (Ok(report), Format::Json) => {
            let mut value = json!({ "verified": true, "seconds": began.elapsed().as_secs_f64() });
            extend(&mut value, serde_json::to_value(&report).map_err(Failure::runtime)?);
            writeln!(out, "{}", json_line(&value)?)?;
        }
        (Err(VerifyError::Bad(bad)), Format::Text) => return Err(Failure::exit(4, complaint(folder, &bad))),
        (Err(VerifyError::Bad(bad)), Format::Json) => {
            let mut value = json!({ "verified": false });
            extend(&mut value, serde_json::to_value(&bad).map_err(Failure::runtime)?);
            writeln!(out, "{}", json_line(&value)?)?;
            return Err(Failure::exit(4, ""));
        }
        (Err(error), _) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `attache audit checkpoint`.
pub fn checkpoint(folder: &Path) -> Outcome {
    let Some(checkpoint) = newest_checkpoint(folder)? else {
        let folder = folder.display();
        return Err(Failure::runtime(format!(
            "the journal in `{folder}` has no checkpoint yet: the first is signed ten seconds after the first record"
        )));
    };
    writeln!(io::stdout().lock(), "{}", json_line(&checkpoint)?)?;
    Ok(ExitCode::SUCCESS)
}

/// What is wrong, and what to do about it.
fn complaint(folder: &Path, bad: &Bad) -> String {
    format!(
        "the journal in `{}` does not hold\n  {}\nKeep the folder as it is, and compare it with a backup or with what the sinks received; records before this one are as they were written.",
        folder.display(),
        printable(&bad.to_string())
    )
}

fn text(report: &Report, took: Duration) -> String {
    let Report { records, segments, bytes, chains, removed, clock_changes, checkpoints_removed, .. } = report;
    let mut text = format!(
        "the journal holds: {}, {}, {}\n",
        count(*records, "record"),
        count(*segments, "segment"),
        count(chains.len() as u64, "chain")
    );
    let mebibytes = *bytes as f64 / f64::from(1 << 20);
    if let (Some(first), Some(last)) = (&report.first, &report.last) {
        let _ = writeln!(text, "  {} to {}", printable(first), printable(last));
    }
    let speed = mebibytes / took.as_secs_f64().max(1e-6);
    let _ = writeln!(text, "  {mebibytes:.1} MiB in {:.1} s ({speed:.0} MiB/s)", took.as_secs_f64());
    for chain in chains {
        let _ = writeln!(text, "  {}", line(chain));
    }
    if let Some(removed) = removed {
        let signed = if removed.signed { "" } else { ", which no checkpoint signs yet" };
        let _ = writeln!(text, "  removed by the journal itself: segments up to {}{signed}", removed.through);
    }
    if *clock_changes > 0 {
        let _ = writeln!(text, "  the clock was changed {}", count(*clock_changes, "time"));
    }
    if *checkpoints_removed > 0 {
        let given = count(*checkpoints_removed, "checkpoint");
        let _ = writeln!(text, "  {given} of those given: about records that the journal has removed since");
    }
    text
}

fn line(chain: &Chain) -> String {
    let Chain { chain: name, public_key, first, last, checkpoints, unsigned, ended, torn } = chain;
    let name = printable(name);
    let key = public_key.as_str();
    let mut text = format!("chain {name}, key {key}: records {first} to {last}, {}", count(*checkpoints, "checkpoint"));
    match (*ended, *unsigned) {
        (true, _) => text.push_str(", ended"),
        (false, 0) => text.push_str(", open"),
        (false, unsigned) => {
            let _ = write!(text, ", open: {} after the last checkpoint", count(unsigned, "record"));
        }
    }
    if *torn > 0 {
        let _ = write!(text, ", {} of half a line", count(*torn, "byte"));
    }
    text
}

fn count(number: u64, of: &str) -> String {
    if number == 1 { format!("1 {of}") } else { format!("{number} {of}s") }
}

fn extend(value: &mut Value, more: Value) {
    if let (Value::Object(value), Value::Object(more)) = (value, more) {
        value.extend(more);
    }
}

fn checkpoints(given: &[String]) -> Result<Vec<Checkpoint>, Failure> {
    let mut all = Vec::new();
    for given in given {
        let (text, from) = match given.as_str() {
            "-" => {
                let mut text = String::new();
                let read = io::stdin().lock().read_to_string(&mut text);
                read.map_err(|error| Failure::usage(format!("standard input cannot be read: {error}")))?;
                (text, "standard input")
            }
            json if json.trim_start().starts_with('{') => (json.to_owned(), "--checkpoint"),
            path => (read(path)?, path),
        };
        let found = serde_json::Deserializer::from_str(&text).into_iter::<Checkpoint>().collect::<Result<Vec<_>, _>>();
        let found = found.map_err(|error| {
            Failure::usage(format!(
                "`{from}` holds something else than checkpoints: {error}; give what `attache audit checkpoint` prints"
            ))
        })?;
        if found.is_empty() {
            return Err(Failure::usage(format!("`{from}` holds no checkpoint")));
        }
        all.extend(found);
    }
    Ok(all)
}

fn keys(given: &[String]) -> Result<Vec<PublicKey>, Failure> {
    let key = |given: &String| {
        if let Some(key) = PublicKey::parse(given) {
            return Ok(key);
        }
        if !Path::new(given).exists() {
            return Err(Failure::usage(format!(
                "`{given}` is neither the base64 of a public key (32 bytes) nor a file with one"
            )));
        }
        key_in(&read(given)?).ok_or_else(|| {
            Failure::usage(format!(
                "`{given}` holds no public key: the base64 of 32 bytes, or what `attache serve` prints"
            ))
        })
    };
    given.iter().map(key).collect()
}

/// A key as such, or in the line that `attache serve` prints, or in a segment's first line.
fn key_in(text: &str) -> Option<PublicKey> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Line {
        public_key: Option<Box<str>>,
        journal: Option<Box<Line>>,
    }
    PublicKey::parse(text).or_else(|| {
        let line: Line = serde_json::from_str(text.lines().next()?).ok()?;
        let inner = line.journal.and_then(|journal| journal.public_key);
        PublicKey::parse(&line.public_key.or(inner)?)
    })
}

fn read(path: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("`{path}` cannot be read: {error}")))
}

/// How far it is, for a person who waits: only where stderr is a terminal.
struct Progress {
    shown: Option<Instant>,
    next: u64,
    wanted: bool,
}

impl Progress {
    fn new() -> Self {
        Self { shown: None, next: STRIDE, wanted: io::stderr().is_terminal() }
    }

    fn at(&mut self, done: u64, total: u64) {
        if !self.wanted || done < self.next {
            return;
        }
        self.next = done + STRIDE;
        if self.shown.is_none_or(|shown| shown.elapsed() > Duration::from_millis(200)) {
            self.shown = Some(Instant::now());
            let (done, total) = (done >> 20, total >> 20);
            eprint!("\rverifying: {done} of {total} MiB");
        }
    }

    fn end(&self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}
