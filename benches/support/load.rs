//! The two ends of the path that is measured: a client that waits for each answer before it asks again, and an
//! upstream that answers at once.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// What the credential injected on the way must be: the upstream says whether it came.
pub const KEY: &str = "benchmark-key-0123456789abcdefghijklmnop";
/// By which the client says who it is.
pub const TOKEN: &str = "benchmark-token-0123456789abcdefghijklmn";

/// An answer's body, in bytes.
const BODY: usize = 512;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Starts an upstream on a thread of this process for each connection. Plain HTTP/1.1, kept alive.
pub fn upstream() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // A connection that Envoy drops is no failure of the upstream's.
            std::thread::spawn(move || answer_all(connection).ok());
        }
    });
    address
}

fn answer_all(mut connection: TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let answer = |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n{body:BODY$}");
    let (with_key, without) = (answer("with the key"), answer("without"));
    let key = format!("Bearer {KEY}\r\n");
    let mut buffer = [0; 16 << 10];
    let mut filled = 0;
    loop {
        match connection.read(&mut buffer[filled..])? {
            0 => return Ok(()),
            count => filled += count,
        }
        // One request at a time: Envoy does not pipeline.
        if buffer[..filled].ends_with(HEAD_END) {
            let keyed = contains(&buffer[..filled], key.as_bytes());
            connection.write_all(if keyed { &with_key } else { &without }.as_bytes())?;
            filled = 0;
        }
    }
}

/// A client's connection to a proxy, kept alive.
pub struct Client {
    connection: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to `proxy`, to ask for a resource of `http://{authority}` as clients under `HTTP_PROXY` do.
    pub fn connect(proxy: SocketAddr, authority: &str) -> std::io::Result<Self> {
        let connection = TcpStream::connect(proxy)?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(Duration::from_secs(10)))?;
        let request = format!(
            "GET http://{authority}/v1/items/42?limit=10 HTTP/1.1\r\nHost: {authority}\r\n\
             Proxy-Authorization: Bearer {TOKEN}\r\nUser-Agent: python-requests/2.32.5\r\nAccept: */*\r\n\
             Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\r\n"
        );
        Ok(Self { connection, request: request.into_bytes(), buffer: Vec::with_capacity(4096) })
    }

    /// One request and its whole answer. An error unless it is a 200.
    pub fn ask(&mut self) -> std::io::Result<&[u8]> {
        self.connection.write_all(&self.request)?;
        self.buffer.clear();
        let mut chunk = [0; 4096];
        loop {
            let count = self.connection.read(&mut chunk)?;
            self.buffer.extend_from_slice(&chunk[..count]);
            let refused = !self.buffer.starts_with(b"HTTP/1.1 200");
            if count == 0 || refused {
                let text = String::from_utf8_lossy(&self.buffer);
                return Err(std::io::Error::other(format!("no answer, or a refusal: {text}")));
            }
            let head = self.buffer.windows(HEAD_END.len()).position(|window| window == HEAD_END);
            if let Some(head) = head.filter(|head| self.buffer.len() >= head + HEAD_END.len() + BODY) {
                return Ok(&self.buffer[head + HEAD_END.len()..]);
            }
        }
    }

    /// Whether the upstream saw [`KEY`].
    pub fn asked_with_key(&mut self) -> std::io::Result<bool> {
        Ok(self.ask()?.starts_with(b"with the key"))
    }

    /// How long each of `count` requests takes, one after the other.
    pub fn time(&mut self, count: usize) -> Vec<Duration> {
        let one = |_| {
            let start = Instant::now();
            self.ask().expect("an answer");
            start.elapsed()
        };
        (0..count).map(one).collect()
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
