use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn paths(written: &[&str]) -> Vec<FieldPath> {
    written.iter().map(|path| FieldPath::parse(path).unwrap()).collect()
}

fn include(written: &[&str]) -> Arc<Filter> {
    Arc::new(Filter::include(paths(written)))
}

fn exclude(written: &[&str]) -> Arc<Filter> {
    Arc::new(Filter::exclude(paths(written)))
}

fn filtered(filters: &[Arc<Filter>], form: Form, pieces: &[&[u8]]) -> Result<Vec<u8>, BadBody> {
    let mut projection = Projection::new(filters.iter().cloned(), form);
    let mut out = Vec::new();
    for piece in pieces {
        projection.push(piece, &mut out)?;
    }
    projection.finish(&mut out)?;
    Ok(out)
}

/// What passes, checked to be the same however the body is cut in two and byte by byte.
fn passes(filter: &Arc<Filter>, form: Form, body: &str) -> Result<String, BadBody> {
    let filters = std::slice::from_ref(filter);
    let body = body.as_bytes();
    let whole = filtered(filters, form, &[body]);
    assert_eq!(filtered(filters, form, &body.chunks(1).collect::<Vec<_>>()), whole);
    for cut in 0..=body.len() {
        assert_eq!(filtered(filters, form, &[&body[..cut], &body[cut..]]), whole, "cut at {cut}");
    }
    whole.map(|out| String::from_utf8(out).unwrap())
}

#[test]
fn included_is_what_a_path_names_and_the_way_to_it() {
    for (paths, body, expected) in [
        (&["id", "name"][..], r#"{"id": 1, "name": "A", "ssn": "x"}"#, r#"{"id": 1, "name": "A"}"#),
        (&["name"], r#"{"id": 1, "name": "A", "ssn": "x"}"#, r#"{ "name": "A"}"#),
        (&["a.b"], r#"{"a":{"b":{"c":[1,2]},"d":0},"e":{}}"#, r#"{"a":{"b":{"c":[1,2]}}}"#),
        (&["a.b"], r#"{"a":{"c":1}}"#, r#"{"a":{}}"#),
        (&["a.b"], r#"{"a":1,"x":[]}"#, "{}"),
        (&["a.b"], r#"{"a":null}"#, "{}"),
        (&["[].id"], r#"[{"id":1,"x":2},{"x":3},4,[{"id":5}]]"#, r#"[{"id":1},{},[{"id":5}]]"#),
        (&["[].id"], r#"{"id":1}"#, "{}"),
        (&["items[].id"], r#"{"items":[{"id":1,"x":2},{"id":3}],"n":2}"#, r#"{"items":[{"id":1},{"id":3}]}"#),
        (&["a[][].b"], r#"{"a":[[{"b":1,"c":2}],{"b":3}]}"#, r#"{"a":[[{"b":1}],{}]}"#),
        (&["items[]"], r#"{"items":[1,{"a":2}],"n":2}"#, r#"{"items":[1,{"a":2}]}"#),
        (&["items[]"], r#"{"items":1}"#, "{}"),
        (&["*.id"], r#"{"a":{"id":1,"x":2},"b":{"id":3},"c":4}"#, r#"{"a":{"id":1},"b":{"id":3}}"#),
        (&["\"a.b\".c"], r#"{"a.b":{"c":1},"a":{"b":{"c":2}}}"#, r#"{"a.b":{"c":1}}"#),
        // Through arrays without `[]`.
        (&["id"], r#"[{"id":1,"x":2},{"id":3}]"#, r#"[{"id":1},{"id":3}]"#),
        (&["a.b"], r#"{"a":[{"b":1,"c":2},[{"b":3,"c":4}],5]}"#, r#"{"a":[{"b":1},[{"b":3}]]}"#),
        // A path and one that goes further.
        (&["a", "a.b"], r#"{"a":{"b":1,"c":2}}"#, r#"{"a":{"b":1,"c":2}}"#),
        (&["*.b", "a.c"], r#"{"a":{"b":1,"c":2,"d":3},"e":{"b":4,"c":5}}"#, r#"{"a":{"b":1,"c":2},"e":{"b":4}}"#),
        // The top.
        (&["id"], "\"secret\"", "null"),
        (&["id"], " 17 ", " null "),
        (&["id"], "{}", "{}"),
        (&["id"], "[1,[2],\"x\"]", "[[]]"),
        (&["[]"], "[1,2]", "[1,2]"),
    ] {
        assert_eq!(passes(&include(paths), Form::Json, body).as_deref(), Ok(expected), "{paths:?} of {body}");
    }
}

#[test]
fn excluded_is_what_a_path_names() {
    for (paths, body, expected) in [
        (&["ssn"][..], r#"{"id": 1, "ssn": "x", "name": "A"}"#, r#"{"id": 1, "name": "A"}"#),
        (&["id"], "{\n  \"id\": 1,\n  \"name\": \"A\"\n}", "{\n  \"name\": \"A\"\n}"),
        (&["name"], "{\n  \"id\": 1 ,\n  \"name\": \"A\"\n}", "{\n  \"id\": 1\n}"),
        (&["customer.ssn"], r#"{"customer":{"ssn":{"a":[1,"}"]},"n":2}}"#, r#"{"customer":{"n":2}}"#),
        (&["customer.ssn"], r#"{"customer":[{"ssn":1},{"ssn":2,"n":3}]}"#, r#"{"customer":[{},{"n":3}]}"#),
        (&["customer.ssn"], r#"{"customer":"none"}"#, r#"{"customer":"none"}"#),
        (&["[].card.number"], r#"[{"card":{"number":1,"x":2}},3]"#, r#"[{"card":{"x":2}},3]"#),
        (&["[].card.number"], r#"{"card":{"number":1}}"#, r#"{"card":{"number":1}}"#),
        (&["ssn"], r#"[{"ssn":1},{"ssn":2,"n":3}]"#, r#"[{},{"n":3}]"#),
        (&["a[]"], r#"{"a":[1,{"b":2}]}"#, r#"{"a":[]}"#),
        (&["*.ssn"], r#"{"a":{"ssn":1},"ssn":2}"#, r#"{"a":{},"ssn":2}"#),
        (&["*"], r#"{"a":1,"b":[2]}"#, "{}"),
        (&["a"], "\"a\"", "\"a\""),
        // Each of two with the same key, and however it is written.
        (&["ssn"], r#"{"ssn":1,"n":2,"ssn":3}"#, r#"{"n":2}"#),
        (&["ssn"], r#"{"s\u0073n":1,"SSN":2,"s":{"ssn":3}}"#, r#"{"SSN":2,"s":{"ssn":3}}"#),
        (&["\"\u{1f600}\""], r#"{"\ud83d\uDE00":1,"😀":2,"n":3}"#, r#"{"n":3}"#),
    ] {
        assert_eq!(passes(&exclude(paths), Form::Json, body).as_deref(), Ok(expected), "{paths:?} of {body}");
    }
}

#[test]
fn what_passes_is_as_it_was() {
    let body = " {\t\"b\" : [ 1.50e+03 , -0, 12345678901234567890123 ,{ } ],\r\n \"a\\u0062\":\"\\u00e9é\\/😀\\ud800\" , \"a\":{ \"x\" :[ ] } } \n";
    assert_eq!(passes(&exclude(&["zzz", "a.zzz", "b[].zzz"]), Form::Json, body).as_deref(), Ok(body));
    assert_eq!(passes(&include(&["*"]), Form::Json, body).as_deref(), Ok(body));
    let marked = format!("\u{feff}{body}");
    assert_eq!(passes(&exclude(&["zzz"]), Form::Json, &marked).as_deref(), Ok(&*marked));
}

#[test]
fn several_filters_all_apply() {
    let body = br#"{"id":1,"name":"A","ssn":"x","b":{"id":2,"ssn":3}}"#;
    let of = |filters: &[Arc<Filter>]| String::from_utf8(filtered(filters, Form::Json, &[body]).unwrap()).unwrap();
    assert_eq!(of(&[include(&["id", "ssn", "b"]), exclude(&["ssn"])]), r#"{"id":1,"b":{"id":2,"ssn":3}}"#);
    assert_eq!(of(&[include(&["id", "b"]), include(&["b.id", "name"]), exclude(&["x"])]), r#"{"b":{"id":2}}"#);
    assert_eq!(of(&[]), String::from_utf8_lossy(body));
    let filters = [include(&["a"]), exclude(&["b"])];
    assert_eq!(filtered(&filters, Form::Lines, &[b"1\n{\"a\":1}\n2"]).unwrap(), b"null\n{\"a\":1}\nnull");
}

#[test]
fn nothing_but_json_passes() {
    for body in [
        "<html>",
        "{",
        "[1",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{a:1}",
        "{'a':1}",
        "{\"a\" 1}",
        "{\"a\":1,}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\":1]",
        "[1}",
        "{,}",
        "{\"a\":}",
        "{\"a\":1 \"b\":2}",
        "[1]]",
        "{}{}",
        "1 2",
        "01",
        "-",
        "-a",
        "1.",
        ".5",
        "+1",
        "1e",
        "1e+",
        "0x1",
        "1.e1",
        "NaN",
        "Infinity",
        "tru",
        "truex",
        "nul",
        "True",
        "\"a",
        "\"a\nb\"",
        "\"a\tb\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u123\"",
        "\"\\u+123\"",
        "// c\n1",
        "/* c */1",
        "1 // c",
        ")]}'\n{}",
        "\u{a0}1",
        "1\u{feff}",
        "{1:2}",
        "[\"a\":1]",
        "{\"a\":1}garbage",
        "\0",
        "[1\0]",
        "\"\u{0}\"",
    ] {
        for filter in [include(&["a"]), exclude(&["a"]), include(&["*"]), exclude(&["x.y"])] {
            assert!(passes(&filter, Form::Json, body).is_err(), "{body}");
            let below = format!("{{\"kept\":{body}");
            assert!(passes(&filter, Form::Json, &below).is_err(), "{below}");
        }
        assert!(serde_json::from_str::<Value>(body).is_err(), "{body}");
    }
    for bytes in [&b"\"\xff\""[..], b"{\"\xc3\":1}", b"\"\xc3\"", b"\xef\xbb{}", b"\xef\xbb", b"\xff\xfe{\0}\0"] {
        for filter in [include(&["a"]), exclude(&["a"])] {
            let filters = std::slice::from_ref(&filter);
            assert!(filtered(filters, Form::Json, &[bytes]).is_err(), "{bytes:?}");
            assert!(filtered(filters, Form::Json, &bytes.chunks(1).collect::<Vec<_>>()).is_err(), "{bytes:?}");
        }
    }
    assert_eq!(passes(&exclude(&["a"]), Form::Json, r#"{"a\ud800":1}"#), Err(BadBody::HalfCharacter));
}

#[test]
fn an_empty_body_has_nothing_in_it() {
    for form in [Form::Json, Form::Lines, Form::Events] {
        assert_eq!(passes(&include(&["a"]), form, "").as_deref(), Ok(""));
    }
    assert_eq!(passes(&include(&["a"]), Form::Json, " \n").as_deref(), Ok(" \n"));
}

#[test]
fn what_is_kept_of_a_body_is_bounded() {
    let filter = exclude(&["a"]);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for filter in [&filter, &include(&["*"])] {
        let filters = std::slice::from_ref(filter);
        assert!(filtered(filters, Form::Json, &[nested(512).as_bytes()]).is_ok());
        assert_eq!(filtered(filters, Form::Json, &[nested(513).as_bytes()]), Err(BadBody::TooDeep));
    }
    let filters = std::slice::from_ref(&filter);
    let key = |length: usize| format!("{{\"{}\":1}}", "k".repeat(length));
    assert!(filtered(filters, Form::Json, &[key(64 * 1024 - 1).as_bytes()]).is_ok());
    assert_eq!(filtered(filters, Form::Json, &[key(64 * 1024).as_bytes()]), Err(BadBody::KeyTooLong));
    let whole = format!("{{\"b\":{}}}", key(1 << 20));
    assert_eq!(filtered(filters, Form::Json, &[whole.as_bytes()]).unwrap(), whole.as_bytes());
    let blanks = format!("{{\"b\":1{},\"c\":2}}", " ".repeat(100_000));
    assert_eq!(filtered(filters, Form::Json, &[blanks.as_bytes()]).unwrap().len(), 14 - 1 + 1024);
    let event = format!("data: 1\nid: {}\n\n", "i".repeat(100_000));
    assert_eq!(filtered(filters, Form::Events, &[event.as_bytes()]), Err(BadBody::EventTooLong));
}

#[test]
fn after_a_mistake_nothing_passes() {
    for (form, body) in [(Form::Json, "{]"), (Form::Lines, "{\n"), (Form::Events, "nothing: of it\n")] {
        let mut projection = Projection::new([include(&["a"])], form);
        let mut out = Vec::new();
        let error = projection.push(body.as_bytes(), &mut out).unwrap_err();
        out.clear();
        assert_eq!(projection.push(b"\n\ndata: {}\n\n", &mut out), Err(error));
        assert_eq!((projection.finish(&mut out), out.len()), (Err(error), 0));
    }
}

#[test]
fn lines_are_filtered_one_by_one() {
    let filter = exclude(&["ssn"]);
    let body = "\u{feff}{\"id\":1,\"ssn\":2}\r\n\n  \n[{\"ssn\":3}]\n\"x\"\n{\"id\":4}";
    let expected = "\u{feff}{\"id\":1}\r\n\n  \n[{}]\n\"x\"\n{\"id\":4}";
    assert_eq!(passes(&filter, Form::Lines, body).as_deref(), Ok(expected));
    for bad in ["{}{}\n", "{\n}\n", "{}\nx\n", "[1,\n2]\n", "{}\n{"] {
        assert!(passes(&filter, Form::Lines, bad).is_err(), "{bad}");
    }
}

#[test]
fn a_line_leaves_before_the_next_has_come() {
    let mut projection = Projection::new([include(&["id"])], Form::Lines);
    let mut out = Vec::new();
    projection.push(b"{\"id\":1,\"x\":2}\n", &mut out).unwrap();
    assert_eq!(out, b"{\"id\":1}\n");
}

#[test]
fn events_are_filtered_one_by_one() {
    let filter = exclude(&["ssn"]);
    for (body, expected) in [
        ("data: {\"id\":1,\"ssn\":2}\n\n", "data: {\"id\":1}\n\n"),
        ("data:{\"ssn\":2}\r\n\r\ndata:3\r\rdata: 4\n\n", "data: {}\n\ndata: 3\n\ndata: 4\n\n"),
        (": hello\nevent: a\nid: 7\nretry: 10\ndata: {}\n\n", ": hello\nevent: a\nid: 7\nretry: 10\ndata: {}\n\n"),
        (":\n\n\nid\n\n", ":\n\n\nid\n\n"),
        ("data: {\"a\":1,\ndata:  \"ssn\":2,\ndata: \"b\":3}\n\n", "data: {\"a\":1,\ndata: \"b\":3}\n\n"),
        ("data: {\"a\":\nevent: x\ndata: 1}\n: c\n\n", "data: {\"a\":\ndata: 1}\nevent: x\n: c\n\n"),
        ("data: [DONE]\n\n", "data: [DONE]\n\n"),
        ("data:[DONE]", "data: [DONE]\n"),
        ("data: []\n\n", "data: []\n\n"),
        ("data\n\ndata:\n\ndata: \n\n", "data: \n\ndata: \n\ndata: \n\n"),
        ("\u{feff}data: 1\n\n", "\u{feff}data: 1\n\n"),
        ("data: {\"a\":1}", "data: {\"a\":1}\n"),
        ("data: 1\nid: 5\n\n", "data: 1\nid: 5\n\n"),
        ("id: 5", "id: 5"),
    ] {
        assert_eq!(passes(&filter, Form::Events, body).as_deref(), Ok(expected), "{body:?}");
    }
    for (body, error) in [
        ("data: hello\n\n", BadBody::NotJson),
        ("data: [DONE] \n\n", BadBody::NotJson),
        ("data: [DON\n\n", BadBody::NotJson),
        ("data: [DONE]\ndata: 1\n\n", BadBody::NotJson),
        ("data: {\n\n", BadBody::Unfinished),
        ("data: {", BadBody::Unfinished),
        ("data: \"a\ndata: b\"\n\n", BadBody::NotJson),
        ("data: 1\ndata: 2\n\n", BadBody::NotJson),
        ("{\"ssn\": 1}", BadBody::NotEvents),
        ("{\"a\":1}\n\n", BadBody::NotEvents),
        ("Data: 1\n\n", BadBody::NotEvents),
        (" data: 1\n\n", BadBody::NotEvents),
        ("foo\n", BadBody::NotEvents),
        ("dat", BadBody::Unfinished),
        ("data: [\n\ndata", BadBody::Unfinished),
    ] {
        for filter in [&filter, &include(&["a"])] {
            assert_eq!(passes(filter, Form::Events, body), Err(error), "{body:?}");
        }
    }
}

#[test]
fn an_event_leaves_with_its_blank_line() {
    let mut projection = Projection::new([include(&["id"])], Form::Events);
    for (bytes, expected) in [
        (&b"data: {\"id\":1,\"x\":2}\r\n\r"[..], "data: {\"id\":1}\n\n"),
        (b"\nid: 7\nda", "id: 7\n"),
        (b"ta: {\"x\":1}\nid: 8\n\n", "data: {}\nid: 8\n\n"),
        (b": still there\n\n", ": still there\n\n"),
    ] {
        let mut out = Vec::new();
        projection.push(bytes, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn the_content_type_tells_the_form() {
    for (written, form) in [
        ("application/json", Some(Form::Json)),
        ("Application/JSON ; charset=utf-8", Some(Form::Json)),
        ("text/json", Some(Form::Json)),
        ("application/vnd.github.v3+json; charset=utf-8", Some(Form::Json)),
        ("application/problem+json", Some(Form::Json)),
        ("application/x-ndjson", Some(Form::Lines)),
        ("application/ndjson", Some(Form::Lines)),
        ("application/jsonl", Some(Form::Lines)),
        ("application/x-jsonlines", Some(Form::Lines)),
        ("application/stream+json", Some(Form::Lines)),
        ("text/x-ndjson", Some(Form::Lines)),
        ("text/event-stream;charset=UTF-8", Some(Form::Events)),
        ("text/html", None),
        ("text/plain", None),
        ("application/javascript", None),
        ("application/json-seq", None),
        ("application/jsonp", None),
        ("+json", None),
        ("/+json", None),
        ("json", None),
        ("", None),
        ("application/json, text/html", None),
    ] {
        assert_eq!(Form::of(written.as_bytes()), form, "{written}");
    }
    assert_eq!(Form::of(b"application/\xff+json"), None);
}

/// A step to a value: the name of a key, or none for an element.
type Way<'v> = Vec<Option<&'v str>>;

#[derive(PartialEq)]
enum Fit {
    Named,
    Leads,
    Misses,
}

/// The meaning of a path, by its text.
fn fit(path: &[&str], way: &[Option<&str>]) -> Fit {
    match (path.split_first(), way.split_first()) {
        (None, _) => Fit::Named,
        (_, None) => Fit::Leads,
        (Some((&"[]", path)), Some((None, way))) => fit(path, way),
        (Some((&"[]", _)), Some((Some(_), _))) => Fit::Misses,
        (Some(_), Some((None, way))) => fit(path, way),
        (Some((name, path)), Some((Some(key), way))) if *name == "*" || name == key => fit(path, way),
        _ => Fit::Misses,
    }
}

/// What ought to pass; `None`: nothing.
fn expected<'v>(value: &'v Value, paths: &[Vec<&str>], includes: bool, way: &mut Way<'v>) -> Option<Value> {
    let fits: Vec<_> = paths.iter().map(|path| fit(path, way)).collect();
    if fits.contains(&Fit::Named) {
        return includes.then(|| value.clone());
    }
    if !fits.contains(&Fit::Leads) {
        return (!includes).then(|| value.clone());
    }
    match value {
        Value::Object(entries) => {
            let mut passed = Map::new();
            for (key, value) in entries {
                way.push(Some(key));
                if let Some(value) = expected(value, paths, includes, way) {
                    passed.insert(key.clone(), value);
                }
                way.pop();
            }
            Some(Value::Object(passed))
        }
        Value::Array(elements) => {
            let mut passed = Vec::new();
            for value in elements {
                way.push(None);
                passed.extend(expected(value, paths, includes, way));
                way.pop();
            }
            Some(Value::Array(passed))
        }
        scalar => (!includes).then(|| scalar.clone()),
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        (-1000..1000_i32).prop_map(|n| json!(f64::from(n) / 8.0)),
        "[a-z\"\\\\ é日\u{1f600}\n]{0,6}".prop_map(Value::String),
    ];
    scalar.prop_recursive(5, 40, 4, |inner| {
        let key = prop_oneof![4 => "[abc]", 1 => "[\"\\\\\u{e9}]{0,2}"];
        prop_oneof![
            prop::collection::vec((key, inner.clone()), 0..5).prop_map(|all| Value::Object(all.into_iter().collect())),
            prop::collection::vec(inner, 0..4).prop_map(Value::Array),
        ]
    })
}

fn any_path() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "*", "[]"]), 1..4)
}

fn written(path: &[&str]) -> FieldPath {
    let mut text = String::new();
    for step in path {
        if *step != "[]" && !text.is_empty() {
            text.push('.');
        }
        text.push_str(step);
    }
    FieldPath::parse(&text).unwrap()
}

/// The same value, with blanks and escapes where `dice` says.
fn spelled(value: &Value, dice: &mut impl Iterator<Item = u8>, out: &mut String) {
    let mut blank = |out: &mut String| out.push_str(["", "", " ", "\n\t"][usize::from(dice.next().unwrap() % 4)]);
    blank(out);
    match value {
        Value::Object(entries) => {
            out.push('{');
            for (at, (key, value)) in entries.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                spelled(&Value::String(key.clone()), dice, out);
                out.push(':');
                spelled(value, dice, out);
            }
            out.push_str("\n}");
        }
        Value::Array(elements) => {
            out.push('[');
            for (at, value) in elements.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                spelled(value, dice, out);
            }
            out.push(']');
        }
        Value::String(text) if dice.next().unwrap().is_multiple_of(2) => {
            out.push('"');
            text.encode_utf16().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            out.push('"');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
    out.push_str(["", " ", "\r\n", ""][usize::from(dice.next().unwrap() % 4)]);
}

proptest! {
    #[test]
    fn it_is_what_a_reader_of_the_whole_would_take_out(
        value in any_value(),
        paths in prop::collection::vec(any_path(), 1..4),
        includes in any::<bool>(),
        dice in prop::collection::vec(any::<u8>(), 1..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let compiled = paths.iter().map(|path| written(path));
        let filter = Arc::new(if includes { Filter::include(compiled) } else { Filter::exclude(compiled) });
        let mut body = String::new();
        spelled(&value, &mut dice.iter().copied().cycle(), &mut body);
        let whole = filtered(std::slice::from_ref(&filter), Form::Json, &[body.as_bytes()]).unwrap();
        let read: Value = serde_json::from_slice(&whole).unwrap();
        let wanted = expected(&value, &paths, includes, &mut Vec::new()).unwrap_or(Value::Null);
        prop_assert_eq!(&read, &wanted, "{}", body);
        if wanted == value {
            prop_assert_eq!(String::from_utf8(whole.clone()).unwrap(), body.clone());
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).chain([0, body.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|pair| &body.as_bytes()[pair[0]..pair[1]]).collect();
        prop_assert_eq!(filtered(std::slice::from_ref(&filter), Form::Json, &pieces).unwrap(), whole.clone());

        let again = filtered(std::slice::from_ref(&filter), Form::Json, &[&whole]).unwrap();
        prop_assert_eq!(again, whole, "what has passed passes");
    }

    #[test]
    fn it_reads_what_others_read_and_nothing_else(body in "[\\[\\]{},:\"\\\\a0-9eE.+ntrulfs -]{0,12}") {
        let reads = serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok() || body.trim().is_empty();
        for filter in [include(&["a.b"]), exclude(&["a.b"]), include(&["*"]), exclude(&["*"])] {
            prop_assert_eq!(filtered(&[filter], Form::Json, &[body.as_bytes()]).is_ok(), reads, "{}", body);
        }
    }
}
