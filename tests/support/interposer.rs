//! A broken service between Envoy and attaché, for what must fail closed.
//!
//! It speaks gRPC's wire form itself (HTTP/2 frames, five bytes before each message), because what it
//! is for is to say what no gRPC library would.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::ext_proc::v3::{
    CommonResponse, HeaderMutation, HeadersResponse, ImmediateResponse, ProcessingRequest, ProcessingResponse,
    processing_request, processing_response,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tonic::Code;

use super::within;

const EXT_PROC: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const SERVING: &[u8] = &[8, 1];

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Reply = Response<UnsyncBoxBody<Bytes, BoxError>>;
type Script = Box<dyn Fn(&Consulted) -> Act + Send>;

/// What Envoy takes for attaché. All but ext_proc goes to the service behind it, if there is one.
pub struct Interposer {
    socket: PathBuf,
    shared: Arc<Shared>,
    _server: Server,
    _directory: Option<TempDir>,
}

/// What to do with an ext_proc stream once its first message has come.
#[derive(Clone, Debug)]
pub enum Act {
    /// What the service behind says.
    Pass,
    /// The same, with everything that Envoy says as late as this: a head, and what follows it.
    PassLate { head: Duration, rest: Duration },
    /// The service behind hears the request; its answer never arrives.
    LoseReply,
    /// A proper verdict: a tunnel for CONNECT, else this upstream address, over TLS.
    Allow(String),
    /// The same, to an upstream that speaks plaintext.
    AllowPlain(String),
    /// A proper refusal with this status.
    Deny(u32),
    /// Nothing, ever.
    Hang,
    /// The stream's end without a verdict. [`Code::Ok`] is the one Envoy forwards upon.
    End(Code),
    /// The stream breaks, which is what a panic looks like from outside.
    Break,
    /// These bytes for a message, whatever they are, and then nothing.
    Say(Vec<u8>),
}

/// The request that an ext_proc stream is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consulted {
    /// The listener it comes from, as the bootstrap names it.
    pub door: String,
    pub method: String,
    pub authority: String,
    pub path: String,
}

struct Shared {
    behind: Option<PathBuf>,
    script: Mutex<Script>,
    consulted: watch::Sender<Vec<Consulted>>,
}

impl Interposer {
    /// With no service behind it: healthy, but mute outside of ext_proc.
    pub fn alone(script: impl Fn(&Consulted) -> Act + Send + 'static) -> Interposer {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("service.sock");
        Interposer { _directory: Some(directory), ..Interposer::start(&socket, None, script) }
    }

    /// The same on a socket of the test's choice, in the place of one that has gone.
    pub fn on(socket: &Path, script: impl Fn(&Consulted) -> Act + Send + 'static) -> Interposer {
        let _ = std::fs::remove_file(socket);
        Interposer::start(socket, None, script)
    }

    /// On `socket`, before the service that listens on the socket `behind`.
    pub fn before(behind: &Path, socket: &Path, script: impl Fn(&Consulted) -> Act + Send + 'static) -> Interposer {
        Interposer::start(socket, Some(behind.to_owned()), script)
    }

    fn start(
        socket: &Path,
        behind: Option<PathBuf>,
        script: impl Fn(&Consulted) -> Act + Send + 'static,
    ) -> Interposer {
        let listener = UnixListener::bind(socket).unwrap();
        let script = Mutex::new(Box::new(script) as Script);
        let shared = Arc::new(Shared { behind, script, consulted: watch::Sender::default() });
        let server = Server(tokio::spawn(accept(listener, shared.clone())).abort_handle());
        Interposer { socket: socket.to_owned(), shared, _server: server, _directory: None }
    }

    /// Where Envoy must look for its service.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What happens to the streams from now on.
    pub fn script(&self, script: impl Fn(&Consulted) -> Act + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// Waits until Envoy has asked about so many requests.
    pub async fn wait_for(&self, count: usize) -> Vec<Consulted> {
        let mut consulted = self.shared.consulted.subscribe();
        let enough = consulted.wait_for(|all| all.len() >= count);
        within(&format!("{count} ext_proc streams"), enough).await.unwrap().clone()
    }
}

/// Ends with its value, and all connections with it.
struct Server(AbortHandle);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, shared.clone()));
            // A stream that breaks by order is no failure of the connection.
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Reply, BoxError> {
    let (head, mut body) = request.into_parts();
    if head.uri.path() != EXT_PROC {
        let request = Request::from_parts(head, body.map_err(BoxError::from).boxed_unsync());
        return match &shared.behind {
            Some(behind) => forward(behind, request).await,
            None if request.uri().path() == HEALTH => Ok(grpc(say(SERVING).chain(end(Code::Ok)))),
            None => Ok(grpc(stream::pending())),
        };
    }

    let received = first_message(&mut body).await?;
    let message = ProcessingRequest::decode(received.get(5..).unwrap_or_default())?;
    let consulted = Consulted::new(&head.headers, &message);
    let act = shared.script.lock().unwrap()(&consulted);
    shared.consulted.send_modify(|all| all.push(consulted.clone()));

    let (head_late, rest_late) = match act {
        Act::PassLate { head, rest } => (head, rest),
        _ => Default::default(),
    };
    let pass = async |body: Incoming| {
        let behind = shared.behind.as_deref().ok_or("there is no service behind to pass to")?;
        tokio::time::sleep(head_late).await;
        let rest = body.into_data_stream().then(move |data| async move {
            tokio::time::sleep(rest_late).await;
            Ok(Frame::data(data?))
        });
        let whole = stream::iter([Ok(Frame::data(received.into()))]).chain(rest);
        forward(behind, Request::from_parts(head, StreamBody::new(whole).boxed_unsync())).await
    };
    Ok(match act {
        Act::Pass | Act::PassLate { .. } => pass(body).await?,
        Act::LoseReply => {
            let (head, lost) = pass(body).await?.into_parts();
            // `lost` is kept, unread: the service behind must not see its stream closed.
            let nothing = stream::pending().chain(lost.into_data_stream().map(|data| Ok(Frame::data(data?))));
            Response::from_parts(head, StreamBody::new(nothing).boxed_unsync())
        }
        Act::Allow(upstream) => verdict(allow(&consulted, &upstream, false), body),
        Act::AllowPlain(upstream) => verdict(allow(&consulted, &upstream, true), body),
        Act::Deny(status) => verdict(deny(status), body),
        Act::Hang => grpc(stream::pending()),
        Act::End(code) => grpc(end(code)),
        Act::Break => grpc(stream::iter([Err("asked to break".into())])),
        Act::Say(bytes) => grpc(say(&bytes).chain(stream::pending())),
    })
}

impl Consulted {
    fn new(metadata: &HeaderMap, message: &ProcessingRequest) -> Consulted {
        let headers = match &message.request {
            Some(processing_request::Request::RequestHeaders(head)) => head.headers.as_ref(),
            _ => None,
        };
        let header = |name: &str| {
            let mut headers = headers.into_iter().flat_map(|map| &map.headers);
            let found = headers.find(|header| header.key == name);
            let raw = found.map(|header| match header.value.is_empty() {
                true => String::from_utf8_lossy(&header.raw_value).into_owned(),
                false => header.value.clone(),
            });
            raw.unwrap_or_default()
        };
        let door = metadata.get("x-attache-door").map(|door| door.to_str().unwrap().to_owned());
        Consulted {
            door: door.unwrap_or_default(),
            method: header(":method"),
            authority: header(":authority"),
            path: header(":path"),
        }
    }
}

/// Sends the request to the service on `socket`, over a connection of its own.
async fn forward(socket: &Path, request: Request<UnsyncBoxBody<Bytes, BoxError>>) -> Result<Reply, BoxError> {
    let stream = TokioIo::new(UnixStream::connect(socket).await?);
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
    tokio::spawn(connection);
    let response = client.send_request(request).await?;
    Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
}

/// Reads until the first message is whole, and no further than the frame it ends in.
async fn first_message(body: &mut Incoming) -> Result<Vec<u8>, BoxError> {
    let mut received = Vec::new();
    loop {
        if let Some(length) = received.get(1..5) {
            let length = u32::from_be_bytes(length.try_into()?) as usize;
            if received.len() >= 5 + length {
                return Ok(received);
            }
        }
        let frame = body.frame().await.ok_or("the stream ended before a message")??;
        received.extend(frame.into_data().unwrap_or_default());
    }
}

fn allow(consulted: &Consulted, upstream: &str, plain: bool) -> ProcessingResponse {
    let tunnel = consulted.method == "CONNECT";
    let route = HeaderValueOption {
        header: Some(HeaderValue {
            key: "x-attache-int-route".to_owned(),
            raw_value: b"plain".to_vec(),
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    };
    let common = CommonResponse {
        header_mutation: plain.then(|| HeaderMutation { set_headers: vec![route], ..HeaderMutation::default() }),
        clear_route_cache: plain,
        ..CommonResponse::default()
    };
    ProcessingResponse {
        response: Some(processing_response::Response::RequestHeaders(HeadersResponse { response: Some(common) })),
        dynamic_metadata: stamp(&[
            ("decision", if tunnel { "tunnel" } else { "allow" }),
            ("upstream", upstream),
            ("upstream2", upstream),
            ("session", "test"),
            ("id", "test"),
        ]),
        ..ProcessingResponse::default()
    }
}

fn deny(status: u32) -> ProcessingResponse {
    let immediate = ImmediateResponse {
        status: Some(HttpStatus { code: i32::try_from(status).unwrap() }),
        body: b"refused by the interposer".to_vec(),
        ..ImmediateResponse::default()
    };
    ProcessingResponse {
        response: Some(processing_response::Response::ImmediateResponse(immediate)),
        dynamic_metadata: stamp(&[("decision", "deny"), ("id", "test")]),
        ..ProcessingResponse::default()
    }
}

/// The metadata by which Envoy knows a verdict.
fn stamp(fields: &[(&str, &str)]) -> Option<Struct> {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect();
    let stamp = Value { kind: Some(Kind::StructValue(Struct { fields })) };
    Some(Struct { fields: [("attache".to_owned(), stamp)].into() })
}

/// Says `message`, and ends well once Envoy has closed its side.
fn verdict(message: ProcessingResponse, body: Incoming) -> Reply {
    let closed = stream::once(async move {
        let mut rest = pin!(body);
        while let Some(Ok(_)) = rest.frame().await {}
    });
    grpc(say(&message.encode_to_vec()).chain(closed.flat_map(|()| end(Code::Ok))))
}

type Frames = Result<Frame<Bytes>, BoxError>;

fn say(message: &[u8]) -> impl stream::Stream<Item = Frames> + Send + use<> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let framed = [&[0], &length[..], message].concat();
    stream::iter([Ok(Frame::data(framed.into()))])
}

fn end(code: Code) -> impl stream::Stream<Item = Frames> + Send {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", i32::from(code).into());
    stream::iter([Ok(Frame::trailers(trailers))])
}

fn grpc(frames: impl stream::Stream<Item = Frames> + Send + 'static) -> Reply {
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let kind = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::config::core::v3::HeaderMap as EnvoyHeaders;
    use envoy_types::pb::envoy::service::ext_proc::v3::HttpHeaders;
    use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_client::ExternalProcessorClient;
    use tonic::transport::{Channel, Endpoint};
    use tonic::{Status, Streaming};

    #[tokio::test]
    async fn does_as_the_script_says_and_keeps_count() {
        let interposer = Interposer::alone(|_| Act::Allow("127.0.0.1:1".to_owned()));
        let mut replies = ask(&interposer, "GET").await.unwrap();
        let reply = within("a reply", replies.message()).await.unwrap().unwrap();
        assert_eq!(stamped(&reply, "decision"), "allow");
        assert_eq!(stamped(&reply, "upstream"), "127.0.0.1:1");
        assert!(within("the end", replies.message()).await.unwrap().is_none());

        let reply = first(&interposer, "CONNECT").await.unwrap().unwrap();
        assert_eq!(stamped(&reply, "decision"), "tunnel");

        interposer.script(|consulted| match consulted.path.as_str() {
            "/GET" => Act::End(Code::Ok),
            "/POST" => Act::End(Code::DataLoss),
            "/PUT" => Act::Break,
            "/PATCH" => Act::Say(vec![0xff; 9]),
            _ => Act::Deny(418),
        });
        assert!(first(&interposer, "GET").await.unwrap().is_none());
        assert_eq!(first(&interposer, "POST").await.unwrap_err().code(), Code::DataLoss);
        let broken = first(&interposer, "PUT").await.unwrap_err();
        assert!(format!("{broken:?}").contains("Reset"), "{broken:?}");
        assert!(first(&interposer, "PATCH").await.unwrap_err().message().contains("decode"));
        let reply = first(&interposer, "DELETE").await.unwrap().unwrap();
        let Some(processing_response::Response::ImmediateResponse(refusal)) = reply.response else {
            panic!("{reply:?}")
        };
        assert_eq!(refusal.status.unwrap().code, 418);

        let consulted = interposer.wait_for(7).await;
        assert_eq!(consulted[0].authority, "api.example.com");
        assert_eq!(consulted[1].method, "CONNECT");
    }

    #[tokio::test]
    async fn passes_on_and_loses_replies() {
        let behind = Interposer::alone(|_| Act::Deny(451));
        let socket = behind.socket().with_file_name("interposed.sock");
        let interposer = Interposer::before(behind.socket(), &socket, |consulted| {
            if consulted.method == "GET" { Act::Pass } else { Act::LoseReply }
        });
        let reply = first(&interposer, "GET").await.unwrap();
        assert!(format!("{reply:?}").contains("451"), "{reply:?}");

        let mut lost = ask(&interposer, "POST").await.unwrap();
        behind.wait_for(2).await;
        let silence = tokio::time::timeout(std::time::Duration::from_millis(200), lost.message());
        assert!(silence.await.is_err(), "a reply came through");
    }

    async fn first(interposer: &Interposer, method: &str) -> Result<Option<ProcessingResponse>, Status> {
        within("a reply", ask(interposer, method).await?.message()).await
    }

    async fn ask(interposer: &Interposer, method: &str) -> Result<Streaming<ProcessingResponse>, Status> {
        let headers = [(":method", method), (":authority", "api.example.com"), (":path", &format!("/{method}"))].map(
            |(key, value)| HeaderValue {
                key: key.to_owned(),
                raw_value: value.as_bytes().to_vec(),
                ..HeaderValue::default()
            },
        );
        let head = HttpHeaders {
            headers: Some(EnvoyHeaders { headers: headers.to_vec() }),
            end_of_stream: true,
            ..HttpHeaders::default()
        };
        let request = ProcessingRequest {
            request: Some(processing_request::Request::RequestHeaders(head)),
            ..ProcessingRequest::default()
        };
        let mut client = ExternalProcessorClient::new(channel(interposer.socket()).await);
        let replies = client.process(stream::iter([request])).await?;
        Ok(replies.into_inner())
    }

    async fn channel(socket: &Path) -> Channel {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://attache");
        endpoint.connect_with_connector(connector).await.unwrap()
    }

    fn stamped(reply: &ProcessingResponse, name: &str) -> String {
        let metadata = reply.dynamic_metadata.as_ref().unwrap();
        let Some(Kind::StructValue(stamp)) = &metadata.fields["attache"].kind else { panic!("{reply:?}") };
        let Some(Kind::StringValue(text)) = &stamp.fields[name].kind else { panic!("{reply:?}") };
        text.clone()
    }
}
