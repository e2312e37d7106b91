//! The names of problems: stable, so that programs can choose among them; `docs/check.md` says what each means.

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// The text is no policy, or a part of it cannot mean anything.
    Invalid,
    /// A value may not mean what its author meant.
    Doubtful,
    /// An agent is named that the policy does not have.
    UnknownAgent,
    /// Nobody can be this agent.
    NoIdentity,
    /// An agent is known by what the pod's author writes.
    LabelsAlone,
    /// A pod could be two agents.
    OverlappingPods,
    /// A ConfigMap that is nearly as large as one can be.
    LargeConfigmap,
    /// A ConfigMap that never changes.
    ImmutableConfigmap,
    /// A profile that no agent has.
    UnusedProfile,
    /// Restrictions that another entry undoes.
    UndoneRestriction,
    /// Two credentials for the same place.
    TiedCredentials,
    /// No allowed request can use the credential.
    UnusedCredential,
    /// A credential goes out without TLS.
    PlaintextCredential,
    /// A credential goes further than anybody may have meant.
    BroadCredential,
    /// A variable or file with a secret is not there.
    MissingSecret,
    /// A token has ended.
    ExpiredToken,
    /// A token can be guessed.
    WeakToken,
    /// Every host is allowed.
    AnyHost,
    /// Every host below a public suffix is allowed.
    PublicSuffix,
    /// A wildcard leaves out the name it stands below.
    MissingApex,
    /// The same hosts are allowed and refused.
    Contradiction,
    /// An entry allows what something broader refuses.
    BlockedEntry,
    /// An entry allows what the organization's ceiling leaves out.
    OutsideOrganization,
    /// An entry says what another one says already.
    RedundantEntry,
    /// A rule that no request can meet.
    DeadRule,
    /// A response filter that no request can meet.
    DeadFilter,
    /// A rule that another one always comes before.
    ShadowedRule,
    /// A rule whose time is over.
    EndedRule,
    /// A rule whose hours never come.
    NeverHolds,
    /// Nobody is told of requests that wait.
    UnnotifiedApproval,
    /// Something is recorded and not enforced.
    MonitorMode,
    /// Callers without identity may do what a named agent may not.
    DefaultAgentExceeds,
    /// Nothing of an agent is looked at but for known secrets.
    DlpOff,
    /// A profile lets credentials leave.
    CredentialsPass,
    /// An exemption for every value, on hosts that nobody named.
    BroadExemption,
    /// A rule about data that is tried on most messages.
    GenericRule,
    /// A value that cannot be looked for.
    UnsearchableSecret,
    /// WebSockets are allowed by an entry and refused by `dlp`.
    BlockedUpgrade,
}

impl Code {
    /// Every code.
    pub const ALL: &'static [Self] = &[
        Self::Invalid,
        Self::Doubtful,
        Self::UnknownAgent,
        Self::NoIdentity,
        Self::LabelsAlone,
        Self::OverlappingPods,
        Self::LargeConfigmap,
        Self::ImmutableConfigmap,
        Self::UnusedProfile,
        Self::UndoneRestriction,
        Self::TiedCredentials,
        Self::UnusedCredential,
        Self::PlaintextCredential,
        Self::BroadCredential,
        Self::MissingSecret,
        Self::ExpiredToken,
        Self::WeakToken,
        Self::AnyHost,
        Self::PublicSuffix,
        Self::MissingApex,
        Self::Contradiction,
        Self::BlockedEntry,
        Self::OutsideOrganization,
        Self::RedundantEntry,
        Self::DeadRule,
        Self::DeadFilter,
        Self::ShadowedRule,
        Self::EndedRule,
        Self::NeverHolds,
        Self::UnnotifiedApproval,
        Self::MonitorMode,
        Self::DefaultAgentExceeds,
        Self::DlpOff,
        Self::CredentialsPass,
        Self::BroadExemption,
        Self::GenericRule,
        Self::UnsearchableSecret,
        Self::BlockedUpgrade,
    ];

    /// As reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Doubtful => "doubtful",
            Self::UnknownAgent => "unknown-agent",
            Self::NoIdentity => "no-identity",
            Self::LabelsAlone => "labels-alone",
            Self::OverlappingPods => "overlapping-pods",
            Self::LargeConfigmap => "large-configmap",
            Self::ImmutableConfigmap => "immutable-configmap",
            Self::UnusedProfile => "unused-profile",
            Self::UndoneRestriction => "undone-restriction",
            Self::TiedCredentials => "tied-credentials",
            Self::UnusedCredential => "unused-credential",
            Self::PlaintextCredential => "plaintext-credential",
            Self::BroadCredential => "broad-credential",
            Self::MissingSecret => "missing-secret",
            Self::ExpiredToken => "expired-token",
            Self::WeakToken => "weak-token",
            Self::AnyHost => "any-host",
            Self::PublicSuffix => "public-suffix",
            Self::MissingApex => "missing-apex",
            Self::Contradiction => "contradiction",
            Self::BlockedEntry => "blocked-entry",
            Self::OutsideOrganization => "outside-organization",
            Self::RedundantEntry => "redundant-entry",
            Self::DeadRule => "dead-rule",
            Self::DeadFilter => "dead-filter",
            Self::ShadowedRule => "shadowed-rule",
            Self::EndedRule => "ended-rule",
            Self::NeverHolds => "never-holds",
            Self::UnnotifiedApproval => "unnotified-approval",
            Self::MonitorMode => "monitor-mode",
            Self::DefaultAgentExceeds => "default-agent-exceeds",
            Self::DlpOff => "dlp-off",
            Self::CredentialsPass => "credentials-pass",
            Self::BroadExemption => "broad-exemption",
            Self::GenericRule => "generic-rule",
            Self::UnsearchableSecret => "unsearchable-secret",
            Self::BlockedUpgrade => "blocked-upgrade",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_explained_and_no_other() {
        let page = include_str!("../../docs/check.md");
        let explained: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
        let known: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(known.len(), Code::ALL.len(), "two have the same name");
        assert_eq!(explained.iter().copied().collect::<BTreeSet<_>>(), known);
        assert_eq!(explained.len(), known.len(), "one is explained twice");
    }
}
