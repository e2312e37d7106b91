//! `allowedDomains` and `blockedDomains`: what may be reached.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::decode::{filled_list, one_or_list, parsed, word};
use super::super::error::{Span, did_you_mean, quote};
use super::*;

/// One entry of `allowedDomains`.
#[derive(Debug, Clone)]
pub struct AllowEntry {
    /// Where the entry stands.
    pub span: Span,
    /// The host pattern, `[http://]host[:port]`.
    pub pattern: Spanned<String>,
    /// Allow unless it says otherwise.
    pub action: Action,
    /// The pairs of method and path the entry is about; `None`: all. Never empty as written.
    pub restrictions: Option<Vec<HttpRestriction>>,
    /// Protocols a request may switch to.
    pub upgrades: Vec<Spanned<Upgrade>>,
    /// Addresses that are not public and that the host may have all the same.
    pub allow_private: Vec<Spanned<IpNet>>,
    /// Whether the agent's method- and URL-override headers are left in.
    pub allow_override_headers: bool,
}

/// What an allow entry says about the requests it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// They may pass.
    Allow,
    /// They may not (`deny`, or its alias `block`).
    Deny,
}

/// One entry of `httpRestrictions`.
#[derive(Debug, Clone)]
pub struct HttpRestriction {
    /// Where the entry stands.
    pub span: Span,
    /// The methods it is about.
    pub methods: Methods,
    /// The path pattern; `None`: every path.
    pub path: Option<Spanned<String>>,
}

/// The methods an entry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Methods {
    /// All but TRACE and CONNECT.
    Any,
    /// These, in upper case; at least one, never CONNECT.
    Listed(Vec<Spanned<String>>),
}

/// A protocol that a request may switch to (RFC 9110, 7.8; RFC 8441).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// RFC 6455.
    WebSocket,
}

pub(super) fn allow_entries(node: &Node, problems: &mut Problems) -> Option<Vec<AllowEntry>> {
    list("a list of domains", allow_entry)(node, problems)
}

/// Entries that bound others: what they grant beside hosts, methods and paths would be no bound.
pub(super) fn ceiling(node: &Node, problems: &mut Problems) -> Option<Vec<AllowEntry>> {
    let entries = allow_entries(node, problems)?;
    for entry in &entries {
        if !entry.upgrades.is_empty() || !entry.allow_private.is_empty() || entry.allow_override_headers {
            problems
                .error(entry.span, "the organization's ceiling bounds hosts, methods and paths, and grants nothing")
                .fix("write `upgrades`, `allowPrivate` and `allowOverrideHeaders` into an entry of `allowedDomains` below");
        }
    }
    Some(entries)
}

pub(super) fn blocked_domains(node: &Node, problems: &mut Problems) -> Option<Vec<Spanned<String>>> {
    list("a list of domains", text("a domain"))(node, problems)
}

fn allow_entry(node: &Node, problems: &mut Problems) -> Option<AllowEntry> {
    if let Value::Scalar(_) = &node.value {
        let pattern = text("a domain")(node, problems)?;
        return Some(AllowEntry {
            span: node.span,
            pattern,
            action: Action::Allow,
            restrictions: None,
            upgrades: Vec::new(),
            allow_private: Vec::new(),
            allow_override_headers: false,
        });
    }
    if let Value::Sequence(_) = &node.value {
        return mismatch(node, "a domain or an allow entry", problems);
    }
    let mut fields = Fields::of(node, "an allow entry", problems)?;
    let pattern = fields.required("pattern", text("a domain"));
    let action = fields.optional(
        "action",
        word("an action", &[("allow", Action::Allow), ("deny", Action::Deny), ("block", Action::Deny)]),
    );
    let restrictions = fields.optional(
        "httpRestrictions",
        filled_list(
            "a list of methods and paths",
            "to allow every method and path remove the key; to allow nothing remove the entry",
            restriction,
        ),
    );
    let upgrades = fields.optional(
        "upgrades",
        list("a list of protocols", word("a protocol to switch to", &[("websocket", Upgrade::WebSocket)])),
    );
    let allow_private =
        fields.optional("allowPrivate", list("a list of address ranges", parsed("an address range", range)));
    let allow_override_headers = fields.optional("allowOverrideHeaders", boolean).unwrap_or_default();
    let action = action.map_or(Action::Allow, |action| action.value);
    let grants = upgrades.is_some() || allow_private.is_some() || allow_override_headers;
    if action == Action::Deny && grants {
        let span = fields.span();
        fields.warn(
            span,
            "an entry that denies grants nothing",
            "remove `upgrades`, `allowPrivate` and `allowOverrideHeaders` from it",
        );
    }
    fields.finish()?;
    Some(AllowEntry {
        span: node.span,
        pattern: pattern?,
        action,
        restrictions,
        upgrades: upgrades.unwrap_or_default(),
        allow_private: allow_private.unwrap_or_default(),
        allow_override_headers,
    })
}

fn restriction(node: &Node, problems: &mut Problems) -> Option<HttpRestriction> {
    let mut fields = Fields::of(node, "a restriction", problems)?;
    if !fields.has("method") && !fields.has("path") {
        fields.reject(
            node.span,
            "a restriction needs `method`, `path` or both",
            Some("write `{method: GET, path: \"/v1/*\"}`"),
        );
    }
    let methods = fields.optional("method", methods);
    let path = fields.optional("path", text("a path"));
    fields.finish()?;
    Some(HttpRestriction { span: node.span, methods: methods.unwrap_or(Methods::Any), path })
}

/// One, a list, or any. An empty text and an empty list are `any` too.
pub(super) fn methods(node: &Node, problems: &mut Problems) -> Option<Methods> {
    if let Value::Scalar(scalar) = &node.value
        && !scalar.plain
        && scalar.text.is_empty()
    {
        return Some(Methods::Any);
    }
    let written = one_or_list("a method or a list of methods", method)(node, problems)?;
    let any = written.iter().find(|method| method.value == "ANY");
    match any {
        Some(any) if written.len() > 1 => {
            problems.error(any.span, "`any` stands alone").fix("remove the other methods, or `any`");
            None
        }
        Some(_) => Some(Methods::Any),
        None if written.is_empty() => match &node.value {
            Value::Sequence(items) if items.is_empty() => Some(Methods::Any),
            // All of them were wrong: that must not come out as "any".
            _ => None,
        },
        None => Some(Methods::Listed(written)),
    }
}

/// A method in upper case: methods are case-sensitive, and no registered one is in lower case.
fn method(node: &Node, problems: &mut Problems) -> Option<Spanned<String>> {
    const KNOWN: [&str; 12] =
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "ANY", "TRACE", "CONNECT", "PROPFIND", "REPORT"];
    let method = parsed("a method", |text| {
        let upper = text.to_ascii_uppercase();
        if upper == "CONNECT" {
            return Err(Rejection::new(
                "CONNECT opens the tunnel to the proxy and is never forwarded",
                "list the methods of the requests inside the tunnel",
            ));
        }
        match http::Method::from_bytes(upper.as_bytes()) {
            Ok(_) => Ok(upper),
            Err(_) => Err(Rejection::new(
                format!("{} is not a method", quote(text)),
                did_you_mean(text, KNOWN).unwrap_or_else(|| "write a method such as GET, or `any`".to_owned()),
            )),
        }
    })(node, problems)?;
    if !KNOWN.contains(&method.as_str())
        && let Some(fix) = did_you_mean(&method, KNOWN)
    {
        problems.warning(node.span, format!("{} is not a common method", quote(&method))).fix(fix);
    }
    if method.value == "TRACE" {
        problems
            .warning(node.span, "TRACE sends the request back to the agent, injected credentials included")
            .fix("remove TRACE");
    }
    Some(method)
}

pub(super) fn range(text: &str) -> Result<IpNet, Rejection> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let Ok(range) = text.parse::<IpNet>() else {
        return Err(Rejection::new(
            format!("{} is not an address range", quote(text)),
            "write an address and a prefix length, such as 10.20.0.0/16",
        ));
    };
    if range.trunc() != range {
        return Err(Rejection::new(
            format!("{} has bits set beyond its prefix", quote(text)),
            format!("write {}, or {} for the one address", range.trunc(), range.addr()),
        ));
    }
    Ok(range)
}
