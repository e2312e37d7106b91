//! The CA that is to be trusted, the files that hold it, and the variables that name them.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::cli::agent_env::{ADDITIVE, REPLACING, certificates, system_bundle};

/// What programs are to trust.
#[derive(Debug)]
pub struct Trust {
    /// The CA's certificate, DER.
    pub certificate: Vec<u8>,
    /// The CA alone, for variables that add.
    pub ca: PathBuf,
    /// The system's CAs and it, for variables that replace.
    pub bundle: PathBuf,
    /// Whether `attache ca env` prints the variables here; in a pod they stand in the pod's specification.
    pub is_local: bool,
    /// The system's own bundle, where somebody has put the CA into it.
    pub system: Option<PathBuf>,
    /// What is wrong with the files.
    pub problems: Vec<String>,
}

/// Why there is nothing to compare with.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The CA's file cannot be read.
    #[error("`{}` cannot be read: {source}; is this the directory that attaché was given as --trust-dir?", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It holds something else.
    #[error("`{}` holds no certificate: attaché writes the CA there; start it again", .0.display())]
    NoCertificate(PathBuf),
}

impl Trust {
    /// What a running attaché left in its state directory.
    ///
    /// # Errors
    /// When there is no certificate in `ca`.
    pub fn of_running(ca: &Path, bundle: &Path) -> Result<Self, TrustError> {
        let certificate = read_ca(ca)?;
        let problems = validity(&certificate, SystemTime::now()).into_iter().collect();
        let system = system_bundle().filter(|path| holds(path, &certificate).unwrap_or(false));
        Ok(Self { certificate, ca: ca.to_owned(), bundle: bundle.to_owned(), is_local: true, system, problems })
    }

    /// What a governed pod mounts.
    ///
    /// # Errors
    /// When there is no certificate in its `ca.pem`.
    pub fn of_directory(dir: &Path) -> Result<Self, TrustError> {
        let (ca, bundle) = (dir.join("ca.pem"), dir.join("bundle.pem"));
        let mut trust = Self { is_local: false, ..Self::of_running(&ca, &bundle)? };
        for path in [bundle, dir.join("bundle.p12")] {
            let path_shown = path.display();
            match holds(&path, &trust.certificate) {
                Ok(true) => {}
                Ok(false) => trust.problems.push(format!("`{path_shown}` does not hold the CA of `{}`", ca.display())),
                Err(error) => trust.problems.push(format!("`{path_shown}` cannot be read: {error}")),
            }
        }
        Ok(trust)
    }

    /// The variables that say what is trusted, as this process has them.
    pub fn variables(&self) -> Vec<Variable> {
        let mut all: Vec<Variable> = REPLACING.iter().chain(ADDITIVE).map(|name| self.variable(name)).collect();
        let java = env::var("JAVA_TOOL_OPTIONS").ok();
        let store = java.as_deref().and_then(trust_store);
        all.push(Variable {
            name: "JAVA_TOOL_OPTIONS",
            state: store.map_or(State::Unset, |store| self.state(Path::new(store))),
            value: java,
        });
        all
    }

    fn variable(&self, name: &'static str) -> Variable {
        match env::var_os(name).filter(|value| !value.is_empty()) {
            None => Variable { name, value: None, state: State::Unset },
            Some(value) => Variable {
                name,
                state: self.state(Path::new(&value)),
                value: Some(value.to_string_lossy().into_owned()),
            },
        }
    }

    fn state(&self, path: &Path) -> State {
        match holds(path, &self.certificate) {
            Ok(true) => State::HoldsCa,
            Ok(false) => State::WithoutCa,
            Err(error) => State::Unreadable(error.to_string()),
        }
    }
}

/// A variable that names trusted certificates.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it is set to.
    pub value: Option<String>,
    /// What is in the file that it names.
    pub state: State,
}

/// What a variable comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// The CA is in it.
    HoldsCa,
    /// Other certificates are.
    WithoutCa,
    /// Its file cannot be read.
    Unreadable(String),
    /// It is not set.
    Unset,
}

/// Whether the file has the certificate in it: PEM, or DER inside a trust store that is not encrypted. A directory is
/// looked at file by file.
///
/// # Errors
/// When it cannot be read.
pub fn holds(path: &Path, certificate: &[u8]) -> io::Result<bool> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?.path();
            if entry.is_file() && holds(&entry, certificate)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    let content = fs::read(path)?;
    Ok(memchr::memmem::find(&content, certificate).is_some()
        || certificates(&content).iter().any(|der| der == certificate))
}

/// The path that Java's options name as trust store; of several the last, as Java does.
pub fn trust_store(options: &str) -> Option<&str> {
    const NAME: &str = "-Djavax.net.ssl.trustStore=";
    let at = options.rfind(NAME)?;
    let quote = options.get(..at).and_then(|before| before.chars().next_back()).filter(|c| matches!(c, '"' | '\''));
    let value = options.get(at + NAME.len()..)?;
    let end = value.find(|c: char| quote.map_or(c.is_whitespace(), |quote| c == quote)).unwrap_or(value.len());
    value.get(..end)
}

fn read_ca(path: &Path) -> Result<Vec<u8>, TrustError> {
    let content = fs::read(path).map_err(|source| TrustError::Unreadable { path: path.to_owned(), source })?;
    certificates(&content).into_iter().next().ok_or_else(|| TrustError::NoCertificate(path.to_owned()))
}

fn validity(certificate: &[u8], now: SystemTime) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let now = i64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
    if now < parsed.validity().not_before.timestamp() {
        return Some("the CA's certificate is not valid yet: is this machine's clock right?".to_owned());
    }
    (now >= parsed.validity().not_after.timestamp())
        .then(|| "the CA's certificate has expired: start attaché again for a new one".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::Authority;
    use crate::cli::agent_env::write_trust_store;
    use std::time::Duration;

    #[test]
    fn javas_trust_store_is_the_last_one_named() {
        for (options, expected) in [
            ("-Xmx1g", None),
            ("-Djavax.net.ssl.trustStoreType=PKCS12", None),
            ("-Djavax.net.ssl.trustStore=/a/b.p12 -Xmx1g", Some("/a/b.p12")),
            ("-Djavax.net.ssl.trustStore=/a -Djavax.net.ssl.trustStore=/b", Some("/b")),
            ("-Xmx1g \"-Djavax.net.ssl.trustStore=/a b/c.p12\" -Dx=y", Some("/a b/c.p12")),
            ("'-Djavax.net.ssl.trustStore=/a\"b'", Some("/a\"b")),
        ] {
            assert_eq!(trust_store(options), expected, "{options}");
        }
    }

    #[test]
    fn each_file_of_a_trust_directory_is_looked_into() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(Trust::of_directory(folder.path()).unwrap_err().to_string().contains("ca.pem` cannot be read"));
        fs::write(path("ca.pem"), "nothing").unwrap();
        assert!(Trust::of_directory(folder.path()).unwrap_err().to_string().contains("holds no certificate"));

        let [ca, other] = [(); 2].map(|()| Authority::generate(SystemTime::now()).unwrap().cert_pem().to_owned());
        fs::write(path("ca.pem"), &ca).unwrap();
        assert_eq!(Trust::of_directory(folder.path()).unwrap().problems.len(), 2);
        fs::write(path("bundle.pem"), &other).unwrap();
        write_trust_store(&path("bundle.pem")).unwrap();
        let problems = Trust::of_directory(folder.path()).unwrap().problems;
        assert!(
            problems.len() == 2 && problems.iter().all(|problem| problem.contains("does not hold")),
            "{problems:?}"
        );
        fs::write(path("bundle.pem"), format!("{other}{ca}")).unwrap();
        write_trust_store(&path("bundle.pem")).unwrap();
        assert_eq!(Trust::of_directory(folder.path()).unwrap().problems, Vec::<String>::new());
    }

    #[test]
    fn a_ca_out_of_its_time_is_said() {
        let now = SystemTime::now();
        let authority = Authority::generate(now).unwrap();
        let der = certificates(authority.cert_pem().as_bytes()).remove(0);
        assert_eq!(validity(&der, now), None);
        assert!(validity(&der, now - Duration::from_secs(7200)).unwrap().contains("not valid yet"));
        assert!(validity(&der, authority.expires()).unwrap().contains("expired"));
    }
}
