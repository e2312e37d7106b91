//! A journal that may not be written, or that is another's.

use super::{POLICY, Station, paths, segments, state};
use crate::support::script::Output;
use crate::support::{Disk, Frozen, attache, script, until};
use std::path::Path;

#[tokio::test(flavor = "current_thread")]
async fn it_does_not_start_where_it_cannot_write() {
    let (_home, state) = state();
    let folder = state.join("journal");
    let disk = Disk::on(&folder, 64);
    disk.fill();
    let full = serve(&state).await;
    disk.make_room();
    disk.make_read_only();
    let read_only = serve(&state).await;
    drop(disk);
    std::fs::remove_dir(&folder).unwrap();
    std::fs::write(&folder, "a file").unwrap();
    let no_folder = serve(&state).await;
    for (output, why) in [(full, "No space left"), (read_only, "Read-only file system"), (no_folder, "File exists")] {
        let said = format!("the journal in `{}` cannot be written", folder.display());
        assert_eq!((output.exit, &*output.stdout), (1, ""), "{output:?}");
        assert!(output.stderr.contains(&said) && output.stderr.contains(why), "{why}: {}", output.stderr);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn read_only_while_it_runs_nothing_passes_until_it_can_be_written() {
    let (_home, state) = state();
    let station = Station::new(POLICY, &state, &[], |setup| setup).await;
    let mut told = station.ask(paths("before", 5)).await;
    station.wait_outcomes().await;
    let folder = state.join("journal");
    for round in 0..2 {
        let frozen = Frozen::new([folder.clone(), segments(&state).pop().unwrap()]);
        let refused = station.ask(paths(&format!("frozen-{round}"), 20)).await;
        assert!(refused.iter().all(|told| (told.status, &*told.reason) == (503, "record_failed")), "{refused:?}");
        told.extend(refused);
        drop(frozen);
        // A file is begun in the place of one that could not be written to, at most once a second.
        until("requests to pass again", async || {
            let one = station.ask_one(&format!("/again-{round}/first-{}", told.len())).await;
            told.push(one.clone());
            (one.status == 200).then_some(())
        })
        .await;
        let again = station.ask(paths(&format!("again-{round}"), 20)).await;
        assert!(again.iter().all(|told| told.status == 200), "{again:?}");
        told.extend(again);
    }
    station.wait_outcomes().await;
    station.assert_all_on_record(&told);
    // What could not be written to may end in anything: the chain goes on in files of their own.
    assert_eq!(segments(&state).len(), 3);
    station.verified().await;
}

/// The file that there is can be written, and no further one be begun: it goes on past its size.
#[tokio::test(flavor = "current_thread")]
async fn where_no_file_can_be_begun_the_one_there_is_goes_on() {
    let (_home, state) = state();
    let station = Station::new(POLICY, &state, &["--journal-segment-size", "64KiB"], |setup| setup).await;
    let frozen = Frozen::new([state.join("journal")]);
    let mut told = station.ask(paths("frozen", 200)).await;
    assert!(told.iter().all(|told| told.status == 200), "{told:?}");
    station.wait_outcomes().await;
    assert_eq!(segments(&state).len(), 1);
    assert!(std::fs::metadata(&segments(&state)[0]).unwrap().len() > 64 << 10);
    station.attache().wait_stderr("the journal's next segment cannot be begun; the one before goes on").await;
    drop(frozen);
    until("another file", async || {
        told.push(station.ask_one(&format!("/again/{}", told.len())).await);
        (segments(&state).len() == 2).then_some(())
    })
    .await;
    station.wait_outcomes().await;
    station.assert_all_on_record(&told);
    station.verified().await;
}

#[tokio::test(flavor = "current_thread")]
async fn two_do_not_write_one_journal() {
    let (_home, state) = state();
    let station = Station::new(POLICY, &state, &[], |setup| setup).await;
    let service = station.attache().service().await;
    let mut told = station.ask(paths("before", 5)).await;
    let second = serve(&state).await;
    assert_eq!((second.exit, &*second.stdout), (1, ""), "{second:?}");
    let said = format!("another attaché (process {service}) writes it; give each its own state directory");
    assert!(second.stderr.contains(&said), "{said}: {}", second.stderr);
    assert_eq!(segments(&state).len(), 1, "the second has begun a file");
    told.extend(station.ask(paths("after", 5)).await);
    assert!(told.iter().all(|told| told.status == 200), "{told:?}");
    until("the second's end", async || (station.attache().service().await == service).then_some(())).await;
    station.assert_all_on_record(&told);
    station.verified().await;
}

/// `attache serve` over a state directory, to its end.
async fn serve(state: &Path) -> Output {
    let home = tempfile::tempdir().unwrap();
    let policy = home.path().join("policy.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    let mut command = attache::attache(home.path());
    command.args(["serve", "--metrics", "off", "--policy"]).arg(&policy).arg("--state-dir").arg(state);
    script::output(&mut command).await
}
