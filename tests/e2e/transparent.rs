//! An agent in a pod whose traffic is redirected: it knows of no proxy, and whatever it tries, nothing gets out but what
//! policy allows.

mod lifecycle;
mod names;
mod ways_out;

use crate::support::pod::{Setup, at};
use crate::support::{Pod, Upstream};

/// What the agent may call, over TLS and plainly.
const POLICY: &str = "
allowedDomains:
  - pattern: api.example.com
    httpRestrictions: [{method: GET, path: '/v1/**'}, {method: POST, path: '/v1/**'}]
  - pattern: 'http://plain.example.com'
  - pattern: '*.wild.example.com'
";
/// Addresses of the internet: nobody's in particular, and in no range that attaché refuses.
const API: &str = "93.184.216.34";
const ELSEWHERE: &str = "93.184.216.99";
const ELSEWHERE_V6: &str = "2606:2800:220:1::99";

/// A pod under [`POLICY`], on an internet where its hosts are.
fn pod() -> Setup {
    pod_under(POLICY)
}

/// The same under another policy.
fn pod_under(policy: &str) -> Setup {
    Pod::under(policy)
        .name("api.example.com", &[API])
        .name("plain.example.com", &[API])
        .name("a.wild.example.com", &[API])
        .name("evil.example", &[ELSEWHERE, ELSEWHERE_V6])
}

/// The servers of that internet.
struct Internet {
    api: Upstream,
    plain: Upstream,
    /// At another address, with certificates for whatever the agent may ask for.
    evil: Upstream,
    evil_plain: Upstream,
}

impl Internet {
    async fn start() -> Internet {
        Internet {
            api: Upstream::named(["api.example.com", "a.wild.example.com"]).address(at(API, 443)).start().await,
            plain: Upstream::named([]).plaintext().address(at(API, 80)).start().await,
            evil: Upstream::named(["evil.example", "api.example.com"]).address(at(ELSEWHERE, 443)).start().await,
            evil_plain: Upstream::named([]).plaintext().address(at(ELSEWHERE, 80)).start().await,
        }
    }

    /// Nobody but the two that policy allows has been called.
    fn assert_nothing_elsewhere(&self) {
        assert_eq!(self.evil.connections().len(), 0);
        assert_eq!(self.evil_plain.connections().len(), 0);
    }
}
