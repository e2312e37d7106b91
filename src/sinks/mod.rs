//! Takes the record elsewhere: each sink reads the journal from the place it has come to, and nothing waits for it.
//!
//! A sink is a pump between a tail of the journal and whoever [`Deliver`]s. What was delivered is remembered in
//! `STATE/journal/cursors/NAME.json`, after it was; so every record arrives at least once, over restarts too, and again
//! where the process died in between. What a sink has not taken stays in the journal, and no more of it is in memory
//! than one batch. All of it happens on a thread of its own.

pub mod otlp;
mod place;
mod pump;
pub mod stdout;
mod tail;

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

use crate::journal::Journal;
use place::Place;
pub use pump::{Dealt, Deliver, Facts, Trouble};
use pump::{Progress, pump};
use tail::Tail;
pub use tail::{From, Item};

/// Where sinks run. Cheap to clone; its thread ends with the last of the clones.
#[derive(Clone)]
pub struct Room {
    journal: Arc<Journal>,
    pace: Pace,
    handle: Handle,
    closing: watch::Sender<bool>,
    _thread: Arc<oneshot::Sender<()>>,
}

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How often it is looked for new records.
    pub glance: Duration,
    /// The pause after the first failure; it doubles with each, and half of it is left to chance.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            glance: Duration::from_millis(100),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
        }
    }
}

/// Asks how a sink is doing.
pub type Ask = Arc<dyn Fn() -> Facts + Send + Sync>;

/// A sink that is at work, until this is dropped.
pub struct Sink {
    name: Arc<str>,
    journal: Weak<Journal>,
    progress: Arc<Progress>,
    place: Arc<Place>,
    task: AbortHandle,
    ended: watch::Receiver<bool>,
}

impl Room {
    /// An empty one.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn new(journal: Arc<Journal>, pace: Pace) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (thread, gone) = oneshot::channel::<()>();
        std::thread::Builder::new().name("sinks".into()).spawn(move || {
            // Nothing is ever sent: it completes when the room is gone.
            let _ = runtime.block_on(gone);
            runtime.shutdown_background();
        })?;
        let (closing, _) = watch::channel(false);
        Ok(Self { journal, pace, handle, closing, _thread: Arc::new(thread) })
    }

    /// Where tasks of the room run.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Gives a sink all records from the place that is kept under its name; from `first` where there is none.
    pub fn open(&self, name: &str, first: From, deliver: impl Deliver) -> Sink {
        let progress = Arc::new(Progress::default());
        let place = Arc::new(self.place(name));
        let tail = Tail::open(self.journal.clone(), place.clone(), name, first);
        let (ended, has_ended) = watch::channel(false);
        let pump = pump(name.into(), tail, deliver, self.pace, progress.clone(), self.closing.subscribe());
        let task = self.handle.spawn(async move {
            pump.await;
            ended.send_replace(true);
        });
        let (journal, task) = (Arc::downgrade(&self.journal), task.abort_handle());
        Sink { name: name.into(), journal, progress, place, task, ended: has_ended }
    }

    /// Forgets the places of all sinks whose names begin so, but for those that are to be kept.
    pub fn forget(&self, prefix: &str, is_kept: impl Fn(&str) -> bool) {
        for name in Place::names(&self.journal.folder().join(CURSORS)) {
            if name.strip_prefix(prefix).is_some_and(|rest| !is_kept(rest)) {
                self.place(&name).forget();
            }
        }
    }

    /// Tells every sink to end once it has nothing left, or fails: after this nothing new is on record.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    fn place(&self, name: &str) -> Place {
        Place::new(&self.journal.folder().join(CURSORS), name)
    }
}

/// In the journal's folder: where sinks have come to.
const CURSORS: &str = "cursors";

impl Sink {
    /// Its name, as metrics write it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How it is doing, for whoever asks later too.
    pub fn facts(&self) -> Ask {
        let (journal, progress) = (self.journal.clone(), self.progress.clone());
        Arc::new(move || progress.facts(journal.upgrade().map(|journal| journal.facts().records)))
    }

    /// Waits until it has ended, which it does once the room is closed.
    pub async fn ended(&self) {
        // Where the sender is gone, so is the task.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Ends it where it is.
    pub fn stop(&self) {
        self.task.abort();
        self.place.leave();
        self.progress.stop();
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests;
