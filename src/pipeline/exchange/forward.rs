//! The way out: what is put into an admitted request, and what stays behind.

use std::sync::Arc;

use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::look::Names;
use super::request::{Request, no_request, raw_path};
use super::{Exchange, Forward, Found, Now, Ready, Shows, record};
use crate::pipeline::address;
use crate::pipeline::agent::is_override_header;
use crate::pipeline::audit::{DecisionRecord, Verdict};
use crate::pipeline::credential::{Slot, with_query};
use crate::pipeline::message::RequestHead;
use crate::pipeline::policy::decision::{Denial, Reason};
use crate::pipeline::policy::matcher::Scheme;
use crate::pipeline::policy::{Permit, Placeholder};

impl Exchange {
    /// Puts the credentials in, takes out what must not leave, and says what is about to happen.
    pub(super) fn inject(&self, ready: &Ready, now: Now) -> Result<(Forward, DecisionRecord), Denial> {
        let Ready { found: Found { permit, upstream, would }, secrets } = ready;
        let request = self.request.as_ref().ok_or_else(no_request)?;
        let head = request.head()?;
        let mut forward = Forward {
            upstream: *upstream,
            plaintext: permit.scheme() == Scheme::Http,
            set: SmallVec::new(),
            remove: self.look.stays.clone().unwrap_or_else(|| self.leaves_behind(request, head, permit)),
            body: None,
            once: false,
            awaits_trailers: false,
            shows: Shows::default(),
        };
        forward.remove.extend(self.look.remove.iter().cloned());
        for (name, value) in &self.look.set {
            if !forward.remove.contains(name) {
                forward.set.push((name.clone(), Zeroizing::new(value.clone())));
            }
        }
        let own_query = self.look.query.as_deref().or(head.query.as_deref());
        let mut query = self.look.query.as_deref().map(|query| Zeroizing::new(query.to_owned()));
        let mut credentials = Vec::new();
        // What passes only because nothing is enforced gets no credential.
        let injections = permit.injections().filter(|_| would.is_none());
        for (at, injection) in injections.enumerate() {
            let secret = secrets.get(at).and_then(Option::as_ref).ok_or_else(|| {
                Denial { rule: permit.rule().cloned(), ..Denial::new(Reason::SecretUnavailable) }
                    .because(format!("`{}`", injection.name))
            })?;
            credentials.push(injection.name.clone());
            let value = injection.format.render(secret);
            match &injection.slot {
                Slot::Header(name) => {
                    forward.remove.retain(|removed| removed != name);
                    forward.set.retain(|(set, _)| set != name);
                    forward.set.push((name.clone(), value));
                }
                Slot::Query(name) => {
                    let before = query.as_ref().map(|q: &Zeroizing<String>| q.as_str()).or(own_query);
                    query = Some(with_query(before, name, &value));
                }
            }
        }
        if let Some(query) = query {
            let target = [raw_path(head).as_bytes(), b"?", query.as_bytes()].concat();
            forward.set.push((":path".into(), Zeroizing::new(target)));
        }
        let record = DecisionRecord {
            scheme: Some(permit.scheme().as_str().into()),
            port: Some(permit.port()),
            rule: permit.rule().cloned(),
            would: would.as_ref().map(record::would),
            watched: permit.watched().to_vec(),
            credential: credentials,
            placeholders: self.misplaced(request, head, permit, &forward),
            upstream: Some(address::socket_text(upstream.first)),
            ..self.record(Verdict::Allow, now)
        };
        Ok((forward, record))
    }

    /// The credentials whose placeholder leaves with the request: it stands where no injection replaces it.
    fn misplaced(&self, request: &Request, head: &RequestHead, permit: &Permit, forward: &Forward) -> Vec<Arc<str>> {
        let Some(caller) = request.caller else { return Vec::new() };
        let mut placeholders = self.rules.placeholders(caller.agent).peekable();
        if placeholders.peek().is_none() {
            return Vec::new();
        }
        // Where nothing is injected, nothing is replaced.
        let rewritten = forward.set.iter().any(|(name, _)| **name == *":path");
        let slots = permit.injections().map(|injection| &injection.slot).filter(|_| rewritten);
        let query = slots.fold(head.query.clone().unwrap_or_default(), |query, slot| match slot {
            Slot::Query(name) => with_query(Some(&query), name, b"").as_str().into(),
            Slot::Header(_) => query,
        });
        let replaced = |name: &str| {
            let mut names = forward.remove.iter().chain(forward.set.iter().map(|(name, _)| name));
            name.starts_with(':') || names.any(|gone| **gone == *name)
        };
        let leaves = |placeholder: &&Placeholder| {
            let mut fields = head.fields.iter().filter(|(name, _)| !replaced(name));
            placeholder.is_in_target(&head.path)
                || placeholder.is_in_target(&query)
                || fields.any(|(_, value)| placeholder.is_in_field(value))
        };
        placeholders.filter(leaves).map(|placeholder| placeholder.credential.clone()).collect()
    }

    /// The names of the fields that are for this proxy alone, or that would make the upstream see another request.
    pub(super) fn leaves_behind(&self, request: &Request, head: &RequestHead, permit: &Permit) -> Names {
        let token_in_authorization = request.caller.is_some_and(|c| c.token_in_authorization);
        let mut names = Names::new();
        for (name, _) in head.fields.iter() {
            let remove = match name {
                "proxy-authorization" | "proxy-connection" | "x-agent-traceparent" | "x-agent-tracestate" => true,
                "authorization" => token_in_authorization,
                _ => {
                    name.starts_with("x-attache-")
                        || self.rules.agents.is_identity_header(name)
                        || (is_override_header(name) && !permit.allows_override_headers())
                }
            };
            if remove && !names.iter().any(|n| **n == *name) {
                names.push(name.into());
            }
        }
        names
    }
}
