//! iptables has no transaction over tables: whatever ends `apply` or `remove` in between leaves nothing open.

use std::path::Path;

use super::pod::{AGENT, OUTSIDE4, OUTSIDE6, Pod, Way, real_iptables};

/// A folder of tools in which the one who restores kills whoever called it, once the `last` restoration is done.
fn tools_that_kill_after(last: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let real = real_iptables("nft");
    for family in ["iptables", "ip6tables"] {
        std::os::unix::fs::symlink(&real, folder.path().join(format!("{family}-save"))).unwrap();
        let count = folder.path().join("count");
        let script = format!(
            "#!/bin/bash\nPATH=/usr/bin:/bin\nreal() {{ (exec -a {family}-restore {} \"$@\"); }}\n\
             case \" $* \" in *' --test '*) real \"$@\"; exit;; esac\nreal \"$@\" || exit\n\
             echo done >>{count}\n[ \"$(wc -l <{count})\" -lt {last} ] || kill -KILL $PPID\n",
            real.display(),
            count = count.display(),
        );
        executable(&folder.path().join(format!("{family}-restore")), &script);
    }
    folder
}

pub fn executable(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Filter, mangle and nat, each for IPv4 and IPv6.
const STEPS: usize = 6;

fn leaks(pod: &Pod) -> (bool, bool) {
    let leaks = |ip, port| pod.try_as(AGENT, Way::Tcp(ip, port)) == "outside";
    let any = |ip| leaks(ip, 443) || leaks(ip, 8443) || pod.try_as(AGENT, Way::Udp(ip, 123)) == "outside";
    (any(OUTSIDE4), any(OUTSIDE6))
}

#[test]
fn apply_that_is_killed_leaves_it_closed() {
    for step in 1..STEPS {
        let pod = Pod::new().with_tools(tools_that_kill_after(step));
        assert_eq!(leaks(&pod), (true, true));
        let (exit, _, stderr) = pod.net("apply --no-verify");
        assert_eq!(exit, -1, "step {step}: {stderr}");
        // Before anything was closed, one family comes first; the next run closes the other.
        assert_eq!(leaks(&pod), (false, step == 1), "step {step}");

        let pod = pod.with_iptables("nft");
        pod.apply("");
        assert_eq!(leaks(&pod), (false, false));
        assert_eq!(pod.try_as(AGENT, Way::Tcp(OUTSIDE6, 443)), "envoy");
    }
}

#[test]
fn apply_over_rules_that_is_killed_opens_nothing() {
    for step in 1..STEPS {
        let pod = Pod::new().with_iptables("nft");
        pod.apply("");
        let pod = pod.with_tools(tools_that_kill_after(step));
        let (exit, _, stderr) = pod.net("apply --no-verify --port 443 --inbound 9000");
        assert_eq!(exit, -1, "step {step}: {stderr}");
        assert_eq!(leaks(&pod), (false, false), "step {step}");
    }
}

#[test]
fn remove_that_is_killed_opens_nothing_before_the_end() {
    for step in 1..=STEPS - 2 {
        let pod = Pod::new().with_iptables("nft");
        pod.apply("");
        let pod = pod.with_tools(tools_that_kill_after(step));
        assert_eq!(pod.net("remove").0, -1);
        assert_eq!(leaks(&pod), (false, false), "step {step}");
    }
}
