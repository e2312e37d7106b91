//! Decisions shown to operators: a counter and a duration for each, and a span where a collector is configured.
//!
//! Showing never delays or loses a verdict, and sampling never touches the record: that is the journal's.

mod http;
mod relay;
mod scrub;
mod settings;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::metrics::{Counter, Gauge, Histogram, MeterProvider};
use opentelemetry::trace::{
    Event as SpanEvent, Span, SpanBuilder, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tonic::metadata::MetadataMap;

pub use http::serve as serve_http;
pub use relay::Relay;
pub use settings::{Collector, Settings, SettingsError};

use crate::pipeline::audit::{DecisionRecord, InspectionRecord};

/// Where decisions are shown. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    registry: prometheus::Registry,
    requests: Counter<u64>,
    duration: Histogram<f64>,
    reloads: Counter<u64>,
    reloaded: Gauge<f64>,
    reload_ok: Gauge<u64>,
    policy: Gauge<u64>,
    /// The revision that `policy` shows.
    in_force: Mutex<String>,
    certificates: Counter<u64>,
    undecided: Counter<u64>,
    inspections: Counter<u64>,
    approvals_pending: Gauge<u64>,
    approvals_oldest: Gauge<f64>,
    notifications: Counter<u64>,
    tracer: Option<SdkTracer>,
    traces: Option<SdkTracerProvider>,
    _meters: SdkMeterProvider,
}

/// Envoy's span, under which the decision's is filed.
#[derive(Debug, Clone)]
pub struct Parent(SpanContext);

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The exporter does not build.
    #[error("the OTLP exporter cannot be set up: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// A protocol other than gRPC.
    #[error("`OTEL_EXPORTER_OTLP_PROTOCOL` is `{0}`: this version of attache speaks `grpc`")]
    Protocol(String),
    /// The metrics do not register.
    #[error("the metrics cannot be set up: {0}")]
    Metrics(String),
}

/// The collector's address, where one is configured and tracing is not switched off (OpenTelemetry's
/// *Environment Variable Specification*).
pub fn collector() -> Result<Option<String>, TelemetryError> {
    let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let off = |name: &str, value: &str| set(name).is_some_and(|v| v.eq_ignore_ascii_case(value));
    let endpoint = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"));
    if endpoint.is_none() || off("OTEL_SDK_DISABLED", "true") || off("OTEL_TRACES_EXPORTER", "none") {
        return Ok(None);
    }
    match set("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| set("OTEL_EXPORTER_OTLP_PROTOCOL")) {
        Some(protocol) if protocol != "grpc" => Err(TelemetryError::Protocol(protocol)),
        _ => Ok(endpoint),
    }
}

impl Telemetry {
    /// Sets the instruments up, and the exporter where `collector` is given. Needs a tokio runtime for the latter.
    pub fn new(collector: Option<&str>) -> Result<Self, TelemetryError> {
        let registry = prometheus::Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .build()
            .map_err(|error| TelemetryError::Metrics(error.to_string()))?;
        let meters = SdkMeterProvider::builder().with_reader(exporter).build();
        let meter = meters.meter("attache");
        let traces = collector
            .map(|endpoint| {
                let exporter =
                    opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
                let mut resource = Resource::builder();
                if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
                    resource = resource.with_service_name("attache");
                }
                let provider =
                    SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
                Ok::<_, TelemetryError>(provider.build())
            })
            .transpose()?;
        Ok(Self(Arc::new(Inner {
            requests: meter.u64_counter("attache_requests").with_description("Decisions").build(),
            duration: meter
                .f64_histogram("attache_decision_duration_seconds")
                .with_description("From the head's arrival to the decision")
                .with_boundaries(vec![
                    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
                ])
                .build(),
            reloads: meter
                .u64_counter("attache_policy_reloads")
                .with_description("Attempts to load the policy")
                .build(),
            reloaded: meter
                .f64_gauge("attache_policy_last_reload_timestamp_seconds")
                .with_description("When the policy was last loaded or refused")
                .build(),
            reload_ok: meter
                .u64_gauge("attache_policy_last_reload_successful")
                .with_description("0 while the policy on disk is refused and the one before it is in force")
                .build(),
            policy: meter.u64_gauge("attache_policy_info").with_description("1 for the policy in force").build(),
            in_force: Mutex::default(),
            certificates: meter
                .u64_counter("attache_leaf_certificates")
                .with_description("Leaf certificates, by what was done with them")
                .build(),
            undecided: meter
                .u64_counter("attache_undecided_requests")
                .with_description("Requests Envoy reported that no decision was asked for or given")
                .build(),
            inspections: meter
                .u64_counter("attache_inspections")
                .with_description("Messages in which something was found after their heads had gone on")
                .build(),
            approvals_pending: meter
                .u64_gauge("attache_approvals_pending")
                .with_description("Questions that wait for a person")
                .build(),
            approvals_oldest: meter
                .f64_gauge("attache_approvals_oldest_seconds")
                .with_description("How long the oldest of them has waited; 0 without any")
                .build(),
            notifications: meter
                .u64_counter("attache_notifications")
                .with_description("Messages to people, by channel and what became of them")
                .build(),
            tracer: traces.as_ref().map(|t| t.tracer("attache")),
            traces,
            registry,
            _meters: meters,
        })))
    }

    /// Envoy's span of the stream whose gRPC metadata this is (W3C Trace Context).
    pub fn parent(&self, metadata: &MetadataMap) -> Option<Parent> {
        self.0.tracer.as_ref()?;
        let header = metadata.get("traceparent")?.to_str().ok()?;
        let mut parts = header.split('-');
        let (_version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let context = SpanContext::new(
            TraceId::from_hex(trace).ok()?,
            SpanId::from_hex(span).ok()?,
            TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
            true,
            TraceState::default(),
        );
        context.is_valid().then_some(Parent(context))
    }

    /// Shows a decision.
    pub fn decided(&self, record: &DecisionRecord, parent: Option<&Parent>) {
        let Inner { requests, duration, tracer, .. } = &*self.0;
        // Labels come from policy alone: nothing an agent sends may make a new time series.
        // What is only watched counts under what it would have been refused for.
        let would = record.would.as_ref();
        let reason = record.reason.clone().or_else(|| would.map(|would| would.reason.clone()));
        let rule = would.and_then(|would| would.rule.clone()).or_else(|| record.rule.clone());
        requests.add(
            1,
            &[
                KeyValue::new("decision", record.decision.as_str()),
                KeyValue::new("mode", mode(record)),
                KeyValue::new("reason", reason.unwrap_or_default()),
                KeyValue::new("agent", record.agent.clone().unwrap_or_default()),
                KeyValue::new("rule", rule.unwrap_or_default()),
            ],
        );
        duration.record(Duration::from_micros(record.decision_micros).as_secs_f64(), &[]);
        if let Some(tracer) = tracer {
            span(tracer, record, parent);
        }
    }

    /// Shows a request that no decision stands behind.
    pub fn undecided(&self) {
        self.0.undecided.add(1, &[]);
    }

    /// Shows what was found in a message after its head had gone on.
    pub fn inspected(&self, record: &InspectionRecord) {
        let labels = [
            KeyValue::new("direction", record.direction.as_str()),
            KeyValue::new("action", record.action.as_str()),
            KeyValue::new("reason", record.reason.clone().unwrap_or_default()),
        ];
        self.0.inspections.add(1, &labels);
    }

    /// Shows how many questions wait for a person, and how long the oldest has waited.
    pub fn approvals(&self, pending: usize, oldest: Option<Duration>) {
        self.0.approvals_pending.record(pending as u64, &[]);
        self.0.approvals_oldest.record(oldest.unwrap_or_default().as_secs_f64(), &[]);
    }

    /// Shows what became of a message to a channel of the policy.
    pub fn notified(&self, channel: &str, outcome: &'static str) {
        let labels = [KeyValue::new("channel", channel.to_owned()), KeyValue::new("outcome", outcome)];
        self.0.notifications.add(1, &labels);
    }

    /// Shows what was done with a leaf certificate: `minted`, `rotated`, `evicted` or `refused`.
    pub fn certificate(&self, action: &'static str) {
        self.0.certificates.add(1, &[KeyValue::new("action", action)]);
    }

    /// Shows an attempt to load the policy.
    pub fn reloaded(&self, success: bool, revision: &str) {
        let inner = &*self.0;
        inner.reloads.add(1, &[KeyValue::new("success", success)]);
        inner.reload_ok.record(u64::from(success), &[]);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        inner.reloaded.record(now.as_secs_f64(), &[]);
        let mut in_force = inner.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        if *in_force != revision {
            // A series stays once it is there: the policy that went must not look as if it were still in force.
            if !in_force.is_empty() {
                inner.policy.record(0, &[KeyValue::new("revision", in_force.clone())]);
            }
            revision.clone_into(&mut in_force);
        }
        inner.policy.record(1, &[KeyValue::new("revision", in_force.clone())]);
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

    /// Sends what is still held to the collector.
    pub fn flush(&self) {
        if let Some(traces) = &self.0.traces
            && let Err(error) = traces.shutdown_with_timeout(Duration::from_secs(3))
        {
            tracing::warn!(%error, "some spans did not reach the collector");
        }
    }
}

/// Whether what policy says was carried out.
fn mode(record: &DecisionRecord) -> &'static str {
    if record.would.is_some() { "monitor" } else { "enforce" }
}

/// Envoy owns the HTTP spans; this one is the decision's alone. A refusal is no fault: its status stays unset.
fn span(tracer: &SdkTracer, record: &DecisionRecord, parent: Option<&Parent>) {
    let start = record.time.checked_sub(Duration::from_micros(record.decision_micros)).unwrap_or(record.time);
    let mut attributes = vec![
        KeyValue::new("http.request.method", record.method.to_string()),
        KeyValue::new("server.address", record.host.to_string()),
        KeyValue::new("url.path", record.path.to_string()),
        KeyValue::new("attache.decision", record.decision.as_str()),
        KeyValue::new("attache.mode", mode(record)),
        KeyValue::new("attache.policy.revision", record.policy_revision.clone()),
        KeyValue::new("attache.request.id", record.request_id.clone()),
    ];
    let mut add = |name: &'static str, value: Option<opentelemetry::Value>| {
        attributes.extend(value.map(|value| KeyValue::new(name, value)));
    };
    add("server.port", record.port.map(|p| i64::from(p).into()));
    add("url.scheme", record.scheme.clone().map(Into::into));
    add("http.response.status_code", record.status.map(|s| i64::from(s).into()));
    add("gen_ai.agent.name", record.agent.clone().map(Into::into));
    add("attache.reason", record.reason.clone().map(Into::into));
    add("attache.rule.id", record.rule.clone().map(Into::into));
    let would = record.would.as_ref();
    add("attache.would", would.map(|would| would.decision.as_str().into()));
    add("attache.would.reason", would.map(|would| would.reason.clone().into()));
    add("attache.would.rule.id", would.and_then(|would| would.rule.clone()).map(Into::into));
    add("attache.approval.id", record.approval.as_ref().map(|approval| approval.ticket.clone().into()));
    add("attache.credential.name", (!record.credential.is_empty()).then(|| record.credential.join(",").into()));
    let fault = record.reason.as_deref().filter(|r| *r == "internal_error" || *r == "record_failed");
    add("error.type", fault.map(|r| r.to_owned().into()));
    let builder = SpanBuilder::from_name("egress.decision")
        .with_kind(SpanKind::Internal)
        .with_start_time(start)
        .with_attributes(attributes)
        .with_events(Vec::<SpanEvent>::new());
    let context = match parent {
        Some(Parent(parent)) => Context::new().with_remote_span_context(parent.clone()),
        None => Context::new(),
    };
    tracer.build_with_context(builder, &context).end_with_timestamp(record.time);
}
