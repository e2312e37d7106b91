//! Names without end in TLS handshakes: each wants a certificate, and costs Envoy and the service some memory.

use futures_util::StreamExt;

use crate::support::{Attache, Upstream, process, tunnel};

const NAMES: usize = 400;

#[tokio::test]
async fn names_without_end_take_bounded_memory_and_nobody_elses_certificate() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let policy = "allowedDomains: ['*.example.com', api.example.com]";
    let attache = Attache::up(policy).resolve("api.example.com", &upstream).start().await;
    assert_eq!(attache.curl(["https://api.example.com/"]).await.status, 200);
    let pids = [attache.envoy().await, attache.service().await];
    let before = pids.map(process::resident);
    let ca = attache.ca_pem();
    let shake = async |name: String| {
        let stream = tunnel::connect(attache.proxy(), "api.example.com:443", &[]).await.unwrap();
        tunnel::tls(stream, Some(&name), &ca, &["http/1.1"]).await.is_ok()
    };
    for (kind, expected) in [("example.com", true), ("evil.example", false)] {
        let names = (0..NAMES).map(|number| shake(format!("n{number}.{kind}")));
        let made: Vec<bool> = futures_util::stream::iter(names).buffer_unordered(8).collect().await;
        assert!(made.iter().all(|made| *made == expected), "{kind}: {:?}", made.iter().filter(|made| **made).count());
    }
    // A handshake to one name inside a tunnel to another is no way to anywhere.
    assert_eq!(upstream.requests().len(), 1);
    assert_eq!(attache.curl(["https://api.example.com/"]).await.status, 200);
    for (pid, before) in pids.into_iter().zip(before) {
        let now = process::resident(pid);
        // 64 KB for each would be much.
        assert!(now < before + (NAMES as u64 * 2) * (96 << 10), "{before} bytes have become {now}");
    }
    assert_eq!([attache.envoy().await, attache.service().await], pids, "another process answers");
}
