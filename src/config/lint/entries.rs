//! Lists of domains: entries that contradict each other, that say nothing new, and that reach very far.

use std::collections::{HashMap, HashSet};

use super::super::code::Code;
use super::super::error::{Problems, quote};
use super::super::facts::{Block, Facts, Grant, RuleFact, Who};
use super::index::{Index, MOST};
use crate::config::schema::RuleAction;
use crate::pipeline::message::Host;
use crate::pipeline::policy::Action;
use crate::pipeline::policy::matcher::{Methods, NamePattern};
use crate::pipeline::policy::path::PathPattern;
use crate::pipeline::policy::rule::Mode;

/// What an entry says beside hosts, methods and paths where it says nothing.
const NOTHING_MORE: &str = "false [] false";

/// Reports on entries. Gives back which grants, by their places, may let something pass.
pub(super) fn lint(facts: &Facts, problems: &mut Problems) -> HashSet<usize> {
    let blocks = Index::of(&facts.blocks);
    let grants = Index::of(&facts.grants);
    let refusing = Index::of(facts.rules.iter().filter(|rule| refuses_always(rule)));
    let mut live = HashSet::new();
    for (at, grant) in facts.grants.iter().enumerate().filter(|(_, grant)| grant.action == Action::Allow) {
        if grant.who == Who::Organization {
            continue;
        }
        let refused = refused(grant, &blocks, &grants, problems);
        let outside = facts.has_ceiling && !refused && outside(grant, &grants, problems);
        if !refused && !outside {
            live.insert(at);
            ruled_out(grant, &refusing, problems);
            reach(grant, &grants, &blocks, problems);
        }
    }
    redundant_grants(facts, problems);
    redundant_blocks(facts, &blocks, problems);
    live
}

/// Whether a list refuses all that an entry allows.
fn refused(grant: &Grant, blocks: &Index<'_, Block>, grants: &Index<'_, Grant>, problems: &mut Problems) -> bool {
    let port = grant.pattern.permitted_port();
    let name = &grant.pattern.name;
    let block = blocks
        .covering(name)
        .take(MOST)
        .find(|block| block.pattern.port.is_none_or(|p| p == port) && block.who.includes(&grant.who));
    if let Some(block) = block {
        let same = block.pattern.name == *name;
        refused_at(grant, block.at, &block.written, same, problems);
        return true;
    }
    let denies = |other: &&&Grant| {
        other.action == Action::Deny
            && other.pairs.is_none()
            && other.who != Who::Organization
            && other.pattern.port.is_none_or(|p| p == port)
            && other.who.includes(&grant.who)
    };
    let denial = grants.filed(name).iter().take(MOST).find(denies);
    if let Some(denial) = denial {
        refused_at(grant, denial.at, &denial.written, true, problems);
    }
    denial.is_some()
}

fn refused_at(grant: &Grant, at: super::super::Span, by: &str, same: bool, problems: &mut Problems) {
    let (written, place) = (quote(&grant.written), problems.place(at));
    let (code, message) = match same {
        true => (Code::Contradiction, format!("{written} is allowed here and refused at {place}: refusing wins")),
        false => {
            let by = quote(by);
            (Code::BlockedEntry, format!("this entry has no effect: {by} at {place} refuses every host of {written}"))
        }
    };
    problems.warning(grant.at, message).code(code).fix("remove one of the two entries");
}

/// Whether the organization's ceiling leaves nothing of an entry.
fn outside(grant: &Grant, grants: &Index<'_, Grant>, problems: &mut Problems) -> bool {
    let mut looked_at = 0;
    let within = grants.meeting(&grant.pattern.name).filter(|other| other.who == Who::Organization).any(|other| {
        looked_at += 1;
        let same_way = (other.pattern.scheme, other.pattern.permitted_port())
            == (grant.pattern.scheme, grant.pattern.permitted_port());
        looked_at > MOST || (other.action == Action::Allow && same_way && pairs_meet(&grant.pairs, &other.pairs))
    });
    if !within {
        let message = format!("{} is outside of what the organization allows", quote(&grant.written));
        problems
            .warning(grant.at, message)
            .code(Code::OutsideOrganization)
            .fix("have it added to `organization.allowedDomains`; or remove it, if no broader entry then allows more");
    }
    !within
}

/// Reports an entry of which a rule blocks everything.
fn ruled_out(grant: &Grant, refusing: &Index<'_, RuleFact>, problems: &mut Problems) {
    let port = grant.pattern.permitted_port();
    let covers = |rule: &&RuleFact| {
        rule.pattern.port.is_none_or(|p| p == port)
            && rule.who.includes(&grant.who)
            && match &grant.pairs {
                None => every_method(&rule.methods) && every_path(rule.path.as_ref()),
                Some(pairs) => pairs.iter().all(|(methods, path)| {
                    restricts_permitted(&rule.methods, methods)
                        && rule.path.as_ref().is_none_or(|restricted| restricted.permits_all_of(path))
                }),
            }
    };
    if let Some(rule) = refusing.covering(&grant.pattern.name).take(MOST).find(covers) {
        let same = rule.pattern.name == grant.pattern.name;
        let code = if same { Code::Contradiction } else { Code::BlockedEntry };
        let (written, name, place) = (quote(&grant.written), quote(&rule.name), problems.place(rule.at));
        problems
            .warning(grant.at, format!("the rule {name} at {place} blocks all that {written} allows here"))
            .code(code)
            .fix("narrow the rule; or remove the entry, if no broader one then allows more");
    }
}

fn refuses_always(rule: &RuleFact) -> bool {
    rule.action == RuleAction::Block
        && rule.mode == Mode::Enforce
        && rule.conditions.is_empty()
        && rule.schedule.is_none()
}

fn every_method(methods: &Methods) -> bool {
    *methods == Methods::Any
}

/// Whether all methods that one list permits are restricted by the other.
fn restricts_permitted(restricting: &Methods, permitting: &Methods) -> bool {
    restricting.restricts_all_of(permitting)
}

fn every_path(path: Option<&PathPattern>) -> bool {
    path.is_none_or(PathPattern::is_every_path)
}

/// Reports entries that reach very far, and wildcards that miss what they may have meant.
fn reach(grant: &Grant, grants: &Index<'_, Grant>, blocks: &Index<'_, Block>, problems: &mut Problems) {
    let NamePattern::Below(name) = &grant.pattern.name else { return };
    if is_public_suffix(name) {
        problems
            .warning(grant.at, format!("anybody can have a host below {}: this allows all of them", quote(name)))
            .code(Code::PublicSuffix)
            .fix("name the hosts the agents need");
        return;
    }
    let Ok(apex) = Host::parse(name) else { return };
    let exact = NamePattern::Exact(apex);
    if grants.filed(&exact).is_empty() && blocks.filed(&exact).is_empty() {
        problems
            .hint(grant.at, format!("{} does not cover {} itself", quote(&grant.written), quote(name)))
            .code(Code::MissingApex)
            .fix(format!("if that is meant too, add `{name}`"));
    }
}

/// Whether the public suffix list has exactly this name. Names it does not know belong to networks of one's own.
fn is_public_suffix(name: &str) -> bool {
    psl::suffix(name.as_bytes()).is_some_and(|suffix| suffix.is_known() && suffix == name)
}

/// Reports entries of which others of the same pattern say all already.
fn redundant_grants(facts: &Facts, problems: &mut Problems) {
    let mut groups: HashMap<_, Vec<(usize, &Grant)>> = HashMap::new();
    for (at, grant) in facts.grants.iter().enumerate().filter(|(_, grant)| grant.action == Action::Allow) {
        let pattern = &grant.pattern;
        let organization = grant.who == Who::Organization;
        let key = (&pattern.name, pattern.scheme, pattern.permitted_port(), organization);
        groups.entry(key).or_default().push((at, grant));
    }
    let mut found = Vec::new();
    for group in groups.values().filter(|group| group.len() > 1) {
        // An entry of single paths can be covered only by its like, or by one with wildcards.
        let broad: Vec<_> = group.iter().filter(|(_, grant)| !is_of_single_paths(grant)).take(MOST).collect();
        let mut alike: HashMap<String, Vec<&(usize, &Grant)>> = HashMap::new();
        for member in group {
            alike.entry(format!("{:?}", member.1.pairs)).or_default().push(member);
        }
        for (at, grant) in group {
            let same = alike.get(&format!("{:?}", grant.pairs)).into_iter().flatten().copied().take(MOST);
            let broader = same.chain(broad.iter().copied()).find(|(other_at, other)| {
                at != other_at && says_all_of(other, grant) && (at > other_at || !says_all_of(grant, other))
            });
            found.extend(broader.map(|(_, other)| (*at, *grant, *other)));
        }
    }
    found.sort_unstable_by_key(|(at, ..)| *at);
    for (_, grant, other) in found {
        let place = problems.place(other.at);
        problems
            .warning(grant.at, format!("this entry says nothing that the one at {place} does not say"))
            .code(Code::RedundantEntry)
            .fix("remove it");
    }
}

fn is_of_single_paths(grant: &Grant) -> bool {
    grant.pairs.as_ref().is_some_and(|pairs| pairs.iter().all(|(_, path)| path.is_one_path()))
}

/// Whether one entry of a pattern allows all that another one does, to everybody the other one is about.
fn says_all_of(broad: &Grant, narrow: &Grant) -> bool {
    broad.who.includes(&narrow.who)
        && (narrow.more == NOTHING_MORE || narrow.more == broad.more)
        && match (&broad.pairs, &narrow.pairs) {
            (None, None) => true,
            (Some(broad), Some(narrow)) => narrow.iter().all(|(methods, path)| {
                broad.iter().any(|(all, paths)| all.permits_all_of(methods) && paths.permits_all_of(path))
            }),
            // An unrestricted one beside a restricted one is an error, and reported as that.
            _ => false,
        }
}

fn redundant_blocks(facts: &Facts, blocks: &Index<'_, Block>, problems: &mut Problems) {
    for block in &facts.blocks {
        let covers = |other: &&Block| {
            let same_ports = other.pattern.port.is_none() || other.pattern.port == block.pattern.port;
            let same_list = (other.who == Who::Organization) == (block.who == Who::Organization);
            let other_first =
                (other.at.file, other.at.line, other.at.column) < (block.at.file, block.at.line, block.at.column);
            let mutual =
                other.names() == block.names() && other.pattern.port == block.pattern.port && other.who == block.who;
            !std::ptr::eq(*other, block)
                && same_ports
                && same_list
                && other.who.includes(&block.who)
                && block.names().iter().all(|name| other.names().iter().any(|wide| wide.covers(name)))
                && (!mutual || other_first)
        };
        if let Some(other) = blocks.covering(&block.pattern.name).take(MOST).find(covers) {
            let (name, place) = (quote(&block.written), problems.place(other.at));
            problems
                .warning(block.at, format!("{name} is blocked at {place} already: a name covers all below it"))
                .code(Code::RedundantEntry)
                .fix("remove it");
        }
    }
}

use super::index::Filed;

/// False only where no request fits both lists of pairs.
pub(super) fn pairs_meet(a: &Option<Vec<(Methods, PathPattern)>>, b: &Option<Vec<(Methods, PathPattern)>>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return true };
    let mut looked_at = 0;
    a.iter().any(|(methods, path)| {
        b.iter().any(|(others, pattern)| {
            looked_at += 1;
            looked_at > MOST * MOST || (methods.may_overlap(others) && path.may_overlap(pattern))
        })
    })
}
