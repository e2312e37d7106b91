//! Hex (RFC 4648 §8): as one run, in pairs with something between them, and as tools dump it.

use std::ops::Range;

use smallvec::SmallVec;

use super::alphabet::{hex, hex_pair};
use super::text::{reads_as_text, stretches};
use super::{Ways, packed};
use crate::pipeline::dlp::finding::Step;

/// The fewest digits of a run.
const DIGITS: usize = 16;

/// The fewest bytes of text within something that is not.
const WITHIN: usize = 10;

/// Reads the digits in a run of base64.
pub(super) fn read_run(text: &[u8], run: Range<usize>, ways: &mut Ways<'_, '_>) {
    let mut at = run.start;
    while let Some(rest) = text.get(at..run.end).filter(|rest| rest.len() >= DIGITS) {
        // A run of sixteen that begins here has a digit at its end too.
        let length = match rest.get(DIGITS - 1).is_some_and(|byte| hex(*byte).is_some()) {
            true => rest.iter().take_while(|byte| hex(**byte).is_some()).count(),
            false => 0,
        };
        if length >= DIGITS {
            digits(text, at..at + length, ways);
            at += length + 1;
        } else if length == 0 {
            // The last that is no digit in reach: no run begins before it.
            at += rest.iter().take(DIGITS).rposition(|byte| hex(*byte).is_none()).map_or(1, |last| last + 1);
        } else {
            at += length + 1;
        }
    }
}

fn digits(text: &[u8], run: Range<usize>, ways: &mut Ways<'_, '_>) {
    for start in [run.start, run.start + 1] {
        let bytes = decoded(text.get(start..run.end).unwrap_or_default());
        let whole = start..start + bytes.len() * 2;
        if reads_as_text(&bytes) || packed::is_packed(&bytes) {
            ways.run(Step::Hex, if start == run.start { run } else { whole }, bytes.into_vec());
            return;
        }
        for part in stretches(&bytes, WITHIN) {
            let place = start + part.start * 2..start + part.end * 2;
            ways.run(Step::Hex, place, bytes.get(part).unwrap_or_default().to_vec());
        }
    }
}

/// What pairs of digits stand for.
fn decoded(digits: &[u8]) -> SmallVec<[u8; 64]> {
    let (pairs, _) = digits.as_chunks::<2>();
    let mut bytes = SmallVec::with_capacity(pairs.len());
    bytes.extend(pairs.iter().map(|[high, low]| hex_pair(*high, *low).unwrap_or_default()));
    bytes
}

/// Reads groups of digits of one length: `41:42`, `0x41, 0x42`, `4142 4344`.
/// `dumped` is where the last dump ended.
pub(super) fn read_pairs(text: &[u8], run: Range<usize>, dumped: &mut usize, ways: &mut Ways<'_, '_>) {
    if run.start < *dumped || dump(text, run.start, dumped, ways) {
        return;
    }
    let mut groups = Groups::default();
    let mut at = run.start;
    // The end of a word may be hex digits.
    if at.checked_sub(1).and_then(|at| text.get(at)).is_some_and(u8::is_ascii_alphanumeric) {
        let rest = text.get(at..run.end).unwrap_or_default();
        at += rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    }
    while at < run.end {
        let rest = text.get(at..run.end).unwrap_or_default();
        let length = rest.iter().take_while(|byte| hex(**byte).is_some()).count();
        let prefixed = length == 1 && matches!(rest, [b'0', b'x' | b'X', ..]);
        if length > 0 && !prefixed {
            groups.add(text, at..at + length, ways);
        }
        at += length.max(1);
    }
    groups.flush(ways);
}

#[derive(Default)]
struct Groups {
    bytes: Vec<u8>,
    range: Option<Range<usize>>,
    length: usize,
    /// What stands between the first two, without white space.
    between: Option<SmallVec<[u8; 8]>>,
    /// The last of them.
    last: Range<usize>,
}

impl Groups {
    fn add(&mut self, text: &[u8], group: Range<usize>, ways: &mut Ways<'_, '_>) {
        /// `, 0x` and some white space.
        const BETWEEN: usize = 8;
        let end = self.range.as_ref().map(|range| range.end);
        let between = end.and_then(|end| text.get(end..group.start)).filter(|between| between.len() <= BETWEEN);
        let near = between.is_some_and(|between| {
            let signs = between.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
            self.between.get_or_insert_with(|| SmallVec::clone(&signs)) == &signs
        });
        if !group.len().is_multiple_of(2) || group.len() > 16 {
            return self.flush(ways);
        }
        if !near || group.len() > self.length {
            let before = std::mem::replace(&mut self.last, 0..0);
            let begins = between.is_some() && before.len() == group.len();
            self.flush(ways);
            self.length = group.len();
            // What stood before is the first of them if it was the last of others.
            if begins {
                self.add(text, before, ways);
                return self.add(text, group, ways);
            }
        }
        self.last = group.clone();
        let shorter = group.len() < self.length;
        let (pairs, _) = text.get(group.clone()).unwrap_or_default().as_chunks::<2>();
        self.bytes.extend(pairs.iter().filter_map(|[high, low]| hex_pair(*high, *low)));
        let start = self.range.take().map_or(group.start, |range| range.start);
        self.range = Some(start..group.end);
        if shorter {
            self.flush(ways);
        }
    }

    fn flush(&mut self, ways: &mut Ways<'_, '_>) {
        let bytes = std::mem::take(&mut self.bytes);
        self.length = 0;
        self.between = None;
        let Some(range) = self.range.take() else { return };
        if reads_as_text(&bytes) || packed::is_packed(&bytes) {
            ways.run(Step::Hex, range, bytes);
            return;
        }
        for part in stretches(&bytes, WITHIN) {
            ways.run(Step::Hex, range.clone(), bytes.get(part).unwrap_or_default().to_vec());
        }
    }
}

/// Lines of more than this that look like those of a dump are such lines.
const LINES: usize = 64;

/// Reads the lines that xxd, hexdump and od write, if this place is in the first of them: an offset, bytes, and perhaps
/// what they are.
fn dump(text: &[u8], at: usize, dumped: &mut usize, ways: &mut Ways<'_, '_>) -> bool {
    let floor = at.saturating_sub(WIDEST).max(*dumped);
    let before = text.get(floor..at).unwrap_or_default();
    let line = memchr::memrchr(b'\n', before).map_or(floor, |newline| floor + newline + 1);
    // The first line may stand behind something, as the first of a string does.
    let begins = |start: &usize| {
        let rest = text.get(*start..).unwrap_or_default();
        has_offset(rest.trim_ascii_start()) && dumped_line(first_line(rest), &mut Vec::new())
    };
    let Some(start) = [line, at].into_iter().find(begins) else { return false };
    let mut bytes = Vec::new();
    let mut end = start;
    while let Some(rest) = text.get(end..).filter(|rest| !rest.is_empty()) {
        let line = first_line(rest);
        if !dumped_line(line, &mut bytes) {
            break;
        }
        end += line.len();
    }
    // Not even what is no text is read again line by line.
    let lines = end > at;
    *dumped = end.max(*dumped);
    let reads = lines && (reads_as_text(&bytes) || packed::is_packed(&bytes));
    if reads {
        ways.run(Step::Hex, start..end, bytes);
    }
    reads || lines && end - start > LINES
}

/// The widest line of a dump.
const WIDEST: usize = 512;

/// With its end, or as much of it as a dump may have.
fn first_line(text: &[u8]) -> &[u8] {
    let line = text.get(..WIDEST).unwrap_or(text);
    line.get(..memchr::memchr(b'\n', line).map_or(line.len(), |newline| newline + 1)).unwrap_or_default()
}

/// Digits of the offset that a line of a dump begins with.
const OFFSET: std::ops::RangeInclusive<usize> = 4..=16;

/// Whether it may be such a line: what is none mostly has fewer digits, or more.
fn has_offset(line: &[u8]) -> bool {
    OFFSET.contains(&line.iter().take(OFFSET.end() + 1).take_while(|byte| hex(**byte).is_some()).count())
}

/// Reads a line of a dump; false if it is none.
fn dumped_line(line: &[u8], bytes: &mut Vec<u8>) -> bool {
    const MOST: usize = 64;
    let line = line.trim_ascii();
    let offset = line.iter().take_while(|byte| hex(**byte).is_some()).count();
    let Some(rest) = line.get(offset..).filter(|_| OFFSET.contains(&offset)) else { return false };
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    let blank = rest.iter().take_while(|byte| **byte == b' ').count();
    if blank == 0 {
        return false;
    }
    let before = bytes.len();
    let mut rest = rest.get(blank..).unwrap_or_default();
    while bytes.len() - before < MOST {
        let digits = rest.iter().take_while(|byte| hex(**byte).is_some()).count();
        let Some((group, after)) = rest.split_at_checked(digits).filter(|_| digits > 0 && digits.is_multiple_of(2))
        else {
            break;
        };
        bytes.extend(group.as_chunks::<2>().0.iter().filter_map(|[high, low]| hex_pair(*high, *low)));
        // Two spaces end the bytes, except in the middle of a line of hexdump.
        rest = match after {
            [b' ', b' ', more @ ..] if bytes.len() - before == 8 && more.get(2) == Some(&b' ') => more,
            [b' ', more @ ..] => more,
            _ => break,
        };
    }
    bytes.len() > before
}
