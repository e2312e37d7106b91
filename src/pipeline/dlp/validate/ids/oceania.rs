//! Australia and New Zealand.

use super::super::compact::{Compact, weighted};

/// Australia, tax file number: MOD 11.
pub(in super::super) fn australia_tfn(value: &Compact) -> bool {
    let nine = value.digits::<9>().map(|digits| (weighted(&digits, &[1, 4, 3, 7, 5, 8, 6, 9, 10]), digits != [0; 9]));
    let eight = value.digits::<8>().map(|digits| (weighted(&digits, &[10, 7, 8, 4, 6, 3, 5, 1]), digits != [0; 8]));
    nine.or(eight).is_some_and(|(sum, some)| some && sum.is_multiple_of(11))
}

/// Australia, business number: MOD 89, of a first digit less one.
pub(in super::super) fn australia_abn(value: &Compact) -> bool {
    let Some(digits) = value.digits::<11>() else { return false };
    let [first, ..] = digits;
    first != 0 && (weighted(&digits, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]) - 10).is_multiple_of(89)
}

/// Australia, Medicare: a first digit of 2 to 6, the ninth checks the eight before; the issue, and perhaps who on the
/// card.
pub(in super::super) fn australia_medicare(value: &Compact) -> bool {
    let ten = value.digits::<10>();
    let eleven = value.digits::<11>().and_then(|digits| digits.first_chunk::<10>().copied());
    let Some(digits) = ten.or(eleven) else { return false };
    let [first, .., check, issue] = digits;
    matches!(first, 2..=6) && issue != 0 && weighted(&digits, &[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == check
}

/// New Zealand, IRD number: MOD 11, with a second row of weights.
pub(in super::super) fn new_zealand_ird(value: &Compact) -> bool {
    let nine = value.digits::<9>();
    let eight = value.digits::<8>().map(|[a, b, c, d, e, f, g, h]| [0, a, b, c, d, e, f, g, h]);
    let Some(digits) = nine.or(eight) else { return false };
    let [a, b, .., check] = digits;
    let expected = |weights: &[u32]| (11 - weighted(&digits, weights) % 11) % 11;
    let expected = match expected(&[3, 2, 7, 6, 5, 4, 3, 2]) {
        10 => expected(&[7, 4, 3, 2, 5, 2, 7, 6]),
        first => first,
    };
    // From 10,000,000 to 150,000,000 are given out.
    matches!(a * 10 + b, 1..=15) && expected == check
}

#[cfg(test)]
mod tests {
    use super::super::hold;
    use super::*;

    #[test]
    fn australia() {
        hold(australia_tfn, &["123 456 782", "876543210"], &["999 999 999", "000000000"]);
        hold(australia_abn, &["83 914 571 673", "51824753556"], &["99999999999", "03914571673"]);
        hold(australia_medicare, &["2123 45670 1", "21234567011"], &["2123 45671 1", "1123456701"]);
    }

    #[test]
    fn new_zealand() {
        hold(new_zealand_ird, &["49091850", "49-098-576", "136410132"], &["136410133", "9125568", "000000000"]);
    }
}
