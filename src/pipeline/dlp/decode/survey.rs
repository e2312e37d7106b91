//! One pass over a text that tells what may be decoded in it. Every byte of every message comes by here: sixteen bytes at
//! once, and nothing is allocated for a text that has nothing.

use std::ops::Range;

use super::alphabet::is_hexish;
use super::grouped;
use crate::pipeline::dlp::lanes::{BLOCK, Kinds, Masks, Vector};

/// What a text has that may be decoded.
#[derive(Debug, Default)]
pub(super) struct Survey {
    quoted: bool,
    base85: bool,
    /// What escapes begin with: a block's place and a bit for each that it has, for each block that has some.
    pub signs: Vec<(usize, u64)>,
    /// Where blocks begin that have, with the one before, as many capitals as groups have at least.
    pub capitals: Vec<usize>,
    /// Maximal runs of the alphabets of base64, of at least [`LEAST`] characters.
    pub runs: Vec<Range<usize>>,
    /// Maximal runs of hex digits and what separates them, of as many.
    pub pairs: Vec<Range<usize>>,
    /// Where every second byte is a space.
    pub spaced: Vec<usize>,
}

/// The shortest run that is decoded.
pub(super) const LEAST: usize = 16;

/// What is read of a block.
#[derive(Clone, Copy, Default)]
struct Marks {
    at: usize,
    alphabet: u64,
    hexish: u64,
    spaces: u64,
}

impl Survey {
    pub(super) fn of(text: &[u8]) -> Self {
        let mut survey = Self::default();
        let (mut runs, mut pairs) = (Runs::default(), Runs::default());
        // Before the first block is nothing, and behind the last.
        let mut before = Marks::default();
        let (fewest, mut capitals_before) = (grouped::fewest_capitals(text), 0);
        Masks::<Decodable, 6>::of(text).for_each(|(at, [alphabet, hexish, spaces, rare, signs, capitals])| {
            let marks = Marks { at, alphabet, hexish, spaces };
            if rare != 0 {
                survey.rare(text, at, rare);
            }
            if signs != 0 {
                survey.signs.push((at, signs));
            }
            // Most texts have none for a while.
            let capitals = if capitals == 0 { 0 } else { capitals.count_ones() };
            if capitals_before + capitals >= fewest {
                survey.capitals.push(at);
            }
            capitals_before = capitals;
            runs.block(before.alphabet, marks.alphabet, before.at);
            pairs.block(before.hexish, marks.hexish, before.at);
            survey.spaces(before, marks);
            before = marks;
        });
        runs.block(before.alphabet, 0, before.at);
        pairs.block(before.hexish, 0, before.at);
        survey.spaces(before, Marks::default());
        survey.runs = runs.finish(text.len());
        survey.pairs = pairs.finish(text.len());
        // Hex without a digit is words.
        let has_digit =
            |run: &Range<usize>| text.get(run.clone()).is_some_and(|run| run.iter().any(u8::is_ascii_digit));
        survey.pairs.retain(has_digit);
        survey
    }

    /// A `=` with a hex digit or a line end behind it, or what is as rare.
    pub(super) fn may_be_quoted(&self) -> bool {
        self.quoted
    }

    /// `<~`.
    pub(super) fn may_be_base85(&self) -> bool {
        self.base85
    }

    /// Looks at what stands beside each `=` and each `~` of a block.
    #[inline(never)]
    fn rare(&mut self, text: &[u8], block: usize, mut rare: u64) {
        while rare != 0 && !(self.quoted && self.base85) {
            let at = block + rare.trailing_zeros() as usize;
            rare &= rare - 1;
            let before = at.checked_sub(1).and_then(|before| text.get(before));
            let [here, after] = [at, at + 1].map(|at| text.get(at).copied().unwrap_or(b' '));
            self.quoted |= here == b'=' && after != b' ' && is_hexish(after);
            self.base85 |= here == b'~' && before == Some(&b'<');
        }
    }

    #[inline(always)]
    fn spaces(&mut self, marks: Marks, next: Marks) {
        if marks.spaces & (marks.spaces >> 2 | 0b11 << (BLOCK - 2)) == 0 {
            return;
        }
        let all = u128::from(marks.spaces) | u128::from(next.spaces) << BLOCK;
        let four = all & all >> 2 & all >> 4 & all >> 6;
        let alone = four & !(all >> 1 | all >> 3 | all >> 5);
        let mut first = (alone & !(alone << 2)) as u64;
        while first != 0 {
            self.spaced.push(marks.at + first.trailing_zeros() as usize);
            first &= first - 1;
        }
    }
}

/// A bit for each byte that [`LEAST`] of a kind begin with, by a bit for each of those in this block and in the next.
fn begins(block: u64, next: u64) -> u64 {
    const { assert!(LEAST == 16) }
    let all = u128::from(block) | u128::from(next) << BLOCK;
    let two = all & all >> 1;
    let four = two & two >> 2;
    let eight = four & four >> 4;
    (eight & eight >> 8) as u64
}

/// False if none begins: as many have eight in them from a multiple of eight on.
#[inline(always)]
fn may_begin(block: u64, next: u64) -> bool {
    const { assert!(LEAST >= 15) }
    let two = block & block >> 1;
    let four = two & two >> 2;
    four & four >> 4 & 0x0101_0101_0101_0101 != 0 || next as u8 == u8::MAX
}

/// Maximal runs of one kind, of at least [`LEAST`].
#[derive(Default)]
struct Runs {
    ended: Vec<Range<usize>>,
    /// Where the one began that is not at its end.
    open: Option<usize>,
}

impl Runs {
    /// Takes a block, by a bit for each byte of the kind in it and in the next.
    #[inline(always)]
    fn block(&mut self, kind: u64, next: u64, at: usize) {
        if self.open.is_none() && !may_begin(kind, next) {
            return;
        }
        let begins = begins(kind, next);
        if begins != 0 || self.open.is_some() {
            self.add(kind, begins, at);
        }
    }

    #[cold]
    fn add(&mut self, kind: u64, mut begins: u64, block: usize) {
        let mut next = 0;
        if let Some(start) = self.open {
            next = kind.trailing_ones();
            if next == u64::BITS {
                return;
            }
            self.open = None;
            self.ended.push(start..block + next as usize);
        }
        // What begins within a run is a part of it.
        begins &= u64::MAX << next;
        while begins != 0 {
            let first = begins.trailing_zeros();
            let end = first + (kind >> first).trailing_ones();
            let start = block + first as usize;
            if end == u64::BITS {
                self.open = Some(start);
                return;
            }
            self.ended.push(start..block + end as usize);
            begins &= u64::MAX << end;
        }
    }

    /// Those of a text of this length.
    fn finish(mut self, length: usize) -> Vec<Range<usize>> {
        self.ended.extend(self.open.map(|start| start..length));
        // The blanks behind the end of a text are no part of a run.
        if let Some(last) = self.ended.pop() {
            let last = last.start..last.end.min(length);
            self.ended.extend(Some(last).filter(|last| last.len() >= LEAST));
        }
        self.ended
    }
}

/// The alphabets of base64, hex digits and what separates them as [`is_hexish`] says, the space, `=` and `~`, what escapes
/// begin with, and capitals.
struct Decodable;

impl Kinds<6> for Decodable {
    #[inline(always)]
    fn of<V: Vector>(bytes: V) -> [V; 6] {
        let folded = bytes.folded();
        // `/` and the digits follow each other.
        let letters = folded.within(b'a', 26).or(bytes.within(b'/', 11));
        let alphabet = letters.or(bytes.is(b'+')).or(bytes.is(b'-')).or(bytes.is(b'_'));
        let (space, backslash) = (bytes.is(b' '), bytes.is(b'\\'));
        // `:` follows the digits, and `-` the comma.
        let digits = bytes.within(b'0', 11).or(folded.within(b'a', 6));
        let separators = bytes.within(b',', 2).or(space).or(bytes.is(b';')).or(backslash);
        let hexish = digits.or(separators).or(folded.is(b'x')).or(bytes.is(b'\n')).or(bytes.is(b'\r'));
        let rare = bytes.is(b'=').or(bytes.is(b'~'));
        let signs = bytes.is(b'%').or(bytes.is(b'&')).or(backslash);
        [alphabet, hexish, space, rare, signs, bytes.within(b'A', 26)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::alphabet::is_base64;
    use super::*;

    proptest! {
        #[test]
        fn every_long_run_is_found(text in prop::collection::vec(prop_oneof!["[A-Za-z0-9+/_-]{1,40}", "[ .=!]{1,3}", "\\PC"], 0..30)) {
            let text = text.concat().into_bytes();
            let expected: Vec<_> = text
                .chunk_by(|left, right| is_base64(*left) == is_base64(*right))
                .scan(0, |at, run| { *at += run.len(); Some((*at - run.len()..*at, run)) })
                .filter(|(range, run)| range.len() >= LEAST && run.iter().all(|byte| is_base64(*byte)))
                .map(|(range, _)| range)
                .collect();
            prop_assert_eq!(Survey::of(&text).runs, expected);
        }

        #[test]
        fn every_long_run_of_hex_is_found(text in prop::collection::vec(prop_oneof!["[0-9a-f]{1,40}", "[a-f, ]{1,30}", "[0-9]{1,9}, ", "[yz!]{1,3}"], 0..30)) {
            let text = text.concat().into_bytes();
            let expected: Vec<_> = text
                .chunk_by(|left, right| is_hexish(*left) == is_hexish(*right))
                .scan(0, |at, run| { *at += run.len(); Some((*at - run.len()..*at, run)) })
                .filter(|(range, run)| range.len() >= LEAST && run.iter().all(|byte| is_hexish(*byte)))
                .filter(|(_, run)| run.iter().any(u8::is_ascii_digit))
                .map(|(range, _)| range)
                .collect();
            prop_assert_eq!(Survey::of(&text).pairs, expected);
        }

        #[test]
        fn it_tells_what_else_there_may_be(text in prop::collection::vec(prop::sample::select(b"=<~aF4\n\r g ".to_vec()), 0..200), distance in 0..70_usize) {
            let text = [vec![b'.'; distance], text].concat();
            let survey = Survey::of(&text);
            prop_assert_eq!(survey.may_be_base85(), text.windows(2).any(|two| two == b"<~"));
            let quoted = |two: &[u8]| two[0] == b'=' && (two[1].is_ascii_hexdigit() || b"\r\n".contains(&two[1]));
            prop_assert!(survey.may_be_quoted() || !text.windows(2).any(quoted));
        }

        #[test]
        fn marks_are_what_the_tables_say(block in prop::array::uniform::<_, 64>(any::<u8>())) {
            let masks = crate::pipeline::dlp::lanes::masks::<Decodable, 6>(&block);
            for (at, byte) in block.iter().enumerate() {
                let is = |of: &[u8]| of.contains(byte);
                let kinds = [is_base64(*byte), is_hexish(*byte), is(b" "), is(b"=~"), is(b"%&\\"), byte.is_ascii_uppercase()];
                prop_assert_eq!(masks.map(|mask| mask >> at & 1 == 1), kinds);
            }
        }

        #[test]
        fn it_tells_each_sign_and_where_capitals_are(text in prop::collection::vec(prop::sample::select(b"%&\\Aaaaaaaaaaaa a".to_vec()), 0..400)) {
            let survey = Survey::of(&text);
            let bits = |mask: u64| (0..BLOCK).filter(move |bit| mask >> bit & 1 == 1);
            let signs = survey.signs.iter().flat_map(|(at, mask)| bits(*mask).map(move |bit| at + bit));
            prop_assert!(signs.eq((0..text.len()).filter(|at| b"%&\\".contains(&text[*at]))));
            let count = |at: usize| text[at..text.len().min(at + BLOCK)].iter().filter(|byte| byte.is_ascii_uppercase()).count();
            let both = |at: &usize| count(*at) + at.checked_sub(BLOCK).map_or(0, count);
            let fewest = grouped::fewest_capitals(&text) as usize;
            let worth: Vec<_> = (0..text.len()).step_by(BLOCK).filter(|at| both(at) >= fewest).collect();
            prop_assert_eq!(survey.capitals, worth);
        }
    }
}
