//! A pod as Kubernetes would run it: `deploy/kubernetes/sidecars.yaml` carried out in a network namespace of its own,
//! each container as its user, and behind a wire an internet that a test makes up.
//!
//! The test's own thread moves into the namespace of that internet: what the test listens on is there.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::curl::{Answer, curl};
use super::process::Running;
use super::script::{self, Output};
use super::{Ca, Dns, envoy_binary, until};

/// The pod's addresses, and those of the internet's end of the wire, which is its gateway.
pub const POD: [&str; 2] = ["10.244.1.7", "fd00:10:244::7"];
pub const GATEWAY: [&str; 2] = ["10.244.1.1", "fd00:10:244::1"];
/// Where the cluster's name server is.
pub const RESOLVER: &str = "10.96.0.10";
/// What the agent runs as.
pub const AGENT: u32 = 1000;

/// A pod with its sidecars up. All of it ends with this value.
pub struct Pod {
    pub dns: Dns,
    pub attache: Option<Running>,
    pub envoy: Option<Running>,
    namespace: Namespace,
    home: Home,
}

/// How to run a pod.
pub struct Setup {
    policy: String,
    addresses: Vec<String>,
    environment: Vec<(String, String)>,
    net: Vec<String>,
    names: Vec<(String, Vec<String>)>,
    ipv6: bool,
}

/// The pod's file system, as far as it has one of its own: what containers see under `/run/attache` is here under
/// `HOME/run/attache`.
struct Home(TempDir);

/// A process that keeps the pod's namespaces.
struct Namespace {
    holder: Child,
}

impl Pod {
    /// A pod under this policy. `addresses` of the internet are the test's to listen on.
    pub fn under(policy: &str) -> Setup {
        Setup {
            policy: policy.to_owned(),
            addresses: Vec::new(),
            environment: Vec::new(),
            net: Vec::new(),
            names: Vec::new(),
            ipv6: true,
        }
    }

    /// What the agent's program does, to its end. It knows no proxy, and trusts what is in the trust volume.
    pub async fn agent<A: AsRef<OsStr>>(&self, command_line: impl IntoIterator<Item = A>) -> Output {
        self.agent_as(AGENT, command_line).await
    }

    /// The same as another user.
    pub async fn agent_as<A: AsRef<OsStr>>(&self, uid: u32, command_line: impl IntoIterator<Item = A>) -> Output {
        script::output(&mut self.agent_command(uid, command_line)).await
    }

    /// The command of [`Pod::agent_as`].
    pub fn agent_command<A: AsRef<OsStr>>(&self, uid: u32, command_line: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.namespace.command(uid, uid, "-all");
        command.args(command_line).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").current_dir("/");
        for name in ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"] {
            command.env(name, self.home.at("/run/attache-trust/bundle.pem"));
        }
        command.env("NODE_EXTRA_CA_CERTS", self.home.at("/run/attache-trust/ca.pem"));
        command
    }

    /// curl as the agent: exit code, and the body it printed with the status behind it.
    pub async fn curl(&self, arguments: &[&str]) -> Output {
        let own = ["curl", "--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"];
        self.agent(own.iter().chain(arguments)).await
    }

    /// A Python program of the standard library, as the agent.
    pub async fn python(&self, program: &str) -> Output {
        self.agent(["python3", "-c", program]).await
    }

    /// A program of `tests/setup`'s, where every user can reach it.
    pub async fn program(&self, program: &OsStr) -> PathBuf {
        let name = Path::new(program).file_name().unwrap().to_str().unwrap();
        self.namespace.mount(Path::new(program), &self.home.at(&format!("/bin/{name}"))).await
    }

    /// `attache ARGUMENTS --state-dir DIR`, as somebody who may read the record.
    pub async fn attache_command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attache"));
        command.args(arguments).arg("--state-dir").arg(self.home.at("/var/lib/attache"));
        script::output(&mut command).await
    }

    /// `nft ARGUMENTS` in the pod.
    pub async fn nft(&self, arguments: &str) -> Output {
        let mut command = self.namespace.command(0, 0, "+all");
        script::output(command.arg("nft").args(arguments.split_whitespace())).await
    }

    /// Every exchange on record.
    pub async fn records(&self) -> Vec<Value> {
        let output = self.attache_command(&["logs", "-o", "json"]).await;
        assert_eq!(output.exit, 0, "{output:?}");
        output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The first record for which `wanted` holds, once there is one.
    pub async fn record(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, async || self.records().await.into_iter().find(&wanted)).await
    }

    /// What a kubelet is told at this path of attaché's probes.
    pub async fn probe(&self, path: &str) -> Answer {
        curl([format!("http://{}:9464{path}", POD[0])]).await
    }

    /// A file of the pod, as its containers name it.
    pub fn file(&self, path: &str) -> PathBuf {
        self.home.at(path)
    }

    /// Runs `attache net …` as the container `attache-net` does.
    pub async fn net(&self, arguments: &[&str]) -> Output {
        net(&self.namespace, &self.home, arguments).await
    }

    /// Starts the container `attache` (again), and waits until its startup probe holds.
    pub async fn start_attache(&mut self, environment: &[(String, String)]) {
        let container = container("attache");
        let mut command = self.namespace.command(1338, 1338, "-all");
        command.arg(self.home.at("/bin/attache")).env_clear().current_dir("/");
        command.args(container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()));
        for variable in container["env"].as_array().unwrap() {
            if let Some(value) = variable["value"].as_str() {
                command.env(variable["name"].as_str().unwrap(), self.home.text(value));
            }
        }
        command.env_remove("OTEL_RESOURCE_ATTRIBUTES");
        // What the downward API would say.
        command.env("ATTACHE_POD_NAMESPACE", "agents").env("ATTACHE_POD_SERVICE_ACCOUNT", "researcher");
        // The image's own CAs.
        command.env("SSL_CERT_FILE", self.home.at("/etc/ssl/certs/ca-certificates.crt"));
        command.envs(environment.iter().map(|(name, value)| (name, self.home.text(value))));
        self.attache = Some(Running::start("attache", command));
        self.wait_probe("/readyz").await;
    }

    /// Starts the container `attache-envoy` (again), and waits until its startup probe holds.
    pub async fn start_envoy(&mut self) {
        let container = container("attache-envoy");
        let mut command = self.namespace.command(101, 1338, "-all");
        command.arg(self.home.at("/bin/envoy")).env_clear().current_dir("/");
        command.args(container["args"].as_array().unwrap().iter().map(|arg| self.home.text(arg.as_str().unwrap())));
        self.envoy = Some(Running::start("envoy", command));
        self.wait_probe("/readyz/envoy").await;
    }

    async fn wait_probe(&self, path: &str) {
        until(path, async || (self.probe(path).await.status == 200).then_some(())).await;
    }
}

impl Setup {
    /// An address of the internet.
    pub fn address(mut self, address: &str) -> Self {
        self.addresses.push(address.to_owned());
        self
    }

    /// A name of the internet, and an address of it.
    pub fn name(mut self, name: &str, addresses: &[&str]) -> Self {
        self.names.push((name.to_owned(), addresses.iter().map(|&address| address.to_owned()).collect()));
        addresses.iter().fold(self, |setup, address| setup.address(address))
    }

    /// A variable of the container `attache`.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// An argument more of the container `attache-net`.
    pub fn net(mut self, argument: &str) -> Self {
        self.net.push(argument.to_owned());
        self
    }

    /// On a node where IPv6 is off.
    pub fn without_ipv6(mut self) -> Self {
        self.ipv6 = false;
        self
    }

    /// Starts the containers in their order, each when the one before it is up.
    pub async fn start(self) -> Pod {
        internet(&self.addresses).await;
        let dns = Dns::on(SocketAddr::new(RESOLVER.parse().unwrap(), 53)).await;
        for (name, addresses) in &self.names {
            dns.answer_all(name, addresses.iter().map(|address| address.parse().unwrap()).collect());
        }
        let home = Home::new(&self.policy);
        let namespace = Namespace::new(&home, self.ipv6).await;
        let applied = net(&namespace, &home, &self.net.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(applied.exit, 0, "{applied:?}");
        let mut pod = Pod { dns, attache: None, envoy: None, namespace, home };
        pod.start_attache(&self.environment).await;
        pod.start_envoy().await;
        pod
    }
}

/// Moves this thread into a namespace of its own, with these addresses.
async fn internet(addresses: &[String]) {
    unshare(CloneFlags::CLONE_NEWNET)
        .unwrap_or_else(|error| panic!("these tests make networks of their own, and may not ({error}): run as root"));
    ip("link set lo up").await;
    let mut seen = std::collections::BTreeSet::new();
    for address in addresses.iter().map(String::as_str).chain([RESOLVER]).filter(|address| seen.insert(*address)) {
        let length = if address.contains(':') { 128 } else { 32 };
        let nodad = if address.contains(':') { "nodad" } else { "" };
        ip(&format!("addr add {address}/{length} dev lo {nodad}")).await;
    }
}

async fn ip(arguments: &str) {
    let output = script::output(Command::new("ip").args(arguments.split_whitespace())).await;
    assert_eq!(output.exit, 0, "ip {arguments}: {output:?}");
}

/// `attache net ARGUMENTS` as root with nothing but the capabilities of the container.
async fn net(namespace: &Namespace, home: &Home, arguments: &[&str]) -> Output {
    let container = container("attache-net");
    let added = container["securityContext"]["capabilities"]["add"].as_array().unwrap();
    let added: String = added.iter().map(|name| format!(",+{}", name.as_str().unwrap().to_lowercase())).collect();
    let mut command = namespace.command(0, 0, &format!("-all{added}"));
    command.arg(home.at("/bin/attache"));
    command.args(container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap())).args(arguments);
    script::output(&mut command).await
}

/// A container of the manifest.
fn container(name: &str) -> Value {
    static MANIFEST: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| {
        serde_yaml::from_str(include_str!("../../deploy/kubernetes/sidecars.yaml")).unwrap()
    });
    let containers = MANIFEST["spec"]["initContainers"].as_array().unwrap();
    containers.iter().find(|container| container["name"] == name).unwrap().clone()
}

impl Home {
    fn new(policy: &str) -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        std::fs::set_permissions(home.0.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let own = |path: &str, uid: u32, mode: u32| {
            let path = home.at(path);
            std::fs::create_dir_all(&path).unwrap();
            std::os::unix::fs::chown(&path, Some(uid), Some(uid)).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        };
        own("/bin", 0, 0o755);
        // Volumes of a pod, which the kubelet makes for everybody to write.
        for volume in ["/run/attache", "/var/lib/attache", "/run/attache-ca", "/run/attache-trust"] {
            own(volume, 0, 0o777);
        }
        for volume in ["/etc/attache/policy", "/etc/attache/credentials", "/etc/attache/pod", "/etc/attache-envoy"] {
            own(volume, 0, 0o755);
        }
        own("/etc/ssl/certs", 0, 0o755);
        home.write("/etc/ssl/certs/ca-certificates.crt", Ca::shared().pem());
        home.write("/etc/attache/policy/policy.yaml", policy);
        home.write("/etc/attache/pod/labels", "app=\"agent\"\n");
        let search = "search agents.svc.cluster.local svc.cluster.local cluster.local";
        home.write("/etc/resolv.conf", &format!("nameserver {RESOLVER}\n{search}\noptions ndots:5\n"));
        home.write("/etc/attache-envoy/envoy.yaml", &home.bootstrap());
        home
    }

    /// The bootstrap of the ConfigMap, with this pod's paths.
    fn bootstrap(&self) -> String {
        use ::attache::envoy::bootstrap::Bootstrap;
        let bootstrap = Bootstrap {
            service_socket: self.at("/run/attache/service.sock"),
            admin_socket: self.at("/run/attache/admin.sock"),
            access_log: self.at("/run/attache/envoy-access.jsonl"),
            upstream_ca: self.at("/etc/ssl/certs/ca-certificates.crt"),
            admin_mode: 0o660,
            transparent: vec!["127.0.0.1:10443".parse().unwrap(), "[::1]:10443".parse().unwrap()],
            ..Bootstrap::default()
        };
        bootstrap.render().unwrap()
    }

    /// A path as a container names it.
    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    /// A value of the manifest: a path of the pod, or anything else.
    fn text(&self, value: &str) -> OsString {
        let is_path = ["/etc/attache", "/run/attache", "/var/lib/attache"].iter().any(|root| value.starts_with(root));
        if is_path { self.at(value).into_os_string() } else { value.into() }
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.at(path), text).unwrap();
    }
}

impl Namespace {
    /// A network that leads to this thread's by a wire, and the pod's resolv.conf.
    async fn new(home: &Home, ipv6: bool) -> Namespace {
        let mut command = Command::new("unshare");
        let off = "for conf in all default lo; do echo 1 >/proc/sys/net/ipv6/conf/$conf/disable_ipv6; done";
        let script = "mount --bind \"$0\" /etc/resolv.conf && ip link set lo up && echo up && exec sleep infinity";
        let script = if ipv6 { script.to_owned() } else { format!("{off}; {script}") };
        command.args(["--net", "--mount", "sh", "-c", &script]).arg(home.at("/etc/resolv.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut holder = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        assert_eq!(line, "up\n", "the pod's namespaces cannot be made: run as root, with iproute2 and util-linux");
        let pid = holder.id().unwrap();
        ip(&format!("link add gateway type veth peer name eth0 netns {pid}")).await;
        ip("link set gateway up").await;
        ip(&format!("addr add {}/24 dev gateway", GATEWAY[0])).await;
        ip(&format!("addr add {}/64 dev gateway nodad", GATEWAY[1])).await;
        let namespace = Namespace { holder };
        let narrow = [
            format!("addr add {}/24 dev eth0", POD[0]),
            "link set eth0 up".to_owned(),
            format!("route add default via {}", GATEWAY[0]),
        ];
        let wide =
            [format!("addr add {}/64 dev eth0 nodad", POD[1]), format!("-6 route add default via {}", GATEWAY[1])];
        for arguments in narrow.iter().chain(wide.iter().filter(|_| ipv6)) {
            let mut command = namespace.command(0, 0, "+all");
            let output = script::output(command.arg("ip").args(arguments.split_whitespace())).await;
            assert_eq!(output.exit, 0, "{arguments}: {output:?}");
        }
        namespace.mount(Path::new(env!("CARGO_BIN_EXE_attache")), &home.at("/bin/attache")).await;
        namespace.mount(&envoy_binary(), &home.at("/bin/envoy")).await;
        namespace
    }

    /// Shows a program in the pod: where it is, other users may not be able to go.
    async fn mount(&self, program: &Path, to: &Path) -> PathBuf {
        std::fs::File::create(to).unwrap();
        let mut command = self.command(0, 0, "+all");
        let output =
            script::output(command.args(["mount", "--bind"]).arg(program.canonicalize().unwrap()).arg(to)).await;
        assert_eq!(output.exit, 0, "{output:?}");
        to.to_owned()
    }

    /// The beginning of a command line that runs in the pod as this user, with these capabilities at most.
    fn command(&self, uid: u32, gid: u32, bounding: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.holder.id().unwrap())).args(["--net", "--mount", "setpriv"]);
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
        command.arg(format!("--bounding-set={bounding}")).args(["--no-new-privs", "--"]);
        command
    }
}

/// Where the test's own programs of the internet listen.
pub fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}
