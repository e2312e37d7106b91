use std::sync::LazyLock;
use std::time::Duration;

use jsonschema::Validator;
use proptest::prelude::*;

use super::super::chain::{Hash, Link};
use super::super::checkpoint::PublicKey;
use super::super::mark::{Clock, Retention, Segment};
use super::*;
use crate::pipeline::audit::{ApprovalNote, Direction, Would};

const CLASSES: [(u64, &str); 6] = [
    (4002, include_str!("../../../tests/ocsf/http_activity.json")),
    (2006, include_str!("../../../tests/ocsf/data_security_finding.json")),
    (4001, include_str!("../../../tests/ocsf/network_activity.json")),
    (2004, include_str!("../../../tests/ocsf/detection_finding.json")),
    (3004, include_str!("../../../tests/ocsf/entity_management.json")),
    (0, include_str!("../../../tests/ocsf/base_event.json")),
];

/// What the schema of its class says against an event.
fn refusals(event: &Value) -> Vec<String> {
    static SCHEMAS: LazyLock<Vec<(u64, Validator)>> = LazyLock::new(|| {
        let read = |(uid, text): (u64, &str)| {
            (uid, jsonschema::draft202012::new(&serde_json::from_str(text).unwrap()).unwrap())
        };
        CLASSES.map(read).into()
    });
    let class = event["class_uid"].as_u64().unwrap();
    let (_, schema) = SCHEMAS.iter().find(|(uid, _)| *uid == class).unwrap();
    let mut refusals: Vec<_> =
        schema.iter_errors(event).map(|error| format!("{}: {error}", error.instance_path())).collect();
    // What no JSON Schema says.
    if event["type_uid"].as_u64() != Some(class * 100 + event["activity_id"].as_u64().unwrap()) {
        refusals.push("type_uid is class_uid * 100 + activity_id".into());
    }
    refusals
}

fn check(events: &[Value]) {
    for event in events {
        let refusals = refusals(event);
        assert!(refusals.is_empty(), "{refusals:#?}\n{event:#}");
    }
}

fn full(decision: Verdict) -> DecisionRecord {
    DecisionRecord {
        agent: Some("ann".into()),
        identity: Some("token".into()),
        source: Some("10.0.0.7:50000".into()),
        method: "POST".into(),
        scheme: Some("https".into()),
        host: "api.example".into(),
        port: Some(443),
        path: "/v1/chat".into(),
        query: Some("a=***".into()),
        reason: (decision != Verdict::Allow).then(|| "not_allowed".into()),
        rule: Some("api".into()),
        credential: vec!["key".into()],
        upstream: Some("[2001:db8::1]:443".into()),
        status: (decision != Verdict::Allow).then_some(403),
        ..DecisionRecord::new("r1".into(), SystemTime::UNIX_EPOCH + Duration::from_millis(1234), decision, "rev".into())
    }
}

fn ended() -> OutcomeRecord {
    OutcomeRecord {
        status: 200,
        bytes_sent: 10,
        bytes_received: 20,
        duration_ms: 3.6,
        upstream: Some("192.0.2.1:443".into()),
        details: "via_upstream".into(),
        known: true,
        ..OutcomeRecord::unknown("r1".into(), SystemTime::UNIX_EPOCH + Duration::from_secs(2))
    }
}

fn note(category: &str, action: &str) -> FindingNote {
    FindingNote {
        rule: format!("{category}-rule").into(),
        category: category.into(),
        confidence: "confirmed".into(),
        action: action.to_owned().into(),
        location: "body.$.a".into(),
        fingerprint: "00ff".into(),
    }
}

fn inspection(action: InspectionAction) -> InspectionRecord {
    InspectionRecord {
        request_id: "r1".into(),
        time: SystemTime::UNIX_EPOCH,
        direction: Direction::Response,
        action,
        reason: Some("blocked_by_dlp".into()),
        detail: None,
        rule: Some("secrets".into()),
        status: None,
        findings: vec![note("pii.govId", "block"), note("credentials", "monitor")],
        bytes: 7,
    }
}

fn allowed() -> Exchange {
    Exchange { outcome: Some(ended()), seq: Some(7), ..Exchange::new(full(Verdict::Allow)) }
}

#[test]
fn an_exchange_is_an_http_activity() {
    let events = events(&allowed());
    check(&events);
    let [event] = &*events else { panic!("{events:#?}") };
    for (path, expected) in [
        ("/class_uid", json!(4002)),
        ("/type_uid", json!(400_206)),
        ("/time", json!(1234)),
        ("/duration", json!(4)),
        ("/action", json!("Allowed")),
        ("/disposition", json!("Allowed")),
        ("/status", json!("Success")),
        ("/actor/app_name", json!("ann")),
        ("/src_endpoint/ip", json!("10.0.0.7")),
        ("/dst_endpoint", json!({"hostname": "api.example", "ip": "192.0.2.1", "port": 443})),
        ("/http_request/url/url_string", json!("https://api.example/v1/chat?a=***")),
        ("/http_response/code", json!(200)),
        ("/traffic", json!({"bytes": 30, "bytes_in": 20, "bytes_out": 10})),
        ("/policy/uid", json!("rev")),
        ("/firewall_rule/name", json!("api")),
        ("/metadata/version", json!("1.8.0")),
        ("/metadata/uid", json!("r1")),
        ("/metadata/sequence", json!(7)),
        ("/unmapped/credential", json!(["key"])),
    ] {
        assert_eq!(event.pointer(path), Some(&expected), "{path}\n{event:#}");
    }
}

#[test]
fn what_was_enforced_is_action_and_disposition() {
    let would = Would { decision: Verdict::Deny, reason: "not_allowed".into(), rule: None };
    let approval = ApprovalNote { ticket: "apr_1".into(), by: Some("eve".into()), why: None };
    type Change<'a> = &'a dyn Fn(&mut Exchange);
    let cases: [(&str, Change<'_>, [&str; 3]); 10] = [
        ("deny", &|e| e.decision = full(Verdict::Deny), ["Denied", "Blocked", "Medium"]),
        ("limit", &|e| e.decision = full(Verdict::RateLimited), ["Denied", "Rejected", "Low"]),
        ("pending", &|e| e.decision = full(Verdict::Pending), ["Denied", "Pending", "Low"]),
        ("error", &|e| e.decision = full(Verdict::Error), ["Denied", "Error", "High"]),
        ("watched", &|e| e.decision.would = Some(would.clone()), ["Observed", "Logged", "Informational"]),
        ("approved", &|e| e.decision.approval = Some(approval.clone()), ["Allowed", "Approved", "Informational"]),
        ("cut", &|e| e.inspections.push(inspection(InspectionAction::Blocked)), ["Denied", "Blocked", "Medium"]),
        (
            "redacted",
            &|e| e.inspections.push(inspection(InspectionAction::Redacted)),
            ["Modified", "Corrected", "Informational"],
        ),
        ("open", &|e| e.outcome = None, ["Allowed", "Allowed", "Informational"]),
        (
            "unknown",
            &|e| e.outcome = Some(OutcomeRecord::unknown("r1".into(), SystemTime::UNIX_EPOCH)),
            ["Allowed", "Allowed", "Low"],
        ),
    ];
    for (name, change, [action, disposition, severity]) in cases {
        let mut exchange = allowed();
        change(&mut exchange);
        let events = events(&exchange);
        check(&events);
        let is = |key: &str| events[0][key].as_str().unwrap().to_owned();
        assert_eq!([is("action"), is("disposition"), is("severity")], [action, disposition, severity], "{name}");
    }
}

#[test]
fn what_was_found_is_a_finding_without_what_it_was() {
    let mut exchange = allowed();
    exchange.decision.findings = vec![note("credentials", "redact")];
    exchange.inspections.push(inspection(InspectionAction::Blocked));
    let events = events(&exchange);
    check(&events);
    let [_, finding] = &*events else { panic!("{events:#?}") };
    assert_eq!(finding["class_uid"], 2006);
    assert_eq!(finding["count"], 3);
    assert_eq!(finding["severity"], "High");
    assert_eq!(finding["finding_info"]["types"], json!(["credentials", "pii.govId"]));
    assert_eq!(finding["finding_info"]["related_analytics"][0]["name"], "pii.govId-rule");
    assert_eq!(finding["metadata"]["correlation_uid"], "r1");
    assert_ne!(finding["metadata"]["uid"], events[0]["metadata"]["uid"], "each event has an id of its own");
}

#[test]
fn a_handshake_is_no_request_and_a_bypass_is_an_alarm() {
    for (reason, activity) in [("handshake_failed", "Fail"), ("certificate_refused", "Refuse")] {
        let mut decision = full(Verdict::Deny);
        (decision.method, decision.reason) = ("TLS".into(), Some(reason.into()));
        let events = record(&Record::Decision(Box::new(decision)));
        check(&events);
        assert_eq!((&events[0]["class_uid"], &events[0]["activity_name"]), (&json!(4001), &json!(activity)));
    }
    let mut decision = full(Verdict::Error);
    decision.reason = Some("unreconciled".into());
    let events = record(&Record::Decision(Box::new(decision)));
    check(&events);
    let classes: Vec<_> = events.iter().map(|event| event["class_uid"].as_u64().unwrap()).collect();
    assert_eq!(classes, [4002, 2004]);
    assert!(events.iter().all(|event| event["severity"] == "Critical" && event["is_alert"] == true));
}

#[test]
fn every_other_record_and_mark_is_an_event_too() {
    let link = Link { chain: "c".into(), seq: 1, hash: Hash::default() };
    let key = PublicKey::parse(&format!("{}=", "A".repeat(43))).unwrap();
    let time = SystemTime::UNIX_EPOCH;
    let marks = [
        Mark::Segment(Segment {
            time,
            segment: 1,
            chain: "c".into(),
            after: None,
            public_key: key,
            version: "0".into(),
        }),
        Mark::Checkpoint(super::super::checkpoint::Key::generate().unwrap().sign(link.clone(), time, true)),
        Mark::Retention(Retention { time, segments: (0, 1), through: Some(link), bytes: 3 }),
        Mark::Clock(Clock { time, expected: time }),
    ];
    check(&marks.each_ref().map(mark));
    for event in [ApprovalEvent::Asked, ApprovalEvent::Approved, ApprovalEvent::Refused, ApprovalEvent::Expired] {
        for by in [None, Some("eve".into())] {
            check(&record(&Record::Approval(Box::new(approval(event, by)))));
        }
    }
    for action in [InspectionAction::Blocked, InspectionAction::Redacted, InspectionAction::Monitored] {
        check(&record(&Record::Inspection(Box::new(inspection(action)))));
    }
    check(&record(&Record::Outcome(Box::new(ended()))));
    check(&record(&Record::Outcome(Box::new(OutcomeRecord::unknown("r1".into(), time)))));
}

#[test]
fn an_event_says_which_line_it_comes_from() {
    let mut event = events(&allowed()).remove(0);
    place(&mut event, "c0ffee", 7);
    assert_eq!(
        (&event["metadata"]["sequence"], event["metadata"]["original_event_uid"].as_str()),
        (&json!(7), Some("c0ffee/7"))
    );
    check(&[event]);
}

#[test]
fn every_line_of_a_journal_is_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let journal = super::super::Journal::open(folder.path(), super::super::Options::default()).unwrap();
    journal.append(&full(Verdict::Allow)).unwrap();
    journal.append(&ended()).unwrap();
    journal.close().unwrap();
    let path = super::super::segment::list(folder.path()).unwrap().remove(0).path;
    let text = std::fs::read_to_string(path).unwrap();
    let events: Vec<_> = text.lines().flat_map(|text| line(text.as_bytes(), journal.chain())).collect();
    check(&events);
    let sequence: Vec<_> = events.iter().map(|event| event["metadata"]["sequence"].as_u64().unwrap()).collect();
    let classes: Vec<_> = events.iter().map(|event| event["class_uid"].as_u64().unwrap()).collect();
    assert_eq!((sequence, classes), (vec![0, 1, 2, 3], vec![0, 4002, 4002, 0]));
    assert_eq!(line(b"{}", "c"), [Value::Null; 0]);
}

#[test]
fn the_schema_refuses_what_is_wrong() {
    let good = events(&allowed()).remove(0);
    type Change = fn(&mut Value);
    let changes: [Change; 5] = [
        |e| e["disposition_id"] = json!(55),
        |e| drop(e.as_object_mut().unwrap().remove("metadata")),
        |e| e["time"] = json!("1970-01-01T00:00:00Z"),
        |e| e["src_endpoint"]["ip"] = json!("nowhere"),
        |e| e["invented"] = json!(1),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(!refusals(&bad).is_empty(), "change {number}");
    }
}

fn approval(event: ApprovalEvent, by: Option<std::sync::Arc<str>>) -> ApprovalRecord {
    ApprovalRecord {
        ticket: "apr_1".into(),
        time: SystemTime::UNIX_EPOCH,
        event,
        agent: "ann".into(),
        method: "PURGE".into(),
        scheme: "https".into(),
        host: "::1".into(),
        port: 8443,
        path: "/x".into(),
        query: None,
        body_sha256: "00".into(),
        rules: vec!["ask".into()],
        fingerprint: None,
        by,
        why: None,
        notify: Vec::new(),
    }
}

proptest! {
    #[test]
    fn whatever_an_agent_sends_is_a_valid_event(text in any::<String>(), number: u16, some: bool, verdict in 0..5_usize) {
        let maybe = some.then_some(&*text);
        let verdict = [Verdict::Allow, Verdict::Deny, Verdict::RateLimited, Verdict::Pending, Verdict::Error][verdict];
        let mut exchange = allowed();
        exchange.decision = DecisionRecord {
            agent: maybe.map(Into::into),
            source: maybe.map(Into::into),
            method: text.as_str().into(),
            scheme: maybe.map(|text| text.to_owned().into()),
            host: text.as_str().into(),
            port: some.then_some(number),
            path: text.as_str().into(),
            query: maybe.map(Into::into),
            reason: maybe.map(|text| text.to_owned().into()),
            rule: maybe.map(Into::into),
            upstream: maybe.map(ToOwned::to_owned),
            status: Some(number),
            findings: maybe.map(|text| note(text, text)).into_iter().collect(),
            ..full(verdict)
        };
        let outcome = exchange.outcome.as_mut().unwrap();
        (outcome.status, outcome.upstream) = (number, maybe.map(ToOwned::to_owned));
        let events = events(&exchange);
        for event in &events {
            prop_assert_eq!(refusals(event), [""; 0]);
        }
    }
}
