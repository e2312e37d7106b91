//! Clients that say exactly what a test wants said: raw bytes through CONNECT, any SNI, HTTP/2 frames.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;

use super::ca;
use super::within;

/// Opens a tunnel through `proxy` to `authority` (`host:port`) with further header lines; the whole
/// answer as text where it is not 200.
pub async fn connect(proxy: SocketAddr, authority: &str, headers: &[(&str, &str)]) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(proxy).await.unwrap();
    stream.set_nodelay(true).unwrap();
    connect_over(stream, authority, headers).await
}

/// The same over a stream that leads to the proxy.
pub async fn connect_over<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    authority: &str,
    headers: &[(&str, &str)],
) -> Result<S, String> {
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    // A byte at a time: what follows the head belongs to the tunnel.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match within("the answer to CONNECT", stream.read_u8()).await {
            Ok(byte) => head.push(byte),
            Err(_) => return Err(String::from_utf8_lossy(&head).into_owned()),
        }
    }
    let head = String::from_utf8(head).unwrap();
    if head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.0 200") {
        return Ok(stream);
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    within("the rest of the answer to CONNECT", stream.read_exact(&mut body)).await.unwrap();
    Err(head + &String::from_utf8_lossy(&body))
}

/// A TLS session over `stream`: trusts `ca_pem` only, names `sni` if any, offers `alpn`.
///
/// Without SNI the certificate is checked for 127.0.0.1.
pub async fn tls<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    sni: Option<&str>,
    ca_pem: &str,
    alpn: &[&str],
) -> std::io::Result<TlsStream<S>> {
    let mut config = ca::client(ca_pem, alpn);
    config.enable_sni = sni.is_some();
    let name = ServerName::try_from(sni.unwrap_or("127.0.0.1").to_owned()).unwrap();
    within("the TLS handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

/// Sends `bytes` as they are, and what comes back until the other side closes, or, since it may keep
/// the connection, until an HTTP/1.1 answer with a `Content-Length` is whole.
pub async fn raw<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    // A TLS stream may still hold what it was given.
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !whole(&answer) {
        // An error is how TLS reports a close without notice: what came before it counts.
        match within("an answer", stream.read(&mut buffer)).await {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends `bytes`, and what comes back until the other side closes, as it came.
pub async fn raw_bytes<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    // However it ends: what came before counts.
    let _ = within("an answer", stream.read_to_end(&mut answer)).await;
    answer
}

fn whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let value = name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse());
        value?.ok()
    });
    length.is_some_and(|length: usize| body.len() >= length)
}

/// An HTTP/2 client over `stream` that lets a test choose every header and frame.
pub async fn h2<S>(stream: S) -> h2::client::SendRequest<Bytes>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = within("the HTTP/2 preface", h2::client::handshake(stream)).await.unwrap();
    tokio::spawn(async move {
        // A test that breaks the connection sees it at its request.
        let _ = connection.await;
    });
    client.ready().await.unwrap()
}

/// A WebSocket over `stream`, or the answer that refused it.
pub async fn web_socket<S>(stream: S, url: &str) -> Result<WebSocketStream<S>, Box<tungstenite::Error>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = tokio_tungstenite::client_async(url, stream);
    Ok(within("the WebSocket handshake", handshake).await.map_err(Box::new)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{Ca, Upstream};
    use futures_util::{SinkExt, StreamExt};

    #[tokio::test]
    async fn tls_names_what_it_is_told_or_nothing() {
        let upstream = Upstream::https(["api.example.com", "127.0.0.1"]).await;
        for sni in [Some("api.example.com"), None] {
            let stream = TcpStream::connect(upstream.address()).await.unwrap();
            let mut stream = tls(stream, sni, Ca::shared().pem(), &[]).await.unwrap();
            let answer = raw(&mut stream, b"GET /status/200 HTTP/1.1\r\nHost: b\r\nhOST: a\r\n\r\n").await;
            assert!(answer.ends_with("status 200"), "{answer}");
            let seen = upstream.requests().pop().unwrap();
            assert_eq!(seen.sni.as_deref(), sni);
            assert_eq!(seen.header_values("host"), ["b", "a"]);
        }
        let stream = TcpStream::connect(upstream.address()).await.unwrap();
        let refused = tls(stream, Some("other.example.com"), Ca::shared().pem(), &[]).await;
        assert!(refused.unwrap_err().to_string().contains("certificate"));
    }

    #[tokio::test]
    async fn h2_sends_what_it_is_told() {
        let upstream = Upstream::https(["api.example.com"]).await;
        let stream = TcpStream::connect(upstream.address()).await.unwrap();
        let stream = tls(stream, Some("api.example.com"), Ca::shared().pem(), &["h2"]).await;
        let mut client = h2(stream.unwrap()).await;
        let request = http::Request::get("https://fronted.example.com/x").body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        assert_eq!(within("the answer", response).await.unwrap().status(), 200);
        let seen = upstream.requests().pop().unwrap();
        assert_eq!(seen.authority, "fronted.example.com");
        assert_eq!(seen.scheme.as_deref(), Some("https"));
        assert_eq!(seen.sni.as_deref(), Some("api.example.com"));
    }

    #[tokio::test]
    async fn web_socket_echoes() {
        let upstream = Upstream::http().await;
        let stream = TcpStream::connect(upstream.address()).await.unwrap();
        let mut socket = web_socket(stream, "ws://api.example.com/ws").await.unwrap();
        socket.send("hello".into()).await.unwrap();
        let echoed = within("the echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echoed.into_text().unwrap(), "hello");
        let stream = TcpStream::connect(upstream.address()).await.unwrap();
        assert!(web_socket(stream, "ws://api.example.com/status/403").await.is_err());
    }
}
