//! The secrets that were handed out, as messages are searched for them: those of now, and those that came before them
//! and may still open something.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use zeroize::Zeroizing;

use crate::pipeline::credential::Secret;
use crate::pipeline::dlp::known::{Held, Known, TooWeak};

/// So many values of one credential are looked for: a service may take the one before, or the one before that, for a
/// while after it was replaced.
const VALUES: usize = 3;

/// What is looked for. Reading it takes no lock.
#[derive(Default)]
pub(super) struct Lookout {
    current: ArcSwap<Current>,
    /// Held while the next is made.
    making: Mutex<()>,
}

/// What else is looked for, and what is not.
#[derive(Default)]
pub struct Bounds {
    /// Values that open nothing and must not be seen, each with its name.
    pub canaries: Vec<(Arc<str>, Zeroizing<Vec<u8>>)>,
    /// What agents may hold in a credential's place.
    pub placeholders: Vec<String>,
}

#[derive(Default, Clone)]
struct Current {
    known: Arc<Known>,
    /// The later value of a credential before the earlier.
    values: Vec<(Arc<str>, Arc<Secret>)>,
    bounds: Arc<Bounds>,
    weak: Vec<TooWeak>,
}

impl Lookout {
    /// All that is looked for now.
    pub(super) fn known(&self) -> Arc<Known> {
        self.current.load().known.clone()
    }

    /// Looks for these too, from now on. Those that are looked for already cost next to nothing.
    pub(super) fn note<'a>(&self, secrets: impl IntoIterator<Item = (&'a Arc<str>, &'a Arc<Secret>)>) {
        let current = self.current.load();
        let is_new = |secret: &Arc<Secret>| !current.values.iter().any(|(_, value)| Arc::ptr_eq(value, secret));
        let new: Vec<_> = secrets.into_iter().filter(|(_, secret)| is_new(secret)).collect();
        if new.is_empty() {
            return;
        }
        let weak = self.change(|next| new.into_iter().for_each(|(name, secret)| next.note(name.clone(), secret)));
        weak.iter().for_each(|weak| tracing::warn!("{weak}"));
    }

    /// Sets what is looked for besides secrets, and what is not; gives what of all cannot be looked for.
    pub(super) fn set(&self, bounds: Bounds) -> Vec<TooWeak> {
        self.change(|next| {
            next.bounds = Arc::new(bounds);
            next.weak.clear();
        })
    }

    /// Goes on looking for what an earlier one looked for, as for values that were replaced.
    pub(super) fn keep(&self, earlier: &Self) {
        let before = earlier.current.load();
        // What is too weak now was so before.
        self.change(|next| before.values.iter().for_each(|(name, secret)| next.remember(name.clone(), secret)));
    }

    /// Gives what is newly too weak to be looked for.
    fn change(&self, change: impl FnOnce(&mut Current)) -> Vec<TooWeak> {
        let _one_at_a_time = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Current::clone(&self.current.load());
        change(&mut next);
        let secrets = next.values.iter().map(|(name, secret)| (Held::credential(name.clone()), secret.expose()));
        let canaries = next.bounds.canaries.iter().map(|(name, value)| (Held::canary(name.clone()), value.as_slice()));
        let (known, mut weak) = Known::new(secrets.chain(canaries), &next.bounds.placeholders);
        next.known = Arc::new(known);
        weak.dedup();
        let told = std::mem::replace(&mut next.weak, weak.clone());
        self.current.store(Arc::new(next));
        weak.retain(|weak| !told.contains(weak));
        weak
    }
}

impl Current {
    /// A value that is in use.
    fn note(&mut self, name: Arc<str>, secret: &Arc<Secret>) {
        self.values.retain(|(other, value)| *other != name || value.expose() != secret.expose());
        let first = self.values.iter().position(|(other, _)| *other == name).unwrap_or(self.values.len());
        self.values.insert(first, (name.clone(), secret.clone()));
        self.forget(&name);
    }

    /// A value that was.
    fn remember(&mut self, name: Arc<str>, secret: &Arc<Secret>) {
        if !self.values.iter().any(|(other, value)| *other == name && value.expose() == secret.expose()) {
            let last = self.values.iter().rposition(|(other, _)| *other == name).map_or(self.values.len(), |at| at + 1);
            self.values.insert(last, (name.clone(), secret.clone()));
            self.forget(&name);
        }
    }

    fn forget(&mut self, name: &Arc<str>) {
        let mut left = VALUES;
        self.values.retain(|(other, _)| {
            let stays = other != name || left > 0;
            left -= usize::from(other == name && left > 0);
            stays
        });
    }
}

impl fmt::Debug for Lookout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookout").field("known", &self.known()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [&str; 4] = ["first-9aF3kLm20Q", "second-zX7vB1nT5", "third-wR8yU2iO4p", "fourth-A6sD0fGhJ"];

    fn secret(text: &str) -> Arc<Secret> {
        Arc::new(Secret::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap())
    }

    fn found(lookout: &Lookout) -> Vec<&'static str> {
        let known = lookout.known();
        let is_found = |value: &&str| {
            let mut found = false;
            known.find(value.as_bytes(), &mut |_| found = true);
            found
        };
        VALUES.into_iter().filter(is_found).collect()
    }

    #[test]
    fn what_was_replaced_is_looked_for_until_it_was_replaced_twice_more() {
        let lookout = Lookout::default();
        let note = |value: &str| lookout.note([(&"key".into(), &secret(value))]);
        note(VALUES[0]);
        note(VALUES[1]);
        note(VALUES[1]);
        assert_eq!(found(&lookout), VALUES[..2]);
        note(VALUES[2]);
        note(VALUES[0]);
        assert_eq!(found(&lookout), VALUES[..3]);
        note(VALUES[3]);
        assert_eq!(found(&lookout), [VALUES[0], VALUES[2], VALUES[3]]);
    }

    #[test]
    fn another_policy_goes_on_looking_for_what_the_one_before_held() {
        let (before, after) = (Lookout::default(), Lookout::default());
        before.note([(&"key".into(), &secret(VALUES[0])), (&"gone".into(), &secret(VALUES[1]))]);
        after.note([(&"key".into(), &secret(VALUES[2]))]);
        after.keep(&before);
        assert_eq!(found(&after), VALUES[..3]);
        assert_eq!(after.current.load().values[0].1.expose(), VALUES[2].as_bytes(), "what is in use comes first");
    }

    #[test]
    fn what_is_known_already_is_not_made_again() {
        let lookout = Lookout::default();
        let value = secret(VALUES[0]);
        lookout.note([(&"key".into(), &value)]);
        let known = lookout.known();
        lookout.note([(&"key".into(), &value)]);
        assert!(Arc::ptr_eq(&known, &lookout.known()));
    }

    #[test]
    fn canaries_are_looked_for_and_placeholders_are_not() {
        let lookout = Lookout::default();
        lookout.note([(&"key".into(), &secret(VALUES[0])), (&"weak".into(), &secret("changeme"))]);
        let canary = Zeroizing::new(VALUES[1].as_bytes().to_vec());
        let bounds = Bounds { canaries: vec![("trap".into(), canary)], placeholders: vec![VALUES[0].into()] };
        let weak: Vec<_> = lookout.set(bounds).iter().map(|weak| weak.held.name.to_string()).collect();
        assert_eq!(weak, ["key", "weak"]);
        assert_eq!(found(&lookout), VALUES[1..2]);
    }
}
