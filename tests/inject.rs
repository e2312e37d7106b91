//! `attache inject` as a person uses it: files and pipes in, manifests or reasons out.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde::Deserialize;
use serde_json::Value;

const SAFE: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - {name: agent, image: i, securityContext: {runAsUser: 10001}}
";

fn attache(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attache"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may refuse before it has read all.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", err(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap()).collect()
}

fn examples() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes/examples");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    files
}

fn agent_env(pod: &Value) -> Vec<(&str, &str)> {
    let env = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    env.iter().map(|variable| (variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap())).collect()
}

#[test]
fn the_examples_are_injected_once_however_often() {
    let files = examples();
    for mode in ["redirect", "cni", "proxy-env"] {
        let mut arguments = vec!["inject", "--mode", mode];
        for file in &files {
            arguments.extend(["-f", file.to_str().unwrap()]);
        }
        let once = out(&attache(&arguments, b""));
        let twice = out(&attache(&["inject", "--mode", mode, "-f", "-"], once.as_bytes()));
        assert_eq!(twice, once);
        let governed = once.matches(&format!("attache.dev/mode: {mode}\n")).count();
        assert_eq!(governed, 5, "{mode}");
        assert_eq!(once.matches("- name: attache-envoy\n").count(), 3 * governed, "container, mount and volume");
        assert_eq!(once.matches("- name: attache-net\n").count(), if mode == "redirect" { governed } else { 0 });
        let kinds: Vec<_> = documents(&once).iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect();
        assert_eq!(kinds, ["CronJob", "Deployment", "Service", "ServiceAccount", "Job", "Pod", "StatefulSet"]);
    }
}

#[test]
fn every_agent_finds_what_attache_run_would_give_it() {
    let text = out(&attache(&["inject", "-f", "-"], SAFE.as_bytes()));
    let pod = &documents(&text)[0];
    let env = agent_env(pod);
    for expected in [
        ("SSL_CERT_FILE", "/run/attache-trust/bundle.pem"),
        ("REQUESTS_CA_BUNDLE", "/run/attache-trust/bundle.pem"),
        ("NODE_EXTRA_CA_CERTS", "/run/attache-trust/ca.pem"),
        (
            "JAVA_TOOL_OPTIONS",
            "-Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStore=/run/attache-trust/bundle.p12",
        ),
    ] {
        assert!(env.contains(&expected), "{expected:?} in {env:?}");
    }
    assert!(env.iter().all(|(name, _)| !name.to_lowercase().contains("proxy")), "{env:?}");

    let text = out(&attache(&["inject", "--mode", "proxy-env", "-f", "-"], SAFE.as_bytes()));
    let pod = &documents(&text)[0];
    let env = agent_env(pod);
    for expected in [
        ("HTTPS_PROXY", "http://127.0.0.1:10080"),
        ("http_proxy", "http://127.0.0.1:10080"),
        ("NO_PROXY", "localhost,127.0.0.1,::1"),
        ("ALL_PROXY", ""),
        ("NODE_USE_ENV_PROXY", "1"),
        ("SSL_CERT_FILE", "/run/attache-trust/bundle.pem"),
    ] {
        assert!(env.contains(&expected), "{expected:?} in {env:?}");
    }
    let java = env.iter().find(|(name, _)| *name == "JAVA_TOOL_OPTIONS").unwrap().1;
    assert!(java.starts_with("-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=10080 -Dhttps.proxyHost="), "{java}");
}

#[test]
fn an_unsafe_pod_leaves_nothing_on_stdout_and_every_reason_on_stderr() {
    let text = format!(
        "{SAFE}---\n{}---\n{}",
        SAFE.replace("spec:\n", "spec:\n  hostNetwork: true\n  shareProcessNamespace: true\n"),
        SAFE.replace("runAsUser: 10001", "runAsUser: 101").replace("name: p", "name: \"q\\e[2J\"")
    );
    let output = attache(&["inject", "-f", "-"], text.as_bytes());
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    let err = err(&output);
    for expected in [
        "attache: <stdin>:7: Pod p: `hostNetwork: true`",
        "attache: <stdin>:7: Pod p: `shareProcessNamespace: true`",
        "attache: <stdin>:16: Pod q\\u{1b}[2J, container agent: `runAsUser: 101`",
        "attache: nothing was injected, and nothing written",
    ] {
        assert!(err.contains(expected), "{expected}\n{err}");
    }
    assert_eq!(err.lines().count(), 4, "{err}");
}

#[test]
fn what_stays_ungoverned_is_said() {
    let text = SAFE.replace("{name: p}", "{name: p, annotations: {attache.dev/inject: \"false\"}}");
    let output = attache(&["inject", "-f", "-"], text.as_bytes());
    assert_eq!(out(&output), text);
    let err = err(&output);
    assert!(err.contains("Pod p: left ungoverned, as `attache.dev/inject` says"), "{err}");
    assert!(err.contains("no workload to inject into"), "{err}");
}

#[test]
fn wrong_usage_and_unreadable_input_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let latin = folder.path().join("latin.yaml");
    fs::write(&latin, b"a: \xe9\n").unwrap();
    let missing = folder.path().join("missing.yaml");
    let (latin, missing) = (latin.to_str().unwrap(), missing.to_str().unwrap());
    for (arguments, expected) in [
        (&["inject"][..], "--filename"),
        (&["inject", "-f", missing], "missing.yaml cannot be read: No such file"),
        (&["inject", "-f", folder.path().to_str().unwrap()], "cannot be read: Is a directory"),
        (&["inject", "-f", latin], "latin.yaml cannot be read: it is not UTF-8"),
        (&["inject", "-f", "-", "--mode", "cni", "--inbound", "80"], "which `--mode cni` does not set"),
        (&["inject", "-f", "-", "--mode", "proxy-env", "--port", "80"], "which `--mode proxy-env` does not set"),
        (&["inject", "-f", "-", "--run-as-user", "0"], "0 is root"),
        (&["inject", "-f", "-", "--run-as-user", "1338"], "the firewall lets them pass"),
        (&["inject", "-f", "-", "--inbound", "80,http"], "`http` is no port"),
        (&["inject", "-f", "-", "--inbound", ""], "`` is no port"),
        (&["inject", "-f", "-", "--port", "0"], "0 is not in 1..=65535"),
        (&["inject", "-f", "-", "--policy-configmap", "My_Policy"], "a name has small letters"),
        (&["inject", "-f", "-", "--image", "a b"], "an image is written"),
        (&["inject", "manifests", "--namespace", "-"], "a name has small letters"),
        (&["inject", "-f", "-"], "<stdin>:1: there is no object in it"),
    ] {
        let output = attache(arguments, b"");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert!(err(&output).contains(expected), "{arguments:?}: {}", err(&output));
    }
    let large = vec![b'#'; (32 << 20) + 1];
    let output = attache(&["inject", "-f", "-"], &large);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("larger than 32 MiB"), "{}", err(&output));
}

#[test]
fn flags_reach_the_pod() {
    let arguments = [
        "inject",
        "-f",
        "-",
        "--image",
        "r.example/a:1",
        "--net-image",
        "r.example/n:1",
        "--envoy-image",
        "r.example/e@sha256:ab",
        "--policy-configmap",
        "rules",
        "--inbound",
        "8080,53/udp",
        "--port",
        "80,8443",
        "--run-as-user",
        "10000",
    ];
    let text = out(&attache(&arguments, SAFE.replace(", securityContext: {runAsUser: 10001}", "").as_bytes()));
    let pod = &documents(&text)[0];
    let containers = pod["spec"]["initContainers"].as_array().unwrap();
    let images: Vec<_> = containers.iter().map(|container| container["image"].as_str().unwrap()).collect();
    assert_eq!(images, ["r.example/n:1", "r.example/a:1", "r.example/e@sha256:ab"]);
    let args: Vec<_> = containers[0]["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    assert_eq!(args, ["net", "apply", "--port", "80,8443", "--inbound", "8080", "--inbound", "53/udp"]);
    assert_eq!(pod["spec"]["containers"][0]["securityContext"]["runAsUser"], 10_000);
    assert!(text.contains("      name: rules\n"), "{text}");
}

/// From nothing to a namespace that can take governed pods: what is printed is what the other commands take.
#[test]
fn a_namespace_gets_a_policy_and_a_bootstrap_that_hold() {
    let text = out(&attache(&["inject", "manifests", "--namespace", "agents"], b""));
    let objects = documents(&text);
    let names: Vec<_> = objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["attache-policy", "attache-envoy"]);
    assert!(objects.iter().all(|object| object["kind"] == "ConfigMap" && object["metadata"]["namespace"] == "agents"));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &Value| {
        let path = folder.path().join(name);
        fs::write(&path, text.as_str().unwrap()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let policy = file("policy.yaml", &objects[0]["data"]["policy.yaml"]);
    out(&attache(&["check", "--strict", &policy], b""));
    let asked = attache(&["explain", "--policy", &policy, "--exit-code", "GET", "https://api.example.com/"], b"");
    assert_eq!(asked.status.code(), Some(3), "{}", err(&asked));
    let envoy = file("envoy.yaml", &objects[1]["data"]["envoy.yaml"]);
    out(&attache(&["envoy", "check", &envoy], b""));
    let render = [
        "envoy",
        "render",
        "--transparent",
        "127.0.0.1:10443,[::1]:10443",
        "--admin-mode",
        "0660",
        "--max-heap",
        "192MiB",
    ];
    assert_eq!(objects[1]["data"]["envoy.yaml"], out(&attache(&render, b"")));
    // And they are no workloads: injection leaves them alone.
    assert_eq!(out(&attache(&["inject", "-f", "-"], text.as_bytes())), text);
}
