//! Lists of domains: which of them knows a host, and what it says.

use std::sync::Arc;

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::pipeline::message::{Door, Host};
use crate::pipeline::policy::decision::{Denial, Reason, RuleId};
use crate::pipeline::policy::matcher::{HostPattern, HostTable, Level, Methods, NamePattern, Scheme, restricting};
use crate::pipeline::policy::routes::Routes;
use crate::pipeline::policy::rule::Asked;

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
    pub pairs: Option<Routes>,
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

/// One way a request could leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// How the upstream is spoken to.
    pub scheme: Scheme,
    /// Its port.
    pub port: u16,
}

/// The ways a request could leave, the preferred first.
pub type Targets = SmallVec<[Target; 2]>;
/// The entries that allow a request.
pub type Entries = SmallVec<[Arc<Entry>; 1]>;

/// What lists say about a request.
#[derive(Debug)]
pub struct Governing {
    /// The way it leaves by, where an entry allows somebody one of them: known of what is refused too, since a refusal
    /// may only be watched.
    pub target: Option<Target>,
    /// The entries that allow it.
    pub says: Result<Entries, Denial>,
}

/// Several lists that speak together: those of the file, of the agent and of its profiles; or the organization's.
pub struct Lists<'a>(SmallVec<[&'a Domains; 4]>);

impl<'a> FromIterator<&'a Domains> for Lists<'a> {
    fn from_iter<I: IntoIterator<Item = &'a Domains>>(lists: I) -> Self {
        Self(lists.into_iter().collect())
    }
}

impl<'a> Lists<'a> {
    fn all(&self) -> impl Iterator<Item = &'a Domains> {
        self.0.iter().copied()
    }

    /// The block list's entry for a host, on the port the agent names or any the request could leave by. Of several
    /// the closest is named, and of those the first by name: none hangs on the order in which they stand.
    pub fn blocked(&self, levels: &[Level<'_>], port: Option<u16>, targets: &[Target]) -> Option<&'a RuleId> {
        let covers = |p: u16| port == Some(p) || targets.iter().any(|t| t.port == p);
        restricting(levels).find_map(|level| {
            let here = self.all().flat_map(|d| d.blocked.at(level)).filter(|block| block.port.is_none_or(covers));
            here.map(|block| &block.rule).min()
        })
    }

    /// The entries that allow a request, and the way it leaves by. The most specific pattern that has anything to
    /// say about one of the ways governs; entries of the same pattern add up, and a refusal among them wins.
    /// Without a request, whether one could be allowed.
    pub fn governing(&self, levels: &[Level<'_>], targets: &[Target], request: Option<&Asked<'_>>) -> Governing {
        let mut refusal = None;
        for level in levels {
            let lists = self.all().map(|domains| domains.listed.at(*level)).filter(|list| !list.is_empty());
            let lists: SmallVec<[&[Arc<Entry>]; 4]> = lists.collect();
            let here = || lists.iter().copied().flatten();
            let refusing = || here().filter(|e| e.action == Action::Deny && e.bears_on(targets) && e.refuses(request));
            refusal = refusal.or_else(|| {
                let entry = refusing().min_by_key(|e| (e.pairs.is_some(), &e.rule))?;
                let reason = if entry.pairs.is_some() { Reason::RouteNotAllowed } else { Reason::DomainBlocked };
                Some(Denial::by(reason, &entry.rule))
            });
            for target in targets {
                let listed = || here().filter(|e| e.covers(*target));
                let Some(first) = listed().map(|e| &e.rule).min() else { continue };
                let mut entries: Entries = listed().filter(|e| e.permits(request)).cloned().collect();
                entries.sort_unstable_by(|a, b| a.rule.cmp(&b.rule));
                let says = match refusal {
                    None if !entries.is_empty() => Ok(entries),
                    None => Err(Denial::by(Reason::RouteNotAllowed, first)),
                    Some(denial) => Err(denial),
                };
                return Governing { target: Some(*target), says };
            }
        }
        Governing { target: None, says: Err(refusal.unwrap_or_else(|| Denial::new(Reason::DomainNotAllowed))) }
    }

    /// Every entry that could have to do with a host.
    pub fn knowing(&self, host: &'a Host) -> impl Iterator<Item = &'a Arc<Entry>> {
        self.all().flat_map(move |d| d.listed.matches(host))
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

    /// Every entry with nothing said of their order.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.listed.iter()
    }

    /// Adds an entry.
    pub fn list(&mut self, entry: Entry) {
        let name = entry.pattern.name.clone();
        self.listed.insert(&name, Arc::new(entry));
    }
}

impl Entry {
    /// For entries that refuse: without a port they are about every port.
    fn bears_on(&self, targets: &[Target]) -> bool {
        self.pattern.port.is_none_or(|p| targets.iter().any(|t| t.port == p))
    }

    fn covers(&self, target: Target) -> bool {
        self.action == Action::Allow
            && self.pattern.scheme == target.scheme
            && self.pattern.permitted_port() == target.port
    }

    fn permits(&self, request: Option<&Asked<'_>>) -> bool {
        match (&self.pairs, request) {
            (None, Some(asked)) => Methods::Any.permits(&asked.head.method),
            (Some(pairs), Some(asked)) => pairs.permit(&asked.head.method, &asked.path),
            (Some(pairs), None) => !pairs.is_empty(),
            (None, None) => true,
        }
    }

    fn refuses(&self, request: Option<&Asked<'_>>) -> bool {
        match (&self.pairs, request) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(pairs), Some(asked)) => pairs.restrict(&asked.head.method, &asked.path),
        }
    }
}

/// The ways a request could leave, the preferred first. An agent that speaks plain HTTP means the host's TLS
/// port unless only an explicit `http://` pattern knows the host: TLS is originated for it.
pub fn targets(door: Door, says_https: bool, port: Option<u16>) -> Targets {
    let target = |scheme, port| Target { scheme, port };
    match (door, port) {
        (Door::Tls, port) => SmallVec::from_slice(&[target(Scheme::Https, port.unwrap_or(443))]),
        (_, port) if says_https => SmallVec::from_slice(&[target(Scheme::Https, port.unwrap_or(443))]),
        (_, None | Some(80)) => SmallVec::from_slice(&[target(Scheme::Https, 443), target(Scheme::Http, 80)]),
        (_, Some(port)) => SmallVec::from_slice(&[target(Scheme::Https, port), target(Scheme::Http, port)]),
    }
}
