//! `attache run -- CMD`: one command under a policy.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::isolate::Isolation;
use super::stack::{Flags, Up, bring_up};
use super::{Failure, Outcome, agent_env, proxy_tls};

/// Run a command under a policy.
///
/// Starts the policy service and Envoy on a free port, points the command to them by the variables its HTTP clients
/// know, takes the credentials' variables out of its environment, and exits as it does. Without --isolate the mode
/// is cooperative: a command that ignores the variables is not stopped.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  attache run --policy policy.yaml -- python agent.py\n  attache run --policy policy.yaml --isolate --agent coder -- ./agent\n\n\
Exit code: the command's own; 128 + N if signal N ended it; 126 or 127 if it cannot be started; before that, 1 or 2."
)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Where the proxy listens [default: a free port of 127.0.0.1].
    #[arg(long, value_name = "ADDR:PORT", env = "ATTACHE_LISTEN")]
    listen: Option<SocketAddr>,
    /// Give the command a network of its own whose only way out is the proxy. Needs user namespaces.
    #[arg(long)]
    isolate: bool,
    /// The command and its arguments, after `--`.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    super::runtime()?.block_on(run_command(args))
}

async fn run_command(args: Args) -> Outcome {
    if !args.isolate {
        eprintln!(
            "attache: cooperative mode: a command that ignores HTTP_PROXY is not stopped; --isolate gives it no other way out"
        );
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::runtime)?;
    // The terminal sends these to the command as well, which decides what they mean.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::runtime)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(Failure::runtime)?;
    // The command is on this machine: what it says to the proxy goes no further in clear.
    let no_tls = proxy_tls::TlsFlags::default();
    let mut up = tokio::select! {
        up = bring_up(&args.flags, args.listen, &no_tls) => up?,
        _ = terminate.recv() => return Ok(ExitCode::from(143)),
        _ = interrupt.recv() => return Ok(ExitCode::from(130)),
        _ = hangup.recv() => return Ok(ExitCode::from(129)),
    };
    if up.anonymous {
        eprintln!(
            "attache: the policy names agents; without --agent NAME the command has to identify itself, or gets 401"
        );
    }
    up.publish()?;
    let started = start(&args, &up).await;
    let (mut child, _isolation) = match started {
        Ok(started) => started,
        Err(failure) => {
            up.stack.stop().await;
            return Err(failure);
        }
    };
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            _ = up.stack.keep_up() => {
                up.publish()?;
            }
            _ = terminate.recv() => pass_on(&child, Signal::TERM),
            _ = hangup.recv() => pass_on(&child, Signal::HUP),
            _ = interrupt.recv() => {}
        }
    };
    up.stack.stop().await;
    Ok(exit_code(status.map_err(Failure::runtime)?))
}

/// Starts the command with the variables its clients know, and without those that hold secrets.
async fn start(args: &Args, up: &Up) -> Result<(Child, Option<Isolation>), Failure> {
    let ready = up.stack.ready();
    let (program, rest) = args.command.split_first().ok_or_else(|| Failure::usage("there is no command after `--`"))?;
    let isolation = match args.isolate {
        true => Some(Isolation::prepare(&ready.state_dir, &ready.proxy)?),
        false => None,
    };
    let mut command = match &isolation {
        Some(isolation) => isolation.command(program)?,
        None => Command::new(program),
    };
    command.args(rest).kill_on_drop(true);
    for name in agent_env::REMOVED.iter().copied().chain(up.secret_variables.iter().map(String::as_str)) {
        command.env_remove(name);
    }
    // A variable that adds to what is trusted may have named a bundle of the user's.
    let ca = if up.has_user_bundles { &ready.bundle } else { &ready.ca };
    command.envs(agent_env::variables(&ready.proxy, ca, &ready.bundle));
    let java = std::env::var("JAVA_TOOL_OPTIONS").ok();
    command.envs(agent_env::java_options(java.as_deref(), &ready.proxy, &ready.bundle));
    let child = command.spawn().map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
        Failure::exit(code, format!("`{}` cannot be started: {error}", program.to_string_lossy()))
    })?;
    match isolation {
        Some(mut isolation) => {
            let mut child = child;
            isolation.connect(&mut child).await?;
            Ok((child, Some(isolation)))
        }
        None => Ok((child, None)),
    }
}

fn pass_on(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        // It may have ended by itself meanwhile.
        let _ = kill_process(pid, signal);
    }
}

/// As shells do: 128 and the signal's number.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
