//! What a collector that is down costs: memory while the load goes on, and whether every record arrives afterwards.
//!
//! `attache serve` decides a steady stream of requests over its real ext_proc socket, with `--sink otlp` and nobody
//! behind the endpoint. Then a collector comes, and has to get every decision. See `benches/README.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support {
    #[allow(dead_code, reason = "memory is all that counts here")]
    pub mod usage;
}

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use attache::journal::follow::{Cursor, Follower};
use attache::pipeline::audit::Record;
use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};
use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_client::ExternalProcessorClient;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    HttpHeaders, ProcessingRequest, processing_request, processing_response,
};
use futures_util::{StreamExt, stream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// What is asked of it.
struct Options {
    minutes: f64,
    rate: u64,
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let options = options();
    let directory = tempfile::tempdir().expect("a directory");
    let collector = free_address();
    let service = Service::start(directory.path(), collector);
    let channel = connect(directory.path().join("service.sock")).await;

    println!("{} requests/s for {} min, and no collector", options.rate, options.minutes);
    println!("{:>6} {:>10} {:>9} {:>9} {:>9} {:>9}", "s", "decided", "RSS MiB", "disk MiB", "p50 µs", "p99 µs");
    let load = Load { channel, decided: AtomicU64::new(0), late: AtomicU64::new(0), times: Mutex::default() };
    let load = Arc::new(load);
    let duration = Duration::from_secs_f64(options.minutes * 60.0);
    let running = tokio::spawn(load.clone().run(options.rate, duration));
    let started = Instant::now();
    let step = Duration::from_secs(if options.minutes > 2.0 { 30 } else { 10 });
    let show = || {
        let decided = load.decided.load(Ordering::Relaxed);
        let (p50, p99) = load.quantiles();
        let (memory, disk) = (support::usage::resident(service.0.id()), size(&directory.path().join("journal")));
        let at = started.elapsed().as_secs();
        println!("{at:>6} {decided:>10} {:>9.1} {:>9.1} {p50:>9} {p99:>9}", mib(memory), mib(disk));
    };
    while !running.is_finished() {
        tokio::time::sleep(step.min(duration.saturating_sub(started.elapsed()).max(Duration::from_millis(100)))).await;
        show();
    }
    running.await.expect("the load has run");
    let recorded = recorded(&directory.path().join("journal"));
    let (decided, unanswered) = (recorded.len(), load.late.load(Ordering::Relaxed));
    println!("on record: {decided}; not answered: {unanswered}");

    println!("\nthe collector is there");
    let seen = Arc::new(Mutex::new(HashMap::<String, u32>::new()));
    tokio::spawn(collect(collector, seen.clone()));
    let came = Instant::now();
    let mut first = None;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let seen = seen.lock().expect("nobody panics");
        if !seen.is_empty() {
            first.get_or_insert(Instant::now());
        }
        if seen.len() < decided {
            let missing = decided - seen.len();
            assert!(came.elapsed() < Duration::from_secs(300), "{missing} of {decided} records have not arrived");
            continue;
        }
        let missing = recorded.iter().filter(|id| !seen.contains_key(*id)).count();
        if missing == 0 {
            break;
        }
    }
    let took = first.map_or(Duration::ZERO, |first| first.elapsed());
    let again = seen.lock().expect("nobody panics").values().filter(|count| **count > 1).count();
    let memory = mib(support::usage::resident(service.0.id()));
    println!(
        "all {decided} decisions arrived, {again} of them more than once; {:.1} s after it came, the backlog itself in \
         {:.1} s; RSS {memory:.1} MiB",
        came.elapsed().as_secs_f64(),
        took.as_secs_f64()
    );
}

fn options() -> Options {
    let mut options = Options { minutes: 1.0, rate: 2_000 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().and_then(|value| value.parse().ok());
        match argument.as_str() {
            "--minutes" => options.minutes = value().expect("minutes"),
            "--rate" => options.rate = value().expect("requests a second") as u64,
            // Cargo's own.
            "--bench" => {}
            other => panic!("`{other}`: there are --minutes and --rate"),
        }
    }
    options
}

/// `attache serve`, ended when it is dropped.
struct Service(Child);

impl Service {
    fn start(directory: &Path, collector: SocketAddr) -> Self {
        let policy = directory.join("policy.yaml");
        std::fs::write(&policy, "allowedDomains: [api.example.com]\n").expect("a policy can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_attache"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if ["ATTACHE_", "OTEL_", "RUST_LOG"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(&*name);
            }
        }
        command.args(["serve", "--workers", "1", "--metrics", "off", "--sink", "otlp", "--policy"]).arg(policy);
        command.arg("--state-dir").arg(directory);
        command.env("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", format!("http://{collector}"));
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("attache starts"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn connect(socket: std::path::PathBuf) -> Channel {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let path = socket.clone();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://attache").initial_stream_window_size(1 << 20);
        match endpoint.connect_with_connector(connector).await {
            Ok(channel) => return channel,
            Err(error) => assert!(Instant::now() < deadline, "the service is not up: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asks for what policy does not allow.
struct Load {
    channel: Channel,
    decided: AtomicU64,
    late: AtomicU64,
    /// How long the last answers took, in microseconds.
    times: Mutex<Vec<u64>>,
}

impl Load {
    async fn run(self: Arc<Self>, rate: u64, duration: Duration) {
        let started = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        let mut tasks = tokio::task::JoinSet::new();
        let mut begun = 0;
        while started.elapsed() < duration {
            tick.tick().await;
            let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
            // What the machine has not kept up with comes later, and never in a heap.
            let next = due.min(begun + rate / 50);
            (begun..next).for_each(|_| drop(tasks.spawn(self.clone().ask())));
            begun = next;
            while tasks.try_join_next().is_some() {}
        }
        tasks.join_all().await;
    }

    async fn ask(self: Arc<Self>) {
        let number = self.decided.fetch_add(1, Ordering::Relaxed);
        let fields = [
            (":method", "GET".to_owned()),
            (":scheme", "http".to_owned()),
            (":authority", "blocked.example.com".to_owned()),
            (":path", "/v1/items/42?limit=10".to_owned()),
            ("user-agent", "python-requests/2.32.5".to_owned()),
            ("x-request-id", format!("bench-{number}")),
        ];
        let headers = fields.into_iter().map(|(key, value)| HeaderValue {
            key: key.to_owned(),
            raw_value: value.into_bytes(),
            ..HeaderValue::default()
        });
        let head = HttpHeaders {
            headers: Some(HeaderMap { headers: headers.collect() }),
            end_of_stream: true,
            ..HttpHeaders::default()
        };
        let message = ProcessingRequest {
            request: Some(processing_request::Request::RequestHeaders(head)),
            ..ProcessingRequest::default()
        };
        // As Envoy does, the stream is left open: one that ends is an agent that has gone.
        let messages = stream::once(async { message }).chain(stream::pending());
        let mut request = Request::new(messages);
        request.metadata_mut().insert("x-attache-door", "proxy".parse().expect("a word"));
        let start = Instant::now();
        let mut client = ExternalProcessorClient::new(self.channel.clone());
        let answer = async { client.process(request).await?.into_inner().message().await };
        match answer.await {
            Ok(Some(answer)) => {
                let refused = matches!(answer.response, Some(processing_response::Response::ImmediateResponse(_)));
                assert!(refused, "policy refuses that: {answer:?}");
                let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.times.lock().expect("nobody panics").push(micros);
            }
            _ => drop(self.late.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Of the answers since the last time.
    fn quantiles(&self) -> (u64, u64) {
        let mut times = std::mem::take(&mut *self.times.lock().expect("nobody panics"));
        times.sort_unstable();
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default();
        (at(0.5), at(0.99))
    }
}

async fn collect(address: SocketAddr, seen: Arc<Mutex<HashMap<String, u32>>>) {
    let listener = tokio::net::TcpListener::bind(address).await.expect("the address is free again");
    let service = TowerToHyperService::new(LogsServiceServer::new(Collector(seen)));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let service = service.clone();
        tokio::spawn(async move {
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            drop(connection.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// Counts how often each decision arrives.
struct Collector(Arc<Mutex<HashMap<String, u32>>>);

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let scopes = request.into_inner().resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        let mut seen = self.0.lock().expect("nobody panics");
        for record in scopes.flat_map(|scope| scope.log_records) {
            let attributes: HashMap<_, _> = record.attributes.into_iter().map(|a| (a.key, a.value)).collect();
            let id = attributes.get("attache.request.id").cloned().flatten().and_then(|value| value.value);
            let Some(Value::StringValue(id)) = id else { continue };
            *seen.entry(id).or_default() += 1;
        }
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

/// The ids of all decisions on record.
fn recorded(folder: &Path) -> HashSet<String> {
    let mut follower = Follower::new(folder, Cursor::default());
    let lines = std::iter::from_fn(|| follower.next_entry().expect("the journal can be read"));
    let id = |line: &[u8]| match serde_json::from_slice(line) {
        Ok(Record::Decision(decision)) => Some(decision.request_id.to_string()),
        _ => None,
    };
    lines.filter_map(|entry| id(&entry.line)).collect()
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound")
}

fn size(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
