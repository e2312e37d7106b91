//! The APIs that credentials call by name: their hosts, and where each takes its key.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::error::{Problems, Spanned, did_you_mean, quote};
use super::schema::{self, Name};
use super::{compile, yaml};
use crate::pipeline::credential::{Format, Slot};
use crate::pipeline::policy::matcher::{HostPattern, NamePattern, Scheme};
use crate::pipeline::policy::path::PathPattern;

/// Services by name.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// `None`: the name is taken, and what is wrong with it has been reported.
    services: BTreeMap<Name, Option<Service>>,
}

/// Where an API takes its key.
#[derive(Debug)]
pub struct Service {
    /// The hosts that get it, all of them over TLS. None: every customer has a host of its own.
    pub hosts: Vec<HostPattern>,
    /// The paths of those hosts that get it; none means all.
    pub path: Option<PathPattern>,
    /// The same as text.
    pub written_path: Option<String>,
    /// The part of the request that carries it.
    pub slot: Slot,
    /// How it is written there.
    pub format: Format,
    /// The format as text.
    pub written: String,
    /// Where the vendor says so.
    pub documentation: Option<String>,
    /// What its user has to know beyond that.
    pub note: Option<String>,
    /// Whether it is a language model.
    pub is_language_model: bool,
}

/// The services that come with attaché.
pub fn built_in() -> &'static Catalogue {
    static BUILT_IN: LazyLock<Catalogue> = LazyLock::new(|| {
        // What cannot be read is missing, and a policy that names it refused; a test sees to it that nothing is.
        Catalogue::read("services.yaml", include_str!("services.yaml"), &mut Problems::default())
    });
    &BUILT_IN
}

impl Catalogue {
    /// The services of a policy itself. One that has a name of [`built_in`]'s has to say that this is meant.
    pub fn of(policy: &schema::Policy, problems: &mut Problems) -> Self {
        for service in &policy.services {
            let Some(api) = &service.api else { continue };
            let name = quote(service.name.as_str());
            match (built_in().services.contains_key(&service.name.value), api.replaces) {
                (true, false) => {
                    problems
                        .error(service.name.span, format!("attaché's own catalogue has a service {name} already"))
                        .fix("choose another name, or write `override: true` if yours is to stand in for it");
                }
                (false, true) => {
                    problems
                        .warning(
                            service.name.span,
                            format!("`override: true` has no effect: no service {name} is there"),
                        )
                        .fix("remove it, or correct the name");
                }
                _ => {}
            }
        }
        Self::compile(&policy.services, problems)
    }

    fn read(name: &str, text: &str, problems: &mut Problems) -> Self {
        let file = problems.sources_mut().add(name, text);
        let node = yaml::parse(file, problems);
        let services = node.and_then(|node| schema::services(&node, problems)).unwrap_or_default();
        Self::compile(&services, problems)
    }

    fn compile(services: &[schema::Service], problems: &mut Problems) -> Self {
        let compiled = services.iter().map(|service| {
            let api = service.api.as_ref().and_then(|api| Service::compile(api, problems));
            (service.name.value.clone(), api)
        });
        Self { services: compiled.collect() }
    }

    /// The service that a credential names, in this catalogue or the one that comes with attaché. `None` only where a
    /// problem says why.
    pub fn find(&self, name: &Spanned<Name>, problems: &mut Problems) -> Option<&Service> {
        if let Some(service) = self.services.get(&name.value).or_else(|| built_in().services.get(&name.value)) {
            return service.as_ref();
        }
        let known = self.services.keys().chain(built_in().services.keys()).map(Name::as_str);
        let fix = did_you_mean(name.as_str(), known)
            .unwrap_or_else(|| "add it under `services`; `attache services` lists the ones there are".to_owned());
        problems.error(name.span, format!("there is no service {}", quote(name.as_str()))).fix(fix);
        None
    }

    /// Every service with its name, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Service)> {
        self.services.iter().filter_map(|(name, service)| Some((name.as_str(), service.as_ref()?)))
    }
}

impl Service {
    fn compile(api: &schema::Api, problems: &mut Problems) -> Option<Self> {
        let hosts: Vec<_> = api.hosts.iter().map(|text| host(text, problems)).collect();
        let path = match &api.path {
            Some(text) => Some(compile::path(text, problems)?),
            None => None,
        };
        let (slot, format, written) = match &api.slot {
            Some(written) => {
                let (slot, format) = compile::slot(written, problems)?;
                let text = match written {
                    schema::Slot::Header { format, .. } => format.value.clone(),
                    schema::Slot::Query(_) => "{value}".to_owned(),
                };
                (slot, format, text)
            }
            None => {
                const USUAL: &str = "Bearer {value}";
                (Slot::Header("authorization".into()), Format::parse(USUAL).ok()?, USUAL.to_owned())
            }
        };
        Some(Self {
            hosts: hosts.into_iter().collect::<Option<_>>()?,
            path,
            written_path: api.path.as_ref().map(|text| text.value.clone()),
            slot,
            format,
            written,
            documentation: api.documentation.as_ref().map(|text| text.value.clone()),
            note: api.note.as_ref().map(|text| text.value.clone()),
            is_language_model: api.is_language_model,
        })
    }
}

fn host(text: &Spanned<String>, problems: &mut Problems) -> Option<HostPattern> {
    let pattern = compile::host(text, problems)?;
    if pattern.scheme == Scheme::Http {
        problems
            .error(text.span, "a service's hosts are spoken to over TLS, so that its key is seen by nobody on the way")
            .fix("remove `http://`, or bind the credential by `injections` with `plaintext: true`");
        return None;
    }
    if pattern.name == NamePattern::Any {
        problems
            .error(text.span, "a service's key must be bound to its hosts, and `*` is every host")
            .fix("name the hosts");
        return None;
    }
    Some(pattern)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const TEXT: &str = include_str!("services.yaml");

    #[test]
    fn the_catalogue_has_no_mistake_in_it() {
        let mut problems = Problems::default();
        let catalogue = Catalogue::read("services.yaml", TEXT, &mut problems);
        assert!(problems.is_empty(), "{problems}");
        assert!(catalogue.iter().count() >= 100, "{}", catalogue.iter().count());
        assert_eq!(catalogue.iter().count(), built_in().services.len());
    }

    #[test]
    fn every_service_says_where_its_facts_are_and_keeps_its_place() {
        let keys = TEXT.lines().filter_map(|line| line.strip_suffix(':'));
        let names: Vec<_> = keys.filter(|key| key.starts_with(|c: char| c.is_ascii_lowercase())).collect();
        assert!(names.is_sorted(), "in the order of the names");
        for (name, service) in built_in().iter() {
            let documentation = service.documentation.as_deref().unwrap_or_default();
            assert!(documentation.starts_with("https://"), "{name}: {documentation}");
        }
    }

    /// A key goes only to hosts that are the vendor's own, never to a name below which anyone may have one.
    #[test]
    fn every_host_is_exact_on_port_443_and_its_slot_is_one_services() {
        let mut slots = HashSet::new();
        for (name, service) in built_in().iter() {
            for host in &service.hosts {
                assert!(matches!(host.name, NamePattern::Exact(_)) && host.port.is_none(), "{name}: {host}");
                let slot = (host.to_string(), service.slot.clone());
                assert!(slots.insert(slot), "{name}: another service fills the same slot of {host}");
            }
        }
    }

    #[test]
    fn well_known_services_are_what_their_vendors_say() {
        for (name, host, slot, written) in [
            ("openai", Some("api.openai.com"), Slot::Header("authorization".into()), "Bearer {value}"),
            ("anthropic", Some("api.anthropic.com"), Slot::Header("x-api-key".into()), "{value}"),
            ("github", Some("api.github.com"), Slot::Header("authorization".into()), "Bearer {value}"),
            ("gitlab", Some("gitlab.com"), Slot::Header("private-token".into()), "{value}"),
            ("slack", Some("slack.com"), Slot::Header("authorization".into()), "Bearer {value}"),
            ("stripe", Some("api.stripe.com"), Slot::Header("authorization".into()), "Bearer {value}"),
            ("pagerduty", Some("api.pagerduty.com"), Slot::Header("authorization".into()), "Token token={value}"),
            ("datadog", Some("api.datadoghq.com"), Slot::Header("dd-api-key".into()), "{value}"),
            ("jira", None, Slot::Header("authorization".into()), "Basic {base64:{value}}"),
            ("serpapi", Some("serpapi.com"), Slot::Query("api_key".into()), "{value}"),
        ] {
            let (_, service) = built_in().iter().find(|(known, _)| *known == name).unwrap();
            assert_eq!(service.hosts.first().map(ToString::to_string).as_deref(), host, "{name}");
            assert_eq!((&service.slot, &*service.written), (&slot, written), "{name}");
            assert_eq!(service.format, Format::parse(written).unwrap(), "{name}");
        }
    }
}
