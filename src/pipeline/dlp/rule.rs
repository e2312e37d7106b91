//! Rules: what is written in `rules/*.yaml`, a policy's `dlp.rules` or a user's own file, read and checked.
//!
//! A rule is found in three steps, each cheaper than the one after it: one of its keywords stands in the text; its
//! pattern matches where [`Reach`] says; what it matched passes its validators and allowances.

use std::sync::{Arc, OnceLock};

use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::allow::Allow;
use super::finding::{Category, Confidence};
use super::head::Head;
use super::shape::{self, Shape};
use super::validate::Validator;
use super::{rules, runs};

/// A rule as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleSource {
    /// Its name: lower-case words joined by `-`. A policy names it in profiles and exemptions.
    pub id: String,
    /// What it finds; `credentials` if nothing is said.
    #[serde(default = "credentials")]
    pub category: String,
    /// Whose tokens these are.
    #[serde(default)]
    pub service: String,
    /// How bad it is when one leaves.
    #[serde(default)]
    pub severity: Severity,
    /// Where the format is published.
    #[serde(default)]
    pub source: String,
    /// One of these stands in every text the rule finds; of at least three bytes, in any case of letters.
    pub keywords: Vec<String>,
    /// Where the pattern may match.
    #[serde(default)]
    pub reach: Reach,
    /// A regular expression without look-around.
    pub pattern: String,
    /// The group of the pattern that is the secret; 0, all of it, if nothing is said.
    #[serde(default)]
    pub secret_group: usize,
    /// False if it may stand in the middle of a word.
    #[serde(default = "yes")]
    pub boundary: bool,
    /// The fewest bytes of the secret.
    #[serde(default)]
    pub min_len: usize,
    /// The most bytes of a match: needed where the pattern has no bound of its own.
    #[serde(default)]
    pub max_len: Option<usize>,
    /// The least Shannon entropy of the secret, in bits for each byte.
    #[serde(default)]
    pub entropy: f32,
    /// What is checked of the secret. One that holds raises the confidence, one that does not lowers it.
    #[serde(default)]
    pub validators: Vec<Validator>,
    /// How sure a match is.
    #[serde(default)]
    pub confidence: Option<Confidences>,
    /// Patterns of secrets that are none.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Values that the vendor prints in its documentation.
    #[serde(default)]
    pub documented: Vec<String>,
    /// What it finds and what it does not: held to at load. Those of rules that are built in are in [`Rule::examples`].
    #[serde(default)]
    pub examples: Examples,
}

/// How bad it is when something leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Of little use alone.
    Low,
    /// Of use for something bounded.
    Medium,
    /// Opens an account.
    #[default]
    High,
    /// Opens everything.
    Critical,
}

/// Where a rule's pattern may match, seen from its keyword.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reach {
    /// The keyword is part of the match: `ghp_` of a GitHub token.
    #[default]
    Within,
    /// The keyword is part of a name that the match is the value of: `DATADOG_API_KEY=…`, `"datadog": {"key": "…"}`.
    Assigned,
    /// The match is within [`NEARBY`] bytes after the keyword or before it.
    Nearby,
}

/// How far [`Reach::Nearby`] reaches, in bytes.
pub const NEARBY: usize = 96;

/// How sure a match is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Confidences {
    /// Where it has no validators.
    pub base: Confidence,
    /// Where all validators hold; [`Confidence::Confirmed`] if nothing is said.
    #[serde(default = "confirmed")]
    pub on_valid: Confidence,
    /// Where one does not; no finding at all if nothing is said.
    #[serde(default)]
    pub on_invalid: Option<Confidence>,
}

/// What a rule finds and what it does not.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Examples {
    /// Texts in which it finds something.
    #[serde(default, rename = "match")]
    pub matches: Vec<String>,
    /// Texts in which it finds nothing.
    #[serde(default)]
    pub no_match: Vec<String>,
}

/// A rule that was read and checked.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub id: Arc<str>,
    /// What it finds.
    pub category: Category,
    /// As it is written.
    pub source: RuleSource,
    /// How sure a match is.
    pub confidence: Confidences,
    /// The most bytes that a match has.
    pub max_len: usize,
    /// True if every match begins with a keyword: then it is tried there and nowhere else.
    pub anchored: bool,
    /// True if what it begins with is found nowhere else: then it is one even in the middle of other text, or pulled
    /// apart.
    pub distinctive: bool,
    /// True if nothing that begins with a letter or digit in the middle of a word is one.
    pub stands_alone: bool,
    /// True if a match may have blanks or line ends in it.
    pub has_blanks: bool,
    /// How many bytes every match begins with that all are those of tokens.
    pub solid: usize,
    /// True if what it finds is a run of a dozen and more of those, after its keyword or with it.
    pub by_run: bool,
    /// True if every match begins with a keyword and has a `@` after it: without one no address has a password.
    pub has_at: bool,
    pattern: Lazy,
    head: OnceLock<Head>,
    allow: Box<[Allow]>,
    allow_key: OnceLock<u128>,
}

/// Most rules never meet their keyword: a pattern is compiled when it is first needed.
#[derive(Debug, Default)]
struct Lazy(OnceLock<Option<Regex>>);

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Not a list of rules.
    #[error("no list of rules can be read here: {0}")]
    Unreadable(String),
    /// Not lower-case words.
    #[error("`{0}` is no rule id: use lower-case letters, digits and single `-`, beginning with a letter")]
    Id(String),
    /// Not a category.
    #[error(
        "`{0}` is no category: use `credentials`, `pii.financial`, `pii.govId`, `pii.contact`, `pii.health`, `crypto`, `promptInjection` or `custom.<name>`"
    )]
    Category(String),
    /// Without one of three bytes the pattern would have to be tried everywhere.
    #[error("`keywords` needs at least one, and each at least three bytes: they decide where the pattern is tried")]
    Keywords,
    /// Not a regular expression, or too large.
    #[error("`{pattern}` is no pattern: {why}")]
    Pattern {
        /// As it is written.
        pattern: String,
        /// What the parser says.
        why: String,
    },
    /// Not bounded.
    #[error("a match has no longest length: bound the repetitions, or set `maxLen` (at most {MOST})")]
    Unbounded,
    /// It matches nothing at all.
    #[error("the pattern matches the empty text")]
    Empty,
    /// More groups than there are.
    #[error("`secretGroup: {0}` names no group of the pattern")]
    Group(usize),
    /// An example does not hold.
    #[error("an example does not hold: the rule finds {found} in `{text}`")]
    Example {
        /// `nothing`, or what was found.
        found: &'static str,
        /// The example.
        text: String,
    },
}

/// The longest match of a rule, in bytes: what is held back of a stream is bounded by it.
pub const MOST: usize = 4096;

impl Examples {
    fn is_empty(&self) -> bool {
        self.matches.is_empty() && self.no_match.is_empty()
    }
}

impl RuleSource {
    /// What it finds, if what is said of it but for its patterns can be used.
    fn named(&self) -> Result<Category, RuleError> {
        let words = |id: &str| id.split('-').all(|word| !word.is_empty() && word.bytes().all(is_word));
        if !words(&self.id) || !self.id.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(RuleError::Id(self.id.clone()));
        }
        let category = Category::parse(&self.category).ok_or_else(|| RuleError::Category(self.category.clone()))?;
        if self.keywords.is_empty() || self.keywords.iter().any(|keyword| keyword.len() < 3) {
            return Err(RuleError::Keywords);
        }
        Ok(category)
    }
}

impl Rule {
    /// Checks a rule. Its pattern is parsed here and compiled when it is first needed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(source: RuleSource) -> Result<Self, RuleError> {
        source.named()?;
        let unread = |pattern: &str, why| RuleError::Pattern { pattern: pattern.to_owned(), why };
        let shape = Shape::of(&source.pattern, &source.keywords).map_err(|why| unread(&source.pattern, why))?;
        for pattern in &source.allow {
            shape::parse(pattern).map_err(|why| unread(pattern, why))?;
        }
        // A rule of somebody's own may find words: it is looked for everywhere.
        Ok(Self { by_run: false, ..Self::with(source, shape)? })
    }

    /// Checks a rule whose patterns were read before.
    pub(super) fn with(source: RuleSource, shape: Shape) -> Result<Self, RuleError> {
        let category = source.named()?;
        if shape.least == Some(0) {
            return Err(RuleError::Empty);
        }
        // Groups are counted from 1, and the whole match is 0.
        if source.secret_group > shape.groups {
            return Err(RuleError::Group(source.secret_group));
        }
        let bound = match (source.max_len, shape.most) {
            (Some(stated), Some(longest)) => stated.min(longest),
            (stated, longest) => stated.or(longest).ok_or(RuleError::Unbounded)?,
        };
        if bound > MOST {
            return Err(RuleError::Unbounded);
        }
        let base = match source.reach {
            Reach::Within => Confidence::High,
            Reach::Assigned => Confidence::Medium,
            Reach::Nearby => Confidence::Low,
        };
        let confidence =
            source.confidence.unwrap_or(Confidences { base, on_valid: Confidence::Confirmed, on_invalid: None });
        Ok(Self {
            id: source.id.as_str().into(),
            category,
            confidence,
            max_len: bound,
            anchored: source.reach == Reach::Within && shape.begins_with_keyword,
            distinctive: is_distinctive(&source, &shape),
            stands_alone: is_alone(&source, &shape),
            has_blanks: shape.has_blanks,
            solid: shape.solid,
            has_at: shape.has_at && shape.begins_with_keyword,
            by_run: is_by_run(&source, &shape),
            pattern: Lazy::default(),
            head: OnceLock::new(),
            allow: source.allow.iter().map(|_| Allow::default()).collect(),
            allow_key: OnceLock::new(),
            source,
        })
    }

    /// The pattern. None only if a pattern that parses does not compile, which a rule's examples would show.
    pub fn pattern(&self) -> Option<&Regex> {
        self.pattern.compiled(&self.source.pattern)
    }

    /// What it finds and what it does not.
    pub fn examples(&self) -> &Examples {
        let own = &self.source.examples;
        if own.is_empty() { rules::examples(&self.id).unwrap_or(own) } else { own }
    }

    /// What a match begins with.
    #[inline]
    pub fn head(&self) -> &Head {
        let head = || shape::parse(&self.source.pattern).map(|parsed| Head::of(&parsed)).unwrap_or_default();
        self.head.get_or_init(head)
    }

    /// True if the rule itself says that this secret is none.
    pub fn allows(&self, secret: &[u8]) -> bool {
        let mut patterns = self.allow.iter().zip(&self.source.allow);
        patterns.any(|(allow, text)| allow.is_match(text, secret))
    }

    /// Rules with the same key allow the same; none where asking costs no more than looking that up.
    pub fn allow_key(&self) -> Option<u128> {
        const FEW: usize = 4;
        let key = || {
            let mut all = Sha256::new();
            for pattern in &self.source.allow {
                all.update(pattern.len().to_be_bytes());
                all.update(pattern);
            }
            all.finalize().first_chunk().map_or(0, |key| u128::from_be_bytes(*key))
        };
        (self.allow.len() >= FEW).then(|| *self.allow_key.get_or_init(key))
    }

    /// True if the vendor prints this value in its documentation.
    pub fn documents(&self, secret: &[u8]) -> bool {
        self.source.documented.iter().any(|value| value.as_bytes() == secret)
    }
}

impl Lazy {
    /// Of this text, which is always the same.
    fn compiled(&self, text: &str) -> Option<&Regex> {
        self.0.get_or_init(|| compile(text)).as_ref()
    }
}

/// A rule's program may not be large: it is one of hundreds.
pub(super) fn compile(pattern: &str) -> Option<Regex> {
    const MOST_PROGRAM: usize = 1 << 20;
    let config = Regex::config().nfa_size_limit(Some(MOST_PROGRAM)).hybrid_cache_capacity(1 << 17).utf8_empty(false);
    Regex::builder().configure(config).syntax(syntax::Config::new().unicode(false).utf8(false)).build(pattern).ok()
}

fn is_distinctive(source: &RuleSource, shape: &Shape) -> bool {
    const FEWEST: usize = 16;
    // Four letters and what follows them in letters of both cases stand in base64 by chance.
    let mixed = ["A-Za-z", "a-zA-Z", "\\w"].iter().any(|class| source.pattern.contains(class));
    let is_sign = |byte: u8| b"_-.:".contains(&byte);
    let long = source
        .keywords
        .iter()
        // What every address begins with is no sign of a token.
        .all(|keyword| {
            let sign = keyword.len() >= 6 || (keyword.len() >= 4 && (!mixed || keyword.bytes().any(is_sign)));
            sign && !keyword.ends_with("://")
        });
    source.reach == Reach::Within
        && long
        && shape.begins_with_keyword
        && shape.least.is_some_and(|least| least >= FEWEST)
}

fn is_alone(source: &RuleSource, shape: &Shape) -> bool {
    let word = |keyword: &String| keyword.starts_with(|c: char| c.is_ascii_alphanumeric());
    source.boundary && source.secret_group == 0 && source.keywords.iter().all(word) && !is_distinctive(source, shape)
}

/// What is told apart from other texts, and put together where it was pulled apart, is looked for everywhere.
fn is_by_run(source: &RuleSource, shape: &Shape) -> bool {
    let within =
        shape.begins_with_keyword || (shape.whole && source.max_len.or(shape.most).is_some_and(|most| most <= 256));
    let named = source.keywords.iter().map(String::len).max().unwrap_or_default();
    // What is drawn must be so long, whatever stands before it.
    let least = if source.reach == Reach::Within { runs::LEAST + named } else { runs::LEAST };
    shape.solid >= least
        && match source.reach {
            Reach::Within => within && !is_distinctive(source, shape),
            Reach::Assigned => true,
            Reach::Nearby => false,
        }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn credentials() -> String {
    "credentials".to_owned()
}

fn confirmed() -> Confidence {
    Confidence::Confirmed
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Result<Rule, RuleError> {
        Rule::new(serde_yaml::from_str(text).unwrap())
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said() {
        for (text, expected) in [
            ("{id: A, keywords: [abc], pattern: abc}", "`A` is no rule id"),
            ("{id: a-, keywords: [abc], pattern: abc}", "`a-` is no rule id"),
            ("{id: a, category: secrets, keywords: [abc], pattern: abc}", "`secrets` is no category"),
            ("{id: a, keywords: [], pattern: abc}", "needs at least one"),
            ("{id: a, keywords: [ab], pattern: abc}", "three bytes"),
            ("{id: a, keywords: [abc], pattern: 'abc('}", "is no pattern"),
            ("{id: a, keywords: [abc], pattern: 'abc(?=x)'}", "is no pattern"),
            ("{id: a, keywords: [abc], pattern: 'abc[a-z]+'}", "no longest length"),
            ("{id: a, keywords: [abc], pattern: 'abc[a-z]{1,5000}'}", "no longest length"),
            ("{id: a, keywords: [abc], pattern: '[a-z]{0,9}'}", "empty"),
            ("{id: a, keywords: [abc], pattern: abc, secretGroup: 1}", "names no group"),
            ("{id: a, keywords: [abc], pattern: abc, allow: ['[']}", "is no pattern"),
        ] {
            let error = rule(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_rule_knows_how_long_its_matches_are_and_where_they_begin() {
        let rule = |text: &str| rule(text).unwrap();
        let fixed = rule("{id: a, keywords: [ABC_], pattern: '(?i)abc_[0-9]{4}'}");
        assert!(fixed.anchored && fixed.max_len == 8);
        assert!(rule("{id: a, keywords: [abc_, abd_], pattern: 'ab[cd]_[0-9]{4}'}").anchored);
        assert!(!rule("{id: a, keywords: [abc_], pattern: 'ab[cd]_[0-9]{4}'}").anchored);
        assert!(!rule("{id: a, keywords: [abc], pattern: '[0-9]{4}abc'}").anchored);
        let each = "aq0, aq1, aq2, aq3, aq4, aq5, aq6, aq7, aq8, aq9, aqa, aqb, aqc, aqd, aqe, aqf";
        assert!(rule(&format!("{{id: a, keywords: [{each}], pattern: 'aq[0-9a-f]{{9}}'}}")).anchored);
        assert_eq!(rule("{id: a, keywords: [abc], pattern: 'abc[a-z]+', maxLen: 50}").max_len, 50);
    }
}
