//! What passes after the verdict: bodies, trailers and the response, part by part.
//!
//! The two directions know nothing of each other. A part that must not go on ends both.

use std::mem;

use smallvec::{SmallVec, smallvec};

use super::event::{Chunk, HeadChange, Part};
use super::record;
use crate::pipeline::audit::{Direction, FindingNote, InspectionAction};
use crate::pipeline::dlp::finding::Finding;
use crate::pipeline::message::Fields;
use crate::pipeline::policy::Upstream;
use crate::pipeline::policy::decision::{Denial, Reason};
use crate::pipeline::policy::inspect::{Inspect, InspectResponse, ResponseHead, ResponseInspection};

/// Findings that are put on record together; until there are as many, they wait for the end.
const TOGETHER: usize = 64;
/// Findings of one direction that are put on record at all: a body may be made of nothing else.
const MOST_ON_RECORD: usize = 256;

/// How much of a part is looked into at once, in bytes: whatever looks keeps a copy or two of it, and Envoy's parts have
/// up to 2 MiB.
const SLICE: usize = 64 * 1024;

/// Parts that go on.
pub type Parts = SmallVec<[Part; 2]>;

/// What passes after the verdict.
#[derive(Debug)]
pub struct Flow {
    pub request: Way,
    pub response: Answered,
    /// The agent has got the head of the response: what it is told now comes too late to be an answer.
    pub has_answered: bool,
    /// The request has been let go.
    pub is_released: bool,
    /// The direction that was looked into last.
    pub last: Direction,
}

/// How far the request is.
#[derive(Debug)]
pub enum Way {
    /// It is not shown.
    Unseen,
    /// Its body comes, or has ended.
    Body(Stream),
    /// Its body was held and has been answered; its trailers come. With them it goes to this upstream.
    Trailers(Stream, Upstream),
}

/// How far the response is.
#[derive(Debug)]
pub enum Answered {
    /// It is not shown.
    Unseen,
    /// Its head comes; if nothing looks into it, it passes.
    Awaited(Option<Box<dyn InspectResponse>>),
    /// Its head waits for the first part of the body.
    Held(HeadChange, Stream),
    /// Its body comes, or has ended.
    Body(Stream),
}

impl Flow {
    /// True if no part is shown of either direction.
    pub fn is_empty(&self) -> bool {
        matches!((&self.request, &self.response), (Way::Unseen, Answered::Unseen))
    }

    /// More of the request's body.
    pub fn request(&mut self, chunk: &Chunk) -> Result<Parts, Denial> {
        let Way::Body(stream) = &mut self.request else { return Err(unasked()) };
        let is_first = stream.bytes == 0;
        Ok(some_or_none(Part::Request, stream.take(chunk)?, chunk.ends, is_first))
    }

    /// The request's trailers.
    pub fn trailers(&mut self, fields: &Fields) -> Result<Parts, Denial> {
        let (mut parts, releases) = match &mut self.request {
            Way::Unseen => return Err(unasked()),
            Way::Body(stream) => (some(Part::Request, stream.finish(Some(fields))?, false), None),
            Way::Trailers(stream, upstream) => {
                // The body has been answered: what is given out now has no place in it.
                stream.finish(Some(fields))?;
                (Parts::new(), Some(*upstream))
            }
        };
        parts.push(Part::Trailers(releases));
        Ok(parts)
    }

    /// The response's head.
    pub fn response_head(&mut self, head: &ResponseHead) -> Result<Parts, Denial> {
        let Answered::Awaited(inspect) = &mut self.response else { return Err(unasked()) };
        let opened = match inspect.take().map(|inspect| inspect.open(head)) {
            None => ResponseInspection::default(),
            Some(Ok(opened)) => opened,
            Some(Err(refusal)) => {
                // For the record of the refusal.
                self.response = Answered::Body(Stream::new(None, &refusal.findings));
                return Err(refusal.denial);
            }
        };
        let ResponseInspection { findings, status, mut set, remove, body, holds_head } = opened;
        set.extend(status.map(|status| (":status".into(), status.to_string().into_bytes())));
        let is_stated =
            head.fields.get("content-length").is_some() && !remove.iter().any(|name| **name == *"content-length");
        let change = HeadChange { set, remove };
        let mut stream = Stream::new(body, &findings);
        if is_stated && !head.ends {
            stream = stream.of_stated_length();
        }
        if head.ends {
            let out = stream.finish(None);
            self.response = Answered::Body(stream);
            // A response that has no body cannot be given one.
            if !out?.is_empty() {
                return Err(Denial::new(Reason::InternalError).because("a body for a response without one"));
            }
        } else if holds_head {
            self.response = Answered::Held(change, stream);
            return Ok(Parts::new());
        } else {
            self.response = Answered::Body(stream);
        }
        self.has_answered = true;
        Ok(smallvec![Part::ResponseHead(change)])
    }

    /// More of the response's body.
    pub fn response(&mut self, chunk: &Chunk) -> Result<Parts, Denial> {
        let (Answered::Held(_, stream) | Answered::Body(stream)) = &mut self.response else { return Err(unasked()) };
        let is_first = stream.bytes == 0;
        let out = stream.take(chunk)?;
        let begins = chunk.ends || !out.is_empty();
        let waits = matches!(self.response, Answered::Held(..)) && !begins;
        let parts = some_or_none(Part::Response, out, chunk.ends, is_first && !waits);
        Ok(self.head_if(begins).into_iter().chain(parts).collect())
    }

    /// The response's trailers.
    pub fn response_trailers(&mut self, fields: &Fields) -> Result<Parts, Denial> {
        let (Answered::Held(_, stream) | Answered::Body(stream)) = &mut self.response else { return Err(unasked()) };
        let out = stream.finish(Some(fields))?;
        let parts = self.head_if(true).into_iter().chain(some(Part::Response, out, false));
        Ok(parts.chain([Part::ResponseTrailers]).collect())
    }

    /// The head of the response, if it waited until now.
    fn head_if(&mut self, begins: bool) -> Option<Part> {
        if !begins || !matches!(self.response, Answered::Held(..)) {
            return None;
        }
        let Answered::Held(change, stream) = mem::replace(&mut self.response, Answered::Unseen) else { return None };
        self.response = Answered::Body(stream);
        self.has_answered = true;
        Some(Part::ResponseHead(change))
    }

    /// How much was looked into in a direction, in bytes.
    pub fn scanned(&self, direction: Direction) -> u64 {
        let stream = match (direction, &self.request, &self.response) {
            (Direction::Request, Way::Body(stream) | Way::Trailers(stream, _), _)
            | (Direction::Response, _, Answered::Held(_, stream) | Answered::Body(stream)) => stream,
            _ => return 0,
        };
        if stream.inspect.is_some() { stream.bytes } else { 0 }
    }

    /// What is looked into in a direction, if anything is.
    pub fn stream(&mut self, direction: Direction) -> Option<&mut Stream> {
        match direction {
            Direction::Request => match &mut self.request {
                Way::Unseen => None,
                Way::Body(stream) | Way::Trailers(stream, _) => Some(stream),
            },
            Direction::Response => match &mut self.response {
                Answered::Unseen | Answered::Awaited(_) => None,
                Answered::Held(_, stream) | Answered::Body(stream) => Some(stream),
            },
        }
    }
}

/// A body on its way.
#[derive(Debug)]
pub struct Stream {
    /// None: it passes as it is.
    inspect: Option<Box<dyn Inspect>>,
    /// How much has been seen, in bytes.
    pub bytes: u64,
    /// How much of it goes on, where its head says how much that is.
    given: Option<u64>,
    /// What was found and is not on record yet.
    notes: Vec<FindingNote>,
    found: usize,
    ended: bool,
}

impl Stream {
    pub fn new(inspect: Option<Box<dyn Inspect>>, found: &[Finding]) -> Self {
        let mut stream = Self { inspect, bytes: 0, given: None, notes: Vec::new(), found: 0, ended: false };
        stream.note(found);
        stream
    }

    /// The same where the head states the body's length: what goes on must be as long as what came.
    pub fn of_stated_length(mut self) -> Self {
        self.given = Some(0);
        self
    }

    /// What of it may go on.
    fn take(&mut self, chunk: &Chunk) -> Result<Vec<u8>, Denial> {
        if self.ended {
            return Err(unasked());
        }
        self.bytes += chunk.bytes.len() as u64;
        let Some(inspect) = &mut self.inspect else {
            self.ended = chunk.ends;
            return Ok(chunk.bytes.clone());
        };
        let mut out = Vec::with_capacity(chunk.bytes.len());
        let taken = chunk.bytes.chunks(SLICE).try_for_each(|slice| inspect.push(slice, &mut out));
        let found = inspect.findings();
        self.note(&found);
        taken?;
        self.gives(&out)?;
        if chunk.ends {
            out.extend(self.finish(None)?);
        }
        Ok(out)
    }

    fn gives(&mut self, out: &[u8]) -> Result<(), Denial> {
        let Some(given) = &mut self.given else { return Ok(()) };
        *given += out.len() as u64;
        if *given > self.bytes || (self.ended && *given != self.bytes) {
            // Whoever reads it would take what follows for part of it, or it for part of what follows.
            return Err(Denial::new(Reason::InternalError).because("a body of another length than its head says"));
        }
        Ok(())
    }

    /// What was kept of it until its end.
    fn finish(&mut self, trailers: Option<&Fields>) -> Result<Vec<u8>, Denial> {
        if mem::replace(&mut self.ended, true) {
            return Err(unasked());
        }
        let Some(inspect) = &mut self.inspect else { return Ok(Vec::new()) };
        let mut out = Vec::new();
        let finished = inspect.finish(trailers, &mut out);
        let found = inspect.findings();
        self.note(&found);
        finished?;
        self.gives(&out)?;
        Ok(out)
    }

    fn note(&mut self, found: &[Finding]) {
        let room = MOST_ON_RECORD.saturating_sub(self.found);
        self.notes.extend(found.iter().take(room).map(record::note));
        self.found += found.len();
    }

    /// True if what was found should be put on record now.
    pub fn is_due(&self) -> bool {
        self.notes.len() >= TOGETHER || (self.ended && !self.notes.is_empty())
    }

    /// What was found since this was last asked, and what was done about it.
    pub fn take_notes(&mut self) -> (Vec<FindingNote>, InspectionAction) {
        let notes = mem::take(&mut self.notes);
        let redacted = notes.iter().any(|note| note.action == "redact");
        (notes, if redacted { InspectionAction::Redacted } else { InspectionAction::Monitored })
    }
}

/// Bytes that go on, or the end without any.
fn some(part: fn(Chunk) -> Part, bytes: Vec<u8>, ends: bool) -> Parts {
    if bytes.is_empty() && !ends { Parts::new() } else { smallvec![part(Chunk { bytes, ends })] }
}

/// The same for a part that may be the first: where Envoy has had it before the answer to the head, it shows trailers
/// only once the part has been answered, if with nothing.
fn some_or_none(part: fn(Chunk) -> Part, bytes: Vec<u8>, ends: bool, is_first: bool) -> Parts {
    if is_first { smallvec![part(Chunk { bytes, ends })] } else { some(part, bytes, ends) }
}

fn unasked() -> Denial {
    Denial::new(Reason::InternalError).because("a part of a message that nobody asked for")
}
