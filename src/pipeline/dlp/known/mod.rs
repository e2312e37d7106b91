//! The secrets that attaché itself holds, and canaries: looked for in every text, in every way they may be written.
//!
//! A value is a set of needles: as it is, escaped, reversed, and what base64, hex, base32 and base85 make of it wherever
//! it stands in what they encode. They are found whole and in parts: every row of 16 bytes of a long value that tells
//! it from others is a leak. Deeper chains are found since every decoded view is searched too. It is not an Aho-Corasick
//! automaton: that is five times slower here, finds no parts, and keeps copies of its patterns that nobody wipes.

mod index;
mod needle;
mod strength;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::finding::{Category, Confidence, Step};
use index::Index;
use needle::{Haystack, Needle};
pub use strength::{Weakness, weakness};

/// Values that must not be seen, ready to be looked for.
#[derive(Default)]
pub struct Known {
    values: Vec<Value>,
    haystack: Haystack,
    index: Index,
    beginnings: Beginnings,
    longest: usize,
    version: u64,
}

/// Whose value it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Held {
    /// The name that policy gives it.
    pub name: Arc<str>,
    /// What it is there for.
    pub kind: Kind,
}

/// What a value is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// It opens something.
    Credential,
    /// It opens nothing, and is there to be missed when it leaves.
    Canary,
}

/// A value that is not looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not looked for in messages: it {why}", held.name)]
pub struct TooWeak {
    /// Whose.
    pub held: Held,
    /// Why not.
    pub why: Weakness,
}

/// A place where a value stands, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownMatch<'a> {
    /// Whose value.
    pub held: &'a Held,
    /// Where in the text: all characters that carry something of it.
    pub range: Range<usize>,
    /// How it is written there; none if as it is.
    pub step: Option<Step>,
    /// False if it is a part of the value.
    pub whole: bool,
}

impl Held {
    /// A credential of this name.
    pub fn credential(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), kind: Kind::Credential }
    }

    /// A canary of this name.
    pub fn canary(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), kind: Kind::Canary }
    }

    /// What finding its value is.
    pub fn category(&self) -> Category {
        match self.kind {
            Kind::Credential => Category::KnownSecret,
            Kind::Canary => Category::Canary,
        }
    }
}

impl KnownMatch<'_> {
    /// How sure it is: the value itself is beyond doubt.
    pub fn confidence(&self) -> Confidence {
        if self.whole { Confidence::Confirmed } else { Confidence::High }
    }
}

struct Value {
    held: Held,
    len: usize,
    /// The fewest bytes in a row that are a partial leak.
    part: usize,
    /// The parts of the value in which those may lie.
    parts: Vec<Range<usize>>,
}

impl Known {
    /// Takes in values, and tells which of them would be found where they are not. What stands in one of the
    /// `placeholders`, which agents may hold, is not looked for. Of several that hold the same value the first is told.
    pub fn new<'v>(
        values: impl IntoIterator<Item = (Held, &'v [u8])>,
        placeholders: &[impl AsRef<[u8]>],
    ) -> (Self, Vec<TooWeak>) {
        let mut known = Self::default();
        let mut weak = Vec::new();
        for (held, value) in values {
            // A file's last line end is none of its value.
            let value = value.trim_ascii();
            let held_by_agents = placeholders.iter().any(|text| contains(text.as_ref(), value));
            match weakness(value).or(held_by_agents.then_some(Weakness::Placeholder)) {
                Some(why) => weak.push(TooWeak { held: held.clone(), why }),
                None => known.add(&held, value, placeholders),
            }
            for inner in strength::inner(value) {
                if weakness(&inner).is_none() && !placeholders.iter().any(|text| contains(text.as_ref(), &inner)) {
                    known.add(&held, &inner, placeholders);
                }
            }
        }
        let piece = |needle: &Needle| match known.values.get(needle.value) {
            Some(value) if !value.parts.is_empty() => needle.chars_for(value.part),
            _ => needle.bytes.len(),
        };
        let pieces: Vec<usize> = known.haystack.needles.iter().map(piece).collect();
        known.index = Index::new(&known.haystack, &pieces);
        known.beginnings = Beginnings::new(&known.haystack);
        static VERSIONS: AtomicU64 = AtomicU64::new(1);
        known.version = VERSIONS.fetch_add(1, Ordering::Relaxed);
        known.longest = known.haystack.needles.iter().map(|needle| needle.bytes.len()).max().unwrap_or_default();
        (known, weak)
    }

    /// True if there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// A number that no other has in this process, but for those that hold nothing: what was found with it stays found,
    /// and what was not may be found with another.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The most bytes that a value has in any of the ways it may be written.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The memory that this takes, in bytes.
    pub fn memory(&self) -> usize {
        self.haystack.bytes.capacity()
            + self.haystack.needles.capacity() * size_of::<Needle>()
            + self.index.memory()
            + self.beginnings.sorted.len() * 4
            + self.beginnings.threes.len() * 8
    }

    /// Every place where a value or a part of one stands in this text, written in any of the ways that are looked for.
    /// Of places within one another that tell of the same value only the outermost is told.
    pub fn find<'k>(&'k self, text: &[u8], found: &mut dyn FnMut(KnownMatch<'k>)) {
        if self.is_empty() {
            return;
        }
        let mut matches: Vec<KnownMatch<'k>> = Vec::new();
        let mut verified = Verified::default();
        self.index.probe(text, &mut |at, window| {
            // Where the needle would begin, moved so that it is never negative.
            let Some(diagonal) = (self.longest + at).checked_sub(window.at) else { return };
            if verified.contains(window.needle, diagonal, at) {
                return;
            }
            let Some(needle) = self.haystack.needles.get(window.needle) else { return };
            let run = common_run(text, at, self.haystack.of(needle), window.at, needle.folds);
            let Some(start) = (at + run.start).checked_sub(window.at).filter(|_| !run.is_empty()) else { return };
            let end = start + run.len();
            verified.note(window.needle, diagonal, end, at);
            let Some(value) = self.values.get(needle.value) else { return };
            let whole = run == (0..needle.bytes.len());
            if whole || value.tells(&needle.stands_for(run.clone(), value.len)) {
                let before = if run.start == 0 { needle.edges.0 } else { 0 };
                let after = if run.end == needle.bytes.len() { needle.edges.1 } else { 0 };
                let range = widened(text, start..end, before, after);
                matches.push(KnownMatch { held: &value.held, range, step: needle.step, whole });
            }
        });
        matches.sort_by(|a, b| {
            (a.held, a.range.start, b.range.end, b.whole).cmp(&(b.held, b.range.start, a.range.end, a.whole))
        });
        let mut outer: Option<KnownMatch<'k>> = None;
        for next in matches {
            match &mut outer {
                Some(outer) if outer.held == next.held && next.range.end <= outer.range.end => {
                    outer.whole |= next.whole;
                }
                _ => outer.replace(next).into_iter().for_each(&mut *found),
            }
        }
        outer.into_iter().for_each(found);
    }

    /// The most bytes at the end of a text that may be the beginning of a value, in any of the ways it may be written:
    /// what of a stream must not leave before more of it is there.
    pub fn open_suffix(&self, text: &[u8]) -> usize {
        let tail = text.get(text.len().saturating_sub(self.longest.saturating_sub(1))..).unwrap_or_default();
        let begins = |at: &usize| {
            let suffix = tail.get(*at..).unwrap_or_default();
            self.beginnings.may_begin(suffix) && self.beginnings.begins(&self.haystack, suffix)
        };
        (0..tail.len()).find(begins).map_or(0, |at| tail.len() - at)
    }

    fn add(&mut self, held: &Held, value: &[u8], placeholders: &[impl AsRef<[u8]>]) {
        // The first to hold a value is the one that is named.
        let raw = |needle: &&Needle| needle.step.is_none();
        if self.haystack.needles.iter().filter(raw).any(|needle| self.haystack.of(needle) == value) {
            return;
        }
        let (part, parts) = (strength::part(value), strength::parts(value, placeholders));
        self.haystack.add(self.values.len(), value);
        self.values.push(Value { held: held.clone(), len: value.len(), part, parts });
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("values", &self.values.len()).finish_non_exhaustive()
    }
}

impl Value {
    /// True if these bytes of the value tell it from others.
    fn tells(&self, bytes: &Range<usize>) -> bool {
        self.parts.iter().any(|part| bytes.end.min(part.end) >= bytes.start.max(part.start) + self.part)
    }
}

/// The part of the needle that stands in the text where its byte `of` would be the text's byte `at`.
fn common_run(text: &[u8], at: usize, needle: &[u8], of: usize, folds: bool) -> Range<usize> {
    let same = |(a, b): &(&u8, &u8)| a == b || folds && a.eq_ignore_ascii_case(b);
    let (Some((text_before, text_after)), Some((before, after))) =
        (text.split_at_checked(at), needle.split_at_checked(of))
    else {
        return 0..0;
    };
    let right = text_after.iter().zip(after).take_while(same).count();
    // Without the window itself it was none: another has the same hash.
    if right < index::NARROWEST {
        return 0..0;
    }
    let left = text_before.iter().rev().zip(before.iter().rev()).take_while(same).count();
    of - left..of + right
}

/// With the characters on either side that were written by the same encoding.
fn widened(text: &[u8], range: Range<usize>, before: usize, after: usize) -> Range<usize> {
    let written = |byte: &&u8| byte.is_ascii_graphic() && **byte != b'"';
    let head = text.get(..range.start).unwrap_or_default();
    let tail = text.get(range.end..).unwrap_or_default();
    let before = head.iter().rev().take(before).take_while(written).count();
    let after = tail.iter().take(after).take_while(written).count();
    range.start - before..range.end + after
}

/// Runs that were compared already, by needle and where it would begin, and where each ends: a text that repeats a long
/// common piece is not compared with it again and again.
#[derive(Default)]
struct Verified(HashMap<(usize, usize), usize>);

impl Verified {
    fn contains(&self, needle: usize, diagonal: usize, at: usize) -> bool {
        !self.0.is_empty() && self.0.get(&(needle, diagonal)).is_some_and(|end| at < *end)
    }

    fn note(&mut self, needle: usize, diagonal: usize, end: usize, at: usize) {
        const MOST: usize = 1024;
        if self.0.len() >= MOST {
            self.0.retain(|_, end| *end > at);
        }
        self.0.insert((needle, diagonal), end);
    }
}

/// The needles in the order of their bytes, letters of both cases alike.
#[derive(Default)]
struct Beginnings {
    sorted: Vec<u32>,
    /// A bit for every hash of the three bytes that a needle begins with.
    threes: Box<[u64]>,
}

impl Beginnings {
    const BITS: u32 = 14;

    fn new(haystack: &Haystack) -> Self {
        let mut sorted: Vec<u32> = (0..haystack.needles.len() as u32).collect();
        sorted.sort_by(|a, b| compare(Self::bytes(haystack, *a), Self::bytes(haystack, *b)));
        let mut threes = vec![0; 1 << (Self::BITS - 6)].into_boxed_slice();
        for needle in &sorted {
            if let [a, b, c, ..] = Self::bytes(haystack, *needle) {
                let bit = Self::bit(*a, *b, *c);
                if let Some(word) = threes.get_mut(bit >> 6) {
                    *word |= 1_u64 << (bit & 63);
                }
            }
        }
        Self { sorted, threes }
    }

    /// False if no needle begins with this.
    fn may_begin(&self, text: &[u8]) -> bool {
        let [a, b, c, ..] = text else { return true };
        let bit = Self::bit(*a, *b, *c);
        self.threes.get(bit >> 6).is_some_and(|word| word >> (bit & 63) & 1 == 1)
    }

    /// True if a needle is longer than this and begins with it.
    fn begins(&self, haystack: &Haystack, text: &[u8]) -> bool {
        let first = self.sorted.partition_point(|needle| compare(Self::bytes(haystack, *needle), text).is_lt());
        // One that is no longer than this comes before those that are.
        self.sorted
            .iter()
            .skip(first)
            .map(|needle| Self::bytes(haystack, *needle))
            .find(|n| n.len() != text.len())
            .is_some_and(|needle| needle.len() > text.len() && needle.iter().zip(text).all(|(a, b)| fold(a) == fold(b)))
    }

    fn bytes(haystack: &Haystack, needle: u32) -> &[u8] {
        haystack.needles.get(needle as usize).map(|needle| haystack.of(needle)).unwrap_or_default()
    }

    fn bit(a: u8, b: u8, c: u8) -> usize {
        let word = u32::from_le_bytes([fold(&a), fold(&b), fold(&c), 0]);
        (word.wrapping_mul(0x9e37_79b9) >> (32 - Self::BITS)) as usize
    }
}

fn compare(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    a.iter().map(fold).cmp(b.iter().map(fold))
}

fn fold(byte: &u8) -> u8 {
    byte | 0x20
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(&text.to_ascii_lowercase(), &part.to_ascii_lowercase()).is_some()
}

#[cfg(test)]
mod tests;
