//! Leave to send one request, and how it came about.

use std::sync::Arc;

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::pipeline::agent::AgentId;
use crate::pipeline::approval::Terms;
use crate::pipeline::credential::Injection;
use crate::pipeline::limit::Limit;
use crate::pipeline::message::RequestHead;
use crate::pipeline::policy::binding::Chosen;
use crate::pipeline::policy::decision::{Denial, Reason, RuleId};
use crate::pipeline::policy::domains::{Entries, Target};
use crate::pipeline::policy::filtering::{Filters, ResponseFilter};
use crate::pipeline::policy::matcher::Scheme;
use crate::pipeline::policy::rule::Mode;

/// Leave to send one request, once what it is bound to is fulfilled: approvals, then limits.
/// Only [`Ruleset::decide`](super::Ruleset::decide) makes one.
#[derive(Debug, Clone)]
pub struct Permit {
    agent: AgentId,
    draft: Draft,
}

impl Permit {
    /// The agent it was given to.
    pub fn agent(&self) -> AgentId {
        self.agent
    }

    /// How the upstream is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.draft.target.scheme
    }

    /// The upstream's port.
    pub fn port(&self) -> u16 {
        self.draft.target.port
    }

    /// The entry of the policy that counts: the rule that asked a person, the one that watches, or else the entry that
    /// allows. None where only monitor mode lets it pass.
    pub fn rule(&self) -> Option<&RuleId> {
        let asked = self.draft.approvals.first().map(|terms| &terms.rule);
        asked.or(self.draft.watched.first()).or(self.draft.entries.first().map(|e| &e.rule))
    }

    /// The entries that allow it.
    pub fn entries(&self) -> impl Iterator<Item = &RuleId> {
        self.draft.entries.iter().map(|e| &e.rule)
    }

    /// Non-public ranges that the upstream's addresses may lie in.
    pub fn allow_private(&self) -> SmallVec<[IpNet; 2]> {
        self.draft.entries.iter().flat_map(|e| &e.allow_private).copied().collect()
    }

    /// True if the agent's own override headers pass.
    pub fn allows_override_headers(&self) -> bool {
        self.draft.passes_overrides()
    }

    /// The credentials that go with it.
    pub fn injections(&self) -> impl Iterator<Item = &Injection> {
        self.draft.bindings.iter().map(|b| &b.injection)
    }

    /// The limits it has to keep.
    pub fn limits(&self) -> &[Arc<Limit>] {
        &self.draft.limits
    }

    /// The limits it is measured by and need not keep.
    pub fn watched_limits(&self) -> &[Arc<Limit>] {
        &self.draft.watched_limits
    }

    /// What a person has to agree to.
    pub fn approvals(&self) -> &[Arc<Terms>] {
        &self.draft.approvals
    }

    /// What its answer goes through, every one of them; see [`treatment`](super::filtering::treatment).
    pub fn filters(&self) -> &[Arc<ResponseFilter>] {
        &self.draft.filters
    }

    /// What its answer would go through, were it enforced.
    pub fn watched_filters(&self) -> &[Arc<ResponseFilter>] {
        &self.draft.watched_filters
    }

    /// The rules that only watch.
    pub fn watched(&self) -> &[RuleId] {
        &self.draft.watched
    }

    /// What would have refused it, were it enforced.
    pub fn would(&self) -> Option<&Denial> {
        self.draft.would.as_ref()
    }
}

/// A permit in the making.
#[derive(Debug, Clone)]
pub struct Draft {
    mode: Mode,
    target: Target,
    entries: Entries,
    /// The organization's word on the agent's override headers.
    drops_overrides: bool,
    bindings: Chosen,
    limits: SmallVec<[Arc<Limit>; 2]>,
    watched_limits: SmallVec<[Arc<Limit>; 1]>,
    approvals: SmallVec<[Arc<Terms>; 1]>,
    filters: Filters,
    watched_filters: Filters,
    watched: SmallVec<[RuleId; 1]>,
    would: Option<Denial>,
}

impl Draft {
    /// One for a request that would leave by this way.
    pub(super) fn new(mode: Mode, target: Target) -> Self {
        Self {
            mode,
            target,
            entries: SmallVec::new(),
            drops_overrides: false,
            bindings: SmallVec::new(),
            limits: SmallVec::new(),
            watched_limits: SmallVec::new(),
            approvals: SmallVec::new(),
            filters: SmallVec::new(),
            watched_filters: SmallVec::new(),
            watched: SmallVec::new(),
            would: None,
        }
    }

    /// Refuses, unless the agent is only watched.
    pub(super) fn refuse(&mut self, denial: Denial) -> Result<(), Denial> {
        if self.mode == Mode::Enforce {
            return Err(denial);
        }
        self.would(denial);
        Ok(())
    }

    /// Notes what is not enforced. What would have refused counts for more than what would have asked or limited; of
    /// several that would have asked, the first by name is noted.
    pub(super) fn would(&mut self, denial: Denial) {
        let weight = |denial: &Denial| match denial.reason {
            Reason::RateLimited => 0,
            Reason::ApprovalPending => 1,
            _ => 2,
        };
        let asks = |denial: &Denial| denial.reason == Reason::ApprovalPending;
        if self.would.as_ref().is_none_or(|noted| {
            weight(noted) < weight(&denial) || (asks(noted) && asks(&denial) && denial.rule < noted.rule)
        }) {
            self.would = Some(denial);
        }
    }

    /// True if it passes only because something is not enforced.
    pub(super) fn is_lenient(&self) -> bool {
        self.would.is_some()
    }

    pub(super) fn allow_by(&mut self, entries: Entries) {
        self.entries = entries;
    }

    pub(super) fn target(&self) -> Target {
        self.target
    }

    pub(super) fn limit(&mut self, limit: &Arc<Limit>, mode: Mode) {
        match mode {
            Mode::Enforce => push_once(&mut self.limits, limit),
            Mode::Monitor => push_once(&mut self.watched_limits, limit),
        }
    }

    pub(super) fn approval(&mut self, terms: &Arc<Terms>, mode: Mode) {
        match mode {
            Mode::Enforce => push_once(&mut self.approvals, terms),
            Mode::Monitor => self.would(Denial::by(Reason::ApprovalPending, &terms.rule)),
        }
    }

    pub(super) fn filter(&mut self, filter: &Arc<ResponseFilter>, mode: Mode) {
        match mode {
            Mode::Enforce => push_once(&mut self.filters, filter),
            Mode::Monitor => push_once(&mut self.watched_filters, filter),
        }
    }

    pub(super) fn watch(&mut self, rule: &RuleId) {
        push_once(&mut self.watched, rule);
    }

    pub(super) fn bind(&mut self, bindings: Chosen) {
        self.bindings = bindings;
    }

    /// Whether the agent's own override headers pass.
    pub(super) fn passes_overrides(&self) -> bool {
        !self.drops_overrides && self.entries.iter().any(|entry| entry.allow_override_headers)
    }

    /// Keeps the agent's override headers in, whatever an entry allows.
    pub(super) fn drop_overrides(&mut self) {
        self.drops_overrides = true;
    }

    /// The refusal of a protocol that no entry allows to switch to.
    pub(super) fn upgrade_refused(&self, head: &RequestHead) -> Option<Denial> {
        // RFC 6455 §4.1: GET. With another method a body could pass for what follows the upgrade.
        let websocket = self.entries.iter().any(|e| e.websocket) && &*head.method == "GET";
        let protocol = head.upgrades().find(|protocol| !(websocket && protocol == "websocket"))?;
        let rule = self.entries.first().map(|e| e.rule.clone());
        let denial = Denial { rule, ..Denial::new(Reason::UpgradeNotAllowed) };
        // Any other may be anything, and would go on record.
        let known = PROTOCOLS.into_iter().find(|known| *known == protocol);
        Some(known.map_or(denial.clone(), |known| denial.because(format!("`{known}`"))))
    }

    /// The permit. What stands in no order in the policy stands in the order of its names.
    pub(super) fn permit(mut self, agent: AgentId) -> Permit {
        self.limits.sort_unstable_by(|a, b| a.rule.cmp(&b.rule));
        self.watched_limits.sort_unstable_by(|a, b| a.rule.cmp(&b.rule));
        self.approvals.sort_unstable_by(|a, b| a.rule.cmp(&b.rule));
        self.filters.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        self.watched_filters.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        self.watched.sort_unstable();
        Permit { agent, draft: self }
    }
}

/// A rule may be found twice.
fn push_once<T: ?Sized, const N: usize>(list: &mut SmallVec<[Arc<T>; N]>, value: &Arc<T>)
where
    [Arc<T>; N]: smallvec::Array<Item = Arc<T>>,
{
    if !list.iter().any(|known| Arc::ptr_eq(known, value)) {
        list.push(value.clone());
    }
}

/// Protocols that are switched to, lower-cased, of IANA's *HTTP Upgrade Token Registry*; `h2c` as RFC 7540 had it.
const PROTOCOLS: [&str; 5] = ["websocket", "h2c", "connect-udp", "connect-ip", "connect-tcp"];
