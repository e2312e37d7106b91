//! The record of every exchange: JSON lines, appended before the answer they are about.
//!
//! One file for each start of the service, `STATE/journal/<time>-<pid>.jsonl`. Lines are one `write(2)` to a file
//! opened for appending, so that lines of different threads never mix and a killed process loses none that it
//! wrote. Reading is in [`reader`].

mod line;
pub mod reader;

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

pub use line::Line;

/// An open journal. Appending takes no lock of ours.
#[derive(Debug)]
pub struct Journal {
    file: File,
    /// A write has failed: the file may end in half a line, which the next one must not continue.
    torn: AtomicBool,
    /// Something was appended since the last sync.
    written: AtomicBool,
}

impl Journal {
    /// Starts a new file in a folder, which is made if it is not there. Both are the owner's alone.
    pub fn open(folder: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let name = format!("{}-{}.jsonl", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ"), std::process::id());
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(folder.join(name))?;
        // The name itself has to survive a power cut too.
        File::open(folder)?.sync_all()?;
        Ok(Self { file, torn: AtomicBool::new(false), written: AtomicBool::new(false) })
    }

    /// Appends one line. An error means that the record is not there and its request must not pass.
    pub fn append(&self, record: &impl Line) -> io::Result<()> {
        self.append_all(std::slice::from_ref(record))
    }

    /// Appends a line for each record, all in one write: that call is most of what a line costs.
    pub fn append_all(&self, records: &[impl Line]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            if self.torn.load(Ordering::Relaxed) {
                line.push(b'\n');
            }
            for record in records {
                record.write(line)?;
                line.push(b'\n');
            }
            let written = (&self.file).write(line);
            let whole = matches!(written, Ok(length) if length == line.len());
            if whole == self.torn.load(Ordering::Relaxed) {
                self.torn.store(!whole, Ordering::Relaxed);
            }
            if !self.written.load(Ordering::Relaxed) {
                self.written.store(true, Ordering::Relaxed);
            }
            match written {
                Ok(_) if whole => Ok(()),
                Ok(_) => Err(io::Error::from(io::ErrorKind::StorageFull)),
                Err(error) => Err(error),
            }
        })
    }

    /// Brings what has been appended since the last time onto the disk.
    pub fn sync_if_written(&self) -> io::Result<()> {
        if self.written.swap(false, Ordering::Relaxed) { self.sync() } else { Ok(()) }
    }

    /// Brings what has been appended onto the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Line for serde_json::Value {
        fn write(&self, line: &mut Vec<u8>) -> serde_json::Result<()> {
            serde_json::to_writer(line, self)
        }
    }

    #[test]
    fn lines_of_many_threads_stay_whole() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("journal")).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let journal = &journal;
                scope.spawn(move || {
                    for line in 0..250 {
                        journal.append(&serde_json::json!({"thread": thread, "line": line})).unwrap();
                        let two = [0, 1].map(|half| serde_json::json!({"thread": thread, "line": line, "half": half}));
                        journal.append_all(&two).unwrap();
                    }
                });
            }
        });
        let file = std::fs::read_dir(folder.path().join("journal")).unwrap().next().unwrap().unwrap().path();
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(text.lines().count(), 3000);
        assert!(text.lines().all(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()));
    }

    #[test]
    fn a_full_disk_is_an_error_and_the_next_line_starts_anew() {
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let journal = Journal { file, torn: AtomicBool::new(false), written: AtomicBool::new(false) };
        assert!(journal.append(&serde_json::json!(1)).is_err());
        assert!(journal.torn.load(Ordering::Relaxed));
    }
}
