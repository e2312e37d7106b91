//! Finds what the rules name in one text: a keyword, then a pattern where the keyword says, then what speaks against it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use regex_automata::{Anchored, Input};
use smallvec::SmallVec;

use super::allowance;
use super::assignment::Values;
use super::escapes;
use super::finding::{Category, Confidence};
use super::numbers;
use super::prefilter::{Prefilter, PrefilterError};
use super::rule::{NEARBY, Reach, Rule, RuleError};
use super::runs;
use super::squeeze::{Squeezed, is_parted, unparted};

/// All rules that are looked for together.
#[derive(Debug)]
pub struct Detector {
    /// No other has the same.
    version: u64,
    rules: Vec<Arc<Rule>>,
    /// Those that are looked for in all of a text.
    anywhere: Keywords,
    /// Those that are looked for about what may be a token.
    by_run: Keywords,
    /// Those of orders to agents.
    orders: Keywords,
    /// The rules of numbers, which are found without keywords.
    numbers: HashMap<&'static str, (Arc<str>, Category)>,
    /// What keywords begin with, from two bytes on.
    beginnings: HashSet<Box<[u8]>>,
    /// The same of those that have blanks in them.
    beginnings_with_blanks: HashSet<Box<[u8]>>,
    longest_keyword: usize,
    /// The longest match that has blanks in it, in bytes, as far as a stream is held back for one.
    longest_with_blanks: usize,
}

/// How many bytes of a stream are held back for something that has blanks in it.
const HELD_WITH_BLANKS: usize = 512;

/// What a rule found in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The rule's id.
    pub rule: Arc<str>,
    /// What it finds.
    pub category: Category,
    /// The bytes of the secret.
    pub range: Range<usize>,
    /// How sure it is.
    pub confidence: Confidence,
    /// True if vendors print this very value in their documentation.
    pub example: bool,
    /// How much the rule asks for: of two that find the same, the one that asks for more is named.
    weight: u8,
}

/// The weight of a rule whose keyword is part of what it finds.
const STRUCTURED: u8 = 3;

impl Match {
    /// Something that was found in another way than by a rule's keyword.
    pub fn new(rule: Arc<str>, category: Category, range: Range<usize>, confidence: Confidence) -> Self {
        Self { rule, category, range, confidence, example: false, weight: STRUCTURED }
    }

    /// True if it has a shape of its own, whatever stands around it.
    pub fn is_structured(&self) -> bool {
        self.weight == STRUCTURED
    }
}

/// Why rules cannot be looked for together.
#[derive(Debug, thiserror::Error)]
pub enum DetectorError {
    /// An id must mean one rule.
    #[error("two rules have the id `{0}`: rename one of them")]
    Twice(Arc<str>),
    /// More than fits.
    #[error("the keywords of the rules cannot be looked for together: {0}")]
    Keywords(#[from] PrefilterError),
}

impl Detector {
    /// Puts rules together.
    pub fn new(rules: Vec<Arc<Rule>>) -> Result<Self, DetectorError> {
        let mut ids: Vec<_> = rules.iter().map(|rule| rule.id.clone()).collect();
        ids.sort_unstable();
        let twice = ids.iter().zip(ids.iter().skip(1)).find(|(one, other)| one == other);
        if let Some((id, _)) = twice {
            return Err(DetectorError::Twice(id.clone()));
        }
        let of = |is: fn(&Rule) -> bool| Keywords::new(rules.iter().map(|rule| is(rule).then_some(&**rule)));
        let anywhere = of(|rule| !rule.by_run && rule.category != Category::PromptInjection)?;
        let by_run = of(|rule| rule.by_run && rule.category != Category::PromptInjection)?;
        let orders = of(|rule| rule.category == Category::PromptInjection)?;
        let structured = |rule: &&Arc<Rule>| rule.source.reach == Reach::Within;
        let begins: Vec<_> = rules.iter().filter(structured).flat_map(|rule| &rule.source.keywords).collect();
        let beginnings = |keyword: &&&String| {
            let lower = keyword.to_ascii_lowercase().into_bytes();
            (2..lower.len()).filter_map(move |length| lower.get(..length).map(Box::from)).collect::<Vec<_>>()
        };
        let has_blank = |keyword: &&&String| keyword.bytes().any(|byte| byte.is_ascii_whitespace());
        let with_blanks = rules.iter().filter(structured).filter(|rule| rule.has_blanks);
        static VERSIONS: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            version: VERSIONS.fetch_add(1, Ordering::Relaxed),
            numbers: numbers::RULES.iter().map(|rule| (rule.id, (rule.id.into(), rule.category()))).collect(),
            beginnings: begins.iter().flat_map(|keyword| beginnings(&keyword)).collect(),
            beginnings_with_blanks: begins.iter().filter(has_blank).flat_map(|keyword| beginnings(&keyword)).collect(),
            longest_keyword: begins.iter().map(|keyword| keyword.len()).max().unwrap_or_default(),
            longest_with_blanks: with_blanks.map(|rule| rule.max_len.min(HELD_WITH_BLANKS)).max().unwrap_or_default(),
            anywhere,
            by_run,
            orders,
            rules,
        })
    }

    /// A number that no other detector of this process has, not even one that stands where this one stood.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The rules, in the order in which they were given.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The id and category of every rule, those of numbers included.
    pub fn ids(&self) -> impl Iterator<Item = (&Arc<str>, &Category)> {
        let rules = self.rules.iter().map(|rule| (&rule.id, &rule.category));
        rules.chain(self.numbers.values().map(|(id, category)| (id, category)))
    }

    /// What a number that was found is, as a match.
    pub fn number(&self, found: &numbers::Match) -> Option<Match> {
        let (id, category) = self.numbers.get(found.rule)?.clone();
        Some(Match { example: found.example, ..Match::new(id, category, found.range.clone(), found.confidence) })
    }

    /// The rules that do not find what their examples say, or find what they should not.
    pub fn broken_examples(&self) -> Vec<(Arc<str>, RuleError)> {
        let mut broken = Vec::new();
        for rule in &self.rules {
            // Another rule may find the same and be surer of it.
            let Ok(alone) = Self::new(vec![rule.clone()]) else { continue };
            let finds = |text: &str| !alone.find(text.as_bytes()).is_empty();
            let examples = &rule.source.examples;
            let missed = examples.matches.iter().filter(|text| !finds(text)).map(|text| ("nothing", text));
            let mistaken = examples.no_match.iter().filter(|text| finds(text)).map(|text| ("something", text));
            for (found, text) in missed.chain(mistaken) {
                broken.push((rule.id.clone(), RuleError::Example { found, text: text.clone() }));
            }
        }
        broken
    }

    /// Whether a run could be the beginning of something that has a shape: it has a keyword, or ends in the beginning of
    /// one.
    pub fn may_begin(&self, run: &[u8]) -> bool {
        self.anywhere.filter.is_match(run)
            || self.by_run.filter.is_match(run)
            || self.orders.filter.is_match(run)
            || (2..self.longest_keyword.min(run.len() + 1)).any(|length| {
                let end = run.len().checked_sub(length).and_then(|at| run.get(at..)).unwrap_or_default();
                self.beginnings.contains(&*end.to_ascii_lowercase())
            })
    }

    /// Where something begins that has blanks in it, that the text may be the beginning of: the text's length if there
    /// is no such thing.
    pub fn open_from(&self, text: &[u8]) -> usize {
        let from = text.len().saturating_sub(self.longest_with_blanks);
        let tail = text.get(from..).unwrap_or_default();
        if self.longest_with_blanks == 0 {
            return text.len();
        }
        let opens = |at: usize, rule: &Rule| {
            rule.has_blanks && from + at + rule.max_len >= text.len() && rule.source.reach == Reach::Within
        };
        let begun = (2..self.longest_keyword.min(tail.len() + 1)).rev().find(|length| {
            let end = tail.get(tail.len() - length..).unwrap_or_default();
            self.beginnings_with_blanks.contains(&*end.to_ascii_lowercase())
        });
        let begun = begun.map_or(text.len(), |length| text.len() - length);
        let mut first = begun;
        // What may have blanks in it is none of a run.
        for keywords in [&self.anywhere, &self.orders] {
            let _ = keywords.filter.hits(tail, |hit, keyword| {
                let mut rules = keywords.rules(keyword).filter_map(|rule| self.rules.get(rule as usize));
                let before = from + hit.start < first;
                if before && rules.any(|rule| opens(hit.start, rule) && !self.is_complete(rule, tail, hit.start)) {
                    first = from + hit.start;
                }
                ControlFlow::Continue(())
            });
        }
        first
    }

    /// A place at or before this one that no match with blanks in it lies across: what is divided inside of one would be
    /// looked at as if it ended there.
    pub fn undivided(&self, text: &[u8], at: usize) -> usize {
        let from = at.saturating_sub(self.longest_with_blanks);
        let before = text.get(from..at).unwrap_or_default();
        let mut first = at;
        for keywords in [&self.anywhere, &self.orders] {
            let _ = keywords.filter.hits(before, |hit, keyword| {
                let start = from + hit.start;
                let crosses = |rule: &Arc<Rule>| {
                    let span = start..text.len().min(start + rule.max_len);
                    let input = Input::new(text).span(span).anchored(Anchored::Yes);
                    rule.has_blanks
                        && rule.anchored
                        && rule.pattern().and_then(|p| p.find(input)).is_some_and(|m| m.end() > at)
                };
                let mut rules = keywords.rules(keyword);
                if start < first && rules.any(|rule| self.rules.get(rule as usize).is_some_and(crosses)) {
                    first = start;
                }
                ControlFlow::Continue(())
            });
        }
        first
    }

    /// Whether more bytes would change nothing about a match that begins here.
    fn is_complete(&self, rule: &Rule, text: &[u8], at: usize) -> bool {
        let Some(pattern) = rule.pattern() else { return true };
        let input = Input::new(text).span(at..text.len()).anchored(Anchored::Yes);
        pattern.find(input).is_some_and(|found| found.end() < text.len())
    }

    /// What the rules find in a text, in the order of the places. Of rules that find the same bytes one is named.
    pub fn find(&self, text: &[u8]) -> Vec<Match> {
        self.find_with(text, true, &|_| false, &mut Vec::new())
    }

    /// The same, with orders to agents or without: who only gives orders needs no look at them. `blanks` gets the parts of
    /// the text about keywords of what may have blanks in it: there it matters what stands for one. Ends when more than
    /// [`MOST`] are found that block.
    pub fn find_with(
        &self,
        text: &[u8],
        orders: bool,
        blocks: &dyn Fn(&Match) -> bool,
        blanks: &mut Vec<Range<usize>>,
    ) -> Vec<Match> {
        let mut search = Search::of(text, blocks);
        for keywords in [Some(&self.anywhere), orders.then_some(&self.orders)].into_iter().flatten() {
            let _ = keywords.filter.hits(text, |hit, keyword| search.hit(keywords.rules(keyword), &self.rules, hit));
        }
        runs::about(text, |part| {
            let from = part.start;
            let _ = self.by_run.filter.hits(text.get(part).unwrap_or_default(), |hit, keyword| {
                search.hit(self.by_run.rules(keyword), &self.rules, from + hit.start..from + hit.end)
            });
        });
        blanks.append(&mut search.blanks);
        blanks.sort_unstable_by_key(|range| range.start);
        best(search.found)
    }
}

/// Keywords, and the rules of each.
#[derive(Debug)]
struct Keywords {
    filter: Prefilter,
    /// As places among all rules.
    of: Vec<SmallVec<[u32; 2]>>,
}

impl Keywords {
    /// Those of the rules that are given, each at its place among all.
    fn new<'r>(rules: impl Iterator<Item = Option<&'r Rule>>) -> Result<Self, PrefilterError> {
        let mut words: Vec<(String, SmallVec<[u32; 2]>)> = Vec::new();
        let mut places = HashMap::new();
        for (at, rule) in (0..).zip(rules) {
            for keyword in rule.into_iter().flat_map(|rule| &rule.source.keywords) {
                let keyword = keyword.to_ascii_lowercase();
                let place = *places.entry(keyword.clone()).or_insert_with(|| {
                    words.push((keyword, SmallVec::new()));
                    words.len() - 1
                });
                if let Some((_, of)) = words.get_mut(place) {
                    of.push(at);
                }
            }
        }
        let filter = Prefilter::new(words.iter().map(|(word, _)| word.as_str()))?;
        Ok(Self { filter, of: words.into_iter().map(|(_, of)| of).collect() })
    }

    fn rules(&self, keyword: usize) -> impl Iterator<Item = u32> {
        self.of.get(keyword).into_iter().flatten().copied()
    }
}

/// One text being searched.
struct Search<'t> {
    text: &'t [u8],
    found: Vec<Match>,
    /// How far a rule whose matches may begin anywhere has been tried: a place is tried once, however many keywords
    /// stand around it.
    tried: Vec<(u32, Range<usize>)>,
    squeezed: Squeezed,
    values: Values,
    /// The last place that was looked from for a `@`, and where the next one is.
    at: Option<Range<usize>>,
    /// About keywords of what may have blanks in it.
    blanks: Vec<Range<usize>>,
    /// For each rule the place before which it was tried: the same value has many names before it.
    done: Vec<Done>,
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

/// When more is found that blocks, no more is looked for.
pub const MOST: usize = 1000;

impl<'t> Search<'t> {
    fn of(text: &'t [u8], blocks: &'t dyn Fn(&Match) -> bool) -> Self {
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
    fn hit(&mut self, of: impl Iterator<Item = u32>, rules: &[Arc<Rule>], keyword: Range<usize>) -> ControlFlow<()> {
        if self.done.is_empty() {
            self.done = vec![Done::default(); rules.len()];
        }
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
                let mut values = self.values.of(self.text, keyword.end, rule.solid);
                values.find(|value| {
                    !value.is_no_secret(self.text, keyword.end) && self.try_value(rule_at, rule, value.at)
                });
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
        if let (Some(mut found), Some(last)) = (judge(bytes, rule, found.range()), last)
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
            let mut captures = pattern.create_captures();
            pattern.captures(input, &mut captures);
            let whole = captures.get_match()?.range();
            (whole.clone(), captures.get_group(group).map_or(whole, |span| span.range()))
        };
        // What is named has an end where a string or a line has, escaped or not.
        let range = if rule.source.reach == Reach::Assigned { self.unescaped(range) } else { range };
        if let Some(found) = judge(self.text, rule, range) {
            self.note(found);
        }
        Some(whole)
    }
}

/// What a match is worth: none if something speaks against it.
fn judge(text: &[u8], rule: &Rule, range: Range<usize>) -> Option<Match> {
    let secret = text.get(range.clone())?;
    let source = &rule.source;
    if secret.len() < source.min_len {
        return None;
    }
    let core = allowance::unfilled(secret);
    let glued = source.boundary && !stands_alone(text, &range);
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
        let random = source.entropy <= 0.0 || allowance::entropy(core) >= source.entropy;
        // Orders to an agent say `your` and stand in brackets: they are no secrets.
        let secretive = rule.category != Category::PromptInjection;
        if !random || (secretive && allowance::is_placeholder(core, confidence)) || rule.allows(secret) {
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
fn best(mut found: Vec<Match>) -> Vec<Match> {
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
fn stands_alone(text: &[u8], range: &Range<usize>) -> bool {
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

#[cfg(test)]
mod tests {
    use super::super::rule::RuleSource;
    use super::*;

    fn detector(rules: &str) -> Detector {
        let sources: Vec<RuleSource> = serde_yaml::from_str(rules).unwrap();
        Detector::new(sources.into_iter().map(|source| Arc::new(Rule::new(source).unwrap())).collect()).unwrap()
    }

    fn found<'t>(detector: &Detector, text: &'t str) -> Vec<(String, &'t str)> {
        let found = detector.find(text.as_bytes()).into_iter();
        found.map(|m| (m.rule.to_string(), &text[m.range])).collect()
    }

    const RULES: &str = r#"
        - {id: vendor-token, keywords: [vnd_], pattern: 'vnd_[A-Za-z0-9]{12}'}
        - {id: long-token, keywords: [alt_], pattern: 'alt_[A-Za-z0-9]{20,90}'}
        - {id: middle-token, keywords: [MID8], pattern: '[a-z0-9]{4}MID8[a-z0-9]{4}'}
        - {id: named-key, keywords: [acme], reach: assigned, pattern: '[0-9a-f]{16}', entropy: 2.5}
        - {id: close-key, keywords: [zeta], reach: nearby, pattern: '[A-Z0-9]{10}'}
        - {id: generic-secret, keywords: [secret], reach: assigned, pattern: '[A-Za-z0-9_]{8,40}', confidence: {base: medium}}
        - {id: card, category: pii.financial, keywords: [card], reach: nearby, pattern: '[0-9]{16}', validators: [luhn],
           confidence: {base: high, onValid: high}}
    "#;

    #[test]
    fn each_reach_finds_what_it_is_for() {
        let detector = detector(RULES);
        for (text, rule, secret) in [
            ("a vnd_q8Zr3vTn5kLw b", "vendor-token", "vnd_q8Zr3vTn5kLw"),
            (r"line\nvnd_q8Zr3vTn5kLw\n", "vendor-token", "vnd_q8Zr3vTn5kLw"),
            ("x=%22vnd_q8Zr3vTn5kLw%22", "vendor-token", "vnd_q8Zr3vTn5kLw"),
            ("ab12MID8cd34", "middle-token", "ab12MID8cd34"),
            ("ACME_KEY=8f3a1c9b7d2e4f60", "named-key", "8f3a1c9b7d2e4f60"),
            ("secret: acme_8f3a1c9b", "generic-secret", "acme_8f3a1c9b"),
            ("Q7WX2ZK9PL is the zeta key", "close-key", "Q7WX2ZK9PL"),
            ("card 4012888888881881", "card", "4012888888881881"),
            ("the secret vnd_q8Zr3vTn5kLw", "vendor-token", "vnd_q8Zr3vTn5kLw"),
            ("xxxvnd_q8Zr3vTn5kLwyyy", "vendor-token", "vnd_q8Zr3vTn5kLw"),
            (
                "alt_q8Zr3vTn5kLw0pXyC7dE1fGhyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
                "long-token",
                "alt_q8Zr3vTn5kLw0pXyC7dE1fGhyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
            ),
            ("vnd_q8Zr3 vTn5k Lw", "vendor-token", "vnd_q8Zr3 vTn5k Lw"),
            ("x = \"vnd_q8Zr\" + \"3vTn5kLw\"", "vendor-token", "vnd_q8Zr\" + \"3vTn5kLw"),
        ] {
            assert_eq!(found(&detector, text), [(rule.to_owned(), secret)], "{text}");
        }
    }

    #[test]
    fn what_somebody_else_is_looking_for_may_be_words() {
        let rule = "[{id: project-name, keywords: [acme], pattern: 'acme-[a-z0-9-]{12,30}'}]";
        assert_eq!(found(&detector(rule), "about acme-moonshot-project")[0].1, "acme-moonshot-project");
    }

    #[test]
    fn what_speaks_against_a_match_is_heard() {
        let detector = detector(RULES);
        for text in [
            "vnd_q8Zr3vTn5kL",
            "vnd_q8Zr3vTn5kLwx",
            "vnd_ followed by words",
            "endvnd_followedbyw",
            "vnd_aaaaaaaaaaaa",
            "alt_q8yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
            "acme=aaaaaaaaaaaaaaa1",
            "card 4012888888881882",
            "secret: your_secret",
            "vnd_",
            "",
        ] {
            assert_eq!(found(&detector, text), [], "{text}");
        }
    }

    #[test]
    fn a_place_is_tried_once_however_many_keywords_stand_around_it() {
        let detector = detector(RULES);
        let text = "MID8".repeat(20_000) + " ab12MID8cd34";
        assert_eq!(found(&detector, &text).last().unwrap().1, "ab12MID8cd34");
    }

    #[test]
    fn an_id_means_one_rule() {
        let rule = |keyword: &str| {
            let source = format!("{{id: same, keywords: [{keyword}], pattern: '{keyword}[0-9]{{4}}'}}");
            Arc::new(Rule::new(serde_yaml::from_str(&source).unwrap()).unwrap())
        };
        assert!(matches!(Detector::new(vec![rule("abc"), rule("xyz")]), Err(DetectorError::Twice(_))));
    }
}
