//! Server-sent events, as the WHATWG's HTML standard reads them (§9.2.6), each with a JSON text for its data.
//!
//! Lines leave as they come, each ended by LF, whatever ended it before. The lines that are not data stay behind
//! those of the data that began before them: their order among each other means nothing.

use memchr::memchr2;
use smallvec::SmallVec;

use super::{BadBody, Chain};

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    chain: Chain,
    line: Line,
    /// The last byte was a CR: an LF now belongs to it.
    after_cr: bool,
    /// What the event's data is; `None` before its first line.
    data: Option<Data>,
    /// The event's other lines since its data began.
    aside: Vec<u8>,
    passed: Vec<u8>,
}

/// Where in a line the stream is.
#[derive(Debug)]
enum Line {
    /// In the name of its field, of which this has come.
    Name(SmallVec<[u8; LONGEST_NAME]>),
    /// Before the first byte of data, which may be a blank that belongs to nothing.
    BeforeData,
    Data,
    Other,
}

#[derive(Debug)]
enum Data {
    /// It may be the end mark so far, of which this many bytes have come.
    Mark(usize),
    Json,
}

/// How the streams of language models end.
const MARK: &[u8] = b"[DONE]";
/// `event`, `retry`.
const LONGEST_NAME: usize = 5;
/// The most that is kept of an event's other lines.
const MOST_ASIDE: usize = 64 * 1024;

impl Events {
    /// A stream of which nothing has come, and what its events' data goes through.
    pub fn new(chain: Chain) -> Self {
        Self { chain, line: Line::start(), after_cr: false, data: None, aside: Vec::new(), passed: Vec::new() }
    }

    /// Takes the next bytes, and appends what passes to `out`.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BadBody> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes.first() == Some(&b'\n') {
                bytes = bytes.get(1..).unwrap_or_default();
                continue;
            }
            let end = memchr2(b'\r', b'\n', bytes);
            let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.part_of_line(line, out)?;
            if let Some((end, after)) = rest.split_first() {
                self.after_cr = *end == b'\r';
                self.end_line(out)?;
                bytes = after;
            } else {
                bytes = rest;
            }
        }
        Ok(())
    }

    /// The stream is over, be it without the blank line that ends an event.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), BadBody> {
        if matches!(&self.line, Line::Name(name) if !name.is_empty()) {
            return Err(BadBody::Unfinished);
        }
        self.end_data(out)
    }

    fn part_of_line(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BadBody> {
        while let (Line::Name(name), Some((first, rest))) = (&mut self.line, bytes.split_first()) {
            bytes = rest;
            if *first != b':' {
                if name.len() == LONGEST_NAME {
                    return Err(BadBody::NotEvents);
                }
                name.push(*first);
                continue;
            }
            let name = std::mem::take(name);
            self.begin_value(&name, out)?;
            if !matches!(self.line, Line::BeforeData) {
                self.other(b":", out)?;
            }
        }
        if let (Line::BeforeData, Some((first, rest))) = (&self.line, bytes.split_first()) {
            self.line = Line::Data;
            if *first == b' ' {
                bytes = rest;
            }
        }
        match self.line {
            Line::Data => self.data(bytes, out),
            Line::Other => self.other(bytes, out),
            Line::Name(_) | Line::BeforeData => Ok(()),
        }
    }

    fn begin_value(&mut self, name: &[u8], out: &mut Vec<u8>) -> Result<(), BadBody> {
        match name {
            b"data" => {
                self.line = Line::BeforeData;
                if self.data.is_some() {
                    return self.data(b"\n", out);
                }
                out.extend_from_slice(b"data: ");
                self.data = Some(Data::Mark(0));
                Ok(())
            }
            // The first is a comment.
            b"" | b"event" | b"id" | b"retry" => {
                self.line = Line::Other;
                self.other(name, out)
            }
            // Readers skip it, and yet it is on the way: another body, under this one's name, is nothing else.
            _ => Err(BadBody::NotEvents),
        }
    }

    fn end_line(&mut self, out: &mut Vec<u8>) -> Result<(), BadBody> {
        if let Line::Name(name) = &mut self.line {
            let name = std::mem::take(name);
            if name.is_empty() {
                self.end_data(out)?;
                self.data = None;
                out.push(b'\n');
                return Ok(());
            }
            self.begin_value(&name, out)?;
        }
        if matches!(self.line, Line::Other) {
            self.other(b"\n", out)?;
        }
        self.line = Line::start();
        Ok(())
    }

    fn data(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BadBody> {
        while let (Some(Data::Mark(come)), Some((first, rest))) = (&mut self.data, bytes.split_first()) {
            if MARK.get(*come) == Some(first) {
                *come += 1;
                bytes = rest;
            } else {
                let come = *come;
                self.data = Some(Data::Json);
                self.json(MARK.get(..come).unwrap_or_default(), out)?;
            }
        }
        self.json(bytes, out)
    }

    fn json(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BadBody> {
        self.passed.clear();
        self.chain.push(bytes, &mut self.passed)?;
        self.write(out);
        Ok(())
    }

    /// Writes what has passed; a line end in it is one between two lines of data.
    fn write(&mut self, out: &mut Vec<u8>) {
        let mut lines = self.passed.split(|byte| *byte == b'\n');
        out.extend_from_slice(lines.next().unwrap_or_default());
        for line in lines {
            out.extend_from_slice(b"\ndata: ");
            out.extend_from_slice(line);
        }
    }

    /// A part of a line that is not data.
    fn other(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BadBody> {
        if self.data.is_none() {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        if self.aside.len() + bytes.len() > MOST_ASIDE {
            return Err(BadBody::EventTooLong);
        }
        self.aside.extend_from_slice(bytes);
        Ok(())
    }

    fn end_data(&mut self, out: &mut Vec<u8>) -> Result<(), BadBody> {
        match self.data {
            None => return Ok(()),
            Some(Data::Mark(come)) if come == MARK.len() => out.extend_from_slice(MARK),
            Some(Data::Mark(come)) => self.json(MARK.get(..come).unwrap_or_default(), out)?,
            Some(Data::Json) => {}
        }
        self.passed.clear();
        self.chain.finish(&mut self.passed)?;
        self.write(out);
        out.push(b'\n');
        out.append(&mut self.aside);
        Ok(())
    }
}

impl Line {
    fn start() -> Self {
        Self::Name(SmallVec::new())
    }
}
