//! Tells people what waits for them, what became of it, and what was refused: in the record, in the service's own
//! log, by webhook.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::ext_proc::Herald;
use crate::journal::Journal;
use crate::live::Live;
use crate::notify::{ApprovalDecided, ApprovalRequested, Event, JournalFailed, Notifier};
use crate::pipeline::approval::{About, Fingerprint, Petition, Standing, Ticket};
use crate::pipeline::audit::{ApprovalEvent, ApprovalRecord, DecisionRecord, Record, Verdict, redacted_query};
use crate::store::{Open, Store};
use crate::telemetry::Telemetry;

/// How often it is looked at what waits, and for how long.
const GLANCE: Duration = Duration::from_secs(1);
/// How long the journal has to be written without an error before the next one is told.
const WELL: Duration = Duration::from_secs(60);

/// Tells people when records cannot be written: not each time, and again where it has gone well for a while.
pub async fn watch_journal(journal: Arc<Journal>, notifier: Notifier) {
    let (mut errors, mut failing): (u64, Option<Instant>) = (0, None);
    loop {
        tokio::time::sleep(GLANCE).await;
        let now = journal.facts().errors;
        if now > errors {
            if failing.is_none() {
                const EVERYBODY: [&str; 0] = [];
                notifier.send(Event::JournalFailed(JournalFailed { errors: now }), &EVERYBODY);
            }
            failing = Some(Instant::now());
        } else if failing.is_some_and(|since| since.elapsed() >= WELL) {
            failing = None;
        }
        errors = now;
    }
}

/// Says what happens to the questions that people are asked.
pub struct Crier {
    live: Arc<Live>,
    journal: Arc<Journal>,
    notifier: Notifier,
    telemetry: Telemetry,
    /// The questions this service asked, until one request went out for them or their time is over.
    asked: Mutex<HashMap<Ticket, Asked>>,
}

struct Asked {
    fingerprint: Fingerprint,
    /// As it may be told.
    about: Arc<About>,
    /// Whom the rules tell.
    notify: Vec<Arc<str>>,
    standing: Standing,
    until: SystemTime,
    /// A request went out for it before it was heard here that somebody had agreed. Where another service was told,
    /// it never is.
    used: bool,
}

impl Herald for Crier {
    fn asked(&self, ticket: &Ticket, petition: &Petition, expires: Duration) {
        let Petition { about, fingerprint, notify, .. } = petition;
        let about = &self.told(about);
        tracing::info!(
            %ticket, agent = %about.agent, method = %about.method, host = %about.host, path = %about.path,
            expires = ?expires, "a request waits for approval: `attache approvals show {ticket}`"
        );
        let until = SystemTime::now() + expires;
        self.record(ticket, about, Some(*fingerprint), &Standing::Pending, notify);
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
    /// Tells the journal and the notifier, and neither what the policy in force would not let out.
    pub fn new(live: Arc<Live>, journal: Arc<Journal>, notifier: Notifier, telemetry: Telemetry) -> Self {
        Self { live, journal, notifier, telemetry, asked: Mutex::default() }
    }

    /// What a question is about, for those who do not decide it.
    fn told(&self, about: &About) -> About {
        let live = self.live.load();
        let agent = live.rules.agents.find(&about.agent);
        about.told(|text| live.rules.finds(agent, text))
    }

    /// A person has answered a question.
    pub fn answered(&self, open: &Open) {
        let Open { ticket, about, standing, expires, .. } = open;
        let about = &self.told(about);
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
    pub async fn watch(self: Arc<Self>, store: Arc<dyn Store>) {
        loop {
            tokio::time::sleep(GLANCE).await;
            match store.pending().await {
                Ok(pending) => self.telemetry.approvals(pending.count, pending.oldest),
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
            let Asked { fingerprint, about, notify, standing, used, .. } = asked;
            // A refusal has been told, and what was used has had its end.
            if !used && !matches!(standing, Standing::Refused(_)) {
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
        let (record, is_on_record) = self.record(ticket, about, fingerprint, standing, notify);
        let by = record.by.as_deref().unwrap_or_default();
        tracing::info!(%ticket, agent = %about.agent, end = ?record.event, by, "a question has ended");
        // What is on record is told from there.
        if !is_on_record && let Some(event) = ApprovalDecided::new(ticket, about, standing) {
            self.notifier.send(Event::ApprovalDecided(Box::new(event)), notify);
        }
    }

    fn record(
        &self,
        ticket: &Ticket,
        about: &About,
        fingerprint: Option<Fingerprint>,
        standing: &Standing,
        notify: &[Arc<str>],
    ) -> (ApprovalRecord, bool) {
        let (event, answered) = match standing {
            Standing::Pending => (ApprovalEvent::Asked, None),
            Standing::Approved(answered) => (ApprovalEvent::Approved, Some(answered)),
            Standing::Refused(answered) => (ApprovalEvent::Refused, Some(answered)),
            Standing::Expired => (ApprovalEvent::Expired, None),
        };
        self.telemetry.approval(event.as_str());
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
            notify: notify.to_vec(),
        };
        // Whatever goes out for an approval has a record of its own, with the answer in it, or does not go out.
        let appended = self.journal.append(&Record::Approval(Box::new(record.clone())));
        if let Err(error) = &appended {
            tracing::error!(%error, "what happened to an approval cannot be put on record");
        }
        (record, appended.is_ok())
    }

    fn questions(&self) -> MutexGuard<'_, HashMap<Ticket, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use crate::notify::Timing;
    use crate::pipeline::approval::Answered;
    use crate::pipeline::audit::ApprovalNote;
    use crate::secrets::Environment;
    use crate::sinks::{Pace, Room};
    use crate::telemetry::Settings;

    use super::*;
    use crate::journal::{Options, segment};
    use crate::live::InForce;

    struct Place {
        folder: tempfile::TempDir,
        crier: Crier,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let journal = Arc::new(Journal::open(folder.path(), Options::default()).unwrap());
            let environment = Arc::new(Environment::default());
            let observe: crate::notify::Observe = Arc::new(|_, _| {});
            let room = Room::new(journal.clone(), Pace::default()).unwrap();
            let notifier = Notifier::new(crate::https::Trust::System, environment, Timing::default(), observe, room);
            Self {
                folder,
                crier: Crier::new(
                    Arc::new(Live::new(InForce::default())),
                    journal,
                    notifier,
                    Telemetry::new(&Settings::default()).unwrap(),
                ),
            }
        }

        fn ask(&self) {
            let petition = Petition {
                fingerprint: Fingerprint([7; 32]),
                about: (*about()).clone(),
                hold: Duration::ZERO,
                expires: Duration::from_secs(60),
                notify: Vec::new(),
            };
            self.crier.asked(&"apr_1".into(), &petition, petition.expires);
        }

        fn answer(&self, standing: Standing) {
            let now = SystemTime::now();
            let expires = now + Duration::from_secs(60);
            self.crier.answered(&Open {
                ticket: "apr_1".into(),
                about: about(),
                standing,
                asked: now,
                expires,
                waiting: 0,
            });
        }

        fn send(&self) {
            let mut record = DecisionRecord::new("r1".into(), SystemTime::now(), Verdict::Allow, "p".into());
            record.approval = Some(ApprovalNote { ticket: "apr_1".into(), by: None, why: None });
            self.crier.decided(&record);
        }

        /// What is on record once an hour is over.
        fn events(&self) -> Vec<ApprovalEvent> {
            self.crier.expire(&[], SystemTime::now() + Duration::from_secs(3600));
            assert!(self.crier.questions().is_empty());
            let file = segment::list(self.folder.path()).unwrap().remove(0).path;
            let text = std::fs::read_to_string(file).unwrap();
            // The first line is the journal's own.
            let events = text.lines().skip(1).map(|line| match serde_json::from_str(line).unwrap() {
                Record::Approval(record) => record.event,
                other => panic!("{other:?}"),
            });
            events.collect()
        }
    }

    fn about() -> Arc<About> {
        Arc::new(About {
            agent: "ann".into(),
            rules: vec!["r".into()],
            method: "GET".into(),
            scheme: "https",
            host: "a.example".into(),
            port: 443,
            path: "/".into(),
            query: None,
            content_type: None,
            fields: Vec::new(),
            body_bytes: 0,
            body_sha256: [0; 32],
            body_preview: Box::default(),
        })
    }

    fn answered() -> Answered {
        Answered { by: "bob".into(), why: None }
    }

    #[tokio::test]
    async fn a_question_ends_once() {
        use ApprovalEvent::{Approved, Asked, Expired, Refused};
        type Steps = fn(&Place);
        let cases: [(&str, Steps, &[ApprovalEvent]); 7] = [
            ("nobody answers", |_| {}, &[Asked, Expired]),
            ("refused", |place| place.answer(Standing::Refused(answered())), &[Asked, Refused]),
            (
                "approved and not used",
                |place| place.answer(Standing::Approved(answered())),
                &[Asked, Approved, Expired],
            ),
            (
                "approved and used",
                |place| {
                    place.answer(Standing::Approved(answered()));
                    place.send();
                },
                &[Asked, Approved],
            ),
            (
                "used before it is heard that somebody agreed",
                |place| {
                    place.send();
                    place.answer(Standing::Approved(answered()));
                },
                &[Asked, Approved],
            ),
            ("used, with what another service was told", Place::send, &[Asked]),
            (
                "used, and opened anew by one more that waits",
                |place| {
                    place.answer(Standing::Approved(answered()));
                    place.send();
                    place.ask();
                },
                &[Asked, Approved, Asked, Expired],
            ),
        ];
        for (case, steps, expected) in cases {
            let place = Place::new();
            place.ask();
            steps(&place);
            assert_eq!(place.events(), expected, "{case}");
        }
    }
}
