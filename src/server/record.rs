//! What stands between those who have something to put on record and the journal.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::ext_proc::{Receipt, Recorder};
use crate::journal::{self, Journal};
use crate::live::Live;
use crate::pipeline::audit::{DecisionRecord, InspectionRecord, Verdict};
use crate::pipeline::guesses::Guesses;
use crate::pipeline::policy::Reason;
use crate::reconcile::Ledger;
use crate::telemetry::{self, JournalFacts};

/// How the journal is doing, for whoever looks at metrics.
pub fn facts(journal: Arc<Journal>) -> telemetry::Ask<JournalFacts> {
    Arc::new(move || {
        let journal::Facts { records, bytes, errors, size, segments, unsynced, checkpoint } = journal.facts();
        JournalFacts { records, bytes, errors, size, segments, unsynced, checkpoint }
    })
}

/// Puts decisions on record, and remembers what Envoy owes of them.
pub struct Recording {
    /// Where they go.
    pub journal: Arc<Journal>,
    /// Who remembers.
    pub ledger: Arc<Ledger>,
}

impl Recorder for Recording {
    fn record(&self, record: &DecisionRecord) -> Receipt {
        self.ledger.decides(record);
        let receipt = self.receipt(self.journal.append(record), &record.request_id);
        match receipt.seq {
            Some(_) => self.ledger.recorded(record),
            None => self.ledger.failed(record),
        }
        receipt
    }

    fn note(&self, record: &InspectionRecord) -> Receipt {
        let receipt = self.receipt(self.journal.append(record), &record.request_id);
        if receipt.seq.is_some() {
            self.ledger.inspected(record);
        }
        receipt
    }
}

impl Recording {
    fn receipt(&self, appended: io::Result<u64>, request_id: &str) -> Receipt {
        match appended {
            Ok(seq) => Receipt { seq: Some(seq), committed: self.journal.committed(seq) },
            Err(error) => {
                // The journal says it, and not for each.
                tracing::debug!(%error, request_id, "a record cannot be written");
                Receipt::default()
            }
        }
    }
}

/// How often refusals that are not on record one by one are put there with their number.
const SUM: Duration = Duration::from_secs(5);

/// Puts refused tokens on record that were too many to be there one by one.
pub struct Sums {
    /// Who counts them.
    pub guesses: Arc<Guesses>,
    /// Where they go.
    pub journal: Arc<Journal>,
    /// The policy in force.
    pub live: Arc<Live>,
}

impl Sums {
    /// Writes one record for each place they came from.
    pub fn write(&self) {
        for (place, count) in self.guesses.take_untold() {
            let reason = Reason::TooManyTokens;
            let revision = self.live.load().rules.revision.clone();
            let record = DecisionRecord {
                method: "TOKEN".into(),
                source: Some(place.to_string().into()),
                reason: Some(reason.as_str().into()),
                detail: Some(format!("{count} more requests were refused").into()),
                status: Some(reason.status()),
                ..DecisionRecord::new(unique("tokens"), wall(), Verdict::RateLimited, revision)
            };
            if let Err(error) = self.journal.append(&record) {
                tracing::error!(%error, count, "refused tokens cannot be put on record");
            }
        }
    }
}

/// Puts them on record as long as there are any.
pub async fn sum(sums: Arc<Sums>) {
    loop {
        tokio::time::sleep(SUM).await;
        let sums = sums.clone();
        if tokio::task::spawn_blocking(move || sums.write()).await.is_err() {
            tracing::error!("refused tokens could not be put on record");
        }
    }
}

/// An id that no other record of this process has, nor of another by all likelihood.
pub fn unique(kind: &str) -> Arc<str> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let micros = jiff::Timestamp::now().as_microsecond();
    format!("{kind}-{micros:x}-{:x}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Bounds what a power cut can take to what was written in the last 200 ms.
pub async fn keep(journal: Arc<Journal>) {
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let journal = journal.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || journal.upkeep()).await {
            // The journal says it itself.
            tracing::debug!(%error, "the journal cannot be kept on the disk");
        }
    }
}
