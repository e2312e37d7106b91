//! Rules: those that never matter, and those whose time is over.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::{Time, date};
use jiff::tz::TimeZone;

use super::super::code::Code;
use super::super::error::{Problems, quote};
use super::super::facts::{Block, Facts, Grant, RuleFact, Who};
use super::super::schema::RuleAction;
use super::index::{Index, MOST, count};
use crate::pipeline::agent::{AgentId, Agents};
use crate::pipeline::policy::matcher::{HostPattern, Methods, NamePattern, Scheme};
use crate::pipeline::policy::path::{PathPattern, PathView};
use crate::pipeline::policy::rule::Mode;
use crate::pipeline::policy::schedule::{Hours, Schedule};
use crate::pipeline::policy::tree::PathTree;

/// Reports on rules; `reachable` are the grants that may let something pass, `watched` the agents that nothing is
/// enforced on.
pub(super) fn lint(
    facts: &Facts,
    reachable: &Index<'_, Grant>,
    watched: &HashSet<AgentId>,
    agents: &Agents,
    now: SystemTime,
    problems: &mut Problems,
) {
    let tables = Tables::of(&facts.rules);
    let blocks = Index::of(&facts.blocks);
    for (at, rule) in facts.rules.iter().enumerate() {
        let who = rule.who.each(agents);
        if ended(rule, now, problems) {
            continue;
        }
        let all_enforced = !who.iter().any(|agent| watched.contains(agent));
        // Rules of nobody are reported where their agents are named.
        if all_enforced && !who.is_empty() && dead(rule, &who, reachable, problems) {
            continue;
        }
        if !(blocked(rule, all_enforced, &blocks, problems) || shadowed(at, rule, all_enforced, &tables, problems)) {
            remarks(rule, problems);
        }
    }
}

/// Whether the rule can never hold again, or never could.
fn ended(rule: &RuleFact, now: SystemTime, problems: &mut Problems) -> bool {
    let Some(schedule) = &rule.schedule else { return false };
    let name = quote(&rule.name);
    let over = schedule.not_after.is_some_and(|end| SystemTime::from(end) <= now);
    if over {
        problems
            .warning(rule.at, format!("the rule {name} has ended: its `notAfter` is in the past"))
            .code(Code::EndedRule)
            .fix("remove it, or set another `notAfter`");
    } else if never_holds(schedule) {
        problems
            .warning(rule.at, format!("the rule {name} never holds: its hours leave no time of the week"))
            .code(Code::NeverHolds)
            .fix("correct `only` or `except`");
    } else {
        return false;
    }
    true
}

/// Whether the hours leave nothing of the week; false too where they are of two clocks.
fn never_holds(schedule: &Schedule) -> bool {
    let zones: Vec<&TimeZone> = schedule.only.iter().chain(&schedule.except).map(|hours| &hours.zone).collect();
    if schedule.except.is_none() || zones.windows(2).any(|pair| !matches!(pair, [a, b] if a == b)) {
        return false;
    }
    // Hours change only where a window begins or ends, and at midnight; which week it is does not matter.
    let on_any_clock = |hours: &Option<Hours>| hours.clone().map(|hours| Hours { zone: TimeZone::UTC, ..hours });
    let hours =
        Schedule { only: on_any_clock(&schedule.only), except: on_any_clock(&schedule.except), ..Schedule::default() };
    let windows = schedule.only.iter().chain(&schedule.except).filter_map(|hours| hours.daily);
    let times: Vec<Time> = windows.flat_map(|(from, to)| [from, to]).chain([Time::midnight()]).collect();
    !(5..12).any(|day| {
        times.iter().any(|time| {
            let at = date(2026, 1, day).to_datetime(*time).to_zoned(TimeZone::UTC);
            at.is_ok_and(|at| hours.holds(SystemTime::from(Timestamp::from(at))))
        })
    })
}

/// Whether nothing that the lists allow to its agents can match it.
fn dead(rule: &RuleFact, who: &[AgentId], reachable: &Index<'_, Grant>, problems: &mut Problems) -> bool {
    let place = Restricted { pattern: &rule.pattern, path: rule.path.as_ref(), methods: &rule.methods };
    let (name, host) = (quote(&rule.name), &rule.pattern);
    let (message, fix) = match place.met(who, reachable) {
        Met::Request => return false,
        Met::Nothing => (
            format!("the rule {name} never matches: no agent it is about may reach `{host}`"),
            "remove it, or correct its host or agents; what no entry allows is refused without a rule",
        ),
        Met::Host => (
            format!("the rule {name} never matches: no entry allows a request to `{host}` with its methods and path"),
            "remove it, or correct its method or path; what no entry allows is refused without a rule",
        ),
    };
    problems.warning(rule.at, message).code(Code::DeadRule).fix(fix);
    true
}

/// The requests that something restricts.
pub(super) struct Restricted<'a> {
    pub pattern: &'a HostPattern,
    pub path: Option<&'a PathPattern>,
    pub methods: &'a Methods,
}

/// What of them the lists allow.
pub(super) enum Met {
    /// Their host to nobody.
    Nothing,
    /// Their host, and none of their methods and paths.
    Host,
    /// Some of them, as far as can be told.
    Request,
}

impl Restricted<'_> {
    /// What the lists allow of it to these agents.
    pub(super) fn met(&self, who: &[AgentId], reachable: &Index<'_, Grant>) -> Met {
        let mut looked_at = 0;
        let mut host_met = false;
        let alive = reachable.meeting(&self.pattern.name).any(|grant| {
            looked_at += 1;
            if looked_at > MOST {
                return true;
            }
            let port = grant.pattern.permitted_port();
            // Plain HTTP without a port is 80 to the agent and 443 on its way out.
            let port_met = self
                .pattern
                .port
                .is_none_or(|p| p == port || (p == 80 && port == 443 && grant.pattern.scheme == Scheme::Https));
            if !port_met || !who.iter().any(|agent| grant.who.has(*agent)) {
                return false;
            }
            host_met = true;
            let Some(pairs) = &grant.pairs else {
                return self.methods.may_restrict(&Methods::Any);
            };
            pairs.len() > MOST
                || pairs.iter().any(|(methods, path)| {
                    self.methods.may_restrict(methods) && self.path.is_none_or(|of_rule| of_rule.may_restrict(path))
                })
        });
        match (alive, host_met) {
            (true, _) => Met::Request,
            (false, true) => Met::Host,
            (false, false) => Met::Nothing,
        }
    }
}

/// Whether a block list refuses all that a rule is about.
fn blocked(rule: &RuleFact, all_enforced: bool, blocks: &Index<'_, Block>, problems: &mut Problems) -> bool {
    let covers = |block: &&Block| {
        (block.who == Who::Organization || all_enforced)
            && (block.pattern.port.is_none() || block.pattern.port == rule.pattern.port)
            && block.who.includes(&rule.who)
    };
    let Some(block) = blocks.covering(&rule.pattern.name).take(MOST).find(covers) else { return false };
    let (name, by, place) = (quote(&rule.name), quote(&block.written), problems.place(block.at));
    problems
        .warning(rule.at, format!("the rule {name} has no effect: {by} at {place} refuses the host already"))
        .code(Code::ShadowedRule)
        .fix("remove the rule, or the entry of the block list");
    true
}

/// Whether another rule blocks all that a rule is about.
fn shadowed(at: usize, rule: &RuleFact, all_enforced: bool, tables: &Tables<'_>, problems: &mut Problems) -> bool {
    let mut looked_at = 0;
    let mut found = None;
    tables.covering(rule, |other_at, other| {
        count();
        looked_at += 1;
        let mutual = || covers(rule, other) && rule.action == RuleAction::Block && stronger(rule, other, all_enforced);
        if other_at != at
            && other.action == RuleAction::Block
            && covers(other, rule)
            && stronger(other, rule, all_enforced)
            && (other_at < at || !mutual())
        {
            found = Some(other);
        }
        found.is_some() || looked_at >= MOST
    });
    let Some(other) = found else { return false };
    let (name, by, place) = (quote(&rule.name), quote(&other.name), problems.place(other.at));
    problems
        .warning(rule.at, format!("the rule {name} has no effect: the rule {by} at {place} blocks all it is about"))
        .code(Code::ShadowedRule)
        .fix("remove one of the two, or narrow the one that blocks");
    true
}

/// Whether a rule matches whenever another one does.
fn covers(wide: &RuleFact, narrow: &RuleFact) -> bool {
    let paths = || match (&wide.path, &narrow.path) {
        (None, _) => true,
        (Some(wide), Some(narrow)) => wide.restricts_all_of(narrow),
        (Some(wide), None) => wide.is_every_path(),
    };
    wide.pattern.name.covers(&narrow.pattern.name)
        && (wide.pattern.port.is_none() || wide.pattern.port == narrow.pattern.port)
        && wide.methods.restricts_all_of(&narrow.methods)
        && wide.who.includes(&narrow.who)
        && wide.conditions.iter().all(|condition| narrow.conditions.contains(condition))
        && (wide.schedule.is_none() || wide.schedule == narrow.schedule)
        && paths()
}

/// Whether a rule that blocks leaves another one that matches the same nothing to do.
fn stronger(block: &RuleFact, rule: &RuleFact, all_enforced: bool) -> bool {
    let refuses = block.mode == Mode::Enforce && (block.organization || all_enforced);
    // On an agent that is only watched both are, and one of them is enough; what counts or asks is measured all the same.
    let as_strong = match (block.mode, rule.mode) {
        (Mode::Enforce, _) => block.organization || !rule.organization,
        (Mode::Monitor, mode) => mode == Mode::Monitor,
    };
    refuses || (rule.action == RuleAction::Block && as_strong)
}

/// What there is to say about rules that do matter.
fn remarks(rule: &RuleFact, problems: &mut Problems) {
    let name = quote(&rule.name);
    if rule.mode == Mode::Monitor && rule.action != RuleAction::Monitor {
        problems
            .hint(rule.at, format!("the rule {name} is recorded and not enforced"))
            .code(Code::MonitorMode)
            .fix("remove `mode: monitor` once the record shows what you expect");
    }
    if matches!(&rule.action, RuleAction::Approval(approval) if approval.notify.is_empty()) {
        problems
            .hint(rule.at, format!("nobody is told of requests that wait for the rule {name}"))
            .code(Code::UnnotifiedApproval)
            .fix("name a channel of `notifications` in `notify`, or watch `attache approvals list`");
    }
}

/// Rules by host and path.
struct Tables<'a> {
    rules: &'a [RuleFact],
    at: HashMap<&'a NamePattern, PathTree<usize>>,
}

impl<'a> Tables<'a> {
    fn of(rules: &'a [RuleFact]) -> Self {
        let mut at: HashMap<&NamePattern, PathTree<usize>> = HashMap::new();
        for (place, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.action == RuleAction::Block) {
            at.entry(&rule.pattern.name).or_default().insert(rule.path.as_ref(), place);
        }
        Self { rules, at }
    }

    /// Shows the rules that may match whenever this one does, until one is taken: those that match one of its paths.
    fn covering(&self, rule: &RuleFact, mut take: impl FnMut(usize, &'a RuleFact) -> bool) {
        let sample = rule.path.as_ref().map_or_else(|| "/".to_owned(), |path| path.sample());
        let view = PathView::of(&sample);
        let below = rule.pattern.name.parents().map(|parent| NamePattern::Below(parent.into()));
        let levels = std::iter::once(rule.pattern.name.clone()).chain(below).chain([NamePattern::Any]);
        for tree in levels.collect::<HashSet<_>>().iter().filter_map(|level| self.at.get(level)) {
            if tree.find(&view, |at| self.rules.get(*at).is_some_and(|rule| take(*at, rule))) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::Weekday;

    use crate::pipeline::policy::schedule::Days;

    #[test]
    fn hours_that_leave_no_time_of_the_week() {
        use Weekday::{Monday, Tuesday};
        let hours = |days: &[Weekday], daily: Option<(&str, &str)>| Hours {
            days: if days.is_empty() { Days::ALL } else { Days::of(days.iter().copied()) },
            daily: daily.map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap())),
            zone: TimeZone::get("Europe/Berlin").unwrap(),
        };
        let office = || hours(&[], Some(("08:00", "18:00")));
        for (only, except, expected) in [
            (Some(office()), Some(office()), true),
            (Some(office()), Some(hours(&[], Some(("07:00", "19:00")))), true),
            (Some(office()), Some(hours(&[], Some(("08:00", "17:59")))), false),
            (Some(hours(&[Monday], None)), Some(hours(&[Monday, Tuesday], None)), true),
            (Some(hours(&[Monday, Tuesday], None)), Some(hours(&[Monday], None)), false),
            (None, Some(hours(&[], Some(("08:00", "08:00")))), true),
            (None, Some(office()), false),
            (Some(office()), None, false),
            (Some(office()), Some(Hours { zone: TimeZone::UTC, ..office() }), false),
        ] {
            let schedule = Schedule { only, except, ..Schedule::default() };
            assert_eq!(never_holds(&schedule), expected, "{schedule:?}");
        }
    }
}
