//! What the journal says of one request: its decision, what was found later, and what became of it, as one story.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::pipeline::audit::{
    ApprovalNote, DecisionRecord, Direction, FindingNote, InspectionAction, InspectionRecord, OutcomeRecord, Verdict,
    Would,
};

/// The reason of a decision that was never made.
pub(super) const UNRECONCILED: &str = "unreconciled";

/// One exchange, as far as the journal knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// What was decided.
    pub decision: DecisionRecord,
    /// What was found in its messages after their heads had gone on.
    pub inspections: Vec<InspectionRecord>,
    /// What became of it, once Envoy has said so.
    pub outcome: Option<OutcomeRecord>,
    /// The decision's number in its chain.
    pub seq: Option<u64>,
}

/// How an exchange ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Forwarded, and answered by the upstream.
    Allowed,
    /// Refused by policy, identity or form.
    Blocked,
    /// There was no verdict, or no answer from the upstream.
    Failed,
    /// Forwarded, and nobody can say any more what came of it.
    Unknown,
    /// Forwarded by Envoy without a decision: policy was bypassed.
    Unreconciled,
}

impl Standing {
    /// As tables and filters write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Unreconciled => "unreconciled",
        }
    }
}

impl Exchange {
    /// One of which only the decision is known.
    pub fn new(decision: DecisionRecord) -> Self {
        Self { decision, inspections: Vec::new(), outcome: None, seq: None }
    }

    /// How it ended.
    pub fn standing(&self) -> Standing {
        match self.decision.decision {
            Verdict::Deny | Verdict::RateLimited | Verdict::Pending => Standing::Blocked,
            Verdict::Error if self.decision.reason.as_deref() == Some(UNRECONCILED) => Standing::Unreconciled,
            Verdict::Error => Standing::Failed,
            Verdict::Allow if self.cut().is_some() => Standing::Blocked,
            Verdict::Allow => match &self.outcome {
                Some(outcome) if !outcome.known => Standing::Unknown,
                Some(outcome) if outcome.status == 0 || (outcome.status >= 500 && is_envoys(outcome)) => {
                    Standing::Failed
                }
                _ => Standing::Allowed,
            },
        }
    }

    /// True once Envoy has said how it ended.
    pub(super) fn has_ended(&self) -> bool {
        self.outcome.as_ref().is_some_and(|outcome| outcome.known)
    }

    /// Takes a second decision about the same exchange: Envoy's report that none reached it. An allow that was on
    /// record was then never carried out; a refusal knows better why it was one.
    pub fn correct(&mut self, reported: DecisionRecord) {
        let bypassed = reported.reason.as_deref() == Some(UNRECONCILED);
        if self.decision.decision == Verdict::Allow || bypassed {
            self.decision.decision = reported.decision;
            self.decision.reason = reported.reason;
            self.decision.detail = reported.detail;
            self.decision.status = reported.status;
        }
    }

    /// What cut one of its messages off after the head had gone on.
    pub fn cut(&self) -> Option<&InspectionRecord> {
        self.inspections.iter().find(|inspection| inspection.action == InspectionAction::Blocked)
    }

    /// Why it was refused, or cut off.
    pub fn reason(&self) -> Option<&str> {
        self.decision.reason.as_deref().or_else(|| self.cut()?.reason.as_deref())
    }

    /// The HTTP status the agent got, where one is known.
    pub fn status(&self) -> Option<u16> {
        let reported = self.outcome.as_ref().map(|o| o.status).filter(|s| *s != 0);
        reported.or(self.decision.status).or_else(|| self.cut()?.status)
    }
}

impl Serialize for Exchange {
    /// One flat object: who wanted what, what was decided, and what became of it. Null is what is not known, or not
    /// yet; `cut` is the message that was cut off when its head had gone on, `bytes` are the response's, `duration` is
    /// in milliseconds, `details` are Envoy's.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Flat<'a> {
            #[serde(with = "crate::pipeline::audit::rfc3339")]
            time: SystemTime,
            agent: Option<&'a str>,
            method: &'a str,
            scheme: Option<&'a str>,
            host: &'a str,
            port: Option<u16>,
            path: &'a str,
            query: Option<&'a str>,
            decision: Verdict,
            standing: &'static str,
            reason: Option<&'a str>,
            detail: Option<&'a str>,
            rule: Option<&'a str>,
            would: Option<&'a Would>,
            watched: Option<&'a [Arc<str>]>,
            approval: Option<&'a ApprovalNote>,
            credential: Option<String>,
            placeholders: Option<String>,
            cut: Option<Direction>,
            findings: Option<Vec<&'a FindingNote>>,
            status: Option<u16>,
            request_bytes: Option<u64>,
            bytes: Option<u64>,
            duration: Option<f64>,
            upstream: Option<&'a str>,
            flags: Option<&'a str>,
            details: Option<&'a str>,
            policy_revision: &'a str,
            request_id: &'a str,
            identity: Option<&'a str>,
            source: Option<&'a str>,
            destination: Option<&'a str>,
            decision_micros: u64,
            seq: Option<u64>,
        }
        let Self { decision, inspections, outcome, seq } = self;
        let cut = self.cut();
        let found = inspections.iter().flat_map(|inspection| &inspection.findings);
        let findings: Vec<_> = decision.findings.iter().chain(found).collect();
        let outcome = outcome.as_ref().filter(|outcome| outcome.known);
        let connected = outcome.and_then(|outcome| outcome.upstream.as_deref());
        Flat {
            time: decision.time,
            agent: decision.agent.as_deref(),
            method: &decision.method,
            scheme: decision.scheme.as_deref(),
            host: &decision.host,
            port: decision.port,
            path: &decision.path,
            query: decision.query.as_deref(),
            decision: decision.decision,
            standing: self.standing().as_str(),
            reason: self.reason(),
            detail: decision.detail.as_deref().or(cut.and_then(|cut| cut.detail.as_deref())),
            // What cut it, where something did: the entry that let it go said nothing of that.
            rule: cut.map_or(&decision.rule, |cut| &cut.rule).as_deref(),
            would: decision.would.as_ref(),
            watched: (!decision.watched.is_empty()).then_some(&decision.watched),
            approval: decision.approval.as_ref(),
            credential: (!decision.credential.is_empty()).then(|| decision.credential.join(",")),
            placeholders: (!decision.placeholders.is_empty()).then(|| decision.placeholders.join(",")),
            cut: cut.map(|cut| cut.direction),
            findings: (!findings.is_empty()).then_some(findings),
            status: self.status(),
            request_bytes: outcome.map(|outcome| outcome.bytes_sent),
            bytes: outcome.map(|outcome| outcome.bytes_received),
            duration: outcome.map(|outcome| outcome.duration_ms),
            upstream: connected.or(decision.upstream.as_deref()),
            flags: outcome.map(|outcome| outcome.flags.as_str()),
            details: outcome.map(|outcome| outcome.details.as_str()),
            policy_revision: &decision.policy_revision,
            request_id: &decision.request_id,
            identity: decision.identity.as_deref(),
            source: decision.source.as_deref(),
            destination: decision.destination.as_deref(),
            decision_micros: decision.decision_micros,
            seq: *seq,
        }
        .serialize(serializer)
    }
}

/// Envoy's own answers carry a flag, but for that to a body of which nobody could say any more whether it may pass: the
/// upstream gave none.
fn is_envoys(outcome: &OutcomeRecord) -> bool {
    !outcome.flags.is_empty() || outcome.details.starts_with("ext_proc_error")
}
