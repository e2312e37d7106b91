//! Service and Envoy as two supervised processes: what `attache up` and `attache run` stand on.
//!
//! The supervisor holds the CA's key and the secrets' variables, and hands them to the service at each start, so
//! that agents go on trusting the same CA after a crash. It starts Envoy, tells the service which process that
//! is, starts again whichever of the two ends, and stops both.

pub mod handover;
mod process;
mod program;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use tokio::io::AsyncReadExt;

use crate::certificates::{Authority, AuthorityError};
use crate::envoy::bootstrap::{Bootstrap, ProxyTls, RenderError};
use crate::envoy::install::EnvoyBinary;
use crate::secrets::Environment;
use handover::Message;
use process::{Process, tail};
use program::Program;

/// Envoy's log in the state directory.
const ENVOY_LOG: &str = "envoy.log";
/// How long service and Envoy may each take to come up.
const START: Duration = Duration::from_secs(20);
/// How long Envoy is given to end when told to.
const ENVOY_STOP: Duration = Duration::from_secs(5);
/// How long the service is given to end when told to: it lets requests end that are being decided.
const SERVICE_STOP: Duration = Duration::from_secs(12);

/// What is to be supervised.
pub struct Plan {
    /// Where agents reach the proxy.
    pub listen: SocketAddr,
    /// Where everything is kept.
    pub state_dir: PathBuf,
    /// The Envoy to run.
    pub envoy: EnvoyBinary,
    /// CA certificates that upstreams are checked against, one PEM file; relative to the state directory.
    pub upstream_ca: PathBuf,
    /// TLS between agents and the proxy.
    pub proxy_tls: Option<ProxyTls>,
    /// Arguments of `attache serve`, which runs in the state directory.
    pub serve: Vec<String>,
    /// The supervisor's variables, for the service to take secrets from.
    pub environment: Environment,
    /// Threads of each of the two.
    pub threads: usize,
}

/// What is up, as `up` prints it and `state.json` keeps it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// The proxy's URL.
    pub proxy: String,
    /// The CA certificate, for variables that add to the system's.
    pub ca: PathBuf,
    /// The system's CA certificates and ours, for variables that replace the system's.
    pub bundle: PathBuf,
    /// Where everything is kept.
    pub state_dir: PathBuf,
    /// The service's process id.
    pub service_pid: u32,
    /// Envoy's process id.
    pub envoy_pid: u32,
    /// Attaché's version.
    pub version: &'static str,
    /// Envoy's version.
    pub envoy_version: String,
}

/// Why the two do not come up, or do not stay up.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The CA cannot be made.
    #[error("the CA cannot be made: {0}")]
    Authority(#[from] AuthorityError),
    /// The bootstrap cannot be written.
    #[error("envoy's bootstrap cannot be rendered: {0}")]
    Render(#[from] RenderError),
    /// A file of the state directory cannot be written.
    #[error("`{path}` cannot be written: {source}")]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A process cannot be started.
    #[error("{name} cannot be started: {source}")]
    Spawn {
        /// Which.
        name: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A process ended, or stayed silent, before it was ready.
    #[error("{name} did not come up: {why}")]
    NotUp {
        /// Which.
        name: &'static str,
        /// What is known.
        why: String,
        /// The exit code of the service, which tells a wrong policy from another fault.
        code: Option<i32>,
    },
}

/// Service and Envoy, both up.
pub struct Stack {
    plan: Plan,
    authority: Authority,
    /// Envoy's configuration. In a file it could be another by the time that Envoy is started again.
    bootstrap: String,
    /// The state directory itself, wherever an agent moves it to: both run in it, and Envoy's paths begin there.
    place: File,
    envoy_program: Program,
    service: Process,
    envoy: Process,
}

impl Stack {
    /// Starts both; `ca` and `bundle` are where the agent's trust was written.
    pub async fn start(plan: Plan, authority: Authority) -> Result<Self, SupervisorError> {
        let bootstrap = Bootstrap {
            listen: plan.listen,
            service_socket: "service.sock".into(),
            admin_socket: "admin.sock".into(),
            access_log: crate::reconcile::ENVOY_FILE.into(),
            upstream_ca: plan.upstream_ca.clone(),
            proxy_tls: plan.proxy_tls.clone(),
            ..Bootstrap::default()
        }
        .render()?;
        let place = File::open(&plan.state_dir)
            .map_err(|source| SupervisorError::Write { path: plan.state_dir.clone(), source })?;
        let envoy_program =
            Program::open(&plan.envoy.path).map_err(|source| SupervisorError::Spawn { name: "envoy", source })?;
        let service = start_service(&plan, &authority, &place).await?;
        let envoy = Process::none("envoy");
        let mut stack = Self { plan, authority, bootstrap, place, envoy_program, service, envoy };
        match stack.start_envoy().await {
            Ok(()) => Ok(stack),
            Err(error) => {
                stack.stop().await;
                Err(error)
            }
        }
    }

    /// What is up now.
    pub fn ready(&self) -> Ready {
        let state_dir = &self.plan.state_dir;
        let scheme = if self.plan.proxy_tls.is_some() { "https" } else { "http" };
        Ready {
            proxy: format!("{scheme}://{}", self.plan.listen),
            ca: state_dir.join("ca.pem"),
            bundle: state_dir.join("bundle.pem"),
            state_dir: state_dir.clone(),
            service_pid: self.service.id(),
            envoy_pid: self.envoy.id(),
            version: env!("CARGO_PKG_VERSION"),
            envoy_version: self.plan.envoy.version.to_string(),
        }
    }

    /// Keeps both up. Comes back, with what is up now, each time one of them had to be started again; to be
    /// dropped when they are to be stopped.
    pub async fn keep_up(&mut self) -> Ready {
        tokio::select! {
            status = self.service.ended() => {
                tracing::error!(%status, "the service has ended; until it is back, every request is refused");
                let pause = self.service.pause();
                tokio::time::sleep(pause).await;
                loop {
                    match start_service(&self.plan, &self.authority, &self.place).await {
                        Ok(service) => {
                            self.service.replace(service);
                            self.introduce_envoy().await;
                            break;
                        }
                        Err(error) => {
                            tracing::error!(%error, "the service cannot be started again");
                            tokio::time::sleep(self.service.pause()).await;
                        }
                    }
                }
            }
            status = self.envoy.ended() => {
                tracing::error!(%status, log = %self.log().display(), "envoy has ended; until it is back, nothing gets out");
                // Its id may soon be another process's.
                self.introduce_envoy().await;
                tokio::time::sleep(self.envoy.pause()).await;
                while let Err(error) = self.start_envoy().await {
                    tracing::error!(%error, "envoy cannot be started again");
                    tokio::time::sleep(self.envoy.pause()).await;
                }
            }
        }
        self.ready()
    }

    /// Stops Envoy, then the service, which still hears how the last requests ended.
    pub async fn stop(mut self) {
        self.envoy.stop(ENVOY_STOP).await;
        self.service.stop(SERVICE_STOP).await;
        for name in ["admin.sock", "service.sock", "control.sock", "state.json"] {
            // What is not there needs no removing.
            let _ = std::fs::remove_file(self.plan.state_dir.join(name));
        }
    }

    async fn start_envoy(&mut self) -> Result<(), SupervisorError> {
        let spawn = |source| SupervisorError::Spawn { name: "envoy", source };
        let mut command = self.envoy_program.command().map_err(spawn)?;
        command
            .current_dir(path_of(&self.place))
            .args(["--disable-hot-restart", "--log-level", "warning"])
            // What Envoy still holds when it is killed is in no file.
            .args(["--file-flush-interval-msec", "1000"])
            .arg("--concurrency")
            .arg(self.plan.threads.to_string())
            .args(["--log-path", ENVOY_LOG, "--config-yaml", &self.bootstrap])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        process::only_variables(&mut command, &["HOME", "LANG", "TZ", "TMPDIR"]);
        let envoy = Process::spawn("envoy", command)?;
        self.envoy.replace(envoy);
        self.introduce_envoy().await;
        let admin = path_of(&self.place).join("admin.sock");
        let deadline = Instant::now() + START;
        loop {
            if let Some(status) = self.envoy.has_ended() {
                let why = format!("it ended with {status}: {}", tail(&self.log()));
                return Err(SupervisorError::NotUp { name: "envoy", why, code: None });
            }
            if is_live(&admin).await && tokio::net::TcpStream::connect(self.plan.listen).await.is_ok() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let why = format!("it was not ready after {} s: {}", START.as_secs(), tail(&self.log()));
                return Err(SupervisorError::NotUp { name: "envoy", why, code: None });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Tells the service which process Envoy is.
    async fn introduce_envoy(&mut self) {
        let pid = i32::try_from(self.envoy.id()).ok().filter(|pid| *pid != 0);
        if let Err(error) = self.service.tell(&Message::Envoy { pid }).await {
            tracing::warn!(%error, "the service could not be told about envoy");
        }
    }

    fn log(&self) -> PathBuf {
        self.plan.state_dir.join(ENVOY_LOG)
    }
}

/// A held directory, for a path that leads to it and nowhere else.
fn path_of(place: &File) -> PathBuf {
    format!("/proc/self/fd/{}", place.as_raw_fd()).into()
}

async fn start_service(plan: &Plan, authority: &Authority, place: &File) -> Result<Process, SupervisorError> {
    let spawn = |source| SupervisorError::Spawn { name: "the service", source };
    let mut command = tokio::process::Command::new("/proc/self/exe");
    command
        // This very program, whatever is in its file by now.
        .arg0(std::env::current_exe().map_err(spawn)?)
        .current_dir(path_of(place))
        .arg("serve")
        .args(&plan.serve)
        .args(["--handover", "--workers", &plan.threads.to_string()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    process::only_variables(
        &mut command,
        &[
            "HOME",
            "LANG",
            "TZ",
            "TMPDIR",
            "PATH",
            "RUST_LOG",
            "RUST_BACKTRACE",
            "NO_COLOR",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "OTEL_*",
        ],
    );
    let mut service = Process::spawn("the service", command)?;
    let started = service.tell(&Message::start(authority.cert_pem(), authority.key_pem(), &plan.environment)).await;
    if let Err(error) = started {
        tracing::debug!(%error, "the service ended before it was told anything");
    }
    match tokio::time::timeout(START, service.first_line()).await {
        Ok(Some(_)) => Ok(service),
        Ok(None) => {
            let status = service.ended().await;
            let why = format!("it ended with {status}");
            Err(SupervisorError::NotUp { name: "the service", why, code: status.code() })
        }
        Err(_) => {
            service.stop(Duration::ZERO).await;
            let why = format!("it was not ready after {} s", START.as_secs());
            Err(SupervisorError::NotUp { name: "the service", why, code: None })
        }
    }
}

/// A CA for as long as this supervisor lives; its key is never written anywhere.
pub fn ephemeral_authority() -> Result<Authority, SupervisorError> {
    Ok(Authority::generate(SystemTime::now())?)
}

/// True once Envoy's admin socket says that it is live.
async fn is_live(admin: &Path) -> bool {
    let ask = async {
        let mut socket = tokio::net::UnixStream::connect(admin).await?;
        let request = b"GET /ready HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut socket, request).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    match tokio::time::timeout(Duration::from_secs(2), ask).await {
        Ok(Ok(answer)) => answer.starts_with(b"HTTP/1.1 200"),
        _ => false,
    }
}
