//! What waits in Envoy, told by how late everything comes.
//!
//! A client may be slow with a head or a body, so that one that comes late says nothing. Where nothing of what came
//! within a moment came at once, all of it had to wait for Envoy: the least wait of a slice of time is what stands
//! in line (as in CoDel, RFC 8289).

use std::cell::Cell;
use std::time::{Duration, Instant};

/// A slice of time.
const SLICE: Duration = Duration::from_millis(250);
/// Fewer than these in a slice say nothing.
const ENOUGH: u32 = 8;

thread_local! {
    static HEADS: Cell<Waits> = const { Cell::new(Waits::NONE) };
    static BODIES: Cell<Waits> = const { Cell::new(Waits::NONE) };
}

/// A head has come to this worker, so long after its request began.
pub fn head(now: Instant, waited: Duration) {
    HEADS.set(HEADS.get().and(now, waited));
}

/// A body has come to this worker, so long after it was asked for.
pub fn body(now: Instant, waited: Duration) {
    BODIES.set(BODIES.get().and(now, waited));
}

/// What every head waited at least, where enough of them came.
pub fn heads(now: Instant) -> Option<Duration> {
    HEADS.get().least(now)
}

/// The same of bodies.
pub fn bodies(now: Instant) -> Option<Duration> {
    BODIES.get().least(now)
}

/// The waits of this slice, and the least of the one before.
#[derive(Clone, Copy)]
struct Waits {
    since: Option<Instant>,
    count: u32,
    least: Duration,
    before: Option<Duration>,
}

impl Waits {
    const NONE: Self = Self { since: None, count: 0, least: Duration::MAX, before: None };

    fn and(self, now: Instant, waited: Duration) -> Self {
        let turned = self.at(now);
        Self { count: turned.count.saturating_add(1), least: turned.least.min(waited), ..turned }
    }

    /// The same in the slice that it is now.
    fn at(self, now: Instant) -> Self {
        let Some(since) = self.since else { return Self { since: Some(now), ..Self::NONE } };
        let elapsed = now.saturating_duration_since(since);
        if elapsed < SLICE {
            return self;
        }
        let before = (self.count >= ENOUGH && elapsed < 2 * SLICE).then_some(self.least);
        Self { since: Some(now), before, ..Self::NONE }
    }

    fn least(self, now: Instant) -> Option<Duration> {
        self.at(now).before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Adds what came at these milliseconds, having waited as many as stand beside.
    fn waits(begin: Instant, came: impl IntoIterator<Item = (u32, u32)>) -> Waits {
        came.into_iter().fold(Waits::NONE, |waits, (at, waited)| waits.and(begin + at * MS, waited * MS))
    }

    #[test]
    fn what_stands_in_line_is_the_least_that_any_of_many_waited() {
        let begin = Instant::now();
        let late = waits(begin, (0..20).map(|n| (n * 10, 400 + n)));
        assert_eq!(late.least(begin + 249 * MS), None, "the slice has not ended");
        assert_eq!(late.least(begin + 250 * MS), Some(400 * MS));
        let one_at_once = waits(begin, (0..20).map(|n| (n * 10, if n == 7 { 1 } else { 400 })));
        assert_eq!(one_at_once.least(begin + 250 * MS), Some(MS));
    }

    #[test]
    fn few_say_nothing_and_what_was_is_forgotten() {
        let begin = Instant::now();
        let few = waits(begin, (0..7).map(|n| (n * 10, 400)));
        assert_eq!(few.least(begin + 250 * MS), None);
        let late = waits(begin, (0..8).map(|n| (n * 10, 400)));
        assert_eq!(late.least(begin + 499 * MS), Some(400 * MS));
        assert_eq!(late.least(begin + 500 * MS), None);
        assert_eq!(late.and(begin + 260 * MS, MS).least(begin + 300 * MS), Some(400 * MS));
        assert_eq!(late.and(begin + 260 * MS, MS).least(begin + 600 * MS), None, "of one nobody knows");
        assert_eq!(Waits::NONE.least(begin), None);
    }

    #[test]
    fn each_worker_has_its_own() {
        let begin = Instant::now();
        let tell = |waited| {
            (0..8).for_each(|_| {
                head(begin, waited);
                body(begin, 2 * waited);
            });
            (heads(begin + SLICE), bodies(begin + SLICE))
        };
        assert_eq!(tell(400 * MS), (Some(400 * MS), Some(800 * MS)));
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(heads(begin + SLICE), None));
        });
    }
}
