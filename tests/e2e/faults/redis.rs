//! What has to be counted elsewhere does not pass uncounted, and nothing else waits for it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::matrix::Component::Redis;
use super::matrix::Fault::{Absent, ComesBack, DiesMidRequest, Slow, Wrong};
use super::matrix::{Check, Sees};
use super::rig::{Ask, Rig, Setup};
use crate::support::Redis as Server;

async fn rig(url: &str) -> Rig {
    Rig::new(Setup::default().flags(["--store", url, "--store-budget", "500"])).await
}

/// One that has counted a request.
async fn counting(server: &Server) -> Rig {
    let rig = rig(&server.url()).await;
    rig.until("/status/200/limited/first", Sees::Answer(200), Ask::new).await;
    rig
}

#[tokio::test]
async fn absent() {
    let mut check = Check::of(Redis, Absent);
    let mut server = Server::start().await;
    let rig = counting(&server).await;
    server.kill9().await;
    let limited = rig.ask("/status/200/limited/absent").await;
    let free = rig.ask("/status/200/absent").await;
    check.case("a request that has a limit", &rig, &limited).await;
    check.case("a request that has none", &rig, &free).await;
    check.end(&rig);
}

#[tokio::test]
async fn slow() {
    let mut check = Check::of(Redis, Slow);
    let server = Server::start().await;
    let rig = counting(&server).await;
    server.hang().await;
    let limited = rig.ask("/status/200/limited/slow").await;
    let free = rig.ask("/status/200/slow").await;
    server.resume();
    check.case("it stands still: a request that has a limit", &rig, &limited).await;
    check.case("it stands still: a request that has none", &rig, &free).await;
    check.end(&rig);
}

#[tokio::test]
async fn wrong() {
    let mut check = Check::of(Redis, Wrong);
    for (number, (when, answer)) in [
        ("it answers with errors", "-ERR it is not what you think\r\n"),
        ("it answers with what is no answer", "HTTP/1.1 400 Bad Request\r\n\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("redis.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                        // Who leaves has heard enough.
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                });
            }
        });
        let rig = rig(&format!("unix://{}", socket.display())).await;
        let seen = rig.ask(&format!("/status/200/limited/wrong/{number}")).await;
        server.abort();
        check.case(when, &rig, &seen).await;
        check.part(&rig, "");
        if number == 1 {
            return check.end(&rig);
        }
    }
}

#[tokio::test]
async fn dies_mid_request() {
    let mut check = Check::of(Redis, DiesMidRequest);
    let mut server = Server::start().await;
    let rig = counting(&server).await;
    let streaming = rig.stream(Ask::new("/status/200/limited/streams")).await;
    let asked = "/status/200/briefly/asked";
    let (held, ()) = tokio::join!(rig.ask(asked), async {
        rig.question(asked).await;
        server.kill9().await;
    });
    let streamed = rig.end_of(streaming).await;
    check.case("while a person is asked, for so long", &rig, &held).await;
    check.case("while an answer streams", &rig, &streamed).await;
    check.end(&rig);
}

#[tokio::test]
async fn comes_back() {
    let mut check = Check::of(Redis, ComesBack);
    let mut server = Server::start().await;
    let rig = counting(&server).await;
    server.kill9().await;
    let seen = rig.ask("/status/200/limited/away").await;
    server.start_again().await;
    let back = rig.until("/status/200/limited/back", Sees::Answer(200), Ask::new).await;
    check.case("while it is away", &rig, &seen).await;
    check.case("it is started again", &rig, &back).await;
    check.end(&rig);
}
