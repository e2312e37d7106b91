//! A request as a person writes it: a method and a URL.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use smallvec::SmallVec;

use crate::pipeline::exchange::Incoming;
use crate::pipeline::message::{Authority, Door, Fields, Host, token};

/// A request to rehearse.
#[derive(Debug, Clone)]
pub struct Request {
    /// How it enters: by a tunnel with TLS or plain HTTP inside, or in front of the proxy, in absolute form.
    pub door: Door,
    /// The method.
    pub method: String,
    /// Host and port as the URL has them.
    pub authority: String,
    /// Path and query as the URL has them, without a fragment.
    pub target: String,
    /// Header fields with lower-case names. Those that begin with `proxy-` are for the proxy hop.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The body, whole; empty for none.
    pub body: Vec<u8>,
    /// Who sends it, whatever identity it shows beside. None: only what it shows counts.
    pub agent: Option<String>,
    /// The address it comes from, where that is known.
    pub source: Option<IpAddr>,
    /// When it is sent.
    pub at: SystemTime,
    /// What the person says who is asked about it.
    pub person: Person,
}

/// What a person who is asked says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Person {
    /// Nothing, until the hold is over.
    #[default]
    Silent,
    /// Yes, at once.
    Approves,
    /// No, at once.
    Refuses,
}

/// Why something is no request that could be rehearsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// No method.
    #[error("`{0}` is no method; write one such as `GET`")]
    Method(String),
    /// CONNECT is no request of its own.
    #[error("CONNECT opens a tunnel for requests; give one of those, such as `GET https://{0}/`")]
    Connect(String),
    /// No absolute URL.
    #[error("`{0}` is no absolute URL; write it whole, such as `https://api.example.com/v1/items`")]
    Relative(String),
    /// Neither http nor https.
    #[error("`{0}` is neither an `https://` nor an `http://` URL; nothing else passes the proxy")]
    Scheme(String),
    /// A user name or a password stands before the host.
    #[error(
        "the URL names a user before its host, which clients send as `Authorization` and not in the URL; write it as a header"
    )]
    User,
    /// No host.
    #[error("`{0}` has no host; write it whole, such as `https://api.example.com/v1/items`")]
    NoHost(String),
    /// A byte that clients never send as it is.
    #[error("`{0}` has a blank, a control or a non-ASCII character; write it percent-encoded")]
    Character(String),
    /// No header.
    #[error("`{0}` is no header; write it as `Name: value`")]
    Header(String),
    /// Envoy refuses it before anything is decided.
    #[error("Envoy refuses every request with `_` in a header's name, such as `{0}`")]
    Underscore(String),
}

impl Request {
    /// A request as a client sends it that is told to use the proxy: `https` through a tunnel, `http` in absolute form.
    ///
    /// # Errors
    /// If no client would send it.
    pub fn new(method: &str, url: &str, at: SystemTime) -> Result<Self, BadRequest> {
        let (door, rest) = split_scheme(url)?;
        if token(method.as_bytes()).is_none() {
            return Err(BadRequest::Method(method.to_owned()));
        }
        // Clients keep the fragment to themselves.
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(BadRequest::User);
        }
        if authority.is_empty() || authority.starts_with(':') {
            return Err(BadRequest::NoHost(url.to_owned()));
        }
        if !target.bytes().all(|byte| byte.is_ascii_graphic()) || authority.chars().any(|c| c.is_control() || c == ' ')
        {
            return Err(BadRequest::Character(url.to_owned()));
        }
        if method == "CONNECT" {
            return Err(BadRequest::Connect(authority.to_owned()));
        }
        // Clients send A-labels; what is no international name is sent as it is, and judged.
        let authority = match (authority.is_ascii(), Authority::parse(authority.as_bytes())) {
            (false, Ok(read)) => read.to_string(),
            _ => authority.to_owned(),
        };
        Ok(Self {
            door,
            method: method.to_owned(),
            authority,
            target: if target.starts_with('/') { target.to_owned() } else { format!("/{target}") },
            fields: Vec::new(),
            body: Vec::new(),
            agent: None,
            source: None,
            at,
            person: Person::Silent,
        })
    }

    /// Adds a header.
    ///
    /// # Errors
    /// If no client would send it, or Envoy takes none like it.
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<(), BadRequest> {
        let value = value.trim();
        if token(name.as_bytes()).is_none() || value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(BadRequest::Header(name.to_owned()));
        }
        if name.contains('_') {
            return Err(BadRequest::Underscore(name.to_owned()));
        }
        self.fields.push((name.to_ascii_lowercase(), value.as_bytes().to_vec()));
        Ok(())
    }

    /// The CONNECT that goes before it, where it goes through a tunnel.
    pub(super) fn connect(&self) -> Option<Incoming> {
        let default = match self.door {
            Door::Proxy => return None,
            Door::Tls => 443,
            Door::Plain => 80,
        };
        let authority = match Authority::parse(self.authority.as_bytes()) {
            Ok(read) => Authority { port: read.port.or(Some(default)), ..read }.to_string(),
            Err(_) => self.authority.clone(),
        };
        let mut fields = pseudo([(":method", "CONNECT"), (":authority", &authority)]);
        fields.extend(self.fields.iter().filter(|(name, _)| is_of_the_hop(name)).cloned());
        Some(self.incoming(Door::Proxy, fields, None, true))
    }

    /// The request itself; `session` is that of its tunnel.
    pub(super) fn inner(&self, session: Option<String>) -> Incoming {
        let in_tunnel = self.door != Door::Proxy;
        // Inside a tunnel, `Host` is all that names the host; absolute form is told from the URL (RFC 9112 §3.2.2).
        let host = self.fields.iter().find(|(name, _)| name == "host" && in_tunnel);
        let scheme = if self.door == Door::Tls { "https" } else { "http" };
        let target = as_envoy_shows(&self.target);
        let mut fields = pseudo([(":method", &self.method), (":scheme", scheme), (":path", &target)]);
        let authority = host.map_or(self.authority.as_bytes(), |(_, value)| value);
        fields.push((":authority".to_owned(), authority.to_vec()));
        let own = self.fields.iter().filter(|(name, _)| name != "host" && !(in_tunnel && is_of_the_hop(name)));
        fields.extend(own.cloned());
        let says_length = |name: &str| name == "content-length" || name == "transfer-encoding";
        if !self.body.is_empty() && !self.fields.iter().any(|(name, _)| says_length(name)) {
            fields.push(("content-length".to_owned(), self.body.len().to_string().into_bytes()));
        }
        self.incoming(self.door, fields, session, self.body.is_empty())
    }

    fn incoming(&self, door: Door, fields: Vec<(String, Vec<u8>)>, session: Option<String>, ends: bool) -> Incoming {
        let name = Authority::parse(self.authority.as_bytes()).ok().and_then(|authority| match authority.host {
            Host::Name(name) => Some(name.into_string()),
            // RFC 6066 §3: address literals are not sent as server name.
            Host::Address(_) => None,
        });
        Incoming {
            door,
            fields: Fields::new(fields),
            session,
            sni: name.filter(|_| door == Door::Tls),
            destination: None,
            source: self.source.filter(|_| door == Door::Proxy).map(|ip| SocketAddr::new(ip, 0).to_string().into()),
            peer: self.agent.as_deref().filter(|_| door == Door::Proxy).map(certificate),
            request_id: REQUEST_ID.into(),
            ends,
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.door == Door::Tls { "https" } else { "http" };
        write!(f, "{} {scheme}://{}{}", self.method, self.authority, self.target)
    }
}

/// Under which a rehearsed request would be on record.
const REQUEST_ID: &str = "rehearsal";

/// The SPIFFE ID that only rehearsals have: by it an agent is named outright. No certificate can carry it, for `!` is
/// no character of one (SPIFFE ID, 2.1).
pub(super) fn spiffe_id(agent: &str) -> String {
    format!("spiffe://!rehearsal/{agent}")
}

/// A client certificate with it, that does not end.
fn certificate(agent: &str) -> String {
    format!("{};{}", u64::MAX, spiffe_id(agent))
}

fn split_scheme(url: &str) -> Result<(Door, &str), BadRequest> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| BadRequest::Relative(url.to_owned()))?;
    match &*scheme.to_ascii_lowercase() {
        "https" => Ok((Door::Tls, rest)),
        "http" => Ok((Door::Proxy, rest)),
        _ if scheme.contains(['/', '?']) => Err(BadRequest::Relative(url.to_owned())),
        _ => Err(BadRequest::Scheme(url.to_owned())),
    }
}

fn pseudo<const N: usize>(fields: [(&str, &str); N]) -> Vec<(String, Vec<u8>)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

fn is_of_the_hop(name: &str) -> bool {
    name.starts_with("proxy-")
}

/// The target as Envoy shows it, and sends it on: dot segments resolved, slashes merged (`normalize_path`,
/// `merge_slashes`).
pub(super) fn as_envoy_shows(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let mut kept: SmallVec<[&str; 16]> = SmallVec::new();
    let mut open = false;
    for segment in path.split('/').skip(1) {
        let dots = match &*segment.to_ascii_lowercase().replace("%2e", ".") {
            "." => 1,
            ".." => 2,
            _ => 0,
        };
        if dots == 2 {
            kept.pop();
        } else if dots == 0 {
            kept.push(segment);
        }
        open = dots > 0;
    }
    // What ends in a dot segment or a slash is a folder.
    let open = open || kept.last().is_some_and(|last| last.is_empty());
    kept.retain(|segment| !segment.is_empty());
    let slash = if open && !kept.is_empty() { "/" } else { "" };
    format!("/{}{slash}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_as_envoy_resolves_it() {
        for (written, shown) in [
            ("/", "/"),
            ("/a/b?c=/../d", "/a/b?c=/../d"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/../../a", "/a"),
            ("//a///b//", "/a/b/"),
            ("/a//../b", "/a/b"),
            ("/a/..%2fb", "/a/..%2fb"),
            ("/..", "/"),
            ("/a/...", "/a/..."),
        ] {
            assert_eq!(as_envoy_shows(written), shown, "{written}");
        }
    }

    #[test]
    fn only_what_a_client_would_send_is_a_request() {
        let new = |method: &str, url: &str| Request::new(method, url, SystemTime::UNIX_EPOCH);
        for (url, door, authority, target) in [
            ("https://a.example", Door::Tls, "a.example", "/"),
            ("HTTPS://a.example:8443/x?y#z", Door::Tls, "a.example:8443", "/x?y"),
            ("http://a.example?x", Door::Proxy, "a.example", "/?x"),
            ("http://[::1]:80/", Door::Proxy, "[::1]:80", "/"),
            ("https://bücher.example/", Door::Tls, "xn--bcher-kva.example", "/"),
            ("https://127.1/", Door::Tls, "127.1", "/"),
        ] {
            let request = new("GET", url).unwrap();
            assert_eq!((request.door, &*request.authority, &*request.target), (door, authority, target), "{url}");
        }
        for (method, url) in [
            ("GET", "/v1/items"),
            ("GET", "api.example.com/v1"),
            ("GET", "/x?to=https://a.example/"),
            ("GET", "ftp://a.example/"),
            ("GET", "https:///x"),
            ("GET", "https://:443/x"),
            ("GET", "https://u:p@a.example/"),
            ("GET", "https://a.example/a b"),
            ("GET", "https://a.example/é"),
            ("G ET", "https://a.example/"),
            ("", "https://a.example/"),
            ("CONNECT", "https://a.example/"),
        ] {
            assert!(new(method, url).is_err(), "{method} {url}");
        }
    }

    #[test]
    fn a_header_is_one_that_passes() {
        let mut request = Request::new("GET", "https://a.example/", SystemTime::UNIX_EPOCH).unwrap();
        request.add_header("X-Key", " a b ").unwrap();
        assert_eq!(request.fields, [("x-key".to_owned(), b"a b".to_vec())]);
        for (name, value) in [("", "x"), ("a b", "x"), (":path", "/"), ("x", "a\nb"), ("x_y", "1")] {
            assert!(request.add_header(name, value).is_err(), "{name}: {value}");
        }
    }
}
