//! Between Envoy's messages and the core's events and replies.
//!
//! What attaché tells Envoy beside the answer itself goes into the dynamic metadata `attache`, which the bootstrap's
//! gate, router and access log read.

use std::sync::Arc;
use std::time::Duration;

use prost::bytes::Bytes;

use super::wire::{
    self, Attributes, BodyMutation, BodyResponse, CommonResponse, GrpcStatus, Head, HeaderMutation, HeaderValue,
    HeaderValueOption, HeadersResponse, HttpStatus, ImmediateResponse, Mutation, ProcessingMode, ProcessingResponse,
    StreamedBodyResponse, TrailersResponse,
};
use crate::pipeline::address::socket_text;
use crate::pipeline::answer::{Answer, SUMMED};
use crate::pipeline::exchange::{Chunk, Forward, HeadChange, Incoming, Part, Reply};
use crate::pipeline::message::Door;
use crate::pipeline::policy::Upstream;
use crate::pipeline::policy::inspect::ResponseHead;

/// The namespace of our dynamic metadata, and the prefix of our filter state.
const NAMESPACE: &str = "attache";
/// The private header by which the router chooses the plaintext upstream, and whether there may be a second attempt.
const ROUTE_HEADER: &str = "x-attache-int-route";

/// How a stream's requests came in.
#[derive(Debug, Clone, Copy)]
pub struct Entrance {
    door: Door,
    /// Their connections were redirected: no tunnel leads to them.
    transparent: bool,
}

/// The way in that a stream comes from, as the bootstrap's `grpc_service.initial_metadata` says.
pub fn entrance(metadata: &tonic::metadata::MetadataMap) -> Option<Entrance> {
    let (door, transparent) = match metadata.get("x-attache-door")?.to_str().ok()? {
        "proxy" => (Door::Proxy, false),
        "tls" => (Door::Tls, false),
        "plain" => (Door::Plain, false),
        "transparent-tls" => (Door::Tls, true),
        "transparent-plain" => (Door::Plain, true),
        _ => return None,
    };
    Some(Entrance { door, transparent })
}

/// What follows on a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Envoy waits for the answer to the head.
    Head,
    /// Envoy waits for the answer to the body.
    Body,
}

/// Reads the message that opens an exchange.
pub fn incoming(entrance: Entrance, head: Head, attributes: Attributes) -> Incoming {
    let Head { fields, end_of_stream } = head;
    let id = fields.get("x-request-id");
    let request_id = id.and_then(|id| std::str::from_utf8(id).ok()).map(Arc::from);
    Incoming {
        door: entrance.door,
        session: attributes.session,
        destination: attributes.destination.filter(|_| entrance.transparent).map(Into::into),
        sni: attributes.sni,
        source: attributes.source.map(Into::into),
        peer: attributes.peer,
        fields,
        request_id: request_id.unwrap_or_else(|| "".into()),
        ends: end_of_stream,
    }
}

/// Reads the head of a response. None if it has no status, which no Envoy sends.
pub fn response_head(head: Head) -> Option<ResponseHead> {
    let Head { fields, end_of_stream } = head;
    let status = std::str::from_utf8(fields.get(":status")?).ok()?.parse().ok()?;
    Some(ResponseHead { status, fields, ends: end_of_stream })
}

/// Asks Envoy for patience: the next answer may take this long.
pub fn patience(time: Duration) -> ProcessingResponse {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let time = wire::Duration { seconds, nanos: i32::try_from(time.subsec_nanos()).unwrap_or_default() };
    ProcessingResponse { override_message_timeout: Some(time), ..ProcessingResponse::default() }
}

/// Writes the reply to the message of a phase.
pub fn reply(reply: Reply, phase: Phase, request_id: &str) -> ProcessingResponse {
    match reply {
        Reply::HoldBody { response: shows, plaintext } => {
            let mode = ProcessingMode::HEADS.holding_request();
            let mode = if shows { mode.streaming_response() } else { mode };
            let said = pending(request_id);
            // A body that comes in parts goes on before Envoy chooses the route anew: it has to be right by then.
            let set = if plaintext { vec![set_header(ROUTE_HEADER.into(), "plain".into())] } else { Vec::new() };
            let header_mutation = mutation(set, Vec::new());
            let common = CommonResponse { header_mutation, clear_route_cache: plaintext, ..CommonResponse::default() };
            ProcessingResponse { mode_override: Some(mode), ..response(Phase::Head, common, said) }
        }
        Reply::Tunnel { session } => {
            let said = [("decision", "tunnel"), ("session", &session), ("id", request_id)];
            response(phase, CommonResponse::default(), wire::metadata(NAMESPACE, said))
        }
        Reply::Allow(forward) => allow(*forward, phase, request_id),
        Reply::Deny(answer) => deny(*answer, request_id),
    }
}

fn allow(forward: Forward, phase: Phase, request_id: &str) -> ProcessingResponse {
    let mut set: Vec<_> =
        forward.set.into_iter().map(|(name, mut value)| set_header(name.into(), std::mem::take(&mut *value))).collect();
    let route = match (phase, forward.plaintext, forward.once) {
        // It was chosen with the head. A body that came in parts is on its way by now, and Envoy does not survive that
        // its route is taken away from it.
        (Phase::Body, ..) | (_, false, false) => None,
        (Phase::Head, true, false) => Some("plain"),
        (Phase::Head, false, true) => Some("once"),
        (Phase::Head, true, true) => Some("plain-once"),
    };
    set.extend(route.map(|route| set_header(ROUTE_HEADER.into(), route.into())));
    if let Some(body) = &forward.body {
        // `allow_content_length_header`: Envoy refuses a body of another length than the head states.
        set.push(set_header("content-length".into(), body.len().to_string().into_bytes()));
    }
    let remove: Vec<_> = forward.remove.into_iter().map(String::from).collect();
    let body_mutation = forward.body.map(|body| BodyMutation { mutation: Some(Mutation::Body(body)) });
    // The route was chosen before the private header was there.
    let common =
        CommonResponse { header_mutation: mutation(set, remove), body_mutation, clear_route_cache: route.is_some() };
    // Should Envoy have cut the body off where we believe that trailers follow, then the gate stays shut.
    let said = match forward.awaits_trailers {
        true => pending(request_id),
        false => verdict(forward.upstream, request_id),
    };
    let mode = ProcessingMode::HEADS;
    let mode = if forward.shows.request { mode.streaming_request() } else { mode };
    let mode = if forward.shows.response { mode.streaming_response() } else { mode };
    // Envoy takes it in the answer to a head alone; with that of a body, it was told before.
    let mode_override = Some(mode).filter(|mode| phase == Phase::Head && *mode != ProcessingMode::HEADS);
    ProcessingResponse { mode_override, ..response(phase, common, said) }
}

/// No verdict yet. Should there never be one, Envoy's log names the request all the same.
fn pending(request_id: &str) -> Bytes {
    wire::metadata(NAMESPACE, [("decision", "pending"), ("id", request_id)])
}

/// What gate and router go by.
fn verdict(upstream: Upstream, request_id: &str) -> Bytes {
    let Upstream { first, second } = upstream;
    let text = socket_text(first);
    // Most names have one address, which then stands for both.
    let other = (second != first).then(|| socket_text(second));
    let other = other.as_ref().unwrap_or(&text);
    let said = [("decision", "allow"), ("upstream", &text), ("upstream2", other), ("id", request_id)];
    wire::metadata(NAMESPACE, said)
}

/// Writes a part that goes on.
pub fn part(part: Part, request_id: &str) -> ProcessingResponse {
    let streamed = |chunk: Chunk| {
        let next = StreamedBodyResponse { body: chunk.bytes, end_of_stream: chunk.ends };
        let mutation = BodyMutation { mutation: Some(Mutation::StreamedResponse(next)) };
        BodyResponse { response: Some(CommonResponse { body_mutation: Some(mutation), ..CommonResponse::default() }) }
    };
    let mut dynamic_metadata = None;
    let response = match part {
        Part::Request(chunk) => wire::Answer::RequestBody(streamed(chunk)),
        Part::Response(chunk) => wire::Answer::ResponseBody(streamed(chunk)),
        Part::Trailers(releases) => {
            dynamic_metadata = releases.map(|upstream| verdict(upstream, request_id));
            wire::Answer::RequestTrailers(TrailersResponse {})
        }
        Part::ResponseTrailers => wire::Answer::ResponseTrailers(TrailersResponse {}),
        Part::ResponseHead(HeadChange { set, remove }) => {
            let set = set.into_iter().map(|(name, value)| set_header(name.into(), value)).collect();
            let header_mutation = mutation(set, remove.into_iter().map(String::from).collect());
            let common = CommonResponse { header_mutation, ..CommonResponse::default() };
            wire::Answer::ResponseHeaders(HeadersResponse { response: Some(common) })
        }
    };
    ProcessingResponse { response: Some(response), dynamic_metadata, ..ProcessingResponse::default() }
}

/// None where there is nothing to change.
fn mutation(set_headers: Vec<HeaderValueOption>, remove_headers: Vec<String>) -> Option<HeaderMutation> {
    let changes = !set_headers.is_empty() || !remove_headers.is_empty();
    changes.then_some(HeaderMutation { set_headers, remove_headers })
}

fn deny(answer: Answer, request_id: &str) -> ProcessingResponse {
    let set_headers =
        answer.fields.into_iter().map(|(name, value)| set_header(name.into(), value.into_bytes())).collect();
    let immediate = ImmediateResponse {
        status: Some(HttpStatus { code: i32::from(answer.status) }),
        headers: Some(HeaderMutation { set_headers, remove_headers: Vec::new() }),
        body: answer.body.into_bytes(),
        grpc_status: answer.grpc_status.map(|status| GrpcStatus { status }),
        details: "attache_denied".into(),
    };
    let id = if answer.is_summed { SUMMED } else { request_id };
    let said = [("decision", "deny"), ("id", id)];
    ProcessingResponse {
        response: Some(wire::Answer::ImmediateResponse(immediate)),
        dynamic_metadata: Some(wire::metadata(NAMESPACE, said)),
        ..ProcessingResponse::default()
    }
}

fn response(phase: Phase, common: CommonResponse, metadata: Bytes) -> ProcessingResponse {
    let response = match phase {
        Phase::Head => wire::Answer::RequestHeaders(HeadersResponse { response: Some(common) }),
        Phase::Body => wire::Answer::RequestBody(BodyResponse { response: Some(common) }),
    };
    ProcessingResponse { response: Some(response), dynamic_metadata: Some(metadata), ..ProcessingResponse::default() }
}

/// Sets a field and drops every other of its name: an agent may have sent two.
fn set_header(name: String, value: Vec<u8>) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name, raw_value: value }),
        append_action: wire::OVERWRITE_IF_EXISTS_OR_ADD,
    }
}
