//! Limits on how much an agent may send: at most so many units in any window of a length.

pub mod counters;
pub mod window;

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::pipeline::policy::decision::RuleId;

/// At most `most` units in **any** window of length `per`, for each agent by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The entry that sets it; with the agent's name it is the counter's name, so that the count outlives a reload.
    pub rule: RuleId,
    /// Units admitted in a window; at least 1.
    pub most: u64,
    /// The window's length; at least 1 ms.
    pub per: Duration,
    /// What is counted.
    pub weight: Weight,
}

/// What a request counts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weight {
    /// One.
    Request,
    /// The bytes of its body.
    Bytes,
    /// The items of a list in its JSON body, found by the names on the way to it; none: the body is the list.
    Items(Vec<Box<str>>),
}

/// What one request would add to one agent's count.
#[derive(Debug, Clone)]
pub struct Charge {
    /// Under which limit.
    pub limit: Arc<Limit>,
    /// Whose count.
    pub agent: Arc<str>,
    /// How much.
    pub units: u64,
}

/// Everything one request would add.
pub type Charges = SmallVec<[Charge; 2]>;

/// Why a request is not admitted now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Excess {
    /// A limit is reached.
    Reached {
        /// Which.
        rule: RuleId,
        /// When there is room again; none if there never will be, because the request alone weighs too much.
        retry_after: Option<Duration>,
    },
    /// The counters cannot be had.
    Unavailable,
}
