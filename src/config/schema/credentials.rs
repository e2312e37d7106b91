//! `credentials`: secrets, and the one place each may go to.

use std::path::{Path, PathBuf};

use http::HeaderName;

use super::super::decode::{filled_list, is_word, one_or_list, parsed, quiet};
use super::super::error::{Span, quote};
use super::names::{header_value, injected_header, name, variable};
use super::vault::vault;
use super::*;
use crate::secrets::VaultSource;

/// Shorter placeholders, in bytes, are warned about.
const SHORT_PLACEHOLDER: usize = 8;

/// One entry of `credentials`.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Where the entry stands.
    pub span: Span,
    /// Its name, in logs and records.
    pub name: Spanned<Name>,
    /// Where the secret comes from.
    pub source: Spanned<SecretSource>,
    /// The service of the catalogue whose hosts and slot it is for, in addition to `injections`.
    pub service: Option<Spanned<Name>>,
    /// Where it may go. With neither this nor `service`, [`Policy::check_references`] has warned.
    pub injections: Vec<Injection>,
    /// The requests it may go with; `None`: all at its places. Never empty as written.
    pub endpoints: Option<Vec<Endpoint>>,
    /// Who may use it; `None`: every agent.
    pub agents: Option<Vec<Spanned<Name>>>,
    /// What the agent may hold in its place.
    pub placeholder: Option<Spanned<String>>,
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// The environment variable of that name (`envVarKey`).
    Environment(String),
    /// The file; a relative path has been joined to the folder of the policy file.
    File(PathBuf),
    /// An entry in Vault.
    Vault(Box<VaultSource>),
}

/// One place a credential may go to.
#[derive(Debug, Clone)]
pub struct Injection {
    /// Where the entry stands.
    pub span: Span,
    /// The host pattern.
    pub domain: Spanned<String>,
    /// The path pattern; `None`: every path.
    pub path: Option<Spanned<String>>,
    /// The part of the request that carries it; `None` only beside `service`, whose slot is meant.
    pub slot: Option<Slot>,
    /// Whether it may go out without TLS.
    pub plaintext: bool,
}

/// One entry of `endpoints`: every pair of one of the methods and one of the paths.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where the entry stands.
    pub span: Span,
    /// The methods.
    pub methods: Methods,
    /// The paths, patterns or prefixes; `None`: every path. Never empty as written.
    pub paths: Option<Vec<Spanned<String>>>,
}

/// The part of a request that carries a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// A header field.
    Header {
        /// The field's name.
        name: Spanned<HeaderName>,
        /// What it becomes, with `{value}` in it: `Bearer {value}`.
        format: Spanned<String>,
    },
    /// A query parameter of that name, whose value becomes the credential.
    Query(Spanned<String>),
}

pub(super) fn credentials(node: &Node, problems: &mut Problems) -> Option<Vec<Credential>> {
    list("a list of credentials", credential)(node, problems)
}

fn credential(node: &Node, problems: &mut Problems) -> Option<Credential> {
    let mut fields = Fields::of(node, "a credential", problems)?.secretive();
    let name = fields.required("name", name("the name of the credential"));
    let given = ["envVarKey", "file", "vault"].iter().filter(|name| fields.has(name)).count();
    if given != 1 {
        fields.reject(
            node.span,
            "a credential has one of `envVarKey`, `file` and `vault`",
            Some("write where the secret is: `envVarKey: NAME`, `file: /run/secrets/name` or `vault: {…}`"),
        );
    }
    let variable = fields.optional("envVarKey", quiet(parsed("the name of an environment variable", variable)));
    let file = fields.optional("file", file);
    let vault = fields.optional("vault", vault);
    let has_service = fields.has("service");
    let service = fields.optional("service", names::name("the name of a service"));
    let injections = list("a list of injections", |node, problems| injection(node, has_service, problems));
    let injections = fields.optional("injections", injections).unwrap_or_default();
    let endpoints = fields.optional(
        "endpoints",
        filled_list(
            "a list of endpoints",
            "to let it go with every request remove the key; to let it go with none remove the credential",
            endpoint,
        ),
    );
    let agents = fields.optional("agents", users);
    let placeholder = fields.optional("placeholder", parsed("a placeholder", header_value));
    if let Some(short) = placeholder.as_ref().filter(|text| text.len() < SHORT_PLACEHOLDER) {
        fields.warn(
            short.span,
            format!(
                "the placeholder has fewer than {SHORT_PLACEHOLDER} characters and will be found where nobody put it"
            ),
            "write one that stands nowhere by chance, such as `sk-agent-placeholder`",
        );
    }
    fields.finish()?;
    let source = match (variable, file, vault) {
        (Some(variable), None, None) => {
            Spanned { value: SecretSource::Environment(variable.value), span: variable.span }
        }
        (None, Some(file), None) => Spanned { value: SecretSource::File(file.value), span: file.span },
        (None, None, Some(vault)) => Spanned { value: SecretSource::Vault(Box::new(vault.value)), span: vault.span },
        _ => return None,
    };
    let agents = agents.flatten();
    Some(Credential { span: node.span, name: name?, source, service, injections, endpoints, agents, placeholder })
}

/// `has_service`: what says nothing of its slot has that of the service.
fn injection(node: &Node, has_service: bool, problems: &mut Problems) -> Option<Injection> {
    let mut fields = Fields::of(node, "an injection", problems)?;
    check_slot(&mut fields, "an injection", has_service);
    let domain = fields.required("domain", text("a domain"));
    let path = fields.optional("path", text("a path"));
    let slot = slot(&mut fields);
    let plaintext = fields.optional("plaintext", boolean).unwrap_or_default();
    fields.finish()?;
    Some(Injection { span: node.span, domain: domain?, path, slot, plaintext })
}

/// Reports keys that do not make one slot together; `optional` where they may all be absent.
pub(super) fn check_slot(fields: &mut Fields<'_, '_>, what: &str, optional: bool) {
    let span = fields.span();
    let (header, query) = (fields.has("headerName"), fields.has("queryParam"));
    let none = !header && !query && !fields.has("headerFormat");
    if header == query && !(none && optional) {
        fields.reject(
            span,
            format!("{what} has one of `headerName` and `queryParam`"),
            Some("write `headerName: Authorization` with `headerFormat: \"Bearer {value}\"`"),
        );
    } else if header && !fields.has("headerFormat") {
        fields.reject(
            span,
            format!("{what} with `headerName` needs `headerFormat`"),
            Some("write `headerFormat: \"Bearer {value}\"`, or `\"{value}\"` for the credential alone"),
        );
    } else if query && fields.has("headerFormat") {
        fields.reject(
            span,
            "`headerFormat` has no meaning with `queryParam`",
            Some("remove it: the parameter's value is the credential"),
        );
    }
}

/// The slot that the keys name; `None` where they name none, or where that has been reported.
pub(super) fn slot(fields: &mut Fields<'_, '_>) -> Option<Slot> {
    let name = fields.optional("headerName", parsed("the name of a header", injected_header));
    let format = fields.optional("headerFormat", text("a format with `{value}` in it"));
    let parameter = fields.optional("queryParam", parsed("the name of a query parameter", parameter));
    match (name, format, parameter) {
        (Some(name), Some(format), None) => Some(Slot::Header { name, format }),
        (None, None, Some(parameter)) => Some(Slot::Query(parameter)),
        _ => None,
    }
}

fn endpoint(node: &Node, problems: &mut Problems) -> Option<Endpoint> {
    let mut fields = Fields::of(node, "an endpoint", problems)?;
    if !fields.has("methods") && !fields.has("paths") {
        fields.reject(
            node.span,
            "an endpoint needs `methods`, `paths` or both",
            Some("write `{methods: [POST], paths: [/v1/chat/completions]}`"),
        );
    }
    let methods = fields.optional("methods", domains::methods);
    let fix = "to admit every path remove the key";
    let path = text("a path");
    let paths = fields.optional("paths", |node: &Node, problems: &mut Problems| match &node.value {
        Value::Sequence(_) => filled_list("a list of paths", fix, &path)(node, problems),
        _ => one_or_list("a path or a list of paths", &path)(node, problems),
    });
    fields.finish()?;
    Some(Endpoint { span: node.span, methods: methods.unwrap_or(Methods::Any), paths })
}

/// `all`, or a list of names.
pub(super) fn users(node: &Node, problems: &mut Problems) -> Option<Option<Vec<Spanned<Name>>>> {
    if is_word("all", node, problems) {
        return Some(None);
    }
    filled_list("a list of agents", "name the agents that may use it, or write `all`", name("the name of an agent"))(
        node, problems,
    )
    .map(Some)
}

fn parameter(text: &str) -> Result<String, Rejection> {
    let fits = text
        .chars()
        .all(|character| character.is_ascii_graphic() && !matches!(character, '&' | '=' | ';' | '#' | '?' | '%' | '+'));
    if !fits {
        return Err(Rejection::new(
            format!("{} cannot be the name of a query parameter", quote(text)),
            "write the name alone, without `?`, `&`, `;` or `=`",
        ));
    }
    Ok(text.to_owned())
}

/// A file, seen from the folder of the policy file that names it.
pub(super) fn file(node: &Node, problems: &mut Problems) -> Option<Spanned<PathBuf>> {
    let path = text("the path of a file")(node, problems)?;
    if path.contains('\0') {
        problems.error(node.span, "a path cannot contain NUL");
        return None;
    }
    let folder = Path::new(problems.sources().name(node.span.file)).parent().unwrap_or(Path::new(""));
    Some(Spanned { value: folder.join(&path.value), span: node.span })
}
