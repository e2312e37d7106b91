//! Where something stands in a text that may be a token: most texts are words, and where no token is no rule that finds
//! one by the name before it needs to look.

use std::ops::Range;

use super::lanes::{BLOCK, Kinds, Masks, Vector, not_before};
use super::shape::is_token;
use super::validate::are_drawn;

/// The shortest run of characters of tokens that counts, in bytes.
pub const LEAST: usize = 12;

/// A run of letters alone counts from so many bytes on: words are shorter.
const LONGER_THAN_WORDS: usize = 16;

/// How many bytes before a run are told with it: the name of a value stands there, and its keyword in it.
const BEFORE: usize = 160;

/// Tells the parts of a text that have a run of [`LEAST`] or more characters of tokens, in order and apart from each other.
/// Runs of small letters alone are words, unless they are long or make none.
pub fn about(text: &[u8], mut found: impl FnMut(Range<usize>)) {
    let mut open: Option<Range<usize>> = None;
    each(text, |run, may_be_token| {
        if !may_be_token && !text.get(run.clone()).is_some_and(is_drawn) {
            return;
        }
        let start = run.start.saturating_sub(BEFORE);
        match &mut open {
            Some(open) if start <= open.end => open.end = run.end,
            _ => open.replace(start..run.end).into_iter().for_each(&mut found),
        }
    });
    open.into_iter().for_each(found);
}

/// Tells each run of [`LEAST`] or more, and whether it may be a token. A block without one costs a few steps for all of
/// its bytes.
fn each(text: &[u8], mut found: impl FnMut(Range<usize>, bool)) {
    let mut done = 0;
    let mut before: Option<(usize, Marks)> = None;
    let mut blocks = Masks::<Characters, 3>::of(text).map(|(at, masks)| (at, Marks::of(masks)));
    loop {
        let read = blocks.next();
        let next = read.map_or(Marks::default(), |(_, marks)| marks);
        let Some((block, marks)) = std::mem::replace(&mut before, read) else {
            if read.is_none() {
                return;
            }
            continue;
        };
        if !may_begin(marks.tokens, next.tokens) {
            continue;
        }
        let mut begins = begins(marks.tokens, next.tokens) & not_before(done, block);
        while begins != 0 {
            let first = begins.trailing_zeros();
            let length = (both(marks.tokens, next.tokens) >> first).trailing_ones();
            let start = block + first as usize;
            if first + length == u128::BITS {
                let behind = block + 2 * BLOCK;
                done = behind + length_of(text.get(behind..).unwrap_or_default());
                found(start..done, text.get(start..done).is_some_and(may_be_token));
            } else {
                done = start + length as usize;
                let small = both(marks.small, next.small) >> first;
                let varied = both(marks.varied, next.varied) >> first;
                let is_number = text.get(start).is_some_and(u8::is_ascii_digit);
                found(start..done, is_number || may_be_token_by(small, varied, length));
            }
            begins &= not_before(done, block);
        }
    }
}

/// Whether so many characters of tokens stand in a row. Only a few of the bytes are looked at: of each row of that length
/// one is at a multiple of it.
pub fn has(text: &[u8], length: usize) -> bool {
    let is = |byte: &&u8| is_token(**byte);
    let mut at = 0;
    while let Some((row, behind)) = text.get(at..).and_then(|rest| rest.split_at_checked(length)) {
        let before = row.iter().rev().take_while(is).count();
        let after = if before > 0 { behind.iter().take(length - before).take_while(is).count() } else { 0 };
        if before + after >= length {
            return true;
        }
        at += length + after;
    }
    false
}

fn both(block: u64, next: u64) -> u128 {
    u128::from(block) | u128::from(next) << BLOCK
}

/// How many characters of tokens these bytes begin with.
fn length_of(text: &[u8]) -> usize {
    let end = Masks::<Characters, 3>::of(text).find_map(|(at, [tokens, ..])| match !tokens {
        0 => None,
        others => Some(at + others.trailing_zeros() as usize),
    });
    end.unwrap_or(text.len())
}

/// Whether letters stand there that follow each other as in no words.
fn is_drawn(run: &[u8]) -> bool {
    run.split(|byte| !byte.is_ascii_lowercase()).any(|word| word.len() >= LEAST && are_drawn(word))
}

/// What is no word: it has a digit, or a capital behind another character, or is longer than words are.
fn may_be_token(run: &[u8]) -> bool {
    let varied = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    run.first().is_some_and(u8::is_ascii_digit)
        || run.iter().skip(1).any(varied)
        || run.split(|byte| !byte.is_ascii_lowercase()).any(|word| word.len() >= LONGER_THAN_WORDS)
}

/// The same of as many as this, by a bit for each, where the first is no digit.
fn may_be_token_by(small: u128, varied: u128, length: u32) -> bool {
    const { assert!(LONGER_THAN_WORDS == 16) }
    let run = (1_u128 << length) - 1;
    let two = small & small >> 1 & run;
    let four = two & two >> 2;
    let eight = four & four >> 4;
    varied & run & !1 != 0 || eight & eight >> 8 != 0
}

/// A bit for each byte that [`LEAST`] characters of tokens begin with, by a bit for each of those in this block and in the
/// next.
fn begins(block: u64, next: u64) -> u64 {
    let all = both(block, next);
    let two = all & all >> 1;
    let four = two & two >> 2;
    let eight = four & four >> 4;
    (eight & four >> 8) as u64
}

/// False if none of those begins here: each has eight in it from a multiple of four on.
#[inline(always)]
fn may_begin(block: u64, next: u64) -> bool {
    const { assert!(LEAST >= 11) }
    let two = block & block >> 1;
    let four = two & two >> 2;
    four & four >> 4 & 0x1111_1111_1111_1111 != 0 || block >> (BLOCK - 1) == 1 && next & 0xf == 0xf
}

/// A bit for each byte of a block.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    /// The characters of tokens.
    tokens: u64,
    /// The small letters.
    small: u64,
    /// Digits and capitals.
    varied: u64,
}

impl Marks {
    #[inline(always)]
    fn of([tokens, small, varied]: [u64; 3]) -> Self {
        Self { tokens, small, varied }
    }
}

/// What [`Marks`] are of.
struct Characters;

impl Kinds<3> for Characters {
    #[inline(always)]
    fn of<V: Vector>(bytes: V) -> [V; 3] {
        // `-`, `.`, `/`, the digits and `:` follow each other.
        let letters = bytes.folded().within(b'a', 26).or(bytes.within(b'-', 14));
        let tokens = letters.or(bytes.is(b'_')).or(bytes.is(b'+')).or(bytes.is(b'=')).or(bytes.is(b'~'));
        [tokens, bytes.within(b'a', 26), bytes.within(b'A', 26).or(bytes.within(b'0', 10))]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_long_run_is_found(text in prop::collection::vec(prop_oneof!["[A-Za-z0-9+/_.=~:-]{1,40}", "[ ;!]{1,3}", "\\PC", "[a-z]{60,140}", "[a-z/]{12,80}", "[0-9A-Z][a-z/]{11,50}"], 0..30)) {
            let text = text.concat().into_bytes();
            let mut expected = Vec::new();
            let mut at = 0;
            for run in text.chunk_by(|left, right| is_token(*left) == is_token(*right)) {
                if run.len() >= LEAST && run.iter().all(|byte| is_token(*byte)) {
                    expected.push(at..at + run.len());
                }
                at += run.len();
            }
            let mut found = Vec::new();
            each(&text, |run, may_be| found.push((run, may_be)));
            let expected: Vec<_> = expected.into_iter().map(|run| (run.clone(), may_be_token(&text[run]))).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn a_row_is_seen_wherever_it_stands(text in "([a-z0-9]{1,9}[ !]{0,2}){0,12}", length in 0..30_usize) {
            let longest = text.split([' ', '!']).map(str::len).max().unwrap_or_default();
            prop_assert_eq!(has(text.as_bytes(), length), longest >= length);
        }

        #[test]
        fn bytes_are_told_apart_as_one_by_one(block in prop::array::uniform::<_, 64>(any::<u8>())) {
            let of = |is: fn(&u8) -> bool| block.iter().rev().fold(0, |mask, byte| mask << 1 | u64::from(is(byte)));
            let marks = Marks::of(crate::pipeline::dlp::lanes::masks::<Characters, 3>(&block));
            prop_assert_eq!(marks.tokens, of(|byte| is_token(*byte)));
            prop_assert_eq!(marks.small, of(u8::is_ascii_lowercase));
            prop_assert_eq!(marks.varied, of(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()));
        }
    }

    #[test]
    fn words_are_no_tokens() {
        let parts = |text: &str| {
            let mut parts = Vec::new();
            about(text.as_bytes(), |part| parts.push((part.start, part.end)));
            parts
        };
        for text in ["Understanding documentation", "https://example.com/a/path-of-words", "", "k3y"] {
            assert!(parts(text).is_empty(), "{text}");
        }
        assert_eq!(parts("a key: q8Zr3vTn5kLw."), [(0, 20)]);
        assert_eq!(parts("thisistheonewithoutaspace"), [(0, 25)]);
        assert_eq!(parts("key: qzxkvjwpfhgtb"), [(0, 18)]);
        let far = format!("{0}q8Zr3vTn5kLw{0}{1}{0}q8Zr3vTn5kLw q8Zr3vTn5kLw", " ".repeat(200), "a ");
        assert_eq!(parts(&far), [(40, 212), (454, 639)]);
    }
}
