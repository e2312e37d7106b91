mod arbitrary;
mod decisions;
mod diff;
mod dlp;
mod files;
mod lint;
mod manifests;
mod meaning;
mod mistakes;
mod outside;
mod pods;

use std::path::PathBuf;

use super::schema::{
    Action, FilteredFields, Identity, Methods, SecretSource, Slot, TokenIdentity, TokenSource, Upgrade,
};
use super::*;

fn accepted(text: &str) -> Accepted<Policy> {
    match compiled(parse("policy.yaml", text)) {
        Ok(accepted) => {
            let schema = jsonschema::draft202012::new(&describe::json_schema()).unwrap();
            let policy = serde_yaml::from_str(text.trim_start_matches('\u{feff}')).unwrap();
            schema.validate(&policy).unwrap();
            accepted
        }
        Err(problems) => panic!("{problems}"),
    }
}

fn compiled(draft: Draft) -> Result<Accepted<Policy>, Problems> {
    draft.compile(None, |policy, _| Some(policy.clone()))
}

fn problems(draft: Draft) -> Problems {
    match compiled(draft) {
        Ok(accepted) => accepted.warnings,
        Err(problems) => problems,
    }
}

/// `line:column message | fix` of each problem.
fn complaints(text: &str) -> Vec<String> {
    brief(&problems(parse("policy.yaml", text)))
}

fn brief(problems: &Problems) -> Vec<String> {
    problems
        .iter()
        .map(|problem| {
            let place = problem.at.map(|at| format!("{}:{} ", at.line, at.column)).unwrap_or_default();
            let warning = if problem.severity == Severity::Warning { "warning: " } else { "" };
            let fix = problem.fix.as_deref().unwrap_or("-");
            format!("{place}{warning}{} | {fix}", problem.message)
        })
        .collect()
}

#[test]
fn the_documented_examples_are_policies() {
    let policy = accepted(
        r#"
allowedDomains:
- pattern: "api.jira.example.com"
  action: "allow"
  httpRestrictions:
  - method: "GET"
    path: "/rest/api/2/issue/*"
  - method: "POST"
    path: "/rest/api/2/issue"
- pattern: "*.servicenow.com"
  action: "allow"
- pattern: "api.pagerduty.com"
  action: "allow"
credentials:
- name: "jira-token"
  envVarKey: "JIRA_API_TOKEN"
  injections:
  - domain: "api.jira.example.com"
    headerName: "Authorization"
    headerFormat: "Basic {base64:user@example.com:{value}}"
- name: "pagerduty-token"
  envVarKey: "PAGERDUTY_API_KEY"
  injections:
  - domain: "api.pagerduty.com"
    headerName: "Authorization"
    headerFormat: "Token token={value}"
"#,
    );
    assert!(policy.warnings.is_empty());
    let policy = policy.value;
    let patterns: Vec<_> = policy.allowed_domains.iter().map(|entry| entry.pattern.as_str()).collect();
    assert_eq!(patterns, ["api.jira.example.com", "*.servicenow.com", "api.pagerduty.com"]);
    let restrictions = policy.allowed_domains[0].restrictions.as_ref().unwrap();
    let Methods::Listed(methods) = &restrictions[1].methods else { panic!("a listed method") };
    assert_eq!(methods[0].value, "POST");
    assert_eq!(restrictions[1].path.as_ref().unwrap().value, "/rest/api/2/issue");
    assert!(policy.allowed_domains[1].restrictions.is_none());
    assert!(policy.agents.is_none());
    let jira = &policy.credentials[0];
    assert_eq!(jira.source.value, SecretSource::Environment("JIRA_API_TOKEN".to_owned()));
    let Some(Slot::Header { name, format }) = &jira.injections[0].slot else { panic!("a header") };
    assert_eq!(name.value, http::header::AUTHORIZATION);
    assert_eq!(format.value, "Basic {base64:user@example.com:{value}}");
}

#[test]
fn the_example_of_the_reference_is_a_policy_without_mistakes() {
    let page = include_str!("../../docs/policy.md");
    let example = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let setting = super::compile::Setting { agent: None, environment: None, pod: None };
    let outcome = parse("policy.md", example)
        .compile(None, |policy, problems| super::compile::compile(policy, setting, "rev", problems));
    match outcome {
        Ok(accepted) => assert_eq!(accepted.warnings.to_string(), ""),
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn everything_this_version_enforces_is_read() {
    let policy = accepted(
        r#"
version: 1
allowedDomains:
  - internal-api.example.com
  - {pattern: stream.example.com, upgrades: [websocket], allowOverrideHeaders: true}
  - {pattern: db.internal.example.com, allowPrivate: [10.20.0.0/16, fd00::1]}
  - {pattern: old.example.com, action: block, httpRestrictions: [{method: any, path: /admin/**}, {method: [get, PUT]}, {path: /x}]}
blockedDomains: [evil.example]
proxyChallenge: true
defaultAgent: coder
agents:
  researcher:
    identity:
      - token: {env: RESEARCHER_PROXY_TOKEN}
      - token: {file: token, expires: 2026-12-31T01:00:00+01:00}
      - token: {sha256: 9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08}
      - header: {name: X-Attache-Agent, value: researcher, trusted: true}
      - spiffe: spiffe://prod.example/ns/agents/sa/researcher
      - sourceAddress: 10.1.0.0/16
      - sourceAddress: fd00::1
    allowedDomains: [api.arxiv.org]
    blockedDomains: [raw.githubusercontent.com]
  coder: {}
credentials:
  - name: key
    file: /run/secrets/key
    agents: [researcher]
    placeholder: sk-placeholder
    injections:
      - {domain: "http://a.example", path: "/rest/**", queryParam: api_key, plaintext: true}
  - name: billing
    file: /run/secrets/billing
    service: billing
    injections: [{domain: other.example}]
    endpoints:
      - {methods: [post], paths: [/v1/a, /v1/b]}
      - {methods: [], paths: /v1/c}
      - {methods: GET}
      - {paths: ["/v1/d/*"]}
services:
  billing: {hosts: [billing.example, "billing.example:8443"], headerName: X-Key, headerFormat: "{value}", note: ours}
  search: {hosts: [], queryParam: key, override: true, documentation: https://a.example/docs}
responseFilters:
  - {name: Users, host: old.example.com, path: /v1/users, method: get, agents: [coder], includeFields: [id, "[].id"]}
  - {host: "*.example", excludeFields: [a.b], unparsableErrors: pass}
"#,
    );
    assert_eq!(policy.warnings.to_string(), "");
    let policy = policy.value;
    let [plain, stream, database, old] = policy.allowed_domains.as_slice() else { panic!("four entries") };
    assert_eq!((plain.action, plain.allow_override_headers), (Action::Allow, false));
    assert_eq!((stream.upgrades[0].value, stream.allow_override_headers), (Upgrade::WebSocket, true));
    let ranges: Vec<_> = database.allow_private.iter().map(|range| range.value.to_string()).collect();
    assert_eq!(ranges, ["10.20.0.0/16", "fd00::1/128"]);
    assert_eq!(old.action, Action::Deny);
    let restrictions = old.restrictions.as_ref().unwrap();
    assert_eq!(restrictions[0].methods, Methods::Any);
    let Methods::Listed(methods) = &restrictions[1].methods else { panic!("listed methods") };
    assert_eq!(methods.iter().map(|method| method.as_str()).collect::<Vec<_>>(), ["GET", "PUT"]);
    assert!(restrictions[1].path.is_none());
    assert_eq!(restrictions[2].methods, Methods::Any);
    assert!(policy.proxy_challenge);
    let [users, every] = policy.response_filters.as_slice() else { panic!("two filters") };
    assert_eq!(users.name.as_ref().unwrap().value, "Users");
    assert_eq!((users.path.as_ref().unwrap().as_str(), users.agents.as_ref().unwrap().len()), ("/v1/users", 1));
    let FilteredFields::Include(included) = &users.fields else { panic!("{:?}", users.fields) };
    assert_eq!(included.iter().map(|path| path.to_string()).collect::<Vec<_>>(), ["id", "[].id"]);
    assert!(matches!(&every.fields, FilteredFields::Exclude(all) if all.len() == 1));
    assert_eq!((users.passes_unparsable_errors, every.passes_unparsable_errors), (false, true));
    assert_eq!((&every.methods, every.agents.is_none(), every.path.is_none()), (&Methods::Any, true, true));
    assert_eq!(policy.default_agent.unwrap().as_str(), "coder");
    let agents = policy.agents.unwrap();
    assert_eq!(agents[0].name.as_str(), "researcher");
    let identity: Vec<_> = agents[0].identity.iter().map(|identity| &identity.value).collect();
    let token = |source, expires| Identity::Token(TokenIdentity { source, expires });
    assert_eq!(*identity[0], token(TokenSource::Environment("RESEARCHER_PROXY_TOKEN".to_owned()), None));
    let end = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_798_675_200);
    assert_eq!(*identity[1], token(TokenSource::File(PathBuf::from("token")), Some(end)));
    let Identity::Token(TokenIdentity { source: TokenSource::Sha256(digest), .. }) = identity[2] else {
        panic!("a hash")
    };
    assert_eq!((digest[0], digest[31]), (0x9f, 0x08));
    let Identity::Header(header) = identity[3] else { panic!("a header") };
    assert_eq!((header.name.as_str(), header.value.as_str(), header.trusted), ("x-attache-agent", "researcher", true));
    assert_eq!(*identity[4], Identity::Spiffe("spiffe://prod.example/ns/agents/sa/researcher".to_owned()));
    assert_eq!(*identity[5], Identity::SourceAddress("10.1.0.0/16".parse().unwrap()));
    assert_eq!(*identity[6], Identity::SourceAddress("fd00::1/128".parse().unwrap()));
    assert_eq!(agents[0].blocked_domains[0].value, "raw.githubusercontent.com");
    let key = &policy.credentials[0];
    assert_eq!(key.source.value, SecretSource::File(PathBuf::from("/run/secrets/key")));
    assert_eq!(key.agents.as_ref().unwrap()[0].as_str(), "researcher");
    assert_eq!(key.placeholder.as_ref().unwrap().value, "sk-placeholder");
    assert!(key.injections[0].plaintext);
    assert_eq!(key.injections[0].path.as_ref().unwrap().value, "/rest/**");
    assert!(matches!(&key.injections[0].slot, Some(Slot::Query(name)) if name.value == "api_key"));
    let billing = &policy.credentials[1];
    assert_eq!(billing.service.as_ref().unwrap().as_str(), "billing");
    assert!(billing.injections[0].slot.is_none());
    let endpoints: Vec<_> = billing.endpoints.as_ref().unwrap().iter().collect();
    let methods = endpoints.iter().map(|endpoint| match &endpoint.methods {
        Methods::Any => "any",
        Methods::Listed(names) => &names[0].value,
    });
    assert_eq!(methods.collect::<Vec<_>>(), ["POST", "any", "GET", "any"]);
    let paths = endpoints.iter().map(|endpoint| endpoint.paths.as_ref().map(Vec::len));
    assert_eq!(paths.collect::<Vec<_>>(), [Some(2), Some(1), None, Some(1)]);
    let [billing, search] = policy.services.as_slice() else { panic!("two services") };
    let (billing, search) = (billing.api.as_ref().unwrap(), search.api.as_ref().unwrap());
    assert_eq!((billing.hosts.len(), billing.replaces, billing.note.is_some()), (2, false, true));
    assert!(matches!(&billing.slot, Some(Slot::Header { name, .. }) if name.value == "x-key"));
    assert_eq!((search.hosts.len(), search.replaces, search.documentation.is_some()), (0, true, true));
    assert!(matches!(&search.slot, Some(Slot::Query(name)) if name.value == "key"));
}

#[test]
fn json_is_read_like_yaml() {
    let policy = accepted("\u{feff}{\"version\": 1, \"allowedDomains\": [{\"pattern\": \"a.example\"}]}").value;
    assert_eq!(policy.allowed_domains[0].pattern.value, "a.example");
}

#[test]
fn the_command_line_may_fix_the_agent() {
    let text = "agents: {researcher: {}}\n";
    let compile = |agent| parse("p", text).compile(agent, |_, _| Some(()));
    assert!(compile(Some("researcher")).unwrap().warnings.is_empty());
    assert_eq!(
        brief(&compile(Some("reseacher")).unwrap_err()),
        ["the policy has no agent `reseacher`, which `--agent` names | did you mean `researcher`?"]
    );
    let text = "credentials: [{name: a, file: /f, agents: [x], injections: [{domain: d, queryParam: k}]}]\n";
    let compile = |agent| parse("p", text).compile(agent, |_, _| Some(()));
    assert!(compile(Some("x")).unwrap().warnings.is_empty());
    assert_eq!(compile(None).unwrap().warnings.warnings(), 1);
}

#[test]
fn what_the_compiler_finds_is_reported_with_the_rest() {
    let text = "allowedDomains: [bad..host]\ndlp: []\n";
    let outcome = parse("p", text).compile(None, |policy, problems| {
        let pattern = &policy.allowed_domains[0].pattern;
        problems.error(pattern.span, "an empty label").fix("remove a dot");
        Some(())
    });
    let problems = outcome.unwrap_err();
    assert_eq!(problems.errors(), 2);
    assert_eq!(brief(&problems)[0], "1:18 an empty label | remove a dot");
}

#[test]
fn a_compiler_that_gives_nothing_is_not_taken_for_success() {
    let outcome = parse("p", "allowedDomains: []").compile(None, |_, _| None::<()>);
    assert_eq!(outcome.unwrap_err().errors(), 1);
}

#[test]
fn the_compiler_never_sees_an_entry_with_a_mistake_in_it() {
    for (name, entry) in [
        ("unknown key", "{pattern: a, httpRestriction: [{path: /x}]}"),
        ("unenforced key", "{pattern: a, endpoints: []}"),
        ("wrong restrictions", "{pattern: a, httpRestrictions: GET}"),
        ("wrong action", "{pattern: a, action: denny}"),
        ("no pattern", "{action: allow}"),
    ] {
        let text = format!("allowedDomains: [{entry}, b]\n");
        let outcome = parse("p", &text).compile(None, |policy, _| {
            let patterns: Vec<_> = policy.allowed_domains.iter().map(|entry| entry.pattern.as_str()).collect();
            assert_eq!(patterns, ["b"], "{name}");
            Some(())
        });
        assert_eq!(outcome.unwrap_err().errors(), 1, "{name}");
    }
}

#[test]
fn methods_that_are_all_wrong_do_not_come_out_as_any() {
    let text = "allowedDomains: [{pattern: a, httpRestrictions: [{method: [CONNECT], path: /x}, {path: /y}]}]\n";
    let outcome = parse("p", text).compile(None, |policy, _| {
        let restrictions = policy.allowed_domains[0].restrictions.as_ref().unwrap();
        let paths: Vec<_> =
            restrictions.iter().map(|restriction| restriction.path.as_ref().unwrap().as_str()).collect();
        assert_eq!(paths, ["/y"]);
        Some(())
    });
    assert_eq!(outcome.unwrap_err().errors(), 1);
}
