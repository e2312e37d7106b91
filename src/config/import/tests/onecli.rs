use super::*;

const FILE: &str = "rules.json";
/// The documented examples as the API lists them, newest first.
const EXAMPLE: &str = r#"[
  {"id": "cm3", "name": "Keep research off GitHub", "hostPattern": "api.github.com", "pathPattern": null,
   "method": null, "action": "block", "enabled": true, "agentId": "cm-agent-7", "rateLimit": null,
   "rateLimitWindow": null, "scope": "project", "metadata": null, "conditions": null,
   "createdAt": "2026-03-03T10:00:00.000Z"},
  {"id": "cm2", "name": "Slack cap", "hostPattern": "slack.com", "pathPattern": "/api/chat.postMessage",
   "method": "POST", "action": "rate_limit", "enabled": true, "agentId": null, "rateLimit": 10,
   "rateLimitWindow": "hour", "scope": "project", "metadata": null, "conditions": [],
   "createdAt": "2026-03-02T10:00:00.000Z"},
  {"id": "cm1", "name": "Block Gmail deletes", "hostPattern": "gmail.googleapis.com",
   "pathPattern": "/gmail/v1/users/*/messages/*", "method": "DELETE", "action": "block", "enabled": true,
   "agentId": null, "rateLimit": null, "rateLimitWindow": null, "scope": "project", "metadata": null,
   "conditions": null, "createdAt": "2026-03-01T10:00:00.000Z"}
]"#;

/// A rule for `api.example.com` with these fields beside.
fn rule(fields: &str) -> String {
    format!(r#"{{"name": "x", "hostPattern": "api.example.com", "enabled": true, {fields}}}"#)
}

/// Everything below the heading.
fn body(text: &str, options: &Options<'_>) -> String {
    let (policy, _) = imported(Format::Onecli, &[(FILE, text)], options);
    policy.split("version: 1\n\n").nth(1).unwrap().to_owned()
}

#[test]
fn the_documented_examples() {
    let agents = [("cm-agent-7".to_owned(), "research-agent".to_owned())];
    let options = Options { agents: &agents, ..options() };
    let expected = r#"# onecli lets every request pass that no rule is about
allowedDomains: ["*"]

agents:
  # agentId cm-agent-7
  research-agent:
    identity:
      - {token: {env: RESEARCH_AGENT_TOKEN}}

rules:
  # rules.json [0]
  - name: Keep research off GitHub
    host: api.github.com
    agents: [research-agent]
    action: block
  # rules.json [1]
  - name: Slack cap
    host: slack.com
    path: /api/chat.postMessage
    method: POST
    agents: all
    action: {rateLimit: {requests: 10, per: hour}}
  # rules.json [2]
  - name: Block Gmail deletes
    host: gmail.googleapis.com
    path: /gmail/v1/users/*/messages/**
    method: DELETE
    agents: all
    action: block
"#;
    same(&body(EXAMPLE, &options), expected);
    let (_, warnings) = imported(Format::Onecli, &[(FILE, EXAMPLE)], &options);
    assert_eq!(
        warnings,
        [
            "warning: every host is allowed that no rule blocks, as in onecli's policy mode `allow`",
            "3:67 warning: agents are known here by tokens, and only those that rules name are in the policy",
        ]
    );
}

#[test]
fn an_agent_without_a_name_has_its_id() {
    let text = rule(r#""action": "block", "agentId": "agent 7""#);
    let (policy, warnings) = imported(Format::Onecli, &[(FILE, &text)], &options());
    assert!(policy.contains("env: AGENT_7_TOKEN") && policy.contains("agents: [agent-7]"), "{policy}");
    assert!(warnings.iter().any(|w| w.ends_with("the agent `agent 7` is called `agent-7` here")), "{warnings:?}");
}

#[test]
fn paths_mean_what_they_meant() {
    for (path, expected) in [
        ("null", None),
        ("\"\"", None),
        ("\"*\"", None),
        ("\"/*\"", None),
        ("\"/v1\"", Some("/v1")),
        ("\"/v1/*\"", Some("/v1/**")),
        ("\"/a/*/b\"", Some("/a/*/b")),
    ] {
        let policy = body(&rule(&format!(r#""action": "block", "pathPattern": {path}"#)), &options());
        let found = policy.lines().find_map(|line| line.strip_prefix("    path: "));
        assert_eq!(found, expected, "{path}");
    }
}

#[test]
fn every_action_and_scope() {
    let approval = rule(r#""action": "manual_approval", "method": "POST""#);
    let bound = rule(r#""action": "block", "scope": "organization""#);
    let again = rule(r#""action": "rate_limit", "rateLimit": 3, "rateLimitWindow": "day""#);
    let disabled = r#"{"name": "off", "action": "block", "enabled": false, "conditions": [{}]}"#;
    let expected = r#"# rules.json [3] is left out: it is disabled there
organization:
  rules:
    # rules.json [1]
    - name: x
      host: api.example.com
      agents: all
      action: block

# onecli lets every request pass that no rule is about
allowedDomains: ["*"]

rules:
  # rules.json [0]
  - name: x (2)
    host: api.example.com
    method: POST
    agents: all
    action: {approval: {hold: 20s, expires: 15m}}
  # rules.json [2]
  - name: x (3)
    host: api.example.com
    agents: all
    action: {rateLimit: {requests: 3, per: day}}
"#;
    same(&body(&format!("[{approval}, {bound}, {again}, {disabled}]"), &options()), expected);
}

#[test]
fn a_closed_default_allows_what_rules_permit() {
    let rules = r#"[
 {"name": "a", "hostPattern": "*.x.example", "pathPattern": "/a/*", "method": "GET", "action": "allow"},
 {"name": "b", "hostPattern": "api.x.example", "method": "POST", "action": "allow", "agentId": "bob"},
 {"name": "c", "hostPattern": "api.x.example", "pathPattern": "/c", "action": "rate_limit", "rateLimit": 3,
  "rateLimitWindow": "minute"},
 {"name": "d", "hostPattern": "b.x.example", "pathPattern": "/d", "action": "manual_approval", "agentId": "bob"},
 {"name": "e", "hostPattern": "e.example", "action": "block"}
]"#;
    let deny = Options { mode: Some(PolicyMode::Deny), ..options() };
    let expected = r#"# what its rules permit
allowedDomains:
  - pattern: "*.x.example"
    httpRestrictions:
      # rules.json [0]
      - {method: GET, path: /a}
      - {method: GET, path: /a/**}
  - pattern: api.x.example
    httpRestrictions:
      # rules.json [0]
      - {method: GET, path: /a}
      - {method: GET, path: /a/**}
      # rules.json [2]
      - {path: /c}

agents:
  # agentId bob
  bob:
    identity:
      - {token: {env: BOB_TOKEN}}
    allowedDomains:
      - pattern: api.x.example
        httpRestrictions:
          # rules.json [1]
          - {method: POST, path: /**}
      - pattern: b.x.example
        httpRestrictions:
          # rules.json [0]
          - {method: GET, path: /a}
          - {method: GET, path: /a/**}
          # rules.json [3]
          - {path: /d}

rules:
  # rules.json [0] allows: see allowedDomains
  # rules.json [1] allows: see allowedDomains
  # rules.json [2]
  - name: c
    host: api.x.example
    path: /c
    agents: all
    action: {rateLimit: {requests: 3, per: minute}}
  # rules.json [3]
  - name: d
    host: b.x.example
    path: /d
    agents: [bob]
    action: {approval: {hold: 20s, expires: 15m}}
  # rules.json [4]
  - name: e
    host: e.example
    agents: all
    action: block
"#;
    same(&body(rules, &deny), expected);

    let problems = refused(Format::Onecli, &[(FILE, rules)], &options());
    assert!(problems.to_string().contains("--policy-mode"), "{problems}");
    let allow = Options { mode: Some(PolicyMode::Allow), ..options() };
    assert!(body(rules, &allow).contains("# rules.json [0] allows: everything is allowed"));
}

#[test]
fn what_cannot_be_said_is_refused() {
    let for_all = rule(r#""action": "block", "method": "GET""#);
    for (text, expected) in [
        (
            r#"{"name": "x", "action": "block", "metadata": {"source": "app_permission"}}"#.into(),
            "has no `hostPattern`",
        ),
        (
            rule(r#""action": "block", "conditions": [{"target": "body", "operator": "contains", "value": "x"}]"#),
            "`conditions`",
        ),
        (rule(r#""action": "log""#), "`log` is not an action"),
        (rule(r#""action": "rate_limit""#), "a rate limit needs `rateLimit`"),
        (rule(r#""action": "rate_limit", "rateLimit": 0, "rateLimitWindow": "hour""#), "a rate limit needs"),
        (rule(r#""action": "rate_limit", "rateLimit": 1, "rateLimitWindow": "week""#), "`week` is not a window"),
        (rule(r#""action": "block", "method": "G T""#), "`G T` is not a method"),
        (rule(r#""action": "block", "pathPattern": "/a/{id}""#), "no wildcards there"),
        (rule(r#""action": "block", "pathPattern": "/a?b=c""#), "is no pattern of paths"),
        (rule(r#""action": "block", "scope": "organization", "agentId": "bob""#), "is about every agent"),
        (rule(r#""action": "block", "priority": 1"#), "unknown key `priority`"),
        (rule(r#""action": "block""#).replace("api.example.com", "api.example.com:443"), "matches no host there"),
        (rule(r#""action": "block""#).replace("api.example.com", "*"), "matches no host there"),
        (rule(r#""action": "block""#).replace("api.example.com", "a*.example"), "is no pattern of hosts"),
        (
            format!("[{for_all}, {}]", rule(r#""action": "manual_approval", "method": "GET", "agentId": "bob""#)),
            "stands in the place of rules.json:1:2",
        ),
        ("[]".into(), "there is no rule to import"),
    ] {
        let problems = refused(Format::Onecli, &[(FILE, &text)], &options());
        assert!(problems.to_string().contains(expected), "{text}: {problems}");
    }
}
