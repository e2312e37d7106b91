//! Signed statements of how far a chain had come. A chain alone cannot show that its end was cut off; a checkpoint that
//! was kept elsewhere does.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::chain::Link;
use crate::pipeline::audit::rfc3339;

/// What a run signs with. It is never written anywhere: who finds the journal can sign nothing in its name.
pub(super) struct Key(Ed25519KeyPair);

/// The other half, which anybody may have: 32 bytes, as base64 where they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(Box<str>);

/// A statement that a chain had come so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// When it was made, as RFC 3339 in UTC with microseconds.
    #[serde(with = "rfc3339")]
    pub time: SystemTime,
    /// The record before it.
    pub at: Link,
    /// True for the one that ends its chain: the service was told to stop, and nothing follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
    /// Whose signature it is.
    pub public_key: PublicKey,
    /// Ed25519 (RFC 8032) over what [`Checkpoint::signed`] gives, as base64.
    pub signature: Box<str>,
}

/// What is wrong with a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    /// Not base64, or not of the right length.
    #[error("its key or signature is not the base64 of an Ed25519 key or signature")]
    Malformed,
    /// Somebody else's, or changed.
    #[error("its signature is not that of its key")]
    Forged,
}

impl Key {
    pub fn generate() -> Option<Self> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok()?;
        Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).ok().map(Self)
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(STANDARD.encode(self.0.public_key()).into())
    }

    pub fn sign(&self, at: Link, time: SystemTime, last: bool) -> Checkpoint {
        let mut checkpoint = Checkpoint { time, at, last, public_key: self.public(), signature: Box::default() };
        checkpoint.signature = STANDARD.encode(self.0.sign(checkpoint.signed().as_bytes())).into();
        checkpoint
    }
}

impl PublicKey {
    /// Reads one as it is written. None where it is not the base64 of 32 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        matches!(STANDARD.decode(text), Ok(bytes) if bytes.len() == 32).then(|| Self(text.into()))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Checkpoint {
    /// What the signature is over: these lines, each ended by a line feed.
    ///
    /// ```text
    /// attache journal checkpoint v1
    /// <chain> <seq> <hash>
    /// <time>
    /// open|last
    /// ```
    pub fn signed(&self) -> String {
        let Link { chain, seq, hash } = &self.at;
        let time = rfc3339::text(self.time).unwrap_or_default();
        let time = std::str::from_utf8(&time).unwrap_or_default();
        let last = if self.last { "last" } else { "open" };
        format!("attache journal checkpoint v1\n{chain} {seq} {hash}\n{time}\n{last}\n")
    }

    /// Whether the signature is that of the key it names.
    pub fn verify(&self) -> Result<(), BadCheckpoint> {
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| BadCheckpoint::Malformed);
        let (key, signature) = (decode(self.public_key.as_str())?, decode(&self.signature)?);
        if (key.len(), signature.len()) != (32, 64) {
            return Err(BadCheckpoint::Malformed);
        }
        let key = UnparsedPublicKey::new(&ED25519, key);
        key.verify(self.signed().as_bytes(), &signature).map_err(|_| BadCheckpoint::Forged)
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain::Hash;
    use super::*;

    fn signed() -> Checkpoint {
        let at = Link { chain: "c1".into(), seq: 7, hash: Hash([3; 32]) };
        Key::generate().unwrap().sign(at, SystemTime::UNIX_EPOCH, false)
    }

    #[test]
    fn a_checkpoint_holds_for_what_it_says_and_nothing_else() {
        let checkpoint = signed();
        assert_eq!(checkpoint.verify(), Ok(()));
        type Change = fn(&mut Checkpoint);
        let changes: [Change; 6] = [
            |c| c.at.seq += 1,
            |c| c.at.hash.0[31] ^= 1,
            |c| c.at.chain = "c2".into(),
            |c| c.time += std::time::Duration::from_micros(1),
            |c| c.last = true,
            |c| c.public_key = signed().public_key,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = checkpoint.clone();
            change(&mut changed);
            assert_eq!(changed.verify(), Err(BadCheckpoint::Forged), "change {number}");
        }
        let mut short = checkpoint;
        short.signature = "AAAA".into();
        assert_eq!(short.verify(), Err(BadCheckpoint::Malformed));
    }

    #[test]
    fn a_checkpoint_reads_back_as_it_was_written() {
        let checkpoint = signed();
        let line = serde_json::to_string(&checkpoint).unwrap();
        assert_eq!(serde_json::from_str::<Checkpoint>(&line).unwrap(), checkpoint);
        assert_eq!(PublicKey::parse(checkpoint.public_key.as_str()), Some(checkpoint.public_key));
        assert_eq!(PublicKey::parse("c2hvcnQ="), None);
    }
}
