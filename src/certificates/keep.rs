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
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| KeepError::Io { path, source }
    };
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
            // The certificate first: a crash between the two leaves an error to read, never a key without its CA.
            write(&certificate, authority.cert_pem().as_bytes(), 0o644).map_err(io(&certificate))?;
            write(&key, authority.key_pem().as_bytes(), 0o600).map_err(io(&key))?;
            Ok(authority)
        }
        Err(source) => Err(KeepError::Io { path: key, source }),
    }
}

fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

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
