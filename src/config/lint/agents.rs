//! Agents: who is only watched, and what callers without identity may do.

use std::collections::HashSet;
use std::time::SystemTime;

use super::super::code::Code;
use super::super::error::{Problems, quote};
use super::super::facts::{Facts, Who};
use super::super::schema::{Mode, Policy};
use crate::config::diff::witness::{self, Vocabulary};
use crate::pipeline::agent::{AgentId, Agents};
use crate::pipeline::policy::Ruleset;

/// How many requests the comparison with the default agent looks at.
const MOST_REQUESTS: usize = 20_000;

/// The agents that nothing but the organization's part is enforced on.
pub(super) fn watched(policy: &Policy, agents: &Agents) -> HashSet<AgentId> {
    let watched = policy.agents.iter().flatten().filter(|agent| agent.mode == Mode::Monitor);
    watched.filter_map(|agent| agents.find(agent.name.as_str())).collect()
}

/// Reports on agents.
pub(super) fn lint(policy: &Policy, rules: &Ruleset, facts: &Facts, now: SystemTime, problems: &mut Problems) {
    for agent in policy.agents.iter().flatten().filter(|agent| agent.mode == Mode::Monitor) {
        let name = quote(agent.name.as_str());
        problems
            .hint(agent.name.span, format!("what is decided about the agent {name} is recorded and not enforced"))
            .code(Code::MonitorMode)
            .fix("remove `mode: monitor` once the record shows what you expect");
    }
    default_agent(policy, rules, facts, now, problems);
}

/// Reports what a named agent can gain by not saying who it is.
fn default_agent(policy: &Policy, rules: &Ruleset, facts: &Facts, now: SystemTime, problems: &mut Problems) {
    let Some(default) = &policy.default_agent else { return };
    let Some(anybody) = rules.agents.find(default.as_str()).filter(|_| rules.agents.fixed().is_none()) else { return };
    // What is everybody's tells nobody apart.
    let tells_apart = |who: &Who| matches!(who, Who::Only(_));
    let vocabulary = Vocabulary::of([facts]);
    let hosts = facts.grants.iter().filter(|grant| tells_apart(&grant.who)).map(|grant| &grant.pattern.name);
    let hosts =
        hosts.chain(facts.blocks.iter().filter(|block| tells_apart(&block.who)).map(|block| &block.pattern.name));
    let hosts = hosts.chain(facts.rules.iter().filter(|rule| tells_apart(&rule.who)).map(|rule| &rule.pattern.name));
    let others: Vec<AgentId> = rules.agents.ids().filter(|agent| *agent != anybody).collect();
    let mut left = MOST_REQUESTS;
    let mut found: Vec<(AgentId, String)> = Vec::new();
    let mut seen = HashSet::new();
    for host in hosts.filter_map(|name| vocabulary.host_of(name)) {
        if !seen.insert(host.clone()) {
            continue;
        }
        for witness in vocabulary.requests(&host).0 {
            if left == 0 || found.len() == others.len() {
                break;
            }
            left -= 1;
            let decide = |agent| witness::decide(rules, agent, &witness, now);
            if !decide(anybody).is_fully_admitted() {
                continue;
            }
            for agent in &others {
                if !found.iter().any(|(known, _)| known == agent) && !decide(*agent).is_admitted() {
                    found.push((*agent, witness.to_string()));
                }
            }
        }
    }
    let Some((agent, request)) = found.first() else { return };
    let (default_name, name) = (quote(default.as_str()), quote(rules.agents.name(*agent)));
    let more = match found.len() - 1 {
        0 => String::new(),
        1 => ", and so for one more agent".to_owned(),
        more => format!(", and so for {more} more agents"),
    };
    let message = format!(
        "callers without identity are {default_name} and may send `{request}`, which {name} may not: it gets there by not saying who it is{more}"
    );
    problems.warning(default.span, message).code(Code::DefaultAgentExceeds).fix(
        "let `defaultAgent` do no more than every other agent, or remove it: callers without identity are then 401",
    );
}
