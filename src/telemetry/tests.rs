//! What scrapers see.

use super::*;
use crate::pipeline::audit::{InspectionAction, Would};

fn telemetry() -> Telemetry {
    Telemetry::new(&Settings::default()).unwrap()
}

fn record(decision: Verdict) -> DecisionRecord {
    DecisionRecord {
        agent: Some("coder".into()),
        host: "host.example".into(),
        path: "/some/path".into(),
        ..DecisionRecord::new("r1".into(), SystemTime::UNIX_EPOCH, decision, "rev".into())
    }
}

fn note(action: &'static str) -> FindingNote {
    FindingNote {
        rule: "github-token".into(),
        category: "credentials".into(),
        confidence: "high".into(),
        action: action.into(),
        location: "body.$.place".into(),
        fingerprint: "f1f2".into(),
    }
}

fn decided(telemetry: &Telemetry, record: &DecisionRecord) {
    telemetry.decided(record, Facts::default(), &Trail::default());
}

/// The value of the one sample of this name with these labels, which are all it has.
fn sample(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let mut found = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (family, rest) = series.split_once('{').unwrap_or((series, ""));
        let pairs: Vec<&str> = rest.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty()).collect();
        let fits = family == name
            && pairs.len() == labels.len()
            && labels.iter().all(|(key, value)| pairs.contains(&&*format!("{key}=\"{value}\"")));
        fits.then(|| value.parse().unwrap())
    });
    let first = found.next();
    assert!(found.next().is_none(), "{name} stands there twice:\n{text}");
    first
}

#[test]
fn decisions_are_counted_by_what_policy_names_and_nothing_else() {
    let shown = telemetry();
    let allowed =
        DecisionRecord { credential: vec!["key".into()], rule: Some("rules[0]".into()), ..record(Verdict::Allow) };
    decided(&shown, &allowed);
    decided(&shown, &allowed);
    decided(&shown, &DecisionRecord { reason: Some("undecodable".into()), ..record(Verdict::Deny) });
    let would = Would { decision: Verdict::Deny, reason: "dlp_blocked".into(), rule: Some("dlp".into()) };
    decided(&shown, &DecisionRecord { would: Some(would), findings: vec![note("monitor")], ..record(Verdict::Allow) });
    let text = shown.exposition();
    let requests = |decision, mode, reason, rule| {
        let labels = [("decision", decision), ("mode", mode), ("reason", reason), ("agent", "coder"), ("rule", rule)];
        sample(&text, "attache_requests_total", &labels)
    };
    assert_eq!(requests("allow", "enforce", "", "rules[0]"), Some(2.0), "{text}");
    assert_eq!(requests("deny", "enforce", "undecodable", ""), Some(1.0), "{text}");
    assert_eq!(requests("allow", "monitor", "dlp_blocked", "dlp"), Some(1.0), "{text}");
    assert_eq!(sample(&text, "attache_decision_duration_seconds_count", &[]), Some(4.0));
    assert_eq!(sample(&text, "attache_credential_injections_total", &[("credential", "key")]), Some(2.0), "{text}");
    assert_eq!(sample(&text, "attache_dlp_incomplete_total", &[("reason", "undecodable")]), Some(1.0), "{text}");
    let found =
        [("rule", "github-token"), ("category", "credentials"), ("action", "monitor"), ("direction", "request")];
    assert_eq!(sample(&text, "attache_dlp_findings_total", &found), Some(1.0), "{text}");
    for agents in ["host.example", "some", "place", "f1f2"] {
        assert!(!text.contains(agents), "{agents} comes from a request:\n{text}");
    }
}

#[test]
fn everything_that_can_happen_is_counted_under_its_name() {
    let shown = telemetry();
    shown.inspected(
        &InspectionRecord {
            request_id: "r1".into(),
            time: SystemTime::UNIX_EPOCH,
            direction: Direction::Response,
            action: InspectionAction::Blocked,
            reason: Some("budget_exhausted".into()),
            detail: None,
            rule: None,
            status: None,
            findings: vec![note("block"), note("block")],
            bytes: 10,
        },
        &Trail::default(),
    );
    shown.scanned(Direction::Response, 10);
    shown.scanned(Direction::Request, 0);
    shown.limited(&"limits[0]".into(), true);
    shown.limited(&"limits[0]".into(), false);
    shown.undecided("malformed_request");
    shown.unreconciled();
    shown.outcome_unknown();
    shown.open_exchanges(3);
    shown.handshake_failed("client_hung_up");
    shown.approvals(2, Some(Duration::from_secs(5)));
    shown.approval("asked");
    shown.notified("ops", "delivered");
    shown.certificate("minted");
    shown.observe_ready(Arc::new(|| true));
    let text = shown.exposition();
    let (response, limit) = (("direction", "response"), ("rule", "limits[0]"));
    for (name, labels, value) in [
        ("inspections_total", &[response, ("action", "blocked"), ("reason", "budget_exhausted")][..], 1.0),
        (
            "dlp_findings_total",
            &[("rule", "github-token"), ("category", "credentials"), ("action", "block"), response],
            2.0,
        ),
        ("dlp_incomplete_total", &[("reason", "budget_exhausted")], 1.0),
        ("dlp_scanned_bytes_total", &[response], 10.0),
        ("rate_limit_decisions_total", &[limit, ("decision", "allowed")], 1.0),
        ("rate_limit_decisions_total", &[limit, ("decision", "limited")], 1.0),
        ("undecided_requests_total", &[("reason", "malformed_request")], 1.0),
        ("unreconciled_exchanges_total", &[], 1.0),
        ("outcomes_unknown_total", &[], 1.0),
        ("open_exchanges", &[], 3.0),
        ("tls_handshake_failures_total", &[("reason", "client_hung_up")], 1.0),
        ("approvals_pending", &[], 2.0),
        ("approvals_oldest_seconds", &[], 5.0),
        ("approvals_total", &[("event", "asked")], 1.0),
        ("notifications_total", &[("channel", "ops"), ("outcome", "delivered")], 1.0),
        ("leaf_certificates_total", &[("action", "minted")], 1.0),
        ("ready", &[], 1.0),
        ("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0),
    ] {
        assert_eq!(sample(&text, &format!("attache_{name}"), labels), Some(value), "{name}:\n{text}");
    }
    assert!(!text.contains("direction=\"request\""), "nothing was looked into there:\n{text}");
}

#[test]
fn what_must_never_happen_is_seen_not_to_have_happened() {
    let text = telemetry().exposition();
    for name in ["attache_unreconciled_exchanges_total", "attache_outcomes_unknown_total"] {
        assert_eq!(sample(&text, name, &[]), Some(0.0), "{name}:\n{text}");
    }
}

#[test]
fn a_policy_that_went_does_not_look_as_if_it_were_in_force() {
    let shown = telemetry();
    shown.reloaded(true, "one");
    shown.reloaded(false, "one");
    shown.reloaded(true, "two");
    let text = shown.exposition();
    assert_eq!(sample(&text, "attache_policy_info", &[("revision", "one")]), Some(0.0), "{text}");
    assert_eq!(sample(&text, "attache_policy_info", &[("revision", "two")]), Some(1.0), "{text}");
    assert_eq!(sample(&text, "attache_policy_reloads_total", &[("success", "true")]), Some(2.0), "{text}");
    assert_eq!(sample(&text, "attache_policy_reloads_total", &[("success", "false")]), Some(1.0), "{text}");
    assert_eq!(sample(&text, "attache_policy_last_reload_successful", &[]), Some(1.0), "{text}");
}

#[test]
fn journal_and_sinks_are_asked_at_each_scrape() {
    let shown = telemetry();
    assert!(!shown.exposition().contains("attache_journal"), "nobody knows yet");
    let asked = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let answered = asked.clone();
    shown.observe_journal(Arc::new(move || JournalFacts {
        records: answered.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        bytes: 100,
        size: 4096,
        segments: 2,
        errors: 1,
        unsynced: Duration::from_millis(1500),
        checkpoint: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(77)),
    }));
    let facts =
        |lag| SinkFacts { lag, behind: Duration::from_secs(lag), records: vec![("delivered", 5), ("dropped", 1)] };
    for (name, lag) in [("otlp", 9), ("stdout", 0), ("otlp", 3)] {
        shown.observe_sink(name, Arc::new(move || facts(lag)));
    }
    let text = shown.exposition();
    for (name, value) in [
        ("bytes_total", 100.0),
        ("errors_total", 1.0),
        ("size_bytes", 4096.0),
        ("segments", 2.0),
        ("unsynced_seconds", 1.5),
        ("checkpoint_timestamp_seconds", 77.0),
    ] {
        assert_eq!(sample(&text, &format!("attache_journal_{name}"), &[]), Some(value), "{name}:\n{text}");
    }
    let records = sample(&text, "attache_journal_records_total", &[]).unwrap();
    let later = sample(&shown.exposition(), "attache_journal_records_total", &[]).unwrap();
    assert!(later > records, "{records} then {later}");
    for (sink, lag) in [("otlp", 3.0), ("stdout", 0.0)] {
        assert_eq!(sample(&text, "attache_sink_lag_records", &[("sink", sink)]), Some(lag), "{text}");
        assert_eq!(sample(&text, "attache_sink_lag_seconds", &[("sink", sink)]), Some(lag), "{text}");
        for (outcome, count) in [("delivered", 5.0), ("dropped", 1.0)] {
            let labels = [("sink", sink), ("outcome", outcome)];
            assert_eq!(sample(&text, "attache_sink_records_total", &labels), Some(count), "{text}");
        }
    }
}

/// The words in a text that begin like this and go on with letters, dots and underscores.
fn words<'a>(text: &'a str, prefix: &str) -> std::collections::BTreeSet<&'a str> {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
    let words = text.split(|c: char| !is_part(c)).map(|word| word.trim_end_matches('.'));
    words.filter(|word| word.starts_with(prefix) && word.len() > prefix.len()).collect()
}

#[test]
fn the_page_names_every_metric_and_attribute_and_no_other() {
    const PAGE: &str = include_str!("../../docs/telemetry.md");
    let metrics: std::collections::BTreeSet<_> =
        words(PAGE, "attache_").into_iter().map(|name| name.trim_end_matches("_total")).collect();
    let registered = words(include_str!("metrics.rs"), "attache_");
    assert!(registered.len() > 30, "{registered:?}");
    assert_eq!(metrics, registered);
    for prefix in ["attache.", "gen_ai.", "http.re", "server.", "url."] {
        let written = words(include_str!("traces.rs"), prefix);
        assert!(!written.is_empty());
        let explained = words(PAGE, prefix);
        assert!(written.is_subset(&explained), "{:?} are not explained", written.difference(&explained));
        if prefix == "attache." {
            assert_eq!(explained, written);
        }
    }
}
