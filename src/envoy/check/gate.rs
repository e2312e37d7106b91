//! The gate: an RBAC filter that lets nothing pass without the verdict in its metadata.

use super::document::{Findings, Node};

pub(super) const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";

const FIX: &str = "take the `envoy.filters.http.rbac` filter from the shipped file";

/// One thing that a permission asks of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Allowed,
    Tunnel,
    Upstream,
    Failover,
    Connect,
    NotConnect,
    SomethingElse,
}

pub(super) fn check(config: &Node<'_>, connects: bool, findings: &mut Findings) {
    findings.known(
        config,
        &["rules", "rules_stat_prefix", "shadow_rules", "shadow_rules_stat_prefix", "track_per_rule_stats"],
    );
    let rules = config.get("rules");
    findings.require(
        rules.get("action").is("ALLOW"),
        &rules.get("action"),
        "the gate does not state that it lets through only what its policies name",
        "set `action: ALLOW`",
    );
    findings.known(&rules, &["action", "policies"]);
    findings.require(
        config.get("matcher").is_absent(),
        &config.get("matcher"),
        "a matcher replaces the rules of the gate",
        FIX,
    );

    let (mut forwards, mut tunnels) = (false, false);
    for (_, policy) in rules.get("policies").fields() {
        findings.known(&policy, &["permissions", "principals"]);
        let permissions = policy.get("permissions");
        for permission in permissions.items() {
            let asks = asks(&permission);
            let all = |needed: &[Asks]| needed.iter().all(|ask| asks.contains(ask));
            let forward = all(&[Asks::Allowed, Asks::Upstream, Asks::Failover])
                && (!connects || asks.contains(&Asks::NotConnect));
            let tunnel = connects && all(&[Asks::Connect, Asks::Tunnel]);
            findings.require(
                forward || tunnel,
                &permission,
                "the gate lets requests pass that have no verdict, or no address from attaché",
                FIX,
            );
            forwards |= forward;
            tunnels |= tunnel;
        }
        let principals = policy.get("principals");
        findings.require(
            principals.items().iter().any(|principal| principal.get("any").is_true()),
            &principals,
            "this policy of the gate is for some callers only",
            "set `principals: [{any: true}]`",
        );
    }
    findings.require(
        forwards,
        &rules.get("policies"),
        "the gate lets no request pass to an upstream by its verdict",
        FIX,
    );
    findings.require(tunnels || !connects, &rules.get("policies"), "the gate lets no CONNECT pass by its verdict", FIX);
}

/// Everything a permission asks at once.
fn asks(permission: &Node<'_>) -> Vec<Asks> {
    let all = permission.at("and_rules.rules");
    if all.is_present() {
        return all.items().iter().flat_map(asks).collect();
    }
    let is_connect = |header: &Node<'_>| {
        header.get("name").is(":method") && header.at("string_match.exact").is("CONNECT") && header.fields().len() == 2
    };
    if is_connect(&permission.get("header")) {
        return vec![Asks::Connect];
    }
    if is_connect(&permission.at("not_rule.header")) {
        return vec![Asks::NotConnect];
    }
    let sourced = permission.get("sourced_metadata");
    let matcher = match sourced.get("metadata_source").str() {
        Some("DYNAMIC") => sourced.get("metadata_matcher"),
        _ => return vec![Asks::SomethingElse],
    };
    let path = matcher.get("path").items();
    let value = matcher.get("value");
    let is_plain = matcher.get("filter").is("attache") && matcher.get("invert").is_false();
    let asked = match path.as_slice() {
        [key] if is_plain => key.get("key").str(),
        _ => None,
    };
    let exact = value.at("string_match.exact").str();
    let is_there = value.get("present_match").is_true();
    vec![match (asked, exact) {
        (Some("decision"), Some("allow")) => Asks::Allowed,
        (Some("decision"), Some("tunnel")) => Asks::Tunnel,
        (Some("upstream"), None) if is_there => Asks::Upstream,
        (Some("upstream2"), None) if is_there => Asks::Failover,
        _ => Asks::SomethingElse,
    }]
}
