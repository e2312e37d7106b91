//! What is put on record: one decision for each exchange, written before it is answered, and its outcome when
//! Envoy reports it. Neither ever holds a secret: credentials stand by name, query values are taken out.

use std::borrow::Cow;
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
    /// Refused because it is too much for now.
    RateLimited,
    /// Refused until a person has answered.
    Pending,
    /// Refused because there could be no verdict.
    Error,
}

impl Verdict {
    /// As metrics and spans write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::RateLimited => "rate_limited",
            Self::Pending => "pending",
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
    /// What was found in a message after its head had gone on.
    Inspection(Box<InspectionRecord>),
    /// What happened to a question that a person was asked.
    Approval(Box<ApprovalRecord>),
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
    pub identity: Option<Cow<'static, str>>,
    /// Where the agent called from: address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Box<str>>,
    /// The address and port that the agent dialled, where its connection was redirected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Box<str>>,
    /// The method; `CONNECT` only where a tunnel was refused, `TLS` where a handshake was, `DNS` where a name was asked
    /// for that policy could never allow.
    pub method: Box<str>,
    /// `https` or `http`: how the upstream is, or would be, spoken to.
    pub scheme: Option<Cow<'static, str>>,
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
    pub reason: Option<Cow<'static, str>>,
    /// More on why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Box<str>>,
    /// The policy entry that decided.
    pub rule: Option<Arc<str>>,
    /// What would have been enforced, where that is only watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would: Option<Would>,
    /// The rules that only watch and match it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watched: Vec<Arc<str>>,
    /// Whom it was shown to for approval, and what they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalNote>,
    /// The names of the credentials injected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credential: Vec<Arc<str>>,
    /// The names of the credentials whose placeholder the agent sent where nothing replaces it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placeholders: Vec<Arc<str>>,
    /// What was found in it, as far as it was seen before it was decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingNote>,
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

impl DecisionRecord {
    /// One of which nothing more is known.
    pub fn new(request_id: Arc<str>, time: SystemTime, decision: Verdict, policy_revision: Arc<str>) -> Self {
        Self {
            request_id,
            time,
            agent: None,
            identity: None,
            source: None,
            destination: None,
            method: "".into(),
            scheme: None,
            host: "".into(),
            port: None,
            path: "".into(),
            query: None,
            decision,
            reason: None,
            detail: None,
            rule: None,
            would: None,
            watched: Vec::new(),
            approval: None,
            credential: Vec::new(),
            placeholders: Vec::new(),
            findings: Vec::new(),
            policy_revision,
            upstream: None,
            status: None,
            decision_micros: 0,
        }
    }
}

/// Something that was found in a message. Never what it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingNote {
    /// The rule that found it.
    pub rule: Arc<str>,
    /// What kind of thing it is.
    pub category: Box<str>,
    /// How sure that is: `low`, `medium`, `high` or `confirmed`.
    pub confidence: Cow<'static, str>,
    /// What is done about it: `monitor`, `redact` or `block`.
    pub action: Cow<'static, str>,
    /// The part of the message, the place in it, and how it was written there: `body.$.a → base64`.
    pub location: Box<str>,
    /// The same for the same value, in hexadecimal; of no use to who does not know this installation's key.
    pub fingerprint: Box<str>,
}

/// What was found in a message after its head had gone on, and what was done about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InspectionRecord {
    /// Joins it with its decision.
    pub request_id: Arc<str>,
    /// When, as RFC 3339 in UTC with microseconds.
    #[serde(with = "rfc3339")]
    pub time: SystemTime,
    /// Which message.
    pub direction: Direction,
    /// What was done.
    pub action: InspectionAction,
    /// Why, where it was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// More on why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Box<str>>,
    /// The policy entry that cut it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
    /// The status of the answer that the agent gets instead, as long as none has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What was found since the last such record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingNote>,
    /// How much of the body had been seen by then, in bytes.
    pub bytes: u64,
}

/// The way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the agent.
    Request,
    /// To the agent.
    Response,
}

impl Direction {
    /// As records and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

/// What was done about what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InspectionAction {
    /// The message was cut off; what had been seen as harmless may have gone on.
    Blocked,
    /// It was replaced.
    Redacted,
    /// Nothing.
    Monitored,
}

impl InspectionAction {
    /// As records and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Redacted => "redacted",
            Self::Monitored => "monitored",
        }
    }
}

/// What would have been enforced, where policy only watches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Would {
    /// What.
    pub decision: Verdict,
    /// Why.
    pub reason: Cow<'static, str>,
    /// By which entry.
    pub rule: Option<Arc<str>>,
}

/// A person's part in a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalNote {
    /// The question's name.
    pub ticket: Arc<str>,
    /// Who answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Arc<str>>,
    /// Why, as far as they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Arc<str>>,
}

/// What happened to a question that a person was asked. Several requests may share one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRecord {
    /// The question's name.
    pub ticket: Arc<str>,
    /// When it happened, as RFC 3339 in UTC with microseconds.
    #[serde(with = "rfc3339")]
    pub time: SystemTime,
    /// What happened.
    pub event: ApprovalEvent,
    /// Whose request it is about.
    pub agent: Arc<str>,
    /// The method.
    pub method: Box<str>,
    /// `https` or `http`.
    pub scheme: Cow<'static, str>,
    /// The host, without port.
    pub host: Box<str>,
    /// The upstream's port.
    pub port: u16,
    /// The path as it will go out.
    pub path: Box<str>,
    /// The query with its values taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Box<str>>,
    /// The SHA-256 of the body, in hexadecimal.
    pub body_sha256: Box<str>,
    /// The rules that ask.
    pub rules: Vec<Arc<str>>,
    /// What the answer is bound to, in hexadecimal, where this service asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Box<str>>,
    /// Who answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Arc<str>>,
    /// Why, as far as they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Arc<str>>,
    /// The channels that its rules tell of it; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Arc<str>>,
}

/// What happens to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalEvent {
    /// A person was asked.
    Asked,
    /// One request may go out.
    Approved,
    /// None may.
    Refused,
    /// Nobody answered in time, or what was approved was not used in time.
    Expired,
}

impl ApprovalEvent {
    /// As records and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Approved => "approved",
            Self::Refused => "refused",
            Self::Expired => "expired",
        }
    }
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
    /// False where Envoy never said, and no longer can: the rest is then 0 and empty. A later record that knows counts.
    #[serde(default = "known", skip_serializing_if = "Clone::clone")]
    pub known: bool,
}

impl OutcomeRecord {
    /// What became of an exchange, where nobody can say it any more.
    pub fn unknown(request_id: Arc<str>, time: SystemTime) -> Self {
        Self {
            request_id,
            time,
            status: 0,
            bytes_sent: 0,
            bytes_received: 0,
            duration_ms: 0.0,
            upstream: None,
            flags: String::new(),
            details: String::new(),
            known: false,
        }
    }
}

fn known() -> bool {
    true
}

/// A query with its values taken out: `a=1&b` becomes `a=***&b`. What is too long to be a name is a value.
pub fn redacted_query(query: &str) -> Box<str> {
    let name = |text| if str::len(text) > MAX_NAME { REDACTED } else { text };
    let mut out = String::with_capacity(query.len() + REDACTED.len());
    for (at, pair) in query.split('&').enumerate() {
        if at > 0 {
            out.push('&');
        }
        match pair.split_once('=') {
            Some((key, value)) => {
                out.push_str(name(key));
                out.push('=');
                out.push_str(if value.is_empty() { "" } else { REDACTED });
            }
            None => out.push_str(name(pair)),
        }
    }
    out.into()
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

    use serde::{Deserialize, Deserializer, Serializer, de, ser};

    /// A time as RFC 3339 in UTC with microseconds; none outside the years 0 to 9999. Two of them are written for each
    /// request, which is why this is no format string.
    pub fn text(time: SystemTime) -> Option<[u8; 27]> {
        let utc = jiff::tz::Offset::UTC.to_datetime(time.try_into().ok()?);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let parts = [
            (0..4, i32::from(utc.year())),
            (5..7, utc.month().into()),
            (8..10, utc.day().into()),
            (11..13, utc.hour().into()),
            (14..16, utc.minute().into()),
            (17..19, utc.second().into()),
            (20..26, utc.subsec_nanosecond() / 1000),
        ];
        for (place, number) in parts {
            let mut rest = u32::try_from(number).ok()?;
            for digit in text.get_mut(place).into_iter().flatten().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        Some(text)
    }

    pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        let text = text(*time).ok_or_else(|| ser::Error::custom("a time that no record can hold"))?;
        serializer.serialize_str(std::str::from_utf8(&text).map_err(ser::Error::custom)?)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        let stamp: jiff::Timestamp = text.parse().map_err(de::Error::custom)?;
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

    proptest::proptest! {
        #[test]
        fn a_time_is_written_as_rfc_3339_says(second in -62_000_000_000_i64..253_000_000_000, nanos in 0..1_000_000_000) {
            let stamp = jiff::Timestamp::new(second, nanos).unwrap();
            let written = rfc3339::text(stamp.into()).unwrap();
            proptest::prop_assert_eq!(std::str::from_utf8(&written).unwrap(), format!("{:.6}", stamp));
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
            known: true,
        }));
        let line = serde_json::to_string(&outcome).unwrap();
        assert!(line.contains(r#""time":"2023-11-14T22:13:20.123456Z""#), "{line}");
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), outcome);
    }
}
