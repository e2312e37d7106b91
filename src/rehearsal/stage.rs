//! Where on its way a request ended.

use std::fmt;

use crate::pipeline::policy::Reason;

/// The stages of POLICY's way, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Who sends it.
    Identify,
    /// Whether it can be read in one way, and tunnel, TLS name and authority agree.
    Normalize,
    /// The organization's bounds.
    Organization,
    /// Block lists, then the entry that governs.
    Domains,
    /// The rules that block.
    Rules,
    /// What goes with it.
    Credentials,
    /// What it carries.
    Content,
    /// Where the name leads.
    Address,
    /// Limits.
    Limits,
    /// The people who have to agree.
    Approvals,
    /// It goes out, or failed for no reason of policy.
    Verdict,
}

impl Stage {
    /// Every stage, in the order in which a request passes them.
    pub const ALL: [Self; 11] = [
        Self::Identify,
        Self::Normalize,
        Self::Organization,
        Self::Domains,
        Self::Rules,
        Self::Credentials,
        Self::Content,
        Self::Address,
        Self::Limits,
        Self::Approvals,
        Self::Verdict,
    ];

    /// Where a request ends that is refused for this reason, by this entry.
    pub fn of(reason: Reason, rule: Option<&str>) -> Self {
        let by_organization = rule.is_some_and(|rule| rule.starts_with("organization."));
        match reason {
            Reason::InvalidToken
            | Reason::TooManyTokens
            | Reason::NoIdentity
            | Reason::UnknownIdentity
            | Reason::IdentityConflict => Self::Identify,
            Reason::MalformedRequest
            | Reason::MalformedAuthority
            | Reason::MalformedPath
            | Reason::AuthorityMismatch => Self::Normalize,
            Reason::OutsideOrganization => Self::Organization,
            Reason::DomainBlocked | Reason::RuleBlocked if by_organization => Self::Organization,
            Reason::DomainNotAllowed
            | Reason::DomainBlocked
            | Reason::RouteNotAllowed
            | Reason::UpgradeNotAllowed
            | Reason::CertificateRefused => Self::Domains,
            Reason::RuleBlocked => Self::Rules,
            Reason::EndpointNotAllowed | Reason::SecretUnavailable => Self::Credentials,
            Reason::DlpBlocked
            | Reason::OwnCredentials
            | Reason::Undecodable
            | Reason::MalformedBody
            | Reason::BodyTooLarge
            | Reason::BudgetExhausted
            | Reason::WebsocketBlocked => Self::Content,
            Reason::AddressForbidden | Reason::NameNotFound | Reason::DnsFailure => Self::Address,
            Reason::RateLimited | Reason::BodyTooLargeToCount | Reason::BodyNotCountable => Self::Limits,
            Reason::ApprovalPending
            | Reason::ApprovalRefused
            | Reason::ApprovalExpired
            | Reason::TooManyApprovals
            | Reason::BodyTooLargeForApproval => Self::Approvals,
            Reason::StoreUnavailable
            | Reason::ScanFailed
            | Reason::ResponseBlocked
            | Reason::ResponseUnparsable
            | Reason::PolicyChanged
            | Reason::RecordFailed
            | Reason::Overloaded
            | Reason::InternalError
            | Reason::ClientGone
            | Reason::HandshakeFailed
            | Reason::NoVerdict
            | Reason::Unreconciled => Self::Verdict,
        }
    }

    /// As `explain` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Normalize => "normalize",
            Self::Organization => "organization",
            Self::Domains => "domains",
            Self::Rules => "rules",
            Self::Credentials => "credentials",
            Self::Content => "content",
            Self::Address => "address",
            Self::Limits => "limits",
            Self::Approvals => "approvals",
            Self::Verdict => "verdict",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
