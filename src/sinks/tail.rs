//! The journal as a sink reads it: a batch at a time, from a place that is kept.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::place::Place;
use crate::journal::chain::Sealed;
use crate::journal::follow::{Cursor, Follower};
use crate::journal::mark::Mark;
use crate::journal::segment::{self, LONGEST_LINE};
use crate::journal::{Journal, Pin};

/// The most records of a batch.
const MOST: usize = 1_000;
/// How large a batch gets before it is given on, in bytes. With what surrounds its records it stays below the 4 MiB
/// that gRPC servers take in one message.
const LARGEST: usize = 1 << 20;

/// Where a sink begins that is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// With the first record there is.
    Oldest,
    /// With the first record of this run of the service, which says what its checkpoints are signed with.
    ThisRun,
    /// With the next record.
    Now,
}

/// A record on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// As it stands in the journal, without its line feed.
    pub line: Vec<u8>,
    /// The chain it belongs to; empty where that is not known.
    pub chain: Arc<str>,
    /// Its number in the chain.
    pub seq: Option<u64>,
    /// The place after it.
    pub after: Cursor,
}

/// Reads the journal, and keeps what was not read yet from being removed.
pub struct Tail {
    journal: Arc<Journal>,
    follower: Follower,
    place: Arc<Place>,
    pin: Pin,
    chain: Arc<str>,
    /// How many records there were when all of them had been read.
    read_all: Option<u64>,
    /// Lines that were too long have been said.
    skipped: u64,
    /// That the place cannot be kept has been said.
    warned: bool,
}

impl Tail {
    /// Begins at the place that is kept; where that cannot be read, at the oldest record; where there is none, at
    /// `first`, which is kept at once: a process that dies early begins there again.
    pub fn open(journal: Arc<Journal>, place: Arc<Place>, sink: &str, first: From) -> Self {
        let (cursor, is_new) = match place.read() {
            Ok(Some(cursor)) => (cursor, false),
            Ok(None) => (begin(&journal, first), true),
            Err(error) => {
                tracing::error!(
                    sink, %error,
                    "where the sink has come to cannot be read: it gets everything again from the oldest record on"
                );
                (Cursor::default(), false)
            }
        };
        let pin = journal.pin(cursor.segment);
        let chain = chain_at(journal.folder(), cursor);
        let follower = Follower::new(journal.folder(), cursor);
        let mut tail = Self { journal, follower, place, pin, chain, read_all: None, skipped: 0, warned: false };
        if is_new {
            tail.keep(cursor);
        }
        tail
    }

    /// The next records, as many as one batch holds; none where there are none yet.
    pub fn read(&mut self) -> io::Result<Vec<Item>> {
        let records = self.journal.facts().records;
        if self.read_all == Some(records) {
            return Ok(Vec::new());
        }
        let (mut items, mut bytes) = (Vec::new(), 0);
        while items.len() < MOST && bytes < LARGEST {
            match self.follower.next_entry() {
                Ok(Some(entry)) => {
                    bytes += entry.line.len();
                    items.push(self.item(entry.line, entry.after));
                }
                Ok(None) => {
                    self.read_all = Some(records);
                    break;
                }
                // What was read before it comes first.
                Err(_) if !items.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        if self.follower.skipped > self.skipped {
            self.skipped = self.follower.skipped;
            tracing::error!(
                lines = self.skipped,
                "lines in the journal's files that are none of ours were passed over"
            );
        }
        Ok(items)
    }

    fn item(&mut self, line: Vec<u8>, after: Cursor) -> Item {
        if line.starts_with(b"{\"type\":\"segment\"")
            && let Ok(Mark::Segment(segment)) = serde_json::from_slice(&line)
        {
            self.chain = (*segment.chain).into();
        }
        let seq = Sealed::parse(&line).map(|sealed| sealed.seq);
        Item { line, chain: self.chain.clone(), seq, after }
    }

    /// Everything before this has been dealt with.
    pub fn keep(&mut self, cursor: Cursor) {
        match self.place.keep(cursor) {
            Ok(()) => {
                self.warned = false;
                self.pin.advance(cursor.segment);
            }
            Err(error) => {
                if !self.warned {
                    tracing::error!(%error, "where a sink has come to cannot be kept: it may get records again");
                }
                self.warned = true;
            }
        }
    }

    /// How many records there were when the last one had been read; none while there are more.
    pub fn read_all(&self) -> Option<u64> {
        self.read_all
    }

    /// The number, among those of this run, of the first record that was not read yet; below 0 for those of runs before.
    pub fn position(&self) -> io::Result<i64> {
        // In this order: what is appended meanwhile may be counted twice, which is put right once all has been read.
        let records = self.journal.facts().records;
        let ahead = ahead(self.journal.folder(), self.follower.cursor())?;
        Ok(i64::try_from(records).unwrap_or(i64::MAX) - i64::try_from(ahead).unwrap_or(i64::MAX))
    }
}

fn begin(journal: &Journal, first: From) -> Cursor {
    match first {
        From::Oldest => Cursor::default(),
        From::ThisRun | From::Now => match Follower::end(journal.folder()) {
            Ok(end) if first == From::ThisRun => Cursor { offset: 0, ..end },
            Ok(end) => end,
            Err(error) => {
                tracing::error!(%error, "the journal cannot be listed: a new sink begins at its oldest record");
                Cursor::default()
            }
        },
    }
}

/// The chain of the records at a place; empty at the begin of a segment, which says it itself.
fn chain_at(folder: &Path, cursor: Cursor) -> Arc<str> {
    let find = || {
        let segment = segment::list(folder).ok()?.into_iter().find(|segment| segment.number == cursor.segment)?;
        segment::header(&File::open(segment.path).ok()?).ok()?
    };
    find().map_or_else(|| "".into(), |header| (*header.chain).into())
}

/// How many records stand after a place.
fn ahead(folder: &Path, cursor: Cursor) -> io::Result<u64> {
    let mut count = 0;
    for segment in segment::list(folder)?.into_iter().filter(|segment| segment.number >= cursor.segment) {
        let file = File::open(&segment.path)?;
        let offset = if segment.number == cursor.segment { cursor.offset } else { 0 };
        count += match (offset, segment::last_link_of(&segment.path)?) {
            // Numbered without a gap: no need to read them.
            (0, Some(last)) => (last.seq + 1).saturating_sub(first_seq(&file)?.unwrap_or_default()),
            _ => lines(file, offset)?,
        };
    }
    Ok(count)
}

fn first_seq(file: &File) -> io::Result<Option<u64>> {
    let mut line = Vec::new();
    BufReader::new(file.take(LONGEST_LINE)).read_until(b'\n', &mut line)?;
    Ok(line.strip_suffix(b"\n").and_then(Sealed::parse).map(|sealed| sealed.seq))
}

fn lines(mut file: File, offset: u64) -> io::Result<u64> {
    file.seek(SeekFrom::Start(offset))?;
    let mut reader = BufReader::with_capacity(256 << 10, file);
    let mut count = 0;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(count);
        }
        count += memchr::memchr_iter(b'\n', buffer).count() as u64;
        let length = buffer.len();
        reader.consume(length);
    }
}
