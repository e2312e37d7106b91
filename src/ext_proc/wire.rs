//! Envoy's ext_proc messages: the only file that names them.
//!
//! Fields are those of `envoy.service.ext_proc.v3`. What attaché tells Envoy beside the answer itself goes into
//! the dynamic metadata `attache`, which the bootstrap's gate, router and access log read.

use std::collections::HashMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::ext_proc::v3::processing_request::Request as Part;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_response::Response as PartReply;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    CommonResponse, GrpcStatus, HeaderMutation, HeadersResponse, ImmediateResponse,
};
pub use envoy_types::pb::envoy::service::ext_proc::v3::{ProcessingRequest, ProcessingResponse};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};

use crate::pipeline::answer::Answer;
use crate::pipeline::exchange::{Forward, Incoming, Reply};
use crate::pipeline::message::{Door, Fields};
use crate::pipeline::policy::Upstream;

/// The namespace of our dynamic metadata, and the prefix of our filter state.
const NAMESPACE: &str = "attache";
/// The key under which Envoy files the attributes of one filter.
const ATTRIBUTES: &str = "envoy.filters.http.ext_proc";
/// The private header that makes the router choose the plaintext upstream.
const ROUTE_HEADER: &str = "x-attache-int-route";

/// The door a stream comes from, as the bootstrap's `grpc_service.initial_metadata` says.
pub fn door(metadata: &tonic::metadata::MetadataMap) -> Option<Door> {
    match metadata.get("x-attache-door")?.to_str().ok()? {
        "proxy" => Some(Door::Proxy),
        "tls" => Some(Door::Tls),
        "plain" => Some(Door::Plain),
        _ => None,
    }
}

/// Reads the message that opens an exchange. `None` for any other.
pub fn incoming(door: Door, message: ProcessingRequest) -> Option<Incoming> {
    let Some(Part::RequestHeaders(head)) = message.request else { return None };
    let fields: Vec<_> = head
        .headers?
        .headers
        .into_iter()
        .map(|HeaderValue { key, value, raw_value }| {
            (key, if raw_value.is_empty() { value.into_bytes() } else { raw_value })
        })
        .collect();
    let id = fields.iter().find(|(name, _)| name == "x-request-id");
    let request_id = id.and_then(|(_, value)| std::str::from_utf8(value).ok()).map(Arc::from);
    let mut attributes = message.attributes.into_iter().find(|(key, _)| key == ATTRIBUTES).map(|(_, v)| v.fields);
    let mut attribute = |name: &str| match attributes.as_mut()?.remove(name)?.kind? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    };
    Some(Incoming {
        door,
        session: attribute("filter_state['attache.session']"),
        sni: attribute("connection.requested_server_name"),
        source: attribute("source.address").map(Into::into),
        fields: Fields::new(fields),
        request_id: request_id.unwrap_or_else(|| "".into()),
    })
}

/// Writes the reply to the message that opened an exchange.
pub fn reply(reply: Reply, request_id: &str) -> ProcessingResponse {
    match reply {
        Reply::Tunnel { session } => {
            let metadata = metadata(&[("decision", "tunnel"), ("session", &session), ("id", request_id)]);
            headers_response(CommonResponse::default(), metadata)
        }
        Reply::Allow(forward) => allow(*forward, request_id),
        Reply::Deny(answer) => deny(*answer, request_id),
    }
}

fn allow(forward: Forward, request_id: &str) -> ProcessingResponse {
    let Upstream { first, second } = forward.upstream;
    let text = first.to_string();
    // Most names have one address, which then stands for both.
    let other = (second != first).then(|| second.to_string());
    let second = other.as_deref().unwrap_or(&text);
    let metadata = metadata(&[("decision", "allow"), ("upstream", &text), ("upstream2", second), ("id", request_id)]);
    let mut set: Vec<_> = forward.set.into_iter().map(|(name, value)| set_header(&name, value.to_vec())).collect();
    if forward.plaintext {
        set.push(set_header(ROUTE_HEADER, b"plain".to_vec()));
    }
    let remove: Vec<_> = forward.remove.into_iter().map(String::from).collect();
    let mutation =
        (!set.is_empty() || !remove.is_empty()).then_some(HeaderMutation { set_headers: set, remove_headers: remove });
    // The route was chosen before the private header was there.
    let common =
        CommonResponse { header_mutation: mutation, clear_route_cache: forward.plaintext, ..Default::default() };
    headers_response(common, metadata)
}

fn deny(answer: Answer, request_id: &str) -> ProcessingResponse {
    let headers = answer.fields.iter().map(|(name, value)| set_header(name, value.clone().into_bytes())).collect();
    let immediate = ImmediateResponse {
        status: Some(HttpStatus { code: i32::from(answer.status) }),
        headers: Some(HeaderMutation { set_headers: headers, remove_headers: Vec::new() }),
        body: answer.body.into_bytes(),
        grpc_status: answer.grpc_status.map(|status| GrpcStatus { status }),
        details: "attache_denied".into(),
    };
    ProcessingResponse {
        response: Some(PartReply::ImmediateResponse(immediate)),
        dynamic_metadata: Some(metadata(&[("decision", "deny"), ("id", request_id)])),
        ..Default::default()
    }
}

fn headers_response(common: CommonResponse, metadata: Struct) -> ProcessingResponse {
    ProcessingResponse {
        response: Some(PartReply::RequestHeaders(HeadersResponse { response: Some(common) })),
        dynamic_metadata: Some(metadata),
        ..Default::default()
    }
}

/// Sets a field and drops every other of its name: an agent may have sent two.
fn set_header(name: &str, value: Vec<u8>) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.into(), value: String::new(), raw_value: value }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..Default::default()
    }
}

fn metadata(entries: &[(&str, &str)]) -> Struct {
    let text = |value: &str| Value { kind: Some(Kind::StringValue(value.to_owned())) };
    let ours: HashMap<_, _> = entries.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect();
    let ours = Value { kind: Some(Kind::StructValue(Struct { fields: ours })) };
    Struct { fields: HashMap::from([(NAMESPACE.to_owned(), ours)]) }
}
