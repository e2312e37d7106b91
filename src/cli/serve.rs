//! `attache serve`: the sidecar's process.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use rustix::process::Pid;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::stack::Common;
use super::{Failure, Outcome, agent_env};
use crate::certificates::{Authority, keep};
use crate::harden;
use crate::reconcile::ENVOY_FILE;
use crate::secrets::Environment;
use crate::server::{self, Address, ServeError, Settings, Supervisor};
use crate::supervisor::handover::{self, Message, Receiver};

/// Run the policy service that Envoy asks: the process of a sidecar.
///
/// Serves Envoy's External Processing, certificate discovery (delta ADS) and access log over a Unix socket, metrics
/// and probes over HTTP (/metrics, /metrics/envoy, /livez, /readyz), and operators on a control socket. Reloads the policy when it
/// changes. SIGTERM drains and ends it. `attache up` starts this together with an Envoy.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Where the journal and the sockets are kept.
    #[arg(long, value_name = "DIR", env = "ATTACHE_STATE_DIR", default_value = "/run/attache")]
    state_dir: PathBuf,
    /// The Unix socket for Envoy [default: STATE_DIR/service.sock].
    #[arg(long, value_name = "PATH", env = "ATTACHE_SOCKET", conflicts_with = "tcp")]
    socket: Option<PathBuf>,
    /// The file mode of that socket, octal. Where Envoy runs as another user: 0660, with one group for both.
    #[arg(long, value_name = "MODE", env = "ATTACHE_SOCKET_MODE", default_value = "0600", value_parser = super::file_mode)]
    socket_mode: u32,
    /// Serve Envoy on TCP instead. Whoever reaches this address can ask for credentials: keep agents away from it.
    #[arg(long, value_name = "ADDR:PORT", env = "ATTACHE_TCP")]
    tcp: Option<SocketAddr>,
    /// The file Envoy writes its access log to, which is held against the record [default: envoy-access.jsonl beside the
    /// socket, or in STATE_DIR].
    #[arg(long, value_name = "FILE", env = "ATTACHE_ACCESS_LOG")]
    access_log: Option<PathBuf>,
    /// Where metrics and probes are served; `off` for nowhere.
    #[arg(long, value_name = "ADDR:PORT", env = "ATTACHE_METRICS", default_value = "127.0.0.1:9464")]
    metrics: Metrics,
    /// The Unix socket of Envoy's admin interface; its statistics are at /metrics/envoy [default: STATE_DIR/admin.sock].
    #[arg(long, value_name = "PATH", env = "ATTACHE_ENVOY_ADMIN")]
    envoy_admin: Option<PathBuf>,
    /// Keep the CA's certificate and key in this directory, so that agents go on trusting it after a restart. It
    /// should be in memory, and no agent may see it. Without it the CA lasts as long as this process.
    #[arg(long, value_name = "DIR", env = "ATTACHE_CA_DIR")]
    ca_dir: Option<PathBuf>,
    /// Answer the names that agents ask for on these addresses (UDP and TCP), for traffic that a firewall redirects:
    /// those that policy could allow have an address that leads to Envoy, others do not exist. No resolver is asked.
    #[arg(long, value_name = "ADDR:PORT", env = "ATTACHE_DNS_STUB", value_delimiter = ',')]
    dns_stub: Vec<SocketAddr>,
    /// How many names that policy refuses get a certificate all the same, at a time and a minute, so that clients whose
    /// traffic is redirected are told why (403). Others get a TLS alert.
    #[arg(long, value_name = "N", env = "ATTACHE_DENIED_CERTIFICATES", default_value = "0",
        value_parser = clap::value_parser!(u16).range(0..=500))]
    denied_certificates: u16,
    /// Write what agents are to trust into this directory, which their containers mount: ca.pem (the CA alone), bundle.pem
    /// (this image's CA certificates and ours) and bundle.p12 (the same for Java).
    #[arg(long, value_name = "DIR", env = "ATTACHE_TRUST_DIR", conflicts_with = "handover")]
    trust_dir: Option<PathBuf>,
    #[command(flatten)]
    sinks: super::sinks::SinkFlags,
    /// Threads that decide [default: one for each processor].
    #[arg(long, value_name = "N", env = "ATTACHE_WORKERS", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Take CA and variables from the supervisor, on standard input.
    #[arg(long, hide = true)]
    handover: bool,
}

#[derive(Clone, Copy)]
struct Metrics(Option<SocketAddr>);

impl std::str::FromStr for Metrics {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self(None)),
            address => Ok(Self(Some(address.parse()?))),
        }
    }
}

/// Serves until told to stop.
pub fn run(args: Args) -> Outcome {
    // Before a secret is read.
    harden::service().map_err(Failure::runtime)?;
    harden::small_pages();
    super::runtime()?.block_on(serve(args))
}

async fn serve(args: Args) -> Outcome {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::runtime)?;
    std::fs::create_dir_all(&args.state_dir)
        .map_err(|error| Failure::runtime(format!("`{}` cannot be made: {error}", args.state_dir.display())))?;
    let Origins { authority, environment, supervisor, orphaned } = origins(&args).await?;
    if let Some(folder) = &args.trust_dir {
        // Before it is ready: an agent that starts then finds them.
        agent_env::write_shared_trust(folder, &agent_env::user_bundles(&environment), authority.cert_pem()).map_err(
            |error| Failure::runtime(format!("what agents trust cannot be written to `{}`: {error}", folder.display())),
        )?;
    }
    let service = match args.tcp {
        Some(address) => Address::Tcp(address),
        None => Address::Socket {
            path: args.socket.unwrap_or_else(|| args.state_dir.join("service.sock")),
            mode: args.socket_mode,
        },
    };
    let access_log = args.access_log.unwrap_or_else(|| match &service {
        Address::Socket { path, .. } => path.with_file_name(ENVOY_FILE),
        Address::Tcp(_) => args.state_dir.join(ENVOY_FILE),
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let store = args.common.store.options(&environment)?;
    let sinks = args.sinks.sinks()?;
    let settings = Settings {
        sinks,
        policy: args.common.origin(),
        agent: args.common.agent.clone(),
        pod: args.common.pod.source(),
        envoy_admin: args.envoy_admin.unwrap_or_else(|| args.state_dir.join("admin.sock")),
        state_dir: args.state_dir,
        journal: args.common.record.options(),
        service: service.clone(),
        access_log,
        metrics: args.metrics.0,
        dns_stub: args.dns_stub,
        denied_certificates: args.denied_certificates.into(),
        authority,
        resolver: args.common.resolver()?,
        workers: args.workers.map_or(cores, usize::from),
        shed_after: args.common.load.shed_after(),
        environment,
        store,
        supervisor,
    };
    let mut running = server::start(settings).await.map_err(|error| match error {
        ServeError::Policy(problems) => Failure::usage(format!("the policy is wrong\n{problems}")),
        ServeError::Resolve(_) | ServeError::Store(_) | ServeError::Telemetry(_) => Failure::usage(error),
        other => Failure::runtime(other),
    })?;
    let place = match &service {
        Address::Socket { path, .. } => path.display().to_string(),
        Address::Tcp(address) => address.to_string(),
    };
    let metrics = running.metrics.map(|address| address.to_string());
    let journal = serde_json::json!({"chain": running.journal().chain(), "publicKey": running.journal().public_key()});
    let ready =
        serde_json::json!({"service": place, "metrics": metrics, "pid": std::process::id(), "journal": journal});
    println!("{ready}");
    running.open_sinks().map_err(|error| Failure::runtime(format!("a sink cannot be set up: {error}")))?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = orphaned => tracing::warn!("the supervisor is gone"),
    }
    running.drain().await;
    Ok(ExitCode::SUCCESS)
}

/// Where the CA and the variables come from.
struct Origins {
    authority: Authority,
    environment: Environment,
    supervisor: Option<Supervisor>,
    /// Completes when there was a supervisor and it is gone.
    orphaned: std::pin::Pin<Box<dyn Future<Output = ()>>>,
}

async fn origins(args: &Args) -> Result<Origins, Failure> {
    if !args.handover {
        let authority = match &args.ca_dir {
            Some(folder) => keep::load_or_generate(folder, SystemTime::now()).map_err(Failure::runtime)?,
            None => Authority::generate(SystemTime::now()).map_err(Failure::runtime)?,
        };
        let path = args.state_dir.join("ca.pem");
        std::fs::write(&path, authority.cert_pem())
            .map_err(|error| Failure::runtime(format!("`{}` cannot be written: {error}", path.display())))?;
        let environment = Environment::of_process();
        return Ok(Origins { authority, environment, supervisor: None, orphaned: Box::pin(std::future::pending()) });
    }
    let pipe = std::io::stdin().as_fd().try_clone_to_owned().and_then(pipe::Receiver::from_owned_fd);
    let mut messages = Receiver::new(pipe.map_err(Failure::runtime)?);
    let first = messages.next().await.map_err(Failure::runtime)?;
    let Some(Message::Start { ref ca_certificate, ref ca_key, ref environment }) = first else {
        return Err(Failure::usage("`--handover` is for a supervisor: it expects a message on standard input"));
    };
    let authority = Authority::from_pem(ca_certificate, ca_key, SystemTime::now()).map_err(Failure::runtime)?;
    let environment = handover::environment(environment).map_err(Failure::runtime)?;
    let (tell, envoy) = watch::channel(None);
    let orphaned = async move {
        while let Ok(Some(message)) = messages.next().await {
            if let Message::Envoy { pid } = message {
                tell.send_replace(pid.and_then(Pid::from_raw));
            }
        }
        // Nobody else would end it.
        if let Some(envoy) = *tell.borrow() {
            let _ = rustix::process::kill_process(envoy, rustix::process::Signal::TERM);
        }
    };
    let pid = rustix::process::getppid().ok_or_else(|| Failure::runtime("the supervisor is gone"))?;
    let supervisor = Some(Supervisor { pid, envoy });
    Ok(Origins { authority, environment, supervisor, orphaned: Box::pin(orphaned) })
}
