//! The span of a decision, and those of what is found after it. Envoy owns the HTTP spans; these lie under them.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Event as SpanEvent, Link, Span, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
    TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::SdkTracer;
use tonic::metadata::MetadataMap;

use crate::pipeline::audit::{DecisionRecord, FindingNote, InspectionAction, InspectionRecord};
use crate::pipeline::message::registered_method;

/// Makes spans.
pub struct Traces {
    pub tracer: SdkTracer,
    /// No span is made where Envoy made none.
    pub follows_envoy: bool,
}

/// The spans around an exchange. Nothing at all where none are made.
#[derive(Debug, Clone, Default)]
pub struct Trail(Option<Arc<Spans>>);

#[derive(Debug, Default)]
struct Spans {
    /// Envoy's.
    parent: Option<SpanContext>,
    /// The one that the agent says its request is part of: never trusted, only linked to.
    agent: OnceLock<SpanContext>,
    /// That of the decision, once it is made.
    decision: OnceLock<SpanContext>,
}

impl Traces {
    /// The trail of a stream with this gRPC metadata.
    pub fn trail(&self, metadata: &MetadataMap) -> Trail {
        let header = metadata.get("traceparent").and_then(|header| header.to_str().ok());
        let parent = header.and_then(traceparent);
        if self.follows_envoy && parent.as_ref().is_some_and(|parent| !parent.is_sampled()) {
            return Trail(None);
        }
        Trail(Some(Arc::new(Spans { parent, ..Spans::default() })))
    }

    /// The span of a decision.
    pub fn decided(&self, record: &DecisionRecord, facts: Facts, trail: &Trail) {
        let Some(spans) = trail.0.as_deref() else { return };
        let start = record.time.checked_sub(Duration::from_micros(record.decision_micros)).unwrap_or(record.time);
        let fault = fault(record);
        let mut builder = SpanBuilder::from_name("egress.decision")
            .with_kind(SpanKind::Internal)
            .with_start_time(start)
            .with_attributes(decision_attributes(record, facts, fault))
            .with_events(record.findings.iter().map(|note| event(note, record.time)).collect());
        builder.links = spans.agent.get().cloned().map(|agent| vec![Link::new(agent, Vec::new(), 0)]);
        let mut span = self.tracer.build_with_context(builder, &under(spans.parent.as_ref()));
        // A refusal is no error: its status stays unset.
        if let Some(fault) = fault {
            span.set_status(Status::error(fault));
        }
        span.end_with_timestamp(record.time);
        // Of two, as where the first could not be written, the first is linked to.
        let _ = spans.decision.set(span.span_context().clone());
    }

    /// The span of what was found after the decision; none where nothing was found and nothing was cut.
    pub fn inspected(&self, record: &InspectionRecord, trail: &Trail) {
        let Some(spans) = trail.0.as_deref() else { return };
        if record.findings.is_empty() && record.action != InspectionAction::Blocked {
            return;
        }
        let mut builder = SpanBuilder::from_name("egress.inspection")
            .with_kind(SpanKind::Internal)
            .with_start_time(record.time)
            .with_attributes(inspection_attributes(record))
            .with_events(record.findings.iter().map(|note| event(note, record.time)).collect());
        builder.links = spans.decision.get().cloned().map(|decision| vec![Link::new(decision, Vec::new(), 0)]);
        let parent = spans.parent.as_ref().or(spans.decision.get());
        self.tracer.build_with_context(builder, &under(parent)).end_with_timestamp(record.time);
    }
}

impl Trail {
    /// Takes note of the agent's own trace context (W3C `traceparent`), if it can be read.
    pub fn link<'a>(&self, header: impl FnOnce() -> Option<&'a [u8]>) {
        let Some(spans) = self.0.as_deref() else { return };
        if let Some(agent) = header().and_then(|header| traceparent(std::str::from_utf8(header).ok()?)) {
            let _ = spans.agent.set(agent);
        }
    }
}

/// What a decision's record does not say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// Bytes of the body that were looked into before the decision.
    pub scanned: u64,
    /// The record's number in the journal.
    pub seq: Option<u64>,
}

/// A `traceparent` (W3C Trace Context). What comes after it, an agent's `tracestate` above all, is not read.
fn traceparent(header: &str) -> Option<SpanContext> {
    let mut parts = header.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex =
        |part: &str, length| part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let may_go_on = version != "00" || parts.next().is_none();
    if !is_hex(version, 2) || version == "ff" || !may_go_on {
        return None;
    }
    if !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & TraceFlags::SAMPLED.to_u8()),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

fn under(parent: Option<&SpanContext>) -> Context {
    match parent {
        Some(parent) => Context::new().with_remote_span_context(parent.clone()),
        None => Context::new(),
    }
}

/// A fault of attaché's own. A refusal is none, nor is a name server that does not answer.
fn fault(record: &DecisionRecord) -> Option<&'static str> {
    const FAULTS: [&str; 3] = ["internal_error", "record_failed", SCAN_FAILED];
    let reason = record.reason.as_deref()?;
    FAULTS.into_iter().find(|fault| *fault == reason)
}

const SCAN_FAILED: &str = "scan_failed";

/// A list of attributes, most of which may be missing.
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn add(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.push(KeyValue::new(name, value.into()));
    }

    fn maybe(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        self.0.extend(value.map(|value| KeyValue::new(name, value.into())));
    }
}

/// What stands for every other method.
pub const OTHER_METHOD: &str = "_OTHER";

/// The methods of RFC 9110 and PATCH (RFC 5789): the others are `_OTHER`, as semantic conventions want it.
pub fn known_method(method: &str) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "POST", "CONNECT", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method)
}

fn decision_attributes(record: &DecisionRecord, facts: Facts, fault: Option<&'static str>) -> Vec<KeyValue> {
    let mut all = Attributes(Vec::with_capacity(24));
    let method = known_method(&record.method);
    all.add("http.request.method", method.unwrap_or(OTHER_METHOD));
    // Whatever is not registered may be anything.
    let original = || registered_method(&record.method);
    all.maybe("http.request.method_original", method.is_none().then(original).flatten());
    all.add("server.address", record.host.to_string());
    all.maybe("server.port", record.port.map(i64::from));
    all.maybe("url.scheme", record.scheme.clone());
    all.add("url.path", record.path.to_string());
    all.maybe("http.response.status_code", record.status.map(i64::from));
    all.maybe("error.type", fault);
    if let Some(agent) = &record.agent {
        all.add("gen_ai.agent.id", agent.clone());
        all.add("gen_ai.agent.name", agent.clone());
    }
    all.add("attache.request.id", record.request_id.clone());
    all.add("attache.decision", record.decision.as_str());
    all.add("attache.mode", mode(record));
    all.maybe("attache.reason", record.reason.clone());
    all.maybe("attache.rule.id", record.rule.clone());
    if let Some(would) = &record.would {
        all.add("attache.would", would.decision.as_str());
        all.add("attache.would.reason", would.reason.clone());
        all.maybe("attache.would.rule.id", would.rule.clone());
    }
    all.add("attache.policy.revision", record.policy_revision.clone());
    match &*record.credential {
        [] => {}
        [one] => all.add("attache.credential.name", one.clone()),
        several => all.add("attache.credential.name", several.join(",")),
    }
    if facts.scanned > 0 {
        all.add("attache.body.scanned_bytes", i64::try_from(facts.scanned).unwrap_or(i64::MAX));
    }
    all.maybe("attache.approval.id", record.approval.as_ref().map(|approval| approval.ticket.clone()));
    all.maybe("attache.audit.seq", facts.seq.and_then(|seq| i64::try_from(seq).ok()));
    all.0
}

fn inspection_attributes(record: &InspectionRecord) -> Vec<KeyValue> {
    let mut all = Attributes(Vec::with_capacity(8));
    all.add("attache.request.id", record.request_id.clone());
    all.add("attache.inspection.direction", record.direction.as_str());
    all.add("attache.inspection.action", record.action.as_str());
    all.maybe("attache.reason", record.reason.clone());
    all.maybe("attache.rule.id", record.rule.clone());
    all.add("attache.body.scanned_bytes", i64::try_from(record.bytes).unwrap_or(i64::MAX));
    // What the agent gets instead is the answer to its request, whichever message was looked into.
    all.maybe("http.response.status_code", record.status.map(i64::from));
    all.maybe("error.type", record.reason.as_deref().filter(|reason| *reason == SCAN_FAILED).map(|_| SCAN_FAILED));
    all.0
}

/// A finding: never what was found.
fn event(note: &FindingNote, time: SystemTime) -> SpanEvent {
    let attributes = vec![
        KeyValue::new("attache.dlp.rule.id", note.rule.clone()),
        KeyValue::new("attache.dlp.category", note.category.to_string()),
        KeyValue::new("attache.dlp.confidence", note.confidence.clone()),
        KeyValue::new("attache.dlp.action", note.action.clone()),
        KeyValue::new("attache.dlp.location", note.location.to_string()),
    ];
    SpanEvent::new("attache.dlp.finding", time, attributes, 0)
}

/// Whether what policy says was carried out.
pub fn mode(record: &DecisionRecord) -> &'static str {
    if record.would.is_some() { "monitor" } else { "enforce" }
}

#[cfg(test)]
mod tests;
