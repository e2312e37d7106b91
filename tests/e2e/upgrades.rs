//! What is more than a request and its answer: WebSockets, other upgrades, gRPC.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tonic::Code;

use crate::support::{Ask, Attache, Protocol, Stage, Upstream, grpc, records, tunnel, whole_record, within};

const POLICY: &str = r#"
dlp: {profiles: {default: {webSockets: allow}}}
allowedDomains:
  - refused.example
  - {pattern: ws.example, upgrades: [websocket]}
  - {pattern: "http://ws.example:8080", upgrades: [websocket]}
  - pattern: narrow.example
    upgrades: [websocket]
    httpRestrictions: [{method: GET, path: /ws}]
credentials:
  - {name: key, envVarKey: KEY, injections: [{domain: ws.example, headerName: X-Key, headerFormat: "{value}"}]}
"#;

struct Place {
    upstream: Upstream,
    plain: Upstream,
    attache: Attache,
}

impl Place {
    async fn new() -> Place {
        let hosts = ["refused.example", "ws.example", "narrow.example"];
        let (upstream, plain) = (Upstream::https(hosts).await, Upstream::http().await);
        let mut setup = Attache::up(POLICY).env("KEY", "s3cret").resolve_port("ws.example", 8080, &plain);
        for host in hosts {
            setup = setup.resolve(host, &upstream);
        }
        Place { upstream, plain, attache: setup.start().await }
    }

    async fn tls(&self, host: &str) -> tokio_rustls::client::TlsStream<TcpStream> {
        Ask::get(Protocol::Http1, &format!("https://{host}/")).open(&self.attache).await.unwrap()
    }
}

#[tokio::test]
async fn a_websocket_that_policy_allows_carries_messages_both_ways() {
    let place = Place::new().await;
    let mut socket = tunnel::web_socket(place.tls("ws.example").await, "wss://ws.example/ws").await.unwrap();
    for message in [Message::text("hello"), Message::binary(vec![0, 255, 7]), Message::text("x".repeat(200_000))] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(within("the echo", socket.next()).await.unwrap().unwrap(), message);
    }
    let seen = place.upstream.requests().pop().unwrap();
    assert_eq!((seen.header("upgrade"), seen.header("x-key")), (Some("websocket"), Some("s3cret")));
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = within("the close", socket.next()).await {}
    drop(socket);
    let id = records(&place.attache).pop().unwrap()["requestId"].as_str().unwrap().to_owned();
    let record = whole_record(&place.attache, &id).await;
    assert_eq!((&record["status"], &record["decision"]), (&101.into(), &"allow".into()), "{record}");

    // Without a tunnel of its own: what leaves is TLS all the same, unless policy says plaintext.
    for (url, upstream) in [("ws://ws.example/ws", &place.upstream), ("ws://ws.example:8080/ws", &place.plain)] {
        let before = upstream.requests().len();
        let stream = TcpStream::connect(place.attache.proxy()).await.unwrap();
        let mut socket = tunnel::web_socket(stream, url).await.unwrap();
        socket.send(Message::text("direct")).await.unwrap();
        assert_eq!(within("the echo", socket.next()).await.unwrap().unwrap(), Message::text("direct"));
        assert_eq!(upstream.requests().len(), before + 1, "{url}");
    }
}

#[tokio::test]
async fn a_websocket_is_refused_unless_an_entry_says_so() {
    let place = Place::new().await;
    for (host, path, reason) in
        [("refused.example", "/ws", "upgrade_not_allowed"), ("narrow.example", "/other", "route_not_allowed")]
    {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let mut direct = TcpStream::connect(place.attache.proxy()).await.unwrap();
        let mut inside = place.tls(host).await;
        for answer in
            [tunnel::raw(&mut direct, request.as_bytes()).await, tunnel::raw(&mut inside, request.as_bytes()).await]
        {
            assert!(answer.starts_with("HTTP/1.1 403"), "{host}: {answer}");
            assert!(answer.contains(&format!("\"reason\":\"{reason}\"")), "{host}: {answer}");
            assert_eq!(records(&place.attache).pop().unwrap()["reason"], reason);
        }
    }
    let Err(error) = tunnel::web_socket(place.tls("refused.example").await, "wss://refused.example/ws").await else {
        panic!("it was opened");
    };
    assert!(matches!(&*error, Error::Http(answer) if answer.status() == 403), "{error}");
    assert!(place.upstream.connections().is_empty());
    // The same host without the upgrade.
    let plain = Ask::get(Protocol::Http1, "https://refused.example/").send(&place.attache).await;
    assert_eq!(plain.status, 200);
}

#[tokio::test]
async fn nothing_but_a_websocket_can_be_asked_for() {
    let place = Place::new().await;
    for upgrade in ["h2c", "TLS/1.0", "connect-udp", "foo", "websocket, h2c", "h2c, websocket", "CONNECT"] {
        let request = format!(
            "GET /x HTTP/1.1\r\nHost: ws.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        );
        let before = place.upstream.requests().len();
        let mut direct = TcpStream::connect(place.attache.proxy()).await.unwrap();
        let mut inside = place.tls("ws.example").await;
        for answer in
            [tunnel::raw(&mut direct, request.as_bytes()).await, tunnel::raw(&mut inside, request.as_bytes()).await]
        {
            let arrived = place.upstream.requests().split_off(before);
            // RFC 9110 §7.8: a server may go on as if the field were not there. Then it must not leave either.
            if answer.starts_with("HTTP/1.1 200") {
                assert!(arrived.iter().all(|seen| seen.header("upgrade").is_none()), "{upgrade}: {arrived:?}");
            } else {
                assert!(answer.starts_with("HTTP/1.1 4"), "{upgrade}: {answer}");
                assert!(arrived.is_empty(), "{upgrade}: {arrived:?}");
            }
            assert!(!answer.contains(" 101 "), "{upgrade}");
        }
    }
    // RFC 8441: the tunnel over HTTP/2 is not offered, and refused to those who do not look.
    for protocol in ["websocket", "connect-udp"] {
        let before = place.upstream.requests().len();
        let ask = Ask::new(Protocol::Http2, "CONNECT", "https://ws.example/ws").header(":protocol", protocol);
        let reply = ask.send_bytes(&place.attache).await;
        assert!(matches!(reply.status, 0 | 400 | 403), "{reply:?}");
        assert_eq!(reply.stage, Stage::Request);
        assert_eq!(place.upstream.requests().len(), before, "{protocol}");
    }
}

#[tokio::test]
async fn grpc_passes_and_its_clients_can_read_a_refusal() {
    const POLICY: &str = r#"
allowedDomains:
  - grpc.example
  - pattern: narrow.example
    httpRestrictions: [{method: POST, path: /attache.test.Echo/Unary}]
  - lacking.example
credentials:
  - {name: key, envVarKey: KEY, injections: [{domain: grpc.example, headerName: X-Key, headerFormat: "{value}"}]}
  - {name: absent, envVarKey: NOT_SET, injections: [{domain: lacking.example, headerName: X-Key, headerFormat: "{value}"}]}
"#;
    let hosts = ["grpc.example", "narrow.example", "lacking.example"];
    let upstream = Upstream::https(hosts).await;
    let mut setup = Attache::up(POLICY).env("KEY", "s3cret");
    for host in hosts {
        setup = setup.resolve(host, &upstream);
    }
    let attache = setup.start().await;
    let channel = |host: &str| grpc::channel(attache.proxy(), &format!("{host}:443"), &attache.ca_pem());

    let allowed = channel("grpc.example");
    assert_eq!(grpc::unary(allowed.clone(), "hello").await.unwrap(), "hello");
    let seen = upstream.requests().pop().unwrap();
    assert_eq!((seen.header("x-key"), seen.header("te")), (Some("s3cret"), Some("trailers")));
    // A status of the service itself, which comes in trailers, is the service's.
    assert_eq!(grpc::unary(allowed.clone(), "NotFound").await.unwrap_err().code(), Code::NotFound);
    let (send, messages) = mpsc::channel(1);
    let mut echoes = grpc::chat(allowed, ReceiverStream::new(messages)).await.unwrap();
    for message in ["one", "two", "three"] {
        send.send(message.to_owned()).await.unwrap();
        let echoed = within("an echo, while the stream is open", echoes.message()).await.unwrap();
        assert_eq!(echoed.as_deref(), Some(message));
    }
    drop(send);
    assert_eq!(within("the end", echoes.message()).await.unwrap(), None);

    let narrow = channel("narrow.example");
    assert_eq!(grpc::unary(narrow.clone(), "hello").await.unwrap(), "hello");
    let before = upstream.requests().len();
    let refused = grpc::chat(narrow, futures_util::stream::pending()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    let record = records(&attache).pop().unwrap();
    let id = record["requestId"].as_str().unwrap();
    for part in ["route not allowed by policy", "route_not_allowed", id, "httpRestrictions"] {
        assert!(refused.message().contains(part), "`{part}` in {refused:?}");
    }
    let lacking = grpc::unary(channel("lacking.example"), "hello").await.unwrap_err();
    assert_eq!(lacking.code(), Code::Unavailable, "{lacking:?}");
    assert!(lacking.message().contains("secret_unavailable"), "{lacking:?}");
    assert_eq!(upstream.requests().len(), before);
}
