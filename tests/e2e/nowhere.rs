//! No secret stands in anything that attaché or its Envoy writes, tells or answers, whatever an agent does with it.
//!
//! Everything that can be switched on is; requests of every kind carry secrets of every kind in every place; then every
//! byte of every output is searched for each of them, in every spelling.

mod needles;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ::attache::control;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::StreamExt;
use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::ask::Reply;
use crate::support::endpoint::{Endpoint, reply};
use crate::support::process::Running;
use crate::support::upstream::Answer;
use crate::support::{
    Ask, Attache, Collector, Dns, PROTOCOLS, Protocol, Upstream, attache, curl, free_address, script, tunnel, until,
};
use needles::Needles;

const HOST: &str = "api.example.com";
const OTHER: &str = "other.example";

// What attaché holds.
const BEARER: &str = "held-7Fq2mXw9Rt4Yv6Zb8Nc3Lk5Jh1";
const IN_QUERY: &str = "q9/Zt4+Wm2=Kp7xRv5Bn8dHs";
const PASSWORD: &str = "pw-Hd83kTq6Wz1Yb5Nm0Xc4";
const CANARY: &str = "bait-x7Kp2mQw9Rt4Yv6ZbN3";
const ANN: &str = "ann-Tk5Vb2Nq8Wd4Xz7Lp0Rm";
const BOB: &str = "bob-Gh6Jc9Sf3Mv1Yt8Kw2Qe";
const SIGNING: &str = "sign-Uy4Bn7Ek2Ds9Wp5Tx0A";
const HOOK_PATH: &str = "hook-Zm8Qr3Lc6Vd1Hn5Ks9F";
const COLLECTORS: &str = "otel-Pn2Xv7Gt5Jb9Wk3Rc8D";
// What agents have.
const KEY: &str = "AKIAQ3EGRX5TLK2WN7YB";
const REPLACED: &str = "ghp_9Kx2mQwR7tVbZ4nLc8YfJd3HsPa6Ge01uTiW";
const CARD: &str = "4539578763621486";
const MAIL: &str = "joan.q7wzk@mailbox.example";
const IN_A_QUERY: &str = "qv-8Tz3Wm6Kx1Pd5Rn9";
const USERS: &str = "userpw-9Kd7Tq2ZxLm4";
// In a policy that is refused.
const WRONG: &str = "wrong-Fv3Nz8Qk1Ym6Xb4T";

fn needles() -> Needles {
    let basic = STANDARD.encode(format!("svc@example.com:{PASSWORD}"));
    let held = [
        ("bearer", BEARER),
        ("in query", IN_QUERY),
        ("password", PASSWORD),
        ("basic", Box::leak(basic.into_boxed_str())),
        ("canary", CANARY),
        ("ann's token", ANN),
        ("bob's token", BOB),
        ("signing secret", SIGNING),
        ("path of the webhook", HOOK_PATH),
        ("collector's key", COLLECTORS),
        ("secret of a wrong policy", WRONG),
    ];
    let sent = [
        ("key", KEY),
        ("replaced token", REPLACED),
        ("card", CARD),
        ("mail", MAIL),
        ("value of a query", IN_A_QUERY),
        ("user's password", USERS),
    ];
    Needles::new(held.into_iter().chain(sent))
}

/// What is said of each output: its name, its bytes, and which needles may stand in it.
#[derive(Default)]
struct Outputs(Vec<(String, Vec<u8>, &'static [&'static str])>);

impl Outputs {
    fn add(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((name.into(), bytes.into(), &[]));
    }

    /// One that shows its reader what they have to see.
    fn add_but(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>, may: &'static [&'static str]) {
        self.0.push((name.into(), bytes.into(), may));
    }

    /// The files below a directory.
    fn add_files(&mut self, directory: &Path) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match std::fs::symlink_metadata(&path) {
                Ok(kind) if kind.is_dir() => self.add_files(&path),
                Ok(kind) if kind.is_file() => self.add(path.display().to_string(), std::fs::read(&path).unwrap()),
                _ => {}
            }
        }
    }

    fn search(&self) -> Vec<String> {
        let needles = needles();
        let told = |(name, bytes, may): &(String, Vec<u8>, &[&str])| -> Vec<String> {
            needles.find(bytes, may).into_iter().map(|there| format!("{name}: {there}")).collect()
        };
        self.0.iter().flat_map(told).collect()
    }
}

struct Place {
    attache: Attache,
    upstream: Upstream,
    plain: Upstream,
    collector: Collector,
    hook: Endpoint,
    metrics: SocketAddr,
    files: TempDir,
    policy: String,
    /// What `watch` of the control socket has given.
    watched: Arc<Mutex<Vec<u8>>>,
}

impl Place {
    async fn new() -> Place {
        let (upstream, plain) = (Upstream::https([HOST, "*.api.example.com"]).await, Upstream::http().await);
        let collector = Collector::start().await;
        let hook = Endpoint::start(SocketAddr::from(([127, 0, 0, 1], 0)), false, async |_| reply(204, "")).await;
        let (metrics, dns, nowhere) = (free_address(), Dns::start().await, free_address());
        let files = tempfile::tempdir().unwrap();
        for (name, value) in [("query", IN_QUERY), ("canary", CANARY)] {
            std::fs::write(files.path().join(name), value).unwrap();
        }
        let policy = policy(&hook.url(), files.path());
        let attache = Attache::up(&policy)
            .env("BEARER", BEARER)
            .env("PASSWORD", PASSWORD)
            .env("ANN", ANN)
            .env("BOB", BOB)
            .env("SIGNING", SIGNING)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
            .env("OTEL_EXPORTER_OTLP_HEADERS", &format!("x-key={COLLECTORS}"))
            .env("OTEL_METRICS_EXPORTER", "otlp")
            .env("OTEL_METRIC_EXPORT_INTERVAL", "300")
            .env("OTEL_BSP_SCHEDULE_DELAY", "50")
            .flags(["--sink", "otlp", "--metrics", &metrics.to_string()])
            .resolve(HOST, &upstream)
            .resolve_port(HOST, 80, &plain)
            .flags(["--resolve".to_owned(), format!("down.example.com:443:{nowhere}")])
            .dns(&dns)
            .start()
            .await;
        let watched = Arc::new(Mutex::new(Vec::new()));
        let mut lines = control::watch(&attache.socket()).await.unwrap();
        let into = watched.clone();
        tokio::spawn(async move {
            while let Some(Ok(record)) = lines.next().await {
                into.lock().unwrap().extend(record.line.into_bytes());
            }
        });
        Place { attache, upstream, plain, collector, hook, metrics, files, policy, watched }
    }

    /// Ann's, by a token that stands where the way in wants it.
    fn anns(ask: Ask, is_tls: bool) -> Ask {
        Place::of(ANN, ask, is_tls)
    }

    /// Bob's, of whom nobody remembers pieces of anything.
    fn bobs(ask: Ask) -> Ask {
        Place::of(BOB, ask, true)
    }

    fn of(token: &str, ask: Ask, is_tls: bool) -> Ask {
        let token = format!("Bearer {token}");
        if is_tls {
            ask.connect_header("proxy-authorization", &token)
        } else {
            ask.header("proxy-authorization", token)
        }
    }

    async fn send(&self, ask: Ask) -> Reply {
        ask.send(&self.attache).await
    }

    /// Another program's output about this attaché.
    async fn said(&self, outputs: &mut Outputs, may: &'static [&'static str], command: &[&str]) -> String {
        let output = self.attache.command(command[0], &command[1..]).await;
        assert_eq!(output.exit, 0, "{command:?}: {output:?}");
        outputs.add_but(format!("attache {command:?}"), output.stdout.clone() + &output.stderr, may);
        output.stdout
    }
}

fn policy(hook: &str, files: &Path) -> String {
    let files = files.display();
    format!(
        r#"
allowedDomains: [{HOST}, "*.{HOST}", down.example.com]
agents:
  ann: {{identity: [{{token: {{env: ANN}}}}]}}
  bob: {{identity: [{{token: {{env: BOB}}}}]}}
rules:
  - {{name: Asked, host: {HOST}, path: "/asked/**", action: {{approval: {{hold: 0s, expires: 10m}}}}}}
  - {{name: Blocked, host: {HOST}, path: "/blocked/**", action: block}}
credentials:
  - name: bearer
    envVarKey: BEARER
    injections: [{{domain: {HOST}, headerName: Authorization, headerFormat: "Bearer {{value}}"}}]
  - name: query
    file: {files}/query
    injections: [{{domain: {HOST}, queryParam: api_key}}]
  - name: password
    envVarKey: PASSWORD
    injections: [{{domain: {HOST}, headerName: X-Basic, headerFormat: "Basic {{base64:svc@example.com:{{value}}}}"}}]
dlp:
  profiles:
    default:
      requests: {{github-personal-access-token: redact, pii.financial: redact, pii.contact: monitor}}
      responses: {{credentials: redact}}
  canaries: [{{name: bait, file: {files}/canary}}]
notifications:
  ops:
    webhook: {{url: '{hook}/{HOOK_PATH}', plaintext: true, secret: {{env: SIGNING}}}}
    events: [approvalRequested, approvalDecided, blocked, findings, unreconciled, outcomeUnknown, checkpoint, reloadFailed, journalFailed]
"#
    )
}

/// As an agent may write it, and whether a host's label can hold it.
fn spellings(value: &str, is_held: bool) -> Vec<(String, bool)> {
    let each = |value: &str, write: fn(u8) -> String| value.bytes().map(write).collect::<String>();
    let plain = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    let is_label = value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let mut all = vec![
        (each(value, plain), is_label),
        (URL_SAFE_NO_PAD.encode(value), false),
        (each(value, |byte| format!("{byte:02x}")), true),
        (each(value, |byte| format!("%{byte:02X}")), false),
    ];
    if is_held {
        // What is known is known from behind too; what only has the form of a token is not looked for so.
        all.push((each(&value.chars().rev().collect::<String>(), plain), is_label));
    }
    all
}

/// Each secret in each place of a request.
async fn send_everywhere(place: &Place, outputs: &mut Outputs) {
    let mut replies = Vec::new();
    for (name, value) in [
        ("bearer", BEARER),
        ("query", IN_QUERY),
        ("canary", CANARY),
        ("key", KEY),
        ("replaced", REPLACED),
        ("card", CARD),
        ("mail", MAIL),
    ] {
        for (at, (text, is_label)) in
            spellings(value, [BEARER, IN_QUERY, CANARY].contains(&value)).into_iter().enumerate()
        {
            // Both protocols where something depends on it: that is not the spelling.
            let protocol = PROTOCOLS[at % 2];
            for host in [HOST, OTHER, "down.example.com"] {
                let url = |rest: &str| format!("https://{host}{rest}");
                let plain = |rest: &str| format!("http://{host}{rest}");
                let body = json!({"note": format!("it is {text}"), "deep": {text.clone(): ["x", text]}}).to_string();
                let form = format!("a=b&c={text}&{text}=d");
                let post = |kind: &str, body: &str| {
                    let ask = Ask::new(protocol, "POST", &url("/things")).header("content-type", kind);
                    Place::anns(ask.whole_body(body), true)
                };
                let get = |rest: &str| Place::anns(Ask::get(protocol, &url(rest)), true);
                let mut asks = vec![
                    get(&format!("/v1/{text}/x")),
                    get(&format!("/?a={text}&b=c")),
                    get("/").header("x-note", format!("see {text}")),
                    post("application/json", &body),
                    Place::anns(Ask::get(protocol, &plain(&format!("/v1/{text}?a={text}"))), false),
                ];
                if host == HOST {
                    asks.extend([
                        get(&format!("/?{text}=1")),
                        get(&format!("/blocked/{text}?q={text}")),
                        get("/").header("cookie", format!("a={text}")),
                        Place::anns(Ask::get(Protocol::Http1, &url("/")), true)
                            .header("upgrade", &text)
                            .header("connection", "upgrade"),
                        post("application/x-www-form-urlencoded", &form),
                        post("text/plain", &text),
                        post(&format!("text/plain; note={text}"), "x"),
                        post("application/json", &body).header("content-encoding", &text),
                        Place::anns(Ask::new(protocol, "POST", &url("/things")).streamed_body(&text), true),
                    ]);
                }
                for ask in asks {
                    // What no client can write is not sent.
                    replies.push((name, place.send(ask).await));
                }
            }
            if is_label && text.len() < 64 {
                for host in [format!("{text}.{HOST}"), format!("{text}.{OTHER}"), format!("{text}.example")] {
                    let asks = [
                        Place::anns(Ask::get(protocol, &format!("https://{host}/")), true),
                        Place::anns(Ask::get(protocol, &format!("http://{host}/")), false),
                        // In the handshake alone, and in the request alone.
                        Place::anns(Ask::get(protocol, &format!("https://{HOST}/")).sni(&host), true),
                        Place::anns(Ask::get(protocol, &format!("https://{HOST}/")).authority(&host), true),
                    ];
                    for ask in asks {
                        replies.push((name, place.send(ask).await));
                    }
                }
            }
            if text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.%".contains(&b)) {
                for url in
                    [format!("https://{HOST}/x"), format!("https://{OTHER}/x"), format!("https://{HOST}/blocked/x")]
                {
                    let ask = Place::anns(Ask::new(Protocol::Http2, &text, &url), true);
                    replies.push((name, ask.send_bytes(&place.attache).await));
                    let ask = Place::anns(Ask::new(Protocol::Http1, &text, &url), true);
                    replies.push((name, place.send(ask).await));
                }
            }
        }
    }
    for (at, (name, reply)) in replies.into_iter().enumerate() {
        // An upstream that echoes says what the agent has said.
        if reply.status != 200 {
            outputs
                .add(format!("answer {at} ({name}) {}", reply.status), format!("{:?} {}", reply.headers, reply.body));
        } else {
            outputs.add_but(format!("answer {at} ({name}) 200"), format!("{:?} {}", reply.headers, reply.body), SENT);
        }
    }
}

/// What an echo may say: it is the agent's own.
const SENT: &[&str] = &["replaced token", "card", "mail", "value of a query", "key"];

/// What is no request, or no identity.
async fn send_malformed(place: &Place, outputs: &mut Outputs) {
    let heads = [
        format!("GET http://ann:{USERS}@{HOST}/x HTTP/1.1\r\nHost: {HOST}\r\n"),
        format!("GET http://{HOST}/a/../{KEY} HTTP/1.1\r\nHost: {HOST}\r\n"),
        format!("GET http://{HOST}//{KEY}?a={IN_A_QUERY} HTTP/1.1\r\nHost: {HOST}\r\n"),
        format!("GET http://{HOST}/%zz{BEARER} HTTP/1.1\r\nHost: {HOST}\r\n"),
        format!("GET http://{HOST}/{KEY} HTTP/1.1\r\nHost: ann:{USERS}@{OTHER}\r\n"),
        format!("GET http://{HOST}/x#{BEARER} HTTP/1.1\r\nHost: {HOST}\r\n"),
        format!("GET /x?a={IN_A_QUERY} HTTP/9.9\r\nHost: {KEY}\r\n"),
        format!("{KEY} http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n"),
        format!("{BEARER} http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n"),
        format!("GET http://{KEY}_{HOST}:99999/ HTTP/1.1\r\nHost: {HOST}\r\n"),
        format!("GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: {KEY}\r\n"),
        format!("POST http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {CARD}x\r\n"),
        format!("GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n{BEARER} : x\r\n"),
        format!("GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\nX-Big: {}\r\n", BEARER.repeat(4000)),
        format!("GET http://{HOST}/{} HTTP/1.1\r\nHost: {HOST}\r\n", format!("{KEY}/").repeat(600)),
        format!("CONNECT ann:{USERS}@{HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n"),
        format!("CONNECT {BEARER} HTTP/1.1\r\nHost: {BEARER}\r\n"),
        format!("{KEY} {BEARER}\r\n{CANARY}"),
    ];
    let token = format!("Proxy-Authorization: Bearer {ANN}\r\n");
    let identities = [&*token, "", "Proxy-Authorization: Bearer wrong\r\n"];
    let send = async |head: String| {
        let mut stream = TcpStream::connect(place.attache.proxy()).await.unwrap();
        tunnel::raw(&mut stream, head.as_bytes()).await
    };
    let heads = heads.iter().flat_map(|head| identities.map(|who| format!("{head}{who}Connection: close\r\n\r\n")));
    for answer in join_all(heads.map(send)).await {
        let may: &[&str] = if answer.starts_with("HTTP/1.1 200") { SENT } else { &[] };
        outputs.add_but("answer to a head", answer, may);
    }
    for (authority, name, value) in [
        (format!("{KEY}.{HOST}:443"), "x-a", "b"),
        (format!("{HOST}:443"), "upgrade", KEY),
        (format!("{KEY}.example:443"), "x-a", KEY),
    ] {
        let token = format!("Bearer {ANN}");
        let identity = ("proxy-authorization", &*token);
        if let Err(refused) = tunnel::connect(place.attache.proxy(), &authority, &[identity, (name, value)]).await {
            outputs.add("answer to CONNECT", refused);
        }
    }
    // Inside of a tunnel, where Envoy answers what it cannot read by itself.
    for target in [format!("/a\u{1}{KEY}"), format!("//{BEARER}?a={IN_A_QUERY}"), format!("ann:{USERS}@{HOST}")] {
        for protocol in PROTOCOLS {
            let ask = Ask::get(protocol, &format!("https://{HOST}/")).target(&target);
            let reply = Place::anns(ask, true).send_bytes(&place.attache).await;
            outputs.add(format!("answer to {target}"), format!("{:?} {}", reply.headers, reply.body));
        }
    }
    for authority in [format!("{USERS}@{HOST}"), format!("ann:{USERS}@{HOST}"), format!("{KEY}@{HOST}")] {
        for protocol in PROTOCOLS {
            let ask = Ask::get(protocol, &format!("https://{HOST}/x")).authority(&authority);
            let reply = Place::anns(ask, true).send_bytes(&place.attache).await;
            outputs.add(format!("answer to {authority}"), format!("{:?} {}", reply.headers, reply.body));
        }
    }
    // Tokens where they do not belong, and of nobody.
    for ask in [
        Ask::get(Protocol::Http1, &format!("http://{HOST}/x")).header("proxy-authorization", format!("Digest {ANN}")),
        Ask::get(Protocol::Http1, &format!("http://{HOST}/x")).header("authorization", format!("Bearer {ANN}")),
        Ask::get(Protocol::Http1, &format!("http://{HOST}/x?t={BOB}")).header("x-token", ANN),
        Ask::get(Protocol::Http1, &format!("http://{HOST}/x"))
            .header("proxy-authorization", format!("Basic {}", STANDARD.encode(format!("ann:{BOB}")))),
        Ask::get(Protocol::Http1, &format!("http://{OTHER}/x"))
            .header("proxy-authorization", format!("Basic {}", STANDARD.encode(format!("bob:{BOB}")))),
    ] {
        let reply = place.send(ask).await;
        let may: &[&str] = if reply.status == 200 { &["ann's token", "bob's token"] } else { &[] };
        outputs.add_but("answer to a token", format!("{:?} {}", reply.headers, reply.body), may);
    }
}

/// What comes back holds what went out, or fails.
async fn be_answered(place: &Place, outputs: &mut Outputs) {
    let basic = STANDARD.encode(format!("svc@example.com:{PASSWORD}"));
    let all = format!("{BEARER} {IN_QUERY} {PASSWORD} {basic} {CANARY}");
    let packed = json!({"a": all, "b": STANDARD.encode(&all), "c": KEY}).to_string();
    for upstream in [&place.upstream, &place.plain] {
        upstream.tell("/in-body", Answer::new("application/json", &packed));
        upstream.tell("/in-error", Answer::new("text/plain", &all).status(500));
        upstream.tell("/in-head", Answer::new("text/plain", "x").field("x-echo", &all).field("set-cookie", BEARER));
        upstream.tell(
            "/in-location",
            Answer::new("text/plain", "x")
                .status(302)
                .field("location", &format!("https://{OTHER}/{BEARER}?k={BEARER}")),
        );
        upstream.tell("/in-trailers", Answer::new("text/plain", "x").cut(1).trailer("x-echo", BEARER));
        upstream.tell("/in-parts", Answer::new("text/plain", &all).cut(7));
    }
    for path in [
        "/in-body",
        "/in-error",
        "/in-head",
        "/in-location",
        "/in-trailers",
        "/in-parts",
        "/echo",
        "/gzip",
        "/status/503",
        "/reset",
        "/reset-midway",
        "/early/413",
    ] {
        for protocol in PROTOCOLS {
            let target = format!("{HOST}{path}?page={IN_A_QUERY}&n=1");
            for ask in [
                Place::anns(Ask::get(protocol, &format!("https://{target}")), true),
                Place::anns(Ask::get(protocol, &format!("http://{target}")), false),
                Place::anns(Ask::get(protocol, &format!("https://{target}")).header("range", "bytes=0-5"), true),
            ] {
                let reply = place.send(ask).await;
                outputs.add_but(
                    format!("{path} {}", reply.status),
                    format!("{:?} {}", reply.headers, reply.body),
                    SENT,
                );
            }
        }
    }
}

/// People are asked, say yes, say no, and are shown no more than they have to see.
async fn be_asked(place: &Place, outputs: &mut Outputs) {
    const SHOWN: &[&str] = &["mail", "value of a query"];
    let ask = |name: &str| {
        let url = format!("https://{HOST}/asked/{name}/{MAIL}?page={IN_A_QUERY}&{MAIL}=1");
        let ask = Ask::new(Protocol::Http1, "POST", &url).header("content-type", format!("text/plain; note={MAIL}"));
        Place::bobs(ask.whole_body(format!("to {MAIL}")))
    };
    for (name, verdict) in [("one", "approve"), ("two", "deny")] {
        let reply = place.send(ask(name)).await;
        outputs.add(format!("asked {name}"), format!("{:?} {}", reply.headers, reply.body));
        assert_eq!(reply.reason(), "approval_pending", "{reply:?}");
        let ticket = reply.json()["ticket"].as_str().unwrap().to_owned();
        place.said(outputs, SHOWN, &["approvals", "list"]).await;
        place.said(outputs, SHOWN, &["approvals", "list", "-o", "json"]).await;
        place.said(outputs, SHOWN, &["approvals", "show", &ticket]).await;
        let listed = control::list_approvals(&place.attache.socket()).await.unwrap();
        outputs.add_but("approvals over the socket", format!("{listed:?}"), SHOWN);
        place.said(outputs, SHOWN, &["approvals", verdict, &ticket, "--why", "so it is"]).await;
        let reply = place.send(ask(name)).await;
        let expected = if verdict == "approve" { 200 } else { 403 };
        assert_eq!(reply.status, expected, "{reply:?}");
        let may: &[&str] = if expected == 200 { SENT } else { &[] };
        outputs.add_but(format!("answered {name}"), format!("{:?} {}", reply.headers, reply.body), may);
    }
}

/// Policies that are refused while the first goes on, each with a secret near what is wrong.
async fn be_misconfigured(place: &Place, outputs: &mut Outputs) {
    for (what, wrong) in [
        ("beside a key that is none", format!("dlp: {{canaries: [{{name: x, value: {WRONG}, colour: red}}]}}\n")),
        ("no YAML", format!("dlp: {{canaries: [{{name: x, value: \"{WRONG}}}]\n  x: [\n")),
        (
            "a secret in the place of where it is",
            format!(
                "notifications: {{o: {{webhook: {{url: 'https://a.example/{WRONG}', secret: {WRONG}}}, events: [blocked]}}}}\n"
            ),
        ),
        (
            "a variable named like it",
            format!(
                "credentials: [{{name: x, envVarKey: \"{WRONG}\", injections: [{{domain: {HOST}, headerName: X-A, headerFormat: '{{value}}'}}]}}]\n"
            ),
        ),
        (
            "in the format",
            format!(
                "credentials: [{{name: x, envVarKey: X, injections: [{{domain: {HOST}, headerName: X-A, headerFormat: 'Bearer {WRONG}'}}]}}]\n"
            ),
        ),
        (
            "a value where its name belongs",
            format!(
                "credentials: [{{name: x, value: {WRONG}, injections: [{{domain: {HOST}, headerName: X-A, headerFormat: '{{value}}'}}]}}]\n"
            ),
        ),
    ] {
        let file = place.files.path().join("wrong.yaml");
        std::fs::write(&file, &wrong).unwrap();
        let mut command = attache::attache(place.files.path());
        let output = script::output(command.arg("check").arg(&file)).await;
        assert_eq!(output.exit, 2, "{what}: {output:?}");
        // It shows the line to whom the file is shown.
        let shown = &["secret of a wrong policy"];
        outputs.add_but(format!("attache check, {what}"), output.stdout + &output.stderr, shown);
        let seen = place.attache.stderr().len();
        place.attache.replace_policy(&wrong);
        until(what, async || place.attache.stderr()[seen..].contains("stays in force").then_some(())).await;
    }
    place.attache.replace_policy(&place.policy);
}

#[tokio::test]
async fn no_secret_stands_in_any_output() {
    let mut place = Place::new().await;
    let mut outputs = Outputs::default();
    be_answered(&place, &mut outputs).await;
    send_everywhere(&place, &mut outputs).await;
    send_malformed(&place, &mut outputs).await;
    be_asked(&place, &mut outputs).await;
    explain(&place, &mut outputs).await;
    be_misconfigured(&place, &mut outputs).await;

    // The last one, behind which nothing is left to be told.
    let last = place.send(Place::bobs(Ask::get(Protocol::Http1, &format!("https://{HOST}/blocked/last")))).await;
    let last = last.json()["requestId"].as_str().unwrap().to_owned();
    let has_last = |bytes: &[u8]| memchr::memmem::find(bytes, last.as_bytes()).is_some();
    until("the last outcome", async || {
        place.attache.records().into_iter().find(|record| record["requestId"] == *last && !record["duration"].is_null())
    })
    .await;
    place
        .collector
        .wait("the last record and span", |taken| {
            let spans = taken.spans.iter().any(|span| span.attribute("attache.request.id") == Some(&last));
            let logs = taken.logs.iter().any(|log| has_last(format!("{:?}", log.record.body).as_bytes()));
            spans && logs && !taken.metrics.is_empty()
        })
        .await;
    until("the last message", async || place.hook.requests().iter().any(|sent| has_last(&sent.body)).then_some(()))
        .await;
    until("the last line of the watch", async || has_last(&place.watched.lock().unwrap()).then_some(())).await;

    for request in place.hook.requests() {
        outputs.add_but("a webhook", format!("{} {:?}", request.path, request.headers), &["path of the webhook"]);
        outputs.add("a webhook's body", request.body.to_vec());
    }
    assert!(place.hook.requests().len() > 50, "{} messages", place.hook.requests().len());
    outputs.add("what the control socket's watch gave", place.watched.lock().unwrap().clone());
    for path in ["/metrics", "/metrics/envoy", "/readyz", "/livez"] {
        let answer = curl([&format!("http://{}{path}", place.metrics)]).await;
        assert_eq!(answer.status, 200, "{path}");
        outputs.add(path, answer.text());
    }
    for command in [
        &["logs"][..],
        &["logs", "-o", "json"],
        &["logs", "-o", "json", "--status", "blocked"],
        &["audit", "export", "-o", "ocsf"],
        &["audit", "export", "-o", "json"],
        &["audit", "export", "-o", "csv"],
        &["audit", "verify"],
        &["health"],
    ] {
        let said = place.said(&mut outputs, &[], command).await;
        assert!(!said.is_empty(), "{command:?}");
    }
    let status = control::status(&place.attache.socket()).await.unwrap();
    outputs.add("the status over the socket", format!("{status:?}"));
    let state = place.attache.ready().state_dir.clone();
    outputs.add_files(&state);

    // Nobody writes after this.
    assert!(place.attache.stop().await.success());
    outputs.add("stdout", on_stdout(&place, &state, &last).await);
    outputs.add_files(&state);
    outputs.add("stderr", place.attache.stderr());
    outputs.add("OTLP", place.collector.taken().bytes);

    assert!(outputs.0.iter().any(|(name, _, _)| name.contains("journal")));
    assert!(outputs.0.iter().any(|(name, bytes, _)| name.contains("access") && !bytes.is_empty()));
    let found = outputs.search();
    assert!(found.is_empty(), "{} places of {} outputs:\n{}", found.len(), outputs.0.len(), found.join("\n"));
    // What is looked for was there: the upstream has it.
    let arrived = format!("{:?}", place.upstream.requests());
    assert!([BEARER, MAIL, IN_A_QUERY].iter().all(|value| arrived.contains(value)), "nothing was sent");
}

/// Who asks what would become of a request has its words, and is told none of attaché's secrets.
async fn explain(place: &Place, outputs: &mut Outputs) {
    let policy: PathBuf = place.attache.policy();
    for format in ["text", "json"] {
        let mut command = attache::attache(place.files.path());
        command.args(["explain", "-o", format, "--policy"]).arg(&policy).args(["--agent", "ann"]);
        command.args([
            "-H",
            &format!("x-note: {KEY}"),
            "-H",
            &format!("x-password: {USERS}"),
            "-d",
            &format!("it is {CARD} {REPLACED}"),
        ]);
        command.envs([("BEARER", BEARER), ("PASSWORD", PASSWORD), ("ANN", ANN), ("BOB", BOB), ("SIGNING", SIGNING)]);
        let url = format!("https://{HOST}/x");
        let output = script::output(command.args(["POST", &url])).await;
        assert!(output.stdout.contains("dlp"), "{output:?}");
        outputs.add(format!("attache explain -o {format}"), output.stdout + &output.stderr);
    }
}

/// Every record of the journal, as the sink of `serve` writes it.
async fn on_stdout(place: &Place, state: &Path, last: &str) -> String {
    let mut command = attache::attache(place.files.path());
    command.args(["serve", "--sink", "stdout", "--sink-from", "oldest", "--metrics", "off", "--policy"]);
    command.arg(place.attache.policy()).arg("--state-dir").arg(state);
    command.envs([("BEARER", BEARER), ("PASSWORD", PASSWORD), ("ANN", ANN), ("BOB", BOB), ("SIGNING", SIGNING)]);
    let mut serve = Running::start("attache serve", command);
    let mut lines = vec![serve.line().await];
    while !(lines.last().unwrap().contains(last) && lines.last().unwrap().contains("\"outcome\"")) {
        lines.push(serve.line().await);
    }
    assert!(serve.stop().await.success());
    lines.concat() + &serve.stderr()
}
