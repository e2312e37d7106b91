//! Counters and approvals, kept beside the policy so that they outlive its reloads: in this process, or shared by
//! several in Redis.

mod memory;
mod redis;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::pipeline::approval::{
    About, AnswerError, Answered, Asked, Fingerprint, NotAdmitted, Petition, Redeemed, Standing, Ticket, Verdict,
};
use crate::pipeline::limit::{Charges, Excess};

pub use memory::Memory;
pub use redis::{Identity, OnError, Options as RedisOptions, OptionsError as RedisOptionsError, Redis};

/// An answer that is at hand, or comes.
pub enum Soon<T> {
    /// At hand.
    Now(T),
    /// Comes, within the store's own budget.
    Later(Coming<T>),
}

/// An answer that comes.
pub type Coming<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where counts and approvals are kept.
pub trait Store: Send + Sync {
    /// Whether all of these would be admitted now. Nothing is charged.
    fn look(&self, charges: &Charges) -> Soon<Result<(), Excess>>;

    /// Opens a question, or finds it where it is open already; a refused one stays refused until it expires.
    fn ask(&self, petition: &Petition) -> Soon<Asked>;

    /// How the question stands as soon as it is not pending any more, or at `until`. Of several that wait for one, an
    /// approval wakes the one that waited longest. Dropping it gives the place up.
    fn wait(&self, ticket: &Ticket, until: Instant) -> Coming<Standing>;

    /// Uses the approval up, if one is named, and charges everything: all of it or nothing.
    fn admit(&self, charges: &Charges, redeem: Option<Fingerprint>) -> Soon<Result<Option<Redeemed>, NotAdmitted>>;

    /// The questions that nobody has answered, and the answers that still count; the oldest first.
    fn list(&self) -> Coming<Result<Vec<Open>, Unavailable>>;

    /// Answers a question, and gives it as it stands then. An approval that nothing went out for yet can still be
    /// refused.
    fn answer(&self, ticket: &Ticket, verdict: Verdict, answered: Answered) -> Coming<Result<Open, AnswerError>>;

    /// How many questions wait for a person.
    fn pending(&self) -> Coming<Result<Pending, Unavailable>>;
}

/// A question as a person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Its name.
    pub ticket: Ticket,
    /// What is asked.
    pub about: Arc<About>,
    /// How it stands.
    pub standing: Standing,
    /// When it was asked.
    pub asked: SystemTime,
    /// Until when it can be answered, or what was answered counts.
    pub expires: SystemTime,
    /// How many identical requests are held open for it.
    pub waiting: usize,
}

/// How much a person has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    /// Questions nobody has answered.
    pub count: usize,
    /// How long the oldest of them is open.
    pub oldest: Option<Duration>,
}

/// The store cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store of counters and approvals cannot be reached")]
pub struct Unavailable;

/// A name for a question that nobody guesses: 100 random bits in letters that are not taken for one another.
///
/// # Errors
/// If the system has no randomness.
fn new_ticket() -> Result<Ticket, Unavailable> {
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut random = [0; 20];
    let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    if filled.ok() != Some(random.len()) {
        return Err(Unavailable);
    }
    let letters = random.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 32)));
    Ok("apr_".chars().chain(letters.map(|letter| char::from(*letter))).collect::<String>().into())
}

#[cfg(test)]
mod tests;
