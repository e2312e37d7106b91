//! The record is complete: what Envoy did stands in it, whatever was down meanwhile, and what Envoy did on its own is an
//! alarm.

use std::net::SocketAddr;
use std::path::PathBuf;

use ::attache::envoy::bootstrap::Bootstrap;
use ::attache::journal::reader::Reader;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::endpoint::{Endpoint, reply};
use crate::support::process::{self, Running};
use crate::support::{Answer, Attache, Ca, Envoy, Upstream, attache, curl, free_address, tunnel, until};

const POLICY: &str = "allowedDomains: [api.example.com]";

#[tokio::test]
async fn a_request_that_passes_by_the_service_raises_the_alarm() {
    let hook = Endpoint::start(SocketAddr::from(([127, 0, 0, 1], 0)), false, async |_| reply(204, "")).await;
    let policy = format!(
        "{POLICY}
notifications:
  ops:
    webhook: {{url: '{}/hook', plaintext: true, secret: {{env: HOOK}}}}
    events: [unreconciled]",
        hook.url()
    );
    type Change = fn(&mut Value);
    let by_the_stream: Change = |_| {};
    let by_the_file: Change = |manager| drop(list(manager, "access_log").remove(0));
    // Somebody else says what only attaché may.
    let with_a_forged_verdict: Change = |manager| {
        let said = json!({"metadata_namespace": "attache", "value": {"decision": "allow", "id": "forged"}});
        let filter = json!({"name": "forge", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config", "metadata": [said]}});
        list(manager, "http_filters").insert(0, filter);
    };
    for (number, (case, change)) in (1..).zip([
        ("by the stream", by_the_stream),
        ("by the file", by_the_file),
        ("with a forged verdict", with_a_forged_verdict),
    ]) {
        let upstream = Upstream::http().await;
        let place = Place::new(&policy, "127.0.0.1:9");
        let service = place.serve().await;
        let target = upstream.address().to_string();
        let _envoy = place
            .envoy(|document| {
                bypass(document, &target);
                let manager = &mut document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
                change(&mut manager["typed_config"]);
            })
            .await;
        // What is decided is none, before and after.
        assert_eq!(place.get("/decided").await.status, 403, "{case}");
        assert_eq!(place.get("/bypass?key=hunter2").await.status, 200, "{case}");
        assert_eq!(upstream.requests().len(), 1, "{case}");

        let record = until("the alarm on record", async || {
            place.records().into_iter().find(|record| record["standing"] == "unreconciled")
        })
        .await;
        assert_eq!((&record["reason"], &record["decision"]), (&"unreconciled".into(), &"error".into()), "{record}");
        assert_eq!((&record["status"], &record["upstream"]), (&200.into(), &target.clone().into()), "{case}: {record}");
        assert!(record["source"].as_str().unwrap().starts_with("127.0.0.1:"), "{case}: {record}");
        until("the alarm in the log", async || service.stderr().contains("policy is bypassed").then_some(())).await;
        let told = hook.wait_for(number).await;
        let told = told.last().unwrap().json();
        assert_eq!(told["type"], "request.unreconciled", "{case}: {told}");
        assert_eq!(told["data"]["requestId"], record["requestId"], "{case}: {told}");
        let count = "attache_unreconciled_exchanges_total";
        assert_eq!(place.metric(count).await, 1.0, "{case}");

        // Once for each request, though both logs have it, and though it is read again from the start.
        place.end(service).await;
        std::fs::remove_file(place.path("envoy-access.cursor")).unwrap();
        let before = place.records().len();
        let service = place.serve().await;
        place.read_to_its_end().await;
        place.end(service).await;
        assert_eq!(place.records().len(), before, "{case}: {:?}", place.records());
        assert_eq!(hook.requests().len(), number, "{case}");
        let all = place.journal() + &std::fs::read_to_string(place.path("envoy-access.jsonl")).unwrap();
        assert!(!all.contains("hunter2"), "{case}: {all}");
    }
}

#[tokio::test]
async fn what_was_reported_while_nobody_listened_is_filled_in() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let place = Place::new(POLICY, &upstream.address().to_string());
    let service = place.serve().await;
    let _envoy = place.envoy(|_| {}).await;
    let proxy = format!("http://{}", place.listener);
    let slow = tokio::spawn(async move { curl(["--proxy", &proxy, "http://api.example.com/delay/1500"]).await });
    upstream.wait_for(1).await;
    // Killed: nothing is put in order.
    assert!(process::signal(service.pid(), Signal::KILL));
    assert_eq!(slow.await.unwrap().status, 200);
    let path = "/delay/1500";
    assert!(place.record(path).unwrap()["duration"].is_null(), "nobody could say it yet");
    // And one that Envoy refuses itself, which is no alarm.
    let mut stream = TcpStream::connect(place.listener).await.unwrap();
    let head = b"GET http://api.example.com/x HTTP/1.1\r\nHost: api.example.com\r\nx_y: 1\r\n\r\n";
    assert!(tunnel::raw(&mut stream, head).await.starts_with("HTTP/1.1 400"));
    until("the file", async || (place.file().matches("\"code\":400").count() == 1).then_some(())).await;

    let service = place.serve().await;
    let record = until("the outcome", async || place.record(path).filter(|record| record["status"] == 200)).await;
    assert_eq!((&record["standing"], &record["flags"]), (&"allowed".into(), &"".into()), "{record}");
    assert!(record["duration"].as_f64().unwrap() >= 1500.0, "{record}");
    assert_eq!(record["upstream"], upstream.address().to_string());
    let refused =
        until("what Envoy refused", async || place.records().into_iter().find(|record| record["status"] == 400)).await;
    assert_eq!((&refused["reason"], &refused["standing"]), (&"malformed_request".into(), &"blocked".into()));
    assert_eq!(place.metric("attache_unreconciled_exchanges_total").await, 0.0);
    assert_eq!(place.metric("attache_undecided_requests_total{reason=\"malformed_request\"").await, 1.0);
    place.end(service).await;
    let outcomes = place.journal().lines().filter(|line| line.contains("\"type\":\"outcome\"")).count();
    assert_eq!(outcomes, place.records().len(), "each once: {}", place.journal());
}

#[tokio::test]
async fn what_a_killed_envoy_had_is_unknown() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let metrics = free_address();
    let setup = Attache::up(POLICY).resolve("api.example.com", &upstream);
    let attache = setup.flags(["--metrics", &metrics.to_string()]).start().await;
    assert_eq!(attache.curl(["https://api.example.com/before"]).await.status, 200);
    let url = "https://api.example.com/hang";
    let envoy = attache.envoy().await;
    let (_, ()) = tokio::join!(attache.curl([url]), async {
        upstream.wait_until("both", |seen| seen.len() == 2).await;
        assert!(process::signal(envoy, Signal::KILL));
    });
    let record = attache
        .wait_record("the end of what Envoy had", |record| record["path"] == "/hang" && record["standing"] == "unknown")
        .await;
    assert_eq!((&record["decision"], &record["status"]), (&"allow".into(), &Value::Null), "{record}");
    let before = attache.wait_record("the one before", |record| record["path"] == "/before").await;
    assert_eq!(before["standing"], "allowed", "{before}");
    let shown = attache.logs(&["--status", "unknown"]).await;
    assert_eq!(shown.len(), 1, "{shown:?}");
    let table = attache.command("logs", &[]).await;
    assert!(table.stdout.contains(" unknown "), "{}", table.stdout);
    let exposition = curl([&format!("http://{metrics}/metrics")]).await.text();
    assert_eq!(value(&exposition, "attache_outcomes_unknown_total"), 1.0);
    assert_eq!(value(&exposition, "attache_open_exchanges"), 0.0);
}

#[tokio::test]
async fn what_both_had_when_they_were_killed_is_unknown_after_the_next_start() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let state = tempfile::tempdir().unwrap();
    let setup = || Attache::up(POLICY).resolve("api.example.com", &upstream).state_dir(state.path());
    let attache = setup().start().await;
    assert_eq!(attache.curl(["https://api.example.com/before"]).await.status, 200);
    // By now it is kept which Envoy this is.
    until("the cursor", async || state.path().join("envoy-access.cursor").exists().then_some(())).await;
    let (envoy, service) = (attache.envoy().await, attache.service().await);
    let (_, ()) = tokio::join!(attache.curl(["https://api.example.com/hang"]), async {
        upstream.wait_until("both", |seen| seen.len() == 2).await;
        for pid in [service, envoy] {
            assert!(process::signal(pid, Signal::KILL));
        }
    });
    drop(attache);
    let attache = setup().start().await;
    let unknown = |record: &Value| record["path"] == "/hang" && record["standing"] == "unknown";
    attache.wait_record("the end of what both had", unknown).await;
    let before = attache.wait_record("the one before", |record| record["path"] == "/before").await;
    assert_eq!(before["standing"], "allowed", "{before}");
}

#[tokio::test]
async fn an_exchange_may_outlast_the_service_that_let_it_go() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(POLICY).resolve("api.example.com", &upstream).start().await;
    // Longer than it takes until what a gone Envoy had is given up.
    let (answer, ()) = tokio::join!(attache.curl(["https://api.example.com/delay/14000"]), async {
        upstream.wait_for(1).await;
        let killed = attache.kill9_service().await;
        attache.wait_restart(killed).await;
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    let path = "/delay/14000";
    attache.wait_record("its outcome", |record| record["path"] == path && record["status"] == 200).await;
    assert!(!attache.journal().contains("\"known\":false"), "{}", attache.journal());
}

#[tokio::test]
async fn a_handshake_that_fails_is_on_record() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let policy = "
agents:
  ann: {identity: [{header: {name: X-Agent, value: ann, trusted: true}}], allowedDomains: [api.example.com]}
  bob: {identity: [{header: {name: X-Agent, value: bob, trusted: true}}], allowedDomains: [api.example.com]}";
    let attache = Attache::up(policy).resolve("api.example.com", &upstream).start().await;
    let proxy = format!("http://{}", attache.proxy());
    for agent in ["ann", "bob"] {
        let shown = format!("X-Agent: {agent}");
        let failed = curl(["--proxy", &proxy, "--proxy-header", &shown, "https://api.example.com/"]).await;
        assert_eq!(failed.status, 0, "{failed:?}");
        let wanted = |record: &Value| record["method"] == "TLS" && record["agent"] == agent;
        let record = attache.wait_record("a failed handshake", wanted).await;
        assert_eq!((&record["host"], &record["port"]), (&"api.example.com".into(), &443.into()), "{record}");
        assert_eq!(
            (&record["reason"], &record["standing"]),
            (&"handshake_failed".into(), &"blocked".into()),
            "{record}"
        );
        assert!(record["detail"].as_str().unwrap().starts_with("ca_not_trusted: "), "{record}");
        assert!(record["source"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
    }
    // A name that is refused has its own record, and no second one.
    let stream = tunnel::connect(attache.proxy(), "api.example.com:443", &[("X-Agent", "ann")]).await.unwrap();
    assert!(tunnel::tls(stream, Some("other.example"), &attache.ca_pem(), &[]).await.is_err());
    // Nor has a connection that ended badly after its handshake one of a handshake.
    let stream = tunnel::connect(attache.proxy(), "api.example.com:443", &[("X-Agent", "ann")]).await.unwrap();
    let mut stream = tunnel::tls(stream, Some("api.example.com"), &attache.ca_pem(), &["http/1.1"]).await.unwrap();
    let head = b"GET /late HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
    assert!(tunnel::raw(&mut stream, head).await.starts_with("HTTP/1.1 200"));
    stream.get_ref().0.set_zero_linger().unwrap();
    drop(stream);
    // A later failure is reported later.
    curl(["--proxy", &proxy, "--proxy-header", "X-Agent: bob", "https://api.example.com/"]).await;
    let failures = |agent: &str| {
        let failed = |record: &Value| record["reason"] == "handshake_failed" && record["agent"] == agent;
        attache.records().iter().filter(|record| failed(record)).count()
    };
    until("the last", async || (failures("bob") == 2).then_some(())).await;
    assert_eq!(failures("ann"), 1, "{:?}", attache.records());
    let refused = attache.records_of("other.example");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0]["reason"], "certificate_refused");
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn what_envoy_has_no_memory_for_is_told_to_come_again_and_is_on_record() {
    for by_the_file in [false, true] {
        let place = Place::new(POLICY, "127.0.0.1:9");
        let service = place.serve().await;
        let _envoy = place
            .envoy(|document| {
                let actions = document["overload_manager"]["actions"].as_array_mut().unwrap();
                let stops = |action: &&mut Value| action["name"] == "envoy.overload_actions.stop_accepting_requests";
                let action = actions.iter_mut().find(stops).unwrap();
                action["triggers"][0]["threshold"]["value"] = json!(0.000_001);
                if by_the_file {
                    let manager = &mut document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
                    list(&mut manager["typed_config"], "access_log").remove(0);
                }
            })
            .await;
        until("Envoy to see that", async || place.get("/full").await.text().contains("overloaded").then_some(())).await;
        let proxy = format!("http://{}", place.listener);
        // An id of the agent's own is no id.
        let answer = curl(["--proxy", &proxy, "-H", "X-Request-Id: mine", "http://api.example.com/"]).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
        let said = answer.json();
        assert_eq!((&said["error"], &said["reason"]), (&json!("unavailable"), &json!("overloaded")), "{said}");
        let id = said["requestId"].as_str().unwrap();
        assert!(id.starts_with("envoy-"), "{id}");
        let record = until("its record", async || place.records().into_iter().find(|record| record["requestId"] == id));
        let record = record.await;
        assert_eq!((&record["decision"], &record["reason"]), (&json!("error"), &json!("overloaded")), "{record}");
        assert_eq!((&record["status"], &record["detail"]), (&json!(503), &json!("overload")), "{record}");
        assert!(place.records().iter().all(|record| record["requestId"] != "mine"), "{}", place.journal());
        place.end(service).await;
    }
}

/// `attache serve` and an Envoy of its own, whose bootstrap a test may change.
struct Place {
    directory: TempDir,
    listener: SocketAddr,
    metrics: SocketAddr,
    upstream: String,
}

impl Place {
    /// With this policy, under which `api.example.com` is at `upstream`.
    fn new(policy: &str, upstream: &str) -> Place {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("policy.yaml"), policy).unwrap();
        std::fs::write(directory.path().join("upstream-ca.pem"), Ca::shared().pem()).unwrap();
        Place { directory, listener: free_address(), metrics: free_address(), upstream: upstream.to_owned() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn serve(&self) -> Running {
        let mut command = attache::attache(self.directory.path());
        command.arg("serve").arg("--policy").arg(self.path("policy.yaml"));
        command.arg("--state-dir").arg(self.directory.path());
        command.args(["--metrics", &self.metrics.to_string()]);
        command.args(["--resolve", &format!("api.example.com:443:{}", self.upstream)]);
        command.env("HOOK", "a secret that nobody guesses");
        let mut service = Running::start("attache serve", command);
        service.line().await;
        service
    }

    async fn end(&self, mut service: Running) {
        assert!(service.stop().await.success());
    }

    async fn envoy(&self, change: impl FnOnce(&mut Value)) -> Envoy {
        let bootstrap = Bootstrap {
            listen: self.listener,
            service_socket: self.path("service.sock"),
            admin_socket: self.path("admin.sock"),
            access_log: self.path("envoy-access.jsonl"),
            upstream_ca: self.path("upstream-ca.pem"),
            ..Bootstrap::default()
        };
        let mut document = serde_yaml::from_str(&bootstrap.render().unwrap()).unwrap();
        change(&mut document);
        let envoy = Envoy::start(&document.to_string(), self.listener).await;
        until("Envoy to have found its service", async || {
            let answer = self.get("/ready").await;
            (!answer.text().contains("no_verdict") && [200, 403, 503].contains(&answer.status)).then_some(())
        })
        .await;
        envoy
    }

    /// A request to the proxy itself, for a host that policy does not list.
    async fn get(&self, path: &str) -> Answer {
        curl(["--proxy", &format!("http://{}", self.listener), &format!("http://other.example{path}")]).await
    }

    fn records(&self) -> Vec<Value> {
        let mut reader = Reader::open(&self.path("journal")).unwrap();
        let exchanges = reader.poll(true, std::time::Instant::now()).unwrap();
        exchanges.iter().map(|exchange| serde_json::to_value(exchange).unwrap()).collect()
    }

    fn record(&self, path: &str) -> Option<Value> {
        self.records().into_iter().find(|record| record["path"] == path)
    }

    fn journal(&self) -> String {
        let files = std::fs::read_dir(self.path("journal")).unwrap();
        let files = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
        files.map(|file| std::fs::read_to_string(file).unwrap()).collect()
    }

    fn file(&self) -> String {
        std::fs::read_to_string(self.path("envoy-access.jsonl")).unwrap()
    }

    /// Waits until everything in Envoy's file has been taken in.
    async fn read_to_its_end(&self) {
        let length = self.file().len();
        until("the file to be read", async || {
            let cursor: Value = serde_json::from_slice(&std::fs::read(self.path("envoy-access.cursor")).ok()?).ok()?;
            (cursor["offset"].as_u64()? >= length as u64).then_some(())
        })
        .await;
    }

    async fn metric(&self, name: &str) -> f64 {
        value(&curl([&format!("http://{}/metrics", self.metrics)]).await.text(), name)
    }
}

/// The sum of what begins so; 0 where nothing does.
fn value(exposition: &str, name: &str) -> f64 {
    let lines = exposition.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

fn list<'a>(manager: &'a mut Value, name: &str) -> &'a mut Vec<Value> {
    manager[name].as_array_mut().unwrap()
}

/// A route that somebody has put before the others, and on which nobody is asked.
fn bypass(document: &mut Value, upstream: &str) {
    let (host, port) = upstream.split_once(':').unwrap();
    let address = json!({"socket_address": {"address": host, "port_value": port.parse::<u16>().unwrap()}});
    let endpoint = json!({"endpoint": {"address": address}});
    let load = json!({"cluster_name": "bypass", "endpoints": [{"lb_endpoints": [endpoint]}]});
    let cluster = json!({"name": "bypass", "type": "STATIC", "load_assignment": load});
    list(&mut document["static_resources"], "clusters").push(cluster);
    let disabled = json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true});
    let route = json!({
        "match": {"prefix": "/bypass"},
        "route": {"cluster": "bypass"},
        "typed_per_filter_config": {"envoy.filters.http.ext_proc": disabled, "envoy.filters.http.rbac": disabled},
    });
    let manager = &mut document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    list(&mut manager["route_config"]["virtual_hosts"][0], "routes").insert(0, route);
}
