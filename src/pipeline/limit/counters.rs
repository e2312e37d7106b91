//! All agents' counts under all limits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::window::Window;
use super::{Charge, Charges, Excess, Limit};
use crate::pipeline::policy::decision::RuleId;

/// A window for each agent under each limit that counts something of late.
#[derive(Debug, Default)]
pub struct Counters {
    windows: HashMap<Name, Window>,
    /// Charges until idle windows are looked for.
    until_sweep: usize,
}

/// The limit's own numbers are no part of it: a count outlives their change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    agent: Arc<str>,
    rule: RuleId,
}

/// The fewest charges between two searches for idle windows.
const SWEEP: usize = 1024;

impl Counters {
    /// Whether that many units more are within the charge's limit now; nothing is charged.
    ///
    /// # Errors
    /// How long until they are, or none if they never will be.
    pub fn look(&mut self, charge: &Charge, units: u64, now: Instant) -> Result<(), Option<Duration>> {
        match self.windows.get_mut(&name(charge)) {
            Some(window) => window.look(&charge.limit, units, now),
            None => Window::default().look(&charge.limit, units, now),
        }
    }

    /// Writes a charge down, whether or not there was room.
    pub fn charge(&mut self, charge: &Charge, now: Instant) {
        self.windows.entry(name(charge)).or_default().charge(&charge.limit, charge.units, now);
        match self.until_sweep.checked_sub(1) {
            Some(left) => self.until_sweep = left,
            None => self.sweep(now),
        }
    }

    /// Drops idle windows, and puts the next search as many charges off as there are windows left to look at.
    fn sweep(&mut self, now: Instant) {
        self.windows.retain(|_, window| !window.is_idle(now));
        if self.windows.len() < self.windows.capacity() / 4 {
            self.windows.shrink_to_fit();
        }
        self.until_sweep = self.windows.len().max(SWEEP);
    }
}

/// Asks for room for all charges together, and names the limit that keeps the request waiting longest.
///
/// # Errors
/// [`Excess::Reached`] where one limit or more has no room.
pub fn look_at_all(
    charges: &Charges,
    mut look: impl FnMut(&Charge, u64) -> Result<(), Option<Duration>>,
) -> Result<(), Excess> {
    let mut worst: Option<(&Arc<Limit>, Option<Duration>)> = None;
    for (at, charge) in charges.iter().enumerate() {
        // One count may be named twice; each charge must find room behind those before it.
        let before = charges.iter().take(at).filter(|other| name(other) == name(charge));
        let units = before.fold(charge.units, |sum, other| sum.saturating_add(other.units));
        let Err(after) = look(charge, units) else { continue };
        let longer = worst.is_none_or(|(_, known)| known.is_some_and(|known| after.is_none_or(|after| after > known)));
        if longer {
            worst = Some((&charge.limit, after));
        }
    }
    match worst {
        None => Ok(()),
        Some((limit, retry_after)) => Err(Excess::Reached { rule: limit.rule.clone(), retry_after }),
    }
}

fn name(charge: &Charge) -> Name {
    Name { agent: charge.agent.clone(), rule: charge.limit.rule.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::limit::Weight;

    fn charge(rule: &str, agent: &str, most: u64, per: Duration, units: u64) -> Charge {
        let limit = Limit { rule: rule.into(), most, per, weight: Weight::Request };
        Charge { limit: Arc::new(limit), agent: agent.into(), units }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn look(counters: &mut Counters, charges: &[Charge], now: Instant) -> Result<(), Excess> {
        look_at_all(&charges.iter().cloned().collect(), |charge, units| counters.look(charge, units, now))
    }

    #[test]
    fn agents_and_rules_are_counted_apart() {
        let (mut counters, now) = (Counters::default(), Instant::now());
        counters.charge(&charge("cap", "a", 1, SECOND, 1), now);
        for (rule, agent, room) in [("cap", "a", false), ("cap", "b", true), ("other", "a", true)] {
            let charge = charge(rule, agent, 1, SECOND, 1);
            assert_eq!(counters.look(&charge, 1, now).is_ok(), room, "{rule} {agent}");
        }
    }

    #[test]
    fn the_limit_that_takes_longest_is_named() {
        let (mut counters, now) = (Counters::default(), Instant::now());
        let minute = charge("minute", "a", 1, SECOND * 60, 1);
        let hour = charge("hour", "a", 1, SECOND * 3600, 1);
        let never = charge("never", "a", 1, SECOND, 2);
        counters.charge(&minute, now);
        counters.charge(&hour, now);
        let reached = |rule: &str, retry_after| Err(Excess::Reached { rule: rule.into(), retry_after });
        for _ in 0..2 {
            let charges = [minute.clone(), hour.clone()];
            assert_eq!(look(&mut counters, &charges, now), reached("hour", Some(SECOND * 3600)));
        }
        assert_eq!(look(&mut counters, &[hour.clone(), minute.clone()], now), reached("hour", Some(SECOND * 3600)));
        assert_eq!(look(&mut counters, &[hour.clone(), never.clone(), minute], now), reached("never", None));
        assert_eq!(look(&mut counters, &[never, hour], now), reached("never", None));
    }

    #[test]
    fn one_count_that_is_charged_twice_needs_room_for_both() {
        let (mut counters, now) = (Counters::default(), Instant::now());
        let three = charge("cap", "a", 5, SECOND, 3);
        assert_eq!(look(&mut counters, std::slice::from_ref(&three), now), Ok(()));
        assert!(look(&mut counters, &[three.clone(), three], now).is_err());
    }

    #[test]
    fn counts_that_are_idle_are_dropped() {
        let (mut counters, start) = (Counters::default(), Instant::now());
        for agent in 0..100_000_u32 {
            let now = start + Duration::from_millis(agent.into());
            counters.charge(&charge("cap", &format!("agent-{agent}"), 5, SECOND, 1), now);
            assert!(counters.windows.len() <= 2 * SWEEP + 1000, "{}", counters.windows.len());
        }
        let late = start + SECOND * 1000;
        for _ in 0..4 * SWEEP {
            counters.charge(&charge("cap", "busy", 5, SECOND, 1), late);
        }
        assert_eq!(counters.windows.len(), 1);
        assert!(counters.windows.capacity() <= SWEEP);
    }
}
