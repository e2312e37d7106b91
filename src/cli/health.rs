//! `attache health`: how a running service is doing, as it says itself.

use std::io::Write;
use std::process::ExitCode;

use crate::control;
use crate::control::api::StatusReply;
use serde_json::json;

use super::output::{Format, json_line, printable};
use super::state::StateDir;
use super::{Outcome, running};

/// Ask a running attaché how it is doing
///
/// Says whether requests can be decided, on which policy, and whether the policy on disk is the one in force. A policy
/// on disk that is refused is said loudly and leaves the exit code at 0: requests are decided on the last good one,
/// and a probe that acted on it would only take that away.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache health
  attache health --state-dir /var/lib/attache -o json | jq -r .policy.error

Exit codes:
  0  ready
  1  not ready: requests are refused
  5  the service cannot be reached, or refuses this process")]
pub struct Args {
    #[command(flatten)]
    state_dir: StateDir,

    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    super::runtime()?.block_on(health(&args))
}

async fn health(args: &Args) -> Outcome {
    let socket = running::socket(&args.state_dir)?;
    let status = running::ask(&socket, control::status(&socket)).await??;
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Text => write!(out, "{}", text(&status))?,
        Format::Json => writeln!(out, "{}", json_line(&json(&status))?)?,
    }
    if !status.reload_error.is_empty() {
        let error = status.reload_error.lines().map(printable).collect::<Vec<_>>().join("\n");
        eprintln!("warning: the policy on disk is refused, and the last good one stays in force:\n{error}");
    }
    for warning in &status.warnings {
        eprintln!("warning: {}", printable(warning));
    }
    Ok(if status.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(status: &StatusReply) -> String {
    let loaded = if status.reload_error.is_empty() { "loaded" } else { "refused" };
    let agent = if status.agent.is_empty() { "identified one by one".into() } else { printable(&status.agent) };
    format!(
        "{}\nversion  {} (pid {})\npolicy   {}\nrevision {}\n{loaded:<8} {}\nagent    {agent}\n",
        if status.ready { "ready" } else { "not ready: requests are refused" },
        printable(&status.version),
        status.pid,
        printable(&status.policy_path),
        printable(&status.policy_revision),
        time(status),
    )
}

fn json(status: &StatusReply) -> serde_json::Value {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "ready": status.ready,
        "version": status.version,
        "pid": status.pid,
        "policy": {
            "path": status.policy_path,
            "revision": status.policy_revision,
            "reloadedAt": time(status),
            "error": given(&status.reload_error),
        },
        "agent": given(&status.agent),
        "warnings": status.warnings,
    })
}

fn time(status: &StatusReply) -> String {
    jiff::Timestamp::from_millisecond(status.reloaded_at_ms).map_or_else(|_| "-".into(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> StatusReply {
        StatusReply {
            version: "0.1.0".into(),
            pid: 7,
            ready: true,
            policy_path: "policy.yaml".into(),
            policy_revision: "abc".into(),
            reloaded_at_ms: 1_700_000_000_123,
            reload_error: String::new(),
            agent: String::new(),
            started_at_ms: 1_700_000_000_000,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_summary_says_what_is_in_force() {
        let expected = "ready\nversion  0.1.0 (pid 7)\npolicy   policy.yaml\nrevision abc\n\
             loaded   2023-11-14T22:13:20.123Z\nagent    identified one by one\n";
        assert_eq!(text(&status()), expected);
        let refused = StatusReply { reload_error: "bad".into(), ready: false, ..status() };
        assert!(text(&refused).starts_with("not ready"));
        assert!(text(&refused).contains("refused  2023"));
        assert_eq!(json(&refused)["policy"]["error"], "bad");
        assert_eq!(json(&status())["policy"]["error"], serde_json::Value::Null);
    }
}
