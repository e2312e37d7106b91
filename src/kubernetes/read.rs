//! From text to documents: a stream of YAML, of JSON, or of both.
//!
//! Each document keeps its text, so that one that nothing is done to leaves as it came. What two readers of YAML may
//! read in two ways is refused: what this program calls safe must be what the cluster gets.

use std::collections::HashMap;
use std::str::Chars;

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use super::tree::{Map, Node, Scalar};

/// A document and the text it was read from.
#[derive(Debug)]
pub(super) struct Document {
    /// The line on which it begins, from 1.
    pub(super) line: usize,
    /// As it was written, with the `---` before it where there was one.
    pub(super) text: String,
    /// What it is written in.
    pub(super) format: Format,
    /// What it says; nothing where there are only comments.
    pub(super) root: Option<Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Yaml,
    Json,
}

/// Why a document cannot be read.
#[derive(Debug, Error)]
pub enum Unreadable {
    /// Neither YAML nor JSON.
    #[error("this is not YAML: {0}")]
    Syntax(String),
    /// `{?a: b}`, `[:a]`.
    #[error("`{0}` between brackets: some readers of YAML take its first character for a mark; put it in quotes")]
    Mark(String),
    /// A second document without `---` on a line of its own before it.
    #[error("a second document begins here without a line `---` before it")]
    SecondDocument,
    /// A name twice in one mapping.
    #[error("`{0}` is given twice: readers differ on which counts; keep one")]
    Twice(String),
    /// A name that is nothing, a list, a mapping, or a text of a page's length.
    #[error("a name before a `:` must be one short text")]
    Name,
    /// `!tag`.
    #[error("the tag `{0}` is not read: write the value without it")]
    Tag(String),
    /// `%YAML`, `%TAG`.
    #[error("directives (`%…`) are not read: remove the line")]
    Directive,
    /// A character some readers take for the end of a line.
    #[error(
        "the character U+{0:04X} ends a line for some readers of YAML only: write it as an escape in double quotes"
    )]
    LineBreak(u32),
    /// A character that YAML does not have.
    #[error("the character U+{0:04X} cannot stand in a manifest: remove it")]
    Character(u32),
    /// An alias to nothing, or to what it stands in.
    #[error("an alias (`*name`) leads to no value that is complete: write the value out")]
    Alias,
    /// Aliases that multiply.
    #[error("the document is too large with its aliases written out: more than {NODES} values")]
    Large,
    /// Brackets in brackets in brackets.
    #[error("nested deeper than {DEPTH} levels: no manifest is")]
    Deep,
    /// `<<:` with something else than a mapping.
    #[error("a merge key (`<<`) takes mappings only")]
    Merge,
    /// `<<:` where a reader looks for `kind`.
    #[error("a merge key (`<<`) cannot stand at the root of an object: write the fields out")]
    MergeAtRoot,
}

/// Deepest nesting that is read.
const DEPTH: usize = 64;

/// Most values of one document, aliases written out.
const NODES: usize = 1_000_000;

/// Longest name in a mapping, in bytes: YAML's own bound is 1024 characters with the quotes.
const NAME: usize = 500;

/// Reads a stream; what cannot be read with the line it is on.
pub(super) fn read(text: &str) -> Result<Vec<Document>, Vec<(usize, Unreadable)>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let mut wrong = Vec::new();
    for chunk in chunks(text) {
        match chunk.documents() {
            Ok(found) => documents.extend(found),
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() { Ok(documents) } else { Err(wrong) }
}

/// What stands between two document markers.
struct Chunk<'a> {
    line: usize,
    text: &'a str,
}

/// Cuts a stream before each `---` and behind each `...`.
fn chunks(text: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut begin, mut begin_line, mut at) = (0, 1, 0);
    let mut cut = |from: usize, to: usize, line: usize| {
        if let Some(text) = text.get(from..to).filter(|text| !text.trim().is_empty()) {
            chunks.push(Chunk { line, text });
        }
    };
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marker = |marker| {
            line.strip_prefix(marker).is_some_and(|rest| rest.trim_start().len() < rest.len() || rest.is_empty())
        };
        if marker("---") {
            cut(begin, at, begin_line);
            (begin, begin_line) = (at, number + 1);
        } else if marker("...") {
            cut(begin, at, begin_line);
            (begin, begin_line) = (at + line.len(), number + 2);
        }
        at += line.len();
    }
    cut(begin, text.len(), begin_line);
    chunks
}

impl Chunk<'_> {
    fn documents(&self) -> Result<Vec<Document>, (usize, Unreadable)> {
        let body = self.text.strip_prefix("---").unwrap_or(self.text);
        if body.trim_start().starts_with('{')
            && let Some(documents) = self.json(body)
        {
            return documents;
        }
        for (number, line) in self.text.split('\n').enumerate() {
            let here = |error| Err((self.line + number, error));
            if line.starts_with('%') {
                return here(Unreadable::Directive);
            }
            // YAML 1.1 ends lines there, 1.2 does not.
            let line = line.strip_suffix('\r').unwrap_or(line);
            for c in line.chars() {
                match c {
                    '\u{85}' | '\u{2028}' | '\u{2029}' | '\r' => return here(Unreadable::LineBreak(u32::from(c))),
                    '\t' => {}
                    c if c.is_control() || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}') => {
                        return here(Unreadable::Character(u32::from(c)));
                    }
                    _ => {}
                }
            }
        }
        let last = self.text.rsplit('\n').next().unwrap_or_default();
        let unended = (!last.trim().is_empty()).then(|| self.text.chars().count());
        let (events, anchors) = (Parser::new_from_str(self.text), HashMap::new());
        let brackets = Brackets { text: self.text.chars(), at: 0 };
        let mut reader = Reader { events, line: 1, end: 0, unended, brackets, flow: false, anchors, nodes: 0 };
        let root = reader.document().map_err(|error| (self.line + reader.line.saturating_sub(1), error))?;
        Ok(vec![Document { line: self.line, text: self.text.to_owned(), format: Format::Yaml, root }])
    }

    /// JSON objects one after the other; `None` if it is not JSON: `{` also begins YAML.
    fn json(&self, body: &str) -> Option<Result<Vec<Document>, (usize, Unreadable)>> {
        let mut values = serde_json::Deserializer::from_str(body).into_iter::<&RawValue>();
        let mut found = Vec::new();
        let mut begin = 0;
        while let Some(value) = values.next() {
            let value = value.ok()?;
            let end = values.byte_offset();
            let before = body.get(begin..end)?.len() - value.get().len();
            let line = self.line + body.get(..begin + before)?.matches('\n').count();
            found.push((line, value));
            begin = end;
        }
        let mut documents = Vec::new();
        for (line, value) in found {
            match json(value, &mut 0, 0) {
                Ok(root) => {
                    let text = format!("{}\n", value.get());
                    documents.push(Document { line, text, format: Format::Json, root: Some(root) });
                }
                Err(error) => return Some(Err((line, error))),
            }
        }
        Some(Ok(documents))
    }
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    line: usize,
    /// Where the last event ends, in characters.
    end: usize,
    /// Where the text ends, if its last line has something in it and no line break.
    unended: Option<usize>,
    brackets: Brackets<'a>,
    /// Within brackets.
    flow: bool,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

/// Tells collections in brackets from others. Places are in characters, and only ever further on.
struct Brackets<'a> {
    text: Chars<'a>,
    at: usize,
}

impl Brackets<'_> {
    /// True where the character before this place opens a collection: what a start in brackets ends with, and no other.
    fn end_at(&mut self, end: usize) -> bool {
        let Some(skip) = end.checked_sub(self.at + 1) else { return false };
        self.at = end;
        matches!(self.text.nth(skip), Some('{' | '['))
    }
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Option<Node>, Unreadable> {
        let mut root = None;
        loop {
            match self.next()? {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(_) if root.is_some() => return Err(Unreadable::SecondDocument),
                Event::StreamStart | Event::Nothing | Event::DocumentStart(_) | Event::DocumentEnd => {}
                event => {
                    let node = self.node(event, 0)?;
                    root = Some(node);
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, Unreadable> {
        if depth > DEPTH {
            return Err(Unreadable::Deep);
        }
        let before = self.nodes;
        self.count(1)?;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tagged = is_text(tag.as_deref())?;
                let mut text = text.into_owned();
                // libyaml and its children, the cluster's reader among them, know both as marks there whatever follows.
                if self.flow && style == ScalarStyle::Plain && text.starts_with(['?', ':']) {
                    return Err(Unreadable::Mark(text));
                }
                // The parser adds a line break to a last line that has none (YAML 1.2.2 §8.1.1.2 keeps those that are there).
                if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) && self.unended == Some(self.end) {
                    text.truncate(text.strip_suffix('\n').map_or(text.len(), str::len));
                }
                // Plain over several lines is text: nothing else has line breaks in it.
                let quoted = style != ScalarStyle::Plain || tagged || text.contains('\n');
                let node = if text.is_empty() && !quoted {
                    Node::plain("null")
                } else {
                    Node::Scalar(Scalar { text, quoted })
                };
                (node, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                is_text(tag.as_deref())?;
                (self.within(|reader| reader.list(depth))?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                is_text(tag.as_deref())?;
                (Node::Map(self.within(|reader| reader.map(depth))?), anchor)
            }
            Event::Alias(anchor) => {
                let (node, nodes) = self.anchors.get(&anchor).cloned().ok_or(Unreadable::Alias)?;
                self.count(nodes)?;
                (node, 0)
            }
            _ => return Err(Unreadable::Syntax("the text ends where a value is expected".to_owned())),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    /// Reads what the last event begins, in brackets or without.
    fn within<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Unreadable>) -> Result<T, Unreadable> {
        let outer = self.flow;
        self.flow |= self.brackets.end_at(self.end);
        let read = read(self);
        self.flow = outer;
        read
    }

    fn list(&mut self, depth: usize) -> Result<Node, Unreadable> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(Node::List(items)),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Map, Unreadable> {
        let mut map = Map::default();
        let mut merged = Vec::new();
        loop {
            let event = match self.next()? {
                Event::MappingEnd => break,
                event => event,
            };
            let name = self.node(event, depth + 1)?;
            let nothing = name.is_null();
            let Node::Scalar(name) = name else { return Err(Unreadable::Name) };
            if nothing || name.text.len() > NAME {
                return Err(Unreadable::Name);
            }
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            if name.text == "<<" && !name.quoted {
                if depth == 0 {
                    return Err(Unreadable::MergeAtRoot);
                }
                merged.push(value);
            } else if !map.add(name.clone(), value) {
                return Err(Unreadable::Twice(name.text));
            }
        }
        // What is written out counts more than what is merged, and of that what is named first.
        for value in merged {
            let sources = if let Node::List(sources) = value { sources } else { vec![value] };
            for source in sources {
                let Node::Map(source) = source else { return Err(Unreadable::Merge) };
                for (name, value) in source.iter() {
                    map.add(name.clone(), value.clone());
                }
            }
        }
        Ok(map)
    }

    fn next(&mut self) -> Result<Event<'a>, Unreadable> {
        match self.events.next_event() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                self.end = span.end.index();
                Ok(event)
            }
            Some(Err(error)) => {
                self.line = error.marker().line();
                Err(Unreadable::Syntax(error.info().to_owned()))
            }
            None => Ok(Event::StreamEnd),
        }
    }

    fn count(&mut self, nodes: usize) -> Result<(), Unreadable> {
        self.nodes += nodes;
        if self.nodes > NODES { Err(Unreadable::Large) } else { Ok(()) }
    }
}

/// Whether a tag says that this is text; one that says anything else is refused.
fn is_text(tag: Option<&Tag>) -> Result<bool, Unreadable> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(true),
        Some(tag) if tag.is_yaml_core_schema() => Err(Unreadable::Tag(format!("!!{}", tag.suffix))),
        Some(tag) => Err(Unreadable::Tag(format!("{}{}", tag.handle, tag.suffix))),
    }
}

/// A value of JSON; numbers keep their digits.
fn json(value: &RawValue, nodes: &mut usize, depth: usize) -> Result<Node, Unreadable> {
    let syntax = |error: serde_json::Error| Unreadable::Syntax(error.to_string());
    *nodes += 1;
    if depth > DEPTH {
        return Err(Unreadable::Deep);
    }
    if *nodes > NODES {
        return Err(Unreadable::Large);
    }
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let mut map = Map::default();
            for (name, value) in serde_json::from_str::<Fields>(text).map_err(syntax)?.0 {
                if name.len() > NAME {
                    return Err(Unreadable::Name);
                }
                let value = json(value, nodes, depth + 1)?;
                if !map.add(Scalar::from(&*name), value) {
                    return Err(Unreadable::Twice(name));
                }
            }
            Ok(Node::Map(map))
        }
        Some(b'[') => {
            let items = serde_json::from_str::<Vec<&RawValue>>(text).map_err(syntax)?;
            Ok(Node::List(items.into_iter().map(|item| json(item, nodes, depth + 1)).collect::<Result<_, _>>()?))
        }
        Some(b'"') => serde_json::from_str::<String>(text).map(Node::text).map_err(syntax),
        _ => Ok(Node::plain(text)),
    }
}

/// The fields of an object in their order, and each as often as it is there.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Gather;
        impl<'de> Visitor<'de> for Gather {
            type Value = Fields<'de>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Gather)
    }
}
