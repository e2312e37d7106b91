//! A policy that changes takes hold at once and whole; one that is wrong never does.

use std::path::Path;
use std::time::Instant;

use ::attache::control;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::support::dns::Reply;
use crate::support::{Ask, Attache, Dns, PROTOCOLS, Protocol, Upstream, curl, free_address, tunnel, until, within};

const ONE: &str = "allowedDomains: [one.example.com]";
const TWO: &str = "allowedDomains: [two.example.com]";

#[tokio::test]
async fn however_the_file_is_replaced_the_next_policy_takes_over() {
    let upstream = Upstream::https(["*.example.com"]).await;
    let attache = start(&upstream).await;
    assert_eq!(allowed(&attache).await, ["one"]);

    std::fs::write(attache.policy(), TWO).unwrap();
    wait_allowed(&attache, "two", "rewritten in place").await;
    attache.replace_policy(ONE);
    wait_allowed(&attache, "one", "renamed over").await;
    std::fs::remove_file(attache.policy()).unwrap();
    std::fs::write(attache.policy(), TWO).unwrap();
    wait_allowed(&attache, "two", "removed and written").await;

    // What the kubelet does with a ConfigMap: a directory of links through `..data`, which is what changes.
    let folder = attache.policy().parent().unwrap().join("mounted");
    std::fs::create_dir(&folder).unwrap();
    configmap(&folder, "..1", ONE);
    std::os::unix::fs::symlink("..data/policy.yaml", folder.join("policy.yaml")).unwrap();
    let attache = start_on(&upstream, &folder.join("policy.yaml")).await;
    assert_eq!(allowed(&attache).await, ["one"]);
    configmap(&folder, "..2", TWO);
    std::fs::remove_dir_all(folder.join("..1")).unwrap();
    wait_allowed(&attache, "two", "`..data` swapped").await;
    configmap(&folder, "..3", ONE);
    wait_allowed(&attache, "one", "`..data` swapped again").await;
}

#[tokio::test]
async fn a_broken_policy_is_said_loudly_and_the_one_before_it_stays() {
    let upstream = Upstream::https(["*.example.com"]).await;
    let metrics = free_address();
    let attache = Attache::up(ONE)
        .resolve("one.example.com", &upstream)
        .resolve("two.example.com", &upstream)
        .flags(["--metrics", &metrics.to_string()])
        .start()
        .await;
    let metric = async |name: &str| -> Option<String> {
        let text = curl([&format!("http://{metrics}/metrics")]).await.text();
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.rsplit(' ').next().unwrap().to_owned())
    };
    let health = async || control::status(&attache.ready().state_dir.join("control.sock")).await.unwrap();
    assert_eq!(metric("attache_policy_last_reload_successful").await.as_deref(), Some("1"));
    let revision = health().await.policy_revision;

    for (case, broken, word) in [
        ("an unknown key", "allowedDomain: [two.example.com]", "did you mean"),
        ("not YAML", "allowedDomains: [two.example.com", "policy.yaml:1"),
        ("empty", "", "empty"),
        ("half right", "allowedDomains: [two.example.com, 'not a host!']", "not a host!"),
    ] {
        attache.replace_policy(broken);
        let refused = until(case, async || Some(health().await).filter(|status| status.reload_error.contains(word)));
        let refused = refused.await;
        assert!(refused.ready, "{case}: it goes on deciding");
        assert_eq!(refused.policy_revision, revision, "{case}");
        let said = attache.command("health", &[]).await;
        assert_eq!(said.exit, 0, "{case}: requests are decided");
        assert!(said.stderr.contains(word) && said.stderr.contains("stays in force"), "{case}: {said:?}");
        attache.wait_stderr("the one before it stays in force").await;
        attache.wait_stderr(word).await;
        assert_eq!(metric("attache_policy_last_reload_successful").await.as_deref(), Some("0"), "{case}");
        assert_eq!(allowed(&attache).await, ["one"], "{case}");
    }
    std::fs::remove_file(attache.policy()).unwrap();
    until("the loss of the file", async || health().await.reload_error.contains("No such file").then_some(())).await;
    assert_eq!(allowed(&attache).await, ["one"]);

    attache.replace_policy(TWO);
    wait_allowed(&attache, "two", "the good one after all").await;
    let recovered = health().await;
    assert_eq!(recovered.reload_error, "");
    assert_eq!(attache.command("health", &[]).await.stderr, "");
    assert_ne!(recovered.policy_revision, revision);
    assert_eq!(metric("attache_policy_last_reload_successful").await.as_deref(), Some("1"));
    let exposition = curl([&format!("http://{metrics}/metrics")]).await.text();
    let in_force: Vec<&str> =
        exposition.lines().filter(|line| line.starts_with("attache_policy_info{") && line.ends_with(" 1")).collect();
    assert!(in_force.len() == 1 && in_force[0].contains(&recovered.policy_revision), "{in_force:?}");
}

/// The request has been admitted, and waits for DNS, when the policy starts to block its host.
#[tokio::test]
async fn a_request_that_waits_is_decided_again_on_the_policy_of_its_end() {
    let (upstream, dns) = (Upstream::https(["*.example.com"]).await, Dns::start().await);
    let port = upstream.port();
    let entry = format!("{{pattern: '*.example.com:{port}', allowPrivate: [127.0.0.1/32]}}");
    let attache = Attache::up(&format!("allowedDomains: [{entry}]")).dns(&dns).start().await;
    for (round, (protocol, scheme)) in
        [("--http1.1", "https"), ("--http2", "https"), ("--http1.1", "http")].into_iter().enumerate()
    {
        let host = format!("waits-{round}.example.com");
        dns.script(&host, [Reply::Silence]);
        let url = format!("{scheme}://{host}:{port}/");
        let change = async {
            dns.wait_for(&host, "A", 1).await;
            let before = loads(&attache);
            attache.replace_policy(&format!("allowedDomains: [{entry}]\nblockedDomains: [{host}]"));
            until("the reload", async || (loads(&attache) > before).then_some(())).await;
            // The resolver asks again within its deadline.
            dns.answer(&host, ["127.0.0.1"]);
        };
        let (answer, ()) = tokio::join!(attache.curl([protocol, &url]), change);
        assert_eq!(answer.status, 403, "{url}: {answer:?}");
        assert_eq!(answer.json()["reason"], "domain_blocked", "{url}");
        let records = attache.records_of(&host);
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!(records[0]["reason"], "domain_blocked");
        assert!(dns.count(&host, "A") >= 1);
    }
    assert!(upstream.connections().is_empty());
}

/// Its head has been judged, and a limit waits for its body, when the policy starts to block it.
#[tokio::test]
async fn a_request_whose_body_is_awaited_is_decided_on_the_policy_of_its_end() {
    const BEFORE: &str = "allowedDomains: [one.example.com]\nrules:\n  - {name: Cap, host: one.example.com, \
        action: {rateLimit: {requests: 100, per: hour, weight: {items: .}}}}\n";
    let after = format!("{BEFORE}  - {{name: No, host: one.example.com, method: POST, action: block}}\n");
    let upstream = Upstream::https(["*.example.com"]).await;
    let attache = Attache::up(BEFORE).resolve("one.example.com", &upstream).start().await;
    for protocol in PROTOCOLS {
        let ask = Ask::new(protocol, "POST", "https://one.example.com/");
        // There is no sign of a head that has been judged but how long it took in the end.
        until(&format!("a body that came after the reload, {protocol:?}"), async || {
            let began = Instant::now();
            let stream = ask.open(&attache).await.unwrap();
            let took = match protocol {
                Protocol::Http1 => {
                    let mut stream = stream;
                    let head =
                        "POST / HTTP/1.1\r\nHost: one.example.com\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n";
                    stream.write_all(head.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                    let changing = Instant::now();
                    attache.reload(&after).await;
                    let took = changing.elapsed();
                    let answer = tunnel::raw(&mut stream, b"1\r\n]\r\n0\r\n\r\n").await;
                    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
                    took
                }
                Protocol::Http2 => {
                    let mut client = within("a stream", tunnel::h2(stream).await.ready()).await.unwrap();
                    let request = http::Request::post("https://one.example.com/").body(()).unwrap();
                    let (answer, mut body) = client.send_request(request, false).unwrap();
                    body.send_data("[1".into(), false).unwrap();
                    let changing = Instant::now();
                    attache.reload(&after).await;
                    let took = changing.elapsed();
                    // Who is refused at its head may be told before it has sent everything.
                    let _ = body.send_data("]".into(), true);
                    assert_eq!(within("an answer", answer).await.unwrap().status(), 403);
                    took
                }
            };
            let record = attache.records_of("one.example.com").pop().unwrap();
            assert_eq!((&record["reason"], &record["rule"]), (&"rule_blocked".into(), &"rules[No]".into()), "{record}");
            attache.reload(BEFORE).await;
            let micros = u128::from(record["decisionMicros"].as_u64().unwrap());
            assert!(micros < began.elapsed().as_micros());
            (micros > took.as_micros()).then_some(())
        })
        .await;
    }
    assert!(upstream.connections().is_empty());
}

fn loads(attache: &Attache) -> usize {
    attache.stderr().matches("the policy has been loaded again").count()
}

/// Writes a version and swaps `..data` to it, as the kubelet does: a new link, renamed over the old.
fn configmap(folder: &Path, version: &str, policy: &str) {
    std::fs::create_dir(folder.join(version)).unwrap();
    std::fs::write(folder.join(version).join("policy.yaml"), policy).unwrap();
    std::os::unix::fs::symlink(version, folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

async fn start(upstream: &Upstream) -> Attache {
    Attache::up(ONE).resolve("one.example.com", upstream).resolve("two.example.com", upstream).start().await
}

async fn start_on(upstream: &Upstream, policy: &Path) -> Attache {
    let setup = Attache::up(ONE).policy_at(policy);
    setup.resolve("one.example.com", upstream).resolve("two.example.com", upstream).start().await
}

/// Which of the two hosts are allowed; all there is besides is refused for its domain.
async fn allowed(attache: &Attache) -> Vec<&'static str> {
    let mut allowed = Vec::new();
    for host in ["one", "two"] {
        let answer = attache.curl([&format!("http://{host}.example.com/")]).await;
        match answer.status {
            200 => allowed.push(host),
            _ => assert_eq!((answer.status, &answer.json()["reason"]), (403, &Value::from("domain_not_allowed"))),
        }
    }
    allowed
}

async fn wait_allowed(attache: &Attache, host: &'static str, case: &str) {
    let swapped = until(case, async || Some(allowed(attache).await).filter(|allowed| *allowed == [host]));
    swapped.await;
    // By TLS too, through a tunnel of its own.
    let answer = attache.curl([&format!("https://{host}.example.com/")]).await;
    assert_eq!(answer.status, 200, "{case}: {answer:?}");
}
