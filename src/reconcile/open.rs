//! The exchanges that were let go and of which Envoy has yet to say how they ended.
//!
//! In parts with a lock each, so that the threads that decide hardly meet here: one insertion for each allowed request,
//! and one removal off the decision's way.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const PARTS: usize = 64;
/// How many are watched at once, at some 200 bytes each. What comes beyond is decided and recorded as ever; only if
/// its outcome gets lost, nobody notices.
const MOST: usize = 200_000;
/// How long it is remembered of one that has ended, for Envoy's file, which comes later than its stream.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Longer than any exchange that is still wanted to be heard of.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How long an Envoy that is gone may still be heard of: by its file, which has to be read.
pub const GRACE: Duration = Duration::from_secs(10);

/// The table.
pub struct Open {
    parts: Box<[Mutex<Part>]>,
    hasher: RandomState,
    count: AtomicUsize,
}

type Part = HashMap<Arc<str>, State>;

/// Which connections of Envoy's an exchange may still be reported on: those that were numbered before it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Those below this number.
    Below(u64),
    /// Begun in an earlier life of this service: it is yet to be seen whether its Envoy lives on.
    Former,
}

enum State {
    Running {
        since: Instant,
        mark: Mark,
        orphaned: Option<Instant>,
        /// One of its messages was cut off, and that is on record.
        cut: bool,
    },
    /// Whether its end is on record yet.
    Over { since: Instant, written: bool },
}

/// What was known of an exchange when its end was reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It was running.
    Running,
    /// The same, and one of its messages had been cut off: it may have gone nowhere after all.
    Cut,
    /// Its end had been reported, and is yet to be written.
    Ending,
    /// Its end had been reported.
    Over,
    /// Nothing.
    Stranger,
}

impl Default for Open {
    fn default() -> Self {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        Self { parts, hasher: RandomState::new(), count: AtomicUsize::new(0) }
    }
}

impl Open {
    /// An exchange is about to be let go. False if there are too many to watch this one.
    pub fn begin(&self, id: &Arc<str>, mark: Mark, now: Instant) -> bool {
        if self.count.load(Ordering::Relaxed) >= MOST {
            return false;
        }
        let running = State::Running { since: now, mark, orphaned: None, cut: false };
        if self.part(id).insert(id.clone(), running).is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// One of its messages was cut off.
    pub fn cut(&self, id: &str) {
        if let Some(State::Running { cut, .. }) = self.part(id).get_mut(id) {
            *cut = true;
        }
    }

    /// It was not let go after all.
    pub fn forget(&self, id: &str) {
        if self.part(id).remove(id).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Its end was reported: by Envoy's stream, before the file has it. A stranger is remembered with `anybody` alone.
    pub fn finish(&self, id: &Arc<str>, anybody: bool, now: Instant) -> Known {
        let mut part = self.part(id);
        if let Some(state) = part.get_mut(id) {
            let State::Running { cut, .. } = *state else { return Known::Over };
            *state = State::Over { since: now, written: false };
            return if cut { Known::Cut } else { Known::Running };
        }
        if anybody && self.count.load(Ordering::Relaxed) < MOST {
            part.insert(id.clone(), State::Over { since: now, written: false });
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        Known::Stranger
    }

    /// The end that was reported is on record.
    pub fn written(&self, id: &str) {
        if let Some(State::Over { written, .. }) = self.part(id).get_mut(id) {
            *written = true;
        }
    }

    /// The file has it too. What had been reported need not be remembered any longer.
    pub fn confirm(&self, id: &str) -> Known {
        let mut part = self.part(id);
        match part.get(id) {
            Some(State::Running { .. }) => Known::Running,
            Some(State::Over { written: false, .. }) => Known::Ending,
            Some(State::Over { .. }) => {
                part.remove(id);
                self.count.fetch_sub(1, Ordering::Relaxed);
                Known::Over
            }
            None => Known::Stranger,
        }
    }

    /// It is known now what connections those of an earlier life may be reported on.
    pub fn adopt(&self, below: u64) {
        for part in &self.parts {
            for state in lock(part).values_mut() {
                if let State::Running { mark: mark @ Mark::Former, .. } = state {
                    *mark = Mark::Below(below);
                }
            }
        }
    }

    /// Forgets what need not be remembered, and gives those that Envoy can say nothing about any more. `oldest` is
    /// the number of the oldest connection that Envoy holds, the highest number if it holds none. The second is how
    /// many still run.
    pub fn sweep(&self, oldest: u64, now: Instant) -> (Vec<Arc<str>>, u64) {
        let (mut lost, mut running) = (Vec::new(), 0);
        for part in &self.parts {
            lock(part).retain(|id, state| {
                let keep = match state {
                    State::Over { since, .. } => now.saturating_duration_since(*since) < REMEMBERED,
                    State::Running { since, mark, orphaned, .. } => {
                        let gone = matches!(mark, Mark::Below(number) if *number <= oldest);
                        let gone_since = gone.then(|| *orphaned.get_or_insert(now));
                        let is_lost = gone_since.is_some_and(|gone| now.saturating_duration_since(gone) >= GRACE)
                            || now.saturating_duration_since(*since) >= LONGEST;
                        if is_lost {
                            lost.push(id.clone());
                        } else {
                            running += 1;
                        }
                        !is_lost
                    }
                };
                if !keep {
                    self.count.fetch_sub(1, Ordering::Relaxed);
                }
                keep
            });
        }
        (lost, running)
    }

    fn part(&self, id: &str) -> MutexGuard<'_, Part> {
        let number = self.hasher.hash_one(id) as usize % PARTS;
        // There are as many as the number is below.
        #[allow(clippy::indexing_slicing, reason = "the remainder is below the length")]
        lock(&self.parts[number])
    }
}

fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn an_end_counts_once_whoever_reports_it_first() {
        let (open, now) = (Open::default(), Instant::now());
        open.begin(&id("a"), Mark::Below(1), now);
        assert_eq!(open.confirm("a"), Known::Running, "the file may be first");
        assert_eq!(open.finish(&id("a"), false, now), Known::Running);
        assert_eq!(open.finish(&id("a"), false, now), Known::Over);
        assert_eq!(open.confirm("a"), Known::Ending, "what is not on record yet may get lost");
        open.written("a");
        assert_eq!(open.confirm("a"), Known::Over);
        assert_eq!(open.confirm("a"), Known::Stranger, "nothing stays of what both have reported");
        assert_eq!(open.finish(&id("b"), true, now), Known::Stranger);
        open.written("b");
        assert_eq!(open.confirm("b"), Known::Over);
        open.written("c");
        open.begin(&id("d"), Mark::Below(1), now);
        open.cut("d");
        assert_eq!(open.finish(&id("d"), false, now), Known::Cut);
        open.forget("d");
        assert_eq!(open.finish(&id("c"), false, now), Known::Stranger);
        assert_eq!(open.confirm("c"), Known::Stranger, "that it was decided is yet to be seen");
        open.begin(&id("c"), Mark::Below(1), now);
        open.forget("c");
        assert_eq!(open.confirm("c"), Known::Stranger);
        assert_eq!(open.count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_envoy_can_say_nothing_about_is_lost_after_a_grace() {
        let (open, start) = (Open::default(), Instant::now());
        open.begin(&id("a"), Mark::Below(3), start);
        // Connection 2, of its time, is open.
        assert_eq!(open.sweep(2, start + GRACE * 2), (vec![], 1));
        // It closed, and others that are open now are of a later time.
        let closed = start + GRACE * 3;
        assert_eq!(open.sweep(3, closed), (vec![], 1));
        assert_eq!(open.sweep(3, closed + GRACE / 2), (vec![], 1));
        assert_eq!(open.sweep(3, closed + GRACE), (vec![id("a")], 0));
        assert_eq!(open.sweep(3, closed + GRACE), (vec![], 0), "once");
        // None is open at all.
        open.begin(&id("b"), Mark::Below(9), start);
        open.sweep(u64::MAX, start);
        assert_eq!(open.sweep(u64::MAX, start + GRACE), (vec![id("b")], 0));
        // Nothing lasts longer than a day.
        open.begin(&id("c"), Mark::Below(1), start);
        assert_eq!(open.sweep(0, start + LONGEST), (vec![id("c")], 0));
    }

    #[test]
    fn those_of_an_earlier_life_wait_until_it_is_known_whose_they_are() {
        let (open, start) = (Open::default(), Instant::now());
        for (below, survives) in [(0, false), (7, true)] {
            open.begin(&id("a"), Mark::Former, start);
            assert_eq!(open.sweep(u64::MAX, start + GRACE * 2), (vec![], 1));
            open.adopt(below);
            open.sweep(5, start + GRACE * 2);
            let (lost, _) = open.sweep(5, start + GRACE * 3);
            assert_eq!(lost.is_empty(), survives);
            open.forget("a");
        }
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let (open, start) = (Open::default(), Instant::now());
        for number in 0..MOST {
            assert!(open.begin(&id(&number.to_string()), Mark::Below(1), start));
        }
        assert!(!open.begin(&id("more"), Mark::Below(1), start));
        assert_eq!(open.finish(&id("more"), true, start), Known::Stranger);
        assert_eq!(open.finish(&id("5"), false, start), Known::Running, "what is watched ends as ever");
        let (lost, running) = open.sweep(0, start + REMEMBERED);
        assert_eq!((lost.len(), running), (0, MOST as u64 - 1));
        assert!(open.begin(&id("more"), Mark::Below(1), start), "there is room again");
    }
}
