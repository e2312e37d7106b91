//! `attache audit`: shows that the record is what was written, and hands it on.

mod csv;
mod export;
mod verify;

use std::path::PathBuf;

use super::state::StateDir;
use super::{Failure, Outcome};
use crate::journal::verify::VerifyError;

/// Verify the record, and export it
///
/// Every record carries a hash over all before it, and every ten seconds the service signs how far it has come. So
/// nobody changes, removes or adds a record without `verify` finding it; a checkpoint that is kept elsewhere also shows
/// a cut-off end.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache audit verify
  attache audit checkpoint >>/mnt/elsewhere/checkpoints.jsonl
  attache audit verify --checkpoint /mnt/elsewhere/checkpoints.jsonl
  attache audit export -o ocsf --since 1d >events.jsonl")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Verify(verify::Args),
    Checkpoint(verify::CheckpointArgs),
    Export(export::Args),
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    match args.command {
        Command::Verify(args) => verify::run(&args),
        Command::Checkpoint(args) => verify::checkpoint(&args),
        Command::Export(args) => export::run(&args),
    }
}

/// Which journal.
#[derive(Debug, clap::Args)]
struct Place {
    #[command(flatten)]
    state_dir: StateDir,

    /// The journal's folder, where it is not in a state directory: a copy, or a backup
    #[arg(long, value_name = "DIR", conflicts_with = "state_dir")]
    journal: Option<PathBuf>,
}

impl Place {
    fn folder(&self) -> Result<PathBuf, Failure> {
        match &self.journal {
            Some(folder) => Ok(folder.clone()),
            None => Ok(self.state_dir.find()?.join("journal")),
        }
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Bad(_) => Self::exit(4, error),
            VerifyError::None(_) | VerifyError::Unreadable { .. } => Self::runtime(error),
        }
    }
}
