//! What there is to tell, and how it is written. `docs/notifications.md` promises these shapes.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::pipeline::audit::{DecisionRecord, rfc3339};

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Somebody is to decide about a request.
    ApprovalRequested,
    /// Somebody has, or it is too late.
    ApprovalDecided,
    /// A request was refused.
    Blocked,
}

impl Kind {
    /// As the event's `type` is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApprovalRequested => "approval.requested",
            Self::ApprovalDecided => "approval.decided",
            Self::Blocked => "request.blocked",
        }
    }
}

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A request waits for a person.
    ApprovalRequested(Box<ApprovalRequested>),
    /// It waits no longer.
    ApprovalDecided(Box<ApprovalDecided>),
    /// A request was refused.
    Blocked(Box<DecisionRecord>),
}

impl Event {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::ApprovalRequested(_) => Kind::ApprovalRequested,
            Self::ApprovalDecided(_) => Kind::ApprovalDecided,
            Self::Blocked(_) => Kind::Blocked,
        }
    }

    /// The body of a webhook.
    pub(super) fn body(&self, at: SystemTime) -> serde_json::Result<Vec<u8>> {
        #[derive(Serialize)]
        struct Envelope<'a, T> {
            r#type: &'a str,
            #[serde(with = "rfc3339")]
            timestamp: SystemTime,
            data: &'a T,
        }
        let (r#type, timestamp) = (self.kind().as_str(), at);
        match self {
            Self::ApprovalRequested(data) => serde_json::to_vec(&Envelope { r#type, timestamp, data }),
            Self::ApprovalDecided(data) => serde_json::to_vec(&Envelope { r#type, timestamp, data }),
            Self::Blocked(data) => serde_json::to_vec(&Envelope { r#type, timestamp, data }),
        }
    }
}

/// A request that waits for a person: what it is bound to, without its secrets.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequested {
    /// What approves or refuses it.
    pub ticket: Arc<str>,
    /// Who sends it.
    pub agent: Arc<str>,
    /// The method as sent.
    pub method: Box<str>,
    /// How the upstream is spoken to.
    pub scheme: Box<str>,
    /// The host in its normal form.
    pub host: Box<str>,
    /// The upstream's port.
    pub port: u16,
    /// The path as it will go out.
    pub path: Box<str>,
    /// The query with its values taken out, as [`redacted_query`](crate::pipeline::audit::redacted_query) does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Box<str>>,
    /// What of its body may be told.
    pub body: Body,
    /// The rules that ask.
    pub rules: Vec<Arc<str>>,
    /// How long the question stays open.
    #[serde(with = "rfc3339")]
    pub expires: SystemTime,
    /// The request's id in the record.
    pub request_id: Arc<str>,
}

/// A body, without what is in it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Body {
    /// In bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: Box<str>,
    /// `content-type`, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<Box<str>>,
}

/// What became of a question.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalDecided {
    /// Which question.
    pub ticket: Arc<str>,
    /// Whose request.
    pub agent: Arc<str>,
    /// What was decided.
    pub decision: Verdict,
    /// Who decided, as the system knows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Box<str>>,
    /// Why, in their words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Box<str>>,
    /// The rules that asked.
    pub rules: Vec<Arc<str>>,
}

/// What a question ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The request may go out once.
    Approved,
    /// It may not.
    Refused,
    /// Nobody decided in time: it may not.
    Expired,
}
