//! Which credentials go with a request: for each slot the one that is bound most closely to its place.

use std::cmp::Reverse;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::pipeline::agent::AgentId;
use crate::pipeline::credential::{Injection, Slot};
use crate::pipeline::policy::decision::{Denial, Reason, RuleId};
use crate::pipeline::policy::domains::Target;
use crate::pipeline::policy::matcher::{HostPattern, Scheme};
use crate::pipeline::policy::path::PathPattern;
use crate::pipeline::policy::places::Places;
use crate::pipeline::policy::routes::Routes;
use crate::pipeline::policy::rule::Asked;

/// Every injection at its place.
#[derive(Debug, Default)]
pub struct Bindings {
    places: Places<Binding>,
}

/// An injection at the place it is bound to.
#[derive(Debug)]
pub struct Binding {
    /// The hosts, scheme and port.
    pub pattern: HostPattern,
    /// The agents that may use it; none means all.
    pub agents: Option<Vec<AgentId>>,
    /// The requests it may go with; none means every one at its place.
    pub endpoints: Option<Arc<Endpoints>>,
    /// What is injected.
    pub injection: Injection,
}

/// The requests a credential may go with. Permitting: they match exactly.
#[derive(Debug)]
pub struct Endpoints {
    /// Their name in records and answers.
    pub rule: RuleId,
    /// The methods and paths.
    pub routes: Routes,
}

/// The bindings of one request.
pub type Chosen = SmallVec<[Arc<Binding>; 1]>;

impl Bindings {
    /// Files a binding.
    pub fn add(&mut self, binding: Binding) {
        let (agents, name, path) =
            (binding.agents.clone(), binding.pattern.name.clone(), binding.injection.path.clone());
        self.places.add(agents.as_deref(), &name, path.as_ref(), binding);
    }

    /// For each slot, the closest binding among those the agent may use and whose endpoints admit the request.
    /// Where there are some for a slot and none of them admits it, the request is refused: it is never sent without.
    pub(super) fn choose(&self, agent: AgentId, target: Target, asked: &Asked<'_>) -> Result<Chosen, Denial> {
        let head = asked.head;
        let mut chosen = Chosen::new();
        let mut refused: SmallVec<[(usize, &Binding, &Endpoints); 1]> = SmallVec::new();
        for (depth, level) in asked.levels.iter().enumerate() {
            let above = chosen.len();
            self.places.find(agent, *level, &asked.path, |binding| {
                if !binding.fits(target, &head.path) {
                    return;
                }
                let refuses = |endpoints: &&Endpoints| !endpoints.routes.permit(&head.method, &asked.path);
                if let Some(endpoints) = binding.endpoints.as_deref().filter(refuses) {
                    refused.push((depth, binding, endpoints));
                    return;
                }
                let slot = chosen.iter().position(|c| c.injection.slot.is_same_as(&binding.injection.slot));
                match slot {
                    None => chosen.push(binding.clone()),
                    Some(at) if at < above => {}
                    Some(at) => {
                        if let Some(held) = chosen.get_mut(at)
                            && held.specificity() < binding.specificity()
                        {
                            *held = binding.clone();
                        }
                    }
                }
            });
            // In the order of the file, however they were found.
            if let Some(here) = chosen.get_mut(above..) {
                here.sort_by_key(|binding| binding.injection.credential);
            }
        }
        refused.retain(|(_, b, _)| !chosen.iter().any(|c| c.injection.slot.is_same_as(&b.injection.slot)));
        // The closest is named, whatever the order of the file.
        match refused.iter().min_by_key(|(depth, b, endpoints)| (*depth, Reverse(b.specificity()), &endpoints.rule)) {
            Some((_, _, endpoints)) => Err(Denial::by(Reason::EndpointNotAllowed, &endpoints.rule)),
            None => Ok(chosen),
        }
    }
}

impl Binding {
    fn fits(&self, target: Target, path: &str) -> bool {
        self.pattern.scheme == target.scheme
            && self.pattern.permitted_port() == target.port
            && (target.scheme == Scheme::Https || self.injection.plaintext)
            && self.injection.path.as_ref().is_none_or(|p| p.permits(path))
    }

    /// How closely it is bound, beside the host; see [`PathPattern::specificity`].
    pub fn specificity(&self) -> Option<(bool, usize)> {
        self.injection.path.as_ref().map(PathPattern::specificity)
    }

    /// True if neither of two bindings is closer to some request than the other, and both could go with it: which
    /// one is used would then hang on the order of the file.
    pub fn ties_with(&self, other: &Self) -> bool {
        let (a, b) = (&self.pattern, &other.pattern);
        let paths_meet = || match (&self.injection.path, &other.injection.path) {
            (Some(a), Some(b)) => a.specificity() == b.specificity() && a.may_overlap(b),
            (None, None) => true,
            _ => false,
        };
        let agents_meet = || match (&self.agents, &other.agents) {
            (Some(a), Some(b)) => a.iter().any(|agent| b.contains(agent)),
            _ => true,
        };
        let endpoints_meet = || match (&self.endpoints, &other.endpoints) {
            (Some(a), Some(b)) => a.routes.may_overlap(&b.routes),
            _ => true,
        };
        // In the order of what they cost: a host may have thousands.
        paths_meet()
            && self.injection.slot.is_same_as(&other.injection.slot)
            && (a.scheme, a.permitted_port()) == (b.scheme, b.permitted_port())
            && a.name == b.name
            && agents_meet()
            && endpoints_meet()
    }

    /// The slot's name for messages.
    pub fn slot_name(&self) -> String {
        match &self.injection.slot {
            Slot::Header(name) => format!("header `{name}`"),
            Slot::Query(name) => format!("query parameter `{name}`"),
        }
    }
}
