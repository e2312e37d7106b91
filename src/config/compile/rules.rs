//! Rules, limits and time windows.

use std::sync::Arc;

use super::super::schema;
use super::domains::methods;
use super::{Work, host, path};
use crate::pipeline::approval::Terms;
use crate::pipeline::limit::{Limit, Weight};
use crate::pipeline::policy::RuleId;
use crate::pipeline::policy::rule::{Condition, Does, Mode, Place, Rule, Wildcard};
use crate::pipeline::policy::schedule::{Days, Hours, Schedule};

impl Work<'_> {
    /// Files rules.
    pub(super) fn add_rules(&mut self, rules: &[schema::Rule], organization: bool) {
        let prefix = if organization { "organization." } else { "" };
        for rule in rules {
            let id: RuleId = format!("{prefix}rules[{}]", rule.name.value).into();
            self.places.entry(id.clone()).or_insert(rule.span);
            let pattern = host(&rule.host, self.problems);
            let path = rule.path.as_ref().map(|text| path(text, self.problems));
            let agents = rule
                .agents
                .as_ref()
                .map(|names| names.iter().filter_map(|name| self.rules.agents.find(name.as_str())).collect());
            let (Some(pattern), None | Some(Some(_))) = (pattern, &path) else { continue };
            self.rules.add_rule(Rule {
                pattern,
                path: path.flatten(),
                methods: methods(&rule.methods),
                agents,
                conditions: conditions(rule),
                schedule: rule.schedule.as_ref().map(schedule),
                mode: mode(rule.mode),
                organization,
                does: does(&id, rule),
                id,
            });
        }
    }
}

fn does(id: &RuleId, rule: &schema::Rule) -> Does {
    match &rule.action.value {
        schema::RuleAction::Block => Does::Block,
        schema::RuleAction::Monitor => Does::Monitor,
        schema::RuleAction::RateLimit(written) => Does::Limit(Arc::new(limit(id.clone(), written))),
        schema::RuleAction::Approval(schema::Approval { hold, expires, notify }) => Does::Approval(Arc::new(Terms {
            rule: id.clone(),
            hold: *hold,
            expires: *expires,
            notify: notify.iter().map(|name| name.as_str().into()).collect(),
            fields: rule.headers.iter().map(|(name, _)| name.to_ascii_lowercase().into()).collect(),
        })),
    }
}

pub(super) fn limit(rule: RuleId, written: &schema::RateLimit) -> Limit {
    let weight = match &written.weight {
        schema::Weight::Request => Weight::Request,
        schema::Weight::Bytes => Weight::Bytes,
        schema::Weight::Items(names) => Weight::Items(names.iter().map(|name| name.as_str().into()).collect()),
    };
    Limit { rule, most: written.requests, per: written.per, weight }
}

pub(in super::super) fn mode(mode: schema::Mode) -> Mode {
    match mode {
        schema::Mode::Enforce => Mode::Enforce,
        schema::Mode::Monitor => Mode::Monitor,
    }
}

pub(in super::super) fn conditions(rule: &schema::Rule) -> Vec<Condition> {
    let query = rule.query.iter().map(|(name, value)| (Place::Query(name.as_str().into()), value));
    let header = rule.headers.iter().map(|(name, value)| (Place::Header(name.to_ascii_lowercase().into()), value));
    query.chain(header).map(|(place, value)| Condition { place, value: Wildcard::parse(&value.value) }).collect()
}

pub(in super::super) fn schedule(written: &schema::Schedule) -> Schedule {
    let hours = |hours: &schema::Hours| Hours {
        days: hours.days.as_ref().map_or(Days::ALL, |days| Days::of(days.iter().copied())),
        daily: hours.daily,
        zone: hours.zone.clone(),
    };
    Schedule {
        not_before: written.not_before.as_ref().map(|at| at.value),
        not_after: written.not_after.as_ref().map(|at| at.value),
        only: written.only.as_ref().map(hours),
        except: written.except.as_ref().map(hours),
    }
}
