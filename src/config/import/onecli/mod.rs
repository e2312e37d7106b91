//! onecli's rules, as `GET /rules` of its API lists them: block, rate limit, approval and allow, for one agent or all.

mod source;

use super::super::error::{Problems, quote};
use super::document::{List, Mapping, Value, text as as_text, texts};
use super::read::name;
use super::{Options, PolicyMode, Root};
use crate::pipeline::policy::matcher::{HostPattern, NamePattern};

use source::{Action, Rule, is_disabled, listed, rule};

/// The policy that all rules together make.
pub fn convert(roots: &[Root], options: &Options<'_>, problems: &mut Problems) -> Option<Mapping> {
    let (mut rules, mut disabled) = (Vec::new(), Vec::new());
    for root in roots {
        for (place, node) in listed(root) {
            match is_disabled(node) {
                true => disabled.push(place),
                false => rules.extend(rule(node, place, problems)),
            }
        }
    }
    if rules.is_empty() && !problems.has_errors() {
        problems
            .error(None, "there is no rule to import")
            .fix("without rules onecli restricts nothing: write the policy");
    }
    let agents = Agents::of(&rules, options, problems);
    check_agents_rules(&rules, problems);
    let mode = mode(&rules, options, problems)?;
    let mut policy = Mapping::default();
    for place in disabled {
        policy.note(format!("{place} is left out: it is disabled there"));
    }
    let mut names = Vec::new();
    let organization = written(&rules, &agents, true, mode, &mut names);
    if !organization.is_empty() {
        let mut bounds = Mapping::default();
        bounds.add("rules", Value::List(organization));
        policy.add("organization", Value::Mapping(bounds));
    }
    match mode {
        PolicyMode::Allow => {
            policy.note("onecli lets every request pass that no rule is about");
            policy.add("allowedDomains", Value::InlineList(vec![as_text("*")]));
        }
        PolicyMode::Deny => {
            policy.note("what its rules permit");
            policy.add_list("allowedDomains", permitted(&rules, None));
        }
    }
    if !agents.0.is_empty() {
        let mut entries = Mapping::default();
        for (id, agent) in &agents.0 {
            entries.note(format!("agentId {id}"));
            let mut entry = Mapping::default();
            let token = Value::Inline(vec![("env", as_text(variable(agent)))]);
            let mut identity = List::default();
            identity.add(Value::Inline(vec![("token", token)]));
            entry.add("identity", Value::List(identity));
            if mode == PolicyMode::Deny {
                entry.add_list("allowedDomains", permitted(&rules, Some(id)));
            }
            entries.add(agent, Value::Mapping(entry));
        }
        policy.add("agents", Value::Mapping(entries));
    }
    policy.add_list("rules", written(&rules, &agents, false, mode, &mut names));
    Some(policy)
}

/// The agents that rules name, as pairs of onecli's id and our name.
struct Agents(Vec<(String, String)>);

impl Agents {
    fn of(rules: &[Rule], options: &Options<'_>, problems: &mut Problems) -> Self {
        let mut agents: Vec<(String, String)> = Vec::new();
        for agent in rules.iter().filter_map(|rule| rule.agent.as_ref()) {
            if agents.iter().any(|(id, _)| *id == agent.value) {
                continue;
            }
            let taken: Vec<_> = agents.iter().map(|(_, name)| name.clone()).collect();
            let given = options.agents.iter().find(|(id, _)| *id == agent.value).map(|(_, name)| name.as_str());
            let named = name(given.unwrap_or(&agent.value), &taken);
            if given.is_none() && named != agent.value {
                problems
                    .warning(agent.span, format!("the agent {} is called `{named}` here", quote(&agent.value)))
                    .fix(format!("import with `--agent {}=NAME` to give it its name", agent.value));
            }
            agents.push((agent.value.clone(), named));
        }
        if let Some(agent) = rules.iter().find_map(|rule| rule.agent.as_ref()) {
            problems
                .warning(
                    agent.span,
                    "agents are known here by tokens, and only those that rules name are in the policy",
                )
                .fix("provide their variables, and add the agents that no rule names: others are 401");
        }
        Self(agents)
    }

    fn name(&self, id: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == id).map(|(_, name)| name.as_str())
    }
}

/// The variable with an agent's token.
fn variable(agent: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = agent.chars().map(upper).collect();
    let front = if name.starts_with(|first: char| first.is_ascii_digit()) { "_" } else { "" };
    format!("{front}{name}_TOKEN")
}

/// A rule for one agent may take the place of the same one for all: here both hold.
fn check_agents_rules(rules: &[Rule], problems: &mut Problems) {
    for rule in rules.iter().filter(|rule| rule.agent.is_some() && rule.action != Action::Block) {
        let same = |other: &&Rule| {
            other.agent.is_none()
                && !other.organization
                && other.action != Action::Allow
                && (&other.host.value, &other.path, &other.method) == (&rule.host.value, &rule.path, &rule.method)
        };
        if let Some(other) = rules.iter().find(same) {
            let place = problems.place(other.span);
            problems
                .error(
                    rule.span,
                    format!("this rule for one agent stands in the place of {place}: here both would hold"),
                )
                .fix("scope the other one to the agents it is still about, or remove one");
        }
    }
}

fn mode(rules: &[Rule], options: &Options<'_>, problems: &mut Problems) -> Option<PolicyMode> {
    let allow = rules.iter().find(|rule| rule.action == Action::Allow);
    match (options.mode, allow) {
        (Some(PolicyMode::Deny), _) => {
            problems
                .warning(
                    None,
                    "in that mode onecli lets the hosts of model providers pass without a rule; here they need one",
                )
                .fix("add the ones that agents need to `allowedDomains`");
            Some(PolicyMode::Deny)
        }
        (None, Some(rule)) => {
            problems
                .error(rule.span, "what an `allow` rule means hangs on the organization's policy mode, which the rules do not say")
                .fix("import with `--policy-mode deny` where only what rules allow passes, else with `--policy-mode allow`");
            None
        }
        (mode, _) => {
            problems
                .warning(None, "every host is allowed that no rule blocks, as in onecli's policy mode `allow`")
                .fix("name the hosts that agents need in the place of `*`; for the mode `deny` give `--policy-mode deny`");
            mode.or(Some(PolicyMode::Allow))
        }
    }
}

/// The rules as ours, those of the organization or the others; `names` are those already given.
fn written(rules: &[Rule], agents: &Agents, organization: bool, mode: PolicyMode, names: &mut Vec<String>) -> List {
    let mut list = List::default();
    for rule in rules.iter().filter(|rule| rule.organization == organization) {
        let action = match rule.action {
            Action::Block => as_text("block"),
            Action::RateLimit { requests, window } => {
                let limit = vec![("requests", Value::Number(requests)), ("per", as_text(window))];
                Value::Inline(vec![("rateLimit", Value::Inline(limit))])
            }
            Action::Approval => {
                let approval = vec![("hold", as_text("20s")), ("expires", as_text("15m"))];
                Value::Inline(vec![("approval", Value::Inline(approval))])
            }
            Action::Allow => {
                let why = if mode == PolicyMode::Allow { "everything is allowed" } else { "see allowedDomains" };
                list.note(format!("{} allows: {why}", rule.place));
                continue;
            }
        };
        let mut entry = Mapping::default();
        entry.add("name", as_text(own_name(&rule.name, names))).add("host", as_text(rule.host.to_string()));
        if let Some(path) = &rule.path {
            entry.add("path", as_text(path));
        }
        if let Some(method) = &rule.method {
            entry.add("method", as_text(method));
        }
        match rule.agent.as_ref().and_then(|id| agents.name(id)) {
            Some(agent) => entry.add("agents", texts([agent])),
            None => entry.add("agents", as_text("all")),
        };
        entry.add("action", action);
        list.note(&rule.place).add(Value::Mapping(entry));
    }
    list
}

/// A name that fits on a line. Records name rules, so two with one name get different ones.
fn own_name(name: &str, names: &mut Vec<String>) -> String {
    const LONGEST: usize = 72;
    let name: String = name.chars().filter(|character| !character.is_control()).take(LONGEST).collect();
    let name = if name.trim().is_empty() { "imported" } else { name.trim() };
    let earlier = names.iter().filter(|other| *other == name).count();
    names.push(name.to_owned());
    if earlier == 0 { name.to_owned() } else { format!("{name} ({})", earlier + 1) }
}

/// What rules for all (`None`), or the ones of an agent beside them, permit where nothing passes without a rule.
///
/// Here the closest pattern of hosts alone decides, there all that match: each entry therefore also says what wider
/// patterns permit for its hosts.
fn permitted(rules: &[Rule], agent: Option<&str>) -> List {
    let permits = |rule: &&Rule| rule.action != Action::Block;
    let of_all: Vec<&Rule> = rules.iter().filter(permits).filter(|rule| rule.agent.is_none()).collect();
    let is_mine = |rule: &&Rule| agent.is_some() && rule.agent.as_ref().map(|id| id.as_str()) == agent;
    let mine: Vec<&Rule> = rules.iter().filter(permits).filter(is_mine).collect();
    let mut hosts: Vec<&HostPattern> = Vec::new();
    for rule in of_all.iter().chain(&mine) {
        if !hosts.contains(&&rule.host.value) {
            hosts.push(&rule.host.value);
        }
    }
    let mut list = List::default();
    for host in hosts {
        let for_all = of_all.iter().any(|rule| rule.host.value == *host);
        // What the entry for all says of this host adds up with the agent's; where there is none, it is said again.
        let said_for_all = if agent.is_none() || !for_all { of_all.as_slice() } else { &[] };
        let pairs: Vec<&Rule> =
            said_for_all.iter().chain(&mine).copied().filter(|rule| covers(&rule.host, host)).collect();
        if pairs.is_empty() {
            continue;
        }
        let mut restrictions = List::default();
        for rule in pairs {
            restrictions.note(&rule.place);
            for path in exact(rule.path.as_deref()) {
                let mut pair = vec![("path", as_text(path))];
                if let Some(method) = &rule.method {
                    pair.insert(0, ("method", as_text(method)));
                }
                restrictions.add(Value::Inline(pair));
            }
        }
        let mut entry = Mapping::default();
        entry.add("pattern", as_text(host.to_string())).add_list("httpRestrictions", restrictions);
        list.add(Value::Mapping(entry));
    }
    list
}

/// A path that restricts, as the patterns that permit the same: those are taken by the letter.
fn exact(path: Option<&str>) -> Vec<String> {
    match path {
        None => vec!["/**".to_owned()],
        Some(path) => match path.strip_suffix("/**") {
            Some(prefix) if !prefix.is_empty() => vec![prefix.to_owned(), format!("{prefix}/**")],
            _ => vec![path.to_owned()],
        },
    }
}

fn covers(wide: &HostPattern, narrow: &HostPattern) -> bool {
    let below = |name: &str, parent: &str| name.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    match (&wide.name, &narrow.name) {
        (NamePattern::Any, _) => true,
        (NamePattern::Below(parent), NamePattern::Exact(host)) => below(&host.to_string(), parent),
        (NamePattern::Below(parent), NamePattern::Below(name)) => parent == name || below(name, parent),
        (wide, narrow) => wide == narrow,
    }
}
