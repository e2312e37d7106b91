//! What a pattern says of its matches. The patterns that are built in are read when this is compiled, not when it starts:
//! this file is part of the build too, and uses nothing else of the crate.

use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Class, Hir, HirKind};

/// What a pattern says of its matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The fewest bytes of a match; none where nothing matches.
    pub least: Option<usize>,
    /// The most bytes of a match; none where it has no bound.
    pub most: Option<usize>,
    /// How many groups there are but the whole.
    pub groups: usize,
    /// True if every match begins with one of the keywords, in any case of letters.
    pub begins_with_keyword: bool,
    /// True if a match may have blanks or line ends in it.
    pub has_blanks: bool,
    /// How many bytes every match begins with that all are [`is_token`], where they are not only small letters.
    pub solid: usize,
    /// True if a match has nothing else in it.
    pub whole: bool,
    /// True if there is a `@` in every match.
    pub has_at: bool,
}

/// What tokens are made of: what stands in one without an end of it being in sight.
pub const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+' | b'/' | b'=' | b'~' | b':')
}

impl Shape {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Why it is none.
    pub fn of(pattern: &str, keywords: &[String]) -> Result<Self, String> {
        let parsed = parse(pattern)?;
        let lead = Lead::of(&parsed);
        Ok(Self {
            least: parsed.properties().minimum_len(),
            most: parsed.properties().maximum_len(),
            groups: parsed.properties().explicit_captures_len(),
            begins_with_keyword: begins_with_keyword(&parsed, keywords),
            has_blanks: may_have(&parsed, b" \n"),
            solid: lead.solid(),
            whole: lead.whole,
            has_at: must_have(&parsed, b'@'),
        })
    }
}

/// Reads a pattern, of bytes.
///
/// # Errors
/// Why it is none, in one line.
pub fn parse(pattern: &str) -> Result<Hir, String> {
    let mut parser = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build();
    parser.parse(pattern).map_err(|error| match error {
        // The whole of it draws the pattern again, over several lines.
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        error => error.to_string(),
    })
}

/// Whether a match can begin with nothing but one of the keywords, in any case of letters.
fn begins_with_keyword(pattern: &Hir, keywords: &[String]) -> bool {
    let mut extractor = Extractor::new();
    // Two hexadecimal digits, or one letter of base64, may be part of a keyword.
    extractor.limit_class(64).limit_total(512);
    let prefixes = extractor.extract(pattern);
    let begins = |literal: &[u8]| {
        keywords.iter().any(|keyword| {
            literal.get(..keyword.len()).is_some_and(|start| start.eq_ignore_ascii_case(keyword.as_bytes()))
        })
    };
    prefixes.literals().is_some_and(|found| !found.is_empty() && found.iter().all(|l| begins(l.as_bytes())))
}

/// Whether this byte stands in every match.
fn must_have(pattern: &Hir, byte: u8) -> bool {
    match pattern.kind() {
        HirKind::Literal(literal) => literal.0.contains(&byte),
        HirKind::Repetition(repetition) => repetition.min > 0 && must_have(&repetition.sub, byte),
        HirKind::Capture(capture) => must_have(&capture.sub, byte),
        HirKind::Concat(parts) => parts.iter().any(|part| must_have(part, byte)),
        HirKind::Alternation(parts) => parts.iter().all(|part| must_have(part, byte)),
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(_) => false,
    }
}

/// Whether one of these bytes may stand in a match.
fn may_have(pattern: &Hir, bytes: &[u8]) -> bool {
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => false,
        HirKind::Literal(literal) => literal.0.iter().any(|byte| bytes.contains(byte)),
        HirKind::Class(Class::Bytes(class)) => {
            class.iter().any(|range| bytes.iter().any(|byte| (range.start()..=range.end()).contains(byte)))
        }
        HirKind::Class(Class::Unicode(class)) => class
            .iter()
            .any(|range| bytes.iter().any(|byte| (range.start()..=range.end()).contains(&char::from(*byte)))),
        HirKind::Repetition(repetition) => may_have(&repetition.sub, bytes),
        HirKind::Capture(capture) => may_have(&capture.sub, bytes),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(|part| may_have(part, bytes)),
    }
}

/// What the matches of a pattern begin with.
#[derive(Clone, Copy)]
struct Lead {
    /// So many bytes at the least that are [`is_token`].
    least: usize,
    /// True if there is nothing else in a match.
    whole: bool,
    /// True if one of them may be a digit or a capital.
    varied: bool,
}

impl Lead {
    const NOTHING: Self = Self { least: 0, whole: true, varied: false };

    fn of(pattern: &Hir) -> Self {
        match pattern.kind() {
            HirKind::Empty | HirKind::Look(_) => Self::NOTHING,
            HirKind::Literal(literal) => {
                let least = literal.0.iter().take_while(|byte| is_token(**byte)).count();
                Self { least, whole: least == literal.0.len(), varied: false }
            }
            HirKind::Class(Class::Bytes(class)) => {
                Self::one(class.iter().map(|range| (char::from(range.start()), char::from(range.end()))))
            }
            HirKind::Class(Class::Unicode(class)) => Self::one(class.iter().map(|range| (range.start(), range.end()))),
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Repetition(repetition) => {
                let once = Self::of(&repetition.sub);
                let times = if once.whole { repetition.min as usize } else { repetition.min.min(1) as usize };
                Self { least: once.least * times, varied: once.varied && times > 0, ..once }
            }
            HirKind::Concat(parts) => {
                let mut all = Self::NOTHING;
                for part in parts.iter().map(Self::of) {
                    all.least += part.least;
                    all.varied |= part.varied;
                    all.whole = part.whole;
                    if !part.whole {
                        break;
                    }
                }
                all
            }
            HirKind::Alternation(parts) => {
                let either = |one: Self, other: Self| Self {
                    least: one.least.min(other.least),
                    whole: one.whole && other.whole,
                    varied: one.varied && other.varied,
                };
                parts.iter().map(Self::of).reduce(either).unwrap_or(Self::NOTHING)
            }
        }
    }

    /// Of one character of these.
    fn one(ranges: impl Iterator<Item = (char, char)>) -> Self {
        let mut lead = Self { least: 1, whole: true, varied: false };
        for c in ranges.flat_map(|(first, last)| first..=last) {
            if !u8::try_from(c).is_ok_and(is_token) {
                return Self { least: 0, whole: false, varied: false };
            }
            lead.varied |= c.is_ascii_digit() || c.is_ascii_uppercase();
        }
        lead
    }

    fn solid(self) -> usize {
        if self.varied { self.least } else { 0 }
    }
}
