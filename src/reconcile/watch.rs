//! Reads Envoy's file on a thread of its own, and settles what the stream has left open.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Pid;

use super::entry::Entry;
use super::file::{Cursor, Tail};
use super::open::{Known, Mark};
use super::{Ledger, PENDING, Report, past};
use crate::pipeline::audit::{Record, Verdict};

/// How often the file is looked at.
const GLANCE: Duration = Duration::from_millis(500);
/// How much later than the file the stream may be, before its outcome is taken from the file.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an Envoy that outlived this service may take to come back to it.
const RETURN: Duration = Duration::from_secs(30);
/// Lines that are read at a time, and that wait at most.
const LINES: usize = 50_000;

/// Where there is what to watch.
pub struct Source {
    /// Envoy's file.
    pub file: PathBuf,
    /// Its mode, where it has to be made.
    pub mode: u32,
    /// Where it is kept how far it has been read.
    pub cursor: PathBuf,
    /// The journal's folder.
    pub journal: PathBuf,
    /// Which process Envoy is; none where nobody says.
    pub envoy: Option<Box<dyn Fn() -> Option<Pid> + Send>>,
}

/// The thread that watches.
pub struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Starts it.
    pub fn start(ledger: Arc<Ledger>, source: Source) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let started = SystemTime::now();
        let thread = std::thread::Builder::new().name("reconcile".into()).spawn(move || {
            let mut watcher = Watcher::new(ledger, source, started);
            watcher.remember();
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(GLANCE) {
                watcher.pass(Instant::now(), false);
            }
            // Envoy has ended before: what it wrote last is there, and nothing more will come on its stream.
            watcher.pass(Instant::now(), true);
        })?;
        Ok(Self { stop, thread })
    }

    /// Reads what is left, and ends.
    pub fn finish(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("Envoy's access log was not read to its end");
        }
    }
}

struct Watcher {
    ledger: Arc<Ledger>,
    tail: Tail,
    cursor_path: PathBuf,
    /// What was kept last.
    kept: Cursor,
    journal: PathBuf,
    envoy: Option<Box<dyn Fn() -> Option<Pid> + Send>>,
    waiting: VecDeque<Waiting>,
    /// What could not be put on record yet.
    unwritten: Vec<Record>,
    started: (SystemTime, Instant),
    /// Which Envoy wrote the file before this service started, until it is known whether it lives.
    former: Option<Former>,
    /// No lookup before this moment: one may take long.
    rest: Instant,
}

struct Former {
    envoy: Option<String>,
}

/// A line that the stream has yet to confirm.
struct Waiting {
    at: u64,
    due: Instant,
    id: Arc<str>,
    entry: Entry,
}

impl Watcher {
    fn new(ledger: Arc<Ledger>, source: Source, started: SystemTime) -> Self {
        let Source { file, mode, cursor: cursor_path, journal, envoy } = source;
        let kept = Cursor::load(&cursor_path).unwrap_or_default();
        let (now, former) = (Instant::now(), Some(Former { envoy: kept.envoy.clone() }));
        Self {
            tail: Tail::open(file, mode, kept.clone()),
            ledger,
            cursor_path,
            kept,
            journal,
            envoy,
            waiting: VecDeque::new(),
            unwritten: Vec::new(),
            started: (started, now),
            former,
            rest: now,
        }
    }

    /// Takes up the exchanges that were open when the service ended the last time.
    fn remember(&mut self) {
        match past::unfinished(&self.journal, self.started.0) {
            Ok(found) => {
                for id in found {
                    self.ledger.open.begin(&id, Mark::Former, self.started.1);
                }
            }
            Err(error) => tracing::error!(%error, "it is not known which exchanges an earlier run left open"),
        }
    }

    /// Reads what is new and settles what is due; all of it, if nothing more will come.
    fn pass(&mut self, now: Instant, last: bool) {
        if let Err(error) = self.read(now) {
            tracing::error!(%error, "Envoy's access log cannot be read: what it alone knows is not on record");
        }
        self.settle(now, last);
        self.adopt(now);
        let unknown = self.ledger.sweep(now);
        self.unwritten.extend(unknown);
        match self.ledger.journal.append_all(&self.unwritten) {
            Ok(_) => {
                self.unwritten.clear();
                self.keep();
            }
            // The journal says it loudly.
            Err(error) => tracing::debug!(%error, "outcomes cannot be put on record yet"),
        }
    }

    fn read(&mut self, now: Instant) -> std::io::Result<()> {
        while self.waiting.len() + self.unwritten.len() < LINES {
            let Self { tail, waiting, ledger, .. } = self;
            let mut unreadable = 0;
            let more = tail.read(LINES, &mut |at, line| match Entry::read(line) {
                None => unreadable += 1,
                Some(entry) if entry.is_summed() => {}
                Some(entry) => {
                    let Some(id) = entry.request_id() else { return unreadable += 1 };
                    if ledger.open.confirm(&id) != Known::Over {
                        let id = id.as_ref().into();
                        waiting.push_back(Waiting { at, due: now + PATIENCE, id, entry });
                    }
                }
            })?;
            self.tail.unreadable += unreadable;
            let unreadable = std::mem::take(&mut self.tail.unreadable);
            if unreadable > 0 {
                tracing::warn!(unreadable, "lines of Envoy's access log cannot be read");
            }
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn settle(&mut self, now: Instant, last: bool) {
        let mut strangers = Vec::new();
        while self.waiting.front().is_some_and(|waiting| last || waiting.due <= now)
            && let Some(waiting) = self.waiting.pop_front()
        {
            match self.ledger.open.confirm(&waiting.id) {
                // Until it is on record, the file is not left behind.
                Known::Ending if !last => {
                    self.waiting.push_front(waiting);
                    break;
                }
                Known::Over | Known::Ending => {}
                Known::Running | Known::Cut => {
                    self.ledger.take(waiting.entry.report(&waiting.id), &mut self.unwritten);
                    self.done(&waiting.id);
                }
                Known::Stranger => strangers.push(waiting),
            }
        }
        if !strangers.is_empty() {
            if last || now >= self.rest {
                self.look_up(strangers);
                self.rest = Instant::now() + now.elapsed() * 4;
            } else {
                strangers.into_iter().rev().for_each(|waiting| self.waiting.push_front(waiting));
            }
        }
    }

    /// Asks the journal about what is not in memory.
    fn look_up(&mut self, strangers: Vec<Waiting>) {
        let ids: HashSet<_> = strangers.iter().map(|waiting| waiting.id.clone()).collect();
        let earliest = strangers.iter().filter_map(|waiting| waiting.entry.start()).min().unwrap_or_default();
        let past = match past::find(&self.journal, &ids, SystemTime::UNIX_EPOCH + earliest) {
            Ok(past) => past,
            Err(error) => {
                tracing::error!(%error, "the journal cannot be asked what was decided");
                return strangers.into_iter().rev().for_each(|waiting| self.waiting.push_front(waiting));
            }
        };
        for Waiting { id, entry, .. } in strangers {
            match past.decisions.get(&id) {
                // Of what was refused, Envoy's report of an allow is the bypass.
                Some(Verdict::Deny | Verdict::RateLimited | Verdict::Pending) if entry.has_upstream() => {
                    self.ledger.disown(entry.report(&id), &mut self.unwritten);
                }
                // Written, and taken back: it did not get onto the disk, and nor did that it was taken back.
                Some(Verdict::Allow) if entry.was_refused() => {
                    self.ledger.refused(entry.report(&id), &mut self.unwritten);
                }
                Some(_) if past.ended.contains(&id) => {}
                None if past.is_partial => {
                    tracing::error!(request_id = %id, "it cannot be told whether a request was decided: the journal is too long");
                }
                // The service that was asked about it is gone, and has not decided.
                None if entry.decision.as_deref() == Some(PENDING) && !entry.report(&id).was_forwarded() => {
                    let report = Report { decision: None, ..entry.report(&id) };
                    self.ledger.take(report, &mut self.unwritten);
                }
                None if entry.decision.is_some() => {
                    let report = entry.report(&id);
                    // Whatever was decided, it was no allow: its record could not be written.
                    match report.was_forwarded() || report.decision == Some("allow") {
                        true => self.ledger.disown(report, &mut self.unwritten),
                        false => self.ledger.refused(report, &mut self.unwritten),
                    }
                }
                // An outcome that was lost; or a request that nobody knows of.
                known => {
                    let mut report = entry.report(&id);
                    if known.is_some() {
                        report.decision = Some("allow");
                    }
                    self.ledger.take(report, &mut self.unwritten);
                }
            }
            self.done(&id);
        }
    }

    /// The file has said what it has of an exchange, and what has been taken is kept here until it is on record.
    fn done(&self, id: &str) {
        self.ledger.open.written(id);
        self.ledger.open.confirm(id);
    }

    /// Whether the Envoy of the exchanges that an earlier run left open lives on: then it may still report them.
    fn adopt(&mut self, now: Instant) {
        let Some(former) = &self.former else { return };
        let envoys = &self.ledger.envoys;
        let is_late = now.saturating_duration_since(self.started.1) >= RETURN;
        let lives = match (&self.envoy, envoys.next() > 0) {
            (_, false) if is_late => false,
            (_, false) => return,
            // Nobody says which process it is: that it is the same cannot be excluded.
            (None, true) => true,
            (Some(envoy), true) => match envoy().map(identity) {
                Some(current) => former.envoy.as_ref().is_none_or(|former| *former == current),
                None if is_late => false,
                None => return,
            },
        };
        self.ledger.open.adopt(if lives { envoys.next() } else { 0 });
        self.former = None;
    }

    /// Keeps how far everything has been taken in, and gives the disk back what stands before.
    fn keep(&mut self) {
        let offset = self.waiting.front().map_or(self.tail.position(), |waiting| waiting.at.min(self.tail.position()));
        let envoy = match (&self.former, &self.envoy) {
            (Some(former), _) => former.envoy.clone(),
            (None, Some(envoy)) => envoy().map(identity).or_else(|| self.kept.envoy.clone()),
            (None, None) => None,
        };
        let cursor = Cursor { envoy, ..self.tail.cursor(offset) };
        if cursor == self.kept {
            return;
        }
        match cursor.store(&self.cursor_path) {
            Ok(()) => {
                self.tail.free(offset);
                self.kept = cursor;
            }
            Err(error) => tracing::warn!(%error, path = %self.cursor_path.display(), "cannot be written"),
        }
    }
}

/// A process, told from another that gets the same number later: by when it started (proc_pid_stat(5), field 22).
fn identity(pid: Pid) -> String {
    let number = pid.as_raw_nonzero();
    let stat = std::fs::read_to_string(Path::new("/proc").join(number.to_string()).join("stat")).unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    format!("{number}-{}", after.split_whitespace().nth(19).unwrap_or_default())
}
