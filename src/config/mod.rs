//! Policy text becomes a policy, or a list of all that is wrong with it.
//!
//! ```text
//! read(path) ─► Draft ─► Draft::compile(…) ─► Accepted { value, warnings, revision }
//!                                         └─► Problems, each with file:line:column and the fix
//! ```
//!
//! A [`Draft`] holds whatever could be decoded, so that the compiler too can report what it
//! finds; it is given out only where nothing is wrong with it.

pub mod cases;
pub mod catalogue;
pub mod code;
pub mod compile;
pub mod decode;
pub mod describe;
pub mod diff;
pub mod error;
mod facts;
mod files;
pub mod fmt;
pub mod import;
pub mod lint;
mod manifest;
pub mod mounted;
pub mod schema;
pub mod shape;
pub mod watch;
pub mod yaml;

use std::collections::HashMap;
use std::path::Path;

pub use code::Code;
pub use error::{Problem, Problems, Severity, Sources, Span, Spanned};
pub use files::{Origin, Revision};
pub use schema::Policy;

use decode::mismatch;
use error::quote;
use files::File;
use yaml::{Key, Node, Value};

/// Reads a policy: one YAML or JSON file, or a directory whose `*.yaml` and `*.yml`
/// are read as one (in a mounted ConfigMap: as one snapshot); and the organization's bounds, where they have a file.
///
/// Never fails by itself: what is wrong comes out of [`Draft::compile`].
pub fn read(origin: &Origin) -> Draft {
    let mut problems = Problems::default();
    let files = files::gather_all(origin, &mut problems);
    draft(files, problems)
}

/// Reads a policy that is not in a file; `name` stands for it in positions.
pub fn parse(name: &str, text: &str) -> Draft {
    draft(vec![File::of_text(name, text)], Problems::default())
}

/// Reads a policy that may also be a rendered Kubernetes manifest: of its ConfigMaps those in `configmaps` (`NAME` or
/// `NAMESPACE/NAME`), or, without any, those whose name begins with `attache-policy`.
pub fn read_deployed(origin: &Origin, configmaps: &[String]) -> Draft {
    let mut problems = Problems::default();
    let mut files = files::gather(&origin.policy, &mut problems);
    if !origin.policy.is_dir() || !configmaps.is_empty() {
        files = files.into_iter().flat_map(|file| manifest::unpacked(file, configmaps, &mut problems)).collect();
    }
    files.extend(origin.organization.iter().flat_map(|path| files::gather_bounds(path, &mut problems)));
    draft(files, problems)
}

/// The same for a policy that is not in a file; `name` stands for it in positions.
pub fn parse_deployed(name: &str, text: &str, organization: Option<&Path>, configmaps: &[String]) -> Draft {
    let mut problems = Problems::default();
    let mut files = manifest::unpacked(File::of_text(name, text), configmaps, &mut problems);
    files.extend(organization.into_iter().flat_map(|path| files::gather_bounds(path, &mut problems)));
    draft(files, problems)
}

/// A policy that has been read and not yet been found free of errors.
#[derive(Debug)]
pub struct Draft {
    policy: Option<Policy>,
    problems: Problems,
    revision: Revision,
}

/// What came of a policy without errors.
#[derive(Debug)]
pub struct Accepted<T> {
    /// What the compiler made of it.
    pub value: T,
    /// No errors, perhaps warnings.
    pub warnings: Problems,
    /// Which text it was.
    pub revision: Revision,
}

impl Draft {
    /// Checks what entries say of each other, has `compile` make its own of the policy, and
    /// returns that if neither they nor reading found an error.
    ///
    /// `fixed_agent` is who the caller is when the command line says so. `compile` adds to the
    /// problems it is given; it is called for a policy with errors as well, in which the wrong
    /// entries are missing, so that its problems are reported together with the others.
    pub fn compile<T>(
        mut self,
        fixed_agent: Option<&str>,
        compile: impl FnOnce(&Policy, &mut Problems) -> Option<T>,
    ) -> Result<Accepted<T>, Problems> {
        let value = self.policy.as_ref().and_then(|policy| {
            policy.check_references(fixed_agent, &mut self.problems);
            compile(policy, &mut self.problems)
        });
        if self.problems.has_errors() {
            return Err(self.problems);
        }
        match value {
            Some(value) => Ok(Accepted { value, warnings: self.problems, revision: self.revision }),
            None => {
                self.problems.error(None, "the policy could not be compiled, and nothing says why");
                Err(self.problems)
            }
        }
    }

    /// Which text it is.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }
}

fn draft(files: Vec<File>, mut problems: Problems) -> Draft {
    let revision = Revision::of(&files);
    // With a file missing, what the others refer to may be in it: only they themselves count.
    let mut whole = !problems.has_errors();
    let mut roots = Vec::new();
    let has_bounds = files.iter().any(|file| file.bounds);
    for file in files {
        let bounds = file.bounds;
        let root = add_source(file, &mut problems).and_then(|file| yaml::parse(file, &mut problems));
        match root {
            Some(root) if matches!(root.value, Value::Mapping(_)) => {
                if has_bounds {
                    check_bounds(&root, bounds, &mut problems);
                }
                roots.push(root);
            }
            Some(root) => whole &= mismatch::<()>(&root, "a policy, which is a mapping", &mut problems).is_some(),
            None => whole = false,
        }
    }
    let policy = merge(roots, &mut problems).and_then(|root| Policy::decode(&root, &mut problems));
    Draft { policy: policy.filter(|_| whole), problems, revision }
}

/// Where the organization's bounds have a file of their own, they are there and nowhere else, and nothing else is there.
fn check_bounds(root: &Node, bounds: bool, problems: &mut Problems) {
    let Value::Mapping(entries) = &root.value else { return };
    for (key, _) in entries.iter().filter(|(key, _)| key.text != "version" && (key.text == "organization") != bounds) {
        let (message, fix) = match bounds {
            true => (
                format!("{} has no place in the organization's file", quote(&key.text)),
                "put it under `organization:`, or into the policy",
            ),
            false => (
                "`organization` has a file of its own (`--organization`), and counts nowhere else".to_owned(),
                "remove it here, or move it to that file",
            ),
        };
        problems.error(key.span, message).fix(fix);
    }
    if bounds && !entries.iter().any(|(key, _)| key.text == "organization") {
        problems
            .error(root.span, "the organization's file says nothing: it has no `organization`")
            .fix("write the bounds under `organization:`");
    }
}

/// Takes a file's bytes as text, without its byte order mark. `None`: not UTF-8.
fn add_source(file: File, problems: &mut Problems) -> Option<u32> {
    let sources = problems.sources_mut();
    let error = match String::from_utf8(file.content) {
        Ok(text) => {
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            return Some(sources.add_within(file.name, text, file.offset));
        }
        Err(error) => error,
    };
    let bytes = error.as_bytes();
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let good = bytes.get(..error.utf8_error().valid_up_to()).unwrap_or_default();
    let good = String::from_utf8_lossy(good);
    let byte = bytes.get(good.len()).copied().unwrap_or_default();
    let column = good.rsplit(['\n', '\r']).next().unwrap_or_default().chars().count() + 1;
    let file = sources.add(file.name, good);
    let at = Span { file, line: sources.last_line(file), column: u32::try_from(column).unwrap_or(u32::MAX), length: 1 };
    let message = if utf16 { "the file is UTF-16".to_owned() } else { format!("the byte 0x{byte:02x} is not UTF-8") };
    problems.error(at, message).fix("save the file as UTF-8");
    None
}

/// Puts the files' mappings (nothing else gets here) together: lists and mappings of the same name add up; a name inside
/// such a mapping, and a single value, may be given only once.
fn merge(roots: Vec<Node>, problems: &mut Problems) -> Option<Node> {
    let mut roots = roots.into_iter();
    let mut merged = roots.next()?;
    for root in roots {
        add_up(&mut merged.value, root.value, problems, |all, key, node, problems| {
            // Each file may say which language it is in.
            if let ("version", Value::Scalar(one), Value::Scalar(other)) = (&*key.text, &all.value, &node.value)
                && one.text == other.text
            {
                return Ok(());
            }
            let mixed = !matches!(
                (&all.value, &node.value),
                (Value::Sequence(_), Value::Sequence(_)) | (Value::Mapping(_), Value::Mapping(_))
            );
            if mixed {
                return Err(key);
            }
            add_up(&mut all.value, node.value, problems, |_, key, _, _| Err(key));
            Ok(())
        });
    }
    Some(merged)
}

/// Adds `more` to `all`, lists to lists and mappings to mappings. `both` deals with a name that
/// is in both; `Err` says that it may be only in one.
fn add_up(
    all: &mut Value,
    more: Value,
    problems: &mut Problems,
    both: impl Fn(&mut Node, Key, Node, &mut Problems) -> Result<(), Key>,
) {
    match (all, more) {
        (Value::Sequence(all), Value::Sequence(more)) => all.extend(more),
        (Value::Mapping(all), Value::Mapping(more)) => {
            let known: HashMap<String, usize> =
                all.iter().enumerate().map(|(index, (key, _))| (key.text.clone(), index)).collect();
            for (key, node) in more {
                match known.get(&key.text).and_then(|index| all.get_mut(*index)) {
                    Some((earlier, value)) => {
                        if let Err(key) = both(value, key, node, problems) {
                            twice(earlier, &key, problems);
                        }
                    }
                    None => all.push((key, node)),
                }
            }
        }
        _ => {}
    }
}

fn twice(earlier: &Key, key: &Key, problems: &mut Problems) {
    let place = problems.place(earlier.span);
    problems
        .error(key.span, format!("{} is given in two files; first at {place}", quote(&key.text)))
        .fix("keep one of them");
}

#[cfg(test)]
mod tests;
