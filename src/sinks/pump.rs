//! Gives one sink the records, in their order, again and again until it takes them.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;
use tokio::sync::watch;

use super::Pace;
use super::tail::{Item, Tail};

/// Takes records somewhere.
pub trait Deliver: Send + 'static {
    /// Deals with some of these records, beginning with the first; with none only where the next call does something
    /// else. They come again until they have been dealt with, and may come again after.
    fn deliver(&mut self, items: &[Item]) -> impl Future<Output = Result<Dealt, Trouble>> + Send;
}

/// What has been dealt with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dealt {
    /// How many records, from the first.
    pub records: usize,
    /// How many of them were delivered.
    pub delivered: u64,
    /// How many the other side will never take.
    pub rejected: u64,
}

/// Why nothing could be dealt with for now.
#[derive(Debug)]
pub struct Trouble {
    /// What is wrong, without anything that is secret.
    pub error: String,
    /// How long the other side asks to be left alone.
    pub wish: Duration,
}

/// How a sink is doing. Counts are since the service began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// Records it has not dealt with.
    pub lag: u64,
    /// How old the first of them is, once it has been read; zero without any.
    pub behind: Duration,
    /// Records delivered.
    pub delivered: u64,
    /// Records that the other side will never take.
    pub rejected: u64,
}

/// The same, while it changes.
#[derive(Default)]
pub struct Progress {
    /// The number, among those of this run, of the next record.
    position: AtomicI64,
    /// When the first record was written that is not dealt with, in microseconds since 1970; 0 without any.
    oldest: AtomicU64,
    delivered: AtomicU64,
    rejected: AtomicU64,
    stopped: AtomicBool,
}

impl Progress {
    /// How it is doing, where this run has written so many records.
    pub fn facts(&self, records: Option<u64>) -> Facts {
        let records = records.filter(|_| !self.stopped.load(Ordering::Relaxed));
        let ahead = records.map_or(0, |records| {
            i64::try_from(records).unwrap_or(i64::MAX).saturating_sub(self.position.load(Ordering::Relaxed))
        });
        let oldest = match self.oldest.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            micros => (SystemTime::UNIX_EPOCH + Duration::from_micros(micros)).elapsed().unwrap_or_default(),
        };
        Facts {
            lag: u64::try_from(ahead).unwrap_or_default(),
            behind: oldest,
            delivered: self.delivered.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
        }
    }

    /// Nothing is behind any more.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.oldest.store(0, Ordering::Relaxed);
    }

    fn dealt(&self, dealt: Dealt) {
        self.position.fetch_add(i64::try_from(dealt.records).unwrap_or_default(), Ordering::Relaxed);
        self.delivered.fetch_add(dealt.delivered, Ordering::Relaxed);
        self.rejected.fetch_add(dealt.rejected, Ordering::Relaxed);
    }

    /// Everything was dealt with that there was when this run had written so many records.
    fn caught_up(&self, records: Option<u64>) {
        if let Some(records) = records.and_then(|records| i64::try_from(records).ok()) {
            self.position.fetch_max(records, Ordering::Relaxed);
        }
        self.oldest.store(0, Ordering::Relaxed);
    }

    fn reached(&self, items: &[Item]) {
        let time = items.iter().find_map(time);
        let micros = time.and_then(|time| u64::try_from(time.as_microsecond()).ok());
        self.oldest.store(micros.unwrap_or_default(), Ordering::Relaxed);
    }
}

/// Runs until the room is closed, and then until there is nothing left or it fails.
pub async fn pump(
    name: Arc<str>,
    mut tail: Tail,
    mut deliver: impl Deliver,
    pace: Pace,
    progress: Arc<Progress>,
    mut closing: watch::Receiver<bool>,
) {
    match tail.position() {
        Ok(position) => progress.position.store(position, Ordering::Relaxed),
        Err(error) => tracing::warn!(sink = &*name, %error, "how far the sink is behind is not known"),
    }
    let mut patience = Patience { name, pace, failing: None };
    loop {
        let is_last = *closing.borrow();
        let items = match tail.read() {
            Ok(items) => items,
            Err(error) => {
                let trouble = Trouble { error: format!("the journal cannot be read: {error}"), wish: Duration::ZERO };
                if patience.wait(&trouble, &progress, &mut closing).await {
                    continue;
                }
                return;
            }
        };
        if items.is_empty() {
            progress.caught_up(tail.read_all());
            if is_last {
                return;
            }
            // Either way it is looked again.
            let _ = tokio::time::timeout(pace.glance, closing.changed()).await;
            continue;
        }
        let mut rest = items.as_slice();
        progress.reached(rest);
        while !rest.is_empty() {
            match deliver.deliver(rest).await {
                Ok(dealt) => {
                    let (done, left) = rest.split_at(dealt.records.min(rest.len()));
                    if let Some(last) = done.last() {
                        tail.keep(last.after);
                    }
                    progress.dealt(dealt);
                    progress.reached(left);
                    rest = left;
                    if dealt.records > 0 {
                        patience.over(&progress);
                    }
                }
                Err(trouble) => {
                    if !patience.wait(&trouble, &progress, &mut closing).await {
                        return;
                    }
                }
            }
        }
        if tail.read_all().is_some() {
            progress.caught_up(tail.read_all());
        }
    }
}

/// How long a sink is left alone, and what is said of it.
struct Patience {
    name: Arc<str>,
    pace: Pace,
    failing: Option<Failing>,
}

struct Failing {
    since: Instant,
    attempts: u32,
    delivered: u64,
}

impl Patience {
    /// Waits before the next attempt. False if there is to be none.
    async fn wait(&mut self, trouble: &Trouble, progress: &Progress, closing: &mut watch::Receiver<bool>) -> bool {
        let delivered = progress.delivered.load(Ordering::Relaxed);
        if self.failing.is_none() {
            let (sink, error) = (&*self.name, &*trouble.error);
            tracing::warn!(sink, error, "a sink does not take records: the journal keeps them, and it is asked again");
        }
        let failing = self.failing.get_or_insert_with(|| Failing { since: Instant::now(), attempts: 0, delivered });
        failing.attempts += 1;
        let Pace { first_pause, longest_pause, .. } = self.pace;
        let whole = first_pause.saturating_mul(1 << (failing.attempts - 1).min(16)).min(longest_pause);
        // Half of it by chance, so that many who failed together do not come back together.
        let chance = RandomState::new().hash_one(failing.attempts) % 1024;
        let pause = whole / 2 + whole / 2 * u32::try_from(chance).unwrap_or_default() / 1024;
        if *closing.borrow() {
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep(pause.max(trouble.wish)) => true,
            _ = closing.changed() => false,
        }
    }

    /// An attempt has not failed.
    fn over(&mut self, progress: &Progress) {
        if let Some(failing) = self.failing.take() {
            let seconds = failing.since.elapsed().as_secs();
            let records = progress.delivered.load(Ordering::Relaxed) - failing.delivered;
            let (sink, attempts) = (&*self.name, failing.attempts);
            tracing::info!(sink, attempts, seconds, records, "the sink takes records again");
        }
    }
}

/// When a record was written, as far as it says.
pub fn time(item: &Item) -> Option<jiff::Timestamp> {
    #[derive(Deserialize)]
    struct Timed<'a> {
        #[serde(borrow)]
        time: &'a str,
    }
    serde_json::from_slice::<Timed<'_>>(&item.line).ok()?.time.parse().ok()
}
