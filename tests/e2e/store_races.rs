//! Requests that race one another at two attachés on one Redis, the server's death, and the policy's next version: none
//! of it lets out what should not go.

use std::net::Ipv4Addr;

use ::attache::control;
use ::attache::control::api::{AnswerApprovalRequest, Approval, State, Verdict};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::attache::Setup;
use crate::support::{Answer, Ask, Attache, PROTOCOLS, Protocol, Redis, Upstream, until, within};

const POLICY: &str = r#"
allowedDomains: [api.example.com]
rules:
  - {name: Cap, host: api.example.com, path: "/capped/**", action: {rateLimit: {requests: 20, per: hour}}}
  - {name: Held, host: api.example.com, path: "/held/**", action: {approval: {hold: 25s, expires: 10m}}}
  - {name: Asked, host: api.example.com, path: "/asked/**", action: {approval: {hold: 0s, expires: 10m}}}
"#;
/// More than this machine ever needs, for what is not about how long a call may take.
const PATIENT: &str = "10000";

struct Pair {
    upstream: Upstream,
    redis: Redis,
    attaches: [Attache; 2],
}

impl Pair {
    async fn new(flags: &[&str]) -> Pair {
        let (upstream, redis) = (Upstream::https(["api.example.com"]).await, Redis::start().await);
        let start = |setup: Setup| {
            let setup = setup.env("ATTACHE_STORE", &redis.url()).flags(flags);
            setup.resolve("api.example.com", &upstream).start()
        };
        let (one, other) = tokio::join!(start(Attache::up(POLICY)), start(Attache::up(POLICY)));
        Pair { upstream, redis, attaches: [one, other] }
    }

    /// Waits until both of them have reached the server.
    async fn connected(&self) {
        for attache in &self.attaches {
            until("the store", async || {
                let answer = asked(attache, "/asked/probe").await;
                (answer.status == 403).then_some(())
            })
            .await;
        }
    }

    /// So many requests at once, every second one at the other attaché.
    async fn statuses(&self, count: usize, path: &str) -> Vec<u16> {
        let asks = (0..count).map(|number| {
            let (protocol, scheme) =
                if number % 4 < 2 { (Protocol::Http1, "http") } else { (Protocol::Http2, "https") };
            let ask = Ask::get(protocol, &format!("{scheme}://api.example.com{path}"));
            async move { ask.send(&self.attaches[number % 2]).await.status }
        });
        join_all(asks).await
    }

    fn reached(&self, path: &str) -> usize {
        self.upstream.requests().iter().filter(|seen| seen.path == path).count()
    }
}

async fn asked(attache: &Attache, path: &str) -> Answer {
    attache.curl([format!("https://api.example.com{path}")]).await
}

/// The question about this path, as this attaché shows it.
async fn question(attache: &Attache, path: &str) -> Approval {
    until(&format!("a question about {path}"), async || {
        let open = control::list_approvals(&attache.socket()).await.ok()?;
        open.into_iter().find(|a| a.path == path && a.state() == State::Pending)
    })
    .await
}

async fn approve(attache: &Attache, ticket: &str) {
    let answer = AnswerApprovalRequest {
        ticket: ticket.into(),
        verdict: Verdict::Approve.into(),
        by: "ann".into(),
        why: "fine".into(),
    };
    control::answer_approval(&attache.socket(), answer).await.unwrap();
}

fn count(statuses: &[u16], wanted: u16) -> usize {
    statuses.iter().filter(|status| **status == wanted).count()
}

#[tokio::test]
async fn two_together_admit_no_more_than_one_would() {
    let pair = Pair::new(&["--store-budget", PATIENT]).await;
    pair.connected().await;
    let statuses = pair.statuses(80, "/capped/x").await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (20, 60), "{statuses:?}");
    assert_eq!(pair.reached("/capped/x"), 20);
    // Neither has any left, whatever the other is told about the policy.
    pair.attaches[0].reload(&format!("{POLICY}blockedDomains: [other.example]\n")).await;
    for attache in &pair.attaches {
        let limited = asked(attache, "/capped/x").await;
        assert_eq!((limited.status, &limited.json()["rule"]), (429, &"rules[Cap]".into()), "{limited:?}");
        assert!(limited.header("retry-after").is_some());
    }
    // What needs no count asks for none.
    assert_eq!(asked(&pair.attaches[1], "/free").await.status, 200);
}

#[tokio::test]
async fn what_one_asks_the_other_may_answer() {
    let pair = Pair::new(&["--store-budget", PATIENT]).await;
    pair.connected().await;
    let [one, other] = &pair.attaches;
    for (here, there, protocol) in [(one, other, "--http1.1"), (other, one, "--http2")] {
        let path = format!("/held/{protocol}");
        let url = format!("https://api.example.com{path}");
        let (answer, ()) = tokio::join!(here.curl([protocol, "--data", "x", &url]), async {
            let question = question(there, &path).await;
            assert_eq!(pair.reached(&path), 0, "it has left before anybody agreed");
            approve(there, &question.ticket).await;
        });
        assert_eq!(answer.status, 200, "{answer:?}");
        let record = here.records().pop().unwrap();
        assert_eq!(record["approval"]["why"], "fine", "{record}");
        assert_eq!(pair.reached(&path), 1);
    }
    // An approval lets one request out, wherever those that want it come in.
    let ticket = |answer: &Answer| answer.json()["ticket"].as_str().unwrap_or_default().to_owned();
    let first = ticket(&asked(one, "/asked/once").await);
    assert_eq!(ticket(&asked(other, "/asked/once").await), first, "the same question");
    approve(one, &first).await;
    let statuses = pair.statuses(12, "/asked/once").await;
    // By whatever way it comes in, it is the same request.
    assert_eq!((count(&statuses, 200), count(&statuses, 403)), (1, 11), "{statuses:?}");
    assert_eq!(pair.reached("/asked/once"), 1);
}

/// Whether this attaché refuses what it would have to count, for want of the server.
async fn is_cut_off(attache: &Attache) -> Option<Answer> {
    let answer = asked(attache, "/capped/x").await;
    (answer.status == 503).then_some(answer)
}

#[tokio::test]
async fn without_its_server_what_is_limited_is_refused_and_nothing_else() {
    let mut pair = Pair::new(&["--store-budget", "2000", "--on-store-error", "deny"]).await;
    pair.connected().await;
    assert_eq!(asked(&pair.attaches[0], "/capped/x").await.status, 200);
    pair.redis.kill9().await;
    for attache in &pair.attaches {
        let refused = until("a refusal", async || is_cut_off(attache).await).await;
        let json = refused.json();
        assert_eq!((&json["reason"], &json["error"]), (&"store_unavailable".into(), &"unavailable".into()), "{json}");
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        let record = attache.records().into_iter().rfind(|record| record["reason"] == "store_unavailable").unwrap();
        assert_eq!(record["decision"], "error", "{record}");
        for protocol in PROTOCOLS {
            let get = |path: &str| Ask::get(protocol, &format!("https://api.example.com{path}")).send(attache);
            let free = get("/free").await;
            assert_eq!(free.status, 200, "{protocol:?}: {free:?}");
            for path in ["/capped/x", "/asked/x"] {
                let refused = get(path).await;
                assert_eq!((refused.status, &*refused.reason()), (503, "store_unavailable"), "{path}: {refused:?}");
            }
        }
    }
    let reached = pair.reached("/capped/x");
    assert_eq!(reached, 1, "nothing that should have been counted has left");

    // It comes back, with what it has counted, and both find it by themselves.
    pair.redis.start_again().await;
    for attache in &pair.attaches {
        until("the server again", async || (asked(attache, "/capped/x").await.status == 200).then_some(())).await;
    }
    let statuses = pair.statuses(40, "/capped/x").await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (17, 23), "{statuses:?}");
    assert_eq!(pair.reached("/capped/x"), 20, "over its death and back, never more than the limit");
}

/// The request waits for the server when the policy changes: it is decided on the newer one.
#[tokio::test]
async fn a_request_that_waits_for_the_server_is_decided_again() {
    let (upstream, redis) = (Upstream::https(["api.example.com"]).await, Redis::start().await);
    let gate = Gate::before(&redis).await;
    let attache = Attache::up(POLICY)
        .env("ATTACHE_STORE", &gate.url())
        .flags(["--store-budget", PATIENT])
        .resolve("api.example.com", &upstream)
        .start()
        .await;
    until("the store", async || (asked(&attache, "/capped/x").await.status == 200).then_some(())).await;
    let blocked = POLICY.replace("action: {rateLimit: {requests: 20, per: hour}}", "action: block");
    for (protocol, scheme) in [("--http1.1", "https"), ("--http2", "https"), ("--http1.1", "http")] {
        let before = upstream.requests().len();
        gate.close();
        let url = format!("{scheme}://api.example.com/capped/x");
        let (answer, ()) = tokio::join!(attache.curl([protocol, &url]), async {
            gate.wait_for("rules[Cap]").await;
            attache.reload(&blocked).await;
            gate.open();
        });
        assert_eq!((answer.status, &answer.json()["reason"]), (403, &Value::from("rule_blocked")), "{url}: {answer:?}");
        assert_eq!(upstream.requests().len(), before, "{url}");
        attache.reload(POLICY).await;
        assert_eq!(asked(&attache, "/capped/x").await.status, 200, "what was refused has cost nothing");
    }
}

/// A way to the server that can be closed: what is asked then is heard here, and goes on when it is opened.
struct Gate {
    address: std::net::SocketAddr,
    is_open: watch::Sender<bool>,
    held: watch::Receiver<Vec<u8>>,
    server: JoinSet<()>,
}

impl Gate {
    async fn before(redis: &Redis) -> Gate {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_open, opened) = watch::channel(true);
        let (holding, held) = watch::channel(Vec::new());
        let socket = redis.socket();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(redis) = UnixStream::connect(&socket).await else { continue };
                connections.spawn(pass(client, redis, opened.clone(), holding.clone()));
            }
        });
        Gate { address, is_open, held, server }
    }

    fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    fn close(&self) {
        self.is_open.send_replace(false);
    }

    fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// Waits until a call that names this is held.
    async fn wait_for(&self, text: &str) {
        let mut held = self.held.clone();
        let has = |bytes: &Vec<u8>| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        within(&format!("a call about `{text}`"), held.wait_for(has)).await.unwrap();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.server.abort_all();
    }
}

/// Calls wait where the gate is closed; answers never do.
async fn pass(
    client: TcpStream,
    redis: UnixStream,
    mut opened: watch::Receiver<bool>,
    holding: watch::Sender<Vec<u8>>,
) {
    let ((mut calls, mut answers), (mut from, mut to)) = (client.into_split(), redis.into_split());
    let forward = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = calls.read(&mut buffer).await {
            let is_open = *opened.borrow();
            if !is_open {
                holding.send_modify(|held| held.extend(&buffer[..count]));
                let _ = opened.wait_for(|is_open| *is_open).await;
                holding.send_modify(Vec::clear);
            }
            if to.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = forward => {}
        _ = tokio::io::copy(&mut from, &mut answers) => {}
    }
}
