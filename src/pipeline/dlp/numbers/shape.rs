//! Which kinds of number have which shape: a lookup for each window of a text.

use std::sync::LazyLock;

use super::super::finding::Confidence;
use super::table::{NumberRule, RULES};

/// A kind of number that has a shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
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

/// Tells each window from this place on that has the shape of a number: where it ends, and which it may be.
pub(super) fn each(text: &[u8], start: usize, found: &mut dyn FnMut(usize, &Node)) {
    let table = &*TABLE;
    let mut key = 0u128;
    let mut opened = false;
    let mut bytes = text.get(start..).unwrap_or_default().iter().take(LONGEST).zip(start + 1..).peekable();
    while let Some((byte, end)) = bytes.next() {
        let class = class(*byte);
        if class == 0 {
            return;
        }
        key = key << 3 | class;
        opened |= *byte == b'(';
        if class > LETTER || bytes.peek().is_some_and(|(next, _)| next.is_ascii_alphanumeric()) {
            continue;
        }
        // Nothing that is looked for goes on from here.
        let Some(node) = table.of(key) else { return };
        if !node.entries.is_empty() {
            // A bracket that was opened before the last word is closed after it.
            let closed = opened && text.get(end) == Some(&b')');
            found(end + usize::from(closed), node);
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

/// What is known of a text by its key, by a part of the key's product with an odd number.
struct Table {
    buckets: Vec<Vec<Node>>,
}

/// The shape of a number, or what such a shape begins with up to the end of a word.
#[derive(Debug, Clone)]
pub(super) struct Node {
    key: u128,
    pub(super) entries: Vec<Entry>,
    /// The bits of the rules.
    pub(super) rules: u128,
    /// True if one of them needs no name.
    pub(super) alone: bool,
}

const BITS: u32 = 12;

impl Table {
    fn new() -> Self {
        let mut table = Self { buckets: vec![Vec::new(); 1 << BITS] };
        for (index, rule) in RULES.iter().enumerate() {
            for (shape, alone) in rule.shapes {
                for key in keys(shape) {
                    for beginning in beginnings(key) {
                        table.add(beginning, None);
                    }
                    table.add(key, Some(Entry { index, alone: *alone }));
                }
            }
        }
        table
    }

    fn add(&mut self, key: u128, entry: Option<Entry>) {
        let Some(bucket) = self.buckets.get_mut(bucket(key)) else { return };
        let at = bucket.iter().position(|node| node.key == key).unwrap_or_else(|| {
            bucket.push(Node { key, entries: Vec::new(), rules: 0, alone: false });
            bucket.len() - 1
        });
        if let (Some(node), Some(entry)) = (bucket.get_mut(at), entry) {
            node.rules |= 1 << entry.index;
            node.alone |= entry.alone.is_some();
            node.entries.push(entry);
        }
    }

    fn of(&self, key: u128) -> Option<&Node> {
        self.buckets.get(bucket(key))?.iter().find(|node| node.key == key)
    }
}

fn bucket(key: u128) -> usize {
    let folded = key as u64 ^ (key >> 64) as u64;
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS)) as usize
}

/// What this key begins with, up to the end of each of its words but the last.
fn beginnings(key: u128) -> impl Iterator<Item = u128> {
    let cut = (1..LONGEST).map(move |characters| key >> (3 * characters)).take_while(|beginning| *beginning != 0);
    let beyond = move |characters: usize| (key >> (3 * (characters - 1))) & 7;
    cut.zip(1..)
        .filter(move |(beginning, characters)| beginning & 7 <= LETTER && beyond(*characters) > LETTER)
        .map(|(key, _)| key)
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
        let key = |shape: &str| keys(shape).remove(0);
        assert!(beginnings(key("9-99-A")).eq([key("9-99"), key("9")]) && beginnings(key("999")).next().is_none());
    }

    #[test]
    fn every_shape_can_be_found() {
        for rule in RULES.iter() {
            for (shape, _) in rule.shapes {
                assert!((6..=LONGEST).contains(&shape.len()), "{}: {shape}", rule.id);
                assert!(shape.bytes().all(|byte| class(byte) != 0 || b"?_".contains(&byte)), "{}: {shape}", rule.id);
            }
        }
    }
}
