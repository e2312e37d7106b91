//! What one character looks like.

use smallvec::SmallVec;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{decompose_canonical, is_combining_mark};
use unicode_security::confusable_detection::skeleton;

/// What a character looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// Itself.
    Ascii(char),
    /// Nothing: it has no width, or only says how others are shown.
    Nothing,
    /// Something on the letter before.
    Mark,
    /// What it is another form of (UAX #15, NFKC), or the digit that it is.
    Text(Ascii),
    /// Another letter (UTS #39), which it is not.
    Like(char),
    /// The same, but less so.
    Faintly(char),
    /// A letter of ASCII with something on it.
    Accented(char),
    /// Itself, and not ASCII.
    Other,
}

/// A few characters of ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ascii(SmallVec<[u8; 8]>);

impl Ascii {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn bytes(&self) -> impl Iterator<Item = u8> {
        self.0.iter().copied()
    }

    fn one(c: char) -> Self {
        Self(c.encode_utf8(&mut [0; 4]).bytes().collect())
    }
}

/// What it looks like.
pub(super) fn of(c: char) -> Look {
    match c {
        '\0'..='\x1f' | '\x7f'..='\u{9f}' => Look::Nothing,
        ' '..='~' => Look::Ascii(c),
        c if is_tag(c) => char::from_u32(u32::from(c) - 0xe_0000).map_or(Look::Nothing, |c| Look::Text(Ascii::one(c))),
        c if is_nothing(c) => Look::Nothing,
        // Most of what is written in them: neither looks like ASCII.
        '\u{3040}'..='\u{318f}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{1f300}'..='\u{1faff}' => {
            Look::Other
        }
        '\u{400}'..='\u{52f}' => cyrillic(c),
        '\u{2010}'..='\u{2015}' | '\u{2043}' | '\u{2212}' | '\u{fe58}' => Look::Text(Ascii::one('-')),
        '\u{2018}'..='\u{201f}' | '\u{2026}' => Look::Other,
        c if is_combining_mark(c) => Look::Mark,
        c => {
            digit(c).or_else(|| letter(c)).or_else(|| compatible(c)).or_else(|| accented(c)).unwrap_or_else(|| like(c))
        }
    }
}

/// Tags (Unicode §23.9) are ASCII that is not shown.
pub(super) fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0020}'..='\u{e007e}')
}

/// Default-ignorable code points (Unicode §5.21), and blanks that are letters.
fn is_nothing(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// A decimal digit of another script.
fn digit(c: char) -> Option<Look> {
    let code = u32::from(c);
    let at = ZEROS.partition_point(|zero| *zero <= code).checked_sub(1)?;
    let value = code.checked_sub(*ZEROS.get(at)?).filter(|value| *value < 10)?;
    char::from_digit(value, 10).map(|c| Look::Text(Ascii::one(c)))
}

/// The zeros of the runs of ten that have General_Category=Nd in Unicode 16 and no compatibility mapping.
const ZEROS: [u32; 60] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20,
    0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0,
    0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450,
    0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50,
    0x1e140, 0x1e2f0, 0x1e4f0, 0x1e5f1, 0x1e950,
];

/// Letters in boxes, circles and brackets that are symbols to Unicode, and the halves of flags.
fn letter(c: char) -> Option<Look> {
    let runs: [(char, char); 5] =
        [('\u{249c}', 'a'), ('\u{1f110}', 'A'), ('\u{1f150}', 'A'), ('\u{1f170}', 'A'), ('\u{1f1e6}', 'A')];
    let within = |(first, letter): &(char, char)| {
        let index = u32::from(c).checked_sub(u32::from(*first)).filter(|index| *index < 26)?;
        char::from_u32(u32::from(*letter) + index).map(Look::Like)
    };
    runs.iter().find_map(within)
}

fn compatible(c: char) -> Option<Look> {
    let mut text = Ascii(SmallVec::new());
    for c in std::iter::once(c).nfkc().filter(|c| !is_nothing(*c)) {
        text.0.push(u8::try_from(c).ok().filter(|byte| matches!(byte, b' '..=b'~'))?);
    }
    (!text.0.is_empty()).then_some(Look::Text(text))
}

fn accented(c: char) -> Option<Look> {
    let mut base = None;
    decompose_canonical(c, |part| {
        base.get_or_insert(part);
    });
    base.filter(|base| *base != c && base.is_ascii_alphanumeric()).map(Look::Accented)
}

/// By the tables of UTS #39, and where these make no difference between `I` and `l`, by eye.
fn like(c: char) -> Look {
    match c {
        '\u{399}' | '\u{406}' | '\u{4c0}' | '\u{13c6}' | '\u{a4f2}' => return Look::Like('I'),
        'κ' | 'ĸ' => return Look::Like('k'),
        'τ' => return Look::Faintly('t'),
        'η' => return Look::Faintly('n'),
        _ => {}
    }
    let mut buffer = [0; 4];
    let mut shown = skeleton(c.encode_utf8(&mut buffer)).filter(|c| !is_combining_mark(*c));
    match (shown.next(), shown.next()) {
        (Some(other), None) if other.is_ascii_alphanumeric() => Look::Like(other),
        _ => Look::Other,
    }
}

fn cyrillic(c: char) -> Look {
    let like = match c {
        'А' => 'A',
        'В' => 'B',
        'С' | 'Ϲ' => 'C',
        'Е' | 'Ѐ' | 'Ё' => 'E',
        'Ԍ' => 'G',
        'Н' => 'H',
        'І' | 'Ї' | 'Ӏ' => 'I',
        'Ј' => 'J',
        'К' | 'Ќ' => 'K',
        'М' => 'M',
        'О' => 'O',
        'Р' => 'P',
        'Ԛ' => 'Q',
        'Ѕ' => 'S',
        'Т' => 'T',
        'Ѵ' => 'V',
        'Ԝ' => 'W',
        'Х' => 'X',
        'У' | 'Ү' => 'Y',
        'З' | 'Ӡ' => '3',
        'а' => 'a',
        'Ь' | 'Ƅ' => 'b',
        'с' => 'c',
        'ԁ' => 'd',
        'е' | 'ѐ' | 'ё' | 'ҽ' => 'e',
        'һ' | 'ћ' => 'h',
        'і' | 'ї' => 'i',
        'ј' => 'j',
        'ӏ' => 'l',
        'о' => 'o',
        'р' => 'p',
        'ԛ' => 'q',
        'ѕ' => 's',
        'ѵ' | 'ѷ' => 'v',
        'ԝ' | 'ѡ' => 'w',
        'х' => 'x',
        'у' | 'ү' => 'y',
        'в' | 'ь' => return Look::Faintly('b'),
        'з' => return Look::Faintly('3'),
        'к' | 'ќ' => return Look::Faintly('k'),
        'м' => return Look::Faintly('m'),
        'н' => return Look::Faintly('h'),
        'п' => return Look::Faintly('n'),
        'г' => return Look::Faintly('r'),
        'т' => return Look::Faintly('t'),
        'и' => return Look::Faintly('u'),
        'б' => return Look::Faintly('6'),
        c if is_combining_mark(c) => return Look::Mark,
        _ => return Look::Other,
    };
    Look::Like(like)
}
