//! The policy language as types: what may be written, and what it is read as.
//!
//! Every key is named once, where its value is decoded. A key that the language has and this
//! version does not enforce stands in a `later` list and is refused by name; to add it, decode it
//! and take it off the list.
//!
//! What texts mean (host patterns, paths, header formats) is left to the compiler: they keep
//! their places so that it can report on them.

mod agents;
mod credentials;
mod dlp;
mod dlp_rules;
mod domains;
mod identities;
mod names;
mod notifications;
mod organization;
mod pods;
mod references;
mod response_filters;
mod rules;
mod services;
mod vault;

pub use agents::Agent;
pub use credentials::{Credential, Endpoint, Injection, SecretSource, Slot};
pub use dlp::{Canary, CanarySource, Dlp, DlpProfile, Exemption, Hidden, Said};
pub use dlp_rules::DlpRule;
pub use domains::{Action, AllowEntry, HttpRestriction, Methods, Upgrade};
pub use identities::{HeaderIdentity, Identity, TokenIdentity, TokenSource};
pub use names::Name;
pub use notifications::Notification;
pub use organization::{Organization, Profile};
pub use pods::{IsOne, Pods, Untold};
pub use response_filters::{FilteredFields, ResponseFilter};
pub use rules::{Approval, Hours, Mode, RateLimit, Rule, RuleAction, Schedule, Weight};
pub(super) use services::services;
pub use services::{Api, Service};

use super::decode::{Fields, Rejection, boolean, list, mismatch, text};
use super::error::{Problems, Span, Spanned};
use super::yaml::{Key, Node, Value};

/// One policy, as written.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The outer bounds.
    pub organization: Option<Organization>,
    /// What every agent may reach.
    pub allowed_domains: Vec<AllowEntry>,
    /// What no agent may reach, as host patterns.
    pub blocked_domains: Vec<Spanned<String>>,
    /// Lists that agents share by name.
    pub profiles: Vec<Profile>,
    /// Who may call. `None`: the policy names no agents, and there is exactly one.
    pub agents: Option<Vec<Agent>>,
    /// Who callers are that present no identity at all.
    pub default_agent: Option<Spanned<Name>>,
    /// Whether a CONNECT without identity is asked for one.
    pub proxy_challenge: bool,
    /// What is done about requests that the lists let pass.
    pub rules: Vec<Rule>,
    /// The services it adds to the catalogue.
    pub services: Vec<Service>,
    /// What attaché adds to requests on the agents' behalf.
    pub credentials: Vec<Credential>,
    /// Which fields of what comes back agents may see.
    pub response_filters: Vec<ResponseFilter>,
    /// Who is told of what.
    pub notifications: Vec<Notification>,
    /// What is done about secrets and personal data.
    pub dlp: Dlp,
}

impl Policy {
    /// Reads a whole policy, reporting everything that is wrong with it.
    pub fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "a policy", problems)?;
        fields.optional("version", version);
        let policy = Self {
            organization: fields.optional("organization", organization::organization),
            allowed_domains: fields.optional("allowedDomains", domains::allow_entries).unwrap_or_default(),
            blocked_domains: fields.optional("blockedDomains", domains::blocked_domains).unwrap_or_default(),
            profiles: fields.optional("profiles", organization::profiles).unwrap_or_default(),
            agents: fields.optional("agents", agents::agents),
            default_agent: fields.optional("defaultAgent", names::name("the name of an agent")),
            proxy_challenge: fields.optional("proxyChallenge", boolean).unwrap_or_default(),
            rules: fields.optional("rules", rules::rules).unwrap_or_default(),
            services: fields.optional("services", services).unwrap_or_default(),
            credentials: fields.optional("credentials", credentials::credentials).unwrap_or_default(),
            response_filters: fields
                .optional("responseFilters", response_filters::response_filters)
                .unwrap_or_default(),
            notifications: fields.optional("notifications", notifications::notifications).unwrap_or_default(),
            dlp: fields.optional("dlp", dlp::dlp).unwrap_or_default(),
        };
        // What is wrong has been reported; the rest is of use to the stages that report more.
        let _ = fields.finish();
        Some(policy)
    }

    /// Reports what two entries together get wrong: names used twice, names of nobody, entries
    /// without effect. `fixed_agent` is who the caller is when the command line says so.
    pub fn check_references(&self, fixed_agent: Option<&str>, problems: &mut Problems) {
        references::check(self, fixed_agent, problems);
    }
}

fn version(node: &Node, problems: &mut Problems) -> Option<()> {
    match &node.value {
        Value::Scalar(scalar) if scalar.text == "1" => Some(()),
        Value::Scalar(scalar) => {
            let message = format!("version {} of the policy language is not known", super::error::quote(&scalar.text));
            problems.error(node.span, message).fix("this version of attache reads `version: 1`");
            None
        }
        _ => mismatch(node, "the number 1", problems),
    }
}
