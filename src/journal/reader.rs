//! Reading the journal back: decisions joined with their outcomes, one [`Exchange`] each.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;

use super::chain::Sealed;
pub use super::exchange::{Exchange, Standing};
use super::follow::{Cursor, Follower};
use crate::pipeline::audit::{Record, Verdict};

/// How long a refusal waits for its outcome before it is shown without. An allowed request waits until it ends.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same by the times on record, for what is read long after. Envoy reports in batches, so that it is more.
const PATIENCE_ON_RECORD: Duration = Duration::from_secs(30);
/// How many exchanges one that goes on may hold up, and how many may go on.
const WINDOW: u64 = 10_000;

/// Reads a journal from a place in it, and goes on where it left off when it has grown.
///
/// Holds one record for each exchange that has not ended, and at most 10,000 more: a journal may be larger than
/// memory.
pub struct Reader {
    lines: Follower,
    sieve: Option<Sieve>,
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
    unreadable: u64,
    /// How much has been read, in bytes.
    read: u64,
    tell: Option<Tell>,
}

/// Told how much has been read, in bytes, now and then.
pub type Tell = Box<dyn Fn(u64) + Send>;

/// How much is read between two words about it, in bytes.
const A_WHILE: u64 = 8 << 20;

/// Takes the exchanges that a [`Reader`] has read.
pub type Show<'a> = &'a mut dyn FnMut(Exchange) -> io::Result<()>;

/// Whether the line of a decision is worth more than a glance; it must hold for every one that matters.
pub type Sieve = Box<dyn Fn(&[u8]) -> bool + Send>;

struct Waiting {
    exchange: Exchange,
    since: Instant,
}

impl Reader {
    /// Opens the journal in a folder, at its first line.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Self::open_at(folder, Cursor::default())
    }

    /// Opens the journal in a folder, at a place in it. Of exchanges that were decided before, nothing is shown.
    pub fn open_at(folder: &Path, from: Cursor) -> io::Result<Self> {
        std::fs::read_dir(folder)?;
        Ok(Self {
            lines: Follower::new(folder, from),
            sieve: None,
            waiting: BTreeMap::new(),
            places: HashMap::new(),
            next: 0,
            passed: 0,
            latest: SystemTime::UNIX_EPOCH,
            window: WINDOW,
            unreadable: 0,
            read: 0,
            tell: None,
        })
    }

    /// Reads only what a sieve lets through, and all that is about it: most of what a line costs is its reading.
    pub fn only(mut self, sieve: Option<Sieve>) -> Self {
        self.sieve = sieve;
        self
    }

    /// How many lines could not be read: torn by a full disk, or not ours.
    pub fn unreadable(&self) -> u64 {
        self.unreadable + self.lines.skipped
    }

    /// Says how far it is while it reads what there is.
    pub fn tell(&mut self, tell: Tell) {
        self.tell = Some(tell);
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
        loop {
            let Some(line) = self.lines.next_line()? else { return Ok(()) };
            let read = self.read + line.len() as u64 + 1;
            if let Some(tell) = self.tell.as_ref().filter(|_| read / A_WHILE > self.read / A_WHILE) {
                tell(read);
            }
            self.read = read;
            let record = match Glance::at(line).is_idle(&self.places, self.sieve.as_ref(), line) {
                true => continue,
                false => Parsed::of(line),
            };
            let ended = self.take(record, now);
            each(self, ended)?;
        }
    }

    fn take(&mut self, record: Parsed, now: Instant) -> Option<u64> {
        match record {
            Parsed::Record(Record::Decision(decision), seq) => {
                self.latest = self.latest.max(decision.time);
                let known = self.places.get(&decision.request_id).and_then(|place| self.waiting.get_mut(place));
                if let Some(Waiting { exchange, .. }) = known
                    && decision.decision != Verdict::Allow
                {
                    exchange.correct(*decision);
                    return None;
                }
                self.places.insert(decision.request_id.clone(), self.next);
                let exchange = Exchange { seq, ..Exchange::new(*decision) };
                self.waiting.insert(self.next, Waiting { exchange, since: now });
                self.next += 1;
                None
            }
            Parsed::Record(Record::Outcome(outcome), _) => {
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
            Parsed::Record(Record::Inspection(inspection), _) => {
                let known = self.places.get(&inspection.request_id).and_then(|place| self.waiting.get_mut(place));
                if let Some(Waiting { exchange, .. }) = known {
                    exchange.inspections.push(*inspection);
                }
                None
            }
            // What became of the requests that waited for it, their decisions say.
            Parsed::Record(Record::Approval(_), _) | Parsed::OfAnotherKind => None,
            Parsed::Unreadable => {
                self.unreadable += 1;
                None
            }
        }
    }
}

/// What can be seen of a line without reading it. Ours begin with their kind and the request's id, in this order.
enum Glance<'a> {
    Decision(&'a str),
    OfExchange(&'a str),
    Other,
}

impl<'a> Glance<'a> {
    fn at(line: &'a [u8]) -> Self {
        let id = |kind: &str| {
            let rest = line.strip_prefix(b"{\"type\":\"")?.strip_prefix(kind.as_bytes())?;
            let rest = rest.strip_prefix(b"\",\"requestId\":\"")?;
            let id = rest.get(..memchr::memchr2(b'"', b'\\', rest)?)?;
            // An id with an escape is read with the rest.
            (rest.get(id.len()) == Some(&b'"')).then(|| std::str::from_utf8(id).ok())?
        };
        match (id("decision"), id("outcome").or_else(|| id("inspection"))) {
            (Some(id), _) => Self::Decision(id),
            (None, Some(id)) => Self::OfExchange(id),
            (None, None) => Self::Other,
        }
    }

    /// True if there is nothing in the line for who wants what `sieve` lets through.
    fn is_idle(&self, places: &HashMap<Arc<str>, u64>, sieve: Option<&Sieve>, line: &[u8]) -> bool {
        match self {
            Self::Decision(id) => sieve.is_some_and(|sieve| !sieve(line)) && !places.contains_key(*id),
            Self::OfExchange(id) => !places.contains_key(*id),
            Self::Other => false,
        }
    }
}

/// A line, read.
enum Parsed {
    Record(Record, Option<u64>),
    /// What the journal says of itself, or what a later version writes and this one does not know.
    OfAnotherKind,
    Unreadable,
}

impl Parsed {
    fn of(line: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Kind<'a> {
            r#type: &'a str,
        }
        if line.trim_ascii().is_empty() {
            return Self::OfAnotherKind;
        }
        if let Ok(record) = serde_json::from_slice(line) {
            return Self::Record(record, Sealed::parse(line).map(|sealed| sealed.seq));
        }
        match serde_json::from_slice(line) {
            Ok(Kind { r#type }) if !matches!(r#type, "decision" | "outcome" | "inspection" | "approval") => {
                Self::OfAnotherKind
            }
            _ => Self::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;
    use crate::journal::exchange::UNRECONCILED;
    use crate::pipeline::audit::{DecisionRecord, OutcomeRecord};

    /// A segment's name.
    fn named(number: usize) -> String {
        format!("{number:08}-20261120T000000Z.jsonl")
    }

    fn decision(id: &str, verdict: Verdict) -> DecisionRecord {
        DecisionRecord {
            request_id: id.into(),
            time: SystemTime::UNIX_EPOCH,
            agent: Some("ann".into()),
            identity: None,
            source: None,
            destination: None,
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
        let journal = super::super::Journal::open(folder.path(), super::super::Options::default()).unwrap();
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
        let mut lost = Exchange::new(decision("r", Verdict::Allow));
        let mut reported = decision("r", Verdict::Error);
        reported.reason = Some("internal_error".into());
        lost.correct(reported.clone());
        assert_eq!((lost.standing(), lost.decision.reason.as_deref()), (Standing::Failed, Some("internal_error")));
        assert_eq!(lost.decision.agent.as_deref(), Some("ann"), "what was known stays");
        let mut refused = Exchange::new(decision("r", Verdict::Deny));
        refused.correct(reported);
        assert_eq!(refused.standing(), Standing::Blocked);
    }

    #[test]
    fn what_is_unknown_is_known_as_soon_as_somebody_says_it() {
        let folder = tempfile::tempdir().unwrap();
        let journal = super::super::Journal::open(folder.path(), super::super::Options::default()).unwrap();
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
            let mut exchange = Exchange::new(decision("r", before));
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
            let outcome = Some(outcome("r", status, flags));
            let exchange = Exchange { outcome, ..Exchange::new(decision("r", Verdict::Allow)) };
            assert_eq!(exchange.standing(), expected, "{status} {flags}");
        }
    }

    #[test]
    fn half_a_line_waits_for_its_rest_and_a_broken_one_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = File::create(folder.path().join(named(1))).unwrap();
        let line = serde_json::to_string(&Record::Decision(Box::new(decision("r1", Verdict::Deny)))).unwrap();
        let (first, rest) = line.split_at(20);
        file.write_all(b"{broken\n\n").unwrap();
        file.write_all(first.as_bytes()).unwrap();
        let mut reader = Reader::open(folder.path()).unwrap();
        assert_eq!(reader.poll(true, Instant::now()).unwrap(), []);
        file.write_all(rest.as_bytes()).unwrap();
        file.write_all(b"\n").unwrap();
        assert_eq!(reader.poll(true, Instant::now()).unwrap().len(), 1);
        assert_eq!(reader.unreadable(), 1);
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
        std::fs::write(folder.path().join(named(1)), lines).unwrap();
        let mut reader = Reader::open(folder.path()).unwrap();
        assert_eq!(reader.poll(true, Instant::now()).unwrap().len(), 0);
        assert_eq!(reader.unreadable(), 1, "the last one lacks what it must have");
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
            write(&mut File::create(folder.path().join(named(1))).unwrap(), records);
            let mut reader = Reader::open(folder.path()).unwrap();
            assert_eq!(replayed(&mut reader), shown, "{records}");
            assert_eq!(remaining(&mut reader), rest, "{records}");
        }
    }

    #[test]
    fn a_refusal_of_long_ago_does_not_wait_again() {
        let folder = tempfile::tempdir().unwrap();
        write(&mut File::create(folder.path().join(named(1))).unwrap(), "!a +b");
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
            write(&mut File::create(folder.path().join(named(1))).unwrap(), records);
            let mut reader = Reader::open(folder.path()).unwrap();
            reader.window = 2;
            assert_eq!(replayed(&mut reader), shown, "{records}");
            assert_eq!(remaining(&mut reader), rest, "{records}");
            assert!(reader.places.is_empty());
        }
    }

    #[test]
    fn an_outcome_may_be_in_the_next_file() {
        let folder = tempfile::tempdir().unwrap();
        let create = |index: usize| File::create(folder.path().join(named(index))).unwrap();
        write(&mut create(0), "+a +b -b");
        write(&mut create(1), "-a +c -c");
        let mut reader = Reader::open(folder.path()).unwrap();
        assert_eq!(replayed(&mut reader), ["a", "b", "c"]);
        create(2).write_all(b"{torn").unwrap();
        assert_eq!(replayed(&mut reader), [""; 0]);
        assert_eq!(reader.unreadable(), 0, "it may yet be written to its end");
        write(&mut create(3), "+d -d");
        assert_eq!((replayed(&mut reader), reader.unreadable()), (vec!["d".to_owned()], 1));
    }

    #[test]
    fn a_sieve_keeps_what_is_about_what_it_let_through() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = File::create(folder.path().join(named(1))).unwrap();
        write(&mut file, "+a +b +c -a !b -c -b +d");
        let sieve = |line: &[u8]| line.starts_with(br#"{"type":"decision","requestId":"b""#);
        let mut reader = Reader::open(folder.path()).unwrap().only(Some(Box::new(sieve)));
        let all = reader.poll(true, Instant::now()).unwrap();
        assert_eq!(all.len(), 1);
        let Exchange { decision, outcome, .. } = &all[0];
        assert_eq!((&*decision.request_id, decision.decision, outcome.is_some()), ("b", Verdict::Deny, true));
    }
}
