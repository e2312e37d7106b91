//! What a person can get wrong is said at once, with what to do; the exit code tells usage from misfortune.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::script::{self, Output};
use crate::support::{Attache, attache, free_address};

const GOOD: &str = "allowedDomains: [api.example.com]";

#[tokio::test]
async fn a_wrong_policy_is_refused_with_every_mistake_its_place_and_the_fix() {
    for (case, policy, says) in [
        ("an unknown key", "allowedDomain: [a.example]", &["policy.yaml:1:1", "did you mean `allowedDomains`"][..]),
        ("a wrong type", "allowedDomains: a.example", &["1:17", "expected a list"]),
        ("an entry of a wrong type", "allowedDomains: [1]", &["1:18", "expected a domain"]),
        ("a key twice", "allowedDomains: [a.example]\nallowedDomains: []", &["2:1", "allowedDomains"]),
        ("an agent twice", "agents:\n  a: {}\n  a: {}", &["3:3", "`a`"]),
        (
            "a credential twice",
            "credentials:\n  - {name: k, envVarKey: A, injections: []}\n  - {name: k, envVarKey: B, injections: []}",
            &["3:", "`k`"],
        ),
        ("an impossible pattern", "allowedDomains: ['a..example']", &["1:18", "a..example"]),
        ("a wildcard inside", "allowedDomains: ['a.*.example']", &["1:18", "a.*.example"]),
        ("a URL for a pattern", "allowedDomains: ['https://a.example/x']", &["1:18"]),
        ("a port out of range", "allowedDomains: ['a.example:70000']", &["1:18", "70000"]),
        (
            "a format without its value",
            "credentials: [{name: k, envVarKey: K, injections: [{domain: a.example, headerName: X, headerFormat: 'Bearer'}]}]",
            &["1:", "{value}"],
        ),
        ("several at once", "allowedDomain: []\nblockedDomain: []\nagent: {}", &["1:1", "2:1", "3:1"]),
        ("not YAML", "a: [", &["policy.yaml:2:1", "not YAML"]),
        ("empty", "", &["empty"]),
        ("a policy of another time", "version: 7", &["1:10", "`7`"]),
    ] {
        let refused = Attache::up(policy).refused().await;
        assert_eq!(refused.exit, 2, "{case}: {refused:?}");
        assert_eq!(refused.stdout, "", "{case}");
        for words in says {
            assert!(refused.stderr.contains(words), "{case}: `{words}` in {}", refused.stderr);
        }
        assert!(!refused.stderr.contains("panicked"), "{case}: {}", refused.stderr);
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("latin1.yaml"), b"allowedDomains: [\xe9.example]").unwrap();
    std::fs::create_dir(path("nothing-in-it")).unwrap();
    std::fs::write(path("leaf.pem"), leaf()).unwrap();
    std::fs::write(path("text.pem"), "no certificate").unwrap();
    std::fs::write(path("empty.pem"), "").unwrap();
    let key = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(path("torn.pem"), key).unwrap();
    for name in ["missing.yaml", "latin1.yaml", "nothing-in-it"] {
        let refused = Attache::up(GOOD).policy_at(&path(name)).refused().await;
        assert_eq!(refused.exit, 2, "{name}: {refused:?}");
        assert!(refused.stderr.contains(name), "{name}: {}", refused.stderr);
    }
    for (name, says) in [
        ("missing.pem", "No such file"),
        ("leaf.pem", "not a certificate authority"),
        ("text.pem", "no certificate"),
        ("empty.pem", "no certificate"),
        ("torn.pem", "cannot be read"),
    ] {
        let flags = ["--upstream-ca".into(), path(name).into_os_string()];
        let refused = Attache::up(GOOD).upstream_ca(None).flags(flags).refused().await;
        assert_eq!(refused.exit, 2, "{name}: {refused:?}");
        assert!(refused.stderr.contains(name) && refused.stderr.contains(says), "{name}: {}", refused.stderr);
    }
}

#[tokio::test]
async fn flags_that_mean_nothing_are_refused() {
    for (case, policy, flags, says) in [
        (
            "an agent the policy lacks",
            "agents: {researcher: {identity: [{header: {name: X-A, value: r, trusted: true}}]}}",
            &["--agent", "resaercher"][..],
            "researcher",
        ),
        ("--resolve without an address", GOOD, &["--resolve", "api.example.com:443"], "HOST:PORT:ADDR"),
        ("--resolve with a word", GOOD, &["--resolve", "api.example.com:443:localhost"], "`localhost`"),
        ("--resolve with a bare IPv6", GOOD, &["--resolve", "api.example.com:443:::1"], "brackets"),
        ("--resolve with a port out of range", GOOD, &["--resolve", "api.example.com:0:127.0.0.1"], "`0`"),
        ("--resolve with a wildcard", GOOD, &["--resolve", "*:443:127.0.0.1"], "`*`"),
        (
            "--resolve twice",
            GOOD,
            &["--resolve", "a.example:443:127.0.0.1", "--resolve", "a.example:443:127.0.0.2"],
            "more than once",
        ),
        ("a name server that is a name", GOOD, &["--dns-server", "dns.example"], "dns.example"),
        ("an unknown flag", GOOD, &["--polciy", "x"], "--polciy"),
        ("a metrics address that is none", GOOD, &["--metrics", "everywhere"], "everywhere"),
    ] {
        let refused = Attache::up(policy).flags(flags.iter().copied()).refused().await;
        assert_eq!(refused.exit, 2, "{case}: {refused:?}");
        assert!(refused.stderr.contains(says), "{case}: {}", refused.stderr);
    }
}

#[tokio::test]
async fn misfortune_at_run_time_is_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = up(&["--listen", &address], None).await;
    assert_eq!(refused.exit, 1, "{refused:?}");
    assert!(refused.stderr.contains(&address) && refused.stderr.contains("--listen"), "{}", refused.stderr);

    let listen = free_address().to_string();
    let refused = up(&["--listen", &listen, "--metrics", &address], None).await;
    assert_eq!(refused.exit, 1, "{refused:?}");
    assert!(refused.stderr.contains(&address), "{}", refused.stderr);

    let directory = tempfile::tempdir().unwrap();
    for (name, text, says) in [
        ("old-envoy", "echo 'envoy  version: 0000/1.39.2/Clean/RELEASE/BoringSSL'", &["1.39.2", "1.40.0"][..]),
        ("no-envoy", "echo hello", &["no-envoy"]),
        ("failing-envoy", "exit 3", &["failing-envoy"]),
        (
            "dying-envoy",
            "case $1 in --version) echo 'envoy  version: 0/1.40.0/Clean/RELEASE/BoringSSL';; *) exit 3;; esac",
            &["envoy"],
        ),
    ] {
        let program = directory.path().join(name);
        std::fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let refused = up(&["--listen", &listen], Some(&program)).await;
        assert_eq!(refused.exit, 1, "{name}: {refused:?}");
        for words in says {
            assert!(refused.stderr.contains(words), "{name}: `{words}` in {}", refused.stderr);
        }
    }
    let refused = up(&["--listen", &listen], Some(&directory.path().join("missing"))).await;
    assert_eq!(refused.exit, 1, "{refused:?}");
    assert!(refused.stderr.contains("missing"), "{}", refused.stderr);
}

#[tokio::test]
async fn what_is_only_odd_is_a_warning_and_the_policy_loads() {
    let policy = "
agents:
  alone: {allowedDomains: [a.example]}
  known: {identity: [{header: {name: X-Agent, value: known, trusted: true}}], allowedDomains: [b.example]}
credentials:
  - {name: unused, envVarKey: UNUSED_KEY, injections: []}
  - {name: elsewhere, envVarKey: OTHER_KEY, injections: [{domain: nowhere.example, headerName: X, headerFormat: '{value}'}]}";
    let attache = Attache::up(policy).env("UNUSED_KEY", "x").env("OTHER_KEY", "x").start().await;
    let stderr = attache.stderr();
    for words in ["`alone`", "`unused`", "`nowhere.example`"] {
        assert!(stderr.contains(words), "`{words}` in {stderr}");
    }
    assert!(stderr.contains("warning"), "{stderr}");
    assert_eq!(attache.curl(["--header", "X-Agent: known", "http://c.example/"]).await.status, 403);
}

/// `attache up` that is expected to end by itself.
async fn up(flags: &[&str], envoy: Option<&Path>) -> Output {
    let home = tempfile::tempdir().unwrap();
    let policy = home.path().join("policy.yaml");
    std::fs::write(&policy, GOOD).unwrap();
    let mut command = attache::attache(home.path());
    command.arg("up").arg("--policy").arg(policy).args(flags);
    if let Some(envoy) = envoy {
        command.env("ENVOY_BIN", envoy);
    }
    script::output(&mut command).await
}

fn leaf() -> String {
    let config = rcgen::generate_simple_self_signed(["api.example.com".to_owned()]).unwrap();
    config.cert.pem()
}
