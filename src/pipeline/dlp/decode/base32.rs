//! Base32 (RFC 4648 §6), in upper or lower case, padded or not.

use std::ops::Range;

use smallvec::SmallVec;

use super::alphabet::base32;
use super::text::{reads_as_text, stretches};
use super::{Ways, packed};
use crate::pipeline::dlp::finding::Step;

/// The fewest characters of a run.
const LEAST: usize = 16;

/// The fewest bytes of text in what does not read as text as a whole.
const WITHIN: usize = 10;

/// Reads those of one case, capitals or small letters, in a run of base64.
pub(super) fn read<const CAPITALS: bool>(text: &[u8], run: Range<usize>, ways: &mut Ways<'_, '_>) {
    let is_case = |byte: u8| {
        let is_letter = if CAPITALS { byte.is_ascii_uppercase() } else { byte.is_ascii_lowercase() };
        is_letter || (b'2'..=b'7').contains(&byte)
    };
    let mut at = run.start;
    while let Some(rest) = text.get(at..run.end).filter(|rest| rest.len() >= LEAST) {
        // From the end: what is not of this case is skipped sixteen at a time.
        if let Some(last) = rest.iter().take(LEAST).rposition(|byte| !is_case(*byte)) {
            at += last + 1;
            continue;
        }
        let length = rest.iter().take_while(|byte| is_case(**byte)).count();
        part(text, at..at + length, ways);
        at += length + 1;
    }
}

fn part(text: &[u8], part: Range<usize>, ways: &mut Ways<'_, '_>) {
    let characters = text.get(part.clone()).unwrap_or_default();
    let padding = text.get(part.end..).unwrap_or_default().iter().take(6).take_while(|byte| **byte == b'=').count();
    let bytes = decoded(characters);
    let range = part.start..part.end + padding;
    if reads_as_text(&bytes) || packed::is_packed(&bytes) {
        return ways.run(Step::Base32, range, bytes.into_vec());
    }
    for stretch in stretches(&bytes, WITHIN) {
        ways.run(Step::Base32, range.clone(), bytes.get(stretch).unwrap_or_default().to_vec());
    }
}

fn decoded(characters: &[u8]) -> SmallVec<[u8; 64]> {
    let (mut bits, mut count) = (0_u32, 0);
    let mut bytes = SmallVec::with_capacity(characters.len() / 8 * 5 + 5);
    for value in characters.iter().filter_map(|byte| base32(*byte)) {
        bits = bits << 5 | u32::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            // What is above is dropped: it was written before.
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
