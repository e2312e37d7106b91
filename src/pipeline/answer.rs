//! The answer an agent gets instead of the upstream's: JSON that says why and what to do, or a gRPC status.

use std::time::Duration;

use serde::Serialize;

use crate::pipeline::policy::decision::{Class, Denial, Reason};

/// The id by which Envoy reports a refusal that goes on record with how many there were like it: nothing else is to
/// come of the report.
pub const SUMMED: &str = "summed";

/// A refusal as HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Header fields, lower-case names.
    pub fields: Vec<(&'static str, String)>,
    /// The body: JSON, or the bare sentence where the client speaks gRPC, which shows it as the status's message.
    pub body: String,
    /// The gRPC status code, where the client speaks gRPC.
    pub grpc_status: Option<u32>,
    /// It goes on record with how many there were like it, and not by itself.
    pub is_summed: bool,
}

/// The body of every refusal.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    error: Class,
    reason: &'static str,
    rule: Option<&'a str>,
    message: &'a str,
    hint: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
}

/// How the client is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// The client speaks gRPC.
    pub grpc: bool,
    /// The refusal is the proxy hop's own: 407 in place of 401.
    pub proxy_hop: bool,
}

impl Answer {
    /// Puts a denial into words.
    pub fn to(denial: &Denial, request_id: &str, manner: Manner) -> Self {
        let (reason, is_summed) = (denial.reason, denial.is_summed);
        let status = match reason.status() {
            401 if manner.proxy_hop => 407,
            status => status,
        };
        let message = match &denial.detail {
            // Whether a token was known once, and how many others guess, is for the record alone.
            _ if matches!(reason, Reason::InvalidToken | Reason::TooManyTokens) => reason.message().to_owned(),
            Some(detail) => format!("{}: {detail}", reason.message()),
            None => reason.message().to_owned(),
        };
        let mut fields = vec![("cache-control", "no-store".to_owned())];
        match status {
            401 => fields.push(("www-authenticate", "Bearer realm=\"attache\"".to_owned())),
            407 => fields.push(("proxy-authenticate", "Basic realm=\"attache\"".to_owned())),
            _ => {}
        }
        // RFC 9110 §10.2.3: whole seconds; a little late is better than a little early.
        let seconds = |wait: Duration| wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let retry_after = denial.retry_after.map(seconds).map(|s| s.max(1)).or((status == 503).then_some(1));
        if let Some(seconds) = retry_after {
            fields.push(("retry-after", seconds.to_string()));
        }
        if manner.grpc {
            let body = format!("{message} ({}, request {request_id}): {}", reason.as_str(), reason.hint());
            return Self { status, fields, body, grpc_status: Some(grpc_status(reason.class())), is_summed };
        }
        fields.push(("content-type", "application/json".to_owned()));
        let body = Body {
            error: reason.class(),
            reason: reason.as_str(),
            rule: denial.rule.as_deref(),
            message: &message,
            hint: reason.hint(),
            request_id,
            status: (reason.class() == Class::Pending).then_some(reason.as_str()),
            ticket: denial.ticket.as_deref(),
            retry_after_seconds: denial.retry_after.and(retry_after),
        };
        // A struct of strings always serialises; were it ever not so, the status alone still refuses.
        let body = serde_json::to_string(&body).unwrap_or_default();
        Self { status, fields, body, grpc_status: None, is_summed }
    }
}

/// The codes of gRPC's own specification (`doc/statuscodes.md`).
fn grpc_status(class: Class) -> u32 {
    match class {
        Class::Unauthenticated => 16,
        Class::Denied => 7,
        Class::RateLimited => 8,
        // Not UNAVAILABLE, on which clients try again at once by themselves.
        Class::Pending => 9,
        Class::Malformed => 3,
        Class::Unavailable => 14,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_learns_why_and_what_to_do() {
        let denial = Denial::by(Reason::RouteNotAllowed, &"allowedDomains[a.example]".into());
        let answer = Answer::to(&denial, "r1", Manner { grpc: false, proxy_hop: false });
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer.status, 403);
        assert_eq!(body["error"], "denied");
        assert_eq!(body["reason"], "route_not_allowed");
        assert_eq!(body["rule"], "allowedDomains[a.example]");
        assert_eq!(body["message"], "route not allowed by policy");
        assert_eq!(body["requestId"], "r1");
    }

    #[test]
    fn the_proxy_hop_asks_for_its_own_credentials() {
        let denial = Denial::new(Reason::InvalidToken);
        let inner = Answer::to(&denial, "r1", Manner { grpc: false, proxy_hop: false });
        let hop = Answer::to(&denial, "r1", Manner { grpc: false, proxy_hop: true });
        assert_eq!((inner.status, hop.status), (401, 407));
        assert!(inner.body.contains("invalid or expired proxy token"));
        assert!(hop.fields.iter().any(|(name, _)| *name == "proxy-authenticate"));
        assert!(inner.fields.iter().any(|(name, _)| *name == "www-authenticate"));
    }

    #[test]
    fn an_expired_token_is_answered_as_one_that_never_was() {
        let unknown = Denial::new(Reason::InvalidToken);
        let expired = unknown.clone().because("a token of `ann` that has expired");
        for grpc in [false, true] {
            let manner = Manner { grpc, proxy_hop: false };
            assert_eq!(Answer::to(&expired, "r1", manner), Answer::to(&unknown, "r1", manner));
        }
    }

    #[test]
    fn a_grpc_client_gets_a_status_and_a_sentence() {
        let answer = Answer::to(&Denial::new(Reason::DomainNotAllowed), "r1", Manner { grpc: true, proxy_hop: false });
        assert_eq!(answer.grpc_status, Some(7));
        assert!(answer.body.starts_with("domain not allowed by policy (domain_not_allowed, request r1): "));
    }
}
