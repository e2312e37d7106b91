//! `attache up` keeps two processes up, and leaves nothing behind.

use std::path::Path;

use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::support::dns::Reply;
use crate::support::process::{self, Running};
use crate::support::{Attache, Dns, Upstream, attache, free_address, tunnel, until};

const POLICY: &str = "allowedDomains: [api.example.com]";

#[tokio::test]
async fn the_ready_line_says_what_others_need() {
    let (attache, listen, directory) = up().await;
    let ready: serde_json::Value = serde_json::from_str(&attache.line).unwrap();
    let mut keys: Vec<&str> = ready.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["bundle", "ca", "envoyPid", "envoyVersion", "proxy", "servicePid", "stateDir", "version"]);
    assert_eq!(ready["proxy"], format!("http://{listen}"));
    assert_eq!(ready["version"], env!("CARGO_PKG_VERSION"));
    assert!(ready["envoyVersion"].as_str().unwrap().starts_with("1."), "{ready}");
    assert_eq!(ready["stateDir"], directory.path().join("state").to_str().unwrap());
    let children = process::children(attache.running.pid());
    for pid in ["servicePid", "envoyPid"] {
        let pid = ready[pid].as_u64().unwrap();
        assert!(children.iter().any(|(child, _)| u64::from(*child) == pid), "{ready} {children:?}");
    }
    for (file, holds) in [("ca", 1), ("bundle", 2)] {
        let text = std::fs::read_to_string(ready[file].as_str().unwrap()).unwrap();
        assert!(text.matches("BEGIN CERTIFICATE").count() >= holds, "{file}");
        assert!(!text.contains("PRIVATE KEY"), "{file}");
    }
    let kept = std::fs::read_to_string(directory.path().join("state/state.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&kept).unwrap(), ready);
}

#[tokio::test]
async fn it_stops_both_and_leaves_no_socket_behind() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut attache, listen, directory) = up().await;
        let children = process::children(attache.running.pid());
        assert_eq!(children.len(), 2, "{children:?}");
        attache.running.signal(signal);
        assert!(attache.running.exit().await.success(), "{signal:?}");
        for (pid, name) in children {
            until("its end", async || (!process::lives(pid)).then_some(())).await;
            assert!(!process::lives(pid), "{name} outlived {signal:?}");
        }
        let left = sockets(&directory.path().join("state"));
        assert!(left.is_empty(), "{left:?}");
        assert!(!directory.path().join("state/state.json").exists());
        assert!(TcpStream::connect(listen).await.is_err(), "{signal:?}");
    }
}

#[tokio::test]
async fn whichever_ends_is_started_again_and_requests_go_on() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(POLICY).resolve("api.example.com", &upstream).start().await;
    let allowed = async || (attache.curl(["https://api.example.com/"]).await.status == 200).then_some(());
    until("the first", allowed).await;
    let ca = attache.ca_pem();
    for round in 0..2 {
        let service = attache.kill9_service().await;
        attache.wait_restart(service).await;
        until("a request after the service's end", allowed).await;

        let envoy = attache.envoy().await;
        assert!(process::signal(envoy, Signal::KILL));
        until("another Envoy", async || (attache.envoy().await != envoy).then_some(())).await;
        until("a request after Envoy's end", allowed).await;
        assert_eq!(attache.ca_pem(), ca, "round {round}");
    }
    // `state.json` names those that run now.
    let (service, envoy) = (u64::from(attache.service().await), u64::from(attache.envoy().await));
    until("state.json", async || {
        let kept = std::fs::read(attache.ready().state_dir.join("state.json")).unwrap();
        let kept: serde_json::Value = serde_json::from_slice(&kept).ok()?;
        (kept["servicePid"] == service && kept["envoyPid"] == envoy).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_supervisor_that_is_killed_takes_both_along() {
    let (mut attache, listen, _directory) = up().await;
    let children = process::children(attache.running.pid());
    attache.running.signal(Signal::KILL);
    attache.running.exit().await;
    for (pid, name) in children {
        until(&format!("the end of {name}"), async || (!process::lives(pid)).then_some(())).await;
    }
    assert!(TcpStream::connect(listen).await.is_err());
}

#[tokio::test]
async fn two_live_side_by_side_unless_they_ask_for_the_same() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let home = tempfile::tempdir().unwrap();
    let start = |listen: &str, more: &[&str]| {
        let mut command = attache::attache(home.path());
        std::fs::write(home.path().join("policy.yaml"), POLICY).unwrap();
        std::fs::write(home.path().join("ca.pem"), crate::support::Ca::shared().pem()).unwrap();
        command.arg("up").arg("--policy").arg(home.path().join("policy.yaml"));
        command.arg("--upstream-ca").arg(home.path().join("ca.pem"));
        command.args(["--resolve", &format!("api.example.com:443:{}", upstream.address())]);
        command.args(["-o", "json", "--listen", listen]).args(more);
        command
    };
    let (first, second) = (free_address().to_string(), free_address().to_string());
    let mut running = Vec::new();
    for listen in [&first, &second] {
        let mut up = Running::start("attache up", start(listen, &[]));
        let ready: serde_json::Value = serde_json::from_str(&up.line().await).unwrap();
        running.push((up, ready));
    }
    assert_ne!(running[0].1["stateDir"], running[1].1["stateDir"]);
    for (_, ready) in &running {
        let (proxy, ca) = (ready["proxy"].as_str().unwrap(), ready["ca"].as_str().unwrap());
        let answer = crate::support::curl(["--proxy", proxy, "--cacert", ca, "https://api.example.com/"]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    let taken = crate::support::script::output(&mut start(&first, &[])).await;
    assert_eq!(taken.exit, 1, "{taken:?}");
    assert!(taken.stderr.contains(&first) && taken.stderr.contains("choose another with --listen"), "{taken:?}");
    let state = running[0].1["stateDir"].as_str().unwrap();
    let third = free_address().to_string();
    let shared = crate::support::script::output(&mut start(&third, &["--state-dir", state])).await;
    assert_eq!(shared.exit, 1, "{shared:?}");
    assert!(shared.stderr.contains(state) && shared.stderr.contains("choose another with --state-dir"), "{shared:?}");
    // Neither attempt has harmed those that run.
    for (_, ready) in &running {
        let (proxy, ca) = (ready["proxy"].as_str().unwrap(), ready["ca"].as_str().unwrap());
        let answer = crate::support::curl(["--proxy", proxy, "--cacert", ca, "https://api.example.com/"]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// A request that is being decided when SIGTERM comes still gets its verdict; a new one is refused.
#[tokio::test]
async fn serve_lets_what_it_has_begun_end() {
    let (upstream, dns) = (Upstream::http().await, Dns::start().await);
    let place = super::fail_closed::Place::new();
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.yaml");
    let port = upstream.port();
    let entry = format!("{{pattern: 'http://*.example.com:{port}', allowPrivate: [127.0.0.1/32]}}");
    std::fs::write(&policy, format!("allowedDomains: [{entry}]")).unwrap();
    let mut command = attache::attache(directory.path());
    command
        .arg("serve")
        .arg("--policy")
        .arg(policy)
        .arg("--state-dir")
        .arg(directory.path())
        .arg("--socket")
        .arg(place.service());
    command.args(["--metrics", "off", "--dns-server", &dns.address().to_string()]);
    let mut service = Running::start("attache serve", command);
    service.line().await;
    let _envoy = place.envoy().await;
    dns.answer("first.example.com", ["127.0.0.1"]);
    let get = async |host: &str| {
        let request = format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
        let mut stream = TcpStream::connect(place.listener).await.unwrap();
        tunnel::raw(&mut stream, request.as_bytes()).await
    };
    until("Envoy to have found it", async || get("first.example.com").await.starts_with("HTTP/1.1 200").then_some(()))
        .await;

    dns.script("waits.example.com", [Reply::Silence]);
    let stop = async {
        dns.wait_for("waits.example.com", "A", 1).await;
        service.signal(Signal::TERM);
        until("that it takes no more", async || {
            get("first.example.com").await.starts_with("HTTP/1.1 503").then_some(())
        })
        .await;
        // Longer than Envoy's own streams are given: a request is given more.
        tokio::time::sleep(std::time::Duration::from_millis(900)).await;
        dns.answer("waits.example.com", ["127.0.0.1"]);
    };
    let (answer, ()) = tokio::join!(get("waits.example.com"), stop);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(service.exit().await.success());
    assert!(!place.service().exists() && sockets(directory.path()).is_empty());
}

/// An `attache up` of which a test sees the line as it was printed.
struct Up {
    running: Running,
    line: String,
}

async fn up() -> (Up, std::net::SocketAddr, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    let listen = free_address();
    let mut command = attache::attache(directory.path());
    command.arg("up").arg("--policy").arg(policy).arg("--state-dir").arg(directory.path().join("state"));
    command.args(["-o", "json", "--listen", &listen.to_string()]);
    let mut running = Running::start("attache up", command);
    let line = running.line().await;
    (Up { running, line }, listen, directory)
}

/// The sockets in a directory.
fn sockets(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let names = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "sock"));
    names.map(|entry| entry.file_name().into_string().unwrap()).collect()
}
