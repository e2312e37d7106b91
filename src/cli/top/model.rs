//! What has been seen of the service and its traffic: fed with news and the time, nothing else.

pub mod tally;

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::cli::logs::table::url;
use crate::control::api::{Approval, State, StatusReply};
use crate::journal::exchange::{Exchange, Standing};
use crate::pipeline::audit::{DecisionRecord, Record, Verdict};
use tally::{Counts, Kind, Rate, Tally};

/// How many exchanges are kept.
pub const KEPT: usize = 5_000;
/// How many agents, and how many hosts, have a row of their own.
const NAMES: usize = 200;
/// Stands for an agent that is not known.
const NOBODY: &str = "-";

/// Something to take in.
#[derive(Debug)]
pub enum News {
    /// How the service is doing.
    Status(StatusReply),
    /// What waits for a person, and what was answered and still counts; or why nobody can say.
    Approvals(Result<Vec<Approval>, String>),
    /// What was decided since then, in the order it was: now, or again after the service had gone.
    Past(Vec<Exchange>, SystemTime),
    /// A record, as it is written.
    Record(Box<Record>, Option<u64>),
    /// The service cannot be asked any more, and why.
    Lost(String),
}

/// Whether the service answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// It has not been asked yet.
    Connecting,
    /// What is shown is what is.
    Live,
    /// Why not, and since when.
    Lost(String, SystemTime),
}

/// An exchange, and the words by which it can be found.
#[derive(Debug)]
pub struct Row {
    /// What is known of it.
    pub exchange: Exchange,
    words: String,
}

impl Row {
    fn new(exchange: Exchange) -> Self {
        let words = words(&exchange);
        Self { exchange, words }
    }

    /// Whether a text, in lower case, stands in what is shown of it.
    pub fn has(&self, text: &str) -> bool {
        self.words.contains(text)
    }
}

/// All that is shown.
#[derive(Debug)]
pub struct Model {
    /// Whether the service answers.
    pub link: Link,
    /// How it was doing when it last did.
    pub status: Option<StatusReply>,
    /// What waits for a person, the oldest first.
    pub pending: Vec<Approval>,
    /// Why it is not known what waits.
    pub unasked: Option<String>,
    /// All that was counted.
    pub total: Counts,
    /// Those that Envoy forwarded without a decision.
    pub unreconciled: u64,
    /// By who asked.
    pub agents: Tally,
    /// By whom it was meant for.
    pub hosts: Tally,
    /// All that was decided.
    pub rate: Rate,
    /// From when on nothing is missing.
    pub since: Option<SystemTime>,
    /// By their place in the order of decisions; the first stands at `first`.
    rows: VecDeque<Row>,
    first: u64,
    places: HashMap<Arc<str>, u64>,
    kept: usize,
}

impl Default for Model {
    fn default() -> Self {
        Self::keeping(KEPT, NAMES)
    }
}

impl Model {
    fn keeping(kept: usize, names: usize) -> Self {
        Self {
            link: Link::Connecting,
            status: None,
            pending: Vec::new(),
            unasked: None,
            total: Counts::default(),
            unreconciled: 0,
            agents: Tally::new(names),
            hosts: Tally::new(names),
            rate: Rate::default(),
            since: None,
            rows: VecDeque::new(),
            first: 0,
            places: HashMap::new(),
            kept,
        }
    }

    /// Takes something in, now.
    pub fn take(&mut self, news: News, now: SystemTime) {
        match news {
            News::Status(status) => {
                self.link = Link::Live;
                self.status = Some(status);
            }
            News::Approvals(Ok(mut approvals)) => {
                approvals.retain(|approval| approval.state() == State::Pending);
                (self.pending, self.unasked) = (approvals, None);
            }
            News::Approvals(Err(why)) => {
                self.pending.clear();
                self.unasked = Some(why);
            }
            News::Past(exchanges, since) => {
                self.since.get_or_insert(since);
                exchanges.into_iter().for_each(|exchange| self.recall(exchange));
            }
            News::Record(record, seq) => self.record(*record, seq),
            News::Lost(why) => {
                self.pending.clear();
                self.unasked = Some("the service is gone".to_owned());
                self.link = match std::mem::replace(&mut self.link, Link::Connecting) {
                    Link::Lost(_, since) => Link::Lost(why, since),
                    Link::Connecting | Link::Live => Link::Lost(why, now),
                };
            }
        }
    }

    /// The exchanges with their places, the newest first.
    pub fn rows(&self) -> impl Iterator<Item = (u64, &Row)> {
        (0..self.next()).rev().zip(self.rows.iter().rev())
    }

    /// The one at a place, as long as it is kept.
    pub fn at(&self, place: u64) -> Option<&Row> {
        self.rows.get(usize::try_from(place.checked_sub(self.first)?).ok()?)
    }

    /// The place of the next one.
    pub fn next(&self) -> u64 {
        self.first + self.rows.len() as u64
    }

    /// How many a second there were in the last three seconds, and in the last minute or as much of it as was seen.
    pub fn rates(&self, now: SystemTime) -> (f64, f64) {
        let seen = self.since.and_then(|since| now.duration_since(since).ok()).unwrap_or_default().as_secs();
        let over = |seconds: u64| self.rate.over(now, seconds) as f64 / seconds.min(seen).max(1) as f64;
        (over(3), over(60))
    }

    fn record(&mut self, record: Record, seq: Option<u64>) {
        match record {
            Record::Decision(decision) => self.decided(*decision, seq),
            Record::Outcome(outcome) => self.change(&outcome.request_id.clone(), |exchange| {
                if outcome.known || exchange.outcome.is_none() {
                    exchange.outcome = Some(*outcome);
                }
            }),
            Record::Inspection(inspection) => self.change(&inspection.request_id.clone(), |exchange| {
                // The past may have told of it already.
                if !exchange.inspections.contains(&inspection) {
                    exchange.inspections.push(*inspection);
                }
            }),
            // Whoever watches the questions asks for them.
            Record::Approval(_) => {}
        }
    }

    fn decided(&mut self, decision: DecisionRecord, seq: Option<u64>) {
        if let Some(known) = self.place(&decision.request_id).and_then(|place| self.at(place)) {
            let known = &known.exchange.decision;
            if known.time == decision.time {
                return;
            }
            if decision.decision != Verdict::Allow {
                return self.change(&decision.request_id.clone(), |exchange| exchange.correct(decision));
            }
        }
        self.push(Exchange { seq, ..Exchange::new(decision) });
    }

    /// One from the record: new, or one that was seen, of which more may be known by now.
    fn recall(&mut self, recalled: Exchange) {
        let id = recalled.decision.request_id.clone();
        let seen = self.place(&id).and_then(|place| self.at(place));
        match seen.filter(|row| row.exchange.decision.time == recalled.decision.time) {
            Some(_) => self.change(&id, |exchange| *exchange = recalled),
            None => self.push(recalled),
        }
    }

    fn place(&self, id: &str) -> Option<u64> {
        self.places.get(id).copied()
    }

    fn push(&mut self, exchange: Exchange) {
        let (kind, time) = (Kind::of(&exchange), exchange.decision.time);
        self.total.add(kind);
        self.unreconciled += u64::from(exchange.standing() == Standing::Unreconciled);
        self.rate.add(time);
        let reason = reason(&exchange);
        self.agents.add(agent(&exchange), kind, reason, time);
        self.hosts.add(host(&exchange), kind, reason, time);
        self.places.insert(exchange.decision.request_id.clone(), self.next());
        self.rows.push_back(Row::new(exchange));
        if self.rows.len() > self.kept
            && let Some(gone) = self.rows.pop_front()
        {
            let id = &gone.exchange.decision.request_id;
            if self.place(id) == Some(self.first) {
                self.places.remove(id);
            }
            self.first += 1;
        }
    }

    /// Changes one that is kept, and what it is counted as.
    fn change(&mut self, id: &str, change: impl FnOnce(&mut Exchange)) {
        let Some(index) = self.place(id).and_then(|place| usize::try_from(place.checked_sub(self.first)?).ok()) else {
            return;
        };
        let Some(row) = self.rows.get_mut(index) else { return };
        let before = row.exchange.clone();
        change(&mut row.exchange);
        row.words = words(&row.exchange);
        let after = &row.exchange;
        let (from, to) = ((Kind::of(&before), reason(&before)), (Kind::of(after), reason(after)));
        if from == to {
            return;
        }
        self.total.shift(from.0, to.0);
        let bypassed = |exchange: &Exchange| exchange.standing() == Standing::Unreconciled;
        self.unreconciled += u64::from(bypassed(after) && !bypassed(&before));
        self.agents.shift(agent(after), from, to);
        self.hosts.shift(host(after), from, to);
    }
}

/// How long something has lasted.
pub fn lasted(since: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(since).unwrap_or_default()
}

/// Who asked.
pub fn agent(exchange: &Exchange) -> &str {
    exchange.decision.agent.as_deref().unwrap_or(NOBODY)
}

fn host(exchange: &Exchange) -> &str {
    if exchange.decision.host.is_empty() { NOBODY } else { &exchange.decision.host }
}

/// Why it did not pass; what passed may say why it would not have.
fn reason(exchange: &Exchange) -> Option<&str> {
    exchange.reason().or(exchange.decision.would.as_ref().map(|would| &*would.reason))
}

fn words(exchange: &Exchange) -> String {
    let decision = &exchange.decision;
    let mut words = format!("{} {} {}", agent(exchange), exchange.standing().as_str(), decision.decision.as_str());
    let _ = write!(words, " {} {} {}", decision.method, url(exchange), decision.request_id);
    if let Some(status) = exchange.status() {
        let _ = write!(words, " {status}");
    }
    let found = exchange.inspections.iter().flat_map(|inspection| &inspection.findings).chain(&decision.findings);
    let texts = [reason(exchange), decision.detail.as_deref(), decision.rule.as_deref()];
    let texts = texts.into_iter().flatten().chain(decision.credential.iter().map(|name| &**name));
    for text in texts.chain(found.map(|finding| &*finding.rule)) {
        let _ = write!(words, " {text}");
    }
    words.to_lowercase()
}

#[cfg(test)]
pub mod tests;
