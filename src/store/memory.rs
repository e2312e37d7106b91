//! Counts and approvals of this process alone. They end with it.

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use smallvec::SmallVec;
use tokio::sync::Notify;

use super::{Coming, Open, Pending, Soon, Store, Unavailable, new_ticket};
use crate::pipeline::approval::book::{Book, Entry, Turn, Waiter};
use crate::pipeline::approval::{
    AnswerError, Answered, Asked, Fingerprint, NotAdmitted, Petition, Redeemed, Standing, Ticket, Verdict,
};
use crate::pipeline::limit::counters::{Counters, look_at_all};
use crate::pipeline::limit::{Charge, Charges, Excess};

/// The store within the process.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// By agent, so that agents do not wait for each other.
    counters: [Mutex<Counters>; SHARDS],
    hasher: RandomState,
    book: Mutex<Book>,
    /// Something was answered, or an approval is free again: whoever waits looks anew. People answer, so it is rare.
    answered: Notify,
}

const SHARDS: usize = 16;

impl Store for Memory {
    fn look(&self, charges: &Charges) -> Soon<Result<(), Excess>> {
        Soon::Now(self.look_now(charges))
    }

    fn ask(&self, petition: &Petition) -> Soon<Asked> {
        let Ok(name) = new_ticket() else { return Soon::Now(Asked::Unavailable) };
        let mut book = self.0.book();
        Soon::Now(book.ask(petition, &name, Instant::now()))
    }

    fn wait(&self, ticket: &Ticket, until: Instant) -> Coming<Standing> {
        let place = Place::take(&self.0, ticket);
        Box::pin(async move {
            match place {
                Some(place) => place.wait(until).await,
                None => Standing::Expired,
            }
        })
    }

    fn admit(&self, charges: &Charges, redeem: Option<Fingerprint>) -> Soon<Result<Option<Redeemed>, NotAdmitted>> {
        Soon::Now(self.admit_now(charges, redeem))
    }

    fn list(&self) -> Coming<Result<Vec<Open>, Unavailable>> {
        let clock = Clock::now();
        let mut open: Vec<_> = self.0.book().entries(clock.instant).map(|entry| clock.open(entry)).collect();
        open.sort_by(|a, b| a.asked.cmp(&b.asked).then_with(|| a.ticket.cmp(&b.ticket)));
        Box::pin(std::future::ready(Ok(open)))
    }

    fn answer(&self, ticket: &Ticket, verdict: Verdict, answered: Answered) -> Coming<Result<Open, AnswerError>> {
        let clock = Clock::now();
        let result = self.0.book().answer(ticket, verdict, answered, clock.instant);
        self.0.answered.notify_waiters();
        Box::pin(std::future::ready(result.map(|entry| clock.open(entry))))
    }

    fn pending(&self) -> Coming<Result<Pending, Unavailable>> {
        let now = Instant::now();
        let mut pending = Pending::default();
        for entry in self.0.book().entries(now).filter(|entry| entry.standing == Standing::Pending) {
            pending.count += 1;
            pending.oldest = pending.oldest.max(Some(now.saturating_duration_since(entry.asked)));
        }
        Box::pin(std::future::ready(Ok(pending)))
    }
}

impl Memory {
    pub(super) fn look_now(&self, charges: &Charges) -> Result<(), Excess> {
        self.0.locked(charges).look(charges, Instant::now())
    }

    pub(super) fn admit_now(
        &self,
        charges: &Charges,
        redeem: Option<Fingerprint>,
    ) -> Result<Option<Redeemed>, NotAdmitted> {
        // Always the counters before the book, and the clock after both: nothing is written out of order.
        let mut counters = self.0.locked(charges);
        let mut book = redeem.map(|fingerprint| (self.0.book(), fingerprint));
        let now = Instant::now();
        counters.look(charges, now).map_err(NotAdmitted::Excess)?;
        let redeemed = match &mut book {
            Some((book, fingerprint)) => Some(book.redeem(*fingerprint, now).ok_or(NotAdmitted::NotApproved)?),
            None => None,
        };
        counters.charge(charges, now);
        Ok(redeemed)
    }

    /// Writes down what was admitted elsewhere.
    pub(super) fn charge(&self, charges: &Charges, now: Instant) {
        self.0.locked(charges).charge(charges, now);
    }
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            counters: Default::default(),
            hasher: RandomState::new(),
            book: Mutex::default(),
            answered: Notify::new(),
        }
    }
}

impl Inner {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters that these charges are of, in the order of the shards: whoever locks two locks them alike.
    fn locked(&self, charges: &Charges) -> Locked<'_> {
        let mut shards: SmallVec<[usize; 2]> = charges.iter().map(|charge| self.shard(charge)).collect();
        shards.sort_unstable();
        shards.dedup();
        let lock = |shard: usize| {
            let counters = self.counters.get(shard)?.lock().unwrap_or_else(PoisonError::into_inner);
            Some((shard, counters))
        };
        Locked { inner: self, shards: shards.into_iter().filter_map(lock).collect() }
    }

    fn shard(&self, charge: &Charge) -> usize {
        usize::try_from(self.hasher.hash_one(&charge.agent) >> 32).unwrap_or_default() % SHARDS
    }
}

/// Counters nobody else can reach for now.
struct Locked<'a> {
    inner: &'a Inner,
    shards: SmallVec<[(usize, MutexGuard<'a, Counters>); 1]>,
}

impl Locked<'_> {
    fn of(&mut self, charge: &Charge) -> Option<&mut Counters> {
        let own = self.inner.shard(charge);
        self.shards.iter_mut().find(|(shard, _)| *shard == own).map(|(_, counters)| &mut **counters)
    }

    fn look(&mut self, charges: &Charges, now: Instant) -> Result<(), Excess> {
        look_at_all(charges, |charge, units| match self.of(charge) {
            Some(counters) => counters.look(charge, units, now),
            None => Err(None),
        })
    }

    fn charge(&mut self, charges: &Charges, now: Instant) {
        for charge in charges {
            if let Some(counters) = self.of(charge) {
                counters.charge(charge, now);
            }
        }
    }
}

/// A place among those who wait for one question; dropped, it is free.
struct Place {
    inner: Arc<Inner>,
    ticket: Ticket,
    /// None once the question stood for this one.
    waiter: Option<Waiter>,
}

impl Place {
    fn take(inner: &Arc<Inner>, ticket: &Ticket) -> Option<Self> {
        let waiter = inner.book().enter(ticket, Instant::now())?;
        Some(Self { inner: inner.clone(), ticket: ticket.clone(), waiter: Some(waiter) })
    }

    async fn wait(mut self, until: Instant) -> Standing {
        let inner = self.inner.clone();
        while let Some(waiter) = self.waiter {
            let mut answered = pin!(inner.answered.notified());
            // Listens before it looks, or it would miss what happens in between.
            answered.as_mut().enable();
            let now = Instant::now();
            let turn = inner.book().turn(&self.ticket, waiter, now);
            match turn {
                Turn::Go(standing) => {
                    self.waiter = None;
                    return standing;
                }
                Turn::WaitUntil(_) if until <= now => break,
                Turn::WaitUntil(later) => {
                    let wake = tokio::time::sleep_until(later.min(until).into());
                    tokio::select! {
                        () = answered => {}
                        () = wake => {}
                    }
                }
            }
        }
        Standing::Pending
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            self.inner.book().leave(&self.ticket, waiter);
            self.inner.answered.notify_waiters();
        }
    }
}

/// What the clock on the wall shows at an instant.
#[derive(Clone, Copy)]
struct Clock {
    instant: Instant,
    wall: SystemTime,
}

impl Clock {
    fn now() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }

    fn open(self, entry: Entry) -> Open {
        let before = |at: Instant| self.instant.saturating_duration_since(at);
        let after = |at: Instant| at.saturating_duration_since(self.instant);
        let wall = |by: Option<SystemTime>| by.unwrap_or(self.wall);
        Open {
            ticket: entry.ticket,
            about: entry.about,
            standing: entry.standing,
            asked: wall(self.wall.checked_sub(before(entry.asked))),
            expires: wall(self.wall.checked_add(after(entry.until))),
            waiting: entry.waiting,
        }
    }
}
