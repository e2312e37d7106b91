//! What two entries together get wrong.

use std::collections::{BTreeSet, HashMap, HashSet};

use http::HeaderName;
use ipnet::IpNet;

use super::super::code::Code;
use super::super::error::{Problems, Span, did_you_mean, quote};
use super::{Credential, Identity, Name, Pods, Policy, ResponseFilter, Rule, RuleAction, Spanned, TokenSource};
use crate::notify::Kind;

pub(super) fn check(policy: &Policy, fixed_agent: Option<&str>, problems: &mut Problems) {
    let known = Known {
        names: policy.agents.as_ref().map(|agents| agents.iter().map(|agent| agent.name.value.as_str()).collect()),
        fixed_agent,
    };
    known.check_command_line(problems);
    known.check_default(policy.default_agent.as_ref(), problems);
    check_identities(policy, fixed_agent, problems);
    check_credentials(&policy.credentials, &known, problems);
    check_profiles(policy, problems);
    check_rules(&policy.rules, problems, |user, problems| known.check_user(user, problems));
    let bounds = policy.organization.iter().flat_map(|organization| &organization.rules);
    check_rules(bounds, problems, |user, problems| known.check_distant_user(user, problems));
    check_response_filters(&policy.response_filters, &known, problems);
    check_channels(policy, problems);
    check_dlp(policy, &known, problems);
}

/// Who can call under this policy.
struct Known<'a> {
    /// `None`: the policy names no agents, and there is exactly one.
    names: Option<BTreeSet<&'a str>>,
    fixed_agent: Option<&'a str>,
}

impl Known<'_> {
    fn check_command_line(&self, problems: &mut Problems) {
        let (Some(fixed), Some(names)) = (self.fixed_agent, &self.names) else {
            return;
        };
        if !names.contains(fixed) {
            let fix = did_you_mean(fixed, names.iter().copied())
                .unwrap_or_else(|| "add it under `agents`, or start with another `--agent`".to_owned());
            problems
                .error(None, format!("the policy has no agent {}, which `--agent` names", quote(fixed)))
                .code(Code::UnknownAgent)
                .fix(fix);
        }
    }

    fn check_default(&self, default: Option<&Spanned<Name>>, problems: &mut Problems) {
        let Some(default) = default else { return };
        match &self.names {
            Some(names) => check_name(default, names, problems),
            None => {
                problems
                    .error(default.span, "`defaultAgent` chooses among `agents`, and the policy names none")
                    .fix("remove it: a policy without `agents` has exactly one, named by `--agent`");
            }
        }
    }

    fn check_user(&self, user: &Spanned<Name>, problems: &mut Problems) {
        match (&self.names, self.fixed_agent) {
            (Some(names), _) => check_name(user, names, problems),
            (None, Some(fixed)) if fixed == user.as_str() => {}
            (None, _) => {
                let message = format!(
                    "the policy names no agents, so {} can use this only when started with `--agent {user}`",
                    quote(user.as_str()),
                    user = user.value
                );
                problems.warning(user.span, message).code(Code::UnknownAgent).fix("add `agents`, or remove the list");
            }
        }
    }
}

impl Known<'_> {
    /// The organization's file is written for many policies, and not all of them have all agents.
    fn check_distant_user(&self, user: &Spanned<Name>, problems: &mut Problems) {
        let known = match &self.names {
            Some(names) => names.contains(user.as_str()),
            None => self.fixed_agent == Some(user.as_str()),
        };
        if !known {
            problems
                .warning(user.span, format!("this policy has no agent {}", quote(user.as_str())))
                .code(Code::UnknownAgent)
                .fix("the rule holds for nobody here; to hold for everybody write `agents: all`");
        }
    }
}

fn check_profiles(policy: &Policy, problems: &mut Problems) {
    let names = || policy.profiles.iter().map(|profile| profile.name.as_str());
    let known: HashSet<&str> = names().collect();
    let used: HashSet<&str> =
        policy.agents.iter().flatten().flat_map(|agent| &agent.profiles).map(|name| name.as_str()).collect();
    for name in policy.agents.iter().flatten().flat_map(|agent| &agent.profiles) {
        if !known.contains(name.as_str()) {
            let fix = did_you_mean(name.as_str(), names()).unwrap_or_else(|| "add it under `profiles`".to_owned());
            problems.error(name.span, format!("there is no profile {}", quote(name.as_str()))).fix(fix);
        }
    }
    for profile in policy.profiles.iter().filter(|profile| !used.contains(profile.name.as_str())) {
        if !problems.has_errors() {
            problems
                .warning(profile.name.span, format!("the profile {} is nobody's", quote(profile.name.as_str())))
                .code(Code::UnusedProfile)
                .fix("name it in an agent's `profiles`, or remove it");
        }
    }
}

/// Profiles about data are named by agents, and exemptions name agents.
fn check_dlp(policy: &Policy, known: &Known<'_>, problems: &mut Problems) {
    const BUILT_IN: [&str; 2] = ["default", "off"];
    let names = || policy.dlp.profiles.iter().map(|profile| profile.name.as_str());
    let is_known: HashSet<&str> = names().chain(BUILT_IN).collect();
    let mut used = HashSet::from(BUILT_IN);
    for name in policy.agents.iter().flatten().filter_map(|agent| agent.dlp.as_ref()) {
        used.insert(name.as_str());
        if !is_known.contains(name.as_str()) {
            let fix = did_you_mean(name.as_str(), names().chain(BUILT_IN))
                .unwrap_or_else(|| "add it under `dlp.profiles`".to_owned());
            problems.error(name.span, format!("there is no profile {} in `dlp`", quote(name.as_str()))).fix(fix);
        }
    }
    for profile in policy.dlp.profiles.iter().filter(|profile| !used.contains(profile.name.as_str())) {
        if !problems.has_errors() {
            problems
                .warning(profile.name.span, format!("the profile {} is nobody's", quote(profile.name.as_str())))
                .code(Code::UnusedProfile)
                .fix("name it in an agent's `dlp`, call it `default` to have it hold for all others, or remove it");
        }
    }
    for user in policy.dlp.allow.iter().filter_map(|exemption| exemption.agents.as_ref()).flatten() {
        known.check_user(user, problems);
    }
}

/// Counters and records know a rule by its name, so each has one of its own.
fn check_rules<'a>(
    rules: impl IntoIterator<Item = &'a Rule>,
    problems: &mut Problems,
    check_user: impl Fn(&Spanned<Name>, &mut Problems),
) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for rule in rules {
        if let Some(earlier) = seen.insert(rule.name.as_str(), rule.name.span) {
            let place = problems.place(earlier);
            problems
                .error(rule.name.span, format!("the rule {} is given twice; first at {place}", quote(&rule.name)))
                .fix("give each rule a name of its own");
        }
        for user in rule.agents.iter().flatten() {
            check_user(user, problems);
        }
    }
}

/// Records know a filter by its name too.
fn check_response_filters(filters: &[ResponseFilter], known: &Known<'_>, problems: &mut Problems) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for filter in filters {
        if let Some(name) = &filter.name
            && let Some(earlier) = seen.insert(name.as_str(), name.span)
        {
            let place = problems.place(earlier);
            problems
                .error(name.span, format!("the response filter {} is given twice; first at {place}", quote(name)))
                .fix("give each response filter a name of its own, or none");
        }
        for user in filter.agents.iter().flatten() {
            known.check_user(user, problems);
        }
    }
}

/// Who is to be told has to be there, and be told of questions.
fn check_channels(policy: &Policy, problems: &mut Problems) {
    let names = || policy.notifications.iter().map(|channel| channel.name.as_str());
    let bounds = policy.organization.iter().flat_map(|organization| &organization.rules);
    for rule in policy.rules.iter().chain(bounds) {
        let RuleAction::Approval(approval) = &rule.action.value else { continue };
        for name in &approval.notify {
            let quoted = quote(name.as_str());
            match policy.notifications.iter().find(|channel| channel.name.value == name.value) {
                None => {
                    let fix = did_you_mean(name.as_str(), names())
                        .unwrap_or_else(|| "add it under `notifications`, or remove it".to_owned());
                    problems.error(name.span, format!("there is no channel {quoted} to notify")).fix(fix);
                }
                Some(channel) if !channel.events.iter().any(|event| event.value == Kind::ApprovalRequested) => {
                    problems
                        .warning(name.span, format!("the channel {quoted} is not told of requests that wait"))
                        .code(Code::UnnotifiedApproval)
                        .fix("add `approvalRequested` to its `events`");
                }
                Some(_) => {}
            }
        }
    }
}

fn check_name(name: &Spanned<Name>, names: &BTreeSet<&str>, problems: &mut Problems) {
    if !names.contains(name.as_str()) {
        // Beyond the limit nobody reads the suggestion, and there may be very many names.
        let near = names.iter().copied().filter(|_| problems.has_room());
        let fix = did_you_mean(name.as_str(), near).unwrap_or_else(|| "add it under `agents`".to_owned());
        problems
            .error(name.span, format!("there is no agent {}", quote(name.as_str())))
            .code(Code::UnknownAgent)
            .fix(fix);
    }
}

/// What a caller presents, by which two agents must not both be known.
#[derive(PartialEq, Eq, Hash)]
enum Mark<'a> {
    Spiffe(&'a str),
    Token(&'a TokenSource),
    SourceAddress(IpNet),
    Header(&'a HeaderName, &'a str),
    Kubernetes(&'a Pods),
}

fn check_identities(policy: &Policy, fixed_agent: Option<&str>, problems: &mut Problems) {
    let mut seen: HashMap<Mark<'_>, Span> = HashMap::new();
    for agent in policy.agents.iter().flatten() {
        let default = policy.default_agent.as_ref();
        let by_default = default.is_some_and(|default| default.value == agent.name.value);
        let known = by_default || fixed_agent.is_some() || !agent.identity.is_empty();
        // With errors about, the identity may be among what was wrong.
        if !known && !problems.has_errors() {
            let name = quote(agent.name.as_str());
            problems
                .warning(agent.name.span, format!("nobody can be the agent {name}: it has no identity"))
                .code(Code::NoIdentity)
                .fix("add `identity: [{token: {env: NAME}}]`, or start with `--agent`");
        }
        for identity in &agent.identity {
            let mark = match &identity.value {
                Identity::Spiffe(id) => Mark::Spiffe(id),
                Identity::Token(token) => Mark::Token(&token.source),
                Identity::SourceAddress(range) => Mark::SourceAddress(*range),
                Identity::Header(header) => Mark::Header(&header.name, &header.value),
                Identity::Kubernetes(pods) => Mark::Kubernetes(pods),
            };
            if let Some(earlier) = seen.get(&mark) {
                let place = problems.place(*earlier);
                problems
                    .error(identity.span, format!("this identity is given twice; first at {place}"))
                    .fix("an identity names one agent: give each its own");
            } else {
                seen.insert(mark, identity.span);
            }
        }
    }
}

fn check_credentials(credentials: &[Credential], known: &Known<'_>, problems: &mut Problems) {
    let mut seen: HashMap<&Name, Span> = HashMap::new();
    for credential in credentials {
        let name = quote(credential.name.as_str());
        if let Some(earlier) = seen.get(&credential.name.value) {
            let place = problems.place(*earlier);
            problems
                .error(credential.name.span, format!("the credential {name} is given twice; first at {place}"))
                .fix("a name stands for one credential: rename one, or list all its injections in one entry");
        } else {
            seen.insert(&credential.name.value, credential.name.span);
        }
        if credential.injections.is_empty() && credential.service.is_none() && !problems.has_errors() {
            problems
                .warning(credential.name.span, format!("the credential {name} goes nowhere"))
                .code(Code::UnusedCredential)
                .fix("add `service` or `injections`, or remove it");
        }
        for user in credential.agents.iter().flatten() {
            known.check_user(user, problems);
        }
    }
}
