//! The only door of an [`Exchange`](super::Exchange): what may happen to it, and what it may ask for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use smallvec::SmallVec;
use zeroize::Zeroizing;

use crate::pipeline::answer::Answer;
use crate::pipeline::approval::{Asked, Fingerprint, NotAdmitted, Petition, Redeemed};
use crate::pipeline::audit::DecisionRecord;
use crate::pipeline::credential::{CredentialId, Secret};
use crate::pipeline::limit::{Charges, Excess};
use crate::pipeline::message::{Door, Fields, Host};
use crate::pipeline::policy::Upstream;
use crate::pipeline::policy::decision::Reason;

/// The time of an event: the core has no clock.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For records.
    pub wall: SystemTime,
    /// For durations.
    pub monotonic: Instant,
}

/// What happens to an exchange.
#[derive(Debug)]
pub enum Event {
    /// Its head arrived.
    Request(Incoming),
    /// Its body arrived, as far as it can be held.
    Body {
        /// The bytes.
        bytes: Box<[u8]>,
        /// True if that is all of it.
        whole: bool,
    },
    /// DNS answered.
    Resolved(Result<Resolved, ResolveFailure>),
    /// Whether there is room under the limits.
    Looked(Result<(), Excess>),
    /// How the question stands, after the request was held for it.
    Asked(Asked),
    /// Whether limits were charged and the approval used.
    Admitted(Result<Option<Redeemed>, NotAdmitted>),
    /// The secrets asked for, in the order asked; none where one cannot be had.
    Secrets(SmallVec<[Option<Arc<Secret>>; 1]>),
    /// Its record was written, or not.
    Recorded(bool),
}

/// A request as it came from Envoy.
#[derive(Debug)]
pub struct Incoming {
    /// Where it entered.
    pub door: Door,
    /// Its header fields, pseudo-headers included.
    pub fields: Fields,
    /// The tunnel it is in, as [`Session`](crate::pipeline::session::Session) text.
    pub session: Option<String>,
    /// The server name of the TLS handshake, as the agent sent it.
    pub sni: Option<String>,
    /// The agent's address and port, where Envoy sees the agent itself.
    pub source: Option<Box<str>>,
    /// The client certificate that the agent showed, as [`Peer`](crate::pipeline::session::Peer) text, where Envoy sees
    /// the agent itself.
    pub peer: Option<String>,
    /// Envoy's id of the request.
    pub request_id: Arc<str>,
    /// True if no body follows.
    pub ends: bool,
}

/// Where a name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// By DNS: judged before one of them is used.
    Looked(SmallVec<[IpAddr; 4]>),
    /// By the operator, outright: used as they are.
    Stated(SmallVec<[SocketAddr; 2]>),
}

/// Why a name leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolveFailure {
    /// [`Reason::NameNotFound`] or [`Reason::DnsFailure`].
    pub reason: Reason,
    /// What DNS said.
    pub detail: Box<str>,
}

/// What an exchange asks for next. Each is answered by the event of its name; a reply ends it, but for
/// [`Reply::HoldBody`], on which the body follows.
#[derive(Debug)]
pub enum Effect {
    /// Look the upstream's name up.
    Resolve {
        /// The name, or the literal as it is.
        host: Host,
        /// The port that will be connected to.
        port: u16,
    },
    /// Look whether there is room under these limits; nothing is charged.
    Look(Charges),
    /// Ask a person, and hold the request for as long as the petition says.
    Ask(Box<Petition>),
    /// Charge these limits and use this approval: all of it or nothing.
    Admit {
        /// What is charged.
        charges: Charges,
        /// What is used.
        redeem: Option<Fingerprint>,
    },
    /// Fetch these secrets.
    FetchSecrets(SmallVec<[CredentialId; 1]>),
    /// Put this on record.
    Record(Box<DecisionRecord>),
    /// Answer Envoy.
    Reply(Reply),
}

/// The answer to Envoy.
#[derive(Debug)]
pub enum Reply {
    /// Let the tunnel be opened; nothing goes upstream through it undecided.
    Tunnel {
        /// For the requests inside, as [`Session`](crate::pipeline::session::Session) text.
        session: String,
    },
    /// Nothing goes out yet: the body has to be seen first.
    HoldBody,
    /// Let the request go out.
    Allow(Box<Forward>),
    /// Refuse it.
    Deny(Box<Answer>),
}

/// How an allowed request goes out.
#[derive(Debug)]
pub struct Forward {
    /// Where to.
    pub upstream: Upstream,
    /// True if the upstream is spoken to in plaintext.
    pub plaintext: bool,
    /// Fields to set, replacing whatever stood there.
    pub set: SmallVec<[SetField; 2]>,
    /// Fields to take out.
    pub remove: SmallVec<[Box<str>; 4]>,
}

/// A field's lower-case name and its new value, which may be a secret.
pub type SetField = (Box<str>, Zeroizing<Vec<u8>>);
