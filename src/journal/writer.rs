//! The end of the chain: the one place where lines get their number and hash and go into a file.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::chain::{Hash, Link, seal};
use super::checkpoint::{Checkpoint, PublicKey};
use super::mark::{Mark, Segment};
use super::{Line, Shared, segment};

/// How long it is left alone after a segment could not be begun, or one was begun because the one before was spoiled: a
/// disk that goes on failing must not be littered with segments.
const AGAIN: Duration = Duration::from_secs(1);

/// What the lock of a journal is for.
pub(super) struct Writer {
    /// The segment that is written to.
    pub file: Arc<File>,
    /// Where it was begun.
    path: PathBuf,
    pub number: u64,
    /// How much of it is whole lines, in bytes.
    length: u64,
    /// How much this run has written, in bytes.
    pub bytes: u64,
    begun: Instant,
    /// The number of the record after its first line.
    begun_at: u64,
    /// Earlier segments that may not be on the disk yet.
    full: Vec<Arc<File>>,
    /// A segment was begun whose name may not be on the disk yet.
    named: bool,
    /// The number of the next record.
    pub next: u64,
    hash: Hash,
    /// Since when something is not on the disk.
    dirty: Option<Instant>,
    /// The same of what is being brought there.
    leaving: Option<Instant>,
    /// The segment may end in half a line that could not be taken back, or lack what the disk did not take: nothing
    /// more is written to it.
    spoiled: bool,
    /// Records with a lower number may not be on the disk, whatever it says later.
    lost: u64,
    /// Since when no segment could be begun.
    stuck: Option<Instant>,
    /// When a segment was last begun in the place of a spoiled one.
    pub renewed: Option<Instant>,
    /// When the last checkpoint was made, and the number of the record after it.
    pub checkpoint: Option<SystemTime>,
    pub checkpointed: u64,
    /// The last checkpoint has been made.
    pub closed: bool,
    line: Vec<u8>,
}

impl Writer {
    /// Begins a chain in a segment of its own.
    pub fn begin(
        folder: &Path,
        number: u64,
        chain: &str,
        after: Option<Link>,
        public_key: &PublicKey,
    ) -> io::Result<Self> {
        let (path, file) = segment::create(folder, number)?;
        let mut writer = Self {
            file: Arc::new(file),
            path: path.clone(),
            number,
            length: 0,
            bytes: 0,
            begun: Instant::now(),
            begun_at: 1,
            full: Vec::new(),
            named: true,
            next: 0,
            hash: Hash::default(),
            dirty: None,
            leaving: None,
            spoiled: false,
            lost: 0,
            stuck: None,
            renewed: None,
            checkpoint: None,
            checkpointed: 1,
            closed: false,
            line: Vec::new(),
        };
        let header = header(number, chain, after, public_key.clone());
        writer.header(&header).inspect_err(|_| drop(std::fs::remove_file(&path)))?;
        Ok(writer)
    }

    /// Appends records, given without their closing braces and one behind the other. Gives the last one's number.
    pub fn append(&mut self, shared: &Shared, bodies: &[u8], ends: &[usize]) -> io::Result<u64> {
        let appended = self.chain_on(shared, bodies, ends);
        if appended.is_err() {
            shared.counts.errors.fetch_add(ends.len() as u64, Ordering::Relaxed);
        }
        appended
    }

    fn chain_on(&mut self, shared: &Shared, bodies: &[u8], ends: &[usize]) -> io::Result<u64> {
        if self.spoiled || self.length >= shared.options.segment_size {
            self.rotate(shared)?;
        }
        self.line.clear();
        let (mut seq, mut hash, mut start) = (self.next, self.hash, 0);
        for end in ends {
            let from = self.line.len();
            self.line.extend_from_slice(bodies.get(start..*end).unwrap_or_default());
            hash = seal(&mut self.line, from, seq, &hash);
            self.line.push(b'\n');
            (seq, start) = (seq + 1, *end);
        }
        self.write()?;
        (self.next, self.hash) = (seq, hash);
        Ok(seq.saturating_sub(1))
    }

    /// Signs how far the chain has come, and appends that.
    pub fn checkpoint(&mut self, shared: &Shared, last: bool) -> io::Result<Checkpoint> {
        let at = self.link(&shared.chain);
        let checkpoint = shared.key.sign(at, SystemTime::now(), last);
        let mark = Mark::Checkpoint(checkpoint.clone());
        self.mark(shared, &mark)?;
        self.checkpoint = Some(checkpoint.time);
        self.checkpointed = self.next;
        self.closed |= last;
        Ok(checkpoint)
    }

    /// Appends what the journal says of itself.
    pub fn mark(&mut self, shared: &Shared, mark: &Mark) -> io::Result<()> {
        let mut body = Vec::new();
        mark.write(&mut body)?;
        body.pop();
        let end = body.len();
        self.append(shared, &body, &[end]).map(drop)
    }

    /// The last record.
    fn link(&self, chain: &str) -> Link {
        Link { chain: chain.into(), seq: self.next.saturating_sub(1), hash: self.hash }
    }

    /// Begins the next segment. Where that cannot be, a segment that is only full goes on being written to.
    pub fn rotate(&mut self, shared: &Shared) -> io::Result<()> {
        let spoiled = self.spoiled;
        let lately = |since: Option<Instant>| since.is_some_and(|since| since.elapsed() < AGAIN);
        if spoiled && lately(self.renewed) {
            return Err(io::Error::other("the disk did not take what was written; it is tried again once a second"));
        }
        if !spoiled && lately(self.stuck) {
            return Ok(());
        }
        match self.rotated(shared) {
            Ok(()) => {
                self.stuck = None;
                if spoiled {
                    self.renewed = Some(Instant::now());
                }
                Ok(())
            }
            Err(error) if self.spoiled => Err(error),
            Err(error) => {
                tracing::error!(%error, "the journal's next segment cannot be begun; the one before goes on");
                self.stuck = Some(Instant::now());
                Ok(())
            }
        }
    }

    fn rotated(&mut self, shared: &Shared) -> io::Result<()> {
        let number = self.number + 1;
        let (path, file) = segment::create(&shared.folder, number)?;
        let before = (self.length, std::mem::replace(&mut self.spoiled, false));
        let full = std::mem::replace(&mut self.file, Arc::new(file));
        self.length = 0;
        let header = header(number, &shared.chain, Some(self.link(&shared.chain)), shared.key.public());
        let before_header = self.next;
        if let Err(error) = self.header(&header) {
            self.file = full;
            (self.length, self.spoiled) = before;
            drop(std::fs::remove_file(path));
            return Err(error);
        }
        // What a failed attempt lost, another one would not bring back.
        if self.lost < before_header {
            self.full.push(full);
        }
        self.named = true;
        (self.path, self.number) = (path, number);
        (self.begun, self.begun_at) = (Instant::now(), self.next);
        shared.counts.segments.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn header(&mut self, header: &Mark) -> io::Result<()> {
        self.line.clear();
        header.write(&mut self.line)?;
        self.line.pop();
        let hash = seal(&mut self.line, 0, self.next, &self.hash);
        self.line.push(b'\n');
        self.write()?;
        (self.next, self.hash) = (self.next + 1, hash);
        Ok(())
    }

    /// Writes the line there is, all of it or nothing.
    fn write(&mut self) -> io::Result<()> {
        let written = loop {
            match (&*self.file).write(&self.line) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => break written,
            }
        };
        match written {
            Ok(length) if length == self.line.len() => {
                self.length += length as u64;
                self.bytes += length as u64;
                if self.dirty.is_none() {
                    self.dirty = Some(Instant::now());
                }
                Ok(())
            }
            written => {
                // Half a line must not be continued by the next one.
                if !matches!(written, Ok(0)) && self.file.set_len(self.length).is_err() {
                    self.spoiled = true;
                }
                Err(written.err().unwrap_or_else(|| io::ErrorKind::StorageFull.into()))
            }
        }
    }

    /// What is to be brought onto the disk.
    fn take_unsynced(&mut self) -> Vec<Arc<File>> {
        let mut files = std::mem::take(&mut self.full);
        self.leaving = self.dirty.take();
        if self.leaving.is_some() {
            files.push(self.file.clone());
        }
        files
    }

    /// How long the oldest record has waited that is not on the disk.
    pub fn unsynced(&self) -> Duration {
        self.leaving.or(self.dirty).map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// True if the segment has been written to for long enough. One in which there is nothing but what the journal says
    /// of itself goes on.
    pub fn is_old(&self, shared: &Shared) -> bool {
        self.begun.elapsed() >= shared.options.segment_age && self.next > self.begun_at + 1
    }
}

fn header(number: u64, chain: &str, after: Option<Link>, public_key: PublicKey) -> Mark {
    Mark::Segment(Segment {
        time: SystemTime::now(),
        segment: number,
        chain: chain.into(),
        after,
        public_key,
        version: env!("CARGO_PKG_VERSION").into(),
    })
}

/// What has been brought onto the disk.
pub(super) struct Synced {
    /// Records with a lower number have been given to the disk.
    pub upto: u64,
    /// Of those, the ones with a lower number than this may not be there.
    pub lost: u64,
    /// What the disk says of the last attempt.
    pub outcome: io::Result<()>,
}

impl Shared {
    /// Brings what there is onto the disk, without holding up who writes meanwhile.
    pub(super) fn sync(&self) -> Synced {
        let _alone = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let (files, named, upto, current, path) = {
            let mut writer = self.writer();
            let (current, path) = (writer.file.clone(), writer.path.clone());
            (writer.take_unsynced(), std::mem::take(&mut writer.named), writer.next, current, path)
        };
        // A file without its name is lost in a power cut; and whoever takes it away takes away what is written to it.
        let names = || if named { File::open(&self.folder)?.sync_all() } else { Ok(()) };
        let synced = files.iter().try_for_each(|file| file.sync_data()).and_then(|()| names());
        let outcome = synced.and_then(|()| segment::is_at(&current, &path));
        if let Err(error) = &outcome {
            self.trouble.failed(error, 1);
        }
        let mut writer = self.writer();
        writer.leaving = None;
        if outcome.is_err() {
            self.counts.errors.fetch_add(1, Ordering::Relaxed);
            // The kernel may have forgotten what the disk did not take: a second attempt would succeed without it.
            (writer.spoiled, writer.lost) = (true, upto);
            writer.named |= named;
        }
        Synced { upto, lost: writer.lost, outcome }
    }
}
