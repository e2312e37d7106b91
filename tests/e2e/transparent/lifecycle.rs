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
