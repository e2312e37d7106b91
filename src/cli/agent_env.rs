//! The environment in which an agent's programs find the proxy and trust its CA. `run` sets it, `ca env` prints it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::trust_store::pkcs12;
use crate::secrets::Environment;

/// Taken out of the agent's environment: a program that prefers it would go another way.
pub const REMOVED: &[&str] = &["ALL_PROXY", "all_proxy"];

/// Hold certificates that a program trusts instead of the system's.
pub const REPLACING: &[&str] = &[
    "SSL_CERT_FILE",                      // OpenSSL, Python's ssl and httpx, Go, Ruby, rustls
    "REQUESTS_CA_BUNDLE",                 // Python's requests
    "CURL_CA_BUNDLE",                     // curl
    "PIP_CERT",                           // pip
    "GIT_SSL_CAINFO",                     // git
    "AWS_CA_BUNDLE",                      // the AWS command line and SDKs
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",   // gRPC's C core and what is built on it
    "CARGO_HTTP_CAINFO",                  // cargo
    "NIX_SSL_CERT_FILE",                  // Nix's OpenSSL, and curl built with it
    "HTTPLIB2_CA_CERTS",                  // Python's httplib2
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", // gcloud
];

/// Hold certificates that a program trusts besides those it comes with.
pub const ADDITIVE: &[&str] = &[
    "NODE_EXTRA_CA_CERTS", // Node
    "DENO_CERT",           // Deno
];

/// What is reached without the proxy: the agent's own machine, to which nothing leaves.
const NO_PROXY: &str = "localhost,127.0.0.1,::1";

/// What to set for the proxy at a URL, the CA's certificate alone in `ca`, and it with all else that is trusted in
/// `bundle`.
///
/// Where the user has set bundles of their own (see [`user_bundles`]), `bundle` has to hold them too, and to stand
/// for `ca` as well: `NODE_EXTRA_CA_CERTS` may have been one of them.
pub fn variables(proxy: &str, ca: &Path, bundle: &Path) -> Vec<(&'static str, String)> {
    let mut variables = Vec::new();
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        variables.push((name, proxy.to_owned()));
    }
    for name in ["NO_PROXY", "no_proxy"] {
        variables.push((name, NO_PROXY.to_owned()));
    }
    // Node's own fetch looks at proxy variables only when told to, from version 24 on.
    variables.push(("NODE_USE_ENV_PROXY", "1".to_owned()));
    variables.extend(trust_variables(ca, bundle));
    variables
}

/// What to set where traffic is redirected and no program has to know of a proxy: trust alone.
pub fn trust_variables(ca: &Path, bundle: &Path) -> Vec<(&'static str, String)> {
    let (ca, bundle) = (ca.display().to_string(), bundle.display().to_string());
    let mut variables: Vec<_> = REPLACING.iter().map(|name| (*name, bundle.clone())).collect();
    variables.extend(ADDITIVE.iter().map(|name| (*name, ca.clone())));
    variables
}

/// The CA bundles the user has set, each once: [`variables`] takes their place, so that what replaces them has to
/// hold what they hold.
pub fn user_bundles(environment: &Environment) -> Vec<PathBuf> {
    let mut bundles = Vec::new();
    for name in REPLACING.iter().chain(ADDITIVE) {
        if let Some(path) =
            environment.get(name).filter(|path| !path.is_empty()).map(|path| PathBuf::from(OsStr::from_bytes(path)))
            && !bundles.contains(&path)
        {
            bundles.push(path);
        }
    }
    bundles
}

/// The system's own bundle, whatever the environment says; none on a system without one.
pub fn system_bundle() -> Option<PathBuf> {
    // The probe looks at SSL_CERT_FILE first, which is the user's and not the system's.
    let probed = openssl_probe::probe().cert_file;
    let user = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let beside = || {
        openssl_probe::candidate_cert_dirs().flat_map(|dir| {
            [
                "certs/ca-certificates.crt",
                "ca-certificates.crt",
                "cert.pem",
                "certs/ca-bundle.crt",
                "ca-bundle.crt",
                "ca-bundle.pem",
            ]
            .map(|name| dir.join(name))
        })
    };
    probed.filter(|path| user.as_ref() != Some(path)).or_else(|| beside().find(|path| path.is_file()))
}

/// `JAVA_TOOL_OPTIONS` with which Java uses the proxy, of which no variable tells it, and trusts what is in `bundle`;
/// what the user has set (`existing`) stays and comes first. `None` where it cannot be said in that variable.
pub fn java_options(existing: Option<&str>, proxy: &str, bundle: &Path) -> Option<(&'static str, String)> {
    let address = proxy.strip_prefix("http://")?.trim_end_matches('/');
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut options = String::new();
    for scheme in ["http", "https"] {
        options.push_str(&format!("-D{scheme}.proxyHost={host} -D{scheme}.proxyPort={port} "));
    }
    options.push_str(&trust_options(bundle)?);
    Some(("JAVA_TOOL_OPTIONS", behind(existing, options)))
}

/// The part of it that is about trust, for where no proxy has to be named.
pub fn java_trust_options(existing: Option<&str>, bundle: &Path) -> Option<String> {
    Some(behind(existing, trust_options(bundle)?))
}

fn trust_options(bundle: &Path) -> Option<String> {
    let store = trust_store(bundle);
    let store = store.to_str()?;
    // Java's own rule: quotes of either kind group, and nothing escapes them.
    let quote = ['"', '\''].into_iter().find(|quote| !store.contains(*quote))?;
    Some(format!("-Djavax.net.ssl.trustStoreType=PKCS12 {quote}-Djavax.net.ssl.trustStore={store}{quote}"))
}

fn behind(existing: Option<&str>, options: String) -> String {
    match existing.map(str::trim).filter(|existing| !existing.is_empty()) {
        // Told before.
        Some(existing) if existing.ends_with(&options) => existing.to_owned(),
        // Of two that set the same, the later one counts.
        Some(existing) => format!("{existing} {options}"),
        None => options,
    }
}

/// Where [`write_trust_store`] puts it: beside the bundle, as PKCS#12.
fn trust_store(bundle: &Path) -> PathBuf {
    bundle.with_extension("p12")
}

/// Writes what agents of other containers are to trust into a folder that they mount: our CA alone (`ca.pem`), and it
/// with the certificates of the system and of the user's bundles (`bundle.pem`, and `bundle.p12` for Java).
///
/// # Errors
/// As [`write_trust`], and where there is neither the system's bundle nor a user's: with ours in its place, programs
/// would trust nobody else.
pub fn write_shared_trust(folder: &Path, users: &[PathBuf], ca: &str) -> io::Result<()> {
    write_shared_trust_with(system_bundle().as_deref(), folder, users, ca)
}

fn write_shared_trust_with(system: Option<&Path>, folder: &Path, users: &[PathBuf], ca: &str) -> io::Result<()> {
    if system.is_none() && users.is_empty() {
        return Err(io::Error::other(BundleError::NoSystem));
    }
    fs::create_dir_all(folder)?;
    write_trust_with(system, folder, users, ca)
}

/// The same where the system may have none.
///
/// # Errors
/// When a bundle cannot be read, which is named, or a file cannot be written.
pub fn write_trust(folder: &Path, users: &[PathBuf], ca: &str) -> io::Result<()> {
    write_trust_with(system_bundle().as_deref(), folder, users, ca)
}

fn write_trust_with(system: Option<&Path>, folder: &Path, users: &[PathBuf], ca: &str) -> io::Result<()> {
    let bundle = folder.join("bundle.pem");
    write_public(&folder.join("ca.pem"), ca.as_bytes())?;
    write_bundle_with(system, &bundle, users, ca)?;
    write_trust_store(&bundle)
}

/// Writes the bundle that replaces all others: the certificates of the system, of the user's bundles and of `extra`
/// (PEM; attaché's CA for agents), each once and nothing but certificates: a private key in a user's file stays there.
/// Readable for every user; a reader sees the old file or the new one.
///
/// # Errors
/// When a file cannot be read, which is named, or `out` cannot be written.
pub fn write_bundle(out: &Path, users: &[PathBuf], extra: &str) -> io::Result<()> {
    write_bundle_with(system_bundle().as_deref(), out, users, extra)
}

fn write_bundle_with(system: Option<&Path>, out: &Path, users: &[PathBuf], extra: &str) -> io::Result<()> {
    let mut bundle = Certificates::default();
    for path in system.into_iter().chain(users.iter().map(PathBuf::as_path)) {
        bundle
            .add_path(path)
            .map_err(|source| io::Error::other(BundleError::Read { path: path.to_owned(), source }))?;
    }
    if !extra.trim().is_empty() && certificates(extra.as_bytes()).is_empty() {
        return Err(io::Error::other(BundleError::NoCertificate));
    }
    bundle.add(extra.as_bytes());
    write_public(out, bundle.pem.as_bytes())
}

/// Writes what is in a bundle for Java, beside it, where [`java_options`] says.
///
/// # Errors
/// When the bundle cannot be read, or the store cannot be written.
pub fn write_trust_store(bundle: &Path) -> io::Result<()> {
    let certificates = certificates(&fs::read(bundle)?);
    write_public(&trust_store(bundle), &pkcs12(certificates.iter().map(Vec::as_slice)))
}

/// Replaces a file as a whole with one that every user may read.
///
/// # Errors
/// When its folder cannot be written.
pub fn write_public(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = (|| {
        // Left behind by a process of the same id that was killed.
        let _ = fs::remove_file(&new);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
        // Whatever the umask says: agents may run as other users.
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.write_all(content)?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// Why a bundle cannot be written.
#[derive(Debug, thiserror::Error)]
enum BundleError {
    /// One of its parts.
    #[error(
        "the CA bundle `{}` cannot be read, and without it programs would trust less than now: {source}; correct or \
         unset the variable that names it",
        path.display()
    )]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is nothing to add ours to.
    #[error(
        "this system has no bundle of CA certificates (none where OpenSSL looks, such as \
         /etc/ssl/certs/ca-certificates.crt), and with ours in its place programs would trust nobody else: use an \
         image that has one, or name one with SSL_CERT_FILE"
    )]
    NoSystem,
    /// Nobody would trust the proxy.
    #[error("the CA certificate to add is no certificate in PEM")]
    NoCertificate,
}

#[derive(Default)]
struct Certificates {
    seen: BTreeSet<Vec<u8>>,
    pem: String,
}

impl Certificates {
    /// A file, or a directory of them, as REQUESTS_CA_BUNDLE may name one.
    fn add_path(&mut self, path: &Path) -> io::Result<()> {
        if !path.is_dir() {
            self.add(&fs::read(path)?);
            return Ok(());
        }
        let files = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        let mut files: Vec<PathBuf> = files.into_iter().filter(|file| file.is_file()).collect();
        files.sort();
        files.iter().try_for_each(|file| {
            self.add(&fs::read(file)?);
            Ok(())
        })
    }

    fn add(&mut self, text: &[u8]) {
        for der in certificates(text) {
            if self.seen.contains(&der) {
                continue;
            }
            self.pem.push_str("-----BEGIN CERTIFICATE-----\n");
            let mut rest = BASE64.encode(&der);
            while !rest.is_empty() {
                let tail = rest.split_off(rest.len().min(64));
                self.pem.push_str(&rest);
                self.pem.push('\n');
                rest = tail;
            }
            self.pem.push_str("-----END CERTIFICATE-----\n");
            self.seen.insert(der);
        }
    }
}

/// The certificates in a PEM text, as DER. What is none is left out: some programs refuse a bundle as a whole for one
/// entry they cannot read.
pub fn certificates(text: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(text);
    let mut certificates = Vec::new();
    let mut body: Option<String> = None;
    for line in text.lines().map(str::trim) {
        match line {
            "-----BEGIN CERTIFICATE-----" => body = Some(String::new()),
            "-----END CERTIFICATE-----" => {
                let der = body.take().and_then(|body| BASE64.decode(body).ok());
                let parses = |der: &Vec<u8>| {
                    x509_parser::parse_x509_certificate(der).is_ok_and(|(trailing, _)| trailing.is_empty())
                };
                certificates.extend(der.filter(parses));
            }
            line => {
                if let Some(body) = &mut body {
                    body.push_str(line);
                }
            }
        }
    }
    certificates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn every_way_to_the_network_leads_through_the_proxy() {
        let variables = variables("http://127.0.0.1:1", Path::new("/s/ca.pem"), Path::new("/s/bundle.pem"));
        let value = |name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"] {
            assert_eq!(value(name), Some("http://127.0.0.1:1"), "{name}");
        }
        assert_eq!(value("NO_PROXY"), value("no_proxy"));
        assert_eq!(value("SSL_CERT_FILE"), Some("/s/bundle.pem"));
        assert_eq!(value("NODE_EXTRA_CA_CERTS"), Some("/s/ca.pem"));
        let names: BTreeSet<_> = variables.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), variables.len(), "each once");
        assert!(REMOVED.iter().all(|name| !names.contains(name)));
    }

    #[test]
    fn a_users_bundles_are_found_once_each() {
        let environment =
            [("SSL_CERT_FILE", "/corp.pem"), ("AWS_CA_BUNDLE", "/corp.pem"), ("PIP_CERT", ""), ("DENO_CERT", "/d.pem")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        let found = user_bundles(&environment.into_iter().collect());
        assert_eq!(found, [Path::new("/corp.pem"), Path::new("/d.pem")]);
    }

    #[test]
    fn java_is_told_in_its_own_way_and_keeps_what_it_was_told() {
        let options =
            |existing, proxy, bundle| java_options(existing, proxy, Path::new(bundle)).map(|(_, value)| value);
        assert_eq!(
            options(Some("-Xmx1g"), "http://[::1]:80", "/it's/bundle.pem").unwrap(),
            "-Xmx1g -Dhttp.proxyHost=::1 -Dhttp.proxyPort=80 -Dhttps.proxyHost=::1 -Dhttps.proxyPort=80 \
             -Djavax.net.ssl.trustStoreType=PKCS12 \"-Djavax.net.ssl.trustStore=/it's/bundle.p12\""
        );
        let once = options(None, "http://127.0.0.1:1", "/s/bundle.pem").unwrap();
        assert!(once.starts_with("-Dhttp.proxyHost=127.0.0.1 "), "{once}");
        assert_eq!(options(Some(&once), "http://127.0.0.1:1", "/s/bundle.pem").unwrap(), once);
        assert_eq!(options(None, "http://127.0.0.1:1", "/a'b\"c/bundle.pem"), None);
        assert_eq!(options(None, "nonsense", "/s/bundle.pem"), None);
    }

    #[test]
    fn a_bundle_holds_each_certificate_once_and_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let [(system, _), (user, key), (ca, _)] = ["system", "user", "ca"].map(certificate);
        let path = |name: &str| folder.path().join(name);
        fs::write(path("system.pem"), format!("# a comment\n{system}{system}")).unwrap();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        fs::write(path("user.pem"), format!("{key}{broken}{}", user.replace('\n', "\r\n"))).unwrap();
        fs::create_dir(path("directory")).unwrap();
        fs::write(path("directory/one.crt"), &user).unwrap();
        fs::write(path("directory/README"), "no certificate").unwrap();

        let users = [path("user.pem"), path("directory")];
        write_bundle_with(Some(&path("system.pem")), &path("bundle.pem"), &users, &ca).unwrap();
        let written = fs::read_to_string(path("bundle.pem")).unwrap();
        let expected = [&system, &user, &ca].map(|pem| certificates(pem.as_bytes()).remove(0));
        assert_eq!(certificates(written.as_bytes()), expected);
        assert!(!written.contains("PRIVATE KEY"));
        assert_eq!(fs::metadata(path("bundle.pem")).unwrap().permissions().mode() & 0o777, 0o644);
        assert!(fs::read_dir(folder.path()).unwrap().all(|e| !e.unwrap().path().ends_with(".new")));

        write_bundle_with(Some(&path("bundle.pem")), &path("bundle.pem"), &[], &ca).unwrap();
        assert_eq!(fs::read_to_string(path("bundle.pem")).unwrap(), written, "it is written again over itself");
        write_trust_store(&path("bundle.pem")).unwrap();
        assert!(path("bundle.p12").is_file());
    }

    #[test]
    fn what_other_containers_trust_is_written_whole_and_the_same_every_time() {
        let folder = tempfile::tempdir().unwrap();
        let [(system, _), (user, _), (ca, _)] = ["system", "user", "ca"].map(certificate);
        let path = |name: &str| folder.path().join(name);
        fs::write(path("system.pem"), &system).unwrap();
        fs::write(path("user.pem"), &user).unwrap();
        let shared = path("new/trust");
        let write = || write_shared_trust_with(Some(&path("system.pem")), &shared, &[path("user.pem")], &ca);
        let files = || {
            let mut files: Vec<_> = fs::read_dir(&shared).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
            files.iter().map(|path| (name(path), mode(path), fs::read(path).unwrap())).collect::<Vec<_>>()
        };
        write().unwrap();
        let first = files();
        let names: Vec<_> = first.iter().map(|(name, mode, _)| (name.as_str(), *mode)).collect();
        assert_eq!(names, [("bundle.p12", 0o644), ("bundle.pem", 0o644), ("ca.pem", 0o644)]);
        assert_eq!(first[2].2, ca.as_bytes());
        let expected = [&system, &user, &ca].map(|pem| certificates(pem.as_bytes()).remove(0));
        assert_eq!(certificates(&first[1].2), expected);
        write().unwrap();
        assert_eq!(files(), first);
        let refused = write_shared_trust_with(None, &path("none"), &[], &ca).unwrap_err();
        assert!(refused.to_string().contains("no bundle of CA certificates"), "{refused}");
        assert!(!path("none").exists());
    }

    #[test]
    fn what_cannot_be_trusted_or_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("bundle.pem");
        let (ca, _) = certificate("ca");
        assert!(write_bundle_with(None, &out, &[], "nothing").is_err());
        let missing = [folder.path().join("missing.pem")];
        let error = write_bundle_with(None, &out, &missing, &ca).unwrap_err();
        assert!(error.to_string().contains("missing.pem"), "{error}");
        assert!(write_bundle_with(None, &folder.path().join("no/bundle.pem"), &[], &ca).is_err());
        assert!(!out.exists());
    }
}
