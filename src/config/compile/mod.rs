//! From a policy as written to the [`Ruleset`] that decides, reporting every pattern, format and token that
//! cannot mean anything.

mod agents;
mod credentials;
mod dlp;
pub(super) mod domains;
mod pods;
pub(super) mod response_filters;
pub(super) mod rules;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

pub use agents::{Unread, add_tokens_at_hand, token_files};

use super::code::Code;
use super::error::{Problems, Span, Spanned, quote};
use super::schema::{self, CanarySource, Policy, SecretSource};
use crate::notify::Channel;
use crate::pipeline::credential::{Format, Slot};
use crate::pipeline::policy::matcher::{HostPattern, NamePattern, Scheme};
use crate::pipeline::policy::path::{BadPathPattern, PathPattern};
use crate::pipeline::policy::{RuleId, Ruleset, Scope};
use crate::pod::Pod;
use crate::secrets::{Environment, Origin, Source};

/// What a policy is compiled for.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// Who every caller is (`--agent`).
    pub agent: Option<&'a str>,
    /// Where tokens are read from; `None` where the policy is only checked, not put in force: what is not there
    /// is then no error.
    pub environment: Option<&'a Environment>,
    /// The pod this is; `None` where it is none, and where the policy is only checked.
    pub pod: Option<&'a Pod>,
}

/// What may have become another since the policy in force was found right, and makes no policy wrong by that.
#[derive(Debug, Default)]
pub struct Revocable {
    /// The token files of the policy in force: one that is gone revokes its token, with a warning.
    pub tokens: HashSet<PathBuf>,
    /// The pod's labels: where it is no longer clear whose pod this is, it is nobody's.
    pub pod: bool,
}

/// A policy ready to be put in force.
#[derive(Debug)]
pub struct Compiled {
    /// What decides.
    pub rules: Ruleset,
    /// Where each credential's secret is, in the order of [`CredentialId`](crate::pipeline::credential::CredentialId), with the credential's name.
    pub secrets: Vec<(String, Origin)>,
    /// Values that are there only to be missed when they leave: each canary's name, and where its value is.
    pub canaries: Vec<(String, CanarySource)>,
    /// Who is told of what.
    pub notifications: Vec<Channel>,
    /// Where each entry stands that a decision can name.
    pub places: HashMap<RuleId, Span>,
    /// The tokens that [`compile_again`] found revoked, in words.
    pub revoked: Vec<String>,
}

/// Compiles a policy. `None` only where a problem says why.
pub fn compile(policy: &Policy, setting: Setting<'_>, revision: &str, problems: &mut Problems) -> Option<Compiled> {
    compile_again(policy, setting, &Revocable::default(), revision, problems)
}

/// Compiles a policy that is to follow one in force.
pub fn compile_again(
    policy: &Policy,
    setting: Setting<'_>,
    revocable: &Revocable,
    revision: &str,
    problems: &mut Problems,
) -> Option<Compiled> {
    let (agents, revoked) = agents::compile(policy, setting, revocable, problems);
    let mut work = Work { rules: Ruleset::new(revision, agents), places: HashMap::new(), problems };
    if let Some(organization) = &policy.organization {
        let allowed = organization.allowed_domains.as_deref();
        work.add_lists(
            Scope::Organization,
            "organization.",
            allowed.unwrap_or_default(),
            &organization.blocked_domains,
        );
        if allowed.is_some() {
            work.rules.set_ceiling("organization.allowedDomains".into());
        }
        work.add_rules(&organization.rules, true);
    }
    work.add_lists(Scope::All, "", &policy.allowed_domains, &policy.blocked_domains);
    for (place, profile) in policy.profiles.iter().enumerate() {
        let prefix = format!("profiles.{}.", profile.name.as_str());
        work.add_lists(Scope::Profile(place), &prefix, &profile.allowed_domains, &profile.blocked_domains);
    }
    for agent in policy.agents.iter().flatten() {
        // Filed under nobody, they would be everybody's.
        let Some(id) = work.rules.agents.find(agent.name.as_str()) else { continue };
        let prefix = format!("agents.{}.", agent.name.as_str());
        work.add_lists(Scope::Agent(id), &prefix, &agent.allowed_domains, &agent.blocked_domains);
        profiles_of(policy, agent).into_iter().for_each(|place| work.rules.add_profile(id, place));
        if let Some(limit) = &agent.rate_limit {
            let rule: RuleId = format!("{prefix}rateLimit").into();
            work.places.insert(rule.clone(), limit.span);
            work.rules.set_limit(id, rules::limit(rule, &limit.value));
        }
        work.rules.set_mode(id, rules::mode(agent.mode));
    }
    work.add_rules(&policy.rules, false);
    work.add_response_filters(&policy.response_filters);
    let Work { mut rules, mut places, problems } = work;
    check_restrictions(policy, problems);
    if let Some(ceiling) = policy.organization.as_ref().and_then(|o| o.allowed_domains.as_deref()) {
        let ceiling = Restrictions::of(ceiling);
        ceiling.check(&ceiling, problems);
    }
    rules.set_dlp(dlp::compile(policy, &rules.agents, problems)?);
    credentials::bind(policy, &mut rules, &mut places, problems);
    let secrets = policy.credentials.iter().map(|c| (c.name.as_str().to_owned(), source_of(&c.source.value)));
    let canaries = policy.dlp.canaries.iter().map(|c| (c.name.as_str().to_owned(), c.source.value.clone()));
    let notifications = policy.notifications.iter().map(|n| n.channel()).collect();
    Some(Compiled { rules, secrets: secrets.collect(), canaries: canaries.collect(), notifications, places, revoked })
}

/// A policy in the making.
struct Work<'a> {
    rules: Ruleset,
    places: HashMap<RuleId, Span>,
    problems: &'a mut Problems,
}

/// Where an agent's profiles stand in the policy, each once.
fn profiles_of(policy: &Policy, agent: &schema::Agent) -> Vec<usize> {
    let place = |name: &Spanned<schema::Name>| policy.profiles.iter().position(|p| p.name.value == name.value);
    let mut places: Vec<_> = agent.profiles.iter().filter_map(place).collect();
    places.sort_unstable();
    places.dedup();
    places
}

fn source_of(source: &SecretSource) -> Origin {
    match source {
        SecretSource::Environment(name) => Source::Variable(name.clone()).into(),
        SecretSource::File(path) => Source::File(path.clone()).into(),
        SecretSource::Vault(source) => Origin::Vault(source.clone()),
    }
}

pub(super) fn host(text: &Spanned<String>, problems: &mut Problems) -> Option<HostPattern> {
    match HostPattern::parse(&text.value) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            problems
                .error(text.span, format!("{} is no pattern of hosts: {error}", quote(&text.value)))
                .fix("write `host`, `host:port`, `*.host` or, for plaintext, `http://host`");
            None
        }
    }
}

pub(super) fn path(text: &Spanned<String>, problems: &mut Problems) -> Option<PathPattern> {
    PathPattern::parse(&text.value).inspect_err(|error| bad_path(text, error, problems)).ok()
}

fn bad_path(text: &Spanned<String>, error: &BadPathPattern, problems: &mut Problems) {
    problems
        .error(text.span, format!("{} is no pattern of paths: {error}", quote(&text.value)))
        .fix("write a path like `/v1/items`, `/v1/items/*`, `/v1/*/items` or `/v1/items/{id}`");
}

pub(super) fn slot(written: &schema::Slot, problems: &mut Problems) -> Option<(Slot, Format)> {
    match written {
        schema::Slot::Header { name, format } => match Format::parse(&format.value) {
            Ok(read) => Some((Slot::Header(name.value.as_str().into()), read)),
            Err(error) => {
                problems.error(format.span, error.to_string()).fix("write e.g. `Bearer {value}`");
                None
            }
        },
        schema::Slot::Query(name) => {
            Format::parse("{value}").ok().map(|format| (Slot::Query(name.value.as_str().into()), format))
        }
    }
}

/// Reports what the lists that some agent has undo of each other.
fn check_restrictions(policy: &Policy, problems: &mut Problems) {
    let common = Restrictions::of(&policy.allowed_domains);
    common.check(&common, problems);
    let profiles: Vec<_> = policy.profiles.iter().map(|profile| Restrictions::of(&profile.allowed_domains)).collect();
    // What several agents share is compared, and reported, once.
    let mut compared = HashSet::from([(None, None)]);
    for agent in policy.agents.iter().flatten() {
        let own = Restrictions::of(&agent.allowed_domains);
        own.check(&own, problems);
        let of_profiles = profiles_of(policy, agent).into_iter().filter_map(|at| Some((Some(at), profiles.get(at)?)));
        let shared: Vec<_> = std::iter::once((None, &common)).chain(of_profiles).collect();
        for (at, list) in &shared {
            own.check(list, problems);
            list.check(&own, problems);
            for (other_at, other) in &shared {
                if compared.insert((*at, *other_at)) {
                    list.check(other, problems);
                }
            }
        }
    }
}

/// Lists of allowed domains by what their entries cover. Entries of one pattern add up, so an unrestricted one would
/// quietly undo the restrictions of another.
#[derive(Default)]
struct Restrictions<'a> {
    restricted: HashMap<Covered, Vec<&'a schema::AllowEntry>>,
    /// The first of each.
    unrestricted: HashMap<Covered, &'a schema::AllowEntry>,
}

type Covered = (NamePattern, Scheme, u16);

impl<'a> Restrictions<'a> {
    fn of(list: &'a [schema::AllowEntry]) -> Self {
        let mut found = Self::default();
        for entry in list.iter().filter(|entry| entry.action == schema::Action::Allow) {
            let Ok(pattern) = HostPattern::parse(&entry.pattern.value) else { continue };
            let port = pattern.permitted_port();
            let covered = (pattern.name, pattern.scheme, port);
            match entry.restrictions {
                Some(_) => found.restricted.entry(covered).or_default().push(entry),
                None => {
                    found.unrestricted.entry(covered).or_insert(entry);
                }
            }
        }
        found
    }

    /// Reports the entries whose restrictions the other lists undo.
    fn check(&self, others: &Self, problems: &mut Problems) {
        // Looked up by the fewer: a long list is common to all, and each agent's own is short.
        let by_own = self.restricted.len() <= others.unrestricted.len();
        let undone: Vec<_> = match by_own {
            true => self.restricted.iter().filter_map(|(at, own)| Some((own, others.unrestricted.get(at)?))).collect(),
            false => others.unrestricted.iter().filter_map(|(at, o)| Some((self.restricted.get(at)?, o))).collect(),
        };
        for (entries, other) in undone {
            for entry in entries {
                let message = format!(
                    "these restrictions have no effect: {} allows the same host without any",
                    problems.place(other.span)
                );
                problems
                    .error(entry.pattern.span, message)
                    .code(Code::UndoneRestriction)
                    .fix("remove one of the two entries");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::agent::AgentId;
    use crate::pipeline::message::{Door, Fields, RequestHead};
    use crate::pipeline::policy::Reason;

    pub(super) fn load(text: &str) -> Result<Compiled, String> {
        let environment = Environment::from_iter([("TOKEN".to_owned(), b"a-token-of-good-length".to_vec())]);
        let setting = Setting { agent: None, environment: Some(&environment), pod: None };
        crate::config::parse("policy.yaml", text)
            .compile(None, |policy, problems| compile(policy, setting, "rev", problems))
            .map(|accepted| accepted.value)
            .map_err(|problems| problems.to_string())
    }

    pub(super) fn decide(
        compiled: &Compiled,
        door: Door,
        method: &str,
        url: &str,
    ) -> Result<(String, Vec<String>), Reason> {
        let (authority, path) = url.split_once('/').map_or((url, "/".to_owned()), |(a, p)| (a, format!("/{p}")));
        let fields = [(":method", method), (":authority", authority), (":path", &path)];
        let fields = fields.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        let head = RequestHead::parse(door, Fields::new(fields)).map_err(|(m, _)| panic!("{m}")).unwrap();
        let permit = compiled.rules.decide(AgentId(0), &head, std::time::SystemTime::now()).map_err(|d| d.reason)?;
        let way = format!("{}:{}", permit.scheme().as_str(), permit.port());
        Ok((way, permit.injections().map(|i| i.name.to_string()).collect()))
    }

    fn way(compiled: &Compiled, door: Door, method: &str, url: &str) -> Result<String, Reason> {
        decide(compiled, door, method, url).map(|(way, _)| way)
    }

    #[test]
    fn hosts_ports_and_schemes_mean_what_the_policy_language_says() {
        let policy = load(
            "allowedDomains: [tls.example, 'other.example:8443', 'http://plain.example', 'http://both.example:8080', 'both.example:8080', '*.wild.example', 192.0.2.1]\n\
             blockedDomains: [evil.wild.example, 'port.wild.example:8443']",
        )
        .unwrap();
        let https = |port: u16| Ok(format!("https:{port}"));
        let http = |port: u16| Ok(format!("http:{port}"));
        let not_allowed = Err(Reason::DomainNotAllowed);
        for (door, url, expected) in [
            (Door::Tls, "tls.example", https(443)),
            (Door::Tls, "tls.example:443", https(443)),
            (Door::Tls, "tls.example:8443", not_allowed.clone()),
            (Door::Plain, "tls.example", https(443)),
            (Door::Proxy, "tls.example:80", https(443)),
            (Door::Proxy, "tls.example:8080", not_allowed.clone()),
            (Door::Tls, "other.example:8443", https(8443)),
            (Door::Proxy, "other.example:8443", https(8443)),
            (Door::Tls, "other.example", not_allowed.clone()),
            (Door::Proxy, "plain.example", http(80)),
            (Door::Tls, "plain.example", not_allowed.clone()),
            (Door::Proxy, "both.example:8080", https(8080)),
            (Door::Tls, "a.wild.example", https(443)),
            (Door::Tls, "a.b.wild.example", https(443)),
            (Door::Tls, "wild.example", not_allowed.clone()),
            (Door::Tls, "evil.wild.example", Err(Reason::DomainBlocked)),
            (Door::Tls, "x.evil.wild.example", Err(Reason::DomainBlocked)),
            (Door::Tls, "notevil.wild.example", https(443)),
            (Door::Tls, "port.wild.example", https(443)),
            (Door::Tls, "192.0.2.1", https(443)),
            (Door::Tls, "192.0.2.2", not_allowed.clone()),
        ] {
            assert_eq!(way(&policy, door, "GET", url), expected, "{door:?} {url}");
        }
    }

    #[test]
    fn an_agent_that_says_https_never_leaves_in_plaintext() {
        let policy = load("allowedDomains: ['http://plain.example', tls.example]").unwrap();
        let ask = |scheme: &str, host: &str| {
            let fields = [(":method", "GET"), (":authority", host), (":path", "/"), (":scheme", scheme)];
            let fields = fields.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
            let head = RequestHead::parse(Door::Proxy, Fields::new(fields)).map_err(|(m, _)| m).unwrap();
            policy
                .rules
                .decide(AgentId(0), &head, std::time::SystemTime::now())
                .map(|permit| permit.port())
                .map_err(|d| d.reason)
        };
        assert_eq!(ask("http", "plain.example"), Ok(80));
        assert_eq!(ask("https", "plain.example"), Err(Reason::DomainNotAllowed));
        assert_eq!(ask("https", "tls.example"), Ok(443));
    }

    #[test]
    fn the_most_specific_pattern_governs_and_equal_ones_add_up() {
        let policy = load(
            "allowedDomains:\n\
             - '*.example'\n\
             - {pattern: api.example, httpRestrictions: [{method: GET, path: '/v1/*'}]}\n\
             - {pattern: api.example, httpRestrictions: [{method: [POST, PUT], path: /v1/items}]}\n\
             - {pattern: no.example, action: deny}\n\
             - {pattern: some.example, action: block, httpRestrictions: [{method: GET, path: /admin}]}\n\
             - {pattern: '*.deep.example', action: deny}\n\
             - yes.deep.example",
        )
        .unwrap();
        let route = Err(Reason::RouteNotAllowed);
        for (method, url, expected) in [
            ("GET", "x.example/any", Ok("https:443".to_owned())),
            ("TRACE", "x.example/any", route.clone()),
            ("GET", "api.example/v1/x", Ok("https:443".to_owned())),
            ("HEAD", "api.example/v1/x", route.clone()),
            ("POST", "api.example/v1/items", Ok("https:443".to_owned())),
            ("DELETE", "api.example/v1/items", route.clone()),
            ("GET", "api.example/v2", route.clone()),
            ("GET", "no.example/", Err(Reason::DomainBlocked)),
            ("HEAD", "some.example/Admin/;x", route.clone()),
            ("GET", "some.example/other", Ok("https:443".to_owned())),
            ("GET", "a.deep.example/", Err(Reason::DomainBlocked)),
            ("GET", "yes.deep.example/", Ok("https:443".to_owned())),
        ] {
            assert_eq!(way(&policy, Door::Tls, method, url), expected, "{method} {url}");
        }
    }

    #[test]
    fn what_cannot_mean_anything_is_reported_at_once() {
        let problems = load(
            "allowedDomains:\n\
             - https://api.example\n\
             - {pattern: a.example, httpRestrictions: [{method: GET, path: 'v1?x'}]}\n\
             - {pattern: b.example, httpRestrictions: [{method: GET, path: /v1}]}\n\
             - b.example:443\n\
             blockedDomains: ['a*.example']\n\
             credentials:\n\
             - {name: c, envVarKey: C, injections: [{domain: d.example, headerName: X, headerFormat: 'Bearer'}]}\n\
             - {name: d, envVarKey: C, injections: [{domain: 'http://d.example', headerName: X, headerFormat: '{value}'}]}\n\
             - {name: e, envVarKey: C, injections: [{domain: e.example, headerName: X, headerFormat: '{value}'}, {domain: e.example, headerName: x, headerFormat: 'y {value}'}]}",
        )
        .unwrap_err();
        for place in [
            "policy.yaml:2:3",
            "policy.yaml:3:",
            "policy.yaml:4:13",
            "policy.yaml:6:18",
            "policy.yaml:8:",
            "policy.yaml:9:",
            "policy.yaml:10:",
        ] {
            assert!(problems.contains(place), "{place} in\n{problems}");
        }
        assert_eq!(problems.matches("error:").count(), 7, "{problems}");
    }

    #[test]
    fn an_entry_without_restrictions_undoes_those_of_its_neighbours_only() {
        const AGENTS: &str = "agents:\n\
             \x20 ann: {identity: [{header: {name: X-A, value: ann, trusted: true}}], allowedDomains: [ANN]}\n\
             \x20 bob: {identity: [{header: {name: X-A, value: bob, trusted: true}}], allowedDomains: [BOB]}\n";
        let get = |host: &str| format!("{{pattern: '{host}', httpRestrictions: [{{method: GET}}]}}");
        for (common, ann, bob, errors) in [
            (get("a.example"), "a.example".to_owned(), "b.example".to_owned(), 1),
            ("a.example".to_owned(), get("a.example:443"), "b.example".to_owned(), 1),
            ("a.example".to_owned(), get("a.example"), get("A.example"), 2),
            (get("a.example"), "a.example".to_owned(), "a.example".to_owned(), 2),
            ("c.example".to_owned(), get("a.example"), "a.example".to_owned(), 0),
            (get("a.example"), get("a.example"), "'*.example'".to_owned(), 0),
            (get("a.example"), "a.example:8443".to_owned(), "http://a.example".to_owned(), 0),
            (get("a.example"), "{pattern: a.example, action: deny}".to_owned(), "b.example".to_owned(), 0),
        ] {
            let agents = AGENTS.replace("ANN", &ann).replace("BOB", &bob);
            let problems = load(&format!("allowedDomains: [{common}]\n{agents}")).err().unwrap_or_default();
            let found = problems.matches("these restrictions have no effect").count();
            assert_eq!(
                (found, problems.matches("error:").count()),
                (errors, errors),
                "{common} {ann} {bob}\n{problems}"
            );
        }
    }

    #[test]
    fn an_empty_token_is_nobodys() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let error = load(&format!("agents: {{x: {{identity: [{{token: {{sha256: {empty}}}}}]}}}}")).unwrap_err();
        assert!(error.contains("the SHA-256 of nothing"), "{error}");
    }

    #[test]
    fn a_header_that_is_not_trusted_stays_behind_all_the_same() {
        let policy = load("agents: {x: {identity: [{header: {name: X-Who, value: x, trusted: false}}]}}").unwrap();
        assert!(policy.rules.agents.is_identity_header("x-who"));
    }

    #[test]
    fn a_tunnel_is_refused_only_if_no_request_inside_could_be_allowed() {
        let policy = load(
            "allowedDomains: ['tls.example:80', 'http://plain.example', b.example, 'http://b.example:8080']\n\
             blockedDomains: ['tls.example:443', 'b.example:443']",
        )
        .unwrap();
        let tunnel = |host: &str, port| {
            let host = crate::pipeline::message::Host::parse(host).unwrap();
            policy.rules.decide_tunnel(policy.rules.agents.ids(), &host, port).map_err(|d| d.reason)
        };
        assert_eq!(way(&policy, Door::Tls, "GET", "tls.example:80"), Ok("https:80".to_owned()));
        for (host, port, expected) in [
            ("tls.example", 80, Ok(())),
            ("tls.example", 443, Err(Reason::DomainBlocked)),
            ("plain.example", 80, Ok(())),
            ("plain.example", 443, Err(Reason::DomainNotAllowed)),
            ("b.example", 443, Err(Reason::DomainBlocked)),
            ("b.example", 8080, Ok(())),
            ("none.example", 443, Err(Reason::DomainNotAllowed)),
        ] {
            assert_eq!(tunnel(host, port), expected, "{host}:{port}");
        }
    }

    #[test]
    fn a_token_file_that_is_gone_later_revokes_its_token() {
        let folder = tempfile::tempdir().unwrap();
        let (known, new) = (folder.path().join("known"), folder.path().join("new"));
        let policy = |path: &std::path::Path| {
            let path = path.display();
            format!("agents: {{x: {{identity: [{{token: {{file: {path}}}}}, {{token: {{env: TOKEN}}}}]}}}}")
        };
        let environment = Environment::from_iter([("TOKEN".to_owned(), b"a-token-of-good-length".to_vec())]);
        let setting = Setting { agent: None, environment: Some(&environment), pod: None };
        let revocable = Revocable { tokens: HashSet::from([known.clone()]), pod: false };
        let load = |path| {
            super::super::parse("policy.yaml", &policy(path))
                .compile(None, |policy, problems| compile_again(policy, setting, &revocable, "rev", problems))
        };
        for content in [None, Some(""), Some("two words")] {
            if let Some(content) = content {
                std::fs::write(&known, content).unwrap();
            }
            let accepted = load(&known).unwrap_or_else(|problems| panic!("{problems}"));
            assert!(accepted.warnings.to_string().contains("this token of `x` is revoked: "), "{}", accepted.warnings);
            assert_eq!(accepted.value.revoked.len(), 1);
        }
        // One that was never there is a mistake.
        assert!(load(&new).unwrap_err().to_string().contains("the token cannot be had"));
    }

    #[test]
    fn a_token_file_that_comes_to_hold_anothers_token_makes_it_nobodys() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "a-token-of-good-length\n").unwrap();
        let environment = Environment::from_iter([("TOKEN".to_owned(), b"a-token-of-good-length".to_vec())]);
        let setting = Setting { agent: None, environment: Some(&environment), pod: None };
        let of_file = format!("{{identity: [{{token: {{file: {}}}}}]}}", file.display());
        let of_variable = "{identity: [{token: {env: TOKEN}}]}";
        for (x, y) in [(&*of_file, of_variable), (of_variable, &*of_file)] {
            let text =
                format!("agents: {{x: {x}, y: {y}, z: {{identity: [{{token: {{sha256: {}}}}}]}}}}", "a".repeat(64));
            let load = |tokens: HashSet<PathBuf>| {
                let revocable = Revocable { tokens, pod: false };
                super::super::parse("p", &text)
                    .compile(None, |policy, problems| compile_again(policy, setting, &revocable, "rev", problems))
            };
            let agents = load(HashSet::from([file.clone()])).unwrap().value.rules.agents;
            let fields = vec![("authorization".to_owned(), b"Bearer a-token-of-good-length".to_vec())];
            let origin = crate::pipeline::agent::Origin::unknown(std::time::SystemTime::now());
            let found = agents.identify_fields(&Fields::new(fields), true, &origin);
            assert_eq!(found.unwrap_err().reason, Reason::InvalidToken);
            assert!(load(HashSet::new()).unwrap_err().to_string().contains("this token is also that of the agent `x`"));
        }
    }

    #[test]
    fn a_token_has_one_agent_and_one_end() {
        let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let policy = |first: &str, second: &str| {
            let token = |more: &str| format!("{{token: {{sha256: {hash}{more}}}}}");
            format!("agents: {{x: {{identity: [{}, {second}]}}}}", token(first))
        };
        let twice = policy("", &format!("{{token: {{sha256: {hash}, expires: 2100-01-01T00:00:00Z}}}}"));
        assert!(load(&twice).unwrap_err().contains("given twice"), "{twice}");
        let environment = "{token: {env: TOKEN, expires: 2100-01-01T00:00:00Z}}, {token: {env: TOKEN2}}";
        let text = format!("agents: {{x: {{identity: [{environment}]}}}}");
        let variables = ["TOKEN", "TOKEN2"].map(|name| (name.to_owned(), b"a-token-of-good-length".to_vec()));
        let environment = Environment::from_iter(variables);
        let compiled = |text: &str| {
            let setting = Setting { agent: None, environment: Some(&environment), pod: None };
            super::super::parse("p", text).compile(None, |policy, problems| compile(policy, setting, "rev", problems))
        };
        assert!(compiled(&text).unwrap_err().to_string().contains("to expire at different times"));
        let two =
            text.replace(", expires: 2100-01-01T00:00:00Z", "").replace("}}, {token", "}}]}, y: {identity: [{token");
        assert!(compiled(&two).unwrap_err().to_string().contains("this token is also that of the agent `x`"), "{two}");
        let past = "agents: {x: {identity: [{token: {env: TOKEN, expires: 2020-01-01T00:00:00Z}}]}}";
        assert!(compiled(past).unwrap().warnings.to_string().contains("the token has expired"));
    }

    #[test]
    fn a_token_that_is_not_there_is_an_error() {
        let policy = "allowedDomains: [a.example]\nagents: {x: {identity: [{token: {env: NAME}}]}}";
        let error = load(&policy.replace("NAME", "MISSING")).unwrap_err();
        assert!(error.contains("the environment variable `MISSING` is not set"), "{error}");
        let compiled = load(&policy.replace("NAME", "TOKEN")).unwrap();
        assert_eq!(compiled.rules.agents.ids().count(), 1);
    }
}
