//! Identities by pods: what anybody could make true, and what two agents could be at once.

use super::super::code::Code;
use super::super::error::{Problems, Span, quote};
use super::super::schema::{Identity, Pods, Policy};

/// How many pairs of identities are compared; beyond that, nothing is said.
const MOST_PAIRS: usize = 100_000;

/// Reports on the identities by pods.
pub(super) fn lint(policy: &Policy, problems: &mut Problems) {
    let mut all: Vec<(&str, Span, &Pods)> = Vec::new();
    for agent in policy.agents.iter().flatten() {
        let identities = agent.identity.iter().filter_map(|identity| match &identity.value {
            Identity::Kubernetes(pods) => Some((agent.name.as_str(), identity.span, pods)),
            _ => None,
        });
        all.extend(identities);
    }
    for (agent, at, pods) in &all {
        if pods.are_known_by_labels_alone() {
            let message = format!("whoever may write a pod can make it {}: labels are its author's word", quote(agent));
            problems
                .warning(*at, message)
                .code(Code::LabelsAlone)
                .fix("add `namespace`, or `namespace` and `serviceAccount`, which access control governs");
        }
    }
    if all.len().saturating_mul(all.len()) > MOST_PAIRS {
        return;
    }
    for (index, (agent, at, pods)) in all.iter().enumerate() {
        let earlier = all.iter().take(index).filter(|(other, ..)| other != agent);
        if let Some((other, place, _)) = earlier.into_iter().find(|(_, _, others)| others.overlap(pods)) {
            let place = problems.place(*place);
            let message =
                format!("a pod can be both {} and {}, whose pods at {place} overlap", quote(agent), quote(other));
            problems
                .warning(*at, message)
                .code(Code::OverlappingPods)
                .fix("narrow one of the two: attaché refuses to start in a pod that is both");
        }
    }
}
