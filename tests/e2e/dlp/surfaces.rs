//! Wherever in a request it stands, and however it is written or cut.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::body::Bytes;
use tokio::net::TcpStream;

use super::{HELD, KEY, RULE, assert_untold, base64, brotli, deflate, finding, gzip, hex, passed, refused};
use crate::support::{Ask, Dns, PROTOCOLS, Place, Protocol, tunnel, within};

const POLICY: &str = "allowedDomains: [api.example.com, '*.api.example.com', other.example]";
const HOST: &str = "api.example.com";

async fn place() -> Place {
    Place::new(POLICY, [HOST, "other.example"]).await
}

fn post(protocol: Protocol, content_type: &str, body: impl AsRef<[u8]>) -> Ask {
    Ask::new(protocol, "POST", "https://api.example.com/things").header("content-type", content_type).whole_body(body)
}

#[tokio::test]
async fn in_any_part_of_the_head() {
    let place = place().await;
    for protocol in PROTOCOLS {
        let url = |rest: String| Ask::get(protocol, &format!("https://{HOST}{rest}"));
        let percent: String = KEY.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let twice = percent.replace('%', "%25");
        for (ask, location) in [
            (url(format!("/v1/{KEY}/x")), "path"),
            (url(format!("/v1/{}", URL_SAFE_NO_PAD.encode(KEY))), "path → base64"),
            (url(format!("/?a=1&{KEY}=2")), "query"),
            (url(format!("/?a={percent}")), "query → percent"),
            (url(format!("/?a={twice}")), "query → percent"),
            (url(format!("/?a={}", hex(KEY))), "query → hex"),
            (url("/".to_owned()).header("x-note", format!("see {KEY}")), "header x-note"),
            (url("/".to_owned()).header("user-agent", format!("agent/{KEY}")), "header user-agent"),
            (url("/".to_owned()).header("x-note", base64(format!("the key is {KEY}"))), "header x-note → base64"),
            (url("/".to_owned()).header("referer", format!("https://a.example/?k={KEY}")), "header referer"),
        ] {
            refused(&place, ask, RULE, location).await;
        }
        let cookie = url("/".to_owned()).header("cookie", format!("a=b; c={KEY}"));
        assert_eq!(place.send(cookie).await.to_string(), format!("403 own_credentials {RULE}"));
    }
    assert_untold(&place, &[KEY]);
}

/// What no registry knows may be anything, and is neither let out nor told.
#[tokio::test]
async fn in_the_place_of_a_method() {
    let place = place().await;
    let ask = |method: &str, host: &str| Ask::new(Protocol::Http2, method, &format!("https://{host}/x"));
    for (method, location) in [(KEY.to_owned(), "method"), (hex(KEY), "method → hex")] {
        let outcome = place.send_bytes(ask(&method, HOST)).await;
        assert_eq!(outcome.to_string(), format!("403 dlp_blocked {RULE}"), "{outcome:?}");
        assert_eq!(finding(&outcome.record, RULE)["location"], location, "{}", outcome.record);
        assert_eq!(outcome.record["method"], "***", "{}", outcome.record);
        // It is refused before anybody looks.
        let plain = Ask::new(Protocol::Http2, &method, "http://unlisted.example/x");
        let outcome = place.send_bytes(plain).await;
        assert_eq!(outcome.to_string(), "403 domain_not_allowed", "{outcome:?}");
        assert_eq!(outcome.record["method"], "***", "{}", outcome.record);
    }
    let outcome = place.send_bytes(ask("PURGE", HOST)).await;
    assert_eq!((outcome.to_string().as_str(), &outcome.record["method"]), ("200", &"PURGE".into()), "{outcome:?}");
    // Cut into the method and what follows it.
    let (first, second) = KEY.split_at(9);
    let cut = Ask::new(Protocol::Http2, first, &format!("https://other.example/?a={second}"));
    let outcome = place.send_bytes(cut).await;
    assert_eq!(outcome.to_string(), format!("403 dlp_blocked {RULE}"), "{outcome:?}");
    assert_untold(&place, &[KEY]);
}

#[tokio::test]
async fn in_any_part_of_a_body() {
    let place = place().await;
    let part = |head: &str, content: &str| {
        format!("--b1\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n--b1--\r\n")
    };
    let chat = format!(
        r#"{{"model":"m","messages":[{{"role":"system","content":"be kind"}},{{"role":"user","content":"it is {KEY}"}}]}}"#
    );
    let nested = serde_json::json!({"a": serde_json::json!({"b": KEY}).to_string()}).to_string();
    let escaped: String = KEY.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let multipart = "multipart/form-data; boundary=b1";
    for protocol in PROTOCOLS {
        for (content_type, body, location) in [
            ("text/plain", format!("so it is {KEY}, he said"), "body"),
            ("application/octet-stream", format!("\u{0}\u{1}{KEY}\u{0}"), "body"),
            ("application/x-www-form-urlencoded", format!("a=b&c={KEY}"), "body.c"),
            ("application/json", chat.clone(), "body.$.messages[1].content"),
            ("application/json", format!(r#"{{"{KEY}": 1}}"#), "body.$"),
            ("application/json", format!(r#"{{"a":[{{"b":"{escaped}"}}]}}"#), "body.$.a[0].b → escapes"),
            ("application/json", format!(r#"{{"a":"{}"}}"#, base64(format!("key={KEY}"))), "body.$.a → base64"),
            ("application/json", format!(r#"{{"a":"{}"}}"#, base64(gzip(KEY))), "body.$.a → base64 → gzip"),
            ("application/x-ndjson", format!("{{\"a\":1}}\n{{\"b\":\"{KEY}\"}}\n"), "body"),
            (multipart, part("name=\"a\"", KEY), "body.a"),
            (multipart, part(&format!("name=\"a\"; filename=\"{KEY}.txt\""), "x"), "body"),
            ("application/xml", format!("<a><b>{KEY}</b></a>"), "body"),
        ] {
            let outcome = place.send(post(protocol, content_type, &body)).await;
            assert_eq!(outcome.to_string(), format!("403 dlp_blocked {RULE}"), "{body}: {outcome:?}");
            let found = finding(&outcome.record, RULE)["location"].as_str().unwrap().to_owned();
            assert!(found.starts_with(location), "{body}: {found} is not {location}");
        }
        let outcome = place.send(post(protocol, "application/json", nested.as_bytes())).await;
        assert_eq!(outcome.to_string(), format!("403 dlp_blocked {RULE}"));
        passed(&place, post(protocol, "application/json", chat.replace(KEY, "nothing"))).await;
    }
    assert_untold(&place, &[KEY]);
}

#[tokio::test]
async fn in_any_compression_and_charset() {
    let place = place().await;
    let text = format!("{{\"a\":\"{} {KEY}\"}}", "words and more of them ".repeat(40));
    let wide = |big: bool| -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let zstd = zstd::encode_all(text.as_bytes(), 3).unwrap();
    for protocol in PROTOCOLS {
        for (coding, body, step) in [
            ("gzip", gzip(&text), "gzip"),
            ("br", brotli(&text), "br"),
            ("zstd", zstd.clone(), "zstd"),
            ("deflate", deflate(&text), "deflate"),
            ("x-gzip", gzip(&text), "gzip"),
            ("gzip, br", brotli(gzip(&text)), "gzip"),
        ] {
            let ask = post(protocol, "application/json", &body).header("content-encoding", coding);
            let outcome = place.send(ask).await;
            assert_eq!(outcome.to_string(), format!("403 dlp_blocked {RULE}"), "{coding}");
            let location = finding(&outcome.record, RULE)["location"].as_str().unwrap().to_owned();
            assert!(location.contains(step), "{coding}: {location}");
        }
        for (content_type, body) in [
            ("application/json; charset=utf-16le", wide(false)),
            ("text/plain; charset=utf-16be", wide(true)),
            ("application/octet-stream", gzip(&text)),
        ] {
            let outcome = place.send(post(protocol, content_type, &body)).await;
            assert_eq!(outcome.to_string(), format!("403 dlp_blocked {RULE}"), "{content_type}");
        }
        let clean = gzip(text.replace(KEY, "nothing"));
        let outcome = passed(&place, post(protocol, "text/plain", &clean).header("content-encoding", "gzip")).await;
        assert_eq!(outcome.seen.unwrap().body, clean, "what is clean goes on as it came");
    }
    assert_untold(&place, &[KEY]);
}

#[tokio::test]
async fn cut_into_pieces() {
    let place = place().await;
    let (first, second) = KEY.split_at(9);
    for protocol in PROTOCOLS {
        for ask in [
            Ask::get(protocol, &format!("https://{HOST}/?a={first}&b={second}")),
            Ask::get(protocol, &format!("https://{HOST}/x/{first}/{second}")),
            Ask::get(protocol, &format!("https://{HOST}/")).header("x-a", first).header("x-b", second),
            post(protocol, "application/json", format!(r#"{{"a":"{first}","b":"{second}"}}"#)),
            post(protocol, "application/x-www-form-urlencoded", format!("a={first}&b={second}")),
        ] {
            let outcome = place.send(ask.clone()).await;
            assert_eq!(outcome.to_string(), format!("403 dlp_blocked {RULE}"), "{ask:?}");
            let location = finding(&outcome.record, RULE)["location"].as_str().unwrap().to_owned();
            assert!(location.contains("split"), "{location}");
        }
        let url = format!("https://{HOST}/?a={first}");
        let over_both = Ask::new(protocol, "POST", &url).header("content-type", "application/json");
        let outcome = place.send(over_both.whole_body(format!(r#"{{"b":"{second}"}}"#))).await;
        assert_eq!(outcome.to_string(), format!("403 dlp_blocked {RULE}"));
    }
}

/// Three of the four pieces leave: each could be anything. The one that would complete it does not.
#[tokio::test]
async fn cut_over_several_requests() {
    for protocol in PROTOCOLS {
        let place = place().await;
        let pieces: Vec<_> = (0..4).map(|at| &KEY[at * 5..(at + 1) * 5]).collect();
        for piece in &pieces[..3] {
            passed(&place, Ask::get(protocol, &format!("https://{HOST}/?d={piece}"))).await;
            // What goes elsewhere is no piece of it.
            passed(&place, Ask::get(protocol, "https://other.example/?d=other")).await;
        }
        let last = Ask::get(protocol, &format!("https://{HOST}/?d={}", pieces[3]));
        let outcome = refused(&place, last, RULE, "requests → split").await;
        assert_eq!(outcome.record["decision"], "deny");
        let elsewhere = Ask::get(protocol, &format!("https://other.example/?d={}", pieces[3]));
        passed(&place, elsewhere).await;
    }
}

/// Whoever registered a domain has all hosts below it, and nobody else what is sent there.
#[tokio::test]
async fn cut_over_several_hosts_of_one_domain() {
    let policy = "
allowedDomains: [api.example.com, '*.api.example.com', other.example]
agents:
  ann: {identity: [{header: {name: X-Attache-Agent, value: ann, trusted: true}}]}
  bob: {identity: [{header: {name: X-Attache-Agent, value: bob, trusted: true}}]}
credentials:
  - {name: key, envVarKey: KEY, injections: [{domain: other.example, headerName: Authorization, headerFormat: '{value}'}]}
";
    let hosts = [HOST, "a.api.example.com", "b.api.example.com", "other.example"];
    for protocol in PROTOCOLS {
        let place = Place::with(policy, hosts, |setup| setup.env("KEY", HELD)).await;
        let ask = |agent: &str, host: &str, rest: &str| {
            Ask::get(protocol, &format!("https://{host}/{rest}")).header("x-attache-agent", agent)
        };
        for (value, rule) in [(KEY, RULE), (HELD, "known-secret:key")] {
            // Of a known secret sixteen bytes are one too many.
            let (first, rest) = value.split_at(10);
            let second = &rest[..rest.len().min(12)];
            passed(&place, ask("ann", "a.api.example.com", &format!("?part={first}"))).await;
            passed(&place, ask("ann", "a.api.example.com", "?q=llm+security")).await;
            passed(&place, ask("bob", "b.api.example.com", &format!("?part={second}"))).await;
            passed(&place, ask("ann", "other.example", &format!("?part={second}"))).await;
            let outcome = place.send(ask("ann", "b.api.example.com", &format!("?part={second}"))).await;
            assert_eq!(outcome.to_string(), format!("403 dlp_blocked {rule}"), "{outcome:?}");
            let location = finding(&outcome.record, rule)["location"].as_str().unwrap().to_owned();
            assert!(location.starts_with("requests → split"), "{location}");
            // What was refused has not left: there is nothing yet to complete.
            let again = place.send(ask("ann", HOST, &format!("?part={second}"))).await;
            assert_eq!(again.to_string(), format!("403 dlp_blocked {rule}"), "{again:?}");
        }
        assert_untold(&place, &[KEY, HELD]);
    }
}

/// A name and password before the host are no part of what goes on, and no way round.
#[tokio::test]
async fn before_the_host() {
    let place = place().await;
    for url in [format!("http://{KEY}@{HOST}/x"), format!("http://ann:{KEY}@{HOST}/x")] {
        let head = format!("GET {url} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        let mut stream = TcpStream::connect(place.attache.proxy()).await.unwrap();
        let answer = tunnel::raw(&mut stream, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    for authority in [format!("{KEY}@{HOST}"), format!("ann:{KEY}@{HOST}")] {
        for protocol in PROTOCOLS {
            let reply = Ask::get(protocol, &format!("https://{HOST}/x")).authority(&authority);
            let reply = reply.send_bytes(&place.attache).await;
            assert!([0, 400, 403, 421].contains(&reply.status), "{authority} {reply:?}");
        }
    }
    let arrived = place.arrived();
    assert!(arrived.iter().all(|seen| seen.authority == HOST && !format!("{seen:?}").contains(KEY)), "{arrived:?}");
    assert_untold(&place, &[KEY]);
}

#[tokio::test]
async fn in_the_name_of_a_host() {
    let dns = Dns::start().await;
    let label = hex(KEY);
    let host = format!("{label}.{HOST}");
    dns.answer(&host, ["127.0.0.1"]);
    let place = Place::with(POLICY, [HOST, "other.example"], |setup| setup.dns(&dns)).await;
    for protocol in PROTOCOLS {
        for scheme in ["http", "https"] {
            let outcome = place.send(Ask::get(protocol, &format!("{scheme}://{host}/"))).await;
            assert!(outcome.to_string().ends_with(&format!("403 dlp_blocked {RULE}")), "{scheme} {outcome:?}");
        }
    }
    // Who asks a name server has told it.
    assert_eq!(dns.asked().len(), 0, "{:?}", dns.asked());
    assert!(place.arrived().is_empty());
    assert_untold(&place, &[KEY]);
}

#[tokio::test]
async fn in_trailers_and_chunks() {
    let place = place().await;
    for (value, status) in [("fine", 200), (KEY, 403)] {
        let mut client = tunnel::h2(TcpStream::connect(place.attache.proxy()).await.unwrap()).await;
        let request = http::Request::post(format!("http://{HOST}/trailers")).body(()).unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from("hello"), false).unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-checksum", value.parse().unwrap());
        body.send_trailers(trailers).unwrap();
        let answer = within("an answer", answer).await.unwrap();
        assert_eq!(answer.status(), status);
    }
    assert!(place.arrived().iter().all(|seen| !format!("{seen:?}").contains(KEY)));

    // Over HTTP/1.1 nobody needs them, and they do not go on.
    let head = format!("POST http://{HOST}/trailing HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let request = format!("{head}5\r\nhello\r\n0\r\nX-Checksum: {KEY}\r\n\r\n");
    let mut stream = TcpStream::connect(place.attache.proxy()).await.unwrap();
    tunnel::raw(&mut stream, request.as_bytes()).await;
    assert!(place.arrived().iter().all(|seen| !format!("{seen:?}").contains(KEY)));

    // However it is cut, what has left when it is found are bytes before it.
    for length in [1, 7, 19] {
        let chunks: String = KEY
            .as_bytes()
            .chunks(length)
            .map(|part| format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(part)))
            .collect();
        let head = format!("POST http://{HOST}/chunks HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let request = format!("{head}5\r\nkey: \r\n{chunks}5\r\n said\r\n0\r\n\r\n");
        let mut stream = TcpStream::connect(place.attache.proxy()).await.unwrap();
        let answer = tunnel::raw(&mut stream, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("dlp_blocked"), "{answer}");
        let left: Vec<_> = place.arrived().into_iter().filter(|seen| seen.path == "/chunks").collect();
        for seen in left {
            assert!(!seen.complete && "key: ".starts_with(&*seen.text()), "{seen:?}");
        }
    }
    assert_untold(&place, &[KEY]);
}
