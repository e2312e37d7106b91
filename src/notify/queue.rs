//! What waits for a channel in memory: what is urgent, and what the journal cannot tell of.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::sync::{Notify, watch};

use super::event::Event;

/// How many events wait, beside those that wait for another attempt. Those about approvals are bounded by the approvals
/// themselves, which are far fewer; this bounds what a mistake can cost.
const MOST: usize = 10_000;

/// What waits for one channel.
#[derive(Default)]
pub(super) struct Queue {
    fresh: Mutex<Fresh>,
    wake: Notify,
    /// Events that are not done with: fresh, under way, or waiting for another attempt.
    open: watch::Sender<usize>,
}

#[derive(Default)]
struct Fresh {
    events: VecDeque<Waiting>,
    next: u64,
    dropped: u64,
}

/// An event that has not been tried.
pub(super) struct Waiting {
    pub event: Arc<Event>,
    pub at: SystemTime,
    pub since: Instant,
    /// Its place in the order in which events came.
    pub order: u64,
}

impl Queue {
    /// Adds an event. False if there are too many.
    pub(super) fn push(&self, event: Arc<Event>, at: SystemTime) -> bool {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        if fresh.events.len() >= MOST {
            fresh.dropped += 1;
            if fresh.dropped.is_power_of_two() {
                let (kind, dropped) = (event.kind().as_str(), fresh.dropped);
                tracing::error!(kind, dropped, "more notifications than the channel takes: some are dropped");
            }
            return false;
        }
        let waiting = Waiting { at, since: Instant::now(), order: fresh.next, event };
        fresh.next += 1;
        fresh.events.push_back(waiting);
        drop(fresh);
        self.open.send_modify(|open| *open += 1);
        self.wake.notify_one();
        true
    }

    /// The next event that has not been tried.
    pub(super) fn pop(&self) -> Option<Waiting> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).events.pop_front()
    }

    /// Returns after the next [`push`](Self::push), or at once if there was one since the last call.
    pub(super) async fn pushed(&self) {
        self.wake.notified().await;
    }

    /// One event is done with.
    pub(super) fn done(&self) {
        self.open.send_modify(|open| *open = open.saturating_sub(1));
    }

    /// How many events are not done with.
    pub(super) fn waiting(&self) -> usize {
        *self.open.borrow()
    }

    /// Forgets everything, and says how much that was.
    pub(super) fn close(&self) -> usize {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).events.clear();
        self.open.send_replace(0)
    }

    /// Waits until every event is done with.
    pub(super) async fn emptied(&self) {
        // The sender is `self`: it cannot be gone.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

/// Events that wait for another attempt.
#[derive(Default)]
pub(super) struct Retries(Vec<Delivery>);

/// An event on its way.
pub(super) struct Delivery {
    pub event: Arc<Event>,
    pub at: SystemTime,
    pub since: Instant,
    pub order: u64,
    /// The same in every attempt.
    pub id: String,
    /// How often it has been tried.
    pub attempts: u32,
    /// When it is to be tried next.
    pub due: Instant,
}

impl Retries {
    /// Adds one.
    pub(super) fn push(&mut self, delivery: Delivery) {
        self.0.push(delivery);
    }

    /// The first of those that are due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Delivery> {
        let due = self.0.iter().enumerate().filter(|(_, d)| d.due <= now);
        let first = due.min_by_key(|(_, d)| d.order).map(|(at, _)| at)?;
        Some(self.0.swap_remove(first))
    }

    /// When the next is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.iter().map(|d| d.due).min()
    }
}
