//! One request from its arrival to its answer: the stages, in order, written once.
//!
//! identify → normalise → domains → credentials → resolve and pin → (decide again) → inject → record → answer.
//! After every wait the request is decided again if the policy has changed meanwhile: both must admit it.

mod event;

use std::net::SocketAddr;
use std::sync::Arc;

use smallvec::SmallVec;
use zeroize::Zeroizing;

use crate::pipeline::address;
use crate::pipeline::agent::{Caller, How, Origin, is_override_header};
use crate::pipeline::answer::{Answer, Manner};
use crate::pipeline::audit::{DecisionRecord, Verdict, redacted_authority, redacted_query, redacted_target};
use crate::pipeline::credential::{CredentialId, Secret, Slot, with_query};
use crate::pipeline::message::{Door, Fields, Host, RequestHead};
use crate::pipeline::policy::decision::{Class, Denial, Reason};
use crate::pipeline::policy::matcher::Scheme;
use crate::pipeline::policy::{Permit, Ruleset, Upstream};
use crate::pipeline::session::{Peer, Session};
pub use event::{Effect, Event, Forward, Incoming, Now, Reply, ResolveFailure, Resolved, SetField};

/// One request on its way. [`on`](Self::on) takes what happened and says what to do next.
#[derive(Debug)]
pub struct Exchange {
    rules: Arc<Ruleset>,
    started: Now,
    request: Option<Request>,
    stage: Stage,
}

/// The request, as far as it could be read, and who sent it.
#[derive(Debug)]
struct Request {
    id: Arc<str>,
    door: Door,
    head: Result<RequestHead, Fields>,
    session: Option<Session>,
    sni: Option<String>,
    source: Option<Box<str>>,
    peer: Option<Peer>,
    caller: Option<Caller>,
}

#[derive(Debug)]
enum Stage {
    /// Nothing has come yet.
    Start,
    /// The name is being looked up.
    Resolving(Permit),
    /// The secrets are being fetched.
    Fetching(Permit, Upstream),
    /// The record is being written; the reply follows.
    Recording(Reply),
    /// Answered.
    Done,
}

impl Exchange {
    /// An exchange that nothing has happened to.
    pub fn new(rules: Arc<Ruleset>, now: Now) -> Self {
        Self { rules, started: now, request: None, stage: Stage::Start }
    }

    /// Takes an event and gives the next effect. `rules` is the policy of this moment. An event that does not
    /// belong to the stage is a fault, and refused.
    pub fn on(&mut self, event: Event, rules: &Arc<Ruleset>, now: Now) -> Effect {
        let step = match (std::mem::replace(&mut self.stage, Stage::Done), event) {
            (Stage::Start, Event::Request(incoming)) => {
                // The stream may have been open for a while.
                self.rules = rules.clone();
                self.arrive(incoming, now)
            }
            (Stage::Resolving(_) | Stage::Fetching(..), Event::Resolved(_) | Event::Secrets(_))
                if self.outdated(rules, now) =>
            {
                self.rules = rules.clone();
                self.decide(now)
            }
            (Stage::Resolving(permit), Event::Resolved(found)) => self.pin(permit, found),
            (Stage::Fetching(permit, upstream), Event::Secrets(secrets)) => {
                self.inject(permit, upstream, &secrets, now)
            }
            (Stage::Recording(reply), Event::Recorded(written)) => return self.answer(reply, written),
            // The record is under way; what else is said proves nothing of it, and a second one would contradict it.
            (Stage::Recording(reply), _) => return self.answer(reply, false),
            (_, event) => Err(Denial::new(Reason::InternalError).because(name_of(&event))),
        };
        step.unwrap_or_else(|denial| self.refuse(&denial, now))
    }

    /// Refuses the exchange for a fault outside it. Whoever calls this knows that no reply has been sent.
    pub fn fail(&mut self, reason: Reason, now: Now) -> Effect {
        self.refuse(&Denial::new(reason), now)
    }

    /// The id under which it is on record, once it has arrived.
    pub fn request_id(&self) -> Option<&Arc<str>> {
        self.request.as_ref().map(|r| &r.id)
    }

    fn arrive(&mut self, incoming: Incoming, now: Now) -> Result<Effect, Denial> {
        let Incoming { door, fields, session, sni, source, peer, request_id } = incoming;
        let (head, malformed) = match RequestHead::parse(door, fields) {
            Ok(head) => (Ok(head), None),
            Err((malformed, fields)) => (Err(fields), Some(malformed)),
        };
        let session = session.as_deref().and_then(Session::decode);
        let source = source.or_else(|| session.as_ref().map(|s| s.source.clone()));
        let peer = peer.as_deref().and_then(Peer::read).or_else(|| session.as_ref().and_then(|s| s.peer.clone()));
        self.request = Some(Request { id: request_id, door, head, session, sni, source, peer, caller: None });
        if let Some(malformed) = malformed {
            self.attribute(now);
            return Err(malformed.into());
        }
        match &self.request {
            Some(Request { head: Ok(head), .. }) if head.is_connect() => self.tunnel(now),
            _ => self.decide(now),
        }
    }

    /// Finds out who sent a request that cannot be read: that attempt, too, is somebody's.
    fn attribute(&mut self, now: Now) {
        let Some(request) = &mut self.request else { return };
        let fields = request.fields();
        let in_front = request.door == Door::Proxy && fields.get(":method") != Some(b"CONNECT");
        let found = self.rules.agents.identify_fields(fields, in_front, &request.origin(now));
        request.caller = found.ok().flatten();
    }

    /// Identity, form and policy; then the name is looked up, never before policy admits it.
    fn decide(&mut self, now: Now) -> Result<Effect, Denial> {
        let request = self.request.as_mut().ok_or_else(no_request)?;
        let permit = request.decide(&self.rules, now)?;
        let host = request.head()?.authority.host.clone();
        let port = permit.port();
        self.stage = Stage::Resolving(permit);
        Ok(Effect::Resolve { host, port })
    }

    /// True if the policy has changed during a wait, or the caller's identity has ended. Then the request is decided
    /// again from the start, since neither the permit nor the secrets and addresses fetched for it are the new policy's.
    fn outdated(&self, rules: &Arc<Ruleset>, now: Now) -> bool {
        let ends = self.request.as_ref().and_then(|request| request.caller?.expires);
        !Arc::ptr_eq(&self.rules, rules) || ends.is_some_and(|end| now.wall >= end)
    }

    /// CONNECT: only what is certain is refused. It is not put on record unless it is.
    fn tunnel(&mut self, now: Now) -> Result<Effect, Denial> {
        let request = self.request.as_mut().ok_or_else(no_request)?;
        if request.door != Door::Proxy {
            return Err(Denial::new(Reason::MalformedRequest).because("CONNECT inside a tunnel"));
        }
        request.caller = self.rules.agents.identify(request.head()?, &request.origin(now))?;
        let head = request.head()?;
        if head.upgrades().next().is_some() {
            return Err(Denial::new(Reason::MalformedRequest).because("CONNECT together with another protocol"));
        }
        let port = head
            .authority
            .port
            .ok_or_else(|| Denial::new(Reason::MalformedAuthority).because("CONNECT needs a port"))?;
        if request.caller.is_none()
            && let Some(denial) = self.rules.agents.unidentified(head)
        {
            return Err(denial);
        }
        match request.caller {
            // Who showed nothing here may yet show something inside: then the default is not who it is.
            None | Some(Caller { how: How::Default, .. }) => {
                self.rules.decide_tunnel(self.rules.agents.ids(), &head.authority.host, port)?;
            }
            Some(caller) => self.rules.decide_tunnel(std::iter::once(caller.agent), &head.authority.host, port)?,
        }
        let (tokens, headers) = self.rules.agents.inherited(head);
        let session = Session {
            authority: head.authority.clone(),
            source: request.source.clone().unwrap_or_default(),
            peer: request.peer.clone(),
            tokens,
            headers,
        };
        Ok(Effect::Reply(Reply::Tunnel { session: session.encode() }))
    }

    /// Chooses among the addresses, so that nothing that is looked up later can change them.
    fn pin(&mut self, permit: Permit, found: Result<Resolved, ResolveFailure>) -> Result<Effect, Denial> {
        let addresses: SmallVec<[SocketAddr; 2]> = match found {
            Err(failure) => return Err(Denial::new(failure.reason).because(failure.detail)),
            Ok(Resolved::Stated(addresses)) => addresses,
            Ok(Resolved::Looked(found)) => {
                let chosen = address::choose(&found, &permit.allow_private()).map_err(|refusal| {
                    Denial { rule: permit.rule().cloned(), ..Denial::new(Reason::AddressForbidden) }.because(refusal)
                })?;
                chosen.into_iter().map(|ip| SocketAddr::new(ip, permit.port())).collect()
            }
        };
        let first = *addresses.first().ok_or_else(|| Denial::new(Reason::NameNotFound))?;
        let upstream = Upstream { first, second: *addresses.get(1).unwrap_or(&first) };
        let wanted: SmallVec<[CredentialId; 1]> = permit.injections().map(|i| i.credential).collect();
        self.stage = Stage::Fetching(permit, upstream);
        Ok(Effect::FetchSecrets(wanted))
    }

    /// Puts the credentials in, takes out what must not leave, and records what is about to happen.
    fn inject(
        &mut self,
        permit: Permit,
        upstream: Upstream,
        secrets: &[Option<Arc<Secret>>],
        now: Now,
    ) -> Result<Effect, Denial> {
        let request = self.request.as_ref().ok_or_else(no_request)?;
        let head = request.head()?;
        let mut forward = Forward {
            upstream,
            plaintext: permit.scheme() == Scheme::Http,
            set: SmallVec::new(),
            remove: self.leaves_behind(request, head, &permit),
        };
        let mut query = None;
        let mut credentials = Vec::new();
        let injections: SmallVec<[_; 2]> = permit.injections().collect();
        for (at, injection) in injections.into_iter().enumerate() {
            let secret = secrets.get(at).and_then(Option::as_ref).ok_or_else(|| {
                Denial { rule: permit.rule().cloned(), ..Denial::new(Reason::SecretUnavailable) }
                    .because(format!("`{}`", injection.name))
            })?;
            credentials.push(injection.name.clone());
            let value = injection.format.render(secret);
            match &injection.slot {
                Slot::Header(name) => {
                    forward.remove.retain(|removed| removed != name);
                    forward.set.push((name.clone(), value));
                }
                Slot::Query(name) => {
                    let before = query.as_ref().map(|q: &Zeroizing<String>| q.as_str()).or(head.query.as_deref());
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
            credential: credentials,
            upstream: Some(address::socket_text(upstream.first)),
            ..self.record(Verdict::Allow, now)
        };
        self.stage = Stage::Recording(Reply::Allow(Box::new(forward)));
        Ok(Effect::Record(Box::new(record)))
    }

    /// The names of the fields that are for this proxy alone, or that would make the upstream see another request.
    fn leaves_behind(&self, request: &Request, head: &RequestHead, permit: &Permit) -> SmallVec<[Box<str>; 4]> {
        let token_in_authorization = request.caller.is_some_and(|c| c.token_in_authorization);
        let mut names: SmallVec<[Box<str>; 4]> = SmallVec::new();
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

    fn answer(&mut self, reply: Reply, written: bool) -> Effect {
        match reply {
            // Never an allow without its record; a refusal stands even so.
            Reply::Allow(_) if !written => {
                let denial = Denial::new(Reason::RecordFailed);
                Effect::Reply(Reply::Deny(Box::new(self.answer_to(&denial))))
            }
            reply => Effect::Reply(reply),
        }
    }

    fn refuse(&mut self, denial: &Denial, now: Now) -> Effect {
        let answer = self.answer_to(denial);
        let verdict = if denial.reason.class() == Class::Unavailable { Verdict::Error } else { Verdict::Deny };
        let record = DecisionRecord {
            reason: Some(denial.reason.as_str().into()),
            detail: denial.detail.clone(),
            rule: denial.rule.clone(),
            status: Some(answer.status),
            ..self.record(verdict, now)
        };
        self.stage = Stage::Recording(Reply::Deny(Box::new(answer)));
        Effect::Record(Box::new(record))
    }

    fn answer_to(&self, denial: &Denial) -> Answer {
        let Some(request) = &self.request else {
            return Answer::to(denial, "", Manner { grpc: false, proxy_hop: false });
        };
        let fields = request.fields();
        // As Envoy reads it, which writes the answer: `application/grpc-web` is none.
        let grpc = fields
            .get("content-type")
            .and_then(|t| t.strip_prefix(b"application/grpc"))
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')));
        let proxy_hop = request.head.as_ref().is_ok_and(|head| self.rules.agents.is_proxy_hop(head));
        Answer::to(denial, &request.id, Manner { grpc, proxy_hop })
    }

    /// What is known of the request, whatever becomes of it.
    fn record(&self, decision: Verdict, now: Now) -> DecisionRecord {
        let mut record = DecisionRecord {
            request_id: "".into(),
            time: now.wall,
            agent: None,
            identity: None,
            source: None,
            method: "".into(),
            scheme: None,
            host: "".into(),
            port: None,
            path: "".into(),
            query: None,
            decision,
            reason: None,
            detail: None,
            rule: None,
            credential: Vec::new(),
            policy_revision: self.rules.revision.clone(),
            upstream: None,
            status: None,
            decision_micros: now.monotonic.saturating_duration_since(self.started.monotonic).as_micros() as u64,
        };
        let Some(request) = &self.request else { return record };
        record.request_id = request.id.clone();
        record.source = request.source.clone();
        if let Some(caller) = request.caller {
            record.agent = Some(self.rules.agents.name(caller.agent).clone());
            record.identity = Some(caller.how.as_str().into());
        }
        match &request.head {
            Ok(head) => {
                record.method = head.method.clone();
                record.host = head.authority.host.to_string().into();
                record.port = head.authority.port;
                record.scheme = (head.door == Door::Tls).then(|| "https".into());
                record.path = head.path.clone();
                record.query = head.query.as_deref().map(redacted_query);
            }
            Err(fields) => {
                let text = |name| String::from_utf8_lossy(fields.get(name).unwrap_or_default()).into_owned();
                record.method = text(":method").into();
                record.host = redacted_authority(&text(":authority")).into();
                (record.path, record.query) = redacted_target(&text(":path"));
            }
        }
        record
    }
}

impl Request {
    /// Identify, check that tunnel, TLS name and authority agree, then ask the policy.
    fn decide(&mut self, rules: &Ruleset, now: Now) -> Result<Permit, Denial> {
        // Agents are numbered by their policy: who the last one's caller was means nothing in this one.
        self.caller = None;
        let head = self.head.as_ref().map_err(|_| no_request())?;
        if self.door != Door::Proxy && self.session.is_none() {
            return Err(
                Denial::new(Reason::InternalError).because("a request inside a tunnel came without its session")
            );
        }
        let caller = rules.agents.identify(head, &self.origin(now))?;
        self.caller = caller;
        let caller = caller.ok_or_else(|| Denial::new(Reason::NoIdentity))?;
        check_authority(head, self.session.as_ref(), self.sni.as_deref())?;
        rules.decide(caller.agent, head)
    }

    /// What identifies its caller beside its own fields.
    fn origin(&self, now: Now) -> Origin<'_> {
        Origin {
            session: self.session.as_ref(),
            peer: self.peer.as_ref(),
            source: self.source.as_deref(),
            now: now.wall,
        }
    }

    fn head(&self) -> Result<&RequestHead, Denial> {
        self.head.as_ref().map_err(|_| no_request())
    }

    fn fields(&self) -> &Fields {
        match &self.head {
            Ok(head) => &head.fields,
            Err(fields) => fields,
        }
    }
}

/// CONNECT target, TLS server name and authority must name one host: Envoy does not compare them, and an agent
/// could otherwise open a tunnel to one host and speak to another (domain fronting).
fn check_authority(head: &RequestHead, session: Option<&Session>, sni: Option<&str>) -> Result<(), Denial> {
    let mismatch = |what: String| Err(Denial::new(Reason::AuthorityMismatch).because(what));
    let Some(session) = session else { return Ok(()) };
    let default = if head.door == Door::Tls { 443 } else { 80 };
    let port = head.authority.port.unwrap_or(default);
    if session.authority.host != head.authority.host || session.authority.port != Some(port) {
        return mismatch(format!("the tunnel is to `{}`, the request for `{}`", session.authority, head.authority));
    }
    if head.door != Door::Tls {
        return Ok(());
    }
    match (sni, &head.authority.host) {
        // RFC 6066 §3: address literals are not sent as server name.
        (None | Some(""), Host::Address(_)) => Ok(()),
        (Some(name), host) if Host::parse(name).as_ref() == Ok(host) => Ok(()),
        (name, _) => {
            mismatch(format!("the TLS name is `{}`, the request for `{}`", name.unwrap_or_default(), head.authority))
        }
    }
}

/// The path as it came: what goes upstream keeps the agent's spelling.
fn raw_path(head: &RequestHead) -> &str {
    // A head that was read has a target of ASCII alone.
    let target = head.fields.get(":path").and_then(|target| std::str::from_utf8(target).ok()).unwrap_or_default();
    target.split('?').next().unwrap_or_default()
}

fn no_request() -> Denial {
    Denial::new(Reason::InternalError).because("there is no request")
}

fn name_of(event: &Event) -> &'static str {
    match event {
        Event::Request(_) => "a second request on one stream",
        Event::Resolved(_) => "an address nobody asked for",
        Event::Secrets(_) => "a secret nobody asked for",
        Event::Recorded(_) => "a record nobody asked for",
    }
}

#[cfg(test)]
mod tests;
