//! Whole exchanges, with a driver that answers every effect from tables.

mod allowed;
mod any_answer;
mod arbitrary;
mod monitored;
mod obligations;
mod passing;
mod refused;
mod reload;
mod tunnels;

/// Where the inspector for tests finds the types it is made of.
mod seam {
    pub use crate::pipeline::agent::AgentId;
    pub use crate::pipeline::dlp::finding::{Action, Category, Confidence, Finding};
    pub use crate::pipeline::message::Fields;
    pub use crate::pipeline::policy::inspect::{
        BodyInspection, Inspect, InspectResponse, Inspection, Refusal, ResponseHead, ResponseInspection, Subject,
        Unheld,
    };
    pub use crate::pipeline::policy::{Denial, Inspector, Reason};
}

#[path = "../../../tests/support/watcher.rs"]
mod watcher;

use std::collections::{HashMap, HashSet, VecDeque};
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

// ── A policy ────────────────────────────────────────────────────────────────────────────────────────────────────

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

// ── A driver ────────────────────────────────────────────────────────────────────────────────────────────────────

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
    /// The time, and how much of it this effect takes.
    now: Now,
    slow: Option<(&'static str, Duration)>,
}

/// A store that counts nothing, and a person who says what the test has them say.
#[derive(Default)]
struct Store {
    /// What limits say when they are looked at, in turn; nothing is too much otherwise.
    looks: VecDeque<Excess>,
    /// What comes of asking where no question is opened.
    turned_away: Option<Asked>,
    /// How each question stands, in turn; the last one stays.
    standing: Vec<Standing>,
    /// What comes of charging and using, in turn; it succeeds otherwise.
    refusals: VecDeque<NotAdmitted>,
    /// What was asked.
    petitions: Vec<Petition>,
    /// What was charged and used.
    admitted: Vec<(Charges, Option<Fingerprint>)>,
}

impl Store {
    fn look(&mut self, _: &Charges) -> Result<(), Excess> {
        self.looks.pop_front().map_or(Ok(()), Err)
    }

    fn ask(&mut self, petition: &Petition) -> Asked {
        let at = self.petitions.len().min(self.standing.len().saturating_sub(1));
        let standing = self.standing.get(at).cloned().unwrap_or(Standing::Pending);
        self.petitions.push(petition.clone());
        let open = Asked::Open { ticket: "apr_1".into(), standing, expires: petition.expires, new: at == 0 };
        self.turned_away.clone().unwrap_or(open)
    }

    fn admit(&mut self, charges: &Charges, redeem: Option<Fingerprint>) -> Result<Option<Redeemed>, NotAdmitted> {
        if let Some(refusal) = self.refusals.pop_front() {
            return Err(refusal);
        }
        self.admitted.push((charges.clone(), redeem));
        Ok(redeem.map(|_| Redeemed { ticket: "apr_1".into(), answered: answered() }))
    }

    /// The rules under which something was charged, and how much.
    fn charged(&self) -> Vec<(&str, u64)> {
        let charges = self.admitted.iter().flat_map(|(charges, _)| charges);
        charges.map(|charge| (&*charge.limit.rule, charge.units)).collect()
    }
}

fn answered() -> Answered {
    Answered { by: "carla".into(), why: None }
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
            now: now(),
            slow: None,
        }
    }

    /// One in which the policy has more to say.
    fn under(change: impl FnOnce(&mut Ruleset)) -> Self {
        Self { rules: policy("one", change), ..Self::new() }
    }

    /// Runs one exchange to its reply.
    fn run(&mut self, incoming: Incoming) -> Outcome {
        let mut exchange = Exchange::new(self.rules.clone(), self.now);
        let mut outcome = Outcome { asked: Vec::new(), records: Vec::new(), reply: None };
        let mut event = Event::Request(incoming);
        for _ in 0..64 {
            let effect = exchange.on(event, &self.rules, self.now);
            let wait = match &effect {
                Effect::Resolve { .. } => "resolve",
                Effect::Look(_) => "look",
                Effect::Ask(_) => "ask",
                Effect::Admit { .. } => "admit",
                Effect::FetchSecrets(_) => "secrets",
                Effect::Record(_) => "record",
                Effect::Reply(Reply::HoldBody { .. }) => "hold",
                Effect::Reply(_) => "reply",
                Effect::Note(_) | Effect::Pass(_) => panic!("nothing is looked into: {effect:?}"),
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
                Effect::Reply(Reply::HoldBody { .. }) => {
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
                Effect::Note(_) | Effect::Pass(_) => unreachable!(),
            };
            if let Some((_, time)) = self.slow.filter(|(at, _)| *at == wait) {
                self.now.wall += time;
                self.now.monotonic += time;
            }
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

// ── Requests ────────────────────────────────────────────────────────────────────────────────────────────────────

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
        destination: None,
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
        destination: None,
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
