//! Finds what must not leave, and what must not come back: secrets and personal data, in any encoding.
//!
//! `surface → views (as sent, decoded*, normalised*) → prefilter → pattern → validators → allowances → confidence →
//! profile: block | redact | monitor | off`.

pub mod finding;
pub mod rule;
pub mod rules;
pub mod validate;
pub mod view;
