//! Which connections Envoy holds to this service: once all of a time are gone, so is the Envoy of that time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Numbers connections in the order they come.
#[derive(Debug, Default)]
pub struct Envoys {
    next: AtomicU64,
    open: Mutex<BTreeSet<u64>>,
}

/// A connection that is open, until it is dropped.
#[derive(Debug)]
pub struct Connection {
    envoys: Arc<Envoys>,
    number: u64,
}

impl Envoys {
    /// One more is open.
    pub fn connect(self: &Arc<Self>) -> Connection {
        // Under the lock: none may be numbered and not yet be among the open ones.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.next.fetch_add(1, Ordering::AcqRel);
        open.insert(number);
        Connection { envoys: self.clone(), number }
    }

    /// The number of the next.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// The number of the oldest that is open; the highest number if none is.
    pub fn oldest(&self) -> u64 {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).first().copied().unwrap_or(u64::MAX)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.envoys.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_the_first_that_still_is_open() {
        let envoys = Arc::new(Envoys::default());
        assert_eq!((envoys.oldest(), envoys.next()), (u64::MAX, 0));
        let (first, second) = (envoys.connect(), envoys.connect());
        assert_eq!((envoys.oldest(), envoys.next()), (0, 2));
        drop(first);
        assert_eq!(envoys.oldest(), 1);
        drop(second);
        assert_eq!((envoys.oldest(), envoys.next()), (u64::MAX, 2));
    }
}
