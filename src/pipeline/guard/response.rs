//! A response: its fields filtered, and what must not reach the agent replaced.

use std::fmt;
use std::sync::Arc;

use crate::pipeline::dlp::finding::{Action, Finding, Step};
use crate::pipeline::dlp::inflate::{Coding, Inflater};
use crate::pipeline::dlp::scan::{Lens, Report};
use crate::pipeline::dlp::stream::{BodyStream, Emit, Fault, Label};
use crate::pipeline::dlp::surface::{Layout, Surface};
use crate::pipeline::message::Fields;
use crate::pipeline::policy::decision::{Denial, Reason};
use crate::pipeline::policy::filtering::{ResponseFilter, Treatment, treatment};
use crate::pipeline::policy::inspect::{Inspect, InspectResponse, Refusal, ResponseHead, ResponseInspection};
use crate::pipeline::response_filter::{Form, Projection};

use super::body::look_at_trailers;
use super::grpc::{Messages, is_messages};
use super::head::Changed;
use super::{Held, codings, without_redaction};

/// Fields that are about the bytes that the upstream sent, and not about those that the agent gets.
const OF_THE_BYTES: [&str; 9] = [
    "accept-ranges",
    "content-digest",
    "content-encoding",
    "content-length",
    "content-md5",
    "digest",
    "etag",
    "repr-digest",
    "x-goog-hash",
];

/// A response that is awaited.
pub struct Response {
    lens: Lens,
    held: Option<Held>,
    filters: Vec<Arc<ResponseFilter>>,
    method: Box<str>,
}

impl Response {
    /// The response to a request with this method, which is looked at for what is `held` too.
    pub fn new(lens: Lens, held: Option<Held>, filters: Vec<Arc<ResponseFilter>>, method: &str) -> Self {
        Self { lens, held, filters, method: method.into() }
    }

    fn looks(&self) -> bool {
        !self.lens.actions.is_off() || !self.lens.known.is_empty()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("filters", &self.filters).finish_non_exhaustive()
    }
}

impl InspectResponse for Response {
    fn open(mut self: Box<Self>, head: &ResponseHead) -> Result<ResponseInspection, Refusal> {
        if let Some(held) = &self.held {
            self.lens.known = held();
        }
        let mut inspection = ResponseInspection::default();
        if self.looks() {
            let mut report = Report::default();
            inspection.set = look_at_fields(&self.lens, &head.fields, &mut report)?;
            inspection.findings = report.findings;
        }
        let content_type = head.fields.get("content-type");
        let treatment = treatment(&self.filters, &self.method, head.status, content_type);
        if treatment == Treatment::Refuse {
            return Err(Denial {
                rule: self.filters.first().map(|filter| filter.id.clone()),
                ..Denial::new(Reason::ResponseUnparsable)
            }
            .into());
        }
        if head.ends {
            // Its length is that of a body that others get.
            return Ok(inspection);
        }
        let form = match treatment {
            Treatment::Filter(form) => Some(form),
            Treatment::Pass | Treatment::Refuse => None,
        };
        if form.is_none() && !self.looks() {
            return Ok(inspection);
        }
        let codings = codings(head.fields.all("content-encoding"))
            .map_err(|denial| Denial { reason: Reason::ResponseUnparsable, ..denial })?;
        let is_grpc = content_type.is_some_and(is_messages);
        if form.is_some() || !codings.is_empty() {
            let there = OF_THE_BYTES.iter().filter(|name| head.fields.get(name).is_some());
            inspection.remove = there.map(|name| (*name).into()).collect();
        }
        // What comes event by event is not waited for.
        let is_live = content_type.is_some_and(|name| name.starts_with(b"text/event-stream")) || is_grpc;
        inspection.holds_head = !is_live && form != Some(Form::Events) && (form.is_some() || !codings.is_empty());
        inspection.body = Some(if is_grpc && form.is_none() {
            let encoding = head.fields.get("grpc-encoding");
            let messages = Messages::new(self.lens.clone(), encoding, Label::SameLength);
            Box::new(ResponseBody { look: Look::Messages(Box::new(messages)), ..ResponseBody::new(self.lens, None) })
        } else {
            Box::new(self.body(&codings, form))
        });
        Ok(inspection)
    }
}

impl Response {
    fn body(self, codings: &[Coding], form: Option<Form>) -> ResponseBody {
        let looks = self.looks();
        let projection = form.map(|form| Projection::new(self.filters.iter().map(|f| f.fields.clone()), form));
        let rule = self.filters.first().map(|filter| filter.id.clone());
        let (lens, name) = (self.lens, Arc::from("response"));
        // The fields are filtered before anything is looked for in what is left of them.
        let mut body = ResponseBody::new(lens.clone(), rule);
        match projection {
            Some(projection) => {
                body.inflater = (!codings.is_empty()).then(|| Inflater::new(codings));
                body.projection = Some(projection);
                if looks {
                    body.look = Look::Stream(Box::new(BodyStream::new(lens, name, &[], Emit::AsSent, Label::Named)));
                }
            }
            None => {
                let label = if codings.is_empty() { Label::SameLength } else { Label::Named };
                body.look = Look::Stream(Box::new(BodyStream::new(lens, name, codings, Emit::Decoded, label)));
            }
        }
        body
    }
}

/// A response's body on its way to the agent.
#[derive(Debug)]
struct ResponseBody {
    lens: Lens,
    /// The filter that is named when the body cannot be read.
    rule: Option<Arc<str>>,
    inflater: Option<Inflater>,
    projection: Option<Projection>,
    look: Look,
    report: Report,
    told: usize,
}

#[derive(Debug)]
enum Look {
    Nowhere,
    Stream(Box<BodyStream>),
    Messages(Box<Messages>),
}

impl ResponseBody {
    fn new(lens: Lens, rule: Option<Arc<str>>) -> Self {
        let (inflater, projection, look) = (None, None, Look::Nowhere);
        Self { lens, rule, inflater, projection, look, report: Report::default(), told: 0 }
    }

    fn unparsable(&self, why: impl std::fmt::Display) -> Denial {
        Denial { rule: self.rule.clone(), ..Denial::new(Reason::ResponseUnparsable) }.because(why)
    }

    /// What of these bytes the filters leave.
    fn filter(&mut self, bytes: &[u8], last: bool) -> Result<Vec<u8>, Denial> {
        let mut text = Vec::new();
        match &mut self.inflater {
            Some(inflater) => {
                let undone = inflater.push(bytes, &mut text);
                let undone = if last { undone.and_then(|()| inflater.finish(&mut text)) } else { undone };
                undone.map_err(|why| self.unparsable(why))?;
            }
            None => text.extend_from_slice(bytes),
        }
        let Some(projection) = &mut self.projection else { return Ok(text) };
        let mut left = Vec::new();
        let filtered = projection.push(&text, &mut left);
        let filtered = if last { filtered.and_then(|()| projection.finish(&mut left)) } else { filtered };
        filtered.map_err(|why| self.unparsable(why))?;
        Ok(left)
    }

    fn fault(&self, fault: Fault) -> Denial {
        match fault {
            Fault::Found => {
                let found = self.all().find(|finding| finding.action == Action::Block);
                let denial = Denial::new(Reason::ResponseBlocked);
                match found {
                    Some(finding) => {
                        let what = format!("`{}` ({}) in {}", finding.rule, finding.category, finding.location());
                        Denial { rule: Some(finding.rule.clone()), ..denial }.because(what)
                    }
                    None => denial,
                }
            }
            Fault::Undecodable(why) => self.unparsable(why),
            Fault::Exhausted => {
                Denial::new(Reason::ResponseBlocked).because("there is more encoded in it than may be decoded")
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Finding> {
        let of_stream = match &self.look {
            Look::Nowhere => &[][..],
            Look::Stream(stream) => stream.findings(),
            Look::Messages(messages) => messages.findings(),
        };
        of_stream.iter().chain(&self.report.findings)
    }

    fn take(&mut self, bytes: &[u8], last: bool, out: &mut Vec<u8>) -> Result<(), Denial> {
        let text = self.filter(bytes, last)?;
        let looked = match &mut self.look {
            Look::Nowhere => {
                out.extend_from_slice(&text);
                Ok(())
            }
            Look::Stream(stream) => {
                let pushed = stream.push(&text, out);
                if last { pushed.and_then(|()| stream.finish(out)) } else { pushed }
            }
            Look::Messages(messages) => {
                let pushed = messages.push(&text, out);
                if last { pushed.and_then(|()| messages.finish(out)) } else { pushed }
            }
        };
        looked.map_err(|fault| self.fault(fault))
    }
}

impl Inspect for ResponseBody {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Denial> {
        self.take(bytes, false, out)
    }

    fn finish(&mut self, trailers: Option<&Fields>, out: &mut Vec<u8>) -> Result<(), Denial> {
        self.take(&[], true, out)?;
        if let Some(trailers) = trailers.filter(|_| !matches!(self.look, Look::Nowhere)) {
            let lens = Lens { on_known: Action::Block, on_canary: Action::Block, ..without_redaction(&self.lens) };
            look_at_trailers(&lens, trailers, &mut self.report);
            if self.report.action() == Action::Block {
                return Err(self.fault(Fault::Found));
            }
        }
        Ok(())
    }

    fn findings(&mut self) -> Vec<Finding> {
        let new: Vec<_> = self.all().skip(self.told).cloned().collect();
        self.told += new.len();
        new
    }
}

/// Looks at the fields of a response, and gives those with something replaced.
fn look_at_fields(lens: &Lens, fields: &Fields, report: &mut Report) -> Result<Changed, Refusal> {
    let mut set = Vec::new();
    for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with(':')) {
        let before = report.findings.len();
        lens.scan(&Surface::new(value, Layout::Plain(format!("response header {name}").into())), Vec::new(), report);
        let found = report.findings.get(before..).unwrap_or_default();
        let blocks = |finding: &Finding| {
            finding.action == Action::Block
                || (finding.action == Action::Redact && finding.chain.contains(&Step::Split))
        };
        if found.iter().any(blocks) || (!found.is_empty() && fields.all(name).count() > 1) {
            let place = found.first().map(Finding::location).unwrap_or_default();
            let denial = Denial::new(Reason::ResponseBlocked).because(format!("in {place}"));
            return Err(Refusal { denial, findings: report.findings.clone() });
        }
        let found: Vec<_> = found.iter().filter(|finding| finding.action == Action::Redact).collect();
        if !found.is_empty() {
            let surface = Surface::new(value, Layout::Plain("response".into()));
            let found: Vec<Finding> = found.into_iter().cloned().collect();
            set.push((name.into(), crate::pipeline::dlp::redact::redacted(&surface, &found)));
        }
    }
    Ok(set)
}
