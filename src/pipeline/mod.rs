//! The core that decides: no I/O, no clock, no protobuf, no runtime. The files stand in the order a request
//! passes them; the order of its stages is written once, in [`exchange`].

pub mod address;
pub mod agent;
pub mod answer;
pub mod audit;
pub mod credential;
pub mod exchange;
pub mod message;
pub mod policy;
pub mod session;
