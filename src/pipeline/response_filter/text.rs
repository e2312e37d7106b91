//! The texts in JSON: where the plain run of one ends, whether it is UTF-8, and what its escapes stand for.

use super::BadBody;

/// How many bytes from the start stand for themselves: neither a quote, a backslash nor a control character.
pub fn plain(bytes: &[u8]) -> usize {
    // Most texts are short: eight bytes at once find their end without looking at each.
    let (words, rest) = bytes.as_chunks::<8>();
    let (near, far) = words.split_at(words.len().min(4));
    for (at, word) in near.iter().enumerate() {
        if let Some(end) = special_in(*word) {
            return 8 * at + end;
        }
    }
    // Without an early end inside, so that the compiler makes one comparison of vectors of it.
    let special = |byte: &u8| (*byte == b'"') | (*byte == b'\\') | (*byte < b' ');
    let clean = |chunk: &&[[u8; 8]; 4]| !chunk.as_flattened().iter().fold(false, |s, b| s | special(b));
    let (chunks, _) = far.as_chunks::<4>();
    let passed = near.len() + 4 * chunks.iter().take_while(clean).count();
    for (at, word) in words.iter().enumerate().skip(passed) {
        if let Some(end) = special_in(*word) {
            return 8 * at + end;
        }
    }
    bytes.len() - rest.len() + rest.iter().position(special).unwrap_or(rest.len())
}

/// Where the first special byte of eight is.
fn special_in(word: [u8; 8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(word);
    // The high bit of each byte that is below another; above the first such byte a borrow may set more.
    let below = |word: u64, least: u64| word.wrapping_sub(ONES * least) & !word & (ONES * 0x80);
    let quote = below(word ^ (ONES * u64::from(b'"')), 1);
    let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
    let found = quote | backslash | below(word, u64::from(b' '));
    (found != 0).then_some(found.trailing_zeros() as usize / 8)
}

/// A check of UTF-8 that may be handed characters in pieces.
#[derive(Debug, Default)]
pub struct Utf8 {
    /// The beginning of a character whose end has not come yet.
    begun: [u8; 4],
    length: usize,
}

impl Utf8 {
    /// Looks at the next bytes.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), BadBody> {
        if self.length == 0 && bytes.is_ascii() {
            return Ok(());
        }
        while self.length > 0 {
            let Some((first, rest)) = bytes.split_first() else { return Ok(()) };
            bytes = rest;
            if let Some(place) = self.begun.get_mut(self.length) {
                *place = *first;
            }
            self.length += 1;
            match std::str::from_utf8(self.begun.get(..self.length).ok_or(BadBody::NotUtf8)?) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(BadBody::NotUtf8),
            }
        }
        let Err(error) = std::str::from_utf8(bytes) else { return Ok(()) };
        let begun = bytes.get(error.valid_up_to()..).unwrap_or_default();
        match (error.error_len(), self.begun.get_mut(..begun.len())) {
            (None, Some(place)) => {
                place.copy_from_slice(begun);
                self.length = begun.len();
                Ok(())
            }
            _ => Err(BadBody::NotUtf8),
        }
    }

    /// The text is over.
    pub fn end(&self) -> Result<(), BadBody> {
        if self.length == 0 { Ok(()) } else { Err(BadBody::NotUtf8) }
    }
}

/// What the text between two quotes stands for. Its syntax has been checked. Half a surrogate pair stands for
/// nothing, and readers differ in what they make of it.
pub fn unescape(raw: &str, name: &mut String) -> Result<(), BadBody> {
    let mut rest = raw;
    while let Some((before, escape)) = rest.split_once('\\') {
        name.push_str(before);
        let mut characters = escape.chars();
        let character = match characters.next().ok_or(BadBody::NotJson)? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (first, after) = hexadecimal(characters.as_str())?;
                characters = after.chars();
                match first {
                    0xd800..=0xdbff => {
                        let second = after.strip_prefix("\\u").ok_or(BadBody::HalfCharacter)?;
                        let (second, after) = hexadecimal(second)?;
                        characters = after.chars();
                        let mut pair = char::decode_utf16([first, second]);
                        pair.next().and_then(Result::ok).filter(|_| pair.next().is_none())
                    }
                    _ => char::from_u32(first.into()),
                }
                .ok_or(BadBody::HalfCharacter)?
            }
            same => same,
        };
        name.push(character);
        rest = characters.as_str();
    }
    name.push_str(rest);
    Ok(())
}

fn hexadecimal(text: &str) -> Result<(u16, &str), BadBody> {
    let (digits, rest) = text.split_at_checked(4).ok_or(BadBody::NotJson)?;
    Ok((u16::from_str_radix(digits, 16).map_err(|_| BadBody::NotJson)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_run_ends_before_what_is_special_wherever_it_stands() {
        for special in *b"\"\\\0\n\x1f" {
            for length in 0..100 {
                let mut text = vec![b'a'; length];
                text.extend([special, b'b', b'"']);
                assert_eq!(plain(&text), length, "{special} after {length}");
            }
        }
        assert_eq!(plain("größe \u{7f}".as_bytes()), 9);
    }

    #[test]
    fn characters_may_come_in_pieces() {
        let text = "aé日\u{1f600}z".as_bytes();
        for first in 0..text.len() {
            for second in first..text.len() {
                let mut check = Utf8::default();
                for piece in [&text[..first], &text[first..second], &text[second..]] {
                    check.push(piece).unwrap();
                }
                check.end().unwrap();
            }
        }
        for bad in [&b"\xff"[..], b"a\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe6\x97a", b"\x80"] {
            let mut check = Utf8::default();
            assert!(bad.chunks(1).any(|byte| check.push(byte).is_err()), "{bad:?}");
            assert!(Utf8::default().push(bad).is_err(), "{bad:?}");
        }
        let mut check = Utf8::default();
        check.push(b"a\xe6\x97").unwrap();
        assert!(check.end().is_err());
    }

    #[test]
    fn escapes_stand_for_their_characters() {
        let read = |raw: &str| {
            let mut name = String::new();
            unescape(raw, &mut name).map(|()| name)
        };
        assert_eq!(read(r#"s\u0073\u006E\n\/\"\\\ud83d\ude00!"#).as_deref(), Ok("ssn\n/\"\\\u{1f600}!"));
        for half in [r"\ud83d", r"\ude00", r"\ud83dx", r"\ud83d\u0041", r"\ud83d\n", r"ssn\udfff"] {
            assert!(read(half).is_err(), "{half}");
        }
    }
}
