//! The only door of an [`Exchange`](super::Exchange): what may happen to it, and what it may ask for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use smallvec::SmallVec;
use zeroize::Zeroizing;

use crate::pipeline::answer::Answer;
use crate::pipeline::approval::{Asked, Fingerprint, NotAdmitted, Petition, Redeemed};
use crate::pipeline::audit::{DecisionRecord, InspectionRecord};
use crate::pipeline::credential::{CredentialId, Secret};
use crate::pipeline::limit::{Charges, Excess};
use crate::pipeline::message::{Door, Fields, Host};
use crate::pipeline::policy::Upstream;
use crate::pipeline::policy::decision::Reason;
use crate::pipeline::policy::inspect::ResponseHead;

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
    /// More of the request's body came.
    Chunk(Chunk),
    /// The request's body has ended with these fields.
    Trailers(Fields),
    /// The upstream answers.
    ResponseHead(ResponseHead),
    /// More of the response's body came.
    ResponseChunk(Chunk),
    /// The response's body has ended with these fields.
    ResponseTrailers(Fields),
}

/// Some of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// True if nothing follows them.
    pub ends: bool,
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
    /// The address and port that the agent dialled, where its connection was redirected here.
    pub destination: Option<Box<str>>,
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

/// What an exchange asks for next. Each is answered by the event of its name. After a reply come the parts of the
/// messages that the reply has asked to be shown, and no others: with [`Reply::HoldBody`] the body, with
/// [`Reply::Allow`] what its [`Shows`] say.
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
    /// Put on record what was found after the verdict; answered by [`Event::Recorded`] too, and going on either way.
    Note(Box<InspectionRecord>),
    /// Let these parts go on, in this order; none yet, if there are none.
    Pass(SmallVec<[Part; 2]>),
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
    HoldBody {
        /// True if the response has to be shown, too: it cannot be asked for later.
        response: bool,
        /// True if the upstream will be spoken to in plaintext: Envoy chooses the route before it reads the answer to
        /// the body.
        plaintext: bool,
    },
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
    /// What goes out in place of the body that was held.
    pub body: Option<Vec<u8>>,
    /// True if there must be no second attempt where no connection stood: what has passed of the body is kept nowhere.
    pub once: bool,
    /// True if trailers follow the body that was held: nothing goes out before they have been seen.
    pub awaits_trailers: bool,
    /// What of the exchange has to be shown from now on.
    pub shows: Shows,
}

/// The messages that are shown part by part. Of these, only what is let go on goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shows {
    /// The body and trailers of the request.
    pub request: bool,
    /// The response.
    pub response: bool,
}

/// A part of a message that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Bytes of the request's body.
    Request(Chunk),
    /// The request's trailers, and with them whatever was held until now, which then goes to this upstream.
    Trailers(Option<Upstream>),
    /// The response's head.
    ResponseHead(HeadChange),
    /// Bytes of the response's body.
    Response(Chunk),
    /// The response's trailers.
    ResponseTrailers,
}

/// How a response's head reaches the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadChange {
    /// Fields to set, `:status` among them, replacing whatever stood there.
    pub set: Vec<(Box<str>, Vec<u8>)>,
    /// Fields to take out.
    pub remove: Vec<Box<str>>,
}

/// A field's lower-case name and its new value, which may be a secret.
pub type SetField = (Box<str>, Zeroizing<Vec<u8>>);
