//! What is on record about a request, made up.

use std::time::SystemTime;

use attache::pipeline::audit::{DecisionRecord, OutcomeRecord, Verdict};

/// A decision; one in forty refuses.
pub fn decision(number: u64) -> DecisionRecord {
    let id = format!("{number:08x}-1b2c-4d5e-8f90-1234567890ab").as_str().into();
    let mut record = DecisionRecord::new(id, SystemTime::now(), Verdict::Allow, "0123456789abcdef".into());
    record.agent = Some(format!("agent-{}", number % 50).into());
    record.identity = Some("token".into());
    record.source = Some("10.1.2.3:45678".into());
    (record.method, record.scheme, record.port) = ("POST".into(), Some("https".into()), Some(443));
    record.host = format!("api-{}.example.com", number % 200).into();
    (record.path, record.query) = ("/v1/chat/completions".into(), Some("stream=***".into()));
    record.rule = Some("allowedDomains[17]".into());
    record.credential = vec!["openai".into()];
    record.upstream = Some("192.0.2.7:443".into());
    record.decision_micros = 83;
    if number.is_multiple_of(40) {
        (record.decision, record.reason, record.status) = (Verdict::Deny, Some("route_not_allowed".into()), Some(403));
    }
    record
}

/// What became of it.
pub fn outcome(number: u64) -> OutcomeRecord {
    OutcomeRecord {
        request_id: format!("{number:08x}-1b2c-4d5e-8f90-1234567890ab").as_str().into(),
        time: SystemTime::now(),
        status: 200,
        bytes_sent: 1234,
        bytes_received: 5678,
        duration_ms: 412.7,
        upstream: Some("192.0.2.7:443".into()),
        flags: String::new(),
        details: "via_upstream".into(),
        known: true,
    }
}
