//! What a decoder takes, found by asking it.
//!
//! A decoder is run on one sample of each kind of value, with [`Problems`] that carry a [`Shape`]; the combinators of
//! [`super::decode`] write into it what they read. So the schema and the reference page know every key that the
//! decoder knows, and no other. What a decoder reads by itself, beside the combinators, is seen by its kind alone.

use std::ops::RangeInclusive;

use super::error::{Problems, Span};
use super::yaml::{Key as Name, Node, Scalar, Value};

/// What a value may be; several at once where it may be one or the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// Texts.
    pub texts: Vec<Text>,
    /// `true` and `false`.
    pub boolean: bool,
    /// Whole numbers, from the one to the other.
    pub number: Option<(u64, u64)>,
    /// Numbers with or without a fraction, from the one to the other.
    pub decimal: Option<(u16, u16)>,
    /// A list.
    pub list: Option<List>,
    /// A mapping with the language's own keys.
    pub object: Option<Object>,
    /// A mapping from names that the author chooses, to this.
    pub named: Option<Box<Shape>>,
}

/// A kind of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// What it is, with article: "a domain".
    pub what: &'static str,
    /// The only texts there are; empty: any that fits.
    pub words: Vec<&'static str>,
}

/// A list of values of one shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Of each item.
    pub items: Box<Shape>,
    /// Whether there must be one.
    pub filled: bool,
}

/// A mapping with the language's own keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What it is, with article: "an allow entry". Mappings of the same `what` have the same keys.
    pub what: &'static str,
    /// In the order in which the decoder reads them.
    pub keys: Vec<Key>,
}

/// A key of an [`Object`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// Whether there is no doing without it.
    pub required: bool,
    /// Of its value.
    pub value: Shape,
}

impl Shape {
    /// What `decode` takes.
    pub fn of<T>(decode: impl Fn(&Node, &mut Problems) -> Option<T>) -> Self {
        let mut shape = Self::default();
        let span = Span { file: 0, line: 1, column: 1, length: 0 };
        for value in samples(span) {
            let mut problems = Problems::sketching(shape);
            let node = Node { span, value };
            let taken = decode(&node, &mut problems).is_some() && !problems.has_errors();
            shape = problems.into_sketch();
            if taken {
                shape.note(&node.value);
            }
        }
        shape
    }

    /// This text has a meaning of its own here.
    pub(super) fn word(&mut self, word: &'static str) {
        if !self.texts.iter().any(|text| text.what == word) {
            self.texts.push(Text { what: word, words: vec![word] });
        }
    }

    /// A text of that kind is read here.
    pub(super) fn text(&mut self, what: &'static str) {
        if !self.texts.iter().any(|text| text.what == what) {
            self.texts.push(Text { what, words: Vec::new() });
        }
    }

    /// Of the texts of that kind there are only these.
    pub(super) fn words(&mut self, what: &'static str, words: Vec<&'static str>) {
        if let Some(text) = self.texts.iter_mut().find(|text| text.what == what) {
            text.words = words;
        }
    }

    /// A whole number of this range is read here.
    pub(super) fn number(&mut self, range: &RangeInclusive<u64>) {
        self.number = Some((*range.start(), *range.end()));
    }

    /// A number of this range is read here, which need not be whole.
    pub(super) fn decimal(&mut self, range: &RangeInclusive<u16>) {
        self.decimal = Some((*range.start(), *range.end()));
    }

    /// A list is read here.
    pub(super) fn list(&mut self, items: Shape, filled: bool) {
        self.list = Some(List { items: Box::new(items), filled });
    }

    /// A mapping with keys of the language is read here.
    pub(super) fn object(&mut self, what: &'static str) {
        self.object = Some(Object { what, keys: Vec::new() });
    }

    /// The mapping has this key.
    pub(super) fn key(&mut self, name: &'static str, required: bool, value: Shape) {
        if let Some(object) = &mut self.object {
            object.keys.push(Key { name, required, value });
        }
    }

    /// A sample that was taken and that no combinator has noted.
    fn note(&mut self, sample: &Value) {
        match sample {
            Value::Scalar(scalar) => match scalar.text.as_str() {
                "1" if self.number.is_none() && self.decimal.is_none() => self.number = Some((1, 1)),
                "true" => self.boolean = true,
                "sample" if self.texts.is_empty() => self.text("a text"),
                _ => {}
            },
            Value::Sequence(_) if self.list.is_none() => self.list(Shape::default(), false),
            _ => {}
        }
    }
}

/// One value of each kind. Where texts are compared with words, none of them is this one.
fn samples(span: Span) -> [Value; 5] {
    let plain = |text: &str| Value::Scalar(Scalar { text: text.to_owned(), plain: true });
    // An empty mapping may be read by itself, as the default of all its keys.
    let entry = (Name { span, text: "sample".to_owned() }, Node { span, value: plain("~") });
    [plain("sample"), plain("1"), plain("true"), Value::Sequence(Vec::new()), Value::Mapping(vec![entry])]
}

#[cfg(test)]
mod tests {
    use super::super::decode::{
        Fields, boolean, decimal, filled_list, is_word, list, named, number, one_or_list, text, word,
    };
    use super::*;

    fn texts(what: &'static str) -> Shape {
        Shape { texts: vec![Text { what, words: Vec::new() }], ..Shape::default() }
    }

    fn listed(items: Shape, filled: bool) -> Shape {
        Shape { list: Some(List { items: Box::new(items), filled }), ..Shape::default() }
    }

    #[test]
    fn what_the_combinators_read_is_seen() {
        let words = Shape { texts: vec![Text { what: "a mode", words: vec!["x", "y"] }], ..Shape::default() };
        assert_eq!(Shape::of(text("a host")), texts("a host"));
        assert_eq!(Shape::of(word("a mode", &[("x", 1), ("y", 2)])), words);
        assert_eq!(Shape::of(number("a number", 3..=9)), Shape { number: Some((3, 9)), ..Shape::default() });
        assert_eq!(Shape::of(decimal("a number", 0..=8)), Shape { decimal: Some((0, 8)), ..Shape::default() });
        assert_eq!(Shape::of(boolean), Shape { boolean: true, ..Shape::default() });
        assert_eq!(Shape::of(list("a list", text("a host"))), listed(texts("a host"), false));
        assert_eq!(Shape::of(filled_list("a list", "-", text("a host"))), listed(texts("a host"), true));
        let either = Shape { texts: texts("a host").texts, ..listed(texts("a host"), false) };
        assert_eq!(Shape::of(one_or_list("a list", text("a host"))), either);
        let names = named("names", |_, node, problems| boolean(node, problems));
        assert_eq!(*Shape::of(names).named.unwrap(), Shape { boolean: true, ..Shape::default() });
    }

    #[test]
    fn keys_are_seen_whatever_becomes_of_them() {
        let decode = |node: &Node, problems: &mut Problems| {
            let mut fields = Fields::of(node, "a thing", problems)?;
            if !fields.has("host") {
                fields.reject(node.span, "no host", None);
            }
            let host = fields.required("host", text("a host"));
            fields.optional("on", boolean);
            fields.finish()?;
            host
        };
        let Shape { object: Some(object), .. } = Shape::of(decode) else { panic!("a mapping") };
        let keys: Vec<_> = object.keys.iter().map(|key| (key.name, key.required)).collect();
        assert_eq!((object.what, keys), ("a thing", vec![("host", true), ("on", false)]));
    }

    #[test]
    fn what_is_read_by_hand_is_seen_by_its_kind() {
        let number = |node: &Node, _: &mut Problems| match &node.value {
            Value::Scalar(scalar) => scalar.text.parse::<u32>().ok(),
            _ => None,
        };
        assert_eq!(Shape::of(number), Shape { number: Some((1, 1)), ..Shape::default() });
        let all_or_list = |node: &Node, problems: &mut Problems| {
            if is_word("all", node, problems) {
                return Some(Vec::new());
            }
            list("a list", text("a host"))(node, problems)
        };
        let all = Text { what: "all", words: vec!["all"] };
        assert_eq!(Shape::of(all_or_list), Shape { texts: vec![all], ..listed(texts("a host"), false) });
    }
}
