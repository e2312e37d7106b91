//! A policy that changes while a request is on its way.

use super::*;

#[test]
fn a_newer_deny_wins_over_an_older_allow() {
    for wait in ["resolve", "secrets"] {
        let stricter = policy("two", |rules| {
            let pattern = HostPattern::parse("api.example").unwrap();
            rules.domains_mut(Scope::All).block(&pattern, &"blockedDomains[api.example]".into());
        });
        let mut world = World::new();
        world.swap = Some((wait, stricter, world.secrets.clone()));
        let outcome = world.run(tls("GET", "api.example/", &[]));
        assert_eq!((outcome.reason(), &*outcome.record().policy_revision), ("domain_blocked", "two"), "{wait}");
    }
}

#[test]
fn a_revoked_token_stops_what_is_under_way_and_nobody_else_is_blamed() {
    for wait in ["resolve", "secrets"] {
        let mut agents = Agents::default();
        agents.add("carl");
        let mut world = World::new();
        world.swap = Some((wait, Arc::new(Ruleset::new("two", agents)), Vec::new()));
        let outcome = world.run(tls("GET", "api.example/", &[]));
        assert_eq!((outcome.reason(), outcome.record().agent.as_deref()), ("invalid_token", None), "{wait}");
    }
}

#[test]
fn secrets_of_one_policy_never_fill_the_slots_of_another() {
    for wait in ["resolve", "secrets"] {
        // The numbers that were 0 and 1 are now other credentials'.
        let renumbered = policy("two", |rules| {
            let binding = inject(1, "only", "api.example", header("authorization"), Some("/exact"));
            rules.bind(binding);
        });
        let mut world = World::new();
        world.swap = Some((wait, renumbered, vec![Some("n-zero"), Some("n-one")]));
        let outcome = world.run(tls("GET", "api.example/exact", &[]));
        assert_eq!(outcome.set("authorization").as_deref(), Some("Bearer n-one"), "{wait}");
        assert_eq!(outcome.record().credential, [Arc::<str>::from("only")], "{wait}");
        let repeated = outcome.asked.iter().filter(|a| **a == "resolve").count();
        assert_eq!(repeated, 2, "the address is looked up for the newer policy");
    }
}

#[test]
fn a_policy_that_came_before_the_request_is_the_one_that_decides() {
    let world = World::new();
    let mut exchange = Exchange::new(policy("old", |_| {}), now());
    let nothing = Arc::new(Ruleset::new("new", Agents::implicit("x")));
    let effect = exchange.on(Event::Request(proxy("CONNECT", "api.example:443", &[])), &nothing, now());
    assert!(matches!(effect, Effect::Record(record) if &*record.policy_revision == "new"));
    drop(world);
}

#[test]
fn a_rule_that_begins_during_a_wait_holds_after_it() {
    use crate::pipeline::policy::rule::{Does, Mode, Rule};
    use crate::pipeline::policy::schedule::Schedule;

    let began = now();
    let later = |milliseconds| Now {
        wall: began.wall + Duration::from_millis(milliseconds),
        monotonic: began.monotonic + Duration::from_millis(milliseconds),
    };
    let rules = policy("one", |rules| {
        let starts = jiff::Timestamp::try_from(began.wall + Duration::from_secs(2)).unwrap();
        rules.add_rule(Rule {
            id: "rules[soon]".into(),
            pattern: HostPattern::parse("api.example").unwrap(),
            path: None,
            methods: Methods::Any,
            agents: None,
            conditions: Vec::new(),
            schedule: Some(Schedule { not_before: Some(starts), ..Schedule::default() }),
            mode: Mode::Enforce,
            organization: false,
            does: Does::Block,
        });
    });
    for (waited, refused) in [(1_900, false), (2_000, true)] {
        let mut exchange = Exchange::new(rules.clone(), began);
        let effect = exchange.on(Event::Request(tls("GET", "api.example/", &[])), &rules, began);
        assert!(matches!(effect, Effect::Resolve { .. }), "{effect:?}");
        let found = Resolved::Looked(SmallVec::from_slice(&[PUBLIC.parse().unwrap()]));
        let effect = exchange.on(Event::Resolved(Ok(found)), &rules, later(waited));
        let blocked = matches!(&effect, Effect::Record(record) if record.reason.as_deref() == Some("rule_blocked"));
        assert_eq!(blocked, refused, "{effect:?}");
    }
}
