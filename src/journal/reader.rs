//! Reading the journal back: decisions joined with their outcomes, one [`Exchange`] each.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::pipeline::audit::{DecisionRecord, OutcomeRecord, Record, Verdict};

/// How long a refusal waits for its outcome before it is shown without. An allowed request waits until it ends.
const PATIENCE: Duration = Duration::from_secs(2);

/// One exchange, as far as the journal knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// What was decided.
    pub decision: DecisionRecord,
    /// What became of it, once Envoy has said so.
    pub outcome: Option<OutcomeRecord>,
}

/// How an exchange ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Forwarded, and answered by the upstream.
    Allowed,
    /// Refused by policy, identity or form.
    Blocked,
    /// There was no verdict, or no answer from the upstream.
    Failed,
}

impl Standing {
    /// As tables and filters write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
        }
    }
}

impl Exchange {
    /// How it ended.
    pub fn standing(&self) -> Standing {
        match self.decision.decision {
            Verdict::Deny => Standing::Blocked,
            Verdict::Error => Standing::Failed,
            Verdict::Allow => match &self.outcome {
                // Envoy's own answers carry a flag: the upstream gave none.
                Some(outcome) if outcome.status == 0 || (outcome.status >= 500 && !outcome.flags.is_empty()) => {
                    Standing::Failed
                }
                _ => Standing::Allowed,
            },
        }
    }

    /// The HTTP status the agent got, where one is known.
    pub fn status(&self) -> Option<u16> {
        let reported = self.outcome.as_ref().map(|o| o.status).filter(|s| *s != 0);
        reported.or(self.decision.status)
    }
}

impl Serialize for Exchange {
    /// One flat object: the decision's fields, then `status`, `requestBytes`, `bytes` (of the response),
    /// `duration` (in milliseconds), `upstream`, `flags` and `details`; these are null while there is no outcome.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Flat<'a> {
            #[serde(flatten)]
            decision: &'a DecisionRecord,
        }
        let mut value = serde_json::to_value(Flat { decision: &self.decision }).map_err(serde::ser::Error::custom)?;
        if let Some(object) = value.as_object_mut() {
            let outcome = self.outcome.as_ref();
            let credential = (!self.decision.credential.is_empty()).then(|| self.decision.credential.join(","));
            let upstream = outcome.and_then(|o| o.upstream.clone()).or_else(|| self.decision.upstream.clone());
            object.entry("query").or_insert(serde_json::Value::Null);
            object.insert("credential".into(), credential.into());
            object.insert("status".into(), self.status().into());
            object.insert("requestBytes".into(), outcome.map(|o| o.bytes_sent).into());
            object.insert("bytes".into(), outcome.map(|o| o.bytes_received).into());
            object.insert("duration".into(), outcome.map(|o| o.duration_ms).into());
            object.insert("upstream".into(), upstream.into());
            object.insert("flags".into(), outcome.map(|o| o.flags.clone()).into());
            object.insert("details".into(), outcome.map(|o| o.details.clone()).into());
        }
        value.serialize(serializer)
    }
}

/// Reads a journal from its first line, and goes on where it left off when it has grown.
pub struct Reader {
    folder: PathBuf,
    files: Vec<Tail>,
    waiting: VecDeque<(Arc<str>, Instant)>,
    open: HashMap<Arc<str>, Exchange>,
    /// Lines that could not be read: torn by a full disk, or not ours.
    pub unreadable: u64,
}

struct Tail {
    path: PathBuf,
    lines: BufReader<File>,
    partial: Vec<u8>,
}

impl Reader {
    /// Opens the journal in a folder.
    pub fn open(folder: &Path) -> io::Result<Self> {
        std::fs::read_dir(folder)?;
        let folder = folder.to_owned();
        Ok(Self { folder, files: Vec::new(), waiting: VecDeque::new(), open: HashMap::new(), unreadable: 0 })
    }

    /// Reads what is new, and gives the exchanges that are complete or will wait no longer, in the order they were
    /// decided. With `all`, also those that still wait.
    pub fn poll(&mut self, all: bool, now: Instant) -> io::Result<Vec<Exchange>> {
        self.find_files()?;
        let mut files = std::mem::take(&mut self.files);
        let read = files.iter_mut().try_for_each(|tail| self.read(tail, now));
        self.files = files;
        read?;
        let mut ready = Vec::new();
        let mut waiting = VecDeque::new();
        for (id, since) in self.waiting.drain(..) {
            let done = self.open.get(&id).is_none_or(|exchange| {
                let refused = exchange.decision.decision != Verdict::Allow;
                all || exchange.outcome.is_some() || (refused && now.saturating_duration_since(since) >= PATIENCE)
            });
            if done {
                ready.extend(self.open.remove(&id));
            } else {
                waiting.push_back((id, since));
            }
        }
        self.waiting = waiting;
        Ok(ready)
    }

    fn find_files(&mut self) -> io::Result<()> {
        let mut found: Vec<PathBuf> = std::fs::read_dir(&self.folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
            .filter(|path| !self.files.iter().any(|tail| tail.path == *path))
            .collect();
        found.sort();
        for path in found {
            let lines = BufReader::with_capacity(256 * 1024, File::open(&path)?);
            self.files.push(Tail { path, lines, partial: Vec::new() });
        }
        Ok(())
    }

    fn read(&mut self, tail: &mut Tail, now: Instant) -> io::Result<()> {
        loop {
            tail.lines.read_until(b'\n', &mut tail.partial)?;
            if tail.partial.last() != Some(&b'\n') {
                // The rest of this line is yet to be written.
                return Ok(());
            }
            match serde_json::from_slice(&tail.partial) {
                Ok(record) => self.take(record, now),
                Err(_) if tail.partial.trim_ascii().is_empty() => {}
                Err(_) => self.unreadable += 1,
            }
            tail.partial.clear();
        }
    }

    fn take(&mut self, record: Record, now: Instant) {
        match record {
            Record::Decision(decision) => {
                let id = decision.request_id.clone();
                if self.open.insert(id.clone(), Exchange { decision: *decision, outcome: None }).is_none() {
                    self.waiting.push_back((id, now));
                }
            }
            Record::Outcome(outcome) => {
                if let Some(exchange) = self.open.get_mut(&outcome.request_id) {
                    exchange.outcome = Some(*outcome);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::SystemTime;

    use super::*;

    fn decision(id: &str, verdict: Verdict) -> DecisionRecord {
        DecisionRecord {
            request_id: id.into(),
            time: SystemTime::UNIX_EPOCH,
            agent: Some("ann".into()),
            identity: None,
            source: None,
            method: "GET".into(),
            scheme: Some("https".into()),
            host: "a.example".into(),
            port: Some(443),
            path: "/".into(),
            query: None,
            decision: verdict,
            reason: None,
            detail: None,
            rule: None,
            credential: vec!["key".into()],
            policy_revision: "rev".into(),
            upstream: None,
            status: (verdict == Verdict::Deny).then_some(403),
            decision_micros: 1,
        }
    }

    fn outcome(id: &str, status: u16, flags: &str) -> OutcomeRecord {
        OutcomeRecord {
            request_id: id.into(),
            time: SystemTime::UNIX_EPOCH,
            status,
            bytes_sent: 1,
            bytes_received: 2,
            duration_ms: 1.5,
            upstream: Some("192.0.2.1:443".into()),
            flags: flags.into(),
            details: String::new(),
        }
    }

    #[test]
    fn a_decision_and_its_outcome_are_one_exchange() {
        let folder = tempfile::tempdir().unwrap();
        let journal = super::super::Journal::open(folder.path()).unwrap();
        let write = |record: &Record| journal.append(record).unwrap();
        write(&Record::Decision(Box::new(decision("r1", Verdict::Allow))));
        write(&Record::Decision(Box::new(decision("r2", Verdict::Deny))));
        let mut reader = Reader::open(folder.path()).unwrap();
        let start = Instant::now();
        assert_eq!(reader.poll(false, start).unwrap(), []);
        write(&Record::Outcome(Box::new(outcome("r1", 200, ""))));
        let ready = reader.poll(false, start).unwrap();
        assert_eq!(ready.len(), 1);
        assert_eq!((ready[0].standing(), ready[0].status()), (Standing::Allowed, Some(200)));
        let json = serde_json::to_value(&ready[0]).unwrap();
        let expected = serde_json::json!({"status": 200, "bytes": 2, "credential": "key", "decision": "allow"});
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&json[key], value, "{key}");
        }
        // A refusal is shown even if Envoy never says what became of it.
        let ready = reader.poll(false, start + PATIENCE).unwrap();
        assert_eq!((ready[0].standing(), ready[0].status()), (Standing::Blocked, Some(403)));
        assert_eq!(reader.poll(true, start).unwrap(), []);
    }

    #[test]
    fn an_upstream_that_gave_no_answer_is_a_failure() {
        for (status, flags, expected) in [
            (200, "", Standing::Allowed),
            (503, "", Standing::Allowed),
            (503, "UF", Standing::Failed),
            (0, "DC", Standing::Failed),
        ] {
            let exchange =
                Exchange { decision: decision("r", Verdict::Allow), outcome: Some(outcome("r", status, flags)) };
            assert_eq!(exchange.standing(), expected, "{status} {flags}");
        }
    }

    #[test]
    fn half_a_line_waits_for_its_rest_and_a_broken_one_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = File::create(folder.path().join("a.jsonl")).unwrap();
        let line = serde_json::to_string(&Record::Decision(Box::new(decision("r1", Verdict::Deny)))).unwrap();
        let (first, rest) = line.split_at(20);
        file.write_all(b"{broken\n\n").unwrap();
        file.write_all(first.as_bytes()).unwrap();
        let mut reader = Reader::open(folder.path()).unwrap();
        assert_eq!(reader.poll(true, Instant::now()).unwrap(), []);
        file.write_all(rest.as_bytes()).unwrap();
        file.write_all(b"\n").unwrap();
        assert_eq!(reader.poll(true, Instant::now()).unwrap().len(), 1);
        assert_eq!(reader.unreadable, 1);
    }
}
