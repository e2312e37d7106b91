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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hours(days: &[Weekday], daily: Option<(&str, &str)>, zone: &str) -> Hours {
        let days = if days.is_empty() { Days::ALL } else { Days::of(days.iter().copied()) };
        let daily = daily.map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()));
        Hours { days, daily, zone: TimeZone::get(zone).unwrap() }
    }

    fn holds(schedule: &Schedule, at: &str) -> bool {
        schedule.holds(at.parse::<Timestamp>().unwrap().into())
    }

    /// In Berlin the clock goes from 02:00 to 03:00 on 2026-03-29, and from 03:00 to 02:00 on 2026-10-25.
    #[test]
    fn hours_are_those_of_the_clock_on_the_wall() {
        use Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
        let weekdays = [Monday, Tuesday, Wednesday, Thursday, Friday];
        let berlin = |days: &[Weekday], daily| hours(days, daily, "Europe/Berlin");
        let office = berlin(&weekdays, Some(("08:00", "18:00")));
        let friday_night = berlin(&[Friday], Some(("22:00", "06:00")));
        let before_spring = berlin(&[Saturday], Some(("22:00", "02:30")));
        let changing_hour = berlin(&[], Some(("02:00", "03:00")));
        let evening = berlin(&[Monday], Some(("18:00", "00:00")));
        let morning = berlin(&[Monday], Some(("00:00", "06:00")));
        let sunday = berlin(&[Sunday], None);
        let sunday_night = berlin(&[Sunday], Some(("23:00", "01:00")));
        for (name, hours, at, expected) in [
            ("winter, Monday 07:59:59", &office, "2026-01-05T06:59:59.999Z", false),
            ("winter, Monday 08:00", &office, "2026-01-05T07:00:00Z", true),
            ("winter, Monday 17:59:59", &office, "2026-01-05T16:59:59.999Z", true),
            ("winter, Monday 18:00", &office, "2026-01-05T17:00:00Z", false),
            ("summer, Monday 07:59:59", &office, "2026-07-06T05:59:59Z", false),
            ("summer, Monday 08:00", &office, "2026-07-06T06:00:00Z", true),
            ("summer, Monday 18:00", &office, "2026-07-06T16:00:00Z", false),
            ("Saturday noon", &office, "2026-01-10T11:00:00Z", false),
            ("Friday 05:00, the night before is Thursday's", &friday_night, "2026-01-09T04:00:00Z", false),
            ("Friday 21:59", &friday_night, "2026-01-09T20:59:59Z", false),
            ("Friday 22:00", &friday_night, "2026-01-09T21:00:00Z", true),
            ("Saturday 00:00", &friday_night, "2026-01-09T23:00:00Z", true),
            ("Saturday 05:59", &friday_night, "2026-01-10T04:59:59Z", true),
            ("Saturday 06:00", &friday_night, "2026-01-10T05:00:00Z", false),
            ("Saturday 22:00", &friday_night, "2026-01-10T21:00:00Z", false),
            ("the last second before spring", &before_spring, "2026-03-29T00:59:59Z", true),
            ("the first of spring, 03:00", &before_spring, "2026-03-29T01:00:00Z", false),
            ("the hour that spring leaves out, before", &changing_hour, "2026-03-29T00:59:59Z", false),
            ("the hour that spring leaves out, after", &changing_hour, "2026-03-29T01:00:00Z", false),
            ("the hour that autumn has twice, before", &changing_hour, "2026-10-24T23:59:59Z", false),
            ("the hour that autumn has twice, first", &changing_hour, "2026-10-25T00:30:00Z", true),
            ("the hour that autumn has twice, second", &changing_hour, "2026-10-25T01:30:00Z", true),
            ("the hour that autumn has twice, after", &changing_hour, "2026-10-25T02:00:00Z", false),
            ("Monday 17:59", &evening, "2026-01-05T16:59:59Z", false),
            ("Monday 23:59", &evening, "2026-01-05T22:59:59.999Z", true),
            ("Tuesday 00:00", &evening, "2026-01-05T23:00:00Z", false),
            ("Monday 00:00", &evening, "2026-01-04T23:00:00Z", false),
            ("Monday 00:00, from midnight", &morning, "2026-01-04T23:00:00Z", true),
            ("Monday 06:00, from midnight", &morning, "2026-01-05T05:00:00Z", false),
            ("Sunday that is still Saturday elsewhere", &sunday, "2026-01-03T23:00:00Z", true),
            ("Monday that is still Sunday elsewhere", &sunday, "2026-01-04T23:00:00Z", false),
            ("Sunday 00:30 is Saturday's night", &sunday_night, "2026-01-03T23:30:00Z", false),
            ("Monday 00:30 is Sunday's night", &sunday_night, "2026-01-04T23:30:00Z", true),
        ] {
            let only = Schedule { only: Some(hours.clone()), ..Schedule::default() };
            let except = Schedule { except: Some(hours.clone()), ..Schedule::default() };
            assert_eq!((holds(&only, at), holds(&except, at)), (expected, !expected), "{name}");
        }
    }

    #[test]
    fn a_rule_holds_from_its_first_instant_until_its_last() {
        let schedule = Schedule {
            not_before: Some("2026-03-01T00:00:00+01:00".parse().unwrap()),
            not_after: Some("2026-04-01T00:00:00+02:00".parse().unwrap()),
            only: Some(hours(&[], Some(("08:00", "18:00")), "UTC")),
            except: Some(hours(&[], Some(("12:00", "13:00")), "UTC")),
        };
        for (at, expected) in [
            ("2026-02-28T12:00:00Z", false),
            ("2026-03-01T08:00:00Z", true),
            ("2026-03-01T07:59:59Z", false),
            ("2026-03-01T12:30:00Z", false),
            ("2026-03-01T13:00:00Z", true),
            ("2026-03-31T17:59:59Z", true),
            ("2026-04-01T08:00:00Z", false),
        ] {
            assert_eq!(holds(&schedule, at), expected, "{at}");
        }
        let instant =
            Schedule { not_before: schedule.not_before, not_after: schedule.not_after, ..Schedule::default() };
        assert!(holds(&instant, "2026-02-28T23:00:00Z") && !holds(&instant, "2026-02-28T22:59:59.999999999Z"));
        assert!(holds(&instant, "2026-03-31T21:59:59.999999999Z") && !holds(&instant, "2026-03-31T22:00:00Z"));
        assert!(Schedule::default().holds(SystemTime::UNIX_EPOCH));
    }

    proptest! {
        /// A window and what is left of the day make the day; and every hour of it is one weekday's.
        #[test]
        fn windows_neither_overlap_nor_leave_gaps(seconds in 1_700_000_000i64..1_900_000_000, from in 0i8..24, to in 0i8..24) {
            prop_assume!(from != to);
            let at = SystemTime::from(Timestamp::from_second(seconds).unwrap());
            let holds = |days: &[Weekday], from: i8, to: i8| {
                let daily = [from, to].map(|hour| format!("{hour:02}:00"));
                let only = Some(hours(days, Some((&daily[0], &daily[1])), "Europe/Berlin"));
                Schedule { only, ..Schedule::default() }.holds(at)
            };
            prop_assert!(holds(&[], from, to) != holds(&[], to, from));
            let days = (0..7).map(|day| Weekday::from_monday_zero_offset(day).unwrap());
            let of_days = days.filter(|day| holds(&[*day], from, to)).count();
            prop_assert_eq!(of_days, usize::from(holds(&[], from, to)));
        }
    }
}
