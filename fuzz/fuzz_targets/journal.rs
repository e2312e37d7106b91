//! Journals. First byte even: a journal that holds, changed by what follows, four bytes a change; odd: what follows is one.
#![no_main]

use std::sync::LazyLock;
use std::time::{Instant, SystemTime};

use attache::journal::chain::Sealed;
use attache::journal::reader::Reader;
use attache::journal::verify::{Bad, Expected, Report, Verifier};
use attache::journal::{Journal, Options, segment, verify};
use attache::pipeline::audit::{DecisionRecord, Verdict};
use libfuzzer_sys::fuzz_target;

/// The bytes of each segment, with its number.
type Segments = Vec<(u64, Vec<u8>)>;

/// Two runs of the service in several segments, the first of which died in the middle of a line, and its last word.
static WRITTEN: LazyLock<(Segments, Expected)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let options = || Options { segment_size: 1500, ..Options::default() };
    let open = || Journal::open(folder.path(), options()).expect("a journal");
    let fill = |journal: &Journal, count: u64| {
        for n in 0..count {
            let id = format!("request-{n}").as_str().into();
            let record = DecisionRecord::new(id, SystemTime::UNIX_EPOCH, Verdict::Deny, "revision".into());
            journal.append(&record).expect("room");
        }
    };
    let first = open();
    fill(&first, 9);
    first.checkpoint(false).expect("a checkpoint");
    fill(&first, 3);
    drop(first);
    let torn = segment::list(folder.path()).expect("a list").pop().expect("a segment").path;
    let died = [&std::fs::read(&torn).expect("a file")[..], b"{\"type\":\"dec"].concat();
    std::fs::write(&torn, died).expect("room");
    let second = open();
    fill(&second, 12);
    second.close().expect("an end");
    let last = verify::newest_checkpoint(folder.path()).expect("a journal").expect("a checkpoint");
    let expected = Expected { keys: Vec::new(), checkpoints: vec![last] };
    let read = |file: segment::SegmentFile| (file.number, std::fs::read(file.path).expect("a file"));
    (segment::list(folder.path()).expect("a list").into_iter().map(read).collect(), expected)
});

fuzz_target!(|input: &[u8]| {
    let Some((how, rest)) = input.split_first() else { return };
    let (written, expected) = &*WRITTEN;
    if how % 2 == 1 {
        return raw(rest);
    }
    assert!(verified(written, expected).is_ok());
    let mut changed = written.clone();
    for change in rest.chunks_exact(4).take(8) {
        apply(&mut changed, change);
    }
    if verified(&changed, expected).is_ok() {
        // Behind the last record that is signed stand its checkpoint, and perhaps the head of the segment that it came to
        // be in: without them there is as much as the checkpoint that is kept elsewhere says.
        let (changed, written) = (lines(&changed), lines(written));
        let unsigned = written.len() - changed.len().min(written.len());
        assert!(written.starts_with(&changed) && unsigned <= 2, "a journal that was changed is said to hold");
    }
});

/// Any bytes are read to their end, and shown as no more than there are lines.
fn raw(bytes: &[u8]) {
    let segments = vec![(1, bytes.to_vec())];
    let _ = verified(&segments, &Expected::default()).map_err(|bad| bad.to_string());
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("00000001-20261120T120000Z.jsonl"), bytes).expect("room");
    let mut reader = Reader::open(folder.path()).expect("a folder");
    let mut shown = 0;
    let mut show = |_| {
        shown += 1;
        Ok(())
    };
    reader.replay(Instant::now(), &mut show).expect("it is read");
    reader.rest(&mut show).expect("it is read");
    assert!(shown <= bytes.split(|byte| *byte == b'\n').count());
}

fn verified(segments: &Segments, expected: &Expected) -> Result<Report, Box<Bad>> {
    let mut verifier = Verifier::new(expected)?;
    for (number, bytes) in segments {
        verifier.segment(&format!("{number:08}-20261120T120000Z.jsonl"), *number)?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in bytes[..end].split_inclusive(|byte| *byte == b'\n') {
            let _ = Sealed::parse(line);
            verifier.line(&line[..line.len() - 1])?;
        }
        verifier.end((bytes.len() - end) as u64)?;
    }
    verifier.finish()
}

/// The whole lines in order: half a line at an end is nobody's record, and nobody misses an empty segment.
fn lines(segments: &Segments) -> Vec<&[u8]> {
    let whole = segments.iter().flat_map(|(_, bytes)| bytes.split_inclusive(|byte| *byte == b'\n'));
    whole.filter(|line| line.ends_with(b"\n")).collect()
}

fn apply(segments: &mut Segments, change: &[u8]) {
    let &[how, which, place, value] = change else { return };
    let count = segments.len();
    let Some((number, bytes)) = segments.get_mut(usize::from(which) % count.max(1)) else { return };
    let at = bytes.len() * usize::from(place) / 256;
    let line = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let end = bytes[line..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| line + end + 1);
    match how % 9 {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= value),
        1 => drop(bytes.drain(line..end)),
        2 => {
            let copy = bytes[line..end].to_vec();
            bytes.splice(line..line, copy);
        }
        3 => bytes.truncate(at),
        4 => bytes.insert(at, value),
        5 => *number = u64::from(value),
        6 => {
            // A digit of a number, which other bytes of the line may make up for.
            if let Some(digit) = bytes[line..end].iter_mut().filter(|byte| byte.is_ascii_digit()).nth(value.into()) {
                *digit = b'0' + (*digit - b'0' + 1) % 10;
            }
        }
        7 => {
            let other = usize::from(value) % count;
            segments.swap(usize::from(which) % count, other);
        }
        _ => drop(segments.remove(usize::from(which) % count)),
    }
}
