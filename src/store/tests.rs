mod approvals;
mod limits;
mod outage;
pub(super) mod server;

use super::*;
use crate::pipeline::limit::{Charge, Limit, Weight};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than anything here takes.
const FAR: Duration = Duration::from_secs(60);

/// One test for each kind of store.
macro_rules! for_each_store {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let store = std::sync::Arc::new($crate::store::Memory::default());
                super::$name(store.clone(), store).await;
            })*
        }

        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let server = $crate::store::tests::server::Server::start();
                let (one, other) = (server.patient().await, server.patient().await);
                super::$name(std::sync::Arc::new(one), std::sync::Arc::new(other)).await;
            })*
        }
    };
}
use for_each_store;

/// A store as two attachés see it.
type Shared = Arc<dyn Store>;

pub(super) async fn soon<T>(soon: Soon<T>) -> T {
    match soon {
        Soon::Now(now) => now,
        Soon::Later(coming) => coming.await,
    }
}

pub(super) fn charge(rule: &str, agent: &str, most: u64, per: Duration, units: u64) -> Charge {
    let limit = Limit { rule: rule.into(), most, per, weight: Weight::Request };
    Charge { limit: Arc::new(limit), agent: agent.into(), units }
}

fn reached(rule: &str, retry_after: Option<Duration>) -> Excess {
    Excess::Reached { rule: rule.into(), retry_after }
}

pub(super) fn petition(agent: &str, request: u8, expires: Duration) -> Petition {
    let mut fingerprint = [request; 32];
    for (place, byte) in fingerprint.iter_mut().zip(agent.bytes()) {
        *place = byte;
    }
    Petition {
        fingerprint: Fingerprint(fingerprint),
        about: About {
            agent: agent.into(),
            rules: vec!["refunds".into(), "größer".into()],
            method: "POST".into(),
            scheme: "https",
            host: "api.example.com".into(),
            port: 8443,
            path: "/v1/refunds".into(),
            query: Some("a=\"b\"&c".into()),
            content_type: None,
            fields: vec![("range".into(), "bytes=0-1".into())],
            body_bytes: u64::MAX,
            body_sha256: [request; 32],
            body_preview: Box::from([request, 0, 255, b'"']),
        },
        hold: SECOND * 20,
        expires,
        notify: vec!["ops".into()],
    }
}

pub(super) fn by(who: &str, why: Option<&str>) -> Answered {
    Answered { by: who.into(), why: why.map(Into::into) }
}
