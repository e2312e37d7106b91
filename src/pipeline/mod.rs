//! The core that decides: no I/O, no clock, no protobuf, no runtime. The files stand in the order a request
//! passes them, and each imports only what stands above it; the order of the stages is written once, in
//! [`exchange`]. Two files of [`policy`] stand above it: `matcher` and `decision` are words that others use too.

// Where anything may go at all, and what was asked.
pub mod address;

pub mod message;

// Who asks: what the tunnel was opened with, then the agent.
pub mod session;

pub mod guesses;

pub mod agent;

// What may be sent, how much of it, who has to agree, what goes with it, and which fields come back.
pub mod limit;

pub mod approval;

pub mod credential;

pub mod response_filter;

// What it may not carry.
pub mod dlp;

pub mod policy;

// What looks into it, on the way out and back.
pub mod guard;

// What is said of it, and the stages in order.
pub mod answer;

pub mod audit;

pub mod untold;

pub mod exchange;
