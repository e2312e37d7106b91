//! What happens when a container of the pod ends and comes back, or the pod goes.

use super::{Internet, pod};

#[tokio::test(flavor = "current_thread")]
async fn while_attache_or_envoy_is_down_nothing_gets_out_and_both_come_back() {
    let mut pod = pod().start().await;
    let internet = Internet::start().await;
    let call =
        async |pod: &crate::support::Pod, path: &str| pod.curl(&[&format!("https://api.example.com/v1/{path}")]).await;
    assert!(call(&pod, "before").await.stdout.ends_with("\n200"));

    // Killed, as by the kernel when memory is short; the kubelet starts the container again.
    drop(pod.attache.take());
    let down = pod.curl(&["--resolve", "api.example.com:443:192.0.2.1", "https://api.example.com/v1/down"]).await;
    assert!(down.stdout.ends_with("\n503"), "{down:?}");
    let unnamed = pod.curl(&["https://api.example.com/v1/down"]).await;
    assert_eq!(unnamed.exit, 6, "no name is answered: {unnamed:?}");
    pod.start_attache(&[]).await;
    let back = call(&pod, "after-attache").await;
    assert!(back.stdout.ends_with("\n200"), "the agent goes on trusting the CA: {back:?}");

    drop(pod.envoy.take());
    let down = call(&pod, "down").await;
    assert_eq!(down.exit, 7, "{down:?}");
    assert_eq!(pod.probe("/readyz/envoy").await.status, 503);
    assert_eq!(pod.probe("/readyz").await.status, 200);
    pod.start_envoy().await;
    let back = call(&pod, "after-envoy").await;
    assert!(back.stdout.ends_with("\n200"), "{back:?}");

    let paths: Vec<_> = internet.api.requests().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/v1/before", "/v1/after-attache", "/v1/after-envoy"]);
    let verified = pod.attache_command(&["audit", "verify"]).await;
    assert_eq!(verified.exit, 0, "{verified:?}");
}

/// As a Job ends: the agent first, then the sidecars against their order, each told by SIGTERM.
#[tokio::test(flavor = "current_thread")]
async fn a_job_completes_and_nothing_of_it_is_lost() {
    let mut pod = pod().start().await;
    let internet = Internet::start().await;
    let program = "
import concurrent.futures, urllib.request
def call(n): return urllib.request.urlopen(f'https://api.example.com/v1/{n}').status
with concurrent.futures.ThreadPoolExecutor(8) as pool: print(sum(status == 200 for status in pool.map(call, range(40))))
";
    let output = pod.python(program).await;
    assert_eq!(output.stdout, "40\n", "{output:?}");
    assert_eq!(internet.api.requests().len(), 40);

    let began = std::time::Instant::now();
    let envoy = pod.envoy.as_mut().unwrap().stop().await;
    assert!(envoy.success(), "{envoy}");
    let attache = pod.attache.as_mut().unwrap().stop().await;
    assert!(attache.success(), "{attache}");
    // Well within the 30 s of grace that a pod has for all of it.
    assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());

    let records = pod.records().await;
    let complete = records.iter().filter(|record| record["status"] == 200 && !record["duration"].is_null()).count();
    assert_eq!(complete, 40, "every decision has its outcome: {records:#?}");
    let verified = pod.attache_command(&["audit", "verify", "-o", "json"]).await;
    assert_eq!(verified.exit, 0, "{verified:?}");
    let report: serde_json::Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!(report["chains"][0]["ended"], true, "{report}");
}

/// A request that waits for a person is answered before attaché goes: with the ticket to come again by.
#[tokio::test(flavor = "current_thread")]
async fn what_is_held_for_a_person_is_answered_before_the_end() {
    let policy = "
allowedDomains: [api.example.com]
rules:
  - {name: ask, host: api.example.com, action: {approval: {hold: 10m}}}
";
    let mut pod = super::pod_under(policy).start().await;
    let internet = Internet::start().await;
    let url = "https://api.example.com/v1/payments";
    let mut held = pod.agent_command(crate::support::pod::AGENT, ["curl", "-sS", "--max-time", "20", "-d", "{}", url]);
    held.stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let held = held.spawn().unwrap();
    crate::support::until("the question", async || {
        let pending = pod.attache_command(&["approvals", "list", "-o", "json"]).await;
        pending.stdout.contains("/v1/payments").then_some(())
    })
    .await;
    let attache = pod.attache.as_mut().unwrap().stop().await;
    assert!(attache.success(), "{attache}");
    let answer = crate::support::within("the held request's answer", held.wait_with_output()).await.unwrap();
    let answer = String::from_utf8(answer.stdout).unwrap();
    assert!(answer.contains("approval_pending") && answer.contains("ticket"), "{answer}");
    assert_eq!(internet.api.connections().len(), 0);
    let records = pod.records().await;
    assert!(records.iter().any(|record| record["reason"] == "approval_pending"), "{records:#?}");
}
