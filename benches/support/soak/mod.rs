//! What the soak is made of.

pub mod agents;
pub mod books;
pub mod changes;
pub mod place;
pub mod process;
