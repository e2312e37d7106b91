//! Every way out of a pod that needs no Envoy, before the rules and under them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::pod::{AGENT, ATTACHE, ENVOY, METADATA, OUTSIDE4, OUTSIDE6, POD4, Pod, Way};

const LOOPBACK4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOOPBACK6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// What an agent tries, who answers without rules, and who answers under them (nobody, if empty).
fn ways() -> Vec<(Way, &'static str, &'static str)> {
    let mut ways = vec![
        (Way::Tcp(METADATA, 80), "outside", "envoy"),
        (Way::Tcp(METADATA, 22), "outside", ""),
        (Way::Tcp(POD4, 443), "", "envoy"),
        (Way::Udp(POD4, 53), "", "stub"),
        (Way::Tcp(POD4, 9464), "metrics", ""),
        (Way::Tcp(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), 53), "", "stub"),
    ];
    for (outside, loopback) in [(OUTSIDE4, LOOPBACK4), (OUTSIDE6, LOOPBACK6)] {
        ways.extend([
            // Addresses dialled directly, on the ports that Envoy takes.
            (Way::Tcp(outside, 443), "outside", "envoy"),
            (Way::Tcp(outside, 80), "outside", "envoy"),
            // Other ports, among them SSH, DNS over TLS, and Envoy's own number elsewhere.
            (Way::Tcp(outside, 22), "outside", ""),
            (Way::Tcp(outside, 853), "outside", ""),
            (Way::Tcp(outside, 8443), "outside", ""),
            (Way::Tcp(outside, 10443), "outside", ""),
            // Raw DNS to a resolver of one's own.
            (Way::Udp(outside, 53), "outside", "stub"),
            (Way::Tcp(outside, 53), "outside", "stub"),
            // QUIC, other UDP, other protocols.
            (Way::Udp(outside, 443), "outside", ""),
            (Way::Udp(outside, 123), "outside", ""),
            (Way::Ping(outside), "outside", ""),
            // A socket bound to the interface keeps to it after the redirect: nothing may leave with that address.
            (Way::BoundTcp(outside, 443), "outside", ""),
            (Way::BoundUdp(outside, 53), "outside", ""),
            (Way::BoundTcp(outside, 22), "outside", ""),
            // Envoy's and attaché's ports without the redirect.
            (Way::Tcp(loopback, 10443), "envoy", ""),
            (Way::Tcp(loopback, 15053), "stub", ""),
            (Way::Udp(loopback, 15053), "stub", ""),
            (Way::Tcp(loopback, 9464), "metrics", ""),
            // What the pod has for itself stays.
            (Way::Tcp(loopback, 10080), "proxy", "proxy"),
            (Way::Tcp(loopback, 8080), "own", "own"),
            (Way::Udp(loopback, 9000), "own", "own"),
            (Way::Tcp(loopback, 443), "", ""),
            (Way::Udp(loopback, 53), "", "stub"),
        ]);
    }
    ways
}

fn answers(pod: &Pod, way: Way, expected: &str, when: &str) {
    let before = pod.arrived();
    let answer = pod.try_as(AGENT, way);
    match expected {
        "" => assert!(answer.starts_with('('), "{when}: {way:?}: {answer}"),
        expected => assert_eq!(answer, expected, "{when}: {way:?}"),
    }
    if expected == "outside" {
        assert!(pod.arrived() > before, "{when}: {way:?} was answered, yet did not arrive");
    } else {
        assert_eq!(pod.arrived(), before, "{when}: {way:?} left the pod: {answer}");
    }
}

fn every_way_leads_to_envoy_or_nowhere(pod: &Pod, arguments: &str) {
    for (way, open, _) in ways() {
        answers(pod, way, open, "without rules");
    }

    pod.apply(arguments);
    let rules = pod.rules();
    for (way, _, governed) in ways() {
        answers(pod, way, governed, "under the rules");
    }
    // No rule names it, so all that is left says no.
    let before = pod.arrived();
    for outside in [OUTSIDE4, OUTSIDE6] {
        let answer = pod.try_as(AGENT, Way::UdpLite(outside, 443));
        assert!(answer.starts_with('('), "UDP-Lite: {answer}");
        // Root is not exempt.
        assert_eq!(pod.try_as(0, Way::Tcp(outside, 443)), "envoy");
        assert!(pod.try_as(0, Way::Udp(outside, 123)).starts_with('('));
    }
    assert_eq!(pod.arrived(), before);

    exempt_users_pass(pod);

    pod.apply(arguments);
    assert_eq!(pod.rules(), rules, "twice is not once");
    pod.net("remove");
    for (way, open, _) in ways() {
        answers(pod, way, open, "without rules again");
    }
    let (exit, _, stderr) = pod.net("remove");
    assert_eq!(exit, 0, "{stderr}");
    assert!(!pod.rules().to_lowercase().contains("attache"), "{}", pod.rules());
}

fn exempt_users_pass(pod: &Pod) {
    // IPv6 must find its neighbours anew.
    pod.inside.ip("neighbour flush all");
    for (outside, loopback) in [(OUTSIDE4, LOOPBACK4), (OUTSIDE6, LOOPBACK6)] {
        for (uid, way, expected) in [
            (ENVOY, Way::Tcp(outside, 443), "outside"),
            (ENVOY, Way::Tcp(outside, 8443), "outside"),
            (ENVOY, Way::Tcp(loopback, 8080), "own"),
            (ENVOY, Way::Tcp(outside, 53), ""),
            (ENVOY, Way::Udp(outside, 53), ""),
            (ENVOY, Way::Udp(outside, 443), ""),
            (ATTACHE, Way::Tcp(outside, 443), "outside"),
            (ATTACHE, Way::Udp(outside, 53), "outside"),
            (ATTACHE, Way::Tcp(outside, 53), "outside"),
            (ATTACHE, Way::Udp(outside, 123), "outside"),
            (ATTACHE, Way::Tcp(loopback, 8080), "own"),
        ] {
            let before = pod.arrived();
            let answer = pod.try_as(uid, way);
            let unanswered = answer.starts_with('(') && pod.arrived() == before;
            let held = if expected.is_empty() { unanswered } else { answer == expected };
            assert!(held, "user {uid}: {way:?}: {answer}");
        }
    }
}

#[test]
fn every_way_leads_to_envoy_or_nowhere_by_nft() {
    every_way_leads_to_envoy_or_nowhere(&Pod::new(), "--backend nft");
}

#[test]
fn every_way_leads_to_envoy_or_nowhere_by_iptables_on_nf_tables() {
    every_way_leads_to_envoy_or_nowhere(&Pod::new().with_iptables("nft"), "");
}

#[test]
fn every_way_leads_to_envoy_or_nowhere_by_legacy_iptables() {
    every_way_leads_to_envoy_or_nowhere(&Pod::new().with_iptables("legacy"), "");
}

#[test]
fn other_ports_lead_to_envoy_when_they_are_named() {
    let pod = Pod::new();
    pod.apply("--port 8443,22 --port 443");
    for (port, expected) in [(8443, "envoy"), (22, "envoy"), (443, "envoy"), (80, "(ConnectionRefused)")] {
        assert_eq!(pod.try_as(AGENT, Way::Tcp(OUTSIDE4, port)), expected, "{port}");
        assert_eq!(pod.try_as(AGENT, Way::Tcp(OUTSIDE6, port)), expected, "{port}");
    }
}

/// In a user namespace of its own anyone can be Envoy's user; the rules ask who they are outside of it.
#[test]
fn a_user_namespace_makes_nobody_exempt() {
    let pod = Pod::new();
    let as_envoy = |port: u16| {
        let script = format!("id -u; exec 3<>/dev/tcp/192.0.2.1/{port} && head -c 5 <&3");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-user=101", "bash", "-c", &script]).uid(AGENT).gid(AGENT).current_dir("/");
        pod.output(&mut command)
    };
    assert_eq!(as_envoy(8443).1, "101\noutsi", "{:?}", as_envoy(8443));
    pod.apply("");
    assert_eq!(as_envoy(443).1, "101\nenvoy");
    let before = pod.arrived();
    assert_eq!(as_envoy(8443).1, "101\n");
    assert_eq!(pod.arrived(), before);
}

/// Arguments, and what answers the outside under them on TCP 9464, 8080 and 7070, and on UDP 9000.
const INBOUND: [(&str, [&str; 4]); 3] = [
    ("", ["metrics", "", "", ""]),
    ("--inbound 8080,9000/udp", ["metrics", "own", "", "own"]),
    ("--inbound all", ["metrics", "own", "own", "own"]),
];

fn the_outside_gets_in_where_it_may(pod: Pod) {
    pod.inside.serve(AGENT, "own", POD4, &[8080, 7070], &[9000]);
    for (arguments, answers) in INBOUND {
        pod.apply(arguments);
        let ways = [Way::Tcp(POD4, 9464), Way::Tcp(POD4, 8080), Way::Tcp(POD4, 7070), Way::Udp(POD4, 9000)];
        for (way, expected) in ways.into_iter().zip(answers) {
            let answer = pod.try_from_outside(way);
            let held = if expected.is_empty() { answer.starts_with('(') } else { answer == expected };
            assert!(held, "`{arguments}`: {way:?}: {answer}");
        }
        // Letting in lets nobody out.
        assert!(pod.try_as(AGENT, Way::Tcp(OUTSIDE4, 8443)).starts_with('('), "{arguments}");
        assert!(pod.try_as(AGENT, Way::Udp(OUTSIDE4, 123)).starts_with('('), "{arguments}");
    }
    pod.net("remove");
    assert_eq!(pod.try_from_outside(Way::Tcp(POD4, 7070)), "own");
}

#[test]
fn the_outside_gets_in_where_it_may_by_nft() {
    the_outside_gets_in_where_it_may(Pod::new());
}

#[test]
fn the_outside_gets_in_where_it_may_by_iptables() {
    the_outside_gets_in_where_it_may(Pod::new().with_iptables("nft"));
}

#[test]
fn nobody_but_attache_answers_the_outside_at_its_metrics() {
    let pod = Pod::bare();
    pod.inside.serve(AGENT, "forged", POD4, &[9464], &[]);
    assert_eq!(pod.try_from_outside(Way::Tcp(POD4, 9464)), "forged");
    pod.apply("");
    assert_eq!(pod.try_from_outside(Way::Tcp(POD4, 9464)), "(TimedOut)");
}

#[test]
fn nothing_goes_through_a_pod() {
    let pod = Pod::bare();
    pod.inside.act(0, || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
    pod.outside.ip("route add 203.0.113.9/32 via 10.0.0.2");
    let through = Way::Udp(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), 9);
    let before = pod.arrived();
    pod.try_from_outside(through);
    assert!(pod.arrived() > before, "nothing comes back even without rules");
    pod.apply("--inbound all");
    let before = pod.arrived();
    pod.try_from_outside(through);
    assert_eq!(pod.arrived(), before);
}
