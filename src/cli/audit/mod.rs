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
/// Every record carries a hash over all before it, and every ten seconds the service signs how far it has come: a record
/// that is changed, removed or added is found by `verify`. That the end was cut off, or all of it written anew, shows by
/// a checkpoint or key that was kept elsewhere.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache audit verify
  attache audit checkpoint >>/mnt/elsewhere/checkpoints.jsonl
  attache audit verify --checkpoint /mnt/elsewhere/checkpoints.jsonl
  attache audit export -o ocsf --since 1d >events.jsonl")]
pub struct Args {
    #[command(flatten)]
    place: Place,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Verify(verify::Args),
    /// Print the newest checkpoint of the journal
    ///
    /// One line of JSON: keep it where whoever can write to the journal cannot, and give it to `attache audit verify
    /// --checkpoint`. Checkpoints are signed every ten seconds in which something was recorded, and at the end.
    #[command(after_help = "\
Example:
  attache audit checkpoint | ssh elsewhere 'cat >>checkpoints.jsonl'

Exit codes:
  0  the checkpoint is on stdout
  1  there is none yet, or no journal, or it cannot be read
  2  several state directories could be meant")]
    Checkpoint,
    Export(export::Args),
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    let folder = args.place.folder()?;
    match args.command {
        Command::Verify(args) => verify::run(&args, &folder),
        Command::Checkpoint => verify::checkpoint(&folder),
        Command::Export(args) => export::run(&args, &folder),
    }
}

/// Which journal.
#[derive(Debug, clap::Args)]
struct Place {
    #[command(flatten)]
    state_dir: StateDir,

    /// The journal's folder, where it is not in a state directory: a copy, or a backup
    #[arg(long, value_name = "DIR", global = true)]
    journal: Option<PathBuf>,
}

impl Place {
    fn folder(&self) -> Result<PathBuf, Failure> {
        match &self.journal {
            Some(_) if self.state_dir.state_dir.is_some() => {
                Err(Failure::usage("--journal and --state-dir name two journals: leave one out"))
            }
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
