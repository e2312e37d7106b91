//! What the journal says of itself, between the records of exchanges.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Line;
use super::chain::Link;
use super::checkpoint::{Checkpoint, PublicKey};
use crate::pipeline::audit::rfc3339;

/// A line of the journal about the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Mark {
    /// The first line of every segment.
    Segment(Segment),
    /// How far the chain had come, signed.
    Checkpoint(Checkpoint),
    /// Segments were removed since they were old, or too much.
    Retention(Retention),
    /// The clock of the machine was changed: times before and after do not compare.
    Clock(Clock),
}

/// What a segment goes on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Segment {
    /// When it was begun, as RFC 3339 in UTC with microseconds.
    #[serde(with = "rfc3339")]
    pub time: SystemTime,
    /// Its number; each is one more than the one before it.
    pub segment: u64,
    /// The chain its records belong to.
    pub chain: Box<str>,
    /// The last record before it, of this chain or of the run before; none where there was nothing.
    pub after: Option<Link>,
    /// What the checkpoints of this chain are signed with.
    pub public_key: PublicKey,
    /// The version of attaché that writes it.
    pub version: Box<str>,
}

/// What was removed, and by whose wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// When, as RFC 3339 in UTC with microseconds.
    #[serde(with = "rfc3339")]
    pub time: SystemTime,
    /// The numbers of the first and the last segment removed.
    pub segments: (u64, u64),
    /// The last record in them; none where it could not be read.
    pub through: Option<Link>,
    /// How much they were, in bytes.
    pub bytes: u64,
}

/// By how much the clock was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Clock {
    /// The time since then, as RFC 3339 in UTC with microseconds.
    #[serde(with = "rfc3339")]
    pub time: SystemTime,
    /// What it would have been without.
    #[serde(with = "rfc3339")]
    pub expected: SystemTime,
}

impl Line for Mark {
    fn write(&self, line: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(line, self)
    }
}
