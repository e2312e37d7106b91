//! Pairs of methods and paths that permit.

use crate::pipeline::policy::decision::RuleId;
use crate::pipeline::policy::matcher::{Methods, PathPattern};

/// The requests a credential may go with. Permitting: they match exactly.
#[derive(Debug)]
pub struct Routes {
    rule: RuleId,
    pairs: Vec<(Methods, PathPattern)>,
}

impl Routes {
    /// Those that match one of the pairs; `rule` is their name in records and answers.
    pub fn new(rule: RuleId, pairs: Vec<(Methods, PathPattern)>) -> Self {
        Self { rule, pairs }
    }

    /// Their name.
    pub fn rule(&self) -> &RuleId {
        &self.rule
    }

    /// Whether a request is one of them.
    pub fn admit(&self, method: &str, path: &str) -> bool {
        self.pairs.iter().any(|(methods, pattern)| methods.permits(method) && pattern.permits(path))
    }

    /// False only where no request is among both.
    pub fn may_overlap(&self, other: &Self) -> bool {
        let meets = |(methods, path): &(Methods, PathPattern)| {
            other.pairs.iter().any(|(others, pattern)| methods.may_overlap(others) && path.may_overlap(pattern))
        };
        self.pairs.iter().any(meets)
    }
}
