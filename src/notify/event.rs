//! What there is to tell, and how it is written. `docs/notifications.md` promises these shapes.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::pipeline::approval::{About, Standing, Ticket};
use crate::pipeline::audit::{ApprovalEvent, ApprovalRecord, redacted_query, rfc3339};
use crate::pipeline::policy::decision::RuleId;

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Somebody is to decide about a request.
    ApprovalRequested,
    /// Somebody has, or it is too late.
    ApprovalDecided,
    /// A request was refused, or cut off.
    Blocked,
    /// Something was found in a message.
    Findings,
    /// Envoy forwarded a request that was never decided.
    Unreconciled,
    /// What became of a request will never be known.
    OutcomeUnknown,
    /// How far the record has come was signed.
    Checkpoint,
    /// The policy on disk is wrong, and the one before it stays in force.
    ReloadFailed,
    /// Records cannot be written.
    JournalFailed,
}

impl Kind {
    /// As the event's `type` is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApprovalRequested => "approval.requested",
            Self::ApprovalDecided => "approval.decided",
            Self::Blocked => "request.blocked",
            Self::Findings => "message.findings",
            Self::Unreconciled => "request.unreconciled",
            Self::OutcomeUnknown => "request.outcome_unknown",
            Self::Checkpoint => "journal.checkpoint",
            Self::ReloadFailed => "policy.reload_failed",
            Self::JournalFailed => "journal.failed",
        }
    }
}

/// Something that happened, and that nobody reads from the journal.
#[derive(Debug)]
pub enum Event {
    /// A request waits for a person.
    ApprovalRequested(Box<ApprovalRequested>),
    /// It waits no longer, and that could not be put on record.
    ApprovalDecided(Box<ApprovalDecided>),
    /// The policy on disk is wrong.
    ReloadFailed(ReloadFailed),
    /// Records cannot be written.
    JournalFailed(JournalFailed),
}

impl Event {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::ApprovalRequested(_) => Kind::ApprovalRequested,
            Self::ApprovalDecided(_) => Kind::ApprovalDecided,
            Self::ReloadFailed(_) => Kind::ReloadFailed,
            Self::JournalFailed(_) => Kind::JournalFailed,
        }
    }

    /// The body of a webhook.
    pub(super) fn body(&self, at: SystemTime) -> serde_json::Result<Vec<u8>> {
        match self {
            Self::ApprovalRequested(data) => body(self.kind(), at, data),
            Self::ApprovalDecided(data) => body(self.kind(), at, data),
            Self::ReloadFailed(data) => body(self.kind(), at, data),
            Self::JournalFailed(data) => body(self.kind(), at, data),
        }
    }
}

/// The body of a webhook.
pub(super) fn body(kind: Kind, at: SystemTime, data: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Envelope<'a, T> {
        r#type: &'a str,
        #[serde(with = "rfc3339")]
        timestamp: SystemTime,
        data: &'a T,
    }
    serde_json::to_vec(&Envelope { r#type: kind.as_str(), timestamp: at, data })
}

/// A policy that was not put in force.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReloadFailed {
    /// The revision that stays in force.
    pub policy_revision: Arc<str>,
    /// What is wrong first, as the log says it.
    pub problem: String,
    /// How much is wrong.
    pub problems: usize,
}

/// A journal that cannot be written.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalFailed {
    /// How many records could not be written since the service began.
    pub errors: u64,
}

/// A request that waits for a person: what it is bound to, without what only the one who decides may see.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequested {
    ticket: Ticket,
    agent: Arc<str>,
    method: Box<str>,
    scheme: &'static str,
    host: Box<str>,
    port: u16,
    path: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<Box<str>>,
    body: Body,
    rules: Vec<RuleId>,
    #[serde(with = "rfc3339")]
    expires: SystemTime,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    size: u64,
    sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<Box<str>>,
}

impl ApprovalRequested {
    /// A question that stays open until `expires`. The query's values and the body are left out.
    pub fn new(ticket: &Ticket, about: &About, expires: SystemTime) -> Self {
        let sha256 = about.body_sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            ticket: ticket.clone(),
            agent: about.agent.clone(),
            method: about.method.clone(),
            scheme: about.scheme,
            host: about.host.clone(),
            port: about.port,
            path: about.path.clone(),
            query: about.query.as_deref().map(redacted_query),
            body: Body { size: about.body_bytes, sha256, content_type: about.content_type.clone() },
            rules: about.rules.clone(),
            expires,
        }
    }
}

/// What became of a question.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalDecided {
    ticket: Ticket,
    agent: Arc<str>,
    method: Box<str>,
    host: Box<str>,
    path: Box<str>,
    rules: Vec<RuleId>,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Arc<str>>,
}

impl ApprovalDecided {
    /// The end of a question; none while it is open.
    pub fn new(ticket: &Ticket, about: &About, standing: &Standing) -> Option<Self> {
        let (decision, answered) = match standing {
            Standing::Pending => return None,
            Standing::Approved(answered) => ("approved", Some(answered)),
            Standing::Refused(answered) => ("refused", Some(answered)),
            Standing::Expired => ("expired", None),
        };
        Some(Self {
            ticket: ticket.clone(),
            agent: about.agent.clone(),
            method: about.method.clone(),
            host: about.host.clone(),
            path: about.path.clone(),
            rules: about.rules.clone(),
            decision,
            by: answered.map(|answered| answered.by.clone()),
            why: answered.and_then(|answered| answered.why.clone()),
        })
    }

    /// The same, as it is on record; none where that says something else.
    pub(super) fn of_record(record: &ApprovalRecord) -> Option<Self> {
        let decision = match record.event {
            ApprovalEvent::Asked => return None,
            ApprovalEvent::Approved => "approved",
            ApprovalEvent::Refused => "refused",
            ApprovalEvent::Expired => "expired",
        };
        Some(Self {
            ticket: record.ticket.clone(),
            agent: record.agent.clone(),
            method: record.method.clone(),
            host: record.host.clone(),
            path: record.path.clone(),
            rules: record.rules.clone(),
            decision,
            by: record.by.clone(),
            why: record.why.clone(),
        })
    }
}
