//! When a secret ends, where it says so itself: a JSON Web Token (RFC 7519) with `exp`.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::pipeline::credential::Secret;

/// The time after which it is worth nothing, by its own word. The signature is not looked at: who would lie here lies to
/// himself.
pub(super) fn of(secret: &Secret) -> Option<SystemTime> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let mut parts = secret.expose().split(|byte| *byte == b'.');
    let (header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !header.starts_with(b"eyJ") {
        return None;
    }
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims).ok()?);
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(exp).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
    }

    fn token(claims: &str) -> Secret {
        secret(&format!("eyJhbGciOiJIUzI1NiJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(claims)))
    }

    #[test]
    fn a_token_says_when_it_ends_and_nothing_else_does() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(of(&token(r#"{"sub":"a","exp":1800000000}"#)), at(1_800_000_000));
        assert_eq!(of(&token(r#"{"exp":1.8e9}"#)), at(1_800_000_000));
        for claims in [r#"{"sub":"a"}"#, r#"{"exp":"soon"}"#, r#"{"exp":-1}"#, r#"{"exp":1e300}"#, "no json"] {
            assert_eq!(of(&token(claims)), None, "{claims}");
        }
        for text in ["sk-live-1234567890", "a.b.c", "eyJ.eyJleHAiOjF9", "eyJ.eyJleHAiOjF9.c.d", "eyJ.!.c"] {
            assert_eq!(of(&secret(text)), None, "{text}");
        }
    }
}
