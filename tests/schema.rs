//! What editors are told of the language is what attaché reads: the schema and the reference page in `docs` are those
//! of this version, every policy that users copy fits the schema, and what is wrong is wrong to both.

#![cfg(test)]

use std::path::{Path, PathBuf};
use std::process::Command;

use attache::config::compile::{Setting, compile};
use attache::config::parse;
use jsonschema::Validator;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn printed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_attache")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn validator() -> Validator {
    let schema: Value = serde_json::from_str(&read("docs/policy.schema.json")).unwrap();
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
}

/// Where the schema refuses a policy; nowhere where it fits.
fn refusals(validator: &Validator, policy: &str) -> Vec<String> {
    let policy: Value = serde_yaml::from_str(policy).unwrap();
    validator.iter_errors(&policy).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// What attaché itself says, as `attache check` does.
fn problems(policy: &str) -> Option<String> {
    let setting = Setting { agent: None, environment: None, pod: None };
    let compiled = parse("policy", policy).compile(None, |policy, problems| compile(policy, setting, "", problems));
    compiled.err().map(|problems| problems.to_string())
}

/// The policies in files of their own, whose names say that they are policies.
fn files() -> Vec<PathBuf> {
    let patterns = ["ls-files", "--", "*policy*.yaml", "*policy*.yml", ":!fuzz"];
    let listed = Command::new("git").args(patterns).current_dir(root()).output().unwrap();
    String::from_utf8(listed.stdout).unwrap().lines().map(PathBuf::from).collect()
}

/// The policies in a page: its YAML blocks, and what a shell example writes into a policy file.
fn blocks(page: &str) -> Vec<String> {
    let between = |begin: &str, end: &str| {
        let parts = page.split(begin).skip(1).map(|rest| rest.split(end).next().unwrap().to_owned());
        parts.collect::<Vec<_>>()
    };
    [between("```yaml\n", "\n```"), between("policy.yaml <<'YAML'\n", "\nYAML")].concat()
}

#[test]
fn the_schema_and_the_page_in_docs_are_those_of_this_version() {
    for (file, arguments) in [
        ("docs/policy.schema.json", &["schema"][..]),
        ("docs/cases.schema.json", &["schema", "--cases"][..]),
        ("docs/reference.md", &["schema", "--markdown"][..]),
    ] {
        assert!(
            read(file) == printed(arguments),
            "{file} is not of this version: run `attache {} >{file}`",
            arguments.join(" ")
        );
    }
}

#[test]
fn every_policy_that_users_copy_fits_the_schema_and_is_read() {
    let validator = validator();
    let mut policies: Vec<(String, String)> =
        files().iter().map(|file| (file.display().to_string(), read(file))).collect();
    assert!(!policies.is_empty(), "no policy was found");
    for page in ["README.md", "docs/policy.md", "docs/notifications.md", "docs/dlp.md"] {
        let found = blocks(&read(page));
        assert!(!found.is_empty(), "no policy was found in {page}");
        policies.extend(found.into_iter().map(|policy| (page.to_owned(), policy)));
    }
    for (name, policy) in policies {
        assert_eq!(refusals(&validator, &policy), [""; 0], "{name}");
        assert_eq!(problems(&policy), None, "{name}");
    }
}

#[test]
fn every_policy_file_names_the_schema_in_its_first_line() {
    // A chart is packed without what is beside it: its policies are copies that name none.
    for file in files().into_iter().filter(|file| !file.starts_with("deploy/helm")) {
        let text = read(&file);
        let first = text.lines().next().unwrap();
        let path = first
            .strip_prefix("# yaml-language-server: $schema=")
            .unwrap_or_else(|| panic!("{}: the first line names no schema: {first}", file.display()));
        let schema = root().join(&file).parent().unwrap().join(path).canonicalize();
        let schema = schema.unwrap_or_else(|error| panic!("{}: {path}: {error}", file.display()));
        assert_eq!(schema, root().join("docs/policy.schema.json").canonicalize().unwrap(), "{}", file.display());
    }
}

#[test]
fn every_policy_file_is_laid_out() {
    for file in files() {
        let formatted = attache::config::fmt::format(&file.display().to_string(), &read(&file)).unwrap();
        assert!(formatted == read(&file), "run `attache fmt {}`", file.display());
    }
}

#[test]
fn what_is_wrong_is_wrong_to_both() {
    let validator = validator();
    for (name, policy) in [
        ("a list", "[]"),
        ("an unknown key", "allowDomains: []"),
        ("another version", "version: 2"),
        ("domains that are a text", "allowedDomains: a.example"),
        ("a domain that is a number", "allowedDomains: [1]"),
        ("a domain that is a URL", "allowedDomains: [\"https://a.example/path\"]"),
        ("an entry without pattern", "allowedDomains: [{action: allow}]"),
        ("an action that is none", "allowedDomains: [{pattern: a.example, action: permit}]"),
        ("a misspelt key", "allowedDomains: [{pattern: a.example, httpRestriction: []}]"),
        ("no restrictions", "allowedDomains: [{pattern: a.example, httpRestrictions: []}]"),
        ("an empty restriction", "allowedDomains: [{pattern: a.example, httpRestrictions: [{}]}]"),
        ("a path that begins nowhere", "allowedDomains: [{pattern: a.example, httpRestrictions: [{path: v1}]}]"),
        ("a path with a query", "allowedDomains: [{pattern: a.example, httpRestrictions: [{path: \"/v1?x\"}]}]"),
        ("a method with a blank", "allowedDomains: [{pattern: a.example, httpRestrictions: [{method: G T}]}]"),
        ("another protocol", "allowedDomains: [{pattern: a.example, upgrades: [h2c]}]"),
        ("a range that is none", "allowedDomains: [{pattern: a.example, allowPrivate: [private]}]"),
        ("yes", "proxyChallenge: yes"),
        ("no agents", "agents: {}"),
        ("an agent's name with a blank", "agents: {a b: {}}"),
        ("the agent all", "agents: {all: {}}"),
        ("a token in the policy", "agents: {a: {identity: [{token: hunter2}]}}"),
        ("a token from two places", "agents: {a: {identity: [{token: {env: A, file: /b}}]}}"),
        (
            "two identities in one",
            "agents: {a: {identity: [{token: {env: A}, header: {name: X-A, value: a, trusted: true}}]}}",
        ),
        ("a short hash", "agents: {a: {identity: [{token: {sha256: abc}}]}}"),
        ("a header without trust", "agents: {a: {identity: [{header: {name: X-A, value: a}}]}}"),
        ("a credential from nowhere", "credentials: [{name: a}]"),
        ("a variable that is none", "credentials: [{name: a, envVarKey: a-b}]"),
        (
            "a header without format",
            "credentials: [{name: a, file: /a, injections: [{domain: a.example, headerName: X-A}]}]",
        ),
        (
            "two slots",
            "credentials: [{name: a, file: /a, injections: [{domain: a.example, headerName: X-A, headerFormat: \"{value}\", queryParam: a}]}]",
        ),
        (
            "a format without the secret",
            "credentials: [{name: a, file: /a, injections: [{domain: a.example, headerName: X-A, headerFormat: Bearer}]}]",
        ),
        ("a rule without name", "rules: [{host: a.example, action: block}]"),
        ("a rule without action", "rules: [{name: a, host: a.example}]"),
        ("an action of a rule that is none", "rules: [{name: a, host: a.example, action: refuse}]"),
        (
            "two actions",
            "rules: [{name: a, host: a.example, action: {rateLimit: {requests: 1, per: 1s}, approval: {}}}]",
        ),
        ("a limit of nothing", "rules: [{name: a, host: a.example, action: {rateLimit: {requests: 0, per: 1s}}}]"),
        (
            "a limit that is a text",
            "rules: [{name: a, host: a.example, action: {rateLimit: {requests: \"1\", per: 1s}}}]",
        ),
        ("a window without unit", "agents: {a: {rateLimit: {requests: 1, per: 60}}}"),
        ("a weight that is none", "agents: {a: {rateLimit: {requests: 1, per: 1s, weight: body}}}"),
        ("another mode", "agents: {a: {mode: dry-run}}"),
        ("hours without a zone", "rules: [{name: a, host: a.example, action: block, only: {days: [mon]}}]"),
        (
            "hours without end",
            "rules: [{name: a, host: a.example, action: block, only: {from: \"08:00\", timezone: UTC}}]",
        ),
        (
            "an hour that is none",
            "rules: [{name: a, host: a.example, action: block, only: {from: \"8:00\", to: \"25:00\", timezone: UTC}}]",
        ),
        (
            "a day that is none",
            "rules: [{name: a, host: a.example, action: block, except: {days: [Montag], timezone: UTC}}]",
        ),
        ("a ceiling that grants", "organization: {allowedDomains: [{pattern: a.example, upgrades: [websocket]}]}"),
        ("an organization's agents", "organization: {agents: {}}"),
        ("an agent in a profile", "profiles: {a: {identity: []}}"),
        ("a SPIFFE ID without workload", "agents: {a: {identity: [{spiffe: \"spiffe://prod.example\"}]}}"),
        ("an address that is none", "agents: {a: {identity: [{sourceAddress: here}]}}"),
        ("a service without hosts", "services: {a: {headerName: X-A, headerFormat: \"{value}\"}}"),
        (
            "a service with two slots",
            "services: {a: {hosts: [a.example], headerName: X-A, headerFormat: \"{value}\", queryParam: a}}",
        ),
        ("an injection with nothing to fill", "credentials: [{name: a, file: /a, injections: [{domain: a.example}]}]"),
        ("an endpoint that is empty", "credentials: [{name: a, file: /a, service: openai, endpoints: [{}]}]"),
        ("no endpoints", "credentials: [{name: a, file: /a, service: openai, endpoints: []}]"),
        ("an entry in vault without field", "credentials: [{name: a, service: openai, vault: {path: a}}]"),
        (
            "two ways to log in",
            "credentials: [{name: a, service: openai, vault: {path: a, field: a, auth: {tokenEnv: A, tokenFile: /a}}}]",
        ),
        (
            "a secret in the policy",
            "notifications: {a: {webhook: {url: \"https://a.example/\", secret: hunter2}, events: [blocked]}}",
        ),
        (
            "another event",
            "notifications: {a: {webhook: {url: \"https://a.example/\", secret: {env: A}}, events: [allowed]}}",
        ),
        ("no events", "notifications: {a: {webhook: {url: \"https://a.example/\", secret: {env: A}}}}"),
        ("nobody", "credentials: [{name: a, file: /a, agents: []}]"),
    ] {
        assert!(problems(policy).is_some(), "{name}: attaché reads {policy}");
        assert!(!refusals(&validator, policy).is_empty(), "{name}: the schema takes {policy}");
    }
}
