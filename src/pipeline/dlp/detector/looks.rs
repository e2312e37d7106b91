//! What was seen of the bytes that rules found, and does not hang on the rule: many rules find the same.

use std::ops::Range;

use super::super::allowance;
use super::super::finding::Confidence;
use super::super::rule::Rule;
use super::search::stands_alone;

/// What was seen of some places of one text; of two that share a slot, of the last.
#[derive(Default)]
pub(super) struct Looks(Vec<Look>);

/// What was seen of one place.
#[derive(Clone, Default)]
pub(super) struct Look {
    of: Range<usize>,
    /// How many of its bytes are more than [what fills it up](allowance::unfilled).
    pub core: usize,
    /// Whether it is no part of a longer word.
    pub stands_alone: bool,
    entropy: Option<f32>,
    /// Whether it is a placeholder: to who is sure, and to who is not.
    placeholder: [Option<bool>; 2],
    /// What [the last rules with many patterns](Rule::allow_key) said of it.
    allowed: Option<(u128, bool)>,
}

impl Looks {
    /// What is seen at a place.
    pub(super) fn at(&mut self, text: &[u8], range: &Range<usize>) -> &mut Look {
        /// Values that stand behind the same names lie about as near.
        const SLOTS: usize = 64;
        if self.0.is_empty() {
            self.0 = vec![Look::default(); SLOTS];
        }
        let slot = (range.start ^ range.len() << 3) % SLOTS;
        #[expect(clippy::indexing_slicing, reason = "there are as many slots")]
        let look = &mut self.0[slot];
        if look.of != *range {
            *look = Look::of(text, range);
        }
        look
    }
}

impl Look {
    /// What is seen at once of this place.
    pub(super) fn of(text: &[u8], range: &Range<usize>) -> Self {
        Self {
            of: range.clone(),
            core: allowance::unfilled(text.get(range.clone()).unwrap_or_default()).len(),
            stands_alone: stands_alone(text, range),
            ..Self::default()
        }
    }

    /// How random its `core` is.
    pub(super) fn entropy(&mut self, core: &[u8]) -> f32 {
        *self.entropy.get_or_insert_with(|| allowance::entropy(core))
    }

    /// Whether a rule says that this is none of its secrets. Rules that find the same mostly say so by the same list.
    pub(super) fn is_allowed(&mut self, rule: &Rule, secret: &[u8]) -> bool {
        let Some(key) = rule.allow_key() else { return rule.allows(secret) };
        match self.allowed {
            Some((of, allowed)) if of == key => allowed,
            _ => self.allowed.insert((key, rule.allows(secret))).1,
        }
    }

    /// Whether somebody wrote it to be replaced.
    pub(super) fn is_placeholder(&mut self, core: &[u8], confidence: Confidence) -> bool {
        let [unsure, sure] = &mut self.placeholder;
        let seen = match confidence {
            Confidence::Confirmed => return allowance::is_placeholder(core, confidence),
            Confidence::High => sure,
            Confidence::Medium | Confidence::Low => unsure,
        };
        *seen.get_or_insert_with(|| allowance::is_placeholder(core, confidence))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_seen_is_what_there_is(
            text in "[a-c0-2x]{0,20}(xxxxxxxx|-{8}|[a-zA-Z0-9 ]{8}){8}", places in prop::collection::vec((0..84_usize, 0..84_usize), 1..200),
        ) {
            let text = text.as_bytes();
            let rules = ["^a,^b,^c,^x", "^a,^b,^c,x$", "^a,^b,^c,^x", "^x"].map(|allow| {
                let source = format!("{{id: a, keywords: [abc], pattern: abc, allow: [{}]}}", allow.replace(',', ", "));
                Rule::new(serde_yaml::from_str(&source).unwrap()).unwrap()
            });
            let mut looks = Looks::default();
            for (from, to) in places {
                let (from, to) = (from.min(to).min(text.len()), from.max(to).min(text.len()));
                let secret = &text[from..to];
                let core = allowance::unfilled(secret);
                let look = looks.at(text, &(from..to));
                prop_assert_eq!(look.core, core.len());
                prop_assert_eq!(look.stands_alone, stands_alone(text, &(from..to)));
                for confidence in [Confidence::Low, Confidence::Medium, Confidence::High, Confidence::Confirmed] {
                    prop_assert_eq!(look.is_placeholder(core, confidence), allowance::is_placeholder(core, confidence));
                }
                prop_assert_eq!(look.entropy(core), allowance::entropy(core));
                for rule in [&rules[0], &rules[1], &rules[2], &rules[1], &rules[3]] {
                    prop_assert_eq!(look.is_allowed(rule, secret), rule.allows(secret));
                }
            }
        }
    }
}
