//! Who is calling: every way to say so, every way to say it wrong, and that nothing of it leaves.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use http::Version;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::support::Stage::{Connect, Request};
use crate::support::upstream::Seen;
use crate::support::{Ask, Attache, PROTOCOLS, Protocol, Stage, Upstream, Way, curl, records, tunnel, until, within};

const ANN: &str = "ann-token-0123456789";
const BOB: &str = "bob-token-0123456789";
const CAROL: &str = "carol-token-0123456789";

/// Three agents, each known in another way; `dave` only by a header that policy does not trust.
fn policy(more: &str, carol: &NamedTempFile) -> String {
    std::fs::write(carol.path(), format!("{CAROL}\n")).unwrap();
    let bob = sha256(BOB);
    let carol = carol.path().display();
    format!(
        "
{more}
allowedDomains: [shared.example]
agents:
  ann: {{identity: [{{token: {{env: ANN_TOKEN}}}}], allowedDomains: [ann.example]}}
  bob:
    identity: [{{token: {{sha256: {bob}}}}}, {{header: {{name: X-Agent-Name, value: bob, trusted: true}}}}]
    allowedDomains: [bob.example]
  carol: {{identity: [{{token: {{file: {carol}}}}}], blockedDomains: [shared.example]}}
  dave: {{identity: [{{header: {{name: X-Dave, value: dave, trusted: false}}}}]}}
"
    )
}

const HOSTS: [&str; 3] = ["shared.example", "ann.example", "bob.example"];

struct Place {
    upstream: Upstream,
    attache: Attache,
    _carol: NamedTempFile,
}

impl Place {
    async fn new(more: &str, flags: &[&str]) -> Place {
        let carol = NamedTempFile::new().unwrap();
        let upstream = Upstream::https(HOSTS).await;
        let mut setup = Attache::up(&policy(more, &carol)).env("ANN_TOKEN", ANN).flags(flags);
        for host in HOSTS {
            setup = setup.resolve(host, &upstream);
        }
        Place { upstream, attache: setup.start().await, _carol: carol }
    }

    /// Each case over both protocols: what was answered, what arrived, what is on record.
    async fn check(&self, cases: &[Case<'_>]) {
        let mut wrong = Vec::new();
        for protocol in PROTOCOLS {
            for case in cases {
                if protocol == Protocol::Http2 && case.way == Way::HostStyle {
                    continue;
                }
                if let Err(found) = self.check_one(case, protocol).await {
                    wrong.push(format!("{} ({protocol:?}): {found}", case.name));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    async fn check_one(&self, case: &Case<'_>, protocol: Protocol) -> Result<(), String> {
        let scheme = if case.way == Way::Tunnel { "https" } else { "http" };
        let mut ask = Ask::get(protocol, &format!("{scheme}://{}/", case.host)).by(case.way);
        for (name, value) in &case.connect {
            ask = ask.connect_header(name, value);
        }
        for (name, value) in &case.request {
            ask = ask.header(name, value);
        }
        let before = self.upstream.requests().len();
        let reply = ask.send(&self.attache).await;
        let record = records(&self.attache).pop().unwrap_or_default();
        let arrived = self.upstream.requests().len() - before;
        match case.expected {
            Ok((agent, how)) => {
                let found = (reply.status, arrived, record["agent"].as_str(), record["identity"].as_str());
                if found != (200, 1, Some(agent), Some(how)) {
                    return Err(format!("{found:?} {reply:?} {record}"));
                }
                let seen = self.upstream.requests().pop().unwrap();
                let leaked = identity_in(&seen);
                if leaked.is_empty() { Ok(()) } else { Err(format!("the upstream saw {leaked:?}")) }
            }
            Err((stage, status, reason)) => {
                let said = reply.reason();
                let found = (reply.stage, reply.status, &*said, arrived, record["reason"].as_str());
                if found != (stage, status, reason, 0, Some(reason)) {
                    return Err(format!("{found:?} {reply:?} {record}"));
                }
                let asks = match status {
                    407 => reply.header("proxy-authenticate"),
                    401 => reply.header("www-authenticate"),
                    _ => Some("Basic, not asked for"),
                };
                match asks {
                    Some(challenge) if challenge.starts_with('B') => Ok(()),
                    _ => Err(format!("no challenge in {reply:?}")),
                }
            }
        }
    }
}

/// Fields that would tell the upstream who the agent is, or how it proves that.
fn identity_in(seen: &Seen) -> Vec<String> {
    const NAMES: [&str; 4] = ["proxy-authorization", "x-agent-name", "x-dave", "proxy-connection"];
    let tokens = [ANN, BOB, CAROL].map(str::to_owned);
    let encoded = [basic("ann", ANN), basic("bob", BOB), basic("carol", CAROL)];
    let secrets: Vec<_> = tokens.iter().chain(&encoded).map(|s| s.trim_start_matches("Basic ")).collect();
    let fields = seen.headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())));
    fields
        .filter(|(name, value)| {
            NAMES.contains(name) || name.starts_with("x-attache") || secrets.iter().any(|s| value.contains(*s))
        })
        .map(|(name, value)| format!("{name}: {value}"))
        .collect()
}

struct Case<'a> {
    name: &'a str,
    way: Way,
    host: &'a str,
    connect: Vec<(&'a str, String)>,
    request: Vec<(&'a str, String)>,
    /// The agent and how it is known, or the refusal.
    expected: Result<(&'a str, &'a str), (Stage, u16, &'a str)>,
}

impl<'a> Case<'a> {
    fn new(name: &'a str, way: Way, expected: Result<(&'a str, &'a str), (Stage, u16, &'a str)>) -> Case<'a> {
        Case { name, way, host: "shared.example", connect: Vec::new(), request: Vec::new(), expected }
    }

    fn host(mut self, host: &'a str) -> Case<'a> {
        self.host = host;
        self
    }

    fn connect(mut self, name: &'a str, value: impl Into<String>) -> Case<'a> {
        self.connect.push((name, value.into()));
        self
    }

    fn request(mut self, name: &'a str, value: impl Into<String>) -> Case<'a> {
        self.request.push((name, value.into()));
        self
    }
}

fn basic(user: &str, token: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{token}")))
}

fn sha256(token: &str) -> String {
    Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

const PROXY: &str = "Proxy-Authorization";
const OWN: &str = "Authorization";
const HEADER: &str = "X-Agent-Name";

#[tokio::test]
async fn an_identity_shown_at_connect_is_that_of_the_requests_inside() {
    let place = Place::new("", &[]).await;
    let (ann, bob) = (Ok(("ann", "token")), Ok(("bob", "token")));
    let case = |name, expected| Case::new(name, Way::Tunnel, expected);
    let conflict = |stage, status| Err((stage, status, "identity_conflict"));
    let invalid = Err((Connect, 407, "invalid_token"));
    place
        .check(&[
            case("basic", ann).connect(PROXY, basic("ann", ANN)),
            case("hashed token", bob).connect(PROXY, basic("bob", BOB)),
            case("bearer", ann).connect(PROXY, bearer(ANN)),
            case("the scheme has no case", ann).connect(PROXY, format!("bEARER {ANN}")),
            case("bearer in authorization", ann).connect(OWN, bearer(ANN)),
            case("trusted header", Ok(("bob", "header"))).connect(HEADER, "bob"),
            case("twice the same", ann).connect(PROXY, basic("ann", ANN)).request(OWN, bearer(ANN)),
            case("token and header agree", bob).connect(PROXY, bearer(BOB)).request(HEADER, "bob"),
            case("own domain", ann).host("ann.example").connect(PROXY, bearer(ANN)),
            case("unknown token", invalid).connect(PROXY, basic("ann", "nobody-0123456789")),
            case("unknown bearer", invalid).connect(PROXY, bearer("nobody-0123456789")),
            case("empty token", invalid).connect(PROXY, basic("ann", "")),
            case("no base64", invalid).connect(PROXY, "Basic !"),
            case("another scheme", invalid).connect(PROXY, "Digest x"),
            case("another user name", conflict(Connect, 407)).connect(PROXY, basic("bob", ANN)),
            case("no user name", conflict(Connect, 407)).connect(PROXY, basic("", ANN)),
            case("unknown header value", Err((Connect, 407, "unknown_identity"))).connect(HEADER, "Bob"),
            case("two at connect", conflict(Connect, 407)).connect(PROXY, bearer(ANN)).connect(HEADER, "bob"),
            case("another one inside", conflict(Request, 401)).connect(PROXY, bearer(ANN)).request(HEADER, "bob"),
            case("another token inside", conflict(Request, 401)).connect(PROXY, bearer(ANN)).request(OWN, bearer(BOB)),
            case("the domain of another", Err((Connect, 403, "domain_not_allowed")))
                .host("bob.example")
                .connect(PROXY, bearer(ANN)),
            case("blocked for this one", Err((Connect, 403, "domain_blocked"))).connect(PROXY, bearer(CAROL)),
        ])
        .await;
}

#[tokio::test]
async fn an_identity_may_be_shown_inside_the_tunnel_only() {
    let place = Place::new("", &[]).await;
    let case = |name, expected| Case::new(name, Way::Tunnel, expected);
    let ann = Ok(("ann", "token"));
    let nobody = Err((Request, 401, "no_identity"));
    place
        .check(&[
            case("bearer", ann).request(OWN, bearer(ANN)),
            case("proxy-authorization", ann).request(PROXY, basic("ann", ANN)),
            case("trusted header", Ok(("bob", "header"))).request(HEADER, "bob"),
            case("none", nobody),
            case("a bearer of the agent's own", nobody).request(OWN, bearer("sk-own")),
            case("a header that is not trusted", nobody).request("X-Dave", "dave"),
            case("unknown token", Err((Request, 401, "invalid_token"))).request(PROXY, bearer("nobody")),
            case("unknown header value", Err((Request, 401, "unknown_identity"))).request(HEADER, "mallory"),
            case("two values", Err((Request, 401, "unknown_identity"))).request(HEADER, "bob").request(HEADER, "ann"),
            case("two tokens", Err((Request, 401, "identity_conflict")))
                .request(PROXY, bearer(BOB))
                .request(OWN, bearer(ANN)),
            case("the domain of another", Err((Request, 403, "domain_not_allowed")))
                .host("bob.example")
                .request(OWN, bearer(ANN)),
            case("blocked for this one", Err((Request, 403, "domain_blocked"))).request(OWN, bearer(CAROL)),
        ])
        .await;
}

#[tokio::test]
async fn an_identity_may_be_shown_to_the_proxy_itself() {
    let place = Place::new("", &[]).await;
    let (ann, bob) = (Ok(("ann", "token")), Ok(("bob", "header")));
    for way in [Way::Absolute, Way::HostStyle] {
        let case = |name, expected| Case::new(name, way, expected);
        place
            .check(&[
                case("basic", ann).request(PROXY, basic("ann", ANN)),
                case("bearer", ann).request(OWN, bearer(ANN)),
                case("trusted header", bob).request(HEADER, "bob"),
                // Whoever is known already keeps a Bearer of its own.
                case("own bearer beside the identity", ann).request(PROXY, bearer(ANN)).request(OWN, bearer("sk-own")),
                case("none", Err((Request, 401, "no_identity"))),
                case("unknown bearer", Err((Request, 401, "invalid_token"))).request(OWN, bearer("sk-own")),
                case("unknown token", Err((Request, 407, "invalid_token"))).request(PROXY, basic("ann", "x")),
                case("another user name", Err((Request, 407, "identity_conflict"))).request(PROXY, basic("bob", ANN)),
                case("unknown header value", Err((Request, 401, "unknown_identity"))).request(HEADER, "mallory"),
                case("two", Err((Request, 401, "identity_conflict"))).request(OWN, bearer(ANN)).request(HEADER, "bob"),
                case("the domain of another", Err((Request, 403, "domain_not_allowed")))
                    .host("bob.example")
                    .request(OWN, bearer(ANN)),
            ])
            .await;
    }
}

#[tokio::test]
async fn what_identifies_is_taken_out_and_what_does_not_stays() {
    let place = Place::new("", &[]).await;
    for protocol in PROTOCOLS {
        let ask = Ask::get(protocol, "https://shared.example/").connect_header(PROXY, &bearer(ANN));
        let reply = ask
            .header(OWN, bearer("sk-own"))
            .header("X-Dave", "dave")
            .header("X-Other", "kept")
            .send(&place.attache)
            .await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let seen = place.upstream.requests().pop().unwrap();
        assert_eq!(seen.header(OWN), Some("Bearer sk-own"));
        assert_eq!(seen.header("x-other"), Some("kept"));
        // It names nobody, and is still nobody's business out there.
        assert_eq!(seen.header("x-dave"), None, "{protocol:?}");
    }
}

#[tokio::test]
async fn curl_shows_the_token_that_stands_in_the_proxys_url() {
    let place = Place::new("", &[]).await;
    let bundle = place.attache.ready().bundle.to_str().unwrap().to_owned();
    for protocol in PROTOCOLS {
        for (user, token, status) in [("ann", ANN, 200), ("bob", BOB, 200), ("ann", BOB, 407), ("ann", "wrong", 407)] {
            for url in ["https://shared.example/", "http://shared.example/"] {
                let before = place.upstream.requests().len();
                let proxy = format!("http://{user}:{token}@{}", place.attache.proxy());
                let answer = curl([protocol.flag(), "--proxy", &proxy, "--cacert", &bundle, url]).await;
                let found = if answer.status == 0 { answer.connect_status } else { answer.status };
                assert_eq!(found, status, "{user} {url}: {answer:?}");
                let arrived: Vec<_> = place.upstream.requests().split_off(before);
                assert_eq!(arrived.len(), usize::from(status == 200), "{user} {url}");
                assert!(arrived.iter().all(|seen| identity_in(seen).is_empty()), "{arrived:?}");
            }
        }
    }
}

#[tokio::test]
async fn one_agents_domain_is_refused_to_the_other_at_the_same_time() {
    let place = Place::new("", &[]).await;
    let attache = &place.attache;
    let asks = (0..40).map(|n| {
        let protocol = PROTOCOLS[n % 2];
        let (token, host, status) = match n / 2 % 4 {
            0 => (ANN, "ann.example", 200),
            1 => (ANN, "bob.example", 403),
            2 => (BOB, "bob.example", 200),
            _ => (BOB, "ann.example", 403),
        };
        let ask = Ask::get(protocol, &format!("https://{host}/{n}"));
        // Half of them only inside, where the tunnel itself cannot be refused.
        let ask = match n % 3 {
            0 => ask.connect_header(PROXY, &bearer(token)),
            _ => ask.header(OWN, bearer(token)),
        };
        async move { (n, status, ask.send(attache).await) }
    });
    let asks: Vec<_> = asks.collect();
    let mut expected = Vec::new();
    for (n, status, reply) in join_all(asks).await {
        assert_eq!(reply.status, status, "{n}: {reply:?}");
        if status == 200 {
            expected.push(format!("/{n}"));
        }
    }
    let mut arrived: Vec<_> = place.upstream.requests().into_iter().map(|seen| seen.path).collect();
    arrived.sort();
    expected.sort();
    assert_eq!(arrived, expected);
}

/// Envoy pools its connections, those into its own inner listener too: a tunnel must never come out of the pool
/// with what another one was opened with.
#[tokio::test]
async fn tunnels_that_open_at_the_same_time_keep_their_own_identity() {
    let place = Place::new("", &[]).await;
    let attache = &place.attache;
    let asks = (0..100).map(|n| {
        let (name, token) = if n % 2 == 0 { ("ann", ANN) } else { ("bob", BOB) };
        let ask = Ask::get(PROTOCOLS[n / 2 % 2], &format!("https://shared.example/{name}/{n}"));
        ask.connect_header(PROXY, &bearer(token)).send(attache)
    });
    let replies = join_all(asks).await;
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    let records = records(attache);
    assert_eq!(records.len(), 100);
    let crossed = records.iter().filter(|record| {
        let path = record["path"].as_str().unwrap();
        path.split('/').nth(1) != record["agent"].as_str()
    });
    assert_eq!(crossed.count(), 0, "requests on record under another agent's name");
}

#[tokio::test]
async fn a_fixed_agent_is_who_every_caller_is() {
    let place = Place::new("", &["--agent", "ann"]).await;
    let (fixed, ann) = (Ok(("ann", "fixed")), Ok(("ann", "token")));
    let conflict = |stage, status| Err((stage, status, "identity_conflict"));
    let tunnel = |name, expected| Case::new(name, Way::Tunnel, expected);
    let direct = |name, expected| Case::new(name, Way::HostStyle, expected);
    place
        .check(&[
            tunnel("none", fixed),
            tunnel("own domain", fixed).host("ann.example"),
            tunnel("its token", ann).connect(PROXY, bearer(ANN)),
            tunnel("its token inside", ann).request(OWN, bearer(ANN)),
            tunnel("a bearer of its own", fixed).request(OWN, bearer("sk-own")),
            tunnel("another's token", conflict(Connect, 407)).connect(PROXY, bearer(BOB)),
            tunnel("another's header", conflict(Request, 401)).request(HEADER, "bob"),
            tunnel("another's token inside", conflict(Request, 401)).request(OWN, bearer(BOB)),
            tunnel("unknown token", Err((Connect, 407, "invalid_token"))).connect(PROXY, bearer("x")),
            tunnel("the domain of another", Err((Connect, 403, "domain_not_allowed"))).host("bob.example"),
            direct("none, direct", fixed),
            direct("a bearer of its own, direct", fixed).request(OWN, bearer("sk-own")),
            direct("another's, direct", conflict(Request, 401)).request(OWN, bearer(BOB)),
        ])
        .await;
}

#[tokio::test]
async fn callers_without_identity_are_the_default_agent_and_others_never() {
    let place = Place::new("defaultAgent: bob", &[]).await;
    let default = Ok(("bob", "default"));
    let tunnel = |name, expected| Case::new(name, Way::Tunnel, expected);
    let direct = |name, expected| Case::new(name, Way::Absolute, expected);
    place
        .check(&[
            tunnel("none", default).host("bob.example"),
            direct("none, direct", default),
            tunnel("another one", Ok(("ann", "token"))).connect(PROXY, bearer(ANN)),
            tunnel("unknown token", Err((Connect, 407, "invalid_token"))).connect(PROXY, bearer("x")),
            tunnel("unknown header", Err((Request, 401, "unknown_identity"))).request(HEADER, "x"),
            direct("unknown bearer", Err((Request, 401, "invalid_token"))).request(OWN, bearer("x")),
        ])
        .await;
}

#[tokio::test]
async fn a_proxy_that_challenges_asks_at_once() {
    let place = Place::new("proxyChallenge: true", &[]).await;
    place
        .check(&[
            Case::new("tunnel", Way::Tunnel, Err((Connect, 407, "no_identity"))),
            Case::new("absolute", Way::Absolute, Err((Request, 407, "no_identity"))),
            Case::new("answered", Way::Tunnel, Ok(("ann", "token"))).connect(PROXY, basic("ann", ANN)),
        ])
        .await;
    // Such clients send nothing before they are asked.
    let proxy = format!("http://{}", place.attache.proxy());
    let user = format!("ann:{ANN}");
    let bundle = place.attache.ready().bundle.to_str().unwrap();
    let arguments = ["--proxy", &proxy, "--proxy-user", &user, "--proxy-anyauth", "--cacert", bundle];
    let answer = curl(arguments.into_iter().chain(["https://ann.example/"])).await;
    assert_eq!((answer.status, answer.connect_status), (200, 200), "{answer:?}");
}

#[tokio::test]
async fn a_policy_without_agents_has_one_whose_name_can_be_told() {
    let upstream = Upstream::https(["shared.example"]).await;
    let up = || Attache::up("allowedDomains: [shared.example]\n").resolve("shared.example", &upstream);
    for (setup, name) in
        [(up(), "default"), (up().agent("researcher"), "researcher"), (up().env("ATTACHE_AGENT", "coder"), "coder")]
    {
        let attache = setup.start().await;
        for protocol in PROTOCOLS {
            for way in [Way::Tunnel, Way::Absolute] {
                let ask = Ask::get(protocol, "https://shared.example/").by(way).header(OWN, bearer("sk-own"));
                assert_eq!(ask.send(&attache).await.status, 200);
                assert_eq!(upstream.requests().pop().unwrap().header(OWN), Some("Bearer sk-own"));
                let record = records(&attache).pop().unwrap();
                assert_eq!((&record["agent"], &record["identity"]), (&name.into(), &"fixed".into()));
            }
        }
    }
}

#[tokio::test]
async fn a_token_that_policy_takes_away_stops_the_next_request_of_an_open_tunnel() {
    let place = Place::new("", &[]).await;
    let ask = |protocol| Ask::get(protocol, "https://shared.example/").connect_header(PROXY, &bearer(ANN));
    let mut http1 = ask(Protocol::Http1).open(&place.attache).await.unwrap();
    let http2 = tunnel::h2(ask(Protocol::Http2).open(&place.attache).await.unwrap()).await;
    let mut one = async || tunnel::raw(&mut http1, b"GET / HTTP/1.1\r\nHost: shared.example\r\n\r\n").await;
    let two = async || {
        let request = http::Request::get("https://shared.example/").version(Version::HTTP_2).body(()).unwrap();
        let (answer, _) = http2.clone().send_request(request, true).unwrap();
        within("an answer", answer).await.unwrap().status().as_u16()
    };
    assert!(one().await.starts_with("HTTP/1.1 200"));
    assert_eq!(two().await, 200);

    let carol = NamedTempFile::new().unwrap();
    let before = policy("", &carol);
    let after = before.replace("{token: {env: ANN_TOKEN}}", &format!("{{token: {{sha256: {}}}}}", sha256("another")));
    assert_ne!(before, after);
    place.attache.replace_policy(&after);
    until("the policy without ann's token", async || (two().await == 401).then_some(())).await;
    let arrived = place.upstream.requests().len();
    let refused = one().await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    assert!(refused.contains("invalid_token"), "{refused}");
    assert_eq!(place.upstream.requests().len(), arrived);
    // The token itself is gone, not only the tunnel.
    let anew = ask(Protocol::Http1).send(&place.attache).await;
    assert_eq!((anew.stage, anew.status), (Connect, 407), "{anew:?}");
}

#[tokio::test]
async fn tunnels_share_the_connections_to_their_upstream() {
    let place = Place::new("", &[]).await;
    for token in [ANN, BOB, ANN, BOB] {
        let ask = Ask::get(Protocol::Http2, "https://shared.example/").connect_header(PROXY, &bearer(token));
        assert_eq!(ask.send(&place.attache).await.status, 200);
    }
    // One for each of Envoy's workers at most, not one for each tunnel.
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    assert!(place.upstream.connections().len() <= workers, "{:?}", place.upstream.connections());
}

/// Who would be nobody, or two at once, is found at the start and not by the first request.
#[tokio::test]
async fn a_token_that_is_missing_or_shared_is_an_error_at_the_start() {
    let agents =
        |ann: &str, bob: &str| format!("agents:\n  ann: {{identity: [{ann}]}}\n  bob: {{identity: [{bob}]}}\n");
    let env = |name: &str| format!("{{token: {{env: {name}}}}}");
    for (case, policy, words) in [
        ("a variable that is not set", agents(&env("ANN_TOKEN"), &env("NOT_THERE")), ["NOT_THERE", "bob"]),
        ("two with one variable", agents(&env("ANN_TOKEN"), &env("ANN_TOKEN")), ["ann", "bob"]),
        ("two with the same token", agents(&env("ANN_TOKEN"), &env("SAME_TOKEN")), ["ann", "bob"]),
        (
            "a token and its hash",
            agents(&env("ANN_TOKEN"), &format!("{{token: {{sha256: {}}}}}", sha256(ANN))),
            ["ann", "bob"],
        ),
    ] {
        let output = Attache::up(&policy).env("ANN_TOKEN", ANN).env("SAME_TOKEN", ANN).refused().await;
        assert_eq!(output.exit, 2, "{case}: {output:?}");
        assert!(words.iter().all(|word| output.stderr.contains(word)), "{case}: {output:?}");
        assert!(!output.stderr.contains(ANN), "{case}: {output:?}");
    }
}
