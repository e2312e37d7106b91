//! Policies of other systems, read as what they say and written as policies of this one.
//!
//! ```text
//! sources ─► read (yaml) ─► one module a format ─► document ─► policy text, checked by our own reader
//! ```
//!
//! What cannot be said exactly in this language is refused with the reason; what is said but comes out otherwise than
//! its author may expect is a warning. Sources hold secrets: no line of theirs is shown in a report, and no value of
//! a place where one belongs.

mod abac;
mod credentials_v2;
mod document;
mod files;
mod first_match;
mod gitleaks;
mod oktsec;
mod onecli;
mod read;

use super::compile::{Setting, compile};
use super::error::{Problems, Span};
use super::yaml::Node;

pub use files::{Source, gather};

/// Whose policy is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `*.policygroup.json`: a proxy token, and for each API its routes.
    Abac,
    /// `forward_proxy` and `agents.*.egress` of oktsec's YAML.
    Oktsec,
    /// `credentials_v2`: keys of services with endpoint rules.
    CredentialsV2,
    /// The rules that onecli's API lists.
    Onecli,
}

/// What an import is told beside its sources.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Import although the source scans for what has no counterpart here.
    pub without_dlp: bool,
    /// The names of agents that the source knows by other ones, as pairs of theirs and ours.
    pub agents: &'a [(String, String)],
    /// What the source does with requests that no rule is about, where the source itself does not say.
    pub mode: Option<PolicyMode>,
    /// Where a well-known service is; `None`: there is no such service.
    pub place_of: &'a dyn Fn(&str) -> Option<Place>,
}

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its host patterns; none where every customer has a host of its own.
    pub hosts: Vec<String>,
    /// The pattern of the paths that are its; `None`: all.
    pub path: Option<String>,
}

/// What happens to a request that no rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyMode {
    /// It passes.
    Allow,
    /// It does not.
    Deny,
}

/// What an import came to.
#[derive(Debug)]
pub struct Imported {
    /// The policy, with comments that tell where its parts come from.
    pub policy: String,
    /// What a person should look at before using it.
    pub warnings: Problems,
}

/// Imports `sources` as one policy.
///
/// What it gives out has been read and compiled by this version: an import that would not load is refused.
pub fn import(format: Format, sources: Vec<Source>, options: &Options<'_>) -> Result<Imported, Problems> {
    checked(draft(format, sources, options)?)
}

/// An import that would not load is refused.
fn checked(imported: Imported) -> Result<Imported, Problems> {
    let name = "the imported policy";
    let accepted = super::parse(name, &imported.policy).compile(None, |policy, problems| {
        compile(policy, Setting { agent: None, environment: None, pod: None }, name, problems)
    });
    match accepted {
        Ok(_) => Ok(imported),
        Err(problems) => Err(problems),
    }
}

/// Imports the rules of gitleaks' TOML as the `dlp.rules` of a policy, held to the same.
pub fn import_gitleaks(source: Source) -> Result<Imported, Problems> {
    let mut problems = Problems::default();
    let name = std::path::Path::new(&source.name);
    let name = name.file_name().map_or_else(|| source.name.clone(), |name| name.to_string_lossy().into());
    let policy = gitleaks::convert(&source.name, source.content, &mut problems);
    // What a list lets pass may be a secret that somebody got used to.
    hide_all(&mut problems);
    let Some(policy) = policy.filter(|_| !problems.has_errors()) else { return Err(problems) };
    let heading = [
        format!("Imported by `attache dlp import --from gitleaks` from {name}."),
        "Read it before you use it, and the warnings that came with it.".to_owned(),
    ];
    checked(Imported { policy: document::write(&heading, &policy), warnings: problems })
}

/// The policy as the format's module writes it, not yet read by anyone.
fn draft(format: Format, sources: Vec<Source>, options: &Options<'_>) -> Result<Imported, Problems> {
    let mut problems = Problems::default();
    let roots = read_all(format, sources, &mut problems);
    let policy = match format {
        Format::Abac => abac::convert(&roots, &mut problems),
        Format::Oktsec => oktsec::convert(&roots, options, &mut problems),
        Format::CredentialsV2 => credentials_v2::convert(&roots, options, &mut problems),
        Format::Onecli => onecli::convert(&roots, options, &mut problems),
    };
    // A line of the source may have a secret in it, wherever the mistake is.
    hide_all(&mut problems);
    match policy {
        Some(policy) if !problems.has_errors() => {
            let names: Vec<_> = roots.iter().map(|root| root.name.as_str()).collect();
            let heading = [
                format!("Imported by `attache import --from {}` from {}.", format.name(), names.join(", ")),
                "Read it before you use it, and the warnings that came with it.".to_owned(),
            ];
            Ok(Imported { policy: document::write(&heading, &policy), warnings: problems })
        }
        _ => {
            if !problems.has_errors() {
                problems.error(None, "nothing could be imported, and nothing says why");
            }
            Err(problems)
        }
    }
}

/// Keeps every line that something is said about out of the report.
fn hide_all(problems: &mut Problems) {
    let places: Vec<Span> = problems.iter().filter_map(|problem| problem.at).collect();
    for place in places {
        problems.hide(place);
    }
}

impl Format {
    /// As the command line names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Abac => "abac",
            Self::Oktsec => "oktsec",
            Self::CredentialsV2 => "credentials-v2",
            Self::Onecli => "onecli",
        }
    }
}

/// A source that could be read.
struct Root {
    /// As comments name it.
    name: String,
    node: Node,
}

fn read_all(format: Format, sources: Vec<Source>, problems: &mut Problems) -> Vec<Root> {
    let one_only = matches!(format, Format::Oktsec | Format::CredentialsV2);
    if one_only && sources.len() > 1 {
        problems
            .error(None, format!("{} sources of this format do not add up to one policy", sources.len()))
            .fix("import each by itself");
    }
    sources.into_iter().filter_map(|source| read::root(source, problems)).collect()
}

#[cfg(test)]
mod tests;
