//! What a person has to agree to before a request goes out, and what exactly was agreed to.

pub mod book;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::pipeline::policy::decision::RuleId;

/// How a rule asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The rule.
    pub rule: RuleId,
    /// How long the request is held open for an answer; after that the agent has to come again.
    pub hold: Duration,
    /// How long the question stays open, and how long an approval waits to be used.
    pub expires: Duration,
    /// The notification channels that are told.
    pub notify: Vec<Arc<str>>,
    /// The header fields that the rule looks at, by their lower-case names.
    pub fields: Vec<Box<str>>,
}

/// One request, in all that a person agrees to: what will go upstream, before credentials are put in.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Who sends it.
    pub agent: &'a str,
    /// The method as sent.
    pub method: &'a str,
    /// How the upstream is spoken to.
    pub scheme: &'a str,
    /// The host in its normal form.
    pub host: &'a str,
    /// The upstream's port.
    pub port: u16,
    /// The path as it will go out.
    pub path: &'a str,
    /// The query without `?`, as it will go out.
    pub query: Option<&'a str>,
    /// The header fields that say what the body is or make it another request, sorted by name.
    pub fields: &'a [(&'a str, &'a [u8])],
    /// The body, whole.
    pub body: &'a [u8],
    /// The rules that ask, sorted: an approval for one rule is none for another.
    pub rules: &'a [RuleId],
}

/// What an approval is bound to: two requests have the same one only if all of their [`Subject`] is the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The SHA-256 over every part, each behind its length, so that no two requests read alike.
    pub fn of(subject: &Subject<'_>) -> Self {
        let Subject { agent, method, scheme, host, port, path, query, fields, body, rules } = subject;
        let mut hash = Sha256::new();
        let mut part = |bytes: Option<&[u8]>| {
            hash.update([u8::from(bytes.is_some())]);
            let bytes = bytes.unwrap_or_default();
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        for text in [agent, method, scheme, host, path] {
            part(Some(text.as_bytes()));
        }
        part(Some(&port.to_be_bytes()));
        part(query.map(str::as_bytes));
        part(Some(&(fields.len() as u64).to_be_bytes()));
        for (name, value) in *fields {
            part(Some(name.as_bytes()));
            part(Some(value));
        }
        part(Some(body));
        for rule in *rules {
            part(Some(rule.as_bytes()));
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A request that asks.
#[derive(Debug, Clone)]
pub struct Petition {
    /// What an approval will be bound to.
    pub fingerprint: Fingerprint,
    /// What is shown to the person who decides.
    pub about: About,
    /// How long the request is held open from now; zero: not at all.
    pub hold: Duration,
    /// How long the question stays open, and how long an approval waits to be used.
    pub expires: Duration,
    /// The notification channels that are told when the question is new.
    pub notify: Vec<Arc<str>>,
}

/// What a person sees of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Who sends it.
    pub agent: Arc<str>,
    /// The rules that ask.
    pub rules: Vec<RuleId>,
    /// The method.
    pub method: Box<str>,
    /// `https` or `http`.
    pub scheme: &'static str,
    /// The host.
    pub host: Box<str>,
    /// The upstream's port.
    pub port: u16,
    /// The path.
    pub path: Box<str>,
    /// The query in full: it is part of what is agreed to. Records and notifications take its values out.
    pub query: Option<Box<str>>,
    /// `content-type`, as text.
    pub content_type: Option<Box<str>>,
    /// The other header fields that are agreed to, as text, sorted by name.
    pub fields: Vec<(Box<str>, Box<str>)>,
    /// The body's length in bytes.
    pub body_bytes: u64,
    /// The SHA-256 of the body.
    pub body_sha256: [u8; 32],
    /// The beginning of the body, at most [`PREVIEW`] bytes.
    pub body_preview: Box<[u8]>,
}

/// How much of a body a person is shown, in bytes.
pub const PREVIEW: usize = 4096;

/// The name of a question, which the agent and the person who decides both see.
pub type Ticket = Arc<str>;

/// How a question stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has answered yet.
    Pending,
    /// Somebody agreed, and nothing has gone out for it yet.
    Approved(Answered),
    /// Somebody refused.
    Refused(Answered),
    /// Nobody answered in time.
    Expired,
}

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Who.
    pub by: Arc<str>,
    /// Why, as far as they said.
    pub why: Option<Arc<str>>,
}

/// What a person answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// One request may go out.
    Approve,
    /// None may, for as long as the question is kept.
    Refuse,
}

/// Why an answer does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// There is no such question, or no longer.
    #[error("there is no open question `{0}`; `attache approvals list` shows those there are")]
    Unknown(Ticket),
    /// Somebody was faster.
    #[error("`{0}` is answered already")]
    AlreadyAnswered(Ticket),
    /// Nobody answered in time.
    #[error("`{0}` has expired; the agent's next try opens a new question")]
    Expired(Ticket),
    /// The book cannot be had.
    #[error("the store of approvals cannot be reached; try again")]
    Unavailable,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The question has a name and stands like this.
    Open {
        /// Its name.
        ticket: Ticket,
        /// How it stands.
        standing: Standing,
        /// How long it stays open, from now.
        expires: Duration,
        /// Whether nobody was told of it yet: this request's channels are to be. Each opening is new for one request.
        new: bool,
    },
    /// The agent has [`MOST_PENDING`] open questions already.
    TooMany,
    /// The book of approvals cannot be had.
    Unavailable,
}

/// Open questions an agent may have.
pub const MOST_PENDING: usize = 20;

/// Why a request that was about to go out does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAdmitted {
    /// A limit was reached meanwhile.
    Excess(crate::pipeline::limit::Excess),
    /// The approval was used by another request, or withdrawn, or ran out.
    NotApproved,
}

/// What was used up when a request was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redeemed {
    /// The question's name.
    pub ticket: Ticket,
    /// Who agreed.
    pub answered: Answered,
}
