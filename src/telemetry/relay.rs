//! Envoy's spans on their way to the collector.
//!
//! Envoy sends them to attaché, so that the bootstrap needs no collector's address and Envoy no way out of its own. And
//! so that what agents put into requests stays here: Envoy copies URLs and fields into its spans, whatever was found in
//! them. The span of the decision has host and path without it.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
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
use super::traces::{OTHER_METHOD, known_method};

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

    async fn pass_on(
        self,
        mut spans: ExportTraceServiceRequest,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let Some(way) = self.0 else { return Ok(Response::new(ExportTraceServiceResponse::default())) };
        spans
            .resource_spans
            .iter_mut()
            .flat_map(|of| &mut of.scope_spans)
            .flat_map(|of| &mut of.spans)
            .for_each(reduce);
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

/// Attributes of Envoy's that hold nothing of what the agent or the upstream say.
const PLAIN: [&str; 16] = [
    "component",
    "error",
    "grpc.status_code",
    "guid:x-request-id",
    "http.method",
    "http.protocol",
    "http.status_code",
    "node_id",
    "peer.address",
    "request_size",
    "response_flags",
    "response_size",
    "upstream_address",
    "upstream_cluster",
    "upstream_cluster.name",
    "zone",
];

/// Takes out what came from outside.
fn reduce(span: &mut Span) {
    span.attributes.retain(|attribute| PLAIN.contains(&&*attribute.key));
    for attribute in span.attributes.iter_mut().filter(|attribute| attribute.key == "http.method") {
        let method = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(any_value::Value::StringValue(method)) => known_method(method),
            _ => None,
        };
        let method = any_value::Value::StringValue(method.unwrap_or(OTHER_METHOD).to_owned());
        attribute.value = Some(AnyValue { value: Some(method) });
    }
    span.events.clear();
    span.trace_state.clear();
    if let Some(status) = &mut span.status {
        status.message.clear();
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

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::KeyValue;
    use opentelemetry_proto::tonic::trace::v1::{Status, span};

    use super::*;

    #[test]
    fn nothing_that_an_agent_says_goes_on_in_envoys_spans() {
        let attribute = |key: &str, value: &str| KeyValue {
            key: key.into(),
            value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.into())) }),
            ..KeyValue::default()
        };
        let span = |attributes: Vec<KeyValue>| Span {
            name: "ingress".into(),
            span_id: vec![1; 8],
            attributes,
            ..Span::default()
        };
        for (method, expected) in [("GET", "GET"), ("hunter2", "_OTHER")] {
            let mut seen = span(vec![
                attribute("http.url", "https://hunter2.example/hunter2"),
                attribute("user_agent", "hunter2"),
                attribute("grpc.path", "hunter2"),
                attribute("http.method", method),
                attribute("http.status_code", "403"),
            ]);
            seen.events.push(span::Event { name: "hunter2".into(), ..span::Event::default() });
            seen.trace_state = "hunter2".into();
            seen.status = Some(Status { message: "hunter2".into(), code: 2 });
            reduce(&mut seen);
            let mut left = span(vec![attribute("http.method", expected), attribute("http.status_code", "403")]);
            left.status = Some(Status { message: String::new(), code: 2 });
            assert_eq!(seen, left);
        }
    }
}
