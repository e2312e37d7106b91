//! Quoted-printable (RFC 2045 §6.7): `=41` and a `=` at the end of a line that goes on.

use memchr::memchr_iter;

use super::alphabet::hex_pair;
use super::text::is_printable;
use crate::pipeline::dlp::edits::Edits;
use crate::pipeline::dlp::finding::Step;

/// Replaces all that is quoted, if it looks as if it were.
pub(super) fn read(text: &[u8], edits: &mut Edits<'_>) {
    if !is_quoted(text) {
        return;
    }
    for at in memchr_iter(b'=', text) {
        match quoted(text, at) {
            Some(Quoted::Byte(byte)) => edits.replace(Step::QuotedPrintable, at, at + 3, &[byte]),
            Some(Quoted::Break(length)) => edits.replace(Step::QuotedPrintable, at, at + length, &[]),
            None => {}
        }
    }
}

enum Quoted {
    Byte(u8),
    /// Of this many bytes.
    Break(usize),
}

/// Assignments have a `=` too, and what follows may be hex: it is quoted if lines go on, or most of it is text.
fn is_quoted(text: &[u8]) -> bool {
    const FEW: usize = 3;
    let (mut shown, mut strange) = (0, 0);
    for at in memchr_iter(b'=', text) {
        match quoted(text, at) {
            Some(Quoted::Break(_)) => return true,
            Some(Quoted::Byte(byte)) if is_printable(byte) || byte >= 0x80 => shown += 1,
            Some(Quoted::Byte(_)) => strange += 1,
            None => {}
        }
    }
    shown >= FEW && shown >= strange * 6
}

fn quoted(text: &[u8], at: usize) -> Option<Quoted> {
    // At the end of a text, and twice, it is padding of base64.
    let goes_on =
        |next: u8| !next.is_ascii_whitespace() && at.checked_sub(1).and_then(|at| text.get(at)) != Some(&b'=');
    match text.get(at + 1..)? {
        [b'\n', next, ..] if goes_on(*next) => Some(Quoted::Break(2)),
        [b'\r', b'\n', next, ..] if goes_on(*next) => Some(Quoted::Break(3)),
        [high, low, ..] => hex_pair(*high, *low).map(Quoted::Byte),
        _ => None,
    }
}
