//! Rules: what is done about requests that the lists of domains let pass.
//!
//! Rules restrict, so they match looser than what permits: see [`PathPattern::restricts`] and [`Methods::restricts`].
//! Their order means nothing; what several of them say together is decided in [`Ruleset::decide`](super::Ruleset).

use std::sync::Arc;
use std::time::SystemTime;

use crate::pipeline::agent::AgentId;
use crate::pipeline::approval::Terms;
use crate::pipeline::limit::Limit;
use crate::pipeline::message::{Door, Host, RequestHead, decoded};
use crate::pipeline::policy::decision::RuleId;
use crate::pipeline::policy::matcher::{HostPattern, HostTable, Methods};
use crate::pipeline::policy::path::{PathPattern, PathView};
use crate::pipeline::policy::schedule::Schedule;
use crate::pipeline::policy::tree::PathTree;

/// What is done about the requests it matches.
#[derive(Debug)]
pub struct Rule {
    /// Its name in records and answers.
    pub id: RuleId,
    /// The hosts; without a port, on every port.
    pub pattern: HostPattern,
    /// The paths; none means all.
    pub path: Option<PathPattern>,
    /// The methods.
    pub methods: Methods,
    /// The agents; none means all.
    pub agents: Option<Vec<AgentId>>,
    /// What else must hold of a request.
    pub conditions: Vec<Condition>,
    /// When it holds.
    pub schedule: Option<Schedule>,
    /// Whether what it says is enforced.
    pub mode: Mode,
    /// True if it is the organization's: then nothing below it takes its force.
    pub organization: bool,
    /// What is done.
    pub does: Does,
}

/// What a rule does.
#[derive(Debug)]
pub enum Does {
    /// Refuses.
    Block,
    /// Counts, and refuses what is too much.
    Limit(Arc<Limit>),
    /// Asks a person.
    Approval(Arc<Terms>),
    /// Names the request in the record, and lets it pass.
    Monitor,
}

/// Whether a decision is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// It is.
    #[default]
    Enforce,
    /// It is taken and put on record, and the request passes.
    Monitor,
}

/// Something that must hold of a request's query or header fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Where it is looked for.
    pub place: Place,
    /// What the value must be: `*` stands for any run of characters, case is folded.
    pub value: Wildcard,
}

/// Where a condition looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the parameters of this name, as servers read it.
    Query(Box<str>),
    /// In the header fields of this lower-case name.
    Header(Box<str>),
}

/// A text in which `*` stands for any run of characters. Case is folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wildcard(Vec<Box<str>>);

/// All rules of a policy.
#[derive(Debug, Default)]
pub struct Rules {
    table: HostTable<PathTree<Arc<Rule>>>,
}

/// What rules look at of a request.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its head.
    pub head: &'a RequestHead,
    /// Its path, as patterns see it.
    pub path: PathView<'a>,
    /// When.
    pub wall: SystemTime,
}

impl<'a> Asked<'a> {
    /// Looks at a request.
    pub fn of(head: &'a RequestHead, wall: SystemTime) -> Self {
        Self { head, path: PathView::of(&head.path), wall }
    }

    /// The port that the agent means, wherever the request leaves: plain HTTP without one is 80.
    fn named_port(&self) -> Option<u16> {
        let plain = self.head.door != Door::Tls && !self.head.says_https;
        self.head.authority.port.or(plain.then_some(80))
    }
}

impl Rules {
    /// Adds a rule.
    pub fn add(&mut self, rule: Rule) {
        let (name, path) = (rule.pattern.name.clone(), rule.path.clone());
        let trees = self.table.filed(&name);
        if trees.is_empty() {
            trees.push(PathTree::default());
        }
        if let Some(tree) = trees.first_mut() {
            tree.insert(path.as_ref(), Arc::new(rule));
        }
    }

    /// Every rule with nothing said of their order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.table.iter().flat_map(PathTree::iter)
    }

    /// Shows every rule that matches a request of this agent which would leave by this port. None is shown twice
    /// unless its path has segments of which a lenient server keeps nothing.
    pub fn matching<'a>(
        &'a self,
        agent: AgentId,
        asked: &'a Asked<'_>,
        port: u16,
        mut take: impl FnMut(&'a Arc<Rule>),
    ) {
        let host: &Host = &asked.head.authority.host;
        for tree in self.table.matches(host) {
            tree.find(&asked.path, |rule| {
                if rule.matches(agent, asked, port) {
                    take(rule);
                }
                false
            });
        }
    }
}

impl Rule {
    fn matches(&self, agent: AgentId, asked: &Asked<'_>, port: u16) -> bool {
        self.pattern.port.is_none_or(|p| p == port || Some(p) == asked.named_port())
            && self.methods.restricts(&asked.head.method)
            && self.agents.as_ref().is_none_or(|agents| agents.contains(&agent))
            && self.path.as_ref().is_none_or(|path| path.restricts(&asked.path))
            && self.conditions.iter().all(|condition| condition.holds(asked.head))
            && self.schedule.as_ref().is_none_or(|schedule| schedule.holds(asked.wall))
    }
}

impl Condition {
    fn holds(&self, head: &RequestHead) -> bool {
        match &self.place {
            Place::Query(name) => {
                let query = head.query.as_deref().unwrap_or_default();
                // Some servers part pairs at `;` too, for others it is part of the value.
                query.split('&').chain(query.split(['&', ';'])).any(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    let value = decoded(value);
                    is_parameter(&decoded(key), name)
                        && (self.value.fits(&value) || self.value.fits(value.trim_ascii()))
                })
            }
            Place::Header(name) => head.fields.all(name).any(|value| {
                self.value.fits(value) || value.split(|b| *b == b',').any(|part| self.value.fits(part.trim_ascii()))
            }),
        }
    }
}

/// Whether some server takes a key for the parameter of this name: `name[]` and `name[0]` are lists of it to many.
fn is_parameter(key: &[u8], name: &str) -> bool {
    let key = key.trim_ascii();
    let bare = key.split(|b| *b == b'[').next().unwrap_or_default();
    key.eq_ignore_ascii_case(name.as_bytes()) || bare.eq_ignore_ascii_case(name.as_bytes())
}

impl Wildcard {
    /// Reads one; every text is one.
    pub fn parse(text: &str) -> Self {
        Self(text.split('*').map(|part| part.to_ascii_lowercase().into()).collect())
    }

    /// Some value that it fits.
    pub fn sample(&self) -> String {
        self.0.join("x")
    }

    /// Whether a value is this, case aside.
    pub fn fits(&self, value: &[u8]) -> bool {
        let value = value.to_ascii_lowercase();
        let [first, between @ .., last] = self.0.as_slice() else {
            return self.0.first().is_some_and(|only| only.as_bytes() == value);
        };
        let Some(mut rest) = value.strip_prefix(first.as_bytes()).and_then(|v| v.strip_suffix(last.as_bytes())) else {
            return false;
        };
        // The first place where a part fits leaves most for those behind it.
        between.iter().all(|part| {
            let found =
                part.is_empty().then_some(0).or_else(|| rest.windows(part.len()).position(|w| w == part.as_bytes()));
            found.and_then(|at| rest.get(at + part.len()..)).map(|after| rest = after).is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        for (pattern, fits, differs) in [
            ("a", &["a", "A"][..], &["", "ab", "ba"][..]),
            ("*", &["", "a"], &[]),
            ("a*", &["a", "ab"], &["ba"]),
            ("*a*a*", &["aa", "bacad"], &["a", "bab"]),
            ("a*a", &["aa", "aba"], &["a", "ab"]),
            ("", &[""], &["a"]),
        ] {
            let wildcard = Wildcard::parse(pattern);
            assert!(fits.iter().all(|v| wildcard.fits(v.as_bytes())), "{pattern}");
            assert!(!differs.iter().any(|v| wildcard.fits(v.as_bytes())), "{pattern}");
        }
    }
}
