//! The credentials of a policy, each bound to the places it may go to.

use std::sync::Arc;

use super::super::Span;
use super::super::error::Problems;
use super::super::schema::{self, Policy};
use super::{host, path};
use crate::pipeline::agent::AgentId;
use crate::pipeline::credential::{CredentialId, Format, Injection, Slot};
use crate::pipeline::policy::matcher::{HostPattern, NamePattern, Scheme};
use crate::pipeline::policy::{Binding, Ruleset};

/// Binds every credential, and reports those that go nowhere or that could each fill the same slot.
pub(super) fn bind(policy: &Policy, rules: &mut Ruleset, problems: &mut Problems) {
    let mut bound: Vec<(Binding, Span)> = Vec::new();
    let allowed = allowed_somewhere(policy);
    for (place, credential) in policy.credentials.iter().enumerate() {
        let name: Arc<str> = credential.name.as_str().into();
        let agents = credential
            .agents
            .as_ref()
            .map(|names| names.iter().filter_map(|n| rules.agents.find(n.as_str())).collect::<Vec<_>>());
        for injection in &credential.injections {
            let Some(binding) = binding(injection, CredentialId(place), &name, agents.clone(), problems) else {
                continue;
            };
            if !allowed.iter().any(|pattern| have_hosts_in_common(pattern, &binding.pattern)) {
                let message =
                    format!("`{}` is allowed to nobody, so this credential never goes there", binding.pattern);
                let fix = "add it to `allowedDomains`, with its port if it has one, or correct it";
                problems.warning(injection.domain.span, message).fix(fix);
            }
            if let Some((other, at)) = bound.iter().find(|(other, _)| binding.ties_with(other)) {
                let message = format!(
                    "{} is filled for the same requests at {}: which credential goes in would hang on the order of the file",
                    binding.slot_name(),
                    problems.place(*at),
                );
                let fix = match other.injection.name == name {
                    true => "remove one of the two",
                    false => "give the two different paths or agents, or remove one",
                };
                problems.error(injection.span, message).fix(fix);
                continue;
            }
            bound.push((binding, injection.span));
        }
    }
    for (binding, _) in bound {
        rules.bind(binding);
    }
}

/// The hosts that some agent may reach, for all that this pass has to know.
fn allowed_somewhere(policy: &Policy) -> Vec<HostPattern> {
    let of_agents = policy.agents.iter().flatten().flat_map(|agent| &agent.allowed_domains);
    let entries = policy.allowed_domains.iter().chain(of_agents);
    let allowed = entries.filter(|entry| entry.action == schema::Action::Allow);
    // One that does not parse has been reported where it stands.
    allowed.filter_map(|entry| HostPattern::parse(&entry.pattern.value).ok()).collect()
}

fn have_hosts_in_common(a: &HostPattern, b: &HostPattern) -> bool {
    let below = |name: &str, parent: &str| name.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    let names = match (&a.name, &b.name) {
        (NamePattern::Any, _) | (_, NamePattern::Any) => true,
        (NamePattern::Exact(a), NamePattern::Exact(b)) => a == b,
        (NamePattern::Exact(host), NamePattern::Below(parent))
        | (NamePattern::Below(parent), NamePattern::Exact(host)) => below(&host.to_string(), parent),
        (NamePattern::Below(a), NamePattern::Below(b)) => a == b || below(a, b) || below(b, a),
    };
    names && a.scheme == b.scheme && a.permitted_port() == b.permitted_port()
}

fn binding(
    injection: &schema::Injection,
    credential: CredentialId,
    name: &Arc<str>,
    agents: Option<Vec<AgentId>>,
    problems: &mut Problems,
) -> Option<Binding> {
    let pattern = host(&injection.domain, problems);
    let path = injection.path.as_ref().map(|text| path(text, problems));
    let slot_and_format = match &injection.slot {
        schema::Slot::Header { name, format } => match Format::parse(&format.value) {
            Ok(format) => Some((Slot::Header(name.value.as_str().into()), format)),
            Err(error) => {
                problems.error(format.span, error.to_string()).fix("write e.g. `Bearer {value}`");
                None
            }
        },
        schema::Slot::Query(name) => {
            Format::parse("{value}").ok().map(|f| (Slot::Query(name.value.as_str().into()), f))
        }
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
                .fix("remove `http://`, or say that this is meant: `plaintext: true`");
            return None;
        }
        (Scheme::Http, true) => {
            problems
                .warning(
                    injection.domain.span,
                    "this credential goes out in plaintext, for everyone on the way to read",
                )
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
    let injection = Injection { credential, name: name.clone(), slot, format, path, plaintext: injection.plaintext };
    Some(Binding { pattern, agents, injection })
}
