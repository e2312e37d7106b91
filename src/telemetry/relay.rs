//! Envoy's spans on their way to the collector.
//!
//! Envoy sends them to attaché, so that the bootstrap needs no collector's address and Envoy no way out of its own.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Response, Status};

/// The OTLP trace service that Envoy exports to.
#[derive(Debug, Clone)]
pub struct Relay(Option<TraceServiceClient<Channel>>);

impl Relay {
    /// A relay to a collector; without one, spans are dropped. Needs a tokio runtime.
    pub fn new(collector: Option<&str>) -> Result<Self, tonic::transport::Error> {
        let Some(address) = collector else { return Ok(Self(None)) };
        let mut endpoint = Endpoint::from_shared(address.to_owned())?;
        if address.starts_with("https://") {
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots())?;
        }
        Ok(Self(Some(TraceServiceClient::new(endpoint.connect_lazy()))))
    }

    /// The service for a server.
    pub fn service(self) -> TraceServiceServer<Self> {
        TraceServiceServer::new(self)
    }
}

#[tonic::async_trait]
impl TraceService for Relay {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        match &self.0 {
            Some(collector) => collector.clone().export(request.into_inner()).await,
            None => Ok(Response::new(ExportTraceServiceResponse::default())),
        }
    }
}
