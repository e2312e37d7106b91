//! What an exchange puts on record.

use super::{Exchange, Now};
use crate::pipeline::audit::{
    ApprovalNote, DecisionRecord, FindingNote, Verdict, Would, redacted_authority, redacted_query, redacted_target,
};
use crate::pipeline::dlp::finding::Finding;
use crate::pipeline::message::Door;
use crate::pipeline::policy::decision::{Class, Denial};

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

/// A text in which the first `count` parts are taken out, but for short words.
fn without_odd(text: &str, separator: char, count: usize) -> String {
    const WORD: usize = 16;
    let is_word = |part: &str| part.len() <= WORD && part.bytes().all(|b| b.is_ascii_lowercase() || b"-_".contains(&b));
    let is_version = |part: &str| part.len() <= 3 && part.starts_with('v');
    let parts = text.split(separator).enumerate().map(|(at, part)| match part {
        part if at >= count || is_word(part) || is_version(part) => part,
        _ => "***",
    });
    parts.collect::<Vec<_>>().join(&separator.to_string())
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
        self.take_out_what_was_found(&mut record);
        record
    }

    /// What was found in a path or host does not stand in the record of it.
    fn take_out_what_was_found(&self, record: &mut DecisionRecord) {
        let found = |parts: &[&str]| {
            let part =
                |note: &FindingNote| note.location.split([' ', '.']).next().is_some_and(|at| parts.contains(&at));
            self.look.notes.iter().any(part)
        };
        // What was found in the request as a whole may have a part there.
        if found(&["path", "request", "requests"]) {
            record.path = without_odd(&record.path, '/', usize::MAX).into();
        }
        if found(&["query", "request", "requests"]) {
            let named = record.query.iter().flat_map(|query| query.split('&'));
            let pairs = named.map(|pair| {
                let (name, value) = pair.split_at(pair.find('=').unwrap_or(pair.len()));
                without_odd(name, '.', usize::MAX) + value
            });
            record.query = record.query.is_some().then(|| pairs.collect::<Vec<_>>().join("&").into());
        }
        if found(&["host", "request", "requests"]) {
            let below = record.host.split('.').count().saturating_sub(2);
            record.host = without_odd(&record.host, '.', below).into();
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
