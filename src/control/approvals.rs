//! Approvals, as people see them and answer.

use std::sync::Arc;

use tonic::{Request, Status};

use super::api::{self, AnswerApprovalRequest, Approval, ListApprovalsReply, State};
use super::{Answered, milliseconds};
use crate::peer::{Peer, user_name};
use crate::pipeline::approval::{self, AnswerError, Standing, Ticket, Verdict};
use crate::store::{Open, Store};

/// How long a name and a reason may be, in characters.
const LONGEST_NAME: usize = 100;
const LONGEST_REASON: usize = 500;

pub async fn list(store: &dyn Store) -> Result<ListApprovalsReply, Status> {
    let open = store.list().await.map_err(|error| Status::aborted(error.to_string()))?;
    Ok(ListApprovalsReply { approvals: open.iter().map(shown).collect() })
}

pub async fn answer(
    store: &dyn Store,
    answered: &Answered,
    request: Request<AnswerApprovalRequest>,
) -> Result<Approval, Status> {
    let peer = request.extensions().get::<Peer>().copied();
    let peer = peer.ok_or_else(|| Status::internal("it is not known who calls"))?;
    let AnswerApprovalRequest { ticket, verdict, by, why } = request.into_inner();
    let verdict = match api::Verdict::try_from(verdict) {
        Ok(api::Verdict::Approve) => Verdict::Approve,
        Ok(api::Verdict::Refuse) => Verdict::Refuse,
        Ok(api::Verdict::Unspecified) | Err(_) => {
            return Err(Status::invalid_argument("the verdict is neither to approve nor to refuse"));
        }
    };
    let by = signature(&by, peer.uid, user_name(peer.uid).as_deref())?;
    let why = reason(&why)?;
    let ticket = Ticket::from(ticket);
    let open = store.answer(&ticket, verdict, approval::Answered { by: by.into(), why }).await.map_err(refused)?;
    answered(&open);
    Ok(shown(&open))
}

/// Who answers: what they call themselves, and behind it what the kernel says of the process that called.
///
/// # Errors
/// When it could be read as somebody else.
pub fn signature(by: &str, uid: u32, user: Option<&str>) -> Result<String, Status> {
    let by = by.trim();
    if by.chars().count() > LONGEST_NAME || by.contains(|c: char| c.is_control() || matches!(c, '(' | ')')) {
        let message = format!("who answers is at most {LONGEST_NAME} characters, without controls and parentheses");
        return Err(Status::invalid_argument(message));
    }
    Ok(match user {
        Some(user) if by.is_empty() || by == user => format!("{user} (uid {uid})"),
        Some(user) => format!("{by} ({user}, uid {uid})"),
        None if by.is_empty() => format!("uid {uid}"),
        None => format!("{by} (uid {uid})"),
    })
}

fn reason(why: &str) -> Result<Option<Arc<str>>, Status> {
    let why = why.trim();
    if why.chars().count() > LONGEST_REASON || why.contains(char::is_control) {
        let message = format!("the reason is one line of at most {LONGEST_REASON} characters");
        return Err(Status::invalid_argument(message));
    }
    Ok((!why.is_empty()).then(|| why.into()))
}

fn refused(error: AnswerError) -> Status {
    let message = error.to_string();
    match error {
        AnswerError::Unknown(_) => Status::not_found(message),
        AnswerError::AlreadyAnswered(_) => Status::failed_precondition(message),
        AnswerError::Expired(_) => Status::deadline_exceeded(message),
        AnswerError::Unavailable => Status::aborted(message),
    }
}

fn shown(open: &Open) -> Approval {
    let about = &*open.about;
    let (state, answered) = match &open.standing {
        Standing::Pending => (State::Pending, None),
        Standing::Approved(answered) => (State::Approved, Some(answered)),
        Standing::Refused(answered) => (State::Refused, Some(answered)),
        Standing::Expired => (State::Unspecified, None),
    };
    let text = |text: Option<&Arc<str>>| text.map(ToString::to_string).unwrap_or_default();
    Approval {
        ticket: open.ticket.to_string(),
        state: state.into(),
        asked_at_ms: milliseconds(open.asked),
        expires_at_ms: milliseconds(open.expires),
        waiting: u32::try_from(open.waiting).unwrap_or(u32::MAX),
        agent: about.agent.to_string(),
        rules: about.rules.iter().map(ToString::to_string).collect(),
        method: about.method.to_string(),
        scheme: about.scheme.into(),
        host: about.host.to_string(),
        port: about.port.into(),
        path: about.path.to_string(),
        query: about.query.as_deref().map(str::to_owned),
        content_type: about.content_type.as_deref().map(str::to_owned),
        fields: about.fields.iter().map(field).collect(),
        body_bytes: about.body_bytes,
        body_sha256: about.body_sha256.to_vec(),
        body_preview: about.body_preview.to_vec(),
        by: text(answered.map(|answered| &answered.by)),
        why: text(answered.and_then(|answered| answered.why.as_ref())),
    }
}

fn field((name, value): &(Box<str>, Box<str>)) -> api::Field {
    api::Field { name: name.to_string(), value: value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_answers_is_who_the_kernel_says() {
        for (by, uid, user, expected) in [
            ("", 1000, Some("ann"), Some("ann (uid 1000)")),
            (" ann ", 1000, Some("ann"), Some("ann (uid 1000)")),
            ("bob", 1000, Some("ann"), Some("bob (ann, uid 1000)")),
            ("bob", 1000, None, Some("bob (uid 1000)")),
            ("", 1000, None, Some("uid 1000")),
            ("root (uid 0)", 1000, Some("ann"), None),
            ("a\nb", 1000, Some("ann"), None),
            ("\u{1b}[2J", 1000, Some("ann"), None),
        ] {
            assert_eq!(signature(by, uid, user).ok().as_deref(), expected, "{by:?}");
        }
        assert!(signature(&"é".repeat(LONGEST_NAME), 1, None).is_ok());
        assert!(signature(&"é".repeat(LONGEST_NAME + 1), 1, None).is_err());
    }

    #[test]
    fn a_reason_is_one_line() {
        assert_eq!(reason("  ").unwrap(), None);
        assert_eq!(reason(" looks wrong ").unwrap().as_deref(), Some("looks wrong"));
        assert!(reason("a\nb").is_err());
        assert!(reason(&"x".repeat(LONGEST_REASON + 1)).is_err());
    }
}
