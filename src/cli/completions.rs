//! `attache completions`

use std::io::Write;
use std::process::ExitCode;

use clap_complete::Shell;

use super::Outcome;

/// Print what a shell needs to complete attache's commands and flags
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache completions bash >/etc/bash_completion.d/attache
  attache completions zsh >~/.zfunc/_attache
  attache completions fish >~/.config/fish/completions/attache.fish")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command. `command` is the whole command line.
pub fn run(args: &Args, mut command: clap::Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "attache", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, ValueEnum};

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_shell_gets_every_command() {
        for shell in Shell::value_variants() {
            let mut command = Cli::command();
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command, "attache", &mut script);
            let script = String::from_utf8(script).unwrap();
            for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
                assert!(script.contains(subcommand.get_name()), "{shell}: {}", subcommand.get_name());
            }
        }
    }
}
