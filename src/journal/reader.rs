//! Reading the journal back: decisions joined with their outcomes, one [`Exchange`] each.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::pipeline::audit::{
    ApprovalNote, DecisionRecord, Direction, FindingNote, InspectionAction, InspectionRecord, OutcomeRecord, Record,
    Verdict, Would,
};

/// The reason of a decision that was never made.
const UNRECONCILED: &str = "unreconciled";
/// How long a refusal waits for its outcome before it is shown without. An allowed request waits until it ends.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same by the times on record, for what is read long after. Envoy reports in batches, so that it is more.
const PATIENCE_ON_RECORD: Duration = Duration::from_secs(30);
/// How many exchanges one that goes on may hold up, and how many may go on.
const WINDOW: u64 = 10_000;
/// The files kept open, from the newest: one that was replaced may still be written to while its service drains.
const STILL_OPEN: usize = 4;
/// In bytes; Envoy's limit on a request's head keeps ours far below.
const LONGEST_LINE: u64 = 4 * 1024 * 1024;

/// One exchange, as far as the journal knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// What was decided.
    pub decision: DecisionRecord,
    /// What was found in its messages after their heads had gone on.
    pub inspections: Vec<InspectionRecord>,
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
    /// Forwarded, and nobody can say any more what came of it.
    Unknown,
    /// Forwarded by Envoy without a decision: policy was bypassed.
    Unreconciled,
}

impl Standing {
    /// As tables and filters write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Unreconciled => "unreconciled",
        }
    }
}

impl Exchange {
    /// How it ended.
    pub fn standing(&self) -> Standing {
        match self.decision.decision {
            Verdict::Deny | Verdict::RateLimited | Verdict::Pending => Standing::Blocked,
            Verdict::Error if self.decision.reason.as_deref() == Some(UNRECONCILED) => Standing::Unreconciled,
            Verdict::Error => Standing::Failed,
            Verdict::Allow if self.cut().is_some() => Standing::Blocked,
            Verdict::Allow => match &self.outcome {
                Some(outcome) if !outcome.known => Standing::Unknown,
                // Envoy's own answers carry a flag: the upstream gave none.
                Some(outcome) if outcome.status == 0 || (outcome.status >= 500 && !outcome.flags.is_empty()) => {
                    Standing::Failed
                }
                _ => Standing::Allowed,
            },
        }
    }

    /// True once Envoy has said how it ended.
    fn has_ended(&self) -> bool {
        self.outcome.as_ref().is_some_and(|outcome| outcome.known)
    }

    /// Takes a second decision about the same exchange: Envoy's report that none reached it. An allow that was on
    /// record was then never carried out; a refusal knows better why it was one.
    fn correct(&mut self, reported: DecisionRecord) {
        let bypassed = reported.reason.as_deref() == Some(UNRECONCILED);
        if self.decision.decision == Verdict::Allow || bypassed {
            self.decision.decision = reported.decision;
            self.decision.reason = reported.reason;
            self.decision.detail = reported.detail;
            self.decision.status = reported.status;
        }
    }

    /// What cut one of its messages off after the head had gone on.
    pub fn cut(&self) -> Option<&InspectionRecord> {
        self.inspections.iter().find(|inspection| inspection.action == InspectionAction::Blocked)
    }

    /// Why it was refused, or cut off.
    pub fn reason(&self) -> Option<&str> {
        self.decision.reason.as_deref().or_else(|| self.cut()?.reason.as_deref())
    }

    /// The HTTP status the agent got, where one is known.
    pub fn status(&self) -> Option<u16> {
        let reported = self.outcome.as_ref().map(|o| o.status).filter(|s| *s != 0);
        reported.or(self.decision.status).or_else(|| self.cut()?.status)
    }
}

impl Serialize for Exchange {
    /// One flat object: who wanted what, what was decided, and what became of it. Null is what is not known, or not
    /// yet; `cut` is the message that was cut off when its head had gone on, `bytes` are the response's, `duration` is
    /// in milliseconds, `details` are Envoy's.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Flat<'a> {
            #[serde(with = "crate::pipeline::audit::rfc3339")]
            time: SystemTime,
            agent: Option<&'a str>,
            method: &'a str,
            scheme: Option<&'a str>,
            host: &'a str,
            port: Option<u16>,
            path: &'a str,
            query: Option<&'a str>,
            decision: Verdict,
            standing: &'static str,
            reason: Option<&'a str>,
            detail: Option<&'a str>,
            rule: Option<&'a str>,
            would: Option<&'a Would>,
            watched: Option<&'a [Arc<str>]>,
            approval: Option<&'a ApprovalNote>,
            credential: Option<String>,
            placeholders: Option<String>,
            cut: Option<Direction>,
            findings: Option<Vec<&'a FindingNote>>,
            status: Option<u16>,
            request_bytes: Option<u64>,
            bytes: Option<u64>,
            duration: Option<f64>,
            upstream: Option<&'a str>,
            flags: Option<&'a str>,
            details: Option<&'a str>,
            policy_revision: &'a str,
            request_id: &'a str,
            identity: Option<&'a str>,
            source: Option<&'a str>,
            decision_micros: u64,
        }
        let Self { decision, inspections, outcome } = self;
        let cut = self.cut();
        let found = inspections.iter().flat_map(|inspection| &inspection.findings);
        let findings: Vec<_> = decision.findings.iter().chain(found).collect();
        let outcome = outcome.as_ref().filter(|outcome| outcome.known);
        let connected = outcome.and_then(|outcome| outcome.upstream.as_deref());
        Flat {
            time: decision.time,
            agent: decision.agent.as_deref(),
            method: &decision.method,
            scheme: decision.scheme.as_deref(),
            host: &decision.host,
            port: decision.port,
            path: &decision.path,
            query: decision.query.as_deref(),
            decision: decision.decision,
            standing: self.standing().as_str(),
            reason: self.reason(),
            detail: decision.detail.as_deref().or(cut.and_then(|cut| cut.detail.as_deref())),
            // What cut it, where something did: the entry that let it go said nothing of that.
            rule: cut.map_or(&decision.rule, |cut| &cut.rule).as_deref(),
            would: decision.would.as_ref(),
            watched: (!decision.watched.is_empty()).then_some(&decision.watched),
            approval: decision.approval.as_ref(),
            credential: (!decision.credential.is_empty()).then(|| decision.credential.join(",")),
            placeholders: (!decision.placeholders.is_empty()).then(|| decision.placeholders.join(",")),
            cut: cut.map(|cut| cut.direction),
            findings: (!findings.is_empty()).then_some(findings),
            status: self.status(),
            request_bytes: outcome.map(|outcome| outcome.bytes_sent),
            bytes: outcome.map(|outcome| outcome.bytes_received),
            duration: outcome.map(|outcome| outcome.duration_ms),
            upstream: connected.or(decision.upstream.as_deref()),
            flags: outcome.map(|outcome| outcome.flags.as_str()),
            details: outcome.map(|outcome| outcome.details.as_str()),
            policy_revision: &decision.policy_revision,
            request_id: &decision.request_id,
            identity: decision.identity.as_deref(),
            source: decision.source.as_deref(),
            decision_micros: decision.decision_micros,
        }
        .serialize(serializer)
    }
}

/// Reads a journal from its first line, and goes on where it left off when it has grown.
///
/// Holds one record for each exchange that has not ended, and at most 10,000 more: a journal may be larger than
/// memory.
pub struct Reader {
    folder: PathBuf,
    files: BTreeMap<PathBuf, Tail>,
    /// By their place in the order of decisions.
    waiting: BTreeMap<u64, Waiting>,
    places: HashMap<Arc<str>, u64>,
    /// The place of the next decision.
    next: u64,
    /// What waits at a place before this one holds up no other.
    passed: u64,
    /// The latest time on record.
    latest: SystemTime,
    window: u64,
    /// Lines that could not be read: torn by a full disk, or not ours.
    pub unreadable: u64,
}

/// Takes the exchanges that a [`Reader`] has read.
pub type Show<'a> = &'a mut dyn FnMut(Exchange) -> io::Result<()>;

struct Waiting {
    exchange: Exchange,
    since: Instant,
}

impl Reader {
    /// Opens the journal in a folder.
    pub fn open(folder: &Path) -> io::Result<Self> {
        std::fs::read_dir(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            files: BTreeMap::new(),
            waiting: BTreeMap::new(),
            places: HashMap::new(),
            next: 0,
            passed: 0,
            latest: SystemTime::UNIX_EPOCH,
            window: WINDOW,
            unreadable: 0,
        })
    }

    /// Reads what there is, and shows the exchanges in the order they were decided, each as soon as those before it
    /// are known. One that lasts while more than ten thousand others begin is shown when it ends.
    ///
    /// What has not ended goes on waiting, for [`Reader::rest`] or [`Reader::poll`].
    pub fn replay(&mut self, now: Instant, show: Show<'_>) -> io::Result<()> {
        self.read(now, &mut |reader, ended| {
            let late = ended.filter(|place| *place < reader.passed);
            if let Some(exchange) = late.and_then(|place| reader.remove(place)) {
                show(exchange)?;
            }
            reader.release(show)
        })?;
        // What was refused long ago has waited long enough.
        let (wall, long_ago) = (SystemTime::now(), now.checked_sub(PATIENCE));
        for waiting in self.waiting.values_mut() {
            if wall.duration_since(waiting.exchange.decision.time).is_ok_and(|age| age >= PATIENCE) {
                waiting.since = long_ago.unwrap_or(waiting.since);
            }
        }
        Ok(())
    }

    /// Shows what still waits, in the order it was decided, as if nothing more was to come.
    pub fn rest(&mut self, show: Show<'_>) -> io::Result<()> {
        self.places.clear();
        self.passed = self.next;
        std::mem::take(&mut self.waiting).into_values().try_for_each(|waiting| show(waiting.exchange))
    }

    /// Reads what is new, and gives the exchanges that have ended or will wait no longer, in the order they were
    /// decided. With `all`, also those that still wait.
    pub fn poll(&mut self, all: bool, now: Instant) -> io::Result<Vec<Exchange>> {
        self.read(now, &mut |_, _| Ok(()))?;
        self.passed = self.next;
        let done = |waiting: &Waiting| {
            let exchange = &waiting.exchange;
            let refused = exchange.decision.decision != Verdict::Allow;
            all || exchange.outcome.is_some() || (refused && now.saturating_duration_since(waiting.since) >= PATIENCE)
        };
        let done: Vec<u64> = self.waiting.iter().filter(|(_, w)| done(w)).map(|(place, _)| *place).collect();
        Ok(done.into_iter().filter_map(|place| self.remove(place)).collect())
    }

    fn release(&mut self, show: Show<'_>) -> io::Result<()> {
        while let Some((&place, head)) = self.waiting.range(self.passed..).next() {
            let exchange = &head.exchange;
            let full = self.next.saturating_sub(self.passed) > self.window;
            let refused = exchange.decision.decision != Verdict::Allow;
            let waited =
                self.latest.duration_since(exchange.decision.time).is_ok_and(|time| time >= PATIENCE_ON_RECORD);
            // What is unknown may yet be known further on.
            if exchange.has_ended() || (refused && (waited || full)) {
                if let Some(exchange) = self.remove(place) {
                    show(exchange)?;
                }
            } else if !full {
                break;
            }
            self.passed = place + 1;
        }
        // Outcomes that never come, of an Envoy that was killed, must not add up either.
        while self.waiting.len() as u64 > self.next.saturating_sub(self.passed) + self.window {
            let Some((&oldest, _)) = self.waiting.first_key_value() else { break };
            if let Some(exchange) = self.remove(oldest) {
                show(exchange)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, place: u64) -> Option<Exchange> {
        let waiting = self.waiting.remove(&place)?;
        let id = &waiting.exchange.decision.request_id;
        if self.places.get(id) == Some(&place) {
            self.places.remove(id);
        }
        Some(waiting.exchange)
    }

    /// Takes in what is new; `each` is called after each record, with the place of the exchange that it ended.
    fn read(&mut self, now: Instant, each: &mut dyn FnMut(&mut Self, Option<u64>) -> io::Result<()>) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "jsonl") && !self.files.contains_key(&path) {
                self.files.insert(path, Tail::default());
            }
        }
        let mut files = std::mem::take(&mut self.files);
        let old = files.len().saturating_sub(STILL_OPEN);
        let read = files.iter_mut().enumerate().try_for_each(|(index, (path, tail))| {
            while let Some(line) = tail.next_line(path)? {
                let ended = self.take(line, now);
                each(self, ended)?;
            }
            if index < old {
                self.unreadable += u64::from(tail.close());
            }
            Ok(())
        });
        self.files = files;
        read
    }

    fn take(&mut self, line: Line<'_>, now: Instant) -> Option<u64> {
        let record = match line {
            Line::Whole(line) if line.trim_ascii().is_empty() => return None,
            Line::Whole(line) => match serde_json::from_slice(line) {
                Ok(record) => Some(record),
                Err(_) if is_of_another_kind(line) => return None,
                Err(_) => None,
            },
            Line::TooLong => None,
        };
        match record {
            Some(Record::Decision(decision)) => {
                self.latest = self.latest.max(decision.time);
                let known = self.places.get(&decision.request_id).and_then(|place| self.waiting.get_mut(place));
                if let Some(Waiting { exchange, .. }) = known
                    && decision.decision != Verdict::Allow
                {
                    exchange.correct(*decision);
                    return None;
                }
                self.places.insert(decision.request_id.clone(), self.next);
                let exchange = Exchange { decision: *decision, inspections: Vec::new(), outcome: None };
                self.waiting.insert(self.next, Waiting { exchange, since: now });
                self.next += 1;
                None
            }
            Some(Record::Outcome(outcome)) => {
                self.latest = self.latest.max(outcome.time);
                let place = *self.places.get(&outcome.request_id)?;
                let exchange = &mut self.waiting.get_mut(&place)?.exchange;
                if !outcome.known {
                    exchange.outcome.get_or_insert(*outcome);
                    return None;
                }
                self.places.remove(&outcome.request_id);
                exchange.outcome = Some(*outcome);
                Some(place)
            }
            Some(Record::Inspection(inspection)) => {
                let known = self.places.get(&inspection.request_id).and_then(|place| self.waiting.get_mut(place));
                if let Some(Waiting { exchange, .. }) = known {
                    exchange.inspections.push(*inspection);
                }
                None
            }
            // What became of the requests that waited for it, their decisions say.
            Some(Record::Approval(_)) => None,
            None => {
                self.unreadable += 1;
                None
            }
        }
    }
}

/// Whether a line is whole and of a kind that a later version writes and this one does not know.
fn is_of_another_kind(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind<'a> {
        r#type: &'a str,
    }
    serde_json::from_slice(line)
        .is_ok_and(|Kind { r#type }| !matches!(r#type, "decision" | "outcome" | "inspection" | "approval"))
}

/// One file of the journal, as far as it has been read.
#[derive(Default)]
struct Tail {
    state: TailState,
    /// A line of which the rest is yet to be written.
    line: Vec<u8>,
    /// The line that is being read is longer than any of ours.
    too_long: bool,
}

#[derive(Default)]
enum TailState {
    #[default]
    Unopened,
    Open(BufReader<File>),
    Closed,
}

enum Line<'a> {
    Whole(&'a [u8]),
    TooLong,
}

impl Tail {
    /// The next line that has been written to its end.
    fn next_line(&mut self, path: &Path) -> io::Result<Option<Line<'_>>> {
        if let TailState::Unopened = self.state {
            self.state = match File::open(path) {
                Ok(file) => TailState::Open(BufReader::with_capacity(64 * 1024, file)),
                // Cleaned up since the folder was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => TailState::Closed,
                Err(error) => return Err(error),
            };
        }
        let TailState::Open(lines) = &mut self.state else { return Ok(None) };
        if self.line.last() == Some(&b'\n') {
            self.line.clear();
        }
        loop {
            let room = LONGEST_LINE.saturating_sub(self.line.len() as u64);
            lines.take(room).read_until(b'\n', &mut self.line)?;
            if self.line.last() == Some(&b'\n') {
                break;
            }
            if (self.line.len() as u64) < LONGEST_LINE {
                return Ok(None);
            }
            self.too_long = true;
            self.line.clear();
        }
        Ok(Some(if std::mem::take(&mut self.too_long) { Line::TooLong } else { Line::Whole(&self.line) }))
    }

    /// Gives the file up, whose service is gone, and says whether that died in the middle of a line.
    fn close(&mut self) -> bool {
        let torn = self.too_long || self.line.last().is_some_and(|byte| *byte != b'\n');
        *self = Self { state: TailState::Closed, ..Self::default() };
        torn
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

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
            would: None,
            watched: Vec::new(),
            approval: None,
            credential: vec!["key".into()],
            placeholders: Vec::new(),
            findings: Vec::new(),
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
            known: true,
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
    fn an_allow_that_never_reached_envoy_is_no_allow() {
        let mut lost = Exchange { decision: decision("r", Verdict::Allow), inspections: Vec::new(), outcome: None };
        let mut reported = decision("r", Verdict::Error);
        reported.reason = Some("internal_error".into());
        lost.correct(reported.clone());
        assert_eq!((lost.standing(), lost.decision.reason.as_deref()), (Standing::Failed, Some("internal_error")));
        assert_eq!(lost.decision.agent.as_deref(), Some("ann"), "what was known stays");
        let mut refused = Exchange { decision: decision("r", Verdict::Deny), inspections: Vec::new(), outcome: None };
        refused.correct(reported);
        assert_eq!(refused.standing(), Standing::Blocked);
    }

    #[test]
    fn what_is_unknown_is_known_as_soon_as_somebody_says_it() {
        let folder = tempfile::tempdir().unwrap();
        let journal = super::super::Journal::open(folder.path()).unwrap();
        let unknown = Record::Outcome(Box::new(OutcomeRecord::unknown("r1".into(), SystemTime::UNIX_EPOCH)));
        journal.append(&Record::Decision(Box::new(decision("r1", Verdict::Allow)))).unwrap();
        journal.append(&unknown).unwrap();
        let standings = |all: &mut dyn FnMut(&mut Reader) -> Vec<Exchange>| {
            let mut reader = Reader::open(folder.path()).unwrap();
            all(&mut reader).iter().map(|exchange| (exchange.standing(), exchange.status())).collect::<Vec<_>>()
        };
        let replay = |reader: &mut Reader| {
            let mut shown = Vec::new();
            let mut show = |exchange| {
                shown.push(exchange);
                Ok(())
            };
            reader.replay(Instant::now(), &mut show).unwrap();
            reader.rest(&mut show).unwrap();
            shown
        };
        let mut poll = |reader: &mut Reader| reader.poll(false, Instant::now()).unwrap();
        assert_eq!(standings(&mut poll), [(Standing::Unknown, None)]);
        assert_eq!(standings(&mut { replay }), [(Standing::Unknown, None)]);
        journal.append(&Record::Outcome(Box::new(outcome("r1", 200, "")))).unwrap();
        journal.append(&unknown).unwrap();
        assert_eq!(standings(&mut poll), [(Standing::Allowed, Some(200))]);
        assert_eq!(standings(&mut { replay }), [(Standing::Allowed, Some(200))]);
    }

    #[test]
    fn a_request_that_nobody_decided_counts_above_what_was_decided() {
        for before in [Verdict::Allow, Verdict::Deny] {
            let mut exchange = Exchange { decision: decision("r", before), inspections: Vec::new(), outcome: None };
            let mut reported = decision("r", Verdict::Error);
            reported.reason = Some(UNRECONCILED.into());
            exchange.correct(reported);
            assert_eq!(exchange.standing(), Standing::Unreconciled);
        }
        assert_eq!(UNRECONCILED, crate::pipeline::policy::Reason::Unreconciled.as_str());
    }

    #[test]
    fn an_upstream_that_gave_no_answer_is_a_failure() {
        for (status, flags, expected) in [
            (200, "", Standing::Allowed),
            (503, "", Standing::Allowed),
            (503, "UF", Standing::Failed),
            (0, "DC", Standing::Failed),
        ] {
            let exchange = Exchange {
                decision: decision("r", Verdict::Allow),
                inspections: Vec::new(),
                outcome: Some(outcome("r", status, flags)),
            };
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

    #[test]
    fn lines_that_are_no_exchange_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let lines = concat!(
            r#"{"type":"approval","ticket":"apr_1","time":"2026-11-20T12:00:00.000000Z","event":"asked","agent":"a","#,
            r#""method":"GET","scheme":"https","host":"h","port":443,"path":"/","bodySha256":"00","rules":["r"]}"#,
            "\n",
            r#"{"type":"checkpoint","of":"a later version"}"#,
            "\n",
            r#"{"type":"approval","ticket":"apr_1"}"#,
            "\n",
        );
        std::fs::write(folder.path().join("a.jsonl"), lines).unwrap();
        let mut reader = Reader::open(folder.path()).unwrap();
        assert_eq!(reader.poll(true, Instant::now()).unwrap().len(), 0);
        assert_eq!(reader.unreadable, 1, "the last one lacks what it must have");
    }

    fn replayed(reader: &mut Reader) -> Vec<String> {
        let mut shown = Vec::new();
        reader
            .replay(Instant::now(), &mut |exchange| {
                let end = if exchange.outcome.is_some() { "" } else { "?" };
                shown.push(format!("{}{end}", exchange.decision.request_id));
                Ok(())
            })
            .unwrap();
        shown
    }

    fn remaining(reader: &mut Reader) -> Vec<String> {
        let mut shown = Vec::new();
        let mut show = |exchange: Exchange| {
            shown.push(exchange.decision.request_id.to_string());
            Ok(())
        };
        reader.rest(&mut show).unwrap();
        shown
    }

    /// `+r1` a decision that allows, `!r1` one that refuses, `-r1` an outcome; `@60` the time of what follows.
    fn write(file: &mut File, records: &str) {
        let mut time = SystemTime::UNIX_EPOCH;
        for word in records.split_whitespace() {
            let (kind, id) = word.split_at(1);
            let record = match kind {
                "@" => {
                    time = SystemTime::UNIX_EPOCH + Duration::from_secs(id.parse().unwrap());
                    continue;
                }
                "-" => Record::Outcome(Box::new(OutcomeRecord { time, ..outcome(id, 200, "") })),
                _ => {
                    let verdict = if kind == "+" { Verdict::Allow } else { Verdict::Deny };
                    Record::Decision(Box::new(DecisionRecord { time, ..decision(id, verdict) }))
                }
            };
            serde_json::to_writer(&mut *file, &record).unwrap();
            file.write_all(b"\n").unwrap();
        }
    }

    #[test]
    fn a_replay_keeps_the_order_of_decisions() {
        for (records, shown, rest) in [
            ("+a +b -b -a", vec!["a", "b"], vec![]),
            ("+a +b -b", vec![], vec!["a", "b"]),
            // The same id twice: neither is lost.
            ("+a +a -a", vec![], vec!["a", "a"]),
            ("!a @1 +b -b", vec![], vec!["a", "b"]),
            ("!a @60 +b -b", vec!["a?", "b"], vec![]),
            // The outcome of what was shown without one.
            ("!a @60 +b -b -a", vec!["a?", "b"], vec![]),
            ("-z +a -a", vec!["a"], vec![]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            write(&mut File::create(folder.path().join("1.jsonl")).unwrap(), records);
            let mut reader = Reader::open(folder.path()).unwrap();
            assert_eq!(replayed(&mut reader), shown, "{records}");
            assert_eq!(remaining(&mut reader), rest, "{records}");
        }
    }

    #[test]
    fn a_refusal_of_long_ago_does_not_wait_again() {
        let folder = tempfile::tempdir().unwrap();
        write(&mut File::create(folder.path().join("1.jsonl")).unwrap(), "!a +b");
        let now = Instant::now() + PATIENCE;
        let mut reader = Reader::open(folder.path()).unwrap();
        reader.replay(now, &mut |_| panic!("nothing has ended")).unwrap();
        let poll = reader.poll(false, now).unwrap();
        assert_eq!(poll.iter().map(|e| &*e.decision.request_id).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn what_never_ends_does_not_hold_up_the_rest() {
        for (records, shown, rest) in [
            ("+a +b -b +c -c", vec!["b", "c"], vec!["a"]),
            ("+a +b -b +c -c -a +d -d", vec!["b", "c", "a", "d"], vec![]),
            // More go on than are kept.
            ("+a +b +c +d +e +f", vec!["a?", "b?"], vec!["c", "d", "e", "f"]),
            ("+a +b +c +d +e +f -a -f", vec!["a?", "b?"], vec!["c", "d", "e", "f"]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            write(&mut File::create(folder.path().join("1.jsonl")).unwrap(), records);
            let mut reader = Reader::open(folder.path()).unwrap();
            reader.window = 2;
            assert_eq!(replayed(&mut reader), shown, "{records}");
            assert_eq!(remaining(&mut reader), rest, "{records}");
            assert!(reader.places.is_empty());
        }
    }

    #[test]
    fn an_outcome_may_be_in_the_next_file_and_old_files_are_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let create = |index: usize| File::create(folder.path().join(format!("{index}.jsonl"))).unwrap();
        write(&mut create(0), "+a +b -b");
        write(&mut create(1), "-a +c -c");
        let mut reader = Reader::open(folder.path()).unwrap();
        assert_eq!(replayed(&mut reader), ["a", "b", "c"]);
        create(2).write_all(b"{torn").unwrap();
        for index in 3..3 + STILL_OPEN {
            write(&mut create(index), &format!("+{index} -{index}"));
        }
        let poll = reader.poll(false, Instant::now()).unwrap();
        assert_eq!(poll.len(), STILL_OPEN);
        assert_eq!(reader.unreadable, 1);
        let open = reader.files.values().filter(|tail| matches!(tail.state, TailState::Open(_))).count();
        assert_eq!(open, STILL_OPEN);
    }

    #[test]
    fn a_line_without_end_is_not_held() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = File::create(folder.path().join("1.jsonl")).unwrap();
        let part = vec![b'x'; usize::try_from(LONGEST_LINE).unwrap() - 7];
        let mut reader = Reader::open(folder.path()).unwrap();
        for _ in 0..2 {
            file.write_all(&part).unwrap();
            assert_eq!(reader.poll(true, Instant::now()).unwrap(), []);
        }
        file.write_all(b"\n").unwrap();
        write(&mut file, "+a -a");
        assert_eq!(replayed(&mut reader), ["a"]);
        assert_eq!(reader.unreadable, 1);
    }
}
