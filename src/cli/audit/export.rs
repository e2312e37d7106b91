//! `attache audit export`: the record in the form that another system reads.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use super::super::logs::filter::Filter;
use super::super::output::json_line;
use super::super::{Failure, Outcome};
use super::csv;
use crate::journal::exchange::Exchange;
use crate::journal::filter;
use crate::journal::follow::{Cursor, Follower};
use crate::journal::mark::Mark;
use crate::journal::ocsf;
use crate::journal::recall::{Query, recall};
use crate::pipeline::audit::Record;

/// Write the record for another system
///
/// One event for each request, in the order they were decided, joined with what was found in it and what became of it.
/// Filters that are given must all apply. Nothing that was found is shown, only where and by which rule.
///
/// ocsf: the Open Cybersecurity Schema Framework 1.8, one event a line. A request is an HTTP Activity (4002); where
/// something was found in it a Data Security Finding (2006) follows. What people were asked (Entity Management, 3004)
/// stands at the end, unless a filter asks for what only requests have.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache audit export -o ocsf --since 1d >events.jsonl
  attache audit export -o csv --agent researcher --status blocked >blocked.csv
  attache audit export -o json | jq -r .host | sort | uniq -c

Exit codes:
  0  written, also where nothing matches
  1  there is no journal, or it cannot be read
  2  an option cannot be understood, or several state directories could be meant")]
pub struct Args {
    #[command(flatten)]
    filter: Filter,

    /// Form of the output
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Events of OCSF 1.8, one a line.
    Ocsf,
    /// One object a line, as `attache logs -o json`.
    Json,
    /// Comma-separated values (RFC 4180) with a header.
    Csv,
}

/// Runs the command.
pub fn run(args: &Args, folder: &Path) -> Outcome {
    let mut out = BufWriter::new(io::stdout().lock());
    export(args, folder, &mut out)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn export(args: &Args, folder: &Path, out: &mut impl Write) -> Result<(), Failure> {
    let unreadable = |error: io::Error| {
        let folder = folder.display();
        match error.kind() {
            // Only stdout is a pipe.
            io::ErrorKind::BrokenPipe => error.into(),
            io::ErrorKind::NotFound => Failure::runtime(format!("there is no journal in `{folder}`")),
            _ => Failure::runtime(format!("the journal in `{folder}` cannot be exported: {error}")),
        }
    };
    let query = Query { filter: args.filter.wanted(), ..Query::default() };
    // Before anything is written.
    std::fs::read_dir(folder).map_err(unreadable)?;
    if args.output == Format::Csv {
        csv::header(out)?;
    }
    let mut show = |exchange: Exchange| write(args.output, &exchange, out);
    let reader = recall(folder, &query, None, &mut show).map_err(unreadable)?;
    if args.output == Format::Ocsf {
        approvals(&query.filter, folder, out).map_err(unreadable)?;
    }
    let left_out = reader.unreadable();
    if left_out > 0 {
        let lines = if left_out == 1 { "1 line".to_owned() } else { format!("{left_out} lines") };
        eprintln!("warning: left out what cannot be read: {lines}; see `attache audit verify`");
    }
    Ok(())
}

fn write(format: Format, exchange: &Exchange, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Ocsf => ocsf::events(exchange).iter().try_for_each(|event| writeln!(out, "{}", json_line(event)?)),
        Format::Json => writeln!(out, "{}", json_line(exchange)?),
        Format::Csv => csv::row(out, &serde_json::to_value(exchange)?),
    }
}

/// What people were asked, and said: no exchange, and so not what a reader shows.
fn approvals(filter: &filter::Filter, folder: &Path, out: &mut impl Write) -> io::Result<()> {
    let mut lines = Follower::new(folder, Cursor::default());
    let mut chain: Box<str> = Box::default();
    while let Some(entry) = lines.next_entry()? {
        if entry.line.starts_with(b"{\"type\":\"segment\"") {
            if let Ok(Mark::Segment(segment)) = serde_json::from_slice(&entry.line) {
                chain = segment.chain;
            }
        } else if entry.line.starts_with(b"{\"type\":\"approval\"")
            && let Ok(Record::Approval(approval)) = serde_json::from_slice(&entry.line)
            && filter.admits_approval(&approval)
        {
            for event in ocsf::line(&entry.line, &chain) {
                writeln!(out, "{}", json_line(&event)?)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::SystemTime;

    use clap::Parser;
    use serde_json::Value;

    use super::super::super::logs::filter::tests::exchange;
    use super::*;
    use crate::journal::{Journal, Options};
    use crate::pipeline::audit::{ApprovalEvent, ApprovalRecord, Verdict};

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn exported(folder: &Path, options: &[&str]) -> String {
        let args = Command::parse_from([&["export"], options].concat()).args;
        let mut out = Vec::new();
        export(&args, folder, &mut out).map_err(|failure| failure.message).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn journal(folder: &Path) {
        let journal = Journal::open(folder, Options::default()).unwrap();
        for (id, verdict) in [("r1", Verdict::Allow), ("r2", Verdict::Deny)] {
            let mut decision = exchange(verdict).decision;
            decision.request_id = id.into();
            journal.append(&decision).unwrap();
        }
        let approval = ApprovalRecord {
            ticket: "apr_1".into(),
            time: SystemTime::now(),
            event: ApprovalEvent::Asked,
            agent: "nobody".into(),
            method: "GET".into(),
            scheme: "https".into(),
            host: "h".into(),
            port: 443,
            path: "/".into(),
            query: None,
            body_sha256: "00".into(),
            rules: vec!["ask".into()],
            fingerprint: None,
            by: None,
            why: None,
            notify: Vec::new(),
        };
        journal.append(&Record::Approval(Box::new(approval))).unwrap();
    }

    #[test]
    fn each_form_has_every_exchange_once() {
        let folder = tempfile::tempdir().unwrap();
        journal(folder.path());
        let json = exported(folder.path(), &["-o", "json"]);
        assert_eq!(json.lines().count(), 2);
        let csv = exported(folder.path(), &["-o", "csv"]);
        assert!(csv.starts_with("time,agent,") && csv.matches("\r\n").count() == 3, "{csv}");
        let columns = csv.lines().next().unwrap().split(',').count();
        assert!(csv.lines().all(|line| line.split(',').count() >= columns), "{csv}");
        let events: Vec<Value> =
            exported(folder.path(), &["-o", "ocsf"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let classes: Vec<_> = events.iter().map(|event| event["class_uid"].as_u64().unwrap()).collect();
        assert_eq!(classes, [4002, 4002, 3004]);
        assert_eq!(events[2]["metadata"]["sequence"], 3, "the number of its line");
        let blocked = exported(folder.path(), &["-o", "ocsf", "--status", "blocked"]);
        assert_eq!(blocked.lines().count(), 1);
        assert_eq!(exported(folder.path(), &["-o", "ocsf", "--agent", "nobody"]).lines().count(), 1);
        assert_eq!(exported(folder.path(), &["-o", "json", "--agent", "nobody"]), "");
    }

    #[test]
    fn every_key_of_an_exchange_is_a_column() {
        let value = serde_json::to_value(exchange(Verdict::Allow)).unwrap();
        let keys: BTreeSet<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, csv::COLUMNS.into_iter().collect());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let args = Command::parse_from(["export", "-o", "json"]).args;
        let failure = export(&args, Path::new("/no/such/journal"), &mut Vec::new()).unwrap_err();
        assert!(failure.code == 1 && failure.message.contains("/no/such/journal"), "{failure:?}");
    }
}
