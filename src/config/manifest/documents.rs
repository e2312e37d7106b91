//! The ConfigMaps of a stream of YAML documents, which may hold whatever Kubernetes reads.

use saphyr_parser::{Event, Parser, ScanError, StrInput};

use super::super::error::Span;

/// Deepest nesting that is read. An object of Kubernetes is nowhere near it.
const DEPTH_LIMIT: usize = 100;

/// A ConfigMap, as far as it matters here.
pub struct ConfigMap {
    pub name: String,
    pub namespace: String,
    pub at: Span,
    pub data: Vec<Entry>,
    /// Where binary data stand, if there are any.
    pub binary: Option<Span>,
    /// Where it says that it never changes, if it does.
    pub immutable: Option<Span>,
}

/// A key of a ConfigMap with its text.
pub struct Entry {
    pub key: String,
    pub at: Span,
    pub text: String,
    pub value: Span,
}

impl ConfigMap {
    pub fn full_name(&self) -> String {
        if self.namespace.is_empty() { self.name.clone() } else { format!("{}/{}", self.namespace, self.name) }
    }
}

/// Where and why a stream cannot be read.
pub type Broken = (Option<Span>, String);

/// The ConfigMaps of a manifest; `None` if the text is no manifest: no document has both `apiVersion` and `kind`.
pub fn read(file: u32, text: &str) -> Option<Result<Vec<ConfigMap>, Broken>> {
    let mut reader = Reader { file, events: Parser::new_from_str(text) };
    let (mut found, mut is_manifest) = (Vec::new(), false);
    loop {
        match reader.document() {
            Ok(None) => break,
            Ok(Some(root)) => {
                is_manifest |= root.text("apiVersion").is_some() && root.text("kind").is_some();
                configmaps(&root, &mut found);
            }
            // Whoever reads the text as a policy says so better, if it is none of ours.
            Err(broken) => return is_manifest.then_some(Err(broken)),
        }
    }
    is_manifest.then_some(Ok(found))
}

fn configmaps(root: &Tree, found: &mut Vec<ConfigMap>) {
    match root.text("kind") {
        Some("ConfigMap") => found.push(configmap(root)),
        Some("List" | "ConfigMapList") => {
            if let Some(Value::Sequence(items)) = root.get("items").map(|items| &items.value) {
                items.iter().for_each(|item| configmaps(item, found));
            }
        }
        _ => {}
    }
}

fn configmap(root: &Tree) -> ConfigMap {
    let metadata = |key| root.get("metadata").and_then(|metadata| metadata.text(key)).unwrap_or_default().to_owned();
    let entries = |tree: &Tree| match &tree.value {
        Value::Mapping(entries) => entries
            .iter()
            .filter_map(|(key, at, value)| match &value.value {
                Value::Scalar(text) => Some(Entry { key: key.clone(), at: *at, text: text.clone(), value: value.at }),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    let binary = root.get("binaryData").filter(|tree| matches!(&tree.value, Value::Mapping(all) if !all.is_empty()));
    ConfigMap {
        name: metadata("name"),
        namespace: metadata("namespace"),
        at: root.at,
        data: root.get("data").map(entries).unwrap_or_default(),
        binary: binary.map(|tree| tree.at),
        immutable: root.get("immutable").filter(|_| root.text("immutable") == Some("true")).map(|tree| tree.at),
    }
}

struct Tree {
    at: Span,
    value: Value,
}

enum Value {
    Scalar(String),
    Sequence(Vec<Tree>),
    Mapping(Vec<(String, Span, Tree)>),
    /// An alias, which says nothing by itself.
    Other,
}

impl Tree {
    fn get(&self, name: &str) -> Option<&Self> {
        let Value::Mapping(entries) = &self.value else { return None };
        entries.iter().find(|(key, ..)| key == name).map(|(.., value)| value)
    }

    fn text(&self, name: &str) -> Option<&str> {
        match &self.get(name)?.value {
            Value::Scalar(text) => Some(text),
            _ => None,
        }
    }
}

struct Reader<'a> {
    file: u32,
    events: Parser<'a, StrInput<'a>>,
}

impl<'a> Reader<'a> {
    /// `None` after the last.
    fn document(&mut self) -> Result<Option<Tree>, Broken> {
        loop {
            match self.next()? {
                None | Some((Event::StreamEnd, _)) => return Ok(None),
                Some((Event::DocumentStart(_), _)) => break,
                Some(_) => {}
            }
        }
        self.node(0).map(Some)
    }

    fn node(&mut self, depth: usize) -> Result<Tree, Broken> {
        let Some((event, at)) = self.next()? else { return Err((None, "it ends too early".to_owned())) };
        self.value(event, at, depth)
    }

    fn value(&mut self, event: Event<'a>, at: Span, depth: usize) -> Result<Tree, Broken> {
        if depth > DEPTH_LIMIT {
            return Err((Some(at), "it is nested too deeply".to_owned()));
        }
        let value = match event {
            Event::Scalar(text, ..) => Value::Scalar(text.into_owned()),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        None | Some((Event::SequenceEnd, _)) => break Value::Sequence(items),
                        Some((event, at)) => items.push(self.value(event, at, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut entries = Vec::new();
                loop {
                    let key = match self.next()? {
                        None | Some((Event::MappingEnd, _)) => break Value::Mapping(entries),
                        Some((event, at)) => self.value(event, at, depth + 1)?,
                    };
                    let value = self.node(depth + 1)?;
                    let Value::Scalar(name) = key.value else { continue };
                    if entries.iter().any(|(other, ..)| *other == name) {
                        return Err((Some(key.at), format!("`{name}` is given twice")));
                    }
                    entries.push((name, key.at, value));
                }
            }
            _ => Value::Other,
        };
        Ok(Tree { at, value })
    }

    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Broken> {
        let file = self.file;
        let place = |line: usize, column: usize, length: usize| Span {
            file,
            line: small(line),
            column: small(column + 1),
            length: small(length),
        };
        match self.events.next_event() {
            Some(Ok((event, span))) => {
                let (start, end) = (span.start, span.end);
                let length = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 1 };
                Ok(Some((event, place(start.line(), start.col(), length))))
            }
            Some(Err(error)) => Err(broken(&error, place(error.marker().line(), error.marker().col(), 1))),
            None => Ok(None),
        }
    }
}

fn broken(error: &ScanError, at: Span) -> Broken {
    (Some(at), error.info().to_owned())
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
