//! The rules that are built in: credentials, one file for each field; keys to money; personal data that has a keyword;
//! orders given to agents.
//!
//! Each was written from the format that its vendor publishes (`source`). A rule whose secret has a prefix of its own
//! is `reach: within`; one whose secret is told only by the name before it is `reach: assigned`.

use std::collections::BTreeSet;

use super::rule::{Reach, Rule, RuleError, RuleSource};

/// The files, in the order in which their rules are tried.
const FILES: [(&str, &str); 15] = [
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
    ("crypto", include_str!("crypto.yaml")),
    ("pii", include_str!("pii.yaml")),
    ("injection", include_str!("injection.yaml")),
];

/// Reads and checks the rules that are built in.
///
/// # Errors
///
/// The id of the rule that does not hold, or the name of the file that cannot be read, and why.
pub fn built_in() -> Result<Vec<Rule>, (String, RuleError)> {
    let mut sources: Vec<RuleSource> = Vec::new();
    for (name, text) in FILES {
        let file: Vec<RuleSource> = serde_yaml::from_str(text)
            .map_err(|error| (format!("{name}.yaml"), RuleError::Unreadable(error.to_string())))?;
        sources.extend(file);
    }
    let services = service_names(&sources);
    let mut rules = Vec::with_capacity(sources.len());
    for mut source in sources {
        if source.id.starts_with(OF_ANY_SERVICE) {
            source.keywords.extend(services.iter().cloned());
        }
        let id = source.id.clone();
        rules.push(Rule::new(source).map_err(|error| (id, error))?);
    }
    Ok(rules)
}

/// What the ids of the rules begin with for what is assigned to a service's name and has not the shape of that service's keys.
const OF_ANY_SERVICE: &str = "generic-service-secret";

/// What the services are called whose keys are told by their name.
fn service_names(sources: &[RuleSource]) -> BTreeSet<String> {
    let named = |source: &&RuleSource| source.reach == Reach::Assigned && source.category == "credentials";
    let names = sources.iter().filter(named).filter(|source| source.service != "Generic");
    names.flat_map(|source| source.keywords.iter().map(|keyword| keyword.to_ascii_lowercase())).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pipeline::dlp::detector::Detector;

    /// Each alone: of two that find the same the surer one is named.
    #[test]
    fn every_rule_finds_its_examples_and_passes_its_near_misses() {
        let mut broken = Vec::new();
        for rule in built_in().unwrap() {
            let examples = &rule.source.examples;
            assert!(!examples.matches.is_empty() && !examples.no_match.is_empty(), "{} has no examples", rule.id);
            broken.extend(Detector::new(vec![Arc::new(rule)]).unwrap().broken_examples());
        }
        assert!(broken.is_empty(), "{broken:#?}");
    }

    #[test]
    fn no_rule_is_there_twice_and_every_service_has_one() {
        let rules = built_in().unwrap();
        let services: BTreeSet<_> = rules.iter().map(|rule| rule.source.service.clone()).collect();
        assert!(!services.contains(""), "a rule without a service");
        assert!(rules.len() >= 1000 && services.len() >= 600, "{} rules of {} services", rules.len(), services.len());
        Detector::new(rules.into_iter().map(Arc::new).collect()).unwrap();
    }
}
