//! A journal's folder, from the oldest segment to the newest, also while it is written.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::super::checkpoint::Checkpoint;
use super::super::mark::Mark;
use super::super::segment::{self, LONGEST_LINE, SegmentFile};
use super::{Bad, Expected, Problem, Report, Verifier};

/// How often it begins anew when segments are removed for their age meanwhile.
const ATTEMPTS: usize = 50;
/// In bytes.
const BUFFER: usize = 256 * 1024;

/// Why a journal is not shown to hold.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It does not hold.
    #[error(transparent)]
    Bad(Box<Bad>),
    /// There is none.
    #[error("there is no journal in `{}`: no file there is a segment of one (NUMBER-TIME.jsonl)", .0.display())]
    None(PathBuf),
    /// It cannot be read.
    #[error("`{}` cannot be read: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl From<Box<Bad>> for VerifyError {
    fn from(bad: Box<Bad>) -> Self {
        Self::Bad(bad)
    }
}

impl std::error::Error for Bad {}

/// Verifies the journal in a folder, as far as it has been written. `progress` is told from time to time how many bytes
/// of how many have been read.
///
/// # Errors
/// When it does not hold, is not there, or cannot be read.
pub fn verify(folder: &Path, expected: &Expected, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, VerifyError> {
    for _ in 1..ATTEMPTS {
        match attempt(folder, expected, progress) {
            // Removed for its age since the folder was listed.
            Err(VerifyError::Unreadable { source, path })
                if source.kind() == io::ErrorKind::NotFound && path != folder => {}
            done => return done,
        }
    }
    attempt(folder, expected, progress)
}

/// The newest checkpoint in a folder; none where there is none yet.
///
/// # Errors
/// When there is no journal, or it cannot be read.
pub fn newest_checkpoint(folder: &Path) -> Result<Option<Checkpoint>, VerifyError> {
    for segment in list(folder)?.iter().rev() {
        let mut newest = None;
        let mut lines = Lines::open(segment)?;
        while let Some(line) = lines.next()? {
            if line.starts_with(b"{\"type\":\"checkpoint\"")
                && let Ok(Mark::Checkpoint(checkpoint)) = serde_json::from_slice(line)
            {
                newest = Some(checkpoint);
            }
        }
        if newest.is_some() {
            return Ok(newest);
        }
    }
    Ok(None)
}

fn attempt(folder: &Path, expected: &Expected, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, VerifyError> {
    let mut verifier = Verifier::new(expected)?;
    let mut segments: VecDeque<_> = list(folder)?.into();
    let mut total: u64 = segments.iter().map(|segment| segment.size).sum();
    while let Some(segment) = segments.pop_front() {
        let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
        verifier.segment(&name, segment.number)?;
        let mut lines = Lines::open(&segment)?;
        loop {
            while let Some(line) = lines.next()? {
                verifier.line(line)?;
                progress(verifier.bytes, total);
            }
            if !segments.is_empty() {
                break;
            }
            // The newest as of the listing. If there is a newer one by now, this one has been written to its end.
            segments = list(folder)?.into_iter().filter(|later| later.number > segment.number).collect();
            total += segments.iter().map(|segment| segment.size).sum::<u64>();
            if segments.is_empty() {
                break;
            }
        }
        verifier.end(lines.partial.len() as u64)?;
    }
    Ok(verifier.finish()?)
}

fn list(folder: &Path) -> Result<Vec<SegmentFile>, VerifyError> {
    let unreadable = |source| VerifyError::Unreadable { path: folder.to_owned(), source };
    let segments = segment::list(folder).map_err(unreadable)?;
    if segments.is_empty() { Err(VerifyError::None(folder.to_owned())) } else { Ok(segments) }
}

/// The whole lines of a file. Most are handed on where they were read.
struct Lines {
    path: PathBuf,
    name: Box<str>,
    number: u64,
    file: BufReader<File>,
    /// What is to be passed over before the next line: the one that was handed on.
    taken: usize,
    /// The beginning of a line.
    partial: Vec<u8>,
    whole: bool,
}

impl Lines {
    fn open(segment: &SegmentFile) -> Result<Self, VerifyError> {
        let path = segment.path.clone();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into();
        match File::open(&path) {
            Ok(file) => Ok(Self {
                name,
                number: 0,
                file: BufReader::with_capacity(BUFFER, file),
                path,
                taken: 0,
                partial: Vec::new(),
                whole: false,
            }),
            Err(source) => Err(VerifyError::Unreadable { path, source }),
        }
    }

    /// The next line that was written to its end, without its line feed; what there is of another one is `partial`.
    fn next(&mut self) -> Result<Option<&[u8]>, VerifyError> {
        self.file.consume(std::mem::take(&mut self.taken));
        if std::mem::take(&mut self.whole) {
            self.partial.clear();
        }
        loop {
            let buffer = match self.file.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(VerifyError::Unreadable { path: self.path.clone(), source }),
            };
            if buffer.is_empty() {
                return Ok(None);
            }
            match memchr::memchr(b'\n', buffer) {
                Some(end) if self.partial.is_empty() => {
                    (self.taken, self.number) = (end + 1, self.number + 1);
                    // Borrowed anew: what is handed on outlives this loop.
                    return Ok(self.file.buffer().get(..end));
                }
                Some(end) => {
                    self.partial.extend_from_slice(buffer.get(..end).unwrap_or_default());
                    (self.taken, self.whole, self.number) = (end + 1, true, self.number + 1);
                    return Ok(Some(&self.partial));
                }
                None => {
                    let length = buffer.len();
                    self.partial.extend_from_slice(buffer);
                    self.file.consume(length);
                    if self.partial.len() as u64 > LONGEST_LINE {
                        let place = super::Place { file: self.name.clone(), line: self.number + 1, seq: None };
                        return Err(Box::new(Bad { place: Some(place), problem: Problem::TooLong }).into());
                    }
                }
            }
        }
    }
}
