//! What attaché saw at CONNECT and gives to the requests inside the tunnel.
//!
//! It travels as Envoy filter state, which only attaché's own answers can set. It holds what was *shown*, never
//! what was concluded, so that each inner request is judged on the policy of its own moment.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::pipeline::message::Authority;

/// What a tunnel was opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The CONNECT target.
    pub authority: Authority,
    /// The agent's address and port, as Envoy saw it.
    pub source: Box<str>,
    /// The hash of the proxy token that was shown.
    pub token: Option<TokenHash>,
    /// The identity header that was shown: lower-case name and value.
    pub header: Option<ShownHeader>,
}

/// A header's lower-case name and its value.
pub type ShownHeader = (Box<str>, Box<[u8]>);

impl Session {
    /// One line without blanks.
    pub fn encode(&self) -> String {
        let mut text = format!("1;{};{};", self.authority, self.source);
        if let Some(TokenHash(hash)) = &self.token {
            text.push_str(&URL_SAFE_NO_PAD.encode(hash));
        }
        text.push(';');
        if let Some((name, value)) = &self.header {
            text.push_str(name);
            text.push('=');
            text.push_str(&URL_SAFE_NO_PAD.encode(value));
        }
        text
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` for anything else.
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let ("1", authority, source, token, header, None) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next())
        else {
            return None;
        };
        let token = match token {
            "" => None,
            text => Some(TokenHash(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?)),
        };
        let header = match header {
            "" => None,
            text => {
                let (name, value) = text.split_once('=')?;
                Some((name.into(), URL_SAFE_NO_PAD.decode(value).ok()?.into()))
            }
        };
        Some(Self { authority: Authority::parse(authority.as_bytes()).ok()?, source: source.into(), token, header })
    }
}

/// The SHA-256 of a proxy token. Tokens themselves are not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// Hashes a token as it stands on the wire.
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(token in proptest::option::of(any::<[u8; 32]>()), value in proptest::option::of(any::<Vec<u8>>())) {
            let session = Session {
                authority: Authority::parse(b"[2001:db8::1]:443").unwrap(),
                source: "127.0.0.1:4711".into(),
                token: token.map(TokenHash),
                header: value.map(|v| ("x-agent".into(), v.into())),
            };
            prop_assert_eq!(Session::decode(&session.encode()), Some(session));
        }

        #[test]
        fn anything_else_is_refused_without_a_panic(text in ".*") {
            let _ = Session::decode(&text);
        }
    }

    #[test]
    fn a_session_of_another_shape_is_none() {
        for text in ["", "1", "2;a:1;b;;", "1;a:1;b;;;", "1;a b;c;;", "1;a:1;b;!;", "1;a:1;b;AAAA;", "1;a:1;b;;x"] {
            assert_eq!(Session::decode(text), None, "{text}");
        }
    }
}
