//! The `attache` command: see [`attache`] for what it does.

fn main() {}
