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

/// The longest number that is looked for, in characters.
#[cfg(test)]
const LONGEST: usize = 42;

/// Tells each window from this place on that has the shape of a number: where it ends, and which it may be.
pub(super) fn each(text: &[u8], start: usize, found: &mut dyn FnMut(usize, &Node)) {
    let table = &*TABLE;
    let mut state = ROOT;
    let text = text.get(start..).unwrap_or_default();
    for (at, byte) in text.iter().enumerate() {
        let (next, accepted) = table.step(state, class(*byte));
        // Nothing that is looked for goes on like this.
        if next == DEAD {
            return;
        }
        state = next;
        if accepted == NONE || text.get(at + 1).is_some_and(u8::is_ascii_alphanumeric) {
            continue;
        }
        if let Some(node) = table.nodes.get(usize::from(accepted)) {
            let end = at + 1;
            // A bracket that was opened before the last word is closed after it.
            let closed = node.opened && text.get(end) == Some(&b')');
            found(start + end + usize::from(closed), node);
        }
    }
}

const DIGIT: u8 = 1;
const LETTER: u8 = 2;

/// 0 for what stands in no number.
fn class(byte: u8) -> u8 {
    const CLASSES: [u8; 256] = {
        let mut classes = [0; 256];
        let mut byte = 0;
        while byte < classes.len() {
            classes[byte] = match byte as u8 {
                b'0'..=b'9' => DIGIT,
                b'a'..=b'z' | b'A'..=b'Z' => LETTER,
                b' ' => 3,
                b'-' => 4,
                b'.' => 5,
                b'/' => 6,
                b'(' => 7,
                _ => 0,
            };
            byte += 1;
        }
        classes
    };
    CLASSES.get(usize::from(byte)).copied().unwrap_or_default()
}

static TABLE: LazyLock<Table> = LazyLock::new(Table::new);

/// Where nothing goes on from.
const DEAD: u16 = 0;
const ROOT: u16 = 1;
/// The node where no shape ends.
const NONE: u16 = 0;

/// All shapes as a tree of their classes.
struct Table {
    /// For each state the next, by the class of a byte; and in the place of what stands in no number the node.
    states: Vec<[u16; 8]>,
    /// The first is no shape's.
    nodes: Vec<Node>,
}

/// The shape of a number.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub(super) entries: Vec<Entry>,
    /// The bits of the rules.
    pub(super) rules: u128,
    /// True if one of them needs no name.
    pub(super) alone: bool,
    /// True if there is a bracket in it.
    opened: bool,
    /// True if there are letters in it.
    pub(super) lettered: bool,
    /// True if there are no separators in it.
    pub(super) bare: bool,
}

impl Table {
    fn new() -> Self {
        let mut table = Self { states: vec![[DEAD; 8]; 2], nodes: vec![Node::default()] };
        for (index, rule) in RULES.iter().enumerate() {
            for (shape, alone) in rule.shapes {
                for key in keys(shape) {
                    table.add(&key, Entry { index, alone: *alone });
                }
            }
        }
        table
    }

    fn add(&mut self, key: &[u8], entry: Entry) {
        let mut state = ROOT;
        for class in key {
            let (next, _) = self.step(state, *class);
            state = if next == DEAD { self.grow(state, *class) } else { next };
        }
        let Some([accepted, ..]) = self.states.get_mut(usize::from(state)) else { return };
        if *accepted == NONE {
            *accepted = u16::try_from(self.nodes.len()).unwrap_or_default();
            let bare = key.iter().all(|class| *class <= LETTER);
            let (opened, lettered) = (key.contains(&class(b'(')), key.contains(&LETTER));
            self.nodes.push(Node { opened, lettered, bare, ..Node::default() });
        }
        if let Some(node) = self.nodes.get_mut(usize::from(*accepted)) {
            node.rules |= 1 << entry.index;
            node.alone |= entry.alone.is_some();
            node.entries.push(entry);
        }
    }

    fn grow(&mut self, state: u16, class: u8) -> u16 {
        let new = u16::try_from(self.states.len()).unwrap_or(DEAD);
        let step = self.states.get_mut(usize::from(state)).and_then(|steps| steps.get_mut(usize::from(class)));
        step.into_iter().for_each(|step| *step = new);
        self.states.push([DEAD; 8]);
        new
    }

    /// The next state, and the node of what ends there.
    fn step(&self, state: u16, class: u8) -> (u16, u16) {
        if class == 0 {
            return (DEAD, NONE);
        }
        let next = self.states.get(usize::from(state)).and_then(|state| state.get(usize::from(class)));
        let next = next.copied().unwrap_or(DEAD);
        let [accepted, ..] = self.states.get(usize::from(next)).copied().unwrap_or_default();
        (next, accepted)
    }
}

/// A shape's keys: `9` is a digit, `A` a letter, `?` either, `_` a space, a hyphen or a dot, the same in all places.
fn keys(shape: &str) -> Vec<Vec<u8>> {
    let separators: &[u8] = if shape.contains('_') { b" -." } else { b" " };
    let mut keys = Vec::new();
    for separator in separators {
        let mut of = vec![Vec::new()];
        for byte in shape.bytes() {
            let classes: &[u8] = match byte {
                b'?' => &[DIGIT, LETTER],
                b'_' => &[class(*separator)],
                byte => &[class(byte)],
            };
            of = of
                .iter()
                .flat_map(|key| classes.iter().map(move |class| [key.as_slice(), &[*class]].concat()))
                .collect();
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
        for (index, rule) in RULES.iter().enumerate() {
            for (shape, _) in rule.shapes {
                assert!((6..=LONGEST).contains(&shape.len()), "{}: {shape}", rule.id);
                assert!(shape.bytes().all(|byte| class(byte) != 0 || b"?_".contains(&byte)), "{}: {shape}", rule.id);
                let written = shape.replace('?', "A").replace('_', "-");
                let mut ends = Vec::new();
                each(written.as_bytes(), 0, &mut |end, node| ends.push((end, node.rules >> index & 1)));
                assert!(ends.contains(&(shape.len(), 1)), "{}: {shape}", rule.id);
            }
        }
    }
}
