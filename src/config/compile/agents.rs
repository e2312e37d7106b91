//! Who may call, and what each caller is known by.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::SystemTime;

use super::super::code::Code;
use super::super::error::{Problems, Span, quote};
use super::super::schema::{Identity, Policy, TokenIdentity, TokenSource};
use super::{Revocable, Setting, pods};
use crate::pipeline::agent::{AgentId, Agents, TokenHash};
use crate::secrets::{Environment, Source};

/// Shorter tokens, in bytes, are warned about: they can be guessed.
const SHORT_TOKEN: usize = 16;

/// The agents of a policy, and the tokens that are revoked.
pub(super) fn compile(
    policy: &Policy,
    setting: Setting<'_>,
    revocable: &Revocable,
    problems: &mut Problems,
) -> (Agents, Vec<String>) {
    let Some(listed) = &policy.agents else {
        return (Agents::implicit(setting.agent.unwrap_or("default")), Vec::new());
    };
    let mut agents = Agents::default();
    let mut tokens =
        Tokens { setting, revocable: &revocable.tokens, seen: HashMap::new(), revoked: Vec::new(), problems };
    for agent in listed {
        let id = agents.add(agent.name.as_str());
        for identity in &agent.identity {
            match &identity.value {
                // Two agents that share one of these are reported where the policy's entries are compared.
                Identity::Spiffe(spiffe_id) => {
                    agents.add_certificate(spiffe_id, id);
                }
                Identity::SourceAddress(range) => {
                    agents.add_source(*range, id);
                }
                Identity::Token(token) => tokens.add(&mut agents, id, token, identity.span),
                Identity::Header(header) if header.trusted => {
                    agents.add_header(header.name.as_str(), &header.value, id);
                }
                Identity::Header(header) => agents.strip_header(header.name.as_str()),
                // Which of them is this one is looked for among all.
                Identity::Kubernetes(_) => {}
            }
        }
    }
    if let Some(fixed) = setting.agent.and_then(|name| agents.find(name)) {
        agents.fix(fixed);
    }
    pods::place(policy, setting, revocable.pod, &mut agents, tokens.problems);
    if let Some(default) = policy.default_agent.as_ref().and_then(|name| agents.find(name.as_str())) {
        agents.set_default(default);
    }
    agents.set_challenge(policy.proxy_challenge);
    (agents, tokens.revoked)
}

/// The files that the agents' tokens are read from.
pub fn token_files(policy: &Policy) -> HashSet<PathBuf> {
    let identities = policy.agents.iter().flatten().flat_map(|agent| &agent.identity);
    let files = identities.filter_map(|identity| match &identity.value {
        Identity::Token(TokenIdentity { source: TokenSource::File(path), .. }) => Some(path.clone()),
        _ => None,
    });
    files.collect()
}

/// A token that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Whose it is.
    pub agent: String,
    /// Why, with its variable or file.
    pub why: String,
}

/// Lets those tokens name agents that are at hand in variables and files, where agents were compiled without an
/// environment; gives those that are not. What is wrong with a token is not reported: it names nobody then.
pub fn add_tokens_at_hand(policy: &Policy, environment: &Environment, agents: &mut Agents) -> Vec<Unread> {
    let mut unread = Vec::new();
    for agent in policy.agents.iter().flatten() {
        let Some(id) = agents.find(agent.name.as_str()) else { continue };
        for identity in &agent.identity {
            let Identity::Token(token) = &identity.value else { continue };
            let Some(source) = kept(&token.source) else { continue };
            match source.read(environment) {
                Ok(value) if is_token(trimmed(&value)) => {
                    agents.add_token(TokenHash::of(trimmed(&value)), id, token.expires);
                }
                read => {
                    let why = read.err().map_or("it is no token".to_owned(), |error| error.to_string());
                    unread.push(Unread { agent: agent.name.as_str().to_owned(), why });
                    // That there are tokens at all counts too; nothing has this hash that anybody knows.
                    agents.add_token(TokenHash([0; 32]), id, token.expires);
                }
            }
        }
    }
    unread
}

/// Where a token is kept that the policy does not hold itself, as its hash.
fn kept(source: &TokenSource) -> Option<Source> {
    match source {
        TokenSource::Sha256(_) => None,
        TokenSource::Environment(name) => Some(Source::Variable(name.clone())),
        TokenSource::File(path) => Some(Source::File(path.clone())),
    }
}

/// A token as a variable or file holds it, without the newline at its end.
fn trimmed(value: &[u8]) -> &[u8] {
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    value.strip_suffix(b"\r").unwrap_or(value)
}

/// RFC 6750 §2.1: what may stand in a Bearer header.
fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_graphic)
}

/// The tokens of all agents, each on its way from where it is kept.
struct Tokens<'a> {
    setting: Setting<'a>,
    revocable: &'a HashSet<PathBuf>,
    /// Each token with whether it came from a revocable file.
    seen: HashMap<TokenHash, bool>,
    revoked: Vec<String>,
    problems: &'a mut Problems,
}

impl Tokens<'_> {
    fn add(&mut self, agents: &mut Agents, agent: AgentId, token: &TokenIdentity, at: Span) {
        let revocable = matches!(&token.source, TokenSource::File(path) if self.revocable.contains(path));
        let hash = match self.read(&token.source, at) {
            Ok(Some(hash)) => hash,
            Ok(None) => return,
            Err(why) if revocable => return self.revoke(agents, agent, at, &why.message),
            Err(why) => {
                self.problems.error(at, why.message).fix(why.fix);
                return;
            }
        };
        if token.expires.is_some_and(|end| end <= SystemTime::now()) {
            self.problems
                .warning(at, "the token has expired: it identifies nobody")
                .code(Code::ExpiredToken)
                .fix("give the agent a new token, or remove this one");
        }
        let before = self.seen.insert(hash, revocable);
        let message = match agents.add_token(hash, agent, token.expires) {
            Some(other) if other.agent != agent => {
                format!("this token is also that of the agent `{}`", agents.name(other.agent))
            }
            Some(other) if other.expires != token.expires => {
                "this token is given twice, to expire at different times".to_owned()
            }
            None if before.is_some() => "this token is given more than once".to_owned(),
            _ => return,
        };
        if revocable || before == Some(true) {
            // Whose it is, nobody can say. The policy is not wrong, and stays in force without it.
            agents.remove_token(hash);
            self.seen.insert(hash, true);
            self.revoke(agents, agent, at, &message);
        } else {
            self.problems.error(at, message).fix("give each agent a token of its own, once");
        }
    }

    fn revoke(&mut self, agents: &Agents, agent: AgentId, at: Span, why: &str) {
        let name = quote(agents.name(agent));
        self.problems
            .warning(at, format!("this token of {name} is revoked: {why}"))
            .fix("provide another one, or remove the identity");
        self.revoked.push(format!("a token of {name}: {why}"));
    }

    /// The token's hash; none where tokens are not read.
    fn read(&mut self, source: &TokenSource, at: Span) -> Result<Option<TokenHash>, Unusable> {
        let source = match source {
            TokenSource::Sha256(hash) if TokenHash(*hash) == TokenHash::of(b"") => {
                return Err(Unusable {
                    message: "this is the SHA-256 of nothing: whoever shows an empty token would be this agent".into(),
                    fix: "check that the variable was set when you hashed it: `printf %s \"$TOKEN\" | sha256sum`",
                });
            }
            TokenSource::Sha256(hash) => return Ok(Some(TokenHash(*hash))),
            source => kept(source),
        };
        let Some((source, environment)) = source.zip(self.setting.environment) else { return Ok(None) };
        let value = source.read(environment).map_err(|error| Unusable {
            message: format!("the token cannot be had: {error}"),
            fix: "provide it, or remove the identity; in a pod, it is a key of a mounted Secret, readable with `defaultMode: 0444`",
        })?;
        let token = trimmed(&value);
        if !is_token(token) {
            return Err(Unusable {
                message: "the token is empty, or has a blank, control or non-ASCII byte in it".into(),
                fix: "make one with `openssl rand -hex 32`",
            });
        }
        if token.len() < SHORT_TOKEN {
            self.problems
                .warning(at, format!("the token has fewer than {SHORT_TOKEN} characters and can be guessed"))
                .code(Code::WeakToken)
                .fix("make one with `openssl rand -hex 32`");
        }
        Ok(Some(TokenHash::of(token)))
    }
}

/// Why a token identifies nobody.
struct Unusable {
    message: String,
    fix: &'static str,
}
