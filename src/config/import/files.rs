//! The files that are imported.

use std::io;
use std::path::Path;

use super::super::error::{Problems, quote};
use super::super::files::{SIZE_LIMIT, read_file};
use super::Format;

/// What an abac policy group's file is called.
const POLICY_GROUP: &str = ".policygroup.json";

/// A text to import, with the name it has in reports and comments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As the user would name it.
    pub name: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// Reads the file at `path`, or, where the format has one, all of its files in the directory at `path` in the order of
/// their names. What cannot be read is reported.
pub fn gather(format: Format, path: &Path, problems: &mut Problems) -> Vec<Source> {
    match read(format, path) {
        Ok(sources) => sources,
        Err(error) => {
            let path = quote(&path.display().to_string());
            problems.error(None, format!("cannot read {path}: {}", error.reason)).fix(error.fix);
            Vec::new()
        }
    }
}

struct Unreadable {
    reason: String,
    fix: &'static str,
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::FileTooLarge => Self {
                reason: format!("it is larger than {} MiB", SIZE_LIMIT / 1024 / 1024),
                fix: "check that this is the file you mean",
            },
            _ => Self { reason: error.to_string(), fix: "check the path, and that you may read it" },
        }
    }
}

fn read(format: Format, path: &Path) -> Result<Vec<Source>, Unreadable> {
    let mut room = SIZE_LIMIT;
    if !path.is_dir() {
        let content = read_file(path, &mut room)?;
        return Ok(vec![Source { name: path.display().to_string(), content }]);
    }
    if format != Format::Abac {
        return Err(Unreadable { reason: "it is a directory".to_owned(), fix: "give the file" });
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if text.ends_with(POLICY_GROUP) && !text.starts_with('.') {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(Unreadable {
            reason: format!("there is no `*{POLICY_GROUP}` in it"),
            fix: "give the directory with the policy groups, or the files themselves",
        });
    }
    names.sort();
    let read = names.into_iter().map(|name| {
        let file = path.join(name);
        Ok(Source { name: file.display().to_string(), content: read_file(&file, &mut room)? })
    });
    read.collect()
}
