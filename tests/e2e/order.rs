//! A request that is wrong in several ways is refused for the first of them, and nothing that comes later has happened:
//! no name is looked up, no count charged, nobody asked, no secret fetched.

use std::cell::Cell;

use ::attache::control;

use crate::support::{Ask, Attache, Dns, PROTOCOLS, Place, Protocol, Upstream, Vault, Way, every_way, free_address};

const TOKEN: &str = "ann-token-0123456789";

/// What can be wrong, by the segments of a path, from what is looked at first to what is looked at last.
fn policy(vault: &str) -> String {
    format!(
        r#"
organization:
  blockedDomains: [bounds.example]
  rules:
    - {{name: Outer, host: "*.example", path: "/outer/**", action: block}}
allowedDomains:
  - api.example
  - bounds.example
  - listed.example
  - nowhere.example
  - {{pattern: routes.example, httpRestrictions: [{{method: GET}}]}}
blockedDomains: [bounds.example, listed.example]
agents:
  ann: {{identity: [{{token: {{env: ANN}}}}]}}
rules:
  - {{name: Inner, host: "*.example", path: "/outer/**", action: block}}
  - {{name: Block, host: "*.example", path: "/**/block/**", action: block}}
  - {{name: Cap, host: "*.example", path: "/**/full/**", action: {{rateLimit: {{requests: 1, per: hour, weight: bytes}}}}}}
  - {{name: Count, host: "*.example", path: "/**/counted/**", action: {{rateLimit: {{requests: 1, per: hour}}}}}}
  - {{name: Ask, host: "*.example", path: "/**/ask/**", action: {{approval: {{hold: 0s}}}}}}
credentials:
  - name: bounded
    envVarKey: KEY
    injections: [{{domain: api.example, path: "/**/endpoint/**", headerName: X-Bounded, headerFormat: "{{value}}"}}]
    endpoints: [{{methods: [GET]}}]
  - name: missing
    vault: {{address: "{vault}", plaintext: true, path: agents/none, field: token, auth: {{tokenEnv: MY_TOKEN}}}}
    injections: [{{domain: api.example, path: "/**/secret/**", headerName: X-Secret, headerFormat: "{{value}}"}}]
"#
    )
}

const HOSTS: [&str; 4] = ["api.example", "bounds.example", "listed.example", "routes.example"];

#[tokio::test]
async fn the_first_thing_that_is_wrong_is_the_answer() {
    let (vault, dns) = (Vault::start_at(free_address(), false, "hvs.token").await, Dns::start().await);
    let place = Place::with(&policy(&vault.url()), HOSTS, |setup| {
        setup.env("ANN", TOKEN).env("KEY", "s3cret").env("MY_TOKEN", "hvs.token").dns(&dns)
    })
    .await;
    let asked = Cell::new(0);
    for protocol in PROTOCOLS {
        for (target, token, expected) in [
            ("bounds.example/outer/block/full/ask/", "unknown-0123456789", "invalid_token"),
            ("api.example/outer/block%2f/", TOKEN, "malformed_request"),
            (
                "bounds.example/outer/block/full/ask/",
                TOKEN,
                "domain_blocked organization.blockedDomains[bounds.example]",
            ),
            ("listed.example/x/block/full/ask/", TOKEN, "domain_blocked blockedDomains[listed.example]"),
            ("unlisted.example/x/block/full/ask/", TOKEN, "domain_not_allowed"),
            ("routes.example/x/block/full/ask/", TOKEN, "route_not_allowed allowedDomains[routes.example]"),
            ("api.example/outer/block/endpoint/full/ask/", TOKEN, "rule_blocked organization.rules[Outer]"),
            ("api.example/x/block/endpoint/full/ask/secret/", TOKEN, "rule_blocked rules[Block]"),
            ("nowhere.example/x/block/full/ask/", TOKEN, "rule_blocked rules[Block]"),
            ("api.example/x/endpoint/full/ask/secret/", TOKEN, "endpoint_not_allowed credentials[bounded].endpoints"),
            ("api.example/x/full/ask/secret/", TOKEN, "rate_limited rules[Cap]"),
            ("api.example/x/counted/ask/secret/", TOKEN, "approval_pending rules[Ask]"),
            ("api.example/x/counted/secret/", TOKEN, "secret_unavailable allowedDomains[api.example]"),
        ] {
            for ask in every_way(protocol, "POST", target) {
                // Where the tunnel was opened, the token is known; where there is none, it is on the request.
                let bearer = format!("Bearer {token}");
                let ask = ask.header("proxy-authorization", &bearer).connect_header("Proxy-Authorization", &bearer);
                let outcome = place.send(ask.body("two")).await;
                let found = outcome.to_string();
                let found = found.trim_start_matches("CONNECT ").split_once(' ').unwrap_or_default().1;
                assert_eq!(found, expected, "{protocol:?} {target}: {outcome:?}");
                assert!(outcome.seen.is_none());
                if !expected.starts_with("secret") {
                    assert_eq!(vault.requests().len(), asked.get(), "{target}: a secret was fetched");
                }
            }
            asked.set(vault.requests().len());
        }
        // Only what is asked of a person was asked, once for all the ways.
        let open = control::list_approvals(&place.attache.socket()).await.unwrap();
        assert_eq!(open.len(), 1, "{open:?}");
        assert_eq!(open[0].path, "/x/counted/ask/secret/");
    }
    assert!(asked.get() > 0, "the last of them did ask for its secret");
    assert!(dns.asked().is_empty(), "a refused name was looked up: {:?}", dns.asked());
    // None of it has cost anything: the one that may pass is still to come.
    let counted = || {
        let ask = Ask::get(Protocol::Http1, "http://api.example/x/counted/").by(Way::HostStyle);
        ask.header("authorization", format!("Bearer {TOKEN}"))
    };
    place.check([(counted(), "200"), (counted(), "429 rate_limited rules[Count]")]).await;
    assert_eq!(place.arrived().len(), 1);
}

/// As a reverse proxy is called: `Host` names the API, and the token stands where the API's own would.
#[tokio::test]
async fn a_token_in_authorization_is_exchanged_for_the_apis_own() {
    let policy = r#"
allowedDomains:
  - {pattern: one.example, httpRestrictions: [{method: GET, path: "/v1/{id}"}]}
  - two.example
agents:
  ann: {identity: [{token: {env: ANN}}]}
credentials:
  - {name: one, envVarKey: ONE, injections: [{domain: one.example, headerName: X-Api-Key, headerFormat: "{value}"}]}
  - {name: two, envVarKey: TWO, injections: [{domain: two.example, headerName: Authorization, headerFormat: "Bearer {value}"}]}
"#;
    let upstream = Upstream::https(["one.example", "two.example"]).await;
    let attache = Attache::up(policy)
        .env("ANN", TOKEN)
        .env("ONE", "s3cret-one")
        .env("TWO", "s3cret-two")
        .resolve("one.example", &upstream)
        .resolve("two.example", &upstream)
        .start()
        .await;
    let proxy = attache.proxy();
    let ask = async |method: &str, host: &str, path: &str, token: &str| {
        let (host, bearer) = (format!("Host: {host}"), format!("Authorization: Bearer {token}"));
        let url = format!("http://{proxy}{path}");
        crate::support::curl(["--request", method, "--header", &host, "--header", &bearer, &url]).await
    };
    for (host, path, key, own) in [
        ("one.example", "/v1/users", Some("s3cret-one"), None),
        ("two.example", "/any/where", None, Some("Bearer s3cret-two")),
    ] {
        let answer = ask("GET", host, path, TOKEN).await;
        assert_eq!(answer.status, 200, "{host}: {answer:?}");
        let seen = upstream.requests().pop().unwrap();
        assert_eq!((&*seen.authority, &*seen.path, seen.sni.as_deref()), (host, path, Some(host)));
        assert_eq!((seen.header("x-api-key"), seen.header("authorization")), (key, own), "{host}");
        assert!(!format!("{seen:?}").contains(TOKEN), "the agent's token left: {seen:?}");
        assert!(!answer.text().contains(TOKEN) && !format!("{:?}", answer.headers).contains("s3cret"), "{answer:?}");
    }
    for (method, host, path, token, status, message) in [
        ("DELETE", "one.example", "/v1/users", TOKEN, 403, "route not allowed by policy"),
        ("GET", "one.example", "/v1/users/1", TOKEN, 403, "route not allowed by policy"),
        ("GET", "three.example", "/", TOKEN, 403, "domain not allowed by policy"),
        ("GET", "one.example", "/v1/users", "another-0123456789", 401, "invalid or expired proxy token"),
        ("DELETE", "three.example", "/", "another-0123456789", 401, "invalid or expired proxy token"),
    ] {
        let answer = ask(method, host, path, token).await;
        assert_eq!((answer.status, &answer.json()["message"]), (status, &message.into()), "{method} {host}{path}");
    }
    assert_eq!(upstream.requests().len(), 2, "what is refused does not reach the API");
}
