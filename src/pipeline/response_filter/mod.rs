//! Takes fields out of what comes back, while it comes: a JSON document, one to a line, or one to an event.
//!
//! A [`Filter`] is compiled from the paths of the policy, a [`Projection`] takes one body through the filters that
//! apply to it. What it keeps is bounded and does not grow with the body: a key until its value begins, and the way to
//! where it reads. What is not JSON throughout does not pass: a reader that is more lenient than this one could find in
//! it what this one did not.

mod document;
mod events;
mod filter;
mod text;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use memchr::memchr;
use smallvec::SmallVec;
use thiserror::Error;

use document::Document;
use events::Events;
pub use filter::{BadFieldPath, FieldPath, Filter};

/// What a body is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON text.
    Json,
    /// One JSON text to a line: NDJSON, JSON Lines.
    Lines,
    /// One JSON text to an event: server-sent events.
    Events,
}

impl Form {
    /// What a `content-type` says; `None` for what cannot be filtered.
    pub fn of(content_type: &[u8]) -> Option<Self> {
        let essence = content_type.split(|byte| *byte == b';').next()?.trim_ascii();
        let essence = std::str::from_utf8(essence).ok()?.to_ascii_lowercase();
        let (kind, subtype) = essence.split_once('/')?;
        match (kind, subtype) {
            ("text", "event-stream") => Some(Self::Events),
            // `stream+json` is JSON by its suffix, and one text to a line by its use.
            ("application", "stream+json" | "json-lines") => Some(Self::Lines),
            ("application" | "text", _) if LINES.contains(&subtype.trim_start_matches("x-")) => Some(Self::Lines),
            ("application" | "text", "json" | "x-json") => Some(Self::Json),
            (_, suffixed) if !kind.is_empty() && suffixed.ends_with("+json") => Some(Self::Json),
            _ => None,
        }
    }
}

const LINES: &[&str] = &["ndjson", "jsonl", "jsonlines", "json-lines", "ldjson"];

/// Why a body cannot be filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadBody {
    /// It breaks the grammar of RFC 8259.
    #[error("it is not JSON")]
    NotJson,
    /// It has a text in another encoding.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// A key has one half of a surrogate pair, of which readers make different things.
    #[error("a key has half a character")]
    HalfCharacter,
    /// More objects and arrays are open than are kept track of.
    #[error("it is nested too deeply")]
    TooDeep,
    /// A key does not fit into what is kept of it.
    #[error("a key is too long")]
    KeyTooLong,
    /// It has a line that is none of an event stream's.
    #[error("it is no stream of events")]
    NotEvents,
    /// The other lines of an event do not fit into what is kept of them until its data is over.
    #[error("an event's lines are too long")]
    EventTooLong,
    /// It ends in the middle.
    #[error("it ends in the middle")]
    Unfinished,
}

/// One body on its way.
#[derive(Debug)]
pub struct Projection {
    framing: Framing,
    /// How much of a byte order mark has come; `None`: what follows it.
    mark: Option<usize>,
    failed: Option<BadBody>,
}

#[derive(Debug)]
enum Framing {
    Json(Chain),
    Lines(Chain),
    Events(Box<Events>),
}

const MARK: &[u8] = b"\xef\xbb\xbf";

impl Projection {
    /// One of which nothing has come. What passes is what every one of the filters lets pass.
    pub fn new(filters: impl IntoIterator<Item = Arc<Filter>>, form: Form) -> Self {
        let chain = Chain::new(filters);
        let framing = match form {
            Form::Json => Framing::Json(chain),
            Form::Lines => Framing::Lines(chain),
            Form::Events => Framing::Events(Box::new(Events::new(chain))),
        };
        Self { framing, mark: Some(0), failed: None }
    }

    /// Takes the next bytes, and appends to `out` what may pass by now. After an error nothing passes any more, and
    /// what has passed is the beginning of no whole body.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BadBody> {
        let pushed = self.failed.map_or_else(|| self.take(bytes, out), Err);
        self.failed = pushed.err();
        pushed
    }

    /// The body is over. Nothing at all, or blanks, is no mistake: there is nothing in it to filter.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), BadBody> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.mark {
            Some(come) if come == MARK.len() => out.extend_from_slice(MARK),
            Some(1 | 2) => return Err(BadBody::Unfinished),
            _ => {}
        }
        match &mut self.framing {
            Framing::Json(chain) | Framing::Lines(chain) => chain.finish(out),
            Framing::Events(events) => events.finish(out),
        }
    }

    fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BadBody> {
        while let Some(come) = self.mark {
            let Some((first, rest)) = bytes.split_first() else { return Ok(()) };
            if MARK.get(come) == Some(first) {
                bytes = rest;
                self.mark = Some(come + 1);
            } else if come == 0 || come == MARK.len() {
                out.extend_from_slice(MARK.get(..come).unwrap_or_default());
                self.mark = None;
            } else {
                return Err(BadBody::NotJson);
            }
        }
        match &mut self.framing {
            Framing::Json(chain) => chain.push(bytes, out),
            Framing::Lines(chain) => {
                let mut rest = bytes;
                while let Some(end) = memchr(b'\n', rest) {
                    let (line, after) = rest.split_at(end);
                    chain.push(line, out)?;
                    chain.finish(out)?;
                    out.push(b'\n');
                    rest = after.get(1..).unwrap_or_default();
                }
                chain.push(rest, out)
            }
            Framing::Events(events) => events.push(bytes, out),
        }
    }
}

/// One JSON text on its way through several filters, one after another.
#[derive(Debug)]
struct Chain {
    documents: SmallVec<[Document; 1]>,
    /// What one has let pass, for the next.
    passed: Vec<u8>,
    taken: Vec<u8>,
}

impl Chain {
    fn new(filters: impl IntoIterator<Item = Arc<Filter>>) -> Self {
        let mut documents: SmallVec<[Document; 1]> = filters.into_iter().map(Document::new).collect();
        if documents.is_empty() {
            documents.push(Document::new(Arc::new(Filter::exclude([]))));
        }
        Self { documents, passed: Vec::new(), taken: Vec::new() }
    }

    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BadBody> {
        let Some((last, others)) = self.documents.split_last_mut() else { return Err(BadBody::NotJson) };
        if others.is_empty() {
            return last.push(bytes, out);
        }
        self.taken.clear();
        self.taken.extend_from_slice(bytes);
        for document in others {
            self.passed.clear();
            document.push(&self.taken, &mut self.passed)?;
            std::mem::swap(&mut self.taken, &mut self.passed);
        }
        last.push(&self.taken, out)
    }

    /// The text is over: another may follow.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), BadBody> {
        let Some((last, others)) = self.documents.split_last_mut() else { return Err(BadBody::NotJson) };
        self.taken.clear();
        for document in others {
            self.passed.clear();
            document.push(&self.taken, &mut self.passed)?;
            document.finish()?;
            std::mem::swap(&mut self.taken, &mut self.passed);
        }
        last.push(&self.taken, out)?;
        last.finish()
    }
}
