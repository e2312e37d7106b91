//! Where it happens: an upstream of its own, two policies that take turns, a credential that changes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::Ca;
use crate::support::ca::Validity;

/// Agents that are there all the time.
pub const AGENTS: usize = 8;
/// How often `/limited/` may be asked for, and in which time.
pub const LIMIT: (u64, Duration) = (20, Duration::from_secs(5));
/// A credential that has been replaced for longer must not go out any more.
const STALE: Duration = Duration::from_secs(5);

pub fn token(agent: &str) -> String {
    format!("the-proxy-token-of-{agent}")
}

/// Which policy is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// `/sometimes/` is allowed, and there is no visitor.
    First,
    /// The other way round.
    Second,
    /// One takes the place of the other at this moment.
    Between,
}

impl Policy {
    /// Its text.
    pub fn text(self, key: &Path) -> String {
        let mut text = "agents:\n".to_owned();
        let visitor = (self == Policy::Second).then(|| "visitor".to_owned());
        let always = (0..AGENTS).map(|number| format!("worker-{number}"));
        for name in always.chain(["limited".to_owned(), "asker".to_owned()]).chain(visitor) {
            let variable = name.replace('-', "_").to_uppercase();
            text.push_str(&format!("  {name}: {{identity: [{{token: {{env: TOKEN_{variable}}}}}]}}\n"));
        }
        let sometimes = if self == Policy::First { ", {method: GET, path: '/sometimes/**'}" } else { "" };
        text.push_str(&format!(
            "allowedDomains:
  - pattern: api.example.com
    httpRestrictions: [{{method: GET, path: '/ok/**'}}, {{method: POST, path: '/post/**'}}, {{method: GET, path: '/limited/**'}},
      {{method: POST, path: '/held/**'}}{sometimes}]
  - pattern: '*.many.example.com'
    httpRestrictions: [{{method: GET, path: /none}}]
rules:
  - {{name: Cap, host: api.example.com, path: '/limited/**', action: {{rateLimit: {{requests: {}, per: {}s}}}}}}
  - {{name: Held, host: api.example.com, path: '/held/**', action: {{approval: {{hold: 20s, expires: 60s}}}}}}
credentials:
  - {{name: key, file: {}, injections: [{{domain: api.example.com, headerName: X-Key, headerFormat: '{{value}}'}}]}}
",
            LIMIT.0,
            LIMIT.1.as_secs(),
            key.display()
        ));
        text
    }
}

/// The policy in force, with a number that grows at each change: equal before and after means that there was none.
#[derive(Debug, Default)]
pub struct Force(AtomicU64);

impl Force {
    pub fn now(&self) -> (u64, Policy) {
        let number = self.0.load(Ordering::SeqCst);
        let policy = match number % 4 {
            0 => Policy::First,
            2 => Policy::Second,
            _ => Policy::Between,
        };
        (number, policy)
    }

    /// One is about to take the other's place, or has done so.
    pub fn step(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The credential: a file with another value each second.
#[derive(Debug)]
pub struct Key {
    pub file: PathBuf,
    /// When each value was written.
    written: Mutex<Vec<Instant>>,
}

impl Key {
    pub fn new(folder: &Path) -> Key {
        let key = Key { file: folder.join("key"), written: Mutex::default() };
        key.rotate();
        key
    }

    /// Puts the next value in the place of the last, as Kubernetes does: another file.
    pub fn rotate(&self) {
        let mut written = self.written.lock().unwrap();
        let draft = self.file.with_extension("draft");
        std::fs::write(&draft, format!("value-number-{}", written.len())).unwrap();
        std::fs::rename(draft, &self.file).unwrap();
        written.push(Instant::now());
    }

    /// What is wrong with what reached the upstream.
    fn fault(&self, sent: Option<&str>) -> Option<String> {
        let number = sent.and_then(|value| value.strip_prefix("value-number-")?.parse::<usize>().ok());
        let Some(number) = number else { return Some(format!("the credential was {sent:?}")) };
        let written = self.written.lock().unwrap();
        let replaced = written.get(number + 1).map(Instant::elapsed).unwrap_or_default();
        (replaced > STALE).then(|| format!("a credential went out that was replaced {replaced:?} ago"))
    }
}

/// A TLS server that answers 200 and looks at the credential.
pub async fn upstream(key: Arc<Key>, faults: Arc<Mutex<Vec<String>>>) -> SocketAddr {
    let names = ["api.example.com".to_owned()];
    let acceptor = TlsAcceptor::from(Arc::new(Ca::shared().server(&names, Validity::Current, &["http/1.1"])));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (acceptor, key, faults) = (acceptor.clone(), key.clone(), faults.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = service_fn(|request: Request<Incoming>| {
                    let sent = request.headers().get("x-key").and_then(|value| value.to_str().ok());
                    faults.lock().unwrap().extend(key.fault(sent));
                    async {
                        request.into_body().collect().await?;
                        Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from_static(b"{\"ok\": true}"))))
                    }
                });
                let server = hyper::server::conn::http1::Builder::new();
                // Envoy ends its connections as it likes.
                let _ = server.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    address
}
