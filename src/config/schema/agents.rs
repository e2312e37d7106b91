//! `agents`: who may call, how they are known, and what is theirs alone.

use std::path::PathBuf;

use http::HeaderName;

use super::super::decode::{named, parsed, quiet};
use super::credentials::file;
use super::names::{header_value, identity_header, variable};
use super::*;

/// One entry of `agents`.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its name; `all` is never one.
    pub name: Spanned<Name>,
    /// Any one of these names the agent.
    pub identity: Vec<Spanned<Identity>>,
    /// What this agent may reach beside what every agent may.
    pub allowed_domains: Vec<AllowEntry>,
    /// What this agent may not reach, as host patterns.
    pub blocked_domains: Vec<Spanned<String>>,
    /// The profiles whose lists are its own too.
    pub profiles: Vec<Spanned<Name>>,
    /// How much it may send in all.
    pub rate_limit: Option<Spanned<RateLimit>>,
    /// Whether what is decided about it is enforced.
    pub mode: Mode,
}

/// One way by which an agent is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A secret that the agent presents to the proxy.
    Token(TokenSource),
    /// A header that the agent, or a hop before the proxy, sets.
    Header(HeaderIdentity),
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

/// A mapping from name to agent. An agent with mistakes in it keeps its name, so that what
/// refers to it is not reported as well.
pub(super) fn agents(node: &Node, problems: &mut Problems) -> Option<Vec<Agent>> {
    let agents = named("a mapping from names to agents", agent)(node, problems)?;
    if matches!(&node.value, Value::Mapping(entries) if entries.is_empty()) {
        problems
            .error(node.span, "`agents` names nobody, so every caller would be refused")
            .fix("name an agent, or remove the key: a policy without `agents` has exactly one");
    }
    Some(agents)
}

fn agent(key: &Key, node: &Node, problems: &mut Problems) -> Option<Agent> {
    let name = names::key(key, problems)?;
    if name.as_str() == "all" {
        problems.error(key.span, "`all` stands for every agent and cannot name one").fix("choose another name");
        return None;
    }
    let mut agent = Agent {
        name,
        identity: Vec::new(),
        allowed_domains: Vec::new(),
        blocked_domains: Vec::new(),
        profiles: Vec::new(),
        rate_limit: None,
        mode: Mode::Enforce,
    };
    if let Some(fields) = Fields::of(node, "an agent", problems) {
        let mut fields = fields.later(&["dlp"]);
        agent.identity = fields.optional("identity", list("a list of identities", identity)).unwrap_or_default();
        agent.allowed_domains = fields.optional("allowedDomains", domains::allow_entries).unwrap_or_default();
        agent.blocked_domains = fields.optional("blockedDomains", domains::blocked_domains).unwrap_or_default();
        let profiles = list("a list of profiles", names::name("the name of a profile"));
        agent.profiles = fields.optional("profiles", profiles).unwrap_or_default();
        agent.rate_limit = fields.optional("rateLimit", |node, problems| {
            Some(Spanned { value: rules::rate_limit(node, problems)?, span: node.span })
        });
        agent.mode = fields.optional("mode", rules::mode).unwrap_or_default();
        let _ = fields.finish();
    }
    Some(agent)
}

fn identity(node: &Node, problems: &mut Problems) -> Option<Spanned<Identity>> {
    let mut fields = Fields::of(node, "an identity", problems)?.later(&["spiffe", "sourceAddress"]).secretive();
    let given = ["token", "header", "spiffe", "sourceAddress"].iter().filter(|name| fields.has(name)).count();
    if given != 1 {
        fields.reject(
            node.span,
            "an identity is one of `token` and `header`",
            Some("write each as an entry of its own: `- token: {env: NAME}`"),
        );
    }
    let token = fields.optional("token", token);
    let header = fields.optional("header", header);
    fields.finish()?;
    let value = match (token, header) {
        (Some(token), None) => Identity::Token(token),
        (None, Some(header)) => Identity::Header(header),
        _ => return None,
    };
    Some(Spanned { value, span: node.span })
}

fn token(node: &Node, problems: &mut Problems) -> Option<TokenSource> {
    const FIX: &str = "write where it is: `{env: NAME}`, `{file: /run/secrets/token}` or `{sha256: …}`";
    if matches!(node.value, Value::Scalar(_)) {
        problems.error(node.span, "a token is not written into the policy").fix(FIX);
        problems.hide(node.span);
        return None;
    }
    let mut fields = Fields::of(node, "a token", problems)?.later(&["expires"]).secretive();
    let given = ["env", "file", "sha256"].iter().filter(|name| fields.has(name)).count();
    if given != 1 {
        fields.reject(node.span, "a token has one of `env`, `file` and `sha256`", Some(FIX));
    }
    let env = fields.optional("env", quiet(parsed("the name of an environment variable", variable)));
    let file = fields.optional("file", file);
    let sha256 = fields.optional("sha256", quiet(parsed("the SHA-256 of the token in hexadecimal", sha256)));
    fields.finish()?;
    env.map(|env| TokenSource::Environment(env.value))
        .or(file.map(|file| TokenSource::File(file.value)))
        .or(sha256.map(|sha256| TokenSource::Sha256(sha256.value)))
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

fn sha256(text: &str) -> Result<[u8; 32], Rejection> {
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
