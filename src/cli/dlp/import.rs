//! `attache dlp import`: rules of other scanners as rules of a policy.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::{Failure, Outcome};
use crate::config::import::{Source, import_gitleaks};

/// Turn the rules of another scanner into `dlp.rules` of a policy
///
/// The policy goes to stdout: put its `dlp` into yours, or keep it as a file of its own in the policy's directory. What
/// has no counterpart, and what comes out otherwise than its author may expect, goes to stderr as FILE:LINE:COLUMN.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache dlp import --from gitleaks .gitleaks.toml > policy.d/gitleaks.yaml
  attache dlp import --from gitleaks .gitleaks.toml | attache check -

Exit codes:
  0  the rules are on stdout; there may be warnings
  2  the file cannot be read, or no rule of it could be imported")]
pub struct Args {
    /// What the file is
    #[arg(long, value_enum, value_name = "FORMAT")]
    from: Format,

    /// The file to import; `-` is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// The TOML of gitleaks
    Gitleaks,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    let Format::Gitleaks = args.from;
    let name = if args.file == Path::new("-") { "<stdin>".to_owned() } else { args.file.display().to_string() };
    let mut content = Vec::new();
    let read = match args.file == Path::new("-") {
        true => std::io::stdin().lock().read_to_end(&mut content).map(|_| content),
        false => std::fs::read(&args.file),
    };
    let content = read.map_err(|error| {
        Failure::usage(format!("`{}` cannot be read: {error}", crate::cli::output::printable(&name)))
    })?;
    match import_gitleaks(Source { name, content }) {
        Ok(imported) => {
            if !imported.warnings.is_empty() {
                eprintln!("{}", imported.warnings);
            }
            std::io::stdout().lock().write_all(imported.policy.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            eprintln!("{problems}");
            Ok(ExitCode::from(2))
        }
    }
}
