//! A line of the journal as a log record: the line itself is its body, what it says stands in attributes too.

use std::borrow::Cow;

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use serde::Deserialize;

use super::attribute;
use crate::sinks::Item;

/// The log record of a line. One that cannot be read goes out all the same, with what is known of it.
pub fn record(item: &Item) -> LogRecord {
    let line: Line<'_> = serde_json::from_slice(&item.line).unwrap_or_default();
    let nanos = line.time.and_then(|time| time.parse::<jiff::Timestamp>().ok()).map(|time| time.as_nanosecond());
    let nanos = nanos.and_then(|nanos| u64::try_from(nanos).ok()).unwrap_or_default();
    let severity = line.severity();
    LogRecord {
        time_unix_nano: nanos,
        // What is told and what tells of it are one process.
        observed_time_unix_nano: if nanos == 0 { now() } else { nanos },
        severity_number: severity.into(),
        severity_text: severity.as_str_name().trim_start_matches("SEVERITY_NUMBER_").to_owned(),
        body: Some(text(String::from_utf8_lossy(&item.line))),
        attributes: line.attributes(item),
        event_name: format!("attache.{}", line.r#type.unwrap_or("unreadable")),
        ..LogRecord::default()
    }
}

/// What stands in attributes, of whatever kind the line is.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Line<'a> {
    r#type: Option<&'a str>,
    time: Option<&'a str>,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    agent: Option<Cow<'a, str>>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    scheme: Option<Cow<'a, str>>,
    #[serde(borrow)]
    host: Option<Cow<'a, str>>,
    port: Option<u16>,
    #[serde(borrow)]
    path: Option<Cow<'a, str>>,
    decision: Option<&'a str>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    rule: Option<Cow<'a, str>>,
    #[serde(borrow)]
    would: Option<Would<'a>>,
    #[serde(borrow)]
    approval: Option<Approval<'a>>,
    #[serde(borrow)]
    ticket: Option<Cow<'a, str>>,
    /// What happened to a question.
    event: Option<&'a str>,
    credential: Vec<String>,
    findings: Vec<serde::de::IgnoredAny>,
    #[serde(borrow)]
    policy_revision: Option<Cow<'a, str>>,
    direction: Option<&'a str>,
    /// What was done about what was found.
    action: Option<&'a str>,
    status: Option<u16>,
    known: Option<bool>,
}

#[derive(Deserialize)]
struct Would<'a> {
    decision: &'a str,
    #[serde(borrow)]
    reason: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Approval<'a> {
    #[serde(borrow)]
    ticket: Cow<'a, str>,
}

impl Line<'_> {
    fn severity(&self) -> SeverityNumber {
        match (self.r#type, self.decision, self.action) {
            (Some("decision"), Some("allow"), _) => SeverityNumber::Info,
            (Some("decision"), Some("error"), _) => SeverityNumber::Error,
            (Some("decision"), _, _) => SeverityNumber::Warn,
            (Some("inspection"), _, Some("monitored")) => SeverityNumber::Info,
            (Some("outcome"), _, _) if self.known == Some(false) => SeverityNumber::Warn,
            (Some("inspection" | "retention" | "clock") | None, _, _) => SeverityNumber::Warn,
            _ => SeverityNumber::Info,
        }
    }

    fn attributes(&self, item: &Item) -> Vec<KeyValue> {
        let mut all = Vec::with_capacity(16);
        let mut add = |key: &str, value: Option<&str>| all.extend(value.map(|value| attribute(key, value)));
        add("attache.audit.chain", Some(&*item.chain).filter(|chain| !chain.is_empty()));
        add("attache.request.id", self.request_id.as_deref());
        add("gen_ai.agent.name", self.agent.as_deref());
        add("http.request.method", self.method.as_deref());
        add("url.scheme", self.scheme.as_deref());
        add("server.address", self.host.as_deref());
        add("url.path", self.path.as_deref());
        add("attache.decision", self.decision);
        add("attache.reason", self.reason.as_deref());
        add("attache.rule.id", self.rule.as_deref());
        add("attache.would", self.would.as_ref().map(|would| would.decision));
        add("attache.would.reason", self.would.as_ref().map(|would| &*would.reason));
        add("attache.policy.revision", self.policy_revision.as_deref());
        let ticket = self.ticket.as_deref().or(self.approval.as_ref().map(|approval| &*approval.ticket));
        add("attache.approval.id", ticket);
        add("attache.approval.event", self.event);
        add("attache.inspection.direction", self.direction);
        add("attache.inspection.action", self.action);
        let mut add = |key: &str, value: Option<any_value::Value>| {
            let value = value.map(|value| AnyValue { value: Some(value) });
            all.extend(value.map(|value| KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }));
        };
        let number = |number: u64| i64::try_from(number).ok().map(any_value::Value::IntValue);
        add("attache.audit.seq", item.seq.and_then(number));
        add("server.port", self.port.and_then(|port| number(port.into())));
        add("http.response.status_code", self.status.filter(|s| *s > 0).and_then(|status| number(status.into())));
        add("attache.findings", (!self.findings.is_empty()).then(|| number(self.findings.len() as u64)).flatten());
        let names = self.credential.iter().map(|name| text(name.as_str().into())).collect();
        let names = any_value::Value::ArrayValue(ArrayValue { values: names });
        add("attache.credential.name", (!self.credential.is_empty()).then_some(names));
        all
    }
}

fn text(text: Cow<'_, str>) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(text.into_owned())) }
}

fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default()
}
