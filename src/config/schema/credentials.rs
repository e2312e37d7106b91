//! `credentials`: secrets, and the one place each may go to.

use std::path::{Path, PathBuf};

use http::HeaderName;

use super::super::decode::{filled_list, is_word, parsed, quiet};
use super::super::error::{Span, quote};
use super::names::{injected_header, name, variable};
use super::*;

/// One entry of `credentials`.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Where the entry stands.
    pub span: Span,
    /// Its name, in logs and records.
    pub name: Spanned<Name>,
    /// Where the secret comes from.
    pub source: Spanned<SecretSource>,
    /// Where it may go. An empty list has been warned about by [`Policy::check_references`].
    pub injections: Vec<Injection>,
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
    /// The part of the request that carries it.
    pub slot: Slot,
    /// Whether it may go out without TLS.
    pub plaintext: bool,
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
    let mut fields = Fields::of(node, "a credential", problems)?.later(&["vault", "service", "endpoints"]).secretive();
    let name = fields.required("name", name("the name of the credential"));
    let given = ["envVarKey", "file", "vault"].iter().filter(|name| fields.has(name)).count();
    if given != 1 {
        fields.reject(
            node.span,
            "a credential has one of `envVarKey` and `file`",
            Some("write where the secret is: `envVarKey: NAME` or `file: /run/secrets/name`"),
        );
    }
    let variable = fields.optional("envVarKey", quiet(parsed("the name of an environment variable", variable)));
    let file = fields.optional("file", file);
    let injections = fields.optional("injections", list("a list of injections", injection)).unwrap_or_default();
    let agents = fields.optional("agents", users);
    let placeholder = fields.optional("placeholder", text("a placeholder"));
    fields.finish()?;
    let source = match (variable, file) {
        (Some(variable), None) => Spanned { value: SecretSource::Environment(variable.value), span: variable.span },
        (None, Some(file)) => Spanned { value: SecretSource::File(file.value), span: file.span },
        _ => return None,
    };
    Some(Credential { span: node.span, name: name?, source, injections, agents: agents.flatten(), placeholder })
}

fn injection(node: &Node, problems: &mut Problems) -> Option<Injection> {
    let mut fields = Fields::of(node, "an injection", problems)?;
    let (header, query) = (fields.has("headerName"), fields.has("queryParam"));
    if header == query {
        fields.reject(
            node.span,
            "an injection has one of `headerName` and `queryParam`",
            Some("write `headerName: Authorization` with `headerFormat: \"Bearer {value}\"`"),
        );
    } else if header && !fields.has("headerFormat") {
        fields.reject(
            node.span,
            "an injection with `headerName` needs `headerFormat`",
            Some("write `headerFormat: \"Bearer {value}\"`, or `\"{value}\"` for the credential alone"),
        );
    } else if query && fields.has("headerFormat") {
        fields.reject(
            node.span,
            "`headerFormat` has no meaning with `queryParam`",
            Some("remove it: the parameter's value is the credential"),
        );
    }
    let domain = fields.required("domain", text("a domain"));
    let path = fields.optional("path", text("a path"));
    let name = fields.optional("headerName", parsed("the name of a header", injected_header));
    let format = fields.optional("headerFormat", text("a format with `{value}` in it"));
    let parameter = fields.optional("queryParam", parsed("the name of a query parameter", parameter));
    let plaintext = fields.optional("plaintext", boolean).unwrap_or_default();
    fields.finish()?;
    let slot = match (name, format, parameter) {
        (Some(name), Some(format), None) => Slot::Header { name, format },
        (None, None, Some(parameter)) => Slot::Query(parameter),
        _ => return None,
    };
    Some(Injection { span: node.span, domain: domain?, path, slot, plaintext })
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
        .all(|character| character.is_ascii_graphic() && !matches!(character, '&' | '=' | '#' | '?' | '%' | '+'));
    if !fits {
        return Err(Rejection::new(
            format!("{} cannot be the name of a query parameter", quote(text)),
            "write the name alone, without `?`, `&` or `=`",
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
