//! `attache dlp rules`: what is looked for.

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use super::PolicyArgs;
use crate::cli::Outcome;
use crate::cli::output::{Format, json_line};
use crate::pipeline::dlp::detector::Detector;
use crate::pipeline::dlp::rule::{Rule, Severity};

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
    let (dlp, _) = args.policy.read(None)?;
    let mut out = std::io::stdout().lock();
    if args.what == Some(What::Test) {
        return test(&dlp.detector, args.output, &mut out);
    }
    let rules = dlp.detector.rules();
    match args.output {
        Format::Text => write!(out, "{}", table(rules.iter().map(|rule| &**rule)))?,
        Format::Json => {
            let rules: Vec<_> = rules.iter().map(|rule| object(rule)).collect();
            writeln!(out, "{}", json_line(&rules)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn test(detector: &Detector, output: Format, out: &mut dyn Write) -> Outcome {
    let broken = detector.broken_examples();
    let rules = detector.rules();
    let examples = rules.iter().map(|rule| &rule.source.examples);
    let tried: usize = examples.map(|examples| examples.matches.len() + examples.no_match.len()).sum();
    match output {
        Format::Text => {
            for (rule, error) in &broken {
                writeln!(out, "{rule}: {error}")?;
            }
            let held = tried - broken.len();
            writeln!(out, "{} rules, {tried} examples: {held} hold, {} do not", rules.len(), broken.len())?;
        }
        Format::Json => {
            let errors = broken.iter().map(|(rule, error)| json!({"rule": **rule, "error": error.to_string()}));
            let report = json!({"rules": rules.len(), "examples": tried, "broken": errors.collect::<Vec<_>>()});
            writeln!(out, "{}", json_line(&report)?)?;
        }
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn table<'r>(rules: impl Iterator<Item = &'r Rule>) -> String {
    let head = ["ID", "CATEGORY", "SEVERITY", "CONFIDENCE", "SERVICE"].map(str::to_owned);
    let mut rows = vec![head];
    rows.extend(rules.map(|rule| {
        let service = if rule.source.service.is_empty() { "-" } else { &rule.source.service };
        [
            rule.source.id.clone(),
            rule.category.to_string(),
            severity(rule.source.severity).to_owned(),
            rule.confidence.base.as_str().to_owned(),
            service.to_owned(),
        ]
    }));
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn object(rule: &Rule) -> serde_json::Value {
    json!({
        "id": rule.source.id,
        "category": rule.category.to_string(),
        "service": rule.source.service,
        "severity": severity(rule.source.severity),
        "confidence": rule.confidence.base.as_str(),
        "reach": format!("{:?}", rule.source.reach).to_lowercase(),
        "keywords": rule.source.keywords,
        "source": rule.source.source,
    })
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

    fn detector(rules: &str) -> Detector {
        let sources: Vec<crate::pipeline::dlp::rule::RuleSource> = serde_yaml::from_str(rules).unwrap();
        Detector::new(sources.into_iter().map(|source| Arc::new(Rule::new(source).unwrap())).collect()).unwrap()
    }

    #[test]
    fn rules_are_listed_with_what_they_find() {
        let detector = detector(
            "[{id: acme-key, service: Acme, keywords: [acme_], pattern: 'acme_[0-9]{4}'}, {id: b, category: custom.b, severity: low, keywords: [bbb], pattern: 'bbb[0-9]'}]",
        );
        assert_eq!(
            table(detector.rules().iter().map(|rule| &**rule)),
            "ID        CATEGORY     SEVERITY  CONFIDENCE  SERVICE\n\
             acme-key  credentials  high      high        Acme\n\
             b         custom.b     low       high        -\n"
        );
    }

    #[test]
    fn an_example_that_does_not_hold_fails_the_test() {
        let rule = |example: &str| {
            detector(&format!(
                "[{{id: a, keywords: [acme_], pattern: 'acme_[0-9]{{4}}', examples: {{match: [{example}]}}}}]"
            ))
        };
        for (example, code, told) in
            [("acme_4711", ExitCode::SUCCESS, "1 hold, 0 do not"), ("acme_x", ExitCode::from(1), "a: an example")]
        {
            let mut out = Vec::new();
            let outcome = test(&rule(example), Format::Text, &mut out).unwrap_or_else(|_| panic!("{example}"));
            let text = String::from_utf8(out).unwrap();
            assert!(outcome == code && text.contains(told), "{text}");
        }
    }
}
