//! A policy as the flat list of what it says, each with its place: what tools go through that look at it as a whole.

use std::collections::BTreeSet;

use super::catalogue::Catalogue;
use super::compile::domains::methods;
use super::compile::{response_filters, rules};
use super::error::{Problems, Span, Spanned};
use super::schema::{self, Policy, RuleAction};
use crate::pipeline::agent::{AgentId, Agents};
use crate::pipeline::policy::Action;
use crate::pipeline::policy::matcher::{HostPattern, Methods};
use crate::pipeline::policy::path::PathPattern;
use crate::pipeline::policy::rule::{Condition, Mode};
use crate::pipeline::policy::schedule::Schedule;

/// All that a policy says about requests. What cannot be read has been reported, and is missing.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub grants: Vec<Grant>,
    pub blocks: Vec<Block>,
    pub rules: Vec<RuleFact>,
    pub uses: Vec<Use>,
    pub filters: Vec<FilterFact>,
    /// Whether the organization's entries are a ceiling.
    pub has_ceiling: bool,
}

/// Whom something is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    /// Everybody, and nothing below takes it back.
    Organization,
    All,
    Only(BTreeSet<AgentId>),
}

/// An entry of a list of allowed domains.
#[derive(Debug)]
pub(super) struct Grant {
    pub at: Span,
    /// Of which list, as its name in records begins.
    pub list: String,
    pub written: String,
    pub who: Who,
    pub pattern: HostPattern,
    pub action: Action,
    pub pairs: Option<Vec<(Methods, PathPattern)>>,
    pub websocket: bool,
    /// What else it says, in words that two policies share.
    pub more: String,
}

/// An entry of a block list.
#[derive(Debug)]
pub(super) struct Block {
    pub at: Span,
    /// Of which list, as its name in records begins.
    pub list: String,
    pub written: String,
    pub who: Who,
    pub pattern: HostPattern,
}

/// A rule.
#[derive(Debug)]
pub(super) struct RuleFact {
    pub at: Span,
    pub name: String,
    pub who: Who,
    pub organization: bool,
    pub pattern: HostPattern,
    pub path: Option<PathPattern>,
    pub methods: Methods,
    pub conditions: Vec<Condition>,
    pub schedule: Option<Schedule>,
    pub mode: Mode,
    pub action: RuleAction,
}

/// A place that a credential goes to.
#[derive(Debug)]
pub(super) struct Use {
    pub at: Span,
    pub credential: String,
    pub of_service: bool,
    pub who: Who,
    pub pattern: HostPattern,
    pub path: Option<PathPattern>,
    pub endpoints: Option<Vec<(Methods, PathPattern)>>,
    /// The part of the request that takes it, and how.
    pub slot: String,
}

/// A response filter.
#[derive(Debug)]
pub(super) struct FilterFact {
    pub at: Span,
    /// As records call it.
    pub id: String,
    pub who: Who,
    pub pattern: HostPattern,
    pub path: Option<PathPattern>,
    pub methods: Methods,
    /// What it does, in words that two policies share.
    pub does: String,
}

impl Facts {
    /// Those of a policy whose agents have been compiled.
    pub fn of(policy: &Policy, agents: &Agents) -> Self {
        let mut facts = Self::default();
        if let Some(organization) = &policy.organization {
            let allowed = organization.allowed_domains.as_deref();
            facts.has_ceiling = allowed.is_some();
            facts.lists(
                "organization.",
                &Who::Organization,
                allowed.unwrap_or_default(),
                &organization.blocked_domains,
            );
            facts.rules(&organization.rules, true, agents);
        }
        facts.lists("", &Who::All, &policy.allowed_domains, &policy.blocked_domains);
        for agent in policy.agents.iter().flatten() {
            let Some(id) = agents.find(agent.name.as_str()) else { continue };
            let list = format!("agents.{}.", agent.name.as_str());
            facts.lists(&list, &Who::Only(BTreeSet::from([id])), &agent.allowed_domains, &agent.blocked_domains);
        }
        for profile in &policy.profiles {
            let has = |agent: &&schema::Agent| agent.profiles.iter().any(|named| named.value == profile.name.value);
            let of = policy.agents.iter().flatten().filter(has).filter_map(|agent| agents.find(agent.name.as_str()));
            let list = format!("profiles.{}.", profile.name.as_str());
            facts.lists(&list, &Who::Only(of.collect()), &profile.allowed_domains, &profile.blocked_domains);
        }
        facts.rules(&policy.rules, false, agents);
        facts.uses(policy, agents);
        facts.filters(&policy.response_filters, agents);
        facts
    }

    fn lists(&mut self, list: &str, who: &Who, allowed: &[schema::AllowEntry], blocked: &[Spanned<String>]) {
        for entry in allowed {
            let Ok(pattern) = HostPattern::parse(&entry.pattern.value) else { continue };
            let every = || PathPattern::parse("/**").ok();
            let pair = |pair: &schema::HttpRestriction| {
                let path = match &pair.path {
                    Some(text) => PathPattern::parse(&text.value).ok(),
                    None => every(),
                };
                Some((methods(&pair.methods), path?))
            };
            let mut ranges: Vec<_> = entry.allow_private.iter().map(|range| range.value).collect();
            ranges.sort_unstable();
            self.grants.push(Grant {
                at: entry.pattern.span,
                list: list.to_owned(),
                written: entry.pattern.value.clone(),
                who: who.clone(),
                pattern,
                action: match entry.action {
                    schema::Action::Allow => Action::Allow,
                    schema::Action::Deny => Action::Deny,
                },
                pairs: entry.restrictions.as_ref().map(|pairs| pairs.iter().filter_map(pair).collect()),
                websocket: !entry.upgrades.is_empty(),
                more: format!("{:?} {ranges:?} {}", !entry.upgrades.is_empty(), entry.allow_override_headers),
            });
        }
        for text in blocked {
            let Ok(pattern) = HostPattern::parse(&text.value) else { continue };
            self.blocks.push(Block {
                at: text.span,
                list: list.to_owned(),
                written: text.value.clone(),
                who: who.clone(),
                pattern,
            });
        }
    }

    fn rules(&mut self, written: &[schema::Rule], organization: bool, agents: &Agents) {
        for rule in written {
            let Ok(pattern) = HostPattern::parse(&rule.host.value) else { continue };
            let path = rule.path.as_ref().map(|text| PathPattern::parse(&text.value));
            let Ok(path) = path.transpose() else { continue };
            self.rules.push(RuleFact {
                at: rule.span,
                name: rule.name.value.clone(),
                who: users(rule.agents.as_deref(), agents),
                organization,
                pattern,
                path,
                methods: methods(&rule.methods),
                conditions: rules::conditions(rule),
                schedule: rule.schedule.as_ref().map(rules::schedule),
                mode: rules::mode(rule.mode),
                action: rule.action.value.clone(),
            });
        }
    }

    fn filters(&mut self, written: &[schema::ResponseFilter], agents: &Agents) {
        for (at, filter) in written.iter().enumerate() {
            let Ok(pattern) = HostPattern::parse(&filter.host.value) else { continue };
            let path = filter.path.as_ref().map(|text| PathPattern::parse(&text.value));
            let Ok(path) = path.transpose() else { continue };
            self.filters.push(FilterFact {
                at: filter.span,
                id: response_filters::id(at, filter).to_string(),
                who: users(filter.agents.as_deref(), agents),
                pattern,
                path,
                methods: methods(&filter.methods),
                does: response_filters::words(&filter.fields, filter.passes_unparsable_errors),
            });
        }
    }

    fn uses(&mut self, policy: &Policy, agents: &Agents) {
        // Whatever is wrong with services has been reported where credentials were bound.
        let mut unheard = Problems::default();
        let catalogue = Catalogue::of(policy, &mut unheard);
        for credential in &policy.credentials {
            let service = credential.service.as_ref();
            let service = service.and_then(|named| Some((named.span, catalogue.find(named, &mut unheard)?)));
            let who = users(credential.agents.as_deref(), agents);
            let endpoints = credential.endpoints.as_ref().map(|all| all.iter().flat_map(pairs_of).collect::<Vec<_>>());
            let with = |at, of_service, pattern, path, slot| Use {
                at,
                credential: credential.name.as_str().to_owned(),
                of_service,
                who: who.clone(),
                pattern,
                path,
                endpoints: endpoints.clone(),
                slot,
            };
            if let Some((at, service)) = service {
                let slot = format!("{:?} {}", service.slot, service.written);
                let hosts = service.hosts.iter();
                self.uses.extend(hosts.map(|host| with(at, true, host.clone(), service.path.clone(), slot.clone())));
            }
            for injection in &credential.injections {
                let Ok(pattern) = HostPattern::parse(&injection.domain.value) else { continue };
                let path = injection.path.as_ref().map(|text| PathPattern::parse(&text.value));
                let Ok(path) = path.transpose() else { continue };
                let slot = match (&injection.slot, service) {
                    (Some(schema::Slot::Header { name, format }), _) => format!("{} {}", name.value, format.value),
                    (Some(schema::Slot::Query(name)), _) => format!("?{}", name.value),
                    (None, Some((_, service))) => format!("{:?} {}", service.slot, service.written),
                    (None, None) => continue,
                };
                self.uses.push(with(injection.domain.span, false, pattern, path, slot));
            }
        }
    }
}

impl RuleFact {
    /// What it does, in words that two policies share.
    pub fn action_text(&self) -> String {
        match &self.action {
            RuleAction::Approval(approval) => {
                let notify: Vec<_> = approval.notify.iter().map(|name| name.as_str()).collect();
                format!("approval {:?} {:?} {notify:?}", approval.hold, approval.expires)
            }
            other => format!("{other:?}"),
        }
    }
}

impl Who {
    /// Whether everybody whom `other` is about is among them.
    pub fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Only(these), Self::Only(others)) => others.is_subset(these),
            (Self::Only(_), _) => false,
            _ => true,
        }
    }

    /// Whether it is about this agent.
    pub fn has(&self, agent: AgentId) -> bool {
        match self {
            Self::Only(these) => these.contains(&agent),
            _ => true,
        }
    }

    /// Its agents; `everybody` stands for all of them.
    pub fn each(&self, everybody: &Agents) -> Vec<AgentId> {
        match self {
            Self::Only(these) => these.iter().copied().collect(),
            _ => everybody.ids().collect(),
        }
    }
}

fn users(listed: Option<&[Spanned<schema::Name>]>, agents: &Agents) -> Who {
    match listed {
        None => Who::All,
        Some(names) => Who::Only(names.iter().filter_map(|name| agents.find(name.as_str())).collect()),
    }
}

fn pairs_of(endpoint: &schema::Endpoint) -> Vec<(Methods, PathPattern)> {
    let methods = methods(&endpoint.methods);
    let paths = match &endpoint.paths {
        None => PathPattern::parse("/**").ok().into_iter().collect::<Vec<_>>(),
        Some(paths) => paths.iter().filter_map(|text| PathPattern::prefix(&text.value).ok()).collect(),
    };
    paths.into_iter().map(|path| (methods.clone(), path)).collect()
}
