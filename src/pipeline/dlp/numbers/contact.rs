//! How somebody is reached: e-mail addresses and telephone numbers. Nobody asks for these by default: they are looked
//! for apart.

use std::ops::Range;
use std::sync::LazyLock;

use super::super::escapes;
use super::super::finding::Confidence;
use super::Match;
use super::context::Words;
use super::scan::Digits;
use super::table::{EMAIL, PHONE};

/// Tells each address and each number, addresses first.
pub fn find(text: &[u8], found: &mut dyn FnMut(Match)) {
    for at in memchr::memchr_iter(b'@', text) {
        if let Some(email) = email(text, at) {
            found(email);
        }
    }
    let (mut places, mut at) = (Digits::of(text), 0);
    while let Some(digits) = places.next(at) {
        let run = run_about(text, digits, at);
        if let Some(phone) = phone(text, &run) {
            found(phone);
        }
        at = run.end.max(digits + 1);
    }
}

/// RFC 5322's dot-atom in its usual letters, and a host with at least two labels.
fn email(text: &[u8], at: usize) -> Option<Match> {
    const MOST_LOCAL: usize = 64;
    const MOST_HOST: usize = 255;
    let before = text.get(..at)?;
    let of_local = |byte: &u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte);
    let length = before.iter().rev().take(MOST_LOCAL + 1).take_while(|byte| of_local(byte)).count();
    let length = at - escapes::past_letter(text, at - length);
    let local = before.get(at - length..)?;
    let rest = text.get(at + 1..)?;
    let of_host = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    let host = rest.get(..rest.iter().take(MOST_HOST).take_while(|byte| of_host(byte)).count())?;
    // The point that ends a sentence is not of it.
    let host = host.strip_suffix(b".").unwrap_or(host);
    let (names, top) = host.split_at_checked(host.iter().rposition(|byte| *byte == b'.')?)?;
    let top = top.get(1..)?;
    let fits = (1..=MOST_LOCAL).contains(&length)
        && !local.starts_with(b".")
        && !local.ends_with(b".")
        && names.split(|byte| *byte == b'.').all(|label| !label.is_empty() && !label.starts_with(b"-"))
        && (2..=24).contains(&top.len())
        && top.iter().all(u8::is_ascii_alphabetic)
        && ![&b"png"[..], b"jpg", b"jpeg", b"gif", b"svg", b"webp", b"js", b"css", b"ts", b"json", b"local"]
            .contains(&top);
    let end = at + 1 + host.len();
    // `git@host:path` is a place, and so is what stands in an URL behind its scheme.
    let place = (local == b"git" && text.get(end) == Some(&b':')) || in_authority(text.get(..at - length)?);
    if !fits || place {
        return None;
    }
    let of_nobody = [&b"noreply"[..], b"no-reply", b"donotreply", b"info", b"support", b"admin", b"postmaster"];
    let confidence = if of_nobody.contains(&local) { Confidence::Medium } else { Confidence::High };
    // RFC 2606.
    let reserved = [&b"example.com"[..], b"example.org", b"example.net"];
    let example =
        reserved.iter().any(|name| host.ends_with(name)) || [&b"example"[..], b"test", b"invalid"].contains(&top);
    Some(Match { rule: EMAIL.id, range: at - length..end, confidence, example })
}

fn in_authority(before: &[u8]) -> bool {
    const LONGEST: usize = 96;
    let word = before.iter().rev().take(LONGEST).take_while(|byte| !b" \t\r\n\"'<>/".contains(byte)).count();
    before.get(..before.len() - word).is_some_and(|before| before.ends_with(b"//"))
}

/// Digits and what stands between those of a telephone number.
fn run_about(text: &[u8], at: usize, floor: usize) -> Range<usize> {
    let of_run = |byte: &u8| byte.is_ascii_digit() || b" -./()+".contains(byte);
    let before = text.get(floor..at).unwrap_or_default();
    let start = at - before.iter().rev().take_while(|byte| of_run(byte)).count();
    let rest = text.get(at..).unwrap_or_default();
    let end = at + rest.iter().take_while(|byte| of_run(byte)).count();
    let run = text.get(start..end).unwrap_or_default();
    let leading = run.iter().take_while(|byte| !byte.is_ascii_digit() && !b"(+".contains(byte)).count();
    let trailing = run.iter().rev().take_while(|byte| !byte.is_ascii_digit()).count();
    start + leading..end - trailing
}

fn phone(text: &[u8], run: &Range<usize>) -> Option<Match> {
    // The longest with an international prefix and a separator between any two (E.164 has 15 digits).
    const LONGEST: usize = 32;
    let value = text.get(run.clone())?;
    let beside = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_@:$#%".contains(byte));
    let before = text.get(..run.start)?;
    // A colon is before many, but behind none.
    let left = before.last().filter(|byte| **byte != b':' && !escapes::ends_in_one(before));
    let doubled = value.windows(2).any(|pair| pair.iter().all(|byte| b" -./".contains(byte)));
    if value.len() > LONGEST || beside(left) || beside(text.get(run.end)) || doubled {
        return None;
    }
    let digits: smallvec::SmallVec<[u8; LONGEST]> =
        value.iter().filter(|byte| byte.is_ascii_digit()).copied().collect();
    let international = value.starts_with(b"+") || value.starts_with(b"(+");
    let pluses = value.iter().filter(|byte| **byte == b'+').count();
    let confidence = if international {
        let known = match digits.as_slice() {
            [b'0', ..] => false,
            [b'1', rest @ ..] => is_north_american(rest),
            digits => (8..=15).contains(&digits.len()),
        };
        (known && pluses == 1).then_some(Confidence::High)?
    } else if pluses > 0 {
        return None;
    } else {
        let bare = digits.strip_prefix(b"1").unwrap_or(&digits);
        let written = value.iter().filter(|byte| !byte.is_ascii_digit());
        let american = is_north_american(bare) && is_grouped(value);
        let certain =
            american && written.clone().all(|byte| b"()- ".contains(byte)) && written.clone().any(|byte| *byte == b'-');
        let dated = value.iter().filter(|byte| **byte == b'/').count() == 2;
        if certain || ((7..=15).contains(&digits.len()) && !dated && is_named(before)) {
            Confidence::High
        } else if american {
            Confidence::Medium
        } else {
            return None;
        }
    };
    let national = digits.strip_prefix(b"1").unwrap_or(&digits);
    // The numbers that the North American plan and Ofcom keep for stories.
    let example = matches!(national, [_, _, _, b'5', b'5', b'5', b'0', b'1', _, _])
        || [&b"447700900"[..], b"07700900", b"4420794609", b"0207946"].iter().any(|kept| digits.starts_with(kept));
    Some(Match { rule: PHONE.id, range: run.clone(), confidence, example })
}

/// Three digits from 200, three from 200, four.
fn is_north_american(digits: &[u8]) -> bool {
    matches!(digits, [b'2'..=b'9', _, _, b'2'..=b'9', _, _, _, _, _, _])
}

/// Groups of 3, 3 and 4, perhaps with a 1 before.
fn is_grouped(value: &[u8]) -> bool {
    let groups: smallvec::SmallVec<[usize; 8]> =
        value.split(|byte| !byte.is_ascii_digit()).map(<[u8]>::len).filter(|length| *length > 0).collect();
    matches!(groups.as_slice(), [3, 3, 4] | [1, 3, 3, 4])
}

/// Whether a word before says that it is a telephone number.
fn is_named(before: &[u8]) -> bool {
    const FAR: usize = 24;
    static NAMES: LazyLock<Vec<u64>> = LazyLock::new(|| {
        let words = [
            "phone",
            "tel",
            "telephone",
            "mobile",
            "mob",
            "cell",
            "call",
            "fax",
            "whatsapp",
            "sms",
            "handy",
            "telefon",
            "telefono",
            "teléfono",
            "telefone",
            "celular",
            "movil",
            "móvil",
            "portable",
            "tél",
            "telefoon",
            "telefonnummer",
            "handynummer",
            "msisdn",
            "电话",
            "手机",
            "電話",
            "携帯",
            "전화",
            "телефон",
        ];
        words.iter().flat_map(|word| Words::of(word.as_bytes())).map(|word| word.hash).collect()
    });
    Words::of(before.get(before.len().saturating_sub(FAR)..).unwrap_or_default()).any(|word| NAMES.contains(&word.hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Match> {
        let mut found = Vec::new();
        find(text.as_bytes(), &mut |new| found.push(new));
        found
    }

    #[test]
    fn all_of_it_is_told_and_no_more() {
        let text = "Call +1 (415) 867-5309, or mail bob@acme.io.";
        let found: Vec<_> = all(text).into_iter().map(|found| &text[found.range]).collect();
        assert_eq!(found, ["bob@acme.io", "+1 (415) 867-5309"]);
    }

    #[test]
    fn names_and_numbers_that_are_kept_for_examples_are_examples() {
        for (text, example) in
            [("a@example.com", true), ("a@acme.com", false), ("212-555-0142", true), ("212-555-0242", false)]
        {
            assert_eq!(all(text).first().map(|found| found.example), Some(example), "{text}");
        }
    }
}
