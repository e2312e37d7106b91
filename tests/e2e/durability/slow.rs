//! A disk that takes its time, or does not keep what it was given.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ::attache::journal::verify::{Expected, verify};

use super::{HOST, POLICY, Told, allowed, ask, metric, paths, segments};
use crate::fail_closed::Place;
use crate::support::process::Running;
use crate::support::{Envoy, SlowDisk, Upstream, attache, free_address, until};

#[tokio::test]
async fn strict_nothing_passes_before_the_disk_has_its_record() {
    let sidecar = Sidecar::new("strict").await;
    let mut told = sidecar.again("before").await;

    sidecar.disk.hang();
    let began = Instant::now();
    let hung = sidecar.ask(paths("hung", 20)).await;
    let waited = began.elapsed();
    assert!(hung.iter().all(is_refused), "{hung:?}");
    assert!(waited > Duration::from_secs(1) && waited < Duration::from_secs(5), "{waited:?}");
    told.extend(hung);
    sidecar.assert_all_on_record(&told).await;
    sidecar.disk.work();
    told.extend(sidecar.again("late").await);

    let before = segments(&sidecar.state).len();
    let errors = metric(sidecar.metrics, "attache_journal_errors_total").await;
    sidecar.disk.fail();
    let began = Instant::now();
    for round in 0..10 {
        let failed = sidecar.ask(paths(&format!("failed-{round}"), 20)).await;
        assert!(failed.iter().all(is_refused), "{failed:?}");
        told.extend(failed);
    }
    let seconds = began.elapsed().as_secs() as usize + 1;
    assert!(metric(sidecar.metrics, "attache_journal_errors_total").await > errors);
    // What the disk did not take, the kernel may have forgotten: what follows is in a file of its own.
    let begun = segments(&sidecar.state).len() - before;
    assert!(begun <= seconds, "{begun} files in {seconds} s");
    sidecar.disk.work();
    told.extend(sidecar.again("worked").await);
    let after = sidecar.ask(paths("after", 20)).await;
    assert!(after.iter().all(|told| told.status == 200), "{after:?}");
    told.extend(after);
    sidecar.assert_all_on_record(&told).await;
    assert!(segments(&sidecar.state).len() > before);
}

#[tokio::test]
async fn buffered_nobody_waits_for_the_disk_and_it_shows() {
    let sidecar = Sidecar::new("buffered").await;
    let mut told = sidecar.again("before").await;
    sidecar.disk.hang();
    let hung = sidecar.ask(paths("hung", 20)).await;
    assert!(hung.iter().all(|told| told.status == 200), "{hung:?}");
    told.extend(hung);
    let unsynced = async || metric(sidecar.metrics, "attache_journal_unsynced_seconds").await;
    until("the metric", async || (unsynced().await > 0.5).then_some(())).await;
    sidecar.disk.work();
    until("the disk", async || (unsynced().await < 0.3).then_some(())).await;
    sidecar.assert_all_on_record(&told).await;
}

/// Envoy on its shipped bootstrap, beside a service that is started alone: a supervisor hands on no `LD_PRELOAD`.
struct Sidecar {
    disk: SlowDisk,
    upstream: Upstream,
    metrics: SocketAddr,
    state: PathBuf,
    proxy: SocketAddr,
    _envoy: Envoy,
    _service: Running,
    _place: Place,
}

impl Sidecar {
    async fn new(durability: &str) -> Sidecar {
        let (disk, place, upstream, metrics) =
            (SlowDisk::new(), Place::new(), Upstream::https([HOST]).await, free_address());
        let state = place.journal().parent().unwrap().to_owned();
        let home = state.parent().unwrap();
        let policy = home.join("policy.yaml");
        std::fs::write(&policy, POLICY).unwrap();
        let mut command = attache::attache(home);
        command.arg("serve").arg("--policy").arg(policy).arg("--state-dir").arg(&state);
        command.arg("--socket").arg(place.service()).args(["--durability", durability]);
        command.args(["--metrics", &metrics.to_string()]);
        command.args(["--resolve", &format!("{HOST}:443:{}", upstream.address())]).envs(disk.variables());
        let mut service = Running::start("attache serve", command);
        service.line().await;
        let (envoy, proxy) = (place.envoy().await, place.listener);
        Sidecar { disk, upstream, metrics, state, proxy, _envoy: envoy, _service: service, _place: place }
    }

    async fn ask(&self, paths: Vec<String>) -> Vec<Told> {
        ask(self.proxy, paths).await
    }

    /// Asks until something passes.
    async fn again(&self, kind: &str) -> Vec<Told> {
        let mut told = Vec::new();
        until("requests to pass", async || {
            told.extend(self.ask(vec![format!("/{kind}/{}", told.len())]).await);
            (told.last()?.status == 200).then_some(())
        })
        .await;
        told
    }

    /// What arrived is what is on record as allowed, and what agents were told.
    async fn assert_all_on_record(&self, told: &[Told]) {
        let passed = told.iter().filter(|told| told.status == 200).map(|told| told.path.clone());
        let arrived: Vec<String> = self.upstream.requests().into_iter().map(|seen| seen.path).collect();
        assert_eq!(arrived.iter().cloned().collect::<BTreeSet<_>>(), passed.collect());
        let arrived: BTreeSet<String> = arrived.into_iter().collect();
        // What was taken back of what did not get onto the disk may be on record later.
        until("what is on record as allowed", async || (allowed(&self.state) == arrived).then_some(())).await;
        let holds = verify(&self.state.join("journal"), &Expected::default(), &mut |_, _| ());
        holds.unwrap_or_else(|bad| panic!("{bad}"));
    }
}

fn is_refused(told: &Told) -> bool {
    (told.status, &*told.reason) == (503, "record_failed")
}
