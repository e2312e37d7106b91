//! Which fields of an answer the agent gets to see, however the answer comes: through the real Envoy, over both
//! protocols.

use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::dlp::{brotli, gzip};
use crate::support::ask::Reply;
use crate::support::upstream::Answer;
use crate::support::{Ask, PROTOCOLS, Place, Protocol, process, tunnel, within};

const HOST: &str = "api.example.com";
const POLICY: &str = r#"
allowedDomains: [api.example.com]
responseFilters:
  - {name: Users, host: api.example.com, path: /v1/users, method: GET, includeFields: [id, name, email]}
  - {name: Orders, host: api.example.com, path: "/v1/orders/**", excludeFields: ["[].card.number", customer.ssn]}
  - {name: Streams, host: api.example.com, path: "/streams/*", excludeFields: [ssn]}
  - {name: Lenient, host: api.example.com, path: "/lenient/*", includeFields: [id], unparsableErrors: pass}
  - {name: Mine, host: api.example.com, path: /mine, agents: [ann], excludeFields: [ssn]}
credentials:
  - {name: key, envVarKey: KEY, injections: [{domain: api.example.com, path: "/v1/*", headerName: X-Api-Key, headerFormat: "{value}"}]}
agents:
  ann: {identity: [{header: {name: X-Attache-Agent, value: ann, trusted: true}}]}
  bob: {identity: [{header: {name: X-Attache-Agent, value: bob, trusted: true}}]}
"#;
const HELD: &str = "held-7Fq2mXw9Rt4Yv6Zb8Nc3Lk5Jh1";
const USER: &str = r#"{ "id": 1, "name": "Alice", "email": "a@b.com", "ssn": "123-45-6789", "salary": 95000 }"#;
const JSON: &str = "application/json";

async fn place() -> Place {
    Place::with(POLICY, [HOST], |setup| setup.env("KEY", HELD)).await
}

async fn ask(place: &Place, protocol: Protocol, method: &str, path: &str) -> Reply {
    let ask = Ask::new(protocol, method, &format!("https://{HOST}{path}")).header("x-attache-agent", "ann");
    ask.send(&place.attache).await
}

/// Without the blanks between values.
fn compact(text: &str) -> String {
    text.replace(' ', "")
}

#[tokio::test]
async fn the_agent_sees_the_named_fields_and_no_others() {
    let place = place().await;
    let numbers = r#"{"id":12345678901234567890123,"name":"\u00e9é","ssn":1,"email":1.50e+3}"#;
    let answers = [
        (Answer::new(JSON, USER), r#"{"id":1,"name":"Alice","email":"a@b.com"}"#.to_owned()),
        (Answer::new(JSON, numbers), numbers.replace(r#""ssn":1,"#, "")),
        (Answer::new(JSON, format!("[{USER},{USER}]")), {
            let one = r#"{"id":1,"name":"Alice","email":"a@b.com"}"#;
            format!("[{one},{one}]")
        }),
        (Answer::new(JSON, r#"{"user":{"id":1},"ssn":2}"#), "{}".to_owned()),
        (Answer::new("application/problem+json", USER), r#"{"id":1,"name":"Alice","email":"a@b.com"}"#.to_owned()),
        (Answer::new(JSON, r#""ssn""#), "null".to_owned()),
    ];
    for protocol in PROTOCOLS {
        for (answer, expected) in &answers {
            for cut in [usize::MAX, 1, 7] {
                place.upstream.tell("/v1/users", answer.clone().cut(cut));
                let reply = ask(&place, protocol, "GET", "/v1/users").await;
                assert_eq!((reply.status, compact(&reply.text())), (200, expected.clone()), "{protocol:?} {reply:?}");
            }
        }
        let orders =
            r#"[{"id":1,"card":{"number":"4111","month":5}},{"card":{"number":2}},{"customer":{"ssn":1,"a":"b"}}]"#;
        let left = r#"[{"id":1,"card":{"month":5}},{"card":{}},{"customer":{"a":"b"}}]"#;
        place.upstream.tell("/v1/orders/new", Answer::new(JSON, orders));
        let reply = ask(&place, protocol, "GET", "/v1/orders/new").await;
        assert_eq!((reply.status, &*reply.text()), (200, left), "{reply:?}");

        // Another agent, and another method.
        place.upstream.tell("/mine", Answer::new(JSON, USER));
        assert!(!ask(&place, protocol, "GET", "/mine").await.text().contains("ssn"));
        let bobs = Ask::get(protocol, &format!("https://{HOST}/mine")).header("x-attache-agent", "bob");
        assert_eq!(bobs.send(&place.attache).await.text(), USER);
        place.upstream.tell("/v1/users", Answer::new(JSON, USER));
        assert_eq!(ask(&place, protocol, "PUT", "/v1/users").await.text(), USER);
    }
}

#[tokio::test]
async fn compressed_answers_are_filtered() {
    let place = place().await;
    let users = format!("[{}{USER}]", format!("{USER},").repeat(2000));
    for protocol in PROTOCOLS {
        for (coding, body) in [("gzip", gzip(&users)), ("br", brotli(&users)), ("gzip, br", brotli(gzip(&users)))] {
            for cut in [usize::MAX, 100] {
                let answer = Answer::new(JSON, &body).field("content-encoding", coding).field("etag", "\"1\"").cut(cut);
                place.upstream.tell("/v1/users", answer);
                let reply = ask(&place, protocol, "GET", "/v1/users").await;
                let list: Vec<Value> = serde_json::from_str(&reply.text()).unwrap();
                assert!(list.len() == 2001 && list.iter().all(|user| user.as_object().unwrap().len() == 3), "{coding}");
                for gone in ["content-encoding", "etag"] {
                    assert_eq!(reply.header(gone), None, "it is about other bytes: {:?}", reply.headers);
                }
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_filtered_is_refused() {
    let place = place().await;
    let html = "<p>ssn: 123-45-6789</p>";
    let broken = format!("{}]", &USER[..60]);
    let cases = [
        (Answer::new("text/html", html), "/v1/users"),
        (Answer::new(JSON, html), "/v1/users"),
        (Answer::new(JSON, &broken), "/v1/users"),
        (Answer::new(JSON, format!("{USER}{USER}")), "/streams/a"),
        (Answer::new(JSON, gzip(USER)), "/v1/users"),
        (Answer::new(JSON, USER).field("content-encoding", "made-up"), "/v1/users"),
        (Answer::new("text/html", html).status(500), "/v1/users"),
        (Answer::new(JSON, USER).status(206), "/v1/users"),
        (Answer::new("text/html", html), "/lenient/a"),
    ];
    for protocol in PROTOCOLS {
        for (answer, path) in &cases {
            place.upstream.tell(path, answer.clone());
            let reply = ask(&place, protocol, "GET", path).await;
            assert_eq!((reply.status, &*reply.reason()), (502, "response_unparsable"), "{path} {reply:?}");
            assert!(!reply.body.contains("123-45-6789"), "{reply:?}");
            let id = reply.json()["requestId"].as_str().unwrap().to_owned();
            let record = place.attache.wait_record("its record", |record| record["requestId"] == *id).await;
            assert_eq!(record["reason"], "response_unparsable", "{record}");
        }
        // Errors are filtered too, and pass as they are where the policy says so.
        place.upstream.tell("/v1/users", Answer::new(JSON, USER).status(404));
        let reply = ask(&place, protocol, "GET", "/v1/users").await;
        assert!(reply.status == 404 && !reply.text().contains("ssn"), "{reply:?}");
        place.upstream.tell("/lenient/a", Answer::new("text/html", html).status(500));
        let reply = ask(&place, protocol, "GET", "/lenient/a").await;
        assert_eq!((reply.status, &*reply.text()), (500, html));
    }
}

#[tokio::test]
async fn answers_without_a_body_are_untouched() {
    let place = place().await;
    for protocol in PROTOCOLS {
        for status in [204, 304] {
            place.upstream.tell("/v1/users", Answer::new("", "").status(status).field("etag", "\"1\""));
            let reply = ask(&place, protocol, "GET", "/v1/users").await;
            assert_eq!((reply.status, &*reply.body), (status, ""), "{reply:?}");
            assert_eq!(reply.header("etag"), Some("\"1\""));
        }
        place.upstream.tell("/streams/a", Answer::new(JSON, USER).field("etag", "\"1\""));
        let ask = Ask::new(protocol, "HEAD", &format!("https://{HOST}/streams/a")).header("x-attache-agent", "ann");
        let reply = within("an answer", ask.send(&place.attache)).await;
        assert_eq!((reply.status, &*reply.body, reply.header("etag")), (200, "", Some("\"1\"")), "{reply:?}");
    }
}

#[tokio::test]
async fn nobody_gets_a_part_of_an_answer_that_is_filtered() {
    let place = place().await;
    place.upstream.tell("/v1/users", Answer::new(JSON, USER));
    place.upstream.tell("/free", Answer::new(JSON, USER));
    for protocol in PROTOCOLS {
        for (path, expected) in [("/v1/users", None), ("/free", Some("bytes=30-60"))] {
            let ask = Ask::get(protocol, &format!("https://{HOST}{path}")).header("x-attache-agent", "ann");
            let ask = ask.header("range", "bytes=30-60").header("if-range", "\"1\"");
            assert_eq!(ask.send(&place.attache).await.status, 200);
            let seen = place.upstream.requests().pop().unwrap();
            assert_eq!((seen.header("range"), seen.header("if-range").is_some()), (expected, expected.is_some()));
        }
    }
}

/// More than it may cost to hold: it goes through as it comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_document_is_filtered_and_kept_nowhere() {
    let place = place().await;
    let pid = place.attache.ready().service_pid;
    let users = |count: usize| format!("[{}{USER}]", format!("{USER},\n").repeat(count));
    let count = 400_000;
    place.upstream.tell("/v1/users", Answer::new(JSON, users(10)));
    assert_eq!(ask(&place, Protocol::Http1, "GET", "/v1/users").await.status, 200);
    let before = process::resident(pid);
    place.upstream.tell("/v1/users", Answer::new(JSON, users(count)).cut(1 << 16));
    let mut listener = Listener::open(&place, Protocol::Http2, "/v1/users").await;
    let (mut length, mut named) = (0, 0);
    while let Some(part) = listener.next().await {
        length += part.len();
        named += part.iter().filter(|byte| **byte == b'@').count();
    }
    assert_eq!((named, length < 30_000_000), (count + 1, true), "{length} bytes");
    let grown = process::most_resident(pid).saturating_sub(before);
    assert!(grown < 24 << 20, "it grew by {} KiB", grown >> 10);
}

/// An answer as it comes.
pub enum Listener {
    Http1(TcpStream),
    Http2(h2::RecvStream),
}

impl Listener {
    pub async fn open(place: &Place, protocol: Protocol, path: &str) -> Listener {
        let mut stream = TcpStream::connect(place.attache.proxy()).await.unwrap();
        match protocol {
            Protocol::Http1 => {
                let head = format!("GET http://{HOST}{path} HTTP/1.1\r\nHost: {HOST}\r\nX-Attache-Agent: ann\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                Listener::Http1(stream)
            }
            Protocol::Http2 => {
                let mut client = tunnel::h2(stream).await;
                let request = http::Request::get(format!("http://{HOST}{path}")).header("x-attache-agent", "ann");
                let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
                Listener::Http2(within("the head", answer).await.unwrap().into_body())
            }
        }
    }

    /// What comes until this has.
    pub async fn hear(&mut self, text: &str) -> String {
        let mut heard = String::new();
        while !heard.contains(text) {
            let part = self.next().await;
            let part = part.unwrap_or_else(|| panic!("the end before `{text}`, after `{heard}`"));
            heard.push_str(&String::from_utf8_lossy(&part));
        }
        heard
    }

    /// The next part; none at the end.
    async fn next(&mut self) -> Option<Vec<u8>> {
        match self {
            Listener::Http1(stream) => {
                let mut buffer = vec![0; 4096];
                let count = within("more", stream.read(&mut buffer)).await.unwrap();
                buffer.truncate(count);
                Some(buffer).filter(|buffer| !buffer.is_empty())
            }
            Listener::Http2(body) => {
                let part = within("more", body.data()).await?.unwrap();
                body.flow_control().release_capacity(part.len()).unwrap();
                Some(part.to_vec())
            }
        }
    }
}

/// The second event is sent only when the first has been heard.
#[tokio::test]
async fn events_and_lines_are_live() {
    let place = place().await;
    for protocol in PROTOCOLS {
        for (content_type, first, second) in [
            ("text/event-stream", "data: {\"n\":1,\"ssn\":\"123\"}\n\n", "data: {\"n\":2,\"ssn\":\"456\"}\n\n"),
            ("application/x-ndjson", "{\"n\":1,\"ssn\":\"123\"}\n", "{\"n\":2,\"ssn\":\"456\"}\n"),
        ] {
            let gate = Arc::new(Notify::new());
            place.upstream.tell("/streams/a", Answer::new(content_type, first).after(&gate, second));
            let mut listener = Listener::open(&place, protocol, "/streams/a").await;
            let mut heard = listener.hear("\"n\":1").await;
            gate.notify_one();
            heard += &listener.hear("\"n\":2").await;
            assert!(!heard.contains("ssn") && !heard.contains("123") && !heard.contains("456"), "{heard}");
        }
    }
}

#[tokio::test]
async fn a_stream_of_events_is_filtered_event_by_event() {
    let place = place().await;
    let events = ": hi\n\nevent: user\nid: 7\ndata: {\"id\":1,\ndata: \"ssn\":2}\n\ndata: [DONE]\n\n";
    let lines = "{\"ssn\":1,\"a\":[{\"ssn\":2}]}\n\n{\"b\":3}\n";
    for protocol in PROTOCOLS {
        for cut in [usize::MAX, 1, 11] {
            place.upstream.tell("/streams/a", Answer::new("text/event-stream", events).cut(cut));
            let text = ask(&place, protocol, "GET", "/streams/a").await.text();
            assert!(text.contains("event: user\n") && text.contains("data: [DONE]\n\n"), "{text}");
            assert!(text.contains("id: 7\n") && !text.contains("ssn"), "{text}");
            place.upstream.tell("/streams/a", Answer::new("application/x-ndjson", lines).cut(cut));
            let text = ask(&place, protocol, "GET", "/streams/a").await.text();
            let values: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            assert_eq!(values, [serde_json::json!({"a": [{"ssn": 2}]}), serde_json::json!({"b": 3})], "{text}");
        }
        let broken = "data: {\"a\":1}\n\ndata: {\"ssn\": nothing}\n\n";
        place.upstream.tell("/streams/a", Answer::new("text/event-stream", broken));
        let reply = ask(&place, protocol, "GET", "/streams/a").await;
        assert!(!reply.body.contains("nothing"), "{reply:?}");
    }
}

/// The fields are filtered first, and what is left is searched for what is held.
#[tokio::test]
async fn a_filtered_answer_is_searched_too() {
    let place = place().await;
    let body = format!(r#"{{"id":"{HELD}","name":"Bearer {HELD}","ssn":"{HELD}"}}"#);
    for protocol in PROTOCOLS {
        for answer in
            [Answer::new(JSON, &body), Answer::new(JSON, gzip(&body)).field("content-encoding", "gzip").cut(9)]
        {
            place.upstream.tell("/v1/users", answer);
            let reply = ask(&place, protocol, "GET", "/v1/users").await;
            let json: Value = serde_json::from_str(&reply.text()).unwrap();
            assert!(reply.status == 200 && json["ssn"].is_null() && !reply.body.contains(HELD), "{reply:?}");
        }
    }
}
