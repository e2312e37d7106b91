//! A policy to rehearse requests on: compiled as it would be put in force, without its secrets.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::config::compile::{Setting, Unread, add_tokens_at_hand, compile};
use crate::config::error::did_you_mean;
use crate::config::{Draft, Span};
use crate::pipeline::policy::RuleId;
use crate::rehearsal::Rehearsal;
use crate::secrets::Environment;

use super::Failure;
use super::output::printable;
use super::policy_text::{self, ConfigMaps};

/// Which policy, for commands that rehearse requests on it.
#[derive(Debug, clap::Args)]
pub struct PolicyArgs {
    /// The policy: a file, a directory whose *.yaml and *.yml are read as one, a rendered Kubernetes manifest, or `-`
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,

    /// The organization's bounds, as `up --organization` has them
    #[arg(long, value_name = "FILE")]
    pub organization: Option<PathBuf>,

    #[command(flatten)]
    pub configmaps: ConfigMaps,
}

/// A policy, and where what it says stands.
pub struct Stage {
    /// What requests are rehearsed on.
    pub rehearsal: Rehearsal,
    /// Tokens that are not here: whoever shows one is not known.
    pub unread: Vec<Unread>,
    /// Whether there are outer bounds.
    pub has_organization: bool,
    /// True where the policy lists its agents.
    lists_agents: bool,
    places: HashMap<RuleId, Place>,
}

/// Where an entry of a policy stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's name.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl Stage {
    /// Reads and compiles a policy; `agent` is who `--agent` says calls.
    ///
    /// # Errors
    /// If the policy has an error.
    pub fn set(args: &PolicyArgs, agent: Option<&str>) -> Result<Self, Failure> {
        let (_, draft) = policy_text::read(&args.policy, args.organization.as_deref(), &args.configmaps)?;
        Self::of(draft, agent, &Environment::of_process())
    }

    fn of(draft: Draft, agent: Option<&str>, environment: &Environment) -> Result<Self, Failure> {
        let revision = draft.revision().as_str().to_owned();
        let accepted = draft.compile(agent, |policy, problems| {
            // Agents that are listed are told apart request by request.
            let setting = Setting { agent: agent.filter(|_| policy.agents.is_none()), environment: None, pod: None };
            let mut compiled = compile(policy, setting, &revision, problems)?;
            let unread = add_tokens_at_hand(policy, environment, &mut compiled.rules.agents);
            let more = policy.credentials.iter().map(|c| (format!("credentials[{}]", c.name.as_str()), c.span));
            let agents = policy.agents.iter().flatten().map(|a| (format!("agents.{}", a.name.as_str()), a.name.span));
            let ceiling = policy.organization.iter().filter_map(|bounds| bounds.allowed_domains.as_ref()?.first());
            let ceiling = ceiling.map(|first| ("organization.allowedDomains".to_owned(), first.span));
            let more = more.chain(agents).chain(ceiling);
            let spans: HashMap<RuleId, Span> = more.map(|(id, span)| (id.into(), span)).collect();
            Some((compiled, spans, unread, policy.organization.is_some(), policy.agents.is_some()))
        });
        let accepted = accepted.map_err(|problems| {
            Failure::usage(format!("the policy has errors, so there is nothing to tell:\n{problems}"))
        })?;
        let sources = accepted.warnings.sources();
        let place = |at: &Span| {
            let Span { file, line, column, .. } = sources.in_file(*at);
            Place { file: sources.name(file).to_owned(), line, column }
        };
        let (compiled, spans, unread, has_organization, lists_agents) = accepted.value;
        let spans = compiled.places.iter().chain(&spans);
        Ok(Self {
            places: spans.map(|(id, span)| (id.clone(), place(span))).collect(),
            rehearsal: Rehearsal::new(compiled.rules),
            unread,
            has_organization,
            lists_agents,
        })
    }

    /// Where the entry of this name stands.
    pub fn place(&self, rule: &str) -> Option<&Place> {
        self.places.get(rule)
    }

    /// An entry that may have been meant where there is none of this name.
    pub fn near(&self, rule: &str) -> Option<String> {
        let known = || self.places.keys().map(|id| &**id);
        known().all(|known| known != rule).then(|| did_you_mean(rule, known()).unwrap_or_default())
    }

    /// Checks that there is an agent of this name.
    ///
    /// # Errors
    /// In words, with what was perhaps meant.
    pub fn check_agent(&self, name: &str) -> Result<(), String> {
        if self.rehearsal.agents().any(|known| known == name) {
            return Ok(());
        }
        let name = printable(name);
        if !self.lists_agents {
            let only = self.rehearsal.agents().next().unwrap_or_default();
            return Err(format!("the policy lists no agents, so that `{name}` is nobody: everybody is `{only}`"));
        }
        let near = did_you_mean(&name, self.rehearsal.agents());
        let all = || format!("it has {}", self.rehearsal.agents().collect::<Vec<_>>().join(", "));
        Err(format!("the policy has no agent `{name}`; {}", near.unwrap_or_else(all)))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", printable(&self.file), self.line, self.column)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A policy from text, with no variable set.
    pub fn staged(policy: &str, agent: Option<&str>) -> Stage {
        try_staged(policy, agent, &[]).unwrap_or_else(|failure| panic!("{}", failure.message))
    }

    fn try_staged(policy: &str, agent: Option<&str>, variables: &[(&str, &str)]) -> Result<Stage, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.yaml");
        std::fs::write(&file, policy).unwrap();
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        let draft = crate::config::read(&crate::config::Origin::of(&file));
        let mut stage = Stage::of(draft, agent, &environment.collect())?;
        stage.places.values_mut().for_each(|place| place.file = "policy.yaml".to_owned());
        Ok(stage)
    }

    const AGENTS: &str = "allowedDomains: [a.example]\nagents: {ann: {identity: [{token: {env: ANN_TOKEN}}]}}\n";

    #[test]
    fn tokens_are_read_where_they_are_and_missed_where_not() {
        assert_eq!(staged(AGENTS, None).unread.len(), 1);
        let there = try_staged(AGENTS, None, &[("ANN_TOKEN", "a-token-of-good-length\n")]).unwrap();
        assert!(there.unread.is_empty());
        let mut request = crate::rehearsal::Request::new("GET", "https://a.example/", std::time::UNIX_EPOCH).unwrap();
        request.add_header("Proxy-Authorization", "Bearer a-token-of-good-length").unwrap();
        assert!(there.rehearsal.run(&request).is_admitted());
        assert_eq!(staged(AGENTS, None).rehearsal.run(&request).status(), Some(407));
    }

    #[test]
    fn an_agent_is_one_of_the_policy() {
        let stage = staged(AGENTS, None);
        assert_eq!(stage.check_agent("ann"), Ok(()));
        assert!(stage.check_agent("amn").unwrap_err().contains("did you mean `ann`?"));
        assert!(try_staged(AGENTS, Some("bob"), &[]).is_err());
        let one = staged("allowedDomains: []", None);
        assert!(one.check_agent("ann").unwrap_err().contains("everybody is `default`"));
        assert_eq!(staged("allowedDomains: []", Some("ann")).check_agent("ann"), Ok(()));
    }
}
