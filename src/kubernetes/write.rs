//! From a tree to text: YAML in blocks, as manifests are written, or JSON. What is written is read back as the same.

use std::fmt::Write as _;

use super::tree::{Map, Node, Scalar, is_word};

/// As YAML, with a line break at the end.
pub(super) fn yaml(root: &Node) -> String {
    let mut out = String::new();
    block(root, 0, &mut out);
    out
}

/// As JSON, two spaces a level, with a line break at the end.
pub(super) fn json(root: &Node) -> String {
    let mut out = String::new();
    json_value(root, 0, &mut out);
    out.push('\n');
    out
}

/// Writes a value whose first line is begun already, `indent` columns in.
fn block(node: &Node, indent: usize, out: &mut String) {
    match node {
        Node::Map(map) if !map.is_empty() => fields(map, indent, out),
        Node::List(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                pad(if index == 0 { 0 } else { indent }, out);
                out.push_str("- ");
                block(item, indent + 2, out);
            }
        }
        Node::Map(_) => out.push_str("{}\n"),
        Node::List(_) => out.push_str("[]\n"),
        Node::Scalar(scalar) => {
            value(scalar, indent, out);
            out.push('\n');
        }
    }
}

fn fields(map: &Map, indent: usize, out: &mut String) {
    for (index, (name, value)) in map.iter().enumerate() {
        pad(if index == 0 { 0 } else { indent }, out);
        one_line(name, out);
        out.push(':');
        match value {
            Node::Map(map) if !map.is_empty() => {
                out.push('\n');
                pad(indent + 2, out);
                fields(map, indent + 2, out);
            }
            // Its dashes stand under the name, which is how manifests are written.
            Node::List(items) if !items.is_empty() => {
                out.push('\n');
                pad(indent, out);
                block(value, indent, out);
            }
            _ => {
                out.push(' ');
                block(value, indent + 2, out);
            }
        }
    }
}

fn value(scalar: &Scalar, indent: usize, out: &mut String) {
    let text = &scalar.text;
    if !scalar.quoted || !is_literal(text) {
        return one_line(scalar, out);
    }
    let body = text.trim_end_matches('\n');
    out.push_str(match text.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    let lines = if text.ends_with('\n') { text.strip_suffix('\n').unwrap_or(text) } else { text };
    for line in lines.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(indent, out);
            out.push_str(line);
        }
    }
}

/// Whether a text can stand in lines of its own (`|`) beyond any doubt of where it begins and ends.
fn is_literal(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\t', '\n'])
        && text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
        && text.split('\n').all(|line| line.is_empty() || !line.trim().is_empty())
}

fn one_line(scalar: &Scalar, out: &mut String) {
    match (scalar.quoted, &*scalar.text) {
        (false, text) => out.push_str(text),
        (true, text) if is_word(text) => out.push_str(text),
        (true, text) => quoted(text, out),
    }
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        // Formatting into a text cannot fail.
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\n' => write!(out, "\\n"),
            '\t' => write!(out, "\\t"),
            '\r' => write!(out, "\\r"),
            c if is_printable(c) => write!(out, "{c}"),
            c if u32::from(c) > 0xffff => write!(out, "\\U{:08x}", u32::from(c)),
            c => write!(out, "\\u{:04x}", u32::from(c)),
        };
    }
    out.push('"');
}

/// Printable in both versions of YAML, and visible.
fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn pad(columns: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', columns));
}

fn json_value(node: &Node, indent: usize, out: &mut String) {
    match node {
        Node::Scalar(scalar) if scalar.quoted => json_text(&scalar.text, out),
        Node::Scalar(scalar) => out.push_str(&scalar.text),
        Node::List(items) if items.is_empty() => out.push_str("[]"),
        Node::Map(map) if map.is_empty() => out.push_str("{}"),
        Node::List(items) => {
            json_lines('[', ']', items.iter(), indent, out, |item, out| json_value(item, indent + 2, out));
        }
        Node::Map(map) => json_lines('{', '}', map.iter(), indent, out, |(name, value), out| {
            json_text(&name.text, out);
            out.push_str(": ");
            json_value(value, indent + 2, out);
        }),
    }
}

fn json_lines<T>(
    open: char,
    close: char,
    items: impl Iterator<Item = T>,
    indent: usize,
    out: &mut String,
    write: impl Fn(T, &mut String),
) {
    out.push(open);
    for (index, item) in items.enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        pad(indent + 2, out);
        write(item, out);
    }
    out.push('\n');
    pad(indent, out);
    out.push(close);
}

fn json_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}
