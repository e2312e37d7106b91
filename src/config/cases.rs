//! What a policy is expected to do, written beside it: requests, and what is to become of each.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::decode::{
    Fields, Rejection, boolean, duration, filled_list, list, mismatch, named, number, parsed, text, word,
};
use super::error::{Problems, Span, Spanned, did_you_mean, quote};
use super::files::{self, File};
use super::yaml::{self, Node, Value};
use crate::pipeline::audit::Verdict;
use crate::pipeline::policy::Reason;
use crate::rehearsal::{Person, Request};

/// One expectation.
#[derive(Debug)]
pub struct Case {
    /// What it is called; none: as its first request.
    pub name: Option<String>,
    /// Where it stands.
    pub span: Span,
    /// What is sent, in this order; each is counted before the next.
    pub steps: Vec<Step>,
}

/// A request, and what is expected of it.
#[derive(Debug)]
pub struct Step {
    /// Where it stands.
    pub span: Span,
    /// The request; its time is for the reader to fill in.
    pub request: Request,
    /// When it is sent; none: when the one before it was.
    pub at: Option<SystemTime>,
    /// How much later it is sent.
    pub after: Duration,
    /// How many times it is sent.
    pub repeat: u64,
    /// What is to become of it, each time.
    pub expect: Expectation,
}

/// What is to become of a request. What is absent may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expectation {
    /// What is enforced.
    pub decision: Option<Verdict>,
    /// The status of the answer that the agent gets.
    pub status: Option<u16>,
    /// Why it is refused.
    pub reason: Option<Reason>,
    /// The entry that decides.
    pub rule: Option<String>,
    /// The names of all credentials that are injected, sorted.
    pub credentials: Option<Vec<String>>,
    /// What is only watched.
    pub would: Option<Would>,
}

/// What would be enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Would {
    /// Nothing: all there is, is enforced.
    Nothing,
    /// This.
    Be {
        /// What.
        decision: Option<Verdict>,
        /// Why.
        reason: Option<Reason>,
        /// By which entry.
        rule: Option<String>,
    },
}

/// The cases of a file.
///
/// # Errors
/// All that is wrong with it.
pub fn read(path: &Path) -> Result<(Vec<Case>, Problems), Problems> {
    let mut problems = Problems::default();
    let name = path.display().to_string();
    let mut room = files::SIZE_LIMIT;
    let content = match files::read_file(path, &mut room) {
        Ok(content) => content,
        Err(error) => {
            problems.error(None, format!("the cases in {} cannot be read: {error}", quote(&name)));
            return Err(problems);
        }
    };
    let empty = content.trim_ascii().is_empty();
    let source = super::add_source(File::new(name, content), &mut problems);
    let cases = match source {
        Some(file) if empty => {
            let start = Span { file, line: 1, column: 1, length: 0 };
            problems.error(start, "there are no cases").fix("write one as `- GET https://api.example.com/v1: allow`");
            None
        }
        source => {
            source.and_then(|source| yaml::parse(source, &mut problems)).and_then(|root| decode(&root, &mut problems))
        }
    };
    match cases {
        Some(cases) if !problems.has_errors() => Ok((cases, problems)),
        _ => Err(problems),
    }
}

/// Reads a file of cases: a list of them, or a mapping with what they have in common.
pub(super) fn decode(node: &Node, problems: &mut Problems) -> Option<Vec<Case>> {
    if matches!(node.value, Value::Sequence(_)) {
        return cases(node, problems);
    }
    let mut fields = Fields::of(node, "a file of cases", problems)?;
    let common = Common {
        agent: fields.optional("agent", text("the name of an agent")),
        source: fields.optional("source", parsed("an address", address)),
        at: fields.optional("at", parsed("an instant", instant)),
    };
    let cases = fields.required("cases", cases);
    fields.finish()?;
    Some(cases?.into_iter().map(|case| common.fill(case)).collect())
}

/// What all cases of a file have that do not say otherwise.
struct Common {
    agent: Option<Spanned<String>>,
    source: Option<Spanned<IpAddr>>,
    at: Option<Spanned<SystemTime>>,
}

impl Common {
    fn fill(&self, mut case: Case) -> Case {
        for (index, step) in case.steps.iter_mut().enumerate() {
            let request = &mut step.request;
            request.agent = request.agent.take().or_else(|| self.agent.as_ref().map(|agent| agent.value.clone()));
            request.source = request.source.or(self.source.map(|source| source.value));
            step.at = step.at.or(self.at.filter(|_| index == 0).map(|at| at.value));
        }
        case
    }
}

fn cases(node: &Node, problems: &mut Problems) -> Option<Vec<Case>> {
    filled_list("a list of cases", "write one as `- GET https://api.example.com/v1: allow`", case)(node, problems)
}

fn case(node: &Node, problems: &mut Problems) -> Option<Case> {
    if let Some(case) = short(node, problems) {
        return case;
    }
    let mut fields = Fields::of(node, "a case", problems)?;
    let name = fields.optional("name", text("a name"));
    let sequence = fields.has("steps");
    let steps = fields.optional("steps", filled_list("a list of steps", "write one, or a `request`", step));
    let agent = fields.optional("agent", text("the name of an agent"));
    let own = Draft::of(&mut fields);
    let span = fields.span();
    let steps = match sequence {
        true if own.is_empty() => steps,
        true => {
            fields.reject(
                span,
                "a case has either `steps` or a `request`",
                Some("move what is beside `steps` into one"),
            );
            None
        }
        false => own.finish("a case", &mut fields).map(|step| vec![step]),
    };
    let mut steps = steps;
    let times = steps.iter().flatten().filter_map(|step| Some((step.at?, step.span)));
    let back = times.clone().zip(times.skip(1)).find(|((before, _), (after, _))| after < before);
    if let Some((_, (_, at))) = back {
        fields.reject(at, "this step is earlier than one before it", Some("write steps in the order of their times"));
        steps = None;
    }
    fields.finish()?;
    let mut steps = steps?;
    for step in &mut steps {
        step.request.agent = step.request.agent.take().or_else(|| agent.as_ref().map(|agent| agent.value.clone()));
    }
    Some(Case { name: name.map(|name| name.value), span, steps })
}

fn step(node: &Node, problems: &mut Problems) -> Option<Step> {
    if let Some(case) = short(node, problems) {
        return case?.steps.pop();
    }
    let mut fields = Fields::of(node, "a step", problems)?;
    let agent = fields.optional("agent", text("the name of an agent"));
    let draft = Draft::of(&mut fields);
    let step = draft.finish("a step", &mut fields);
    fields.finish()?;
    let mut step = step?;
    step.request.agent = step.request.agent.take().or_else(|| agent.map(|agent| agent.value));
    Some(step)
}

/// `GET https://api.example.com/v1: allow`. None: it is not written so.
fn short(node: &Node, problems: &mut Problems) -> Option<Option<Case>> {
    let read = named("a request and what is expected of it", |key, value, problems| {
        let line = Node { span: key.span, value: Value::Scalar(yaml::Scalar { text: key.text.clone(), plain: false }) };
        // While the decoder is asked what it takes, names are no requests.
        let written = if problems.sketch().is_none() { request_line(&line, problems) } else { None };
        let expect = expectation(value, problems);
        Some(Step::new(key.span, written?, expect?))
    });
    if problems.sketch().is_some() {
        read(node, problems);
        return None;
    }
    match &node.value {
        Value::Mapping(entries) if matches!(entries.as_slice(), [(key, _)] if key.text.contains("://")) => {
            let steps = read(node, problems)?;
            Some((!steps.is_empty()).then_some(Case { name: None, span: node.span, steps }))
        }
        _ => None,
    }
}

impl Step {
    fn new(span: Span, written: Written, expect: Expectation) -> Self {
        let Written { request, at } = written;
        Self { span, request, at, after: Duration::ZERO, repeat: 1, expect }
    }
}

/// What a step says, before it is known whether that is enough.
struct Draft {
    request: Option<Written>,
    expect: Option<Expectation>,
    repeat: Option<u64>,
    after: Option<Duration>,
    /// Which of its keys were written, right or wrong.
    written: Vec<&'static str>,
}

impl Draft {
    fn of(fields: &mut Fields<'_, '_>) -> Self {
        let written = ["request", "expect", "repeat", "after"].into_iter().filter(|name| fields.has(name)).collect();
        let longest = Duration::from_secs(366 * 86_400);
        Self {
            request: fields.optional("request", request),
            expect: fields.optional("expect", expectation),
            repeat: fields.optional("repeat", number("a number of times", 1..=100_000)),
            after: fields.optional("after", duration("a wait", Duration::ZERO..=longest)),
            written,
        }
    }

    fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    fn finish(self, what: &str, fields: &mut Fields<'_, '_>) -> Option<Step> {
        let span = fields.span();
        for name in ["request", "expect"].into_iter().filter(|name| !self.written.contains(name)) {
            fields.reject(span, format!("{what} needs `{name}`"), None);
        }
        let step = Step::new(span, self.request?, self.expect?);
        Some(Step { repeat: self.repeat.unwrap_or(1), after: self.after.unwrap_or_default(), ..step })
    }
}

/// A request as written, and its time where that is given.
struct Written {
    request: Request,
    at: Option<SystemTime>,
}

/// `GET https://api.example.com/v1`, or a mapping with all there is.
fn request(node: &Node, problems: &mut Problems) -> Option<Written> {
    match &node.value {
        Value::Scalar(_) => return request_line(node, problems),
        Value::Mapping(_) => {}
        _ => return mismatch(node, "a request", problems),
    }
    let mut fields = Fields::of(node, "a request", problems)?;
    let method = fields.required("method", text("a method"));
    let url = fields.required("url", text("a URL"));
    let headers = fields.optional("headers", headers).unwrap_or_default();
    let body = fields.optional("body", text("a body"));
    let agent = fields.optional("agent", text("the name of an agent"));
    let source = fields.optional("source", parsed("an address", address));
    let at = fields.optional("at", parsed("an instant", instant));
    let approved = fields.optional("approved", boolean);
    let built = method.zip(url).and_then(|(method, url)| {
        let mut request = Request::new(&method, &url, SystemTime::UNIX_EPOCH)
            .map_err(|error| fields.reject(url.span, error.to_string(), None))
            .ok()?;
        for (name, value) in &headers {
            if let Err(error) = request.add_header(name, value) {
                fields.reject(value.span, error.to_string(), None);
            }
        }
        request.body = body.map(|body| body.value.into_bytes()).unwrap_or_default();
        request.agent = agent.map(|agent| agent.value);
        request.source = source.map(|source| source.value);
        request.person = match approved {
            None => Person::Silent,
            Some(true) => Person::Approves,
            Some(false) => Person::Refuses,
        };
        Some(Written { request, at: at.map(|at| at.value) })
    });
    fields.finish()?;
    built
}

fn request_line(node: &Node, problems: &mut Problems) -> Option<Written> {
    let read = parsed("a request", |line| {
        let (method, url) = line.split_once(' ').ok_or_else(|| {
            let fix = "write a method and an absolute URL, such as `GET https://api.example.com/v1`";
            Rejection::new(format!("{} is no request", quote(line)), fix)
        })?;
        Request::new(method, url.trim(), SystemTime::UNIX_EPOCH)
            .map_err(|error| Rejection { message: error.to_string(), fix: None })
    });
    Some(Written { request: read(node, problems)?.value, at: None })
}

fn headers(node: &Node, problems: &mut Problems) -> Option<Vec<(String, Spanned<String>)>> {
    named("a mapping from headers to values", |key, value, problems| {
        Some((key.text.clone(), text("a value")(value, problems)?))
    })(node, problems)
}

const DECISIONS: &[(&str, Verdict)] = &[
    ("allow", Verdict::Allow),
    ("deny", Verdict::Deny),
    ("rate_limited", Verdict::RateLimited),
    ("pending", Verdict::Pending),
    ("error", Verdict::Error),
];

fn expectation(node: &Node, problems: &mut Problems) -> Option<Expectation> {
    if matches!(node.value, Value::Scalar(_)) {
        let decision = word("a decision", DECISIONS)(node, problems)?;
        return Some(Expectation { decision: Some(decision.value), ..Expectation::default() });
    }
    let mut fields = Fields::of(node, "an expectation", problems)?;
    let keys = ["decision", "status", "reason", "rule", "credentials", "would"];
    let empty = !keys.iter().any(|key| fields.has(key));
    let decision = fields.optional("decision", word("a decision", DECISIONS));
    let status = fields.optional("status", number("an HTTP status", 400..=599));
    let reason = fields.optional("reason", reason);
    let rule = fields.optional("rule", text("the name of an entry"));
    let credentials = fields.optional("credentials", list("a list of credentials", text("the name of a credential")));
    let would = fields.optional("would", would);
    if empty {
        let span = fields.span();
        fields.reject(span, "nothing is expected", Some("write `decision: allow`, or what else it is to be"));
    }
    fields.finish()?;
    Some(Expectation {
        decision: decision.map(|decision| decision.value),
        status: status.and_then(|status| u16::try_from(status).ok()),
        reason: reason.map(|reason| reason.value),
        rule: rule.map(|rule| rule.value),
        credentials: credentials.map(|names| {
            let mut names: Vec<_> = names.into_iter().map(|name| name.value).collect();
            names.sort_unstable();
            names
        }),
        would,
    })
}

const WOULD: &[(&str, Option<Verdict>)] = &[
    ("nothing", None),
    ("deny", Some(Verdict::Deny)),
    ("rate_limited", Some(Verdict::RateLimited)),
    ("pending", Some(Verdict::Pending)),
];

fn would(node: &Node, problems: &mut Problems) -> Option<Would> {
    if matches!(node.value, Value::Scalar(_)) {
        return Some(match word("what is only watched", WOULD)(node, problems)?.value {
            None => Would::Nothing,
            decision => Would::Be { decision, reason: None, rule: None },
        });
    }
    let mut fields = Fields::of(node, "what is only watched", problems)?;
    let decision = fields.optional("decision", word("a decision", DECISIONS));
    let reason = fields.optional("reason", reason);
    let rule = fields.optional("rule", text("the name of an entry"));
    fields.finish()?;
    Some(Would::Be {
        decision: decision.map(|decision| decision.value),
        reason: reason.map(|reason| reason.value),
        rule: rule.map(|rule| rule.value),
    })
}

fn reason(node: &Node, problems: &mut Problems) -> Option<Spanned<Reason>> {
    parsed("a reason", |name| {
        Reason::ALL.iter().copied().find(|reason| reason.as_str() == name).ok_or_else(|| {
            let near = did_you_mean(name, Reason::ALL.iter().map(|reason| reason.as_str()));
            let fix = near.unwrap_or_else(|| "write one as an answer's `reason` has it, such as `rule_blocked`".into());
            Rejection::new(format!("{} is no reason", quote(name)), fix)
        })
    })(node, problems)
}

fn address(text: &str) -> Result<IpAddr, Rejection> {
    let fix = "write one such as `10.1.2.3` or `2001:db8::1`";
    text.parse().map_err(|_| Rejection::new(format!("{} is no address", quote(text)), fix))
}

fn instant(text: &str) -> Result<SystemTime, Rejection> {
    let fix = "write RFC 3339 with its offset, such as `2026-12-31T18:00:00Z`";
    let read = text.parse::<jiff::Timestamp>();
    Ok(read.map_err(|_| Rejection::new(format!("{} is not an instant", quote(text)), fix))?.into())
}
