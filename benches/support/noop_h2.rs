//! The least a service must do that is built on the `h2` crate directly: no hyper, no tonic, the answer encoded before.

use std::ffi::OsString;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use prost::Message;
use prost::bytes::{Buf, Bytes, BytesMut};
use tokio::net::{UnixListener, UnixStream};

use super::noop_ext_proc::{Ca, Options, discover, run_as};
use super::noop_words::{PREFIX, Words, framed};

/// Serves until it is killed.
pub fn run(arguments: impl Iterator<Item = OsString>) {
    run_as(arguments, serve);
}

struct Service {
    words: Words,
    options: Options,
    ca: Ca,
}

async fn serve(options: Options) {
    let listener = UnixListener::bind(&options.socket).expect("the socket is free");
    let ca = Ca::load_or_make(&options.ca_out);
    let service = Arc::new(Service { words: Words::new(&options), options, ca });
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        tokio::spawn(connection(socket, service.clone()));
    }
}

async fn connection(socket: UnixStream, service: Arc<Service>) -> Result<(), h2::Error> {
    let mut connection = h2::server::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .max_concurrent_streams(100_000)
        .handshake(socket)
        .await?;
    while let Some(call) = connection.accept().await {
        let (request, reply) = call?;
        let service = service.clone();
        // A call that Envoy gives up ends with an error, and only it.
        tokio::spawn(async move { answer(request, reply, &service).await.ok() });
    }
    Ok(())
}

async fn answer(
    request: http::Request<RecvStream>,
    mut reply: SendResponse<Bytes>,
    service: &Service,
) -> Result<(), h2::Error> {
    const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
    let mut response = Response::new(());
    response.headers_mut().insert(http::header::CONTENT_TYPE, GRPC);
    let (head, body) = request.into_parts();
    let mut replies = reply.send_response(response, false)?;
    let mut messages = Messages { body, received: BytesMut::new() };
    match head.uri.path().split('/').nth(1).unwrap_or_default() {
        "envoy.service.ext_proc.v3.ExternalProcessor" => {
            while let Some(message) = messages.next().await? {
                replies.send_data(service.words.reply_to(&message), false)?;
            }
        }
        "envoy.service.discovery.v3.AggregatedDiscoveryService" => {
            while let Some(message) = messages.next().await? {
                let asked = DeltaDiscoveryRequest::decode(message).unwrap_or_default();
                if let Some(found) = discover(&service.options, &service.ca, asked) {
                    replies.send_data(framed(&found).into(), false)?;
                }
            }
        }
        "grpc.health.v1.Health" => {
            while messages.next().await?.is_some() {
                replies.send_data(Bytes::from_static(b"\0\0\0\0\x02\x08\x01"), false)?; // SERVING
            }
        }
        // Access logs and spans.
        _ => while messages.next().await?.is_some() {},
    }
    end(&mut replies)
}

fn end(replies: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
    replies.send_trailers(trailers)
}

/// gRPC's messages in the body of a call.
struct Messages {
    body: RecvStream,
    received: BytesMut,
}

impl Messages {
    async fn next(&mut self) -> Result<Option<Bytes>, h2::Error> {
        loop {
            if let Some(message) = whole(&mut self.received) {
                return Ok(Some(message.freeze()));
            }
            let Some(chunk) = self.body.data().await else { return Ok(None) };
            let mut chunk = chunk?;
            self.body.flow_control().release_capacity(chunk.len())?;
            // Nearly always one message in one piece, which is then not copied.
            if self.received.is_empty() && length(&chunk).is_some_and(|length| length + PREFIX == chunk.len()) {
                chunk.advance(PREFIX);
                return Ok(Some(chunk));
            }
            self.received.extend_from_slice(&chunk);
        }
    }
}

/// The first message, if all of it is there.
fn whole(received: &mut BytesMut) -> Option<BytesMut> {
    let end = PREFIX + length(received)?;
    if received.len() < end {
        return None;
    }
    let mut message = received.split_to(end);
    message.advance(PREFIX);
    Some(message)
}

/// What the prefix says.
fn length(received: &[u8]) -> Option<usize> {
    let length = received.get(1..PREFIX)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(length)).ok()
}
