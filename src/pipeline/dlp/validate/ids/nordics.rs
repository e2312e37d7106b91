//! The north and the east of Europe, and Turkey.

use super::super::compact::{Compact, digits, is_date, luhn, mod_11_10, number, weighted};

/// Sweden, personnummer: a birthday (of coordination numbers 60 days later) and Luhn over the last ten digits.
pub(in super::super) fn sweden_personnummer(value: &Compact) -> bool {
    let text = value.as_bytes();
    let (century, rest) = text.split_at(text.len().saturating_sub(10));
    let Some(digits) = digits::<10>(rest) else { return false };
    let [y, z, m, n, d, e, ..] = digits;
    let day = d * 10 + e;
    matches!(century, b"" | b"18" | b"19" | b"20")
        && is_date(y * 10 + z, m * 10 + n, if day > 60 { day - 60 } else { day })
        && luhn(&digits)
}

/// Norway, fødselsnummer: a birthday (of D numbers 40 days later) and two check digits, MOD 11.
pub(in super::super) fn norway_fodselsnummer(value: &Compact) -> bool {
    let Some(digits) = value.digits::<11>() else { return false };
    let [d, e, m, n, y, z, ..] = digits;
    let (day, month) = (d * 10 + e, m * 10 + n);
    // Months 40 or 80 higher are of test numbers.
    is_date(y * 10 + z, month % 40, if day > 40 { day - 40 } else { day })
        && weighted(&digits, &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]).is_multiple_of(11)
        && weighted(&digits, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
}

/// Denmark, CPR number: a birthday. Its checksum is not kept to since 2007.
pub(in super::super) fn denmark_cpr(value: &Compact) -> bool {
    let Some([d, e, m, n, y, z, serial @ ..]) = value.digits::<10>() else { return false };
    is_date(y * 10 + z, m * 10 + n, d * 10 + e) && serial != [0; 4]
}

/// Finland, henkilötunnus: a birthday, the sign of the century, and the remainder by 31.
pub(in super::super) fn finland_hetu(value: &Compact) -> bool {
    // The sign of 1900 to 1999 is a hyphen, which a compact number has lost.
    let text = value.as_bytes();
    let Some((birthday, rest)) = text.split_first_chunk::<6>() else { return false };
    let (serial, check) = match rest {
        [century, a, b, c, check] if b"ABCDEFYXWVU".contains(century) => ([*a, *b, *c], *check),
        [a, b, c, check] => ([*a, *b, *c], *check),
        _ => return false,
    };
    let (Some(birthday), Some(serial)) = (digits::<6>(birthday), digits::<3>(&serial)) else { return false };
    let [d, e, m, n, y, z] = birthday;
    let remainder = (number(&birthday) * 1000 + number(&serial)) % 31;
    is_date(y * 10 + z, m * 10 + n, d * 10 + e)
        && number(&serial) >= 2
        && b"0123456789ABCDEFHJKLMNPRSTUVWXY".get(remainder as usize) == Some(&check)
}

/// Iceland, kennitala: a birthday, MOD 11, and the century.
pub(in super::super) fn iceland_kennitala(value: &Compact) -> bool {
    let Some(digits) = value.digits::<10>() else { return false };
    let [d, e, m, n, y, z, .., century] = digits;
    // Firms are born 40 days later.
    let day = d * 10 + e;
    is_date(y * 10 + z, m * 10 + n, if day > 40 { day - 40 } else { day })
        && matches!(century, 0 | 8 | 9)
        && weighted(&digits, &[3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
}

/// Estonia and Lithuania: century and sex, a birthday, and MOD 11 with a second row of weights.
pub(in super::super) fn baltic_personal_code(value: &Compact) -> bool {
    let Some(digits) = value.digits::<11>() else { return false };
    let [century, y, z, m, n, d, e, .., check] = digits;
    let first = weighted(&digits, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11;
    let second = weighted(&digits, &[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11 % 10;
    matches!(century, 1..=8)
        && is_date(y * 10 + z, m * 10 + n, d * 10 + e)
        && check == if first == 10 { second } else { first }
}

/// Latvia, personas kods: a birthday, the century, MOD 11.
pub(in super::super) fn latvia_personal_code(value: &Compact) -> bool {
    let Some(digits) = value.digits::<11>() else { return false };
    let [d, e, m, n, y, z, century, .., check] = digits;
    let sum = 1 + weighted(&digits, &[10, 5, 8, 4, 2, 1, 6, 3, 7, 9]);
    is_date(y * 10 + z, m * 10 + n, d * 10 + e) && century <= 2 && sum % 11 % 10 == check
}

/// Poland, PESEL: a birthday whose month tells the century, weights 1, 3, 7, 9.
pub(in super::super) fn poland_pesel(value: &Compact) -> bool {
    let Some(digits) = value.digits::<11>() else { return false };
    let [y, z, m, n, d, e, ..] = digits;
    is_date(y * 10 + z, (m * 10 + n) % 20, d * 10 + e)
        && weighted(&digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
}

/// Poland, NIP: MOD 11.
pub(in super::super) fn poland_nip(value: &Compact) -> bool {
    value.digits::<10>().is_some_and(|digits| {
        let [first, second, third, .., check] = digits;
        first != 0 && second + third != 0 && weighted(&digits, &[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11 == check
    })
}

/// Czechia and Slovakia, rodné číslo: a birthday (women's months are 50 higher), MOD 11.
pub(in super::super) fn czech_birth_number(value: &Compact) -> bool {
    let Some(digits) = value.digits::<10>() else { return false };
    let [y, z, m, n, d, e, .., check] = digits;
    // Since 2004 months are 20 higher where a day's numbers are used up.
    let month = (m * 10 + n) % 50;
    let month = if month > 20 { month - 20 } else { month };
    let rest = number(&digits) / 10 % 11;
    is_date(y * 10 + z, month, d * 10 + e) && rest % 10 == u64::from(check)
}

/// Hungary, TAJ: weights 3 and 7.
pub(in super::super) fn hungary_taj(value: &Compact) -> bool {
    value.digits::<9>().is_some_and(|digits| {
        let [first, .., check] = digits;
        weighted(&digits, &[3, 7, 3, 7, 3, 7, 3, 7]) % 10 == check && digits.iter().any(|digit| *digit != first)
    })
}

/// Hungary, tax number of a person: 8 first, MOD 11 by place.
pub(in super::super) fn hungary_tax_id(value: &Compact) -> bool {
    value.digits::<10>().is_some_and(|digits| {
        let [first, .., check] = digits;
        first == 8 && weighted(&digits, &[1, 2, 3, 4, 5, 6, 7, 8, 9]) % 11 == check
    })
}

/// Romania, CNP: century and sex, a birthday, a county, MOD 11.
pub(in super::super) fn romania_cnp(value: &Compact) -> bool {
    let Some(digits) = value.digits::<13>() else { return false };
    let [century, y, z, m, n, d, e, j, k, _, _, _, check] = digits;
    let rest = weighted(&digits, &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
    century != 0
        && is_date(y * 10 + z, m * 10 + n, d * 10 + e)
        && matches!(j * 10 + k, 1..=48 | 51 | 52 | 70 | 80..=83)
        && check == if rest == 10 { 1 } else { rest }
}

/// Bulgaria, EGN: a birthday whose month tells the century, MOD 11.
pub(in super::super) fn bulgaria_egn(value: &Compact) -> bool {
    let Some(digits) = value.digits::<10>() else { return false };
    let [y, z, m, n, d, e, .., check] = digits;
    is_date(y * 10 + z, (m * 10 + n) % 20, d * 10 + e)
        && weighted(&digits, &[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10 == check
}

/// Croatia, OIB: MOD 11,10.
pub(in super::super) fn croatia_oib(value: &Compact) -> bool {
    value.digits::<11>().is_some_and(|digits| {
        let [first, ..] = digits;
        mod_11_10(&digits) && digits.iter().any(|digit| *digit != first)
    })
}

/// Slovenia's EMŠO and the JMBG of its neighbours: a birthday with three digits of the year, a region, MOD 11.
pub(in super::super) fn slovenia_emso(value: &Compact) -> bool {
    let Some(digits) = value.digits::<13>() else { return false };
    let [d, e, m, n, x, y, z, .., check] = digits;
    matches!(x, 0 | 8 | 9)
        && is_date(y * 10 + z, m * 10 + n, d * 10 + e)
        && (11 - weighted(&digits, &[7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11) % 11 == check
}

/// Greece, AMKA: a birthday, Luhn.
pub(in super::super) fn greece_amka(value: &Compact) -> bool {
    value.digits::<11>().is_some_and(|digits| {
        let [d, e, m, n, y, z, ..] = digits;
        is_date(y * 10 + z, m * 10 + n, d * 10 + e) && luhn(&digits)
    })
}

/// Greece, AFM: powers of two, MOD 11.
pub(in super::super) fn greece_afm(value: &Compact) -> bool {
    value.digits::<9>().is_some_and(|digits| {
        let [.., check] = digits;
        weighted(&digits, &[256, 128, 64, 32, 16, 8, 4, 2]) % 11 % 10 == check && digits.iter().any(|digit| *digit != 0)
    })
}

/// Turkey, T.C. kimlik: two check digits.
pub(in super::super) fn turkey_tckn(value: &Compact) -> bool {
    let Some(digits) = value.digits::<11>() else { return false };
    let [a, .., tenth, eleventh] = digits;
    let (odd, even) = (weighted(&digits, &[1, 0, 1, 0, 1, 0, 1, 0, 1]), weighted(&digits, &[0, 1, 0, 1, 0, 1, 0, 1]));
    a != 0 && (odd * 7 + 10 * even - even) % 10 == tenth && (odd + even + tenth) % 10 == eleventh
}

/// Ukraine, RNOKPP: days since 1899, weights that begin with −1, MOD 11.
pub(in super::super) fn ukraine_rnokpp(value: &Compact) -> bool {
    value.digits::<10>().is_some_and(|digits| {
        let [.., check] = digits;
        weighted(&digits, &[10, 5, 7, 9, 4, 6, 10, 5, 7]) % 11 % 10 == check && digits.iter().any(|digit| *digit != 0)
    })
}

/// Russia, SNILS: weights 9 to 1, MOD 101.
pub(in super::super) fn russia_snils(value: &Compact) -> bool {
    value.digits::<11>().is_some_and(|digits| {
        let [.., k, l] = digits;
        let sum = weighted(&digits, &[9, 8, 7, 6, 5, 4, 3, 2, 1]);
        sum != 0 && sum % 101 % 100 == k * 10 + l
    })
}

/// Russia, INN of a person: two check digits, MOD 11.
pub(in super::super) fn russia_inn(value: &Compact) -> bool {
    value.digits::<12>().is_some_and(|digits| {
        let [.., eleventh, twelfth] = digits;
        weighted(&digits, &[7, 2, 4, 10, 3, 5, 9, 4, 6, 8]) % 11 % 10 == eleventh
            && weighted(&digits, &[3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8]) % 11 % 10 == twelfth
            && digits.iter().any(|digit| *digit != 0)
    })
}

/// Russia, OGRN of a firm (13 digits) and OGRNIP of a trader (15): kind, year, region, and the remainder of all that.
pub(in super::super) fn russia_ogrn(value: &Compact) -> bool {
    let holds = |digits: &[u32], kinds: &[u32], divisor: u64| {
        let Some((check, body)) = digits.split_last() else { return false };
        digits.first().is_some_and(|kind| kinds.contains(kind)) && number(body) % divisor % 10 == u64::from(*check)
    };
    value.digits::<13>().is_some_and(|digits| holds(&digits, &[1, 2, 5], 11))
        || value.digits::<15>().is_some_and(|digits| holds(&digits, &[3], 13))
}

#[cfg(test)]
mod tests {
    use super::super::hold;
    use super::*;

    #[test]
    fn the_nordics() {
        hold(sweden_personnummer, &["880320-0016", "19811218-9876", "811278-9873"], &["880320-0018", "881320-0016"]);
        hold(norway_fodselsnummer, &["151086 95088"], &["15108695077", "00000000000"]);
        hold(denmark_cpr, &["211062-5629"], &["511062-5629", "211362-5629", "211062-0000"]);
        hold(finland_hetu, &["131052-308T", "131052A308T"], &["131052-308U", "131352-308T"]);
        hold(iceland_kennitala, &["120174-3399"], &["120174-3389", "129974-3399"]);
    }

    #[test]
    fn the_baltics_and_poland() {
        hold(baltic_personal_code, &["36805280109", "33309240064"], &["36805280108", "36813280109"]);
        hold(latvia_personal_code, &["161175-19997"], &["161175-19990", "161375-19997"]);
        hold(poland_pesel, &["44051401359", "02070803628"], &["44051401358", "44131401359"]);
        hold(poland_nip, &["856-734-62-15"], &["856-734-62-16", "0000000000"]);
    }

    #[test]
    fn the_middle_and_the_balkans() {
        hold(czech_birth_number, &["710319/2745", "991231/5677", "855105/0002"], &["710319/2746", "711319/2745"]);
        hold(hungary_taj, &["111 111 110"], &["111111111"]);
        hold(hungary_tax_id, &["8071592153"], &["8071592154", "7071592153"]);
        hold(romania_cnp, &["1630615123457"], &["1630615123458", "1631315123457"]);
        hold(bulgaria_egn, &["7523169263", "8032056031"], &["7523169264", "7552A10004"]);
        hold(croatia_oib, &["33392005961"], &["33392005962", "00000000000"]);
        hold(slovenia_emso, &["0101006500006"], &["0101006500007", "0113006500006"]);
        hold(greece_amka, &["01013099997"], &["01013099999", "01133099997"]);
        hold(greece_afm, &["094259216"], &["123456781", "000000000"]);
        hold(turkey_tckn, &["17291716060", "10000000146"], &["17291716050", "07291716092"]);
    }

    #[test]
    fn the_east() {
        hold(ukraine_rnokpp, &["1759013776"], &["1759013770", "0000000000"]);
        hold(russia_snils, &["112-233-445 95"], &["112-233-445 96", "00000000000"]);
        hold(russia_ogrn, &["1047703821153", "304770382115735"], &["1047703821154", "4047703821153"]);
        hold(russia_inn, &["500100732259"], &["500100732260", "000000000000"]);
    }
}
