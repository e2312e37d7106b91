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

use super::load::{Client, KEY, Request, TOKEN};
use super::{mitmproxy, noop_ext_proc, noop_h2, noop_raw, usage};

/// The host that clients ask for.
pub const HOST: &str = "upstream.test";

/// Variables of ours, of a collector's and of Envoy's that would change what is measured.
const FOREIGN_VARIABLES: [&str; 3] = ["ATTACHE_", "OTEL_", "RUST_LOG"];

/// A proxy that takes requests; its processes end with this value.
pub struct Stand {
    proxy: SocketAddr,
    upstream: SocketAddr,
    /// Envoy, where it is the proxy.
    pub envoy: Option<Process>,
    /// The service it asks, or a proxy of another kind.
    pub service: Option<Process>,
    directory: TempDir,
}

/// A process that is ended when it is dropped.
pub struct Process(Child);

/// What is between a client and the upstream.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// Envoy alone, as little as it takes to be a proxy.
    Plain,
    /// The shipped bootstrap, and a service that says yes to everything with the words attaché would use.
    Noop(Noop),
    /// The shipped bootstrap, and `attache serve`.
    Attache(Policy),
    /// mitmproxy with an addon that does what this policy says.
    Mitmproxy(Policy),
}

/// What the service that says yes is built of.
#[derive(Clone, Copy, PartialEq)]
pub enum Noop {
    /// tonic, with Envoy's messages as generated types.
    Tonic,
    /// tonic, with messages left as the bytes they are.
    Raw,
    /// The `h2` crate alone.
    H2,
}

/// What is to be enforced.
#[derive(Clone, Copy, PartialEq)]
pub struct Policy {
    /// How many entries allow something, the last of them this request, and how many rules there are beside them.
    pub rules: usize,
    /// Whether the request gets a credential. attaché then looks for it in the answer too.
    pub credential: bool,
}

/// CPU time of both processes.
pub struct Used {
    pub service: Duration,
    pub envoy: Duration,
}

/// Runs the service that the first argument names, if it names one: a benchmark's executable is all of its stand, so that
/// one command builds and runs it.
pub fn is_service() -> bool {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_ref().and_then(|first| first.to_str()) {
        Some("noop-tonic") => noop_ext_proc::run(std::env::args_os().skip(1)),
        Some("noop-raw") => noop_raw::run(std::env::args_os().skip(1)),
        Some("noop-h2") => noop_h2::run(std::env::args_os().skip(1)),
        _ => return false,
    }
    true
}

impl Stand {
    /// Starts proxy and service, the latter under callgrind where `counts` is given, and waits until a request
    /// passes: with its credential where one is to be injected.
    pub fn start(kind: Kind, envoy: &Path, upstream: SocketAddr, counts: Option<&Path>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let proxy = listener.local_addr().expect("it is bound");
        drop(listener);
        let service = kind.service(directory.path(), proxy, upstream, counts).map(Process::start);
        let bootstrap = match kind {
            Kind::Mitmproxy(_) => None,
            Kind::Plain => Some(plain_bootstrap(proxy, upstream)),
            _ => Some(shipped_bootstrap(directory.path(), proxy)),
        };
        let envoy = bootstrap.map(|bootstrap| {
            let file = directory.path().join("envoy.yaml");
            std::fs::write(&file, bootstrap).expect("a bootstrap can be written");
            let mut command = Command::new(envoy);
            command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "error", "-c"]).arg(file);
            Process::start(command)
        });
        let stand = Self { proxy, upstream, envoy, service, directory };
        stand.wait(kind.injects());
        stand
    }

    /// Clients that are connected, each with this request.
    pub fn clients(&self, request: &Request, count: usize) -> Vec<Client> {
        let authority = authority(self.upstream);
        let connect = |_| Client::connect(self.proxy, &authority, request).expect("the proxy listens");
        (0..count).map(connect).collect()
    }

    /// Runs something, and says what it made the processes use.
    pub fn used_by<T>(&self, run: impl FnOnce() -> T) -> (T, Used) {
        let used =
            |process: &Option<Process>| process.as_ref().map_or(Duration::ZERO, |process| usage::cpu(process.id()));
        let before = (used(&self.service), used(&self.envoy));
        let result = run();
        (result, Used { service: used(&self.service) - before.0, envoy: used(&self.envoy) - before.1 })
    }

    /// Where the journal, the sockets and the logs are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn wait(&self, injects: bool) {
        let authority = authority(self.upstream);
        // Under callgrind, on a busy machine, a start takes its time.
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let asked = TcpStream::connect(self.proxy)
                .and_then(|_| Client::connect(self.proxy, &authority, &Request::Get))
                .and_then(|mut client| client.asked_with_key());
            match asked {
                Ok(keyed) if keyed == injects => return,
                Ok(keyed) => panic!("the upstream saw a credential: {keyed}"),
                Err(error) => assert!(Instant::now() < deadline, "the stand is not up: {error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Kind {
    /// Whether the upstream gets the credential.
    fn injects(self) -> bool {
        matches!(
            self,
            Self::Attache(Policy { credential: true, .. }) | Self::Mitmproxy(Policy { credential: true, .. })
        )
    }

    /// The service's command.
    pub fn service(
        self,
        directory: &Path,
        proxy: SocketAddr,
        upstream: SocketAddr,
        counts: Option<&Path>,
    ) -> Option<Command> {
        let program = match self {
            Self::Plain => return None,
            Self::Noop(_) => std::env::current_exe().expect("this executable"),
            Self::Attache(_) => PathBuf::from(env!("CARGO_BIN_EXE_attache")),
            Self::Mitmproxy(_) => mitmproxy::program(),
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
        command.env("BENCHMARK_KEY", KEY).env("BENCHMARK_TOKEN", TOKEN);
        match self {
            Self::Plain => {}
            Self::Noop(noop) => {
                command.arg(noop.name()).arg("--socket").arg(socket(directory));
                command.arg("--ca-out").arg(directory.join("ca.pem"));
                command.arg("--upstream").arg(upstream.to_string()).arg("--plain");
            }
            Self::Attache(rules) => {
                // In a folder of its own, as where it is mounted: all that happens in it is looked at, and Envoy's log is not.
                let folder = directory.join("policy");
                std::fs::create_dir_all(&folder).expect("a folder can be made");
                let file = folder.join("policy.yaml");
                std::fs::write(&file, policy(rules, upstream.port())).expect("a policy can be written");
                command.args(["serve", "--workers", "1", "--metrics", "off", "--policy"]).arg(file);
                command.arg("--state-dir").arg(directory).arg("--socket").arg(socket(directory));
                command.arg("--resolve").arg(format!("{HOST}:{}:{upstream}", upstream.port()));
            }
            Self::Mitmproxy(policy) => mitmproxy::tell(&mut command, policy, directory, proxy, upstream),
        }
        Some(command)
    }
}

impl Noop {
    fn name(self) -> &'static str {
        match self {
            Self::Tonic => "noop-tonic",
            Self::Raw => "noop-raw",
            Self::H2 => "noop-h2",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.pad("plain Envoy"),
            Self::Noop(Noop::Tonic) => f.pad("no-op tonic"),
            Self::Noop(Noop::Raw) => f.pad("no-op tonic, raw"),
            Self::Noop(Noop::H2) => f.pad("no-op h2"),
            Self::Attache(Policy { rules, credential: false }) => f.pad(&format!("attache {rules}")),
            Self::Attache(Policy { rules, credential: true }) => f.pad(&format!("attache {rules} + key")),
            Self::Mitmproxy(_) => f.pad("mitmproxy"),
        }
    }
}

/// The authority that clients ask for.
pub fn authority(upstream: SocketAddr) -> String {
    format!("{HOST}:{}", upstream.port())
}

impl Process {
    /// Starts it, without variables that would change what is measured.
    pub fn start(mut command: Command) -> Self {
        for (name, _) in std::env::vars_os() {
            if FOREIGN_VARIABLES.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        // What it warns of in the policy is known.
        command.env("RUST_LOG", "error").stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")))
    }

    /// Ends it at once.
    pub fn kill(mut self) {
        let _ = self.0.kill();
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

/// Where it listens.
pub fn socket(directory: &Path) -> PathBuf {
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

/// A policy as a team writes it: exact hosts, wildcards and entries by method and path in equal parts, as many rules about
/// paths, methods and agents of theirs, ten agents.
fn policy(Policy { rules, credential }: Policy, port: u16) -> String {
    let mut yaml = String::from("agents:\n  agent-0: {identity: [{token: {env: BENCHMARK_TOKEN}}]}\n");
    for number in 1..10 {
        let digest = format!("{number:064x}");
        yaml += &format!("  agent-{number}: {{identity: [{{token: {{sha256: \"{digest}\"}}}}]}}\n");
    }
    yaml += "allowedDomains:\n";
    let host = |number: usize| match number % 3 {
        0 => format!("api-{number}.example.com"),
        1 => format!("*.zone-{number}.example.com"),
        _ => format!("svc-{number}.example.com"),
    };
    for number in 1..rules {
        let host = host(number);
        yaml += &match number % 3 {
            2 => {
                format!("- {{pattern: {host}, httpRestrictions: [{{method: [GET, POST], path: /v1/items/*}}]}}\n")
            }
            _ => format!("- \"{host}\"\n"),
        };
    }
    let this = format!("http://{HOST}:{port}");
    yaml += &format!("- {{pattern: \"{this}\", httpRestrictions: [{{method: [GET, POST], path: /v1/items/*}}]}}\n");
    yaml += "rules:\n";
    for number in 1..rules {
        let host = host(number);
        yaml += &format!("- {{name: rule {number}, host: \"{host}\", ");
        yaml += match number % 3 {
            0 => "method: DELETE, action: block}\n",
            1 => "path: /v1/admin/**, action: block}\n",
            _ => "agents: [agent-1], method: POST, path: \"/v1/{id}/x\", action: monitor}\n",
        };
    }
    yaml += &format!("- {{name: rule {rules}, host: \"{this}\", method: DELETE, action: block}}\n");
    if credential {
        yaml += &format!(
            "credentials:\n- name: benchmark-key\n  envVarKey: BENCHMARK_KEY\n  injections:\n  \
             - {{domain: \"{this}\", headerName: Authorization, headerFormat: \"Bearer {{value}}\", plaintext: true}}\n"
        );
    }
    yaml
}
