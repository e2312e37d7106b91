//! What another policy would change: all of it, and nothing else.

use std::time::SystemTime;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::decisions::{Verdict, decide};
use super::meaning::{ANN, BOB, Written, asks, entry, pattern, rule, written};
use super::*;
use crate::config::diff::{Change, Diff, Kind, Side, diff};

fn side(text: &str) -> Side {
    Side::of(parse("policy.yaml", text), None).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

fn compared(old: &str, new: &str) -> Diff {
    diff(&side(old), &side(new), SystemTime::UNIX_EPOCH)
}

/// `agents: sign request` of each change, then the notes.
fn brief(diff: &Diff) -> Vec<String> {
    let sign = |change: &Change| match (change.kind, change.widens) {
        (Kind::Allowed, _) => '+',
        (Kind::Denied, _) => '-',
        (Kind::Changed, true) => '!',
        (Kind::Changed, false) => '~',
    };
    let line = |agents: &[Option<String>], change: &Change| {
        let agents: Vec<_> = agents.iter().map(|name| name.as_deref().unwrap_or("-")).collect();
        format!("{}: {} {}", agents.join(" "), sign(change), change.request)
    };
    let changes = diff.callers.iter().flat_map(|c| c.changes.iter().map(|change| line(&c.agents, change)));
    changes.chain(diff.notes.iter().map(|note| note.text.clone())).collect()
}

/// Two agents, of whom the second has more.
fn agents(lines: &str, more: &str) -> String {
    format!(
        "agents: {{x: {{identity: [{{sourceAddress: 192.0.2.1}}]}}, y: {{identity: [{{sourceAddress: 192.0.2.2}}]{more}}}}}\n{lines}"
    )
}

#[test]
fn each_difference_has_a_request_that_shows_it() {
    let plain = |lines: &str| agents(lines, "");
    let by_pods = |agents: &str| format!("allowedDomains: [a.example]\nagents: {{{agents}}}");
    let rule =
        |what: &str| plain(&format!("allowedDomains: [a.example]\nrules: [{{name: r, host: a.example, {what}}}]"));
    let limit =
        |requests: u32, per: &str| rule(&format!("action: {{rateLimit: {{requests: {requests}, per: {per}}}}}"));
    let filter =
        |what: &str| plain(&format!("allowedDomains: [a.example]\nresponseFilters: [{{host: a.example, {what}}}]"));
    let key = |more: &str| {
        plain(&format!(
            "allowedDomains: [a.example]\ncredentials: [{{name: k, envVarKey: K{more}, injections: [{{domain: a.example, headerName: X-Key, headerFormat: '{{value}}'}}]}}]"
        ))
    };
    let none: &[&str] = &[];
    let mut wrong = Vec::new();
    for (name, old, new, expected, widens) in [
        ("nothing", plain("allowedDomains: [a.example]"), plain("allowedDomains: [a.example]"), none, false),
        (
            "the same in other words",
            plain("allowedDomains: [a.example, b.example]"),
            plain(
                "profiles: {p: {allowedDomains: [c.example]}}\nallowedDomains:\n- b.example\n- {pattern: A.Example., action: allow}",
            ),
            none,
            false,
        ),
        (
            "a host more",
            plain("allowedDomains: [a.example]"),
            plain("allowedDomains: [a.example, '*.a.example']"),
            &["x y: + GET https://sub.a.example/"],
            true,
        ),
        (
            "a host less",
            plain("allowedDomains: [a.example, 'http://b.example:81']"),
            plain("allowedDomains: [a.example]"),
            &["x y: - GET http://b.example:81/"],
            false,
        ),
        (
            "for one agent",
            agents("allowedDomains: [a.example]", ""),
            agents("allowedDomains: [a.example]", ", allowedDomains: [b.example]"),
            &["y: + GET https://b.example/"],
            true,
        ),
        (
            "a path more",
            plain("allowedDomains: [{pattern: a.example, httpRestrictions: [{method: POST, path: /v1/x}]}]"),
            plain("allowedDomains: [{pattern: a.example, httpRestrictions: [{method: POST, path: '/v1/*'}]}]"),
            &["x y: + POST https://a.example/v1/y"],
            true,
        ),
        (
            "an exception to a refusal",
            plain("allowedDomains: [a.example]\nrules: [{name: r, host: a.example, path: '/v1/*', action: block}]"),
            plain(
                "allowedDomains: [a.example]\nrules: [{name: r, host: a.example, path: '/v1/*', agents: [x], action: block}]",
            ),
            &["y: + GET https://a.example/v1/x"],
            true,
        ),
        (
            "a host less, by a block list",
            plain("allowedDomains: ['*.a.example']"),
            plain("allowedDomains: ['*.a.example']\nblockedDomains: [b.a.example]"),
            &["x y: - GET https://b.a.example/"],
            false,
        ),
        (
            "an approval more",
            plain("allowedDomains: [a.example]"),
            rule("action: approval"),
            &["x y: ~ GET https://a.example/"],
            false,
        ),
        (
            "an approval less",
            rule("action: approval"),
            plain("allowedDomains: [a.example]"),
            &["x y: ! GET https://a.example/"],
            true,
        ),
        ("a wider limit", limit(1, "1h"), limit(2, "1h"), &["x y: ! GET https://a.example/"], true),
        ("a shorter window", limit(1, "1h"), limit(1, "1m"), &["x y: ! GET https://a.example/"], true),
        ("a narrower limit", limit(2, "1h"), limit(1, "1h"), &["x y: ~ GET https://a.example/"], false),
        (
            "a block that is only watched",
            rule("action: block"),
            rule("action: block, mode: monitor"),
            &["x y: + GET https://a.example/"],
            true,
        ),
        ("a credential more", plain("allowedDomains: [a.example]"), key(""), &["x y: ! GET https://a.example/"], true),
        (
            "a filter more",
            plain("allowedDomains: [a.example]"),
            filter("path: '/v1/*', excludeFields: [ssn]"),
            &["x y: ~ GET https://a.example/v1/x"],
            false,
        ),
        (
            "a filter less",
            filter("method: POST, excludeFields: [ssn]"),
            plain("allowedDomains: [a.example]"),
            &["x y: ! POST https://a.example/"],
            true,
        ),
        (
            "other fields",
            filter("includeFields: [id]"),
            filter("includeFields: [id, ssn]"),
            &["x y: ! GET https://a.example/"],
            true,
        ),
        (
            "a filter by another name",
            filter("name: a, includeFields: [id]"),
            filter("includeFields: [id]"),
            none,
            false,
        ),
        ("a credential for fewer", key(""), key(", agents: [x]"), &["y: ~ GET https://a.example/"], false),
        (
            "a condition",
            rule("query: {a: b}, action: block"),
            rule("query: {a: c}, action: block"),
            &["x y: + GET https://a.example/?a=b", "x y: - GET https://a.example/?a=c"],
            true,
        ),
        (
            "a protocol more",
            plain("allowedDomains: [a.example]"),
            plain("allowedDomains: [{pattern: a.example, upgrades: [websocket]}]"),
            &["x y: + GET https://a.example/ -H 'connection: upgrade' -H 'upgrade: websocket'"],
            true,
        ),
        (
            "an address more",
            plain("allowedDomains: [10.0.0.1]"),
            plain("allowedDomains: [{pattern: 10.0.0.1, allowPrivate: [10.0.0.0/8]}]"),
            &["x y: + GET https://10.0.0.1/"],
            true,
        ),
        (
            "a range more",
            plain("allowedDomains: [a.example]"),
            plain("allowedDomains: [{pattern: a.example, allowPrivate: [10.0.0.0/8]}]"),
            &["x y: ! GET https://a.example/"],
            true,
        ),
        (
            "a ceiling",
            plain("allowedDomains: [a.example, b.example]"),
            plain("organization: {allowedDomains: [a.example]}\nallowedDomains: [a.example, b.example]"),
            &["x y: - GET https://b.example/"],
            false,
        ),
        (
            "an agent's limit",
            agents("allowedDomains: [a.example]", ", rateLimit: {requests: 1, per: 1s}"),
            agents("allowedDomains: [a.example]", ""),
            &["y: ! GET https://a.example/"],
            true,
        ),
        (
            "somebody who is only watched",
            agents("allowedDomains: [a.example]", ""),
            agents("allowedDomains: [a.example]", ", mode: monitor"),
            &["y: + TRACE https://a.example/", "y: + GET https://a.example:8443/"],
            true,
        ),
        (
            "an agent more",
            "allowedDomains: [a.example]\nagents: {x: {identity: [{sourceAddress: 192.0.2.1}]}}".to_owned(),
            plain("allowedDomains: [a.example]"),
            &["y: + GET https://a.example/"],
            true,
        ),
        (
            "callers without identity",
            plain("allowedDomains: [a.example]"),
            plain("allowedDomains: [a.example]\ndefaultAgent: x"),
            &["-: + GET https://a.example/"],
            true,
        ),
        (
            "no agents any more",
            plain("allowedDomains: [a.example]\ndefaultAgent: x"),
            "allowedDomains: [a.example]".to_owned(),
            &["x y: - GET https://a.example/"],
            false,
        ),
        (
            "an identity more",
            plain("allowedDomains: [a.example]"),
            plain("allowedDomains: [a.example]")
                .replace("[{sourceAddress: 192.0.2.1}]", "[{sourceAddress: 192.0.2.1}, {token: {env: T}}]"),
            &["whoever shows the token in the variable `T` is now `x`"],
            true,
        ),
        (
            "another pod, and fewer",
            by_pods("x: {identity: [{kubernetes: {namespace: [a, b]}}]}"),
            by_pods("x: {identity: [{kubernetes: {namespace: [b, c]}}]}"),
            &["pods with namespace `b` or `c` are now `x`", "pods with namespace `a` or `b` are no longer all `x`"],
            true,
        ),
        (
            "fewer pods",
            by_pods("x: {identity: [{kubernetes: {namespace: [a, b]}}]}"),
            by_pods("x: {identity: [{kubernetes: {namespace: a, serviceAccount: s}}]}"),
            &["pods with namespace `a` or `b` are no longer all `x`"],
            false,
        ),
        (
            "no pods any more",
            by_pods("x: {identity: [{kubernetes: {namespace: a}}, {sourceAddress: 192.0.2.1}]}"),
            by_pods("x: {identity: [{sourceAddress: 192.0.2.1}]}"),
            &[
                "pods with namespace `a` are no longer all `x`",
                "no agent is known by its pod any more: pods of no agent, which were refused, are judged like others",
            ],
            true,
        ),
        (
            "other times",
            rule("action: block"),
            rule("action: block, notBefore: 1960-01-01T00:00:00Z"),
            &["the rule `r` holds at other times than before: compare at those too (`--at`)"],
            false,
        ),
    ] {
        let diff = compared(&old, &new);
        if brief(&diff) != expected || diff.widens() != widens {
            wrong.push(format!("{name}: {:?}, widens {}", brief(&diff), diff.widens()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The plainest request stands for all that the same entries decide.
#[test]
fn what_the_same_entries_decide_is_said_once() {
    let diff =
        compared("allowedDomains: []", "allowedDomains: [{pattern: a.example, httpRestrictions: [{path: '/v1/**'}]}]");
    let [change] = &*diff.callers[0].changes else { panic!("{diff:#?}") };
    assert_eq!(change.request, "GET https://a.example/v1/");
    assert_eq!(change.also.len() + change.more, 1, "{change:?}");
    assert_eq!(change.after.rules[0].place.as_deref(), Some("policy.yaml:1"));
}

/// One line of a policy changed: added, taken away, or put in the place of another.
fn changed(written: &Written, list: usize, place: usize, entry: &Json, pattern: &Json, rule: &Json) -> Written {
    let mut other = written.clone();
    let change = |list: &mut Vec<Json>, new: &Json| match place {
        0 => list.push(new.clone()),
        1 => drop(list.pop()),
        _ => {
            list.pop();
            list.push(new.clone());
        }
    };
    match list {
        0 => change(&mut other.organization_blocked, pattern),
        1 => change(&mut other.blocked, pattern),
        2 => change(&mut other.own_blocked, pattern),
        3 => change(&mut other.allowed, entry),
        4 => change(&mut other.own_allowed, entry),
        5 => change(&mut other.profile_allowed, entry),
        6 => other.ceiling = if place == 0 { None } else { Some(vec![entry.clone()]) },
        7 => change(&mut other.rules, rule),
        8 => change(&mut other.organization_rules, rule),
        _ => other.watched = !other.watched,
    }
    other
}

/// Whether a difference shows in what may go out, and on which terms.
fn terms(verdict: &Verdict) -> (bool, Vec<String>, Vec<String>) {
    let names = |rules: &[crate::pipeline::policy::RuleId]| rules.iter().map(ToString::to_string).collect();
    (verdict.admits(), names(&verdict.limits), names(&verdict.approvals))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever request two policies decide differently, for its agent there is a change of that kind.
    #[test]
    fn no_difference_is_missed(
        written in written(), list in 0usize..10, place in 0usize..3, asks in asks(),
        entry in entry(), pattern in pattern(), rule in rule(),
    ) {
        let other = changed(&written, list, place, &entry, &pattern, &rule);
        let (old, new) = (written.load(), other.load());
        let found = compared(&written.text(), &other.text());
        // Whether an address may be connected to is decided later.
        let asks = asks.iter().filter(|ask| !ask.authority.starts_with("192.0.2.1"));
        for (ask, agent, name) in asks.flat_map(|ask| [(ask, ANN, "ann"), (ask, BOB, "bob")]) {
            let (before, after) = (decide(&old, agent, ask), decide(&new, agent, ask));
            let kind = match (before.admits(), after.admits()) {
                (false, true) => Kind::Allowed,
                (true, false) => Kind::Denied,
                (true, true) if terms(&before) != terms(&after) => Kind::Changed,
                _ => continue,
            };
            let of_agent = found.callers.iter().filter(|c| c.agents.iter().any(|n| n.as_deref() == Some(name)));
            let kinds: Vec<_> = of_agent.flat_map(|c| &c.changes).map(|change| change.kind).collect();
            prop_assert!(kinds.contains(&kind), "{name} {ask:?} {before:?} {after:?}\n{}\n{}", written.text(), other.text());
        }
    }
}
