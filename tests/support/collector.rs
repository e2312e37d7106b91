//! An OpenTelemetry collector that keeps what it is sent.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tonic::codegen::Service;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::within;

/// OTLP over gRPC, for spans, metrics and log records, on loopback.
pub struct Collector {
    address: SocketAddr,
    sink: Sink,
    server: AbortHandle,
}

/// Everything that came, in the order in which it came.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    pub spans: Vec<Received>,
    pub metrics: Vec<ReceivedMetric>,
    pub logs: Vec<ReceivedLog>,
    /// The metadata of every message.
    pub headers: Vec<MetadataMap>,
    /// Every message as it was on the wire.
    pub bytes: Vec<u8>,
    /// Messages that were refused.
    pub refused: usize,
}

/// A span, and whose it is.
#[derive(Clone, Debug)]
pub struct Received {
    /// The resource's `service.name`.
    pub service: String,
    pub resource: Resource,
    pub span: Span,
}

/// A metric, and whose it is.
#[derive(Clone, Debug)]
pub struct ReceivedMetric {
    pub resource: Resource,
    pub metric: Metric,
}

/// A log record, and whose it is.
#[derive(Clone, Debug)]
pub struct ReceivedLog {
    pub resource: Resource,
    pub record: LogRecord,
}

/// A text among attributes.
pub fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        other => panic!("`{key}` is no text: {other:?}"),
    }
}

/// A number among attributes.
pub fn number(attributes: &[KeyValue], key: &str) -> Option<i64> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::IntValue(number) => Some(*number),
        other => panic!("`{key}` is no number: {other:?}"),
    }
}

impl Received {
    /// A text attribute of the span.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        text(&self.span.attributes, key)
    }
}

impl Collector {
    pub async fn start() -> Collector {
        Collector::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// At an address where nobody listens.
    pub async fn start_at(address: SocketAddr) -> Collector {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let sink = Sink::default();
        let server = tokio::spawn(serve(listener, sink.clone())).abort_handle();
        Collector { address, sink, server }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers everything with an error from now on, or takes it again.
    pub fn refuse(&self, refuse: bool) {
        self.sink.refuses.store(refuse, Ordering::SeqCst);
    }

    pub fn spans(&self) -> Vec<Received> {
        self.sink.taken.borrow().spans.clone()
    }

    /// Everything that came until now.
    pub fn taken(&self) -> Taken {
        self.sink.taken.borrow().clone()
    }

    /// The spans once `enough` holds for them.
    pub async fn wait_until(&self, what: &str, enough: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        self.wait(what, |taken| enough(&taken.spans)).await.spans
    }

    /// Everything once `enough` holds for it.
    pub async fn wait(&self, what: &str, enough: impl Fn(&Taken) -> bool) -> Taken {
        let mut taken = self.sink.taken.subscribe();
        within(what, taken.wait_for(|taken| enough(taken))).await.unwrap().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, sink: Sink) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let sink = sink.clone();
        let call = service_fn(move |request: hyper::Request<Incoming>| {
            let sink = sink.clone();
            async move {
                match request.uri().path().split('.').nth(3) {
                    Some("logs") => LogsServiceServer::new(sink).call(request).await,
                    Some("metrics") => MetricsServiceServer::new(sink).call(request).await,
                    _ => TraceServiceServer::new(sink).call(request).await,
                }
            }
        });
        connections.spawn(async move {
            // An exporter leaves as it likes.
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), call)
                .await;
        });
    }
}

#[derive(Clone, Default)]
struct Sink {
    taken: watch::Sender<Taken>,
    refuses: Arc<AtomicBool>,
}

impl Sink {
    /// Keeps a message, unless none is taken.
    fn take<M: Message>(&self, request: Request<M>, keep: impl FnOnce(M, &mut Taken)) -> Result<(), Status> {
        if self.refuses.load(Ordering::SeqCst) {
            self.taken.send_modify(|taken| taken.refused += 1);
            return Err(Status::permission_denied("said-by-the-collector"));
        }
        self.taken.send_modify(|taken| {
            let (headers, _, message) = request.into_parts();
            taken.headers.push(headers);
            taken.bytes.extend(message.encode_to_vec());
            keep(message, taken);
        });
        Ok(())
    }
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.take(request, |message, taken| {
            for batch in message.resource_spans {
                let resource = batch.resource.unwrap_or_default();
                let service = text(&resource.attributes, "service.name").unwrap_or_default().to_owned();
                let spans = batch.scope_spans.into_iter().flat_map(|scope| scope.spans);
                let received =
                    spans.map(|span| Received { service: service.clone(), resource: resource.clone(), span });
                taken.spans.extend(received);
            }
        })?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Sink {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.take(request, |message, taken| {
            for batch in message.resource_metrics {
                let resource = batch.resource.unwrap_or_default();
                let metrics = batch.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
                taken.metrics.extend(metrics.map(|metric| ReceivedMetric { resource: resource.clone(), metric }));
            }
        })?;
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Sink {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.take(request, |message, taken| {
            for batch in message.resource_logs {
                let resource = batch.resource.unwrap_or_default();
                let records = batch.scope_logs.into_iter().flat_map(|scope| scope.log_records);
                taken.logs.extend(records.map(|record| ReceivedLog { resource: resource.clone(), record }));
            }
        })?;
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::KeyValue;
    use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
    use opentelemetry_otlp::{SpanExporter, WithExportConfig};
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    #[tokio::test]
    async fn keeps_log_records_and_metrics_with_their_resource() {
        use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
        use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
        use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
        use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};

        let collector = Collector::start().await;
        let record = LogRecord { event_name: "decision".to_owned(), ..LogRecord::default() };
        let scope_logs = vec![ScopeLogs { log_records: vec![record.clone()], ..ScopeLogs::default() }];
        let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
        let mut logs = LogsServiceClient::connect(collector.endpoint()).await.unwrap();
        logs.export(ExportLogsServiceRequest { resource_logs }).await.unwrap();
        let metric = Metric { name: "counted".to_owned(), ..Metric::default() };
        let scope_metrics = vec![ScopeMetrics { metrics: vec![metric.clone()], ..ScopeMetrics::default() }];
        let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
        let mut metrics = MetricsServiceClient::connect(collector.endpoint()).await.unwrap();
        metrics.export(ExportMetricsServiceRequest { resource_metrics }).await.unwrap();

        let taken = collector.taken();
        assert_eq!((&taken.logs[0].record, &taken.logs[0].resource), (&record, &super::Resource::default()));
        assert_eq!((&taken.metrics[0].metric, &taken.metrics[0].resource), (&metric, &super::Resource::default()));
        collector.refuse(true);
        assert!(logs.export(ExportLogsServiceRequest::default()).await.is_err());
        assert_eq!((collector.taken().refused, collector.taken().logs.len()), (1, 1));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn keeps_what_the_real_exporter_sends() {
        let collector = Collector::start().await;
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(collector.endpoint()).build().unwrap();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(Resource::builder().with_service_name("exporting").build())
            .build();
        let mut span = provider.tracer("test").start("decide");
        span.set_attribute(KeyValue::new("attache.decision", "deny"));
        drop(span);
        tokio::task::spawn_blocking(move || provider.shutdown()).await.unwrap().unwrap();

        let spans = collector.wait_until("a span", |spans| !spans.is_empty()).await;
        assert_eq!(spans[0].service, "exporting");
        assert_eq!(spans[0].span.name, "decide");
        assert_eq!(spans[0].attribute("attache.decision"), Some("deny"));
    }
}
