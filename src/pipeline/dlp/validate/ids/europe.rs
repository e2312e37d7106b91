//! Europe, but for the north and the east.

use super::super::compact::{Compact, base36, digits, is_date, letter, luhn, mod_11_10, number, verhoeff, weighted};

/// United Kingdom, National Insurance number (HMRC, NIM39110): which letters and prefixes are given out.
pub(in super::super) fn uk_nino(value: &Compact) -> bool {
    let Some([a, b, rest @ .., suffix]) = value.chars::<9>() else { return false };
    let given = |byte: u8, not: &[u8]| byte.is_ascii_uppercase() && !not.contains(&byte);
    given(a, b"DFIQUV")
        && given(b, b"DFIOQUV")
        && ![b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"].contains(&&[a, b])
        && rest.iter().all(u8::is_ascii_digit)
        && (b'A'..=b'D').contains(&suffix)
}

/// United Kingdom, driving licence (DVLA): five of the surname, of the birthday the decade, the month, which is 50 more
/// for women, the day and the year, two initials, a digit and two letters. What is short is filled up with 9.
pub(in super::super) fn uk_driving_licence(value: &Compact) -> bool {
    let Some([a, b, c, d, e, y, m, n, f, g, z, first, second, h, rest @ ..]) = value.chars::<16>() else {
        return false;
    };
    let filled = |text: &[u8]| text.iter().skip_while(|byte| byte.is_ascii_uppercase()).all(|byte| *byte == b'9');
    let Some([_, m, n, f, g, _, _]) = digits::<7>(&[y, m, n, f, g, z, h]) else { return false };
    let month = m * 10 + n;
    // The year's digits stand apart, and which century it is does not.
    a.is_ascii_uppercase()
        && filled(&[a, b, c, d, e])
        && filled(&[first, second])
        && is_date(0, if month > 50 { month - 50 } else { month }, f * 10 + g)
        && rest.iter().all(u8::is_ascii_uppercase)
}

/// United Kingdom, NHS number: MOD 11.
pub(in super::super) fn uk_nhs(value: &Compact) -> bool {
    let Some(digits) = value.digits::<10>() else { return false };
    let [first, .., check] = digits;
    let sum = weighted(&digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]);
    (11 - sum % 11) % 11 == check && digits.iter().any(|digit| *digit != first)
}

/// Ireland, PPS number: MOD 23, with a second letter since 2013; W, T and X of before do not count.
pub(in super::super) fn ireland_pps(value: &Compact) -> bool {
    let Some((body, [check, second @ ..])) = value.as_bytes().split_at_checked(7) else { return false };
    let extra = match second {
        [] => Some(0),
        [byte] => letter(*byte).map(|place| if b"WTX".contains(byte) { 0 } else { place + 1 }),
        _ => None,
    };
    let (Some(digits), Some(extra)) = (digits::<7>(body), extra) else { return false };
    let sum = weighted(&digits, &[8, 7, 6, 5, 4, 3, 2]) + 9 * extra;
    b"WABCDEFGHIJKLMNOPQRSTUV".get(sum as usize % 23) == Some(check)
}

/// Germany, tax number of a person (§ 139b AO): MOD 11,10, and one digit of the first ten stands twice or thrice.
pub(in super::super) fn germany_tax_id(value: &Compact) -> bool {
    let Some(digits) = value.digits::<11>() else { return false };
    let [first, ..] = digits;
    let times = |digit: u32| digits.iter().take(10).filter(|other| **other == digit).count();
    let (repeated, most) = (0..10).fold((0, 0), |(repeated, most), digit| {
        let times = times(digit);
        (repeated + usize::from(times > 1), most.max(times))
    });
    first != 0 && repeated == 1 && most <= 3 && mod_11_10(&digits)
}

/// Germany, number in the commercial register: its part A or B, and a number from 1 on.
pub(in super::super) fn germany_register(value: &Compact) -> bool {
    let Some((part, number)) = value.as_bytes().split_at_checked(3) else { return false };
    (part == b"HRA" || part == b"HRB")
        && (1..=6).contains(&number.len())
        && number.iter().all(u8::is_ascii_digit)
        && number.first().is_some_and(|first| *first != b'0')
}

/// Germany, identity card: nine characters without vowels, and a check digit with weights 7, 3, 1 (ICAO 9303).
pub(in super::super) fn germany_identity_card(value: &Compact) -> bool {
    let Some([body @ .., check]) = value.chars::<10>() else { return false };
    let known = body.iter().all(|byte| byte.is_ascii_digit() || b"CFGHJKLMNPRTVWXYZ".contains(byte));
    let sum = body.iter().zip([7, 3, 1].into_iter().cycle()).map(|(byte, weight)| Some(base36(*byte)? * weight));
    let [first, ..] = body;
    known
        && first.is_ascii_uppercase()
        && sum.sum::<Option<u32>>().map(|sum| sum % 10) == char::from(check).to_digit(10)
}

/// Germany, pension insurance (§ 147 SGB VI): area, birthday, initial, serial, and a check digit.
pub(in super::super) fn germany_pension(value: &Compact) -> bool {
    let Some([a, b, d, e, m, n, y, z, initial, s, t, check]) = value.chars::<12>() else { return false };
    let Some(place) = letter(initial).map(|place| place + 1) else { return false };
    let Some([a, b, d, e, m, n, y, z, s, t, check]) = digits::<11>(&[a, b, d, e, m, n, y, z, s, t, check]) else {
        return false;
    };
    let products = [a * 2, b, d * 2, e * 5, m * 7, n, y * 2, z, place / 10 * 2, place % 10, s * 2, t];
    is_date(y * 10 + z, m * 10 + n, d * 10 + e)
        && products.iter().map(|product| product / 10 + product % 10).sum::<u32>() % 10 == check
}

/// France, NIR: 97 less the number's remainder; Corsica's 2A and 2B count as 19 and 18.
pub(in super::super) fn france_nir(value: &Compact) -> bool {
    let Some(mut text) = value.chars::<15>() else { return false };
    if let [_, _, _, _, _, two @ b'2', corsica @ (b'A' | b'B'), ..] = &mut text {
        (*two, *corsica) = (b'1', if *corsica == b'A' { b'9' } else { b'8' });
    }
    let Some([sex, y, z, m, n, rest @ .., k, l]) = digits::<15>(&text) else { return false };
    let body = number(&[sex, y, z, m, n]) * 100_000_000 + number(&rest);
    let month = m * 10 + n;
    matches!(sex, 1..=4 | 7 | 8)
        && (matches!(month, 1..=12 | 20..=42) || month >= 50)
        && 97 - body % 97 == number(&[k, l])
}

/// Spain, DNI: eight digits and the letter of their remainder by 23.
pub(in super::super) fn spain_dni(value: &Compact) -> bool {
    let Some((body, [check])) = value.as_bytes().split_at_checked(8) else { return false };
    digits::<8>(body).is_some_and(|digits| digits != [0; 8] && spanish(number(&digits)) == Some(*check))
}

/// Spain, NIE: as DNI, with X, Y, Z for 0, 1, 2 before.
pub(in super::super) fn spain_nie(value: &Compact) -> bool {
    let Some((&[first], rest)) = value.as_bytes().split_first_chunk::<1>() else { return false };
    let Some((body, [check])) = rest.split_at_checked(7) else { return false };
    let (Some(digits), b'X'..=b'Z') = (digits::<7>(body), first) else { return false };
    spanish(u64::from(first - b'X') * 10_000_000 + number(&digits)) == Some(*check)
}

fn spanish(number: u64) -> Option<u8> {
    b"TRWAGMYFPDXBNJZSQVHLCKE".get((number % 23) as usize).copied()
}

/// Italy, codice fiscale (D.M. 23/12/1976): name, birthday, place, and a letter over places of both parities.
pub(in super::super) fn italy_codice_fiscale(value: &Compact) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let Some(text) = value.chars::<16>() else { return false };
    let [body @ .., check] = text;
    let shaped = text.iter().zip(b"AAAAAA99M99A999A").all(|(byte, class)| match class {
        // Where two people would have the same one, digits become letters.
        b'9' => byte.is_ascii_digit() || b"LMNPQRSTUV".contains(byte),
        b'M' => b"ABCDEHLMPRST".contains(byte),
        _ => byte.is_ascii_uppercase(),
    });
    let sum: Option<u32> = (0..)
        .zip(body)
        .map(|(at, byte)| {
            let value = letter(byte).or_else(|| char::from(byte).to_digit(10))?;
            if at % 2 == 0 { ODD.get(value as usize).copied() } else { Some(value) }
        })
        .sum();
    shaped && sum.is_some_and(|sum| letter(check) == Some(sum % 26))
}

/// Netherlands, BSN: the "eleven test".
pub(in super::super) fn netherlands_bsn(value: &Compact) -> bool {
    value.digits::<9>().is_some_and(|digits| {
        let [first, .., check] = digits;
        digits.iter().any(|digit| *digit != first) && weighted(&digits, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11 == check
    })
}

/// Belgium, national number: 97 less the remainder, with a 2 before for those born since 2000.
pub(in super::super) fn belgium_national(value: &Compact) -> bool {
    let Some([body @ .., k, l]) = value.digits::<11>() else { return false };
    let [_, _, m, n, d, e, ..] = body;
    // Months of numbers given out provisionally are 20 or 40 higher; unknown birthdays are 00.
    let month = (m * 10 + n) % 20;
    let check = |number: u64| 97 - number % 97;
    let number_of = number(&body);
    month <= 12
        && d * 10 + e <= 31
        && number_of != 0
        && [check(number_of), check(2_000_000_000 + number_of)].contains(&number(&[k, l]))
}

/// Luxembourg, identification number: a birthday, and Luhn and Verhoeff over the same eleven digits.
pub(in super::super) fn luxembourg_nin(value: &Compact) -> bool {
    let Some(digits) = value.digits::<13>() else { return false };
    let [a, b, y, z, m, n, d, e, s, t, u, first, second] = digits;
    let with = |check: u32| [a, b, y, z, m, n, d, e, s, t, u, check];
    matches!(number(&[a, b]), 18..=20)
        && is_date(y * 10 + z, m * 10 + n, d * 10 + e)
        && luhn(&with(first))
        && verhoeff(&with(second))
}

/// Switzerland, AHV number: 756, and the check digit of EAN-13.
pub(in super::super) fn switzerland_ahv(value: &Compact) -> bool {
    value.digits::<13>().is_some_and(|digits| {
        let [a, b, c, rest @ ..] = digits;
        [a, b, c] == [7, 5, 6]
            && rest.iter().any(|digit| *digit != 0)
            && weighted(&digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
    })
}

/// Austria, social insurance: the fourth digit checks the others; a birthday at the end.
pub(in super::super) fn austria_svnr(value: &Compact) -> bool {
    let Some([a, b, c, check, d, e, m, n, y, z]) = value.digits::<10>() else { return false };
    let sum = weighted(&[a, b, c, d, e, m, n, y, z], &[3, 7, 9, 5, 8, 4, 2, 1, 6]);
    // Months 13 to 15 stand for birthdays that were taken.
    let month = m * 10 + n;
    a != 0 && (is_date(y * 10 + z, month, d * 10 + e) || matches!(month, 13..=15)) && sum % 11 == check
}

/// Portugal, NIF: MOD 11, and a first digit that is given to persons or firms.
pub(in super::super) fn portugal_nif(value: &Compact) -> bool {
    value.digits::<9>().is_some_and(|digits| {
        let [first, .., check] = digits;
        let rest = weighted(&digits, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
        !matches!(first, 0 | 4 | 7)
            && check == if rest < 2 { 0 } else { 11 - rest }
            && digits.iter().any(|digit| *digit != first)
    })
}

#[cfg(test)]
mod tests {
    use super::super::hold;
    use super::*;

    #[test]
    fn the_islands() {
        hold(uk_nino, &["AB 12 34 56 C", "JG103759A"], &["QQ123456C", "BG123456A", "AB123456E", "AO123456A"]);
        hold(uk_driving_licence, &["BAKER801125J99AB", "BAKER851125JK9AB", "FOX99 503157 KL9CD"], &[]);
        hold(
            uk_driving_licence,
            &[],
            &["BAKER831125J99AB", "BAKER801325J99AB", "BA9ER801125J99AB", "BAKER8011259J9AB", "99999801125J99AB"],
        );
        hold(uk_nhs, &["943 476 5919", "4010232137"], &["943 476 5918", "0000000000"]);
        hold(ireland_pps, &["6433435F", "6433435FT", "6433435OA"], &["6433435E", "6433435", "643343FF"]);
    }

    #[test]
    fn germany_and_its_neighbours() {
        hold(germany_tax_id, &["36 574 261 809", "47036892816"], &["36574261890", "12345678901"]);
        hold(germany_register, &["HRB 48213", "HRA731", "HRB 12"], &["HRC 48213", "HRB 0482", "HRB", "HRB 1234567"]);
        hold(germany_identity_card, &["T220001293", "L01X00T471"], &["T220001292", "A220001293"]);
        hold(germany_pension, &["15070649C103"], &["15070649C102", "15071349C103"]);
        hold(netherlands_bsn, &["111222333", "1112.22.333"], &["111252333", "000000000"]);
        hold(belgium_national, &["85.07.30-033 28", "17073003384"], &["85.07.30-033 61", "00000000000"]);
        hold(luxembourg_nin, &["1893120105732"], &["1893120105733", "1893130105732"]);
        hold(switzerland_ahv, &["756.9217.0769.85"], &["756.9217.0769.84", "757.9217.0769.85"]);
        hold(austria_svnr, &["1237 010180"], &["1238 010180", "1237 410180"]);
    }

    #[test]
    fn the_south() {
        hold(france_nir, &["2 55 08 14 168 025 38", "295109912611193", "1 85 05 2A 006 084 35"], &["255081416802539"]);
        hold(spain_dni, &["12345678Z", "54362315-K"], &["12345678A", "00000000T"]);
        hold(spain_nie, &["X-2482300W", "Y1234567X", "X5253868R"], &["X2482300A", "A1234567X"]);
        hold(
            italy_codice_fiscale,
            &["RSSMRA85T10A562S", "RCCMNL83S18D969H"],
            &["RSSMRA85T10A562T", "RSSMRA85Z10A562S"],
        );
        hold(portugal_nif, &["501 442 600", "123456789"], &["501442601", "000000000"]);
    }
}
