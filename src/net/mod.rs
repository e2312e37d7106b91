//! The redirect: in a pod's network namespace, every way out leads to Envoy, or nowhere.
//!
//! [`layout`] says whose sockets are exempt and which ports are whose, [`rules`] makes of it a ruleset as data, and a
//! [`backend`] ([`nft`], or [`iptables`] where that is missing) puts it into the kernel. [`verify`] then proves by
//! trying that it holds; what is tried runs in a process of another user, [`probe`].

pub mod backend;
pub mod iptables;
pub mod layout;
pub mod namespace;
pub mod nft;
pub mod privilege;
pub mod probe;
pub mod rules;
mod tool;
pub mod verify;
