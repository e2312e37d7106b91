//! Envoy's Access Log Service, with the parts of its messages that are read and no others.
//!
//! Envoy says some sixty things about every request. A field that is not declared is skipped on the wire: nothing is
//! allocated, copied or hashed for it. Names and numbers are those of `envoy.service.accesslog.v3` and
//! `envoy.data.accesslog.v3`; a test holds them against Envoy's own.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use envoy_types::pb::envoy::config::core::v3::Address;
use envoy_types::pb::envoy::data::accesslog::v3::ResponseFlags;
use envoy_types::pb::envoy::service::accesslog::v3::StreamAccessLogsResponse;
use envoy_types::pb::google::protobuf::{Duration, Timestamp, UInt32Value};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::server::{ClientStreamingService, Grpc};
use tonic::{Request, Response, Status, Streaming};

use super::AccessLog;
use crate::grpc::SliceCodec;

const METHOD: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";

/// The service for a server.
#[derive(Clone)]
pub struct AccessLogServer(Arc<AccessLog>);

impl AccessLogServer {
    /// Serves `log`.
    pub fn new(log: AccessLog) -> Self {
        Self(Arc::new(log))
    }
}

impl<B> Service<http::Request<B>> for AccessLogServer
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
        let log = Self(self.0.clone());
        Box::pin(async move {
            if request.uri().path() != METHOD {
                return Ok(Status::unimplemented("the access log service has no such method").into_http());
            }
            Ok(Grpc::new(SliceCodec::default()).client_streaming(log, request).await)
        })
    }
}

impl ClientStreamingService<StreamAccessLogsMessage> for AccessLogServer {
    type Response = StreamAccessLogsResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<Streaming<StreamAccessLogsMessage>>) -> Self::Future {
        let log = self.0.clone();
        Box::pin(async move {
            log.read(request.into_inner()).await?;
            Ok(Response::new(StreamAccessLogsResponse {}))
        })
    }
}

/// Entries of one log; those of connections (`tcp_logs`) are not read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamAccessLogsMessage {
    #[prost(message, optional, tag = "2")]
    pub http_logs: Option<HttpAccessLogEntries>,
}

/// Entries about requests.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpAccessLogEntries {
    #[prost(message, repeated, tag = "1")]
    pub log_entry: Vec<HttpAccessLogEntry>,
}

/// A request that has ended.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpAccessLogEntry {
    #[prost(message, optional, tag = "1")]
    pub common_properties: Option<AccessLogCommon>,
    #[prost(message, optional, tag = "3")]
    pub request: Option<HttpRequestProperties>,
    #[prost(message, optional, tag = "4")]
    pub response: Option<HttpResponseProperties>,
}

/// What Envoy knows of the connections and the time.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AccessLogCommon {
    #[prost(message, optional, tag = "2")]
    pub downstream_remote_address: Option<Address>,
    #[prost(message, optional, tag = "5")]
    pub start_time: Option<Timestamp>,
    #[prost(message, optional, tag = "12")]
    pub time_to_last_downstream_tx_byte: Option<Duration>,
    #[prost(message, optional, tag = "13")]
    pub upstream_remote_address: Option<Address>,
    #[prost(message, optional, tag = "16")]
    pub response_flags: Option<ResponseFlags>,
    #[prost(message, optional, tag = "17")]
    pub metadata: Option<Metadata>,
    #[prost(message, optional, tag = "23")]
    pub duration: Option<Duration>,
}

/// What the agent asked.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpRequestProperties {
    #[prost(int32, tag = "1")]
    pub request_method: i32,
    #[prost(string, tag = "2")]
    pub scheme: String,
    #[prost(string, tag = "3")]
    pub authority: String,
    #[prost(string, tag = "5")]
    pub path: String,
    #[prost(string, tag = "9")]
    pub request_id: String,
    #[prost(uint64, tag = "12")]
    pub request_body_bytes: u64,
}

/// What the agent was answered.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpResponseProperties {
    #[prost(message, optional, tag = "1")]
    pub response_code: Option<UInt32Value>,
    #[prost(uint64, tag = "3")]
    pub response_body_bytes: u64,
    #[prost(string, tag = "6")]
    pub response_code_details: String,
}

/// Dynamic metadata. A map is a list of its entries on the wire, which is all that is needed to find two of them.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metadata {
    #[prost(message, repeated, tag = "1")]
    pub filter_metadata: Vec<Namespace>,
}

/// One filter's.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Namespace {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<Struct>,
}

/// Its fields.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Struct {
    #[prost(message, repeated, tag = "1")]
    pub fields: Vec<Field>,
}

/// One of them.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Field {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<Value>,
}

/// Its value, where it is text.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    #[prost(string, optional, tag = "3")]
    pub string_value: Option<String>,
}

impl Metadata {
    /// The text under `key` in a filter's `namespace`.
    pub fn text(&self, namespace: &str, key: &str) -> Option<&str> {
        let of = self.filter_metadata.iter().find(|n| n.key == namespace)?.value.as_ref()?;
        of.fields.iter().find(|field| field.key == key)?.value.as_ref()?.string_value.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use envoy_types::pb::envoy::config::core::v3 as core;
    use envoy_types::pb::envoy::config::core::v3::address::Address as Place;
    use envoy_types::pb::envoy::data::accesslog::v3 as data;
    use envoy_types::pb::envoy::service::accesslog::v3 as service;
    use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message as message;
    use envoy_types::pb::google::protobuf as google;
    use prost::Message;

    use super::*;

    #[test]
    fn what_is_read_is_what_envoy_writes() {
        let address = |path: &str| Address { address: Some(Place::Pipe(core::Pipe { path: path.into(), mode: 0 })) };
        let seconds = |seconds| Duration { seconds, nanos: 0 };
        let flags = ResponseFlags { no_route_found: true, ..Default::default() };
        let text = |text: &str| google::Value { kind: Some(google::value::Kind::StringValue(text.into())) };
        let ours = HashMap::from([("id".to_owned(), text("r1")), ("decision".to_owned(), text("allow"))]);
        let common = data::AccessLogCommon {
            downstream_remote_address: Some(address("downstream")),
            downstream_local_address: Some(address("local")),
            time_to_last_downstream_tx_byte: Some(seconds(12)),
            upstream_remote_address: Some(address("upstream")),
            upstream_local_address: Some(address("other")),
            upstream_cluster: "cluster".into(),
            response_flags: Some(flags),
            metadata: Some(core::Metadata {
                filter_metadata: HashMap::from([("attache".into(), google::Struct { fields: ours })]),
                ..Default::default()
            }),
            route_name: "route".into(),
            duration: Some(seconds(23)),
            start_time: Some(google::Timestamp { seconds: 5, nanos: 50 }),
            ..Default::default()
        };
        let request = data::HttpRequestProperties {
            request_method: core::RequestMethod::Put as i32,
            scheme: "https".into(),
            authority: "a.example".into(),
            path: "/path".into(),
            user_agent: "agent".into(),
            request_id: "id".into(),
            original_path: "/original".into(),
            request_headers_bytes: 11,
            request_body_bytes: 12,
            ..Default::default()
        };
        let response = data::HttpResponseProperties {
            response_code: Some(UInt32Value { value: 204 }),
            response_headers_bytes: 2,
            response_body_bytes: 3,
            response_code_details: "via_upstream".into(),
            ..Default::default()
        };
        let entry = data::HttpAccessLogEntry {
            common_properties: Some(common),
            protocol_version: 2,
            request: Some(request),
            response: Some(response),
        };
        let written = service::StreamAccessLogsMessage {
            identifier: Some(message::Identifier { log_name: "proxy".into(), ..Default::default() }),
            log_entries: Some(message::LogEntries::HttpLogs(message::HttpAccessLogEntries { log_entry: vec![entry] })),
        };

        let mut read = StreamAccessLogsMessage::decode(written.encode_to_vec().as_slice()).unwrap();
        let mut entry = read.http_logs.take().unwrap().log_entry.pop().unwrap();
        let metadata = entry.common_properties.as_mut().unwrap().metadata.take().unwrap();
        assert_eq!(metadata.text("attache", "id"), Some("r1"));
        assert_eq!(metadata.text("attache", "decision"), Some("allow"));
        assert_eq!((metadata.text("attache", "upstream"), metadata.text("other", "id")), (None, None));
        let expected = HttpAccessLogEntry {
            common_properties: Some(AccessLogCommon {
                start_time: Some(Timestamp { seconds: 5, nanos: 50 }),
                downstream_remote_address: Some(address("downstream")),
                time_to_last_downstream_tx_byte: Some(seconds(12)),
                upstream_remote_address: Some(address("upstream")),
                response_flags: Some(flags),
                metadata: None,
                duration: Some(seconds(23)),
            }),
            request: Some(HttpRequestProperties {
                request_method: core::RequestMethod::Put as i32,
                scheme: "https".into(),
                authority: "a.example".into(),
                path: "/path".into(),
                request_id: "id".into(),
                request_body_bytes: 12,
            }),
            response: Some(HttpResponseProperties {
                response_code: Some(UInt32Value { value: 204 }),
                response_body_bytes: 3,
                response_code_details: "via_upstream".into(),
            }),
        };
        assert_eq!(entry, expected);
    }
}
