//! Accounts and those who hold them: IBAN (ISO 13616) and the routing numbers of the American Bankers Association.

use super::compact::{Compact, base36, digits, weighted};

/// Each country of the IBAN registry and its BBAN: counts of `n` digits, `a` letters, `c` either.
const REGISTRY: [(&[u8; 2], &str); 89] = [
    (b"AD", "8n12c"),
    (b"AE", "19n"),
    (b"AL", "8n16c"),
    (b"AT", "16n"),
    (b"AZ", "4a20c"),
    (b"BA", "16n"),
    (b"BE", "12n"),
    (b"BG", "4a6n8c"),
    (b"BH", "4a14c"),
    (b"BI", "23n"),
    (b"BR", "23n1a1c"),
    (b"BY", "4c4n16c"),
    (b"CH", "5n12c"),
    (b"CR", "18n"),
    (b"CY", "8n16c"),
    (b"CZ", "20n"),
    (b"DE", "18n"),
    (b"DJ", "23n"),
    (b"DK", "14n"),
    (b"DO", "4c20n"),
    (b"EE", "16n"),
    (b"EG", "25n"),
    (b"ES", "20n"),
    (b"FI", "14n"),
    (b"FK", "2a12n"),
    (b"FO", "14n"),
    (b"FR", "10n11c2n"),
    (b"GB", "4a14n"),
    (b"GE", "2a16n"),
    (b"GI", "4a15c"),
    (b"GL", "14n"),
    (b"GR", "7n16c"),
    (b"GT", "4c20c"),
    (b"HN", "4a20n"),
    (b"HR", "17n"),
    (b"HU", "24n"),
    (b"IE", "4a14n"),
    (b"IL", "19n"),
    (b"IQ", "4a15n"),
    (b"IS", "22n"),
    (b"IT", "1a10n12c"),
    (b"JO", "4a4n18c"),
    (b"KW", "4a22c"),
    (b"KZ", "3n13c"),
    (b"LB", "4n20c"),
    (b"LC", "4a24c"),
    (b"LI", "5n12c"),
    (b"LT", "16n"),
    (b"LU", "3n13c"),
    (b"LV", "4a13c"),
    (b"LY", "21n"),
    (b"MC", "10n11c2n"),
    (b"MD", "20c"),
    (b"ME", "18n"),
    (b"MK", "3n10c2n"),
    (b"MN", "16n"),
    (b"MR", "23n"),
    (b"MT", "4a5n18c"),
    (b"MU", "4a19n3a"),
    (b"NI", "4a20n"),
    (b"NL", "4a10n"),
    (b"NO", "11n"),
    (b"OM", "3n16c"),
    (b"PK", "4a16c"),
    (b"PL", "24n"),
    (b"PS", "4a21c"),
    (b"PT", "21n"),
    (b"QA", "4a21c"),
    (b"RO", "4a16c"),
    (b"RS", "18n"),
    (b"RU", "14n15c"),
    (b"SA", "2n18c"),
    (b"SC", "4a20n3a"),
    (b"SD", "14n"),
    (b"SE", "20n"),
    (b"SI", "15n"),
    (b"SK", "20n"),
    (b"SM", "1a10n12c"),
    (b"SO", "19n"),
    (b"ST", "21n"),
    (b"SV", "4a20n"),
    (b"TL", "19n"),
    (b"TN", "20n"),
    (b"TR", "6n16c"),
    (b"UA", "6n19c"),
    (b"VA", "18n"),
    (b"VG", "4a16n"),
    (b"XK", "16n"),
    (b"YE", "4a4n18c"),
];

/// The characters of an IBAN of this country. None if the country has none.
pub(in crate::pipeline::dlp) fn iban_length(country: [u8; 2]) -> Option<usize> {
    bban(country).map(|shape| 4 + counts(shape).map(|(count, _)| count).sum::<usize>())
}

/// ISO 13616: a country's length and shape, and ISO 7064 MOD 97-10 over all of it.
pub(super) fn iban(value: &Compact) -> bool {
    let text = value.as_bytes();
    let (Some((head, body)), Some(country)) = (text.split_at_checked(4), text.first_chunk::<2>()) else { return false };
    let Some(shape) = bban(*country) else { return false };
    let mut rest = body;
    for (count, class) in counts(shape) {
        let Some((part, after)) = rest.split_at_checked(count) else { return false };
        let fits = part.iter().all(|byte| match class {
            b'n' => byte.is_ascii_digit(),
            b'a' => byte.is_ascii_uppercase(),
            _ => byte.is_ascii_alphanumeric(),
        });
        if !fits {
            return false;
        }
        rest = after;
    }
    // Check digits are 02 to 98; an account of zeros alone is a placeholder.
    let checked = head.get(2..).and_then(digits::<2>).is_some_and(|check| check != [0, 0]);
    let remainder = body.iter().chain(head).try_fold(0u32, |sum, byte| {
        let value = base36(*byte)?;
        Some(if value < 10 { (sum * 10 + value) % 97 } else { (sum * 100 + value) % 97 })
    });
    rest.is_empty() && checked && remainder == Some(1) && body.iter().any(|byte| (b'1'..=b'9').contains(byte))
}

/// The routing number of a US bank: the ranges of the Federal Reserve districts, and weights 3, 7, 1.
pub(super) fn aba_routing(value: &Compact) -> bool {
    let Some(digits) = value.digits::<9>() else { return false };
    let [first, second, ..] = digits;
    let district = first * 10 + second;
    matches!(district, 1..=12 | 21..=32 | 61..=72 | 80)
        && weighted(&digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)
}

fn bban(country: [u8; 2]) -> Option<&'static str> {
    let at = REGISTRY.binary_search_by(|(name, _)| (*name).cmp(&country)).ok()?;
    REGISTRY.get(at).map(|(_, shape)| *shape)
}

/// `4a14n` as (4, a), (14, n).
fn counts(shape: &str) -> impl Iterator<Item = (usize, u8)> + '_ {
    shape.split_inclusive(|c: char| c.is_ascii_lowercase()).filter_map(|part| {
        let (class, count) = part.as_bytes().split_last()?;
        Some((count.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')), *class))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(check: fn(&Compact) -> bool, text: &str) -> bool {
        Compact::of(text.as_bytes()).is_some_and(|value| check(&value))
    }

    #[test]
    fn the_registrys_own_examples_hold() {
        let published = [
            "GB29 NWBK 6016 1331 9268 19",
            "DE89 3704 0044 0532 0130 00",
            "FR14 2004 1010 0505 0001 3M02 606",
            "NL91ABNA0417164300",
            "ES9121000418450200051332",
            "IT60X0542811101000000123456",
            "BE68539007547034",
            "CH9300762011623852957",
            "PL61109010140000071219812874",
            "SE4550000000058398257466",
            "NO9386011117947",
            "MT84MALT011000012345MTLCAST001S",
            "SA0380000000608010167519",
            "BR1800360305000010009795493C1",
            "LC55HEMM000100010012001200023015",
            "gb29nwbk60161331926819",
        ];
        for text in published {
            assert!(holds(iban, text), "{text}");
        }
    }

    #[test]
    fn a_wrong_check_length_shape_or_country_is_no_iban() {
        for text in [
            "GB28NWBK60161331926819",
            "GB29NWBK6016133192681",
            "GB29123460161331926819",
            "ZZ29NWBK60161331926819",
            "DE89",
        ] {
            assert!(!holds(iban, text), "{text}");
        }
    }

    #[test]
    fn the_registry_is_in_order_and_its_lengths_are_right() {
        assert!(REGISTRY.is_sorted_by_key(|(country, _)| **country));
        for (country, length) in [(b"NO", 15), (b"DE", 22), (b"LC", 32), (b"RU", 33), (b"MT", 31)] {
            assert_eq!(iban_length(*country), Some(length));
        }
    }

    #[test]
    fn routing_numbers_are_checked_and_in_range() {
        for text in ["021000021", "011401533", "121000358"] {
            assert!(holds(aba_routing, text), "{text}");
        }
        for text in ["021000022", "991000028", "000000000"] {
            assert!(!holds(aba_routing, text), "{text}");
        }
    }
}
