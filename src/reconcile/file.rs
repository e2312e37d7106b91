//! Envoy's file, read as it grows, and given back to the disk as it has been read.
//!
//! Envoy goes on writing to the end of it, so it is never cut: a cut may take what was written meanwhile. Holes take the
//! place of what was read; the file's length grows, the space it takes does not.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use serde::{Deserialize, Serialize};

/// How much is read at a time, in bytes.
const CHUNK: usize = 64 * 1024;
/// A line that is longer is none of Envoy's.
const LONGEST_LINE: u64 = 1024 * 1024;
/// How much is to have been read before it is worth a hole.
const HOLE: u64 = 1024 * 1024;

/// How far a file has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Which file: the numbers of its device and of it.
    pub device: u64,
    pub inode: u64,
    /// The first byte that is still to be read.
    pub offset: u64,
    /// The Envoy that wrote it, where the supervisor has said which process that is.
    pub envoy: Option<String>,
}

impl Cursor {
    /// The last that was kept; none where there is none that can be read.
    pub fn load(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Keeps it. What is lost of it in a power cut is read again.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        let draft = path.with_extension("draft");
        std::fs::write(&draft, serde_json::to_vec(self)?)?;
        std::fs::rename(draft, path)
    }
}

/// The file.
pub struct Tail {
    path: PathBuf,
    /// For when it is not there yet: Envoy may run as another user, and has to be able to write to it.
    mode: u32,
    open: Option<Opened>,
    /// Where to go on in the file that was read last.
    cursor: Cursor,
    /// What was read last. Kept: it is looked several times a second whether there is more.
    chunk: Box<[u8]>,
    /// Whether there can be holes in a file here.
    holes: bool,
    /// Lines that are none of Envoy's.
    pub unreadable: u64,
}

struct Opened {
    file: File,
    device: u64,
    inode: u64,
    offset: u64,
    /// Until here there is a hole.
    freed: u64,
}

impl Tail {
    /// Goes on at `cursor`. The file is made if it is not there.
    pub fn open(path: PathBuf, mode: u32, cursor: Cursor) -> Self {
        let chunk = vec![0; CHUNK].into();
        let tail = Self { path, mode, open: None, cursor, chunk, holes: true, unreadable: 0 };
        if let Err(error) = tail.create() {
            tracing::warn!(%error, path = %tail.path.display(), "Envoy's access log cannot be made: Envoy has to make it");
        }
        tail
    }

    fn create(&self) -> io::Result<()> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path) {
            Ok(file) => file.set_permissions(std::fs::Permissions::from_mode(self.mode)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads up to `most` lines, each with the place at which it begins. True if there may be more.
    pub fn read(&mut self, most: usize, each: &mut dyn FnMut(u64, &[u8])) -> io::Result<bool> {
        let mut left = most;
        loop {
            if self.open.is_none() && !self.reopen()? {
                return Ok(false);
            }
            let Some(open) = &mut self.open else { return Ok(false) };
            if open.read(&mut self.chunk, &mut left, &mut self.unreadable, each)? {
                return Ok(true);
            }
            // It has been read to its end; another may have taken its place.
            match std::fs::metadata(&self.path) {
                Ok(now) if (now.dev(), now.ino()) != (open.device, open.inode) => self.open = None,
                Ok(now) if now.len() < open.offset => {
                    tracing::warn!(path = %self.path.display(), "somebody has cut Envoy's access log; lines of it may be lost");
                    (open.offset, open.freed) = (0, 0);
                }
                _ => return Ok(false),
            }
        }
    }

    /// Where the next line begins.
    pub fn position(&self) -> u64 {
        self.open.as_ref().map_or(self.cursor.offset, |open| open.offset)
    }

    /// How far it has been read, if nothing before `offset` is needed any more.
    pub fn cursor(&self, offset: u64) -> Cursor {
        match &self.open {
            Some(open) => Cursor { device: open.device, inode: open.inode, offset, envoy: None },
            None => Cursor { offset, ..self.cursor.clone() },
        }
    }

    /// Gives the disk back what stands before `offset`.
    pub fn free(&mut self, offset: u64) {
        let Some(open) = self.open.as_mut().filter(|open| self.holes && offset >= open.freed + HOLE) else { return };
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&open.file, flags, open.freed, offset - open.freed) {
            Ok(()) => open.freed = offset,
            Err(error) => {
                self.holes = false;
                let path = self.path.display();
                tracing::warn!(%error, %path, "Envoy's access log grows: what has been read of it cannot be given back here");
            }
        }
    }

    fn reopen(&mut self) -> io::Result<bool> {
        let opened = OpenOptions::new().read(true).write(true).open(&self.path);
        let opened = match opened {
            // It is another user's: it can be read, and has to be looked after by somebody else.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.holes = false;
                File::open(&self.path)
            }
            opened => opened,
        };
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let found = file.metadata()?;
        let (device, inode) = (found.dev(), found.ino());
        let same = (device, inode) == (self.cursor.device, self.cursor.inode) && self.cursor.offset <= found.len();
        let offset = if same { self.cursor.offset } else { 0 };
        self.open = Some(Opened { file, device, inode, offset, freed: 0 });
        Ok(true)
    }
}

impl Opened {
    /// Reads whole lines from where it stands. True if it stopped before the end.
    fn read(
        &mut self,
        chunk: &mut [u8],
        left: &mut usize,
        unreadable: &mut u64,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> io::Result<bool> {
        let mut held = Vec::new();
        loop {
            let at = self.offset + held.len() as u64;
            let length = self.file.read_at(chunk, at)?;
            let Some(read) = chunk.get(..length).filter(|read| !read.is_empty()) else { return Ok(false) };
            if held.is_empty() && read.first() == Some(&0) {
                // A hole, where it is not known how far the file was read. Beyond its data there is nothing (ENXIO).
                let Ok(data) = seek(&self.file, SeekFrom::Data(at)) else { return Ok(false) };
                if data > at {
                    self.offset = data;
                    continue;
                }
            }
            held.extend_from_slice(read);
            let mut taken = 0;
            while let Some(length) = held.get(taken..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n')) {
                if *left == 0 {
                    return Ok(true);
                }
                *left -= 1;
                let line = held.get(taken..taken + length).unwrap_or_default();
                // The rest of a hole.
                let zeros = line.iter().take_while(|byte| **byte == 0).count();
                each(self.offset, line.get(zeros..).unwrap_or_default());
                taken += length + 1;
                self.offset += length as u64 + 1;
            }
            held.drain(..taken);
            if held.len() as u64 > LONGEST_LINE {
                *unreadable += 1;
                self.offset += held.len() as u64;
                held.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    struct Place {
        folder: tempfile::TempDir,
        tail: Tail,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let tail = Tail::open(folder.path().join("log"), 0o620, Cursor::default());
            Self { folder, tail }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("log")
        }

        /// Appends, as Envoy does.
        fn write(&self, text: &str) {
            OpenOptions::new().append(true).create(true).open(self.path()).unwrap().write_all(text.as_bytes()).unwrap();
        }

        fn lines(&mut self) -> Vec<String> {
            let mut lines = Vec::new();
            let more = self.tail.read(1000, &mut |_, line| lines.push(String::from_utf8_lossy(line).into_owned()));
            assert!(!more.unwrap());
            lines
        }

        fn restart(&mut self) {
            let cursor = self.tail.cursor(self.tail.position());
            self.tail = Tail::open(self.path(), 0o600, cursor);
        }
    }

    #[test]
    fn lines_are_read_once_they_are_whole() {
        let mut place = Place::new();
        assert_eq!(std::fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o620);
        assert!(place.lines().is_empty());
        place.write("a\nb\nhal");
        assert_eq!(place.lines(), ["a", "b"]);
        assert!(place.lines().is_empty());
        place.write("f\n");
        assert_eq!(place.lines(), ["half"]);
        place.write("torn");
        place.restart();
        place.write("next\n");
        assert_eq!(place.lines(), ["tornnext"], "and goes on where it was after a restart");
    }

    #[test]
    fn no_more_are_read_than_are_asked_for() {
        let mut place = Place::new();
        place.write("a\nb\nc\n");
        let mut seen = Vec::new();
        assert!(place.tail.read(2, &mut |at, _| seen.push(at)).unwrap());
        assert!(!place.tail.read(2, &mut |at, _| seen.push(at)).unwrap());
        assert_eq!(seen, [0, 2, 4]);
    }

    #[test]
    fn another_file_in_its_place_is_read_after_the_rest_of_the_first() {
        let mut place = Place::new();
        place.write("a\n");
        assert_eq!(place.lines(), ["a"]);
        let old = place.folder.path().join("old");
        std::fs::rename(place.path(), &old).unwrap();
        OpenOptions::new().append(true).open(&old).unwrap().write_all(b"b\n").unwrap();
        place.write("c\nd\n");
        assert_eq!(place.lines(), ["b", "c", "d"]);
        std::fs::remove_file(place.path()).unwrap();
        assert!(place.lines().is_empty());
        place.write("e\n");
        assert_eq!(place.lines(), ["e"]);
    }

    #[test]
    fn a_file_that_was_cut_is_read_from_its_start() {
        let mut place = Place::new();
        place.write("aaaa\nbbbb\n");
        place.lines();
        File::create(place.path()).unwrap();
        place.write("cc\n");
        assert_eq!(place.lines(), ["cc"]);
        place.restart();
        File::create(place.path()).unwrap();
        place.write("d\n");
        assert_eq!(place.lines(), ["d"], "while nobody looked, too");
    }

    #[test]
    fn what_was_read_takes_no_room_and_what_comes_goes_on() {
        let mut place = Place::new();
        let line = "x".repeat(99) + "\n";
        place.write(&line.repeat(30_000));
        let before = std::fs::metadata(place.path()).unwrap();
        let mut count = 0;
        while place.tail.read(10_000, &mut |_, _| count += 1).unwrap() {}
        assert_eq!(count, 30_000);
        place.tail.free(place.tail.position());
        let after = std::fs::metadata(place.path()).unwrap();
        if !place.tail.holes {
            eprintln!("skipped: no holes in files here");
            return;
        }
        assert_eq!(after.len(), before.len());
        assert!(after.blocks() < before.blocks() / 10, "{} of {}", after.blocks(), before.blocks());
        place.write("next\n");
        assert_eq!(place.lines(), ["next"]);
        // Where the cursor was lost, the hole is leapt over.
        place.tail = Tail::open(place.path(), 0o600, Cursor::default());
        let lines = place.lines();
        assert_eq!(lines.last().unwrap(), "next");
        assert!(lines.len() < 100, "{}", lines.len());
    }

    #[test]
    fn a_line_without_end_is_not_held() {
        let mut place = Place::new();
        place.write(&"x".repeat(3 * 1024 * 1024));
        assert!(place.lines().is_empty());
        place.write("\nnext\n");
        assert_eq!(place.lines().last().unwrap(), "next");
        assert!(place.tail.unreadable > 0);
    }

    #[test]
    fn a_cursor_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cursor");
        assert_eq!(Cursor::load(&path), None);
        std::fs::write(&path, "garbage").unwrap();
        assert_eq!(Cursor::load(&path), None);
        let cursor = Cursor { device: 1, inode: 2, offset: 3, envoy: Some("4".into()) };
        cursor.store(&path).unwrap();
        assert_eq!(Cursor::load(&path), Some(cursor));
    }
}
