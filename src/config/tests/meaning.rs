//! What holds whatever a policy says: properties over policies and requests, through the one way that live ones take.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::decisions::{Ask, Verdict, decide, load};
use crate::pipeline::agent::AgentId;
use crate::pipeline::message::{Authority, Door, Host};
use crate::pipeline::policy::matcher::{HostPattern, NamePattern};
use crate::pipeline::policy::{Reason, Ruleset};

/// The agents of every policy here. Bob is only watched in some.
pub const ANN: AgentId = AgentId(0);
pub const BOB: AgentId = AgentId(1);

/// A policy as it will be written, list by list.
#[derive(Debug, Clone)]
pub struct Written {
    pub organization_blocked: Vec<Json>,
    pub ceiling: Option<Vec<Json>>,
    pub organization_rules: Vec<Json>,
    pub allowed: Vec<Json>,
    pub blocked: Vec<Json>,
    pub own_allowed: Vec<Json>,
    pub own_blocked: Vec<Json>,
    pub profile_allowed: Vec<Json>,
    pub rules: Vec<Json>,
    pub credentials: Vec<Json>,
    pub watched: bool,
}

impl Written {
    pub fn text(&self) -> String {
        let mut organization = json!({"blockedDomains": self.organization_blocked});
        organization["rules"] = named(&self.organization_rules);
        if let Some(ceiling) = &self.ceiling {
            organization["allowedDomains"] = consistent(&[ceiling])[0].clone();
        }
        let lists = consistent(&[&self.allowed, &self.own_allowed, &self.profile_allowed]);
        let own = json!({"allowedDomains": lists[1], "blockedDomains": self.own_blocked, "profiles": ["p"]});
        let mut bob = own.clone();
        bob["mode"] = if self.watched { "monitor" } else { "enforce" }.into();
        let policy = json!({
            "organization": organization,
            "allowedDomains": lists[0],
            "blockedDomains": self.blocked,
            "profiles": {"p": {"allowedDomains": lists[2]}},
            "agents": {"ann": own, "bob": bob},
            "rules": named(&self.rules),
            "credentials": self.credentials,
        });
        policy.to_string()
    }

    pub fn load(&self) -> Ruleset {
        let text = self.text();
        load(&text).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
    }
}

/// Entries without those whose restrictions another entry would undo: such policies are errors.
fn consistent(lists: &[&Vec<Json>]) -> Vec<Json> {
    let key = |entry: &Json| {
        let pattern = HostPattern::parse(entry["pattern"].as_str().unwrap()).unwrap();
        (entry["action"] == "allow").then(|| (pattern.name.clone(), pattern.scheme, pattern.permitted_port()))
    };
    let is_open = |entry: &&Json| entry.get("httpRestrictions").is_none();
    let open: HashSet<_> = lists.iter().flat_map(|list| list.iter()).filter(is_open).filter_map(key).collect();
    let fits = |entry: &&Json| is_open(entry) || key(entry).is_none_or(|key| !open.contains(&key));
    lists.iter().map(|list| list.iter().filter(fits).cloned().collect()).collect()
}

/// Rules of which the later ones of a name are left out.
fn named(rules: &[Json]) -> Json {
    let mut seen = HashSet::new();
    rules.iter().filter(|rule| seen.insert(rule["name"].as_str().unwrap())).cloned().collect()
}

fn one_of(choices: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    proptest::sample::select(choices).prop_map(str::to_owned)
}

pub fn pattern() -> impl Strategy<Value = Json> + Clone {
    // Most lines are about one host, or few would have to do with each other.
    let name = one_of(&[
        "a.example",
        "a.example",
        "a.example",
        "a.example",
        "A.Example.",
        "b.a.example",
        "c.b.a.example",
        "d.example",
        "*.a.example",
        "*.example",
        "*",
        "192.0.2.1",
    ]);
    let port = one_of(&["", "", "", "", ":443", ":8443", ":80"]);
    let scheme = one_of(&["", "", "http://"]);
    (scheme, name, port).prop_map(|(scheme, name, port)| format!("{scheme}{name}{port}").into())
}

fn path() -> impl Strategy<Value = Json> + Clone {
    one_of(&["/v1/*", "/v1/items", "/V1/{id}/x", "/**", "/admin", "/v1/*/x", "/v1/it*"]).prop_map(Json::from)
}

fn method() -> impl Strategy<Value = Json> + Clone {
    one_of(&["GET", "POST", "any", "HEAD"]).prop_map(Json::from)
}

pub fn entry() -> impl Strategy<Value = Json> {
    let pairs = proptest::collection::vec((method(), path()), 1..3).prop_map(|pairs| {
        pairs.into_iter().map(|(method, path)| json!({"method": method, "path": path})).collect::<Json>()
    });
    let action = prop_oneof![4 => Just("allow"), 1 => Just("deny")];
    (pattern(), action, proptest::option::of(pairs)).prop_map(|(pattern, action, pairs)| {
        let mut entry = json!({"pattern": pattern, "action": action});
        if let Some(pairs) = pairs {
            entry["httpRestrictions"] = pairs;
        }
        entry
    })
}

pub fn rule() -> impl Strategy<Value = Json> {
    let action = prop_oneof![
        1 => Just(json!("block")),
        1 => Just(json!("monitor")),
        1 => Just(json!("approval")),
        1 => Just(json!({"rateLimit": {"requests": 1, "per": "1s"}})),
    ];
    let name = one_of(&["r1", "r2", "r3", "r4", "r5", "r6"]);
    let mode = prop_oneof![2 => Just("enforce"), 1 => Just("monitor")];
    let more = (proptest::option::of(path()), proptest::bool::weighted(0.2), proptest::bool::weighted(0.2));
    (name, pattern(), method(), action, mode, more).prop_map(
        |(name, host, method, action, mode, (path, query, anns))| {
            let mut rule = json!({"name": name, "host": host, "method": method, "action": action, "mode": mode});
            if let Some(path) = path {
                rule["path"] = path;
            }
            if query {
                rule["query"] = json!({"a": "1"});
            }
            if anns {
                rule["agents"] = json!(["ann"]);
            }
            rule
        },
    )
}

fn credential() -> impl Strategy<Value = Json> {
    let domain = one_of(&["a.example", "a.example", "*.a.example", "a.example:8443", "*.example"]);
    let endpoints = proptest::option::weighted(0.5, method());
    (domain, one_of(&["k1", "k2"]), endpoints).prop_map(|(domain, name, method)| {
        let mut credential = json!({
            "name": format!("{name}-{}", domain.replace(['*', ':'], "x")),
            "envVarKey": "K",
            "injections": [{"domain": domain, "queryParam": name}],
        });
        if let Some(method) = method {
            credential["endpoints"] = json!([{"methods": [method], "paths": ["/v1/*"]}]);
        }
        credential
    })
}

pub fn written() -> impl Strategy<Value = Written> {
    let some = |least, most| proptest::collection::vec(entry(), least..most);
    // Mostly none, or little would be admitted at all.
    let hosts = |most| prop_oneof![3 => Just(Vec::new()), 1 => proptest::collection::vec(pattern(), 1..=most)];
    let rules = |most| proptest::collection::vec(rule(), 0..=most);
    let ceiling = proptest::option::weighted(0.25, some(0, 6));
    let credentials = proptest::collection::vec(credential(), 0..4).prop_map(|all| {
        let mut seen = HashSet::new();
        all.into_iter().filter(|one| seen.insert(one["name"].to_string())).collect::<Vec<_>>()
    });
    let lists = (hosts(2), ceiling, rules(2), some(0, 6), hosts(2), some(0, 4), hosts(2), some(0, 3), rules(4));
    (lists, credentials, any::<bool>()).prop_map(|(lists, credentials, watched)| {
        let (
            organization_blocked,
            ceiling,
            organization_rules,
            allowed,
            blocked,
            own_allowed,
            own_blocked,
            profile_allowed,
            rules,
        ) = lists;
        Written {
            organization_blocked,
            ceiling,
            organization_rules,
            allowed,
            blocked,
            own_allowed,
            own_blocked,
            profile_allowed,
            rules,
            credentials,
            watched,
        }
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    let door = prop_oneof![2 => Just(Door::Tls), 1 => Just(Door::Proxy), 1 => Just(Door::Plain)];
    let host = one_of(&[
        "a.example",
        "a.example",
        "a.example",
        "b.a.example",
        "c.b.a.example",
        "d.example",
        "x.example",
        "192.0.2.1",
    ]);
    let port = one_of(&["", "", "", ":443", ":8443", ":80"]);
    let path = one_of(&["/v1/items", "/v1/x", "/v1/x/x", "/admin", "/other", "/", "/v1/ITEMS", "/v1/items/"]);
    let query = one_of(&["", "", "?a=1", "?a=2"]);
    let method = one_of(&["GET", "GET", "POST", "HEAD", "DELETE", "TRACE"]);
    (door, host, port, path, query, method).prop_map(|(door, host, port, path, query, method)| {
        Ask::new(door, &method, &format!("{host}{port}{path}{query}"))
    })
}

/// Ten requests for each policy: most of the cost is that of the policy.
pub fn asks() -> impl Strategy<Value = Vec<Ask>> {
    proptest::collection::vec(ask(), 10)
}

/// Whether a verdict lets nothing pass, and takes no obligation away, that another did not.
fn is_no_wider(after: &Verdict, before: &Verdict) -> bool {
    let keeps =
        |after: &[crate::pipeline::policy::RuleId], before: &[_]| before.iter().all(|rule| after.contains(rule));
    !after.admits()
        || (before.admits()
            && after.way == before.way
            && keeps(&after.limits, &before.limits)
            && keeps(&after.approvals, &before.approvals)
            && after.credentials.iter().all(|name| before.credentials.contains(name)))
}

/// One more line that refuses, in any of the places where one can stand.
fn refuse_more(written: &mut Written, place: usize, pattern: &Json, entry: &Json, rule: &Json) {
    let mut denying = entry.clone();
    denying["action"] = "deny".into();
    let mut blocking = rule.clone();
    (blocking["name"], blocking["action"]) = ("more".into(), "block".into());
    match place {
        0 => written.organization_blocked.push(pattern.clone()),
        1 => written.blocked.push(pattern.clone()),
        2 => written.own_blocked.push(pattern.clone()),
        3 => written.allowed.push(denying),
        4 => written.own_allowed.push(denying),
        5 => written.profile_allowed.push(denying),
        6 => written.ceiling.iter_mut().for_each(|ceiling| ceiling.push(denying.clone())),
        7 => written.rules.push(blocking),
        8 => written.organization_rules.push(blocking),
        9 => written.ceiling = Some(written.ceiling.as_ref().map_or_else(|| vec![entry.clone()], |_| Vec::new())),
        // It refuses nothing, and must not let pass what something else refuses.
        10 => written.rules.push(json!({"name": "more", "host": "*", "action": "block", "mode": "monitor"})),
        _ => {
            let mut asking = rule.clone();
            asking["name"] = "more".into();
            written.rules.push(asking);
        }
    }
}

/// Spellings that some server takes for the same request, or that it cannot tell from it.
fn spellings(ask: &Ask) -> Vec<Ask> {
    let (path, query) = ask.target.split_once('?').map_or((&*ask.target, None), |(path, query)| (path, Some(query)));
    let with_query = |path: &str| query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let escaped: String =
        path.chars().map(|c| if c.is_ascii_alphabetic() { format!("%{:02x}", c as u8) } else { c.into() }).collect();
    let paths = [
        path.to_ascii_uppercase(),
        path.to_ascii_lowercase(),
        format!("{}/", path.trim_end_matches('/')),
        format!("{path};x=1"),
        format!("{path}%20"),
        format!("{path}%2520"),
        escaped.clone(),
        escaped.replace('%', "%25"),
        path.replacen('/', "/;x/", 1),
    ];
    let mut all: Vec<_> = paths.iter().map(|path| Ask { target: with_query(path), ..ask.clone() }).collect();
    let queries = query.map(|query| {
        [format!("a=9&{query}"), query.replace('a', "%61"), query.replace('a', "A"), format!("{query}&a=9")]
    });
    all.extend(queries.into_iter().flatten().map(|query| Ask { target: format!("{path}?{query}"), ..ask.clone() }));
    let (host, port) =
        ask.authority.split_once(':').map_or((&*ask.authority, String::new()), |(h, p)| (h, format!(":{p}")));
    all.push(Ask { authority: ask.authority.to_ascii_uppercase(), ..ask.clone() });
    all.push(Ask { authority: format!("{host}.{port}"), ..ask.clone() });
    all.push(Ask { method: ask.method.to_ascii_lowercase(), ..ask.clone() });
    if ask.method == "GET" {
        all.push(Ask { method: "HEAD".into(), ..ask.clone() });
    }
    all
}

/// Whether a list of host patterns covers a host, by another reading than the policy's own: as text.
fn covers(pattern: &Json, host: &Host, and_below: bool) -> bool {
    let pattern = HostPattern::parse(pattern.as_str().unwrap()).unwrap();
    let host_text = host.to_string();
    match &pattern.name {
        NamePattern::Any => matches!(host, Host::Name(_)),
        NamePattern::Below(parent) => matches!(host, Host::Name(_)) && host_text.ends_with(&format!(".{parent}")),
        NamePattern::Exact(Host::Name(name)) if and_below => {
            *host_text == **name || host_text.ends_with(&format!(".{name}"))
        }
        NamePattern::Exact(name) => name == host,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn one_more_refusal_never_admits_more(
        written in written(), asks in asks(), place in 0usize..12, pattern in pattern(), entry in entry(), rule in rule(),
    ) {
        let before = written.load();
        let mut more = written.clone();
        refuse_more(&mut more, place, &pattern, &entry, &rule);
        let after = more.load();
        for ask in &asks {
            for agent in [ANN, BOB] {
                let (before, after) = (decide(&before, agent, ask), decide(&after, agent, ask));
                prop_assert!(is_no_wider(&after, &before), "{ask:?}: {before:?}, then {after:?}\n{}\n{}", written.text(), more.text());
            }
        }
    }

    #[test]
    fn the_order_of_lines_means_nothing(written in written(), asks in asks(), seed in any::<u64>()) {
        let rules = written.load();
        let mut turned = Written { rules: named(&written.rules).as_array().unwrap().clone(), ..written.clone() };
        turned.organization_rules = named(&written.organization_rules).as_array().unwrap().clone();
        let Written { organization_blocked, organization_rules, allowed, blocked, own_allowed, own_blocked, profile_allowed, rules: listed, credentials, ceiling, .. } = &mut turned;
        for list in [organization_blocked, organization_rules, allowed, blocked, own_allowed, own_blocked, profile_allowed, listed, credentials]
            .into_iter().chain(ceiling)
        {
            if !list.is_empty() {
                let by = seed as usize % list.len();
                list.rotate_left(by);
            }
            if seed % 3 == 0 {
                list.reverse();
            }
        }
        let turned = turned.load();
        for ask in &asks {
            for agent in [ANN, BOB] {
                prop_assert_eq!(decide(&rules, agent, ask), decide(&turned, agent, ask), "{:?}\n{}", ask, written.text());
            }
        }
    }

    #[test]
    fn every_spelling_of_a_blocked_request_is_blocked(written in written(), asks in asks()) {
        let rules = written.load();
        for ask in &asks {
            let Err((reason, rule)) = decide(&rules, ANN, ask).way else { continue };
            // What nothing permits is not what something blocks: another spelling may be what is permitted.
            let by_entry = rule.as_deref().is_some_and(|rule| !rule.starts_with("organization.allowedDomains"));
            let denied = written.allowed.iter().chain(&written.own_allowed).chain(&written.profile_allowed).any(|e| e["action"] == "deny");
            let blocks = matches!(reason, Reason::RuleBlocked | Reason::DomainBlocked) || (reason == Reason::RouteNotAllowed && by_entry && denied);
            if !blocks || (reason == Reason::RouteNotAllowed && is_merely_unlisted(&written, ask)) {
                continue;
            }
            for spelled in spellings(ask) {
                let verdict = decide(&rules, ANN, &spelled);
                prop_assert!(!verdict.admits(), "{ask:?} is blocked, {spelled:?} is not: {verdict:?}\n{}", written.text());
            }
        }
    }

    #[test]
    fn what_is_admitted_lies_within_the_organization_and_can_be_reached(written in written(), asks in asks()) {
        let rules = written.load();
        for ask in &asks {
            for agent in [ANN, BOB] {
                let verdict = decide(&rules, agent, ask);
                let Ok(way) = &verdict.way else { continue };
                let Authority { host, port } = ask.head().unwrap().authority;
                let (scheme, out) = way.split_once(':').unwrap();
                let out: u16 = out.parse().unwrap();
                for pattern in &written.organization_blocked {
                    let of = HostPattern::parse(pattern.as_str().unwrap()).unwrap().port;
                    let same_port = of.is_none_or(|of| of == out || Some(of) == port);
                    prop_assert!(!(covers(pattern, &host, true) && same_port), "{ask:?} {verdict:?}\n{}", written.text());
                }
                if let Some(ceiling) = &written.ceiling {
                    let opens = |entry: &&Json| {
                        let pattern = HostPattern::parse(entry["pattern"].as_str().unwrap()).unwrap();
                        entry["action"] == "allow" && covers(&entry["pattern"], &host, false)
                            && pattern.scheme.as_str() == scheme && pattern.permitted_port() == out
                    };
                    prop_assert!(ceiling.iter().any(|entry| opens(&entry)), "{ask:?} {verdict:?}\n{}", written.text());
                }
                // The port is the agent's own, but that plain HTTP to 80 may leave by TLS to 443.
                let asked = port.unwrap_or(if ask.door == Door::Tls { 443 } else { 80 });
                prop_assert!(out == asked || (asked == 80 && out == 443 && scheme == "https" && ask.door != Door::Tls));
                prop_assert!(ask.door != Door::Tls || scheme == "https");
                prop_assert!(verdict.would.is_none() || verdict.credentials.is_empty());
                prop_assert!(agent == BOB && written.watched || !verdict.entries.is_empty());
                let tunnel = rules.decide_tunnel(std::iter::once(agent), &host, asked);
                prop_assert!(tunnel.is_ok(), "{tunnel:?} {ask:?} {verdict:?}\n{}", written.text());
                // Who is only watched may speak TLS to ports that no line names: those get no certificate of their own.
                let unnamed = verdict.would.is_some() && out != 443;
                prop_assert!(ask.door != Door::Tls || rules.may_intercept(&host) || unnamed, "{ask:?}\n{}", written.text());
            }
        }
    }
}

/// Whether a request would be refused for its route even if no entry denied anything.
fn is_merely_unlisted(written: &Written, ask: &Ask) -> bool {
    let mut milder = written.clone();
    for list in [&mut milder.allowed, &mut milder.own_allowed, &mut milder.profile_allowed] {
        list.retain(|entry| entry["action"] != "deny");
    }
    !decide(&milder.load(), ANN, ask).admits()
}
