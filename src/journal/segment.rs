//! The journal's files: their names, their order, and what the last of them ends with.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
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

/// Whether a file can still be found where it was made. What is written to one that cannot is on no record.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<()> {
    let (own, found) = (file.metadata()?, std::fs::metadata(path)?);
    match (own.dev(), own.ino()) == (found.dev(), found.ino()) {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::NotFound, "the segment that is written to has been replaced")),
    }
}

/// What a journal ends with, and what there is beside whole records.
#[derive(Debug, Default, PartialEq)]
pub(super) struct End {
    /// The last record that was written whole; none where there is none.
    pub link: Option<Link>,
    /// How many bytes of half a line stand behind it, as a crash leaves it.
    pub half: u64,
    /// The files that are not there, and those whose end no crash has made.
    pub damaged: Vec<String>,
}

/// What all segments together end with. Looks at the newest ones' ends alone: whether all the rest is whole is for
/// [`super::verify`].
pub(super) fn end(segments: &[SegmentFile]) -> io::Result<End> {
    let mut end = End::default();
    for pair in segments.windows(2) {
        if let [before, after] = pair
            && after.number > before.number + 1
        {
            let (first, last) = (before.number + 1, after.number - 1);
            end.damaged.push(match first == last {
                true => format!("segment {first} is missing"),
                false => format!("segments {first} to {last} are missing"),
            });
        }
    }
    for segment in segments.iter().rev() {
        let Tail { link, half, strange } = tail(&segment.path)?;
        end.half += half;
        if strange {
            let name = segment.path.file_name().unwrap_or_default().display();
            end.damaged.push(format!("`{name}` has what is no record at its end"));
        }
        if link.is_some() {
            end.link = link;
            break;
        }
    }
    Ok(end)
}

/// The last record of one file that was written whole.
pub fn last_link_of(path: &Path) -> io::Result<Option<Link>> {
    Ok(tail(path)?.link)
}

struct Tail {
    link: Option<Link>,
    /// Bytes behind the last line.
    half: u64,
    /// There are lines behind it that are no records.
    strange: bool,
}

fn tail(path: &Path) -> io::Result<Tail> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let chain = header(&file)?.map(|segment| segment.chain);
    let mut reach = 64 * 1024;
    loop {
        let start = length.saturating_sub(reach);
        file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        (&file).take(length - start).read_to_end(&mut tail)?;
        // The first line may have begun before.
        let skipped =
            if start == 0 { 0 } else { tail.iter().position(|b| *b == b'\n').map_or(tail.len(), |at| at + 1) };
        let last = tail.iter().rposition(|b| *b == b'\n').map(|at| at + 1);
        let half = (tail.len() - last.unwrap_or(0)) as u64;
        let mut end = tail.len();
        while let Some(chain) = &chain
            && let Some(line_end) = tail.get(skipped..end).and_then(|lines| lines.iter().rposition(|b| *b == b'\n'))
        {
            let line_end = skipped + line_end;
            let line_start = tail
                .get(skipped..line_end)
                .and_then(|l| l.iter().rposition(|b| *b == b'\n'))
                .map_or(skipped, |at| skipped + at + 1);
            if let Some(sealed) = tail.get(line_start..line_end).and_then(Sealed::parse) {
                let link = Link { chain: chain.clone(), seq: sealed.seq, hash: sealed.hash };
                return Ok(Tail { link: Some(link), half, strange: last != Some(line_end + 1) });
            }
            end = line_start;
        }
        // What has no first line is a file that a crash has only begun, or none of ours.
        if start == 0 || reach > 2 * LONGEST_LINE {
            return Ok(Tail { link: None, half, strange: last.is_some() || start > 0 });
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
