//! `attache net verify`, which gates a pod's start: it must not say yes where there is a way out.

use serde_json::Value;

use super::pod::{AGENT, Namespace, OUTSIDE4, Pod, Way};

fn verify(pod: &Pod, arguments: &str) -> (i32, Value, String) {
    let (exit, stdout, stderr) = pod.net(&format!("verify -o json {arguments}"));
    (exit, serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}{stderr}")), stderr)
}

/// What failed, as `agent udp 192.0.2.1:123`.
fn failed(report: &Value) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap();
    let failed = checks.iter().filter(|check| check["outcome"] == "failed");
    let named =
        |check: &Value| ["as", "protocol", "to"].map(|field| check[field].as_str().unwrap().to_owned()).join(" ");
    failed.map(named).collect()
}

#[test]
fn it_holds_before_envoy_is_there_and_after() {
    for pod in [Pod::bare(), Pod::bare().with_iptables("nft"), Pod::bare().with_iptables("legacy")] {
        let (exit, stdout, stderr) = pod.net("apply");
        assert_eq!(exit, 0, "{stdout}{stderr}");
        assert!(
            stdout.contains("\nok      agent's TCP to 192.0.2.1:443 must lead to Envoy: it arrived at"),
            "{stdout}"
        );
        let (exit, report, _) = verify(&pod, "");
        assert_eq!((exit, &report["holds"]), (0, &Value::Bool(true)), "{report:#}");
        assert!(report["checks"].as_array().unwrap().iter().all(|check| check["outcome"] == "ok"), "{report:#}");
    }
    // Envoy and attaché listen; nobody has the address that is called.
    let pod = Pod::new();
    pod.outside.ip("address delete 192.0.2.1/32 dev lo");
    pod.outside.ip("address delete 2001:db8::1/128 dev lo");
    pod.apply("");
    let (exit, report, stderr) = verify(&pod, "");
    assert_eq!(exit, 0, "{stderr}{report:#}");
}

#[test]
fn without_rules_nothing_holds() {
    for pod in [Pod::bare(), Pod::new()] {
        let (exit, report, stderr) = verify(&pod, "");
        assert_eq!((exit, &report["holds"]), (1, &Value::Bool(false)));
        let checks = report["checks"].as_array().unwrap();
        let wrong = checks.iter().filter(|check| check["as"] == "agent" && check["outcome"] != "failed");
        // Where somebody answers on every port, only the one who listens can tell that it was not they.
        let wrong = wrong.filter(|check| check["expected"] == "refused");
        assert_eq!(wrong.count(), 0, "{report:#}");
        assert!(stderr.contains("the rules do not hold\n") && stderr.contains("run `attache net apply`"), "{stderr}");
    }
}

/// Each of these rules is a hole; the proof must name it, and it alone.
#[test]
fn every_hole_is_named() {
    let pod = Pod::bare();
    for (hole, named) in [
        ("insert rule inet attache output udp dport 123 accept", &["udp 192.0.2.1:123", "udp [2001:db8::1]:123"][..]),
        ("insert rule inet attache output ip6 daddr 2001:db8::1 udp dport 443 accept", &["udp [2001:db8::1]:443"]),
        ("insert rule inet attache output tcp dport 22 accept", &["tcp 192.0.2.1:22", "tcp [2001:db8::1]:22"]),
        ("insert rule inet attache output ip protocol icmp accept", &["echo 192.0.2.1:0"]),
        ("insert rule inet attache output meta l4proto ipv6-icmp accept", &["echo [2001:db8::1]:0"]),
        ("insert rule inet attache output ip daddr 127.0.0.1 tcp dport 9464 accept", &["tcp 127.0.0.1:9464"]),
        ("insert rule inet attache output ip6 daddr ::1 udp dport 15053 accept", &["udp [::1]:15053"]),
        ("insert rule inet attache redirect_out ip daddr 169.254.169.254 return", &["tcp 169.254.169.254:80"]),
        ("insert rule inet attache redirect_out ip6 daddr 2001:db8::1 udp dport 53 return", &["dns [2001:db8::1]:53"]),
    ] {
        pod.apply("");
        pod.inside.nft(hole);
        let (exit, report, stderr) = verify(&pod, "");
        assert_eq!(exit, 1, "{hole}: {report:#}");
        let expected: Vec<String> = named.iter().map(|way| format!("agent {way}")).collect();
        assert_eq!(failed(&report), expected, "{hole}: {stderr}");
    }
}

#[test]
fn users_who_should_be_exempt_and_are_not_are_named() {
    let pod = Pod::bare();
    pod.apply("--envoy-uid 102 --attache-uid 1339");
    let (exit, report, stderr) = verify(&pod, "");
    assert_eq!(exit, 1);
    let expected = ["envoy tcp 192.0.2.1:80", "envoy tcp 192.0.2.1:53", "envoy tcp [2001:db8::1]:80"];
    assert_eq!(failed(&report)[..3], expected, "{report:#}");
    assert!(failed(&report).contains(&"attache dns 192.0.2.1:53".to_owned()));
    assert!(stderr.contains("check `--envoy-uid` and `--attache-uid`"), "{stderr}");
    let (exit, report, _) = verify(&pod, "--envoy-uid 102 --attache-uid 1339");
    assert_eq!(exit, 0, "{report:#}");
}

/// Rules of others may drop what these refuse, which looks like a pod whose packets get lost on the way.
#[test]
fn silence_is_closed_only_if_one_says_so() {
    let pod = Pod::bare();
    pod.apply("");
    pod.inside.nft("insert rule inet attache refuse meta l4proto tcp drop");
    let (exit, report, stderr) = verify(&pod, "");
    assert_eq!(exit, 1, "{report:#}");
    assert!(stderr.contains("--accept-silence"), "{stderr}");
    let (exit, report, _) = verify(&pod, "--accept-silence");
    assert_eq!(exit, 0, "{report:#}");
}

#[test]
fn without_a_route_nothing_is_proven() {
    let pod = Pod::bare();
    pod.inside.ip("route delete default");
    pod.apply("");
    let (exit, report, stderr) = verify(&pod, "");
    assert_eq!(exit, 0, "IPv6 alone is proof enough: {stderr}{report:#}");
    pod.inside.ip("-6 route delete default");
    let (exit, report, stderr) = verify(&pod, "");
    assert_eq!((exit, &report["holds"]), (1, &Value::Bool(false)));
    assert!(stderr.contains("no route to try"), "{stderr}");
    // And without any network.
    let alone = Namespace::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_attache"));
    let output = alone.run(command.args(["net", "apply"]));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_failed_proof_leaves_the_rules_in_place() {
    let pod = Pod::bare();
    // Rules of another come first, and keep DNS from the stub.
    pod.inside
        .nft("table ip other { chain out { type nat hook output priority -150; udp dport 53 redirect to :99; }; }");
    let (exit, _, stderr) = pod.net("apply");
    assert_eq!(exit, 1, "{stderr}");
    assert!(stderr.contains("agent's DNS to 192.0.2.1:53 must lead to the DNS stub"), "{stderr}");
    assert_eq!(pod.try_as(AGENT, Way::Tcp(OUTSIDE4, 8443)), "(ConnectionRefused)");
}
