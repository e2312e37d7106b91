//! What one user's process sees when it tries ways out.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{set_ip_ttl, set_ipv6_unicast_hops, socket_error};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, getsockname, ipproto, recv, send,
    socket_with,
};
use serde::{Deserialize, Serialize};

/// One way out to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// How.
    pub protocol: Protocol,
    /// Where to.
    pub to: SocketAddr,
    /// Whether to wait for an answer to a datagram.
    pub answer: bool,
    /// How long to wait, in milliseconds.
    pub patience: u32,
}

/// How to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A connection.
    Tcp,
    /// A datagram.
    Udp,
    /// A DNS query in a datagram.
    Dns,
    /// An ICMP echo request.
    Echo,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The attempt.
    pub attempt: Attempt,
    /// The socket's own address, by which the other end knows it.
    pub from: Option<SocketAddr>,
    /// What came of it.
    pub end: End,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// Somebody accepted the connection, or answered.
    Answered,
    /// The kernel took the datagram, and nobody answered.
    Sent,
    /// Refused: by a reset, or by the kernel at once.
    Refused,
    /// It left, and did not come further than the next host.
    Left,
    /// Nobody said anything.
    Silent,
    /// There is no route or no such family here: nothing was tried.
    Unroutable,
    /// The system does not let this user try.
    Forbidden,
    /// Something else.
    Failed(String),
}

/// `attache-probe.invalid`, type A: a name that nobody has (RFC 2606).
pub const QUERY: &[u8] =
    b"\xa7\x7a\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x0dattache-probe\x07invalid\x00\x00\x01\x00\x01";

/// Tries all at once, and writes a report for each on a line of its own.
pub fn run(attempts: &[Attempt], out: &mut impl Write) -> std::io::Result<()> {
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let running: Vec<_> =
            attempts.iter().map(|attempt| (attempt, scope.spawn(move || attempt_once(*attempt)))).collect();
        let ended = running.into_iter().map(|(attempt, thread)| {
            let (socket, from, end) =
                thread.join().unwrap_or_else(|_| (None, None, End::Failed("the attempt panicked".to_owned())));
            (socket, Report { attempt: *attempt, from, end })
        });
        // No socket is closed before all have ended: no two have the same port.
        let (_sockets, reports): (Vec<_>, Vec<_>) = ended.unzip();
        reports
    });
    for report in reports {
        serde_json::to_writer(&mut *out, &report)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

fn attempt_once(attempt: Attempt) -> (Option<OwnedFd>, Option<SocketAddr>, End) {
    let socket = match open(attempt) {
        Ok(socket) => socket,
        Err(Errno::ACCESS | Errno::PERM) => return (None, None, End::Forbidden),
        Err(error) => return (None, None, end_of(error)),
    };
    let end = match connect(&socket, &attempt.to) {
        Ok(()) | Err(Errno::INPROGRESS) => go(&socket, attempt).unwrap_or_else(|error| match end_of(error) {
            // Here is a route; somewhere else is none.
            End::Unroutable => End::Left,
            end => end,
        }),
        Err(error) => end_of(error),
    };
    let from = getsockname(&socket).ok().and_then(|address| SocketAddr::try_from(address).ok());
    (Some(socket), from, end)
}

fn open(attempt: Attempt) -> Result<OwnedFd, Errno> {
    let family = if attempt.to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, protocol) = match (attempt.protocol, attempt.to.ip()) {
        (Protocol::Tcp, _) => (SocketType::STREAM, None),
        (Protocol::Udp | Protocol::Dns, _) => (SocketType::DGRAM, None),
        (Protocol::Echo, IpAddr::V4(_)) => (SocketType::DGRAM, Some(ipproto::ICMP)),
        (Protocol::Echo, IpAddr::V6(_)) => (SocketType::DGRAM, Some(ipproto::ICMPV6)),
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, protocol)?;
    // What leaves the pod ends at the next host, which says so: a connection that is not held back is seen.
    match attempt.to.ip() {
        IpAddr::V4(_) => set_ip_ttl(&socket, 1)?,
        IpAddr::V6(_) => set_ipv6_unicast_hops(&socket, Some(1))?,
    }
    // A port of its own: sockets to several addresses may share one, which the redirect would have to change.
    let any: IpAddr = if attempt.to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    bind(&socket, &SocketAddr::new(any, 0))?;
    Ok(socket)
}

fn go(socket: &OwnedFd, attempt: Attempt) -> Result<End, Errno> {
    let echo: &[u8] = if attempt.to.is_ipv4() { &[8, 0, 0, 0, 0, 0, 0, 1] } else { &[128, 0, 0, 0, 0, 0, 0, 1] };
    let datagram = match attempt.protocol {
        Protocol::Tcp => {
            if !wait(socket, PollFlags::OUT, attempt.patience)? {
                return Ok(End::Silent);
            }
            socket_error(socket)??;
            return Ok(End::Answered);
        }
        Protocol::Udp => b"attache-probe".as_slice(),
        Protocol::Dns => QUERY,
        Protocol::Echo => echo,
    };
    send(socket, datagram, SendFlags::NOSIGNAL)?;
    // The kernel does not say of this one whether it was sent (Linux `ping_v6_sendmsg`); whoever refuses it does.
    let taken = if attempt.protocol == Protocol::Echo && attempt.to.is_ipv6() { End::Silent } else { End::Sent };
    if !attempt.answer || !wait(socket, PollFlags::IN, attempt.patience)? {
        return Ok(taken);
    }
    let mut buffer = [0; 512];
    match recv(socket, &mut buffer, RecvFlags::empty()) {
        Ok(_) => Ok(End::Answered),
        Err(error) if taken == End::Silent => Err(error),
        // It was sent, and comes back from somewhere.
        Err(_) => Ok(End::Sent),
    }
}

/// Whether it is ready within that many milliseconds.
fn wait(socket: &OwnedFd, for_what: PollFlags, patience: u32) -> Result<bool, Errno> {
    let patience = Timespec::try_from(Duration::from_millis(patience.into())).map_err(|_| Errno::INVAL)?;
    Ok(poll(&mut [PollFd::new(socket, for_what)], Some(&patience))? > 0)
}

fn end_of(error: Errno) -> End {
    match error {
        Errno::CONNREFUSED | Errno::PERM | Errno::ACCESS => End::Refused,
        Errno::HOSTUNREACH => End::Left,
        Errno::NETUNREACH | Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL => End::Unroutable,
        Errno::TIMEDOUT => End::Silent,
        error => End::Failed(error.to_string()),
    }
}
