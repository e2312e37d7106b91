//! Is the record complete? What Envoy says of the requests it forwarded, held against what was decided.
//!
//! Envoy tells the end of each exchange twice: at once on a stream ([`crate::access_log`]), which loses what it cannot
//! deliver, and in a file. What the stream has lost is filled in from the file; what neither can say any more becomes
//! `unknown`. What Envoy forwarded without a decision raises an alarm.

mod entry;
mod envoys;
mod file;
mod open;
mod past;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::journal::Journal;
use crate::live::Live;
use crate::pipeline::audit::{
    DecisionRecord, InspectionAction, InspectionRecord, OutcomeRecord, Record, Verdict, redacted_authority,
    redacted_target,
};
use crate::pipeline::policy::{Class, Reason};
use crate::pipeline::untold::Words;
use crate::telemetry::Telemetry;
pub use entry::Entry;
pub use envoys::{Connection, Envoys};
use open::{Known, Mark, Open};
pub use watch::{Source, Watch};

/// The name of Envoy's file, in the directory of the service's socket.
pub const ENVOY_FILE: &str = "envoy-access.jsonl";

/// What Envoy was told of a request whose body was awaited.
const PENDING: &str = "pending";

/// So many alarms are told of one by one; then those of which the number is a power of two.
const SINGLY: u64 = 100;

const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// Knows which exchanges are open, and puts on record how they end.
pub struct Ledger {
    journal: Arc<Journal>,
    live: Arc<Live>,
    telemetry: Telemetry,
    open: Open,
    envoys: Arc<Envoys>,
    /// Whether it has been said that there are too many to watch.
    is_full: AtomicBool,
    /// Requests that were forwarded without a decision.
    alarms: AtomicU64,
}

/// What Envoy says of a request that has ended.
#[derive(Debug)]
pub struct Report<'a> {
    /// How it ended.
    pub outcome: OutcomeRecord,
    /// What attaché decided, as it came back from Envoy; none where it was not asked, or gave no verdict.
    pub decision: Option<&'a str>,
    /// What came was no HTTP.
    pub protocol_error: bool,
    /// What was asked, for where no decision says it.
    pub asked: Asked<'a>,
}

/// A request as Envoy reports it; empty is what is not known.
#[derive(Debug, Default)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// `https` or `http`.
    pub scheme: &'a str,
    /// Host and port, user information included.
    pub authority: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Where the agent called from.
    pub source: Option<SocketAddr>,
}

impl Ledger {
    /// Puts on record in `journal`, from which people are told of what was forwarded without a decision.
    pub fn new(journal: Arc<Journal>, live: Arc<Live>, telemetry: Telemetry) -> Self {
        let (open, envoys) = (Open::default(), Arc::default());
        let (is_full, alarms) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { journal, live, telemetry, open, envoys, is_full, alarms }
    }

    /// Envoy's connections to the service.
    pub fn envoys(&self) -> &Arc<Envoys> {
        &self.envoys
    }

    /// A decision is about to be put on record: if it lets its request go, Envoy owes the outcome.
    pub fn decides(&self, record: &DecisionRecord) {
        if record.decision != Verdict::Allow {
            return;
        }
        let watched = self.open.begin(&record.request_id, Mark::Below(self.envoys.next()), Instant::now());
        if !watched && !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::error!("too many exchanges are open: that the outcome of a further one is lost may go unnoticed");
        }
    }

    /// It is on record. What takes an allow back that did not get onto the disk leaves nothing open.
    pub fn recorded(&self, record: &DecisionRecord) {
        if record.decision == Verdict::Error && record.reason.as_deref() == Some(Reason::RecordFailed.as_str()) {
            self.open.forget(&record.request_id);
        }
    }

    /// One of its messages was cut off, which is on record.
    pub fn inspected(&self, record: &InspectionRecord) {
        if record.action == InspectionAction::Blocked {
            self.open.cut(&record.request_id);
        }
    }

    /// It could not be put on record, and was not carried out: Envoy's report of the refusal is to be the record, also
    /// where the disk is well again by then.
    pub fn failed(&self, record: &DecisionRecord) {
        self.open.begin(&record.request_id, Mark::Below(self.envoys.next()), Instant::now());
    }

    /// Takes what Envoy reports, and adds what is to be put on record. True if nothing else has that on record.
    pub fn take(&self, report: Report<'_>, records: &mut Vec<Record>) -> bool {
        // A decision that Envoy names and nobody here knows is not believed for that: the file, which comes later, is
        // held against the record.
        let is_news = report.decision.is_none();
        let went_nowhere = report.decision != Some("allow") && report.outcome.upstream.is_none();
        // It had no verdict. Whether that is on record, or the service died before, the journal knows.
        let is_unsettled = report.decision == Some(PENDING);
        let anybody = (is_news || went_nowhere) && !is_unsettled;
        let known = self.open.finish(&report.outcome.request_id, anybody, Instant::now());
        if known == Known::Over || (known == Known::Stranger && is_unsettled) {
            return false;
        }
        if is_news {
            let decision = if report.was_forwarded() { self.unreconciled(&report) } else { self.undecided(&report) };
            records.push(Record::Decision(Box::new(decision)));
        } else if known == Known::Running && went_nowhere {
            records.push(Record::Decision(Box::new(self.belated(&report))));
        }
        records.push(Record::Outcome(Box::new(report.outcome)));
        is_news
    }

    /// Takes a report of a request that Envoy says was decided, and that no record allows.
    fn disown(&self, report: Report<'_>, records: &mut Vec<Record>) {
        records.push(Record::Decision(Box::new(self.unreconciled(&report))));
        records.push(Record::Outcome(Box::new(report.outcome)));
    }

    /// Takes a report of a request that was refused while that could not be put on record.
    fn refused(&self, report: Report<'_>, records: &mut Vec<Record>) {
        records.push(Record::Decision(Box::new(self.belated(&report))));
        records.push(Record::Outcome(Box::new(report.outcome)));
    }

    /// The record of a refusal that has none, or whose record was last an allow that never got onto the disk.
    fn belated(&self, report: &Report<'_>) -> DecisionRecord {
        let detail = "what was decided could not be put on record at its time; the request went nowhere".into();
        let record = self.record(report, Verdict::Error, Reason::RecordFailed, detail);
        DecisionRecord { status: Some(report.outcome.status).filter(|status| *status != 0), ..record }
    }

    /// The record of a request that Envoy answered itself, before or instead of a decision.
    fn undecided(&self, report: &Report<'_>) -> DecisionRecord {
        let status = Some(report.outcome.status).filter(|status| *status != 0);
        let mut flags = report.outcome.flags.split(',');
        // The same words as in the bootstrap's own answers.
        let reason = match status {
            // 501 is Envoy's answer to a transfer coding that it does not know.
            Some(400..=499 | 501) => Reason::MalformedRequest,
            // It had no memory left, or too much under way.
            Some(_) if report.outcome.details == NO_MEMORY || flags.any(|flag| flag == "UO") => Reason::Overloaded,
            Some(_) => Reason::NoVerdict,
            None if report.protocol_error => Reason::MalformedRequest,
            None => Reason::ClientGone,
        };
        self.telemetry.undecided(reason.as_str());
        let decision = if reason.class() == Class::Unavailable { Verdict::Error } else { Verdict::Deny };
        let detail = report.outcome.details.clone().into();
        DecisionRecord { status, ..self.record(report, decision, reason, detail) }
    }

    /// The record of a request that no decision stands behind, and that went out all the same.
    fn unreconciled(&self, report: &Report<'_>) -> DecisionRecord {
        let place = report.outcome.upstream.as_deref().unwrap_or("nowhere, and answered it itself");
        let said =
            report.decision.map_or("envoy was given no decision", |_| "no record holds the decision envoy names");
        let detail = format!("{said}; the request went to {place}").into();
        let record = self.record(report, Verdict::Error, Reason::Unreconciled, detail);
        self.telemetry.unreconciled();
        let before = self.alarms.fetch_add(1, Ordering::Relaxed);
        // Where everything passes by, nobody reads more, and what people are told else must get through.
        if before >= SINGLY && !before.is_power_of_two() {
            return record;
        }
        tracing::error!(
            count = before + 1, request_id = %record.request_id, source = record.source.as_deref().unwrap_or_default(), host = %record.host,
            upstream = report.outcome.upstream.as_deref().unwrap_or_default(), status = report.outcome.status,
            "Envoy forwarded a request that was never decided: policy is bypassed; check its configuration with `attache envoy check`"
        );
        record
    }

    fn record(&self, report: &Report<'_>, decision: Verdict, reason: Reason, detail: Box<str>) -> DecisionRecord {
        let Report { outcome, asked, .. } = report;
        let (path, query) = redacted_target(asked.path);
        let live = self.live.load();
        let agents = &live.rules.agents;
        // Who showed what, Envoy does not say; a sidecar of one agent knows all the same.
        let agent = agents.fixed();
        let mut record = DecisionRecord {
            agent: agent.map(|id| agents.name(id).clone()),
            source: asked.source.map(|address| address.to_string().into()),
            method: asked.method.into(),
            scheme: Some(asked.scheme).filter(|s| !s.is_empty()).map(|s| s.to_owned().into()),
            host: redacted_authority(asked.authority).into(),
            path,
            query,
            reason: Some(reason.as_str().into()),
            detail: Some(detail),
            ..DecisionRecord::new(outcome.request_id.clone(), outcome.time, decision, live.rules.revision.clone())
        };
        Words::from(&mut record).leave_out(|text| live.rules.finds(agent, text));
        record
    }

    /// What was taken is on record.
    pub fn written(&self, records: &[Record]) {
        for record in records {
            if let Record::Outcome(outcome) = record {
                self.open.written(&outcome.request_id);
            }
        }
    }

    /// What was taken could not be put on record: the file, which has it too, is to bring it again.
    pub fn lost(&self, records: &[Record]) {
        for record in records {
            if let Record::Outcome(outcome) = record {
                self.open.forget(&outcome.request_id);
            }
        }
    }

    /// What nobody can say any more; forgets what need not be remembered.
    fn sweep(&self, now: Instant) -> Vec<Record> {
        let (lost, running) = self.open.sweep(self.envoys.oldest(), now);
        self.telemetry.open_exchanges(running);
        if !lost.is_empty() {
            tracing::warn!(
                count = lost.len(),
                "what became of some exchanges is unknown: the Envoy that had them is gone"
            );
        }
        let wall = SystemTime::now();
        let unknown = |id| {
            self.telemetry.outcome_unknown();
            Record::Outcome(Box::new(OutcomeRecord::unknown(id, wall)))
        };
        lost.into_iter().map(unknown).collect()
    }
}

impl Report<'_> {
    /// Whether it went further than Envoy: to an upstream, or to an answer that is neither ours nor a refusal.
    fn was_forwarded(&self) -> bool {
        self.outcome.upstream.is_some() || (100..400).contains(&self.outcome.status)
    }
}

/// What Envoy says (`%RESPONSE_CODE_DETAILS%`) of a request that it had no memory for.
const NO_MEMORY: &str = "overload";

/// False for what Envoy refuses before it asks: that has no id yet.
pub fn is_named(status: u16, details: &str) -> bool {
    !(400..500).contains(&status) && details != NO_MEMORY
}

/// The id of what has none: it is named after its start, in time since 1970, as the bootstrap's answer to it is.
pub fn unnamed(start: Duration) -> String {
    format!("envoy-{}{:09}", start.as_secs(), start.subsec_nanos())
}
