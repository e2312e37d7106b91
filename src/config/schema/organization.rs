//! `organization`: outer bounds; and `profiles`: lists that agents share by name.

use super::super::decode::named;
use super::*;

/// The outer bounds, which nothing else in the policy widens.
#[derive(Debug, Clone)]
pub struct Organization {
    /// What nobody may reach, as host patterns.
    pub blocked_domains: Vec<Spanned<String>>,
    /// The most that anybody may reach; `None`: there is no such ceiling. Empty: nothing.
    pub allowed_domains: Option<Vec<AllowEntry>>,
    /// Rules that hold for everybody, whatever the mode of an agent.
    pub rules: Vec<Rule>,
}

/// Lists that agents share by name.
#[derive(Debug, Clone)]
pub struct Profile {
    /// What agents name it by.
    pub name: Spanned<Name>,
    /// What agents with it may reach.
    pub allowed_domains: Vec<AllowEntry>,
    /// What agents with it may not reach, as host patterns.
    pub blocked_domains: Vec<Spanned<String>>,
}

pub(super) fn organization(node: &Node, problems: &mut Problems) -> Option<Organization> {
    let mut fields = Fields::of(node, "an organization", problems)?;
    let organization = Organization {
        blocked_domains: fields.optional("blockedDomains", domains::blocked_domains).unwrap_or_default(),
        allowed_domains: fields.optional("allowedDomains", domains::ceiling),
        rules: fields.optional("rules", rules::rules).unwrap_or_default(),
    };
    // What is wrong has been reported; the rest is of use to the stages that report more.
    let _ = fields.finish();
    Some(organization)
}

pub(super) fn profiles(node: &Node, problems: &mut Problems) -> Option<Vec<Profile>> {
    named("a mapping from names to profiles", profile)(node, problems)
}

fn profile(key: &Key, node: &Node, problems: &mut Problems) -> Option<Profile> {
    let name = names::key(key, problems)?;
    let mut fields = Fields::of(node, "a profile", problems)?;
    let profile = Profile {
        name,
        allowed_domains: fields.optional("allowedDomains", domains::allow_entries).unwrap_or_default(),
        blocked_domains: fields.optional("blockedDomains", domains::blocked_domains).unwrap_or_default(),
    };
    let _ = fields.finish();
    Some(profile)
}
