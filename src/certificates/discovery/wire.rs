//! Delta discovery, with the names in Envoy's requests as bytes.
//!
//! They are what clients wrote into their handshakes, and a client may write bytes that are no text. Read as a
//! protobuf `string`, one such name is an error of the whole stream, and Envoy says it again on the next: no other
//! name would ever get a certificate. Tags are those of `envoy.service.discovery.v3`; a test holds them against Envoy's own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::task::{Context, Poll};

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use envoy_types::pb::google::rpc;
use futures_util::stream::BoxStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::Discovery;

const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// The service for a server.
#[derive(Clone)]
pub struct DiscoveryServer(Discovery);

impl DiscoveryServer {
    /// Serves `discovery`.
    pub fn new(discovery: Discovery) -> Self {
        Self(discovery)
    }
}

impl<B> Service<http::Request<B>> for DiscoveryServer
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
        let server = self.clone();
        Box::pin(async move {
            if request.uri().path() != METHOD {
                let only = "only delta discovery is served; set `api_type: DELTA_GRPC` in `ads_config`";
                return Ok(Status::unimplemented(only).into_http());
            }
            Ok(Grpc::new(tonic_prost::ProstCodec::default()).streaming(server, request).await)
        })
    }
}

impl StreamingService<DeltaRequest> for DiscoveryServer {
    type Response = DeltaDiscoveryResponse;
    type ResponseStream = BoxStream<'static, Result<DeltaDiscoveryResponse, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<DeltaRequest>>) -> Self::Future {
        let replies = self.0.converse(request.into_inner());
        Box::pin(async move { Ok(Response::new(replies)) })
    }
}

/// What Envoy asks. A field that is not declared is skipped.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaRequest {
    #[prost(string, tag = "2")]
    pub type_url: String,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub subscribe: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub unsubscribe: Vec<Vec<u8>>,
    /// Of what it has; it was given nothing whose name is no text.
    #[prost(map = "string, string", tag = "5")]
    pub initial_versions: HashMap<String, String>,
    #[prost(string, tag = "6")]
    pub nonce: String,
    #[prost(message, optional, tag = "7")]
    pub error: Option<rpc::Status>,
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
    use prost::Message;

    use super::*;

    #[test]
    fn what_is_read_is_what_envoy_writes() {
        let error = rpc::Status { code: 3, message: "no".into(), details: Vec::new() };
        let written = DeltaDiscoveryRequest {
            type_url: "t".into(),
            resource_names_subscribe: vec!["a".into(), "b".into()],
            resource_names_unsubscribe: vec!["c".into()],
            initial_resource_versions: HashMap::from([("d".into(), "1".into())]),
            response_nonce: "n".into(),
            error_detail: Some(error.clone()),
            ..Default::default()
        };
        let read = DeltaRequest::decode(written.encode_to_vec().as_slice()).unwrap();
        let expected = DeltaRequest {
            type_url: "t".into(),
            subscribe: vec![b"a".to_vec(), b"b".to_vec()],
            unsubscribe: vec![b"c".to_vec()],
            initial_versions: HashMap::from([("d".into(), "1".into())]),
            nonce: "n".into(),
            error: Some(error),
        };
        assert_eq!(read, expected);
    }
}
