//! Envoy, the data plane: its bootstrap, a check of changed copies of it, and its binary.
//!
//! `envoy/envoy.yaml` is the bootstrap that users read and mount. [`bootstrap`] puts the few values
//! into it that differ between installations, [`check`] says what a changed copy no longer protects,
//! and [`install`] finds an Envoy to run it with.

pub mod bootstrap;
pub mod check;
pub mod install;
