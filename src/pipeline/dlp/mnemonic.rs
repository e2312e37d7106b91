//! Seed phrases: twelve words and more of BIP-39's English list, one after another.
//!
//! A phrase is so long that words are looked up only where all words about them are as long as those of the list are; only
//! about words of the list is more looked at.

mod stretches;

use std::ops::Range;
use std::sync::LazyLock;

use bip39::Language;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::escapes;
use super::finding::Confidence;
use super::lanes::{self, BLOCK, Kinds, Vector};
use super::numbers::{Match, SEED_PHRASE};

/// The longest phrase that is told, in bytes.
pub const LONGEST: usize = 512;

/// How many words phrases have.
const LENGTHS: [usize; 5] = [24, 21, 18, 15, 12];
const SHORTEST: usize = 12;
const LONGEST_WORD: usize = 8;

/// Tells each phrase: confirmed if its checksum holds, medium if it has a phrase's length and does not.
pub fn find(text: &[u8], found: &mut dyn FnMut(Match)) {
    let mut done = 0;
    stretches::each(text, |at| {
        done = about(text, at, done, found)?;
        Some(done)
    });
}

/// Tells what is in the row of words about a place, and where that ends; nothing of it is before what is done with.
#[inline(never)]
fn about(text: &[u8], at: usize, done: usize, found: &mut dyn FnMut(Match)) -> Option<usize> {
    let word = listed(text, at).filter(|word| word.start >= done && is_listed(text, word))?;
    let run = Run::about(text, word, done);
    run.phrases(text, found);
    Some(run.end())
}

/// Words of the list with little between.
struct Run {
    words: SmallVec<[Range<usize>; 32]>,
}

impl Run {
    /// More words in a row than this are a list of words.
    const MOST: usize = 64;

    fn about(text: &[u8], word: Range<usize>, floor: usize) -> Self {
        let mut words: SmallVec<[Range<usize>; 32]> = SmallVec::new();
        let mut first = word.clone();
        while words.len() < Self::MOST
            && let Some(before) = previous(text, &first, floor).filter(|word| is_listed(text, word))
        {
            words.push(before.clone());
            first = before;
        }
        words.reverse();
        words.push(word.clone());
        let mut last = word;
        while words.len() < 2 * Self::MOST
            && let Some(after) = next(text, &last).filter(|word| is_listed(text, word))
        {
            words.push(after.clone());
            last = after;
        }
        Self { words }
    }

    fn end(&self) -> usize {
        self.words.last().map_or(0, |word| word.end)
    }

    fn phrases(&self, text: &[u8], found: &mut dyn FnMut(Match)) {
        let words = self.words.as_slice();
        // A list in the order of the alphabet is the list itself.
        let ordered = words.is_sorted_by(|a, b| text.get(a.clone()) < text.get(b.clone()));
        if words.len() < SHORTEST || ordered {
            return;
        }
        let begins = |at: usize| {
            // In a long row of words a phrase begins with a line.
            let gap = words.get(at.wrapping_sub(1)).zip(words.get(at)).and_then(|(a, b)| text.get(a.end..b.start));
            at < 3 || gap.is_some_and(|gap| gap.contains(&b'\n'))
        };
        let starts: SmallVec<[usize; 16]> = (0..words.len()).filter(|at| begins(*at)).take(16).collect();
        let valid = LENGTHS.into_iter().find_map(|length| {
            let last = words.len().checked_sub(length)?;
            let mut starts = starts.iter().copied().filter(|start| *start < last).chain([last]);
            starts.find_map(|start| words.get(start..start + length).filter(|words| is_valid(text, words)))
        });
        let (phrase, confidence) = match valid {
            // One in sixteen rows of twelve words has a checksum that holds: a row of a phrase's length is surer.
            Some(phrase) if phrase.len() == words.len() => (phrase, Confidence::Confirmed),
            Some(phrase) => (phrase, Confidence::High),
            None if LENGTHS.contains(&words.len()) => (words, Confidence::Medium),
            None => return,
        };
        if let (Some(first), Some(last)) = (phrase.first(), phrase.last()) {
            let range = first.start..last.end;
            let example = is_example(text, phrase);
            found(Match { rule: SEED_PHRASE.id, range, confidence, example });
        }
    }
}

/// BIP-39: eleven bits a word, of which one in thirty-three is of the SHA-256 of the others.
fn is_valid(text: &[u8], words: &[Range<usize>]) -> bool {
    let mut bytes: SmallVec<[u8; 64]> = SmallVec::new();
    let (mut bits, mut held) = (0u32, 0u32);
    for word in words {
        let Some(index) = index(text, word) else { return false };
        bits = bits << 11 | u32::from(index);
        held += 11;
        while held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    // What is left over is less than a byte: the checksum's last bits, or of 24 words none.
    let checksum = words.len() / 3;
    let entropy = (words.len() * 11 - checksum) / 8;
    let mask = (1u32 << held) - 1;
    let stated = match bytes.get(entropy) {
        Some(byte) => *byte,
        None => ((bits & mask) << (8 - held)) as u8,
    };
    let digest = Sha256::digest(bytes.get(..entropy).unwrap_or_default());
    digest.first().is_some_and(|expected| expected >> (8 - checksum) == stated >> (8 - checksum))
}

/// What test vectors and tutorials show: the same word many times, and the phrase of a well-known development chain.
fn is_example(text: &[u8], words: &[Range<usize>]) -> bool {
    let phrase = joined(text, words);
    let first = phrase.split(' ').next().unwrap_or_default();
    phrase.split(' ').filter(|word| *word == first).count() >= SHORTEST - 1
        || phrase == "test test test test test test test test test test test junk"
        || phrase == "legal winner thank year wave sausage worth useful legal winner thank yellow"
        || phrase == "letter advice cage absurd amount doctor acoustic avoid letter advice cage above"
}

fn joined(text: &[u8], words: &[Range<usize>]) -> String {
    let mut phrase = String::with_capacity(words.len() * (LONGEST_WORD + 1));
    for word in words {
        if !phrase.is_empty() {
            phrase.push(' ');
        }
        let letters = text.get(word.clone()).unwrap_or_default();
        phrase.extend(letters.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
    }
    phrase
}

/// The word at this place.
fn word_about(text: &[u8], at: usize) -> Option<Range<usize>> {
    text.get(at).filter(|byte| byte.is_ascii_alphabetic())?;
    let before = text.get(..at)?.iter().rev().take(LONGEST_WORD).take_while(|byte| byte.is_ascii_alphabetic()).count();
    word_from(text, escapes::past_letter(text, at - before))
}

fn word_from(text: &[u8], start: usize) -> Option<Range<usize>> {
    let letters =
        text.get(start..)?.iter().take(LONGEST_WORD + 1).take_while(|byte| byte.is_ascii_alphabetic()).count();
    (3..=LONGEST_WORD).contains(&letters).then(|| start..start + letters)
}

/// Blanks, quotes, commas, and the numbers of a numbered list.
fn between(byte: &u8) -> bool {
    byte.is_ascii_whitespace()
        || byte.is_ascii_digit()
        || matches!(byte, b'"' | b'\'' | b',' | b'.' | b'-' | b'_' | b'|' | b':' | b';' | b')' | b'(' | b'\\')
}

const MOST_BETWEEN: usize = 8;

/// How much of that there is from here on, up to a little more than may be.
fn gap_after(text: &[u8], at: usize) -> usize {
    let mut gap = 0;
    while gap <= MOST_BETWEEN {
        match text.get(at + gap..).unwrap_or_default() {
            [b'\\', b'n' | b'r' | b't', ..] => gap += 2,
            [first, ..] if between(first) => gap += 1,
            _ => break,
        }
    }
    gap
}

fn next(text: &[u8], word: &Range<usize>) -> Option<Range<usize>> {
    let gap = gap_after(text, word.end);
    if !(1..=MOST_BETWEEN).contains(&gap) {
        return None;
    }
    word_from(text, word.end + gap)
}

fn previous(text: &[u8], word: &Range<usize>, floor: usize) -> Option<Range<usize>> {
    let before = text.get(floor..word.start)?;
    let mut gap = 0;
    while gap <= MOST_BETWEEN {
        match before.get(..before.len() - gap)? {
            [.., b'\\', b'n' | b'r' | b't'] => gap += 2,
            [.., last] if between(last) => gap += 1,
            _ => break,
        }
    }
    let end = word.start - gap;
    if !(1..=MOST_BETWEEN).contains(&gap) || end <= floor {
        return None;
    }
    word_about(text, end - 1).filter(|word| word.start >= floor && word.end == end)
}

/// The word at a place, or right after what is between words there, if it may be listed and so may be the two after it or
/// the two before it, as in any phrase.
fn listed(text: &[u8], at: usize) -> Option<Range<usize>> {
    let ahead = Near::about(text, at, Near::WORD);
    let word = ahead.range(&ahead.word);
    if word.start > at + MOST_BETWEEN || !ahead.is_listed(text, &ahead.word) {
        return None;
    }
    let found = ahead.two(text, Near::next) || Near::about(text, at, Near::WORDS).two(text, Near::previous);
    found.then_some(word)
}

/// The words about a place, by a bit for each letter: words of the list are in every text, and most places are done with
/// after one look.
struct Near {
    from: usize,
    letters: u64,
    /// The bits of the word at the place, or right after what is between words there.
    word: Range<u32>,
}

impl Near {
    /// A word and what is between words: as much before a place, so that the two after it are within a block, too.
    const WORD: usize = LONGEST_WORD + MOST_BETWEEN;
    /// As much before a place as three words and what is between them.
    const WORDS: usize = 3 * Self::WORD;

    #[inline(always)]
    fn about(text: &[u8], at: usize, before: usize) -> Self {
        let from = at.saturating_sub(before);
        let rest = text.get(from..).unwrap_or_default();
        let mut end = [b' '; BLOCK];
        let block = rest.first_chunk().unwrap_or_else(|| {
            end.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            &end
        });
        let [letters, escapes, ends] = lanes::masks::<Characters, 3>(block);
        let letters = letters & !(escapes << 1 & ends);
        let place = (at - from) as u32;
        let inside = letters >> place & 1 == 1;
        let start = if inside { Self::start(letters, place) } else { Self::after(letters, place) };
        Self { from, letters, word: start..Self::end(letters, start) }
    }

    fn two(&self, text: &[u8], then: fn(u64, &Range<u32>) -> Range<u32>) -> bool {
        let first = then(self.letters, &self.word);
        self.is_listed(text, &first) && self.is_listed(text, &then(self.letters, &first))
    }

    fn is_listed(&self, text: &[u8], word: &Range<u32>) -> bool {
        (3..=LONGEST_WORD).contains(&word.len())
            && LIST.may_have(key(text, self.from + word.start as usize, word.len()))
    }

    fn range(&self, word: &Range<u32>) -> Range<usize> {
        self.from + word.start as usize..self.from + word.end as usize
    }

    fn next(letters: u64, word: &Range<u32>) -> Range<u32> {
        let start = Self::after(letters, word.end);
        start..Self::end(letters, start)
    }

    fn previous(letters: u64, word: &Range<u32>) -> Range<u32> {
        let before = letters & 1_u64.checked_shl(word.start).map_or(u64::MAX, |bit| bit - 1);
        match u64::BITS - before.leading_zeros() {
            0 => 0..0,
            end => Self::start(letters, end - 1)..end,
        }
    }

    /// The first letter from here on.
    fn after(letters: u64, at: u32) -> u32 {
        at + letters.checked_shr(at).unwrap_or(0).trailing_zeros().min(u64::BITS - at)
    }

    /// Where the word ends that begins here.
    fn end(letters: u64, start: u32) -> u32 {
        start + letters.checked_shr(start).unwrap_or(0).trailing_ones()
    }

    /// Where the word begins of which this is a letter.
    fn start(letters: u64, at: u32) -> u32 {
        at + 1 - (letters << (u64::BITS - 1 - at)).leading_ones()
    }
}

/// Letters, backslashes, and the letters that may follow one.
struct Characters;

impl Kinds<3> for Characters {
    #[inline(always)]
    fn of<V: Vector>(bytes: V) -> [V; 3] {
        let ends = bytes.is(b'n').or(bytes.is(b'r')).or(bytes.is(b't'));
        [bytes.folded().within(b'a', 26), bytes.is(b'\\'), ends]
    }
}

fn is_listed(text: &[u8], word: &Range<usize>) -> bool {
    index(text, word).is_some()
}

/// The word's place in the list.
fn index(text: &[u8], word: &Range<usize>) -> Option<u16> {
    LIST.index(key(text, word.start, word.len()))
}

/// A word of so many letters as a number.
#[inline]
fn key(text: &[u8], start: usize, length: usize) -> u64 {
    let rest = text.get(start..).unwrap_or_default();
    match rest.first_chunk() {
        Some(eight) => (u64::from_le_bytes(*eight) | SMALL) & (u64::MAX >> (64 - 8 * length.clamp(1, LONGEST_WORD))),
        None => packed(rest.get(..length).unwrap_or(rest)),
    }
}

/// Turns capitals into small letters.
const SMALL: u64 = 0x2020_2020_2020_2020;

/// The longest word of the list has eight letters: the first in the lowest byte.
fn packed(letters: &[u8]) -> u64 {
    letters.iter().rev().fold(0, |key, byte| key << 8 | u64::from(byte | 0x20))
}

static LIST: LazyLock<List> = LazyLock::new(List::new);

/// The words of the list as numbers and their places.
struct List {
    /// A bit for the hash of each: most words are none of the list.
    bits: Box<[u64; 1 << (BITS - 6)]>,
    buckets: Vec<SmallVec<[(u64, u16); 2]>>,
}

const BITS: u32 = 15;
const BUCKET_BITS: u32 = 11;

impl List {
    fn new() -> Self {
        let mut list = Self { bits: Box::new([0; 1 << (BITS - 6)]), buckets: vec![SmallVec::new(); 1 << BUCKET_BITS] };
        for (word, index) in Language::English.word_list().iter().zip(0..) {
            let key = packed(word.as_bytes());
            let hash = hash(key);
            list.bits.get_mut(hash >> 6).into_iter().for_each(|bits| *bits |= 1 << (hash & 63));
            let bucket = list.buckets.get_mut(hash >> (BITS - BUCKET_BITS));
            bucket.into_iter().for_each(|bucket| bucket.push((key, index)));
        }
        list
    }

    /// True of each word of the list, and of one in sixteen others.
    #[inline]
    fn may_have(&self, key: u64) -> bool {
        let hash = hash(key);
        self.bits.get(hash >> 6).is_some_and(|bits| bits >> (hash & 63) & 1 == 1)
    }

    #[inline]
    fn index(&self, key: u64) -> Option<u16> {
        if !self.may_have(key) {
            return None;
        }
        self.buckets
            .get(hash(key) >> (BITS - BUCKET_BITS))?
            .iter()
            .find(|(listed, _)| *listed == key)
            .map(|(_, index)| *index)
    }
}

fn hash(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS)) as usize
}

#[cfg(test)]
mod tests {
    use bip39::Mnemonic;

    use super::*;

    fn all(text: &str) -> Vec<(Confidence, bool, &str)> {
        let mut found = Vec::new();
        find(text.as_bytes(), &mut |new| found.push((new.confidence, new.example, &text[new.range])));
        found
    }

    fn phrase(entropy: &[u8]) -> Vec<&'static str> {
        Mnemonic::from_entropy(entropy).unwrap().words().collect()
    }

    #[test]
    fn phrases_of_each_length_are_found_wherever_they_stand() {
        for length in [16, 20, 24, 28, 32] {
            let entropy: Vec<u8> = (0..length).map(|at: u8| at.wrapping_mul(37) ^ length).collect();
            let words = phrase(&entropy);
            for separator in [" ", "\n", ", ", "\", \"", "  "] {
                let written = words.join(separator);
                for before in ["", "x: ", "my wallet's seed phrase was the following:\n\n"] {
                    let text = format!("{before}{written}\". Thx");
                    assert_eq!(all(&text), [(Confidence::Confirmed, false, written.as_str())], "{text}");
                }
            }
        }
        let numbered: String =
            (1..).zip(phrase(&[9; 16])).map(|(at, word)| format!("{at}. {}\n", word.to_uppercase())).collect();
        assert_eq!(all(&numbered).len(), 1, "{numbered}");
        let listed =
            format!("{}\n{}\n{}", phrase(&[9; 16]).join(" "), phrase(&[77; 32]).join(" "), phrase(&[3; 32]).join(" "));
        assert!(!all(&listed).is_empty(), "{listed}");
    }

    #[test]
    fn a_checksum_that_does_not_hold_is_less_sure_and_the_list_itself_is_nothing() {
        let mut words = phrase(&[0x5a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        words.swap(0, 1);
        assert_eq!(all(&words.join(" ")).first().map(|found| found.0), Some(Confidence::Medium));
        assert_eq!(all(&Language::English.word_list().join("\n")), []);
        assert_eq!(all(&words[..11].join(" ")), []);
        let prose =
            "It was the best of times, it was the worst of times, it was the age of wisdom and of foolishness. ";
        assert_eq!(all(&prose.repeat(20)), []);
    }

    #[test]
    fn the_shortest_phrase_is_found_wherever_it_stands_among_words_as_short() {
        let short = Language::English.word_list().iter().rev().filter(|word| word.len() == 3);
        let phrase = short.copied().take(SHORTEST).collect::<Vec<_>>().join(" ");
        for distance in 0..2 * BLOCK {
            let text = format!("{}{1}{phrase} {1}", ".".repeat(distance), "the was him has she who ".repeat(4));
            let found = all(&text);
            assert_eq!(found.iter().map(|found| found.2).collect::<Vec<_>>(), [phrase.as_str()], "{distance}");
        }
    }

    #[test]
    fn published_phrases_are_examples() {
        let text = format!("{}about", "abandon ".repeat(11));
        assert_eq!(all(&text), [(Confidence::Confirmed, true, text.as_str())]);
    }
}
