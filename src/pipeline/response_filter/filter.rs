//! Which fields of a JSON text may pass, compiled from the paths that policy writes.

use std::fmt::{self, Write};
use std::ops::Range;

use thiserror::Error;

/// The way to a field: `id`, `customer.ssn`, `[].id`, `items[].card.number`, `*.name`, `"a.b".c`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(Box<str>),
    AnyKey,
    Elements,
}

/// Why a text is no way to a field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadFieldPath {
    /// It has a name of no characters, or none at all.
    #[error("a name in it is empty")]
    EmptyName,
    /// It has brackets with something in them, or one without the other.
    #[error("brackets are for all elements of an array, `[]`")]
    Brackets,
    /// Something follows a `[]` or a name in quotes that is no dot.
    #[error("a dot is missing between two names")]
    NoDot,
    /// A quoted name does not end, or has a backslash before something else than `"` or `\`.
    #[error("a name in quotes does not end, or has a `\\` that escapes nothing")]
    Quotes,
    /// A name without quotes that could be meant otherwise.
    #[error("`{0}` as a name has to stand in quotes")]
    Unquoted(Box<str>),
    /// It is longer than any document is deep.
    #[error("it has more than {MOST_STEPS} steps")]
    TooLong,
}

/// More is no document that people name fields of.
const MOST_STEPS: usize = 64;

impl FieldPath {
    /// Reads a path as it is written in a policy.
    pub fn parse(text: &str) -> Result<Self, BadFieldPath> {
        let mut steps = Vec::new();
        let mut rest = text;
        let mut may_be_name = true;
        loop {
            if let Some(after) = rest.strip_prefix("[]") {
                steps.push(Step::Elements);
                rest = after;
            } else if rest.starts_with(['[', ']']) {
                return Err(BadFieldPath::Brackets);
            } else if may_be_name {
                let (step, after) = name(rest)?;
                steps.push(step);
                rest = after;
            } else {
                return Err(BadFieldPath::NoDot);
            }
            if steps.len() > MOST_STEPS {
                return Err(BadFieldPath::TooLong);
            }
            if rest.is_empty() {
                return Ok(Self(steps));
            }
            may_be_name = false;
            if let Some(after) = rest.strip_prefix('.') {
                if after.starts_with('[') {
                    return Err(BadFieldPath::EmptyName);
                }
                may_be_name = true;
                rest = after;
            }
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            if at > 0 && *step != Step::Elements {
                f.write_char('.')?;
            }
            match step {
                Step::Elements => f.write_str("[]")?,
                Step::AnyKey => f.write_char('*')?,
                Step::Key(key) => match name(key) {
                    Ok((Step::Key(read), "")) if read == *key => f.write_str(key)?,
                    _ => write!(f, "\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))?,
                },
            }
        }
        Ok(())
    }
}

/// The name that a text begins with, and what follows it.
fn name(text: &str) -> Result<(Step, &str), BadFieldPath> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut name = String::new();
        let mut characters = quoted.chars();
        loop {
            match characters.next().ok_or(BadFieldPath::Quotes)? {
                '"' if name.is_empty() => return Err(BadFieldPath::EmptyName),
                '"' => return Ok((Step::Key(name.into()), characters.as_str())),
                '\\' => match characters.next() {
                    Some(escaped @ ('"' | '\\')) => name.push(escaped),
                    _ => return Err(BadFieldPath::Quotes),
                },
                character => name.push(character),
            }
        }
    }
    let (name, rest) = text.split_at(text.find(['.', '[', ']', '"']).unwrap_or(text.len()));
    if name == "*" {
        return Ok((Step::AnyKey, rest));
    }
    if name.is_empty() {
        return Err(BadFieldPath::EmptyName);
    }
    // A way written for another tool, as `$.id`, `/id` or `**`, would else be one to fields that there never are.
    let otherwise = name == "$" || name.starts_with('/') || name.contains('*') || name.trim() != name;
    if otherwise || name.contains(char::is_control) {
        return Err(BadFieldPath::Unquoted(name.into()));
    }
    Ok((Step::Key(name.into()), rest))
}

/// Which fields of a JSON text may pass.
#[derive(Debug)]
pub struct Filter {
    kind: Kind,
    nodes: Vec<Node>,
}

/// What the paths of a filter are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Include,
    Exclude,
}

/// A place that a path leads through or to.
#[derive(Debug, Default)]
struct Node {
    /// In the order of the names.
    keys: Vec<(Box<str>, u32)>,
    any_key: Option<u32>,
    elements: Option<u32>,
    /// A path ends here.
    named: bool,
}

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It passes whole.
    Pass,
    /// It is left out whole.
    Drop,
    /// Paths lead further into it.
    Search,
}

impl Filter {
    /// Lets nothing pass but the fields that these paths lead to, whole, and the objects and arrays on the way.
    pub fn include(paths: impl IntoIterator<Item = FieldPath>) -> Self {
        Self::of(Kind::Include, paths)
    }

    /// Lets everything pass but the fields that these paths lead to.
    pub fn exclude(paths: impl IntoIterator<Item = FieldPath>) -> Self {
        Self::of(Kind::Exclude, paths)
    }

    fn of(kind: Kind, paths: impl IntoIterator<Item = FieldPath>) -> Self {
        let mut filter = Self { kind, nodes: vec![Node::default()] };
        for FieldPath(steps) in paths {
            let end = steps.iter().fold(Self::ROOT, |at, step| filter.child(at, step));
            if let Some(node) = filter.nodes.get_mut(end as usize) {
                node.named = true;
            }
        }
        filter
    }

    fn child(&mut self, at: u32, step: &Step) -> u32 {
        let new = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let Some(node) = self.nodes.get_mut(at as usize) else { return at };
        let child = match step {
            Step::AnyKey => *node.any_key.get_or_insert(new),
            Step::Elements => *node.elements.get_or_insert(new),
            Step::Key(key) => match node.keys.binary_search_by(|(known, _)| known.cmp(key)) {
                Ok(found) => node.keys.get(found).map_or(new, |(_, child)| *child),
                Err(place) => {
                    node.keys.insert(place, (key.clone(), new));
                    new
                }
            },
        };
        if child == new {
            self.nodes.push(Node::default());
        }
        child
    }

    /// Where every path begins.
    pub(super) const ROOT: u32 = 0;

    /// What becomes of a scalar that paths would lead further into.
    pub(super) fn of_scalar(&self) -> Verdict {
        match self.kind {
            Kind::Include => Verdict::Drop,
            Kind::Exclude => Verdict::Pass,
        }
    }

    /// What becomes of the value of a key in an object at `from`; where paths lead into it, their places are added.
    pub(super) fn value_of(&self, key: &str, from: Range<usize>, places: &mut Vec<u32>) -> Verdict {
        let start = places.len();
        let mut named = false;
        for at in from {
            let Some(node) = self.node(places, at) else { continue };
            let exact = node.keys.binary_search_by(|(known, _)| (**known).cmp(key)).ok();
            let exact = exact.and_then(|found| node.keys.get(found)).map(|(_, child)| *child);
            for child in exact.into_iter().chain(node.any_key) {
                named |= self.nodes.get(child as usize).is_some_and(|node| node.named);
                places.push(child);
            }
        }
        self.verdict(named, start, places)
    }

    /// What becomes of each element of an array at `from`; where paths lead into it, their places are added. A path
    /// that names a key goes through any array on its way, with or without `[]`.
    pub(super) fn elements_of(&self, from: Range<usize>, places: &mut Vec<u32>) -> Verdict {
        let start = places.len();
        let mut named = false;
        for at in from {
            let Some(node) = self.node(places, at) else { continue };
            let goes_through = !node.keys.is_empty() || node.any_key.is_some();
            let this = places.get(at).copied().filter(|_| goes_through);
            named |= node.elements.and_then(|child| self.nodes.get(child as usize)).is_some_and(|node| node.named);
            places.extend(node.elements.into_iter().chain(this));
        }
        self.verdict(named, start, places)
    }

    fn node(&self, places: &[u32], at: usize) -> Option<&Node> {
        self.nodes.get(*places.get(at)? as usize)
    }

    fn verdict(&self, named: bool, start: usize, places: &mut Vec<u32>) -> Verdict {
        let verdict = match (self.kind, named) {
            (Kind::Include, true) => Verdict::Pass,
            (Kind::Exclude, true) => Verdict::Drop,
            _ if places.len() > start => Verdict::Search,
            (Kind::Include, false) => Verdict::Drop,
            (Kind::Exclude, false) => Verdict::Pass,
        };
        if verdict != Verdict::Search {
            places.truncate(start);
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_step_by_step() {
        let key = |name: &str| Step::Key(name.into());
        for (text, steps) in [
            ("id", vec![key("id")]),
            ("customer.ssn", vec![key("customer"), key("ssn")]),
            ("[].id", vec![Step::Elements, key("id")]),
            ("a[][].b", vec![key("a"), Step::Elements, Step::Elements, key("b")]),
            ("items[]", vec![key("items"), Step::Elements]),
            ("[]", vec![Step::Elements]),
            ("*.name", vec![Step::AnyKey, key("name")]),
            ("*", vec![Step::AnyKey]),
            ("\"a.b\".c", vec![key("a.b"), key("c")]),
            ("\"*\"[].\"q\\\"\\\\\"", vec![key("*"), Step::Elements, key("q\"\\")]),
            ("first name.@id", vec![key("first name"), key("@id")]),
            ("größe.$ref", vec![key("größe"), key("$ref")]),
        ] {
            let path = FieldPath::parse(text).unwrap();
            assert_eq!(path, FieldPath(steps), "{text}");
            assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for (text, error) in [
            ("", BadFieldPath::EmptyName),
            (".", BadFieldPath::EmptyName),
            ("a.", BadFieldPath::EmptyName),
            (".a", BadFieldPath::EmptyName),
            ("a..b", BadFieldPath::EmptyName),
            ("a.[]", BadFieldPath::EmptyName),
            ("\"\"", BadFieldPath::EmptyName),
            ("a[0]", BadFieldPath::Brackets),
            ("a[*]", BadFieldPath::Brackets),
            ("a]", BadFieldPath::Brackets),
            ("[]id", BadFieldPath::NoDot),
            ("\"a\"b", BadFieldPath::NoDot),
            ("a\"b\"", BadFieldPath::NoDot),
            ("\"a", BadFieldPath::Quotes),
            ("\"a\\n\"", BadFieldPath::Quotes),
            ("$.id", BadFieldPath::Unquoted("$".into())),
            ("/id", BadFieldPath::Unquoted("/id".into())),
            ("**.id", BadFieldPath::Unquoted("**".into())),
            ("a*", BadFieldPath::Unquoted("a*".into())),
            ("a, b ", BadFieldPath::Unquoted("a, b ".into())),
            (&"[]".repeat(65), BadFieldPath::TooLong),
        ] {
            assert_eq!(FieldPath::parse(text), Err(error), "{text}");
        }
    }
}
