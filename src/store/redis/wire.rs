//! What the server keeps and answers, read into our words. What does not read is as if the server were not there.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::scripts::named;
use crate::pipeline::approval::{About, AnswerError, Answered, Asked, NotAdmitted, Redeemed, Standing, Ticket};
use crate::pipeline::limit::{Charges, Excess};
use crate::store::{Open, Pending};

/// What came of it, and then: ticket, who and why; or which count and how long.
pub(super) type AdmitReply = (String, Option<String>, Option<String>, Option<String>);

pub(super) fn looked(reply: &AdmitReply, charges: &Charges) -> Result<(), Excess> {
    match reply.0.as_str() {
        "admitted" => Ok(()),
        "reached" => Err(excess(reply, charges)),
        _ => Err(Excess::Unavailable),
    }
}

pub(super) fn admitted(
    reply: AdmitReply,
    charges: &Charges,
    is_redeemed: bool,
) -> Result<Option<Redeemed>, NotAdmitted> {
    match (reply.0.as_str(), is_redeemed) {
        ("admitted", false) => Ok(None),
        ("not_approved", true) => Err(NotAdmitted::NotApproved),
        ("reached", _) => Err(NotAdmitted::Excess(excess(&reply, charges))),
        ("admitted", true) => match reply {
            (_, Some(ticket), Some(by), why) => {
                Ok(Some(Redeemed { ticket: ticket.into(), answered: answered_by(by, why) }))
            }
            _ => Err(NotAdmitted::NotApproved),
        },
        _ => Err(NotAdmitted::Excess(Excess::Unavailable)),
    }
}

fn excess(reply: &AdmitReply, charges: &Charges) -> Excess {
    let place = reply.1.as_deref().and_then(|place| place.parse().ok());
    let wait = reply.2.as_deref().and_then(|wait| wait.parse::<i64>().ok());
    match (place.and_then(|place| named(charges, place)), wait) {
        (Some(charge), Some(wait)) => Excess::Reached {
            rule: charge.limit.rule.clone(),
            retry_after: u64::try_from(wait).ok().map(Duration::from_micros),
        },
        _ => Excess::Unavailable,
    }
}

/// Ticket, state, who, why, how long it is open still, and whether it is new.
pub(super) type AskReply = (String, String, String, Option<String>, u64, bool);

pub(super) fn asked((ticket, state, by, why, expires, new): AskReply) -> Asked {
    if state == "too_many" {
        return Asked::TooMany;
    }
    match standing_of(&state, by, why) {
        Some(standing) => Asked::Open { ticket: ticket.into(), standing, expires: Duration::from_micros(expires), new },
        None => Asked::Unavailable,
    }
}

/// State, who and why.
pub(super) type WaitReply = (String, String, Option<String>);

pub(super) fn standing((state, by, why): WaitReply) -> Standing {
    standing_of(&state, by, why).unwrap_or(Standing::Pending)
}

/// Ticket, state, who, why, asked and open until (in microseconds since 1970), how many wait, and what is asked.
pub(super) type ListReply = Vec<(String, String, String, Option<String>, u64, u64, usize, String)>;

pub(super) fn listed(reply: ListReply) -> Vec<Open> {
    let read = reply.into_iter().filter_map(|(ticket, state, by, why, asked, ends, waiting, about)| {
        let open = about_from_json(&about).zip(standing_of(&state, by, why)).map(|(about, standing)| Open {
            ticket: ticket.as_str().into(),
            about: Arc::new(about),
            standing,
            asked: SystemTime::UNIX_EPOCH + Duration::from_micros(asked),
            expires: SystemTime::UNIX_EPOCH + Duration::from_micros(ends),
            waiting,
        });
        if open.is_none() {
            tracing::warn!(ticket, "a question in the store cannot be read; another version wrote it");
        }
        open
    });
    read.collect()
}

/// What came of an answer, and the question as it stands then.
pub(super) type AnswerReply = (String, ListReply);

pub(super) fn answered((result, open): AnswerReply, ticket: &Ticket) -> Result<Open, AnswerError> {
    match result.as_str() {
        "taken" => listed(open).pop().ok_or(AnswerError::Unavailable),
        "expired" => Err(AnswerError::Expired(ticket.clone())),
        "answered" => Err(AnswerError::AlreadyAnswered(ticket.clone())),
        "unknown" => Err(AnswerError::Unknown(ticket.clone())),
        _ => Err(AnswerError::Unavailable),
    }
}

/// How many, and how long the oldest of them is open, in microseconds.
pub(super) fn pending((count, oldest): (usize, u64)) -> Option<Pending> {
    Some(Pending { count, oldest: (count > 0).then(|| Duration::from_micros(oldest)) })
}

fn standing_of(state: &str, by: String, why: Option<String>) -> Option<Standing> {
    match state {
        "pending" => Some(Standing::Pending),
        "approved" => Some(Standing::Approved(answered_by(by, why))),
        "refused" => Some(Standing::Refused(answered_by(by, why))),
        "expired" => Some(Standing::Expired),
        _ => None,
    }
}

fn answered_by(by: String, why: Option<String>) -> Answered {
    Answered { by: by.into(), why: why.map(Into::into) }
}

/// [`About`] as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    agent: Arc<str>,
    rules: Vec<Arc<str>>,
    method: Box<str>,
    is_tls: bool,
    host: Box<str>,
    port: u16,
    path: Box<str>,
    query: Option<Box<str>>,
    content_type: Option<Box<str>>,
    #[serde(default)]
    fields: Vec<(Box<str>, Box<str>)>,
    body_bytes: u64,
    body_sha256: String,
    body_preview: String,
}

pub(super) fn about_to_json(about: &About) -> String {
    let kept = Kept {
        agent: about.agent.clone(),
        rules: about.rules.clone(),
        method: about.method.clone(),
        is_tls: about.scheme == "https",
        host: about.host.clone(),
        port: about.port,
        path: about.path.clone(),
        query: about.query.clone(),
        content_type: about.content_type.clone(),
        fields: about.fields.clone(),
        body_bytes: about.body_bytes,
        body_sha256: STANDARD.encode(about.body_sha256),
        body_preview: STANDARD.encode(&about.body_preview),
    };
    // Texts and numbers always become JSON; were it not so, the question could not be listed, nor approved.
    serde_json::to_string(&kept).unwrap_or_default()
}

fn about_from_json(text: &str) -> Option<About> {
    let kept: Kept = serde_json::from_str(text).ok()?;
    Some(About {
        agent: kept.agent,
        rules: kept.rules,
        method: kept.method,
        scheme: if kept.is_tls { "https" } else { "http" },
        host: kept.host,
        port: kept.port,
        path: kept.path,
        query: kept.query,
        content_type: kept.content_type,
        fields: kept.fields,
        body_bytes: kept.body_bytes,
        body_sha256: STANDARD.decode(kept.body_sha256).ok()?.try_into().ok()?,
        body_preview: STANDARD.decode(kept.body_preview).ok()?.into(),
    })
}
