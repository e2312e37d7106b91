//! The compiled policy and its one question: may this agent send this request?
//!
//! [`Ruleset::decide`] is the only maker of a [`Permit`], and credentials are reached only through a permit.

mod binding;
pub mod decision;
pub mod matcher;
mod placeholder;
mod routes;

use std::sync::Arc;

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::pipeline::agent::{AgentId, Agents};
use crate::pipeline::credential::Injection;
use crate::pipeline::message::{Door, Host, RequestHead, token};
pub use binding::{Binding, Bindings, Chosen};
pub use decision::{Class, Denial, Reason, RuleId, Upstream};
use matcher::{HostPattern, HostTable, Level, Methods, NamePattern, PathPattern, Scheme, levels};
pub use placeholder::Placeholder;
pub use routes::Routes;

/// A whole policy, compiled. It is swapped whole and never changed.
#[derive(Debug, Default)]
pub struct Ruleset {
    /// A short digest of the policy's text.
    pub revision: Arc<str>,
    /// Who may call.
    pub agents: Agents,
    common: Domains,
    own: Vec<Domains>,
    bindings: Bindings,
    placeholders: Vec<Placeholder>,
}

/// The lists of domains of the whole policy, or of one agent.
#[derive(Debug, Default)]
pub struct Domains {
    blocked: HostTable<Block>,
    listed: HostTable<Arc<Entry>>,
}

#[derive(Debug)]
struct Block {
    port: Option<u16>,
    rule: RuleId,
}

/// An entry of a list of allowed domains.
#[derive(Debug)]
pub struct Entry {
    /// Its name in records and answers.
    pub rule: RuleId,
    /// The hosts, scheme and port.
    pub pattern: HostPattern,
    /// Whether it allows or denies what it covers.
    pub action: Action,
    /// The method and path pairs it is about; none means every request.
    pub pairs: Option<Vec<(Methods, PathPattern)>>,
    /// True if a WebSocket may be opened.
    pub websocket: bool,
    /// Non-public ranges that the host's addresses may lie in.
    pub allow_private: Vec<IpNet>,
    /// True if the agent's own override headers pass.
    pub allow_override_headers: bool,
}

/// What an entry does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Lets pass.
    Allow,
    /// Refuses.
    Deny,
}

/// Leave to send one request. Only [`Ruleset::decide`] makes one.
#[derive(Debug, Clone)]
pub struct Permit {
    agent: AgentId,
    scheme: Scheme,
    port: u16,
    entries: Entries,
    bindings: Chosen,
}

impl Permit {
    /// The agent it was given to.
    pub fn agent(&self) -> AgentId {
        self.agent
    }

    /// How the upstream is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The upstream's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The entry that allowed it.
    pub fn rule(&self) -> Option<&RuleId> {
        self.entries.first().map(|e| &e.rule)
    }

    /// Non-public ranges that the upstream's addresses may lie in.
    pub fn allow_private(&self) -> SmallVec<[IpNet; 2]> {
        self.entries.iter().flat_map(|e| &e.allow_private).copied().collect()
    }

    /// True if the agent's own override headers pass.
    pub fn allows_override_headers(&self) -> bool {
        self.entries.iter().any(|e| e.allow_override_headers)
    }

    /// The credentials that go with it.
    pub fn injections(&self) -> impl Iterator<Item = &Injection> {
        self.bindings.iter().map(|b| &b.injection)
    }
}

/// One way a request could leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Target {
    scheme: Scheme,
    port: u16,
}

type Targets = SmallVec<[Target; 2]>;
type Entries = SmallVec<[Arc<Entry>; 1]>;

impl Ruleset {
    /// Builds an empty policy, which allows nothing.
    pub fn new(revision: &str, agents: Agents) -> Self {
        let own = agents.ids().map(|_| Domains::default()).collect();
        Self { revision: revision.into(), agents, own, ..Self::default() }
    }

    /// The lists of one agent, or of all.
    pub fn domains_mut(&mut self, agent: Option<AgentId>) -> &mut Domains {
        match agent.and_then(|a| self.own.get_mut(a.0)) {
            Some(own) => own,
            None => &mut self.common,
        }
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

    /// Whether an agent may send a request. The order is POLICY's: block lists, the governing entry, upgrades,
    /// then which credentials go with it.
    pub fn decide(&self, agent: AgentId, head: &RequestHead) -> Result<Permit, Denial> {
        let host = &head.authority.host;
        let targets = targets(head.door, head.says_https, head.authority.port);
        if let Some(rule) = self.blocked(agent, host, head.authority.port, &targets) {
            return Err(Denial::by(Reason::DomainBlocked, rule));
        }
        let (target, entries) = self.governing(agent, host, &targets, Some((&head.method, &head.path)))?;
        let websocket = entries.iter().any(|e| e.websocket);
        if let Some(protocol) = head.upgrades().find(|protocol| !(websocket && protocol == "websocket")) {
            let rule = entries.first().map(|e| e.rule.clone());
            let denial = Denial { reason: Reason::UpgradeNotAllowed, rule, detail: None };
            // The names of protocols are short; what is longer may be anything, and would go on record.
            let is_name = protocol.len() <= 24 && token(protocol.as_bytes()).is_some();
            return Err(if is_name { denial.because(format!("`{protocol}`")) } else { denial });
        }
        let bindings = self.bindings.choose(agent, target, head)?;
        Ok(Permit { agent, scheme: target.scheme, port: target.port, entries, bindings })
    }

    /// Whether any request of these agents through a tunnel to this host and port could be allowed.
    pub fn decide_tunnel(&self, agents: impl Iterator<Item = AgentId>, host: &Host, port: u16) -> Result<(), Denial> {
        let mut refusal = Denial::new(Reason::DomainNotAllowed);
        for agent in agents {
            for door in [Door::Tls, Door::Plain] {
                let targets = targets(door, false, Some(port));
                let decided = match self.blocked(agent, host, Some(port), &targets) {
                    Some(rule) => Err(Denial::by(Reason::DomainBlocked, rule)),
                    None => self.governing(agent, host, &targets, None),
                };
                match decided {
                    Ok(_) => return Ok(()),
                    // A refusal that names its entry says more than that nothing allows it.
                    Err(denial) if refusal.rule.is_none() => refusal = denial,
                    Err(_) => {}
                }
            }
        }
        Err(refusal)
    }

    /// Whether policy could ever allow somebody a TLS request to this host: only then is there a certificate for it.
    pub fn may_intercept(&self, host: &Host) -> bool {
        self.agents.ids().any(|agent| {
            let entries = levels(host).flat_map(|level| self.entries_at(agent, level));
            let mut ports = entries.filter(|e| e.action == Action::Allow && e.pattern.scheme == Scheme::Https);
            ports.any(|entry| {
                let target = Target { scheme: Scheme::Https, port: entry.pattern.permitted_port() };
                self.blocked(agent, host, Some(target.port), &[target]).is_none()
                    && self.governing(agent, host, &[target], None).is_ok()
            })
        })
    }

    /// The address literals that an agent may call over TLS: they stand together in the certificate for
    /// handshakes that name nobody.
    pub fn literal_hosts(&self) -> Vec<std::net::IpAddr> {
        let entries = self.own.iter().chain([&self.common]).flat_map(|d| d.listed.iter());
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

    fn lists(&self, agent: AgentId) -> impl Iterator<Item = &Domains> {
        std::iter::once(&self.common).chain(self.own.get(agent.0))
    }

    fn entries_at<'a>(&'a self, agent: AgentId, level: Level<'a>) -> impl Iterator<Item = &'a Arc<Entry>> {
        self.lists(agent).flat_map(move |d| d.listed.at(level))
    }

    /// The block list's entry for a host, on the port the agent names or any the request could leave by.
    fn blocked<'a>(
        &'a self,
        agent: AgentId,
        host: &'a Host,
        port: Option<u16>,
        targets: &[Target],
    ) -> Option<&'a RuleId> {
        let covers = |p: u16| port == Some(p) || targets.iter().any(|t| t.port == p);
        self.lists(agent)
            .flat_map(|d| d.blocked.matches(host))
            .find(|block| block.port.is_none_or(covers))
            .map(|block| &block.rule)
    }

    /// The entries that allow a request, and the way it leaves by. The most specific pattern that has anything to
    /// say about one of the ways governs; entries of the same pattern add up, and a refusal among them wins.
    /// Without a request, whether one could be allowed.
    fn governing(
        &self,
        agent: AgentId,
        host: &Host,
        targets: &[Target],
        request: Option<(&str, &str)>,
    ) -> Result<(Target, Entries), Denial> {
        for level in levels(host) {
            for entry in self.entries_at(agent, level).filter(|e| e.action == Action::Deny) {
                let on_port = entry.pattern.port.is_none_or(|p| targets.iter().any(|t| t.port == p));
                if on_port && entry.refuses(request) {
                    let reason = if entry.pairs.is_some() { Reason::RouteNotAllowed } else { Reason::DomainBlocked };
                    return Err(Denial::by(reason, &entry.rule));
                }
            }
            for target in targets {
                let mut listed = self.entries_at(agent, level).filter(|e| e.covers(*target)).peekable();
                let Some(first) = listed.peek().map(|e| e.rule.clone()) else { continue };
                let entries: Entries = listed.filter(|e| e.permits(request)).cloned().collect();
                return match entries.is_empty() {
                    false => Ok((*target, entries)),
                    true => Err(Denial::by(Reason::RouteNotAllowed, &first)),
                };
            }
        }
        Err(Denial::new(Reason::DomainNotAllowed))
    }
}

impl Domains {
    /// Blocks a host and everything below it. A pattern without a port blocks every port.
    pub fn block(&mut self, pattern: &HostPattern, rule: &RuleId) {
        let block = || Block { port: pattern.port, rule: rule.clone() };
        self.blocked.insert(&pattern.name, block());
        if let NamePattern::Exact(Host::Name(name)) = &pattern.name {
            self.blocked.insert(&NamePattern::Below(name.clone()), block());
        }
    }

    /// Adds an entry.
    pub fn list(&mut self, entry: Entry) {
        let name = entry.pattern.name.clone();
        self.listed.insert(&name, Arc::new(entry));
    }
}

impl Entry {
    fn covers(&self, target: Target) -> bool {
        self.action == Action::Allow
            && self.pattern.scheme == target.scheme
            && self.pattern.permitted_port() == target.port
    }

    fn permits(&self, request: Option<(&str, &str)>) -> bool {
        match (&self.pairs, request) {
            (None, Some((method, _))) => Methods::Any.permits(method),
            (Some(pairs), Some((method, path))) => pairs.iter().any(|(m, p)| m.permits(method) && p.permits(path)),
            (Some(pairs), None) => !pairs.is_empty(),
            (None, None) => true,
        }
    }

    fn refuses(&self, request: Option<(&str, &str)>) -> bool {
        match (&self.pairs, request) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(pairs), Some((method, path))) => pairs.iter().any(|(m, p)| m.restricts(method) && p.restricts(path)),
        }
    }
}

/// The ways a request could leave, the preferred first. An agent that speaks plain HTTP means the host's TLS
/// port unless only an explicit `http://` pattern knows the host: TLS is originated for it.
fn targets(door: Door, says_https: bool, port: Option<u16>) -> Targets {
    let target = |scheme, port| Target { scheme, port };
    match (door, port) {
        (Door::Tls, port) => SmallVec::from_slice(&[target(Scheme::Https, port.unwrap_or(443))]),
        (_, port) if says_https => SmallVec::from_slice(&[target(Scheme::Https, port.unwrap_or(443))]),
        (_, None | Some(80)) => SmallVec::from_slice(&[target(Scheme::Https, 443), target(Scheme::Http, 80)]),
        (_, Some(port)) => SmallVec::from_slice(&[target(Scheme::Https, port), target(Scheme::Http, port)]),
    }
}
