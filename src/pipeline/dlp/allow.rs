//! What a rule says is none of its secrets: most of it is seen without asking a regular expression.

use std::sync::OnceLock;

use regex_automata::meta::Regex;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use super::head::Head;
use super::rule::compile;
use super::shape;

/// A pattern of what is none.
#[derive(Debug, Default)]
pub struct Allow {
    sieve: OnceLock<Sieve>,
    pattern: OnceLock<Option<Regex>>,
}

/// What is seen of a secret without the pattern.
#[derive(Debug)]
enum Sieve {
    /// It matches if all bytes are of these, and there is one.
    All(Box<[bool; 256]>),
    /// It matches only what begins like this.
    Begins(Head),
    /// Nothing.
    Anything,
}

impl Allow {
    /// Whether it matches somewhere in a secret. The `pattern` is always the same.
    pub fn is_match(&self, pattern: &str, secret: &[u8]) -> bool {
        let sieve = || shape::parse(pattern).map_or(Sieve::Anything, |parsed| Sieve::of(&parsed));
        match self.sieve.get_or_init(sieve) {
            Sieve::All(set) => {
                let is = |byte: &u8| set.get(usize::from(*byte)).copied().unwrap_or_default();
                return !secret.is_empty() && secret.iter().all(is);
            }
            Sieve::Begins(head) if !head.may_begin(secret.iter().copied()) => return false,
            Sieve::Begins(_) | Sieve::Anything => {}
        }
        self.pattern.get_or_init(|| compile(pattern)).as_ref().is_some_and(|pattern| pattern.is_match(secret))
    }
}

impl Sieve {
    fn of(pattern: &Hir) -> Self {
        if let Some(set) = all_of(pattern) {
            return Self::All(set);
        }
        match pattern.properties().look_set_prefix().contains(Look::Start) {
            true => Self::Begins(Head::of(pattern)),
            false => Self::Anything,
        }
    }
}

/// The bytes that `^[…]+$` has in its brackets.
fn all_of(pattern: &Hir) -> Option<Box<[bool; 256]>> {
    let HirKind::Concat(parts) = pattern.kind() else { return None };
    let [start, all, end] = parts.as_slice() else { return None };
    let (HirKind::Look(Look::Start), HirKind::Repetition(all), HirKind::Look(Look::End)) =
        (start.kind(), all.kind(), end.kind())
    else {
        return None;
    };
    let (1, None, HirKind::Class(Class::Bytes(class))) = (all.min, all.max, all.sub.kind()) else { return None };
    let mut set = Box::new([false; 256]);
    for byte in class.iter().flat_map(|range| range.start()..=range.end()) {
        set.get_mut(usize::from(byte)).into_iter().for_each(|is| *is = true);
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rules;
    use super::*;

    /// Those of all rules that are built in, and some that nobody wrote.
    fn patterns() -> &'static [(String, Allow, Regex)] {
        static PATTERNS: OnceLock<Vec<(String, Allow, Regex)>> = OnceLock::new();
        PATTERNS.get_or_init(|| {
            let mut all: Vec<String> =
                rules::built_in().unwrap().into_iter().flat_map(|rule| rule.source.allow).collect();
            let others = [
                "^a|b",
                "(?m)^[ab]+$",
                "^[ab]*$",
                "^(?:[ab]+)$",
                "(?i)^ab|^cd$",
                "[ab]+$",
                "^[ab]{2,}$",
                "^$",
                "(?:^a|^)b",
            ];
            all.extend(others.map(str::to_owned));
            all.sort_unstable();
            all.dedup();
            let with = |pattern: String| {
                let regex = compile(&pattern).unwrap();
                (pattern, Allow::default(), regex)
            };
            all.into_iter().map(with).collect()
        })
    }

    proptest! {
        #[test]
        fn the_pattern_would_say_the_same(secret in prop_oneof![
            "[a-cA-C]{0,4}[\\n]?[a-c]{0,2}", "[A-Za-z_.-]{0,20}", "[A-Za-z0-9_.:/+=-]{0,40}", "[0-9a-f-]{8,40}", "\\PC{0,12}",
            "(your|my|test|EXAMPLE|xxx|[*]{3}|https?:|sha256:|password|pass[0-9]|\\$[A-Z]{3}|v1[.][0-9])[A-Za-z0-9._-]{0,12}",
        ]) {
            for (pattern, allow, regex) in patterns() {
                prop_assert_eq!(allow.is_match(pattern, secret.as_bytes()), regex.is_match(secret.as_bytes()), "{}", pattern);
            }
        }
    }

    #[test]
    fn what_most_rules_say_is_seen_without_their_patterns() {
        let sieve = |pattern| Sieve::of(&shape::parse(pattern).unwrap());
        assert!(matches!(sieve("^[A-Za-z_.-]+$"), Sieve::All(_)));
        assert!(matches!(sieve("^https?:|^[0-9]"), Sieve::Begins(_)));
        assert!(matches!(sieve("EXAMPLE|^[0-9]"), Sieve::Anything));
    }
}
