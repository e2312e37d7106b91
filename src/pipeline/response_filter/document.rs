//! One JSON text on its way through a filter.
//!
//! Every byte is looked at once, in the order of RFC 8259's grammar, and either passes where it stands, is left out,
//! or is held until the value it belongs to has begun. Held is only what stands between two values of an object or
//! array that is filtered: blanks, a comma, a key.

use std::ops::Range;
use std::sync::Arc;

use super::BadBody;
use super::filter::{Filter, Verdict};
use super::text::{Utf8, plain, unescape};

/// One JSON text.
#[derive(Debug)]
pub struct Document {
    filter: Arc<Filter>,
    next: Next,
    /// The objects and arrays that are open.
    open: Vec<Container>,
    /// Where the filter's paths are in those that are filtered, the outermost first.
    places: Vec<u32>,
    /// What the next value is in for.
    ahead: Ahead,
    /// The value being read passes, all of it.
    passing: bool,
    held: Held,
    utf8: Utf8,
    name: String,
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Value,
    /// An element or the end of the array.
    FirstElement,
    /// A key or the end of the object.
    FirstKey,
    Key,
    Colon,
    /// A comma or the end of the object or array.
    Comma,
    /// More of a text.
    Text(Text, InText),
    Number(Number),
    /// The rest of `true`, `false` or `null`.
    Word(&'static [u8]),
    /// Nothing but blanks.
    End,
}

/// Which text it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Value,
    /// A key in an object that is filtered.
    Key,
    /// A key in one that passes or is left out whole.
    PlainKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InText {
    Plain,
    /// After a backslash.
    Escape,
    /// This many hexadecimal digits are to come.
    Digits(u8),
}

/// What of a number has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

/// An object or array.
#[derive(Debug)]
struct Container {
    is_object: bool,
    /// What becomes of it.
    verdict: Verdict,
    /// The places that were there before it.
    floor: usize,
    /// Where in the places the paths are: at an object itself, at an array's elements.
    paths: Range<usize>,
    /// What becomes of an array's elements.
    elements: Verdict,
    /// Something of it has passed.
    filled: bool,
}

/// What the next value of an object or array that is filtered is in for.
#[derive(Debug)]
struct Ahead {
    verdict: Verdict,
    floor: usize,
    paths: Range<usize>,
}

/// What stands between two values.
#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    /// Where what follows a comma begins.
    after_comma: usize,
    /// Where the key begins, without its quote.
    key: usize,
    blanks: usize,
}

/// The deepest nesting that is read.
const DEEPEST: usize = 512;
/// The longest key that is read, in bytes as written.
const LONGEST_KEY: usize = 64 * 1024;
/// How many blanks between two values are kept; more of them are left out.
const MOST_BLANKS: usize = 1024;

impl Document {
    /// One of which nothing has been read.
    pub fn new(filter: Arc<Filter>) -> Self {
        let mut document = Self {
            filter,
            next: Next::Value,
            open: Vec::new(),
            places: Vec::new(),
            ahead: Ahead { verdict: Verdict::Search, floor: 0, paths: 0..0 },
            passing: false,
            held: Held::default(),
            utf8: Utf8::default(),
            name: String::new(),
        };
        document.restart();
        document
    }

    /// Takes the next bytes, and appends what passes of them to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BadBody> {
        let mut at = 0;
        // Since where the bytes pass, if they do.
        let mut from = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.next {
                Next::Text(text, InText::Plain) => {
                    let rest = bytes.get(at..).unwrap_or_default();
                    let (run, rest) = rest.split_at(plain(rest));
                    self.utf8.push(run)?;
                    if text == Text::Key {
                        self.held.key(run)?;
                    }
                    at += run.len();
                    let Some(end) = rest.first() else { continue };
                    self.utf8.end()?;
                    if text == Text::Key {
                        self.held.key(&[*end])?;
                    }
                    at += 1;
                    match end {
                        b'\\' => self.next = Next::Text(text, InText::Escape),
                        b'"' => match text {
                            Text::Value => self.end_value(bytes, from, at, out),
                            Text::PlainKey => self.next = Next::Colon,
                            Text::Key => {
                                self.end_key()?;
                                self.next = Next::Colon;
                            }
                        },
                        _ => return Err(BadBody::NotJson),
                    }
                    continue;
                }
                Next::Text(text, inside) => {
                    if text == Text::Key {
                        self.held.key(&[byte])?;
                    }
                    let inside = match (inside, byte) {
                        (InText::Escape, b'u') => InText::Digits(4),
                        (InText::Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => InText::Plain,
                        (InText::Digits(1), _) if byte.is_ascii_hexdigit() => InText::Plain,
                        (InText::Digits(left), _) if byte.is_ascii_hexdigit() => InText::Digits(left - 1),
                        _ => return Err(BadBody::NotJson),
                    };
                    self.next = Next::Text(text, inside);
                }
                Next::Number(number) => match number.then(byte) {
                    Some(number) => self.next = Next::Number(number),
                    None if number.may_end() => {
                        self.end_value(bytes, from, at, out);
                        // The byte is none of the number's.
                        continue;
                    }
                    None => return Err(BadBody::NotJson),
                },
                Next::Word(rest) => match rest.split_first() {
                    Some((expected, rest)) if *expected == byte => {
                        self.next = Next::Word(rest);
                        if rest.is_empty() {
                            self.end_value(bytes, from, at + 1, out);
                        }
                    }
                    _ => return Err(BadBody::NotJson),
                },
                _ if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') => {
                    match self.open.last() {
                        // Some servers send blanks so that nobody hangs up.
                        None => out.push(byte),
                        Some(container) if container.verdict == Verdict::Search => self.held.blank(byte),
                        Some(_) => {}
                    }
                }
                Next::Value => self.begin_value(byte, at, &mut from, out)?,
                Next::FirstElement if byte == b']' => self.end_container(bytes, from, at, out),
                Next::FirstElement => self.begin_value(byte, at, &mut from, out)?,
                Next::FirstKey if byte == b'}' => self.end_container(bytes, from, at, out),
                Next::FirstKey | Next::Key if byte == b'"' => {
                    let whole = self.is_whole();
                    if !whole {
                        self.held.begin_key();
                    }
                    let text = if whole { Text::PlainKey } else { Text::Key };
                    self.next = Next::Text(text, InText::Plain);
                }
                Next::Colon if byte == b':' => {
                    if !self.is_whole() {
                        self.held.bytes.push(byte);
                    }
                    self.next = Next::Value;
                }
                Next::Comma => {
                    let is_object = self.open.last().is_some_and(|container| container.is_object);
                    match byte {
                        b',' => {
                            if !self.is_whole() {
                                self.held.comma();
                            }
                            self.next = if is_object { Next::Key } else { self.next_element() };
                        }
                        b'}' if is_object => self.end_container(bytes, from, at, out),
                        b']' if !is_object => self.end_container(bytes, from, at, out),
                        _ => return Err(BadBody::NotJson),
                    }
                }
                Next::FirstKey | Next::Key | Next::Colon | Next::End => return Err(BadBody::NotJson),
            }
            at += 1;
        }
        if self.passing {
            out.extend_from_slice(bytes.get(from..).unwrap_or_default());
        }
        Ok(())
    }

    /// The text is over: another may follow.
    pub fn finish(&mut self) -> Result<(), BadBody> {
        match self.next {
            Next::End => {}
            Next::Value if self.open.is_empty() => {}
            Next::Number(number) if number.may_end() && self.open.is_empty() => self.passing = false,
            _ => return Err(BadBody::Unfinished),
        }
        self.restart();
        Ok(())
    }

    fn restart(&mut self) {
        self.next = Next::Value;
        self.places.clear();
        self.places.push(Filter::ROOT);
        self.ahead = Ahead { verdict: Verdict::Search, floor: 1, paths: 0..1 };
    }

    /// Whether what is being read is inside a container that passes or is left out whole.
    fn is_whole(&self) -> bool {
        self.open.last().is_some_and(|container| container.verdict != Verdict::Search)
    }

    fn begin_value(&mut self, byte: u8, at: usize, from: &mut usize, out: &mut Vec<u8>) -> Result<(), BadBody> {
        let begun = match byte {
            b'{' => Next::FirstKey,
            b'[' => Next::FirstElement,
            b'"' => Next::Text(Text::Value, InText::Plain),
            b't' => Next::Word(b"rue"),
            b'f' => Next::Word(b"alse"),
            b'n' => Next::Word(b"ull"),
            b'-' => Next::Number(Number::Minus),
            b'0' => Next::Number(Number::Zero),
            b'1'..=b'9' => Next::Number(Number::Whole),
            _ => return Err(BadBody::NotJson),
        };
        let is_container = matches!(byte, b'{' | b'[');
        if is_container && self.open.len() >= DEEPEST {
            return Err(BadBody::TooDeep);
        }
        self.next = begun;
        if self.is_whole() {
            if is_container {
                let verdict = self.open.last().map_or(Verdict::Drop, |container| container.verdict);
                self.open(byte, verdict);
            }
            return Ok(());
        }
        let verdict = match self.ahead.verdict {
            Verdict::Search if !is_container => self.filter.of_scalar(),
            verdict => verdict,
        };
        if verdict == Verdict::Drop {
            self.held.clear();
            // A body has to have a value.
            if self.open.is_empty() {
                out.extend_from_slice(b"null");
            }
        } else {
            let is_first = self.open.last().is_none_or(|container| !container.filled);
            self.held.release(is_first, out);
            if let Some(container) = self.open.last_mut() {
                container.filled = true;
            }
        }
        match verdict {
            Verdict::Pass => {
                self.passing = true;
                *from = at;
            }
            Verdict::Search => out.push(byte),
            Verdict::Drop => {}
        }
        if is_container {
            self.open(byte, verdict);
        }
        Ok(())
    }

    fn open(&mut self, byte: u8, verdict: Verdict) {
        let is_object = byte == b'{';
        let mut container =
            Container { is_object, verdict, floor: 0, paths: 0..0, elements: Verdict::Drop, filled: false };
        if verdict == Verdict::Search {
            container.floor = self.ahead.floor;
            container.paths = self.ahead.paths.clone();
            if !is_object {
                let start = self.places.len();
                container.elements = self.filter.elements_of(container.paths, &mut self.places);
                container.paths = start..self.places.len();
            }
        }
        self.open.push(container);
        if !is_object {
            self.look_at_element();
        }
    }

    fn next_element(&mut self) -> Next {
        self.look_at_element();
        Next::Value
    }

    fn look_at_element(&mut self) {
        if let Some(array) = self.open.last().filter(|container| container.verdict == Verdict::Search) {
            self.ahead = Ahead { verdict: array.elements, floor: self.places.len(), paths: array.paths.clone() };
        }
    }

    fn end_key(&mut self) -> Result<(), BadBody> {
        let Some(object) = self.open.last() else { return Err(BadBody::NotJson) };
        let raw = self.held.bytes.get(self.held.key..self.held.bytes.len().saturating_sub(1)).unwrap_or_default();
        let raw = std::str::from_utf8(raw).map_err(|_| BadBody::NotUtf8)?;
        let name = if raw.contains('\\') {
            self.name.clear();
            unescape(raw, &mut self.name)?;
            &self.name
        } else {
            raw
        };
        let floor = self.places.len();
        let verdict = self.filter.value_of(name, object.paths.clone(), &mut self.places);
        self.ahead = Ahead { verdict, floor, paths: floor..self.places.len() };
        Ok(())
    }

    /// A value ended before `end`.
    fn end_value(&mut self, bytes: &[u8], from: usize, end: usize, out: &mut Vec<u8>) {
        self.next = if self.open.is_empty() { Next::End } else { Next::Comma };
        if self.is_whole() {
            return;
        }
        if self.passing {
            out.extend_from_slice(bytes.get(from..end).unwrap_or_default());
            self.passing = false;
        }
        // A scalar that the paths would have led further into leaves their places behind.
        let in_object = self.open.last().is_some_and(|container| container.is_object);
        if in_object {
            self.places.truncate(self.ahead.floor);
        }
    }

    fn end_container(&mut self, bytes: &[u8], from: usize, at: usize, out: &mut Vec<u8>) {
        if let Some(container) = self.open.pop()
            && container.verdict == Verdict::Search
        {
            self.held.flush(out);
            out.extend(bytes.get(at));
            self.places.truncate(container.floor);
            self.ahead.floor = container.floor;
        }
        self.end_value(bytes, from, at + 1, out);
    }
}

impl Number {
    /// What has been read with the next byte, if that is the number's.
    fn then(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Whole, b'0'..=b'9') => Self::Whole,
            (Self::Zero | Self::Whole, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::Sign,
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Self::Exponent,
            _ => return None,
        })
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::Exponent)
    }
}

impl Held {
    fn blank(&mut self, byte: u8) {
        if self.blanks < MOST_BLANKS {
            self.blanks += 1;
            self.bytes.push(byte);
        }
    }

    fn comma(&mut self) {
        self.bytes.push(b',');
        self.after_comma = self.bytes.len();
    }

    fn begin_key(&mut self) {
        self.bytes.push(b'"');
        self.key = self.bytes.len();
    }

    fn key(&mut self, more: &[u8]) -> Result<(), BadBody> {
        if self.bytes.len() - self.key + more.len() > LONGEST_KEY {
            return Err(BadBody::KeyTooLong);
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    /// A value that passes has begun: what stands before it does too, without the comma if it is the first that does.
    fn release(&mut self, is_first: bool, out: &mut Vec<u8>) {
        let from = if is_first { self.after_comma } else { 0 };
        out.extend_from_slice(self.bytes.get(from..).unwrap_or_default());
        self.clear();
    }

    /// No value follows: these are blanks.
    fn flush(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.bytes);
        self.clear();
    }

    fn clear(&mut self) {
        self.bytes.clear();
        (self.after_comma, self.key, self.blanks) = (0, 0, 0);
    }
}
