//! From a host name to the addresses it has right now.
//!
//! Envoy does no DNS of its own: what comes from here, judged by [`crate::pipeline::address`], is what it connects to.
//! Names are absolute. The search domains and `ndots` of `resolv.conf` are not applied, because with them an allowed
//! `api.example.com` could be answered by whoever holds `api.example.com.<search domain>`.
//!
//! One [`Resolver`] serves every worker. A request whose name is cached takes no lock: the cache is a set of immutable
//! maps, each swapped whole when one of its names is learnt. A per-worker cache would read as fast, but would ask the
//! name server once for every worker and give two workers different answers.

mod cache;
mod question;
mod stated;
mod system;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::{FutureExt, Shared, WeakShared};
use hickory_resolver::proto::rr::Name;
use thiserror::Error;

use self::cache::Cache;
use self::stated::Authorities;
pub use self::stated::{Stated, StatedError};
use self::system::System;

/// Resolves names, within a deadline, and remembers the answers for as long as they may be kept.
///
/// Clones share everything. The tokio runtimes that call [`Resolver::resolve`] must live equally long: callers on
/// different runtimes that ask for the same name wait for one lookup, whose sockets belong to the one that came first.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<Inner>,
}

impl Resolver {
    /// A resolver for these options. Reads the hosts file and `resolv.conf` now and again when they change.
    ///
    /// # Errors
    /// When a host and port is stated more than once.
    pub fn new(options: Options) -> Result<Resolver, StatedError> {
        let stated = stated::by_authority(&options.stated)?;
        Ok(Resolver {
            inner: Arc::new(Inner {
                cache: Cache::new(options.capacity),
                system: System::read(&options, Instant::now()),
                flights: Mutex::new(HashMap::new()),
                failures: ArcSwap::default(),
                stated,
                options,
            }),
        })
    }

    /// What is known without waiting. `host` is a normalised A-label name without a trailing dot, or an IP literal;
    /// `port` picks what the operator stated, and orders the addresses by what [`Resolver::failed`] said.
    pub fn lookup(&self, host: &str, port: u16, now: Instant) -> Lookup {
        let inner = &self.inner;
        if let Some(answer) = inner.stated.get(host).and_then(|ports| ports.get(&port)) {
            return Lookup::Known(Ok(inner.failed_last(answer, port, now)));
        }
        if let Some(address) = literal(host) {
            return Lookup::Known(Ok(Arc::new(Answer {
                addresses: vec![address],
                stated_by_operator: None,
                expires: None,
            })));
        }
        match inner.cache.recall(host, now) {
            Some(known) => Lookup::Known(known.map(|answer| inner.failed_last(&answer, port, now))),
            None => Lookup::Unknown,
        }
    }

    /// The addresses of `host`, asking the name servers if [`Resolver::lookup`] does not know.
    ///
    /// # Errors
    /// See [`ResolveError`]. A failure is remembered for a few seconds too, so that a dead name costs its wait once.
    pub async fn resolve(&self, host: &str, port: u16, now: Instant) -> Result<Arc<Answer>, ResolveError> {
        if let Lookup::Known(known) = self.lookup(host, port, now) {
            return known;
        }
        let name = absolute(host)?;
        let flight = Inner::board(&self.inner, host, name, now);
        // The flight has this deadline too, but its clock runs on the runtime that started it, which may be busy.
        let answer = match tokio::time::timeout(self.inner.options.deadline, flight).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(ResolveError::Timeout),
        };
        Ok(self.inner.failed_last(&answer, port, now))
    }

    /// Notes that a connection to `address` was refused or timed out. For 30 s answers name it last, so that the
    /// agent's next request tries another.
    pub fn failed(&self, address: SocketAddr, now: Instant) {
        self.inner.failures.rcu(|failures| {
            let live = |failure: &&(SocketAddr, Instant)| failure.0 != address && failure.1 > now;
            let mut kept: Vec<_> = failures.iter().filter(live).copied().collect();
            let excess = (kept.len() + 1).saturating_sub(MAX_FAILURES);
            kept.drain(..excess);
            kept.push((address, now + FAILURE_MEMORY));
            kept
        });
    }
}

/// What [`Resolver::lookup`] can say at once.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The answer, or the failure, that still stands.
    Known(Result<Arc<Answer>, ResolveError>),
    /// Nothing is known, or no longer: call [`Resolver::resolve`].
    Unknown,
}

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// A and AAAA, as the name server ordered them, alternating from IPv4 on. There is one connection attempt at a
    /// time, so the family that is more often broken does not come first, and the first two are of both families.
    /// Where a name has both, a family this host has no route for comes last. Not yet judged.
    pub addresses: Vec<IpAddr>,
    /// The exact addresses the operator stated with `--resolve`. They are used as they are, in this order: private
    /// ones included.
    pub stated_by_operator: Option<Vec<SocketAddr>>,
    /// When the answer stops standing; never for literals and what the operator stated.
    pub expires: Option<Instant>,
}

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// The name does not exist.
    #[error("the name does not exist (NXDOMAIN); check its spelling")]
    NxDomain,
    /// The name exists and has neither A nor AAAA records.
    #[error("the name has no address; check its A and AAAA records")]
    NoAddress,
    /// No name server answered in time.
    #[error("no name server answered in time; check `resolv.conf` or `--dns-server`")]
    Timeout,
    /// The name servers failed or refused.
    #[error("the name server failed: {0}; check `resolv.conf` or `--dns-server`")]
    ServerFailure(Arc<str>),
    /// There is nobody to ask.
    #[error("there is no name server; add one to `resolv.conf`, or give `--dns-server` or `--resolve`")]
    NoServer,
    /// Not a name that DNS can hold.
    #[error("`{0}` is not a host name")]
    InvalidName(Box<str>),
}

impl ResolveError {
    /// The stable code for record, metric and reply.
    pub fn reason(&self) -> &'static str {
        match self {
            ResolveError::NxDomain => "dns_nxdomain",
            ResolveError::NoAddress => "dns_no_address",
            ResolveError::Timeout => "dns_timeout",
            ResolveError::ServerFailure(_) => "dns_server_failure",
            ResolveError::NoServer => "dns_no_server",
            ResolveError::InvalidName(_) => "dns_invalid_name",
        }
    }

    /// How long the failure is believed. A server's trouble passes sooner than a name's absence.
    fn stands_for(&self) -> Duration {
        match self {
            ResolveError::NxDomain | ResolveError::NoAddress | ResolveError::InvalidName(_) => Duration::from_secs(5),
            ResolveError::Timeout | ResolveError::ServerFailure(_) | ResolveError::NoServer => Duration::from_secs(1),
        }
    }
}

/// How to resolve.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name servers to ask instead of those of `resolv.conf` (`--dns-server`).
    pub name_servers: Vec<SocketAddr>,
    /// What the operator states outright (`--resolve`).
    pub stated: Vec<Stated>,
    /// The longest a lookup may take.
    pub deadline: Duration,
    /// The most names remembered.
    pub capacity: usize,
    /// Names with addresses that need no name server.
    pub hosts_file: PathBuf,
    /// Where the name servers are listed.
    pub resolv_conf: PathBuf,
    /// Whether this host has a route to an address.
    pub has_route: fn(IpAddr) -> bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            name_servers: Vec::new(),
            stated: Vec::new(),
            deadline: Duration::from_secs(3),
            capacity: 4096,
            hosts_file: PathBuf::from("/etc/hosts"),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            has_route,
        }
    }
}

/// Long enough for the requests of one agent turn to go elsewhere, short enough to notice a restart.
const FAILURE_MEMORY: Duration = Duration::from_secs(30);
const MAX_FAILURES: usize = 256;

/// A lookup that everyone who asks for the same name waits for. It runs while anyone waits, and is dropped with the
/// last of them.
type Flight = Shared<Pin<Box<dyn Future<Output = Result<Arc<Answer>, ResolveError>> + Send>>>;
type WeakFlight = WeakShared<Pin<Box<dyn Future<Output = Result<Arc<Answer>, ResolveError>> + Send>>>;

struct Inner {
    options: Options,
    stated: Authorities,
    cache: Cache,
    system: System,
    /// Only lookups that have to ask a name server come here.
    flights: Mutex<HashMap<Box<str>, WeakFlight>>,
    failures: ArcSwap<Vec<(SocketAddr, Instant)>>,
}

impl Inner {
    /// Joins the lookup of `host` that is under way, or starts one.
    fn board(inner: &Arc<Inner>, host: &str, name: Name, now: Instant) -> Flight {
        let mut flights = inner.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(host).and_then(WeakShared::upgrade) {
            return flight;
        }
        // A flight may have landed since the caller looked.
        if let Some(known) = inner.cache.recall(host, now) {
            return std::future::ready(known).boxed().shared();
        }
        let flight = Inner::fly(Arc::clone(inner), Box::from(host), name).boxed().shared();
        if flights.len() >= inner.options.capacity {
            flights.retain(|_, flight| flight.upgrade().is_some());
        }
        if let Some(weak) = flight.downgrade() {
            flights.insert(Box::from(host), weak);
        }
        flight
    }

    async fn fly(inner: Arc<Inner>, host: Box<str>, name: Name) -> Result<Arc<Answer>, ResolveError> {
        let started = Instant::now();
        if inner.system.refresh(&inner.options, started) {
            // Another network has other addresses for the same names.
            inner.cache.clear();
        }
        let question = question::ask(&inner.system, &name, inner.options.has_route);
        let outcome = match tokio::time::timeout(inner.options.deadline, question).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ResolveError::Timeout),
        };
        let landed = Instant::now();
        let (outcome, expires) = match outcome {
            Ok((addresses, ttl)) => {
                let expires = landed + ttl;
                let answer = Answer { addresses, stated_by_operator: None, expires: Some(expires) };
                (Ok(Arc::new(answer)), expires)
            }
            Err(error) => {
                let expires = landed + error.stands_for();
                (Err(error), expires)
            }
        };
        inner.cache.learn(&host, outcome.clone(), expires, landed);
        let mut flights = inner.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(&host);
        outcome
    }

    fn failed_last(&self, answer: &Arc<Answer>, port: u16, now: Instant) -> Arc<Answer> {
        let failures = self.failures.load();
        if failures.is_empty() {
            return Arc::clone(answer);
        }
        let failed = |address: SocketAddr| failures.iter().any(|&(failed, until)| failed == address && until > now);
        let mut reordered = Answer::clone(answer);
        // Sorting is stable: among the rest, and among the failed, the order stays.
        reordered.addresses.sort_by_key(|&address| failed(SocketAddr::new(address, port)));
        if let Some(stated) = &mut reordered.stated_by_operator {
            stated.sort_by_key(|&address| failed(address));
        }
        match reordered == **answer {
            true => Arc::clone(answer),
            false => Arc::new(reordered),
        }
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// The absolute name, which no search domain is added to.
fn absolute(host: &str) -> Result<Name, ResolveError> {
    let invalid = || ResolveError::InvalidName(Box::from(host));
    let byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let last = host.rsplit('.').next().unwrap_or_default();
    // `127.1` and `0x7f.1` are addresses to some resolvers and names to others.
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    if numeric || !host.bytes().all(byte) || host.len() > 253 || host.split('.').any(str::is_empty) {
        return Err(invalid());
    }
    let mut name = Name::from_ascii(host).map_err(|_| invalid())?;
    name.set_fqdn(true);
    Ok(name)
}

/// Asks the kernel's routing table: connecting a datagram socket sends nothing, and fails where there is no way.
fn has_route(address: IpAddr) -> bool {
    let any: SocketAddr = match address {
        IpAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    UdpSocket::bind(any).is_ok_and(|socket| socket.connect((address, 443)).is_ok())
}
