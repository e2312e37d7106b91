//! What is written to Envoy.

use prost::bytes::Bytes;
use prost::encoding::{encode_varint, encoded_len_varint};

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
    /// A `Struct` as [`metadata`] writes it.
    #[prost(bytes = "bytes", optional, tag = "8")]
    pub dynamic_metadata: Option<Bytes>,
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

/// Dynamic metadata: a `Struct` of one field, the namespace, which holds another with these texts. It is the deepest part
/// of an answer and the same in nearly all of them: written in one go, it is not measured again at each of its levels.
pub fn metadata<const N: usize>(namespace: &str, texts: [(&str, &str); N]) -> Bytes {
    // What a `Value` takes that is a text, and what a field of a `Struct` with it.
    let value = |text: &str| member(text.len());
    let field = |key: &str, text: &str| member(key.len()) + member(value(text));
    let inner = texts.iter().map(|(key, text)| member(field(key, text))).sum();
    let outer = member(namespace.len()) + member(member(inner));
    let mut out = Vec::with_capacity(member(outer));
    begin(&mut out, FIELD, outer);
    put(&mut out, KEY, namespace);
    begin(&mut out, VALUE, member(inner));
    begin(&mut out, STRUCT_VALUE, inner);
    for (key, text) in texts {
        begin(&mut out, FIELD, field(key, text));
        put(&mut out, KEY, key);
        begin(&mut out, VALUE, value(text));
        // There even when empty, as a member of a `oneof` is.
        put(&mut out, STRING_VALUE, text);
    }
    out.into()
}

/// Members of `google.protobuf.Struct`, of an entry of its map, and of `Value`.
const FIELD: u8 = 1;
const KEY: u8 = 1;
const VALUE: u8 = 2;
const STRING_VALUE: u8 = 3;
const STRUCT_VALUE: u8 = 5;

/// How much a member takes whose content has this length.
fn member(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

/// Begins a member whose content has this length.
fn begin(out: &mut Vec<u8>, number: u8, length: usize) {
    out.push(number << 3 | 2);
    encode_varint(length as u64, out);
}

fn put(out: &mut Vec<u8>, number: u8, text: &str) {
    begin(out, number, text.len());
    out.extend_from_slice(text.as_bytes());
}
