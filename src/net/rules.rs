//! The ruleset as data. Each backend spells it; both mean the same, for IPv4 and IPv6.

use super::layout::{Inbound, Layout};

/// All chains; a base chain before those it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// The chains.
    pub chains: Vec<Chain>,
}

/// Rules that are tried in their order until one has a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: ChainName,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// The chains there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChainName {
    /// Where a new connection of this pod leads; at the end: where it wanted to go.
    Redirect,
    /// What this pod's sockets send, after the redirect; at the end: dropped.
    Output,
    /// What Envoy sends.
    Envoy,
    /// What must not leave, told so at once.
    Refuse,
    /// What arrives; at the end: dropped.
    Input,
    /// What would go through; always dropped.
    Forward,
    /// What is about to leave an interface; at the end: it does.
    Leaving,
}

/// One rule: all of its matches hold, then its verdict does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// All of these must hold.
    pub matches: Vec<Match>,
    /// What becomes of the packet.
    pub verdict: Verdict,
    /// The counter of what matched, if someone may want to know.
    pub counter: Option<Counter>,
    /// What it is for.
    pub comment: String,
}

/// Something about a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// It is from a socket of one of these users. Packets that no socket sent match no user.
    Owner(Vec<u32>),
    /// A socket sent it, whosever.
    AnyOwner,
    /// TCP to one of these ports; to any if there is none.
    Tcp(Vec<u16>),
    /// UDP to one of these ports; to any if there is none.
    Udp(Vec<u16>),
    /// The first packet of a TCP connection.
    Syn,
    /// ICMP of the family.
    Icmp,
    /// What IPv6 needs to find its neighbours and routers: these types of ICMPv6.
    Neighbours(&'static [u8]),
    /// It goes to loopback's interface, before it was redirected.
    OutLoopback,
    /// It goes to another interface.
    OutElsewhere,
    /// It came by loopback's interface.
    InLoopback,
    /// It is for 127.0.0.0/8 or ::1.
    ToLoopback,
    /// Its connection was redirected.
    Redirected,
    /// It is the first of its connection.
    New,
    /// It goes back to who began the connection.
    Reply,
    /// Its connection has this mark.
    Marked(Mark),
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Accept,
    /// It disappears.
    Drop,
    /// Its sender hears that this is prohibited.
    Reject,
    /// Its sender hears that the connection is refused.
    Reset,
    /// It is left as it is, as at the chain's end.
    Return,
    /// The connection goes to this port on loopback.
    Redirect(u16),
    /// The connection is marked; the next rule decides.
    Mark(Mark),
    /// That chain decides.
    Goto(ChainName),
}

/// What is remembered of a connection. An agent cannot set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Envoy or attaché sent on it, to the outside. What the kernel sends on it without a socket (the rest of a
    /// closed one, a reset, the last acknowledgement) may leave, and answers may come in.
    Exempt,
    /// The outside began it, and was let in.
    Inbound,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// UDP to port 443.
    Quic,
    /// Other UDP.
    Udp,
    /// TCP to ports that are not redirected, and connections that stood before the rules.
    Tcp,
    /// Echo requests and other ICMP.
    Icmp,
    /// Other protocols, and packets without a socket.
    Other,
    /// Dials of Envoy's and attaché's own ports.
    OwnPorts,
    /// Envoy asking a resolver.
    EnvoyDns,
    /// Redirected, yet bound to another interface.
    Astray,
    /// What came from outside to a port that is not open.
    Inbound,
}

impl Mark {
    /// Its value in the kernel.
    pub fn value(self) -> u32 {
        match self {
            Self::Exempt => 0x6174_0001,
            Self::Inbound => 0x6174_0002,
        }
    }
}

impl Counter {
    /// Every counter there is.
    pub const ALL: [Self; 9] = [
        Self::Quic,
        Self::Udp,
        Self::Tcp,
        Self::Icmp,
        Self::Other,
        Self::OwnPorts,
        Self::EnvoyDns,
        Self::Astray,
        Self::Inbound,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quic => "refused_quic",
            Self::Udp => "refused_udp",
            Self::Tcp => "refused_tcp",
            Self::Icmp => "refused_icmp",
            Self::Other => "refused_other",
            Self::OwnPorts => "refused_own_ports",
            Self::EnvoyDns => "refused_envoy_dns",
            Self::Astray => "dropped_astray",
            Self::Inbound => "dropped_inbound",
        }
    }
}

/// RFC 4861: router solicitation, neighbour solicitation and advertisement.
const NEIGHBOURS_OUT: &[u8] = &[133, 135, 136];
/// RFC 4861: router advertisement, neighbour solicitation and advertisement.
const NEIGHBOURS_IN: &[u8] = &[134, 135, 136];

impl Ruleset {
    /// The ruleset of a layout.
    pub fn new(layout: &Layout) -> Self {
        let Layout { envoy, attache, redirected, local, inbound } = layout;
        let (transparent, dns, metrics) = (local.transparent, local.dns, local.metrics);
        let redirect = vec![
            rule([Match::Owner(vec![*envoy, *attache])], Verdict::Return, "Envoy and attache go where they want"),
            rule([Match::Udp(vec![53])], Verdict::Redirect(dns), "every resolver is the stub"),
            rule([Match::Tcp(vec![53])], Verdict::Redirect(dns), "every resolver is the stub, by TCP too"),
            rule([Match::ToLoopback], Verdict::Return, "servers of the agent's own"),
            rule([Match::Tcp(redirected.clone())], Verdict::Redirect(transparent), "HTTP and TLS lead to Envoy"),
        ];
        let output = vec![
            rule(
                [Match::Owner(vec![*attache]), Match::OutElsewhere],
                Verdict::Mark(Mark::Exempt),
                "attache's connections",
            ),
            rule([Match::Owner(vec![*attache])], Verdict::Accept, "attache"),
            rule([Match::Owner(vec![*envoy])], Verdict::Goto(ChainName::Envoy), "Envoy"),
            rule(
                [Match::Redirected, Match::ToLoopback, Match::Tcp(vec![transparent, dns])],
                Verdict::Accept,
                "redirected to Envoy or the stub",
            ),
            rule(
                [Match::Redirected, Match::ToLoopback, Match::Udp(vec![dns])],
                Verdict::Accept,
                "redirected to the stub",
            ),
            rule(
                [Match::OutLoopback, Match::Tcp(vec![transparent, dns, metrics])],
                Verdict::Reset,
                "Envoy's and attache's ports: by the redirect only",
            )
            .counted(Counter::OwnPorts),
            rule([Match::OutLoopback, Match::Udp(vec![dns])], Verdict::Reject, "the stub: by the redirect only")
                .counted(Counter::OwnPorts),
            rule([Match::OutLoopback], Verdict::Accept, "within the pod"),
            rule([Match::Reply, Match::Marked(Mark::Inbound)], Verdict::Accept, "answers to whom input let in"),
            rule([Match::AnyOwner], Verdict::Goto(ChainName::Refuse), "every other socket"),
            rule(
                [Match::Marked(Mark::Exempt)],
                Verdict::Accept,
                "no socket: the end of Envoy's or attache's connection",
            ),
            rule([Match::Neighbours(NEIGHBOURS_OUT)], Verdict::Accept, "no socket: IPv6 looks for its neighbours"),
            rule([], Verdict::Goto(ChainName::Refuse), "everything else"),
        ];
        let envoy = vec![
            rule([Match::Tcp(vec![53])], Verdict::Reset, "only attache asks resolvers").counted(Counter::EnvoyDns),
            rule([Match::Tcp(vec![]), Match::OutElsewhere], Verdict::Mark(Mark::Exempt), "Envoy's connections"),
            rule([Match::Tcp(vec![])], Verdict::Accept, "Envoy"),
            rule([], Verdict::Goto(ChainName::Refuse), "Envoy has no other protocol"),
        ];
        let refuse = vec![
            rule([Match::Udp(vec![443])], Verdict::Reject, "QUIC: clients fall back to TCP").counted(Counter::Quic),
            rule([Match::Udp(vec![])], Verdict::Reject, "other UDP").counted(Counter::Udp),
            rule([Match::Tcp(vec![])], Verdict::Reset, "other TCP").counted(Counter::Tcp),
            rule([Match::Icmp], Verdict::Reject, "echo").counted(Counter::Icmp),
            rule([], Verdict::Reject, "other protocols").counted(Counter::Other),
        ];
        let mut input = vec![
            rule([Match::InLoopback], Verdict::Accept, "within the pod"),
            rule([Match::Marked(Mark::Exempt)], Verdict::Accept, "answers to Envoy and attache"),
            rule([Match::Tcp(vec![metrics])], Verdict::Accept, "attache's metrics and probes; only attache can answer"),
        ];
        input.extend(let_in(inbound));
        input.extend([
            rule([Match::Marked(Mark::Inbound)], Verdict::Accept, "whom the ports above let in"),
            rule([Match::Neighbours(NEIGHBOURS_IN)], Verdict::Accept, "IPv6 finds its neighbours"),
            rule([], Verdict::Drop, "everything else").counted(Counter::Inbound),
        ]);
        // A socket bound to an interface keeps to it when the redirect changes the address.
        let leaving = vec![
            rule([Match::OutElsewhere, Match::ToLoopback], Verdict::Drop, "redirected, yet bound to an interface")
                .counted(Counter::Astray),
        ];
        let chains = [
            (ChainName::Redirect, redirect),
            (ChainName::Output, output),
            (ChainName::Envoy, envoy),
            (ChainName::Refuse, refuse),
            (ChainName::Input, input),
            (ChainName::Forward, Vec::new()),
            (ChainName::Leaving, leaving),
        ];
        Self { chains: chains.into_iter().map(|(name, rules)| Chain { name, rules }).collect() }
    }
}

/// Only a connection's first packet is let in: one that stood before the rules is not carried on.
fn let_in(inbound: &Inbound) -> Vec<Rule> {
    let mark = Verdict::Mark(Mark::Inbound);
    let (tcp, udp) = match inbound {
        Inbound::All => {
            return vec![
                rule([Match::Tcp(vec![]), Match::Syn, Match::New], mark, "inbound: all"),
                rule([Match::Udp(vec![]), Match::New], mark, "inbound: all"),
                rule([Match::Icmp, Match::New], mark, "inbound: all"),
            ];
        }
        Inbound::Ports { tcp, udp } => (tcp, udp),
    };
    let mut rules = Vec::new();
    if !tcp.is_empty() {
        rules.push(rule([Match::Tcp(tcp.clone()), Match::Syn, Match::New], mark, "inbound"));
    }
    if !udp.is_empty() {
        rules.push(rule([Match::Udp(udp.clone()), Match::New], mark, "inbound"));
    }
    rules
}

fn rule<const N: usize>(matches: [Match; N], verdict: Verdict, comment: &str) -> Rule {
    Rule { matches: matches.into(), verdict, counter: None, comment: comment.to_owned() }
}

impl Rule {
    fn counted(self, counter: Counter) -> Self {
        Self { counter: Some(counter), ..self }
    }
}
