//! abac's policy groups: one proxy token for several APIs, each with routes of which the first that matches decides.

use sha2::{Digest, Sha256};

use super::super::decode::{Fields, filled_list, list, text, word};
use super::super::error::{Problems, Span, Spanned, quote};
use super::super::yaml::Node;
use super::document::{List, Mapping, Value, one_line, text as as_text, texts};
use super::first_match::{Clash, Fate, Route, Rule, without_order};
use super::read::{any_text, name, nullable};
use super::{Options, Root};
use crate::pipeline::policy::matcher::{HostPattern, NamePattern, Scheme};

/// The policy that all groups together make: an agent for each.
pub fn convert(roots: &[Root], options: &Options<'_>, problems: &mut Problems) -> Option<Mapping> {
    let mut agents = Mapping::default();
    let mut credentials = List::default();
    let mut taken = Taken::default();
    for root in roots {
        let Some(group) = group(&root.node, problems) else { continue };
        taken.check_token(&group.token, problems);
        let agent = name(root.name.strip_suffix(".policygroup.json").unwrap_or(&root.name), &taken.agents);
        taken.agents.push(agent.clone());
        agents.note(&root.name).add(&agent, Value::Mapping(agent_entry(&group, options, problems)));
        add_credentials(&group, &agent, &root.name, &mut taken, &mut credentials);
    }
    let mut policy = Mapping::default();
    policy.add("agents", Value::Mapping(agents)).add_list("credentials", credentials);
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

/// One file.
struct Group {
    /// SHA-256 of the token, in hexadecimal.
    token: Spanned<String>,
    apis: Vec<Api>,
}

/// One entry of `policies`.
struct Api {
    /// `policies[0]`.
    place: String,
    host: Spanned<Host>,
    key: Option<Key>,
    rules: Vec<Spanned<ApiRule>>,
    /// Whether what no rule is about passes.
    open: bool,
}

#[derive(Clone, PartialEq, Eq)]
struct Host {
    pattern: String,
    plaintext: bool,
}

struct Key {
    variable: String,
    header: String,
    format: &'static str,
}

struct ApiRule {
    rule: Rule,
    filter: Option<Spanned<Filter>>,
}

struct Filter {
    /// `includeFields` or `excludeFields`.
    kind: &'static str,
    fields: Vec<String>,
}

fn agent_entry(group: &Group, options: &Options<'_>, problems: &mut Problems) -> Mapping {
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
        add_api(api, options, &mut allowed, problems);
    }
    let mut agent = Mapping::default();
    agent.add("identity", Value::List(identity)).add_list("allowedDomains", allowed);
    agent
}

fn add_api(api: &Api, options: &Options<'_>, allowed: &mut List, problems: &mut Problems) {
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
                    add_filter(api, &rule.rule, filter, options, &mut permits, problems);
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

fn add_filter(
    api: &Api,
    rule: &Rule,
    filter: &Spanned<Filter>,
    options: &Options<'_>,
    permits: &mut List,
    problems: &mut Problems,
) {
    if !options.without_response_filters {
        problems
            .error(
                filter.span,
                "responses of this route are filtered, which this version does not do: agents would see every field",
            )
            .fix("import with `--without-response-filters` if that is acceptable; the filters are then comments");
        return;
    }
    problems
        .warning(filter.span, "THIS FILTER IS NOT IN FORCE: agents see every field of these responses")
        .fix("keep the API from sending what they must not see, or do not allow the route");
    let mut entry = vec![("host", as_text(&api.host.pattern)), ("path", as_text(rule.route.pattern()))];
    if let Some(method) = &rule.method {
        entry.push(("method", as_text(method)));
    }
    entry.push((filter.kind, texts(&filter.fields)));
    permits.note("NOT IN FORCE, responses are not filtered by this version; in responseFilters it would be:");
    permits.note(format!("- {}", one_line(&Value::Inline(entry))));
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

fn group(node: &Node, problems: &mut Problems) -> Option<Group> {
    let mut fields = Fields::of(node, "a policy group", problems)?.secretive();
    fields.optional("version", |_, _| Some(()));
    let token = fields.required("localToken", token);
    let open = nullable(&mut fields, "defaultAction", default_action).unwrap_or_default();
    let apis = fields.required("policies", |node, problems| {
        let apis = filled_list("a list of policies", "a group allows at least one API", |node, _| Some(node.clone()))(
            node, problems,
        )?;
        let apis = apis.iter().enumerate();
        Some(apis.filter_map(|(index, node)| api(node, index, open, problems)).collect())
    });
    fields.finish()?;
    Some(Group { token: token?, apis: apis? })
}

/// The token's SHA-256: nothing else of it leaves this function.
fn token(node: &Node, problems: &mut Problems) -> Option<Spanned<String>> {
    let token = text("a token")(node, problems)?;
    // RFC 6750 §2.1: what may stand in a Bearer header.
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        problems
            .error(node.span, "this token has a blank, control or non-ASCII character in it, which no header can show")
            .fix("make one with `openssl rand -hex 32`");
        return None;
    }
    if token.len() < 16 {
        problems
            .warning(node.span, "this token has fewer than 16 characters and can be guessed")
            .fix("make one with `openssl rand -hex 32`, and put its SHA-256 into the policy");
    }
    let digest = Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Spanned { value: digest, span: node.span })
}

fn default_action(node: &Node, problems: &mut Problems) -> Option<bool> {
    let open = word("an action", &[("allow", true), ("deny", false)])(node, problems)?;
    if open.value {
        problems
            .warning(open.span, "`defaultAction` lets every route pass that no rule is about")
            .fix("list the routes that agents need, and remove it");
    }
    Some(open.value)
}

fn api(node: &Node, index: usize, open: bool, problems: &mut Problems) -> Option<Api> {
    let mut fields = Fields::of(node, "a policy", problems)?.secretive();
    let host = fields.required("baseUrl", base_url);
    let variable = nullable(&mut fields, "localUpstreamTokenKey", variable);
    let kind = nullable(&mut fields, "upstreamTokenType", any_text("the type of the upstream token"));
    let header = nullable(&mut fields, "upstreamHeaderString", any_text("the name of a header"));
    let rules = fields.required("rules", list("a list of rules", rule)).unwrap_or_default();
    fields.finish()?;
    let key = match variable.flatten() {
        Some(variable) => Some(key(variable, kind, header, problems)?),
        None => None,
    };
    let host = host?;
    if host.plaintext {
        problems
            .warning(host.span, "`http://` sends requests, and the key if there is one, without TLS, as in the source")
            .fix("use `https://` if the API has it");
    }
    Some(Api { place: format!("policies[{index}]"), host, key, rules, open })
}

/// The host of a URL that has nothing else.
fn base_url(node: &Node, problems: &mut Problems) -> Option<Spanned<Host>> {
    let url = text("a URL")(node, problems)?;
    let mut refused = |message: String, fix: &str| {
        problems.error(node.span, message).fix(fix);
        None
    };
    let (plaintext, rest) = match url.split_once("://") {
        Some(("https", rest)) => (false, rest),
        Some(("http", rest)) => (true, rest),
        _ => return refused("`baseUrl` is not an `https://` or `http://` URL".into(), "write `https://host`"),
    };
    let host = rest.strip_suffix('/').unwrap_or(rest);
    // A user, a query: there may be a secret in it, so it is not shown.
    if host.contains(['/', '?', '#', '@', '\\']) {
        return refused(
            "`baseUrl` has more than a host and port, and what that means is not documented".into(),
            "write `https://host`, and the path into the routes",
        );
    }
    let pattern = if plaintext { format!("http://{host}") } else { host.to_owned() };
    match HostPattern::parse(&pattern) {
        Ok(parsed) if matches!(parsed.name, NamePattern::Exact(_)) => {
            let default = parsed.scheme.default_port();
            let parsed = HostPattern { port: parsed.port.filter(|port| *port != default), ..parsed };
            let host = Host { pattern: parsed.to_string(), plaintext: parsed.scheme == Scheme::Http };
            Some(Spanned { value: host, span: node.span })
        }
        Ok(_) => {
            refused(format!("{} is not one host", quote(host)), "a `baseUrl` matches that host only: write it out")
        }
        Err(error) => refused(format!("{} is no host: {error}", quote(host)), "write `https://host`"),
    }
}

/// `None` inside: the source names no variable.
fn variable(node: &Node, problems: &mut Problems) -> Option<Option<Spanned<String>>> {
    let variable = any_text("the name of an environment variable")(node, problems)?;
    let fits = variable.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && variable.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
    if variable.is_empty() {
        return Some(None);
    }
    if !fits {
        problems
            .error(node.span, "`localUpstreamTokenKey` is not the name of an environment variable")
            .fix("write the variable's name (letters, digits and `_`), not its value");
        return None;
    }
    Some(Some(variable))
}

fn key(
    variable: Spanned<String>,
    kind: Option<Spanned<String>>,
    header: Option<Spanned<String>>,
    problems: &mut Problems,
) -> Option<Key> {
    let header = header.filter(|header| !header.is_empty());
    let kind = kind.filter(|kind| !kind.is_empty());
    let (header, format) = match (kind.as_ref().map(|kind| kind.as_str()), header) {
        (None | Some("custom"), Some(header)) => {
            if http::HeaderName::from_bytes(header.as_bytes()).is_err() {
                problems
                    .error(header.span, "`upstreamHeaderString` is not the name of a header")
                    .fix("write letters, digits and `-`, such as `x-api-key`");
                return None;
            }
            (header.value, "{value}")
        }
        (Some("bearer"), None) => ("Authorization".to_owned(), "Bearer {value}"),
        (None, None) => {
            problems.warning(variable.span, "no header is named for this key: `x-api-key` is assumed").fix(
                "look up what the API wants, and correct `headerName` and `headerFormat` (often `Bearer {value}`)",
            );
            ("x-api-key".to_owned(), "{value}")
        }
        (Some("custom"), None) => {
            problems
                .error(kind?.span, "`custom` needs `upstreamHeaderString`")
                .fix("name the header that the API documents for its key");
            return None;
        }
        (Some("bearer"), Some(header)) => {
            problems
                .error(header.span, "`upstreamHeaderString` beside `bearer` says two things")
                .fix("remove one of the two");
            return None;
        }
        (Some(_), _) => {
            problems
                .error(kind?.span, "this `upstreamTokenType` is not known")
                .fix("write `bearer`, or `custom` with `upstreamHeaderString`");
            return None;
        }
    };
    Some(Key { variable: variable.value, header, format })
}

fn rule(node: &Node, problems: &mut Problems) -> Option<Spanned<ApiRule>> {
    let mut fields = Fields::of(node, "a rule", problems)?;
    let route = fields.required("route", |node, problems| {
        let text = any_text("a route")(node, problems)?;
        Route::parse(&text).map_err(|rejection| problems.error(node.span, rejection.message).fix = rejection.fix).ok()
    });
    let method = nullable(&mut fields, "method", method).flatten();
    let allow = fields.required("action", word("an action", &[("allow", true), ("deny", false)]));
    let filter = nullable(&mut fields, "response_filter", filter);
    fields.finish()?;
    let rule = Rule { route: route?, method, allow: allow?.value };
    Some(Spanned { value: ApiRule { rule, filter }, span: node.span })
}

/// `None` inside: every method.
fn method(node: &Node, problems: &mut Problems) -> Option<Option<String>> {
    let method = any_text("a method")(node, problems)?.to_ascii_uppercase();
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    if method.is_empty() {
        return Some(None);
    }
    if !known.contains(&method.as_str()) {
        problems
            .error(node.span, format!("{} is not a method that can be imported", quote(&method)))
            .fix("write one of GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS; nothing stands for all of them");
        return None;
    }
    Some(Some(method))
}

fn filter(node: &Node, problems: &mut Problems) -> Option<Spanned<Filter>> {
    let mut fields = Fields::of(node, "a response filter", problems)?;
    let kinds = &[("include_fields", "includeFields"), ("exclude_fields", "excludeFields")];
    let kind = fields.required("type", word("a type of filter", kinds));
    let names = fields.required("fields", list("a list of fields", text("the path of a field")));
    fields.finish()?;
    let names = names?.into_iter().map(|name| name.value).collect();
    Some(Spanned { value: Filter { kind: kind?.value, fields: names }, span: node.span })
}
