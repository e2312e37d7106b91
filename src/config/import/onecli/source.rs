//! What a rule of onecli says.

use super::super::super::decode::{Fields, Rejection, boolean, number, text, word};
use super::super::super::error::{Problems, Span, Spanned, quote};
use super::super::super::yaml::{Kind, Node, Value as Written};
use super::super::Root;
use super::super::read::{any_text, nullable, skip};
use crate::pipeline::policy::matcher::{HostPattern, NamePattern};
use crate::pipeline::policy::path::PathPattern;

/// One rule that can be said here.
pub struct Rule {
    /// `rules.json [0]`.
    pub place: String,
    pub span: Span,
    pub name: String,
    pub host: Spanned<HostPattern>,
    /// In our language; `None`: every path.
    pub path: Option<String>,
    pub method: Option<String>,
    pub agent: Option<Spanned<String>>,
    pub action: Action,
    pub organization: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Block,
    Approval,
    RateLimit { requests: u64, window: &'static str },
    Allow,
}

/// A list of rules, or one alone, each with its place.
pub fn listed(root: &Root) -> Vec<(String, &Node)> {
    match &root.node.value {
        Written::Sequence(items) => {
            items.iter().enumerate().map(|(index, node)| (format!("{} [{index}]", root.name), node)).collect()
        }
        _ => vec![(root.name.clone(), &root.node)],
    }
}

/// Whether onecli does not enforce it: then it may say anything.
pub fn is_disabled(node: &Node) -> bool {
    let Written::Mapping(entries) = &node.value else { return false };
    entries.iter().any(|(key, value)| key.text == "enabled" && value.kind() == Some(Kind::Boolean(false)))
}

/// Reads a rule.
pub fn rule(node: &Node, place: String, problems: &mut Problems) -> Option<Rule> {
    let mut fields = Fields::of(node, "a rule", problems)?;
    skip(&mut fields, &["id", "createdAt", "updatedAt", "projectId", "organizationId", "metadata"]);
    if !fields.has("hostPattern") {
        fields.reject(
            node.span,
            "this rule has no `hostPattern`: of an app's permissions the API does not say which requests they are about",
            Some("remove it, and write a rule for the requests of the app into the imported policy"),
        );
    }
    let name = fields.required("name", text("a name"));
    let host = fields.optional("hostPattern", host);
    let path = nullable(&mut fields, "pathPattern", path).flatten();
    let method = nullable(&mut fields, "method", method).flatten();
    let action = fields.required("action", word("an action", ACTIONS));
    fields.optional("enabled", boolean);
    let agent = nullable(&mut fields, "agentId", text("the id of an agent"));
    let requests = nullable(&mut fields, "rateLimit", number("a number of requests", 0..=u64::MAX));
    let window = nullable(&mut fields, "rateLimitWindow", word("a window", WINDOWS));
    let organization = nullable(&mut fields, "scope", word("a scope", SCOPES)).is_some_and(|scope| scope.value);
    nullable(&mut fields, "conditions", conditions);
    let span = fields.span();
    let action = match (action.map(|action| action.value), requests, window.map(|w| w.value)) {
        (Some(Action::RateLimit { .. }), Some(requests @ 1..), Some(window)) => {
            Some(Action::RateLimit { requests, window })
        }
        (Some(Action::RateLimit { .. }), ..) => {
            fields.reject(span, "a rate limit needs `rateLimit` from 1 on and `rateLimitWindow`", None);
            None
        }
        (action, ..) => action,
    };
    if organization && agent.is_some() {
        fields.reject(span, "a rule of the organization is about every agent", Some("remove `agentId`, or `scope`"));
    }
    fields.finish()?;
    let (name, host, action) = (name?.value, host?, action?);
    if action == Action::Approval {
        problems
            .warning(span, "an approval is held for 20 s here and can be given for 15 min")
            .fix("change `hold` and `expires` in the policy if that does not suit you");
    }
    Some(Rule { place, span, name, host, path, method, agent, action, organization })
}

const ACTIONS: &[(&str, Action)] = &[
    ("block", Action::Block),
    ("manual_approval", Action::Approval),
    ("rate_limit", Action::RateLimit { requests: 0, window: "" }),
    ("allow", Action::Allow),
];
const WINDOWS: &[(&str, &str)] = &[("minute", "minute"), ("hour", "hour"), ("day", "day")];
const SCOPES: &[(&str, bool)] = &[("project", false), ("organization", true)];

/// A host or `*.host`; a port is never part of what is compared there.
fn host(node: &Node, problems: &mut Problems) -> Option<Spanned<HostPattern>> {
    let host = text("a host")(node, problems)?;
    match HostPattern::parse(host.trim()) {
        Ok(pattern) if pattern.port.is_none() && !host.contains("://") && pattern.name != NamePattern::Any => {
            Some(Spanned { value: pattern, span: node.span })
        }
        Ok(_) => {
            let message = format!("{} matches no host there, but would here", quote(&host));
            problems.error(node.span, message).fix("write `host` or `*.host`, without scheme and port");
            None
        }
        Err(error) => {
            let message = format!("{} is no pattern of hosts: {error}", quote(&host));
            problems.error(node.span, message).fix("write `host` or `*.host`");
            None
        }
    }
}

/// `/prefix/*` also means the prefix itself, which here is `/prefix/**`. `None` inside: every path.
fn path(node: &Node, problems: &mut Problems) -> Option<Option<String>> {
    let written = any_text("a path")(node, problems)?;
    let written = written.trim();
    if matches!(written, "" | "*" | "/*") {
        return Some(None);
    }
    let path = match written.strip_suffix("/*") {
        Some(prefix) => format!("{prefix}/**"),
        None => written.to_owned(),
    };
    let rejection = match PathPattern::parse(&path) {
        Ok(_) if written.contains(['{', '}']) => Rejection::new("`{` and `}` are no wildcards there", "write the path"),
        Ok(_) => return Some(Some(path)),
        Err(error) => Rejection::new(
            format!("{} is no pattern of paths: {error}", quote(written)),
            "write a path, or `/path/*` for all below it",
        ),
    };
    problems.error(node.span, rejection.message).fix = rejection.fix;
    None
}

/// `None` inside: every method.
fn method(node: &Node, problems: &mut Problems) -> Option<Option<String>> {
    let method = any_text("a method")(node, problems)?.to_ascii_uppercase();
    match method.as_str() {
        "" | "ANY" => Some(None),
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => Some(Some(method)),
        _ => {
            problems
                .error(node.span, format!("{} is not a method that can be imported", quote(&method)))
                .fix("write one of GET, POST, PUT, PATCH and DELETE, or leave it out for all");
            None
        }
    }
}

/// Conditions look into the body, which no rule here does.
fn conditions(node: &Node, problems: &mut Problems) -> Option<()> {
    match &node.value {
        Written::Sequence(items) if items.is_empty() => Some(()),
        _ if node.kind() == Some(Kind::Null) => Some(()),
        _ => {
            problems
                .error(
                    node.span,
                    "`conditions` on the body cannot be imported: without them the rule would be about more",
                )
                .fix("remove the rule, or its conditions if it may be about all these requests");
            None
        }
    }
}
