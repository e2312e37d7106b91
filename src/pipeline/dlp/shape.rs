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
}

impl Shape {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Why it is none.
    pub fn of(pattern: &str, keywords: &[String]) -> Result<Self, String> {
        let parsed = parse(pattern)?;
        Ok(Self {
            least: parsed.properties().minimum_len(),
            most: parsed.properties().maximum_len(),
            groups: parsed.properties().explicit_captures_len(),
            begins_with_keyword: begins_with_keyword(&parsed, keywords),
            has_blanks: may_have(&parsed, b" \n"),
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
