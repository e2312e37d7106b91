//! Records as OpenTelemetry log records, to a collector, over OTLP/gRPC.
//!
//! Not by the SDK's own exporter, which drops what does not fit into its queue and what is not taken in time.

mod record;

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::{Dealt, Deliver, Item, Trouble};
use crate::telemetry::Collector;
use record::record;

/// The longest pause that a collector may ask for.
const LONGEST_WISH: Duration = Duration::from_secs(300);

/// Sends records to a collector.
pub struct Otlp {
    client: LogsServiceClient<Channel>,
    collector: Collector,
    resource: Resource,
    /// How many records one message may have: fewer while the collector refuses larger ones.
    most: usize,
}

impl Otlp {
    /// To this collector, as this resource. Nothing is connected before it is needed; needs a tokio runtime.
    pub fn new(collector: Collector, resource: &opentelemetry_sdk::Resource) -> Self {
        let attributes = resource.iter().map(|(key, value)| attribute(key.as_str(), value.to_string()));
        let resource = Resource { attributes: attributes.collect(), ..Resource::default() };
        Self { client: LogsServiceClient::new(collector.channel()), collector, resource, most: usize::MAX }
    }

    async fn export(&mut self, items: &[Item]) -> Result<u64, Status> {
        let scope = InstrumentationScope {
            name: "attache.journal".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let logs =
            ScopeLogs { scope: Some(scope), log_records: items.iter().map(record).collect(), ..ScopeLogs::default() };
        let logs =
            ResourceLogs { resource: Some(self.resource.clone()), scope_logs: vec![logs], ..ResourceLogs::default() };
        let mut request = Request::new(ExportLogsServiceRequest { resource_logs: vec![logs] });
        *request.metadata_mut() = self.collector.headers().clone();
        request.set_timeout(self.collector.timeout());
        let partial = self.client.export(request).await?.into_inner().partial_success;
        let rejected = partial.map_or(0, |partial| partial.rejected_log_records);
        Ok(u64::try_from(rejected).unwrap_or_default().min(items.len() as u64))
    }
}

impl Deliver for Otlp {
    async fn deliver(&mut self, items: &[Item]) -> Result<Dealt, Trouble> {
        let items = items.get(..self.most).unwrap_or(items);
        let status = match self.export(items).await {
            Ok(rejected) => {
                if rejected > 0 {
                    // What the collector says itself is not repeated: it may quote what it was sent.
                    tracing::error!(
                        sink = "otlp",
                        rejected,
                        "the collector took some records only, and wants no others"
                    );
                }
                self.most = self.most.saturating_mul(2);
                return Ok(Dealt { records: items.len(), delivered: items.len() as u64 - rejected, rejected });
            }
            Err(status) => status,
        };
        match (verdict(&status), items.len()) {
            (Verdict::Smaller, 1) => {
                self.most = usize::MAX;
                let seq = items.first().and_then(|item| item.seq);
                tracing::error!(sink = "otlp", code = ?status.code(), seq, "the collector does not take this record");
                Ok(Dealt { records: 1, delivered: 0, rejected: 1 })
            }
            (Verdict::Smaller, several) => {
                // Which one of them it is, it does not say.
                self.most = several / 2;
                Ok(Dealt::default())
            }
            (Verdict::Later(wish), _) => Err(Trouble { error: said(&status), wish }),
        }
    }
}

/// What a refusal means.
enum Verdict {
    /// It is about what was sent: less of it may be taken.
    Smaller,
    /// All of it is sent again. The OTLP specification drops what is refused with a code that it does not count as
    /// retryable; these are records that must not be lost, and what is wrong then (credentials, a pipeline for logs) can
    /// be put right.
    Later(Duration),
}

fn verdict(status: &Status) -> Verdict {
    match status.code() {
        Code::InvalidArgument => Verdict::Smaller,
        Code::ResourceExhausted => match wish(status) {
            Some(wish) => Verdict::Later(wish),
            // Without a time it is refused for good; servers say so of messages that are too large.
            None => Verdict::Smaller,
        },
        _ => Verdict::Later(wish(status).unwrap_or_default()),
    }
}

/// `google.rpc.RetryInfo` among the status's details.
fn wish(status: &Status) -> Option<Duration> {
    let details = RpcStatus::decode(status.details()).ok()?.details;
    let info = details.into_iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    let wish = Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?);
    Some(wish.min(LONGEST_WISH))
}

/// What is wrong, in words of this process only: a collector's own may quote what it was sent.
fn said(status: &Status) -> String {
    let mut said = format!("{:?}", status.code());
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        said = format!("{said}: {error}");
        source = error.source();
    }
    said
}

fn attribute(key: &str, value: impl Into<String>) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.into())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// `google.rpc.Status`, as far as it counts here.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests;
