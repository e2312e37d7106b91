//! What is blocked is blocked however it is spelled; and what passes is, to the byte, what policy judged.
//!
//! Everything here is allowed but for the block itself: a spelling that gets round it arrives.

use std::net::SocketAddr;

use crate::support::{Ask, Attache, PROTOCOLS, Place, Protocol, Upstream, Way, free_address};

const POLICY: &str = r#"
organization:
  blockedDomains: [forbidden.test]
allowedDomains: ["*", api.example, "http://plain.example"]
blockedDomains: [evil.example, "bücher.example"]
rules:
  - {name: No, host: api.example, path: /admin/delete, method: GET, action: block}
  - {name: Neither, host: api.example, path: "/below/*", action: block}
  - {name: Deletes, host: api.example, path: /items, method: DELETE, action: block}
  - {name: Host, host: stopped.example, action: block}
  - {name: Query, host: api.example, path: /query, query: {mode: admin}, action: block}
"#;
const HOSTS: [&str; 9] = [
    "api.example",
    "evil.example",
    "deep.evil.example",
    "stopped.example",
    "forbidden.test",
    "xn--bcher-kva.example",
    "sub.xn--bcher-kva.example",
    "plain.example",
    "other.example",
];

async fn check(place: &Place, cases: impl IntoIterator<Item = (&'static str, Ask, &'static str)>) {
    let mut wrong = Vec::new();
    for (name, ask, expected) in cases {
        let outcome = place.send_bytes(ask).await;
        let found = outcome.to_string();
        // What HTTP/2 itself forbids ends the stream without an answer.
        let ended = ["4", "400"].contains(&expected) && outcome.reply.status == 0;
        if !ended && !found.starts_with(expected) {
            wrong.push(format!(
                "{name}: expected `{expected}`, found `{found}` {:?}",
                outcome.seen.map(|seen| seen.path)
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_blocked_path_is_blocked_in_every_spelling() {
    let place = Place::new(POLICY, HOSTS).await;
    let (no, below) = ("403 rule_blocked rules[No]", "403 rule_blocked rules[Neither]");
    let paths: [(&str, &[u8], &str); 43] = [
        ("as it stands", b"/admin/delete", no),
        ("in upper case", b"/ADMIN/DELETE", no),
        ("in mixed case", b"/Admin/deletE", no),
        ("with a final slash", b"/admin/delete/", no),
        ("with many", b"/admin/delete///", no),
        ("with slashes doubled", b"//admin//delete", no),
        ("with a parameter", b"/admin/delete;x=1", no),
        ("with an empty one", b"/admin/delete;", no),
        ("with one in the middle", b"/admin;v=1/delete", no),
        ("with an encoded one", b"/admin/delete%3bx=1", no),
        ("with an encoded blank", b"/admin/delete%20", no),
        ("with several, and a slash", b"/admin/delete%20%20/", no),
        ("with an encoded tab", b"/admin/delete%09", "400"),
        ("with a dot segment", b"/./admin/./delete", no),
        ("with one at its end", b"/admin/delete/.", no),
        ("with a way back", b"/x/../admin/delete", no),
        ("with a way back in between", b"/admin/x/../delete", no),
        ("with more ways back than forth", b"/../../admin/delete", no),
        ("with an encoded way back", b"/x/%2e%2e/admin/delete", no),
        ("with half of it encoded", b"/x/.%2E/admin/delete", no),
        ("with a way back and a parameter", b"/x/..;/admin/delete", no),
        ("with letters encoded", b"/%61dmin/%64%65lete", no),
        ("with letters encoded, in upper case", b"/%41DMIN/%44elete", no),
        ("with letters encoded twice", b"/%2561dmin/delete", no),
        ("with an encoded slash", b"/admin%2fdelete", "400"),
        ("with one in upper case", b"/admin%2Fdelete", "400"),
        ("with a backslash", b"/admin\\delete", no),
        ("with an encoded backslash", b"/admin%5cdelete", "400"),
        ("with a slash encoded twice", b"/admin%252fdelete", "400"),
        ("with dots encoded twice", b"/x/%252e%252e/admin/delete", "400"),
        ("with a zero byte", b"/admin/delete%00", "400"),
        ("with a line's end", b"/admin/delete%0d%0a", "400"),
        ("with a fragment", b"/admin/delete#x", "400"),
        ("with an overlong slash", b"/admin%c0%afdelete", "400"),
        ("with a query", b"/admin/delete?x=1", no),
        ("with an empty query", b"/admin/delete?", no),
        ("with an absolute path in the query", b"/admin/delete?/other", no),
        ("below a pattern", b"/below/x/y", below),
        ("below it in upper case", b"/BELOW/x", below),
        ("below it by a way round", b"/other/../below/x", below),
        ("below it, doubled", b"/below//x", below),
        ("below it, with a parameter", b"/below;a/x", below),
        // Another path, and so not blocked: otherwise none of this would show anything.
        ("another", b"/admin/deleted", "200"),
    ];
    for protocol in PROTOCOLS {
        for way in [Way::Tunnel, Way::Absolute] {
            let ask = |target: &[u8]| Ask::get(protocol, "https://api.example/").by(way).target(target);
            check(&place, paths.iter().map(|(name, target, expected)| (*name, ask(target), *expected))).await;
        }
    }
}

#[tokio::test]
async fn a_blocked_method_is_blocked_in_every_spelling() {
    let place = Place::new(POLICY, HOSTS).await;
    let (no, deletes) = ("403 rule_blocked rules[No]", "403 rule_blocked rules[Deletes]");
    for protocol in PROTOCOLS {
        let ask = |method, path: &str| Ask::new(protocol, method, &format!("https://api.example{path}"));
        // HTTP/1.1 knows no methods in lower case, Envoy says.
        let folded = |blocked| if protocol == Protocol::Http2 { blocked } else { "400" };
        check(
            &place,
            [
                ("as it stands", ask("DELETE", "/items"), deletes),
                ("in lower case", ask("delete", "/items"), folded(deletes)),
                ("in mixed case", ask("Delete", "/items"), folded(deletes)),
                ("HEAD for GET", ask("HEAD", "/admin/delete"), "403"),
                ("head for GET", ask("head", "/admin/delete"), folded("403")),
                ("HEAD for GET, spelled otherwise", ask("HEAD", "/ADMIN/delete/;x"), "403"),
                ("get in lower case", ask("get", "/admin/delete"), folded(no)),
                ("TRACE", ask("TRACE", "/items"), "403"),
                ("another", ask("PUT", "/items"), "200"),
            ],
        )
        .await;
        // A header that would make a server take it for another method never leaves.
        for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-Method"] {
            for (method, path, meant) in [("POST", "/items", "DELETE"), ("POST", "/admin/delete", "GET")] {
                let name = if protocol == Protocol::Http2 { name.to_lowercase() } else { name.to_owned() };
                let outcome = place.send_bytes(ask(method, path).header(&name, meant)).await;
                let seen = outcome.seen.unwrap();
                assert_eq!((&*seen.method, &*seen.path, seen.header(&name)), (method, path, None), "{name}");
            }
        }
        // Nor does one that names another path.
        for name in ["x-original-url", "x-rewrite-url", "x-original-uri"] {
            let outcome = place.send_bytes(ask("GET", "/other").header(name, "/admin/delete")).await;
            assert_eq!(outcome.seen.unwrap().header(name), None, "{name}");
        }
    }
}

#[tokio::test]
async fn a_blocked_query_is_blocked_in_every_spelling() {
    let place = Place::new(POLICY, HOSTS).await;
    let no = "403 rule_blocked rules[Query]";
    for protocol in PROTOCOLS {
        let ask = |query: &str| Ask::get(protocol, "https://api.example/").target(format!("/query?{query}"));
        check(
            &place,
            [
                ("as it stands", ask("mode=admin"), no),
                ("in upper case", ask("MODE=Admin"), no),
                ("among others", ask("a=1&mode=admin&b"), no),
                ("after another value", ask("mode=user&mode=admin"), no),
                ("before another value", ask("mode=admin&mode=user"), no),
                ("encoded", ask("m%6fde=%61dmin"), no),
                ("with blanks", ask("mode=%20admin+"), no),
                ("with a semicolon", ask("a=1;mode=admin"), no),
                ("as a list", ask("mode[]=admin"), no),
                ("as an item of one", ask("mode[0]=admin"), no),
                ("with the brackets encoded", ask("mode%5B%5D=admin"), no),
                ("another", ask("mode=administrator"), "200"),
            ],
        )
        .await;
    }
}

/// One spelling of a host, and what it gets to the proxy itself; at CONNECT it is the same.
#[tokio::test]
async fn a_blocked_host_is_blocked_in_every_spelling() {
    let place = Place::new(POLICY, HOSTS).await;
    let evil = "403 domain_blocked blockedDomains[evil.example]";
    let books = "403 domain_blocked blockedDomains[bücher.example]";
    let forbidden = "403 domain_blocked organization.blockedDomains[forbidden.test]";
    let stopped = "403 rule_blocked rules[Host]";
    let hosts = [
        ("as it stands", "evil.example", evil),
        ("in upper case", "EVIL.Example", evil),
        ("with a final dot", "evil.example.", evil),
        ("with two", "evil.example..", "4"),
        ("with an empty label", "evil..example", "400"),
        ("with a dot before it", ".evil.example", "400"),
        ("with its port", "evil.example:80", evil),
        ("with the port of TLS", "evil.example:443", evil),
        ("with another port", "evil.example:8443", evil),
        ("with zeros before the port", "evil.example:0443", "4"),
        ("with no port after the colon", "evil.example:", "4"),
        ("below it", "deep.evil.example", evil),
        ("below it, in upper case, with dot and port", "DEEP.evil.EXAMPLE.:8443", evil),
        ("with a user", "user@evil.example", "4"),
        ("with user and password", "user:password@evil.example", "4"),
        ("behind a good one", "api.example@evil.example", "4"),
        ("with an encoded dot", "evil%2eexample", "400"),
        ("with an encoded letter", "%65vil.example", "400"),
        ("with a blank", "evil.example%20", "400"),
        ("with a zero byte", "evil.example%00.api.example", "400"),
        ("as an A-label", "xn--bcher-kva.example", books),
        ("as an A-label in upper case", "XN--BCHER-KVA.EXAMPLE", books),
        ("below an A-label", "sub.xn--bcher-kva.example.", books),
        ("the organization's", "forbidden.test", forbidden),
        ("the organization's, in upper case", "FORBIDDEN.TEST.", forbidden),
        ("by a rule", "stopped.example", stopped),
        ("by a rule, in upper case", "STOPPED.example.", stopped),
        ("by a rule, with another port", "stopped.example:8443", "403"),
    ];
    for protocol in PROTOCOLS {
        let plain = |host: &str| Ask::get(protocol, "http://api.example/").authority(host);
        check(&place, hosts.iter().map(|(name, host, expected)| (*name, plain(host), *expected))).await;
        // In a tunnel that was opened to a host that is not blocked: never.
        let inside = |host: &str| Ask::get(protocol, "https://api.example/").authority(host);
        check(&place, hosts.iter().map(|(name, host, _)| (*name, inside(host), "4"))).await;
        // The scheme makes no difference, and neither does the way in.
        let stopped = |way, scheme: &str| Ask::get(protocol, &format!("{scheme}://stopped.example/")).by(way);
        for (way, scheme) in [(Way::Tunnel, "https"), (Way::PlainTunnel, "http"), (Way::Absolute, "http")] {
            check(&place, [("by a rule", stopped(way, scheme), "403 rule_blocked rules[Host]")]).await;
        }
        check(&place, [("another", plain("other.example"), "200"), ("another", inside("api.example:443"), "200")])
            .await;
    }
    for (name, host, expected) in hosts {
        // CONNECT has to name a port.
        let target = if host.contains(':') && !host.contains('@') { host.to_owned() } else { format!("{host}:443") };
        let ask = Ask::get(Protocol::Http1, "https://api.example/").connect(&target);
        let outcome = place.send(ask).await;
        // A rule is about requests: a tunnel it could be about opens, to nowhere else than the name it was opened to.
        let status =
            if expected.contains("Host") || name.starts_with("by a rule") { 421 } else { outcome.reply.status };
        assert!((400..422).contains(&status) && outcome.seen.is_none(), "CONNECT {name}: {outcome:?}");
        if expected.contains("domain_blocked") {
            assert_eq!(outcome.to_string(), format!("CONNECT {expected}"), "{name}");
        }
    }
    // Letters beyond ASCII are no host's.
    for host in [&b"b\xc3\xbccher.example"[..], b"evil\xe3\x80\x82example", b"\xef\xbd\x85vil.example"] {
        let request = [b"GET / HTTP/1.1\r\nConnection: close\r\nHost: ", host, b"\r\n\r\n"].concat();
        let mut stream = tokio::net::TcpStream::connect(place.attache.proxy()).await.unwrap();
        let answer = crate::support::tunnel::raw(&mut stream, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
}

/// An address that is allowed, then blocked: no notation of it leads there any more.
#[tokio::test]
async fn a_blocked_address_is_blocked_in_every_notation() {
    let port = free_address().port();
    let listen = |address: &str| {
        let address: SocketAddr = format!("{address}:{port}").parse().unwrap();
        Upstream::named(["127.0.0.7"]).address(address).plaintext().start()
    };
    let (four, six) = (listen("127.0.0.7").await, listen("[::1]").await);
    let allowed = format!(
        "allowedDomains:\n  - '*'\n  - {{pattern: 'http://127.0.0.7:{port}', allowPrivate: [127.0.0.0/8]}}\n  \
         - {{pattern: 'http://[::1]:{port}', allowPrivate: ['::1/128']}}\n"
    );
    let attache = Attache::up(&allowed).start().await;
    let ask = |protocol, host: &str| Ask::get(protocol, &format!("http://{host}:{port}/"));
    for protocol in PROTOCOLS {
        for host in ["127.0.0.7", "[::1]"] {
            assert_eq!(ask(protocol, host).send_bytes(&attache).await.status, 200, "{host}");
        }
    }
    let before = (four.requests().len(), six.requests().len());
    attache.reload(&format!("{allowed}blockedDomains: [127.0.0.7, '[::1]']\n")).await;
    for (name, host, reason) in [
        ("as it stands", "127.0.0.7", "domain_blocked"),
        ("with a final dot", "127.0.0.7.", "domain_blocked"),
        ("in three parts", "127.0.7", "malformed_authority"),
        ("in two", "127.7", "malformed_authority"),
        ("in one", "2130706439", "malformed_authority"),
        ("in hexadecimal", "0x7f000007", "malformed_authority"),
        ("in hexadecimal, by parts", "0x7f.0x0.0x0.0x7", "malformed_authority"),
        ("in octal", "0177.0.0.7", "malformed_authority"),
        ("in octal, in one", "017700000007", "malformed_authority"),
        ("with zeros before it", "127.000.000.007", "malformed_authority"),
        ("with a part too many", "127.0.0.0.7", "malformed_authority"),
        ("mapped", "[::ffff:127.0.0.7]", "domain_not_allowed"),
        ("mapped, in hexadecimal", "[::ffff:7f00:7]", "malformed_authority"),
        ("the longer one, as it stands", "[::1]", "domain_blocked"),
        ("in full", "[0:0:0:0:0:0:0:1]", "malformed_authority"),
        ("with zeros", "[::0001]", "malformed_authority"),
        ("with a zone", "[::1%25lo]", "malformed_authority"),
        ("without brackets", "::1", "malformed_authority"),
        ("a number in other digits", "127.0.0.%37", "malformed_authority"),
    ] {
        for protocol in PROTOCOLS {
            let reply = ask(protocol, host).send_bytes(&attache).await;
            let expected = if reason.starts_with("malformed") { 400 } else { 403 };
            // What Envoy itself cannot read is as well refused.
            let found = (reply.status, reply.reason());
            assert!(
                found == (expected, reason.to_owned()) || (expected == 400 && [0, 400].contains(&reply.status)),
                "{name} {protocol:?}: {reply:?}"
            );
        }
    }
    assert_eq!((four.requests().len(), six.requests().len()), before, "a notation has led there");
}

/// Paths put together at random: whatever arrives is what was judged ([`Place::send_bytes`] compares them), and no
/// reading of it that a lenient server may have is the one that is blocked.
#[tokio::test]
async fn what_arrives_is_what_was_judged_and_no_reading_of_it_is_blocked() {
    let place = Place::new(POLICY, HOSTS).await;
    let mut random = Random(0x5eed);
    let mut arrived = 0;
    for round in 0..240 {
        let mut target = String::new();
        for segment in
            [random.pick(&["", "/x/..", "/.", "/"]), "/admin", random.pick(&["", "/.", "/y/..", "/"]), "/delete"]
        {
            for letter in segment.chars() {
                match random.below(12) {
                    0 => target.push(letter.to_ascii_uppercase()),
                    1 if letter != '/' => target += &format!("%{:02x}", letter as u32),
                    2 if letter != '/' => target += &format!("%25{:02x}", letter as u32),
                    3 if letter == '/' => target += "//",
                    4 if letter == '/' => target += random.pick(&["%2f", "%5c", "\\", ";a/"]),
                    _ => target.push(letter),
                }
            }
        }
        target += random.pick(&["", "", "s", "/", ";a=b", "%20", "?q", "/z", "%3b", "/..", "%00"]);
        if !target.starts_with('/') {
            continue;
        }
        let protocol = PROTOCOLS[round % 2];
        let way = random.pick(&[Way::Tunnel, Way::Absolute, Way::PlainTunnel]);
        let scheme = if way == Way::Tunnel { "https" } else { "http" };
        let host = random.pick(&["api.example", "API.example", "api.example."]);
        let ask = Ask::get(protocol, &format!("{scheme}://api.example/")).by(way).authority(host).target(&target);
        let outcome = place.send_bytes(ask).await;
        let Some(seen) = outcome.seen else { continue };
        arrived += 1;
        assert_ne!(leniently(&seen.path), "/admin/delete", "{target} arrived as {}: {}", seen.path, outcome.record);
        assert_eq!(seen.sni.as_deref(), Some("api.example"), "{target}");
    }
    assert!(arrived > 30, "only {arrived} passed: this shows nothing");
}

/// A path as the most lenient of servers reads it.
fn leniently(path: &str) -> String {
    let mut path = path.split('?').next().unwrap().to_owned();
    while let Some((before, after)) = path.split_once('%') {
        let byte = u8::from_str_radix(&after[..2], 16).unwrap();
        path = format!("{before}{}{}", char::from(byte), &after[2..]);
    }
    let path = path.replace('\\', "/").to_ascii_lowercase();
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment.split(';').next().unwrap().trim() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    format!("/{}", segments.join("/"))
}

/// The same numbers in every run (Knuth's MMIX generator).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}
