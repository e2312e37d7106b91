//! The seam between an exchange, which knows when a part of a message may go on, and what looks into messages, which
//! knows whether.
//!
//! An [`Inspector`] belongs to a policy. It [opens](Inspector::open) one [`Inspection`] for each request it may look
//! into, and that gives an [`Inspect`] for each body. None of them does I/O or waits.

use std::fmt;
use std::time::Instant;

use super::{Denial, Permit};
use crate::pipeline::agent::AgentId;
use crate::pipeline::dlp::finding::Finding;
use crate::pipeline::message::{Fields, RequestHead};

/// Looks into messages, as a policy wants it.
pub trait Inspector: Send + Sync + fmt::Debug {
    /// Looks at a request's head, and says what else of its exchange is to be looked at. A request is looked at again
    /// when it is decided again, as after a person has agreed to it: what is counted over several requests must know it
    /// by its id.
    fn open(&self, subject: &Subject<'_>) -> Result<Inspection, Refusal>;

    /// True if it would find anything in a text of this agent's, known secrets included: words of a request that was
    /// not looked into, on their way into a record. In doubt it is true.
    fn finds(&self, agent: Option<AgentId>, text: &str) -> bool;
}

/// A request that policy admits.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its id, the same each time it is looked at.
    pub id: &'a str,
    /// Its head as the agent sent it.
    pub head: &'a RequestHead,
    /// The names of the fields that do not leave with it.
    pub stays: &'a [Box<str>],
    /// What policy says of it.
    pub permit: &'a Permit,
    /// True if no body follows.
    pub ends: bool,
    /// The time.
    pub now: Instant,
}

/// What is done about a request's head, and what else is looked at. By default, nothing.
#[derive(Debug, Default)]
pub struct Inspection {
    /// What was found in the head.
    pub findings: Vec<Finding>,
    /// Fields that go out with another value.
    pub set: Vec<(Box<str>, Vec<u8>)>,
    /// Fields that do not go out.
    pub remove: Vec<Box<str>>,
    /// The query that goes out in place of the agent's, before credentials are put into it.
    pub query: Option<Box<str>>,
    /// Looks into the request's body and trailers.
    pub request: Option<BodyInspection>,
    /// Looks into the response.
    pub response: Option<Box<dyn InspectResponse>>,
}

/// How a request's body is looked into. One that fits is held until it is clean, and its head with it.
#[derive(Debug)]
pub struct BodyInspection {
    /// What looks.
    pub inspect: Box<dyn Inspect>,
    /// What becomes of a body that cannot be held: it is too large, of unknown length, or an answer is waited for in
    /// the middle of it.
    pub unheld: Unheld,
}

/// What becomes of a body that cannot be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unheld {
    /// Its head goes out, and after it what has been cleared. Its length stays what the head says: the inspector gives
    /// out as many bytes as it takes.
    Stream,
    /// The same, and its length is not stated since it may change. Some upstreams refuse that.
    StreamOfAnyLength,
    /// It is refused as too large.
    #[default]
    Refuse,
}

/// Looks into a body on its way. What it gives out may go on, in that order; what it keeps waits.
///
/// It must not keep more than may still become part of a finding: whoever sent it may wait for an answer to it.
pub trait Inspect: Send + fmt::Debug {
    /// Takes bytes, and appends to `out` what may go on now. On an error nothing more goes on.
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Denial>;

    /// The body has ended, with the fields that follow it, if any do. Called once, after which nothing else is, but for
    /// [`findings`](Self::findings).
    fn finish(&mut self, trailers: Option<&Fields>, out: &mut Vec<u8>) -> Result<(), Denial>;

    /// The body is all there: in place of [`push`](Self::push) and [`finish`](Self::finish).
    fn whole(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Denial> {
        self.push(body, out)?;
        self.finish(None, out)
    }

    /// What was found since this was last asked, for the record. Asked after an error, too.
    fn findings(&mut self) -> Vec<Finding>;
}

/// Looks into a response.
pub trait InspectResponse: Send + fmt::Debug {
    /// Looks at the head. Informational responses are not shown, and no exchange that switches protocols.
    fn open(self: Box<Self>, head: &ResponseHead) -> Result<ResponseInspection, Refusal>;
}

/// The head of a response: the upstream's, or Envoy's own where the upstream gave none.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// Its status.
    pub status: u16,
    /// Its fields, pseudo-headers included.
    pub fields: Fields,
    /// True if no body follows: the answer to a HEAD request, 204, 304, or simply none.
    pub ends: bool,
}

/// What is done about a response. By default, nothing.
#[derive(Debug, Default)]
pub struct ResponseInspection {
    /// What was found in the head.
    pub findings: Vec<Finding>,
    /// Another status.
    pub status: Option<u16>,
    /// Fields that reach the agent with another value.
    pub set: Vec<(Box<str>, Vec<u8>)>,
    /// Fields that do not reach it. `content-length` has to be among them where the body may change its length.
    pub remove: Vec<Box<str>>,
    /// Looks into the body and the trailers. None: they pass as they are.
    pub body: Option<Box<dyn Inspect>>,
    /// True if the head waits for the first bytes that are given out, or the end: until then an error can still be
    /// answered as one. Otherwise it goes on at once. A body that comes event by event must not be waited for: the next
    /// event may be an hour away.
    pub holds_head: bool,
}

/// A message must not go on.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub denial: Denial,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self { denial, findings: Vec::new() }
    }
}
