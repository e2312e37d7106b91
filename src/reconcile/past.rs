//! What the journal says of exchanges that are not in memory: from its end backwards, as far as is worth it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::journal::segment::{self, SegmentFile};
use crate::pipeline::audit::{InspectionAction, Verdict, rfc3339};

/// How much of a journal is read at most, in bytes.
const MOST: u64 = 256 * 1024 * 1024;
/// How far apart the times of a request's record and of its report may be: clocks are set.
const SLACK: Duration = Duration::from_secs(60);
const CHUNK: usize = 1024 * 1024;

/// What stands on record of some exchanges.
#[derive(Debug, Default, PartialEq)]
pub struct Past {
    /// What was decided.
    pub decisions: HashMap<Arc<str>, Verdict>,
    /// Those whose outcome is known.
    pub ended: HashSet<Arc<str>>,
    /// The journal goes on further back than was read.
    pub is_partial: bool,
}

/// Looks for these ids, back to `not_before`.
pub fn find(folder: &Path, wanted: &HashSet<Arc<str>>, not_before: SystemTime) -> io::Result<Past> {
    let mut past = Past::default();
    let limit = not_before.checked_sub(SLACK).unwrap_or(SystemTime::UNIX_EPOCH);
    past.is_partial = !backwards(folder, MOST, &mut |line| {
        if line.time < limit {
            return ControlFlow::Break(());
        }
        let Some(id) = wanted.get(&*line.request_id) else { return ControlFlow::Continue(()) };
        match line.decision {
            // The last that was said about it counts.
            Some(decision) => drop(past.decisions.entry(id.clone()).or_insert(decision)),
            None if line.known => drop(past.ended.insert(id.clone())),
            None => {}
        }
        match past.decisions.len() == wanted.len() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    Ok(past)
}

/// The exchanges that were let go before `before` and of which nobody has said how they ended, a day back.
pub fn unfinished(folder: &Path, before: SystemTime) -> io::Result<Vec<Arc<str>>> {
    let mut ended: HashSet<Arc<str>> = HashSet::new();
    let mut found = Vec::new();
    let limit = before.checked_sub(super::A_DAY).unwrap_or(SystemTime::UNIX_EPOCH);
    backwards(folder, MOST / 4, &mut |line| {
        if line.time < limit {
            return ControlFlow::Break(());
        }
        match line.decision {
            None => drop(ended.insert(line.request_id.as_ref().into())),
            Some(Verdict::Allow) if line.time < before && !ended.contains(&*line.request_id) => {
                found.push(line.request_id.as_ref().into());
            }
            // A refusal that follows an allow is Envoy's report that the allow never reached it.
            Some(_) => drop(ended.insert(line.request_id.as_ref().into())),
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// A line about an exchange.
struct Line<'a> {
    request_id: Cow<'a, str>,
    time: SystemTime,
    /// None of an outcome.
    decision: Option<Verdict>,
    known: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    #[serde(with = "rfc3339")]
    time: SystemTime,
    decision: Option<Verdict>,
    known: Option<bool>,
    action: Option<InspectionAction>,
}

impl<'a> Line<'a> {
    /// Nothing of what is about something else, and nothing of what is torn.
    fn read(line: &'a [u8]) -> Option<Self> {
        let Raw { r#type, request_id, time, decision, known, action } = serde_json::from_slice(line).ok()?;
        let known = known.unwrap_or(true);
        match &*r#type {
            "decision" => Some(Self { request_id: request_id?, time, decision: Some(decision?), known }),
            // It was let go, and cut off: neither an allow nor a refusal that Envoy could have passed by.
            "inspection" if action == Some(InspectionAction::Blocked) => {
                Some(Self { request_id: request_id?, time, decision: Some(Verdict::Error), known })
            }
            "outcome" => Some(Self { request_id: request_id?, time, decision: None, known }),
            _ => None,
        }
    }
}

/// Reads the journal's lines, the last first. False if there was more than `most` bytes to read.
fn backwards(folder: &Path, most: u64, each: &mut dyn FnMut(Line<'_>) -> ControlFlow<()>) -> io::Result<bool> {
    let files = segment::list(folder)?;
    let mut left = most;
    for SegmentFile { path, size: length, .. } in files.iter().rev() {
        let Ok(file) = File::open(path) else { continue };
        let mut end = *length;
        // The beginning of a line whose rest has been read.
        let mut rest: Vec<u8> = Vec::new();
        while end > 0 {
            let size = (CHUNK as u64).min(end).min(left);
            if size == 0 {
                return Ok(false);
            }
            (left, end) = (left - size, end - size);
            let mut chunk = vec![0; usize::try_from(size).unwrap_or(CHUNK)];
            file.read_exact_at(&mut chunk, end)?;
            chunk.append(&mut rest);
            let mut lines = chunk.rsplit(|byte| *byte == b'\n').peekable();
            while let Some(line) = lines.next() {
                if lines.peek().is_none() && end > 0 {
                    rest = line.to_vec();
                } else if let Some(line) = Line::read(line)
                    && each(line).is_break()
                {
                    return Ok(true);
                }
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::pipeline::audit::{DecisionRecord, OutcomeRecord, Record};

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + second)
    }

    fn decision(id: &str, second: u64, verdict: Verdict) -> String {
        let record = DecisionRecord::new(id.into(), at(second), verdict, "rev".into());
        serde_json::to_string(&Record::Decision(Box::new(record))).unwrap() + "\n"
    }

    fn outcome(id: &str, second: u64) -> String {
        let record = OutcomeRecord { known: true, ..OutcomeRecord::unknown(id.into(), at(second)) };
        serde_json::to_string(&Record::Outcome(Box::new(record))).unwrap() + "\n"
    }

    fn unknown(id: &str, second: u64) -> String {
        let record = OutcomeRecord::unknown(id.into(), at(second));
        serde_json::to_string(&Record::Outcome(Box::new(record))).unwrap() + "\n"
    }

    fn write(folder: &Path, number: u64, lines: &[String]) -> PathBuf {
        let path = folder.join(format!("{number:08}-20261120T000000Z.jsonl"));
        std::fs::write(&path, lines.concat()).unwrap();
        path
    }

    fn ids(of: &[&str]) -> HashSet<Arc<str>> {
        of.iter().map(|id| (*id).into()).collect()
    }

    #[test]
    fn what_has_not_ended_is_found_over_files_and_chunks() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = vec![decision("a", 0, Verdict::Allow), decision("b", 0, Verdict::Deny)];
        first.extend((0..20_000).map(|number| decision(&format!("n{number}"), 1, Verdict::Allow)));
        write(folder.path(), 1, &first);
        let mut second: Vec<String> = (0..20_000).map(|number| outcome(&format!("n{number}"), 2)).collect();
        second.push(decision("c", 3, Verdict::Allow));
        second.push(outcome("c", 3));
        second.push(decision("d", 3, Verdict::Allow));
        // It never reached Envoy.
        second.push(decision("e", 3, Verdict::Allow));
        second.push(decision("e", 4, Verdict::Error));
        // It has been given up already.
        second.extend([decision("f", 3, Verdict::Allow), unknown("f", 4)]);
        second.push(decision("later", 100, Verdict::Allow));
        second.push("{\"type\":\"decision\",\"torn".into());
        write(folder.path(), 2, &second);
        let found: HashSet<_> = unfinished(folder.path(), at(50)).unwrap().into_iter().collect();
        assert_eq!(found, ids(&["a", "d"]));
        let found = unfinished(folder.path(), at(50) + super::super::A_DAY).unwrap();
        assert_eq!(found, ["later".into()] as [Arc<str>; 1], "what is a day old is left alone");
    }

    #[test]
    fn what_was_cut_off_is_no_allow_that_went_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let cut = r#"{"type":"inspection","requestId":"a","time":"1970-01-12T13:46:41.000000Z","direction":"request","action":"blocked","bytes":1}"#;
        let seen = cut.replace("blocked", "monitored").replace("\"a\"", "\"b\"");
        let lines =
            [decision("a", 0, Verdict::Allow), decision("b", 0, Verdict::Allow), cut.to_owned() + "\n", seen + "\n"];
        write(folder.path(), 1, &lines);
        let past = find(folder.path(), &ids(&["a", "b"]), at(0)).unwrap();
        assert_eq!(past.decisions, HashMap::from([("a".into(), Verdict::Error), ("b".into(), Verdict::Allow)]));
    }

    #[test]
    fn what_is_looked_for_is_found_as_far_back_as_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1, &[decision("a", 0, Verdict::Allow), decision("b", 500, Verdict::Deny)]);
        write(folder.path(), 2, &[outcome("a", 501), decision("c", 502, Verdict::Allow), unknown("c", 503)]);
        let past = find(folder.path(), &ids(&["a", "c", "nobody"]), at(0)).unwrap();
        assert_eq!(past.decisions, HashMap::from([("a".into(), Verdict::Allow), ("c".into(), Verdict::Allow)]));
        assert_eq!((past.ended, past.is_partial), (ids(&["a"]), false));
        let past = find(folder.path(), &ids(&["a"]), at(400)).unwrap();
        assert!(past.decisions.is_empty(), "it was decided long before");
    }
}
