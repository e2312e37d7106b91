//! Which bytes at the end of what has come could still become part of a match: those are held back, and no others, so
//! that whoever waits for an answer to what it sent is not kept waiting.

use super::detector::Detector;
use super::known::Known;

/// The longest run without a blank that is held back as a whole: a longer one is data, and judged in blocks.
pub const RUN: usize = 4096;
/// A run this long may be something encoded, whatever it begins with.
const LONG: usize = 16;
/// How far the groups of a number that is written in groups are followed back.
const GROUPS: usize = 64;

/// The place in `text` from which on it has to be held back; its length if nothing has to.
pub fn open_from(detector: &Detector, known: &Known, text: &[u8]) -> usize {
    let run = text.len() - text.iter().rev().take_while(|byte| is_inner(**byte)).count();
    let tail = text.get(run..).unwrap_or_default();
    let open = match tail.len() {
        0 => text.len(),
        length if length >= LONG || is_value(text, run) || detector.may_begin(tail) => run,
        _ => text.len(),
    };
    let open = open.min(number_from(text)).min(detector.open_from(text)).min(text.len() - known.open_suffix(text));
    if open == text.len() {
        return open;
    }
    // What is divided inside of a run, or of a match, would be looked at as if it ended there.
    let whole = |open: usize| {
        open - text.get(..open).unwrap_or_default().iter().rev().take(RUN).take_while(|byte| is_inner(**byte)).count()
    };
    let mut open = whole(open);
    // A match may begin inside of a run, and the run inside of another match; more than a few are data, and divided.
    for _ in 0..8 {
        let before = whole(detector.undivided(text, open));
        if before == open {
            break;
        }
        open = before;
    }
    open
}

/// A byte that can stand inside of a secret, plain or encoded.
pub fn is_inner(byte: u8) -> bool {
    // NUL stands in every character of UTF-16; what is not ASCII may only look like nothing.
    byte.is_ascii_alphanumeric() || b"+/=_-.~%\\:@!#$&*?^|;\0".contains(&byte) || byte >= 0x80
}

/// Whether the run that begins here is the value of something: then even a short one may be a password.
fn is_value(text: &[u8], run: usize) -> bool {
    let tail = text.get(run..).unwrap_or_default();
    if tail.iter().any(|byte| matches!(byte, b'=' | b':')) {
        return true;
    }
    let before = text.get(..run).unwrap_or_default();
    let mut bytes = before.iter().rev().skip_while(|byte| matches!(byte, b' ' | b'"' | b'\'' | b'`' | b'\t')).take(2);
    bytes.next().is_some_and(|byte| matches!(byte, b'=' | b':' | b'>' | b'('))
}

/// Where a number in groups begins that the text ends in: `4012 8888 88`, `DE89 3704 0`.
fn number_from(text: &[u8]) -> usize {
    let in_group = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase() || b" -./".contains(byte);
    let length = text.iter().rev().take(GROUPS).take_while(|byte| in_group(byte)).count();
    let start = text.len() - length;
    let group = text.get(start..).unwrap_or_default();
    let digits = group.iter().filter(|byte| byte.is_ascii_digit()).count();
    let blanks = group.iter().take_while(|byte| !byte.is_ascii_alphanumeric()).count();
    if digits < 3 { text.len() } else { start + blanks }
}
