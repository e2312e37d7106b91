//! Envoy's External Processing service, with the parts of its messages that are read or written and no others.
//!
//! What is read is copied once, into what the core takes; the rest of a message is stepped over. Names and numbers are
//! those of `envoy.service.ext_proc.v3`, `envoy.config.core.v3` and `google.protobuf`; tests hold them against Envoy's own.

mod reply;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use prost::bytes::Bytes;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};

pub use reply::*;

use super::{ExternalProcessor, StrictStream};
use crate::grpc::BytesCodec;
use crate::pipeline::message::Fields;
use crate::protobuf::{Malformed, Value, entry, fields, string_value, text};

const METHOD: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";

impl<B> Service<http::Request<B>> for ExternalProcessor
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
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != METHOD {
                return Ok(Status::unimplemented("the external processor has no such method").into_http());
            }
            Ok(Grpc::new(BytesCodec::default()).streaming(service, request).await)
        })
    }
}

impl StreamingService<Bytes> for ExternalProcessor {
    type Response = ProcessingResponse;
    /// On the heap, since tonic moves it from hand to hand.
    type ResponseStream = Pin<Box<StrictStream>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        ready(self.process(request))
    }
}

/// A message of Envoy's.
#[derive(Debug, Default, PartialEq)]
pub struct ProcessingRequest {
    /// What it shows.
    pub part: Option<Part>,
    /// The attributes that the bootstrap asks for.
    pub attributes: Attributes,
}

/// A part of an exchange.
#[derive(Debug, PartialEq)]
pub enum Part {
    /// The head of the request.
    RequestHeaders(Head),
    /// The head of the response.
    ResponseHeaders(Head),
    /// The body of the request, or some of it.
    RequestBody(HttpBody),
    /// The body of the response, or some of it.
    ResponseBody(HttpBody),
    /// The fields behind the body of the request.
    RequestTrailers(Fields),
    /// The fields behind the body of the response.
    ResponseTrailers(Fields),
}

/// A head.
#[derive(Debug, Default, PartialEq)]
pub struct Head {
    /// Its fields, in order.
    pub fields: Fields,
    /// True if nothing follows it.
    pub end_of_stream: bool,
}

/// A body.
#[derive(Debug, Default, PartialEq)]
pub struct HttpBody {
    /// Its bytes.
    pub body: Vec<u8>,
    /// True if that is all of it.
    pub end_of_stream: bool,
}

/// Attributes that are text. Envoy files them under the filter that asked for them.
#[derive(Debug, Default, PartialEq)]
pub struct Attributes {
    /// `filter_state['attache.session']`
    pub session: Option<String>,
    /// `connection.requested_server_name`
    pub sni: Option<String>,
    /// `source.address`
    pub source: Option<String>,
    /// `filter_state['attache.peer']`
    pub peer: Option<String>,
    /// `destination.address`
    pub destination: Option<String>,
    /// `request.time`
    pub time: Option<String>,
}

impl ProcessingRequest {
    /// Reads a message.
    pub fn read(message: &[u8]) -> Result<Self, Malformed> {
        let mut read = Self::default();
        for field in fields(message) {
            match field? {
                (2, Value::Bytes(message)) => read.part = head(message)?.map(Part::RequestHeaders),
                (3, Value::Bytes(message)) => read.part = head(message)?.map(Part::ResponseHeaders),
                (4, Value::Bytes(message)) => read.part = Some(Part::RequestBody(body(message)?)),
                (5, Value::Bytes(message)) => read.part = Some(Part::ResponseBody(body(message)?)),
                (6, Value::Bytes(message)) => read.part = Some(Part::RequestTrailers(trailers(message)?)),
                (7, Value::Bytes(message)) => read.part = Some(Part::ResponseTrailers(trailers(message)?)),
                (9, Value::Bytes(attributes)) => {
                    if let ("envoy.filters.http.ext_proc", of_filter) = entry(attributes)? {
                        read.attributes.read(of_filter)?;
                    }
                }
                _ => {}
            }
        }
        Ok(read)
    }
}

impl Attributes {
    fn read(&mut self, of_filter: &[u8]) -> Result<(), Malformed> {
        for field in fields(of_filter) {
            let (1, Value::Bytes(attribute)) = field? else { continue };
            let (name, value) = entry(attribute)?;
            let slot = match name {
                "filter_state['attache.session']" => &mut self.session,
                "connection.requested_server_name" => &mut self.sni,
                "source.address" => &mut self.source,
                "filter_state['attache.peer']" => &mut self.peer,
                "destination.address" => &mut self.destination,
                "request.time" => &mut self.time,
                _ => continue,
            };
            *slot = string_value(value)?.map(Into::into);
        }
        Ok(())
    }
}

/// An `HttpHeaders`. None if it has no map of fields.
fn head(message: &[u8]) -> Result<Option<Head>, Malformed> {
    let mut read = None;
    let mut end_of_stream = false;
    for field in fields(message) {
        match field? {
            (1, Value::Bytes(map)) => header_map(map, &mut read)?,
            (3, Value::Varint(ends)) => end_of_stream = ends != 0,
            _ => {}
        }
    }
    Ok(read.map(|fields| Head { fields, end_of_stream }))
}

/// An `HttpTrailers`.
fn trailers(message: &[u8]) -> Result<Fields, Malformed> {
    let mut read = None;
    for field in fields(message) {
        if let (1, Value::Bytes(map)) = field? {
            header_map(map, &mut read)?;
        }
    }
    Ok(read.unwrap_or_default())
}

/// A `HeaderMap`, whose fields are added to those that were read.
fn header_map(map: &[u8], read: &mut Option<Fields>) -> Result<(), Malformed> {
    // About what a request has.
    let headers = read.get_or_insert_with(|| Fields::with_capacity(24, map.len()));
    for field in fields(map) {
        if let (1, Value::Bytes(header)) = field? {
            let (name, value) = header_value(header)?;
            headers.push(name, value);
        }
    }
    Ok(())
}

/// An `HttpBody`.
fn body(message: &[u8]) -> Result<HttpBody, Malformed> {
    let mut read = HttpBody::default();
    for field in fields(message) {
        match field? {
            (1, Value::Bytes(bytes)) => read.body = bytes.into(),
            (2, Value::Varint(ends)) => read.end_of_stream = ends != 0,
            _ => {}
        }
    }
    Ok(read)
}

/// The name and value of one field; Envoy writes its value as either of two.
fn header_value(header: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let (mut key, mut value, mut raw_value) = ("", "", &[][..]);
    for field in fields(header) {
        match field? {
            (1, Value::Bytes(bytes)) => key = text(bytes)?,
            (2, Value::Bytes(bytes)) => value = text(bytes)?,
            (3, Value::Bytes(bytes)) => raw_value = bytes,
            _ => {}
        }
    }
    let value = if raw_value.is_empty() { value.as_bytes() } else { raw_value };
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use envoy_types::pb::envoy::config::core::v3 as core;
    use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
    use envoy_types::pb::envoy::service::ext_proc::v3 as envoy;
    use envoy_types::pb::envoy::service::ext_proc::v3::processing_request::Request as EnvoysPart;
    use envoy_types::pb::envoy::service::ext_proc::v3::processing_response::Response as PartReply;
    use envoy_types::pb::envoy::r#type::v3 as envoy_type;
    use envoy_types::pb::google::protobuf as google;
    use envoy_types::pb::google::protobuf::value::Kind;
    use prost::Message;

    use super::*;

    /// What Envoy reads in what we write.
    fn read(ours: &ProcessingResponse) -> envoy::ProcessingResponse {
        envoy::ProcessingResponse::decode(ours.encode_to_vec().as_slice()).unwrap()
    }

    /// What we read in what Envoy writes.
    fn written(envoys: &envoy::ProcessingRequest) -> ProcessingRequest {
        ProcessingRequest::read(&envoys.encode_to_vec()).unwrap()
    }

    fn value(kind: Kind) -> google::Value {
        google::Value { kind: Some(kind) }
    }

    fn text(text: &str) -> google::Value {
        value(Kind::StringValue(text.into()))
    }

    fn struct_of(fields: impl IntoIterator<Item = (&'static str, google::Value)>) -> google::Struct {
        google::Struct { fields: fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect() }
    }

    fn set(key: &str, value: &str) -> (HeaderValueOption, core::HeaderValueOption) {
        let ours = HeaderValueOption {
            header: Some(HeaderValue { key: key.into(), raw_value: value.into() }),
            append_action: OVERWRITE_IF_EXISTS_OR_ADD,
        };
        let header = core::HeaderValue { key: key.into(), value: String::new(), raw_value: value.into() };
        let envoys = core::HeaderValueOption {
            header: Some(header),
            append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
            ..Default::default()
        };
        (ours, envoys)
    }

    #[test]
    fn a_head_is_read_as_envoy_writes_it() {
        let headers = vec![
            core::HeaderValue { key: ":path".into(), value: String::new(), raw_value: b"/\xff".into() },
            core::HeaderValue { key: "x-request-id".into(), value: "r1".into(), raw_value: Vec::new() },
            core::HeaderValue { key: "x-empty".into(), value: String::new(), raw_value: Vec::new() },
        ];
        let asked = struct_of([
            ("source.address", text("192.0.2.1:5")),
            ("destination.address", text("192.0.2.2:443")),
            ("request.time", text("2026-11-21T08:00:00.5Z")),
            ("filter_state['attache.peer']", text("17;spiffe://a/b")),
            ("filter_state['attache.session']", text("2;a;b;;;")),
            ("connection.requested_server_name", value(Kind::NumberValue(1.0))),
            ("another", text("value")),
        ]);
        let others = struct_of([("source.address", text("198.51.100.1:1"))]);
        let read = written(&envoy::ProcessingRequest {
            request: Some(EnvoysPart::RequestHeaders(envoy::HttpHeaders {
                headers: Some(core::HeaderMap { headers }),
                end_of_stream: true,
                ..Default::default()
            })),
            attributes: HashMap::from([
                ("envoy.filters.http.ext_proc".to_owned(), asked),
                ("another.filter".to_owned(), others),
            ]),
            metadata_context: Some(core::Metadata {
                filter_metadata: HashMap::from([("other".to_owned(), struct_of([("key", text("value"))]))]),
                ..Default::default()
            }),
            protocol_config: Some(envoy::ProtocolConfiguration { request_body_mode: 1, ..Default::default() }),
            ..Default::default()
        });

        let expected = ProcessingRequest {
            part: Some(Part::RequestHeaders(Head {
                fields: Fields::new(vec![
                    (":path".to_owned(), b"/\xff".to_vec()),
                    ("x-request-id".to_owned(), b"r1".to_vec()),
                    ("x-empty".to_owned(), Vec::new()),
                ]),
                end_of_stream: true,
            })),
            attributes: Attributes {
                session: Some("2;a;b;;;".into()),
                sni: None,
                source: Some("192.0.2.1:5".into()),
                peer: Some("17;spiffe://a/b".into()),
                destination: Some("192.0.2.2:443".into()),
                time: Some("2026-11-21T08:00:00.5Z".into()),
            },
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn a_body_is_read_as_envoy_writes_it() {
        for (body, end_of_stream) in [(&b"body"[..], true), (b"\xff", false), (b"", true)] {
            let envoys = || envoy::HttpBody { body: body.into(), end_of_stream, ..Default::default() };
            let ours = || HttpBody { body: body.into(), end_of_stream };
            for (part, expected) in [
                (EnvoysPart::RequestBody(envoys()), Part::RequestBody(ours())),
                (EnvoysPart::ResponseBody(envoys()), Part::ResponseBody(ours())),
            ] {
                let read = written(&envoy::ProcessingRequest { request: Some(part), ..Default::default() });
                assert_eq!(read, ProcessingRequest { part: Some(expected), ..ProcessingRequest::default() });
            }
        }
    }

    #[test]
    fn a_response_and_trailers_are_read_as_envoy_writes_them() {
        let field = core::HeaderValue { key: ":status".into(), value: String::new(), raw_value: b"200".into() };
        let headers = Some(core::HeaderMap { headers: vec![field] });
        let fields = || Fields::new(vec![(":status".to_owned(), b"200".to_vec())]);
        let head = envoy::HttpHeaders { headers: headers.clone(), end_of_stream: true, ..Default::default() };
        let trailers = || envoy::HttpTrailers { trailers: headers.clone() };
        for (part, expected) in [
            (
                EnvoysPart::ResponseHeaders(head),
                Some(Part::ResponseHeaders(Head { fields: fields(), end_of_stream: true })),
            ),
            (EnvoysPart::RequestTrailers(trailers()), Some(Part::RequestTrailers(fields()))),
            (EnvoysPart::ResponseTrailers(trailers()), Some(Part::ResponseTrailers(fields()))),
            (
                EnvoysPart::RequestTrailers(envoy::HttpTrailers::default()),
                Some(Part::RequestTrailers(Fields::default())),
            ),
            (EnvoysPart::ResponseHeaders(envoy::HttpHeaders::default()), None),
        ] {
            let read = written(&envoy::ProcessingRequest { request: Some(part), ..Default::default() });
            assert_eq!(read, ProcessingRequest { part: expected, ..ProcessingRequest::default() });
        }
        assert_eq!(written(&envoy::ProcessingRequest::default()), ProcessingRequest::default());
    }

    #[test]
    fn what_sends_a_request_on_is_read_by_envoy_as_it_was_written() {
        let (ours, envoys) = set("authorization", "Bearer x");
        let mutation = HeaderMutation { set_headers: vec![ours], remove_headers: vec!["x-agent".into()] };
        let common = CommonResponse { header_mutation: Some(mutation), clear_route_cache: true, ..Default::default() };
        let headers = HeadersResponse { response: Some(common) };
        let long = "session ".repeat(3000);
        let read = read(&ProcessingResponse {
            response: Some(Answer::RequestHeaders(headers)),
            dynamic_metadata: Some(metadata("attache", [("decision", "allow"), ("empty", ""), ("long", &long)])),
            ..Default::default()
        });

        let mutation = envoy::HeaderMutation { set_headers: vec![envoys], remove_headers: vec!["x-agent".into()] };
        let common =
            envoy::CommonResponse { header_mutation: Some(mutation), clear_route_cache: true, ..Default::default() };
        let headers = envoy::HeadersResponse { response: Some(common) };
        let said = struct_of([("decision", text("allow")), ("empty", text("")), ("long", text(&long))]);
        let expected = envoy::ProcessingResponse {
            response: Some(PartReply::RequestHeaders(headers)),
            dynamic_metadata: Some(struct_of([("attache", value(Kind::StructValue(said)))])),
            ..Default::default()
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn a_body_that_is_waited_for_and_answered_is_read_by_envoy_as_it_was_written() {
        use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::ProcessingMode as EnvoysMode;
        use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::processing_mode::{
            BodySendMode, HeaderSendMode,
        };
        let common = CommonResponse { clear_route_cache: true, ..Default::default() };
        let ours = read(&ProcessingResponse {
            response: Some(Answer::RequestBody(BodyResponse { response: Some(common) })),
            mode_override: Some(ProcessingMode::HEADS.holding_request()),
            override_message_timeout: Some(Duration { seconds: 20, nanos: 5 }),
            ..Default::default()
        });

        let common = envoy::CommonResponse { clear_route_cache: true, ..Default::default() };
        let expected = envoy::ProcessingResponse {
            response: Some(PartReply::RequestBody(envoy::BodyResponse { response: Some(common) })),
            mode_override: Some(EnvoysMode {
                request_header_mode: HeaderSendMode::Send.into(),
                response_header_mode: HeaderSendMode::Skip.into(),
                request_body_mode: BodySendMode::BufferedPartial.into(),
                response_body_mode: BodySendMode::None.into(),
                request_trailer_mode: HeaderSendMode::Send.into(),
                response_trailer_mode: HeaderSendMode::Skip.into(),
            }),
            override_message_timeout: Some(google::Duration { seconds: 20, nanos: 5 }),
            ..Default::default()
        };
        assert_eq!(ours, expected);
    }

    #[test]
    fn parts_that_go_on_are_read_by_envoy_as_they_were_written() {
        use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::ProcessingMode as EnvoysMode;
        use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::processing_mode::{
            BodySendMode, HeaderSendMode,
        };
        let ours = |mutation| BodyResponse {
            response: Some(CommonResponse {
                body_mutation: Some(BodyMutation { mutation: Some(mutation) }),
                ..Default::default()
            }),
        };
        let envoys = |mutation| envoy::BodyResponse {
            response: Some(envoy::CommonResponse {
                body_mutation: Some(envoy::BodyMutation { mutation: Some(mutation) }),
                ..Default::default()
            }),
        };
        let part = || StreamedBodyResponse { body: b"part".into(), end_of_stream: true };
        let envoys_part = || {
            let part = envoy::StreamedBodyResponse { body: b"part".into(), end_of_stream: true, ..Default::default() };
            envoy::body_mutation::Mutation::StreamedResponse(part)
        };
        for (answer, expected) in [
            (
                Answer::RequestBody(ours(Mutation::Body(b"all".into()))),
                PartReply::RequestBody(envoys(envoy::body_mutation::Mutation::Body(b"all".into()))),
            ),
            (
                Answer::RequestBody(ours(Mutation::StreamedResponse(part()))),
                PartReply::RequestBody(envoys(envoys_part())),
            ),
            (
                Answer::ResponseBody(ours(Mutation::StreamedResponse(part()))),
                PartReply::ResponseBody(envoys(envoys_part())),
            ),
            (
                Answer::RequestTrailers(TrailersResponse {}),
                PartReply::RequestTrailers(envoy::TrailersResponse::default()),
            ),
            (
                Answer::ResponseTrailers(TrailersResponse {}),
                PartReply::ResponseTrailers(envoy::TrailersResponse::default()),
            ),
            (
                Answer::ResponseHeaders(HeadersResponse { response: Some(CommonResponse::default()) }),
                PartReply::ResponseHeaders(envoy::HeadersResponse { response: Some(envoy::CommonResponse::default()) }),
            ),
        ] {
            let mode = ProcessingMode::HEADS.streaming_request().streaming_response();
            let read =
                read(&ProcessingResponse { response: Some(answer), mode_override: Some(mode), ..Default::default() });
            let mode = EnvoysMode {
                request_header_mode: HeaderSendMode::Send.into(),
                response_header_mode: HeaderSendMode::Send.into(),
                request_body_mode: BodySendMode::FullDuplexStreamed.into(),
                response_body_mode: BodySendMode::FullDuplexStreamed.into(),
                request_trailer_mode: HeaderSendMode::Send.into(),
                response_trailer_mode: HeaderSendMode::Send.into(),
            };
            let expected =
                envoy::ProcessingResponse { response: Some(expected), mode_override: Some(mode), ..Default::default() };
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn a_refusal_is_read_by_envoy_as_it_was_written() {
        let (ours, envoys) = set("content-type", "application/json");
        let read = read(&ProcessingResponse {
            response: Some(Answer::ImmediateResponse(ImmediateResponse {
                status: Some(HttpStatus { code: 403 }),
                headers: Some(HeaderMutation { set_headers: vec![ours], remove_headers: Vec::new() }),
                body: b"{}".into(),
                grpc_status: Some(GrpcStatus { status: 7 }),
                details: "denied".into(),
            })),
            ..Default::default()
        });

        let expected = envoy::ProcessingResponse {
            response: Some(PartReply::ImmediateResponse(envoy::ImmediateResponse {
                status: Some(envoy_type::HttpStatus { code: 403 }),
                headers: Some(envoy::HeaderMutation { set_headers: vec![envoys], remove_headers: Vec::new() }),
                body: b"{}".into(),
                grpc_status: Some(envoy::GrpcStatus { status: 7 }),
                details: "denied".into(),
            })),
            ..Default::default()
        };
        assert_eq!(read, expected);
    }
}
