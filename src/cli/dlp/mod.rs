//! `attache dlp`: what is looked for in what goes out, tried on texts and listed.

mod cases;
mod import;
mod look;
mod rules;
mod scan;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;

use super::{Failure, Outcome};
use crate::config::compile::{Setting, compile};
use crate::config::{self, Draft, Origin};
use crate::pipeline::agent::AgentId;
use crate::pipeline::dlp::Dlp;

/// Look for secrets and personal data as the proxy does
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Scan(scan::Args),
    Rules(rules::Args),
    Import(import::Args),
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    match args.command {
        Command::Scan(args) => scan::run(args),
        Command::Rules(args) => rules::run(args),
        Command::Import(args) => import::run(args),
    }
}

/// Which policy is asked.
#[derive(Debug, clap::Args)]
struct PolicyArgs {
    /// The policy that says what is looked for; without it, what holds by default
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl PolicyArgs {
    /// What is said about data, and who `agent` is.
    fn read(&self, agent: Option<&str>) -> Result<(Arc<Dlp>, AgentId), Failure> {
        let draft = match &self.policy {
            Some(path) => read(path),
            None => config::parse("the default policy", "version: 1\n"),
        };
        let revision = draft.revision().as_str().to_owned();
        let setting = Setting { agent: None, environment: None };
        let accepted = draft.compile(None, |policy, problems| compile(policy, setting, &revision, problems));
        let compiled = accepted.map_err(|problems| Failure::usage(format!("the policy has errors:\n{problems}")))?;
        let rules = compiled.value.rules;
        let id = match agent {
            None => rules.agents.ids().next().unwrap_or(AgentId(0)),
            Some(name) => {
                let unknown =
                    || Failure::usage(format!("the policy has no agent `{}`", super::output::printable(name)));
                rules.agents.find(name).ok_or_else(unknown)?
            }
        };
        let dlp = rules.dlp().cloned();
        let mut dlp = dlp.ok_or_else(|| Failure::runtime("the policy says nothing about data"))?;
        if agent.is_none() {
            // Nobody in particular: what holds for agents that have no profile of their own.
            Arc::make_mut(&mut dlp).profiles.clear();
        }
        Ok((dlp, id))
    }
}

fn read(path: &Path) -> Draft {
    config::read(&Origin { policy: path.to_owned(), organization: None })
}
