//! Signatures as the Standard Webhooks specification says: HMAC-SHA256 over id, time and body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use zeroize::Zeroizing;

/// What signs. Wiped when dropped, as far as the library that computes lets it.
pub(super) struct Key(hmac::Key);

/// Why a text cannot sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadKey {
    /// Nothing, or nothing after the prefix.
    #[error("the webhook's secret is empty")]
    Empty,
    /// The prefix says base64, and it is none.
    #[error("the webhook's secret begins with `whsec_`, and what follows is not base64")]
    Base64,
}

impl Key {
    /// Reads a secret: `whsec_` and base64, or any other text as it stands. White space around it does not count.
    pub(super) fn read(secret: &[u8]) -> Result<Self, BadKey> {
        let secret = secret.trim_ascii();
        let bytes = match secret.strip_prefix(b"whsec_") {
            Some(encoded) => Zeroizing::new(STANDARD.decode(encoded).map_err(|_| BadKey::Base64)?),
            None => Zeroizing::new(secret.to_vec()),
        };
        if bytes.is_empty() { Err(BadKey::Empty) } else { Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))) }
    }

    /// The value of `webhook-signature`. `seconds` is the time of the attempt since 1970.
    pub(super) fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{seconds}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_example_is_signed_as_it_says() {
        let key = Key::read(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_base64_only_where_it_says_so() {
        let sign = |secret: &[u8]| Key::read(secret).map(|key| key.sign("id", 1, b"{}"));
        assert_eq!(sign(b"whsec_c2VjcmV0"), sign(b"secret"));
        assert_ne!(sign(b"c2VjcmV0"), sign(b"secret"));
        assert_eq!(sign(b"").unwrap_err(), BadKey::Empty);
        assert_eq!(sign(b"whsec_").unwrap_err(), BadKey::Empty);
        assert_eq!(sign(b"whsec_!").unwrap_err(), BadKey::Base64);
    }
}
