//! A CA kept in a directory, for a service without a supervisor.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::{Authority, AuthorityError};

/// Why a kept CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It cannot be read or written.
    #[error("`{path}` cannot be read or written: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no CA of ours.
    #[error("the CA in `{folder}` cannot be used: {source}; remove `ca.pem` and `ca.key` there for a new one")]
    Unusable {
        /// Where.
        folder: PathBuf,
        /// What is wrong with it.
        source: AuthorityError,
    },
    /// None can be made.
    #[error("a CA cannot be made: {0}")]
    Generate(AuthorityError),
}

/// The CA of a directory: `ca.pem` and `ca.key` (0600), made if neither is there.
pub fn load_or_generate(folder: &Path, now: SystemTime) -> Result<Authority, KeepError> {
    let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
    let (new_certificate, new_key) = (folder.join("ca.pem.new"), folder.join("ca.key.new"));
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| KeepError::Io { path, source }
    };
    // One that was made and did not get its names: a crash in the middle must not end in a directory that nobody can use.
    if new_key.exists() && !key.exists() {
        put_in_place(&new_certificate, &certificate).map_err(io(&certificate))?;
        put_in_place(&new_key, &key).map_err(io(&key))?;
    }
    match std::fs::read_to_string(&key) {
        Ok(pem) => {
            let pem = Zeroizing::new(pem);
            let text = std::fs::read_to_string(&certificate).map_err(io(&certificate))?;
            Authority::from_pem(&text, &pem, now)
                .map_err(|source| KeepError::Unusable { folder: folder.to_owned(), source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !certificate.exists() => {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io(folder))?;
            let authority = Authority::generate(now).map_err(KeepError::Generate)?;
            // Both are whole on disk before the key has the name that says so; then they get their own.
            let part = folder.join("ca.key.part");
            for (path, text, mode) in
                [(&new_certificate, authority.cert_pem(), 0o644), (&part, authority.key_pem(), 0o600)]
            {
                write(path, text.as_bytes(), mode).map_err(io(path))?;
            }
            for (from, to) in [(&part, &new_key), (&new_certificate, &certificate), (&new_key, &key)] {
                put_in_place(from, to).map_err(io(to))?;
            }
            Ok(authority)
        }
        Err(source) => Err(KeepError::Io { path: key, source }),
    }
}

/// Renames a file, unless that was done before.
fn put_in_place(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && to.exists() => Ok(()),
        renamed => renamed,
    }
}

fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // What a crash left half written.
    let _ = std::fs::remove_file(path);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_at_any_moment_leaves_a_directory_that_can_be_used() {
        let made = tempfile::tempdir().unwrap();
        let whole = load_or_generate(made.path(), SystemTime::now()).unwrap();
        assert_eq!(std::fs::read_dir(made.path()).unwrap().count(), 2);
        let (certificate, key) = (whole.cert_pem(), &**whole.key_pem());
        let half = &key[..key.len() / 2];
        for (left, is_kept) in [
            (&[("ca.pem.new", &certificate[..50])][..], false),
            (&[("ca.pem.new", certificate)], false),
            (&[("ca.pem.new", certificate), ("ca.key.part", half)], false),
            (&[("ca.pem.new", certificate), ("ca.key.part", key)], false),
            (&[("ca.pem.new", certificate), ("ca.key.new", key)], true),
            (&[("ca.pem", certificate), ("ca.key.new", key)], true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in left {
                std::fs::write(folder.path().join(name), text).unwrap();
            }
            let authority = load_or_generate(folder.path(), SystemTime::now()).unwrap();
            assert_eq!(authority.cert_pem() == certificate, is_kept, "{left:?}");
            let again = load_or_generate(folder.path(), SystemTime::now()).unwrap();
            assert_eq!(again.cert_pem(), authority.cert_pem());
        }
    }

    #[test]
    fn a_kept_ca_is_the_same_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("ca");
        let first = load_or_generate(&folder, SystemTime::now()).unwrap();
        let second = load_or_generate(&folder, SystemTime::now()).unwrap();
        assert_eq!(first.cert_pem(), second.cert_pem());
        std::fs::write(folder.join("ca.key"), "no key").unwrap();
        assert!(load_or_generate(&folder, SystemTime::now()).unwrap_err().to_string().contains("remove"));
        std::fs::remove_file(folder.join("ca.key")).unwrap();
        assert!(
            load_or_generate(&folder, SystemTime::now()).is_err(),
            "a certificate alone is no CA to replace silently"
        );
    }
}
