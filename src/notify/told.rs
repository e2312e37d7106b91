//! Events that the journal tells of, and their delivery: at least once, in the journal's order.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::deliver::{Courier, Failure};
use super::event::{ApprovalDecided, Kind, body};
use super::{Channel, Outcome};
use crate::pipeline::audit::Record;
use crate::sinks::{Dealt, Deliver, Item, Trouble};

/// Which of a channel's events are told. Those about approvals have a way of their own, so that they never stand behind
/// thousands of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What became of questions.
    Approvals,
    /// Everything else.
    Rest,
}

/// Tells a channel what is on record.
pub(super) struct Told {
    courier: Arc<Courier>,
    channel: Arc<ArcSwap<Channel>>,
    part: Part,
    recent: Recent,
    /// How many of the first record's events have been dealt with.
    done: usize,
}

impl Told {
    pub(super) fn new(courier: Arc<Courier>, channel: Arc<ArcSwap<Channel>>, part: Part) -> Self {
        Self { courier, channel, part, recent: Recent::default(), done: 0 }
    }
}

impl Deliver for Told {
    async fn deliver(&mut self, items: &[Item]) -> Result<Dealt, Trouble> {
        let channel = self.channel.load_full();
        for (at, item) in items.iter().enumerate() {
            let Some(line) = Line::read(&item.line, self.part) else { continue };
            let kinds = line.kinds(&channel);
            if kinds.is_empty() {
                self.recent.remember(&line, &item.line);
                continue;
            }
            if at > 0 {
                // What is passed over need not wait for what is told.
                return Ok(Dealt { records: at, ..Dealt::default() });
            }
            let mut dealt = Dealt { records: 1, ..Dealt::default() };
            for kind in kinds.into_iter().skip(self.done) {
                match self.tell(&channel, kind, &line, item).await {
                    Ok(()) => dealt.delivered = 1,
                    Err(failure) if failure.is_final() => {
                        give_up(&channel, kind, item, &failure);
                        self.courier.observe(&channel.name, Outcome::Failed);
                        dealt.rejected = 1;
                    }
                    Err(failure) => return Err(Trouble { error: failure.to_string(), wish: failure.wish() }),
                }
                self.done += 1;
            }
            self.done = 0;
            self.recent.remember(&line, &item.line);
            return Ok(dealt);
        }
        Ok(Dealt { records: items.len(), ..Dealt::default() })
    }
}

impl Told {
    async fn tell(&self, channel: &Channel, kind: Kind, line: &Line<'_>, item: &Item) -> Result<(), Failure> {
        let at = line.time.and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let at = at.map_or_else(SystemTime::now, SystemTime::from);
        let message = match (kind, line.r#type) {
            (Kind::ApprovalDecided, _) => match serde_json::from_slice(&item.line)? {
                Record::Approval(record) => match ApprovalDecided::of_record(&record) {
                    Some(data) => body(kind, at, &data)?,
                    None => return Ok(()),
                },
                _ => return Ok(()),
            },
            (_, "inspection") => body(kind, at, &self.recent.joined(line, &item.line)?)?,
            _ => body(kind, at, &serde_json::from_slice::<&RawValue>(&item.line)?)?,
        };
        self.courier.attempt(channel, &id(kind, item), message).await?;
        self.courier.observe(&channel.name, Outcome::Delivered);
        Ok(())
    }
}

/// The same for the same event, over restarts too.
fn id(kind: Kind, item: &Item) -> String {
    let seq = item.seq.unwrap_or_default();
    format!("msg_{}_{seq}_{}", item.chain, kind.as_str().replace('.', "_"))
}

fn give_up(channel: &Channel, kind: Kind, item: &Item, failure: &Failure) {
    let (name, event, seq) = (&*channel.name, kind.as_str(), item.seq);
    tracing::error!(channel = name, event, seq, error = %failure, "a notification was given up");
}

/// What says whether a record is an event.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    r#type: &'a str,
    time: Option<&'a str>,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    decision: Option<&'a str>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    action: Option<&'a str>,
    #[serde(default)]
    findings: Vec<serde::de::IgnoredAny>,
    known: Option<bool>,
    /// What happened to a question.
    event: Option<&'a str>,
    /// Whom its rules tell of it.
    #[serde(default)]
    notify: Vec<String>,
}

impl<'a> Line<'a> {
    /// None where a record is none for this part.
    fn read(line: &'a [u8], part: Part) -> Option<Self> {
        let is_approval = line.starts_with(b"{\"type\":\"approval\"");
        // What cannot be read has been said where the journal is.
        if is_approval == (part == Part::Approvals) { serde_json::from_slice(line).ok() } else { None }
    }

    fn kinds(&self, channel: &Channel) -> SmallVec<[Kind; 3]> {
        let mut kinds = SmallVec::new();
        let mut add = |kind, happened| {
            if happened && channel.events.contains(&kind) {
                kinds.push(kind);
            }
        };
        match self.r#type {
            "decision" => {
                add(Kind::Blocked, matches!(self.decision, Some("deny" | "rate_limited")));
                add(Kind::Unreconciled, self.reason.as_deref() == Some("unreconciled"));
                add(Kind::Findings, !self.findings.is_empty());
            }
            "inspection" => {
                add(Kind::Blocked, self.action == Some("blocked"));
                add(Kind::Findings, !self.findings.is_empty());
            }
            "outcome" => add(Kind::OutcomeUnknown, self.known == Some(false)),
            "checkpoint" => add(Kind::Checkpoint, true),
            "approval" => {
                let is_told = self.notify.is_empty() || self.notify.iter().any(|name| **name == *channel.name);
                add(Kind::ApprovalDecided, is_told && self.event.is_some_and(|event| event != "asked"));
            }
            _ => {}
        }
        kinds
    }
}

/// The decisions read last that let a request go: what is found in its body later says only which request it is.
#[derive(Default)]
struct Recent {
    lines: HashMap<Box<str>, Box<[u8]>>,
    order: VecDeque<Box<str>>,
}

impl Recent {
    const MOST: usize = 2_000;

    fn remember(&mut self, line: &Line<'_>, text: &[u8]) {
        let (("decision", Some("allow")), Some(id)) = ((line.r#type, line.decision), &line.request_id) else { return };
        let id: Box<str> = (**id).into();
        if self.lines.insert(id.clone(), text.into()).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.lines.remove(&oldest);
        }
    }

    /// What an inspection says, over what its request's decision says, where that is remembered.
    fn joined(&self, line: &Line<'_>, text: &[u8]) -> serde_json::Result<Map<String, Value>> {
        let decision = line.request_id.as_ref().and_then(|id| self.lines.get(&**id));
        let mut joined: Map<String, Value> =
            decision.map(|decision| serde_json::from_slice(decision)).transpose()?.unwrap_or_default();
        joined.extend(serde_json::from_slice::<Map<String, Value>>(text)?);
        if line.action == Some("blocked") {
            joined.insert("decision".into(), "deny".into());
        }
        Ok(joined)
    }
}
