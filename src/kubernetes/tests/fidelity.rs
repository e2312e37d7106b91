//! What a manifest says outlives being read and written, however it is said.

use proptest::prelude::*;

use super::*;
use crate::kubernetes::read::read;
use crate::kubernetes::tree::{Map, Node, Scalar};

/// A Deployment that has every way of saying things in it, and what it says.
const NASTY: &str = r#"# The way that somebody's templates come out.
--- # comment
apiVersion: "apps/v1"
kind: 'Deployment'
metadata:
    name: "nasty"   # indented by four
    annotations: {a: "yes", "b": 'no', c: "0660", d: '1e3', e: "", f: '', g: " padded ", h: "true", i: "null", j: "~"}
    labels: &labels
        app: nasty
        on: "off"
spec:
    replicas: 3
    revisionHistoryLimit: 9007199254740993
    selector: {matchLabels: *labels}
    progressDeadlineSeconds:
    template:
        metadata:
            labels:
                <<: *labels
                tier: "1.10"
        spec:
            terminationGracePeriodSeconds: 0x1e
            containers:
            -   name: agent
                image: "i@sha256:0123"
                securityContext: {runAsUser: 10001}
                args:
                - "- not a list"
                - "a: not a mapping"
                - '# not a comment'
                - "&no *anchor"
                - '!no tag'
                - "it's \"quoted\" \\ \t \u00e9 \U0001F600 \x07"
                - plain over
                  two lines
                - 1_000
                - 0o17
                - 012
                - .inf
                - 2001-01-01
                - 12:30:45
                - "12:30:45"
                - >-
                  folded
                  text

                  and more
                - |
                  #!/bin/sh
                  if true; then
                      echo "two  spaces"   
                  fi
                - |2+
                    begins further in

                - |-
                  no end
                - ""
                -
                - ~
                - []
                - {}
                - [a, [b, c], {d: e}]
"#;

#[test]
fn a_mark_of_another_reader_is_none_where_no_brackets_are() {
    let text = "a:\n- &b\n  c: ?no\n  :d: :8080\n- [\"?e\", {'f': ':g'}, h?i:j]\n- :k\n";
    let documents = read(text).unwrap();
    let root = format!("{:?}", documents[0].root);
    for word in ["?no", ":d", ":8080", "?e", ":g", "h?i:j", ":k"] {
        assert!(root.contains(&format!("{word:?}")), "{word}: {root}");
    }
}

#[test]
fn every_way_of_saying_things_survives() {
    let once = injected(&options(), NASTY);
    let (before, after) = (tree(NASTY), tree(&once));
    let args = |root: &Node| {
        let container = root.as_map().unwrap().map_at(&["spec", "template", "spec"]).unwrap();
        container.maps("containers").next().unwrap().get("args").unwrap().clone()
    };
    assert_eq!(args(&after), args(&before));
    let object = after.as_map().unwrap();
    for field in ["metadata", "spec"] {
        let without_pod = |root: &Node| {
            let mut map = root.as_map().unwrap().map_at(&[field]).unwrap().clone();
            map.set("template", Node::text("-"));
            map
        };
        assert_eq!(without_pod(&after), without_pod(&before));
    }
    let keys: Vec<_> = object.iter().map(|(name, _)| name.text.as_str()).collect();
    assert_eq!(keys, ["apiVersion", "kind", "metadata", "spec"]);
    let labels = object.map_at(&["spec", "template", "metadata", "labels"]).unwrap();
    assert_eq!(labels.text("app"), Some("nasty"));
    assert_eq!(labels.text("tier"), Some("1.10"));
    assert!(once.contains("0x1e\n") && once.contains("9007199254740993\n") && once.contains("\"0660\""), "{once}");
    assert!(once.contains("- 012\n") && once.contains("on: \"off\"") && once.contains("- 1_000\n"), "{once}");
    assert_eq!(injected(&options(), &once), once);
    // Another reader sees the same, but for what the two read differently by themselves.
    let (mut theirs, mut ours) = (documents(NASTY).remove(0), documents(&once).remove(0));
    for document in [&mut theirs, &mut ours] {
        document["spec"]["template"] = document["spec"]["template"]["spec"]["containers"][0]["args"].take();
    }
    assert_eq!(ours, theirs);
}

#[test]
fn a_last_line_without_a_break_gets_none() {
    for (style, expected) in [("|", "two"), ("|+", "two"), (">", "two"), ("|-", "two")] {
        let pod = "apiVersion: v1\nkind: Pod\nspec: {securityContext: {runAsUser: 10001}, containers: [{name: a, image: i}]}\nmetadata:\n  name: p\n  annotations:\n";
        let of = |end: &str| {
            let after = injected(&options(), &format!("{pod}    note: {style}\n      two{end}"));
            let read: serde_yaml::Value = serde_yaml::from_str(&after).unwrap();
            read["metadata"]["annotations"]["note"].as_str().unwrap().to_owned()
        };
        assert_eq!(of(""), expected, "{style}");
        assert_eq!(of("\n").trim_end(), expected, "{style}");
        assert_eq!(of("\n").ends_with('\n'), style != "|-", "{style}");
        // What comes behind it is no part of it, and its own line breaks stay.
        assert_eq!(of("\n# a comment"), of("\n"), "{style}");
        assert_eq!(of("\n\n      three").matches('\n').count(), if style == ">" { 1 } else { 2 }, "{style}");
    }
}

#[test]
fn a_document_without_pods_leaves_as_it_came() {
    let config = "apiVersion: v1\nkind: ConfigMap   # odd, but so it is\nmetadata: {name: c,\n   labels: {a: &x b, c: *x}}\n\
                  data:\n    \"script\": |+\n        one\n\n          two\n\n\n";
    for text in [
        config.to_owned(),
        format!("---\n{config}"),
        format!("# before\n\n---\n{config}---\n{config}# behind\n"),
        config.replace('\n', "\r\n"),
        config.trim_end().to_owned(),
    ] {
        assert_eq!(injected(&options(), &text), text);
    }
    let secret = "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"s\"},\"data\":{\"a\":\"\\ud83d\\ude00\\/\"},\"n\":1.10}";
    assert_eq!(injected(&options(), secret).trim_end(), secret);
}

#[test]
fn documents_stay_apart_and_in_order() {
    let (one, two) = ("apiVersion: v1\nkind: A\n", "apiVersion: v1\nkind: B\n");
    let json = "{\"apiVersion\": \"v1\", \"kind\": \"C\"}\n";
    for (inputs, expected) in [
        (vec![one, two], format!("{one}---\n{two}")),
        (vec![one.trim_end(), "---\napiVersion: v1\nkind: B\n"], format!("{one}---\n{two}")),
        (vec![json, json], format!("{json}{json}")),
        (vec![json, one], format!("{json}---\n{one}")),
        (vec!["apiVersion: v1\nkind: A\n...\napiVersion: v1\nkind: B\n"], format!("{one}---\n{two}")),
        (
            vec!["{\"apiVersion\": \"v1\", \"kind\": \"C\"} {\"apiVersion\": \"v1\", \"kind\": \"C\"}"],
            format!("{json}{json}"),
        ),
        (vec!["\u{feff}apiVersion: v1\nkind: A\n"], one.to_owned()),
    ] {
        let inputs: Vec<_> = inputs.into_iter().map(|text| Input { name: "in", text }).collect();
        assert_eq!(inject(&options(), &inputs).unwrap().text, expected);
    }
}

#[test]
fn json_stays_json() {
    let text = r#"{"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "annotations": {"e": "😀\u001b"}},
        "spec": {"priority": 12345678901234567890, "containers": [{"name": "agent", "image": "i", "tty": false,
        "securityContext": {"runAsUser": 7}, "resources": {}, "args": [1.10, 1e400, null]}]}}"#;
    let once = injected(&options(), text);
    let value: Value = serde_json::from_str(&once.replace("1e400", "0")).unwrap();
    assert_eq!(value["spec"]["initContainers"], only(&injected(&options(), &pod("", "")))["spec"]["initContainers"]);
    assert_eq!(value["metadata"]["annotations"]["e"], "😀\u{1b}");
    assert!(once.contains("12345678901234567890") && once.contains("1.10") && once.contains("1e400"), "{once}");
    assert_eq!(injected(&options(), &once), once);
}

#[test]
fn a_config_map_holds_its_files_as_they_are() {
    let files = [("a.yaml", "b: 1\n# c\n"), ("odd", " begins with a space\n"), ("empty", "")];
    let text = config_map(Some("n"), "c", &files.into());
    let object = only(&text);
    assert_eq!(object["metadata"], json!({"name": "c", "namespace": "n"}));
    assert_eq!(object["data"], json!(std::collections::BTreeMap::from(files)));
}

fn tree(text: &str) -> Node {
    let documents = read(text).unwrap_or_else(|wrong| panic!("{text}\n{wrong:?}"));
    documents.into_iter().find_map(|document| document.root).unwrap()
}

/// Texts that YAML could take for something else, and any others.
fn texts() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "",
        " ",
        "yes",
        "No",
        "~",
        "null",
        "0660",
        "1e3",
        "0x1F",
        "-",
        "- a",
        "a: b",
        "a #b",
        "#",
        "&a",
        "*a",
        "!a",
        "%a",
        "@",
        "`",
        "|",
        ">",
        "{",
        "[",
        "]",
        ",",
        "?",
        "? a",
        ":",
        "a:",
        "---",
        "...",
        "--- a",
        "<<",
        "=",
        "\t",
        "\ta",
        "a\n",
        "a\n\n",
        "\na",
        "a\n\n\nb",
        " a\nb",
        "a\n b\n",
        "a \nb",
        "a\n \nb",
        "a\n\tb",
        "\n",
        "\u{85}",
        "a\u{2028}b\n",
        "\u{feff}",
        "\u{7f}\n",
        "é\n日本\n",
        "\r\n",
        "a\rb\n",
        "\"",
        "'",
        "\\",
        "\u{1}",
        "12:30",
        "2001-01-01",
        ".inf",
        ".5",
        "+1",
        "y",
        "on",
    ])
    .prop_map(str::to_owned);
    prop_oneof![
        words,
        "[ -~\n]{0,40}",
        "\\PC{0,20}",
        prop::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter)
    ]
}

fn nodes() -> impl Strategy<Value = Node> {
    let plain = prop::sample::select(vec![
        "1", "0", "-7", "0x1e", "012", "1_000", "1e3", ".inf", "true", "no", "~", "null", "a b", "12:30:45",
    ]);
    let leaf = prop_oneof![texts().prop_map(Node::text), plain.prop_map(Node::plain)];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Node::List),
            prop::collection::vec((texts(), inner), 0..6).prop_map(|fields| Node::Map(map(fields))),
        ]
    })
}

fn map(fields: Vec<(String, Node)>) -> Map {
    fields.into_iter().map(|(name, value)| (Scalar::from(&*name), value)).collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_as_the_same(fields in prop::collection::vec((texts(), nodes()), 1..5)) {
        let root = Node::Map(map(fields));
        let text = write::yaml(&root);
        prop_assert_eq!(tree(&text), root.clone(), "{}", text);
        // And by a reader that is not ours, as far as it has the same idea of what is plain.
        let theirs: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        prop_assert!(same(&root, &theirs), "{}\n{:?}", text, theirs);
    }

    #[test]
    fn no_text_makes_it_fail_otherwise_than_by_a_refusal(text in "[-{}\\[\\]:,#&*!|>'\"%@` \\n\\ta-c0-9.~<?]{0,60}", json in any::<bool>()) {
        let text = if json { format!("{{{text}") } else { text };
        if let Ok(result) = run(&options(), &text) {
            prop_assert_eq!(injected(&options(), &result.text), result.text);
        }
    }
}

proptest! {
    // Each reads a pod with all of its sidecars several times.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    #[test]
    fn a_pod_keeps_what_the_user_says_in_it(note in nodes(), text in texts(), again in any::<bool>()) {
        let mut root = tree(&pod("", ""));
        let object = root.as_map_mut().unwrap();
        let metadata = object.map_or_new("metadata").unwrap();
        metadata.map_or_new("annotations").unwrap().set("x", Node::text(text.clone()));
        metadata.set("note", note);
        let written = write::yaml(&root);
        let mut once = injected(&options(), &written);
        if again {
            once = injected(&proxied(), &once);
        }
        let after = tree(&once);
        let metadata = |root: &Node, field: &str| root.as_map().unwrap().map_at(&["metadata"]).unwrap().get(field).cloned();
        prop_assert_eq!(metadata(&after, "note"), metadata(&tree(&written), "note"));
        let options = if again { proxied() } else { options() };
        prop_assert_eq!(injected(&options, &once), once);
    }
}

/// Whether another reader's value is what was written: texts are texts, and shapes are shapes.
fn same(node: &Node, value: &serde_yaml::Value) -> bool {
    match (node, value) {
        (Node::Scalar(scalar), serde_yaml::Value::String(text)) => scalar.text == *text,
        (Node::Scalar(scalar), value) => !scalar.quoted && !value.is_mapping() && !value.is_sequence(),
        (Node::List(items), serde_yaml::Value::Sequence(values)) => {
            items.len() == values.len() && items.iter().zip(values).all(|(item, value)| same(item, value))
        }
        (Node::Map(map), serde_yaml::Value::Mapping(fields)) => {
            map.iter().count() == fields.len()
                && map
                    .iter()
                    .zip(fields)
                    .all(|((name, node), (key, value))| key.as_str() == Some(&name.text) && same(node, value))
        }
        _ => false,
    }
}
