//! `attache dlp` from outside: what it prints, where, and how it ends.

#![cfg(test)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// A token of the right shape that never was one.
const TOKEN: &str = "ghp_q8Zr3vTn5kLwXy2Bc7Df9Gh4Jm6Np1Qs0Tu3";

fn run(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_attache"))
        .arg("dlp")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn what_is_found_is_named_without_being_shown() {
    let (code, out, err) = run(&["scan"], &format!("all is well\nnow {TOKEN} is not\n"));
    assert_eq!((code, &*err), (Some(3), ""), "{out}");
    assert!(out.starts_with("<stdin>:2:5: github-personal-access-token [credentials] "), "{out}");
    assert!(out.contains("`ghp_…`") && !out.contains("q8Zr3"), "{out}");
    assert_eq!(run(&["scan"], "all is well\n"), (Some(0), String::new(), String::new()));
}

#[test]
fn files_are_looked_at_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (good, bad) = (file("good.txt", "nothing"), file("bad.json", &format!(r#"{{"a": {{"b": "{TOKEN}"}}}}"#)));
    let (code, out, _) = run(&["scan", &good, &bad], "");
    assert!(code == Some(3) && out.lines().count() == 1, "{out}");
    assert!(out.starts_with(&bad) && out.trim_end().ends_with(" at body.$.a.b"), "{out}");
    let (code, _, err) = run(&["scan", folder.path().join("none").to_str().unwrap()], "");
    assert!(code == Some(2) && err.contains("cannot be read"), "{err}");
}

#[test]
fn a_policy_says_what_counts() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    let text = "agents: {free: {identity: [{sourceAddress: 192.0.2.1}], dlp: off}, bound: {identity: [{sourceAddress: 192.0.2.2}]}}\n\
                dlp:\n  rules: [{id: acme, keywords: [acme_], pattern: 'acme_[0-9]{8}'}]\n  canaries: [{name: bait, value: x7Kp2mQw9Rt4Yv6Z}]\n";
    std::fs::write(&policy, text).unwrap();
    let policy = policy.to_str().unwrap();
    let scan = |agent: &str, text: &str| {
        let (code, out, err) = run(&["scan", "--policy", policy, "--agent", agent], text);
        assert_eq!(err, "");
        (code, out.lines().filter_map(|line| line.split(' ').nth(1)).map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(scan("bound", "acme_47110815"), (Some(3), vec!["acme".to_owned()]));
    assert_eq!(scan("free", "acme_47110815"), (Some(0), vec![]));
    for agent in ["bound", "free"] {
        // What stands there backwards is there.
        assert_eq!(scan(agent, "Z6vY4tR9wQm2pK7x"), (Some(3), vec!["canary:bait".to_owned()]), "{agent}");
    }
    let (code, _, err) = run(&["scan", "--policy", policy, "--agent", "nobody"], "");
    assert!(code == Some(2) && err.contains("no agent `nobody`"), "{err}");
}

#[test]
fn cases_are_lines_of_json_in_and_out() {
    let held = "Tz5vQ9xLm2Wc8Rb4Yn7K";
    let cases = [
        format!(r#"{{"id": "a", "text": "{TOKEN}"}}"#),
        r#"{"id": "b", "text": "nothing"}"#.to_owned(),
        format!(
            r#"{{"id": "c", "category": "known_secret", "secret": "{held}", "requests": [{{"method": "GET", "url": "https://a.example/?k={held}"}}]}}"#
        ),
        // Here it is only told what the case is about.
        format!(
            r#"{{"id": "d", "category": "other", "secret": "{held}", "requests": [{{"method": "GET", "url": "https://a.example/{held}"}}]}}"#
        ),
        // A token in two requests.
        format!(
            r#"{{"id": "e", "requests": [{{"url": "https://a.example/?p={}"}}, {{"url": "https://a.example/?p={}"}}]}}"#,
            &TOKEN[..20],
            &TOKEN[20..]
        ),
    ];
    let (code, out, err) = run(&["scan", "--jsonl"], &cases.join("\n"));
    assert_eq!((code, &*err), (Some(3), ""));
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<_> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a", "c", "e"], "{out}");
    let known = &lines[1]["findings"][0];
    assert_eq!((&known["category"], &known["confidence"]), (&"knownSecret".into(), &"confirmed".into()), "{known}");
    assert!(!out.contains(held) && !out.contains("q8Zr3"), "{out}");
    let (code, _, err) = run(&["scan", "--jsonl"], "{\"id\": 1}\nno\n");
    assert!(code == Some(2) && err.contains("<stdin>:2: this is no case"), "{err}");
}

#[test]
fn an_import_passes_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let toml = folder.path().join("rules.toml");
    std::fs::write(&toml, "[[rules]]\nid = 'acme'\nregex = 'acme_([0-9a-f]{16})'\nkeywords = ['acme_']\n").unwrap();
    let (code, policy, err) = run(&["import", "--from", "gitleaks", toml.to_str().unwrap()], "");
    assert_eq!((code, &*err), (Some(0), ""), "{policy}");
    let file = folder.path().join("policy.yaml");
    std::fs::write(&file, policy).unwrap();
    let file = file.to_str().unwrap();
    let checked = Command::new(env!("CARGO_BIN_EXE_attache")).args(["check", "--strict", file]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let (code, out, _) = run(&["scan", "--policy", file], "acme_0f3a1c9b7d2e4f68");
    assert!(code == Some(3) && out.contains(": acme [credentials] medium"), "{out}");
}

#[test]
fn rules_are_listed() {
    let (code, out, _) = run(&["rules", "-o", "json"], "");
    let rules: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    let services: std::collections::BTreeSet<_> = rules.iter().filter_map(|rule| rule["service"].as_str()).collect();
    assert!(code == Some(0) && rules.len() > 250 && services.len() > 150, "{} {}", rules.len(), services.len());
}
