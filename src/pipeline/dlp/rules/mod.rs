//! The rules that are built in: credentials, one file for each field; keys to money; personal data that has a keyword;
//! orders given to agents.
//!
//! Each was written from the format that its vendor publishes (`source`). A rule whose secret has a prefix of its own
//! is `reach: within`; one whose secret is told only by the name before it is `reach: assigned`.

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

use super::rule::{Examples, Reach, Rule, RuleError, RuleSource};
use super::shape::Shape;

/// What the build made of the files in the order in which their rules are tried, as `build/rules.rs` says: YAML takes
/// longer to read than a start may.
const BUILT: &str = include_str!(concat!(env!("OUT_DIR"), "/rules.json"));

/// The examples of those rules, by id: in a text of their own, which nobody reads who does not try them.
const EXAMPLES: &str = include_str!(concat!(env!("OUT_DIR"), "/examples.json"));

/// A rule, and the [`Shape`] of its pattern.
type Built = (RuleSource, (Option<usize>, Option<usize>, usize, bool, bool, usize, bool, bool));

/// Reads the rules that are built in.
///
/// # Errors
///
/// The id of the rule that does not hold, and why. A test sees to it that there is none.
pub fn built_in() -> Result<Vec<Rule>, (String, RuleError)> {
    let built: Vec<Built> = serde_json::from_str(BUILT)
        .map_err(|error| ("rules.json".to_owned(), RuleError::Unreadable(error.to_string())))?;
    let services = service_names(built.iter().map(|(source, _)| source));
    let mut rules = Vec::with_capacity(built.len());
    for (mut source, (least, most, groups, begins_with_keyword, has_blanks, solid, whole, has_at)) in built {
        if source.id.starts_with(OF_ANY_SERVICE) {
            source.keywords.extend(services.iter().cloned());
        }
        let id = source.id.clone();
        let shape = Shape { least, most, groups, begins_with_keyword, has_blanks, solid, whole, has_at };
        rules.push(Rule::with(source, shape).map_err(|error| (id, error))?);
    }
    Ok(rules)
}

/// The examples of a rule that is built in, by its id.
pub fn examples(id: &str) -> Option<&'static Examples> {
    static BY_ID: OnceLock<HashMap<String, Examples>> = OnceLock::new();
    let read = || serde_json::from_str::<Vec<_>>(EXAMPLES).unwrap_or_default().into_iter().collect();
    BY_ID.get_or_init(read).get(id)
}

/// What the ids of the rules begin with for what is assigned to a service's name and has not the shape of that service's keys.
const OF_ANY_SERVICE: &str = "generic-service-secret";

/// What the services are called whose keys are told by their name.
fn service_names<'r>(sources: impl Iterator<Item = &'r RuleSource>) -> BTreeSet<String> {
    let named = |source: &&'r RuleSource| source.reach == Reach::Assigned && source.category == "credentials";
    let names = sources.filter(named).filter(|source| source.service != "Generic");
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
            let examples = rule.examples();
            assert!(!examples.matches.is_empty() && !examples.no_match.is_empty(), "{} has no examples", rule.id);
            broken.extend(Detector::new(vec![Arc::new(rule)]).unwrap().broken_examples());
        }
        assert!(broken.is_empty(), "{broken:#?}");
    }

    #[test]
    fn every_rule_is_what_it_would_be_if_it_was_read_now() {
        for rule in built_in().unwrap() {
            let now = Rule::new(rule.source.clone()).unwrap();
            let what =
                |rule: &Rule| (rule.max_len, rule.anchored, rule.distinctive, rule.has_blanks, rule.solid, rule.has_at);
            assert_eq!(what(&rule), what(&now), "{}", rule.id);
        }
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
