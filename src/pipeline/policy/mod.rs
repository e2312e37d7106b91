//! The compiled policy and its one question: may this agent send this request?
//!
//! [`Ruleset::decide`] is the only maker of a [`Permit`], and credentials are reached only through a permit.

pub mod binding;
pub mod decision;
pub mod domains;
pub mod filtering;
pub mod inspect;
pub mod matcher;
pub mod path;
pub mod permit;
pub mod placeholder;
pub mod places;
pub mod routes;
pub mod rule;
pub mod schedule;
pub mod tree;

use std::sync::Arc;
use std::time::SystemTime;

use smallvec::SmallVec;

use crate::pipeline::agent::{AgentId, Agents};
use crate::pipeline::dlp::Dlp;
use crate::pipeline::limit::Limit;
use crate::pipeline::message::{Door, Host, RequestHead};
use binding::Bindings;
pub use binding::{Binding, Endpoints};
pub use decision::{Class, Denial, Reason, RuleId, Upstream};
pub use domains::{Action, Domains, Entry};
use domains::{Entries, Governing, Lists, Target, Targets, targets};
pub use filtering::ResponseFilter;
use filtering::ResponseFilters;
pub use inspect::Inspector;
use matcher::{HostTable, Level, Methods, NamePattern, Scheme, levels, restricting};
use permit::Draft;
pub use permit::Permit;
pub use placeholder::Placeholder;
use rule::{Asked, Does, Mode, Rule, Rules};

/// A whole policy, compiled. It is swapped whole and never changed.
#[derive(Debug, Default)]
pub struct Ruleset {
    /// A short digest of the policy's text.
    pub revision: Arc<str>,
    /// Who may call.
    pub agents: Agents,
    /// What looks into messages, where anything does.
    pub inspector: Option<Arc<dyn Inspector>>,
    organization: Organization,
    common: Domains,
    profiles: Vec<Domains>,
    own: Vec<Own>,
    rules: Rules,
    response_filters: ResponseFilters,
    bindings: Bindings,
    placeholders: Vec<Placeholder>,
    dlp: Option<Arc<Dlp>>,
}

/// The outer bounds, which nothing in the rest of the policy widens.
#[derive(Debug, Default)]
struct Organization {
    domains: Domains,
    /// Where there is a name for it, the domains' entries are a ceiling.
    ceiling: Option<RuleId>,
    /// The hosts of which its rules name methods or paths.
    routes: HostTable<()>,
}

/// What one agent has for itself.
#[derive(Debug, Default)]
struct Own {
    domains: Domains,
    /// The lists that it shares with others, as places in [`Ruleset::profiles`].
    profiles: SmallVec<[usize; 2]>,
    limit: Option<Arc<Limit>>,
    mode: Mode,
}

/// What lets a request pass that the lists of domains do not refuse.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grounds {
    /// The entries of the organization's ceiling.
    pub ceiling: Vec<RuleId>,
    /// The entries that allow it.
    pub entries: Vec<RuleId>,
}

/// Whose lists of domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The organization's.
    Organization,
    /// Every agent's.
    All,
    /// One agent's.
    Agent(AgentId),
    /// Those of the agents that [have](Ruleset::add_profile) this profile.
    Profile(usize),
}

impl Ruleset {
    /// Builds an empty policy, which allows nothing.
    pub fn new(revision: &str, agents: Agents) -> Self {
        let own = agents.ids().map(|_| Own::default()).collect();
        Self { revision: revision.into(), agents, own, ..Self::default() }
    }

    /// True if a text of this agent's holds what must not stand in a record.
    pub fn finds(&self, agent: Option<AgentId>, text: &str) -> bool {
        self.inspector.as_ref().is_some_and(|inspector| inspector.finds(agent, text))
    }

    /// The lists of a scope.
    pub fn domains_mut(&mut self, scope: Scope) -> &mut Domains {
        match scope {
            Scope::Organization => &mut self.organization.domains,
            Scope::All => &mut self.common,
            Scope::Agent(agent) => match self.own.get_mut(agent.0) {
                Some(own) => &mut own.domains,
                None => &mut self.common,
            },
            Scope::Profile(at) => {
                if self.profiles.len() <= at {
                    self.profiles.resize_with(at + 1, Domains::default);
                }
                self.profiles.get_mut(at).unwrap_or(&mut self.common)
            }
        }
    }

    /// Gives an agent the lists of a profile.
    pub fn add_profile(&mut self, agent: AgentId, profile: usize) {
        if let Some(own) = self.own.get_mut(agent.0) {
            own.profiles.push(profile);
        }
    }

    /// Makes the organization's entries the most that anyone may reach.
    pub fn set_ceiling(&mut self, name: RuleId) {
        self.organization.ceiling = Some(name);
    }

    /// Limits an agent in all it sends.
    pub fn set_limit(&mut self, agent: AgentId, limit: Limit) {
        if let Some(own) = self.own.get_mut(agent.0) {
            own.limit = Some(Arc::new(limit));
        }
    }

    /// Says whether what is decided about an agent is enforced.
    pub fn set_mode(&mut self, agent: AgentId, mode: Mode) {
        if let Some(own) = self.own.get_mut(agent.0) {
            own.mode = mode;
        }
    }

    /// Adds a rule.
    pub fn add_rule(&mut self, rule: Rule) {
        if rule.organization && (rule.path.is_some() || rule.methods != Methods::Any) {
            self.organization.routes.insert(&rule.pattern.name, ());
        }
        self.rules.add(rule);
    }

    /// Says what is done about data.
    pub fn set_dlp(&mut self, dlp: Dlp) {
        self.dlp = Some(Arc::new(dlp));
    }

    /// What is done about data. None only where nobody said so: every policy that is compiled does.
    pub fn dlp(&self) -> Option<&Arc<Dlp>> {
        self.dlp.as_ref()
    }

    /// Adds a response filter.
    pub fn add_response_filter(&mut self, filter: ResponseFilter) {
        self.response_filters.add(filter);
    }

    /// True if the rules that hold at two times are not the same.
    pub fn differs(&self, one: SystemTime, other: SystemTime) -> bool {
        self.rules.differ(one, other)
    }

    /// Binds an injection.
    pub fn bind(&mut self, binding: Binding) {
        self.bindings.add(binding);
    }

    /// Tells what agents may hold in a credential's place.
    pub fn hold(&mut self, placeholder: Placeholder) {
        self.placeholders.push(placeholder);
    }

    /// What this agent may hold in the place of the credentials that it may use.
    pub fn placeholders(&self, agent: AgentId) -> impl Iterator<Item = &Placeholder> {
        self.placeholders.iter().filter(move |placeholder| placeholder.is_for(agent))
    }

    /// What any agent may hold in the place of a credential.
    pub fn all_placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.placeholders.iter()
    }

    /// Whether an agent may send a request at this time. The order is POLICY's: the organization, block lists, the
    /// governing entry, upgrades, rules, then which credentials go with it.
    pub fn decide(&self, agent: AgentId, head: &RequestHead, wall: SystemTime) -> Result<Permit, Denial> {
        let asked = Asked::of(head, wall);
        let (levels, port) = (&asked.levels, head.authority.port);
        let targets = targets(head.door, head.says_https, port);
        let lists = self.lists(agent);
        let Governing { target, says } = lists.governing(levels, &targets, Some(&asked));
        let target = self.within_organization(levels, port, &targets, target, Some(&asked))?;
        let mut draft = Draft::new(self.mode(agent), target);
        if let Some(rule) = lists.blocked(levels, port, &targets) {
            draft.refuse(Denial::by(Reason::DomainBlocked, rule))?;
        }
        match says {
            Ok(entries) => draft.allow_by(entries),
            Err(denial) => draft.refuse(denial)?,
        }
        if draft.passes_overrides() && self.organization_names_routes(&head.authority.host) {
            draft.drop_overrides();
        }
        if let Some(denial) = draft.upgrade_refused(head) {
            draft.refuse(denial)?;
        }
        self.apply_rules(agent, &asked, &mut draft)?;
        let (port, mode) = (draft.target().port, self.mode(agent));
        self.response_filters.matching(agent, &asked, port, |filter| draft.filter(filter, mode));
        if let Some(limit) = self.own.get(agent.0).and_then(|own| own.limit.as_ref()) {
            draft.limit(limit, self.mode(agent));
        }
        match self.bindings.choose(agent, draft.target(), &asked) {
            // What passes only because nothing is enforced gets no credential.
            Ok(_) if draft.is_lenient() => {}
            Ok(bindings) => draft.bind(bindings),
            Err(denial) => draft.refuse(denial)?,
        }
        Ok(draft.permit(agent))
    }

    /// The entries that let an agent's request pass, whatever else is said of it: to explain a decision, not to take
    /// one.
    pub fn grounds(&self, agent: AgentId, head: &RequestHead, wall: SystemTime) -> Grounds {
        let asked = Asked::of(head, wall);
        let targets = targets(head.door, head.says_https, head.authority.port);
        let names = |entries: Entries| entries.iter().map(|entry| entry.rule.clone()).collect();
        let Governing { target, says } = self.lists(agent).governing(&asked.levels, &targets, Some(&asked));
        let bounds = Lists::from_iter([&self.organization.domains]);
        let target = target.or(targets.first().copied()).filter(|_| self.organization.ceiling.is_some());
        let within = target.map(|target| bounds.governing(&asked.levels, &[target], Some(&asked)).says);
        Grounds {
            ceiling: within.and_then(Result::ok).map(names).unwrap_or_default(),
            entries: says.map(names).unwrap_or_default(),
        }
    }

    /// Whether any request of these agents through a tunnel to this host and port could be allowed.
    pub fn decide_tunnel(&self, agents: impl Iterator<Item = AgentId>, host: &Host, port: u16) -> Result<(), Denial> {
        let mut refusal = Denial::new(Reason::DomainNotAllowed);
        for agent in agents {
            for door in [Door::Tls, Door::Plain] {
                match self.could_reach(agent, host, Some(port), targets(door, false, Some(port))) {
                    Ok(()) => return Ok(()),
                    // A refusal that names its entry says more than that nothing allows it.
                    Err(denial) => refusal = more_telling(refusal, denial),
                }
            }
        }
        Err(refusal)
    }

    /// Whether any request of a caller to this host could be allowed, over TLS or not: only then is there such a name for
    /// agents that have none but ours to ask.
    pub fn decide_name(&self, host: &Host) -> Result<(), Denial> {
        let organization = Lists::from_iter([&self.organization.domains]);
        let mut refusal = Denial::new(Reason::DomainNotAllowed);
        for agent in self.agents.callers() {
            let entries = self.lists(agent);
            let entries = entries.knowing(host).chain(organization.knowing(host));
            let ports = entries.filter(|e| e.action == Action::Allow).map(|e| e.pattern.permitted_port());
            for port in ports.chain([443, 80]) {
                match self.decide_tunnel(std::iter::once(agent), host, port) {
                    Ok(()) => return Ok(()),
                    Err(denial) => refusal = more_telling(refusal, denial),
                }
            }
        }
        Err(refusal)
    }

    /// Whether policy could ever allow somebody a TLS request to this host: only then is there a certificate for it.
    pub fn may_intercept(&self, host: &Host) -> bool {
        let https = |port| Targets::from_slice(&[Target { scheme: Scheme::Https, port }]);
        let organization = Lists::from_iter([&self.organization.domains]);
        self.agents.callers().any(|agent| {
            let lists = self.lists(agent);
            let entries = lists.knowing(host).chain(organization.knowing(host));
            let allowing = entries.filter(|e| e.action == Action::Allow && e.pattern.scheme == Scheme::Https);
            let mut ports = allowing.map(|e| e.pattern.permitted_port()).chain([443]);
            ports.any(|port| self.could_reach(agent, host, Some(port), https(port)).is_ok())
        })
    }

    /// The address literals that an agent may call over TLS: they stand together in the certificate for
    /// handshakes that name nobody.
    pub fn literal_hosts(&self) -> Vec<std::net::IpAddr> {
        let entries = self.own.iter().map(|own| &own.domains).chain(&self.profiles).chain([&self.common]);
        let entries = entries.flat_map(Domains::entries);
        let mut found: Vec<_> = entries
            .filter_map(|e| match &e.pattern.name {
                NamePattern::Exact(Host::Address(address)) => Some(*address),
                _ => None,
            })
            .filter(|address| self.may_intercept(&Host::Address(*address)))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    fn lists(&self, agent: AgentId) -> Lists<'_> {
        let own = self.own.get(agent.0);
        let profiles = own.into_iter().flat_map(|own| &own.profiles).filter_map(|at| self.profiles.get(*at));
        std::iter::once(&self.common).chain(own.map(|own| &own.domains)).chain(profiles).collect()
    }

    fn mode(&self, agent: AgentId) -> Mode {
        self.own.get(agent.0).map(|own| own.mode).unwrap_or_default()
    }

    fn could_reach(&self, agent: AgentId, host: &Host, port: Option<u16>, targets: Targets) -> Result<(), Denial> {
        let (lists, levels) = (self.lists(agent), levels(host));
        let Governing { target, says } = lists.governing(&levels, &targets, None);
        self.within_organization(&levels, port, &targets, target, None)?;
        if self.mode(agent) == Mode::Monitor {
            return Ok(());
        }
        match lists.blocked(&levels, port, &targets) {
            Some(rule) => Err(Denial::by(Reason::DomainBlocked, rule)),
            None => says.map(|_| ()),
        }
    }

    /// The way out, if the organization leaves it open: the one that the lists below chose, or else the preferred one.
    /// Were it chosen among those that the ceiling leaves, a ceiling could open a way that nobody chose.
    fn within_organization(
        &self,
        levels: &[Level<'_>],
        port: Option<u16>,
        targets: &[Target],
        chosen: Option<Target>,
        request: Option<&Asked<'_>>,
    ) -> Result<Target, Denial> {
        let lists = Lists::from_iter([&self.organization.domains]);
        if let Some(rule) = lists.blocked(levels, port, targets) {
            return Err(Denial::by(Reason::DomainBlocked, rule));
        }
        let preferred = targets.first().copied();
        let target = chosen.or(preferred).ok_or_else(|| Denial::new(Reason::DomainNotAllowed))?;
        let Some(ceiling) = &self.organization.ceiling else { return Ok(target) };
        match lists.governing(levels, &[target], request).says {
            Ok(_) => Ok(target),
            Err(denial) => {
                let rule = denial.rule.or_else(|| Some(ceiling.clone()));
                Err(Denial { reason: Reason::OutsideOrganization, rule, ..denial })
            }
        }
    }

    /// Whether the organization tells methods or paths of the host apart: a header that makes the upstream see another
    /// of them would lead past what it says, whatever an entry below allows.
    fn organization_names_routes(&self, host: &Host) -> bool {
        let Organization { domains, routes, .. } = &self.organization;
        let lists = Lists::from_iter([domains]);
        let mut entries = lists.knowing(host);
        restricting(&levels(host)).any(|level| !routes.at(level).is_empty()) || entries.any(|e| e.pairs.is_some())
    }

    /// What the rules say together: what refuses before what asks, what asks before what limits; none hangs on the
    /// order in which they stand.
    fn apply_rules(&self, agent: AgentId, asked: &Asked<'_>, draft: &mut Draft) -> Result<(), Denial> {
        let of_agent = self.mode(agent);
        let mut blocks: SmallVec<[(&Rule, Mode); 2]> = SmallVec::new();
        self.rules.matching(agent, asked, draft.target().port, |rule| {
            let mode = match rule.mode {
                Mode::Enforce if !rule.organization => of_agent,
                mode => mode,
            };
            match &rule.does {
                Does::Block => blocks.push((rule, mode)),
                Does::Limit(limit) => draft.limit(limit, mode),
                Does::Approval(terms) => draft.approval(terms, mode),
                Does::Monitor => draft.watch(&rule.id),
            }
        });
        let of = |wanted| blocks.iter().filter(move |(_, mode)| *mode == wanted).map(|(rule, _)| *rule);
        let first = |rules: &mut dyn Iterator<Item = &Rule>| {
            rules.min_by(|a, b| (!a.organization, &a.id).cmp(&(!b.organization, &b.id))).map(|rule| rule.id.clone())
        };
        if let Some(rule) = first(&mut of(Mode::Enforce)) {
            return Err(Denial::by(Reason::RuleBlocked, &rule));
        }
        if let Some(rule) = first(&mut of(Mode::Monitor)) {
            draft.would(Denial::by(Reason::RuleBlocked, &rule));
        }
        Ok(())
    }
}

/// Of two refusals the one that names its entry, and of two that do the first by name.
fn more_telling(a: Denial, b: Denial) -> Denial {
    match (&a.rule, &b.rule) {
        (Some(of_a), Some(of_b)) if of_b < of_a => b,
        (None, _) => b,
        _ => a,
    }
}
