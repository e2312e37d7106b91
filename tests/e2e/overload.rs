//! More than there is room for: those who are let in are answered in time, the rest are told when to come again, and
//! nothing grows without end. docs/overload.md says which test shows what.

mod capacity;
mod late;
mod many;
mod slow;

use serde_json::Value;

use crate::support::Attache;

/// How often a reason stands on record.
fn refused(attache: &Attache, reason: &str) -> Vec<Value> {
    attache.records().into_iter().filter(|record| record["reason"] == reason).collect()
}
