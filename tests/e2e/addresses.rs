//! A policy names hosts, and whoever runs a host's zone chooses where it leads: no answer of theirs may lead
//! an agent to an address that the policy does not grant.
//!
//! Upstreams listen on loopback, which is as forbidden as any private range; an allow entry's `allowPrivate`
//! grants single addresses of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::net::TcpStream;

use crate::support::dns::Reply;
use crate::support::{Answer, Attache, Dns, Upstream, free_address, tunnel, until};

#[tokio::test]
async fn a_name_that_leads_where_nobody_may_go_is_refused_and_nothing_is_sent() {
    let place = Place::new(&[("*.example.com", "")]).await;
    let forbidden = [
        // Where an upstream listens: what is let through arrives there.
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "::",
        // What these could reach lies outside of a test.
        "127.255.255.254",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "169.254.1.1",
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "fe80::1",
        "fd00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ];
    for (number, address) in forbidden.into_iter().enumerate() {
        let host = format!("n{number}.example.com");
        place.dns.answer(&host, [address]);
        let answer = place.get(&host).await;
        assert_eq!(reason(&answer), (403, "address_forbidden".into()), "{address}: {answer:?}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(&address.parse::<IpAddr>().unwrap().to_string()), "{address}: {message}");
        let records = place.attache.records_of(&host);
        assert_eq!(records.len(), 1, "{address}: {records:?}");
        assert_eq!(records[0]["reason"], "address_forbidden", "{address}");
    }
    place.assert_unreached();
}

#[tokio::test]
async fn allow_private_admits_its_range_and_nothing_beside_it() {
    let place = Place::new(&[
        ("one.example.com", "127.0.0.7/32"),
        ("range.example.com", "127.0.0.4/30"),
        ("six.example.com", "::1/128"),
        ("other-six.example.com", "fc00::/7"),
        ("metadata.example.com", "169.254.0.0/16, fd00::/8, 100.64.0.0/10"),
        ("mapped.example.com", "127.0.0.0/8"),
        ("mapped-range.example.com", "'::ffff:0:0/96'"),
    ])
    .await;
    for (host, address, admitted) in [
        ("one.example.com", "127.0.0.7", true),
        ("one.example.com", "127.0.0.6", false),
        ("one.example.com", "127.0.0.1", false),
        ("range.example.com", "127.0.0.7", true),
        ("range.example.com", "127.0.0.8", false),
        ("range.example.com", "127.0.0.1", false),
        ("six.example.com", "::1", true),
        ("six.example.com", "127.0.0.1", false),
        ("other-six.example.com", "::1", false),
        ("metadata.example.com", "169.254.169.254", false),
        ("metadata.example.com", "fd00:ec2::254", false),
        ("metadata.example.com", "100.100.100.200", false),
        ("mapped.example.com", "::ffff:127.0.0.1", false),
        ("mapped-range.example.com", "::ffff:127.0.0.1", false),
    ] {
        let before = place.seen();
        // A second's worth of an earlier answer may still stand.
        place.dns.script(host, [Reply::for_seconds(0, [address])]);
        let expected = if admitted { (200, String::new()) } else { (403, "address_forbidden".to_owned()) };
        let answer = until(&format!("{host} at {address} to be {expected:?}"), async || {
            let answer = place.get(host).await;
            let current = match admitted {
                true => answer.status == 200,
                // Refused for this very address.
                false => answer.text().contains(address),
            };
            current.then_some(answer)
        })
        .await;
        assert_eq!(reason(&answer), expected, "{host} {address}: {answer:?}");
        if !admitted && place.seen() != before {
            // Only while the earlier answer stood.
            let last = place.attache.records_of(host).pop().unwrap();
            assert_eq!(last["reason"], "address_forbidden");
        }
    }
    // The addresses nothing grants never saw a connection.
    assert!(place.upstream("127.0.0.1").connections().is_empty());
    assert!(!place.upstream("::1").requests().is_empty());
    assert!(!place.upstream("127.0.0.7").requests().is_empty());
}

#[tokio::test]
async fn of_several_addresses_a_forbidden_one_is_never_tried() {
    let place = Place::new(&[("*.example.com", "127.0.0.7/32, 127.0.0.9/32, 127.0.0.10/32")]).await;
    for (number, (addresses, status)) in [
        (["127.0.0.1", "127.0.0.7"], 200),
        (["127.0.0.7", "127.0.0.1"], 200),
        (["::1", "127.0.0.7"], 200),
        // The permitted one is dead: its stand-in is not the forbidden one.
        (["127.0.0.9", "127.0.0.1"], 503),
        (["127.0.0.1", "127.0.0.10"], 503),
    ]
    .into_iter()
    .enumerate()
    {
        let host = format!("n{number}.example.com");
        place.dns.answer(&host, addresses);
        for protocol in ["--http1.1", "--http2"] {
            for _ in 0..3 {
                let answer = place.curl(&[protocol, &place.url(&host)]).await;
                assert_eq!(answer.status, status, "{addresses:?}: {answer:?}");
                if status == 503 {
                    assert_eq!(answer.json()["reason"], "upstream_unreachable", "{addresses:?}");
                }
            }
        }
    }
    assert_eq!(place.upstream("127.0.0.7").requests().len(), 18);
    assert!(place.upstream("127.0.0.1").connections().is_empty());
    assert!(place.upstream("::1").connections().is_empty());
}

#[tokio::test]
async fn a_name_that_rebinds_is_judged_by_each_answer() {
    let place = Place::new(&[("*.example.com", "127.0.0.7/32, 127.0.0.8/32")]).await;
    let first = Reply::for_seconds(0, ["127.0.0.7"]);
    place.dns.script("rebinds.example.com", [first, Reply::addresses(["127.0.0.1"])]);
    assert_eq!(place.get("rebinds.example.com").await.status, 200);
    let refused = until("the second answer", async || {
        Some(place.get("rebinds.example.com").await).filter(|answer| answer.status != 200)
    })
    .await;
    assert_eq!(reason(&refused), (403, "address_forbidden".into()));

    // The same trick by way of aliases.
    place.dns.script("alias.example.com", [Reply::alias("inside.test")]);
    place.dns.answer("inside.test", ["127.0.0.1"]);
    assert_eq!(reason(&place.get("alias.example.com").await), (403, "address_forbidden".into()));
    place.dns.script("good-alias.example.com", [Reply::alias("outside.test")]);
    place.dns.answer("outside.test", ["127.0.0.7"]);
    assert_eq!(place.get("good-alias.example.com").await.status, 200);
    assert!(place.upstream("127.0.0.1").connections().is_empty());
}

#[tokio::test]
async fn an_answer_stands_for_its_ttl_and_no_longer() {
    let place = Place::new(&[("*.example.com", "127.0.0.7/32, 127.0.0.8/32, '::1/128'")]).await;
    let first = Reply::for_seconds(1, ["127.0.0.7"]);
    place.dns.script("moves.example.com", [first, Reply::addresses(["127.0.0.8"])]);
    place.dns.answer("stays.example.com", ["127.0.0.7"]);
    for _ in 0..2 {
        assert_eq!(place.get("stays.example.com").await.status, 200);
    }
    assert_eq!(place.get("moves.example.com").await.status, 200);
    assert!(place.upstream("127.0.0.8").connections().is_empty());
    until("the name to have moved", async || {
        assert_eq!(place.get("moves.example.com").await.status, 200);
        (!place.upstream("127.0.0.8").requests().is_empty()).then_some(())
    })
    .await;
    assert_eq!(place.dns.count("moves.example.com", "A"), 2);
    assert_eq!(place.get("stays.example.com").await.status, 200);
    assert_eq!(place.dns.count("stays.example.com", "A"), 1, "asked again within its minute");

    place.dns.answer("six.example.com", ["::1"]);
    assert_eq!(place.get("six.example.com").await.status, 200);
    assert_eq!(place.upstream("::1").requests().len(), 1);
}

#[tokio::test]
async fn a_name_without_an_answer_is_a_503_that_says_why() {
    let place = Place::new(&[("*.example.com", ""), ("blocked.example.com", "deny")]).await;
    place.dns.script("gone.example.com", [Reply::NxDomain]);
    place.dns.answer("empty.example.com", []);
    place.dns.script("failing.example.com", [Reply::ServFail]);
    place.dns.script("silent.example.com", [Reply::Silence]);
    let cases = [
        ("gone.example.com", "name_not_found", "NXDOMAIN"),
        ("empty.example.com", "name_not_found", "no address"),
        ("failing.example.com", "dns_failure", "Server Failure"),
        ("silent.example.com", "dns_failure", "in time"),
    ];
    let answers = futures_util::future::join_all(cases.iter().map(|(host, ..)| place.get(host))).await;
    for ((host, expected, detail), answer) in cases.into_iter().zip(answers) {
        assert_eq!(reason(&answer), (503, expected.into()), "{host}: {answer:?}");
        assert_eq!(answer.json()["error"], "unavailable", "{host}");
        assert!(answer.text().contains(detail), "{host}: {}", answer.text());
        let record = place.attache.records_of(host).pop().unwrap();
        assert_eq!((&record["reason"], &record["decision"]), (&Value::from(expected), &"error".into()), "{host}");
    }

    // A name that policy refuses is nobody's business.
    for host in ["blocked.example.com", "elsewhere.test"] {
        let direct = place.curl(&[&format!("http://{host}:{}/", place.port)]).await;
        assert_eq!(direct.status, 403, "{host}: {direct:?}");
        let answer = place.get(host).await;
        assert_eq!(answer.connect_status, 403, "{host}: {answer:?}");
    }
    let asked = place.dns.asked();
    assert!(asked.iter().any(|question| question.name == "gone.example.com"));
    assert!(asked.iter().all(|question| cases.iter().any(|(host, ..)| question.name == *host)), "{asked:?}");
    place.assert_unreached();
}

#[tokio::test]
async fn what_the_operator_states_is_used_as_it_is_and_dns_not_asked() {
    let (four, six) = (Upstream::https(["api.example.com"]).await, six().await);
    let dns = Dns::start().await;
    let attache = Attache::up(
        "allowedDomains: [api.example.com, six.example.com, 'six.example.com:8443', two.example.com, free.example.com]",
    )
    .dns(&dns)
    .resolve("api.example.com", &four)
    .resolve("six.example.com", &six)
    .resolve_port("six.example.com", 8443, &six)
    .flags(["--resolve", &format!("two.example.com:443:127.0.0.9:1,{}", six.address())])
    .start()
    .await;
    for (url, upstream) in [
        ("https://api.example.com/", &four),
        ("https://six.example.com/", &six),
        ("https://six.example.com:8443/", &six),
        // Its first address is dead.
        ("https://two.example.com/", &six),
    ] {
        let before = upstream.requests().len();
        let answer = attache.curl([url]).await;
        assert_eq!(answer.status, 200, "{url}: {answer:?}");
        assert_eq!(upstream.requests().len(), before + 1, "{url}");
    }
    assert!(dns.asked().is_empty(), "{:?}", dns.asked());
    let other = attache.curl(["https://free.example.com/"]).await;
    assert_eq!(reason(&other), (503, "name_not_found".into()));
    assert!(!dns.asked().is_empty());
}

#[tokio::test]
async fn a_dead_first_address_is_passed_over_within_the_request() {
    let granted = "127.0.0.7/32, 127.0.0.9/32, 127.0.0.10/32, 127.0.0.11/32, 127.0.0.12/32";
    let place = Place::new(&[("*.example.com", granted)]).await;
    for (host, dead, protocol) in
        [("one.example.com", "127.0.0.9", "--http1.1"), ("two.example.com", "127.0.0.10", "--http2")]
    {
        let before = place.upstream("127.0.0.7").requests().len();
        place.dns.answer(host, [dead, "127.0.0.7"]);
        let answer = place.curl(&[protocol, "--data", "hello", &place.url(host)]).await;
        assert_eq!(answer.status, 200, "{host}: {answer:?}");
        let seen = place.upstream("127.0.0.7").wait_for(before + 1).await;
        assert_eq!(seen.len(), before + 1, "{host}: sent once");
        assert_eq!(seen[before].text(), "hello", "{host}");
        let record = place.outcome(host).await;
        assert_eq!(record["status"], 200, "{record}");
        assert_eq!(record["upstream"], format!("127.0.0.7:{}", place.port), "{record}");
    }

    // A body too large to be held back for a second attempt: at the latest the next request goes through.
    let mut body = NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut body, &vec![b'x'; 4 << 20]).unwrap();
    let data = format!("@{}", body.path().display());
    for (host, dead, protocol) in
        [("large-1.example.com", "127.0.0.11", "--http1.1"), ("large-2.example.com", "127.0.0.12", "--http2")]
    {
        place.dns.answer(host, [dead, "127.0.0.7"]);
        let first = place.curl(&[protocol, "--data-binary", &data, &place.url(host)]).await;
        // Status 0: Envoy answers and resets an HTTP/2 stream that is still uploading, and curl may see only that.
        assert!([200, 503, 0].contains(&first.status), "{host}: {} {}", first.status, first.error);
        let record = place.outcome(host).await;
        // An attempt that failed before the body outgrew the buffer was made again at once, to the other address.
        if record["status"] != 200 {
            assert_eq!(record["status"], 503, "{record}");
            let next = place.curl(&[protocol, "--data-binary", &data, &place.url(host)]).await;
            assert_eq!(next.status, 200, "{host}: {} after {record}", next.error);
        }
        let seen = place.upstream("127.0.0.7").requests().pop().unwrap();
        assert!(seen.complete && seen.body.len() == 4 << 20, "{host}");
    }
}

#[tokio::test]
async fn an_address_in_place_of_a_name_counts_in_one_spelling() {
    let place = Place::new(&[("127.0.0.7", "127.0.0.7/32"), ("'[::1]'", "::1/128"), ("127.0.0.1", "")]).await;
    let (granted, port) = (place.upstream("127.0.0.7"), place.port);
    for (authority, status, expected) in [
        ("127.0.0.7", 200, ""),
        ("[::1]", 200, ""),
        // Listed, but an address is judged like a name's.
        ("127.0.0.1", 403, "address_forbidden"),
        ("127.0.0.8", 403, "domain_not_allowed"),
        ("[::ffff:127.0.0.7]", 403, "domain_not_allowed"),
        ("127.7", 400, "malformed_authority"),
        ("127.0.7", 400, "malformed_authority"),
        ("2130706439", 400, "malformed_authority"),
        ("0x7f000007", 400, "malformed_authority"),
        ("0x7f.0.0.7", 400, "malformed_authority"),
        ("0177.0.0.7", 400, "malformed_authority"),
        ("127.0.0.07", 400, "malformed_authority"),
        ("127.0.0.7.", 200, ""),
        ("127.0.0.256", 400, "malformed_authority"),
        ("[0:0:0:0:0:0:0:1]", 400, "malformed_authority"),
        ("[::0001]", 400, "malformed_authority"),
        ("[::ffff:7f00:7]", 400, "malformed_authority"),
        ("[fe80::1%25lo]", 400, "malformed"),
        ("127。0。0。7", 400, "malformed"),
    ] {
        let mut stream = TcpStream::connect(place.attache.proxy()).await.unwrap();
        let request = format!("GET http://{authority}:{port}/ HTTP/1.1\r\nHost: {authority}:{port}\r\n\r\n");
        let answer = tunnel::raw(&mut stream, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{authority}: {answer}");
        assert!(answer.contains(expected), "{authority}: {answer}");
        let connect = tunnel::connect(place.attache.proxy(), &format!("{authority}:{port}"), &[]).await;
        match connect {
            Ok(_) => assert!(status == 200 || expected == "address_forbidden", "{authority}"),
            Err(answer) => assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{authority}: {answer}"),
        }
    }
    assert!(place.dns.asked().is_empty(), "{:?}", place.dns.asked());
    assert_eq!(granted.requests().len(), 2);
    let https = place.curl(&[&format!("https://127.0.0.7:{port}/")]).await;
    assert_eq!(https.status, 200, "{https:?}");
    assert!(place.upstream("127.0.0.1").connections().is_empty());
}

/// Upstreams at several addresses, all on one port, which the policy's hosts have.
struct Place {
    attache: Attache,
    dns: Dns,
    upstreams: Vec<Upstream>,
    port: u16,
    http1: AtomicBool,
}

impl Place {
    /// `hosts` are patterns without their port, each with its `allowPrivate` ranges, or `deny`.
    async fn new(hosts: &[(&str, &str)]) -> Place {
        let port = free_address().port();
        let mut upstreams = Vec::new();
        for address in ["127.0.0.1", "127.0.0.7", "127.0.0.8", "::1"] {
            let address = SocketAddr::new(address.parse().unwrap(), port);
            let names = ["*.example.com", "127.0.0.1", "127.0.0.7", "127.0.0.8", "::1"];
            upstreams.push(Upstream::named(names).address(address).start().await);
        }
        let entries = hosts.iter().map(|(pattern, ranges)| {
            let pattern = match pattern.strip_suffix('\'') {
                Some(quoted) => format!("{quoted}:{port}'"),
                None => format!("'{pattern}:{port}'"),
            };
            match *ranges {
                "deny" => format!("  - {{pattern: {pattern}, action: deny}}\n"),
                ranges => format!("  - {{pattern: {pattern}, allowPrivate: [{ranges}]}}\n"),
            }
        });
        let policy = format!("allowedDomains:\n{}", entries.collect::<String>());
        let dns = Dns::start().await;
        let attache = Attache::up(&policy).dns(&dns).start().await;
        Place { attache, dns, upstreams, port, http1: AtomicBool::new(false) }
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/", self.port)
    }

    /// One GET; HTTP/1.1 and HTTP/2 in turns.
    async fn get(&self, host: &str) -> Answer {
        let protocol = if self.http1.fetch_xor(true, Ordering::Relaxed) { "--http1.1" } else { "--http2" };
        self.curl(&[protocol, &self.url(host)]).await
    }

    async fn curl(&self, arguments: &[&str]) -> Answer {
        self.attache.curl(arguments).await
    }

    fn upstream(&self, address: &str) -> &Upstream {
        let address: IpAddr = address.parse().unwrap();
        self.upstreams.iter().find(|upstream| upstream.address().ip() == address).unwrap()
    }

    fn seen(&self) -> usize {
        self.upstreams.iter().map(|upstream| upstream.requests().len()).sum()
    }

    fn assert_unreached(&self) {
        for upstream in &self.upstreams {
            assert!(upstream.connections().is_empty(), "{} was reached", upstream.address());
        }
    }

    /// The last record of a host, once its outcome has come.
    async fn outcome(&self, host: &str) -> Value {
        until("an outcome", async || {
            let record = self.attache.records_of(host).pop()?;
            (!record["flags"].is_null()).then_some(record)
        })
        .await
    }
}

async fn six() -> Upstream {
    Upstream::named(["*.example.com"]).address("[::1]:0".parse().unwrap()).start().await
}

/// Status and reason of an answer; no reason where the upstream answered.
fn reason(answer: &Answer) -> (u16, String) {
    let ours = answer.status >= 400;
    let reason = ours.then(|| answer.json()["reason"].as_str().unwrap_or_default().to_owned());
    (answer.status, reason.unwrap_or_default())
}
