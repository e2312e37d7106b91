//! The command line: one file a command.

mod agent_env;
mod approvals;
mod audit;
mod ca;
mod check;
mod completions;
mod diff;
mod dlp;
mod envoy;
mod explain;
mod fmt;
mod health;
mod import;
mod inject;
mod isolate;
mod load;
mod logs;
mod net;
mod output;
mod policy_text;
mod proxy_tls;
mod record;
mod rehearse;
mod run;
mod running;
mod schema;
mod serve;
mod services;
mod sinks;
mod stack;
mod state;
mod store;
mod test;
mod top;
mod trace;
mod trust_store;
mod up;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Governs what AI agents send out.
///
/// Envoy carries an agent's requests, attaché decides them: which hosts, methods and paths are allowed, and which
/// credentials go with them that the agent never sees. Every attempt is put on record.
#[derive(Parser)]
#[command(
    name = "attache",
    version,
    propagate_version = false,
    max_term_width = 110,
    after_help = "Try it:\n  attache run --policy policy.yaml -- python agent.py    run an agent under a policy\n  attache logs --status blocked                          see what it was refused\n\n\
Exit codes: 0 ok, 1 failed, 2 wrong usage or policy, 3 policy says no, 4 the record does not verify,\n5 the service does not answer; `run` exits as its command does."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Up(up::Args),
    Serve(serve::Args),
    Check(check::Args),
    Explain(Box<explain::Args>),
    Test(test::Args),
    Diff(diff::Args),
    Dlp(dlp::Args),
    Fmt(fmt::Args),
    Schema(schema::Args),
    Logs(logs::Args),
    Audit(audit::Args),
    Approvals(approvals::Args),
    Top(top::Args),
    Import(import::Args),
    Services(services::Args),
    Health(health::Args),
    Ca(ca::Args),
    Envoy(envoy::Args),
    Inject(inject::Args),
    Net(net::Args),
    Completions(completions::Args),
    Version(version::Args),
    #[command(hide = true)]
    Isolate(isolate::Args),
}

/// How a command failed.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Something went wrong while it ran: exit code 1.
    pub fn runtime(error: impl std::fmt::Display) -> Self {
        Self { code: 1, message: error.to_string() }
    }

    /// The command or the policy is wrong: exit code 2.
    pub fn usage(error: impl std::fmt::Display) -> Self {
        Self { code: 2, message: error.to_string() }
    }

    /// It failed in a way of its own.
    pub fn exit(code: u8, error: impl std::fmt::Display) -> Self {
        Self { code, message: error.to_string() }
    }

    /// The service does not answer: exit code 5.
    pub fn unreachable(error: impl std::fmt::Display) -> Self {
        Self { code: 5, message: error.to_string() }
    }
}

/// What a command comes to.
pub type Outcome = Result<ExitCode, Failure>;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    let outcome = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Up(args) => up::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Check(args) => check::run(args),
        Command::Explain(args) => explain::run(*args),
        Command::Test(args) => test::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Dlp(args) => dlp::run(args),
        Command::Fmt(args) => fmt::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Logs(args) => logs::run(args),
        Command::Audit(args) => audit::run(args),
        Command::Approvals(args) => approvals::run(args),
        Command::Top(args) => top::run(args),
        Command::Import(args) => import::run(args),
        Command::Services(args) => services::run(args),
        Command::Health(args) => health::run(args),
        Command::Ca(args) => ca::run(args),
        Command::Envoy(args) => envoy::run(args),
        Command::Inject(args) => inject::run(args),
        Command::Net(args) => net::run(args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Version(args) => version::run(args),
        Command::Isolate(args) => isolate::run(args),
    };
    outcome.unwrap_or_else(|failure| {
        // Whoever read the output has seen enough.
        if !failure.message.is_empty() {
            eprintln!("attache: {}", failure.message);
        }
        ExitCode::from(failure.code)
    })
}

/// Diagnostics go to stderr; RUST_LOG chooses among them.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("attache=info,warn"));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let layer = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    layer.with_target(false).compact().init();
}

/// A runtime of one thread: what a command needs beside the service's workers.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::runtime)
}

/// Read and write for some users, and nothing else.
fn file_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode & !0o666 == 0 && mode & 0o600 == 0o600 => Ok(mode),
        _ => Err("write an octal mode from 0600 to 0666".to_owned()),
    }
}
