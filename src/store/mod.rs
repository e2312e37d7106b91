//! Counters and approvals, kept beside the policy so that they outlive its reloads: in this process, or shared by
//! several in Redis.

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use crate::pipeline::approval::{Asked, Fingerprint, NotAdmitted, Petition, Redeemed, Standing, Ticket};
use crate::pipeline::limit::{Charges, Excess};

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
}
