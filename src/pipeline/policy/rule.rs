//! Rules: what is done about requests that the lists of domains let pass.
//!
//! Rules restrict, so they match looser than what permits: see [`PathPattern::restricts`] and [`Methods::restricts`].
//! Their order means nothing; what several of them say together is decided in [`Ruleset::decide`](super::Ruleset).

use std::sync::Arc;
use std::time::SystemTime;

use crate::pipeline::agent::AgentId;
use crate::pipeline::approval::Terms;
use crate::pipeline::limit::Limit;
use crate::pipeline::message::{Door, RequestHead, decoded};
use crate::pipeline::policy::decision::RuleId;
use crate::pipeline::policy::matcher::{HostPattern, Levels, Methods, levels, restricting};
use crate::pipeline::policy::path::{PathPattern, PathView};
use crate::pipeline::policy::places::Places;
use crate::pipeline::policy::schedule::Schedule;

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
    places: Places<Rule>,
    /// When those of them hold that do not always.
    schedules: Vec<Schedule>,
}

/// What rules look at of a request.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its head.
    pub head: &'a RequestHead,
    /// Its host, as patterns see it.
    pub levels: Levels<'a>,
    /// Its path, as patterns see it.
    pub path: PathView<'a>,
    /// When.
    pub wall: SystemTime,
}

impl<'a> Asked<'a> {
    /// Looks at a request.
    pub fn of(head: &'a RequestHead, wall: SystemTime) -> Self {
        Self { head, levels: levels(&head.authority.host), path: PathView::of(&head.path), wall }
    }

    /// Whether what restricts a port, or every one, is about the request, which would leave by another: the port that
    /// the agent means counts too.
    pub(super) fn is_at(&self, port: Option<u16>, leaves_by: u16) -> bool {
        port.is_none_or(|port| port == leaves_by || Some(port) == self.named_port())
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
        let (agents, name, path) = (rule.agents.clone(), rule.pattern.name.clone(), rule.path.clone());
        self.schedules.extend(rule.schedule.clone());
        self.places.add(agents.as_deref(), &name, path.as_ref(), rule);
    }

    /// True if a rule holds at one of two times and not at the other.
    pub fn differ(&self, one: SystemTime, other: SystemTime) -> bool {
        self.schedules.iter().any(|schedule| schedule.holds(one) != schedule.holds(other))
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
        for level in restricting(&asked.levels) {
            self.places.find(agent, level, &asked.path, |rule| {
                if rule.matches(asked, port) {
                    take(rule);
                }
            });
        }
    }
}

impl Rule {
    /// Whether it matches a request of one of its agents.
    fn matches(&self, asked: &Asked<'_>, port: u16) -> bool {
        asked.is_at(self.pattern.port, port)
            && self.methods.restricts(&asked.head.method)
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
                    // An agent writes thousands of pairs into one query: what is not looked at is not decoded.
                    let is_it = match key.contains(['%', '+']) {
                        false => is_parameter(key.as_bytes(), name),
                        true => is_parameter(&decoded(key), name),
                    };
                    is_it && {
                        let value = decoded(value);
                        [&value[..], value.trim_ascii(), before_nul(&value)].iter().any(|v| self.value.fits(v))
                    }
                })
            }
            Place::Header(name) => head.fields.all(name).any(|value| {
                let fits = |part: &[u8]| self.value.fits(part) || unquoted(part).is_some_and(|p| self.value.fits(p));
                // The items of a list, and each without its parameters: `text/xml; charset=utf-8` is `text/xml`.
                fits(value)
                    || value.split(|b| *b == b',').any(|item| fits(item.trim_ascii()))
                    || (value.contains(&b';')
                        && value.split(|b| matches!(b, b',' | b';')).any(|part| fits(part.trim_ascii())))
            }),
        }
    }
}

/// Whether some server takes a key for the parameter of this name: `name[]` and `name[0]` are lists of it to many, and
/// PHP makes `_` of what stands in no name (`user.id`, `user id` and `user[id` are `user_id`), and ends it at a NUL.
fn is_parameter(key: &[u8], name: &str) -> bool {
    let key = before_nul(key).trim_ascii();
    let bare = key.split(|b| *b == b'[').next().unwrap_or_default();
    let is = |key: &[u8]| {
        let alike = |(k, n): (&u8, u8)| k.eq_ignore_ascii_case(&n) || (n == b'_' && matches!(k, b'.' | b' ' | b'['));
        key.len() == name.len() && key.iter().zip(name.bytes()).all(alike)
    };
    is(key) || is(bare)
}

/// A quoted string's content (RFC 9110 §5.6.4), where there is nothing escaped in it.
fn unquoted(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// What is left of a text where a NUL ends it.
fn before_nul(text: &[u8]) -> &[u8] {
    text.split(|b| *b == 0).next().unwrap_or_default()
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
        let [first, between @ .., last] = self.0.as_slice() else {
            return self.0.first().is_some_and(|only| only.as_bytes().eq_ignore_ascii_case(value));
        };
        let ends = || {
            let (start, rest) = value.split_at_checked(first.len())?;
            let (middle, end) = rest.split_at_checked(rest.len().checked_sub(last.len())?)?;
            let fit = start.eq_ignore_ascii_case(first.as_bytes()) && end.eq_ignore_ascii_case(last.as_bytes());
            fit.then_some(middle)
        };
        let Some(mut rest) = ends() else { return false };
        // The first place where a part fits leaves most for those behind it.
        between.iter().all(|part| {
            let is_part = |window: &[u8]| window.eq_ignore_ascii_case(part.as_bytes());
            let found = part.is_empty().then_some(0).or_else(|| rest.windows(part.len()).position(is_part));
            found.and_then(|at| rest.get(at + part.len()..)).map(|after| rest = after).is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_under_every_name_that_some_server_reads_as_its_own() {
        let condition = Condition { place: Place::Query("user_id".into()), value: Wildcard::parse("root") };
        for (query, holds) in [
            ("user_id=root", true),
            ("a=1&USER_ID=ROOT", true),
            ("%75ser_id=%72oot", true),
            ("a;user_id=root", true),
            ("user_id=bob&user_id=root", true),
            ("user_id[]=root", true),
            ("+user_id=+root+", true),
            ("user.id=root", true),
            ("user+id=root", true),
            ("user%5Bid=root", true),
            ("user_id%00x=root%00y", true),
            ("user-id=root", false),
            ("userXid=root", false),
            ("user_id=rooted", false),
            ("user_id", false),
        ] {
            let path = format!("/?{query}");
            let fields = [(":method", "GET"), (":authority", "a.example"), (":path", &path)];
            let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
            let head = RequestHead::parse(Door::Tls, crate::pipeline::message::Fields::new(fields)).unwrap();
            assert_eq!(condition.holds(&head), holds, "{query}");
        }
    }

    #[test]
    fn a_header_is_what_it_is_with_parameters_and_in_a_list_too() {
        let condition = Condition { place: Place::Header("accept".into()), value: Wildcard::parse("text/xml") };
        for (value, holds) in [
            ("text/xml", true),
            ("Text/XML", true),
            ("a/b, text/xml", true),
            ("text/xml; charset=utf-8", true),
            ("a/b;q=0.1 ,text/xml ;q=1", true),
            ("a=1; text/xml", true),
            ("\"text/xml\"", true),
            ("text/xml2", false),
            ("text", false),
        ] {
            let fields = [(":method", "GET"), (":authority", "a.example"), (":path", "/"), ("accept", value)];
            let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
            let head = RequestHead::parse(Door::Tls, crate::pipeline::message::Fields::new(fields)).unwrap();
            assert_eq!(condition.holds(&head), holds, "{value}");
        }
    }

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
