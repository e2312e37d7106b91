//! What the end-to-end tests stand on: servers that record what reaches them, the real binary and the
//! real Envoy under supervision, and the clients agents use.
//!
//! ```ignore
//! #[tokio::test]
//! async fn an_allowed_host_gets_its_credential_and_another_gets_403() {
//!     let upstream = Upstream::https(["api.example.com"]).await;
//!     let attache = Attache::up(POLICY)
//!         .env("API_TOKEN", "s3cret")
//!         .resolve("api.example.com", &upstream)
//!         .start()
//!         .await;
//!
//!     let allowed = attache.curl(["https://api.example.com/v1"]).await;
//!     assert_eq!(allowed.status, 200);
//!     assert_eq!(upstream.wait_for(1).await[0].header("authorization"), Some("Bearer s3cret"));
//!
//!     let refused = attache.curl(["https://other.example.com/"]).await;
//!     assert_eq!(refused.connect_status, 403);
//!     assert_eq!(upstream.requests().len(), 1);
//! }
//! ```
//!
//! Everything listens on loopback, on ports the kernel picks; everything ends with the value that
//! started it; every wait has a deadline, and a test that meets one fails with what was seen so far.

pub mod ask;
pub mod attache;
pub mod ca;
pub mod clock;
pub mod collector;
pub mod curl;
pub mod disk;
pub mod dns;
pub mod endpoint;
pub mod envoy;
pub mod flood;
pub mod grpc;
pub mod interposer;
pub mod journal;
pub mod place;
pub mod pod;
pub mod process;
pub mod records;
pub mod redis;
pub mod schema;
pub mod script;
pub mod terminal;
pub mod tunnel;
pub mod upstream;
pub mod vault;

pub use ask::{Ask, PROTOCOLS, Protocol, Stage, Way};
pub use attache::Attache;
pub use ca::Ca;
pub use clock::WrongClock;
pub use collector::Collector;
pub use curl::{Answer, curl};
pub use disk::{Disk, Frozen, SlowDisk};
pub use dns::Dns;
pub use envoy::Envoy;
pub use flood::{Crowd, Told};
pub use interposer::Interposer;
pub use place::{Place, every_way};
pub use pod::Pod;
pub use records::{records, whole_record};
pub use redis::Redis;
pub use upstream::Upstream;
pub use vault::Vault;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long anything may take before a test calls it hung. Generous: two cores, several Envoys.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at something that cannot be awaited, such as another program's port.
pub const GLANCE: Duration = Duration::from_millis(20);

/// The output of `future`, or a failed test that names `what` was waited for.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// Looks until `look` finds something. For what offers no event to await: other processes.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(GLANCE).await;
        }
    })
    .await
}

/// A loopback address for a program that must be told its port. From below the range that the kernel
/// hands out itself, so that no outgoing connection takes it in the meantime, and never twice.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let offset = std::process::id() * 97 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (offset % 12_000) as u16;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr().unwrap();
        }
    }
}

/// A file that `tests/setup` puts in place; without it there is nothing to test with.
pub fn prepared(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-env").join(name);
    assert!(path.exists(), "`{}` is missing: run `tests/setup` (or `tests/run`) first", path.display());
    path
}

/// The Envoy to test with: `ENVOY_BIN`, else the one `tests/setup` linked.
pub fn envoy_binary() -> PathBuf {
    match std::env::var_os("ENVOY_BIN") {
        Some(path) => PathBuf::from(path),
        None => prepared("envoy"),
    }
}

/// The Redis server to test with: `REDIS_SERVER_BIN`, else the one `tests/setup` linked.
pub fn redis_binary() -> PathBuf {
    match std::env::var_os("REDIS_SERVER_BIN") {
        Some(path) => PathBuf::from(path),
        None => prepared("redis-server"),
    }
}

/// Variables that would send a client somewhere other than the test says.
pub const PROXY_VARIABLES: [&str; 16] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "NODE_OPTIONS",
    "NODE_USE_ENV_PROXY",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
