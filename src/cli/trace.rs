//! A request's way through the stages, for people and for programs.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::config::decode::written;
use crate::pipeline::audit::{DecisionRecord, FindingNote, Would};
use crate::pipeline::credential::Slot;
use crate::pipeline::limit::Weight;
use crate::pipeline::limit::counters::Counters;
use crate::pipeline::message::Door;
use crate::pipeline::policy::{Reason, RuleId};
use crate::rehearsal::{Asks, Counted, Filtered, Person, Rehearsed, Request, Stage};

use super::output::printable;
use super::rehearse;

/// One request, what became of it, and what would once a person has agreed.
pub struct Trace<'a> {
    stage: &'a rehearse::Stage,
    request: &'a Request,
    ended: &'a Rehearsed,
    approved: Option<Rehearsed>,
}

/// One stage of it.
struct Step {
    stage: Stage,
    mark: Mark,
    says: String,
    rules: Vec<RuleId>,
    /// What else there is to say.
    more: Vec<String>,
}

/// What a stage came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Passed,
    Refused,
    /// It would refuse, ask or limit, and is only watched.
    Watched,
    /// It was not come to, or has nothing to say.
    Skipped,
}

impl<'a> Trace<'a> {
    /// Of a request that was rehearsed.
    pub fn of(stage: &'a rehearse::Stage, request: &'a Request, ended: &'a Rehearsed) -> Self {
        Self::after(stage, request, ended, Counters::default())
    }

    /// Of a request that was rehearsed with these counts.
    pub fn after(
        stage: &'a rehearse::Stage,
        request: &'a Request,
        ended: &'a Rehearsed,
        mut counted: Counters,
    ) -> Self {
        // What waits for a person has not been counted.
        let waits = ended.reason == Some(Reason::ApprovalPending);
        let again = Request { person: Person::Approves, ..request.clone() };
        let approved = waits.then(|| stage.rehearsal.run_after(&mut counted, &again));
        Self { stage, request, ended, approved }
    }

    /// For people; in colours where `colours`.
    pub fn text(&self, colours: bool) -> String {
        let mut text = String::new();
        let at = time(self.request);
        let _ = writeln!(text, "{}", printable(&self.request.to_string()));
        let _ = writeln!(text, "policy revision {}, at {at}\n", self.stage.rehearsal.rules().revision);
        for step in self.steps() {
            let says = printable(&step.says);
            let line = format!("{} {:<13} {says}", step.mark.shown(colours), step.stage.as_str());
            let _ = writeln!(text, "{}", line.trim_end());
            for rule in &step.rules {
                let place = self.stage.place(rule).map(|place| format!("  {place}")).unwrap_or_default();
                let _ = writeln!(text, "{:16}{}{place}", "", printable(rule));
            }
            for line in &step.more {
                let _ = writeln!(text, "{:16}{}", "", printable(line));
            }
        }
        for note in self.notes() {
            let _ = writeln!(text, "\nnote: {}", printable(&note));
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let Self { request, ended, .. } = self;
        let record = &ended.record;
        let steps = self.steps().into_iter().map(|step| {
            let rules: Vec<_> = step.rules.iter().map(|rule| self.entry(rule)).collect();
            json!({
                "stage": step.stage.as_str(), "outcome": step.mark.as_str(), "says": step.says, "rules": rules,
            })
        });
        let grant = ended.grant.as_ref();
        let upstream = grant.map(|g| json!({"scheme": g.scheme, "host": record.host, "port": g.port}));
        json!({
            "request": {
                "method": request.method,
                "url": url(request),
                "through": if request.door == Door::Proxy { "proxy" } else { "tunnel" },
                "source": request.source,
                "at": time(request),
            },
            "agent": record.agent,
            "identity": self.identity(),
            "admitted": ended.is_admitted(),
            "decision": record.decision.as_str(),
            "status": ended.status(),
            "reason": record.reason,
            "detail": record.detail,
            "hint": ended.hint(),
            "rule": record.rule.as_ref().map(|rule| self.entry(rule)),
            "stage": ended.stage.as_str(),
            "atConnect": ended.at_connect,
            "target": ended.target,
            "upstream": upstream,
            "would": record.would.as_ref().map(|would| self.would_json(would)),
            "stages": steps.collect::<Vec<_>>(),
            "credentials": credentials_json(ended),
            "limits": grant.iter().flat_map(|g| &g.limits).map(|limit| self.limit_json(limit)).collect::<Vec<_>>(),
            "approvals": grant.iter().flat_map(|g| &g.approvals).map(|asks| self.asks_json(asks)).collect::<Vec<_>>(),
            "responseFilters": grant.iter().flat_map(|g| &g.filters).map(|f| self.filter_json(f)).collect::<Vec<_>>(),
            "findings": record.findings.iter().map(|finding| json!({
                "rule": finding.rule,
                "category": finding.category,
                "confidence": finding.confidence,
                "action": finding.action,
                "location": finding.location,
            })).collect::<Vec<_>>(),
            "watched": grant.iter().flat_map(|g| &g.watched).map(|rule| self.entry(rule)).collect::<Vec<_>>(),
            "removedHeaders": ended.removed,
            "onceApproved": self.approved.as_ref().map(|approved| json!({
                "admitted": approved.is_admitted(),
                "decision": approved.record.decision.as_str(),
                "status": approved.status(),
                "reason": approved.record.reason,
                "credentials": credentials_json(approved),
            })),
            "notes": self.notes(),
            "policyRevision": self.stage.rehearsal.rules().revision,
        })
    }

    fn steps(&self) -> Vec<Step> {
        // Nothing is said of what a request carries unless something was found.
        let Rehearsed { record, stage: ended, .. } = self.ended;
        let told = |stage: &Stage| *stage != Stage::Content || *ended == Stage::Content || !record.findings.is_empty();
        Stage::ALL.into_iter().filter(told).map(|stage| self.step(stage)).collect()
    }

    fn step(&self, stage: Stage) -> Step {
        let Rehearsed { record, reason, at_connect, .. } = self.ended;
        let step = |mark, says: String, rules: Vec<RuleId>| Step { stage, mark, says, rules, more: Vec::new() };
        if stage == Stage::Verdict {
            return self.verdict();
        }
        if let Some(reason) = reason {
            // Who sent it is found out last of a request that cannot be read, and may never be of a tunnel.
            if stage == Stage::Identify && self.ended.stage > Stage::Identify && record.agent.is_none() {
                return step(Mark::Skipped, "nobody has to be known for this".into(), Vec::new());
            }
            if stage > self.ended.stage {
                return step(Mark::Skipped, String::new(), Vec::new());
            }
            if stage == self.ended.stage && *reason != Reason::ApprovalPending {
                let detail = record.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
                let connect = if *at_connect { " (already at CONNECT)" } else { "" };
                let refused =
                    step(Mark::Refused, format!("{}{detail}{connect}", reason.message()), rules(&record.rule));
                // What was found says it all, one by one.
                return match stage == Stage::Content && !record.findings.is_empty() {
                    true => {
                        Step { says: reason.message().to_owned(), rules: Vec::new(), more: found(record), ..refused }
                    }
                    false => refused,
                };
            }
        }
        if let Some(would) = self.ended.record.would.as_ref().filter(|would| would_stage(would) == stage) {
            let says = format!("would be {} {}; it is only watched", would.decision.as_str(), would.reason);
            return step(Mark::Watched, says, rules(&would.rule));
        }
        self.passed(stage)
    }

    /// A stage that had nothing against it.
    fn passed(&self, stage: Stage) -> Step {
        let Rehearsed { record, grant, grounds, .. } = self.ended;
        let step = |mark, says: String, rules: Vec<RuleId>| Step { stage, mark, says, rules, more: Vec::new() };
        let passed = |says: String, rules: Vec<RuleId>| step(Mark::Passed, says, rules);
        let nothing = |says: &str| step(Mark::Skipped, says.into(), Vec::new());
        match stage {
            Stage::Identify => {
                let agent = record.agent.as_deref().unwrap_or_default();
                let entry = RuleId::from(format!("agents.{agent}"));
                let listed = self.stage.place(&entry).is_some();
                passed(format!("{agent}, {}", self.how()), listed.then_some(entry).into_iter().collect())
            }
            Stage::Normalize => {
                let way = match self.request.door {
                    Door::Tls => "through a tunnel, in TLS",
                    Door::Plain => "through a tunnel, in plain HTTP",
                    Door::Proxy => "to the proxy itself",
                };
                let to = grant.as_ref().map(|g| format!(", leaves as {}://{}:{}", g.scheme, record.host, g.port));
                let changed = (self.ended.target != self.request.target)
                    .then(|| format!("; Envoy resolves the path to `{}`", self.ended.target));
                passed(format!("{way}{}{}", to.unwrap_or_default(), changed.unwrap_or_default()), Vec::new())
            }
            Stage::Organization if self.stage.has_organization => match grounds.ceiling.is_empty() {
                true => passed("nothing of it is in the way".into(), Vec::new()),
                false => passed("within its ceiling".into(), grounds.ceiling.clone()),
            },
            Stage::Organization => nothing("the policy has none"),
            Stage::Domains => passed("allowed".into(), grounds.entries.clone()),
            Stage::Rules => match grant.as_ref().map(|grant| &grant.watched).filter(|rules| !rules.is_empty()) {
                Some(watched) => passed("none blocks it; watched by".into(), watched.clone()),
                None => passed("none blocks it".into(), Vec::new()),
            },
            Stage::Credentials => {
                let credentials = grant.iter().flat_map(|grant| &grant.credentials);
                let (names, mut rules): (Vec<_>, Vec<_>) = credentials
                    .map(|(name, slot)| (injected(name, slot), RuleId::from(format!("credentials[{name}]"))))
                    .unzip();
                rules.dedup();
                match names.is_empty() {
                    true => nothing("none goes with it"),
                    false => passed(format!("would inject {}", names.join(", ")), rules),
                }
            }
            Stage::Content => {
                let what = match record.findings.iter().any(|finding| &*finding.action == "redact") {
                    true => "passes, with what is redacted taken out",
                    false => "passes, and what was found is on record",
                };
                Step { more: found(record), ..passed(what.to_owned(), Vec::new()) }
            }
            Stage::Address => match &self.ended.looks_up {
                Some((host, port)) if host.parse::<std::net::IpAddr>().is_ok() => {
                    passed(format!("{host}, port {port}"), Vec::new())
                }
                Some((host, port)) => nothing(&format!("{host}, port {port}, is not looked up here")),
                None => nothing("nothing to look up"),
            },
            Stage::Limits => {
                let limits: Vec<_> = grant.iter().flat_map(|grant| &grant.limits).collect();
                let says: Vec<_> = limits.iter().map(|limit| counted(limit)).collect();
                match limits.is_empty() {
                    true => nothing("none applies"),
                    false => passed(
                        format!("would be counted: {}", says.join(", ")),
                        limits.iter().map(|limit| limit.rule.clone()).collect(),
                    ),
                }
            }
            Stage::Approvals => {
                let asks: Vec<_> = grant.iter().flat_map(|grant| &grant.approvals).collect();
                let says: Vec<_> = asks.iter().map(|asks| asked(asks)).collect();
                match asks.is_empty() {
                    true => nothing("nobody has to agree"),
                    false => {
                        let mark = if self.ended.is_admitted() { Mark::Passed } else { Mark::Refused };
                        let rules = asks.iter().map(|asks| asks.rule.clone()).collect();
                        step(mark, format!("a person would be asked: {}", says.join("; ")), rules)
                    }
                }
            }
            Stage::Verdict => self.verdict(),
        }
    }

    fn verdict(&self) -> Step {
        let Rehearsed { record, reason, .. } = self.ended;
        let mut more = Vec::new();
        let (mark, says) = match (self.ended.is_admitted(), reason) {
            (true, _) => (Mark::Passed, "allow".to_owned()),
            (false, Some(reason)) => {
                let answer = match self.ended.status() {
                    Some(status) => status.to_string(),
                    // A handshake that fails is all there is.
                    None => "no answer".to_owned(),
                };
                more.push(format!("hint: {}", reason.hint()));
                (Mark::Refused, format!("{}: {answer} {}", record.decision.as_str(), reason.as_str()))
            }
            (false, None) => (Mark::Refused, record.decision.as_str().to_owned()),
        };
        if record.would.is_some() {
            more.push("it passes only because that is not enforced, and gets no credential".to_owned());
        }
        if !self.ended.removed.is_empty() {
            more.push(format!("headers taken out: {}", self.ended.removed.join(", ")));
        }
        let filters: Vec<_> = self.ended.grant.iter().flat_map(|grant| &grant.filters).collect();
        for filter in &filters {
            let watched = if filter.enforced { "" } else { ", were it enforced" };
            more.push(format!("answer{watched}: {}", filter.does));
        }
        if let Some(approved) = &self.approved {
            let then = match approved.reason {
                None => "allow".to_owned(),
                Some(reason) => format!("{} {}", approved.record.decision.as_str(), reason.as_str()),
            };
            more.push(format!("once approved: {then}"));
        }
        let rules = filters.iter().map(|filter| filter.rule.clone()).collect();
        Step { stage: Stage::Verdict, mark, says, rules, more }
    }

    /// What said who it is. An agent that was named is not identified by anything it showed.
    fn identity(&self) -> Option<&str> {
        let identity = self.ended.record.identity.as_deref()?;
        Some(if self.request.agent.is_some() { "named" } else { identity })
    }

    fn how(&self) -> &'static str {
        match self.identity() {
            Some("named") => "as you say",
            Some("token") => "by its proxy token",
            Some("source") => "by the address it calls from",
            Some("header") => "by a header that policy trusts",
            Some("kubernetes") => "by the pod it runs in",
            Some("fixed") => "the only agent there is",
            Some("default") => "as every caller that shows no identity",
            _ => "known",
        }
    }

    /// What could not be told here.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let unknown = matches!(self.ended.reason, Some(Reason::InvalidToken | Reason::NoIdentity));
        let fell_back = self.identity() == Some("default");
        let shows_token = self.request.fields.iter().any(|(name, _)| name.ends_with("authorization"));
        if (unknown || fell_back) && shows_token {
            for unread in &self.stage.unread {
                notes.push(format!(
                    "a token of `{}` cannot be checked here, and may be the one that is shown: {}",
                    unread.agent, unread.why
                ));
            }
        }
        if self.ended.reason == Some(Reason::NoIdentity) && !shows_token {
            notes.push("name the agent with `--agent`, or show an identity with `-H`".to_owned());
        }
        notes
    }

    fn entry(&self, rule: &RuleId) -> Value {
        let place = self.stage.place(rule);
        json!({
            "rule": rule,
            "file": place.map(|place| &place.file),
            "line": place.map(|place| place.line),
            "column": place.map(|place| place.column),
        })
    }

    fn would_json(&self, would: &Would) -> Value {
        json!({
            "decision": would.decision.as_str(),
            "reason": would.reason,
            "rule": would.rule.as_ref().map(|rule| self.entry(rule)),
        })
    }

    fn limit_json(&self, limit: &Counted) -> Value {
        let counts = match &limit.weight {
            Weight::Request => "requests".to_owned(),
            Weight::Bytes => "bytes".to_owned(),
            Weight::Items(way) => format!("items:{}", way.join(".")),
        };
        json!({
            "entry": self.entry(&limit.rule),
            "most": limit.most,
            "perMilliseconds": u64::try_from(limit.per.as_millis()).unwrap_or(u64::MAX),
            "counts": counts,
            "enforced": limit.enforced,
        })
    }

    fn filter_json(&self, filter: &Filtered) -> Value {
        json!({"entry": self.entry(&filter.rule), "does": filter.does, "enforced": filter.enforced})
    }

    fn asks_json(&self, asks: &Asks) -> Value {
        json!({
            "entry": self.entry(&asks.rule),
            "holdMilliseconds": u64::try_from(asks.hold.as_millis()).unwrap_or(u64::MAX),
            "expiresMilliseconds": u64::try_from(asks.expires.as_millis()).unwrap_or(u64::MAX),
            "notify": asks.notify,
        })
    }
}

impl Mark {
    fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::Watched => "watched",
            Self::Skipped => "skipped",
        }
    }

    fn shown(self, colours: bool) -> String {
        let (sign, colour) = match self {
            Self::Passed => ('✓', 32),
            Self::Refused => ('✗', 31),
            Self::Watched => ('!', 33),
            Self::Skipped => ('–', 90),
        };
        if colours { format!("\u{1b}[{colour}m{sign}\u{1b}[0m") } else { sign.to_string() }
    }
}

fn would_stage(would: &Would) -> Stage {
    let reason = Reason::ALL.iter().find(|reason| reason.as_str() == would.reason);
    reason.map_or(Stage::Verdict, |reason| Stage::of(*reason, would.rule.as_deref()))
}

fn credentials_json(ended: &Rehearsed) -> Vec<Value> {
    let credentials = ended.grant.iter().flat_map(|grant| &grant.credentials);
    let json = credentials.map(|(name, slot)| match slot {
        Slot::Header(header) => json!({"name": name, "header": header}),
        Slot::Query(parameter) => json!({"name": name, "query": parameter}),
    });
    json.collect()
}

/// What would be injected, and where: never a value.
fn injected(name: &str, slot: &Slot) -> String {
    match slot {
        Slot::Header(header) => format!("`{name}` into the header `{header}`"),
        Slot::Query(parameter) => format!("`{name}` into the query parameter `{parameter}`"),
    }
}

fn counted(limit: &Counted) -> String {
    let what = match &limit.weight {
        Weight::Request => String::new(),
        Weight::Bytes => " bytes".to_owned(),
        Weight::Items(way) if way.is_empty() => " items".to_owned(),
        Weight::Items(way) => format!(" items of `{}`", way.join(".")),
    };
    let watched = if limit.enforced { "" } else { " (only watched)" };
    format!("{}{what} per {}{watched}", limit.most, written(limit.per))
}

fn asked(asks: &Asks) -> String {
    let told = match asks.notify.is_empty() {
        true => String::new(),
        false => format!(", told to {}", asks.notify.join(", ")),
    };
    format!("held {}, open for {}{told}", written(asks.hold), written(asks.expires))
}

/// What was found in a request, each with its place and how it was written there.
fn found(record: &DecisionRecord) -> Vec<String> {
    let say = |f: &FindingNote| {
        format!("{}: {} [{}] {} confidence, at {}", f.action, f.rule, f.category, f.confidence, f.location)
    };
    record.findings.iter().map(say).collect()
}

fn rules(rule: &Option<RuleId>) -> Vec<RuleId> {
    rule.iter().cloned().collect()
}

fn url(request: &Request) -> String {
    let scheme = if request.door == Door::Tls { "https" } else { "http" };
    format!("{scheme}://{}{}", request.authority, request.target)
}

fn time(request: &Request) -> String {
    Timestamp::try_from(request.at).map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
