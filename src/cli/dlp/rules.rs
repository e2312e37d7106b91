//! `attache dlp rules`: what is looked for.

use std::collections::HashSet;
use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use super::PolicyArgs;
use crate::cli::Outcome;
use crate::cli::output::{Format, json_line};
use crate::pipeline::dlp::detector::Detector;
use crate::pipeline::dlp::finding::Confidence;
use crate::pipeline::dlp::rule::{RuleError, Severity};
use crate::pipeline::dlp::{mnemonic, numbers};

/// List the rules, or try them on their examples
///
/// The built-in ones, and those of a policy where one is given. `test` looks for each rule's examples in the way that
/// requests are looked at: a rule must find what it says it finds, and nothing in what it says it does not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache dlp rules | grep -i slack
  attache dlp rules -o json | jq -r '.[].service' | sort -u
  attache dlp rules test --policy policy.yaml

Exit codes:
  0  listed; with test: every example holds
  1  with test: an example does not hold
  2  the policy has an error")]
pub struct Args {
    /// `test` tries every rule on its examples
    #[arg(value_enum, value_name = "test")]
    what: Option<What>,

    #[command(flatten)]
    policy: PolicyArgs,

    /// Form of the output; json is one array of {id, category, service, severity, confidence, reach, keywords, source}
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Test,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    let detector = args.policy.detector()?;
    let mut out = std::io::stdout().lock();
    if args.what == Some(What::Test) {
        return test(&detector, args.output, &mut out);
    }
    let rows = rows(&detector);
    match args.output {
        Format::Text => write!(out, "{}", table(&rows))?,
        Format::Json => writeln!(out, "{}", json_line(&rows)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A rule, as it is listed.
#[derive(Debug, Serialize)]
struct Row<'r> {
    id: &'r str,
    category: String,
    service: &'r str,
    severity: &'static str,
    confidence: &'static str,
    reach: Option<String>,
    keywords: &'r [String],
    source: &'r str,
}

/// Those with keywords, then those of numbers.
fn rows(detector: &Detector) -> Vec<Row<'_>> {
    let with_keywords = detector.rules().iter().map(|rule| Row {
        id: &rule.source.id,
        category: rule.category.to_string(),
        service: &rule.source.service,
        severity: severity(rule.source.severity),
        confidence: rule.confidence.base.as_str(),
        reach: Some(format!("{:?}", rule.source.reach).to_lowercase()),
        keywords: &rule.source.keywords,
        source: &rule.source.source,
    });
    let known: HashSet<&str> = detector.rules().iter().map(|rule| rule.source.id.as_str()).collect();
    let mut numbers: Vec<_> = detector.ids().filter(|(id, _)| !known.contains(&***id)).collect();
    numbers.sort_unstable();
    let numbers = numbers.into_iter().map(|(id, category)| {
        let rule = numbers::RULES.iter().find(|rule| *rule.id == **id);
        Row {
            id,
            category: category.to_string(),
            service: rule.map_or("", |rule| rule.title),
            severity: severity(Severity::High),
            confidence: rule.map_or(Confidence::High, |rule| rule.named).as_str(),
            reach: None,
            keywords: &[],
            source: "",
        }
    });
    with_keywords.chain(numbers).collect()
}

fn test(detector: &Detector, output: Format, out: &mut dyn Write) -> Outcome {
    let mut broken = detector.broken_examples();
    let examples = detector.rules().iter().map(|rule| rule.examples());
    let mut tried: usize = examples.map(|examples| examples.matches.len() + examples.no_match.len()).sum();
    for rule in numbers::RULES.iter() {
        // What is less sure is on record at most.
        let enough = rule.named.min(Confidence::High);
        let finds = |text: &str| {
            let mut any = false;
            let mut note = |found: numbers::Match| any |= found.rule == rule.id && found.confidence >= enough;
            numbers::find(text.as_bytes(), &mut note);
            numbers::contact::find(text.as_bytes(), &mut note);
            mnemonic::find(text.as_bytes(), &mut note);
            any
        };
        tried += rule.matches.len() + rule.no_match.len();
        let missed = rule.matches.iter().filter(|text| !finds(text)).map(|text| ("nothing", text));
        let mistaken = rule.no_match.iter().filter(|text| finds(text)).map(|text| ("something", text));
        for (found, text) in missed.chain(mistaken) {
            broken.push((rule.id.into(), RuleError::Example { found, text: (*text).to_owned() }));
        }
    }
    let rules = detector.ids().count();
    match output {
        Format::Text => {
            for (rule, error) in &broken {
                writeln!(out, "{rule}: {error}")?;
            }
            let held = tried - broken.len();
            writeln!(out, "{rules} rules, {tried} examples: {held} hold, {} do not", broken.len())?;
        }
        Format::Json => {
            let errors = broken.iter().map(|(rule, error)| json!({"rule": **rule, "error": error.to_string()}));
            let report = json!({"rules": rules, "examples": tried, "broken": errors.collect::<Vec<_>>()});
            writeln!(out, "{}", json_line(&report)?)?;
        }
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn table(rows: &[Row<'_>]) -> String {
    let head = ["ID", "CATEGORY", "SEVERITY", "CONFIDENCE", "SERVICE"];
    let cells = |row: &Row<'_>| {
        let service = if row.service.is_empty() { "-" } else { row.service };
        [row.id, &row.category, row.severity, row.confidence, service].map(str::to_owned)
    };
    let lines: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let mut widths = [0; 5];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pipeline::dlp::rule::{Rule, RuleSource};

    fn detector(rules: &str) -> Detector {
        let sources: Vec<RuleSource> = serde_yaml::from_str(rules).unwrap();
        Detector::new(sources.into_iter().map(|source| Arc::new(Rule::new(source).unwrap())).collect()).unwrap()
    }

    #[test]
    fn rules_are_listed_with_what_they_find() {
        let detector = detector(
            "[{id: acme-key, service: Acme, keywords: [acme_], pattern: 'acme_[0-9]{4}'}, {id: b, category: custom.b, severity: low, keywords: [bbb], pattern: 'bbb[0-9]'}]",
        );
        let listed = table(&rows(&detector));
        let words: Vec<Vec<_>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["ID", "CATEGORY", "SEVERITY", "CONFIDENCE", "SERVICE"]);
        assert_eq!(words[1], ["acme-key", "credentials", "high", "high", "Acme"]);
        assert_eq!(words[2], ["b", "custom.b", "low", "high", "-"]);
        assert!(listed.contains("\npii-us-ssn ") && listed.contains(" pii.govId "), "{listed}");
    }

    #[test]
    fn an_example_that_does_not_hold_fails_the_test() {
        let rule = |example: &str| {
            detector(&format!(
                "[{{id: a, keywords: [acme_], pattern: 'acme_[0-9]{{4}}', examples: {{match: [{example}]}}}}]"
            ))
        };
        for (example, code, told) in
            [("acme_4711", ExitCode::SUCCESS, "hold, 0 do not"), ("acme_x", ExitCode::from(1), "a: an example")]
        {
            let mut out = Vec::new();
            let outcome = test(&rule(example), Format::Text, &mut out).unwrap_or_else(|_| panic!("{example}"));
            let text = String::from_utf8(out).unwrap();
            assert!(outcome == code && text.contains(told), "{text}");
        }
    }
}
