//! Whole exchanges, with a driver that answers every effect from tables.

mod arbitrary;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use zeroize::Zeroizing;

use super::*;
use crate::pipeline::agent::{AgentId, Agents, TokenHash};
use crate::pipeline::audit::Verdict;
use crate::pipeline::credential::{Format, Injection, Slot};
use crate::pipeline::limit::Charges;
use crate::pipeline::message::{Fields, Host};
use crate::pipeline::policy::matcher::{HostPattern, Methods, Scheme};
use crate::pipeline::policy::path::PathPattern;
use crate::pipeline::policy::routes::Routes;
use crate::pipeline::policy::{Action, Binding, Class, Endpoints, Entry, Placeholder, Scope};

const ANN: &str = "ann-token";
const BOB: &str = "bob-token";
const PUBLIC: &str = "93.184.216.34";

fn now() -> Now {
    Now { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1), monotonic: Instant::now() }
}

// ── A policy ────────────────────────────────────────────────────────────────────────────────────────────────

fn allow(pattern: &str) -> Entry {
    Entry {
        rule: format!("allowedDomains[{pattern}]").into(),
        pattern: HostPattern::parse(pattern).unwrap(),
        action: Action::Allow,
        pairs: None,
        websocket: false,
        allow_private: Vec::new(),
        allow_override_headers: false,
    }
}

fn inject(id: usize, name: &str, domain: &str, slot: Slot, path: Option<&str>) -> Binding {
    let format = if matches!(slot, Slot::Header(_)) { "Bearer {value}" } else { "{value}" };
    let pattern = HostPattern::parse(domain).unwrap();
    let injection = Injection {
        credential: CredentialId(id),
        name: name.into(),
        slot,
        format: Format::parse(format).unwrap(),
        path: path.map(|p| PathPattern::parse(p).unwrap()),
        plaintext: pattern.scheme == Scheme::Http,
    };
    Binding { pattern, agents: None, endpoints: None, injection }
}

fn header(name: &str) -> Slot {
    Slot::Header(name.into())
}

fn policy(revision: &str, change: impl FnOnce(&mut Ruleset)) -> Arc<Ruleset> {
    let mut agents = Agents::default();
    let ann = agents.add("ann");
    let bob = agents.add("bob");
    agents.add_token(TokenHash::of(ANN.as_bytes()), ann, None);
    agents.add_token(TokenHash::of(BOB.as_bytes()), bob, None);
    agents.add_header("x-agent", "ann", ann);
    agents.strip_header("x-untrusted");
    let mut rules = Ruleset::new(revision, agents);
    let common = rules.domains_mut(Scope::All);
    for pattern in
        ["api.example", "query.example", "missing.example", "nowhere.example", "slow.example", "routes.example"]
    {
        common.list(allow(pattern));
    }
    for pattern in ["http://plain.example", "port.example:8443", PUBLIC, "inside.example", "stated.example"] {
        common.list(allow(pattern));
    }
    let get = (Methods::parse(["GET"]).unwrap(), PathPattern::parse("/v1/*").unwrap());
    common.list(Entry { pairs: Some(Routes::from_iter([get])), ..allow("get.example") });
    common.list(Entry { websocket: true, ..allow("ws.example") });
    common.list(Entry { allow_private: vec!["10.0.0.0/8".parse().unwrap()], ..allow("private.example") });
    common.list(Entry { allow_override_headers: true, ..allow("override.example") });
    common.list(Entry { action: Action::Deny, ..allow("denied.example") });
    common.list(allow("*.wild.example"));
    common.block(&HostPattern::parse("evil.wild.example").unwrap(), &"blockedDomains[evil.wild.example]".into());
    rules.domains_mut(Scope::Agent(bob)).list(allow("bob.example"));
    rules.bind(inject(0, "api", "api.example", header("authorization"), None));
    rules.bind(inject(1, "two", "api.example", header("x-key"), Some("/two/*")));
    rules.bind(inject(2, "query", "query.example", Slot::Query("key".into()), None));
    rules.bind(inject(3, "missing", "missing.example", header("authorization"), None));
    rules.bind(inject(4, "plain", "http://plain.example", header("x-key"), None));
    rules.bind(Binding {
        agents: Some(vec![bob]),
        ..inject(5, "bobs", "api.example", header("authorization"), Some("/bob/*"))
    });
    let reads = vec![(Methods::parse(["GET"]).unwrap(), PathPattern::prefix("/v1").unwrap())];
    rules.bind(Binding {
        endpoints: Some(Arc::new(Endpoints {
            rule: "credentials[api].endpoints".into(),
            routes: Routes::from_iter(reads),
        })),
        ..inject(0, "api", "routes.example", header("authorization"), None)
    });
    change(&mut rules);
    Arc::new(rules)
}

// ── A driver ────────────────────────────────────────────────────────────────────────────────────────────────

/// What the exchange asks the world for, and what the world says.
struct World {
    rules: Arc<Ruleset>,
    names: HashMap<&'static str, Result<Resolved, ResolveFailure>>,
    secrets: Secrets,
    /// What is counted and who is asked.
    store: Store,
    /// The body that comes, and whether that is all of it.
    body: (Box<[u8]>, bool),
    /// Whether the journal takes records.
    writes: bool,
    /// The policy and secrets that are put in force while this effect is waited for.
    swap: Option<(&'static str, Arc<Ruleset>, Secrets)>,
}

/// A store that counts nothing, and a person who says what the test has them say.
#[derive(Default)]
struct Store {
    /// What limits say; nothing is too much otherwise.
    excess: Option<Excess>,
    /// How each question stands, in turn; the last one stays.
    standing: Vec<Standing>,
    /// What was asked.
    petitions: Vec<Petition>,
    /// What was charged and used.
    admitted: Vec<(Charges, Option<Fingerprint>)>,
}

impl Store {
    fn look(&self, _: &Charges) -> Result<(), Excess> {
        self.excess.clone().map_or(Ok(()), Err)
    }

    fn ask(&mut self, petition: &Petition) -> Asked {
        let at = self.petitions.len().min(self.standing.len().saturating_sub(1));
        let standing = self.standing.get(at).cloned().unwrap_or(Standing::Pending);
        self.petitions.push(petition.clone());
        Asked::Open { ticket: "apr_1".into(), standing, expires: petition.expires, new: at == 0 }
    }

    fn admit(&mut self, charges: &Charges, redeem: Option<Fingerprint>) -> Result<Option<Redeemed>, NotAdmitted> {
        self.look(charges).map_err(NotAdmitted::Excess)?;
        self.admitted.push((charges.clone(), redeem));
        let answered = Answered { by: "ann".into(), why: None };
        Ok(redeem.map(|_| Redeemed { ticket: "apr_1".into(), answered }))
    }
}

type Secrets = Vec<Option<&'static str>>;

impl World {
    fn new() -> Self {
        let looked = |ips: &[&str]| Ok(Resolved::Looked(ips.iter().map(|ip| ip.parse::<IpAddr>().unwrap()).collect()));
        let failed = |reason| Err(ResolveFailure { reason, detail: "no".into() });
        Self {
            rules: policy("one", |_| {}),
            names: HashMap::from([
                ("inside.example", looked(&["10.1.2.3"])),
                ("private.example", looked(&["10.1.2.3", "192.168.0.1", "10.1.2.4"])),
                ("get.example", looked(&["127.0.0.1", PUBLIC])),
                ("stated.example", Ok(Resolved::Stated(SmallVec::from_slice(&["127.0.0.1:4711".parse().unwrap()])))),
                ("nowhere.example", failed(Reason::NameNotFound)),
                ("slow.example", failed(Reason::DnsFailure)),
            ]),
            secrets: vec![Some("s-api"), Some("s-two"), Some("s query"), None, Some("s-plain"), Some("s-bob")],
            store: Store::default(),
            body: (Box::default(), true),
            writes: true,
            swap: None,
        }
    }

    /// Runs one exchange to its reply.
    fn run(&mut self, incoming: Incoming) -> Outcome {
        let mut exchange = Exchange::new(self.rules.clone(), now());
        let mut outcome = Outcome { asked: Vec::new(), records: Vec::new(), reply: None };
        let mut event = Event::Request(incoming);
        for _ in 0..16 {
            let effect = exchange.on(event, &self.rules, now());
            let wait = match &effect {
                Effect::Resolve { .. } => "resolve",
                Effect::Look(_) => "look",
                Effect::Ask(_) => "ask",
                Effect::Admit { .. } => "admit",
                Effect::FetchSecrets(_) => "secrets",
                Effect::Record(_) => "record",
                Effect::Reply(_) => "reply",
            };
            outcome.asked.push(wait);
            // What is fetched is the old policy's; what is in force when it arrives may be another.
            event = match effect {
                Effect::Resolve { host, port } => {
                    assert_ne!(port, 0);
                    let literal = |ip: IpAddr| Ok(Resolved::Looked(SmallVec::from_slice(&[ip])));
                    Event::Resolved(match &host {
                        Host::Address(ip) => literal(*ip),
                        Host::Name(name) => {
                            self.names.get(&**name).cloned().unwrap_or_else(|| literal(PUBLIC.parse().unwrap()))
                        }
                    })
                }
                Effect::FetchSecrets(wanted) => Event::Secrets(wanted.iter().map(|id| self.secret(*id)).collect()),
                Effect::Look(charges) => Event::Looked(self.store.look(&charges)),
                Effect::Ask(petition) => Event::Asked(self.store.ask(&petition)),
                Effect::Admit { charges, redeem } => Event::Admitted(self.store.admit(&charges, redeem)),
                Effect::Reply(Reply::HoldBody) => {
                    let (bytes, whole) = self.body.clone();
                    Event::Body { bytes, whole }
                }
                Effect::Record(record) => {
                    outcome.records.push(*record);
                    Event::Recorded(self.writes)
                }
                Effect::Reply(reply) => {
                    outcome.reply = Some(reply);
                    return outcome;
                }
            };
            if let Some((_, rules, secrets)) = self.swap.take_if(|(at, ..)| *at == wait) {
                (self.rules, self.secrets) = (rules, secrets);
            }
        }
        panic!("no reply: {:?}", outcome.asked)
    }

    fn secret(&self, id: CredentialId) -> Option<Arc<Secret>> {
        let text = self.secrets.get(id.0).copied().flatten()?;
        Some(Arc::new(Secret::new(Zeroizing::new(text.as_bytes().to_vec())).ok().unwrap()))
    }
}

#[derive(Debug)]
struct Outcome {
    asked: Vec<&'static str>,
    records: Vec<DecisionRecord>,
    reply: Option<Reply>,
}

impl Outcome {
    fn forward(&self) -> &Forward {
        match &self.reply {
            Some(Reply::Allow(forward)) => forward,
            other => panic!("not allowed: {other:?}, {:?}", self.records),
        }
    }

    fn answer(&self) -> &Answer {
        match &self.reply {
            Some(Reply::Deny(answer)) => answer,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn record(&self) -> &DecisionRecord {
        assert_eq!(self.records.len(), 1, "{:?}", self.records);
        &self.records[0]
    }

    fn reason(&self) -> &str {
        self.record().reason.as_deref().unwrap()
    }

    /// A field as it will be set.
    fn set(&self, name: &str) -> Option<String> {
        let found: Vec<_> = self.forward().set.iter().filter(|(n, _)| **n == *name).collect();
        assert!(found.len() <= 1, "{name} is set twice");
        found.first().map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }

    fn removed(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.forward().remove.iter().map(|n| &**n).collect();
        names.sort_unstable();
        names
    }
}

// ── Requests ────────────────────────────────────────────────────────────────────────────────────────────────

/// A request of Ann's through a tunnel, in TLS.
fn tls(method: &str, url: &str, extra: &[(&str, &str)]) -> Incoming {
    let (authority, _) = url.split_once('/').unwrap();
    let host = authority.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(authority, |(h, _)| h);
    let tunnel = if host == authority { format!("{host}:443") } else { authority.to_owned() };
    let is_name = !host.starts_with('[') && host.parse::<IpAddr>().is_err();
    Incoming {
        session: Some(session(&tunnel, Some(ANN))),
        sni: is_name.then(|| host.to_owned()),
        source: None,
        ..incoming(Door::Tls, method, url, extra)
    }
}

/// A request that came to the proxy itself.
fn proxy(method: &str, url: &str, extra: &[(&str, &str)]) -> Incoming {
    incoming(Door::Proxy, method, url, extra)
}

fn incoming(door: Door, method: &str, url: &str, extra: &[(&str, &str)]) -> Incoming {
    let (authority, path) = url.find('/').map_or((url, ""), |at| url.split_at(at));
    let mut fields = vec![(":method", method), (":authority", authority)];
    if !path.is_empty() {
        fields.push((":path", path));
    }
    fields.extend_from_slice(extra);
    let fields = fields.into_iter().map(|(n, v)| (n.to_owned(), v.as_bytes().to_vec())).collect();
    Incoming {
        door,
        fields: Fields::new(fields),
        session: None,
        sni: None,
        source: Some("192.0.2.7:1234".into()),
        peer: None,
        request_id: "r1".into(),
        ends: true,
    }
}

fn session(authority: &str, token: Option<&str>) -> String {
    let session = Session {
        authority: crate::pipeline::message::Authority::parse(authority.as_bytes()).unwrap(),
        source: "192.0.2.7:1234".into(),
        peer: None,
        tokens: token.map(|t| TokenHash::of(t.as_bytes())).into_iter().collect(),
        headers: Vec::new(),
    };
    session.encode()
}

fn basic(user: &str, token: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{token}")))
}

// ── Allowed ─────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn an_allowed_request_goes_out_with_its_credential_and_on_record() {
    let outcome = World::new().run(tls("POST", "api.example/x?token=abc&v", &[("authorization", "Bearer own")]));
    assert_eq!(outcome.asked, ["resolve", "secrets", "record", "reply"]);
    assert_eq!(outcome.set("authorization").as_deref(), Some("Bearer s-api"));
    assert_eq!(outcome.set(":path"), None);
    assert!(!outcome.forward().plaintext && outcome.removed().is_empty());
    assert_eq!(outcome.forward().upstream.first.to_string(), format!("{PUBLIC}:443"));
    let record = outcome.record();
    assert_eq!((record.decision, &*record.request_id, record.status), (Verdict::Allow, "r1", None));
    assert_eq!((record.agent.as_deref(), record.identity.as_deref()), (Some("ann"), Some("token")));
    assert_eq!((&*record.host, record.port, record.scheme.as_deref()), ("api.example", Some(443), Some("https")));
    assert_eq!((&*record.path, record.query.as_deref()), ("/x", Some("token=***&v")));
    assert_eq!(record.rule.as_deref(), Some("allowedDomains[api.example]"));
    assert_eq!(record.credential, [std::sync::Arc::<str>::from("api")]);
    assert_eq!(record.source.as_deref(), Some("192.0.2.7:1234"));
    let line = serde_json::to_string(record).unwrap();
    assert!(!line.contains("s-api") && !line.contains("abc") && !line.contains(ANN), "{line}");
}

#[test]
fn every_slot_is_filled_by_the_closest_credential_its_caller_may_use() {
    let mut world = World::new();
    let two = world.run(tls("GET", "api.example/two/x", &[("x-key", "own"), ("x-key", "twice")]));
    assert_eq!(two.set("authorization").as_deref(), Some("Bearer s-api"));
    assert_eq!(two.set("x-key").as_deref(), Some("Bearer s-two"));
    let ann = world.run(tls("GET", "api.example/bob/x", &[]));
    assert_eq!(ann.set("authorization").as_deref(), Some("Bearer s-api"));
    let mut bobs = tls("GET", "api.example/bob/x", &[]);
    bobs.session = Some(session("api.example:443", Some(BOB)));
    let bob = world.run(bobs);
    assert_eq!(bob.set("authorization").as_deref(), Some("Bearer s-bob"));
    assert_eq!(bob.record().agent.as_deref(), Some("bob"));
}

#[test]
fn a_query_slot_keeps_the_path_as_it_was_sent_and_drops_the_agents_own_value() {
    let outcome = World::new().run(tls("GET", "query.example/%61;v=1?a=1&%6bey=own&KEY=own;b", &[]));
    assert_eq!(outcome.set(":path").as_deref(), Some("/%61;v=1?a=1&b&key=s%20query"));
    assert_eq!(outcome.record().query.as_deref(), Some("a=***&%6bey=***&KEY=***"));
    assert_eq!(&*outcome.record().path, "/a;v=1");
    let bare = World::new().run(tls("GET", "query.example/", &[]));
    assert_eq!(bare.set(":path").as_deref(), Some("/?key=s%20query"));
}

#[test]
fn a_placeholder_that_nothing_replaces_is_left_alone_and_noted() {
    let mut world = World::new();
    world.rules = policy("one", |rules| {
        let bob = rules.agents.find("bob");
        for (credential, text, agents) in
            [("api", "sk-holder", None), ("bobs", "sk-bobs", bob.map(|bob| vec![bob])), ("query", "pk/holder", None)]
        {
            rules.hold(Placeholder { credential: credential.into(), text: text.into(), agents });
        }
    });
    for (url, field, value, noted) in [
        ("api.example/", "authorization", "Bearer sk-holder", &[][..]),
        ("api.example/", "x-other", "sk-holder", &["api"]),
        ("api.example/", "x-other", "pk/holder sk-holder", &["api", "query"]),
        ("api.example/", "x-other", "sk-holde", &[]),
        ("api.example/?q=sk-holder", "x", "y", &["api"]),
        ("api.example/?q=%73k-holder", "x", "y", &["api"]),
        ("api.example/sk-holder", "x", "y", &["api"]),
        // Another's, which means nothing here.
        ("api.example/?q=sk-bobs", "x", "y", &[]),
        // What is removed or replaced does not leave.
        ("api.example/", "x-attache-note", "sk-holder", &[]),
        ("query.example/?a=1&KEY=pk/holder", "x", "y", &[]),
        ("query.example/?other=pk/holder&key=pk/holder", "x", "y", &["query"]),
        ("query.example/?key=sk-holder", "authorization", "Bearer sk-holder", &["api"]),
    ] {
        let outcome = world.run(tls("GET", url, &[(field, value)]));
        assert_eq!(
            outcome.record().placeholders.iter().map(|name| &**name).collect::<Vec<_>>(),
            noted,
            "{url} {value}"
        );
        assert!(!outcome.removed().contains(&"x-other"), "it is left alone");
    }
}

#[test]
fn identities_and_headers_of_other_requests_stay_behind() {
    let ann = basic("ann", ANN);
    let fields = [
        ("proxy-authorization", &*ann),
        ("proxy-connection", "keep-alive"),
        ("x-agent", "ann"),
        ("x-untrusted", "bob"),
        ("x-attache-agent", "bob"),
        ("x-http-method-override", "DELETE"),
        ("x-forwarded-host", "other.example"),
        ("x-forwarded-proto", "http"),
        ("x-original-url", "/admin"),
        ("accept", "*/*"),
    ];
    let outcome = World::new().run(proxy("GET", "ws.example/", &fields));
    let gone = [
        "proxy-authorization",
        "proxy-connection",
        "x-agent",
        "x-attache-agent",
        "x-forwarded-host",
        "x-http-method-override",
        "x-original-url",
        "x-untrusted",
    ];
    assert_eq!(outcome.removed(), gone);
    let kept = World::new().run(proxy("GET", "override.example/", &fields));
    assert!(!kept.removed().contains(&"x-http-method-override") && kept.removed().contains(&"x-agent"));
}

#[test]
fn a_proxy_token_in_authorization_never_leaves() {
    let token = format!("Bearer {ANN}");
    let gone = World::new().run(proxy("GET", "ws.example/", &[("authorization", &token)]));
    assert_eq!(gone.removed(), ["authorization"]);
    let replaced = World::new().run(proxy("GET", "api.example/", &[("authorization", &token)]));
    assert!(replaced.removed().is_empty());
    assert_eq!(replaced.set("authorization").as_deref(), Some("Bearer s-api"));
    let own = World::new().run(tls("GET", "ws.example/", &[("authorization", "Bearer own")]));
    assert!(own.removed().is_empty() && own.forward().set.is_empty());
}

#[test]
fn schemes_ports_and_addresses_are_those_of_the_entry() {
    let token = ("proxy-authorization", &*format!("Bearer {ANN}"));
    for (incoming, first, second, plaintext) in [
        (proxy("GET", "api.example/", &[token]), "93.184.216.34:443", "93.184.216.34:443", false),
        (proxy("GET", "api.example:80/", &[token]), "93.184.216.34:443", "93.184.216.34:443", false),
        (proxy("GET", "api.example:443/", &[token]), "93.184.216.34:443", "93.184.216.34:443", false),
        (proxy("GET", "plain.example/", &[token]), "93.184.216.34:80", "93.184.216.34:80", true),
        (proxy("GET", "port.example:8443/", &[token]), "93.184.216.34:8443", "93.184.216.34:8443", false),
        (tls("GET", "port.example:8443/", &[]), "93.184.216.34:8443", "93.184.216.34:8443", false),
        (tls("GET", "93.184.216.34/", &[]), "93.184.216.34:443", "93.184.216.34:443", false),
        (tls("GET", "private.example/", &[]), "10.1.2.3:443", "10.1.2.4:443", false),
        (tls("GET", "get.example/v1/x", &[]), "93.184.216.34:443", "93.184.216.34:443", false),
        (tls("GET", "stated.example/", &[]), "127.0.0.1:4711", "127.0.0.1:4711", false),
        (tls("GET", "ws.example/", &[("upgrade", "WebSocket")]), "93.184.216.34:443", "93.184.216.34:443", false),
    ] {
        let name = format!("{incoming:?}");
        let outcome = World::new().run(incoming);
        let Forward { upstream, plaintext: plain, .. } = outcome.forward();
        let found = (upstream.first.to_string(), upstream.second.to_string(), *plain);
        assert_eq!(found, (first.to_owned(), second.to_owned(), plaintext), "{name}");
        assert_eq!(outcome.record().upstream.as_deref(), Some(first));
    }
    let plain = World::new().run(proxy("GET", "plain.example/", &[token]));
    assert_eq!(plain.set("x-key").as_deref(), Some("Bearer s-plain"));
}

// ── Refused ─────────────────────────────────────────────────────────────────────────────────────────────────

/// Every refusal that a request itself can bring about: its name, the request, the reason, the status.
fn refused() -> Vec<(&'static str, Incoming, Reason, u16)> {
    use Reason::*;
    let ann = basic("ann", ANN);
    let with_ann = [("proxy-authorization", &*ann)];
    let wrong_user = basic("bob", ANN);
    let nobody = basic("ann", "nobody");
    let no_session = |mut i: Incoming| {
        i.session = None;
        i
    };
    let tunnel = |to: &str, token, mut i: Incoming| {
        i.session = Some(session(to, token));
        i
    };
    let sni = |name: Option<&str>, mut i: Incoming| {
        i.sni = name.map(str::to_owned);
        i
    };
    let plain = |url: &str| Incoming { door: Door::Plain, sni: None, ..tls("GET", url, &[]) };
    let two_protocols = [("upgrade", "websocket"), ("upgrade", "h2c")];
    vec![
        ("token of nobody", proxy("GET", "api.example/", &[("proxy-authorization", &nobody)]), InvalidToken, 407),
        ("bearer of nobody", proxy("GET", "api.example/", &[("authorization", "Bearer x")]), InvalidToken, 401),
        (
            "token of nobody at CONNECT",
            proxy("CONNECT", "api.example:443", &[("proxy-authorization", &nobody)]),
            InvalidToken,
            407,
        ),
        (
            "revoked token inside",
            tunnel("api.example:443", Some("old"), tls("GET", "api.example/", &[])),
            InvalidToken,
            401,
        ),
        ("no identity in front", proxy("GET", "api.example/", &[]), NoIdentity, 401),
        ("no identity inside", tunnel("api.example:443", None, tls("GET", "api.example/", &[])), NoIdentity, 401),
        ("unknown header", proxy("GET", "api.example/", &[("x-agent", "x")]), UnknownIdentity, 401),
        ("untrusted header", proxy("GET", "api.example/", &[("x-untrusted", "ann")]), NoIdentity, 401),
        (
            "another user name",
            proxy("GET", "api.example/", &[("proxy-authorization", &wrong_user)]),
            IdentityConflict,
            407,
        ),
        ("two agents", tls("GET", "api.example/", &[("authorization", "Bearer bob-token")]), IdentityConflict, 401),
        ("no method", proxy("G T", "api.example/", &with_ann), MalformedRequest, 400),
        ("two paths", proxy("GET", "api.example/", &[(":path", "/x")]), MalformedRequest, 400),
        ("CONNECT inside", tls("CONNECT", "api.example:443/", &[]), MalformedRequest, 400),
        (
            "CONNECT for a protocol",
            proxy("CONNECT", "api.example:443", &[(":protocol", "connect-udp")]),
            MalformedRequest,
            400,
        ),
        ("user information", proxy("GET", "u:p@api.example/", &with_ann), MalformedAuthority, 400),
        ("an odd address", proxy("GET", "0x7f.1/", &with_ann), MalformedAuthority, 400),
        ("CONNECT without port", proxy("CONNECT", "api.example", &with_ann), MalformedAuthority, 400),
        ("Host differs", proxy("GET", "api.example/", &[("host", "x.example")]), MalformedAuthority, 400),
        ("encoded slash", proxy("GET", "api.example/a%2fb", &with_ann), MalformedPath, 400),
        ("dot segment", tls("GET", "api.example/a/..;/b", &[]), MalformedPath, 400),
        (
            "another host than the tunnel's",
            tunnel("ws.example:443", Some(ANN), tls("GET", "api.example/", &[])),
            AuthorityMismatch,
            421,
        ),
        (
            "another port than the tunnel's",
            tunnel("api.example:8443", Some(ANN), tls("GET", "api.example/", &[])),
            AuthorityMismatch,
            421,
        ),
        ("another name in TLS", sni(Some("ws.example"), tls("GET", "api.example/", &[])), AuthorityMismatch, 421),
        ("no name in TLS", sni(None, tls("GET", "api.example/", &[])), AuthorityMismatch, 421),
        ("a name for an address", sni(Some("api.example"), tls("GET", "93.184.216.34/", &[])), AuthorityMismatch, 421),
        ("plain HTTP in a tunnel to 443", plain("api.example/"), AuthorityMismatch, 421),
        ("unlisted", tls("GET", "other.example/", &[]), DomainNotAllowed, 403),
        ("another port", tls("GET", "api.example:8443/", &[]), DomainNotAllowed, 403),
        ("plaintext host over TLS", tls("GET", "plain.example/", &[]), DomainNotAllowed, 403),
        ("another agent's domain", tls("GET", "bob.example/", &[]), DomainNotAllowed, 403),
        ("the apex of a wildcard", tls("GET", "wild.example/", &[]), DomainNotAllowed, 403),
        ("CONNECT to an unlisted host", proxy("CONNECT", "other.example:443", &[]), DomainNotAllowed, 403),
        ("CONNECT to another's domain", proxy("CONNECT", "bob.example:443", &with_ann), DomainNotAllowed, 403),
        ("below a blocked name", tls("GET", "x.evil.wild.example/", &[]), DomainBlocked, 403),
        ("denied", tls("GET", "denied.example/", &[]), DomainBlocked, 403),
        ("CONNECT to a blocked host", proxy("CONNECT", "evil.wild.example:443", &with_ann), DomainBlocked, 403),
        ("another path", tls("GET", "get.example/v2", &[]), RouteNotAllowed, 403),
        ("another method", tls("HEAD", "get.example/v1/x", &[]), RouteNotAllowed, 403),
        ("TRACE", tls("TRACE", "api.example/", &[]), RouteNotAllowed, 403),
        ("WebSocket", tls("GET", "api.example/", &[("upgrade", "websocket")]), UpgradeNotAllowed, 403),
        ("two protocols", tls("GET", "ws.example/", &two_protocols), UpgradeNotAllowed, 403),
        ("another path than the credential's", tls("GET", "routes.example/v2", &[]), EndpointNotAllowed, 403),
        ("another method than the credential's", tls("POST", "routes.example/v1", &[]), EndpointNotAllowed, 403),
        ("a private address", tls("GET", "inside.example/", &[]), AddressForbidden, 403),
        ("no such name", tls("GET", "nowhere.example/", &[]), NameNotFound, 503),
        ("DNS is silent", tls("GET", "slow.example/", &[]), DnsFailure, 503),
        ("no secret", tls("GET", "missing.example/", &[]), SecretUnavailable, 503),
        ("a tunnel without its session", no_session(tls("GET", "api.example/", &[])), InternalError, 503),
    ]
}

#[test]
fn every_refusal_has_its_reason_its_status_and_its_record() {
    for (name, incoming, reason, status) in refused() {
        let form = reason.class() == Class::Malformed;
        let outcome = World::new().run(incoming);
        assert_eq!((outcome.reason(), outcome.answer().status), (reason.as_str(), status), "{name}");
        let record = outcome.record();
        assert_eq!(record.status, Some(status), "{name}");
        assert_eq!(record.decision == Verdict::Error, status == 503, "{name}");
        assert!(record.credential.is_empty() && record.upstream.is_none(), "{name}");
        assert!(!form || outcome.asked == ["record", "reply"], "{name}: {:?}", outcome.asked);
        let secrets_asked = outcome.asked.contains(&"secrets");
        assert_eq!(secrets_asked, reason == Reason::SecretUnavailable, "{name}");
    }
}

#[test]
fn every_reason_is_reached() {
    let mut reached: HashSet<_> = refused().into_iter().map(|(_, _, reason, _)| reason).collect();
    // By tests of their own, below.
    reached.extend([Reason::RecordFailed, Reason::ClientGone]);
    // These are written by the certificate service and from the access log.
    reached.extend([Reason::CertificateRefused, Reason::NoVerdict]);
    for reason in Reason::ALL {
        assert!(reached.contains(&reason), "{}", reason.as_str());
    }
}

#[test]
fn without_a_record_nothing_leaves_and_a_refusal_stands() {
    let mut world = World { writes: false, ..World::new() };
    let outcome = world.run(tls("GET", "api.example/", &[]));
    assert_eq!(outcome.answer().status, 503);
    assert!(outcome.answer().body.contains("record_failed"));
    assert_eq!(world.run(tls("GET", "other.example/", &[])).answer().status, 403);
}

#[test]
fn only_the_answer_to_the_record_releases_a_request() {
    let world = World::new();
    let stray = || Event::Resolved(Ok(Resolved::Looked(SmallVec::from_slice(&[PUBLIC.parse().unwrap()]))));
    let mut exchange = Exchange::new(world.rules.clone(), now());
    exchange.on(Event::Request(tls("GET", "stated.example/", &[])), &world.rules, now());
    exchange.on(stray(), &world.rules, now());
    let effect = exchange.on(Event::Secrets(SmallVec::new()), &world.rules, now());
    assert!(matches!(effect, Effect::Record(record) if record.decision == Verdict::Allow));
    let effect = exchange.on(stray(), &world.rules, now());
    assert!(matches!(effect, Effect::Reply(Reply::Deny(answer)) if answer.status == 503));
}

#[test]
fn a_client_that_goes_away_is_on_record() {
    let world = World::new();
    let mut exchange = Exchange::new(world.rules.clone(), now());
    let effect = exchange.on(Event::Request(tls("GET", "api.example/", &[])), &world.rules, now());
    assert!(matches!(effect, Effect::Resolve { .. }));
    let Effect::Record(record) = exchange.fail(Reason::ClientGone, now()) else { panic!() };
    assert_eq!((record.reason.as_deref(), record.agent.as_deref()), (Some("client_gone"), Some("ann")));
}

#[test]
fn a_request_that_cannot_be_read_is_its_senders_and_keeps_its_secrets() {
    let ann = basic("ann", ANN);
    let fields = [("proxy-authorization", &*ann)];
    let outcome = World::new().run(proxy("GET", "u:hunter2@api.example/x?token=abc#hunter3", &fields));
    let record = outcome.record();
    assert_eq!((record.agent.as_deref(), &*record.host, &*record.path), (Some("ann"), "***@api.example", "/x"));
    for text in [serde_json::to_string(record).unwrap(), outcome.answer().body.clone()] {
        assert!(!text.contains("hunter") && !text.contains("abc"), "{text}");
    }
}

#[test]
fn a_grpc_client_is_told_so_and_a_browsers_grpc_is_http() {
    for (content, grpc) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;charset=x", true),
        ("application/grpc-web", false),
        ("application/json", false),
    ] {
        let outcome = World::new().run(tls("POST", "other.example/", &[("content-type", content)]));
        assert_eq!(outcome.answer().grpc_status.is_some(), grpc, "{content}");
    }
}

#[test]
fn what_stands_in_an_upgrade_is_not_repeated_unless_it_is_a_protocol() {
    for (upgrade, shown) in
        [("h2c", true), ("a secret of the agent's", false), ("sk-0123456789-0123456789-0123456789", false)]
    {
        let outcome = World::new().run(tls("GET", "api.example/", &[("upgrade", upgrade)]));
        assert_eq!(outcome.reason(), "upgrade_not_allowed");
        let told = serde_json::to_string(outcome.record()).unwrap() + &outcome.answer().body;
        assert_eq!(told.contains(upgrade), shown, "{told}");
    }
}

// ── Tunnels ─────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_tunnel_carries_what_was_shown_and_is_not_on_record() {
    let ann = basic("ann", ANN);
    let outcome = World::new().run(proxy("CONNECT", "API.example.:443", &[("proxy-authorization", &ann)]));
    assert_eq!(outcome.asked, ["reply"]);
    let Some(Reply::Tunnel { session }) = outcome.reply else { panic!("{:?}", outcome.reply) };
    assert!(!session.contains(ANN));
    let mut inner = tls("GET", "api.example/", &[]);
    inner.session = Some(session);
    inner.sni = Some("API.EXAMPLE.".to_owned());
    let outcome = World::new().run(inner);
    assert_eq!(outcome.set("authorization").as_deref(), Some("Bearer s-api"));
    assert_eq!(outcome.record().source.as_deref(), Some("192.0.2.7:1234"));
}

#[test]
fn who_shows_nothing_at_connect_may_still_show_something_inside() {
    let opens = |outcome: Outcome| matches!(outcome.reply, Some(Reply::Tunnel { .. }));
    let mut world = World::new();
    assert!(opens(world.run(proxy("CONNECT", "bob.example:443", &[]))));
    world.rules = policy("default", |rules| rules.agents.set_default(AgentId(0)));
    assert!(opens(world.run(proxy("CONNECT", "bob.example:443", &[]))));
    let inside = |token: &str, mut incoming: Incoming| {
        incoming.session = Some(session("bob.example:443", None));
        let fields = incoming.fields.iter().map(|(n, v)| (n.to_owned(), v.to_vec()));
        let shown = (!token.is_empty()).then(|| ("authorization".to_owned(), format!("Bearer {token}").into_bytes()));
        incoming.fields = Fields::new(fields.chain(shown).collect());
        incoming
    };
    let bob = world.run(inside(BOB, tls("GET", "bob.example/", &[])));
    assert_eq!(bob.removed(), ["authorization"]);
    assert_eq!(world.run(inside("", tls("GET", "bob.example/", &[]))).reason(), "domain_not_allowed");
    world.rules = policy("challenge", |rules| rules.agents.set_challenge(true));
    let asked = world.run(proxy("CONNECT", "bob.example:443", &[]));
    assert_eq!((asked.reason(), asked.answer().status), ("no_identity", 407));
    assert!(asked.answer().fields.iter().any(|(name, _)| *name == "proxy-authenticate"));
}

// ── A policy that changes meanwhile ─────────────────────────────────────────────────────────────────────────

#[test]
fn a_newer_deny_wins_over_an_older_allow() {
    for wait in ["resolve", "secrets"] {
        let stricter = policy("two", |rules| {
            let pattern = HostPattern::parse("api.example").unwrap();
            rules.domains_mut(Scope::All).block(&pattern, &"blockedDomains[api.example]".into());
        });
        let mut world = World::new();
        world.swap = Some((wait, stricter, world.secrets.clone()));
        let outcome = world.run(tls("GET", "api.example/", &[]));
        assert_eq!((outcome.reason(), &*outcome.record().policy_revision), ("domain_blocked", "two"), "{wait}");
    }
}

#[test]
fn a_revoked_token_stops_what_is_under_way_and_nobody_else_is_blamed() {
    for wait in ["resolve", "secrets"] {
        let mut agents = Agents::default();
        agents.add("carl");
        let mut world = World::new();
        world.swap = Some((wait, Arc::new(Ruleset::new("two", agents)), Vec::new()));
        let outcome = world.run(tls("GET", "api.example/", &[]));
        assert_eq!((outcome.reason(), outcome.record().agent.as_deref()), ("invalid_token", None), "{wait}");
    }
}

#[test]
fn the_certificate_and_address_of_a_tunnel_are_those_of_the_requests_inside() {
    let mut world = World::new();
    world.rules = policy("one", |rules| {
        rules.agents.add_certificate("spiffe://a.example/ann", AgentId(0));
        rules.agents.add_source("192.0.2.0/24".parse().unwrap(), AgentId(1));
    });
    let connect = |peer: Option<String>, source: &str| Incoming {
        peer,
        source: Some(source.into()),
        ..proxy("CONNECT", "api.example:443", &[])
    };
    let ann = Some("9999999999;spiffe://a.example/ann".to_owned());
    for (peer, source, inside) in [
        (ann.clone(), "198.51.100.1:1", Ok(("ann", "mtls"))),
        (None, "192.0.2.7:1", Ok(("bob", "source"))),
        (None, "198.51.100.1:1", Err("no_identity")),
        (ann.clone(), "192.0.2.7:1", Err("identity_conflict")),
        (Some(";spiffe://a.example/ann".to_owned()), "198.51.100.1:1", Err("unknown_identity")),
        (Some("9999999999;spiffe://a.example/ann,spiffe://a.example/ann".to_owned()), "", Err("identity_conflict")),
    ] {
        let opened = world.run(connect(peer.clone(), source));
        let session = match (opened.reply, inside) {
            (Some(Reply::Tunnel { session }), _) => session,
            (_, Err(reason)) => {
                assert_eq!(opened.records[0].reason.as_deref(), Some(reason), "{peer:?} {source}");
                continue;
            }
            (reply, _) => panic!("{peer:?} {source}: {reply:?}"),
        };
        let request = Incoming { session: Some(session), ..tls("GET", "api.example/", &[]) };
        let outcome = world.run(request);
        let record = outcome.record();
        match inside {
            Ok((agent, how)) => {
                let found = (record.decision, record.agent.as_deref(), record.identity.as_deref());
                assert_eq!(found, (Verdict::Allow, Some(agent), Some(how)), "{peer:?} {source}");
            }
            Err(reason) => assert_eq!(record.reason.as_deref(), Some(reason), "{peer:?} {source}"),
        }
    }
}

#[test]
fn an_identity_that_ends_during_a_wait_stops_what_is_under_way() {
    let start = now();
    let end = start.wall + std::time::Duration::from_secs(9);
    let rules = policy("one", |rules| {
        rules.agents.add_token(TokenHash::of(ANN.as_bytes()), AgentId(0), Some(end));
    });
    for (resolved, fetched, allowed) in [(8, 8, true), (9, 9, false), (8, 9, false)] {
        let later = |seconds| Now { wall: start.wall + std::time::Duration::from_secs(seconds), ..start };
        let mut exchange = Exchange::new(rules.clone(), start);
        let effect = exchange.on(Event::Request(tls("GET", "get.example/v1/x", &[])), &rules, start);
        assert!(matches!(effect, Effect::Resolve { .. }), "{effect:?}");
        let found = Resolved::Looked(SmallVec::from_slice(&[PUBLIC.parse().unwrap()]));
        let mut effect = exchange.on(Event::Resolved(Ok(found)), &rules, later(resolved));
        if matches!(effect, Effect::FetchSecrets(_)) {
            effect = exchange.on(Event::Secrets(SmallVec::new()), &rules, later(fetched));
        }
        let Effect::Record(record) = effect else { panic!("{effect:?}") };
        let expected = if allowed { (Verdict::Allow, None) } else { (Verdict::Deny, Some("invalid_token")) };
        assert_eq!((record.decision, record.reason.as_deref()), expected, "{resolved} {fetched}");
    }
}

#[test]
fn secrets_of_one_policy_never_fill_the_slots_of_another() {
    for wait in ["resolve", "secrets"] {
        // The numbers that were 0 and 1 are now other credentials'.
        let renumbered = policy("two", |rules| {
            let binding = inject(1, "only", "api.example", header("authorization"), Some("/exact"));
            rules.bind(binding);
        });
        let mut world = World::new();
        world.swap = Some((wait, renumbered, vec![Some("n-zero"), Some("n-one")]));
        let outcome = world.run(tls("GET", "api.example/exact", &[]));
        assert_eq!(outcome.set("authorization").as_deref(), Some("Bearer n-one"), "{wait}");
        assert_eq!(outcome.record().credential, [std::sync::Arc::<str>::from("only")], "{wait}");
        let repeated = outcome.asked.iter().filter(|a| **a == "resolve").count();
        assert_eq!(repeated, 2, "the address is looked up for the newer policy");
    }
}

#[test]
fn a_policy_that_came_before_the_request_is_the_one_that_decides() {
    let world = World::new();
    let mut exchange = Exchange::new(policy("old", |_| {}), now());
    let nothing = Arc::new(Ruleset::new("new", Agents::implicit("x")));
    let effect = exchange.on(Event::Request(proxy("CONNECT", "api.example:443", &[])), &nothing, now());
    assert!(matches!(effect, Effect::Record(record) if &*record.policy_revision == "new"));
    drop(world);
}
