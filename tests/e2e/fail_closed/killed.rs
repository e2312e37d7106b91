//! The real service: gone, killed, hung, or cut off from Envoy.

use std::path::PathBuf;

use futures_util::future::join_all;
use rustix::process::Signal;
use tonic::Code;

use super::Place;
use crate::support::dns::Reply;
use crate::support::interposer::{Act, Consulted};
use crate::support::process::{self, Running};
use crate::support::{Answer, Attache, Dns, Interposer, Upstream, curl, tunnel, until};

const POLICY: &str = "
allowedDomains: [api.example.com]
credentials:
  - name: key
    envVarKey: KEY
    injections: [{domain: api.example.com, headerName: Authorization, headerFormat: 'Bearer {value}'}]";

#[tokio::test]
async fn behind_tls_too_nothing_leaves_without_a_verdict() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let place = Place::new();
    let sidecar = Sidecar::start(&place, &upstream).await;
    let interposer = Interposer::before(&sidecar.socket, &place.service(), |_| Act::Pass);
    let _envoy = place.envoy().await;
    sidecar.assert_allowed(&place, &upstream).await;

    let broken = [
        Act::End(Code::Ok),
        Act::End(Code::Internal),
        Act::Break,
        Act::LoseReply,
        Act::Say(vec![]),
        Act::Say(vec![0xff; 64]),
    ];
    for act in broken {
        let before = upstream.requests().len();
        let breaking = act.clone();
        interposer.script(move |asked: &Consulted| if asked.door == "tls" { breaking.clone() } else { Act::Pass });
        let (first, second) =
            tokio::join!(sidecar.get(&place, "--http1.1", "/lost"), sidecar.get(&place, "--http2", "/lost"));
        for answer in [first, second] {
            assert_no_verdict(&answer, &format!("{act:?}"));
        }
        assert_eq!(upstream.requests().len(), before, "{act:?}: it reached the upstream");
        interposer.script(|_| Act::Pass);
        sidecar.assert_allowed(&place, &upstream).await;
    }
    assert!(upstream.requests().iter().all(|seen| seen.path != "/lost"));
}

#[tokio::test]
async fn without_its_service_envoy_lets_nothing_out_and_finds_the_next_one_by_itself() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let place = Place::new();
    // Envoy first.
    let _envoy = place.envoy().await;
    for _ in 0..2 {
        let early = place.get("/early").await;
        assert_eq!(early.status, 503, "{early:?}");
        assert!(place.tunnel().await.unwrap_err().starts_with("HTTP/1.1 503"));

        let mut sidecar = Sidecar::on(&place, place.service(), &upstream).await;
        until("Envoy to have found it", async || {
            (sidecar.get(&place, "--http2", "/again").await.status == 200).then_some(())
        })
        .await;
        sidecar.assert_allowed(&place, &upstream).await;
        sidecar.service.signal(Signal::KILL);
        sidecar.service.exit().await;
    }
    assert!(upstream.requests().iter().all(|seen| seen.path != "/early"));
    assert!(upstream.requests().iter().all(|seen| seen.header("authorization") == Some("Bearer s3cret")));
}

#[tokio::test]
async fn requests_that_wait_in_a_killed_service_are_refused_and_the_next_goes_through() {
    let (upstream, dns) = (Upstream::https(["*.example.com"]).await, Dns::start().await);
    let policy =
        format!("allowedDomains: [{{pattern: '*.example.com:{}', allowPrivate: [127.0.0.1/32]}}]", upstream.port());
    let attache = Attache::up(&policy).dns(&dns).start().await;
    let (envoy, service) = (attache.envoy().await, attache.service().await);

    dns.answer("alive.example.com", ["127.0.0.1"]);
    let alive = format!("https://alive.example.com:{}/", upstream.port());
    for round in ["a", "b"] {
        let name = |number: usize| format!("{round}{number}.example.com");
        (0..6).for_each(|number| dns.script(&name(number), [Reply::Silence]));
        let waiting = join_all((0..6).map(|number| {
            let attache = &attache;
            let scheme = ["https", "https", "http"][number % 3];
            let url = format!("{scheme}://{}:{}/", name(number), upstream.port());
            async move { attache.curl([["--http1.1", "--http2"][number % 2], &url]).await }
        }));
        let kill = async {
            for number in 0..6 {
                dns.wait_for(&name(number), "A", 1).await;
            }
            attache.kill9_service().await
        };
        let (answers, killed) = tokio::join!(waiting, kill);
        for answer in answers {
            assert_no_verdict(&answer, round);
        }
        attache.wait_restart(killed).await;
        until("the next request", async || (attache.curl([&alive]).await.status == 200).then_some(())).await;
    }
    assert!(upstream.requests().iter().all(|seen| seen.authority.starts_with("alive.")));
    assert_eq!(attache.envoy().await, envoy, "Envoy was started again");
    assert_ne!(attache.service().await, service);
}

#[tokio::test]
async fn a_hung_service_costs_the_requests_of_that_time_only() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(POLICY).env("KEY", "s3cret").resolve("api.example.com", &upstream).start().await;
    assert_eq!(attache.curl(["https://api.example.com/"]).await.status, 200);
    let stream = tunnel::connect(attache.proxy(), "api.example.com:443", &[]).await.unwrap();
    let mut open = tunnel::tls(stream, Some("api.example.com"), &attache.ca_pem(), &["http/1.1"]).await.unwrap();
    let request = b"GET /hung HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

    attache.hang().await;
    let (inner, connect, plain) = tokio::join!(
        tunnel::raw(&mut open, request),
        tunnel::connect(attache.proxy(), "api.example.com:443", &[]),
        attache.curl(["http://api.example.com/hung"]),
    );
    assert!(inner.starts_with("HTTP/1.1 503") && inner.contains("no_verdict"), "{inner}");
    let connect = connect.unwrap_err();
    assert!(connect.starts_with("HTTP/1.1 503") && connect.contains("no_verdict"), "{connect}");
    assert_no_verdict(&plain, "plain");

    attache.resume().await;
    for path in ["https://api.example.com/", "http://api.example.com/"] {
        until(path, async || (attache.curl([path]).await.status == 200).then_some(())).await;
    }
    let seen = upstream.requests();
    assert!(seen.iter().all(|seen| seen.path != "/hung"), "{seen:?}");
}

fn assert_no_verdict(answer: &Answer, case: &str) {
    assert_eq!(answer.status, 503, "{case}: {answer:?}");
    let json = answer.json();
    assert_eq!((&json["error"], &json["reason"]), (&"unavailable".into(), &"no_verdict".into()), "{case}");
}

/// `attache serve`, without a supervisor; its CA outlives it.
pub struct Sidecar {
    pub service: Running,
    socket: PathBuf,
    ca: PathBuf,
}

impl Sidecar {
    async fn start(place: &Place, upstream: &Upstream) -> Sidecar {
        Sidecar::on(place, place.directory.path().join("real.sock"), upstream).await
    }

    pub async fn on(place: &Place, socket: PathBuf, upstream: &Upstream) -> Sidecar {
        let directory = place.directory.path();
        std::fs::write(directory.join("policy.yaml"), POLICY).unwrap();
        let (state, ca) = (directory.join("state"), directory.join("ca"));
        let mut command = crate::support::attache::attache(directory);
        command.arg("serve").arg("--policy").arg(directory.join("policy.yaml")).arg("--state-dir").arg(&state);
        command.arg("--socket").arg(&socket).arg("--ca-dir").arg(ca).args(["--metrics", "off"]);
        command.args(["--resolve", &format!("api.example.com:443:{}", upstream.address())]).env("KEY", "s3cret");
        let mut service = Running::start("attache serve", command);
        let ready: serde_json::Value = serde_json::from_str(&service.line().await).unwrap();
        assert_eq!(ready["pid"], service.pid());
        assert!(process::lives(service.pid()));
        Sidecar { service, socket, ca: state.join("ca.pem") }
    }

    async fn get(&self, place: &Place, protocol: &str, path: &str) -> Answer {
        let proxy = format!("http://{}", place.listener);
        let ca = self.ca.to_str().unwrap();
        curl(["--proxy", &proxy, "--cacert", ca, protocol, &format!("https://api.example.com{path}")]).await
    }

    async fn assert_allowed(&self, place: &Place, upstream: &Upstream) {
        for protocol in ["--http1.1", "--http2"] {
            let before = upstream.requests().len();
            let answer = self.get(place, protocol, "/allowed").await;
            assert_eq!(answer.status, 200, "{protocol}: {answer:?}");
            assert_eq!(upstream.requests().len(), before + 1);
            assert_eq!(upstream.requests()[before].header("authorization"), Some("Bearer s3cret"));
        }
    }
}
