//! Attaché decides what AI agents may send out, and Envoy carries it out.

pub mod certificates;
pub mod pipeline;
pub mod resolver;
