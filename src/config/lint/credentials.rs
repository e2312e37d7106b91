//! Credentials that no allowed request can use, and those that go further than anybody may have meant.

use std::collections::{HashMap, HashSet};

use super::super::code::Code;
use super::super::error::{Problems, Span, quote};
use super::super::facts::{Facts, Grant, Use, Who};
use super::index::{Index, MOST};
use crate::pipeline::policy::matcher::{Methods, NamePattern};
use crate::pipeline::policy::path::PathPattern;

/// Reports on credentials; `reachable` are the grants that may let something pass.
pub(super) fn lint(facts: &Facts, reachable: &Index<'_, Grant>, problems: &mut Problems) {
    // Where nobody may reach the host at all, that has been said.
    let said: HashSet<Span> =
        problems.iter().filter(|p| p.code == Code::UnusedCredential).filter_map(|p| p.at).collect();
    let mut open: Vec<Span> = Vec::new();
    // A service is used where one of its hosts is.
    let mut used: HashMap<Span, bool> = HashMap::new();
    for place in &facts.uses {
        let grants = usable(place, reachable);
        *used.entry(place.at).or_default() |= grants.is_none_or(|grants| !grants.is_empty());
        if let Some(grants) = usable(place, reachable)
            && place.endpoints.is_none()
            && place.path.as_ref().is_none_or(PathPattern::is_every_path)
        {
            let all = |grant: &&Grant| {
                grant.pairs.iter().flatten().any(|(m, path)| *m == Methods::Any && path.is_every_path())
            };
            for grant in grants.into_iter().filter(all).filter(|grant| !open.contains(&grant.at)).collect::<Vec<_>>() {
                open.push(grant.at);
                let name = quote(&place.credential);
                problems
                    .warning(
                        grant.at,
                        format!(
                            "these restrictions restrict nothing, and the credential {name} goes with every request"
                        ),
                    )
                    .code(Code::BroadCredential)
                    .fix("name the methods and paths that are needed here, or in the credential's `endpoints`");
            }
            if let (NamePattern::Below(_), false) = (&place.pattern.name, place.of_service) {
                let (name, host) = (quote(&place.credential), &place.pattern);
                problems
                    .warning(
                        place.at,
                        format!("the credential {name} goes with every request to every host of `{host}`"),
                    )
                    .code(Code::BroadCredential)
                    .fix("name the hosts it is for, or its `endpoints`");
            }
        }
    }
    let mut reported = HashSet::new();
    for place in facts.uses.iter().filter(|place| used.get(&place.at) == Some(&false) && !said.contains(&place.at)) {
        if reported.insert(place.at) {
            let (name, host) = (quote(&place.credential), &place.pattern);
            problems
                .warning(place.at, format!("no allowed request to `{host}` can use the credential {name}"))
                .code(Code::UnusedCredential)
                .fix("compare its path, `endpoints` and `agents` with the entries of `allowedDomains`, or remove it");
        }
    }
}

/// The grants whose requests could carry a credential; `None` where there are too many to look at.
fn usable<'a>(place: &Use, reachable: &Index<'a, Grant>) -> Option<Vec<&'a Grant>> {
    let mut found = Vec::new();
    for (looked_at, grant) in reachable.meeting(&place.pattern.name).enumerate() {
        if looked_at > MOST {
            return None;
        }
        let (own, of_grant) = (&place.pattern, &grant.pattern);
        let same_way = (own.scheme, own.permitted_port()) == (of_grant.scheme, of_grant.permitted_port());
        let in_common = match (&place.who, &grant.who) {
            (Who::Only(a), Who::Only(b)) => !a.is_disjoint(b),
            _ => true,
        };
        if same_way && in_common && requests_meet(place, grant) {
            found.push(grant);
        }
    }
    Some(found)
}

fn requests_meet(place: &Use, grant: &Grant) -> bool {
    let at_path = |path: &PathPattern| place.path.as_ref().is_none_or(|own| own.may_overlap(path));
    let endpoints = || place.endpoints.iter().flatten();
    match &grant.pairs {
        None => place.endpoints.is_none() || endpoints().any(|(_, path)| at_path(path)),
        Some(pairs) => pairs.iter().any(|(methods, path)| {
            at_path(path)
                && (place.endpoints.is_none()
                    || endpoints().any(|(m, p)| m.may_overlap(methods) && p.may_overlap(path) && at_path(p)))
        }),
    }
}
