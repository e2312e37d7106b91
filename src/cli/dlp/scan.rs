//! `attache dlp scan`: what would be found in a text if an agent sent it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::look::{Eye, Seen};
use super::{PolicyArgs, cases};
use crate::cli::output::printable;
use crate::cli::{Failure, Outcome};
use crate::pipeline::dlp::detector::Match;
use crate::pipeline::dlp::finding::{Action, Category, Finding};
use crate::pipeline::dlp::stream::{BodyStream, Emit, Fault, Label};
use crate::pipeline::policy::decision::Reason;

/// Look for secrets and personal data in texts, as the proxy does in what agents send
///
/// Each FILE is looked at as a body that an agent sends to nowhere in particular; without one, or with `-`, stdin is.
/// What is found is printed with its place, rule, category, confidence, what a policy does about it, and how it was
/// encoded; of the value at most four characters are. Texts of any size are read piece by piece.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache dlp scan notes.txt
  git diff | attache dlp scan
  attache dlp scan --level log --policy policy.yaml --agent researcher prompt.json
  attache dlp scan --jsonl < cases.jsonl > findings.jsonl

With --jsonl each line is a case, {\"id\": …, \"text\": …} or {\"id\": …, \"requests\": [{\"method\", \"url\", \"headers\":
[[name, value]], \"body_b64\", \"chunks\": [lengths]}]}, and each case with a finding is printed as {\"id\": …, \"findings\":
[{\"rule\", \"category\", \"confidence\", \"action\", \"location\"}]}; docs/dlp.md describes both.

Exit codes:
  0  nothing was found
  2  wrong usage, a file cannot be read, or the policy has an error
  3  something was found, or not all of a text could be looked at")]
pub struct Args {
    /// Texts to look at; `-` is stdin
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Read cases and print findings as lines of JSON
    #[arg(long)]
    jsonl: bool,

    /// What is printed: `block`, what would be blocked or redacted; `log`, what would only go on record too
    #[arg(long, value_enum, default_value = "block", value_name = "LEVEL")]
    level: Level,

    #[command(flatten)]
    policy: PolicyArgs,

    /// The agent of the policy that sends it; without it, one that has no profile of its own
    #[arg(long, value_name = "NAME", requires = "policy")]
    agent: Option<String>,
}

/// Which findings count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// Those that change what is sent.
    Block,
    /// All that go on record.
    Log,
}

impl Level {
    /// Whether a finding counts about which this is done.
    pub fn shows(self, action: Action) -> bool {
        action >= if self == Self::Block { Action::Redact } else { Action::Monitor }
    }
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    let eye = args.policy.eye(args.agent.as_deref())?;
    let mut out = std::io::stdout().lock();
    let stdin = [PathBuf::from("-")];
    let files = if args.files.is_empty() { &stdin[..] } else { &args.files };
    let mut found = false;
    for file in files {
        let (name, mut input) = open(file)?;
        found |= match args.jsonl {
            true => cases::run(&mut input, &name, &eye, args.level, &mut out)?,
            false => text(&mut input, &name, &eye, args.level, &mut out)?,
        };
    }
    out.flush()?;
    Ok(if found { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

fn open(file: &Path) -> Result<(String, Box<dyn BufRead>), Failure> {
    if file == Path::new("-") {
        return Ok(("<stdin>".to_owned(), Box::new(BufReader::new(std::io::stdin()))));
    }
    let name = printable(&file.display().to_string());
    let refused = |error| Failure::usage(format!("`{name}` cannot be read: {error}"));
    let opened = File::open(file).map_err(refused)?;
    if opened.metadata().is_ok_and(|found| found.is_dir()) {
        return Err(Failure::usage(format!("`{name}` is a directory: name the files, as in `find {name} -type f`")));
    }
    Ok((name, Box::new(BufReader::with_capacity(PIECE, opened))))
}

/// The largest text that is looked at as a whole, in bytes, as the proxy holds a body. A larger one is looked at as it
/// comes, and nothing is told of its structure.
const WHOLE: usize = 1 << 20;
/// How much of a larger one is read at once, in bytes.
const PIECE: usize = 64 * 1024;

/// Prints what is found in a text. True if anything is.
fn text(input: &mut dyn BufRead, name: &str, eye: &Eye, level: Level, out: &mut dyn Write) -> Result<bool, Failure> {
    let failed = |error| Failure::usage(format!("`{name}` cannot be read: {error}"));
    let mut start = Vec::new();
    input.take(WHOLE as u64 + 1).read_to_end(&mut start).map_err(failed)?;
    let mut looker = eye.looker();
    let mut lines = Lines::default();
    if start.len() <= WHOLE {
        let seen = looker.body(content_type(&start), &start);
        lines.add(&start);
        return report(seen, name, &lines, level, out);
    }
    let lens = looker.lens();
    // Nothing ends it, so that all of it is looked at.
    let watching = crate::pipeline::dlp::scan::Lens {
        enforced: false,
        on_known: Action::Monitor,
        on_canary: Action::Monitor,
        ..lens.clone()
    };
    let mut stream = BodyStream::new(watching, "body".into(), &[], Emit::AsSent, Label::Named);
    let mut any = false;
    let mut told = 0;
    let mut piece = start;
    loop {
        let ends = piece.is_empty();
        lines.add(&piece);
        let mut passed = Vec::new();
        let outcome = if ends { stream.finish(&mut passed) } else { stream.push(&piece, &mut passed) };
        let new = stream.findings().get(told..).unwrap_or_default();
        told += new.len();
        let enforced = |finding: &Finding| {
            let found = Match::new(finding.rule.clone(), finding.category.clone(), 0..1, finding.confidence);
            let action = match finding.category {
                Category::KnownSecret => lens.on_known,
                Category::Canary => lens.on_canary,
                _ if lens.enforced => lens.actions.of(&found),
                _ => finding.action,
            };
            Finding { action, ..finding.clone() }
        };
        let findings = new.iter().map(enforced).collect();
        let refused = outcome.err().map(|fault| match fault {
            Fault::Exhausted => Reason::BudgetExhausted,
            Fault::Undecodable(_) | Fault::Found => Reason::Undecodable,
        });
        let stopped = refused.is_some();
        any |= report(Seen { findings, refused }, name, &lines, level, out)?;
        if ends || stopped {
            return Ok(any);
        }
        piece.resize(PIECE, 0);
        let length = input.read(&mut piece).map_err(failed)?;
        piece.truncate(length);
    }
}

/// As the proxy would be told by a header.
fn content_type(text: &[u8]) -> &'static str {
    match text.trim_ascii_start().first() {
        Some(b'{' | b'[') => "application/json",
        _ => "text/plain",
    }
}

fn report(seen: Seen, name: &str, lines: &Lines, level: Level, out: &mut dyn Write) -> Result<bool, Failure> {
    let mut any = false;
    let mut findings: Vec<_> = seen.findings.into_iter().filter(|finding| level.shows(finding.action)).collect();
    findings.sort_by_key(|finding| finding.range.start);
    for finding in &findings {
        any = true;
        let (line, column) = lines.place(finding.range.start);
        let begins = lines.begins(finding);
        writeln!(
            out,
            "{name}:{line}:{column}: {} [{}] {} confidence, {}: {} at {}",
            finding.rule,
            finding.category,
            finding.confidence.as_str(),
            finding.action.as_str(),
            begins,
            printable(&finding.location()),
        )?;
    }
    if let Some(reason) = seen.refused {
        any = true;
        writeln!(
            out,
            "{name}: not all of it could be looked at, so that a request with it is refused: {}",
            reason.as_str()
        )?;
    }
    Ok(any)
}

/// Where the lines of a text begin, and the last of the text.
#[derive(Debug, Default)]
struct Lines {
    /// The last of the text, and where it begins.
    text: Vec<u8>,
    base: usize,
    /// The lines that ended before that.
    before: usize,
    /// Where the line began that it begins in.
    begun: usize,
}

impl Lines {
    /// How much of a text is kept, in bytes: more than is ever held back of a stream.
    const KEPT: usize = 2 * WHOLE;

    fn add(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
        let surplus = self.text.len().saturating_sub(Self::KEPT);
        if surplus > WHOLE {
            for at in memchr::memchr_iter(b'\n', self.text.get(..surplus).unwrap_or_default()) {
                self.before += 1;
                self.begun = self.base + at + 1;
            }
            self.text.drain(..surplus);
            self.base += surplus;
        }
    }

    /// The line and column of a byte, from 1; columns in characters.
    fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at.saturating_sub(self.base)).unwrap_or_default();
        let line = self.before + memchr::memchr_iter(b'\n', before).count() + 1;
        let start = memchr::memrchr(b'\n', before).map(|newline| newline + 1);
        // Of a line that began before what is kept the bytes are counted.
        let gone = if start.is_none() { self.base - self.begun.min(self.base) } else { 0 };
        let shown = before.get(start.unwrap_or(0)..).unwrap_or_default();
        (line, gone + String::from_utf8_lossy(shown).chars().count() + 1)
    }

    /// At most the first four characters of what was found, and never more than a quarter of it.
    fn begins(&self, finding: &Finding) -> String {
        let inside = |at: usize| at.saturating_sub(self.base).min(self.text.len());
        let found = self.text.get(inside(finding.range.start)..inside(finding.range.end)).unwrap_or_default();
        let text = String::from_utf8_lossy(found);
        let shown: String = text.chars().take((text.chars().count() / 4).min(4)).collect();
        format!("`{}…`", printable(&shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(level: Level, text: &[u8]) -> String {
        let eye = PolicyArgs { policy: None }.eye(None).unwrap_or_else(|_| panic!("the default policy"));
        let mut out = Vec::new();
        let any = super::text(&mut &*text, "t", &eye, level, &mut out).unwrap_or_else(|_| panic!("unread"));
        assert_eq!(any, !out.is_empty());
        String::from_utf8(out).unwrap()
    }

    const TOKEN: &str = "ghp_q8Zr3vTn5kLwXy2Bc7Df9Gh4Jm6Np1Qs0Tu3";

    #[test]
    fn what_is_found_is_told_with_its_place_and_not_shown() {
        let report = scanned(Level::Block, format!("é\nkey é {TOKEN}\n").as_bytes());
        assert!(report.starts_with("t:2:7: github-personal-access-token [credentials] "), "{report}");
        assert!(report.contains("confidence, block: `ghp_…` at body") && !report.contains("q8Zr3"), "{report}");
        assert_eq!(scanned(Level::Block, b"nothing to see"), "");
    }

    #[test]
    fn structure_is_told() {
        let report = scanned(Level::Block, format!(r#"{{"a": ["{TOKEN}"]}}"#).as_bytes());
        assert!(report.contains("at body.$.a[0]"), "{report}");
    }

    #[test]
    fn a_large_text_is_looked_at_to_its_end() {
        let mut text = format!("{TOKEN}\n").into_bytes();
        while text.len() < 7 * WHOLE {
            text.extend_from_slice(b"the quick brown fox jumps over the lazy dog\n");
        }
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        text.extend_from_slice(format!("x {TOKEN}").as_bytes());
        let report = scanned(Level::Block, &text);
        let places: Vec<_> = report.lines().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
        assert_eq!(places, ["t:1:1".to_owned(), format!("t:{}:3", lines + 1)], "{report}");
        assert!(report.lines().all(|line| line.contains("block: `ghp_…`")), "{report}");
    }
}
