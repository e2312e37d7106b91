//! The real `attache`, started as its users start it.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use ::attache::control;
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::curl::{Answer, curl};
use super::process::{self, Running};
use super::schema;
use super::script::{self, Output};
use super::{Ca, Dns, PROXY_VARIABLES, Upstream, envoy_binary, free_address, until};

/// An `attache up` that has said it is ready; it and its Envoy end with this value.
pub struct Attache {
    running: Running,
    ready: Ready,
    workplace: Workplace,
}

/// The ready line of `attache up -o json`.
#[expect(dead_code, reason = "reading it shows that every field is there")]
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    pub proxy: String,
    pub ca: PathBuf,
    pub bundle: PathBuf,
    pub state_dir: PathBuf,
    pub service_pid: u32,
    pub envoy_pid: u32,
    pub version: String,
    pub envoy_version: String,
}

/// How to start attaché. Unless told, it trusts [`Ca::shared`] upstream and asks no name server.
pub struct Setup {
    workplace: Workplace,
    flags: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    upstream_ca: Option<String>,
    policy: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    wrapper: Vec<OsString>,
}

/// A directory of the test's own: policy, state, home.
struct Workplace(TempDir);

impl Attache {
    /// `attache up` (or, see [`Setup::run`], `attache run`) with this policy.
    pub fn up(policy: &str) -> Setup {
        let workplace = Workplace(tempfile::tempdir().unwrap());
        std::fs::write(workplace.policy(), policy).unwrap();
        Setup {
            workplace,
            flags: Vec::new(),
            environment: Vec::new(),
            upstream_ca: Some(Ca::shared().pem().to_owned()),
            policy: None,
            state_dir: None,
            wrapper: Vec::new(),
        }
    }

    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Where agents send their requests.
    pub fn proxy(&self) -> SocketAddr {
        let (_, address) = self.ready.proxy.split_once("://").unwrap();
        address.trim_end_matches('/').parse().unwrap()
    }

    /// The authority that agents must trust, as PEM.
    pub fn ca_pem(&self) -> String {
        std::fs::read_to_string(&self.ready.ca).unwrap()
    }

    /// What attaché and Envoy have said on stderr.
    pub fn stderr(&self) -> String {
        self.running.stderr()
    }

    /// Waits until stderr has this text.
    pub async fn wait_stderr(&self, text: &str) {
        let what = format!("`{text}` on stderr");
        until(&what, async || self.stderr().contains(text).then_some(())).await;
    }

    /// curl through the proxy, trusting attaché's authority.
    pub async fn curl<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Answer {
        let proxy = format!("http://{}", self.proxy());
        let own = ["--proxy".into(), proxy.into(), "--cacert".into(), self.ready.bundle.clone().into()];
        let given = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        curl(own.into_iter().chain(given).collect::<Vec<OsString>>()).await
    }

    /// `attache SUBCOMMAND --state-dir DIR ARGUMENTS`, to its end.
    pub async fn command(&self, subcommand: &str, arguments: &[&str]) -> Output {
        let mut command = self.workplace.attache();
        command.arg(subcommand).arg("--state-dir").arg(&self.ready.state_dir).args(arguments);
        script::output(&mut command).await
    }

    /// What `attache logs -o json` prints.
    pub async fn logs(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.command("logs", &[&["-o", "json"], arguments].concat()).await;
        assert_eq!(output.exit, 0, "{output:?}");
        output.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The first record for which `wanted` holds, as soon as there is one. A record's outcome comes
    /// after its decision, when Envoy reports it.
    pub async fn wait_log(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = until("a record", async || self.logs(&[]).await.into_iter().find(&wanted));
        found.await
    }

    /// Puts another policy in the place of the current one, as editors do: all at once.
    pub fn replace_policy(&self, policy: &str) {
        let draft = self.workplace.path("policy.draft");
        std::fs::write(&draft, policy).unwrap();
        std::fs::rename(draft, self.workplace.policy()).unwrap();
    }

    /// Puts another policy in force, and waits until it is.
    pub async fn reload(&self, policy: &str) {
        let before = self.revision().await;
        self.replace_policy(policy);
        until("the next policy", async || (self.revision().await != before).then_some(())).await;
    }

    /// Which policy is in force.
    pub async fn revision(&self) -> String {
        control::status(&self.socket()).await.unwrap().policy_revision
    }

    /// The service's control socket.
    pub fn socket(&self) -> PathBuf {
        self.ready.state_dir.join("control.sock")
    }

    /// The policy's file.
    pub fn policy(&self) -> PathBuf {
        self.workplace.policy()
    }

    /// The process that decides, as it is now: another after each restart.
    pub async fn service(&self) -> u32 {
        self.child("the service", |name| name != "envoy").await
    }

    /// The Envoy that runs now.
    pub async fn envoy(&self) -> u32 {
        self.child("Envoy", |name| name == "envoy").await
    }

    async fn child(&self, what: &str, wanted: impl Fn(&str) -> bool) -> u32 {
        let parent = self.running.pid();
        let look = async || {
            let mut found = process::children(parent).into_iter().filter(|(_, name)| wanted(name));
            found.next().map(|(pid, _)| pid).filter(|pid| process::lives(*pid))
        };
        until(what, look).await
    }

    /// Kills the service with SIGKILL; the supervisor starts another. Its id before.
    pub async fn kill9_service(&self) -> u32 {
        let pid = self.service().await;
        assert!(process::signal(pid, Signal::KILL));
        until("the service's end", async || (!process::lives(pid)).then_some(pid)).await
    }

    /// Waits for a service that is not `previous`.
    pub async fn wait_restart(&self, previous: u32) -> u32 {
        until("another service", async || Some(self.service().await).filter(|pid| *pid != previous)).await
    }

    /// Stops the service where it stands, as if it hung, until [`Attache::resume`].
    pub async fn hang(&self) {
        let service = self.service().await;
        assert!(process::signal(service, Signal::STOP));
        // Its other threads go on until the one that takes the signal has been scheduled.
        super::until("every thread to stop", async || process::is_stopped(service).then_some(())).await;
    }

    pub async fn resume(&self) {
        assert!(process::signal(self.service().await, Signal::CONT));
    }

    /// Ends it as a user would (SIGTERM), and with what.
    pub async fn stop(&mut self) -> ExitStatus {
        self.running.stop().await
    }
}

impl Setup {
    /// A variable of attaché's environment.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Further flags.
    pub fn flags<A: Into<OsString>>(mut self, flags: impl IntoIterator<Item = A>) -> Setup {
        self.flags.extend(flags.into_iter().map(Into::into));
        self
    }

    pub fn agent(self, name: &str) -> Setup {
        self.flags(["--agent", name])
    }

    /// `host`, port 443, is `upstream`.
    pub fn resolve(self, host: &str, upstream: &Upstream) -> Setup {
        self.resolve_port(host, 443, upstream)
    }

    pub fn resolve_port(self, host: &str, port: u16, upstream: &Upstream) -> Setup {
        // curl's syntax; an IPv6 address stands in brackets, as it does in a socket address.
        self.flags(["--resolve".to_owned(), format!("{host}:{port}:{}", upstream.address())])
    }

    /// The policy at this path, in place of the one given: a directory, a link, a file that is none.
    pub fn policy_at(mut self, path: &Path) -> Setup {
        self.policy = Some(path.to_owned());
        self
    }

    /// Names are asked of `dns` only.
    pub fn dns(self, dns: &Dns) -> Setup {
        self.flags(["--dns-server".to_owned(), dns.address().to_string()])
    }

    /// The authorities that upstreams must have their certificates from, as PEM; `None` for the system's.
    pub fn upstream_ca(mut self, pem: Option<&str>) -> Setup {
        self.upstream_ca = pem.map(str::to_owned);
        self
    }

    /// Another state directory than one that ends with the test's attaché.
    pub fn state_dir(mut self, path: &Path) -> Setup {
        self.state_dir = Some(path.to_owned());
        self
    }

    /// A program, with its arguments, that starts attaché, as `env` and `nice` do.
    pub fn through<A: Into<OsString>>(mut self, wrapper: impl IntoIterator<Item = A>) -> Setup {
        self.wrapper = wrapper.into_iter().map(Into::into).collect();
        self
    }

    /// `attache up`, until it says it is ready.
    pub async fn start(mut self) -> Attache {
        let mut running = Running::start("attache up", self.up_command());
        let line = running.line().await;
        let ready = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e} in ready line `{line}`"));
        if self.policy.is_none() {
            schema::assert_fits(&std::fs::read_to_string(self.workplace.policy()).unwrap());
        }
        Attache { running, ready, workplace: self.workplace }
    }

    /// `attache up`, which is expected to refuse: runs until it ends by itself.
    pub async fn refused(mut self) -> Output {
        script::output(&mut self.up_command()).await
    }

    /// `attache run -- COMMAND LINE`, to its end.
    pub async fn run(mut self, command_line: Vec<OsString>) -> Output {
        let mut command = self.attache_command("run");
        command.arg("--").args(command_line);
        script::output(&mut command).await
    }

    fn up_command(&mut self) -> Command {
        let mut command = self.attache_command("up");
        command.args(["-o", "json", "--listen", &free_address().to_string()]);
        command
    }

    fn attache_command(&mut self, subcommand: &str) -> Command {
        let mut command = through(&self.wrapper, self.workplace.attache());
        let policy = self.policy.clone().unwrap_or_else(|| self.workplace.policy());
        command.arg(subcommand).arg("--policy").arg(policy);
        command.arg("--state-dir").arg(self.state_dir.clone().unwrap_or_else(|| self.workplace.path("state")));
        if let Some(pem) = &self.upstream_ca {
            let file = self.workplace.path("upstream-ca.pem");
            std::fs::write(&file, pem).unwrap();
            command.arg("--upstream-ca").arg(file);
        }
        command.args(&self.flags).envs(self.environment.drain(..));
        command
    }
}

impl Workplace {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn policy(&self) -> PathBuf {
        self.path("policy.yaml")
    }

    fn attache(&self) -> Command {
        attache(self.0.path())
    }
}

/// `command`, its variables included, started by a wrapper if there is one.
pub fn through(wrapper: &[OsString], command: Command) -> Command {
    let Some((program, arguments)) = wrapper.split_first() else { return command };
    let mut wrapped = Command::new(program);
    wrapped.args(arguments).arg(command.as_std().get_program()).args(command.as_std().get_args());
    for (name, value) in command.as_std().get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}

/// The `attache` binary, with `home` for a home directory and the Envoy under test.
pub fn attache(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attache"));
    for variable in PROXY_VARIABLES {
        command.env_remove(variable);
    }
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("ATTACHE_") {
            command.env_remove(variable);
        }
    }
    command
        .env("HOME", home)
        .env("XDG_RUNTIME_DIR", home)
        .env("XDG_STATE_HOME", home.join("state-home"))
        // A debug build on a busy machine takes longer to turn to a hundred requests at once than what is usual.
        .env("ATTACHE_SHED_AFTER", "2s")
        .env("ENVOY_BIN", envoy_binary());
    command
}
