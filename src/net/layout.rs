//! Whose sockets are exempt, and which ports are whose.

use std::collections::BTreeMap;
use std::str::FromStr;

use thiserror::Error;

/// What the ruleset is made from; [`Layout::new`] has checked that it makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Envoy's user: goes anywhere by TCP, but to no resolver.
    pub envoy: u32,
    /// Attaché's user: goes anywhere.
    pub attache: u32,
    /// TCP ports of the outside that lead to Envoy.
    pub redirected: Vec<u16>,
    /// The ports on loopback.
    pub local: LocalPorts,
    /// Whom the outside may connect to, beside attaché's metrics.
    pub inbound: Inbound,
}

/// The ports on which Envoy and attaché listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalPorts {
    /// Envoy's transparent listener.
    pub transparent: u16,
    /// Attaché's DNS stub, UDP and TCP.
    pub dns: u16,
    /// Attaché's metrics and health, which the outside may reach and the agent may not.
    pub metrics: u16,
    /// Envoy's proxy port, which anyone in the pod may use.
    pub proxy: u16,
}

/// What the outside may connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// Everything.
    All,
    /// These ports alone.
    Ports {
        /// By TCP.
        tcp: Vec<u16>,
        /// By UDP.
        udp: Vec<u16>,
    },
}

/// One value of `--inbound`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundPort {
    /// `all`
    All,
    /// `8080` or `8080/tcp`
    Tcp(u16),
    /// `8080/udp`
    Udp(u16),
}

/// Why a layout makes no sense.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LayoutError {
    #[error("{0} cannot be user 0: whoever is root could go round the proxy; run it as another user")]
    #[doc = "Root would be exempt."]
    Root(&'static str),
    #[error("Envoy and attaché cannot both be user `{0}`: only attaché may ask a resolver; give each its own")]
    #[doc = "One user for two rights."]
    SameUser(u32),
    #[error("port `{port}` is both {first} and {second}: each needs its own")]
    #[doc = "A port with two meanings."]
    Collision {
        /// The port.
        port: u16,
        /// Its one meaning.
        first: &'static str,
        /// Its other.
        second: &'static str,
    },
    #[error("port `53` cannot be redirected to Envoy: it always leads to the DNS stub; leave it out of `--port`")]
    #[doc = "DNS is not HTTP."]
    Dns,
    #[error("no port is redirected: name at least one with `--port`")]
    #[doc = "Nothing would ever reach Envoy."]
    Nothing,
}

impl Layout {
    /// Checks that the users and ports are apart; every error at once.
    pub fn new(
        envoy: u32,
        attache: u32,
        mut redirected: Vec<u16>,
        local: LocalPorts,
        inbound: &[InboundPort],
    ) -> Result<Self, Vec<LayoutError>> {
        let mut errors = Vec::new();
        for (uid, whose) in [(envoy, "Envoy"), (attache, "attaché")] {
            if uid == 0 {
                errors.push(LayoutError::Root(whose));
            }
        }
        if envoy == attache {
            errors.push(LayoutError::SameUser(envoy));
        }
        let mut inbound_ports = BTreeMap::new();
        inbound.iter().filter_map(|port| port.number()).for_each(|port| {
            inbound_ports.insert(port, "open to the outside");
        });
        redirected.sort_unstable();
        redirected.dedup();
        if redirected.is_empty() {
            errors.push(LayoutError::Nothing);
        }
        let mut taken = BTreeMap::new();
        let named = [
            (local.transparent, "Envoy's transparent listener"),
            (local.dns, "attaché's DNS stub"),
            (local.metrics, "attaché's metrics"),
            (local.proxy, "Envoy's proxy port"),
        ];
        let redirected_ports = redirected.iter().map(|port| (*port, "redirected to Envoy"));
        for (port, second) in named.into_iter().chain(redirected_ports).chain(inbound_ports) {
            // The agent may serve the port that it calls elsewhere.
            let second_is_inbound = second == "open to the outside";
            match taken.get(&port) {
                Some(&"redirected to Envoy") if second_is_inbound => {}
                Some(first) => errors.push(LayoutError::Collision { port, first, second }),
                None => drop(taken.insert(port, second)),
            }
        }
        if redirected.contains(&53) {
            errors.push(LayoutError::Dns);
        }
        let inbound = Inbound::new(inbound);
        if errors.is_empty() { Ok(Self { envoy, attache, redirected, local, inbound }) } else { Err(errors) }
    }
}

impl Inbound {
    fn new(ports: &[InboundPort]) -> Self {
        if ports.contains(&InboundPort::All) {
            return Self::All;
        }
        let sorted = |of: fn(&InboundPort) -> Option<u16>| {
            let mut numbers: Vec<u16> = ports.iter().filter_map(of).collect();
            numbers.sort_unstable();
            numbers.dedup();
            numbers
        };
        let tcp = sorted(|port| if let InboundPort::Tcp(number) = port { Some(*number) } else { None });
        let udp = sorted(|port| if let InboundPort::Udp(number) = port { Some(*number) } else { None });
        Self::Ports { tcp, udp }
    }
}

impl InboundPort {
    fn number(&self) -> Option<u16> {
        match self {
            Self::All => None,
            Self::Tcp(port) | Self::Udp(port) => Some(*port),
        }
    }
}

impl FromStr for InboundPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let port = port.parse().ok().filter(|port| *port != 0);
        match (port, protocol) {
            (Some(port), "tcp") => Ok(Self::Tcp(port)),
            (Some(port), "udp") => Ok(Self::Udp(port)),
            _ => Err("not a port: write `8080`, `8080/udp` or `all`".to_owned()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::net) const PORTS: LocalPorts =
        LocalPorts { transparent: 10443, dns: 15053, metrics: 9464, proxy: 10080 };

    pub(in crate::net) fn layout(inbound: &[InboundPort]) -> Layout {
        Layout::new(101, 1338, vec![443, 80], PORTS, inbound).unwrap()
    }

    #[test]
    fn what_makes_no_sense_is_refused_at_once() {
        let errors = Layout::new(0, 0, vec![53, 9464], LocalPorts { dns: 10443, ..PORTS }, &[InboundPort::Udp(10443)]);
        let (listener, stub, metrics) = ("Envoy's transparent listener", "attaché's DNS stub", "attaché's metrics");
        assert_eq!(
            errors.unwrap_err(),
            [
                LayoutError::Root("Envoy"),
                LayoutError::Root("attaché"),
                LayoutError::SameUser(0),
                LayoutError::Collision { port: 10443, first: listener, second: stub },
                LayoutError::Collision { port: 9464, first: metrics, second: "redirected to Envoy" },
                LayoutError::Collision { port: 10443, first: listener, second: "open to the outside" },
                LayoutError::Dns,
            ]
        );
        assert_eq!(Layout::new(1, 2, vec![], PORTS, &[]).unwrap_err(), [LayoutError::Nothing]);
    }

    #[test]
    fn ports_are_sorted_and_once() {
        let of = |inbound: &[InboundPort]| Layout::new(101, 1338, vec![443, 80, 443], PORTS, inbound).unwrap();
        let layout = of(&[InboundPort::Udp(443), InboundPort::Tcp(9), InboundPort::Tcp(8), InboundPort::Tcp(9)]);
        assert_eq!(layout.redirected, [80, 443]);
        assert_eq!(layout.inbound, Inbound::Ports { tcp: vec![8, 9], udp: vec![443] });
        assert_eq!(of(&[InboundPort::Tcp(9), InboundPort::All]).inbound, Inbound::All);
    }

    #[test]
    fn a_port_that_is_none_is_refused() {
        assert_eq!("8080/udp".parse(), Ok(InboundPort::Udp(8080)));
        assert_eq!("8080".parse(), Ok(InboundPort::Tcp(8080)));
        assert_eq!("all".parse(), Ok(InboundPort::All));
        for text in ["", "0", "65536", "80/sctp", "80/", "/udp", "ALL", "-1"] {
            assert!(text.parse::<InboundPort>().is_err(), "{text}");
        }
    }
}
