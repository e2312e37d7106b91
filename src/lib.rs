//! Attaché decides what AI agents may send out, and Envoy carries it out.
//!
//! A request's way through this crate is the order of the modules: Envoy's ext_proc messages are read in
//! [`ext_proc`], judged by the pure core in [`pipeline`] on the policy that [`config`] compiled, and answered with
//! what [`resolver`], [`secrets`] and [`journal`] contributed. [`server`] puts them together, [`supervisor`] runs
//! that service beside an Envoy.

pub mod access_log;
pub mod certificates;
pub mod cli;
pub mod config;
pub mod control;
pub mod dns_stub;
pub mod envoy;
pub mod ext_proc;
mod grpc;
mod harden;
pub mod https;
pub mod journal;
pub mod kubernetes;
pub mod live;
pub mod net;
pub mod notify;
pub mod peer;
pub mod pipeline;
pub mod pod;
mod protobuf;
pub mod reconcile;
pub mod rehearsal;
pub mod resolver;
pub mod secrets;
pub mod server;
pub mod sinks;
pub mod store;
pub mod supervisor;
pub mod telemetry;
