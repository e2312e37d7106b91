//! What carries spans and metrics to a collector, and says once when it does not take them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, Temporality};
use opentelemetry_sdk::trace::{Sampler as SdkSampler, SdkTracerProvider, SpanData};

use super::settings::{Collector, Sampler};

/// Sends spans, in batches, from a thread of its own. Needs a tokio runtime.
pub fn spans(to: &Collector, sampler: Sampler, resource: Resource) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter =
        SpanExporter::builder().with_tonic().with_channel(to.channel()).with_timeout(to.timeout()).build()?;
    let sampler = match sampler {
        Sampler::Always => SdkSampler::AlwaysOn,
        Sampler::Never => SdkSampler::AlwaysOff,
        Sampler::WithEnvoy => SdkSampler::ParentBased(Box::new(SdkSampler::AlwaysOn)),
        Sampler::Share(share) => SdkSampler::ParentBased(Box::new(SdkSampler::TraceIdRatioBased(share))),
    };
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(Watched { exporter, health: Health::of("spans") })
        .with_sampler(sampler)
        .with_resource(resource);
    Ok(provider.build())
}

/// Sends metrics, once in a while, from a thread of its own. Needs a tokio runtime.
pub fn metrics(to: &Collector) -> Result<PeriodicReader<impl PushMetricExporter>, ExporterBuildError> {
    let exporter =
        MetricExporter::builder().with_tonic().with_channel(to.channel()).with_timeout(to.timeout()).build()?;
    Ok(PeriodicReader::builder(Watched { exporter, health: Health::of("metrics") }).build())
}

/// Who sends spans, metrics and log records: the same for all of them, and another after each start. What
/// `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say goes before it.
pub fn resource() -> Resource {
    let given = Resource::builder().build();
    let says = |key: &'static str| given.get(&Key::from_static_str(key)).map(|value| value.to_string());
    let is_named = says("service.name").is_some_and(|name| !name.starts_with("unknown_service"));
    let defaults = [
        KeyValue::new("service.name", "attache"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance()),
    ];
    let missing = defaults.into_iter().filter(|default| match default.key.as_str() {
        "service.name" => !is_named,
        key => given.get(&Key::from(key.to_owned())).is_none(),
    });
    Resource::builder().with_attributes(missing).build()
}

/// A random UUID (RFC 9562, version 4), the same for as long as the process lives.
fn instance() -> String {
    static INSTANCE: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        let mut random = [0; 16];
        // Without randomness there is one instance of each process id, which is all that can be had.
        if rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).is_err() {
            random = u128::from(std::process::id()).to_be_bytes();
        }
        let bits = u128::from_be_bytes(random) & !(0xf << 76) & !(0x3 << 62) | (4 << 76) | (2 << 62);
        let hex = format!("{bits:032x}");
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| hex.get(part).unwrap_or_default());
        parts.join("-")
    });
    INSTANCE.clone()
}

/// Whether a collector takes what it is sent. Only the changes are said: one that is gone stays gone for a while.
#[derive(Debug)]
pub struct Health {
    what: &'static str,
    fails: AtomicBool,
}

impl Health {
    pub fn of(what: &'static str) -> Self {
        Self { what, fails: AtomicBool::new(false) }
    }

    /// It took them.
    pub fn took(&self) {
        if self.fails.swap(false, Ordering::Relaxed) {
            tracing::info!("the collector takes {} again", self.what);
        }
    }

    /// It did not. What it says itself is not repeated: it may quote what it was sent.
    pub fn refused(&self, error: &dyn std::fmt::Display) {
        if !self.fails.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "the collector does not take {}; decisions and records go on without it", self.what);
        }
    }

    fn heard(&self, outcome: &OTelSdkResult) {
        match outcome {
            Ok(()) => self.took(),
            // At the end.
            Err(OTelSdkError::AlreadyShutdown) => {}
            Err(error) => self.refused(error),
        }
    }
}

/// An exporter whose failures are heard of: the SDK says nothing of them.
#[derive(Debug)]
struct Watched<E> {
    exporter: E,
    health: Health,
}

impl opentelemetry_sdk::trace::SpanExporter for Watched<SpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let outcome = self.exporter.export(batch).await;
        self.health.heard(&outcome);
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        opentelemetry_sdk::trace::SpanExporter::shutdown_with_timeout(&self.exporter, timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        opentelemetry_sdk::trace::SpanExporter::force_flush(&self.exporter)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl PushMetricExporter for Watched<MetricExporter> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let outcome = self.exporter.export(metrics).await;
        self.health.heard(&outcome);
        outcome
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_is_named_with_version_and_instance() {
        let resource = resource();
        let says = |key: &'static str| resource.get(&Key::from_static_str(key)).map(|value| value.to_string());
        assert_eq!(says("service.name").as_deref(), Some("attache"));
        assert_eq!(says("service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
        let id = says("service.instance.id").unwrap();
        let shape: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(shape, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(id.as_bytes()[14], b'4', "{id}");
        assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        assert_eq!(super::resource().get(&Key::from_static_str("service.instance.id")).unwrap().to_string(), id);
    }
}
