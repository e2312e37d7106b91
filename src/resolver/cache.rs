//! What is known of names: bounded, and read without a lock.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::{Answer, ResolveError};

/// Names with what was answered for them. Each shard is an immutable map behind one pointer: a reader loads it, a
/// writer replaces it with a copy. Writes follow a name server's answer, so they are rare and may cost a little.
pub(super) struct Cache {
    shards: Vec<ArcSwap<Shard>>,
    shard_capacity: usize,
    hasher: RandomState,
    epoch: Instant,
}

type Shard = HashMap<Box<str>, Arc<Entry>>;

struct Entry {
    known: Result<Arc<Answer>, ResolveError>,
    expires: Instant,
    /// Seconds since the cache's epoch. Evicting by it needs no more precision, and a busy name is stored to once a second.
    last_used: AtomicU64,
}

impl Cache {
    /// A cache of at most about `capacity` names.
    pub(super) fn new(capacity: usize) -> Cache {
        let shards = (capacity / 64).clamp(1, 64);
        Cache {
            shards: (0..shards).map(|_| ArcSwap::default()).collect(),
            shard_capacity: (capacity / shards).max(1),
            hasher: RandomState::new(),
            epoch: Instant::now(),
        }
    }

    pub(super) fn recall(&self, host: &str, now: Instant) -> Option<Result<Arc<Answer>, ResolveError>> {
        let shard = self.shard(host)?.load();
        let entry = shard.get(host).filter(|entry| entry.expires > now)?;
        let second = self.second(now);
        if entry.last_used.load(Ordering::Relaxed) != second {
            entry.last_used.store(second, Ordering::Relaxed);
        }
        Some(entry.known.clone())
    }

    pub(super) fn learn(&self, host: &str, known: Result<Arc<Answer>, ResolveError>, expires: Instant, now: Instant) {
        let Some(shard) = self.shard(host) else {
            return;
        };
        let entry = Arc::new(Entry { known, expires, last_used: AtomicU64::new(self.second(now)) });
        shard.rcu(|old| {
            let mut next = Shard::clone(old);
            next.insert(Box::from(host), Arc::clone(&entry));
            if next.len() > self.shard_capacity {
                next.retain(|_, entry| entry.expires > now);
            }
            while next.len() > self.shard_capacity {
                // The name just learnt is not the one to go, however its second compares.
                let oldest = next
                    .iter()
                    .filter(|(name, _)| name.as_ref() != host)
                    .min_by_key(|(_, entry)| entry.last_used.load(Ordering::Relaxed))
                    .map(|(name, _)| name.clone());
                match oldest {
                    Some(name) => next.remove(&name),
                    None => break,
                };
            }
            next
        });
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            shard.store(Arc::default());
        }
    }

    fn shard(&self, host: &str) -> Option<&ArcSwap<Shard>> {
        let hash = usize::try_from(self.hasher.hash_one(host) >> 32).unwrap_or_default();
        self.shards.get(hash % self.shards.len())
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_least_recently_used_name_makes_room() {
        let cache = Cache::new(3);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (second, host) in ["a", "b", "c"].into_iter().enumerate() {
            cache.learn(host, Err(ResolveError::NxDomain), at(1000), at(second as u64));
        }
        assert!(cache.recall("a", at(10)).is_some());
        cache.learn("d", Err(ResolveError::NxDomain), at(1000), at(11));
        let kept: Vec<_> = ["a", "b", "c", "d"].map(|host| cache.recall(host, at(12)).is_some()).into();
        assert_eq!(kept, [true, false, true, true]);
    }

    #[test]
    fn expired_names_make_room_first() {
        let cache = Cache::new(2);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        cache.learn("lasting", Err(ResolveError::NxDomain), at(1000), at(0));
        cache.learn("brief", Err(ResolveError::NxDomain), at(2), at(1));
        cache.learn("new", Err(ResolveError::NxDomain), at(1000), at(5));
        assert!(cache.recall("lasting", at(6)).is_some());
        assert!(cache.recall("new", at(6)).is_some());
    }

    #[test]
    fn a_flood_of_names_stays_within_the_capacity() {
        let cache = Cache::new(4096);
        let now = Instant::now();
        for number in 0..10_000 {
            let host = format!("host-{number}.example");
            cache.learn(&host, Err(ResolveError::NxDomain), now + Duration::from_secs(60), now);
        }
        let held: usize = cache.shards.iter().map(|shard| shard.load().len()).sum();
        assert!(held <= 4096, "{held}");
        assert!(held >= 3000, "{held}");
    }
}
