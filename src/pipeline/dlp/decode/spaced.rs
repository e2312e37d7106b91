//! Characters with a space between each and the next.

use super::Ways;
use crate::pipeline::dlp::finding::Step;

/// The fewest characters.
const LEAST: usize = 12;

/// Reads what is spaced round these places.
pub(super) fn read(text: &[u8], places: &[usize], ways: &mut Ways<'_, '_>) {
    let mut done = 0;
    for at in places.iter().copied().filter(|at| *at < text.len()) {
        if at < done {
            continue;
        }
        // The first character that stands alone, from the character in this place on.
        let anchor = at + usize::from(text.get(at) == Some(&b' '));
        let pairs_before = text.get(done..anchor).unwrap_or_default().rchunks_exact(2);
        let before = pairs_before.take_while(|pair| matches!(pair, [alone, b' '] if is_visible(*alone))).count();
        let mut start = anchor - before * 2;
        // The last letter of the word before is followed by a space too.
        let is_letter = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_alphanumeric);
        if is_letter(start.checked_sub(1)) {
            start += 2;
        }
        let rest = text.get(start..).unwrap_or_default();
        let after = rest.chunks(2).take_while(|pair| matches!(pair, [alone, b' '] if is_visible(*alone))).count();
        let last = start + after * 2;
        let more = text.get(last).is_some_and(|byte| is_visible(*byte)) && !is_letter(Some(last + 1));
        let end = if more { last + 1 } else { last.saturating_sub(1) };
        done = end.max(at + 1);
        let bytes: Vec<u8> = text.get(start..end).unwrap_or_default().iter().step_by(2).copied().collect();
        if bytes.len() >= LEAST {
            ways.run(Step::Split, start..end, bytes);
        }
    }
}

fn is_visible(byte: u8) -> bool {
    byte.is_ascii_graphic()
}
