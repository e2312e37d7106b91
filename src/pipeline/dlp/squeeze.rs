//! What somebody pulled apart: a token with blanks, line ends, or `" + "` in it, as it reads without them.

/// The most bytes that are looked at for the rest of a token, for each byte of it.
const SPREAD: usize = 6;

/// A text without what parts tokens. What follows a place does not depend on what is before it: a place that was come by
/// once is not read again, however many tokens begin there.
#[derive(Debug, Default)]
pub struct Squeezed {
    bytes: Vec<u8>,
    /// Where each byte stands in the text.
    places: Vec<usize>,
    /// Where the text has not been read from.
    next: usize,
}

impl Squeezed {
    /// The text from `at` on without what parts a token, `most` bytes of it at most, with the place of each byte. None
    /// where nothing parts it.
    pub fn from(&mut self, text: &[u8], at: usize, most: usize) -> Option<(&[u8], &[usize])> {
        let end = text.len().min(at + most.saturating_mul(SPREAD));
        let known = self.places.binary_search(&at).ok();
        let first = known.unwrap_or_else(|| {
            self.bytes.clear();
            self.places.clear();
            self.next = at;
            0
        });
        while self.bytes.len() - first < most && self.next < end {
            let rest = text.get(self.next..)?;
            let gap = gap(rest);
            if gap == 0 {
                self.places.push(self.next);
                self.bytes.extend(rest.first());
            }
            self.next += gap.max(1);
        }
        let places = self.places.get(first..)?;
        let count = places.partition_point(|place| *place < end).min(most);
        let places = places.get(..count)?;
        let parted = places.last().is_some_and(|last| *last + 1 != at + count);
        parted.then_some((self.bytes.get(first..first + count)?, places))
    }
}

/// The bytes of [`Squeezed`], one after the other: for a look at the first of them.
pub fn unparted(text: &[u8], at: usize) -> impl Iterator<Item = u8> {
    let mut rest = text.get(at..).unwrap_or_default();
    std::iter::from_fn(move || {
        loop {
            match gap(rest) {
                0 => break,
                gap => rest = rest.get(gap..)?,
            }
        }
        let (first, after) = rest.split_first()?;
        rest = after;
        Some(*first)
    })
}

/// True if these bytes may begin with what stands between two parts of a token.
pub fn is_parted(text: &[u8]) -> bool {
    gap(text) > 0
}

/// How many bytes at the beginning stand between two parts of a token.
fn gap(text: &[u8]) -> usize {
    match text {
        [b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c, ..] => 1,
        [b'\\', b'n' | b'r' | b't' | b'\\', ..] | [0xc2, 0xa0, ..] => 2,
        [b'\\', literal @ ..] if concatenation(literal) > 0 => 1 + concatenation(literal),
        // U+2000 to U+200D, U+2028, U+2029, U+202F, U+205F, U+3000.
        [0xe2, 0x80, 0x80..=0x8d | 0xa8 | 0xa9 | 0xaf, ..] | [0xe2, 0x81, 0x9f, ..] | [0xe3, 0x80, 0x80, ..] => 3,
        [b'/', b'*', rest @ ..] => rest.windows(2).take(32).position(|end| end == b"*/").map_or(0, |at| at + 4),
        [b'"' | b'\'' | b'`', ..] => concatenation(text),
        _ => 0,
    }
}

/// `" + "`, `' . '`, `" "`, `",\n"`: the end of one literal and the beginning of the next.
fn concatenation(text: &[u8]) -> usize {
    let between =
        |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'+' | b'.' | b'&' | b'\\' | b',' | b'~' | b'|');
    if !matches!(text, [b'"' | b'\'' | b'`', ..]) {
        return 0;
    }
    let inner = text.iter().skip(1).take(16).take_while(|byte| between(byte)).count();
    match text.get(inner + 1) {
        Some(b'"' | b'\'' | b'`') if inner > 0 => inner + 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pulled_apart_is_put_together() {
        for (text, expected) in [
            ("ghp_ab cd\nef", Some("ghp_abcdef")),
            ("ghp_ab\" + \"cdef", Some("ghp_abcdef")),
            ("ghp_ab' . 'cdef", Some("ghp_abcdef")),
            ("ghp_a\u{a0}b\u{2009}cdef", Some("ghp_abcdef")),
            ("ghp_/* x */abcdef", Some("ghp_abcdef")),
            (r"ghp_ab\ncdef", Some("ghp_abcdef")),
            ("ghp_abcdef", None),
        ] {
            let mut squeezed = Squeezed::default();
            let squeezed = squeezed.from(text.as_bytes(), 0, 10);
            assert_eq!(squeezed.map(|(bytes, _)| bytes), expected.map(str::as_bytes), "{text}");
            if let Some((bytes, places)) = squeezed {
                assert!(unparted(text.as_bytes(), 0).take(10).eq(*b"ghp_abcdef"), "{text}");
                assert!(bytes.iter().zip(places).all(|(byte, at)| text.as_bytes()[*at] == *byte));
                assert_eq!(*places.last().unwrap(), text.len() - 1);
            }
        }
    }

    #[test]
    fn what_was_read_before_reads_the_same() {
        let text = "ab\" + \"c d/* x */e'f\\ng' . 'h\u{a0}i".repeat(20).into_bytes();
        let mut kept = Squeezed::default();
        for at in (0..text.len()).chain((0..text.len()).rev()) {
            for most in [3, 10, 40] {
                assert_eq!(kept.from(&text, at, most), Squeezed::default().from(&text, at, most), "{at}");
            }
        }
    }
}
