//! Which tool puts the rules into the kernel.

use thiserror::Error;

use super::nft;
use super::rules::Ruleset;
use super::tool::ToolError;

/// A tool that is there and works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// `nft`: one transaction for both families.
    Nft,
}

/// Why there are no rules.
#[derive(Debug, Error)]
pub enum BackendError {
    #[error("{0}")]
    #[doc = "The tool refused."]
    Tool(#[from] ToolError),
}

impl Backend {
    /// Puts the rules in place.
    pub fn apply(self, ruleset: &Ruleset) -> Result<(), BackendError> {
        match self {
            Self::Nft => Ok(nft::apply(ruleset)?),
        }
    }
}
