//! The flags by which the proxy speaks TLS with agents, of `up` and `envoy render`.

use std::path::{Path, PathBuf};

use super::Failure;
use crate::certificates::authorities_in;
use crate::envoy::bootstrap::ProxyTls;

/// TLS between agents and the proxy.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct TlsFlags {
    /// Speak TLS with agents, by this certificate and its chain, in PEM
    #[arg(long, value_name = "FILE", env = "ATTACHE_PROXY_TLS_CERT", requires = "proxy_tls_key")]
    proxy_tls_cert: Option<PathBuf>,

    /// The private key of --proxy-tls-cert, in PEM
    #[arg(long, value_name = "FILE", env = "ATTACHE_PROXY_TLS_KEY", requires = "proxy_tls_cert")]
    proxy_tls_key: Option<PathBuf>,

    /// Take agents with a certificate of these CAs only, in PEM; policy says by `spiffe` whose it is
    #[arg(long, value_name = "FILE", env = "ATTACHE_CLIENT_CA", requires = "proxy_tls_cert")]
    client_ca: Option<PathBuf>,
}

impl TlsFlags {
    /// As given: the files need not be on this machine.
    pub fn as_given(&self) -> Option<ProxyTls> {
        Some(ProxyTls {
            certificate: self.proxy_tls_cert.clone()?,
            key: self.proxy_tls_key.clone()?,
            client_ca: self.client_ca.clone(),
        })
    }

    /// With absolute paths to files that can be read and are what they should be.
    pub fn checked(&self) -> Result<Option<ProxyTls>, Failure> {
        let Some(given) = self.as_given() else { return Ok(None) };
        let certificates = |text: &str| authorities_in(text).map(|_| ()).map_err(|error| error.to_string());
        let key = |text: &str| match text.contains("PRIVATE KEY-----") {
            true => Ok(()),
            false => Err("there is no private key in it".to_owned()),
        };
        let leaf = |text: &str| match text.contains("-----BEGIN CERTIFICATE-----") {
            true => Ok(()),
            false => Err("there is no certificate in it".to_owned()),
        };
        Ok(Some(ProxyTls {
            certificate: checked("--proxy-tls-cert", &given.certificate, leaf)?,
            key: checked("--proxy-tls-key", &given.key, key)?,
            client_ca: given.client_ca.map(|path| checked("--client-ca", &path, certificates)).transpose()?,
        }))
    }
}

fn checked(flag: &str, path: &Path, check: impl Fn(&str) -> Result<(), String>) -> Result<PathBuf, Failure> {
    let refuse = |why: String| Failure::usage(format!("`{flag} {}`: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    check(&text).map_err(refuse)?;
    std::path::absolute(path).map_err(Failure::runtime)
}
