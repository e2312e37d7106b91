//! Base64 (RFC 4648 §4, §5) wherever in a run it begins: runs are glued to words, and to each other by `/` and `-`.
//!
//! Text is found before it is decoded. Three of the six-bit values of each quad hold the highest bits of its three bytes;
//! where these are those of ASCII for four quads of one alignment, text may stand there.

use std::ops::Range;

use super::alphabet::{FIRST, SECOND, THIRD, base64, quad_class};
use super::glance::Glance;
use super::text::{is_printable, reads_as_text};
use super::{Ways, packed};
use crate::pipeline::dlp::finding::Step;

/// Quads of ASCII in a row that are worth decoding.
const QUADS: usize = 4;

/// How much of a run is decoded again from where it may begin as well.
const AGAIN: usize = 512;

/// Reads a run, which may have line breaks in it.
pub(super) fn read(text: &[u8], run: Range<usize>, glance: &Glance, ways: &mut Ways<'_, '_>) {
    // Four quads of ASCII, and all heads of what is packed, have a capital or a digit but for one in millions; paths and
    // names mostly have not.
    let is_varied = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    if !text.get(run.clone()).is_some_and(|run| run.iter().any(is_varied)) {
        return;
    }
    if glance.packed {
        packed_at_start(text, &run, ways);
    }
    if !glance.quads {
        return;
    }
    // Bit n of the history: whether the quad that began n characters ago was ASCII.
    let (mut history, mut last, mut before_last) = (0_u64, 0_u8, 0_u8);
    // Characters up to which each alignment was read.
    let mut done = [0_usize; 4];
    let mut count = 0_usize;
    for (at, byte) in text.get(run.clone()).unwrap_or_default().iter().enumerate() {
        let Some(class) = quad_class(*byte) else { continue };
        history = history << 1 | u64::from(before_last & FIRST != 0 && last & SECOND != 0 && class & THIRD != 0);
        (before_last, last) = (last, class);
        count += 1;
        if history & 0x1111 == 0x1111 && count >= QUADS * 4 - 1 {
            let first = count + 1 - QUADS * 4;
            let Some(done) = done.get_mut(first % 4) else { continue };
            if first >= *done {
                *done = first + stretch(text, &run, run.start + at, ways);
            }
        }
    }
}

/// Reads what begins [`QUADS`] quads before the one whose third character is here; how many characters that took.
fn stretch(text: &[u8], run: &Range<usize>, third: usize, ways: &mut Ways<'_, '_>) -> usize {
    let Some(start) = back(text, run.start, third, QUADS * 4 - 2) else { return 4 };
    if let Some(strange) = strange_quad(text.get(start..run.end).unwrap_or_default()) {
        return (strange + 1) * 4;
    }
    let mut read = Read::default();
    let mut quad = Quad::default();
    for (at, byte) in text.get(start..run.end).unwrap_or_default().iter().enumerate() {
        let Some(value) = base64(*byte) else { continue };
        if quad.add(value) && !read.take(&quad.drain(), start + at + 1) {
            break;
        }
    }
    // What is left at the end of a run is a byte or two.
    if quad.count > 1 {
        read.take(&quad.drain(), run.end);
    }
    let Some((length, end, characters)) = read.best() else { return QUADS * 4 };
    read.bytes.truncate(length);
    let mut bytes = read.bytes;
    let end = padding(text, end, run.end);
    let glued = start > run.start;
    if glued {
        variants(text, run, start, &mut bytes);
    } else {
        unshifted(&mut bytes);
    }
    ways.run(Step::Base64, start..end, bytes);
    characters
}

/// The last of the first quads that is no text, if it is not UTF-16 either: what begins before it is none.
fn strange_quad(text: &[u8]) -> Option<usize> {
    let mut bytes = [b' '; QUADS * 3];
    let mut quad = Quad::default();
    let mut to = bytes.as_chunks_mut::<3>().0.iter_mut();
    for value in text.iter().filter_map(|byte| base64(*byte)) {
        if !quad.add(value) {
            continue;
        }
        let Some(to) = to.next() else { break };
        *to = quad.whole();
    }
    let zeros = bytes.iter().filter(|byte| **byte == 0).count();
    let strange = bytes.as_chunks::<3>().0.iter().rposition(|quad| !quad.iter().all(|byte| is_printable(*byte)));
    strange.filter(|_| !(zeros * 5 >= bytes.len() * 2 && reads_as_text(&bytes)))
}

/// Appends the beginning as it reads if the encoded text begins a little later, or in the middle of the quad before.
fn variants(text: &[u8], run: &Range<usize>, start: usize, bytes: &mut Vec<u8>) {
    let head = bytes.get(..AGAIN.min(bytes.len())).unwrap_or_default().to_vec();
    for skipped in [3, 6] {
        if let Some(later) = head.get(skipped..) {
            bytes.push(b'\n');
            bytes.extend_from_slice(later);
        }
    }
    let Some(before) = back(text, run.start, start, 4) else { return };
    let mut quad = Quad::default();
    for value in text.get(before..start).unwrap_or_default().iter().filter_map(|byte| base64(*byte)) {
        quad.add(value);
    }
    let quad = quad.drain();
    let ending = quad.iter().rev().take_while(|byte| is_printable(**byte)).count();
    if let Some(ending) = quad.get(quad.len() - ending..).filter(|ending| !ending.is_empty()) {
        bytes.push(b'\n');
        bytes.extend_from_slice(ending);
        bytes.extend_from_slice(&head);
    }
}

/// Appends what is short without the small letters round it that only shift it to another alignment: they would make a
/// number part of a word.
fn unshifted(bytes: &mut Vec<u8>) {
    const SHORT: usize = 128;
    const SHIFT: usize = 2;
    let is_number = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    let before = bytes.iter().take(SHIFT).take_while(|byte| byte.is_ascii_lowercase()).count();
    let after = bytes.iter().rev().take(SHIFT).take_while(|byte| byte.is_ascii_lowercase()).count();
    let end = bytes.len() - after;
    if bytes.len() <= SHORT
        && before + after > 0
        && let Some(number) = bytes.get(before..end).filter(|b| is_number(b.first()) && is_number(b.last()))
    {
        let number = number.to_vec();
        bytes.push(b'\n');
        bytes.extend(number);
    }
}

/// What was decoded of a stretch: all of it, up to where it is no longer text, and up to the first byte that is not
/// ASCII.
#[derive(Default)]
struct Read {
    bytes: Vec<u8>,
    strange: usize,
    characters: usize,
    /// Length, place behind and characters of what is ASCII.
    whole: usize,
    whole_end: Option<(usize, usize)>,
    good: (usize, usize, usize),
    wide: Option<bool>,
}

impl Read {
    /// Takes what a quad decodes to; false if that is the end of it.
    fn take(&mut self, decoded: &[u8], behind: usize) -> bool {
        self.characters += 4;
        let ascii = decoded.iter().take_while(|byte| byte.is_ascii()).count();
        let before = self.bytes.len();
        self.bytes.extend_from_slice(decoded);
        if ascii > 0 {
            self.good = (before + ascii, behind, self.characters);
        }
        if ascii < decoded.len() && self.whole_end.is_none() {
            self.whole = before + ascii;
            self.whole_end = Some(if ascii > 0 { (behind, self.characters) } else { self.good_place() });
        }
        self.strange += decoded.iter().filter(|byte| !is_printable(**byte)).count();
        // UTF-16 is half zeros; of anything else a few bytes are not ASCII.
        self.strange <= 4 + self.bytes.len() / 8 || self.is_wide()
    }

    fn good_place(&self) -> (usize, usize) {
        (self.good.1, self.good.2)
    }

    fn is_wide(&mut self) -> bool {
        let Some(sample) = self.bytes.get(..WIDE) else { return is_wide(&self.bytes) };
        *self.wide.get_or_insert_with(|| is_wide(sample))
    }

    /// The longest that reads as text: its length, the place behind it and its characters.
    fn best(&self) -> Option<(usize, usize, usize)> {
        let reads = |length: usize| self.bytes.get(..length).is_some_and(reads_as_text);
        let (length, end, characters) = self.good;
        if reads(length) {
            return Some((length, end, characters));
        }
        let (end, characters) = self.whole_end?;
        (self.whole >= 3 * QUADS - 1 && reads(self.whole)).then_some((self.whole, end, characters))
    }
}

/// How much tells UTF-16.
const WIDE: usize = 64;

fn is_wide(sample: &[u8]) -> bool {
    sample.iter().filter(|byte| **byte == 0).count() * 5 >= sample.len() * 2 && reads_as_text(sample)
}

#[derive(Default)]
struct Quad {
    bits: u32,
    count: usize,
}

impl Quad {
    /// True if it is complete.
    fn add(&mut self, value: u8) -> bool {
        self.bits = self.bits << 6 | u32::from(value);
        self.count += 1;
        self.count == 4
    }

    /// What it decodes to when it is complete.
    fn whole(&mut self) -> [u8; 3] {
        let [_, first, second, third] = self.bits.to_be_bytes();
        *self = Self::default();
        [first, second, third]
    }

    /// What it decodes to: three bytes, or what there is.
    fn drain(&mut self) -> smallvec::SmallVec<[u8; 4]> {
        let [_, bytes @ ..] = (self.bits << (6 * (4 - self.count.min(4)))).to_be_bytes();
        let length = (self.count * 6 / 8).min(3);
        *self = Self::default();
        bytes.into_iter().take(length).collect()
    }
}

/// The place so many characters before another.
fn back(text: &[u8], floor: usize, at: usize, characters: usize) -> Option<usize> {
    let before = text.get(floor..at)?.iter().enumerate().rev().filter(|(_, byte)| base64(**byte).is_some());
    before.take(characters).nth(characters.checked_sub(1)?).map(|(index, _)| floor + index)
}

/// The end with the padding behind it, if it is the end of the run.
fn padding(text: &[u8], end: usize, run: usize) -> usize {
    if end < run {
        return end;
    }
    end + text.get(end..).unwrap_or_default().iter().take(2).take_while(|byte| **byte == b'=').count()
}

/// A compressed body is no text: it is told by how it begins, at the beginning of the run or of a part of it.
fn packed_at_start(text: &[u8], run: &Range<usize>, ways: &mut Ways<'_, '_>) {
    const PARTS: usize = 16;
    const HEAD: usize = 64;
    const REACH: usize = 256;
    let head = text.get(run.start..run.end.min(run.start + REACH)).unwrap_or_default();
    let parts = head.iter().enumerate().filter(|(_, byte)| b"/-_+".contains(byte)).map(|(at, _)| at + 1);
    for start in (0..4).chain(parts.take(PARTS)) {
        // 1f 8b 08; 28 b5 2f fd; PK 03 04; 78 with what may follow.
        let begins = match head.get(start..).unwrap_or_default() {
            [b'H', b'4', b's', b'I', ..] | [b'K', b'L', b'U', b'v', ..] | [b'U', b'E', b's', b'D', ..] => true,
            [b'e', second, ..] => b"AFJN".contains(second),
            _ => false,
        };
        if !begins {
            continue;
        }
        let start = run.start + start;
        let decoded = decoded(text.get(start..run.end.min(start + HEAD)).unwrap_or_default());
        if decoded.len() >= 12 && packed::is_packed(&decoded) {
            let bytes = self::decoded(text.get(start..run.end).unwrap_or_default());
            ways.run(Step::Base64, start..padding(text, run.end, run.end), bytes);
            return;
        }
    }
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut quad = Quad::default();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    for value in text.iter().filter_map(|byte| base64(*byte)) {
        if quad.add(value) {
            bytes.extend_from_slice(&quad.drain());
        }
    }
    bytes.extend_from_slice(&quad.drain());
    bytes
}
