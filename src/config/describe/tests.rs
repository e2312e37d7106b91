//! Schema, words and decoder say the same.

use std::collections::BTreeSet;

use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::decode::enumerate;
use super::super::error::{Problems, Sources};
use super::super::yaml;
use super::json_schema::json_of;
use super::*;
use crate::pipeline::credential::Format;
use crate::pipeline::policy::matcher::{HostPattern, Methods, PathPattern};

fn validator() -> Validator {
    jsonschema::draft202012::new(&json_schema()).unwrap()
}

/// What the decoder has against a policy, one message for each error.
fn refusals(policy: &Value) -> Vec<String> {
    let mut sources = Sources::default();
    let file = sources.add("policy.json", policy.to_string());
    let mut problems = Problems::new(sources);
    let node = yaml::parse(file, &mut problems).unwrap();
    Policy::decode(&node, &mut problems);
    let errors = problems.iter().filter(|problem| problem.severity == super::super::Severity::Error);
    errors.map(|problem| format!("{} | {}", problem.message, problem.fix.as_deref().unwrap_or_default())).collect()
}

/// The way to a mapping: the mappings it stands in with the keys that lead on, and how the value of each holds it.
type Way = Vec<(Object, &'static str, Held)>;

#[derive(Clone, Copy, PartialEq)]
enum Held {
    Itself,
    InList,
    ByName,
}

/// One way to each mapping of the language.
fn ways() -> Vec<(Object, Way)> {
    fn walk(shape: &Shape, way: &Way, held: Held, found: &mut Vec<(Object, Way)>) {
        if let Some(list) = &shape.list {
            walk(&list.items, way, Held::InList, found);
        }
        if let Some(value) = &shape.named {
            walk(value, way, Held::ByName, found);
        }
        let Some(object) = &shape.object else { return };
        if found.iter().any(|(known, _)| known.what == object.what) {
            return;
        }
        let mut here = way.clone();
        if let Some(last) = here.last_mut() {
            last.2 = held;
        }
        found.push((object.clone(), here.clone()));
        for key in &object.keys {
            here.push((object.clone(), key.name, Held::Itself));
            walk(&key.value, &here, Held::Itself, found);
            here.pop();
        }
    }
    let mut found = Vec::new();
    walk(&Shape::of(Policy::decode), &Vec::new(), Held::Itself, &mut found);
    found
}

/// A policy in which `value` stands at the end of `way`, with what has to stand beside it.
fn policy_with(way: &[(Object, &'static str, Held)], value: Value) -> Value {
    let Some(((object, key, held), outer)) = way.split_last() else { return value };
    let value = match held {
        Held::Itself => value,
        Held::InList => json!([value]),
        Held::ByName => json!({"sample": value}),
    };
    // What is wrong with the value is for its own decoder to say, so only the others' need is looked at.
    let sound = examples(object).into_iter().find(|(name, _)| name == key).unwrap().1;
    for others in subsets(object, 3) {
        let mut mapping = document(object, &others);
        mapping[*key] = sound.clone();
        if refusals(&policy_with(outer, mapping.clone())).is_empty() {
            mapping[*key] = value;
            return policy_with(outer, mapping);
        }
    }
    panic!("the example of `{key}` in {} is read beside no other keys", object.what);
}

fn examples(object: &Object) -> Vec<(&'static str, Value)> {
    object.keys.iter().map(|key| (key.name, json_of(words::key_of(object.what, key.name).unwrap().example))).collect()
}

fn document(object: &Object, names: &BTreeSet<&str>) -> Value {
    Value::Object(
        examples(object).into_iter().filter(|(name, _)| names.contains(name)).map(|(k, v)| (k.to_owned(), v)).collect(),
    )
}

/// The sets of at most `most` keys beside the required ones, small ones first.
fn subsets(object: &Object, most: usize) -> Vec<BTreeSet<&'static str>> {
    let required: BTreeSet<_> = object.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut sets = vec![required];
    let mut from = 0;
    for _ in 0..most {
        let to = sets.len();
        for index in from..to {
            for key in &object.keys {
                let mut set = sets[index].clone();
                if set.insert(key.name) && !sets.contains(&set) {
                    sets.push(set);
                }
            }
        }
        from = to;
    }
    sets
}

#[test]
fn every_key_of_the_decoder_is_described_and_no_other() {
    let names = |object: &Object| object.keys.iter().map(|key| key.name).collect::<Vec<_>>();
    let decoded: Vec<_> = objects().iter().map(|(object, _)| (object.what, names(object))).collect();
    let mut described: Vec<_> = words::TABLE
        .iter()
        .flat_map(|part| part.iter())
        .map(|described| (described.what, described.keys.iter().map(|key| key.name).collect::<Vec<_>>()))
        .collect();
    for (what, keys) in &decoded {
        let Some(at) = described.iter().position(|(known, _)| known == what) else {
            panic!("{what} is not in the table of words: its keys are {keys:?}");
        };
        let (_, mut known) = described.swap_remove(at);
        let mut keys = keys.clone();
        keys.sort_unstable();
        known.sort_unstable();
        assert_eq!(keys, known, "the keys of {what}, as decoded and as described");
    }
    assert!(described.is_empty(), "the decoder knows nothing of {described:?}");
    for what in words::TABLE.iter().flat_map(|part| part.iter()) {
        let texts = what.keys.iter().map(|key| key.means).chain([what.means]);
        for text in texts {
            assert!(text.ends_with('.') && text.starts_with(char::is_uppercase), "no sentence: {text}");
        }
    }
}

#[test]
fn a_mapping_of_one_name_has_the_same_keys_everywhere() {
    fn walk(shape: &Shape, found: &mut Vec<Object>) {
        let inner = shape.list.iter().map(|list| &list.items).chain(&shape.named);
        inner.for_each(|shape| walk(shape, found));
        if let Some(object) = &shape.object {
            found.push(object.clone());
            object.keys.iter().for_each(|key| walk(&key.value, found));
        }
    }
    let mut found = Vec::new();
    walk(&Shape::of(Policy::decode), &mut found);
    for object in &found {
        let first = found.iter().find(|other| other.what == object.what).unwrap();
        assert_eq!(object, first);
    }
    let definitions: BTreeSet<_> = objects().iter().map(|(object, _)| definition(object.what)).collect();
    assert_eq!(definitions.len(), objects().len(), "two mappings share a definition");
}

#[test]
fn the_decoder_is_seen_to_take_something_for_every_key() {
    for (object, _) in objects() {
        for key in &object.keys {
            let seen = json_schema();
            let schema = match definition(object.what) {
                root if root == "policy" => seen["properties"][key.name].clone(),
                name => seen["$defs"][&name]["properties"][key.name].clone(),
            };
            assert_ne!(key.value, Shape::default(), "`{}` of {}: read it with the combinators", key.name, object.what);
            assert_ne!(schema, Value::Null, "`{}` of {} is not in the schema", key.name, object.what);
            let list = key.value.list.as_ref();
            assert!(list.is_none_or(|list| *list.items != Shape::default()), "`{}`: items of no kind", key.name);
        }
    }
}

/// The decoder's own list of its keys, which it shows to who writes another.
#[test]
fn no_key_escapes_the_sketch() {
    for (object, way) in ways() {
        let known = enumerate(&object.keys.iter().map(|key| key.name).collect::<Vec<_>>());
        let sound = subsets(&object, 3)
            .into_iter()
            .map(|names| document(&object, &names))
            .find(|document| refusals(&policy_with(&way, document.clone())).is_empty());
        let mut document = sound.unwrap_or_else(|| panic!("no example of {} is read", object.what));
        document["zzzzzzzzzzzzzzzzzzzzzzzz"] = json!(1);
        let policy = policy_with(&way, document);
        let expected = format!(
            "unknown key `zzzzzzzzzzzzzzzzzzzzzzzz` in {what} | the keys of {what} are {known}",
            what = object.what
        );
        assert_eq!(refusals(&policy), [expected]);
        assert!(!validator().is_valid(&policy), "{policy}");
    }
}

#[test]
fn decoder_and_schema_agree_on_which_keys_go_together() {
    let validator = validator();
    for (object, way) in ways() {
        let mut read = 0;
        for names in subsets(&object, 3) {
            for left_out in [None].into_iter().chain(names.iter().map(Some)) {
                let names: BTreeSet<_> = names.iter().filter(|name| Some(*name) != left_out).copied().collect();
                let policy = policy_with(&way, document(&object, &names));
                let (refusals, valid) = (refusals(&policy), validator.is_valid(&policy));
                assert_eq!(refusals.is_empty(), valid, "{policy}\n{refusals:?}");
                read += usize::from(valid);
            }
        }
        assert!(read > 0, "nothing of {} is read", object.what);
    }
}

/// An editor must not underline what attaché reads.
#[test]
fn decoder_and_schema_agree_on_kinds() {
    let validator = validator();
    let kinds = [json!("zz"), json!(7), json!(true), json!([]), json!({}), json!([[]]), json!([{}]), Value::Null];
    let mut refused_by_both = 0;
    for (object, way) in ways() {
        for key in &object.keys {
            let mut way = way.clone();
            way.push((object.clone(), key.name, Held::Itself));
            // Of texts the compiler says the rest; see `what_is_read_fits_the_pattern_of_its_kind`.
            for kind in kinds.iter().filter(|kind| !kind.is_string() || key.value.texts.is_empty()) {
                let policy = policy_with(&way, kind.clone());
                let (refusals, valid) = (refusals(&policy), validator.is_valid(&policy));
                assert!(valid || !refusals.is_empty(), "the schema refuses what is read: {policy}");
                assert!(
                    !valid || refusals.is_empty() || kind.is_string(),
                    "only the decoder refuses {policy}: {refusals:?}"
                );
                refused_by_both += usize::from(!valid);
            }
        }
    }
    assert!(refused_by_both > 50, "{refused_by_both}");
}

#[test]
fn words_are_words_in_both() {
    fn walk(shape: &Shape, found: &mut Vec<Vec<&'static str>>) {
        found.extend(shape.texts.iter().filter(|text| !text.words.is_empty()).map(|text| text.words.clone()));
        shape.list.iter().map(|list| &list.items).chain(&shape.named).for_each(|shape| walk(shape, found));
        shape.object.iter().flat_map(|object| &object.keys).for_each(|key| walk(&key.value, found));
    }
    let mut found = Vec::new();
    walk(&Shape::of(Policy::decode), &mut found);
    assert!(found.contains(&vec!["allow", "deny", "block"]), "{found:?}");
    assert!(found.contains(&vec!["all"]), "{found:?}");
    let entry = |action: &str| json!({"allowedDomains": [{"pattern": "a.example", "action": action}]});
    for action in ["allow", "deny", "block"] {
        assert!(validator().is_valid(&entry(action)) && refusals(&entry(action)).is_empty());
    }
    assert!(!validator().is_valid(&entry("permit")) && !refusals(&entry("permit")).is_empty());
}

proptest! {
    #[test]
    fn what_is_read_fits_the_pattern_of_its_kind(
        text in prop_oneof!["[ -~]{0,12}", "[A-Za-z0-9*:./{}]{0,12}", "(http://)?(\\*\\.)?[a-zé]{1,3}(\\.[a-z]{1,3}){0,2}(:[0-9]{1,4})?", "/.{0,8}"]
    ) {
        let readers: &[(&str, fn(&str) -> bool)] = &[
            ("a domain", |text| HostPattern::parse(text).is_ok()),
            ("a path", |text| PathPattern::parse(text).is_ok()),
            ("a method", |text| Methods::parse([text]).is_ok()),
            ("a format with `{value}` in it", |text| Format::parse(text).is_ok()),
            ("an address range", |text| text.parse::<ipnet::IpNet>().is_ok() || text.parse::<std::net::IpAddr>().is_ok()),
            ("the name of a header", |text| http::HeaderName::from_bytes(text.as_bytes()).is_ok()),
        ];
        for (kind, reads) in readers {
            if reads(&text) {
                let pattern = regex::Regex::new(words::pattern(kind).unwrap()).unwrap();
                prop_assert!(pattern.is_match(&text), "{} is {}", text, kind);
            }
        }
    }
}

#[test]
fn every_pattern_is_of_a_kind_of_text_there_is() {
    let schema = json_schema().to_string();
    let page = markdown();
    for (kinds, pattern) in words::PATTERNS {
        assert!(schema.contains(&json!(pattern).to_string()), "{pattern} is not in the schema");
        for kind in *kinds {
            assert!(page.contains(kind), "no key takes {kind}");
        }
    }
}

#[test]
fn definitions_have_names_of_one_word() {
    for (what, name) in
        [("an allow entry", "allowEntry"), ("a token", "token"), ("the rate limit of a rule", "rateLimitOfRule")]
    {
        assert_eq!(definition(what), name);
    }
}
