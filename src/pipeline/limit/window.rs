//! One agent's count under one limit: a log of what was admitted, exact to the nanosecond.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Limit;

/// Entries a log may have. Beyond it, entries that lie close together become one that counts as the latest of them:
/// it leaves later than it should, so that less is admitted and never more.
pub const MOST_ENTRIES: usize = 1024;
/// How finely a full log is divided: nothing leaves later than it should by more than the window's length over this.
const CELLS: u32 = 512;

/// What was admitted of late. An entry counts for exactly `per`: one that lies `per` back is in another window.
#[derive(Debug, Default)]
pub struct Window {
    /// In the order of time.
    log: VecDeque<Entry>,
    /// The sum of the log.
    total: u128,
    /// The length it was last asked for: what is older is forgotten.
    per: Duration,
    /// Where the cells of a full log begin. It stays, or an entry would move on with every division.
    origin: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    at: Instant,
    units: u64,
}

impl Window {
    /// Whether that many units more are within the limit now; nothing is charged.
    ///
    /// A limit that a reload changed is applied to the log as it is; only what a shorter window forgot does not come
    /// back with a longer one.
    ///
    /// # Errors
    /// How long until they are, or none if they never will be.
    pub fn look(&mut self, limit: &Limit, units: u64, now: Instant) -> Result<(), Option<Duration>> {
        let now = self.forget(limit.per, now);
        if units > limit.most {
            return Err(None);
        }
        let Some(mut surplus) = (self.total + u128::from(units)).checked_sub(u128::from(limit.most)) else {
            return Ok(());
        };
        if surplus == 0 {
            return Ok(());
        }
        for entry in &self.log {
            surplus = surplus.saturating_sub(entry.units.into());
            if surplus == 0 {
                return Err(Some(limit.per.saturating_sub(now.saturating_duration_since(entry.at))));
            }
        }
        // The log is worth its total, so that it cannot be too small; were it, a whole window is long enough.
        Err(Some(limit.per))
    }

    /// Writes that many units down, whether or not there was room.
    pub fn charge(&mut self, limit: &Limit, units: u64, now: Instant) {
        let now = self.forget(limit.per, now);
        if units == 0 {
            return;
        }
        if self.log.len() >= MOST_ENTRIES {
            self.divide();
        }
        if self.log.is_empty() {
            self.origin = Some(now);
        }
        self.total += u128::from(units);
        self.log.push_back(Entry { at: now, units });
    }

    /// Whether nothing in it counts any more.
    pub fn is_idle(&self, now: Instant) -> bool {
        self.log.back().is_none_or(|last| has_left(*last, self.per, now))
    }

    /// Drops what has left, and gives the time that counts: never before the last entry, or the log would lose its
    /// order when two threads read the clock.
    fn forget(&mut self, per: Duration, now: Instant) -> Instant {
        let now = self.log.back().map_or(now, |last| last.at.max(now));
        self.per = per;
        while let Some(oldest) = self.log.front().filter(|oldest| has_left(**oldest, per, now)) {
            self.total = self.total.saturating_sub(oldest.units.into());
            self.log.pop_front();
        }
        if self.log.is_empty() {
            self.log.shrink_to(16);
        }
        now
    }

    /// Makes one entry of those in the same cell.
    fn divide(&mut self) {
        let (Some(origin), width) = (self.origin, (self.per / CELLS).max(Duration::from_nanos(1))) else {
            return;
        };
        let cell = |entry: &Entry| entry.at.saturating_duration_since(origin).as_nanos() / width.as_nanos();
        let mut divided: VecDeque<Entry> = VecDeque::with_capacity(MOST_ENTRIES);
        for entry in self.log.drain(..) {
            match divided.back_mut() {
                Some(last) if cell(last) == cell(&entry) && last.units.checked_add(entry.units).is_some() => {
                    *last = Entry { at: entry.at, units: last.units + entry.units };
                }
                _ => divided.push_back(entry),
            }
        }
        self.log = divided;
    }
}

fn has_left(entry: Entry, per: Duration, now: Instant) -> bool {
    now.saturating_duration_since(entry.at) >= per
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::limit::Weight;

    fn limit(most: u64, per: Duration) -> Limit {
        Limit { rule: "cap".into(), most, per, weight: Weight::Request }
    }

    /// Looks, and charges where there is room.
    fn admit(window: &mut Window, limit: &Limit, units: u64, now: Instant) -> Result<(), Option<Duration>> {
        window.look(limit, units, now)?;
        window.charge(limit, units, now);
        Ok(())
    }

    const SECOND: Duration = Duration::from_secs(1);
    const NANO: Duration = Duration::from_nanos(1);

    #[test]
    fn two_that_lie_a_whole_length_apart_are_in_different_windows() {
        let (mut window, limit, start) = (Window::default(), limit(1, SECOND), Instant::now());
        assert_eq!(admit(&mut window, &limit, 1, start), Ok(()));
        assert_eq!(admit(&mut window, &limit, 1, start + SECOND - NANO), Err(Some(NANO)));
        assert_eq!(admit(&mut window, &limit, 1, start + SECOND), Ok(()));
        assert_eq!(admit(&mut window, &limit, 1, start + SECOND), Err(Some(SECOND)));
    }

    #[test]
    fn there_is_room_again_when_enough_of_the_oldest_has_left() {
        let (mut window, limit, start) = (Window::default(), limit(10, SECOND), Instant::now());
        for (after, units) in [(0, 2), (100, 3), (200, 5)] {
            assert_eq!(admit(&mut window, &limit, units, start + Duration::from_millis(after)), Ok(()));
        }
        let now = start + Duration::from_millis(300);
        for (units, millis) in
            [(0, None), (1, Some(700)), (2, Some(700)), (3, Some(800)), (5, Some(800)), (6, Some(900))]
        {
            let expected = millis.map_or(Ok(()), |millis| Err(Some(Duration::from_millis(millis))));
            assert_eq!(window.look(&limit, units, now), expected, "{units}");
        }
        assert_eq!(window.look(&limit, 11, now), Err(None), "it never fits");
    }

    #[test]
    fn looking_charges_nothing() {
        let (mut window, limit, now) = (Window::default(), limit(1, SECOND), Instant::now());
        for _ in 0..5 {
            assert_eq!(window.look(&limit, 1, now), Ok(()));
        }
        assert!(window.is_idle(now));
    }

    #[test]
    fn a_changed_limit_is_applied_to_what_was_counted_before() {
        let start = Instant::now();
        let mut window = Window::default();
        for at in 0..4 {
            assert_eq!(admit(&mut window, &limit(4, SECOND * 10), 1, start + SECOND * at), Ok(()));
        }
        let now = start + SECOND * 4;
        assert_eq!(window.look(&limit(5, SECOND * 10), 1, now), Ok(()));
        assert_eq!(window.look(&limit(2, SECOND * 10), 1, now), Err(Some(SECOND * 8)), "three have to leave");
        assert_eq!(window.look(&limit(4, SECOND * 20), 1, now), Err(Some(SECOND * 16)));
        assert_eq!(window.look(&limit(4, SECOND * 2), 1, now), Ok(()));
    }

    #[test]
    fn a_clock_that_seems_to_go_back_makes_nothing_leave_earlier() {
        let (mut window, limit, start) = (Window::default(), limit(2, SECOND), Instant::now());
        let late = start + SECOND / 2;
        assert_eq!(admit(&mut window, &limit, 1, late), Ok(()));
        assert_eq!(admit(&mut window, &limit, 1, start), Ok(()));
        assert_eq!(window.look(&limit, 1, start + SECOND), Err(Some(SECOND / 2)));
    }

    #[test]
    fn a_flood_stays_within_the_memory_and_below_the_limit() {
        let (mut window, limit, start) = (Window::default(), limit(50_000, SECOND), Instant::now());
        let (mut total, mut inside) = (0, VecDeque::new());
        for step in 0..300_000_u32 {
            let now = start + Duration::from_micros(10) * step;
            if admit(&mut window, &limit, 1, now).is_ok() {
                total += 1;
                inside.push_back(now);
                while inside.front().is_some_and(|at| now - *at >= SECOND) {
                    inside.pop_front();
                }
                assert!(inside.len() <= 50_000, "{step}");
            }
            assert!(window.log.len() <= MOST_ENTRIES);
        }
        // 3 s of 100,000 a second: an exact log admits 150,000.
        assert!((148_500..=150_000).contains(&total), "{total}");
    }

    #[test]
    fn an_entry_does_not_move_on_with_every_division() {
        let (mut window, limit, start) = (Window::default(), limit(u64::MAX, SECOND), Instant::now());
        for step in 0..1_000_000_u32 {
            window.charge(&limit, 1, start + Duration::from_nanos(900) * step);
        }
        let oldest = window.log.front().unwrap();
        assert!(oldest.at - start < SECOND / CELLS, "{:?}", oldest.at - start);
        assert_eq!(window.total, 1_000_000);
    }

    /// Everything that was ever admitted, asked anew each time.
    struct Naive(Vec<(Instant, u64)>);

    impl Naive {
        fn sum(&self, limit: &Limit, now: Instant) -> u128 {
            let within = |at: &Instant| now.duration_since(*at) < limit.per;
            self.0.iter().filter(|(at, _)| within(at)).map(|(_, units)| u128::from(*units)).sum()
        }

        fn has_room(&self, limit: &Limit, units: u64, now: Instant) -> bool {
            self.sum(limit, now) + u128::from(units) <= u128::from(limit.most)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn it_admits_exactly_what_a_full_count_would(
            most in 1_u64..40,
            per in 1_u64..200,
            requests in vec((0_u64..40, 0_u64..12), 1..300),
        ) {
            let (limit, mut now) = (limit(most, Duration::from_nanos(per)), Instant::now());
            let (mut window, mut naive) = (Window::default(), Naive(Vec::new()));
            for (pause, units) in requests {
                now += Duration::from_nanos(pause);
                let result = admit(&mut window, &limit, units, now);
                prop_assert_eq!(result.is_ok(), naive.has_room(&limit, units, now));
                match result {
                    Ok(()) => naive.0.push((now, units)),
                    Err(None) => prop_assert!(units > most),
                    Err(Some(after)) => {
                        prop_assert!(naive.has_room(&limit, units, now + after));
                        prop_assert!(!naive.has_room(&limit, units, now + after - NANO));
                    }
                }
            }
        }

        // Long sequences: the log has to be divided several times in each.
        #[test]
        fn no_window_ever_holds_more_than_the_limit(
            most in 1000_u64..6000,
            per in 1_000_000_u64..9_000_000,
            requests in vec((0_u64..3000, 1_u64..4), 3000..5000),
        ) {
            let (limit, mut now) = (limit(most, Duration::from_nanos(per)), Instant::now());
            let (mut window, mut admitted) = (Window::default(), VecDeque::new());
            let mut inside = 0_u64;
            for (pause, units) in requests {
                now += Duration::from_nanos(pause);
                if admit(&mut window, &limit, units, now).is_ok() {
                    admitted.push_back((now, units));
                    inside += units;
                    while let Some((_, units)) = admitted.front().filter(|(at, _)| now - *at >= limit.per) {
                        inside -= units;
                        admitted.pop_front();
                    }
                    prop_assert!(inside <= most, "{inside} of {most}");
                }
                prop_assert!(window.log.len() <= MOST_ENTRIES);
            }
        }

        #[test]
        fn limits_that_change_under_way_hold_from_then_on(
            requests in vec((0_u64..30, 0_u64..6, 1_u64..10, 1_u64..100), 1..200),
        ) {
            let mut now = Instant::now();
            let (mut window, mut naive) = (Window::default(), Naive(Vec::new()));
            // What a shorter window forgot is gone.
            for (pause, units, most, per) in requests {
                now += Duration::from_nanos(pause);
                let limit = limit(most, Duration::from_nanos(per));
                naive.0.retain(|(at, _)| now.duration_since(*at) < limit.per);
                let result = admit(&mut window, &limit, units, now);
                prop_assert_eq!(result.is_ok(), naive.has_room(&limit, units, now));
                if result.is_ok() {
                    naive.0.push((now, units));
                }
            }
        }
    }
}
