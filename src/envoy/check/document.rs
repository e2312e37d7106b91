//! A bootstrap as a tree that can be asked for any field, and that knows where each one stands.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, StrInput};
use serde_json::Value;

use super::{Finding, ParseError, Severity};

/// Reads YAML or JSON: aliases resolved, keys in the spelling of the protobuf fields.
pub(super) fn parse(text: &str) -> Result<Value, ParseError> {
    // By way of YAML's own value: it refuses a key given twice, which JSON's would take the last of.
    let yaml: serde_yaml::Value = serde_yaml::from_str(text).map_err(|error| ParseError::Syntax(error.to_string()))?;
    let mut document = serde_json::to_value(yaml).map_err(|error| ParseError::Syntax(error.to_string()))?;
    spell(&mut document)?;
    Ok(document)
}

/// Brings a document that was read elsewhere into the spelling that the check looks for.
pub(super) fn spell(document: &mut Value) -> Result<(), ParseError> {
    if !document.is_object() {
        return Err(ParseError::NotAMapping);
    }
    spell_as_proto(document)
}

/// Envoy takes `failureModeAllow` for `failure_mode_allow`, and so does this check.
fn spell_as_proto(value: &mut Value) -> Result<(), ParseError> {
    match value {
        Value::Object(fields) => {
            let mut spelled = serde_json::Map::new();
            for (key, mut field) in std::mem::take(fields) {
                spell_as_proto(&mut field)?;
                let name = proto_name(&key);
                if spelled.insert(name.clone(), field).is_some() {
                    return Err(ParseError::TwoSpellings(name));
                }
            }
            *fields = spelled;
        }
        Value::Array(items) => {
            for item in items {
                spell_as_proto(item)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn proto_name(key: &str) -> String {
    let is_lower_camel =
        key.starts_with(|c: char| c.is_ascii_lowercase()) && key.chars().all(|c| c.is_ascii_alphanumeric());
    if !is_lower_camel {
        return key.to_owned();
    }
    if key == "acceptHttp10" {
        return "accept_http_10".to_owned(); // the one field whose underscore is before a digit
    }
    let mut name = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// One field of the document, present or not, with the way to it.
#[derive(Clone)]
pub(super) struct Node<'a> {
    value: &'a Value,
    path: Vec<Step<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

static ABSENT: Value = Value::Null;

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Node { value, path: Vec::new() }
    }

    /// The field of this name; an absent one if there is none.
    pub(super) fn get(&self, name: &'a str) -> Node<'a> {
        self.step(self.value.get(name).unwrap_or(&ABSENT), Step::Field(name))
    }

    /// The field at the end of a dotted way (`a.b.c`).
    pub(super) fn at(&self, way: &'a str) -> Node<'a> {
        way.split('.').fold(self.clone(), |node, name| node.get(name))
    }

    /// The items of a list; none if it is absent or no list.
    pub(super) fn items(&self) -> Vec<Node<'a>> {
        let items = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        (items.iter().enumerate()).map(|(index, item)| self.step(item, Step::Item(index))).collect()
    }

    /// The fields of a mapping, with their names.
    pub(super) fn fields(&self) -> Vec<(&'a str, Node<'a>)> {
        (self.value.as_object().into_iter().flatten())
            .map(|(name, field)| {
                let node = self.step(field, Step::Field(name));
                (name.as_str(), node)
            })
            .collect()
    }

    /// This node, and every node below it.
    pub(super) fn descendants(&self) -> Vec<Node<'a>> {
        let mut all = vec![self.clone()];
        for (_, field) in self.fields() {
            all.extend(field.descendants());
        }
        for item in self.items() {
            all.extend(item.descendants());
        }
        all
    }

    fn step(&self, value: &'a Value, step: Step<'a>) -> Node<'a> {
        let mut path = self.path.clone();
        path.push(step);
        Node { value, path }
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    pub(super) fn is_absent(&self) -> bool {
        self.value.is_null()
    }

    pub(super) fn is_present(&self) -> bool {
        !self.is_absent()
    }

    pub(super) fn is_true(&self) -> bool {
        self.value == &Value::Bool(true)
    }

    /// Absent or false, which is the same to Envoy; anything that cannot be read is neither.
    pub(super) fn is_false(&self) -> bool {
        self.is_absent() || self.value == &Value::Bool(false)
    }

    pub(super) fn str(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    pub(super) fn is(&self, text: &str) -> bool {
        self.str() == Some(text)
    }

    pub(super) fn number(&self) -> Option<u64> {
        self.value.as_u64()
    }

    /// A duration in seconds (`5s`, `0.5s`).
    pub(super) fn seconds(&self) -> Option<f64> {
        self.str()?.strip_suffix('s')?.parse().ok()
    }

    /// Whether the `@type` of this configuration, or of its `typed_config`, ends in this message.
    pub(super) fn is_type(&self, message: &str) -> bool {
        let url = match self.get("@type").str() {
            Some(url) => url,
            None => self.at("typed_config").get("@type").str().unwrap_or(""),
        };
        url.rsplit('/').next() == Some(message)
    }

    pub(super) fn texts(&self) -> Vec<&'a str> {
        self.items().iter().filter_map(Node::str).collect()
    }
}

/// What was found so far.
pub(super) struct Findings {
    found: Vec<Finding>,
    lines: Option<Rc<Lines>>,
}

impl Findings {
    /// With the lines of this text, if there is one.
    pub(super) fn of(text: Option<&str>) -> Self {
        Findings { found: Vec::new(), lines: text.and_then(Lines::of) }
    }

    /// Something that lets traffic, or a forged verdict, past the policy.
    pub(super) fn error(&mut self, node: &Node<'_>, message: impl Into<String>, fix: &str) {
        self.add(Severity::Error, node, message.into(), fix);
    }

    /// Something that costs robustness, privacy or answers, but no verdict.
    pub(super) fn warn(&mut self, node: &Node<'_>, message: impl Into<String>, fix: &str) {
        self.add(Severity::Warning, node, message.into(), fix);
    }

    /// An error unless the condition holds.
    pub(super) fn require(&mut self, holds: bool, node: &Node<'_>, message: &str, fix: &str) {
        if !holds {
            self.error(node, message, fix);
        }
    }

    /// A warning unless the condition holds.
    pub(super) fn expect(&mut self, holds: bool, node: &Node<'_>, message: &str, fix: &str) {
        if !holds {
            self.warn(node, message, fix);
        }
    }

    /// Fields this check has not been taught: it cannot vouch for what they do.
    pub(super) fn known(&mut self, node: &Node<'_>, names: &[&str]) {
        for (name, field) in node.fields() {
            if !names.contains(&name) && name != "@type" {
                self.warn(
                    &field,
                    format!("`{name}` is not known to this check, which cannot say what it changes"),
                    "make sure that it neither answers, routes nor rewrites requests, or remove it",
                );
            }
        }
    }

    fn add(&mut self, severity: Severity, node: &Node<'_>, message: String, fix: &str) {
        let line = self.lines.as_ref().map(|lines| lines.line_of(&node.path));
        let finding = Finding { severity, path: display(&node.path), line, message, fix: fix.to_owned() };
        if !self.found.contains(&finding) {
            self.found.push(finding);
        }
    }

    /// The errors first, each kind in the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<Finding> {
        self.found.sort_by_key(|finding| (finding.severity, finding.line));
        self.found
    }
}

fn display(path: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Field(name) if name.contains('.') => text.push_str(&format!("[\"{name}\"]")),
            Step::Field(name) if text.is_empty() => text.push_str(name),
            Step::Field(name) => text.push_str(&format!(".{name}")),
            Step::Item(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// The lines on which the nodes of a document begin; an alias is where its anchor is.
struct Lines {
    line: usize,
    below: Below,
}

enum Below {
    Nothing,
    Fields(Vec<(String, Rc<Lines>)>),
    Items(Vec<Rc<Lines>>),
}

impl Lines {
    fn of(text: &str) -> Option<Rc<Lines>> {
        let mut events = Parser::new_from_str(text);
        let mut anchors = HashMap::new();
        loop {
            let (event, span) = events.next()?.ok()?;
            if !matches!(event, Event::StreamStart | Event::DocumentStart(_) | Event::Nothing) {
                return Lines::node(event, span.start.line(), &mut events, &mut anchors);
            }
        }
    }

    fn node<'input>(
        event: Event<'input>,
        line: usize,
        events: &mut Parser<'input, StrInput<'input>>,
        anchors: &mut HashMap<usize, Rc<Lines>>,
    ) -> Option<Rc<Lines>> {
        let (anchor, below) = match event {
            Event::Alias(anchor) => return anchors.get(&anchor).cloned(),
            Event::Scalar(_, _, anchor, _) => (anchor, Below::Nothing),
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = events.next()?.ok()?;
                    if event == Event::SequenceEnd {
                        break (anchor, Below::Items(items));
                    }
                    items.push(Lines::node(event, span.start.line(), events, anchors)?);
                }
            }
            Event::MappingStart(anchor, _) => {
                let mut fields = Vec::new();
                loop {
                    let (key, span) = events.next()?.ok()?;
                    let line = span.start.line();
                    let name = match key {
                        Event::MappingEnd => break (anchor, Below::Fields(fields)),
                        Event::Scalar(name, ..) => proto_name(&name),
                        _ => return None,
                    };
                    let (event, _) = events.next()?.ok()?;
                    fields.push((name, Lines::node(event, line, events, anchors)?));
                }
            }
            _ => return None,
        };
        let lines = Rc::new(Lines { line, below });
        anchors.insert(anchor, lines.clone());
        Some(lines)
    }

    /// The line of the node at the end of this path, or of the last one on the way that is there.
    fn line_of(&self, path: &[Step<'_>]) -> usize {
        let next = path.split_first().and_then(|(step, rest)| {
            let below = match (step, &self.below) {
                (Step::Field(name), Below::Fields(fields)) => {
                    fields.iter().find(|(field, _)| field == name).map(|(_, lines)| lines)
                }
                (Step::Item(index), Below::Items(items)) => items.get(*index),
                _ => None,
            };
            below.map(|lines| lines.line_of(rest))
        });
        next.unwrap_or(self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spelled_as_the_protobuf_fields() {
        for (key, name) in [
            ("failureModeAllow", "failure_mode_allow"),
            ("http2ProtocolOptions", "http2_protocol_options"),
            ("acceptHttp10", "accept_http_10"),
            ("already_snake", "already_snake"),
            ("envoy.filters.http.extProc", "envoy.filters.http.extProc"),
            ("X-Header", "X-Header"),
        ] {
            assert_eq!(proto_name(key), name);
        }
    }

    #[test]
    fn a_field_given_twice_is_refused() {
        for text in ["a: 1\na: 2", "fooBar: 1\nfoo_bar: 2", r#"{"a": 1, "a": 2}"#] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_line_is_found_through_an_alias() {
        let lines = Lines::of("a: &x\n  b:\n  - 1\n  - c: 2\nd: *x\n").unwrap();
        let field = Step::Field;
        for (path, line) in [
            (vec![field("a")], 1),
            (vec![field("d"), field("b"), Step::Item(1), field("c")], 4),
            (vec![field("a"), field("missing")], 1),
        ] {
            assert_eq!(lines.line_of(&path), line, "{}", display(&path));
        }
    }
}
