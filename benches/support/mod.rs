//! What the benchmarks share. Each uses a part of it.

pub mod goals;
pub mod instructions;
pub mod load;
pub mod mitmproxy;
pub mod noop_ext_proc;
pub mod noop_h2;
pub mod noop_raw;
pub mod noop_words;
pub mod python;
pub mod stand;
pub mod texts;
pub mod turns;
pub mod usage;
