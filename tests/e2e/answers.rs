//! A refusal says why, what to do, and where it stands on record: the same to every client, on every way.

use serde_json::{Value, json};

use crate::support::Stage::{Connect, Request};
use crate::support::{Ask, Attache, PROTOCOLS, Protocol, Stage, Upstream, Way, free_address, whole_record};

const POLICY: &str = r#"
allowedDomains:
  - api.example.com
  - pattern: narrow.example
    httpRestrictions: [{method: GET, path: /only}]
  - gone.example
  - impostor.example
  - nowhere.example
blockedDomains: [blocked.example]
agents:
  ann: {identity: [{token: {env: ANN_TOKEN}}]}
credentials:
  - {name: absent-key, envVarKey: NOT_SET, injections: [{domain: api.example.com, path: /absent, headerName: X-Key, headerFormat: "{value}"}]}
"#;

const TOKEN: &str = "ann-token-0123456789";

struct Case {
    ask: Ask,
    stage: Stage,
    status: u16,
    error: &'static str,
    reason: &'static str,
    rule: Value,
    /// How the sentence begins.
    message: &'static str,
    /// A header that comes with it.
    with: Option<(&'static str, &'static str)>,
}

fn cases(protocol: Protocol) -> Vec<Case> {
    let ask = |method: &str, url: &str| {
        let bearer = format!("Bearer {TOKEN}");
        Ask::new(protocol, method, url)
            .header("proxy-authorization", &bearer)
            .connect_header("proxy-authorization", &bearer)
    };
    let bare = |url: &str| Ask::get(protocol, url);
    let case = |ask, stage, status, (error, reason), rule: Option<&str>, message, with| Case {
        ask,
        stage,
        status,
        error,
        reason,
        rule: json!(rule),
        message,
        with,
    };
    let narrow = Some("allowedDomains[narrow.example]");
    let blocked = Some("blockedDomains[blocked.example]");
    let (unlisted, route) = (("denied", "domain_not_allowed"), ("denied", "route_not_allowed"));
    let invalid = ("unauthenticated", "invalid_token");
    let api = "https://api.example.com/";
    let www = Some(("www-authenticate", "Bearer"));
    let proxy = Some(("proxy-authenticate", "Basic"));
    let again = Some(("retry-after", "1"));
    vec![
        case(ask("GET", "https://narrow.example/x"), Request, 403, route, narrow, "route not allowed by policy", None),
        case(
            ask("POST", "https://narrow.example/only"),
            Request,
            403,
            route,
            narrow,
            "route not allowed by policy",
            None,
        ),
        case(ask("GET", "http://narrow.example/x"), Request, 403, route, narrow, "route not allowed by policy", None),
        case(
            ask("GET", "https://unlisted.example/"),
            Connect,
            403,
            unlisted,
            None,
            "domain not allowed by policy",
            None,
        ),
        case(
            ask("GET", "http://unlisted.example/"),
            Request,
            403,
            unlisted,
            None,
            "domain not allowed by policy",
            None,
        ),
        case(
            ask("GET", "https://blocked.example/"),
            Connect,
            403,
            ("denied", "domain_blocked"),
            blocked,
            "domain blocked by policy",
            None,
        ),
        case(
            bare(api).connect_header("proxy-authorization", "Bearer x"),
            Connect,
            407,
            invalid,
            None,
            "invalid or expired proxy token",
            proxy,
        ),
        case(
            bare(api).header("proxy-authorization", "Bearer x"),
            Request,
            401,
            invalid,
            None,
            "invalid or expired proxy token",
            www,
        ),
        case(
            bare("http://api.example.com/").header("authorization", "Bearer x"),
            Request,
            401,
            invalid,
            None,
            "invalid or expired proxy token",
            www,
        ),
        case(bare(api), Request, 401, ("unauthenticated", "no_identity"), None, "the caller is not identified", www),
        case(
            ask("GET", api).authority("narrow.example"),
            Request,
            421,
            ("denied", "authority_mismatch"),
            None,
            "the tunnel, the TLS name and the request are for different hosts",
            None,
        ),
        case(
            ask("GET", "https://api.example.com/%252f"),
            Request,
            400,
            ("malformed", "malformed_path"),
            None,
            "the path cannot be read in one way",
            None,
        ),
        case(
            ask("GET", api).connect("127.1:443"),
            Connect,
            400,
            ("malformed", "malformed_authority"),
            None,
            "the host cannot be read in one way",
            None,
        ),
        // Envoy's own refusals, in the same words.
        case(
            ask("GET", "https://api.example.com/%2f"),
            Request,
            400,
            ("malformed", "malformed_request"),
            None,
            "the request is not acceptable HTTP",
            None,
        ),
        case(
            ask("GET", "https://api.example.com/%5c"),
            Request,
            400,
            ("malformed", "malformed_request"),
            None,
            "the request is not acceptable HTTP",
            None,
        ),
        case(
            ask("GET", "https://api.example.com/absent"),
            Request,
            503,
            ("unavailable", "secret_unavailable"),
            None,
            "the credential for this request is not available",
            again,
        ),
        case(
            ask("GET", "https://nowhere.example/"),
            Request,
            503,
            ("unavailable", "dns_failure"),
            None,
            "DNS did not answer",
            again,
        ),
        // What Envoy met after attaché had allowed it.
        case(
            ask("GET", "https://gone.example/"),
            Request,
            503,
            ("unavailable", "upstream_unreachable"),
            None,
            "no connection to the upstream",
            None,
        ),
        case(
            ask("GET", "https://impostor.example/"),
            Request,
            502,
            ("unavailable", "upstream_tls"),
            None,
            "the upstream's TLS certificate",
            None,
        ),
        case(
            ask("GET", "https://api.example.com/reset"),
            Request,
            502,
            ("unavailable", "upstream_reset"),
            None,
            "the upstream closed the connection",
            None,
        ),
    ]
}

#[tokio::test]
async fn every_refusal_has_the_same_shape_and_is_found_on_record() {
    let upstream = Upstream::https(["api.example.com", "narrow.example"]).await;
    let attache = Attache::up(POLICY)
        .env("ANN_TOKEN", TOKEN)
        .resolve("api.example.com", &upstream)
        .resolve("narrow.example", &upstream)
        .resolve("impostor.example", &upstream)
        .flags(["--resolve".to_owned(), format!("gone.example:443:{}", free_address())])
        // Nobody answers there: what is not stated cannot be looked up.
        .flags(["--dns-server".to_owned(), free_address().to_string()])
        .start()
        .await;
    let mut wrong = Vec::new();
    for protocol in PROTOCOLS {
        for case in cases(protocol) {
            let name = format!("{protocol:?} {} {}", case.status, case.reason);
            let reply = case.ask.send(&attache).await;
            let mut differs = |what: String| wrong.push(format!("{name}: {what} in {reply:?}"));
            if (reply.stage, reply.status) != (case.stage, case.status) {
                differs(format!("not {:?} {}", case.stage, case.status));
                continue;
            }
            let Ok(json) = serde_json::from_str::<Value>(&reply.body) else {
                differs("no JSON".to_owned());
                continue;
            };
            let mut keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
            keys.sort_unstable();
            if keys != ["error", "hint", "message", "reason", "requestId", "rule"] {
                differs(format!("fields {keys:?}"));
            }
            if (&json["error"], &json["reason"]) != (&json!(case.error), &json!(case.reason)) {
                differs(format!("not {} {}", case.error, case.reason));
            }
            let rule_counts = !matches!(case.reason, "secret_unavailable" | "dns_failure");
            if rule_counts && json["rule"] != case.rule {
                differs(format!("rule not {}", case.rule));
            }
            if !json["message"].as_str().unwrap_or_default().starts_with(case.message) {
                differs(format!("message not `{}`", case.message));
            }
            if json["hint"].as_str().unwrap_or_default().len() < 10 {
                differs("no hint".to_owned());
            }
            if !reply.header("content-type").unwrap_or_default().starts_with("application/json") {
                differs("not said to be JSON".to_owned());
            }
            if let Some((header, value)) = case.with
                && !reply.header(header).unwrap_or_default().starts_with(value)
            {
                differs(format!("no `{header}: {value}`"));
            }
            let id = json["requestId"].as_str().unwrap_or_default();
            if id.is_empty() {
                differs("no request id".to_owned());
                continue;
            }
            let record = whole_record(&attache, id).await;
            if record["status"] != case.status {
                differs(format!("another status on record: {record}"));
            }
            // An allowed request that failed above is no refusal; Envoy's own has its reason in the detail.
            let decided = record["decision"] != "allow" && case.reason != "malformed_request";
            if decided && (&record["reason"], &record["rule"]) != (&json["reason"], &json["rule"]) {
                differs(format!("another reason or rule on record: {record}"));
            }
            assert!(!reply.body.contains(TOKEN), "{reply:?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let arrived: Vec<_> = upstream.requests().into_iter().map(|seen| seen.path).collect();
    assert_eq!(arrived, ["/reset", "/reset"]);
}

#[tokio::test]
async fn the_upstreams_own_answers_pass_as_they_are() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache =
        Attache::up("allowedDomains: [api.example.com]\n").resolve("api.example.com", &upstream).start().await;
    for protocol in PROTOCOLS {
        for way in [Way::Tunnel, Way::Absolute] {
            for status in [400, 401, 403, 404, 407, 421, 429, 500, 502, 503, 504] {
                let ask = Ask::get(protocol, &format!("https://api.example.com/status/{status}")).by(way);
                let reply = ask.send(&attache).await;
                assert_eq!(
                    (reply.status, &*reply.body),
                    (status, &*format!("status {status}")),
                    "{way:?} {protocol:?}"
                );
            }
            let reply = Ask::get(protocol, "https://api.example.com/alt-svc").by(way).send(&attache).await;
            assert_eq!(reply.status, 200);
            assert_eq!(reply.header("alt-svc"), None, "HTTP/3 would go round the proxy");
            let ours = reply
                .headers
                .keys()
                .find(|name| name.as_str().starts_with("x-envoy") || name.as_str().starts_with("x-attache"));
            assert_eq!(ours, None);
        }
    }
}
