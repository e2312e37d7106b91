//! The service and an Envoy before it. What comes to the proxy in plaintext goes on over TLS, so that both protocols
//! are spoken on both sides without certificates for the agent.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::attache::config::{self, compile};
use ::attache::ext_proc::{ExternalProcessor, Held, Herald, Load, Needs, Receipt, Recorder, Resolve};
use ::attache::live::{InForce, Live};
use ::attache::pipeline::approval::{Petition, Ticket};
use ::attache::pipeline::audit::{DecisionRecord, InspectionRecord};
use ::attache::pipeline::exchange::{ResolveFailure, Resolved};
use ::attache::pipeline::message::Host;
use ::attache::secrets::Secrets;
use ::attache::store::Memory;
use ::attache::telemetry::Telemetry;
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpStream, UnixListener};
use tokio::task::{AbortHandle, JoinSet};
use tonic::codegen::Service as _;
use tonic_health::pb::health_server::{Health, HealthServer};

use super::watcher::Watcher;
use crate::fail_closed::Place;
use crate::support::{Envoy, Upstream, process, tunnel, until};

/// The host that every test speaks to.
pub const HOST: &str = "api.example.com";

/// An Envoy whose service looks into what it is told to.
pub struct Stage {
    place: Place,
    upstream: Option<Upstream>,
    records: Arc<Records>,
    envoy: Envoy,
    service: AbortHandle,
}

/// What was put on record.
#[derive(Default)]
pub struct Records {
    pub decisions: Mutex<Vec<DecisionRecord>>,
    pub inspections: Mutex<Vec<InspectionRecord>>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.service.abort();
    }
}

impl Stage {
    /// With an upstream that speaks both protocols, and HTTP/2 if asked.
    pub async fn new() -> Stage {
        Stage::before(Upstream::https([HOST]).await).await
    }

    /// With an upstream that speaks HTTP/1.1 alone.
    pub async fn http1() -> Stage {
        Stage::before(Upstream::named([HOST]).alpn(["http/1.1"]).start().await).await
    }

    pub async fn before(upstream: Upstream) -> Stage {
        Stage::under(&format!("allowedDomains: ['{HOST}']"), upstream).await
    }

    pub async fn under(policy: &str, upstream: Upstream) -> Stage {
        let address = upstream.address();
        Stage::start(policy, Some(upstream), address).await
    }

    /// Before something else than an [`Upstream`], which is spoken to in plaintext.
    pub async fn plain(address: SocketAddr) -> Stage {
        Stage::start(&format!("allowedDomains: ['http://{HOST}']"), None, address).await
    }

    async fn start(policy: &str, upstream: Option<Upstream>, address: SocketAddr) -> Stage {
        let place = Place::new();
        let records = Arc::new(Records::default());
        let service = serve(&place, policy, address, records.clone()).await;
        let envoy = place.envoy().await;
        let stage = Stage { place, upstream, records, envoy, service };
        until("Envoy to have found it", async || (stage.ready().await == "200").then_some(())).await;
        stage
    }

    async fn ready(&self) -> String {
        let mut stream = self.connect().await;
        let answer = tunnel::raw(&mut stream, &self.head("GET", "/status/200", &[])).await;
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// The head of an HTTP/1.1 request to the proxy.
    pub fn head(&self, method: &str, path: &str, fields: &[&str]) -> Vec<u8> {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        format!("{method} http://{HOST}{path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n").into_bytes()
    }

    pub fn proxy(&self) -> SocketAddr {
        self.place.listener
    }

    pub async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.place.listener).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// An HTTP/2 client of the proxy.
    pub async fn h2(&self) -> h2::client::SendRequest<Bytes> {
        tunnel::h2(self.connect().await).await
    }

    pub fn upstream(&self) -> &Upstream {
        self.upstream.as_ref().expect("an upstream that remembers")
    }

    /// What Envoy holds in memory, in bytes.
    pub fn envoy_memory(&self) -> u64 {
        process::resident(self.envoy.pid())
    }

    /// What reached the upstream after the first request, which only found out that it is there.
    pub fn seen(&self) -> Vec<crate::support::upstream::Seen> {
        self.upstream().requests().into_iter().filter(|seen| seen.path != "/status/200").collect()
    }

    /// The last decision.
    pub fn decision(&self) -> DecisionRecord {
        self.records.decisions.lock().unwrap().last().unwrap().clone()
    }

    /// What was found after decisions.
    pub fn inspections(&self) -> Vec<InspectionRecord> {
        self.records.inspections.lock().unwrap().clone()
    }
}

async fn serve(place: &Place, policy: &str, upstream: SocketAddr, records: Arc<Records>) -> AbortHandle {
    let draft = config::parse("policy.yaml", policy);
    let revision = draft.revision().clone();
    let setting = compile::Setting { agent: None, environment: None, pod: None };
    let compiled = draft
        .compile(None, |policy, problems| compile::compile(policy, setting, revision.as_str(), problems))
        .unwrap_or_else(|problems| panic!("{problems}"));
    let mut rules = compiled.value.rules;
    rules.inspector = Some(Arc::new(Watcher));
    let service = ExternalProcessor::new(Needs {
        live: Arc::new(Live::new(InForce { rules: Arc::new(rules), secrets: Secrets::default() })),
        resolver: Arc::new(Names(upstream)),
        store: Arc::new(Memory::default()),
        held: Held::default(),
        load: Load::new(Duration::from_secs(1)),
        herald: Arc::new(Nobody),
        recorder: records,
        telemetry: Telemetry::new(&attache::telemetry::Settings::default()).unwrap(),
        in_flight: Arc::new(AtomicUsize::new(0)),
        stopping: tokio::sync::watch::channel(false).1,
    });
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("attache", tonic_health::ServingStatus::Serving).await;
    let listener = UnixListener::bind(place.service()).unwrap();
    tokio::spawn(accept(listener, service, health_service)).abort_handle()
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

/// Leads everywhere to one upstream.
struct Names(SocketAddr);

impl Resolve for Names {
    fn cached(&self, _: &Host, _: u16) -> Option<Result<Resolved, ResolveFailure>> {
        Some(Ok(Resolved::Stated([self.0].into_iter().collect())))
    }

    fn resolve(&self, _: Host, _: u16) -> Pin<Box<dyn Future<Output = Result<Resolved, ResolveFailure>> + Send>> {
        unreachable!("every name is at hand")
    }
}

/// Nobody is asked anything here.
struct Nobody;

impl Herald for Nobody {
    fn asked(&self, _: &Ticket, _: &Petition, _: Duration) {}
    fn decided(&self, _: &DecisionRecord) {}
}

impl Recorder for Records {
    fn record(&self, record: &DecisionRecord) -> Receipt {
        self.decisions.lock().unwrap().push(record.clone());
        Receipt { seq: Some(0), committed: None }
    }

    fn note(&self, record: &InspectionRecord) -> Receipt {
        self.inspections.lock().unwrap().push(record.clone());
        Receipt { seq: Some(0), committed: None }
    }
}
