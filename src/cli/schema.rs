//! `attache schema`: the policy language for editors.

use std::io::Write;
use std::process::ExitCode;

use crate::config::describe::{cases_schema, json_schema, markdown};

use super::{Failure, Outcome};

/// Print the JSON Schema of policies, for editors and other tools
///
/// Draft 2020-12. It completes and explains keys, and accepts every policy that attaché reads; what takes more than a
/// schema to tell, `attache check` tells.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  attache schema >policy.schema.json
  sed -i '1i # yaml-language-server: $schema=policy.schema.json' policy.yaml")]
pub struct Args {
    /// Print the reference page instead
    #[arg(long)]
    markdown: bool,

    /// Print the schema of the files that `attache test` reads
    #[arg(long, conflicts_with = "markdown")]
    cases: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    let mut out = std::io::stdout().lock();
    if args.markdown {
        write!(out, "{}", markdown())?;
    } else {
        let schema = if args.cases { cases_schema() } else { json_schema() };
        writeln!(out, "{}", serde_json::to_string_pretty(&schema).map_err(Failure::runtime)?)?;
    }
    Ok(ExitCode::SUCCESS)
}
