//! The core that decides: no async, no I/O, no clock.

pub mod address;
