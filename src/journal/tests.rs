use serde_json::{Value, json};

use super::chain::{Hash, Sealed};
use super::*;

impl Line for Value {
    fn write(&self, line: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(line, self)
    }
}

fn open(folder: &Path) -> Journal {
    Journal::open(folder, Options::default()).unwrap()
}

fn lines(folder: &Path) -> Vec<String> {
    let texts = segment::list(folder).unwrap().into_iter().map(|s| std::fs::read_to_string(s.path).unwrap());
    texts.collect::<String>().lines().map(ToOwned::to_owned).collect()
}

/// The lines as JSON; panics where one does not follow the one before it.
fn chained(folder: &Path) -> Vec<Value> {
    let mut before = (Hash::default(), 0);
    let read = |line: String| {
        let value: Value = serde_json::from_str(&line).unwrap();
        let sealed = Sealed::parse(line.as_bytes()).unwrap();
        if value["type"] == "segment" && value["after"]["chain"] != value["chain"] {
            before = (Hash::default(), 0);
        }
        assert!(sealed.follows(&before.0) && sealed.seq == before.1, "{line}");
        before = (sealed.hash, sealed.seq + 1);
        value
    };
    lines(folder).into_iter().map(read).collect()
}

fn types(folder: &Path) -> Vec<String> {
    chained(folder).iter().map(|line| line["type"].as_str().unwrap_or("record").to_owned()).collect()
}

#[test]
fn records_of_many_threads_are_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { segment_size: 20_000, ..Options::default() };
    let journal = Journal::open(&folder.path().join("journal"), options).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let journal = &journal;
            scope.spawn(move || {
                for line in 0..250 {
                    journal.append(&json!({"thread": thread, "line": line})).unwrap();
                    let two = [0, 1].map(|half| json!({"thread": thread, "line": line, "half": half}));
                    journal.append_all(&two).unwrap();
                }
            });
        }
    });
    let segments = segment::list(journal.folder()).unwrap();
    assert!(segments.len() > 10, "{}", segments.len());
    assert_eq!(types(journal.folder()).iter().filter(|kind| *kind == "record").count(), 3000);
    let facts = journal.facts();
    let size: u64 = segments.iter().map(|segment| segment.size).sum();
    assert_eq!((facts.size, facts.segments, facts.records), (size, segments.len() as u64, 3000 + facts.segments));
}

#[test]
fn a_run_goes_on_where_the_one_before_was_torn_off() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    first.append(&json!({"a": 1})).unwrap();
    let ended = first.append(&json!({"a": 2})).unwrap();
    let chain = first.chain().to_owned();
    drop(first);
    let file = segment::list(folder.path()).unwrap().remove(0).path;
    let whole = std::fs::read(&file).unwrap();
    for torn in [&b""[..], b"{\"type\":\"decision\",\"req", b"garbage\n\n\xff\n"] {
        std::fs::write(&file, [&whole, torn].concat()).unwrap();
        let next = open(folder.path());
        drop(next);
        let newest = segment::list(folder.path()).unwrap().pop().unwrap().path;
        let header: Value =
            serde_json::from_str(std::fs::read_to_string(&newest).unwrap().lines().next().unwrap()).unwrap();
        assert_eq!((&header["after"]["chain"], header["after"]["seq"].as_u64()), (&json!(chain), Some(ended)));
        assert_ne!(header["chain"], json!(chain));
        std::fs::remove_file(newest).unwrap();
    }
}

#[test]
fn files_that_nothing_can_be_read_from_do_not_keep_it_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    for (number, bytes) in [(1, &b""[..]), (2, b"\0\0\0\0"), (3, b"{}\n{}\n")] {
        std::fs::write(folder.path().join(format!("0000000{number}-20260101T000000Z.jsonl")), bytes).unwrap();
    }
    let journal = open(folder.path());
    journal.append(&json!({"a": 1})).unwrap();
    let newest = segment::list(folder.path()).unwrap().pop().unwrap();
    assert_eq!(newest.number, 4);
}

#[test]
fn two_cannot_write_one_journal() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let refused = Journal::open(folder.path(), Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::Busy(Some(pid)) if pid == std::process::id()), "{refused}");
    assert!(refused.to_string().contains("its own state directory"));
    drop(journal);
    open(folder.path());
}

#[test]
fn a_full_disk_is_an_error_and_the_next_record_begins_a_segment_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    journal.append(&json!({"a": 1})).unwrap();
    // Takes no byte, and can no more be cut to the length it had.
    journal.shared.writer().file = OpenOptions::new().append(true).open("/dev/full").unwrap().into();
    journal.append(&json!({"lost": true})).unwrap_err();
    assert_eq!(journal.facts().errors, 1);
    let seq = journal.append(&json!({"a": 2})).unwrap();
    assert_eq!(seq, 3, "the first line of the new segment has a number too");
    assert_eq!(types(folder.path()), ["segment", "record", "segment", "record"]);

    // It fails again and again: not each time is a segment begun.
    for _ in 0..10 {
        journal.shared.writer().file = OpenOptions::new().append(true).open("/dev/full").unwrap().into();
        journal.append(&json!({"lost": true})).unwrap_err();
    }
    assert_eq!(journal.facts().segments, 2);
    let mut writer = journal.shared.writer();
    writer.renewed = writer.renewed.and_then(|renewed| renewed.checked_sub(Duration::from_secs(1)));
    drop(writer);
    journal.append(&json!({"a": 3})).unwrap();
    assert_eq!(types(folder.path())[4..], ["segment", "record"]);
}

#[test]
fn what_is_written_to_a_file_that_was_taken_away_is_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let (there, away) = (folder.path().join("journal"), folder.path().join("away"));
    let journal = open(&there);
    journal.append(&json!({"a": 1})).unwrap();
    journal.upkeep().unwrap();
    std::fs::rename(&there, &away).unwrap();
    assert_eq!(journal.upkeep().unwrap_err().kind(), std::io::ErrorKind::NotFound);
    journal.append(&json!({"lost": true})).unwrap_err();
    std::fs::rename(&away, &there).unwrap();
    journal.append(&json!({"a": 2})).unwrap();
    journal.upkeep().unwrap();
    assert_eq!(types(&there), ["segment", "record", "segment", "record"]);

    // The file alone, and another in its place.
    let path = segment::list(&there).unwrap().pop().unwrap().path;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    assert!(journal.upkeep().unwrap_err().to_string().contains("has been replaced"));
}

#[test]
fn what_the_end_says_is_signed_and_counts_all() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let seq = journal.append(&json!({"a": 1})).unwrap();
    journal.close().unwrap();
    journal.keeper.lock().unwrap().expect_checkpoint();
    journal.upkeep().unwrap();
    let last = chained(folder.path()).pop().unwrap();
    let checkpoint: Checkpoint = serde_json::from_value(last).unwrap();
    assert_eq!((checkpoint.verify(), checkpoint.last, checkpoint.at.seq), (Ok(()), true, seq));
    assert_eq!(&*checkpoint.at.chain, journal.chain());
    assert_eq!(checkpoint.public_key, journal.public_key());
}

#[tokio::test]
async fn what_has_to_be_on_disk_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    assert!(open(folder.path()).committed(0).is_none());
    let journal =
        Journal::open(folder.path(), Options { durability: Durability::Strict, ..Options::default() }).unwrap();
    let waits: Vec<_> = (0..50)
        .map(|line| {
            let seq = journal.append(&json!({"line": line})).unwrap();
            journal.committed(seq).unwrap()
        })
        .collect();
    for wait in waits {
        assert!(wait.await);
    }
    assert_eq!(journal.facts().unsynced, Duration::ZERO);
    // A pipe takes every byte and cannot be brought onto any disk.
    let (_kept, pipe) = std::io::pipe().unwrap();
    journal.shared.writer().file = Arc::new(File::from(std::os::fd::OwnedFd::from(pipe)));
    let lost = journal.append(&json!({"lost": true})).unwrap();
    assert!(!journal.committed(lost).unwrap().await);
    let kept = journal.append(&json!({"kept": true})).unwrap();
    assert!(journal.committed(kept).unwrap().await);
    assert!(!journal.committed(lost).unwrap().await, "it does not come back");
}

#[test]
fn old_segments_go_and_what_is_held_stays() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { segment_size: 1_000, max_size: Some(5_000), ..Options::default() };
    let journal = Journal::open(folder.path(), options).unwrap();
    let numbers = || segment::list(folder.path()).unwrap().iter().map(|s| s.number).collect::<Vec<_>>();
    let fill = |records: usize| {
        for line in 0..records {
            journal.append(&json!({"line": line})).unwrap();
        }
    };
    fill(100);
    let pin = journal.pin(3);
    journal.upkeep().unwrap();
    let held = numbers();
    assert!(held[0] == 3 && held.len() > 6, "{held:?}");
    pin.advance(u64::MAX);
    fill(20);
    journal.upkeep().unwrap();
    let left = segment::list(folder.path()).unwrap();
    assert!(left[0].number > 3 && left.len() > 2, "{left:?}");
    let size: u64 = left.iter().map(|segment| segment.size).sum();
    assert!(size <= 7_000, "{size}");
    assert_eq!(journal.facts().size, size, "what was removed of this run's own counts no more");
    let marks: Vec<mark::Mark> =
        lines(folder.path()).iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mut removed = marks.iter().filter_map(|mark| match mark {
        mark::Mark::Retention(retention) => Some(retention.clone()),
        _ => None,
    });
    let last = removed.next_back().unwrap();
    assert_eq!((last.segments.0, last.segments.1 + 1), (3, left[0].number));
    let header = segment::header(&File::open(&left[0].path).unwrap()).unwrap().unwrap();
    assert_eq!(last.through, header.after);
}

#[test]
fn a_segment_is_begun_when_one_is_old_and_a_checkpoint_signed_when_something_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { segment_age: Duration::ZERO, ..Options::default() };
    let journal = Journal::open(folder.path(), options).unwrap();
    journal.upkeep().unwrap();
    assert_eq!(types(folder.path()), ["segment"], "nothing was written");
    journal.append(&json!({"a": 1})).unwrap();
    journal.append(&json!({"a": 2})).unwrap();
    journal.upkeep().unwrap();
    assert_eq!(types(folder.path()), ["segment", "record", "record", "segment"]);
    journal.keeper.lock().unwrap().expect_checkpoint();
    journal.upkeep().unwrap();
    journal.keeper.lock().unwrap().expect_checkpoint();
    journal.upkeep().unwrap();
    assert_eq!(types(folder.path()), ["segment", "record", "record", "segment", "checkpoint"]);
}

#[test]
fn what_is_old_by_a_clock_that_was_set_forward_stays() {
    let folder = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let options = Options { segment_size: 1_000, max_age: Some(hour), ..Options::default() };
    let journal = Journal::open(folder.path(), options).unwrap();
    for line in 0..20 {
        journal.append(&json!({"line": line})).unwrap();
    }
    let written = segment::list(folder.path()).unwrap();
    for segment in &written {
        File::options().append(true).open(&segment.path).unwrap().set_modified(SystemTime::now() - 2 * hour).unwrap();
    }
    journal.keeper.lock().unwrap().set_clock_forward(2 * hour);
    journal.upkeep().unwrap();
    assert_eq!(segment::list(folder.path()).unwrap().len(), written.len());
    *journal.keeper.lock().unwrap() = Keeper::new();
    journal.upkeep().unwrap();
    let left = segment::list(folder.path()).unwrap();
    assert!(left[0].number >= written[written.len() - 1].number, "two hours have passed: {left:?}");
}

#[test]
fn a_change_of_the_clock_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    journal.keeper.lock().unwrap().set_clock_forward(Duration::from_secs(3600));
    journal.upkeep().unwrap();
    journal.upkeep().unwrap();
    assert_eq!(types(folder.path()), ["segment", "clock"]);
}

/// The lock that is held here is what the thread holds that waits for the disk.
#[test]
fn a_disk_that_does_not_answer_is_no_record_and_one_that_does_again_is() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { durability: Durability::Strict, ..Options::default() };
    let journal = Journal::open(folder.path(), options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let disk = journal.shared.syncing.lock().unwrap();
    let began = std::time::Instant::now();
    let waits: Vec<Committed> = (0..10)
        .map(|line| {
            let seq = journal.append(&json!({"line": line})).unwrap();
            journal.committed(seq).unwrap()
        })
        .collect();
    let committed = runtime.block_on(futures_util::future::join_all(waits));
    assert_eq!(committed, [false; 10]);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(5), "Envoy's patience ends: {waited:?}");
    drop(disk);
    let seq = journal.append(&json!({"line": 10})).unwrap();
    assert!(runtime.block_on(journal.committed(seq).unwrap()));
    assert_eq!(types(folder.path()), [&["segment"][..], &["record"; 11]].concat());
}

#[test]
fn what_was_written_comes_onto_the_disk_though_nothing_more_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    journal.append(&json!({"a": 1})).unwrap();
    journal.keeper.lock().unwrap().expect_checkpoint();
    journal.shared.writer().file = OpenOptions::new().append(true).open("/dev/full").unwrap().into();
    assert_ne!(journal.facts().unsynced, Duration::ZERO);
    journal.upkeep().unwrap_err();
    assert_eq!(journal.facts().unsynced, Duration::ZERO);
}
