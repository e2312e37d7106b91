//! The credentials of a policy, each bound to the places it may go to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::super::Span;
use super::super::catalogue::{Catalogue, Service};
use super::super::code::Code;
use super::super::error::{Problems, Spanned, quote};
use super::super::schema::{self, Policy};
use super::domains::methods;
use super::{bad_path, host, path};
use crate::pipeline::agent::AgentId;
use crate::pipeline::credential::{CredentialId, Format, Injection, Slot};
use crate::pipeline::policy::matcher::{HostPattern, NamePattern, Scheme};
use crate::pipeline::policy::path::PathPattern;
use crate::pipeline::policy::tree::PathTree;
use crate::pipeline::policy::{Binding, Endpoints, Placeholder, RuleId, Ruleset};

/// Binds every credential, and reports those that go nowhere or that could each fill the same slot.
pub(super) fn bind(policy: &Policy, rules: &mut Ruleset, places: &mut HashMap<RuleId, Span>, problems: &mut Problems) {
    let catalogue = Catalogue::of(policy, problems);
    let allowed = Allowed::somewhere(policy);
    let ids: HashMap<_, _> = rules.agents.ids().map(|id| (rules.agents.name(id).clone(), id)).collect();
    let mut bound = Bound::default();
    for (place, credential) in policy.credentials.iter().enumerate() {
        let name: RuleId = credential.name.as_str().into();
        let agents = credential
            .agents
            .as_ref()
            .map(|names| names.iter().filter_map(|n| ids.get(n.as_str()).copied()).collect::<Vec<_>>());
        if let Some(text) = &credential.placeholder {
            let text = text.value.as_str().into();
            rules.hold(Placeholder { credential: name.clone(), text, agents: agents.clone() });
        }
        let service = credential.service.as_ref().and_then(|named| Some((named, catalogue.find(named, problems)?)));
        let Ok(endpoints) = endpoints(credential, problems) else { continue };
        if let Some(endpoints) = &endpoints {
            places.entry(endpoints.rule.clone()).or_insert(credential.span);
        }
        let draft = Draft { credential: CredentialId(place), name, agents, endpoints };
        let mut bindings = Vec::new();
        if let Some((named, service)) = service {
            bindings.extend(of_service(named, service, credential, &draft, &allowed, problems));
        }
        for injection in &credential.injections {
            let service = service.map(|(_, service)| service);
            let Some(binding) = of_injection(injection, service, &draft, problems) else { continue };
            if !allowed.meets(&binding.pattern) {
                let message =
                    format!("`{}` is allowed to nobody, so this credential never goes there", binding.pattern);
                let fix = "add it to `allowedDomains`, with its port if it has one, or correct it";
                problems.warning(injection.domain.span, message).code(Code::UnusedCredential).fix(fix);
            }
            bindings.push((binding, injection.span));
        }
        for (binding, span) in bindings {
            bound.add(binding, span, problems);
        }
    }
    for (binding, _) in bound.bindings {
        rules.bind(binding);
    }
}

/// What the bindings of one credential have in common.
struct Draft {
    credential: CredentialId,
    name: RuleId,
    agents: Option<Vec<AgentId>>,
    endpoints: Option<Arc<Endpoints>>,
}

impl Draft {
    fn binding(&self, pattern: HostPattern, slot: Slot, format: Format) -> Binding {
        let (credential, name) = (self.credential, self.name.clone());
        let injection = Injection { credential, name, slot, format, path: None, plaintext: false };
        Binding { pattern, agents: self.agents.clone(), endpoints: self.endpoints.clone(), injection }
    }
}

/// `Err`: a path is wrong, and has been reported. A credential must not go with more requests for that.
fn endpoints(credential: &schema::Credential, problems: &mut Problems) -> Result<Option<Arc<Endpoints>>, ()> {
    let Some(listed) = &credential.endpoints else { return Ok(None) };
    let mut pairs = Vec::new();
    let mut sound = true;
    for endpoint in listed {
        let methods = methods(&endpoint.methods);
        let Some(paths) = &endpoint.paths else {
            pairs.extend(PathPattern::parse("/**").ok().map(|all| (methods, all)));
            continue;
        };
        for text in paths {
            match PathPattern::prefix(&text.value) {
                Ok(pattern) => pairs.push((methods.clone(), pattern)),
                Err(error) => {
                    bad_path(text, &error, problems);
                    sound = false;
                }
            }
        }
    }
    let rule = format!("credentials[{}].endpoints", credential.name.as_str()).into();
    if sound { Ok(Some(Arc::new(Endpoints { rule, routes: pairs.into_iter().collect() }))) } else { Err(()) }
}

/// The hosts of a service, each with its slot.
fn of_service(
    named: &Spanned<schema::Name>,
    service: &Service,
    credential: &schema::Credential,
    draft: &Draft,
    allowed: &Allowed,
    problems: &mut Problems,
) -> Vec<(Binding, Span)> {
    let name = quote(named.as_str());
    match service.hosts.as_slice() {
        [] if credential.injections.is_empty() => {
            problems
                .error(named.span, format!("the service {name} has another host for every customer"))
                .fix("name yours: `injections: [{domain: HOST}]`; header and format are the service's");
        }
        [] => {}
        [first, ..] if !service.hosts.iter().any(|host| allowed.meets(host)) => {
            problems
                .warning(
                    named.span,
                    format!("no host of {name} is allowed to anybody, so this credential goes nowhere"),
                )
                .code(Code::UnusedCredential)
                .fix(format!("add `{first}` to `allowedDomains`"));
        }
        _ => {}
    }
    let bind = |host: &HostPattern| {
        let mut binding = draft.binding(host.clone(), service.slot.clone(), service.format.clone());
        binding.injection.path = service.path.clone();
        (binding, named.span)
    };
    service.hosts.iter().map(bind).collect()
}

fn of_injection(
    injection: &schema::Injection,
    service: Option<&Service>,
    draft: &Draft,
    problems: &mut Problems,
) -> Option<Binding> {
    let pattern = host(&injection.domain, problems);
    let path = injection.path.as_ref().map(|text| path(text, problems));
    let slot_and_format = match (&injection.slot, service) {
        (Some(written), _) => super::slot(written, problems),
        (None, service) => service.map(|service| (service.slot.clone(), service.format.clone())),
    };
    let (pattern, (slot, format)) = (pattern?, slot_and_format?);
    let path = match path {
        Some(path) => Some(path?),
        None => None,
    };
    match (pattern.scheme, injection.plaintext) {
        (Scheme::Http, false) => {
            problems
                .error(
                    injection.domain.span,
                    "this credential would go out in plaintext, for everyone on the way to read",
                )
                .code(Code::PlaintextCredential)
                .fix("remove `http://`, or say that this is meant: `plaintext: true`");
            return None;
        }
        (Scheme::Http, true) => {
            problems
                .warning(
                    injection.domain.span,
                    "this credential goes out in plaintext, for everyone on the way to read",
                )
                .code(Code::PlaintextCredential)
                .fix("remove `http://` if the host speaks TLS");
        }
        (Scheme::Https, true) => {
            problems
                .warning(injection.span, "`plaintext: true` has no effect: the domain is spoken to over TLS")
                .fix("remove it");
        }
        (Scheme::Https, false) => {}
    }
    if pattern.name == NamePattern::Any {
        problems
            .error(injection.domain.span, "a credential must be bound to the hosts it is for, and `*` is every host")
            .fix("name the host");
        return None;
    }
    let mut binding = draft.binding(pattern, slot, format);
    binding.injection.path = path;
    binding.injection.plaintext = injection.plaintext;
    Some(binding)
}

/// The bindings so far, filed so that a new one is compared with those alone that it could tie with.
#[derive(Default)]
struct Bound {
    bindings: Vec<(Binding, Span)>,
    places: HashMap<Place, Users>,
}

/// Bindings of different places never tie.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    name: NamePattern,
    scheme: Scheme,
    port: u16,
    slot: Slot,
    specificity: Option<(bool, usize)>,
}

/// Who uses the bindings of a place, as places in [`Bound::bindings`].
#[derive(Default)]
struct Users {
    any: PathTree<usize>,
    all: PathTree<usize>,
    each: HashMap<AgentId, PathTree<usize>>,
}

impl Bound {
    /// Takes a binding, or reports the one that it ties with.
    fn add(&mut self, binding: Binding, span: Span, problems: &mut Problems) {
        let pattern = &binding.pattern;
        let slot = match &binding.injection.slot {
            // As `Slot::is_same_as` compares them.
            Slot::Query(name) => Slot::Query(name.to_ascii_lowercase().into()),
            header => header.clone(),
        };
        let place = Place {
            name: pattern.name.clone(),
            scheme: pattern.scheme,
            port: pattern.permitted_port(),
            slot,
            specificity: binding.specificity(),
        };
        let users = self.places.entry(place).or_default();
        let path = binding.injection.path.as_ref();
        let shared = match &binding.agents {
            None => vec![&users.any],
            Some(agents) => {
                let own = agents.iter().filter_map(|agent| users.each.get(agent));
                std::iter::once(&users.all).chain(own).collect()
            }
        };
        let mut first = None;
        for tree in shared {
            tree.meeting(path, |at| {
                let ties = || self.bindings.get(*at).is_some_and(|(other, _)| binding.ties_with(other));
                if first.is_none_or(|first| *at < first) && ties() {
                    first = Some(*at);
                }
            });
        }
        let tied = first.and_then(|at| self.bindings.get(at));
        if let Some((other, at)) = tied {
            let message = format!(
                "{} is filled for the same requests at {}: which credential goes in would hang on the order of the file",
                binding.slot_name(),
                problems.place(*at),
            );
            let fix = match other.injection.name == binding.injection.name {
                true => "remove one of the two",
                false => "give the two different paths, endpoints or agents, or remove one",
            };
            problems.error(span, message).code(Code::TiedCredentials).fix(fix);
            return;
        }
        let at = self.bindings.len();
        users.any.insert(path, at);
        match &binding.agents {
            None => users.all.insert(path, at),
            Some(agents) => agents.iter().for_each(|agent| users.each.entry(*agent).or_default().insert(path, at)),
        }
        self.bindings.push((binding, span));
    }
}

/// The hosts that some agent may reach, for all that this pass has to know.
#[derive(Default)]
struct Allowed {
    /// Each name as its pattern, with scheme and port.
    names: HashSet<(NamePattern, Scheme, u16)>,
    /// The parents of those names.
    above: HashSet<(Box<str>, Scheme, u16)>,
}

impl Allowed {
    fn somewhere(policy: &Policy) -> Self {
        let of_agents = policy.agents.iter().flatten().flat_map(|agent| &agent.allowed_domains);
        let of_profiles = policy.profiles.iter().flat_map(|profile| &profile.allowed_domains);
        let entries = policy.allowed_domains.iter().chain(of_agents).chain(of_profiles);
        let mut allowed = Self::default();
        for entry in entries.filter(|entry| entry.action == schema::Action::Allow) {
            // One that does not parse has been reported where it stands.
            let Ok(pattern) = HostPattern::parse(&entry.pattern.value) else { continue };
            let (scheme, port) = (pattern.scheme, pattern.permitted_port());
            for parent in pattern.name.parents() {
                allowed.above.insert((parent.into(), scheme, port));
            }
            allowed.names.insert((pattern.name, scheme, port));
        }
        allowed
    }

    /// Whether some host of the pattern is among them.
    fn meets(&self, pattern: &HostPattern) -> bool {
        let (scheme, port) = (pattern.scheme, pattern.permitted_port());
        let listed = |name: NamePattern| self.names.contains(&(name, scheme, port));
        let from_above = pattern.name.parents().any(|parent| listed(NamePattern::Below(parent.into())));
        let from_below = match &pattern.name {
            NamePattern::Below(name) => self.above.contains(&(name.clone(), scheme, port)),
            _ => false,
        };
        from_above || from_below || listed(pattern.name.clone()) || listed(NamePattern::Any)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{decide, load};
    use super::super::{Compiled, Setting, compile};
    use crate::pipeline::message::Door;
    use crate::pipeline::policy::Reason;

    #[test]
    fn a_credential_for_hosts_that_nobody_may_reach_is_a_warning() {
        for (allowed, domain, warned) in [
            ("a.example", "a.example", false),
            ("a.example", "b.example", true),
            ("'*.a.example'", "x.a.example", false),
            ("'*.a.example'", "a.example", true),
            ("x.a.example", "'*.a.example'", false),
            ("xa.example", "'*.a.example'", true),
            ("'*.x.a.example'", "'*.a.example'", false),
            ("'*.b.example'", "'*.a.example'", true),
            ("'*'", "a.example", false),
            ("a.example:8443", "a.example", true),
            ("a.example:8443", "a.example:8443", false),
            ("'http://a.example'", "a.example", true),
            ("{pattern: a.example, action: deny}", "a.example", true),
        ] {
            let policy = format!(
                "allowedDomains: [{allowed}]\ncredentials: [{{name: k, envVarKey: K, injections: [{{domain: {domain}, headerName: X, headerFormat: '{{value}}'}}]}}]"
            );
            let setting = Setting { agent: None, environment: None, pod: None };
            let accepted = crate::config::parse("policy.yaml", &policy)
                .compile(None, |policy, problems| compile(policy, setting, "rev", problems))
                .unwrap_or_else(|problems| panic!("{problems}"));
            let found = accepted.warnings.iter().any(|warning| warning.message.contains("allowed to nobody"));
            assert_eq!(found, warned, "{allowed} {domain}");
        }
    }

    #[test]
    fn the_closest_credential_fills_a_slot() {
        let policy = load(
            "allowedDomains: ['*.example', 'http://plain.example']\n\
             credentials:\n\
             - {name: wide, envVarKey: A, injections: [{domain: '*.example', headerName: Authorization, headerFormat: 'Bearer {value}'}]}\n\
             - {name: host, envVarKey: B, injections: [{domain: api.example, headerName: authorization, headerFormat: '{value}'}]}\n\
             - {name: path, envVarKey: C, injections: [{domain: api.example, path: '/v1/*', headerName: Authorization, headerFormat: '{value}'}]}\n\
             - {name: extra, envVarKey: D, injections: [{domain: api.example, headerName: X-Key, headerFormat: '{value}'}, {domain: api.example, queryParam: key}]}\n\
             - {name: port, envVarKey: E, injections: [{domain: 'api.example:8443', headerName: X-Port, headerFormat: '{value}'}]}",
        )
        .unwrap();
        let names = |url: &str| {
            let mut names = decide(&policy, Door::Tls, "GET", url).unwrap().1;
            names.sort();
            names
        };
        assert_eq!(names("x.example/"), ["wide"]);
        assert_eq!(names("api.example/"), ["extra", "extra", "host"]);
        assert_eq!(names("api.example/v1/x"), ["extra", "extra", "path"]);
    }

    /// Filling one of them replaces the other, as a server that folds case would see it.
    #[test]
    fn query_slots_that_differ_in_case_are_one() {
        let credential = |name: &str, domain: &str, slot: &str| {
            format!("- {{name: {name}, envVarKey: A, injections: [{{domain: '{domain}', queryParam: {slot}}}]}}\n")
        };
        let policy = |a: String, b: String| format!("allowedDomains: ['*.example']\ncredentials:\n{a}{b}");
        let closer = policy(credential("wide", "*.example", "KEY"), credential("host", "api.example", "key"));
        let compiled = load(&closer).unwrap();
        assert_eq!(decide(&compiled, Door::Tls, "GET", "api.example/").unwrap().1, ["host"]);
        let tied = policy(credential("one", "api.example", "KEY"), credential("two", "api.example", "key"));
        assert!(load(&tied).unwrap_err().contains("is filled for the same requests"));
    }

    /// The names of the credentials that go with a request, in their order, or why it is refused.
    fn names(compiled: &Compiled, method: &str, url: &str) -> Result<Vec<String>, Reason> {
        let mut names = decide(compiled, Door::Tls, method, url)?.1;
        names.sort();
        Ok(names)
    }

    /// What a policy of these credentials is told of: `line:column message | fix` of each problem.
    fn complaints(text: &str) -> Vec<String> {
        let setting = Setting { agent: None, environment: None, pod: None };
        let compiled = crate::config::parse("policy.yaml", text)
            .compile(None, |policy, problems| compile(policy, setting, "rev", problems));
        let problems = compiled.map_or_else(|problems| problems, |accepted| accepted.warnings);
        let place = |at: Option<crate::config::Span>| at.map(|at| format!("{}:{} ", at.line, at.column));
        let brief = problems
            .iter()
            .map(|p| format!("{}{} | {}", place(p.at).unwrap_or_default(), p.message, p.fix.as_deref().unwrap_or("-")));
        brief.collect()
    }

    #[test]
    fn what_a_profile_allows_is_allowed_to_somebody() {
        let text = "profiles: {llm: {allowedDomains: [api.openai.com]}}\n\
             agents: {ann: {profiles: [llm], identity: [{header: {name: X-A, value: ann, trusted: true}}]}}\n\
             credentials: [{name: a, envVarKey: A, service: openai}]\n";
        assert_eq!(complaints(text), [""; 0]);
        assert_eq!(complaints(&text.replace("openai.com]", "openai.org]")).len(), 1);
    }

    #[test]
    fn a_credential_goes_only_with_the_requests_of_its_endpoints() {
        let policy = load(
            "allowedDomains: ['*.example']\n\
             credentials:\n\
             - name: key\n\
             \x20 envVarKey: A\n\
             \x20 injections: [{domain: api.example, headerName: Authorization, headerFormat: '{value}'}]\n\
             \x20 endpoints:\n\
             \x20 - {methods: [POST], paths: [/v1/chat, '/v1/*/batch']}\n\
             \x20 - {methods: [], paths: [/v1/models]}\n\
             \x20 - {methods: [DELETE]}\n\
             - {name: other, envVarKey: B, injections: [{domain: api.example, headerName: X-Other, headerFormat: '{value}'}]}",
        )
        .unwrap();
        let (both, refused) = (Ok(vec!["key".to_owned(), "other".to_owned()]), Err(Reason::EndpointNotAllowed));
        for (method, url, expected) in [
            ("POST", "api.example/v1/chat", both.clone()),
            ("POST", "api.example/v1/chat/completions?x=/v2", both.clone()),
            ("POST", "api.example/v1/chats", refused.clone()),
            ("POST", "api.example/v1/Chat", refused.clone()),
            ("GET", "api.example/v1/chat", refused.clone()),
            ("POST", "api.example/v1/x/batch", both.clone()),
            ("POST", "api.example/v1/x/batch/y", refused.clone()),
            ("PATCH", "api.example/v1/models/x", both.clone()),
            ("TRACE", "api.example/v1/models", Err(Reason::RouteNotAllowed)),
            ("DELETE", "api.example/anything", both.clone()),
            ("HEAD", "api.example/anything", refused.clone()),
            ("GET", "elsewhere.example/v2", Ok(Vec::new())),
        ] {
            assert_eq!(names(&policy, method, url), expected, "{method} {url}");
        }
    }

    #[test]
    fn the_closest_credential_that_admits_the_request_fills_the_slot() {
        let credential = |name: &str, domain: &str, path: &str, endpoints: &str| {
            format!(
                "- {{name: {name}, envVarKey: A, {endpoints} injections: [{{domain: '{domain}', path: {path}, headerName: X, headerFormat: '{{value}}'}}]}}\n"
            )
        };
        let mut lines = [
            credential("wide", "*.example", "/**", "endpoints: [{methods: [GET, PUT]}],"),
            credential("host", "api.example", "/**", "endpoints: [{methods: [GET, POST]}],"),
            credential("deep", "api.example", "/v1/**", "endpoints: [{methods: [POST], paths: [/v1/a]}],"),
        ];
        for _ in 0..2 {
            let policy = load(&format!("allowedDomains: ['*.example']\ncredentials:\n{}", lines.concat())).unwrap();
            let one = |name: &str| Ok(vec![name.to_owned()]);
            for (method, url, expected) in [
                ("POST", "api.example/v1/a", one("deep")),
                ("POST", "api.example/v1/b", one("host")),
                ("PUT", "api.example/v1/b", one("wide")),
                ("PUT", "x.example/", one("wide")),
                ("POST", "x.example/", Err(Reason::EndpointNotAllowed)),
                ("DELETE", "api.example/v1/b", Err(Reason::EndpointNotAllowed)),
            ] {
                assert_eq!(names(&policy, method, url), expected, "{method} {url}");
            }
            lines.reverse();
        }
    }

    #[test]
    fn the_endpoints_that_refused_are_named() {
        let policy = load(
            "allowedDomains: [api.example]\n\
             credentials:\n\
             - {name: wide, envVarKey: A, endpoints: [{paths: [/a]}], injections: [{domain: '*.example', queryParam: k}]}\n\
             - {name: close, envVarKey: A, endpoints: [{paths: [/b]}], injections: [{domain: api.example, queryParam: K}]}",
        )
        .unwrap();
        let fields = [(":method", "GET"), (":authority", "api.example"), (":path", "/c")];
        let fields = fields.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        let head =
            crate::pipeline::message::RequestHead::parse(Door::Tls, crate::pipeline::message::Fields::new(fields));
        let denial = policy.rules.decide(
            crate::pipeline::agent::AgentId(0),
            &head.map_err(|(m, _)| m).unwrap(),
            std::time::SystemTime::now(),
        );
        assert_eq!(denial.unwrap_err().rule.as_deref(), Some("credentials[close].endpoints"));
    }

    /// The credential would not be for this request, so that it does not go out with it either.
    #[test]
    fn an_agent_that_is_only_watched_is_not_refused_and_gets_no_credential() {
        let policy = load(
            "allowedDomains: [api.openai.com]\n\
             agents: {ann: {mode: monitor, identity: [{header: {name: X-A, value: ann, trusted: true}}]}}\n\
             credentials:\n\
             - {name: openai, envVarKey: C, service: openai, endpoints: [{methods: [POST]}]}\n\
             - {name: other, envVarKey: C, injections: [{domain: api.openai.com, queryParam: k}]}",
        )
        .unwrap();
        assert_eq!(names(&policy, "POST", "api.openai.com/"), Ok(vec!["openai".to_owned(), "other".to_owned()]));
        assert_eq!(names(&policy, "GET", "api.openai.com/"), Ok(Vec::new()));
    }

    #[test]
    fn a_service_brings_its_hosts_and_its_slot() {
        let policy = load(
            "allowedDomains: [billing.example, 'billing.example:8443', mine.example, api.openai.com]\n\
             services:\n\
             \x20 billing: {hosts: [billing.example, 'billing.example:8443'], path: /api/**, headerName: X-Key, headerFormat: 'k {value}'}\n\
             \x20 tenants: {hosts: [], queryParam: key}\n\
             credentials:\n\
             - {name: billing, envVarKey: A, service: billing, injections: [{domain: mine.example}, {domain: mine.example, headerName: X-Other, headerFormat: '{value}'}]}\n\
             - {name: tenants, envVarKey: B, service: tenants, injections: [{domain: mine.example, path: /t/*}]}\n\
             - {name: openai, envVarKey: C, service: openai, endpoints: [{methods: [POST], paths: [/v1/chat]}]}",
        )
        .unwrap();
        let list = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&policy, "GET", "billing.example/api/x"), list(&["billing"]));
        assert_eq!(names(&policy, "GET", "billing.example/other"), list(&[]));
        assert_eq!(names(&policy, "GET", "billing.example:8443/api/x"), list(&["billing"]));
        assert_eq!(names(&policy, "GET", "mine.example/t/x"), list(&["billing", "billing", "tenants"]));
        assert_eq!(names(&policy, "POST", "api.openai.com/v1/chat/completions"), list(&["openai"]));
        assert_eq!(names(&policy, "GET", "api.openai.com/v1/chat"), Err(Reason::EndpointNotAllowed));
    }

    #[test]
    fn what_is_wrong_with_services_is_reported_once_and_with_the_fix() {
        for (text, expected) in [
            (
                "allowedDomains: [api.openai.com]\ncredentials: [{name: a, envVarKey: A, service: opnai}]\n",
                &["2:48 there is no service `opnai` | did you mean `openai`?"][..],
            ),
            (
                "credentials: [{name: a, envVarKey: A, service: nothing-like-it}]\n",
                &[
                    "1:48 there is no service `nothing-like-it` | add it under `services`; `attache services` lists the ones there are",
                ],
            ),
            (
                "credentials: [{name: a, envVarKey: A, service: openai}]\n",
                &[
                    "1:48 no host of `openai` is allowed to anybody, so this credential goes nowhere | add `api.openai.com` to `allowedDomains`",
                ],
            ),
            (
                "services: {own: {hosts: []}}\ncredentials: [{name: a, envVarKey: A, service: own}]\n",
                &[
                    "2:48 the service `own` has another host for every customer | name yours: `injections: [{domain: HOST}]`; header and format are the service's",
                ],
            ),
            (
                "services: {openai: {hosts: [a.example]}, own: {hosts: [b.example], override: true}}\n",
                &[
                    "1:12 attaché's own catalogue has a service `openai` already | choose another name, or write `override: true` if yours is to stand in for it",
                    "1:42 `override: true` has no effect: no service `own` is there | remove it, or correct the name",
                ],
            ),
            (
                "services: {own: {hosts: ['http://a.example', '*', 'a b']}, two: {hosts: [x], headerName: X, headerFormat: y}}\ncredentials: [{name: a, envVarKey: A, service: own}, {name: b, envVarKey: B, service: two}]\n",
                &[
                    "1:26 a service's hosts are spoken to over TLS, so that its key is seen by nobody on the way | remove `http://`, or bind the credential by `injections` with `plaintext: true`",
                    "1:46 a service's key must be bound to its hosts, and `*` is every host | name the hosts",
                    "1:51 `a b` is no pattern of hosts: the host has an empty or invalid label | write `host`, `host:port`, `*.host` or, for plaintext, `http://host`",
                    "1:107 the format has no `{value}`, so the credential would never be sent | write e.g. `Bearer {value}`",
                ],
            ),
            (
                "allowedDomains: [a.example]\ncredentials: [{name: a, envVarKey: A, endpoints: [{paths: ['v1?x', '/a#b']}], injections: [{domain: a.example, queryParam: k}]}]\n",
                &[
                    "2:60 `v1?x` is no pattern of paths: a pattern of paths has no query or fragment: leave out `?x` | write a path like `/v1/items`, `/v1/items/*`, `/v1/*/items` or `/v1/items/{id}`",
                    "2:68 `/a#b` is no pattern of paths: a pattern of paths has no query or fragment: leave out `#b` | write a path like `/v1/items`, `/v1/items/*`, `/v1/*/items` or `/v1/items/{id}`",
                ],
            ),
        ] {
            assert_eq!(complaints(text), expected, "{text}");
        }
    }

    #[test]
    fn an_override_stands_in_for_the_service_of_its_name() {
        let policy = load(
            "allowedDomains: [gateway.example, api.openai.com]\n\
             services: {openai: {hosts: [gateway.example], override: true}}\n\
             credentials: [{name: openai, envVarKey: A, service: openai}]",
        )
        .unwrap();
        assert_eq!(names(&policy, "GET", "gateway.example/"), Ok(vec!["openai".to_owned()]));
        assert_eq!(names(&policy, "GET", "api.openai.com/"), Ok(Vec::new()));
    }

    #[test]
    fn two_credentials_tie_only_where_one_request_could_take_either() {
        let agents = "agents: {ann: {identity: [{header: {name: X-A, value: ann, trusted: true}}]}, bob: {identity: [{header: {name: X-A, value: bob, trusted: true}}]}}";
        for (one, other, tie) in [
            ("", "", true),
            ("endpoints: [{methods: [GET]}],", "", true),
            ("endpoints: [{methods: [GET]}],", "endpoints: [{methods: [POST]}],", false),
            ("endpoints: [{methods: [GET]}],", "endpoints: [{methods: [POST, GET]}],", true),
            ("endpoints: [{paths: [/a]}],", "endpoints: [{paths: [/ab]}],", false),
            ("endpoints: [{paths: [/a]}],", "endpoints: [{paths: [/a/b]}],", true),
            ("endpoints: [{paths: ['/*/a']}],", "endpoints: [{paths: ['/x/b']}],", false),
            ("endpoints: [{methods: [GET], paths: [/a]}],", "endpoints: [{methods: [POST], paths: [/a]}],", false),
            ("endpoints: [{methods: [GET], paths: [/a]}, {methods: [PUT]}],", "endpoints: [{methods: [PUT]}],", true),
            ("agents: [ann],", "agents: [bob],", false),
            ("agents: [ann],", "agents: [bob, ann],", true),
            ("agents: [ann],", "", true),
            ("agents: [ann], endpoints: [{methods: [GET]}],", "endpoints: [{methods: [PUT]}],", false),
        ] {
            for (one, other) in [(one, other), (other, one)] {
                let policy = |service: bool| {
                    let place = match service {
                        true => "service: openai",
                        false => {
                            "injections: [{domain: api.openai.com, headerName: Authorization, headerFormat: '{value}'}]"
                        }
                    };
                    format!(
                        "allowedDomains: [api.openai.com]\n{agents}\ncredentials:\n\
                         - {{name: one, envVarKey: A, {one} service: openai}}\n\
                         - {{name: other, envVarKey: A, {other} {place}}}\n"
                    )
                };
                for service in [true, false] {
                    let error = load(&policy(service)).err();
                    let found = error.as_ref().is_some_and(|error| error.contains("is filled for the same requests"));
                    assert_eq!((found, error.is_some()), (tie, tie), "{one} {other} {error:?}");
                }
            }
        }
        let twice = "allowedDomains: [api.openai.com]\ncredentials:\n- {name: one, envVarKey: A, service: openai, injections: [{domain: api.openai.com}]}\n";
        assert!(load(twice).unwrap_err().contains("fix: remove one of the two"));
    }

    #[test]
    fn a_placeholder_is_held_by_those_who_may_use_the_credential() {
        let policy = load(
            "allowedDomains: [api.openai.com]\n\
             agents: {ann: {identity: [{header: {name: X-A, value: ann, trusted: true}}]}, bob: {identity: [{header: {name: X-A, value: bob, trusted: true}}]}}\n\
             credentials:\n\
             - {name: one, envVarKey: A, service: openai, agents: [ann], placeholder: sk-placeholder-1}\n\
             - {name: two, envVarKey: A, agents: all, placeholder: sk-placeholder-2, injections: [{domain: api.openai.com, queryParam: k}]}\n",
        )
        .unwrap();
        let held = |agent: &str| {
            let agent = policy.rules.agents.find(agent).unwrap();
            let held = policy.rules.placeholders(agent).map(|p| (p.credential.to_string(), p.text.to_string()));
            held.collect::<Vec<_>>()
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(held("ann"), [pair("one", "sk-placeholder-1"), pair("two", "sk-placeholder-2")]);
        assert_eq!(held("bob"), [pair("two", "sk-placeholder-2")]);
    }
}
