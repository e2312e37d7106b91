//! What stands in spans.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};

use super::*;
use crate::pipeline::audit::{ApprovalNote, Direction, Verdict, Would};

/// Keeps spans as they are.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const AGENTS: &str = "00-11111111111111111111111111111111-2222222222222222-00";

struct Bench {
    traces: Traces,
    kept: Kept,
}

impl Bench {
    fn new(follows_envoy: bool) -> Self {
        let kept = Kept::default();
        let sampler = match follows_envoy {
            true => Sampler::ParentBased(Box::new(Sampler::AlwaysOn)),
            false => Sampler::AlwaysOn,
        };
        let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).with_sampler(sampler).build();
        Self { traces: Traces { tracer: provider.tracer("test"), follows_envoy }, kept }
    }

    fn trail(&self, parent: Option<&str>) -> Trail {
        let mut metadata = MetadataMap::new();
        if let Some(parent) = parent {
            metadata.insert("traceparent", parent.parse().unwrap());
        }
        self.traces.trail(&metadata)
    }

    fn decided(&self, record: &DecisionRecord, facts: Facts) -> SpanData {
        self.traces.decided(record, facts, &self.trail(None));
        self.take()
    }

    fn take(&self) -> SpanData {
        self.kept.0.lock().unwrap().pop().unwrap()
    }
}

fn record(decision: Verdict) -> DecisionRecord {
    DecisionRecord {
        method: "GET".into(),
        host: "api.example.com".into(),
        path: "/v1/a".into(),
        decision_micros: 1500,
        ..DecisionRecord::new("r1".into(), SystemTime::UNIX_EPOCH + Duration::from_secs(9), decision, "rev".into())
    }
}

fn note() -> FindingNote {
    FindingNote {
        rule: "github-token".into(),
        category: "credentials".into(),
        confidence: "high".into(),
        action: "block".into(),
        location: "body.$.a → base64".into(),
        fingerprint: "00f0".into(),
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    attributes.iter().map(|pair| (pair.key.as_str(), pair.value.to_string())).collect()
}

#[test]
fn a_decision_has_every_attribute_that_is_known_and_no_other() {
    let bench = Bench::new(true);
    let plain = bench.decided(&record(Verdict::Allow), Facts::default());
    assert_eq!((&*plain.name, &plain.span_kind), ("egress.decision", &SpanKind::Internal));
    assert_eq!(plain.end_time.duration_since(plain.start_time).unwrap(), Duration::from_micros(1500));
    assert_eq!(plain.status, Status::Unset);
    let expected = [
        ("http.request.method", "GET"),
        ("server.address", "api.example.com"),
        ("url.path", "/v1/a"),
        ("attache.request.id", "r1"),
        ("attache.decision", "allow"),
        ("attache.mode", "enforce"),
        ("attache.policy.revision", "rev"),
    ];
    assert_eq!(texts(&plain.attributes), expected.map(|(name, value)| (name, value.to_owned())).into());

    let full = DecisionRecord {
        agent: Some("coder".into()),
        scheme: Some("https".into()),
        port: Some(8443),
        reason: None,
        rule: Some("rules[0]".into()),
        would: Some(Would { decision: Verdict::Deny, reason: "rule_blocked".into(), rule: Some("rules[1]".into()) }),
        approval: Some(ApprovalNote { ticket: "apr_1".into(), by: None, why: None }),
        credential: vec!["one".into(), "two".into()],
        status: Some(403),
        ..record(Verdict::Allow)
    };
    let full = bench.decided(&full, Facts { scanned: 12, seq: Some(7) });
    let texts = texts(&full.attributes);
    for (name, value) in [
        ("gen_ai.agent.id", "coder"),
        ("gen_ai.agent.name", "coder"),
        ("url.scheme", "https"),
        ("server.port", "8443"),
        ("attache.mode", "monitor"),
        ("attache.would", "deny"),
        ("attache.would.reason", "rule_blocked"),
        ("attache.would.rule.id", "rules[1]"),
        ("attache.rule.id", "rules[0]"),
        ("attache.approval.id", "apr_1"),
        ("attache.credential.name", "one,two"),
        ("attache.body.scanned_bytes", "12"),
        ("attache.audit.seq", "7"),
        ("http.response.status_code", "403"),
    ] {
        assert_eq!(texts.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(!texts.contains_key("error.type"));
}

#[test]
fn a_refusal_is_no_error_and_a_fault_of_ours_is_one() {
    let bench = Bench::new(true);
    for (decision, reason, fault) in [
        (Verdict::Deny, "domain_not_allowed", false),
        (Verdict::Error, "dns_failure", false),
        (Verdict::Error, "internal_error", true),
        (Verdict::Error, "record_failed", true),
        (Verdict::Error, "scan_failed", true),
    ] {
        let span = bench.decided(&DecisionRecord { reason: Some(reason.into()), ..record(decision) }, Facts::default());
        let expected = fault.then(|| reason.to_owned());
        assert_eq!(texts(&span.attributes).get("error.type"), expected.as_ref(), "{reason}");
        assert_eq!(span.status == Status::Unset, !fault, "{reason}");
        assert_eq!(texts(&span.attributes)["attache.reason"], reason);
    }
}

#[test]
fn a_method_that_is_not_known_makes_no_value_of_its_own() {
    let bench = Bench::new(true);
    for (method, value, original) in [
        ("PATCH", "PATCH", None),
        ("PROPFIND", "_OTHER", Some("PROPFIND")),
        ("get", "_OTHER", None),
        ("AKIAIOSFODNN7EXAMPLE", "_OTHER", None),
        ("", "_OTHER", None),
    ] {
        let span = bench.decided(&DecisionRecord { method: method.into(), ..record(Verdict::Allow) }, Facts::default());
        let texts = texts(&span.attributes);
        assert_eq!(texts["http.request.method"], value, "{method}");
        assert_eq!(texts.get("http.request.method_original").map(String::as_str), original, "{method}");
    }
}

#[test]
fn findings_are_events_without_what_was_found() {
    let bench = Bench::new(true);
    let span = bench.decided(&DecisionRecord { findings: vec![note()], ..record(Verdict::Deny) }, Facts::default());
    let [event] = &*span.events.events else { panic!("{:?}", span.events) };
    assert_eq!(event.name, "attache.dlp.finding");
    let expected = [
        ("attache.dlp.rule.id", "github-token"),
        ("attache.dlp.category", "credentials"),
        ("attache.dlp.confidence", "high"),
        ("attache.dlp.action", "block"),
        ("attache.dlp.location", "body.$.a → base64"),
    ];
    assert_eq!(texts(&event.attributes), expected.map(|(name, value)| (name, value.to_owned())).into());
}

#[test]
fn the_agents_own_trace_is_linked_and_never_a_parent() {
    let bench = Bench::new(true);
    let trail = bench.trail(Some(PARENT));
    trail.link(|| Some(AGENTS.as_bytes()));
    bench.traces.decided(&record(Verdict::Allow), Facts::default(), &trail);
    let span = bench.take();
    assert_eq!(span.span_context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(span.parent_span_id.to_string(), "00f067aa0ba902b7");
    let [link] = &*span.links.links else { panic!("{:?}", span.links) };
    assert_eq!(link.span_context.trace_id().to_string(), "11111111111111111111111111111111");
    assert_eq!(link.span_context.span_id().to_string(), "2222222222222222");
    assert_eq!(link.span_context.trace_state().header(), "");
}

#[test]
fn what_is_found_later_is_a_span_beside_the_decisions() {
    let bench = Bench::new(true);
    let inspection = |action, findings| InspectionRecord {
        request_id: "r1".into(),
        time: SystemTime::UNIX_EPOCH,
        direction: Direction::Response,
        action,
        reason: Some("response_blocked".into()),
        detail: None,
        rule: Some("rules[2]".into()),
        status: None,
        findings,
        bytes: 4096,
    };
    for (parent, under_decision) in [(Some(PARENT), false), (None, true)] {
        let trail = bench.trail(parent);
        bench.traces.decided(&record(Verdict::Allow), Facts::default(), &trail);
        let decision = bench.take();
        bench.traces.inspected(&inspection(InspectionAction::Blocked, vec![note()]), &trail);
        let span = bench.take();
        assert_eq!(&*span.name, "egress.inspection");
        assert_eq!(span.span_context.trace_id(), decision.span_context.trace_id());
        let beside = if under_decision { decision.span_context.span_id() } else { decision.parent_span_id };
        assert_eq!(span.parent_span_id, beside);
        assert_eq!(span.links.links[0].span_context.span_id(), decision.span_context.span_id());
        assert_eq!(span.events.events.len(), 1);
        let texts = texts(&span.attributes);
        for (name, value) in [
            ("attache.request.id", "r1"),
            ("attache.inspection.direction", "response"),
            ("attache.inspection.action", "blocked"),
            ("attache.reason", "response_blocked"),
            ("attache.rule.id", "rules[2]"),
            ("attache.body.scanned_bytes", "4096"),
        ] {
            assert_eq!(texts[name], value, "{name}");
        }
    }
    bench.traces.inspected(&inspection(InspectionAction::Monitored, Vec::new()), &bench.trail(None));
    assert!(bench.kept.0.lock().unwrap().is_empty(), "nothing was found and nothing cut");
}

#[test]
fn envoys_sampling_is_followed_unless_told_otherwise() {
    for (follows, parent, made) in [(true, PARENT, 1), (true, UNSAMPLED, 0), (false, PARENT, 1), (false, UNSAMPLED, 1)]
    {
        let bench = Bench::new(follows);
        bench.traces.decided(&record(Verdict::Allow), Facts::default(), &bench.trail(Some(parent)));
        assert_eq!(bench.kept.0.lock().unwrap().len(), made, "{follows} {parent}");
    }
}

#[test]
fn a_context_that_is_not_as_it_should_be_is_none() {
    assert!(traceparent(PARENT).is_some_and(|context| context.is_sampled()));
    assert!(traceparent("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some(), "a later version");
    for wrong in [
        "",
        "00",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01,00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ] {
        assert!(traceparent(wrong).is_none(), "{wrong}");
    }
}
