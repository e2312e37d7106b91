//! Whose pod this is: the one agent of the policy that it is told to be, or nobody's.

use super::super::error::{Problems, Span, quote};
use super::super::schema::{Identity, IsOne, Pods, Policy, Untold};
use super::Setting;
use crate::pipeline::agent::{AgentId, Agents};
use crate::pipeline::policy::{Denial, Reason};
use crate::pod::{Labels, Pod};

/// Makes every caller the agent whose pod this is. Where it is the pod of no agent, nobody is one; where it is not
/// clear whose, that is an error, or, if the pod may have become another since the policy was found right
/// (`may_have_changed`), nobody is one.
pub(super) fn place(
    policy: &Policy,
    setting: Setting<'_>,
    may_have_changed: bool,
    agents: &mut Agents,
    problems: &mut Problems,
) {
    let Some(pod) = setting.pod else { return };
    let named = setting.agent.and_then(|name| agents.find(name));
    let unclear = match whose(&claims(policy, agents), named, pod, agents) {
        Ok(Whose::Of(agent)) if named.is_none() => return agents.fix_by_pod(agent),
        Ok(Whose::Nobodys) if named.is_none() => {
            let why = format!("no agent of the policy is this pod ({})", shown(pod));
            return agents.refuse_pod(Denial::new(Reason::UnknownIdentity).because(why));
        }
        Ok(_) => return,
        Err(unclear) => unclear,
    };
    if may_have_changed {
        agents.refuse_pod(Denial::new(unclear.reason).because(unclear.message));
    } else {
        problems.error(unclear.at, unclear.message).fix(unclear.fix);
    }
}

/// An identity by pods: whose, where it stands, and which pods.
type Claim<'a> = (AgentId, Span, &'a Pods);

fn claims<'a>(policy: &'a Policy, agents: &Agents) -> Vec<Claim<'a>> {
    let mut claims = Vec::new();
    for agent in policy.agents.iter().flatten() {
        let Some(id) = agents.find(agent.name.as_str()) else { continue };
        for identity in &agent.identity {
            if let Identity::Kubernetes(pods) = &identity.value {
                claims.push((id, identity.span, pods));
            }
        }
    }
    claims
}

enum Whose {
    Of(AgentId),
    Nobodys,
    /// The policy knows nobody by its pod.
    NotAsked,
}

struct Unclear {
    reason: Reason,
    at: Span,
    message: String,
    fix: String,
}

/// `named` is the agent that the command line says every caller is.
fn whose(claims: &[Claim<'_>], named: Option<AgentId>, pod: &Pod, agents: &Agents) -> Result<Whose, Unclear> {
    let name = |agent: AgentId| quote(agents.name(agent));
    let mut known: Option<AgentId> = None;
    for (agent, at, pods) in claims {
        if pods.has(pod) != IsOne::Yes {
            continue;
        }
        match known {
            Some(other) if other != *agent => {
                return Err(Unclear {
                    reason: Reason::IdentityConflict,
                    at: *at,
                    message: format!("this pod ({}) is both {} and {}", shown(pod), name(other), name(*agent)),
                    fix: "narrow one of the two, so that every pod is that of one agent".to_owned(),
                });
            }
            _ => known = Some(*agent),
        }
    }
    for (agent, at, pods) in claims {
        if let IsOne::Unknown(untold) = pods.has(pod)
            && known != Some(*agent)
        {
            let (message, fix) = unknown(untold, pod);
            let message = format!("whether this pod is {} cannot be told: {message}", name(*agent));
            return Err(Unclear { reason: Reason::UnknownIdentity, at: *at, message, fix });
        }
    }
    let disagrees = |named: &AgentId| match known {
        Some(known) => known != *named,
        None => claims.iter().any(|(agent, ..)| agent == named),
    };
    if let Some(named) = named.filter(disagrees) {
        let of = |wanted| claims.iter().find(|(agent, ..)| *agent == wanted);
        let (message, claim) = match known {
            Some(known) => (format!("this pod ({}) is {}", shown(pod), name(known)), of(known)),
            None => (format!("this pod ({}) is none of {}", shown(pod), name(named)), of(named)),
        };
        if let Some((_, at, _)) = claim {
            return Err(Unclear {
                reason: Reason::IdentityConflict,
                at: *at,
                message: format!("`--agent` says that every caller is {}, and {message}", name(named)),
                fix: "leave `--agent` out, or correct the identity".to_owned(),
            });
        }
    }
    Ok(match known {
        Some(agent) => Whose::Of(agent),
        None if claims.is_empty() => Whose::NotAsked,
        None => Whose::Nobodys,
    })
}

/// Why something of a pod is not known, and what to do about it.
fn unknown(untold: Untold, pod: &Pod) -> (String, String) {
    let give = |what: &str, flag: &str, variable: &str, field: &str| {
        let fix = format!("give it with {flag} or {variable}, by the downward API from `{field}`");
        (format!("nobody says what its {what}"), fix)
    };
    match (untold, &pod.labels) {
        (Untold::Namespace, _) => {
            give("namespace is", "--pod-namespace", "ATTACHE_POD_NAMESPACE", "metadata.namespace")
        }
        (Untold::ServiceAccount, _) => give(
            "service account is",
            "--pod-service-account",
            "ATTACHE_POD_SERVICE_ACCOUNT",
            "spec.serviceAccountName",
        ),
        (Untold::Labels, Labels::Unreadable(why)) => {
            let fix = "mount a downwardAPI volume with `metadata.labels`, and name its file with ATTACHE_POD_LABELS";
            (why.clone(), fix.to_owned())
        }
        (Untold::Labels, _) => give("labels are", "--pod-labels FILE", "ATTACHE_POD_LABELS", "metadata.labels"),
    }
}

/// A pod without its labels, of which there may be many.
fn shown(pod: &Pod) -> String {
    let part = |what: &str, value: &Option<String>| value.as_ref().map(|value| format!("{what} {}", quote(value)));
    let parts = [part("namespace", &pod.namespace), part("service account", &pod.service_account)];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "of which only labels are known".to_owned() } else { parts.join(", ") }
}
