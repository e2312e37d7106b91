//! Between Envoy's messages and the core's events and replies.
//!
//! What attaché tells Envoy beside the answer itself goes into the dynamic metadata `attache`, which the bootstrap's
//! gate, router and access log read.

use std::sync::Arc;

use super::wire::{
    self, CommonResponse, GrpcStatus, HeaderMutation, HeaderValue, HeaderValueOption, HeadersResponse, HttpStatus,
    ImmediateResponse, Metadata, ProcessingRequest, ProcessingResponse,
};
use crate::pipeline::address::socket_text;
use crate::pipeline::answer::Answer;
use crate::pipeline::exchange::{Forward, Incoming, Reply};
use crate::pipeline::message::{Door, Fields};
use crate::pipeline::policy::Upstream;

/// The namespace of our dynamic metadata, and the prefix of our filter state.
const NAMESPACE: &str = "attache";
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
    let ProcessingRequest { request_headers, attributes } = message;
    let fields = request_headers?;
    let id = fields.iter().find(|(name, _)| name == "x-request-id");
    let request_id = id.and_then(|(_, value)| std::str::from_utf8(value).ok()).map(Arc::from);
    Some(Incoming {
        door,
        session: attributes.session,
        sni: attributes.sni,
        source: attributes.source.map(Into::into),
        peer: attributes.peer,
        fields: Fields::new(fields),
        request_id: request_id.unwrap_or_else(|| "".into()),
    })
}

/// Writes the reply to the message that opened an exchange.
pub fn reply(reply: Reply, request_id: &str) -> ProcessingResponse {
    match reply {
        Reply::Tunnel { session } => {
            let said = [("decision", "tunnel".into()), ("session", session), ("id", request_id.into())];
            headers_response(CommonResponse::default(), Metadata::of(NAMESPACE, said))
        }
        Reply::Allow(forward) => allow(*forward, request_id),
        Reply::Deny(answer) => deny(*answer, request_id),
    }
}

fn allow(forward: Forward, request_id: &str) -> ProcessingResponse {
    let Upstream { first, second } = forward.upstream;
    let text = socket_text(first);
    // Most names have one address, which then stands for both.
    let other = if second == first { text.clone() } else { socket_text(second) };
    let said = [("decision", "allow".into()), ("upstream", text), ("upstream2", other), ("id", request_id.to_owned())];
    let mut set: Vec<_> =
        forward.set.into_iter().map(|(name, mut value)| set_header(name.into(), std::mem::take(&mut *value))).collect();
    if forward.plaintext {
        set.push(set_header(ROUTE_HEADER.into(), b"plain".to_vec()));
    }
    let remove: Vec<_> = forward.remove.into_iter().map(String::from).collect();
    let mutation =
        (!set.is_empty() || !remove.is_empty()).then_some(HeaderMutation { set_headers: set, remove_headers: remove });
    // The route was chosen before the private header was there.
    let common = CommonResponse { header_mutation: mutation, clear_route_cache: forward.plaintext };
    headers_response(common, Metadata::of(NAMESPACE, said))
}

fn deny(answer: Answer, request_id: &str) -> ProcessingResponse {
    let fields = answer.fields.into_iter();
    let set_headers = fields.map(|(name, value)| set_header(name.into(), value.into_bytes())).collect();
    let immediate = ImmediateResponse {
        status: Some(HttpStatus { code: i32::from(answer.status) }),
        headers: Some(HeaderMutation { set_headers, remove_headers: Vec::new() }),
        body: answer.body.into_bytes(),
        grpc_status: answer.grpc_status.map(|status| GrpcStatus { status }),
        details: "attache_denied".into(),
    };
    let said = [("decision", "deny".into()), ("id", request_id.into())];
    ProcessingResponse {
        response: Some(wire::Answer::ImmediateResponse(immediate)),
        dynamic_metadata: Some(Metadata::of(NAMESPACE, said)),
    }
}

fn headers_response(common: CommonResponse, metadata: Metadata) -> ProcessingResponse {
    ProcessingResponse {
        response: Some(wire::Answer::RequestHeaders(HeadersResponse { response: Some(common) })),
        dynamic_metadata: Some(metadata),
    }
}

/// Sets a field and drops every other of its name: an agent may have sent two.
fn set_header(name: String, value: Vec<u8>) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name, raw_value: value }),
        append_action: wire::OVERWRITE_IF_EXISTS_OR_ADD,
    }
}
