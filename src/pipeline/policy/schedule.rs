//! When a rule holds.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

/// The times at which a rule holds. Without any part it always does.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Schedule {
    /// Not before this instant.
    pub not_before: Option<Timestamp>,
    /// Not from this instant on.
    pub not_after: Option<Timestamp>,
    /// Only inside these hours.
    pub only: Option<Hours>,
    /// Never inside these hours.
    pub except: Option<Hours>,
}

/// Hours that come back every week.
#[derive(Debug, Clone, PartialEq)]
pub struct Hours {
    /// The days on which they begin.
    pub days: Days,
    /// When they begin, and when they end. Where the end is not after the beginning, it is on the next day.
    pub daily: Option<(Time, Time)>,
    /// Whose clock that is.
    pub zone: TimeZone,
}

/// Days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u8);

impl Days {
    /// Every day.
    pub const ALL: Self = Self(0b111_1111);

    /// These days.
    pub fn of(days: impl IntoIterator<Item = Weekday>) -> Self {
        Self(days.into_iter().fold(0, |set, day| set | bit(day)))
    }

    fn has(self, day: Weekday) -> bool {
        self.0 & bit(day) != 0
    }
}

fn bit(day: Weekday) -> u8 {
    1 << day.to_monday_zero_offset()
}

impl Schedule {
    /// Whether the rule holds now. A time that no calendar has is no reason for a rule not to hold.
    pub fn holds(&self, now: SystemTime) -> bool {
        let Ok(now) = Timestamp::try_from(now) else { return true };
        self.not_before.is_none_or(|first| now >= first)
            && self.not_after.is_none_or(|end| now < end)
            && self.only.as_ref().is_none_or(|hours| hours.include(now))
            && !self.except.as_ref().is_some_and(|hours| hours.include(now))
    }
}

impl Hours {
    fn include(&self, now: Timestamp) -> bool {
        let local = now.to_zoned(self.zone.clone()).datetime();
        let today = local.date().weekday();
        let yesterday = today.wrapping_sub(1);
        let time = local.time();
        match self.daily {
            None => self.days.has(today),
            Some((from, to)) if from < to => self.days.has(today) && from <= time && time < to,
            Some((from, to)) => (self.days.has(today) && from <= time) || (self.days.has(yesterday) && time < to),
        }
    }
}
