//! A fault inside the service itself: its own code, with parts put in that fail by order.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::attache::config::{self, compile};
use ::attache::ext_proc::{ExternalProcessor, Herald, Needs, Receipt, Recorder, Resolve};
use ::attache::live::{InForce, Live};
use ::attache::pipeline::approval::{Petition, Ticket};
use ::attache::pipeline::audit::{DecisionRecord, InspectionRecord};
use ::attache::pipeline::exchange::{ResolveFailure, Resolved};
use ::attache::pipeline::message::Host;
use ::attache::secrets::Secrets;
use ::attache::store::Memory;
use ::attache::telemetry::Telemetry;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixListener;
use tokio::task::{AbortHandle, JoinSet};
use tonic::codegen::Service as _;
use tonic_health::pb::health_server::{Health, HealthServer};

use super::Place;
use crate::support::{Answer, Upstream, tunnel, until};

#[tokio::test]
async fn a_panic_costs_its_own_request_and_is_on_record() {
    let (place, upstream) = (Place::new(), Upstream::http().await);
    let parts = Parts::new(&upstream);
    let _service = parts.serve(&place).await;
    let _envoy = place.envoy().await;
    until("Envoy to have found it", async || (place.get("/first").await.status == 200).then_some(())).await;
    let before = upstream.requests().len();

    for host in ["panics-at-once.example.com", "panics-later.example.com"] {
        let mut good = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let proxy = format!("http://{}", place.listener);
            good.spawn(async move { crate::support::curl(["--proxy", &proxy, "http://api.example.com/good"]).await });
        }
        let (direct, inner) = tokio::join!(get(&place, host), through_a_tunnel(&place, host));
        assert_eq!(direct.status, 503, "{host}: {direct:?}");
        assert_eq!(direct.json()["reason"], "internal_error", "{host}");
        assert!(inner.starts_with("HTTP/1.1 503") && inner.contains("internal_error"), "{host}: {inner}");
        while let Some(answer) = good.join_next().await {
            assert_eq!(answer.unwrap().status, 200);
        }
        let records = parts.recorded.0.lock().unwrap();
        let of_host: Vec<_> = records.iter().filter(|record| &*record.host == host).collect();
        assert_eq!(of_host.len(), 2, "{host}: {of_host:?}");
        assert!(of_host.iter().all(|record| record.reason.as_deref() == Some("internal_error")), "{of_host:?}");
    }
    let seen = upstream.requests();
    assert_eq!(seen.len(), before + 20);
    assert!(seen[before..].iter().all(|seen| seen.path == "/good"), "{seen:?}");
}

#[tokio::test]
async fn what_cannot_be_put_on_record_does_not_leave() {
    let (place, upstream) = (Place::new(), Upstream::http().await);
    let parts = Parts::new(&upstream);
    let _service = parts.serve(&place).await;
    let _envoy = place.envoy().await;
    until("Envoy to have found it", async || (place.get("/first").await.status == 200).then_some(())).await;
    let before = upstream.requests().len();

    parts.recorded.1.store(true, Ordering::Relaxed);
    let (direct, inner) = tokio::join!(get(&place, "api.example.com"), through_a_tunnel(&place, "api.example.com"));
    assert_eq!(direct.status, 503, "{direct:?}");
    assert_eq!(direct.json()["reason"], "record_failed");
    assert!(inner.starts_with("HTTP/1.1 503") && inner.contains("record_failed"), "{inner}");
    // A refusal stands, recorded or not.
    let refused = get(&place, "other.test").await;
    assert_eq!((refused.status, &refused.json()["reason"]), (403, &"domain_not_allowed".into()));
    assert_eq!(upstream.requests().len(), before);

    parts.recorded.1.store(false, Ordering::Relaxed);
    assert_eq!(get(&place, "api.example.com").await.status, 200);
}

async fn get(place: &Place, host: &str) -> Answer {
    let proxy = format!("http://{}", place.listener);
    crate::support::curl(["--proxy", &proxy, &format!("http://{host}/")]).await
}

async fn through_a_tunnel(place: &Place, host: &str) -> String {
    let mut stream = tunnel::connect(place.listener, &format!("{host}:80"), &[]).await.unwrap();
    tunnel::raw(&mut stream, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await
}

/// What the service is made of.
struct Parts {
    names: Arc<Names>,
    recorded: Arc<Recorded>,
}

/// Leads everywhere to one upstream, or panics.
struct Names(std::net::SocketAddr);

/// Keeps records, or refuses to.
#[derive(Default)]
struct Recorded(Mutex<Vec<DecisionRecord>>, AtomicBool);

/// Nobody is asked anything here.
struct Nobody;

impl Herald for Nobody {
    fn asked(&self, _: &Ticket, _: &Petition, _: Duration) {}
    fn decided(&self, _: &DecisionRecord) {}
}

struct Serving(AbortHandle);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Parts {
    fn new(upstream: &Upstream) -> Parts {
        Parts { names: Arc::new(Names(upstream.address())), recorded: Arc::default() }
    }

    async fn serve(&self, place: &Place) -> Serving {
        let draft = config::parse("policy.yaml", "allowedDomains: ['http://*.example.com']");
        let revision = draft.revision().clone();
        let setting = compile::Setting { agent: None, environment: None, pod: None };
        let compiled = draft
            .compile(None, |policy, problems| compile::compile(policy, setting, revision.as_str(), problems))
            .unwrap_or_else(|problems| panic!("{problems}"));
        let in_force = InForce { rules: Arc::new(compiled.value.rules), secrets: Secrets::default() };
        let service = ExternalProcessor::new(Needs {
            live: Arc::new(Live::new(in_force)),
            resolver: self.names.clone(),
            store: Arc::new(Memory::default()),
            held: ::attache::ext_proc::Held::default(),
            load: ::attache::ext_proc::Load::new(Duration::from_secs(1)),
            herald: Arc::new(Nobody),
            recorder: self.recorded.clone(),
            telemetry: Telemetry::new(&attache::telemetry::Settings::default()).unwrap(),
            in_flight: Arc::new(AtomicUsize::new(0)),
            stopping: tokio::sync::watch::channel(false).1,
        });
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("attache", tonic_health::ServingStatus::Serving).await;
        let listener = UnixListener::bind(place.service()).unwrap();
        let server = accept(listener, service, health_service);
        Serving(tokio::spawn(server).abort_handle())
    }
}

async fn accept(listener: UnixListener, service: ExternalProcessor, health: HealthServer<impl Health>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (service, health) = (service.clone(), health.clone());
        let call = service_fn(move |request: Request<Incoming>| {
            let (mut service, mut health) = (service.clone(), health.clone());
            async move {
                match request.uri().path().starts_with("/envoy.service.ext_proc") {
                    true => service.call(request).await,
                    false => health.call(request).await,
                }
            }
        });
        connections.spawn(async move {
            // Envoy leaves as it likes.
            let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), call).await;
        });
    }
}

impl Resolve for Names {
    fn cached(&self, host: &Host, _: u16) -> Option<Result<Resolved, ResolveFailure>> {
        match host.to_string().as_str() {
            "panics-at-once.example.com" => panic!("asked to"),
            "panics-later.example.com" => None,
            _ => Some(Ok(Resolved::Stated([self.0].into_iter().collect()))),
        }
    }

    fn resolve(&self, _: Host, _: u16) -> Pin<Box<dyn Future<Output = Result<Resolved, ResolveFailure>> + Send>> {
        Box::pin(async {
            tokio::task::yield_now().await;
            panic!("asked to, later")
        })
    }
}

impl Recorder for Recorded {
    fn record(&self, record: &DecisionRecord) -> Receipt {
        if self.1.load(Ordering::Relaxed) {
            return Receipt::default();
        }
        self.0.lock().unwrap().push(record.clone());
        Receipt { seq: Some(0), committed: None }
    }

    fn note(&self, _: &InspectionRecord) -> Receipt {
        Receipt { seq: Some(0), committed: None }
    }
}
