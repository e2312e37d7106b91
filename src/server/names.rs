//! The resolver, as exchanges know it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use crate::ext_proc::Resolve;
use crate::pipeline::exchange::{ResolveFailure, Resolved};
use crate::pipeline::message::Host;
use crate::pipeline::policy::Reason;
use crate::resolver::{Answer, Lookup, ResolveError, Resolver};

/// Looks names up.
pub struct Names(pub Arc<Resolver>);

impl Resolve for Names {
    fn cached(&self, host: &Host, port: u16) -> Option<Result<Resolved, ResolveFailure>> {
        let found = match host {
            Host::Name(name) => self.0.lookup(name, port, Instant::now()),
            Host::Address(address) => self.0.lookup(&address.to_string(), port, Instant::now()),
        };
        match found {
            Lookup::Known(answer) => Some(resolved(answer)),
            Lookup::Unknown => None,
        }
    }

    fn resolve(&self, host: Host, port: u16) -> Pin<Box<dyn Future<Output = Result<Resolved, ResolveFailure>> + Send>> {
        let resolver = self.0.clone();
        Box::pin(async move { resolved(resolver.resolve(&host.to_string(), port, Instant::now()).await) })
    }
}

fn resolved(answer: Result<Arc<Answer>, ResolveError>) -> Result<Resolved, ResolveFailure> {
    match answer {
        Ok(answer) => Ok(match &answer.stated_by_operator {
            Some(stated) => Resolved::Stated(stated.iter().copied().collect()),
            None => Resolved::Looked(answer.addresses.iter().copied().collect()),
        }),
        Err(error) => {
            let reason = match &error {
                ResolveError::NxDomain | ResolveError::NoAddress | ResolveError::InvalidName(_) => Reason::NameNotFound,
                ResolveError::Timeout | ResolveError::ServerFailure(_) | ResolveError::NoServer => Reason::DnsFailure,
            };
            Err(ResolveFailure { reason, detail: error.to_string().into() })
        }
    }
}
