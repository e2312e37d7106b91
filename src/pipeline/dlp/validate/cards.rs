//! Payment cards: ISO/IEC 7812 and the ranges that each scheme publishes.

use super::compact::{Compact, luhn, number};

/// The ranges of first digits that a scheme issues, and the lengths of its numbers.
struct Scheme {
    /// First and last prefix of each range, each of the same count of digits.
    prefixes: &'static [(u64, u64)],
    lengths: &'static [usize],
}

/// As the schemes publish them: Visa, Mastercard, American Express, Discover, Diners Club, JCB, UnionPay, Mir, RuPay,
/// Troy, Verve, Elo, Maestro.
const SCHEMES: [Scheme; 12] = [
    Scheme { prefixes: &[(4, 4)], lengths: &[13, 16, 19] },
    Scheme { prefixes: &[(51, 55), (2221, 2720)], lengths: &[16] },
    Scheme { prefixes: &[(34, 34), (37, 37)], lengths: &[15] },
    Scheme { prefixes: &[(6011, 6011), (644, 649), (65, 65)], lengths: &[16, 19] },
    Scheme { prefixes: &[(300, 305), (3095, 3095), (36, 36), (38, 39)], lengths: &[14, 16] },
    Scheme { prefixes: &[(3528, 3589)], lengths: &[16] },
    Scheme { prefixes: &[(62, 62), (81, 81)], lengths: &[16, 17, 18, 19] },
    Scheme { prefixes: &[(2200, 2204)], lengths: &[16] },
    Scheme { prefixes: &[(60, 60), (508, 508), (9792, 9792)], lengths: &[16] },
    Scheme { prefixes: &[(506_099, 506_198), (650_002, 650_027), (507_865, 507_964)], lengths: &[16, 19] },
    Scheme { prefixes: &[(506_699, 506_778), (509_000, 509_999), (627_780, 627_780)], lengths: &[16] },
    Scheme {
        prefixes: &[(5018, 5018), (5020, 5020), (5038, 5038), (56, 58), (6304, 6304), (6759, 6763)],
        lengths: &[12, 13, 14, 15, 16, 17, 18, 19],
    },
];

/// Luhn over a number of a length and a range that a scheme issues.
pub(super) fn card(value: &Compact) -> bool {
    let text = value.as_bytes();
    if !(12..=19).contains(&text.len()) || !text.iter().all(u8::is_ascii_digit) || repeats(text) {
        return false;
    }
    let mut digits = [0u32; 19];
    for (digit, byte) in digits.iter_mut().zip(text) {
        *digit = u32::from(byte - b'0');
    }
    let Some(digits) = digits.get(..text.len()) else { return false };
    luhn(digits) && SCHEMES.iter().any(|scheme| scheme.issues(digits))
}

impl Scheme {
    fn issues(&self, digits: &[u32]) -> bool {
        self.lengths.contains(&digits.len())
            && self.prefixes.iter().any(|(first, last)| {
                let places = first.ilog10() as usize + 1;
                digits.get(..places).is_some_and(|prefix| (*first..=*last).contains(&number(prefix)))
            })
    }
}

/// A number of one digit, but for the first and the last, is made up.
fn repeats(text: &[u8]) -> bool {
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    inner.windows(2).all(|pair| pair.first() == pair.last()) && text.first() != Some(&b'4')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> bool {
        Compact::of(text.as_bytes()).is_some_and(|value| card(&value))
    }

    #[test]
    fn cards_of_each_scheme_hold() {
        let published = [
            "4242 4242 4242 4242",
            "4111111111111111",
            "4222222222222",
            "5555-5555-5555-4444",
            "2223003122003222",
            "3782 822463 10005",
            "6011111111111117",
            "3056930009020004",
            "36227206271667",
            "3566002020360505",
            "6200000000000005",
            "6759649826438453",
            "2200000000000004",
        ];
        for text in published {
            assert!(holds(text), "{text}");
        }
    }

    #[test]
    fn what_no_scheme_issues_is_no_card() {
        // A wrong check digit, an unissued range, a wrong length, and one digit over and over.
        for text in ["4242424242424241", "1234567812345670", "42424242424242", "0000000000000000", "490154203237518"] {
            assert!(!holds(text), "{text}");
        }
    }
}
