//! Characters by their numbers: `65, 83, 73` as `String.fromCharCode` and `chr` take them, and bits, eight for each, with
//! or without something between.

use std::ops::Range;

use smallvec::SmallVec;

use super::Ways;
use super::text::{is_printable, reads_as_text};
use crate::pipeline::dlp::finding::Step;

/// The fewest characters that are written so.
const LEAST: usize = 12;

/// Reads numbers in a run of digits and what separates them.
pub(super) fn read_list(text: &[u8], run: Range<usize>, ways: &mut Ways<'_, '_>) {
    let mut list = List::default();
    let mut at = run.start;
    while at < run.end {
        let rest = text.get(at..run.end).unwrap_or_default();
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        if length > 0 {
            list.add(text, at..at + length, ways);
        }
        at += length.max(1);
    }
    list.flush(ways);
}

/// Reads bits in a run of base64.
pub(super) fn read_bits(text: &[u8], run: Range<usize>, ways: &mut Ways<'_, '_>) {
    /// The fewest of them.
    const BITS: usize = LEAST * 8;
    /// What is looked at of each stretch that so many would reach across: of anything else that is rarely bits.
    const SEEN: usize = 8;
    let mut at = run.start;
    while run.end.saturating_sub(at) >= BITS {
        let probe = at + BITS - SEEN;
        let seen = text.get(probe..probe + SEEN).unwrap_or_default();
        // What begins at or before the last that is no bit is too short.
        if let Some(last) = seen.iter().rposition(|byte| !is_bit(*byte)) {
            at = probe + last + 1;
            continue;
        }
        let before = text.get(at..probe).unwrap_or_default().iter().rev().take_while(|byte| is_bit(**byte)).count();
        let start = probe - before;
        let length = text.get(start..run.end).unwrap_or_default().iter().take_while(|byte| is_bit(**byte)).count();
        if length >= BITS {
            bits(text, start..start + length, ways);
        }
        at = start + length + 1;
    }
}

/// Reads bits, wherever among the first of them a byte begins.
fn bits(text: &[u8], run: Range<usize>, ways: &mut Ways<'_, '_>) {
    let of = |skipped: usize| {
        let (bytes, _) = text.get(run.start + skipped..run.end).unwrap_or_default().as_chunks::<8>();
        bytes.iter().filter_map(|bits| byte_of(bits))
    };
    let Some(skipped) = (0..8).find(|skipped| of(*skipped).take(LEAST - 1).all(is_printable)) else { return };
    let bytes: Vec<u8> = of(skipped).collect();
    if reads_as_text(&bytes) {
        let start = run.start + skipped;
        ways.run(Step::Escapes, start..start + bytes.len() * 8, bytes);
    }
}

/// Numbers of one kind with the same between each and the next.
#[derive(Default)]
struct List {
    bytes: Vec<u8>,
    range: Option<Range<usize>>,
    of_bits: bool,
    /// What stands between the first two, without white space.
    between: Option<SmallVec<[u8; 4]>>,
    /// The last of them.
    last: Range<usize>,
}

impl List {
    fn add(&mut self, text: &[u8], number: Range<usize>, ways: &mut Ways<'_, '_>) {
        /// A comma and some white space.
        const BETWEEN: usize = 4;
        let digits = text.get(number.clone()).unwrap_or_default();
        let byte = match digits.len() {
            8 => byte_of(digits),
            2 | 3 => decimal(digits),
            _ => None,
        };
        let Some(byte) = byte.filter(|byte| is_printable(*byte)) else { return self.flush(ways) };
        let of_bits = digits.len() == 8;
        let end = self.range.as_ref().map(|range| range.end);
        let between = end.and_then(|end| text.get(end..number.start)).filter(|between| between.len() <= BETWEEN);
        let goes_on = of_bits == self.of_bits
            && between.is_some_and(|between| {
                let signs = between.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
                self.between.get_or_insert_with(|| SmallVec::clone(&signs)) == &signs
            });
        if !goes_on {
            let before = std::mem::replace(&mut self.last, 0..0);
            let begins = between.is_some() && of_bits == self.of_bits && !before.is_empty();
            self.flush(ways);
            self.of_bits = of_bits;
            // What stood before is the first of them if it was the last of others.
            if begins {
                self.add(text, before, ways);
                return self.add(text, number, ways);
            }
        }
        self.last = number.clone();
        self.bytes.push(byte);
        let start = self.range.take().map_or(number.start, |range| range.start);
        self.range = Some(start..number.end);
    }

    fn flush(&mut self, ways: &mut Ways<'_, '_>) {
        self.between = None;
        let Some(range) = self.range.take() else { return };
        if self.bytes.len() >= LEAST {
            ways.run(Step::Escapes, range, std::mem::take(&mut self.bytes));
        }
        self.bytes.clear();
    }
}

fn decimal(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0_u8, |sum, digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit < 10 { sum.checked_mul(10)?.checked_add(digit) } else { None }
    })
}

fn byte_of(bits: &[u8]) -> Option<u8> {
    bits.iter().try_fold(0_u8, |sum, bit| is_bit(*bit).then_some(sum << 1 | (bit & 1)))
}

fn is_bit(byte: u8) -> bool {
    byte & 0xfe == b'0'
}
