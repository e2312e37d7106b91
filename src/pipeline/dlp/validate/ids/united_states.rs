//! The United States: social security, taxes, health.

use super::super::compact::{Compact, digits, luhn};

/// Social Security Administration: no area 000, 666 or 900 and up, no group 00, no serial 0000.
pub(in super::super) fn ssn(value: &Compact) -> bool {
    let Some([a, b, c, d, e, f, g, h, i]) = value.digits::<9>() else { return false };
    let (area, group, serial) = (a * 100 + b * 10 + c, d * 10 + e, f * 1000 + g * 100 + h * 10 + i);
    let same = [b, c, d, e, f, g, h, i].iter().all(|digit| *digit == a);
    area != 0 && area != 666 && area < 900 && group != 0 && serial != 0 && !same
}

/// Internal Revenue Service: individual taxpayers begin with 9, and their fourth and fifth digits are of four ranges.
pub(in super::super) fn itin(value: &Compact) -> bool {
    let Some([9, _, _, d, e, ..]) = value.digits::<9>() else { return false };
    matches!(d * 10 + e, 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

/// Internal Revenue Service: the prefixes of employers that its campuses and its site give out.
pub(in super::super) fn ein(value: &Compact) -> bool {
    let Some([a, b, rest @ ..]) = value.digits::<9>() else { return false };
    let prefix = a * 10 + b;
    rest.iter().any(|digit| *digit != 0)
        && matches!(prefix, 1..=6 | 10..=16 | 20..=27 | 30..=48 | 50..=68 | 71..=77 | 80..=88 | 90..=95 | 98 | 99)
}

/// 45 CFR 162.406: ten digits that begin with 1 or 2, Luhn with 80840 before them.
pub(in super::super) fn npi(value: &Compact) -> bool {
    let Some(digits) = value.digits::<10>() else { return false };
    let [first, ..] = digits;
    let mut whole = [8, 0, 8, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (place, digit) in whole.iter_mut().skip(5).zip(digits) {
        *place = digit;
    }
    matches!(first, 1 | 2) && luhn(&whole)
}

/// Drug Enforcement Administration: the registrant's kind, an initial or 9, and seven digits of which the last checks.
pub(in super::super) fn dea(value: &Compact) -> bool {
    let Some((&[kind, initial], rest)) = value.as_bytes().split_first_chunk::<2>() else { return false };
    let Some([a, b, c, d, e, f, check]) = digits::<7>(rest) else { return false };
    b"ABCDEFGHJKLMPRSTUX".contains(&kind)
        && (initial.is_ascii_uppercase() || initial == b'9')
        && (a + c + e + 2 * (b + d + f)) % 10 == check
        && rest.iter().any(|digit| *digit != b'0')
}

/// Centers for Medicare & Medicaid Services: eleven characters of a fixed shape, without S, L, O, I, B and Z.
pub(in super::super) fn mbi(value: &Compact) -> bool {
    let Some(text) = value.chars::<11>() else { return false };
    let letter = |byte: u8| byte.is_ascii_uppercase() && !b"SLOIBZ".contains(&byte);
    text.first() != Some(&b'0')
        && text.iter().zip(b"9AX9AX9AA99").all(|(byte, class)| match class {
            b'9' => byte.is_ascii_digit(),
            b'A' => letter(*byte),
            _ => byte.is_ascii_digit() || letter(*byte),
        })
}

/// Passports: nine digits, or since 2021 a letter and eight. There is no checksum.
pub(in super::super) fn passport(value: &Compact) -> bool {
    let text = value.as_bytes();
    let letters = text.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    let rest = text.get(letters..).unwrap_or_default();
    letters <= 2
        && (6..=9).contains(&text.len())
        && rest.iter().all(u8::is_ascii_digit)
        && rest.iter().any(|byte| Some(byte) != rest.first())
}

#[cfg(test)]
mod tests {
    use super::super::hold;
    use super::*;

    #[test]
    fn social_security_and_taxes() {
        hold(ssn, &["078-05-1120", "219-09-9999", "123456789"], &["000-12-3456", "666-12-3456", "900-12-3456"]);
        hold(ssn, &[], &["123-00-4567", "123-45-0000", "111-11-1111", "12345678"]);
        hold(itin, &["912-70-1234", "900-50-0000"], &["812-70-1234", "912-69-1234", "912-93-1234"]);
        hold(ein, &["12-3456789", "98-7654321"], &["07-1234567", "00-1234567", "12-0000000"]);
    }

    #[test]
    fn health() {
        hold(npi, &["1234567893", "1245319599"], &["1234567890", "3234567893"]);
        hold(dea, &["BB1388568", "F91234563"], &["BB1388567", "NB1388568", "BB0000000"]);
        hold(mbi, &["1EG4-TE5-MK73", "1EG4TE5MK72"], &["1SG4-TE5-MK73", "0EG4TE5MK72", "1EG4TE5MK7"]);
    }

    #[test]
    fn passports() {
        hold(passport, &["340007237", "A12345678", "AB123456"], &["000000000", "ABC123456", "12345"]);
    }
}
