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
    let mut bytes = text.get(start..).unwrap_or_default().iter().zip(start + 1..).peekable();
    while let Some((byte, end)) = bytes.next() {
        state = table.step(state, class(*byte));
        // Nothing that is looked for goes on like this.
        if state == DEAD {
            return;
        }
        let Some(node) = table.accepted(state) else { continue };
        if !bytes.peek().is_some_and(|(next, _)| next.is_ascii_alphanumeric()) {
            // A bracket that was opened before the last word is closed after it.
            let closed = node.opened && text.get(end) == Some(&b')');
            found(end + usize::from(closed), node);
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

/// All shapes as a tree of their classes.
struct Table {
    /// For each state the next, by the class of a byte.
    steps: Vec<[u16; 8]>,
    /// For each state the place of its node, and one more; 0 where no shape ends.
    accepts: Vec<u16>,
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
}

impl Table {
    fn new() -> Self {
        let mut table = Self { steps: vec![[DEAD; 8]; 2], accepts: vec![0; 2], nodes: Vec::new() };
        for (index, rule) in RULES.iter().enumerate() {
            for (shape, alone) in rule.shapes {
                for key in keys(shape) {
                    table.add(&key, Entry { index, alone: *alone }, shape.contains('('));
                }
            }
        }
        table
    }

    fn add(&mut self, key: &[u8], entry: Entry, opened: bool) {
        let mut state = ROOT;
        for class in key {
            let next = self.step(state, *class);
            state = if next == DEAD { self.grow(state, *class) } else { next };
        }
        let Some(accepted) = self.accepts.get_mut(usize::from(state)) else { return };
        if *accepted == 0 {
            self.nodes.push(Node { opened, ..Node::default() });
            *accepted = u16::try_from(self.nodes.len()).unwrap_or_default();
        }
        let place = usize::from(*accepted).checked_sub(1);
        if let Some(node) = place.and_then(|place| self.nodes.get_mut(place)) {
            node.rules |= 1 << entry.index;
            node.alone |= entry.alone.is_some();
            node.entries.push(entry);
        }
    }

    fn grow(&mut self, state: u16, class: u8) -> u16 {
        let new = u16::try_from(self.steps.len()).unwrap_or(DEAD);
        let step = self.steps.get_mut(usize::from(state)).and_then(|steps| steps.get_mut(usize::from(class)));
        step.into_iter().for_each(|step| *step = new);
        self.steps.push([DEAD; 8]);
        self.accepts.push(0);
        new
    }

    fn step(&self, state: u16, class: u8) -> u16 {
        let steps = self.steps.get(usize::from(state));
        steps.and_then(|steps| steps.get(usize::from(class))).copied().unwrap_or(DEAD)
    }

    fn accepted(&self, state: u16) -> Option<&Node> {
        let place = self.accepts.get(usize::from(state)).copied().unwrap_or_default();
        self.nodes.get(usize::from(place).checked_sub(1)?)
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
