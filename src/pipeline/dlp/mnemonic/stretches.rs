//! Where a text could be a row of words of the list, by the length of its words alone: in most texts every fourth word is
//! shorter or longer than those of the list are, and no look-up is needed there.

use super::super::lanes::{BLOCK, Kinds, Masks, Vector};
use super::{LIST, LONGEST_WORD, SHORTEST, key};

/// How many bytes are decided on together.
const CHUNK: usize = 8;

/// How many chunks side by side are all of a row, whatever byte it begins with.
const CHUNKS: usize = 5;

/// Tells places, until it is told that something was found up to another: of each row of [`SHORTEST`] words and more one is
/// told at least, in a word of it that is not the last, or right before one.
pub(super) fn each(text: &[u8], mut found: impl FnMut(usize) -> Option<usize>) {
    // Eleven words of three letters with one byte between, and a twelfth.
    const { assert!((SHORTEST - 1) * 4 + 3 >= (CHUNKS + 1) * CHUNK - 1) }
    let mut blocks = Masks::<Characters, 4>::of(text);
    let (mut before, mut here) = (Marks::default(), Marks::next(&mut blocks, 0));
    // Those of the block before that a row may begin with, and those of them that are done with.
    let (mut chunks_before, mut told) = (0, 0);
    let mut free = 0;
    // A row that begins in the last block is all in it.
    for block in (0..text.len() + BLOCK).step_by(BLOCK) {
        let chunks = without(here.other(before.letters));
        let both = chunks_before | chunks << (BLOCK / CHUNK);
        let two = both & both >> 1;
        let mut begins = two & two >> 2 & both >> 4 & 0xff & !told;
        told = 0;
        while begins != 0 {
            // A row may begin in any of four chunks from here on: the last of them is in all of these rows, and so is the
            // next.
            let first = begins.trailing_zeros() as usize;
            begins &= !(0b1111 << first);
            told = 0b1111 << first >> (BLOCK / CHUNK);
            let chunk = first + 3;
            let place = block.wrapping_sub(BLOCK) + chunk * CHUNK;
            let letters = (u128::from(before.letters) | u128::from(here.letters) << BLOCK) >> ((chunk - 1) * CHUNK);
            if place >= free
                && may_be_listed(text, place, letters as u64)
                && let Some(end) = found(place)
            {
                free = end;
            }
        }
        chunks_before = chunks;
        before = here;
        here = Marks::next(&mut blocks, before.escapes);
    }
}

/// False if the word at a place, or the one after it that begins within two chunks, is none of the list. The letters are
/// those from the chunk before it on.
#[inline(always)]
fn may_be_listed(text: &[u8], place: usize, letters: u64) -> bool {
    const PLACE: u32 = CHUNK as u32;
    let begun = (letters << (u64::BITS - 1 - PLACE)).leading_ones();
    // The word about the place, or where none is the next one.
    let first =
        if begun == 0 { PLACE + (letters >> PLACE).trailing_zeros() } else { (PLACE + 1).saturating_sub(begun) };
    let length = letters.unbounded_shr(first).trailing_ones();
    let second = first + length + letters.unbounded_shr(first + length).trailing_zeros();
    let more = letters.unbounded_shr(second).trailing_ones();
    let is_word = |length: u32| (3..=LONGEST_WORD as u32).contains(&length);
    let is_one = second >= 3 * PLACE;
    // Nobody can tell in advance which of the two is none of the list: both are asked.
    let at = |from: u32, length: u32| key(text, place + from as usize - CHUNK, length as usize);
    is_word(length) & (is_one | is_word(more))
        && LIST.may_have(at(first, length)) & (is_one || LIST.may_have(at(second, more)))
}

/// A bit for each chunk without any of these.
#[inline(always)]
fn without(other: u64) -> u64 {
    const { assert!(CHUNK == 8) }
    const FIRST: u64 = 0x0101_0101_0101_0101;
    /// Brings the first bit of each chunk into the last.
    const TOGETHER: u64 = 0x0102_0408_1020_4080;
    let two = other | other >> 1;
    let four = two | two >> 2;
    (!(four | four >> 4) & FIRST).wrapping_mul(TOGETHER) >> (BLOCK - CHUNK)
}

/// A bit for each byte of a block.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    /// Letters that are none of an escape.
    letters: u64,
    /// What may stand between words; a few signs more than do.
    between: u64,
    escapes: u64,
}

impl Marks {
    /// Those of the next block; none behind the end.
    #[inline(always)]
    fn next(blocks: &mut Masks<'_, Characters, 4>, escapes_before: u64) -> Self {
        let Some((_, [letters, between, escapes, ends])) = blocks.next() else { return Self::default() };
        let escaped = ends & (escapes << 1 | escapes_before >> (BLOCK - 1));
        Self { letters: letters & !escaped, between: between | escaped, escapes }
    }

    /// What is in no row of words: signs, letters of words of one or two, and of those that are too long all but as many
    /// as the last could have. What would be seen only with the next block is left out.
    #[inline(always)]
    fn other(self, letters_before: u64) -> u64 {
        const { assert!(LONGEST_WORD == 8) }
        let letters = self.letters;
        let start = letters & !(letters << 1 | letters_before >> (BLOCK - 1));
        let (second, third) = (letters >> 1 | 1 << (BLOCK - 1), letters >> 2 | 0b11 << (BLOCK - 2));
        let alone = start & !second;
        let two = start & second & !third;
        let pairs = letters & letters >> 1;
        let fours = pairs & pairs >> 2;
        let long = fours & fours >> 4 & letters >> 8;
        !(letters | self.between) | alone | two | two << 1 | long
    }
}

/// Letters, what may stand between words, backslashes, and the letters that may follow one.
struct Characters;

impl Kinds<4> for Characters {
    #[inline(always)]
    fn of<V: Vector>(bytes: V) -> [V; 4] {
        let escape = bytes.is(b'\\');
        let between = bytes.within(0, 0x3c).or(escape).or(bytes.is(b'_')).or(bytes.is(b'|'));
        let ends = bytes.is(b'n').or(bytes.is(b'r')).or(bytes.is(b't'));
        [bytes.folded().within(b'a', 26), between, escape, ends]
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
                1 => prop_oneof![Just("the ".to_owned()), Just("to ".to_owned()), Just("x".to_owned()), Just("\\".to_owned()), "\\PC{1,3}"],
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
