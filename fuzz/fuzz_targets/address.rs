//! Hosts in every notation of an address, and which addresses may be connected to. First line: an authority; the rest: the
//! bytes of an address.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use attache::pipeline::address::{AddressClass, class, permit};
use attache::pipeline::message::{Authority, Host};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (authority, rest) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    if let Ok(Authority { host, .. }) = Authority::parse(authority) {
        let shown = host.to_string();
        match &host {
            Host::Name(name) => {
                assert_eq!(inet_aton(name), None, "a resolver may take `{name}` for an address");
                assert!(name.parse::<IpAddr>().is_err());
                assert!(shown.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b)));
            }
            Host::Address(address) => {
                assert_eq!(shown.parse(), Ok(*address));
                if let IpAddr::V4(address) = address {
                    assert_eq!(inet_aton(&shown), Some(*address), "everybody reads `{shown}` alike");
                }
                judge(*address);
            }
        }
    }
    if let Some(octets) = rest.first_chunk::<16>() {
        judge(Ipv6Addr::from(*octets).into());
    } else if let Some(octets) = rest.first_chunk::<4>() {
        judge(Ipv4Addr::from(*octets).into());
    }
});

/// What is permitted without a word of the policy leads nowhere inside.
fn judge(address: IpAddr) {
    assert_eq!(permit(address, &[]).is_ok(), class(address) == AddressClass::Public, "{address}");
    if permit(address, &[]).is_err() {
        return;
    }
    match address {
        IpAddr::V4(v4) => assert!(!is_inside(v4), "{v4} is permitted"),
        IpAddr::V6(v6) => {
            // RFC 4291: all that is given out as global unicast; and no form that has an IPv4 address in it.
            assert_eq!(v6.segments()[0] & 0xe000, 0x2000, "{v6} is permitted");
            assert!(v6.to_ipv4().is_none() && !matches!(v6.segments(), [0x2002, ..] | [0x2001, 0, ..]), "{v6}");
        }
    }
}

/// Every address on the way inside, by the standard library's lists.
fn is_inside(v4: Ipv4Addr) -> bool {
    let [first, second, ..] = v4.octets();
    v4.is_loopback()
        || v4.is_private()
        || v4.is_link_local()
        || v4.is_broadcast()
        || v4.is_documentation()
        || v4.is_multicast()
        || first == 0
        || first >= 240
        || (first == 100 && (64..128).contains(&second))
        || v4 == Ipv4Addr::new(168, 63, 129, 16)
}

/// What the C library makes of a text: one to four numbers, each decimal, octal or hexadecimal; the last fills the rest.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let number = |part: &str| match part {
        "" => None,
        _ if part.len() > 1 && part.starts_with("0x") => {
            if part.len() == 2 {
                Some(0)
            } else {
                u64::from_str_radix(&part[2..], 16).ok()
            }
        }
        _ if part.starts_with(['+', '-']) => None,
        _ if part.len() > 1 && part.starts_with('0') => u64::from_str_radix(part, 8).ok(),
        _ => part.parse().ok(),
    };
    let parts: Vec<u64> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 || leading.iter().any(|part| *part > 255) || *last >= 1 << (8 * (4 - leading.len())) {
        return None;
    }
    let head = leading.iter().enumerate().map(|(at, part)| part << (24 - 8 * at)).sum::<u64>();
    Some(Ipv4Addr::from((head + last) as u32))
}
