//! Who waits for an answer in the middle of a body gets it, and a body of any size is kept nowhere.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hyper::body::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{HELD, KEY, RULE, assert_untold, finding};
use crate::support::process::resident;
use crate::support::{Ask, Attache, PROTOCOLS, Place, Protocol, grpc, tunnel, within};

const HOST: &str = "api.example.com";

#[tokio::test]
async fn a_grpc_conversation_goes_on_until_something_is_found() {
    let place = Place::new(&format!("allowedDomains: [{HOST}]"), [HOST]).await;
    let ca = place.attache.ca_pem();
    let channel = grpc::channel(place.attache.proxy(), &format!("{HOST}:443"), &ca);
    let (send, messages) = mpsc::channel(1);
    let mut echoes = grpc::chat(channel.clone(), ReceiverStream::new(messages)).await.unwrap();
    // What could be the beginning of a key is released with its message.
    for message in ["one", "two AKIA", "", "AKIAQ3EG", "three"] {
        send.send(message.to_owned()).await.unwrap();
        let echoed = within("an echo", echoes.message()).await.unwrap();
        assert_eq!(echoed.as_deref(), Some(message), "while the stream is open");
    }
    send.send(format!("four {KEY}")).await.unwrap();
    let status = within("the end", echoes.message()).await.unwrap_err();
    let record = place.attache.wait_record("its record", |record| record["reason"] == "dlp_blocked").await;
    assert!(!finding(&record, RULE).is_null(), "{record}");
    assert!(place.arrived().iter().all(|seen| !seen.text().contains("four")), "{status:?}");
    let refused = grpc::unary(channel.clone(), &format!("five {KEY}")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused:?}");
    assert_eq!(grpc::unary(channel, "hello").await.unwrap(), "hello");
    assert_untold(&place, &[KEY]);
}

#[tokio::test]
async fn a_chunked_conversation_goes_on_until_something_is_found() {
    let address = echoing_upstream().await;
    let attache = plain(address).await;
    let mut stream = TcpStream::connect(attache.proxy()).await.unwrap();
    let head = format!("POST http://{HOST}/talk HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut heard = String::new();
    for line in ["ping 1\n", "{\"ping\": 2}\n", "and three.\n"] {
        stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).await.unwrap();
        while !heard.contains(line) {
            let mut buffer = [0; 4096];
            let count = within(line, stream.read(&mut buffer)).await.unwrap();
            assert!(count > 0, "the end after {heard}");
            heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }
    let last = format!("key {KEY}\n");
    stream.write_all(format!("{:x}\r\n{last}\r\n", last.len()).as_bytes()).await.unwrap();
    let mut rest = Vec::new();
    // However the connection ends.
    let _ = within("the end", stream.read_to_end(&mut rest)).await;
    assert!(!String::from_utf8_lossy(&rest).contains("AKIA"), "{}", String::from_utf8_lossy(&rest));
    let record = attache.wait_record("its record", |record| record["reason"] == "dlp_blocked").await;
    assert!(!finding(&record, RULE).is_null(), "{record}");
}

/// A body that is held until it is clean goes on by the way that the policy says, in however many parts it came.
#[tokio::test]
async fn a_held_body_that_comes_in_parts_goes_where_it_should() {
    let policy = r#"
allowedDomains: [api.example.com, "http://plain.example"]
agents:
  ann: {identity: [{header: {name: X-Attache-Agent, value: ann, trusted: true}}]}
credentials:
  - name: key
    envVarKey: KEY
    injections: [{domain: api.example.com, headerName: X-Key, headerFormat: "{value}"}]
"#;
    let place = Place::with(policy, [HOST, "plain.example"], |setup| setup.env("KEY", HELD)).await;
    for (host, upstream, key) in [(HOST, &place.upstream, Some(HELD)), ("plain.example", &place.plain, None)] {
        for first in [0, 1, 40_000] {
            let body = vec![b'x'; 70_000];
            let head = format!("POST http://{host}/a HTTP/1.1\r\nHost: {host}\r\nX-Attache-Agent: ann\r\n");
            let mut stream = TcpStream::connect(place.attache.proxy()).await.unwrap();
            let head = format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), &body[..first]].concat()).await.unwrap();
            let mut client = tunnel::h2(TcpStream::connect(place.attache.proxy()).await.unwrap()).await;
            let request = http::Request::post(format!("http://{host}/b")).header("content-length", body.len());
            let request = request.header("x-attache-agent", "ann").body(()).unwrap();
            let (answer, mut rest) = client.send_request(request, false).unwrap();
            rest.send_data(Bytes::copy_from_slice(&body[..first]), false).unwrap();
            // By now both have been told to hold the rest.
            let before = place.arrived().len();
            let another = Ask::get(Protocol::Http1, &format!("https://{HOST}/")).header("x-attache-agent", "ann");
            assert_eq!(another.send(&place.attache).await.status, 200);
            assert_eq!(place.arrived().len(), before + 1);
            let told = tunnel::raw(&mut stream, &body[first..]).await;
            assert!(told.starts_with("HTTP/1.1 200"), "{host} after {first}: {told}");
            rest.send_data(Bytes::copy_from_slice(&body[first..]), false).unwrap();
            rest.send_data(Bytes::new(), true).unwrap();
            assert_eq!(within("an answer", answer).await.unwrap().status(), 200, "{host} after {first}");
            for seen in upstream.requests().split_off(upstream.requests().len() - 2) {
                assert_eq!(
                    (seen.body.len(), seen.header("x-key"), seen.header("x-attache-agent")),
                    (70_000, key, None)
                );
            }
        }
    }
}

/// How much is sent, in MiB.
fn megabytes() -> u64 {
    std::env::var("ATTACHE_TEST_UPLOAD_MIB").map_or(40, |megabytes| megabytes.parse().unwrap())
}

/// More than it may cost, over both protocols: what is idle before has had one request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_is_looked_into_and_kept_nowhere() {
    let part: Bytes =
        "He said that the weather in Spring 2024 was fine, order no. 1837.\n".bytes().cycle().take(1 << 20).collect();
    for protocol in PROTOCOLS {
        let (address, counted) = counting_upstream().await;
        let attache = plain(address).await;
        let pids = [attache.service().await, attache.envoy().await];
        upload(&attache, protocol, &part.slice(..1 << 16), 1, || {}).await;
        let before = pids.map(resident);
        let mut most = before;
        let look = || {
            let now = pids.map(resident);
            most = [most[0].max(now[0]), most[1].max(now[1])];
        };
        upload(&attache, protocol, &part, megabytes(), look).await;
        for (name, (before, most)) in ["attaché", "Envoy"].into_iter().zip(before.into_iter().zip(most)) {
            let grown = most.saturating_sub(before);
            println!("{protocol:?}: over {} MiB {name} grew by {} KiB", megabytes(), grown >> 10);
            assert!(grown < 24 << 20, "{protocol:?}: {name} grew by {} KiB", grown >> 10);
        }
        assert_eq!(*counted.lock().unwrap(), [1 << 16, megabytes() << 20]);
    }
}

/// Sends so many parts, and looks after each.
async fn upload(attache: &Attache, protocol: Protocol, part: &Bytes, count: u64, mut look: impl FnMut()) {
    let mut stream = TcpStream::connect(attache.proxy()).await.unwrap();
    let length = part.len() as u64 * count;
    if protocol == Protocol::Http1 {
        let head = format!("PUT http://{HOST}/sink HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..count {
            within("the upload", stream.write_all(part)).await.unwrap();
            look();
        }
        let mut answer = [0; 12];
        within("an answer", stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        return;
    }
    let mut client = tunnel::h2(stream).await;
    let request = http::Request::put(format!("http://{HOST}/sink")).header("content-length", length);
    let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    for _ in 0..count {
        let mut left = part.clone();
        while !left.is_empty() {
            body.reserve_capacity(left.len());
            // It tells of more, not of what is there.
            if body.capacity() == 0 {
                within("the upload", poll_fn(|context| body.poll_capacity(context))).await.unwrap().unwrap();
            }
            let capacity = body.capacity();
            body.send_data(left.split_to(capacity.min(left.len())), false).unwrap();
        }
        look();
    }
    body.send_data(Bytes::new(), true).unwrap();
    let answer = within("an answer", answer).await.unwrap();
    assert_eq!(answer.status(), 200);
}

/// Before an upstream that is spoken to in plaintext.
async fn plain(address: SocketAddr) -> Attache {
    let policy = format!("allowedDomains: ['http://{HOST}']");
    Attache::up(&policy).flags(["--resolve".to_owned(), format!("{HOST}:80:{address}")]).start().await
}

/// Reads a head, byte by byte.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// One that answers each chunk with the same as it comes.
async fn echoing_upstream() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                head(&mut stream).await?;
                let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                stream.write_all(head).await.ok()?;
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await.ok()
            });
        }
    });
    address
}

/// One that counts the bytes of each body that it is sent, and keeps none.
async fn counting_upstream() -> (SocketAddr, Arc<Mutex<Vec<u64>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let counts = Arc::<Mutex<Vec<_>>>::default();
    let counted = counts.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counts = counts.clone();
            tokio::spawn(async move { while count(&mut stream, &counts).await.is_some() {} });
        }
    });
    (address, counted)
}

/// Reads a request, and notes how long its body was.
async fn count(stream: &mut TcpStream, counts: &Mutex<Vec<u64>>) -> Option<()> {
    let head = head(stream).await?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let length: u64 = length.parse().unwrap();
    let mut left = length;
    let mut buffer = vec![0; 1 << 18];
    while left > 0 {
        match stream.read(&mut buffer).await.ok()? {
            0 => return None,
            count => left -= count as u64,
        }
    }
    counts.lock().unwrap().push(length);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.ok()
}
