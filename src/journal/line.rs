//! A record as its line: byte for byte what serde writes, which [`super::reader`] reads, at a quarter of its cost.
//!
//! serde_json looks at every byte of every key and value alone. Here a text is looked at as a whole, and copied where
//! there is nothing to escape, as there hardly ever is.

use std::time::SystemTime;

use serde::ser::Error;

use crate::pipeline::audit::{DecisionRecord, InspectionRecord, OutcomeRecord, Record, rfc3339};

/// What can be appended to a journal.
pub trait Line {
    /// Writes the record without the end of the line.
    fn write(&self, line: &mut Vec<u8>) -> serde_json::Result<()>;
}

impl Line for Record {
    fn write(&self, line: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            Self::Decision(decision) => decision.write(line),
            Self::Outcome(outcome) => outcome.write(line),
            // People are asked rarely: what this costs does not count.
            Self::Approval(_) => serde_json::to_writer(line, self),
            Self::Inspection(inspection) => inspection.write(line),
        }
    }
}

impl Line for DecisionRecord {
    fn write(&self, line: &mut Vec<u8>) -> serde_json::Result<()> {
        // Every field is named, so that none that is added to a record can be left out of its line.
        let Self {
            request_id,
            time,
            agent,
            identity,
            source,
            destination,
            method,
            scheme,
            host,
            port,
            path,
            query,
            decision,
            reason,
            detail,
            rule,
            would,
            watched,
            approval,
            credential,
            placeholders,
            findings,
            policy_revision,
            upstream,
            status,
            decision_micros,
        } = self;
        let mut object = Object::start(line, "decision");
        object.text("requestId", request_id)?;
        object.time("time", *time)?;
        object.text_or_null("agent", agent.as_deref())?;
        object.text_if_any("identity", identity.as_deref())?;
        object.text_if_any("source", source.as_deref())?;
        object.text_if_any("destination", destination.as_deref())?;
        object.text("method", method)?;
        object.text_or_null("scheme", scheme.as_deref())?;
        object.text("host", host)?;
        object.value("port", port)?;
        object.text("path", path)?;
        object.text_if_any("query", query.as_deref())?;
        object.text("decision", decision.as_str())?;
        object.text_or_null("reason", reason.as_deref())?;
        object.text_if_any("detail", detail.as_deref())?;
        object.text_or_null("rule", rule.as_deref())?;
        if let Some(would) = would {
            object.value("would", would)?;
        }
        if !watched.is_empty() {
            object.value("watched", watched)?;
        }
        if let Some(approval) = approval {
            object.value("approval", approval)?;
        }
        if !credential.is_empty() {
            object.value("credential", credential)?;
        }
        if !placeholders.is_empty() {
            object.value("placeholders", placeholders)?;
        }
        if !findings.is_empty() {
            object.value("findings", findings)?;
        }
        object.text("policyRevision", policy_revision)?;
        object.text_if_any("upstream", upstream.as_deref())?;
        if let Some(status) = status {
            object.value("status", status)?;
        }
        object.value("decisionMicros", decision_micros)?;
        object.end();
        Ok(())
    }
}

impl Line for InspectionRecord {
    fn write(&self, line: &mut Vec<u8>) -> serde_json::Result<()> {
        let Self { request_id, time, direction, action, reason, detail, rule, status, findings, bytes } = self;
        let mut object = Object::start(line, "inspection");
        object.text("requestId", request_id)?;
        object.time("time", *time)?;
        object.text("direction", direction.as_str())?;
        object.text("action", action.as_str())?;
        object.text_if_any("reason", reason.as_deref())?;
        object.text_if_any("detail", detail.as_deref())?;
        object.text_if_any("rule", rule.as_deref())?;
        if let Some(status) = status {
            object.value("status", status)?;
        }
        if !findings.is_empty() {
            object.value("findings", findings)?;
        }
        object.value("bytes", bytes)?;
        object.end();
        Ok(())
    }
}

impl Line for OutcomeRecord {
    fn write(&self, line: &mut Vec<u8>) -> serde_json::Result<()> {
        let Self { request_id, time, status, bytes_sent, bytes_received, duration_ms, upstream, flags, details, known } =
            self;
        let mut object = Object::start(line, "outcome");
        object.text("requestId", request_id)?;
        object.time("time", *time)?;
        object.value("status", status)?;
        object.value("bytesSent", bytes_sent)?;
        object.value("bytesReceived", bytes_received)?;
        object.value("durationMs", duration_ms)?;
        object.text_or_null("upstream", upstream.as_deref())?;
        object.text("flags", flags)?;
        object.text("details", details)?;
        if !known {
            object.value("known", known)?;
        }
        object.end();
        Ok(())
    }
}

/// A JSON object that is being written. Keys are ours and need no escape.
struct Object<'a>(&'a mut Vec<u8>);

impl<'a> Object<'a> {
    fn start(line: &'a mut Vec<u8>, kind: &str) -> Self {
        line.extend_from_slice(b"{\"type\":\"");
        line.extend_from_slice(kind.as_bytes());
        line.push(b'"');
        Self(line)
    }

    fn end(self) {
        self.0.push(b'}');
    }

    fn key(&mut self, key: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn text(&mut self, key: &str, text: &str) -> serde_json::Result<()> {
        // No early end: so the compiler looks at many bytes at once.
        let plain = |all: bool, byte: &u8| all & (*byte >= b' ') & (*byte != b'"') & (*byte != b'\\');
        if !text.as_bytes().iter().fold(true, plain) {
            return self.value(key, text);
        }
        self.plain_text(key, text.as_bytes());
        Ok(())
    }

    /// Writes a text that needs no escape.
    fn plain_text(&mut self, key: &str, text: &[u8]) {
        // Room for all at once: growing is looked for once a field and not five times.
        self.0.reserve(key.len() + text.len() + 6);
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":\"");
        self.0.extend_from_slice(text);
        self.0.push(b'"');
    }

    fn text_or_null(&mut self, key: &str, text: Option<&str>) -> serde_json::Result<()> {
        match text {
            Some(text) => self.text(key, text),
            None => self.value(key, &()),
        }
    }

    fn text_if_any(&mut self, key: &str, text: Option<&str>) -> serde_json::Result<()> {
        text.map_or(Ok(()), |text| self.text(key, text))
    }

    fn time(&mut self, key: &str, time: SystemTime) -> serde_json::Result<()> {
        let text = rfc3339::text(time).ok_or_else(|| Error::custom("a time that no record can hold"))?;
        self.plain_text(key, &text);
        Ok(())
    }

    fn value(&mut self, key: &str, value: &(impl serde::Serialize + ?Sized)) -> serde_json::Result<()> {
        self.key(key);
        serde_json::to_writer(&mut *self.0, value)
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::audit::{
        ApprovalEvent, ApprovalNote, ApprovalRecord, Direction, FindingNote, InspectionAction, Would,
    };
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::audit::Verdict;

    fn written(record: &Record) -> String {
        let mut line = Vec::new();
        record.write(&mut line).unwrap();
        String::from_utf8(line).unwrap()
    }

    fn decision(text: &str, some: bool, number: u64) -> DecisionRecord {
        let maybe = some.then_some(text);
        DecisionRecord {
            request_id: text.into(),
            time: SystemTime::UNIX_EPOCH + Duration::from_micros(number),
            agent: maybe.map(Into::into),
            identity: maybe.map(|text| text.to_owned().into()),
            source: maybe.map(Into::into),
            destination: maybe.map(Into::into),
            method: text.into(),
            scheme: maybe.map(|text| text.to_owned().into()),
            host: text.into(),
            port: some.then_some(number as u16),
            path: text.into(),
            query: maybe.map(Into::into),
            decision: [Verdict::Allow, Verdict::Deny, Verdict::RateLimited, Verdict::Pending, Verdict::Error]
                [number as usize % 5],
            reason: maybe.map(|text| text.to_owned().into()),
            detail: maybe.map(Into::into),
            rule: maybe.map(Into::into),
            would: maybe.map(|text| Would {
                decision: Verdict::RateLimited,
                reason: text.to_owned().into(),
                rule: number.is_multiple_of(2).then(|| text.into()),
            }),
            watched: maybe.into_iter().map(Arc::from).collect(),
            approval: maybe.map(|text| ApprovalNote {
                ticket: text.into(),
                by: number.is_multiple_of(2).then(|| text.into()),
                why: number.is_multiple_of(3).then(|| text.into()),
            }),
            credential: maybe.into_iter().flat_map(|text| [Arc::from(text), Arc::from("second")]).collect(),
            placeholders: maybe.into_iter().map(Arc::from).collect(),
            findings: maybe.into_iter().map(finding).collect(),
            policy_revision: text.into(),
            upstream: maybe.map(Into::into),
            status: some.then_some(number as u16),
            decision_micros: number,
        }
    }

    fn outcome(text: &str, some: bool, number: u64) -> OutcomeRecord {
        OutcomeRecord {
            request_id: text.into(),
            time: SystemTime::UNIX_EPOCH + Duration::from_micros(number),
            status: number as u16,
            bytes_sent: number,
            bytes_received: number / 3,
            duration_ms: (number % 1_000_000) as f64 / 8.0,
            upstream: some.then(|| text.into()),
            flags: text.into(),
            details: text.into(),
            known: some,
        }
    }

    fn finding(text: &str) -> FindingNote {
        FindingNote {
            rule: text.into(),
            category: text.into(),
            confidence: text.to_owned().into(),
            action: text.to_owned().into(),
            location: text.into(),
            fingerprint: text.into(),
        }
    }

    fn inspection(text: &str, some: bool, number: u64) -> InspectionRecord {
        let maybe = some.then_some(text);
        let actions = [InspectionAction::Blocked, InspectionAction::Redacted, InspectionAction::Monitored];
        InspectionRecord {
            request_id: text.into(),
            time: SystemTime::UNIX_EPOCH + Duration::from_micros(number),
            direction: if some { Direction::Request } else { Direction::Response },
            action: actions[number as usize % 3],
            reason: maybe.map(|text| text.to_owned().into()),
            detail: maybe.map(Into::into),
            rule: maybe.map(Into::into),
            status: some.then_some(number as u16),
            findings: maybe.into_iter().map(finding).collect(),
            bytes: number,
        }
    }

    fn approval(text: &str, some: bool, number: u64) -> ApprovalRecord {
        let maybe = some.then_some(text);
        ApprovalRecord {
            ticket: text.into(),
            time: SystemTime::UNIX_EPOCH + Duration::from_micros(number),
            event: [ApprovalEvent::Asked, ApprovalEvent::Approved, ApprovalEvent::Refused, ApprovalEvent::Expired]
                [number as usize % 4],
            agent: text.into(),
            method: text.into(),
            scheme: text.to_owned().into(),
            host: text.into(),
            port: number as u16,
            path: text.into(),
            query: maybe.map(Into::into),
            body_sha256: text.into(),
            rules: maybe.into_iter().map(Arc::from).collect(),
            fingerprint: maybe.map(Into::into),
            by: maybe.map(Into::into),
            why: maybe.map(Into::into),
            notify: maybe.into_iter().map(Arc::from).collect(),
        }
    }

    proptest! {
        #[test]
        fn a_line_is_what_serde_writes_and_reads(text in any::<String>(), some: bool, number in 0..1_u64 << 52) {
            let decision = Record::Decision(Box::new(decision(&text, some, number)));
            let outcome = Record::Outcome(Box::new(outcome(&text, some, number)));
            let approval = Record::Approval(Box::new(approval(&text, some, number)));
            let inspection = Record::Inspection(Box::new(inspection(&text, some, number)));
            for record in [decision, outcome, approval, inspection] {
                let line = written(&record);
                prop_assert_eq!(&line, &serde_json::to_string(&record).unwrap());
                prop_assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
            }
        }
    }

    #[test]
    fn everything_that_needs_an_escape_gets_one() {
        for text in ["\"", "\\", "\n", "\0", "\u{1f}", "a\"b", "\u{7f}", "é", "\u{2028}"] {
            let record = Record::Outcome(Box::new(outcome(text, true, 1)));
            assert_eq!(written(&record), serde_json::to_string(&record).unwrap(), "{text:?}");
        }
    }
}
