//! Where digits stand in a row, and the words about them.

use std::ops::Range;

use super::super::escapes;
use super::super::lanes::{BLOCK, Kinds, Masks, Vector, not_before};

/// Between the groups of a number.
pub(super) fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | b'.' | b'/' | b'(')
}

/// Where three digits stand in a row, or two, a separator and two: no number that is looked for is without.
pub(super) struct Digits<'t> {
    masks: Masks<'t, Characters, 3>,
    length: usize,
    /// The block that was read last.
    next: Option<(usize, [u64; 3])>,
    /// The block before it, and a bit for each place in it.
    block: usize,
    places: u64,
    /// Whether there was a `<` before, and whether two of them stood side by side.
    filler: bool,
    fillers: bool,
}

impl<'t> Digits<'t> {
    pub(super) fn of(text: &'t [u8]) -> Self {
        let mut masks = Masks::of(text);
        Self { next: masks.next(), masks, length: text.len(), block: 0, places: 0, filler: false, fillers: false }
    }

    /// Whether `<<` stands before the place that was told last; if there was none any more, anywhere.
    pub(super) fn has_fillers(&self) -> bool {
        self.fillers
    }

    /// The first place from here on, which is not before that of the last time.
    #[inline]
    pub(super) fn next(&mut self, from: usize) -> Option<usize> {
        loop {
            let places = self.places & not_before(from, self.block);
            if places != 0 {
                let place = self.block + places.trailing_zeros() as usize;
                return (place < self.length).then_some(place);
            }
            let (block, here) = self.next?;
            self.next = self.masks.next();
            let [next_digits, next_separators, _] = self.next.map_or([0; 3], |(_, masks)| masks);
            let [digits, separators, fillers] = here;
            self.fillers |= fillers & (fillers << 1 | u64::from(self.filler)) != 0;
            self.filler = fillers >> (BLOCK - 1) == 1;
            (self.block, self.places) = (block, places_of([digits, separators], next_digits, next_separators));
        }
    }
}

/// A bit for each place of a block, by the digits and separators of the next.
#[inline(always)]
fn places_of([digits, separators]: [u64; 2], next_digits: u64, next_separators: u64) -> u64 {
    let ahead = |here: u64, next: u64, by: u32| here >> by | next << (u64::BITS - by);
    let two = digits & ahead(digits, next_digits, 1);
    if two == 0 {
        return 0;
    }
    let next_two = next_digits & next_digits >> 1;
    let three = ahead(digits, next_digits, 2);
    two & (three | ahead(separators, next_separators, 2) & ahead(two, next_two, 3))
}

/// Digits, what [`is_separator`], and what fills up the lines of a passport.
struct Characters;

impl Kinds<3> for Characters {
    #[inline(always)]
    fn of<V: Vector>(bytes: V) -> [V; 3] {
        let separators = bytes.within(b'-', 3).or(bytes.is(b' ')).or(bytes.is(b'('));
        [bytes.within(b'0', 10), separators, bytes.is(b'<')]
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
    use proptest::prelude::*;

    use super::*;

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

    proptest! {
        #[test]
        fn every_place_is_told(text in prop::collection::vec(prop::sample::select(b"12 -(.:a<".to_vec()), 0..300), step in 1_usize..90) {
            let mut digits = Digits::of(&text);
            let mut from = 0;
            while let Some(place) = digits.next(from) {
                prop_assert_eq!((from..text.len()).find(|at| begins(&text, *at)), Some(place));
                from = place + step;
            }
            prop_assert!(!(from..text.len()).any(|at| begins(&text, at)));
            prop_assert_eq!(digits.has_fillers(), text.windows(2).any(|two| two == b"<<"));
        }
    }

    #[test]
    fn a_block_holds_what_its_bytes_begin() {
        for text in ["123", "12-34", "12 34", "12/34", "12.34", "a1b22c12:34", "1-2-3-4", "", "12"] {
            for distance in [0, 1, 60, 63, 64, 65, 127, 200] {
                let mut padded = vec![b'x'; distance];
                padded.extend_from_slice(text.as_bytes());
                padded.resize(distance + 100, b'y');
                let expected = (0..padded.len()).find(|at| begins(&padded, *at));
                assert_eq!(Digits::of(&padded).next(0), expected, "{text} after {distance}");
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
