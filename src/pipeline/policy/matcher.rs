//! Patterns of hosts and methods, and the table that finds a host's patterns, most specific first.

use std::collections::HashMap;
use std::fmt;

use smallvec::SmallVec;

use crate::pipeline::message::{Authority, Bracketed, Host, Malformed, parse_port, token};

/// How attaché speaks to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// TLS, whatever the agent spoke.
    Https,
    /// Plaintext, which only an explicit `http://` pattern permits.
    Http,
}

impl Scheme {
    /// The port a pattern of this scheme means when it names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
        }
    }

    /// As URLs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

/// A pattern of hosts: `[http://]host[:port]`, where host may be `*.name` (any depth, not the apex) or `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPattern {
    /// Which hosts.
    pub name: NamePattern,
    /// How the upstream is spoken to.
    pub scheme: Scheme,
    /// The port as written; what a missing one means depends on whether the pattern permits or restricts.
    pub port: Option<u16>,
}

/// The host part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NamePattern {
    /// This host only.
    Exact(Host),
    /// Every name below this one, at any depth.
    Below(Box<str>),
    /// Every name; where it restricts, every address literal too. Those are permitted only by a pattern that is that
    /// address.
    Any,
}

impl NamePattern {
    /// The names that those of the pattern lie below, but for the pattern's own, nearest first.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        let name = match self {
            Self::Exact(Host::Name(name)) | Self::Below(name) => Some(&**name),
            Self::Exact(Host::Address(_)) | Self::Any => None,
        };
        std::iter::successors(name, |name| name.split_once('.').map(|(_, parent)| parent)).skip(1)
    }
}

impl NamePattern {
    /// True if every host of the other pattern is one of this.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, other) => !matches!(other, Self::Exact(Host::Address(_))),
            (Self::Below(name), Self::Exact(Host::Name(_)) | Self::Below(_)) => {
                self == other || other.parents().any(|parent| *parent == **name)
            }
            _ => self == other,
        }
    }

    /// False only where no host is in both.
    pub fn may_overlap(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

/// Why a pattern of hosts cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHostPattern {
    /// A host or port that no request could ever have.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// A scheme other than the two that patterns know.
    #[error("`{0}://` is no scheme of a pattern: write the host alone for TLS, or `http://host` for plaintext")]
    Scheme(String),
    /// Something after the host and port.
    #[error("a pattern is a host, not a URL: leave out `{0}` (paths go into httpRestrictions)")]
    Path(String),
    /// A star that is not the whole first label.
    #[error("`*` stands for whole labels, and only in front: `*.example.com`, or `*` alone for every host")]
    Star,
}

impl HostPattern {
    /// Reads a pattern as policy writes it.
    pub fn parse(text: &str) -> Result<Self, BadHostPattern> {
        let (scheme, rest) = match text.split_once("://") {
            None => (Scheme::Https, text),
            Some(("http", rest)) => (Scheme::Http, rest),
            Some((other, _)) => return Err(BadHostPattern::Scheme(other.to_owned())),
        };
        if let Some(at) = rest.find(['/', '?', '#']) {
            return Err(BadHostPattern::Path(rest.get(at..).unwrap_or_default().to_owned()));
        }
        let (name, port) = if let Some(below) = rest.strip_prefix("*.") {
            let (name, port) = split_port(below)?;
            match Host::parse(name)? {
                Host::Name(name) if !name.contains('*') => (NamePattern::Below(name), port),
                _ => return Err(BadHostPattern::Star),
            }
        } else if rest == "*" || rest.starts_with("*:") {
            (NamePattern::Any, split_port(rest)?.1)
        } else if rest.contains('*') {
            return Err(BadHostPattern::Star);
        } else {
            let authority = Authority::parse(rest.as_bytes())?;
            (NamePattern::Exact(authority.host), authority.port)
        };
        Ok(Self { name, scheme, port })
    }

    /// The port a *permitting* pattern covers.
    pub fn permitted_port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.default_port())
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), Malformed> {
    match text.split_once(':') {
        Some((name, port)) => Ok((name, Some(parse_port(port)?))),
        None => Ok((text, None)),
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scheme == Scheme::Http {
            f.write_str("http://")?;
        }
        match &self.name {
            NamePattern::Exact(host) => Bracketed(host).fmt(f)?,
            NamePattern::Below(name) => write!(f, "*.{name}")?,
            NamePattern::Any => f.write_str("*")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Values filed under host names, found most specific first: the exact name, then its parents, nearest first,
/// then `*`. The cost is one look-up for each label of the host, however many patterns there are.
#[derive(Debug, Clone)]
pub struct HostTable<T> {
    exact: HashMap<Host, Vec<T>>,
    below: HashMap<Box<str>, Vec<T>>,
    any: Vec<T>,
}

impl<T> Default for HostTable<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), below: HashMap::new(), any: Vec::new() }
    }
}

impl<T> HostTable<T> {
    /// Files a value.
    pub fn insert(&mut self, name: &NamePattern, value: T) {
        self.filed(name).push(value);
    }

    /// What is filed under a pattern.
    pub fn filed(&mut self, name: &NamePattern) -> &mut Vec<T> {
        match name {
            NamePattern::Exact(host) => self.exact.entry(host.clone()).or_default(),
            NamePattern::Below(name) => self.below.entry(name.clone()).or_default(),
            NamePattern::Any => &mut self.any,
        }
    }

    /// What is filed for a host at one level; see [`levels`].
    pub fn at(&self, level: Level<'_>) -> &[T] {
        let found = match level {
            Level::Exact(host) => self.exact.get(host),
            Level::Below(name) => self.below.get(name),
            Level::Any => Some(&self.any),
        };
        found.map_or(&[], Vec::as_slice)
    }

    /// Everything filed for a host, most specific first.
    pub fn matches<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a T> {
        levels(host).into_iter().flat_map(|level| self.at(level))
    }

    /// Every value with nothing said of its order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.below.values()).flatten().chain(&self.any)
    }
}

/// How closely a pattern fits a host.
#[derive(Debug, Clone, Copy)]
pub enum Level<'a> {
    /// The host itself.
    Exact(&'a Host),
    /// A name it lies below.
    Below(&'a str),
    /// The star alone.
    Any,
}

/// The levels of one host; names have seldom more than seven labels.
pub type Levels<'a> = SmallVec<[Level<'a>; 8]>;

/// The levels at which patterns that permit could fit a host, most specific first.
pub fn levels(host: &Host) -> Levels<'_> {
    let name = match host {
        Host::Name(name) => Some(&**name),
        Host::Address(_) => None,
    };
    let parents = std::iter::successors(name, |name| name.split_once('.').map(|(_, parent)| parent)).skip(1);
    std::iter::once(Level::Exact(host)).chain(parents.map(Level::Below)).chain(name.map(|_| Level::Any)).collect()
}

/// The levels at which patterns that restrict could fit: for them, the star alone is every address too.
pub fn restricting<'a>(levels: &[Level<'a>]) -> impl Iterator<Item = Level<'a>> {
    let is_address = matches!(levels.first(), Some(Level::Exact(Host::Address(_))));
    levels.iter().copied().chain(is_address.then_some(Level::Any))
}

/// A set of methods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Methods {
    /// All but TRACE and CONNECT, which only a list that names them permits.
    Any,
    /// Exactly these. RFC 9110 §9.1: methods are case-sensitive; policy's are folded to upper case when read.
    Only(Vec<Box<str>>),
}

impl Methods {
    /// Reads the methods of one entry; none at all, or `any`, means [`Methods::Any`].
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut only = Vec::new();
        for name in names {
            if name.eq_ignore_ascii_case("any") || name == "*" {
                return Ok(Self::Any);
            }
            token(name.as_bytes()).ok_or_else(|| format!("`{name}` is no method"))?;
            only.push(name.to_ascii_uppercase().into_boxed_str());
        }
        Ok(if only.is_empty() { Self::Any } else { Self::Only(only) })
    }

    /// For lists that permit.
    pub fn permits(&self, method: &str) -> bool {
        match self {
            Self::Any => !["TRACE", "CONNECT"].iter().any(|m| m.eq_ignore_ascii_case(method)),
            Self::Only(names) => names.iter().any(|n| **n == *method),
        }
    }

    /// False only where no method is in both.
    pub fn may_overlap(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::Only(names), methods) | (methods, Self::Only(names)) => names.iter().any(|n| methods.permits(n)),
        }
    }

    /// True if, in a list that permits, it permits every method that the other one does.
    pub fn permits_all_of(&self, other: &Self) -> bool {
        match other {
            Self::Any => *self == Self::Any,
            Self::Only(names) => names.iter().all(|name| self.permits(name)),
        }
    }

    /// True if, in a list that restricts, it restricts every method that the other one does.
    pub fn restricts_all_of(&self, other: &Self) -> bool {
        match other {
            Self::Any => *self == Self::Any,
            Self::Only(names) => names.iter().all(|name| self.restricts(name)),
        }
    }

    /// False only where, in a list that restricts, it restricts no method that the other one permits.
    pub fn may_restrict(&self, permitting: &Self) -> bool {
        let (Self::Only(names), permitted) = (self, permitting) else { return true };
        let listed = if let Self::Only(listed) = permitted { listed.as_slice() } else { &[] };
        let mut methods = names.iter().chain(listed).map(|name| &**name).chain(["HEAD"]);
        methods.any(|method| self.restricts(method) && permitted.permits(method))
    }

    /// For lists that restrict: GET covers HEAD, and an odd spelling (`get`) is the method it resembles.
    pub fn restricts(&self, method: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(names) => {
                let is = |m: &str| names.iter().any(|n| n.eq_ignore_ascii_case(m));
                is(method) || (method.eq_ignore_ascii_case("HEAD") && is("GET"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_patterns_are_read_as_written() {
        for text in [
            "api.example.com",
            "api.example.com:8443",
            "http://api.example.com",
            "http://a.example:8080",
            "*.example.com",
            "*.example.com:8443",
            "*",
            "192.0.2.1",
            "[2001:db8::1]:8443",
        ] {
            assert_eq!(HostPattern::parse(text).map(|p| p.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(HostPattern::parse("API.Example.com.").unwrap().to_string(), "api.example.com");
        for text in [
            "",
            "https://a.example",
            "ftp://a.example",
            "a.example/x",
            "a*.example",
            "a.*.example",
            "*.*.example",
            "*.",
            "*.192.0.2.1",
            "a.example:0",
            "a b",
            "*x",
            "**",
            "http://",
            "*.example.com/x",
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_finds_its_patterns_most_specific_first() {
        let mut table = HostTable::default();
        for text in ["*", "*.com", "a.b.example.com", "*.example.com", "*.b.example.com", "b.example.com", "192.0.2.1"]
        {
            table.insert(&HostPattern::parse(text).unwrap().name, text);
        }
        let find = |host: &str| table.matches(&Host::parse(host).unwrap()).copied().collect::<Vec<_>>();
        assert_eq!(find("a.b.example.com"), ["a.b.example.com", "*.b.example.com", "*.example.com", "*.com", "*"]);
        assert_eq!(find("b.example.com"), ["b.example.com", "*.example.com", "*.com", "*"]);
        assert_eq!(find("example.com"), ["*.com", "*"]);
        assert_eq!(find("192.0.2.1"), ["192.0.2.1"]);
        assert_eq!(find("192.0.2.2"), [""; 0]);
    }

    #[test]
    fn methods_overlap_where_one_is_in_both() {
        let methods = |names: &[&str]| Methods::parse(names.iter().copied()).unwrap();
        for (a, b, meet) in [
            (&["GET"][..], &["GET"][..], true),
            (&["GET"], &["POST", "GET"], true),
            (&["GET"], &["HEAD"], false),
            (&[], &["DELETE"], true),
            (&[], &["TRACE"], false),
            (&[], &[], true),
        ] {
            assert_eq!(methods(a).may_overlap(&methods(b)), meet, "{a:?} {b:?}");
            assert_eq!(methods(b).may_overlap(&methods(a)), meet, "{b:?} {a:?}");
        }
    }

    #[test]
    fn methods_permit_exactly_and_restrict_widely() {
        let get = Methods::parse(["get"]).unwrap();
        assert!(get.permits("GET") && !get.permits("HEAD") && !get.permits("get"));
        assert!(get.restricts("HEAD") && get.restricts("get") && !get.restricts("POST"));
        let any = Methods::parse([]).unwrap();
        assert!(!any.permits("trace") && !any.permits("Connect"), "a server may fold what HTTP does not");
        assert!(any.permits("DELETE") && !any.permits("TRACE") && !any.permits("CONNECT") && any.restricts("TRACE"));
        assert!(Methods::parse(["TRACE"]).unwrap().permits("TRACE"));
        assert!(Methods::parse(["G T"]).is_err());
    }
}
