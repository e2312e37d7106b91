//! What is written in groups of one length, `QUtJQ U43UD ZLWlQ`, `npm_2-3lIF6-uR2JA`: as it reads without what stands
//! between them.

use std::ops::Range;

use smallvec::SmallVec;

use crate::pipeline::dlp::edits::Edits;
use crate::pipeline::dlp::finding::Step;
use crate::pipeline::dlp::lanes::{self, BLOCK, Kinds, Vector};

/// The fewest groups of one length; what is left may be a shorter one.
const GROUPS: usize = 3;
/// The lengths of groups. What is wrapped in longer lines is read as it stands.
const LENGTHS: std::ops::Range<usize> = 3..32;
/// The fewest characters of all groups.
const LEAST: usize = 16;

/// Takes out the blanks between groups; `worth` are the places of the blocks that have enough capitals for some.
pub(super) fn read_blanks(text: &[u8], worth: &[usize], edits: &mut Edits<'_>) {
    let mut done = 0;
    let blocks = lanes::Blocks::of(text);
    let fewest = fewest_capitals(text);
    for start in worth {
        let block = blocks.at(start / BLOCK);
        let before = (start / BLOCK).checked_sub(1).map_or(&[b' '; BLOCK], |before| blocks.at(before));
        if are_groups(before, block, fewest) {
            around(text, *start..text.len().min(start + BLOCK), &mut done, edits);
        }
    }
}

/// The fewest capitals of two blocks of a text that are looked into.
pub(super) fn fewest_capitals(text: &[u8]) -> u32 {
    /// Tokens and base64 have more of them than words do.
    const OF_TWO: u32 = 5;
    /// In a text that is no longer than one.
    const OF_ONE: u32 = 3;
    if text.len() <= BLOCK { OF_ONE } else { OF_TWO }
}

/// Takes out the hyphens between groups in a run of base64.
pub(super) fn read_hyphens(text: &[u8], run: Range<usize>, edits: &mut Edits<'_>) {
    let mut at = run.start;
    while let Some(found) = text.get(at..run.end).and_then(|rest| memchr::memchr(b'-', rest)) {
        let first = at + found;
        at = first + 1;
        let next = text.get(at..run.end.min(at + LENGTHS.end)).and_then(|rest| memchr::memchr(b'-', rest));
        let Some(length) = next.filter(|length| LENGTHS.contains(length)) else { continue };
        let is_hyphen = |at: &usize| *at < run.end && text.get(*at) == Some(&b'-');
        let hyphens = || std::iter::successors(Some(first), |at| Some(at + length + 1)).take_while(is_hyphen);
        let count = hyphens().count();
        // An UUID has three of four characters between longer ones.
        let fewest = if first - run.start == length { GROUPS } else { GROUPS + 2 };
        if count >= fewest && length * (count + 1) >= LEAST {
            hyphens().for_each(|at| edits.replace(Step::Split, at, at + 1, b""));
            at = first + count * (length + 1);
        }
    }
}

/// Whether two blocks have blanks between groups, and so many capitals inside of words.
fn are_groups(first: &[u8; BLOCK], second: &[u8; BLOCK], fewest: u32) -> bool {
    let of = |block: &[u8; BLOCK]| {
        let [words, capitals, blanks] = lanes::masks::<Grouped, 3>(block);
        (blanks.count_ones() as usize, (words << 1 & capitals).count_ones())
    };
    let ((blanks, inner), (more_blanks, more_inner)) = (of(first), of(second));
    blanks + more_blanks >= GROUPS && inner + more_inner >= fewest
}

/// Letters and digits, capitals, and blanks.
struct Grouped;

impl Kinds<3> for Grouped {
    #[inline(always)]
    fn of<V: Vector>(bytes: V) -> [V; 3] {
        let [blanks] = Blanks::of(bytes);
        [bytes.folded().within(b'a', 26).or(bytes.within(b'0', 10)), bytes.within(b'A', 26), blanks]
    }
}

/// A space, a tab, a line end.
struct Blanks;

impl Kinds<1> for Blanks {
    #[inline(always)]
    fn of<V: Vector>(bytes: V) -> [V; 1] {
        [bytes.is(b' ').or(bytes.within(b'\t', 2))]
    }
}

/// Takes out the blanks in all groups that begin in this block or a little before it. What begins before `done` was
/// looked at.
fn around(text: &[u8], block: Range<usize>, done: &mut usize, edits: &mut Edits<'_>) {
    let start = block.start.max(*done);
    let back = text.get(*done..start).unwrap_or_default().iter().rev();
    let mut from =
        start - back.take(LENGTHS.end * GROUPS).take_while(|byte| is_inner(**byte) || **byte == b' ').count();
    // The blank behind a group that begins in the block, and two as far from each other.
    let end = text.len().min(block.end + (LENGTHS.end + 1) * GROUPS);
    let (mut first, mut second) = (0, 0);
    let part = text.get(from..end).unwrap_or_default();
    let blanks = lanes::places::<Blanks>(part);
    let offset = from;
    for third in blanks.map(|at| offset + at) {
        let (of, distance) = (first, third - second);
        let is_even = second - first == distance && second > first && first >= from;
        (first, second) = (second, third);
        if first >= block.end + LENGTHS.end {
            break;
        }
        if !is_even || !(LENGTHS.start + 1..LENGTHS.end + 2).contains(&distance) {
            continue;
        }
        let Some(at) = (of + 1).checked_sub(distance).filter(|at| (from..block.end).contains(at)) else { continue };
        let is_inside = at.checked_sub(1).and_then(|before| text.get(before)).is_some_and(|byte| is_inner(*byte));
        if !is_inside && let Some(end) = groups(text, at, edits) {
            (from, *done) = (end, end);
        }
    }
    *done = block.end.max(*done);
}

/// Takes out the blanks between the groups that begin here, if they are some; where they end.
fn groups(text: &[u8], at: usize, edits: &mut Edits<'_>) -> Option<usize> {
    let length = group(text, at);
    if !LENGTHS.contains(&length) {
        return None;
    }
    let mut end = at + length;
    let mut blanks: SmallVec<[Range<usize>; 16]> = SmallVec::new();
    loop {
        let blank = end..end + blank(text, end);
        let next = group(text, blank.end);
        let is_other = blanks.last().is_some_and(|last| text.get(last.clone()) != text.get(blank.clone()));
        if blank.is_empty() || next == 0 || next > length || is_other {
            break;
        }
        end = blank.end + next;
        blanks.push(blank);
        if next < length {
            break;
        }
    }
    let between: usize = blanks.iter().map(Range::len).sum();
    if blanks.len() < GROUPS || end - at - between < LEAST {
        return None;
    }
    for blank in blanks {
        edits.replace(Step::Split, blank.start, blank.end, b"");
    }
    Some(end)
}

/// How many bytes of a group begin here.
fn group(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..text.len().min(at + LENGTHS.end)).unwrap_or_default();
    rest.iter().position(|byte| !is_inner(*byte)).unwrap_or(rest.len())
}

/// How many bytes stand between two groups.
fn blank(text: &[u8], at: usize) -> usize {
    match text.get(at..).unwrap_or_default() {
        [b' ' | b'\t' | b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    }
}

/// What tokens, addresses and encoded text are written with.
#[inline]
fn is_inner(byte: u8) -> bool {
    INNER.get(usize::from(byte)).copied().unwrap_or_default()
}

static INNER: [bool; 256] = {
    let mut table = [false; 256];
    let mut rest: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-.:@~%&?#!*$";
    while let [first, more @ ..] = rest {
        #[expect(clippy::indexing_slicing, reason = "it is filled when it is compiled")]
        {
            table[*first as usize] = true;
        }
        rest = more;
    }
    table
};
