//! What stands for a line end or a tab in a string of JSON or of a program: it parts what it stands between, and its letter
//! is no part of the word behind it.

/// Where a word begins of which the letters begin at `start`: `\nword` begins with the `w`.
pub fn past_letter(text: &[u8], start: usize) -> usize {
    if is_letter(text, start) { start + 1 } else { start }
}

/// Whether this is the letter of such an escape.
pub fn is_letter(text: &[u8], at: usize) -> bool {
    text.get(at).is_some_and(|byte| matches!(byte, b'n' | b't' | b'r'))
        && at.checked_sub(1).and_then(|before| text.get(before)) == Some(&b'\\')
}

/// Whether a text ends in an escape of any kind, though it ends in a letter or digit: `\n`, `\u0022`, `%3D`.
pub fn ends_in_one(text: &[u8]) -> bool {
    let hex = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
    match text {
        [.., b'\\', b'n' | b't' | b'r' | b'b' | b'f' | b'v' | b'0' | b'a' | b'e'] => true,
        [.., b'%', a, b] | [.., b'\\', b'x', a, b] if hex(&[*a, *b]) => true,
        [.., b'\\', b'u', a, b, c, d] if hex(&[*a, *b, *c, *d]) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letter_of_an_escape_is_no_part_of_a_word() {
        assert_eq!((past_letter(br"a\nword", 2), past_letter(b"anword", 1), past_letter(br"\word", 1)), (3, 1, 1));
        for (text, ends) in
            [(r"a\n", true), (r"a\u0022", true), ("a%3D", true), (r"a\q", false), ("an", false), ("", false)]
        {
            assert_eq!(ends_in_one(text.as_bytes()), ends, "{text}");
        }
    }
}
