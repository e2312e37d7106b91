//! Envoy's spans on their way to the collector.
//!
//! Envoy sends them to attaché, so that the bootstrap needs no collector's address and Envoy no way out of its own.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;
use prost::bytes::Buf;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::metadata::KeyAndValueRef;
use tonic::server::{Grpc, UnaryService};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_prost::{ProstCodec, ProstEncoder};

use super::export::Health;
use super::scrub::{TRACES, scrub};
use super::settings::Collector;

const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The OTLP trace service that Envoy exports to.
#[derive(Debug, Clone)]
pub struct Relay(Option<Arc<Way>>);

#[derive(Debug)]
struct Way {
    collector: Collector,
    client: TraceServiceClient<Channel>,
    health: Health,
}

impl Relay {
    /// A relay to a collector; without one, spans are dropped. Needs a tokio runtime.
    pub fn new(collector: Option<&Collector>) -> Self {
        Self(collector.map(|collector| {
            let client = TraceServiceClient::new(collector.channel());
            Arc::new(Way { collector: collector.clone(), client, health: Health::of("envoy's spans") })
        }))
    }

    async fn pass_on(self, spans: ExportTraceServiceRequest) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let Some(way) = self.0 else { return Ok(Response::new(ExportTraceServiceResponse::default())) };
        let mut request = Request::new(spans);
        request.set_timeout(way.collector.timeout());
        for header in way.collector.headers().iter() {
            if let KeyAndValueRef::Ascii(name, value) = header {
                request.metadata_mut().append(name, value.clone());
            }
        }
        match way.client.clone().export(request).await {
            Ok(taken) => {
                way.health.took();
                // What the collector says beside it is not Envoy's business.
                Ok(Response::new(taken.into_inner()))
            }
            Err(status) => {
                way.health.refused(&status.code());
                Err(Status::new(status.code(), "the collector did not take the spans"))
            }
        }
    }
}

impl<B> Service<http::Request<B>> for Relay
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let relay = self.clone();
        Box::pin(async move {
            if request.uri().path() != METHOD {
                return Ok(Status::unimplemented("the trace service has no such method").into_http());
            }
            Ok(Grpc::new(Spans).unary(relay, request).await)
        })
    }
}

impl UnaryService<ExportTraceServiceRequest> for Relay {
    type Response = ExportTraceServiceResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<ExportTraceServiceRequest>) -> Self::Future {
        Box::pin(self.clone().pass_on(request.into_inner()))
    }
}

/// Reads spans whose texts may be none: Envoy copies headers into them as they came. Neither we nor a collector could
/// read the whole message, in which other agents' spans are.
struct Spans;

impl Codec for Spans {
    type Encode = ExportTraceServiceResponse;
    type Decode = ExportTraceServiceRequest;
    type Encoder = ProstEncoder<ExportTraceServiceResponse>;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<ExportTraceServiceResponse, ExportTraceServiceRequest>::default().encoder()
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Decoder for Spans {
    type Item = ExportTraceServiceRequest;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let mut message = message.copy_to_bytes(message.remaining()).to_vec();
        scrub(&mut message, TRACES);
        ExportTraceServiceRequest::decode(message.as_slice()).map(Some).map_err(|e| Status::internal(e.to_string()))
    }
}
