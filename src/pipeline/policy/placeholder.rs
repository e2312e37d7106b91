//! What agents hold in a credential's place. Where it stands in the credential's slot it is replaced with it; anywhere
//! else it is left alone, and noted, since somebody expected it to be replaced.

use crate::pipeline::agent::AgentId;
use crate::pipeline::message::decoded;
use crate::pipeline::policy::decision::RuleId;

/// A text that agents may hold in a credential's place.
#[derive(Debug)]
pub struct Placeholder {
    /// The credential's name.
    pub credential: RuleId,
    /// The text; never empty.
    pub text: Box<str>,
    /// The agents that may use the credential; none means all.
    pub agents: Option<Vec<AgentId>>,
}

impl Placeholder {
    /// Whether it stands for something this agent may use.
    pub fn is_for(&self, agent: AgentId) -> bool {
        self.agents.as_ref().is_none_or(|agents| agents.contains(&agent))
    }

    /// Whether it stands in a header field's value.
    pub fn is_in_field(&self, value: &[u8]) -> bool {
        match std::str::from_utf8(value) {
            Ok(value) => value.contains(&*self.text),
            Err(_) => value.windows(self.text.len().max(1)).any(|window| window == self.text.as_bytes()),
        }
    }

    /// Whether it stands in a path or query, as it is or percent-encoded.
    pub fn is_in_target(&self, target: &str) -> bool {
        target.contains(&*self.text) || (target.contains('%') && self.is_in_field(&decoded(target)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_found_in_every_spelling_of_a_target() {
        let placeholder = Placeholder { credential: "key".into(), text: "sk-place/holder".into(), agents: None };
        for (target, found) in [
            ("a=sk-place/holder&b", true),
            ("a=sk-place%2Fholder", true),
            ("%73k-place%2fholder", true),
            ("sk-place%2", false),
            ("sk-place%2Fholde%", false),
            ("", false),
        ] {
            assert_eq!(placeholder.is_in_target(target), found, "{target}");
        }
        assert!(placeholder.is_in_field(b"Bearer sk-place/holder") && placeholder.is_in_field(b"\xff sk-place/holder"));
        assert!(!placeholder.is_in_field(b"sk-place%2Fholder") && !placeholder.is_in_field(b""));
    }
}
