//! `attache approvals`: what waits for a person, and a person's answer.

pub mod view;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use tonic::Code;

use super::output::{Format, json_line, printable, terminal_width};
use super::running::{self, Refused};
use super::state::StateDir;
use super::{Failure, Outcome};
use crate::control;
use crate::control::api::{AnswerApprovalRequest, Approval, State, Verdict};

/// Show what waits for a person, and approve or refuse it
///
/// Where a rule asks for approval, the agent's request is held, or the agent is told to come again, until somebody
/// answers here. An approval lets exactly one request out, and only one that is the same in every part: agent, method,
/// URL with its query, content type and body. Who answered and why goes on record.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache approvals list
  attache approvals show apr_7k2m
  attache approvals approve apr_7k2m --why 'the customer asked for it'
  attache approvals deny apr_7k2m --why 'not without an order number'

Exit codes:
  0  shown, or answered
  1  there is no such ticket, it has expired, or somebody was faster
  2  an option cannot be understood, or a ticket or state directory could be meant in several ways
  5  the service cannot be reached, or refuses this process")]
pub struct Args {
    #[command(flatten)]
    state_dir: StateDir,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(List),
    Show(Show),
    Approve(Answer),
    /// Refuse a request: the agent gets 403, now and for as long as the question is kept
    #[command(alias = "refuse", after_help = REVOKE)]
    Deny(Answer),
}

const REVOKE: &str = "What was approved and has not gone out yet can still be refused.";

/// Show the requests that wait for an answer, the oldest first
///
/// With `-o json`, one object a line, each with all that `show` prints.
#[derive(Debug, clap::Args)]
struct List {
    /// Also show what was answered and still counts: approvals nothing has gone out for, and refusals
    #[arg(short, long)]
    all: bool,

    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,
}

/// Show all of one request: with its query, and with the beginning of its body
#[derive(Debug, clap::Args)]
struct Show {
    /// The ticket, or as much of its beginning as no other has
    #[arg(value_name = "TICKET")]
    ticket: String,

    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,
}

/// Let one request out: the one that waits longest, else the agent's next one that is the same in every part
#[derive(Debug, clap::Args)]
struct Answer {
    /// The ticket, or as much of its beginning as no other has
    #[arg(value_name = "TICKET")]
    ticket: String,

    /// Why. It goes on record, and the agent is told where it is refused
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    why: String,

    /// Who answers, where that is not this user; both go on record
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    by: String,

    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    super::runtime()?.block_on(approvals(args))
}

async fn approvals(args: Args) -> Outcome {
    let socket = running::socket(&args.state_dir)?;
    match args.command {
        Command::List(list) => show_all(&socket, &list).await,
        Command::Show(show) => show_one(&socket, &show).await,
        Command::Approve(answer) => decide(&socket, &answer, Verdict::Approve).await,
        Command::Deny(answer) => decide(&socket, &answer, Verdict::Refuse).await,
    }
}

async fn show_all(socket: &Path, args: &List) -> Outcome {
    let mut approvals = list(socket).await?;
    approvals.retain(|approval| args.all || approval.state() == State::Pending);
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Json => {
            for approval in &approvals {
                writeln!(out, "{}", json_line(&view::json(approval))?)?;
            }
        }
        Format::Text if approvals.is_empty() => eprintln!("nothing waits for an answer"),
        Format::Text => write!(out, "{}", view::table(&approvals, SystemTime::now(), terminal_width()))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn show_one(socket: &Path, args: &Show) -> Outcome {
    let approvals = list(socket).await?;
    let approval = find(&approvals, &args.ticket)?.ok_or_else(|| unknown(&args.ticket))?;
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Json => writeln!(out, "{}", json_line(&view::json(approval))?)?,
        Format::Text => write!(out, "{}", view::whole(approval, SystemTime::now()))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn decide(socket: &Path, args: &Answer, verdict: Verdict) -> Outcome {
    let approvals = list(socket).await?;
    let ticket = match find(&approvals, &args.ticket)? {
        Some(approval) => approval.ticket.clone(),
        // The service knows whether it has been there.
        None => args.ticket.clone(),
    };
    let request = AnswerApprovalRequest { ticket, verdict: verdict.into(), by: args.by.clone(), why: args.why.clone() };
    let answered = running::ask(socket, control::answer_approval(socket, request)).await?.map_err(not_taken)?;
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Json => writeln!(out, "{}", json_line(&view::json(&answered))?)?,
        Format::Text => write!(out, "{}", view::confirmation(&answered, SystemTime::now()))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(socket: &Path) -> Result<Vec<Approval>, Failure> {
    Ok(running::ask(socket, control::list_approvals(socket)).await??)
}

/// The question whose ticket begins like this.
fn find<'a>(approvals: &'a [Approval], given: &str) -> Result<Option<&'a Approval>, Failure> {
    let given = given.trim();
    let begins = |approval: &&Approval| {
        let ticket = approval.ticket.as_str();
        ticket.starts_with(given) || ticket.strip_prefix(PREFIX).is_some_and(|bare| bare.starts_with(given))
    };
    // The prefix that all have in common names none.
    if given.is_empty() || PREFIX.starts_with(given) {
        return Err(Failure::usage("a ticket looks like `apr_7k2m…`: see `attache approvals list`"));
    }
    if let Some(exact) = approvals.iter().find(|approval| approval.ticket == given) {
        return Ok(Some(exact));
    }
    let mut found = approvals.iter().filter(begins);
    match (found.next(), found.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => {
            let tickets: Vec<&str> = approvals.iter().filter(begins).map(|approval| approval.ticket.as_str()).collect();
            let (given, tickets) = (printable(given), tickets.join(", "));
            Err(Failure::usage(format!("`{given}` could mean several tickets, write more of it: {tickets}")))
        }
    }
}

/// What every ticket begins with.
const PREFIX: &str = "apr_";

fn unknown(ticket: &str) -> Failure {
    let ticket = printable(ticket);
    Failure::runtime(format!(
        "there is no open question `{ticket}`; `attache approvals list --all` shows those there are"
    ))
}

fn not_taken(refused: Refused) -> Failure {
    let message = printable(refused.status.message());
    match refused.status.code() {
        Code::NotFound | Code::FailedPrecondition | Code::DeadlineExceeded | Code::Aborted => Failure::runtime(message),
        Code::InvalidArgument => Failure::usage(message),
        _ => refused.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::view::tests::approval;
    use super::*;

    #[test]
    fn as_much_of_a_ticket_suffices_as_no_other_has() {
        let approvals =
            ["apr_aab0", "apr_aac0", "apr_aac01"].map(|ticket| Approval { ticket: ticket.into(), ..approval() });
        for (given, expected) in [
            ("apr_aab0", Ok(Some("apr_aab0"))),
            ("apr_aab", Ok(Some("apr_aab0"))),
            ("aab", Ok(Some("apr_aab0"))),
            (" aab ", Ok(Some("apr_aab0"))),
            ("apr_aac0", Ok(Some("apr_aac0"))),
            ("apr_aac", Err(2)),
            ("aa", Err(2)),
            ("apr_", Err(2)),
            ("ap", Err(2)),
            ("", Err(2)),
            ("apr_x", Ok(None)),
            ("b0", Ok(None)),
        ] {
            let found = find(&approvals, given).map(|found| found.map(|approval| approval.ticket.as_str()));
            assert_eq!(found.map_err(|failure| failure.code), expected, "{given:?}");
        }
    }
}
