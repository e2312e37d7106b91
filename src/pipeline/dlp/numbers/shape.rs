//! Which kinds of number have which shape: a lookup for each window of a text.

use std::sync::LazyLock;

use super::super::finding::Confidence;
use super::table::{NumberRule, RULES};

/// A kind of number that has a shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    key: u128,
    /// The rule's place in the table.
    pub(super) index: usize,
    /// How sure it is without its name.
    pub(super) alone: Option<Confidence>,
}

impl Entry {
    pub(super) fn rule(&self) -> &'static NumberRule {
        RULES.get(self.index).unwrap_or(&super::table::IBAN)
    }
}

/// Three bits for each character, so that forty-two have one key.
const LONGEST: usize = 42;
const SHORTEST: usize = 6;

/// Tells each window from this place on that has the shape of a number: where it ends, and which it may be.
pub(super) fn each(text: &[u8], start: usize, found: &mut dyn FnMut(usize, &[Entry])) {
    let table = &*TABLE;
    let mut key = 0u128;
    let mut bytes = text.get(start..).unwrap_or_default().iter().take(LONGEST).enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        let class = class(*byte);
        if class == 0 {
            return;
        }
        key = key << 3 | class;
        let ends = bytes.peek().is_none_or(|(_, next)| !next.is_ascii_alphanumeric());
        if !ends || at + 1 < SHORTEST || class > LETTER {
            continue;
        }
        // A bracket that was opened before the last word is closed after it.
        let closed = text.get(start..start + at + 1).is_some_and(|window| window.contains(&b'('))
            && text.get(start + at + 1) == Some(&b')');
        if let Some(entries) = table.of(key) {
            found(start + at + 1 + usize::from(closed), entries);
        }
    }
}

const DIGIT: u128 = 1;
const LETTER: u128 = 2;

/// 0 for what stands in no number.
fn class(byte: u8) -> u128 {
    match byte {
        b'0'..=b'9' => DIGIT,
        b'a'..=b'z' | b'A'..=b'Z' => LETTER,
        b' ' => 3,
        b'-' => 4,
        b'.' => 5,
        b'/' => 6,
        b'(' => 7,
        _ => 0,
    }
}

static TABLE: LazyLock<Table> = LazyLock::new(Table::new);

/// Entries by a part of their key's product with an odd number.
struct Table {
    buckets: Vec<Vec<Entry>>,
}

const BITS: u32 = 11;

impl Table {
    fn new() -> Self {
        let mut buckets = vec![Vec::new(); 1 << BITS];
        for (index, rule) in RULES.iter().enumerate() {
            for (shape, alone) in rule.shapes {
                for key in keys(shape) {
                    if let Some(bucket) = buckets.get_mut(bucket(key)) {
                        bucket.push(Entry { key, index, alone: *alone });
                    }
                }
            }
        }
        for bucket in &mut buckets {
            bucket.sort_by_key(|entry: &Entry| entry.key);
        }
        Self { buckets }
    }

    fn of(&self, key: u128) -> Option<&[Entry]> {
        let bucket = self.buckets.get(bucket(key))?;
        let start = bucket.iter().position(|entry| entry.key == key)?;
        let entries = bucket.get(start..)?;
        entries.chunk_by(|a, b| a.key == b.key).next()
    }
}

fn bucket(key: u128) -> usize {
    let folded = key as u64 ^ (key >> 64) as u64;
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS)) as usize
}

/// A shape's keys: `9` is a digit, `A` a letter, `?` either, `_` a space, a hyphen or a dot, the same in all places.
fn keys(shape: &str) -> Vec<u128> {
    let separators: &[u8] = if shape.contains('_') { b" -." } else { b" " };
    let mut keys = Vec::new();
    for separator in separators {
        let mut of = vec![0u128];
        for byte in shape.bytes() {
            let classes: &[u128] = match byte {
                b'?' => &[DIGIT, LETTER],
                b'_' => &[class(*separator)],
                byte => &[class(byte)],
            };
            of = of.iter().flat_map(|key| classes.iter().map(move |class| key << 3 | class)).collect();
        }
        keys.extend(of);
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_has_a_key_for_each_way_to_write_it() {
        assert_eq!(keys("9A").len(), 1);
        assert_eq!(keys("?-?").len(), 4);
        assert_eq!(keys("9_9_9").len(), 3);
    }

    #[test]
    fn every_shape_can_be_found() {
        for rule in RULES.iter() {
            for (shape, _) in rule.shapes {
                assert!((SHORTEST..=LONGEST).contains(&shape.len()), "{}: {shape}", rule.id);
                assert!(shape.bytes().all(|byte| class(byte) != 0 || b"?_".contains(&byte)), "{}: {shape}", rule.id);
            }
        }
    }
}
