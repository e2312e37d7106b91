//! Where something stands in a text that may be a token: most texts are words, and where no token is no rule that finds
//! one by the name before it needs to look.

use std::ops::Range;

use super::lanes::{self, BLOCK};

/// The shortest run of characters of tokens that counts, in bytes.
pub const LEAST: usize = 12;

/// A run of letters alone counts from so many bytes on: words are shorter.
const LONGER_THAN_WORDS: usize = 16;

/// How many bytes before a run are told with it: the name of a value stands there, and its keyword in it.
const BEFORE: usize = 160;

/// Tells the parts of a text that have a run of [`LEAST`] or more characters of tokens, in order and apart from each other.
/// Runs of small letters alone are words.
pub fn about(text: &[u8], mut found: impl FnMut(Range<usize>)) {
    let mut open: Option<Range<usize>> = None;
    each(text, |run| {
        if !text.get(run.clone()).is_some_and(may_be_token) {
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

/// What is no word: it has a digit, or a capital behind another character, or is longer than words are.
fn may_be_token(run: &[u8]) -> bool {
    let varied = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    run.first().is_some_and(u8::is_ascii_digit)
        || run.iter().skip(1).any(varied)
        || run.split(|byte| !byte.is_ascii_lowercase()).any(|word| word.len() >= LONGER_THAN_WORDS)
}

/// Tells each run of [`LEAST`] or more. A block without one costs a few steps for all of its bytes.
fn each(text: &[u8], mut found: impl FnMut(Range<usize>)) {
    let mut open: Option<usize> = None;
    let mut before: Option<(usize, u64)> = None;
    for (at, next) in lanes::blocks(text).map(|(at, block)| (at, tokens(&block))).chain([(usize::MAX, 0)]) {
        let Some((block, mask)) = before.replace((at, next)) else { continue };
        let mut begins = begins(mask, next);
        if let Some(start) = open {
            let more = mask.trailing_ones();
            if more == u64::BITS {
                continue;
            }
            open = None;
            found(start..block + more as usize);
            begins &= u64::MAX << more;
        }
        while begins != 0 {
            let first = begins.trailing_zeros();
            let length = (mask >> first).trailing_ones();
            let end = first + length;
            if end == u64::BITS {
                open = Some(block + first as usize);
                break;
            }
            found(block + first as usize..block + end as usize);
            begins &= u64::MAX << end;
        }
    }
    open.into_iter().for_each(|start| found(start..text.len()));
}

/// A bit for each byte that [`LEAST`] characters of tokens begin with, by a bit for each of those in this block and in the
/// next.
fn begins(block: u64, next: u64) -> u64 {
    let all = u128::from(block) | u128::from(next) << BLOCK;
    let two = all & all >> 1;
    let four = two & two >> 2;
    let eight = four & four >> 4;
    (eight & four >> 8) as u64
}

/// A bit for each byte that is a character of tokens.
#[inline(always)]
fn tokens(block: &[u8; BLOCK]) -> u64 {
    lanes::mask(block, |bytes| {
        // `-`, `.`, `/`, the digits and `:` follow each other.
        let letters = bytes.folded().within(b'a', 26).or(bytes.within(b'-', 14));
        letters.or(bytes.is(b'_')).or(bytes.is(b'+')).or(bytes.is(b'=')).or(bytes.is(b'~'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::shape::is_token;
    use super::*;

    proptest! {
        #[test]
        fn every_long_run_is_found(text in prop::collection::vec(prop_oneof!["[A-Za-z0-9+/_.=~:-]{1,40}", "[ ;!]{1,3}", "\\PC", "[a-z]{60,140}"], 0..30)) {
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
            each(&text, |run| found.push(run));
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn bytes_are_told_apart_as_one_by_one(block in prop::array::uniform::<_, 64>(any::<u8>())) {
            prop_assert_eq!(tokens(&block), block.iter().rev().fold(0, |mask, byte| mask << 1 | u64::from(is_token(*byte))));
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
        let far = format!("{0}q8Zr3vTn5kLw{0}{1}{0}q8Zr3vTn5kLw q8Zr3vTn5kLw", " ".repeat(200), "a ");
        assert_eq!(parts(&far), [(40, 212), (454, 639)]);
    }
}
