//! `agents`: who may call, how they are known, and what is theirs alone.

use super::super::decode::Rejection;
use super::identities::identity;
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
}

/// A mapping from name to agent. An agent with mistakes in it keeps its name, so that what
/// refers to it is not reported as well.
pub(super) fn agents(node: &Node, problems: &mut Problems) -> Option<Vec<Agent>> {
    let Value::Mapping(entries) = &node.value else {
        return mismatch(node, "a mapping from names to agents", problems);
    };
    if entries.is_empty() {
        problems
            .error(node.span, "`agents` names nobody, so every caller would be refused")
            .fix("name an agent, or remove the key: a policy without `agents` has exactly one");
    }
    Some(entries.iter().filter_map(|(key, node)| agent(key, node, problems)).collect())
}

fn agent(key: &Key, node: &Node, problems: &mut Problems) -> Option<Agent> {
    let name = match Name::parse(&key.text) {
        Ok(name) if name.as_str() == "all" => {
            problems.error(key.span, "`all` stands for every agent and cannot name one").fix("choose another name");
            None
        }
        Ok(name) => Some(name),
        Err(Rejection { message, fix }) => {
            problems.error(key.span, message).fix = fix;
            None
        }
    };
    let mut agent = Agent {
        name: Spanned { value: name?, span: key.span },
        identity: Vec::new(),
        allowed_domains: Vec::new(),
        blocked_domains: Vec::new(),
    };
    if let Some(fields) = Fields::of(node, "an agent", problems) {
        let mut fields = fields.later(&["profiles", "rateLimit", "dlp", "mode"]);
        agent.identity = fields.optional("identity", list("a list of identities", identity)).unwrap_or_default();
        agent.allowed_domains = fields.optional("allowedDomains", domains::allow_entries).unwrap_or_default();
        agent.blocked_domains = fields.optional("blockedDomains", domains::blocked_domains).unwrap_or_default();
        let _ = fields.finish();
    }
    Some(agent)
}
