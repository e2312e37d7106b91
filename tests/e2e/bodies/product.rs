//! The same through the whole product: TLS from the agent, a policy's own words, and what `attache logs` says.

use crate::support::{Ask, Attache, PROTOCOLS, Protocol, Upstream, process};

const POLICY: &str = "
allowedDomains: [api.example.com]
dlp: {canaries: [{name: bait, value: canary-x7Kp2mQw9Rt4Yv6Z}]}
";
const BAIT: &str = "canary-x7Kp2mQw9Rt4Yv6Z";

async fn place() -> (Upstream, Attache) {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(POLICY).resolve("api.example.com", &upstream).start().await;
    (upstream, attache)
}

#[tokio::test]
async fn what_must_not_leave_is_refused_and_told_in_the_log() {
    let (upstream, attache) = place().await;
    for protocol in PROTOCOLS {
        let post = |body: &str| Ask::new(protocol, "POST", "https://api.example.com/echo").body(body);
        let passed = post("nothing to see").send(&attache).await;
        assert_eq!(passed.status, 200, "{passed:?}");
        let refused = post(&format!("{{\"note\": \"{BAIT}\"}}")).send(&attache).await;
        assert_eq!(refused.status, 403, "{refused:?}");
        let body: serde_json::Value = serde_json::from_str(&refused.body).unwrap();
        assert_eq!(body["reason"], "dlp_blocked");
        // Over HTTP/2 this client states no length: the head had gone on.
        let record =
            attache.wait_log(|record| record["requestId"] == body["requestId"] && !record["duration"].is_null());
        let record = record.await;
        let cut = if protocol == Protocol::Http2 { "request".into() } else { serde_json::Value::Null };
        assert_eq!((&record["reason"], &record["cut"]), (&"dlp_blocked".into(), &cut), "{record}");
        let finding = &record["findings"][0];
        assert_eq!((&finding["category"], &finding["action"]), (&"canary".into(), &"block".into()), "{record}");
        assert!(!record.to_string().contains(BAIT), "{record}");
        let shown = attache.logs(&["--status", "blocked", "--reason", "dlp_blocked"]).await;
        assert!(shown.iter().any(|shown| shown["requestId"] == body["requestId"]), "{shown:?}");
    }
    assert!(upstream.requests().iter().all(|seen| !seen.text().contains("canary")));
}

#[tokio::test]
async fn the_service_keeps_nothing_of_a_large_upload() {
    let (upstream, attache) = place().await;
    let pid = attache.ready().service_pid;
    let post = |body: &str| Ask::new(Protocol::Http1, "POST", "https://api.example.com/status/200").body(body);
    assert_eq!(post("first").send(&attache).await.status, 200);
    let before = process::resident(pid);
    let body = "some plain words of which none is a secret\n".repeat(1 << 20);
    let answer = post(&body).send(&attache).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(upstream.requests().pop().unwrap().body.len(), body.len());
    let grown = process::most_resident(pid).saturating_sub(before);
    assert!(grown < 24 << 20, "it grew by {} KiB", grown >> 10);
}
