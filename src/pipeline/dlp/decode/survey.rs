//! One pass over a text that tells what may be decoded in it. Every byte of every message comes by here: sixteen bytes at
//! once, and nothing is allocated for a text that has nothing.

use std::ops::Range;

use super::alphabet::{is_base64, is_hexish};
use crate::pipeline::dlp::lanes::{self, BLOCK};

/// What a text has that may be decoded.
#[derive(Debug, Default)]
pub(super) struct Survey {
    strange: bool,
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
#[derive(Clone, Copy)]
struct Marks {
    at: usize,
    alphabet: u64,
    hexish: u64,
    spaces: u64,
}

impl Survey {
    pub(super) fn of(text: &[u8]) -> Self {
        let mut survey = Self::default();
        let mut before: Option<Marks> = None;
        let nothing = Marks { at: text.len(), alphabet: 0, hexish: 0, spaces: 0 };
        for (at, block) in lanes::blocks(text) {
            let marks = survey.marks(at, &block);
            if let Some(before) = before.replace(marks) {
                survey.block(text, before, marks);
            }
        }
        if let Some(before) = before {
            survey.block(text, before, nothing);
        }
        // Hex without a digit is words.
        let has_digit =
            |run: &Range<usize>| text.get(run.clone()).is_some_and(|run| run.iter().any(u8::is_ascii_digit));
        survey.pairs.retain(has_digit);
        survey
    }

    /// Something that is not ASCII, or a control character that is no white space.
    pub(super) fn is_strange(&self) -> bool {
        self.strange
    }

    #[inline(always)]
    fn marks(&mut self, at: usize, block: &[u8; BLOCK]) -> Marks {
        let alphabet = lanes::mask(block, |bytes| {
            // `/` and the digits follow each other.
            let letters = bytes.folded().within(b'a', 26).or(bytes.within(b'/', 11));
            letters.or(bytes.is(b'+')).or(bytes.is(b'-')).or(bytes.is(b'_'))
        });
        let printable =
            lanes::mask(block, |bytes| bytes.within(b' ', 95).or(bytes.within(b'\t', 2)).or(bytes.is(b'\r')));
        self.strange |= printable != u64::MAX;
        Marks { at, alphabet, hexish: lanes::mask(block, hexish), spaces: lanes::mask(block, |bytes| bytes.is(b' ')) }
    }

    #[inline(always)]
    fn block(&mut self, text: &[u8], marks: Marks, next: Marks) {
        let runs = begins(marks.alphabet, next.alphabet);
        if runs != 0 {
            each(runs, marks.at, &mut self.runs, |floor, at| around(text, floor, at, is_base64));
        }
        let pairs = begins(marks.hexish, next.hexish);
        if pairs != 0 {
            each(pairs, marks.at, &mut self.pairs, |floor, at| around(text, floor, at, is_hexish));
        }
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

/// Adds the runs that begin at these bits, each once.
#[cold]
fn each(mut begins: u64, block: usize, runs: &mut Vec<Range<usize>>, run: impl Fn(usize, usize) -> Range<usize>) {
    while begins != 0 {
        let at = block + begins.trailing_zeros() as usize;
        let done = runs.last().map_or(0, |run| run.end);
        let end = if at < done {
            done
        } else {
            let run = run(done, at);
            let end = run.end;
            // At the end of a text the blanks behind it are no part of one.
            if run.len() >= LEAST {
                runs.push(run);
            }
            end
        };
        begins &= u64::MAX.checked_shl((end.max(at + 1) - block).min(64) as u32).unwrap_or(0);
    }
}

/// Hex digits and what separates them, as [`is_hexish`] says.
#[inline(always)]
fn hexish(bytes: lanes::Lanes) -> lanes::Lanes {
    // `:` follows the digits, and `-` the comma.
    let folded = bytes.folded();
    let digits = bytes.within(b'0', 11).or(folded.within(b'a', 6));
    let separators = bytes.within(b',', 2).or(bytes.is(b' ')).or(bytes.is(b';')).or(bytes.is(b'\\'));
    digits.or(separators).or(folded.is(b'x')).or(bytes.is(b'\n')).or(bytes.is(b'\r'))
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
        fn marks_are_what_the_tables_say(block in prop::array::uniform::<_, 64>(any::<u8>())) {
            let marks = Survey::default().marks(0, &block);
            for (at, byte) in block.iter().enumerate() {
                prop_assert_eq!(marks.alphabet >> at & 1 == 1, is_base64(*byte));
                prop_assert_eq!(lanes::mask(&block, hexish) >> at & 1 == 1, is_hexish(*byte));
            }
        }
    }
}
