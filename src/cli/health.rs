//! `attache health`: how a running service is doing, as it says itself.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::control;
use crate::control::api::StatusReply;
use serde_json::json;

use super::output::{Format, json_line, printable};
use super::state::{StateDir, StateError};
use super::{Failure, Outcome};

/// How long the service may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

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
    let state_dir = args.state_dir.find().map_err(|error| match error {
        StateError::None(_) => Failure::unreachable(error.to_string()),
        error => error.into(),
    })?;
    let status = ask(&state_dir.join("control.sock")).await?;
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Text => write!(out, "{}", text(&status))?,
        Format::Json => writeln!(out, "{}", json_line(&json(&status))?)?,
    }
    if !status.reload_error.is_empty() {
        let error = status.reload_error.lines().map(printable).collect::<Vec<_>>().join("\n");
        eprintln!("warning: the policy on disk is refused, and the last good one stays in force:\n{error}");
    }
    Ok(if status.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn ask(socket: &Path) -> Result<StatusReply, Failure> {
    let shown = socket.display();
    // tonic keeps the reason to itself, and it is what the user can act on.
    if let Err(error) = UnixStream::connect(socket) {
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => "it is not there: the service has not been started, or has been stopped",
            std::io::ErrorKind::ConnectionRefused => "nobody listens: the service has ended without cleaning up",
            std::io::ErrorKind::PermissionDenied => "it belongs to another user",
            _ => return Err(Failure::unreachable(format!("the control socket `{shown}` cannot be reached: {error}"))),
        };
        return Err(Failure::unreachable(format!("the control socket `{shown}` cannot be reached: {reason}")));
    }
    match tokio::time::timeout(PATIENCE, control::status(socket)).await {
        Ok(Ok(status)) => Ok(status),
        // It closes the connection without a word.
        Ok(Err(error)) if error.code() == tonic::Code::Unavailable || error.code() == tonic::Code::Unknown => {
            Err(Failure::unreachable(format!(
                "the service behind `{shown}` refused this process: it speaks to its own user alone, and to no process \
                 of an agent that `attache run` started ({})",
                printable(error.message())
            )))
        }
        Ok(Err(error)) => Err(Failure::unreachable(format!(
            "the service behind `{shown}` cannot say how it is doing: {}",
            printable(error.message())
        ))),
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            Err(Failure::unreachable(format!("the service behind `{shown}` has not answered for {seconds} seconds")))
        }
    }
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

    #[tokio::test]
    async fn what_cannot_be_reached_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let reason = async || match ask(&socket).await {
            Err(Failure { code: 5, message }) => message,
            _ => panic!("it answered, or failed in another way"),
        };
        assert!(reason().await.contains("has not been started"));
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let refusing = tokio::spawn(async move {
            loop {
                drop(listener.accept().await);
            }
        });
        let message = reason().await;
        assert!(message.contains("refused this process"), "{message}");
        refusing.abort();
        assert!(refusing.await.unwrap_err().is_cancelled());
        assert!(reason().await.contains("nobody listens"));
    }
}
