//! The journal's files: their names, their order, and what the last of them ends with.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::chain::{Link, Sealed};
use super::mark::Mark;

/// The longest line that is looked at, in bytes. Envoy's limit on a request's head keeps ours far below.
pub const LONGEST_LINE: u64 = 4 * 1024 * 1024;

/// A file of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFile {
    /// Its place in the order in which they were written, which no clock can change.
    pub number: u64,
    /// Where.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// When it was last written to.
    pub modified: SystemTime,
}

/// All there are, in the order they were written. Files with other names are not ours.
pub fn list(folder: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(number) = number_of(&path) else { continue };
        match path.metadata() {
            Ok(metadata) => {
                let modified = metadata.modified()?;
                all.push(SegmentFile { number, path, size: metadata.len(), modified });
            }
            // Removed since the folder was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    all.sort_by(|a, b| (a.number, &a.path).cmp(&(b.number, &b.path)));
    Ok(all)
}

/// The number in a name such as `00000012-20261120T093000Z.jsonl`.
pub fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
    let (number, time) = name.split_once('-')?;
    let is_ours = number.len() >= 8 && number.bytes().all(|b| b.is_ascii_digit()) && time.ends_with('Z');
    if is_ours { number.parse().ok() } else { None }
}

/// A new file, the owner's alone.
pub(super) fn create(folder: &Path, number: u64) -> io::Result<(PathBuf, File)> {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let path = folder.join(format!("{number:08}-{time}.jsonl"));
    let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
    Ok((path, file))
}

/// The last record that was written whole, over all segments from the newest; none where there is no such record. Also
/// how many bytes stand behind it: half a line, as a crash leaves it.
pub(super) fn last_link(segments: &[SegmentFile]) -> io::Result<(Option<Link>, u64)> {
    let mut torn = 0;
    for segment in segments.iter().rev() {
        let (link, rest) = last_link_of(&segment.path)?;
        torn += rest;
        if link.is_some() {
            return Ok((link, torn));
        }
    }
    Ok((None, torn))
}

/// The last record of one file that was written whole, and how many bytes stand behind it.
pub fn last_link_of(path: &Path) -> io::Result<(Option<Link>, u64)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let Some(chain) = header(&file)?.map(|segment| segment.chain) else { return Ok((None, length)) };
    let mut reach = 64 * 1024;
    loop {
        let start = length.saturating_sub(reach);
        file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        (&file).take(length - start).read_to_end(&mut tail)?;
        // The first line may have begun before.
        let skipped =
            if start == 0 { 0 } else { tail.iter().position(|b| *b == b'\n').map_or(tail.len(), |at| at + 1) };
        let mut end = tail.len();
        while let Some(line_end) = tail.get(skipped..end).and_then(|lines| lines.iter().rposition(|b| *b == b'\n')) {
            let line_end = skipped + line_end;
            let line_start = tail
                .get(skipped..line_end)
                .and_then(|l| l.iter().rposition(|b| *b == b'\n'))
                .map_or(skipped, |at| skipped + at + 1);
            if let Some(sealed) = tail.get(line_start..line_end).and_then(Sealed::parse) {
                let link = Link { chain, seq: sealed.seq, hash: sealed.hash };
                return Ok((Some(link), (tail.len() - line_end - 1) as u64));
            }
            end = line_start;
        }
        if start == 0 || reach > 2 * LONGEST_LINE {
            return Ok((None, length));
        }
        reach *= 8;
    }
}

/// What the first line of a file says; none where that is not a segment's.
pub fn header(file: &File) -> io::Result<Option<super::mark::Segment>> {
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    let mut line = Vec::new();
    BufReader::new(file.take(64 * 1024)).read_until(b'\n', &mut line)?;
    Ok(match serde_json::from_slice(&line) {
        Ok(Mark::Segment(segment)) => Some(segment),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_by_number_whatever_the_clock_said() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["00000010-20200101T000000Z.jsonl", "00000009-20260101T000000Z.jsonl", "123456789-20190101T000000Z.jsonl"]
        {
            File::create(folder.path().join(name)).unwrap();
        }
        for other in ["lock", "x.jsonl", "20261120T000000.000000Z-12.jsonl", "1-20200101T000000Z.jsonl", "cursors"] {
            File::create(folder.path().join(other)).unwrap();
        }
        let numbers: Vec<_> = list(folder.path()).unwrap().into_iter().map(|segment| segment.number).collect();
        assert_eq!(numbers, [9, 10, 123_456_789]);
    }
}
