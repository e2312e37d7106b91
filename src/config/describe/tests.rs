//! Schema, words and decoder say the same.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::decode::enumerate;
use super::super::error::{Problems, Sources};
use super::super::yaml;
use super::json_schema::json_of;
use super::*;
use crate::pipeline::credential::Format;
use crate::pipeline::policy::matcher::{HostPattern, Methods};
use crate::pipeline::policy::path::PathPattern;

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

/// A mapping of the language at one of its places, in a policy that is read.
struct Place {
    object: Object,
    policy: Value,
    pointer: String,
}

impl Place {
    /// The policy with `value` in the mapping's place.
    fn with(&self, value: Value) -> Value {
        let mut policy = self.policy.clone();
        *policy.pointer_mut(&self.pointer).unwrap() = value;
        policy
    }
}

/// Every mapping of the language at every place it may stand at.
fn places() -> Vec<Place> {
    fn walk(shape: &Shape, at: Place, found: &mut Vec<Place>) {
        if let Some(list) = &shape.list {
            let (policy, pointer) = (at.with(json!([null])), format!("{}/0", at.pointer));
            walk(&list.items, Place { object: at.object.clone(), policy, pointer }, found);
        }
        if let Some(value) = &shape.named {
            let (policy, pointer) = (at.with(json!({"sample": null})), format!("{}/sample", at.pointer));
            walk(value, Place { object: at.object.clone(), policy, pointer }, found);
        }
        let Some(object) = &shape.object else { return };
        let here = Place { object: object.clone(), ..at };
        for key in &object.keys {
            // What bounds others may not have every key of what it bounds.
            let Some(document) = sound(&here, Some(key.name)) else { continue };
            let policy = here.with(document);
            let pointer = format!("{}/{}", here.pointer, key.name);
            walk(&key.value, Place { object: object.clone(), policy, pointer }, found);
        }
        found.push(here);
    }
    let mut found = Vec::new();
    let nothing = Object { what: "", keys: Vec::new() };
    let start = Place { object: nothing, policy: Value::Null, pointer: String::new() };
    walk(&Shape::of(Policy::decode), start, &mut found);
    found
}

/// A mapping of as few examples as the decoder reads in this place, `key` among them.
fn sound(place: &Place, key: Option<&'static str>) -> Option<Value> {
    let mut candidates = subsets(&place.object).into_iter().map(|mut names| {
        names.extend(key);
        document(&place.object, &names)
    });
    candidates.find(|document| refusals(&place.with(document.clone())).is_empty())
}

fn examples(object: &Object) -> Vec<(&'static str, Value)> {
    object.keys.iter().map(|key| (key.name, json_of(words::key_of(object.what, key.name).unwrap().example))).collect()
}

fn document(object: &Object, names: &BTreeSet<&str>) -> Value {
    Value::Object(
        examples(object).into_iter().filter(|(name, _)| names.contains(name)).map(|(k, v)| (k.to_owned(), v)).collect(),
    )
}

/// The sets of at most three keys beside the required ones (two where there are many), small ones first.
fn subsets(object: &Object) -> Vec<BTreeSet<&'static str>> {
    let required: BTreeSet<_> = object.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let most = if object.keys.len() > 8 { 2 } else { 3 };
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
    let cases = objects_in(&Shape::of(super::super::cases::decode));
    let decoded: Vec<_> = objects().iter().chain(&cases).map(|(object, _)| (object.what, names(object))).collect();
    let mut described: Vec<_> = words::TABLE
        .iter()
        .chain([&words::CASES])
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
    for what in words::TABLE.iter().chain([&words::CASES]).flat_map(|part| part.iter()) {
        let texts = what.keys.iter().map(|key| key.means).chain([what.means]);
        for text in texts {
            assert!(
                text.ends_with('.') && text.starts_with(|first: char| first.is_uppercase() || first == '`'),
                "no sentence: {text}"
            );
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
    let validator = validator();
    for place in places() {
        let object = &place.object;
        let known = enumerate(&object.keys.iter().map(|key| key.name).collect::<Vec<_>>());
        let mut document = sound(&place, None).unwrap();
        document["zzzzzzzzzzzzzzzzzzzzzzzz"] = json!(1);
        let policy = place.with(document);
        let expected = format!(
            "unknown key `zzzzzzzzzzzzzzzzzzzzzzzz` in {what} | the keys of {what} are {known}",
            what = object.what
        );
        assert_eq!(refusals(&policy), [expected]);
        assert!(!validator.is_valid(&policy), "{policy}");
    }
}

#[test]
fn decoder_and_schema_agree_on_which_keys_go_together() {
    let validator = validator();
    for place in places() {
        let sets = subsets(&place.object);
        let without = |names: &BTreeSet<&'static str>| {
            let sets = names.iter().map(|name| names.iter().filter(|other| *other != name).copied().collect());
            sets.collect::<Vec<BTreeSet<_>>>()
        };
        let all: BTreeSet<_> = sets.iter().flat_map(without).chain(sets.iter().cloned()).collect();
        for names in all {
            let policy = place.with(document(&place.object, &names));
            let (refusals, valid) = (refusals(&policy), validator.is_valid(&policy));
            assert_eq!(refusals.is_empty(), valid, "{policy}\n{refusals:?}");
        }
    }
}

/// An editor must not underline what attaché reads.
#[test]
fn decoder_and_schema_agree_on_kinds() {
    let validator = validator();
    let kinds = [json!("zz"), json!(7), json!(true), json!([]), json!({}), json!([[]]), json!([{}]), Value::Null];
    let mut refused_by_both = 0;
    let (mut keys, mut read) = (BTreeSet::new(), BTreeSet::new());
    for place in places() {
        for key in &place.object.keys {
            keys.insert((place.object.what, key.name));
            let Some(sound) = sound(&place, Some(key.name)) else { continue };
            read.insert((place.object.what, key.name));
            // Of texts the compiler says the rest; see `what_is_read_fits_the_pattern_of_its_kind`.
            for kind in kinds.iter().filter(|kind| !kind.is_string() || key.value.texts.is_empty()) {
                let mut document = sound.clone();
                document[key.name] = kind.clone();
                let policy = place.with(document);
                let (refusals, valid) = (refusals(&policy), validator.is_valid(&policy));
                assert!(valid || !refusals.is_empty(), "the schema refuses what is read: {policy}");
                assert!(!valid || refusals.is_empty(), "only the decoder refuses {policy}: {refusals:?}");
                refused_by_both += usize::from(!valid);
            }
        }
    }
    assert!(refused_by_both > 50, "{refused_by_both}");
    assert_eq!(keys.difference(&read).collect::<Vec<_>>(), [&("", ""); 0], "their examples are read nowhere");
}

/// An editor must not underline a case that is read, and ought to underline one that is not.
#[test]
fn decoder_and_schema_of_cases_agree() {
    let validator = jsonschema::draft202012::new(&cases_schema()).unwrap();
    let reads = |text: &str| {
        let mut sources = Sources::default();
        let file = sources.add("cases.yaml", text);
        let mut problems = Problems::new(sources);
        let read = yaml::parse(file, &mut problems).and_then(|node| super::super::cases::decode(&node, &mut problems));
        read.is_some() && !problems.has_errors()
    };
    for (text, good) in [
        ("[GET https://a.example/: allow]", true),
        ("[GET https://a.example/: {status: 403}]", true),
        (
            "[{request: GET https://a.example/, expect: {reason: rule_blocked, would: nothing}, repeat: 2, after: 1h}]",
            true,
        ),
        (
            "[{name: a, agent: b, request: {method: GET, url: \"https://a.example/\", headers: {X-A: b}, body: c, source: \"::1\", at: 2026-01-01T00:00:00Z, approved: true}, expect: {credentials: [a], would: {rule: r}}}]",
            true,
        ),
        (
            "{agent: a, cases: [{steps: [GET https://a.example/: pending, {request: GET https://a.example/, expect: deny}]}]}",
            true,
        ),
        ("[]", false),
        ("{}", false),
        ("[GET https://a.example/]", false),
        ("[GET https://a.example/: permit]", false),
        ("[{GET https://a.example/: allow, GET https://b.example/: allow}]", false),
        ("[{request: GET https://a.example/}]", false),
        ("[{expect: allow}]", false),
        ("[{name: a}]", false),
        ("[{request: GET https://a.example/, expect: {}}]", false),
        ("[{request: GET https://a.example/, expect: {status: 200}}]", false),
        ("[{request: GET https://a.example/, expect: allow, steps: [GET https://a.example/: allow]}]", false),
        ("[{steps: []}]", false),
        ("[{steps: [{expect: allow}]}]", false),
        ("[{request: {url: \"https://a.example/\"}, expect: allow}]", false),
        ("[{request: GET https://a.example/, expect: allow, repeat: 0}]", false),
        ("[{request: GET https://a.example/, expect: allow, twice: true}]", false),
    ] {
        let value = json_of(text);
        assert_eq!((reads(text), validator.is_valid(&value)), (good, good), "{text}");
    }
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
        text in prop_oneof![
            "[ -~]{0,12}",
            "[A-Za-z0-9*:./{}]{0,12}",
            "(http://)?(\\*\\.)?[a-zé]{1,3}(\\.[a-z]{1,3}){0,2}(:[0-9]{1,4})?",
            "/.{0,8}",
        ]
    ) {
        type Reader = (&'static str, fn(&str) -> bool);
        let readers: [Reader; 6] = [
            ("a domain", |text| HostPattern::parse(text).is_ok()),
            ("a path", |text| PathPattern::parse(text).is_ok()),
            ("a method", |text| Methods::parse([text]).is_ok()),
            ("a format with `{value}` in it", |text| Format::parse(text).is_ok()),
            ("an address range", |text| text.parse::<IpNet>().is_ok() || text.parse::<IpAddr>().is_ok()),
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

/// Forges make a heading's anchor of its letters in lower case, `-` for blanks, and nothing of punctuation.
#[test]
fn every_link_of_the_page_leads_to_a_heading() {
    let page = markdown();
    let anchors: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| heading.to_lowercase().replace(' ', "-").replace('\'', ""))
        .collect();
    let links: BTreeSet<String> =
        page.split("](#").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned()).collect();
    assert!(links.len() > 10 && links.is_subset(&anchors), "{:?}", links.difference(&anchors));
}

#[test]
fn definitions_have_names_of_one_word() {
    for (what, name) in [
        ("an allow entry", "allowEntry"),
        ("a webhook's secret", "webhooksSecret"),
        ("the rate limit of a rule", "rateLimitOfRule"),
    ] {
        assert_eq!(definition(what), name);
    }
}
