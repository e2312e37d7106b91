//! What a match can begin with, byte for byte: most keywords in a text are followed by something else, and seeing that
//! costs less than asking the pattern.

use regex_syntax::hir::{Class, Hir, HirKind};

/// The bytes that each of the first bytes of a match may be.
#[derive(Debug, Default)]
pub struct Head(Box<[Bytes]>);

/// A set of bytes: a bit for each.
type Bytes = [u64; 4];

/// How many bytes are told: enough to see that a word is none of a token's.
const MOST: usize = 16;

impl Head {
    /// Of the matches of a pattern.
    pub fn of(pattern: &Hir) -> Self {
        let mut sets = Vec::new();
        begin(pattern, &mut sets);
        sets.truncate(MOST);
        Self(sets.into())
    }

    /// False if no match begins with these bytes: with fewer none does, either.
    #[inline]
    pub fn may_begin(&self, bytes: impl Iterator<Item = u8>) -> bool {
        let mut bytes = bytes;
        self.0.iter().all(|set| bytes.next().is_some_and(|byte| has(set, byte)))
    }

    /// The first of these bytes with which no match begins, and all that follow it; none if a match may begin with them.
    #[inline]
    pub fn misfit<'t>(&self, bytes: &'t [u8]) -> Option<&'t [u8]> {
        let fit = self.0.iter().zip(bytes).take_while(|(set, byte)| has(set, **byte)).count();
        if fit == self.0.len() { None } else { bytes.get(fit..) }
    }
}

fn has(set: &Bytes, byte: u8) -> bool {
    set.get(usize::from(byte >> 6)).is_some_and(|word| word >> (byte & 63) & 1 == 1)
}

fn insert(set: &mut Bytes, byte: u8) {
    if let Some(word) = set.get_mut(usize::from(byte >> 6)) {
        *word |= 1 << (byte & 63);
    }
}

/// Adds what may follow. True if that is all that the pattern matches: what stands after it goes on there.
fn begin(pattern: &Hir, sets: &mut Vec<Bytes>) -> bool {
    if sets.len() >= MOST {
        return false;
    }
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => {
            for byte in &literal.0 {
                let mut set = Bytes::default();
                insert(&mut set, *byte);
                sets.push(set);
            }
            true
        }
        HirKind::Class(Class::Bytes(class)) => {
            let mut set = Bytes::default();
            class.iter().flat_map(|range| range.start()..=range.end()).for_each(|byte| insert(&mut set, byte));
            sets.push(set);
            true
        }
        HirKind::Class(Class::Unicode(class)) if class.is_ascii() => {
            let mut set = Bytes::default();
            let bytes = class.iter().flat_map(|range| range.start()..=range.end());
            bytes.for_each(|letter| insert(&mut set, letter as u8));
            sets.push(set);
            true
        }
        HirKind::Class(Class::Unicode(_)) => false,
        HirKind::Capture(capture) => begin(&capture.sub, sets),
        HirKind::Concat(parts) => parts.iter().all(|part| begin(part, sets)),
        HirKind::Repetition(repetition) => {
            for _ in 0..repetition.min {
                if !begin(&repetition.sub, sets) {
                    return false;
                }
            }
            repetition.max == Some(repetition.min)
        }
        HirKind::Alternation(parts) => {
            let mut ways = parts.iter().map(|part| {
                let mut way = Vec::new();
                let all = begin(part, &mut way);
                (way, all)
            });
            let Some((mut either, mut all)) = ways.next() else { return false };
            for (way, all_of_it) in ways {
                all &= all_of_it && way.len() == either.len();
                either.truncate(way.len());
                for (set, other) in either.iter_mut().zip(&way) {
                    set.iter_mut().zip(other).for_each(|(word, other)| *word |= other);
                }
            }
            sets.append(&mut either);
            all
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(pattern: &str) -> Hir {
        regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern).unwrap()
    }

    const PATTERNS: [&str; 9] = [
        "ab[0-9]{3}c",
        "(?i)a(b|cd)[0-9]+",
        "(?:ab|ba)?c",
        "a{2,3}b",
        "(a|b){2}[^a]c?",
        "a(?:b{2}|[ac]a)c",
        r"\bab|cb",
        "a*b",
        "((a)b|(c)a)(b|)c",
    ];

    proptest! {
        #[test]
        fn whatever_matches_may_begin(which in 0..PATTERNS.len(), text in "[abcABC0-2]{0,9}") {
            let pattern = regex_automata::meta::Regex::new(&format!("^(?:{})", PATTERNS[which])).unwrap();
            if pattern.is_match(&text) {
                prop_assert!(Head::of(&parsed(PATTERNS[which])).may_begin(text.bytes()));
            }
        }
    }

    #[test]
    fn what_begins_with_something_else_is_told() {
        for (pattern, text, may) in [
            ("ghp_[A-Za-z0-9]{36}", "ghp_0123456789abcdef", true),
            ("ghp_[A-Za-z0-9]{36}", "ghp_0123456789a", false),
            ("ghp_[A-Za-z0-9]{36}", "ghp_01 3456789abcdef", false),
            ("(?:a|b)c[0-9]{2,4}x", "bc12!", true),
            ("(?:a|b)c[0-9]{2,4}x", "bc1x!", false),
            ("(?:a|bb)c", "bbc", true),
            ("x(?:a|bb)c", "x!", false),
        ] {
            assert_eq!(Head::of(&parsed(pattern)).may_begin(text.bytes()), may, "{pattern} {text}");
        }
    }
}
