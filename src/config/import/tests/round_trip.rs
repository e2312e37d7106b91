//! What is imported is read back by our own reader as what was meant, and compiles.

use std::time::Duration;

use proptest::prelude::*;

use super::super::super::error::Spanned;
use super::super::super::schema::{FilteredFields, Identity, Methods, Policy, RateLimit, RuleAction, SecretSource};
use super::super::super::yaml;
use super::super::first_match::Route;
use super::*;
use crate::config::{self, Accepted};
use crate::pipeline::policy::matcher::HostPattern;
use crate::pipeline::response_filter::FieldPath;

/// The whole import with the reading of its output, as the command does it; and that output once more.
fn accepted(format: Format, sources: &[(&str, &str)], options: &Options<'_>) -> Result<(String, Policy), Problems> {
    let sources = sources.iter().map(|(name, text)| source(name, text)).collect();
    let policy = import(format, sources, options)?.policy;
    let read = config::parse("policy.yaml", &policy);
    let Accepted { value, .. } = read.compile(None, |policy, _| Some(policy.clone()))?;
    Ok((policy, value))
}

#[track_caller]
fn round(format: Format, source: &str, options: &Options<'_>) -> Policy {
    match accepted(format, &[("source", source)], options) {
        Ok((_, policy)) => policy,
        Err(problems) => panic!("{problems}"),
    }
}

/// What is refused of text that our own reader would refuse is refused with the place in the imported policy.
#[test]
fn an_import_that_would_not_load_is_refused() {
    let text = r#"{"localToken": "0123456789abcdef", "policies": [{"baseUrl": "https://a.example", "upstreamHeaderString": "Host",
        "localUpstreamTokenKey": "KEY", "rules": [{"route": "/", "action": "allow"}]}]}"#;
    let problems = accepted(Format::Abac, &[("source", text)], &options()).unwrap_err();
    let shown = problems.to_string();
    assert!(shown.starts_with("the imported policy:") && shown.contains("is the proxy's own"), "{shown}");
}

#[test]
fn abac() {
    let text = r#"{"localToken": "0123456789abcdef", "policies": [
        {"baseUrl": "https://a.example", "localUpstreamTokenKey": "KEY", "upstreamTokenType": "bearer",
         "rules": [{"route": "/v1/users/*", "method": "DELETE", "action": "deny"}, {"route": "/v1/*/*", "action": "allow"}]},
        {"baseUrl": "http://b.example:8080", "localUpstreamTokenKey": "KEY", "upstreamTokenType": "bearer",
         "rules": [{"route": "/", "method": "get", "action": "allow"}]}]}"#;
    let policy = round(Format::Abac, text, &options());
    let agent = &policy.agents.as_ref().unwrap()[0];
    assert_eq!(agent.name.as_str(), "source");
    assert!(matches!(agent.identity[0].value, Identity::Token(_)));
    let entries: Vec<_> = agent.allowed_domains.iter().map(|entry| entry.pattern.as_str()).collect();
    assert_eq!(entries, ["a.example", "a.example", "http://b.example:8080"]);
    let injections: Vec<_> =
        policy.credentials[0].injections.iter().map(|i| (i.domain.as_str(), i.plaintext)).collect();
    assert_eq!(injections, [("a.example", false), ("http://b.example:8080", true)]);
}

#[test]
fn oktsec() {
    let text = "
forward_proxy: {enabled: true, blocked_domains: [paste.ee], allowed_domains: [c.example]}
agents:
  one: {egress: {allowed_domains: ['*.a.example'], blocked_domains: [b.a.example], rate_limit: 5}}
";
    let policy = round(Format::Oktsec, text, &options());
    let agent = &policy.agents.as_ref().unwrap()[0];
    assert_eq!(agent.allowed_domains[0].pattern.as_str(), "*.a.example");
    assert_eq!(agent.blocked_domains[0].as_str(), "b.a.example");
    let limit = agent.rate_limit.as_ref().unwrap();
    assert_eq!((limit.requests, limit.per), (5, Duration::from_secs(60)));
    assert_eq!(policy.organization.unwrap().blocked_domains[0].as_str(), "paste.ee");
    assert_eq!(policy.allowed_domains[0].pattern.as_str(), "c.example");
}

#[test]
fn credentials_v2() {
    let text = r#"{"credentials_v2": {"openai": {"key": "sk", "endpoints": [{"methods": [], "paths": ["/v1/*"]}]}}}"#;
    let policy = round(Format::CredentialsV2, text, &options());
    assert_eq!(policy.allowed_domains[0].pattern.as_str(), "api.openai.com");
    assert_eq!(policy.credentials[0].name.as_str(), "openai");
}

#[test]
fn onecli() {
    let text = r#"[
        {"name": "Block: #1", "hostPattern": "*.a.example", "pathPattern": "/x/*", "action": "block", "agentId": "bob"},
        {"name": "true", "hostPattern": "b.example", "action": "rate_limit", "rateLimit": 3, "rateLimitWindow": "day"},
        {"name": "c", "hostPattern": "c.example", "action": "manual_approval", "method": "POST"},
        {"name": "d", "hostPattern": "d.example", "action": "block", "scope": "organization"}]"#;
    let policy = round(Format::Onecli, text, &options());
    assert_eq!(policy.agents.unwrap()[0].name.as_str(), "bob");
    let names: Vec<_> = policy.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["Block: #1", "true", "c"]);
    let [block, limit, approval] = &policy.rules[..] else { panic!("{:?}", policy.rules) };
    assert_eq!((block.host.as_str(), block.path.as_deref().map(String::as_str)), ("*.a.example", Some("/x/**")));
    assert_eq!((block.agents.as_ref().unwrap()[0].as_str(), &block.action.value), ("bob", &RuleAction::Block));
    let RuleAction::RateLimit(RateLimit { requests: 3, per, .. }) = &limit.action.value else { panic!("{limit:?}") };
    assert_eq!(*per, Duration::from_secs(24 * 3600));
    assert!(matches!(approval.action.value, RuleAction::Approval(_)) && approval.agents.is_none());
    assert_eq!(policy.organization.unwrap().rules[0].name.as_str(), "d");
}

fn any_piece() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "a.example",
        "*.a.example",
        "http://a.example",
        "a.example:80",
        "/v1/*",
        "/a/*/b",
        "GET",
        "",
        "true",
        "null",
        "1",
        "0x1",
        "---",
        "- a",
        "a: b",
        "a #b",
        "{a}",
        "[a]",
        "*",
        "&a",
        "!a",
        "%",
        "@",
        "`",
        "é",
        "\u{1b}",
        "\n",
        "'",
        "\\",
        "all",
    ]);
    prop_oneof![3 => known.prop_map(str::to_owned), 1 => "[ -~]{0,8}", 1 => any::<String>()]
}

fn json(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn any_host() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "a.example",
        "A.example/",
        "a.example:443",
        "a.example:8443",
        "é.example",
        "1.2.3.4",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => any_piece()]
}

proptest! {
    /// Whatever stands in a source, what is given out is read back as what went in.
    #[test]
    fn whatever_is_imported_from_abac_is_a_policy(
        file in any_piece(), host in any_host(), route in any_piece(), method in any_piece(),
        field in any_piece(), key in "[A-Z][A-Z_]{0,4}",
    ) {
        let text = format!(
            r#"{{"localToken": "0123456789abcdef", "policies": [{{"baseUrl": {}, "localUpstreamTokenKey": {},
               "rules": [{{"route": {}, "method": {}, "action": "allow",
               "response_filter": {{"type": "include_fields", "fields": [{}]}}}}]}}]}}"#,
            json(&format!("https://{host}")), json(&key), json(&route), json(&method), json(&field),
        );
        if let Ok(imported) = import(Format::Abac, vec![source(&file, &text)], &options()) {
            let read = config::parse("policy.yaml", &imported.policy).compile(None, |policy, _| Some(policy.clone()));
            let policy = read.unwrap().value;
            let entry = &policy.agents.as_ref().unwrap()[0].allowed_domains[0];
            let bare = host.strip_suffix('/').unwrap_or(&host);
            let meant = HostPattern::parse(bare.strip_suffix(":443").unwrap_or(bare)).unwrap();
            prop_assert_eq!(HostPattern::parse(&entry.pattern).unwrap(), meant);
            let restriction = &entry.restrictions.as_ref().unwrap()[0];
            let path = restriction.path.as_ref().unwrap();
            prop_assert_eq!(path.as_str(), Route::parse(&route).unwrap().pattern());
            let expected = match method.as_str() {
                "" => Methods::Any,
                method => Methods::Listed(vec![Spanned { value: method.to_owned(), span: listed(&restriction.methods) }]),
            };
            prop_assert_eq!(&restriction.methods, &expected);
            prop_assert_eq!(&policy.credentials[0].source.value, &SecretSource::Environment(key));
            let filter = &policy.response_filters[0];
            prop_assert_eq!(filter.host.as_str(), entry.pattern.as_str());
            prop_assert_eq!(filter.path.as_ref().unwrap().as_str(), path.as_str());
            let FilteredFields::Include(fields) = &filter.fields else { panic!("{:?}", filter.fields) };
            prop_assert_eq!(&fields[0].value, &FieldPath::parse(&field).unwrap());
        } else {
            // What all of our formats can say is refused by none of them.
            let plain = ["a.example", "a.example:8443"].contains(&&*host) && ["/a/*/b", ""].contains(&&*route);
            let field = FieldPath::parse(&field).is_ok();
            prop_assert!(!(plain && ["GET", ""].contains(&&*method) && field), "{}", text);
        }
    }

    /// The same for the texts of rules.
    #[test]
    fn whatever_is_imported_from_onecli_is_a_policy(
        name in any_piece(), host in any_host(), path in any_piece(), method in any_piece(), agent in any_piece(),
        scope in prop::sample::select(vec!["project", "organization"]),
    ) {
        let agent = if scope == "project" { json(&agent) } else { "null".to_owned() };
        let text = format!(
            r#"[{{"name": {}, "hostPattern": {}, "pathPattern": {}, "method": {}, "agentId": {agent}, "scope": "{scope}",
               "action": "block"}}]"#,
            json(&name), json(&host), json(&path), json(&method),
        );
        let sources = vec![source("rules.json", &text)];
        if draft(Format::Onecli, sources.clone(), &options()).is_ok() {
            let imported = match import(Format::Onecli, sources, &options()) {
                Ok(imported) => imported,
                Err(problems) => return Err(TestCaseError::fail(format!("{text}\n{problems}"))),
            };
            let read = config::parse("policy.yaml", &imported.policy).compile(None, |policy, _| Some(policy.clone()));
            let policy = read.unwrap().value;
            let rules = policy.organization.map(|organization| organization.rules).unwrap_or(policy.rules);
            let rule = &rules[0];
            let name: String = name.chars().filter(|character| !character.is_control()).take(72).collect();
            prop_assert_eq!(rule.name.as_str(), if name.trim().is_empty() { "imported" } else { name.trim() });
            prop_assert_eq!(HostPattern::parse(&rule.host).unwrap(), HostPattern::parse(host.trim()).unwrap());
            prop_assert_eq!(&rule.action.value, &RuleAction::Block);
            prop_assert_eq!(rule.agents.is_some(), scope == "project");
            prop_assert_eq!(rule.path.is_none(), ["", "*", "/*"].contains(&path.trim()), "{:?}", path);
        }
    }

    /// No text makes it panic, and what it gives out is always YAML that our reader takes.
    #[test]
    fn whatever_the_source_is(pieces in prop::collection::vec(source_piece(), 0..40)) {
        let text = pieces.concat();
        for format in [Format::Abac, Format::Oktsec, Format::CredentialsV2, Format::Onecli] {
            let options = Options { without_dlp: true, ..options() };
            if let Ok(imported) = draft(format, vec![source("a", &text)], &options) {
                yaml_of(&imported.policy);
            }
        }
    }
}

fn source_piece() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ", ",
        ": ",
        "\n",
        "\n  ",
        "- ",
        "\"",
        "forward_proxy",
        "agents",
        "egress",
        "allowed_domains",
        "credentials_v2",
        "credentials",
        "openai",
        "key",
        "endpoints",
        "localToken",
        "policies",
        "baseUrl",
        "rules",
        "name",
        "hostPattern",
        "action",
        "block",
        "allow",
        "true",
        "1",
        "null",
        "https://a.example",
        "a.example",
        "/v1/*",
        "forward_proxy: {enabled: true}\n",
        "agents: {one: {}}\n",
        "{credentials: {openai: x}}",
        "[{name: x, hostPattern: a.example, action: block}]",
    ]);
    prop_oneof![8 => known.prop_map(str::to_owned), 1 => "[ -~]{0,4}"]
}

fn listed(methods: &Methods) -> Span {
    match methods {
        Methods::Listed(listed) => listed[0].span,
        Methods::Any => Span { file: 0, line: 0, column: 0, length: 0 },
    }
}

fn yaml_of(text: &str) -> Node {
    let mut problems = Problems::default();
    let file = problems.sources_mut().add("policy.yaml", text);
    let node = yaml::parse(file, &mut problems);
    assert!(problems.is_empty(), "{problems}\n{text}");
    node.unwrap()
}
