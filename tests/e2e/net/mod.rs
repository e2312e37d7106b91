//! The redirect in a pod's network namespace: what gets round it, whom it lets through, and what it says.

mod crash;
mod errors;
mod pod;
mod proof;
mod standing;
mod ways_out;
