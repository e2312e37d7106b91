//! Tells people what waits for them and what became of it: in the record, in the service's own log, in metrics.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::ext_proc::Herald;
use crate::journal::Journal;
use crate::pipeline::approval::{About, Answered, Fingerprint, Petition, Standing, Ticket, Verdict};
use crate::pipeline::audit::{self, ApprovalEvent, ApprovalRecord, DecisionRecord, Record, redacted_query};
use crate::store::{Open, Store};
use crate::telemetry::Telemetry;

/// How often it is looked at what waits, and for how long.
const GLANCE: Duration = Duration::from_secs(1);

/// Says what happens to the questions that people are asked.
pub struct Crier {
    journal: Arc<Journal>,
    /// The questions this service asked, until one request went out for them or they expired.
    asked: Mutex<HashMap<Ticket, Asked>>,
}

struct Asked {
    fingerprint: Fingerprint,
    about: Arc<About>,
    approved: bool,
    /// One request went out for it, and whoever approved it is not through yet.
    used: bool,
    until: SystemTime,
}

impl Crier {
    pub fn new(journal: Arc<Journal>) -> Self {
        Self { journal, asked: Mutex::default() }
    }

    /// A person has answered a question.
    pub fn answered(&self, open: &Open, verdict: Verdict) {
        let Open { ticket, about, standing, expires, .. } = open;
        let mut known = self.asked();
        let fingerprint = known.get_mut(ticket).map(|asked| {
            asked.approved = verdict == Verdict::Approve;
            asked.until = *expires;
            asked.fingerprint
        });
        if known.get(ticket).is_some_and(|asked| asked.used) {
            known.remove(ticket);
        }
        drop(known);
        let answered = match standing {
            Standing::Approved(answered) | Standing::Refused(answered) => Some(answered),
            Standing::Pending | Standing::Expired => None,
        };
        let event = match verdict {
            Verdict::Approve => ApprovalEvent::Approved,
            Verdict::Refuse => ApprovalEvent::Refused,
        };
        let by = answered.map(|answered| &*answered.by).unwrap_or_default();
        tracing::info!(%ticket, by, agent = %about.agent, "a person answered: {}", word(event));
        self.record(ApprovalRecord { fingerprint: fingerprint.map(text), ..about_it(ticket, event, about, answered) });
    }

    /// Shows how much waits, and notes what nobody answered in time, until the process ends.
    pub async fn watch(self: Arc<Self>, store: Arc<dyn Store>, telemetry: Telemetry) {
        loop {
            tokio::time::sleep(GLANCE).await;
            match store.pending().await {
                Ok(pending) => telemetry.approvals(pending.count, pending.oldest),
                Err(error) => {
                    tracing::debug!(%error, "it is not known how many requests wait for a person");
                    continue;
                }
            }
            let now = SystemTime::now();
            if self.asked().values().all(|asked| now < asked.until) {
                continue;
            }
            // Answered through another service, say: then it counts for longer.
            if let Ok(open) = store.list().await {
                self.expire(&open, now);
            }
        }
    }

    fn expire(&self, open: &[Open], now: SystemTime) {
        let mut over = Vec::new();
        self.asked().retain(|ticket, asked| {
            if let Some(open) = open.iter().find(|open| open.ticket == *ticket) {
                asked.until = open.expires;
                asked.approved = matches!(open.standing, Standing::Approved(_));
            }
            let keep = now < asked.until;
            if !keep {
                over.push((ticket.clone(), asked.about.clone(), asked.fingerprint));
            }
            keep
        });
        for (ticket, about, fingerprint) in over {
            tracing::info!(%ticket, agent = %about.agent, "the question has expired");
            let record = about_it(&ticket, ApprovalEvent::Expired, &about, None);
            self.record(ApprovalRecord { fingerprint: Some(text(fingerprint)), ..record });
        }
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<Ticket, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, record: ApprovalRecord) {
        // Whatever goes out for an approval has a record of its own, with the answer in it, or does not go out.
        if let Err(error) = self.journal.append(&Record::Approval(Box::new(record))) {
            tracing::error!(%error, "what happened to an approval cannot be put on record");
        }
    }
}

impl Herald for Crier {
    fn asked(&self, ticket: &Ticket, petition: &Petition, expires: Duration, request_id: &Arc<str>) {
        let Petition { about, fingerprint, .. } = petition;
        tracing::info!(
            %ticket, agent = %about.agent, method = %about.method, host = %about.host, path = %about.path,
            expires = ?expires, "a request waits for approval: `attache approvals show {ticket}`"
        );
        self.record(ApprovalRecord {
            fingerprint: Some(text(*fingerprint)),
            request_id: Some(request_id.clone()),
            ..about_it(ticket, ApprovalEvent::Asked, about, None)
        });
        let until = SystemTime::now() + expires;
        let asked =
            Asked { fingerprint: *fingerprint, about: Arc::new(about.clone()), approved: false, used: false, until };
        self.asked().insert(ticket.clone(), asked);
    }

    fn decided(&self, record: &DecisionRecord) {
        if let (Some(approval), audit::Verdict::Allow) = (&record.approval, record.decision) {
            let mut asked = self.asked();
            match asked.get_mut(&approval.ticket) {
                Some(known) if known.approved => drop(asked.remove(&approval.ticket)),
                // Either whoever approved it is about to say so, or another request has opened it anew.
                Some(known) => known.used = true,
                None => {}
            }
        }
    }
}

fn about_it(ticket: &Ticket, event: ApprovalEvent, about: &About, answered: Option<&Answered>) -> ApprovalRecord {
    ApprovalRecord {
        ticket: ticket.clone(),
        time: SystemTime::now(),
        event,
        agent: about.agent.clone(),
        method: about.method.clone(),
        scheme: about.scheme.into(),
        host: about.host.clone(),
        port: about.port,
        path: about.path.clone(),
        query: about.query.as_deref().map(redacted_query),
        body_sha256: hex(&about.body_sha256).into(),
        rules: about.rules.clone(),
        fingerprint: None,
        by: answered.map(|answered| answered.by.clone()),
        why: answered.and_then(|answered| answered.why.clone()),
        request_id: None,
    }
}

fn word(event: ApprovalEvent) -> &'static str {
    match event {
        ApprovalEvent::Asked => "asked",
        ApprovalEvent::Approved => "approved",
        ApprovalEvent::Refused => "refused",
        ApprovalEvent::Expired => "expired",
    }
}

fn text(fingerprint: Fingerprint) -> Box<str> {
    fingerprint.to_string().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
