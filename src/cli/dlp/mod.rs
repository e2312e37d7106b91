//! `attache dlp`: what is looked for in what goes out, tried on texts and listed.

mod cases;
mod import;
mod look;
mod rules;
mod scan;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;

use super::output::printable;
use super::{Failure, Outcome};
use crate::config::compile::{Compiled, Setting, compile};
use crate::config::schema::CanarySource;
use crate::config::{self, Origin};
use crate::pipeline::agent::AgentId;
use crate::pipeline::dlp::Dlp;
use crate::pipeline::dlp::detector::Detector;
use crate::pipeline::dlp::known::Held;
use crate::secrets::{Environment, Source};
use look::Eye;

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
    /// The rules, the policy's own among them.
    fn detector(&self) -> Result<Arc<Detector>, Failure> {
        Ok(about_data(&self.read()?)?.detector.clone())
    }

    /// What looks as the policy says for `agent`, with its canaries as far as they are here.
    fn eye(&self, agent: Option<&str>) -> Result<Eye, Failure> {
        let compiled = self.read()?;
        let agents = &compiled.rules.agents;
        let id = match agent {
            None => AgentId(0),
            Some(name) => {
                let unknown = || Failure::usage(format!("the policy has no agent `{}`", printable(name)));
                agents.find(name).ok_or_else(unknown)?
            }
        };
        let mut dlp = Dlp::clone(about_data(&compiled)?);
        if agent.is_none() {
            // Nobody in particular: what holds for agents that have no profile of their own.
            dlp.profiles.clear();
        }
        let mut eye = Eye::new(Arc::new(dlp), id, agents.ids().map(|id| agents.name(id).clone()).collect());
        let environment = Environment::of_process();
        // One that is not here is not looked for.
        let at_hand =
            |source: Source| source.read(&environment).map(|value| value.trim_ascii().to_vec()).unwrap_or_default();
        for (name, source) in &compiled.canaries {
            let value = match source {
                CanarySource::Written(value) => value.bytes().to_vec(),
                CanarySource::Environment(variable) => at_hand(Source::Variable(variable.clone())),
                CanarySource::File(path) => at_hand(Source::File(path.clone())),
            };
            eye.hold(Held::canary(name.as_str()), value);
        }
        Ok(eye)
    }

    fn read(&self) -> Result<Compiled, Failure> {
        let draft = match &self.policy {
            Some(path) => config::read(&Origin { policy: path.clone(), organization: None }),
            None => config::parse("the default policy", "version: 1\n"),
        };
        let revision = draft.revision().as_str().to_owned();
        let setting = Setting { agent: None, environment: None, pod: None };
        let accepted = draft.compile(None, |policy, problems| compile(policy, setting, &revision, problems));
        let refused =
            |problems| Failure::usage(format!("the policy has errors, so that nothing is looked for:\n{problems}"));
        Ok(accepted.map_err(refused)?.value)
    }
}

fn about_data(compiled: &Compiled) -> Result<&Arc<Dlp>, Failure> {
    compiled.rules.dlp().ok_or_else(|| Failure::runtime("the policy says nothing about data"))
}
