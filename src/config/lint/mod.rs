//! What is odd about a policy that can be used: what never matters, what contradicts itself, what reaches further than
//! anybody may have meant. `docs/check.md` explains every finding by its [`Code`](super::Code).
//!
//! Nothing here guesses: what is called dead can be removed, and no decision changes. Where that cannot be told at a
//! bounded cost, nothing is said.

mod agents;
mod credentials;
mod dlp;
mod entries;
mod index;
mod pods;
mod response_filters;
mod rules;
mod secrets;

use std::time::SystemTime;

use super::error::Problems;
use super::facts::Facts;
use super::schema::Policy;
use crate::pipeline::policy::Ruleset;
use crate::secrets::Environment;
#[cfg(test)]
pub(super) use index::COMPARED;
pub(super) use index::Filed;
use index::Index;

/// What a policy is looked at in.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// Where secrets would be read from; `None`: whether they are there is not looked at.
    pub environment: Option<&'a Environment>,
    /// Now.
    pub now: SystemTime,
}

/// Adds what is odd about a policy without errors.
pub fn lint(policy: &Policy, rules: &Ruleset, setting: Setting<'_>, problems: &mut Problems) {
    let facts = Facts::of(policy, &rules.agents);
    let watched = agents::watched(policy, &rules.agents);
    let live = entries::lint(&facts, problems);
    let reachable = Index::of(facts.grants.iter().enumerate().filter(|(at, _)| live.contains(at)).map(|(_, g)| g));
    rules::lint(&facts, &reachable, &watched, &rules.agents, setting.now, problems);
    credentials::lint(&facts, &reachable, problems);
    response_filters::lint(&facts, &reachable, &watched, &rules.agents, problems);
    agents::lint(policy, rules, &facts, setting.now, problems);
    pods::lint(policy, problems);
    dlp::lint(policy, rules, &facts, setting.environment, problems);
    if let Some(environment) = setting.environment {
        secrets::lint(policy, environment, problems);
    }
}
