//! State directories: where a running attaché leaves what other commands need.
//!
//! `up` and `run` keep one for each port they listen on: the journal, the control socket, the CA's certificates, and
//! `state.json`, which says how to reach what runs.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;

use super::Failure;

/// The option of every command that reads what a running attaché left.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct StateDir {
    /// State directory of the attaché to ask
    ///
    /// Needed only where several run, or ran, for this user: else the only one that runs, or the only one there is,
    /// is taken. ATTACHE_STATE_DIR says the same.
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<PathBuf>,
}

impl StateDir {
    /// The directory meant.
    ///
    /// # Errors
    /// As [`find`].
    pub fn find(&self) -> Result<PathBuf, StateError> {
        find(self.state_dir.clone())
    }
}

/// What other commands need of [`crate::supervisor::Ready`], as `state.json` has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// The proxy's URL.
    pub proxy: String,
    /// The CA's certificate alone.
    pub ca: PathBuf,
    /// The system's certificates and the CA's.
    pub bundle: PathBuf,
    /// The state directory.
    pub state_dir: PathBuf,
}

impl Ready {
    /// Reads `state.json`; `None` where nothing is ready there.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(state_dir: &Path) -> Result<Option<Self>, StateError> {
        let path = state_dir.join("state.json");
        match fs::read(&path) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(ready) => Ok(Some(ready)),
                Err(source) => Err(StateError::Unreadable { path, source: source.into() }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Unreadable { path, source }),
        }
    }
}

/// The directory that holds this user's state directories: `$XDG_STATE_HOME/attache`, else `~/.local/state/attache`.
///
/// # Errors
/// When neither variable says where.
pub fn root() -> Result<PathBuf, StateError> {
    root_from(|name| env::var_os(name))
}

/// The state directory of an `up` or `run` on a port, unless told otherwise.
///
/// # Errors
/// As [`root`].
pub fn default_for(port: u16) -> Result<PathBuf, StateError> {
    Ok(root()?.join(port.to_string()))
}

/// The state directory a command means: the one given, else `ATTACHE_STATE_DIR`, else the only one there is, or the
/// only one in which an attaché runs.
///
/// # Errors
/// When there is none, or several could be meant.
pub fn find(given: Option<PathBuf>) -> Result<PathBuf, StateError> {
    let variable = || env::var_os("ATTACHE_STATE_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    match given.or_else(variable) {
        Some(path) if path.is_dir() => Ok(path),
        Some(path) => Err(StateError::NotThere(path)),
        None => choose(&root()?),
    }
}

/// Whether an attaché runs in a state directory: its supervisor holds the lock as long as it lives.
pub fn is_running(state_dir: &Path) -> bool {
    // Given back as soon as it is had. A supervisor that starts in that moment has to try again.
    File::open(state_dir.join("lock"))
        .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK))
}

/// Why no state directory can be taken.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// What was given is not there.
    #[error("there is no state directory `{}`: leave --state-dir out to have it found", .0.display())]
    NotThere(PathBuf),
    /// Nobody has started anything.
    #[error("no attaché has run for this user (nothing in `{}`): start one with `attache up --policy FILE`", .0.display())]
    None(PathBuf),
    /// Several could be meant.
    #[error("{}", several(.0))]
    Several(Vec<Candidate>),
    /// Neither `XDG_STATE_HOME` nor `HOME` is set.
    #[error("neither XDG_STATE_HOME nor HOME says where state is kept: set one, or give --state-dir")]
    NoHome,
    /// A file in it cannot be read.
    #[error("`{}` cannot be read: {source}", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        match error {
            StateError::NotThere(_) | StateError::Several(_) => Self::usage(error),
            StateError::None(_) | StateError::NoHome | StateError::Unreadable { .. } => Self::runtime(error),
        }
    }
}

/// A state directory that could be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where; its last part is the port.
    pub path: PathBuf,
    /// Whether an attaché runs there now.
    pub running: bool,
    /// When something was last written there.
    pub last_use: SystemTime,
}

fn root_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, StateError> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The XDG base directory specification: a path that is not absolute is to be ignored.
    let state_home = set("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let state_home = state_home.or_else(|| set("HOME").map(|home| home.join(".local/state")));
    Ok(state_home.ok_or(StateError::NoHome)?.join("attache"))
}

fn choose(root: &Path) -> Result<PathBuf, StateError> {
    let mut all = candidates(root)?;
    if all.iter().filter(|candidate| candidate.running).count() == 1 {
        all.retain(|candidate| candidate.running);
    }
    match all.len() {
        0 => Err(StateError::None(root.to_owned())),
        1 => Ok(all.swap_remove(0).path),
        _ => Err(StateError::Several(all)),
    }
}

/// All there are, the one used last first.
fn candidates(root: &Path) -> Result<Vec<Candidate>, StateError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(StateError::Unreadable { path: root.to_owned(), source }),
    };
    let mut all: Vec<Candidate> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| ["journal", "state.json", "lock"].iter().any(|name| path.join(name).exists()))
        .map(|path| Candidate { running: is_running(&path), last_use: last_use(&path), path })
        .collect();
    all.sort_by(|a, b| b.last_use.cmp(&a.last_use).then_with(|| a.path.cmp(&b.path)));
    Ok(all)
}

fn last_use(state_dir: &Path) -> SystemTime {
    let journal = fs::read_dir(state_dir.join("journal")).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = ["lock", "state.json"].map(|name| state_dir.join(name));
    let changed = |path: PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    journal.chain(files).filter_map(changed).max().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn several(candidates: &[Candidate]) -> String {
    let mut message = String::from("several state directories could be meant; say which with --state-dir:");
    for Candidate { path, running, last_use } in candidates {
        let port = path.file_name().unwrap_or_default().to_string_lossy();
        let running = if *running { "running" } else { "not running" };
        let last_use = jiff::Timestamp::try_from(*last_use).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let last_use = last_use.strftime("%Y-%m-%d %H:%M:%SZ");
        let _ = write!(message, "\n  {}  port {port}, {running}, last used {last_use}", path.display());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_users() {
        for (variables, expected) in [
            (&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")][..], Some("/s/attache")),
            (&[("XDG_STATE_HOME", ""), ("HOME", "/h")], Some("/h/.local/state/attache")),
            (&[("XDG_STATE_HOME", "relative"), ("HOME", "/h")], Some("/h/.local/state/attache")),
            (&[("HOME", "/h")], Some("/h/.local/state/attache")),
            (&[("HOME", "")], None),
        ] {
            let root = root_from(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into()));
            assert_eq!(root.ok(), expected.map(PathBuf::from), "{variables:?}");
        }
    }

    #[test]
    fn the_only_one_is_taken_then_the_only_one_that_runs() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(choose(&root.path().join("missing")), Err(StateError::None(_))));
        let lock = |port: &str| {
            fs::create_dir_all(root.path().join(port).join("journal")).unwrap();
            File::create(root.path().join(port).join("lock")).unwrap()
        };
        fs::create_dir(root.path().join("something else")).unwrap();
        assert!(matches!(choose(root.path()), Err(StateError::None(_))));

        let first = lock("10080");
        assert_eq!(choose(root.path()).unwrap(), root.path().join("10080"));

        let second = lock("10081");
        let Err(StateError::Several(listed)) = choose(root.path()) else { panic!("two and none runs") };
        assert_eq!(listed.len(), 2);

        flock(&second, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(choose(root.path()).unwrap(), root.path().join("10081"));
        assert!(!is_running(&root.path().join("10080")));

        flock(&first, FlockOperation::NonBlockingLockExclusive).unwrap();
        let error = choose(root.path()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("/10081  port 10081, running, last used 20"), "{message}");
        assert!(message.contains("--state-dir"), "{message}");
        assert!(Failure::from(error).code == 2);
    }

    #[test]
    fn what_is_given_is_taken_or_refused() {
        let given = tempfile::tempdir().unwrap();
        assert_eq!(find(Some(given.path().to_owned())).unwrap(), given.path());
        let missing = given.path().join("no");
        assert!(matches!(find(Some(missing.clone())), Err(StateError::NotThere(path)) if path == missing));
    }

    #[test]
    fn what_is_ready_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Ready::read(folder.path()).unwrap(), None);
        let json = r#"{"proxy":"http://127.0.0.1:10080","ca":"/s/ca.pem","bundle":"/s/bundle.pem","stateDir":"/s",
            "servicePid":1,"envoyPid":2,"version":"0.1.0","envoyVersion":"1.40.0"}"#;
        fs::write(folder.path().join("state.json"), json).unwrap();
        let ready = Ready::read(folder.path()).unwrap().unwrap();
        assert_eq!((ready.proxy.as_str(), ready.ca), ("http://127.0.0.1:10080", PathBuf::from("/s/ca.pem")));
        fs::write(folder.path().join("state.json"), "{").unwrap();
        assert!(matches!(Ready::read(folder.path()), Err(StateError::Unreadable { .. })));
    }
}
