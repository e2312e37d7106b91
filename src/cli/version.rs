//! `attache version`

use std::io::Write;
use std::process::ExitCode;

use crate::envoy::install::PINNED;
use serde_json::json;

use super::Outcome;
use super::output::{Format, json_line};

/// Print the version of attaché, and of the Envoy it is made for
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,
}

/// Attaché's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from, where the build says so.
const REVISION: Option<&str> = option_env!("ATTACHE_REVISION");

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Text => {
            let revision = REVISION.map(|revision| format!(" ({revision})")).unwrap_or_default();
            writeln!(out, "attache {VERSION}{revision}, for Envoy {PINNED} or later")?;
        }
        Format::Json => {
            let version = json!({"version": VERSION, "revision": REVISION, "envoyVersion": PINNED.to_string()});
            writeln!(out, "{}", json_line(&version)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
