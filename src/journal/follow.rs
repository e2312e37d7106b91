//! Reading the journal line by line, from a place that was kept, and on while it grows: what sinks stand on.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::segment::{self, LONGEST_LINE, SegmentFile};

/// A place in the journal: everything before it has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// The number of the segment.
    pub segment: u64,
    /// Where in it, in bytes.
    pub offset: u64,
}

/// A line, and the place after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Without its line feed. Not looked into: it may be anything.
    pub line: Vec<u8>,
    /// Where reading goes on once it has been dealt with.
    pub after: Cursor,
}

/// Reads a journal's lines in the order they were written. Takes no lock: it may be read while it is written, and after.
pub struct Follower {
    folder: PathBuf,
    cursor: Cursor,
    open: Option<(u64, BufReader<File>)>,
    /// Segments after the open one, as of the last look.
    later: VecDeque<SegmentFile>,
    line: Vec<u8>,
    /// Lines that were too long to be ours, or were not written to their end.
    pub skipped: u64,
}

impl Follower {
    /// Begins at a place. Where its segment has been removed, at the first that is there; where a place lies behind the
    /// end of its segment, which is then another one, at the segment's begin.
    pub fn new(folder: &Path, from: Cursor) -> Self {
        let folder = folder.to_owned();
        Self { folder, cursor: from, open: None, later: VecDeque::new(), line: Vec::new(), skipped: 0 }
    }

    /// The end of the journal as it is now: a follower that begins there sees only what is yet to come.
    pub fn end(folder: &Path) -> io::Result<Cursor> {
        let newest = segment::list(folder)?.pop();
        Ok(newest.map_or(Cursor::default(), |segment| Cursor { segment: segment.number, offset: segment.size }))
    }

    /// The place up to which has been read.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The next line that has been written to its end, with its own copy of the text.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let line = self.next_line()?.map(<[u8]>::to_vec);
        Ok(line.map(|line| Entry { line, after: self.cursor }))
    }

    /// The next line that has been written to its end, without its line feed; none where there is none yet. Half a line
    /// that a dead writer left at the end of a segment is passed over once there is a later segment.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            if self.open.is_none() && !self.open_at_cursor()? {
                return Ok(None);
            }
            let Some((number, reader)) = &mut self.open else { return Ok(None) };
            self.line.clear();
            reader.take(LONGEST_LINE).read_until(b'\n', &mut self.line)?;
            let length = self.line.len() as u64;
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
                self.cursor = Cursor { segment: *number, offset: self.cursor.offset + length };
                return Ok(Some(&self.line));
            }
            if length >= LONGEST_LINE {
                self.cursor.offset += length;
                self.skipped += 1;
                continue;
            }
            // Half a line may yet be taken back, and another one written in its place.
            if length > 0 {
                reader.seek(SeekFrom::Start(self.cursor.offset))?;
            }
            // It is the segment's end where there is a later one, since a writer never comes back; but what it wrote
            // before it left may be newer than what was read.
            if self.later.is_empty() {
                self.later = segment::list(&self.folder)?.into_iter().filter(|s| s.number > *number).collect();
                if self.later.is_empty() {
                    return Ok(None);
                }
                continue;
            }
            let Some(next) = self.later.pop_front() else { return Ok(None) };
            self.skipped += u64::from(length > 0);
            self.cursor = Cursor { segment: next.number, offset: 0 };
            self.open = None;
        }
    }

    fn open_at_cursor(&mut self) -> io::Result<bool> {
        let segments = segment::list(&self.folder)?;
        let Some(at) = segments.iter().position(|segment| segment.number >= self.cursor.segment) else {
            return Ok(false);
        };
        let mut rest: VecDeque<SegmentFile> = segments.into_iter().skip(at).collect();
        let Some(segment) = rest.pop_front() else { return Ok(false) };
        if segment.number != self.cursor.segment || self.cursor.offset > segment.size {
            self.cursor = Cursor { segment: segment.number, offset: 0 };
        }
        let mut file = match File::open(&segment.path) {
            Ok(file) => file,
            // Removed in this moment: the next one is the first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.cursor.offset))?;
        self.open = Some((segment.number, BufReader::with_capacity(64 * 1024, file)));
        self.later = VecDeque::new();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::{Journal, Options};
    use super::*;

    fn rest(follower: &mut Follower) -> Vec<i64> {
        let entries = std::iter::from_fn(|| follower.next_entry().unwrap());
        let number = |entry: Entry| serde_json::from_slice::<serde_json::Value>(&entry.line).ok()?["n"].as_i64();
        entries.filter_map(number).collect()
    }

    fn append(journal: &Journal, numbers: std::ops::Range<i64>) {
        for n in numbers {
            journal.append(&serde_json::json!({"n": n})).unwrap();
        }
    }

    #[test]
    fn every_record_is_read_once_over_segments_restarts_and_torn_ends() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { segment_size: 700, ..Options::default() };
        let mut follower = Follower::new(folder.path(), Cursor::default());
        assert_eq!(rest(&mut follower), [0; 0]);
        let journal = Journal::open(folder.path(), options).unwrap();
        append(&journal, 0..20);
        assert_eq!(rest(&mut follower), Vec::from_iter(0..20));
        append(&journal, 20..23);
        let kept = follower.cursor();
        assert_eq!(rest(&mut follower), [20, 21, 22]);
        drop(journal);
        let torn = segment::list(folder.path()).unwrap().pop().unwrap();
        File::options().append(true).open(torn.path).unwrap().write_all(b"{\"n\":99").unwrap();
        assert_eq!(rest(&mut follower), [0; 0]);
        let journal = Journal::open(folder.path(), options).unwrap();
        append(&journal, 23..30);
        assert_eq!(rest(&mut follower), Vec::from_iter(23..30));
        assert_eq!(rest(&mut Follower::new(folder.path(), kept)), Vec::from_iter(20..30));
        assert_eq!(rest(&mut Follower::new(folder.path(), Follower::end(folder.path()).unwrap())), [0; 0]);
    }

    #[test]
    fn a_place_that_is_gone_is_the_first_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { segment_size: 700, ..Options::default() };
        let journal = Journal::open(folder.path(), options).unwrap();
        append(&journal, 0..20);
        let segments = segment::list(folder.path()).unwrap();
        std::fs::remove_file(&segments[0].path).unwrap();
        let all = rest(&mut Follower::new(folder.path(), Cursor { segment: 0, offset: 12 }));
        assert!(all.len() > 5 && all.len() < 20 && all.last() == Some(&19), "{all:?}");
        let far = Cursor { segment: segments[1].number, offset: 1 << 30 };
        assert_eq!(rest(&mut Follower::new(folder.path(), far)), all);
    }

    #[test]
    fn what_is_no_line_of_ours_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = vec![b'x'; usize::try_from(LONGEST_LINE).unwrap() + 5];
        bytes.extend_from_slice(b"\n{\"n\":1}\n");
        std::fs::write(folder.path().join("00000000-20260101T000000Z.jsonl"), bytes).unwrap();
        let mut follower = Follower::new(folder.path(), Cursor::default());
        assert_eq!((rest(&mut follower), follower.skipped), (vec![1], 1));
    }
}
