//! The Americas but the United States.

use super::super::compact::{Compact, digits, is_date, luhn, weighted};

/// Canada's social insurance number: Luhn, and a first digit that is given out.
pub(in super::super) fn canada_sin(value: &Compact) -> bool {
    value.digits::<9>().is_some_and(|digits| {
        let [first, ..] = digits;
        !matches!(first, 0 | 8) && luhn(&digits)
    })
}

/// Brazil's CPF: two check digits, MOD 11.
pub(in super::super) fn brazil_cpf(value: &Compact) -> bool {
    let Some(digits) = value.digits::<11>() else { return false };
    let [first, .., tenth, eleventh] = digits;
    digits.iter().any(|digit| *digit != first)
        && brazilian(weighted(&digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2])) == tenth
        && brazilian(weighted(&digits, &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2])) == eleventh
}

/// Brazil's CNPJ: two check digits, MOD 11. Since 2026 its first twelve characters may be letters, which count as their
/// ASCII code less 48.
pub(in super::super) fn brazil_cnpj(value: &Compact) -> bool {
    let Some(text) = value.chars::<14>() else { return false };
    let digits = text.map(|byte| u32::from(byte - b'0'));
    let [first, .., thirteenth, fourteenth] = digits;
    digits.iter().any(|digit| *digit != first)
        && brazilian(weighted(&digits, &[5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2])) == thirteenth
        && brazilian(weighted(&digits, &[6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2])) == fourteenth
}

fn brazilian(sum: u32) -> u32 {
    match sum % 11 {
        0 | 1 => 0,
        rest => 11 - rest,
    }
}

/// Argentina's CUIL and CUIT of persons: MOD 11.
pub(in super::super) fn argentina_cuil(value: &Compact) -> bool {
    let Some(digits) = value.digits::<11>() else { return false };
    let [a, b, .., check] = digits;
    matches!(a * 10 + b, 20 | 23..=27)
        && match 11 - weighted(&digits, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11 {
            11 => check == 0,
            // It is never given: the prefix becomes 23 or 24 instead.
            10 => false,
            rest => check == rest,
        }
}

/// Chile's RUT: MOD 11 with K for ten.
pub(in super::super) fn chile_rut(value: &Compact) -> bool {
    let Some((check, body)) = value.as_bytes().split_last() else { return false };
    if !matches!(body.len(), 7 | 8) || !body.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let weights = [2, 3, 4, 5, 6, 7, 2, 3];
    let sum: u32 = body.iter().rev().zip(weights).map(|(byte, weight)| u32::from(byte - b'0') * weight).sum();
    let stated = if *check == b'K' { Some(10) } else { char::from(*check).to_digit(10) };
    stated == Some((11 - sum % 11) % 11) && body.iter().any(|byte| Some(byte) != body.first())
}

/// Mexico's CURP: name, birthday, sex, state, and a check digit.
pub(in super::super) fn mexico_curp(value: &Compact) -> bool {
    const STATES: &[u8] = b"ASBCBSCCCSCHCLCMDFDGGRGTHGJCMCMNMSNENLNTOCPLQRQTSLSPSRTCTLTSVZYNZS";
    let Some(text) = value.chars::<18>() else { return false };
    let shaped = text.iter().zip(b"AAAA999999AAAAAAX9").all(|(byte, class)| match class {
        b'9' => byte.is_ascii_digit(),
        b'A' => byte.is_ascii_uppercase(),
        _ => true,
    });
    let [_, _, _, _, y, z, m, n, d, e, sex, s, t, _, _, _, _, check] = text;
    let state = STATES.chunks_exact(2).any(|state| state == [s, t]);
    let sum: Option<u32> = (2..=18).rev().zip(text).map(|(weight, byte)| Some(mexican(byte)? * weight)).sum();
    shaped
        && b"HMX".contains(&sex)
        && state
        && birthday([y, z, m, n, d, e])
        && sum.is_some_and(|sum| (10 - sum % 10) % 10 == u32::from(check.wrapping_sub(b'0')))
}

/// Mexico's RFC of a person: name, birthday, and three characters of which the last checks.
pub(in super::super) fn mexico_rfc(value: &Compact) -> bool {
    let Some(text) = value.chars::<13>() else { return false };
    let [a, b, c, d, y, z, m, n, e, f, _, _, check] = text;
    let sum: Option<u32> = (2..=13).rev().zip(text).map(|(weight, byte)| Some(mexican(byte)? * weight)).sum();
    let stated = if check == b'A' { Some(10) } else { char::from(check).to_digit(10) };
    [a, b, c, d].iter().all(u8::is_ascii_uppercase)
        && birthday([y, z, m, n, e, f])
        && sum.is_some_and(|sum| stated == Some((11 - sum % 11) % 11))
}

fn birthday(text: [u8; 6]) -> bool {
    digits::<6>(&text).is_some_and(|[y, z, m, n, d, e]| is_date(y * 10 + z, m * 10 + n, d * 10 + e))
}

/// The alphabet of both: digits, letters with & in RFC and Ñ in CURP between N and O, so that O and on count one more.
fn mexican(byte: u8) -> Option<u32> {
    let value = char::from(byte).to_digit(36)?;
    Some(if byte > b'N' { value + 1 } else { value })
}

/// Colombia's NIT: primes as weights, MOD 11.
pub(in super::super) fn colombia_nit(value: &Compact) -> bool {
    let Some(digits) = value.digits::<10>() else { return false };
    let [.., check] = digits;
    let sum = weighted(&digits, &[41, 37, 29, 23, 19, 17, 13, 7, 3]);
    let expected = match sum % 11 {
        rest @ (0 | 1) => rest,
        rest => 11 - rest,
    };
    check == expected && digits.iter().any(|digit| *digit != check)
}

/// Ecuador's cédula: a province, a third digit below six, Luhn.
pub(in super::super) fn ecuador_cedula(value: &Compact) -> bool {
    let Some(digits) = value.digits::<10>() else { return false };
    let [a, b, c, ..] = digits;
    matches!(a * 10 + b, 1..=24 | 30) && c < 6 && luhn(&digits)
}

/// The Dominican Republic's cédula: Luhn over eleven digits.
pub(in super::super) fn dominican_cedula(value: &Compact) -> bool {
    value.digits::<11>().is_some_and(|digits| luhn(&digits) && digits.iter().any(|digit| *digit != 0))
}

/// Uruguay's cédula: weights 2, 9, 8, 7, 6, 3, 4.
pub(in super::super) fn uruguay_ci(value: &Compact) -> bool {
    value.digits::<8>().is_some_and(|digits| {
        let [first, .., check] = digits;
        (10 - weighted(&digits, &[2, 9, 8, 7, 6, 3, 4]) % 10) % 10 == check && digits.iter().any(|d| *d != first)
    })
}

#[cfg(test)]
mod tests {
    use super::super::hold;
    use super::*;

    #[test]
    fn canada_and_brazil() {
        hold(canada_sin, &["130 692 544", "193-456-787"], &["130 692 545", "046 454 286"]);
        hold(brazil_cpf, &["390.533.447-05", "52998224725"], &["390.533.447-06", "111.111.111-11"]);
        hold(brazil_cnpj, &["16.727.230/0001-97", "12.ABC.345/01DE-35"], &["16.727.230/0001-98", "00000000000000"]);
    }

    #[test]
    fn the_south() {
        hold(argentina_cuil, &["20-05536168-2"], &["20-05536168-3", "30-05536168-2"]);
        hold(chile_rut, &["12.531.909-2", "76086428-5", "10.000.013-K"], &["12531909-3", "11111111-1"]);
        hold(colombia_nit, &["213.123.432-1", "860034313-7"], &["2131234322"]);
        hold(ecuador_cedula, &["171430710-3"], &["1714307104", "9914307103"]);
        hold(dominican_cedula, &["00113918205"], &["00113918204", "00000000000"]);
        hold(uruguay_ci, &["1.234.567-2"], &["1.234.567-3", "00000000"]);
    }

    #[test]
    fn mexico() {
        hold(mexico_curp, &["BOXW310820HNERXN09"], &["BOXW310820HNERXN08", "BOXW311320HNERXN09", "BOXW310820HXXRXN09"]);
        hold(mexico_rfc, &["GODE 561231 GR8"], &["GODE561231GR9", "GODE561331GR8"]);
    }
}
