//! The words of a service that says yes to everything, encoded once: what is left for a request is its id.

use envoy_types::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};
use envoy_types::pb::envoy::service::ext_proc::v3::{
    CommonResponse, HeaderMutation, HeadersResponse, ProcessingResponse, processing_response,
};
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use memchr::memmem;
use prost::Message;
use prost::bytes::Bytes;

use super::noop_ext_proc::Options;

/// As long as the UUIDs that Envoy gives its requests.
const ID: &str = "00000000-0000-4000-8000-000000000000";
/// The length of gRPC's own head of a message: a flag, and how long the message is.
pub const PREFIX: usize = 5;

/// A reply that lets a request pass, in attaché's words.
pub struct Words {
    reply: Vec<u8>,
    id: usize,
    finder: memmem::Finder<'static>,
}

impl Words {
    /// Encodes it, behind gRPC's prefix.
    pub fn new(options: &Options) -> Self {
        let upstream = options.upstream.to_string();
        let said = [("decision", "allow"), ("id", ID), ("upstream", &upstream), ("upstream2", &upstream)];
        let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
        let said = Struct { fields: said.into_iter().map(|(key, value)| (key.to_owned(), text(value))).collect() };
        let said = Struct { fields: [("attache".to_owned(), Value { kind: Some(Kind::StructValue(said)) })].into() };
        let set = |key: &str, value: &str| HeaderValueOption {
            header: Some(HeaderValue { key: key.to_owned(), raw_value: value.into(), ..Default::default() }),
            append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
            ..Default::default()
        };
        let mut set_headers = vec![set("x-attache-int-route", "plain")];
        set_headers.extend(options.credential.as_ref().map(|key| set("authorization", &format!("Bearer {key}"))));
        let mutation = HeaderMutation { set_headers, remove_headers: vec!["proxy-authorization".to_owned()] };
        let common =
            CommonResponse { header_mutation: Some(mutation), clear_route_cache: true, ..CommonResponse::default() };
        let message = ProcessingResponse {
            dynamic_metadata: Some(said),
            response: Some(processing_response::Response::RequestHeaders(HeadersResponse { response: Some(common) })),
            ..ProcessingResponse::default()
        };
        let reply = framed(&message);
        let id = memmem::find(&reply, ID.as_bytes()).expect("it says the id");
        Self { reply, id, finder: memmem::Finder::new(b"x-request-id") }
    }

    /// The reply to a request, framed.
    pub fn reply_to(&self, request: &[u8]) -> Bytes {
        let mut reply = self.reply.clone();
        // Behind the name: one byte that says what follows, one that says how long it is.
        let id = self.finder.find(request).map(|at| at + "x-request-id".len() + 2);
        if let Some(id) = id.and_then(|at| request.get(at..at + ID.len())) {
            reply[self.id..self.id + ID.len()].copy_from_slice(id);
        }
        reply.into()
    }

    /// The same without gRPC's prefix.
    pub fn message_to(&self, request: &[u8]) -> Bytes {
        self.reply_to(request).slice(PREFIX..)
    }
}

/// A message behind gRPC's prefix.
pub fn framed(message: &impl Message) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.encoded_len()).expect("a short message").to_be_bytes());
    message.encode(&mut framed).expect("a vector grows");
    framed
}
