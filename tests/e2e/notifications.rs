//! Webhooks arrive, signed, again and again until they are taken; and no verdict ever waits for one.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use ::attache::https::{Trust, Url};
use ::attache::journal::{self, Journal};
use ::attache::notify::{ApprovalDecided, ApprovalRequested, Channel, Event, Kind, Notifier, Outcome, Timing};
use ::attache::pipeline::approval::{About, Answered, Standing};
use ::attache::pipeline::audit::Record;
use ::attache::secrets::{Environment, Source};
use ::attache::sinks::{Pace, Room};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use crate::support::endpoint::{Endpoint, Received, reply};
use crate::support::{Ca, free_address, within};

const SECRET: &str = "a secret that nobody guesses";
const ALL: [Kind; 3] = [Kind::ApprovalRequested, Kind::ApprovalDecided, Kind::Blocked];
const ANY: [&str; 0] = [];

#[tokio::test]
async fn every_event_arrives_signed_and_in_its_documented_shape() {
    let hook = Endpoint::https(async |_| reply(204, "")).await;
    let mut desk = Desk::new(FAST);
    let encoded = format!("whsec_{}", STANDARD.encode(SECRET));
    desk.write("encoded", &encoded);
    let text = channel("text", &hook, Source::Variable("HOOK".into()));
    desk.notifier.replace(vec![text, channel("encoded", &hook, Source::File(desk.path("encoded")))]);

    desk.notifier.send(requested("T1"), &["text"]);
    let answered = Answered { by: "uid 1000".into(), why: Some("not today".into()) };
    desk.notifier.send(decided("T1", &Standing::Refused(answered)), &["encoded", "nobody"]);
    desk.notifier.send(decided("T2", &Standing::Expired), &["text"]);
    desk.record(&blocked("r1"));
    desk.outcomes(&[Outcome::Delivered; 5]).await;

    let received = hook.wait_for(5).await;
    received.iter().for_each(verify);
    let ids: std::collections::BTreeSet<_> = received.iter().map(|r| r.header("webhook-id").to_owned()).collect();
    assert_eq!(ids.len(), 4, "an id for each message, and one for each record: {ids:?}");
    assert!(received.iter().all(|r| r.header("content-type") == "application/json" && r.path == "/hook?key=hidden"));
    assert!(received.iter().all(|r| !String::from_utf8_lossy(&r.body).contains("hidden-value")));
    let data = |r#type: &str, ticket: &str| {
        let mut events = received.iter().map(Received::json);
        let found = events.find(|e| e["type"] == r#type && e["data"]["ticket"].as_str().unwrap_or_default() == ticket);
        let found = found.unwrap();
        let time: jiff::Timestamp = found["timestamp"].as_str().unwrap().parse().unwrap();
        assert!(SystemTime::from(time).elapsed().unwrap() < Duration::from_secs(60), "{found}");
        found["data"].clone()
    };
    let rules = ["rules[Refunds need a person]"];
    let expected = json!({
        "ticket": "T1", "agent": "researcher", "method": "POST", "scheme": "https", "host": "api.example.com",
        "port": 443, "path": "/v1/refunds", "query": "dry=***",
        "body": {"size": 12, "sha256": "ab".repeat(32), "contentType": "application/json"},
        "rules": rules, "expires": "1970-01-01T00:15:00.000000Z",
    });
    assert_eq!(data("approval.requested", "T1"), expected);
    let expected = json!({
        "ticket": "T1", "agent": "researcher", "method": "POST", "host": "api.example.com", "path": "/v1/refunds",
        "rules": rules, "decision": "refused", "by": "uid 1000", "why": "not today",
    });
    assert_eq!(data("approval.decided", "T1"), expected);
    assert_eq!(data("approval.decided", "T2")["decision"], "expired");
    let record = data("request.blocked", "");
    assert_eq!((&record["requestId"], &record["reason"]), (&json!("r1"), &json!("domain_not_allowed")));
    assert_eq!((&record["type"], record["seq"].as_u64()), (&json!("decision"), Some(1)), "as the journal has it");
}

#[tokio::test]
async fn what_is_not_taken_is_sent_again_as_the_same_message() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = attempts.clone();
    let hook = Endpoint::https(move |_| {
        let attempt = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            match attempt {
                0 => reply(500, "x".repeat(100_000)),
                1 => {
                    let mut busy = reply(429, "");
                    busy.headers_mut().insert("retry-after", "1".parse().unwrap());
                    busy
                }
                2 => reply(408, ""),
                _ => reply(200, "x".repeat(100_000)),
            }
        }
    });
    let hook = hook.await;
    let mut desk = Desk::new(FAST);
    desk.notifier.replace(vec![channel("ops", &hook, Source::Variable("HOOK".into()))]);
    let started = Instant::now();
    desk.notifier.send(requested("T1"), &ANY);
    desk.outcomes(&[Outcome::Delivered]).await;
    assert!(started.elapsed() >= Duration::from_secs(1), "`Retry-After` has to be waited for");
    let received = hook.requests();
    assert_eq!(received.len(), 4);
    received.iter().for_each(verify);
    assert!(received.iter().all(|r| r.header("webhook-id") == received[0].header("webhook-id")));
    assert!(received.iter().all(|r| r.body == received[0].body));
}

#[tokio::test]
async fn a_hook_that_is_down_gets_everything_when_it_is_back() {
    let address = free_address();
    let mut desk = Desk::new(FAST);
    desk.notifier.replace(vec![channel_at("ops", address, Source::Variable("HOOK".into()))]);
    for n in 0..3 {
        desk.record(&blocked(&format!("r{n}")));
        desk.notifier.send(requested(&format!("T{n}")), &ANY);
    }
    desk.said("no connection to").await;
    let hook = Endpoint::start(address, true, async |_| reply(200, "")).await;
    desk.outcomes(&[Outcome::Delivered; 6]).await;
    hook.requests().iter().for_each(verify);
}

#[tokio::test]
async fn a_no_is_an_answer_and_a_redirect_is_not_followed() {
    let other = Endpoint::https(async |_| reply(200, "")).await;
    for status in [301, 307, 400, 401, 404, 410] {
        let location = other.url();
        let hook = Endpoint::https(move |_| {
            let mut no = reply(status, "");
            no.headers_mut().insert("location", location.parse().unwrap());
            async { no }
        });
        let hook = hook.await;
        let mut desk = Desk::new(FAST);
        desk.notifier.replace(vec![channel("ops", &hook, Source::Variable("HOOK".into()))]);
        desk.notifier.send(requested("T1"), &ANY);
        desk.outcomes(&[Outcome::Failed]).await;
        assert_eq!(hook.requests().len(), 1, "{status}");
        desk.said("a notification was given up").await;
    }
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn what_is_never_taken_is_given_up_loudly_and_no_secret_is_said() {
    let hook = Endpoint::https(async |_| reply(503, "")).await;
    let mut desk = Desk::new(Timing { give_up: Duration::from_millis(500), ..FAST });
    desk.notifier.replace(vec![channel("ops", &hook, Source::Variable("HOOK".into()))]);
    desk.notifier.send(requested("T1"), &ANY);
    desk.outcomes(&[Outcome::Failed]).await;
    assert!(hook.requests().len() > 1);
    let said = desk.said("a notification was given up").await;
    assert!(said.contains("503") && said.contains("channel=\"ops\""), "{said}");
    for hidden in [SECRET, "hidden", "/hook"] {
        assert!(!said.contains(hidden), "{hidden} is in the log: {said}");
    }
}

#[tokio::test]
async fn a_slow_hook_loses_nothing_and_no_approval_stands_behind_a_refusal() {
    let (open, gate) = watch::channel(false);
    // Without TLS: thousands of handshakes would show nothing more.
    let hook = Endpoint::start(([127, 0, 0, 1], 0).into(), false, move |received: Received| {
        let mut gate = gate.clone();
        async move {
            if received.json()["type"] == "request.blocked" {
                gate.wait_for(|open| *open).await.unwrap();
            }
            reply(200, "")
        }
    });
    let hook = hook.await;
    let mut desk = Desk::new(Timing { attempt: Duration::from_secs(60), ..FAST });
    desk.notifier.replace(vec![channel("ops", &hook, Source::Variable("HOOK".into()))]);
    (0..3_000).for_each(|n| desk.record(&blocked(&format!("r{n}"))));
    hook.wait_for(1).await;
    for n in 0..20 {
        desk.notifier.send(requested(&format!("T{n}")), &ANY);
        desk.record(&refused(&format!("T{n}"), &[]));
    }
    desk.outcomes(&[Outcome::Delivered; 40]).await;
    let blocked = |received: &Received| received.json()["type"] == "request.blocked";
    assert_eq!(hook.requests().iter().filter(|r| blocked(r)).count(), 1, "one at a time");

    open.send_replace(true);
    desk.outcomes(&[Outcome::Delivered; 3_000]).await;
    let names: Vec<_> = hook.requests().iter().filter(|r| blocked(r)).map(name).collect();
    assert_eq!(names, (0..3_000).map(|n| format!("r{n}")).collect::<Vec<_>>(), "each once, in the order they came");
}

#[tokio::test]
async fn what_a_dead_hook_missed_arrives_over_a_restart_under_the_same_ids() {
    let address = free_address();
    let desk = Desk::new(FAST);
    let at = |address| channel_at("ops", address, Source::Variable("HOOK".into()));
    desk.notifier.replace(vec![at(address)]);
    desk.record(&blocked("r0"));
    desk.record(&refused("T0", &["ops", "others"]));
    desk.record(&refused("T1", &["others"]));
    let mut desk = desk.restart();
    desk.record(&blocked("r1"));
    desk.notifier.replace(vec![at(address)]);
    desk.record(&blocked("r2"));
    let hook = Endpoint::start(address, true, async |_| reply(200, "")).await;
    desk.outcomes(&[Outcome::Delivered; 4]).await;
    let received = hook.requests();
    received.iter().for_each(verify);
    let mut names: Vec<_> = received.iter().map(name).collect();
    names.sort();
    assert_eq!(names, ["T0", "r0", "r1", "r2"], "what rules tell others of is not for this channel");

    // As if what was delivered had not been kept: the same messages again, by their ids.
    let ids = |received: &[Received]| -> std::collections::BTreeSet<String> {
        received.iter().map(|r| r.header("webhook-id").to_owned()).collect()
    };
    let cursors = desk.journal.folder().join("cursors");
    let mut desk = desk.restart();
    for file in ["webhook-ops.json", "approvals-ops.json"] {
        std::fs::write(cursors.join(file), "{\"segment\":0,\"offset\":0}").unwrap();
    }
    desk.notifier.replace(vec![at(address)]);
    desk.outcomes(&[Outcome::Delivered; 4]).await;
    assert_eq!(ids(&hook.requests()[4..]), ids(&received));

    // Who is gone is forgotten, and begins anew.
    desk.notifier.replace(Vec::new());
    assert_eq!(std::fs::read_dir(&cursors).unwrap().count(), 0);
    desk.record(&blocked("r3"));
    desk.notifier.replace(vec![at(address)]);
    desk.record(&blocked("r4"));
    desk.outcomes(&[Outcome::Delivered]).await;
    assert_eq!(name(hook.requests().last().unwrap()), "r4");
}

#[tokio::test]
async fn what_is_found_in_a_body_is_told_with_its_request() {
    let hook = Endpoint::https(async |_| reply(204, "")).await;
    let mut desk = Desk::new(FAST);
    let events = vec![Kind::Blocked, Kind::Findings, Kind::Checkpoint, Kind::Unreconciled];
    let only = Channel { events, ..channel("ops", &hook, Source::Variable("HOOK".into())) };
    desk.notifier.replace(vec![only]);
    let finding = json!({
        "rule": "aws", "category": "secret", "confidence": "high", "action": "block", "location": "body.$.a",
        "fingerprint": "ab",
    });
    let allowed = json!({
        "type": "decision", "requestId": "r1", "time": "2026-01-01T00:00:00.000000Z", "agent": "researcher",
        "method": "POST", "scheme": "https", "host": "api.example.com", "port": 443, "path": "/", "decision": "allow",
        "reason": null, "rule": null, "policyRevision": "abc", "decisionMicros": 7,
    });
    let found = json!({
        "type": "inspection", "requestId": "r1", "time": "2026-01-01T00:00:01.000000Z", "direction": "request",
        "action": "blocked", "reason": "dlp_blocked", "findings": [finding], "bytes": 10,
    });
    let mut unreconciled = allowed.clone();
    unreconciled["decision"] = "error".into();
    unreconciled["reason"] = "unreconciled".into();
    for record in [allowed, found, unreconciled] {
        desk.record(&serde_json::from_value(record).unwrap());
    }
    desk.journal.checkpoint(false).unwrap();
    desk.outcomes(&[Outcome::Delivered; 4]).await;
    let told: Vec<Value> = hook.requests().iter().map(Received::json).collect();
    let types: Vec<_> = told.iter().map(|told| told["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["request.blocked", "message.findings", "request.unreconciled", "journal.checkpoint"]);
    for told in &told[..2] {
        let data = &told["data"];
        assert_eq!((&data["host"], &data["agent"]), (&json!("api.example.com"), &json!("researcher")));
        assert_eq!((&data["decision"], &data["findings"]), (&json!("deny"), &json!([finding])));
        assert_eq!((&data["type"], &data["seq"]), (&json!("inspection"), &json!(2)));
    }
    let checkpoint: ::attache::journal::checkpoint::Checkpoint =
        serde_json::from_value(told[3]["data"].clone()).unwrap();
    assert_eq!(checkpoint.verify(), Ok(()));
}

#[tokio::test]
async fn a_reload_takes_what_waits_along() {
    let down = free_address();
    let (first, second) =
        (Endpoint::https(async |_| reply(200, "")).await, Endpoint::https(async |_| reply(200, "")).await);
    let mut desk = Desk::new(FAST);
    let secret = || Source::Variable("HOOK".into());
    let quiet = Channel { events: vec![Kind::ApprovalDecided], ..channel("quiet", &first, secret()) };
    desk.notifier.replace(vec![channel_at("moved", down, secret()), channel_at("gone", down, secret()), quiet]);
    desk.notifier.send(requested("T1"), &ANY);
    desk.notifier.send(requested("T2"), &["quiet"]);
    desk.said("no connection to").await;

    let events = vec![Kind::ApprovalRequested];
    desk.notifier.replace(vec![Channel { events, ..channel("moved", &second, secret()) }]);
    let mut seen = [desk.outcome().await, desk.outcome().await];
    seen.sort();
    assert_eq!(seen, [("gone".to_owned(), "dropped"), ("moved".to_owned(), "delivered")]);
    assert_eq!(second.requests().iter().map(name).collect::<Vec<_>>(), ["T1"]);
    assert!(first.requests().is_empty(), "it is not told of that");
}

#[tokio::test]
async fn nothing_goes_out_unsigned_and_a_new_secret_signs_the_next() {
    let hook = Endpoint::https(async |_| reply(200, "")).await;
    let mut desk = Desk::new(FAST);
    desk.notifier.replace(vec![channel("ops", &hook, Source::File(desk.path("secret")))]);
    for (wrong, said) in [(None, "cannot be read"), (Some("\n"), "is empty"), (Some("whsec_!"), "is not base64")] {
        if let Some(wrong) = wrong {
            desk.write("secret", wrong);
        }
        desk.notifier.send(requested("T1"), &ANY);
        desk.said(said).await;
    }
    assert!(hook.requests().is_empty());
    desk.write("secret", SECRET);
    desk.outcomes(&[Outcome::Delivered; 3]).await;
    hook.requests().iter().for_each(verify);
}

#[tokio::test]
async fn a_hook_of_another_authority_or_name_gets_nothing() {
    let hook = Endpoint::https(async |_| reply(200, "")).await;
    let port = hook.address().port();
    let mut desk = Desk::new(Timing { give_up: Duration::from_millis(300), ..FAST });
    desk.write("ca.pem", Ca::new("somebody else").pem());
    desk.notifier.replace(vec![channel("ops", &hook, Source::Variable("HOOK".into()))]);
    desk.notifier.send(requested("T1"), &ANY);
    desk.outcomes(&[Outcome::Failed]).await;
    desk.said("no TLS with `127.0.0.1:").await;

    let mut desk = Desk::new(Timing { give_up: Duration::from_millis(300), ..FAST });
    let url = Url::parse(&format!("https://localhost:{port}/")).unwrap();
    let named = Channel { url, ..channel("ops", &hook, Source::Variable("HOOK".into())) };
    desk.notifier.replace(vec![named]);
    desk.notifier.send(requested("T1"), &ANY);
    desk.outcomes(&[Outcome::Failed]).await;
    desk.said("no TLS with `localhost:").await;
    assert!(hook.requests().is_empty());
}

#[tokio::test]
async fn the_end_waits_for_what_is_under_way_and_not_for_ever() {
    let hook = Endpoint::https(async |_| reply(200, "")).await;
    let mut desk = Desk::new(FAST);
    let gone = channel_at("gone", free_address(), Source::Variable("HOOK".into()));
    desk.notifier.replace(vec![channel("ops", &hook, Source::Variable("HOOK".into()))]);
    (0..10).for_each(|n| desk.notifier.send(requested(&format!("T{n}")), &ANY));
    (0..10).for_each(|n| desk.record(&blocked(&format!("r{n}"))));
    desk.room.close();
    within("the end", desk.notifier.drain(Duration::from_secs(20))).await;
    assert_eq!(hook.requests().len(), 20);
    desk.outcomes(&[Outcome::Delivered; 20]).await;
    desk.notifier.replace(vec![gone]);
    desk.notifier.send(requested("T"), &ANY);
    within("the end", desk.notifier.drain(Duration::from_millis(100))).await;
    desk.said("could be delivered before the end").await;
}

const FAST: Timing = Timing {
    attempt: Duration::from_secs(5),
    first_pause: Duration::from_millis(20),
    longest_pause: Duration::from_millis(100),
    give_up: Duration::from_secs(60),
};

/// A notifier, what became of its events, and what it has said.
struct Desk {
    notifier: Notifier,
    room: Room,
    journal: Arc<Journal>,
    outcomes: mpsc::UnboundedReceiver<(String, Outcome)>,
    files: TempDir,
    log: Log,
    _subscriber: tracing::subscriber::DefaultGuard,
}

impl Desk {
    fn new(timing: Timing) -> Desk {
        Desk::open(timing, tempfile::tempdir().unwrap())
    }

    /// As if the process had died and another one had come, which knows of no channel yet.
    fn restart(self) -> Desk {
        let Desk { notifier, room, journal, files, .. } = self;
        drop((notifier, room));
        drop(journal);
        Desk::open(FAST, files)
    }

    fn open(timing: Timing, files: TempDir) -> Desk {
        std::fs::write(files.path().join("ca.pem"), Ca::shared().pem()).unwrap();
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone());
        let environment = Environment::from_iter([("HOOK".to_owned(), SECRET.as_bytes().to_vec())]);
        let (sender, outcomes) = mpsc::unbounded_channel();
        let observe = Arc::new(move |channel: &str, outcome| {
            // A test that has ended does not count any more.
            let _ = sender.send((channel.to_owned(), outcome));
        });
        let trust = Trust::File(files.path().join("ca.pem"));
        // A room that is gone lets its journal go on its own thread.
        let since = Instant::now();
        let journal = loop {
            match Journal::open(&files.path().join("journal"), journal::Options::default()) {
                Ok(journal) => break Arc::new(journal),
                Err(error) => assert!(since.elapsed() < Duration::from_secs(20), "{error}"),
            }
            std::thread::yield_now();
        };
        let pace = Pace {
            glance: Duration::from_millis(5),
            first_pause: timing.first_pause,
            longest_pause: timing.longest_pause,
        };
        let room = Room::new(journal.clone(), pace).unwrap();
        let notifier = Notifier::new(trust, Arc::new(environment), timing, observe, room.clone());
        // The runtime of a test is the test's own thread.
        Desk {
            notifier,
            room,
            journal,
            outcomes,
            files,
            log,
            _subscriber: tracing::subscriber::set_default(subscriber.finish()),
        }
    }

    fn record(&self, record: &Record) {
        self.journal.append(record).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    async fn outcome(&mut self) -> (String, &'static str) {
        let (channel, outcome) = within("an outcome", self.outcomes.recv()).await.unwrap();
        (channel, outcome.as_str())
    }

    /// The next outcomes, which must be these, of whatever channel.
    async fn outcomes(&mut self, expected: &[Outcome]) {
        for outcome in expected {
            assert_eq!(self.outcome().await.1, outcome.as_str(), "{}", self.log.text());
        }
    }

    /// The log, once it has this text.
    async fn said(&self, text: &str) -> String {
        let what = format!("`{text}` in the log");
        crate::support::until(&what, async || Some(self.log.text()).filter(|log| log.contains(text))).await
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn channel(name: &str, hook: &Endpoint, secret: Source) -> Channel {
    let url = Url::parse(&format!("{}/hook?key=hidden", hook.url())).unwrap();
    Channel { url, ..channel_at(name, hook.address(), secret) }
}

fn channel_at(name: &str, address: SocketAddr, secret: Source) -> Channel {
    let url = Url::parse(&format!("https://{address}/hook?key=hidden")).unwrap();
    Channel { name: name.into(), url, secret, events: ALL.to_vec() }
}

fn requested(ticket: &str) -> Event {
    let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(900);
    Event::ApprovalRequested(Box::new(ApprovalRequested::new(&ticket.into(), &about(), expires)))
}

fn decided(ticket: &str, standing: &Standing) -> Event {
    Event::ApprovalDecided(Box::new(ApprovalDecided::new(&ticket.into(), &about(), standing).unwrap()))
}

fn about() -> About {
    About {
        agent: "researcher".into(),
        rules: vec!["rules[Refunds need a person]".into()],
        method: "POST".into(),
        scheme: "https",
        host: "api.example.com".into(),
        port: 443,
        path: "/v1/refunds".into(),
        query: Some("dry=hidden-value".into()),
        content_type: Some("application/json".into()),
        fields: Vec::new(),
        body_bytes: 12,
        body_sha256: [0xab; 32],
        body_preview: (*b"hidden-value").into(),
    }
}

fn blocked(request_id: &str) -> Record {
    let record = json!({
        "type": "decision", "requestId": request_id, "time": jiff::Timestamp::now().to_string(), "agent": "researcher",
        "method": "GET", "scheme": "https", "host": "evil.example", "port": 443, "path": "/", "decision": "deny",
        "reason": "domain_not_allowed", "rule": null, "policyRevision": "abc", "status": 403, "decisionMicros": 7,
    });
    serde_json::from_value(record).unwrap()
}

/// That a person said no, which the rules tell these channels.
fn refused(ticket: &str, notify: &[&str]) -> Record {
    let record = json!({
        "type": "approval", "ticket": ticket, "time": jiff::Timestamp::now().to_string(), "event": "refused",
        "agent": "researcher", "method": "POST", "scheme": "https", "host": "api.example.com", "port": 443,
        "path": "/v1/refunds", "bodySha256": "ab", "rules": ["r"], "by": "ann", "notify": notify,
    });
    serde_json::from_value(record).unwrap()
}

/// The ticket or request id that a message is about.
fn name(received: &Received) -> String {
    let data = received.json()["data"].take();
    let found = [&data["ticket"], &data["requestId"]].into_iter().find_map(Value::as_str);
    found.unwrap().to_owned()
}

/// Checks a signature by HMAC-SHA256 as RFC 2104 defines it.
fn verify(received: &Received) {
    let (id, time) = (received.header("webhook-id"), received.header("webhook-timestamp"));
    let age = SystemTime::UNIX_EPOCH + Duration::from_secs(time.parse().unwrap());
    assert!(age.elapsed().unwrap() < Duration::from_secs(60), "{time}");
    let block = |pad: u8| -> Vec<u8> {
        let key = SECRET.as_bytes().iter().copied().chain(std::iter::repeat(0)).take(64);
        key.map(|byte| byte ^ pad).collect()
    };
    let inner =
        Sha256::new().chain_update(block(0x36)).chain_update(format!("{id}.{time}.")).chain_update(&received.body);
    let outer = Sha256::new().chain_update(block(0x5c)).chain_update(inner.finalize());
    let expected = format!("v1,{}", STANDARD.encode(outer.finalize()));
    assert_eq!(received.header("webhook-signature"), expected);
}
