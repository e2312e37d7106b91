//! What one policy allows and another does not: every difference with a request that shows it.
//!
//! ```text
//! old, new ─► Vocabulary: what both name ─► witnesses, host by host ─► decided by both ─► one Change for each pair of
//!                                                                       entries that decided, the plainest request first
//! ```

mod data;
pub mod witness;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::SystemTime;

use serde::Serialize;

use super::Draft;
use super::compile::{self, compile};
use super::error::Problems;
use super::facts::Facts;
use super::schema::{Identity, Pods, Policy, TokenSource};
use crate::pipeline::agent::AgentId;
use crate::pipeline::policy::{RuleId, Ruleset};
use witness::{Outcome, Terms, Vocabulary, Witness};

/// How many more requests are named beside the first that shows a change.
const ALSO: usize = 3;

/// One of the two policies.
#[derive(Debug)]
pub struct Side {
    rules: Ruleset,
    facts: Facts,
    /// `file:line` of each entry that a decision can name.
    places: HashMap<RuleId, String>,
    /// Whether the policy names its agents.
    names_agents: bool,
    /// What holds for an agent whatever it asks for.
    general: BTreeMap<String, String>,
    identities: BTreeMap<String, BTreeSet<String>>,
    pods: BTreeMap<String, Vec<Pods>>,
    schedules: BTreeMap<String, String>,
    data: data::Data,
}

/// What is different.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// What changes for whom; callers for whom the same changes stand together.
    pub callers: Vec<Callers>,
    /// What requests at one time cannot show.
    pub notes: Vec<Note>,
}

/// Callers and what changes for them.
#[derive(Debug, Serialize)]
pub struct Callers {
    /// Their names; callers without identity are `null`.
    pub agents: Vec<Option<String>>,
    /// Whether that is everybody who can call.
    pub all: bool,
    /// What changes.
    pub changes: Vec<Change>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Change {
    /// What kind of difference it is.
    pub kind: Kind,
    /// Whether the new policy lets more pass, or asks for less.
    pub widens: bool,
    /// A request that shows it.
    pub request: String,
    /// Further ones, decided by the same entries.
    pub also: Vec<String>,
    /// How many more were tried that are not named.
    pub more: usize,
    /// What the old policy says.
    pub before: Said,
    /// What the new one says.
    pub after: Said,
    /// What is different about a request that both admit.
    pub terms: Vec<Term>,
}

/// What kind of difference it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Refused before, admitted now.
    Allowed,
    /// Admitted by both, on other terms.
    Changed,
    /// Admitted before, refused now.
    Denied,
}

/// What one policy says about a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Said {
    /// `allow` or `deny`.
    pub decision: &'static str,
    /// Why it is refused, by the code that answers and records have.
    pub reason: Option<&'static str>,
    /// The entries that decide.
    pub rules: Vec<Cited>,
}

/// An entry of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Cited {
    /// Its name in records and answers.
    pub rule: String,
    /// `file:line`.
    pub place: Option<String>,
}

/// Something that comes with a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Term {
    /// What.
    pub what: &'static str,
    /// As it was; empty: there was none.
    pub before: Vec<String>,
    /// As it is now.
    pub after: Vec<String>,
}

/// What requests at one time cannot show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Whether the new policy lets more pass by it.
    pub widens: bool,
    /// In words.
    pub text: String,
}

impl Side {
    /// Reads a policy; `agent` is who every caller is where the command line says so. Tokens are not read.
    pub fn of(draft: Draft, agent: Option<&str>) -> Result<Self, Problems> {
        let setting = compile::Setting { agent, environment: None, pod: None };
        let accepted = draft.compile(agent, |policy, problems| {
            let compiled = compile(policy, setting, "diff", problems)?;
            let facts = Facts::of(policy, &compiled.rules.agents);
            Some((policy.clone(), compiled, facts))
        })?;
        let sources = accepted.warnings.sources();
        let (policy, compiled, facts) = accepted.value;
        let place = |at: &super::Span| format!("{}:{}", sources.name(at.file), sources.in_file(*at).line);
        let schedules =
            facts.rules.iter().filter_map(|r| Some((r.name.clone(), format!("{:?}", r.schedule.as_ref()?))));
        let dlp = compiled.rules.dlp().cloned().ok_or_else(Problems::default)?;
        let agents = compiled.rules.agents.ids().filter(|_| policy.agents.is_some());
        let agents = agents.map(|id| (compiled.rules.agents.name(id).to_string(), id)).collect();
        Ok(Self {
            data: data::Data::of(&policy, dlp, agents),
            places: compiled.places.iter().map(|(rule, at)| (rule.clone(), place(at))).collect(),
            rules: compiled.rules,
            names_agents: policy.agents.is_some(),
            general: general(&policy),
            identities: identities(&policy),
            pods: pods(&policy),
            schedules: schedules.collect(),
            facts,
        })
    }

    fn said(&self, outcome: &Outcome) -> Said {
        let cite = |rule: &RuleId| Cited { rule: rule.to_string(), place: self.places.get(rule).cloned() };
        match outcome {
            Outcome::Refused { reason, rule } => {
                Said { decision: "deny", reason: Some(reason.as_str()), rules: rule.iter().map(cite).collect() }
            }
            Outcome::Admitted(terms) => {
                Said { decision: "allow", reason: None, rules: terms.entries.iter().map(cite).collect() }
            }
        }
    }

    /// What an agent that is not there is told.
    fn decide(&self, agent: Option<AgentId>, witness: &Witness, at: SystemTime) -> Outcome {
        match agent {
            Some(agent) => witness::decide(&self.rules, agent, witness, at),
            None => Outcome::Refused { reason: crate::pipeline::policy::Reason::NoIdentity, rule: None },
        }
    }
}

/// Compares two policies as they decide at one time.
pub fn diff(old: &Side, new: &Side, at: SystemTime) -> Diff {
    let vocabulary = Vocabulary::of([&old.facts, &new.facts]);
    let mut compared = compared(old, new);
    let mut uncertain = Vec::new();
    for host in vocabulary.hosts() {
        // Callers who are told the same are decided alike: one of them is asked for all.
        let mut alike: BTreeMap<_, Vec<&mut Compared>> = BTreeMap::new();
        for caller in &mut compared {
            let told = (vocabulary.told(&host, 0, caller.old), vocabulary.told(&host, 1, caller.new));
            if told.0 != told.1 || caller.general.0 != caller.general.1 {
                alike.entry((told, caller.general.clone())).or_default().push(caller);
            }
        }
        if alike.is_empty() {
            continue;
        }
        let (requests, whole) = vocabulary.requests(&host);
        if !whole {
            uncertain.push(host.to_string());
        }
        for mut callers in alike.into_values() {
            let Some((old_agent, new_agent)) = callers.first().map(|caller| (caller.old, caller.new)) else { continue };
            for request in &requests {
                let (before, after) = (old.decide(old_agent, request, at), new.decide(new_agent, request, at));
                if let Some(found) = Found::of(old, new, &before, &after) {
                    callers.iter_mut().for_each(|caller| caller.note(&found, request));
                }
            }
        }
    }
    let everybody = compared.len();
    let mut shared: Vec<(Change, Vec<Option<String>>)> = Vec::new();
    let mut places: HashMap<Change, usize> = HashMap::new();
    for Compared { name, changes, .. } in compared {
        for change in changes {
            match places.get(&change).and_then(|at| shared.get_mut(*at)) {
                Some((_, names)) => names.push(name.clone()),
                None => {
                    places.insert(change.clone(), shared.len());
                    shared.push((change, vec![name.clone()]));
                }
            }
        }
    }
    let mut callers: Vec<Callers> = Vec::new();
    for (change, agents) in shared {
        match callers.iter_mut().find(|known| known.agents == agents) {
            Some(known) => known.changes.push(change),
            None => callers.push(Callers { all: agents.len() == everybody, agents, changes: vec![change] }),
        }
    }
    callers.sort_by(|a, b| b.agents.len().cmp(&a.agents.len()).then_with(|| a.agents.cmp(&b.agents)));
    callers.iter_mut().for_each(|callers| callers.changes.sort_by_key(|change| change.kind));
    Diff { callers, notes: notes(old, new, &uncertain) }
}

impl Diff {
    /// Whether the new policy lets more pass than the old one, or asks for less.
    pub fn widens(&self) -> bool {
        self.changes().any(|change| change.widens) || self.notes.iter().any(|note| note.widens)
    }

    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.callers.is_empty() && self.notes.is_empty()
    }

    /// Every change, whoever it is for.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.callers.iter().flat_map(|callers| &callers.changes)
    }
}

/// A caller, as both policies know it.
struct Compared {
    /// `None`: callers without identity.
    name: Option<String>,
    old: Option<AgentId>,
    new: Option<AgentId>,
    /// What holds for it whatever it asks for, by both.
    general: (General, General),
    changes: Vec<Change>,
    /// The changes by what decided.
    known: HashMap<Found, usize>,
}

/// Whether there is such a caller, whether there is a ceiling, and what is the agent's alone.
type General = (bool, bool, Option<String>);

/// A difference, as far as the entries go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Found {
    kind: Kind,
    widens: bool,
    before: Said,
    after: Said,
    terms: Vec<Term>,
}

/// Everybody who can call under one of them.
fn compared(old: &Side, new: &Side) -> Vec<Compared> {
    let named = |side: &Side| -> Vec<String> {
        let ids = side.rules.agents.ids().filter(|_| side.names_agents);
        ids.map(|id| side.rules.agents.name(id).to_string()).collect()
    };
    let names: BTreeSet<String> = named(old).into_iter().chain(named(new)).collect();
    let mut callers: Vec<Compared> = names
        .into_iter()
        .map(|name| {
            let id = |side: &Side| side.rules.agents.find(&name).filter(|_| side.names_agents);
            Compared::of(old, new, Some(name.clone()), id(old), id(new))
        })
        .collect();
    let (before, after) = (witness::anybody(&old.rules), witness::anybody(&new.rules));
    let name =
        |side: &Side, id: Option<AgentId>| id.map(|id| (side.names_agents, side.rules.agents.name(id).to_string()));
    // Where it is the same agent for both, that agent's changes stand there already.
    let is_listed = old.names_agents && new.names_agents && name(old, before) == name(new, after);
    if !is_listed && (before.is_some() || after.is_some()) {
        callers.push(Compared::of(old, new, None, before, after));
    }
    callers
}

impl Compared {
    fn of(old: &Side, new: &Side, name: Option<String>, before: Option<AgentId>, after: Option<AgentId>) -> Self {
        let general = |side: &Side, id: Option<AgentId>| {
            let own = id.and_then(|id| side.general.get(&**side.rules.agents.name(id)).cloned());
            (id.is_some(), side.facts.has_ceiling, own)
        };
        let general = (general(old, before), general(new, after));
        Self { name, old: before, new: after, general, changes: Vec::new(), known: HashMap::new() }
    }

    fn note(&mut self, found: &Found, request: &Witness) {
        if let Some(change) = self.known.get(found).and_then(|at| self.changes.get_mut(*at)) {
            match change.also.len() < ALSO {
                true => change.also.push(request.to_string()),
                false => change.more += 1,
            }
            return;
        }
        self.known.insert(found.clone(), self.changes.len());
        let Found { kind, widens, before, after, terms } = found.clone();
        let request = request.to_string();
        self.changes.push(Change { kind, widens, request, also: Vec::new(), more: 0, before, after, terms });
    }
}

impl Found {
    /// `None`: there is no difference.
    fn of(old: &Side, new: &Side, before: &Outcome, after: &Outcome) -> Option<Self> {
        let (kind, terms, widens) = match (before, after) {
            (Outcome::Refused { .. }, Outcome::Refused { .. }) => return None,
            (Outcome::Refused { .. }, Outcome::Admitted(_)) => (Kind::Allowed, Vec::new(), true),
            (Outcome::Admitted(_), Outcome::Refused { .. }) => (Kind::Denied, Vec::new(), false),
            (Outcome::Admitted(before), Outcome::Admitted(after)) => {
                (Kind::Changed, differing(before, after), widened(before, after))
            }
        };
        let differs = kind != Kind::Changed || !terms.is_empty();
        differs.then(|| Self { kind, widens, before: old.said(before), after: new.said(after), terms })
    }
}

fn differing(before: &Terms, after: &Terms) -> Vec<Term> {
    let pairs = before.aspects.iter().zip(&after.aspects);
    pairs
        .filter(|((_, before), (_, after))| before != after)
        .map(|((what, before), (_, after))| Term { what, before: before.clone(), after: after.clone() })
        .collect()
}

/// Whether the new terms ask for less or give more.
fn widened(before: &Terms, after: &Terms) -> bool {
    let gains = |what: &str| {
        let of = |terms: &Terms| terms.aspects.iter().find(|(name, _)| *name == what).map(|(_, all)| all.clone());
        let (before, after) = (of(before).unwrap_or_default(), of(after).unwrap_or_default());
        after.iter().any(|one| !before.contains(one))
    };
    // A filter that is not there as it was may let other fields pass.
    let of = |terms: &Terms| terms.aspects.iter().find(|(name, _)| *name == "answer").map(|(_, all)| all.clone());
    let (filtered, filters) = (of(before).unwrap_or_default(), of(after).unwrap_or_default());
    let keeps_limit = |limit: &crate::pipeline::limit::Limit| {
        after
            .limits
            .iter()
            .any(|l| l.rule == limit.rule && l.weight == limit.weight && l.most <= limit.most && l.per >= limit.per)
    };
    !before.approvals.iter().all(|rule| after.approvals.contains(rule))
        || !before.limits.iter().all(|limit| keeps_limit(limit))
        || !filtered.iter().all(|filter| filters.contains(filter))
        || ["credential", "private addresses", "override headers", "leaves as"].into_iter().any(gains)
}

/// What holds for each agent whatever it asks for.
fn general(policy: &Policy) -> BTreeMap<String, String> {
    let of = |agent: &super::schema::Agent| {
        let limit = agent.rate_limit.as_ref().map(|limit| &limit.value);
        // A limit has its agent's name.
        let limit = limit.map(|limit| format!("{} {limit:?}", agent.name.as_str()));
        (agent.name.as_str().to_owned(), format!("{:?} {limit:?}", agent.mode))
    };
    policy.agents.iter().flatten().map(of).collect()
}

/// What each agent is known by, in words.
fn identities(policy: &Policy) -> BTreeMap<String, BTreeSet<String>> {
    let words = |identity: &Identity| match identity {
        Identity::Spiffe(id) => format!("the SPIFFE ID `{id}`"),
        Identity::Token(token) => {
            let source = match &token.source {
                TokenSource::Environment(name) => format!("the token in the variable `{name}`"),
                TokenSource::File(path) => format!("the token in the file `{}`", path.display()),
                TokenSource::Sha256(hash) => {
                    let digits: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
                    format!("the token with the SHA-256 `{digits}…`")
                }
            };
            let expires = token.expires.and_then(|end| jiff::Timestamp::try_from(end).ok());
            expires.map_or(source.clone(), |end| format!("{source} until {end}"))
        }
        Identity::SourceAddress(range) => format!("the source address `{range}`"),
        Identity::Header(header) if header.trusted => format!("the header `{}: {}`", header.name, header.value),
        // Compared as what they are, below: one may include another.
        Identity::Header(_) | Identity::Kubernetes(_) => String::new(),
    };
    let of = |agent: &super::schema::Agent| {
        let all = agent.identity.iter().map(|identity| words(&identity.value)).filter(|text| !text.is_empty());
        (agent.name.as_str().to_owned(), all.collect())
    };
    policy.agents.iter().flatten().map(of).collect()
}

/// The pods that each agent runs in. Who has none is there too.
fn pods(policy: &Policy) -> BTreeMap<String, Vec<Pods>> {
    let of = |agent: &super::schema::Agent| {
        let all = agent.identity.iter().filter_map(|identity| match &identity.value {
            Identity::Kubernetes(pods) => Some(pods.clone()),
            _ => None,
        });
        (agent.name.as_str().to_owned(), all.collect())
    };
    policy.agents.iter().flatten().map(of).collect()
}

/// What pods are an agent's that were not, and the other way round. What another entry includes is neither.
fn notes_on_pods(old: &Side, new: &Side) -> Vec<Note> {
    let mut notes = Vec::new();
    for (agent, after) in &new.pods {
        let Some(before) = old.pods.get(agent) else { continue };
        let fresh = |these: &[Pods], those: &[Pods]| -> Vec<String> {
            let is_new = |pods: &&Pods| !those.iter().any(|other| other.include(pods));
            these.iter().filter(is_new).map(Pods::to_string).collect()
        };
        let note = |widens, pods, now| Note { widens, text: format!("pods with {pods} are {now} `{agent}`") };
        notes.extend(fresh(after, before).into_iter().map(|pods| note(true, pods, "now")));
        notes.extend(fresh(before, after).into_iter().map(|pods| note(false, pods, "no longer all")));
    }
    let knows_pods = |side: &Side| side.pods.values().any(|pods| !pods.is_empty());
    if knows_pods(old) && !knows_pods(new) {
        let text =
            "no agent is known by its pod any more: pods of no agent, which were refused, are judged like others";
        notes.push(Note { widens: true, text: text.to_owned() });
    }
    notes
}

fn notes(old: &Side, new: &Side, uncertain: &[String]) -> Vec<Note> {
    let mut notes = Vec::new();
    for (agent, after) in &new.identities {
        // Of an agent that is new, all is.
        let Some(before) = old.identities.get(agent) else { continue };
        notes.extend(
            after
                .difference(before)
                .map(|identity| Note { widens: true, text: format!("whoever shows {identity} is now `{agent}`") }),
        );
        notes.extend(
            before.difference(after).map(|identity| Note {
                widens: false,
                text: format!("whoever shows {identity} is no longer `{agent}`"),
            }),
        );
    }
    notes.extend(notes_on_pods(old, new));
    let rules: BTreeSet<_> = old.schedules.keys().chain(new.schedules.keys()).collect();
    for rule in rules.into_iter().filter(|rule| old.schedules.get(*rule) != new.schedules.get(*rule)) {
        let text = format!("the rule `{rule}` holds at other times than before: compare at those too (`--at`)");
        notes.push(Note { widens: false, text });
    }
    notes.extend(data::notes(&old.data, &new.data));
    if let Some(first) = uncertain.first() {
        let more = uncertain.len() - 1;
        let others = if more == 0 { String::new() } else { format!(" and {more} more hosts") };
        let text = format!("the paths of `{first}`{others} are too many to try all: there may be more differences");
        notes.push(Note { widens: true, text });
    }
    notes
}
