//! Ascii85 between `<~` and `~>`, as btoa and PDF have it.

use memchr::memmem;

use super::text::reads_as_text;
use super::{Ways, packed};
use crate::pipeline::dlp::finding::Step;

/// Reads all that is marked.
pub(super) fn read(text: &[u8], ways: &mut Ways<'_, '_>) {
    let mut from = 0;
    while let Some(start) = text.get(from..).and_then(|rest| memmem::find(rest, b"<~")).map(|at| from + at) {
        let rest = text.get(start + 2..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| is_character(**byte)).count();
        from = start + 2 + length;
        let bytes = decoded(rest.get(..length).unwrap_or_default());
        if text.get(from..).is_some_and(|end| end.starts_with(b"~>"))
            && (reads_as_text(&bytes) || packed::is_packed(&bytes))
        {
            ways.run(Step::Base85, start..from + 2, bytes);
        }
    }
}

fn is_character(byte: u8) -> bool {
    matches!(byte, b'!'..=b'u' | b'z') || byte.is_ascii_whitespace()
}

fn decoded(characters: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(characters.len() / 5 * 4 + 4);
    let (mut sum, mut count) = (0_u32, 0_usize);
    for byte in characters.iter().filter(|byte| !byte.is_ascii_whitespace()) {
        if *byte == b'z' && count == 0 {
            bytes.extend([0; 4]);
            continue;
        }
        sum = sum.wrapping_mul(85).wrapping_add(u32::from(byte.wrapping_sub(b'!')));
        count += 1;
        if count == 5 {
            bytes.extend(sum.to_be_bytes());
            (sum, count) = (0, 0);
        }
    }
    if count > 1 {
        // What is missing counts as the highest.
        let filled = (count..5).fold(sum, |sum, _| sum.wrapping_mul(85).wrapping_add(84));
        bytes.extend(filled.to_be_bytes().into_iter().take(count - 1));
    }
    bytes
}
