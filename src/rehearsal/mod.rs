//! What would become of a request, without sending it: the exchange of live traffic, in a world without network,
//! people and secrets.
//!
//! Every name leads to a public address, every secret is there, and people say what the request has them say. What
//! the exchange asks for on the way is noted, so that it can be shown.

mod request;
mod stage;

use std::hash::RandomState;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use smallvec::SmallVec;
use zeroize::Zeroizing;

use crate::pipeline::agent::AgentId;
use crate::pipeline::answer::Answer;
use crate::pipeline::approval::{Answered, Asked, NotAdmitted, Petition, Redeemed, Standing, Terms};
use crate::pipeline::audit::{DecisionRecord, InspectionAction, InspectionRecord, Verdict};
use crate::pipeline::credential::{Secret, Slot};
use crate::pipeline::dlp::Dlp;
use crate::pipeline::dlp::known::Known;
use crate::pipeline::exchange::{Chunk, Effect, Event, Exchange, Incoming, Now, Reply, Resolved};
use crate::pipeline::guard::{Guard, Memory};
use crate::pipeline::limit::counters::{Counters, look_at_all};
use crate::pipeline::limit::{Charges, Excess, Limit, Weight};
use crate::pipeline::message::{Authority, Door, Host, RequestHead};
use crate::pipeline::policy::inspect::{Inspection, Inspector, Refusal, Subject};
use crate::pipeline::policy::{Grounds, Permit, Reason, ResponseFilter, RuleId, Ruleset};
pub use request::{BadRequest, Person, Request};
pub use stage::Stage;

/// A policy that requests are rehearsed on.
#[derive(Debug)]
pub struct Rehearsal {
    rules: Arc<Ruleset>,
    /// What monotonic clocks show at the beginning of 1970.
    epoch: Instant,
}

/// What became of a request.
#[derive(Debug)]
pub struct Rehearsed {
    /// What would be on record. It names no address for a host that was not looked up.
    pub record: DecisionRecord,
    /// Why it was refused.
    pub reason: Option<Reason>,
    /// What the agent would get; none where the request goes out, or where TLS fails before there is an answer.
    pub answer: Option<Answer>,
    /// Where it ended.
    pub stage: Stage,
    /// True if its tunnel was refused: the request itself was never seen.
    pub at_connect: bool,
    /// The path and query that was judged: as Envoy resolves it.
    pub target: String,
    /// What lets it pass, as far as it was judged.
    pub grounds: Grounds,
    /// What policy gives it, where it says no to nothing.
    pub grant: Option<Grant>,
    /// True if the exchange asked for the body before it decided.
    pub held_body: bool,
    /// The host it would look up, and the port it would connect to.
    pub looks_up: Option<(String, u16)>,
    /// What a person was asked, each time.
    pub petitions: Vec<Petition>,
    /// The names of the header fields that would be taken out.
    pub removed: Vec<Box<str>>,
}

/// What policy gives a request it lets pass, bound to what it asks for in return.
#[derive(Debug)]
pub struct Grant {
    /// How the upstream is spoken to, and at which port.
    pub scheme: &'static str,
    /// The upstream's port.
    pub port: u16,
    /// What would be injected: the credential's name and its slot.
    pub credentials: Vec<(RuleId, Slot)>,
    /// What would be counted.
    pub limits: Vec<Counted>,
    /// The rules that ask a person.
    pub approvals: Vec<Asks>,
    /// What its answer goes through.
    pub filters: Vec<Filtered>,
    /// The rules that only watch.
    pub watched: Vec<RuleId>,
}

/// A limit on a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The entry that sets it.
    pub rule: RuleId,
    /// Units that are admitted in a window.
    pub most: u64,
    /// The window's length.
    pub per: Duration,
    /// What is counted.
    pub weight: Weight,
    /// False where it is only watched.
    pub enforced: bool,
}

/// A response filter on what comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filtered {
    /// The entry.
    pub rule: RuleId,
    /// What it does, in words.
    pub does: Box<str>,
    /// False where it is only watched.
    pub enforced: bool,
}

/// A rule that asks a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asks {
    /// The rule.
    pub rule: RuleId,
    /// How long the request is held for an answer.
    pub hold: Duration,
    /// How long the question stays open.
    pub expires: Duration,
    /// The notification channels that are told.
    pub notify: Vec<Arc<str>>,
}

impl Rehearsal {
    /// Gets ready to rehearse on a policy.
    pub fn new(mut rules: Ruleset) -> Self {
        for agent in rules.agents.ids() {
            let name = rules.agents.name(agent).clone();
            rules.agents.add_certificate(&request::spiffe_id(&name), agent);
        }
        if let (Some(dlp), None) = (rules.dlp().cloned(), &rules.inspector) {
            let agents = rules.agents.ids().map(|agent| rules.agents.name(agent).clone()).collect();
            rules.inspector = Some(Arc::new(Forgetful { dlp, agents }));
        }
        Self { rules: Arc::new(rules), epoch: Instant::now() }
    }

    /// The policy.
    pub fn rules(&self) -> &Arc<Ruleset> {
        &self.rules
    }

    /// The names of its agents.
    pub fn agents(&self) -> impl Iterator<Item = &str> {
        self.rules.agents.ids().map(|agent| &**self.rules.agents.name(agent))
    }

    /// Rehearses one request, as if nothing had been counted before it.
    pub fn run(&self, request: &Request) -> Rehearsed {
        self.run_after(&mut Counters::default(), request)
    }

    /// Rehearses a request after others, whose counts are in `counters`, and counts it where it is admitted. Time may
    /// not go back from one to the next.
    pub fn run_after(&self, counters: &mut Counters, request: &Request) -> Rehearsed {
        let since = request.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let monotonic = self.epoch.checked_add(since).unwrap_or(self.epoch);
        let now = Now { wall: request.at, monotonic };
        let mut world = World { counters, request, now, rules: &self.rules, noted: Noted::default() };
        let mut session = None;
        if let Some(connect) = request.connect() {
            match world.play(connect) {
                Some(Reply::Tunnel { session: opened }) => session = Some(opened),
                reply => return Rehearsed { at_connect: true, ..world.noted.end(reply, request) },
            }
            if request.door == Door::Tls && !self.may_shake_hands(request) {
                return world.noted.end_in_handshake(request, now, &self.rules);
            }
        }
        let reply = world.play(request.inner(session.clone()));
        let ended = world.noted.end(reply, request);
        let (grounds, grant) = self.judged(&ended, request.inner(session), now).unwrap_or_default();
        Rehearsed { grounds, grant, ..ended }
    }

    /// There is no certificate for a host that policy could never allow.
    fn may_shake_hands(&self, request: &Request) -> bool {
        Authority::parse(request.authority.as_bytes()).is_ok_and(|read| self.rules.may_intercept(&read.host))
    }

    /// What policy says of the request by itself, whatever was counted and said.
    fn judged(&self, ended: &Rehearsed, incoming: Incoming, now: Now) -> Option<(Grounds, Option<Grant>)> {
        let agent = self.rules.agents.find(ended.record.agent.as_deref()?)?;
        let head = RequestHead::parse(incoming.door, incoming.fields).ok()?;
        let permit = self.rules.decide(agent, &head, now.wall).ok();
        Some((self.rules.grounds(agent, &head, now.wall), permit.as_ref().map(Grant::of)))
    }
}

impl Rehearsed {
    /// True if it would go out.
    pub fn is_admitted(&self) -> bool {
        self.record.decision == Verdict::Allow
    }

    /// The status of the answer that the agent gets in its place, if any.
    pub fn status(&self) -> Option<u16> {
        self.answer.as_ref().map(|answer| answer.status)
    }

    /// What the agent is told to do.
    pub fn hint(&self) -> Option<&'static str> {
        self.reason.map(Reason::hint)
    }
}

impl Grant {
    fn of(permit: &Permit) -> Self {
        let counted = |enforced| {
            move |limit: &Arc<Limit>| Counted {
                rule: limit.rule.clone(),
                most: limit.most,
                per: limit.per,
                weight: limit.weight.clone(),
                enforced,
            }
        };
        let filtered = |enforced| {
            move |filter: &Arc<ResponseFilter>| Filtered {
                rule: filter.id.clone(),
                does: filter.words.clone(),
                enforced,
            }
        };
        let filters = permit.filters().iter().map(filtered(true));
        let enforced = permit.limits().iter().map(counted(true));
        let asks = |terms: &Arc<Terms>| Asks {
            rule: terms.rule.clone(),
            hold: terms.hold,
            expires: terms.expires,
            notify: terms.notify.clone(),
        };
        // What passes only because nothing is enforced gets no credential.
        let injections = permit.injections().filter(|_| permit.would().is_none());
        Self {
            scheme: permit.scheme().as_str(),
            port: permit.port(),
            credentials: injections.map(|i| (i.name.clone(), i.slot.clone())).collect(),
            limits: enforced.chain(permit.watched_limits().iter().map(counted(false))).collect(),
            approvals: permit.approvals().iter().map(asks).collect(),
            filters: filters.chain(permit.watched_filters().iter().map(filtered(false))).collect(),
            watched: permit.watched().to_vec(),
        }
    }
}

/// Looks into each request as the guard of live traffic does, as if none had been before it and no secret were held.
#[derive(Debug)]
struct Forgetful {
    dlp: Arc<Dlp>,
    agents: Vec<Arc<str>>,
}

impl Inspector for Forgetful {
    fn open(&self, subject: &Subject<'_>) -> Result<Inspection, Refusal> {
        self.guard().open(subject)
    }

    fn finds(&self, agent: Option<AgentId>, text: &str) -> bool {
        self.guard().finds(agent, text)
    }
}

impl Forgetful {
    fn guard(&self) -> Guard {
        let memory = Arc::new(Memory::new(&RandomState::new()));
        let held = Arc::new(Arc::<Known>::default);
        Guard::new(self.dlp.clone(), self.agents.clone(), held, memory)
    }
}

/// What an exchange runs in.
struct World<'a> {
    rules: &'a Arc<Ruleset>,
    counters: &'a mut Counters,
    request: &'a Request,
    now: Now,
    noted: Noted,
}

/// What was seen on the way.
#[derive(Default)]
struct Noted {
    record: Option<DecisionRecord>,
    held_body: bool,
    looks_up: Option<(Host, u16)>,
    petitions: Vec<Petition>,
}

/// More effects than any exchange asks for.
const MOST_EFFECTS: usize = 64;
/// Where every name leads: nothing is sent there.
const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34));

impl World<'_> {
    /// Plays one exchange to its reply. None: it never came to one.
    fn play(&mut self, incoming: Incoming) -> Option<Reply> {
        let mut exchange = Exchange::new(self.rules.clone(), self.now);
        let mut event = Event::Request(incoming);
        let mut allowed = None;
        for _ in 0..MOST_EFFECTS {
            event = match exchange.on(event, self.rules, self.now) {
                Effect::Resolve { host, port } => {
                    let address = match &host {
                        Host::Address(address) => *address,
                        Host::Name(_) => ANYWHERE,
                    };
                    self.noted.looks_up = Some((host, port));
                    Event::Resolved(Ok(Resolved::Looked(SmallVec::from_slice(&[address]))))
                }
                Effect::Look(charges) => Event::Looked(self.look(&charges)),
                Effect::Ask(petition) => {
                    self.noted.petitions.push(*petition);
                    Event::Asked(self.asked())
                }
                Effect::Admit { charges, redeem } => Event::Admitted(match self.look(&charges) {
                    Ok(()) => {
                        charges.iter().for_each(|charge| self.counters.charge(charge, self.now.monotonic));
                        Ok(redeem.map(|_| Redeemed { ticket: TICKET.into(), answered: answered() }))
                    }
                    Err(excess) => Err(NotAdmitted::Excess(excess)),
                }),
                Effect::FetchSecrets(wanted) => Event::Secrets(wanted.iter().map(|_| secret()).collect()),
                Effect::Record(record) => {
                    self.noted.record = Some(*record);
                    Event::Recorded(true)
                }
                Effect::Reply(Reply::HoldBody { .. }) => {
                    self.noted.held_body = true;
                    Event::Body { bytes: self.request.body.clone().into(), whole: true }
                }
                Effect::Reply(Reply::Allow(forward)) if forward.shows.request && !forward.awaits_trailers => {
                    allowed = Some(Reply::Allow(forward));
                    Event::Chunk(Chunk { bytes: self.request.body.clone(), ends: true })
                }
                Effect::Note(inspection) => {
                    self.noted.add(*inspection);
                    Event::Recorded(true)
                }
                Effect::Pass(_) => return allowed,
                Effect::Reply(reply) => return Some(reply),
            };
        }
        None
    }

    fn look(&mut self, charges: &Charges) -> Result<(), Excess> {
        look_at_all(charges, |charge, units| self.counters.look(charge, units, self.now.monotonic))
    }

    fn asked(&self) -> Asked {
        let standing = match self.request.person {
            Person::Silent => Standing::Pending,
            Person::Approves => Standing::Approved(answered()),
            Person::Refuses => Standing::Refused(answered()),
        };
        let expires = self.noted.petitions.last().map(|petition| petition.expires).unwrap_or_default();
        Asked::Open { ticket: TICKET.into(), standing, expires, new: true }
    }
}

impl Noted {
    /// What was found in a body that is not held belongs to what became of the request.
    fn add(&mut self, inspection: InspectionRecord) {
        let Some(record) = &mut self.record else { return };
        record.findings.extend(inspection.findings);
        if inspection.action == InspectionAction::Blocked {
            record.decision = Verdict::Deny;
            record.reason = inspection.reason;
            record.detail = inspection.detail;
            record.rule = inspection.rule;
            record.status = inspection.status;
        }
    }

    fn end(self, reply: Option<Reply>, request: &Request) -> Rehearsed {
        let Self { record, held_body, looks_up, petitions } = self;
        let mut record = record.unwrap_or_else(|| failed(request));
        // A name was not looked up, so that there is no address.
        if !matches!(looks_up, Some((Host::Address(_), _))) {
            record.upstream = None;
        }
        let (answer, removed) = match reply {
            Some(Reply::Allow(forward)) => (None, forward.remove.to_vec()),
            Some(Reply::Deny(answer)) => (Some(*answer), Vec::new()),
            _ => (None, Vec::new()),
        };
        let reason = reason_of(&record);
        Rehearsed {
            stage: reason.map_or(Stage::Verdict, |reason| Stage::of(reason, record.rule.as_deref())),
            reason,
            record,
            answer,
            at_connect: false,
            target: request::as_envoy_shows(&request.target),
            grounds: Grounds::default(),
            grant: None,
            held_body,
            looks_up: looks_up.map(|(host, port)| (host.to_string(), port)),
            petitions,
            removed,
        }
    }

    /// The record is that of a handshake, and nobody gets an answer.
    fn end_in_handshake(self, request: &Request, now: Now, rules: &Ruleset) -> Rehearsed {
        let reason = Reason::CertificateRefused;
        let host = Authority::parse(request.authority.as_bytes()).map(|read| read.host.to_string());
        let record = DecisionRecord {
            method: "TLS".into(),
            host: host.unwrap_or_default().into(),
            reason: Some(reason.as_str().into()),
            ..DecisionRecord::new("".into(), now.wall, Verdict::Deny, rules.revision.clone())
        };
        Rehearsed { at_connect: true, ..Self { record: Some(record), ..self }.end(None, request) }
    }
}

/// The record of an exchange that never came to an end.
fn failed(request: &Request) -> DecisionRecord {
    let reason = Some(Reason::InternalError.as_str().into());
    DecisionRecord { reason, ..DecisionRecord::new("".into(), request.at, Verdict::Error, "".into()) }
}

fn reason_of(record: &DecisionRecord) -> Option<Reason> {
    let name = record.reason.as_deref()?;
    Reason::ALL.iter().copied().find(|reason| reason.as_str() == name)
}

/// The name of every question.
const TICKET: &str = "rehearsal";

fn answered() -> Answered {
    Answered { by: "rehearsal".into(), why: None }
}

/// A stand-in: what is injected is never shown.
fn secret() -> Option<Arc<Secret>> {
    Secret::new(Zeroizing::new(b"rehearsal".to_vec())).ok().map(Arc::new)
}

#[cfg(test)]
mod tests;
