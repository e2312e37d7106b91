//! UTF-16 and UTF-32 of either order: by their mark, or by their zeros in the midst of something else.

use std::ops::Range;

use super::Ways;
use super::text::is_printable;
use crate::pipeline::dlp::finding::Step;

/// The fewest characters without a mark.
const LEAST: usize = 8;

/// Reads what is wide.
pub(super) fn read(text: &[u8], ways: &mut Ways<'_, '_>) {
    if let Some(bytes) = whole(text) {
        ways.run(Step::Utf16, 0..text.len(), bytes);
        return;
    }
    if memchr::memchr(0, text).is_none() {
        return;
    }
    for width in [2, 4] {
        within(text, width, ways);
    }
}

/// All of it, if it is marked.
fn whole(text: &[u8]) -> Option<Vec<u8>> {
    match text {
        [0xff, 0xfe, 0, 0, rest @ ..] => Some(wide(rest, u32::from_le_bytes)),
        [0, 0, 0xfe, 0xff, rest @ ..] => Some(wide(rest, u32::from_be_bytes)),
        [0xff, 0xfe, rest @ ..] => Some(narrow(rest, u16::from_le_bytes)),
        [0xfe, 0xff, rest @ ..] => Some(narrow(rest, u16::from_be_bytes)),
        _ => None,
    }
}

fn narrow(text: &[u8], unit: fn([u8; 2]) -> u16) -> Vec<u8> {
    let units = text.as_chunks::<2>().0.iter().map(|pair| unit(*pair));
    let characters = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
    characters.collect::<String>().into_bytes()
}

fn wide(text: &[u8], unit: fn([u8; 4]) -> u32) -> Vec<u8> {
    let units = text.as_chunks::<4>().0.iter().map(|four| unit(*four));
    let characters = units.map(|code| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
    characters.collect::<String>().into_bytes()
}

/// Stretches of ASCII with zeros between. Of the order that has the zero first, the last character has none behind it.
fn within(text: &[u8], width: usize, ways: &mut Ways<'_, '_>) {
    let mut at = 0;
    while let Some(zero) = text.get(at..).and_then(|rest| memchr::memchr(0, rest)).map(|found| at + found) {
        let Some(start) = zero.checked_sub(1).filter(|start| *start >= at) else {
            at = zero + 1;
            continue;
        };
        let rest = text.get(start..).unwrap_or_default();
        let is_wide = |unit: &&[u8]| match unit.split_first() {
            Some((character, zeros)) => is_printable(*character) && zeros.iter().all(|zero| *zero == 0),
            None => false,
        };
        let count = rest.chunks_exact(width).take_while(is_wide).count();
        let mut range: Range<usize> = start..start + count * width;
        let mut bytes: Vec<u8> = text.get(range.clone()).unwrap_or_default().iter().step_by(width).copied().collect();
        if let Some(last) = text.get(range.end).filter(|last| is_printable(**last)) {
            bytes.push(*last);
            range.end += 1;
        }
        at = range.end.max(zero + 1);
        if bytes.len() >= LEAST && count > 0 {
            ways.run(Step::Utf16, range, bytes);
        }
    }
}
