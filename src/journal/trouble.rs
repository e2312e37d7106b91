//! Says that the journal cannot be written: at once and loudly, but not once for each request that is refused for it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often it is said again, as long as it lasts.
const AGAIN: Duration = Duration::from_secs(10);
/// How long it has to go well to be over: a shorter record may still find room where the next one does not.
const WELL: Duration = Duration::from_secs(1);

/// What went wrong of late.
#[derive(Default)]
pub(super) struct Trouble {
    /// There is some.
    lasts: AtomicBool,
    lately: Mutex<Option<Lately>>,
}

struct Lately {
    said: Instant,
    failed: Instant,
    /// Something was written after that.
    recovered: bool,
    /// How many records since it began, and since it was last said.
    records: u64,
    unsaid: u64,
}

impl Trouble {
    /// Some records could not be written, or not be brought onto the disk.
    pub fn failed(&self, error: &io::Error, records: u64) {
        let now = Instant::now();
        let mut lately = self.lately();
        let first = lately.is_none();
        let lately = lately.get_or_insert(Lately { said: now, failed: now, recovered: false, records: 0, unsaid: 0 });
        lately.failed = now;
        lately.recovered = false;
        lately.records += records;
        lately.unsaid += records;
        self.lasts.store(true, Ordering::Relaxed);
        if first || now.duration_since(lately.said) >= AGAIN {
            let records = std::mem::take(&mut lately.unsaid);
            lately.said = now;
            tracing::error!(%error, records, "the journal cannot be written: what has no record does not pass");
        }
    }

    /// Records were written.
    pub fn went_well(&self) {
        if self.lasts.load(Ordering::Relaxed) {
            self.lately().as_mut().into_iter().for_each(|lately| lately.recovered = true);
            self.settle();
        }
    }

    /// Says that it is over, once it is. To be asked now and then: the last record for a long time may have been written
    /// too soon to tell.
    pub fn settle(&self) {
        if !self.lasts.load(Ordering::Relaxed) {
            return;
        }
        let is_over = |lately: &mut Lately| lately.recovered && lately.failed.elapsed() >= WELL;
        let mut lately = self.lately();
        if let Some(over) = lately.take_if(is_over) {
            self.lasts.store(false, Ordering::Relaxed);
            tracing::warn!(records = over.records, "the journal is written again; so many records could not be");
        }
    }

    fn lately(&self) -> MutexGuard<'_, Option<Lately>> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing::subscriber::with_default;

    use super::*;

    #[test]
    fn it_is_said_once_and_that_it_is_over() {
        let text = Arc::<Text>::default();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(text.clone()).finish();
        with_default(subscriber, || {
            let trouble = Trouble::default();
            trouble.went_well();
            for _ in 0..1000 {
                trouble.failed(&io::ErrorKind::StorageFull.into(), 2);
                trouble.went_well();
            }
            let ago = |duration| Instant::now().checked_sub(duration).unwrap();
            let set = |change: fn(&mut Lately, Instant), duration| {
                change(trouble.lately.lock().unwrap().as_mut().unwrap(), ago(duration));
            };
            set(|lately, ago| lately.said = ago, AGAIN);
            trouble.failed(&io::ErrorKind::StorageFull.into(), 1);
            // What was not written since then is no sign that it is over.
            set(|lately, ago| lately.failed = ago, WELL);
            trouble.settle();
            set(|lately, _| lately.failed = Instant::now(), WELL);
            trouble.went_well();
            trouble.settle();
            assert!(trouble.lasts.load(Ordering::Relaxed), "too soon to tell");
            set(|lately, ago| lately.failed = ago, WELL);
            trouble.settle();
            trouble.settle();
            trouble.went_well();
        });
        let text = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].contains("ERROR") && lines[0].contains("records=2"), "{text}");
        assert!(lines[1].contains("ERROR") && lines[1].contains("records=1999"), "{text}");
        assert!(lines[2].contains("written again") && lines[2].contains("records=2001"), "{text}");
    }

    #[derive(Default)]
    struct Text(Mutex<Vec<u8>>);

    impl io::Write for &Text {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
