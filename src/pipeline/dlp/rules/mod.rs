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

    use std::sync::Arc;

    use super::super::detector::Detector;
    use super::*;

    #[test]
    fn every_rule_finds_its_examples_and_passes_its_near_misses() {
        let rules = built_in().unwrap_or_else(|error| panic!("{error:?}"));
        for rule in &rules {
            assert!(!rule.source.service.is_empty() && !rule.source.examples.matches.is_empty(), "{}", rule.id);
            assert!(!rule.source.examples.no_match.is_empty(), "{} has no near miss", rule.id);
        }
        let detector = Detector::new(rules.into_iter().map(Arc::new).collect()).unwrap();
        let broken = detector.broken_examples();
        let shown: Vec<_> = broken.iter().map(|(id, error)| format!("{id}: {error}")).collect();
        assert!(shown.is_empty(), "{} of them\n{}", shown.len(), shown.join("\n"));
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
