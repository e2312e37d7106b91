//! Nothing waits for a collector, and it gets what it missed.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::matrix::Check;
use super::matrix::Component::Collector;
use super::matrix::Fault::{Absent, ComesBack, DiesMidRequest, Slow, Wrong};
use super::rig::{Ask, Rig, Seen, Setup};
use crate::support::collector::Taken;
use crate::support::dns::Reply;
use crate::support::{Collector as Server, Dns, free_address};

async fn rig(collector: SocketAddr, flags: [&str; 2]) -> Rig {
    let setup = Setup::default().flags(["--sink", "otlp"]).flags(flags);
    let endpoint = format!("http://{collector}");
    let setup = setup.variable("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).variable("OTEL_EXPORTER_OTLP_TIMEOUT", "1000");
    Rig::new(setup).await
}

const NO_FLAGS: [&str; 2] = ["--durability", "buffered"];

fn text(taken: &Taken) -> String {
    String::from_utf8_lossy(&taken.bytes).into_owned()
}

#[tokio::test]
async fn absent() {
    let mut check = Check::of(Collector, Absent);
    let rig = rig(free_address(), NO_FLAGS).await;
    let seen = rig.ask("/status/200/absent").await;
    check.case("nobody listens there", &rig, &seen).await;
    check.end(&rig);
}

#[tokio::test]
async fn slow() {
    let mut check = Check::of(Collector, Slow);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let rig = rig(listener.local_addr().unwrap(), NO_FLAGS).await;
    let mute = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(listener.accept().await.unwrap());
        }
    });
    let seen = rig.ask("/status/200/slow").await;
    check.case("it never answers", &rig, &seen).await;
    mute.abort();
    check.end(&rig);
}

#[tokio::test]
async fn wrong() {
    let mut check = Check::of(Collector, Wrong);
    let server = Server::start().await;
    server.refuse(true);
    let refusing = rig(server.address(), NO_FLAGS).await;
    let seen = refusing.ask("/status/200/refused").await;
    check.case("it refuses everything", &refusing, &seen).await;
    check.part(&refusing, &text(&server.taken()));

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let rig = rig(listener.local_addr().unwrap(), NO_FLAGS).await;
    let mutters = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            // Who leaves has heard enough.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let seen = rig.ask("/status/200/muttered").await;
    check.case("it does not speak gRPC", &rig, &seen).await;
    mutters.abort();
    check.end(&rig);
}

#[tokio::test]
async fn dies_mid_request() {
    let mut check = Check::of(Collector, DiesMidRequest);
    let (server, dns) = (Server::start().await, Dns::start().await);
    let rig = rig(server.address(), ["--dns-server", &dns.address().to_string()]).await;
    dns.script("late.named.example", [Reply::Silence]);
    let streaming = rig.stream(Ask::new("/streams")).await;
    let (decided, taken) = tokio::join!(rig.send_both(Ask::named("late", &rig, "/status/200/late")), async {
        dns.wait_for("late.named.example", "A", 1).await;
        let taken = server.taken();
        drop(server);
        dns.answer("late.named.example", ["127.0.0.1"]);
        taken
    });
    let streamed = rig.end_of(streaming).await;
    check.case("while the request is decided", &rig, &decided).await;
    check.case("while an answer streams", &rig, &streamed).await;
    check.end_told(&rig, &text(&taken));
}

#[tokio::test]
async fn comes_back() {
    let mut check = Check::of(Collector, ComesBack);
    let address = free_address();
    let rig = rig(address, NO_FLAGS).await;
    let seen = rig.ask("/status/200/missed").await;
    rig.wait_said("a sink does not take records").await;
    let began = Instant::now();
    let server = Server::start_at(address).await;
    let records = rig.records();
    let ids: Vec<_> = records.iter().map(|record| record["requestId"].as_str().unwrap()).collect();
    let has_all = |taken: &Taken| {
        let bodies: String = taken.logs.iter().map(|log| body(&log.record)).collect();
        ids.iter().all(|id| bodies.contains(id))
    };
    let taken = server.wait("every record", has_all).await;
    let seen = Seen { took: began.elapsed(), ..seen };
    check.case("it is started again, and has every record", &rig, &seen).await;
    check.end_told(&rig, &text(&taken));
}

fn body(record: &opentelemetry_proto::tonic::logs::v1::LogRecord) -> String {
    match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Any::StringValue(text)) => text.clone(),
        other => panic!("no line: {other:?}"),
    }
}
