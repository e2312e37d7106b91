//! `attache ca doctor -- CMD`: whether a program trusts the CA, and how to make it.
//!
//! Nothing is guessed that can be tried. The CA's key is in the service alone, so a stand-in takes its place: each file
//! that holds the CA's certificate is swapped for one that holds the stand-in's, the program's own interpreter calls a
//! server on loopback whose certificate is the stand-in's, and what counts is whether its request arrives.

mod checks;
mod elf;
mod probe;
mod program;
mod report;
mod server;
mod stand_in;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::super::output::{Format, json_line};
use super::super::state::{Ready, StateDir, StateError};
use super::super::{Failure, Outcome, runtime};
use checks::Trust;
use program::Program;
use report::Report;
use server::Servers;
use stand_in::StandIn;

/// Where a governed pod has the CA's certificate.
const POD_TRUST_DIR: &str = "/run/attache-trust";

/// Tell whether a program trusts the CA, and how to make it
///
/// Starts CMD's interpreter, or CMD itself where it is a known client, with a request of its own to a server on loopback:
/// with the variables as they are, with those that attaché sets, and once to a server that nobody should trust. CMD
/// itself is started only where an argument has `{url}`, which becomes that server's address.
///
/// What the program's own code says (a CA file of its own, a pinned certificate, verification turned off) is seen only
/// with `{url}`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache ca doctor -- python agent.py
  attache ca doctor -- ./agent --api-base {url}
  attache ca doctor --trust-dir /run/attache-trust -- node agent.js

Exit codes:
  0  it trusts the CA as things are; where no attaché runs: with the variables that `attache run` sets
  1  it does not, or trusts anybody, or cannot be tried
  2  CMD is not there, or several state directories could be meant")]
pub struct Doctor {
    #[command(flatten)]
    state_dir: StateDir,

    /// Directory with the CA's certificate, as a governed pod has it: `ca.pem`, `bundle.pem` and `bundle.p12`
    ///
    /// The files are checked, and the variables that name them. Without CMD that is all.
    #[arg(long, value_name = "DIR", conflicts_with = "state_dir")]
    trust_dir: Option<PathBuf>,

    /// How the report is printed.
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,

    /// The program and its arguments, after `--`.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the command.
pub fn run(options: &Doctor) -> Outcome {
    if options.command.is_empty() && options.trust_dir.is_none() {
        return Err(Failure::usage("there is no program to try: give it after `--`, or `--trust-dir DIR` alone"));
    }
    let trust = trust(options)?;
    let mut report = Report::new(&options.command, trust.as_ref());
    if !options.command.is_empty() {
        let program = Program::of(&options.command).map_err(Failure::usage)?;
        let stand_in =
            StandIn::make(trust.as_ref().map(|trust| trust.certificate.clone())).map_err(Failure::runtime)?;
        let results = runtime()?.block_on(async {
            let servers = Servers::start(stand_in.authority()).await?;
            probe::all(&program, &stand_in, &servers).await
        });
        report.tried(program, results.map_err(Failure::runtime)?);
    }
    let mut out = io::stdout().lock();
    match options.output {
        Format::Text => write!(out, "{report}")?,
        Format::Json => writeln!(out, "{}", json_line(&report.json())?)?,
    }
    Ok(ExitCode::from(u8::from(!report.is_good())))
}

/// The CA that is to be trusted; none where no attaché runs.
fn trust(options: &Doctor) -> Result<Option<Trust>, Failure> {
    let in_directory = |dir: &Path| Trust::of_directory(dir).map(Some).map_err(Failure::runtime);
    if let Some(dir) = &options.trust_dir {
        return in_directory(dir);
    }
    let state_dir = match options.state_dir.find() {
        Ok(state_dir) => state_dir,
        Err(StateError::None(_) | StateError::NoHome) => {
            let pod = Path::new(POD_TRUST_DIR);
            return if pod.join("ca.pem").exists() { in_directory(pod) } else { Ok(None) };
        }
        Err(error) => return Err(error.into()),
    };
    match Ready::read(&state_dir)? {
        Some(ready) => Trust::of_running(&ready.ca, &ready.bundle).map(Some).map_err(Failure::runtime),
        // A service without a supervisor, which was named.
        None if options.state_dir.state_dir.is_some() || env::var_os("ATTACHE_STATE_DIR").is_some() => {
            let ca = state_dir.join("ca.pem");
            fs::metadata(&ca).map_err(|error| super::unreadable(&ca, &error))?;
            Trust::of_running(&ca, &ca).map(Some).map_err(Failure::runtime)
        }
        None => Ok(None),
    }
}
