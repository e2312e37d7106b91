//! What looks like a secret and is none: placeholders, and what is not random enough.

use super::finding::Confidence;

/// Shannon entropy, in bits for each byte: 0 for a run of one character, 8 for random bytes.
pub fn entropy(bytes: &[u8]) -> f32 {
    let mut counts = [0_u32; 256];
    // A bit for each byte that there is: most are not.
    let mut there = [0_u64; 4];
    for byte in bytes {
        if let (Some(count), Some(bits)) = (counts.get_mut(usize::from(*byte)), there.get_mut(usize::from(byte >> 6))) {
            *count += 1;
            *bits |= 1 << (byte & 63);
        }
    }
    let total = bytes.len() as f32;
    let mut sum = 0.0;
    for (mut bits, counts) in there.into_iter().zip(counts.as_chunks::<64>().0) {
        while bits != 0 {
            let share = counts.get(bits.trailing_zeros() as usize).map_or(0.0, |count| *count as f32 / total);
            sum += -share * share.log2();
            bits &= bits - 1;
        }
    }
    sum
}

/// Whether no words make this: it has digits among its letters, and is as mixed as a token.
pub fn is_random(secret: &[u8]) -> bool {
    const LEAST: f32 = 3.0;
    let digits = secret.iter().filter(|byte| byte.is_ascii_digit()).count();
    digits >= 2 && secret.iter().any(u8::is_ascii_alphabetic) && entropy(secret) >= LEAST
}

/// A secret without the one character that it ends in over and over, where what is left is as random and as long as a
/// secret is: what was filled up is judged by what it was.
pub fn unfilled(secret: &[u8]) -> &[u8] {
    /// The shortest run that fills something up.
    const RUN: usize = 8;
    /// Who replaces a part of a secret leaves less of it.
    const LEAST: usize = 24;
    let run = secret.iter().rev().take_while(|byte| Some(*byte) == secret.last()).count();
    let (left, _) = secret.split_at_checked(secret.len() - run).unwrap_or((secret, &[]));
    if run >= RUN && left.len() >= LEAST && is_random(left) { left } else { secret }
}

/// Whether somebody wrote this to be replaced. What is certain is none; what only looks like a token may also be a word
/// that says so.
pub fn is_placeholder(secret: &[u8], confidence: Confidence) -> bool {
    if confidence == Confidence::Confirmed {
        return false;
    }
    if is_run(secret) || secret.starts_with(b"[REDACTED") {
        return true;
    }
    if confidence == Confidence::High {
        return false;
    }
    // AWS began it: no seven letters come like this by chance.
    let says_example = || secret.windows(7).any(|letters| letters == b"EXAMPLE");
    has_mark(secret) || says_example() || has_word_of_placeholders(secret) || is_sequence(secret) || is_counted(secret)
}

/// `${`, `{{`, `<`, `$(`, `%{`, `...`, `***` or `xxxx`.
fn has_mark(secret: &[u8]) -> bool {
    let mut before = 0;
    let mut run = 0;
    secret.iter().any(|byte| {
        let byte = byte.to_ascii_lowercase();
        run = if byte == before { run + 1 } else { 1 };
        let is_mark = match byte {
            b'<' => true,
            b'{' => matches!(before, b'$' | b'{' | b'%'),
            b'(' => before == b'$',
            b'.' | b'*' => run == 3,
            b'x' => run == 4,
            _ => false,
        };
        before = byte;
        is_mark
    })
}

/// Whether a word stands for itself in it that says so. Inside of a random run it is chance: `q8todoR3`.
fn has_word_of_placeholders(secret: &[u8]) -> bool {
    const WORDS: [&[u8]; 12] = [
        b"your",
        b"example",
        b"placeholder",
        b"changeme",
        b"change",
        b"replace",
        b"redacted",
        b"dummy",
        b"sample",
        b"insert",
        b"todo",
        b"fake",
    ];
    let says_so = |word: &[u8]| {
        // Most words begin with none of these letters.
        let begins = |mark: &&[u8]| {
            let head = word.get(..mark.len());
            word.first().map(u8::to_ascii_lowercase).as_ref() == mark.first()
                && head.is_some_and(|head| head.eq_ignore_ascii_case(mark))
        };
        let ends = |mark: &[u8]| {
            let tail = word.len().checked_sub(mark.len()).and_then(|at| word.get(at..));
            tail.is_some_and(|tail| tail.eq_ignore_ascii_case(mark))
        };
        (WORDS.iter().any(begins) && word.iter().all(u8::is_ascii_alphabetic))
            || ends(b"example")
            || ends(b"examplekey")
    };
    secret.split(|byte| !byte.is_ascii_alphanumeric()).any(says_so)
}

/// One character, or one that is most of it: `xxxxxxxx`, `00000000`, `sk-aaaaaaaaaaaa`.
fn is_run(secret: &[u8]) -> bool {
    let mut longest = 0;
    let mut run = 0;
    let mut before = None;
    for byte in secret {
        run = if before == Some(byte) { run + 1 } else { 1 };
        longest = longest.max(run);
        before = Some(byte);
    }
    longest >= 8 && longest * 2 > secret.len() || secret.len() >= 4 && longest == secret.len()
}

/// Whether somebody counted after the mark that a token begins with: `abc-12345678901234567890`.
fn is_counted(secret: &[u8]) -> bool {
    let last = secret.rsplit(|byte| b"-_".contains(byte)).next().unwrap_or_default();
    last.len() * 3 >= secret.len() * 2 && last.iter().all(u8::is_ascii_digit) && is_sequence(last)
}

/// Neighbours of the alphabet or of the digits for most of it, in a few runs: `abcdefgh`, `1234567890abcdef`. Who writes
/// more of them makes a key up, and it may be one.
fn is_sequence(secret: &[u8]) -> bool {
    const FEW: usize = 4;
    const SHORTEST: usize = 3;
    let (mut steps, mut runs, mut length) = (0, 0, 1);
    let lower = || secret.iter().map(u8::to_ascii_lowercase);
    for (a, b) in lower().zip(lower().skip(1)) {
        if a.checked_add(1) == Some(b) || (a, b) == (b'9', b'0') {
            (steps, length) = (steps + 1, length + 1);
            runs += usize::from(length == SHORTEST);
        } else {
            length = 1;
        }
    }
    secret.len() >= 6 && steps * 4 > secret.len() * 3 && runs <= FEW
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entropy_is_that_of_the_shares_of_all_bytes(bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300), "[a-f0-9]{0,64}".prop_map(String::into_bytes), "[?@A\u{7f}]{0,9}".prop_map(String::into_bytes),
        ]) {
            let count = |byte| bytes.iter().filter(|other| **other == byte).count() as f32;
            let shares = (0..=u8::MAX).map(|byte| count(byte) / bytes.len() as f32).filter(|share| *share > 0.0);
            prop_assert_eq!(entropy(&bytes), shares.map(|share| -share * share.log2()).sum::<f32>());
        }
    }

    #[test]
    fn marks_are_found_wherever_they_stand() {
        for mark in ["${", "{{", "<", "$(", "%{", "...", "***", "xxxx", "XxXx"] {
            for text in
                [format!("{mark}q8Zr3"), format!("q8{mark}Zr3"), format!("q8Zr3{mark}"), format!("q{mark}{mark}")]
            {
                assert!(has_mark(text.as_bytes()), "{text}");
            }
        }
        for text in ["", "q8Zr3", "$", "{", "(q)", "..", "**", "xxx", "$.{", "%(", "x.x.x.", "x*x*xx*"] {
            assert!(!has_mark(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn entropy_is_in_bits_for_each_byte() {
        assert_eq!(entropy(b"aaaaaaaa"), 0.0);
        assert_eq!(entropy(b"abababab"), 1.0);
        assert_eq!(entropy(b"abcdefghijklmnop"), 4.0);
        assert_eq!(entropy(b""), 0.0);
    }

    #[test]
    fn what_was_filled_up_is_judged_by_what_it_was() {
        let filled = |secret: &str, with: &str| unfilled((secret.to_owned() + &with.repeat(40)).as_bytes()).to_vec();
        assert_eq!(filled("q8Zr3vTn5kLw0pXyq8Zr3vTn", "-"), b"q8Zr3vTn5kLw0pXyq8Zr3vTn");
        for (secret, with) in
            [("sk-proj-1234", "x"), ("nothingtobeseenandnodigits", "x"), ("q8Zr3vTn5kLw0pXyq8Zr3vTn", "ab")]
        {
            assert_eq!(filled(secret, with), (secret.to_owned() + &with.repeat(40)).as_bytes());
        }
    }

    #[test]
    fn what_is_there_to_be_replaced_is_no_secret() {
        for (secret, at_medium, at_high) in [
            ("xxxxxxxxxxxxxxxx", true, true),
            ("sk-aaaaaaaaaaaaaaaaaa", true, true),
            ("your-api-key-here", true, false),
            ("${API_KEY}", true, false),
            ("sk_test_q8Zr3vTn5kLw0pXy", false, false),
            ("q8todoZr3yourvTn5kLw0pXy", false, false),
            ("wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY", true, false),
            ("q8Zr3EXAMPLE5kLw0pXyc7Bd", true, false),
            ("abcdefghijklmnop", true, false),
            ("1234567890abcdef1234567890abcdef", true, false),
            ("zqk-12345678901234567890", true, false),
            ("qrstu4567890123qrstu4567890123qrstu45678", false, false),
            ("AKIA1234567890ABCDEF", false, false),
            ("q8Zr3vTn5kLw0pXy", false, false),
        ] {
            assert_eq!(is_placeholder(secret.as_bytes(), Confidence::Medium), at_medium, "{secret}");
            assert_eq!(is_placeholder(secret.as_bytes(), Confidence::High), at_high, "{secret}");
            assert!(!is_placeholder(secret.as_bytes(), Confidence::Confirmed), "{secret}");
        }
    }
}
