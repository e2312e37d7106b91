//! Policy text with comments, every value quoted where it has to be.
//!
//! Serializers of YAML write no comments, and an import is read by a person before anything else.

use std::fmt::Write as _;

use super::super::error::disguises;
use super::super::yaml::{Kind, Scalar};

/// A whole policy, from its first comment to its last line.
pub fn write(heading: &[String], policy: &Mapping) -> String {
    let mut out = String::from("# yaml-language-server: $schema=policy.schema.json\n");
    comments(heading, 0, &mut out);
    out.push_str("version: 1\n");
    for entry in &policy.entries {
        out.push('\n');
        mapping_entry(entry, 0, &mut out);
    }
    if !policy.notes.is_empty() {
        out.push('\n');
        comments(&policy.notes, 0, &mut out);
    }
    out
}

/// What can stand in a policy.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Anything that is a text, quoted where YAML would read it as something else.
    Text(String),
    /// A number.
    Number(u64),
    /// A number with a fraction.
    Decimal(f32),
    /// `true` or `false`.
    Boolean(bool),
    /// Names with values, one a line.
    Mapping(Mapping),
    /// Values, one a line.
    List(List),
    /// Names with values, all on one line.
    Inline(Vec<(&'static str, Value)>),
    /// Values, all on one line.
    InlineList(Vec<Value>),
}

/// A text as a value.
pub fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

/// Texts as a list on one line.
pub fn texts<T: AsRef<str>>(all: impl IntoIterator<Item = T>) -> Value {
    Value::InlineList(all.into_iter().map(|one| text(one.as_ref())).collect())
}

/// Names with values, one a line, in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mapping {
    entries: Vec<Entry<String>>,
    /// Waiting for the entry they are about.
    notes: Vec<String>,
}

/// Values, one a line, in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct List {
    items: Vec<Entry<()>>,
    notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry<K> {
    comments: Vec<String>,
    key: K,
    value: Value,
}

impl Mapping {
    /// A comment above the next entry, or at the end where none follows.
    pub fn note(&mut self, comment: impl Into<String>) -> &mut Self {
        self.notes.push(comment.into());
        self
    }

    /// Adds an entry.
    pub fn add(&mut self, key: impl Into<String>, value: Value) -> &mut Self {
        let comments = std::mem::take(&mut self.notes);
        self.entries.push(Entry { comments, key: key.into(), value });
        self
    }

    /// Adds a list, if there is something in it, be it a comment.
    pub fn add_list(&mut self, key: &str, list: List) -> &mut Self {
        match list.items.is_empty() {
            true => self.notes.extend(list.notes),
            false => {
                self.add(key, Value::List(list));
            }
        }
        self
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl List {
    /// A comment above the next item, or at the end where none follows.
    pub fn note(&mut self, comment: impl Into<String>) -> &mut Self {
        self.notes.push(comment.into());
        self
    }

    /// Adds an item.
    pub fn add(&mut self, value: Value) -> &mut Self {
        let comments = std::mem::take(&mut self.notes);
        self.items.push(Entry { comments, key: (), value });
        self
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// A value on one line, as it would stand in a list in brackets; for comments.
pub fn one_line(value: &Value) -> String {
    match value {
        Value::Text(text) => scalar(text),
        Value::Number(number) => number.to_string(),
        Value::Decimal(number) => number.to_string(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Inline(entries) => {
            let entries: Vec<_> = entries.iter().map(|(key, value)| format!("{key}: {}", one_line(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::InlineList(items) => format!("[{}]", items.iter().map(one_line).collect::<Vec<_>>().join(", ")),
        Value::Mapping(mapping) => {
            let entries = mapping.entries.iter();
            let entries: Vec<_> = entries.map(|e| format!("{}: {}", scalar(&e.key), one_line(&e.value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::List(list) => {
            format!("[{}]", list.items.iter().map(|i| one_line(&i.value)).collect::<Vec<_>>().join(", "))
        }
    }
}

fn mapping_entry(entry: &Entry<String>, indent: usize, out: &mut String) {
    comments(&entry.comments, indent, out);
    comments(orphans(&entry.value), indent, out);
    let _ = write!(out, "{:indent$}{}:", "", scalar(&entry.key));
    match &entry.value {
        Value::Mapping(mapping) if !mapping.entries.is_empty() => {
            out.push('\n');
            for entry in &mapping.entries {
                mapping_entry(entry, indent + 2, out);
            }
            comments(&mapping.notes, indent + 2, out);
        }
        Value::List(list) if !list.items.is_empty() => {
            out.push('\n');
            for item in &list.items {
                list_item(item, indent + 2, out);
            }
            comments(&list.notes, indent + 2, out);
        }
        value => {
            let _ = writeln!(out, " {}", one_line(value));
        }
    }
}

fn list_item(item: &Entry<()>, indent: usize, out: &mut String) {
    comments(&item.comments, indent, out);
    comments(orphans(&item.value), indent, out);
    match &item.value {
        Value::Mapping(mapping) if !mapping.entries.is_empty() => {
            for (index, entry) in mapping.entries.iter().enumerate() {
                let mut lines = String::new();
                if index == 0 {
                    // A comment cannot stand between the dash and the first name.
                    comments(&entry.comments, indent, out);
                    let bare = Entry { comments: Vec::new(), key: entry.key.clone(), value: entry.value.clone() };
                    mapping_entry(&bare, indent + 2, &mut lines);
                    let _ = write!(out, "{:indent$}- {}", "", lines.trim_start());
                } else {
                    mapping_entry(entry, indent + 2, out);
                }
            }
            comments(&mapping.notes, indent + 2, out);
        }
        value => {
            let _ = writeln!(out, "{:indent$}- {}", "", one_line(value));
        }
    }
}

/// The comments of a list or mapping with nothing else in it, which is written on one line.
fn orphans(value: &Value) -> &[String] {
    match value {
        Value::Mapping(mapping) if mapping.entries.is_empty() => &mapping.notes,
        Value::List(list) if list.items.is_empty() => &list.notes,
        _ => &[],
    }
}

fn comments(lines: &[String], indent: usize, out: &mut String) {
    for line in lines {
        let _ = write!(out, "{:indent$}#", "");
        if !line.is_empty() {
            out.push(' ');
        }
        // What a comment holds comes from the source: a line break would end it.
        for character in line.chars() {
            match special(character) && character != ' ' {
                true => out.extend(character.escape_default()),
                false => out.push(character),
            }
        }
        out.push('\n');
    }
}

/// A text as YAML reads it back: plain where that is safe in block and in brackets, else in double quotes.
fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            character if special(character) => {
                let _ = match u32::from(character) {
                    code @ 0..=0xffff => write!(quoted, "\\u{code:04x}"),
                    code => write!(quoted, "\\U{code:08x}"),
                };
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// What neither a policy nor a terminal should be given as it is.
fn special(character: char) -> bool {
    let printable = matches!(character, ' '..='~') || character.is_alphanumeric();
    !printable || disguises(character)
}

fn is_plain(text: &str) -> bool {
    let starts = text.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '/' | '_'))
        || text.starts_with(|first: char| first.is_ascii_digit());
    let rest = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | '-' | '+' | '*' | '(' | ')' | ' '));
    let scalar = Scalar { text: text.to_owned(), plain: true };
    starts && rest && !text.ends_with(' ') && scalar.kind() == Kind::String
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::error::Problems;
    use super::super::super::yaml::{self, Node};
    use super::*;

    fn read(text: &str) -> Node {
        let mut problems = Problems::default();
        let file = problems.sources_mut().add("policy.yaml", text);
        let node = yaml::parse(file, &mut problems);
        assert!(problems.is_empty(), "{problems}\n{text}");
        node.unwrap()
    }

    /// What was written and what is read, in one form.
    #[derive(Debug, PartialEq)]
    enum Plain {
        Text(String),
        Other(String),
        List(Vec<Plain>),
        Mapping(Vec<(String, Plain)>),
    }

    fn written(value: &Value) -> Plain {
        match value {
            Value::Text(text) => Plain::Text(text.clone()),
            Value::Number(number) => Plain::Other(number.to_string()),
            Value::Decimal(number) => Plain::Other(number.to_string()),
            Value::Boolean(boolean) => Plain::Other(boolean.to_string()),
            Value::Mapping(m) => Plain::Mapping(m.entries.iter().map(|e| (e.key.clone(), written(&e.value))).collect()),
            Value::List(list) => Plain::List(list.items.iter().map(|item| written(&item.value)).collect()),
            Value::Inline(all) => Plain::Mapping(all.iter().map(|(k, v)| ((*k).to_owned(), written(v))).collect()),
            Value::InlineList(items) => Plain::List(items.iter().map(written).collect()),
        }
    }

    fn plain(node: &Node) -> Plain {
        match &node.value {
            yaml::Value::Scalar(scalar) if scalar.kind() == Kind::String => Plain::Text(scalar.text.clone()),
            yaml::Value::Scalar(scalar) => Plain::Other(scalar.text.clone()),
            yaml::Value::Sequence(items) => Plain::List(items.iter().map(plain).collect()),
            yaml::Value::Mapping(all) => Plain::Mapping(all.iter().map(|(k, v)| (k.text.clone(), plain(v))).collect()),
            yaml::Value::Refused => panic!("refused"),
        }
    }

    #[test]
    fn a_policy_is_laid_out_for_a_reader() {
        let mut pairs = List::default();
        pairs.note("rules[0]");
        pairs.add(Value::Inline(vec![("method", text("GET")), ("path", text("/v1/users/{id}"))]));
        let mut entry = Mapping::default();
        entry.add("pattern", text("*.example.com")).add("httpRestrictions", Value::List(pairs));
        let mut allowed = List::default();
        allowed.note("policies[0]").add(Value::Mapping(entry)).add(text("api.example.com")).note("the end");
        let mut policy = Mapping::default();
        policy.add("allowedDomains", Value::List(allowed)).note("last");
        assert_eq!(
            write(&["Imported".into(), String::new()], &policy),
            r#"# yaml-language-server: $schema=policy.schema.json
# Imported
#
version: 1

allowedDomains:
  # policies[0]
  - pattern: "*.example.com"
    httpRestrictions:
      # rules[0]
      - {method: GET, path: "/v1/users/{id}"}
  - api.example.com
  # the end

# last
"#
        );
    }

    #[test]
    fn what_yaml_would_read_otherwise_is_quoted() {
        for (value, expected) in [
            ("api.example.com", "api.example.com"),
            ("/v1/*", "/v1/*"),
            ("Block Gmail deletes (2)", "Block Gmail deletes (2)"),
            ("60s", "60s"),
            ("*.example.com", "\"*.example.com\""),
            ("", "\"\""),
            ("true", "\"true\""),
            ("null", "\"null\""),
            ("1", "\"1\""),
            ("0x1f", "\"0x1f\""),
            ("1e3", "\"1e3\""),
            ("host:8443", "\"host:8443\""),
            ("a: b", "\"a: b\""),
            ("a #b", "\"a #b\""),
            ("a ", "\"a \""),
            (" a", "\" a\""),
            ("- a", "\"- a\""),
            ("---", "\"---\""),
            ("...", "\"...\""),
            ("a,b", "\"a,b\""),
            ("a\nb\t\"\\", "\"a\\nb\\t\\\"\\\\\""),
            ("\u{1b}[2J\u{202e}\u{e0041}", "\"\\u001b[2J\\u202e\\U000e0041\""),
            ("é日本", "\"é日本\""),
        ] {
            assert_eq!(scalar(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_comment_stays_one() {
        let mut policy = Mapping::default();
        policy.note("a\nallowedDomains: [\"*\"]\r\u{85}\u{2028}b\u{1b}").add("x", text("y"));
        let text = write(&["c\nd: e".into()], &policy);
        let expected =
            Plain::Mapping(vec![("version".into(), Plain::Other("1".into())), ("x".into(), Plain::Text("y".into()))]);
        assert_eq!(plain(&read(&text)), expected);
        assert_eq!(text.lines().count(), 6, "{text}");
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![".{0,12}", "[ -~]{0,12}", "[-:#{}\\[\\],&*?|>@!%'\"\\\\ \n\t\r]{0,6}", any::<String>()]
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            8 => any_text().prop_map(Value::Text),
            1 => any::<u64>().prop_map(Value::Number),
            1 => any::<bool>().prop_map(Value::Boolean),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            // Names are unique, as our reader wants them, and not empty.
            let names = prop::collection::btree_set(any_text().prop_filter("empty", |name| !name.is_empty()), 0..4);
            let block = (names, prop::collection::vec((any_text(), inner.clone()), 4), any_text()).prop_map(
                |(names, values, end)| {
                    let mut mapping = Mapping::default();
                    for (name, (comment, value)) in names.into_iter().zip(values) {
                        mapping.note(comment).add(name, value);
                    }
                    mapping.note(end);
                    Value::Mapping(mapping)
                },
            );
            let list = (prop::collection::vec((any_text(), inner.clone()), 0..4), any_text()).prop_map(|(all, end)| {
                let mut list = List::default();
                for (comment, value) in all {
                    list.note(comment).add(value);
                }
                list.note(end);
                Value::List(list)
            });
            let inline = prop::collection::vec(inner, 0..3);
            prop_oneof![
                block,
                list,
                inline.clone().prop_map(Value::InlineList),
                inline.prop_map(|all| Value::Inline(["method", "path", "per"].into_iter().zip(all).collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back(value in any_value(), heading in any_text()) {
            let mut policy = Mapping::default();
            policy.add("value", value.clone());
            let text = write(&[heading], &policy);
            let expected = Plain::Mapping(vec![
                ("version".into(), Plain::Other("1".into())),
                ("value".into(), written(&value)),
            ]);
            prop_assert_eq!(plain(&read(&text)), expected, "{}", text);
        }
    }
}
