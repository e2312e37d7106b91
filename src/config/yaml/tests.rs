use super::super::error::Sources;
use super::*;

fn read(text: &str) -> (Option<Node>, Problems) {
    let mut sources = Sources::default();
    let file = sources.add("p", text);
    let mut problems = Problems::new(sources);
    let node = parse(file, &mut problems);
    (node, problems)
}

/// `line:column message | fix` of each problem.
fn complaints(text: &str) -> Vec<String> {
    let (_, problems) = read(text);
    problems
        .iter()
        .map(|problem| {
            let at = problem.at.unwrap();
            let fix = problem.fix.as_deref().unwrap_or("-");
            format!("{}:{} {} | {fix}", at.line, at.column, problem.message)
        })
        .collect()
}

/// The tree as `line:column+length value`.
fn outline(node: &Node) -> String {
    let place = format!("{}:{}+{}", node.span.line, node.span.column, node.span.length);
    match &node.value {
        Value::Scalar(scalar) => format!("{place} {:?}", scalar.text),
        Value::Sequence(items) => {
            format!("{place} [{}]", items.iter().map(outline).collect::<Vec<_>>().join(", "))
        }
        Value::Mapping(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| format!("{}:{} {} = {}", key.span.line, key.span.column, key.text, outline(value)))
                .collect();
            format!("{place} {{{}}}", entries.join(", "))
        }
        Value::Refused => format!("{place} refused"),
    }
}

#[test]
fn every_value_knows_its_place() {
    for (name, text, expected) in [
        (
            "block",
            "a:\n  - x\n  - k: \"y z\"\nb:\n",
            r#"1:1+0 {1:1 a = 2:3+0 [2:5+1 "x", 3:5+0 {3:5 k = 3:8+5 "y z"}], 4:1 b = 4:1+1 ""}"#,
        ),
        (
            "json",
            r#"{"a": [1, true], "b": {}}"#,
            r#"1:1+1 {1:2 a = 1:7+1 [1:8+1 "1", 1:11+4 "true"], 1:18 b = 1:23+1 {}}"#,
        ),
        ("carriage returns", "a: 1\r\nb: 2\r\n", r#"1:1+0 {1:1 a = 1:4+1 "1", 2:1 b = 2:4+1 "2"}"#),
        ("columns are characters", "é: ü\n", r#"1:1+0 {1:1 é = 1:4+1 "ü"}"#),
    ] {
        let (node, problems) = read(text);
        assert_eq!(problems.to_string(), "", "{name}");
        assert_eq!(outline(&node.unwrap()), expected, "{name}");
    }
}

#[test]
fn what_reads_otherwise_than_it_looks_is_refused() {
    let deep = format!("a: {}{}", "[".repeat(40), "]".repeat(40));
    for (name, text, expected) in [
        ("duplicate key", "a: 1\nb: 2\na: 3\n", vec!["3:1 `a` is given twice; first at p:1:1 | keep one of them"]),
        (
            "anchor and alias",
            "a: &x 1\nb: *x\n",
            vec![
                "1:4 anchors (`&name`) are not read | write the value out in each place; a text that begins with `&` goes in quotes",
                "2:4 aliases (`*name`) are not read | write the value out here; a text that begins with `*` goes in quotes",
            ],
        ),
        ("merge key", "<<: {a: 1}\n", vec!["1:1 merge keys (`<<`) are not read | write the values out here"]),
        (
            "tag",
            "a: !!str 1\n",
            vec!["1:4 tags (`!name`) are not read | remove the tag; a text that begins with `!` goes in quotes"],
        ),
        (
            "two documents",
            "a: 1\n---\nb: 2\n",
            vec![
                "2:1 a second document begins here | a policy is one document: remove the `---`, or give a directory with one file for each document",
            ],
        ),
        (
            "key that is a list",
            "? [a]\n: b\n",
            vec![
                "1:3 expected a name before the `:` | names are words; a text with `{`, `[` or `*` in front goes in quotes",
            ],
        ),
        (
            "too deep",
            deep.as_str(),
            vec![
                "1:36 lists and mappings are nested more than 32 deep | no part of a policy is that deep: check the brackets and the indentation",
            ],
        ),
        (
            "control character",
            "a: x\0b\n",
            vec![
                "1:5 the character U+0000 cannot stand in a policy | remove it; a control character in a text is written \"\\x1b\" in double quotes",
            ],
        ),
        (
            "turned text",
            "a: 1\nb: \u{202e}x\n",
            vec!["2:4 the invisible character U+202E makes the policy look other than it is | remove it"],
        ),
    ] {
        assert_eq!(complaints(text), expected, "{name}");
    }
}

#[test]
fn syntax_errors_say_what_to_do() {
    for (name, text, expected) in [
        ("tab", "a:\n\tb: 1\n", "2:2 a tab is used for indentation | YAML indents with spaces"),
        (
            "star",
            "a:\n  - *.example.com\n",
            "2:5 a text that begins with `*` must be in quotes: `*.example.com` | write \"*.example.com\"",
        ),
        (
            "open bracket",
            "a: [x, y\n",
            "2:1 a list or mapping in brackets goes wrong here: while parsing a flow sequence, expected ',' or ']' | close every bracket; a text with a bracket or a `,` in it goes in quotes",
        ),
        ("at", "a: @x\n", "1:4 a text cannot begin with this character: `@x` | put the text in quotes"),
        ("open quote", "a: \"x\nb: 1\n", "1:4 the quote that opens here is never closed | -"),
        (
            "colon",
            "a: Bearer: x\n",
            "1:10 a `:` stands where none can | a text with `: ` in it goes in quotes; keys of one mapping begin in the same column",
        ),
        (
            "indentation",
            "a: |\n  foo\n bar\n",
            "3:2 this is not YAML: while parsing a block mapping, did not find expected key | -",
        ),
    ] {
        assert_eq!(complaints(text), [expected], "{name}");
    }
}

#[test]
fn empty_text_is_not_an_empty_policy() {
    for text in ["", "\n\n", "# nothing\n", "---\n", "---\n# nothing\n...\n", "null\n", "~"] {
        assert_eq!(
            complaints(text),
            ["1:1 the policy is empty | a policy that allows nothing is `allowedDomains: []`"],
            "{text:?}"
        );
    }
}

#[test]
fn scalars_follow_the_core_schema() {
    for (text, kind) in [
        ("no", Kind::String),
        ("on", Kind::String),
        ("yes", Kind::String),
        ("true", Kind::Boolean(true)),
        ("False", Kind::Boolean(false)),
        ("tRue", Kind::String),
        ("null", Kind::Null),
        ("~", Kind::Null),
        ("12", Kind::Number),
        ("-1.5e+3", Kind::Number),
        (".5", Kind::Number),
        ("1.", Kind::Number),
        ("0x1F", Kind::Number),
        ("0o17", Kind::Number),
        (".inf", Kind::Number),
        (".NaN", Kind::Number),
        ("1.2.3.4", Kind::String),
        ("0x", Kind::String),
        (".", Kind::String),
        ("1e", Kind::String),
        ("-", Kind::String),
    ] {
        let scalar = |plain| Scalar { text: text.to_owned(), plain };
        assert_eq!(scalar(true).kind(), kind, "{text}");
        assert_eq!(scalar(false).kind(), Kind::String, "quoted {text}");
    }
}
