//! `attache diff`: what another policy would allow and refuse.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::json;

use super::output::{PageFormat, json_line, printable};
use super::policy_text::{self, ConfigMaps};
use super::{Failure, Outcome};
use crate::config::diff::{Callers, Change, Cited, Diff, Kind, Said, Side, diff};

/// Compare two policies: what the new one allows and the old one does not, and the other way round
///
/// Every difference comes with a request that shows it, decided by the engine that decides live traffic, and with the
/// entries that decide. Each policy is a file, a directory whose *.yaml and *.yml are read as one, a rendered Kubernetes
/// manifest, or `-` for stdin. No secret is read, and nothing is looked up: hosts are taken to have public addresses.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache diff main/policy.yaml policy.yaml
  attache diff --organization bounds.yaml -o markdown old.yaml new.yaml >>\"$GITHUB_STEP_SUMMARY\"

Exit codes:
  0  nothing more is allowed, though less may be
  2  a policy cannot be read or has an error
  3  the new policy allows more, or asks for less: a request is newly allowed, an approval or limit is gone, a
     credential goes where it did not, an agent can be known by something new")]
pub struct Args {
    /// The policy as it was
    #[arg(value_name = "OLD")]
    old: PathBuf,

    /// The policy as it is to be
    #[arg(value_name = "NEW")]
    new: PathBuf,

    /// Compare both within the organization's bounds, as `up --organization` has it
    #[arg(long, value_name = "FILE")]
    organization: Option<PathBuf>,

    #[command(flatten)]
    configmaps: ConfigMaps,

    /// Compare as if every caller was this agent, as `up --agent` has it
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,

    /// When requests are decided, for rules with times, as in 2026-12-31T18:00:00Z; default: now
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,

    /// Form of the output; json is {widens, at, callers: [{agents, changes}], notes}, markdown is for pull requests
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: PageFormat,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    let read = |path: &Path| side(path, args.organization.as_deref(), &args.configmaps, args.agent.as_deref());
    // What is wrong with either is said before it ends.
    let (old, new) = (read(&args.old)?, read(&args.new)?);
    let (Some(old), Some(new)) = (old, new) else { return Ok(ExitCode::from(2)) };
    let at = args.at.map_or_else(SystemTime::now, SystemTime::from);
    let diff = diff(&old, &new, at);
    let mut out = std::io::stdout().lock();
    match args.output {
        PageFormat::Text => write!(out, "{}", text(&diff))?,
        PageFormat::Markdown => write!(out, "{}", markdown(&diff))?,
        PageFormat::Json => {
            let at = Timestamp::try_from(at).map(|at| at.to_string()).map_err(Failure::runtime)?;
            let object = json!({
                "widens": diff.widens(), "at": at, "callers": diff.callers, "notes": diff.notes,
            });
            writeln!(out, "{}", json_line(&object)?)?;
        }
    }
    Ok(if diff.widens() { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

/// `None`: it has errors, which have been printed.
fn side(
    path: &Path,
    organization: Option<&Path>,
    configmaps: &ConfigMaps,
    agent: Option<&str>,
) -> Result<Option<Side>, Failure> {
    let (_, draft) = policy_text::read(path, organization, configmaps)?;
    Ok(match Side::of(draft, agent) {
        Ok(side) => Some(side),
        Err(problems) => {
            eprintln!("{problems}");
            None
        }
    })
}

/// A block for each group of callers, and in it a line for each change:
///
/// ```text
/// agent researcher
///   + GET https://api.example.com/v1/x
///       was: deny domain_not_allowed
///       now: allow  allowedDomains[api.example.com] (new.yaml:3)
/// ```
fn text(diff: &Diff) -> String {
    let mut text = String::new();
    for callers in &diff.callers {
        text.push_str(&format!("{}\n", who(callers)));
        for change in &callers.changes {
            text.push_str(&format!("  {} {}\n", sign(change), change.request));
            text.push_str(&format!("      was: {}\n      now: {}\n", said(&change.before), said(&change.after)));
            for term in &change.terms {
                text.push_str(&format!("      {}: {} -> {}\n", term.what, words(&term.before), words(&term.after)));
            }
            if let Some(also) = also(change) {
                text.push_str(&format!("      also: {also}\n"));
            }
        }
        text.push('\n');
    }
    for note in &diff.notes {
        text.push_str(&format!("{} {}\n", if note.widens { '!' } else { '~' }, note.text));
    }
    text.push_str(&format!("{}\n", summary(diff)));
    text.lines().map(|line| format!("{}\n", printable(line))).collect()
}

/// The same as tables.
fn markdown(diff: &Diff) -> String {
    let cell = |text: String| printable(&text).replace('\\', "\\\\").replace('|', "\\|").replace('\n', " ");
    let code = |text: &str| format!("`{}`", printable(text).replace('`', "'").replace('|', "\\|"));
    let mut text = format!("### Policy: {}\n", summary(diff));
    for callers in &diff.callers {
        text.push_str(&format!("\n#### {}\n\n| | request | was | now |\n|---|---|---|---|\n", cell(who(callers))));
        for change in &callers.changes {
            let mut now = said(&change.after);
            for term in &change.terms {
                now.push_str(&format!("; {}: {} -> {}", term.what, words(&term.before), words(&term.after)));
            }
            let request = match also(change) {
                None => code(&change.request),
                Some(also) => format!("{} <br> also {}", code(&change.request), cell(also)),
            };
            let kind = match change.kind {
                Kind::Allowed => "**newly allowed**",
                Kind::Denied => "newly denied",
                Kind::Changed if change.widens => "**changed**",
                Kind::Changed => "changed",
            };
            text.push_str(&format!("| {kind} | {request} | {} | {} |\n", cell(said(&change.before)), cell(now)));
        }
    }
    if !diff.notes.is_empty() {
        text.push('\n');
    }
    for note in &diff.notes {
        let text_of_note = cell(note.text.clone());
        text.push_str(&if note.widens { format!("- **{text_of_note}**\n") } else { format!("- {text_of_note}\n") });
    }
    text
}

fn summary(diff: &Diff) -> String {
    if diff.is_empty() {
        return "no difference".to_owned();
    }
    let number = |kind: Kind| diff.changes().filter(|change| change.kind == kind).count();
    let counts = [(Kind::Allowed, "newly allowed"), (Kind::Denied, "newly denied"), (Kind::Changed, "changed")];
    let counts = counts.map(|(kind, words)| format!("{} {words}", number(kind)));
    let notes = if diff.notes.is_empty() {
        String::new()
    } else {
        format!(", {}", super::check::count(diff.notes.len(), "note"))
    };
    format!("{}{notes}", counts.join(", "))
}

fn who(callers: &Callers) -> String {
    let names: Vec<&str> =
        callers.agents.iter().map(|name| name.as_deref().unwrap_or("callers without identity")).collect();
    match (callers.agents.as_slice(), names.as_slice()) {
        ([Some(_)], [name]) => format!("agent {name}"),
        ([None], _) => "callers without identity".to_owned(),
        (_, names) if callers.all => format!("every agent: {}", names.join(", ")),
        (_, names) => format!("agents {}", names.join(", ")),
    }
}

fn sign(change: &Change) -> char {
    match change.kind {
        Kind::Allowed => '+',
        Kind::Denied => '-',
        Kind::Changed if change.widens => '!',
        Kind::Changed => '~',
    }
}

fn said(said: &Said) -> String {
    let cite = |cited: &Cited| match &cited.place {
        Some(place) => format!("{} ({place})", cited.rule),
        None => cited.rule.clone(),
    };
    let rules: Vec<_> = said.rules.iter().map(cite).collect();
    let reason = said.reason.map(|reason| format!(" {reason}")).unwrap_or_default();
    let rules = if rules.is_empty() { String::new() } else { format!("  {}", rules.join(", ")) };
    format!("{}{reason}{rules}", said.decision)
}

fn words(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn also(change: &Change) -> Option<String> {
    let more = match change.more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!change.also.is_empty()).then(|| format!("{}{more}", change.also.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(old: &str, new: &str) -> Diff {
        let side = |name: &str, text: &str| Side::of(crate::config::parse(name, text), None).unwrap();
        diff(&side("old.yaml", old), &side("new.yaml", new), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_reader_sees_request_and_entry() {
        let old = "allowedDomains: [a.example]\nagents: {x: {identity: [{sourceAddress: 192.0.2.1}]}}";
        let new = "allowedDomains:\n- {pattern: a.example, httpRestrictions: [{method: GET, path: '/v1/*'}]}\n- b.example\nagents: {x: {identity: [{sourceAddress: 192.0.2.1}]}}";
        let diff = compared(old, new);
        assert_eq!(
            text(&diff),
            "agent x\n  \
               + GET https://b.example/\n      \
                   was: deny domain_not_allowed\n      \
                   now: allow  allowedDomains[b.example] (new.yaml:3)\n      \
                   also: GET http://b.example/\n  \
               - GET https://a.example/\n      \
                   was: allow  allowedDomains[a.example] (old.yaml:1)\n      \
                   now: deny route_not_allowed  allowedDomains[a.example] (new.yaml:2)\n      \
                   also: POST https://a.example/, POST https://a.example/v1/x, HEAD https://a.example/ and 6 more\n\n\
             1 newly allowed, 1 newly denied, 0 changed\n"
        );
        let page = markdown(&diff);
        assert!(page.starts_with("### Policy: 1 newly allowed, 1 newly denied, 0 changed\n\n#### agent x\n"), "{page}");
        assert!(page.contains("| **newly allowed** | `GET https://b.example/` <br> also"), "{page}");
    }

    #[test]
    fn the_same_policy_differs_in_nothing() {
        let policy = "allowedDomains: ['*.example']";
        assert_eq!(text(&compared(policy, &format!("# moved\n{policy}"))), "no difference\n");
    }

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    /// The exit code tells a pipeline whether somebody has to look.
    #[test]
    fn only_what_allows_more_fails() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let less = file("less.yaml", "allowedDomains: [a.example]");
        let more = file("more.yaml", "allowedDomains: [a.example, b.example]");
        let wrong = file("wrong.yaml", "allowDomains: []");
        let bounds = file("bounds.yaml", "organization: {allowedDomains: [a.example]}");
        for (old, new, more_args, expected) in [
            (&less, &less, &[][..], 0),
            (&more, &less, &[], 0),
            (&less, &more, &[], 3),
            (&less, &more, &["-o", "json"], 3),
            (&less, &more, &["--organization", &bounds], 0),
            (&less, &wrong, &[], 2),
            (&wrong, &less, &[], 2),
        ] {
            let words = ["diff", old, new].into_iter().chain(more_args.iter().copied());
            let Command { args } = clap::Parser::try_parse_from(words).unwrap();
            let code = run(args).unwrap();
            assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(expected)), "{old} {new} {more_args:?}");
        }
    }
}
