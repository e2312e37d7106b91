//! Whether a generator wrote a value, or a person.

/// Whether this is random: letters and digits that make no words, and no digest.
pub(super) fn random(value: &[u8]) -> bool {
    /// Shorter ones are versions and sections: `qchi_7`, `passwd.5`.
    const FEWEST: usize = 8;
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    if value.len() < FEWEST || (digits < 2 && value.len() < 2 * FEWEST) {
        return false;
    }
    if !value.iter().all(u8::is_ascii_hexdigit) {
        return makes_no_words(value, 60);
    }
    // Of six letters most pairs are in words, too. Digests are in one case, and half a byte more is no key.
    let is_mixed = value.iter().any(u8::is_ascii_lowercase) && value.iter().any(u8::is_ascii_uppercase);
    has_both(value) && (is_mixed || !DIGESTS.contains(&value.len())) && value.len().is_multiple_of(2)
}

/// Whether this makes no words, where something else already speaks for a key.
pub(super) fn unworded(value: &[u8]) -> bool {
    value.iter().all(u8::is_ascii_hexdigit) && value.iter().any(u8::is_ascii_digit) || makes_no_words(value, 75)
}

/// Whether so many of a hundred pairs of letters at the most are those of words.
///
/// Two letters that follow each other are a pair of [`FOLLOW`] in nine of ten cases where words are written, and in
/// three of ten where letters are drawn.
fn makes_no_words(value: &[u8], most: usize) -> bool {
    /// With fewer pairs there are hardly words in it.
    const FEW: usize = 4;
    let (mut pairs, mut known) = (0, 0);
    for (one, next) in value.iter().zip(value.iter().skip(1)) {
        // In `accessKey` a word ends and another begins.
        if one.is_ascii_alphabetic()
            && next.is_ascii_alphabetic()
            && !(one.is_ascii_lowercase() && next.is_ascii_uppercase())
        {
            pairs += 1;
            known += usize::from(follows(*one, *next));
        }
    }
    has_both(value) && (pairs < FEW || known * 100 <= pairs * most)
}

/// Whether letters were drawn: fewer of their pairs are those of words than in any word.
pub fn are_drawn(letters: &[u8]) -> bool {
    const MOST: usize = 50;
    let pairs = letters.iter().zip(letters.iter().skip(1));
    let known = pairs.filter(|(one, next)| follows(**one, **next)).count();
    known * 100 <= letters.len().saturating_sub(1) * MOST
}

/// Whether there are letters among the digits, and digits among the letters. One digit is in many a name, and a few
/// letters are in many a number.
fn has_both(value: &[u8]) -> bool {
    let count = |is: fn(&u8) -> bool| value.iter().filter(|byte| is(byte)).count();
    let (lower, upper) = (count(u8::is_ascii_lowercase), count(u8::is_ascii_uppercase));
    (lower + upper) * 6 >= value.len()
        && match count(u8::is_ascii_digit) {
            0 => false,
            1 => lower >= 4 && upper >= 4 || value.len() < 16,
            _ => true,
        }
}

/// The lengths of digests in hex, and of MongoDB's ids: what has one may be one.
const DIGESTS: [usize; 7] = [24, 32, 40, 56, 64, 96, 128];

fn follows(one: u8, next: u8) -> bool {
    let place = usize::from(one.to_ascii_lowercase().wrapping_sub(b'a'));
    FOLLOW.get(place).is_some_and(|of| of.as_bytes().contains(&next.to_ascii_lowercase()))
}

/// What follows each letter of the alphabet in the two hundred pairs that make up most of English and of the names in
/// programs.
const FOLLOW: [&str; 26] = [
    "bcdgiklmnprstuvy",
    "aeiloru",
    "acehiklortu",
    "adeiosu",
    "acdefglmnprstvx",
    "aefilor",
    "eir",
    "aeio",
    "abcdefglmnoprstvz",
    "",
    "ei",
    "adeilostuy",
    "aeimopsu",
    "acdefginostu",
    "cdglmnoprstuvw",
    "aeiloprstu",
    "u",
    "acdegimnorstuy",
    "acehilopstuy",
    "acehilorstuy",
    "beilmnprst",
    "aei",
    "ai",
    "t",
    "p",
    "e",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_format_speaks_for_a_key_less_is_enough() {
        for value in ["a1b9rtz4skqe", "5bbd6a1066e8ea08e6d6c16ef720cf94", "q8z"] {
            assert!(unworded(value.as_bytes()), "{value}");
        }
        for value in ["saturations", "add_roff_line_length", "softwareengineer", "XCopyColormapAndFree", "facade", ""] {
            assert!(!unworded(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn what_is_drawn_is_random_and_what_is_named_is_not() {
        for value in [
            "w7Qz4KpR9tVb2XsLm8NfYc3D",
            "q8zr3vtn5klw0pxyc7bd",
            "5bbd6a1066e8ea08e6d6c16ef7",
            "Tm/QKG4ZJ+nwQ31K5Pjq01a9kAVNLqiio",
            "8K2Q-M4ZX-7W1T-9VBN",
            "0XQF7N2LZ5KD",
        ] {
            assert!(random(value.as_bytes()), "{value}");
        }
        for value in [
            "EchRequiresTls13Support",
            "OAuth2RefreshTokenGrant",
            "my-service-backend-key-v2",
            "correcthorsebatterystaple",
            "getSecretKeyFromVault2",
            "user_access_token_2024",
            "5bbd6a1066e8ea08e6d6c16ef720cf94",
            "12345678901234567890",
            "178939000405101/20251120T1",
            "api.example.internal:8443",
            "",
        ] {
            assert!(!random(value.as_bytes()), "{value}");
        }
    }
}
