//! What is in force: the compiled policy and its secrets, swapped together and never half.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use crate::pipeline::policy::Ruleset;
use crate::secrets::Secrets;

/// A policy and its secrets.
#[derive(Debug, Default)]
pub struct InForce {
    /// The compiled policy.
    pub rules: Arc<Ruleset>,
    /// Its secrets, in the order of its credentials.
    pub secrets: Secrets,
}

/// The policy in force, readable at any time without a lock.
#[derive(Debug)]
pub struct Live {
    current: ArcSwap<InForce>,
    reload: ArcSwap<Reload>,
    changes: watch::Sender<u64>,
}

/// How the last attempt to load the policy went.
#[derive(Debug, Clone)]
pub struct Reload {
    /// When.
    pub at: SystemTime,
    /// What was wrong; the policy before it stays in force.
    pub error: Option<Arc<str>>,
}

impl Live {
    /// Puts a first policy in force.
    pub fn new(first: InForce) -> Self {
        Self {
            current: ArcSwap::from_pointee(first),
            reload: ArcSwap::from_pointee(Reload { at: SystemTime::now(), error: None }),
            changes: watch::Sender::new(0),
        }
    }

    /// What is in force now. Not to be held across a wait.
    pub fn load(&self) -> Guard<Arc<InForce>> {
        self.current.load()
    }

    /// What is in force now, to be held for longer.
    pub fn load_full(&self) -> Arc<InForce> {
        self.current.load_full()
    }

    /// Puts another policy in force.
    pub fn replace(&self, next: InForce) {
        self.reload.store(Arc::new(Reload { at: SystemTime::now(), error: None }));
        self.renew(next);
    }

    /// Puts the same policy in force as it is compiled now. What is known of the last attempt to load one stays.
    pub fn renew(&self, next: InForce) {
        self.current.store(Arc::new(next));
        self.changes.send_modify(|count| *count += 1);
    }

    /// Notes that a new policy was refused and the one in force stays.
    pub fn refused(&self, error: &str) {
        self.reload.store(Arc::new(Reload { at: SystemTime::now(), error: Some(error.into()) }));
    }

    /// How the last attempt to load went.
    pub fn last_reload(&self) -> Arc<Reload> {
        self.reload.load_full()
    }

    /// Changes whenever another policy is put in force.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
