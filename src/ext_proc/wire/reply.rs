//! What is written to Envoy.

use prost::bytes::Bytes;

/// `HeaderSendMode`.
const SEND: i32 = 1;
const SKIP: i32 = 2;
/// `BodySendMode`.
const NONE: i32 = 0;
const BUFFERED_PARTIAL: i32 = 3;
const FULL_DUPLEX_STREAMED: i32 = 4;

/// The `append_action` that replaces every field of the name, or adds the first.
pub const OVERWRITE_IF_EXISTS_OR_ADD: i32 = 2;

/// The answer to Envoy.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProcessingResponse {
    #[prost(oneof = "Answer", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub response: Option<Answer>,
    #[prost(message, optional, tag = "8")]
    pub dynamic_metadata: Option<Metadata>,
    /// What else Envoy is to send.
    #[prost(message, optional, tag = "9")]
    pub mode_override: Option<ProcessingMode>,
    /// How long Envoy is to wait for the next answer, from now.
    #[prost(message, optional, tag = "10")]
    pub override_message_timeout: Option<Duration>,
}

/// What Envoy is to send. Every part is stated: what is left out is a default of Envoy's, not what was said before.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct ProcessingMode {
    #[prost(int32, tag = "1")]
    pub request_header_mode: i32,
    #[prost(int32, tag = "2")]
    pub response_header_mode: i32,
    #[prost(int32, tag = "3")]
    pub request_body_mode: i32,
    #[prost(int32, tag = "4")]
    pub response_body_mode: i32,
    #[prost(int32, tag = "5")]
    pub request_trailer_mode: i32,
    #[prost(int32, tag = "6")]
    pub response_trailer_mode: i32,
}

impl ProcessingMode {
    /// The heads of requests alone, as the bootstrap has it.
    pub const HEADS: Self = Self {
        request_header_mode: SEND,
        response_header_mode: SKIP,
        request_body_mode: NONE,
        response_body_mode: NONE,
        request_trailer_mode: SKIP,
        response_trailer_mode: SKIP,
    };

    /// The request's body too, as much of it as fits the buffer, and its trailers; nothing goes out before the answers to
    /// them. `end_of_stream` is never true of a body that trailers follow; they are shown once the body is answered, and
    /// what that answer says of the head holds when they are.
    #[must_use]
    pub fn holding_request(self) -> Self {
        Self { request_body_mode: BUFFERED_PARTIAL, request_trailer_mode: SEND, ..self }
    }

    /// The request's body too, as it comes, and its trailers; what goes out is what comes back. Envoy lets the head go with
    /// the first part that comes back if some of the body was there already, else with the answer to the head. No
    /// `message_timeout` counts.
    #[must_use]
    pub fn streaming_request(self) -> Self {
        Self { request_body_mode: FULL_DUPLEX_STREAMED, request_trailer_mode: SEND, ..self }
    }

    /// The response too, as it comes; what reaches the agent is what comes back, its head included. The answer to the head
    /// may wait for any number of parts of the body; no `message_timeout` counts meanwhile.
    #[must_use]
    pub fn streaming_response(self) -> Self {
        Self {
            response_header_mode: SEND,
            response_body_mode: FULL_DUPLEX_STREAMED,
            response_trailer_mode: SEND,
            ..self
        }
    }
}

/// A `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Duration {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// What to do with what was shown.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Answer {
    /// Send the head of the request on.
    #[prost(message, tag = "1")]
    RequestHeaders(HeadersResponse),
    /// Send the head of the response on.
    #[prost(message, tag = "2")]
    ResponseHeaders(HeadersResponse),
    /// Send the request on, now that its body has been seen; or a part of the body.
    #[prost(message, tag = "3")]
    RequestBody(BodyResponse),
    /// Send a part of the response's body on.
    #[prost(message, tag = "4")]
    ResponseBody(BodyResponse),
    /// Send the request's trailers on, and whatever waits for them.
    #[prost(message, tag = "5")]
    RequestTrailers(TrailersResponse),
    /// The same of the response.
    #[prost(message, tag = "6")]
    ResponseTrailers(TrailersResponse),
    /// Answer the request instead.
    #[prost(message, tag = "7")]
    ImmediateResponse(ImmediateResponse),
}

/// How it is sent on.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeadersResponse {
    #[prost(message, optional, tag = "1")]
    pub response: Option<CommonResponse>,
}

/// The same, after a body.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BodyResponse {
    #[prost(message, optional, tag = "1")]
    pub response: Option<CommonResponse>,
}

/// The same, after trailers: as they are.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct TrailersResponse {}

/// The same.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CommonResponse {
    #[prost(message, optional, tag = "2")]
    pub header_mutation: Option<HeaderMutation>,
    #[prost(message, optional, tag = "3")]
    pub body_mutation: Option<BodyMutation>,
    #[prost(bool, tag = "5")]
    pub clear_route_cache: bool,
}

/// What goes out in place of a body.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BodyMutation {
    #[prost(oneof = "Mutation", tags = "1, 3")]
    pub mutation: Option<Mutation>,
}

/// All of it, or some.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Mutation {
    /// In place of a body that was held.
    #[prost(bytes = "vec", tag = "1")]
    Body(Vec<u8>),
    /// Behind what has gone out.
    #[prost(message, tag = "3")]
    StreamedResponse(StreamedBodyResponse),
}

/// The next part of a body.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamedBodyResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub body: Vec<u8>,
    #[prost(bool, tag = "2")]
    pub end_of_stream: bool,
}

/// A field; its value always goes into `raw_value`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(bytes = "vec", tag = "3")]
    pub raw_value: Vec<u8>,
}

/// Fields to set and to take out.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderMutation {
    #[prost(message, repeated, tag = "1")]
    pub set_headers: Vec<HeaderValueOption>,
    #[prost(string, repeated, tag = "2")]
    pub remove_headers: Vec<String>,
}

/// A field to set.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderValueOption {
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderValue>,
    #[prost(int32, tag = "3")]
    pub append_action: i32,
}

/// The answer to a request that is not sent on.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ImmediateResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    #[prost(message, optional, tag = "2")]
    pub headers: Option<HeaderMutation>,
    #[prost(bytes = "vec", tag = "3")]
    pub body: Vec<u8>,
    #[prost(message, optional, tag = "4")]
    pub grpc_status: Option<GrpcStatus>,
    #[prost(string, tag = "5")]
    pub details: String,
}

/// Its status.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// Its status for a caller that speaks gRPC.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct GrpcStatus {
    #[prost(uint32, tag = "1")]
    pub status: u32,
}

/// Dynamic metadata: a `Struct` of one field, the namespace, which holds another.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metadata {
    #[prost(message, optional, tag = "1")]
    pub namespace: Option<Namespace>,
}

impl Metadata {
    /// Says `fields` in a `namespace`.
    pub fn of<const N: usize>(namespace: &'static str, fields: [(&'static str, String); N]) -> Self {
        let field = |(key, text): (&'static str, _)| Entry {
            key: Bytes::from_static(key.as_bytes()),
            value: Some(Text { string_value: Some(text) }),
        };
        let said = Struct { fields: fields.into_iter().map(field).collect() };
        let namespace = Namespace {
            key: Bytes::from_static(namespace.as_bytes()),
            value: Some(NamespaceValue { struct_value: Some(said) }),
        };
        Self { namespace: Some(namespace) }
    }
}

/// The namespace. Keys are `string` to Envoy; as `bytes` they are the same on the wire and need no copy here.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Namespace {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(message, optional, tag = "2")]
    pub value: Option<NamespaceValue>,
}

/// Its value, a `Struct`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NamespaceValue {
    #[prost(message, optional, tag = "5")]
    pub struct_value: Option<Struct>,
}

/// What is said in it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Struct {
    #[prost(message, repeated, tag = "1")]
    pub fields: Vec<Entry>,
}

/// One thing.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(message, optional, tag = "2")]
    pub value: Option<Text>,
}

/// Its text.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Text {
    /// There even when empty, as a member of a `oneof` is.
    #[prost(string, optional, tag = "3")]
    pub string_value: Option<String>,
}
