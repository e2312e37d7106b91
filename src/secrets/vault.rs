//! Vault's key-value engine, version 2, over its HTTP API: what is asked, with which token, and what an answer means.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::Clients;
use super::local::{Environment, LocalError, Source};
use crate::https::{BadUrl, Call, CallError, Client, Reply, Trust, TrustError, Url};
use crate::pipeline::credential::{BadSecret, Secret};

/// The longest answer, in bytes: Vault itself takes no entry above 1 MiB unless told to.
const LONGEST: usize = 1024 * 1024 + 64 * 1024;

/// One field of one entry, as policy names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VaultSource {
    /// Where Vault is; none: `VAULT_ADDR` says.
    pub address: Option<Url>,
    /// True if it may be spoken to without TLS.
    pub plaintext: bool,
    /// The namespace; none: `VAULT_NAMESPACE` says, if it is set.
    pub namespace: Option<String>,
    /// The engine's mount, without slashes around it.
    pub mount: String,
    /// The entry below it, without `data/`, without slashes around it.
    pub path: String,
    /// The field of the entry.
    pub field: String,
    /// What attaché shows of itself.
    pub auth: Auth,
    /// The CAs that Vault's certificate has to come from; none: `VAULT_CACERT` says, else the system's.
    pub ca_file: Option<PathBuf>,
    /// How long a value is used at most.
    pub refresh: Duration,
}

impl VaultSource {
    /// The environment variable that holds the token, where one does.
    pub fn token_variable(&self) -> Option<&str> {
        match &self.auth {
            Auth::Token(Source::Variable(name)) => Some(name),
            _ => None,
        }
    }
}

/// How a token is had.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Auth {
    /// From this place; a file is read again for every fetch, since Vault's agent renews what is in it.
    Token(Source),
    /// By Vault's Kubernetes auth method.
    Kubernetes {
        /// Vault's role.
        role: String,
        /// Where the method is mounted.
        mount: String,
        /// The service account's token, read again for every login.
        token_file: PathBuf,
    },
}

/// Why Vault gives no secret. None shows the secret or a token.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Nobody says where Vault is.
    #[error("nothing says where vault is: write `address`, or set `VAULT_ADDR`")]
    NoAddress,
    /// The variable is no address.
    #[error("`VAULT_ADDR` cannot be used: {0}")]
    Address(#[from] BadUrl),
    /// The variable cannot stand in a header.
    #[error("`VAULT_NAMESPACE` is no namespace")]
    Namespace,
    /// The address has no TLS, and policy does not say so.
    #[error("`{0}` would be spoken to without TLS: write `https://`, or `plaintext: true` where nobody can listen")]
    Plaintext(String),
    /// No CA to trust.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// There is no token.
    #[error("the token for vault cannot be had: {0}")]
    NoToken(#[from] LocalError),
    /// The token is none.
    #[error("the token for vault, or what it logs in with, is empty or has a byte that no token has")]
    BadToken,
    /// No answer.
    #[error("vault: {0}")]
    Call(#[from] CallError),
    /// An answer that says no.
    #[error("vault answers {status} for `{what}`{said}{hint}")]
    Refused {
        /// Which answer.
        status: StatusCode,
        /// What was asked for.
        what: String,
        /// What it said, or nothing.
        said: String,
        /// What to do, or nothing.
        hint: &'static str,
    },
    /// An answer that is not the API's.
    #[error("vault's answer for `{0}` is not that of a key-value engine, version 2: check `mount`")]
    Unreadable(String),
    /// The entry lacks the field.
    #[error("the entry `{what}` in vault has no text in a field `{field}`")]
    NoField {
        /// The entry.
        what: String,
        /// The field.
        field: String,
    },
    /// The value is no secret that could be sent.
    #[error("the field `{field}` of `{what}` in vault {source}")]
    Bad {
        /// The entry.
        what: String,
        /// The field.
        field: String,
        /// What is wrong with it.
        source: BadSecret,
    },
}

impl VaultError {
    /// True if Vault, or what it is asked with, says that there is nothing to be had. False while it may only be
    /// out of reach.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Call(_) | Self::Trust(_) | Self::Unreadable(_) => false,
            // Vault's own: 412 not yet there, 472 and 473 a standby.
            Self::Refused { status, .. } => {
                status.is_client_error() && !matches!(status.as_u16(), 408 | 412 | 429 | 472 | 473)
            }
            _ => true,
        }
    }
}

/// One entry, ready to be asked for.
pub(super) struct Vault {
    address: Url,
    namespace: Option<HeaderValue>,
    source: VaultSource,
    token: Option<Zeroizing<Vec<u8>>>,
    trust: Trusted,
    login: Mutex<Option<Login>>,
}

enum Trusted {
    /// Whom a client trusts that was made before.
    Shared(Client),
    /// Whom this file says at the time.
    File(PathBuf),
}

/// What Vault gave for a login.
#[derive(Clone)]
struct Login {
    token: HeaderValue,
    /// When it is time for another; never, where the token does not expire.
    until: Option<Instant>,
}

impl Vault {
    /// Finds out where and how to ask, and how long a value is used. Asks nothing yet.
    pub(super) fn new(
        source: VaultSource,
        environment: &Environment,
        clients: &mut Clients,
    ) -> Result<(Self, Duration), VaultError> {
        let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let address = match (&source.address, variable("VAULT_ADDR")) {
            (Some(address), _) => address.clone(),
            (None, Some(address)) => Url::parse(std::str::from_utf8(address).map_err(|_| BadUrl::Form)?)?,
            (None, None) => return Err(VaultError::NoAddress),
        };
        if address.is_plaintext() && !source.plaintext {
            return Err(VaultError::Plaintext(address.place()));
        }
        let namespace = source.namespace.as_deref().map(str::as_bytes).or(variable("VAULT_NAMESPACE"));
        let namespace = namespace.map(HeaderValue::from_bytes).transpose().map_err(|_| VaultError::Namespace)?;
        let named = || variable("VAULT_CACERT").map(|file| PathBuf::from(String::from_utf8_lossy(file).into_owned()));
        let trust = match source.ca_file.clone().or_else(named) {
            Some(file) => Trusted::File(file),
            None => Trusted::Shared(clients.trusting(&Trust::System)?),
        };
        let token = match &source.auth {
            Auth::Token(place @ Source::Variable(_)) => Some(place.read(environment)?),
            _ => None,
        };
        let refresh = source.refresh;
        Ok((Self { address, namespace, source, token, trust, login: Mutex::default() }, refresh))
    }

    /// True if the other is asked for the same, at the same place and in the same way.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.source == other.source && self.address == other.address && self.namespace == other.namespace
    }

    /// The value as it is now.
    pub(super) async fn read(&self, deadline: Duration) -> Result<Secret, VaultError> {
        let client = match &self.trust {
            Trusted::Shared(client) => client.clone(),
            Trusted::File(path) => Client::new(&Trust::File(path.clone()))?,
        };
        let path = format!("v1/{}/data/{}", escaped(&self.source.mount), escaped(&self.source.path));
        let what = format!("{}/{}", self.source.mount, self.source.path);
        let ask = async |token: HeaderValue| {
            let reply = self.call(&client, Method::GET, &path, Some(token.clone()), Bytes::new(), deadline).await?;
            accepted(reply, &what, token.as_bytes(), hint_on_read)
        };
        let remembered = self.remembered();
        let reply = match remembered.clone() {
            Some(token) => ask(token).await,
            None => ask(self.token(&client, deadline).await?).await,
        };
        let reply = match reply {
            // The login has been taken back: another may be given.
            Err(VaultError::Refused { status: StatusCode::FORBIDDEN, .. }) if remembered.is_some() => {
                ask(self.token(&client, deadline).await?).await?
            }
            reply => reply?,
        };
        self.field(&reply.body, &what)
    }

    pub(super) fn timed_out(&self, deadline: Duration) -> VaultError {
        CallError::Timeout { place: self.address.place(), deadline }.into()
    }

    /// The token of a login that still stands.
    fn remembered(&self) -> Option<HeaderValue> {
        let login = self.login.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        login.until.is_none_or(|until| Instant::now() < until).then_some(login.token)
    }

    /// A token as it is now, by another login where it takes one.
    async fn token(&self, client: &Client, deadline: Duration) -> Result<HeaderValue, VaultError> {
        match &self.source.auth {
            Auth::Token(Source::Variable(_)) => header(self.token.as_deref().map_or(&[], Vec::as_slice)),
            Auth::Token(file) => header(&file.read(&Environment::default())?),
            Auth::Kubernetes { role, mount, token_file } => {
                let login = self.log_in(client, role, mount, token_file, deadline).await?;
                let token = login.token.clone();
                *self.login.lock().unwrap_or_else(PoisonError::into_inner) = Some(login);
                Ok(token)
            }
        }
    }

    async fn log_in(
        &self,
        client: &Client,
        role: &str,
        mount: &str,
        token_file: &Path,
        deadline: Duration,
    ) -> Result<Login, VaultError> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            auth: Given<'a>,
        }
        #[derive(Deserialize)]
        struct Given<'a> {
            client_token: Cow<'a, str>,
            /// In seconds; 0 for a token that does not expire.
            #[serde(default)]
            lease_duration: u64,
        }
        let jwt = Source::File(token_file.to_owned()).read(&Environment::default())?;
        // Three parts in base64url, parted by dots (RFC 7515): nothing that JSON would escape.
        let jwt = std::str::from_utf8(jwt.trim_ascii()).map_err(|_| VaultError::BadToken)?;
        if jwt.is_empty() || !jwt.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.=".contains(&b)) {
            return Err(VaultError::BadToken);
        }
        let mut body = Zeroizing::new(Vec::with_capacity(jwt.len() + role.len() + 64));
        body.extend_from_slice(b"{\"jwt\":\"");
        body.extend_from_slice(jwt.as_bytes());
        body.extend_from_slice(b"\",\"role\":");
        body.extend_from_slice(serde_json::Value::from(role).to_string().as_bytes());
        body.push(b'}');
        let what = format!("auth/{mount}/login");
        let path = format!("v1/auth/{}/login", escaped(mount));
        let asked = Instant::now();
        let reply = self.call(client, Method::POST, &path, None, Bytes::from_owner(body), deadline).await?;
        let hint = |_| "; does `role` exist, and is it bound to this service account?";
        let reply = accepted(reply, &what, jwt.as_bytes(), hint)?;
        let answer: Answer<'_> = serde_json::from_slice(&reply.body).map_err(|_| VaultError::Unreadable(what))?;
        // Another is asked for before this one ends.
        let life = Duration::from_secs(answer.auth.lease_duration);
        let until = (!life.is_zero()).then(|| asked.checked_add(life / 3 * 2)).flatten();
        Ok(Login { token: header(answer.auth.client_token.as_bytes())?, until })
    }

    async fn call(
        &self,
        client: &Client,
        method: Method,
        path: &str,
        token: Option<HeaderValue>,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Reply, CallError> {
        let mut headers = HeaderMap::new();
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = &self.namespace {
            headers.insert("x-vault-namespace", namespace.clone());
        }
        if let Some(token) = token {
            headers.insert("x-vault-token", token);
        }
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        client
            .send(&self.address.below(path), Call { method, headers, body, deadline, longest_answer: Some(LONGEST) })
            .await
    }

    fn field(&self, body: &[u8], what: &str) -> Result<Secret, VaultError> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            data: Version<'a>,
        }
        // Values stay where they are, in a buffer that is wiped; only the one wanted is copied.
        #[derive(Deserialize)]
        struct Version<'a> {
            #[serde(borrow)]
            data: HashMap<Cow<'a, str>, &'a RawValue>,
            #[serde(rename = "metadata")]
            _metadata: serde::de::IgnoredAny,
        }
        let what = || what.to_owned();
        let answer: Answer<'_> = serde_json::from_slice(body).map_err(|_| VaultError::Unreadable(what()))?;
        let field = self.source.field.as_str();
        let value = answer.data.data.get(field).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let value = value.ok_or_else(|| VaultError::NoField { what: what(), field: field.to_owned() })?;
        Secret::new(Zeroizing::new(value.into_bytes())).map_err(|source| VaultError::Bad {
            what: what(),
            field: field.to_owned(),
            source,
        })
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("address", &self.address).field("source", &self.source).finish_non_exhaustive()
    }
}

/// An answer that says yes. `shown` is what Vault was shown, which no error repeats.
fn accepted(
    reply: Reply,
    what: &str,
    shown: &[u8],
    hint: impl Fn(StatusCode) -> &'static str,
) -> Result<Reply, VaultError> {
    let status = reply.status;
    if status == StatusCode::OK {
        return Ok(reply);
    }
    let hint = match status.as_u16() {
        300..400 => "; redirects are not followed: give the address of the active node, or let standbys forward",
        503 => "; is it sealed?",
        _ => hint(status),
    };
    let repeats = reply.body.windows(shown.len().max(1)).any(|part| part == shown);
    let said = if repeats { String::new() } else { said(&reply.body) };
    Err(VaultError::Refused { status, what: what.to_owned(), said, hint })
}

fn hint_on_read(status: StatusCode) -> &'static str {
    match status.as_u16() {
        403 => "; does the token's policy allow `read` below the mount's `data/`?",
        404 => "; is the entry there, and is the engine at that mount of version 2?",
        _ => "",
    }
}

/// What Vault said went wrong, cut to a length for a log.
fn said(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        errors: Vec<String>,
    }
    let errors = serde_json::from_slice::<Answer>(body).map(|answer| answer.errors).unwrap_or_default();
    let text = errors.join("; ");
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

fn header(token: &[u8]) -> Result<HeaderValue, VaultError> {
    let token = token.trim_ascii();
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return Err(VaultError::BadToken);
    }
    let mut value = HeaderValue::from_bytes(token).map_err(|_| VaultError::BadToken)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A path with every byte encoded that has a meaning in a URL, slashes kept.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_so_that_it_means_itself() {
        for (path, expected) in
            [("secret", "secret"), ("a/b c", "a/b%20c"), ("a?b#c%2F", "a%3Fb%23c%252F"), ("ü", "%C3%BC")]
        {
            assert_eq!(escaped(path), expected);
        }
    }

    #[test]
    fn only_a_no_is_final() {
        let refused = |status| VaultError::Refused {
            status: StatusCode::from_u16(status).unwrap(),
            what: String::new(),
            said: String::new(),
            hint: "",
        };
        for (status, expected) in [
            (400, true),
            (403, true),
            (404, true),
            (307, false),
            (408, false),
            (412, false),
            (429, false),
            (473, false),
            (500, false),
            (503, false),
        ] {
            assert_eq!(refused(status).is_final(), expected, "{status}");
        }
    }
}
