//! One question to the name servers: both address families of a name.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};

use super::ResolveError;
use super::system::System;

/// The addresses of `name` in the order to try them, and for how long they stand.
///
/// # Errors
/// When neither family has an address.
pub(super) async fn ask(
    system: &System,
    name: &Name,
    has_route: fn(IpAddr) -> bool,
) -> Result<(Vec<IpAddr>, Duration), ResolveError> {
    if let Some((v4, v6)) = system.hosts_entry(name) {
        return Ok((order(v4, v6, has_route), HOSTS_TTL));
    }
    let dns = system.dns().ok_or(ResolveError::NoServer)?;
    let (v4, v6) = both(&dns, name).await;
    let ttl = match (&v4, &v6) {
        (Ok((_, a)), Ok((_, b))) => *a.min(b),
        // The other family's failure may be passing: do not settle for half an answer for long.
        (Ok((_, ttl)), Err(ResolveError::NoAddress | ResolveError::NxDomain))
        | (Err(ResolveError::NoAddress | ResolveError::NxDomain), Ok((_, ttl))) => *ttl,
        (Ok((_, ttl)), Err(_)) | (Err(_), Ok((_, ttl))) => (*ttl).min(HALF_ANSWER_TTL),
        (Err(a), Err(b)) => return Err(graver(a, b).clone()),
    };
    let addresses = |family: Family| family.map(|(addresses, _)| addresses).unwrap_or_default();
    let mut ordered = order(addresses(v4), addresses(v6), has_route);
    ordered.truncate(MAX_ADDRESSES);
    Ok((ordered, ttl.clamp(MIN_TTL, MAX_TTL)))
}

/// A TTL of 0 would ask for every request; an hour is long for an address that has moved.
const MIN_TTL: Duration = Duration::from_secs(1);
const MAX_TTL: Duration = Duration::from_secs(3600);
/// The hosts file is looked at again after this long.
const HOSTS_TTL: Duration = Duration::from_secs(5);
const HALF_ANSWER_TTL: Duration = Duration::from_secs(5);
/// How long a family without an answer may hold up one that has addresses: some servers drop AAAA questions.
const GRACE: Duration = Duration::from_millis(100);
const MAX_ADDRESSES: usize = 64;

type Family = Result<(Vec<IpAddr>, Duration), ResolveError>;

async fn both(dns: &TokioResolver, name: &Name) -> (Family, Family) {
    let v4 = Box::pin(one(dns, name, RecordType::A));
    let v6 = Box::pin(one(dns, name, RecordType::AAAA));
    match select(v4, v6).await {
        Either::Left((first, other)) => {
            let second = after(&first, other).await;
            (first, second)
        }
        Either::Right((first, other)) => {
            let second = after(&first, other).await;
            (second, first)
        }
    }
}

async fn after(first: &Family, other: impl Future<Output = Family>) -> Family {
    match first {
        Ok(_) => tokio::time::timeout(GRACE, other).await.unwrap_or(Err(ResolveError::Timeout)),
        Err(_) => other.await,
    }
}

async fn one(dns: &TokioResolver, name: &Name, kind: RecordType) -> Family {
    let lookup = dns.lookup(name.clone(), kind).await.map_err(failure)?;
    let records = lookup.answers();
    let addresses: Vec<IpAddr> = records.iter().filter_map(|record| record.data.ip_addr()).collect();
    if addresses.is_empty() {
        return Err(ResolveError::NoAddress);
    }
    // The aliases on the way count too: the shortest-lived link decides.
    let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
    Ok((addresses, Duration::from_secs(u64::from(ttl))))
}

fn failure(error: NetError) -> ResolveError {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => ResolveError::NxDomain,
            ResponseCode::NoError => ResolveError::NoAddress,
            code => ResolveError::ServerFailure(Arc::from(code.to_str())),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => ResolveError::ServerFailure(Arc::from(code.to_str())),
        NetError::Timeout => ResolveError::Timeout,
        other => ResolveError::ServerFailure(Arc::from(other.to_string())),
    }
}

/// Of two families' failures the one that says more: that a name does not exist, then that we could not find out.
fn graver<'a>(a: &'a ResolveError, b: &'a ResolveError) -> &'a ResolveError {
    let rank = |error: &ResolveError| match error {
        ResolveError::NxDomain => 0,
        ResolveError::ServerFailure(_) => 1,
        ResolveError::Timeout => 2,
        _ => 3,
    };
    if rank(a) <= rank(b) { a } else { b }
}

fn order(v4: Vec<IpAddr>, v6: Vec<IpAddr>, has_route: fn(IpAddr) -> bool) -> Vec<IpAddr> {
    // With one family there is nothing to prefer.
    let choice = !v4.is_empty() && !v6.is_empty();
    let mut ordered = Vec::with_capacity(v4.len() + v6.len());
    let (mut v4, mut v6) = (v4.into_iter(), v6.into_iter());
    loop {
        match (v4.next(), v6.next()) {
            (None, None) => break,
            (a, b) => ordered.extend(a.into_iter().chain(b)),
        }
    }
    if choice {
        ordered.sort_by_cached_key(|&address| !has_route(address));
    }
    ordered
}
