//! `--resolve HOST:PORT:ADDR[:PORT][,…]`: addresses the operator states outright, as curl writes them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use super::Answer;

/// One `--resolve`. Its addresses are used as they are: DNS is not asked and no class of address is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// The normalised A-label name, or an IP literal.
    pub host: String,
    /// The port the agent asks for.
    pub port: u16,
    /// Where to connect, in order. An address without a port of its own has the one above.
    pub addresses: Vec<SocketAddr>,
}

impl FromStr for Stated {
    type Err = StatedError;

    fn from_str(text: &str) -> Result<Stated, StatedError> {
        let shape = || StatedError::Shape(text.to_owned());
        if text.starts_with(['+', '-']) {
            return Err(StatedError::Sign(text.to_owned()));
        }
        let (host, rest) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:"),
            None => text.split_once(':'),
        }
        .ok_or_else(shape)?;
        let host = match text.starts_with('[') {
            true => host.parse::<Ipv6Addr>().map_err(|_| StatedError::Host(host.to_owned()))?.to_string(),
            false => normalised(host)?,
        };
        let (port, addresses) = rest.split_once(':').ok_or_else(shape)?;
        let port = parse_port(port)?;
        let addresses = addresses.split(',').map(|address| parse_address(address, port));
        Ok(Stated { host, port, addresses: addresses.collect::<Result<_, _>>()? })
    }
}

impl std::fmt::Display for Stated {
    /// As `--resolve` reads it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}:", self.host, self.port)?,
            false => write!(f, "{}:{}:", self.host, self.port)?,
        }
        for (place, address) in self.addresses.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            address.fmt(f)?;
        }
        Ok(())
    }
}

/// Why a `--resolve` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StatedError {
    /// Not in the form at all.
    #[error(
        "`{0}` is not HOST:PORT:ADDR; write for example `api.example.com:443:192.0.2.7` or `api.example.com:443:[2001:db8::7]:8443`"
    )]
    Shape(String),
    /// curl's `+` and `-`, which change its cache.
    #[error("`{0}`: a leading `+` or `-` means nothing here; write HOST:PORT:ADDR")]
    Sign(String),
    /// The host is not a name.
    #[error("`{0}` is not a host name; wildcards are not taken here, name each host")]
    Host(String),
    /// A port out of range.
    #[error("`{0}` is not a port; write a number from 1 to 65535")]
    Port(String),
    /// An address that does not parse.
    #[error(
        "`{0}` is not an address; write IPv4 as `192.0.2.7` and IPv6 in brackets as `[2001:db8::7]`, each with `:PORT` if it differs"
    )]
    Address(String),
    /// The same host and port in two options.
    #[error("`{0}` is stated more than once; put all its addresses into one, separated by commas")]
    Twice(String),
}

/// Answers by host and port.
pub(super) type Authorities = HashMap<Box<str>, HashMap<u16, Arc<Answer>>>;

pub(super) fn by_authority(stated: &[Stated]) -> Result<Authorities, StatedError> {
    let mut authorities = Authorities::new();
    for one in stated {
        let answer = Answer {
            addresses: one.addresses.iter().map(SocketAddr::ip).collect(),
            stated_by_operator: Some(one.addresses.clone()),
            expires: None,
        };
        let ports = authorities.entry(Box::from(one.host.as_str())).or_default();
        if ports.insert(one.port, Arc::new(answer)).is_some() {
            return Err(StatedError::Twice(format!("{}:{}", one.host, one.port)));
        }
    }
    Ok(authorities)
}

fn normalised(host: &str) -> Result<String, StatedError> {
    let invalid = || StatedError::Host(host.to_owned());
    if let Ok(literal) = host.parse::<IpAddr>() {
        return Ok(literal.to_string());
    }
    let name = idna::domain_to_ascii(host.strip_suffix('.').unwrap_or(host)).map_err(|_| invalid())?;
    super::absolute(&name).map_err(|_| invalid())?;
    Ok(name)
}

fn parse_port(text: &str) -> Result<u16, StatedError> {
    // `parse` would take `+443`.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(StatedError::Port(text.to_owned())),
    }
}

fn parse_address(text: &str, port: u16) -> Result<SocketAddr, StatedError> {
    let invalid = || StatedError::Address(text.to_owned());
    let (address, own_port): (IpAddr, Option<&str>) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or_else(invalid)?;
            let own_port = match after {
                "" => None,
                _ => Some(after.strip_prefix(':').ok_or_else(invalid)?),
            };
            (IpAddr::V6(address.parse().map_err(|_| invalid())?), own_port)
        }
        None => {
            let (address, own_port) = match text.split_once(':') {
                Some((address, own_port)) => (address, Some(own_port)),
                None => (text, None),
            };
            (IpAddr::V4(address.parse().map_err(|_| invalid())?), own_port)
        }
    };
    let port = own_port.map_or(Ok(port), |own_port| parse_port(own_port).map_err(|_| invalid()))?;
    Ok(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_write_is_understood() {
        let table = [
            ("api.example.com:443:192.0.2.7", "api.example.com", 443, vec!["192.0.2.7:443"]),
            ("API.Example.COM.:443:192.0.2.7:8443", "api.example.com", 443, vec!["192.0.2.7:8443"]),
            ("a.example:443:[::1]", "a.example", 443, vec!["[::1]:443"]),
            (
                "a.example:443:[::1]:8443,127.0.0.1,127.0.0.2:99",
                "a.example",
                443,
                vec!["[::1]:8443", "127.0.0.1:443", "127.0.0.2:99"],
            ),
            ("bücher.example:443:192.0.2.7", "xn--bcher-kva.example", 443, vec!["192.0.2.7:443"]),
            ("192.0.2.1:80:192.0.2.7", "192.0.2.1", 80, vec!["192.0.2.7:80"]),
            ("[2001:db8::1]:443:192.0.2.7", "2001:db8::1", 443, vec!["192.0.2.7:443"]),
        ];
        for (text, host, port, addresses) in table {
            let addresses = addresses.into_iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(text.parse(), Ok(Stated { host: host.into(), port, addresses }), "{text}");
        }
    }

    #[test]
    fn each_mistake_is_named() {
        let shape = |text: &str| StatedError::Shape(text.into());
        let table = [
            ("api.example.com", shape("api.example.com")),
            ("api.example.com:443", shape("api.example.com:443")),
            ("", shape("")),
            ("[::1", shape("[::1")),
            ("+a.example:443:127.0.0.1", StatedError::Sign("+a.example:443:127.0.0.1".into())),
            ("*:443:127.0.0.1", StatedError::Host("*".into())),
            ("*.a.example:443:127.0.0.1", StatedError::Host("*.a.example".into())),
            (":443:127.0.0.1", StatedError::Host("".into())),
            ("a..example:443:127.0.0.1", StatedError::Host("a..example".into())),
            ("a.example:0:127.0.0.1", StatedError::Port("0".into())),
            ("a.example:+443:127.0.0.1", StatedError::Port("+443".into())),
            ("a.example:https:127.0.0.1", StatedError::Port("https".into())),
            ("a.example:443:", StatedError::Address("".into())),
            ("a.example:443:::1", StatedError::Address("::1".into())),
            ("a.example:443:b.example", StatedError::Address("b.example".into())),
            ("a.example:443:127.0.0.1:0", StatedError::Address("127.0.0.1:0".into())),
            ("a.example:443:[::1]8443", StatedError::Address("[::1]8443".into())),
            ("a.example:443:127.1", StatedError::Address("127.1".into())),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Stated>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn an_authority_is_stated_once() {
        let one: Stated = "a.example:443:127.0.0.1".parse().unwrap();
        let other: Stated = "A.example:443:127.0.0.2".parse().unwrap();
        let error = by_authority(&[one, other]).unwrap_err();
        assert_eq!(error, StatedError::Twice("a.example:443".into()));
    }
}
