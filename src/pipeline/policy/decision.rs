//! The two ends of every decision, and the reasons that reach the answer, the record and the metric alike.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::pipeline::message::Malformed;

/// The name of the policy entry that decided, as the record and the agent see it.
pub type RuleId = Arc<str>;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// The entry that refused, where one did.
    pub rule: Option<RuleId>,
    /// What exactly was wrong, without secrets and without more of the policy than the entry's name.
    pub detail: Option<Box<str>>,
    /// When it makes sense to come again.
    pub retry_after: Option<Duration>,
    /// The name of the question that a person has been asked.
    pub ticket: Option<Arc<str>>,
    /// It goes on record with how many there were like it, and not by itself.
    pub is_summed: bool,
}

impl Denial {
    /// A refusal that no entry of the policy stands behind.
    pub fn new(reason: Reason) -> Self {
        Self { reason, rule: None, detail: None, retry_after: None, ticket: None, is_summed: false }
    }

    /// A refusal by an entry.
    pub fn by(reason: Reason, rule: &RuleId) -> Self {
        Self { rule: Some(rule.clone()), ..Self::new(reason) }
    }

    /// The same with what exactly was wrong.
    #[must_use]
    pub fn because(mut self, detail: impl fmt::Display) -> Self {
        self.detail = Some(detail.to_string().into());
        self
    }
}

impl From<Malformed> for Denial {
    fn from(malformed: Malformed) -> Self {
        let reason = match malformed {
            Malformed::Method | Malformed::Repeated(_) => Reason::MalformedRequest,
            Malformed::MissingAuthority | Malformed::TwoAuthorities | Malformed::Host(_) | Malformed::Port => {
                Reason::MalformedAuthority
            }
            Malformed::Path(_) => Reason::MalformedPath,
        };
        Self::new(reason).because(malformed)
    }
}

/// The kind of a refusal: what an agent's error handling branches on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The caller is not known.
    Unauthenticated,
    /// Policy says no.
    Denied,
    /// Policy says not now: too much already.
    RateLimited,
    /// Policy says not yet: a person has been asked.
    Pending,
    /// The request can be read in more than one way, or in none.
    Malformed,
    /// Attaché or something it needs cannot answer now: refused, since nothing is let through undecided.
    Unavailable,
}

impl Class {
    /// As the answer and the record write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::RateLimited => "rate_limited",
            Self::Pending => "pending",
            Self::Malformed => "malformed",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Why a request was refused. The names are stable: they stand in answers, records and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A proxy token was shown that no agent has, or no more.
    InvalidToken,
    /// Too many proxy tokens were shown there that no agent has.
    TooManyTokens,
    /// No identity was shown, and the policy names no agent for such callers.
    NoIdentity,
    /// A trusted identity header or a client certificate names nobody, or no longer, or the pod is no agent's.
    UnknownIdentity,
    /// Two identities were shown that name different agents, or another than the one this sidecar serves; or the pod
    /// is that of two.
    IdentityConflict,
    /// Method or fields that cannot be read in one way.
    MalformedRequest,
    /// A host or port that cannot be read in one way.
    MalformedAuthority,
    /// A path that cannot be read in one way.
    MalformedPath,
    /// CONNECT target, SNI and authority name different hosts.
    AuthorityMismatch,
    /// No entry allows the host.
    DomainNotAllowed,
    /// A block list names the host, or an entry denies it.
    DomainBlocked,
    /// The host is allowed, this method and path are not.
    RouteNotAllowed,
    /// A protocol upgrade that no entry allows.
    UpgradeNotAllowed,
    /// The organization's ceiling does not reach that far.
    OutsideOrganization,
    /// A rule blocks the request.
    RuleBlocked,
    /// A limit is reached.
    RateLimited,
    /// A person has been asked and has not answered yet.
    ApprovalPending,
    /// A person has refused.
    ApprovalRefused,
    /// Nobody answered in time.
    ApprovalExpired,
    /// The agent has too many open questions already.
    TooManyApprovals,
    /// The body is larger than what can be held while a person is asked.
    BodyTooLargeForApproval,
    /// The body is larger than what can be held to be counted.
    BodyTooLargeToCount,
    /// The body is not what a limit counts the items of.
    BodyNotCountable,
    /// Counters and approvals cannot be had.
    StoreUnavailable,
    /// The policy changed in the middle of the decision.
    PolicyChanged,
    /// The credential that would go with the request is not for this method and path.
    EndpointNotAllowed,
    /// The name leads to no address that may be reached.
    AddressForbidden,
    /// The name does not exist, or has no address.
    NameNotFound,
    /// DNS did not answer, or failed.
    DnsFailure,
    /// The credential this request needs cannot be had.
    SecretUnavailable,
    /// The request carries something that must not leave.
    DlpBlocked,
    /// The request carries a credential of the agent's own.
    OwnCredentials,
    /// The encoding of a body cannot be undone.
    Undecodable,
    /// A body that can be read in two ways.
    MalformedBody,
    /// The body is larger than what may be looked at.
    BodyTooLarge,
    /// There is more in the message to undo than may be undone.
    BudgetExhausted,
    /// A WebSocket to where its messages would have to be looked at.
    WebsocketBlocked,
    /// What looks into messages failed.
    ScanFailed,
    /// The answer carries something that must not reach the agent.
    ResponseBlocked,
    /// The answer is to be filtered and cannot be read.
    ResponseUnparsable,
    /// The record of this request cannot be written.
    RecordFailed,
    /// There was more to decide than could be decided in time.
    Overloaded,
    /// A fault of attaché's own.
    InternalError,
    /// The agent went away before there was a verdict.
    ClientGone,
    /// A TLS handshake for a name that policy could never allow.
    CertificateRefused,
    /// A TLS handshake of an agent's that failed.
    HandshakeFailed,
    /// Envoy got no verdict, and refused the request itself.
    NoVerdict,
    /// Envoy forwarded a request that no decision stands behind.
    Unreconciled,
}

impl Reason {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::InvalidToken,
        Self::TooManyTokens,
        Self::NoIdentity,
        Self::UnknownIdentity,
        Self::IdentityConflict,
        Self::MalformedRequest,
        Self::MalformedAuthority,
        Self::MalformedPath,
        Self::AuthorityMismatch,
        Self::DomainNotAllowed,
        Self::DomainBlocked,
        Self::RouteNotAllowed,
        Self::UpgradeNotAllowed,
        Self::OutsideOrganization,
        Self::RuleBlocked,
        Self::RateLimited,
        Self::ApprovalPending,
        Self::ApprovalRefused,
        Self::ApprovalExpired,
        Self::TooManyApprovals,
        Self::BodyTooLargeForApproval,
        Self::BodyTooLargeToCount,
        Self::BodyNotCountable,
        Self::StoreUnavailable,
        Self::PolicyChanged,
        Self::EndpointNotAllowed,
        Self::AddressForbidden,
        Self::NameNotFound,
        Self::DnsFailure,
        Self::SecretUnavailable,
        Self::DlpBlocked,
        Self::OwnCredentials,
        Self::Undecodable,
        Self::MalformedBody,
        Self::BodyTooLarge,
        Self::BudgetExhausted,
        Self::WebsocketBlocked,
        Self::ScanFailed,
        Self::ResponseBlocked,
        Self::ResponseUnparsable,
        Self::RecordFailed,
        Self::Overloaded,
        Self::InternalError,
        Self::ClientGone,
        Self::CertificateRefused,
        Self::HandshakeFailed,
        Self::NoVerdict,
        Self::Unreconciled,
    ];

    /// As the answer, the record and the metric write it.
    pub fn as_str(self) -> &'static str {
        self.facts().0
    }

    /// Its kind.
    pub fn class(self) -> Class {
        self.facts().1
    }

    /// The HTTP status of the answer; on the proxy hop, 401 becomes 407.
    pub fn status(self) -> u16 {
        self.facts().2
    }

    /// What happened, for the agent.
    pub fn message(self) -> &'static str {
        self.facts().3
    }

    /// What the agent, or the person behind it, can do.
    pub fn hint(self) -> &'static str {
        self.facts().4
    }

    fn facts(self) -> (&'static str, Class, u16, &'static str, &'static str) {
        use Class::{Denied, Malformed, Pending, RateLimited, Unauthenticated, Unavailable};
        match self {
            Self::InvalidToken => (
                "invalid_token",
                Unauthenticated,
                401,
                "invalid or expired proxy token",
                "use the token that policy gives this agent, or ask for a new one",
            ),
            Self::TooManyTokens => (
                "too_many_tokens",
                RateLimited,
                429,
                "too many proxy tokens that no agent has came from this address",
                "try again after the time in `Retry-After`; a token of 32 characters or more is never kept waiting",
            ),
            Self::NoIdentity => (
                "no_identity",
                Unauthenticated,
                401,
                "the caller is not identified",
                "send the agent's proxy token: `http://AGENT:TOKEN@` in the proxy's address, or `Authorization: Bearer TOKEN` to the proxy itself",
            ),
            Self::UnknownIdentity => (
                "unknown_identity",
                Unauthenticated,
                401,
                "the identity that was shown names no agent",
                "send the header value, or use the client certificate, that policy gives this agent; in a pod, ask for the policy to name it",
            ),
            Self::IdentityConflict => (
                "identity_conflict",
                Unauthenticated,
                401,
                "the identities of this request name different agents",
                "send one identity, that of the agent this proxy serves",
            ),
            Self::MalformedRequest => (
                "malformed_request",
                Malformed,
                400,
                "the request cannot be read in one way",
                "send the method once, and each field that may stand once, once",
            ),
            Self::MalformedAuthority => (
                "malformed_authority",
                Malformed,
                400,
                "the host cannot be read in one way",
                "use the host's name, or its address as a dotted quad or as RFC 5952 writes it",
            ),
            Self::MalformedPath => (
                "malformed_path",
                Malformed,
                400,
                "the path cannot be read in one way",
                "leave out dot segments, backslashes, encoded slashes and double encoding",
            ),
            Self::AuthorityMismatch => (
                "authority_mismatch",
                Denied,
                421,
                "the tunnel, the TLS name and the request are for different hosts",
                "open a tunnel of its own for each host",
            ),
            Self::DomainNotAllowed => (
                "domain_not_allowed",
                Denied,
                403,
                "domain not allowed by policy",
                "use an allowed domain, or ask for this one to be added to `allowedDomains`",
            ),
            Self::DomainBlocked => (
                "domain_blocked",
                Denied,
                403,
                "domain blocked by policy",
                "do without this domain: it is blocked on purpose",
            ),
            Self::RouteNotAllowed => (
                "route_not_allowed",
                Denied,
                403,
                "route not allowed by policy",
                "use an allowed method and path, or ask for this pair to be added to the domain's `httpRestrictions`",
            ),
            Self::UpgradeNotAllowed => (
                "upgrade_not_allowed",
                Denied,
                403,
                "protocol upgrade not allowed by policy",
                "do without the upgrade, or ask for it to be added to the domain's `upgrades`",
            ),
            Self::OutsideOrganization => (
                "outside_organization",
                Denied,
                403,
                "outside of what the organization allows",
                "do without it, or ask whoever keeps the organization's policy; nothing below it can allow this",
            ),
            Self::RuleBlocked => (
                "rule_blocked",
                Denied,
                403,
                "blocked by a rule of the policy",
                "do without this request: it is blocked on purpose, perhaps only at this time",
            ),
            Self::RateLimited => (
                "rate_limited",
                RateLimited,
                429,
                "the limit for this agent is reached",
                "wait for the seconds in `Retry-After`, then send it again",
            ),
            Self::ApprovalPending => (
                "approval_pending",
                Pending,
                403,
                "a person has to approve this request, and has not answered yet",
                "send exactly the same request again after the seconds in `Retry-After`; any change asks anew",
            ),
            Self::ApprovalRefused => (
                "approval_refused",
                Denied,
                403,
                "a person has refused this request",
                "do without this request, or talk to the people who approve",
            ),
            Self::ApprovalExpired => (
                "approval_expired",
                Denied,
                403,
                "nobody answered in time whether this request may be sent",
                "send it again to ask again",
            ),
            Self::TooManyApprovals => (
                "too_many_approvals",
                RateLimited,
                429,
                "too many requests of this agent wait for a person's approval",
                "wait until some of them are answered",
            ),
            Self::BodyTooLargeForApproval => (
                "body_too_large_for_approval",
                Denied,
                413,
                "the body is too large to be held while a person is asked",
                "send less at once: what is approved has to be seen whole, up to 1 MiB",
            ),
            Self::BodyTooLargeToCount => (
                "body_too_large_to_count",
                Denied,
                413,
                "the body is too large to be counted",
                "send less at once: what a limit counts has to be seen whole, up to 1 MiB",
            ),
            Self::BodyNotCountable => (
                "body_not_countable",
                Malformed,
                400,
                "the body is not what a limit of the policy counts",
                "send JSON, not compressed, with the list that the limit is about",
            ),
            Self::StoreUnavailable => (
                "store_unavailable",
                Unavailable,
                503,
                "limits and approvals cannot be looked up",
                "try again later; the proxy's operator has to look at the store",
            ),
            Self::PolicyChanged => (
                "policy_changed",
                Unavailable,
                503,
                "the policy changed while the request was decided",
                "send it again: it will be decided on the new one",
            ),
            Self::EndpointNotAllowed => (
                "endpoint_not_allowed",
                Denied,
                403,
                "the credential of this request is not for this method and path",
                "use a method and path that the credential is for, or ask for this pair to be added to its `endpoints`",
            ),
            Self::AddressForbidden => (
                "address_forbidden",
                Denied,
                403,
                "the name leads to an address that may not be reached",
                "if the address is meant, ask for its range to be added to the domain's `allowPrivate`",
            ),
            Self::NameNotFound => (
                "name_not_found",
                Unavailable,
                503,
                "the name does not exist or has no address",
                "check the name; it is allowed, but DNS does not know it",
            ),
            Self::DnsFailure => (
                "dns_failure",
                Unavailable,
                503,
                "DNS did not answer in time",
                "try again; if it stays so, the proxy's name servers need a look",
            ),
            Self::SecretUnavailable => (
                "secret_unavailable",
                Unavailable,
                503,
                "the credential for this request is not available",
                "try again later; the proxy's operator has to provide the credential's variable or file",
            ),
            Self::DlpBlocked => (
                "dlp_blocked",
                Denied,
                403,
                "the request carries something that must not leave",
                "take out what was found; where it is meant to leave, ask for an exemption in the policy's `dlp`",
            ),
            Self::OwnCredentials => (
                "own_credentials",
                Denied,
                403,
                "the request carries a credential of the agent's own",
                "leave it out, or ask for `ownCredentials: allow` in this agent's profile of `dlp`, or for an exemption in `dlp.allow`",
            ),
            Self::Undecodable => (
                "undecodable",
                Denied,
                403,
                "the encoding of the body cannot be undone, so that nobody can look into it",
                "send it as gzip, br, zstd or deflate, whole and valid, or without an encoding",
            ),
            Self::MalformedBody => (
                "malformed_body",
                Denied,
                403,
                "the body can be read in more than one way",
                "send well-formed JSON or multipart: each name and boundary once",
            ),
            Self::BodyTooLarge => (
                "body_too_large",
                Denied,
                413,
                "the body is larger than what may be looked at",
                "send less at once, and say how much in `Content-Length`",
            ),
            Self::BudgetExhausted => (
                "budget_exhausted",
                Denied,
                403,
                "there is more encoded in the request than may be decoded",
                "send less at once, and nothing encoded that need not be",
            ),
            Self::WebsocketBlocked => (
                "websocket_blocked",
                Denied,
                403,
                "the messages of a WebSocket are not looked at, so that it may not be opened",
                "use HTTP requests, or ask for `webSockets: allow` in this agent's profile of `dlp`",
            ),
            Self::ScanFailed => (
                "scan_failed",
                Unavailable,
                503,
                "looking into the message failed",
                "try again; please report it with the request id",
            ),
            Self::ResponseBlocked => (
                "response_blocked",
                Denied,
                502,
                "the answer carries something that must not reach the agent",
                "do without this answer: the request was allowed and may have been carried out",
            ),
            Self::ResponseUnparsable => (
                "response_unparsable",
                Denied,
                502,
                "the answer is to be filtered and cannot be read",
                "the request was allowed and may have been carried out; ask whoever keeps the policy to look at its response filter",
            ),
            Self::RecordFailed => (
                "record_failed",
                Unavailable,
                503,
                "the request cannot be put on record",
                "try again later; the proxy's operator has to look at the journal's disk",
            ),
            Self::Overloaded => (
                "overloaded",
                Unavailable,
                503,
                "there is more to decide than can be decided in time",
                "nothing was sent; try again after the seconds that `Retry-After` says, and with fewer requests at once",
            ),
            Self::InternalError => (
                "internal_error",
                Unavailable,
                503,
                "the proxy failed while it decided",
                "try again; please report it with the request id",
            ),
            Self::ClientGone => (
                "client_gone",
                Unavailable,
                503,
                "the agent went away before there was a verdict",
                "wait for the answer",
            ),
            Self::CertificateRefused => (
                "certificate_refused",
                Denied,
                403,
                "no certificate for a name that policy could never allow",
                "use an allowed domain, or ask for this one to be added to `allowedDomains`",
            ),
            // The words are those of the bootstrap's own answer: nobody else is left to give it.
            Self::NoVerdict => (
                "no_verdict",
                Unavailable,
                503,
                "the policy service gave no verdict, so the request was refused",
                "try again later; if it stays so, the operator has to look at attaché",
            ),
            // The last two stand in records alone: nobody is answered with them.
            Self::HandshakeFailed => (
                "handshake_failed",
                Malformed,
                400,
                "the TLS handshake failed",
                "make the agent trust attaché's CA: `attache ca env`",
            ),
            Self::Unreconciled => (
                "unreconciled",
                Unavailable,
                503,
                "Envoy forwarded a request that no decision stands behind",
                "look for what took attaché's filter out of Envoy's way: `attache envoy check`",
            ),
        }
    }
}

/// Where an allowed request goes: the addresses are pinned, so that no later look-up can change them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream {
    /// The address to connect to.
    pub first: SocketAddr,
    /// Where a refused or silent first connection is tried again; the first again when there is no other.
    pub second: SocketAddr,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_name_and_an_error_status() {
        let names: HashSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!((400..600).contains(&reason.status()));
            // 502: an answer came, and policy keeps it back.
            let unavailable = reason.status() >= 500 && reason.status() != 502;
            assert_eq!(reason.class() == Class::Unavailable, unavailable, "{}", reason.as_str());
            assert!(reason.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        }
    }
}
