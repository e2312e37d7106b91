//! A gRPC service without a schema of its own: its messages are `google.protobuf.StringValue`.

use std::net::SocketAddr;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use http::{Request, Response};
use hyper::body::{Body, Bytes};
use hyper_util::rt::TokioIo;
use tonic::codegen::BoxFuture;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::server::{StreamingService, UnaryService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

use super::tunnel;

/// The service's name, and so the first part of its paths.
pub const SERVICE: &str = "attache.test.Echo";

/// Asks for the `authorization` that the service has got.
pub const WHOAMI: &str = "who am I";
/// Asks for a status in whose message it stands.
pub const REFUSE: &str = "refuse me";

const UNARY: &str = "/attache.test.Echo/Unary";
const CHAT: &str = "/attache.test.Echo/Chat";

/// Answers `Unary` with the message and `Chat` with every message as it comes; a message that is the
/// name of a status code, such as `NotFound`, is answered with that status, [`WHOAMI`] with the call's
/// `authorization`, and [`REFUSE`] with a status that quotes it.
pub async fn serve<B>(request: Request<B>) -> Response<tonic::body::Body>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let mut server = tonic::server::Grpc::new(codec());
    match request.uri().path() {
        UNARY => server.unary(Echo, request).await,
        CHAT => server.streaming(Echo, request).await,
        _ => Status::unimplemented("no such method").into_http(),
    }
}

/// A channel to `authority` (`host:port`) through `proxy`, trusting `ca_pem`.
pub fn channel(proxy: SocketAddr, authority: &str, ca_pem: &str) -> Channel {
    let (authority, ca_pem) = (authority.to_owned(), ca_pem.to_owned());
    // `http` keeps tonic from wanting TLS of its own; the connector brings it, and `origin` says so.
    let origin = format!("https://{authority}").parse().unwrap();
    let endpoint = Endpoint::try_from(format!("http://{authority}")).unwrap().origin(origin);
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
        let (authority, ca_pem) = (authority.clone(), ca_pem.clone());
        async move {
            let tunnelled = tunnel::connect(proxy, &authority, &[]).await;
            let stream = tunnelled.map_err(std::io::Error::other)?;
            let host = authority.rsplit_once(':').unwrap().0;
            std::io::Result::Ok(TokioIo::new(tunnel::tls(stream, Some(host), &ca_pem, &["h2"]).await?))
        }
    }))
}

/// One message, and its echo.
pub async fn unary(channel: Channel, message: &str) -> Result<String, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let request = tonic::Request::new(message.to_owned());
    Ok(client.unary(request, PathAndQuery::from_static(UNARY), codec()).await?.into_inner())
}

/// The echoes of `messages`, each as soon as the upstream has sent it.
pub async fn chat(
    channel: Channel,
    messages: impl Stream<Item = String> + Send + 'static,
) -> Result<Streaming<String>, Status> {
    chat_with(channel, messages, &[]).await
}

/// The same with further metadata.
pub async fn chat_with(
    channel: Channel,
    messages: impl Stream<Item = String> + Send + 'static,
    metadata: &[(&'static str, &'static str)],
) -> Result<Streaming<String>, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let mut request = tonic::Request::new(messages);
    for (name, value) in metadata {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    Ok(client.streaming(request, PathAndQuery::from_static(CHAT), codec()).await?.into_inner())
}

fn codec() -> ProstCodec<String, String> {
    ProstCodec::default()
}

struct Echo;

impl UnaryService<String> for Echo {
    type Response = String;
    type Future = BoxFuture<tonic::Response<String>, Status>;

    fn call(&mut self, request: tonic::Request<String>) -> Self::Future {
        let own = authorization(&request);
        Box::pin(async move { echo(request.into_inner(), &own).map(tonic::Response::new) })
    }
}

impl StreamingService<String> for Echo {
    type Response = String;
    type ResponseStream = BoxStream<'static, Result<String, Status>>;
    type Future = BoxFuture<tonic::Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: tonic::Request<Streaming<String>>) -> Self::Future {
        let own = authorization(&request);
        let echoes = request.into_inner().map(move |message| echo(message?, &own)).boxed();
        Box::pin(async move { Ok(tonic::Response::new(echoes)) })
    }
}

fn authorization<T>(request: &tonic::Request<T>) -> String {
    let value = request.metadata().get("authorization");
    value.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

fn echo(message: String, own: &str) -> Result<String, Status> {
    match &*message {
        WHOAMI => return Ok(own.to_owned()),
        REFUSE => return Err(Status::unauthenticated(format!("nobody knows {own}"))),
        _ => {}
    }
    let code = (1..=16).map(Code::from).find(|code| format!("{code:?}") == message);
    code.map_or(Ok(message), |code| Err(Status::new(code, "as asked")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{Ca, Upstream, within};
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    #[tokio::test]
    async fn unary_and_bidirectional_calls_pass_a_tunnel() {
        let upstream = Upstream::https(["api.example.com"]).await;
        let proxy = tunnelling_proxy(upstream.address()).await;
        let channel = channel(proxy, "api.example.com:443", Ca::shared().pem());

        assert_eq!(unary(channel.clone(), "hello").await.unwrap(), "hello");
        assert_eq!(unary(channel.clone(), "NotFound").await.unwrap_err().code(), Code::NotFound);

        let (send, messages) = mpsc::channel(1);
        let mut echoes = chat(channel, ReceiverStream::new(messages)).await.unwrap();
        for message in ["one", "two"] {
            send.send(message.to_owned()).await.unwrap();
            let echoed = within("an echo", echoes.message()).await.unwrap();
            assert_eq!(echoed.as_deref(), Some(message), "while the stream is open");
        }
        drop(send);
        assert_eq!(within("the end", echoes.message()).await.unwrap(), None);

        let seen = upstream.wait_for(3).await;
        assert_eq!(seen[0].path, UNARY);
        assert_eq!(seen[0].authority, "api.example.com:443");
        assert_eq!(seen[0].header("te"), Some("trailers"));
        assert!(seen[0].body.ends_with(b"hello"));
    }

    /// The least that a proxy can be: every tunnel leads to `upstream`.
    async fn tunnelling_proxy(upstream: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let mut upstream = TcpStream::connect(upstream).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
        });
        address
    }
}
