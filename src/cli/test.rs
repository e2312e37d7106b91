//! `attache test`: whether a policy does what is written beside it.

mod report;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use super::output::{colours, json_line};
use super::rehearse::{PolicyArgs, Stage};
use super::trace::Trace;
use super::{Failure, Outcome};
use crate::config::Problems;
use crate::config::cases::{self, Case, Expectation, Step, Would};
use crate::pipeline::limit::counters::Counters;
use crate::pipeline::policy::Reason;
use crate::rehearsal::{Rehearsed, Request};

/// Test a policy: rehearse requests, and compare what becomes of them with what is expected
///
/// Each FILE is a list of cases:
///
///   - GET https://api.example.com/v1: allow
///   - name: nobody deletes
///     agent: researcher
///     request: DELETE https://api.example.com/v1/items/7
///     expect: {decision: deny, reason: rule_blocked, rule: "rules[No deletes]"}
///
/// Requests are decided as by `attache explain`: nothing is sent, and no secret is needed. Each case begins with
/// nothing counted; the steps of a case, and what it repeats, are counted as they would be.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  attache test --policy policy.yaml cases.yaml
  attache test --policy policy.yaml -o junit cases/*.yaml >report.xml

Exit codes:
  0  every case came to what was expected
  2  wrong usage, or an error in the policy or a file of cases
  3  a case came to something else"
)]
pub struct Args {
    #[command(flatten)]
    policy: PolicyArgs,

    /// Files of cases
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Who sends the requests of cases that name nobody
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,

    /// Also show the cases that came to what was expected
    #[arg(short, long)]
    verbose: bool,

    /// Form of the output; json is one object, described in docs/testing.md
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For CI systems: JUnit's XML.
    Junit,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    let stage = Stage::set(&args.policy, args.agent.as_deref())?;
    let now = SystemTime::now();
    let mut ran = Vec::new();
    for file in &args.files {
        let read = cases::read(file).and_then(|read| prepared(read, &stage, args.agent.as_deref()));
        let (cases, problems) = read.map_err(Failure::usage)?;
        ran.extend(cases.iter().map(|case| Ran::of(case, &problems, &stage, now)));
    }
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Text => write!(out, "{}", report::text(&ran, args.verbose, colours()))?,
        Format::Json => writeln!(out, "{}", json_line(&report::json(&ran))?)?,
        Format::Junit => write!(out, "{}", report::junit(&ran))?,
    }
    let all_passed = ran.iter().all(|ran| ran.failures.is_empty());
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

/// Fills in who sends what names nobody, and finds those that nobody can have sent.
fn prepared(
    (mut cases, mut problems): (Vec<Case>, Problems),
    stage: &Stage,
    agent: Option<&str>,
) -> Result<(Vec<Case>, Problems), Problems> {
    for step in cases.iter_mut().flat_map(|case| &mut case.steps) {
        let named = step.request.agent.take();
        if let Some(Err(message)) = named.as_deref().map(|name| stage.check_agent(name)) {
            problems.error(step.span, message);
        }
        step.request.agent = named.or_else(|| agent.map(str::to_owned));
    }
    if problems.has_errors() { Err(problems) } else { Ok((cases, problems)) }
}

/// What a case came to.
struct Ran {
    file: String,
    line: u32,
    column: u32,
    name: String,
    failures: Vec<Failed>,
}

/// A step that did not come to what was expected. There is one a case: what follows it proves nothing.
struct Failed {
    request: String,
    /// Where the step stands, which is not where its case does if there are several.
    line: u32,
    /// Which of its repetitions it was, and of how many.
    repetition: (u64, u64),
    mismatches: Vec<Mismatch>,
    trace: String,
    explanation: serde_json::Value,
}

/// One thing that is not as expected.
#[derive(Debug, PartialEq, Eq)]
struct Mismatch {
    what: &'static str,
    expected: String,
    got: String,
    /// What may be wrong with the expectation.
    note: Option<String>,
}

impl Ran {
    fn of(case: &Case, problems: &Problems, stage: &Stage, now: SystemTime) -> Self {
        let first = case.steps.first().map(|step| step.request.to_string());
        Self {
            file: problems.sources().name(case.span.file).to_owned(),
            line: case.span.line,
            column: case.span.column,
            name: case.name.clone().or(first).unwrap_or_default(),
            failures: play(case, stage, now).into_iter().collect(),
        }
    }
}

/// Plays a case up to the first step that does not come to what is expected.
fn play(case: &Case, stage: &Stage, now: SystemTime) -> Option<Failed> {
    let mut counters = Counters::default();
    let mut clock = now;
    for step in &case.steps {
        clock = step.at.unwrap_or(clock) + step.after;
        let request = Request { at: clock, ..step.request.clone() };
        for time in 1..=step.repeat {
            let ended = stage.rehearsal.run_after(&mut counters, &request);
            let mismatches = mismatches(&step.expect, &ended, stage);
            if !mismatches.is_empty() {
                let trace = Trace::after(stage, &request, &ended, counters);
                return Some(Failed::of(step, &request, time, mismatches, &trace));
            }
        }
    }
    None
}

impl Failed {
    fn of(step: &Step, request: &Request, time: u64, mismatches: Vec<Mismatch>, trace: &Trace<'_>) -> Self {
        let agent = request.agent.as_ref().map(|agent| format!(" (agent {agent})")).unwrap_or_default();
        Self {
            request: format!("{request}{agent}"),
            line: step.span.line,
            repetition: (time, step.repeat),
            mismatches,
            trace: trace.text(false),
            explanation: trace.json(),
        }
    }
}

fn mismatches(expect: &Expectation, ended: &Rehearsed, stage: &Stage) -> Vec<Mismatch> {
    let record = &ended.record;
    let mut found = Vec::new();
    let mut compare = |what, expected: Option<String>, got: Option<String>, note: Option<String>| {
        if let Some(expected) = expected.filter(|expected| Some(expected) != got.as_ref()) {
            found.push(Mismatch { what, expected, got: got.unwrap_or_else(|| "none".to_owned()), note });
        }
    };
    let text = |text: &str| Some(text.to_owned());
    compare("decision", expect.decision.map(|d| d.as_str().to_owned()), text(record.decision.as_str()), None);
    compare("status", expect.status.map(|s| s.to_string()), ended.status().map(|s| s.to_string()), None);
    compare("reason", expect.reason.map(name), ended.reason.map(name), None);
    let unknown = expect.rule.as_deref().and_then(|rule| stage.near(rule));
    let note = unknown.map(|near| format!("the policy has no entry of this name; {near}"));
    compare("rule", expect.rule.clone(), record.rule.as_deref().map(str::to_owned), note);
    let mut credentials: Vec<_> = record.credential.iter().map(|name| name.to_string()).collect();
    credentials.sort_unstable();
    let listed = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    compare("credentials", expect.credentials.as_deref().map(listed), Some(listed(&credentials)), None);
    let would = record.would.as_ref();
    match &expect.would {
        None => {}
        Some(Would::Nothing) => {
            compare("would", text("nothing"), would.map(|w| w.reason.to_string()).or(text("nothing")), None)
        }
        Some(Would::Be { decision, reason, rule }) => {
            let nothing = || text("nothing");
            let got = |of: fn(&crate::pipeline::audit::Would) -> Option<String>| would.and_then(of).or_else(nothing);
            compare(
                "would",
                decision.map(|d| d.as_str().to_owned()),
                got(|w| Some(w.decision.as_str().to_owned())),
                None,
            );
            compare("would.reason", reason.map(name), got(|w| Some(w.reason.to_string())), None);
            compare("would.rule", rule.clone(), got(|w| Some(w.rule.as_ref()?.to_string())), None);
        }
    }
    found
}

fn name(reason: Reason) -> String {
    reason.as_str().to_owned()
}

#[cfg(test)]
mod tests;
