//! A manifest as a tree that forgets nothing a reader of the text could have meant: a plain scalar stays as it was
//! written, whether a reader takes `yes` for a boolean or for a word, and `0660` for one number or another.

use std::mem;

/// A value in a manifest.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// One text, number, boolean or nothing.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// Names with values.
    Map(Map),
}

/// The text of a scalar.
#[derive(Debug, Clone)]
pub(super) struct Scalar {
    /// Without quotes, escapes resolved.
    pub(super) text: String,
    /// Certainly text. Otherwise it was written plain, and what it is follows from the text.
    pub(super) quoted: bool,
}

/// Names with values, each name once, in the order of the text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Map(Vec<(Scalar, Node)>);

impl Node {
    /// A text, whatever it looks like.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Scalar(Scalar { text: text.into(), quoted: true })
    }

    /// A number, a boolean or null in the one spelling that every reader knows.
    pub(super) fn plain(value: impl ToString) -> Self {
        Self::Scalar(Scalar { text: value.to_string(), quoted: false })
    }

    /// Names with values.
    pub(super) fn map(fields: impl IntoIterator<Item = (&'static str, Node)>) -> Self {
        Self::Map(fields.into_iter().map(|(name, value)| (Scalar::from(name), value)).collect())
    }

    pub(super) fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(super) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(super) fn as_list(&self) -> Option<&[Node]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn as_list_mut(&mut self) -> Option<&mut Vec<Node>> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text of a scalar, quoted or not.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// Written as nothing: as good as not written.
    pub(super) fn is_null(&self) -> bool {
        let nothing = |text: &str| matches!(text, "~" | "null" | "Null" | "NULL");
        matches!(self, Self::Scalar(scalar) if !scalar.quoted && nothing(&scalar.text))
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), quoted: true }
    }
}

/// Quotes that change nothing make no difference.
impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && (self.quoted == other.quoted || is_word(&self.text))
    }
}

/// Text to every reader of YAML, of version 1.1 too, with quotes or without.
pub(super) fn is_word(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | ':' | '@' | '%' | '+' | '=' | '-');
    let reserved = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    begins
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !reserved.iter().any(|word| word.eq_ignore_ascii_case(text))
}

impl Map {
    /// The value of this name; none for one that is written as nothing.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        let found = self.0.iter().find(|(key, _)| key.text == name);
        found.map(|(_, value)| value).filter(|value| !value.is_null())
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        let found = self.0.iter_mut().find(|(key, _)| key.text == name);
        found.map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// The text under this name.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_text()
    }

    /// The mapping at the end of a way of names.
    pub(super) fn map_at(&self, way: &[&str]) -> Option<&Map> {
        way.iter().try_fold(self, |map, name| map.get(name)?.as_map())
    }

    /// The items of the list under this name; none where there is no list.
    pub(super) fn items(&self, name: &str) -> &[Node] {
        self.get(name).and_then(Node::as_list).unwrap_or_default()
    }

    /// The mappings in the list under this name.
    pub(super) fn maps(&self, name: &str) -> impl Iterator<Item = &Map> {
        self.items(name).iter().filter_map(Node::as_map)
    }

    /// Puts a value under this name, in the place of an earlier one or at the end.
    pub(super) fn set(&mut self, name: &str, value: Node) {
        match self.0.iter_mut().find(|(key, _)| key.text == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((Scalar::from(name), value)),
        }
    }

    /// As [`Self::set`], a new name before another one.
    pub(super) fn set_before(&mut self, name: &str, before: &str, value: Node) {
        let at = self.0.iter().position(|(key, _)| key.text == before);
        match at {
            Some(at) if !self.0.iter().any(|(key, _)| key.text == name) => {
                self.0.insert(at, (Scalar::from(name), value));
            }
            _ => self.set(name, value),
        }
    }

    /// The mapping under this name, an empty one if there was none; `None` where something else stands.
    pub(super) fn map_or_new(&mut self, name: &str) -> Option<&mut Map> {
        if self.get(name).is_none() {
            self.set(name, Node::Map(Map::default()));
        }
        self.get_mut(name)?.as_map_mut()
    }

    /// The list under this name, an empty one if there was none; `None` where something else stands.
    pub(super) fn list_or_new(&mut self, name: &str) -> Option<&mut Vec<Node>> {
        if self.get(name).is_none() {
            self.set(name, Node::List(Vec::new()));
        }
        self.get_mut(name)?.as_list_mut()
    }

    /// Keeps of the list under this name what `keep` says.
    pub(super) fn retain(&mut self, name: &str, keep: impl FnMut(&Node) -> bool) {
        if let Some(items) = self.get_mut(name).and_then(Node::as_list_mut) {
            items.retain(keep);
        }
    }

    /// The values of these names, to be changed.
    pub(super) fn named_mut<const N: usize>(&mut self, names: [&str; N]) -> impl Iterator<Item = &mut Node> {
        let named = move |(key, _): &&mut (Scalar, Node)| names.contains(&&*key.text);
        self.0.iter_mut().filter(named).map(|(_, value)| value)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Scalar, &Node)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Adds a name that is not there yet; `false` if it is.
    pub(super) fn add(&mut self, name: Scalar, value: Node) -> bool {
        let new = !self.0.iter().any(|(key, _)| key.text == name.text);
        if new {
            self.0.push((name, value));
        }
        new
    }
}

impl FromIterator<(Scalar, Node)> for Map {
    fn from_iter<I: IntoIterator<Item = (Scalar, Node)>>(fields: I) -> Self {
        let mut map = Self::default();
        for (name, value) in fields {
            map.add(name, value);
        }
        map
    }
}

/// Says of every scalar that is neither a number nor a boolean that it is text: what JSON has to know of a tree that was
/// read from YAML.
pub(super) fn settle(node: &mut Node) {
    match node {
        Node::Scalar(scalar) => {
            let number = scalar.text.parse::<i64>().is_ok();
            scalar.quoted |= !number && !matches!(&*scalar.text, "true" | "false");
        }
        Node::List(items) => items.iter_mut().for_each(settle),
        Node::Map(map) => {
            for (name, mut value) in mem::take(&mut map.0) {
                settle(&mut value);
                map.0.push((Scalar { quoted: true, ..name }, value));
            }
        }
    }
}
