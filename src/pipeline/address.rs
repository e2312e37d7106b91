//! Which addresses an upstream may have.
//!
//! A policy names hosts, DNS names addresses, and whoever runs the zone of an allowed name chooses the answer.
//! So every address is judged before it is pinned: public ones pass, private ones pass where the allow entry's
//! `allowPrivate` covers them, and a cloud's metadata service only where it is named outright.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

/// The addresses of one DNS answer that may be connected to, in the order they came in. Never empty.
///
/// `allow_private` are the ranges of the governing allow entry.
///
/// # Errors
/// When none may: the refusal of the first address.
pub fn choose(addresses: &[IpAddr], allow_private: &[IpNet]) -> Result<Vec<IpAddr>, Refusal> {
    let mut permitted = Vec::with_capacity(addresses.len());
    let mut first_refusal = None;
    for &address in addresses {
        match permit(address, allow_private) {
            Ok(()) => permitted.push(address),
            Err(refusal) => first_refusal = first_refusal.or(Some(refusal)),
        }
    }
    match (permitted.is_empty(), first_refusal) {
        (false, _) => Ok(permitted),
        (true, Some(refusal)) => Err(refusal),
        (true, None) => Err(Refusal::NoAddress),
    }
}

/// Whether one address may be connected to.
///
/// # Errors
/// The class that is refused, and what would permit it.
pub fn permit(address: IpAddr, allow_private: &[IpNet]) -> Result<(), Refusal> {
    let class = class(address);
    let permitted = match class {
        AddressClass::Public => true,
        AddressClass::Private
        | AddressClass::Loopback
        | AddressClass::LinkLocal
        | AddressClass::UniqueLocal
        | AddressClass::Shared
        | AddressClass::Documentation
        | AddressClass::Benchmarking => allow_private.iter().any(|range| range.contains(&address)),
        // A range that happens to cover it (169.254.0.0/16, fd00::/8) was not written to hand out the machine's identity.
        AddressClass::Metadata => names_outright(address, allow_private),
        AddressClass::Mapped(inner)
        | AddressClass::Compatible(inner)
        | AddressClass::Translated(inner)
        | AddressClass::Nat64(inner)
        | AddressClass::SixToFour(inner)
        | AddressClass::Teredo(inner) => {
            // Naming the form does not name what it leads to: behind an allowed NAT64 prefix, 10.0.0.1 is still private.
            names_outright(address, allow_private)
                || (names_form(address, allow_private) && permit(IpAddr::V4(inner), allow_private).is_ok())
        }
        AddressClass::LocalNat64 => names_outright(address, allow_private) || names_form(address, allow_private),
        AddressClass::Multicast | AddressClass::Unspecified | AddressClass::Broadcast | AddressClass::Reserved => false,
    };
    match permitted {
        true => Ok(()),
        false => Err(Refusal::Address { address, class }),
    }
}

/// Why an address, or a whole answer, may not be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The address is of a class that nothing permits here.
    #[error("address `{address}` is {}; {}", .class.describe(), .class.remedy())]
    Address {
        /// The refused address.
        address: IpAddr,
        /// What it is.
        class: AddressClass,
    },
    /// There was no address to judge.
    #[error("the name has no address; check the name's A and AAAA records")]
    NoAddress,
}

impl Refusal {
    /// The stable code for record, metric and reply.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Address { class, .. } => class.reason(),
            Refusal::NoAddress => "dns_no_address",
        }
    }
}

/// What an address is for, by the IANA special-purpose address registries (RFC 6890).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressClass {
    /// Globally reachable unicast.
    Public,
    /// 10/8, 172.16/12, 192.168/16 (RFC 1918).
    Private,
    /// 127/8 (RFC 1122), ::1 (RFC 4291).
    Loopback,
    /// 169.254/16 (RFC 3927), fe80::/10 (RFC 4291).
    LinkLocal,
    /// Where a cloud hands out a machine's or a workload's identity; see [`METADATA`].
    Metadata,
    /// 224/4 (RFC 5771), ff00::/8 (RFC 4291).
    Multicast,
    /// 0/8, which Linux takes for this very host (RFC 1122), and :: (RFC 4291).
    Unspecified,
    /// 255.255.255.255 (RFC 919).
    Broadcast,
    /// 100.64/10, carrier-grade NAT and many pod networks (RFC 6598).
    Shared,
    /// 192.0.2/24 and its kin (RFC 5737), 2001:db8::/32 (RFC 3849), 3fff::/20 (RFC 9637).
    Documentation,
    /// 198.18/15 (RFC 2544), 2001:2::/48 (RFC 5180).
    Benchmarking,
    /// Set aside for protocols, deprecated or not yet given out: nothing an API is served from.
    Reserved,
    /// fc00::/7 (RFC 4193).
    UniqueLocal,
    /// ::ffff:0:0/96 (RFC 4291): IPv4 written as IPv6.
    Mapped(Ipv4Addr),
    /// ::/96 (RFC 4291, deprecated): IPv4 written as IPv6.
    Compatible(Ipv4Addr),
    /// ::ffff:0:0:0/96 (RFC 2765): IPv4 behind a stateless translator.
    Translated(Ipv4Addr),
    /// 64:ff9b::/96 (RFC 6052): IPv4 behind a translator.
    Nat64(Ipv4Addr),
    /// 64:ff9b:1::/48 (RFC 8215): IPv4 behind a local translator, at a place only that network knows.
    LocalNat64,
    /// 2002::/16 (RFC 3056): IPv4 as the far end of a tunnel.
    SixToFour(Ipv4Addr),
    /// 2001::/32 (RFC 4380): IPv4, inverted, as the far end of a tunnel.
    Teredo(Ipv4Addr),
}

impl AddressClass {
    /// The stable code for record, metric and reply.
    pub fn reason(self) -> &'static str {
        match self {
            AddressClass::Public => "address_public",
            AddressClass::Private => "address_private",
            AddressClass::Loopback => "address_loopback",
            AddressClass::LinkLocal => "address_link_local",
            AddressClass::Metadata => "address_metadata",
            AddressClass::Multicast => "address_multicast",
            AddressClass::Unspecified => "address_unspecified",
            AddressClass::Broadcast => "address_broadcast",
            AddressClass::Shared => "address_shared",
            AddressClass::Documentation => "address_documentation",
            AddressClass::Benchmarking => "address_benchmarking",
            AddressClass::Reserved => "address_reserved",
            AddressClass::UniqueLocal => "address_unique_local",
            AddressClass::Mapped(_)
            | AddressClass::Compatible(_)
            | AddressClass::Translated(_)
            | AddressClass::Nat64(_)
            | AddressClass::LocalNat64
            | AddressClass::SixToFour(_)
            | AddressClass::Teredo(_) => "address_embeds_ipv4",
        }
    }

    fn describe(self) -> &'static str {
        match self {
            AddressClass::Public => "public",
            AddressClass::Private => "private",
            AddressClass::Loopback => "this host's own (loopback)",
            AddressClass::LinkLocal => "link-local",
            AddressClass::Metadata => "a cloud metadata service",
            AddressClass::Multicast => "multicast",
            AddressClass::Unspecified => "unspecified",
            AddressClass::Broadcast => "broadcast",
            AddressClass::Shared => "shared address space",
            AddressClass::Documentation => "reserved for documentation",
            AddressClass::Benchmarking => "reserved for benchmarks",
            AddressClass::Reserved => "reserved",
            AddressClass::UniqueLocal => "private (unique local)",
            AddressClass::Mapped(_) => "an IPv4-mapped form",
            AddressClass::Compatible(_) => "an IPv4-compatible form",
            AddressClass::Translated(_) => "an IPv4-translated form",
            AddressClass::Nat64(_) | AddressClass::LocalNat64 => "a NAT64 form",
            AddressClass::SixToFour(_) => "a 6to4 form",
            AddressClass::Teredo(_) => "a Teredo form",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            AddressClass::Metadata => "only an `allowPrivate` entry that is this very address permits it",
            AddressClass::Multicast | AddressClass::Unspecified | AddressClass::Broadcast | AddressClass::Reserved => {
                "nothing permits it"
            }
            AddressClass::Mapped(_)
            | AddressClass::Compatible(_)
            | AddressClass::Translated(_)
            | AddressClass::Nat64(_)
            | AddressClass::LocalNat64
            | AddressClass::SixToFour(_)
            | AddressClass::Teredo(_) => {
                "an `allowPrivate` range within that IPv6 prefix permits it where the IPv4 address inside is permitted too"
            }
            _ => "add its range to `allowPrivate` of the allow entry if the host is meant to be there",
        }
    }
}

/// The class of an address.
pub fn class(address: IpAddr) -> AddressClass {
    if METADATA.contains(&address) {
        return AddressClass::Metadata;
    }
    match address {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address),
    }
}

/// The metadata services of the large clouds. Some are public, private or shared by their range, so the list comes first.
pub const METADATA: [IpAddr; 18] = [
    v4(169, 254, 169, 254), // AWS, Google Cloud, Azure, Oracle Cloud, OpenStack, DigitalOcean and most others
    v4(169, 254, 169, 252), // GKE's node-local metadata server
    v4(169, 254, 170, 2),   // AWS ECS task credentials
    v4(169, 254, 170, 23),  // AWS EKS Pod Identity agent
    v4(169, 254, 42, 42),   // Scaleway
    v4(169, 254, 0, 23),    // Tencent Cloud
    v4(169, 254, 10, 10),   // Tencent Cloud
    v4(100, 100, 100, 200), // Alibaba Cloud
    v4(168, 63, 129, 16),   // Azure WireServer, a public address
    v4(192, 0, 0, 192),     // Oracle Cloud Classic
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]), // AWS
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]), // AWS EKS Pod Identity agent
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]), // Google Cloud
    v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]), // Oracle Cloud
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]), // Scaleway
    v6([0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1]), // Akamai (Linode)
    v6([0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200]), // Alibaba Cloud
    v6([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe]), // OpenStack
];

fn class_v4(address: Ipv4Addr) -> AddressClass {
    let within = |range: &&(Ipv4Net, AddressClass)| range.0.contains(&address);
    V4.iter().find(within).map_or(AddressClass::Public, |&(_, class)| class)
}

fn class_v6(address: Ipv6Addr) -> AddressClass {
    let [.., s6, s7] = address.segments();
    let low = Ipv4Addr::from((u32::from(s6) << 16) | u32::from(s7));
    let embedded: [(Ipv6Net, AddressClass); 6] = [
        (MAPPED, AddressClass::Mapped(low)),
        (TRANSLATED, AddressClass::Translated(low)),
        (NAT64, AddressClass::Nat64(low)),
        (LOCAL_NAT64, AddressClass::LocalNat64),
        (SIX_TO_FOUR, AddressClass::SixToFour(bits(address, 80))),
        // RFC 4380 section 4: the client's address with every bit inverted.
        (TEREDO, AddressClass::Teredo(Ipv4Addr::from(!u32::from(low)))),
    ];
    if let Some(&(_, class)) = embedded.iter().find(|(range, _)| range.contains(&address)) {
        return class;
    }
    if let Some(&(_, class)) = V6.iter().find(|(range, _)| range.contains(&address)) {
        return class;
    }
    match (COMPATIBLE.contains(&address), GLOBAL.contains(&address)) {
        (true, _) => AddressClass::Compatible(low),
        (false, true) => AddressClass::Public,
        (false, false) => AddressClass::Reserved,
    }
}

/// The 32 bits of `address` that have `shift` bits to their right.
fn bits(address: Ipv6Addr, shift: u32) -> Ipv4Addr {
    // The cast keeps the low 32 bits, which are the ones wanted.
    Ipv4Addr::from((u128::from(address) >> shift) as u32)
}

fn names_outright(address: IpAddr, allow_private: &[IpNet]) -> bool {
    allow_private.contains(&IpNet::from(address))
}

/// Whether a range names the form itself: one that lies inside the form's prefix. `::/0` does not.
fn names_form(address: IpAddr, allow_private: &[IpNet]) -> bool {
    let IpAddr::V6(inner) = address else {
        return false;
    };
    let forms = [MAPPED, TRANSLATED, NAT64, LOCAL_NAT64, SIX_TO_FOUR, TEREDO, COMPATIBLE];
    let Some(form) = forms.into_iter().find(|form| form.contains(&inner)) else {
        return false;
    };
    allow_private.iter().any(|range| IpNet::V6(form).contains(range) && range.contains(&address))
}

const MAPPED: Ipv6Net = net6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96);
const TRANSLATED: Ipv6Net = net6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96);
const COMPATIBLE: Ipv6Net = net6([0; 8], 96);
const NAT64: Ipv6Net = net6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
const LOCAL_NAT64: Ipv6Net = net6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);
const SIX_TO_FOUR: Ipv6Net = net6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);
const TEREDO: Ipv6Net = net6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32);

/// All that IANA gives out as global unicast (RFC 4291 section 2.4, as assigned).
const GLOBAL: Ipv6Net = net6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// The IANA IPv4 special-purpose registry. Ranges it calls globally reachable are not listed, but for tunnel and
/// translation relays (192.0.0.9, 192.0.0.10, 192.52.193.0/24), from which no API is served.
const V4: [(Ipv4Net, AddressClass); 17] = [
    (net4([255, 255, 255, 255], 32), AddressClass::Broadcast), // RFC 919
    (net4([0, 0, 0, 0], 8), AddressClass::Unspecified),        // RFC 1122 section 3.2.1.3
    (net4([10, 0, 0, 0], 8), AddressClass::Private),           // RFC 1918
    (net4([172, 16, 0, 0], 12), AddressClass::Private),        // RFC 1918
    (net4([192, 168, 0, 0], 16), AddressClass::Private),       // RFC 1918
    (net4([100, 64, 0, 0], 10), AddressClass::Shared),         // RFC 6598
    (net4([127, 0, 0, 0], 8), AddressClass::Loopback),         // RFC 1122 section 3.2.1.3
    (net4([169, 254, 0, 0], 16), AddressClass::LinkLocal),     // RFC 3927
    (net4([192, 0, 0, 0], 24), AddressClass::Reserved),        // RFC 6890, RFC 7335, RFC 8880
    (net4([192, 0, 2, 0], 24), AddressClass::Documentation),   // RFC 5737
    (net4([198, 51, 100, 0], 24), AddressClass::Documentation), // RFC 5737
    (net4([203, 0, 113, 0], 24), AddressClass::Documentation), // RFC 5737
    (net4([192, 88, 99, 0], 24), AddressClass::Reserved),      // RFC 7526, 6to4 relay anycast
    (net4([198, 18, 0, 0], 15), AddressClass::Benchmarking),   // RFC 2544
    (net4([224, 0, 0, 0], 4), AddressClass::Multicast),        // RFC 5771
    (net4([240, 0, 0, 0], 4), AddressClass::Reserved),         // RFC 1112 section 4
    (net4([192, 52, 193, 0], 24), AddressClass::Reserved),     // RFC 7450, multicast tunnels
];

/// The IANA IPv6 special-purpose registry, narrow before wide, without the forms that embed IPv4.
const V6: [(Ipv6Net, AddressClass); 15] = [
    (net6([0; 8], 128), AddressClass::Unspecified),                // RFC 4291
    (net6([0, 0, 0, 0, 0, 0, 0, 1], 128), AddressClass::Loopback), // RFC 4291
    (net6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), AddressClass::Reserved), // RFC 6666, discard
    (net6([0x100, 0, 0, 1, 0, 0, 0, 0], 64), AddressClass::Reserved), // RFC 9780, dummy
    (net6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), AddressClass::Benchmarking), // RFC 5180
    (net6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), AddressClass::Documentation), // RFC 3849
    (net6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), AddressClass::Reserved), // RFC 2928, protocols: ORCHID, AMT, anycast
    (net6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), AddressClass::Documentation), // RFC 9637
    (net6([0x3ffe, 0, 0, 0, 0, 0, 0, 0], 16), AddressClass::Reserved), // RFC 3701, 6bone, given back
    (net6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), AddressClass::Reserved), // RFC 9602, segment routing
    (net6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), AddressClass::UniqueLocal), // RFC 4193
    (net6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), AddressClass::LinkLocal), // RFC 4291
    (net6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), AddressClass::Reserved), // RFC 3879, site-local
    (net6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), AddressClass::Multicast), // RFC 4291
    (net6([0x200, 0, 0, 0, 0, 0, 0, 0], 7), AddressClass::Reserved), // RFC 4048
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(segments: [u16; 8]) -> IpAddr {
    IpAddr::V6(v6_address(segments))
}

const fn v6_address([a, b, c, d, e, f, g, h]: [u16; 8]) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, d, e, f, g, h)
}

const fn net4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn net6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(v6_address(segments), prefix)
}

/// An address and port as `Display` writes them. Each request has three written, for which formatting is slow.
pub fn socket_text(address: SocketAddr) -> String {
    let SocketAddr::V4(v4) = address else { return address.to_string() };
    let [a, b, c, d] = v4.ip().octets();
    let mut text = String::with_capacity("255.255.255.255:65535".len());
    for (number, end) in [(a, "."), (b, "."), (c, "."), (d, ":")] {
        push_decimal(&mut text, number.into());
        text.push_str(end);
    }
    push_decimal(&mut text, v4.port());
    text
}

fn push_decimal(text: &mut String, number: u16) {
    for place in [10_000, 1_000, 100, 10, 1] {
        if number >= place || place == 1 {
            text.push(char::from(b'0' + (number / place % 10) as u8));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn ranges(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn every_special_range_has_its_class_at_both_ends_and_not_beyond() {
        use AddressClass::*;
        let table = [
            ("0.0.0.0", "0.255.255.255", Unspecified),
            ("1.0.0.0", "9.255.255.255", Public),
            ("10.0.0.0", "10.255.255.255", Private),
            ("11.0.0.0", "100.63.255.255", Public),
            ("100.64.0.0", "100.127.255.255", Shared),
            ("100.128.0.0", "126.255.255.255", Public),
            ("127.0.0.0", "127.255.255.255", Loopback),
            ("128.0.0.0", "168.63.129.15", Public),
            ("168.63.129.16", "168.63.129.16", Metadata),
            ("168.63.129.17", "169.253.255.255", Public),
            ("169.254.0.0", "169.254.255.255", LinkLocal),
            ("169.255.0.0", "172.15.255.255", Public),
            ("172.16.0.0", "172.31.255.255", Private),
            ("172.32.0.0", "191.255.255.255", Public),
            ("192.0.0.0", "192.0.0.255", Reserved),
            ("192.0.0.192", "192.0.0.192", Metadata),
            ("192.0.1.0", "192.0.1.255", Public),
            ("192.0.2.0", "192.0.2.255", Documentation),
            ("192.88.99.0", "192.88.99.255", Reserved),
            ("192.168.0.0", "192.168.255.255", Private),
            ("192.169.0.0", "198.17.255.255", Public),
            ("198.18.0.0", "198.19.255.255", Benchmarking),
            ("198.20.0.0", "198.51.99.255", Public),
            ("198.51.100.0", "198.51.100.255", Documentation),
            ("203.0.113.0", "203.0.113.255", Documentation),
            ("203.0.114.0", "223.255.255.255", Public),
            ("224.0.0.0", "239.255.255.255", Multicast),
            ("240.0.0.0", "255.255.255.254", Reserved),
            ("255.255.255.255", "255.255.255.255", Broadcast),
            ("::", "::", Unspecified),
            ("::1", "::1", Loopback),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", LocalNat64),
            ("64:ff9b:2::", "64:ffff::", Reserved),
            ("100::", "100::ffff:ffff:ffff:ffff", Reserved),
            ("1fff:ffff::", "1fff:ffff::1", Reserved),
            ("2000::", "2000:ffff::", Public),
            ("2001:1::", "2001:1ff:ffff::", Reserved),
            ("2001:2::", "2001:2:0:ffff::", Benchmarking),
            ("2001:20::", "2001:2f::", Reserved),
            ("2001:200::", "2001:db7:ffff::", Public),
            ("2001:db8::", "2001:db8:ffff::", Documentation),
            ("2001:db9::", "2001:ffff::", Public),
            ("2003::", "3ffd:ffff::", Public),
            ("3fff::", "3fff:fff:ffff::", Documentation),
            ("4000::", "fbff:ffff::", Reserved),
            ("fc00::", "fdff:ffff::", UniqueLocal),
            ("fe80::", "febf:ffff::", LinkLocal),
            ("fec0::", "feff:ffff::", Reserved),
            ("ff00::", "ffff:ffff::", Multicast),
        ];
        for (first, last, expected) in table {
            assert_eq!(class(ip(first)), expected, "{first}");
            assert_eq!(class(ip(last)), expected, "{last}");
        }
    }

    #[test]
    fn forms_that_embed_ipv4_are_recognised_with_what_they_embed() {
        let inner = Ipv4Addr::new(10, 1, 2, 3);
        let table = [
            ("::ffff:10.1.2.3", AddressClass::Mapped(inner)),
            ("::10.1.2.3", AddressClass::Compatible(inner)),
            ("::ffff:0:10.1.2.3", AddressClass::Translated(inner)),
            ("64:ff9b::10.1.2.3", AddressClass::Nat64(inner)),
            ("2002:0a01:0203::1", AddressClass::SixToFour(inner)),
            ("2001:0:4136:e378:8000:63bf:f5fe:fdfc", AddressClass::Teredo(inner)),
        ];
        for (text, expected) in table {
            assert_eq!(class(ip(text)), expected, "{text}");
        }
    }

    #[test]
    fn what_permits_what() {
        let table: &[(&str, &[&str], bool)] = &[
            ("8.8.8.8", &[], true),
            ("2606:4700::1111", &[], true),
            ("10.20.0.5", &[], false),
            ("10.20.0.5", &["10.20.0.0/16"], true),
            ("10.21.0.5", &["10.20.0.0/16"], false),
            ("127.0.0.1", &["127.0.0.0/8"], true),
            ("::1", &["::1/128"], true),
            ("fd12::1", &["fd00::/8"], true),
            ("fe80::1", &["fe80::/10"], true),
            ("100.64.1.1", &["100.64.0.0/10"], true),
            // Metadata: never by a range, whatever its width.
            ("169.254.169.254", &["169.254.0.0/16", "0.0.0.0/0", "169.254.169.254/31"], false),
            ("169.254.169.254", &["169.254.169.254/32"], true),
            ("168.63.129.16", &[], false),
            ("168.63.129.16", &["168.63.129.16/32"], true),
            ("100.100.100.200", &["100.64.0.0/10"], false),
            ("fd00:ec2::254", &["fd00::/8", "::/0"], false),
            ("fd00:ec2::254", &["fd00:ec2::254/128"], true),
            // Never.
            ("224.0.0.1", &["0.0.0.0/0", "224.0.0.1/32"], false),
            ("0.0.0.0", &["0.0.0.0/0", "0.0.0.0/32"], false),
            ("255.255.255.255", &["0.0.0.0/0"], false),
            ("240.0.0.1", &["240.0.0.0/4"], false),
            ("ff02::1", &["::/0"], false),
            ("::", &["::/0", "::/128"], false),
            // Forms: refused even with a public address inside, unless the form itself is named.
            ("::ffff:8.8.8.8", &["::/0"], false),
            ("::ffff:8.8.8.8", &["::ffff:0:0/96"], true),
            ("64:ff9b::8.8.8.8", &["64:ff9b::/96"], true),
            ("64:ff9b::10.0.0.1", &["64:ff9b::/96"], false),
            ("64:ff9b::10.0.0.1", &["64:ff9b::/96", "10.0.0.0/8"], true),
            ("64:ff9b::10.0.0.1", &["10.0.0.0/8"], false),
            ("64:ff9b::169.254.169.254", &["64:ff9b::/96", "169.254.0.0/16"], false),
            ("::ffff:169.254.169.254", &["::ffff:0:0/96"], false),
            ("::ffff:127.0.0.1", &["127.0.0.0/8"], false),
            ("64:ff9b:1::1", &["64:ff9b:1::/48"], true),
            ("64:ff9b:1::1", &["64::/16"], false),
            ("2002:7f00:1::1", &["2000::/3"], false),
            ("::127.0.0.1", &["::/0", "127.0.0.0/8"], false),
        ];
        for (address, allowed, expected) in table {
            let answer = permit(ip(address), &ranges(allowed));
            assert_eq!(answer.is_ok(), *expected, "{address} with {allowed:?}");
        }
    }

    #[test]
    fn a_mixed_answer_keeps_its_permitted_part_in_order() {
        let answer = [ip("10.0.0.1"), ip("8.8.4.4"), ip("169.254.169.254"), ip("8.8.8.8")];
        assert_eq!(choose(&answer, &[]).unwrap(), [ip("8.8.4.4"), ip("8.8.8.8")]);
    }

    #[test]
    fn an_answer_without_a_permitted_address_is_refused_for_its_first() {
        let refusal = choose(&[ip("10.0.0.1"), ip("127.0.0.1")], &[]).unwrap_err();
        assert_eq!(refusal.reason(), "address_private");
        assert_eq!(
            refusal.to_string(),
            "address `10.0.0.1` is private; add its range to `allowPrivate` of the allow entry if the host is meant to be there"
        );
        assert_eq!(choose(&[], &[]).unwrap_err().reason(), "dns_no_address");
    }

    proptest! {
        #[test]
        fn no_range_opens_metadata(metadata in 0..METADATA.len(), prefix in 0u8..128) {
            let address = METADATA[metadata];
            let width = if address.is_ipv4() { 32 } else { 128 };
            let range = IpNet::new(address, prefix % width).unwrap();
            prop_assert!(permit(address, &[range.trunc()]).is_err());
        }

        #[test]
        fn no_form_leads_to_an_address_that_is_refused_itself(inner: u32, form in 0usize..4) {
            let inner = Ipv4Addr::from(inner);
            let low = u128::from(u32::from(inner));
            let prefix = [MAPPED, COMPATIBLE, TRANSLATED, NAT64][form];
            let address = IpAddr::V6(Ipv6Addr::from(u128::from(prefix.addr()) | low));
            let everything = ranges(&["::/0"]);
            prop_assert!(permit(address, &everything).is_err() || address == ip("::1"));
            let named = permit(address, &[IpNet::V6(prefix)]).is_ok();
            prop_assert!(!named || permit(IpAddr::V4(inner), &[]).is_ok() || address == ip("::1"));
        }

        #[test]
        fn choose_is_permit_filtered_in_order(bytes in proptest::collection::vec(any::<u32>(), 0..8)) {
            let allowed = ranges(&["10.0.0.0/8", "192.168.0.0/16"]);
            let addresses: Vec<IpAddr> = bytes.into_iter().map(|bits| IpAddr::V4(bits.into())).collect();
            let expected: Vec<IpAddr> =
                addresses.iter().copied().filter(|&address| permit(address, &allowed).is_ok()).collect();
            match choose(&addresses, &allowed) {
                Ok(permitted) => prop_assert_eq!(permitted, expected),
                Err(_) => prop_assert!(expected.is_empty()),
            }
        }

        #[test]
        fn without_ranges_only_public_passes(bits: u128) {
            let address = IpAddr::V6(Ipv6Addr::from(bits));
            prop_assert_eq!(permit(address, &[]).is_ok(), class(address) == AddressClass::Public);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_socket_address_is_written_as_display_does(ip: IpAddr, port: u16) {
            let address = SocketAddr::new(ip, port);
            proptest::prop_assert_eq!(socket_text(address), address.to_string());
        }
    }

    #[test]
    fn zeros_of_a_socket_address_are_written() {
        for text in ["0.0.0.0:0", "10.100.101.1:10", "127.0.0.1:65535", "1.2.3.4:1000"] {
            assert_eq!(socket_text(text.parse().unwrap()), text);
        }
    }
}
