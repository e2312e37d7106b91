//! One request, said as a test wants it, by each way an agent has into the proxy, and what was answered.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::Bytes;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Attache, tunnel, within};

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

pub const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

impl Protocol {
    /// For curl.
    pub fn flag(self) -> &'static str {
        match self {
            Protocol::Http1 => "--http1.1",
            Protocol::Http2 => "--http2",
        }
    }

    fn alpn(self) -> &'static str {
        match self {
            Protocol::Http1 => "http/1.1",
            Protocol::Http2 => "h2",
        }
    }
}

/// How a request enters the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// CONNECT, then TLS inside.
    Tunnel,
    /// CONNECT, then plain HTTP inside.
    PlainTunnel,
    /// To the proxy itself, the whole URL in the request: absolute form, or HTTP/2's pseudo-headers.
    Absolute,
    /// To the proxy itself as if it were the upstream, named by `Host`. HTTP/1.1 only.
    HostStyle,
}

/// A request. Whatever is not set otherwise follows from the URL.
#[derive(Clone, Debug)]
pub struct Ask {
    protocol: Protocol,
    way: Way,
    method: String,
    /// What the request itself names.
    authority: String,
    /// What CONNECT names, with its port.
    connect: String,
    sni: Option<String>,
    target: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    connect_headers: Vec<(String, String)>,
    body: Vec<u8>,
    is_chunked: bool,
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// CONNECT was refused.
    Connect,
    /// The TLS handshake failed: there is no answer.
    Handshake,
    /// The request itself was answered.
    Request,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub stage: Stage,
    /// 0 where the connection or stream just ended.
    pub status: u16,
    /// Empty for [`Ask::send_bytes`] over HTTP/2.
    pub headers: HeaderMap,
    pub body: String,
}

impl Reply {
    /// The body as JSON; a failed test where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The `reason` of a refusal; empty where the answer is not one.
    pub fn reason(&self) -> String {
        let json = serde_json::from_str::<Value>(&self.body).unwrap_or_default();
        json["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// The body without the frames of HTTP/1.1's chunks.
    pub fn text(&self) -> String {
        if self.headers.get("transfer-encoding").is_none() {
            return self.body.clone();
        }
        let (mut text, mut rest) = (String::new(), &*self.body);
        while let Some((size, chunks)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).unwrap_or_else(|e| panic!("{e}: {self:?}"));
            let Some(chunk) = chunks.get(..size).filter(|chunk| !chunk.is_empty()) else { break };
            text.push_str(chunk);
            rest = &chunks[size + 2..];
        }
        text
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Ask {
    /// `https://…` goes through a tunnel, `http://…` to the proxy itself, unless told otherwise.
    pub fn new(protocol: Protocol, method: &str, url: &str) -> Ask {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let tls = scheme == "https";
        let bracketed = authority.ends_with(']');
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !bracketed => (host, port),
            _ => (authority, if tls { "443" } else { "80" }),
        };
        Ask {
            protocol,
            way: if tls { Way::Tunnel } else { Way::Absolute },
            method: method.to_owned(),
            authority: authority.to_owned(),
            connect: format!("{host}:{port}"),
            sni: Some(host.trim_matches(['[', ']']).to_owned()),
            target: if target.is_empty() { b"/".to_vec() } else { target.into() },
            headers: Vec::new(),
            connect_headers: Vec::new(),
            body: Vec::new(),
            is_chunked: false,
        }
    }

    pub fn get(protocol: Protocol, url: &str) -> Ask {
        Ask::new(protocol, "GET", url)
    }

    pub fn is_http2(&self) -> bool {
        self.protocol == Protocol::Http2
    }

    pub fn by(mut self, way: Way) -> Ask {
        self.way = way;
        self
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Ask {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// A header of the CONNECT request.
    pub fn connect_header(mut self, name: &str, value: &str) -> Ask {
        self.connect_headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Opens the tunnel to another place (`host:port`).
    pub fn connect(mut self, authority: &str) -> Ask {
        self.connect = authority.to_owned();
        self
    }

    /// Names another host in the handshake. A handshake that names nobody is one for an address.
    pub fn sni(mut self, name: &str) -> Ask {
        self.sni = Some(name.to_owned());
        self
    }

    /// Names another host in the request.
    pub fn authority(mut self, authority: &str) -> Ask {
        self.authority = authority.to_owned();
        self
    }

    /// Path and query as bytes.
    pub fn target(mut self, target: impl AsRef<[u8]>) -> Ask {
        self.target = target.as_ref().to_vec();
        self
    }

    /// A body, of known length over HTTP/1.1; [`Ask::send_bytes`] sends none over HTTP/2.
    pub fn body(mut self, bytes: impl AsRef<[u8]>) -> Ask {
        self.body = bytes.as_ref().to_vec();
        self
    }

    /// A body whose length is stated over HTTP/2 too, so that it can be held.
    pub fn whole_body(self, bytes: impl AsRef<[u8]>) -> Ask {
        let ask = self.body(bytes);
        match ask.protocol {
            Protocol::Http1 => ask,
            Protocol::Http2 => {
                let length = ask.body.len().to_string();
                ask.header("content-length", length)
            }
        }
    }

    /// A body whose length is not stated over HTTP/1.1 either, so that it cannot be held.
    pub fn streamed_body(self, bytes: impl AsRef<[u8]>) -> Ask {
        Ask { is_chunked: true, ..self.body(bytes) }
    }

    /// Sends it. Over HTTP/2 by a library, which allows what [`http::Request`] does.
    pub async fn send(self, attache: &Attache) -> Reply {
        self.send_by(attache, Http2::Library).await
    }

    /// The same, byte by byte over HTTP/2 too: no library has an opinion of what is sent.
    pub async fn send_bytes(self, attache: &Attache) -> Reply {
        self.send_by(attache, Http2::Bytes).await
    }

    /// Opens the tunnel and makes the handshake, for more than one request.
    pub async fn open(&self, attache: &Attache) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Reply> {
        let stream = self.tunnel(attache.proxy()).await?;
        let sni = self.sni.as_deref();
        tunnel::tls(stream, sni, &attache.ca_pem(), &[self.protocol.alpn()])
            .await
            .map_err(|error| Reply::none(Stage::Handshake, error.to_string()))
    }

    async fn tunnel(&self, proxy: SocketAddr) -> Result<TcpStream, Reply> {
        let headers: Vec<_> = self.connect_headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        tunnel::connect(proxy, &self.connect, &headers)
            .await
            .map_err(|answer| Reply { stage: Stage::Connect, ..Reply::parse(&answer) })
    }

    async fn send_by(self, attache: &Attache, http2: Http2) -> Reply {
        match self.way {
            Way::Tunnel => match self.open(attache).await {
                Ok(stream) => self.exchange(stream, http2).await,
                Err(refused) => refused,
            },
            Way::PlainTunnel => match self.tunnel(attache.proxy()).await {
                Ok(stream) => self.exchange(stream, http2).await,
                Err(refused) => refused,
            },
            Way::Absolute | Way::HostStyle => {
                let stream = TcpStream::connect(attache.proxy()).await.unwrap();
                stream.set_nodelay(true).unwrap();
                self.exchange(stream, http2).await
            }
        }
    }

    /// The request alone, over a stream that leads to where it is read.
    pub async fn exchange<S>(self, mut stream: S, http2: Http2) -> Reply
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match (self.protocol, http2) {
            (Protocol::Http1, _) => Reply::parse(&tunnel::raw(&mut stream, &self.http1()).await),
            (Protocol::Http2, Http2::Library) => self.http2(stream).await,
            (Protocol::Http2, Http2::Bytes) => self.frames(stream).await,
        }
    }

    fn http1(&self) -> Vec<u8> {
        let mut out = format!("{} ", self.method).into_bytes();
        if self.way == Way::Absolute {
            out.extend(format!("http://{}", self.authority).bytes());
        }
        out.extend(&self.target);
        out.extend(format!(" HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.authority).bytes());
        for (name, value) in &self.headers {
            out.extend(name.bytes().chain(*b": ").chain(value.iter().copied()).chain(*b"\r\n"));
        }
        if self.is_chunked {
            out.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in self.body.chunks(1 << 14) {
                out.extend(format!("{:x}\r\n", chunk.len()).bytes());
                out.extend(chunk.iter().chain(b"\r\n"));
            }
            out.extend(b"0\r\n\r\n");
            return out;
        }
        if !self.body.is_empty() {
            out.extend(format!("Content-Length: {}\r\n", self.body.len()).bytes());
        }
        out.extend(b"\r\n");
        out.extend(&self.body);
        out
    }

    fn scheme(&self) -> &'static str {
        if self.way == Way::Tunnel { "https" } else { "http" }
    }

    async fn http2<S>(self, stream: S) -> Reply
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let target = String::from_utf8(self.target.clone()).unwrap();
        let mut request = http::Request::builder().method(self.method.as_str()).uri(format!(
            "{}://{}{target}",
            self.scheme(),
            self.authority
        ));
        for (name, value) in &self.headers {
            request = request.header(name, value.as_slice());
        }
        let mut client = tunnel::h2(stream).await;
        let (answer, mut body) = client.send_request(request.body(()).unwrap(), self.body.is_empty()).unwrap();
        if !self.body.is_empty() {
            body.send_data(Bytes::from(self.body), true).unwrap();
        }
        let answer = match within("an answer", answer).await {
            Ok(answer) => answer,
            Err(error) => return Reply::none(Stage::Request, error.to_string()),
        };
        let (head, mut content) = answer.into_parts();
        let mut body = Vec::new();
        while let Some(data) = within("the rest of the answer", content.data()).await {
            match data {
                Ok(data) => {
                    content.flow_control().release_capacity(data.len()).unwrap();
                    body.extend_from_slice(&data);
                }
                Err(_) => break,
            }
        }
        Reply {
            stage: Stage::Request,
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    async fn frames<S: AsyncRead + AsyncWrite + Unpin>(self, mut stream: S) -> Reply {
        let mut block = Vec::new();
        let pseudo = [
            (":method", self.method.as_bytes()),
            (":scheme", self.scheme().as_bytes()),
            (":authority", self.authority.as_bytes()),
            (":path", &self.target),
        ];
        let fields = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        for (name, value) in pseudo.into_iter().chain(fields) {
            literal(&mut block, name.as_bytes(), value);
        }
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        frame(&mut out, SETTINGS, 0, 0, &[]);
        frame(&mut out, HEADERS, END_HEADERS | END_STREAM, 1, &block);
        stream.write_all(&out).await.unwrap();
        within("an answer", answer_in_frames(&mut stream)).await
    }
}

/// Who writes HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2 {
    Library,
    Bytes,
}

impl Reply {
    fn none(stage: Stage, why: String) -> Reply {
        Reply { stage, status: 0, headers: HeaderMap::new(), body: why }
    }

    /// From an HTTP/1.1 answer.
    fn parse(answer: &str) -> Reply {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
        Reply { stage: Stage::Request, status, headers, body: body.to_owned() }
    }
}

// RFC 9113 §6: types and flags of frames.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Appends a frame.
pub fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    out.extend(&length[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

/// A field without indexing and without Huffman codes (RFC 7541 §6.2.2).
pub fn literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    for text in [name, value] {
        match text.len() {
            short @ ..127 => out.push(short as u8),
            long => {
                // RFC 7541 §5.1, for lengths of two further bytes at most.
                let rest = long - 127;
                out.extend([127, (rest % 128) as u8 | 128, (rest / 128) as u8]);
            }
        }
        out.extend(text);
    }
}

async fn answer_in_frames<S: AsyncRead + Unpin>(stream: &mut S) -> Reply {
    let mut reply = Reply::none(Stage::Request, String::new());
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            break;
        }
        let [a, b, c, kind, flags, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            break;
        }
        match kind {
            HEADERS => reply.status = status(&payload),
            DATA => body.extend(payload),
            RST_STREAM | GOAWAY => break,
            _ => continue,
        }
        if flags & END_STREAM != 0 {
            break;
        }
    }
    reply.body = String::from_utf8_lossy(&body).into_owned();
    reply
}

/// The status at the head of a field block, where every sender puts it: RFC 7541, appendix A for the index, §5.2
/// and appendix B for the text.
fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // A size update of the dynamic table may come first.
    let block = match block {
        [0x20..=0x3f, rest @ ..] => rest,
        block => block,
    };
    match block {
        [index @ 0x88..=0x8e, ..] => INDEXED[usize::from(index - 0x88)],
        // A literal whose name is entry 8: with indexing, without, or never.
        [0x48 | 0x08 | 0x18, 3, text @ ..] => std::str::from_utf8(&text[..3]).unwrap().parse().unwrap(),
        [0x48 | 0x08 | 0x18, huffman @ (0x82 | 0x83), text @ ..] => {
            let bits: String = text[..usize::from(huffman & 0x7f)].iter().map(|b| format!("{b:08b}")).collect();
            digits(&bits)
        }
        _ => panic!("no status in {block:02x?}"),
    }
}

/// Three digits in Huffman codes: five bits for 0 to 2, six for 3 to 9.
fn digits(mut bits: &str) -> u16 {
    let mut number = 0;
    for _ in 0..3 {
        let short = u16::from_str_radix(&bits[..5], 2).unwrap();
        let (digit, length) =
            if short <= 2 { (short, 5) } else { (u16::from_str_radix(&bits[..6], 2).unwrap() - 0x19 + 3, 6) };
        number = number * 10 + digit;
        bits = &bits[length..];
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::Upstream;

    #[tokio::test]
    async fn says_what_it_is_told_in_both_protocols() {
        let upstream = Upstream::http().await;
        for (protocol, http2) in
            [(Protocol::Http1, Http2::Library), (Protocol::Http2, Http2::Library), (Protocol::Http2, Http2::Bytes)]
        {
            for status in [200, 400, 403, 404, 421, 431, 503] {
                let ask = Ask::new(protocol, "PUT", &format!("http://a.example:81/status/{status}?q=%zz"));
                let stream = TcpStream::connect(upstream.address()).await.unwrap();
                let reply = ask.by(Way::HostStyle).header("x-a", "b").exchange(stream, http2).await;
                assert_eq!((reply.status, reply.body), (status, format!("status {status}")), "{http2:?}");
                let seen = upstream.requests().pop().unwrap();
                assert_eq!((seen.method.as_str(), seen.authority.as_str()), ("PUT", "a.example:81"));
                assert_eq!(seen.path, format!("/status/{status}?q=%zz"));
                assert_eq!(seen.header("x-a"), Some("b"));
            }
        }
    }

    #[test]
    fn long_values_have_lengths_of_several_bytes() {
        let mut out = Vec::new();
        literal(&mut out, b"a", &[b'x'; 300]);
        assert_eq!(out[..6], [0, 1, b'a', 127, 173, 1]);
        assert_eq!(out.len(), 306);
    }
}
