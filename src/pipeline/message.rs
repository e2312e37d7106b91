//! What an agent asked for, parsed once from what Envoy saw, or refused as [`Malformed`].
//!
//! Everything later in the flow compares these types, never raw text, so one reading of a request is the
//! only one. The rules are POLICY's sections *Hosts, ports, schemes* and *Paths and methods*.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

/// Longest host name that DNS can carry, in bytes (RFC 1035 §3.1, without the final dot).
const MAX_NAME: usize = 253;
/// Longest label of a name, in bytes (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// Which of the bootstrap's connection managers a request came through.
///
/// Envoy says so in the ext_proc stream's own metadata; nothing an agent sends can change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The proxy listener itself: CONNECT, absolute-form and `Host:`-style requests.
    Proxy,
    /// TLS that Envoy terminated inside a CONNECT tunnel.
    Tls,
    /// Plain HTTP inside a CONNECT tunnel.
    Plain,
}

/// The head of one request.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// Where it entered.
    pub door: Door,
    /// The method as sent; an RFC 9110 token.
    pub method: Box<str>,
    /// The host and port it is for.
    pub authority: Authority,
    /// The path without its query, as it will go out. Empty for CONNECT.
    pub path: Box<str>,
    /// The query without `?`, if the target has one.
    pub query: Option<Box<str>>,
    /// True if the agent said `https` itself, as in `GET https://host/` to the proxy: then never in plaintext.
    pub says_https: bool,
    /// The other header fields, in order.
    pub fields: Fields,
}

impl RequestHead {
    /// Reads a head from the fields Envoy sent, pseudo-headers included. Gives the fields back where it cannot,
    /// so that the refused request can be put on record as far as it can be read.
    pub fn parse(door: Door, fields: Fields) -> Result<Self, (Malformed, Fields)> {
        match Target::parse(&fields) {
            Ok(Target { method, authority, path, query }) => {
                let says_https = fields.get(":scheme") == Some(b"https");
                Ok(Self { door, method, authority, path, query, says_https, fields })
            }
            Err(malformed) => Err((malformed, fields)),
        }
    }

    /// True for a request that opens a tunnel.
    pub fn is_connect(&self) -> bool {
        &*self.method == "CONNECT"
    }

    /// Every protocol the request asks to switch to, lower-cased: each is one an upstream may pick (RFC 9110 §7.8).
    /// Envoy shows HTTP/2's extended CONNECT as `Upgrade` too; `:protocol` is read in case it one day does not.
    pub fn upgrades(&self) -> impl Iterator<Item = String> {
        let values = self.fields.all("upgrade").chain(self.fields.all(":protocol"));
        values.flat_map(|v| v.split(|b| *b == b',')).map(|p| String::from_utf8_lossy(p).trim().to_ascii_lowercase())
    }
}

/// What the pseudo-header fields say.
struct Target {
    method: Box<str>,
    authority: Authority,
    path: Box<str>,
    query: Option<Box<str>>,
}

impl Target {
    fn parse(fields: &Fields) -> Result<Self, Malformed> {
        let method = fields.single(":method")?.ok_or(Malformed::Method)?;
        let method: Box<str> = token(method).ok_or(Malformed::Method)?.into();
        let authority = fields.single(":authority")?.ok_or(Malformed::MissingAuthority)?;
        let authority = Authority::parse(authority)?;
        if let Some(host) = fields.single("host")?
            && Authority::parse(host)? != authority
        {
            return Err(Malformed::TwoAuthorities);
        }
        let (path, query) = match fields.single(":path")? {
            _ if &*method == "CONNECT" => (Box::from(""), None),
            Some(target) => split_target(target)?,
            None => return Err(Malformed::Path("is missing")),
        };
        Ok(Self { method, authority, path, query })
    }
}

/// Header fields in the order they came; names are lower-case, as Envoy keeps them. They stand one behind the other, so
/// that a request has a few allocations for all of them and not two for each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields {
    names: String,
    values: Vec<u8>,
    /// Where the name and the value of each end.
    ends: Vec<(usize, usize)>,
}

impl Fields {
    /// Takes fields whose names are already lower-case.
    pub fn new(fields: Vec<(String, Vec<u8>)>) -> Self {
        fields.iter().fold(Self::default(), |mut all, (name, value)| {
            all.push(name, value);
            all
        })
    }

    /// Room for so many fields, whose names and values have so many bytes together.
    pub fn with_capacity(fields: usize, bytes: usize) -> Self {
        Self {
            names: String::with_capacity(bytes / 2),
            values: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(fields),
        }
    }

    /// Appends a field whose name is already lower-case.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.names.push_str(name);
        self.values.extend_from_slice(value);
        self.ends.push((self.names.len(), self.values.len()));
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The first value of a field.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// Every value of a field. A request is asked for many: most fields are told apart by how long their name is.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let mut start = (0, 0);
        self.ends.iter().filter_map(move |end| {
            let from = std::mem::replace(&mut start, *end);
            let is_it =
                end.0 - from.0 == name.len() && self.names.as_bytes().get(from.0..end.0) == Some(name.as_bytes());
            if is_it { self.values.get(from.1..end.1) } else { None }
        })
    }

    /// Every field.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut start = (0, 0);
        self.ends.iter().map(move |end| {
            let from = std::mem::replace(&mut start, *end);
            let (name, value) = (self.names.get(from.0..end.0), self.values.get(from.1..end.1));
            (name.unwrap_or_default(), value.unwrap_or_default())
        })
    }

    /// The value of a field that may stand once.
    fn single<'a>(&'a self, name: &'static str) -> Result<Option<&'a [u8]>, Malformed> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(Malformed::Repeated(name));
        }
        Ok(first)
    }
}

/// A host with the port that was written beside it, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The host, in its one normal form.
    pub host: Host,
    /// The port as written; the scheme's default is for the reader to fill in.
    pub port: Option<u16>,
}

impl Authority {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`. User information is refused.
    pub fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(text).map_err(|_| Malformed::Host("is not UTF-8"))?;
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inside, after) = rest.split_once(']').ok_or(Malformed::Host("has no closing bracket"))?;
                let port = match after {
                    "" => None,
                    _ => Some(after.strip_prefix(':').ok_or(Malformed::Host("has text after the bracket"))?),
                };
                (Host::parse_v6(inside)?, port)
            }
            None => match text.split_once(':') {
                Some((host, port)) => (Host::parse(host)?, Some(port)),
                None => (Host::parse(text)?, None),
            },
        };
        Ok(Self { host, port: port.map(parse_port).transpose()? })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", Bracketed(&self.host)),
            None => Bracketed(&self.host).fmt(f),
        }
    }
}

/// A host as the authority of a URL writes it: IPv6 in brackets.
pub struct Bracketed<'a>(pub &'a Host);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Host::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
            host => host.fmt(f),
        }
    }
}

/// A host name or an address literal, in its one normal form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// Lower-case, A-labels, no final dot.
    Name(Box<str>),
    /// A dotted quad, or IPv6 as RFC 5952 writes it.
    Address(IpAddr),
}

impl Host {
    /// Reads a host without brackets. One final dot is dropped and case folded; U-labels become A-labels.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(Malformed::Host("is empty"));
        }
        let name = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(text).map_err(|_| Malformed::Host("is no international name"))?
        };
        if name.len() > MAX_NAME {
            return Err(Malformed::Host("is longer than 253 bytes"));
        }
        // What an upstream's resolver might read as an address must be one, written in the one way that
        // everyone reads alike: `127.1`, `0x7f.1`, `2130706433` and `0177.0.0.1` are all loopback to somebody.
        let last = name.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") {
            let address: Ipv4Addr = name.parse().map_err(|_| Malformed::Host("is an address in an odd notation"))?;
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        if name.split('.').all(valid_label) {
            Ok(Self::Name(name.into_boxed_str()))
        } else {
            Err(Malformed::Host("has an empty or invalid label"))
        }
    }

    fn parse_v6(text: &str) -> Result<Self, Malformed> {
        let address: Ipv6Addr = text.parse().map_err(|_| Malformed::Host("is no IPv6 address"))?;
        if address.to_string() != text.to_ascii_lowercase() {
            return Err(Malformed::Host("is an IPv6 address not written as RFC 5952 says"));
        }
        Ok(Self::Address(IpAddr::V6(address)))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Letters, digits, hyphens inside, and underscores: not of RFC 1123, but of names people call every day.
fn valid_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= MAX_LABEL
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Reads a decimal port from 1 to 65535, without sign, blank or leading zero.
pub fn parse_port(text: &str) -> Result<u16, Malformed> {
    let digits = !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && !text.starts_with('0') => Ok(port),
        _ => Err(Malformed::Port),
    }
}

/// Splits an origin-form target and refuses what two readers could read in two ways.
fn split_target(target: &[u8]) -> Result<(Box<str>, Option<Box<str>>), Malformed> {
    if !target.iter().all(u8::is_ascii_graphic) {
        return Err(Malformed::Path("has a blank, control or non-ASCII byte"));
    }
    let target = std::str::from_utf8(target).map_err(|_| Malformed::Path("is not UTF-8"))?;
    if target.contains('#') {
        return Err(Malformed::Path("has a fragment"));
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    Ok((parse_path(path)?, query.map(Box::from)))
}

/// A path's one spelling, or why an upstream might read it differently from us (POLICY, *Paths and methods*).
pub fn parse_path(path: &str) -> Result<Box<str>, Malformed> {
    check_encoding(path)?;
    let path = normal_path(path);
    // An escape that is undone can complete another: `%252%66` is `%252f` by now, a slash to a server that decodes twice.
    if path.contains('%') {
        check_encoding(&path)?;
    }
    // Only what starts with a dot can be one without what follows it; few segments do.
    let is_dots = |segment: &str| segment.starts_with('.') && matches!(bare_segment(segment), "." | "..");
    if path.contains("//") || path.split('/').any(is_dots) {
        return Err(Malformed::Path("has an empty or dot segment"));
    }
    Ok(path)
}

fn check_encoding(path: &str) -> Result<(), Malformed> {
    if !path.starts_with('/') {
        return Err(Malformed::Path("does not start with `/`"));
    }
    if path.contains('\\') {
        return Err(Malformed::Path("has a backslash"));
    }
    if !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Malformed::Path("has a blank, control or non-ASCII byte that is not percent-encoded"));
    }
    let mut rest = path;
    while let Some((_, after)) = rest.split_once('%') {
        let byte = percent_byte(after).ok_or(Malformed::Path("has an invalid percent-encoding"))?;
        rest = after.get(2..).unwrap_or_default();
        match byte {
            b'/' | b'\\' => return Err(Malformed::Path("has an encoded slash or backslash")),
            0..=0x1f | 0x7f => return Err(Malformed::Path("has an encoded control byte")),
            b'%' if percent_byte(rest).is_some_and(reserved) => {
                return Err(Malformed::Path("has a doubly encoded reserved byte"));
            }
            // RFC 3629 §3: `%C0%AF` is no UTF-8, but a lax decoder reads a slash.
            _ if is_overlong(byte, rest.strip_prefix('%').and_then(percent_byte)) => {
                return Err(Malformed::Path("has an overlong UTF-8 sequence"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Some servers drop `;parameters` and blanks at the end before they resolve dot segments, some undo the escapes and
/// read the result again: `/..;/admin` and `/..%3F/admin` are theirs to climb with.
fn bare_segment(segment: &str) -> &str {
    let ends = [";", "%3B", "%3F", "%23"].iter().filter_map(|end| segment.find(end));
    let length = ends.min().unwrap_or(segment.len());
    segment.get(..length).unwrap_or_default().trim_end_matches("%20")
}

/// True if two bytes begin a UTF-8 sequence that is longer than its character needs.
fn is_overlong(first: u8, second: Option<u8>) -> bool {
    matches!((first, second), (0xc0 | 0xc1, Some(0x80..=0xbf)) | (0xe0, Some(0x80..=0x9f)) | (0xf0, Some(0x80..=0x8f)))
}

/// The equivalent spelling that matching compares: unreserved bytes decoded, escapes in upper case (RFC 3986 §6.2.2).
fn normal_path(path: &str) -> Box<str> {
    if !path.contains('%') {
        return path.into();
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        match percent_byte(after) {
            Some(byte) => {
                if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                    out.push(char::from(byte));
                } else {
                    out.push_str(&format!("%{byte:02X}"));
                }
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out.into()
}

/// The byte that the two characters after a `%` stand for.
pub(super) fn percent_byte(after: &str) -> Option<u8> {
    let digits = after.get(..2)?;
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

/// A name or value of a query as servers read it: percent-encoding and `+` undone.
pub fn decoded(key: &str) -> SmallVec<[u8; 64]> {
    let mut out = SmallVec::with_capacity(key.len());
    let mut rest = key;
    while let Some(at) = rest.find(['%', '+']) {
        let (before, sign) = rest.split_at(at);
        out.extend_from_slice(before.as_bytes());
        let after = sign.get(1..).unwrap_or_default();
        rest = match percent_byte(after).filter(|_| sign.starts_with('%')) {
            Some(byte) => {
                out.push(byte);
                after.get(2..).unwrap_or_default()
            }
            None => {
                out.push(if sign.starts_with('+') { b' ' } else { b'%' });
                after
            }
        };
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// Bytes whose meaning changes when one more layer of encoding is taken off.
fn reserved(byte: u8) -> bool {
    !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b' ' | 0x80..))
}

/// A method of IANA's registry; none for any other, which is text of the sender's own.
pub fn registered_method(method: &str) -> Option<&'static str> {
    REGISTERED.into_iter().find(|registered| *registered == method)
}

/// IANA's *HTTP Method Registry*, but for `*`, which stands for no method there. Those that are met most come first.
const REGISTERED: [&str; 40] = [
    "GET",
    "POST",
    "CONNECT",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "TRACE",
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PRI",
    "PROPFIND",
    "PROPPATCH",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// Reads an RFC 9110 token (§5.6.2).
pub fn token(text: &[u8]) -> Option<&str> {
    let valid = !text.is_empty() && text.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b));
    std::str::from_utf8(text).ok().filter(|_| valid)
}

/// Why a request cannot be read in exactly one way. Always answered 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The method is missing or no token.
    #[error("the method is missing or no token")]
    Method,
    /// There is neither `:authority` nor `Host`.
    #[error("the request names no host")]
    MissingAuthority,
    /// `Host` and `:authority` differ.
    #[error("`Host` and `:authority` differ")]
    TwoAuthorities,
    /// A field that may stand once stands twice.
    #[error("`{0}` stands more than once")]
    Repeated(&'static str),
    /// The host is not one we and every upstream read alike.
    #[error("the host {0}")]
    Host(&'static str),
    /// The port is no number from 1 to 65535.
    #[error("the port is no number from 1 to 65535")]
    Port,
    /// The path is not one we and every upstream read alike.
    #[error("the path {0}")]
    Path(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Result<String, Malformed> {
        Authority::parse(text.as_bytes()).map(|a| a.to_string())
    }

    #[test]
    fn authorities_have_one_normal_form() {
        for (text, normal) in [
            ("api.example.com", "api.example.com"),
            ("API.Example.COM.", "api.example.com"),
            ("api.example.com:8443", "api.example.com:8443"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("[2001:DB8::1]:443", "[2001:db8::1]:443"),
            ("my_bucket.s3.example", "my_bucket.s3.example"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(host(text).as_deref(), Ok(normal), "{text}");
        }
    }

    #[test]
    fn authorities_that_two_readers_read_differently_are_malformed() {
        for text in [
            "",
            ".",
            "a..b",
            "-a.example",
            "a-.example",
            "a b",
            "a,b",
            "user@a.example",
            "a.example:",
            "a.example:0",
            "a.example:65536",
            "a.example:080",
            "a.example:+80",
            "127.1",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "2130706433",
            "1.2.3.4.5",
            "1.2.3",
            "a.0x1",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:7f00:1]",
            "[fe80::1%25eth0]",
            "::1",
            "a.example..",
            "a/b",
            "a.example:80:80",
            "[1.2.3.4]",
            "a%2eb",
        ] {
            assert!(host(text).is_err(), "`{text}` was read as {:?}", host(text));
        }
        assert!(host(&format!("{}.example", "a".repeat(64))).is_err());
        assert!(host(&format!("{}.example", "a.".repeat(130))).is_err());
    }

    #[test]
    fn ambiguous_paths_are_malformed() {
        for path in [
            "",
            "a",
            "*",
            "/a\\b",
            "/a//b",
            "/a/../b",
            "/a/./b",
            "/..;/b",
            "/a/..;x=1/b",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%00b",
            "/a%0ab",
            "/a%7f",
            "/a%252fb",
            "/a%252%66b",
            "/a%251%61b",
            "/a%25%32%66b",
            "/a%252e",
            "/a%zz",
            "/a%",
            "/a%2",
            "/a%253b",
            "/%2e%2e/a",
            "/a/..%3bx/b",
            "/a/..%20/b",
            "/a/.;%20/b",
            "/a/..%3F/b",
            "/a/..%23x/b",
            "/a%c0%afb",
            "/a/%C0%AE%C0%AE/b",
            "/a%e0%80%afb",
            "/a%f0%80%80%afb",
        ] {
            assert!(parse_path(path).is_err(), "{path}");
        }
        for path in [
            "/",
            "/a",
            "/a/",
            "/a%20b",
            "/a;v=1",
            "/a...",
            "/.well-known",
            "/a%2520b",
            "/%E2%82%AC",
            "/a:b@c",
            "/a/...;x",
            "/%C3%80%E0%A0%80%F0%90%80%80",
        ] {
            assert!(parse_path(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn equivalent_paths_have_one_spelling() {
        assert_eq!(&*normal_path("/%61%2Db%e2%82%ac%3b"), "/a-b%E2%82%AC%3B");
        assert_eq!(&*normal_path("/plain"), "/plain");
    }

    #[test]
    fn every_way_to_ask_for_another_protocol_is_seen() {
        let own = [(":method", "GET"), (":authority", "a.example"), (":path", "/")];
        for (asked, seen) in [
            (vec![], vec![]),
            (vec![("connection", "upgrade")], vec![]),
            (vec![("upgrade", "WebSocket")], vec!["websocket"]),
            (vec![("upgrade", "websocket, h2c")], vec!["websocket", "h2c"]),
            (vec![("upgrade", "websocket"), ("upgrade", "h2c")], vec!["websocket", "h2c"]),
            (vec![("upgrade", "")], vec![""]),
            (vec![(":protocol", "connect-udp")], vec!["connect-udp"]),
        ] {
            let fields: Vec<_> = own.iter().copied().chain(asked.iter().copied()).collect();
            assert_eq!(head(&fields).unwrap().upgrades().collect::<Vec<_>>(), seen, "{asked:?}");
        }
    }

    fn head(fields: &[(&str, &str)]) -> Result<RequestHead, Malformed> {
        let fields = fields.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        RequestHead::parse(Door::Tls, Fields::new(fields)).map_err(|(malformed, _)| malformed)
    }

    #[test]
    fn a_head_is_read_whole_or_not_at_all() {
        let good = [(":method", "GET"), (":authority", "a.example"), (":path", "/x?y=1")];
        let read = head(&good).unwrap();
        assert_eq!((&*read.path, read.query.as_deref()), ("/x", Some("y=1")));
        for (extra, why) in [
            ((":authority", "b.example"), Malformed::Repeated(":authority")),
            (("host", "b.example"), Malformed::TwoAuthorities),
            ((":path", "/z"), Malformed::Repeated(":path")),
        ] {
            let fields: Vec<_> = good.iter().copied().chain([extra]).collect();
            assert_eq!(head(&fields).unwrap_err(), why);
        }
        assert!(head(&[(":method", "GET"), (":authority", "a.example")]).is_err());
        assert!(head(&[(":method", "G T"), (":authority", "a.example"), (":path", "/")]).is_err());
        assert!(head(&[(":method", "GET"), (":authority", "a.example"), (":path", "/caf\u{e9}")]).is_err());
    }
}
