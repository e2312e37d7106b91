//! Never more than a limit says in any window, whoever asks together with whom; and what does not go out costs nothing.

use std::io::Write;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tempfile::NamedTempFile;

use crate::support::{Ask, Attache, PROTOCOLS, Place, Protocol, Upstream, every_way, script, tunnel, within};

/// Agents `a0` to `a9`, each known by a header.
fn agents() -> String {
    let agent = |n| format!("  a{n}: {{identity: [{{header: {{name: X-Agent, value: a{n}, trusted: true}}}}]}}\n");
    format!("agents:\n{}", (0..10).map(agent).collect::<String>())
}

fn policy(rules: &str) -> String {
    format!("allowedDomains: [api.example.com]\n{}rules:\n{rules}", agents())
}

const HOSTS: [&str; 1] = ["api.example.com"];
const CAPPED: &str = "429 rate_limited rules[Cap]";

/// Every way into the proxy has an agent of its own, and so a count of its own.
#[tokio::test]
async fn one_more_than_the_limit_is_429_and_passes_when_retry_after_says() {
    let place = Place::new(
        &policy("  - {name: Cap, host: api.example.com, action: {rateLimit: {requests: 3, per: 6s}}}\n"),
        HOSTS,
    )
    .await;
    let ways: Vec<Ask> = PROTOCOLS.into_iter().flat_map(|p| every_way(p, "GET", "api.example.com/x")).collect();
    let attempts = ways.into_iter().enumerate().map(async |(number, ask)| {
        let agent = format!("a{number}");
        let ask = ask.header("X-Agent", &agent);
        let (began, mut replies) = (Instant::now(), Vec::new());
        for _ in 0..4 {
            replies.push(ask.clone().send(&place.attache).await);
        }
        assert!(began.elapsed() < Duration::from_secs(6), "this machine is too busy to say anything");
        let refused = replies.pop().unwrap();
        assert!(replies.iter().all(|reply| reply.status == 200), "{agent}: {replies:?}");
        assert_eq!((refused.status, &*refused.reason()), (429, "rate_limited"), "{agent}: {refused:?}");
        let json = refused.json();
        let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=6).contains(&seconds), "{agent}: {seconds}");
        assert_eq!((&json["rule"], &json["retryAfterSeconds"]), (&"rules[Cap]".into(), &seconds.into()), "{json}");
        assert_eq!((&json["error"], json["hint"].is_string()), (&"rate_limited".into(), true), "{json}");
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let again = ask.send(&place.attache).await;
        assert_eq!(again.status, 200, "{agent} after {seconds} s: {again:?}");
    });
    let ways = join_all(attempts).await.len();
    assert_eq!(place.arrived().len(), ways * 4);
    let records = place.attache.records();
    let limited: Vec<_> = records.iter().filter(|record| record["decision"] == "rate_limited").collect();
    assert_eq!(limited.len(), ways);
    for record in limited {
        assert_eq!((&record["status"], &record["rule"]), (&429.into(), &"rules[Cap]".into()), "{record}");
        assert!(record["upstream"].is_null(), "{record}");
    }
}

/// Clients that know `Retry-After` get through by themselves.
#[tokio::test]
async fn a_client_that_honours_retry_after_gets_through() {
    let upstream = Upstream::https(HOSTS).await;
    let policy = "allowedDomains: [api.example.com]\nrules:\n  - {name: Cap, host: api.example.com, action: {rateLimit: {requests: 1, per: 2s}}}\n";
    let attache = Attache::up(policy).resolve("api.example.com", &upstream).start().await;
    let proxy = format!("http://{}", attache.proxy());
    let bundle = attache.ready().bundle.to_str().unwrap();
    let agent = "
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry
session = requests.Session()
session.mount('https://', HTTPAdapter(max_retries=Retry(total=5, status_forcelist=[429], respect_retry_after_header=True)))
print([session.get('https://api.example.com/x').status_code for _ in range(3)])
";
    let variables = [("HTTPS_PROXY", &*proxy), ("REQUESTS_CA_BUNDLE", bundle)];
    let output = script::run(script::python(agent), &variables).await;
    assert_eq!(output.stdout, "[200, 200, 200]\n", "{output:?}");
    let seen = attache.records();
    assert!(seen.iter().any(|record| record["decision"] == "rate_limited"), "{seen:?}");
    assert_eq!(upstream.requests().len(), 3);
}

/// Two hundred at once, over connections of their own and over one that they share.
#[tokio::test]
async fn of_many_at_once_exactly_as_many_pass_as_may() {
    let rules = "  - {name: Cap, host: api.example.com, action: {rateLimit: {requests: 25, per: hour}}}\n";
    let place = Place::new(&policy(rules), HOSTS).await;
    let shared = Ask::get(Protocol::Http2, "https://api.example.com/shared").open(&place.attache).await.unwrap();
    let client = tunnel::h2(shared).await;
    let over_one = async || {
        let request = http::Request::get("https://api.example.com/shared").header("x-agent", "a0").body(()).unwrap();
        let mut client = within("a stream", client.clone().ready()).await.unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        within("an answer", answer).await.unwrap().status().as_u16()
    };
    let alone = async || {
        let ask = Ask::get(Protocol::Http1, "http://api.example.com/alone").header("x-agent", "a0");
        ask.send(&place.attache).await.status
    };
    let (one, other) = tokio::join!(join_all((0..100).map(|_| over_one())), join_all((0..100).map(|_| alone())));
    let statuses = [one, other].concat();
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(200), count(429)), (25, 175), "{statuses:?}");
    assert_eq!(place.arrived().len(), 25);
}

#[tokio::test]
async fn an_agents_own_limit_counts_all_it_sends_and_nobody_else() {
    const POLICY: &str = "
allowedDomains: [api.example.com, other.example.com]
agents:
  ann: {identity: [{header: {name: X-Agent, value: ann, trusted: true}}], rateLimit: {requests: 3, per: hour}}
  bob: {identity: [{header: {name: X-Agent, value: bob, trusted: true}}], rateLimit: {requests: 1, per: 1h}}
  eve: {identity: [{header: {name: X-Agent, value: eve, trusted: true}}]}
";
    let place = Place::new(POLICY, ["api.example.com", "other.example.com"]).await;
    let ask = |agent: &str, protocol, url: &str| Ask::get(protocol, url).header("x-agent", agent);
    let limited = |agent: &str| format!("429 rate_limited agents.{agent}.rateLimit");
    let passes = || "200".to_owned();
    let (api, other) = ("https://api.example.com/", "http://other.example.com/x");
    place
        .check([
            (ask("ann", Protocol::Http1, api), passes()),
            (ask("ann", Protocol::Http2, other), passes()),
            (ask("bob", Protocol::Http2, api), passes()),
            (ask("bob", Protocol::Http1, api), limited("bob")),
            // What is refused for its host costs nothing.
            (ask("ann", Protocol::Http1, "http://unlisted.example.com/"), "403 domain_not_allowed".into()),
            (ask("ann", Protocol::Http1, other), passes()),
            (ask("ann", Protocol::Http1, api), limited("ann")),
            (ask("ann", Protocol::Http2, other), limited("ann")),
            (ask("eve", Protocol::Http1, api), passes()),
            (ask("eve", Protocol::Http2, api), passes()),
            (ask("eve", Protocol::Http1, other), passes()),
            (ask("eve", Protocol::Http1, other), passes()),
        ])
        .await;
}

#[tokio::test]
async fn a_count_outlives_every_change_of_the_policy() {
    let cap = |name: &str, most: u32, more: &str| {
        policy(&format!(
            "  - {{name: {name}, host: api.example.com, action: {{rateLimit: {{requests: {most}, per: hour}}}}}}\n{more}"
        ))
    };
    let place = Place::new(&cap("Cap", 2, ""), HOSTS).await;
    let ask = |url: &str| Ask::get(Protocol::Http2, url).header("x-agent", "a1");
    let x = || ask("https://api.example.com/x");
    place.check([(x(), "200"), (x(), "200"), (x(), CAPPED)]).await;
    // Another rule.
    let other = "  - {name: Other, host: api.example.com, path: /other, action: block}\n";
    place.attache.reload(&cap("Cap", 2, other)).await;
    let blocked = "403 rule_blocked rules[Other]";
    place.check([(x(), CAPPED), (ask("https://api.example.com/other"), blocked), (x(), CAPPED)]).await;
    // More.
    place.attache.reload(&cap("Cap", 3, other)).await;
    place.check([(x(), "200"), (x(), CAPPED)]).await;
    // Less, than what has been admitted already.
    place.attache.reload(&cap("Cap", 1, "")).await;
    place.check([(x(), CAPPED)]).await;
    place.attache.reload(&cap("Cap", 4, "")).await;
    place.check([(x(), "200"), (x(), CAPPED)]).await;
    // A policy that is wrong changes nothing either.
    place.attache.replace_policy("rules: [");
    place.attache.wait_stderr("the one before it stays in force").await;
    place.check([(x(), CAPPED)]).await;
    // Under another name it is another limit.
    place.attache.reload(&cap("Another", 1, "")).await;
    place.check([(x(), "200"), (x(), "429 rate_limited rules[Another]")]).await;
    // And taken out and put back it has not forgotten.
    place.attache.reload(&policy("  - {name: Unused, host: unused.example.com, action: block}\n")).await;
    place.check([(x(), "200")]).await;
    place.attache.reload(&cap("Cap", 4, "")).await;
    place.check([(x(), CAPPED)]).await;
}

/// Whatever refuses a request, before or after its limits are looked at, it has cost nothing.
#[tokio::test]
async fn what_is_refused_for_another_reason_is_not_charged() {
    let policy = format!(
        r#"
allowedDomains: [api.example.com, gone.example.com, {{pattern: narrow.example.com, httpRestrictions: [{{method: GET}}]}}]
{}
rules:
  - {{name: Cap, host: "*.example.com", action: {{rateLimit: {{requests: 2, per: hour}}}}}}
  - {{name: No, host: api.example.com, path: /no, action: block}}
  - {{name: Ask, host: api.example.com, path: /ask, action: {{approval: {{hold: 0s}}}}}}
  - {{name: Items, host: api.example.com, path: /items, action: {{rateLimit: {{requests: 5, per: hour, weight: {{items: list}}}}}}}}
credentials:
  - {{name: missing, envVarKey: NOT_THERE, injections: [{{domain: api.example.com, path: /secret, headerName: X-Key, headerFormat: "{{value}}"}}]}}
"#,
        agents()
    );
    let place = Place::new(&policy, ["api.example.com", "narrow.example.com"]).await;
    for (protocol, agent) in [(Protocol::Http1, "a1"), (Protocol::Http2, "a2")] {
        let ask = |method, url: &str| Ask::new(protocol, method, url).header("x-agent", agent);
        let get = |url| ask("GET", url);
        place
            .check([
                (get("https://api.example.com/no"), "403 rule_blocked rules[No]"),
                (get("https://api.example.com/ask"), "403 approval_pending rules[Ask]"),
                (get("https://api.example.com/secret"), "503 secret_unavailable allowedDomains[api.example.com]"),
                (ask("POST", "https://api.example.com/items").body("no list"), "400 body_not_countable rules[Items]"),
                (
                    ask("POST", "https://narrow.example.com/"),
                    "403 route_not_allowed allowedDomains[narrow.example.com]",
                ),
                (get("http://unlisted.example.com/"), "403 domain_not_allowed"),
                (get("http://api.example.com/%2f"), "400 malformed_request"),
            ])
            .await;
        // A name that leads nowhere: it takes the resolver's word, which comes from no server here.
        let nowhere = place.send(get("http://gone.example.com/")).await;
        assert_eq!(nowhere.reply.status, 503, "{nowhere:?}");
        let x = || get("https://api.example.com/x");
        place.check([(x(), "200"), (x(), "200"), (x(), CAPPED), (x(), CAPPED)]).await;
    }
}

#[tokio::test]
async fn of_two_limits_both_are_charged_or_neither() {
    let rules = "
  - {name: Wide, host: api.example.com, action: {rateLimit: {requests: 5, per: hour}}}
  - {name: Narrow, host: api.example.com, path: /b, action: {rateLimit: {requests: 1, per: hour}}}
";
    let place = Place::new(&policy(rules), HOSTS).await;
    for (protocol, agent) in [(Protocol::Http1, "a1"), (Protocol::Http2, "a2")] {
        let ask = |path: &str| Ask::get(protocol, &format!("https://api.example.com{path}")).header("x-agent", agent);
        let (wide, narrow) = ("429 rate_limited rules[Wide]", "429 rate_limited rules[Narrow]");
        let b = || ask("/b");
        place.check([(b(), "200"), (b(), narrow), (b(), narrow), (b(), narrow)]).await;
        // Wide has been charged once: four are left.
        place.check((0..4).map(|_| (ask("/a"), "200"))).await;
        place.check([(ask("/a"), wide)]).await;
    }
}

#[tokio::test]
async fn the_items_of_a_batch_are_what_is_counted() {
    let rules = r#"
  - {name: Cap, host: api.example.com, path: /batch, action: {rateLimit: {requests: 10, per: hour, weight: {items: batch.requests}}}}
  - {name: Top, host: api.example.com, path: /list, action: {rateLimit: {requests: 3, per: hour, weight: {items: .}}}}
"#;
    let place = Place::new(&policy(rules), HOSTS).await;
    let batch = |items: usize| format!(r#"{{"batch": {{"requests": [{}]}}}}"#, vec!["{}"; items].join(","));
    for (protocol, agent) in [(Protocol::Http1, "a1"), (Protocol::Http2, "a2")] {
        let post = |path: &str, body: &str| {
            Ask::new(protocol, "POST", &format!("https://api.example.com{path}")).header("x-agent", agent).body(body)
        };
        let not_countable = "400 body_not_countable rules[Cap]";
        place
            .check([
                (post("/batch", &batch(11)), CAPPED),
                (post("/batch", &batch(6)), "200"),
                (post("/batch", &batch(5)), CAPPED),
                (post("/batch", &batch(3)), "200"),
                (post("/batch", "batch=1"), not_countable),
                (post("/batch", ""), not_countable),
                (post("/batch", r#"{"batch": {"other": []}}"#), not_countable),
                (post("/batch", r#"{"batch": {"requests": [1], "requests": []}}"#), not_countable),
                (post("/batch", "").body(gzipped(&batch(1))).header("content-encoding", "gzip"), not_countable),
                // Nothing at all counts as one.
                (post("/batch", &batch(0)), "200"),
                (post("/batch", &batch(0)), CAPPED),
                (post("/list", "[1, 2]"), "200"),
                (post("/list", "[1, 2]"), "429 rate_limited rules[Top]"),
                (post("/list", "[1]"), "200"),
            ])
            .await;
        // What never fits is told so, and not to come again.
        let never = place.send(post("/batch", &batch(11))).await.reply;
        assert_eq!(never.header("retry-after"), None, "{never:?}");
        assert!(never.json()["message"].as_str().unwrap().contains("alone is more than the limit"), "{never:?}");
        // What was held to be counted arrives whole.
        let arrived = place.arrived();
        assert!(arrived.iter().any(|seen| seen.text() == batch(6)), "{arrived:?}");
    }
}

/// curl says a length, or sends in chunks over HTTP/1.1 and in frames without one over HTTP/2.
#[tokio::test]
async fn the_bytes_of_a_body_are_what_is_counted_with_a_length_and_without() {
    let rules = "
  - {name: Cap, host: api.example.com, path: /bytes, action: {rateLimit: {requests: 1000, per: hour, weight: bytes}}}
  - {name: Items, host: api.example.com, path: /items, action: {rateLimit: {requests: 1000, per: hour, weight: {items: .}}}}
  - {name: Large, host: api.example.com, path: /large, action: {rateLimit: {requests: 3000000, per: hour, weight: bytes}}}
";
    let place = Place::new(&policy(rules), HOSTS).await;
    let file = |size: usize| {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(&vec![b'x'; size]).unwrap();
        file
    };
    let (six, five, four, one) = (file(600), file(500), file(400), file(1));
    let huge = file((1 << 20) + 1);
    for (protocol, agent) in [(Protocol::Http1, "a1"), (Protocol::Http2, "a2")] {
        let post = async |path: &str, body: &NamedTempFile, length: bool| {
            let data = format!("@{}", body.path().display());
            let (url, agent) = (format!("https://api.example.com{path}"), format!("X-Agent: {agent}"));
            let mut arguments = vec![protocol.flag(), "--header", &agent, "--data-binary", &data, &url];
            arguments.extend(if length { &[][..] } else { &["--header", "Transfer-Encoding: chunked"] });
            let answer = place.attache.curl(arguments).await;
            // Envoy answers and resets an HTTP/2 stream that is still uploading, and curl may see only that.
            let unheard = answer.status == 0 && protocol == Protocol::Http2;
            let record = place.attache.records().pop().unwrap();
            let status = if unheard { record["status"].as_u64().unwrap() as u16 } else { answer.status };
            (status, record["reason"].as_str().unwrap_or_default().to_owned())
        };
        let passed = (200, String::new());
        let limited = (429, "rate_limited".to_owned());
        let too_large = (413, "body_too_large_to_count".to_owned());
        assert_eq!(post("/bytes", &six, true).await, passed, "{agent}");
        assert_eq!(post("/bytes", &five, true).await, limited, "{agent}");
        assert_eq!(post("/bytes", &five, false).await, limited, "{agent}");
        assert_eq!(post("/bytes", &four, false).await, passed, "{agent}");
        assert_eq!(post("/bytes", &one, true).await, limited, "{agent}");
        assert_eq!(post("/bytes", &one, false).await, limited, "{agent}");
        // A length that is stated needs no holding.
        assert_eq!(post("/large", &huge, true).await, passed, "{agent}");
        assert_eq!(post("/large", &huge, false).await, too_large, "{agent}");
        assert_eq!(post("/items", &huge, true).await, too_large, "{agent}");
        let arrived: Vec<usize> = place.arrived().iter().map(|seen| seen.body.len()).collect();
        assert_eq!(arrived[arrived.len() - 3..], [600, 400, (1 << 20) + 1], "{agent}");
    }
}

/// A length that is a lie does not make a body cheaper.
#[tokio::test]
async fn a_body_that_is_longer_than_it_says_is_not_let_through() {
    let rules =
        "  - {name: Cap, host: api.example.com, action: {rateLimit: {requests: 10, per: hour, weight: bytes}}}\n";
    let place = Place::new(&policy(rules), HOSTS).await;
    let stream = Ask::get(Protocol::Http2, "https://api.example.com/").open(&place.attache).await.unwrap();
    let mut client = within("a stream", tunnel::h2(stream).await.ready()).await.unwrap();
    let request = http::Request::post("https://api.example.com/").header("x-agent", "a1").header("content-length", "5");
    let (answer, mut sending) = client.send_request(request.body(()).unwrap(), false).unwrap();
    sending.send_data(vec![b'x'; 5000].into(), true).unwrap();
    match within("an answer", answer).await {
        Ok(answer) => assert_ne!(answer.status(), 200),
        Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
    }
    assert!(place.arrived().iter().all(|seen| !seen.complete && seen.body.len() <= 5), "{:?}", place.arrived());
}

#[tokio::test]
async fn a_limit_that_only_watches_counts_and_lets_pass() {
    let policy = r#"
allowedDomains: [api.example.com]
rules:
  - {name: Cap, host: api.example.com, action: {rateLimit: {requests: 2, per: hour}}, mode: monitor}
credentials:
  - {name: key, envVarKey: KEY, injections: [{domain: api.example.com, headerName: X-Key, headerFormat: "{value}"}]}
"#;
    let place = Place::with(policy, HOSTS, |setup| setup.env("KEY", "s3cret")).await;
    for (number, protocol) in [PROTOCOLS, PROTOCOLS].concat().into_iter().enumerate() {
        let outcome = place.send(Ask::get(protocol, "https://api.example.com/")).await;
        assert_eq!(outcome.to_string(), "200");
        let (would, key) = if number < 2 { ("", Some("s3cret")) } else { ("rate_limited rules[Cap]", None) };
        assert_eq!(outcome.would(), would, "{number}: {}", outcome.record);
        assert_eq!(outcome.seen.unwrap().header("x-key"), key, "{number}");
    }
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}
