//! Where a keyword stands: every byte of every message comes by here, so almost all places end after one look-up.
//!
//! `three bytes of the text, hashed → which fourth bytes may follow (one number of a table) → a mask of places → the
//! keywords with this hash → the whole keyword`. Only every second place is looked at: of each keyword two times four bytes
//! are known, those that are rarest in texts at an even place of it and at an odd one, so that one of them is met wherever
//! it stands. It is not an Aho-Corasick automaton: thousands of keywords in any case of letters make one that fits in no
//! cache.

use std::ops::{ControlFlow, Range};

use super::lanes::{self, BLOCK, Followers, TOGETHER, Windows};

/// Keywords that are looked for together, in any case of letters.
#[derive(Debug)]
pub struct Prefilter {
    followers: Box<Followers>,
    /// A bit for the hash of each keyword of three bytes: at an odd place one is only seen from the byte before it.
    short: Box<Bits>,
    /// A bit for the hash of each anchor's four bytes, and one for that of each anchor of three: most of what may follow in
    /// the table of followers is none of them.
    whole: Box<Bits>,
    threes: Box<Bits>,
    /// Where the anchors of each hash begin; the last is the end.
    starts: Box<[u16]>,
    anchors: Box<[Entry]>,
    /// The keywords in lower case, one after the other.
    bytes: Box<[u8]>,
}

/// The part of a keyword by which it is found.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    /// Its bytes, folded, those that do not count as zeros.
    value: u32,
    /// Which bytes count: a keyword of three bytes has no fourth.
    mask: u32,
    word: u16,
    /// Where it stands in the keyword; before it, by one byte, where that does not count.
    offset: i8,
    length: u8,
    /// Where the keyword stands among all.
    at: u32,
}

/// An anchor with what stands about it in its keyword: there is little that has the same sixteen bytes and is another.
#[derive(Debug, Clone, Copy)]
struct Entry {
    value: About,
    mask: About,
    word: u16,
    offset: i8,
    length: u8,
    at: u32,
}

/// Four bytes before a place and twelve from it on, folded.
type About = [u64; 2];

/// How many of them are before it.
const BEFORE: usize = 4;

/// Why keywords cannot be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrefilterError {
    /// Fewer than three bytes would be everywhere.
    #[error("a keyword has {0} bytes: it needs three at least and {LONGEST} at most")]
    Length(usize),
    /// More than are counted.
    #[error("there are more than {MOST} keywords: leave some out")]
    TooMany,
}

const MOST: usize = u16::MAX as usize;
const LONGEST: usize = i8::MAX as usize;

const SLOT_BITS: u32 = 15;
const SLOTS: usize = 1 << SLOT_BITS;

/// Letters of both cases alike, and a few signs that are told apart later.
const FOLD: u32 = 0x2020_2020;
const THREE: u32 = 0x00ff_ffff;
const LAST_THREE: u32 = 0xffff_ff00;

impl Prefilter {
    /// Takes keywords; they are told by their place.
    ///
    /// # Errors
    /// Keywords that are too short, too long or too many.
    pub fn new<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Self, PrefilterError> {
        let mut followers: Box<Followers> = Box::new([0; _]);
        let [mut short, mut whole, mut threes]: [Box<Bits>; 3] = std::array::from_fn(|_| Box::new([0; SLOTS / 64]));
        let mut bytes = Vec::new();
        let mut anchors = Vec::new();
        for (place, word) in words.into_iter().enumerate() {
            let word = word.to_ascii_lowercase().into_bytes();
            let length = u8::try_from(word.len()).ok().filter(|length| (3..=LONGEST).contains(&usize::from(*length)));
            let length = length.ok_or(PrefilterError::Length(word.len()))?;
            for parity in 0..2 {
                let anchor = Anchor {
                    word: u16::try_from(place).map_err(|_| PrefilterError::TooMany)?,
                    length,
                    at: u32::try_from(bytes.len()).map_err(|_| PrefilterError::TooMany)?,
                    ..Anchor::of(&word, parity)
                };
                if anchor.mask == LAST_THREE {
                    // Whatever stands before it.
                    set(&mut short, anchor.slot());
                    for first in 0..=u8::MAX {
                        anchor_follower(&mut followers, anchor.value | u32::from(first) | FOLD);
                    }
                } else if anchor.mask == THREE {
                    set(&mut threes, anchor.slot());
                    let hash = lanes::hash_of_three(anchor.value | FOLD) as usize;
                    followers.get_mut(hash).into_iter().for_each(|follower| *follower = u32::MAX);
                } else {
                    set(&mut whole, slot_of_four(anchor.value));
                    anchor_follower(&mut followers, anchor.value);
                }
                anchors.push(anchor);
            }
            bytes.extend_from_slice(&word);
        }
        anchors.sort_by_key(Anchor::slot);
        let mut starts = Vec::with_capacity(SLOTS + 1);
        let mut end = 0;
        for of in 0..=SLOTS {
            starts.push(u16::try_from(end).map_err(|_| PrefilterError::TooMany)?);
            end += anchors.iter().skip(end).take_while(|anchor| anchor.slot() == of).count();
        }
        let anchors = anchors.iter().map(|anchor| Entry::of(anchor, &bytes)).collect();
        Ok(Self { followers, short, whole, threes, starts: starts.into(), anchors, bytes: bytes.into() })
    }

    /// Tells each place of each keyword once, and which keyword it is, until it is told to stop. The places rise but for
    /// those that are less than a keyword apart. In the middle of one character, many times, it tells each seventeenth.
    pub fn hits(&self, text: &[u8], mut found: impl FnMut(Range<usize>, usize) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut masks = [0; TOGETHER];
        let mut at = 0;
        loop {
            let count = lanes::following(&self.followers, text.get(at..).unwrap_or_default(), &mut masks);
            if count == 0 {
                break;
            }
            let mut places = [0; MOST_PLACES];
            let few = places_of(masks.get(..count).unwrap_or_default(), &mut places);
            for place in places.iter().take(few) {
                self.at(text, at + usize::from(*place), &mut found)?;
            }
            at += count * BLOCK;
        }
        // What is left over is shorter than a block and what follows one; nothing is found in the zeros after it.
        while at < text.len() {
            let mut last = [0; size_of::<Windows>()];
            for (to, from) in last.iter_mut().zip(text.iter().skip(at)) {
                *to = *from;
            }
            lanes::following(&self.followers, &last, &mut masks);
            let [mask, ..] = masks;
            let mut places = [0; MOST_PLACES];
            let few = places_of(&[mask], &mut places);
            for place in places.iter().take(few) {
                self.at(text, at + usize::from(*place), &mut found)?;
            }
            at += BLOCK;
        }
        ControlFlow::Continue(())
    }

    /// True if a keyword stands in the text.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.hits(text, |_, _| ControlFlow::Break(())).is_break()
    }

    /// Tells the keywords that have an anchor at this place.
    #[inline(always)]
    fn at(
        &self,
        text: &[u8],
        place: usize,
        found: &mut impl FnMut(Range<usize>, usize) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match text.get(place..).and_then(<[u8]>::first_chunk) {
            Some(window) if !self.may_be_anchor(u32::from_le_bytes(*window) | FOLD) => return ControlFlow::Continue(()),
            None if place + 3 > text.len() => return ControlFlow::Continue(()),
            _ => {}
        }
        let about = about(text, place);
        let window = (about[0] >> (8 * BEFORE)) as u32;
        let (first, second) = (slot(window), slot(window >> 8));
        for entry in self.anchored(first).iter().filter(|entry| entry.is_about(about)) {
            self.tell(text, place, entry, found)?;
        }
        if has(&self.short, second) && second != first {
            for entry in self.anchored(second).iter().filter(|entry| entry.is_about(about)) {
                self.tell(text, place, entry, found)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Whether these four bytes, folded, may be an anchor, or have one of three bytes in them.
    #[inline(always)]
    fn may_be_anchor(&self, window: u32) -> bool {
        // Nobody can tell in advance which of them it is: all are asked.
        let whole = bit(&self.whole, slot_of_four(window));
        whole | bit(&self.threes, slot(window)) | bit(&self.short, slot(window >> 8)) != 0
    }

    /// The anchors with this hash.
    #[inline(always)]
    fn anchored(&self, slot: usize) -> &[Entry] {
        let Some([start, end]) = self.starts.get(slot..slot + 2) else { return &[] };
        self.anchors.get(usize::from(*start)..usize::from(*end)).unwrap_or_default()
    }

    /// Tells the keyword of which this is an anchor, if all of it stands there.
    #[inline(never)]
    fn tell(
        &self,
        text: &[u8],
        place: usize,
        entry: &Entry,
        found: &mut impl FnMut(Range<usize>, usize) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(start) = place.checked_add_signed(-isize::from(entry.offset)) else {
            return ControlFlow::Continue(());
        };
        let range = start..start + usize::from(entry.length);
        if is_in_run(text, &range) {
            return ControlFlow::Continue(());
        }
        let word = self.bytes.get(entry.at as usize..entry.at as usize + usize::from(entry.length));
        match (word, text.get(range.clone())) {
            (Some(word), Some(there)) if there.eq_ignore_ascii_case(word) => found(range, usize::from(entry.word)),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// The places that these masks have a bit for, from the first of them on; how many these are. It writes more of them than
/// there are: whether a block has one, and how many, is what no processor can tell in advance.
#[inline(always)]
fn places_of(masks: &[u32], places: &mut [u16; MOST_PLACES]) -> usize {
    const AT_ONCE: usize = 2;
    let mut count = 0;
    for (mask, block) in masks.iter().zip((0_u16..).step_by(BLOCK)) {
        let mut mask = *mask;
        while let Some(next) = places.get_mut(count..).and_then(<[u16]>::first_chunk_mut::<AT_ONCE>) {
            for place in next {
                *place = block + 2 * mask.trailing_zeros() as u16;
                count += usize::from(mask != 0);
                mask &= mask.wrapping_sub(1);
            }
            if mask == 0 {
                break;
            }
        }
    }
    count
}

/// Every second place of as many blocks, and some that are none.
const MOST_PLACES: usize = TOGETHER * BLOCK / 2 + 2;

/// Whether a keyword would be in the middle of one character or of two in turn, many times: what is tried around some of
/// those is tried around all.
fn is_in_run(text: &[u8], keyword: &Range<usize>) -> bool {
    /// Odd, so that each of two is tried.
    const EACH: usize = 17;
    let around = keyword.start.checked_sub(2).and_then(|before| text.get(before..keyword.end + 2)).unwrap_or_default();
    let two_later = around.get(2..).is_some_and(|later| around.starts_with(later));
    two_later && !keyword.start.is_multiple_of(EACH)
}

/// What stands about a place; blanks where the text ends.
#[inline(always)]
fn about(text: &[u8], place: usize) -> About {
    let whole = place.checked_sub(BEFORE).and_then(|start| text.get(start..)).and_then(<[u8]>::first_chunk);
    let halves = match whole {
        Some(bytes) => halves(bytes),
        None => {
            let mut bytes = [0; 16];
            let to = bytes.get_mut(BEFORE.saturating_sub(place)..).unwrap_or_default();
            to.iter_mut().zip(text.iter().skip(place.saturating_sub(BEFORE))).for_each(|(to, from)| *to = *from);
            halves(&bytes)
        }
    };
    // An adapter over both is a call in some builds.
    const BOTH: u64 = (FOLD as u64) << 32 | FOLD as u64;
    let [first, last] = halves;
    [first | BOTH, last | BOTH]
}

#[inline(always)]
fn halves(bytes: &[u8; 16]) -> About {
    let both = u128::from_le_bytes(*bytes);
    [both as u64, (both >> 64) as u64]
}

impl Entry {
    fn of(anchor: &Anchor, bytes: &[u8]) -> Self {
        let (mut value, mut mask) = ([0; 16], [0; 16]);
        let word = bytes.iter().skip(anchor.at as usize).take(usize::from(anchor.length));
        for (at, byte) in (0..).zip(word) {
            let about = (at - i32::from(anchor.offset) + BEFORE as i32).try_into().unwrap_or(usize::MAX);
            value.get_mut(about).into_iter().for_each(|value| *value = byte | FOLD as u8);
            mask.get_mut(about).into_iter().for_each(|mask| *mask = u8::MAX);
        }
        let Anchor { word, offset, length, at, .. } = *anchor;
        Self { value: halves(&value), mask: halves(&mask), word, offset, length, at }
    }

    /// Whether these bytes are those about it, as far as they are of the keyword.
    #[inline(always)]
    fn is_about(&self, about: About) -> bool {
        let ([first, last], [value, after], [mask, mask_after]) = (about, self.value, self.mask);
        first & mask == value && last & mask_after == after
    }
}

impl Anchor {
    /// The rarest four bytes of a keyword of those at even places of it, or at odd ones.
    fn of(word: &[u8], parity: usize) -> Self {
        let anchor = |offset: i8, value: u32, mask: u32| Self {
            value: (value | FOLD) & mask,
            mask,
            word: 0,
            offset,
            length: 0,
            at: 0,
        };
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        let windows = word.windows(4).enumerate().skip(parity).step_by(2);
        match windows.min_by_key(|(_, window)| commonness(window)) {
            Some((offset, window)) => anchor(i8::try_from(offset).unwrap_or_default(), number(window), u32::MAX),
            None if word.len() == 3 && parity == 1 => anchor(-1, number(word) << 8, LAST_THREE),
            None => {
                let offset = if parity == 1 { 1 } else { 0 };
                anchor(offset, number(word.iter().skip(parity).copied().collect::<Vec<_>>().as_slice()), THREE)
            }
        }
    }

    /// The hash of the three of its bytes that count in any case.
    fn slot(&self) -> usize {
        if self.mask == LAST_THREE { slot(self.value >> 8) } else { slot(self.value) }
    }
}

/// Lets the fourth of these bytes follow the first three.
fn anchor_follower(followers: &mut Followers, window: u32) {
    let hash = lanes::hash_of_three(window) as usize;
    followers.get_mut(hash).into_iter().for_each(|follower| *follower |= 1 << (window >> 24 & 31));
}

#[inline]
fn slot(window: u32) -> usize {
    ((window << 8).wrapping_mul(0x9e37_79b1) >> (32 - SLOT_BITS)) as usize
}

/// The hash of all four bytes.
#[inline]
fn slot_of_four(window: u32) -> usize {
    (window.wrapping_mul(0x85eb_ca6b) >> (32 - SLOT_BITS)) as usize
}

/// A bit for each hash.
type Bits = [u64; SLOTS / 64];

fn set(bits: &mut Bits, slot: usize) {
    bits.get_mut(slot / 64).into_iter().for_each(|bits| *bits |= 1 << (slot % 64));
}

#[inline(always)]
fn has(bits: &Bits, slot: usize) -> bool {
    bit(bits, slot) == 1
}

#[inline(always)]
fn bit(bits: &Bits, slot: usize) -> u64 {
    bits.get(slot / 64).map_or(0, |bits| bits >> (slot % 64) & 1)
}

/// About how often these bytes stand in texts: the logarithm, in halves of bits.
fn commonness(window: &[u8]) -> u32 {
    /// What stands together in every address, below every heading, in every second word.
    const TOGETHER: [&[u8]; 6] = [b"//", b":/", b"--", b".com", b"http", b"tion"];
    let of = |byte: &u8| match byte {
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' | b' ' => 18,
        b'l' | b'h' | b'd' | b'c' | b'u' | b'm' | b'"' => 16,
        b'p' | b'f' | b'g' | b'b' | b'/' | b'.' | b',' | b':' | b'\\' => 14,
        b'w' | b'y' | b'v' | b'-' | b'_' | b'0'..=b'2' => 12,
        b'k' | b'3'..=b'9' | b'`' => 10,
        b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'=' | b'x' | b'z' | b'#' => 9,
        b'q' | b'j' | b'\'' | b';' | b'>' | b'*' | b'!' | b'?' => 7,
        _ => 3,
    };
    let together = TOGETHER.iter().filter(|part| memchr::memmem::find(window, part).is_some()).count();
    window.iter().map(of).sum::<u32>() + 24 * u32::try_from(together).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use aho_corasick::AhoCorasick;
    use proptest::prelude::*;

    use super::*;

    fn hits(words: &[&str], text: &[u8]) -> Vec<(usize, usize, usize)> {
        let mut found = Vec::new();
        let _ = Prefilter::new(words.iter().copied()).unwrap().hits(text, |range, word| {
            found.push((range.start, range.end, word));
            ControlFlow::Continue(())
        });
        found.sort_unstable();
        found
    }

    const WORDS: [&str; 14] = [
        "ghp_",
        "GHP",
        "xox",
        "xoxb-",
        "secret",
        "secret_key",
        "ret_",
        "___",
        "aaaa",
        "aaa",
        "$2a$",
        "[`~",
        "key-with-a-tail",
        "a3-",
    ];

    proptest! {
        #[test]
        fn the_same_is_found_as_by_an_automaton(parts in prop::collection::vec(prop_oneof![
            prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned),
            prop::sample::select(WORDS.to_vec()).prop_map(str::to_uppercase),
            "[a-c_xX$ ]{0,9}", "\\PC{0,40}", "@A\\{\u{7f}"
        ], 0..12)) {
            let text = parts.concat().into_bytes();
            let automaton = AhoCorasick::builder().ascii_case_insensitive(true).build(WORDS).unwrap();
            let mut expected: Vec<_> = automaton
                .find_overlapping_iter(&text)
                .filter(|hit| !is_in_run(&text, &hit.range()))
                .map(|hit| (hit.start(), hit.end(), hit.pattern().as_usize()))
                .collect();
            expected.sort_unstable();
            prop_assert_eq!(hits(&WORDS, &text), expected);
        }
    }

    #[test]
    fn a_keyword_is_found_wherever_it_stands() {
        for distance in 0..100 {
            for after in [0, 1, 2, 40] {
                let text = [vec![b'.'; distance], b"gHp".to_vec(), vec![b'.'; after]].concat();
                assert_eq!(hits(&["ghp"], &text), [(distance, distance + 3, 0)]);
            }
        }
    }

    #[test]
    fn one_character_many_times_is_told_now_and_then() {
        let starts = |text: &[u8]| hits(&["aaaa"], text).iter().map(|(start, ..)| *start).collect::<Vec<_>>();
        assert_eq!(starts(&[b'a'; 50]), [0, 1, 17, 34, 45, 46]);
        assert_eq!(starts(&b"aA".repeat(25)), [0, 1, 17, 34, 45, 46]);
        assert_eq!(starts(b"aaaaaaaaAAAAAAAA"), [0, 1, 3, 4, 5, 6, 7, 8, 9, 11, 12]);
    }

    #[test]
    fn what_cannot_be_looked_for_is_said() {
        assert_eq!(Prefilter::new(["ab"]).unwrap_err(), PrefilterError::Length(2));
        assert_eq!(Prefilter::new(["a".repeat(128).as_str()]).unwrap_err(), PrefilterError::Length(128));
        assert!(hits(&[], b"anything").is_empty());
    }
}
