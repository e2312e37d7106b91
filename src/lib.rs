//! Attaché decides what AI agents may send out, and Envoy carries it out.

pub mod envoy;
