//! `credentials_v2`: keys of well-known services, each with the methods and paths it may be used for.
//!
//! The format names services, not hosts: what it allows is exactly where their keys belong.

use super::super::decode::{Fields, filled_list, list, mismatch, text};
use super::super::error::{Problems, Span, Spanned};
use super::super::schema::Name;
use super::super::yaml::{Key, Kind, Node, Value as Written};
use super::document::{List, Mapping, Value, text as as_text, texts};
use super::read::skip;
use super::{Options, Place, Root};
use crate::pipeline::policy::path::PathPattern;

/// The policy that the one source makes.
pub fn convert(roots: &[Root], options: &Options<'_>, problems: &mut Problems) -> Option<Mapping> {
    let root = roots.first()?;
    let services = services(&root.node, problems)?;
    let (mut allowed, mut credentials) = (Vec::new(), List::default());
    let mut nothing = Vec::new();
    let mut variables: Vec<String> = Vec::new();
    for service in &services {
        let Some(known) = known(service, options, problems) else { continue };
        let place = format!("{}, {}.{}", root.name, service.place, service.name.value);
        if service.endpoints.as_ref().is_some_and(Vec::is_empty) {
            problems
                .warning(service.name.span, "this service has no endpoints, so nothing of it is allowed")
                .fix("list the endpoints that agents need, or remove the service");
            nothing.push(format!("{place} allows nothing"));
            continue;
        }
        allow(known, &place, &mut allowed);
        let variable = variable(service);
        if variables.contains(&variable) {
            problems
                .error(service.name.span, format!("two services would read their key from `{variable}`"))
                .fix("import them one at a time, and rename one variable");
        }
        credentials.note(place).add(Value::Mapping(credential(service, &variable, problems)));
        variables.push(variable);
    }
    let mut policy = Mapping::default();
    for comment in nothing {
        policy.note(comment);
    }
    let mut hosts = List::default();
    for host in &allowed {
        hosts.note(host.places.join("; ")).add(host.entry());
    }
    policy.add("allowedDomains", Value::List(hosts)).add_list("credentials", credentials);
    Some(policy)
}

/// A host that services have, alone or together.
struct Allowed {
    pattern: String,
    /// Who has it.
    places: Vec<String>,
    /// `None`: every path.
    paths: Option<Vec<String>>,
}

fn allow(known: Place, place: &str, allowed: &mut Vec<Allowed>) {
    for pattern in known.hosts {
        let path = known.path.clone();
        match allowed.iter_mut().find(|host| host.pattern == pattern) {
            Some(host) => {
                host.places.push(place.to_owned());
                host.paths = host.paths.take().zip(path).map(|(mut paths, path)| {
                    paths.push(path);
                    paths
                });
            }
            None => {
                let paths = path.map(|path| vec![path]);
                allowed.push(Allowed { pattern, places: vec![place.to_owned()], paths });
            }
        }
    }
}

impl Allowed {
    fn entry(&self) -> Value {
        let Some(paths) = &self.paths else { return as_text(&self.pattern) };
        let paths = paths.iter().map(|path| Value::Inline(vec![("path", as_text(path))]));
        let paths = Value::InlineList(paths.collect());
        Value::Inline(vec![("pattern", as_text(&self.pattern)), ("httpRestrictions", paths)])
    }
}

/// One service and its key, which has been left where it was.
struct Service {
    name: Spanned<String>,
    /// `credentials_v2` or `credentials`.
    place: &'static str,
    key: Span,
    /// `None`: whatever the service has.
    endpoints: Option<Vec<Endpoint>>,
}

struct Endpoint {
    methods: Vec<String>,
    paths: Vec<String>,
}

fn known(service: &Service, options: &Options<'_>, problems: &mut Problems) -> Option<Place> {
    let span = service.name.span;
    // Where names and keys have changed places, this is a secret: it is not shown.
    match (options.place_of)(&service.name) {
        Some(place) if !place.hosts.is_empty() => Some(place),
        Some(_) => {
            problems
                .error(span, "this service has other hosts for each customer, and the source does not name yours")
                .fix("remove it, and write its host and credential into the imported policy");
            None
        }
        None => {
            problems
                .error(span, "there is no service of this name in the catalogue, so its hosts are not known")
                .fix("correct the name, or remove it and write its host and credential into the imported policy");
            None
        }
    }
}

/// `OPENAI_API_KEY` for `openai`.
fn variable(service: &Service) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = service.name.chars().map(upper).collect();
    let front = if name.starts_with(|first: char| first.is_ascii_digit()) { "_" } else { "" };
    format!("{front}{name}_API_KEY")
}

fn credential(service: &Service, variable: &str, problems: &mut Problems) -> Mapping {
    problems.warning(service.key, format!("the key is not taken over: the policy reads it from `{variable}`")).fix(
        format!("put the key where attaché is started as `{variable}`, and change it if others could read this file"),
    );
    let mut entry = Mapping::default();
    entry.add("name", as_text(&service.name.value));
    entry.add("envVarKey", as_text(variable));
    entry.add("service", as_text(&service.name.value));
    let mut endpoints = List::default();
    for endpoint in service.endpoints.iter().flatten() {
        endpoints.add(Value::Inline(vec![("methods", texts(&endpoint.methods)), ("paths", texts(&endpoint.paths))]));
    }
    entry.add_list("endpoints", endpoints);
    entry
}

/// What stands under either key of the source.
fn services(node: &Node, problems: &mut Problems) -> Option<Vec<Service>> {
    let mut fields = Fields::of(node, "a request for a sandbox", problems)?.secretive();
    skip(&mut fields, &["image"]);
    if !fields.has("credentials_v2") && !fields.has("credentials") {
        fields.reject(
            node.span,
            "there are no credentials in it",
            Some("give the JSON object that has `credentials_v2` (or `credentials`) in it"),
        );
    }
    let structured = fields.optional("credentials_v2", |node, problems| mapping(node, structured, problems));
    let simple = fields.optional("credentials", |node, problems| mapping(node, simple, problems));
    if let Some(service) =
        simple.iter().flatten().find(|s| structured.iter().flatten().any(|o| o.name.value == s.name.value))
    {
        fields.reject(
            service.name.span,
            "this service is given in both forms",
            Some("keep the one in `credentials_v2`: its endpoints are the narrower"),
        );
    }
    fields.finish()?;
    Some(structured.into_iter().flatten().chain(simple.into_iter().flatten()).collect())
}

fn mapping(
    node: &Node,
    service: impl Fn(&Key, &Node, &mut Problems) -> Option<Service>,
    problems: &mut Problems,
) -> Option<Vec<Service>> {
    let Written::Mapping(entries) = &node.value else {
        return mismatch(node, "a mapping from services to keys", problems);
    };
    Some(entries.iter().filter_map(|(key, node)| service(key, node, problems)).collect())
}

fn structured(key: &Key, node: &Node, problems: &mut Problems) -> Option<Service> {
    let mut fields = Fields::of(node, "a credential", problems)?.secretive();
    let secret = fields.required("key", secret);
    let endpoints = fields.optional("endpoints", list("a list of endpoints", endpoint));
    fields.finish()?;
    let name = service_name(key, problems)?;
    if endpoints.is_none() {
        problems
            .warning(key.span, "this service has no `endpoints`, so its key may be used for all it has")
            .fix("list the endpoints that agents need");
    }
    Some(Service { name, place: "credentials_v2", key: secret?, endpoints })
}

fn simple(key: &Key, node: &Node, problems: &mut Problems) -> Option<Service> {
    let secret = secret(node, problems)?;
    let name = service_name(key, problems)?;
    problems
        .warning(key.span, "the simple form restricts nothing: the key may be used for all the service has")
        .fix("list `endpoints` for it in the imported policy");
    Some(Service { name, place: "credentials", key: secret, endpoints: None })
}

fn service_name(key: &Key, problems: &mut Problems) -> Option<Spanned<String>> {
    if Name::parse(&key.text).is_err() {
        problems.error(key.span, "this is not the name of a service").fix("write a name such as `openai`");
        return None;
    }
    Some(Spanned { value: key.text.clone(), span: key.span })
}

/// Where the key stands: it is looked at no further.
fn secret(node: &Node, problems: &mut Problems) -> Option<Span> {
    match node.kind() {
        Some(Kind::String) => Some(node.span),
        _ => mismatch(node, "a key, which is a text", problems),
    }
}

fn endpoint(node: &Node, problems: &mut Problems) -> Option<Endpoint> {
    let mut fields = Fields::of(node, "an endpoint", problems)?;
    let methods = fields.required("methods", list("a list of methods", method));
    let paths = fields.required("paths", filled_list("a list of paths", "an endpoint needs a path", path));
    fields.finish()?;
    Some(Endpoint { methods: methods?, paths: paths? })
}

fn method(node: &Node, problems: &mut Problems) -> Option<String> {
    let method = text("a method")(node, problems)?.to_ascii_uppercase();
    match http::Method::from_bytes(method.as_bytes()) {
        Ok(_) if !matches!(method.as_str(), "TRACE" | "CONNECT" | "ANY") => Some(method),
        _ => {
            problems.error(node.span, "this is not a method").fix("write a method such as GET; `[]` stands for all");
            None
        }
    }
}

fn path(node: &Node, problems: &mut Problems) -> Option<String> {
    let path = text("a path")(node, problems)?;
    if path.contains(['{', '}']) || !path.starts_with('/') {
        problems
            .error(node.span, "this path cannot be said here")
            .fix("write a path or pattern such as `/v1/models` or `/repos/*`");
        return None;
    }
    match PathPattern::parse(&path) {
        Ok(_) => Some(path.value),
        Err(error) => {
            problems.error(node.span, format!("this is no pattern of paths: {error}")).fix("write e.g. `/repos/*`");
            None
        }
    }
}
