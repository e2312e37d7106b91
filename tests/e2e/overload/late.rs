//! What an Envoy with too much to do brings late, attaché refuses, and asks for no bodies that would come too late.

use std::path::PathBuf;
use std::time::Duration;

use ::attache::envoy::bootstrap::Bootstrap;
use tempfile::TempDir;

use crate::support::interposer::Act;
use crate::support::process::Running;
use crate::support::{Ca, Crowd, Envoy, Interposer, Upstream, attache, free_address};

/// Requests a second: many times as many as say something about a quarter of a second.
const RATE: f64 = 100.0;
const LASTS: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_everything_comes_late_some_are_told_to_come_again() {
    let milliseconds = Duration::from_millis;
    let cases = [
        ("heads", Act::PassLate { head: milliseconds(350), rest: Duration::ZERO }),
        ("bodies", Act::PassLate { head: milliseconds(40), rest: milliseconds(700) }),
    ];
    let upstream = Upstream::https(["api.example.com"]).await;
    let place = Place::start(&upstream).await;
    for (case, late) in cases {
        place.crowd.until_served().await;
        let reached = upstream.requests().len();
        place.between.script(move |_| late.clone());
        let told = place.crowd.flood(RATE, LASTS).await;
        place.between.script(|_| Act::Pass);

        let (passed, refused): (Vec<_>, Vec<_>) = told.into_iter().partition(|told| told.status == 200);
        assert!(!refused.is_empty(), "{case}: {} passed", passed.len());
        for told in refused {
            assert!(told.status == 503 && told.text.contains("\"reason\":\"overloaded\""), "{case}: {}", told.text);
            assert!(told.text.to_lowercase().contains("\r\nretry-after: 1\r\n"), "{case}: {}", told.text);
        }
        assert_eq!(upstream.requests().len(), reached + passed.len(), "{case}");
    }
    // Nothing comes late any more.
    place.crowd.until_served().await;
}

/// attaché and Envoy, and between them what lets things come late.
struct Place {
    crowd: Crowd,
    between: Interposer,
    _envoy: Envoy,
    _service: Running,
    _directory: TempDir,
}

impl Place {
    async fn start(upstream: &Upstream) -> Place {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| -> PathBuf { directory.path().join(name) };
        std::fs::write(path("policy.yaml"), "allowedDomains: [api.example.com]").unwrap();
        std::fs::write(path("upstream-ca.pem"), Ca::shared().pem()).unwrap();
        let mut command = attache::attache(directory.path());
        command.args(["serve", "--workers", "1", "--shed-after", "1s", "--policy"]).arg(path("policy.yaml"));
        command.arg("--state-dir").arg(directory.path()).arg("--socket").arg(path("behind.sock"));
        command.args(["--metrics", &free_address().to_string()]);
        command.args(["--resolve", &format!("api.example.com:443:{}", upstream.address())]);
        let mut service = Running::start("attache serve", command);
        service.line().await;
        let between = Interposer::before(&path("behind.sock"), &path("service.sock"), |_| Act::Pass);
        let listen = free_address();
        let bootstrap = Bootstrap {
            listen,
            service_socket: path("service.sock"),
            admin_socket: path("admin.sock"),
            access_log: path("envoy-access.jsonl"),
            upstream_ca: path("upstream-ca.pem"),
            ..Bootstrap::default()
        };
        let envoy = Envoy::start(&bootstrap.render().unwrap(), listen).await;
        let crowd = Crowd::new(listen, 1 << 10);
        crowd.until_served().await;
        Place { crowd, between, _envoy: envoy, _service: service, _directory: directory }
    }
}
