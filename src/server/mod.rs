//! The composition root: what `attache serve` is made of, how it comes up, and how it goes down.

mod control;
mod gate;
mod herald;
mod listen;
mod names;
mod policy;
mod record;
mod sink;
mod socket;
mod stub;
mod workers;

use std::hash::RandomState;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use rustix::process::Pid;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::access_log::{AccessLog, AccessLogServer};
use crate::certificates::discovery::{Discovery, Options as DiscoveryOptions};
use crate::certificates::{Authority, Minter};
use crate::config::{Origin, Problems, mounted};
use crate::control::{Answered, Control};
use crate::ext_proc::{ExternalProcessor, Held, Load, Needs};
use crate::https::Trust;
use crate::journal::{self, Journal, OpenError};
use crate::live::Live;
use crate::notify::{self, Notifier};
use crate::pipeline::guard;
use crate::pipeline::guesses::Guesses;
use crate::pod::PodSource;
use crate::reconcile::{ENVOY_FILE, Ledger, Source, Watch};
use crate::resolver::{Options as ResolverOptions, Resolver, StatedError};
use crate::secrets::Environment;
use crate::sinks::{self, Sink};
use crate::store::{Memory, Redis, RedisOptions, RedisOptionsError, Store};
use crate::telemetry::{self, EnvoyAdmin, Port, Relay, Telemetry, TelemetryError};
pub use listen::MAX_SOCKET_PATH;
use listen::{Accepted, Guard};
use names::Names;
use record::Recording;
pub use sink::{First as FirstRecord, Format as SinkFormat, Kind as SinkKind, SinkError, Sinks};

/// How long a leaf certificate is valid.
const LEAF_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// How long notifications that still wait may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a service runs with.
pub struct Settings {
    /// The policy.
    pub policy: Origin,
    /// Who every caller is.
    pub agent: Option<String>,
    /// Where the pod that this is in is told.
    pub pod: PodSource,
    /// Where the journal and the control socket are.
    pub state_dir: PathBuf,
    /// How the journal is kept.
    pub journal: journal::Options,
    /// Where records go, besides the journal.
    pub sinks: Sinks,
    /// Where Envoy finds the service.
    pub service: Address,
    /// The file Envoy writes its access log to.
    pub access_log: PathBuf,
    /// Where metrics and probes are served.
    pub metrics: Option<SocketAddr>,
    /// Where agents whose traffic is redirected ask for names; nowhere if there are none.
    pub dns_stub: Vec<SocketAddr>,
    /// How many names that policy refuses get a certificate, at a time and a minute.
    pub denied_certificates: usize,
    /// Envoy's admin socket, for its statistics.
    pub envoy_admin: PathBuf,
    /// The CA that signs leaf certificates.
    pub authority: Authority,
    /// How names are looked up.
    pub resolver: ResolverOptions,
    /// Threads that decide, each with a runtime of its own.
    pub workers: usize,
    /// A request that has waited longer for one of them is refused.
    pub shed_after: Duration,
    /// Where variables are read from.
    pub environment: Environment,
    /// The server that keeps counts and approvals; none: they are this process's own.
    pub store: Option<RedisOptions>,
    /// The process that supervises this one and Envoy, and what it says about Envoy.
    pub supervisor: Option<Supervisor>,
}

/// Where the service listens.
#[derive(Debug, Clone)]
pub enum Address {
    /// On a Unix socket: what Envoy's user may reach and no agent.
    Socket {
        /// Where.
        path: PathBuf,
        /// Its file mode.
        mode: u32,
    },
    /// On TCP. Whoever reaches it can ask for credentials.
    Tcp(SocketAddr),
}

/// What a supervised service knows of the processes around it.
#[derive(Debug, Clone)]
pub struct Supervisor {
    /// The supervisor.
    pub pid: Pid,
    /// Envoy, once it runs: the only process that may speak to the service.
    pub envoy: watch::Receiver<Option<Pid>>,
}

/// How long a start waits for the store.
const STORE: Duration = Duration::from_secs(2);

/// Why a service does not come up.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The policy is wrong.
    #[error("{0}")]
    Policy(Problems),
    /// An address cannot be listened on.
    #[error("cannot listen on `{address}`: {source}")]
    Listen {
        /// Which.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The journal cannot be written.
    #[error("the journal in `{folder}` cannot be written, and no request passes without its record: {source}")]
    Journal {
        /// Where.
        folder: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// `--resolve` contradicts itself.
    #[error(transparent)]
    Resolve(#[from] StatedError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] RedisOptionsError),
    /// Telemetry cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// A thread cannot be started.
    #[error("a worker cannot be started: {0}")]
    Worker(io::Error),
}

/// A service that is up.
pub struct Running {
    live: Arc<Live>,
    journal: Arc<Journal>,
    sums: Arc<record::Sums>,
    notifier: Notifier,
    room: sinks::Room,
    to_open: Sinks,
    sinks: Vec<Sink>,
    telemetry: Telemetry,
    stop: watch::Sender<bool>,
    ready: Arc<AtomicBool>,
    sockets: Vec<PathBuf>,
    workers: Vec<std::thread::JoinHandle<()>>,
    watch: Watch,
    /// Where metrics are served, once bound.
    pub metrics: Option<SocketAddr>,
}

/// Brings a service up: everything that can fail fails here, before a request is taken.
pub async fn start(settings: Settings) -> Result<Running, ServeError> {
    let Settings {
        policy,
        agent,
        pod,
        state_dir,
        journal,
        sinks,
        service,
        access_log,
        metrics,
        dns_stub,
        denied_certificates,
        envoy_admin,
        authority,
        resolver,
        workers,
        shed_after,
        environment,
        store,
        supervisor,
    } = settings;
    let shown = telemetry::Settings::of_process().map_err(TelemetryError::from)?;
    let telemetry = Telemetry::new(&shown)?;
    let memory = Arc::new(guard::Memory::new(&RandomState::new()));
    let guesses = Arc::new(Guesses::new(&RandomState::new()));
    let policies = policy::PolicySource {
        origin: policy.clone(),
        agent,
        pod,
        environment: Arc::new(environment),
        memory,
        guesses: guesses.clone(),
    };
    let loaded = policies.load().map_err(ServeError::Policy)?;
    // A supervisor has said it already.
    if supervisor.is_none() {
        loaded.warn();
    }
    let policy::Loaded { in_force: first, notifications, kept, .. } = loaded;
    telemetry.reloaded(true, &first.rules.revision);
    let frozen = mounted::frozen(&policy);
    telemetry.policy_frozen(!frozen.is_empty());
    frozen.iter().for_each(|frozen| tracing::warn!("{frozen}"));
    let live = Arc::new(Live::new(first));
    let resolver = Arc::new(Resolver::new(resolver)?);
    let folder = state_dir.join("journal");
    // Under a supervisor the state directory is where it runs, which says nothing to whoever reads an error.
    let named = |source| ServeError::Journal { folder: std::path::absolute(&folder).unwrap_or(folder.clone()), source };
    let journal = Journal::open(&folder, journal).map_err(named)?;
    let journal = Arc::new(journal);
    let ready = Arc::new(AtomicBool::new(true));
    let (stop, stopped) = watch::channel(false);
    let in_flight = Arc::new(AtomicUsize::new(0));

    let gate = gate::Gate { live: live.clone(), journal: journal.clone(), telemetry: telemetry.clone() };
    let trace_percent = if shown.traces.is_some() { shown.sampler.percent() } else { 0 };
    let options = DiscoveryOptions { trace_percent, denied: denied_certificates, ..DiscoveryOptions::default() };
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("attache", tonic_health::ServingStatus::Serving).await;
    let store = open(store).await?;
    let room = sinks::Room::new(journal.clone(), sinks::Pace::default()).map_err(ServeError::Worker)?;
    let notifier = notifier(policies.environment.clone(), telemetry.clone(), room.clone());
    notifier.replace(notifications);
    sink::show_channels(&telemetry, &notifier);
    let crier = Arc::new(herald::Crier::new(live.clone(), journal.clone(), notifier.clone(), telemetry.clone()));
    let ledger = Arc::new(Ledger::new(journal.clone(), live.clone(), telemetry.clone()));
    let recorder = Recording { journal: journal.clone(), ledger: ledger.clone() };
    let needs = Needs {
        live: live.clone(),
        resolver: Arc::new(Names(resolver.clone())),
        store: store.clone(),
        held: Held::default(),
        load: Load::new(shed_after),
        herald: crier.clone(),
        recorder: Arc::new(recorder),
        telemetry: telemetry.clone(),
        in_flight: in_flight.clone(),
        stopping: stopped.clone(),
    };
    let services = workers::Services {
        in_flight,
        ext_proc: ExternalProcessor::new(needs),
        envoys: ledger.envoys().clone(),
        access_log: AccessLogServer::new(AccessLog {
            journal: journal.clone(),
            ledger: ledger.clone(),
            live: live.clone(),
            resolver,
            telemetry: telemetry.clone(),
        }),
        discovery: Discovery::new(Minter::new(authority, LEAF_LIFETIME), Arc::new(gate), options).into_service(),
        relay: Relay::new(shown.traces.as_ref()),
        health: health_service,
    };
    let (workers, queues) = workers::start(workers.max(1), services, &stopped).map_err(ServeError::Worker)?;

    let envoy = supervisor.as_ref().map(|supervisor| supervisor.envoy.clone());
    let source = Source {
        file: access_log,
        mode: if let Address::Socket { mode, .. } = &service { *mode } else { 0o600 },
        cursor: state_dir.join(ENVOY_FILE).with_extension("cursor"),
        journal: journal.folder().to_owned(),
        envoy: envoy.map(|envoy| Box::new(move || *envoy.borrow()) as Box<dyn Fn() -> Option<Pid> + Send>),
    };
    let watch = Watch::start(ledger, source).map_err(ServeError::Worker)?;

    let mut sockets = Vec::new();
    let guard = supervisor.clone().map_or(Guard::Anyone, |s| Guard::Only(s.envoy));
    let accepted: Accepted = Box::new(round_robin(queues));
    match service {
        Address::Socket { path, mode } => {
            let listener = listen::unix(&path, mode)?;
            sockets.push(path);
            tokio::spawn(listen::accept_unix(listener, guard, accepted, stopped.clone()));
        }
        Address::Tcp(address) => {
            let listener = tcp(address).await?;
            tokio::spawn(listen::accept_tcp(listener, accepted, stopped.clone()));
        }
    }
    let is_ready: Arc<dyn Fn() -> bool + Send + Sync> = {
        let ready = ready.clone();
        Arc::new(move || ready.load(Ordering::Relaxed))
    };
    let answered: Answered = {
        let crier = crier.clone();
        Arc::new(move |open| crier.answered(open))
    };
    let control = Control {
        live: live.clone(),
        policy: policy.policy.clone(),
        ready: is_ready.clone(),
        store: store.clone(),
        journal: journal.folder().to_owned(),
        started: SystemTime::now(),
        frozen,
        answered,
    };
    let path = state_dir.join("control.sock");
    let listener = listen::unix(&path, 0o600)?;
    sockets.push(path);
    tokio::spawn(control::serve(listener, control, supervisor.map(|s| s.pid), stopped.clone()));
    let metrics = match metrics {
        Some(address) => {
            let listener = tcp(address).await?;
            let bound = listener.local_addr().ok();
            let port =
                Port { telemetry: telemetry.clone(), ready: is_ready.clone(), envoy: EnvoyAdmin::at(envoy_admin) };
            tokio::spawn(telemetry::serve_http(listener, port));
            bound
        }
        None => None,
    };
    let names = stub::Stub::new(live.clone(), journal.clone(), telemetry.clone());
    stub::start(&dns_stub, names, &stopped).await?;
    telemetry.observe_ready(is_ready);
    telemetry.observe_journal(record::facts(journal.clone()));
    let secrets = live.clone();
    telemetry.observe_expiries(Arc::new(move || secrets.load().secrets.expiries()));
    tokio::spawn(policy::watch(policies, kept, live.clone(), notifier.clone(), telemetry.clone()));
    tokio::spawn(policy::refresh_secrets(live.clone()));
    tokio::spawn(record::keep(journal.clone()));
    let sums = Arc::new(record::Sums { guesses, journal: journal.clone(), live: live.clone() });
    tokio::spawn(record::sum(sums.clone()));
    tokio::spawn(herald::watch_journal(journal.clone(), notifier.clone()));
    tokio::spawn(crier.watch(store));
    Ok(Running {
        live,
        journal,
        sums,
        notifier,
        room,
        to_open: sinks,
        sinks: Vec::new(),
        telemetry,
        stop,
        ready,
        sockets,
        workers,
        watch,
        metrics,
    })
}

/// The store there is to be. One that does not answer yet is no reason not to start: most requests do not need it.
async fn open(options: Option<RedisOptions>) -> Result<Arc<dyn Store>, RedisOptionsError> {
    let Some(options) = options else { return Ok(Arc::new(Memory::default())) };
    let shared = Redis::start(options)?;
    if !shared.connected(STORE).await {
        tracing::warn!("started without the store: what has a limit or needs an approval waits for it");
    }
    Ok(Arc::new(shared))
}

impl Running {
    /// The policy in force.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Where everything is put on record.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Sets the sinks to work. Standard output is theirs from now on.
    ///
    /// # Errors
    /// When one cannot be set up.
    pub fn open_sinks(&mut self) -> io::Result<()> {
        self.sinks = std::mem::take(&mut self.to_open).open(&self.room)?;
        self.sinks.iter().for_each(|sink| sink::show(&self.telemetry, sink.name(), sink.facts()));
        Ok(())
    }

    /// Takes no more streams, lets those that are being decided end, and brings everything onto the disk.
    pub async fn drain(self) {
        self.ready.store(false, Ordering::Relaxed);
        self.stop.send_replace(true);
        for socket in &self.sockets {
            // A socket that is gone already is as good.
            let _ = std::fs::remove_file(socket);
        }
        for worker in self.workers {
            let _ = tokio::task::spawn_blocking(move || worker.join()).await;
        }
        let watch = self.watch;
        let _ = tokio::task::spawn_blocking(move || watch.finish()).await;
        self.sums.write();
        if let Err(error) = self.journal.close() {
            tracing::error!(%error, "the journal may not be on disk in full");
        }
        self.room.close();
        let taken = async { join_all(self.sinks.iter().map(Sink::ended)).await };
        let (_, taken) = tokio::join!(self.notifier.drain(LAST_WORDS), tokio::time::timeout(LAST_WORDS, taken));
        if taken.is_err() {
            tracing::warn!("not every sink has taken all records before the end; the next start goes on there");
        }
        let telemetry = self.telemetry.clone();
        let _ = tokio::task::spawn_blocking(move || telemetry.flush()).await;
    }
}

/// Delivers what people are told, and shows what becomes of it.
fn notifier(environment: Arc<Environment>, telemetry: Telemetry, room: sinks::Room) -> Notifier {
    let observe: notify::Observe = Arc::new(move |channel, outcome| telemetry.notified(channel, outcome.as_str()));
    Notifier::new(Trust::System, environment, notify::Timing::default(), observe, room)
}

async fn tcp(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address: address.to_string(), source })
}

/// Gives each connection to the next worker: Envoy opens one for each of its own.
fn round_robin(queues: Vec<workers::Queue>) -> impl FnMut(std::os::fd::OwnedFd) + Send {
    let mut next = 0;
    move |connection| {
        if let Some(queue) = queues.get(next % queues.len().max(1)) {
            queue.give(connection);
        }
        next += 1;
    }
}

/// Where a state directory's control socket is.
pub fn control_socket(state_dir: &Path) -> PathBuf {
    state_dir.join("control.sock")
}
