//! What a rule says happens, to the requests it is about and to no other, whatever else matches and in whatever order.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Ask, Attache, PROTOCOLS, Place, Protocol, Upstream, Vault, every_way, free_address, script};

/// The documented rules, and two agents known by a header that the hop before the proxy sets.
const DOCUMENTED: &str = r#"
allowedDomains: [gmail.googleapis.com, slack.com, api.github.com]
agents:
  research-agent: {identity: [{header: {name: X-Agent, value: research-agent, trusted: true}}]}
  other: {identity: [{header: {name: X-Agent, value: other, trusted: true}}]}
rules:
  - name: Block Gmail deletes
    host: gmail.googleapis.com
    path: /gmail/v1/users/*/messages/*
    method: DELETE
    agents: all
    action: block
  - name: Slack cap
    host: slack.com
    path: /api/chat.postMessage
    method: POST
    action: {rateLimit: {requests: 10, per: hour}}
  - name: Keep research off GitHub
    host: api.github.com
    agents: [research-agent]
    action: block
credentials:
  - {name: mail, envVarKey: MAIL, injections: [{domain: gmail.googleapis.com, headerName: Authorization, headerFormat: "Bearer {value}"}]}
"#;

#[tokio::test]
async fn the_documented_rules_work_as_they_stand() {
    let hosts = ["gmail.googleapis.com", "slack.com", "api.github.com"];
    let place = Place::with(DOCUMENTED, hosts, |setup| setup.env("MAIL", "mail-s3cret")).await;
    let mail = "gmail.googleapis.com/gmail/v1/users/me/messages";
    let no_deletes = "403 rule_blocked rules[Block Gmail deletes]";
    let no_github = "403 rule_blocked rules[Keep research off GitHub]";
    for protocol in PROTOCOLS {
        for (agent, method, target, expected) in [
            ("other", "DELETE", format!("{mail}/17"), no_deletes),
            ("research-agent", "DELETE", format!("{mail}/17?force=1"), no_deletes),
            ("other", "DELETE", format!("{mail}/17/attachments/2"), no_deletes),
            ("other", "GET", format!("{mail}/17"), "200"),
            ("other", "DELETE", "gmail.googleapis.com/gmail/v1/users/me/drafts/17".into(), "200"),
            ("research-agent", "GET", "api.github.com/repos".into(), no_github),
            ("research-agent", "POST", "api.github.com/".into(), no_github),
            ("other", "GET", "api.github.com/repos".into(), "200"),
            ("research-agent", "GET", "slack.com/api/chat.postMessage".into(), "200"),
            ("research-agent", "POST", "slack.com/api/conversations.list".into(), "200"),
        ] {
            for ask in every_way(protocol, method, &target) {
                let outcome = place.send(ask.header("X-Agent", agent)).await;
                assert_eq!(outcome.to_string(), expected, "{protocol:?} {agent} {method} {target}: {outcome:?}");
                if let Some(seen) = outcome.seen {
                    let key = target.starts_with("gmail").then_some("Bearer mail-s3cret");
                    assert_eq!((seen.header("authorization"), seen.header("x-agent")), (key, None), "{seen:?}");
                }
            }
        }
    }
    // Ten in an hour, by whatever way; and ten for each agent.
    let ways =
        || PROTOCOLS.into_iter().flat_map(|protocol| every_way(protocol, "POST", "slack.com/api/chat.postMessage"));
    for agent in ["research-agent", "other"] {
        for (number, ask) in ways().chain(ways()).enumerate() {
            let outcome = place.send(ask.header("X-Agent", agent)).await;
            let expected = if number < 10 { "200" } else { "429 rate_limited rules[Slack cap]" };
            assert_eq!(outcome.to_string(), expected, "{agent} {number}: {outcome:?}");
        }
    }
}

/// What a client sees, in Python and in Node, and from the record what its operator sees.
#[tokio::test]
async fn clients_and_records_are_told_which_rule_it_was() {
    let upstream = Upstream::https(["gmail.googleapis.com"]).await;
    let policy = DOCUMENTED.replace("rules:", "defaultAgent: other\nrules:");
    let attache =
        Attache::up(&policy).env("MAIL", "mail-s3cret").resolve("gmail.googleapis.com", &upstream).start().await;
    let proxy = format!("http://{}", attache.proxy());
    let bundle = attache.ready().bundle.to_str().unwrap();
    let variables = [
        ("HTTPS_PROXY", &*proxy),
        ("HTTP_PROXY", &*proxy),
        ("REQUESTS_CA_BUNDLE", bundle),
        ("SSL_CERT_FILE", bundle),
        ("NODE_EXTRA_CA_CERTS", bundle),
        ("NODE_USE_ENV_PROXY", "1"),
    ];
    let python = "
import requests, httpx
url = '://gmail.googleapis.com/gmail/v1/users/me/messages/1'
answers = [requests.delete('https' + url), requests.delete('http' + url), httpx.Client(http2=True).delete('https' + url)]
for answer in answers:
    print(answer.status_code, answer.json()['reason'], answer.json()['rule'])
print(requests.get('https' + url).status_code)
";
    let node = "
const url = 'https://gmail.googleapis.com/gmail/v1/users/me/messages/1';
const refused = await fetch(url, { method: 'DELETE' });
const body = await refused.json();
console.log(refused.status, body.reason, body.rule, body.message);
console.log((await fetch(url)).status);
";
    let (python, node) =
        tokio::join!(script::run(script::python(python), &variables), script::run(script::node(node), &variables));
    let refused = "403 rule_blocked rules[Block Gmail deletes]";
    assert_eq!(python.stdout, format!("{refused}\n{refused}\n{refused}\n200\n"), "{python:?}");
    assert_eq!(node.stdout, format!("{refused} blocked by a rule of the policy\n200\n"), "{node:?}");
    assert_eq!(upstream.requests().len(), 2);

    let records = attache.records();
    let refused: Vec<_> = records.iter().filter(|record| record["decision"] == "deny").collect();
    assert_eq!(refused.len(), 4, "{records:?}");
    for record in refused {
        for (field, expected) in [
            ("agent", json!("other")),
            ("method", json!("DELETE")),
            ("host", json!("gmail.googleapis.com")),
            ("path", json!("/gmail/v1/users/me/messages/1")),
            ("reason", json!("rule_blocked")),
            ("rule", json!("rules[Block Gmail deletes]")),
            ("status", json!(403)),
            ("credential", json!(null)),
            ("upstream", json!(null)),
        ] {
            assert_eq!(record[field], expected, "{field} of {record}");
        }
    }
    // As a person looks for it.
    let logs = attache.command("logs", &["--agent", "other", "--status", "blocked"]).await;
    assert_eq!(logs.stdout.matches("  rule_blocked  ").count(), 4, "{logs:?}");
}

#[tokio::test]
async fn a_rule_is_about_its_host_path_methods_agents_query_and_fields() {
    const POLICY: &str = r#"
allowedDomains:
  ["*.rules.example", "host.rules.example:8443", "port.rules.example:8443", "http://plain.rules.example", plain.rules.example]
agents:
  ann: {identity: [{header: {name: X-Agent, value: ann, trusted: true}}]}
  bob: {identity: [{header: {name: X-Agent, value: bob, trusted: true}}]}
rules:
  - {name: host, host: host.rules.example, action: block}
  - {name: wild, host: "*.wild.rules.example", action: deny}
  - {name: port, host: "port.rules.example:8443", action: block}
  - {name: path, host: path.rules.example, path: "/v1/{id}/x", action: block}
  - {name: below, host: path.rules.example, path: "/below/*", action: block}
  - {name: one, host: method.rules.example, path: /one, method: POST, action: block}
  - {name: list, host: method.rules.example, path: /list, method: [PUT, DELETE], action: block}
  - {name: any, host: method.rules.example, path: /any, method: any, action: block}
  - {name: get, host: method.rules.example, path: /get, method: GET, action: block}
  - {name: agent, host: agent.rules.example, agents: [ann], action: block}
  - {name: query, host: query.rules.example, query: {dry_run: "false"}, action: block}
  - {name: both, host: query.rules.example, query: {a: "1*", b: "*"}, action: block}
  - {name: field, host: field.rules.example, headers: {X-Tenant: "acme*"}, action: block}
  - {name: mixed, host: field.rules.example, method: POST, query: {a: "*"}, headers: {X-Mode: live}, action: block}
"#;
    let hosts = [
        "host.rules.example",
        "a.wild.rules.example",
        "wild.rules.example",
        "port.rules.example",
        "path.rules.example",
        "method.rules.example",
        "agent.rules.example",
        "query.rules.example",
        "field.rules.example",
        "plain.rules.example",
    ];
    let place = Place::new(POLICY, hosts).await;
    let by = |name: &str| format!("403 rule_blocked rules[{name}]");
    let passes = || "200".to_owned();
    for protocol in PROTOCOLS {
        let ask = |method, url: &str| Ask::new(protocol, method, &format!("https://{url}")).header("X-Agent", "bob");
        let get = |url| ask("GET", url);
        let ann = |url: &str| Ask::get(protocol, &format!("https://{url}")).header("X-Agent", "ann");
        let field = |name, value: &str| ask("POST", "field.rules.example/?a=").header(name, value);
        place
            .check([
                (get("host.rules.example/"), by("host")),
                (ask("POST", "host.rules.example/any/where"), by("host")),
                // A rule without a port is about every port.
                (get("host.rules.example:8443/"), by("host")),
                (get("a.wild.rules.example/"), by("wild")),
                (get("wild.rules.example/"), passes()),
                (get("port.rules.example/"), passes()),
                (get("port.rules.example:8443/"), by("port")),
                (get("path.rules.example/v1/7/x"), by("path")),
                (get("path.rules.example/v1/7/8/x"), passes()),
                (get("path.rules.example/v1/7"), passes()),
                (get("path.rules.example/below/a/b"), by("below")),
                (get("path.rules.example/belows"), passes()),
                (ask("POST", "method.rules.example/one"), by("one")),
                (ask("PUT", "method.rules.example/one"), passes()),
                (ask("PUT", "method.rules.example/list"), by("list")),
                (ask("DELETE", "method.rules.example/list"), by("list")),
                (ask("POST", "method.rules.example/list"), passes()),
                (ask("PROPFIND", "method.rules.example/any"), by("any")),
                (ask("OPTIONS", "method.rules.example/any"), by("any")),
                (get("method.rules.example/get"), by("get")),
                (ask("POST", "method.rules.example/get"), passes()),
                (ann("agent.rules.example/"), by("agent")),
                (get("agent.rules.example/"), passes()),
                (get("query.rules.example/?dry_run=false"), by("query")),
                (get("query.rules.example/?x=1&DRY_RUN=False"), by("query")),
                (get("query.rules.example/?dry%5Frun=%66alse"), by("query")),
                (get("query.rules.example/?dry_run=true&dry_run=false"), by("query")),
                (get("query.rules.example/?dry_run=true"), passes()),
                (get("query.rules.example/?a=12&b"), by("both")),
                (get("query.rules.example/?a=12"), passes()),
                (get("query.rules.example/?a=2&b=1"), passes()),
                (get("query.rules.example/"), passes()),
                (get("field.rules.example/").header("x-tenant", "ACME-prod"), by("field")),
                (get("field.rules.example/").header("x-tenant", "other, acme"), by("field")),
                (get("field.rules.example/").header("x-tenant", "other"), passes()),
                (get("field.rules.example/"), passes()),
                (field("x-mode", "LIVE"), by("mixed")),
                (field("x-mode", "test"), passes()),
                (get("plain.rules.example/"), passes()),
            ])
            .await;
    }
}

/// Each action by its name, and what the first and the second request of a host that only this is said of get.
const ACTIONS: [(&str, &str); 4] = [
    ("deny", "block"),
    ("approval", "{approval: {hold: 0s}}"),
    ("limit", "{rateLimit: {requests: 1, per: hour}}"),
    ("monitor", "monitor"),
];

#[tokio::test]
async fn of_two_rules_the_stronger_decides_whichever_stands_first() {
    // Over HTTP/2 and HTTP/1.1 alike, and so with counts of their own.
    let agents = "  one: {identity: [{header: {name: X-Agent, value: one, trusted: true}}]}\n  two: {identity: [{header: {name: X-Agent, value: two, trusted: true}}]}\n";
    let mut policy = format!("allowedDomains: ['*.pairs.example']\nagents:\n{agents}rules:\n");
    let mut pairs = Vec::new();
    for (first, (name, action)) in ACTIONS.into_iter().enumerate() {
        for (second, (other, its)) in ACTIONS.into_iter().enumerate() {
            let host = format!("{name}-{other}.pairs.example");
            policy += &format!("  - {{name: {name} of {name}-{other}, host: {host}, action: {action}}}\n");
            // With itself: the rule and an allow entry alone.
            if first != second {
                policy += &format!("  - {{name: {other} of {name}-{other}, host: {host}, action: {its}}}\n");
            }
            pairs.push((host, format!("{name}-{other}"), ACTIONS[first.min(second)].0));
        }
    }
    let upstream = Upstream::https(["*.pairs.example"]).await;
    let mut setup = Attache::up(&policy);
    for (host, ..) in &pairs {
        setup = setup.resolve(host, &upstream);
    }
    let place = Place { upstream, plain: Upstream::http().await, attache: setup.start().await };
    for (protocol, agent) in PROTOCOLS.into_iter().zip(["one", "two"]) {
        for (host, pair, strongest) in &pairs {
            let rule = format!("rules[{strongest} of {pair}]");
            let expected = match *strongest {
                "deny" => [format!("403 rule_blocked {rule}"), format!("403 rule_blocked {rule}")],
                "approval" => [format!("403 approval_pending {rule}"), format!("403 approval_pending {rule}")],
                "limit" => ["200".into(), format!("429 rate_limited {rule}")],
                _ => ["200".into(), "200".into()],
            };
            for (number, expected) in expected.into_iter().enumerate() {
                let outcome =
                    place.send(Ask::get(protocol, &format!("https://{host}/")).header("X-Agent", agent)).await;
                assert_eq!(outcome.to_string(), expected, "{pair} {number} {protocol:?}");
                if expected == "200" {
                    let watched = format!("rules[monitor of {pair}]");
                    let expected = if pair.contains("monitor") { json!([watched]) } else { json!(null) };
                    assert_eq!(outcome.record["watched"], expected, "{pair}: {}", outcome.record);
                }
            }
        }
    }
}

/// No rule of any kind widens what the lists allow, and none takes a refusal back.
#[tokio::test]
async fn no_rule_admits_what_the_lists_refuse() {
    const POLICY: &str = r#"
allowedDomains: [open.example, {pattern: narrow.example, httpRestrictions: [{method: GET, path: /a}]}]
blockedDomains: [blocked.example]
rules:
  - {name: watch, host: "*", action: monitor}
  - {name: cap, host: "*", action: {rateLimit: {requests: 1000, per: hour}}}
"#;
    let place = Place::new(POLICY, ["open.example", "narrow.example", "blocked.example", "unlisted.example"]).await;
    for protocol in PROTOCOLS {
        place
            .check([
                (Ask::get(protocol, "https://open.example/"), "200"),
                (
                    Ask::get(protocol, "https://narrow.example/b"),
                    "403 route_not_allowed allowedDomains[narrow.example]",
                ),
                (
                    Ask::get(protocol, "https://blocked.example/"),
                    "CONNECT 403 domain_blocked blockedDomains[blocked.example]",
                ),
                (Ask::get(protocol, "http://blocked.example/"), "403 domain_blocked blockedDomains[blocked.example]"),
                (Ask::get(protocol, "https://unlisted.example/"), "CONNECT 403 domain_not_allowed"),
            ])
            .await;
    }
}

/// A secret is fetched for what goes out and for nothing else, whatever a rule does about it.
#[tokio::test]
async fn what_a_rule_stops_never_has_its_secret_fetched() {
    let vault = Vault::start_at(free_address(), false, "hvs.token").await;
    vault.put("agents/api", "token", "from-vault");
    let policy = format!(
        r#"
allowedDomains: [api.example.com]
rules:
  - {{name: Block, host: api.example.com, path: "/blocked/**", action: block}}
  - {{name: Ask, host: api.example.com, path: "/asked/**", action: {{approval: {{hold: 0s}}}}}}
  - {{name: Cap, host: api.example.com, path: "/heavy", action: {{rateLimit: {{requests: 3, per: hour, weight: bytes}}}}}}
  - {{name: Watch, host: api.example.com, path: "/watched", action: block, mode: monitor}}
credentials:
  - name: api
    vault: {{address: "{}", plaintext: true, path: agents/api, field: token, auth: {{tokenEnv: MY_TOKEN}}}}
    injections: [{{domain: api.example.com, headerName: Authorization, headerFormat: "Bearer {{value}}"}}]
"#,
        vault.url()
    );
    let place = Place::with(&policy, ["api.example.com"], |setup| setup.env("MY_TOKEN", "hvs.token")).await;
    for protocol in PROTOCOLS {
        for (target, expected) in [
            ("api.example.com/blocked/x", "403 rule_blocked rules[Block]"),
            ("api.example.com/asked/x", "403 approval_pending rules[Ask]"),
            ("api.example.com/heavy", "429 rate_limited rules[Cap]"),
            // It passes, and only because nothing is enforced.
            ("api.example.com/watched", "200"),
        ] {
            for ask in every_way(protocol, "POST", target) {
                let outcome = place.send(ask.body("four")).await;
                assert_eq!(outcome.to_string(), expected, "{target} {protocol:?}: {outcome:?}");
                assert!(outcome.seen.is_none_or(|seen| seen.header("authorization").is_none()), "{target}");
            }
        }
        assert!(vault.requests().is_empty(), "{:?}", vault.requests());
    }
    let outcome = place.send(Ask::get(Protocol::Http1, "https://api.example.com/other")).await;
    assert_eq!(outcome.seen.unwrap().header("authorization"), Some("Bearer from-vault"));
    assert_eq!(vault.requests().len(), 1);
}

/// A block that is put in force while requests are under way stops each that is decided after it.
#[tokio::test]
async fn a_new_rule_holds_for_the_next_request_of_an_open_connection() {
    let place = Place::new("allowedDomains: [api.example.com]", ["api.example.com"]).await;
    let ask = Ask::get(Protocol::Http2, "https://api.example.com/");
    let client = crate::support::tunnel::h2(ask.open(&place.attache).await.unwrap()).await;
    let get = async |client: &h2::client::SendRequest<hyper::body::Bytes>| {
        let mut client = client.clone().ready().await.unwrap();
        let request = http::Request::get("https://api.example.com/x").body(()).unwrap();
        client.send_request(request, true).unwrap().0.await.unwrap().status().as_u16()
    };
    assert_eq!(join_all((0..5).map(|_| get(&client))).await, [200; 5]);
    let rule = "rules: [{name: No, host: api.example.com, action: block}]";
    place.attache.reload(&format!("allowedDomains: [api.example.com]\n{rule}")).await;
    assert_eq!(join_all((0..5).map(|_| get(&client))).await, [403; 5]);
    place.attache.reload("allowedDomains: [api.example.com]").await;
    assert_eq!(get(&client).await, 200);
    assert_eq!(place.arrived().len(), 6);
}
