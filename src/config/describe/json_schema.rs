//! The language as a JSON Schema, draft 2020-12.

use serde_json::{Map, Value, json};

use super::super::cases;
use super::super::error::{Problems, Sources};
use super::super::shape::{Key, Object, Shape, Text};
use super::super::yaml::{self, Kind, Node};
use super::words::{self, Rule};
use super::{definition, objects, objects_in};

/// The schema of a policy. It accepts every policy that attaché reads; what only attaché can tell (whether a pattern
/// can match, whether a name is known) it leaves to `attache check`.
pub fn json_schema() -> Value {
    let mut definitions = Map::new();
    let mut root = Map::new();
    for (index, (object, _)) in objects().iter().enumerate() {
        match index {
            0 => root = mapping(object),
            _ => _ = definitions.insert(definition(object.what), Value::Object(mapping(object))),
        }
    }
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".to_owned(), json!("Policy of attaché"));
    root.insert("$defs".to_owned(), Value::Object(definitions));
    Value::Object(root)
}

/// The schema of a file of cases, in the same sense.
pub fn cases_schema() -> Value {
    let shape = Shape::of(cases::decode);
    let definitions = objects_in(&shape).into_iter();
    let definitions = definitions.map(|(object, _)| (definition(object.what), Value::Object(mapping(&object))));
    let mut root = value(&shape);
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".to_owned(), json!("Cases for a policy of attaché"));
    root.insert("$defs".to_owned(), Value::Object(definitions.collect()));
    let mut schema = Value::Object(root);
    name_requests(&mut schema);
    schema
}

/// A case of one line has a request for its name, and only one.
fn name_requests(schema: &mut Value) {
    let is_case = |choice: &Value| matches!(choice["$ref"].as_str(), Some("#/$defs/case" | "#/$defs/step"));
    match schema {
        Value::Object(entries) => {
            if let Some(Value::Array(choices)) = entries.get_mut("anyOf")
                && choices.iter().any(is_case)
            {
                for choice in choices.iter_mut().filter_map(Value::as_object_mut) {
                    if choice.contains_key("propertyNames") {
                        choice.insert("propertyNames".to_owned(), json!({"pattern": words::REQUEST_LINE}));
                        choice.insert("minProperties".to_owned(), json!(1));
                        choice.insert("maxProperties".to_owned(), json!(1));
                    }
                }
            }
            entries.values_mut().for_each(name_requests);
        }
        Value::Array(items) => items.iter_mut().for_each(name_requests),
        _ => {}
    }
}

fn mapping(object: &Object) -> Map<String, Value> {
    let described = words::of(object.what);
    let properties = object.keys.iter().map(|key| (key.name.to_owned(), Value::Object(property(object, key))));
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("properties".to_owned(), Value::Object(properties.collect()));
    schema.insert("additionalProperties".to_owned(), json!(false));
    let required: Vec<_> = object.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    let Some(described) = described else { return schema };
    schema.insert("description".to_owned(), json!(described.means));
    let rules: Vec<Value> = described.rules.iter().map(rule).collect();
    if !rules.is_empty() {
        schema.insert("allOf".to_owned(), json!(rules));
    }
    schema
}

fn rule(rule: &Rule) -> Value {
    let has = |names: &[&str]| json!({"required": names});
    let each = |names: &[&str]| names.iter().map(|name| has(&[name])).collect::<Vec<_>>();
    match rule {
        Rule::One(names) => json!({"oneOf": each(names)}),
        Rule::AtMostOne(names) => {
            let pairs = names.iter().enumerate().flat_map(|(index, one)| {
                names.iter().skip(index + 1).map(move |other| json!({"required": [one, other]}))
            });
            json!({"not": {"anyOf": pairs.collect::<Vec<_>>()}})
        }
        Rule::Some(names) => json!({"anyOf": each(names)}),
        Rule::Needs(name, needed) => json!({"if": has(&[name]), "then": has(&[needed])}),
        Rule::Unless { absent, then, .. } => json!({"if": {"not": has(&[absent])}, "then": json_of(then)}),
    }
}

fn property(object: &Object, key: &Key) -> Map<String, Value> {
    let mut schema = value(&key.value);
    let Some(described) = words::key_of(object.what, key.name) else { return schema };
    schema.insert("description".to_owned(), json!(described.means));
    schema.insert("examples".to_owned(), json!([json_of(described.example)]));
    if !described.default.is_empty() {
        schema.insert("default".to_owned(), json_of(described.default));
    }
    if let Value::Object(also) = json_of(described.also) {
        schema.extend(also);
    }
    schema
}

/// What a value may be, as one schema or as a choice among several.
fn value(shape: &Shape) -> Map<String, Value> {
    let words: Vec<_> = shape.texts.iter().flat_map(|text| &text.words).collect();
    let mut choices = Vec::new();
    if !words.is_empty() {
        choices.push(json!({"enum": words}));
    }
    choices.extend(shape.texts.iter().filter(|text| text.words.is_empty()).map(text));
    if shape.boolean {
        choices.push(json!({"type": "boolean"}));
    }
    match shape.number {
        Some((least, most)) if least == most => choices.push(json!({"const": least})),
        Some((least, most)) => choices.push(json!({"type": "integer", "minimum": least, "maximum": most})),
        None => {}
    }
    if let Some((least, most)) = shape.decimal {
        choices.push(json!({"type": "number", "minimum": least, "maximum": most}));
    }
    if let Some(list) = &shape.list {
        let mut schema = json!({"type": "array", "items": value(&list.items)});
        if let (true, Some(schema)) = (list.filled, schema.as_object_mut()) {
            schema.insert("minItems".to_owned(), json!(1));
        }
        choices.push(schema);
    }
    if let Some(object) = &shape.object {
        choices.push(json!({"$ref": format!("#/$defs/{}", definition(object.what))}));
    }
    if let Some(named) = &shape.named {
        let names = json!({"pattern": words::NAME});
        choices.push(json!({"type": "object", "propertyNames": names, "additionalProperties": value(named)}));
    }
    let alone = (choices.len() == 1).then(|| choices.pop()).flatten();
    match alone {
        Some(Value::Object(schema)) => schema,
        _ => Map::from_iter([("anyOf".to_owned(), Value::Array(choices))]),
    }
}

fn text(text: &Text) -> Value {
    match words::pattern(text.what) {
        Some(pattern) => json!({"type": "string", "pattern": pattern}),
        None => json!({"type": "string", "minLength": 1}),
    }
}

/// YAML of ours as JSON. Nothing where it is none.
pub(super) fn json_of(yaml: &str) -> Value {
    let mut sources = Sources::default();
    let file = sources.add("example", yaml);
    yaml::parse(file, &mut Problems::new(sources)).map_or(Value::Null, |node| json_node(&node))
}

fn json_node(node: &Node) -> Value {
    match &node.value {
        yaml::Value::Scalar(scalar) => match scalar.kind() {
            Kind::String => json!(scalar.text),
            Kind::Boolean(value) => json!(value),
            Kind::Number => serde_json::from_str(&scalar.text).unwrap_or(Value::Null),
            Kind::Null => Value::Null,
        },
        yaml::Value::Sequence(items) => items.iter().map(json_node).collect(),
        yaml::Value::Mapping(entries) => {
            Value::Object(entries.iter().map(|(key, node)| (key.text.clone(), json_node(node))).collect())
        }
        yaml::Value::Refused => Value::Null,
    }
}
