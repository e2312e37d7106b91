//! `attache serve` and the real Envoy, each started by itself, before an upstream and a trap; and an agent that says
//! what came of its requests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ::attache::control;
use ::attache::control::api::{AnswerApprovalRequest, Approval, State, Verdict};
use ::attache::envoy::bootstrap::Bootstrap;
use ::attache::journal::reader::Reader;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::client::TlsStream;

use super::matrix::{Reached, Recorded, Sees};
use crate::support::process::{self, Running};
use crate::support::upstream::{Answer, Seen as Arrived};
use crate::support::{Ca, Envoy, Upstream, attache, free_address, tunnel, until};

/// Where the policy lets requests go, and where it does not.
pub const HOST: &str = "api.example.com";
pub const TRAP: &str = "trap.example.com";
/// What the agent sends in every query, header and body. No log may have it.
pub const CANARY: &str = "canary-of-the-agent-4711";
/// The credential that attaché puts into requests for [`HOST`]. Only the upstream may have it.
pub const KEY: &str = "canary-of-the-credential-0815";
/// What webhooks are signed with.
pub const HOOK: &str = "canary-of-the-webhook-1234";

/// What is looked into.
const SEEN: &str = "dlp: {profiles: {default: {responses: {credentials: redact}}}}";
const UNSEEN: &str = "dlp: {profiles: {default: {requests: {credentials: off, crypto: off, custom: off, pii: off}}}}";

/// More of a body than is held back, in bytes.
pub const MUCH: usize = 1 << 16;

const PATIENCE: Duration = Duration::from_secs(20);

/// The pair, what it stands before, and everything that was said.
pub struct Rig {
    pub upstream: Upstream,
    trap: Upstream,
    pub proxy: SocketAddr,
    home: TempDir,
    setup: Setup,
    service: Option<Running>,
    envoy: Option<Envoy>,
    /// What those said that have ended.
    said: String,
    /// What the agent was answered.
    heard: Mutex<String>,
    /// What reached upstreams that are gone.
    past: Vec<Arrived>,
    warm: usize,
}

/// How the pair is set up.
#[derive(Default)]
pub struct Setup {
    /// Lines of the policy.
    pub policy: String,
    pub flags: Vec<String>,
    pub variables: Vec<(&'static str, String)>,
    /// Where [`HOST`] is, if not at the rig's upstream.
    pub upstream: Option<SocketAddr>,
    /// Where Envoy looks for its service, if not where the service is.
    pub interposed: bool,
    pub bootstrap: Option<fn(&mut Value)>,
    /// Nothing is looked into: there is no credential either, which answers would be searched for.
    pub blind: bool,
    /// A webhook `ops` is told of questions.
    pub notified: bool,
    /// Shown to the proxy with every request.
    pub token: Option<&'static str>,
    /// A fault of the disk needs the folder of the journal before the service does.
    pub state: Option<PathBuf>,
}

impl Setup {
    pub fn flags<const N: usize>(mut self, flags: [&str; N]) -> Setup {
        self.flags.extend(flags.map(str::to_owned));
        self
    }

    pub fn policy(mut self, lines: impl AsRef<str>) -> Setup {
        self.policy += lines.as_ref();
        self.policy += "\n";
        self
    }

    pub fn variable(mut self, name: &'static str, value: impl Into<String>) -> Setup {
        self.variables.push((name, value.into()));
        self
    }
}

impl Rig {
    /// One whose pair runs and has let a request through.
    pub async fn new(setup: Setup) -> Rig {
        let mut rig = Rig::prepare(setup).await;
        rig.serve().await;
        rig.start_envoy().await;
        rig.warm().await;
        rig
    }

    /// One that runs nothing yet.
    pub async fn prepare(setup: Setup) -> Rig {
        let (upstream, trap) = (Upstream::https([HOST, "*.named.example"]).await, Upstream::https([TRAP]).await);
        let home = tempfile::tempdir().unwrap();
        let rig = Rig {
            upstream,
            trap,
            proxy: free_address(),
            home,
            setup,
            service: None,
            envoy: None,
            said: String::new(),
            heard: Mutex::default(),
            past: Vec::new(),
            warm: 0,
        };
        std::fs::write(rig.path("upstream-ca.pem"), Ca::shared().pem()).unwrap();
        rig.write_key(KEY);
        rig.write_policy("");
        rig
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.setup.state.clone().unwrap_or_else(|| self.path("state"))
    }

    pub fn journal(&self) -> PathBuf {
        self.state().join("journal")
    }

    /// Where the service is found.
    pub fn socket(&self) -> PathBuf {
        self.path(if self.setup.interposed { "real.sock" } else { "service.sock" })
    }

    /// The policy with further lines.
    pub fn policy(&self, more: &str) -> String {
        let credentials = format!(
            "credentials:\n  - name: key\n    file: {}\n    injections: [{{domain: {HOST}, headerName: Authorization, \
             headerFormat: 'Bearer {{value}}'}}]",
            self.path("key").display()
        );
        format!(
            "allowedDomains:\n  - {HOST}\n  - {{pattern: '*.named.example:{port}', allowPrivate: [127.0.0.1/32]}}\n\
             {seen}\n\
             rules:\n  \
             - {{name: Cap, host: {HOST}, path: '/status/200/limited/**', action: {{rateLimit: {{requests: 3, per: 1h}}}}}}\n  \
             - {{name: Ask, host: {HOST}, path: '/status/200/asked/**', action: {{approval: {{hold: 15s, expires: 10m{notify}}}}}}}\n  \
             - {{name: Briefly, host: {HOST}, path: '/status/200/briefly/**', action: {{approval: {{hold: 3s, expires: 10m}}}}}}\n\
             {more}{lines}",
            lines = self.setup.policy,
            port = self.upstream.port(),
            seen = if self.setup.blind { UNSEEN.to_owned() } else { format!("{credentials}\n{SEEN}") },
            notify = if self.setup.notified { ", notify: [ops]" } else { "" },
        )
    }

    /// Puts the policy with further lines in its place, all at once.
    pub fn write_policy(&self, more: &str) {
        self.replace("policy.yaml", &self.policy(more));
    }

    pub fn write_key(&self, key: &str) {
        self.replace("key", key);
    }

    /// Puts a file in the place of another, all at once.
    pub fn replace(&self, name: &str, text: &str) {
        let draft = self.path("draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, self.path(name)).unwrap();
    }

    /// `attache serve`, until it ends or says that it is ready.
    pub fn serve_command(&self) -> tokio::process::Command {
        let mut command = attache::attache(self.home.path());
        command.arg("serve").arg("--policy").arg(self.path("policy.yaml")).arg("--state-dir").arg(self.state());
        command.arg("--socket").arg(self.socket()).arg("--ca-dir").arg(self.path("ca"));
        command.arg("--access-log").arg(self.path("envoy-access.jsonl"));
        command.arg("--envoy-admin").arg(self.path("admin.sock"));
        command.args(["--metrics", "off"]);
        let upstream = self.setup.upstream.unwrap_or(self.upstream.address());
        command.args(["--resolve", &format!("{HOST}:443:{upstream}")]);
        command.args(["--resolve", &format!("{TRAP}:443:{}", self.trap.address())]);
        command.args(&self.setup.flags).env("HOOK", HOOK).envs(self.setup.variables.iter().cloned());
        command
    }

    pub async fn serve(&mut self) {
        let mut service = Running::start("attache serve", self.serve_command());
        service.line().await;
        self.service = Some(service);
    }

    pub fn service(&self) -> &Running {
        self.service.as_ref().unwrap()
    }

    /// SIGKILL, and whatever the service had said.
    pub async fn kill_service(&mut self) {
        let mut service = self.service.take().unwrap();
        service.signal(rustix::process::Signal::KILL);
        service.exit().await;
        self.said += &service.stderr();
    }

    pub async fn start_envoy(&mut self) {
        let bootstrap = Bootstrap {
            listen: self.proxy,
            service_socket: self.path("service.sock"),
            admin_socket: self.path("admin.sock"),
            access_log: self.path("envoy-access.jsonl"),
            upstream_ca: self.path("upstream-ca.pem"),
            ..Bootstrap::default()
        };
        let rendered = bootstrap.render().unwrap();
        let text = match self.setup.bootstrap {
            None => rendered,
            Some(change) => {
                let mut document = serde_yaml::from_str(&rendered).unwrap();
                change(&mut document);
                document.to_string()
            }
        };
        self.envoy = Some(Envoy::start(&text, self.proxy).await);
    }

    pub fn envoy(&self) -> &Envoy {
        self.envoy.as_ref().unwrap()
    }

    pub async fn kill_envoy(&mut self) {
        let envoy = self.envoy.take().unwrap();
        assert!(process::signal(envoy.pid(), rustix::process::Signal::KILL));
        // The kernel closes its sockets after it has ended.
        until("Envoy's end", async || TcpStream::connect(self.proxy).await.is_err().then_some(())).await;
        self.said += &envoy.stderr();
    }

    /// Until a request has passed: what is refused after it is refused for the fault.
    pub async fn warm(&mut self) {
        until("a request to pass", async || {
            self.warm += 1;
            let path = format!("/status/200/warm/{}", self.warm);
            (self.send(Ask::new(&path)).await.sees() == Sees::Answer(200)).then_some(())
        })
        .await;
    }

    /// Asks, each time for a path of its own, until it comes to this; and how long that took.
    pub async fn until(&self, path: &str, wanted: Sees, ask: impl Fn(&str) -> Ask) -> Seen {
        let began = Instant::now();
        let mut turn = 0;
        let what = format!("{wanted:?}");
        let seen = until(&what, async || {
            turn += 1;
            Some(self.send_both(ask(&format!("{path}/{turn}"))).await).filter(|seen| seen.sees() == wanted)
        });
        Seen { took: began.elapsed(), ..seen.await }
    }

    /// Until Envoy has found its service, which knows what is forbidden.
    pub async fn found(&self) {
        until("Envoy to have found its service", async || {
            let ask = Ask { host: TRAP.to_owned(), ..Ask::new("/forbidden") };
            (self.send(ask).await.sees() == Sees::Refusal(403, "domain_not_allowed")).then_some(())
        })
        .await;
    }

    /// Sends a request that policy allows, and at the same time one that it forbids, which must not pass.
    pub async fn ask(&self, path: &str) -> Seen {
        self.send_both(Ask::new(path)).await
    }

    pub async fn send_both(&self, ask: Ask) -> Seen {
        let forbidden = Ask { host: TRAP.to_owned(), path: "/forbidden".to_owned(), ..ask.clone() };
        let (seen, refused) = tokio::join!(self.send(ask), self.send(forbidden));
        let through = matches!(refused.heard, Heard::Answer { status: ..400, .. } | Heard::Cut(_));
        assert!(!through, "what policy forbids has passed: {refused:?}");
        seen
    }

    pub async fn send(&self, ask: Ask) -> Seen {
        let began = Instant::now();
        let asked = async {
            match self.open(&ask).await {
                Err(heard) => heard,
                Ok(mut talk) => {
                    talk.say(&ask.whole()).await;
                    talk.rest().await
                }
            }
        };
        let heard = tokio::time::timeout(ask.patience, asked).await.unwrap_or(Heard::Nothing);
        self.seen(ask, began, heard)
    }

    /// What came of a request that was not sent at once.
    pub fn seen(&self, ask: Ask, began: Instant, heard: Heard) -> Seen {
        self.heard.lock().unwrap().push_str(&format!("{heard:?}\n"));
        Seen { path: ask.path, heard, took: began.elapsed() }
    }

    /// A connection over which a request to that host can be said.
    async fn open(&self, ask: &Ask) -> Result<Talk, Heard> {
        let Ok(stream) = TcpStream::connect(self.proxy).await else { return Err(Heard::NoListener) };
        stream.set_nodelay(true).unwrap();
        let authority = format!("{}:{}", ask.host, ask.port);
        let token =
            self.setup.token.map(|token| format!("Proxy-Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{token}\r\n");
        let mut tunnel = Talk { stream: Stream::Plain(stream), got: Vec::new() };
        tunnel.say(head.as_bytes()).await;
        let Stream::Plain(mut stream) = tunnel.stream else { unreachable!() };
        // A byte at a time: what follows the head belongs to the tunnel.
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => got.push(byte),
                Err(_) => return Err(Heard::Closed),
            }
        }
        if !got.starts_with(b"HTTP/1.1 200") {
            return Err(Talk { stream: Stream::Plain(stream), got }.rest().await);
        }
        let ca = std::fs::read_to_string(self.state().join("ca.pem")).unwrap();
        match tunnel::tls(stream, Some(&ask.host), &ca, &["http/1.1"]).await {
            Ok(stream) => Ok(Talk { stream: Stream::Tls(Box::new(stream)), got: Vec::new() }),
            Err(_) => Err(Heard::NoHandshake),
        }
    }

    /// Sends a request, and hears the beginning of its answer.
    pub async fn stream(&self, ask: Ask) -> Streaming {
        let gate = Arc::new(Notify::new());
        self.upstream.tell(&ask.path, Answer::new("text/plain", "x".repeat(MUCH)).after(&gate, "the end"));
        let mut talk = self.begin(&ask).await;
        talk.say(&ask.whole()).await;
        talk.hear("xxxx").await;
        Streaming { ask, talk, gate }
    }

    /// What came of it, once the upstream has said the rest.
    pub async fn end_of(&self, streaming: Streaming) -> Seen {
        let Streaming { ask, talk, gate } = streaming;
        let began = Instant::now();
        gate.notify_one();
        self.seen(ask, began, talk.rest().await)
    }

    /// An open tunnel for a request.
    pub async fn begin(&self, ask: &Ask) -> Talk {
        self.open(ask).await.unwrap_or_else(|heard| panic!("no tunnel: {heard:?}"))
    }

    /// What is on record of a request.
    pub fn recorded(&self, seen: &Seen) -> Recorded {
        let record = self.records().into_iter().rfind(|record| seen.is_of(record));
        let Some(record) = record else { return Recorded::NOTHING };
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned().leak() as &'static str;
        Recorded { decision: text("decision"), reason: text("reason"), standing: text("standing") }
    }

    pub fn records(&self) -> Vec<Value> {
        let Ok(mut reader) = Reader::open(&self.journal()) else { return Vec::new() };
        let exchanges = reader.poll(true, Instant::now()).unwrap();
        exchanges.iter().map(|exchange| serde_json::to_value(exchange).unwrap()).collect()
    }

    /// How far a request has come.
    pub fn reached(&self, path: &str) -> Reached {
        let seen: Vec<_> =
            self.arrived().into_iter().filter(|seen| seen.path.split('?').next() == Some(path)).collect();
        match &seen[..] {
            [] => Reached::Nothing,
            [seen] if seen.complete => Reached::Whole,
            [_] => Reached::Begun,
            more => panic!("it arrived {} times", more.len()),
        }
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.past.iter().cloned().chain(self.upstream.requests()).collect()
    }

    /// Ends the upstream and puts another into its place.
    pub fn replace_upstream(&mut self, other: Upstream) {
        self.past.extend(self.upstream.requests());
        self.upstream = other;
    }

    /// Keeps what a program said that is not the rig's.
    pub fn heard_say(&mut self, text: &str) {
        self.said += text;
    }

    /// What service and Envoy have said on stderr.
    pub fn said(&self) -> String {
        let service = self.service.as_ref().map(Running::stderr).unwrap_or_default();
        let envoy = self.envoy.as_ref().map(Envoy::stderr).unwrap_or_default();
        format!("{}{service}{envoy}", self.said)
    }

    /// The question about this path.
    pub async fn question(&self, path: &str) -> Approval {
        let socket = self.state().join("control.sock");
        until(&format!("a question about {path}"), async || {
            let wanted = |a: &Approval| a.path == path && a.state() == State::Pending && a.waiting > 0;
            control::list_approvals(&socket).await.ok()?.into_iter().find(wanted)
        })
        .await
    }

    pub async fn approve(&self, path: &str) {
        let ticket = self.question(path).await.ticket;
        let verdict = Verdict::Approve.into();
        let answer = AnswerApprovalRequest { ticket, verdict, by: "ann".into(), why: String::new() };
        control::answer_approval(&self.state().join("control.sock"), answer).await.unwrap();
    }

    /// Waits until stderr has this text.
    pub async fn wait_said(&self, text: &str) {
        until(&format!("`{text}` on stderr"), async || self.said().contains(text).then_some(())).await;
    }

    /// Asserts that nothing is where it does not belong. What else was told of requests is given as text.
    pub fn assert_nothing_leaked(&self, told: &str) {
        assert!(self.trap.connections().is_empty(), "what policy forbids has reached its upstream");
        let mut logs = self.said() + told;
        for folder in [self.journal(), self.home.path().to_owned()] {
            logs += &texts(&folder, &["jsonl", "json", "cursor"]);
        }
        assert!(!logs.contains(CANARY), "what the agent sent is in a log: {}", around(&logs, CANARY));
        assert!(!logs.contains(HOOK), "the webhook's secret is in a log: {}", around(&logs, HOOK));
        let heard = self.heard.lock().unwrap();
        for (place, text) in [("a log", &logs), ("an answer", &*heard)] {
            assert!(!text.contains(KEY), "the credential is in {place}: {}", around(text, KEY));
        }
        // What arrived was allowed, and has what it needs.
        let records = self.records();
        for seen in self.arrived() {
            let path = seen.path.split('?').next().unwrap();
            let record = records.iter().rfind(|record| record["path"] == path);
            let decision = record.map(|record| record["decision"].clone());
            assert_eq!(decision, Some("allow".into()), "{path} has arrived without a decision");
            if seen.authority == HOST && !self.setup.blind {
                let key = seen.header("authorization").unwrap_or_default();
                assert!(key.starts_with("Bearer canary-of-the-credential"), "{path} has arrived with `{key}`");
            }
        }
    }
}

/// The text of the files in a folder that are called so.
fn texts(folder: &Path, endings: &[&str]) -> String {
    let Ok(entries) = std::fs::read_dir(folder) else { return String::new() };
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| {
        path.is_file() && path.extension().is_some_and(|ending| endings.contains(&ending.to_str().unwrap()))
    });
    files.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect()
}

fn around(text: &str, found: &str) -> String {
    let line = text.lines().find(|line| line.contains(found));
    line.unwrap_or_default().to_owned()
}

/// A request of the agent's.
#[derive(Clone, Debug)]
pub struct Ask {
    pub host: String,
    pub port: u16,
    pub path: String,
    /// How long the agent waits.
    pub patience: Duration,
}

impl Ask {
    pub fn new(path: &str) -> Ask {
        Ask { host: HOST.to_owned(), port: 443, path: path.to_owned(), patience: PATIENCE }
    }

    /// To a host whose address DNS knows.
    pub fn named(name: &str, rig: &Rig, path: &str) -> Ask {
        Ask { host: format!("{name}.named.example"), port: rig.upstream.port(), ..Ask::new(path) }
    }

    pub fn patience(self, patience: Duration) -> Ask {
        Ask { patience, ..self }
    }

    /// The request whole.
    pub fn whole(&self) -> Vec<u8> {
        let length = format!("Content-Length: {}", CANARY.len());
        [self.head(&length), CANARY.as_bytes().to_vec()].concat()
    }

    /// The head of a request whose body comes in chunks.
    pub fn chunked(&self) -> Vec<u8> {
        self.head("Transfer-Encoding: chunked")
    }

    fn head(&self, length: &str) -> Vec<u8> {
        let (host, port) = (&self.host, self.port);
        let authority = if port == 443 { host.clone() } else { format!("{host}:{port}") };
        format!(
            "POST {}?note={CANARY} HTTP/1.1\r\nHost: {authority}\r\nX-Note: {CANARY}\r\nContent-Type: text/plain\r\n{length}\r\n\r\n",
            self.path
        )
        .into_bytes()
    }
}

/// A chunk of a body.
pub fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// A request on its way.
pub struct Talk {
    stream: Stream,
    got: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Talk {
    /// Who does not listen any more is heard at the answer.
    pub async fn say(&mut self, bytes: &[u8]) {
        let _ = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes).await,
            Stream::Tls(stream) => match stream.write_all(bytes).await {
                Ok(()) => stream.flush().await,
                Err(error) => Err(error),
            },
        };
    }

    /// Waits until the answer has this text.
    pub async fn hear(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.got).contains(text) {
            assert!(self.more().await, "`{text}` has not come: {}", String::from_utf8_lossy(&self.got));
        }
    }

    /// The answer, once it is whole or the connection has ended.
    pub async fn rest(mut self) -> Heard {
        while !is_whole(&self.got) {
            if !self.more().await {
                return match status(&self.got) {
                    Some(status) => Heard::Cut(status),
                    None => Heard::Closed,
                };
            }
        }
        let body = String::from_utf8_lossy(&self.got).into_owned();
        let body = body.split_once("\r\n\r\n").unwrap().1.to_owned();
        Heard::Answer { status: status(&self.got).unwrap(), body }
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut buffer).await,
            Stream::Tls(stream) => stream.read(&mut buffer).await,
        };
        match read {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.got.extend_from_slice(&buffer[..count]);
                true
            }
        }
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    let (head, _) = text.split_once("\r\n\r\n")?;
    head.split(' ').nth(1)?.parse().ok()
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let field = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.find_map(|(own, value)| own.eq_ignore_ascii_case(name).then(|| value.to_owned()))
    };
    match (field("content-length"), field("transfer-encoding")) {
        (Some(length), _) => body.len() >= length.parse::<usize>().unwrap(),
        (None, Some(_)) => body.ends_with("0\r\n\r\n"),
        (None, None) => false,
    }
}

/// A request whose answer has begun, and ends when it is told to.
pub struct Streaming {
    ask: Ask,
    talk: Talk,
    gate: Arc<Notify>,
}

/// What an agent heard.
#[derive(Debug)]
pub enum Heard {
    Answer { status: u16, body: String },
    Cut(u16),
    Closed,
    NoListener,
    NoHandshake,
    Nothing,
}

/// What came of a request, as the agent sees it.
#[derive(Debug)]
pub struct Seen {
    pub path: String,
    pub heard: Heard,
    pub took: Duration,
}

impl Seen {
    pub fn sees(&self) -> Sees {
        match &self.heard {
            Heard::Answer { status, .. } => match self.body()["reason"].as_str() {
                Some(reason) => Sees::Refusal(*status, reason.to_owned().leak()),
                None => Sees::Answer(*status),
            },
            Heard::Cut(status) => Sees::Cut(*status),
            Heard::Closed => Sees::Closed,
            Heard::NoListener => Sees::NoListener,
            Heard::NoHandshake => Sees::NoHandshake,
            Heard::Nothing => Sees::Nothing,
        }
    }

    fn body(&self) -> Value {
        match &self.heard {
            Heard::Answer { body, .. } => serde_json::from_str(body).unwrap_or_default(),
            _ => Value::Null,
        }
    }

    /// What a refusal names its record by.
    pub fn request_id(&self) -> Option<String> {
        self.body()["requestId"].as_str().map(str::to_owned)
    }

    /// By the id in the answer, else by the path, which no other request has.
    fn is_of(&self, record: &Value) -> bool {
        match self.request_id() {
            Some(id) => record["requestId"] == *id,
            None => record["path"] == *self.path,
        }
    }
}
