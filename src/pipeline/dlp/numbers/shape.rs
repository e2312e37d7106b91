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

/// Tells each window from this place on that has the shape of a number: where it ends, and which it may be. The first
/// word is this long if it is of digits alone, and is not looked at then.
pub(super) fn each(text: &[u8], start: usize, digits: Option<usize>, found: &mut dyn FnMut(usize, &Node)) {
    let table = &*TABLE;
    let mut end = start + digits.unwrap_or_default();
    let mut state = digits.map_or(ROOT, |digits| table.digits.get(digits).copied().unwrap_or(DEAD));
    let mut rest = text.get(end..).unwrap_or_default().iter();
    // Nothing that is looked for goes on from there.
    while state != DEAD {
        let accepted = table.accepted(state);
        let next = rest.next();
        if accepted != NONE
            && !next.is_some_and(u8::is_ascii_alphanumeric)
            && let Some(node) = table.nodes.get(usize::from(accepted))
        {
            // A bracket that was opened before the last word is closed after it.
            let closed = node.opened && next == Some(&b')');
            found(end + usize::from(closed), node);
        }
        state = next.map_or(DEAD, |byte| table.step(state, class(*byte)));
        end += 1;
    }
}

const DIGIT: u8 = 1;
const LETTER: u8 = 2;

/// 0 for what stands in no number.
fn class(byte: u8) -> u8 {
    const CLASSES: [u8; 256] = {
        let mut classes = [0u8; 256];
        let mut rest = classes.as_mut_slice();
        let mut byte = 0u8;
        while let Some((first, others)) = rest.split_first_mut() {
            *first = match byte {
                b'0'..=b'9' => DIGIT,
                b'a'..=b'z' | b'A'..=b'Z' => LETTER,
                b' ' => 3,
                b'-' => 4,
                b'.' => 5,
                b'/' => 6,
                b'(' => 7,
                _ => 0,
            };
            byte = byte.wrapping_add(1);
            rest = others;
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
    /// The state after so many digits.
    digits: Vec<u16>,
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
        let mut table = Self::empty();
        for (index, rule) in RULES.iter().enumerate() {
            for (shape, alone) in rule.shapes {
                table.add(shape, Entry { index, alone: *alone });
            }
        }
        let mut state = ROOT;
        while state != DEAD {
            table.digits.push(state);
            state = table.step(state, DIGIT);
        }
        table
    }

    fn empty() -> Self {
        Self { states: vec![[DEAD; 8]; 2], digits: Vec::new(), nodes: vec![Node::default()] }
    }

    /// Adds each way to write a shape: `9` is a digit, `A` a letter, `?` either, `_` a space, a hyphen or a dot, the same
    /// in all places.
    fn add(&mut self, shape: &str, entry: Entry) {
        let separators: &[u8] = if shape.contains('_') { b" -." } else { b" " };
        for separator in separators {
            self.walk(ROOT, shape.as_bytes(), class(*separator), Way { bare: true, ..Way::default() }, entry);
        }
    }

    /// The same from a state on; what ways have in common at their beginning is walked once.
    fn walk(&mut self, state: u16, shape: &[u8], separator: u8, way: Way, entry: Entry) {
        let Some((first, rest)) = shape.split_first() else { return self.accept(state, way, entry) };
        let classes: &[u8] = match first {
            b'?' => &[DIGIT, LETTER],
            b'_' => &[separator],
            byte => &[class(*byte)],
        };
        for class in classes {
            let next = self.step(state, *class);
            let next = if next == DEAD { self.grow(state, *class) } else { next };
            self.walk(next, rest, separator, way.and(*class), entry);
        }
    }

    fn accept(&mut self, state: u16, way: Way, entry: Entry) {
        let Some([accepted, ..]) = self.states.get_mut(usize::from(state)) else { return };
        if *accepted == NONE {
            *accepted = u16::try_from(self.nodes.len()).unwrap_or_default();
            let Way { opened, lettered, bare } = way;
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

    fn step(&self, state: u16, class: u8) -> u16 {
        if class == 0 {
            return DEAD;
        }
        let states = self.states.get(usize::from(state));
        states.and_then(|state| state.get(usize::from(class))).copied().unwrap_or(DEAD)
    }

    /// The node of what ends here.
    fn accepted(&self, state: u16) -> u16 {
        self.states.get(usize::from(state)).map_or(NONE, |[accepted, ..]| *accepted)
    }
}

/// What is in a number, as far as it has been written.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    opened: bool,
    lettered: bool,
    bare: bool,
}

impl Way {
    fn and(self, next: u8) -> Self {
        Self {
            opened: self.opened || next == class(b'('),
            lettered: self.lettered || next == LETTER,
            bare: self.bare && next <= LETTER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_has_a_node_for_each_way_to_write_it() {
        for (shape, ways) in [("9A", 1), ("?-?", 4), ("9_9_9", 3)] {
            let mut table = Table::empty();
            table.add(shape, Entry { index: 0, alone: None });
            assert_eq!(table.nodes.len() - 1, ways, "{shape}");
            assert!(table.nodes.iter().skip(1).all(|node| node.entries.len() == 1 && node.rules == 1));
        }
    }

    #[test]
    fn a_node_knows_what_is_in_its_shape() {
        let mut table = Table::empty();
        table.add("(9) ?9", Entry { index: 0, alone: None });
        table.add("99", Entry { index: 1, alone: None });
        let told: Vec<_> = table.nodes.iter().skip(1).map(|node| (node.opened, node.lettered, node.bare)).collect();
        assert_eq!(told, [(true, false, false), (true, true, false), (false, false, true)]);
    }

    #[test]
    fn every_shape_can_be_found() {
        for (index, rule) in RULES.iter().enumerate() {
            for (shape, _) in rule.shapes {
                assert!((6..=LONGEST).contains(&shape.len()), "{}: {shape}", rule.id);
                assert!(shape.bytes().all(|byte| class(byte) != 0 || b"?_".contains(&byte)), "{}: {shape}", rule.id);
                let written = shape.replace('?', "A").replace('_', "-");
                let mut ends = Vec::new();
                each(written.as_bytes(), 0, None, &mut |end, node| ends.push((end, node.rules >> index & 1)));
                assert!(ends.contains(&(shape.len(), 1)), "{}: {shape}", rule.id);
                let digits = shape.bytes().take_while(|byte| *byte == b'9').count();
                if written.as_bytes().get(digits).is_none_or(|next| !next.is_ascii_alphanumeric()) && digits > 0 {
                    let mut skipped = Vec::new();
                    each(written.as_bytes(), 0, Some(digits), &mut |end, node| {
                        skipped.push((end, node.rules >> index & 1));
                    });
                    assert_eq!(ends, skipped, "{}: {shape}", rule.id);
                }
            }
        }
    }
}
