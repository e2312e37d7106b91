//! A line of Envoy's own access log, in the two forms that the bootstrap gives it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::pipeline::address::socket_text;
use crate::pipeline::answer::SUMMED;
use crate::pipeline::audit::OutcomeRecord;

use super::{Asked, Report, unnamed};

/// What a line says. What it does not, Envoy did not know: values that are empty are left out, or null.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Entry {
    /// Seconds since 1970, with nine digits after the point.
    start: String,
    /// What attaché itself said about the request, come back as dynamic metadata: its id,
    pub id: Option<String>,
    /// and the decision.
    pub decision: Option<String>,
    /// Envoy's own id of a request.
    request: Option<String>,
    method: Option<String>,
    scheme: Option<String>,
    sni: Option<String>,
    code: Option<u16>,
    details: Option<String>,
    flags: Option<String>,
    received: Option<u64>,
    sent: Option<u64>,
    /// In milliseconds.
    duration: Option<u64>,
    upstream: Option<String>,
    source: Option<String>,
}

impl Entry {
    /// Reads a line. Where Envoy was killed in the middle of one, the next follows in the same.
    pub fn read(line: &[u8]) -> Option<Self> {
        let whole = serde_json::from_slice(line).ok();
        whole.or_else(|| {
            // A brace before a quote stands in no text: there the quote would have a backslash before it.
            let last = line.windows(2).rposition(|pair| pair == b"{\"").filter(|at| *at > 0)?;
            serde_json::from_slice(line.get(last..)?).ok()
        })
    }

    /// When the request began.
    pub fn start(&self) -> Option<Duration> {
        let (seconds, nanos) = self.start.split_once('.')?;
        Some(Duration::new(seconds.parse().ok()?, nanos.parse().ok().filter(|_| nanos.len() == 9)?))
    }

    /// The id its record has.
    pub fn request_id(&self) -> Option<Cow<'_, str>> {
        let code = self.code.unwrap_or(0);
        let details = self.details.as_deref().unwrap_or_default();
        let given = |text: &'_ Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
        match given(&self.id).or_else(|| given(&self.request).filter(|_| super::is_named(code, details))) {
            Some(id) => Some(id.into()),
            None => self.start().map(|start| unnamed(start).into()),
        }
    }

    /// True if Envoy connected to somewhere for it.
    pub fn has_upstream(&self) -> bool {
        self.upstream.as_deref().is_some_and(is_given)
    }

    /// True of a refusal that is on record with how many there were like it, and of which there is nothing more to say.
    pub fn is_summed(&self) -> bool {
        self.id.as_deref() == Some(SUMMED) && self.was_refused()
    }

    /// True if another decision than an allow was enforced, and nothing went out.
    pub fn was_refused(&self) -> bool {
        self.decision.as_deref().is_some_and(|decision| decision != "allow") && !self.has_upstream()
    }

    /// As the one who takes what has ended wants it.
    pub fn report(&self, request_id: &str) -> Report<'_> {
        let upstream = self.upstream.as_deref().filter(|text| is_given(text));
        let flags = self.flags.as_deref().filter(|flags| is_given(flags)).unwrap_or_default();
        Report {
            outcome: OutcomeRecord {
                request_id: request_id.into(),
                time: SystemTime::now(),
                status: self.code.unwrap_or(0),
                bytes_sent: self.received.unwrap_or(0),
                bytes_received: self.sent.unwrap_or(0),
                duration_ms: self.duration.unwrap_or(0) as f64,
                upstream: upstream.map(|text| text.parse().map_or_else(|_| text.to_owned(), socket_text)),
                flags: flags.to_owned(),
                details: self.details.clone().unwrap_or_default(),
                known: true,
            },
            decision: self.decision.as_deref(),
            protocol_error: flags.split(',').any(|flag| flag == "DPE"),
            asked: Asked {
                method: self.method.as_deref().unwrap_or_default(),
                scheme: self.scheme.as_deref().unwrap_or_default(),
                authority: self.sni.as_deref().unwrap_or_default(),
                path: "",
                source: self.source.as_deref().and_then(|text| text.parse::<SocketAddr>().ok()),
            },
        }
    }
}

/// Envoy writes `-` for what it does not know.
fn is_given(text: &str) -> bool {
    !text.is_empty() && text != "-"
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECIDED: &str = r#"{"code":200,"decision":"allow","details":"via_upstream","duration":12,"flags":"-","id":"r1","received":3,"sent":5,"source":"127.0.0.1:5","start":"1795214221.981499000","upstream":"192.0.2.1:443"}"#;

    #[test]
    fn what_was_summed_up_is_known_by_its_id_unless_it_went_out() {
        let summed = DECIDED.replace("\"r1\"", "\"summed\"").replace("\"allow\"", "\"deny\"");
        let at_home = summed.replace(",\"upstream\":\"192.0.2.1:443\"", "");
        for (line, expected) in [
            (&*at_home, true),
            (&summed, false),
            (&at_home.replace("deny", "allow"), false),
            (&at_home.replace("summed", "r1"), false),
        ] {
            assert_eq!(Entry::read(line.as_bytes()).unwrap().is_summed(), expected, "{line}");
        }
    }

    #[test]
    fn a_line_says_what_became_of_a_request() {
        let entry = Entry::read(DECIDED.as_bytes()).unwrap();
        assert_eq!(entry.request_id().as_deref(), Some("r1"));
        assert_eq!(entry.start(), Some(Duration::new(1_795_214_221, 981_499_000)));
        let outcome = entry.report("r1").outcome;
        assert_eq!((outcome.status, outcome.bytes_sent, outcome.bytes_received), (200, 3, 5));
        assert_eq!((outcome.duration_ms, &*outcome.flags), (12.0, ""));
        assert_eq!(outcome.upstream.as_deref(), Some("192.0.2.1:443"));
        assert!(entry.has_upstream());
    }

    #[test]
    fn what_was_refused_before_it_was_asked_about_is_named_after_its_start() {
        let line = r#"{"code":400,"details":"http1.codec_error","duration":0,"flags":"DPE","received":0,"sent":11,"source":"127.0.0.1:1","start":"5.000000050","request":null,"upstream":"-"}"#;
        let entry = Entry::read(line.as_bytes()).unwrap();
        assert_eq!(entry.request_id().as_deref(), Some("envoy-5000000050"));
        assert!(!entry.has_upstream() && entry.report("x").protocol_error);
    }

    #[test]
    fn a_line_after_a_torn_one_is_read_and_garbage_is_not() {
        let torn = DECIDED.get(..40).unwrap();
        for (line, expected) in [
            (DECIDED.to_owned(), true),
            (format!("{torn}{DECIDED}"), true),
            (torn.to_owned(), false),
            ("null".to_owned(), false),
            ("{\"".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(Entry::read(line.as_bytes()).is_some(), expected, "{line:?}");
        }
    }
}
