//! What a journal needs from time to time: the disk, new segments, checkpoints, and room.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use nix::time::{ClockId, clock_gettime};

use super::mark::{Clock, Mark, Retention};
use super::{Counts, SegmentFile, Shared, segment};

/// How often how far the chain has come is signed, as long as it comes further.
const CHECKPOINT: Duration = Duration::from_secs(10);
/// How often it is looked at what there is.
const LOOK: Duration = Duration::from_secs(60);
/// By how much the clock may differ from what it should say before that is put on record.
const DRIFT: Duration = Duration::from_secs(60);

pub(super) struct Keeper {
    checkpointed: Instant,
    looked: Instant,
    /// The segment that was written to at that time.
    number: u64,
    /// The clock, and the time that has passed since the machine's start, sleep included, at the same moment.
    clock: (SystemTime, Duration),
    /// The same when this began.
    began: (SystemTime, Duration),
    /// What could not be removed has been said.
    warned: bool,
}

impl Keeper {
    pub fn new() -> Self {
        let (now, clock) = (Instant::now(), (SystemTime::now(), since_start()));
        Self {
            checkpointed: now,
            looked: now.checked_sub(LOOK).unwrap_or(now),
            number: 0,
            clock,
            began: clock,
            warned: false,
        }
    }

    /// Does what is due. Segments from `pinned` on are not removed.
    pub fn upkeep(&mut self, shared: &Shared, pinned: u64) -> io::Result<()> {
        // Nothing of the journal's own follows its last word.
        if shared.writer().closed {
            return shared.sync().outcome;
        }
        self.watch_clock(shared);
        let written = self.write(shared).inspect_err(|error| shared.trouble.failed(error, 0));
        let number = shared.writer().number;
        if number != self.number || self.looked.elapsed() >= LOOK {
            self.number = number;
            self.looked = Instant::now();
            if let Err(error) = self.make_room(shared, number.min(pinned)) {
                tracing::error!(%error, "old segments of the journal cannot be removed");
            }
        }
        // Where records are waited for, this is for those that nobody waits for. What was written is brought onto the
        // disk even if nothing more can be.
        shared.sync().outcome.and(written)
    }

    /// Begins a segment and signs a checkpoint, if it is time.
    fn write(&mut self, shared: &Shared) -> io::Result<()> {
        let mut writer = shared.writer();
        if writer.is_old(shared) {
            writer.rotate(shared)?;
        }
        if self.checkpointed.elapsed() >= CHECKPOINT && writer.next > writer.checkpointed {
            self.checkpointed = Instant::now();
            writer.checkpoint(shared, false)?;
            // Where no request comes, this is what shows that records can be written again.
            shared.trouble.went_well();
        }
        shared.trouble.settle();
        Ok(())
    }

    /// Removes the oldest segments, as long as there is too much or they are too old.
    fn make_room(&mut self, shared: &Shared, keep_from: u64) -> io::Result<()> {
        let written = shared.writer().bytes;
        let segments = segment::list(&shared.folder)?;
        let mut size: u64 = segments.iter().map(|segment| segment.size).sum();
        // The clock may be set to any time while this runs: what is old has to be old by what it says, and by what it
        // would say had it been left alone.
        let now = SystemTime::now().min(self.began.0 + since_start().saturating_sub(self.began.1));
        let is_old = |segment: &SegmentFile| {
            let age = now.duration_since(segment.modified).unwrap_or_default();
            shared.options.max_age.is_some_and(|max| age > max)
        };
        let mut doomed = Vec::new();
        let mut held = false;
        let current = segments.last().map_or(0, |segment| segment.number);
        for segment in &segments {
            if segment.number == current || !(shared.options.max_size.is_some_and(|max| size > max) || is_old(segment))
            {
                break;
            }
            if segment.number >= keep_from {
                held = true;
                break;
            }
            size -= segment.size;
            doomed.push(segment);
        }
        if held && !self.warned {
            tracing::warn!(bytes = size, "a sink has not read what should be removed: the journal grows until it has");
        }
        self.warned = held;
        self.remove(shared, &doomed)?;
        let Counts { earlier, segments: count, .. } = &shared.counts;
        earlier.store(size.wrapping_sub(written), Ordering::Relaxed);
        count.store((segments.len() - doomed.len()) as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Says what goes before it goes: where it does not come to that, more is there than was promised.
    fn remove(&self, shared: &Shared, doomed: &[&SegmentFile]) -> io::Result<()> {
        let (Some(first), Some(last)) = (doomed.first(), doomed.last()) else { return Ok(()) };
        let mark = Mark::Retention(Retention {
            time: SystemTime::now(),
            segments: (first.number, last.number),
            through: segment::last_link_of(&last.path)?,
            bytes: doomed.iter().map(|segment| segment.size).sum(),
        });
        shared.writer().mark(shared, &mark)?;
        shared.sync().outcome?;
        doomed.iter().try_for_each(|segment| std::fs::remove_file(&segment.path))?;
        sync_folder(&shared.folder)
    }

    /// Puts a change of the clock on record.
    fn watch_clock(&mut self, shared: &Shared) {
        let passed = since_start().saturating_sub(self.clock.1);
        let (time, expected) = (SystemTime::now(), self.clock.0 + passed);
        let drift = time.duration_since(expected).unwrap_or_else(|error| error.duration());
        if drift < DRIFT {
            return;
        }
        tracing::warn!(
            seconds = drift.as_secs(),
            "the clock was changed: times on record before and after do not compare"
        );
        if let Err(error) = shared.writer().mark(shared, &Mark::Clock(Clock { time, expected })) {
            tracing::error!(%error, "a change of the clock cannot be put on record");
        }
        self.clock = (time, self.clock.1 + passed);
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// How long the machine has been up, sleep included: no setting of the clock changes it. By libc, for rustix reads the
/// vDSO of its own accord, which valgrind hides: it would crash there.
fn since_start() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
impl Keeper {
    /// As if the last checkpoint were long ago.
    pub fn expect_checkpoint(&mut self) {
        self.checkpointed = self.checkpointed.checked_sub(CHECKPOINT).unwrap();
    }

    /// As if the clock had been set forward since.
    pub fn set_clock_forward(&mut self, by: Duration) {
        self.clock.0 -= by;
        self.began.0 -= by;
    }
}
