//! From the YAML tree to types, each key named once, every mistake reported.
//!
//! A decoder is a function from a [`Node`] to `Option<T>`: `None` says that the value is wrong
//! *and has been reported*. Decoders go on after a mistake so that all of them are reported at
//! once; [`Problems::has_errors`] keeps the outcome from being used.
//!
//! The same decoders say what they take, for the schema and the reference page: see [`super::shape`].

use std::time::Duration;

use super::error::{Problems, Span, Spanned, did_you_mean, quote};
use super::shape::Shape;
use super::yaml::{Key, Kind, Node, Value};

/// The keys of one mapping, taken one by one; what is left over at the end is unknown.
pub struct Fields<'n, 'p> {
    /// What the mapping is, with its article: "an allow entry".
    what: &'static str,
    span: Span,
    entries: Vec<(&'n Key, &'n Node)>,
    known: Vec<&'static str>,
    later: &'static [&'static str],
    secretive: bool,
    sound: bool,
    problems: &'p mut Problems,
}

impl<'n, 'p> Fields<'n, 'p> {
    /// The keys of `node`, which must be a mapping. `what` is what it stands for, with article.
    pub fn of(node: &'n Node, what: &'static str, problems: &'p mut Problems) -> Option<Self> {
        match &node.value {
            Value::Mapping(entries) => {
                if let Some(sketch) = problems.sketch() {
                    sketch.object(what);
                }
                Some(Self {
                    what,
                    span: node.span,
                    entries: entries.iter().map(|(key, value)| (key, value)).collect(),
                    known: Vec::new(),
                    later: &[],
                    secretive: false,
                    sound: true,
                    problems,
                })
            }
            _ => mismatch(node, what, problems),
        }
    }

    /// Keys that the policy language has and this version does not enforce. They are refused by
    /// name, since a policy that relies on them would permit more than its author believes.
    pub fn later(mut self, names: &'static [&'static str]) -> Self {
        self.later = names;
        self
    }

    /// Keeps lines with unknown keys out of every report: someone may have written a secret there.
    pub fn secretive(mut self) -> Self {
        self.secretive = true;
        self
    }

    /// The value of `name`; `None` where it is absent or wrong.
    pub fn optional<T>(&mut self, name: &'static str, decode: impl Fn(&Node, &mut Problems) -> Option<T>) -> Option<T> {
        self.value(name, false, decode)
    }

    /// The value of `name`, which must be there.
    pub fn required<T>(&mut self, name: &'static str, decode: impl Fn(&Node, &mut Problems) -> Option<T>) -> Option<T> {
        if !self.has(name) {
            let message = format!("{} needs `{name}`", self.what);
            self.reject(self.span, message, None);
        }
        self.value(name, true, decode)
    }

    /// Whether `name` was written and not yet taken.
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| key.text == name)
    }

    /// Reports that the mapping as a whole is wrong.
    pub fn reject(&mut self, at: Span, message: impl Into<String>, fix: Option<&str>) {
        let problem = self.problems.error(at, message);
        if let Some(fix) = fix {
            problem.fix(fix);
        }
        self.sound = false;
    }

    /// Reports what may not mean what its author meant.
    pub fn warn(&mut self, at: Span, message: impl Into<String>, fix: &str) {
        self.problems.warning(at, message).fix(fix);
    }

    /// Where the mapping stands.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Reports the keys that nobody took. `Some(())` when nothing in the mapping was wrong.
    #[must_use = "a mapping with a mistake in it must not become a value"]
    pub fn finish(mut self) -> Option<()> {
        for (key, node) in std::mem::take(&mut self.entries) {
            self.sound = false;
            if let Some(name) = self.later.iter().find(|name| **name == key.text) {
                self.problems
                    .error(
                        key.span,
                        format!("`{name}` is not enforced by this version of attache, so a policy that relies on it is refused"),
                    )
                    .fix(format!("remove `{name}`, or use a version that enforces it"));
                continue;
            }
            let candidates = self.known.iter().chain(self.later).copied();
            // Beyond the limit nobody reads the suggestion, and there may be very many.
            let room = self.problems.has_room();
            let suggestion = did_you_mean(&key.text, candidates.filter(|_| room));
            let fix = suggestion.unwrap_or_else(|| format!("the keys of {} are {}", self.what, enumerate(&self.known)));
            self.problems.error(key.span, format!("unknown key {} in {}", quote(&key.text), self.what)).fix(fix);
            if self.secretive && matches!(node.value, Value::Scalar(_)) {
                self.problems.hide(key.span);
                self.problems.hide(node.span);
            }
        }
        self.sound.then_some(())
    }

    fn value<T>(
        &mut self,
        name: &'static str,
        required: bool,
        decode: impl Fn(&Node, &mut Problems) -> Option<T>,
    ) -> Option<T> {
        if let Some(sketch) = self.problems.sketch() {
            sketch.key(name, required, Shape::of(decode));
            return None;
        }
        let (_, node) = self.take(name)?;
        let value = decode(node, self.problems);
        self.sound &= value.is_some();
        value
    }

    fn take(&mut self, name: &'static str) -> Option<(&'n Key, &'n Node)> {
        self.known.push(name);
        let index = self.entries.iter().position(|(key, _)| key.text == name)?;
        Some(self.entries.remove(index))
    }
}

/// A list in which every item is read by `item`; items that are wrong are left out.
/// `what` names the whole with its article: "a list of domains".
pub fn list<T>(
    what: &'static str,
    item: impl Fn(&Node, &mut Problems) -> Option<T>,
) -> impl Fn(&Node, &mut Problems) -> Option<Vec<T>> {
    move |node, problems| match &node.value {
        Value::Sequence(items) => Some(read_items(items, false, &item, problems)),
        _ => mismatch(node, what, problems),
    }
}

/// A list as [`list`] reads it, in which there must be something; `fix` says what to write.
pub fn filled_list<T>(
    what: &'static str,
    fix: &'static str,
    item: impl Fn(&Node, &mut Problems) -> Option<T>,
) -> impl Fn(&Node, &mut Problems) -> Option<Vec<T>> {
    move |node, problems| match &node.value {
        Value::Sequence(items) => {
            if items.is_empty() {
                problems.error(node.span, format!("expected {what}, found an empty one")).fix(fix);
            }
            let read = read_items(items, true, &item, problems);
            (!items.is_empty()).then_some(read)
        }
        _ => mismatch(node, what, problems),
    }
}

/// One item, or a list of them.
pub fn one_or_list<T>(
    what: &'static str,
    item: impl Fn(&Node, &mut Problems) -> Option<T>,
) -> impl Fn(&Node, &mut Problems) -> Option<Vec<T>> {
    move |node, problems| match &node.value {
        Value::Sequence(items) => Some(read_items(items, false, &item, problems)),
        Value::Scalar(_) if node.kind() != Some(Kind::Null) => Some(vec![item(node, problems)?]),
        _ => mismatch(node, what, problems),
    }
}

/// One item, or a list of them in which there must be something; `fix` says what to write.
pub fn one_or_filled_list<T>(
    what: &'static str,
    fix: &'static str,
    item: impl Fn(&Node, &mut Problems) -> Option<T> + Copy,
) -> impl Fn(&Node, &mut Problems) -> Option<Vec<T>> {
    let (one, several) = (one_or_list(what, item), filled_list(what, fix, item));
    move |node, problems| match &node.value {
        Value::Sequence(_) => several(node, problems),
        _ => one(node, problems),
    }
}

/// A mapping from names that the author of the policy chooses; entries that are wrong are left out.
/// `what` names the whole with its article: "a mapping from names to agents".
pub fn named<T>(
    what: &'static str,
    entry: impl Fn(&Key, &Node, &mut Problems) -> Option<T>,
) -> impl Fn(&Node, &mut Problems) -> Option<Vec<T>> {
    move |node, problems| {
        let Value::Mapping(entries) = &node.value else {
            return mismatch(node, what, problems);
        };
        if let Some(sketch) = problems.sketch() {
            let name = Key { span: node.span, text: "sample".to_owned() };
            sketch.named = Some(Box::new(Shape::of(|node, problems| entry(&name, node, problems))));
            return Some(Vec::new());
        }
        Some(entries.iter().filter_map(|(key, node)| entry(key, node, problems)).collect())
    }
}

/// A text of at least one character. `what` names it with its article: "a domain".
pub fn text(what: &'static str) -> impl Fn(&Node, &mut Problems) -> Option<Spanned<String>> {
    move |node, problems| {
        let Value::Scalar(scalar) = &node.value else {
            return mismatch(node, what, problems);
        };
        if scalar.kind() != Kind::String {
            return mismatch(node, what, problems);
        }
        if let Some(sketch) = problems.sketch() {
            sketch.text(what);
        }
        if scalar.text.is_empty() {
            problems.error(node.span, format!("expected {what}, found an empty text"));
            return None;
        }
        Some(Spanned { value: scalar.text.clone(), span: node.span })
    }
}

/// A text that `parse` turns into a type. Its error is the message, with the fix if there is one.
pub fn parsed<T>(
    what: &'static str,
    parse: impl Fn(&str) -> Result<T, Rejection>,
) -> impl Fn(&Node, &mut Problems) -> Option<Spanned<T>> {
    let text = text(what);
    move |node, problems| {
        let text = text(node, problems)?;
        match parse(&text) {
            Ok(value) => Some(Spanned { value, span: node.span }),
            Err(rejection) => {
                let problem = problems.error(node.span, rejection.message);
                if let Some(fix) = rejection.fix {
                    problem.fix(fix);
                }
                None
            }
        }
    }
}

/// Why a text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub fix: Option<String>,
}

impl Rejection {
    /// Wrong in a way that has a known fix.
    pub fn new(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { message: message.into(), fix: Some(fix.into()) }
    }
}

/// Keeps the line out of every report when `decode` refuses the value: someone may have written
/// the secret itself where its place is named.
pub fn quiet<T>(decode: impl Fn(&Node, &mut Problems) -> Option<T>) -> impl Fn(&Node, &mut Problems) -> Option<T> {
    move |node, problems| {
        let value = decode(node, problems);
        if value.is_none() {
            problems.hide(node.span);
        }
        value
    }
}

/// One of a few words.
pub fn word<T: Copy>(
    what: &'static str,
    words: &'static [(&'static str, T)],
) -> impl Fn(&Node, &mut Problems) -> Option<Spanned<T>> {
    let names = || words.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let parsed = parsed(what, move |written| {
        words.iter().find(|(name, _)| *name == written).map(|(_, value)| *value).ok_or_else(|| {
            let fix = did_you_mean(written, names());
            Rejection::new(
                format!("{} is not {what}", quote(written)),
                fix.unwrap_or_else(|| format!("write one of {}", enumerate(&names()))),
            )
        })
    });
    move |node, problems| {
        let word = parsed(node, problems);
        if let Some(sketch) = problems.sketch() {
            sketch.words(what, names());
        }
        word
    }
}

/// Whether the value is `word`, which stands for something that its decoder reads otherwise.
pub fn is_word(word: &'static str, node: &Node, problems: &mut Problems) -> bool {
    if let Some(sketch) = problems.sketch() {
        sketch.word(word);
    }
    matches!(&node.value, Value::Scalar(scalar) if scalar.text == word)
}

/// `true` or `false`.
pub fn boolean(node: &Node, problems: &mut Problems) -> Option<bool> {
    match (node.kind(), &node.value) {
        (Some(Kind::Boolean(value)), _) => Some(value),
        (Some(Kind::String), Value::Scalar(scalar)) if matches!(scalar.text.as_str(), "yes" | "no" | "on" | "off") => {
            problems
                .error(node.span, format!("expected `true` or `false`, found the text {}", quote(&scalar.text)))
                .fix("in YAML 1.2 only `true` and `false` are booleans");
            None
        }
        _ => mismatch(node, "`true` or `false`", problems),
    }
}

fn read_items<T>(
    items: &[Node],
    filled: bool,
    item: impl Fn(&Node, &mut Problems) -> Option<T>,
    problems: &mut Problems,
) -> Vec<T> {
    if let Some(sketch) = problems.sketch() {
        sketch.list(Shape::of(&item), filled);
    }
    items.iter().filter_map(|node| item(node, problems)).collect()
}

/// A whole number of a range.
pub fn number(
    what: &'static str,
    range: std::ops::RangeInclusive<u64>,
) -> impl Fn(&Node, &mut Problems) -> Option<u64> {
    move |node, problems| {
        let Value::Scalar(scalar) = &node.value else { return mismatch(node, what, problems) };
        if node.kind() != Some(Kind::Number) {
            return mismatch(node, what, problems);
        }
        if let Some(sketch) = problems.sketch() {
            sketch.number(&range);
        }
        match scalar.text.replace('_', "").parse() {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                problems.error(node.span, format!("expected {what}, found {}", quote(&scalar.text))).fix(format!(
                    "write a whole number from {} to {}",
                    range.start(),
                    range.end()
                ));
                None
            }
        }
    }
}

/// A number of a range, with or without a fraction.
pub fn decimal(
    what: &'static str,
    range: std::ops::RangeInclusive<u16>,
) -> impl Fn(&Node, &mut Problems) -> Option<f32> {
    move |node, problems| {
        let Value::Scalar(scalar) = &node.value else { return mismatch(node, what, problems) };
        if node.kind() != Some(Kind::Number) {
            return mismatch(node, what, problems);
        }
        if let Some(sketch) = problems.sketch() {
            sketch.decimal(&range);
        }
        match scalar.text.replace('_', "").parse() {
            Ok(number) if (f32::from(*range.start())..=f32::from(*range.end())).contains(&number) => Some(number),
            _ => {
                problems.error(node.span, format!("expected {what}, found {}", quote(&scalar.text))).fix(format!(
                    "write a number from {} to {}",
                    range.start(),
                    range.end()
                ));
                None
            }
        }
    }
}

/// A length of time: `500ms`, `20s`, `15m`, `1h`, `7d`, or one `second`, `minute`, `hour`, `day`.
pub fn duration(
    what: &'static str,
    range: std::ops::RangeInclusive<Duration>,
) -> impl Fn(&Node, &mut Problems) -> Option<Duration> {
    move |node, problems| {
        let refused = |problems: &mut Problems, message: String| {
            problems
                .error(node.span, message)
                .fix("write a number and its unit, such as `500ms`, `20s`, `15m`, `1h` or `7d`");
            None
        };
        let Value::Scalar(scalar) = &node.value else { return mismatch(node, what, problems) };
        if let Some(sketch) = problems.sketch() {
            sketch.text("a length of time");
        }
        match parse_duration(&scalar.text) {
            Some(length) if range.contains(&length) => Some(length),
            Some(_) => {
                let (least, most) = (written(*range.start()), written(*range.end()));
                refused(problems, format!("{} is out of range: {what} is {least} to {most}", quote(&scalar.text)))
            }
            None => refused(problems, format!("{} is not {what}", quote(&scalar.text))),
        }
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = match text {
        "second" | "minute" | "hour" | "day" => ("1", text),
        _ => text.split_at(text.find(|c: char| !c.is_ascii_digit())?),
    };
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" | "second" => 1000,
        "m" | "minute" => 60_000,
        "h" | "hour" => 3_600_000,
        "d" | "day" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(milliseconds)?))
}

/// A length of time in the largest unit that gives a whole number, as policy writes it.
pub fn written(length: Duration) -> String {
    let milliseconds = length.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    match units.iter().find(|(unit, _)| milliseconds >= *unit && milliseconds.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", milliseconds / unit),
        None => format!("{milliseconds}ms"),
    }
}

/// Reports that `node` is something else than `what`. Says nothing about what was refused before.
pub fn mismatch<T>(node: &Node, what: &str, problems: &mut Problems) -> Option<T> {
    let (found, fix) = match &node.value {
        Value::Refused => return None,
        Value::Sequence(_) => ("a list", None),
        Value::Mapping(entries) => {
            let braces = matches!(entries.as_slice(), [(_, value)] if value.kind() == Some(Kind::Null));
            ("a mapping", braces.then_some("a text that begins with `{` goes in quotes"))
        }
        Value::Scalar(scalar) => match scalar.kind() {
            Kind::String if what.starts_with("a list") => ("a text", Some("write `[` and `]` around it")),
            Kind::String => ("a text", None),
            Kind::Boolean(_) => ("a boolean", Some("to write it as a text, put it in quotes")),
            Kind::Number => ("a number", Some("to write it as a text, put it in quotes")),
            Kind::Null if what.starts_with("a list") => ("nothing", Some("an empty list is `[]`")),
            Kind::Null => ("nothing", Some("give it a value, or remove it")),
        },
    };
    let problem = problems.error(node.span, format!("expected {what}, found {found}"));
    if let Some(fix) = fix {
        problem.fix(fix);
    }
    None
}

/// `a`, `b` and `c`, in backticks.
pub fn enumerate(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
