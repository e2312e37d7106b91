//! The two ends of the path that is measured: a client that waits for each answer before it asks again, and an
//! upstream that answers at once.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use memchr::memmem;

/// What the credential injected on the way must be: the upstream says whether it came.
pub const KEY: &str = "benchmark-key-0123456789abcdefghijklmnop";
/// By which the client says who it is.
pub const TOKEN: &str = "benchmark-token-0123456789abcdefghijklmn";

/// An answer's body, in bytes.
const BODY: usize = 512;
const HEAD_END: &[u8] = b"\r\n\r\n";
/// The end of a body whose length was not said.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

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
    let mut buffer = vec![0; 256 << 10];
    let mut filled = 0;
    // One request at a time: Envoy does not pipeline.
    loop {
        match connection.read(&mut buffer[filled..])? {
            0 => return Ok(()),
            count => filled += count,
        }
        let Some(end) = memmem::find(&buffer[..filled], HEAD_END) else { continue };
        let (head, body) = buffer[..filled].split_at(end + HEAD_END.len());
        let keyed = memmem::find(head, key.as_bytes()).is_some();
        if let Some(length) = length(head) {
            let mut missing = length - body.len();
            while missing > 0 {
                match connection.read(&mut buffer)? {
                    0 => return Ok(()),
                    count => missing -= count,
                }
            }
        } else if memmem::find(head, b"chunked").is_some() {
            let mut last = body.to_vec();
            while !last.ends_with(LAST_CHUNK) {
                let count = connection.read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                last.drain(..last.len().saturating_sub(LAST_CHUNK.len()));
                last.extend_from_slice(&buffer[..count]);
            }
        }
        connection.write_all(if keyed { &with_key } else { &without }.as_bytes())?;
        filled = 0;
    }
}

/// What the head says of the body.
fn length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let line = head
        .split(|&byte| byte == b'\n')
        .find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))?;
    std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok()
}

/// What a client asks, again and again.
#[derive(Clone)]
pub enum Request {
    /// A resource.
    Get,
    /// Sends a JSON text, whose length its head says.
    Post(Vec<u8>),
    /// Sends so many parts of a text, without saying how many in its head.
    Upload { part: Vec<u8>, count: usize },
}

/// A client's connection to a proxy, kept alive.
pub struct Client {
    connection: TcpStream,
    /// The head, and what is sent with it.
    first: Vec<u8>,
    /// What follows, and how often.
    part: Vec<u8>,
    count: usize,
    tail: &'static [u8],
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to `proxy`, to ask for a resource of `http://{authority}` as clients under `HTTP_PROXY` do.
    pub fn connect(proxy: SocketAddr, authority: &str, request: &Request) -> std::io::Result<Self> {
        let connection = TcpStream::connect(proxy)?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(Duration::from_secs(60)))?;
        let (method, more) = match request {
            Request::Get => ("GET", String::new()),
            Request::Post(body) => {
                ("POST", format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()))
            }
            Request::Upload { .. } => {
                ("POST", "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n".to_owned())
            }
        };
        let head = format!(
            "{method} http://{authority}/v1/items/42?limit=10 HTTP/1.1\r\nHost: {authority}\r\n\
             Proxy-Authorization: Bearer {TOKEN}\r\nUser-Agent: python-requests/2.32.5\r\nAccept: */*\r\n\
             Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n{more}\r\n"
        );
        let mut first = head.into_bytes();
        let (part, count, tail): (_, _, &[u8]) = match request {
            Request::Get => (Vec::new(), 0, b""),
            Request::Post(body) => {
                first.extend_from_slice(body);
                (Vec::new(), 0, b"")
            }
            Request::Upload { part, count } => {
                let chunk = [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
                (chunk, *count, LAST_CHUNK)
            }
        };
        Ok(Self { connection, first, part, count, tail, buffer: Vec::with_capacity(4096) })
    }

    /// One request and its whole answer. An error unless it is a 200.
    pub fn ask(&mut self) -> std::io::Result<&[u8]> {
        self.connection.write_all(&self.first)?;
        for _ in 0..self.count {
            self.connection.write_all(&self.part)?;
        }
        self.connection.write_all(self.tail)?;
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
