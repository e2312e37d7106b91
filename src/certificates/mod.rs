//! Certificates for the names agents may call.
//!
//! To see what an agent sends over TLS, Envoy answers for the upstream, with a certificate that attaché mints on demand.
//! [`Authority`] signs, [`Minter`] makes one leaf for each name, and [`discovery`] hands them to Envoy for the names
//! that policy could ever allow, replaces them before they expire and takes them back when policy changes.

mod authority;
pub mod discovery;
pub mod keep;
mod mint;

pub use authority::{Authority, AuthorityError, authorities_in};
pub use mint::{Leaf, MintError, Minter, Subject};

use std::time::{Duration, SystemTime};

/// Clients' clocks may be this far behind.
const SKEW: Duration = Duration::from_secs(3600);

/// Seconds since 1970; 0 for anything earlier.
fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
