//! The certificate authority that agents of this sidecar trust, and nobody else should.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, date_time_ymd,
};
use sha2::{Digest, Sha256};
use thiserror::Error;
use x509_parser::pem::Pem;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::{SKEW, hex, unix};

/// A certificate authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    key_pem: Zeroizing<String>,
    cert_pem: String,
    /// What a client that trusts only the root needs beside the leaf: empty where this authority is the root.
    intermediates_pem: String,
    id: String,
    expires: SystemTime,
}

impl Authority {
    /// A new authority, valid for a year from an hour before `now`: P-256, for leaves only (`pathlen:0`).
    ///
    /// A year is longer than a sidecar runs without an upgrade, and the end of what a forgotten entry in some trust
    /// store can do. No name constraints: which names are minted is for policy to say, and policy changes.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate(now: SystemTime) -> Result<Authority, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Generate)?;
        // In the name, so that a trust store can hold two of them and a person can tell which is which.
        let id = short_id(&key.subject_public_key_info());
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("attache local CA {id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let epoch = date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(unix(now)).saturating_sub(SKEW);
        params.not_after = epoch + Duration::from_secs(unix(now)) + LIFETIME;
        let cert = params.self_signed(&key).map_err(AuthorityError::Generate)?;
        Ok(Authority {
            key_pem: Zeroizing::new(key.serialize_pem()),
            cert_pem: cert.pem(),
            intermediates_pem: String::new(),
            id,
            expires: SystemTime::UNIX_EPOCH + Duration::from_secs(unix(now)) + LIFETIME,
            issuer: Issuer::new(params, key),
        })
    }

    /// An authority from its certificate and PKCS #8 key, both PEM. Certificates after the first are the way to the root.
    ///
    /// # Errors
    /// When it could not sign leaves that clients accept; see [`AuthorityError`].
    pub fn from_pem(cert: &str, key: &str, now: SystemTime) -> Result<Authority, AuthorityError> {
        let ders = certificates(cert)?;
        let first = ders.first().ok_or(AuthorityError::NoCertificate)?;
        let parsed = parse(first)?;
        if !parsed.is_ca() {
            return Err(AuthorityError::NotAnAuthority(parsed.subject().to_string()));
        }
        let usage = parsed.key_usage().map_err(|_| AuthorityError::Certificate)?;
        if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
            return Err(AuthorityError::MayNotSign(parsed.subject().to_string()));
        }
        let validity = parsed.validity();
        let instant = i64::try_from(unix(now)).unwrap_or(i64::MAX);
        if instant < validity.not_before.timestamp() {
            return Err(AuthorityError::NotYetValid(date(validity.not_before)));
        }
        if instant >= validity.not_after.timestamp() {
            return Err(AuthorityError::Expired(date(validity.not_after)));
        }
        let key = KeyPair::from_pem(key).map_err(|_| AuthorityError::Key)?;
        if key.subject_public_key_info() != parsed.public_key().raw {
            return Err(AuthorityError::KeyMismatch);
        }
        let intermediates = ders.iter().filter(|der| parse(der).is_ok_and(|one| one.subject() != one.issuer()));
        let intermediates_pem = intermediates.map(|der| pem_of(der)).collect();
        let seconds = u64::try_from(validity.not_after.timestamp()).unwrap_or_default();
        Ok(Authority {
            key_pem: Zeroizing::new(key.serialize_pem()),
            cert_pem: ders.iter().map(|der| pem_of(der)).collect(),
            intermediates_pem,
            id: short_id(&key.subject_public_key_info()),
            expires: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            issuer: Issuer::from_ca_cert_der(&first.as_slice().into(), key).map_err(|_| AuthorityError::Certificate)?,
        })
    }

    /// The certificate that clients are told to trust, PEM.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The private key, PKCS #8 PEM: only to hand over to the process that signs next.
    pub fn key_pem(&self) -> &Zeroizing<String> {
        &self.key_pem
    }

    /// Eight hex digits that name the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When the authority's certificate ends, and with it every leaf.
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    pub(super) fn intermediates_pem(&self) -> &str {
        &self.intermediates_pem
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("id", &self.id).field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Checks that a file holds certificates, and that each may sign others: what upstreams are to be checked against.
///
/// # Errors
/// When there is none, or one of them is no authority.
pub fn authorities_in(pem: &str) -> Result<(), AuthorityError> {
    let ders = certificates(pem)?;
    for der in &ders {
        let parsed = parse(der)?;
        if !parsed.is_ca() {
            return Err(AuthorityError::NotAnAuthority(parsed.subject().to_string()));
        }
    }
    if ders.is_empty() { Err(AuthorityError::NoCertificate) } else { Ok(()) }
}

/// Why a certificate and key are no authority.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// No key could be made.
    #[error("cannot make a certificate authority: {0}")]
    Generate(#[source] rcgen::Error),
    /// The file holds something else.
    #[error("there is no certificate in it; expected PEM with `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    /// It does not parse.
    #[error("the certificate cannot be read; expected PEM of an X.509 certificate")]
    Certificate,
    /// It is a leaf.
    #[error("`{0}` is not a certificate authority; give the CA's certificate (basicConstraints CA:TRUE) first")]
    NotAnAuthority(String),
    /// It is an authority for something else.
    #[error("`{0}` may not sign certificates; its keyUsage needs keyCertSign")]
    MayNotSign(String),
    /// Its validity has not begun.
    #[error("the authority is valid only from `{0}`; check this machine's clock")]
    NotYetValid(String),
    /// Its validity is over.
    #[error("the authority expired at `{0}`; renew it")]
    Expired(String),
    /// The key does not parse.
    #[error(
        "the private key cannot be read; expected unencrypted PKCS #8 PEM: `openssl pkcs8 -topk8 -nocrypt -in KEY` makes one"
    )]
    Key,
    /// The key is another's.
    #[error("the private key is not that of the authority's certificate; give the pair")]
    KeyMismatch,
}

const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, AuthorityError> {
    let mut ders = Vec::new();
    for block in Pem::iter_from_buffer(pem.as_bytes()) {
        let block = block.map_err(|_| AuthorityError::Certificate)?;
        if block.label == "CERTIFICATE" {
            ders.push(block.contents);
        }
    }
    Ok(ders)
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, AuthorityError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(AuthorityError::Certificate),
    }
}

fn pem_of(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

fn date(time: ASN1Time) -> String {
    time.to_rfc2822().unwrap_or_else(|error| error)
}

fn short_id(public_key: &[u8]) -> String {
    hex(&Sha256::digest(public_key)).chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(days: u64) -> SystemTime {
        SystemTime::now() + Duration::from_secs(days * 24 * 3600)
    }

    fn made(change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_generated_authority_survives_the_hand_over() {
        let now = SystemTime::now();
        let made = Authority::generate(now).unwrap();
        let taken = Authority::from_pem(made.cert_pem(), made.key_pem(), now).unwrap();
        assert_eq!(taken.cert_pem(), made.cert_pem());
        assert_eq!(taken.id(), made.id());
        assert_eq!(unix(taken.expires()), unix(made.expires()));
        assert_eq!(taken.intermediates_pem(), "");
        assert!(!format!("{taken:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_generated_authority_says_what_it_is_for() {
        let authority = Authority::generate(SystemTime::now()).unwrap();
        let ders = certificates(authority.cert_pem()).unwrap();
        let parsed = parse(&ders[0]).unwrap();
        assert_eq!(parsed.subject().to_string(), format!("CN=attache local CA {}", authority.id()));
        let constraints = parsed.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        let usage = parsed.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.key_cert_sign() && !usage.value.digital_signature());
    }

    #[test]
    fn each_thing_that_is_no_authority_is_named() {
        let (cert, key) = made(|_| {});
        let (leaf, leaf_key) = made(|params| params.is_ca = IsCa::ExplicitNoCa);
        let (other_use, other_use_key) = made(|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
        let (old, old_key) = made(|params| params.not_after = date_time_ymd(2001, 1, 1));
        let (young, young_key) = made(|params| params.not_before = date_time_ymd(3000, 1, 1));
        let stranger = KeyPair::generate().unwrap().serialize_pem();
        let sec1 = key.replace("PRIVATE KEY", "EC PRIVATE KEY");
        let cut = cert.replacen("MII", "AAA", 1);
        let table: [(&str, &str, &str); 11] = [
            ("", &key, "there is no certificate in it"),
            (&key, &key, "there is no certificate in it"),
            ("no PEM at all", &key, "there is no certificate in it"),
            (&cut, &key, "the certificate cannot be read"),
            (&leaf, &leaf_key, "is not a certificate authority"),
            (&other_use, &other_use_key, "may not sign certificates"),
            (&old, &old_key, "the authority expired"),
            (&young, &young_key, "the authority is valid only from"),
            (&cert, &stranger, "is not that of the authority's certificate"),
            (&cert, "", "the private key cannot be read"),
            (&cert, &cert, "the private key cannot be read"),
        ];
        for (cert, key, expected) in table {
            let error = Authority::from_pem(cert, key, day(0)).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        // The label is not what counts, the content is.
        assert!(Authority::from_pem(&cert, &sec1, day(0)).is_ok());
    }

    #[test]
    fn an_intermediate_brings_its_way_to_the_root() {
        let root = Authority::generate(SystemTime::now()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, "between");
        let between = params.signed_by(&key, root.issuer()).unwrap();
        let both = format!("{}{}", between.pem(), root.cert_pem());
        let taken = Authority::from_pem(&both, &key.serialize_pem(), SystemTime::now()).unwrap();
        assert_eq!(certificates(taken.intermediates_pem()).unwrap(), [between.der().to_vec()]);
        assert_eq!(certificates(taken.cert_pem()).unwrap().len(), 2);
    }
}
