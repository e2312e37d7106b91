//! What policy judges is what the upstream reads: path, method and authority, however they are written.
//!
//! Every request here is written byte by byte, in HTTP/1.1 and in HTTP/2 frames.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use crate::support::Stage::{Connect, Request};
use crate::support::place::equivalent;
use crate::support::{Ask, Attache, PROTOCOLS, Protocol, Stage, Upstream, Way, records, tunnel};

const POLICY: &str = "
allowedDomains:
  - open.example
  - pattern: narrow.example
    httpRestrictions:
      - {method: GET, path: '/open/**'}
      - {method: GET, path: /exact}
      - {method: any, path: '/any/*'}
  - half.example
  - pattern: half.example
    action: deny
    httpRestrictions:
      - {method: GET, path: '/admin/**'}
      - {path: /secret}
  - {pattern: keep.example, allowOverrideHeaders: true}
  - other.example
";

const HOSTS: [&str; 5] = ["open.example", "narrow.example", "half.example", "keep.example", "other.example"];

struct Place {
    upstream: Upstream,
    attache: Attache,
}

impl Place {
    async fn new() -> Place {
        let upstream = Upstream::https(HOSTS).await;
        let plain = Upstream::http().await;
        let mut setup = Attache::up(POLICY);
        for host in HOSTS {
            setup = setup.resolve(host, &upstream).resolve_port(host, 80, &plain);
        }
        Place { upstream, attache: setup.start().await }
    }

    /// Sends it and compares what arrived with what is on record. The status, or what did not agree.
    async fn judged(&self, ask: Ask) -> Result<(u16, Stage, Option<String>), String> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let case = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        // What Envoy refuses by itself comes on record when it says so, maybe during a later case.
        let allowed = || records(&self.attache).into_iter().filter(|record| record["decision"] == "allow");
        let all = allowed().count();
        let reply = ask.header("x-case", &case).send_bytes(&self.attache).await;
        let mut arrived = self.upstream.requests();
        arrived.retain(|seen| seen.header("x-case") == Some(&case));
        if reply.status != 200 {
            return match arrived.is_empty() {
                true => Ok((reply.status, reply.stage, None)),
                false => Err(format!("{} and yet it arrived: {arrived:?}", reply.status)),
            };
        }
        let [seen] = &arrived[..] else { return Err(format!("{} requests arrived", arrived.len())) };
        let Some(record) = allowed().nth(all) else { return Err("nothing is on record".to_owned()) };
        let (path, _) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        let agree = text("method") == seen.method
            && text("host").eq_ignore_ascii_case(seen.authority.trim_end_matches(":443").trim_end_matches('.'))
            && text("path") == equivalent(path);
        match agree {
            true => Ok((200, reply.stage, Some(seen.path.clone()))),
            false => {
                Err(format!("judged {record}, but there arrived {} {} {}", seen.method, seen.authority, seen.path))
            }
        }
    }

    async fn check(&self, host: &str, cases: &[(&str, &[u8], Result<&str, u16>)]) {
        let all = PROTOCOLS.into_iter().flat_map(|protocol| {
            cases.iter().map(move |(method, target, expected)| {
                let name = format!("{protocol:?} {method} {}", String::from_utf8_lossy(target));
                (name, Ask::new(protocol, method, &format!("https://{host}/")).target(target), *expected)
            })
        });
        self.check_all(all).await;
    }

    /// What is refused is asked at once: Envoy takes a second to close what is no HTTP/2.
    async fn check_all<'a>(&self, cases: impl IntoIterator<Item = (String, Ask, Result<&'a str, u16>)>) {
        let (pass, refused): (Vec<_>, Vec<_>) = cases.into_iter().partition(|(_, _, expected)| expected.is_ok());
        let check = async |(name, ask, expected): (String, Ask, Result<&str, u16>)| {
            let http2 = ask.is_http2();
            match (self.judged(ask).await, expected) {
                (Ok((200, Request, Some(path))), Ok(wanted)) if path == wanted => None,
                (Ok((status, Request, None)), Err(wanted)) if status == wanted => None,
                // What HTTP/2 itself forbids ends the stream without an answer.
                (Ok((0, Request, None)), Err(400)) if http2 => None,
                (found, _) => Some(format!("{name}: expected {expected:?}, found {found:?}")),
            }
        };
        let mut wrong: Vec<_> = join_all(refused.into_iter().map(&check)).await.into_iter().flatten().collect();
        for case in pass {
            wrong.extend(check(case).await);
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[tokio::test]
async fn a_path_is_resolved_once_or_refused() {
    let place = Place::new().await;
    place
        .check(
            "open.example",
            &[
                ("GET", b"/a/b", Ok("/a/b")),
                ("GET", b"/a/", Ok("/a/")),
                ("GET", b"/A/b", Ok("/A/b")),
                ("GET", b"/a/./b", Ok("/a/b")),
                ("GET", b"/a/../b", Ok("/b")),
                ("GET", b"/a/b/..", Ok("/a/")),
                ("GET", b"/a/%2e%2E/b", Ok("/b")),
                ("GET", b"/a/%2e/b", Ok("/a/b")),
                ("GET", b"/a/.%2e/b", Ok("/b")),
                ("GET", b"/../../b", Ok("/b")),
                ("GET", b"//a///b", Ok("/a/b")),
                ("GET", b"/a//../b", Ok("/a/b")),
                ("GET", b"/a;v=1/b;w", Ok("/a;v=1/b;w")),
                // To servers that drop parameters first, these are dot segments; Envoy takes them for such.
                ("GET", b"/a/..;/b", Ok("/b")),
                ("GET", b"/a/..;x=1/b", Ok("/b")),
                ("GET", b"/a/.;/b", Ok("/a/b")),
                ("GET", b"/a/%2e%2e;/b", Err(400)),
                ("GET", b"/...", Ok("/...")),
                ("GET", b"/%E2%82%AC", Ok("/%E2%82%AC")),
                ("GET", b"/a%20b", Ok("/a%20b")),
                ("GET", b"/a?x=/../y&z=%2f%zz", Ok("/a?x=/../y&z=%2f%zz")),
                ("GET", b"/a?x?y", Ok("/a?x?y")),
                ("GET", b"/a%2fb", Err(400)),
                ("GET", b"/a%2Fb", Err(400)),
                ("GET", b"/a%5cb", Err(400)),
                ("GET", b"/a/..%2fb", Err(400)),
                ("GET", b"/a%00", Err(400)),
                ("GET", b"/a%0d%0ab", Err(400)),
                ("GET", b"/a%7f", Err(400)),
                ("GET", b"/a%252fb", Err(400)),
                ("GET", b"/a%252e%252e/b", Err(400)),
                ("GET", b"/a%255cb", Err(400)),
                ("GET", b"/a%zz", Err(400)),
                ("GET", b"/a%", Err(400)),
                ("GET", b"/a%2", Err(400)),
                ("GET", b"/a%%32%66b", Err(400)),
                ("GET", b"/a\tb", Err(400)),
                ("GET", b"/a b", Err(400)),
                ("GET", b"/a\x01b", Err(400)),
                ("GET", b"/a\x7fb", Err(400)),
                ("GET", b"/a#b", Err(400)),
                ("GET", b"/a?b#c", Err(400)),
                ("GET", b"a/b", Err(400)),
            ],
        )
        .await;
}

/// Digits of an escape that are escaped themselves: once decoded, this is the escape of a slash or dot.
#[tokio::test]
async fn a_doubly_encoded_byte_is_refused_however_its_digits_are_written() {
    let place = Place::new().await;
    place
        .check(
            "open.example",
            &[
                ("GET", b"/a%25%32%66b", Err(400)),
                ("GET", b"/a%252%66b", Err(400)),
                ("GET", b"/a%25%32fb", Err(400)),
                ("GET", b"/%25%32%65%25%32%65/b", Err(400)),
            ],
        )
        .await;
}

#[tokio::test]
async fn a_backslash_is_no_way_round() {
    let place = Place::new().await;
    place
        .check(
            "narrow.example",
            &[
                ("GET", b"/a\\b", Err(403)),
                ("GET", b"/open\\..\\secret", Err(403)),
                ("GET", b"/open/..\\secret", Err(403)),
                ("GET", b"\\a", Err(400)),
                // Envoy reads it as a slash, and so it leaves as one.
                ("GET", b"/open\\a", Ok("/open/a")),
            ],
        )
        .await;
}

#[tokio::test]
async fn permitting_paths_and_methods_match_exactly() {
    let place = Place::new().await;
    place
        .check(
            "narrow.example",
            &[
                ("GET", b"/exact", Ok("/exact")),
                ("GET", b"/exact?x=1", Ok("/exact?x=1")),
                ("GET", b"/open/a/b", Ok("/open/a/b")),
                ("GET", b"/secret/../open/x", Ok("/open/x")),
                ("GET", b"/any/x", Ok("/any/x")),
                ("DELETE", b"/any/x", Ok("/any/x")),
                ("PROPFIND", b"/any/x", Ok("/any/x")),
                ("GET", b"/exact/", Err(403)),
                ("GET", b"/Exact", Err(403)),
                ("GET", b"/exact;v=1", Err(403)),
                ("GET", b"/exact%20", Err(403)),
                ("GET", b"/exactly", Err(403)),
                ("GET", b"/x/exact", Err(403)),
                ("GET", b"/OPEN/x", Err(403)),
                ("GET", b"/open", Err(403)),
                ("GET", b"/opener/x", Err(403)),
                ("GET", b"/any/", Err(403)),
                ("GET", b"/open/../secret", Err(403)),
                ("GET", b"/open/%2e%2e/secret", Err(403)),
                ("GET", b"/open/..%2fsecret", Err(400)),
                ("GET", b"/open/..;/secret", Err(403)),
                ("GET", b"/open/%252e%252e/secret", Err(400)),
                ("GET", b"/secret?/open/x", Err(403)),
                ("HEAD", b"/exact", Err(403)),
                ("POST", b"/exact", Err(403)),
                ("TRACE", b"/any/x", Err(403)),
            ],
        )
        .await;
    // Spelled otherwise, and the same by RFC 3986.
    for protocol in PROTOCOLS {
        let ask = Ask::get(protocol, "https://narrow.example/").target("/ex%61ct");
        let (status, ..) = place.judged(ask).await.unwrap();
        assert_eq!(status, 200);
    }
}

#[tokio::test]
async fn restricting_paths_and_methods_match_in_every_spelling() {
    let place = Place::new().await;
    place
        .check(
            "half.example",
            &[
                ("GET", b"/secrets", Ok("/secrets")),
                ("POST", b"/admin/x", Ok("/admin/x")),
                ("GET", b"/x/secret", Ok("/x/secret")),
                ("GET", b"/secret", Err(403)),
                ("PUT", b"/secret", Err(403)),
                ("GET", b"/secret?x", Err(403)),
                ("GET", b"/SECRET", Err(403)),
                ("GET", b"/secret/", Err(403)),
                ("GET", b"//secret", Err(403)),
                ("GET", b"/x/../secret", Err(403)),
                ("GET", b"/secret;v=1", Err(403)),
                ("GET", b"/secret%20", Err(403)),
                ("GET", b"/s%65cret", Err(403)),
                ("GET", b"/Admin/x", Err(403)),
                ("GET", b"/admin;v=1/x", Err(403)),
                ("GET", b"/%61dmin/x", Err(403)),
                ("HEAD", b"/admin/x", Err(403)),
            ],
        )
        .await;
}

#[tokio::test]
async fn a_method_in_another_case_is_another_method() {
    let place = Place::new().await;
    let cases = |protocol| {
        let (known, unknown) = if protocol == Protocol::Http2 { (403, 400) } else { (400, 400) };
        [
            ("get", "https://narrow.example/exact", known),
            ("Get", "https://narrow.example/exact", known),
            ("get", "https://half.example/admin/x", known),
            ("GE T", "https://open.example/", unknown),
            ("", "https://open.example/", unknown),
        ]
        .map(|(method, url, status)| {
            (format!("{protocol:?} {method} {url}"), Ask::new(protocol, method, url), Err(status))
        })
    };
    place.check_all(PROTOCOLS.into_iter().flat_map(cases)).await;
}

/// `any` is all but TRACE and CONNECT, and some servers do not mind the case.
#[tokio::test]
async fn any_method_is_not_trace_in_any_case() {
    let place = Place::new().await;
    let mut wrong = Vec::new();
    for protocol in PROTOCOLS {
        for method in ["TRACE", "trace", "Trace", "connect"] {
            for url in ["https://narrow.example/any/x", "https://open.example/"] {
                match place.judged(Ask::new(protocol, method, url)).await {
                    Ok((400 | 403, Request, None)) => {}
                    found => wrong.push(format!("{protocol:?} {method} {url}: {found:?}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn connect_inside_a_tunnel_is_refused() {
    let place = Place::new().await;
    let ask = |protocol| Ask::new(protocol, "CONNECT", "https://open.example/");
    let mut stream = ask(Protocol::Http1).open(&place.attache).await.unwrap();
    for authority in ["open.example:443", "other.example:443", "127.0.0.1:22"] {
        let answer =
            tunnel::raw(&mut stream, format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes())
                .await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{authority}: {answer}");
        stream = ask(Protocol::Http1).open(&place.attache).await.unwrap();
    }
    let mut client = tunnel::h2(ask(Protocol::Http2).open(&place.attache).await.unwrap()).await;
    let request = http::Request::connect("other.example:443").body(()).unwrap();
    let (answer, _) = client.send_request(request, false).unwrap();
    if let Ok(answer) = answer.await {
        assert_eq!(answer.status(), 400);
    }
    assert!(place.upstream.connections().is_empty());
}

#[tokio::test]
async fn headers_that_name_another_request_are_taken_out_unless_policy_keeps_them() {
    const OVERRIDES: [(&str, &str); 12] = [
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "DELETE"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-original-uri", "/admin"),
        ("x-original-method", "DELETE"),
        ("forwarded", "for=192.0.2.1;host=other.example"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "other.example"),
        ("x-forwarded-port", "81"),
        ("x-forwarded-prefix", "/admin"),
    ];
    // Those are Envoy's or ours, whatever policy says.
    const NEVER: [(&str, &str); 9] = [
        ("x-envoy-original-dst-host", "127.0.0.1:1"),
        ("x-envoy-original-path", "/admin"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("x-attache-int-route", "plain"),
        ("x-attache-anything", "x"),
        ("x-request-id", "00000000-0000-4000-8000-000000000000"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
        ("proxy-connection", "keep-alive"),
        ("x-forwarded-proto", "http"),
    ];
    let place = Place::new().await;
    for protocol in PROTOCOLS {
        for way in [Way::Tunnel, Way::Absolute] {
            for (host, kept) in [("open.example", false), ("keep.example", true)] {
                let mut ask = Ask::get(protocol, &format!("https://{host}/x")).by(way).header("x-plain", "kept");
                for (name, value) in OVERRIDES.iter().chain(&NEVER) {
                    // RFC 9113 §8.2.2: a field that HTTP/2 does not have.
                    if protocol == Protocol::Http1 || *name != "proxy-connection" {
                        ask = ask.header(name, value);
                    }
                }
                let (status, ..) = place.judged(ask).await.unwrap();
                assert_eq!(status, 200, "{host} {way:?} {protocol:?}");
                let seen = place.upstream.requests().pop().unwrap();
                for (name, value) in OVERRIDES {
                    assert_eq!(seen.header(name), kept.then_some(value), "{name} {host} {way:?} {protocol:?}");
                }
                for (name, _) in NEVER {
                    assert_eq!(seen.header(name), None, "{name} {host} {way:?} {protocol:?}");
                }
                assert_eq!(seen.header("x-plain"), Some("kept"));
                assert!(seen.sni.is_some(), "it left in plaintext");
                let ours = seen
                    .headers
                    .keys()
                    .find(|n| n.as_str().starts_with("x-envoy") || n.as_str().starts_with("x-attache"));
                assert_eq!(ours, None);
                let id = records(&place.attache).pop().unwrap()["requestId"].clone();
                assert_ne!(id, "00000000-0000-4000-8000-000000000000", "the agent chose the id of its record");
            }
        }
    }
}

#[tokio::test]
async fn tunnel_tls_name_and_authority_are_one_host() {
    let place = Place::new().await;
    let cases = |protocol| {
        let ask = |url: &str| Ask::get(protocol, url);
        let mut cases = vec![
            ("all the same", ask("https://open.example/"), Ok("/")),
            ("with its port", ask("https://open.example/").authority("open.example:443"), Ok("/")),
            ("in another case", ask("https://open.example/").authority("OPEN.example"), Ok("/")),
            ("with the final dot", ask("https://open.example/").authority("open.example."), Ok("/")),
            ("another host inside", ask("https://open.example/").authority("other.example"), Err(421)),
            ("another port inside", ask("https://open.example/").authority("open.example:8443"), Err(421)),
            ("another TLS name", ask("https://open.example/").sni("other.example"), Err(421)),
            ("another tunnel", ask("https://open.example/").connect("other.example:443"), Err(421)),
            ("fronting", ask("https://open.example/").sni("other.example").authority("other.example"), Err(421)),
            ("a name that is refused", ask("https://open.example/").authority("unlisted.example"), Err(421)),
            ("plain inside", ask("http://open.example/").by(Way::PlainTunnel).authority("other.example"), Err(421)),
            ("user information", ask("https://open.example/").authority("user@open.example"), Err(400)),
            ("two in one", ask("https://open.example/").authority("open.example,other.example"), Err(400)),
            ("a blank", ask("https://open.example/").authority("open.example other.example"), Err(400)),
            ("a path", ask("https://open.example/").authority("open.example/other.example"), Err(400)),
            ("a port that is none", ask("https://open.example/").authority("open.example:x"), Err(400)),
            ("two labels too few", ask("https://open.example/").authority("open..example"), Err(400)),
            ("nothing", ask("https://open.example/").authority(""), Err(400)),
            (
                "a header with an underscore",
                ask("https://open.example/").header("x_forwarded_host", "other.example"),
                Err(400),
            ),
        ];
        match protocol {
            Protocol::Http1 => cases.extend([
                ("two of the same", ask("https://open.example/").header("Host", "open.example"), Err(400)),
                ("two hosts", ask("https://open.example/").header("Host", "other.example"), Err(400)),
                ("absolute, other host", ask("https://open.example/").target("https://other.example/"), Err(421)),
                (
                    "two lengths",
                    ask("https://open.example/").header("Content-Length", "0").header("Content-Length", "5"),
                    Err(400),
                ),
                (
                    "two framings",
                    ask("https://open.example/").header("Content-Length", "5").header("Transfer-Encoding", "chunked"),
                    Err(400),
                ),
            ]),
            Protocol::Http2 => cases.extend([
                ("connection header", ask("https://open.example/").header("transfer-encoding", "chunked"), Err(400)),
                ("upper-case name", ask("https://open.example/").header("X-A", "b"), Err(400)),
                ("pseudo-header below", ask("https://open.example/").header(":authority", "other.example"), Err(400)),
            ]),
        }
        cases
    };
    let all = PROTOCOLS.into_iter().flat_map(|protocol| {
        cases(protocol).into_iter().map(move |(name, ask, expected)| (format!("{protocol:?} {name}"), ask, expected))
    });
    place.check_all(all).await;
}

/// Bytes beyond ASCII: HTTP/1.1 has none, and in HTTP/2 Envoy encodes them before anything looks.
#[tokio::test]
async fn bytes_beyond_ascii_leave_encoded_or_not_at_all() {
    let place = Place::new().await;
    for (target, encoded) in [(&b"/caf\xc3\xa9"[..], "/caf%C3%A9"), (b"/a\xff", "/a%FF")] {
        let ask = |protocol| Ask::get(protocol, "https://open.example/").target(target);
        assert_eq!(place.judged(ask(Protocol::Http1)).await, Ok((400, Request, None)));
        assert_eq!(place.judged(ask(Protocol::Http2)).await, Ok((200, Request, Some(encoded.to_owned()))));
    }
}

/// RFC 9113 §8.3.1: `:authority` is what counts, and a `host` beside it goes no further.
#[tokio::test]
async fn a_host_field_beside_the_authority_of_http2_is_dropped() {
    let place = Place::new().await;
    for way in [Way::Tunnel, Way::Absolute] {
        let ask = Ask::get(Protocol::Http2, "https://open.example/").by(way).header("host", "other.example");
        match place.judged(ask).await {
            Ok((400, Request, None)) => {}
            Ok((200, Request, _)) => {
                let seen = place.upstream.requests().pop().unwrap();
                assert_eq!((&*seen.authority, seen.sni.as_deref()), ("open.example", Some("open.example")));
                assert!(!format!("{seen:?}").contains("other.example"), "{seen:?}");
            }
            found => panic!("{found:?}"),
        }
    }
}

/// RFC 9112 §3.2.2: the target of an absolute-form request wins over `Host`. Whoever reads it the other way round
/// must not be led elsewhere.
#[tokio::test]
async fn a_host_header_beside_an_absolute_target_is_not_what_leaves() {
    let place = Place::new().await;
    let mut stream = tokio::net::TcpStream::connect(place.attache.proxy()).await.unwrap();
    let request = b"GET http://open.example/x HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n";
    let answer = tunnel::raw(&mut stream, request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = place.upstream.requests().pop().unwrap();
    assert_eq!((&*seen.authority, seen.sni.as_deref()), ("open.example", Some("open.example")));
    assert_eq!(records(&place.attache).pop().unwrap()["host"], "open.example");
}

#[tokio::test]
async fn a_tunnel_needs_a_host_and_a_port() {
    let place = Place::new().await;
    for (target, status) in [
        ("open.example", 400),
        ("open.example:0", 400),
        ("open.example:99999", 400),
        ("open.example:443:443", 400),
        ("user@open.example:443", 400),
        ("open%2eexample:443", 400),
        (":443", 400),
        ("127.1:443", 400),
        ("0x7f000001:443", 400),
    ] {
        let reply = Ask::get(Protocol::Http1, "https://open.example/").connect(target).send(&place.attache).await;
        assert_eq!((reply.stage, reply.status), (Connect, status), "{target}: {reply:?}");
    }
    assert!(place.upstream.connections().is_empty());
}
