//! Where digits stand in a row, and the words about them.

use std::ops::Range;

use super::super::escapes;
use super::super::lanes::{self, BLOCK};

/// Between the groups of a number.
pub(super) fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | b'.' | b'/' | b'(')
}

/// The next three digits in a row, or two, a separator and two: no number that is looked for is without.
pub(in crate::pipeline::dlp) fn next(text: &[u8], from: usize) -> Option<usize> {
    // Where numbers stand in rows the next is near.
    const NEAR: usize = 16;
    let near = first(text, from..text.len().min(from + NEAR));
    if near.is_some() {
        return near;
    }
    let mut at = text.len().min(from + NEAR);
    // Whole blocks are decided at once; of the next the first bytes belong to the last places.
    while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>) {
        let begins = places(block);
        let inside = begins & (u64::MAX >> MORE);
        if inside != 0 {
            return Some(at + inside.trailing_zeros() as usize);
        }
        at += BLOCK - MORE;
    }
    first(text, at..text.len())
}

/// How many bytes after a place are looked at with it.
const MORE: usize = 4;

/// A bit for each place that digits begin at, as [`begins`] says; none of the last [`MORE`] is sure.
#[inline(always)]
fn places(block: &[u8; BLOCK]) -> u64 {
    let digits = lanes::mask(block, |bytes| bytes.within(b'0', 10));
    let two = digits & digits >> 1;
    if two == 0 {
        return 0;
    }
    let separators = lanes::mask(block, |bytes| bytes.within(b'-', 3).or(bytes.is(b' ')).or(bytes.is(b'(')));
    two & (digits >> 2 | separators >> 2 & two >> 3)
}

/// Two digits are at the start of each: where the second byte of a pair is none, neither of the two begins one.
fn first(text: &[u8], range: Range<usize>) -> Option<usize> {
    let is = |at: usize| text.get(at + 1).is_some_and(u8::is_ascii_digit);
    let end = range.end;
    let pair = |at: usize| [at, at + 1].into_iter().find(|at| *at < end && begins(text, *at));
    range.step_by(2).filter(|at| is(*at)).find_map(pair)
}

fn begins(text: &[u8], at: usize) -> bool {
    let is = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let mut bytes = text.get(at..).unwrap_or_default().iter();
    is(bytes.next())
        && is(bytes.next())
        && match bytes.next() {
            Some(byte) if byte.is_ascii_digit() => true,
            Some(byte) if is_separator(*byte) => is(bytes.next()) && is(bytes.next()),
            _ => false,
        }
}

/// Letters and digits of ASCII with something else on both sides.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) range: Range<usize>,
    pub(super) has_digits: bool,
    has_letters: bool,
}

impl Token {
    /// The longest word that may be a part of a number by being near one.
    pub(super) const SHORT: usize = 5;
    /// The longest word that a number is.
    const LONGEST: usize = 40;

    /// The word about this place, nothing of it before `floor`.
    pub(super) fn about(text: &[u8], at: usize, floor: usize) -> Self {
        let before = text.get(floor..at).unwrap_or_default();
        let start = at - before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        Self::from(text, escapes::past_letter(text, start).min(at))
    }

    /// The short word before, if one separator is between.
    pub(super) fn previous(&self, text: &[u8], floor: usize) -> Option<Self> {
        let end = self.range.start.checked_sub(1).filter(|end| *end > floor)?;
        let before = text.get(floor..end)?;
        let length = before.iter().rev().take(Self::SHORT + 1).take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let joined = text.get(end).is_some_and(|byte| is_separator(*byte));
        let start = escapes::past_letter(text, end - length);
        (joined && (1..=Self::SHORT).contains(&length) && start < end).then(|| Self::from(text, start))
    }

    /// The word after, if one separator is between.
    pub(super) fn next(&self, text: &[u8]) -> Option<Self> {
        let separator = text.get(self.range.end).is_some_and(|byte| is_separator(*byte));
        let start = self.range.end + 1;
        (separator && text.get(start).is_some_and(u8::is_ascii_alphanumeric)).then(|| Self::from(text, start))
    }

    /// How many digits it is, if it is nothing else.
    pub(super) fn digits(&self) -> Option<usize> {
        (!self.has_letters).then_some(self.range.len())
    }

    pub(super) fn is_long(&self) -> bool {
        self.range.len() > Self::LONGEST
    }

    fn from(text: &[u8], start: usize) -> Self {
        let rest = text.get(start..).unwrap_or_default();
        let (mut has_digits, mut has_letters) = (false, false);
        let word = rest.iter().take_while(|byte| {
            let (digit, letter) = (byte.is_ascii_digit(), byte.is_ascii_alphabetic());
            has_digits |= digit;
            has_letters |= letter;
            digit || letter
        });
        let range = start..start + word.count();
        Self { range, has_digits, has_letters }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_what_its_bytes_begin() {
        for text in ["123", "12-34", "12 34", "12/34", "12.34", "a1b22c12:34", "1-2-3-4", "", "12"] {
            for distance in [0, 1, 60, 63, 64, 65, 127, 200] {
                let mut padded = vec![b'x'; distance];
                padded.extend_from_slice(text.as_bytes());
                padded.resize(distance + 100, b'y');
                let expected = (0..padded.len()).find(|at| begins(&padded, *at));
                assert_eq!(next(&padded, 0), expected, "{text} after {distance}");
            }
        }
    }

    #[test]
    fn words_are_joined_by_one_separator() {
        let text = b"GB29 NWBK 6016  1331";
        let word = Token::about(text, 11, 0);
        assert_eq!(word.range, 10..14);
        let previous = word.previous(text, 0).unwrap();
        assert_eq!((previous.range.clone(), previous.has_digits), (5..9, false));
        assert_eq!(previous.previous(text, 0).map(|word| word.range), Some(0..4));
        assert!(word.next(text).is_none(), "two spaces are between");
    }
}
