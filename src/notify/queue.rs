//! What waits for a channel: bounded, approvals before refusals, in the order it came.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::sync::{Notify, watch};

use super::event::{Event, Kind};

/// How many refusals wait, and, beside them, how many wait for another attempt.
const MAX_BLOCKED: usize = 1_000;

/// How many events about approvals wait. The approvals themselves are far fewer; this bounds what a mistake can cost.
const MAX_APPROVALS: usize = 10_000;

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
    approvals: VecDeque<Waiting>,
    blocked: VecDeque<Waiting>,
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
    /// Adds an event. False if one had to give way: the oldest refusal, or this one where there is no other.
    pub(super) fn push(&self, event: Arc<Event>, at: SystemTime) -> bool {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = Waiting { at, since: Instant::now(), order: fresh.next, event };
        fresh.next += 1;
        let is_blocked = waiting.event.kind() == Kind::Blocked;
        let fits = match is_blocked {
            true => {
                fresh.blocked.push_back(waiting);
                fresh.blocked.len() <= MAX_BLOCKED
            }
            false if fresh.approvals.len() < MAX_APPROVALS => {
                fresh.approvals.push_back(waiting);
                true
            }
            false => false,
        };
        if !fits {
            if is_blocked {
                fresh.blocked.pop_front();
            }
            fresh.dropped += 1;
            if fresh.dropped.is_power_of_two() {
                let (kind, dropped) = (if is_blocked { "refusals" } else { "approvals" }, fresh.dropped);
                tracing::error!(kind, dropped, "more notifications than the channel takes: the oldest are dropped");
            }
        }
        drop(fresh);
        if fits {
            self.open.send_modify(|open| *open += 1);
        }
        self.wake.notify_one();
        fits
    }

    /// The next event that has not been tried; of approvals only, if so asked.
    pub(super) fn pop(&self, approvals_only: bool) -> Option<Waiting> {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let approval = fresh.approvals.pop_front();
        if approvals_only { approval } else { approval.or_else(|| fresh.blocked.pop_front()) }
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
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.approvals.clear();
        fresh.blocked.clear();
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

impl Delivery {
    fn is_blocked(&self) -> bool {
        self.event.kind() == Kind::Blocked
    }
}

impl Retries {
    /// Adds one; gives back the oldest refusal, if there are too many now.
    pub(super) fn push(&mut self, delivery: Delivery) -> Option<Delivery> {
        self.0.push(delivery);
        let blocked = self.0.iter().enumerate().filter(|(_, d)| d.is_blocked());
        if blocked.clone().count() <= MAX_BLOCKED {
            return None;
        }
        let oldest = blocked.min_by_key(|(_, d)| d.order).map(|(at, _)| at)?;
        Some(self.0.swap_remove(oldest))
    }

    /// The first of those that are due; approvals, or refusals.
    pub(super) fn pop(&mut self, blocked: bool, now: Instant) -> Option<Delivery> {
        let due = self.0.iter().enumerate().filter(|(_, d)| d.due <= now && d.is_blocked() == blocked);
        let first = due.min_by_key(|(_, d)| d.order).map(|(at, _)| at)?;
        Some(self.0.swap_remove(first))
    }

    /// When the next is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.iter().map(|d| d.due).min()
    }
}
