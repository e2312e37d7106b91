//! Kills a process that writes a journal, again and again: what it said was there is there, and the chain holds.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::chain::Sealed;
use super::verify::{Expected, verify};
use super::{Durability, Journal, Options, segment};

/// Tells the child where its journal is; not set for who runs all tests.
const FOLDER: &str = "ATTACHE_TEST_CRASH_FOLDER";
const STRICT: &str = "ATTACHE_TEST_CRASH_STRICT";
const WRITERS: usize = 4;
/// How many runs share a journal: each has to go on where the one before died.
const RUNS: usize = 25;

#[test]
fn what_was_acknowledged_survives_sigkill_buffered() {
    survive(false, 100);
}

#[test]
fn what_was_acknowledged_survives_sigkill_strict() {
    survive(true, 100);
}

fn survive(strict: bool, rounds: usize) {
    let mut acknowledged = 0;
    for _ in 0..rounds / RUNS {
        let folder = tempfile::tempdir().unwrap();
        let mut all = Vec::new();
        for run in 0..RUNS {
            all.extend(killed(folder.path(), strict));
            let report = verify(folder.path(), &Expected::default(), &mut |_, _| ());
            let report = report.unwrap_or_else(|bad| panic!("run {run}: {bad}"));
            assert!(report.chains.iter().all(|chain| !chain.ended), "{report:#?}");
        }
        let there = records(folder.path());
        for Acknowledged { chain, seq, record } in &all {
            let line = there.get(&(chain.clone(), *seq));
            assert!(line.is_some_and(|line| line.contains(record)), "record {seq} of {chain}: {line:?}");
        }
        acknowledged += all.len();
    }
    assert!(acknowledged > rounds, "{acknowledged}");
}

struct Acknowledged {
    chain: String,
    seq: u64,
    record: String,
}

/// One run, killed after some acknowledgements; all that it gave.
fn killed(folder: &Path, strict: bool) -> Vec<Acknowledged> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "--nocapture", "journal::crashes::child"]);
    command.env(FOLDER, folder).env(STRICT, if strict { "1" } else { "0" });
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut all = Vec::new();
    let mut take = |line: std::io::Result<String>| {
        // `ACK chain seq record`; between them stands what the test harness says.
        let line = line.ok()?;
        let mut words = line.strip_prefix("ACK ")?.splitn(3, ' ').map(ToOwned::to_owned);
        let (chain, seq, record) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        all.push(Acknowledged { chain, seq, record });
        Some(())
    };
    // After none as well: while it opens.
    let patience = RandomState::new().hash_one(()) % 120;
    let mut seen = 0;
    while seen < patience {
        let line = lines.next().expect("the child ended by itself");
        seen += u64::from(take(line).is_some());
    }
    child.kill().unwrap();
    // What it wrote before it died counts; a line it died in was not given.
    for line in lines {
        take(line);
    }
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
    all
}

fn records(folder: &Path) -> HashMap<(String, u64), String> {
    let mut records = HashMap::new();
    for segment in segment::list(folder).unwrap() {
        let text = std::fs::read_to_string(&segment.path).unwrap();
        let mut chain = String::new();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            if line.starts_with("{\"type\":\"segment\"") {
                let header: serde_json::Value = serde_json::from_str(line).unwrap();
                chain = header["chain"].as_str().unwrap().to_owned();
            }
            records.insert((chain.clone(), Sealed::parse(line.trim_end().as_bytes()).unwrap().seq), line.to_owned());
        }
    }
    records
}

/// Writes until it is killed: many threads, small segments, checkpoints, upkeep.
#[test]
#[ignore = "the process that the tests above kill"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let strict = std::env::var_os(STRICT).is_some_and(|strict| strict == "1");
    let durability = if strict { Durability::Strict } else { Durability::Buffered };
    let options = Options { durability, segment_size: 4_000, ..Options::default() };
    let journal = Journal::open(&folder, options).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let journal = &journal;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                for n in 0_u64.. {
                    let name = format!("{writer}-{n}");
                    let line = json!({"type": "decision", "name": name});
                    let seq = journal.append(&line).unwrap();
                    if let Some(committed) = journal.committed(seq) {
                        assert!(runtime.block_on(committed));
                    }
                    let line = format!("ACK {} {seq} \"{name}\"\n", journal.chain());
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                    if n % 16 == 15 {
                        journal.checkpoint(false).unwrap();
                        journal.upkeep().unwrap();
                    }
                }
            });
        }
    });
}
