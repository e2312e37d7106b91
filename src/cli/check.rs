//! `attache check`: what is wrong with a policy, before it is put in force.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use crate::config::compile::{Setting, compile};
use crate::config::{Problems, lint};
use crate::secrets::Environment;
use serde_json::{Value, json};

use super::output::{Format, json_line, printable};
use super::policy_text::{self, ConfigMaps};
use super::{Failure, Outcome};

/// Check policies, and say all that is wrong with them and how to put it right
///
/// Each FILE is a policy of its own: a YAML or JSON file, a directory whose *.yaml and *.yml are read as one, or `-`
/// for stdin. It may be a rendered Kubernetes manifest: its ConfigMaps are read as they would be mounted. Nothing is put
/// in force. Beside errors it looks for what is odd: rules that never match, entries that
/// contradict each other, credentials that no allowed request can use, variables and files that are not there.
///
/// Problems go to stderr as FILE:LINE:COLUMN with their code and the fix, one line on each FILE to stdout;
/// docs/check.md explains every code.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache check policy.yaml
  attache check --strict --no-secrets policy.yaml      in CI, where secrets are not
  kubectl kustomize overlays/prod | attache check --no-secrets -
  attache check -o json policies/*.yaml | jq '.[] | select(.ok | not)'

Exit codes:
  0  every policy can be used; there may be warnings
  2  a policy cannot be read or has an error; with --strict also: there are warnings")]
pub struct Args {
    /// Policies to check, each by itself
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Check as if every caller was this agent, as `up --agent` has it
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,

    /// Check together with the organization's bounds, as `up --organization` has it
    #[arg(long, value_name = "FILE")]
    organization: Option<PathBuf>,

    #[command(flatten)]
    configmaps: ConfigMaps,

    /// Do not look whether the variables and files with secrets are there
    #[arg(long)]
    no_secrets: bool,

    /// Let warnings fail the check too; hints never do
    #[arg(long)]
    strict: bool,

    /// Form of the output; json is one array of {file, ok, revision, problems}
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    let mut out = std::io::stdout().lock();
    let mut checked = Vec::new();
    let mut all_ok = true;
    let environment = (!args.no_secrets).then(Environment::of_process);
    for file in &args.files {
        let looked_at = lint::Setting { environment: environment.as_ref(), now: SystemTime::now() };
        let report = check(file, args.organization.as_deref(), &args.configmaps, args.agent.as_deref(), looked_at)?;
        all_ok &= report.ok() && !(args.strict && report.problems.warnings() > 0);
        match args.output {
            Format::Text => {
                if !report.problems.is_empty() {
                    eprintln!("{}", report.problems);
                }
                writeln!(out, "{}", report.summary())?;
            }
            Format::Json => checked.push(report.json()),
        }
    }
    if args.output == Format::Json {
        writeln!(out, "{}", json_line(&checked)?)?;
    }
    Ok(if all_ok { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

struct Report {
    file: String,
    revision: String,
    problems: Problems,
}

fn check(
    path: &Path,
    organization: Option<&Path>,
    configmaps: &ConfigMaps,
    agent: Option<&str>,
    looked_at: lint::Setting<'_>,
) -> Result<Report, Failure> {
    let (file, draft) = policy_text::read(path, organization, configmaps)?;
    let revision = draft.revision().as_str().to_owned();
    let setting = Setting { agent, environment: None, pod: None };
    let checked = draft.compile(agent, |policy, problems| {
        let compiled = compile(policy, setting, &revision, problems)?;
        // What is wrong comes first: of a policy with mistakes in it, much looks odd that is not.
        if !problems.has_errors() {
            lint::lint(policy, &compiled.rules, looked_at, problems);
        }
        Some(compiled)
    });
    let problems = match checked {
        Ok(accepted) => accepted.warnings,
        Err(problems) => problems,
    };
    Ok(Report { file, revision, problems })
}

impl Report {
    fn ok(&self) -> bool {
        !self.problems.has_errors()
    }

    fn summary(&self) -> String {
        let file = printable(&self.file);
        let warnings = count(self.problems.warnings(), "warning");
        if self.ok() {
            format!("{file}: ok (revision {}, {warnings})", self.revision)
        } else {
            format!("{file}: {}, {warnings}", count(self.problems.errors(), "error"))
        }
    }

    fn json(&self) -> Value {
        let sources = self.problems.sources();
        let problems = self.problems.iter().map(|problem| {
            let (severity, code) = (problem.severity.as_str(), problem.code.as_str());
            let file = problem.at.map(|at| sources.name(at.file));
            let at = problem.at.map(|at| sources.in_file(at));
            let (line, column) = (at.map(|at| at.line), at.map(|at| at.column));
            let (message, fix) = (&problem.message, &problem.fix);
            json!({
                "severity": severity, "code": code, "file": file, "line": line, "column": column, "message": message, "fix": fix,
            })
        });
        let problems: Vec<Value> = problems.collect();
        // Of a policy that cannot be used, it would name nothing that is ever in force.
        let revision = self.ok().then_some(&self.revision);
        json!({"file": self.file, "ok": self.ok(), "revision": revision, "problems": problems})
    }
}

/// `1 error`, `2 errors`.
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn unseen() -> lint::Setting<'static> {
        lint::Setting { environment: None, now: SystemTime::now() }
    }

    fn report(text: &str, agent: Option<&str>) -> Report {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.yaml");
        std::fs::write(&file, text).unwrap();
        let mut report = check(&file, None, &ConfigMaps::default(), agent, unseen()).unwrap();
        report.file = "policy.yaml".into();
        report
    }

    #[test]
    fn a_good_policy_is_named_with_its_revision() {
        let report = report("allowedDomains: [{pattern: api.example.com, action: allow}]\n", None);
        assert!(report.ok(), "{}", report.problems);
        let summary = format!("policy.yaml: ok (revision {}, 0 warnings)", report.revision);
        assert_eq!(report.summary(), summary);
        let json = report.json();
        assert_eq!((&json["revision"], &json["problems"]), (&json!(report.revision), &json!([])));
    }

    #[test]
    fn a_problem_says_where_it_is() {
        let report = report("allowDomains: []\n", None);
        assert_eq!(report.summary(), "policy.yaml: 1 error, 0 warnings");
        let json = report.json();
        assert_eq!((&json["ok"], &json["revision"]), (&json!(false), &Value::Null));
        let problem = &json["problems"][0];
        assert_eq!(
            (&problem["severity"], &problem["line"], &problem["column"]),
            (&json!("error"), &json!(1), &json!(1))
        );
        assert!(problem["fix"].as_str().unwrap().contains("allowedDomains"));
    }

    #[test]
    fn a_policy_that_is_not_there_is_an_error_and_so_is_an_agent_it_lacks() {
        let missing =
            check(Path::new("/nonexistent/policy.yaml"), None, &ConfigMaps::default(), None, unseen()).unwrap();
        assert!(!missing.ok());
        let hash = "0".repeat(64);
        let listed =
            format!("allowedDomains: []\nagents: {{ann: {{identity: [{{token: {{sha256: \"{hash}\"}}}}]}}}}\n");
        let of_another = report(&listed, Some("bob"));
        assert!(of_another.problems.to_string().contains("bob"), "{}", of_another.problems);
        assert!(!of_another.ok());
        let of_one = report(&listed, Some("ann"));
        assert!(of_one.ok(), "{}", of_one.problems);
    }

    #[test]
    fn warnings_fail_only_where_they_are_to_and_hints_never() {
        let folder = tempfile::tempdir().unwrap();
        let code = |text: &str, more: &[&str]| {
            let file = folder.path().join("policy.yaml");
            std::fs::write(&file, text).unwrap();
            let words = ["check", file.to_str().unwrap()].into_iter().chain(more.iter().copied());
            let Command { args } = clap::Parser::try_parse_from(words).unwrap();
            format!("{:?}", run(args).unwrap())
        };
        let [fine, wrong] = [0, 2].map(|code| format!("{:?}", ExitCode::from(code)));
        let odd = "allowedDomains: [a.example]\nblockedDomains: [a.example]\n";
        assert_eq!((code(odd, &[]), code(odd, &["--strict"])), (fine.clone(), wrong.clone()));
        let hint = "allowedDomains: ['*.a.example']\n";
        assert_eq!(code(hint, &["--strict"]), fine);
        let secret = "allowedDomains: [a.example]\ncredentials: [{name: k, file: gone, injections: [{domain: a.example, queryParam: k}]}]";
        assert_eq!((code(secret, &["--strict"]), code(secret, &["--strict", "--no-secrets"])), (wrong, fine));
    }

    #[test]
    fn a_finding_has_its_code() {
        let json = report("allowedDomains: [a.example]\nblockedDomains: [a.example]\n", None).json();
        let problem = &json["problems"][0];
        assert_eq!((&problem["severity"], &problem["code"]), (&json!("warning"), &json!("contradiction")));
        assert_eq!(json["ok"], json!(true));
    }
}
