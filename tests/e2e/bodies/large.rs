//! Bodies of any size pass in constant memory: only what is being looked at is kept, here and in Envoy.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::service::Stage;
use crate::support::within;

/// How much is sent, in MiB.
fn megabytes() -> u64 {
    std::env::var("ATTACHE_TEST_UPLOAD_MIB").map_or(256, |megabytes| megabytes.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_is_kept_nowhere() {
    let (address, counted) = counting_upstream().await;
    let stage = Stage::plain(address).await;
    let before = stage.envoy_memory();
    let mut stream = stage.connect().await;
    let length = format!("Content-Length: {}", megabytes() << 20);
    stream.write_all(&stage.head("PUT", "/sink", &[&length, "x-body: stream"])).await.unwrap();
    let part = vec![b'x'; 1 << 20];
    let mut most = before;
    for _ in 0..megabytes() {
        within("the upload", stream.write_all(&part)).await.unwrap();
        most = most.max(stage.envoy_memory());
    }
    let mut answer = [0; 12];
    within("an answer", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(within("the count", counted).await.unwrap(), megabytes() << 20);
    assert!(most - before < 24 << 20, "Envoy grew by {} KiB", (most - before) >> 10);
}

/// Who does not read is not read for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_does_not_read_is_not_kept_for() {
    let (address, _stalls) = stalling_upstream().await;
    let stage = Stage::plain(address).await;
    let before = stage.envoy_memory();
    let mut stream = stage.connect().await;
    let length = format!("Content-Length: {}", 4_u64 << 30);
    stream.write_all(&stage.head("PUT", "/stall", &[&length, "x-body: stream"])).await.unwrap();
    let written = write_until_it_stalls(&mut stream).await;
    let most = stage.envoy_memory();
    assert!(written < MOST_ON_THE_WAY, "{written} bytes were taken");
    assert!(most - before < 24 << 20, "Envoy grew by {} KiB", (most - before) >> 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_does_not_read_is_not_kept_for() {
    let (address, stalls) = stalling_upstream().await;
    let stage = Stage::plain(address).await;
    let before = stage.envoy_memory();
    let mut stream = stage.connect().await;
    stream.write_all(&stage.head("GET", "/flood", &["x-response: now"])).await.unwrap();
    let written = within("the upstream to stall", stalls).await.unwrap();
    let most = stage.envoy_memory();
    assert!(written < MOST_ON_THE_WAY, "{written} bytes were taken");
    assert!(most - before < 24 << 20, "Envoy grew by {} KiB", (most - before) >> 10);
}

/// What may be under way between two that do not read, in bytes: the buffers of the kernel, Envoy and gRPC.
const MOST_ON_THE_WAY: u64 = 64 << 20;
/// Nobody who reads takes so long.
const STALLED: Duration = Duration::from_secs(2);

/// Writes until nobody takes it any more, and tells how much was taken.
async fn write_until_it_stalls(stream: &mut TcpStream) -> u64 {
    let part = vec![b'x'; 1 << 18];
    let mut written = 0;
    while written < MOST_ON_THE_WAY {
        match tokio::time::timeout(STALLED, stream.write(&part)).await {
            Ok(count) => written += count.unwrap() as u64,
            Err(_) => break,
        }
    }
    written
}

/// One that does not read the body of `/stall` and, at `/flood`, sends one without end: it tells how much was taken.
async fn stalling_upstream() -> (SocketAddr, JoinHandle<u64>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stalls = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            if head.contains(" /flood ") {
                let length = 4_u64 << 30;
                stream
                    .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())
                    .await
                    .unwrap();
                return write_until_it_stalls(&mut stream).await;
            }
            if head.contains(" /stall ") {
                std::future::pending::<()>().await;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    (address, stalls)
}

/// One that counts what reaches it and keeps nothing, as the others do; it answers everything with 200.
async fn counting_upstream() -> (SocketAddr, JoinHandle<u64>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let counted = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Some(count) = one_request(&mut stream).await {
                if count > 0 {
                    return count;
                }
            }
        }
    });
    (address, counted)
}

/// Answers one request, and how long its body was.
async fn one_request(stream: &mut TcpStream) -> Option<u64> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: u64 = length.map_or(0, |length| length.parse().unwrap());
    let mut left = length;
    let mut buffer = vec![0; 1 << 18];
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap());
        left -= stream.read(&mut buffer[..most]).await.ok()? as u64;
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.ok()?;
    Some(length)
}
