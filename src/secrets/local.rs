//! Secrets on this machine: environment variables and files.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::pipeline::credential::{BadSecret, Secret};

/// A secret is never longer, in bytes: Envoy would not take a larger header.
const MAX_SECRET: u64 = 32 * 1024;
/// Opening does not wait for anybody.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// Environment variables as they were when attaché started. Values are wiped when dropped.
#[derive(Default)]
pub struct Environment(HashMap<String, Zeroizing<Vec<u8>>>);

impl Environment {
    /// This process's own.
    pub fn of_process() -> Self {
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_vec()))).collect()
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(|value| value.as_slice())
    }

    /// Every variable.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }
}

impl FromIterator<(String, Vec<u8>)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name, Zeroizing::new(value))).collect())
    }
}

/// Where a secret is kept on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// In the environment variable of this name.
    Variable(String),
    /// In this file.
    File(PathBuf),
}

/// Why a secret on this machine cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The variable does not exist.
    #[error("the environment variable `{0}` is not set")]
    NotSet(String),
    /// The file cannot be read.
    #[error("`{path}` cannot be read: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is too long.
    #[error("`{0}` is longer than 32 KiB")]
    TooLong(PathBuf),
    /// The value is no secret that could be sent.
    #[error("{place} {source}")]
    Bad {
        /// The variable or file.
        place: String,
        /// What is wrong with it.
        source: BadSecret,
    },
}

impl Source {
    /// Reads the value as it is now.
    pub fn read(&self, environment: &Environment) -> Result<Zeroizing<Vec<u8>>, LocalError> {
        match self {
            Self::Variable(name) => {
                let value = environment.get(name).ok_or_else(|| LocalError::NotSet(name.clone()))?;
                Ok(Zeroizing::new(value.to_vec()))
            }
            Self::File(path) => read_file(path),
        }
    }

    /// Reads a secret as it is now.
    pub(super) fn load(&self, environment: &Environment) -> Result<Secret, LocalError> {
        Secret::new(self.read(environment)?).map_err(|source| LocalError::Bad { place: self.place(), source })
    }

    /// The file's identity as it is now; none for a variable, and for a file that is not there.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::File(path) => stamp(path),
            Self::Variable(_) => None,
        }
    }

    fn place(&self) -> String {
        match self {
            Self::Variable(name) => format!("the environment variable `{name}`"),
            Self::File(path) => format!("`{}`", path.display()),
        }
    }
}

/// Files, and what they were when they were last looked at.
#[derive(Debug, Clone, Default)]
pub struct Files(Vec<(PathBuf, Option<Stamp>)>);

impl Files {
    /// These files as they are now. To be called before they are read, so that no change is missed.
    pub fn look(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(paths.into_iter().map(|path| (path.clone(), stamp(&path))).collect())
    }

    /// The files, whether they are there or not.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.iter().map(|(path, _)| path)
    }

    /// True if one of them is another than when it was looked at, or has come or gone.
    pub fn have_changed(&self) -> bool {
        self.0.iter().any(|(path, seen)| stamp(path) != *seen)
    }
}

/// What changes when a file does.
pub(super) type Stamp = (u64, u64, u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let about = std::fs::metadata(path).ok()?;
    Some((
        about.dev(),
        about.ino(),
        about.size(),
        about.mtime_nsec() ^ (about.mtime() << 30),
        about.ctime_nsec() ^ (about.ctime() << 30),
    ))
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, LocalError> {
    let unreadable = |source| LocalError::Unreadable { path: path.to_owned(), source };
    // A named pipe would hold up whoever opens it, and with him every other secret that is to be read again.
    let file = File::options().read(true).custom_flags(NONBLOCK).open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
    }
    // Room for all of it at once: a buffer that grew would leave copies of the secret behind.
    let mut value = Zeroizing::new(Vec::with_capacity(MAX_SECRET as usize + 1));
    file.take(MAX_SECRET + 1).read_to_end(&mut value).map_err(unreadable)?;
    if value.len() as u64 > MAX_SECRET {
        return Err(LocalError::TooLong(path.to_owned()));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_too_long_for_a_header_is_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, vec![b'x'; MAX_SECRET as usize + 1]).unwrap();
        let read = Source::File(path).read(&Environment::default());
        assert!(matches!(read, Err(LocalError::TooLong(_))));
    }

    #[test]
    fn nobody_waits_for_what_is_no_file() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for path in [path, folder.path().to_owned()] {
            let read = Source::File(path).read(&Environment::default());
            assert!(read.unwrap_err().to_string().ends_with("it is not a regular file"));
        }
    }
}
