//! YAML text as a tree in which every value knows its place.
//!
//! Only the part of YAML 1.2 that says one thing one way is read: one document of mappings with
//! plain names, sequences and scalars of the core schema (`no` and `on` are strings). Anchors,
//! aliases, tags, merge keys and duplicate keys are refused, each with what to write instead:
//! they make a policy read otherwise than it looks, and aliases can make a small file large.
//! JSON is read as the YAML it is.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput};

use super::error::{Problems, Span, disguises, quote};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The first line of the value.
    pub span: Span,
    /// What was written.
    pub value: Value,
}

/// What can be written as a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One word, number or text.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Names with values, in the order of the text, each name once.
    Mapping(Vec<(Key, Node)>),
    /// Something that was refused and has been reported: whoever meets it says nothing more.
    Refused,
}

/// The text of a scalar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// Without quotes, escapes resolved.
    pub text: String,
    /// Written without quotes, so that it may be a number, a boolean or nothing.
    pub plain: bool,
}

/// A name in a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Where the name stands.
    pub span: Span,
    /// The name, without quotes.
    pub text: String,
}

/// What a scalar is by the core schema of YAML 1.2 (10.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    String,
    /// `true` or `false`.
    Boolean(bool),
    /// An integer or a floating-point number.
    Number,
    /// Empty, `~` or `null`.
    Null,
}

/// Deepest nesting of lists and mappings that is read. Policy needs fewer than ten.
pub const DEPTH_LIMIT: usize = 32;

/// Reads the file `file` of the sources in `problems`, adding what is wrong with it.
///
/// `None` when there is no tree to go on with: the text is not YAML, or empty.
pub fn parse(file: u32, problems: &mut Problems) -> Option<Node> {
    let text = problems.sources().text(file).to_owned();
    if !check_characters(file, &text, problems) {
        return None;
    }
    let mut reader = Reader { file, text: &text, events: Parser::new_from_str(&text), problems };
    reader.document().ok()
}

/// The problem that ends reading has been reported.
struct Unreadable;

struct Reader<'a> {
    file: u32,
    text: &'a str,
    events: Parser<'a, StrInput<'a>>,
    problems: &'a mut Problems,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Node, Unreadable> {
        loop {
            match self.next()?.0 {
                Event::StreamEnd | Event::Nothing => return Err(self.empty()),
                Event::DocumentStart(_) => break,
                _ => {}
            }
        }
        let (event, at) = self.next()?;
        let root = self.node(event, at, at, 0)?;
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::StreamEnd | Event::Nothing => break,
                Event::DocumentStart(_) => {
                    self.problems
                        .error(at, "a second document begins here")
                        .fix("a policy is one document: remove the `---`, or give a directory with one file for each document");
                    return Err(Unreadable);
                }
                _ => {}
            }
        }
        if root.kind() == Some(Kind::Null) {
            return Err(self.empty());
        }
        Ok(root)
    }

    /// `default` is the place of a value that was left out: the key it belongs to.
    fn node(&mut self, event: Event<'a>, at: Span, default: Span, depth: usize) -> Result<Node, Unreadable> {
        if depth > DEPTH_LIMIT {
            return Err(self.too_deep(at));
        }
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_anchor(anchor, at);
                self.refuse_tag(tag.is_some(), at);
                let plain = style == ScalarStyle::Plain;
                let span = if plain && text.is_empty() { default } else { at };
                return Ok(Node { span, value: Value::Scalar(Scalar { text: text.into_owned(), plain }) });
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_anchor(anchor, at);
                self.refuse_tag(tag.is_some(), at);
                self.sequence(depth)?
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_anchor(anchor, at);
                self.refuse_tag(tag.is_some(), at);
                self.mapping(depth)?
            }
            Event::Alias(_) => {
                self.problems
                    .error(at, "aliases (`*name`) are not read")
                    .fix("write the value out here; a text that begins with `*` goes in quotes");
                Value::Refused
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => {
                self.problems.error(at, "the text ends where a value is expected");
                return Err(Unreadable);
            }
        };
        Ok(Node { span: at, value })
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, Unreadable> {
        let mut items = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::Sequence(items));
            }
            items.push(self.node(event, at, at, depth + 1)?);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Unreadable> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut first: HashMap<String, Span> = HashMap::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Value::Mapping(entries));
            }
            let name = self.node(event, at, at, depth + 1)?;
            let (event, at) = self.next()?;
            let value = self.node(event, at, name.span, depth + 1)?;
            let Some(key) = self.key(name) else { continue };
            if let Some(earlier) = first.get(&key.text) {
                let place = self.problems.place(*earlier);
                self.problems
                    .error(key.span, format!("{} is given twice; first at {place}", quote(&key.text)))
                    .fix("keep one of them");
                continue;
            }
            first.insert(key.text.clone(), key.span);
            entries.push((key, value));
        }
    }

    fn key(&mut self, name: Node) -> Option<Key> {
        let kind = name.kind();
        let span = name.span;
        match name.value {
            Value::Scalar(scalar) if scalar.plain && scalar.text == "<<" => {
                self.problems.error(span, "merge keys (`<<`) are not read").fix("write the values out here");
                None
            }
            Value::Scalar(scalar) if kind != Some(Kind::Null) && !scalar.text.is_empty() => {
                Some(Key { span, text: scalar.text })
            }
            Value::Refused => None,
            _ => {
                self.problems
                    .error(span, "expected a name before the `:`")
                    .fix("names are words; a text with `{`, `[` or `*` in front goes in quotes");
                None
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Unreadable> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, self.span(span))),
            Some(Err(error)) => {
                self.syntax(&error);
                Err(Unreadable)
            }
            None => Ok((Event::StreamEnd, Span { file: self.file, line: 1, column: 1, length: 0 })),
        }
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        let length =
            if span.start.line() == span.end.line() { span.end.col().saturating_sub(span.start.col()) } else { 1 };
        Span {
            file: self.file,
            line: small(span.start.line()),
            column: small(span.start.col() + 1),
            length: small(length),
        }
    }

    fn refuse_anchor(&mut self, anchor: usize, at: Span) {
        if anchor != 0 {
            self.problems
                .error(at, "anchors (`&name`) are not read")
                .fix("write the value out in each place; a text that begins with `&` goes in quotes");
        }
    }

    fn refuse_tag(&mut self, tagged: bool, at: Span) {
        if tagged {
            self.problems
                .error(at, "tags (`!name`) are not read")
                .fix("remove the tag; a text that begins with `!` goes in quotes");
        }
    }

    fn too_deep(&mut self, at: Span) -> Unreadable {
        self.problems
            .error(at, format!("lists and mappings are nested more than {DEPTH_LIMIT} deep"))
            .fix("no part of a policy is that deep: check the brackets and the indentation");
        Unreadable
    }

    fn empty(&mut self) -> Unreadable {
        let start = Span { file: self.file, line: 1, column: 1, length: 0 };
        self.problems.error(start, "the policy is empty").fix("a policy that allows nothing is `allowedDomains: []`");
        Unreadable
    }

    /// The parser's own words, made into what the author can act on where the cause is plain.
    fn syntax(&mut self, error: &ScanError) {
        let at = Span {
            file: self.file,
            line: small(error.marker().line()),
            column: small(error.marker().col() + 1),
            length: 1,
        };
        let rest: String = self.text.chars().skip(error.marker().index()).take(200).collect();
        let token = rest.split([' ', ',', '\n', '\r', ']', '}']).next().unwrap_or_default();
        let line = self.problems.sources().line(at.file, at.line).unwrap_or_default();
        let indent: String = line.chars().take_while(|character| character.is_whitespace()).collect();
        let info = error.info();
        if indent.contains('\t') {
            self.problems.error(at, "a tab is used for indentation").fix("YAML indents with spaces");
        } else if info.contains("unknown anchor") && token.starts_with('*') {
            self.problems
                .error(at, format!("a text that begins with `*` must be in quotes: {}", quote(token)))
                .fix(format!("write \"{}\"", token.escape_debug()));
        } else if info.contains("unexpected character") {
            self.problems
                .error(at, format!("a text cannot begin with this character: {}", quote(token)))
                .fix("put the text in quotes");
        } else if info.contains("quoted scalar") && rest.starts_with(['"', '\'']) {
            self.problems.error(at, "the quote that opens here is never closed");
        } else if info.contains("mapping values are not allowed") {
            self.problems
                .error(at, "a `:` stands where none can")
                .fix("a text with `: ` in it goes in quotes; keys of one mapping begin in the same column");
        } else if info.contains("recursion limit") {
            self.too_deep(at);
        } else if info.contains("while parsing a flow") {
            self.problems
                .error(at, format!("a list or mapping in brackets goes wrong here: {info}"))
                .fix("close every bracket; a text with a bracket or a `,` in it goes in quotes");
        } else {
            self.problems.error(at, format!("this is not YAML: {info}"));
        }
    }
}

impl Node {
    /// What a scalar is; `None` for everything else.
    pub fn kind(&self) -> Option<Kind> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar.kind()),
            _ => None,
        }
    }
}

impl Scalar {
    /// What it is by the core schema.
    pub fn kind(&self) -> Kind {
        if !self.plain {
            return Kind::String;
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
            "true" | "True" | "TRUE" => Kind::Boolean(true),
            "false" | "False" | "FALSE" => Kind::Boolean(false),
            text if is_number(text) => Kind::Number,
            _ => Kind::String,
        }
    }
}

fn is_number(text: &str) -> bool {
    let digits = |text: &str, radix: u32| !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix));
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8);
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return digits(hex, 16);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let exponent_fits =
        exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent), 10));
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction, 10),
        Some((whole, fraction)) => digits(whole, 10) && (fraction.is_empty() || digits(fraction, 10)),
        None => digits(mantissa, 10),
    };
    exponent_fits && mantissa_fits
}

/// Refuses what YAML 1.2 (5.1) does not let in, and what makes text look other than it is.
fn check_characters(file: u32, text: &str, problems: &mut Problems) -> bool {
    let (mut line, mut column) = (1, 1);
    let mut good = true;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let at = Span { file, line, column, length: 1 };
        let printable = !character.is_control() || matches!(character, '\t' | '\n' | '\r' | '\u{85}');
        if !printable || matches!(character, '\u{fffe}' | '\u{ffff}' | '\u{feff}') {
            let message = format!("the character U+{:04X} cannot stand in a policy", u32::from(character));
            problems
                .error(at, message)
                .fix("remove it; a control character in a text is written \"\\x1b\" in double quotes");
            good = false;
        } else if disguises(character) {
            let message = format!(
                "the invisible character U+{:04X} makes the policy look other than it is",
                u32::from(character)
            );
            problems.error(at, message).fix("remove it");
            good = false;
        }
        if character == '\n' || (character == '\r' && characters.peek() != Some(&'\n')) {
            line += 1;
            column = 1;
        } else {
            column += 1;
        }
    }
    good
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
