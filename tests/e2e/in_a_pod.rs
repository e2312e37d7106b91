//! What `attache serve` finds in a pod, and says of what it does not find. Nothing of it starts open.

use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use crate::support::attache::attache;
use crate::support::process::Running;
use crate::support::script::{self, Output};
use crate::support::{Ca, curl, free_address};

const POLICY: &str = "allowedDomains: [api.example.com]";

fn serve(folder: &Path, policy: &Path, more: &[&str]) -> Command {
    let mut command = attache(folder);
    command.arg("serve").arg("--policy").arg(policy).arg("--state-dir").arg(folder.join("state")).args(more);
    if !more.contains(&"--metrics") {
        command.args(["--metrics", "off"]);
    }
    command
}

async fn health(folder: &Path) -> (Output, Value) {
    let mut command = attache(folder);
    command.args(["health", "-o", "json", "--state-dir"]).arg(folder.join("state"));
    let output = script::output(&mut command).await;
    let json = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output, json)
}

#[tokio::test]
async fn what_agents_trust_is_there_before_it_is_ready_and_the_same_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("policy.yaml"), POLICY).unwrap();
    std::fs::write(path("company.pem"), Ca::shared().pem()).unwrap();
    let (ca_dir, trust_dir) = (path("ca"), path("trust"));
    let read = || ["ca.pem", "bundle.pem", "bundle.p12"].map(|name| std::fs::read(trust_dir.join(name)).unwrap());
    let mut seen = Vec::new();
    for _ in 0..2 {
        let flags = ["--ca-dir", ca_dir.to_str().unwrap(), "--trust-dir", trust_dir.to_str().unwrap()];
        let mut command = serve(folder.path(), &path("policy.yaml"), &flags);
        command.env("SSL_CERT_FILE", path("company.pem"));
        let mut running = Running::start("attache serve", command);
        running.line().await;
        seen.push(read());
        assert!(running.stop().await.success());
    }
    assert!(seen[0] == seen[1], "the files are others after a restart");
    let [ca, bundle, store] = &seen[0];
    assert_eq!(*ca, std::fs::read(ca_dir.join("ca.pem")).unwrap());
    let bundle = String::from_utf8(bundle.clone()).unwrap();
    let body = |pem: &str| pem.lines().nth(1).unwrap().to_owned();
    assert!(bundle.contains(&body(std::str::from_utf8(ca).unwrap())) && bundle.contains(&body(Ca::shared().pem())));
    assert!(bundle.matches("BEGIN CERTIFICATE").count() > 2, "the system's are missing");
    assert!(!bundle.contains("PRIVATE") && store.starts_with(&[0x30]));
    let key = ca_dir.join("ca.key");
    assert!(
        !std::fs::read_dir(&trust_dir).unwrap().any(|entry| entry.unwrap().file_name() == key.file_name().unwrap())
    );
}

/// In a mount namespace of its own, as a container has one.
#[tokio::test]
async fn a_policy_that_would_not_reload_is_said_loudly() {
    for (name, source, target, policy, is_frozen) in [
        ("a file alone", "state-1/policy.yaml", "etc/policy.yaml", "etc/policy.yaml", true),
        ("a file alone in the directory", "state-1/policy.yaml", "etc/policy.yaml", "etc", true),
        ("one state of the volume", "volume/..1", "etc", "etc", true),
        ("the volume", "volume", "etc", "etc", false),
        ("a file of the volume", "volume", "etc", "etc/policy.yaml", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for made in ["state-1", "etc", "volume/..1"] {
            std::fs::create_dir_all(path(made)).unwrap();
        }
        for file in ["state-1/policy.yaml", "volume/..1/policy.yaml"] {
            std::fs::write(path(file), POLICY).unwrap();
        }
        std::os::unix::fs::symlink("..1", path("volume/..data")).unwrap();
        std::os::unix::fs::symlink("..data/policy.yaml", path("volume/policy.yaml")).unwrap();
        if target.ends_with(".yaml") {
            std::fs::write(path(target), "").unwrap();
        }
        let metrics = free_address();
        let own = serve(folder.path(), &path(policy), &["--metrics", &metrics.to_string()]);
        let mut command = Command::new("unshare");
        command.args([
            "--map-root-user",
            "--mount",
            "sh",
            "-ec",
            "mount --bind \"$1\" \"$2\"; shift 2; exec \"$@\"",
            "sh",
        ]);
        command.arg(path(source)).arg(path(target)).arg(own.as_std().get_program()).args(own.as_std().get_args());
        for (variable, value) in own.as_std().get_envs() {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
        let mut running = Running::start("attache serve", command);
        running.line().await;
        let said = "is not seen here, and holds from the next start";
        assert_eq!(running.stderr().contains(said), is_frozen, "{name}: {}", running.stderr());
        let (output, json) = health(folder.path()).await;
        assert_eq!(
            (output.exit, json["warnings"].as_array().unwrap().len()),
            (0, usize::from(is_frozen)),
            "{name}: {json}"
        );
        assert_eq!(output.stderr.contains(said), is_frozen, "{name}: {output:?}");
        let exposition = curl([&format!("http://{metrics}/metrics")]).await.text();
        let expected = format!("attache_policy_frozen {}", u8::from(is_frozen));
        assert!(exposition.lines().any(|line| line == expected), "{name}: {exposition}");
        running.stop().await;
    }
}

#[tokio::test]
async fn what_is_missing_is_named_and_nothing_starts_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| {
        std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        std::fs::write(path(name), text).unwrap();
    };
    std::fs::create_dir(path("empty")).unwrap();
    write("keyless/policy", POLICY);
    write("binary/policy.yaml", "\0");
    write("token/policy.yaml", "agents: {bob: {identity: [{token: {file: /etc/attache/credentials/bob}}]}}");
    write("file", "");
    for (name, policy, more, code, said) in [
        (
            "no volume",
            "missing",
            &[][..],
            2,
            &["`", "missing`", "that the ConfigMap with the policy is mounted there"][..],
        ),
        ("an empty ConfigMap", "empty", &[], 2, &["it is empty", "`optional`"]),
        ("a key of another name", "keyless", &[], 2, &["it has `policy`", "`.yaml`"]),
        ("a key that is no text", "binary", &[], 2, &["binary/policy.yaml:1:1"]),
        ("a token that is not there", "token", &[], 2, &["/etc/attache/credentials/bob", "Secret"]),
        ("a folder for trust that is none", "token", &["--trust-dir", "/dev/null/x"], 1, &["/dev/null/x"]),
    ] {
        let mut command = serve(folder.path(), &path(policy), more);
        let output = script::output(&mut command).await;
        assert_eq!((output.exit, output.stdout.as_str()), (code, ""), "{name}: {output:?}");
        assert!(said.iter().all(|said| output.stderr.contains(said)), "{name}: {output:?}");
    }
}
