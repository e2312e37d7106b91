//! The language as a page.

use std::fmt::Write;

use super::super::shape::{Key, Object, Shape};
use super::objects;
use super::words::{self, Rule};

/// The reference page: every mapping of the language with its keys, their types, defaults and meanings.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Reference of the policy language\n\n\
         Every key there is, as this version reads it. [policy.md](policy.md) tells how the parts work together, and\n\
         [policy.schema.json](policy.schema.json) lets an editor complete and check them: name it in the first line,\n\
         `# yaml-language-server: $schema=policy.schema.json`. Keys in **bold** are required. This page is what\n\
         `attache schema --markdown` prints.\n",
    );
    for (object, places) in objects() {
        section(&object, &places, &mut page);
    }
    page
}

fn section(object: &Object, places: &[String], page: &mut String) {
    // Writing to a String does not fail.
    let _ = write!(page, "\n## {}\n", capitalised(object.what));
    let described = words::of(object.what);
    if let Some(described) = described {
        let _ = write!(page, "\n{}", described.means);
    }
    let places: Vec<_> = places.iter().filter(|place| !place.is_empty()).map(|place| format!("`{place}`")).collect();
    if !places.is_empty() {
        let _ = write!(page, " Stands at {}.", places.join(", "));
    }
    for rule in described.map(|described| described.rules).unwrap_or_default() {
        let _ = write!(page, " {}", sentence(rule));
    }
    page.push_str("\n\n| key | value | default | meaning |\n|---|---|---|---|\n");
    for key in &object.keys {
        row(object, key, page);
    }
}

fn row(object: &Object, key: &Key, page: &mut String) {
    let name = if key.required { format!("**`{}`**", key.name) } else { format!("`{}`", key.name) };
    let (default, meaning) = match words::key_of(object.what, key.name) {
        Some(described) => {
            let default = if described.default.is_empty() { String::new() } else { format!("`{}`", described.default) };
            (default, format!("{} Example: `{}`", described.means, described.example))
        }
        None => Default::default(),
    };
    let cells = [name, type_of(&key.value), default, meaning].map(|cell| cell.replace('|', "\\|"));
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}

/// What a value may be, in words.
fn type_of(shape: &Shape) -> String {
    let mut kinds: Vec<String> = shape
        .texts
        .iter()
        .flat_map(|text| match text.words.as_slice() {
            [] => vec![text.what.to_owned()],
            words => words.iter().map(|word| format!("`{word}`")).collect(),
        })
        .collect();
    if shape.boolean {
        kinds.push("`true` or `false`".to_owned());
    }
    match shape.number {
        Some((least, most)) if least == most => kinds.push(format!("`{least}`")),
        Some((least, most)) => kinds.push(format!("a whole number from {least} to {most}")),
        None => {}
    }
    if let Some((least, most)) = shape.decimal {
        kinds.push(format!("a number from {least} to {most}"));
    }
    if let Some(list) = &shape.list {
        let filled = if list.filled { ", at least one" } else { "" };
        kinds.push(format!("list: {}{filled}", type_of(&list.items)));
    }
    if let Some(object) = &shape.object {
        kinds.push(format!("[{}](#{})", object.what, anchor(object.what)));
    }
    if let Some(named) = &shape.named {
        kinds.push(format!("names, each with {}", type_of(named)));
    }
    match kinds.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

fn sentence(rule: &Rule) -> String {
    let list = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match rule {
        Rule::One(names) => format!("It has exactly one of {}.", list(names)),
        Rule::AtMostOne(names) => format!("It has at most one of {}.", list(names)),
        Rule::Some(names) => format!("It has at least one of {}.", list(names)),
        Rule::Needs(name, needed) => format!("`{name}` needs `{needed}`."),
        Rule::Unless { says, .. } => (*says).to_owned(),
    }
}

/// What links call a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || *c == ' ');
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
