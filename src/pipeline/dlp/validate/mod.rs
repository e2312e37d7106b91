//! What can be checked of a value without asking anybody: checksums, structure, ranges.

use serde::Deserialize;

/// A check that a rule names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Validator {
    /// The Luhn checksum (ISO/IEC 7812-1 annex B) over the digits.
    Luhn,
    /// CRC-32 in the last six base62 characters of GitHub's and npm's tokens.
    GithubCrc32,
    /// An AWS key id whose body is base32.
    AwsKeyId,
    /// A JWT whose header is JSON with an `alg`.
    JwtHeader,
    /// A PEM block whose body decodes to a private key.
    PemKey,
    /// The bech32 checksum of an age key.
    Age,
}

impl Validator {
    /// Whether the value holds.
    pub fn holds(self, value: &[u8]) -> bool {
        match self {
            Self::Luhn => luhn(value),
            // Stubs: the validators come from another branch.
            Self::GithubCrc32 | Self::AwsKeyId | Self::JwtHeader | Self::PemKey | Self::Age => true,
        }
    }
}

fn luhn(value: &[u8]) -> bool {
    let digits = value.iter().rev().filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0'));
    let sum: u32 = digits
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit * 2) {
            (0, _) => digit,
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    sum % 10 == 0
}
