//! The rules that are built in: credentials, one file for each field.
//!
//! Each was written from the format that its vendor publishes (`source`). A rule whose secret has a prefix of its own
//! is `reach: within`; one whose secret is told only by the name before it is `reach: assigned`.

use super::rule::{Rule, RuleError, RuleSource};

/// The files, in the order in which their rules are tried.
const FILES: [(&str, &str); 12] = [
    ("vcs", include_str!("vcs.yaml")),
    ("cloud", include_str!("cloud.yaml")),
    ("ai", include_str!("ai.yaml")),
    ("payment", include_str!("payment.yaml")),
    ("messaging", include_str!("messaging.yaml")),
    ("monitoring", include_str!("monitoring.yaml")),
    ("ci", include_str!("ci.yaml")),
    ("data", include_str!("data.yaml")),
    ("saas", include_str!("saas.yaml")),
    ("infrastructure", include_str!("infrastructure.yaml")),
    ("keys", include_str!("keys.yaml")),
    ("generic", include_str!("generic.yaml")),
];

/// Reads and checks the rules that are built in.
///
/// # Errors
///
/// The id of the rule that does not hold, or the name of the file that is not YAML, and why.
pub fn built_in() -> Result<Vec<Rule>, (String, RuleError)> {
    let mut rules = Vec::new();
    for (name, text) in FILES {
        let sources: Vec<RuleSource> = serde_yaml::from_str(text).map_err(|error| {
            (format!("{name}.yaml"), RuleError::Pattern { pattern: String::new(), why: error.to_string() })
        })?;
        for source in sources {
            let id = source.id.clone();
            rules.push(Rule::new(source).map_err(|error| (id, error))?);
        }
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::pipeline::dlp::rule::Reach;

    fn entropy(secret: &[u8]) -> f32 {
        let mut counts = [0_u16; 256];
        for byte in secret {
            counts[usize::from(*byte)] += 1;
        }
        let all = secret.len() as f32;
        counts.iter().filter(|count| **count > 0).map(|count| f32::from(*count) / all).map(|p| -p * p.log2()).sum()
    }

    /// Whether the pattern with all that the rule says of its secret finds something: where a value may begin if
    /// the secret is told by its name, else anywhere.
    fn finds(rule: &Rule, text: &str) -> bool {
        let word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        let pattern = rule.pattern().unwrap_or_else(|| panic!("{} compiles", rule.id));
        let (text, assigned) = (text.as_bytes(), rule.source.reach == Reach::Assigned);
        let starts: Vec<usize> = match assigned {
            true => (1..text.len()).filter(|at| b"=: \"'".contains(&text[at - 1])).collect(),
            false => vec![0],
        };
        starts.into_iter().flat_map(|at| pattern.captures_iter(&text[at..]).map(move |found| (at, found))).any(
            |(at, found)| {
                let secret = found.get(rule.source.secret_group).expect("the group takes part").as_bytes();
                let (start, end) = found.get(0).map(|all| (at + all.start(), at + all.end())).expect("a match");
                let whole = !rule.source.boundary
                    || (!word(start.checked_sub(1).and_then(|before| text.get(before))) && !word(text.get(end)));
                let here = !assigned || start == at;
                here && whole && entropy(secret) >= rule.source.entropy && !rule.allows(secret)
            },
        )
    }

    #[test]
    fn every_rule_finds_its_examples_and_passes_its_near_misses() {
        let mut wrong = Vec::new();
        for rule in built_in().unwrap_or_else(|error| panic!("{error:?}")) {
            assert!(!rule.source.service.is_empty() && !rule.source.examples.matches.is_empty(), "{}", rule.id);
            assert!(!rule.source.examples.no_match.is_empty(), "{} has no near miss", rule.id);
            for text in &rule.source.examples.matches {
                let lower = text.to_lowercase();
                if !rule.source.keywords.iter().any(|keyword| lower.contains(&keyword.to_lowercase())) {
                    wrong.push(format!("{}: no keyword in `{text}`", rule.id));
                }
                if !finds(&rule, text) {
                    wrong.push(format!("{}: nothing in `{text}`", rule.id));
                }
            }
            for text in &rule.source.examples.no_match {
                if finds(&rule, text) {
                    wrong.push(format!("{}: something in `{text}`", rule.id));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn ids_are_unique_and_there_are_enough_services() {
        let rules = built_in().unwrap_or_else(|error| panic!("{error:?}"));
        let mut ids = BTreeMap::<&str, usize>::new();
        for rule in &rules {
            *ids.entry(&rule.id).or_default() += 1;
        }
        let twice: Vec<_> = ids.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "{twice:?}");
        let services: BTreeSet<_> = rules.iter().map(|rule| rule.source.service.as_str()).collect();
        assert!(rules.len() >= 350 && services.len() >= 220, "{} rules of {} services", rules.len(), services.len());
    }
}
