//! Addresses that stand for names and lead nowhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sha2::{Digest, Sha256};

/// How many addresses of 198.18.0.0/15 end neither in 0 nor in 255, which some programs take for no host.
const V4: u32 = 512 * 254;

/// The address of a name among those set aside for benchmarks, which lead nowhere on the internet: 198.18.0.0/15
/// (RFC 2544). Always the same for the same name, so that it outlasts a restart; two names may share one, since an
/// address decides nothing.
pub fn v4(name: &str) -> Ipv4Addr {
    let hash = digest(name);
    let number = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) % V4;
    let (network, host) = (number / 254, number % 254 + 1);
    Ipv4Addr::from_bits(0xC612_0000 + (network << 8) + host)
}

/// The same of 2001:2::/48 (RFC 5180).
pub fn v6(name: &str) -> Ipv6Addr {
    let mut octets = [0x20, 0x01, 0, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (octet, byte) in octets.iter_mut().skip(6).zip(digest(name)) {
        *octet = byte;
    }
    octets.into()
}

/// One of these addresses, to see whether there is a way to them.
pub fn any(of: IpAddr) -> IpAddr {
    match of {
        IpAddr::V4(_) => v4("").into(),
        IpAddr::V6(_) => v6("").into(),
    }
}

fn digest(name: &str) -> [u8; 32] {
    Sha256::digest(name.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_address_is_one_of_those(name in ".*") {
            let (narrow, wide): (IpNet, IpNet) = ("198.18.0.0/15".parse().unwrap(), "2001:2::/48".parse().unwrap());
            prop_assert!(narrow.contains(&IpAddr::from(v4(&name))));
            prop_assert!(!matches!(v4(&name).octets()[3], 0 | 255));
            prop_assert!(wide.contains(&IpAddr::from(v6(&name))));
        }
    }

    #[test]
    fn a_name_keeps_its_address_and_most_have_their_own() {
        let all: std::collections::HashSet<_> = (0..1000).map(|n| v4(&format!("{n}.example"))).collect();
        assert!(all.len() > 980, "{}", all.len());
        assert_eq!(v4("api.example.com"), v4("api.example.com"));
    }
}
