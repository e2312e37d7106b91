//! More than a worker can decide in time: what has waited too long for its turn is refused before anything that costs.
//!
//! A worker turns to its connections, and then to everything that came over them, in order; so the time since it last
//! turned to them is what a message has waited here. But a socket holds the bodies of a few requests alone: most of what
//! waits for a busy worker waits in Envoy, heads behind others' bodies, and what a request has waited there is known from
//! when it began.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// So long after it refused one a worker is still taken for a busy one: between bursts it is idle for a moment.
const BUSY: Duration = Duration::from_secs(1);
/// How often it is said that requests are refused for this.
const SAID: Duration = Duration::from_secs(10);

thread_local! {
    /// When this worker last turned to its connections.
    static TURNED: Cell<Option<Instant>> = const { Cell::new(None) };
    /// When it last had nothing to do.
    static IDLE: Cell<Option<Instant>> = const { Cell::new(None) };
    /// When it last refused a request for that.
    static SHED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// This thread reads what has come.
pub fn turned() {
    TURNED.set(Some(Instant::now()));
}

/// This thread has done all there was to do, and waits for more.
pub fn idle() {
    IDLE.set(Some(Instant::now()));
}

/// Knows what is too long.
#[derive(Debug)]
pub struct Load {
    most: Duration,
    shed: AtomicU64,
    said: Mutex<Option<Instant>>,
}

impl Load {
    /// A request may wait for its turn as long as this.
    pub fn new(most: Duration) -> Self {
        Self { most, shed: AtomicU64::new(0), said: Mutex::new(None) }
    }

    /// Whether what this thread is about to take has waited too long.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        TURNED.get().is_some_and(|turned| now.saturating_duration_since(turned) > self.most)
    }

    /// Whether a request that began at this time (Envoy's `request.time`, RFC 3339) has waited too long before it came here.
    /// What its client took to send the head is in that time as well, so it counts for nothing with a worker that has
    /// time.
    pub(super) fn has_waited(&self, began: Option<&str>, now: Instant, wall: SystemTime) -> bool {
        let since = |then: &'static std::thread::LocalKey<Cell<Option<Instant>>>| {
            then.get().map(|then| now.saturating_duration_since(then))
        };
        let is_busy = since(&IDLE).is_some_and(|idle| idle > self.most) || since(&SHED).is_some_and(|shed| shed < BUSY);
        let began = is_busy.then(|| began?.parse::<jiff::Timestamp>().ok()).flatten();
        // A clock that was set back has seen nobody wait.
        began.is_some_and(|began| wall.duration_since(began.into()).is_ok_and(|waited| waited > self.most))
    }

    /// One was refused for that.
    pub(super) fn shed(&self, now: Instant) {
        SHED.set(Some(now));
        let count = self.shed.fetch_add(1, Ordering::Relaxed) + 1;
        // Whoever finds it locked knows that somebody is just saying it.
        let Ok(mut said) = self.said.try_lock() else { return };
        if said.is_none_or(|said| now.saturating_duration_since(said) >= SAID) {
            *said = Some(now);
            tracing::warn!(
                count, shed_after = ?self.most,
                "more is asked than can be decided in time: requests are refused (503 `overloaded`)"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_waited_longer_than_it_may_is_over() {
        let load = Load::new(Duration::from_millis(100));
        let now = Instant::now();
        let at = |load: &Load, milliseconds| load.is_over(now + Duration::from_millis(milliseconds));
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(!at(&load, 10_000), "nothing has come to a thread that never turned"));
        });
        TURNED.set(Some(now));
        assert!(!at(&load, 0) && !at(&load, 100) && at(&load, 101));
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(!at(&load, 10_000), "each worker has its own"));
        });
        turned();
        assert!(!load.is_over(Instant::now()));
    }

    #[test]
    fn a_head_is_as_old_as_it_is_where_nobody_was_idle() {
        let load = Load::new(Duration::from_millis(100));
        let (now, wall) = (Instant::now(), SystemTime::now());
        let ago =
            |milliseconds| jiff::Timestamp::try_from(wall - Duration::from_millis(milliseconds)).unwrap().to_string();
        let waited = |began: &str| load.has_waited(Some(began), now + Duration::from_millis(200), wall);
        assert!(!waited(&ago(1000)), "of this thread nobody knows whether it was idle");
        IDLE.set(Some(now + Duration::from_millis(150)));
        assert!(!waited(&ago(1000)), "its client was slow");
        IDLE.set(Some(now));
        assert!(waited(&ago(1000)) && waited(&ago(101)) && !waited(&ago(99)));
        assert!(!waited("yesterday") && !waited("2199-01-01T00:00:00Z"));
        assert!(!load.has_waited(None, now + Duration::from_millis(200), wall));
        idle();
        let waited = |now| load.has_waited(Some(&ago(1000)), now, wall);
        assert!(!waited(Instant::now()));
        IDLE.set(Some(now + BUSY));
        load.shed(now);
        assert!(waited(now) && waited(now + BUSY / 2), "a moment without work is not yet the end of it");
        assert!(!waited(now + BUSY));
    }

    #[test]
    fn it_is_counted_each_time_and_said_now_and_then() {
        let load = Load::new(Duration::ZERO);
        let now = Instant::now();
        for second in [0, 1, 9, 10, 11] {
            load.shed(now + Duration::from_secs(second));
        }
        assert_eq!(load.shed.load(Ordering::Relaxed), 5);
        assert_eq!(*load.said.lock().unwrap(), Some(now + SAID));
    }
}
