//! Passports and identity cards as machines read them: ICAO 9303, parts 4 to 6.

use std::ops::Range;

use memchr::memmem;

use super::super::finding::Confidence;
use super::Match;
use super::table::MRZ;

/// Tells each machine-readable zone whose check digits hold.
pub(super) fn find(text: &[u8], found: &mut dyn FnMut(Match)) {
    let mut done = 0;
    for filler in memmem::find_iter(text, b"<<") {
        if filler < done {
            continue;
        }
        let line = line_about(text, filler, done);
        done = line.end;
        let next = next_line(text, line.end);
        // The names are on the first line of a passport and what is checked on the second; on a card it is otherwise.
        let checked =
            [line.clone(), next].into_iter().find(|line| line_holds(text.get(line.clone()).unwrap_or_default()));
        if let Some(checked) = checked {
            done = checked.end;
            let range = line.start..checked.end;
            let example = memmem::find(text.get(range.clone()).unwrap_or_default(), b"UTO").is_some();
            found(Match { rule: MRZ.id, range, confidence: Confidence::Confirmed, example });
        }
    }
}

/// The longest line, of passports.
const LONGEST: usize = 44;

fn line_about(text: &[u8], at: usize, floor: usize) -> Range<usize> {
    let before = text.get(floor..at).unwrap_or_default();
    let start = at - before.iter().rev().take(LONGEST).take_while(|byte| is_of_zone(**byte)).count();
    start..end_of_line(text, start)
}

/// The line after, behind a line's end however it is written.
fn next_line(text: &[u8], end: usize) -> Range<usize> {
    let rest = text.get(end..).unwrap_or_default();
    let gap = match rest {
        [b'\\', b'r', b'\\', b'n', ..] => 4,
        [b'\\', b'n', ..] | [b'\r', b'\n', ..] => 2,
        [b'\n' | b' ', ..] => 1,
        _ => 0,
    };
    let start = end + gap;
    start..if gap > 0 { end_of_line(text, start) } else { start }
}

fn end_of_line(text: &[u8], start: usize) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    start + rest.iter().take(LONGEST + 1).take_while(|byte| is_of_zone(**byte)).count()
}

fn is_of_zone(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'<'
}

/// The line with the dates: its check digits hold.
fn line_holds(line: &[u8]) -> bool {
    let field = |range: Range<usize>, check: usize| {
        line.get(range).zip(line.get(check)).is_some_and(|(field, check)| {
            let sum = field.iter().zip([7, 3, 1].into_iter().cycle()).map(|(byte, weight)| value(*byte) * weight);
            char::from(*check).to_digit(10) == Some(sum.sum::<u32>() % 10)
        })
    };
    let dates =
        |birth: usize, expiry: usize| field(birth..birth + 6, birth + 6) && field(expiry..expiry + 6, expiry + 6);
    match line.len() {
        // Passports and visas: number, birthday, expiry.
        44 | 36 => field(0..9, 9) && dates(13, 21),
        // The first line of a card has the number, its second the dates.
        30 => line.first().is_some_and(u8::is_ascii_digit) && dates(0, 8),
        _ => false,
    }
}

fn value(byte: u8) -> u32 {
    char::from(byte).to_digit(36).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<&str> {
        let mut found = Vec::new();
        find(text.as_bytes(), &mut |new| found.push(&text[new.range]));
        found
    }

    #[test]
    fn the_specimens_of_icao_are_found() {
        let names = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<";
        let line = "L898902C36UTO7408122F1204159ZE184226B<<<<<10";
        assert_eq!(all(&format!("scan: {names}\n{line}.")), [format!("{names}\n{line}")]);
        assert_eq!(all(&format!("{names}\\n{line}")).len(), 1);
        assert_eq!(all(line), [line]);
        let card = "D231458907UTO7408122F1204159<<<<<<<6";
        assert_eq!(all(card), [card]);
        let dates = "7408122F1204159UTO<<<<<<<<<<<6";
        assert_eq!(all(dates), [dates]);
    }

    #[test]
    fn a_shift_is_no_passport() {
        for text in ["1 << 4", "cout << \"a\" << b;", "P<<<", "L898902C37UTO7408122F1204159ZE184226B<<<<<10", "<<"] {
            assert!(all(text).is_empty(), "{text}");
        }
    }
}
