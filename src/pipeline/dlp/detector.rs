//! Finds what the rules name in one text: a keyword, then a pattern where the keyword says, then what speaks against it.

mod looks;
mod search;

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use regex_automata::{Anchored, Input};
use smallvec::SmallVec;

use super::finding::{Category, Confidence};
use super::numbers;
use super::prefilter::{Prefilter, PrefilterError};
use super::rule::{Reach, Rule, RuleError};
use super::runs;
use search::{Search, best};

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
    /// The keywords that are part of what is found.
    beginnings: Beginnings,
    /// Those that have blanks in them.
    beginnings_with_blanks: Beginnings,
    /// The longest match that has blanks in it, in bytes, as far as a stream is held back for one.
    longest_with_blanks: usize,
}

/// When more is found that blocks, no more is looked for.
pub const MOST: usize = 1000;

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
        let has_blank = |keyword: &&String| keyword.bytes().any(|byte| byte.is_ascii_whitespace());
        let with_blanks = rules.iter().filter(structured).filter(|rule| rule.has_blanks);
        static VERSIONS: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            version: VERSIONS.fetch_add(1, Ordering::Relaxed),
            numbers: numbers::RULES.iter().map(|rule| (rule.id, (rule.id.into(), rule.category()))).collect(),
            beginnings_with_blanks: Beginnings::of(begins.iter().copied().filter(has_blank)),
            beginnings: Beginnings::of(begins.into_iter()),
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
            let examples = rule.examples();
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
            || self.beginnings.at_end(run).next().is_some()
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
        let begun = text.len() - self.beginnings_with_blanks.at_end(tail).max().unwrap_or_default();
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

/// What may be the beginning of a keyword.
#[derive(Debug)]
struct Beginnings {
    /// In lower case and sorted: those that begin with something stand right after where it would stand itself.
    keywords: Vec<Box<[u8]>>,
    longest: usize,
}

impl Beginnings {
    fn of<'w>(keywords: impl Iterator<Item = &'w String>) -> Self {
        let mut keywords: Vec<Box<[u8]>> = keywords.map(|word| word.to_ascii_lowercase().into_bytes().into()).collect();
        keywords.sort_unstable();
        keywords.dedup();
        let longest = keywords.iter().map(|keyword| keyword.len()).max().unwrap_or_default();
        Self { keywords, longest }
    }

    /// How many bytes at the end of a text a keyword begins with that is not whole: two or more.
    fn at_end(&self, text: &[u8]) -> impl Iterator<Item = usize> {
        let from = text.len().saturating_sub(self.longest.saturating_sub(1));
        let end = text.get(from..).unwrap_or_default().to_ascii_lowercase();
        (2..=end.len()).filter(move |length| {
            let begun = end.get(end.len() - length..).unwrap_or_default();
            let next = self.keywords.partition_point(|keyword| **keyword <= *begun);
            self.keywords.get(next).is_some_and(|keyword| keyword.starts_with(begun))
        })
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
    fn what_is_not_whole_may_be_a_beginning() {
        let words = ["ghp_", "GHP_x", "abc", "ab-cd", "zz"].map(str::to_owned);
        let beginnings = Beginnings::of(words.iter());
        for (text, lengths) in [
            ("a gh", &[2][..]),
            ("GHP", &[3]),
            ("ghp_", &[4]),
            ("ghp_x", &[]),
            ("ab", &[2]),
            ("ab-c", &[4]),
            ("abc", &[]),
            ("g", &[]),
            ("zz", &[]),
            ("", &[]),
        ] {
            assert_eq!(beginnings.at_end(text.as_bytes()).collect::<Vec<_>>(), lengths, "{text}");
        }
        assert_eq!(Beginnings::of([].iter()).at_end(b"abc").next(), None);
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
