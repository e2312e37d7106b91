//! Counters with labels, as cheap as an atomic addition where the same labels were counted a moment ago.
//!
//! The SDK's own counters hash every label of every measurement, which was a fortieth of all that a request takes.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::metrics::Meter;
use opentelemetry::{KeyValue, Value};
use smallvec::SmallVec;

/// A counter, one time series for each set of labels.
pub struct Count(Arc<Series>);

/// The value of a label: a word of ours, or a name that policy gives. Nothing an agent sends can be one.
#[derive(Debug, Clone)]
pub enum Label {
    /// A word of ours.
    Word(&'static str),
    /// A name from the policy.
    Name(Arc<str>),
}

impl Count {
    /// Registers a counter, as scrapers see it without its `_total`.
    pub fn new(meter: &Meter, name: &'static str, description: &'static str, keys: &'static [&'static str]) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let series = Arc::new(Series { id: NEXT.fetch_add(1, Ordering::Relaxed), keys, counts: Mutex::default() });
        let observed = series.clone();
        meter
            .u64_observable_counter(name)
            .with_description(description)
            .with_callback(move |observer| observed.each(|count, labels| observer.observe(count, labels)))
            .build();
        let count = Self(series);
        if keys.is_empty() {
            // What may never happen is to be seen not to have happened.
            count.add(0, &[]);
        }
        count
    }

    /// Adds to the series of these labels, which stand in the order of their keys.
    pub fn add(&self, n: u64, labels: &[Label]) {
        let series = &self.0;
        let place = place(series.id, labels);
        let added = RECENT.try_with(|recent| {
            let mut recent = recent.try_borrow_mut().ok()?;
            let slot = recent.get_mut(place)?;
            if let Some(Slot { id, labels: kept, count }) = slot
                && *id == series.id
                && kept.iter().zip(labels).all(|(one, other)| one.is_same(other))
            {
                count.fetch_add(n, Ordering::Relaxed);
                return Some(());
            }
            let count = series.find(labels);
            count.fetch_add(n, Ordering::Relaxed);
            *slot = Some(Slot { id: series.id, labels: labels.into(), count });
            Some(())
        });
        if !matches!(added, Ok(Some(()))) {
            series.find(labels).fetch_add(n, Ordering::Relaxed);
        }
    }
}

impl Label {
    /// The text of a record, which is a word of ours unless it was read back from somewhere.
    pub fn of(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(word) => Self::Word(word),
            Cow::Owned(text) => Self::Name(text.into()),
        }
    }

    /// A name, or the empty label.
    pub fn or_none(name: Option<&Arc<str>>) -> Self {
        name.map_or(Self::Word(""), |name| Self::Name(name.clone()))
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Name(name) => name,
        }
    }

    /// True if it is the very same text in the same place; another may be equal all the same.
    fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self.as_str(), other.as_str())
    }
}

impl PartialEq for Label {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Label {}

impl std::hash::Hash for Label {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// Time series of one counter. A policy that is loaded again and again with other names adds to them, so there is an
/// end: what comes later is counted without names. The SDK keeps 2,000.
const MOST: usize = 1500;
const NO_NAME: &str = "_other";

type Labels = SmallVec<[Label; 5]>;

struct Series {
    id: u64,
    keys: &'static [&'static str],
    counts: Mutex<HashMap<Labels, Arc<AtomicU64>>>,
}

impl Series {
    fn find(&self, labels: &[Label]) -> Arc<AtomicU64> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut labels: Labels = labels.into();
        if counts.len() >= MOST && !counts.contains_key(&labels) {
            for label in labels.iter_mut().filter(|label| matches!(label, Label::Name(_))) {
                *label = Label::Word(NO_NAME);
            }
        }
        counts.entry(labels).or_default().clone()
    }

    fn each(&self, mut see: impl FnMut(u64, &[KeyValue])) {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (labels, count) in counts.iter() {
            let value = |label: &Label| match label {
                Label::Word(word) => Value::from(*word),
                Label::Name(name) => Value::from(name.clone()),
            };
            let pairs = self.keys.iter().zip(labels).map(|(key, label)| KeyValue::new(*key, value(label)));
            see(count.load(Ordering::Relaxed), &pairs.collect::<SmallVec<[KeyValue; 5]>>());
        }
    }
}

/// Series that this thread added to a moment ago.
const SLOTS: usize = 64;

struct Slot {
    id: u64,
    /// Kept, so that no other text can come to stand in the same place.
    labels: Labels,
    count: Arc<AtomicU64>,
}

thread_local! {
    static RECENT: RefCell<[Option<Slot>; SLOTS]> = const { RefCell::new([const { None }; SLOTS]) };
}

fn place(id: u64, labels: &[Label]) -> usize {
    // Texts begin at multiples of 8 or 16.
    let mix = |sum: usize, label: &Label| sum.rotate_left(5) ^ (label.as_str().as_ptr().addr() >> 4);
    // Fibonacci hashing: the upper bits depend on all lower ones.
    (labels.iter().fold(id as usize, mix).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (usize::BITS - 6)) % SLOTS
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider;
    use opentelemetry_sdk::metrics::SdkMeterProvider;

    use super::*;

    fn counts(count: &Count) -> HashMap<String, u64> {
        let mut all = HashMap::new();
        count.0.each(|n, labels| {
            let text = labels.iter().map(|l| format!("{}={}", l.key, l.value)).collect::<Vec<_>>().join(",");
            assert_eq!(all.insert(text, n), None);
        });
        all
    }

    fn new(keys: &'static [&'static str]) -> Count {
        Count::new(&SdkMeterProvider::builder().build().meter("test"), "counted", "", keys)
    }

    #[test]
    fn equal_texts_are_one_series_wherever_they_stand() {
        let (count, other) = (new(&["decision", "agent"]), new(&["decision", "agent"]));
        for thread in 0..3 {
            let run = || {
                for round in 0..100 {
                    let names: [Arc<str>; 2] = ["a".into(), format!("b{}", round % 2).into()];
                    for name in names {
                        for _ in 0..2 {
                            count.add(1, &[Label::Word("allow"), Label::Name(name.clone())]);
                        }
                        other.add(1, &[Label::Word("allow"), Label::Name(name)]);
                    }
                }
            };
            if thread == 0 { run() } else { std::thread::scope(|scope| drop(scope.spawn(run))) }
        }
        let expected =
            [("decision=allow,agent=a", 600), ("decision=allow,agent=b0", 300), ("decision=allow,agent=b1", 300)];
        assert_eq!(counts(&count), expected.map(|(l, n)| (l.to_owned(), n)).into());
        assert_eq!(counts(&other).values().sum::<u64>(), 600);
    }

    #[test]
    fn there_is_an_end_to_names_and_nothing_goes_uncounted() {
        let count = new(&["rule", "decision"]);
        for number in 0..2 * MOST {
            count.add(1, &[Label::Name(format!("rule-{number}").into()), Label::Word("allow")]);
        }
        count.add(1, &[Label::Name("rule-0".into()), Label::Word("allow")]);
        let counts = counts(&count);
        assert_eq!(counts.len(), MOST + 1);
        assert_eq!(counts["rule=_other,decision=allow"], MOST as u64);
        assert_eq!(counts["rule=rule-0,decision=allow"], 2);
    }

    #[test]
    fn what_has_no_labels_is_there_from_the_start() {
        assert_eq!(counts(&new(&[])), [(String::new(), 0)].into());
        assert!(counts(&new(&["reason"])).is_empty());
    }
}
