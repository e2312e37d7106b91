//! Several times as much as can be looked into. How long it takes depends on the machine and is measured:
//! `cargo bench --bench overload`.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::refused;
use crate::support::process::most_resident;
use crate::support::{Attache, Crowd, Told, Upstream, curl, free_address, until};

const POLICY: &str = "allowedDomains: [api.example.com]";
/// What a request may wait for its turn.
const SHED_AFTER: &str = "300ms";
/// So that looking into it is much of what a request costs.
const BODY: usize = 24 << 10;
/// How long a flood lasts.
const FLOOD: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_capacity_every_request_is_answered_the_rest_are_told_when_to_come_again_and_nothing_grows() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let metrics = free_address();
    let attache = Attache::up(POLICY)
        .resolve("api.example.com", &upstream)
        .flags(["--shed-after", SHED_AFTER, "--metrics", &metrics.to_string()])
        .start()
        .await;
    let (begin, crowd) = (Instant::now(), Crowd::new(attache.proxy(), BODY));
    let (_, rate) = crowd.at_capacity(Duration::from_secs(2)).await;
    let before = [most_resident(attache.service().await), most_resident(attache.envoy().await)];

    // What it can do was measured beside whatever else this machine does: if it can do more, it is asked for more.
    let mut told = Vec::new();
    for times in [3.0, 6.0, 12.0, 24.0] {
        told.extend(crowd.flood(rate.max(1.0) * times, FLOOD).await);
        // Nothing is left over: the next is served as the first was.
        crowd.until_served().await;
        if told.iter().any(is_overloaded) {
            break;
        }
    }
    let (passed, rest): (Vec<_>, Vec<_>) = told.iter().partition(|told| told.status == 200);
    assert!(!passed.is_empty(), "a flood keeps everybody out");
    rest.iter().for_each(|told| says_when_to_come_again(told));
    let shed = rest.iter().filter(|told| is_overloaded(told)).count();
    assert!(shed > 0, "{} passed, and of {} refused nobody for load", passed.len(), rest.len());

    // Nothing that was refused has left, and each is on record as what it is.
    let records = until("every request to be on record", async || {
        Some(attache.records()).filter(|records| records.len() >= crowd.sent())
    });
    let records = records.await;
    let overloaded = refused(&attache, "overloaded");
    assert_eq!(records.len(), crowd.sent(), "every request is on record, once");
    assert!(overloaded.len() >= shed, "{} of {shed}", overloaded.len());
    assert!(overloaded.iter().all(|record| record["decision"] == "error" && record["agent"] == "default"));
    // Where the machine stops, Envoy gives up waiting for a verdict.
    let late = refused(&attache, "no_verdict").len();
    let allowed = records.iter().filter(|record| record["decision"] == "allow").count();
    assert_eq!(allowed + overloaded.len() + late, records.len());
    assert!(upstream.requests().len() <= allowed, "{} reached it, {allowed} were let go", upstream.requests().len());
    assert!(upstream.requests().len() >= passed.len(), "whoever was served was served by it");

    let text = curl([&format!("http://{metrics}/metrics")]).await.text();
    assert!(text.lines().any(|line| line.starts_with("attache_requests_total") && line.contains("\"overloaded\"")));
    attache.wait_stderr("more is asked than can be decided in time").await;
    let said = attache.stderr().matches("more is asked than can be decided").count();
    assert!(said as u64 <= 2 + begin.elapsed().as_secs() / 10, "said {said} times: {}", attache.stderr());
    let after = [most_resident(attache.service().await), most_resident(attache.envoy().await)];
    for (before, after) in before.into_iter().zip(after) {
        assert!(after < before + (256 << 20), "from {} to {} MiB", before >> 20, after >> 20);
    }
}

/// What a refusal says of itself.
fn refusal(told: &Told) -> Value {
    let body = told.text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} after {:?}: {:?}", told.took, told.text))
}

fn is_overloaded(told: &Told) -> bool {
    told.status == 503 && refusal(told)["reason"] == "overloaded"
}

fn says_when_to_come_again(told: &Told) {
    assert_eq!(told.status, 503, "after {:?}: {:?}", told.took, told.text);
    assert!(told.text.to_lowercase().contains("\r\nretry-after: 1\r\n"), "{}", told.text);
    let refusal = refusal(told);
    assert_eq!(refusal["error"], "unavailable", "{refusal}");
    assert!(["overloaded", "no_verdict"].iter().any(|reason| refusal["reason"] == *reason), "{refusal}");
}
