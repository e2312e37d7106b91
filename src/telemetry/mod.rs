//! Decisions shown to operators: counters and durations for each, and spans where a collector is configured.
//!
//! Showing never delays or loses a verdict, and sampling never touches the record: that is the journal's.

mod count;
mod envoy;
mod export;
mod http;
mod metrics;
mod relay;
mod scrub;
mod settings;
mod traces;

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::metadata::MetadataMap;

use count::Label;
pub use envoy::Admin as EnvoyAdmin;
pub use export::resource;
pub use http::{Port, serve as serve_http};
use metrics::Metrics;
pub use metrics::{Ask, Expiries, JournalFacts, SinkFacts};
pub use relay::Relay;
pub use settings::{Collector, Sampler, Settings, SettingsError};
use traces::Traces;
pub use traces::{Facts, Trail};

use crate::pipeline::audit::{DecisionRecord, Direction, FindingNote, InspectionRecord, Verdict};

/// Where decisions are shown. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    registry: prometheus::Registry,
    metrics: Metrics,
    traces: Option<Traces>,
    meters: SdkMeterProvider,
    tracers: Option<SdkTracerProvider>,
}

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A variable says what cannot be followed.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The exporter does not build.
    #[error("the OTLP exporter cannot be set up: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The metrics do not register.
    #[error("the metrics cannot be set up: {0}")]
    Metrics(String),
}

/// How long the last spans and metrics may take.
const LAST_EXPORT: Duration = Duration::from_secs(3);

impl Telemetry {
    /// Sets the instruments up, and what the settings ask for beside them. Needs a tokio runtime where that is anything.
    pub fn new(settings: &Settings) -> Result<Self, TelemetryError> {
        let resource = resource();
        let registry = prometheus::Registry::new();
        let scraped = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .map_err(|error| TelemetryError::Metrics(error.to_string()))?;
        let mut meters = SdkMeterProvider::builder().with_reader(scraped).with_resource(resource.clone());
        if let Some(collector) = &settings.metrics {
            meters = meters.with_reader(export::metrics(collector)?);
        }
        let meters = meters.build();
        let tracers = settings.traces.as_ref().map(|to| export::spans(to, settings.sampler, resource)).transpose()?;
        let traces = tracers.as_ref().map(|tracers| Traces {
            tracer: tracers.tracer("attache"),
            follows_envoy: settings.sampler != Sampler::Always,
        });
        Ok(Self(Arc::new(Inner { registry, metrics: Metrics::new(&meters.meter("attache")), traces, meters, tracers })))
    }

    /// What stands around an exchange in traces, from its stream's gRPC metadata.
    pub fn trail(&self, metadata: &MetadataMap) -> Trail {
        self.0.traces.as_ref().map(|traces| traces.trail(metadata)).unwrap_or_default()
    }

    /// Shows a decision.
    pub fn decided(&self, record: &DecisionRecord, facts: Facts, trail: &Trail) {
        let Inner { metrics, traces, .. } = &*self.0;
        // What is only watched counts under what it would have been refused for.
        let would = record.would.as_ref();
        let reason = record.reason.as_ref().or_else(|| would.map(|would| &would.reason));
        let rule = would.and_then(|would| would.rule.as_ref()).or(record.rule.as_ref());
        let labels = [
            Label::Word(record.decision.as_str()),
            Label::Word(traces::mode(record)),
            reason.map_or(Label::Word(""), |reason| Label::of(reason.clone())),
            Label::or_none(record.agent.as_ref()),
            Label::or_none(rule),
        ];
        metrics.requests.add(1, &labels);
        metrics.duration.record(Duration::from_micros(record.decision_micros).as_secs_f64(), &[]);
        if record.decision == Verdict::Allow {
            for credential in &record.credential {
                metrics.injections.add(1, &[Label::Name(credential.clone())]);
            }
        }
        self.found(&record.findings, Direction::Request);
        self.incomplete(reason);
        if let Some(traces) = traces {
            traces.decided(record, facts, trail);
        }
    }

    /// Shows what was found in a message after its head had gone on.
    pub fn inspected(&self, record: &InspectionRecord, trail: &Trail) {
        let Inner { metrics, traces, .. } = &*self.0;
        let labels = [
            Label::Word(record.direction.as_str()),
            Label::Word(record.action.as_str()),
            record.reason.clone().map_or(Label::Word(""), Label::of),
        ];
        metrics.inspections.add(1, &labels);
        self.found(&record.findings, record.direction);
        self.incomplete(record.reason.as_ref());
        if let Some(traces) = traces {
            traces.inspected(record, trail);
        }
    }

    fn found(&self, findings: &[FindingNote], direction: Direction) {
        for note in findings {
            let labels = [
                Label::Name(note.rule.clone()),
                Label::Name(note.category.as_ref().into()),
                Label::of(note.action.clone()),
                Label::Word(direction.as_str()),
            ];
            self.0.metrics.findings.add(1, &labels);
        }
    }

    /// A message that cannot be looked into in full is refused, so the reason tells.
    fn incomplete(&self, reason: Option<&Cow<'static, str>>) {
        const INCOMPLETE: [&str; 6] = [
            "body_too_large",
            "undecodable",
            "malformed_body",
            "budget_exhausted",
            "scan_failed",
            "response_unparsable",
        ];
        let Some(reason) = reason else { return };
        if let Some(reason) = INCOMPLETE.into_iter().find(|known| *known == &**reason) {
            self.0.metrics.incomplete.add(1, &[Label::Word(reason)]);
        }
    }

    /// Shows how much of an exchange's bodies was looked into, in bytes.
    pub fn scanned(&self, direction: Direction, bytes: u64) {
        if bytes > 0 {
            self.0.metrics.scanned.add(bytes, &[Label::Word(direction.as_str())]);
        }
    }

    /// Shows what a limit said of a request: that it has room, or not.
    pub fn limited(&self, rule: &Arc<str>, has_room: bool) {
        let decision = Label::Word(if has_room { "allowed" } else { "limited" });
        self.0.metrics.limits.add(1, &[Label::Name(rule.clone()), decision]);
    }

    /// Shows a request that no decision stands behind, and why Envoy refused it.
    pub fn undecided(&self, reason: &'static str) {
        self.0.metrics.undecided.add(1, &[Label::Word(reason)]);
    }

    /// Shows a request that Envoy forwarded without a decision.
    pub fn unreconciled(&self) {
        self.0.metrics.unreconciled.add(1, &[]);
    }

    /// Shows a decision of which nobody will hear any more what became of it.
    pub fn outcome_unknown(&self) {
        self.0.metrics.unknown_outcomes.add(1, &[]);
    }

    /// Shows how many decisions wait for their outcome.
    pub fn open_exchanges(&self, count: u64) {
        self.0.metrics.open_exchanges.record(count, &[]);
    }

    /// Shows a TLS handshake of an agent that came to nothing. The reason is a word of ours.
    pub fn handshake_failed(&self, reason: &'static str) {
        self.0.metrics.handshakes.add(1, &[Label::Word(reason)]);
    }

    /// Shows how many questions wait for a person, and how long the oldest has waited.
    pub fn approvals(&self, pending: usize, oldest: Option<Duration>) {
        self.0.metrics.approvals_pending.record(pending as u64, &[]);
        self.0.metrics.approvals_oldest.record(oldest.unwrap_or_default().as_secs_f64(), &[]);
    }

    /// Shows what happened to a question: `asked`, `approved`, `refused` or `expired`.
    pub fn approval(&self, event: &'static str) {
        self.0.metrics.approvals.add(1, &[Label::Word(event)]);
    }

    /// Shows what became of a message to a channel of the policy.
    pub fn notified(&self, channel: &str, outcome: &'static str) {
        self.0.metrics.notifications.add(1, &[Label::Name(channel.into()), Label::Word(outcome)]);
    }

    /// Shows what was done with a leaf certificate: `minted`, `rotated`, `evicted` or `refused`.
    pub fn certificate(&self, action: &'static str) {
        self.0.metrics.certificates.add(1, &[Label::Word(action)]);
    }

    /// Counts a question for a name, by how it was answered.
    pub fn dns(&self, answer: &'static str) {
        self.0.metrics.dns.add(1, &[Label::Word(answer)]);
    }

    /// Shows an attempt to load the policy.
    pub fn reloaded(&self, success: bool, revision: &str) {
        let metrics = &self.0.metrics;
        metrics.reloads.add(1, &[Label::Word(if success { "true" } else { "false" })]);
        metrics.reload_ok.record(u64::from(success), &[]);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        metrics.reloaded.record(now.as_secs_f64(), &[]);
        let mut in_force = metrics.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        if *in_force != revision {
            // A series stays once it is there: the policy that went must not look as if it were still in force.
            if !in_force.is_empty() {
                metrics.policy.record(0, &[KeyValue::new("revision", in_force.clone())]);
            }
            revision.clone_into(&mut in_force);
        }
        metrics.policy.record(1, &[KeyValue::new("revision", in_force.clone())]);
    }

    /// Shows whether a changed policy can be noticed at all.
    pub fn policy_frozen(&self, frozen: bool) {
        self.0.metrics.frozen.record(u64::from(frozen), &[]);
    }

    /// Shows whether requests can be decided. The first to say so goes on saying it.
    pub fn observe_ready(&self, ready: Ask<bool>) {
        let _ = self.0.metrics.observed.ready.set(ready);
    }

    /// Shows how the journal is doing. The first to say so goes on saying it.
    pub fn observe_journal(&self, facts: Ask<JournalFacts>) {
        let _ = self.0.metrics.observed.journal.set(facts);
    }

    /// Shows when credentials end, of those that say so.
    pub fn observe_expiries(&self, expiries: Ask<Expiries>) {
        let _ = self.0.metrics.observed.expiries.set(expiries);
    }

    /// Shows how far a sink has come, under the name that policy or its kind gives it.
    pub fn observe_sink(&self, name: &str, facts: Ask<SinkFacts>) {
        let mut sinks = self.0.metrics.observed.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        // A sink that was set up anew goes on where the one before it was.
        sinks.retain(|(known, _)| **known != *name);
        sinks.push((name.into(), facts));
    }

    /// Every metric in Prometheus's text format.
    pub fn exposition(&self) -> String {
        use prometheus::Encoder;
        let mut text = Vec::new();
        if let Err(error) = prometheus::TextEncoder::new().encode(&self.0.registry.gather(), &mut text) {
            tracing::warn!(%error, "the metrics cannot be written");
        }
        String::from_utf8(text).unwrap_or_default()
    }

    /// Sends what is still held to the collector, as far as that takes no longer than a few seconds.
    pub fn flush(&self) {
        let Inner { meters, tracers, .. } = &*self.0;
        let (meters, tracers) = (meters.clone(), tracers.clone());
        let (done, sent) = mpsc::channel();
        // The SDK waits for metrics as long as their exporter does.
        let exporting = std::thread::Builder::new().name("last-export".into()).spawn(move || {
            if let Some(Err(error)) = tracers.map(|tracers| tracers.shutdown_with_timeout(LAST_EXPORT)) {
                tracing::warn!(%error, "some spans did not reach the collector");
            }
            // Its exporter has said so where it did not work.
            let _ = meters.shutdown();
            let _ = done.send(());
        });
        if exporting.is_ok() && sent.recv_timeout(LAST_EXPORT).is_err() {
            tracing::warn!("the last spans and metrics did not reach the collector in time");
        }
    }
}

#[cfg(test)]
mod tests;
