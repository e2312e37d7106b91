use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::checkpoint::Key;
use super::super::{Durability, Journal, Options, segment};
use super::*;

/// A journal's files as lines, each with its line feed, to be changed and put back.
#[derive(Clone)]
struct Files(Vec<(String, Vec<Vec<u8>>)>);

impl Files {
    fn read(folder: &Path) -> Self {
        let files = segment::list(folder).unwrap().into_iter().map(|segment| {
            let name = segment.path.file_name().unwrap().to_str().unwrap().to_owned();
            let bytes = fs::read(&segment.path).unwrap();
            (name, bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect())
        });
        Self(files.collect())
    }

    fn verify(&self, expected: &Expected) -> Result<Report, Box<Bad>> {
        let folder = tempfile::tempdir().unwrap();
        for (name, lines) in &self.0 {
            fs::write(folder.path().join(name), lines.concat()).unwrap();
        }
        check(folder.path(), expected)
    }

    /// Where a line stands, over all files.
    fn at(&mut self, mut index: usize) -> (&mut Vec<Vec<u8>>, usize) {
        for (_, lines) in &mut self.0 {
            if index < lines.len() {
                return (lines, index);
            }
            index -= lines.len();
        }
        panic!("there is no such line")
    }

    fn count(&self) -> usize {
        self.0.iter().map(|(_, lines)| lines.len()).sum()
    }
}

fn check(folder: &Path, expected: &Expected) -> Result<Report, Box<Bad>> {
    match verify(folder, expected, &mut |_, _| ()) {
        Ok(report) => Ok(report),
        Err(VerifyError::Bad(bad)) => Err(bad),
        Err(other) => panic!("{other}"),
    }
}

fn nothing() -> Expected {
    Expected::default()
}

fn small() -> Options {
    Options { segment_size: 1500, ..Options::default() }
}

fn fill(journal: &Journal, numbers: std::ops::Range<u64>) {
    for n in numbers {
        journal.append(&json!({"type": "decision", "n": n, "time": "2026-11-20T12:00:00.000000Z"})).unwrap();
    }
}

/// A run that ended in order, one that died in the middle of a line, and one that ended in order.
fn journal(folder: &Path) {
    let first = Journal::open(folder, small()).unwrap();
    fill(&first, 0..12);
    first.checkpoint(false).unwrap();
    fill(&first, 12..20);
    first.close().unwrap();
    drop(first);
    let second = Journal::open(folder, small()).unwrap();
    fill(&second, 20..24);
    second.checkpoint(false).unwrap();
    fill(&second, 24..26);
    drop(second);
    let torn = segment::list(folder).unwrap().pop().unwrap().path;
    fs::write(&torn, [&fs::read(&torn).unwrap()[..], b"{\"type\":\"dec"].concat()).unwrap();
    let third = Journal::open(folder, small()).unwrap();
    fill(&third, 26..40);
    third.close().unwrap();
}

fn whole() -> Files {
    let folder = tempfile::tempdir().unwrap();
    journal(folder.path());
    Files::read(folder.path())
}

#[test]
fn what_was_written_holds() {
    let files = whole();
    let report = files.verify(&nothing()).unwrap();
    let [first, second, third] = &*report.chains else { panic!("{report:#?}") };
    assert_eq!((report.segments, report.records), (files.0.len() as u64, files.count() as u64 - 1));
    assert!(report.segments > 6, "{report:#?}");
    assert_eq!((first.checkpoints, first.ended, first.unsigned, first.torn), (2, true, 0, 0));
    assert_eq!((second.checkpoints, second.ended, second.torn), (1, false, 12));
    assert!(second.unsigned >= 2, "{second:?}");
    assert_eq!((third.checkpoints, third.ended, third.unsigned), (1, true, 0));
    assert_eq!((report.removed, report.clock_changes), (None, 0));
    let bytes: usize = files.0.iter().flat_map(|(_, lines)| lines).map(Vec::len).sum();
    assert_eq!(report.bytes, bytes as u64);
    assert!(report.first.unwrap().starts_with("20") && report.last.unwrap().ends_with('Z'));
}

/// A place: the number of the file, and of the line in it, from 0.
type At = (usize, usize);

/// The first record with this number, which no header has.
fn record(files: &Files, n: u64) -> At {
    let wanted = format!("\"n\":{n},");
    let found = files.0.iter().enumerate().find_map(|(file, (_, lines))| {
        let line = lines.iter().position(|line| String::from_utf8_lossy(line).contains(&wanted))?;
        Some((file, line))
    });
    found.unwrap()
}

fn checkpoint_of(files: &Files, nth: usize) -> At {
    let all = files.0.iter().enumerate().flat_map(|(file, (_, lines))| {
        lines.iter().enumerate().filter(|(_, line)| is_checkpoint(line)).map(move |(line, _)| (file, line))
    });
    all.collect::<Vec<_>>()[nth]
}

/// Ends every line from a place on as if it had always been so: what somebody would do who knows the format, and has no
/// key.
fn rewrite(files: &mut Files, (file, line): At) {
    let mut before: Option<(Hash, u64)> = None;
    for (at, (_, lines)) in files.0.iter_mut().enumerate() {
        for (number, text) in lines.iter_mut().enumerate() {
            let Some(sealed) = Sealed::parse(text.trim_ascii_end()) else { continue };
            let chained = (at, number) >= (file, line);
            let mut value: Value = serde_json::from_slice(text).unwrap();
            if chained && let Some((hash, seq)) = before {
                if value["type"] == "segment" {
                    // The next run: it would have to name the new end.
                    if value["after"]["chain"] != value["chain"] {
                        return;
                    }
                    value["after"]["hash"] = json!(hash.to_string());
                }
                let object = value.as_object_mut().unwrap();
                object.remove("hash");
                object.remove("seq");
                let kind = object.remove("type").unwrap();
                let body = serde_json::to_string(&object).unwrap();
                let mut new = format!("{{\"type\":{kind},{}", &body[1..body.len() - 1]).into_bytes();
                let hash = super::super::chain::seal(&mut new, 0, seq, &hash);
                new.push(b'\n');
                *text = new;
                before = Some((hash, seq + 1));
            } else {
                before = Some((sealed.hash, sealed.seq + 1));
            }
        }
    }
}

#[test]
fn every_kind_of_tampering_is_found_where_it_is() {
    type Tamper = fn(&mut Files) -> At;
    let cases: &[(&str, &str, Tamper)] = &[
        ("a value is changed", "edit", |files| {
            let (file, line) = record(files, 3);
            let text = String::from_utf8(files.0[file].1[line].clone()).unwrap();
            files.0[file].1[line] = text.replace("\"n\":3", "\"n\":4").into();
            (file, line)
        }),
        ("a value and its hash are changed", "edit", |files| {
            let (file, line) = record(files, 3);
            let before = files.0[file].1[line - 1].clone();
            let before = Sealed::parse(before.trim_ascii_end()).unwrap();
            let mut new = br#"{"type":"decision","n":4"#.to_vec();
            super::super::chain::seal(&mut new, 0, before.seq + 1, &before.hash);
            new.push(b'\n');
            files.0[file].1[line] = new;
            // What does not follow is the next one; the sentence says that it may be the one before.
            (file, line + 1)
        }),
        ("a number is changed", "edit", |files| {
            let (file, line) = record(files, 3);
            let text = String::from_utf8(files.0[file].1[line].clone()).unwrap();
            let seq = Sealed::parse(text.trim_end().as_bytes()).unwrap().seq;
            files.0[file].1[line] = text.replace(&format!("\"seq\":{seq},"), &format!("\"seq\":{},", seq + 1)).into();
            (file, line)
        }),
        ("a record is replaced by a line of text", "edit", |files| {
            let (file, line) = record(files, 3);
            files.0[file].1[line] = b"nothing to see here\n".to_vec();
            (file, line)
        }),
        ("a record is removed", "gap", |files| {
            let (file, line) = record(files, 3);
            files.0[file].1.remove(line);
            (file, line)
        }),
        ("two records are exchanged", "reorder", |files| {
            let (file, line) = record(files, 2);
            files.0[file].1.swap(line, line + 1);
            (file, line)
        }),
        ("a record is moved further on", "reorder", |files| {
            let (file, line) = record(files, 1);
            let moved = files.0[file].1.remove(line);
            files.0[file].1.insert(line + 3, moved);
            (file, line)
        }),
        ("a record stands twice", "duplicate", |files| {
            let (file, line) = record(files, 3);
            let again = files.0[file].1[line].clone();
            files.0[file].1.insert(line, again);
            (file, line + 1)
        }),
        ("an old record stands again later", "reorder", |files| {
            let (file, line) = record(files, 3);
            let again = files.0[file].1[1].clone();
            files.0[file].1.insert(line, again);
            (file, line)
        }),
        ("the end of an earlier segment is removed", "cut", |files| {
            let last = files.0[0].1.len() - 1;
            files.0[0].1.remove(last);
            (0, last)
        }),
        ("the last line of an earlier segment is torn", "cut", |files| {
            let last = files.0[0].1.len() - 1;
            files.0[0].1[last].truncate(30);
            (0, last)
        }),
        ("the end of an earlier run is removed", "cut", |files| {
            let (file, line) = checkpoint_of(files, 1);
            files.0[file].1.truncate(line);
            (file, line)
        }),
        ("the first line of a segment is removed", "edit", |files| {
            files.0[1].1.remove(0);
            (1, 0)
        }),
        ("a segment is removed", "removed", |files| {
            files.0.remove(1);
            (1, usize::MAX)
        }),
        ("the first segment is removed", "removed", |files| {
            files.0.remove(0);
            (0, 0)
        }),
        ("segments are renamed into another order", "reorder", |files| {
            let (first, second) = (files.0[1].0.clone(), files.0[2].0.clone());
            (files.0[1].0, files.0[2].0) = (second, first);
            files.0.swap(1, 2);
            (1, 0)
        }),
        ("a segment is there twice", "duplicate", |files| {
            let mut again = files.0[1].clone();
            again.0 = again.0.replace("Z.jsonl", "1Z.jsonl");
            files.0.insert(2, again);
            (usize::MAX, 0)
        }),
        ("a segment of the same run is appended to another", "reorder", |files| {
            let (_, lines) = files.0.remove(1);
            files.0[0].1.extend(lines);
            (0, usize::MAX)
        }),
        ("a run is removed", "reorder", |files| {
            let (start, end) = (record(files, 20).0, record(files, 26).0);
            files.0.drain(start..end);
            // Renumbering them hides the gap, not the seam.
            for (number, (name, _)) in files.0.iter_mut().enumerate() {
                *name = format!("{number:08}{}", &name[8..]);
            }
            (start, 0)
        }),
        ("everything from a record on is written anew", "checkpoint", |files| {
            let at = record(files, 3);
            let text = String::from_utf8(files.0[at.0].1[at.1].clone()).unwrap();
            files.0[at.0].1[at.1] = text.replace("\"n\":3", "\"n\":4").into();
            rewrite(files, at);
            checkpoint_of(files, 0)
        }),
        ("a checkpoint is written anew with it", "checkpoint", |files| {
            let at = record(files, 3);
            let text = String::from_utf8(files.0[at.0].1[at.1].clone()).unwrap();
            files.0[at.0].1[at.1] = text.replace("\"n\":3", "\"n\":4").into();
            rewrite(files, at);
            let (file, line) = checkpoint_of(files, 0);
            let before = files.0[file].1[line - 1].clone();
            let before = Sealed::parse(before.trim_ascii_end()).unwrap();
            let mut value: Value = serde_json::from_slice(&files.0[file].1[line]).unwrap();
            value["at"]["hash"] = json!(before.hash.to_string());
            files.0[file].1[line] = format!("{value}\n").into();
            rewrite_marks(files, (file, line));
            (file, line)
        }),
        ("a checkpoint of another key", "checkpoint", |files| {
            let (file, line) = checkpoint_of(files, 0);
            let mut value: Value = serde_json::from_slice(&files.0[file].1[line]).unwrap();
            let at = serde_json::from_value(value["at"].clone()).unwrap();
            let forged = Key::generate().unwrap().sign(at, SystemTime::UNIX_EPOCH, false);
            for (key, field) in serde_json::to_value(forged).unwrap().as_object().unwrap() {
                value[key] = field.clone();
            }
            files.0[file].1[line] = format!("{value}\n").into();
            rewrite_marks(files, (file, line));
            (file, line)
        }),
    ];
    let files = whole();
    for (what, kind, tamper) in cases {
        let mut changed = files.clone();
        let (file, line) = tamper(&mut changed);
        let bad = changed.verify(&nothing()).expect_err(what);
        assert_eq!(bad.problem.kind(), *kind, "{what}: {bad}");
        let place = bad.place.as_ref().unwrap();
        if file != usize::MAX {
            assert_eq!(*place.file, *changed.0[file].0, "{what}: {bad}");
        }
        match line {
            usize::MAX => {}
            line => assert_eq!(place.line, line as u64 + 1, "{what}: {bad}"),
        }
    }
}

/// Brings a line that was put together by serde into the journal's form, and all that follow.
fn rewrite_marks(files: &mut Files, at: At) {
    let (_, lines) = &mut files.0[at.0];
    let before = Sealed::parse(lines[at.1 - 1].trim_ascii_end()).unwrap();
    let (hash, seq) = (before.hash, before.seq + 1);
    let mut value: Value = serde_json::from_slice(&lines[at.1]).unwrap();
    let object = value.as_object_mut().unwrap();
    object.remove("hash");
    object.remove("seq");
    object.remove("type");
    let body = serde_json::to_string(object).unwrap();
    let mut new = format!("{{\"type\":\"checkpoint\",{}", &body[1..body.len() - 1]).into_bytes();
    super::super::chain::seal(&mut new, 0, seq, &hash);
    new.push(b'\n');
    lines[at.1] = new;
    rewrite(files, (at.0, at.1 + 1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_changed_before_the_last_checkpoint_is_found(
        kind in 0..4_u8, place in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(), flip in 1..=255_u8,
    ) {
        static WHOLE: std::sync::LazyLock<Files> = std::sync::LazyLock::new(whole);
        let mut files = WHOLE.clone();
        // The last line is the checkpoint.
        let lines = files.count() - 1;
        let at = place.index(lines);
        let what = match kind {
            0 => {
                let (lines, at) = files.at(at);
                let byte = byte.index(lines[at].len());
                lines[at][byte] ^= flip;
                format!("byte {byte} of line {at} ^ {flip}")
            }
            1 => {
                let (lines, at) = files.at(at);
                lines.remove(at);
                format!("line {at} is gone")
            }
            2 => {
                let again = clone(&mut files, at);
                let other = other.index(lines);
                let (lines, at) = files.at(other);
                lines.insert(at, again);
                format!("a line again before {at}")
            }
            _ => {
                let other = other.index(lines);
                prop_assume!(other != at);
                let (one, two) = (clone(&mut files, at), clone(&mut files, other));
                put(&mut files, at, two);
                put(&mut files, other, one);
                format!("lines {at} and {other} exchanged")
            }
        };
        // Half a line at the end of a segment is what a crash leaves: that it is another half changes nothing on record.
        let torn = |files: &Files| files.0.iter().flat_map(|(_, lines)| lines).filter(|l| l.last() == Some(&b'\n')).cloned().collect::<Vec<_>>();
        prop_assume!(torn(&files) != torn(&WHOLE));
        prop_assert!(files.verify(&nothing()).is_err(), "{}", what);
    }
}

fn clone(files: &mut Files, at: usize) -> Vec<u8> {
    let (lines, at) = files.at(at);
    lines[at].clone()
}

fn put(files: &mut Files, at: usize, line: Vec<u8>) {
    let (lines, at) = files.at(at);
    lines[at] = line;
}

#[test]
fn a_cut_tail_shows_by_what_was_kept_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let open = Journal::open(folder.path(), small()).unwrap();
    fill(&open, 0..9);
    let early = open.checkpoint(false).unwrap();
    fill(&open, 9..14);
    let kept = open.checkpoint(false).unwrap();
    fill(&open, 14..16);
    let key = open.public_key();
    let files = Files::read(folder.path());
    let both = Expected { keys: vec![key.clone()], checkpoints: vec![kept.clone(), early.clone()] };
    assert_eq!(files.verify(&both).unwrap().chains[0].unsigned, 2);

    let mut cut = files.clone();
    let (file, line) = record(&cut, 12);
    cut.0.truncate(file + 1);
    cut.0[file].1.truncate(line);
    assert!(cut.verify(&nothing()).is_ok(), "a chain alone does not show it");
    let bad = cut.verify(&both).unwrap_err();
    assert!(matches!(bad.problem, Problem::TailCut(..)) && bad.to_string().contains("was cut off"), "{bad}");
    let early = Expected { checkpoints: vec![early], ..both.clone() };
    assert!(cut.verify(&early).is_ok());

    let mut anew = files.clone();
    let at = record(&anew, 11);
    let text = String::from_utf8(anew.0[at.0].1[at.1].clone()).unwrap();
    anew.0[at.0].1[at.1] = text.replace("\"n\":11", "\"n\":99").into();
    for (_, lines) in &mut anew.0 {
        lines.retain(|line| !String::from_utf8_lossy(line).contains(&kept.signature[..20]));
    }
    rewrite(&mut anew, at);
    assert!(anew.verify(&nothing()).is_ok(), "nor that the end was written anew");
    assert_eq!(anew.verify(&both).unwrap_err().problem, Problem::Rewritten);

    let other = tempfile::tempdir().unwrap();
    journal(other.path());
    let other = Files::read(other.path());
    let keyless = Expected { keys: Vec::new(), ..both.clone() };
    assert!(matches!(other.verify(&keyless).unwrap_err().problem, Problem::ChainUnknown(_)));
    let key_only = Expected { checkpoints: Vec::new(), ..both.clone() };
    assert_eq!(other.verify(&key_only).unwrap_err().problem, Problem::KeyUnknown(key));

    let mut changed = kept.clone();
    changed.at.seq -= 1;
    let forged = Expected { checkpoints: vec![changed], ..both.clone() };
    assert!(matches!(files.verify(&forged).unwrap_err().problem, Problem::ExpectedForged(..)));
    let another = Key::generate().unwrap();
    let foreign = Expected { checkpoints: vec![another.sign(kept.at, kept.time, false)], ..both };
    assert!(matches!(files.verify(&foreign).unwrap_err().problem, Problem::ExpectedOfOther(_)));
}

#[test]
fn what_the_journal_removes_itself_is_no_gap() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { max_size: Some(4_000), ..small() };
    let journal = Journal::open(folder.path(), options).unwrap();
    fill(&journal, 0..4);
    let gone = journal.checkpoint(false).unwrap();
    fill(&journal, 4..60);
    let all = Files::read(folder.path());
    journal.upkeep().unwrap();
    let expected = Expected { checkpoints: vec![gone], ..Expected::default() };
    let report = check(folder.path(), &expected).unwrap();
    let removed = report.removed.clone().unwrap();
    assert!(!removed.signed && report.checkpoints_removed == 1, "{report:#?}");
    assert_eq!(report.chains[0].first, {
        let header = segment::list(folder.path()).unwrap().remove(0);
        segment::header(&fs::File::open(header.path).unwrap()).unwrap().unwrap().after.unwrap().seq + 1
    });
    journal.checkpoint(false).unwrap();
    assert!(check(folder.path(), &nothing()).unwrap().removed.unwrap().signed);
    // Died before all that was promised was gone: what is left is no more than it should be.
    let mut more = Files::read(folder.path());
    let back = all.0[usize::try_from(removed.through).unwrap()].clone();
    more.0.insert(0, back);
    more.verify(&nothing()).unwrap();
    // One segment more is gone than the journal has removed.
    let mut less = Files::read(folder.path());
    less.0.remove(0);
    let bad = less.verify(&nothing()).unwrap_err();
    assert!(matches!(bad.problem, Problem::BeginningMissing(..)), "{bad}");
}

#[test]
fn a_crash_is_no_fault_wherever_it_cuts() {
    let folder = tempfile::tempdir().unwrap();
    let open = Journal::open(folder.path(), Options::default()).unwrap();
    fill(&open, 0..5);
    let file = segment::list(folder.path()).unwrap().remove(0).path;
    drop(open);
    let bytes = fs::read(&file).unwrap();
    let header = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for cut in (0..bytes.len()).step_by(7).chain([header - 1, header, bytes.len()]) {
        for next in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(file.file_name().unwrap()), &bytes[..cut]).unwrap();
            if next {
                fill(&Journal::open(folder.path(), Options::default()).unwrap(), 0..2);
            }
            let report = check(folder.path(), &nothing()).unwrap_or_else(|bad| panic!("cut at {cut}, {next}: {bad}"));
            assert!(report.bytes >= cut as u64);
            assert!(report.chains.iter().all(|chain| !chain.ended));
        }
    }
}

#[test]
fn it_holds_while_it_is_written_rotated_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        segment_size: 20_000,
        max_size: Some(200_000),
        durability: Durability::Buffered,
        ..Options::default()
    };
    let journal = Journal::open(folder.path(), options).unwrap();
    /// Ends the one who writes, also where the one who verifies panics.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _done = Done(&done);
        scope.spawn(|| {
            let mut n = 0;
            while !done.load(Ordering::Relaxed) {
                fill(&journal, n..n + 100);
                n += 100;
                journal.upkeep().unwrap();
            }
        });
        let mut with_removals = 0;
        while with_removals < 30 {
            let report = check(folder.path(), &nothing()).unwrap_or_else(|bad| panic!("{bad}"));
            with_removals += usize::from(report.removed.is_some());
        }
    });
}

#[test]
fn what_is_no_journal_is_said_to_be_none() {
    let none = |folder: &Path| verify(folder, &nothing(), &mut |_, _| ()).unwrap_err().to_string();
    let folder = tempfile::tempdir().unwrap();
    assert!(none(&folder.path().join("missing")).contains("cannot be read: No such file"));
    assert!(none(folder.path()).contains("there is no journal in"));
    fs::write(folder.path().join("notes.jsonl"), "{}\n").unwrap();
    assert!(none(folder.path()).contains("there is no journal in"));
    let strange = folder.path().join("00000000-20260101T000000Z.jsonl");
    fs::write(&strange, "{}\n{}\n").unwrap();
    assert!(none(folder.path()).contains("line 1: this line is no record"));
    fs::write(&strange, vec![b'x'; 5 << 20]).unwrap();
    assert!(none(folder.path()).contains("longer than any record"));
    fs::remove_file(&strange).unwrap();
    fs::create_dir(&strange).unwrap();
    assert!(none(folder.path()).contains("000Z.jsonl` cannot be read: Is a directory"));
}

#[test]
fn the_newest_checkpoint_is_found_in_an_earlier_segment_too() {
    let folder = tempfile::tempdir().unwrap();
    let open = Journal::open(folder.path(), small()).unwrap();
    assert_eq!(newest_checkpoint(folder.path()).unwrap(), None);
    fill(&open, 0..3);
    open.checkpoint(false).unwrap();
    let newest = open.checkpoint(false).unwrap();
    fill(&open, 3..30);
    assert_eq!(newest_checkpoint(folder.path()).unwrap().unwrap().signature, newest.signature);
}

#[test]
fn the_way_to_verify_by_hand_is_right() {
    let page = include_str!("../../../docs/audit.md");
    let script = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    journal(folder.path());
    let run = |folder: &Path| {
        let mut python = std::process::Command::new("python3");
        let output = python.arg("-c").arg(script).arg(folder).output().expect("python3 must be installed");
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
        )
    };
    let files = Files::read(folder.path());
    let (holds, said) = run(folder.path());
    assert!(holds && said.contains(&format!("{} records hold", files.count() - 1)), "{said}");
    assert!(said.contains("12 bytes of half a line"), "{said}");
    type Tamper = fn(&mut Files);
    let tampers: [(&str, Tamper); 3] = [
        ("was changed", |files| {
            let (file, line) = record(files, 3);
            files.0[file].1.remove(line);
        }),
        ("does not go on", |files| drop(files.0[0].1.pop())),
        ("is forged", |files| {
            let (file, line) = checkpoint_of(files, 0);
            let mut value: Value = serde_json::from_slice(&files.0[file].1[line]).unwrap();
            value["time"] = json!("2020-01-01T00:00:00.000000Z");
            files.0[file].1[line] = format!("{value}\n").into();
            rewrite_marks(files, (file, line));
        }),
    ];
    for (expected, tamper) in tampers {
        let mut changed = files.clone();
        tamper(&mut changed);
        let folder = tempfile::tempdir().unwrap();
        for (name, lines) in &changed.0 {
            fs::write(folder.path().join(name), lines.concat()).unwrap();
        }
        let (holds, said) = run(folder.path());
        assert!(!holds && said.contains(expected), "{expected}: {said}");
    }
}
