//! Asia and Africa.

use super::super::compact::{Compact, digits, is_date, letter, luhn, number, verhoeff, weighted};

/// China, resident identity number (GB 11643): province, birthday, ISO 7064 MOD 11-2.
pub(in super::super) fn china_resident(value: &Compact) -> bool {
    let Some((body, [check])) = value.as_bytes().split_at_checked(17) else { return false };
    let Some(digits) = digits::<17>(body) else { return false };
    let [a, b, _, _, _, _, c, d, y, z, m, n, e, f, ..] = digits;
    let sum = weighted(&digits, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    matches!(a * 10 + b, 11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65 | 71 | 81..=83 | 91)
        && matches!(c * 10 + d, 18..=20)
        && is_date(y * 10 + z, m * 10 + n, e * 10 + f)
        && b"10X98765432".get(sum as usize % 11) == Some(check)
}

/// Hong Kong, identity card: one letter or two, six digits, MOD 11 with A for ten.
pub(in super::super) fn hong_kong_hkid(value: &Compact) -> bool {
    let text = value.as_bytes();
    let (first, rest) = match text.len() {
        8 => (Some(36), text),
        9 => (text.first().and_then(|byte| letter(*byte)).map(|place| place + 10), text.get(1..).unwrap_or_default()),
        _ => return false,
    };
    let Some((&[second], rest)) = rest.split_first_chunk::<1>() else { return false };
    let Some((body, [check])) = rest.split_at_checked(6) else { return false };
    let (Some(first), Some(second), Some(digits)) = (first, letter(second), digits::<6>(body)) else { return false };
    let check = if *check == b'A' { Some(10) } else { char::from(*check).to_digit(10) };
    let sum = first * 9 + (second + 10) * 8 + weighted(&digits, &[7, 6, 5, 4, 3, 2]);
    digits != [0; 6] && check.is_some_and(|check| (sum + check).is_multiple_of(11))
}

/// Taiwan, identity card and since 2021 residents: a place's letter, sex, MOD 10.
pub(in super::super) fn taiwan_id(value: &Compact) -> bool {
    const PLACES: [u32; 26] =
        [10, 11, 12, 13, 14, 15, 16, 17, 34, 18, 19, 20, 21, 22, 35, 23, 24, 25, 26, 27, 28, 29, 32, 30, 31, 33];
    let Some((&[place], body)) = value.as_bytes().split_first_chunk::<1>() else { return false };
    let place = letter(place).and_then(|place| PLACES.get(place as usize));
    let (Some(place), Some(digits)) = (place, digits::<9>(body)) else { return false };
    let [sex, ..] = digits;
    matches!(sex, 1 | 2 | 8 | 9)
        && (place / 10 + place % 10 * 9 + weighted(&digits, &[8, 7, 6, 5, 4, 3, 2, 1, 1])).is_multiple_of(10)
}

/// South Korea, resident registration number: a birthday, the century and sex, MOD 11; those given since October 2020
/// have no checksum.
pub(in super::super) fn korea_rrn(value: &Compact) -> bool {
    let Some(digits) = value.digits::<13>() else { return false };
    let [y, z, m, n, d, e, sex, .., check] = digits;
    let sum = weighted(&digits, &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]);
    let unchecked = matches!(sex, 3 | 4) && matches!(y * 10 + z, 20..=49);
    is_date(y * 10 + z, m * 10 + n, d * 10 + e) && !matches!(sex, 5..=8) && (unchecked || (11 - sum % 11) % 10 == check)
}

/// South Korea, foreigner registration number: a birthday, 5 to 8 for century and sex, MOD 11 with 13 for 11.
pub(in super::super) fn korea_frn(value: &Compact) -> bool {
    let Some(digits) = value.digits::<13>() else { return false };
    let [y, z, .., check] = digits;
    let sum = weighted(&digits, &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]);
    // Thirteen digits from 14 to 19 on are the milliseconds of this time, more often than the birthdays of children.
    let clock = y == 1 && z >= 4;
    korea_frn_unchecked(value) && (13 - sum % 11) % 10 == check && !clock
}

/// The same as it is given since October 2020: there is no checksum.
pub(in super::super) fn korea_frn_unchecked(value: &Compact) -> bool {
    value.digits::<13>().is_some_and(|[y, z, m, n, d, e, century, ..]| {
        matches!(century, 5..=8) && is_date(y * 10 + z, m * 10 + n, d * 10 + e)
    })
}

/// South Korea, driver's licence: the place that gave it, the year, a serial number, two check digits that nobody
/// publishes.
pub(in super::super) fn korea_driver_license(value: &Compact) -> bool {
    value.digits::<12>().is_some_and(|[p, q, _, _, serial @ .., _, _]| {
        matches!(p * 10 + q, 11..=26 | 28) && serial.iter().any(|digit| *digit != 0)
    })
}

/// Japan, individual number ("My Number"): MOD 11.
pub(in super::super) fn japan_my_number(value: &Compact) -> bool {
    value.digits::<12>().is_some_and(|digits| {
        let [first, .., check] = digits;
        let rest = weighted(&digits, &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
        check == if rest < 2 { 0 } else { 11 - rest } && digits.iter().any(|digit| *digit != first)
    })
}

/// India, Aadhaar: a first digit of 2 and up, Verhoeff; palindromes are not given.
pub(in super::super) fn india_aadhaar(value: &Compact) -> bool {
    value.digits::<12>().is_some_and(|digits| {
        let [first, ..] = digits;
        first >= 2 && verhoeff(&digits) && !digits.iter().eq(digits.iter().rev())
    })
}

/// India, permanent account number: the fourth letter tells what kind of taxpayer.
pub(in super::super) fn india_pan(value: &Compact) -> bool {
    let Some([a, b, c, kind, e, rest @ .., last]) = value.chars::<10>() else { return false };
    [a, b, c, e, last].iter().all(u8::is_ascii_uppercase)
        && b"PCHFATBLJGEK".contains(&kind)
        && digits::<4>(&rest).is_some_and(|digits| digits != [0; 4])
}

/// India, voter's identity card: three letters of the constituency, seven digits.
pub(in super::super) fn india_voter(value: &Compact) -> bool {
    let Some((letters, body)) = value.as_bytes().split_at_checked(3) else { return false };
    letters.iter().all(u8::is_ascii_uppercase) && digits::<7>(body).is_some_and(|digits| digits != [0; 7])
}

/// Singapore, NRIC and FIN: a letter of the century and kind, MOD 11.
pub(in super::super) fn singapore_nric(value: &Compact) -> bool {
    let Some([kind, body @ .., check]) = value.chars::<9>() else { return false };
    let Some(digits) = digits::<7>(&body) else { return false };
    let sum = weighted(&digits, &[2, 7, 6, 5, 4, 3, 2]);
    let (offset, letters) = match kind {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        b'M' => (3, b"XWUTRQPNJLK"),
        _ => return false,
    };
    digits != [0; 7] && letters.get(((sum + offset) % 11) as usize) == Some(&check)
}

/// Malaysia, identity card: a birthday and a place of birth that is given out.
pub(in super::super) fn malaysia_nric(value: &Compact) -> bool {
    value.digits::<12>().is_some_and(|[y, z, m, n, d, e, p, q, ..]| {
        let place = p * 10 + q;
        is_date(y * 10 + z, m * 10 + n, d * 10 + e)
            && matches!(place, 1..=16 | 21..=68 | 71 | 72 | 74..=79 | 82..=93 | 98 | 99)
    })
}

/// Thailand, identification number: MOD 11.
pub(in super::super) fn thailand_id(value: &Compact) -> bool {
    value.digits::<13>().is_some_and(|digits| {
        let [first, .., check] = digits;
        matches!(first, 1..=8)
            && (11 - weighted(&digits, &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 10 == check
            && digits.iter().any(|digit| *digit != first)
    })
}

/// Indonesia, NIK: a province, a birthday (women's days are 40 higher), a serial.
pub(in super::super) fn indonesia_nik(value: &Compact) -> bool {
    value.digits::<16>().is_some_and(|digits| {
        let [p, q, r, s, t, u, d, e, m, n, y, z, serial @ ..] = digits;
        let day = d * 10 + e;
        matches!(p * 10 + q, 11..=19 | 21 | 31..=36 | 51..=53 | 61..=65 | 71..=76 | 81 | 82 | 91..=97)
            && r * 10 + s != 0
            && t * 10 + u != 0
            && is_date(y * 10 + z, m * 10 + n, if day > 40 { day - 40 } else { day })
            && serial != [0; 4]
    })
}

/// Israel, identity number: Luhn.
pub(in super::super) fn israel_id(value: &Compact) -> bool {
    value.digits::<9>().is_some_and(|digits| {
        let [first, ..] = digits;
        luhn(&digits) && digits.iter().any(|digit| *digit != first)
    })
}

/// United Arab Emirates, Emirates ID: 784, a year, Luhn.
pub(in super::super) fn emirates_id(value: &Compact) -> bool {
    value.digits::<15>().is_some_and(|digits| {
        let [a, b, c, d, e, ..] = digits;
        [a, b, c] == [7, 8, 4] && matches!(d * 10 + e, 19 | 20) && luhn(&digits)
    })
}

/// Saudi Arabia, national id and iqama: 1 or 2 first, Luhn.
pub(in super::super) fn saudi_id(value: &Compact) -> bool {
    value.digits::<10>().is_some_and(|digits| {
        let [first, ..] = digits;
        matches!(first, 1 | 2) && luhn(&digits) && digits.iter().any(|digit| *digit != first)
    })
}

/// Pakistan, CNIC: a province first; the last tells the sex.
pub(in super::super) fn pakistan_cnic(value: &Compact) -> bool {
    value.digits::<13>().is_some_and(|digits| {
        let [first, .., sex] = digits;
        matches!(first, 1..=7) && sex != 0 && digits.iter().any(|digit| *digit != first)
    })
}

/// South Africa, identity number: a birthday, citizenship, Luhn.
pub(in super::super) fn south_africa_id(value: &Compact) -> bool {
    value.digits::<13>().is_some_and(|digits| {
        let [y, z, m, n, d, e, _, _, _, _, citizen, ..] = digits;
        is_date(y * 10 + z, m * 10 + n, d * 10 + e) && citizen <= 2 && luhn(&digits)
    })
}

/// Egypt, national id: century, a birthday, a governorate.
pub(in super::super) fn egypt_id(value: &Compact) -> bool {
    value.digits::<14>().is_some_and(|digits| {
        let [century, y, z, m, n, d, e, p, q, serial @ ..] = digits;
        matches!(century, 2 | 3)
            && is_date(y * 10 + z, m * 10 + n, d * 10 + e)
            && matches!(p * 10 + q, 1..=4 | 11..=19 | 21..=29 | 31..=35 | 88)
            && number(&serial) != 0
    })
}

#[cfg(test)]
mod tests {
    use super::super::hold;
    use super::*;

    #[test]
    fn the_east() {
        hold(
            china_resident,
            &["11010519491231002X", "440524188001010014"],
            &["110105194912310021", "990524188001010014"],
        );
        hold(hong_kong_hkid, &["G123456(A)", "AB987654(3)", "A123456(3)"], &["A123456(4)", "123456"]);
        hold(taiwan_id, &["A123456789"], &["A123456788", "A323456789", "1123456789"]);
        hold(korea_frn, &["830614-6007313"], &["830614-6007316", "830614-2007311", "1501016000000"]);
        hold(korea_frn_unchecked, &["830614-6007316"], &["830614-2007311", "831314-6007310"]);
        hold(korea_driver_license, &["11-04-482913-57", "281948291357"], &["27-04-482913-57", "11-04-000000-57"]);
        hold(india_voter, &["KQX4820157"], &["KQX0000000", "KQ44820157", "KQX482015"]);
        hold(korea_rrn, &["971013-9019902", "210101-3123456"], &["971013-9019903", "971313-9019902"]);
        hold(japan_my_number, &["123456789018", "1234 5678 9018"], &["123456789017", "000000000000"]);
    }

    #[test]
    fn the_south() {
        hold(india_aadhaar, &["2341 2341 2346"], &["2341 2341 2347", "123412341234", "222222222222"]);
        hold(india_pan, &["ABCPE1234F"], &["ABCDE1234F", "ABCPE0000F", "ABCP11234F"]);
        hold(singapore_nric, &["S1234567D", "T1234567J", "F1234567N", "G1234567X"], &["S1234567E", "A1234567D"]);
        hold(malaysia_nric, &["770305-02-1234"], &["771305-02-1234", "770305-17-1234"]);
        hold(thailand_id, &["1-2345-45678-78-1", "7100600445638"], &["1-2345-45678-78-2", "0000000000000"]);
        hold(indonesia_nik, &["3171011708450001", "3171015708450001"], &["3171013208450001", "9971011708450001"]);
        hold(pakistan_cnic, &["34201-0891231-8"], &["94201-0891231-8", "34201-0891231-0"]);
    }

    #[test]
    fn the_middle_east_and_africa() {
        hold(israel_id, &["039337423", "123456782"], &["039337422", "000000000"]);
        hold(emirates_id, &["784-1980-1234567-8"], &["784-1980-1234567-9", "785-1980-1234567-9"]);
        hold(saudi_id, &["1000000008"], &["1000000007", "3000000006"]);
        hold(south_africa_id, &["7503305044089", "8001015009087"], &["8001015009088", "8013015009087"]);
        hold(egypt_id, &["29001011234567"], &["49001011234567", "29013011234567"]);
    }
}
