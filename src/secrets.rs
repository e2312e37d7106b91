//! Where secrets come from: environment variables and files, read again when they change.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use smallvec::SmallVec;
use zeroize::Zeroizing;

use crate::pipeline::credential::{BadSecret, CredentialId, Secret};

/// A secret is never longer, in bytes: Envoy would not take a larger header.
const MAX_SECRET: u64 = 32 * 1024;

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

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In the environment variable of this name.
    Variable(String),
    /// In this file.
    File(PathBuf),
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
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
    pub fn read(&self, environment: &Environment) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        match self {
            Self::Variable(name) => {
                let value = environment.get(name).ok_or_else(|| SecretError::NotSet(name.clone()))?;
                Ok(Zeroizing::new(value.to_vec()))
            }
            Self::File(path) => read_file(path),
        }
    }

    fn load(&self, environment: &Environment) -> Result<Secret, SecretError> {
        Secret::new(self.read(environment)?).map_err(|source| SecretError::Bad { place: self.place(), source })
    }

    fn place(&self) -> String {
        match self {
            Self::Variable(name) => format!("the environment variable `{name}`"),
            Self::File(path) => format!("`{}`", path.display()),
        }
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    // Room for all of it at once: a buffer that grew would leave copies of the secret behind.
    let mut value = Zeroizing::new(Vec::with_capacity(MAX_SECRET as usize + 1));
    file.take(MAX_SECRET + 1).read_to_end(&mut value).map_err(unreadable)?;
    if value.len() as u64 > MAX_SECRET {
        return Err(SecretError::TooLong(path.to_owned()));
    }
    Ok(value)
}

/// The secrets of one policy, by [`CredentialId`]. Reading one takes no lock.
#[derive(Debug, Default)]
pub struct Secrets(Vec<Held>);

#[derive(Debug)]
struct Held {
    name: String,
    source: Source,
    value: ArcSwapOption<Secret>,
    /// The file's identity when it was last read.
    seen: Mutex<Option<Stamp>>,
}

/// What changes when a file does.
type Stamp = (u64, u64, u64, i64, i64);

impl Secrets {
    /// Reads every secret; `sources` are in the order of the policy's credentials, each with its name. What
    /// cannot be had is left out and reported: requests that need it are refused.
    pub fn load(sources: Vec<(String, Source)>, environment: &Environment) -> (Self, Vec<(String, SecretError)>) {
        let mut missing = Vec::new();
        let held = sources.into_iter().map(|(name, source)| {
            let seen = Mutex::new(stamp(&source));
            let value = source.load(environment).map_err(|error| missing.push((name.clone(), error))).ok();
            Held { name, value: ArcSwapOption::from(value.map(Arc::new)), source, seen }
        });
        let held = held.collect();
        (Self(held), missing)
    }

    /// The secrets as they are now, in the order asked.
    pub fn fetch(&self, wanted: &[CredentialId]) -> SmallVec<[Option<Arc<Secret>>; 1]> {
        wanted.iter().map(|id| self.0.get(id.0).and_then(|held| held.value.load_full())).collect()
    }

    /// Reads the files again that have changed, and says how that went for each of them. A file that is gone or
    /// no longer a secret takes its credential with it: that is how an operator revokes one.
    pub fn refresh(&self) -> Vec<(String, Result<(), SecretError>)> {
        let nothing = Environment::default();
        let changed = self.0.iter().filter(|held| matches!(held.source, Source::File(_)) && held.has_changed());
        changed
            .map(|held| {
                let read = held.source.load(&nothing);
                let outcome = match read {
                    Ok(secret) => {
                        held.value.store(Some(Arc::new(secret)));
                        Ok(())
                    }
                    Err(error) => {
                        held.value.store(None);
                        Err(error)
                    }
                };
                (held.name.clone(), outcome)
            })
            .collect()
    }
}

impl Held {
    fn has_changed(&self) -> bool {
        let now = stamp(&self.source);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *seen, now) != now
    }
}

/// Files, and what they were when they were last looked at.
#[derive(Debug, Clone, Default)]
pub struct Files(Vec<(PathBuf, Option<Stamp>)>);

impl Files {
    /// These files as they are now. To be called before they are read, so that no change is missed.
    pub fn look(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(paths.into_iter().map(|path| (path.clone(), stamp_of(&path))).collect())
    }

    /// The files, whether they are there or not.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.iter().map(|(path, _)| path)
    }

    /// True if one of them is another than when it was looked at, or has come or gone.
    pub fn have_changed(&self) -> bool {
        self.0.iter().any(|(path, seen)| stamp_of(path) != *seen)
    }
}

fn stamp(source: &Source) -> Option<Stamp> {
    let Source::File(path) = source else { return None };
    stamp_of(path)
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    let about = std::fs::metadata(path).ok()?;
    Some((
        about.dev(),
        about.ino(),
        about.size(),
        about.mtime_nsec() ^ (about.mtime() << 30),
        about.ctime_nsec() ^ (about.ctime() << 30),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::credential::Format;

    fn shown(secret: Option<&Arc<Secret>>) -> Option<String> {
        let rendered = Format::parse("{value}").unwrap().render(secret?);
        Some(String::from_utf8_lossy(&rendered).into_owned())
    }

    #[test]
    fn a_variable_is_read_once_and_a_file_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "one\n").unwrap();
        let environment = Environment::from_iter([("TOKEN".to_owned(), b"fromenv".to_vec())]);
        let sources = vec![
            ("env".to_owned(), Source::Variable("TOKEN".into())),
            ("file".to_owned(), Source::File(path.clone())),
            ("none".to_owned(), Source::Variable("NOWHERE".into())),
        ];
        let (secrets, missing) = Secrets::load(sources, &environment);
        assert_eq!(missing.len(), 1);
        let see = || {
            secrets
                .fetch(&[CredentialId(0), CredentialId(1), CredentialId(2)])
                .iter()
                .map(|s| shown(s.as_ref()))
                .collect::<Vec<_>>()
        };
        assert_eq!(see(), [Some("fromenv".into()), Some("one".into()), None]);
        assert!(secrets.refresh().is_empty());
        std::fs::write(&path, "other").unwrap();
        assert_eq!(secrets.refresh().len(), 1);
        assert_eq!(see()[1].as_deref(), Some("other"));
        std::fs::write(&path, "two\nlines").unwrap();
        assert!(secrets.refresh()[0].1.is_err());
        assert_eq!(see()[1], None);
        std::fs::remove_file(&path).unwrap();
        assert!(secrets.refresh()[0].1.is_err());
        std::fs::write(&path, "back").unwrap();
        assert!(secrets.refresh()[0].1.is_ok());
        assert_eq!(see()[1].as_deref(), Some("back"));
    }

    #[test]
    fn a_file_too_long_for_a_header_is_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, vec![b'x'; MAX_SECRET as usize + 1]).unwrap();
        let read = Source::File(path).read(&Environment::default());
        assert!(matches!(read, Err(SecretError::TooLong(_))));
    }
}
