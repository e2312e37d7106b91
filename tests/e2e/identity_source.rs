//! Agents known by the address they call from.

use crate::support::{Answer, Attache, PROTOCOLS, Upstream, curl, records};

const BOB: &str = "bob-token-0123456789";

/// All of loopback is ann, but for one range of bob's.
const POLICY: &str = "
allowedDomains: [shared.example]
agents:
  ann: {identity: [{sourceAddress: 127.0.0.0/8}], allowedDomains: [ann.example]}
  bob: {identity: [{sourceAddress: 127.0.2.0/24}, {token: {env: BOB_TOKEN}}], allowedDomains: [bob.example]}
  carl: {identity: [{sourceAddress: 10.0.0.0/8}]}
";

const HOSTS: [&str; 3] = ["shared.example", "ann.example", "bob.example"];

async fn start(upstream: &Upstream, policy: &str, flags: &[&str]) -> Attache {
    let mut setup = Attache::up(policy).env("BOB_TOKEN", BOB).flags(flags);
    for host in HOSTS {
        setup = setup.resolve(host, upstream);
    }
    setup.start().await
}

async fn ask_from(attache: &Attache, address: &str, more: &[&str]) -> Answer {
    let proxy = format!("http://{}", attache.proxy());
    let bundle = attache.ready().bundle.to_str().unwrap();
    let own = ["--interface", address, "--proxy", &proxy, "--cacert", bundle];
    curl(own.iter().chain(more)).await
}

#[tokio::test]
async fn the_narrowest_range_names_the_agent_in_a_tunnel_and_without() {
    let upstream = Upstream::https(HOSTS).await;
    let attache = start(&upstream, POLICY, &[]).await;
    let basic = format!("bob:{BOB}");
    let bearer = format!("Authorization: Bearer {BOB}");
    let none: &[&str] = &[];
    for protocol in PROTOCOLS {
        for (address, url, more, expected) in [
            ("127.0.0.1", "https://ann.example/", none, Ok(("ann", "source"))),
            ("127.0.2.7", "https://bob.example/", none, Ok(("bob", "source"))),
            ("127.0.2.7", "http://bob.example/", none, Ok(("bob", "source"))),
            ("127.0.1.255", "http://ann.example/", none, Ok(("ann", "source"))),
            ("127.0.0.1", "https://bob.example/", none, Err((403, "domain_not_allowed"))),
            ("127.0.2.7", "https://ann.example/", none, Err((403, "domain_not_allowed"))),
            // What the agent says of its address counts for nothing.
            (
                "127.0.0.1",
                "http://bob.example/",
                &["-H", "X-Forwarded-For: 127.0.2.7", "-H", "Forwarded: for=127.0.2.7"],
                Err((403, "domain_not_allowed")),
            ),
            (
                "127.0.0.1",
                "https://bob.example/",
                &["--proxy-header", "X-Forwarded-For: 127.0.2.7"],
                Err((403, "domain_not_allowed")),
            ),
            ("127.0.2.7", "https://shared.example/", &["--proxy-user", &basic], Ok(("bob", "token"))),
            ("127.0.0.1", "https://shared.example/", &["--proxy-user", &basic], Err((407, "identity_conflict"))),
            ("127.0.0.1", "https://shared.example/", &["-H", &bearer], Err((401, "identity_conflict"))),
            ("127.0.0.1", "http://shared.example/", &["-H", &bearer], Err((401, "identity_conflict"))),
            // Who is known keeps a Bearer of its own.
            ("127.0.0.1", "http://shared.example/", &["-H", "Authorization: Bearer sk-own"], Ok(("ann", "source"))),
        ] {
            let before = upstream.requests().len();
            let mut arguments = vec![protocol.flag(), url];
            arguments.extend(more);
            let answer = ask_from(&attache, address, &arguments).await;
            let record = records(&attache).pop().unwrap();
            let arrived = upstream.requests().split_off(before);
            match expected {
                Ok((agent, how)) => {
                    assert_eq!(answer.status, 200, "{address} {url} {more:?}: {answer:?} {record}");
                    assert_eq!((&record["agent"], &record["identity"]), (&agent.into(), &how.into()), "{record}");
                    let headers = format!("{:?}", arrived[0].headers);
                    assert!(!headers.contains(address) && !headers.contains(BOB), "{headers}");
                }
                Err((refused, reason)) => {
                    let status = if answer.status == 0 { answer.connect_status } else { answer.status };
                    let found = (status, record["reason"].as_str(), arrived.len());
                    assert_eq!(found, (refused, Some(reason), 0), "{address} {url} {more:?}: {record}");
                }
            }
        }
    }
}

#[tokio::test]
async fn an_address_of_no_agent_is_no_identity() {
    let upstream = Upstream::https(HOSTS).await;
    let narrow = POLICY.replace("127.0.0.0/8", "127.0.3.1");
    let attache = start(&upstream, &narrow, &[]).await;
    for (address, status, reason) in [("127.0.3.1", 200, None), ("127.0.3.2", 401, Some("no_identity"))] {
        let answer = ask_from(&attache, address, &["https://shared.example/"]).await;
        assert_eq!(answer.status, status, "{address}: {answer:?}");
        assert_eq!(records(&attache).pop().unwrap()["reason"].as_str(), reason, "{address}");
    }
    // A policy that says who such callers are means those whose address is nobody's.
    let attache = start(&upstream, &format!("defaultAgent: bob\n{narrow}"), &[]).await;
    for (address, agent, how) in [("127.0.3.1", "ann", "source"), ("127.0.3.2", "bob", "default")] {
        assert_eq!(ask_from(&attache, address, &["https://shared.example/"]).await.status, 200, "{address}");
        let record = records(&attache).pop().unwrap();
        assert_eq!((&record["agent"], &record["identity"]), (&agent.into(), &how.into()), "{record}");
    }
}

#[tokio::test]
async fn a_sidecar_of_one_agent_serves_no_address_of_another() {
    let upstream = Upstream::https(HOSTS).await;
    let attache = start(&upstream, POLICY, &["--agent", "ann"]).await;
    assert_eq!(ask_from(&attache, "127.0.0.1", &["https://ann.example/"]).await.status, 200);
    let refused = ask_from(&attache, "127.0.2.7", &["https://shared.example/"]).await;
    assert_eq!(refused.connect_status, 407, "{refused:?}");
    assert_eq!(records(&attache).pop().unwrap()["reason"], "identity_conflict");
}
