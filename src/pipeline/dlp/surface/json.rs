//! JSON by its outline: where its keys and scalars stand and what leads to them. It decides nothing, so a text that is
//! no JSON is walked as far as it looks like some.

use std::fmt::Write;
use std::ops::Range;

use memchr::memchr2;

use super::is_name;

/// How deep containers are followed.
const DEPTH: usize = 256;

/// A key or scalar.
#[derive(Debug)]
pub struct Leaf<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its bytes, without the quotes of a string.
    pub range: Range<usize>,
    /// What leads to it.
    pub path: Path<'a>,
}

/// What a leaf is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The name of a member.
    Key,
    /// A string.
    String,
    /// A number, `true`, `false` or `null`.
    Bare,
}

/// What leads to a leaf.
#[derive(Debug)]
pub struct Path<'a> {
    text: &'a [u8],
    frames: &'a [Frame],
}

#[derive(Debug, Clone)]
enum Frame {
    Array(usize),
    /// The key that was read last.
    Object(Range<usize>),
}

/// Calls `visit` with each leaf in order, until it returns false.
pub fn walk(text: &[u8], mut visit: impl FnMut(&Leaf<'_>) -> bool) {
    let mut frames: Vec<Frame> = Vec::new();
    let mut at = 0;
    let mut value_is_key = false;
    while let Some(byte) = text.get(at) {
        match byte {
            b'{' | b'[' => {
                if frames.len() == DEPTH {
                    return;
                }
                value_is_key = *byte == b'{';
                frames.push(if value_is_key { Frame::Object(0..0) } else { Frame::Array(0) });
                at += 1;
            }
            b'}' | b']' => {
                frames.pop();
                value_is_key = false;
                at += 1;
            }
            b',' => {
                match frames.last_mut() {
                    Some(Frame::Array(index)) => *index += 1,
                    Some(Frame::Object(_)) => value_is_key = true,
                    None => {}
                }
                at += 1;
            }
            b':' => {
                value_is_key = false;
                at += 1;
            }
            b'"' => {
                let start = at + 1;
                let end = string_end(text, start);
                if let (true, Some(Frame::Object(key))) = (value_is_key, frames.last_mut()) {
                    *key = start..end;
                }
                let kind = if value_is_key { Kind::Key } else { Kind::String };
                if !visit(&Leaf { kind, range: start..end, path: Path { text, frames: &frames } }) {
                    return;
                }
                at = end + 1;
            }
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            _ => {
                let rest = text.get(at..).unwrap_or_default();
                let ends = |b: &u8| matches!(b, b',' | b'}' | b']' | b':' | b'"' | b' ' | b'\t' | b'\r' | b'\n');
                let length = rest.iter().position(ends).unwrap_or(rest.len()).max(1);
                let leaf = Leaf { kind: Kind::Bare, range: at..at + length, path: Path { text, frames: &frames } };
                if !visit(&leaf) {
                    return;
                }
                at += length;
            }
        }
    }
}

/// What leads to the leaf in which a byte stands, as JSONPath (RFC 9535) writes it.
pub fn place(text: &[u8], at: usize) -> Option<Box<str>> {
    let mut found = None;
    walk(text, |leaf| {
        if leaf.range.start > at {
            return false;
        }
        if at < leaf.range.end {
            found = Some(match leaf.kind {
                // What was found may be the key.
                Kind::Key => format!("{}[?]", leaf.path.parent()).into(),
                Kind::String | Kind::Bare => leaf.path.to_string().into(),
            });
        }
        found.is_none()
    });
    found
}

/// Where a string's closing quote stands; the text's end where it has none.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        match memchr2(b'"', b'\\', rest) {
            None => return text.len(),
            Some(found) if rest.get(found) == Some(&b'"') => return at + found,
            Some(found) => at = (at + found + 2).min(text.len()),
        }
    }
}

impl Path<'_> {
    fn parent(&self) -> Self {
        Self { text: self.text, frames: self.frames.split_last().map_or(&[], |(_, frames)| frames) }
    }
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('$')?;
        for frame in self.frames {
            match frame {
                Frame::Array(index) => write!(f, "[{index}]")?,
                Frame::Object(key) => {
                    let key = self.text.get(key.clone()).unwrap_or_default();
                    match std::str::from_utf8(key) {
                        // It is the agent's text, and goes on record: it may be the secret itself.
                        Ok(name) if is_name(key) && !name.contains(['.', '[', ']']) => write!(f, ".{name}")?,
                        _ => f.write_str("[?]")?,
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_come_in_order_with_what_leads_to_them() {
        let text = br#" {"a": [1, {"b": "x\"y"}, "z"], "odd key": null, "c": {}} "#;
        let mut found = Vec::new();
        walk(text, |leaf| {
            found.push((
                leaf.kind,
                String::from_utf8_lossy(&text[leaf.range.clone()]).into_owned(),
                leaf.path.to_string(),
            ));
            true
        });
        let expected = [
            (Kind::Key, "a", "$.a"),
            (Kind::Bare, "1", "$.a[0]"),
            (Kind::Key, "b", "$.a[1].b"),
            (Kind::String, r#"x\"y"#, "$.a[1].b"),
            (Kind::String, "z", "$.a[2]"),
            (Kind::Key, "odd key", "$[?]"),
            (Kind::Bare, "null", "$[?]"),
            (Kind::Key, "c", "$.c"),
        ];
        let expected: Vec<_> = expected.iter().map(|(k, t, p)| (*k, (*t).to_owned(), (*p).to_owned())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_byte_has_a_place() {
        let text = br#"{"messages":[{"role":"user"},{"content":"a secret"}]}"#;
        let at = text.windows(6).position(|w| w == b"secret").unwrap();
        assert_eq!(place(text, at).as_deref(), Some("$.messages[1].content"));
        assert_eq!(place(text, 0), None);
    }

    #[test]
    fn what_is_no_json_is_walked_and_left() {
        for text in ["", "{", "\"", "]]]]", "{\"a", "{\"a\":\"\\", "a:b,c", "[[[[[[1", "\\"] {
            let mut count = 0;
            walk(text.as_bytes(), |_| {
                count += 1;
                count < 100
            });
            assert!(count < 10, "{text}");
        }
        walk("[".repeat(100_000).as_bytes(), |_| true);
    }
}
