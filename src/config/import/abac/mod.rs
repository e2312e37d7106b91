//! abac's policy groups: one proxy token for several APIs, each with routes of which the first that matches decides.

mod source;

use super::super::error::{Problems, Span, Spanned};
use super::Root;
use super::document::{List, Mapping, Value, one_line, text as as_text, texts};
use super::first_match::{Clash, Fate, Rule, without_order};
use super::read::name;

use source::{Api, Filter, Group, Host, group};

/// The policy that all groups together make: an agent for each.
pub fn convert(roots: &[Root], problems: &mut Problems) -> Option<Mapping> {
    let mut agents = Mapping::default();
    let mut credentials = List::default();
    let mut filters = List::default();
    let mut taken = Taken::default();
    for root in roots {
        let Some(group) = group(&root.node, problems) else { continue };
        taken.check_token(&group.token, problems);
        let agent = name(root.name.strip_suffix(".policygroup.json").unwrap_or(&root.name), &taken.agents);
        taken.agents.push(agent.clone());
        agents
            .note(&root.name)
            .add(&agent, Value::Mapping(agent_entry(&group, &agent, &root.name, &mut filters, problems)));
        add_credentials(&group, &agent, &root.name, &mut taken, &mut credentials);
    }
    let mut policy = Mapping::default();
    policy.add("agents", Value::Mapping(agents)).add_list("credentials", credentials);
    policy.add_list("responseFilters", filters);
    Some(policy)
}

/// What two groups must not share.
#[derive(Default)]
struct Taken {
    agents: Vec<String>,
    credentials: Vec<String>,
    tokens: Vec<(String, Span)>,
}

impl Taken {
    fn check_token(&mut self, token: &Spanned<String>, problems: &mut Problems) {
        match self.tokens.iter().find(|(digest, _)| *digest == token.value) {
            Some((_, at)) => {
                let place = problems.place(*at);
                problems
                    .error(token.span, format!("this `localToken` is also that of {place}"))
                    .fix("give each group a token of its own");
            }
            None => self.tokens.push((token.value.clone(), token.span)),
        }
    }
}

fn agent_entry(group: &Group, agent: &str, file: &str, filters: &mut List, problems: &mut Problems) -> Mapping {
    let mut identity = List::default();
    identity.note("localToken, hashed");
    let digest = Value::Inline(vec![("sha256", as_text(&group.token.value))]);
    identity.add(Value::Inline(vec![("token", digest)]));
    let mut allowed = List::default();
    let mut seen: Vec<(&Host, Span)> = Vec::new();
    for api in &group.apis {
        if let Some((_, at)) = seen.iter().find(|(host, _)| **host == api.host.value) {
            let place = problems.place(*at);
            let message = format!("{} is left out: of two for one host, only the first, {place}, counts", api.place);
            problems.warning(api.host.span, message).fix("put their rules together in the source, if both are meant");
            continue;
        }
        seen.push((&api.host.value, api.host.span));
        let mut filtered = |index: usize, rule: &Rule, filter: &Filter| {
            filters.note(format!("{file}, {}.rules[{index}]", api.place)).add(filter_entry(api, rule, filter, agent));
        };
        add_api(api, &mut filtered, &mut allowed, problems);
    }
    let mut entry = Mapping::default();
    entry.add("identity", Value::List(identity)).add_list("allowedDomains", allowed);
    entry
}

fn add_api(api: &Api, filtered: &mut impl FnMut(usize, &Rule, &Filter), allowed: &mut List, problems: &mut Problems) {
    let rules: Vec<Rule> = api.rules.iter().map(|rule| rule.rule.clone()).collect();
    let fates = match fates(&rules, api.open) {
        Ok(fates) => fates,
        Err(Clash { deny, allow }) => {
            report_clash(api, deny, allow, problems);
            return;
        }
    };
    allowed.note(format!("{}, {}", api.place, api.host.pattern));
    let (mut permits, mut refuses) = (List::default(), List::default());
    for (index, (rule, fate)) in api.rules.iter().zip(&fates).enumerate() {
        let place = format!("rules[{index}]");
        let pair = pair(&rule.rule);
        match fate {
            Fate::Kept if rule.rule.allow => {
                permits.note(place).add(pair);
                if let Some(filter) = &rule.filter {
                    filtered(index, &rule.rule, filter);
                }
            }
            Fate::Kept => {
                refuses.note(place).add(pair);
            }
            Fate::Unreached(by) => {
                allowed.note(format!("{place} never counts: rules[{by}] comes first: {}", one_line(&pair)));
            }
            Fate::Redundant => {
                allowed.note(format!("{place} refuses only what nothing allows: {}", one_line(&pair)));
            }
        }
    }
    if api.open {
        permits.note("defaultAction: every other route");
        permits.add(Value::Inline(vec![("path", as_text("/**"))]));
    }
    if permits.is_empty() {
        allowed.note("allows no route at all");
        return;
    }
    let mut entry = Mapping::default();
    entry.add("pattern", as_text(&api.host.pattern)).add_list("httpRestrictions", permits);
    allowed.add(Value::Mapping(entry));
    if !refuses.is_empty() {
        let mut entry = Mapping::default();
        entry.add("pattern", as_text(&api.host.pattern)).add("action", as_text("deny"));
        entry.add_list("httpRestrictions", refuses);
        allowed.add(Value::Mapping(entry));
    }
}

/// With an open end, what is not refused is permitted at the end: a permission needs its place only before refusals,
/// and every refusal is needed.
fn fates(rules: &[Rule], open: bool) -> Result<Vec<Fate>, Clash> {
    let mut fates = without_order(rules)?;
    if !open {
        return Ok(fates);
    }
    for (deny, rule) in rules.iter().enumerate().filter(|(_, rule)| !rule.allow) {
        match fates.get_mut(deny) {
            Some(Fate::Unreached(_)) => {}
            Some(fate) => {
                if let Some(allow) = rules.iter().take(deny).position(|other| other.allow && rule.touches(other)) {
                    return Err(Clash { deny, allow });
                }
                *fate = Fate::Kept;
            }
            None => {}
        }
    }
    Ok(fates)
}

fn report_clash(api: &Api, deny: usize, allow: usize, problems: &mut Problems) {
    let (Some(denied), Some(allowed)) = (api.rules.get(deny), api.rules.get(allow)) else { return };
    let place = problems.place(allowed.span);
    let message = format!(
        "the order of these rules cannot be kept: here a refusal always wins, and this one would also refuse what \
         rules[{allow}], {place}, allows before it"
    );
    problems
        .error(denied.span, message)
        .fix("split the rules so that none allows what a later one refuses, or move this refusal to the front");
}

fn pair(rule: &Rule) -> Value {
    let path = ("path", as_text(rule.route.pattern()));
    match &rule.method {
        Some(method) => Value::Inline(vec![("method", as_text(method)), path]),
        None => Value::Inline(vec![path]),
    }
}

fn filter_entry(api: &Api, rule: &Rule, filter: &Filter, agent: &str) -> Value {
    let mut entry = vec![("host", as_text(&api.host.pattern)), ("path", as_text(rule.route.pattern()))];
    if let Some(method) = &rule.method {
        entry.push(("method", as_text(method)));
    }
    entry.extend([("agents", texts([agent])), (filter.kind, texts(&filter.fields))]);
    Value::Inline(entry)
}

fn add_credentials(group: &Group, agent: &str, file: &str, taken: &mut Taken, credentials: &mut List) {
    let mut variables: Vec<&str> =
        group.apis.iter().filter_map(|api| Some(api.key.as_ref()?.variable.as_str())).collect();
    variables.sort_unstable();
    variables.dedup();
    for variable in variables {
        let mut injections = List::default();
        let mut hosts: Vec<&Host> = Vec::new();
        for api in &group.apis {
            // Of two entries for one host, the second never counts.
            let first = !hosts.contains(&&api.host.value);
            hosts.push(&api.host.value);
            let Some(key) = api.key.as_ref().filter(|key| first && key.variable == variable) else { continue };
            injections.note(&api.place);
            let mut injection = vec![
                ("domain", as_text(&api.host.pattern)),
                ("headerName", as_text(&key.header)),
                ("headerFormat", as_text(key.format)),
            ];
            if api.host.plaintext {
                injection.push(("plaintext", Value::Boolean(true)));
            }
            injections.add(Value::Inline(injection));
        }
        if injections.is_empty() {
            continue;
        }
        let credential = name(&variable.to_ascii_lowercase().replace('_', "-"), &taken.credentials);
        taken.credentials.push(credential.clone());
        let mut entry = Mapping::default();
        entry.add("name", as_text(credential)).add("envVarKey", as_text(variable)).add("agents", texts([agent]));
        entry.add_list("injections", injections);
        credentials.note(format!("{file}, localUpstreamTokenKey")).add(Value::Mapping(entry));
    }
}
