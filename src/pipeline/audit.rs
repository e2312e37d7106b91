//! What is put on record: one decision for each exchange, written before it is answered, and its outcome when
//! Envoy reports it. Neither ever holds a secret: credentials stand by name, query values are taken out.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// What was enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Forwarded.
    Allow,
    /// Refused by policy, identity or form.
    Deny,
    /// Refused because there could be no verdict.
    Error,
}

impl Verdict {
    /// As metrics and spans write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Error => "error",
        }
    }
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Record {
    /// What was decided.
    Decision(Box<DecisionRecord>),
    /// What became of it.
    Outcome(Box<OutcomeRecord>),
}

/// What was decided about one exchange.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRecord {
    /// Joins a decision with its outcome, and is the `requestId` of the answer.
    pub request_id: Arc<str>,
    /// When it was decided, as RFC 3339 in UTC with microseconds.
    #[serde(with = "rfc3339")]
    pub time: SystemTime,
    /// The agent's name, where it is known.
    pub agent: Option<Arc<str>>,
    /// What said who it is: `token`, `header`, `fixed` or `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Where the agent called from: address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Box<str>>,
    /// The method; `CONNECT` only where a tunnel was refused, `TLS` where a handshake was.
    pub method: Box<str>,
    /// `https` or `http`: how the upstream is, or would be, spoken to.
    pub scheme: Option<String>,
    /// The host, without port.
    pub host: Box<str>,
    /// The upstream's port.
    pub port: Option<u16>,
    /// The path in full, without the query.
    pub path: Box<str>,
    /// The query with its values taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Box<str>>,
    /// What was enforced.
    pub decision: Verdict,
    /// Why, where it was refused.
    pub reason: Option<String>,
    /// More on why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Box<str>>,
    /// The policy entry that decided.
    pub rule: Option<Arc<str>>,
    /// The names of the credentials injected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credential: Vec<Arc<str>>,
    /// The policy that decided.
    pub policy_revision: Arc<str>,
    /// The address it was pinned to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The status of the answer, where it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// From the head's arrival to the decision, in microseconds.
    pub decision_micros: u64,
}

/// What became of one exchange, as Envoy's access log says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomeRecord {
    /// Joins it with its decision.
    pub request_id: Arc<str>,
    /// When Envoy reported it, as RFC 3339 in UTC with microseconds.
    #[serde(with = "rfc3339")]
    pub time: SystemTime,
    /// The status the agent got; 0 where it got none.
    pub status: u16,
    /// Body bytes the agent sent.
    pub bytes_sent: u64,
    /// Body bytes the agent received.
    pub bytes_received: u64,
    /// From the first byte of the request to the last of the response, in milliseconds.
    pub duration_ms: f64,
    /// The address Envoy connected to.
    pub upstream: Option<String>,
    /// Envoy's response flags in their short form, e.g. `UF`, comma-separated; empty for none.
    pub flags: String,
    /// Envoy's response code details.
    pub details: String,
}

/// A query with its values taken out: `a=1&b` becomes `a=***&b`. What is too long to be a name is a value.
pub fn redacted_query(query: &str) -> Box<str> {
    let name = |text| if str::len(text) > MAX_NAME { REDACTED } else { text };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, "")) => format!("{}=", name(key)),
        Some((key, _)) => format!("{}={REDACTED}", name(key)),
        None => name(pair).to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&").into()
}

/// An authority that could not be read, without the user information it may hold.
pub fn redacted_authority(authority: &str) -> String {
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{REDACTED}@{host}"),
        None => authority.to_owned(),
    }
}

/// The path and query of a target that could not be read: without user information, fragment and query values.
pub fn redacted_target(target: &str) -> (Box<str>, Option<Box<str>>) {
    let (target, fragment) = match target.split_once('#') {
        Some((target, _)) => (target, true),
        None => (target, false),
    };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(redacted_query(query))),
        None => (target, None),
    };
    let mut path = match path.starts_with('/') {
        true => path.to_owned(),
        false => {
            let (scheme, rest) = path.find("://").map_or(("", path), |at| path.split_at(at + 3));
            let (authority, below) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            format!("{scheme}{}{below}", redacted_authority(authority))
        }
    };
    if fragment && query.is_none() {
        path.push('#');
        path.push_str(REDACTED);
    }
    (path.into(), query)
}

const REDACTED: &str = "***";
/// The longest name of a query parameter that is put on record, in bytes: tokens are longer.
const MAX_NAME: usize = 32;

pub(crate) mod rfc3339 {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        let stamp = jiff::Timestamp::try_from(*time).map_err(serde::ser::Error::custom)?;
        serializer.collect_str(&format_args!("{stamp:.6}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        let stamp: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
        Ok(stamp.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_keeps_its_names_only() {
        for (query, expected) in
            [("a=1&b=2", "a=***&b=***"), ("flag", "flag"), ("a=&b", "a=&b"), ("a=b=c", "a=***"), ("", "")]
        {
            assert_eq!(&*redacted_query(query), expected);
        }
        let token = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0";
        for query in
            [token.to_owned(), format!("{token}=="), format!("a=1&{token}"), format!("{token}=1"), format!("a;{token}")]
        {
            assert!(!redacted_query(&query).contains(token), "{query}");
        }
    }

    #[test]
    fn what_cannot_be_read_goes_on_record_without_its_secrets() {
        for (authority, expected) in
            [("user:hunter2@a.example", "***@a.example"), ("a@b@c", "***@c"), ("a.example:x", "a.example:x")]
        {
            assert_eq!(redacted_authority(authority), expected);
        }
        for (target, path, query) in [
            ("/a b?k=v", "/a b", Some("k=***")),
            ("/a#token=x", "/a#***", None),
            ("/a?k=v#token=x", "/a", Some("k=***")),
            ("http://u:p@a.example/x", "http://***@a.example/x", None),
            ("/a/u@b", "/a/u@b", None),
            ("u:p@a.example/x@y", "***@a.example/x@y", None),
        ] {
            let (found, rest) = redacted_target(target);
            assert_eq!((&*found, rest.as_deref()), (path, query), "{target}");
        }
    }

    #[test]
    fn a_line_of_the_journal_reads_back_as_it_was_written() {
        let outcome = Record::Outcome(Box::new(OutcomeRecord {
            request_id: "r1".into(),
            time: SystemTime::UNIX_EPOCH + std::time::Duration::from_micros(1_700_000_000_123_456),
            status: 200,
            bytes_sent: 1,
            bytes_received: 2,
            duration_ms: 3.5,
            upstream: None,
            flags: String::new(),
            details: "via_upstream".into(),
        }));
        let line = serde_json::to_string(&outcome).unwrap();
        assert!(line.contains(r#""time":"2023-11-14T22:13:20.123456Z""#), "{line}");
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), outcome);
    }
}
