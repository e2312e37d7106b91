//! The request of an exchange: what is known of it, and what it asks for.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Now, count};
use crate::pipeline::agent::{Caller, Origin, is_override_header};
use crate::pipeline::approval::{About, Fingerprint, PREVIEW, Subject};
use crate::pipeline::limit::{Charge, Charges, Limit, Weight};
use crate::pipeline::message::{Door, Fields, Host, RequestHead};
use crate::pipeline::policy::decision::{Denial, Reason, RuleId};
use crate::pipeline::policy::{Permit, Ruleset};
use crate::pipeline::session::{Peer, Session};

/// The request, as far as it could be read, and who sent it.
#[derive(Debug)]
pub struct Request {
    pub id: Arc<str>,
    pub door: Door,
    pub head: Result<RequestHead, Fields>,
    pub session: Option<Session>,
    pub sni: Option<String>,
    pub source: Option<Box<str>>,
    pub destination: Option<Box<str>>,
    pub peer: Option<Peer>,
    pub caller: Option<Caller>,
    /// It was found out who sent it: what it shows is no guess.
    pub was_known: bool,
    pub body: Body,
    /// Trailers follow the body that was held.
    pub awaits_trailers: bool,
}

/// How much of the body has been seen.
#[derive(Debug)]
pub enum Body {
    /// It comes, and has not been asked for.
    Unseen,
    /// All of it.
    Whole(Box<[u8]>),
    /// It says itself that it is more than can be held, and has not been asked for.
    Large,
    /// It was to be held and is more than can be.
    Cut,
}

impl Request {
    /// Identify, check that tunnel, TLS name and authority agree, then ask the policy.
    pub fn decide(&mut self, rules: &Ruleset, now: Now) -> Result<Permit, Denial> {
        // Agents are numbered by their policy: who the last one's caller was means nothing in this one.
        self.caller = None;
        let head = self.head.as_ref().map_err(|_| no_request())?;
        if self.door != Door::Proxy && self.session.is_none() && self.destination.is_none() {
            return Err(Denial::new(Reason::InternalError).because("a request came neither in a tunnel nor redirected"));
        }
        let caller = rules.agents.identify(head, &self.origin(now))?;
        self.caller = caller;
        self.was_known |= caller.is_some();
        let caller = caller.ok_or_else(|| Denial::new(Reason::NoIdentity))?;
        check_authority(head, self.session.as_ref(), self.sni.as_deref())?;
        rules.decide(caller.agent, head, now.wall)
    }

    /// What identifies its caller beside its own fields.
    pub fn origin(&self, now: Now) -> Origin<'_> {
        Origin {
            session: self.session.as_ref(),
            peer: self.peer.as_ref(),
            source: self.source.as_deref(),
            now: now.wall,
            guessed: (!self.was_known).then_some(now.monotonic),
        }
    }

    pub fn head(&self) -> Result<&RequestHead, Denial> {
        self.head.as_ref().map_err(|_| no_request())
    }

    pub fn fields(&self) -> &Fields {
        match &self.head {
            Ok(head) => &head.fields,
            Err(fields) => fields,
        }
    }

    /// True if the body has to be seen for this permit and has not been.
    pub fn lacks_body(&self, permit: &Permit) -> bool {
        let limits = permit.limits().iter().chain(permit.watched_limits());
        matches!(self.body, Body::Unseen) && (!permit.approvals().is_empty() || self.is_weighed(limits))
    }

    /// True if the permit is not to be had without all of the body.
    pub fn needs_body(&self, permit: &Permit) -> bool {
        !permit.approvals().is_empty() || self.is_weighed(permit.limits().iter())
    }

    fn is_weighed<'l>(&self, mut limits: impl Iterator<Item = &'l Arc<Limit>>) -> bool {
        let weighed = |limit: &Arc<Limit>| match limit.weight {
            Weight::Request => false,
            Weight::Bytes => self.stated_length().is_none(),
            Weight::Items(_) => true,
        };
        limits.any(weighed)
    }

    /// What the request adds to the counts of these limits.
    pub fn charges(&self, limits: &[Arc<Limit>], agent: &Arc<str>) -> Result<Charges, Denial> {
        let charge = |limit: &Arc<Limit>| {
            let units = match &limit.weight {
                Weight::Request => 1,
                Weight::Bytes => self.length(&limit.rule)?,
                Weight::Items(way) => self.items(way, &limit.rule)?,
            };
            Ok(Charge { limit: limit.clone(), agent: agent.clone(), units })
        };
        limits.iter().map(charge).collect()
    }

    /// What a person would agree to, and what they see of it: the body as it would go out.
    pub fn petition(
        &self,
        permit: &Permit,
        agent: &Arc<str>,
        sent: Option<&[u8]>,
    ) -> Result<(Fingerprint, About), Denial> {
        let head = self.head()?;
        let rules: Vec<RuleId> = permit.approvals().iter().map(|terms| terms.rule.clone()).collect();
        let too_large = || Denial { rule: rules.first().cloned(), ..Denial::new(Reason::BodyTooLargeForApproval) };
        let Body::Whole(body) = &self.body else { return Err(too_large()) };
        if self.awaits_trailers {
            return Err(too_large().because("nobody can be shown the fields that follow it"));
        }
        let body = sent.unwrap_or(body);
        let host = head.authority.host.to_string();
        let mut fields: Vec<_> = head.fields.iter().filter(|(name, _)| is_agreed_to(name, permit)).collect();
        fields.sort_by_key(|(name, _)| *name);
        let fingerprint = Fingerprint::of(&Subject {
            agent,
            method: &head.method,
            scheme: permit.scheme().as_str(),
            host: &host,
            port: permit.port(),
            path: raw_path(head),
            query: head.query.as_deref(),
            fields: &fields,
            body,
            rules: &rules,
        });
        let shown = fields.iter().filter(|(name, _)| *name != "content-type");
        // More than one is whatever the upstream takes it for: none is hidden from who decides.
        let types: Vec<_> = head.fields.all("content-type").map(String::from_utf8_lossy).collect();
        let about = About {
            agent: agent.clone(),
            rules,
            method: head.method.clone(),
            scheme: permit.scheme().as_str(),
            host: host.into(),
            port: permit.port(),
            path: raw_path(head).into(),
            query: head.query.clone(),
            content_type: (!types.is_empty()).then(|| types.join(", ").into()),
            fields: shown.map(|(name, value)| ((*name).into(), String::from_utf8_lossy(value).into())).collect(),
            body_bytes: body.len() as u64,
            body_sha256: Sha256::digest(body).into(),
            body_preview: body.get(..PREVIEW).unwrap_or(body).into(),
        };
        Ok((fingerprint, about))
    }

    /// True if the client speaks gRPC, as Envoy reads it, which writes the answer: `application/grpc-web` is none.
    pub fn is_grpc(&self) -> bool {
        let kind = self.fields().get("content-type").and_then(|kind| kind.strip_prefix(b"application/grpc"));
        kind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    }

    /// The body's length, where the head states one.
    pub fn stated_length(&self) -> Option<u64> {
        let mut lengths = self.fields().all("content-length");
        let length = std::str::from_utf8(lengths.next()?).ok()?.parse().ok()?;
        lengths.next().is_none().then_some(length)
    }

    fn length(&self, rule: &RuleId) -> Result<u64, Denial> {
        match &self.body {
            Body::Whole(body) => Ok(body.len() as u64),
            _ => self.stated_length().ok_or_else(|| Denial::by(Reason::BodyTooLargeToCount, rule)),
        }
    }

    /// The items of a list; an empty one counts as one, or sending nothing at all would never be too much.
    fn items(&self, way: &[Box<str>], rule: &RuleId) -> Result<u64, Denial> {
        let not_countable = |why| Denial::by(Reason::BodyNotCountable, rule).because(why);
        let body = match &self.body {
            Body::Whole(body) => body,
            _ => return Err(Denial::by(Reason::BodyTooLargeToCount, rule)),
        };
        if self.fields().all("content-encoding").any(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
            return Err(not_countable("it is compressed"));
        }
        let items = count::items(body, way).map_err(|error| not_countable(error.as_str()))?;
        Ok(items.max(1))
    }
}

/// Whether somebody who agrees to a request agrees to this field of it: with another value it would be another request.
fn is_agreed_to(name: &str, permit: &Permit) -> bool {
    // What the body is, which operation it is, on what, as whom, and under which condition.
    const NAMES: [&str; 22] = [
        ":protocol",
        "content-disposition",
        "content-encoding",
        "content-range",
        "content-type",
        "depth",
        "destination",
        "if",
        "if-match",
        "if-none-match",
        "if-unmodified-since",
        "overwrite",
        "range",
        "slug",
        "soapaction",
        "stripe-account",
        "stripe-context",
        "upgrade",
        "x-amz-acl",
        "x-amz-target",
        "x-goog-acl",
        "x-goog-user-project",
    ];
    const PREFIXES: [&str; 4] = ["x-amz-copy-source", "x-amz-grant-", "x-goog-copy-source", "x-ms-copy-source"];
    NAMES.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || permit.approvals().iter().any(|terms| terms.fields.iter().any(|field| **field == *name))
        || (is_override_header(name) && permit.allows_override_headers())
}

/// CONNECT target, TLS server name and authority must name one host: Envoy does not compare them, and an agent
/// could otherwise open a tunnel to one host and speak to another (domain fronting).
fn check_authority(head: &RequestHead, session: Option<&Session>, sni: Option<&str>) -> Result<(), Denial> {
    // The names are not repeated: nobody has looked into them.
    let mismatch = |what| Err(Denial::new(Reason::AuthorityMismatch).because(what));
    if let Some(session) = session {
        let default = if head.door == Door::Tls { 443 } else { 80 };
        let port = head.authority.port.unwrap_or(default);
        if session.authority.host != head.authority.host || session.authority.port != Some(port) {
            return mismatch("the tunnel is to another host or port than the request is for");
        }
    }
    if head.door != Door::Tls {
        return Ok(());
    }
    match (sni, &head.authority.host) {
        // RFC 6066 §3: address literals are not sent as server name.
        (None | Some(""), Host::Address(_)) => Ok(()),
        (Some(name), host) if Host::parse(name).as_ref() == Ok(host) => Ok(()),
        _ => mismatch("the TLS name is not the host that the request is for"),
    }
}

/// The path as it came: what goes upstream keeps the agent's spelling.
pub fn raw_path(head: &RequestHead) -> &str {
    // A head that was read has a target of ASCII alone.
    let target = head.fields.get(":path").and_then(|target| std::str::from_utf8(target).ok()).unwrap_or_default();
    target.split('?').next().unwrap_or_default()
}

pub fn no_request() -> Denial {
    Denial::new(Reason::InternalError).because("there is no request")
}
