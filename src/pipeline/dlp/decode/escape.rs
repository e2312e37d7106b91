//! What stands for a character where it stands: percent-encoding, the escapes of JSON, JavaScript and C, and entities.
//! All are undone at once: a text that mixes them is read by whoever undoes any.
//!
//! What stands for a line end or a quote parts what it stands between, escaped or not, and every string of a JSON text is
//! full of those: they are undone near what else is undone, and where the text goes on behind them.

use std::ops::Range;

use super::alphabet::{hex, hex_pair};
use crate::pipeline::dlp::edits::Edits;
use crate::pipeline::dlp::finding::Step;
use crate::pipeline::dlp::lanes::{self, Kinds, Vector};

/// Up to four bytes of UTF-8, or a byte alone.
type Decoded = smallvec::SmallVec<[u8; 4]>;

/// Replaces all that is escaped. `signs` are what escapes begin with, by block, and in the parts that are `blanks`, in
/// order, what only parts matters too.
pub(super) fn read(text: &[u8], signs: &[(usize, u64)], blanks: &[Range<usize>], edits: &mut Edits<'_>) {
    let mut escapes = Escapes { text, blanks, done: 0, edits };
    if is_form(text) {
        return lanes::each_place::<SignsOfForms>(text, |at| escapes.read(at));
    }
    for (block, mut signs) in signs.iter().copied() {
        while signs != 0 {
            escapes.read(block + signs.trailing_zeros() as usize);
            signs &= signs - 1;
        }
    }
}

/// What escapes begin with in forms, where a plus is a space.
struct SignsOfForms;

impl Kinds<1> for SignsOfForms {
    #[inline(always)]
    fn of<V: Vector>(bytes: V) -> [V; 1] {
        [bytes.is(b'%').or(bytes.is(b'\\')).or(bytes.is(b'&')).or(bytes.is(b'+'))]
    }
}

/// The escapes of a text, one after the other.
struct Escapes<'t, 'e, 'v> {
    text: &'t [u8],
    blanks: &'t [Range<usize>],
    /// What is before this was read.
    done: usize,
    edits: &'e mut Edits<'v>,
}

impl Escapes<'_, '_, '_> {
    /// Reads the one that may begin here.
    #[inline(always)]
    fn read(&mut self, at: usize) {
        let rest = self.text.get(at..).and_then(<[u8]>::split_first);
        let Some((first, rest)) = rest.filter(|_| at >= self.done) else { return };
        if let (b'\\', Some(parting)) = (first, rest.first().copied().and_then(parting))
            && !self.matters(at)
            && parts(self.text, at, rest, parting)
        {
            self.done = at + 2;
            self.edits.replace_aside(at, self.done, parting);
            return;
        }
        let (step, read) = match first {
            b'%' => (Step::Percent, percent(rest)),
            b'+' => (Step::Percent, Some((byte(b' '), 0))),
            b'\\' => (Step::Escapes, backslash(rest)),
            _ => (Step::Entities, entity(rest)),
        };
        if let Some((decoded, length)) = read {
            self.done = at + 1 + length;
            self.edits.replace(step, at, self.done, &decoded);
        }
    }

    /// Whether it matters here what only parts.
    fn matters(&mut self, at: usize) -> bool {
        while let [first, rest @ ..] = self.blanks
            && first.end <= at
        {
            self.blanks = rest;
        }
        self.blanks.first().is_some_and(|first| first.contains(&at))
    }
}

/// What stands for a line end, a tab, a quote or a backslash.
fn parting(escape: u8) -> Option<u8> {
    match escape {
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        b'"' | b'\'' | b'\\' | b'`' => Some(escape),
        _ => None,
    }
}

/// Whether what is on one side of this escape has nothing to do with what is on the other.
fn parts(text: &[u8], at: usize, rest: &[u8], decoded: u8) -> bool {
    match (rest.first(), decoded) {
        // A line is no end of what is wrapped: behind as much as a line of base64 or hex, or a soft break.
        (Some(b'n' | b'r' | b't'), _) => {
            let (before, after) = (text.get(..at).unwrap_or_default(), rest.get(1..).unwrap_or_default());
            !(is_wrapped(before) || is_piece(before.iter().rev()) && is_piece(after.iter()))
        }
        (_, b'"' | b'\'' | b'`') => true,
        // What is escaped in an escape is a sign again, unless it only parts too.
        (_, b'\\') => {
            /// What is escaped more often nobody reads.
            const OFTEN: usize = 16;
            let more = rest.iter().skip(1).take(OFTEN).take_while(|byte| **byte == b'\\').count();
            match rest.get(more + 1) {
                Some(b'n' | b'r') => more < 2 && !is_wrapped(text.get(..at).unwrap_or_default()),
                Some(b'u' | b'U' | b'x' | b'/' | b'0'..=b'3') => false,
                _ => true,
            }
        }
        _ => false,
    }
}

/// Whether what is next to an escape may be a piece of something that was pulled apart: no word has a digit or a capital.
#[inline(always)]
fn is_piece<'t>(near: impl Iterator<Item = &'t u8>) -> bool {
    const NEAR: usize = 8;
    // The first letter of a word may be a capital.
    let mut varied = DIGIT;
    for byte in near.take(NEAR) {
        let kind = kind(*byte);
        if kind & BASE64 == 0 || kind & varied != 0 {
            return kind & BASE64 != 0;
        }
        varied = DIGIT | CAPITAL;
    }
    false
}

/// Whether a line ends here that may go on in the next.
fn is_wrapped(before: &[u8]) -> bool {
    const LINE: usize = 16;
    if before.last() == Some(&b'=') {
        return true;
    }
    // What ends a line that is of neither alphabet is near its end.
    let Some(line) = before.last_chunk::<LINE>() else { return false };
    let mut all = BASE64 | HEXISH;
    for byte in line.iter().rev() {
        all &= kind(*byte);
        if all == 0 {
            return false;
        }
    }
    true
}

/// A character of base64.
const BASE64: u8 = 1;
/// A hex digit, or what stands between them.
const HEXISH: u8 = 1 << 1;
const DIGIT: u8 = 1 << 2;
const CAPITAL: u8 = 1 << 3;

/// Which of these a byte is.
#[inline(always)]
fn kind(byte: u8) -> u8 {
    KINDS.get(usize::from(byte)).copied().unwrap_or_default()
}

static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::indexing_slicing, reason = "it is filled when it is compiled")]
        {
            kinds[byte] = kind_of(byte as u8);
        }
        byte += 1;
    }
    kinds
};

const fn kind_of(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => BASE64 | HEXISH | DIGIT,
        b'A'..=b'F' | b'X' => BASE64 | HEXISH | CAPITAL,
        b'A'..=b'Z' => BASE64 | CAPITAL,
        b'a'..=b'f' | b'x' | b'-' => BASE64 | HEXISH,
        b'a'..=b'z' | b'+' | b'/' | b'_' => BASE64,
        b':' | b' ' | b',' | b';' | b'\\' | b'\n' | b'\r' => HEXISH,
        _ => 0,
    }
}

/// True for `name=value&name=value`, in which `+` is a space.
fn is_form(text: &[u8]) -> bool {
    const SAMPLE: usize = 4 << 10;
    let sample = text.get(..SAMPLE).unwrap_or(text);
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%+[]*!".contains(byte);
    let name = sample.iter().take_while(|byte| is_name(byte)).count();
    sample.get(name) == Some(&b'=')
        && !sample.iter().any(|byte| byte.is_ascii_whitespace() || b"\"<>{}\\".contains(byte))
}

/// `%41`, `%u0041`, and `%2541` at once: nobody means the one in between.
fn percent(rest: &[u8]) -> Option<(Decoded, usize)> {
    if let Some([b'u' | b'U', digits @ ..]) = rest.get(..5) {
        return Some((character(number(digits, 16)?)?, 5));
    }
    let mut at = 0;
    while let Some([b'2', b'5', high, low]) = rest.get(at..at + 4)
        && hex_pair(*high, *low).is_some()
    {
        at += 2;
    }
    let [high, low] = rest.get(at..at + 2)? else { return None };
    Some((byte(hex_pair(*high, *low)?), at + 2))
}

/// What follows a backslash (RFC 8259 §7, ECMA-262 §12.9.4, C11 §6.4.4.4).
fn backslash(rest: &[u8]) -> Option<(Decoded, usize)> {
    let (kind, after) = rest.split_first()?;
    let simple = |decoded: u8| Some((byte(decoded), 1));
    match kind {
        b'n' => simple(b'\n'),
        b'r' => simple(b'\r'),
        b't' => simple(b'\t'),
        b'"' | b'\'' | b'\\' | b'/' | b'`' => simple(*kind),
        // A line that goes on.
        b'\n' => Some((Decoded::new(), 1)),
        b'x' => {
            let [high, low] = after.get(..2)? else { return None };
            Some((byte(hex_pair(*high, *low)?), 3))
        }
        b'u' if after.first() == Some(&b'{') => {
            let end = after.iter().take(8).position(|byte| *byte == b'}')?;
            Some((character(number(after.get(1..end)?, 16)?)?, end + 2))
        }
        b'u' => {
            let unit = number(after.get(..4)?, 16)?;
            if !(0xd800..0xdc00).contains(&unit) {
                return Some((character(unit)?, 5));
            }
            let Some([b'\\', b'u', low @ ..]) = after.get(4..10) else { return None };
            let low = number(low, 16)?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
            Some((character(0x10000 + ((unit - 0xd800) << 10 | low))?, 11))
        }
        b'U' => Some((character(number(after.get(..8)?, 16)?)?, 9)),
        b'0'..=b'3' => {
            let digits = rest.get(..3)?;
            Some((byte(u8::try_from(number(digits, 8)?).ok()?), 3))
        }
        _ => None,
    }
}

/// What follows an ampersand (HTML §13.5).
fn entity(rest: &[u8]) -> Option<(Decoded, usize)> {
    if let Some(numeric) = rest.strip_prefix(b"#") {
        let (digits, radix) = match numeric {
            [b'x' | b'X', digits @ ..] => (digits, 16),
            digits => (digits, 10),
        };
        let count = digits.iter().take(8).take_while(|byte| char::from(**byte).is_digit(radix)).count();
        let decoded = character(number(digits.get(..count)?, radix)?)?;
        let closed = usize::from(digits.get(count) == Some(&b';'));
        return Some((decoded, rest.len() - digits.len() + count + closed));
    }
    const LONGEST: usize = 9;
    let length = rest.iter().take(LONGEST).position(|byte| *byte == b';')?;
    let name = rest.get(..length)?;
    let (_, decoded) = NAMED.iter().find(|(named, _)| named.as_bytes() == name)?;
    Some((decoded.bytes().collect(), length + 1))
}

/// Those that a token or what stands round it may be written with.
const NAMED: [(&str, &str); 40] = [
    ("amp", "&"),
    ("AMP", "&"),
    ("lt", "<"),
    ("gt", ">"),
    ("quot", "\""),
    ("apos", "'"),
    ("nbsp", " "),
    ("lowbar", "_"),
    ("UnderBar", "_"),
    ("dash", "-"),
    ("hyphen", "-"),
    ("sol", "/"),
    ("bsol", "\\"),
    ("plus", "+"),
    ("equals", "="),
    ("period", "."),
    ("comma", ","),
    ("colon", ":"),
    ("semi", ";"),
    ("num", "#"),
    ("percnt", "%"),
    ("commat", "@"),
    ("dollar", "$"),
    ("excl", "!"),
    ("quest", "?"),
    ("ast", "*"),
    ("midast", "*"),
    ("lpar", "("),
    ("rpar", ")"),
    ("lsqb", "["),
    ("lbrack", "["),
    ("rsqb", "]"),
    ("rbrack", "]"),
    ("lcub", "{"),
    ("rcub", "}"),
    ("verbar", "|"),
    ("vert", "|"),
    ("grave", "`"),
    ("Tab", "\t"),
    ("NewLine", "\n"),
];

fn byte(byte: u8) -> Decoded {
    std::iter::once(byte).collect()
}

fn character(code: u32) -> Option<Decoded> {
    let mut buffer = [0; 4];
    Some(char::from_u32(code)?.encode_utf8(&mut buffer).bytes().collect())
}

/// Digits and nothing else, at least one.
fn number(digits: &[u8], radix: u32) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |sum, digit| {
        let digit = hex(*digit).map(u32::from).filter(|digit| *digit < radix)?;
        sum.checked_mul(radix)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::super::alphabet::{is_base64, is_hexish};
    use super::*;

    #[test]
    fn bytes_are_of_the_kinds_that_their_alphabets_say() {
        for byte in 0..=u8::MAX {
            let kinds = [BASE64, HEXISH, DIGIT, CAPITAL].map(|of| kind(byte) & of != 0);
            let expected = [is_base64(byte), is_hexish(byte), byte.is_ascii_digit(), byte.is_ascii_uppercase()];
            assert_eq!(kinds, expected, "{byte}");
        }
    }
}
