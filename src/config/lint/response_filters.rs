//! Response filters that never matter.

use std::collections::HashSet;

use super::super::code::Code;
use super::super::error::{Problems, quote};
use super::super::facts::{Facts, Grant};
use super::index::Index;
use super::rules::{Met, Restricted};
use crate::pipeline::agent::{AgentId, Agents};

/// Reports on response filters; `reachable` are the grants that may let something pass, `watched` the agents that
/// nothing is enforced on.
pub(super) fn lint(
    facts: &Facts,
    reachable: &Index<'_, Grant>,
    watched: &HashSet<AgentId>,
    agents: &Agents,
    problems: &mut Problems,
) {
    for filter in &facts.filters {
        let who = filter.who.each(agents);
        // Filters of nobody are reported where their agents are named; who is only watched may reach everything.
        if who.is_empty() || who.iter().any(|agent| watched.contains(agent)) {
            continue;
        }
        let place = Restricted { pattern: &filter.pattern, path: filter.path.as_ref(), methods: &filter.methods };
        let (id, host) = (quote(&filter.id), &filter.pattern);
        let message = match place.met(&who, reachable) {
            Met::Request => continue,
            Met::Nothing => format!("{id} never filters anything: no agent it is about may reach `{host}`"),
            Met::Host => {
                format!("{id} never filters anything: no entry allows a request to `{host}` with its methods and path")
            }
        };
        problems
            .warning(filter.at, message)
            .code(Code::DeadFilter)
            .fix("correct it, for what it was to keep from agents may reach them; or remove it");
    }
}
