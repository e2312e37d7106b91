//! A secret kept elsewhere: fetched when it is needed, by one flight at a time, and believed for a bounded time.
//!
//! A value is used for at most `refresh` after it was asked for, whatever happens meanwhile. In the second half of
//! that time a request that needs it is served at once and has it fetched again behind its back, so that nobody
//! waits and a short outage goes unnoticed; a longer one ends in refusals, and a Vault that says no ends it at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::vault::{Vault, VaultError};
use crate::pipeline::credential::Secret;

/// How long one fetch may take. With the longest lookup of a name it stays below Envoy's `message_timeout`.
pub(super) const DEADLINE: Duration = Duration::from_millis(1500);

/// How long a failure stands before Vault is asked again: one that is down is not asked by every request.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the same failure is not said again.
const QUIET: Duration = Duration::from_secs(30);

/// A credential whose value is fetched.
#[derive(Debug)]
pub(super) struct Remote {
    name: String,
    vault: Vault,
    refresh: Duration,
    value: ArcSwapOption<Value>,
    flight: Mutex<Flight>,
}

#[derive(Debug)]
struct Value {
    secret: Arc<Secret>,
    /// When it was asked for: what Vault changes later is not in it.
    asked: Instant,
}

#[derive(Debug, Default)]
struct Flight {
    /// Closed when the flight has landed, in whatever way.
    running: Option<watch::Receiver<()>>,
    failed: Option<Instant>,
    said: Option<Instant>,
}

/// What a remote secret can say at once.
pub(super) enum Answer {
    /// This; nothing, where it cannot be had.
    Known(Option<Arc<Secret>>),
    /// To be landed with [`Remote::land`].
    Flying(watch::Receiver<()>),
}

impl Remote {
    pub(super) fn new(name: &str, vault: Vault, refresh: Duration) -> Arc<Self> {
        let (value, flight) = (ArcSwapOption::empty(), Mutex::default());
        Arc::new(Self { name: name.to_owned(), vault, refresh, value, flight })
    }

    /// True if it is the same entry, for the same credential, of the same Vault, had in the same way.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.name == other.name && self.refresh == other.refresh && self.vault.is_same_as(&other.vault)
    }

    pub(super) fn ask(self: &Arc<Self>, now: Instant) -> Answer {
        let Some((secret, age)) = self.current(now) else {
            return match self.board(now) {
                Some(flight) => Answer::Flying(flight),
                None => Answer::Known(None),
            };
        };
        if age >= self.refresh / 2 {
            self.board(now);
        }
        Answer::Known(Some(secret))
    }

    /// The value that a flight brings, if it brings one.
    pub(super) async fn land(&self, mut flight: watch::Receiver<()>) -> Option<Arc<Secret>> {
        // The flight's own clock runs on the runtime that started it, which may be busy.
        let landed = tokio::time::timeout(DEADLINE, async { while flight.changed().await.is_ok() {} });
        landed.await.ok()?;
        self.current(Instant::now()).map(|(secret, _)| secret)
    }

    /// What was fetched last, as long as it is believed.
    pub(super) fn at_hand(&self, now: Instant) -> Option<Arc<Secret>> {
        self.current(now).map(|(secret, _)| secret)
    }

    /// The value and its age, while it may be used.
    fn current(&self, now: Instant) -> Option<(Arc<Secret>, Duration)> {
        let value = self.value.load();
        let value = value.as_ref()?;
        let age = now.saturating_duration_since(value.asked);
        (age < self.refresh).then(|| (value.secret.clone(), age))
    }

    /// Joins the flight that is under way, or starts one. None so soon after a failure.
    fn board(self: &Arc<Self>, now: Instant) -> Option<watch::Receiver<()>> {
        let mut flight = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = flight.running.as_ref().filter(|running| running.has_changed().is_ok()) {
            return Some(running.clone());
        }
        if flight.failed.is_some_and(|failed| now.saturating_duration_since(failed) < PAUSE) {
            return None;
        }
        let (landing, running) = watch::channel(());
        flight.running = Some(running.clone());
        drop(flight);
        let remote = self.clone();
        // It owns no reply: who waits for it has a deadline, and what it brings serves those who come later too.
        tokio::spawn(async move {
            remote.fly().await;
            drop(landing);
        });
        Some(running)
    }

    async fn fly(&self) {
        let asked = Instant::now();
        let read = tokio::time::timeout(DEADLINE, self.vault.read(DEADLINE)).await;
        let outcome = read.unwrap_or_else(|_| Err(self.vault.timed_out(DEADLINE)));
        let mut flight = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(secret) => {
                if flight.failed.take().is_some() {
                    tracing::info!(credential = self.name, "the credential can be had again");
                }
                flight.said = None;
                self.value.store(Some(Arc::new(Value { secret: Arc::new(secret), asked })));
            }
            Err(error) => {
                let now = Instant::now();
                flight.failed = Some(now);
                if error.is_final() {
                    self.value.store(None);
                }
                if flight.said.is_none_or(|said| now.saturating_duration_since(said) >= QUIET) {
                    flight.said = Some(now);
                    self.complain(&error, now);
                }
            }
        }
    }

    fn complain(&self, error: &VaultError, now: Instant) {
        let credential = &self.name;
        match self.current(now) {
            Some((_, age)) => {
                let left = self.refresh.saturating_sub(age);
                tracing::warn!(credential, %error, "the credential cannot be fetched again; the value at hand serves for another {left:.0?}");
            }
            None => tracing::error!(credential, %error, "requests that need this credential are answered 503"),
        }
    }
}
