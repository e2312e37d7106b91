//! Credentials that carry a check of themselves.

use data_encoding::{BASE32_NOPAD, BASE64_NOPAD, BASE64URL_NOPAD, Encoding};
use serde_json::Value;

/// The scheme of GitHub and npm: the last six characters are the CRC-32 of the others, in base 62, zeros before.
///
/// The prefix does not count; of a token in two parts GitHub does not say which of them do, so that each way is tried.
pub(super) fn github_crc32(value: &[u8]) -> bool {
    let after = |at: Option<usize>| at.and_then(|at| value.get(at + 1..)).unwrap_or(value);
    let last = after(value.iter().rposition(|byte| *byte == b'_'));
    let first = after(value.iter().position(|byte| *byte == b'_'));
    [last, first, value].into_iter().any(ends_in_its_crc32)
}

fn ends_in_its_crc32(text: &[u8]) -> bool {
    let Some((body, check)) = text.split_last_chunk::<6>() else { return false };
    let stated = check.iter().try_fold(0u64, |sum, byte| Some(sum * 62 + base62(*byte)?));
    !body.is_empty() && stated == Some(u64::from(crc32fast::hash(body)))
}

fn base62(byte: u8) -> Option<u64> {
    Some(u64::from(match byte {
        b'0'..=b'9' => byte - b'0',
        b'A'..=b'Z' => byte - b'A' + 10,
        b'a'..=b'z' => byte - b'a' + 36,
        _ => return None,
    }))
}

/// An access key id of AWS: four letters and sixteen characters of base32. Since 2019 those carry the account's number,
/// in the forty bits after the first, and a first bit that says so.
pub(super) fn aws_key_id(value: &[u8]) -> bool {
    const MOST_ACCOUNT: u64 = 999_999_999_999;
    let Some(body) = value.get(4..20).filter(|_| value.len() == 20) else { return false };
    let Some(bits) = BASE32_NOPAD.decode(body).ok().and_then(|bytes| bytes.first_chunk::<6>().copied()) else {
        return false;
    };
    let number = bits.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let carries_account = number >> 47 == 1;
    !carries_account || (number >> 7) & 0xff_ffff_ffff <= MOST_ACCOUNT
}

/// RFC 7515 §3.1: the first part of a token is a JSON object that names an algorithm.
pub(super) fn jwt_header(value: &[u8]) -> bool {
    let head = value.split(|byte| *byte == b'.').next().unwrap_or_default();
    let Ok(json) = BASE64URL_NOPAD.decode(head) else { return false };
    let header = serde_json::from_slice(&json);
    matches!(header, Ok(Value::Object(header)) if header.get("alg").is_some_and(Value::is_string))
}

/// RFC 7468 and what OpenSSH writes: the body of a private key. Public keys and certificates are none.
pub(super) fn pem_key(value: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const DASHES: &[u8] = b"-----";
    let body = match memchr::memmem::find(value, BEGIN).and_then(|at| value.get(at + BEGIN.len()..)) {
        None => value,
        Some(rest) => {
            let Some(end) = memchr::memmem::find(rest, DASHES) else { return false };
            let label = rest.get(..end).unwrap_or_default();
            if !label.ends_with(b"PRIVATE KEY") && !label.ends_with(b"PRIVATE KEY BLOCK") {
                return false;
            }
            rest.get(end + DASHES.len()..).unwrap_or_default()
        }
    };
    let end = memchr::memmem::find(body, DASHES).unwrap_or(body.len());
    let body = unwrapped(body.get(..end).unwrap_or_default());
    // `Proc-Type: 4,ENCRYPTED` and its kin stand before an empty line, and colons are not of the alphabet.
    let encrypted = body.contains(&b':');
    encrypted || decoded(&body).is_some_and(|key| is_key(&key))
}

/// Without line ends, also those that JSON and shells write as `\n`.
fn unwrapped(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            byte if byte.is_ascii_whitespace() || *byte == b'=' => {}
            byte => out.push(*byte),
        }
    }
    out
}

fn decoded(body: &[u8]) -> Option<Vec<u8>> {
    let lenient: Option<Encoding> = {
        let mut specification = BASE64_NOPAD.specification();
        specification.check_trailing_bits = false;
        specification.encoding().ok()
    };
    lenient?.decode(body).ok()
}

/// A sequence of ASN.1 with a version first (PKCS #1, PKCS #8, SEC 1), or OpenSSH's own, or PGP's packet.
fn is_key(key: &[u8]) -> bool {
    const LEAST: usize = 32;
    key.len() >= LEAST
        && match key {
            [0x30, 0x81, _, rest @ ..] | [0x30, 0x82, _, _, rest @ ..] | [0x30, 0..=0x7f, rest @ ..] => {
                // A version, or in an encrypted key (RFC 5958 §3) the algorithm.
                matches!(rest.first(), Some(0x02 | 0x30))
            }
            [0x94 | 0x95 | 0xc5, ..] => true,
            key => key.starts_with(b"openssh-key-v1\0"),
        }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;

    #[test]
    fn a_checksum_of_github_holds_and_fails_with_any_other_character() {
        assert!(github_crc32(b"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"));
        assert!(!github_crc32(b"ghp_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq18"));
        assert!(!github_crc32(b"ghp_aQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17") && !github_crc32(b"ghp_"));
    }

    #[test]
    fn an_aws_key_id_is_base32_with_an_account_that_can_be() {
        assert!(aws_key_id(b"AKIAIOSFODNN7EXAMPLE"), "AWS's own example, of the time before accounts");
        assert!(aws_key_id(b"ASIAQNZGKIQY56JQ7WML"));
        assert!(!aws_key_id(b"AKIA1234567890ABCDEF"), "0, 1, 8 and 9 are not of base32");
        assert!(!aws_key_id(b"AKIA7777777777777777"), "an account of thirteen digits");
        assert!(!aws_key_id(b"AKIA"));
    }

    #[test]
    fn a_jwts_header_names_an_algorithm() {
        assert!(jwt_header(b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.x"));
        for text in [&b"eyJ0eXAiOiJKV1QifQ.e30.x"[..], b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ.x", b"", b"e30"] {
            assert!(!jwt_header(text));
        }
    }

    #[test]
    fn only_a_private_keys_body_is_a_key() {
        let pem = |label: &str, der: &[u8], line: &str| {
            format!("-----BEGIN {label}-----{line}{}{line}-----END {label}-----", BASE64.encode(der)).into_bytes()
        };
        let mut pkcs8 = vec![0x30, 0x2e, 0x02, 0x01, 0x00];
        pkcs8.resize(48, 7);
        for line in ["\n", "\r\n", "\\n"] {
            assert!(pem_key(&pem("PRIVATE KEY", &pkcs8, line)), "{line:?}");
        }
        let mut openssh = b"openssh-key-v1\0".to_vec();
        openssh.resize(64, 1);
        assert!(pem_key(&pem("OPENSSH PRIVATE KEY", &openssh, "\n")));
        assert!(!pem_key(&pem("PUBLIC KEY", &pkcs8, "\n")) && !pem_key(&pem("CERTIFICATE", &pkcs8, "\n")));
        assert!(!pem_key(b"-----BEGIN PRIVATE KEY-----\n<your key>\n-----END PRIVATE KEY-----"));
        assert!(!pem_key(&pem("PRIVATE KEY", &[0x41; 48], "\n")), "no key begins so");
    }
}
