//! Patterns of hosts, paths and methods, and the table that finds a host's patterns, most specific first.

mod overlap;

use std::collections::HashMap;
use std::fmt;

use crate::pipeline::message::{Authority, Bracketed, Host, Malformed, parse_path, parse_port, percent_byte, token};

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
    /// Every name. Address literals match only a pattern that is that address.
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
        match name {
            NamePattern::Exact(host) => self.exact.entry(host.clone()).or_default().push(value),
            NamePattern::Below(name) => self.below.entry(name.clone()).or_default().push(value),
            NamePattern::Any => self.any.push(value),
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
        levels(host).flat_map(|level| self.at(level))
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

/// The levels at which patterns could fit a host, most specific first.
pub fn levels(host: &Host) -> impl Iterator<Item = Level<'_>> {
    let name = match host {
        Host::Name(name) => Some(&**name),
        Host::Address(_) => None,
    };
    let parents = std::iter::successors(name, |name| name.split_once('.').map(|(_, parent)| parent)).skip(1);
    std::iter::once(Level::Exact(host)).chain(parents.map(Level::Below)).chain(name.map(|_| Level::Any))
}

/// A pattern of paths: `*` is one segment or part of it, a trailing `/*` everything below, `**` anything,
/// `{id}` exactly one segment, and a pattern without any of these that one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    exact: Glob,
    loose: Glob,
    specificity: (bool, usize),
}

/// Why a pattern of paths cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPathPattern {
    /// A path that no request could ever have.
    #[error("{0}, so no request can ever match it")]
    Malformed(#[from] Malformed),
    /// A query or fragment.
    #[error("a pattern of paths has no query or fragment: leave out `{0}`")]
    Query(String),
    /// A brace that does not enclose a whole segment's name.
    #[error("`{{name}}` stands for one whole segment, as in `/users/{{id}}/posts`")]
    Brace,
}

impl PathPattern {
    /// Reads a pattern as policy writes it.
    pub fn parse(text: &str) -> Result<Self, BadPathPattern> {
        if let Some(at) = text.find(['?', '#']) {
            return Err(BadPathPattern::Query(text.get(at..).unwrap_or_default().to_owned()));
        }
        for segment in text.split('/').filter(|s| s.contains(['{', '}'])) {
            let name = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'));
            if name.is_none_or(|n| n.is_empty() || n.contains(['{', '}', '*', ';', '%'])) {
                return Err(BadPathPattern::Brace);
            }
        }
        let normal = parse_path(text)?;
        let exact = Glob::parse(&normal);
        let loose = Glob::parse(&loosened(&normal, true));
        Ok(Self::of(exact, loose))
    }

    /// Reads a pattern of which one without wildcard is a prefix that ends at a segment's end: `/v1/models` is that
    /// path and all below it, not `/v1/models2`.
    pub fn prefix(text: &str) -> Result<Self, BadPathPattern> {
        let Self { exact, loose, .. } = Self::parse(text)?;
        Ok(Self::of(exact.or_below(), loose.or_below()))
    }

    fn of(exact: Glob, loose: Glob) -> Self {
        Self { specificity: (exact.is_literal(), exact.literal_len()), exact, loose }
    }

    /// For lists that permit: the path as it is.
    pub fn permits(&self, path: &str) -> bool {
        self.exact.matches(path)
    }

    /// For lists that restrict: also with case folded, every escape undone, and `;parameters`, blanks at the end of
    /// segments, empty segments and a final slash removed, since some server takes those for the same path.
    pub fn restricts(&self, path: &str) -> bool {
        if self.exact.matches(path) {
            return true;
        }
        let mut path = loosened(path, false);
        // A final slash is there or not: `/a` is where `/a/**` begins.
        self.loose.matches(&path)
            || (path != "/" && {
                path.push('/');
                self.loose.matches(&path)
            })
    }

    /// Orders patterns: exact before wildcard, more literal text before less.
    pub fn specificity(&self) -> (bool, usize) {
        self.specificity
    }

    /// False only where no path can match both.
    pub fn may_overlap(&self, other: &Self) -> bool {
        let (a, b) = (self.exact.literal_prefix(), other.exact.literal_prefix());
        match (self.exact.is_literal(), other.exact.is_literal()) {
            (true, true) => a == b,
            // Most pairs part here, at no cost.
            _ => (a.starts_with(b) || b.starts_with(a)) && overlap::overlap(&self.exact.0, &other.exact.0),
        }
    }
}

/// The spelling in which restricting patterns and paths meet. The signs that patterns give a meaning stay, or are
/// put, in escapes, so that neither a path nor an escape in a pattern can be taken for a wildcard.
fn loosened(path: &str, is_pattern: bool) -> String {
    let mut text = String::with_capacity(path.len());
    // `%2561` is `%61` to a server that decodes twice; deeper ones are malformed.
    for segment in unescaped(&unescaped(path)).split('/') {
        let segment = segment.split(';').next().unwrap_or_default().trim_end_matches(' ');
        if segment.is_empty() {
            continue;
        }
        text.push('/');
        for c in segment.chars() {
            match c {
                '*' if !is_pattern => text.push_str("%2a"),
                '{' if !is_pattern => text.push_str("%7b"),
                '}' if !is_pattern => text.push_str("%7d"),
                c => text.push(c.to_ascii_lowercase()),
            }
        }
    }
    if text.is_empty() {
        text.push('/');
    }
    text
}

/// One layer of escapes undone, but for bytes that are not printable and signs that patterns give a meaning.
fn unescaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let next = after.get(2..).unwrap_or_default();
        rest = match percent_byte(after) {
            Some(b'%') if percent_byte(next).is_none() => {
                out.push_str("%25");
                next
            }
            Some(byte @ 0x20..0x7f) if !matches!(byte, b'/' | b'\\' | b'*' | b'{' | b'}') => {
                out.push(char::from(byte));
                next
            }
            _ => {
                out.push('%');
                after
            }
        };
    }
    out.push_str(rest);
    out
}

/// A pattern as its pieces. Matching follows every possibility at once, so its cost is bounded by the product of
/// the two lengths, whatever the pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Glob(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    /// Any run without a slash, possibly empty.
    WithinSegment,
    /// One whole segment, not empty.
    Segment,
    /// Anything, possibly empty.
    Anything,
    /// Anything of at least one byte.
    Something,
    /// Nothing, or a slash and anything; only at the end.
    Below,
}

impl Glob {
    fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let (piece, len) = if rest == "*" && literal.ends_with('/') {
                (Piece::Something, 1)
            } else if rest.starts_with("**") {
                (Piece::Anything, 2)
            } else if c == '*' {
                (Piece::WithinSegment, 1)
            } else if let Some(end) = rest.strip_prefix('{').and_then(|r| r.find('}')) {
                (Piece::Segment, end + 2)
            } else {
                literal.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
                continue;
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
            }
            pieces.push(piece);
            rest = rest.get(len..).unwrap_or_default();
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        Self(pieces)
    }

    fn matches(&self, path: &str) -> bool {
        match self.0.as_slice() {
            [] => path.is_empty(),
            [Piece::Literal(literal)] => **literal == *path,
            [Piece::Literal(prefix), Piece::Something] => path.len() > prefix.len() && path.starts_with(&**prefix),
            [Piece::Literal(prefix), Piece::Anything] => path.starts_with(&**prefix),
            [Piece::Literal(prefix), Piece::Below] => {
                path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            pieces => follow(pieces, path),
        }
    }

    fn is_literal(&self) -> bool {
        matches!(self.0.as_slice(), [] | [Piece::Literal(_)])
    }

    /// The same for what lies below it too, if it is one path.
    fn or_below(mut self) -> Self {
        if self.is_literal() {
            // Below `/v1/` is what begins with it.
            let at_slash = matches!(self.0.last(), Some(Piece::Literal(path)) if path.ends_with('/'));
            self.0.push(if at_slash { Piece::Anything } else { Piece::Below });
        }
        self
    }

    fn literal_prefix(&self) -> &str {
        match self.0.first() {
            Some(Piece::Literal(literal)) => literal,
            _ => "",
        }
    }

    fn literal_len(&self) -> usize {
        self.0.iter().map(|p| if let Piece::Literal(l) = p { l.len() } else { 0 }).sum()
    }
}

/// Keeps the set of offsets that the pieces so far can have reached.
fn follow(pieces: &[Piece], path: &str) -> bool {
    let bytes = path.as_bytes();
    let mut reached = vec![false; bytes.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for piece in pieces {
        reached = advance(piece, bytes, &reached);
    }
    reached.last().copied().unwrap_or(false)
}

/// The offsets that one more piece reaches, in one pass over the path.
fn advance(piece: &Piece, bytes: &[u8], reached: &[bool]) -> Vec<bool> {
    let mut next = vec![false; reached.len()];
    match piece {
        Piece::Literal(literal) => {
            for (start, _) in reached.iter().enumerate().filter(|(_, r)| **r) {
                let here = bytes.get(start..).is_some_and(|rest| rest.starts_with(literal.as_bytes()));
                if let Some(end) = next.get_mut(start + literal.len()).filter(|_| here) {
                    *end = true;
                }
            }
        }
        Piece::Anything | Piece::Something => {
            let least = usize::from(*piece == Piece::Something);
            if let Some(first) = reached.iter().position(|r| *r) {
                next.iter_mut().skip(first + least).for_each(|end| *end = true);
            }
        }
        Piece::Below => {
            let ends = |(at, reached): (usize, &bool)| *reached && matches!(bytes.get(at), None | Some(b'/'));
            if let Some(end) = next.last_mut() {
                *end = reached.iter().enumerate().any(ends);
            }
        }
        Piece::WithinSegment => {
            let mut inside = false;
            let mut before = None;
            for (at, end) in next.iter_mut().enumerate() {
                inside = reached.get(at) == Some(&true) || (inside && before != Some(b'/'));
                *end = inside;
                before = bytes.get(at).copied();
            }
        }
        Piece::Segment => {
            let mut inside = false;
            let mut before = Some(b'/');
            for (at, end) in next.iter_mut().enumerate() {
                match bytes.get(at).copied() {
                    None | Some(b'/') => *end = std::mem::take(&mut inside),
                    Some(_) => inside |= reached.get(at) == Some(&true) && before == Some(b'/'),
                }
                before = bytes.get(at).copied();
            }
        }
    }
    next
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
    use proptest::prelude::*;

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
    fn paths_that_permit_match_exactly() {
        for (pattern, path, expected) in [
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a", "/A", false),
            ("/a/", "/a/", true),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/c", true),
            ("/a/*", "/a/", false),
            ("/a/*", "/a", false),
            ("/a/*", "/ab", false),
            ("/a*", "/abc", true),
            ("/a*", "/a/b", false),
            ("/a*", "/a", true),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/b/b/c", false),
            ("/a/*/c", "/a//c", true),
            ("/a/*.json", "/a/x.json", true),
            ("/a/*.json", "/a/x/y.json", false),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/a", false),
            ("/**/z", "/a/b/z", true),
            ("/**", "/", true),
            ("/u/{id}", "/u/1", true),
            ("/u/{id}", "/u/1/2", false),
            ("/u/{id}", "/u/", false),
            ("/u/{id}/p", "/u/1/p", true),
            ("/a%20b", "/a%20b", true),
            ("/%61", "/a", true),
            ("/", "/", true),
            ("/*", "/", false),
            ("/*", "/x", true),
        ] {
            assert_eq!(PathPattern::parse(pattern).unwrap().permits(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn paths_that_restrict_match_what_a_lenient_server_would() {
        let restricted = PathPattern::parse("/v1/Users/*").unwrap();
        for path in
            ["/v1/Users/1", "/V1/users/1", "/v1/users/1/", "/v1;x/users;y/1;z", "/v1/users/1%20", "/v1/users/1%20/%09"]
        {
            assert!(restricted.restricts(path), "{path}");
        }
        assert!(!restricted.restricts("/v1/orders/1"));
        let restricted = PathPattern::parse("/admin").unwrap();
        for path in ["/admin", "/ADMIN/", "/admin;a=b", "/admin%20"] {
            assert!(restricted.restricts(path), "{path}");
        }
        assert!(!restricted.restricts("/admin/x") && !restricted.restricts("/adminx"));
        assert!(PathPattern::parse("/admin/").unwrap().restricts("/admin"));
        assert!(PathPattern::parse("/").unwrap().restricts("/"));
        let below = PathPattern::parse("/a/**").unwrap();
        for path in ["/a/", "/A/", "/a", "/A;x", "/a%20/"] {
            assert!(below.restricts(path), "{path}");
        }
        assert!(!below.restricts("/ab") && !PathPattern::parse("/a/*").unwrap().restricts("/a"));
        assert!(!PathPattern::parse("/*").unwrap().restricts("/") && PathPattern::parse("/**").unwrap().restricts("/"));
        let nested = PathPattern::parse("/api/admin").unwrap();
        for path in ["/;/api/admin", "/api/;x/admin", "/api/%20/admin", "/api%20/admin", "/api/;x;y/admin%3Bz"] {
            assert!(nested.restricts(path), "{path}");
        }
        let verb = PathPattern::parse("/v1/*:cancel").unwrap();
        for path in ["/v1/7:cancel", "/v1/7%3Acancel", "/v1/7%3acanc%65l", "/v1/7:c%2561ncel"] {
            assert!(verb.restricts(path), "{path}");
        }
        assert!(PathPattern::parse("/a%2Cb").unwrap().restricts("/a,b"));
        assert!(PathPattern::parse("/a%2Ab").unwrap().restricts("/a*b"));
        assert!(!PathPattern::parse("/a%2Ab").unwrap().restricts("/axb"));
    }

    #[test]
    fn impossible_path_patterns_are_errors() {
        for text in
            ["", "a", "/a?b", "/a#b", "/a/../b", "/a//b", "/a%2fb", "/u/{id", "/u/x{id}", "/u/{}", "/u/{*}", "/ü"]
        {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        for (pattern, path, matches) in [
            ("/v1/models", "/v1/models", true),
            ("/v1/models", "/v1/models/", true),
            ("/v1/models", "/v1/models/gpt/x", true),
            ("/v1/models", "/v1/models2", false),
            ("/v1/models", "/v1/models;x", false),
            ("/v1/models", "/V1/models", false),
            ("/v1/models", "/v1", false),
            ("/v1/", "/v1/models", true),
            ("/v1/", "/v1/", true),
            ("/v1/", "/v1", false),
            ("/", "/anything", true),
            ("/repos/*", "/repos/a/b", true),
            ("/repos/*", "/repos", false),
            ("/repos/{owner}", "/repos/a", true),
            ("/repos/{owner}", "/repos/a/b", false),
            ("/**/end", "/a/end/x", false),
        ] {
            assert_eq!(PathPattern::prefix(pattern).unwrap().permits(path), matches, "{pattern} {path}");
        }
        assert!(PathPattern::prefix("/a").unwrap().restricts("/A;x/b"));
        assert!(PathPattern::prefix("a").is_err());
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

    /// Agents choose paths of up to 64 KiB: with a cost in the square of that, one request would hold a worker for minutes.
    #[test]
    fn the_cost_of_a_match_is_linear_in_the_path() {
        let path = "/a".repeat(32 * 1024);
        let pattern = PathPattern::parse(&"/**/a*".repeat(16)).unwrap();
        assert!(pattern.permits(&path));
        assert!(!PathPattern::parse(&format!("{}/z", "/**/a*".repeat(16))).unwrap().restricts(&path));
    }

    proptest! {
        /// The matcher against a regular expression of the same meaning.
        #[test]
        fn globs_mean_what_the_regex_means(pattern in "(/(a|b|\\*|\\*\\*|\\{i\\}|a\\*|\\*b)){1,4}", path in "(/(a|b|ab|aab)?){1,5}") {
            let mut regex = String::from("^");
            let mut rest = pattern.as_str();
            while let Some(c) = rest.chars().next() {
                let (piece, len) = match rest {
                    "*" if regex.ends_with('/') => (".+".to_owned(), 1),
                    _ if rest.starts_with("**") => (".*".to_owned(), 2),
                    _ if c == '*' => ("[^/]*".to_owned(), 1),
                    _ if c == '{' => ("[^/]+".to_owned(), 3),
                    _ => (c.to_string(), 1),
                };
                regex.push_str(&piece);
                rest = &rest[len..];
            }
            regex.push('$');
            let expected = regex::Regex::new(&regex).unwrap().is_match(&path);
            prop_assert_eq!(Glob::parse(&pattern).matches(&path), expected, "{} as {} on {}", pattern, regex, path);
        }

        #[test]
        fn what_permits_also_restricts(pattern in "(/(a|B|\\*|\\*\\*|\\{i\\})){1,4}", path in "(/(a|B|aB)?){1,5}") {
            let pattern = PathPattern::parse(&pattern).unwrap();
            prop_assert!(!pattern.permits(&path) || pattern.restricts(&path));
        }
    }
}
