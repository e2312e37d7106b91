//! Which values can be searched for, and which parts of one tell it alone.

use std::ops::Range;

use zeroize::Zeroizing;

/// The fewest bytes that are searched for.
pub const LEAST: usize = 8;

/// The fewest bytes of a value that has partial leaks: of a shorter one only the whole is looked for.
const LEAST_IN_PARTS: usize = 24;

/// How many bytes in a row are a partial leak.
const PART: usize = 16;

/// The same of a value of more than [`LONG`] bytes: less than a line of PEM.
const PART_OF_LONG: usize = 48;
const LONG: usize = 512;

/// Why a value is not searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// Fewer than `LEAST` bytes.
    #[error("has fewer than 8 bytes")]
    Short,
    /// A few different bytes, again and again.
    #[error("is made of too few different characters")]
    FewCharacters,
    /// Each character follows from the one before.
    #[error("is a row of neighbouring characters")]
    Row,
    /// A short number.
    #[error("is a number of fewer than 10 digits")]
    Number,
    /// Letters as a word has them, perhaps with some digits behind.
    #[error("reads like a word")]
    Word,
    /// Agents are given it on purpose.
    #[error("stands in a placeholder that agents may hold")]
    Placeholder,
}

/// Why this value would be found where it is not, if there is a reason.
pub fn weakness(value: &[u8]) -> Option<Weakness> {
    if value.len() < LEAST {
        return Some(Weakness::Short);
    }
    if value.len() < 10 && value.iter().all(u8::is_ascii_digit) {
        return Some(Weakness::Number);
    }
    if distinct(value.iter().copied()) < 5 {
        return Some(Weakness::FewCharacters);
    }
    let strides = value.iter().zip(value.iter().skip(1)).map(|(a, b)| b.wrapping_sub(*a));
    // `1234567890` has two, `abcdefgh` one.
    if distinct(strides) <= 2 {
        return Some(Weakness::Row);
    }
    (value.len() < 16 && is_word(value)).then_some(Weakness::Word)
}

fn distinct(bytes: impl Iterator<Item = u8>) -> usize {
    let mut seen = [false; 256];
    for byte in bytes {
        if let Some(seen) = seen.get_mut(usize::from(byte)) {
            *seen = true;
        }
    }
    seen.iter().filter(|seen| **seen).count()
}

/// `changeme`, `Secret-token`, `sunshine123`.
fn is_word(value: &[u8]) -> bool {
    let stem = value.strip_suffix(b"!").unwrap_or(value);
    let digits = stem.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let letters = stem.get(..stem.len() - digits).unwrap_or_default();
    let inner = letters.iter().skip(1).all(|b| b.is_ascii_lowercase() || matches!(b, b'-' | b'_' | b'.' | b' '));
    let capitals = letters.iter().all(|b| b.is_ascii_uppercase() || matches!(b, b'-' | b'_'));
    digits <= 4 && (inner || capitals)
}

/// How many bytes of this value in a row, all of them in [`parts`], are a partial leak.
pub fn part(value: &[u8]) -> usize {
    if value.len() > LONG { PART_OF_LONG } else { PART }
}

/// The parts of a value of which a piece tells that the value leaks. What many values have in common is none: a
/// vendor's prefix, the head of a JWT, the first bytes of a key's DER, words.
pub fn parts(value: &[u8], placeholders: &[impl AsRef<[u8]>]) -> Vec<Range<usize>> {
    let part = part(value);
    if value.len() < LEAST_IN_PARTS {
        return Vec::new();
    }
    let public = public_until(value);
    let held = |window: &[u8]| {
        let within = |text: &[u8]| text.windows(PART).any(|known| window.windows(PART).any(|part| part == known));
        placeholders.iter().any(|text| within(text.as_ref()))
    };
    let mut parts: Vec<Range<usize>> = Vec::new();
    for (at, window) in value.windows(part).enumerate().skip(public) {
        if !is_random(window) || held(window) {
            continue;
        }
        match parts.last_mut() {
            Some(last) if last.end >= at => last.end = at + part,
            _ => parts.push(at..at + part),
        }
    }
    parts
}

/// How many of its first bytes are no secret.
fn public_until(value: &[u8]) -> usize {
    /// The bytes of a PKCS #8 key before the first that differs from key to key, as base64 writes them.
    const DER: usize = 52;
    if let Some(begin) = find(value, b"-----BEGIN ") {
        let label = find(value.get(begin + 11..).unwrap_or_default(), b"-----").unwrap_or(0);
        return begin + 11 + label + 5 + DER;
    }
    if value.starts_with(b"MII") || value.starts_with(b"MIG") {
        return DER;
    }
    let dots = value.iter().filter(|byte| **byte == b'.').count();
    if value.starts_with(b"eyJ") && dots >= 2 {
        return value.iter().rposition(|byte| *byte == b'.').map_or(0, |at| at + 1);
    }
    let head = value.get(..PART.min(value.len())).unwrap_or_default();
    head.iter().rposition(|byte| matches!(byte, b'_' | b'-' | b'.' | b':')).map_or(0, |at| at + 1)
}

/// Letters and digits change as they do in nothing that a person writes.
fn is_random(window: &[u8]) -> bool {
    let class = |byte: &u8| match byte {
        b'a'..=b'z' => Some(0),
        b'A'..=b'Z' => Some(1),
        b'0'..=b'9' => Some(2),
        _ => None,
    };
    let classes: Vec<u8> = window.iter().filter_map(class).collect();
    let changes = classes.iter().zip(classes.iter().skip(1)).filter(|(a, b)| a != b).count();
    let other = window.len() - classes.len();
    changes * 4 >= window.len() && other * 5 <= window.len()
}

/// What stands in a value and opens as much as the whole: the password of a URL or a connection string, a PEM key
/// without its line ends.
pub fn inner(value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut inner = Vec::new();
    inner.extend(url_password(value).map(|password| Zeroizing::new(password.to_vec())));
    for pair in value.split(|byte| *byte == b';') {
        let mut sides = pair.splitn(2, |byte| *byte == b'=');
        if let (Some(name), Some(value)) = (sides.next(), sides.next()) {
            let name = name.trim_ascii().to_ascii_lowercase();
            if [&b"password"[..], b"pwd", b"accountkey", b"sharedaccesskey", b"secret"].contains(&name.as_slice()) {
                inner.push(Zeroizing::new(value.to_vec()));
            }
        }
    }
    inner.extend(pem_body(value));
    inner
}

/// `scheme://user:password@host`.
fn url_password(value: &[u8]) -> Option<&[u8]> {
    let after = value.get(find(value, b"://")? + 3..)?;
    let end = after.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(after.len());
    let authority = after.get(..end)?;
    let user = authority.get(..authority.iter().rposition(|byte| *byte == b'@')?)?;
    user.get(user.iter().position(|byte| *byte == b':')? + 1..)
}

/// What stands between the lines that begin and end a key, without line ends, which may be written `\n`.
fn pem_body(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let label = value.get(find(value, b"-----BEGIN ")? + 11..)?;
    let body = label.get(find(label, b"-----")? + 5..)?;
    let body = body.get(..find(body, b"-----END").unwrap_or(body.len()))?;
    let mut lines = Zeroizing::new(Vec::with_capacity(body.len()));
    let mut bytes = body.iter().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next_if(|next| matches!(next, b'n' | b'r'))),
            byte if byte.is_ascii_whitespace() => {}
            byte => lines.push(*byte),
        }
    }
    Some(lines)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &[&str] = &[];

    #[test]
    fn what_would_be_found_everywhere_is_too_weak() {
        for (value, why) in [
            ("", Some(Weakness::Short)),
            ("s3cr3t!", Some(Weakness::Short)),
            ("123456789", Some(Weakness::Number)),
            ("aaaaaaaaaaaaaaaa", Some(Weakness::FewCharacters)),
            ("abababab1212", Some(Weakness::FewCharacters)),
            ("12345678901", Some(Weakness::Row)),
            ("abcdefghijk", Some(Weakness::Row)),
            ("changeme", Some(Weakness::Word)),
            ("Sunshine123!", Some(Weakness::Word)),
            ("SECRET_TOKEN", Some(Weakness::Word)),
            ("hunter2x", None),
            ("8675309420", None),
            ("xK9#mQ2$", None),
            ("a-long-pass-phrase-of-words", None),
        ] {
            assert_eq!(weakness(value.as_bytes()), why, "{value}");
        }
    }

    #[test]
    fn what_values_have_in_common_is_no_part() {
        let parts = |value: &str| {
            parts(value.as_bytes(), NONE).into_iter().map(|range| value[range].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(parts("sk-proj-9aF3kLm20QzX7vB1nT5w"), ["9aF3kLm20QzX7vB1nT5w"]);
        assert_eq!(parts("Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op"), [""; 0], "shorter than one that has parts");
        let jwt = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dBjf1eVZ9CmB92K27uhbWJU1p1rwW3gF";
        assert_eq!(parts(jwt), ["dBjf1eVZ9CmB92K27uhbWJU1p1rwW3gF"]);
        assert_eq!(parts("https://accounts.example.com/o/oauth2/auth/with/words"), [""; 0]);
        assert_eq!(parts("this-is-our-database-password-for-production"), [""; 0]);
        let held = [b"sk-demo-9aF3kLm20QzX7vB1".as_slice()];
        let apart = super::parts(b"sk-proj-9aF3kLm20QzX7vB1nT5wR8yU2iO4", &held);
        assert!(apart.iter().eq([&(9..36)]), "one byte beyond the shared: {apart:?}");
    }

    #[test]
    fn what_opens_as_much_as_the_whole_is_searched_for_too() {
        let inner = |value: &str| {
            inner(value.as_bytes()).iter().map(|i| String::from_utf8(i.to_vec()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(inner("postgres://app:p4ss:w0rd@db.example.com:5432/app"), ["p4ss:w0rd"]);
        assert_eq!(inner("Server=db;User=app;Password=p4ssw0rd==;"), ["p4ssw0rd=="]);
        let pem = "-----BEGIN PRIVATE KEY-----\nMIIE\r\nabcd\n-----END PRIVATE KEY-----\n";
        assert_eq!(inner(pem), ["MIIEabcd"]);
        assert_eq!(inner(&format!("{{\"k\": \"{}\"}}", pem.replace('\n', "\\n").replace('\r', "\\r"))), ["MIIEabcd"]);
        assert_eq!(inner("sk-proj-9aF3kLm20QzX7vB1nT5w"), [""; 0]);
    }
}
