//! What attaché has put on record, read from its journal.

use serde_json::Value;

use super::{Attache, until};

/// Every exchange so far, its outcome joined where there is one, as `attache logs -o json` shows it.
pub fn records(attache: &Attache) -> Vec<Value> {
    attache.records()
}

/// The record of this id once its outcome is there too: `duration` comes with it.
pub async fn whole_record(attache: &Attache, request_id: &str) -> Value {
    let what = format!("the outcome of `{request_id}`");
    until(&what, async || {
        let wanted = |record: &Value| record["requestId"] == request_id && !record["duration"].is_null();
        records(attache).into_iter().find(wanted)
    })
    .await
}
