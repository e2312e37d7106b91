//! One leaf certificate for one name.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
    date_time_ymd,
};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{Authority, SKEW, hex, unix};

/// Mints leaves of one authority.
#[derive(Debug)]
pub struct Minter {
    authority: Authority,
    lifetime: Duration,
}

impl Minter {
    /// How long a leaf is valid unless told otherwise: a day, so that what leaks with Envoy's memory is soon worthless.
    pub const LIFETIME: Duration = Duration::from_secs(24 * 3600);

    /// A minter of leaves valid for `lifetime`, at most a year.
    pub fn new(authority: Authority, lifetime: Duration) -> Minter {
        Minter { authority, lifetime: lifetime.min(Duration::from_secs(365 * 24 * 3600)) }
    }

    /// The authority that signs.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A new key and certificate, valid from an hour ago. P-256: what every client takes, made in a tenth of a
    /// millisecond. Each name has its own key, so that one name's says nothing about another's.
    ///
    /// # Errors
    /// When the authority has expired, or a name is not ASCII.
    pub fn mint(&self, subject: Subject<'_>, now: SystemTime) -> Result<Leaf, MintError> {
        let now_seconds = unix(now);
        let expires = now_seconds.saturating_add(self.lifetime.as_secs()).min(unix(self.authority.expires()));
        if expires <= now_seconds {
            return Err(MintError::AuthorityExpired);
        }
        let key = KeyPair::generate().map_err(MintError::Sign)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name(subject));
        params.subject_alt_names = match subject {
            Subject::Name(name) => {
                vec![SanType::DnsName(name.try_into().map_err(MintError::Sign)?)]
            }
            Subject::Addresses(addresses) => addresses.iter().copied().map(SanType::IpAddress).collect(),
        };
        // With both key identifiers and explicit constraints, OpenSSL's strict mode has nothing to object to.
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let epoch = date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(now_seconds).saturating_sub(SKEW);
        params.not_after = epoch + Duration::from_secs(expires);
        let cert = params.signed_by(&key, self.authority.issuer()).map_err(MintError::Sign)?;
        // The root itself is not sent: who trusts it has it, and who has not would not trust it for being sent.
        let chain_pem = cert.pem() + self.authority.intermediates_pem();
        Ok(Leaf {
            chain_pem,
            key_pem: Zeroizing::new(key.serialize_pem()),
            expires: SystemTime::UNIX_EPOCH + Duration::from_secs(expires),
        })
    }

    /// Names a leaf by what matters to who holds it: who signed, for what, until when.
    pub(super) fn version(&self, subject: Subject<'_>, expires: SystemTime) -> String {
        let mut hash = Sha256::new();
        match subject {
            Subject::Name(name) => hash.update(name),
            Subject::Addresses(addresses) => {
                for address in addresses {
                    hash.update(address.to_string());
                    hash.update(b",");
                }
            }
        }
        let subject: String = hex(&hash.finalize()).chars().take(16).collect();
        format!("{}-{subject}-{}", self.authority.id(), unix(expires))
    }

    /// When a leaf that ends at `expires` is to be replaced: after two thirds of its life. One that ends with its
    /// authority is not, for the next would end then too.
    pub(super) fn renew_at(&self, expires: SystemTime) -> SystemTime {
        match unix(expires) >= unix(self.authority.expires()) {
            true => expires,
            false => expires.checked_sub(self.lifetime / 3).unwrap_or(expires),
        }
    }
}

/// Whom a leaf is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A host name: lower-case A-labels.
    Name(&'a str),
    /// Addresses, for clients that call them by number and so send no server name.
    Addresses(&'a [IpAddr]),
}

/// A certificate and its key.
pub struct Leaf {
    /// The leaf, and any intermediate authorities, PEM.
    pub chain_pem: String,
    /// The private key, PKCS #8 PEM.
    pub key_pem: Zeroizing<String>,
    /// When the certificate ends.
    pub expires: SystemTime,
}

/// Why there is no leaf.
#[derive(Debug, Error)]
pub enum MintError {
    /// A leaf would outlive its authority.
    #[error("the certificate authority has expired; renew it and restart")]
    AuthorityExpired,
    /// The key or the signature could not be made.
    #[error("cannot mint a certificate: {0}")]
    Sign(#[source] rcgen::Error),
}

/// For people who look at the certificate; clients go by the alternative names. RFC 5280 bounds it at 64 characters.
fn common_name(subject: Subject<'_>) -> &str {
    match subject {
        Subject::Name(name) if name.len() <= 64 => name,
        _ => "attache",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::Command;

    use tokio_rustls::rustls;
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    fn minter(lifetime: Duration) -> Minter {
        Minter::new(Authority::generate(SystemTime::now()).unwrap(), lifetime)
    }

    fn der(pem: &str) -> Vec<u8> {
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1.contents
    }

    #[test]
    fn a_leaf_is_for_its_name_and_serving_only() {
        let minter = minter(Minter::LIFETIME);
        let now = SystemTime::now();
        let leaf = minter.mint(Subject::Name("api.example.com"), now).unwrap();
        let der = der(&leaf.chain_pem);
        let parsed = X509Certificate::from_der(&der).unwrap().1;
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 1);
        assert_eq!(names.value.general_names[0].to_string(), "DNSName(api.example.com)");
        let purposes = parsed.extended_key_usage().unwrap().unwrap();
        assert!(purposes.value.server_auth && !purposes.value.client_auth && !purposes.value.any);
        assert!(!parsed.is_ca());
        let lived = unix(now) - u64::try_from(parsed.validity().not_before.timestamp()).unwrap();
        assert_eq!(lived, 3600);
        assert_eq!(u64::try_from(parsed.validity().not_after.timestamp()).unwrap(), unix(now) + 24 * 3600);
        assert_eq!(unix(leaf.expires), unix(now) + 24 * 3600);
        assert_eq!(leaf.chain_pem.matches("BEGIN").count(), 1, "the root is not sent");
    }

    #[test]
    fn two_leaves_share_neither_key_nor_serial() {
        let minter = minter(Minter::LIFETIME);
        let now = SystemTime::now();
        let [one, two] = [0, 1].map(|_| minter.mint(Subject::Name("a.example"), now).unwrap());
        assert_ne!(one.key_pem, two.key_pem);
        let (one, two) = (der(&one.chain_pem), der(&two.chain_pem));
        let serial = |der: &[u8]| X509Certificate::from_der(der).unwrap().1.raw_serial().to_vec();
        assert_ne!(serial(&one), serial(&two));
    }

    #[test]
    fn a_long_name_stays_out_of_the_common_name() {
        let long = format!("{}.example", "a-long-label.".repeat(6).trim_end_matches('.'));
        assert!(long.len() > 64);
        let leaf = minter(Minter::LIFETIME).mint(Subject::Name(&long), SystemTime::now()).unwrap();
        let der = der(&leaf.chain_pem);
        let parsed = X509Certificate::from_der(&der).unwrap().1;
        assert_eq!(parsed.subject().to_string(), "CN=attache");
    }

    #[test]
    fn a_leaf_does_not_outlive_its_authority() {
        let minter = minter(Minter::LIFETIME);
        let end = minter.authority().expires();
        let last = minter.mint(Subject::Name("a.example"), end - Duration::from_secs(60)).unwrap();
        assert_eq!(unix(last.expires), unix(end));
        assert!(matches!(minter.mint(Subject::Name("a.example"), end), Err(MintError::AuthorityExpired)));
    }

    #[test]
    fn rustls_accepts_a_leaf_for_its_name_and_addresses_only() {
        use rustls::client::WebPkiServerVerifier;
        use rustls::client::danger::ServerCertVerifier;
        use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

        let minter = minter(Minter::LIFETIME);
        let now = SystemTime::now();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(der(minter.authority().cert_pem()))).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
        let accepts = |leaf: &Leaf, name: &str| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier
                .verify_server_cert(&CertificateDer::from(der(&leaf.chain_pem)), &[], &name, &[], UnixTime::now())
                .is_ok()
        };
        let named = minter.mint(Subject::Name("api.example.com"), now).unwrap();
        assert!(accepts(&named, "api.example.com"));
        assert!(!accepts(&named, "www.example.com"));
        let addresses = ["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        let numbered = minter.mint(Subject::Addresses(&addresses), now).unwrap();
        assert!(accepts(&numbered, "192.0.2.7") && accepts(&numbered, "2001:db8::7"));
        assert!(!accepts(&numbered, "192.0.2.8"));
    }

    /// OpenSSL through Python, as most agents have it, with the checks that Python 3.13 turns on by default.
    #[test]
    fn openssl_accepts_a_leaf_in_strict_mode() {
        let minter = minter(Minter::LIFETIME);
        let long = format!("{}.example", "a-long-label.".repeat(6).trim_end_matches('.'));
        let address: [IpAddr; 1] = ["192.0.2.7".parse().unwrap()];
        let subjects = [
            ("api.example.com", Subject::Name("api.example.com")),
            (&long, Subject::Name(&long)),
            ("192.0.2.7", Subject::Addresses(&address)),
        ];
        for (host, subject) in subjects {
            let leaf = minter.mint(subject, SystemTime::now()).unwrap();
            let directory = tempfile::tempdir().unwrap();
            let file = |name: &str, content: &str| {
                let path = directory.path().join(name);
                std::fs::File::create(&path).unwrap().write_all(content.as_bytes()).unwrap();
                path
            };
            let output = Command::new("python3")
                .args(["-c", STRICT_HANDSHAKE])
                .args([
                    file("ca", minter.authority().cert_pem()),
                    file("chain", &leaf.chain_pem),
                    file("key", &leaf.key_pem),
                ])
                .arg(host)
                .output()
                .unwrap();
            assert!(output.status.success(), "{host}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }

    const STRICT_HANDSHAKE: &str = "
import ssl, sys
ca, chain, key, host = sys.argv[1:]
client = ssl.create_default_context(cafile=ca)
client.verify_flags |= ssl.VERIFY_X509_STRICT
server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain(chain, key)
up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
ends = [client.wrap_bio(down, up, server_hostname=host), server.wrap_bio(up, down, server_side=True)]
waiting = list(ends)
for _ in range(10):
    for end in list(waiting):
        try:
            end.do_handshake()
            waiting.remove(end)
        except ssl.SSLWantReadError:
            pass
assert not waiting, 'the handshake did not end'
";
}
