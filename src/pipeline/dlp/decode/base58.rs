//! Base58 with Bitcoin's alphabet, of one short text as a whole: what it stands for hangs on where it begins and ends.

use std::ops::Range;

use super::Ways;
use super::text::is_printable;
use crate::pipeline::dlp::finding::Step;

/// How many characters 16 bytes take.
pub(super) const SHORTEST: usize = 21;

/// As many as 16 bytes take up to as many as 93 do.
const LENGTHS: std::ops::RangeInclusive<usize> = SHORTEST..=128;

/// Reads the last word of a run of base64 that ends with it.
pub(super) fn read(text: &[u8], run: Range<usize>, ways: &mut Ways<'_, '_>) {
    let from = run.end.saturating_sub(LENGTHS.end() + 1).max(run.start);
    let tail = text.get(from..run.end).unwrap_or_default();
    let sign = tail.iter().rposition(|byte| b"+/-_".contains(byte));
    let word = tail.get(sign.map_or(0, |sign| sign + 1)..).unwrap_or_default();
    if !LENGTHS.contains(&word.len()) || !begins_as_text(word) {
        return;
    }
    let Ok(bytes) = bs58::decode(word).into_vec() else { return };
    if bytes.iter().all(|byte| is_printable(*byte)) {
        ways.run(Step::Base58, run.end - word.len()..run.end, bytes);
    }
}

/// Whether all are of the alphabet, and the first three bytes are text. The first characters alone say that, by the
/// logarithm of the number that they begin: to decode all of them takes a hundred times as long.
fn begins_as_text(word: &[u8]) -> bool {
    /// 58⁹ is less than 2⁵³.
    const EXACT: usize = 9;
    const BITS_OF_THREE: f64 = 24.0;
    let values = || word.iter().map(|byte| value(*byte));
    let Some(head) = values().take(EXACT).try_fold(0.0, |head, value| Some(head * 58.0 + f64::from(value?))) else {
        return false;
    };
    if head == 0.0 || values().any(|value| value.is_none()) {
        return false;
    }
    let bits = head.log2() + word.len().saturating_sub(EXACT) as f64 * 58_f64.log2();
    let whole = (bits / 8.0).floor() * 8.0;
    // The number divided by all its bytes but the first three.
    let [_, first @ ..] = ((bits - whole + BITS_OF_THREE - 8.0).exp2() as u32).to_be_bytes();
    first.into_iter().all(is_printable)
}

/// What a character stands for.
pub(super) fn value(byte: u8) -> Option<u8> {
    let value = match byte {
        b'1'..=b'9' => byte - b'1',
        b'A'..=b'H' => byte - b'A' + 9,
        b'J'..=b'N' => byte - b'J' + 17,
        b'P'..=b'Z' => byte - b'P' + 22,
        b'a'..=b'k' => byte - b'a' + 33,
        b'm'..=b'z' => byte - b'm' + 44,
        _ => return None,
    };
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_characters_tell_the_first_bytes(bytes in prop::collection::vec(1_u8.., 16..93)) {
            let word = bs58::encode(&bytes).into_string();
            prop_assert_eq!(begins_as_text(word.as_bytes()), bytes.iter().take(3).all(|byte| is_printable(*byte)));
        }

        #[test]
        fn text_begins_as_text(text in "[ -~]{16,93}") {
            prop_assert!(begins_as_text(bs58::encode(&text).into_string().as_bytes()));
        }
    }
}
