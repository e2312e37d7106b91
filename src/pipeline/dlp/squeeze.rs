//! What somebody pulled apart: a token with blanks, line ends, or `" + "` in it, as it reads without them.

/// The most bytes that are looked at for the rest of a token, for each byte of it.
const SPREAD: usize = 6;

/// The text from `at` on without what parts a token, `most` bytes of it at most, with the place of each byte. None where
/// nothing parts it.
pub fn squeezed(text: &[u8], at: usize, most: usize) -> Option<(Vec<u8>, Vec<usize>)> {
    let end = text.len().min(at + most.saturating_mul(SPREAD));
    let mut rest = text.get(at..end)?;
    let (mut bytes, mut places) = (Vec::new(), Vec::new());
    let mut parted = false;
    while bytes.len() < most {
        let gap = gap(rest);
        if gap > 0 {
            parted = true;
            rest = rest.get(gap..)?;
            continue;
        }
        let Some((first, after)) = rest.split_first() else { break };
        places.push(end - rest.len());
        bytes.push(*first);
        rest = after;
    }
    // Where it ends.
    places.push(places.last().map_or(at, |last| last + 1));
    parted.then_some((bytes, places))
}

/// The bytes of [`squeezed`], one after the other: for a look at the first of them.
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

/// How many bytes at the beginning stand between two parts of a token.
fn gap(text: &[u8]) -> usize {
    match text {
        [b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c, ..] => 1,
        [b'\\', b'n' | b'r' | b't', ..] | [0xc2, 0xa0, ..] => 2,
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
            let squeezed = squeezed(text.as_bytes(), 0, 10);
            assert_eq!(squeezed.as_ref().map(|(bytes, _)| bytes.as_slice()), expected.map(str::as_bytes), "{text}");
            assert!(unparted(text.as_bytes(), 0).take(10).eq(*b"ghp_abcdef"), "{text}");
            if let Some((bytes, places)) = squeezed {
                assert!(bytes.iter().zip(&places).all(|(byte, at)| text.as_bytes()[*at] == *byte));
                assert_eq!(*places.last().unwrap(), text.len());
            }
        }
    }
}
