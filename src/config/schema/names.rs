//! Names that other entries, commands and records refer to, and names of header fields.

use std::fmt;

use http::HeaderName;

use super::super::decode::{Rejection, parsed};
use super::super::error::{Problems, Spanned, quote};
use super::{Key, Node};

/// The name of an agent or a credential: 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first a
/// letter or digit, so that it can stand in a header, a log line, a metric and a file name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        const RULE: &str = "a name is 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first of them a letter or digit";
        let fits = text.len() <= 64
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-'));
        if !fits {
            return Err(Rejection::new(format!("{} cannot be a name", quote(text)), RULE));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) fn name(what: &'static str) -> impl Fn(&Node, &mut Problems) -> Option<Spanned<Name>> {
    parsed(what, Name::parse)
}

/// A name that stands as a key.
pub(super) fn key(key: &Key, problems: &mut Problems) -> Option<Spanned<Name>> {
    match Name::parse(&key.text) {
        Ok(value) => Some(Spanned { value, span: key.span }),
        Err(Rejection { message, fix }) => {
            problems.error(key.span, message).fix = fix;
            None
        }
    }
}

/// The header field a credential is injected into.
pub(super) fn injected_header(text: &str) -> Result<HeaderName, Rejection> {
    let name = header(text)?;
    if proxy_owned(&name) || name.as_str().starts_with("x-attache-") {
        return Err(Rejection::new(
            format!("the header {} is the proxy's own and cannot carry a credential", quote(text)),
            "name the header that the API documents for its key",
        ));
    }
    Ok(name)
}

/// The header field by which a trusted hop says who the agent is.
pub(super) fn identity_header(text: &str) -> Result<HeaderName, Rejection> {
    let name = header(text)?;
    if matches!(name.as_str(), "authorization" | "cookie") {
        return Err(Rejection::new(
            format!("the header {} cannot name an agent", quote(text)),
            "for a token use `token: {env: …}`; otherwise a header of its own, such as `X-Attache-Agent`",
        ));
    }
    if proxy_owned(&name) || name.as_str().starts_with("x-attache-int-") {
        return Err(Rejection::new(
            format!("the header {} is the proxy's own and cannot name an agent", quote(text)),
            "use a header of its own, such as `X-Attache-Agent`",
        ));
    }
    Ok(name)
}

/// A header field's value: visible ASCII and inner blanks (RFC 9110, 5.5, without obs-text).
pub(super) fn header_value(text: &str) -> Result<String, Rejection> {
    let visible = text.chars().all(|character| matches!(character, ' '..='~'));
    if !visible || text.trim() != text {
        return Err(Rejection::new(
            format!("{} cannot be the value of a header", quote(text)),
            "a header's value is printable ASCII without blanks around it",
        ));
    }
    Ok(text.to_owned())
}

/// The name of an environment variable.
pub(super) fn variable(text: &str) -> Result<String, Rejection> {
    let fits = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
    if !fits {
        return Err(Rejection::new(
            "this is not the name of an environment variable",
            "write the variable's name (letters, digits and `_`), not its value",
        ));
    }
    Ok(text.to_owned())
}

fn header(text: &str) -> Result<HeaderName, Rejection> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        Rejection::new(
            format!("{} cannot be the name of a header", quote(text)),
            "a header's name is letters, digits and `-`, such as `Authorization`",
        )
    })
}

/// Fields that frame, route or trace a message on this hop (RFC 9110, 7.6.1, and Envoy's own).
fn proxy_owned(name: &HeaderName) -> bool {
    const OWNED: [&str; 17] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "traceparent",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-request-id",
    ];
    OWNED.contains(&name.as_str()) || name.as_str().starts_with("x-envoy-")
}
