//! What an exchange puts on record.

use super::request::Request;
use super::{Exchange, Now};
use crate::pipeline::audit::{
    ApprovalNote, DecisionRecord, FindingNote, Verdict, Would, redacted_authority, redacted_query, redacted_target,
};
use crate::pipeline::dlp::finding::Finding;
use crate::pipeline::message::Door;
use crate::pipeline::policy::decision::{Class, Denial};
use crate::pipeline::untold::Words;

/// What a refusal counts as.
pub fn verdict(denial: &Denial) -> Verdict {
    match denial.reason.class() {
        Class::Unavailable => Verdict::Error,
        Class::RateLimited => Verdict::RateLimited,
        Class::Pending => Verdict::Pending,
        Class::Unauthenticated | Class::Denied | Class::Malformed => Verdict::Deny,
    }
}

/// What would have been enforced.
pub fn would(denial: &Denial) -> Would {
    Would { decision: verdict(denial), reason: denial.reason.as_str().into(), rule: denial.rule.clone() }
}

/// A finding as records write it.
pub fn note(finding: &Finding) -> FindingNote {
    FindingNote {
        rule: finding.rule.clone(),
        category: finding.category.to_string().into(),
        confidence: finding.confidence.as_str().into(),
        action: finding.action.as_str().into(),
        location: finding.location().into(),
        fingerprint: format!("{:016x}", finding.fingerprint).into(),
    }
}

impl Exchange {
    /// What is known of the request, whatever becomes of it.
    pub(super) fn record(&self, decision: Verdict, now: Now) -> DecisionRecord {
        let micros = now.monotonic.saturating_duration_since(self.started.monotonic).as_micros() as u64;
        let mut record = DecisionRecord {
            approval: self.approval_note(),
            findings: self.look.notes.clone(),
            decision_micros: micros,
            ..DecisionRecord::new("".into(), now.wall, decision, self.rules.revision.clone())
        };
        let Some(request) = &self.request else { return record };
        record.request_id = request.id.clone();
        record.source = request.source.clone();
        record.destination = request.destination.clone();
        if let Some(caller) = request.caller {
            record.agent = Some(self.rules.agents.name(caller.agent).clone());
            record.identity = Some(caller.how.as_str().into());
        }
        match &request.head {
            Ok(head) => {
                record.method = head.method.clone();
                record.host = head.authority.host.to_string().into();
                record.port = head.authority.port;
                record.scheme = (head.door == Door::Tls).then(|| "https".into());
                record.path = head.path.clone();
                record.query = head.query.as_deref().map(redacted_query);
            }
            Err(fields) => {
                let text = |name| String::from_utf8_lossy(fields.get(name).unwrap_or_default()).into_owned();
                record.method = text(":method").into();
                record.host = redacted_authority(&text(":authority")).into();
                (record.path, record.query) = redacted_target(&text(":path"));
            }
        }
        self.leave_out(request, &mut record);
        record
    }

    /// What was found in the words of a request does not stand in the record of it.
    fn leave_out(&self, request: &Request, record: &mut DecisionRecord) {
        let agent = request.caller.map(|caller| caller.agent);
        let finds = |text: &str| self.rules.finds(agent, text);
        let mut words = Words::from(record);
        if !self.look.notes.is_empty() {
            let places = self.look.notes.iter().filter_map(|note| note.location.split([' ', '.']).next());
            words.leave_out_found(places, finds);
        }
        if self.look.is_complete || self.rules.inspector.is_none() {
            return;
        }
        words.leave_out(finds);
        // Names are in small letters on record, and secrets rarely are.
        let said = [request.fields().get(":authority"), request.sni.as_deref().map(str::as_bytes)];
        if said.into_iter().flatten().any(|name| finds(&String::from_utf8_lossy(name))) {
            words.leave_out_found(std::iter::once("host"), finds);
        }
    }

    fn approval_note(&self) -> Option<ApprovalNote> {
        let ticket = self.question.ticket.clone()?;
        let answered = self.question.answered.as_ref();
        Some(ApprovalNote {
            ticket,
            by: answered.map(|answered| answered.by.clone()),
            why: answered.and_then(|answered| answered.why.clone()),
        })
    }
}
