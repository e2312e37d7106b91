//! One request from its arrival to its answer: the stages, in order, written once.
//!
//! identify → normalise → organization, domains, rules, credentials → look into the head → (hold the body, look into it)
//! → resolve and pin → look at limits → ask a person → fetch secrets → charge limits, use the approval → inject → record
//! → answer → let pass what is looked into on its way: the body that was not held, trailers, the response.
//! After every wait the request is decided again if the policy has changed meanwhile, and after a person was asked in
//! any case: both must admit it.

mod count;
mod event;
mod flow;
mod forward;
mod look;
mod pass;
mod record;
mod request;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::pipeline::address;
use crate::pipeline::agent::{Caller, How, Origin};
use crate::pipeline::answer::{Answer, Manner};
use crate::pipeline::approval::{Answered, Asked, Fingerprint, NotAdmitted, Petition, Redeemed, Standing, Ticket};
use crate::pipeline::audit::{DecisionRecord, Direction, InspectionRecord};
use crate::pipeline::credential::{CredentialId, Secret};
use crate::pipeline::limit::{Excess, Limit};
use crate::pipeline::message::{Door, Malformed, RequestHead};
use crate::pipeline::policy::decision::{Denial, Reason, RuleId};
use crate::pipeline::policy::matcher::Scheme;
use crate::pipeline::policy::{Permit, Ruleset, Upstream};
use crate::pipeline::session::{Peer, Session};
pub use event::{
    Chunk, Effect, Event, Forward, HeadChange, Incoming, Now, Part, Reply, ResolveFailure, Resolved, SetField, Shows,
};
use flow::{Flow, Parts};
use look::Look;
use request::{Body, Request, no_request};

/// The largest body that is held until it is judged, in bytes: what the bootstrap's `per_connection_buffer_limit_bytes`
/// lets Envoy hold.
const MOST_HELD: usize = 1024 * 1024;
/// What is over sooner is one moment for the times at which rules hold.
const A_WAIT: Duration = Duration::from_millis(50);
/// When an agent whose request waits for a person should come again.
const COME_AGAIN: Duration = Duration::from_secs(5);
/// When an agent with too many open questions should come again.
const COME_LATER: Duration = Duration::from_secs(30);
/// When an agent should come again that came when there was too much to do.
const COME_BACK: Duration = Duration::from_secs(1);
/// How often an approval may be snatched away by another request before this one gives up for now.
const SNATCHED: u8 = 3;

/// One request on its way. [`on`](Self::on) takes what happened and says what to do next.
#[derive(Debug)]
pub struct Exchange {
    rules: Arc<Ruleset>,
    started: Now,
    request: Option<Request>,
    stage: Stage,
    question: Question,
    /// The watched limits that have counted this request, however often it is decided.
    counted: SmallVec<[RuleId; 1]>,
    /// When it was decided last.
    decided: Now,
    /// What was found by looking into it.
    look: Look,
    /// Something is being looked into: a fault now is the fault of what looks.
    looking: bool,
    /// Envoy was told to show the response, when it was told to hold the body.
    shows_response: Option<bool>,
    /// Envoy was told whether the upstream is spoken to in plaintext, when it was told to hold the body.
    held_for_plaintext: Option<bool>,
    /// What passes, once it has been allowed.
    flow: Option<Flow>,
}

#[derive(Debug)]
enum Stage {
    /// Nothing has come yet.
    Start,
    /// The body is being held until it is whole.
    Holding,
    /// The name is being looked up.
    Resolving(Permit),
    /// The limits are being looked at.
    Looking(Found),
    /// A person is being asked.
    Asking(Found, Fingerprint),
    /// Limits that are only watched are being counted.
    Watching(Found),
    /// The secrets are being fetched.
    Fetching(Found),
    /// Limits are being charged and an approval is being used.
    Admitting(Ready),
    /// The record is being written; the reply follows.
    Recording(Reply),
    /// Answered, and passing part by part.
    Flowing,
    /// Something that passes is being put on record; then this follows.
    Noting(Effect),
    /// Cut off. What is still under way goes nowhere.
    Cut,
    /// Answered.
    Done,
}

/// A permit, where it leads to, and what is not enforced about it.
#[derive(Debug)]
struct Found {
    permit: Permit,
    upstream: Upstream,
    would: Option<Denial>,
}

/// The same with the secrets for it, in the order of its injections.
#[derive(Debug)]
struct Ready {
    found: Found,
    secrets: SmallVec<[Option<Arc<Secret>>; 1]>,
}

/// What a person was asked, over all the times this request was decided.
#[derive(Debug, Default)]
struct Question {
    ticket: Option<Ticket>,
    answered: Option<Answered>,
    /// Until when the request is held.
    until: Option<Instant>,
    /// What somebody agreed to, and what had not been used when this was last heard.
    agreed: Option<Fingerprint>,
    snatched: u8,
}

impl Exchange {
    /// An exchange that nothing has happened to.
    pub fn new(rules: Arc<Ruleset>, now: Now) -> Self {
        let (question, counted) = (Question::default(), SmallVec::new());
        Self {
            rules,
            started: now,
            request: None,
            stage: Stage::Start,
            question,
            counted,
            decided: now,
            look: Look::default(),
            looking: false,
            shows_response: None,
            held_for_plaintext: None,
            flow: None,
        }
    }

    /// Takes an event and gives the next effect. `rules` is the policy of this moment. An event that does not
    /// belong to the stage is a fault, and refused.
    pub fn on(&mut self, event: Event, rules: &Arc<Ruleset>, now: Now) -> Effect {
        if let (Stage::Watching(found), Event::Admitted(Ok(_))) = (&self.stage, &event) {
            self.counted.extend(found.permit.watched_limits().iter().map(|limit| limit.rule.clone()));
        }
        let step = match (std::mem::replace(&mut self.stage, Stage::Done), event) {
            (Stage::Start, Event::Request(incoming)) => {
                // The stream may have been open for a while.
                self.rules = rules.clone();
                self.arrive(incoming, now)
            }
            (Stage::Holding, Event::Body { bytes, whole }) => {
                if let Some(request) = &mut self.request {
                    // Envoy cuts off what is more than its limit, which is ours and a soft one. What is less and yet not
                    // the end is followed by trailers; Envoy shows them next, with everything still held.
                    request.awaits_trailers = !whole && bytes.len() < MOST_HELD;
                    let is_whole = request.awaits_trailers || (whole && bytes.len() <= MOST_HELD);
                    request.body = if is_whole { Body::Whole(bytes) } else { Body::Cut };
                }
                self.rules = rules.clone();
                self.decide(now)
            }
            // Agreed to: it is decided again in any case, on the policy of now, which may ask for something else.
            (
                Stage::Asking(found, fingerprint),
                Event::Asked(asked @ Asked::Open { standing: Standing::Approved(_), .. }),
            ) => {
                self.rules = rules.clone();
                self.heard(&found, fingerprint, asked, now)
            }
            (Stage::Resolving(_), Event::Resolved(_))
            | (Stage::Looking(_), Event::Looked(_))
            | (Stage::Asking(..), Event::Asked(_))
            | (Stage::Watching(_), Event::Admitted(_))
            | (Stage::Fetching(_), Event::Secrets(_))
                if self.outdated(rules, now) =>
            {
                self.rules = rules.clone();
                self.decide(now)
            }
            // What was charged and used cannot be given back, nor counted for another policy's permit.
            (Stage::Admitting(_), Event::Admitted(_)) if self.outdated(rules, now) => {
                Err(Denial::new(Reason::PolicyChanged))
            }
            (Stage::Resolving(permit), Event::Resolved(found)) => self.pin(permit, found, now),
            (Stage::Looking(found), Event::Looked(room)) => match room {
                Ok(()) => self.ask(found, now),
                Err(excess) => Err(exceeded(excess)),
            },
            (Stage::Asking(found, fingerprint), Event::Asked(asked)) => self.heard(&found, fingerprint, asked, now),
            (Stage::Watching(mut found), Event::Admitted(counted)) => {
                if let Err(NotAdmitted::Excess(excess @ Excess::Reached { .. })) = counted
                    && found.would.is_none()
                {
                    found.would = Some(exceeded(excess));
                }
                self.fetch(found)
            }
            (Stage::Fetching(found), Event::Secrets(secrets)) => self.admit(Ready { found, secrets }, now),
            (Stage::Admitting(ready), Event::Admitted(admitted)) => self.admitted(ready, admitted, now),
            (Stage::Recording(reply), Event::Recorded(written)) => return self.answer(reply, written),
            // The record is under way; what else is said proves nothing of it, and a second one would contradict it.
            (Stage::Recording(reply), _) => return self.answer(reply, false),
            (Stage::Flowing, event) => return self.pass(event, now),
            (Stage::Noting(next), _) => {
                self.stage = if matches!(next, Effect::Pass(_)) { Stage::Flowing } else { Stage::Cut };
                return next;
            }
            (Stage::Cut, _) => {
                self.stage = Stage::Cut;
                return Effect::Pass(Parts::new());
            }
            (_, event) => Err(Denial::new(Reason::InternalError).because(name_of(&event))),
        };
        step.unwrap_or_else(|denial| self.refuse(&denial, now))
    }

    /// Refuses the exchange for a fault outside it, or cuts it off where it has been let go. Whoever calls this knows
    /// that the last effect was not carried out, or that nothing has come of it.
    pub fn fail(&mut self, reason: Reason, now: Now) -> Effect {
        let reason = if self.looking { Reason::ScanFailed } else { reason };
        let denial = Denial::new(reason);
        match &self.flow {
            // The response is looked into only when it comes; what was under way is the side that has not ended.
            Some(flow) if flow.is_released => self.cut(flow.last, &denial, now),
            _ => self.refuse(&denial, now),
        }
    }

    /// Refuses what has just come, or is held, since there is more to do than can be done in time. Nothing that costs is
    /// done for it: who sent it is found out, and it goes on record.
    pub fn turn_away(&mut self, incoming: Option<Incoming>, rules: &Arc<Ruleset>, now: Now) -> Effect {
        if let Some(incoming) = incoming {
            self.rules = rules.clone();
            // Whether it can be read makes no difference now.
            let _ = self.receive(incoming);
            self.attribute(now);
        }
        self.refuse(&Denial { retry_after: Some(COME_BACK), ..Denial::new(Reason::Overloaded) }, now)
    }

    /// True if something of it is shown after the verdict.
    pub fn passes(&self) -> bool {
        self.flow.is_some()
    }

    /// How much of a body was looked into until now, in bytes.
    pub fn scanned(&self, direction: Direction) -> u64 {
        let held = if direction == Direction::Request { self.look.scanned } else { 0 };
        held + self.flow.as_ref().map_or(0, |flow| flow.scanned(direction))
    }

    /// What was found and is not on record yet, when there is nobody left to answer.
    pub fn close(&mut self, now: Now) -> impl Iterator<Item = InspectionRecord> + use<> {
        let directions = [Direction::Request, Direction::Response];
        let left = directions.map(|direction| self.inspection(direction, now).filter(|r| !r.findings.is_empty()));
        left.into_iter().flatten()
    }

    /// The id under which it is on record, once it has arrived.
    pub fn request_id(&self) -> Option<&Arc<str>> {
        self.request.as_ref().map(|r| &r.id)
    }

    fn arrive(&mut self, incoming: Incoming, now: Now) -> Result<Effect, Denial> {
        if let Some(malformed) = self.receive(incoming) {
            self.attribute(now);
            return Err(malformed.into());
        }
        match &self.request {
            Some(Request { head: Ok(head), .. }) if head.is_connect() => self.tunnel(now),
            _ => self.decide(now),
        }
    }

    /// Keeps a request, and what is wrong with it.
    fn receive(&mut self, incoming: Incoming) -> Option<Malformed> {
        let Incoming { door, fields, session, sni, source, destination, peer, request_id, ends } = incoming;
        let (head, malformed) = match RequestHead::parse(door, fields) {
            Ok(head) => (Ok(head), None),
            Err((malformed, fields)) => (Err(fields), Some(malformed)),
        };
        let session = session.as_deref().and_then(Session::decode);
        let source = source.or_else(|| session.as_ref().map(|s| s.source.clone()));
        let peer = peer.as_deref().and_then(Peer::read).or_else(|| session.as_ref().and_then(|s| s.peer.clone()));
        // What follows an upgrade is no body: it is the other protocol.
        let bodiless = ends || head.as_ref().is_ok_and(|head| head.upgrades().next().is_some());
        let body = if bodiless { Body::Whole(Box::default()) } else { Body::Unseen };
        let mut request = Request {
            id: request_id,
            door,
            head,
            session,
            sni,
            source,
            destination,
            peer,
            caller: None,
            was_known: false,
            body,
            awaits_trailers: false,
        };
        // What says itself that it is too large need not come first.
        if request.stated_length().is_some_and(|length| length > MOST_HELD as u64) {
            request.body = Body::Large;
        }
        self.request = Some(request);
        malformed
    }

    /// Finds out who sent a request that cannot be read: that attempt, too, is somebody's.
    fn attribute(&mut self, now: Now) {
        let Some(request) = &mut self.request else { return };
        let fields = request.fields();
        let in_front = request.door == Door::Proxy && fields.get(":method") != Some(b"CONNECT");
        // The answer is the same whoever it is: there is nothing to be guessed by it.
        let origin = Origin { guessed: None, ..request.origin(now) };
        let found = self.rules.agents.identify_fields(fields, in_front, &origin);
        request.caller = found.ok().flatten();
    }

    /// Identity, form and policy; then the name is looked up, never before policy admits it.
    fn decide(&mut self, now: Now) -> Result<Effect, Denial> {
        self.decided = now;
        let request = self.request.as_mut().ok_or_else(no_request)?;
        let permit = request.decide(&self.rules, now)?;
        if self.look_into(&permit)? {
            self.stage = Stage::Holding;
            let response = self.look.response.is_some();
            self.shows_response = Some(response);
            let plaintext = permit.scheme() == Scheme::Http;
            self.held_for_plaintext = Some(plaintext);
            return Ok(Effect::Reply(Reply::HoldBody { response, plaintext }));
        }
        let request = self.request.as_ref().ok_or_else(no_request)?;
        let host = request.head()?.authority.host.clone();
        let port = permit.port();
        self.stage = Stage::Resolving(permit);
        Ok(Effect::Resolve { host, port })
    }

    /// True if the policy has changed during a wait, or the caller's identity has ended, or a rule begun or ended. Then
    /// the request is decided again from the start, since neither the permit nor the secrets and addresses fetched for it
    /// are the new policy's.
    fn outdated(&self, rules: &Arc<Ruleset>, now: Now) -> bool {
        let ends = self.request.as_ref().and_then(|request| request.caller?.expires);
        let waited = now.monotonic.saturating_duration_since(self.decided.monotonic) >= A_WAIT;
        !Arc::ptr_eq(&self.rules, rules)
            || ends.is_some_and(|end| now.wall >= end)
            || (waited && self.rules.differs(self.decided.wall, now.wall))
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
    fn pin(&mut self, permit: Permit, found: Result<Resolved, ResolveFailure>, now: Now) -> Result<Effect, Denial> {
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
        let would = permit.would().cloned();
        self.look(Found { permit, upstream, would }, now)
    }

    /// A limit that is reached refuses before a person is asked.
    fn look(&mut self, found: Found, now: Now) -> Result<Effect, Denial> {
        if found.permit.limits().is_empty() {
            return self.ask(found, now);
        }
        let request = self.request.as_ref().ok_or_else(no_request)?;
        let charges = request.charges(found.permit.limits(), self.rules.agents.name(found.permit.agent()))?;
        self.stage = Stage::Looking(found);
        Ok(Effect::Look(charges))
    }

    fn ask(&mut self, found: Found, now: Now) -> Result<Effect, Denial> {
        let terms = found.permit.approvals();
        if terms.is_empty() {
            return self.watch(found);
        }
        let request = self.request.as_ref().ok_or_else(no_request)?;
        let (fingerprint, about) = {
            let agent = self.rules.agents.name(found.permit.agent());
            request.petition(&found.permit, agent, self.look.sent.as_deref())?
        };
        if self.question.agreed == Some(fingerprint) {
            return self.watch(found);
        }
        let hold = terms.iter().map(|t| t.hold).max().unwrap_or_default();
        let until = *self.question.until.get_or_insert(now.monotonic + hold);
        let mut notify: Vec<_> = terms.iter().flat_map(|t| t.notify.iter().cloned()).collect();
        notify.sort_unstable();
        notify.dedup();
        let petition = Petition {
            fingerprint,
            about,
            hold: until.saturating_duration_since(now.monotonic),
            expires: terms.iter().map(|t| t.expires).min().unwrap_or_default(),
            notify,
        };
        self.stage = Stage::Asking(found, fingerprint);
        Ok(Effect::Ask(Box::new(petition)))
    }

    /// What a person said, or that nobody said anything. Agreement is no verdict: the request is decided again.
    fn heard(&mut self, found: &Found, fingerprint: Fingerprint, asked: Asked, now: Now) -> Result<Effect, Denial> {
        let rule = found.permit.approvals().first().map(|terms| terms.rule.clone());
        let denial = |reason| Denial { rule, ..Denial::new(reason) };
        let (ticket, standing, expires) = match asked {
            Asked::Open { ticket, standing, expires, .. } => (ticket, standing, expires),
            Asked::TooMany => {
                return Err(Denial { retry_after: Some(COME_LATER), ..denial(Reason::TooManyApprovals) });
            }
            Asked::Unavailable => return Err(denial(Reason::StoreUnavailable)),
        };
        self.question.ticket = Some(ticket.clone());
        let ticket = Some(ticket);
        match standing {
            Standing::Approved(answered) => {
                self.question.answered = Some(answered);
                self.question.agreed = Some(fingerprint);
                self.decide(now)
            }
            Standing::Pending => {
                let retry_after = Some(COME_AGAIN.min(expires));
                Err(Denial { ticket, retry_after, ..denial(Reason::ApprovalPending) })
            }
            Standing::Refused(answered) => {
                let refused = Denial { ticket, ..denial(Reason::ApprovalRefused) };
                let why = answered.why.clone();
                self.question.answered = Some(answered);
                Err(match why {
                    Some(why) => refused.because(why),
                    None => refused,
                })
            }
            Standing::Expired => Err(Denial { ticket, ..denial(Reason::ApprovalExpired) }),
        }
    }

    /// Counts what is only watched.
    fn watch(&mut self, found: Found) -> Result<Effect, Denial> {
        let uncounted = found.permit.watched_limits().iter().filter(|limit| !self.counted.contains(&limit.rule));
        let limits: SmallVec<[Arc<Limit>; 1]> = uncounted.cloned().collect();
        if limits.is_empty() {
            return self.fetch(found);
        }
        let request = self.request.as_ref().ok_or_else(no_request)?;
        let agent = self.rules.agents.name(found.permit.agent());
        match request.charges(&limits, agent) {
            Ok(charges) => {
                self.stage = Stage::Watching(found);
                Ok(Effect::Admit { charges, redeem: None })
            }
            Err(denial) => self.fetch(Found { would: found.would.or(Some(denial)), ..found }),
        }
    }

    fn fetch(&mut self, found: Found) -> Result<Effect, Denial> {
        let injections = found.permit.injections().filter(|_| found.would.is_none());
        let wanted: SmallVec<[CredentialId; 1]> = injections.map(|i| i.credential).collect();
        self.stage = Stage::Fetching(found);
        Ok(Effect::FetchSecrets(wanted))
    }

    /// Charges and redeems, once nothing else can refuse any more.
    fn admit(&mut self, ready: Ready, now: Now) -> Result<Effect, Denial> {
        let permit = &ready.found.permit;
        if permit.limits().is_empty() && permit.approvals().is_empty() {
            return self.send(&ready, now);
        }
        // It must not cost an approval to find out that a secret is missing.
        self.inject(&ready, now)?;
        let request = self.request.as_ref().ok_or_else(no_request)?;
        let charges = request.charges(permit.limits(), self.rules.agents.name(permit.agent()))?;
        let redeem = self.question.agreed.filter(|_| !permit.approvals().is_empty());
        if redeem.is_none() && !permit.approvals().is_empty() {
            return Err(Denial::new(Reason::InternalError).because("nobody was asked"));
        }
        self.stage = Stage::Admitting(ready);
        Ok(Effect::Admit { charges, redeem })
    }

    fn admitted(
        &mut self,
        ready: Ready,
        admitted: Result<Option<Redeemed>, NotAdmitted>,
        now: Now,
    ) -> Result<Effect, Denial> {
        match admitted {
            Ok(Some(redeemed)) => {
                self.question.ticket = Some(redeemed.ticket);
                self.question.answered = Some(redeemed.answered);
                self.send(&ready, now)
            }
            Ok(None) if ready.found.permit.approvals().is_empty() => self.send(&ready, now),
            Ok(None) => Err(Denial::new(Reason::InternalError).because("no approval was used")),
            Err(NotAdmitted::Excess(excess)) => Err(exceeded(excess)),
            // Another request like this one was faster: it has to be agreed to again.
            Err(NotAdmitted::NotApproved) => {
                self.question.agreed = None;
                self.question.answered = None;
                self.question.snatched += 1;
                if self.question.snatched > SNATCHED {
                    self.question.until = Some(now.monotonic);
                }
                if self.question.snatched <= SNATCHED + 1 {
                    return self.ask(ready.found, now);
                }
                Err(Denial {
                    rule: ready.found.permit.approvals().first().map(|terms| terms.rule.clone()),
                    ticket: self.question.ticket.clone(),
                    retry_after: Some(COME_AGAIN),
                    ..Denial::new(Reason::ApprovalPending)
                })
            }
        }
    }

    fn send(&mut self, ready: &Ready, now: Now) -> Result<Effect, Denial> {
        let (mut forward, record) = self.inject(ready, now)?;
        self.let_pass(&mut forward, &ready.found.permit)?;
        self.stage = Stage::Recording(Reply::Allow(Box::new(forward)));
        Ok(Effect::Record(Box::new(record)))
    }

    fn answer(&mut self, reply: Reply, written: bool) -> Effect {
        match reply {
            // Never an allow without its record; a refusal stands even so.
            Reply::Allow(_) if !written => {
                let denial = Denial::new(Reason::RecordFailed);
                self.flow = None;
                Effect::Reply(Reply::Deny(Box::new(self.answer_to(&denial))))
            }
            Reply::Allow(forward) => {
                if let Some(flow) = &mut self.flow {
                    flow.is_released = true;
                    self.stage = Stage::Flowing;
                }
                Effect::Reply(Reply::Allow(forward))
            }
            reply => Effect::Reply(reply),
        }
    }

    fn refuse(&mut self, denial: &Denial, now: Now) -> Effect {
        self.looking = false;
        self.flow = None;
        let answer = self.answer_to(denial);
        if denial.is_summed {
            self.stage = Stage::Done;
            return Effect::Reply(Reply::Deny(Box::new(answer)));
        }
        let record = DecisionRecord {
            reason: Some(denial.reason.as_str().into()),
            detail: denial.detail.clone(),
            rule: denial.rule.clone(),
            status: Some(answer.status),
            ..self.record(record::verdict(denial), now)
        };
        self.stage = Stage::Recording(Reply::Deny(Box::new(answer)));
        Effect::Record(Box::new(record))
    }

    fn answer_to(&self, denial: &Denial) -> Answer {
        let Some(request) = &self.request else {
            return Answer::to(denial, "", Manner { grpc: false, proxy_hop: false });
        };
        let proxy_hop = request.head.as_ref().is_ok_and(|head| self.rules.agents.is_proxy_hop(head));
        Answer::to(denial, &request.id, Manner { grpc: request.is_grpc(), proxy_hop })
    }
}

fn exceeded(excess: Excess) -> Denial {
    match excess {
        Excess::Reached { rule, retry_after: Some(wait) } => {
            Denial { retry_after: Some(wait), ..Denial::by(Reason::RateLimited, &rule) }
        }
        Excess::Reached { rule, retry_after: None } => {
            Denial::by(Reason::RateLimited, &rule).because("this request alone is more than the limit")
        }
        Excess::Unavailable => Denial::new(Reason::StoreUnavailable),
    }
}

fn name_of(event: &Event) -> &'static str {
    match event {
        Event::Request(_) => "a second request on one stream",
        Event::Body { .. } => "a body nobody asked for",
        Event::Resolved(_) => "an address nobody asked for",
        Event::Looked(_) => "a count nobody asked for",
        Event::Asked(_) => "an approval nobody asked for",
        Event::Admitted(_) => "a charge nobody asked for",
        Event::Secrets(_) => "a secret nobody asked for",
        Event::Recorded(_) => "a record nobody asked for",
        Event::Chunk(_) | Event::Trailers(_) => "a part of the request that nobody asked for",
        Event::ResponseHead(_) | Event::ResponseChunk(_) | Event::ResponseTrailers(_) => "a response nobody asked for",
    }
}

#[cfg(test)]
mod tests;
