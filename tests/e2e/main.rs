//! The product as its users meet it: the real `attache` binary, the real Envoy, real clients.
//!
//! One binary, so that it links once; each file is named after the risk it guards against. What the
//! tests stand on (upstreams, DNS, clients) is in `tests/support`, with tests of its own.
#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod allow_deny;
mod answers;
mod approvals;
mod attacks;
mod attacks_policy;
mod audit;
mod audit_verify;
mod bad_input;
mod bodies;
mod ca_doctor;
mod clients;
mod completeness;
mod concurrency;
mod credentials;
mod dlp;
mod durability;
mod endpoints;
mod explained;
mod fail_closed;
mod faults;
mod hardening;
mod identity;
mod identity_expiry;
mod identity_mtls;
mod identity_source;
mod imports;
mod in_a_pod;
mod isolation;
mod limits;
mod live_view;
mod monitor;
mod net;
mod notifications;
mod nowhere;
mod order;
mod organization;
mod overload;
mod paths;
mod pod_identity;
mod profiles;
mod reload;
mod response_filters;
mod rules;
mod seccomp;
mod shared_store;
mod sinks;
mod spellings;
mod store_races;
mod supervise;
mod telemetry;
mod tls;
mod transparent;
mod upgrades;
mod vault;
mod windows;
