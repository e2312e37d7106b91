//! What ties each record to all before it.
//!
//! A line ends with `,"seq":N,"hash":"H"}`. `N` counts from 0 in each chain, and a chain is what one run of the service
//! writes. `H` is the SHA-256, in hexadecimal, of the hash before it (32 bytes, zeros for the first line of a chain)
//! followed by the line up to `,"hash":`. So nobody changes, removes or reorders a record without every later hash
//! being another, and the last of those is what checkpoints sign.

use std::fmt;

use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The SHA-256 that stands for a record and all before it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Hash(pub [u8; 32]);

/// The place of a record, and what it says of everything before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The chain: 32 hexadecimal digits that no other run has.
    pub chain: Box<str>,
    /// The record's number in it, from 0.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

/// A line that ends as those of a chain do.
#[derive(Debug, PartialEq, Eq)]
pub struct Sealed<'a> {
    hashed: &'a [u8],
    /// The record's number in its chain.
    pub seq: u64,
    /// What the line says its hash is.
    pub hash: Hash,
}

const SEQ: &[u8] = b",\"seq\":";
const HASH: &[u8] = b",\"hash\":\"";
const END: &[u8] = b"\"}";

/// Completes an object that was written from `start` on, without its closing brace, and gives its hash.
pub(super) fn seal(line: &mut Vec<u8>, start: usize, seq: u64, before: &Hash) -> Hash {
    line.extend_from_slice(SEQ);
    let mut digits = [0; 20];
    line.extend_from_slice(decimal(seq, &mut digits));
    let hash = Hash::of(before, line.get(start..).unwrap_or_default());
    line.extend_from_slice(HASH);
    line.extend_from_slice(&hash.hex());
    line.extend_from_slice(END);
    hash
}

impl<'a> Sealed<'a> {
    /// Reads how a line, without its line feed, ends. None where it does not end as ours do.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_suffix(END)?;
        let (rest, hex) = rest.split_at_checked(rest.len().checked_sub(64)?)?;
        let hashed = rest.strip_suffix(HASH)?;
        let digits = hashed.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (before, number) = hashed.split_at_checked(hashed.len() - digits)?;
        before.ends_with(SEQ).then_some(())?;
        let seq = std::str::from_utf8(number).ok()?.parse().ok()?;
        Some(Self { hashed, seq, hash: Hash::parse(hex)? })
    }

    /// True if the line is what was written after the record with this hash.
    pub fn follows(&self, before: &Hash) -> bool {
        Hash::of(before, self.hashed) == self.hash
    }
}

impl Hash {
    fn of(before: &Self, text: &[u8]) -> Self {
        // Two records a request are hashed, and of what there is this is the fastest where a processor has no instructions for it.
        let mut context = Context::new(&SHA256);
        context.update(&before.0);
        context.update(text);
        Self(context.finish().as_ref().first_chunk().copied().unwrap_or_default())
    }

    fn hex(&self) -> [u8; 64] {
        let mut hex = [0; 64];
        HEXLOWER.encode_mut(&self.0, &mut hex);
        hex
    }

    fn parse(hex: &[u8]) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut hash = [0; 32];
        if hex.len() != 64 {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(hex.chunks_exact(2)) {
            let &[high, low] = pair else { return None };
            *byte = digit(high)? << 4 | digit(low)?;
        }
        Some(Self(hash))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(text.as_bytes()).ok_or_else(|| de::Error::custom("a hash is 64 hexadecimal digits, in lower case"))
    }
}

fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        at -= 1;
        if number == 0 {
            break;
        }
    }
    digits.get(at..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(body: &str, seq: u64, before: &Hash) -> (Vec<u8>, Hash) {
        let mut line = body.as_bytes().to_vec();
        let hash = seal(&mut line, 0, seq, before);
        (line, hash)
    }

    #[test]
    fn a_sealed_line_is_json_and_follows_what_it_was_written_after() {
        let (first, hash) = line(r#"{"a":1"#, 0, &Hash::default());
        let (second, _) = line(r#"{"b":"é\"}""#, u64::MAX, &hash);
        let value: serde_json::Value = serde_json::from_slice(&second).unwrap();
        assert_eq!((&value["b"], value["seq"].as_u64()), (&"é\"}".into(), Some(u64::MAX)));
        let read = Sealed::parse(&second).unwrap();
        assert_eq!((read.seq, read.hash.to_string()), (u64::MAX, value["hash"].as_str().unwrap().to_owned()));
        assert!(read.follows(&hash) && !read.follows(&Hash::default()));
        assert!(Sealed::parse(&first).unwrap().follows(&Hash::default()));
    }

    #[test]
    fn a_changed_byte_is_no_longer_what_was_sealed() {
        let (written, _) = line(r#"{"type":"decision","host":"a.example""#, 12, &Hash([7; 32]));
        for at in 0..written.len() {
            let mut changed = written.clone();
            changed[at] ^= 1;
            let follows = Sealed::parse(&changed).is_some_and(|sealed| sealed.follows(&Hash([7; 32])));
            assert!(!follows, "byte {at} of `{}`", String::from_utf8_lossy(&written));
        }
    }

    #[test]
    fn other_lines_are_not_sealed() {
        let hash = "0".repeat(64);
        for line in [
            String::new(),
            "}".into(),
            "{}".into(),
            r#"{"a":1}"#.into(),
            format!(r#"{{"seq":,"hash":"{hash}"}}"#),
            format!(r#"{{"hash":"{hash}"}}"#),
            format!(r#"{{"a":1,"seq":1,"hash":"{}"}}"#, "g".repeat(64)),
            format!(r#"{{"a":1,"seq":99999999999999999999,"hash":"{hash}"}}"#),
        ] {
            assert_eq!(Sealed::parse(line.as_bytes()), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn numbers_are_written_as_they_are(number: u64) {
            let mut digits = [0; 20];
            proptest::prop_assert_eq!(std::str::from_utf8(decimal(number, &mut digits)).unwrap(), number.to_string());
        }
    }
}
