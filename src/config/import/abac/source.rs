//! What a policy group says.

use sha2::{Digest, Sha256};

use super::super::super::decode::{Fields, Rejection, filled_list, list, parsed, text, word};
use super::super::super::error::{Problems, Spanned, quote};
use super::super::super::yaml::{self, Node};
use super::super::first_match::{Route, Rule};
use super::super::read::{any_text, nullable};
use crate::pipeline::policy::matcher::{HostPattern, NamePattern, Scheme};
use crate::pipeline::response_filter::FieldPath;

/// One file.
pub struct Group {
    /// SHA-256 of the token, in hexadecimal.
    pub token: Spanned<String>,
    pub apis: Vec<Api>,
}

/// One entry of `policies`.
pub struct Api {
    /// `policies[0]`.
    pub place: String,
    pub host: Spanned<Host>,
    pub key: Option<Key>,
    pub rules: Vec<Spanned<ApiRule>>,
    /// Whether what no rule is about passes.
    pub open: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Host {
    pub pattern: String,
    pub plaintext: bool,
}

pub struct Key {
    pub variable: String,
    pub header: String,
    pub format: &'static str,
}

pub struct ApiRule {
    pub rule: Rule,
    pub filter: Option<Spanned<Filter>>,
}

pub struct Filter {
    /// `includeFields` or `excludeFields`.
    pub kind: &'static str,
    pub fields: Vec<String>,
}

/// Reads a policy group.
pub fn group(node: &Node, problems: &mut Problems) -> Option<Group> {
    let mut fields = Fields::of(node, "a policy group", problems)?.secretive();
    fields.optional("version", |_, _| Some(()));
    let token = fields.required("localToken", token);
    let open = nullable(&mut fields, "defaultAction", default_action).unwrap_or_default();
    let apis = fields.required("policies", |node, problems| {
        let apis = filled_list("a list of policies", "a group allows at least one API", |node, _| Some(node.clone()))(
            node, problems,
        )?;
        let apis = apis.iter().enumerate();
        Some(apis.filter_map(|(index, node)| api(node, index, open, problems)).collect())
    });
    fields.finish()?;
    Some(Group { token: token?, apis: apis? })
}

/// The token's SHA-256: nothing else of it leaves this function.
fn token(node: &Node, problems: &mut Problems) -> Option<Spanned<String>> {
    let token = text("a token")(node, problems)?;
    // RFC 6750 §2.1: what may stand in a Bearer header.
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        problems
            .error(node.span, "this token has a blank, control or non-ASCII character in it, which no header can show")
            .fix("make one with `openssl rand -hex 32`");
        return None;
    }
    if token.len() < 16 {
        problems
            .warning(node.span, "this token has fewer than 16 characters and can be guessed")
            .fix("make one with `openssl rand -hex 32`, and put its SHA-256 into the policy");
    }
    let digest = Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Spanned { value: digest, span: node.span })
}

fn default_action(node: &Node, problems: &mut Problems) -> Option<bool> {
    let open = word("an action", &[("allow", true), ("deny", false)])(node, problems)?;
    if open.value {
        problems
            .warning(open.span, "`defaultAction` lets every route pass that no rule is about")
            .fix("list the routes that agents need, and remove it");
    }
    Some(open.value)
}

fn api(node: &Node, index: usize, open: bool, problems: &mut Problems) -> Option<Api> {
    let mut fields = Fields::of(node, "a policy", problems)?.secretive();
    let host = fields.required("baseUrl", base_url);
    let variable = nullable(&mut fields, "localUpstreamTokenKey", variable);
    let kind = nullable(&mut fields, "upstreamTokenType", any_text("the type of the upstream token"));
    let header = nullable(&mut fields, "upstreamHeaderString", any_text("the name of a header"));
    let rules = fields.required("rules", list("a list of rules", rule)).unwrap_or_default();
    fields.finish()?;
    let key = match variable.flatten() {
        Some(variable) => Some(key(variable, kind, header, problems)?),
        None => None,
    };
    let host = host?;
    if host.plaintext {
        problems
            .warning(host.span, "`http://` sends requests, and the key if there is one, without TLS, as in the source")
            .fix("use `https://` if the API has it");
    }
    Some(Api { place: format!("policies[{index}]"), host, key, rules, open })
}

/// The host of a URL that has nothing else.
fn base_url(node: &Node, problems: &mut Problems) -> Option<Spanned<Host>> {
    let url = text("a URL")(node, problems)?;
    let mut refused = |message: String, fix: &str| {
        problems.error(node.span, message).fix(fix);
        None
    };
    let (plaintext, rest) = match url.split_once("://") {
        Some(("https", rest)) => (false, rest),
        Some(("http", rest)) => (true, rest),
        _ => return refused("`baseUrl` is not an `https://` or `http://` URL".into(), "write `https://host`"),
    };
    let host = rest.strip_suffix('/').unwrap_or(rest);
    // A user, a query: there may be a secret in it, so it is not shown.
    if host.contains(['/', '?', '#', '@', '\\']) {
        return refused(
            "`baseUrl` has more than a host and port, and what that means is not documented".into(),
            "write `https://host`, and the path into the routes",
        );
    }
    let pattern = if plaintext { format!("http://{host}") } else { host.to_owned() };
    match HostPattern::parse(&pattern) {
        Ok(parsed) if matches!(parsed.name, NamePattern::Exact(_)) => {
            let default = parsed.scheme.default_port();
            let parsed = HostPattern { port: parsed.port.filter(|port| *port != default), ..parsed };
            let host = Host { pattern: parsed.to_string(), plaintext: parsed.scheme == Scheme::Http };
            Some(Spanned { value: host, span: node.span })
        }
        Ok(_) => {
            refused(format!("{} is not one host", quote(host)), "a `baseUrl` matches that host only: write it out")
        }
        Err(error) => refused(format!("{} is no host: {error}", quote(host)), "write `https://host`"),
    }
}

/// `None` inside: the source names no variable.
fn variable(node: &Node, problems: &mut Problems) -> Option<Option<Spanned<String>>> {
    let variable = any_text("the name of an environment variable")(node, problems)?;
    let fits = variable.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && variable.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
    if variable.is_empty() {
        return Some(None);
    }
    if !fits {
        problems
            .error(node.span, "`localUpstreamTokenKey` is not the name of an environment variable")
            .fix("write the variable's name (letters, digits and `_`), not its value");
        return None;
    }
    Some(Some(variable))
}

fn key(
    variable: Spanned<String>,
    kind: Option<Spanned<String>>,
    header: Option<Spanned<String>>,
    problems: &mut Problems,
) -> Option<Key> {
    let header = header.filter(|header| !header.is_empty());
    let kind = kind.filter(|kind| !kind.is_empty());
    let (header, format) = match (kind.as_ref().map(|kind| kind.as_str()), header) {
        (None | Some("custom"), Some(header)) => {
            if http::HeaderName::from_bytes(header.as_bytes()).is_err() {
                problems
                    .error(header.span, "`upstreamHeaderString` is not the name of a header")
                    .fix("write letters, digits and `-`, such as `x-api-key`");
                return None;
            }
            (header.value, "{value}")
        }
        (Some("bearer"), None) => ("Authorization".to_owned(), "Bearer {value}"),
        (None, None) => {
            problems.warning(variable.span, "no header is named for this key: `x-api-key` is assumed").fix(
                "look up what the API wants, and correct `headerName` and `headerFormat` (often `Bearer {value}`)",
            );
            ("x-api-key".to_owned(), "{value}")
        }
        (Some("custom"), None) => {
            problems
                .error(kind?.span, "`custom` needs `upstreamHeaderString`")
                .fix("name the header that the API documents for its key");
            return None;
        }
        (Some("bearer"), Some(header)) => {
            problems
                .error(header.span, "`upstreamHeaderString` beside `bearer` says two things")
                .fix("remove one of the two");
            return None;
        }
        (Some(_), _) => {
            problems
                .error(kind?.span, "this `upstreamTokenType` is not known")
                .fix("write `bearer`, or `custom` with `upstreamHeaderString`");
            return None;
        }
    };
    Some(Key { variable: variable.value, header, format })
}

fn rule(node: &Node, problems: &mut Problems) -> Option<Spanned<ApiRule>> {
    let mut fields = Fields::of(node, "a rule", problems)?;
    let route = fields.required("route", |node, problems| {
        let text = any_text("a route")(node, problems)?;
        Route::parse(&text).map_err(|rejection| problems.error(node.span, rejection.message).fix = rejection.fix).ok()
    });
    let method = nullable(&mut fields, "method", method).flatten();
    let allow = fields.required("action", word("an action", &[("allow", true), ("deny", false)]));
    let filter = nullable(&mut fields, "response_filter", filter);
    fields.finish()?;
    let rule = Rule { route: route?, method, allow: allow?.value };
    Some(Spanned { value: ApiRule { rule, filter }, span: node.span })
}

/// `None` inside: every method.
fn method(node: &Node, problems: &mut Problems) -> Option<Option<String>> {
    let method = any_text("a method")(node, problems)?.to_ascii_uppercase();
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    if method.is_empty() {
        return Some(None);
    }
    if !known.contains(&method.as_str()) {
        problems
            .error(node.span, format!("{} is not a method that can be imported", quote(&method)))
            .fix("write one of GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS; nothing stands for all of them");
        return None;
    }
    Some(Some(method))
}

fn filter(node: &Node, problems: &mut Problems) -> Option<Spanned<Filter>> {
    let mut fields = Fields::of(node, "a response filter", problems)?;
    let kinds = &[("include_fields", "includeFields"), ("exclude_fields", "excludeFields")];
    let kind = fields.required("type", word("a type of filter", kinds));
    let names = fields.required("fields", fields_of);
    fields.finish()?;
    let names = names?;
    Some(Spanned { value: Filter { kind: kind?.value, fields: names }, span: node.span })
}

fn fields_of(node: &Node, problems: &mut Problems) -> Option<Vec<String>> {
    let field = parsed("the path of a field", |written| match FieldPath::parse(written) {
        Ok(_) => Ok(written.to_owned()),
        Err(error) => Err(Rejection::new(
            format!("{} is not the path of a field: {error}", quote(written)),
            "write e.g. `id`, `customer.ssn` or `items[].id`",
        )),
    });
    let all = filled_list("a list of fields", "name the fields, or deny the route", field)(node, problems)?;
    let whole = matches!(&node.value, yaml::Value::Sequence(items) if items.len() == all.len());
    whole.then(|| all.into_iter().map(|field| field.value).collect())
}
