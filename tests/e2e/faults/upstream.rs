//! What the upstream does wrong is told as such, and another in its place gets nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::matrix::Component::Upstream;
use super::matrix::Fault::{Absent, ComesBack, DiesMidRequest, Slow, Wrong};
use super::matrix::{Check, Sees};
use super::rig::{Ask, HOST, MUCH, Rig, Setup, chunk};
use crate::support::ca::Validity;
use crate::support::{Ca, Upstream as Server, free_address, until};

/// A rig whose host is at this address.
async fn leading_to(address: SocketAddr) -> Rig {
    let mut rig = Rig::prepare(Setup { upstream: Some(address), ..Setup::default() }).await;
    rig.serve().await;
    rig.start_envoy().await;
    rig.found().await;
    rig
}

#[tokio::test]
async fn absent() {
    let mut check = Check::of(Upstream, Absent);
    let rig = leading_to(free_address()).await;
    let seen = rig.ask("/status/200/absent").await;
    check.case("it refuses the connection", &rig, &seen).await;
    check.end(&rig);
}

#[tokio::test]
async fn slow() {
    let mut check = Check::of(Upstream, Slow);
    let full = Full::new().await;
    let rig = leading_to(full.address).await;
    let seen = rig.ask("/status/200/unanswered").await;
    check.case("it does not answer the connection", &rig, &seen).await;
    check.part(&rig, "");

    let rig = Rig::new(Setup::default()).await;
    let seen = rig.send_both(Ask::new("/hang").patience(Duration::from_secs(2))).await;
    check.case("it takes the request and says nothing", &rig, &seen).await;
    check.end(&rig);
}

/// A listener whose queue is full: the kernel answers nobody any more.
struct Full {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Full {
    async fn new() -> Full {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
            queued.push(stream.unwrap());
        }
        Full { address, _listener: listener, _queued: queued }
    }
}

#[tokio::test]
async fn wrong() {
    let mut check = Check::of(Upstream, Wrong);
    let other = Server::https(["other.example.com"]).await;
    let rig = leading_to(other.address()).await;
    let seen = rig.ask("/status/200/another").await;
    check.case("its certificate is another host's", &rig, &seen).await;
    assert!(other.requests().is_empty(), "it has got a request: {:?}", other.requests());
    check.part(&rig, "");

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mutters = tokio::spawn(async move {
        let config = Ca::shared().server(&[HOST.to_owned()], Validity::Current, &["http/1.1"]);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            // What it is answered with does not matter any more.
            let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n\r\n").await;
            let _ = stream.flush().await;
        }
    });
    let rig = leading_to(address).await;
    let seen = rig.ask("/status/200/mutters").await;
    check.case("what it says is not HTTP", &rig, &seen).await;
    mutters.abort();
    check.end(&rig);
}

#[tokio::test]
async fn dies_mid_request() {
    let mut check = Check::of(Upstream, DiesMidRequest);
    let mut rig = Rig::new(Setup::default()).await;
    let seen = rig.ask("/reset").await;
    check.case("before its answer", &rig, &seen).await;
    let seen = rig.ask("/reset-midway").await;
    check.case("while it answers", &rig, &seen).await;

    let sending = Ask::new("/status/200/sending");
    let mut talk = rig.begin(&sending).await;
    talk.say(&sending.chunked()).await;
    talk.say(&chunk(&"x".repeat(MUCH))).await;
    let begun = |seen: &crate::support::upstream::Seen| seen.path.starts_with("/status/200/sending");
    rig.upstream.wait_until("the beginning", |seen| seen.iter().any(begun)).await;
    let began = Instant::now();
    rig.replace_upstream(Server::https([HOST]).await);
    let seen = rig.seen(sending, began, talk.rest().await);
    check.case("while a body is on its way", &rig, &seen).await;
    check.end(&rig);
}

#[tokio::test]
async fn comes_back() {
    let mut check = Check::of(Upstream, ComesBack);
    let mut rig = Rig::new(Setup::default()).await;
    let address = rig.upstream.address();
    rig.replace_upstream(Server::https(["other.example.com"]).await);
    until("its end", async || TcpStream::connect(address).await.is_err().then_some(())).await;
    let seen = rig.ask("/status/200/away").await;
    rig.replace_upstream(Server::named([HOST]).address(address).start().await);
    let back = rig.until("/status/200/back", Sees::Answer(200), Ask::new).await;
    check.case("while it is away", &rig, &seen).await;
    check.case("it is started again", &rig, &back).await;
    check.end(&rig);
}
