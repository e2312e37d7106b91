//! One entry of `identity`: what an agent is known by.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use http::HeaderName;
use ipnet::IpNet;

use super::super::decode::{Rejection, parsed, quiet};
use super::super::error::quote;
use super::credentials::file;
use super::domains::range;
use super::names::{header_value, identity_header, variable};
use super::*;

/// One way by which an agent is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The SPIFFE ID in the client certificate that the agent presents to the proxy.
    Spiffe(String),
    /// A secret that the agent presents to the proxy.
    Token(TokenIdentity),
    /// The addresses that the agent calls from.
    SourceAddress(IpNet),
    /// A header that the agent, or a hop before the proxy, sets.
    Header(HeaderIdentity),
    /// The pods that the agent runs in.
    Kubernetes(Pods),
}

/// A secret that names an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIdentity {
    /// Where it is.
    pub source: TokenSource,
    /// From when on it names nobody.
    pub expires: Option<SystemTime>,
}

/// Where the token, or what it is compared with, comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TokenSource {
    /// The environment variable of that name.
    Environment(String),
    /// The file; a relative path has been joined to the folder of the policy file.
    File(PathBuf),
    /// SHA-256 of the token.
    Sha256([u8; 32]),
}

/// A header that names an agent by its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderIdentity {
    /// The field's name, in lower case as `http` keeps it.
    pub name: HeaderName,
    /// What the field must be, exactly.
    pub value: String,
    /// Whether it counts: anyone who reaches the proxy can set a header.
    pub trusted: bool,
}

pub(super) fn identity(node: &Node, problems: &mut Problems) -> Option<Spanned<Identity>> {
    let mut fields = Fields::of(node, "an identity", problems)?.secretive();
    let given =
        ["spiffe", "token", "sourceAddress", "header", "kubernetes"].iter().filter(|name| fields.has(name)).count();
    if given != 1 {
        fields.reject(
            node.span,
            "an identity is one of `spiffe`, `token`, `sourceAddress`, `header` and `kubernetes`",
            Some("write each as an entry of its own: `- token: {env: NAME}`"),
        );
    }
    let spiffe = fields.optional("spiffe", parsed("a SPIFFE ID", spiffe_id));
    let token = fields.optional("token", token);
    let source = fields.optional("sourceAddress", parsed("an address range", source_range));
    let header = fields.optional("header", header);
    let pods = fields.optional("kubernetes", pods::pods);
    fields.finish()?;
    let value = match (spiffe, token, source, header, pods) {
        (Some(id), None, None, None, None) => Identity::Spiffe(id.value),
        (None, Some(token), None, None, None) => Identity::Token(token),
        (None, None, Some(range), None, None) => Identity::SourceAddress(range.value),
        (None, None, None, Some(header), None) => Identity::Header(header),
        (None, None, None, None, Some(pods)) => Identity::Kubernetes(pods),
        _ => return None,
    };
    Some(Spanned { value, span: node.span })
}

fn token(node: &Node, problems: &mut Problems) -> Option<TokenIdentity> {
    const FIX: &str = "write where it is: `{env: NAME}`, `{file: /run/secrets/token}` or `{sha256: …}`";
    if matches!(node.value, Value::Scalar(_)) {
        problems.error(node.span, "a token is not written into the policy").fix(FIX);
        problems.hide(node.span);
        return None;
    }
    let mut fields = Fields::of(node, "a token", problems)?.secretive();
    let given = ["env", "file", "sha256"].iter().filter(|name| fields.has(name)).count();
    if given != 1 {
        fields.reject(node.span, "a token has one of `env`, `file` and `sha256`", Some(FIX));
    }
    let env = fields.optional("env", quiet(parsed("the name of an environment variable", variable)));
    let file = fields.optional("file", file);
    let sha256 = fields.optional("sha256", quiet(parsed("the SHA-256 of the token in hexadecimal", sha256)));
    let expires = fields.optional("expires", parsed("a time", time));
    fields.finish()?;
    let source = env
        .map(|env| TokenSource::Environment(env.value))
        .or(file.map(|file| TokenSource::File(file.value)))
        .or(sha256.map(|sha256| TokenSource::Sha256(sha256.value)))?;
    Some(TokenIdentity { source, expires: expires.map(|time| time.value) })
}

fn header(node: &Node, problems: &mut Problems) -> Option<HeaderIdentity> {
    let mut fields = Fields::of(node, "a header identity", problems)?;
    let name = fields.required("name", parsed("the name of a header", identity_header));
    let value = fields.required("value", parsed("the value of the header", header_value));
    let trusted = fields.required("trusted", boolean);
    if trusted == Some(false) {
        let span = fields.span();
        fields.warn(
            span,
            "a header that is not trusted names nobody",
            "write `trusted: true` where only what you trust can reach the proxy; otherwise use a token",
        );
    }
    fields.finish()?;
    Some(HeaderIdentity { name: name?.value, value: value?.value, trusted: trusted? })
}

pub(super) fn sha256(text: &str) -> Result<[u8; 32], Rejection> {
    let refused = || {
        Rejection::new(
            "this is not a SHA-256",
            "write 64 hexadecimal digits, as `printf %s \"$TOKEN\" | sha256sum` prints them",
        )
    };
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(refused());
    }
    for (byte, index) in digest.iter_mut().zip((0..64).step_by(2)) {
        let pair = text.get(index..index + 2).ok_or_else(refused)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| refused())?;
    }
    Ok(digest)
}

/// The ID of a workload (SPIFFE-ID 2: at most 2048 bytes, and nothing in it that needs escaping).
fn spiffe_id(text: &str) -> Result<String, Rejection> {
    const FIX: &str = "write it as the certificate has it: `spiffe://trust.domain/path/of/workload`";
    let refused = |why: &str| Err(Rejection::new(format!("{} is no SPIFFE ID: {why}", quote(text)), FIX));
    let Some(rest) = text.strip_prefix("spiffe://") else {
        return refused("it does not begin with `spiffe://`");
    };
    let Some((domain, path)) = rest.split_once('/') else {
        return refused("it names a trust domain, and no workload in it");
    };
    let of_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    if domain.is_empty() || domain.len() > 255 || !domain.bytes().all(of_domain) {
        return refused("a trust domain is 1 to 255 characters of `a-z 0-9 . - _`");
    }
    let of_path = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(of_path);
    if !path.split('/').all(is_segment) {
        return refused(
            "a path is segments of `A-Z a-z 0-9 . - _`, none of them empty or of dots alone; there are no wildcards",
        );
    }
    if text.len() > 2048 {
        return refused("it is longer than 2048 bytes");
    }
    Ok(text.to_owned())
}

/// A range of addresses as callers have them: an IPv4 address is one, however the listener sees it.
fn source_range(text: &str) -> Result<IpNet, Rejection> {
    let range = range(text)?;
    match range.addr() {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => Err(Rejection::new(
            format!("{} is a range of IPv4 addresses in IPv6 notation", quote(text)),
            "write it as IPv4, such as 10.1.0.0/16",
        )),
        _ => Ok(range),
    }
}

/// A moment, with its time zone (RFC 3339).
fn time(text: &str) -> Result<SystemTime, Rejection> {
    let time = text.parse::<jiff::Timestamp>().map_err(|_| {
        Rejection::new(
            format!("{} is not a time with its zone", quote(text)),
            "write it as 2026-12-31T00:00:00Z or 2026-12-31T01:00:00+01:00",
        )
    })?;
    Ok(time.into())
}
