//! stub
use super::rule::{Rule, RuleError};
/// stub
pub fn built_in() -> Result<Vec<Rule>, (String, RuleError)> {
    let text = r#"
- {id: github-pat, service: GitHub, keywords: [ghp_], pattern: 'ghp_[A-Za-z0-9]{36}', confidence: {base: high, onValid: confirmed, onInvalid: medium}, validators: [githubCrc32]}
- {id: generic-secret, keywords: [secret], reach: assigned, pattern: '[A-Za-z0-9_]{8,40}', confidence: {base: medium}}
- {id: pii-card, category: pii.financial, keywords: [card], reach: nearby, pattern: '[0-9]{16}', validators: [luhn], confidence: {base: high, onValid: high}}
- {id: pii-email, category: pii.contact, keywords: ['@exam'], pattern: '[a-z]{1,20}@[a-z.]{1,20}', confidence: {base: high}}
"#;
    let sources: Vec<super::rule::RuleSource> = serde_yaml::from_str(text).unwrap_or_default();
    sources.into_iter().map(|s| Rule::new(s.clone()).map_err(|e| (s.id, e))).collect()
}
