//! The processes of one variant: an Envoy, and the service it asks.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use attache::envoy::bootstrap::Bootstrap;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::load::{Client, KEY, TOKEN};
use super::usage;

/// The first argument with which this executable is the no-op service.
pub const NOOP: &str = "noop_ext_proc";
/// The host that clients ask for.
const HOST: &str = "upstream.test";

/// Variables of ours, of a collector's and of Envoy's that would change what is measured.
const FOREIGN_VARIABLES: [&str; 3] = ["ATTACHE_", "OTEL_", "RUST_LOG"];

/// A proxy that takes requests; its processes end with this value.
pub struct Stand {
    proxy: SocketAddr,
    /// Envoy.
    pub envoy: Process,
    /// The service it asks, where it asks one.
    pub service: Option<Process>,
    _directory: TempDir,
}

/// A process that is ended when it is dropped.
pub struct Process(Child);

/// What is between a client and the upstream.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Envoy alone, as little as it takes to be a proxy.
    Plain,
    /// The shipped bootstrap, and a service that says yes to everything with the words attaché would use.
    Noop,
    /// The shipped bootstrap, and `attache serve` with a policy of this many entries, the last of which matches.
    Attache { rules: usize },
}

/// CPU time of both processes.
pub struct Used {
    pub service: Duration,
    pub envoy: Duration,
}

impl Stand {
    /// Starts Envoy and service, the latter under callgrind where `counts` is given, and waits until a request
    /// passes: with its credential where there is a service to inject it.
    pub fn start(kind: Kind, envoy: &Path, upstream: SocketAddr, counts: Option<&Path>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let proxy = listener.local_addr().expect("it is bound");
        drop(listener);
        let bootstrap = match kind {
            Kind::Plain => plain_bootstrap(proxy, upstream),
            _ => shipped_bootstrap(directory.path(), proxy),
        };
        let service = kind.service(directory.path(), upstream, counts).map(Process::start);
        let file = directory.path().join("envoy.yaml");
        std::fs::write(&file, bootstrap).expect("a bootstrap can be written");
        let mut command = Command::new(envoy);
        command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "error", "-c"]).arg(file);
        let stand = Self { proxy, envoy: Process::start(command), service, _directory: directory };
        stand.wait(upstream);
        stand
    }

    /// Clients that are connected.
    pub fn clients(&self, upstream: SocketAddr, count: usize) -> Vec<Client> {
        let connect = |_| Client::connect(self.proxy, &authority(upstream)).expect("Envoy listens");
        (0..count).map(connect).collect()
    }

    /// Runs something, and says what it made the processes use.
    pub fn used_by<T>(&self, run: impl FnOnce() -> T) -> (T, Used) {
        let service = || self.service.as_ref().map_or(Duration::ZERO, |service| usage::cpu(service.id()));
        let envoy = || usage::cpu(self.envoy.id());
        let before = (service(), envoy());
        let result = run();
        (result, Used { service: service() - before.0, envoy: envoy() - before.1 })
    }

    fn wait(&self, upstream: SocketAddr) {
        let authority = authority(upstream);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let asked = TcpStream::connect(self.proxy)
                .and_then(|_| Client::connect(self.proxy, &authority))
                .and_then(|mut client| client.asked_with_key());
            match asked {
                Ok(keyed) if keyed == self.service.is_some() => return,
                Ok(keyed) => panic!("the upstream saw a credential: {keyed}"),
                Err(error) => assert!(Instant::now() < deadline, "the stand is not up: {error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Kind {
    fn service(self, directory: &Path, upstream: SocketAddr, counts: Option<&Path>) -> Option<Command> {
        let program = match self {
            Self::Plain => return None,
            Self::Noop => std::env::current_exe().expect("this executable"),
            Self::Attache { .. } => PathBuf::from(env!("CARGO_BIN_EXE_attache")),
        };
        let mut command = match counts {
            None => Command::new(program),
            Some(counts) => {
                let mut valgrind = Command::new("valgrind");
                valgrind.args(["--quiet", "--tool=callgrind", "--dump-instr=no"]);
                valgrind.arg(format!("--callgrind-out-file={}", counts.display())).arg(program);
                valgrind
            }
        };
        if let Self::Attache { rules } = self {
            let file = directory.join("policy.yaml");
            std::fs::write(&file, policy(rules, upstream.port())).expect("a policy can be written");
            command.args(["serve", "--workers", "1", "--metrics", "off", "--policy"]).arg(file);
            command.arg("--state-dir").arg(directory).arg("--socket").arg(socket(directory));
            command.arg("--resolve").arg(format!("{HOST}:{}:{upstream}", upstream.port()));
            command.env("BENCHMARK_KEY", KEY).env("BENCHMARK_TOKEN", TOKEN);
        } else {
            command.arg(NOOP).arg("--socket").arg(socket(directory)).arg("--ca-out").arg(directory.join("ca.pem"));
            command.arg("--upstream").arg(upstream.to_string()).args(["--plain", "--credential", KEY]);
        }
        Some(command)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.pad("plain Envoy"),
            Self::Noop => f.pad("no-op"),
            Self::Attache { rules } => f.pad(&format!("attache {rules}")),
        }
    }
}

/// The authority that clients ask for.
fn authority(upstream: SocketAddr) -> String {
    format!("{HOST}:{}", upstream.port())
}

impl Process {
    fn start(mut command: Command) -> Self {
        for (name, _) in std::env::vars_os() {
            if FOREIGN_VARIABLES.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")))
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("service.sock")
}

fn shipped_bootstrap(directory: &Path, listen: SocketAddr) -> String {
    let admin_socket = directory.join("admin.sock");
    let access_log = directory.join("envoy-access.jsonl");
    let service_socket = socket(directory);
    let bootstrap = Bootstrap { listen, service_socket, admin_socket, access_log, ..Bootstrap::default() };
    bootstrap.render().expect("the paths are short and UTF-8")
}

fn plain_bootstrap(listen: SocketAddr, upstream: SocketAddr) -> String {
    let address = |a: SocketAddr| format!("{{socket_address: {{address: {}, port_value: {}}}}}", a.ip(), a.port());
    let (listen, upstream) = (address(listen), address(upstream));
    format!(
        r#"
static_resources:
  listeners:
  - name: proxy
    address: {listen}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: proxy
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: upstream, timeout: 0s}}}}]}}
  clusters:
  - name: upstream
    type: STATIC
    load_assignment:
      cluster_name: upstream
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {upstream}}}}}]}}]
"#
    )
}

/// A policy as a team writes it: exact hosts, wildcards and entries by method and path in equal parts, ten agents.
fn policy(rules: usize, port: u16) -> String {
    let mut yaml = String::from("agents:\n  agent-0: {identity: [{token: {env: BENCHMARK_TOKEN}}]}\n");
    for number in 1..10 {
        let digest = format!("{number:064x}");
        yaml += &format!("  agent-{number}: {{identity: [{{token: {{sha256: \"{digest}\"}}}}]}}\n");
    }
    yaml += "allowedDomains:\n";
    for number in 1..rules {
        yaml += &match number % 3 {
            0 => format!("- api-{number}.example.com\n"),
            1 => format!("- \"*.zone-{number}.example.com\"\n"),
            _ => format!(
                "- {{pattern: svc-{number}.example.com, httpRestrictions: [{{method: GET, path: /v1/items/*}}]}}\n"
            ),
        };
    }
    yaml += &format!(
        "- {{pattern: \"http://{HOST}:{port}\", httpRestrictions: [{{method: GET, path: /v1/items/*}}]}}\n\
         credentials:\n\
         - name: benchmark-key\n  envVarKey: BENCHMARK_KEY\n  injections:\n  \
         - {{domain: \"http://{HOST}:{port}\", headerName: Authorization, headerFormat: \"Bearer {{value}}\", plaintext: true}}\n"
    );
    yaml
}
