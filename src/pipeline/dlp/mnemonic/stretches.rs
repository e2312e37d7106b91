//! Where a row of words of the list could be: few texts have three of them in a row, and a row is so long that it is
//! seen by a place in it: of all else nothing is read but where words of one letter or two begin.

use super::super::escapes;
use super::super::lanes::{BLOCK, Kinds, Masks, Vector};
use super::{LIST, LONGEST_WORD, List, MOST_BETWEEN, SHORTEST, key};

/// How many bytes are decided on together.
const CHUNK: usize = 16;

/// How many words are asked for about each place before any other is.
const WORDS: usize = 3;

/// Tells places, until it is told that something was found up to another: of each row of [`SHORTEST`] words and more one is
/// told at least, in a word of it that is not one of the last two, or right before one.
pub(super) fn each(text: &[u8], mut found: impl FnMut(usize) -> Option<usize>) {
    // A row has two chunks side by side, all of them, wherever it begins; and behind where the second begins are as many
    // words as are asked for: all are as short as words are here, with one byte between.
    const { assert!((SHORTEST - 1) * 4 + 3 >= 3 * CHUNK - 1 && 2 * CHUNK - 1 < (SHORTEST - WORDS + 1) * 4) }
    let list = &*LIST;
    let mut free = 0;
    let mut look = |block: usize, mut chunks: u64, before: u64, here: u64, next: u64| {
        while chunks != 0 {
            let at = chunks.trailing_zeros() + 1 - CHUNK as u32;
            chunks &= chunks - 1;
            // The 64 bytes before the place and those from it on.
            let behind = (u128::from(before) | u128::from(here) << BLOCK) >> at;
            let ahead = (u128::from(here) | u128::from(next) << BLOCK) >> at;
            let (place, letters) = (block + at as usize, (behind as u64, ahead as u64));
            // What is no word of the list is in no row: the next may begin behind it, and then has all of both chunks.
            if place < free + CHUNK {
                continue;
            }
            let seen = may_be_listed(list, text, place, letters).and_then(|()| may_be_row(list, text, place, letters));
            match seen {
                Ok(()) => free = found(place).unwrap_or(free),
                Err(end) => free = end,
            }
        }
    };
    let (mut before, mut here, mut chunks) = (0, Marks::default(), 0);
    // A block is looked at with the next; those before the first are no chunks.
    let mut last = u64::MAX;
    Masks::<Characters, 2>::of(text).for_each(|(at, [letters, escapes])| {
        if chunks != 0 {
            look(at - BLOCK, chunks, before, here.letters, letters);
        }
        let marks = Marks { letters, escapes };
        let others = marks.short_words(here);
        (before, here, chunks, last) = (here.letters, marks, without(others, last), others);
    });
    if let Some(last) = text.len().checked_sub(1) {
        look(last - last % BLOCK, chunks, before, here.letters, 0);
    }
}

/// The last bit of each chunk that has none of these, nor has the chunk before it.
#[inline(always)]
fn without(others: u64, before: u64) -> u64 {
    const { assert!(CHUNK == 16) }
    const LAST: u64 = 0x8000_8000_8000_8000;
    let both = others | others << CHUNK | before >> (BLOCK - CHUNK);
    !(((both & !LAST) + !LAST) | both) & LAST
}

/// A bit for each byte of a block.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    letters: u64,
    escapes: u64,
}

impl Marks {
    /// Where words of one letter or two begin, which are none of the list. What would be seen only with the next block is
    /// left out, and so is what begins with the letter of an escape.
    #[inline(always)]
    fn short_words(self, before: Self) -> u64 {
        let letters = self.letters;
        let no_start = (letters | self.escapes) << 1 | (before.letters | before.escapes) >> (BLOCK - 1);
        let longer = (letters >> 1 | 1 << (BLOCK - 1)) & (letters >> 2 | 0b11 << (BLOCK - 2));
        letters & !no_start & !longer
    }
}

/// Whether the word at a place, or right behind what is between words there, and those after it may be of the list; where
/// the first ends that is none. The letters are those before the place and those from it on.
#[inline(always)]
fn may_be_listed(list: &List, text: &[u8], place: usize, (before, letters): (u64, u64)) -> Result<(), usize> {
    // All that is asked about is seen.
    const { assert!(MOST_BETWEEN + WORDS * (LONGEST_WORD + MOST_BETWEEN) <= u64::BITS as usize) }
    let mut begun = if letters & 1 == 1 { before.leading_ones() } else { 0 };
    let mut end = 0;
    for _ in 0..WORDS {
        let first = end + letters.unbounded_shr(end).trailing_zeros();
        if first - end > MOST_BETWEEN as u32 {
            return Err(place + first as usize);
        }
        let length = letters.unbounded_shr(first).trailing_ones();
        let start = (place + first as usize).saturating_sub(begun as usize);
        end = first + length;
        match is_listed(list, text, start, begun + length) {
            Some(true) => {}
            Some(false) => return Err(place + end as usize),
            None => return Ok(()),
        }
        begun = 0;
    }
    Ok(())
}

/// Whether these letters may be a word of the list; that of an escape is none of it. None if they are nothing else.
#[inline(always)]
fn is_listed(list: &List, text: &[u8], start: usize, length: u32) -> Option<bool> {
    let may_be = |start: usize, length: u32| {
        (3..=LONGEST_WORD as u32).contains(&length) && list.may_have(key(text, start, length as usize))
    };
    if may_be(start, length) {
        return Some(true);
    }
    match length {
        0 => Some(false),
        _ if !escapes::is_letter(text, start) => Some(false),
        1 => None,
        _ => Some(may_be(start + 1, length - 1)),
    }
}

/// Whether there are as many words about a place that may be of the list, as far as that is seen; where what follows a
/// row of fewer begins or ends.
#[inline(never)]
fn may_be_row(list: &List, text: &[u8], place: usize, (before, ahead): (u64, u64)) -> Result<(), usize> {
    let letters = u128::from(before) | u128::from(ahead) << BLOCK;
    let begun = if ahead & 1 == 1 { before.leading_ones() } else { 0 };
    let from = BLOCK as u32 - begun;
    // Where that is in the text.
    let at = |bit: u32| (place + bit as usize).saturating_sub(BLOCK);
    // The letters before the first word may belong to it where backslashes follow each other.
    let (mut count, mut end) = (1, from);
    let behind = loop {
        let first = end + letters.unbounded_shr(end).trailing_zeros();
        let length = letters.unbounded_shr(first).trailing_ones();
        if first + length >= u128::BITS {
            return Ok(());
        }
        if first - end > MOST_BETWEEN as u32 {
            break first;
        }
        end = first + length;
        match is_listed(list, text, at(first), length) {
            Some(true) => count += 1,
            Some(false) => break end,
            None => return Ok(()),
        }
    };
    let mut start = from;
    loop {
        let before = letters & ((1 << start) - 1);
        let end = u128::BITS - before.leading_zeros();
        if end == 0 || start - end > MOST_BETWEEN as u32 {
            break;
        }
        let length = (before << (u128::BITS - end)).leading_ones();
        start = end - length;
        if start == 0 {
            return Ok(());
        }
        match is_listed(list, text, at(start), length) {
            Some(true) => count += 1,
            Some(false) => break,
            None => return Ok(()),
        }
    }
    if count >= SHORTEST { Ok(()) } else { Err(at(behind)) }
}

/// Letters and backslashes.
struct Characters;

impl Kinds<2> for Characters {
    #[inline(always)]
    fn of<V: Vector>(bytes: V) -> [V; 2] {
        [bytes.folded().within(b'a', 26), bytes.is(b'\\')]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Run, is_listed, word_about};
    use super::*;

    proptest! {
        /// Whatever is a row of words for who reads one after the other.
        #[test]
        fn of_each_row_of_words_a_place_is_told(
            parts in prop::collection::vec(prop_oneof![
                4 => "(abandon|zoo|Ability|able|ABSTRACT|act|art|cat|note|rare|tail|nest)([ ,.;:-]|\\\\n|\\\\t|\\\\r\\\\n|\", \"|  |\n[0-9]{1,2}[.] )",
                1 => prop_oneof!["[ 0-9.]{8,60}", Just("the ".to_owned()), Just("to ".to_owned()), Just("x".to_owned()), Just("\\".to_owned()), "\\PC{1,3}"],
            ], 0..60),
        ) {
            let text = parts.concat();
            let text = text.as_bytes();
            let mut told = Vec::new();
            each(text, |at| { told.push(at); None });
            let mut done = 0;
            for at in 0..text.len() {
                let Some(word) = word_about(text, at).filter(|word| word.start >= done && is_listed(text, word)) else { continue };
                let run = Run::about(text, word, done);
                let (first, last) = (run.words.first().unwrap().start, run.words.last().unwrap().start);
                done = run.end();
                if run.words.len() >= SHORTEST {
                    prop_assert!(told.iter().any(|at| (first..=last).contains(at)), "{first}..{last} {told:?}");
                }
            }
        }
    }
}
