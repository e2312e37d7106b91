//! Looks into what passes, as a policy's `dlp` and `responseFilters` say: a request's head and body, and its response.

mod body;
mod grpc;
mod head;
mod memory;
mod response;

use std::sync::Arc;

use crate::pipeline::dlp::Dlp;
use crate::pipeline::dlp::finding::{Action, Finding};
use crate::pipeline::dlp::inflate::Coding;
use crate::pipeline::dlp::profile::OverBuffer;
use crate::pipeline::dlp::scan::{Lens, Report};
use crate::pipeline::dlp::stream::Fault;
use crate::pipeline::message::Fields;
use crate::pipeline::policy::decision::{Denial, Reason};
use crate::pipeline::policy::inspect::{BodyInspection, Inspection, Inspector, Refusal, Subject, Unheld};
use body::RequestBody;
pub use memory::Memory;
use response::Response;

/// What looks into the exchanges of one policy.
#[derive(Debug)]
pub struct Guard {
    dlp: Arc<Dlp>,
    /// The names of the agents, by their place: what is remembered of them outlives a policy.
    agents: Vec<Arc<str>>,
    memory: Arc<Memory>,
}

impl Guard {
    /// Looks as `dlp` says, and remembers in `memory`, which all policies share.
    pub fn new(dlp: Arc<Dlp>, agents: Vec<Arc<str>>, memory: Arc<Memory>) -> Self {
        Self { dlp, agents, memory }
    }
}

impl Inspector for Guard {
    fn open(&self, subject: &Subject<'_>) -> Result<Inspection, Refusal> {
        let Subject { head, permit, .. } = *subject;
        let (agent, host, port) = (permit.agent(), &head.authority.host, permit.port());
        let known = self.memory.known();
        let profile = self.dlp.profile(agent);
        let lens = self.dlp.requests(agent, host, port, &head.path, known.clone());
        let looks = !lens.actions.is_off() || !known.is_empty();

        let mut report = Report::default();
        let mut inspection = Inspection::default();
        let mut pieces = Vec::new();
        if looks {
            let text = head::Text::of(subject);
            text.scan(&lens, profile.own_credentials, &mut report);
            pieces = text.pieces();
            inspection.query = text.redacted_query(&report)?;
            inspection.set = text.redacted_fields(&report)?;
        }
        let sender = memory::Sender {
            agent: self.agents.get(agent.0).cloned().unwrap_or_default(),
            host: host.to_string(),
            request: subject.id.into(),
            now: subject.now,
        };
        let mut across = memory::Trace::new(self.memory.clone(), sender, pieces);
        if subject.ends {
            across.look(&lens, &[], &mut report);
        }
        judge(&report)?;
        inspection.findings = report.findings;
        if looks && !subject.ends {
            let body = RequestBody::new(lens.clone(), &head.fields, across).map_err(Refusal::from)?;
            let unheld = match profile.over_buffer {
                OverBuffer::Block => Unheld::Refuse,
                OverBuffer::Stream if lens.actions.may_redact() => Unheld::StreamOfAnyLength,
                OverBuffer::Stream => Unheld::Stream,
            };
            inspection.request = Some(BodyInspection { inspect: Box::new(body), unheld });
        }
        let lens = self.dlp.responses(agent, host, port, &head.path, known);
        let searched = permit.injections().next().is_some() && !lens.known.is_empty();
        if searched || !lens.actions.is_off() || !permit.filters().is_empty() {
            let filters = permit.filters().iter().cloned().collect();
            inspection.response = Some(Box::new(Response::new(lens, filters, &head.method)));
        }
        Ok(inspection)
    }
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
fn codings(fields: &Fields) -> Result<Vec<Coding>, Denial> {
    let named = fields.all("content-encoding").flat_map(|value| value.split(|b| *b == b','));
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
    Lens { actions: lens.actions.strict(), ..lens.clone() }
}
