//! `attache import`: policies of other systems as policies of this one.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::import::{self, Options, Place, PolicyMode, Source};
use crate::config::{Problems, catalogue};

use super::{Failure, Outcome};

/// Turn another system's policy into one of this
///
/// The policy goes to stdout, with comments that tell where each part comes from; what changes its meaning, and what has
/// to be looked at, goes to stderr as FILE:LINE:COLUMN. What cannot be said exactly is refused with the reason.
///
/// Secrets in the source are never printed: tokens of agents become their SHA-256, keys of services the name of a
/// variable.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache import --from abac policies/ > policy.yaml
  attache import --from oktsec oktsec.yaml > policy.yaml
  curl -s $ONECLI/rules | attache import --from onecli --agent cm4x…=research-agent - > policy.yaml

Exit codes:
  0  the policy is on stdout; there may be warnings
  2  a source cannot be read, or says what cannot be imported")]
pub struct Args {
    /// What the sources are
    #[arg(long, value_enum, value_name = "FORMAT")]
    from: Format,

    /// Files to import as one policy; for abac also directories of *.policygroup.json; `-` is stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Import although some categories that the source blocks have no counterpart here (oktsec)
    #[arg(long)]
    without_dlp: bool,

    /// The name of an agent that the source knows by an id (onecli); can be repeated
    #[arg(long = "agent", value_name = "ID=NAME", value_parser = pair)]
    agents: Vec<(String, String)>,

    /// What passes that no rule is about: the organization's policy mode, which its rules do not say (onecli)
    #[arg(long, value_enum, value_name = "MODE")]
    policy_mode: Option<Mode>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// Policy groups: *.policygroup.json
    Abac,
    /// The egress settings of oktsec.yaml
    Oktsec,
    /// JSON with `credentials_v2` or `credentials` in it
    CredentialsV2,
    /// The rules that `GET /rules` of onecli's API lists
    Onecli,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Mode {
    /// Everything
    Allow,
    /// Nothing
    Deny,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    let format = match args.from {
        Format::Abac => import::Format::Abac,
        Format::Oktsec => import::Format::Oktsec,
        Format::CredentialsV2 => import::Format::CredentialsV2,
        Format::Onecli => import::Format::Onecli,
    };
    let mut problems = Problems::default();
    let mut sources = Vec::new();
    for file in &args.files {
        match file == Path::new("-") {
            true => sources.push(stdin()?),
            false => sources.extend(import::gather(format, file, &mut problems)),
        }
    }
    if problems.has_errors() {
        return refused(&problems);
    }
    let options = Options {
        without_dlp: args.without_dlp,
        agents: &args.agents,
        mode: args.policy_mode.map(|mode| match mode {
            Mode::Allow => PolicyMode::Allow,
            Mode::Deny => PolicyMode::Deny,
        }),
        place_of: &|service| place_of(service),
    };
    match import::import(format, sources, &options) {
        Ok(imported) => {
            if !imported.warnings.is_empty() {
                eprintln!("{}", imported.warnings);
            }
            std::io::stdout().lock().write_all(imported.policy.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => refused(&problems),
    }
}

fn refused(problems: &Problems) -> Outcome {
    eprintln!("{problems}");
    Ok(ExitCode::from(2))
}

fn stdin() -> Result<Source, Failure> {
    let mut content = Vec::new();
    match std::io::stdin().lock().read_to_end(&mut content) {
        Ok(_) => Ok(Source { name: "<stdin>".to_owned(), content }),
        Err(error) => Err(Failure::usage(format!("the source on stdin cannot be read: {error}"))),
    }
}

/// Where a well-known service is.
fn place_of(service: &str) -> Option<Place> {
    let (_, known) = catalogue::built_in().iter().find(|(name, _)| *name == service)?;
    let hosts = known.hosts.iter().map(ToString::to_string).collect();
    Some(Place { hosts, path: known.written_path.clone() })
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((id, name)) if !id.is_empty() && !name.is_empty() => Ok((id.to_owned(), name.to_owned())),
        _ => Err("write the source's id and the name here, as in `cm4x=research-agent`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_of_the_catalogue_can_be_imported() {
        let mut imported = 0;
        for (name, service) in catalogue::built_in().iter() {
            let text = format!(
                r#"{{"credentials_v2": {{"{name}": {{"key": "hunter2", "endpoints": [{{"methods": [], "paths": ["/"]}}]}}}}}}"#
            );
            let source = Source { name: "sandbox.json".to_owned(), content: text.into_bytes() };
            let options =
                Options { without_dlp: false, agents: &[], mode: None, place_of: &|service| place_of(service) };
            match import::import(import::Format::CredentialsV2, vec![source], &options) {
                Ok(import) => assert!(!service.hosts.is_empty(), "{name}: {}", import.policy),
                Err(problems) => assert!(service.hosts.is_empty(), "{name}: {problems}"),
            }
            imported += usize::from(!service.hosts.is_empty());
        }
        assert!(imported > 40, "{imported}");
    }

    #[test]
    fn an_agents_name_is_given_as_a_pair() {
        assert_eq!(pair("cm4x=research=agent"), Ok(("cm4x".to_owned(), "research=agent".to_owned())));
        for wrong in ["cm4x", "=name", "cm4x="] {
            assert!(pair(wrong).is_err(), "{wrong}");
        }
    }
}
