//! What cannot work is said, with what to do, and changes nothing.

use std::process::Command;

use super::crash::executable;
use super::pod::{AGENT, OUTSIDE4, Pod, Way, real_iptables};

#[test]
fn users_and_ports_that_make_no_sense_are_refused() {
    let pod = Pod::bare();
    let before = pod.rules();
    for (arguments, said) in [
        ("--envoy-uid 0", "Envoy cannot be user 0"),
        ("--attache-uid 0", "attaché cannot be user 0"),
        ("--envoy-uid 7 --attache-uid 7", "cannot both be user `7`"),
        ("--dns-port 10443", "port `10443` is both Envoy's transparent listener and attaché's DNS stub"),
        ("--port 443,9464", "port `9464` is both attaché's metrics and redirected to Envoy"),
        ("--port 53", "port `53` cannot be redirected"),
        ("--inbound 10080", "port `10080` is both Envoy's proxy port and open to the outside"),
        ("--inbound http", "not a port: write `8080`, `8080/udp` or `all`"),
        ("--port 0", "invalid value '0'"),
        ("--probe-uid 101", "user `101` cannot play the agent"),
        ("--probe-uid 0", "user `0` cannot play the agent"),
    ] {
        let (exit, _, stderr) = pod.net(&format!("apply {arguments}"));
        assert_eq!(exit, 2, "{arguments}: {stderr}");
        assert!(stderr.contains(said), "{arguments}: {stderr}");
    }
    assert_eq!(pod.rules(), before);
}

#[test]
fn a_missing_capability_is_named_before_anything_changes() {
    let pod = Pod::bare();
    let before = pod.rules();
    for (capability, arguments) in [
        ("net_admin", &["apply"][..]),
        ("net_admin", &["apply", "--no-verify"]),
        ("net_admin", &["remove"]),
        ("setuid", &["apply"]),
        ("setgid", &["apply"]),
        ("setuid", &["verify"]),
    ] {
        let mut command = Command::new("setpriv");
        command.args([&format!("--bounding-set=-{capability}"), &format!("--inh-caps=-{capability}")]);
        let (exit, _, stderr) = pod.output(command.arg(env!("CARGO_BIN_EXE_attache")).arg("net").args(arguments));
        assert_eq!(exit, 1, "{capability} {arguments:?}: {stderr}");
        let named = format!("has not the capability {}", capability.to_uppercase());
        assert!(stderr.contains(&named) && stderr.contains("add: [NET_ADMIN"), "{stderr}");
    }
    assert_eq!(pod.rules(), before);
    // What is enough without the proof.
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all,+net_admin", "--inh-caps=-all", env!("CARGO_BIN_EXE_attache")]);
    let (exit, _, stderr) = pod.output(command.args(["net", "apply", "--no-verify"]));
    assert_eq!(exit, 0, "{stderr}");
}

/// As on a laptop: a first process, and another one that is about to cut it off.
#[test]
fn the_machines_own_network_is_left_alone() {
    let outside = "ip link set lo up && \"$0\" net apply --no-verify; echo $? && nft list ruleset && \"$0\" net apply \
                   --no-verify --any-namespace >/dev/null && nft list ruleset | grep -c 'table inet attache' \
                   && nft delete table inet attache && exec \"$0\" net apply --no-verify";
    let mut command = Command::new("unshare");
    command.args(["--net", "--pid", "--fork", "--mount-proc", "sh", "-c", outside, env!("CARGO_BIN_EXE_attache")]);
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(stderr.contains("the machine's own network") && stderr.contains("--any-namespace"), "{stderr}");
    // Refused and nothing there; there when insisted on; there for the first process of a container.
    assert_eq!(stdout, "2\n1\nthe rules are in place (nft)\n", "{stderr}");
}

/// What the pod gives its first container, and no more.
#[test]
fn three_capabilities_are_enough() {
    let as_delivered = |pod: &Pod| {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--bounding-set=-all,+net_admin,+setuid,+setgid", "--inh-caps=-all", "--no-new-privs"]);
        pod.output(command.args([env!("CARGO_BIN_EXE_attache"), "net", "apply"]))
    };
    for pod in [Pod::bare(), Pod::bare().with_iptables("nft")] {
        let (exit, stdout, stderr) = as_delivered(&pod);
        assert_eq!(exit, 0, "{stdout}{stderr}");
    }
    let (exit, _, stderr) = as_delivered(&Pod::bare().with_iptables("legacy"));
    assert_eq!(exit, 1);
    assert!(stderr.contains("the legacy kind needs the capability NET_RAW, too"), "{stderr}");
}

/// Tools of the pod, each as this script.
fn tools(scripts: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    scripts.iter().for_each(|(tool, script)| executable(&folder.path().join(tool), &format!("#!/bin/sh\n{script}\n")));
    folder
}

fn with_iptables(folder: tempfile::TempDir, families: &[&str]) -> tempfile::TempDir {
    for family in families {
        for tool in ["save", "restore"] {
            std::os::unix::fs::symlink(real_iptables("nft"), folder.path().join(format!("{family}-{tool}"))).unwrap();
        }
    }
    folder
}

const NO_NF_TABLES: &str = "echo 'netlink: Error: cache initialization failed: Protocol not supported' >&2; exit 1";

#[test]
fn tools_that_are_missing_or_do_not_work_are_named() {
    let pod = Pod::bare();
    let before = pod.rules();
    let mut pod = pod;
    for (folder, arguments, said) in [
        (tools(&[]), "apply", &["`nft` is not there, and `iptables-save` is not there", "install nftables"][..]),
        (tools(&[]), "apply --backend nft", &["`nft` is not there", "`--backend iptables`"]),
        (tools(&[]), "apply --backend iptables", &["`iptables-save` is not there", "`--backend nft`"]),
        (tools(&[]), "remove", &["`nft` is not there, and `iptables-save` is not there"]),
        (
            tools(&[("nft", NO_NF_TABLES)]),
            "apply --backend nft",
            &["Protocol not supported", "a kernel with nf_tables"],
        ),
        // Half of the rules would be none.
        (
            with_iptables(tools(&[]), &["iptables"]),
            "apply",
            &["`ip6tables-save` is not there, and this namespace has IPv6", "nothing has been changed"],
        ),
    ] {
        pod = pod.with_tools(folder);
        let (exit, _, stderr) = pod.net(arguments);
        assert_eq!(exit, 1, "{arguments}: {stderr}");
        assert!(said.iter().all(|said| stderr.contains(said)), "{arguments}: {stderr}");
    }
    assert_eq!(pod.rules(), before);
}

#[test]
fn a_kernel_without_nf_tables_gets_iptables_and_is_told() {
    let folder = with_iptables(tools(&[("nft", NO_NF_TABLES)]), &["iptables", "ip6tables"]);
    let pod = Pod::bare().with_tools(folder);
    let (exit, stdout, stderr) = pod.net("apply");
    assert_eq!(exit, 0, "{stdout}{stderr}");
    assert!(stdout.contains("iptables is used, because `nft") && stdout.contains("(iptables)"), "{stdout}");
    assert_eq!(pod.net("remove").0, 0);
    assert_eq!(pod.try_as(AGENT, Way::Tcp(OUTSIDE4, 8443)), "outside");
}

/// As in the pod, where the legacy kind finds no place for its lock.
#[test]
fn a_read_only_root_is_enough() {
    let script = "/bin/mount -t tmpfs none /run && /bin/mount -o remount,ro /run && exec \"$0\" net apply";
    for variant in ["legacy", "nft"] {
        let pod = Pod::bare().with_iptables(variant);
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "/bin/sh", "-c", script, env!("CARGO_BIN_EXE_attache")]);
        let (exit, stdout, stderr) = pod.output(&mut command);
        assert_eq!(exit, 0, "{variant}: {stdout}{stderr}");
    }
}

#[test]
fn where_ipv6_is_off_ipv4_is_enough_and_that_is_said() {
    let pod = Pod::bare();
    pod.inside.act(0, || {
        for interface in ["all", "default", "lo", "eth0"] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1").unwrap();
        }
    });
    let (exit, stdout, stderr) = pod.net("apply");
    assert_eq!(exit, 0, "{stdout}{stderr}");
    assert_eq!(pod.net("remove").0, 0);
    let pod = pod.with_tools(with_iptables(tools(&[]), &["iptables"]));
    let (exit, stdout, stderr) = pod.net("apply");
    assert_eq!(exit, 0, "{stdout}{stderr}");
    assert!(stdout.contains("IPv6 is off in this namespace, so the rules are for IPv4 alone"), "{stdout}");
    assert!(!stdout.contains("2001:db8"), "{stdout}");
}

#[test]
fn what_a_dry_run_prints_is_what_apply_does() {
    let pod = Pod::bare();
    let before = pod.rules();
    let (exit, printed, stderr) = pod.net("apply --dry-run --port 443 --inbound 8080");
    assert_eq!(exit, 0, "{stderr}");
    assert_eq!(pod.rules(), before);
    pod.inside.nft(&printed);
    let by_hand = pod.rules();
    pod.net("remove");
    pod.apply("--port 443 --inbound 8080");
    assert_eq!(pod.rules(), by_hand);
}
