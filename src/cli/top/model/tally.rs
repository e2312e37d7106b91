//! Counts by name, and how fast they grow. Bounded: names come from agents, of which some make up many.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use crate::journal::exchange::{Exchange, Standing};
use crate::pipeline::audit::Verdict;

/// How long a rate looks back.
const MINUTE: u64 = 60;
/// How long it takes until something that was asked for counts half when rows are to go, in seconds.
const HALF_LIFE: f64 = 300.0;
/// How many reasons a row has. They are ours, so that there never are as many.
const REASONS: usize = 100;

/// How an exchange is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Went out.
    Allowed,
    /// Refused, or cut off.
    Blocked,
    /// Refused because it is too much for now.
    Limited,
    /// Told to come again when a person has answered.
    Pending,
    /// There was no verdict, no answer, or policy was bypassed.
    Failed,
}

impl Kind {
    /// As what is known of it says.
    pub fn of(exchange: &Exchange) -> Self {
        match (exchange.standing(), exchange.decision.decision) {
            (Standing::Allowed | Standing::Unknown, _) => Self::Allowed,
            (Standing::Blocked, Verdict::RateLimited) => Self::Limited,
            (Standing::Blocked, Verdict::Pending) => Self::Pending,
            (Standing::Blocked, _) => Self::Blocked,
            (Standing::Failed | Standing::Unreconciled, _) => Self::Failed,
        }
    }
}

/// How many there were of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// [`Kind::Allowed`].
    pub allowed: u64,
    /// [`Kind::Blocked`].
    pub blocked: u64,
    /// [`Kind::Limited`].
    pub limited: u64,
    /// [`Kind::Pending`].
    pub pending: u64,
    /// [`Kind::Failed`].
    pub failed: u64,
}

impl Counts {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.allowed + self.refused()
    }

    /// What did not pass.
    pub fn refused(&self) -> u64 {
        self.blocked + self.limited + self.pending + self.failed
    }

    /// One more.
    pub fn add(&mut self, kind: Kind) {
        *self.of(kind) += 1;
    }

    /// One that was of a kind turns out to be of another. False where there was none of the first.
    pub fn shift(&mut self, from: Kind, to: Kind) -> bool {
        if *self.of(from) == 0 {
            return false;
        }
        *self.of(from) -= 1;
        *self.of(to) += 1;
        true
    }

    fn merge(&mut self, other: &Self) {
        self.allowed += other.allowed;
        self.blocked += other.blocked;
        self.limited += other.limited;
        self.pending += other.pending;
        self.failed += other.failed;
    }

    fn of(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Allowed => &mut self.allowed,
            Kind::Blocked => &mut self.blocked,
            Kind::Limited => &mut self.limited,
            Kind::Pending => &mut self.pending,
            Kind::Failed => &mut self.failed,
        }
    }
}

/// How many there were in each of the last sixty seconds.
#[derive(Debug, Clone, Default)]
pub struct Rate(VecDeque<(u64, u32)>);

impl Rate {
    /// One more, then.
    pub fn add(&mut self, time: SystemTime) {
        let second = second(time);
        let latest = self.0.back().map_or(second, |(latest, _)| (*latest).max(second));
        while self.0.front().is_some_and(|(first, _)| first + MINUTE < latest) {
            self.0.pop_front();
        }
        if second + MINUTE < latest {
            return;
        }
        // What comes late belongs a little before the end.
        let after = self.0.iter().rev().take_while(|(at, _)| *at > second).count();
        let place = self.0.len() - after;
        match place.checked_sub(1).and_then(|before| self.0.get_mut(before)).filter(|(at, _)| *at == second) {
            Some((_, count)) => *count += 1,
            None => self.0.insert(place, (second, 1)),
        }
    }

    /// How many there were in so many whole seconds before this one; at most sixty.
    pub fn over(&self, now: SystemTime, seconds: u64) -> u64 {
        let now = second(now);
        let within = self.0.iter().filter(|(at, _)| *at < now && at + seconds >= now);
        within.map(|(_, count)| u64::from(*count)).sum()
    }

    /// How many there were in each of so many whole seconds before this one, the oldest first.
    pub fn each(&self, now: SystemTime, seconds: u64) -> Vec<u64> {
        let before = |back: u64| second(now).checked_sub(back);
        let count = |at: u64| self.0.iter().find(|(second, _)| *second == at).map_or(0, |(_, count)| u64::from(*count));
        (1..=seconds).rev().map(|back| before(back).map_or(0, count)).collect()
    }
}

fn second(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What is counted under one name.
#[derive(Debug, Clone)]
pub struct Entry {
    /// How many.
    pub counts: Counts,
    /// How many lately.
    pub rate: Rate,
    /// When the last one was decided.
    pub last: SystemTime,
    reasons: HashMap<Box<str>, u64>,
    weight: f64,
}

impl Entry {
    /// What most of those that did not pass were refused for.
    pub fn top_reason(&self) -> Option<&str> {
        let most =
            self.reasons.iter().filter(|(_, count)| **count > 0).max_by(|(a, n), (b, m)| n.cmp(m).then(b.cmp(a)));
        most.map(|(reason, _)| &**reason)
    }

    fn weight(&self, now: SystemTime) -> f64 {
        let age = now.duration_since(self.last).unwrap_or(Duration::ZERO).as_secs_f64();
        self.weight * (-age / HALF_LIFE).exp2()
    }
}

/// The order of rows; the first is at the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// The most requests.
    Requests,
    /// The most that did not pass.
    Refused,
    /// The most in the last minute.
    Rate,
    /// By name.
    Name,
}

impl Sort {
    /// As a title says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Refused => "refused",
            Self::Rate => "rate",
            Self::Name => "name",
        }
    }

    /// The one after it; after the last comes the first.
    pub fn next(self) -> Self {
        match self {
            Self::Requests => Self::Refused,
            Self::Refused => Self::Rate,
            Self::Rate => Self::Name,
            Self::Name => Self::Requests,
        }
    }
}

/// Counts by name: the busiest so many. What has not been asked for in a while makes room.
#[derive(Debug)]
pub struct Tally {
    entries: HashMap<Box<str>, Entry>,
    most: usize,
    /// What was counted under names that made room.
    pub others: Counts,
}

impl Tally {
    /// One of at most so many names.
    pub fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), most, others: Counts::default() }
    }

    /// One more under a name, decided then.
    pub fn add(&mut self, name: &str, kind: Kind, reason: Option<&str>, time: SystemTime) {
        if !self.entries.contains_key(name) && self.entries.len() >= self.most {
            self.make_room(time);
        }
        let new = || Entry {
            counts: Counts::default(),
            rate: Rate::default(),
            last: time,
            reasons: HashMap::new(),
            weight: 0.0,
        };
        let entry = self.entries.entry(name.into()).or_insert_with(new);
        entry.counts.add(kind);
        entry.rate.add(time);
        entry.weight = entry.weight(time) + 1.0;
        entry.last = entry.last.max(time);
        count(&mut entry.reasons, reason);
    }

    /// One under a name turns out to be something else: what it was counted as, and as what it is counted now.
    pub fn shift(&mut self, name: &str, from: (Kind, Option<&str>), to: (Kind, Option<&str>)) {
        let Some(entry) = self.entries.get_mut(name) else {
            self.others.shift(from.0, to.0);
            return;
        };
        if !entry.counts.shift(from.0, to.0) {
            // It was counted before the name made room, and has come back since.
            self.others.shift(from.0, to.0);
            return;
        }
        if let Some(count) = from.1.and_then(|reason| entry.reasons.get_mut(reason)) {
            *count = count.saturating_sub(1);
        }
        count(&mut entry.reasons, to.1);
    }

    /// The rows, in order.
    pub fn rows(&self, sort: Sort, now: SystemTime) -> Vec<(&str, &Entry)> {
        let mut rows: Vec<_> = self.entries.iter().map(|(name, entry)| (&**name, entry)).collect();
        let most = |of: &dyn Fn(&Entry) -> u64, (a, x): &(&str, &Entry), (b, y): &(&str, &Entry)| -> Ordering {
            of(y).cmp(&of(x)).then(y.counts.all().cmp(&x.counts.all())).then(a.cmp(b))
        };
        rows.sort_by(|a, b| match sort {
            Sort::Requests => most(&|entry| entry.counts.all(), a, b),
            Sort::Refused => most(&|entry| entry.counts.refused(), a, b),
            Sort::Rate => most(&|entry| entry.rate.over(now, MINUTE), a, b),
            Sort::Name => a.0.cmp(b.0),
        });
        rows
    }

    /// How many names have a row.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn make_room(&mut self, now: SystemTime) {
        let least = |a: &Entry, b: &Entry| a.weight(now).total_cmp(&b.weight(now)).then(a.last.cmp(&b.last));
        let least = self.entries.iter().min_by(|(a, x), (b, y)| least(x, y).then(a.cmp(b)));
        let Some(name) = least.map(|(name, _)| name.clone()) else { return };
        if let Some(entry) = self.entries.remove(&name) {
            self.others.merge(&entry.counts);
        }
    }
}

fn count(reasons: &mut HashMap<Box<str>, u64>, reason: Option<&str>) {
    let Some(reason) = reason else { return };
    if let Some(count) = reasons.get_mut(reason) {
        *count += 1;
    } else if reasons.len() < REASONS {
        reasons.insert(reason.into(), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }

    #[test]
    fn a_rate_looks_back_over_whole_seconds() {
        let mut rate = Rate::default();
        for second in [0, 5, 5, 4, 5] {
            rate.add(at(second));
        }
        assert_eq!(rate.over(at(5), 60), 2, "the second that goes on does not count yet");
        assert_eq!((rate.over(at(6), 1), rate.over(at(6), 2), rate.over(at(6), 60)), (3, 4, 5));
        assert_eq!((rate.over(at(60), 60), rate.over(at(61), 60), rate.over(at(66), 60)), (5, 4, 0));
        assert_eq!(rate.each(at(7), 3), [1, 3, 0]);
        for second in 0..1_000 {
            rate.add(at(second));
        }
        rate.add(at(2));
        assert!(rate.0.len() <= 61, "{}", rate.0.len());
        assert_eq!(rate.over(at(1_000), 60), 60);
    }

    #[test]
    fn the_busiest_names_stay_and_nothing_that_was_counted_is_lost() {
        let mut tally = Tally::new(10);
        for _ in 0..100 {
            tally.add("busy", Kind::Allowed, None, at(0));
        }
        for number in 0..1_000 {
            tally.add(&format!("made-up-{number}"), Kind::Blocked, Some("domain_not_allowed"), at(1));
        }
        let rows = tally.rows(Sort::Requests, at(1));
        assert_eq!(rows.len(), 10);
        assert_eq!((rows[0].0, rows[0].1.counts.allowed), ("busy", 100));
        let all: u64 = rows.iter().map(|(_, entry)| entry.counts.all()).sum();
        assert_eq!(all + tally.others.all(), 1_100);
        // An hour later it is what was busy that is old.
        for number in 0..10 {
            tally.add(&format!("later-{number}"), Kind::Allowed, None, at(3_600));
            tally.add(&format!("later-{number}"), Kind::Allowed, None, at(3_600));
        }
        assert!(tally.rows(Sort::Name, at(3_600)).iter().all(|(name, _)| name.starts_with("later-")));
    }

    #[test]
    fn what_turns_out_otherwise_is_counted_so() {
        let mut tally = Tally::new(1);
        tally.add("a", Kind::Allowed, None, at(0));
        tally.shift("a", (Kind::Allowed, None), (Kind::Blocked, Some("dlp_blocked")));
        let rows = tally.rows(Sort::Requests, at(0));
        assert_eq!((rows[0].1.counts.allowed, rows[0].1.counts.blocked), (0, 1));
        assert_eq!(rows[0].1.top_reason(), Some("dlp_blocked"));
        tally.shift("a", (Kind::Blocked, Some("dlp_blocked")), (Kind::Failed, Some("unreconciled")));
        assert_eq!(tally.rows(Sort::Requests, at(0))[0].1.top_reason(), Some("unreconciled"));
        tally.add("b", Kind::Allowed, None, at(0));
        tally.shift("a", (Kind::Failed, None), (Kind::Blocked, None));
        assert_eq!(tally.others, Counts { blocked: 1, ..Counts::default() });
    }

    #[test]
    fn rows_come_in_the_order_that_was_asked_for() {
        let mut tally = Tally::new(10);
        for (name, kind, count, second) in
            [("a", Kind::Allowed, 3, 0), ("b", Kind::Blocked, 2, 0), ("c", Kind::Allowed, 1, 100)]
        {
            (0..count).for_each(|_| tally.add(name, kind, None, at(second)));
        }
        for (sort, expected) in
            [(Sort::Requests, "abc"), (Sort::Refused, "bac"), (Sort::Rate, "cab"), (Sort::Name, "abc")]
        {
            let names: String = tally.rows(sort, at(101)).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, expected, "{sort:?}");
        }
    }
}
