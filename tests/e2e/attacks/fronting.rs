//! Domain fronting: one name to be let in by, another to get to. Every mismatch there is, not a choice of them.

use crate::support::{Ask, PROTOCOLS, Place, Protocol, Way};

const POLICY: &str = "allowedDomains: [a.example, b.example, 'http://a.example', 'http://b.example']";
const HOSTS: [&str; 3] = ["a.example", "b.example", "evil.example"];

/// Sends each, and tells those that got somewhere or not against what is expected: the host that may be reached.
async fn check(place: &Place, cases: Vec<(String, Ask, Option<&str>)>) {
    let (mut wrong, mut passed) = (Vec::new(), 0);
    for (case, ask, expected) in cases {
        let before = place.arrived().len();
        let reply = ask.send_bytes(&place.attache).await;
        let arrived = place.arrived().split_off(before);
        let found = arrived.iter().map(|seen| (seen.authority.trim_end_matches(":443"), seen.sni.as_deref()));
        let fits = match expected {
            Some(host) => {
                passed += 1;
                reply.status == 200 && found.clone().eq([(host, arrived.first().and_then(|seen| seen.sni.as_deref()))])
            }
            None => arrived.is_empty() && ![200, 101].contains(&reply.status),
        };
        // Where it left in TLS, that was for the same host.
        let agrees = found.clone().all(|(authority, sni)| sni.is_none_or(|sni| sni == authority));
        if !fits || !agrees {
            wrong.push(format!("{case}: {reply:?}, arrived {:?}", found.collect::<Vec<_>>()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(passed > 0, "nothing passes: this shows nothing");
}

#[tokio::test]
async fn the_tunnel_the_tls_name_and_the_request_in_every_mismatch() {
    let place = Place::new(POLICY, HOSTS).await;
    let mut cases = Vec::new();
    for protocol in PROTOCOLS {
        for connect in HOSTS {
            // Without a name the handshake is one for an address.
            for sni in [HOSTS[0], HOSTS[1], HOSTS[2], "127.0.0.1"] {
                for authority in HOSTS {
                    let ask = Ask::get(protocol, &format!("https://{authority}/"));
                    let ask = ask.connect(&format!("{connect}:443")).sni(sni);
                    let agree = connect == sni && sni == authority && authority != "evil.example";
                    let case = format!("{protocol:?} CONNECT {connect}, TLS {sni}, request {authority}");
                    cases.push((case.clone(), ask.clone(), agree.then_some(authority)));
                    if protocol == Protocol::Http2 {
                        continue;
                    }
                    // The same with the name in the target, and each in `Host`.
                    for host in HOSTS {
                        let ask = ask.clone().authority(host).target(format!("https://{authority}/"));
                        // RFC 9112 §3.2.2: the target wins, and what leaves says the same everywhere.
                        let expected = agree.then_some(authority);
                        cases.push((format!("{case}, Host {host}"), ask, expected));
                    }
                }
            }
        }
    }
    check(&place, cases).await;
}

#[tokio::test]
async fn a_plain_tunnel_and_the_request_in_every_mismatch() {
    let place = Place::new(POLICY, HOSTS).await;
    let mut cases = Vec::new();
    for protocol in PROTOCOLS {
        for connect in HOSTS {
            for authority in HOSTS {
                let ask = Ask::get(protocol, &format!("http://{authority}/")).by(Way::PlainTunnel);
                let agree = connect == authority && authority != "evil.example";
                let case = format!("{protocol:?} CONNECT {connect}, plain, request {authority}");
                cases.push((case, ask.connect(&format!("{connect}:80")), agree.then_some(authority)));
            }
        }
    }
    check(&place, cases).await;
}

#[tokio::test]
async fn the_target_and_the_host_field_in_every_mismatch() {
    let place = Place::new(POLICY, HOSTS).await;
    let mut cases = Vec::new();
    for target in HOSTS {
        for host in HOSTS {
            let allowed = (target != "evil.example").then_some(target);
            // Written out: absolute form, with another `Host`.
            let ask = Ask::get(Protocol::Http1, "http://a.example/").by(Way::HostStyle).authority(host);
            let ask = ask.target(format!("http://{target}/"));
            cases.push((format!("target {target}, Host {host}"), ask, allowed));
            // RFC 9113 §8.3.1: `host` beside `:authority` may be there if it is the same.
            let ask = Ask::get(Protocol::Http2, &format!("http://{target}/")).by(Way::Absolute).header("host", host);
            cases.push((format!(":authority {target}, host {host}"), ask, allowed));
        }
    }
    check(&place, cases).await;
}
