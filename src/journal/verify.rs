//! Whether a journal is what was written: every record, in order, up to an end that can be told.
//!
//! [`verify`] reads a folder; [`Verifier`] judges the lines, and knows of no files. A journal holds where each line's
//! hash follows from it and the line before, each segment goes on from the last record before it, what is missing at the
//! beginning was removed by the journal itself, and every checkpoint is signed by its chain's key. Half a line where a
//! process died is no fault. What stands behind the last checkpoint nobody has signed yet: that much could have been cut
//! off or written anew, unless a checkpoint kept elsewhere says otherwise.

mod folder;
mod problem;

use std::time::SystemTime;

use serde::Serialize;

use super::chain::{Hash, Link, Sealed};
use super::checkpoint::{Checkpoint, PublicKey};
use super::mark::{Mark, Retention, Segment};
use crate::pipeline::audit::rfc3339;
pub use folder::{VerifyError, newest_checkpoint, verify};
pub use problem::{Bad, Place, Problem};

/// What a journal has to show beside being whole: what was kept of it elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Each has to be the key of a chain, and every checkpoint below is to be signed by one of them.
    pub keys: Vec<PublicKey>,
    /// The records that they name have to be there.
    pub checkpoints: Vec<Checkpoint>,
}

/// A journal that holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Lines, with those about the journal itself.
    pub records: u64,
    /// Files.
    pub segments: u64,
    /// In bytes.
    pub bytes: u64,
    /// The first time on record, as RFC 3339.
    pub first: Option<String>,
    /// The last one.
    pub last: Option<String>,
    /// The runs of the service, the oldest first.
    pub chains: Vec<Chain>,
    /// Up to which segment the journal itself has removed what was old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<Removed>,
    /// How often the clock was changed.
    pub clock_changes: u64,
    /// How many of the expected checkpoints name a record that was there and has been removed since.
    pub checkpoints_removed: u64,
}

/// What one run of the service has written.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Chain {
    /// Its name.
    pub chain: Box<str>,
    /// What its checkpoints are signed with.
    pub public_key: PublicKey,
    /// The number of its first record that is there.
    pub first: u64,
    /// The number of its last record.
    pub last: u64,
    /// How many checkpoints it has.
    pub checkpoints: u64,
    /// How many records follow the last of those: nobody has signed them.
    pub unsigned: u64,
    /// True if it was ended in order; false where the process died, or still runs.
    pub ended: bool,
    /// Bytes of half a line that it died in the middle of.
    pub torn: u64,
}

/// What is no longer there, and by whose word.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// The number of the last segment removed.
    pub through: u64,
    /// False where no checkpoint follows that signs the word.
    pub signed: bool,
}

/// Takes the lines of a journal in the order of its segments.
pub struct Verifier<'a> {
    expected: &'a Expected,
    /// Which of the expected checkpoints have been met.
    met: Vec<bool>,
    /// The next number in this chain that an expected checkpoint names.
    awaited: Option<u64>,
    place: Place,
    number: u64,
    /// The number of the first segment, in which there may be no record.
    begins: Option<u64>,
    /// The segment before it that had a record, and where that was.
    before: Option<u64>,
    segments: u64,
    records: u64,
    bytes: u64,
    /// What the next record has to go on from.
    next: u64,
    hash: Hash,
    /// The last record before the segment's first line, while there is only that.
    before_header: Option<Link>,
    last_place: Place,
    chains: Vec<Chain>,
    /// The first segment with a record, and its file.
    oldest: Option<(Box<str>, Segment)>,
    removals: Vec<Removal>,
    clock_changes: u64,
    first: Option<String>,
    last: Option<Box<[u8; 27]>>,
    suspect: Option<Suspect>,
}

struct Removal {
    retention: Retention,
    signed: bool,
}

/// A record whose number is too high: what follows says whether some are gone or only moved.
struct Suspect {
    bad: Bad,
    missing: u64,
    found: u64,
}

impl<'a> Verifier<'a> {
    /// Begins before the oldest segment.
    ///
    /// # Errors
    /// When what is expected is at odds with itself.
    pub fn new(expected: &'a Expected) -> Result<Self, Box<Bad>> {
        for checkpoint in &expected.checkpoints {
            let problem = match checkpoint.verify() {
                Err(source) => Problem::ExpectedForged(checkpoint.at.clone(), source),
                Ok(()) if !expected.keys.is_empty() && !expected.keys.contains(&checkpoint.public_key) => {
                    Problem::ExpectedOfOther(checkpoint.at.clone())
                }
                Ok(()) => continue,
            };
            return Err(Bad::nowhere(problem));
        }
        Ok(Self {
            expected,
            met: vec![false; expected.checkpoints.len()],
            awaited: None,
            place: Place::default(),
            number: 0,
            begins: None,
            before: None,
            segments: 0,
            records: 0,
            bytes: 0,
            next: 0,
            hash: Hash::default(),
            before_header: None,
            last_place: Place::default(),
            chains: Vec::new(),
            oldest: None,
            removals: Vec::new(),
            clock_changes: 0,
            first: None,
            last: None,
            suspect: None,
        })
    }

    /// Begins a segment.
    pub fn segment(&mut self, file: &str, number: u64) -> Result<(), Box<Bad>> {
        self.place = Place { file: file.into(), line: 0, seq: None };
        if self.segments > 0 && number > self.number + 1 {
            return Err(self.bad(Problem::SegmentsMissing(self.number + 1, number - 1)));
        }
        self.segments += 1;
        self.begins.get_or_insert(number);
        self.number = number;
        Ok(())
    }

    /// Takes the next line of the segment, without its line feed.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Box<Bad>> {
        self.place.line += 1;
        self.place.seq = None;
        self.bytes += line.len() as u64 + 1;
        let sealed = Sealed::parse(line);
        if let Some(suspect) = self.suspect.take() {
            return self.judge(suspect, sealed.map(|sealed| sealed.seq));
        }
        let Some(sealed) = sealed else { return Err(self.bad(Problem::NoRecord)) };
        self.place.seq = Some(sealed.seq);
        if self.place.line == 1 {
            return self.header(line, &sealed);
        }
        if sealed.seq != self.next {
            return self.out_of_order(&sealed);
        }
        if !sealed.follows(&self.hash) {
            return Err(self.bad(Problem::Changed));
        }
        self.mark(line)?;
        self.took(line, &sealed)
    }

    /// Ends the segment, with so many bytes behind its last whole line.
    pub fn end(&mut self, torn: u64) -> Result<(), Box<Bad>> {
        if let Some(suspect) = self.suspect.take() {
            return Err(Box::new(suspect.bad));
        }
        self.bytes += torn;
        if self.place.line > 0 {
            self.before = Some(self.number);
        }
        if let Some(chain) = self.chains.last_mut() {
            chain.torn += torn;
        }
        Ok(())
    }

    /// Says what there was, once all segments have been taken.
    pub fn finish(self) -> Result<Report, Box<Bad>> {
        let removed = self.removed()?;
        let checkpoints_removed = self.unmet()?;
        let unknown = |key: &&PublicKey| !self.chains.iter().any(|chain| chain.public_key == **key);
        if let Some(key) = self.expected.keys.iter().find(unknown) {
            return Err(Bad::nowhere(Problem::KeyUnknown(key.clone())));
        }
        let last = self.last.and_then(|time| String::from_utf8(time.to_vec()).ok());
        Ok(Report {
            records: self.records,
            segments: self.segments,
            bytes: self.bytes,
            last: last.or_else(|| self.first.clone()),
            first: self.first,
            chains: self.chains,
            removed,
            clock_changes: self.clock_changes,
            checkpoints_removed,
        })
    }

    /// The first line of a segment: says what it goes on from.
    fn header(&mut self, line: &[u8], sealed: &Sealed<'_>) -> Result<(), Box<Bad>> {
        let header = match serde_json::from_slice(line) {
            Ok(Mark::Segment(header)) => header,
            _ => return Err(self.bad(Problem::NoHeader)),
        };
        let continued = header.after.as_ref().filter(|after| after.chain == header.chain);
        let (seq, hash) = continued.map_or((0, Hash::default()), |after| (after.seq.saturating_add(1), after.hash));
        if sealed.seq != seq || !sealed.follows(&hash) {
            return Err(self.bad(Problem::Changed));
        }
        if header.segment != self.number {
            return Err(self.bad(Problem::Renamed(header.segment)));
        }
        if self.before == Some(self.number) {
            return Err(self.bad(Problem::SameNumber(self.number)));
        }
        match self.end_link() {
            None => {
                self.first = text(header.time);
                self.oldest = Some((self.place.file.clone(), header.clone()));
            }
            end if end == header.after => {}
            Some(end) => return Err(self.not_joined(&end, header.after)),
        }
        let known = self.chains.iter().position(|chain| chain.chain == header.chain);
        match (continued, known) {
            (Some(_), Some(known)) if known + 1 == self.chains.len() => {
                if self.chains.last().is_some_and(|chain| chain.public_key != header.public_key) {
                    return Err(self.bad(Problem::OtherKey));
                }
            }
            (_, Some(_)) => return Err(self.bad(Problem::ChainAgain)),
            (_, None) => self.chains.push(Chain {
                chain: header.chain.clone(),
                public_key: header.public_key,
                first: seq,
                last: seq,
                checkpoints: 0,
                unsigned: 0,
                ended: false,
                torn: 0,
            }),
        }
        self.next = seq;
        self.await_next();
        self.took(line, sealed)?;
        self.before_header = header.after.filter(|after| after.chain == header.chain);
        Ok(())
    }

    /// Why a segment does not go on from what precedes it.
    fn not_joined(&self, end: &Link, after: Option<Link>) -> Box<Bad> {
        let cut = |line: u64, seq: u64, problem: Problem| {
            let place = Place { file: self.last_place.file.clone(), line, seq: Some(seq) };
            Box::new(Bad { place: Some(place), problem })
        };
        match after {
            Some(after) if after.chain == end.chain && after.seq > end.seq => {
                let missing = after.seq - end.seq;
                cut(self.last_place.line + 1, end.seq + 1, Problem::EndCut(missing, self.place.file.clone()))
            }
            Some(after) if after.chain == end.chain && after.seq == end.seq => {
                cut(self.last_place.line, end.seq, Problem::Changed)
            }
            after => self.bad(Problem::NotJoined(end.clone(), after)),
        }
    }

    /// Puts a record behind those before it.
    fn took(&mut self, line: &[u8], sealed: &Sealed<'_>) -> Result<(), Box<Bad>> {
        if self.awaited == Some(sealed.seq) {
            self.meet(sealed)?;
        }
        self.records += 1;
        self.next = sealed.seq.saturating_add(1);
        self.hash = sealed.hash;
        self.before_header = None;
        self.last_place.line = self.place.line;
        self.last_place.seq = self.place.seq;
        if self.last_place.file != self.place.file {
            self.last_place.file = self.place.file.clone();
        }
        if let Some(time) = time_of(line) {
            **self.last.get_or_insert_with(|| Box::new([0; 27])) = *time;
        }
        if let Some(chain) = self.chains.last_mut() {
            chain.last = sealed.seq;
            chain.unsigned += 1;
            chain.ended &= chain.unsigned == 0;
            if is_checkpoint(line) {
                chain.unsigned = 0;
                chain.ended = ends(line);
            }
        }
        Ok(())
    }

    /// What a line says of the journal, where it does.
    fn mark(&mut self, line: &[u8]) -> Result<(), Box<Bad>> {
        const KINDS: [&[u8]; 4] =
            [b"{\"type\":\"checkpoint\"", b"{\"type\":\"retention\"", b"{\"type\":\"clock\"", b"{\"type\":\"segment\""];
        if !KINDS.iter().any(|kind| line.starts_with(kind)) {
            return Ok(());
        }
        match serde_json::from_slice(line) {
            Ok(Mark::Checkpoint(checkpoint)) => self.checkpoint(&checkpoint),
            Ok(Mark::Retention(retention)) => {
                self.removals.push(Removal { retention, signed: false });
                Ok(())
            }
            Ok(Mark::Clock(_)) => {
                self.clock_changes += 1;
                Ok(())
            }
            Ok(Mark::Segment(_)) => Err(self.bad(Problem::HeaderInside)),
            Err(_) => Err(self.bad(Problem::NoMark)),
        }
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), Box<Bad>> {
        let Some(chain) = self.chains.last_mut() else { return Err(self.bad(Problem::NoHeader)) };
        if checkpoint.public_key != chain.public_key {
            return Err(self.bad(Problem::OtherKey));
        }
        if let Err(source) = checkpoint.verify() {
            return Err(self.bad(Problem::Forged(source)));
        }
        chain.checkpoints += 1;
        let at = &checkpoint.at;
        let is_end = at.chain == chain.chain && at.seq.checked_add(1) == Some(self.next) && at.hash == self.hash;
        // A segment may have been begun between signing and writing.
        if !is_end && self.before_header.as_ref() != Some(at) {
            return Err(self.bad(Problem::Misplaced(at.clone())));
        }
        for removal in &mut self.removals {
            removal.signed = true;
        }
        Ok(())
    }

    fn out_of_order(&mut self, sealed: &Sealed<'_>) -> Result<(), Box<Bad>> {
        if sealed.seq < self.next {
            let again = sealed.seq + 1 == self.next && sealed.hash == self.hash;
            return Err(self.bad(if again { Problem::Twice } else { Problem::Moved(self.next) }));
        }
        let bad = *self.bad(Problem::Missing(self.next, sealed.seq - 1));
        self.suspect = Some(Suspect { bad, missing: self.next, found: sealed.seq });
        Ok(())
    }

    /// The line behind one whose number was too high.
    fn judge(&mut self, mut suspect: Suspect, seq: Option<u64>) -> Result<(), Box<Bad>> {
        match seq {
            Some(seq) if seq == suspect.missing => suspect.bad.problem = Problem::Moved(suspect.missing),
            // It has the number that the one before claims.
            Some(seq) if seq == suspect.found => suspect.bad.problem = Problem::Changed,
            // What was moved may stand further on.
            Some(_) => {
                self.suspect = Some(suspect);
                return Ok(());
            }
            None => {}
        }
        Err(Box::new(suspect.bad))
    }

    /// What the journal has removed itself, where it does not begin with its first record.
    fn removed(&self) -> Result<Option<Removed>, Box<Bad>> {
        let Some((file, oldest)) = &self.oldest else { return Ok(None) };
        let begins = self.begins.unwrap_or(oldest.segment);
        if begins == 0 && oldest.after.is_none() {
            return Ok(None);
        }
        let says = |removal: &&Removal| {
            let Retention { segments: (first, last), through, .. } = &removal.retention;
            match begins.checked_sub(1) {
                Some(before) if before == *last => *through == oldest.after || through.is_none(),
                // Its word was given, and not all of it kept.
                _ => (*first..=*last).contains(&begins),
            }
        };
        let by = self.removals.iter().rev().find(says);
        match by {
            Some(by) => Ok(Some(Removed { through: begins.saturating_sub(1), signed: by.signed })),
            None => {
                let place = Place { file: file.clone(), line: 1, seq: self.chains.first().map(|c| c.first) };
                let problem = Problem::BeginningMissing(begins, oldest.after.clone());
                Err(Box::new(Bad { place: Some(place), problem }))
            }
        }
    }

    /// How many of the checkpoints that were not met name what has been removed since.
    fn unmet(&self) -> Result<u64, Box<Bad>> {
        let mut removed = 0;
        let oldest = self.oldest.as_ref().map(|(_, oldest)| oldest);
        let since_removed = |at: &Link, time: SystemTime| {
            let Some(Segment { after: Some(after), time: begun, .. }) = oldest else { return false };
            if at.chain == after.chain { at.seq <= after.seq } else { time < *begun }
        };
        for (checkpoint, _) in self.expected.checkpoints.iter().zip(&self.met).filter(|(_, met)| !**met) {
            let at = &checkpoint.at;
            let problem = match self.chains.iter().position(|chain| chain.chain == at.chain) {
                Some(0) if since_removed(at, checkpoint.time) => {
                    removed += 1;
                    continue;
                }
                Some(known) => Problem::TailCut(at.clone(), self.chains.get(known).map_or(0, |chain| chain.last)),
                None if since_removed(at, checkpoint.time) => {
                    removed += 1;
                    continue;
                }
                None => Problem::ChainUnknown(at.clone()),
            };
            let place = (!self.last_place.file.is_empty()).then(|| self.last_place.clone());
            return Err(Box::new(Bad { place, problem }));
        }
        Ok(removed)
    }

    /// A record that an expected checkpoint names.
    fn meet(&mut self, sealed: &Sealed<'_>) -> Result<(), Box<Bad>> {
        let Some(chain) = self.chains.last().map(|chain| chain.chain.clone()) else { return Ok(()) };
        let names = |at: &Link| at.chain == chain && at.seq == sealed.seq;
        for (checkpoint, met) in self.expected.checkpoints.iter().zip(&mut self.met) {
            if names(&checkpoint.at) {
                *met = true;
                if checkpoint.at.hash != sealed.hash {
                    let (place, problem) = (Some(self.place.clone()), Problem::Rewritten);
                    return Err(Box::new(Bad { place, problem }));
                }
                if self.chains.last().is_some_and(|chain| chain.public_key != checkpoint.public_key) {
                    return Err(self.bad(Problem::OtherKey));
                }
            }
        }
        self.await_next();
        Ok(())
    }

    fn await_next(&mut self) {
        let Some(chain) = self.chains.last() else { return };
        let unmet = self.expected.checkpoints.iter().zip(&self.met).filter(|(_, met)| !**met);
        let here = unmet.filter(|(checkpoint, _)| checkpoint.at.chain == chain.chain).map(|(c, _)| c.at.seq);
        self.awaited = here.filter(|seq| *seq >= self.next).min();
    }

    /// The last record so far.
    fn end_link(&self) -> Option<Link> {
        let chain = self.chains.last()?;
        Some(Link { chain: chain.chain.clone(), seq: chain.last, hash: self.hash })
    }

    fn bad(&self, problem: Problem) -> Box<Bad> {
        Box::new(Bad { place: Some(self.place.clone()), problem })
    }
}

fn is_checkpoint(line: &[u8]) -> bool {
    line.starts_with(b"{\"type\":\"checkpoint\"")
}

fn ends(line: &[u8]) -> bool {
    matches!(serde_json::from_slice(line), Ok(Mark::Checkpoint(Checkpoint { last: true, .. })))
}

fn text(time: SystemTime) -> Option<String> {
    String::from_utf8(rfc3339::text(time)?.to_vec()).ok()
}

/// The first time in a line. No text in it can look like this key: its quotes are escaped.
fn time_of(line: &[u8]) -> Option<&[u8; 27]> {
    const KEY: &[u8] = b",\"time\":\"";
    let at = memchr::memmem::find(line, KEY)? + KEY.len();
    line.get(at..)?.first_chunk()
}

#[cfg(test)]
mod tests;
