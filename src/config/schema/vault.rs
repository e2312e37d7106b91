//! `credentials[].vault`: an entry of Vault's key-value engine, version 2.

use std::path::PathBuf;
use std::time::Duration;

use super::super::decode::{Rejection, duration, parsed, quiet};
use super::super::error::quote;
use super::credentials::file;
use super::names::variable;
use super::*;
use crate::https::Url;
use crate::secrets::{Auth, Source, VaultSource};

/// How long a value is used where policy does not say.
const REFRESH: Duration = Duration::from_secs(300);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Where Vault's clients look for a token, and where Kubernetes puts a service account's.
const TOKEN_VARIABLE: &str = "VAULT_TOKEN";
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

pub(super) fn vault(node: &Node, problems: &mut Problems) -> Option<Spanned<VaultSource>> {
    let mut fields = Fields::of(node, "an entry in vault", problems)?.secretive();
    let address = fields.optional("address", quiet(parsed("the address of vault", address)));
    let plaintext = fields.optional("plaintext", boolean).unwrap_or_default();
    let namespace = fields.optional("namespace", parsed("a namespace", path));
    let mount = fields.optional("mount", parsed("the mount of the engine", path));
    let path = fields.required("path", parsed("the path of the entry", path));
    let field = fields.required("field", text("the name of a field"));
    let auth = fields.optional("auth", auth);
    let ca_file = fields.optional("caFile", file);
    let refresh = fields.optional("refresh", duration("how long a value is used", SHORTEST..=LONGEST));
    if let Some(address) = address.as_ref().filter(|address| address.is_plaintext() && !plaintext) {
        fields.reject(
            address.span,
            "the token and the secret would travel without TLS",
            Some("write `https://`, or add `plaintext: true` where nobody can listen"),
        );
    }
    if let Some(path) = path.as_ref().filter(|path| path.value.starts_with("data/")) {
        fields.warn(path.span, "`data/` is put before the path by itself", "write the path as `vault kv get` takes it");
    }
    fields.finish()?;
    let source = VaultSource {
        address: address.map(|address| address.value),
        plaintext,
        namespace: namespace.map(|namespace| namespace.value),
        mount: mount.map_or_else(|| "secret".to_owned(), |mount| mount.value),
        path: path?.value,
        field: field?.value,
        auth: auth.unwrap_or_else(|| Auth::Token(Source::Variable(TOKEN_VARIABLE.to_owned()))),
        ca_file: ca_file.map(|file| file.value),
        refresh: refresh.unwrap_or(REFRESH),
    };
    Some(Spanned { value: source, span: node.span })
}

fn auth(node: &Node, problems: &mut Problems) -> Option<Auth> {
    const FIX: &str = "write `{tokenFile: …}`, `{tokenEnv: VAULT_TOKEN}` or `{kubernetes: {role: …}}`";
    if matches!(node.value, Value::Scalar(_)) {
        problems.error(node.span, "a token is not written into the policy").fix(FIX);
        problems.hide(node.span);
        return None;
    }
    let mut fields = Fields::of(node, "a way to log in", problems)?.secretive();
    let given = ["tokenFile", "tokenEnv", "kubernetes"].iter().filter(|name| fields.has(name)).count();
    if given != 1 {
        let message = "`auth` has one of `tokenFile`, `tokenEnv` and `kubernetes`";
        fields.reject(node.span, message, Some(FIX));
    }
    let token_file = fields.optional("tokenFile", file);
    let token_env = fields.optional("tokenEnv", quiet(parsed("the name of an environment variable", variable)));
    let kubernetes = fields.optional("kubernetes", kubernetes);
    fields.finish()?;
    let file = token_file.map(|file| Auth::Token(Source::File(file.value)));
    file.or(token_env.map(|name| Auth::Token(Source::Variable(name.value)))).or(kubernetes)
}

fn kubernetes(node: &Node, problems: &mut Problems) -> Option<Auth> {
    let mut fields = Fields::of(node, "a login by Kubernetes", problems)?.secretive();
    let role = fields.required("role", text("the name of a role in vault"));
    let mount = fields.optional("mount", parsed("the mount of the method", path));
    let token_file = fields.optional("tokenFile", file);
    fields.finish()?;
    Some(Auth::Kubernetes {
        role: role?.value,
        mount: mount.map_or_else(|| "kubernetes".to_owned(), |mount| mount.value),
        token_file: token_file.map_or_else(|| PathBuf::from(SERVICE_ACCOUNT), |file| file.value),
    })
}

/// An address to call; what is wrong with it is said without it.
pub(super) fn address(text: &str) -> Result<Url, Rejection> {
    Url::parse(text).map_err(|bad| Rejection { message: bad.to_string(), fix: None })
}

/// A path as Vault takes it, without slashes around it.
fn path(text: &str) -> Result<String, Rejection> {
    let path = text.trim_matches('/');
    let fits = path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.chars().any(char::is_control);
    if !fits {
        return Err(Rejection::new(format!("{} is no path in vault", quote(text)), "write it like `agents/jira`"));
    }
    Ok(path.to_owned())
}
