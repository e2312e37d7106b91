//! Runs what an exchange asks for, and turns whatever goes wrong meanwhile into a refusal.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use smallvec::SmallVec;
use tokio::sync::watch;
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::backlog;
use super::held::Held;
use super::load::Load;
use super::translate::{self, Entrance, Phase};
use super::wire::{Attributes, Head, HttpBody, Part, ProcessingRequest, ProcessingResponse};
use crate::live::Live;
use crate::pipeline::approval::{Asked, NotAdmitted, Petition, Standing, Ticket};
use crate::pipeline::audit::{ApprovalNote, DecisionRecord, Direction, InspectionRecord, Verdict};
use crate::pipeline::exchange::{
    Chunk, Effect, Event, Exchange, Incoming, Now, Reply, ResolveFailure, Resolved, Shows,
};
use crate::pipeline::limit::Excess;
use crate::pipeline::message::Host;
use crate::pipeline::policy::Reason;
use crate::secrets::Fetch;
use crate::store::{Coming, Soon, Store};
use crate::telemetry::{Facts, Telemetry, Trail};

/// What Envoy waits longer than a request is held: the decision after it takes its time too.
const SLACK: Duration = Duration::from_secs(10);

/// What every exchange needs of the world.
pub struct Needs {
    /// The policy and secrets in force.
    pub live: Arc<Live>,
    /// Where names lead.
    pub resolver: Arc<dyn Resolve>,
    /// Where counts and approvals are kept.
    pub store: Arc<dyn Store>,
    /// The requests that are held open for a person.
    pub held: Held,
    /// Knows when a request has waited too long for its turn.
    pub load: Load,
    /// Where people are told that they are asked.
    pub herald: Arc<dyn Herald>,
    /// Where decisions are put on record.
    pub recorder: Arc<dyn Recorder>,
    /// Where they are shown.
    pub telemetry: Telemetry,
    /// Counts the streams that are open, for a clean end.
    pub in_flight: Arc<AtomicUsize>,
    /// True once the service is to end: nobody waits for a person any longer.
    pub stopping: watch::Receiver<bool>,
}

/// Looks names up.
pub trait Resolve: Send + Sync {
    /// The answer, where it is at hand.
    fn cached(&self, host: &Host, port: u16) -> Option<Result<Resolved, ResolveFailure>>;
    /// The answer, within the resolver's own deadline.
    fn resolve(&self, host: Host, port: u16) -> Pin<Box<dyn Future<Output = Result<Resolved, ResolveFailure>> + Send>>;
}

/// Puts decisions on record.
pub trait Recorder: Send + Sync {
    /// Writes a decision.
    fn record(&self, record: &DecisionRecord) -> Receipt;
    /// The same of what was found after the decision.
    fn note(&self, record: &InspectionRecord) -> Receipt;
}

/// What became of a record.
#[derive(Default)]
pub struct Receipt {
    /// Its number in the journal; none where it could not be written.
    pub seq: Option<u64>,
    /// Where being written is not enough: true once it is where it has to be, false if it cannot be brought there.
    pub committed: Option<Coming<bool>>,
}

/// Tells people what waits for them and what was refused. It never keeps a request waiting.
pub trait Herald: Send + Sync {
    /// A request waits for approval under this name; it is open for so long.
    fn asked(&self, ticket: &Ticket, petition: &Petition, expires: Duration);
    /// A request was decided.
    fn decided(&self, record: &DecisionRecord);
}

/// One exchange and what it runs on.
pub struct Driver {
    needs: Arc<Needs>,
    entrance: Entrance,
    trail: Trail,
    exchange: Exchange,
    request_id: Arc<str>,
    phase: Phase,
    /// There is no verdict yet. Still true when the stream is dropped: the agent went away.
    owed: bool,
    /// What the head had waited when it came.
    waited: Duration,
    /// Since when Envoy owes the body: the head has been answered.
    holding: Option<Instant>,
    /// What Envoy was told to show.
    shows: Shows,
    /// The limits that are being charged.
    charging: SmallVec<[Arc<str>; 2]>,
    /// What the request waits for, as soon as it has a name.
    asked: Arc<Mutex<Option<Ticket>>>,
}

/// What comes next on the stream.
pub enum Step {
    /// Send these, and read on.
    Replies(VecDeque<ProcessingResponse>),
    /// Send this, then wait.
    ReplyAndWait(Box<ProcessingResponse>, Pin<Box<dyn Future<Output = Event> + Send>>),
    /// Wait for this.
    Wait(Pin<Box<dyn Future<Output = Event> + Send>>),
    /// End the stream with an error, on which Envoy refuses the request.
    End(Status),
}

impl Driver {
    pub fn new(needs: Arc<Needs>, entrance: Entrance, metadata: &MetadataMap) -> Self {
        let exchange = Exchange::new(needs.live.load().rules.clone(), now());
        let trail = needs.telemetry.trail(metadata);
        needs.in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            needs,
            entrance,
            trail,
            exchange,
            request_id: "".into(),
            phase: Phase::Head,
            owed: false,
            waited: Duration::ZERO,
            holding: None,
            shows: Shows::default(),
            charging: SmallVec::new(),
            asked: Arc::default(),
        }
    }

    /// Takes a message from Envoy.
    pub fn take(&mut self, message: &[u8]) -> Step {
        let message = match ProcessingRequest::read(message) {
            Ok(message) => message,
            Err(malformed) => return Step::End(Status::internal(malformed.to_string())),
        };
        let ProcessingRequest { part, attributes } = message;
        match part {
            Some(Part::RequestHeaders(head)) => self.open(head, attributes),
            Some(part) => match self.shown(part) {
                // The body that a verdict waits for: nothing of it has been looked into yet.
                Some(Event::Body { .. }) if self.needs.load.is_over(Instant::now()) => self.turn_away(None),
                Some(event) => self.on(event),
                None => Step::End(Status::invalid_argument("a part of an exchange that was not asked for")),
            },
            None => Step::End(Status::invalid_argument("only `request_headers` opens an exchange")),
        }
    }

    fn open(&mut self, head: Head, attributes: Attributes) -> Step {
        let now = now();
        self.waited = self.needs.load.arrived(attributes.time.as_deref(), now.monotonic, now.wall);
        let is_late = self.needs.load.is_over(now.monotonic) || self.needs.load.is_late(self.waited, now.monotonic);
        let incoming = translate::incoming(self.entrance, head, attributes);
        if incoming.request_id.is_empty() {
            return Step::End(Status::invalid_argument("`x-request-id` is missing: set `generate_request_id`"));
        }
        if self.owed || self.exchange.request_id().is_some() {
            return Step::End(Status::invalid_argument("a second `request_headers` on one stream"));
        }
        self.owed = true;
        self.trail.link(|| incoming.fields.get("x-agent-traceparent"));
        self.request_id = incoming.request_id.clone();
        if is_late {
            return self.turn_away(Some(incoming));
        }
        self.on(Event::Request(incoming))
    }

    /// Refuses a request, new or held, that has waited too long for its turn.
    fn turn_away(&mut self, incoming: Option<Incoming>) -> Step {
        let now = now();
        self.needs.load.shed(now.monotonic);
        let refused = self.guard(|driver| {
            let live = driver.needs.live.load();
            let effect = driver.exchange.turn_away(incoming, &live.rules, now);
            drop(live);
            driver.perform(effect)
        });
        refused.unwrap_or_else(|step| step)
    }

    /// A part as an event, if Envoy was told to show it.
    fn shown(&mut self, part: Part) -> Option<Event> {
        let Shows { request, response } = self.shows;
        let chunk = |body: HttpBody| Chunk { bytes: body.body, ends: body.end_of_stream };
        Some(match part {
            Part::RequestBody(body) if self.holding.is_some() => {
                let (asked, now) = (self.holding.take(), Instant::now());
                backlog::body(now, asked.map_or(Duration::ZERO, |asked| now.saturating_duration_since(asked)));
                self.phase = Phase::Body;
                Event::Body { bytes: body.body.into(), whole: body.end_of_stream }
            }
            Part::RequestBody(body) if request => Event::Chunk(chunk(body)),
            Part::RequestTrailers(fields) if request => Event::Trailers(fields),
            Part::ResponseHeaders(head) if response => Event::ResponseHead(translate::response_head(head)?),
            Part::ResponseBody(body) if response => Event::ResponseChunk(chunk(body)),
            Part::ResponseTrailers(fields) if response => Event::ResponseTrailers(fields),
            _ => return None,
        })
    }

    /// Takes an event, and every further one that is at hand at once.
    pub fn on(&mut self, event: Event) -> Step {
        self.guard(|driver| driver.run(event)).unwrap_or_else(|step| step)
    }

    /// Runs something that must not panic; where it does, the request is refused.
    pub fn guard<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> Result<T, Step> {
        catch_unwind(AssertUnwindSafe(|| run(self))).map_err(|_| {
            tracing::error!(request_id = %self.request_id, "an exchange panicked; its request is refused");
            let refused = catch_unwind(AssertUnwindSafe(|| {
                let effect = self.exchange.fail(Reason::InternalError, now());
                self.perform(effect)
            }));
            refused.unwrap_or_else(|_| {
                self.owed = false;
                Step::End(Status::internal("the exchange panicked"))
            })
        })
    }

    fn run(&mut self, event: Event) -> Step {
        self.limited(&event);
        let live = self.needs.live.load();
        let effect = self.exchange.on(event, &live.rules, now());
        drop(live);
        self.perform(effect)
    }

    fn perform(&mut self, mut effect: Effect) -> Step {
        loop {
            // One snapshot for the effect and for the event that follows it: secrets are numbered by their policy.
            let live = self.needs.live.load();
            let event = match effect {
                Effect::Reply(reply) => return self.reply(reply),
                Effect::Record(record) => match self.record(record) {
                    Soon::Now(written) => Event::Recorded(written),
                    Soon::Later(written) => {
                        return Step::Wait(Box::pin(async move { Event::Recorded(written.await) }));
                    }
                },
                Effect::Note(record) => match self.note(&record) {
                    Soon::Now(written) => Event::Recorded(written),
                    Soon::Later(written) => {
                        return Step::Wait(Box::pin(async move { Event::Recorded(written.await) }));
                    }
                },
                Effect::Pass(parts) => {
                    let replies = parts.into_iter().map(|part| translate::part(part, &self.request_id));
                    return Step::Replies(replies.collect());
                }
                Effect::FetchSecrets(wanted) => match live.secrets.fetch(&wanted) {
                    Fetch::AtHand(found) => Event::Secrets(found),
                    Fetch::Awaited(found) => {
                        return Step::Wait(Box::pin(async move { Event::Secrets(found.await) }));
                    }
                },
                Effect::Resolve { host, port } => match self.needs.resolver.cached(&host, port) {
                    Some(found) => Event::Resolved(found),
                    None => {
                        let found = self.needs.resolver.resolve(host, port);
                        return Step::Wait(Box::pin(async move { Event::Resolved(found.await) }));
                    }
                },
                Effect::Look(charges) => match self.needs.store.look(&charges) {
                    Soon::Now(room) => Event::Looked(room),
                    Soon::Later(room) => return Step::Wait(Box::pin(async move { Event::Looked(room.await) })),
                },
                Effect::Admit { charges, redeem } => {
                    self.charging = charges.iter().map(|charge| charge.limit.rule.clone()).collect();
                    match self.needs.store.admit(&charges, redeem) {
                        Soon::Now(admitted) => Event::Admitted(admitted),
                        Soon::Later(admitted) => {
                            return Step::Wait(Box::pin(async move { Event::Admitted(admitted.await) }));
                        }
                    }
                }
                Effect::Ask(petition) => return self.ask(*petition),
            };
            self.limited(&event);
            effect = self.exchange.on(event, &live.rules, now());
        }
    }

    /// Shows what limits said.
    fn limited(&mut self, event: &Event) {
        match event {
            Event::Looked(Err(Excess::Reached { rule, .. }))
            | Event::Admitted(Err(NotAdmitted::Excess(Excess::Reached { rule, .. }))) => {
                self.needs.telemetry.limited(rule, false);
            }
            Event::Admitted(Ok(_)) => {
                self.charging.iter().for_each(|rule| self.needs.telemetry.limited(rule, true));
            }
            _ => {}
        }
    }

    /// Asks, and holds the request until there is an answer or its time is up. Envoy is asked for patience first.
    fn ask(&self, petition: Petition) -> Step {
        let (needs, waits_for) = (self.needs.clone(), self.asked.clone());
        let patience = translate::patience(petition.hold + SLACK);
        let seat = if petition.hold.is_zero() { None } else { needs.held.take(&petition.about.agent) };
        let hold = seat.is_some();
        let answer = Box::pin(async move {
            let (until, _seat) = (Instant::now() + petition.hold, seat);
            let asked = match needs.store.ask(&petition) {
                Soon::Now(asked) => asked,
                Soon::Later(asked) => asked.await,
            };
            let Asked::Open { ticket, standing: Standing::Pending, expires, new } = asked else {
                return Event::Asked(asked);
            };
            *waits_for.lock().unwrap_or_else(PoisonError::into_inner) = Some(ticket.clone());
            if new {
                needs.herald.asked(&ticket, &petition, expires);
            }
            let mut stopping = needs.stopping.clone();
            let standing = tokio::select! {
                standing = needs.store.wait(&ticket, until), if hold => standing,
                // With its ticket the agent can come again. A service that is gone stops nobody.
                Ok(_) = stopping.wait_for(|stopping| *stopping), if hold => Standing::Pending,
                else => Standing::Pending,
            };
            Event::Asked(Asked::Open { ticket, standing, expires, new })
        });
        match hold {
            true => Step::ReplyAndWait(Box::new(patience), answer),
            false => Step::Wait(answer),
        }
    }

    /// Puts a decision on record, then shows what is enforced: an allow without its record is none.
    fn record(&self, record: Box<DecisionRecord>) -> Soon<bool> {
        let Receipt { seq, committed } = self.needs.recorder.record(&record);
        let facts = self.facts(seq);
        let Some(committed) = committed else {
            show(&self.needs, *record, facts, &self.trail);
            return Soon::Now(seq.is_some());
        };
        let (needs, trail) = (self.needs.clone(), self.trail.clone());
        Soon::Later(Box::pin(async move {
            let written = committed.await;
            show(&needs, *record, Facts { seq: seq.filter(|_| written), ..facts }, &trail);
            written
        }))
    }

    /// What telemetry shows of a decision beside its record, which has this number where it is written.
    fn facts(&self, seq: Option<u64>) -> Facts {
        Facts { scanned: self.exchange.scanned(Direction::Request), seq }
    }

    /// Puts on record what was found after the decision.
    fn note(&self, found: &InspectionRecord) -> Soon<bool> {
        self.needs.telemetry.inspected(found, &self.trail);
        let Receipt { seq, committed } = self.needs.recorder.note(found);
        committed.map_or(Soon::Now(seq.is_some()), Soon::Later)
    }

    fn reply(&mut self, reply: Reply) -> Step {
        self.holding = matches!(reply, Reply::HoldBody { .. }).then(Instant::now);
        if self.holding.take_if(|now| self.needs.load.is_backed_up(self.waited, *now)).is_some() {
            return self.turn_away(None);
        }
        self.owed = self.holding.is_some();
        if let Reply::Allow(forward) = &reply {
            self.shows = forward.shows;
        }
        Step::Replies([translate::reply(reply, self.phase, &self.request_id)].into())
    }
}

impl Drop for Driver {
    /// The agent went away before there was a verdict: that attempt is on record too. So is what was found in a message
    /// that did not come to its end.
    fn drop(&mut self) {
        if self.owed
            && let Effect::Record(mut record) = self.exchange.fail(Reason::ClientGone, now())
        {
            if record.approval.is_none() {
                let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
                record.approval = asked.map(|ticket| ApprovalNote { ticket, by: None, why: None });
            }
            // Nobody waits for it any more.
            let facts = self.facts(self.needs.recorder.record(&record).seq);
            show(&self.needs, *record, facts, &self.trail);
        }
        for record in self.exchange.close(now()) {
            self.note(&record);
        }
        for direction in [Direction::Request, Direction::Response] {
            self.needs.telemetry.scanned(direction, self.exchange.scanned(direction));
        }
        self.needs.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Shows a decision as it is enforced. Where an allow is written and not where it has to be, what is enforced is written
/// after it: so far as it is read, it was no allow.
fn show(needs: &Needs, mut record: DecisionRecord, mut facts: Facts, trail: &Trail) {
    if facts.seq.is_none() && record.decision == Verdict::Allow {
        record.decision = Verdict::Error;
        record.reason = Some(Reason::RecordFailed.as_str().into());
        record.status = Some(Reason::RecordFailed.status());
        facts.seq = needs.recorder.record(&record).seq;
    }
    needs.telemetry.decided(&record, facts, trail);
    needs.herald.decided(&record);
}

fn now() -> Now {
    Now { wall: SystemTime::now(), monotonic: Instant::now() }
}
