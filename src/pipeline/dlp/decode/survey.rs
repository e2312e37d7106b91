//! One pass over a text that tells what may be decoded in it. Every byte of every message comes by here: blocks without
//! branches, which the compiler makes vectors of, and nothing is allocated for a text that has nothing.

use std::ops::Range;

use super::alphabet::{is_base64, is_hexish};

/// What a text has that may be decoded.
#[derive(Debug, Default)]
pub(super) struct Survey {
    marks: u8,
    /// Maximal runs of the alphabets of base64, of at least [`LEAST`] characters.
    pub runs: Vec<Range<usize>>,
    /// Maximal runs of hex digits and what separates them.
    pub pairs: Vec<Range<usize>>,
    /// Where every second byte is a space.
    pub spaced: Vec<usize>,
}

/// The shortest run that is decoded.
pub(super) const LEAST: usize = 16;

const ALPHABET: u8 = 1;
const HEXISH: u8 = 1 << 1;
const SEPARATOR: u8 = 1 << 2;
const HIGH: u8 = 1 << 3;
const CONTROL: u8 = 1 << 4;
const LEAD: u8 = 1 << 5;
const EQUALS: u8 = 1 << 6;

const BLOCK: usize = 64;
const EACH: u64 = 0x0101_0101_0101_0101;
const SPACES: u64 = EACH * b' ' as u64;
const EVEN: u64 = 0x00ff_00ff_00ff_00ff;

impl Survey {
    pub(super) fn of(text: &[u8]) -> Self {
        let mut survey = Self::default();
        let (blocks, rest) = text.as_chunks::<BLOCK>();
        for (at, block) in blocks.iter().enumerate() {
            survey.block(text, at * BLOCK, block);
        }
        let mut last = [b' '; BLOCK];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        survey.block(text, blocks.len() * BLOCK, &last);
        survey
    }

    /// Something that is not ASCII.
    pub(super) fn has_high(&self) -> bool {
        self.marks & HIGH != 0
    }

    /// A control character that is no white space.
    pub(super) fn has_control(&self) -> bool {
        self.marks & CONTROL != 0
    }

    /// One of `%`, `\` and `&`.
    pub(super) fn has_lead(&self) -> bool {
        self.marks & LEAD != 0
    }

    /// A `=`.
    pub(super) fn has_equals(&self) -> bool {
        self.marks & EQUALS != 0
    }

    #[inline]
    fn block(&mut self, text: &[u8], at: usize, block: &[u8; BLOCK]) {
        let mut marks = [0_u8; BLOCK];
        let mut all = 0_u8;
        for (mark, byte) in marks.iter_mut().zip(block) {
            *mark = marks_of(*byte);
            all |= *mark;
        }
        self.marks |= all;
        let (marks, _) = marks.as_chunks::<8>();
        let (words, _) = block.as_chunks::<8>();
        // A run of 15 or more covers one whole word at least, wherever it begins.
        for (index, (marks, word)) in marks.iter().zip(words).enumerate() {
            let (marks, word) = (u64::from_le_bytes(*marks), u64::from_le_bytes(*word));
            let all_of = |mark: u8| marks & (EACH * u64::from(mark)) == EACH * u64::from(mark);
            let at = at + index * 8;
            if all_of(ALPHABET) {
                self.run(text, at);
            }
            if all_of(HEXISH) {
                let separators = (marks >> SEPARATOR.trailing_zeros() & EACH).count_ones();
                // Of eight characters of pairs with something between them, four are digits at least.
                if (1..=4).contains(&separators) {
                    self.pair(text, at);
                }
            }
            let blanks = word ^ SPACES;
            if (blanks & EVEN == 0 || blanks & !EVEN == 0) && blanks != 0 {
                self.spaced.push(at);
            }
        }
    }

    #[cold]
    fn run(&mut self, text: &[u8], at: usize) {
        if self.runs.last().is_some_and(|run| at < run.end) {
            return;
        }
        let floor = self.runs.last().map_or(0, |run| run.end);
        let run = around(text, floor, at, is_base64);
        if run.len() >= LEAST {
            self.runs.push(run);
        }
    }

    #[cold]
    fn pair(&mut self, text: &[u8], at: usize) {
        if self.pairs.last().is_some_and(|run| at < run.end) {
            return;
        }
        let floor = self.pairs.last().map_or(0, |run| run.end);
        let run = around(text, floor, at, is_hexish);
        if run.len() >= LEAST {
            self.pairs.push(run);
        }
    }
}

/// Without a branch or a table: this is what becomes vectors.
#[inline]
fn marks_of(byte: u8) -> u8 {
    let folded = byte | 0x20;
    let is = |yes: bool, mark: u8| if yes { mark } else { 0 };
    let digit = byte.wrapping_sub(b'0') < 10;
    let letter = folded.wrapping_sub(b'a') < 26;
    let sign = (byte == b'+') | (byte == b'/') | (byte == b'-') | (byte == b'_');
    let hex = digit | (folded.wrapping_sub(b'a') < 6);
    let separator = (byte == b':')
        | (byte == b'-')
        | (byte == b' ')
        | (byte == b',')
        | (byte == b';')
        | (folded == b'x')
        | (byte == b'\\')
        | (byte == b'\n')
        | (byte == b'\r');
    let white = (byte == b'\t') | (byte == b'\n') | (byte == b'\r');
    is(digit | letter | sign, ALPHABET)
        | is(hex | separator, HEXISH)
        | is(separator, SEPARATOR)
        | is(byte >= 0x80, HIGH)
        | is(((byte < 0x20) & !white) | (byte == 0x7f), CONTROL)
        | is((byte == b'%') | (byte == b'\\') | (byte == b'&'), LEAD)
        | is(byte == b'=', EQUALS)
}

/// All that is round a place, not before the floor.
fn around(text: &[u8], floor: usize, at: usize, within: fn(u8) -> bool) -> Range<usize> {
    let before = text.get(floor..at).unwrap_or_default().iter().rev().take_while(|byte| within(**byte)).count();
    let after = text.get(at..).unwrap_or_default().iter().take_while(|byte| within(**byte)).count();
    at - before..at + after
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        fn marks_are_what_the_tables_say(byte in any::<u8>()) {
            prop_assert_eq!(marks_of(byte) & ALPHABET != 0, is_base64(byte));
            prop_assert_eq!(marks_of(byte) & HEXISH != 0, is_hexish(byte));
        }
    }
}
