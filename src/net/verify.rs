//! Proves that the rules hold, by trying: as the agent, as Envoy and as attaché.
//!
//! What is called is nobody's (RFC 5737, RFC 3849), so whoever accepts a connection or answers is on this machine.
//! Where Envoy and attaché do not listen yet, this process does, and sees who arrives and where they wanted to go.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::net::sockopt::{ip_original_dst, ipv6_original_dst};
use serde::Serialize;
use thiserror::Error;

use super::layout::Layout;
use super::probe::{Attempt, End, Protocol, QUERY, Report};

/// What was tried, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// As whom.
    #[serde(rename = "as")]
    pub who: Who,
    /// How.
    pub protocol: Protocol,
    /// Where to.
    pub to: SocketAddr,
    /// What must come of it.
    pub expected: Expected,
    /// Whether it did.
    pub outcome: Outcome,
    /// What was seen.
    pub seen: String,
}

/// As whom something is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// Anyone who is not exempt.
    Agent,
    /// Envoy's user.
    Envoy,
    /// Attaché's user.
    Attache,
}

/// What must come of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// It arrives at Envoy's transparent listener.
    LeadsToEnvoy,
    /// It arrives at attaché's DNS stub.
    LeadsToStub,
    /// It is refused.
    Refused,
    /// It goes where it wanted to.
    NotRedirected,
}

/// Whether what had to come of it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did.
    Ok,
    /// It did not.
    Failed,
    /// It could not be tried.
    Skipped,
}

/// How to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The user that plays the agent.
    pub probe: u32,
    /// Whether it counts as closed when nobody answers: rules of others may drop where ours refuse.
    pub accept_silence: bool,
}

/// Why nothing was proven, neither way.
#[derive(Debug, Error)]
pub enum VerifyError {
    #[error("user `{0}` cannot play the agent: it is exempt, or root; name another with `--probe-uid`")]
    #[doc = "The probe's user would prove nothing."]
    ProbeUser(u32),
    #[error("cannot listen on `{0}`: {1}")]
    #[doc = "There is nothing to arrive at."]
    Listen(SocketAddr, #[source] io::Error),
    #[error("cannot try the rules as user `{0}`: {1}")]
    #[doc = "The probe did not run."]
    Probe(u32, String),
}

/// Whether this user can play the agent.
pub fn is_agent(layout: &Layout, probe: u32) -> Result<(), VerifyError> {
    let exempt = [0, layout.envoy, layout.attache].contains(&probe);
    if exempt { Err(VerifyError::ProbeUser(probe)) } else { Ok(()) }
}

/// Tries everything; an error if it cannot be tried.
pub fn verify(layout: &Layout, options: Options) -> Result<Vec<Check>, VerifyError> {
    is_agent(layout, options.probe)?;
    let stage = Stage::set(layout)?;
    let plan = plan(layout, &stage);
    let mut checks = Vec::new();
    for (who, uid) in [(Who::Agent, options.probe), (Who::Envoy, layout.envoy), (Who::Attache, layout.attache)] {
        let planned: Vec<&(Who, Attempt, Expected)> = plan.iter().filter(|(as_whom, ..)| *as_whom == who).collect();
        let attempts: Vec<Attempt> = planned.iter().map(|(_, attempt, _)| *attempt).collect();
        let reports = probe(uid, &attempts)?;
        let arrivals = stage.arrivals();
        if reports.len() != planned.len() {
            return Err(VerifyError::Probe(uid, "it did not report on everything".to_owned()));
        }
        for ((_, attempt, expected), report) in planned.into_iter().zip(reports) {
            let (outcome, seen) = judge(*expected, &report, &arrivals, &stage, options);
            checks.push(Check { who, protocol: attempt.protocol, to: attempt.to, expected: *expected, outcome, seen });
        }
    }
    Ok(checks)
}

/// Whether the rules hold: something that leaves the pod could be tried, and nothing failed.
pub fn holds(checks: &[Check]) -> bool {
    let proven = |check: &Check| check.outcome == Outcome::Ok && check.expected == Expected::LeadsToEnvoy;
    checks.iter().any(proven) && checks.iter().all(|check| check.outcome != Outcome::Failed)
}

/// Whether there was no way out to try.
pub fn is_unroutable(checks: &[Check]) -> bool {
    let led: Vec<&Check> = checks.iter().filter(|check| check.expected == Expected::LeadsToEnvoy).collect();
    led.iter().all(|check| check.outcome == Outcome::Skipped)
}

impl Check {
    /// What to do about a failure.
    pub fn remedy(&self) -> &'static str {
        match (self.expected, self.who) {
            (Expected::LeadsToEnvoy | Expected::LeadsToStub, _) => {
                "run `attache net apply` in this namespace with the same ports and users; if it has been run, look in \
                 `nft list ruleset` and `iptables-save` for rules that come before"
            }
            (Expected::Refused, Who::Agent) => {
                "this is a way round the proxy: run `attache net apply` in this namespace; if it has been run, look \
                 for other rules that let it pass"
            }
            (Expected::Refused, _) => "only attaché may ask resolvers: check `--envoy-uid` and `--attache-uid`",
            (Expected::NotRedirected, _) => {
                "Envoy and attaché must reach the outside: check `--envoy-uid` and `--attache-uid`, and run `attache \
                 net apply` again"
            }
        }
    }
}

const OUTSIDE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// Where clouds keep the machine's credentials.
const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

fn plan(layout: &Layout, stage: &Stage) -> Vec<(Who, Attempt, Expected)> {
    let local = layout.local;
    let mut plan = Vec::new();
    for (outside, loopback) in OUTSIDE.into_iter().zip(LOOPBACK) {
        if !stage.families.contains(&loopback) {
            continue;
        }
        let mut add = |who, protocol, ip: IpAddr, port, expected| {
            let answer = protocol != Protocol::Dns || !stage.own(loopback, Place::Stub);
            // Who is led astray arrives at once; the outside may take long to say that it is not there.
            let patience = if expected == Expected::NotRedirected { 500 } else { 2000 };
            plan.push((who, Attempt { protocol, to: SocketAddr::new(ip, port), answer, patience }, expected));
        };
        for port in &layout.redirected {
            add(Who::Agent, Protocol::Tcp, outside, *port, Expected::LeadsToEnvoy);
        }
        add(Who::Agent, Protocol::Tcp, outside, 53, Expected::LeadsToStub);
        add(Who::Agent, Protocol::Dns, outside, 53, Expected::LeadsToStub);
        if outside.is_ipv4() && layout.redirected.contains(&80) {
            add(Who::Agent, Protocol::Tcp, METADATA, 80, Expected::LeadsToEnvoy);
        }
        for port in [22, 853, 8443].into_iter().filter(|port| !layout.redirected.contains(port)) {
            add(Who::Agent, Protocol::Tcp, outside, port, Expected::Refused);
        }
        for port in [123, 443] {
            add(Who::Agent, Protocol::Udp, outside, port, Expected::Refused);
        }
        add(Who::Agent, Protocol::Echo, outside, 0, Expected::Refused);
        for port in [local.transparent, local.dns, local.metrics] {
            add(Who::Agent, Protocol::Tcp, loopback, port, Expected::Refused);
        }
        add(Who::Agent, Protocol::Udp, loopback, local.dns, Expected::Refused);
        for port in layout.redirected.iter().take(1) {
            add(Who::Envoy, Protocol::Tcp, outside, *port, Expected::NotRedirected);
        }
        add(Who::Envoy, Protocol::Tcp, outside, 53, Expected::Refused);
        add(Who::Attache, Protocol::Dns, outside, 53, Expected::NotRedirected);
    }
    plan
}

fn judge(
    expected: Expected,
    report: &Report,
    arrivals: &[Arrival],
    stage: &Stage,
    options: Options,
) -> (Outcome, String) {
    let Report { attempt, end, .. } = report;
    let arrival = arrivals.iter().find(|arrival| arrival.is_of(report)).map(|arrival| arrival.place);
    let own = match expected {
        Expected::LeadsToStub => stage.own(loopback_of(attempt.to), Place::Stub),
        _ if attempt.protocol == Protocol::Dns => stage.own(loopback_of(attempt.to), Place::Stub),
        _ => stage.own(loopback_of(attempt.to), Place::Envoy),
    };
    let (good, seen) = match (end, arrival) {
        (End::Unroutable, _) => {
            return (Outcome::Skipped, "there is no route to try".into());
        }
        (End::Forbidden, _) if expected == Expected::Refused => {
            (true, "this user may not open such a socket at all".to_owned())
        }
        (_, Some(Place::Envoy)) => (expected == Expected::LeadsToEnvoy, "it arrived at Envoy's port".to_owned()),
        (_, Some(Place::Stub)) => (expected == Expected::LeadsToStub, "it arrived at the stub's port".to_owned()),
        (_, Some(Place::Metrics)) => (false, "it arrived at attaché's metrics".to_owned()),
        // Nobody has these addresses: who answers is here.
        (End::Answered, None) if !own && attempt.to.port() != 0 => {
            let led = matches!(expected, Expected::LeadsToEnvoy | Expected::LeadsToStub);
            (led, "somebody answered, on this machine if nobody has that address".to_owned())
        }
        (End::Answered, None) => (expected == Expected::NotRedirected, "it was answered from outside".to_owned()),
        (End::Refused, None) => {
            let elsewhere = expected == Expected::NotRedirected && attempt.protocol == Protocol::Tcp;
            (expected == Expected::Refused || elsewhere, "it was refused".to_owned())
        }
        (End::Sent, None) => (expected == Expected::NotRedirected, "it left the pod".to_owned()),
        (End::Left, None) => {
            (expected == Expected::NotRedirected, "it left the pod and ended at the next host".to_owned())
        }
        (End::Silent, None) if expected == Expected::NotRedirected => (true, "it left the pod".to_owned()),
        (End::Silent, None) if expected == Expected::Refused => {
            let seen = "nobody answered, so it was dropped or left the pod (`--accept-silence` takes that for closed)";
            (options.accept_silence, seen.to_owned())
        }
        (End::Silent, None) => (false, "nobody answered".to_owned()),
        (End::Forbidden, None) => (false, "this user may not open such a socket at all".to_owned()),
        (End::Failed(error), None) => (false, format!("it failed: {error}")),
    };
    (if good { Outcome::Ok } else { Outcome::Failed }, seen)
}

fn loopback_of(to: SocketAddr) -> IpAddr {
    if to.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) }
}

/// Runs the attempts in a process of that user; one report for each, in their order.
fn probe(uid: u32, attempts: &[Attempt]) -> Result<Vec<Report>, VerifyError> {
    let failed = |error: &dyn std::fmt::Display| VerifyError::Probe(uid, error.to_string());
    let argument = serde_json::to_string(attempts).map_err(|error| failed(&error))?;
    let mut command = Command::new("/proc/self/exe");
    command.args(["net", "probe", &argument]).uid(uid).gid(NOBODY).current_dir("/");
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed(&error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(&format!("it ended with {}: {}", output.status, said.trim())));
    }
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|error| failed(&error))).collect()
}

/// The group of the probe's processes. The rules ask for users alone.
const NOBODY: u32 = 65534;

/// Somebody who came to one of our ports.
struct Arrival {
    place: Place,
    from: SocketAddr,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Envoy,
    Stub,
    Metrics,
}

enum What {
    /// A connection, and where it wanted to go, if the kernel knows.
    Connection(Option<SocketAddr>),
    /// The DNS query.
    Query,
    /// Another datagram.
    Datagram,
}

impl Arrival {
    /// Its port may be another by now: of two connections from one port to two addresses, which the redirect makes
    /// one, one gets another.
    fn is_of(&self, report: &Report) -> bool {
        let Some(from) = report.from else { return false };
        let protocol = report.attempt.protocol;
        self.from.ip() == from.ip()
            && match self.what {
                What::Connection(Some(wanted)) => protocol == Protocol::Tcp && wanted == report.attempt.to,
                What::Connection(None) => protocol == Protocol::Tcp && self.from == from,
                What::Query => protocol == Protocol::Dns,
                What::Datagram => protocol == Protocol::Udp && self.from == from,
            }
    }
}

/// The ports to arrive at. Those that are taken are Envoy's and attaché's, who listen there already.
struct Stage {
    families: Vec<IpAddr>,
    listeners: Vec<(IpAddr, Place, TcpListener)>,
    stubs: Vec<UdpSocket>,
}

impl Stage {
    fn set(layout: &Layout) -> Result<Self, VerifyError> {
        let mut stage = Self { families: Vec::new(), listeners: Vec::new(), stubs: Vec::new() };
        let local = layout.local;
        for ip in LOOPBACK {
            // A namespace without the family has no such address.
            match UdpSocket::bind((ip, 0)) {
                Err(error) if ip.is_ipv6() && is_absent(&error) => continue,
                _ => stage.families.push(ip),
            }
            for (place, port) in
                [(Place::Envoy, local.transparent), (Place::Stub, local.dns), (Place::Metrics, local.metrics)]
            {
                let address = SocketAddr::new(ip, port);
                let Some(listener) = listen(address)? else { continue };
                stage.listeners.push((ip, place, listener));
                // Together: one program has both.
                if place == Place::Stub {
                    let socket = UdpSocket::bind(address).and_then(|s| s.set_nonblocking(true).map(|()| s));
                    stage.stubs.push(socket.map_err(|error| VerifyError::Listen(address, error))?);
                }
            }
        }
        Ok(stage)
    }

    /// Whether this process listens there, for want of somebody else.
    fn own(&self, loopback: IpAddr, place: Place) -> bool {
        self.listeners.iter().any(|(ip, own, _)| (*ip, *own) == (loopback, place))
    }

    /// Everyone who came since the last time. Whoever tried has ended, so nobody is still on the way.
    fn arrivals(&self) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        for (_, place, listener) in &self.listeners {
            while let Ok((stream, from)) = listener.accept() {
                let wanted = match from {
                    SocketAddr::V4(_) => ip_original_dst(&stream).map(SocketAddr::V4),
                    SocketAddr::V6(_) => ipv6_original_dst(&stream).map(SocketAddr::V6),
                };
                arrivals.push(Arrival { place: *place, from, what: What::Connection(wanted.ok()) });
            }
        }
        for socket in &self.stubs {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let what = if buffer.get(..length) == Some(QUERY) { What::Query } else { What::Datagram };
                arrivals.push(Arrival { place: Place::Stub, from, what });
            }
        }
        arrivals
    }
}

/// `None` if somebody listens there already.
fn listen(address: SocketAddr) -> Result<Option<TcpListener>, VerifyError> {
    match TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener)) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(VerifyError::Listen(address, error)),
    }
}

fn is_absent(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::ADDRNOTAVAIL | rustix::io::Errno::AFNOSUPPORT))
}
