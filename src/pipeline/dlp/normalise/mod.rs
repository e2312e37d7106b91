//! Reads what is written with characters that look like others, or like nothing, as it looks.
//!
//! It is decided for each word: text in another language stays as it is, and words that mix alphabets, or that have
//! what no language writes, are read in ASCII.

mod look;

use super::edits::Edits;
use super::finding::Step;
use super::lanes::{Kinds, Masks, Vector};
use super::view::View;
use look::Look;

/// This view as it looks, where that is something else: only with something that is not ASCII, or a control character,
/// and only what stands near it. What is not UTF-8 stays as it is.
pub fn normalise(view: &View<'_>) -> Option<View<'static>> {
    if view.is_plain() {
        return None;
    }
    let text = &*view.bytes;
    let mut edits = Edits::of(view);
    let mut parts = Vec::new();
    let mut offset = 0;
    if let Ok(text) = std::str::from_utf8(text) {
        words(text, 0, &mut parts, &mut edits);
        return edits.finish().next();
    }
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        // In a binary body there are thousands of these, of two or three bytes each.
        if valid.len() >= SHORTEST || !valid.is_ascii() {
            words(valid, offset, &mut parts, &mut edits);
        }
        offset += valid.len() + chunk.invalid().len();
    }
    edits.finish().next()
}

/// A character of a word: where, how many bytes, and what it looks like.
type Part = (usize, usize, Look);

/// The fewest letters that something is hidden in; binary bodies are full of what would be hidden in fewer.
const LETTERS: usize = 6;

/// The shortest text of ASCII that changes: its letters, and something between them.
const SHORTEST: usize = LETTERS + 1;

/// The most characters that are decided on together.
const WORD: usize = 2 << 10;

/// Replaces in all words of a text that stands at this offset.
fn words(text: &str, offset: usize, parts: &mut Vec<Part>, edits: &mut Edits<'_>) {
    let mut from = 0;
    loop {
        let rest = text.as_bytes().get(from..).unwrap_or_default();
        let Some(strange) = next_strange(rest) else { return };
        let word = rest.get(..strange).unwrap_or_default().iter().rev().take_while(|byte| is_word(char::from(**byte)));
        let start = from + strange - word.count();
        parts.clear();
        let mut end = start;
        let rest = text.get(start..).unwrap_or_default();
        let hidden = rest.chars().next().is_some_and(look::is_tag);
        let goes_on = |c: &char| is_word(*c) && look::is_tag(*c) == hidden;
        for c in rest.chars().take_while(goes_on).take(WORD) {
            parts.push((offset + end, c.len_utf8(), look::of(c)));
            end += c.len_utf8();
        }
        if parts.is_empty() {
            end += space(text, offset, end, edits);
        }
        // What is not shown is no part of the words that are.
        if hidden {
            edits.replace(Step::Unicode, offset + start, offset + start, b" ");
            word_of(parts, edits);
            edits.replace(Step::Unicode, offset + end, offset + end, b" ");
        } else {
            word_of(parts, edits);
        }
        from = end;
    }
}

/// A space that is none of ASCII, between two words; its length.
fn space(text: &str, offset: usize, at: usize, edits: &mut Edits<'_>) -> usize {
    let (before, after) = text.split_at_checked(at).unwrap_or_default();
    let mut after = after.chars();
    let length = after.next().map_or(1, char::len_utf8);
    let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    if is_part(before.chars().next_back()) && is_part(after.next()) {
        edits.replace(Step::Unicode, offset + at, offset + at + length, b" ");
    }
    length
}

/// Replaces in a word what is to be read as something else.
fn word_of(parts: &[Part], edits: &mut Edits<'_>) {
    let reading = Reading::of(parts);
    if !reading.changes(parts) {
        return;
    }
    let mut buffer = [0; 4];
    let mut after_ascii = false;
    for (at, length, look) in parts {
        let end = at + length;
        match look {
            Look::Nothing => edits.replace(Step::Unicode, *at, end, b""),
            Look::Mark if after_ascii => edits.replace(Step::Unicode, *at, end, b""),
            Look::Text(text) => edits.replace(Step::Unicode, *at, end, text.as_bytes()),
            Look::Like(c) | Look::Faintly(c) | Look::Accented(c) if reading.takes(look) => {
                edits.replace(Step::Unicode, *at, end, c.encode_utf8(&mut buffer).as_bytes());
            }
            _ => {}
        }
        match look {
            Look::Nothing | Look::Mark => {}
            Look::Ascii(_) | Look::Text(_) => after_ascii = true,
            other => after_ascii = reading.takes(other),
        }
    }
}

/// How a word is read.
#[derive(Debug, Clone, Copy)]
struct Reading {
    like: bool,
    faintly: bool,
    accented: bool,
}

impl Reading {
    fn of(parts: &[Part]) -> Self {
        /// The fewest letters that all look like others by intent.
        const WORD: usize = 6;
        /// Longer than words are.
        const TOKEN: usize = 16;
        let count = |is: fn(&Look) -> bool| parts.iter().filter(|(_, _, look)| is(look)).count();
        let letters =
            count(|look| matches!(look, Look::Ascii(c) if c.is_ascii_alphanumeric()) || matches!(look, Look::Text(_)));
        let signs = count(|look| match look {
            Look::Ascii(c) => c.is_ascii_digit() || *c == '_',
            Look::Text(text) => text.bytes().any(|byte| byte.is_ascii_digit() || byte == b'_'),
            _ => false,
        });
        let like = count(|look| matches!(look, Look::Like(_)));
        let faint = count(|look| matches!(look, Look::Faintly(_)));
        let other = count(|look| matches!(look, Look::Other));
        let accented = count(|look| matches!(look, Look::Accented(_)));
        let is_token = signs > 0 || letters + like + faint + accented >= TOKEN;
        let mixes = letters > 0 && letters + like + faint >= 3 * other;
        Self {
            like: mixes || other + faint == 0 && (like >= WORD || is_token),
            faintly: mixes && is_token,
            accented: is_token && other == 0,
        }
    }

    fn takes(self, look: &Look) -> bool {
        match look {
            Look::Like(_) => self.like,
            Look::Faintly(_) => self.faintly,
            Look::Accented(_) => self.accented,
            _ => false,
        }
    }

    /// True if a letter or digit of ASCII comes out that was none, or two characters of it come together.
    fn changes(self, parts: &[Part]) -> bool {
        let is_letter = |look: &Look| match look {
            Look::Ascii(_) | Look::Text(_) => true,
            other => self.takes(other),
        };
        let joins = parts.iter().filter(|(_, _, look)| is_letter(look)).count() >= LETTERS;
        let (mut gap, mut after_letter) = (false, false);
        for (_, _, look) in parts {
            match look {
                Look::Nothing | Look::Mark => gap |= after_letter,
                Look::Text(text) if text.bytes().any(|byte| byte.is_ascii_alphanumeric()) => return true,
                other if self.takes(other) => return true,
                other => {
                    if joins && gap && is_letter(other) {
                        return true;
                    }
                    (gap, after_letter) = (false, is_letter(other));
                }
            }
        }
        // A mark on the last letter changes it too.
        joins && gap
    }
}

/// The first byte that is neither printable ASCII nor white space.
pub(super) fn first_strange(text: &[u8]) -> Option<usize> {
    Masks::<Printable, 1>::of(text).find_map(|(at, [printable])| match printable {
        u64::MAX => None,
        printable => Some(at + printable.trailing_ones() as usize),
    })
}

struct Printable;

impl Kinds<1> for Printable {
    #[inline(always)]
    fn of<V: Vector>(bytes: V) -> [V; 1] {
        [bytes.within(b' ', 95).or(bytes.within(b'\t', 2)).or(bytes.is(b'\r'))]
    }
}

/// The same, where it may be near.
fn next_strange(text: &[u8]) -> Option<usize> {
    const NEAR: usize = 16;
    let near = text.iter().take(NEAR).position(|byte| is_strange(*byte));
    near.or_else(|| first_strange(text.get(NEAR..)?).map(|far| NEAR + far))
}

fn is_strange(byte: u8) -> bool {
    (byte >= 0x7f) | (byte < b' ') & (byte != b'\t') & (byte != b'\n') & (byte != b'\r')
}

/// What tokens are written with, and what is hidden in them.
fn is_word(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' => false,
        '\0'..='\x7f' => c.is_ascii_alphanumeric() || c.is_ascii_control() || "_-+/=.~:@".contains(c),
        c => !c.is_whitespace() || c == '\u{85}',
    }
}

#[cfg(test)]
mod tests;
