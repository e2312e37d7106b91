//! `dlp`: what is done about secrets and personal data in requests and responses.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::super::decode::{Rejection, named, parsed, quiet, word};
use super::credentials::file;
use super::dlp_rules::{DlpRule, rules};
use super::names::variable;
use super::rules::{Mode, mode};
use super::*;
use crate::pipeline::dlp::finding;
use crate::pipeline::dlp::profile::OverBuffer;

/// What a policy says about data.
#[derive(Debug, Clone, Default)]
pub struct Dlp {
    /// What is done about what is found, by name.
    pub profiles: Vec<DlpProfile>,
    /// The policy's own rules.
    pub rules: Vec<DlpRule>,
    /// What is let pass although a rule finds it.
    pub allow: Vec<Exemption>,
    /// Values that are there only to be missed when they leave.
    pub canaries: Vec<Canary>,
}

/// What is done about what is found. It says how it differs from the built-in default.
#[derive(Debug, Clone)]
pub struct DlpProfile {
    /// By which agents refer to it; `default` is for those that refer to none.
    pub name: Spanned<Name>,
    /// What is done about requests, by category or rule.
    pub requests: Vec<Said>,
    /// What is done about responses.
    pub responses: Vec<Said>,
    /// What becomes of a body that is too large to be held.
    pub over_buffer: OverBuffer,
    /// Whether the agent may send credentials of its own.
    pub own_credentials: bool,
    /// Whether the agent may open WebSockets.
    pub web_sockets: bool,
    /// Whether any of it is done.
    pub mode: Mode,
}

/// An action about a category or a rule.
#[derive(Debug, Clone)]
pub struct Said {
    /// The category or the rule's id.
    pub about: Spanned<String>,
    /// What is done.
    pub action: finding::Action,
}

/// What is let pass although a rule finds it.
#[derive(Debug, Clone)]
pub struct Exemption {
    /// Where it stands.
    pub span: Span,
    /// The rule's id; `None`: whichever.
    pub rule: Option<Spanned<String>>,
    /// The SHA-256 of the one value; `None`: every value.
    pub value: Option<[u8; 32]>,
    /// The hosts, as a pattern; `None`: all.
    pub host: Option<Spanned<String>>,
    /// The paths, as a pattern; `None`: all.
    pub path: Option<Spanned<String>>,
    /// The agents; `None`: all.
    pub agents: Option<Vec<Spanned<Name>>>,
    /// Why that is right.
    pub reason: Spanned<String>,
}

/// A value that is there only to be missed when it leaves.
#[derive(Debug, Clone)]
pub struct Canary {
    /// What records call it.
    pub name: Spanned<Name>,
    /// Where the value is.
    pub source: Spanned<CanarySource>,
}

/// Where a canary's value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CanarySource {
    /// In the policy itself: it opens nothing.
    Written(Hidden),
    /// In this environment variable.
    Environment(String),
    /// In this file.
    File(PathBuf),
}

/// A value that is never shown, and wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(Arc<Zeroizing<String>>);

impl Hidden {
    /// The value, for those who look for it.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

const ACTIONS: &[(&str, finding::Action)] = &[
    ("block", finding::Action::Block),
    ("redact", finding::Action::Redact),
    ("monitor", finding::Action::Monitor),
    ("off", finding::Action::Off),
];
const OVER_BUFFER: &[(&str, OverBuffer)] = &[("stream", OverBuffer::Stream), ("block", OverBuffer::Block)];
const BLOCK_OR_ALLOW: &[(&str, bool)] = &[("block", false), ("allow", true)];

pub(super) fn dlp(node: &Node, problems: &mut Problems) -> Option<Dlp> {
    let mut fields = Fields::of(node, "what is said about data", problems)?;
    let dlp = Dlp {
        profiles: fields
            .optional("profiles", named("a mapping from names to profiles of what is done", profile))
            .unwrap_or_default(),
        rules: fields.optional("rules", rules).unwrap_or_default(),
        allow: fields.optional("allow", list("a list of exemptions", exemption)).unwrap_or_default(),
        canaries: fields.optional("canaries", list("a list of canaries", canary)).unwrap_or_default(),
    };
    // What is wrong has been reported; the rest is of use to the stages that report more.
    let _ = fields.finish();
    Some(dlp)
}

fn profile(key: &Key, node: &Node, problems: &mut Problems) -> Option<DlpProfile> {
    let name = names::key(key, problems)?;
    if name.as_str() == "off" {
        problems
            .error(key.span, "`off` is built in: known secrets alone are looked for")
            .fix("choose another name, or write `dlp: off` at the agent");
        return None;
    }
    let mut fields = Fields::of(node, "what is done about data", problems)?;
    let profile = DlpProfile {
        name,
        requests: fields.optional("requests", actions).unwrap_or_default(),
        responses: fields.optional("responses", actions).unwrap_or_default(),
        over_buffer: fields
            .optional("overBuffer", word("what is done about large bodies", OVER_BUFFER))
            .map_or(OverBuffer::Stream, |word| word.value),
        own_credentials: fields
            .optional("ownCredentials", word("what is done about an agent's own credentials", BLOCK_OR_ALLOW))
            .is_some_and(|word| word.value),
        web_sockets: fields
            .optional("webSockets", word("what is done about WebSockets", BLOCK_OR_ALLOW))
            .is_some_and(|word| word.value),
        mode: fields.optional("mode", mode).unwrap_or_default(),
    };
    let _ = fields.finish();
    Some(profile)
}

fn actions(node: &Node, problems: &mut Problems) -> Option<Vec<Said>> {
    named("a mapping from categories and rules to actions", |key, node, problems| {
        let action = word("what is done about a finding", ACTIONS)(node, problems)?.value;
        Some(Said { about: Spanned { value: key.text.clone(), span: key.span }, action })
    })(node, problems)
}

fn exemption(node: &Node, problems: &mut Problems) -> Option<Exemption> {
    let mut fields = Fields::of(node, "an exemption", problems)?;
    if !fields.has("rule") && !fields.has("valueSha256") {
        fields.reject(
            node.span,
            "an exemption needs `rule`, `valueSha256` or both: it is for what one rule finds, or for one value",
            Some("write `{rule: generic-secret, host: api.example.com, reason: …}`"),
        );
    }
    let rule = fields.optional("rule", text("the id of a rule"));
    let value = fields.optional("valueSha256", quiet(parsed("the SHA-256 of the value in hexadecimal", value_sha256)));
    let host = fields.optional("host", text("a host"));
    let path = fields.optional("path", text("a path"));
    let agents = fields.optional("agents", credentials::users);
    if fields.has("agent") && agents.is_some() {
        fields.reject(node.span, "an exemption has one of `agent` and `agents`", Some("list all in `agents`"));
    }
    let agent = fields.optional("agent", names::name("the name of an agent"));
    let reason = fields.required("reason", text("a reason"));
    fields.finish()?;
    Some(Exemption {
        span: node.span,
        rule,
        value: value.map(|value| value.value),
        host,
        path,
        agents: agent.map(|agent| vec![agent]).or(agents.flatten()),
        reason: reason?,
    })
}

fn value_sha256(text: &str) -> Result<[u8; 32], Rejection> {
    identities::sha256(text).map_err(|_| {
        Rejection::new(
            "this is not a SHA-256",
            "write 64 hexadecimal digits, as `printf %s \"$VALUE\" | sha256sum` prints them",
        )
    })
}

fn canary(node: &Node, problems: &mut Problems) -> Option<Canary> {
    const FIX: &str =
        "write `{name: bait, value: …}`, `{name: bait, env: NAME}` or `{name: bait, file: /run/secrets/bait}`";
    let mut fields = Fields::of(node, "a canary", problems)?.secretive();
    let given = ["value", "env", "file"].iter().filter(|name| fields.has(name)).count();
    if given != 1 {
        fields.reject(node.span, "a canary has one of `value`, `env` and `file`", Some(FIX));
    }
    let name = fields.required("name", names::name("the name of a canary"));
    let value = fields.optional("value", |node, problems| {
        problems.hide(node.span);
        text("the value of a canary")(node, problems)
    });
    let env = fields.optional("env", quiet(parsed("the name of an environment variable", variable)));
    let file = fields.optional("file", file);
    fields.finish()?;
    let source = match (value, env, file) {
        (Some(text), None, None) => {
            Spanned { value: CanarySource::Written(Hidden(Arc::new(Zeroizing::new(text.value)))), span: text.span }
        }
        (None, Some(env), None) => Spanned { value: CanarySource::Environment(env.value), span: env.span },
        (None, None, Some(file)) => Spanned { value: CanarySource::File(file.value), span: file.span },
        _ => return None,
    };
    Some(Canary { name: name?, source })
}
