//! oktsec's egress settings: `forward_proxy` for everyone, and `agents.*.egress`.

use std::collections::BTreeSet;

use super::super::decode::{Fields, boolean, list, mismatch, number, text};
use super::super::error::{Problems, Spanned, quote};
use super::super::yaml::{Key, Node, Value as Written};
use super::document::{List, Mapping, Value, text as as_text};
use super::read::{leave_out, name, nullable, refuse, skip};
use super::{Options, Root};
use crate::pipeline::policy::matcher::HostPattern;

/// The header by which its agents say who they are.
const IDENTITY_HEADER: &str = "X-Oktsec-Agent";
/// Seconds, where a limit names no window.
const DEFAULT_WINDOW: u64 = 60;

/// The policy that the one source makes.
pub fn convert(roots: &[Root], options: &Options<'_>, problems: &mut Problems) -> Option<Mapping> {
    let root = roots.first()?;
    let config = config(&root.node, problems)?;
    check_categories(&config, options, problems);
    let file = &root.name;
    let mut policy = Mapping::default();
    if !config.proxy.blocked.is_empty() {
        let mut organization = Mapping::default();
        organization.add("blockedDomains", domains(&config.proxy.blocked));
        policy.note(format!("{file}, forward_proxy.blocked_domains: nothing below overrides it"));
        policy.add("organization", Value::Mapping(organization));
    }
    if !config.proxy.allowed.is_empty() {
        policy.note(format!("{file}, forward_proxy.allowed_domains"));
        policy.add("allowedDomains", domains(&config.proxy.allowed));
    }
    let mut agents = Mapping::default();
    let mut taken = Vec::new();
    for agent in &config.agents {
        if agent.suspended {
            agents.note(format!("agents.{} is left out: it is suspended", agent.name.value));
            continue;
        }
        let named = name(&agent.name, &taken);
        taken.push(named.clone());
        let entry = agent_entry(agent, &config, problems);
        agents.note(format!("{file}, agents.{}", agent.name.value)).add(named, Value::Mapping(entry));
    }
    if agents.is_empty() {
        problems
            .error(root.node.span, "there is no agent to import")
            .fix("name the agents under `agents`: a caller that names itself otherwise is refused here");
        return None;
    }
    problems
        .warning(
            config.agents.first()?.name.span,
            format!("agents are known by `{IDENTITY_HEADER}`, which anyone can set"),
        )
        .fix(
            "see to it that only these agents reach the proxy, or give each a token; whoever shows no name is 401 here",
        );
    policy.add("agents", Value::Mapping(agents));
    let profiles = profiles(&config);
    if !profiles.is_empty() {
        let mut dlp = Mapping::default();
        dlp.note("URL, headers and body are looked at, of every size: there, bodies of plain HTTP are");
        dlp.add("profiles", Value::Mapping(profiles));
        policy.note(format!("{file}, blocked_categories of the agents: one profile for those that list the same"));
        policy.add("dlp", Value::Mapping(dlp));
    }
    Some(policy)
}

struct Config {
    proxy: Proxy,
    agents: Vec<Agent>,
    /// `rate_limit`: messages of each caller.
    limit: Option<(u64, u64)>,
}

#[derive(Default)]
struct Proxy {
    allowed: Vec<Spanned<String>>,
    blocked: Vec<Spanned<String>>,
    scans_responses: bool,
}

struct Agent {
    name: Spanned<String>,
    suspended: bool,
    egress: Egress,
}

#[derive(Default)]
struct Egress {
    allowed: Vec<Spanned<String>>,
    blocked: Vec<Spanned<String>>,
    scans_responses: Option<bool>,
    categories: Vec<Spanned<String>>,
    limit: Option<(u64, u64)>,
}

fn agent_entry(agent: &Agent, config: &Config, problems: &mut Problems) -> Mapping {
    let header = vec![
        ("name", as_text(IDENTITY_HEADER)),
        ("value", as_text(&agent.name.value)),
        ("trusted", Value::Boolean(true)),
    ];
    let mut identity = List::default();
    identity.add(Value::Inline(vec![("header", Value::Inline(header))]));
    let mut entry = Mapping::default();
    entry.add("identity", Value::List(identity));
    let egress = &agent.egress;
    if !egress.allowed.is_empty() {
        entry.add("allowedDomains", domains(&egress.allowed));
    } else if config.proxy.allowed.is_empty() {
        problems
            .warning(agent.name.span, format!("{} has no allow list, so it may reach every host", quote(&agent.name)))
            .fix("name the hosts it needs in the place of `*`");
        entry.note("no allowed_domains, neither here nor in forward_proxy: everything that is not blocked");
        entry.add("allowedDomains", Value::InlineList(vec![as_text("*")]));
    }
    if !egress.blocked.is_empty() {
        entry.add("blockedDomains", domains(&egress.blocked));
    }
    if let Some((requests, window)) = egress.limit.or(config.limit) {
        if egress.limit.is_none() {
            entry.note("rate_limit of the file, which counts for each address there and for each agent here");
        }
        let per = as_text(format!("{window}s"));
        entry.add("rateLimit", Value::Inline(vec![("requests", Value::Number(requests)), ("per", per)]));
    }
    match profile_of(egress, &config.proxy) {
        Some(profile) => _ = entry.add("dlp", as_text(profile.name())),
        None => {
            _ = entry
                .note("no blocked_categories: what holds here by default, which blocks credentials and personal data")
        }
    }
    entry
}

/// What agents block that list the same categories.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Blocked {
    categories: BTreeSet<&'static str>,
    responses: bool,
}

/// Their categories, as it names them and as rules of its engine do, and ours.
const CATEGORIES: [(&str, &str); 6] = [
    ("credentials", "credentials"),
    ("credential-leak", "credentials"),
    ("credential_leak", "credentials"),
    ("pii", "pii"),
    ("prompt-injection", "promptInjection"),
    ("prompt_injection", "promptInjection"),
];

fn category(theirs: &str) -> Option<&'static str> {
    CATEGORIES.iter().find(|(name, _)| *name == theirs).map(|(_, ours)| *ours)
}

/// None: nothing is blocked there.
fn profile_of(egress: &Egress, proxy: &Proxy) -> Option<Blocked> {
    let categories: BTreeSet<_> = egress.categories.iter().filter_map(|name| category(name)).collect();
    let responses = egress.scans_responses.unwrap_or(proxy.scans_responses);
    (!categories.is_empty()).then_some(Blocked { categories, responses })
}

impl Blocked {
    fn name(&self) -> String {
        let names: Vec<_> = self.categories.iter().map(|name| name.to_ascii_lowercase()).collect();
        format!("{}{}", names.join("-"), if self.responses { "-both-ways" } else { "" })
    }

    /// What is not listed is put on record, as there.
    fn entry(&self) -> Mapping {
        let action = |name| as_text(if self.categories.contains(name) { "block" } else { "monitor" });
        let mut entry = Mapping::default();
        entry.add(
            "requests",
            Value::Inline(
                ["credentials", "crypto", "pii"]
                    .map(|name| match name {
                        // There, keys are credentials whatever they open.
                        "crypto" => (name, action("credentials")),
                        name => (name, action(name)),
                    })
                    .into(),
            ),
        );
        let in_responses = self.categories.iter().filter(|name| self.responses || **name == "promptInjection");
        let in_responses: Vec<_> = in_responses.map(|name| (*name, as_text("block"))).collect();
        if !in_responses.is_empty() {
            entry.add("responses", Value::Inline(in_responses));
        }
        entry
    }
}

fn profiles(config: &Config) -> Mapping {
    let agents = config.agents.iter().filter(|agent| !agent.suspended);
    let all: BTreeSet<_> = agents.filter_map(|agent| profile_of(&agent.egress, &config.proxy)).collect();
    let mut profiles = Mapping::default();
    for profile in all {
        profiles.add(profile.name(), Value::Mapping(profile.entry()));
    }
    profiles
}

/// A category that has no counterpart is refused, unless it is said that it may get lost.
fn check_categories(config: &Config, options: &Options<'_>, problems: &mut Problems) {
    let all = config.agents.iter().flat_map(|agent| &agent.egress.categories);
    for unknown in all.filter(|name| category(name).is_none()) {
        let name = quote(unknown);
        match options.without_dlp {
            true => problems
                .warning(
                    unknown.span,
                    format!("the category {name} has no counterpart: what it blocks there passes here"),
                )
                .fix("write rules for it in `dlp.rules`"),
            false => problems
                .error(unknown.span, format!("the category {name} has no counterpart: what it blocks there would pass"))
                .fix("import with `--without-dlp` if that is acceptable, and write rules for it in `dlp.rules`"),
        };
    }
}

fn domains(all: &[Spanned<String>]) -> Value {
    let mut list = List::default();
    for domain in all {
        list.add(as_text(&domain.value));
    }
    Value::List(list)
}

fn config(node: &Node, problems: &mut Problems) -> Option<Config> {
    let mut fields = Fields::of(node, "a configuration of oktsec", problems)?.secretive();
    skip(&mut fields, &["version", "server", "db_backend", "db_path", "db_dsn", "dashboard"]);
    leave_out(
        &mut fields,
        &[
            "identity",
            "default_policy",
            "quarantine",
            "anomaly",
            "alerting",
            "gateway",
            "mcp_servers",
            "llm",
            "rules",
            "custom_rules_dir",
        ],
        "it is about messages between agents and their tools",
        "see that nothing relies on it for what goes out by HTTP",
    );
    leave_out(
        &mut fields,
        &["webhooks", "category_webhooks"],
        "notifications are not imported",
        "write `notifications`, where this version has them",
    );
    let limit = fields.optional("rate_limit", global_limit).flatten();
    let proxy = fields.required("forward_proxy", proxy);
    let agents = fields.required("agents", agents);
    fields.finish()?;
    Some(Config { proxy: proxy?, agents: agents?, limit })
}

fn proxy(node: &Node, problems: &mut Problems) -> Option<Proxy> {
    let mut fields = Fields::of(node, "`forward_proxy`", problems)?;
    skip(&mut fields, &["port", "bind"]);
    refuse(
        &mut fields,
        &["require_auth", "auth_methods", "trusted_loopback_headers"],
        "how callers prove who they are is not in this file",
        "remove it, and give the agents tokens in the imported policy",
    );
    let enabled = fields.optional("enabled", boolean);
    if enabled != Some(true) {
        let span = fields.span();
        fields.warn(
            span,
            "`forward_proxy` is not enabled there: here all of it will be in force",
            "set `enabled: true` if that is what you want",
        );
    }
    let allowed = fields.optional("allowed_domains", domain_list).unwrap_or_default();
    let blocked = fields.optional("blocked_domains", domain_list).unwrap_or_default();
    // Here requests always are, and bodies of every size.
    fields.optional("scan_requests", boolean);
    fields.optional("max_body_size", number("a number of bytes", 0..=u64::MAX));
    let scans_responses = fields.optional("scan_responses", boolean).unwrap_or_default();
    fields.finish()?;
    Some(Proxy { allowed, blocked, scans_responses })
}

fn agents(node: &Node, problems: &mut Problems) -> Option<Vec<Agent>> {
    let Written::Mapping(entries) = &node.value else {
        return mismatch(node, "a mapping from names to agents", problems);
    };
    Some(entries.iter().filter_map(|(key, node)| agent(key, node, problems)).collect())
}

fn agent(key: &Key, node: &Node, problems: &mut Problems) -> Option<Agent> {
    let visible = key.text.chars().all(|character| matches!(character, '!'..='~'));
    if !visible {
        problems
            .error(key.span, format!("{} cannot be the value of a header", quote(&key.text)))
            .fix("name the agent in printable ASCII without blanks");
    }
    let mut fields = Fields::of(node, "an agent", problems)?;
    skip(&mut fields, &["description", "created_by", "created_at", "location", "tags"]);
    leave_out(
        &mut fields,
        &[
            "can_message",
            "blocked_content",
            "allowed_tools",
            "tool_policies",
            "tool_constraints",
            "tool_chain_rules",
            "scan_profile",
        ],
        "it is about messages between agents and their tools",
        "see that nothing relies on it for what goes out by HTTP",
    );
    let suspended = fields.optional("suspended", boolean).unwrap_or_default();
    let egress = nullable(&mut fields, "egress", egress).unwrap_or_default();
    fields.finish()?;
    Some(Agent { name: Spanned { value: key.text.clone(), span: key.span }, suspended, egress }).filter(|_| visible)
}

fn egress(node: &Node, problems: &mut Problems) -> Option<Egress> {
    let mut fields = Fields::of(node, "`egress`", problems)?;
    refuse(
        &mut fields,
        &["integrations", "scope"],
        "the hosts it stands for are not in this file",
        "write them into `allowed_domains`",
    );
    refuse(
        &mut fields,
        &["tool_restrictions"],
        "a request does not say which tool makes it",
        "give the tool an agent of its own with its `allowed_domains`",
    );
    let allowed = fields.optional("allowed_domains", domain_list).unwrap_or_default();
    let blocked = fields.optional("blocked_domains", domain_list).unwrap_or_default();
    fields.optional("scan_requests", boolean);
    let scans_responses = fields.optional("scan_responses", boolean);
    let categories = fields.optional("blocked_categories", list("a list of categories", text("a category")));
    let categories = categories.unwrap_or_default();
    let requests = positive(&mut fields, "rate_limit");
    let window = positive(&mut fields, "rate_window");
    fields.finish()?;
    let limit = requests.map(|requests| (requests, window.unwrap_or(DEFAULT_WINDOW)));
    Some(Egress { allowed, blocked, scans_responses, categories, limit })
}

/// `None` inside: it limits nothing.
fn global_limit(node: &Node, problems: &mut Problems) -> Option<Option<(u64, u64)>> {
    let mut fields = Fields::of(node, "`rate_limit`", problems)?;
    let requests = positive(&mut fields, "per_agent");
    let window = positive(&mut fields, "window");
    if requests.is_some() {
        let span = fields.span();
        fields.warn(
            span,
            "`rate_limit` counts for each address there; here it becomes the limit of each agent that has none of its own",
            "see that the numbers are what you want",
        );
    }
    fields.finish()?;
    Some(requests.map(|requests| (requests, window.unwrap_or(DEFAULT_WINDOW))))
}

/// A number, of which 0 says that there is none.
fn positive(fields: &mut Fields<'_, '_>, name: &'static str) -> Option<u64> {
    fields.optional(name, number("a number", 0..=u64::MAX)).filter(|number| *number > 0)
}

fn domain_list(node: &Node, problems: &mut Problems) -> Option<Vec<Spanned<String>>> {
    list("a list of domains", domain)(node, problems)
}

/// A host or `*.host`: there, everything else is a name that no host has, and here it might be more.
fn domain(node: &Node, problems: &mut Problems) -> Option<Spanned<String>> {
    let domain = text("a domain")(node, problems)?;
    let bare = !domain.contains([':', '/']) && domain.value != "*";
    match HostPattern::parse(&domain) {
        Ok(_) if bare => Some(domain),
        Ok(_) => {
            let message = format!("{} matches no host there, but would here", quote(&domain));
            problems.error(node.span, message).fix("write `host` or `*.host`, without scheme, port and path");
            None
        }
        Err(error) => {
            let message = format!("{} is no pattern of hosts: {error}", quote(&domain));
            problems.error(node.span, message).fix("write `host` or `*.host`");
            None
        }
    }
}
