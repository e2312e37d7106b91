//! An OpenTelemetry collector that keeps what it is sent.

use std::net::{Ipv4Addr, SocketAddr};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tonic::{Request, Response, Status};

use super::within;

/// OTLP over gRPC, for traces, on loopback.
pub struct Collector {
    address: SocketAddr,
    spans: watch::Sender<Vec<Received>>,
    server: AbortHandle,
}

/// A span, and whose it is.
#[derive(Clone, Debug)]
pub struct Received {
    /// The resource's `service.name`.
    pub service: String,
    pub span: Span,
}

impl Received {
    /// A text attribute of the span.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        let attribute = self.span.attributes.iter().find(|attribute| attribute.key == key)?;
        match attribute.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => Some(text),
            other => panic!("`{key}` is no text: {other:?}"),
        }
    }
}

impl Collector {
    pub async fn start() -> Collector {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let spans = watch::Sender::default();
        let service = TraceServiceServer::new(Sink(spans.clone()));
        let server = serve(listener, TowerToHyperService::new(service));
        Collector { address, spans, server: tokio::spawn(server).abort_handle() }
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn spans(&self) -> Vec<Received> {
        self.spans.borrow().clone()
    }

    /// The spans once `enough` holds for them.
    pub async fn wait_until(&self, what: &str, enough: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let mut spans = self.spans.subscribe();
        within(what, spans.wait_for(|spans| enough(spans))).await.unwrap().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, service: TowerToHyperService<TraceServiceServer<Sink>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service.clone();
        connections.spawn(async move {
            // An exporter leaves as it likes.
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

struct Sink(watch::Sender<Vec<Received>>);

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for batch in request.into_inner().resource_spans {
            let resource = batch.resource.unwrap_or_default();
            let mut attributes = resource.attributes.into_iter();
            let name = attributes.find(|attribute| attribute.key == "service.name");
            let service = match name.and_then(|name| name.value?.value) {
                Some(Value::StringValue(name)) => name,
                _ => String::new(),
            };
            self.0.send_modify(|all| {
                let spans = batch.scope_spans.into_iter().flat_map(|scope| scope.spans);
                all.extend(spans.map(|span| Received { service: service.clone(), span }));
            });
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
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
