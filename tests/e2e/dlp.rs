//! What must not leave does not: through the real Envoy, over both protocols, and the record says what was found and
//! where, but never the value.

mod clients;
mod echoed;
mod known;
mod limits;
mod live;
mod messages;
mod own;
mod profiles;
mod ranges;
mod responses;
mod surfaces;
mod threats;

use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::Value;

use crate::support::place::Outcome;
use crate::support::{Ask, Attache, Place};

/// A key of the right form that opens nothing.
pub const KEY: &str = "AKIAQ3EGRX5TLK2WN7YB";
/// The rule that finds it.
pub const RULE: &str = "aws-access-key-id";
/// A token of the right form.
pub const TOKEN: &str = "ghp_9Kx2mQwR7tVbZ4nLc8YfJd3HsPa6Ge01uTiW";

/// What attaché holds as a credential.
pub const HELD: &str = "held-7Fq2mXw9Rt4Yv6Zb8Nc3Lk5Jh1";
/// It goes into every request.
pub const INJECTED: &str = r#"
allowedDomains: [api.example.com]
credentials:
  - name: key
    envVarKey: KEY
    injections: [{domain: api.example.com, headerName: Authorization, headerFormat: "Bearer {value}"}]
"#;

/// A private key's form, around nothing.
pub fn private_key() -> String {
    let line = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n";
    let other = "QyNTUxOQAAACB7qkT0xM2pVw9sYc4RjKfLhD8nGv1UeZaQ3iXoB6tNyQAAAJhFw2kVRcNp\n";
    format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{line}{other}-----END OPENSSH PRIVATE KEY-----\n")
}

pub fn base64(text: impl AsRef<[u8]>) -> String {
    STANDARD.encode(text)
}

pub fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

pub fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

pub fn deflate(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

pub fn brotli(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    brotli::CompressorWriter::new(&mut out, 4096, 5, 20).write_all(bytes.as_ref()).unwrap();
    out
}

/// Sends it, and it is refused because of a credential at `location`: so say the answer and the record.
pub async fn refused(place: &Place, ask: Ask, rule: &str, location: &str) -> Outcome {
    let case = format!("{ask:?}");
    let outcome = place.send(ask).await;
    assert_eq!(outcome.to_string(), format!("403 dlp_blocked {rule}"), "{case} {outcome:?}");
    let message = outcome.reply.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&format!("`{rule}`")) && message.contains(location), "{case}: {message}");
    let found = finding(&outcome.record, rule);
    assert_eq!((&found["location"], &found["action"]), (&location.into(), &"block".into()), "{case} {found}");
    outcome
}

/// Sends it, and it arrives.
pub async fn passed(place: &Place, ask: Ask) -> Outcome {
    let case = format!("{ask:?}");
    let outcome = place.send(ask).await;
    assert_eq!(outcome.to_string(), "200", "{case} {outcome:?}");
    outcome
}

/// What a rule has found, as the record says; null if nothing.
pub fn finding(record: &Value, rule: &str) -> Value {
    let findings = record["findings"].as_array().cloned().unwrap_or_default();
    findings.into_iter().find(|finding| finding["rule"] == rule).unwrap_or_default()
}

/// Nothing of these values stands anywhere in the state directory or was said on stderr, however it is written.
pub fn assert_untold(place: &Place, values: &[&str]) {
    assert_unsaid(&place.attache, values);
}

/// The same of an attaché with another upstream.
pub fn assert_unsaid(attache: &Attache, values: &[&str]) {
    let mut texts = files_below(&attache.ready().state_dir);
    assert!(texts.iter().any(|(name, text)| name.contains("journal") && !text.is_empty()), "no journal: {texts:?}");
    texts.push(("stderr".to_owned(), attache.stderr()));
    for (name, text) in texts {
        for value in values {
            for spelling in [(*value).to_owned(), base64(value), hex(value), value.chars().rev().collect()] {
                let start: String = spelling.chars().take(12).collect();
                let line = text.lines().find(|line| line.contains(&start));
                assert!(line.is_none(), "`{spelling}` stands in {name}: {line:?}");
            }
        }
    }
}

/// The files below a directory, as text.
fn files_below(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&path)),
            Ok(kind) if kind.is_file() => {
                // It may have been there for a moment only.
                let bytes = std::fs::read(&path).unwrap_or_default();
                found.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
            }
            _ => {}
        }
    }
    found
}
