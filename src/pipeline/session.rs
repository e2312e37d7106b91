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
    /// The client certificate that was shown.
    pub peer: Option<Peer>,
    /// The hashes of the proxy tokens that were shown.
    pub tokens: Vec<TokenHash>,
    /// The identity headers that were shown.
    pub headers: Vec<ShownHeader>,
}

/// A header's lower-case name and its value.
pub type ShownHeader = (Box<str>, Box<[u8]>);

impl Session {
    /// One line without blanks. Its first part is the version of this form.
    pub fn encode(&self) -> String {
        let peer = self.peer.as_ref().map(|peer| format!("{}.{}", peer.not_after, URL_SAFE_NO_PAD.encode(&*peer.uris)));
        let tokens = self.tokens.iter().map(|TokenHash(hash)| URL_SAFE_NO_PAD.encode(hash));
        let headers = self.headers.iter().map(|(name, value)| format!("{name}={}", URL_SAFE_NO_PAD.encode(value)));
        let (tokens, headers) = (tokens.collect::<Vec<_>>().join(","), headers.collect::<Vec<_>>().join(","));
        format!("2;{};{};{};{tokens};{headers}", self.authority, self.source, peer.unwrap_or_default())
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` for anything else.
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let ("2", authority, source, peer, tokens, headers, None) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next())
        else {
            return None;
        };
        let peer = match peer {
            "" => None,
            text => {
                let (not_after, uris) = text.split_once('.')?;
                let uris = String::from_utf8(URL_SAFE_NO_PAD.decode(uris).ok()?).ok()?;
                Some(Peer { not_after: not_after.parse().ok()?, uris: uris.into() })
            }
        };
        let token = |text: &str| Some(TokenHash(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?));
        let header = |text: &str| {
            let (name, value) = text.split_once('=')?;
            Some((name.into(), URL_SAFE_NO_PAD.decode(value).ok()?.into()))
        };
        Some(Self {
            authority: Authority::parse(authority.as_bytes()).ok()?,
            source: source.into(),
            peer,
            tokens: listed(tokens).map(token).collect::<Option<_>>()?,
            headers: listed(headers).map(header).collect::<Option<_>>()?,
        })
    }
}

/// The items of a list with commas between; an empty text has none.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(move |_| !text.is_empty())
}

/// The client certificate that an agent showed to the proxy. Envoy has verified it in the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// When it ends, in seconds since 1970: a tunnel may outlast it.
    pub not_after: u64,
    /// Every URI among its subject alternative names, with commas between.
    pub uris: Box<str>,
}

impl Peer {
    /// Reads `%DOWNSTREAM_PEER_CERT_V_END(%s)%;%DOWNSTREAM_PEER_URI_SAN%`. `None`: no certificate was shown. One that
    /// cannot be read was shown all the same, and has ended.
    pub fn read(text: &str) -> Option<Self> {
        if matches!(text, "" | ";") {
            return None;
        }
        let (not_after, uris) = text.split_once(';').unwrap_or(("", text));
        Some(Self { not_after: not_after.parse().unwrap_or(0), uris: uris.into() })
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
        fn what_was_written_is_read(
            peer in proptest::option::of((any::<u64>(), ".*")),
            tokens in proptest::collection::vec(any::<[u8; 32]>(), 0..3),
            values in proptest::collection::vec(any::<Vec<u8>>(), 0..3),
        ) {
            let session = Session {
                authority: Authority::parse(b"[2001:db8::1]:443").unwrap(),
                source: "127.0.0.1:4711".into(),
                peer: peer.map(|(not_after, uris)| Peer { not_after, uris: uris.into() }),
                tokens: tokens.into_iter().map(TokenHash).collect(),
                headers: values.into_iter().map(|v| ("x-agent".into(), v.into())).collect(),
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
        for text in [
            "",
            "2",
            // As an attaché before this one wrote it.
            "1;a:1;b;;",
            "3;a:1;b;;;",
            "2;a:1;b;;;;",
            "2;a b;c;;;",
            "2;a:1;b;;!;",
            "2;a:1;b;;AAAA;",
            "2;a:1;b;;,;",
            "2;a:1;b;;;x",
            "2;a:1;b;x;;",
            "2;a:1;b;-1.;;",
            "2;a:1;b;1.!;;",
        ] {
            assert_eq!(Session::decode(text), None, "{text}");
        }
        assert!(Session::decode("2;a:1;b;;;").is_some());
    }

    #[test]
    fn a_certificate_that_cannot_be_read_has_ended() {
        let peer = |not_after, uris: &str| Some(Peer { not_after, uris: uris.into() });
        for (text, expected) in [
            ("", None),
            (";", None),
            ("17;spiffe://a/b", peer(17, "spiffe://a/b")),
            ("17;a,b", peer(17, "a,b")),
            ("17;", peer(17, "")),
            (";spiffe://a/b", peer(0, "spiffe://a/b")),
            ("-;-", peer(0, "-")),
            ("spiffe://a/b", peer(0, "spiffe://a/b")),
        ] {
            assert_eq!(Peer::read(text), expected, "{text}");
        }
    }
}
