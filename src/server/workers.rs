//! The threads that decide. Each has a runtime of its own, so that an exchange never moves between cores and no
//! lock is shared on its way.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{mpsc, watch};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic_health::pb::health_server::{Health, HealthServer};

use super::listen::stopped;
use super::socket::Socket;
use crate::access_log::AccessLogServer;
use crate::certificates::discovery::DiscoveryServer;
use crate::ext_proc::{ExternalProcessor, idle, turned};
use crate::reconcile::Envoys;
use crate::telemetry::Relay;

/// HTTP/2 flow-control windows, in bytes: a body of 1 MiB never waits for an update.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// How long requests that are being decided may still take when the service is told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long Envoy's own streams (certificates, access log), which never end by themselves, get at the end.
const FAREWELL: Duration = Duration::from_millis(500);

/// What every worker serves.
pub struct Services<H: Health> {
    /// Counts the requests that are being decided.
    pub in_flight: Arc<AtomicUsize>,
    pub ext_proc: ExternalProcessor,
    /// Knows who is connected.
    pub envoys: Arc<Envoys>,
    pub access_log: AccessLogServer,
    pub discovery: DiscoveryServer,
    pub relay: Relay,
    pub health: HealthServer<H>,
}

impl<H: Health> Services<H> {
    /// Routes a call by the service its path names; the one that is asked for most stands first.
    fn call(&self, request: Request<Incoming>) -> Call {
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        match service {
            "envoy.service.ext_proc.v3.ExternalProcessor" => self.ext_proc.clone().call(request),
            "envoy.service.accesslog.v3.AccessLogService" => self.access_log.clone().call(request),
            "envoy.service.discovery.v3.AggregatedDiscoveryService" => self.discovery.clone().call(request),
            "opentelemetry.proto.collector.trace.v1.TraceService" => self.relay.clone().call(request),
            "grpc.health.v1.Health" => self.health.clone().call(request),
            _ => Box::pin(async { Ok(Status::unimplemented("attache has no such service").into_http()) }),
        }
    }
}

/// A call on its way, as tonic's services give it.
type Call = Pin<Box<dyn Future<Output = Result<Response<Body>, std::convert::Infallible>> + Send>>;

/// The way to one worker.
pub struct Queue(mpsc::UnboundedSender<OwnedFd>);

impl Queue {
    /// Gives it a connection; Envoy opens few, and a worker takes them at once.
    pub fn give(&self, connection: OwnedFd) {
        if self.0.send(connection).is_err() {
            tracing::error!("a worker is gone; Envoy will connect again");
        }
    }
}

/// Starts the workers.
pub fn start<H: Health>(
    count: usize,
    services: Services<H>,
    stop: &watch::Receiver<bool>,
) -> io::Result<(Vec<std::thread::JoinHandle<()>>, Vec<Queue>)> {
    let services = Arc::new(services);
    let mut threads = Vec::new();
    let mut queues = Vec::new();
    for number in 0..count {
        let (queue, connections) = mpsc::unbounded_channel();
        let (services, stop) = (services.clone(), stop.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().on_thread_park(idle).build()?;
        let thread = std::thread::Builder::new().name(format!("worker-{number}"));
        threads.push(thread.spawn(move || runtime.block_on(work(services, connections, stop)))?);
        queues.push(Queue(queue));
    }
    Ok((threads, queues))
}

async fn work<H: Health>(
    services: Arc<Services<H>>,
    mut connections: mpsc::UnboundedReceiver<OwnedFd>,
    mut stop: watch::Receiver<bool>,
) {
    let mut open = tokio::task::JoinSet::new();
    loop {
        let connection = tokio::select! {
            () = stopped(&mut stop) => break,
            connection = connections.recv() => connection,
        };
        let Some(connection) = connection else { break };
        let (services, stop) = (services.clone(), stop.clone());
        match Socket::new(connection) {
            Ok(socket) => drop(open.spawn(serve(TokioIo::new(socket), services, stop))),
            Err(error) => tracing::warn!(%error, "a connection was lost"),
        }
        while open.try_join_next().is_some() {}
    }
    while open.join_next().await.is_some() {}
}

/// Serves one connection of Envoy's; each of its requests is one stream of it.
async fn serve<H: Health>(
    io: impl Read + Write + Unpin + Send + 'static,
    services: Arc<Services<H>>,
    mut stop: watch::Receiver<bool>,
) {
    let _open = services.envoys.connect();
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        // Each request in flight is a stream, and a held one stays: a limit here would refuse the next.
        .max_concurrent_streams(None)
        // h2 takes many streams that are reset soon for an attack, and ends the connection. Here they are agents that
        // hang up, and everyone else's requests are on that connection.
        .max_pending_accept_reset_streams(usize::MAX)
        .max_local_error_reset_streams(None)
        .serve_connection(io, service_fn(|request| services.call(request)));
    let mut connection = pin!(connection);
    tokio::select! {
        served = Turning(connection.as_mut()) => return ended(served),
        () = stopped(&mut stop) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        served = Turning(connection.as_mut()) => ended(served),
        () = decided(&services.in_flight) => {}
    }
}

/// A connection. Each time this worker turns to it, what has come is read: how long a request waits is counted from there.
struct Turning<'c, F>(Pin<&'c mut F>);

impl<F: Future> Future for Turning<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        turned();
        self.0.as_mut().poll(cx)
    }
}

/// Completes when no request is being decided any more, or has had its time; then Envoy's own streams have had theirs.
async fn decided(in_flight: &AtomicUsize) {
    let deadline = tokio::time::Instant::now() + DRAIN;
    while in_flight.load(Ordering::Relaxed) > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(FAREWELL).await;
}

fn ended(served: Result<(), hyper::Error>) {
    if let Err(error) = served {
        tracing::debug!(%error, "a connection of Envoy's has ended");
    }
}
