//! What is odd about a policy, and that it is.

use std::time::SystemTime;

use jiff::Timestamp;
use proptest::prelude::*;

use super::decisions::{decide, load};
use super::meaning::{ANN, BOB, asks, written};
use super::*;
use crate::config::compile::{self, Setting};
use crate::config::lint;
use crate::secrets::Environment;

/// All that is reported on a policy without errors: `code line` of each, in the order of the text.
pub fn findings(text: &str) -> Vec<String> {
    findings_in(text, None)
}

fn findings_in(text: &str, environment: Option<&Environment>) -> Vec<String> {
    let problems = linted(text, environment);
    problems.iter().map(|p| format!("{} {}", p.code.as_str(), p.at.map_or(0, |at| at.line))).collect()
}

pub fn linted(text: &str, environment: Option<&Environment>) -> Problems {
    let now: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
    let looked_at = lint::Setting { environment, now: SystemTime::from(now) };
    let setting = Setting { agent: None, environment: None, pod: None };
    let accepted = parse("policy.yaml", text).compile(None, |policy, problems| {
        let compiled = compile::compile(policy, setting, "rev", problems)?;
        if !problems.has_errors() {
            lint::lint(policy, &compiled.rules, looked_at, problems);
        }
        Some(())
    });
    accepted.unwrap_or_else(|problems| panic!("{text}\n{problems}")).warnings
}

/// Each finding with a policy that has it and one that is near and does not.
#[test]
fn what_is_found_and_what_is_not() {
    let nobody: &[&str] = &[];
    for (name, text, expected) in [
        (
            "an allowed host that is blocked",
            "allowedDomains: [a.example]\nblockedDomains: [a.example]",
            &["contradiction 1"][..],
        ),
        (
            "an allowed host below a blocked one",
            "allowedDomains: [b.a.example]\nblockedDomains: [a.example]",
            &["blocked-entry 1"],
        ),
        (
            "pods known by labels alone",
            "agents: {x: {identity: [{kubernetes: {labels: {app: x}}}]}}",
            &["labels-alone 1"],
        ),
        (
            "pods of which both could be one",
            "agents:\n  x: {identity: [{kubernetes: {namespace: [a, b]}}]}\n  y: {identity: [{kubernetes: {namespace: b, labels: {app: y}}}]}",
            &["overlapping-pods 3"],
        ),
        (
            "pods that nothing can be both of, and one agent's own",
            "agents:\n  x: {identity: [{kubernetes: {namespace: a}}, {kubernetes: {namespace: a, serviceAccount: s}}]}\n  y: {identity: [{kubernetes: {namespace: b, labels: {app: y}}}]}",
            nobody,
        ),
        ("on another port", "allowedDomains: [a.example]\nblockedDomains: ['a.example:8443']", nobody),
        (
            "a wildcard of which one is blocked",
            "allowedDomains: ['*.a.example', a.example]\nblockedDomains: [x.a.example]",
            nobody,
        ),
        (
            "blocked for another agent",
            "agents: {x: {identity: [{sourceAddress: 192.0.2.1}], allowedDomains: [a.example]}, y: {identity: [{sourceAddress: 192.0.2.2}], blockedDomains: [a.example]}}",
            nobody,
        ),
        (
            "blocked for the same agent",
            "agents: {x: {identity: [{sourceAddress: 192.0.2.1}], allowedDomains: [a.example], blockedDomains: [a.example]}}",
            &["contradiction 1"],
        ),
        (
            "allowed and denied",
            "allowedDomains:\n- a.example\n- {pattern: a.example, action: deny}",
            &["contradiction 2"],
        ),
        (
            "allowed and denied in part",
            "allowedDomains:\n- a.example\n- {pattern: a.example, action: deny, httpRestrictions: [{method: GET}]}",
            nobody,
        ),
        (
            "a rule that blocks the whole entry",
            "allowedDomains: [a.example]\nrules: [{name: r, host: a.example, action: block}]",
            &["contradiction 1"],
        ),
        (
            "a rule that blocks all that the entry allows",
            "allowedDomains:\n- {pattern: a.example, httpRestrictions: [{method: GET, path: /v1/items}]}\nrules: [{name: r, host: '*.example', path: '/v1/*', action: block}]",
            &["blocked-entry 2"],
        ),
        (
            "a rule that blocks some of it",
            "allowedDomains:\n- {pattern: a.example, httpRestrictions: [{method: GET, path: '/v1/**'}]}\nrules: [{name: r, host: a.example, path: '/v1/*', action: block}]",
            nobody,
        ),
        (
            "outside of the organization's ceiling",
            "organization: {allowedDomains: [a.example]}\nallowedDomains: [a.example, b.example]",
            &["outside-organization 2"],
        ),
        (
            "outside of it by its paths",
            "organization: {allowedDomains: [{pattern: a.example, httpRestrictions: [{path: '/v1/*'}]}]}\nallowedDomains: [{pattern: a.example, httpRestrictions: [{path: '/v2/*'}]}]",
            &["outside-organization 2"],
        ),
        (
            "partly within it",
            "organization: {allowedDomains: ['*.a.example']}\nallowedDomains: [x.a.example, '*.example']",
            &["missing-apex 2"],
        ),
        ("the same entry twice", "allowedDomains:\n- a.example\n- a.example", &["redundant-entry 3"]),
        (
            "an entry within a broader one",
            "allowedDomains:\n- {pattern: a.example, httpRestrictions: [{method: GET, path: /v1/x}]}\n- {pattern: a.example, httpRestrictions: [{path: '/v1/*'}]}",
            &["redundant-entry 2"],
        ),
        (
            "an entry beside another",
            "allowedDomains:\n- {pattern: a.example, httpRestrictions: [{method: GET, path: /v1/x}]}\n- {pattern: a.example, httpRestrictions: [{method: POST, path: '/v1/*'}]}",
            nobody,
        ),
        (
            "one that grants more than hosts",
            "allowedDomains:\n- a.example\n- {pattern: a.example, upgrades: [websocket]}",
            &["redundant-entry 2", "blocked-upgrade 3"],
        ),
        (
            "an agent's own that everybody has",
            "allowedDomains: [a.example]\nagents:\n  x: {identity: [{sourceAddress: 192.0.2.1}], allowedDomains: [a.example]}",
            &["redundant-entry 3"],
        ),
        ("a blocked name below another", "blockedDomains: [a.example, b.a.example]", &["redundant-entry 1"]),
        ("a name twice", "blockedDomains:\n- a.example\n- a.example", &["redundant-entry 3"]),
        ("a blocked port beside another", "blockedDomains: ['a.example:80', 'b.a.example:81']", nobody),
        ("every host", "allowedDomains: ['*']", &["any-host 1"]),
        ("a public suffix", "allowedDomains: ['*.co.uk']", &["public-suffix 1"]),
        ("a suffix of hosting", "allowedDomains: ['*.s3.amazonaws.com']", &["public-suffix 1"]),
        ("a network of one's own", "allowedDomains: ['*.internal', internal]", nobody),
        ("a wildcard without its apex", "allowedDomains: ['*.a.example']", &["missing-apex 1"]),
        ("a wildcard with its apex", "allowedDomains: ['*.a.example', a.example]", nobody),
        (
            "a wildcard whose apex is refused",
            "allowedDomains: ['*.a.example', {pattern: a.example, action: deny}]",
            nobody,
        ),
        (
            "a rule about a host that nobody may reach",
            "allowedDomains: [a.example]\nrules: [{name: r, host: b.example, action: block}]",
            &["dead-rule 2"],
        ),
        (
            "about one that only another agent may",
            "agents: {x: {identity: [{sourceAddress: 192.0.2.1}], allowedDomains: [a.example]}, y: {identity: [{sourceAddress: 192.0.2.2}]}}\nrules: [{name: r, host: a.example, agents: [y], action: monitor}]",
            &["dead-rule 2"],
        ),
        (
            "about one that its agent may",
            "agents: {x: {identity: [{sourceAddress: 192.0.2.1}], allowedDomains: [a.example]}, y: {identity: [{sourceAddress: 192.0.2.2}]}}\nrules: [{name: r, host: a.example, agents: [x], action: monitor}]",
            nobody,
        ),
        (
            "about a method that no entry allows",
            "allowedDomains: [{pattern: a.example, httpRestrictions: [{method: GET}]}]\nrules: [{name: r, host: a.example, method: POST, action: block}]",
            &["dead-rule 2"],
        ),
        (
            "about a path that no entry allows",
            "allowedDomains: [{pattern: a.example, httpRestrictions: [{path: '/v1/*'}]}]\nrules: [{name: r, host: a.example, path: /v2/x, action: block}]",
            &["dead-rule 2"],
        ),
        (
            "a filter of what nobody may reach",
            "allowedDomains: [a.example]\nresponseFilters: [{host: b.example, includeFields: [id]}]",
            &["dead-filter 2"],
        ),
        (
            "a filter of a path that no entry allows",
            "allowedDomains: [{pattern: a.example, httpRestrictions: [{path: '/v1/*'}]}]\nresponseFilters: [{host: a.example, path: /v2/x, includeFields: [id]}]",
            &["dead-filter 2"],
        ),
        (
            "a filter of what its agent may reach",
            "allowedDomains: [{pattern: a.example, httpRestrictions: [{method: GET, path: '/v1/*'}]}]\nresponseFilters: [{host: '*.example', path: /V1/x, method: GET, includeFields: [id]}]",
            nobody,
        ),
        (
            "about a path in other letters",
            "allowedDomains: [{pattern: a.example, httpRestrictions: [{path: '/v1/*'}]}]\nrules: [{name: r, host: a.example, path: /V1/x/, action: block}]",
            nobody,
        ),
        (
            "about HEAD where GET is allowed",
            "allowedDomains: [{pattern: a.example, httpRestrictions: [{method: HEAD}]}]\nrules: [{name: r, host: '*', method: GET, path: /x, action: block}]",
            nobody,
        ),
        (
            "about a host that only an agent that is watched reaches",
            "agents: {x: {identity: [{sourceAddress: 192.0.2.1}], mode: monitor}}\nrules: [{name: r, host: b.example, action: block}]",
            &["monitor-mode 1"],
        ),
        (
            "a rule behind a block list",
            "allowedDomains: ['*.example', example]\nblockedDomains: [b.example]\nrules: [{name: r, host: x.b.example, action: monitor}]",
            &["shadowed-rule 3"],
        ),
        (
            "a rule behind another",
            "allowedDomains: [a.example]\nrules:\n- {name: r, host: a.example, path: '/v1/*', action: block}\n- {name: s, host: a.example, path: /v1/x, method: GET, action: {rateLimit: {requests: 1, per: 1s}}}",
            &["shadowed-rule 4"],
        ),
        (
            "the same rule twice",
            "allowedDomains: [a.example]\nrules:\n- {name: r, host: a.example, path: '/v1/*', action: block}\n- {name: s, host: a.example, path: '/v1/*', action: block}",
            &["shadowed-rule 4"],
        ),
        (
            "a rule that is only watched, behind one that is not",
            "allowedDomains: [a.example]\nrules:\n- {name: r, host: a.example, path: '/v1/*', action: block, mode: monitor}\n- {name: s, host: a.example, path: '/v1/*', action: block}",
            &["shadowed-rule 3"],
        ),
        (
            "a rule behind one that is only watched",
            "allowedDomains: [a.example]\nrules:\n- {name: r, host: a.example, path: '/v1/*', action: block, mode: monitor}\n- {name: s, host: a.example, path: /v1/x, action: block}",
            &["monitor-mode 3"],
        ),
        (
            "a rule behind one with a condition",
            "allowedDomains: [a.example]\nrules:\n- {name: r, host: a.example, path: '/v1/*', query: {a: b}, action: block}\n- {name: s, host: a.example, path: '/v1/*', action: block}",
            &["shadowed-rule 3"],
        ),
        (
            "a rule behind one for other agents",
            "allowedDomains: [a.example]\nagents: {x: {identity: [{sourceAddress: 192.0.2.1}]}, y: {identity: [{sourceAddress: 192.0.2.2}]}}\nrules:\n- {name: r, host: a.example, path: /x, agents: [x], action: block}\n- {name: s, host: a.example, path: /x, agents: [y], action: block}",
            nobody,
        ),
        (
            "a rule that has ended",
            "allowedDomains: [a.example]\nrules: [{name: r, host: a.example, path: /x, action: block, notAfter: 2026-05-01T00:00:00Z}]",
            &["ended-rule 2"],
        ),
        (
            "a rule that ends later",
            "allowedDomains: [a.example]\nrules: [{name: r, host: a.example, path: /x, action: block, notAfter: 2026-07-01T00:00:00Z}]",
            nobody,
        ),
        (
            "hours that never come",
            "allowedDomains: [a.example]\nrules: [{name: r, host: a.example, path: /x, action: block, only: {days: [sat], timezone: UTC}, except: {days: [sat, sun], timezone: UTC}}]",
            &["never-holds 2"],
        ),
        (
            "an approval that nobody is told of",
            "allowedDomains: [a.example]\nrules: [{name: r, host: a.example, action: approval}]",
            &["unnotified-approval 2"],
        ),
        (
            "a credential whose endpoints are not allowed",
            "allowedDomains: [{pattern: a.example, httpRestrictions: [{method: GET, path: '/v1/*'}]}]\ncredentials:\n- {name: k, envVarKey: K, injections: [{domain: a.example, queryParam: k}], endpoints: [{methods: [POST]}]}",
            &["unused-credential 3"],
        ),
        (
            "a credential whose endpoints are",
            "allowedDomains: [{pattern: a.example, httpRestrictions: [{method: GET, path: '/v1/*'}]}]\ncredentials:\n- {name: k, envVarKey: K, injections: [{domain: a.example, queryParam: k}], endpoints: [{methods: [GET], paths: [/v1/items]}]}",
            nobody,
        ),
        (
            "a credential of an agent that may not go there",
            "agents: {x: {identity: [{sourceAddress: 192.0.2.1}], allowedDomains: [a.example]}, y: {identity: [{sourceAddress: 192.0.2.2}]}}\ncredentials:\n- {name: k, envVarKey: K, agents: [y], injections: [{domain: a.example, queryParam: k}]}",
            &["unused-credential 3"],
        ),
        (
            "a credential at a path that is not allowed",
            "allowedDomains: [{pattern: a.example, httpRestrictions: [{path: '/v1/*'}]}]\ncredentials:\n- {name: k, envVarKey: K, injections: [{domain: a.example, path: '/v2/**', queryParam: k}]}",
            &["unused-credential 3"],
        ),
        (
            "a credential for a host that is blocked",
            "allowedDomains: [a.example]\nblockedDomains: [a.example]\ncredentials:\n- {name: k, envVarKey: K, injections: [{domain: a.example, queryParam: k}]}",
            &["contradiction 1", "unused-credential 4"],
        ),
        (
            "a service of which one host is allowed",
            "allowedDomains: [api.openai.com]\ncredentials:\n- {name: k, envVarKey: K, service: openai}",
            nobody,
        ),
        (
            "a credential for everything below a name",
            "allowedDomains: ['*.a.example', a.example]\ncredentials:\n- {name: k, envVarKey: K, injections: [{domain: '*.a.example', queryParam: k}]}",
            &["broad-credential 3"],
        ),
        (
            "the same with endpoints",
            "allowedDomains: ['*.a.example', a.example]\ncredentials:\n- {name: k, envVarKey: K, injections: [{domain: '*.a.example', queryParam: k}], endpoints: [{methods: [GET]}]}",
            nobody,
        ),
        (
            "restrictions that restrict nothing, and a credential",
            "allowedDomains: [{pattern: a.example, httpRestrictions: [{method: any, path: '/**'}]}]\ncredentials:\n- {name: k, envVarKey: K, injections: [{domain: a.example, queryParam: k}]}",
            &["broad-credential 1"],
        ),
        (
            "restrictions that restrict nothing, and none",
            "allowedDomains: [{pattern: a.example, httpRestrictions: [{method: any, path: '/**'}]}]",
            nobody,
        ),
        (
            "a default agent that may do more",
            "allowedDomains: [a.example]\nagents: {x: {allowedDomains: [b.example]}, y: {identity: [{sourceAddress: 192.0.2.2}]}}\ndefaultAgent: x",
            &["default-agent-exceeds 3"],
        ),
        (
            "one that a rule binds less",
            "allowedDomains: [a.example]\nagents: {x: {}, y: {identity: [{sourceAddress: 192.0.2.2}]}}\ndefaultAgent: x\nrules: [{name: r, host: a.example, path: '/x/*', agents: [y], action: block}]",
            &["default-agent-exceeds 3"],
        ),
        (
            "one that may do less",
            "allowedDomains: [a.example]\nagents: {x: {}, y: {identity: [{sourceAddress: 192.0.2.2}], allowedDomains: [b.example]}}\ndefaultAgent: x",
            nobody,
        ),
        (
            "an agent that there is not",
            "allowedDomains: [a.example]\norganization: {rules: [{name: r, host: a.example, path: /x, agents: [z], action: block}]}",
            &["unknown-agent 2"],
        ),
        ("a profile of nobody", "profiles: {p: {allowedDomains: [a.example]}}", &["unused-profile 1"]),
    ] {
        assert_eq!(findings(text), expected, "{name}\n{text}\n{}", linted(text, None));
    }
}

#[test]
fn secrets_that_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "a-key-of-Go0d-length").unwrap();
    let text = |variable: &str, file: &std::path::Path| {
        format!(
            "allowedDomains: [a.example]\ncredentials:\n- {{name: k, envVarKey: {variable}, injections: [{{domain: a.example, queryParam: k}}]}}\n- {{name: l, file: {}, injections: [{{domain: a.example, queryParam: l}}]}}\nagents: {{x: {{identity: [{{token: {{env: {variable}}}}}]}}}}",
            file.display()
        )
    };
    let environment = Environment::from_iter([("HERE".to_owned(), b"a-token-of-good-length".to_vec())]);
    assert!(findings_in(&text("HERE", &file), Some(&environment)).is_empty());
    let missing = text("GONE", &folder.path().join("gone"));
    let expected = ["missing-secret 3", "missing-secret 4", "missing-secret 5"];
    assert_eq!(findings_in(&missing, Some(&environment)), expected);
    assert!(findings_in(&missing, None).is_empty(), "`--no-secrets`");
}

#[test]
fn the_policies_we_show_have_nothing_odd() {
    let demo = include_str!("../../../deploy/demo/policy.yaml");
    assert!(findings(demo).is_empty(), "{}", linted(demo, None));
    let page = include_str!("../../../docs/policy.md");
    let example = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let found = linted(example, None);
    let codes: Vec<_> = found.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [Code::MissingApex], "{found}");
    assert_eq!(found.warnings(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What lint calls dead can go, and what it calls shadowed or redundant lets nothing else pass without it.
    #[test]
    fn what_never_matters_can_be_removed(written in written(), asks in asks()) {
        let mut written = written;
        // One name for each, so that a message tells which.
        for (place, rule) in written.rules.iter_mut().enumerate() {
            rule["name"] = format!("own{place}").into();
        }
        for (place, rule) in written.organization_rules.iter_mut().enumerate() {
            rule["name"] = format!("bound{place}").into();
        }
        let text = written.text();
        let before = load(&text).unwrap();
        for problem in linted(&text, None).iter() {
            let (rest, at) = (problem.code, problem.at);
            let after = match rest {
                Code::DeadRule | Code::ShadowedRule => {
                    let name = problem.message.split('`').nth(1).unwrap();
                    let mut without = written.clone();
                    without.rules.retain(|rule| rule["name"] != name);
                    without.organization_rules.retain(|rule| rule["name"] != name);
                    without.text()
                }
                // As good as removed: nobody asks for that host.
                Code::RedundantEntry | Code::Contradiction | Code::BlockedEntry | Code::OutsideOrganization => {
                    let from = at.unwrap().column as usize - 1;
                    let length = text[from + 1..].find('"').unwrap() + 2;
                    format!("{}\"never.invalid\"{}", &text[..from], &text[from + length..])
                }
                _ => continue,
            };
            let after = load(&after).unwrap_or_else(|problems| panic!("{text}\n{after}\n{problems}"));
            for (ask, agent) in asks.iter().flat_map(|ask| [(ask, ANN), (ask, BOB)]) {
                let (before, after) = (decide(&before, agent, ask), decide(&after, agent, ask));
                let same = match rest {
                    Code::DeadRule => before == after,
                    Code::ShadowedRule | Code::RedundantEntry => {
                        let terms = |v: &super::decisions::Verdict| (v.way.clone().ok(), v.limits.clone(), v.approvals.clone(), v.credentials.clone());
                        terms(&before) == terms(&after)
                    }
                    // What is only watched passes whatever allows it.
                    _ => after.admits() || !before.admits() || before.would.is_some(),
                };
                prop_assert!(same, "{}\n{ask:?}: {before:?}, then {after:?}\n{text}", problem.message);
            }
        }
    }
}

/// Each entry is compared with a few, not with all.
#[test]
fn a_large_policy_is_looked_at_in_little_time() {
    let policy = |size: usize| {
        let mut text = String::from("allowedDomains:\n");
        for at in 0..size {
            text.push_str(&format!(
                "- {{pattern: api.example, httpRestrictions: [{{path: /v1/r{at}}}]}}\n- h{at}.example\n"
            ));
        }
        text.push_str("blockedDomains:\n");
        (0..size).for_each(|at| text.push_str(&format!("- b{at}.example\n")));
        text.push_str("rules:\n");
        for at in 0..size {
            let rule = |host: &str, more: &str| {
                format!("- {{name: {more} {at}, host: '{host}', method: POST, action: block, ")
            };
            text.push_str(&format!("{}path: '/v1/r{at}'}}\n", rule("*.example", "r")));
            text.push_str(&format!("{}path: '/v1/r{at}/**'}}\n", rule("api.example", "s")));
        }
        // Some that all look alike, too.
        for at in 0..size / 10 {
            text.push_str(&format!("- {{name: t{at}, host: '*.example', query: {{a: x{at}}}, action: block}}\n"));
        }
        text
    };
    let compared = |size: usize| {
        let before = lint::COMPARED.get();
        let problems = linted(&policy(size), None);
        assert_eq!(problems.warnings(), 0, "{problems}");
        lint::COMPARED.get() - before
    };
    let (few, many) = (compared(500), compared(5_000));
    assert!(few > 0 && many < few * 30, "{few}, {many}");
}
