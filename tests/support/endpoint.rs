//! A server whose answers a test decides: for what attaché calls on its own behalf.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::ca::{Ca, Validity};
use super::within;

/// An HTTP/1.1 server on 127.0.0.1, with a certificate for that address from [`Ca::shared`].
pub struct Endpoint {
    address: SocketAddr,
    tls: bool,
    log: watch::Sender<Vec<Received>>,
    server: AbortHandle,
}

/// A request as it reached the endpoint.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    /// This header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub type Reply = Response<Full<Bytes>>;
type Answer = Arc<dyn Fn(Received) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync>;

/// An answer of this status, with this body.
pub fn reply(status: u16, body: impl Into<Bytes>) -> Reply {
    Response::builder().status(status).body(Full::new(body.into())).unwrap()
}

impl Endpoint {
    /// One that answers with TLS.
    pub async fn https<F, R>(answer: F) -> Endpoint
    where
        F: Fn(Received) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        Endpoint::start(SocketAddr::from(([127, 0, 0, 1], 0)), true, answer).await
    }

    /// One at a given address, with TLS or without.
    pub async fn start<F, R>(address: SocketAddr, tls: bool, answer: F) -> Endpoint
    where
        F: Fn(Received) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer: Answer = Arc::new(move |received| Box::pin(answer(received)));
        let names = ["127.0.0.1".to_owned()];
        let config = tls.then(|| Ca::shared().server(&names, Validity::Current, &["http/1.1"]));
        let acceptor = config.map(|config| TlsAcceptor::from(Arc::new(config)));
        let log = watch::Sender::default();
        let server = tokio::spawn(accept(listener, acceptor, answer, log.clone())).abort_handle();
        Endpoint { address, tls, log, server }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.address)
    }

    /// Every request so far, in the order they were received.
    pub fn requests(&self) -> Vec<Received> {
        self.log.borrow().clone()
    }

    /// The requests once there are `count` of them.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        let mut log = self.log.subscribe();
        within(&format!("{count} requests"), log.wait_for(|log| log.len() >= count)).await.unwrap().clone()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Serves until aborted; the connections end with it.
async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, answer: Answer, log: watch::Sender<Vec<Received>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, answer, log) = (tls.clone(), answer.clone(), log.clone());
        connections.spawn(async move {
            match tls {
                None => serve(stream, answer, log).await,
                // One who does not trust the certificate goes away: nothing to serve.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, answer, log).await;
                    }
                }
            }
        });
    }
}

async fn serve<S>(stream: S, answer: Answer, log: watch::Sender<Vec<Received>>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (answer, log) = (answer.clone(), log.clone());
        async move {
            let (head, body) = request.into_parts();
            let received = Received {
                method: head.method.to_string(),
                path: head.uri.to_string(),
                headers: head.headers,
                body: body.collect().await?.to_bytes(),
            };
            log.send_modify(|log| log.push(received.clone()));
            Ok::<_, hyper::Error>(answer(received).await)
        }
    });
    // The client may end the connection as it likes.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
