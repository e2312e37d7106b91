//! A real API server that remembers everything that reached it.

mod behaviour;
mod told;

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Version};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub use self::told::Answer;
use self::told::Told;
use super::ca::{Ca, Validity};
use super::within;

/// An HTTP/1.1 and HTTP/2 server on loopback. The path says how it behaves: see [`behaviour`].
pub struct Upstream {
    address: SocketAddr,
    told: Told,
    log: watch::Sender<Log>,
    server: AbortHandle,
}

/// A request as it reached the upstream, as far as it has.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The TLS server name of that connection.
    pub sni: Option<String>,
    pub version: Version,
    pub method: String,
    /// HTTP/2's `:scheme`; HTTP/1.1 has none in origin form.
    pub scheme: Option<String>,
    /// HTTP/2's `:authority`, else the `Host` field.
    pub authority: String,
    /// Path and query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    /// Whether the body was received to its end; `false` where it was cut off, or is still coming.
    pub complete: bool,
}

impl Seen {
    /// The only value of this header; `None` where there is none.
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.header_values(name);
        assert!(values.len() < 2, "`{name}` has {} values: {values:?}", values.len());
        values.first().copied()
    }

    /// Every value of this header.
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A TCP connection that reached the upstream, whether or not a request came over it.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    pub sni: Option<String>,
    /// Whether the TLS handshake succeeded; `None` while it runs, and without TLS.
    pub handshake: Option<bool>,
}

#[derive(Clone, Debug, Default)]
struct Log {
    connections: Vec<Connection>,
    requests: Vec<Seen>,
}

/// How to set an [`Upstream`] up.
pub struct Setup {
    address: SocketAddr,
    tls: bool,
    names: Vec<String>,
    ca: Arc<Ca>,
    validity: Validity,
    alpn: Vec<&'static str>,
}

impl Upstream {
    /// TLS with a certificate for `names` from [`Ca::shared`], on 127.0.0.1.
    pub async fn https<const N: usize>(names: [&str; N]) -> Upstream {
        Upstream::named(names).start().await
    }

    /// Plaintext, on 127.0.0.1.
    pub async fn http() -> Upstream {
        Upstream::named([]).plaintext().start().await
    }

    /// One whose set-up says more.
    pub fn named<const N: usize>(names: [&str; N]) -> Setup {
        Setup {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: true,
            names: names.map(str::to_owned).to_vec(),
            ca: Ca::shared().clone(),
            validity: Validity::Current,
            alpn: vec!["h2", "http/1.1"],
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, this is the answer to whatever asks for `path`.
    pub fn tell(&self, path: &str, answer: Answer) {
        self.told.lock().unwrap().insert(path.to_owned(), answer);
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request so far, in the order their heads arrived.
    pub fn requests(&self) -> Vec<Seen> {
        self.log.borrow().requests.clone()
    }

    /// Every TCP connection so far.
    pub fn connections(&self) -> Vec<Connection> {
        self.log.borrow().connections.clone()
    }

    /// The requests once there are `count` of them, each received to its end.
    pub async fn wait_for(&self, count: usize) -> Vec<Seen> {
        self.wait_until(&format!("{count} whole requests"), |seen| {
            seen.iter().filter(|request| request.complete).count() >= count
        })
        .await
    }

    /// The requests once `enough` holds for them.
    pub async fn wait_until(&self, what: &str, enough: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let mut log = self.log.subscribe();
        let reached = within(what, log.wait_for(|log| enough(&log.requests))).await;
        reached.unwrap().requests.clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Setup {
    /// Another loopback address (127.0.0.0/8 or `[::1]`), one of a network of the test's own, or a port of one's own.
    pub fn address(mut self, address: SocketAddr) -> Setup {
        self.address = address;
        self
    }

    pub fn plaintext(mut self) -> Setup {
        self.tls = false;
        self
    }

    /// A certificate from another authority than the one attaché is told to trust.
    pub fn ca(mut self, ca: Arc<Ca>) -> Setup {
        self.ca = ca;
        self
    }

    pub fn expired(mut self) -> Setup {
        self.validity = Validity::Expired;
        self
    }

    /// A certificate that nobody vouches for.
    pub fn self_signed(mut self) -> Setup {
        self.validity = Validity::SelfSigned;
        self
    }

    /// The protocols offered over TLS, `h2` and `http/1.1` unless told.
    pub fn alpn<const N: usize>(mut self, protocols: [&'static str; N]) -> Setup {
        self.alpn = protocols.to_vec();
        self
    }

    pub async fn start(self) -> Upstream {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = self
            .tls
            .then(|| self.ca.server(&self.names, self.validity, &self.alpn))
            .map(|config| TlsAcceptor::from(Arc::new(config)));
        let log = watch::Sender::default();
        let told = Told::default();
        let server = tokio::spawn(accept(listener, tls, log.clone(), told.clone())).abort_handle();
        Upstream { address, told, log, server }
    }
}

/// Serves until aborted; the connections end with it.
async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, log: watch::Sender<Log>, told: Told) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut index = 0;
        log.send_modify(|log| {
            index = log.connections.len();
            log.connections.push(Connection::default());
        });
        connections.spawn(serve(stream, tls.clone(), Place { index, sni: None, log: log.clone(), told: told.clone() }));
    }
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, mut place: Place) {
    let Some(tls) = tls else {
        return http(stream, place).await;
    };
    let handshake = tls.accept(stream).await;
    if let Ok(stream) = &handshake {
        place.sni = stream.get_ref().1.server_name().map(str::to_owned);
    }
    place.log.send_modify(|log| {
        let connection = &mut log.connections[place.index];
        connection.sni.clone_from(&place.sni);
        connection.handshake = Some(handshake.is_ok());
    });
    if let Ok(stream) = handshake {
        http(stream, place).await;
    }
}

async fn http<S>(stream: S, place: Place)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let place = place.clone();
        async move {
            let told = place.told.lock().unwrap().get(request.uri().path()).cloned();
            let request = place.record(request);
            match told {
                Some(answer) => answer.part(request.headers()).say(request).await,
                None => behaviour::answer(request).await,
            }
        }
    });
    // The client ends connections as it likes, and `/reset` breaks them: neither is a failure here.
    let _ =
        auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

/// Which connection a request belongs to, and where it is written down.
#[derive(Clone)]
struct Place {
    index: usize,
    sni: Option<String>,
    log: watch::Sender<Log>,
    told: Told,
}

impl Place {
    fn record(self, request: http::Request<Incoming>) -> http::Request<Recorded> {
        let (head, body) = request.into_parts();
        let host = head.headers.get("host").map(|host| host.to_str().unwrap().to_owned());
        let authority = head.uri.authority().map(ToString::to_string).or(host);
        let seen = Seen {
            sni: self.sni,
            version: head.version,
            method: head.method.to_string(),
            scheme: head.uri.scheme_str().map(str::to_owned),
            authority: authority.unwrap_or_default(),
            path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            headers: head.headers.clone(),
            body: Vec::new(),
            trailers: None,
            complete: body.is_end_stream(),
        };
        let mut index = 0;
        self.log.send_modify(|log| {
            index = log.requests.len();
            log.requests.push(seen);
        });
        http::Request::from_parts(head, Recorded { body, index, log: self.log })
    }
}

/// A request body that is written down as it is read.
struct Recorded {
    body: Incoming,
    index: usize,
    log: watch::Sender<Log>,
}

impl Body for Recorded {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let ended = self.body.is_end_stream();
        self.log.send_modify(|log| {
            let seen = &mut log.requests[self.index];
            match &frame {
                Some(Ok(frame)) => {
                    seen.body.extend(frame.data_ref().into_iter().flatten());
                    if let Some(trailers) = frame.trailers_ref() {
                        seen.trailers = Some(trailers.clone());
                    }
                    seen.complete |= ended;
                }
                Some(Err(_)) => {}
                None => seen.complete = true,
            }
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::super::curl::curl;
    use super::*;
    use tempfile::NamedTempFile;

    #[tokio::test]
    async fn records_what_arrives_over_both_protocols() {
        let upstream = Upstream::https(["api.example.com"]).await;
        let ca = ca_file();
        for (flag, version) in [("--http1.1", Version::HTTP_11), ("--http2", Version::HTTP_2)] {
            let answer = curl([
                flag,
                "--cacert",
                ca.path().to_str().unwrap(),
                "--resolve",
                &format!("api.example.com:{}:127.0.0.1", upstream.port()),
                "--header",
                "X-Twice: a",
                "--header",
                "X-Twice: b",
                "--data",
                "hello",
                &format!("https://api.example.com:{}/things?q=1", upstream.port()),
            ])
            .await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let seen = upstream.requests().pop().unwrap();
            assert_eq!(seen.version, version);
            assert_eq!(seen.method, "POST");
            assert_eq!(seen.sni.as_deref(), Some("api.example.com"));
            assert_eq!(seen.authority, format!("api.example.com:{}", upstream.port()));
            assert_eq!(seen.path, "/things?q=1");
            assert_eq!(seen.header_values("x-twice"), ["a", "b"]);
            assert_eq!(seen.text(), "hello");
            assert!(seen.complete);
            assert_eq!(answer.json()["headers"]["x-twice"], serde_json::json!(["a", "b"]));
            assert_eq!(answer.json()["body"], "hello");
        }
        assert_eq!(upstream.wait_for(2).await.len(), 2);
        assert_eq!(upstream.connections().len(), 2);
    }

    #[tokio::test]
    async fn a_certificate_of_another_name_age_or_authority_is_not_accepted() {
        let ca = ca_file();
        let other = Arc::new(Ca::new("untrusted"));
        for (case, setup) in [
            ("another name", Upstream::named(["other.example.com"])),
            ("expired", Upstream::named(["api.example.com"]).expired()),
            ("another authority", Upstream::named(["api.example.com"]).ca(other)),
        ] {
            let upstream = setup.start().await;
            let answer = curl([
                "--cacert",
                ca.path().to_str().unwrap(),
                "--resolve",
                &format!("api.example.com:{}:127.0.0.1", upstream.port()),
                &format!("https://api.example.com:{}/", upstream.port()),
            ])
            .await;
            assert_eq!(answer.exit, 60, "{case}: {answer:?}");
            assert!(upstream.requests().is_empty(), "{case}");
            assert_eq!(upstream.connections().len(), 1, "{case}");
        }
    }

    #[tokio::test]
    async fn listens_where_it_is_told() {
        for address in ["127.0.0.7:0", "[::1]:0"] {
            let upstream = Upstream::named([]).plaintext().address(address.parse().unwrap()).start().await;
            let answer = curl([&format!("http://{}/status/418", upstream.address())]).await;
            assert_eq!(answer.status, 418);
        }
    }

    fn ca_file() -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), Ca::shared().pem()).unwrap();
        file
    }
}
