//! What is decided in full and not enforced.

use super::obligations::{approval, limit, rule};
use super::*;
use crate::pipeline::limit::Weight;
use crate::pipeline::policy::rule::{Does, Mode, Rule};

/// The world in which Ann is only watched.
fn lenient(change: impl FnOnce(&mut Ruleset)) -> World {
    World::under(|rules| {
        rules.set_mode(AgentId(0), Mode::Monitor);
        change(rules);
    })
}

fn would(outcome: &Outcome) -> Option<(&str, Option<&str>)> {
    outcome.record().would.as_ref().map(|would| (&*would.reason, would.rule.as_deref()))
}

#[test]
fn an_agent_that_is_watched_passes_without_credentials_and_its_record_says_why() {
    let websocket = [("upgrade", "websocket")];
    for (incoming, expected) in [
        (tls("GET", "other.example/", &[]), Some(("domain_not_allowed", None))),
        (tls("GET", "evil.wild.example/", &[]), Some(("domain_blocked", Some("blockedDomains[evil.wild.example]")))),
        (tls("GET", "denied.example/", &[]), Some(("domain_blocked", Some("allowedDomains[denied.example]")))),
        (tls("GET", "get.example/v2", &[]), Some(("route_not_allowed", Some("allowedDomains[get.example]")))),
        (tls("GET", "api.example/", &websocket), Some(("upgrade_not_allowed", Some("allowedDomains[api.example]")))),
        (tls("TRACE", "api.example/", &[]), Some(("route_not_allowed", Some("allowedDomains[api.example]")))),
        (tls("GET", "api.example/", &[]), None),
    ] {
        let outcome = lenient(|_| {}).run(incoming);
        assert_eq!(would(&outcome), expected);
        let credentials = usize::from(expected.is_none());
        assert_eq!((outcome.forward().set.len(), outcome.record().credential.len()), (credentials, credentials));
        assert_eq!(outcome.record().decision, Verdict::Allow);
    }
}

#[test]
fn what_is_never_only_watched() {
    let ours = |rules: &mut Ruleset| rules.add_rule(Rule { organization: true, ..rule("no", Does::Block) });
    let ceiling = |rules: &mut Ruleset| {
        rules.domains_mut(Scope::Organization).list(allow("get.example"));
        rules.set_ceiling("organization.allowedDomains".into());
    };
    let block = |rules: &mut Ruleset| {
        let pattern = HostPattern::parse("example").unwrap();
        rules.domains_mut(Scope::Organization).block(&pattern, &"organization.blockedDomains[example]".into());
    };
    let get = || tls("GET", "api.example/", &[]);
    let mut nobody = get();
    nobody.session = Some(session("api.example:443", Some("unknown")));
    let mut elsewhere = get();
    elsewhere.sni = Some("ws.example".to_owned());
    for (mut world, incoming, reason) in [
        (lenient(ours), get(), "rule_blocked"),
        (lenient(ceiling), get(), "outside_organization"),
        (lenient(ceiling), proxy("CONNECT", "api.example:443", &[]), "outside_organization"),
        (lenient(block), get(), "domain_blocked"),
        (lenient(|_| {}), nobody, "invalid_token"),
        (lenient(|_| {}), elsewhere, "authority_mismatch"),
        (lenient(|_| {}), tls("GET", "api.example/a%2fb", &[]), "malformed_path"),
        (lenient(|_| {}), tls("GET", "inside.example/", &[]), "address_forbidden"),
        (lenient(|_| {}), tls("GET", "missing.example/", &[]), "secret_unavailable"),
    ] {
        assert_eq!(world.run(incoming).reason(), reason);
    }
    let ours = |rules: &mut Ruleset| rules.add_rule(Rule { organization: true, ..approval("ask", 0) });
    assert_eq!(lenient(ours).run(get()).reason(), "approval_pending");
    let ours = |rules: &mut Ruleset| rules.add_rule(Rule { organization: true, ..limit("cap", Weight::Request) });
    assert_eq!(lenient(ours).run(get()).asked, ["resolve", "look", "secrets", "admit", "record", "reply"]);
}

#[test]
fn the_way_out_of_a_watched_agent_is_the_one_its_entries_name() {
    let token = [("proxy-authorization", &*format!("Bearer {ANN}"))];
    let restricted = |rules: &mut Ruleset| {
        let pairs = Some(Routes::from_iter([(Methods::Any, PathPattern::parse("/v1").unwrap())]));
        rules.domains_mut(Scope::All).list(Entry { pairs, ..allow("http://old.example:8080") });
    };
    let outcome = lenient(restricted).run(proxy("GET", "old.example:8080/v2", &token));
    assert_eq!(would(&outcome).map(|(reason, _)| reason), Some("route_not_allowed"));
    assert!(outcome.forward().plaintext, "TLS would be another request than the one that was decided on");
    let outcome = lenient(|_| {}).run(proxy("GET", "unlisted.example/", &token));
    assert!(!outcome.forward().plaintext, "only an entry permits plaintext");
}

#[test]
fn rules_that_watch_neither_refuse_nor_ask_nor_limit() {
    let watching = |rule: Rule| Rule { mode: Mode::Monitor, ..rule };
    for (rule, expected) in [
        (rule("no", Does::Block), ("rule_blocked", "rules[no]")),
        (approval("ask", 20), ("approval_pending", "rules[ask]")),
    ] {
        let mut world = World::under(|rules| rules.add_rule(watching(rule)));
        let outcome = world.run(tls("GET", "api.example/", &[]));
        assert_eq!(would(&outcome), Some((expected.0, Some(expected.1))));
        assert!(outcome.forward().set.is_empty() && world.store.petitions.is_empty());
        assert_eq!(outcome.asked, ["resolve", "secrets", "record", "reply"]);
    }
    // The rule whose whole action is to watch admits nothing by itself: the credential goes along.
    let mut world = World::under(|rules| rules.add_rule(rule("look", Does::Monitor)));
    let outcome = world.run(tls("GET", "api.example/", &[]));
    assert_eq!((would(&outcome), outcome.forward().set.len()), (None, 1));
    assert_eq!(outcome.record().watched, [Arc::<str>::from("rules[look]")]);
}

#[test]
fn a_watched_limit_counts_and_takes_the_credential_when_it_is_reached() {
    let watched = || Rule { mode: Mode::Monitor, ..limit("cap", Weight::Request) };
    let mut world = World::under(|rules| rules.add_rule(watched()));
    let outcome = world.run(tls("GET", "api.example/", &[]));
    assert_eq!(outcome.asked, ["resolve", "admit", "secrets", "record", "reply"]);
    assert_eq!((would(&outcome), outcome.forward().set.len(), world.store.charged().len()), (None, 1, 1));
    let excess = Excess::Reached { rule: "rules[cap]".into(), retry_after: None };
    world.store.refusals.push_back(NotAdmitted::Excess(excess));
    let outcome = world.run(tls("GET", "api.example/", &[]));
    assert_eq!(would(&outcome), Some(("rate_limited", Some("rules[cap]"))));
    assert!(outcome.forward().set.is_empty() && outcome.record().credential.is_empty());
    // Counters that cannot be had are no limit reached.
    world.store.refusals.push_back(NotAdmitted::Excess(Excess::Unavailable));
    assert_eq!(would(&world.run(tls("GET", "api.example/", &[]))), None);
}

#[test]
fn a_request_that_is_decided_twice_is_counted_once() {
    for wait in ["admit", "secrets"] {
        let rules = |revision: &str| {
            policy(revision, |rules| rules.add_rule(Rule { mode: Mode::Monitor, ..limit("cap", Weight::Request) }))
        };
        let mut world = World { rules: rules("one"), ..World::new() };
        world.swap = Some((wait, rules("two"), world.secrets.clone()));
        let outcome = world.run(tls("GET", "api.example/", &[]));
        assert_eq!((&*outcome.record().policy_revision, world.store.charged().len()), ("two", 1), "{wait}");
    }
}
