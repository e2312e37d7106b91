//! `agents`: who may call, how they are known, and what is theirs alone.

use super::super::decode::named;
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
    /// The profiles whose lists are its own too.
    pub profiles: Vec<Spanned<Name>>,
    /// How much it may send in all.
    pub rate_limit: Option<Spanned<RateLimit>>,
    /// Whether what is decided about it is enforced.
    pub mode: Mode,
    /// What is done about what it sends and is sent: a profile of `dlp.profiles`, or `off`.
    pub dlp: Option<Spanned<Name>>,
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
        dlp: None,
    };
    if let Some(mut fields) = Fields::of(node, "an agent", problems) {
        agent.identity = fields.optional("identity", list("a list of identities", identity)).unwrap_or_default();
        agent.allowed_domains = fields.optional("allowedDomains", domains::allow_entries).unwrap_or_default();
        agent.blocked_domains = fields.optional("blockedDomains", domains::blocked_domains).unwrap_or_default();
        let profiles = list("a list of profiles", names::name("the name of a profile"));
        agent.profiles = fields.optional("profiles", profiles).unwrap_or_default();
        agent.rate_limit = fields.optional("rateLimit", |node, problems| {
            Some(Spanned { value: rules::rate_limit(node, problems)?, span: node.span })
        });
        agent.mode = fields.optional("mode", rules::mode).unwrap_or_default();
        agent.dlp = fields.optional("dlp", names::name("the name of a profile about data, or `off`"));
        let _ = fields.finish();
    }
    Some(agent)
}
