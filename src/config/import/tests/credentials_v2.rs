use super::*;

const FILE: &str = "sandbox.json";
/// The documented shape.
const OPENAI: &str = r#"{
  "image": "python:3.12-slim",
  "credentials_v2": {
    "openai": {
      "key": "sk-real-openai-key",
      "endpoints": [
        { "methods": ["POST"], "paths": ["/v1/chat/completions"] },
        { "methods": ["GET"],  "paths": ["/v1/models"] }
      ]
    }
  }
}"#;

/// The secrets of these tests: none may be seen again.
const SECRETS: [&str; 3] = ["sk-real-openai-key", "ghp_hunter2", "hunter3"];

/// Everything below the heading.
fn body(text: &str) -> String {
    let (policy, _) = imported(Format::CredentialsV2, &[(FILE, text)], &options());
    assert!(!SECRETS.iter().any(|secret| policy.contains(secret)), "{policy}");
    policy.split("version: 1\n\n").nth(1).unwrap().to_owned()
}

#[test]
fn the_documented_shape() {
    let expected = "\
allowedDomains:
  # sandbox.json, credentials_v2.openai
  - api.openai.com

credentials:
  # sandbox.json, credentials_v2.openai
  - name: openai
    envVarKey: OPENAI_API_KEY
    service: openai
    endpoints:
      - {methods: [POST], paths: [/v1/chat/completions]}
      - {methods: [GET], paths: [/v1/models]}
";
    same(&body(OPENAI), expected);
    let (_, warnings) = imported(Format::CredentialsV2, &[(FILE, OPENAI)], &options());
    assert_eq!(warnings, ["5:14 warning: the key is not taken over: the policy reads it from `OPENAI_API_KEY`"]);
}

#[test]
fn reading_github_only() {
    let text = r#"{"credentials_v2": {"github": {"key": "ghp_hunter2", "endpoints": [
        {"methods": ["GET"], "paths": ["/repos/*"]}, {"methods": ["GET"], "paths": ["/user"]}]}}}"#;
    let expected = "\
allowedDomains:
  # sandbox.json, credentials_v2.github
  - api.github.com
  # sandbox.json, credentials_v2.github
  - uploads.github.com

credentials:
  # sandbox.json, credentials_v2.github
  - name: github
    envVarKey: GITHUB_API_KEY
    service: github
    endpoints:
      - {methods: [GET], paths: [/repos/*]}
      - {methods: [GET], paths: [/user]}
";
    same(&body(text), expected);
}

#[test]
fn inference_only() {
    let text = r#"{"credentials_v2": {"openai": {"key": "hunter3", "endpoints": [
        {"methods": ["POST"], "paths": ["/v1/chat/completions"]}, {"methods": ["POST"], "paths": ["/v1/embeddings"]},
        {"methods": ["GET"], "paths": ["/v1/models"]}]}}}"#;
    let expected = "    endpoints:
      - {methods: [POST], paths: [/v1/chat/completions]}
      - {methods: [POST], paths: [/v1/embeddings]}
      - {methods: [GET], paths: [/v1/models]}
";
    assert!(body(text).ends_with(expected), "{}", body(text));
}

#[test]
fn the_simple_form() {
    let expected = "\
allowedDomains:
  # sandbox.json, credentials.openai
  - api.openai.com

credentials:
  # sandbox.json, credentials.openai
  - name: openai
    envVarKey: OPENAI_API_KEY
    service: openai
";
    same(&body(r#"{"credentials": {"openai": "hunter3"}}"#), expected);
}

#[test]
fn of_a_shared_host_only_the_services_paths_are_allowed() {
    let policy = body(r#"{"credentials": {"gitlab": "hunter3"}}"#);
    assert!(policy.contains("  - {pattern: gitlab.com, httpRestrictions: [{path: /api/**}]}\n"), "{policy}");
    let policy = body(r#"{"credentials": {"gitlab": "hunter3", "gitlab-pages": "hunter3"}}"#);
    let both = "  # sandbox.json, credentials.gitlab; sandbox.json, credentials.gitlab-pages\n  - {pattern: gitlab.com, httpRestrictions: [{path: /api/**}, {path: /pages/**}]}\n";
    assert!(policy.contains(both), "{policy}");
    let policy = body(r#"{"credentials": {"gitlab": "hunter3", "gitlab-all": "hunter3"}}"#);
    assert!(policy.contains("\n  - gitlab.com\n"), "{policy}");
}

#[test]
fn no_methods_are_all_and_no_endpoints_are_none() {
    let text =
        r#"{"credentials_v2": {"openai": {"key": "hunter3", "endpoints": [{"methods": [], "paths": ["/v1"]}]}}}"#;
    assert!(body(text).contains("- {methods: [], paths: [/v1]}"), "{}", body(text));
    let text = r#"{"credentials_v2": {"openai": {"key": "hunter3", "endpoints": []}}}"#;
    same(&body(text), "# sandbox.json, credentials_v2.openai allows nothing\nallowedDomains: []\n");
}

#[test]
fn what_is_not_known_is_refused_and_no_key_is_shown() {
    let key = "\"key\": \"hunter3\"";
    for (text, expected) in [
        (
            format!(r#"{{"credentials_v2": {{"acme": {{{key}}}}}}}"#),
            "1:21 there is no service of this name in the catalogue",
        ),
        (
            format!(r#"{{"credentials_v2": {{"jira": {{{key}}}}}}}"#),
            "1:21 this service has other hosts for each customer",
        ),
        (
            r#"{"credentials_v2": {"hunter3": {"key": "openai", "endpoints": []}}}"#.into(),
            "1:21 there is no service of this name",
        ),
        (r#"{"credentials": {"hunter3": "openai"}}"#.into(), "1:18 there is no service of this name"),
        (r#"{"credentials": {"hunter3 ": "openai"}}"#.into(), "1:18 this is not the name of a service"),
        (
            r#"{"credentials": {"openai": {"key": "hunter3"}}}"#.into(),
            "1:28 expected a key, which is a text, found a mapping",
        ),
        (r#"{"credentials_v2": {"openai": "hunter3"}}"#.into(), "1:31 expected a credential, found a text"),
        (r#"{"credentials_v2": {"openai": {}}}"#.into(), "1:31 a credential needs `key`"),
        (r#"{"image": "x"}"#.into(), "1:1 there are no credentials in it"),
        (format!(r#"{{"credentials_v2": {{"openai": {{{key}}}}}, "network": {{}}}}"#), "unknown key `network`"),
        (format!(r#"{{"credentials_v2": {{"openai": {{{key}, "agents": []}}}}}}"#), "unknown key `agents`"),
        (
            format!(r#"{{"credentials_v2": {{"openai": {{{key}}}}}, "credentials": {{"openai": "hunter3"}}}}"#),
            "this service is given in both forms",
        ),
    ] {
        let problems = refused(Format::CredentialsV2, &[(FILE, &text)], &options());
        let found = brief(&problems).join("\n");
        assert!(found.contains(expected), "{text}\n{found}");
        let shown = problems.to_string();
        assert!(!SECRETS.iter().any(|secret| shown.contains(secret)), "{text}\n{shown}");
    }
    for endpoint in [
        r#"{"paths": ["/v1"]}"#,
        r#"{"methods": ["GET"]}"#,
        r#"{"methods": ["GET"], "paths": []}"#,
        r#"{"methods": "GET", "paths": ["/v1"]}"#,
        r#"{"methods": ["G T"], "paths": ["/v1"]}"#,
        r#"{"methods": ["any"], "paths": ["/v1"]}"#,
        r#"{"methods": ["GET"], "paths": ["v1"]}"#,
        r#"{"methods": ["GET"], "paths": ["/v1/{id}"]}"#,
        r#"{"methods": ["GET"], "paths": ["/v1?x"]}"#,
        r#"{"methods": ["GET"], "paths": ["/v1"], "hosts": []}"#,
    ] {
        let text = format!(r#"{{"credentials_v2": {{"openai": {{{key}, "endpoints": [{endpoint}]}}}}}}"#);
        refused(Format::CredentialsV2, &[(FILE, &text)], &options());
    }
}
