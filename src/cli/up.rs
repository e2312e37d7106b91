//! `attache up`: service and Envoy together, until told to stop.

use std::net::SocketAddr;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::stack::{Flags, bring_up};
use super::{Failure, Outcome};

/// Start the policy service and Envoy, and keep both up.
///
/// Prints one line when agents can use the proxy. Starts either process again when it ends; stops both on SIGINT or
/// SIGTERM. Point agents to it with `eval "$(attache ca env)"`.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  attache up --policy policy.yaml --listen 127.0.0.1:10080")]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Where agents reach the proxy.
    #[arg(long, value_name = "ADDR:PORT", env = "ATTACHE_LISTEN", default_value = "127.0.0.1:10080")]
    listen: SocketAddr,
    #[command(flatten)]
    proxy_tls: super::proxy_tls::TlsFlags,
    /// How the ready line is printed.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Output {
    /// A sentence.
    Text,
    /// One line of JSON.
    Json,
}

/// Runs until told to stop.
pub fn run(args: Args) -> Outcome {
    super::runtime()?.block_on(up(args))
}

async fn up(args: Args) -> Outcome {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::runtime)?;
    let stopped = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let mut stopped = std::pin::pin!(stopped);
    let mut up = tokio::select! {
        up = bring_up(&args.flags, Some(args.listen), &args.proxy_tls) => up?,
        () = &mut stopped => return Ok(ExitCode::SUCCESS),
    };
    let ready = up.publish()?;
    match args.output {
        Output::Json => println!("{ready}"),
        Output::Text => {
            let ready = up.stack.ready();
            println!("ready: proxy {} · CA {} · state {}", ready.proxy, ready.ca.display(), ready.state_dir.display());
        }
    }
    loop {
        tokio::select! {
            _ = up.stack.keep_up() => {
                up.publish()?;
            }
            () = &mut stopped => break,
        }
    }
    up.stack.stop().await;
    Ok(ExitCode::SUCCESS)
}
