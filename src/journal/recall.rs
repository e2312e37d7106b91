//! Finding exchanges in a journal of any size: what cannot matter is not read, and who waits is told how far it is.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::exchange::Exchange;
use super::filter::Filter;
use super::follow::Cursor;
use super::reader::{Reader, Show};
use super::segment::{self, SegmentFile};

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Which exchanges.
    pub filter: Filter,
    /// Only the last so many; none for all.
    pub limit: Option<usize>,
    /// Leave out what goes on: it will be followed.
    pub follow: bool,
}

/// How far a search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Read so far, in bytes.
    pub read: u64,
    /// To be read, in bytes.
    pub total: u64,
}

/// Told of progress, now and then.
pub type Tell = Arc<dyn Fn(Progress) + Send + Sync>;

/// Shows what is on record and asked for, in the order it was decided. Gives the reader, which goes on from there.
pub fn recall(folder: &Path, query: &Query, tell: Option<&Tell>, show: Show<'_>) -> io::Result<Reader> {
    let segments = segment::list(folder)?;
    let first = first_of_interest(&segments, query.filter.since)?;
    let mut last = 1;
    loop {
        // The last ones are at the end; how far it is to them nobody knows before.
        let begin = match query.limit {
            Some(_) => first.max(segments.len().saturating_sub(last)),
            None => first,
        };
        let of_interest = segments.get(begin..).unwrap_or_default();
        let from = of_interest.first().map_or(Cursor::default(), |s| Cursor { segment: s.number, offset: 0 });
        let total = of_interest.iter().map(|segment| segment.size).sum();
        let mut reader = Reader::open_at(folder, from)?.only(query.filter.sieve());
        if let Some(tell) = tell.cloned() {
            tell(Progress { read: 0, total });
            reader.tell(Box::new(move |read| tell(Progress { read, total })));
        }
        let Some(limit) = query.limit else {
            read(&mut reader, query, show)?;
            return Ok(reader);
        };
        let mut found = VecDeque::new();
        let mut keep = |exchange| {
            if found.len() == limit {
                found.pop_front();
            }
            found.push_back(exchange);
            Ok(())
        };
        read(&mut reader, query, &mut keep)?;
        if found.len() == limit || begin == first {
            found.into_iter().try_for_each(show)?;
            return Ok(reader);
        }
        last *= 4;
    }
}

fn read(reader: &mut Reader, query: &Query, show: Show<'_>) -> io::Result<()> {
    let mut wanted = |exchange: Exchange| match query.filter.admits(&exchange) {
        true => show(exchange),
        false => Ok(()),
    };
    reader.replay(Instant::now(), &mut wanted)?;
    if query.follow {
        // What has ended, behind something that has not.
        reader.poll(false, Instant::now())?.into_iter().try_for_each(wanted)
    } else {
        reader.rest(&mut wanted)
    }
}

/// The first segment that may hold something decided since then. No clock is trusted further than that each segment was
/// begun when it says.
fn first_of_interest(segments: &[SegmentFile], since: Option<SystemTime>) -> io::Result<usize> {
    let Some(since) = since else { return Ok(0) };
    for (index, segment) in segments.iter().enumerate().skip(1) {
        let header = match File::open(&segment.path) {
            Ok(file) => segment::header(&file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if header.is_none_or(|header| header.time >= since) {
            return Ok(index - 1);
        }
    }
    Ok(segments.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::super::{Journal, Options};
    use super::*;
    use crate::pipeline::audit::{DecisionRecord, Record, Verdict};

    fn journal(folder: &Path, exchanges: u32) -> Journal {
        let journal = Journal::open(folder, Options { segment_size: 2_000, ..Options::default() }).unwrap();
        for number in 0..exchanges {
            let verdict = if number % 10 == 0 { Verdict::Deny } else { Verdict::Error };
            let id = number.to_string().as_str().into();
            let mut decision = DecisionRecord::new(id, SystemTime::now(), verdict, "rev".into());
            decision.agent = Some(format!("agent-{}", number % 3).into());
            journal.append(&Record::Decision(Box::new(decision))).unwrap();
        }
        journal
    }

    fn found(folder: &Path, query: &Query) -> Vec<u32> {
        let mut found = Vec::new();
        let mut show = |exchange: Exchange| {
            found.push(exchange.decision.request_id.parse().unwrap());
            Ok(())
        };
        recall(folder, query, None, &mut show).unwrap();
        found
    }

    #[test]
    fn the_last_ones_are_found_however_far_back_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let _journal = journal(folder.path(), 300);
        assert!(segment::list(folder.path()).unwrap().len() > 20);
        let last = |limit, agent: Option<&str>, status: Option<&str>| {
            let filter = Filter {
                agent: agent.map(Into::into),
                status: status.map(|status| status.parse().unwrap()),
                ..Filter::default()
            };
            found(folder.path(), &Query { filter, limit, follow: false })
        };
        assert_eq!(last(None, None, None), Vec::from_iter(0..300));
        assert_eq!(last(Some(4), None, None), [296, 297, 298, 299]);
        assert_eq!(last(Some(2), Some("agent-0"), None), [294, 297]);
        assert_eq!(last(Some(3), None, Some("blocked")), [270, 280, 290]);
        assert_eq!(last(Some(1000), Some("agent-1"), None).len(), 100);
        assert_eq!(last(Some(1), Some("nobody"), None), [0; 0]);
    }

    #[test]
    fn what_was_begun_before_is_passed_by() {
        let folder = tempfile::tempdir().unwrap();
        let _journal = journal(folder.path(), 50);
        let segments = segment::list(folder.path()).unwrap();
        assert_eq!(first_of_interest(&segments, None).unwrap(), 0);
        assert_eq!(first_of_interest(&segments, Some(SystemTime::UNIX_EPOCH)).unwrap(), 0);
        let later = SystemTime::now() + Duration::from_secs(60);
        assert_eq!(first_of_interest(&segments, Some(later)).unwrap(), segments.len() - 1);
        // One that cannot be read says nothing of what it holds.
        std::fs::write(&segments[2].path, "").unwrap();
        assert_eq!(first_of_interest(&segments, Some(later)).unwrap(), 1);
        assert_eq!(first_of_interest(&[], Some(later)).unwrap(), 0);
    }

    #[test]
    fn who_waits_is_told_how_far_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path(), 50);
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell: Tell = Arc::new({
            let told = told.clone();
            move |progress| told.lock().unwrap().push(progress)
        });
        recall(folder.path(), &Query::default(), Some(&tell), &mut |_| Ok(())).unwrap();
        let told = told.lock().unwrap();
        assert_eq!(told.first().map(|progress| (progress.read, progress.total)), Some((0, journal.facts().size)));
    }
}
