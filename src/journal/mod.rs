//! The record of every exchange: JSON lines, appended before the answer they are about, each tied to all before it.
//!
//! `STATE/journal/NUMBER-TIME.jsonl` are segments of one sequence. Every line ends with its number and a hash over it and
//! everything before ([`chain`]); what one run of the service writes is a chain, whose first line names the last record
//! of the run before. Every ten seconds in which something was written, and at the end, a [`checkpoint`] signs how far the
//! chain has come. Appending is one `write(2)` under one lock, so that a killed process loses nothing that it answered
//! for; what is read back is in [`reader`].

pub mod chain;
pub mod checkpoint;
mod commit;
pub mod exchange;
pub mod filter;
pub mod follow;
mod keeper;
mod line;
pub mod mark;
pub mod ocsf;
pub mod reader;
pub mod recall;
pub mod segment;
mod trouble;
pub mod verify;
mod writer;

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use checkpoint::{Checkpoint, Key, PublicKey};
use commit::Commits;
pub use commit::Committed;
use keeper::Keeper;
pub use line::Line;
use segment::SegmentFile;
use trouble::Trouble;
use writer::Writer;

/// How a journal is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// When a record counts as there.
    pub durability: Durability,
    /// How large a segment gets before the next one is begun, in bytes.
    pub segment_size: u64,
    /// How long a segment is written to before the next one is begun.
    pub segment_age: Duration,
    /// How much is kept, in bytes, and some: whole segments are removed, and never what a sink has yet to read. None:
    /// all.
    pub max_size: Option<u64>,
    /// How long a segment is kept that is no longer written to. None: for ever.
    pub max_age: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Buffered,
            segment_size: 64 << 20,
            segment_age: Duration::from_secs(24 * 3600),
            max_size: Some(5 << 30),
            max_age: None,
        }
    }
}

/// When a record counts as there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Once it is on the disk. Survives a power cut; many requests share one wait for the disk.
    Strict,
    /// Once the kernel has it, which brings it onto the disk within 200 ms. Survives the death of the process.
    Buffered,
}

/// Why a journal cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else writes it.
    #[error("another attaché{} writes it; give each its own state directory", .0.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Busy(Option<u32>),
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is no randomness for a key.
    #[error("the system gives no random bytes for the key that signs its checkpoints")]
    NoKey,
}

/// An open journal: the only one that writes to its folder.
pub struct Journal {
    shared: Arc<Shared>,
    commits: Option<Commits>,
    keeper: Mutex<Keeper>,
    /// What sinks have yet to read.
    pins: Mutex<Vec<Weak<AtomicU64>>>,
    _lock: File,
}

/// What the writing threads and the one that waits for the disk have in common.
struct Shared {
    folder: PathBuf,
    options: Options,
    chain: Box<str>,
    key: Key,
    writer: Mutex<Writer>,
    /// Held while the disk is waited for: who finds nothing left to bring there must not be ahead of it.
    syncing: Mutex<()>,
    counts: Counts,
    trouble: Trouble,
}

#[derive(Default)]
struct Counts {
    errors: AtomicU64,
    /// What there is beside what this run has appended, in bytes. Below zero, in two's complement, where some of that has
    /// been removed.
    earlier: AtomicU64,
    segments: AtomicU64,
}

/// How a journal is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    /// Records appended by this run.
    pub records: u64,
    /// Bytes appended by this run.
    pub bytes: u64,
    /// Records that could not be written or brought onto the disk.
    pub errors: u64,
    /// All segments together, in bytes, as of the last look at the folder and what was appended since.
    pub size: u64,
    /// How many there are.
    pub segments: u64,
    /// How long the oldest record has waited that is not on the disk yet.
    pub unsynced: Duration,
    /// When the last checkpoint was signed.
    pub checkpoint: Option<SystemTime>,
}

/// Keeps a segment and all later ones from being removed, for as long as it lives.
#[derive(Debug, Clone)]
pub struct Pin(Arc<AtomicU64>);

impl Pin {
    /// From now on only this segment and later ones are held.
    pub fn advance(&self, segment: u64) {
        self.0.store(segment, Ordering::Relaxed);
    }
}

impl Journal {
    /// Begins a new segment and a new chain in a folder, which is made if it is not there. All of it is the owner's
    /// alone. Whatever state the files before are in, they are left as they are.
    ///
    /// # Errors
    /// When the folder is another one's to write, or cannot be written.
    pub fn open(folder: &Path, options: Options) -> Result<Self, OpenError> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let lock = lock(folder)?;
        let segments = segment::list(folder)?;
        let segment::End { link: after, half, damaged } = segment::end(&segments)?;
        if half > 0 {
            tracing::warn!(
                bytes = half,
                "the journal's last line was not written to its end; no answer depended on it"
            );
        }
        if !damaged.is_empty() {
            tracing::error!(
                damaged = damaged.join(", "),
                "what stands in the journal is damaged; it is left as it is, and `attache audit verify` says more"
            );
        }
        let key = Key::generate().ok_or(OpenError::NoKey)?;
        let chain = new_chain()?;
        let number = segments.last().map_or(0, |segment| segment.number + 1);
        let size = segments.iter().map(|segment| segment.size).sum();
        let shared = Shared {
            writer: Mutex::new(Writer::begin(folder, number, &chain, after, &key.public())?),
            folder: folder.to_owned(),
            options,
            chain,
            key,
            syncing: Mutex::default(),
            counts: Counts {
                earlier: AtomicU64::new(size),
                segments: AtomicU64::new(segments.len() as u64 + 1),
                ..Counts::default()
            },
            trouble: Trouble::default(),
        };
        let shared = Arc::new(shared);
        let commits = match options.durability {
            Durability::Strict => Some(Commits::start(shared.clone())?),
            Durability::Buffered => None,
        };
        // Who reads on finds a first line in every segment.
        shared.sync().outcome?;
        Ok(Self { shared, commits, keeper: Mutex::new(Keeper::new()), pins: Mutex::default(), _lock: lock })
    }

    /// Appends one record, and gives its number. An error means that it is not there and its request must not pass.
    pub fn append(&self, record: &impl Line) -> io::Result<u64> {
        self.append_all(std::slice::from_ref(record))
    }

    /// Appends a line for each record, all in one write: that call is most of what a line costs. Gives the number of the
    /// last one.
    pub fn append_all(&self, records: &[impl Line]) -> io::Result<u64> {
        if records.is_empty() {
            return Ok(self.shared.writer().next.saturating_sub(1));
        }
        self.shared.append_all(records)
    }

    /// Waits until a record is on the disk; none where that is not asked for, and it counts as it is.
    pub fn committed(&self, seq: u64) -> Option<Committed> {
        self.commits.as_ref().map(|commits| commits.wait(seq))
    }

    /// What has to be done from time to time, several times a second: brings records onto the disk, begins segments, signs
    /// checkpoints, removes what is old. Blocks.
    ///
    /// # Errors
    /// When records cannot be brought onto the disk.
    pub fn upkeep(&self) -> io::Result<()> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).upkeep(&self.shared, self.pinned())
    }

    /// Signs how far the chain has come, puts that on record, and brings everything onto the disk.
    pub fn close(&self) -> io::Result<()> {
        self.checkpoint(true)?;
        self.shared.sync().outcome
    }

    /// Signs how far the chain has come, and puts that on record.
    pub fn checkpoint(&self, last: bool) -> io::Result<Checkpoint> {
        self.shared.writer().checkpoint(&self.shared, last)
    }

    /// Holds a segment and all later ones.
    pub fn pin(&self, segment: u64) -> Pin {
        let pin = Arc::new(AtomicU64::new(segment));
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        pins.retain(|pin| pin.strong_count() > 0);
        pins.push(Arc::downgrade(&pin));
        Pin(pin)
    }

    /// The first segment that somebody holds.
    fn pinned(&self) -> u64 {
        let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let held = pins.iter().filter_map(|pin| Some(pin.upgrade()?.load(Ordering::Relaxed)));
        held.min().unwrap_or(u64::MAX)
    }

    /// The chain that this run writes.
    pub fn chain(&self) -> &str {
        &self.shared.chain
    }

    /// What its checkpoints are signed with.
    pub fn public_key(&self) -> PublicKey {
        self.shared.key.public()
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// How it is doing.
    pub fn facts(&self) -> Facts {
        let Counts { errors, earlier, segments } = &self.shared.counts;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let writer = self.shared.writer();
        Facts {
            records: writer.next,
            bytes: writer.bytes,
            errors: count(errors),
            size: count(earlier).wrapping_add(writer.bytes),
            segments: count(segments),
            unsynced: writer.unsynced(),
            checkpoint: writer.checkpoint,
        }
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("folder", &self.shared.folder).field("chain", &self.shared.chain).finish()
    }
}

impl Shared {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_all(&self, records: &[impl Line]) -> io::Result<u64> {
        thread_local! {
            static BODIES: RefCell<(Vec<u8>, Vec<usize>)> = const { RefCell::new((Vec::new(), Vec::new())) };
        }
        BODIES.with_borrow_mut(|(bodies, ends)| {
            bodies.clear();
            ends.clear();
            // All but numbers and hashes is written before the lock is taken.
            for record in records {
                record.write(bodies)?;
                if bodies.pop() != Some(b'}') {
                    return Err(io::Error::other("a record is not an object"));
                }
                ends.push(bodies.len());
            }
            let appended = self.writer().append(self, bodies, ends);
            match &appended {
                Ok(_) => self.trouble.went_well(),
                Err(error) => self.trouble.failed(error, ends.len() as u64),
            }
            appended
        })
    }
}

/// One writer for each folder: the lock goes with the process that holds it.
fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join("lock");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let pid = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            return Err(OpenError::Busy(pid));
        }
        Err(error) => return Err(io::Error::from(error).into()),
    }
    file.set_len(0)?;
    // For people only: on a full disk it may stay empty.
    let _ = writeln!(file, "{}", std::process::id());
    Ok(file)
}

fn new_chain() -> Result<Box<str>, OpenError> {
    let mut bytes = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).map_err(|_| OpenError::NoKey)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
}

#[cfg(test)]
mod crashes;
#[cfg(test)]
mod tests;
