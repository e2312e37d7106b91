//! `rules`: what is done about requests that the lists of domains let pass; and limits, which agents have too.

use std::time::Duration;

use http::HeaderName;
use http::header::HOST;
use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

use super::super::decode::{duration, enumerate, filled_list, is_word, named, number, one_or_list, parsed, word};
use super::super::error::{Span, did_you_mean, quote};
use super::super::yaml::Scalar;
use super::names::name;
use super::*;

/// One entry of `rules`.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Where the entry stands.
    pub span: Span,
    /// Its name, which answers, records and counters know it by.
    pub name: Spanned<String>,
    /// The host pattern.
    pub host: Spanned<String>,
    /// The path pattern; `None`: every path.
    pub path: Option<Spanned<String>>,
    /// The methods.
    pub methods: Methods,
    /// Whom it is about; `None`: every agent.
    pub agents: Option<Vec<Spanned<Name>>>,
    /// What parameters of the query must be.
    pub query: Vec<(String, Spanned<String>)>,
    /// What header fields must be.
    pub headers: Vec<(String, Spanned<String>)>,
    /// What is done.
    pub action: Spanned<RuleAction>,
    /// Whether it is enforced.
    pub mode: Mode,
    /// When it holds; `None`: always.
    pub schedule: Option<Schedule>,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq)]
pub enum RuleAction {
    /// Refuses (`block`, or its alias `deny`).
    Block,
    /// Names the request in the record and lets it pass.
    Monitor,
    /// Refuses what is more than this.
    RateLimit(RateLimit),
    /// Asks a person.
    Approval(Approval),
}

/// Whether what is decided is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// It is.
    #[default]
    Enforce,
    /// It is put on record as what would have been.
    Monitor,
}

/// So many units in any window of a length.
#[derive(Debug, Clone, PartialEq)]
pub struct RateLimit {
    /// Units.
    pub requests: u64,
    /// The window.
    pub per: Duration,
    /// What is counted.
    pub weight: Weight,
}

/// What a limit counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weight {
    /// Requests.
    Request,
    /// Bytes of their bodies.
    Bytes,
    /// Items of a list in their bodies: the names on the way to it.
    Items(Vec<String>),
}

/// How a person is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    /// How long the request is held.
    pub hold: Duration,
    /// How long the question stays open, and an approval unused.
    pub expires: Duration,
    /// The channels of `notifications` that are told.
    pub notify: Vec<Spanned<Name>>,
}

/// When a rule holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Only inside these hours.
    pub only: Option<Hours>,
    /// Never inside these hours.
    pub except: Option<Hours>,
    /// Not before this instant.
    pub not_before: Option<Spanned<Timestamp>>,
    /// Not from this instant on.
    pub not_after: Option<Spanned<Timestamp>>,
}

/// Hours of the week.
#[derive(Debug, Clone, PartialEq)]
pub struct Hours {
    /// The days on which they begin; `None`: every day.
    pub days: Option<Vec<Weekday>>,
    /// From and to; `None`: all day.
    pub daily: Option<(Time, Time)>,
    /// Whose clock.
    pub zone: TimeZone,
}

/// The longest a request can be held: Envoy's `max_message_timeout`, less some room.
const MAX_HOLD: Duration = Duration::from_secs(55 * 60);
/// The longest question and the longest window.
const MAX_SPAN: Duration = Duration::from_secs(366 * 24 * 3600);
/// How long a request is held where the rule does not say.
const HOLD: Duration = Duration::from_secs(20);
/// How long a question stays open where the rule does not say.
const EXPIRES: Duration = Duration::from_secs(15 * 60);

pub(super) fn rules(node: &Node, problems: &mut Problems) -> Option<Vec<Rule>> {
    list("a list of rules", rule)(node, problems)
}

fn rule(node: &Node, problems: &mut Problems) -> Option<Rule> {
    let mut fields = Fields::of(node, "a rule", problems)?;
    let name = fields.required("name", parsed("the name of the rule", line));
    let host = fields.required("host", text("a host"));
    let path = fields.optional("path", text("a path"));
    let methods = fields.optional("method", domains::methods);
    let agents = fields.optional("agents", credentials::users);
    let query =
        fields.optional("query", conditions("a mapping from parameters to values", |_| None)).unwrap_or_default();
    let headers =
        fields.optional("headers", conditions("a mapping from headers to values", never_there)).unwrap_or_default();
    let action = fields.required("action", action);
    let mode = fields.optional("mode", mode).unwrap_or_default();
    let only = fields.optional("only", hours);
    let except = fields.optional("except", hours);
    let not_before = fields.optional("notBefore", instant);
    let not_after = fields.optional("notAfter", instant);
    if let (Some(first), Some(end)) = (&not_before, &not_after)
        && first.value >= end.value
    {
        fields.reject(
            end.span,
            "`notAfter` is not after `notBefore`, so the rule never holds",
            Some("correct one of them"),
        );
    }
    fields.finish()?;
    let bounded = only.is_some() || except.is_some() || not_before.is_some() || not_after.is_some();
    let schedule = bounded.then_some(Schedule { only, except, not_before, not_after });
    Some(Rule {
        span: node.span,
        name: name?,
        host: host?,
        path,
        methods: methods.unwrap_or(Methods::Any),
        agents: agents.flatten(),
        query,
        headers,
        action: action?,
        mode,
        schedule,
    })
}

/// Names of rules and filters are for people: anything that fits on a line.
pub(super) fn line(text: &str) -> Result<String, Rejection> {
    let fits = text.chars().count() <= 80 && text.trim() == text && !text.chars().any(char::is_control);
    match fits {
        true => Ok(text.to_owned()),
        false => Err(Rejection::new(
            format!("{} cannot be a name here", quote(text)),
            "a name is 1 to 80 characters on one line, without blanks around it",
        )),
    }
}

pub(super) fn mode(node: &Node, problems: &mut Problems) -> Option<Mode> {
    Some(word("a mode", &[("enforce", Mode::Enforce), ("monitor", Mode::Monitor)])(node, problems)?.value)
}

/// Why no request could ever have a header of this name, and what to write for it: the rule would never hold.
fn never_there(name: &str) -> Option<(String, &'static str)> {
    let written = quote(name);
    match HeaderName::from_bytes(name.as_bytes()) {
        Err(_) => Some((format!("{written} is not the name of a header"), "write a name such as `X-Api-Version`")),
        Ok(HOST) => Some((format!("{written} is what the rule's own `host` is about"), "write it there")),
        Ok(_) => None,
    }
}

fn conditions(
    what: &'static str,
    impossible: fn(&str) -> Option<(String, &'static str)>,
) -> impl Fn(&Node, &mut Problems) -> Option<Vec<(String, Spanned<String>)>> {
    move |node, problems| {
        let read = named(what, |key, value, problems| {
            if key.text.is_empty() {
                problems
                    .error(key.span, "a condition needs a name")
                    .fix("write `name: value`, or `name: \"*\"` for any value");
                return None;
            }
            if let Some((message, fix)) = impossible(&key.text) {
                problems.error(key.span, message).fix(fix);
                return None;
            }
            // A missing parameter is no empty one: `""` is a value too.
            let value = match &value.value {
                Value::Scalar(scalar) if !scalar.plain && scalar.text.is_empty() => {
                    Spanned { value: String::new(), span: value.span }
                }
                _ => text("a value")(value, problems)?,
            };
            Some((key.text.clone(), value))
        })(node, problems)?;
        // What was wrong has been reported, and the rule must not hold without it.
        let whole = matches!(&node.value, Value::Mapping(entries) if entries.len() == read.len());
        whole.then_some(read)
    }
}

fn action(node: &Node, problems: &mut Problems) -> Option<Spanned<RuleAction>> {
    const FIX: &str =
        "write `block`, `monitor`, `{rateLimit: {requests: 10, per: hour}}` or `{approval: {hold: 20s, expires: 15m}}`";
    let value = match &node.value {
        Value::Scalar(_) if is_word("block", node, problems) || is_word("deny", node, problems) => RuleAction::Block,
        Value::Scalar(_) if is_word("monitor", node, problems) => RuleAction::Monitor,
        Value::Scalar(_) if is_word("approval", node, problems) => {
            RuleAction::Approval(Approval { hold: HOLD, expires: EXPIRES, notify: Vec::new() })
        }
        Value::Scalar(Scalar { text: written, .. }) => {
            let fix = did_you_mean(written, ["block", "monitor", "approval", "deny"]).unwrap_or_else(|| FIX.to_owned());
            problems.error(node.span, format!("{} is not an action of a rule", quote(written))).fix(fix);
            return None;
        }
        _ => {
            let mut fields = Fields::of(node, "an action", problems)?;
            if fields.has("rateLimit") == fields.has("approval") {
                fields.reject(node.span, "an action is one thing", Some(FIX));
            }
            let limit = fields.optional("rateLimit", rate_limit).map(RuleAction::RateLimit);
            let approval = fields.optional("approval", approval).map(RuleAction::Approval);
            fields.finish()?;
            limit.or(approval)?
        }
    };
    Some(Spanned { value, span: node.span })
}

/// `{requests: 10, per: hour}`.
pub(super) fn rate_limit(node: &Node, problems: &mut Problems) -> Option<RateLimit> {
    let mut fields = Fields::of(node, "a rate limit", problems)?;
    let requests = fields.required("requests", number("a number of requests", 1..=1_000_000_000_000));
    let per = fields.required("per", duration("a window", Duration::from_millis(1)..=MAX_SPAN));
    let weight = fields.optional("weight", weight).unwrap_or(Weight::Request);
    fields.finish()?;
    Some(RateLimit { requests: requests?, per: per?, weight })
}

/// `bytes`, or `{items: requests}`: the names on the way to the list, parted by dots; `.` is the body itself.
fn weight(node: &Node, problems: &mut Problems) -> Option<Weight> {
    if let Value::Scalar(scalar) = &node.value {
        if is_word("bytes", node, problems) {
            return Some(Weight::Bytes);
        }
        problems
            .error(node.span, format!("{} is nothing that is counted", quote(&scalar.text)))
            .fix("write `bytes`, or `{items: path.to.the.list}`");
        return None;
    }
    let mut fields = Fields::of(node, "a weight", problems)?;
    let items = fields.required("items", text("the way to a list in the body"));
    fields.finish()?;
    let items = items?;
    if items.value == "." {
        return Some(Weight::Items(Vec::new()));
    }
    let names: Vec<_> = items.split('.').map(str::to_owned).collect();
    if names.iter().any(String::is_empty) {
        problems
            .error(items.span, "a name on the way is empty")
            .fix("write e.g. `requests` or `batch.items`; `.` is the body itself");
        return None;
    }
    Some(Weight::Items(names))
}

fn approval(node: &Node, problems: &mut Problems) -> Option<Approval> {
    if matches!(&node.value, Value::Mapping(entries) if entries.is_empty()) {
        return Some(Approval { hold: HOLD, expires: EXPIRES, notify: Vec::new() });
    }
    let mut fields = Fields::of(node, "an approval", problems)?;
    let hold = fields.optional("hold", duration("how long the request is held", Duration::ZERO..=MAX_HOLD));
    let expires =
        fields.optional("expires", duration("how long the question stays open", Duration::from_secs(1)..=MAX_SPAN));
    let notify =
        fields.optional("notify", one_or_list("a channel or a list of channels", name("the name of a channel")));
    fields.finish()?;
    let (hold, expires) = (hold.unwrap_or(HOLD), expires.unwrap_or(EXPIRES));
    if hold > expires {
        problems
            .warning(node.span, "the request is held longer than the question stays open")
            .fix("make `expires` at least as long as `hold`");
    }
    Some(Approval { hold, expires, notify: notify.unwrap_or_default() })
}

fn hours(node: &Node, problems: &mut Problems) -> Option<Hours> {
    const DAYS: [(&str, Weekday); 7] = [
        ("mon", Weekday::Monday),
        ("tue", Weekday::Tuesday),
        ("wed", Weekday::Wednesday),
        ("thu", Weekday::Thursday),
        ("fri", Weekday::Friday),
        ("sat", Weekday::Saturday),
        ("sun", Weekday::Sunday),
    ];
    let mut fields = Fields::of(node, "a time window", problems)?;
    let days = fields.optional(
        "days",
        filled_list(
            "a list of days",
            "name a day, or remove the key: without it every day is meant",
            word("a day", &DAYS),
        ),
    );
    let from = fields.optional("from", parsed("a time of day", time_of_day));
    let to = fields.optional("to", parsed("a time of day", end_of_day));
    if from.is_some() != to.is_some() {
        fields.reject(
            node.span,
            "a time window has both `from` and `to`, or neither",
            Some("write e.g. `from: \"08:00\", to: \"18:00\"`"),
        );
    }
    if days.is_none() && from.is_none() {
        fields.reject(
            node.span,
            "a time window needs `days`, or `from` and `to`",
            Some("write e.g. `{days: [sat, sun], timezone: UTC}`"),
        );
    }
    if let (Some(from), Some(to)) = (&from, &to)
        && from.value == to.value
    {
        fields.reject(
            to.span,
            "the window begins and ends at the same time",
            Some("leave out `from` and `to` for the whole day"),
        );
    }
    let zone = fields.required("timezone", parsed("a time zone", zone));
    fields.finish()?;
    Some(Hours {
        days: days.map(|days| days.into_iter().map(|day| day.value).collect()),
        daily: from.zip(to).map(|(from, to)| (from.value, to.value)),
        zone: zone?.value,
    })
}

/// Where a window ends; `24:00` is the end of the day on which it begins.
fn end_of_day(text: &str) -> Result<Time, Rejection> {
    if text == "24:00" { Ok(Time::midnight()) } else { time_of_day(text) }
}

fn time_of_day(text: &str) -> Result<Time, Rejection> {
    let refused = || {
        Rejection::new(
            format!("{} is not a time of day", quote(text)),
            "write hours and minutes in quotes: `\"08:00\"`, and `to` up to `\"24:00\"`",
        )
    };
    let (hours, minutes) = text.split_once(':').ok_or_else(refused)?;
    if hours.len() != 2 || minutes.len() != 2 || !text.bytes().all(|b| b.is_ascii_digit() || b == b':') {
        return Err(refused());
    }
    let number = |digits: &str| digits.parse::<i8>().map_err(|_| refused());
    Time::new(number(hours)?, number(minutes)?, 0, 0).map_err(|_| refused())
}

fn zone(text: &str) -> Result<TimeZone, Rejection> {
    TimeZone::get(text).map_err(|_| {
        let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        let fix = did_you_mean(text, known.iter().map(String::as_str));
        Rejection::new(
            format!("{} is not a time zone", quote(text)),
            fix.unwrap_or_else(|| {
                "write a name of the IANA time zone database, such as `Europe/Berlin` or `UTC`".to_owned()
            }),
        )
    })
}

fn instant(node: &Node, problems: &mut Problems) -> Option<Spanned<Timestamp>> {
    parsed("an instant", |text| {
        text.parse::<Timestamp>().map_err(|_| {
            Rejection::new(
                format!("{} is not an instant", quote(text)),
                format!(
                    "write RFC 3339 with its offset, such as {}",
                    enumerate(&["2026-12-31T18:00:00Z", "2026-12-31T18:00:00+01:00"])
                ),
            )
        })
    })(node, problems)
}
