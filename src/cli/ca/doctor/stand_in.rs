//! The CA that stands in for attaché's, whose key is in the service alone.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::checks::{holds, trust_store};
use crate::certificates::{Authority, AuthorityError};
use crate::cli::agent_env::{ADDITIVE, REPLACING, java_options, variables, write_trust_store};

/// Variables of a program.
pub type Environment = BTreeMap<OsString, OsString>;

/// A CA of this process, and its certificate in files like those that attaché writes.
pub struct StandIn {
    authority: Authority,
    folder: PathBuf,
    /// The certificate that it stands in for, DER.
    known: Option<Vec<u8>>,
}

/// Why there is no stand-in.
#[derive(Debug, thiserror::Error)]
pub enum StandInError {
    /// No key could be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Its files cannot be written.
    #[error("`{}` cannot be written: {source}; set TMPDIR to a directory that can", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl StandIn {
    /// A new one, for this certificate.
    ///
    /// # Errors
    /// When there is no place for its files.
    pub fn make(known: Option<Vec<u8>>) -> Result<Self, StandInError> {
        let authority = Authority::generate(SystemTime::now())?;
        // The id is of a fresh key, and so in nobody else's hand.
        let folder = env::temp_dir().join(format!("attache-doctor-{}-{}", std::process::id(), authority.id()));
        let failed = |source| StandInError::Write { path: folder.clone(), source };
        DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
        let stand_in = Self { authority, folder: folder.clone(), known };
        fs::write(stand_in.pem(), stand_in.authority.cert_pem()).map_err(failed)?;
        write_trust_store(&stand_in.pem()).map_err(failed)?;
        Ok(stand_in)
    }

    /// What signs the server's certificate.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// This process's variables, with the stand-in where they lead to the CA, and no proxy.
    pub fn as_it_is(&self) -> Environment {
        let mut environment: Environment = env::vars_os().filter(|(name, _)| !is_proxy(name)).collect();
        for name in REPLACING.iter().chain(ADDITIVE).copied().chain(["SSL_CERT_DIR"]) {
            if let Some(value) = environment.get_mut(OsStr::new(name))
                && let Some(file) = self.in_place_of(Path::new(value))
            {
                *value = if name == "SSL_CERT_DIR" { self.folder.clone().into() } else { file.into() };
            }
        }
        for name in ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"] {
            if let Some(value) = environment.get_mut(OsStr::new(name))
                && let Some(text) = value.to_str()
            {
                *value = self.in_java_options(text).into();
            }
        }
        environment
    }

    /// The same, and the variables that attaché sets.
    pub fn with_variables(&self) -> Environment {
        let mut environment = self.as_it_is();
        // Nobody listens there, and nobody is asked: every call is to loopback.
        let proxy = "http://127.0.0.1:9";
        let set =
            variables(proxy, &self.pem(), &self.pem()).into_iter().filter(|(name, _)| !is_proxy(OsStr::new(name)));
        environment.extend(set.map(|(name, value)| (name.into(), value.into())));
        let java = environment.get(OsStr::new("JAVA_TOOL_OPTIONS")).and_then(|value| value.to_str()).map(str::to_owned);
        environment
            .extend(java_options(java.as_deref(), proxy, &self.pem()).map(|(name, value)| (name.into(), value.into())));
        environment
    }

    /// The stand-in's file for one that holds the CA; none for any other.
    pub fn in_place_of(&self, path: &Path) -> Option<PathBuf> {
        let known = self.known.as_deref()?;
        let held = holds(path, known).unwrap_or(false);
        held.then(|| if is_pem(path) { self.pem() } else { self.store() })
    }

    /// Options of Java, with the stand-in's trust store where they name one that holds the CA.
    pub fn in_java_options(&self, options: &str) -> String {
        match trust_store(options) {
            Some(store) if self.in_place_of(Path::new(store)).is_some() => {
                options.replace(store, &self.store().display().to_string())
            }
            _ => options.to_owned(),
        }
    }

    fn pem(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    fn store(&self) -> PathBuf {
        self.folder.join("ca.p12")
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // Two certificates that nobody trusts any more.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn is_pem(path: &Path) -> bool {
    path.is_dir() || fs::read(path).is_ok_and(|content| memchr::memmem::find(&content, b"-----BEGIN").is_some())
}

fn is_proxy(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_uppercase();
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NODE_USE_ENV_PROXY"].contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::agent_env::certificates;

    #[test]
    fn a_file_is_swapped_only_if_it_holds_the_ca() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let [ca, other] = [(); 2].map(|()| Authority::generate(SystemTime::now()).unwrap().cert_pem().to_owned());
        let with = file("with.pem", &format!("{other}{ca}"));
        let without = file("without.pem", &other);
        write_trust_store(&with).unwrap();
        let known = certificates(ca.as_bytes()).remove(0);
        let stand_in = StandIn::make(Some(known)).unwrap();
        assert_eq!(stand_in.in_place_of(&with), Some(stand_in.pem()));
        assert_eq!(stand_in.in_place_of(&folder.path().join("with.p12")), Some(stand_in.store()));
        assert_eq!(stand_in.in_place_of(&without), None);
        assert_eq!(stand_in.in_place_of(&folder.path().join("missing")), None);
        let store = stand_in.store();
        let options = |path: &Path| format!("-Xmx1g \"-Djavax.net.ssl.trustStore={}\"", path.display());
        assert_eq!(stand_in.in_java_options(&options(&folder.path().join("with.p12"))), options(&store));
        assert_eq!(stand_in.in_java_options(&options(&without)), options(&without));

        assert!(StandIn::make(None).unwrap().in_place_of(&with).is_none(), "where no CA is, none is swapped");
        drop(stand_in);
        assert!(!store.exists(), "nothing stays behind");
    }
}
