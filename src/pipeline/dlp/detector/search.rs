//! One text being searched: a keyword was found, and its rules are tried where it stands.

use std::collections::{BTreeMap, HashMap};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use regex_automata::{Anchored, Input};

use super::super::allowance;
use super::super::assignment::Values;
use super::super::escapes;
use super::super::finding::Category;
use super::super::rule::{NEARBY, Reach, Rule};
use super::super::runs;
use super::super::squeeze::{Squeezed, is_parted, unparted};
use super::looks::{Look, Looks};
use super::{MOST, Match, STRUCTURED};

/// One text being searched.
pub(super) struct Search<'t> {
    text: &'t [u8],
    pub(super) found: Vec<Match>,
    /// How far a rule whose matches may begin anywhere has been tried: a place is tried once, however many keywords
    /// stand around it.
    tried: Vec<(u32, Range<usize>)>,
    squeezed: Squeezed,
    values: Values,
    /// The last place that was looked from for a `@`, and where the next one is.
    at: Option<Range<usize>>,
    /// About keywords of what may have blanks in it.
    pub(super) blanks: Vec<Range<usize>>,
    /// For each rule the place before which it was tried: the same value has many names before it.
    done: Vec<Done>,
    /// What was seen of what rules found.
    looks: Looks,
    /// What blocks, of how much that was asked, and how much of that it was.
    blocks: &'t dyn Fn(&Match) -> bool,
    seen: usize,
    blocking: usize,
}

/// How far the values of names were tried by a rule.
#[derive(Debug, Clone, Copy, Default)]
struct Done {
    /// Behind the first byte of the last one.
    upto: usize,
    /// True if it matched.
    matched: bool,
}

impl<'t> Search<'t> {
    pub(super) fn of(text: &'t [u8], blocks: &'t dyn Fn(&Match) -> bool) -> Self {
        let (squeezed, values) = (Squeezed::default(), Values::default());
        Self {
            text,
            found: Vec::new(),
            tried: Vec::new(),
            squeezed,
            values,
            at: None,
            blanks: Vec::new(),
            done: Vec::new(),
            looks: Looks::default(),
            blocks,
            seen: 0,
            blocking: 0,
        }
    }

    /// Whether there is a `@` in these bytes.
    fn has_at(&mut self, range: Range<usize>) -> bool {
        let next = match &self.at {
            Some(known) if known.contains(&range.start) => known.end,
            _ => {
                let rest = self.text.get(range.start..).unwrap_or_default();
                memchr::memchr(b'@', rest).map_or(usize::MAX, |at| range.start + at)
            }
        };
        self.at = Some(range.start..next);
        next < range.end
    }

    /// Tries the rules of a keyword where it stands.
    pub(super) fn hit(
        &mut self,
        of: impl Iterator<Item = u32>,
        rules: &[Arc<Rule>],
        keyword: Range<usize>,
    ) -> ControlFlow<()> {
        for at in of {
            if let Some(rule) = rules.get(at as usize)
                && (!rule.has_at || self.has_at(keyword.start..keyword.end + rule.max_len))
            {
                if rule.has_blanks {
                    self.blanks.push(keyword.start.saturating_sub(NEARBY)..keyword.end + rule.max_len);
                }
                self.try_rule(at, rule, keyword.clone());
            }
            if self.found.len() >= self.seen + MOST {
                self.blocking += self.found.iter().skip(self.seen).filter(|found| (self.blocks)(found)).count();
                self.seen = self.found.len();
                if self.blocking > MOST {
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn try_rule(&mut self, rule_at: u32, rule: &Rule, keyword: Range<usize>) {
        match rule.source.reach {
            // What begins in the middle of a word is none, and is not looked at as one.
            Reach::Within if rule.anchored && rule.stands_alone && is_glued_before(self.text, &keyword) => {}
            Reach::Within if rule.anchored => {
                let parted = match rule.head().misfit(self.text.get(keyword.start..).unwrap_or_default()) {
                    Some(rest) => is_parted(rest),
                    None => !self.try_at(rule, keyword.start),
                };
                if parted && rule.distinctive && !rule.has_blanks && !is_glued_before(self.text, &keyword) {
                    self.try_squeezed(rule, keyword.start);
                }
            }
            Reach::Within => {
                let window = keyword.start.saturating_sub(rule.max_len)..keyword.end + rule.max_len;
                self.try_in(rule_at, rule, window);
            }
            Reach::Assigned => {
                // What is shorter than a match begins none.
                if !self.values.find(self.text, keyword.end, rule.solid) {
                    return;
                }
                let mut next = 0;
                while let Some((index, at)) = self.values.next(next, rule.solid) {
                    if !self.values.is_no_secret(index, self.text) && self.try_value(rule_at, rule, at) {
                        return;
                    }
                    next = index + 1;
                }
            }
            Reach::Nearby => {
                self.try_in(
                    rule_at,
                    rule,
                    keyword.start.saturating_sub(NEARBY + rule.max_len)..keyword.end + NEARBY.max(rule.max_len),
                );
            }
        }
    }

    /// Tries the pattern on a value, if that was not done for another name before it. True if it matches.
    fn try_value(&mut self, rule_at: u32, rule: &Rule, at: usize) -> bool {
        let done = self.done.get(rule_at as usize).copied().unwrap_or_default();
        if at < done.upto {
            return done.matched && at + 1 == done.upto;
        }
        let matched = self.try_at(rule, at);
        // Most texts have no value that is tried.
        if self.done.len() <= rule_at as usize {
            self.done.resize(rule_at as usize + 1, Done::default());
        }
        if let Some(done) = self.done.get_mut(rule_at as usize) {
            *done = Done { upto: at + 1, matched };
        }
        matched
    }

    /// Tries the pattern at one place. True if it matches there, whatever else speaks against it.
    fn try_at(&mut self, rule: &Rule, at: usize) -> bool {
        if !rule.head().may_begin(self.text.get(at..).unwrap_or_default().iter().copied()) {
            return false;
        }
        let end = self.text.len().min(at + rule.max_len);
        let input = Input::new(self.text).span(at.min(end)..end).anchored(Anchored::Yes);
        self.matched(rule, input).is_some()
    }

    /// Tries the pattern on what a token reads as without what parts it.
    fn try_squeezed(&mut self, rule: &Rule, at: usize) {
        if !rule.head().may_begin(unparted(self.text, at)) {
            return;
        }
        let Some((bytes, places)) = self.squeezed.from(self.text, at, rule.max_len) else { return };
        let Some(pattern) = rule.pattern() else { return };
        let Some(found) = pattern.find(Input::new(bytes).anchored(Anchored::Yes)) else { return };
        let secret = bytes.get(found.range()).unwrap_or_default();
        let last = found.end().checked_sub(1).and_then(|last| places.get(last));
        if let (Some(mut found), Some(last)) = (judge(bytes, rule, found.range(), &mut Look::of(bytes, &found.range())), last)
            // Words side by side are long, too.
            && allowance::is_random(secret)
        {
            found.range = at..last + 1;
            self.note(found);
        }
    }

    fn note(&mut self, found: Match) {
        if self.found.last() != Some(&found) {
            self.found.push(found);
        }
    }

    /// Tries the pattern anywhere in a window, where it has not been tried yet.
    fn try_in(&mut self, at: u32, rule: &Rule, window: Range<usize>) {
        let window = window.start..window.end.min(self.text.len());
        let Some((_, tried)) = self.tried.iter_mut().find(|(of, _)| *of == at) else {
            self.tried.push((at, window.clone()));
            return self.try_all(rule, window);
        };
        let before = tried.clone();
        // What lies between the two has not been tried.
        let start = if window.start > before.end { window.start } else { before.start.min(window.start) };
        *tried = start..before.end.max(window.end);
        // What began before may end after what was tried; and keywords do not come in order.
        if window.start < before.start {
            self.try_all(rule, window.start..(before.start + rule.max_len).min(window.end));
        }
        if window.end > before.end {
            self.try_all(rule, window.start.max(before.end.saturating_sub(rule.max_len))..window.end);
        }
    }

    fn try_all(&mut self, rule: &Rule, window: Range<usize>) {
        // About most keywords stands nothing so long.
        if !self.text.get(window.clone()).is_some_and(|text| runs::has(text, rule.solid)) {
            return;
        }
        let mut start = window.start;
        while start < window.end {
            let Some(found) = self.matched(rule, Input::new(self.text).span(start..window.end)) else { return };
            // The letter of an escape is no part of what follows it: that may begin right after it.
            let begin = escapes::past_letter(self.text, found.start);
            start = if begin > found.start { begin } else { found.end.max(start + 1) };
        }
    }

    /// As much of a value as there is before what stands for a quote or a line end, if that is not too little of it.
    fn unescaped(&self, value: Range<usize>) -> Range<usize> {
        const LEAST: usize = 6;
        let bytes = self.text.get(value.clone()).unwrap_or_default();
        let Some(at) = memchr::memchr(b'\\', bytes).filter(|at| *at >= LEAST) else { return value };
        match self.text.get(value.start + at + 1) {
            Some(b'n' | b'r' | b't' | b'"' | b'\'' | b'`' | b'\\') => value.start..value.start + at,
            _ => value,
        }
    }

    /// Judges the first match, and gives its place.
    fn matched(&mut self, rule: &Rule, input: Input<'_>) -> Option<Range<usize>> {
        let pattern = rule.pattern()?;
        let group = rule.source.secret_group;
        let (whole, range) = if group == 0 {
            let whole = pattern.find(input)?.range();
            (whole.clone(), whole)
        } else {
            // Room for groups is made only where something matches.
            pattern.search_half(&input.clone().earliest(true))?;
            let mut captures = pattern.create_captures();
            pattern.captures(input, &mut captures);
            let whole = captures.get_match()?.range();
            (whole.clone(), captures.get_group(group).map_or(whole, |span| span.range()))
        };
        // What is named has an end where a string or a line has, escaped or not.
        let range = if rule.source.reach == Reach::Assigned { self.unescaped(range) } else { range };
        let look = self.looks.at(self.text, &range);
        if let Some(found) = judge(self.text, rule, range, look) {
            self.note(found);
        }
        Some(whole)
    }
}

/// What a match is worth: none if something speaks against it.
fn judge(text: &[u8], rule: &Rule, range: Range<usize>, look: &mut Look) -> Option<Match> {
    let secret = text.get(range.clone())?;
    let source = &rule.source;
    if secret.len() < source.min_len {
        return None;
    }
    let core = secret.get(..look.core).unwrap_or(secret);
    let glued = source.boundary && !look.stands_alone;
    // What stands in the middle of other text is no near miss of the format: it was put there.
    if glued && !(rule.distinctive && is_glued_before(text, &range) && allowance::is_random(core)) {
        return None;
    }
    let confidence = match source.validators.as_slice() {
        [] => rule.confidence.base,
        validators if validators.iter().all(|validator| validator.holds(secret)) => rule.confidence.on_valid,
        _ => rule.confidence.on_invalid?,
    };
    let example = rule.documents(secret);
    if !example {
        let random = source.entropy <= 0.0 || look.entropy(core) >= source.entropy;
        // Orders to an agent say `your` and stand in brackets: they are no secrets.
        let secretive = rule.category != Category::PromptInjection;
        if !random || (secretive && look.is_placeholder(core, confidence)) || look.is_allowed(rule, secret) {
            return None;
        }
    }
    let weight = match source.reach {
        _ if source.id.starts_with("generic") => 0,
        Reach::Nearby => 1,
        Reach::Assigned => 2,
        Reach::Within => STRUCTURED,
    };
    Some(Match { rule: rule.id.clone(), category: rule.category.clone(), range, confidence, example, weight })
}

/// Of matches that overlap, the surest; of those the one whose rule asks for most, then the longest.
pub(super) fn best(mut found: Vec<Match>) -> Vec<Match> {
    if found.len() < 2 {
        return found;
    }
    found.sort_by(|a, b| {
        let worth = |m: &Match| (m.confidence, m.weight, m.range.len());
        worth(b).cmp(&worth(a)).then_with(|| a.rule.cmp(&b.rule)).then_with(|| a.range.start.cmp(&b.range.start))
    });
    // Those of a category that are kept do not overlap: where each ends by where it begins.
    let mut taken: HashMap<Category, BTreeMap<usize, usize>> = HashMap::new();
    let mut kept: Vec<Match> = Vec::with_capacity(found.len());
    for candidate in found {
        let range = candidate.range.clone();
        let taken = match taken.get_mut(&candidate.category) {
            Some(taken) => taken,
            None => taken.entry(candidate.category.clone()).or_default(),
        };
        let before = taken.range(..range.end).next_back();
        if before.is_none_or(|(_, end)| *end <= range.start) {
            taken.insert(range.start, range.end);
            kept.push(candidate);
        }
    }
    kept.sort_by_key(|m| m.range.start);
    kept
}

/// Whether a match is no part of a longer word. An escape right before it is no part of a word, though it ends in a
/// letter or digit: `\n`, `\u0022`, `%3D`.
pub(super) fn stands_alone(text: &[u8], range: &Range<usize>) -> bool {
    let (before, from) = text.split_at_checked(range.start).unwrap_or((text, &[]));
    let after = from.get(range.len());
    let first_is_word = from.first().is_some_and(u8::is_ascii_alphanumeric);
    let left = match before.last() {
        Some(last) if last.is_ascii_alphanumeric() => !first_is_word || escapes::ends_in_one(before),
        _ => true,
    };
    left && !after.is_some_and(|next| next.is_ascii_alphanumeric() || *next == b'_')
}

/// Whether a word goes on right before a match.
fn is_glued_before(text: &[u8], range: &Range<usize>) -> bool {
    let before = text.get(..range.start).unwrap_or_default();
    before.last().is_some_and(u8::is_ascii_alphanumeric) && !escapes::ends_in_one(before)
}
