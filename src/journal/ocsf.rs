//! Records as events of the Open Cybersecurity Schema Framework 1.8.
//!
//! An [`Exchange`] is an HTTP Activity (4002), and where something was found in it a Data Security Finding (2006) beside
//! it. A TLS handshake that failed is a Network Activity (4001); a request that policy was bypassed for a Detection
//! Finding (2004) as well; what happens to a question to a person is an Entity Management (3004), and what the journal
//! says of itself a Base Event (0). What OCSF has no word for stands under `unmapped` with our names.

use std::net::SocketAddr;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::chain::Sealed;
use super::exchange::{Exchange, Standing};
use super::mark::Mark;
use crate::pipeline::audit::{
    ApprovalEvent, ApprovalRecord, DecisionRecord, FindingNote, InspectionAction, InspectionRecord, OutcomeRecord,
    Record, Verdict,
};

/// The version of OCSF that events have.
pub const VERSION: &str = "1.8.0";

/// The events of one exchange, as far as it is known.
pub fn events(exchange: &Exchange) -> Vec<Value> {
    let decision = &exchange.decision;
    let mut events = match &*decision.method {
        "TLS" => vec![handshake(exchange)],
        _ => vec![activity(exchange)],
    };
    let later = exchange.inspections.iter().flat_map(|inspection| &inspection.findings);
    let findings: Vec<_> = decision.findings.iter().chain(later).collect();
    if !findings.is_empty() {
        events.push(finding(exchange, &findings));
    }
    if exchange.standing() == Standing::Unreconciled {
        events.push(bypassed(decision));
    }
    let sequence = exchange.seq.map(|seq| json!({ "sequence": seq }));
    let placed = |mut event: Value| {
        if let (Some(metadata), Some(sequence)) = (event.get_mut("metadata"), &sequence) {
            *metadata = with(metadata.take(), sequence.clone());
        }
        without_nulls(event)
    };
    events.into_iter().map(placed).collect()
}

/// The events of a line of the journal, which belongs to this chain; none where it is no line of ours.
pub fn line(line: &[u8], chain: &str) -> Vec<Value> {
    let Some(sealed) = Sealed::parse(line) else { return Vec::new() };
    let mut events = match serde_json::from_slice(line) {
        Ok(read) => record(&read),
        Err(_) => serde_json::from_slice(line).map(|read| vec![mark(&read)]).unwrap_or_default(),
    };
    for event in &mut events {
        place(event, chain, sealed.seq);
    }
    events
}

/// The events of a single record, for who has to pass it on before the rest of its exchange is known.
/// `metadata.correlation_uid` joins them.
pub fn record(record: &Record) -> Vec<Value> {
    match record {
        Record::Decision(decision) => events(&Exchange::new((**decision).clone())),
        Record::Outcome(outcome) => vec![without_nulls(end(outcome))],
        Record::Inspection(inspection) => vec![without_nulls(inspected(inspection))],
        Record::Approval(approval) => vec![without_nulls(asked(approval))],
    }
}

/// The event of what the journal says of itself.
pub fn mark(mark: &Mark) -> Value {
    let (name, time) = match mark {
        Mark::Segment(segment) => ("segment", segment.time),
        Mark::Checkpoint(checkpoint) => ("checkpoint", checkpoint.time),
        Mark::Retention(retention) => ("retention", retention.time),
        Mark::Clock(clock) => ("clock", clock.time),
    };
    let class = Class { uid: 0, name: "Base Event", category: (0, "Uncategorized"), profiles: &[] };
    let event = class.event((99, name), Severity::Informational, time, None);
    let own = serde_json::to_value(mark).unwrap_or_default();
    without_nulls(with(event, json!({ "message": format!("the journal's {name}"), "unmapped": own })))
}

/// Names the line that an event comes from: its chain and its number in it.
pub fn place(event: &mut Value, chain: &str, seq: u64) {
    if let Some(metadata) = event.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("sequence".into(), seq.into());
        metadata.insert("original_event_uid".into(), format!("{chain}/{seq}").into());
    }
}

/// What an agent asked for, and what came of it.
fn activity(exchange: &Exchange) -> Value {
    let Exchange { decision, outcome, .. } = exchange;
    let known = outcome.as_ref().filter(|outcome| outcome.known);
    let class = Class {
        uid: 4002,
        name: "HTTP Activity",
        category: (4, "Network Activity"),
        profiles: &["host", "security_control"],
    };
    let event = class.event(method(&decision.method), severity(exchange), decision.time, Some(&decision.request_id));
    let event = with(event, network(exchange));
    let request = json!({
        "http_method": http_method(&decision.method),
        "uid": decision.request_id,
        "url": url(&decision.host, decision.scheme.as_deref(), decision.port, &decision.path, decision.query.as_deref()),
        "body_length": known.map(|outcome| outcome.bytes_sent),
    });
    let response = exchange
        .status()
        .map(|status| json!({ "code": status, "body_length": known.map(|outcome| outcome.bytes_received) }));
    with(event, json!({ "http_request": request, "http_response": response }))
}

/// A handshake that came to no request.
fn handshake(exchange: &Exchange) -> Value {
    let decision = &exchange.decision;
    let class = Class {
        uid: 4001,
        name: "Network Activity",
        category: (4, "Network Activity"),
        profiles: &["host", "security_control"],
    };
    let activity = if decision.reason.as_deref() == Some("handshake_failed") { (4, "Fail") } else { (5, "Refuse") };
    let event = class.event(activity, severity(exchange), decision.time, Some(&decision.request_id));
    with(event, network(exchange))
}

/// What events of the network have in common.
fn network(exchange: &Exchange) -> Value {
    let Exchange { decision, outcome, .. } = exchange;
    let known = outcome.as_ref().filter(|outcome| outcome.known);
    let (status_id, status) = match exchange.standing() {
        Standing::Allowed if known.is_some() && exchange.status().is_some_and(|status| status < 400) => (1, "Success"),
        Standing::Allowed if known.is_none() => (0, "Unknown"),
        Standing::Unknown => (0, "Unknown"),
        Standing::Allowed | Standing::Blocked | Standing::Failed => (2, "Failure"),
        Standing::Unreconciled => (99, "Bypassed"),
    };
    let upstream = known.and_then(|outcome| outcome.upstream.as_deref()).or(decision.upstream.as_deref());
    let traffic = known.map(|outcome| {
        json!({
            "bytes_out": outcome.bytes_sent,
            "bytes_in": outcome.bytes_received,
            "bytes": outcome.bytes_sent.saturating_add(outcome.bytes_received),
        })
    });
    let common = json!({
        "status_id": status_id,
        "status": status,
        "status_code": exchange.status().map(|status| status.to_string()),
        "status_detail": exchange.reason(),
        "message": message(exchange),
        "start_time": millis(decision.time),
        "end_time": known.map(|outcome| millis(outcome.time)),
        "duration": known.map(|outcome| outcome.duration_ms.round() as i64),
        "src_endpoint": source(decision),
        "dst_endpoint": destination(&decision.host, decision.port, upstream),
        "connection_info": { "direction_id": 2, "direction": "Outbound", "protocol_name": "tcp" },
        "traffic": traffic,
        "is_alert": exchange.standing() == Standing::Unreconciled,
        "unmapped": own(exchange),
    });
    with(common, control(exchange))
}

/// Something was found that is not to leave, or not to come in.
fn finding(exchange: &Exchange, findings: &[&FindingNote]) -> Value {
    let decision = &exchange.decision;
    let upstream = exchange.outcome.as_ref().and_then(|outcome| outcome.upstream.as_deref());
    let event = found(&decision.request_id, decision.time, findings, &decision.policy_revision);
    let target = format!("{} {}{}", decision.method, decision.host, decision.path);
    let more = json!({
        "message": format!("{} in `{target}`: {}", findings_of(findings), kinds(findings).join(", ")),
        "src_endpoint": source(decision),
        "dst_endpoint": destination(&decision.host, decision.port, upstream.or(decision.upstream.as_deref())),
        "status_detail": exchange.reason(),
    });
    with(with(event, more), control(exchange))
}

/// The same of an inspection alone: the decision that it belongs to says who asked for what.
fn inspected(inspection: &InspectionRecord) -> Value {
    let findings: Vec<_> = inspection.findings.iter().collect();
    let event = found(&inspection.request_id, inspection.time, &findings, "");
    let (action, disposition) = match inspection.action {
        InspectionAction::Blocked => ((2, "Denied"), (2, "Blocked")),
        InspectionAction::Redacted => ((4, "Modified"), (11, "Corrected")),
        InspectionAction::Monitored => ((3, "Observed"), (15, "Detected")),
    };
    let more = json!({
        "message": format!("{} in a {}", findings_of(&findings), inspection.direction.as_str()),
        "action_id": action.0,
        "action": action.1,
        "disposition_id": disposition.0,
        "disposition": disposition.1,
        "status_detail": inspection.reason,
        "firewall_rule": inspection.rule.as_ref().map(|rule| json!({ "name": rule, "uid": rule })),
    });
    with(event, more)
}

fn found(request_id: &str, time: SystemTime, findings: &[&FindingNote], revision: &str) -> Value {
    let class =
        Class { uid: 2006, name: "Data Security Finding", category: (2, "Findings"), profiles: &["security_control"] };
    let blocked = findings.iter().any(|finding| finding.action == "block");
    let sure = findings.iter().map(|finding| confidence(&finding.confidence)).max().unwrap_or((0, "Unknown"));
    let severity = match blocked {
        true => Severity::High,
        false if findings.iter().any(|finding| finding.action == "redact") => Severity::Medium,
        false => Severity::Low,
    };
    let mut rules: Vec<&str> = findings.iter().map(|finding| &*finding.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    let analytic = |rule: &&str| json!({ "name": rule, "uid": rule, "type_id": 1, "type": "Rule" });
    let more = rules.get(1..).unwrap_or_default();
    let category = findings.first().map_or((0, "Unknown"), |finding| data_category(&finding.category));
    let event = class.event((1, "Create"), severity, time, Some(request_id));
    with(
        event,
        json!({
            "status_id": 1,
            "status": "New",
            "is_alert": blocked,
            "confidence_id": sure.0,
            "confidence": sure.1,
            "count": findings.len(),
            "finding_info": {
                "uid": format!("{request_id}/findings"),
                "title": format!("{}: {}", findings_of(findings), kinds(findings).join(", ")),
                "types": kinds(findings),
                "created_time": millis(time),
                "analytic": rules.first().map(analytic),
                "related_analytics": (!more.is_empty()).then(|| more.iter().map(analytic).collect::<Vec<_>>()),
            },
            "data_security": {
                "category_id": category.0,
                "category": category.1,
                "data_lifecycle_state_id": 2,
                "data_lifecycle_state": "Data in-Transit",
                "detection_system_id": 2,
                "detection_system": "DLP Gateway",
                "detection_pattern": rules.first(),
                "total": findings.len(),
                "policy": (!revision.is_empty()).then(|| policy(revision)),
            },
            "unmapped": { "findings": findings },
        }),
    )
}

/// Envoy forwarded what nobody decided.
fn bypassed(decision: &DecisionRecord) -> Value {
    let class =
        Class { uid: 2004, name: "Detection Finding", category: (2, "Findings"), profiles: &["security_control"] };
    let event = class.event((1, "Create"), Severity::Critical, decision.time, Some(&decision.request_id));
    let title = "a request was forwarded without a decision";
    let rule = "unreconciled";
    with(
        event,
        json!({
            "status_id": 1,
            "status": "New",
            "is_alert": true,
            "message": format!("{title}: `{} {}{}`", decision.method, decision.host, decision.path),
            "action_id": 3,
            "action": "Observed",
            "disposition_id": 19,
            "disposition": "Alert",
            "finding_info": {
                "uid": format!("{}/{rule}", decision.request_id),
                "title": title,
                "created_time": millis(decision.time),
                "analytic": { "name": rule, "uid": rule, "type_id": 1, "type": "Rule" },
            },
            "unmapped": { "agent": decision.agent, "source": decision.source, "destination": decision.destination, "detail": decision.detail },
        }),
    )
}

/// What Envoy said of an exchange's end, where nothing else of it is at hand.
fn end(outcome: &OutcomeRecord) -> Value {
    let class = Class {
        uid: 4002,
        name: "HTTP Activity",
        category: (4, "Network Activity"),
        profiles: &["host", "security_control"],
    };
    let event = class.event((0, "Unknown"), Severity::Informational, outcome.time, Some(&outcome.request_id));
    let (status_id, status) = match outcome.status {
        _ if !outcome.known => (0, "Unknown"),
        1..400 => (1, "Success"),
        _ => (2, "Failure"),
    };
    let response =
        (outcome.status != 0).then(|| json!({ "code": outcome.status, "body_length": outcome.bytes_received }));
    let more = json!({
        "message": "the end of an exchange",
        "status_id": status_id,
        "status": status,
        "status_code": (outcome.status != 0).then(|| outcome.status.to_string()),
        "duration": outcome.known.then_some(outcome.duration_ms.round() as i64),
        "http_request": { "uid": outcome.request_id, "body_length": outcome.known.then_some(outcome.bytes_sent) },
        "http_response": response,
        "dst_endpoint": outcome.upstream.as_deref().and_then(|upstream| destination("", None, Some(upstream))),
        "unmapped": { "type": "outcome", "flags": outcome.flags, "details": outcome.details, "known": outcome.known },
    });
    with(event, more)
}

/// What happened to a question that a person was asked.
fn asked(approval: &ApprovalRecord) -> Value {
    let class =
        Class { uid: 3004, name: "Entity Management", category: (3, "Identity & Access Management"), profiles: &[] };
    let (activity, did) = match approval.event {
        ApprovalEvent::Asked => ((1, "Create"), "asked for"),
        ApprovalEvent::Approved => ((10, "Activate"), "approved"),
        ApprovalEvent::Refused => ((11, "Deactivate"), "refused"),
        ApprovalEvent::Expired => ((99, "Expire"), "expired"),
    };
    let severity = Severity::Informational;
    let event = class.event(activity, severity, approval.time, Some(&format!("{}/{}", approval.ticket, activity.1)));
    let target = format!("{} {}{}", approval.method, approval.host, approval.path);
    let who = match (&approval.by, approval.event) {
        (Some(by), _) => Some(json!({ "user": { "name": by, "type_id": 1, "type": "User" } })),
        (None, ApprovalEvent::Asked) => Some(agent(&approval.agent)),
        (None, _) => None,
    };
    let more = json!({
        "message": format!("approval {did}: `{target}`"),
        "status_id": 1,
        "status": "Success",
        "comment": approval.why,
        "actor": who,
        "entity": { "uid": approval.ticket, "name": approval.ticket, "type_id": 99, "type": "Approval" },
        "http_request": {
            "http_method": http_method(&approval.method),
            "url": url(
                &approval.host,
                Some(&approval.scheme),
                Some(approval.port),
                &approval.path,
                approval.query.as_deref(),
            ),
        },
        "unmapped": {
            "agent": approval.agent,
            "rules": approval.rules,
            "bodySha256": approval.body_sha256,
            "fingerprint": approval.fingerprint,
        },
    });
    let mut event = with(event, more);
    if let Some(metadata) = event.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("correlation_uid".into(), (*approval.ticket).into());
    }
    event
}

/// A class of OCSF.
struct Class {
    uid: u32,
    name: &'static str,
    category: (u32, &'static str),
    profiles: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Severity {
    Informational = 1,
    Low,
    Medium,
    High,
    Critical,
}

impl Class {
    /// What every event has.
    fn event(&self, activity: (u32, &str), severity: Severity, time: SystemTime, uid: Option<&str>) -> Value {
        let severity_name = match severity {
            Severity::Informational => "Informational",
            Severity::Low => "Low",
            Severity::Medium => "Medium",
            Severity::High => "High",
            Severity::Critical => "Critical",
        };
        json!({
            "activity_id": activity.0,
            "activity_name": activity.1,
            "category_uid": self.category.0,
            "category_name": self.category.1,
            "class_uid": self.uid,
            "class_name": self.name,
            "type_uid": u64::from(self.uid) * 100 + u64::from(activity.0),
            "type_name": format!("{}: {}", self.name, activity.1),
            "severity_id": severity as u8,
            "severity": severity_name,
            "time": millis(time),
            "metadata": {
                "version": VERSION,
                "product": {
                    "name": "Attaché",
                    "vendor_name": "Attaché",
                    "uid": "attache",
                    "version": env!("CARGO_PKG_VERSION"),
                },
                "profiles": (!self.profiles.is_empty()).then_some(self.profiles),
                "log_name": "journal",
                "uid": uid.map(|uid| match self.uid {
                    4002 | 4001 => uid.to_owned(),
                    class => format!("{uid}/{class}"),
                }),
                "correlation_uid": uid,
            },
        })
    }
}

fn method(method: &str) -> (u32, &str) {
    match method {
        "CONNECT" => (1, "Connect"),
        "DELETE" => (2, "Delete"),
        "GET" => (3, "Get"),
        "HEAD" => (4, "Head"),
        "OPTIONS" => (5, "Options"),
        "POST" => (6, "Post"),
        "PUT" => (7, "Put"),
        "TRACE" => (8, "Trace"),
        "PATCH" => (9, "Patch"),
        "" => (0, "Unknown"),
        other => (99, other),
    }
}

/// A method that OCSF has a word for.
fn http_method(text: &str) -> Option<&str> {
    (1..=9).contains(&method(text).0).then_some(text)
}

fn severity(exchange: &Exchange) -> Severity {
    match (exchange.standing(), exchange.decision.decision) {
        (Standing::Unreconciled, _) => Severity::Critical,
        (_, Verdict::Error) => Severity::High,
        (_, Verdict::RateLimited | Verdict::Pending) => Severity::Low,
        (Standing::Blocked, _) => Severity::Medium,
        (Standing::Failed | Standing::Unknown, _) => Severity::Low,
        (Standing::Allowed, _) => Severity::Informational,
    }
}

/// What policy had to do with it: the profile `security_control`, and who asked.
fn control(exchange: &Exchange) -> Value {
    let decision = &exchange.decision;
    let redacted = decision.findings.iter().any(|finding| finding.action == "redact")
        || exchange.inspections.iter().any(|inspection| inspection.action == InspectionAction::Redacted);
    let (action, disposition) = match decision.decision {
        _ if exchange.standing() == Standing::Unreconciled => ((3, "Observed"), (19, "Alert")),
        Verdict::Allow if exchange.cut().is_some() => ((2, "Denied"), (2, "Blocked")),
        Verdict::Allow if redacted => ((4, "Modified"), (11, "Corrected")),
        Verdict::Allow if decision.would.is_some() => ((3, "Observed"), (17, "Logged")),
        Verdict::Allow if decision.approval.is_some() => ((1, "Allowed"), (8, "Approved")),
        Verdict::Allow => ((1, "Allowed"), (1, "Allowed")),
        Verdict::Deny => ((2, "Denied"), (2, "Blocked")),
        Verdict::RateLimited => ((2, "Denied"), (25, "Rejected")),
        Verdict::Pending => ((2, "Denied"), (99, "Pending")),
        Verdict::Error => ((2, "Denied"), (27, "Error")),
    };
    let rule = exchange.cut().and_then(|cut| cut.rule.as_ref()).or(decision.rule.as_ref());
    json!({
        "action_id": action.0,
        "action": action.1,
        "disposition_id": disposition.0,
        "disposition": disposition.1,
        "actor": decision.agent.as_deref().map(agent),
        "policy": policy(&decision.policy_revision),
        "firewall_rule": rule.map(|rule| json!({ "name": rule, "uid": rule, "condition": exchange.reason() })),
    })
}

fn agent(name: &str) -> Value {
    json!({ "app_name": name, "user": { "name": name, "type_id": 4, "type": "Service" } })
}

fn policy(revision: &str) -> Value {
    json!({ "name": "attache", "uid": revision })
}

/// What OCSF has no word for.
fn own(exchange: &Exchange) -> Value {
    let Exchange { decision, inspections, outcome, .. } = exchange;
    let some = |names: &[_]| (!names.is_empty()).then(|| json!(names));
    let credential = some(&decision.credential);
    let placeholders = some(&decision.placeholders);
    let watched = some(&decision.watched);
    json!({
        "decision": decision.decision.as_str(),
        "standing": exchange.standing().as_str(),
        "reason": exchange.reason(),
        "detail": decision.detail.as_deref().or(exchange.cut().and_then(|cut| cut.detail.as_deref())),
        "method": (method(&decision.method).0 == 99).then_some(&decision.method),
        "identity": decision.identity,
        "destination": decision.destination,
        "would": decision.would,
        "watched": watched,
        "approval": decision.approval,
        "credential": credential,
        "placeholders": placeholders,
        "cut": exchange.cut().map(|cut| cut.direction.as_str()),
        "inspectedBytes": inspections.iter().map(|inspection| inspection.bytes).max(),
        "flags": outcome.as_ref().map(|outcome| &outcome.flags),
        "details": outcome.as_ref().map(|outcome| &outcome.details),
        "decisionMicros": decision.decision_micros,
    })
}

fn message(exchange: &Exchange) -> String {
    let decision = &exchange.decision;
    let who = decision.agent.as_deref().unwrap_or("an unknown agent");
    let standing = exchange.standing().as_str();
    let why = exchange.reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("{who}: {} {}{}: {standing}{why}", decision.method, decision.host, decision.path)
}

fn url(host: &str, scheme: Option<&str>, port: Option<u16>, path: &str, query: Option<&str>) -> Value {
    let authority = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let other_port = port.filter(|port| !matches!((scheme, port), (Some("https"), 443) | (Some("http"), 80)));
    let shown_port = other_port.map(|port| format!(":{port}")).unwrap_or_default();
    let shown_query = query.map(|query| format!("?{query}")).unwrap_or_default();
    json!({
        "url_string": scheme.map(|scheme| format!("{scheme}://{authority}{shown_port}{path}{shown_query}")),
        "scheme": scheme,
        "hostname": (!host.is_empty()).then_some(host),
        "port": port,
        "path": path,
        "query_string": query,
    })
}

fn source(decision: &DecisionRecord) -> Option<Value> {
    let address: Option<SocketAddr> = decision.source.as_deref().and_then(|source| source.parse().ok());
    match (address, &decision.agent) {
        (None, None) => None,
        (address, agent) => Some(json!({
            "ip": address.map(|address| address.ip().to_string()),
            "port": address.map(|address| address.port()),
            "name": agent,
        })),
    }
}

fn destination(host: &str, port: Option<u16>, upstream: Option<&str>) -> Option<Value> {
    let address: Option<SocketAddr> = upstream.and_then(|upstream| upstream.parse().ok());
    if host.is_empty() && address.is_none() {
        return None;
    }
    Some(json!({
        "hostname": (!host.is_empty()).then_some(host),
        "ip": address.map(|address| address.ip().to_string()),
        "port": port.or(address.map(|address| address.port())),
    }))
}

fn findings_of(findings: &[&FindingNote]) -> String {
    match findings.len() {
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    }
}

fn kinds<'a>(findings: &[&'a FindingNote]) -> Vec<&'a str> {
    let mut kinds: Vec<&str> = findings.iter().map(|finding| &*finding.category).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

fn confidence(confidence: &str) -> (u8, &'static str) {
    match confidence {
        "low" => (1, "Low"),
        "medium" => (2, "Medium"),
        "high" | "confirmed" => (3, "High"),
        _ => (0, "Unknown"),
    }
}

fn data_category(category: &str) -> (u8, &'static str) {
    match category {
        "pii.financial" => (3, "Financial"),
        "pii.govId" | "pii.contact" | "pii.health" => (1, "Personal"),
        "credentials" | "crypto" | "knownSecret" | "canary" => (6, "Security"),
        _ => (99, "Other"),
    }
}

/// In milliseconds since 1970, as OCSF counts time.
fn millis(time: SystemTime) -> i64 {
    jiff::Timestamp::try_from(time).map_or(0, jiff::Timestamp::as_millisecond)
}

fn with(mut event: Value, more: Value) -> Value {
    if let (Value::Object(event), Value::Object(more)) = (&mut event, more) {
        event.extend(more);
    }
    event
}

/// OCSF leaves out what is not known.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(members.map(|(key, value)| (key, without_nulls(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests;
