//! A number as it is checked: without separators, in capitals. And the sums that many checksums are made of.

/// The longest number that anything here checks, in characters.
const MOST: usize = 48;

/// A number without its separators, in capitals.
#[derive(Debug, Clone, Copy)]
pub(in crate::pipeline::dlp) struct Compact {
    bytes: [u8; MOST],
    len: usize,
}

impl Compact {
    /// None if something else than letters, digits and separators stands in it, or if it is too long.
    pub(in crate::pipeline::dlp) fn of(value: &[u8]) -> Option<Self> {
        let mut compact = Self { bytes: [0; MOST], len: 0 };
        // Most are of digits alone.
        if value.iter().fold(true, |all, byte| all & byte.is_ascii_digit()) {
            compact.bytes.get_mut(..value.len())?.copy_from_slice(value);
            compact.len = value.len();
            return Some(compact);
        }
        for byte in value {
            match byte {
                b' ' | b'-' | b'.' | b'/' | b'(' | b')' | b'_' => {}
                byte if byte.is_ascii_alphanumeric() => {
                    *compact.bytes.get_mut(compact.len)? = byte.to_ascii_uppercase();
                    compact.len += 1;
                }
                _ => return None,
            }
        }
        Some(compact)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Its digits, if it is `N` of them and nothing else.
    pub(super) fn digits<const N: usize>(&self) -> Option<[u32; N]> {
        digits(self.as_bytes())
    }

    /// Its characters, if there are `N`.
    pub(super) fn chars<const N: usize>(&self) -> Option<[u8; N]> {
        self.as_bytes().try_into().ok()
    }
}

/// The digits of a text that is `N` of them and nothing else.
pub(super) fn digits<const N: usize>(text: &[u8]) -> Option<[u32; N]> {
    let text: &[u8; N] = text.try_into().ok()?;
    text.iter().all(u8::is_ascii_digit).then(|| text.map(|byte| u32::from(byte - b'0')))
}

/// The sum of each digit by its weight. What has no weight does not count.
pub(super) fn weighted(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// The digits as a number.
pub(super) fn number(digits: &[u32]) -> u64 {
    digits.iter().fold(0, |number, digit| number * 10 + u64::from(*digit))
}

/// Luhn's checksum, ISO/IEC 7812-1 annex B.
pub(super) fn luhn(digits: &[u32]) -> bool {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 =
        digits.iter().rev().enumerate().map(|(at, digit)| if at % 2 == 0 { *digit } else { doubled(*digit) }).sum();
    sum.is_multiple_of(10)
}

/// ISO/IEC 7064, MOD 11,10: the last digit checks those before it.
pub(super) fn mod_11_10(digits: &[u32]) -> bool {
    let Some((check, body)) = digits.split_last() else { return false };
    let product = body.iter().fold(10, |product, digit| match (digit + product) % 10 {
        0 => 20 % 11,
        sum => sum * 2 % 11,
    });
    (product + check) % 10 == 1
}

/// Verhoeff's checksum (1969), over the dihedral group of the pentagon.
pub(super) fn verhoeff(digits: &[u32]) -> bool {
    // The group's product, and the permutation of a digit by its place.
    let product = |a: u32, b: u32| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b) % 5 + 5,
        (false, true) => (a + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let once = |digit: u32| [1, 5, 7, 6, 2, 8, 3, 0, 9, 4].get(digit as usize).copied().unwrap_or_default();
    let sum = digits.iter().rev().enumerate().fold(0, |sum, (at, digit)| {
        let permuted = (0..at % 8).fold(*digit, |digit, _| once(digit));
        product(sum, permuted)
    });
    sum == 0
}

/// Whether there is such a day. Of the year two digits are enough: 1900 is taken for a leap year.
pub(super) fn is_date(year: u32, month: u32, day: u32) -> bool {
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) => 29,
        2 => 28,
        _ => return false,
    };
    (1..=last).contains(&day)
}

/// A letter's place in the alphabet, from 0.
pub(super) fn letter(byte: u8) -> Option<u32> {
    byte.is_ascii_uppercase().then(|| u32::from(byte - b'A'))
}

/// A digit as itself, a letter as 10 and on: how ISO 13616 and ICAO 9303 count.
pub(super) fn base36(byte: u8) -> Option<u32> {
    char::from(byte).to_digit(36)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_of_their_publications() {
        // ISO/IEC 7812-1's, ISO/IEC 7064's and Verhoeff's own examples.
        assert!(luhn(&[7, 9, 9, 2, 7, 3, 9, 8, 7, 1, 3]) && !luhn(&[7, 9, 9, 2, 7, 3, 9, 8, 7, 1, 0]));
        assert!(mod_11_10(&[0, 7, 9, 4, 5]) && !mod_11_10(&[0, 7, 9, 4, 6]));
        assert!(verhoeff(&[2, 3, 6, 3]) && !verhoeff(&[2, 3, 6, 4]) && !verhoeff(&[3, 2, 6, 3]));
        assert!(is_date(0, 2, 29) && is_date(85, 12, 31) && !is_date(85, 2, 29) && !is_date(85, 13, 1));
    }

    #[test]
    fn a_number_is_compact_or_none() {
        let compact = Compact::of(b"ab-12 3.4/5(6)").unwrap();
        assert_eq!(compact.as_bytes(), b"AB123456");
        assert!(Compact::of(b"12:34").is_none() && Compact::of(&[b'1'; MOST + 1]).is_none());
        assert_eq!(Compact::of(b"12-3").and_then(|value| value.digits::<3>()), Some([1, 2, 3]));
    }
}
