//! One layout for policy text. It changes no value and loses no comment, or it changes nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pretty_yaml::config::{FormatOptions, LanguageOptions, LayoutOptions, LineBreak};
use saphyr_parser::{Event, Parser, ScalarStyle};
use thiserror::Error;

use super::error::{Problems, Sources, quote};
use super::yaml::{self, Node, Value};

/// Why a text keeps the layout it has.
#[derive(Debug, Error)]
pub enum Unformatted {
    /// It is not YAML as policies are written.
    #[error("{0}")]
    Unreadable(Box<Problems>),
    /// Laid out anew it would mean something else, or lose a comment, or never come to rest.
    #[error(
        "{name} cannot be laid out anew without {cost}; it is left as it is: simplify the part, or format it by hand"
    )]
    Unsafe {
        /// The name the text was given under, as messages show it.
        name: String,
        /// What the layout would cost.
        cost: &'static str,
    },
}

/// `text` in the one layout: two spaces a level, at most 120 columns where that can be had, lists and mappings in
/// brackets left in brackets. What it returns it returns unchanged. `name` stands for the text in messages.
///
/// # Errors
/// A text that policies cannot be read from, and one whose meaning or comments the layout would not keep.
pub fn format(name: &str, text: &str) -> Result<String, Unformatted> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let before = read(name, text)?;
    let refused = |cost| Unformatted::Unsafe { name: quote(name), cost };
    let formatted = settle(text).map_err(refused)?;
    let after = read(name, &formatted).map_err(|_| refused("breaking it"))?;
    if !same(&before, &after) {
        return Err(refused("changing its meaning"));
    }
    if comments(text) != comments(&formatted) {
        return Err(refused("losing a comment"));
    }
    Ok(formatted)
}

fn read(name: &str, text: &str) -> Result<Node, Unformatted> {
    let mut sources = Sources::default();
    let file = sources.add(name, text);
    let mut problems = Problems::new(sources);
    match yaml::parse(file, &mut problems) {
        Some(node) if !problems.has_errors() => Ok(node),
        _ => Err(Unformatted::Unreadable(Box::new(problems))),
    }
}

/// Formats until nothing changes any more: a break that one pass makes may be what the next one sees.
fn settle(text: &str) -> Result<String, &'static str> {
    const PASSES: usize = 8;
    let mut last = text.to_owned();
    for _ in 0..PASSES {
        let next = lay_out(&last)?;
        if next == last {
            return Ok(last);
        }
        last = next;
    }
    Err("its layout changing each time")
}

fn lay_out(text: &str) -> Result<String, &'static str> {
    let line_break = if text.contains("\r\n") { LineBreak::Crlf } else { LineBreak::Lf };
    let options = FormatOptions {
        layout: LayoutOptions { print_width: 120, indent_width: 2, line_break },
        language: LanguageOptions { brace_spacing: false, trailing_comma: false, ..LanguageOptions::default() },
    };
    // The formatter reads YAML by itself, and not all that our reader takes.
    match catch_unwind(AssertUnwindSafe(|| pretty_yaml::format_text(text, &options))) {
        Ok(Ok(formatted)) => Ok(indent_closing_brackets(formatted)),
        Ok(Err(_)) | Err(_) => Err("the formatter failing on it"),
    }
}

/// Indents a bracket that the formatter puts below the key whose value it ends: YAML 1.2 (7.4) has all of a value
/// further in than its key, and our reader holds to that behind a text in quotes.
fn indent_closing_brackets(mut text: String) -> String {
    const MOST: usize = 1_000;
    for _ in 0..MOST {
        let Some(Err(error)) = Parser::new_from_str(&text).find(Result::is_err) else { break };
        let Some((at, _)) = text.char_indices().nth(error.marker().index()) else { break };
        let line = text.get(..at).and_then(|before| before.rsplit('\n').next()).unwrap_or_default();
        if !line.trim().is_empty() || !text.get(at..).is_some_and(|rest| rest.starts_with([']', '}'])) {
            break;
        }
        text.insert_str(at, "  ");
    }
    text
}

/// Whether two trees say the same, wherever it stands.
fn same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Scalar(one), Value::Scalar(other)) => one == other,
        (Value::Sequence(one), Value::Sequence(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Mapping(one), Value::Mapping(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|((name, one), (other_name, other))| name.text == other_name.text && same(one, other))
        }
        _ => false,
    }
}

/// The comments in the order of the text. Between scalars stand only blanks, punctuation and comments, and of these
/// only a comment holds a `#`.
fn comments(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut gap_begins = 0;
    let mut take = |from: usize, to: usize| {
        let gap: String = characters.get(from..to).unwrap_or_default().iter().collect();
        let lines = gap.lines().filter_map(|line| line.split_once('#'));
        found.extend(lines.map(|(_, comment)| comment.trim_end().to_owned()));
    };
    for (event, span) in Parser::new_from_str(text).map_while(Result::ok) {
        if let Event::Scalar(_, style, ..) = event {
            let (start, end) = (span.start.index(), span.end.index());
            take(gap_begins, start);
            gap_begins = match style {
                // The parser's own end is that of the blanks and the comment behind the quote.
                ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => closing_quote(&characters, start),
                _ => end,
            };
        }
    }
    take(gap_begins, characters.len());
    found
}

/// The place after the quote that ends what begins with the one at `start`.
fn closing_quote(characters: &[char], start: usize) -> usize {
    let mut rest = characters.iter().copied().enumerate().skip(start);
    let Some((_, quote)) = rest.next() else { return start };
    while let Some((at, character)) = rest.next() {
        match character {
            '\\' if quote == '"' => _ = rest.next(),
            _ if character != quote => {}
            // A single quote in single quotes is written twice.
            '\'' if characters.get(at + 1) == Some(&'\'') => _ = rest.next(),
            _ => return at + 1,
        }
    }
    characters.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn formatted(text: &str) -> String {
        match format("policy.yaml", text) {
            Ok(formatted) => formatted,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_layout_is_one() {
        let written = "\
# first
version:   1 # one

allowedDomains:
- a.example     # plain
-   pattern:  'b.example'
    httpRestrictions:
    # inside
    - { method: GET,  path: \"/x/*\" }


- {pattern: c.example,upgrades: [ websocket ]}
blockedDomains: []
# last
";
        let expected = "\
# first
version: 1 # one

allowedDomains:
  - a.example # plain
  - pattern: \"b.example\"
    httpRestrictions:
      # inside
      - {method: GET, path: \"/x/*\"}

  - {pattern: c.example, upgrades: [websocket]}
blockedDomains: []
# last
";
        assert_eq!(formatted(written), expected);
    }

    #[test]
    fn a_line_that_is_too_long_is_broken_and_one_that_is_not_stays() {
        let hosts: Vec<_> = (0..20).map(|index| format!("host-{index}.example.com")).collect();
        let text = format!("allowedDomains: [{}]\n", hosts.join(", "));
        let broken = formatted(&text);
        assert!(broken.lines().all(|line| line.len() <= 120), "{broken}");
        let short = "allowedDomains: [a.example, b.example]\n";
        assert_eq!(formatted(short), short);
    }

    #[test]
    fn a_list_in_brackets_that_is_broken_stays_broken_and_readable() {
        let text = "a: [\n b, # why\n   c\n ]\nd:\n  e: {\n    f: [\n      g ] }\nh: [\n \"i\" ]";
        let expected = "a: [\n  b, # why\n  c\n]\nd:\n  e: {\n    f: [\n      g\n    ]\n  }\nh: [\n  \"i\"\n  ]\n";
        assert_eq!(formatted(text), expected);
        assert_eq!(formatted(expected), expected);
    }

    #[test]
    fn line_ends_stay_what_they_are_and_a_byte_order_mark_goes() {
        assert_eq!(formatted("\u{feff}a:   1\r\nb: 2\r\n"), "a: 1\r\nb: 2\r\n");
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_the_readers_words() {
        for (text, word) in
            [("a: [", "not YAML"), ("a: 1\na: 2\n", "given twice"), ("a: &x 1\n", "anchors"), ("", "empty")]
        {
            let error = format("policy.yaml", text).unwrap_err();
            assert!(matches!(error, Unformatted::Unreadable(_)), "{text}");
            assert!(error.to_string().contains("policy.yaml") && error.to_string().contains(word), "{error}");
        }
    }

    /// The formatter drops the blank line at the end of such a text, which is part of it.
    #[test]
    fn a_layout_that_would_change_the_meaning_is_refused() {
        let error = format("policy.yaml", "a: |+\n  x\n\n\nb: 1\n").unwrap_err();
        assert!(matches!(error, Unformatted::Unsafe { .. }), "{error}");
        assert!(error.to_string().starts_with("`policy.yaml` cannot be laid out"), "{error}");
    }

    #[test]
    fn comments_are_told_from_texts() {
        let text = "# one\na: 'x''y # no' # two\nb: x#no #three\nc: |  # four\n  # no\n  text\nd: [\"\\\" # no\" # five\n  , 1]\ne: >-\n  # no\n\n# six\n";
        assert_eq!(comments(text), [" one", " two", "three", " four", " five", " six"]);
    }

    #[test]
    fn a_difference_is_seen() {
        let read = |text| read("p", text).unwrap();
        assert!(same(&read("a: [1, {b: x}]"), &read("a:\n  - 1\n  - b: x\n")));
        for (one, other) in [
            ("a: 1", "a: 2"),
            ("a: 1", "b: 1"),
            ("a: 1", "a: \"1\""),
            ("a: [1]", "a: [1, 2]"),
            ("a: 1", "a: 1\nb: 2"),
            ("a: [1]", "a: {b: 1}"),
        ] {
            assert!(!same(&read(one), &read(other)), "{one} {other}");
        }
    }

    fn value() -> impl Strategy<Value = String> {
        let scalar = prop_oneof![
            "[a-z0-9./*?#:&-]{0,12}".prop_map(|text| format!("{text:?}")),
            "[a-z0-9./'# ]{0,12}".prop_map(|text| format!("'{}'", text.replace('\'', "''"))),
            "[a-z][a-z0-9.#-]{0,12}",
            Just("~".to_owned()),
        ];
        let blank = || prop::sample::select(vec!["", " ", "  ", "\n   ", " # c1\n   "]);
        scalar.prop_recursive(3, 12, 4, move |inner| {
            let item = (blank(), inner, blank()).prop_map(|(before, value, after)| format!("{before}{value}{after}"));
            prop_oneof![
                prop::collection::vec(item.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
                prop::collection::vec(("[a-z]{1,6}", item), 0..4).prop_map(|entries| {
                    let entries = entries.into_iter().enumerate();
                    let entries: Vec<_> = entries.map(|(at, (key, value))| format!("{key}{at}: {value}")).collect();
                    format!("{{{}}}", entries.join(", "))
                }),
            ]
        })
    }

    /// Texts as people write them: odd indentation, comments and empty lines anywhere.
    fn text() -> impl Strategy<Value = String> {
        let end = || prop::sample::select(vec!["\n", "  \n", " # note\n", "\n\n\n", "\n# alone\n", "\n      # deep\n"]);
        let item = (prop::sample::select(vec!["- ", "-   "]), value(), end());
        let entry = prop_oneof![
            (value(), end()).prop_map(|(value, end)| format!(" {value}{end}")),
            (end(), prop::sample::select(vec!["", "  ", "     "]), prop::collection::vec(item, 1..4)).prop_map(
                |(end, indent, items)| {
                    let items = items.into_iter().map(|(dash, value, end)| format!("{indent}{dash}{value}{end}"));
                    format!("{end}{}", items.collect::<String>())
                }
            ),
            (prop::sample::select(vec![" |", " >-", " |+ # head"]), prop::collection::vec("[a-z#]{0,5}", 1..4))
                .prop_map(|(style, lines)| format!("{style}\n  x\n  {}\n", lines.join("\n  "))),
        ];
        prop::collection::vec(entry, 1..6)
            .prop_map(|entries| entries.into_iter().enumerate().map(|(at, entry)| format!("key{at}:{entry}")).collect())
    }

    proptest! {
        #[test]
        fn no_value_changes_no_comment_is_lost_and_a_second_time_changes_nothing(text in text()) {
            let Ok(before) = read("p", &text) else { return Ok(()) };
            match format("p", &text) {
                Ok(formatted) => {
                    prop_assert!(same(&before, &read("p", &formatted).unwrap()));
                    prop_assert_eq!(comments(&text).len(), formatted.matches('#').count() - hashes_in_values(&before));
                    prop_assert_eq!(&format("p", &formatted).unwrap(), &formatted);
                }
                Err(error) => prop_assert!(matches!(error, Unformatted::Unsafe { .. }), "{}", error),
            }
        }
    }

    /// How many `#` stand in values and so in no comment.
    fn hashes_in_values(node: &Node) -> usize {
        match &node.value {
            Value::Scalar(scalar) => scalar.text.matches('#').count(),
            Value::Sequence(items) => items.iter().map(hashes_in_values).sum(),
            Value::Mapping(entries) => entries.iter().map(|(_, node)| hashes_in_values(node)).sum(),
            Value::Refused => 0,
        }
    }
}
