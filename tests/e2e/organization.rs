//! Nothing in a policy widens what its organization leaves: no list, no wildcard, no other way in, no mode.

use std::path::Path;

use ::attache::control;
use tempfile::TempDir;

use crate::support::attache::Setup;
use crate::support::{Ask, Attache, PROTOCOLS, Place, Protocol, Upstream, Way, every_way, until};

/// The policy below tries everything to get further than the bounds above it.
const POLICY: &str = r#"
organization:
  blockedDomains: [pastebin.example, "evil.test:8443"]
  allowedDomains:
    - "*.example"
    - {pattern: narrow.example, httpRestrictions: [{method: GET, path: "/v1/**"}]}
    - "ports.example:8443"
    - evil.test
  rules:
    - {name: No deletes, host: "*.example", method: DELETE, action: block}
    - {name: Not now, host: api.example, path: /never, action: block}
    - {name: Cap, host: api.example, path: /cap, action: {rateLimit: {requests: 1, per: hour}}}
dlp: {profiles: {default: {webSockets: allow}}}
allowedDomains:
  - "*"
  - pastebin.example
  - "http://pastebin.example"
  - "pastebin.example:8443"
  - {pattern: api.pastebin.example, upgrades: [websocket]}
  - {pattern: outside.test, upgrades: [websocket]}
  - "http://outside.test"
  - narrow.example
  - ports.example
  - "http://plain.example"
  - evil.test
  - "evil.test:8443"
profiles:
  wide: {allowedDomains: [pastebin.example, outside.test, narrow.example]}
agents:
  plain: {identity: [{header: {name: X-Agent, value: plain, trusted: true}}]}
  wide:
    identity: [{header: {name: X-Agent, value: wide, trusted: true}}]
    profiles: [wide]
    allowedDomains: [pastebin.example, outside.test, "http://outside.test", {pattern: api.example, upgrades: [websocket]}]
  watched:
    identity: [{header: {name: X-Agent, value: watched, trusted: true}}]
    mode: monitor
rules:
  - {name: Let them, host: "*", action: monitor}
"#;

const HOSTS: [&str; 10] = [
    "api.example",
    "deep.api.example",
    "narrow.example",
    "ports.example",
    "plain.example",
    "pastebin.example",
    "api.pastebin.example",
    "outside.test",
    "evil.test",
    "xexample.test",
];

#[tokio::test]
async fn nothing_below_the_organization_widens_it() {
    let place = Place::new(POLICY, HOSTS).await;
    let blocked = "403 domain_blocked organization.blockedDomains[pastebin.example]";
    let evil = "403 domain_blocked organization.blockedDomains[evil.test:8443]";
    let outside = "403 outside_organization organization.allowedDomains";
    let narrow = "403 outside_organization organization.allowedDomains[narrow.example]";
    let deletes = "403 rule_blocked organization.rules[No deletes]";
    let mut reached = 0;
    for protocol in PROTOCOLS {
        for agent in ["plain", "wide", "watched"] {
            for (method, target, expected) in [
                ("GET", "api.example/", "200"),
                ("GET", "deep.api.example/", "200"),
                ("GET", "narrow.example/v1/x", "200"),
                ("GET", "pastebin.example/", blocked),
                ("POST", "api.pastebin.example/api", blocked),
                ("GET", "PASTEBIN.Example./", blocked),
                ("GET", "outside.test/", outside),
                ("GET", "xexample.test/", outside),
                ("GET", "narrow.example/v2", narrow),
                ("POST", "narrow.example/v1/x", narrow),
                ("HEAD", "narrow.example/v1/x", "403"),
                ("DELETE", "api.example/x", deletes),
                ("DELETE", "deep.api.example/x", deletes),
                ("GET", "api.example/never", "403 rule_blocked organization.rules[Not now]"),
                ("GET", "api.example/NEVER/", "403 rule_blocked organization.rules[Not now]"),
            ] {
                for ask in every_way(protocol, method, target) {
                    let outcome = place.send(ask.header("x-agent", agent)).await;
                    let found = outcome.to_string();
                    let found = found.trim_start_matches("CONNECT ");
                    assert_eq!(found, expected, "{agent} {protocol:?} {method} {target}: {outcome:?}");
                    reached += usize::from(expected == "200");
                }
            }
            // A way in plaintext that the bounds do not have is none, whichever way the host has beside it.
            for ask in every_way(protocol, "GET", "plain.example/") {
                let outcome = place.send(ask.header("x-agent", agent)).await;
                reached += usize::from(outcome.seen.is_some());
            }
            // Other ports: what a ceiling names is the port it names, what a block list names is every port.
            let port =
                |host: &str, port| Ask::get(protocol, &format!("https://{host}:{port}/")).header("x-agent", agent);
            for (ask, expected) in [
                (port("pastebin.example", 8443), blocked),
                (port("ports.example", 8443), if agent == "watched" { "200" } else { "403 domain_not_allowed" }),
                (port("evil.test", 8443), evil),
                (port("api.example", 8443), outside),
            ] {
                let found = place.send(ask).await.to_string();
                reached += usize::from(expected == "200");
                assert_eq!(found.trim_start_matches("CONNECT "), expected, "{agent} {protocol:?}");
            }
            // What no list may open with an upgrade either.
            for host in ["outside.test", "api.pastebin.example"] {
                let ask = Ask::get(Protocol::Http1, &format!("https://{host}/ws"))
                    .header("x-agent", agent)
                    .header("upgrade", "websocket")
                    .header("connection", "upgrade")
                    .header("sec-websocket-version", "13")
                    .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
                let found = place.send(ask.clone()).await.reply.status;
                assert_eq!(found, 403, "{agent} {host}");
                let plain = place.send(ask.by(Way::PlainTunnel)).await.reply.status;
                assert_eq!(plain, 403, "{agent} {host}");
            }
        }
    }
    assert_eq!(place.arrived().len(), reached);
    assert!(place.plain.connections().is_empty(), "something left in plaintext");
}

/// A limit of the organization is each agent's, and one that is only watched is held to it as well.
#[tokio::test]
async fn a_limit_of_the_organization_holds_for_everybody() {
    let place = Place::new(POLICY, HOSTS).await;
    for agent in ["plain", "wide", "watched"] {
        let cap = |protocol| Ask::get(protocol, "https://api.example/cap").header("x-agent", agent);
        let limited = "429 rate_limited organization.rules[Cap]";
        place
            .check([(cap(Protocol::Http1), "200"), (cap(Protocol::Http2), limited), (cap(Protocol::Http1), limited)])
            .await;
    }
}

#[tokio::test]
async fn an_empty_ceiling_is_nothing_and_none_is_no_ceiling() {
    for (bounds, expected) in [
        ("organization: {allowedDomains: []}", "CONNECT 403 outside_organization organization.allowedDomains"),
        ("organization: {blockedDomains: [other.example]}", "200"),
    ] {
        let place = Place::new(&format!("{bounds}\nallowedDomains: [api.example]"), ["api.example"]).await;
        for protocol in PROTOCOLS {
            place.check([(Ask::get(protocol, "https://api.example/"), expected)]).await;
        }
    }
}

const BELOW: &str = "allowedDomains: [one.example, two.example, three.example]";

/// Bounds in a file of their own, in another folder than the policy, as from a mount of its own.
struct Mounted {
    folder: TempDir,
}

impl Mounted {
    fn new(bounds: &str) -> Mounted {
        let mounted = Mounted { folder: tempfile::tempdir().unwrap() };
        mounted.write(bounds);
        mounted
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("organization.yaml")
    }

    /// All at once, as editors do.
    fn write(&self, bounds: &str) {
        let draft = self.folder.path().join("draft");
        std::fs::write(&draft, bounds).unwrap();
        std::fs::rename(draft, self.file()).unwrap();
    }
}

fn within(policy: &str, bounds: &Path) -> Setup {
    Attache::up(policy).flags(["--organization".as_ref(), bounds.as_os_str()])
}

const ONE: &str = "organization: {blockedDomains: [one.example]}\n";
const TWO: &str = "organization: {blockedDomains: [two.example]}\n";

#[tokio::test]
async fn a_file_of_its_own_is_loaded_again_and_a_broken_one_changes_nothing() {
    let upstream = Upstream::https(["*.example"]).await;
    let bounds = Mounted::new(ONE);
    let mut setup = within(BELOW, &bounds.file());
    for host in ["one.example", "two.example", "three.example"] {
        setup = setup.resolve(host, &upstream);
    }
    let attache = setup.start().await;
    let blocked = async || {
        let mut blocked = Vec::new();
        for name in ["one", "two", "three"] {
            let answer = attache.curl([format!("http://{name}.example/")]).await;
            if answer.status == 403 {
                assert_eq!(answer.json()["reason"], "domain_blocked");
                blocked.push(name);
            }
        }
        blocked
    };
    assert_eq!(blocked().await, ["one"]);

    bounds.write(TWO);
    until("the next bounds", async || (blocked().await == ["two"]).then_some(())).await;
    let revision = attache.revision().await;

    for (case, broken, word) in [
        ("a key that is none", "organization: {blockedDomain: [one.example]}\n", "did you mean"),
        ("not YAML", "organization: [", "organization.yaml"),
        ("empty", "", "empty"),
        ("without the key", "version: 1\n", "has no `organization`"),
        (
            "another key",
            "organization: {}\nallowedDomains: [four.example]\n",
            "has no place in the organization's file",
        ),
    ] {
        bounds.write(broken);
        let status = until(case, async || {
            let status = control::status(&attache.socket()).await.unwrap();
            status.reload_error.contains(word).then_some(status)
        });
        let status = status.await;
        assert_eq!((status.ready, &status.policy_revision), (true, &revision), "{case}");
        attache.wait_stderr(word).await;
        assert_eq!(blocked().await, ["two"], "{case}");
    }
    std::fs::remove_file(bounds.file()).unwrap();
    until("the loss of the file", async || {
        let status = control::status(&attache.socket()).await.unwrap();
        status.reload_error.contains("No such file").then_some(())
    })
    .await;
    attache.wait_stderr("the one before it stays in force").await;
    assert_eq!(blocked().await, ["two"], "deleting the bounds must not lift them");
    // Nor does a new policy below them, while they are gone.
    attache.replace_policy("allowedDomains: [one.example, two.example, three.example, four.example]");
    let said = async || control::status(&attache.socket()).await.unwrap();
    until("another attempt", async || said().await.reload_error.contains("No such file").then_some(())).await;
    assert_eq!(blocked().await, ["two"]);

    bounds.write(ONE);
    until("the bounds again", async || (blocked().await == ["one"]).then_some(())).await;
    assert_eq!(said().await.reload_error, "");
}

#[tokio::test]
async fn bounds_that_are_wrong_or_elsewhere_do_not_start() {
    let good = Mounted::new(ONE);
    for (case, policy, bounds, word) in [
        ("a broken file", BELOW, "organization: {blockedDomain: [x.example]}\n", "did you mean"),
        ("an empty file", BELOW, "", "empty"),
        ("a file without bounds", BELOW, "version: 1\n", "has no `organization`"),
        ("a key of the policy in it", BELOW, "organization: {}\nblockedDomains: [x.example]\n", "has no place"),
        ("the key in the policy too", "organization: {}\nallowedDomains: [one.example]\n", ONE, "counts nowhere else"),
        ("an empty policy", "", ONE, "empty"),
    ] {
        let bounds = Mounted::new(bounds);
        let output = within(policy, &bounds.file()).refused().await;
        assert_eq!(output.exit, 2, "{case}: {output:?}");
        assert!(output.stderr.contains(word), "{case}: {output:?}");
    }
    let output = within(BELOW, Path::new("/nowhere/organization.yaml")).refused().await;
    assert_eq!(output.exit, 2, "a file that is not there: {output:?}");
    assert!(output.stderr.contains("/nowhere/organization.yaml"), "{output:?}");
    // The same with a good one.
    let upstream = Upstream::https(["one.example"]).await;
    let attache = within(BELOW, &good.file()).resolve("one.example", &upstream).start().await;
    assert_eq!(attache.curl(["http://one.example/"]).await.json()["reason"], "domain_blocked");
}
