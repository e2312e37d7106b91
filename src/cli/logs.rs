//! `attache logs`: the record of what agents sent out, or tried to.

pub(super) mod filter;
mod table;

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::journal::reader::{Exchange, Reader};
use tokio::signal::unix::{SignalKind, signal};

use super::output::{colours, json_line, reader_gone, terminal_width};
use super::state::StateDir;
use super::{Failure, Outcome};
use filter::Filter;
use table::Table;

/// How often a followed journal is looked at.
const INTERVAL: Duration = Duration::from_millis(200);
/// What `--follow` shows of the past unless told otherwise.
const TAIL: usize = 10;

/// Show what agents sent out, or tried to
///
/// One line for each request, in the order they were decided: who asked for what, whether it was allowed, and why not.
/// Works while attaché runs and after it has ended. Filters that are given must all apply.
///
/// The table is for people: its times are UTC, and what does not fit the terminal is cut (not in a pipe). With `-o json`
/// each line is one object with all there is on record, and null where the outcome is not known (yet).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache logs --agent researcher --status blocked
  attache logs --follow --host '*.github.com'
  attache logs --since 1h -o json | jq -r 'select(.status >= 500) | .path'

Exit codes:
  0  shown, also where nothing matches
  1  there is no journal, or it cannot be read
  2  an option cannot be understood, or several state directories could be meant")]
pub struct Args {
    #[command(flatten)]
    state_dir: StateDir,

    #[command(flatten)]
    filter: Filter,

    /// Show only the last N that match
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<NonZeroUsize>,

    /// Show the last 10 (or --limit), then each further one when it has ended, until interrupted
    #[arg(short, long)]
    follow: bool,

    /// Form of the output
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Aligned columns.
    Table,
    /// One JSON object a line.
    Json,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    super::runtime()?.block_on(show(&args))
}

async fn show(args: &Args) -> Outcome {
    let journal = args.state_dir.find()?.join("journal");
    let mut reader = Reader::open(&journal).map_err(|error| unreadable(&journal, &error))?;
    let mut printer = Printer::new(args.output, io::stdout().lock());
    replay(args, &mut reader, &mut printer).map_err(|error| explain(&journal, error))?;
    warn(&reader, 0);
    if args.follow {
        let warned = reader.unreadable;
        follow(args, &mut reader, &mut printer).await.map_err(|error| explain(&journal, error))?;
        warn(&reader, warned);
    }
    Ok(ExitCode::SUCCESS)
}

fn replay(args: &Args, reader: &mut Reader, printer: &mut Printer<impl Write>) -> io::Result<()> {
    let limit = args.limit.map(NonZeroUsize::get).or(args.follow.then_some(TAIL));
    let mut last = VecDeque::new();
    let mut show = |exchange: Exchange| {
        if !args.filter.admits(&exchange) {
            return Ok(());
        }
        match limit {
            None => return printer.show(&exchange),
            Some(limit) if last.len() == limit => drop(last.pop_front()),
            Some(_) => {}
        }
        last.push_back(exchange);
        Ok(())
    };
    reader.replay(Instant::now(), &mut show)?;
    if args.follow {
        // What has ended, behind something that has not.
        reader.poll(false, Instant::now())?.into_iter().try_for_each(show)?;
    } else {
        reader.rest(&mut show)?;
    }
    last.iter().try_for_each(|exchange| printer.show(exchange))?;
    printer.flush()
}

async fn follow(args: &Args, reader: &mut Reader, printer: &mut Printer<impl Write>) -> io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        }
        if reader_gone() {
            return Ok(());
        }
        for exchange in reader.poll(false, Instant::now())? {
            if args.filter.admits(&exchange) {
                printer.show(&exchange)?;
            }
        }
        printer.flush()?;
    }
}

fn warn(reader: &Reader, warned: u64) {
    let more = reader.unreadable.saturating_sub(warned);
    if more > 0 {
        let lines = if more == 1 { "1 line".to_owned() } else { format!("{more} lines") };
        eprintln!("warning: left out what cannot be read in the journal: {lines}");
    }
}

/// Reading and writing fail in the same call; only stdout is a pipe.
fn explain(journal: &Path, error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => error.into(),
        _ => unreadable(journal, &error),
    }
}

fn unreadable(journal: &Path, error: &io::Error) -> Failure {
    let journal = journal.display();
    Failure::runtime(match error.kind() {
        io::ErrorKind::NotFound => format!("there is no journal in `{journal}`: nothing has been recorded there"),
        _ => format!("the journal in `{journal}` cannot be shown: {error}"),
    })
}

enum Printer<W: Write> {
    Table(Table<BufWriter<W>>),
    Json(BufWriter<W>),
}

impl<W: Write> Printer<W> {
    fn new(format: Format, out: W) -> Self {
        let out = BufWriter::new(out);
        match format {
            Format::Table => Self::Table(Table::new(out, terminal_width(), colours())),
            Format::Json => Self::Json(out),
        }
    }

    fn show(&mut self, exchange: &Exchange) -> io::Result<()> {
        match self {
            Self::Table(table) => table.show(exchange),
            Self::Json(out) => writeln!(out, "{}", json_line(exchange)?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Table(table) => table.flush(),
            Self::Json(out) => out.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::journal::{Journal, Options};
    use crate::pipeline::audit::{Record, Verdict};
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn shown(journal: &Path, options: &[&str]) -> Vec<String> {
        let args = Command::parse_from([&["logs"], options].concat()).args;
        let mut out = Vec::new();
        let mut printer = Printer::new(args.output, &mut out);
        replay(&args, &mut Reader::open(journal).unwrap(), &mut printer).unwrap();
        drop(printer);
        String::from_utf8(out).unwrap().lines().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn the_last_ones_that_match_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), Options::default()).unwrap();
        for index in 0..30 {
            let verdict = if index % 2 == 0 { Verdict::Allow } else { Verdict::Deny };
            let mut exchange = filter::tests::exchange(verdict);
            exchange.decision.request_id = format!("r{index}").into();
            journal.append(&Record::Decision(Box::new(exchange.decision))).unwrap();
        }
        let ids = |options: &[&str]| -> Vec<String> {
            let lines = shown(folder.path(), &[options, &["-o", "json"]].concat());
            lines
                .iter()
                .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["requestId"].to_string())
                .collect()
        };
        assert_eq!(ids(&[]).len(), 30);
        assert_eq!(ids(&["--limit", "2"]), ["\"r28\"", "\"r29\""]);
        assert_eq!(ids(&["--limit", "2", "--status", "blocked"]), ["\"r27\"", "\"r29\""]);
        assert_eq!(ids(&["--agent", "nobody"]), [""; 0]);
        // Of the past, what has ended; what goes on is yet to come.
        assert_eq!(ids(&["--follow"]), [11, 13, 15, 17, 19, 21, 23, 25, 27, 29].map(|index| format!("\"r{index}\"")));
        assert_eq!(ids(&["--follow", "--status", "allowed"]), [""; 0]);
        let table = shown(folder.path(), &["--limit", "3"]);
        assert_eq!(table.len(), 4, "{table:#?}");
        assert!(table[0].starts_with("TIME (UTC)"));
    }
}
