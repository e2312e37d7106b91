//! The policy language for editors and readers: a JSON Schema, and a reference page.
//!
//! Which keys there are, and what each takes, is asked of the decoder ([`super::shape`]); `words` adds what a
//! decoder does not know: what a key means, its default, an example, and which keys exclude each other.

mod json_schema;
mod markdown;
mod words;

pub use json_schema::{cases_schema, json_schema};
pub use markdown::markdown;

use std::iter;

use super::schema::Policy;
use super::shape::{Object, Shape};

/// The mappings of the language, the policy itself first, each once and with the places it may stand at.
fn objects() -> Vec<(Object, Vec<String>)> {
    objects_in(&Shape::of(Policy::decode))
}

fn objects_in(shape: &Shape) -> Vec<(Object, Vec<String>)> {
    let mut found = Vec::new();
    gather(shape, String::new(), &mut found);
    found
}

fn gather(shape: &Shape, path: String, found: &mut Vec<(Object, Vec<String>)>) {
    if let Some(list) = &shape.list {
        gather(&list.items, format!("{path}[]"), found);
    }
    if let Some(value) = &shape.named {
        gather(value, format!("{path}.NAME"), found);
    }
    let Some(object) = &shape.object else { return };
    match found.iter_mut().find(|(known, _)| known.what == object.what) {
        // Once is enough for a reader: what stands in it stands in it wherever it is.
        Some((_, places)) => return places.push(path),
        None => found.push((object.clone(), vec![path.clone()])),
    }
    for key in &object.keys {
        let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        gather(&key.value, path, found);
    }
}

/// `an allow entry` as `allowEntry`, the name of its definition.
fn definition(what: &str) -> String {
    let mut name = String::new();
    for word in what.split(' ').filter(|word| !matches!(*word, "a" | "an" | "the")) {
        let mut letters = word.chars().filter(char::is_ascii_alphanumeric);
        match letters.next() {
            Some(first) if !name.is_empty() => name.extend(first.to_uppercase().chain(letters)),
            Some(first) => name.extend(iter::once(first).chain(letters)),
            None => {}
        }
    }
    name
}

#[cfg(test)]
mod tests;
