mod abac;
mod credentials_v2;
mod gitleaks;
mod oktsec;
mod onecli;
mod round_trip;
mod sources;

use super::super::error::Severity;
use super::*;

/// A few services: one that has a host to itself, one that shares it, one whose hosts are the customer's.
fn catalogue(service: &str) -> Option<Place> {
    let (hosts, path) = match service {
        "openai" => (vec!["api.openai.com"], None),
        "github" => (vec!["api.github.com", "uploads.github.com"], None),
        "gitlab" => (vec!["gitlab.com"], Some("/api/**".to_owned())),
        "gitlab-pages" => (vec!["gitlab.com"], Some("/pages/**".to_owned())),
        "gitlab-all" => (vec!["gitlab.com"], None),
        "jira" => (Vec::new(), None),
        _ => return None,
    };
    Some(Place { hosts: hosts.into_iter().map(str::to_owned).collect(), path })
}

fn options() -> Options<'static> {
    Options { without_dlp: false, agents: &[], mode: None, place_of: &|service| catalogue(service) }
}

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), content: text.as_bytes().to_vec() }
}

/// The policy's text and what was warned about.
fn imported(format: Format, sources: &[(&str, &str)], options: &Options<'_>) -> (String, Vec<String>) {
    let sources = sources.iter().map(|(name, text)| source(name, text)).collect();
    match draft(format, sources, options) {
        Ok(imported) => (imported.policy, brief(&imported.warnings)),
        Err(problems) => panic!("refused:\n{problems}"),
    }
}

/// Why it is refused; a policy is a failed test.
fn refused(format: Format, sources: &[(&str, &str)], options: &Options<'_>) -> Problems {
    let sources = sources.iter().map(|(name, text)| source(name, text)).collect();
    match draft(format, sources, options) {
        Ok(imported) => panic!("imported:\n{}", imported.policy),
        Err(problems) => problems,
    }
}

/// `line:column message` of each problem, warnings marked as such.
fn brief(problems: &Problems) -> Vec<String> {
    let line = |problem: &crate::config::Problem| {
        let place = problem.at.map(|at| format!("{}:{} ", at.line, at.column)).unwrap_or_default();
        let warning = if problem.severity == Severity::Warning { "warning: " } else { "" };
        format!("{place}{warning}{}", problem.message)
    };
    problems.iter().map(line).collect()
}

/// Compares texts so that a difference can be read.
#[track_caller]
fn same(actual: &str, expected: &str) {
    let first = actual.lines().zip(expected.lines()).position(|(a, b)| a != b);
    let line = first.unwrap_or_else(|| actual.lines().count().min(expected.lines().count())) + 1;
    assert!(actual == expected, "from line {line} on:\n--- is\n{actual}\n--- should be\n{expected}");
}
