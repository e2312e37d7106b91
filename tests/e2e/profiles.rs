//! Lists add up: the file's, the profiles', the agent's. What any of them blocks is blocked, and no agent becomes
//! another by saying so.

use serde_json::Value;

use crate::support::{Ask, PROTOCOLS, Place, Protocol, Stage, every_way, script};

const POLICY: &str = r#"
allowedDomains:
  - shared.example
  - pastebin.example
  - common-blocked.example
  - {pattern: routes.example, httpRestrictions: [{method: GET, path: /common}]}
blockedDomains: [pastebin.example]
profiles:
  packages: {allowedDomains: [packages.example, "*.artifacts.example"], blockedDomains: [bad.artifacts.example]}
  papers: {allowedDomains: [arxiv.example, {pattern: routes.example, httpRestrictions: [{method: GET, path: /papers}]}]}
  careful: {blockedDomains: [common-blocked.example]}
  empty: {}
agents:
  researcher:
    identity: [{header: {name: X-Agent, value: researcher, trusted: true}}]
    profiles: [papers, packages]
    allowedDomains: [scholar.example, {pattern: routes.example, httpRestrictions: [{method: GET, path: /own}]}]
    blockedDomains: [raw.example]
    rateLimit: {requests: 100, per: 60s}
  coder:
    identity: [{header: {name: X-Agent, value: coder, trusted: true}}]
    profiles: [packages, careful]
    allowedDomains: [git.example, raw.example, pastebin.example, api.pastebin.example, bad.artifacts.example]
  bare:
    identity: [{header: {name: X-Agent, value: bare, trusted: true}}]
    profiles: [empty]
"#;

const HOSTS: [&str; 13] = [
    "shared.example",
    "pastebin.example",
    "api.pastebin.example",
    "common-blocked.example",
    "routes.example",
    "packages.example",
    "a.artifacts.example",
    "bad.artifacts.example",
    "arxiv.example",
    "scholar.example",
    "git.example",
    "raw.example",
    "unlisted.example",
];

#[tokio::test]
async fn lists_of_file_profiles_and_agent_add_up_and_block_lists_always_win() {
    let place = Place::new(POLICY, HOSTS).await;
    let (no, passes) = ("403 domain_not_allowed", "200");
    let paste = "403 domain_blocked blockedDomains[pastebin.example]";
    let route = "403 route_not_allowed allowedDomains[routes.example]";
    // What the researcher, the coder and the bare one get.
    for (target, expected) in [
        ("shared.example/", [passes, passes, passes]),
        ("packages.example/", [passes, passes, no]),
        ("a.artifacts.example/", [passes, passes, no]),
        ("arxiv.example/", [passes, no, no]),
        ("scholar.example/", [passes, no, no]),
        ("git.example/", [no, passes, no]),
        // What one blocks for itself, another may have.
        ("raw.example/", ["403 domain_blocked agents.researcher.blockedDomains[raw.example]", passes, no]),
        // The file's block list wins over an agent's own allow list, and is about what is below it too.
        ("pastebin.example/", [paste, paste, paste]),
        ("api.pastebin.example/", [paste, paste, paste]),
        // So does a profile's.
        (
            "bad.artifacts.example/",
            [
                "403 domain_blocked profiles.packages.blockedDomains[bad.artifacts.example]",
                "403 domain_blocked profiles.packages.blockedDomains[bad.artifacts.example]",
                no,
            ],
        ),
        (
            "common-blocked.example/",
            [passes, "403 domain_blocked profiles.careful.blockedDomains[common-blocked.example]", passes],
        ),
        // Entries of one pattern add up.
        ("routes.example/common", [passes, passes, passes]),
        ("routes.example/papers", [passes, route, route]),
        ("routes.example/own", [passes, route, route]),
        ("routes.example/other", ["", route, route]),
        ("unlisted.example/", [no, no, no]),
    ] {
        for (agent, expected) in ["researcher", "coder", "bare"].into_iter().zip(expected) {
            for ask in PROTOCOLS.into_iter().flat_map(|protocol| every_way(protocol, "GET", target)) {
                let outcome = place.send(ask.header("x-agent", agent).connect_header("X-Agent", agent)).await;
                let found = outcome.to_string();
                let found = found.trim_start_matches("CONNECT ");
                match expected {
                    "" => assert!(found.starts_with("403 route_not_allowed "), "{agent} {target}: {found}"),
                    expected => assert_eq!(found, expected, "{agent} {target}: {outcome:?}"),
                }
                if let Some(seen) = outcome.seen {
                    assert_eq!(seen.header("x-agent"), None, "{agent} {target}: the upstream learns who asks");
                }
            }
        }
    }
}

/// As one who was told no comes back under another name, in one connection and in the next.
#[tokio::test]
async fn an_agent_cannot_switch_to_another() {
    let (ann, bob) = ("ann-token-0123456789", "bob-token-0123456789");
    let policy = r#"
allowedDomains: []
agents:
  ann: {identity: [{token: {env: ANN}}], allowedDomains: [ann.example]}
  bob: {identity: [{token: {env: BOB}}, {header: {name: X-Bob, value: "yes", trusted: false}}], allowedDomains: [bob.example]}
"#;
    let place =
        Place::with(policy, ["ann.example", "bob.example"], |setup| setup.env("ANN", ann).env("BOB", bob)).await;
    let bearer = |token: &str| format!("Bearer {token}");
    for protocol in PROTOCOLS {
        let ask = |host: &str| {
            Ask::get(protocol, &format!("https://{host}/")).connect_header("Proxy-Authorization", &bearer(ann))
        };
        for (name, ask, stage, status) in [
            ("itself", ask("ann.example"), Stage::Request, 200),
            ("the other's host", ask("bob.example"), Stage::Connect, 403),
            ("with a header nobody trusts", ask("ann.example").header("x-bob", "yes"), Stage::Request, 200),
            ("the other's host, with that", ask("bob.example").connect_header("X-Bob", "yes"), Stage::Connect, 403),
            ("two tokens", ask("bob.example").connect_header("Authorization", &bearer(bob)), Stage::Connect, 407),
            ("another inside", ask("ann.example").header("authorization", bearer(bob)), Stage::Request, 401),
            ("a header that names an agent", ask("ann.example").header("x-attache-agent", "bob"), Stage::Request, 200),
        ] {
            let outcome = place.send(ask).await;
            assert_eq!((outcome.reply.stage, outcome.reply.status), (stage, status), "{name}: {outcome:?}");
            if let Some(seen) = outcome.seen {
                assert_eq!(outcome.record["agent"], "ann", "{name}");
                let told = ["x-bob", "x-attache-agent", "proxy-authorization", "authorization"];
                assert!(told.iter().all(|header| seen.header(header).is_none()), "{name}: {seen:?}");
            }
        }
    }
}

/// A client that knows the proxy from its environment alone, and says who it is with a header.
#[tokio::test]
async fn the_header_that_names_an_agent_works_with_proxy_variables_and_never_leaves() {
    let place = Place::new(POLICY, HOSTS).await;
    let proxy = format!("http://{}", place.attache.proxy());
    let bundle = place.attache.ready().bundle.to_str().unwrap();
    let agent = "
import requests
for scheme in ['https', 'http']:
    for host in ['scholar.example', 'git.example', 'unlisted.example', 'pastebin.example']:
        try:
            answer = requests.get(f'{scheme}://{host}/search', headers={'X-Agent': 'researcher'})
            print(answer.status_code, answer.json().get('reason'))
        except requests.exceptions.ProxyError as error:
            print('no tunnel', '403' in str(error))
";
    let variables = [("HTTPS_PROXY", &*proxy), ("HTTP_PROXY", &*proxy), ("REQUESTS_CA_BUNDLE", bundle)];
    let output = script::run(script::python(agent), &variables).await;
    let tunnel = "200 None\n403 domain_not_allowed\nno tunnel True\nno tunnel True\n";
    let plain = "200 None\n403 domain_not_allowed\n403 domain_not_allowed\n403 domain_blocked\n";
    assert_eq!(output.stdout, format!("{tunnel}{plain}"), "{output:?}");
    let arrived = place.arrived();
    assert_eq!(arrived.len(), 2);
    assert!(arrived.iter().all(|seen| seen.header("x-agent").is_none() && seen.sni.is_some()), "{arrived:?}");
}

/// `logs --agent … --status blocked` is what an operator looks at after an incident.
#[tokio::test]
async fn what_an_agent_was_refused_is_found_with_the_reason() {
    let place = Place::new(POLICY, HOSTS).await;
    for (agent, url) in [
        ("researcher", "http://pastebin.example/api"),
        ("researcher", "http://unlisted.example/?key=s3cret"),
        ("researcher", "http://arxiv.example/"),
        ("coder", "http://unlisted.example/"),
    ] {
        place.send(Ask::get(Protocol::Http1, url).header("x-agent", agent)).await;
    }
    let found = place.attache.logs(&["--agent", "researcher", "--status", "blocked"]).await;
    let shown: Vec<[&Value; 5]> =
        found.iter().map(|r| [&r["agent"], &r["host"], &r["path"], &r["query"], &r["reason"]]).collect();
    let text = |text: &str| Value::from(text);
    assert_eq!(
        shown,
        [
            [&text("researcher"), &text("pastebin.example"), &text("/api"), &Value::Null, &text("domain_blocked")],
            [&text("researcher"), &text("unlisted.example"), &text("/"), &text("key=***"), &text("domain_not_allowed")],
        ]
    );
}

#[tokio::test]
async fn a_profile_that_changes_changes_every_agent_that_has_it() {
    let place = Place::new(POLICY, HOSTS).await;
    let ask = |agent: &str| Ask::get(Protocol::Http2, "https://packages.example/").header("x-agent", agent);
    place.check([(ask("researcher"), "200"), (ask("coder"), "200")]).await;
    place.attache.reload(&POLICY.replace("packages.example, ", "")).await;
    let none = "CONNECT 403 domain_not_allowed";
    place.check([(ask("researcher"), none), (ask("coder"), none)]).await;
    place.attache.reload(&POLICY.replace("profiles: [papers, packages]", "profiles: [papers]")).await;
    place.check([(ask("researcher"), "403 domain_not_allowed"), (ask("coder"), "200")]).await;
}
