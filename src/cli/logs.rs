//! `attache logs`: the record of what agents sent out, or tried to.

pub(super) mod filter;
pub(super) mod table;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::control;
use crate::journal::exchange::Exchange;
use crate::journal::ocsf;
use crate::journal::reader::Reader;
use crate::journal::recall::{Progress, Query, Tell, recall};
use tokio::signal::unix::{SignalKind, signal};
use tonic::Code;

use super::output::{colours, json_line, reader_gone, terminal_width};
use super::state::StateDir;
use super::{Failure, Outcome, running};
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
  attache logs --since 2026-11-20T09:00 --until 2026-11-20T10:00 --text refunds

Exit codes:
  0  shown, also where nothing matches
  1  there is no journal, or it cannot be read
  2  an option cannot be understood, or several state directories could be meant
  5  with --control: the service does not answer")]
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

    /// Ask the running service over its control socket, in place of reading the journal's files
    #[arg(long)]
    control: bool,

    /// Form of the output
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    output: Format,
}

impl Args {
    fn query(&self) -> Query {
        let limit = self.limit.map(NonZeroUsize::get).or(self.follow.then_some(TAIL));
        Query { filter: self.filter.wanted(), limit, follow: self.follow }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Aligned columns.
    Table,
    /// One JSON object a line.
    Json,
    /// Events of the Open Cybersecurity Schema Framework 1.8, one a line; `attache audit export` has approvals too.
    Ocsf,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    super::runtime()?.block_on(show(&args))
}

async fn show(args: &Args) -> Outcome {
    let mut printer = Printer::new(args.output, io::stdout().lock());
    if args.control {
        return ask(args, &mut printer).await;
    }
    let journal = args.state_dir.find()?.join("journal");
    let mut reader = replay(args, &journal, &mut printer).map_err(|error| explain(&journal, error))?;
    warn(&reader, 0);
    if args.follow {
        let warned = reader.unreadable();
        follow(args, &mut reader, &mut printer).await.map_err(|error| explain(&journal, error))?;
        warn(&reader, warned);
    }
    Ok(ExitCode::SUCCESS)
}

fn replay(args: &Args, journal: &Path, printer: &mut Printer<impl Write>) -> io::Result<Reader> {
    let progress = Shown::new();
    let mut show = |exchange: Exchange| {
        progress.make_way();
        printer.show(&exchange)
    };
    let reader = recall(journal, &args.query(), progress.tell().as_ref(), &mut show)?;
    progress.clear();
    printer.flush()?;
    Ok(reader)
}

/// How far it is, on a terminal, where that takes long enough to wonder.
struct Shown {
    on: Arc<AtomicBool>,
    /// What is found goes to the same terminal.
    is_shared: bool,
}

impl Shown {
    /// What takes longer than a moment, in bytes.
    const WORTH_A_WORD: u64 = 256 << 20;

    fn new() -> Self {
        let on = Arc::new(AtomicBool::new(io::stderr().is_terminal()));
        Self { on, is_shared: io::stdout().is_terminal() }
    }

    fn tell(&self) -> Option<Tell> {
        let on = self.on.clone();
        Some(Arc::new(move |Progress { read, total }| {
            if total >= Self::WORTH_A_WORD && on.load(Ordering::Relaxed) {
                let percent = read.saturating_mul(100) / total;
                eprint!("\rreading the journal: {percent} % of {} MiB\u{1b}[K", total >> 20);
            }
        }))
    }

    /// Something is about to be printed.
    fn make_way(&self) {
        if self.is_shared {
            self.clear();
        }
    }

    fn clear(&self) {
        if self.on.swap(false, Ordering::Relaxed) {
            eprint!("\r\u{1b}[K");
        }
    }
}

async fn follow(args: &Args, reader: &mut Reader, printer: &mut Printer<impl Write>) -> io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let filter = args.filter.wanted();
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
            if filter.admits(&exchange) {
                printer.show(&exchange)?;
            }
        }
        printer.flush()?;
    }
}

/// The same over the control socket.
async fn ask(args: &Args, printer: &mut Printer<impl Write>) -> Outcome {
    let socket = running::socket(&args.state_dir)?;
    let (query, call) = (args.query(), socket.clone());
    let asked = running::ask(&socket, async move { control::logs(&call, &query).await }).await?;
    let mut answers = asked.map_err(|refused| match refused.status.code() {
        Code::InvalidArgument => Failure::usage(refused.status.message()),
        _ => refused.into(),
    })?;
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt()).map_err(Failure::runtime)?,
        signal(SignalKind::terminate()).map_err(Failure::runtime)?,
    );
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        let answer = tokio::select! {
            answer = answers.message() => answer,
            _ = ticks.tick() => {
                printer.flush()?;
                if reader_gone() {
                    return Ok(ExitCode::SUCCESS);
                }
                continue;
            }
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        };
        let lost = |error: tonic::Status| {
            Failure::unreachable(format!("the service behind `{}` has gone: {}", socket.display(), error.message()))
        };
        let Some(logged) = answer.map_err(lost)? else { break };
        let exchange = control::record::exchange(&logged)
            .map_err(|error| Failure::runtime(format!("the service's answer cannot be read: {error}")))?;
        printer.show(&exchange)?;
    }
    printer.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn warn(reader: &Reader, warned: u64) {
    let more = reader.unreadable().saturating_sub(warned);
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
    Ocsf(BufWriter<W>),
}

impl<W: Write> Printer<W> {
    fn new(format: Format, out: W) -> Self {
        let out = BufWriter::new(out);
        match format {
            Format::Table => Self::Table(Table::new(out, terminal_width(), colours())),
            Format::Json => Self::Json(out),
            Format::Ocsf => Self::Ocsf(out),
        }
    }

    fn show(&mut self, exchange: &Exchange) -> io::Result<()> {
        match self {
            Self::Table(table) => table.show(exchange),
            Self::Json(out) => writeln!(out, "{}", json_line(exchange)?),
            Self::Ocsf(out) => {
                ocsf::events(exchange).iter().try_for_each(|event| writeln!(out, "{}", json_line(event)?))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Table(table) => table.flush(),
            Self::Json(out) | Self::Ocsf(out) => out.flush(),
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
        replay(&args, journal, &mut printer).unwrap();
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
        let event: serde_json::Value =
            serde_json::from_str(&shown(folder.path(), &["--limit", "1", "-o", "ocsf"])[0]).unwrap();
        assert_eq!((&event["class_uid"], &event["metadata"]["version"]), (&4002.into(), &ocsf::VERSION.into()));
        let table = shown(folder.path(), &["--limit", "3"]);
        assert_eq!(table.len(), 4, "{table:#?}");
        assert!(table[0].starts_with("TIME (UTC)"));
    }
}
