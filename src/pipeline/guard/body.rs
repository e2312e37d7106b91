//! A request's body: looked at as a whole where it is held, and else on its way.

use crate::pipeline::dlp::finding::{Action, Finding, Step};
use crate::pipeline::dlp::inflate::{Coding, Inflater};
use crate::pipeline::dlp::redact::redacted;
use crate::pipeline::dlp::scan::{Lens, Report};
use crate::pipeline::dlp::stream::{BodyStream, Emit, Fault, Label};
use crate::pipeline::dlp::surface::{Layout, Surface, joined, json, multipart};
use crate::pipeline::dlp::verdicts::Block;
use crate::pipeline::dlp::view::View;
use crate::pipeline::message::Fields;
use crate::pipeline::policy::decision::{Denial, Reason};
use crate::pipeline::policy::inspect::Inspect;

use super::grpc::{Messages, is_messages};
use super::memory::{Pieces, Trace};
use super::{blocked, codings, refusal, without_redaction};

/// The most bytes that a held body may become when its coding is undone; beyond it, it is looked at on its way.
const WHOLE: usize = 8 << 20;
/// The most bytes of a body whose values are remembered as pieces.
const SHORT: usize = 4096;
/// The fewest bytes of a message's block that is remembered as clean.
const BLOCK: usize = 512;

/// The fields of a request that leave.
type Sent<'a> = &'a [(&'a str, &'a [u8])];

/// A request's body.
#[derive(Debug)]
pub struct RequestBody {
    lens: Lens,
    codings: Vec<Coding>,
    content_type: Vec<u8>,
    across: Trace,
    way: Way,
    report: Report,
    /// How many findings were told, of its own and of the stream's.
    told: (usize, usize),
}

/// How it is looked at.
#[derive(Debug)]
enum Way {
    /// Not at all yet.
    Unbegun,
    Stream(Box<BodyStream>),
    Messages(Box<Messages>),
}

impl RequestBody {
    /// A body with this head.
    pub fn new(lens: Lens, fields: Sent<'_>, across: Trace) -> Result<Self, Denial> {
        let codings = codings(all(fields, "content-encoding"))?;
        // Nobody would take a body for what its sender signed once something in it is replaced.
        let fixed = !codings.is_empty() || is_signed(fields) || messages(fields).is_some();
        let lens = if fixed { without_redaction(&lens) } else { lens };
        let way = messages(fields).map_or(Way::Unbegun, |messages| Way::Messages(Box::new(messages(lens.clone()))));
        let content_type = all(fields, "content-type").next().unwrap_or_default().to_vec();
        if let Some(Err(bad)) = multipart::boundary(&content_type) {
            return Err(Denial::new(Reason::MalformedBody).because(bad));
        }
        Ok(Self { lens, codings, content_type, across, way, report: Report::default(), told: (0, 0) })
    }

    fn stream(&mut self) -> Result<&mut Way, Denial> {
        if matches!(self.way, Way::Unbegun) {
            // What is in it is not known yet, and its head is about to leave.
            self.across.look(&self.lens, &Pieces::default(), &mut self.report);
            self.judge()?;
            let (lens, codings) = (self.lens.clone(), &self.codings);
            let stream = BodyStream::new(lens, "body".into(), codings, Emit::AsSent, Label::Named);
            self.way = Way::Stream(Box::new(stream));
        }
        Ok(&mut self.way)
    }

    fn judge(&self) -> Result<(), Denial> {
        if self.report.action() == Action::Block {
            return Err(blocked(&self.report.findings));
        }
        if self.report.exhausted {
            return Err(Denial::new(Reason::BudgetExhausted));
        }
        Ok(())
    }

    /// Looks at a text that is all of the body, and gives what goes on in its place if anything is to be replaced.
    fn look(&mut self, text: &[u8]) -> Result<Option<Vec<u8>>, Denial> {
        let divided = match multipart::boundary(&self.content_type) {
            None => None,
            Some(boundary) => {
                let malformed = |bad| Denial::new(Reason::MalformedBody).because(bad);
                Some(boundary.and_then(|boundary| multipart::parts(text, &boundary)).map_err(malformed)?)
            }
        };
        let layout = |parts| match parts {
            Some(parts) => Layout::Multipart("body".into(), parts),
            None if is_form(&self.content_type) => Layout::Form("body".into()),
            None if is_json(&self.content_type, text) => Layout::Json("body".into()),
            None => Layout::Plain("body".into()),
        };
        let chain = self.codings.iter().rev().map(|coding| coding.step()).collect();
        let surface = Surface { text, layout: layout(divided.as_deref()), chain, offset: 0, ends: true };
        let views = joined(text, &self.lens.unexempt(text, surface.values()));
        let (seen, new) = self.blocks(&surface);
        let whole = View::raw(text);
        let first = if seen.is_empty() { whole } else { whole.without(&seen) };
        self.lens.scan_from(first, &surface, views, &mut self.report);
        if self.report.findings.is_empty() && !self.report.exhausted {
            new.into_iter().for_each(|block| self.across.memory().verdicts.note(block));
        }
        let pieces = if text.len() <= SHORT { pieces(&surface) } else { Pieces::default() };
        self.across.look(&self.lens, &pieces, &mut self.report);
        for finding in &mut self.report.findings {
            if finding.chain.contains(&Step::Split) {
                finding.action = finding.action.unredactable();
            }
        }
        self.judge()?;
        if self.report.action() != Action::Redact {
            return Ok(None);
        }
        let out = redacted(&surface, &self.report.findings);
        // What is left over must be clean: a replacement can bring together what stood apart.
        let mut left = Report::default();
        let again =
            Surface { text: &out, layout: Layout::Plain("body".into()), chain: surface.chain, offset: 0, ends: true };
        self.lens.scan(&again, Vec::new(), &mut left);
        if left.action() >= Action::Redact {
            return Err(blocked(&self.report.findings).because("it cannot be replaced"));
        }
        Ok(Some(out))
    }

    /// The long strings of a conversation with a language model: those that were clean before under the same rules, and
    /// the names of the others.
    fn blocks(&self, surface: &Surface<'_>) -> (Vec<std::ops::Range<usize>>, Vec<Block>) {
        let (mut seen, mut new) = (Vec::new(), Vec::new());
        if !self.lens.examples_pass || !matches!(surface.layout, Layout::Json(_)) {
            return (seen, new);
        }
        let verdicts = &self.across.memory().verdicts;
        let rules = self.lens.version();
        json::walk(surface.text, |leaf| {
            if leaf.kind == json::Kind::String && leaf.range.len() >= BLOCK {
                let block = verdicts.block(rules, surface.text.get(leaf.range.clone()).unwrap_or_default());
                match verdicts.seen(block) {
                    true => seen.push(leaf.range.clone()),
                    false => new.push(block),
                }
            }
            true
        });
        (seen, new)
    }
}

impl Inspect for RequestBody {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Denial> {
        match self.stream()? {
            Way::Stream(stream) => stream.push(bytes, out).map_err(|fault| refusal(fault, stream.findings())),
            Way::Messages(messages) => messages.push(bytes, out).map_err(|fault| messages.refusal(fault)),
            Way::Unbegun => Err(Denial::new(Reason::ScanFailed)),
        }
    }

    fn finish(&mut self, trailers: Option<&Fields>, out: &mut Vec<u8>) -> Result<(), Denial> {
        if trailers.is_none() && matches!(self.way, Way::Unbegun) {
            // A body without a byte carries nothing, and its head may yet be a piece of something.
            self.across.look(&self.lens, &Pieces::default(), &mut self.report);
        }
        match &mut self.way {
            Way::Unbegun => {}
            Way::Stream(stream) => stream.finish(out).map_err(|fault| refusal(fault, stream.findings()))?,
            Way::Messages(messages) => messages.finish(out).map_err(|fault| messages.refusal(fault))?,
        }
        if let Some(trailers) = trailers {
            look_at_trailers(&without_redaction(&self.lens), trailers, &mut self.report);
        }
        self.judge()
    }

    fn whole(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Denial> {
        if matches!(self.way, Way::Messages(_)) {
            self.push(body, out)?;
            return self.finish(None, out);
        }
        if self.codings.is_empty() {
            match self.look(body)? {
                Some(other) => out.extend_from_slice(&other),
                None => out.extend_from_slice(body),
            }
            return Ok(());
        }
        let mut text = Vec::new();
        let mut inflater = Inflater::new(&self.codings);
        for slice in body.chunks(1024) {
            inflater.push(slice, &mut text).map_err(|why| refusal(Fault::Undecodable(why), &[]))?;
            if text.len() > WHOLE {
                self.push(body, out)?;
                return self.finish(None, out);
            }
        }
        inflater.finish(&mut text).map_err(|why| refusal(Fault::Undecodable(why), &[]))?;
        self.look(&text)?;
        out.extend_from_slice(body);
        Ok(())
    }

    fn findings(&mut self) -> Vec<Finding> {
        let of_stream = match &self.way {
            Way::Unbegun => &[][..],
            Way::Stream(stream) => stream.findings(),
            Way::Messages(messages) => messages.findings(),
        };
        let (own, streamed) = self.told;
        let new = self.report.findings.iter().skip(own).chain(of_stream.iter().skip(streamed)).cloned().collect();
        self.told = (self.report.findings.len(), of_stream.len());
        new
    }
}

fn all<'a>(fields: Sent<'a>, wanted: &str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| *value)
}

/// Looks at the fields that follow a body.
pub fn look_at_trailers(lens: &Lens, trailers: &Fields, report: &mut Report) {
    for (name, value) in trailers.iter() {
        let text = [name.as_bytes(), b": ", value].concat();
        lens.scan(&Surface::new(&text, Layout::Plain(format!("trailer {name}").into())), Vec::new(), report);
    }
}

/// What looks at a stream of messages, where the body is one.
fn messages(fields: Sent<'_>) -> Option<impl Fn(Lens) -> Messages + use<>> {
    let content_type = all(fields, "content-type").next()?;
    let encoding = all(fields, "grpc-encoding").next().map(<[u8]>::to_vec);
    is_messages(content_type).then_some(move |lens: Lens| Messages::new(lens, encoding.as_deref(), Label::Named))
}

/// Whether a field says what the body has to be, byte for byte.
fn is_signed(fields: Sent<'_>) -> bool {
    const DIGESTS: [&str; 8] = [
        "content-digest",
        "content-md5",
        "digest",
        "repr-digest",
        "signature",
        "x-hub-signature-256",
        "x-signature",
        "x-slack-signature",
    ];
    let hashed = |name| all(fields, name).any(|value| !value.starts_with(b"UNSIGNED"));
    fields.iter().any(|(name, _)| DIGESTS.contains(name))
        || hashed("x-amz-content-sha256")
        || hashed("x-goog-content-sha256")
        || all(fields, "authorization").any(|value| memchr::memmem::find(value, b"HMAC").is_some())
}

fn is_form(content_type: &[u8]) -> bool {
    kind(content_type).eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

/// JSON by its name, or by how it begins.
fn is_json(content_type: &[u8], text: &[u8]) -> bool {
    let kind = kind(content_type).to_ascii_lowercase();
    memchr::memmem::find(&kind, b"json").is_some() || text.trim_ascii_start().first().is_some_and(|b| b"{[".contains(b))
}

fn kind(content_type: &[u8]) -> &[u8] {
    content_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii()
}

/// The values of a short body that may be pieces of something, each with what carries it.
fn pieces(surface: &Surface<'_>) -> Pieces {
    let mut pieces = Pieces::default();
    let values = surface.values();
    if values.is_empty() {
        pieces.push("body", surface.text);
    }
    for range in values {
        let (_, place) = surface.place(range.start);
        let slot = format!("body.{}", place.unwrap_or_default());
        pieces.push(&slot, surface.text.get(range).unwrap_or_default());
    }
    pieces
}
