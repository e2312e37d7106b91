//! gRPC (`application/grpc`, `application/grpc-web`) by its messages: each is let go as a whole once it is clean, so that
//! neither side of a conversation waits for bytes that come only after its answer.

use crate::pipeline::dlp::finding::{Action, Finding};
use crate::pipeline::dlp::inflate::{Coding, Inflater, Undecodable};
use crate::pipeline::dlp::scan::Lens;
use crate::pipeline::dlp::stream::{BodyStream, Emit, Fault, Label};
use crate::pipeline::policy::decision::Denial;

use super::refusal;

/// A message longer than this is let go part by part as it is looked at, in bytes.
const LONGEST: usize = 1 << 20;
/// Compressed-Flag and Message-Length (gRPC over HTTP2, "Length-Prefixed-Message").
const PREFIX: usize = 5;
/// Set where a frame of gRPC-Web has the trailers.
const TRAILERS: u8 = 0x80;
/// How much of a compressed message is decoded at once, in bytes.
const SLICE: usize = 1024;

/// True of a body that is messages, by its content type. `application/grpc-web-text` is base64, and looked into as such.
pub fn is_messages(content_type: &[u8]) -> bool {
    let begins = |name: &[u8]| content_type.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
    begins(b"application/grpc") && !begins(b"application/grpc-web-text")
}

/// A stream of messages.
#[derive(Debug)]
pub struct Messages {
    coding: Result<Option<Coding>, Undecodable>,
    /// What has been said so far, of all messages: what is spread over them is found.
    said: BodyStream,
    prefix: Vec<u8>,
    /// How much of the message is still to come.
    left: usize,
    open: Option<Open>,
}

/// The message that is coming.
#[derive(Debug)]
struct Open {
    /// Undoes its coding, where it has one.
    inflater: Option<Inflater>,
    /// What waits for its end.
    held: Vec<u8>,
    /// It is too long to wait for.
    passes: bool,
}

impl Messages {
    /// A stream whose `grpc-encoding` is this.
    pub fn new(lens: Lens, encoding: Option<&[u8]>, label: Label) -> Self {
        let coding = encoding.map_or(Ok(None), |name| Coding::parse(name).ok_or(Undecodable::Malformed));
        let said = BodyStream::new(lens, "body".into(), &[], Emit::AsSent, label);
        Self { coding, said, prefix: Vec::with_capacity(PREFIX), left: 0, open: None }
    }

    /// Takes the next bytes, and appends what may go on.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        while !bytes.is_empty() {
            if self.open.is_none() {
                let (part, rest) = bytes.split_at((PREFIX - self.prefix.len()).min(bytes.len()));
                self.prefix.extend_from_slice(part);
                bytes = rest;
                if self.prefix.len() == PREFIX {
                    self.begin(out)?;
                }
                continue;
            }
            let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
            bytes = rest;
            self.left -= part.len();
            self.take(part, out)?;
            if self.left == 0 {
                self.end(out)?;
            }
        }
        Ok(())
    }

    /// Says that there is no more.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        match (&self.open, self.prefix.is_empty()) {
            (None, true) => self.said.finish(out),
            _ => Err(Fault::Undecodable(Undecodable::Truncated)),
        }
    }

    /// What was found so far.
    pub fn findings(&self) -> &[Finding] {
        self.said.findings()
    }

    /// The refusal for a fault.
    pub fn refusal(&self, fault: Fault) -> Denial {
        refusal(fault, self.findings())
    }

    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let [flag, length @ ..] = self.prefix.as_slice() else { return Ok(()) };
        self.left = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let inflater = match flag & !TRAILERS {
            0 => None,
            1 => {
                let coding = self.coding?.ok_or(Undecodable::Malformed)?;
                // Nothing can be replaced inside of it.
                Some(Inflater::new(&[coding]))
            }
            _ => return Err(Fault::Undecodable(Undecodable::Malformed)),
        };
        let passes = self.left > LONGEST;
        if passes {
            out.append(&mut self.prefix);
        }
        self.open = Some(Open { inflater, held: Vec::new(), passes });
        if self.left == 0 { self.end(out) } else { Ok(()) }
    }

    fn take(&mut self, part: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut text = Vec::new();
        match &mut open.inflater {
            Some(inflater) => {
                // What little becomes much is looked at as it comes.
                for slice in part.chunks(SLICE) {
                    let mut decoded = Vec::new();
                    inflater.push(slice, &mut decoded)?;
                    self.said.push(&decoded, &mut text)?;
                    text.clear();
                }
                open.held.extend_from_slice(part);
                if open.passes {
                    out.append(&mut open.held);
                }
            }
            None => {
                self.said.push(part, &mut text)?;
                open.held.append(&mut text);
                if open.passes {
                    out.append(&mut open.held);
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let mut text = Vec::new();
        match &mut open.inflater {
            Some(inflater) => {
                let mut decoded = Vec::new();
                if !self.prefix.is_empty() || open.passes {
                    inflater.finish(&mut decoded)?;
                }
                self.said.push(&decoded, &mut text)?;
                self.said.flush(&mut text)?;
                // What was to be replaced is in bytes that leave as they came.
                if self.said.findings().iter().any(|finding| finding.action >= Action::Redact) {
                    return Err(Fault::Found);
                }
            }
            None => {
                self.said.flush(&mut text)?;
                open.held.append(&mut text);
            }
        }
        out.append(&mut self.prefix);
        self.prefix.clear();
        out.append(&mut open.held);
        Ok(())
    }
}
