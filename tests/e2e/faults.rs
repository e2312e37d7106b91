//! What fails, in every way it can: what the agent sees, what is on record, and that nothing leaks. `matrix/rows.rs` says
//! what is expected, each test holds its cell, and docs/faults.md shows them all.

mod attache;
mod clock;
mod collector;
mod disk;
mod dns;
mod envoy;
mod matrix;
mod policy_file;
mod redis;
mod rig;
mod secret_file;
mod upstream;
mod webhook;
