//! More than a worker can decide in time: what has waited too long for its turn is refused before anything that costs.
//!
//! A worker turns to its connections, and then to everything that came over them, in order; so the time since it last
//! turned to them is what a message has waited here. But a socket holds the bodies of a few requests alone: most of what
//! waits for a busy worker waits in Envoy, heads behind others' bodies, and what a request has waited there is known from
//! when it began. Where it is Envoy that is busy, everything waits there ([`backlog`]).

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::backlog;

/// A head that has come sooner than this has not waited.
const SOON: Duration = Duration::from_millis(10);
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

    /// What a head that has come now waited in Envoy, and its client took to send it, if it began at this time (Envoy's
    /// `request.time`, RFC 3339).
    pub(super) fn arrived(&self, began: Option<&str>, now: Instant, wall: SystemTime) -> Duration {
        let began = began.and_then(|began| began.parse::<jiff::Timestamp>().ok());
        // A clock that was set back has seen nobody wait.
        let waited = began.and_then(|began| wall.duration_since(began.into()).ok()).unwrap_or_default();
        backlog::head(now, waited);
        waited
    }

    /// Whether a head has waited too long before it came here. What its client took to send it is in that time as well,
    /// so it counts for nothing where this worker has time, unless every other has waited as well: they wait for Envoy,
    /// which turns to a request three times more, for its verdict, its upstream and its answer, and does so as late.
    pub(super) fn is_late(&self, waited: Duration, now: Instant) -> bool {
        let since = |then: &'static std::thread::LocalKey<Cell<Option<Instant>>>| {
            then.get().map(|then| now.saturating_duration_since(then))
        };
        let share = self.most / 4;
        let is_busy =
            || since(&IDLE).is_some_and(|idle| idle > self.most) || since(&SHED).is_some_and(|shed| shed < BUSY);
        waited > self.most && is_busy() || waited > share && backlog::heads(now).is_some_and(|least| least > share)
    }

    /// Whether a body would come too late if it was asked for, with a head that waited so long: none has come in time,
    /// and it is not clients that are slow, since no head came at once either.
    pub(super) fn is_backed_up(&self, waited: Duration, now: Instant) -> bool {
        let least = |waits: Option<Duration>, than: Duration| waits.is_some_and(|least| least > than);
        waited > SOON && least(backlog::bodies(now), self.most / 2) && least(backlog::heads(now), SOON)
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
        let is_late = |began: Option<&str>, now| load.is_late(load.arrived(began, now, wall), now);
        let waited = |began: &str| is_late(Some(began), now + Duration::from_millis(200));
        assert!(!waited(&ago(1000)), "of this thread nobody knows whether it was idle");
        IDLE.set(Some(now + Duration::from_millis(150)));
        assert!(!waited(&ago(1000)), "its client was slow");
        IDLE.set(Some(now));
        assert!(waited(&ago(1000)) && waited(&ago(101)) && !waited(&ago(99)));
        assert!(!waited("yesterday") && !waited("2199-01-01T00:00:00Z"));
        assert!(!is_late(None, now + Duration::from_millis(200)));
        idle();
        let waited = |now| is_late(Some(&ago(1000)), now);
        assert!(!waited(Instant::now()));
        IDLE.set(Some(now + BUSY));
        load.shed(now);
        assert!(waited(now) && waited(now + BUSY / 2), "a moment without work is not yet the end of it");
        assert!(!waited(now + BUSY));
    }

    #[test]
    fn where_every_head_waits_it_is_envoy_that_is_busy() {
        let (load, begin) = (Load::new(Duration::from_millis(400)), Instant::now());
        let milliseconds = Duration::from_millis;
        (0..8).for_each(|_| backlog::head(begin, milliseconds(120)));
        let later = begin + milliseconds(250);
        assert!(!load.is_late(milliseconds(100), later), "a quarter of what it may");
        assert!(load.is_late(milliseconds(101), later));
        assert!(!load.is_late(milliseconds(101), later + milliseconds(250)), "that is over");
        (0..8).for_each(|_| backlog::head(later, milliseconds(90)));
        assert!(
            !load.is_late(milliseconds(399), later + milliseconds(250)),
            "somebody did not wait: its client was slow"
        );
    }

    #[test]
    fn where_every_body_waits_none_is_asked_for_unless_clients_are_slow() {
        let (load, begin) = (Load::new(Duration::from_millis(400)), Instant::now());
        let milliseconds = Duration::from_millis;
        let later = begin + milliseconds(250);
        let is_backed_up = |heads, bodies, waited| {
            std::thread::scope(|scope| {
                let told = scope.spawn(|| {
                    (0..8).for_each(|_| backlog::head(begin, milliseconds(heads)));
                    (0..8).for_each(|_| backlog::body(begin, milliseconds(bodies)));
                    load.is_backed_up(milliseconds(waited), later)
                });
                told.join().unwrap()
            })
        };
        assert!(is_backed_up(20, 300, 11));
        assert!(!is_backed_up(20, 200, 11), "half of what they may");
        assert!(!is_backed_up(10, 300, 11), "heads come at once, bodies do not: clients are slow");
        assert!(!is_backed_up(20, 300, 10), "this one came at once");
        assert!(!load.is_backed_up(milliseconds(1000), later), "nothing has come here");
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
