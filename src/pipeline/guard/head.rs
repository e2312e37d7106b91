//! A request's head as one text: method, path, query and fields, each on its line, as far as they leave.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::pipeline::dlp::finding::{Action, Category, Finding, Step};
use crate::pipeline::dlp::scan::{Lens, Report};
use crate::pipeline::dlp::surface::{Layout, Surface, joined, named};
use crate::pipeline::dlp::view::View;
use crate::pipeline::message::{decoded, registered_method};
use crate::pipeline::policy::decision::{Denial, Reason};
use crate::pipeline::policy::inspect::Refusal;

use super::Outgoing;
use super::memory::Pieces;

/// The surfaces in which an agent's own credentials stand.
const OWN: [&str; 2] = ["header authorization", "header cookie"];

/// Fields with another value.
pub type Changed = Vec<(Box<str>, Vec<u8>)>;

/// The head of a request as far as it leaves.
#[derive(Debug)]
pub struct Text {
    bytes: Vec<u8>,
    query: Range<usize>,
    fields: Vec<Field>,
    host: String,
    path: Range<usize>,
    /// Empty for a method that everybody knows.
    method: Range<usize>,
}

/// Where a field's name and value stand.
#[derive(Debug)]
struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

/// What is shorter is no key that is written in capitals, in bytes: those of AWS have twenty.
const SHORTEST_KEY: usize = 16;

/// True if it stands where agents carry credentials of their own.
pub fn is_own(finding: &Finding) -> bool {
    OWN.contains(&&*finding.surface) && finding.category == Category::Credentials
}

impl Text {
    /// The head of a request.
    pub fn of(request: &Outgoing<'_>) -> Self {
        let mut text = Self {
            bytes: Vec::with_capacity(1024),
            query: 0..0,
            fields: Vec::with_capacity(request.fields.len()),
            host: request.host.to_string(),
            path: 0..0,
            method: 0..0,
        };
        if registered_method(request.method).is_none() {
            text.method = text.line(request.method.as_bytes());
        }
        text.path = text.line(request.path.as_bytes());
        if let Some(query) = request.query {
            text.query = text.line(query.as_bytes());
        }
        for (name, value) in request.fields {
            let start = text.bytes.len();
            text.bytes.extend_from_slice(name.as_bytes());
            let name = start..text.bytes.len();
            text.bytes.extend_from_slice(b": ");
            let value = text.line(value);
            text.fields.push(Field { name, value });
        }
        text
    }

    fn line(&mut self, value: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        let end = self.bytes.len();
        self.bytes.push(b'\n');
        start..end
    }

    /// All that decides what is found in it but for the host: what stands there, and as what.
    pub fn identity(&self) -> Vec<u8> {
        let fixed = [&self.method, &self.path, &self.query];
        let fields = self.fields.iter().flat_map(|field| [&field.name, &field.value]);
        let mut identity = Vec::with_capacity(self.bytes.len() + 16 * (3 + 2 * self.fields.len()));
        identity.extend_from_slice(&self.bytes);
        for range in fixed.into_iter().chain(fields) {
            identity.extend_from_slice(&range.start.to_le_bytes());
            identity.extend_from_slice(&range.end.to_le_bytes());
        }
        identity
    }

    /// The surfaces of which it consists, each with where it begins.
    fn parts(&self) -> Vec<(usize, Arc<str>)> {
        let lines = [("method", &self.method), ("path", &self.path), ("query", &self.query)];
        // The path is never without a slash.
        let lines =
            lines.into_iter().filter(|(_, range)| !range.is_empty()).map(|(name, range)| (range.start, name.into()));
        let fields = self.fields.iter().map(|field| (field.name.start, format!("header {}", self.name(field)).into()));
        lines.chain(fields).collect()
    }

    fn name(&self, field: &Field) -> &str {
        let name = self.bytes.get(field.name.clone()).unwrap_or_default();
        // As it came.
        std::str::from_utf8(name).unwrap_or_default()
    }

    /// Looks at all of it but the host, and at what its values make together.
    pub fn scan(&self, lens: &Lens, own_credentials: bool, report: &mut Report) {
        let of_query = lens.unexempt(&self.bytes, values(&self.bytes, self.query.clone(), b'&', true));
        let of_path = values(&self.bytes, self.path.clone(), b'/', false);
        // What every client sends is no piece of anything.
        let custom = self.fields.iter().filter(|field| self.name(field).starts_with("x-"));
        let of_fields: Vec<_> = custom.map(|field| field.value.clone()).filter(|range| range.len() <= 256).collect();
        let of_fields = lens.unexempt(&self.bytes, of_fields);
        let of_method = lens.unexempt(&self.bytes, values(&self.bytes, self.method.clone(), b'/', false));
        let all: Vec<_> = of_method.iter().chain(&of_path).chain(&of_query).chain(&of_fields).cloned().collect();
        let mut views = joined(&self.bytes, &of_query);
        views.extend(joined(&self.bytes, &of_path));
        views.extend(joined(&self.bytes, &of_fields));
        views.extend(of_fields.iter().flat_map(|value| self.named(value)));
        if [&of_method, &of_query, &of_path, &of_fields].iter().filter(|values| !values.is_empty()).count() > 1 {
            views.extend(joined(&self.bytes, &all));
        }
        let before = report.findings.len();
        lens.scan(&Surface::new(&self.bytes, Layout::Parts(&self.parts())), views, report);
        for finding in report.findings.iter_mut().skip(before) {
            if own_credentials && is_own(finding) {
                finding.action = finding.action.min(Action::Monitor);
            }
            let replaceable = finding.surface.starts_with("header ") || &*finding.surface == "query";
            if !replaceable || finding.chain.contains(&Step::Split) {
                finding.action = finding.action.unredactable();
            }
        }
    }

    /// All that decides what is found in the host.
    pub fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }

    /// Looks at the host.
    pub fn scan_host(&self, lens: &Lens, report: &mut Report) {
        let before = report.findings.len();
        let host: Vec<_> = labels(&self.host);
        let squeezed = joined(self.host.as_bytes(), &host);
        lens.scan(&Surface::new(self.host.as_bytes(), Layout::Plain("host".into())), squeezed, report);
        // Names are read alike in both letters: keys in capitals leave in a name as well.
        let is_long = self.host.split('.').any(|label| label.len() >= SHORTEST_KEY);
        if is_long && report.findings.len() == before {
            let capitals = self.host.to_ascii_uppercase();
            lens.scan(&Surface::new(capitals.as_bytes(), Layout::Plain("host".into())), Vec::new(), report);
        }
        for finding in report.findings.iter_mut().skip(before) {
            finding.action = finding.action.unredactable();
        }
    }

    /// What a field's value makes with the name before it, where it may be the rest of a token.
    fn named(&self, value: &Range<usize>) -> Vec<View<'static>> {
        /// The shortest rest.
        const LEAST: usize = 12;
        let rest = self.bytes.get(value.clone()).unwrap_or_default();
        if rest.len() < LEAST || rest.contains(&b' ') {
            return Vec::new();
        }
        // After `x-`, and before the colon and a blank.
        let before = self.bytes.get(..value.start).unwrap_or_default();
        let line = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        named(&self.bytes, line + 2..value.start.saturating_sub(2), value.clone())
    }

    /// The values that may be pieces of something that leaves over several requests, each with what carries it.
    pub fn pieces(&self) -> Pieces {
        let text = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
        let mut pieces = Pieces::with_capacity(16, 256);
        if !self.method.is_empty() {
            pieces.push("method", text(&self.method));
        }
        let mut slot = String::with_capacity(64);
        for (at, segment) in values(&self.bytes, self.path.clone(), b'/', false).iter().enumerate() {
            slot.clear();
            slot.push_str("path[");
            push_decimal(&mut slot, at);
            slot.push(']');
            pieces.push(&slot, &read(text(segment)));
        }
        for pair in text(&self.query).split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
            let at = memchr::memchr(b'=', pair);
            let (key, value) = at.and_then(|at| Some((pair.get(..at)?, pair.get(at + 1..)?))).unwrap_or((b"", pair));
            slot.clear();
            slot.push_str("query.");
            slot.push_str(&String::from_utf8_lossy(key));
            pieces.push(&slot, &read(value));
        }
        for field in &self.fields {
            let name = self.name(field);
            if name.starts_with("x-") || name == "cookie" {
                slot.clear();
                slot.push_str("header ");
                slot.push_str(name);
                pieces.push(&slot, text(&field.value));
            }
        }
        pieces
    }

    /// The query with what is to be replaced in it replaced; none where nothing is.
    pub fn redacted_query(&self, report: &Report) -> Result<Option<Box<str>>, Refusal> {
        let Some(bytes) = self.redacted(&self.query, report) else { return Ok(None) };
        match String::from_utf8(bytes) {
            // In a query the brackets of the label are escaped.
            Ok(query) => Ok(Some(query.replace('[', "%5B").replace(']', "%5D").into())),
            Err(_) => Err(Denial::new(Reason::DlpBlocked).into()),
        }
    }

    /// The fields in which something is to be replaced.
    pub fn redacted_fields(&self, report: &Report) -> Result<Changed, Refusal> {
        let mut set = Vec::new();
        for field in &self.fields {
            let Some(value) = self.redacted(&field.value, report) else { continue };
            let name = self.name(field);
            // Setting a field sets all of its name.
            if self.fields.iter().filter(|other| self.name(other) == name).count() > 1 {
                return Err(Denial::new(Reason::DlpBlocked).because("a field of that name stands there twice").into());
            }
            set.push((name.into(), value));
        }
        Ok(set)
    }

    fn redacted(&self, range: &Range<usize>, report: &Report) -> Option<Vec<u8>> {
        let within = |finding: &&Finding| {
            finding.action == Action::Redact
                && &*finding.surface != "host"
                && finding.range.start >= range.start
                && finding.range.end <= range.end
        };
        let mut found: Vec<_> = report.findings.iter().filter(within).collect();
        found.sort_by_key(|finding| finding.range.start);
        let mut out = Vec::new();
        let mut at = range.start;
        for finding in &found {
            if finding.range.start >= at {
                out.extend_from_slice(self.bytes.get(at..finding.range.start)?);
                out.extend_from_slice(format!("[REDACTED:{}]", finding.rule).as_bytes());
            }
            at = at.max(finding.range.end);
        }
        out.extend_from_slice(self.bytes.get(at..range.end)?);
        (!found.is_empty()).then_some(out)
    }
}

/// The values between separators, as places in the text; after the `=` of each where it has one.
fn values(text: &[u8], range: Range<usize>, separator: u8, after_equals: bool) -> Vec<Range<usize>> {
    let mut start = range.start;
    let part = text.get(range).unwrap_or_default();
    let places = part.split(|b| *b == separator).map(|value| {
        let place = start..start + value.len();
        start = place.end + 1;
        let skip = memchr::memchr(b'=', value).filter(|_| after_equals).map_or(0, |at| at + 1);
        place.start + skip..place.end
    });
    places.filter(|place| (1..=256).contains(&place.len())).collect()
}

fn labels(host: &str) -> Vec<Range<usize>> {
    let below = crate::pipeline::dlp::across::labels(host).map(str::len).collect::<Vec<_>>();
    let mut start = 0;
    let place = |length: usize| {
        let place = start..start + length;
        start = place.end + 1;
        place
    };
    below.into_iter().map(place).collect()
}

/// A value as the other side reads it.
fn read(value: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(value) {
        Ok(text) if text.contains('%') => decoded(text).to_vec().into(),
        _ => value.into(),
    }
}

/// Appends a number; most have one digit.
fn push_decimal(text: &mut String, number: usize) {
    match u8::try_from(number) {
        Ok(digit @ 0..=9) => text.push(char::from(b'0' + digit)),
        _ => text.push_str(&number.to_string()),
    }
}
