//! What the upstream answers, by path; anything else is echoed as JSON.
//!
//! | path | answer |
//! |---|---|
//! | `/status/N` | status N |
//! | `/early/N` | status N before the request's body is read |
//! | `/delay/MS` | the echo, after so many milliseconds |
//! | `/hang` | none |
//! | `/reset` | the connection (HTTP/2: the stream) breaks instead |
//! | `/reset-midway` | a head and some bytes, then it breaks |
//! | `/big/BYTES` | so many bytes, with their length |
//! | `/chunked/N` | N parts without a length |
//! | `/sse/N` | N server-sent events, each on its own |
//! | `/silent/MS` | a head, and after so many milliseconds the end |
//! | `/sse-open` | one event, then the stream stays open |
//! | `/gzip` | the echo, compressed |
//! | `/alt-svc` | the echo, with an offer of HTTP/3 |
//! | `/ws` | a WebSocket that echoes |
//! | `/attache.test.Echo/Unary`, `/attache.test.Echo/Chat` | gRPC, see [`super::super::grpc`] |

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{Error, Write};
use std::time::Duration;

use futures_util::{SinkExt, Stream, StreamExt, stream};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::super::grpc;
use super::Recorded;

type Content = UnsyncBoxBody<Bytes, Error>;
type Part = Result<Frame<Bytes>, Error>;

pub async fn answer(request: Request<Recorded>) -> Result<Response<Content>, Error> {
    let path = request.uri().path().to_owned();
    let mut parts = path.trim_start_matches('/').split('/');
    let kind = parts.next().unwrap_or_default();
    let number = parts.next().and_then(|part| part.parse::<u64>().ok());
    match (kind, number) {
        ("early", Some(status)) => return Ok(response(status, full("early"))),
        ("ws", _) => return Ok(web_socket(request)),
        (grpc::SERVICE, _) => {
            return Ok(grpc::serve(request).await.map(|body| body.map_err(Error::other).boxed_unsync()));
        }
        _ => {}
    }

    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(Error::other)?.to_bytes();
    let request = Request::from_parts(head, body);
    match (kind, number) {
        // RFC 9110 §15.3.5 and §15.4.5: no body.
        ("status", Some(status @ (204 | 304))) => Ok(response(status, Empty::new().map_err(never).boxed_unsync())),
        ("status", Some(status)) => Ok(response(status, full(format!("status {status}")))),
        ("delay", Some(milliseconds)) => {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            Ok(response(200, echo(&request)))
        }
        ("hang", _) => std::future::pending().await,
        ("reset", _) => Err(Error::other("asked to break")),
        ("reset-midway", _) => {
            let parts = [Ok(Frame::data(Bytes::from("begun"))), Err(Error::other("asked to break"))];
            Ok(response(200, StreamBody::new(paced(parts)).boxed_unsync()))
        }
        ("big", Some(bytes)) => Ok(response(200, full(vec![b'x'; bytes as usize]))),
        ("chunked", Some(count)) => {
            let parts = (0..count).map(|i| Ok(Frame::data(Bytes::from(format!("part {i}\n")))));
            Ok(response(200, StreamBody::new(paced(parts)).boxed_unsync()))
        }
        ("sse", Some(count)) => Ok(events(paced((0..count).map(event)))),
        ("silent", Some(milliseconds)) => {
            let end = stream::once(async move {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                Ok(Frame::data(Bytes::from("at last")))
            });
            Ok(response(200, StreamBody::new(end).boxed_unsync()))
        }
        ("sse-open", _) => Ok(events(stream::iter([event(0)]).chain(stream::pending()))),
        ("gzip", _) => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&echo_text(&request))?;
            let mut reply = response(200, full(encoder.finish()?));
            insert(&mut reply, header::CONTENT_TYPE, "application/json");
            insert(&mut reply, header::CONTENT_ENCODING, "gzip");
            Ok(reply)
        }
        ("alt-svc", _) => {
            let mut reply = response(200, echo(&request));
            insert(&mut reply, header::ALT_SVC, "h3=\":443\"; ma=86400");
            Ok(reply)
        }
        _ => {
            let mut reply = response(200, echo(&request));
            insert(&mut reply, header::CONTENT_TYPE, "application/json");
            Ok(reply)
        }
    }
}

fn echo(request: &Request<Bytes>) -> Content {
    full(echo_text(request))
}

fn echo_text(request: &Request<Bytes>) -> Vec<u8> {
    let mut headers = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in request.headers() {
        headers.entry(name.as_str()).or_default().push(String::from_utf8_lossy(value.as_bytes()));
    }
    let echo = json!({
        "method": request.method().as_str(),
        "path": request.uri().path_and_query().map(ToString::to_string),
        "headers": headers,
        "body": String::from_utf8_lossy(request.body()),
    });
    echo.to_string().into_bytes()
}

/// RFC 6455, section 4.2.2; HTTP/1.1 only, which is what agents use.
fn web_socket(mut request: Request<Recorded>) -> Response<Content> {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        return response(426, full("a WebSocket handshake was expected"));
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(stream) = upgrade.await else { return };
        let stream = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, None).await;
        let (mut sink, mut messages) = stream.split();
        while let Some(Ok(message)) = messages.next().await {
            let echoed = message.is_text() || message.is_binary();
            if echoed && sink.send(message).await.is_err() {
                break;
            }
        }
    });
    let mut reply = response(101, Empty::new().map_err(never).boxed_unsync());
    insert(&mut reply, header::UPGRADE, "websocket");
    insert(&mut reply, header::CONNECTION, "Upgrade");
    insert(&mut reply, header::SEC_WEBSOCKET_ACCEPT, &accept);
    reply
}

fn events(stream: impl Stream<Item = Part> + Send + 'static) -> Response<Content> {
    let mut reply = response(200, StreamBody::new(stream).boxed_unsync());
    insert(&mut reply, header::CONTENT_TYPE, "text/event-stream");
    reply
}

fn event(number: u64) -> Part {
    Ok(Frame::data(Bytes::from(format!("id: {number}\ndata: event {number}\n\n"))))
}

/// A moment between the parts, so that each goes out on its own.
fn paced<T: Send + 'static>(
    parts: impl IntoIterator<Item = T, IntoIter: Send + 'static>,
) -> impl Stream<Item = T> + Send {
    stream::iter(parts).then(|part| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        part
    })
}

fn insert<B>(reply: &mut Response<B>, name: HeaderName, value: &str) {
    reply.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
}

fn response<B>(status: u64, body: B) -> Response<B> {
    let mut response = Response::new(body);
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn full(body: impl Into<Bytes>) -> Content {
    Full::new(body.into()).map_err(never).boxed_unsync()
}

fn never(never: Infallible) -> Error {
    match never {}
}
