//! Nothing leaves without a verdict, whatever becomes of the service that gives it.
//!
//! The real Envoy, on the bootstrap that users mount, in front of a service that breaks by order; then in front
//! of the real one, which is killed, stopped, made to panic, and sent what Envoy never sends.

mod crashes;
mod fake_envoy;
mod inside;
mod killed;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tonic::Code;

use crate::support::interposer::{Act, Consulted};
use crate::support::{Answer, Ca, Envoy, Interposer, Upstream, curl, free_address, tunnel, until, within};

#[tokio::test]
async fn a_stream_that_ends_without_a_verdict_lets_nothing_out() {
    let place = Place::new();
    let upstream = Upstream::http().await;
    let service = Interposer::on(&place.service(), allow(&upstream));
    let _envoy = place.envoy().await;

    let broken = [
        Act::End(Code::Ok),
        Act::End(Code::Internal),
        Act::End(Code::Unavailable),
        Act::Break,
        Act::Say(vec![]),
        Act::Say(vec![0xff; 64]),
    ];
    for act in broken {
        // Each case on its own service: what went well before must not carry it.
        place.assert_allowed(&upstream).await;
        let before = upstream.requests().len();

        service.script(answer(act.clone()));
        let direct = place.get("/direct").await;
        assert_eq!(direct.status, 503, "{act:?}: {direct:?}");
        assert_eq!(direct.json()["error"], "unavailable", "{act:?}");
        let connect = place.tunnel().await.unwrap_err();
        assert!(connect.starts_with("HTTP/1.1 503"), "{act:?}: {connect}");

        service.script(behind_a_tunnel(act.clone(), &upstream));
        let mut stream = place.tunnel().await.unwrap();
        let inner = tunnel::raw(&mut stream, INNER).await;
        assert!(inner.starts_with("HTTP/1.1 503"), "{act:?}: {inner}");

        assert_eq!(upstream.requests().len(), before, "{act:?}: it reached the upstream");
        service.script(allow(&upstream));
    }
}

#[tokio::test]
async fn a_service_that_hangs_costs_the_request_and_not_the_next() {
    let place = Place::new();
    let upstream = Upstream::http().await;
    let service = Interposer::on(&place.service(), |_| Act::Hang);
    let _envoy = place.envoy().await;

    let inner = async {
        let mut stream = place.tunnel().await.unwrap();
        tunnel::raw(&mut stream, INNER).await
    };
    service.script(behind_a_tunnel(Act::Hang, &upstream));
    let (direct, inner) = tokio::join!(place.get("/direct"), inner);
    assert_eq!(direct.status, 503, "{direct:?}");
    assert!(inner.starts_with("HTTP/1.1 503"), "{inner}");
    assert!(upstream.requests().is_empty());

    service.script(allow(&upstream));
    place.assert_allowed(&upstream).await;
}

#[tokio::test]
async fn a_service_that_dies_with_requests_in_flight_takes_them_along() {
    let place = Place::new();
    let upstream = Upstream::http().await;
    let service = Interposer::on(&place.service(), |_| Act::Hang);
    let _envoy = place.envoy().await;

    let (first, second, ()) = tokio::join!(place.get("/1"), place.get("/2"), async {
        service.wait_for(2).await;
        drop(service);
    });
    assert_eq!((first.status, second.status), (503, 503), "{first:?} {second:?}");
    let nobody = place.get("/3").await;
    assert_eq!(nobody.status, 503, "{nobody:?}");
    assert!(upstream.connections().is_empty());

    let _service = Interposer::on(&place.service(), allow(&upstream));
    place.wait_allowed(&upstream).await;
}

#[tokio::test]
async fn envoy_may_start_before_the_service() {
    let place = Place::new();
    let upstream = Upstream::http().await;
    let _envoy = place.envoy().await;
    let early = place.get("/early").await;
    assert_eq!(early.status, 503, "{early:?}");

    let _service = Interposer::on(&place.service(), allow(&upstream));
    place.wait_allowed(&upstream).await;
    assert!(upstream.requests().iter().all(|seen| seen.path != "/early"));
}

const INNER: &[u8] = b"GET /inner HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

fn allow(upstream: &Upstream) -> impl Fn(&Consulted) -> Act + Send + 'static {
    answer(Act::AllowPlain(upstream.address().to_string()))
}

fn answer(act: Act) -> impl Fn(&Consulted) -> Act + Send + 'static {
    move |_| act.clone()
}

/// The tunnel opens; what comes out of it, or needs none, is answered with `act`.
fn behind_a_tunnel(act: Act, upstream: &Upstream) -> impl Fn(&Consulted) -> Act + Send + 'static {
    let open = Act::Allow(upstream.address().to_string());
    move |consulted| {
        if consulted.method == "CONNECT" { open.clone() } else { act.clone() }
    }
}

/// Where Envoy listens, and the sockets of its bootstrap.
pub struct Place {
    directory: TempDir,
    pub listener: SocketAddr,
}

impl Place {
    pub fn new() -> Place {
        Place { directory: tempfile::tempdir().unwrap(), listener: free_address() }
    }

    /// Where a service of [`killed::Sidecar`] keeps its journal.
    pub fn journal(&self) -> PathBuf {
        self.directory.path().join("state/journal")
    }

    pub fn service(&self) -> PathBuf {
        self.directory.path().join("service.sock")
    }

    pub async fn envoy(&self) -> Envoy {
        let ca = self.directory.path().join("ca.pem");
        std::fs::write(&ca, Ca::shared().pem()).unwrap();
        let admin = self.directory.path().join("admin.sock");
        let log = self.directory.path().join("envoy-access.jsonl");
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("envoy/envoy.yaml");
        let mut bootstrap = std::fs::read_to_string(shipped).unwrap();
        for (shipped, here) in [
            ("port_value: 10080", format!("port_value: {}", self.listener.port())),
            ("/run/attache/service.sock", self.service().to_str().unwrap().to_owned()),
            ("/run/attache/admin.sock", admin.to_str().unwrap().to_owned()),
            ("/run/attache/envoy-access.jsonl", log.to_str().unwrap().to_owned()),
            ("/etc/ssl/certs/ca-certificates.crt", ca.to_str().unwrap().to_owned()),
        ] {
            assert_eq!(bootstrap.matches(shipped).count(), 1, "`{shipped}` in envoy.yaml");
            bootstrap = bootstrap.replace(shipped, &here);
        }
        Envoy::start(&bootstrap, self.listener).await
    }

    /// A plain request to the proxy itself.
    async fn get(&self, path: &str) -> Answer {
        let proxy = format!("http://{}", self.listener);
        curl(["--proxy", &proxy, &format!("http://api.example.com{path}")]).await
    }

    async fn tunnel(&self) -> Result<tokio::net::TcpStream, String> {
        tunnel::connect(self.listener, "api.example.com:80", &[]).await
    }

    /// The same requests as in the cases, so that a refusal means the case.
    async fn assert_allowed(&self, upstream: &Upstream) {
        let before = upstream.requests().len();
        let direct = self.get("/direct").await;
        assert_eq!(direct.status, 200, "{direct:?}");
        let mut stream = self.tunnel().await.unwrap();
        let inner = tunnel::raw(&mut stream, INNER).await;
        assert!(inner.starts_with("HTTP/1.1 200"), "{inner}");
        within("both requests", upstream.wait_for(before + 2)).await;
    }

    /// Until Envoy has found its service again, by itself.
    async fn wait_allowed(&self, upstream: &Upstream) {
        until("an answer", async || (self.get("/again").await.status == 200).then_some(())).await;
        self.assert_allowed(upstream).await;
    }
}
