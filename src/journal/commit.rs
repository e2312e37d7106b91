//! Group commit: a thread that brings records onto the disk, and those who wait for it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Shared;

/// How long a request waits for the disk before it is refused. Less than Envoy waits for the answer (`message_timeout`,
/// five seconds), which would go without the reason.
const PATIENCE: Duration = Duration::from_secs(3);

/// True once a record is on the disk; false if it cannot be brought there, or not in time.
pub type Committed = Pin<Box<dyn Future<Output = bool> + Send>>;

/// The thread, and who waits for it.
pub(super) struct Commits {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// The number of each record, and who is told.
    records: Vec<(u64, oneshot::Sender<bool>)>,
    stop: bool,
}

impl Commits {
    pub fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let queue = Arc::<Queue>::default();
        let served = queue.clone();
        let thread = std::thread::Builder::new().name("journal-commit".into());
        let thread = thread.spawn(move || while served.round(&shared) {})?;
        Ok(Self { queue, thread: Some(thread) })
    }

    pub fn wait(&self, seq: u64) -> Committed {
        let (tell, told) = oneshot::channel();
        self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner).records.push((seq, tell));
        self.queue.wake.notify_one();
        Box::pin(async move { matches!(tokio::time::timeout(PATIENCE, told).await, Ok(Ok(true))) })
    }
}

impl Queue {
    /// Waits for somebody to wait, and for the disk. While it works, the next ones gather. False at the end.
    fn round(&self, shared: &Shared) -> bool {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |waiting: &mut Waiting| waiting.records.is_empty() && !waiting.stop;
        let waiting = self.wake.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
        let goes_on = !waiting.stop;
        drop(waiting);
        let synced = shared.sync();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, rest) = std::mem::take(&mut waiting.records).into_iter().partition(|(seq, _)| *seq < synced.upto);
        waiting.records = rest;
        drop(waiting);
        let done: Vec<(u64, oneshot::Sender<bool>)> = done;
        for (seq, tell) in done {
            // Who is gone need not be told.
            let _ = tell.send(seq >= synced.lost);
        }
        goes_on
    }
}

impl Drop for Commits {
    fn drop(&mut self) {
        self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.queue.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
