//! Looks into what passes, as a policy's `dlp` and `responseFilters` say: a request's head and body, and its response.

mod body;
mod grpc;
mod head;
mod memory;
mod response;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::pipeline::agent::AgentId;
use crate::pipeline::credential::Slot;
use crate::pipeline::dlp::Dlp;
use crate::pipeline::dlp::finding::{Action, Finding};
use crate::pipeline::dlp::inflate::Coding;
use crate::pipeline::dlp::known::Known;
use crate::pipeline::dlp::profile::OverBuffer;
use crate::pipeline::dlp::scan::{Lens, Report};
use crate::pipeline::dlp::stream::Fault;
use crate::pipeline::dlp::surface::{Layout, Surface, joined};
use crate::pipeline::message::{Host, decoded};
use crate::pipeline::policy::decision::{Denial, Reason};
use crate::pipeline::policy::inspect::{BodyInspection, Inspection, Inspector, Refusal, Subject, Unheld};
pub use body::RequestBody;
pub use memory::Memory;
use response::Response;

/// Fields by which a request asks for a part of an answer: those of HTTP, and what some services read in their place.
const OF_A_PART: [&str; 4] = ["range", "if-range", "request-range", "x-ms-range"];

/// What tells a head and a host from each other and from the blocks of bodies, among all that was clean: no body makes a
/// head clean that reads like it.
const HEAD: u64 = 1;
const HOST: u64 = 2;

/// The secrets that attaché holds at this moment.
pub type Held = Arc<dyn Fn() -> Arc<Known> + Send + Sync>;

/// What looks into the exchanges of one policy.
pub struct Guard {
    dlp: Arc<Dlp>,
    /// The names of the agents, by their place: what is remembered of them outlives a policy.
    agents: Vec<Arc<str>>,
    held: Held,
    memory: Arc<Memory>,
}

/// A request as far as it leaves.
pub struct Outgoing<'a> {
    /// Its id, the same each time it is looked at.
    pub id: &'a str,
    /// Who sends it.
    pub agent: AgentId,
    /// Where to.
    pub host: &'a Host,
    /// And to which port.
    pub port: u16,
    /// The method.
    pub method: &'a str,
    /// The path.
    pub path: &'a str,
    /// The query, without what an injection replaces.
    pub query: Option<&'a str>,
    /// The fields, without what is for this proxy or is replaced.
    pub fields: &'a [(&'a str, &'a [u8])],
    /// True if no body follows.
    pub ends: bool,
    /// The time.
    pub now: Instant,
}

/// What was found in a request's head, and what goes on in its place.
#[derive(Debug, Default)]
pub struct Looked {
    /// What was found.
    pub findings: Vec<Finding>,
    /// Fields in which something is replaced.
    pub set: Vec<(Box<str>, Vec<u8>)>,
    /// The query, if something in it is.
    pub query: Option<Box<str>>,
    /// What looks into the body; none where there is none, or nothing to look for.
    pub body: Option<RequestBody>,
    /// What becomes of a body that cannot be held.
    pub unheld: Unheld,
}

impl Guard {
    /// Looks as `dlp` says, for what is `held` too, and remembers in `memory`, which all policies share.
    pub fn new(dlp: Arc<Dlp>, agents: Vec<Arc<str>>, held: Held, memory: Arc<Memory>) -> Self {
        Self { dlp, agents, held, memory }
    }

    /// Looks at a request's head.
    ///
    /// # Errors
    /// If it must not leave.
    pub fn look(&self, request: &Outgoing<'_>) -> Result<Looked, Refusal> {
        let known = (self.held)();
        let profile = self.dlp.profile(request.agent);
        let lens = self.dlp.requests(request.agent, request.host, request.port, request.path, known);
        let mut looked = Looked { unheld: Unheld::Stream, ..Looked::default() };
        if lens.actions.is_off() && lens.known.is_empty() {
            return Ok(looked);
        }
        // What follows it is another protocol, whose messages nobody looks at.
        if profile.enforced
            && !profile.web_sockets
            && !profile.requests.is_off()
            && request.fields.iter().any(|(name, _)| *name == "upgrade")
        {
            return Err(Denial::new(Reason::WebsocketBlocked).into());
        }
        let mut report = Report::default();
        let text = head::Text::of(request);
        // Clients send the same head over and over, and another one to the same host. What was clean under these rules is;
        // what is not is found each time.
        let (version, verdicts) = (lens.version(), &self.memory.verdicts);
        let head = verdicts.block(version ^ HEAD, &text.identity());
        if !verdicts.seen(head) {
            text.scan(&lens, profile.own_credentials, &mut report);
            looked.query = text.redacted_query(&report)?;
            looked.set = text.redacted_fields(&report)?;
            if report.is_clean() {
                verdicts.note(head);
            }
        }
        let host = verdicts.block(version ^ HOST, text.host());
        if !verdicts.seen(host) {
            let was_clean = report.is_clean();
            text.scan_host(&lens, &mut report);
            if was_clean && report.is_clean() {
                verdicts.note(host);
            }
        }
        let sender = memory::Sender {
            agent: self.agents.get(request.agent.0).cloned().unwrap_or_default(),
            host: request.host.to_string(),
            request: self.memory.name(&request.id),
            now: request.now,
        };
        // Labels of the host are pieces too.
        let name = self.memory.name(&(head.name(), host.name()));
        // What came just before brings nothing new, neither by itself nor together with what came before it.
        if request.ends && report.is_clean() && self.memory.again(&sender, name) {
            return Ok(looked);
        }
        let mut across = memory::Trace::new(self.memory.clone(), sender, text.pieces(), name);
        if request.ends {
            across.look(&lens, &memory::Pieces::default(), &mut report);
        }
        judge(&report)?;
        if !request.ends {
            looked.body = Some(RequestBody::new(lens.clone(), request.fields, across)?);
            looked.unheld = match profile.over_buffer {
                OverBuffer::Block => Unheld::Refuse,
                OverBuffer::Stream if lens.may_redact() => Unheld::StreamOfAnyLength,
                OverBuffer::Stream => Unheld::Stream,
            };
        }
        looked.findings = report.findings;
        Ok(looked)
    }
}

impl Inspector for Guard {
    fn open(&self, subject: &Subject<'_>) -> Result<Inspection, Refusal> {
        let Subject { head, permit, .. } = *subject;
        let slots = || permit.injections().map(|injection| &injection.slot);
        let leaves = |name: &str| {
            let replaced = |slot: &Slot| matches!(slot, Slot::Header(slot) if **slot == *name);
            // Envoy's own, taken off on the way out: a piece of nothing, between those that are.
            name != "x-request-id"
                && !name.starts_with(':')
                && !subject.stays.iter().any(|stays| **stays == *name)
                && !slots().any(replaced)
        };
        let fields: Vec<_> = head.fields.iter().filter(|(name, _)| leaves(name)).collect();
        let query = head.query.as_deref().map(|query| {
            let left: Vec<&str> = query.split('&').filter(|pair| !slots().any(|slot| is_slot(slot, pair))).collect();
            left.join("&")
        });
        let (agent, host, port) = (permit.agent(), &head.authority.host, permit.port());
        let outgoing = Outgoing {
            id: subject.id,
            agent,
            host,
            port,
            method: &head.method,
            path: &head.path,
            query: query.as_deref(),
            fields: &fields,
            ends: subject.ends,
            now: subject.now,
        };
        let looked = self.look(&outgoing)?;
        let mut inspection =
            Inspection { findings: looked.findings, set: looked.set, query: looked.query, ..Inspection::default() };
        if let Some(body) = looked.body {
            inspection.request = Some(BodyInspection { inspect: Box::new(body), unheld: looked.unheld });
        }
        let lens = self.dlp.responses(agent, host, port, &head.path, Arc::default());
        let searched = slots().next().is_some();
        if searched || !lens.actions.is_off() || !permit.filters().is_empty() {
            let filters = permit.filters().to_vec();
            // What is injected may have been fetched after this: it is known when the response comes.
            let held = searched.then(|| self.held.clone());
            if !permit.filters().is_empty() || searched || replaces(&lens) {
                // A part of an answer is no JSON text, and what is looked for could be fetched in parts of it: the
                // agent would choose which.
                let there = OF_A_PART.into_iter().filter(|name| head.fields.get(name).is_some());
                inspection.remove = there.map(Into::into).collect();
            }
            inspection.response = Some(Box::new(Response::new(lens, held, filters, &head.method)));
        }
        Ok(inspection)
    }

    fn finds(&self, agent: Option<AgentId>, text: &str) -> bool {
        let lens = self.dlp.records(agent, (self.held)());
        if lens.actions.is_off() && lens.known.is_empty() {
            return false;
        }
        let mut report = Report::default();
        let whole = Surface::new(text.as_bytes(), Layout::Plain("record".into()));
        lens.scan(&whole, joined(text.as_bytes(), &parts(text)), &mut report);
        report.exhausted || !report.findings.is_empty()
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("agents", &self.agents).finish_non_exhaustive()
    }
}

/// The parts of a host, path or query: a secret may be cut into them.
fn parts(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let part = |part: &str| {
        let range = start..start + part.len();
        start = range.end + 1;
        range
    };
    text.split(['.', '/', '?', '&', '=']).map(part).filter(|range| !range.is_empty()).collect()
}

/// Whether anything that is found would not pass as it is.
fn replaces(lens: &Lens) -> bool {
    lens.enforced && lens.actions.iter().any(|(_, action)| *action >= Action::Redact)
}

/// Whether a pair of the query is one that an injection replaces.
fn is_slot(slot: &Slot, pair: &str) -> bool {
    let key = pair.split('=').next().unwrap_or_default();
    matches!(slot, Slot::Query(name) if decoded(key).eq_ignore_ascii_case(&decoded(name)))
}

/// Whether a message may go on with what was found in it.
fn judge(report: &Report) -> Result<(), Refusal> {
    if report.action() == Action::Block {
        return Err(Refusal { denial: blocked(&report.findings), findings: report.findings.clone() });
    }
    if report.exhausted {
        return Err(Refusal { denial: Denial::new(Reason::BudgetExhausted), findings: report.findings.clone() });
    }
    Ok(())
}

/// The refusal of a request with these findings, of which the first that blocks is named.
fn blocked(findings: &[Finding]) -> Denial {
    let blocking = || findings.iter().filter(|finding| finding.action == Action::Block);
    let Some(first) = blocking().next() else { return Denial::new(Reason::DlpBlocked) };
    let reason = if head::is_own(first) { Reason::OwnCredentials } else { Reason::DlpBlocked };
    let what = format!("`{}` ({}, {}) in {}", first.rule, first.category, first.confidence.as_str(), first.location());
    let more = blocking().skip(1).filter(|other| other.rule != first.rule).count();
    let what = if more == 0 { what } else { format!("{what}, and {more} more") };
    Denial::by(reason, &first.rule).because(what)
}

/// The refusal of a body.
fn refusal(fault: Fault, findings: &[Finding]) -> Denial {
    match fault {
        Fault::Found => blocked(findings),
        Fault::Undecodable(why) => Denial::new(Reason::Undecodable).because(why),
        Fault::Exhausted => Denial::new(Reason::BudgetExhausted),
    }
}

/// The codings of a body, in the order in which they were applied. An unknown one cannot be undone.
fn codings<'f>(encodings: impl Iterator<Item = &'f [u8]>) -> Result<Vec<Coding>, Denial> {
    let named = encodings.flat_map(|value| value.split(|b| *b == b','));
    let mut found = Vec::new();
    for name in named {
        match Coding::parse(name) {
            Some(coding) => found.extend(coding),
            None => return Err(Denial::new(Reason::Undecodable).because("the coding is not known")),
        }
    }
    Ok(found)
}

/// The same lens where nothing can be replaced: what would be is blocked.
fn without_redaction(lens: &Lens) -> Lens {
    Lens {
        actions: lens.actions.strict(),
        on_known: lens.on_known.unredactable(),
        on_canary: lens.on_canary.unredactable(),
        ..lens.clone()
    }
}

#[cfg(test)]
mod tests;
