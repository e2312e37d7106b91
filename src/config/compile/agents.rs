//! Who may call, and what each caller is known by.

use super::super::error::{Problems, Spanned};
use super::super::schema::{Identity, Policy, TokenSource};
use super::Setting;
use crate::pipeline::agent::{Agents, TokenHash};
use crate::secrets::Source;

/// Shorter tokens, in bytes, are warned about: they can be guessed.
const SHORT_TOKEN: usize = 16;

pub(super) fn compile(policy: &Policy, setting: Setting<'_>, problems: &mut Problems) -> Agents {
    let Some(listed) = &policy.agents else {
        return Agents::implicit(setting.agent.unwrap_or("default"));
    };
    let mut agents = Agents::default();
    for agent in listed {
        let id = agents.add(agent.name.as_str());
        for identity in &agent.identity {
            match &identity.value {
                Identity::Token(source) => {
                    let token = token(source, setting, identity, problems);
                    if let Some(other) = token.and_then(|t| agents.add_token(t, id))
                        && other != id
                    {
                        let message = format!("this token is also that of the agent `{}`", agents.name(other));
                        problems.error(identity.span, message).fix("give each agent a token of its own");
                    }
                }
                Identity::Header(header) if header.trusted => {
                    agents.add_header(header.name.as_str(), &header.value, id);
                }
                Identity::Header(header) => agents.strip_header(header.name.as_str()),
            }
        }
    }
    if let Some(fixed) = setting.agent.and_then(|name| agents.find(name)) {
        agents.fix(fixed);
    }
    if let Some(default) = policy.default_agent.as_ref().and_then(|name| agents.find(name.as_str())) {
        agents.set_default(default);
    }
    agents.set_challenge(policy.proxy_challenge);
    agents
}

fn token(
    source: &TokenSource,
    setting: Setting<'_>,
    at: &Spanned<Identity>,
    problems: &mut Problems,
) -> Option<TokenHash> {
    let source = match source {
        TokenSource::Sha256(hash) if TokenHash(*hash) == TokenHash::of(b"") => {
            problems
                .error(at.span, "this is the SHA-256 of nothing: whoever shows an empty token would be this agent")
                .fix("check that the variable was set when you hashed it: `printf %s \"$TOKEN\" | sha256sum`");
            return None;
        }
        TokenSource::Sha256(hash) => return Some(TokenHash(*hash)),
        TokenSource::Environment(name) => Source::Variable(name.clone()),
        TokenSource::File(path) => Source::File(path.clone()),
    };
    let value = match source.read(setting.environment?) {
        Ok(value) => value,
        Err(error) => {
            problems
                .error(at.span, format!("the token cannot be had: {error}"))
                .fix("provide it, or remove the identity");
            return None;
        }
    };
    let token = value.strip_suffix(b"\n").unwrap_or(&value);
    let token = token.strip_suffix(b"\r").unwrap_or(token);
    // RFC 6750 §2.1: what may stand in a Bearer header.
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        problems
            .error(at.span, "the token is empty, or has a blank, control or non-ASCII byte in it")
            .fix("make one with `openssl rand -hex 32`");
        return None;
    }
    if token.len() < SHORT_TOKEN {
        problems
            .warning(at.span, format!("the token has fewer than {SHORT_TOKEN} characters and can be guessed"))
            .fix("make one with `openssl rand -hex 32`");
    }
    Some(TokenHash::of(token))
}
