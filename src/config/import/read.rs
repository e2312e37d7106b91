//! What the formats have in common: how a source becomes a tree, and the parts its values are read with.

use std::path::Path;

use super::super::decode::{Fields, mismatch};
use super::super::error::{Problem, Problems, Severity, Spanned};
use super::super::files::File;
use super::super::schema::Name;
use super::super::yaml::{self, Kind, Node, Value};
use super::{Root, Source};

/// Reads a source, JSON or YAML.
pub fn root(source: Source, problems: &mut Problems) -> Option<Root> {
    let name = Path::new(&source.name).file_name().map_or_else(|| source.name.clone(), |n| n.to_string_lossy().into());
    let file = super::super::add_source(File::new(source.name, source.content), problems)?;
    // The reader quotes the text it stumbles over, which may be a secret: its reports are taken down apart.
    let mut reading = Problems::new(problems.sources().clone());
    let node = yaml::parse(file, &mut reading);
    let sound = !reading.has_errors();
    for problem in reading.iter() {
        discreetly(problem, problems);
    }
    Some(Root { name, node: node.filter(|_| sound)? })
}

/// Passes a report on without what it quotes.
fn discreetly(problem: &Problem, problems: &mut Problems) {
    let message = match (problem.message.find('`'), problem.message.rfind('`')) {
        (Some(from), Some(to)) => {
            let before = problem.message.get(..from).unwrap_or_default();
            let after = problem.message.get(to + 1..).unwrap_or_default();
            format!("{before}`…`{after}")
        }
        _ => problem.message.clone(),
    };
    let report = match problem.severity {
        Severity::Error => problems.error(problem.at, message),
        Severity::Warning => problems.warning(problem.at, message),
        Severity::Hint => problems.hint(problem.at, message),
    };
    report.fix("put it right in the source; the text is not shown, since it may hold secrets");
}

/// A text that may be empty. `what` names it with its article.
pub fn any_text(what: &'static str) -> impl Fn(&Node, &mut Problems) -> Option<Spanned<String>> {
    move |node, problems| match &node.value {
        Value::Scalar(scalar) if scalar.kind() == Kind::String => {
            Some(Spanned { value: scalar.text.clone(), span: node.span })
        }
        _ => mismatch(node, what, problems),
    }
}

/// The value of `name`, where `null` is the same as leaving it out.
pub fn nullable<T>(
    fields: &mut Fields<'_, '_>,
    name: &'static str,
    decode: impl Fn(&Node, &mut Problems) -> Option<T>,
) -> Option<T> {
    let read = fields.optional(name, |node, problems| match node.kind() {
        Some(Kind::Null) => Some(None),
        _ => decode(node, problems).map(Some),
    });
    read.flatten()
}

/// Takes keys that say nothing of what may go out, whatever their value.
pub fn skip(fields: &mut Fields<'_, '_>, names: &[&'static str]) {
    for name in names {
        fields.optional(name, |_, _| Some(()));
    }
}

/// Takes keys that are left out, each with a warning that gives the `reason`.
pub fn leave_out(fields: &mut Fields<'_, '_>, names: &[&'static str], reason: &str, fix: &str) {
    for name in names {
        fields.optional(name, |node, problems| {
            problems.warning(node.span, format!("`{name}` is left out: {reason}")).fix(fix);
            Some(())
        });
    }
}

/// Takes keys that restrict in a way that cannot be said here: the import is refused.
pub fn refuse(fields: &mut Fields<'_, '_>, names: &[&'static str], reason: &str, fix: &str) {
    for name in names {
        fields.optional::<()>(name, |node, problems| {
            problems.error(node.span, format!("`{name}` cannot be imported: {reason}")).fix(fix);
            None
        });
    }
}

/// The nearest text that can name an agent or a credential here and is not among those `taken`.
pub fn name(text: &str, taken: &[String]) -> String {
    let mut name: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(48)
        .collect();
    name.truncate(name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).len());
    if name == "all" || Name::parse(&name).is_err() {
        name = "imported".to_owned();
    }
    let free = |name: &str| !taken.iter().any(|other| other == name);
    if free(&name) {
        return name;
    }
    let numbered = (2_u32..).map(|number| format!("{name}-{number}"));
    numbered.into_iter().find(|name| free(name)).unwrap_or(name)
}
