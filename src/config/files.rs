//! The files a policy is made of, and which version of them was read.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::{Offset, Problems, quote};

/// Most bytes of policy text that are read, all files together.
pub const SIZE_LIMIT: u64 = 8 * 1024 * 1024;

/// One file of a policy, as it was on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// As the user would name it.
    pub name: String,
    pub content: Vec<u8>,
    /// True for the organization's own file.
    pub bounds: bool,
    /// What it is called in its directory, where that is not the end of its name.
    pub key: Option<String>,
    /// Where it begins in what is called `name`.
    pub offset: Offset,
}

impl File {
    /// A text that is no part of anything.
    pub fn of_text(name: &str, text: &str) -> Self {
        Self::new(name.to_owned(), text.as_bytes().to_vec())
    }

    /// A file as a whole.
    pub fn new(name: String, content: Vec<u8>) -> Self {
        Self { name, content, bounds: false, key: None, offset: Offset::default() }
    }

    /// What it is called in its directory.
    fn key(&self) -> &[u8] {
        let end = || Path::new(&self.name).file_name().unwrap_or_default().as_encoded_bytes();
        self.key.as_ref().map_or_else(end, |key| key.as_bytes())
    }
}

/// Where a policy is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// A file, or a directory of them.
    pub policy: PathBuf,
    /// Where `organization` is kept when it has a file of its own: then it may stand nowhere else.
    pub organization: Option<PathBuf>,
}

impl Origin {
    /// A policy with everything in it.
    pub fn of(policy: &Path) -> Self {
        Self { policy: policy.to_owned(), organization: None }
    }
}

/// Which text a policy was read from: the first 12 hexadecimal digits of its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Revision(String);

impl Revision {
    pub(super) fn of(files: &[File]) -> Self {
        let mut hash = Sha256::new();
        match files {
            [only] => hash.update(&only.content),
            files => {
                for file in files {
                    // A mounted ConfigMap is the same policy as the manifest, wherever it is mounted.
                    for part in [file.key(), &file.content] {
                        hash.update(part.len().to_le_bytes());
                        hash.update(part);
                    }
                }
            }
        }
        Self(hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the files of a policy, and what of them cannot be read is reported.
pub(super) fn gather_all(origin: &Origin, problems: &mut Problems) -> Vec<File> {
    let mut files = gather(&origin.policy, problems);
    files.extend(origin.organization.iter().flat_map(|path| gather_bounds(path, problems)));
    files
}

/// Reads the organization's own file.
pub(super) fn gather_bounds(path: &Path, problems: &mut Problems) -> Vec<File> {
    gather(path, problems).into_iter().map(|file| File { bounds: true, ..file }).collect()
}

/// Reads the file at `path`, or all policy files of the directory at `path`, in the order of
/// their names. What cannot be read is reported.
pub(super) fn gather(path: &Path, problems: &mut Problems) -> Vec<File> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => gather_directory(path, problems),
        Ok(metadata) if metadata.is_file() => {
            let mut room = SIZE_LIMIT;
            match read_file(path, &mut room) {
                Ok(content) => vec![File::new(path.display().to_string(), content)],
                Err(error) => {
                    report(path, &error, problems);
                    Vec::new()
                }
            }
        }
        Ok(_) => {
            problems
                .error(None, format!("{} is neither a file nor a directory", shown(path)))
                .fix("write the policy to a file and give its path");
            Vec::new()
        }
        Err(error) => {
            report(path, &error, problems);
            Vec::new()
        }
    }
}

fn gather_directory(path: &Path, problems: &mut Problems) -> Vec<File> {
    // kubelet removes the old snapshot right after it points `..data` to the new one.
    const ATTEMPTS: usize = 3;
    let mut failures = Vec::new();
    for _ in 0..ATTEMPTS {
        let (files, failed) = match read_directory(path) {
            Ok(read) => read,
            Err(error) => {
                report(path, &error, problems);
                return Vec::new();
            }
        };
        failures = failed;
        if failures.is_empty() && files.is_empty() {
            problems.error(None, format!("there is no policy in {}: {}", shown(path), held(path))).fix(
                "put a file there whose name ends in `.yaml` or `.yml`; of a mounted ConfigMap: give it a key of such a \
                 name, or make the ConfigMap (one that is `optional` and missing is an empty directory)",
            );
        }
        if failures.iter().any(|(_, error)| error.kind() == io::ErrorKind::NotFound) {
            continue;
        }
        for (file, error) in &failures {
            report(file, error, problems);
        }
        return files;
    }
    for (file, error) in &failures {
        report(file, error, problems);
    }
    Vec::new()
}

type Failure = (PathBuf, io::Error);

fn read_directory(path: &Path) -> io::Result<(Vec<File>, Vec<Failure>)> {
    // A mounted ConfigMap's files are links into `..data`, a link to the current snapshot:
    // resolved once, all files are of the same snapshot.
    let snapshot = path.join("..data");
    let folder = match std::fs::symlink_metadata(&snapshot) {
        Ok(_) => std::fs::canonicalize(&snapshot)?,
        Err(_) => path.to_owned(),
    };
    let names = policy_names(&folder)?;
    let (mut files, mut failures) = (Vec::new(), Vec::new());
    let mut room = SIZE_LIMIT;
    for name in names {
        let file = folder.join(&name);
        let shown = path.join(&name);
        if file.is_dir() {
            continue;
        }
        match read_file(&file, &mut room) {
            Ok(content) => files.push(File::new(shown.display().to_string(), content)),
            Err(error) => failures.push((shown, error)),
        }
    }
    Ok((files, failures))
}

/// The policy files of a directory, as a user would name them.
pub(super) fn policy_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(policy_names(folder)?.into_iter().map(|name| folder.join(name)).collect())
}

fn policy_names(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        if is_policy_name(&name.to_string_lossy()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a file of this name in a directory is a part of the policy.
pub(super) fn is_policy_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml"))
}

pub(super) fn read_file(path: &Path, room: &mut u64) -> io::Result<Vec<u8>> {
    // A named pipe would hold up whoever opens it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(*room + 1).read_to_end(&mut content)?;
    let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
    *room = room.checked_sub(size).ok_or(io::ErrorKind::FileTooLarge)?;
    Ok(content)
}

/// What a directory has instead of policy files.
fn held(folder: &Path) -> String {
    const SHOWN: usize = 5;
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names =
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| !name.starts_with(".."));
    let mut names: Vec<_> = names.map(|name| quote(&name)).collect();
    names.sort();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    match (names.is_empty(), more) {
        (true, _) => "it is empty".to_owned(),
        (false, 0) => format!("it has {}", names.join(", ")),
        (false, more) => format!("it has {} and {more} more", names.join(", ")),
    }
}

fn report(path: &Path, error: &io::Error, problems: &mut Problems) {
    let (reason, fix) = match error.kind() {
        io::ErrorKind::NotFound => (
            error.to_string(),
            "check the path (a relative one counts from the working directory); in a pod, that the ConfigMap with the policy is mounted there",
        ),
        io::ErrorKind::PermissionDenied => (
            error.to_string(),
            "make it readable for the user that attache runs as; of a mounted volume by `defaultMode: 0444`",
        ),
        io::ErrorKind::FileTooLarge => (
            format!("it is larger than {} MiB", SIZE_LIMIT / 1024 / 1024),
            "check that this is the policy; a policy of that size is most likely another file",
        ),
        _ => (error.to_string(), "check that the path is a readable file or directory"),
    };
    problems.error(None, format!("cannot read the policy {}: {reason}", shown(path))).fix(fix);
}

fn shown(path: &Path) -> String {
    quote(&path.display().to_string())
}
