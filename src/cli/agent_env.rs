//! placeholder
use std::path::{Path, PathBuf};
pub const REMOVED: &[&str] = &["ALL_PROXY", "all_proxy"];
pub fn variables(proxy: &str, ca: &Path, bundle: &Path) -> Vec<(&'static str, String)> {
    let (ca, bundle) = (ca.display().to_string(), bundle.display().to_string());
    let mut v = Vec::new();
    for n in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        v.push((n, proxy.to_owned()));
    }
    for n in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
        v.push((n, bundle.clone()));
    }
    v.push(("NODE_EXTRA_CA_CERTS", ca));
    v.push(("NODE_USE_ENV_PROXY", "1".into()));
    v
}
pub fn user_bundles(_: &crate::secrets::Environment) -> Vec<PathBuf> {
    Vec::new()
}
pub fn write_bundle(out: &Path, _user: &[PathBuf], extra: &str) -> std::io::Result<()> {
    let mut text = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt")?;
    text.push_str(extra);
    std::fs::write(out, text)
}
