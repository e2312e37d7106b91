//! `attache envoy check`: what a changed copy of the bootstrap no longer protects.
//!
//! The check reads a bootstrap as an attacker would: every way from a listener to an upstream has to
//! pass a verdict and the gate, nothing on that way may forge a verdict or change what was judged,
//! and the address must be the one attaché named. What the check does not know, it reports.

mod client_tls;
mod clusters;
mod document;
mod gate;
mod http;
mod listeners;
mod node;
mod records;
mod routes;
mod verdict;

use std::fmt;

use clusters::Clusters;
use document::{Findings, Node};

/// Checks a bootstrap, YAML or JSON. No finding means that every protection of the shipped file is there.
///
/// # Errors
/// When the text is no YAML, or leaves open what Envoy would read in it.
pub fn check(text: &str) -> Result<Vec<Finding>, ParseError> {
    Ok(look(&document::parse(text)?, Some(text)))
}

/// As [`check`], for a document that was read already; its findings have no lines.
///
/// # Errors
/// As [`check`].
pub fn check_document(mut document: serde_json::Value) -> Result<Vec<Finding>, ParseError> {
    document::spell(&mut document)?;
    Ok(look(&document, None))
}

fn look(document: &serde_json::Value, text: Option<&str>) -> Vec<Finding> {
    let bootstrap = Node::root(document);
    let mut findings = Findings::of(text);
    let clusters = Clusters::of(&bootstrap);
    node::check(&bootstrap, &clusters, &mut findings);
    listeners::check(&bootstrap, &clusters, &mut findings);
    clusters::check(&clusters, &mut findings);
    findings.into_sorted()
}

/// One thing to change in a bootstrap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The field, from the top of the file: `static_resources.listeners[0].name`.
    pub path: String,
    /// The line on which that field, or the last one above it that is there, begins; from 1.
    pub line: Option<usize>,
    /// What is wrong, and what it lets happen.
    pub message: String,
    /// What to write instead.
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        if let Some(line) = self.line {
            write!(out, "{line}: ")?;
        }
        let Finding { path, message, fix, .. } = self;
        write!(out, "{severity}: {path}: {message}; fix: {fix}")
    }
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Traffic can pass the policy, or a verdict can be forged or lost.
    Error,
    /// A limit, a record, an answer or some privacy is lost; or the check cannot tell.
    Warning,
}

/// Why a file cannot be checked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseError {
    /// Neither YAML nor JSON, or a key is given twice.
    #[error("not a bootstrap: {0}")]
    Syntax(String),
    /// A list or a single value.
    #[error("not a bootstrap: the file has to be one mapping with `static_resources` in it")]
    NotAMapping,
    /// Envoy would have to choose.
    #[error("`{0}` is given twice, in its two spellings: keep one")]
    TwoSpellings(String),
}
