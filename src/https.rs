//! Attaché's own calls, to Vault and to webhooks: a connection, a deadline and a bounded answer for each.
//!
//! Proxy variables are not looked at, for they are the agent's and would lead back to the proxy. Redirects are not
//! followed: what a call carries is meant for the host it names. Neither a path nor a query is ever shown: many a
//! webhook's address is its password.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use zeroize::Zeroizing;

/// Makes calls. Cheap to clone.
#[derive(Clone)]
pub struct Client(TlsConnector);

/// What a call sends.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Fields beside `host`, `user-agent` and `content-length`.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// How long all of it may take, from the name's lookup to the last byte of the answer.
    pub deadline: Duration,
    /// The longest answer that is taken, in bytes; none, where only the status counts and no body is read.
    pub longest_answer: Option<usize>,
}

/// What came back. Its body may hold a secret: it is wiped when dropped.
pub struct Reply {
    /// The status, whatever it is.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
}

/// Whose certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trust {
    /// The system's CAs, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR` where these are set.
    System,
    /// Those in this PEM file, and no others.
    File(PathBuf),
}

/// Why no CA can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The system has none.
    #[error("no CA certificate was found on this system: install them, or set `SSL_CERT_FILE`")]
    NoSystem,
    /// The file cannot be used.
    #[error("the CAs in `{path}` cannot be read: {why}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The TLS library refuses its own defaults.
    #[error("tls cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why a call has no answer. No variant shows a path, a query or a header.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The host's name leads nowhere.
    #[error("the name `{host}` cannot be looked up: {source}")]
    Name {
        /// Which name.
        host: String,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody takes the connection.
    #[error("no connection to `{place}`: {source}")]
    Connect {
        /// Host and port.
        place: String,
        /// What the system says.
        source: io::Error,
    },
    /// The host cannot show that it is who it should be, or speaks no TLS.
    #[error("no TLS with `{place}`: {source}")]
    Tls {
        /// Host and port.
        place: String,
        /// What is wrong.
        source: io::Error,
    },
    /// The connection broke, or what came over it is not HTTP.
    #[error("`{place}` did not answer as HTTP asks: {source}")]
    Http {
        /// Host and port.
        place: String,
        /// What is wrong.
        source: hyper::Error,
    },
    /// The request cannot be written.
    #[error("the request to `{place}` cannot be written: {source}")]
    Request {
        /// Host and port.
        place: String,
        /// What is wrong.
        source: http::Error,
    },
    /// The answer goes on for too long.
    #[error("the answer of `{place}` is longer than {limit} bytes")]
    TooLong {
        /// Host and port.
        place: String,
        /// What was allowed.
        limit: usize,
    },
    /// The deadline has passed.
    #[error("`{place}` did not answer within {deadline:?}")]
    Timeout {
        /// Host and port.
        place: String,
        /// How long it had.
        deadline: Duration,
    },
}

impl Client {
    /// A client that trusts these. Reads the certificates, which takes some milliseconds for the system's.
    ///
    /// # Errors
    /// When there is no CA to trust: every call would fail.
    pub fn new(trust: &Trust) -> Result<Self, TrustError> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(trust)?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Makes one call.
    ///
    /// # Errors
    /// See [`CallError`]; a status that says no is an answer and no error.
    pub async fn send(&self, url: &Url, call: Call) -> Result<Reply, CallError> {
        let deadline = call.deadline;
        let until = Instant::now() + deadline;
        let answered = timeout_at(until, self.exchange(url, call, until)).await;
        answered.unwrap_or_else(|_| Err(CallError::Timeout { place: url.place(), deadline }))
    }

    async fn exchange(&self, url: &Url, call: Call, until: Instant) -> Result<Reply, CallError> {
        let stream = connect(url, until).await?;
        if !url.tls {
            return speak(stream, url, call).await;
        }
        let failed = |source| CallError::Tls { place: url.place(), source };
        let name = ServerName::try_from(url.host.clone()).map_err(|e| failed(io::Error::other(e)))?;
        let stream = self.0.connect(name, stream).await.map_err(failed)?;
        speak(stream, url, call).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

fn roots(trust: &Trust) -> Result<RootCertStore, TrustError> {
    let mut store = RootCertStore::empty();
    match trust {
        Trust::System => {
            // One bad file among a hundred good ones is the distribution's matter.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() { Err(TrustError::NoSystem) } else { Ok(store) }
        }
        Trust::File(path) => {
            let bad = |why: String| TrustError::File { path: path.clone(), why };
            for certificate in certificates(path).map_err(bad)? {
                store.add(certificate).map_err(|e| bad(e.to_string()))?;
            }
            if store.is_empty() { Err(bad("there is no certificate in it".to_owned())) } else { Ok(store) }
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).map_err(|e| e.to_string())?;
    read.collect::<Result<_, _>>().map_err(|e| e.to_string())
}

/// Connects to one of the host's addresses. Each but the last has half of what is left of the time: where one family
/// leads nowhere, the other gets its turn.
async fn connect(url: &Url, until: Instant) -> Result<TcpStream, CallError> {
    let found = tokio::net::lookup_host((&*url.host, url.port)).await;
    let found = found.map_err(|source| CallError::Name { host: url.host.clone(), source })?;
    let addresses: Vec<SocketAddr> = found.collect();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for (at, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let left = until.saturating_duration_since(now);
        let turn = if at + 1 == addresses.len() { until } else { now + left / 2 };
        match timeout_at(turn, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A small request in two segments would wait for the other side's delayed acknowledgement.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::Error::from(io::ErrorKind::TimedOut),
        }
    }
    Err(CallError::Connect { place: url.place(), source: failure })
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send, url: &Url, call: Call) -> Result<Reply, CallError> {
    let broken = |source| CallError::Http { place: url.place(), source };
    let Call { method, headers, body, longest_answer: limit, .. } = call;
    let mut request = Request::builder()
        .method(method)
        .uri(&url.target)
        .header(header::HOST, &url.authority)
        .header(header::USER_AGENT, concat!("attache/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(body))
        .map_err(|source| CallError::Request { place: url.place(), source })?;
    request.headers_mut().extend(headers);
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(64 * 1024).handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let body = match limit {
            Some(limit) => whole(body, limit).await.map_err(|e| match e {
                Some(source) => broken(source),
                None => CallError::TooLong { place: url.place(), limit },
            })?,
            None => Zeroizing::default(),
        };
        Ok(Reply { status: head.status, headers: head.headers, body })
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        reply = &mut answer => reply,
        // Closed: what it brought before that is still to be read.
        _ = &mut connection => answer.await,
    }
}

/// The body; `Err(None)` where it is too long.
async fn whole(mut body: Incoming, limit: usize) -> Result<Zeroizing<Vec<u8>>, Option<hyper::Error>> {
    // Room for all of it at once: a buffer that grew would leave copies of a secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Some)?.into_data() else { continue };
        if data.len() > limit - bytes.len() {
            return Err(None);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Where a call goes: `https://host[:port][/path][?query]`, or `http://`. Shown as host and port alone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    tls: bool,
    host: String,
    port: u16,
    authority: String,
    target: String,
}

/// Why a text is no address to call. No variant repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Not of the form.
    #[error("this is not a URL: write `https://host/path`")]
    Form,
    /// Another scheme.
    #[error("a URL here begins with `https://`")]
    Scheme,
    /// A name and password in it.
    #[error("a URL here has no user name or password in it")]
    UserInfo,
    /// A part that is never sent.
    #[error("a URL here has no `#` in it: what follows would not be sent")]
    Fragment,
}

impl Url {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        if text.contains('#') {
            return Err(BadUrl::Fragment);
        }
        let uri: Uri = text.parse().map_err(|_| BadUrl::Form)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(BadUrl::Scheme),
        };
        let authority = uri.authority().ok_or(BadUrl::Form)?;
        if authority.as_str().contains('@') {
            return Err(BadUrl::UserInfo);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        // What follows the host is a port or nothing: `Authority::port` takes one that is none for nothing.
        let port = match authority.as_str().strip_prefix(authority.host()).ok_or(BadUrl::Form)? {
            "" if tls => 443,
            "" => 80,
            rest => rest.strip_prefix(':').and_then(|p| p.parse().ok()).filter(|p| *p != 0).ok_or(BadUrl::Form)?,
        };
        if ServerName::try_from(host.as_str()).is_err() {
            return Err(BadUrl::Form);
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Ok(Self { tls, host, port, authority: authority.as_str().to_ascii_lowercase(), target })
    }

    /// The URL with this below its path: both are joined by one `/`, and a query is dropped.
    pub fn below(&self, path: &str) -> Self {
        let base = self.target.split('?').next().unwrap_or_default().trim_end_matches('/');
        Self { target: format!("{base}/{}", path.trim_start_matches('/')), ..self.clone() }
    }

    /// True if it is called without TLS.
    pub fn is_plaintext(&self) -> bool {
        !self.tls
    }

    /// Host and port.
    pub fn place(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Url").field(&self.place()).finish()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_as_it_is_called() {
        for (text, place, authority, target, plaintext) in [
            ("https://a.example", "a.example:443", "a.example", "/", false),
            ("https://A.example:8200/v1?x=1", "a.example:8200", "a.example:8200", "/v1?x=1", false),
            ("http://127.0.0.1:80/x", "127.0.0.1:80", "127.0.0.1:80", "/x", true),
            ("https://[::1]:8200", "[::1]:8200", "[::1]:8200", "/", false),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((&*url.place(), &*url.authority, &*url.target), (place, authority, target), "{text}");
            assert_eq!(url.is_plaintext(), plaintext, "{text}");
        }
        for (text, why) in [
            ("", BadUrl::Form),
            ("a.example", BadUrl::Scheme),
            ("/path", BadUrl::Scheme),
            ("ftp://a.example", BadUrl::Scheme),
            ("https://", BadUrl::Form),
            ("https://u:p@a.example/", BadUrl::UserInfo),
            ("https://a.example/#x", BadUrl::Fragment),
            ("https://a.example:/", BadUrl::Form),
            ("https://a.example:0/", BadUrl::Form),
            ("https://a.example:65536/", BadUrl::Form),
            ("https://a b/", BadUrl::Form),
            ("https://-/", BadUrl::Form),
            ("https://bücher.example/", BadUrl::Form),
        ] {
            assert_eq!(Url::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_path_is_joined_by_one_slash() {
        for (base, expected) in [("https://a", "/v1/x"), ("https://a/", "/v1/x"), ("https://a/b/?q", "/b/v1/x")] {
            assert_eq!(Url::parse(base).unwrap().below("/v1/x").target, expected);
        }
    }

    #[test]
    fn a_url_shows_neither_path_nor_query() {
        let url = Url::parse("https://hooks.example/T0/hunter2?key=hunter2").unwrap();
        assert_eq!(format!("{url} {url:?}"), "hooks.example:443 Url(\"hooks.example:443\")");
    }
}
