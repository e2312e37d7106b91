//! Tells people what waits for them, what became of it, and what was refused: in the record, in the service's own
//! log, by webhook.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::ext_proc::Herald;
use crate::journal::Journal;
use crate::notify::{ApprovalDecided, ApprovalRequested, Event, Kind, Notifier};
use crate::pipeline::approval::{About, Fingerprint, Petition, Standing, Ticket};
use crate::pipeline::audit::{ApprovalEvent, ApprovalRecord, DecisionRecord, Record, Verdict, redacted_query};
use crate::store::{Open, Store};
use crate::telemetry::Telemetry;

/// How often it is looked at what waits, and for how long.
const GLANCE: Duration = Duration::from_secs(1);

/// Says what happens to the questions that people are asked.
pub struct Crier {
    journal: Arc<Journal>,
    notifier: Notifier,
    /// The questions this service asked, until one request went out for them or their time is over.
    asked: Mutex<HashMap<Ticket, Asked>>,
}

struct Asked {
    fingerprint: Fingerprint,
    about: Arc<About>,
    /// Whom the rules tell.
    notify: Vec<Arc<str>>,
    standing: Standing,
    until: SystemTime,
    /// A request went out for it before it was heard here that somebody had agreed.
    used: bool,
}

impl Herald for Crier {
    fn asked(&self, ticket: &Ticket, petition: &Petition, expires: Duration) {
        let Petition { about, fingerprint, notify, .. } = petition;
        tracing::info!(
            %ticket, agent = %about.agent, method = %about.method, host = %about.host, path = %about.path,
            expires = ?expires, "a request waits for approval: `attache approvals show {ticket}`"
        );
        let until = SystemTime::now() + expires;
        self.record(ticket, about, Some(*fingerprint), &Standing::Pending);
        let event = ApprovalRequested::new(ticket, about, until);
        self.notifier.send(Event::ApprovalRequested(Box::new(event)), notify);
        let asked = Asked {
            fingerprint: *fingerprint,
            about: Arc::new(about.clone()),
            notify: notify.clone(),
            standing: Standing::Pending,
            until,
            used: false,
        };
        self.questions().insert(ticket.clone(), asked);
    }

    fn decided(&self, record: &DecisionRecord) {
        if matches!(record.decision, Verdict::Deny | Verdict::RateLimited) && self.notifier.wants(Kind::Blocked) {
            const EVERYBODY: [&str; 0] = [];
            self.notifier.send(Event::Blocked(Box::new(record.clone())), &EVERYBODY);
        }
        let (Some(approval), Verdict::Allow) = (&record.approval, record.decision) else { return };
        let mut questions = self.questions();
        match questions.get_mut(&approval.ticket) {
            Some(Asked { standing: Standing::Approved(_), .. }) => drop(questions.remove(&approval.ticket)),
            // Either whoever agreed is about to be heard, or another request has opened it anew.
            Some(asked) => asked.used = true,
            None => {}
        }
    }
}

impl Crier {
    pub fn new(journal: Arc<Journal>, notifier: Notifier) -> Self {
        Self { journal, notifier, asked: Mutex::default() }
    }

    /// A person has answered a question.
    pub fn answered(&self, open: &Open) {
        let Open { ticket, about, standing, expires, .. } = open;
        let (mut fingerprint, mut notify) = (None, Vec::new());
        let mut questions = self.questions();
        if let Some(asked) = questions.get_mut(ticket) {
            fingerprint = Some(asked.fingerprint);
            notify = asked.notify.clone();
            asked.standing = standing.clone();
            asked.until = *expires;
            if asked.used {
                questions.remove(ticket);
            }
        }
        drop(questions);
        self.end(ticket, about, fingerprint, standing, &notify);
    }

    /// Shows how much waits, and notes what nobody answered in time, until the process ends.
    pub async fn watch(self: Arc<Self>, store: Arc<dyn Store>, telemetry: Telemetry) {
        loop {
            tokio::time::sleep(GLANCE).await;
            match store.pending().await {
                Ok(pending) => telemetry.approvals(pending.count, pending.oldest),
                Err(error) => tracing::debug!(%error, "it is not known how many requests wait for a person"),
            }
            let now = SystemTime::now();
            if self.questions().values().all(|asked| now < asked.until) {
                continue;
            }
            // What was answered through another service counts for longer.
            if let Ok(open) = store.list().await {
                self.expire(&open, now);
            }
        }
    }

    fn expire(&self, open: &[Open], now: SystemTime) {
        let mut questions = self.questions();
        for open in open {
            if let Some(asked) = questions.get_mut(&open.ticket) {
                asked.until = open.expires;
                asked.standing = open.standing.clone();
            }
        }
        let over: Vec<_> = questions.extract_if(|_, asked| asked.until <= now).collect();
        drop(questions);
        for (ticket, asked) in over {
            let Asked { fingerprint, about, notify, standing, .. } = asked;
            // A refusal has been told.
            if !matches!(standing, Standing::Refused(_)) {
                self.end(&ticket, &about, Some(fingerprint), &Standing::Expired, &notify);
            }
        }
    }

    fn end(
        &self,
        ticket: &Ticket,
        about: &About,
        fingerprint: Option<Fingerprint>,
        standing: &Standing,
        notify: &[Arc<str>],
    ) {
        let record = self.record(ticket, about, fingerprint, standing);
        let by = record.by.as_deref().unwrap_or_default();
        tracing::info!(%ticket, agent = %about.agent, end = ?record.event, by, "a question has ended");
        if let Some(event) = ApprovalDecided::new(ticket, about, standing) {
            self.notifier.send(Event::ApprovalDecided(Box::new(event)), notify);
        }
    }

    fn record(
        &self,
        ticket: &Ticket,
        about: &About,
        fingerprint: Option<Fingerprint>,
        standing: &Standing,
    ) -> ApprovalRecord {
        let (event, answered) = match standing {
            Standing::Pending => (ApprovalEvent::Asked, None),
            Standing::Approved(answered) => (ApprovalEvent::Approved, Some(answered)),
            Standing::Refused(answered) => (ApprovalEvent::Refused, Some(answered)),
            Standing::Expired => (ApprovalEvent::Expired, None),
        };
        let record = ApprovalRecord {
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
            body_sha256: about.body_sha256.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
            rules: about.rules.clone(),
            fingerprint: fingerprint.map(|fingerprint| fingerprint.to_string().into()),
            by: answered.map(|answered| answered.by.clone()),
            why: answered.and_then(|answered| answered.why.clone()),
        };
        // Whatever goes out for an approval has a record of its own, with the answer in it, or does not go out.
        if let Err(error) = self.journal.append(&Record::Approval(Box::new(record.clone()))) {
            tracing::error!(%error, "what happened to an approval cannot be put on record");
        }
        record
    }

    fn questions(&self) -> MutexGuard<'_, HashMap<Ticket, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
