//! Every metric, in one place: name, what it says, and its labels. `docs/telemetry.md` explains them.
//!
//! Labels come from policy or are words of ours: nothing an agent sends makes a time series.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Gauge, Histogram, Meter};

use super::count::Count;

/// What is counted and measured.
pub struct Metrics {
    pub requests: Count,
    pub duration: Histogram<f64>,
    pub findings: Count,
    pub scanned: Count,
    pub incomplete: Count,
    pub inspections: Count,
    pub limits: Count,
    pub injections: Count,
    pub approvals: Count,
    pub approvals_pending: Gauge<u64>,
    pub approvals_oldest: Gauge<f64>,
    pub reloads: Count,
    pub reloaded: Gauge<f64>,
    pub reload_ok: Gauge<u64>,
    pub frozen: Gauge<u64>,
    pub policy: Gauge<u64>,
    /// The revision that `policy` shows.
    pub in_force: Mutex<String>,
    pub certificates: Count,
    pub handshakes: Count,
    pub dns: Count,
    pub undecided: Count,
    pub unreconciled: Count,
    pub unknown_outcomes: Count,
    pub open_exchanges: Gauge<u64>,
    pub notifications: Count,
    pub observed: Arc<Observed>,
}

/// How the journal is doing. Counts are since the service began.
#[derive(Debug, Clone, Copy, Default)]
pub struct JournalFacts {
    /// Records written.
    pub records: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Bytes that all segments have on the disk.
    pub size: u64,
    /// Segments there are.
    pub segments: u64,
    /// Writes and syncs that failed.
    pub errors: u64,
    /// How long ago the oldest record was written that is not known to be on the disk; zero without any.
    pub unsynced: Duration,
    /// When the last checkpoint was signed, where there is one.
    pub checkpoint: Option<SystemTime>,
}

/// How far a sink has come. Counts are since the service began.
#[derive(Debug, Clone, Default)]
pub struct SinkFacts {
    /// Records it has not taken yet.
    pub lag: u64,
    /// How long ago the oldest of them was written; zero without any.
    pub behind: Duration,
    /// Records by what became of them, e.g. `delivered`.
    pub records: Vec<(&'static str, u64)>,
}

/// When each credential ends that says so.
pub type Expiries = Vec<(Arc<str>, SystemTime)>;

/// Asks for facts, at each scrape and export. It must neither wait nor panic.
pub type Ask<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// Who knows what is only asked for when somebody looks.
#[derive(Default)]
pub struct Observed {
    pub journal: OnceLock<Ask<JournalFacts>>,
    pub sinks: Mutex<Vec<(Arc<str>, Ask<SinkFacts>)>>,
    pub ready: OnceLock<Ask<bool>>,
    pub expiries: OnceLock<Ask<Expiries>>,
}

/// From 0.1 ms to 1 s, in seconds.
const DURATIONS: [f64; 13] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

impl Metrics {
    /// Registers all of them.
    pub fn new(meter: &Meter) -> Self {
        let count = |name, description, keys| Count::new(meter, name, description, keys);
        let gauge = |name, description| meter.u64_gauge(name).with_description(description).build();
        let seconds = |name, description| meter.f64_gauge(name).with_description(description).build();
        let observed = Arc::new(Observed::default());
        observe_journal(meter, &observed);
        observe_sinks(meter, &observed);
        let asked = observed.clone();
        meter
            .u64_observable_gauge("attache_ready")
            .with_description("1 while requests can be decided")
            .with_callback(move |o| asked.ready.get().into_iter().for_each(|ready| o.observe(u64::from(ready()), &[])))
            .build();
        let asked = observed.clone();
        meter
            .f64_observable_gauge("attache_credential_expiry_timestamp_seconds")
            .with_description("When a credential ends, of those that say so")
            .with_callback(move |o| {
                for (credential, end) in asked.expiries.get().into_iter().flat_map(|ask| ask()) {
                    let end = end.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                    o.observe(end.as_secs_f64(), &[KeyValue::new("credential", credential)]);
                }
            })
            .build();
        gauge("attache_build_info", "1 for the version that runs")
            .record(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
        Self {
            requests: count("attache_requests", "Decisions", &["decision", "mode", "reason", "agent", "rule"]),
            duration: meter
                .f64_histogram("attache_decision_duration_seconds")
                .with_description("From the head's arrival to the decision")
                .with_boundaries(DURATIONS.to_vec())
                .build(),
            findings: count(
                "attache_dlp_findings",
                "What was found in messages",
                &["rule", "category", "action", "direction"],
            ),
            scanned: count("attache_dlp_scanned_bytes", "Bytes of bodies that were looked into", &["direction"]),
            incomplete: count("attache_dlp_incomplete", "Messages that could not be looked into in full", &["reason"]),
            inspections: count(
                "attache_inspections",
                "Messages in which something was found after their heads had gone on",
                &["direction", "action", "reason"],
            ),
            limits: count(
                "attache_rate_limit_decisions",
                "Requests that a limit was asked about",
                &["rule", "decision"],
            ),
            injections: count("attache_credential_injections", "Requests that a credential went with", &["credential"]),
            approvals: count("attache_approvals", "What happened to questions that people were asked", &["event"]),
            approvals_pending: gauge("attache_approvals_pending", "Questions that wait for a person"),
            approvals_oldest: seconds(
                "attache_approvals_oldest_seconds",
                "How long the oldest of them has waited; 0 without any",
            ),
            reloads: count("attache_policy_reloads", "Attempts to load the policy", &["success"]),
            reloaded: seconds(
                "attache_policy_last_reload_timestamp_seconds",
                "When the policy was last loaded or refused",
            ),
            reload_ok: gauge(
                "attache_policy_last_reload_successful",
                "0 while the policy on disk is refused and the one before it is in force",
            ),
            frozen: gauge("attache_policy_frozen", "1 where a policy that takes the place of this one is not seen"),
            policy: gauge("attache_policy_info", "1 for the policy in force"),
            in_force: Mutex::default(),
            certificates: count(
                "attache_leaf_certificates",
                "Leaf certificates, by what was done with them",
                &["action"],
            ),
            handshakes: count(
                "attache_tls_handshake_failures",
                "TLS handshakes of agents that came to nothing",
                &["reason"],
            ),
            dns: count("attache_dns_queries", "Questions of agents for names, by how they were answered", &["answer"]),
            undecided: count(
                "attache_undecided_requests",
                "Requests Envoy reported that no decision was asked for or given",
                &["reason"],
            ),
            unreconciled: count(
                "attache_unreconciled_exchanges",
                "Requests that Envoy forwarded without a decision: the proxy does not do what policy says",
                &[],
            ),
            unknown_outcomes: count(
                "attache_outcomes_unknown",
                "Decisions of which it was never heard what became of them",
                &[],
            ),
            open_exchanges: gauge("attache_open_exchanges", "Decisions whose outcome has not been heard yet"),
            notifications: count(
                "attache_notifications",
                "Messages to people, by channel and what became of them",
                &["channel", "outcome"],
            ),
            observed,
        }
    }
}

fn observe_journal(meter: &Meter, observed: &Arc<Observed>) {
    let count = |name, description, fact: fn(&JournalFacts) -> u64| {
        let asked = observed.clone();
        let observe = move |facts: JournalFacts| fact(&facts);
        meter
            .u64_observable_counter(name)
            .with_description(description)
            .with_callback(move |o| asked.journal().into_iter().for_each(|facts| o.observe(observe(facts), &[])))
            .build();
    };
    count("attache_journal_records", "Records written to the journal", |facts| facts.records);
    count("attache_journal_bytes", "Bytes written to the journal", |facts| facts.bytes);
    count("attache_journal_errors", "Writes and syncs of the journal that failed", |facts| facts.errors);
    let gauge = |name, description, fact: fn(&JournalFacts) -> Option<f64>| {
        let asked = observed.clone();
        meter
            .f64_observable_gauge(name)
            .with_description(description)
            .with_callback(move |o| {
                asked.journal().and_then(|facts| fact(&facts)).into_iter().for_each(|value| o.observe(value, &[]));
            })
            .build();
    };
    gauge("attache_journal_size_bytes", "What the journal takes on the disk", |facts| Some(facts.size as f64));
    gauge("attache_journal_segments", "The journal's files", |facts| Some(facts.segments as f64));
    gauge(
        "attache_journal_unsynced_seconds",
        "How old the oldest record is that a power cut could take; 0 without any",
        |facts| Some(facts.unsynced.as_secs_f64()),
    );
    gauge("attache_journal_checkpoint_timestamp_seconds", "When the last checkpoint was signed", |facts| {
        Some(facts.checkpoint?.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64())
    });
}

fn observe_sinks(meter: &Meter, observed: &Arc<Observed>) {
    let asked = observed.clone();
    meter
        .u64_observable_gauge("attache_sink_lag_records")
        .with_description("Records that a sink has not taken yet")
        .with_callback(move |o| {
            asked.each_sink(|sink, facts| o.observe(facts.lag, &[KeyValue::new("sink", sink.clone())]));
        })
        .build();
    let asked = observed.clone();
    meter
        .f64_observable_gauge("attache_sink_lag_seconds")
        .with_description("How old the oldest of them is; 0 without any")
        .with_callback(move |o| {
            asked.each_sink(|sink, facts| {
                o.observe(facts.behind.as_secs_f64(), &[KeyValue::new("sink", sink.clone())]);
            });
        })
        .build();
    let asked = observed.clone();
    meter
        .u64_observable_counter("attache_sink_records")
        .with_description("Records given to a sink, by what became of them")
        .with_callback(move |o| {
            asked.each_sink(|sink, facts| {
                for (outcome, count) in &facts.records {
                    o.observe(*count, &[KeyValue::new("sink", sink.clone()), KeyValue::new("outcome", *outcome)]);
                }
            });
        })
        .build();
}

impl Observed {
    fn journal(&self) -> Option<JournalFacts> {
        self.journal.get().map(|ask| ask())
    }

    fn each_sink(&self, mut see: impl FnMut(&Arc<str>, SinkFacts)) {
        let sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, ask) in &sinks {
            see(name, ask());
        }
    }
}
