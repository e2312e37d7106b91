//! What is wrong with a policy, where, and how to put it right.
//!
//! Every stage that reads a policy adds to one [`Problems`], so that a person sees all of them at
//! once. Rendered for people:
//!
//! ```text
//! policy.yaml:3:1: error: unknown key `allowDomains`
//!   |
//! 3 | allowDomains: [api.example.com]
//!   | ^^^^^^^^^^^^
//!   fix: did you mean `allowedDomains`?
//! ```

use std::collections::BTreeSet;
use std::fmt;

use super::code::Code;
use super::shape::Shape;

/// All that was found wrong or doubtful in one policy, together with the text it was found in.
///
/// [`fmt::Display`] prints every problem in the order of the text.
#[derive(Debug, Default, Clone)]
pub struct Problems {
    sources: Sources,
    /// File and line of what must not be shown.
    hidden: BTreeSet<(u32, u32)>,
    /// No line is shown.
    is_textless: bool,
    list: Vec<Problem>,
    errors: usize,
    warnings: usize,
    hints: usize,
    /// Takes what [`Problems::LIMIT`] leaves no room for.
    surplus: Option<Box<Problem>>,
    /// What decoders write down that are asked what they take, and given no text.
    sketch: Option<Box<Shape>>,
}

impl Problems {
    /// How many problems are kept; further ones are only counted, for a large file in which
    /// everything is wrong must not cost a multiple of its size.
    pub const LIMIT: usize = 1_000;

    /// No problems yet, about policy text from `sources`.
    pub fn new(sources: Sources) -> Self {
        Self { sources, ..Self::default() }
    }

    /// No text is read: decoders write down in `shape` what they take.
    pub(super) fn sketching(shape: Shape) -> Self {
        Self { sketch: Some(Box::new(shape)), ..Self::default() }
    }

    /// Where to write down what a decoder takes; `None` while text is read.
    pub(super) fn sketch(&mut self) -> Option<&mut Shape> {
        self.sketch.as_deref_mut()
    }

    /// What was written down.
    pub(super) fn into_sketch(self) -> Shape {
        self.sketch.map(|shape| *shape).unwrap_or_default()
    }

    /// The same for a log, which others read than those who may read the policy: no line of it is shown.
    #[must_use]
    pub fn without_text(self) -> Self {
        Self { is_textless: true, ..self }
    }

    /// Adds an error: the policy is refused. Lower-case message, user input through [`quote`].
    pub fn error(&mut self, at: impl Into<Option<Span>>, message: impl Into<String>) -> &mut Problem {
        self.errors += 1;
        self.add(Severity::Error, at.into(), message.into())
    }

    /// Adds a warning: the policy loads all the same.
    pub fn warning(&mut self, at: impl Into<Option<Span>>, message: impl Into<String>) -> &mut Problem {
        self.warnings += 1;
        self.add(Severity::Warning, at.into(), message.into())
    }

    /// Adds a hint: nothing is wrong, and its author may want to know.
    pub fn hint(&mut self, at: impl Into<Option<Span>>, message: impl Into<String>) -> &mut Problem {
        self.hints += 1;
        self.add(Severity::Hint, at.into(), message.into())
    }

    fn add(&mut self, severity: Severity, at: Option<Span>, message: String) -> &mut Problem {
        let code = if severity == Severity::Error { Code::Invalid } else { Code::Doubtful };
        let problem = Problem { severity, code, at, message, fix: None };
        let room = self.has_room();
        if room {
            self.list.push(problem.clone());
        }
        match self.list.last_mut().filter(|_| room) {
            Some(last) => last,
            None => self.surplus.insert(Box::new(problem)).as_mut(),
        }
    }

    /// Keeps the line at `at` out of every report: a secret may have been written there, where
    /// none belongs.
    pub fn hide(&mut self, at: Span) {
        self.hidden.insert((at.file, at.line));
    }

    /// Whether a further problem would be kept, not only counted.
    pub(super) fn has_room(&self) -> bool {
        self.list.len() < Self::LIMIT
    }

    /// Whether any of them is an error.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Number of errors, the ones beyond [`Problems::LIMIT`] included.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Number of warnings, the ones beyond [`Problems::LIMIT`] included.
    pub fn warnings(&self) -> usize {
        self.warnings
    }

    /// Number of hints, the ones beyond [`Problems::LIMIT`] included.
    pub fn hints(&self) -> usize {
        self.hints
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.errors == 0 && self.warnings == 0 && self.hints == 0
    }

    /// The problems in the order of the text; those without a place come first.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        let mut sorted: Vec<&Problem> = self.list.iter().collect();
        sorted.sort_by_key(|problem| problem.at.map(|at| (at.file, at.line, at.column)));
        sorted.into_iter()
    }

    /// The text that spans point into.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    pub(super) fn sources_mut(&mut self) -> &mut Sources {
        &mut self.sources
    }

    /// `file:line:column` of a span, for a message that names a second place.
    pub fn place(&self, at: Span) -> String {
        self.sources.place(at)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.render(self, f)?;
        }
        let unlisted = (self.errors + self.warnings + self.hints).saturating_sub(self.list.len());
        if unlisted > 0 {
            write!(f, "\nand {unlisted} more")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// One thing that is wrong or doubtful.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether the policy can still be used.
    pub severity: Severity,
    /// What kind of problem it is.
    pub code: Code,
    /// Where; `None` when it concerns no place in the text (a file that cannot be read).
    pub at: Option<Span>,
    /// What is wrong: one lower-case sentence, user input in backticks.
    pub message: String,
    /// What to do about it.
    pub fix: Option<String>,
}

impl Problem {
    /// Says what to do about it.
    pub fn fix(&mut self, fix: impl Into<String>) -> &mut Self {
        self.fix = Some(fix.into());
        self
    }

    /// Says what kind of problem it is.
    pub fn code(&mut self, code: Code) -> &mut Self {
        self.code = code;
        self
    }

    fn render(&self, problems: &Problems, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, "{}: ", problems.place(at))?;
        }
        write!(f, "{}: {}", self.severity.as_str(), self.message)?;
        // The two that say no more than the severity does would only be in the way.
        if !matches!(self.code, Code::Invalid | Code::Doubtful) {
            write!(f, " [{}]", self.code.as_str())?;
        }
        let is_shown = |at: &Span| !problems.is_textless && !problems.hidden.contains(&(at.file, at.line));
        let shown = self.at.filter(is_shown);
        if let Some(at) = shown {
            excerpt(&problems.sources, at, f)?;
        }
        if let Some(fix) = &self.fix {
            write!(f, "\n  fix: {fix}")?;
        }
        Ok(())
    }
}

/// Whether a policy with this problem can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy loads, but may not mean what its author meant.
    Warning,
    /// Nothing is wrong.
    Hint,
}

impl Severity {
    /// As reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Hint => "hint",
        }
    }
}

/// A stretch of policy text on one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Index of the file in [`Sources`].
    pub file: u32,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// In characters; what reaches beyond the line is not counted.
    pub length: u32,
}

/// A value with the place it was written at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Spanned<T> {
    /// What was written.
    pub value: T,
    /// Where.
    pub span: Span,
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The files of a policy: names for positions, lines for excerpts.
#[derive(Debug, Default, Clone)]
pub struct Sources(Vec<Source>);

#[derive(Debug, Clone)]
struct Source {
    name: String,
    text: String,
    /// Byte offset of the start of each line.
    lines: Vec<usize>,
    offset: Offset,
}

/// How much of a file stands before and beside a text that is a part of it, as a block of a larger YAML document is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// Lines before it.
    pub line: u32,
    /// Characters to the left of each of its lines.
    pub column: u32,
}

impl Sources {
    /// Adds a file's text and returns its index for [`Span::file`].
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> u32 {
        self.add_within(name, text, Offset::default())
    }

    /// The same for a part of the file of that name; spans count from where the part begins.
    pub fn add_within(&mut self, name: impl Into<String>, text: impl Into<String>, offset: Offset) -> u32 {
        let text = text.into();
        let bytes = text.as_bytes();
        let mut lines = vec![0];
        for (index, byte) in bytes.iter().enumerate() {
            // YAML's line breaks: LF, CR LF, and CR alone.
            if *byte == b'\n' || (*byte == b'\r' && bytes.get(index + 1) != Some(&b'\n')) {
                lines.push(index + 1);
            }
        }
        let file = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.push(Source { name: name.into(), text, lines, offset });
        file
    }

    /// The file's name as its reader was told it.
    pub fn name(&self, file: u32) -> &str {
        self.source(file).map_or("policy", |source| source.name.as_str())
    }

    /// The file's whole text, without a byte order mark.
    pub fn text(&self, file: u32) -> &str {
        self.source(file).map_or("", |source| source.text.as_str())
    }

    /// One line without its line break; `line` counts from 1.
    pub fn line(&self, file: u32, line: u32) -> Option<&str> {
        let source = self.source(file)?;
        let index = usize::try_from(line.checked_sub(1)?).ok()?;
        let start = *source.lines.get(index)?;
        let end = source.lines.get(index + 1).copied().unwrap_or(source.text.len());
        Some(source.text.get(start..end)?.trim_end_matches(['\n', '\r']))
    }

    /// The number of a file's last line.
    pub(super) fn last_line(&self, file: u32) -> u32 {
        self.source(file).and_then(|source| u32::try_from(source.lines.len()).ok()).unwrap_or(1)
    }

    /// `file:line:column`, with nothing in it that a terminal obeys: whoever writes policies names files too.
    pub fn place(&self, at: Span) -> String {
        let Span { line, column, .. } = self.in_file(at);
        format!("{}:{line}:{column}", harmless(self.name(at.file)))
    }

    /// A span as it counts in the file of its name, of which the text may be a part.
    pub fn in_file(&self, at: Span) -> Span {
        let offset = self.source(at.file).map(|source| source.offset).unwrap_or_default();
        Span { line: at.line.saturating_add(offset.line), column: at.column.saturating_add(offset.column), ..at }
    }

    fn source(&self, file: u32) -> Option<&Source> {
        self.0.get(usize::try_from(file).ok()?)
    }
}

/// User input for a message: in backticks, bounded, and with nothing in it that a terminal obeys.
pub fn quote(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut quoted = String::from("`");
    for (index, character) in text.chars().enumerate() {
        if index == SHOWN {
            quoted.push('…');
            break;
        }
        push_harmless(character, &mut quoted);
    }
    quoted.push('`');
    quoted
}

fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|character| push_harmless(character, &mut shown));
    shown
}

fn push_harmless(character: char, out: &mut String) {
    if character.is_control() || disguises(character) {
        out.extend(character.escape_default());
    } else {
        out.push(character);
    }
}

/// Characters that make text look other than it is: those that turn the writing direction.
pub(super) fn disguises(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

/// The fix for a name that is not one of `known`, if one of them is near.
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(written, known).map(|name| format!("did you mean `{name}`?"))
}

fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if written.len() > 100 {
        return None;
    }
    let folded = fold(written);
    known
        .into_iter()
        .map(|name| {
            let target = fold(name);
            let distance = strsim::damerau_levenshtein(&folded, &target);
            // A typing slip, or one name cut short or run on: `allowDomains`, `domains`.
            let near =
                distance <= target.len().max(folded.len()) / 3 || (folded.len() >= 4 && target.contains(&folded));
            (near, distance, name)
        })
        .filter(|(near, ..)| *near)
        .min_by_key(|(_, distance, _)| *distance)
        .map(|(.., name)| name)
}

/// `allowed_domains`, `allowed-domains` and `AllowedDomains` are all `allowedDomains`.
fn fold(name: &str) -> String {
    name.chars().filter(|character| !matches!(character, '_' | '-')).flat_map(char::to_lowercase).collect()
}

fn excerpt(sources: &Sources, at: Span, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    /// A policy may be JSON on a single line.
    const WIDTH: usize = 100;
    const BEFORE: usize = 40;
    let Some(line) = sources.line(at.file, at.line).filter(|line| !line.trim().is_empty()) else {
        return Ok(());
    };
    let column = usize::try_from(at.column).unwrap_or(1).saturating_sub(1);
    let skipped = if column < WIDTH - BEFORE / 2 { 0 } else { column - BEFORE };
    let mut rest = line.chars().skip(skipped).peekable();
    let mut shown = String::new();
    for _ in 0..WIDTH {
        match rest.next() {
            Some(character) if character.is_control() || disguises(character) => shown.push(' '),
            Some(character) => shown.push(character),
            None => break,
        }
    }
    let room = (shown.chars().count() + skipped).saturating_sub(column).max(1);
    let carets = usize::try_from(at.length).unwrap_or(1).clamp(1, room);
    let number = sources.in_file(at).line.to_string();
    let margin = " ".repeat(number.len());
    let (left, right) = (if skipped > 0 { "…" } else { "" }, if rest.peek().is_some() { "…" } else { "" });
    let indent = " ".repeat(column - skipped + left.chars().count());
    write!(f, "\n{margin} |\n{number} | {left}{shown}{right}\n{margin} | {indent}{}", "^".repeat(carets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32, length: u32) -> Span {
        Span { file: 0, line, column, length }
    }

    fn problems(text: &str) -> Problems {
        let mut sources = Sources::default();
        sources.add("policy.yaml", text);
        Problems::new(sources)
    }

    #[test]
    fn a_problem_shows_place_line_and_fix() {
        let mut problems = problems("version: 1\nallowDomains: []\n");
        problems.error(at(2, 1, 12), "unknown key `allowDomains`").fix("did you mean `allowedDomains`?");
        assert_eq!(
            problems.to_string(),
            "policy.yaml:2:1: error: unknown key `allowDomains`\n  |\n2 | allowDomains: []\n  | ^^^^^^^^^^^^\n  fix: did you mean `allowedDomains`?"
        );
    }

    #[test]
    fn problems_come_in_the_order_of_the_text() {
        let mut problems = problems("a\nb\n");
        problems.warning(at(2, 1, 1), "second");
        problems.error(at(1, 1, 1), "first");
        problems.error(None, "nowhere");
        let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(messages, ["nowhere", "first", "second"]);
        assert_eq!((problems.errors(), problems.warnings()), (2, 1));
    }

    #[test]
    fn a_long_line_is_shown_around_the_place() {
        let mut problems = problems(&format!("{}HERE{}", "x".repeat(500), "y".repeat(500)));
        problems.error(at(1, 501, 4), "m");
        let text = problems.to_string();
        assert!(text.contains("xxxHEREyyy"), "{text}");
        let lines: Vec<_> = text.lines().collect();
        let column = |line: &str, needle: char| line.chars().position(|character| character == needle);
        assert_eq!(column(lines[2], 'H'), column(lines[3], '^'));
        assert!(lines[2].chars().count() < 110);
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let mut problems = problems("token: hunter2\n");
        problems.error(at(1, 8, 7), "m");
        problems.hide(at(1, 1, 1));
        assert_eq!(problems.to_string(), "policy.yaml:1:8: error: m");
    }

    #[test]
    fn beyond_the_limit_problems_are_counted() {
        let mut problems = problems("");
        for _ in 0..Problems::LIMIT + 7 {
            problems.error(None, "m").fix("f");
        }
        assert_eq!(problems.iter().count(), Problems::LIMIT);
        assert_eq!(problems.errors(), Problems::LIMIT + 7);
        assert!(problems.to_string().ends_with("\nand 7 more"));
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        const KNOWN: [&str; 5] = ["allowedDomains", "blockedDomains", "agents", "credentials", "version"];
        for (written, expected) in [
            ("allowDomains", Some("allowedDomains")),
            ("allowed_domains", Some("allowedDomains")),
            ("blocked-domains", Some("blockedDomains")),
            ("agent", Some("agents")),
            ("credential", Some("credentials")),
            ("vresion", Some("version")),
            ("zebra", None),
            ("", None),
            ("a", None),
        ] {
            assert_eq!(nearest(written, KNOWN), expected, "{written}");
        }
    }

    #[test]
    fn quoted_input_cannot_drive_a_terminal() {
        assert_eq!(quote("a\u{1b}[2Jb\n\u{202e}"), "`a\\u{1b}[2Jb\\n\\u{202e}`");
        assert_eq!(quote(&"x".repeat(200)).chars().count(), 83);
        let mut sources = Sources::default();
        let file = sources.add("a\u{1b}[2J\n.yaml", "x");
        let at = Span { file, line: 1, column: 2, length: 0 };
        assert_eq!(sources.place(at), "a\\u{1b}[2J\\n.yaml:1:2");
    }

    #[test]
    fn lines_end_at_every_yaml_line_break() {
        let mut sources = Sources::default();
        sources.add("p", "a\r\nb\rc\nd");
        let lines: Vec<_> = (1..=5).map(|line| sources.line(0, line)).collect();
        assert_eq!(lines, [Some("a"), Some("b"), Some("c"), Some("d"), None]);
    }
}
