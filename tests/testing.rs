//! What `attache explain` and `attache test` promise whoever calls them: exit codes, no network, no variable, and a page
//! whose examples do what it says.

#![cfg(test)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

const POLICY: &str = "allowedDomains: [a.example]\nagents: {ann: {identity: [{token: {env: ANN}}]}}\n";

/// What the command says, and how it exits; with no variable set, in a folder with these files.
fn attache(files: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String, String) {
    attache_fed(files, arguments, "")
}

/// The same with this on its standard input.
fn attache_fed(files: &[(&str, &str)], arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_attache"));
    std::fs::write(folder.path().join(".input"), input).unwrap();
    let input = std::fs::File::open(folder.path().join(".input")).unwrap();
    let output = command.env_clear().current_dir(folder.path()).args(arguments).stdin(input).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_exit_code_of_explain_is_what_it_says() {
    let file = [("policy.yaml", POLICY), ("body", "x"), ("wrong.yaml", "allowDomains: []")];
    let explain = |arguments: &[&str]| attache(&file, &[&["explain", "--policy", "policy.yaml"], arguments].concat());
    for (arguments, expected) in [
        (&["--agent", "ann", "GET", "https://a.example/"][..], 0),
        (&["--agent", "ann", "--exit-code", "-d", "@body", "POST", "https://a.example/"], 0),
        (&["--agent", "ann", "GET", "https://b.example/"], 0),
        (&["--agent", "ann", "--exit-code", "GET", "https://b.example/"], 3),
        (&["--exit-code", "GET", "https://a.example/"], 3),
        (&["--agent", "bob", "GET", "https://a.example/"], 2),
        (&["GET", "/v1"], 2),
        (&["GET", "a.example/v1"], 2),
        (&["GET", "ftp://a.example/"], 2),
        (&["-H", "nonsense", "GET", "https://a.example/"], 2),
        (&["-d", "@missing", "POST", "https://a.example/"], 2),
        (&["--at", "yesterday", "GET", "https://a.example/"], 2),
        (&["GET"], 2),
    ] {
        let (code, stdout, stderr) = explain(arguments);
        assert_eq!(code, Some(expected), "{arguments:?}\n{stdout}\n{stderr}");
        assert_eq!(stdout.is_empty(), expected == 2, "{arguments:?}: {stdout}");
        assert!(!stdout.contains('\u{1b}'), "colours in a pipe");
    }
    let (code, _, stderr) = attache(&file, &["explain", "--policy", "wrong.yaml", "GET", "https://a.example/"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("wrong.yaml:1:1") && stderr.contains("did you mean `allowedDomains`?"), "{stderr}");
}

#[test]
fn a_token_that_is_not_here_is_said_to_be_missing() {
    let arguments = ["explain", "--policy", "policy.yaml", "-o", "json", "-H", "Authorization: Bearer abc", "GET"];
    let (_, stdout, _) = attache(&[("policy.yaml", POLICY)], &[&arguments[..], &["http://a.example/"]].concat());
    let said: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(said["reason"], "invalid_token");
    let note = said["notes"][0].as_str().unwrap();
    assert!(note.contains("`ann`") && note.contains("`ANN` is not set"), "{note}");
    assert!(!stdout.contains("abc"), "a token in the output");
}

#[test]
fn the_organization_bounds_what_is_explained() {
    let files = [("policy.yaml", POLICY), ("bounds.yaml", "organization: {blockedDomains: [a.example]}")];
    let policy = ["explain", "--policy", "policy.yaml", "--organization", "bounds.yaml", "--exit-code"];
    let (code, stdout, _) = attache(&files, &[&policy[..], &["--agent", "ann", "GET", "https://a.example/"]].concat());
    assert_eq!(code, Some(3), "{stdout}");
    assert!(stdout.contains("organization.blockedDomains[a.example]  bounds.yaml:1:"), "{stdout}");
}

#[test]
fn the_exit_code_of_test_is_what_it_says() {
    let (good, bad) = ("- GET https://a.example/: allow\n", "- GET https://b.example/: allow\n");
    for (cases, expected) in [(good, 0), (bad, 3), ("- GET /: allow\n", 2), ("", 2), ("- {}\n", 2)] {
        let arguments = ["test", "--policy", "policy.yaml", "--agent", "ann", "cases.yaml"];
        let (code, stdout, stderr) = attache(&[("policy.yaml", POLICY), ("cases.yaml", cases)], &arguments);
        assert_eq!(code, Some(expected), "{cases}\n{stdout}\n{stderr}");
        assert_eq!(stderr.contains("cases.yaml:1:"), expected == 2, "{cases}\n{stderr}");
    }
    let files = [("policy.yaml", POLICY), ("a.yaml", good), ("b.yaml", bad)];
    let both = |format: &str| {
        let arguments = ["test", "--policy", "policy.yaml", "--agent", "ann", "-o", format, "a.yaml", "b.yaml"];
        let (code, stdout, stderr) = attache(&files, &arguments);
        assert_eq!(code, Some(3), "{stderr}");
        stdout
    };
    let json: Value = serde_json::from_str(&both("json")).unwrap();
    assert_eq!((&json["passed"], &json["failed"]), (&1.into(), &1.into()));
    assert_eq!(json["cases"][1]["failures"][0]["explanation"]["reason"], "domain_not_allowed");
    assert!(both("junit").contains("<testsuites tests=\"2\" failures=\"1\">"));
    assert_eq!(attache(&files, &["test", "--policy", "policy.yaml", "missing.yaml"]).0, Some(2));
}

/// The policy of the page, and its cases, which come to what they say.
#[test]
fn the_examples_of_the_page_do_what_it_says() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/testing.md")).unwrap();
    let blocks: Vec<&str> = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [policy, cases] = blocks[..] else { panic!("the page has a policy and cases") };
    let files = [("policy.yaml", policy), ("cases.yaml", cases)];
    let (code, stdout, stderr) = attache(&files, &["test", "--verbose", "--policy", "policy.yaml", "cases.yaml"]);
    assert_eq!((code, stdout.matches('✓').count()), (Some(0), 7), "{stdout}\n{stderr}");

    let schema: Value = serde_json::from_str(include_str!("../docs/cases.schema.json")).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(validator.is_valid(&serde_yaml::from_str(cases).unwrap()));

    // Every key of the object is told of, and no other.
    let arguments = ["explain", "--policy", "policy.yaml", "-o", "json", "--agent", "coder", "GET"];
    let (_, stdout, _) = attache(&files, &[&arguments[..], &["https://api.example.com/"]].concat());
    let said: Value = serde_json::from_str(&stdout).unwrap();
    let table = page.split("## JSON").nth(1).unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let mut told: Vec<_> = rows.flat_map(|keys| keys.split(", ")).map(|key| key.trim_matches('`')).collect();
    told.sort_unstable();
    assert_eq!(said.as_object().unwrap().keys().collect::<Vec<_>>(), told);
}

/// As a renderer prints it, into a pipe.
#[test]
fn a_rendered_manifest_is_read_from_a_pipe() {
    let manifest = |policy: &str| {
        format!(
            "apiVersion: v1\nkind: Service\n---\napiVersion: v1\ndata:\n  policy.yaml: |\n    {policy}\nkind: ConfigMap\n\
             metadata:\n  name: attache-policy-5d8k\n"
        )
    };
    let (good, wrong) = (manifest("allowedDomains: [a.example]"), manifest("allowDomains: [a.example]"));
    let files = [("cases.yaml", "[GET https://a.example/: allow]"), ("old.yaml", "allowedDomains: []")];
    for (arguments, manifest, expected, said) in [
        (&["check", "-"][..], &good, 0, "<stdin>: ok"),
        (&["check", "-o", "json", "-"], &wrong, 2, "\"line\":7,"),
        (&["check", "--configmap", "other", "-"], &good, 2, "it has `attache-policy-5d8k`"),
        (&["explain", "--policy", "-", "GET", "https://a.example/"], &good, 0, "<stdin>:7"),
        (&["test", "--policy", "-", "cases.yaml"], &good, 0, "as expected"),
        (&["diff", "old.yaml", "-"], &good, 3, "(<stdin>:7)"),
        (&["diff", "old.yaml", "-"], &wrong, 2, "<stdin>:7:5: error"),
    ] {
        let (code, stdout, stderr) = attache_fed(&files, arguments, manifest);
        assert_eq!(code, Some(expected), "{arguments:?}\n{stdout}\n{stderr}");
        assert!(format!("{stdout}{stderr}").contains(said), "{arguments:?}\n{stdout}\n{stderr}");
    }
}
