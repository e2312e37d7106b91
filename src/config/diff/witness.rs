//! Requests that tell policies apart: enough of them that no two policies of the same words decide all of them alike
//! and some other request differently; and what a policy decides about one.
//!
//! Every list is about hosts that stand in a tree, so one host below each pattern stands for all that meet the same
//! patterns; paths are [`representatives`] of all ways in which the host's patterns can meet a path.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::super::facts::{Facts, Who};
use super::super::lint::Filed;
use crate::pipeline::address;
use crate::pipeline::agent::{AgentId, Origin};
use crate::pipeline::credential::Slot;
use crate::pipeline::limit::{Limit, Weight};
use crate::pipeline::message::{Bracketed, Door, Fields, Host, RequestHead};
use crate::pipeline::policy::matcher::{HostPattern, Methods, NamePattern, levels};
use crate::pipeline::policy::path::PathPattern;
use crate::pipeline::policy::path::regions::representatives;
use crate::pipeline::policy::rule::{Condition, Place};
use crate::pipeline::policy::{Action, Denial, Permit, Reason, ResponseFilter, RuleId, Ruleset};

/// How many states the paths of one host are looked for in.
const MOST_STATES: usize = 20_000;
/// How many paths are tried on one host.
const MOST_PATHS: usize = 2_000;

/// What policies name: hosts, and for each the ports, methods, paths and conditions.
#[derive(Debug, Default)]
pub struct Vocabulary {
    words: Vec<Words>,
    at: HashMap<NamePattern, Vec<usize>>,
}

/// What one entry names.
#[derive(Debug)]
struct Words {
    /// Of which policy it is.
    policy: usize,
    who: Who,
    pattern: HostPattern,
    /// Those that permit, and those that restrict.
    permitted: Vec<PathPattern>,
    restricted: Vec<PathPattern>,
    methods: BTreeSet<Box<str>>,
    conditions: Vec<Condition>,
    websocket: bool,
    /// All that it says, but for its place.
    text: String,
}

impl Vocabulary {
    /// That of some policies.
    pub(in super::super) fn of<'a>(policies: impl IntoIterator<Item = &'a Facts>) -> Self {
        let mut vocabulary = Self::default();
        for (policy, facts) in policies.into_iter().enumerate() {
            vocabulary.add(policy, facts);
            vocabulary.add_filters(policy, facts);
        }
        vocabulary
    }

    fn add(&mut self, policy: usize, facts: &Facts) {
        for grant in &facts.grants {
            let pairs = grant.pairs.iter().flatten();
            let text = format!("{}{:?} {} {:?} {}", grant.list, grant.action, grant.written, grant.pairs, grant.more);
            let paths: Vec<_> = pairs.clone().map(|(_, path)| path.clone()).collect();
            let (permitted, restricted) = match grant.action {
                Action::Allow => (paths, Vec::new()),
                Action::Deny => (Vec::new(), paths),
            };
            let words = Words {
                permitted,
                restricted,
                methods: pairs.flat_map(|(methods, _)| listed(methods)).collect(),
                websocket: grant.websocket,
                ..Words::of(policy, &grant.who, &grant.pattern, text)
            };
            self.file(words, grant.names());
        }
        for block in &facts.blocks {
            let text = format!("{}block {}", block.list, block.written);
            self.file(Words::of(policy, &block.who, &block.pattern, text), block.names());
        }
        for rule in &facts.rules {
            let (path, methods, when) = (&rule.path, &rule.methods, &rule.schedule);
            let text = format!(
                "{} {} {} {path:?} {methods:?} {:?} {when:?} {:?} {}",
                rule.organization,
                rule.name,
                rule.pattern,
                rule.conditions,
                rule.mode,
                rule.action_text(),
            );
            let words = Words {
                restricted: path.iter().cloned().collect(),
                methods: listed(methods).collect(),
                conditions: rule.conditions.clone(),
                ..Words::of(policy, &rule.who, &rule.pattern, text)
            };
            self.file(words, rule.names());
        }
        for place in &facts.uses {
            let endpoints = place.endpoints.iter().flatten();
            let text =
                format!("{} {} {:?} {:?} {}", place.credential, place.pattern, place.path, place.endpoints, place.slot);
            let words = Words {
                permitted: place.path.iter().chain(endpoints.clone().map(|(_, path)| path)).cloned().collect(),
                methods: endpoints.flat_map(|(methods, _)| listed(methods)).collect(),
                ..Words::of(policy, &place.who, &place.pattern, text)
            };
            self.file(words, vec![place.pattern.name.clone()]);
        }
    }

    fn add_filters(&mut self, policy: usize, facts: &Facts) {
        for filter in &facts.filters {
            let (path, methods) = (&filter.path, &filter.methods);
            let text = format!("{} {path:?} {methods:?} {}", filter.pattern, filter.does);
            let words = Words {
                restricted: path.iter().cloned().collect(),
                methods: listed(methods).collect(),
                ..Words::of(policy, &filter.who, &filter.pattern, text)
            };
            self.file(words, vec![filter.pattern.name.clone()]);
        }
    }

    fn file(&mut self, words: Words, names: Vec<NamePattern>) {
        let at = self.words.len();
        self.words.push(words);
        for name in names {
            self.at.entry(name).or_default().push(at);
        }
    }

    /// One host for every way in which the patterns can meet a host; the patterns' own first.
    pub fn hosts(&self) -> Vec<Host> {
        let mut names: Vec<_> = self.at.keys().filter(|name| **name != NamePattern::Any).collect();
        names.sort_by_cached_key(|name| match name {
            NamePattern::Exact(host) => (0, host.to_string()),
            NamePattern::Below(name) => (1, name.to_string()),
            NamePattern::Any => (2, String::new()),
        });
        // What holds for every host holds for those that nobody names.
        names.push(&NamePattern::Any);
        let mut seen = HashSet::new();
        names.into_iter().filter_map(|name| self.host_of(name)).filter(|host| seen.insert(host.clone())).collect()
    }

    /// A host of a pattern that meets no closer one.
    pub fn host_of(&self, name: &NamePattern) -> Option<Host> {
        let fresh = |below: &str| {
            let labels = ["sub", "other", "any", "host"].map(str::to_owned).into_iter();
            let labels = labels.chain((0..1000).map(|number| format!("host{number}")));
            labels.map(|label| format!("{label}.{below}")).find_map(|name| {
                let host = Host::parse(&name).ok()?;
                let known = [NamePattern::Exact(host.clone()), NamePattern::Below(name.into())];
                (!known.iter().any(|name| self.at.contains_key(name))).then_some(host)
            })
        };
        match name {
            NamePattern::Exact(host) => Some(host.clone()),
            NamePattern::Below(name) => fresh(name),
            NamePattern::Any => {
                let tops = ["example", "invalid", "test"].map(str::to_owned).into_iter();
                let mut tops = tops.chain((0..1000).map(|number| format!("invalid{number}")));
                tops.find(|top| !self.at.contains_key(&NamePattern::Below((&**top).into()))).and_then(|top| fresh(&top))
            }
        }
    }

    /// All that a policy says to an agent about a host. Agents who are told the same are decided alike, but for what
    /// holds for them whatever they ask for.
    pub(super) fn told(&self, host: &Host, policy: usize, agent: Option<AgentId>) -> Option<Vec<&str>> {
        let agent = agent?;
        let of = self.of_host(host).filter(|words| words.policy == policy && words.who.has(agent));
        let mut told: Vec<_> = of.map(|words| words.text.as_str()).collect();
        told.sort_unstable();
        Some(told)
    }

    /// The requests to a host, the plainest first. The flag is false where its paths are too many to try all.
    pub fn requests(&self, host: &Host) -> (Vec<Witness>, bool) {
        let words: Vec<&Words> = self.of_host(host).collect();
        let permitted = each_once(words.iter().flat_map(|words| &words.permitted));
        let restricted = each_once(words.iter().flat_map(|words| &words.restricted));
        let (mut paths, mut whole) = representatives(permitted, restricted, MOST_STATES);
        whole &= paths.len() <= MOST_PATHS;
        paths.truncate(MOST_PATHS);
        let mut unique = Vec::new();
        for conditions in words.iter().map(|words| &words.conditions).filter(|conditions| !conditions.is_empty()) {
            if !unique.contains(&conditions) {
                unique.push(conditions);
            }
        }
        let upgrade = words.iter().any(|words| words.websocket);
        let plain = Shape { query: None, fields: Vec::new() };
        let shapes: Vec<_> = [plain]
            .into_iter()
            .chain(unique.into_iter().map(|conditions| Shape::meeting(conditions)))
            .chain(upgrade.then(Shape::upgrade))
            .collect();
        let origins = origins(host, words.iter().filter_map(|words| words.pattern.port));
        let methods = methods(words.iter().flat_map(|words| &words.methods));
        let mut all = Vec::new();
        for shape in &shapes {
            for (door, origin, authority) in &origins {
                for method in &methods {
                    all.extend(
                        paths.iter().filter_map(|path| Witness::of(*door, origin, authority, method, path, shape)),
                    );
                }
            }
        }
        (all, whole)
    }

    fn of_host(&self, host: &Host) -> impl Iterator<Item = &Words> {
        use crate::pipeline::policy::matcher::Level;
        levels(host).into_iter().flat_map(|level| {
            let name = match level {
                Level::Exact(host) => NamePattern::Exact(host.clone()),
                Level::Below(name) => NamePattern::Below(name.into()),
                Level::Any => NamePattern::Any,
            };
            let places = self.at.get(&name).map(Vec::as_slice).unwrap_or_default();
            places.iter().filter_map(|place| self.words.get(*place))
        })
    }
}

impl Words {
    fn of(policy: usize, who: &Who, pattern: &HostPattern, text: String) -> Self {
        Self {
            policy,
            who: who.clone(),
            pattern: pattern.clone(),
            permitted: Vec::new(),
            restricted: Vec::new(),
            methods: BTreeSet::new(),
            conditions: Vec::new(),
            websocket: false,
            text,
        }
    }
}

fn each_once<'a>(patterns: impl Iterator<Item = &'a PathPattern>) -> Vec<&'a PathPattern> {
    let mut known = HashSet::new();
    patterns.filter(|pattern| known.insert(format!("{pattern:?}"))).collect()
}

fn listed(methods: &Methods) -> impl Iterator<Item = Box<str>> + use<> {
    match methods {
        Methods::Any => Vec::new(),
        Methods::Only(names) => names.clone(),
    }
    .into_iter()
}

/// The methods that some entry names, those that stand for the others, and one that nobody names.
fn methods<'a>(named: impl Iterator<Item = &'a Box<str>>) -> Vec<Box<str>> {
    let mut methods: Vec<Box<str>> = vec!["GET".into()];
    let named: BTreeSet<_> = named.cloned().collect();
    if !named.is_empty() {
        methods.extend(named);
        let others = ["POST", "DELETE", "PUT", "PATCH", "OPTIONS", "PURGE", "LOCK", "UNLOCK"];
        methods.extend(others.into_iter().map(Box::from).find(|other| !methods.contains(other)));
        methods.push("HEAD".into());
    }
    // Any method is every method but this one.
    methods.push("TRACE".into());
    let mut seen = HashSet::new();
    methods.retain(|method| seen.insert(method.clone()));
    methods
}

/// Where requests to a host could be meant to go: each port that is named, one that is not, with and without TLS.
fn origins(host: &Host, named: impl Iterator<Item = u16>) -> Vec<(Door, String, String)> {
    let named: BTreeSet<u16> = named.collect();
    let fresh = [8443, 9443, 10443].into_iter().find(|port| !named.contains(port));
    let origin = |(scheme, door, usual): (&str, Door, u16), port: u16| {
        let authority = if port == usual { Bracketed(host).to_string() } else { format!("{}:{port}", Bracketed(host)) };
        (door, format!("{scheme}://{authority}"), authority)
    };
    let (tls, plain) = (("https", Door::Tls, 443), ("http", Door::Proxy, 80));
    let mut all = vec![origin(tls, 443), origin(plain, 80)];
    for port in named.into_iter().chain(fresh) {
        all.extend([origin(tls, port), origin(plain, port)]);
    }
    let mut seen = HashSet::new();
    all.retain(|(_, origin, _)| seen.insert(origin.clone()));
    all
}

/// What a request has beside method, host and path.
#[derive(Debug)]
struct Shape {
    query: Option<String>,
    fields: Vec<(String, String)>,
}

impl Shape {
    fn meeting(conditions: &[Condition]) -> Self {
        let mut pairs = Vec::new();
        let mut fields = Vec::new();
        for Condition { place, value } in conditions {
            match place {
                Place::Query(name) => pairs.push(format!("{}={}", escaped(name), escaped(&value.sample()))),
                Place::Header(name) => fields.push((name.to_string(), value.sample())),
            }
        }
        Self { query: (!pairs.is_empty()).then(|| pairs.join("&")), fields }
    }

    fn upgrade() -> Self {
        let fields = [("connection", "upgrade"), ("upgrade", "websocket")];
        Self { query: None, fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into() }
    }
}

/// A text as it may stand in a query.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// A request.
#[derive(Debug, Clone)]
pub struct Witness {
    head: RequestHead,
    url: String,
    fields: Vec<(String, String)>,
}

impl Witness {
    fn of(door: Door, origin: &str, authority: &str, method: &str, path: &str, shape: &Shape) -> Option<Self> {
        let target = match &shape.query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let own = [(":method", method), (":authority", authority), (":path", &target)];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        let more = shape.fields.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes()));
        let head = RequestHead::parse(door, Fields::new(own.chain(more).collect())).ok()?;
        Some(Self { head, url: format!("{origin}{target}"), fields: shape.fields.clone() })
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.head.method, self.url)?;
        for (name, value) in &self.fields {
            write!(f, " -H '{name}: {value}'")?;
        }
        Ok(())
    }
}

/// What a policy decides about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is refused.
    Refused {
        /// Why.
        reason: Reason,
        /// The entry that refused, where one did.
        rule: Option<RuleId>,
    },
    /// It may go out, on some terms.
    Admitted(Box<Terms>),
}

/// What comes with a request that may go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The entries that allow it; none where it passes only because nothing is enforced.
    pub entries: Vec<RuleId>,
    /// What it has to keep and what it gets, each kind by its name, in words.
    pub aspects: Vec<(&'static str, Vec<String>)>,
    /// Whether it passes only because something is not enforced.
    pub lenient: bool,
    /// The limits it has to keep.
    pub limits: Vec<Arc<Limit>>,
    /// The rules that ask a person.
    pub approvals: Vec<RuleId>,
}

impl Outcome {
    /// Whether it may go out.
    pub fn is_admitted(&self) -> bool {
        matches!(self, Self::Admitted(_))
    }

    /// Whether it may go out because policy says so, and not because it is not enforced.
    pub fn is_fully_admitted(&self) -> bool {
        matches!(self, Self::Admitted(terms) if !terms.lenient)
    }
}

/// What a policy decides, by live traffic's own engine. A host that is an address is looked at as what it would be
/// looked up to; other names lead to addresses that may be reached.
pub fn decide(rules: &Ruleset, agent: AgentId, witness: &Witness, at: SystemTime) -> Outcome {
    let refused = |Denial { reason, rule, .. }: Denial| Outcome::Refused { reason, rule };
    let permit = match rules.decide(agent, &witness.head, at) {
        Ok(permit) => permit,
        Err(denial) => return refused(denial),
    };
    if let Host::Address(address) = witness.head.authority.host
        && address::permit(address, &permit.allow_private()).is_err()
    {
        return refused(Denial { rule: permit.rule().cloned(), ..Denial::new(Reason::AddressForbidden) });
    }
    Outcome::Admitted(Box::new(terms(&permit)))
}

/// Who a caller is that shows no identity at all.
pub(super) fn anybody(rules: &Ruleset) -> Option<AgentId> {
    let head = Shape { query: None, fields: Vec::new() };
    let witness = Witness::of(Door::Tls, "https://host.example", "host.example", "GET", "/", &head)?;
    let origin = Origin::unknown(SystemTime::UNIX_EPOCH);
    rules.agents.identify(&witness.head, &origin).ok().flatten().map(|caller| caller.agent)
}

fn terms(permit: &Permit) -> Terms {
    let sorted = |mut words: Vec<String>| {
        words.sort_unstable();
        words.dedup();
        words
    };
    let limits = |limits: &[Arc<Limit>]| {
        let text = |limit: &Arc<Limit>| {
            let units = match &limit.weight {
                Weight::Request => "requests".to_owned(),
                Weight::Bytes => "bytes".to_owned(),
                Weight::Items(names) => format!("items of `{}`", names.join(".")),
            };
            format!("{}: {} {units} per {:?}", limit.rule, limit.most, limit.per)
        };
        sorted(limits.iter().map(text).collect())
    };
    let approvals = permit.approvals().iter().map(|terms| {
        let told = if terms.notify.is_empty() { String::new() } else { format!(", tells {}", terms.notify.join(", ")) };
        format!("{}: held {:?}, open {:?}{told}", terms.rule, terms.hold, terms.expires)
    });
    let credentials = permit.injections().map(|injection| match &injection.slot {
        Slot::Header(name) => format!("{} in header {name}", injection.name),
        Slot::Query(name) => format!("{} in query parameter {name}", injection.name),
    });
    let filters =
        |filters: &[Arc<ResponseFilter>]| sorted(filters.iter().map(|filter| filter.words.to_string()).collect());
    let ranges = permit.allow_private().iter().map(ToString::to_string).collect();
    let headers = permit.allows_override_headers().then(|| "pass".to_owned());
    Terms {
        entries: permit.entries().cloned().collect(),
        aspects: vec![
            ("leaves as", vec![format!("{} to port {}", permit.scheme().as_str(), permit.port())]),
            ("approval", sorted(approvals.collect())),
            ("limit", limits(permit.limits())),
            ("limit that is only watched", limits(permit.watched_limits())),
            ("credential", sorted(credentials.collect())),
            ("private addresses", sorted(ranges)),
            ("override headers", headers.into_iter().collect()),
            ("answer", filters(permit.filters())),
            ("answer that is only watched", filters(permit.watched_filters())),
            ("watched by", permit.watched().iter().map(ToString::to_string).collect()),
            ("not enforced", permit.would().map(|denial| denial.reason.as_str().to_owned()).into_iter().collect()),
        ],
        lenient: permit.would().is_some(),
        limits: permit.limits().to_vec(),
        approvals: permit.approvals().iter().map(|terms| terms.rule.clone()).collect(),
    }
}
