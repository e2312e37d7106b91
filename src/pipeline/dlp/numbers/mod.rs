//! Personal data that is a number: cards, accounts, the numbers that states give to people.
//!
//! `scan (blocks with digits in a row) → runs of short words with single separators → shapes of numbers (one step for
//! each byte) → checksum → the words before`. A text without digits in a row costs one pass over its bytes.
//!
//! Whether a shape and a checksum say enough depends on the number: a card does, nine digits do not, and are only taken
//! for one kind of number where its name stands near.

pub mod contact;
mod context;
mod mrz;
mod scan;
mod shape;
mod table;

use std::ops::Range;

use super::escapes;
use super::finding::Confidence;
use super::validate::{Compact, Validator, iban_length};
use context::Reader;
use scan::{Digits, Token};

pub(super) use table::SEED_PHRASE;
pub use table::{Kind, NumberRule, RULES};

/// What was found of personal data in a text: which rule, which bytes, how sure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The rule's id.
    pub rule: &'static str,
    /// Where, in bytes.
    pub range: Range<usize>,
    /// How sure.
    pub confidence: Confidence,
    /// True of a value that is published as an example.
    pub example: bool,
}

/// How many bytes around a match decide over it: what is cut off a stream further away changes nothing.
pub const REACH: usize = context::BEFORE + context::AFTER;

/// The longest match, in bytes: two lines of a passport.
pub const LONGEST: usize = 96;

/// Tells each number that is personal data, in the order of the text.
pub fn find(text: &[u8], found: &mut dyn FnMut(Match)) {
    let mut runs = Runs { text, words: Reader::default(), best: None, found };
    let (mut places, mut at) = (Digits::of(text), 0);
    while let Some(digits) = places.next(at) {
        at = runs.run(digits, at);
    }
    runs.settle();
    if places.has_fillers() {
        mrz::find(text, found);
    }
}

/// Finds numbers in runs of words, and of those that overlap keeps the one that is surest.
struct Runs<'a, 'f> {
    text: &'a [u8],
    words: Reader,
    best: Option<Match>,
    found: &'f mut dyn FnMut(Match),
}

impl Runs<'_, '_> {
    /// Looks at the run of words about these digits, of which nothing before `floor`, and tells where it ends.
    fn run(&mut self, digits: usize, floor: usize) -> usize {
        // Two short words may stand before: `GB29 NWBK 6016…`, `1 85 05 78…`.
        const BEFORE: usize = 2;
        let mut word = Token::about(self.text, digits, floor);
        let mut end = word.range.end;
        for _ in 0..BEFORE {
            match word.previous(self.text, floor) {
                Some(previous) if previous.has_digits || word.has_digits => word = previous,
                _ => break,
            }
        }
        let mut letters = false;
        loop {
            // Words alone do not make a number: two of them end the run.
            if word.is_long() || (letters && !word.has_digits) {
                return end.max(word.range.end);
            }
            letters = !word.has_digits;
            end = end.max(word.range.end);
            self.windows(&word);
            match word.next(self.text) {
                Some(next) if next.has_digits || next.range.len() <= Token::SHORT => word = next,
                _ => return end,
            }
        }
    }

    /// Looks at each number that may begin with this word.
    fn windows(&mut self, first: &Token) {
        self.iban(first);
        let start = first.range.start;
        shape::each(self.text, start, first.digits(), &mut |end, node| {
            let window = start..end;
            if let Some(best) = self.best_of(&window, node) {
                self.keep(best);
            }
        });
    }

    /// Of the kinds of number that have this shape the one that it is most surely.
    fn best_of(&mut self, window: &Range<usize>, node: &shape::Node) -> Option<Match> {
        let value = self.text.get(window.clone())?;
        if is_glued(self.text, window) {
            return None;
        }
        // Small letters are not how such a number is written: it needs its name.
        let small = node.lettered && value.iter().any(u8::is_ascii_lowercase);
        let alone = node.alone && !small;
        // Most runs of digits are no number of a person, and nothing near says so: that is asked first.
        let named = if alone { None } else { Some(self.words.about(self.text, window)) };
        if named.is_some_and(|context| context.names & node.rules == 0) {
            return None;
        }
        let number = Compact::of(value)?;
        let holds = |rule: &NumberRule| rule.check.is_none_or(|check| check.holds_of(&number));
        let mut held = 0u128;
        if alone {
            let alone = node.entries.iter().filter(|entry| entry.alone.is_some() && holds(entry.rule()));
            held = alone.fold(0, |held, entry| held | 1 << entry.index);
        }
        // What only holds by its name is checked when it has one.
        let context = named.unwrap_or_else(|| self.words.about(self.text, window));
        if held == 0 && context.names & node.rules == 0 {
            return None;
        }
        let mut best: Option<(Confidence, &'static NumberRule)> = None;
        for entry in &node.entries {
            let rule = entry.rule();
            let bit = 1 << entry.index;
            let (alone, named) = (entry.alone.filter(|_| held & bit != 0), context.names & bit != 0);
            let confidence = match (alone, named) {
                (Some(alone), true) if alone >= Confidence::High => Confidence::Confirmed,
                (Some(_), true) => rule.named,
                (None, true) if (entry.alone.is_none() || small) && holds(rule) => rule.named,
                (Some(Confidence::High), false) if context.denies(rule.kind, node.bare) => Confidence::Medium,
                (Some(alone), false) if !context.denies(rule.kind, node.bare) => alone,
                _ => continue,
            };
            if best.is_none_or(|(other, _)| confidence > other) {
                best = Some((confidence, rule));
            }
        }
        let (confidence, rule) = best?;
        Some(Match { rule: rule.id, range: window.clone(), confidence, example: rule.documents(value) })
    }

    /// An IBAN tells its length by its country; MOD 97 over it needs no name.
    fn iban(&mut self, first: &Token) {
        let text = self.text;
        let start = first.range.start;
        let head = text.get(start..start + 4).and_then(|head| head.first_chunk::<4>());
        let Some(mut left) = head.and_then(|head| length_by_head(*head)) else { return };
        let mut end = start;
        for byte in text.iter().skip(start) {
            match byte {
                byte if byte.is_ascii_alphanumeric() => left -= 1,
                b' ' | b'-' if text.get(end.wrapping_sub(1)).is_some_and(u8::is_ascii_alphanumeric) => {}
                _ => return,
            }
            end += 1;
            if left == 0 {
                break;
            }
        }
        let Some(value) = text.get(start..end).filter(|_| left == 0) else { return };
        // It is written in capitals, or by those who do not care in small letters, but not in both.
        let mixed = value.iter().any(u8::is_ascii_uppercase) && value.iter().any(u8::is_ascii_lowercase);
        if mixed || text.get(end).is_some_and(u8::is_ascii_alphanumeric) || !Validator::Iban.holds(value) {
            return;
        }
        let example = table::IBAN.documents(value);
        self.keep(Match { rule: table::IBAN.id, range: start..end, confidence: Confidence::Confirmed, example });
    }

    fn keep(&mut self, new: Match) {
        match &self.best {
            Some(best) if best.range.end > new.range.start => {
                let surer = (new.confidence, new.range.len()) > (best.confidence, best.range.len());
                if surer {
                    self.best = Some(new);
                }
            }
            _ => {
                self.settle();
                self.best = Some(new);
            }
        }
    }

    fn settle(&mut self) {
        if let Some(best) = self.best.take() {
            (self.found)(best);
        }
    }
}

/// True of a part of a longer number: of a decimal, a version, an UUID, a list of equal groups.
fn is_glued(text: &[u8], window: &Range<usize>) -> bool {
    let value = text.get(window.clone()).unwrap_or_default();
    let has = |separator: u8| value.contains(&separator);
    let group = |of: &mut dyn Iterator<Item = &u8>| of.take_while(|byte| byte.is_ascii_digit()).count();
    let before = text.get(..window.start).unwrap_or_default();
    let left = match before {
        [.., inner, b'-' | b'_'] => {
            // `card-4242…` is a name, `9f3-4242…` is a number.
            let mut word = before.iter().rev().skip(1).take_while(|byte| byte.is_ascii_alphanumeric());
            inner.is_ascii_digit() || word.any(u8::is_ascii_digit)
        }
        [.., inner, b'.' | b':'] => inner.is_ascii_digit(),
        [.., inner, b'/'] => inner.is_ascii_digit() && has(b'/'),
        // The groups behind the head of an IBAN are of an account, even where its sum does not hold.
        [.., a, b, c, d, b' '] if length_by_head([*a, *b, *c, *d]).is_some() && has(b' ') => true,
        [.., inner, b' '] if inner.is_ascii_digit() && has(b' ') => {
            group(&mut before.iter().rev().skip(1)) == group(&mut value.iter())
        }
        [.., b'$' | b'#' | b'%' | b'\\'] => true,
        // A letter of another alphabet is a word's end, not a number's; nor is that of an escape.
        [.., last] => last.is_ascii_alphanumeric() && !escapes::ends_in_one(before),
        [] => false,
    };
    let after = text.get(window.end..).unwrap_or_default();
    let right = match after {
        [b'-' | b'_', inner, ..] => inner.is_ascii_alphanumeric(),
        [b'.', inner, ..] => inner.is_ascii_digit() && !value.contains(&b'-'),
        [b'/', inner, ..] => inner.is_ascii_digit() && has(b'/'),
        [b' ', inner, ..] if inner.is_ascii_digit() && has(b' ') => {
            group(&mut after.iter().skip(1)) == group(&mut value.iter().rev())
        }
        [b'@' | b'%', ..] => true,
        [first, ..] => first.is_ascii_alphanumeric(),
        [] => false,
    };
    left || right
}

/// How long the IBAN is that begins with a country and two check digits.
fn length_by_head([a, b, c, d]: [u8; 4]) -> Option<usize> {
    let shaped = a.is_ascii_alphabetic() && b.is_ascii_alphabetic() && c.is_ascii_digit() && d.is_ascii_digit();
    if shaped { iban_length([a.to_ascii_uppercase(), b.to_ascii_uppercase()]) } else { None }
}

#[cfg(test)]
mod tests;
