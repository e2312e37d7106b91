//! What was asked, how it was answered, and what the record says of it.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use attache::journal::follow::{Cursor, Follower};
use attache::pipeline::audit::{Record, Verdict};

/// How many faults are kept word for word.
const FAULTS: usize = 20;

/// The books. Every request has a number, which stands in its path or host.
#[derive(Default)]
pub struct Books {
    next: AtomicU64,
    answers: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// By number: whether it was let through; none where nobody waited for the answer.
    let_through: Mutex<Vec<Option<bool>>>,
    pub faults: Arc<Mutex<Vec<String>>>,
}

impl Books {
    /// The next number.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// An answer, which must be one of those expected.
    pub fn answered(&self, kind: &'static str, number: u64, answer: &(u16, String), expected: &[(u16, &str)]) {
        *self.answers.lock().unwrap().entry((kind, answer.0)).or_default() += 1;
        self.note(number, Some(answer.0 == 200));
        if !expected.iter().any(|(status, reason)| (*status, *reason) == (answer.0, answer.1.as_str())) {
            self.fault(format!("{kind} {number}: {answer:?}, expected one of {expected:?}"));
        }
    }

    /// A request whose answer nobody waited for.
    pub fn gone(&self, number: u64) {
        self.note(number, None);
    }

    fn note(&self, number: u64, passed: Option<bool>) {
        let mut all = self.let_through.lock().unwrap();
        if all.len() <= number as usize {
            all.resize(number as usize + 1, None);
        }
        all[number as usize] = passed;
    }

    pub fn fault(&self, what: String) {
        let mut faults = self.faults.lock().unwrap();
        if faults.len() < FAULTS {
            eprintln!("fault: {what}");
        }
        faults.push(what);
    }

    /// How many of a kind got this status.
    pub fn of(&self, kind: &'static str, status: u16) -> u64 {
        self.answers.lock().unwrap().get(&(kind, status)).copied().unwrap_or_default()
    }

    pub fn show(&self) {
        for ((kind, status), count) in &*self.answers.lock().unwrap() {
            println!("  {kind:<18} {status}  {count:>9}");
        }
    }
}

/// Reads the journal while it grows.
pub struct Clerk {
    thread: std::thread::JoinHandle<Account>,
    stop: Arc<AtomicBool>,
}

/// What the record says of a number.
#[derive(Clone, Copy, Default)]
struct Decided {
    /// Exchanges there were.
    count: u8,
    /// The last one's id, hashed.
    id: u64,
    let_through: bool,
}

/// What the record says.
#[derive(Default)]
struct Account {
    decided: Vec<Decided>,
    keys: RandomState,
    /// Decisions whose outcome has not come.
    open: HashSet<String>,
    unknown: u64,
    lines: u64,
    skipped: u64,
}

impl Clerk {
    pub fn start(folder: &Path) -> Clerk {
        let (stop, folder) = (Arc::new(AtomicBool::new(false)), folder.to_owned());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut follower = Follower::new(&folder, Cursor::default());
            let mut account = Account::default();
            loop {
                // Asked before reading: what was written before the end is read.
                let last = stopped.load(Ordering::SeqCst);
                while let Some(entry) = follower.next_entry().expect("the journal can be read") {
                    account.read(&entry.line);
                }
                if last {
                    account.skipped = follower.skipped;
                    return account;
                }
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        });
        Clerk { thread, stop }
    }

    /// Reads to the end, and holds it against the books.
    pub fn settle(self, books: &Books) {
        self.stop.store(true, Ordering::SeqCst);
        let account = self.thread.join().expect("the journal is what was written");
        let let_through = books.let_through.lock().unwrap();
        let (mut missing, mut twice, mut otherwise) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..books.count() as usize {
            let passed = let_through.get(number).copied().flatten();
            let on_record = account.decided.get(number).copied().unwrap_or_default();
            match (on_record.count, passed) {
                // An agent that is gone at once may never have been heard.
                (0, None) => {}
                (0, Some(_)) => missing.push(number),
                (1, Some(passed)) if on_record.let_through != passed => otherwise.push(number),
                (1, _) => {}
                _ => twice.push(number),
            }
        }
        println!("{} lines on record, {} skipped", account.lines, account.skipped);
        for (what, numbers) in [("not", missing), ("more than once", twice), ("otherwise than answered", otherwise)] {
            if !numbers.is_empty() {
                let some: Vec<_> = numbers.iter().take(5).collect();
                books.fault(format!("{} requests are {what} on record, such as {some:?}", numbers.len()));
            }
        }
        if account.skipped + account.unknown > 0 || !account.open.is_empty() {
            let (skipped, unknown, open) = (account.skipped, account.unknown, account.open.len());
            books
                .fault(format!("{skipped} lines cannot be read, {unknown} outcomes are unknown, {open} have not come"));
        }
    }
}

impl Account {
    fn read(&mut self, line: &[u8]) {
        self.lines += 1;
        match serde_json::from_slice(line) {
            Ok(Record::Decision(decision)) => {
                let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok();
                // In the path; where a tunnel was refused, in the host.
                let number: Option<usize> = if decision.path.len() > 1 {
                    decision.path.rsplit('/').next().and_then(|last| last.parse().ok())
                } else {
                    digits(&decision.host)
                };
                let Some(number) = number else { return };
                if self.decided.len() <= number {
                    self.decided.resize(number + 1, Decided::default());
                }
                let id = self.keys.hash_one(&*decision.request_id);
                let seen = &mut self.decided[number];
                // Of an agent that is gone both Envoy and attaché say so, in any order: two lines, and one exchange.
                if seen.count == 0 || seen.id != id {
                    seen.count += 1;
                    self.open.insert(decision.request_id.to_string());
                }
                (seen.id, seen.let_through) = (id, decision.decision == Verdict::Allow);
            }
            Ok(Record::Outcome(outcome)) => {
                self.open.remove(&*outcome.request_id);
                self.unknown += u64::from(!outcome.known);
            }
            _ => {}
        }
    }
}
