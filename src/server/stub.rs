//! Which names there are for agents whose traffic is redirected: those that policy could allow. Other attempts are on
//! record.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::record::{unique, wall};
use crate::dns_stub::{Admission, How, Names, Question};
use crate::journal::Journal;
use crate::live::Live;
use crate::pipeline::agent::Origin;
use crate::pipeline::audit::{DecisionRecord, Verdict};
use crate::pipeline::message::{Fields, Host};
use crate::pipeline::policy::{Reason, Ruleset};
use crate::pipeline::untold::Words;
use crate::telemetry::Telemetry;

/// Asks the policy in force.
pub struct Stub {
    live: Arc<Live>,
    journal: Arc<Journal>,
    telemetry: Telemetry,
    /// The domains that the system's resolver tries behind a name (resolv.conf(5), `search`).
    search: Vec<String>,
    refused: Mutex<Refused>,
}

/// For how long the same name is one attempt: clients ask for two types, and each of them again.
const ONE_ATTEMPT: Duration = Duration::from_secs(10);
/// How many refused names go on record a second, and at once. Who asks for more gets no answer: a name that is not
/// answered has told nobody anything, and the record of it cannot be made a flood.
const RATE: u32 = 20;
const BURST: u32 = 200;

impl Stub {
    /// Looks names up in the policy in force, and nowhere else.
    pub fn new(live: Arc<Live>, journal: Arc<Journal>, telemetry: Telemetry) -> Self {
        let search = hickory_resolver::system_conf::read_system_conf();
        let search = search.map(|(config, _)| config.search().iter().map(|domain| plain(&domain.to_ascii())).collect());
        let refused = Mutex::new(Refused::new(Instant::now()));
        Self { live, journal, telemetry, search: search.unwrap_or_default(), refused }
    }

    /// The name without a domain that the system's resolver has put behind it.
    fn typed<'n>(&self, name: &'n str) -> &'n str {
        let stripped = self.search.iter().filter_map(|domain| name.strip_suffix(domain.as_str())?.strip_suffix('.'));
        stripped.min_by_key(|typed| typed.len()).unwrap_or(name)
    }
}

impl Names for Stub {
    fn admit(&self, question: &Question<'_>) -> Admission {
        let live = self.live.load();
        let rules = &live.rules;
        let decide = |name: &str| match Host::parse(name) {
            Ok(host @ Host::Name(_)) => rules.decide_name(&host).map_err(|denial| (denial.reason, denial.rule)),
            // A name that is spelt like an address is none.
            _ => Err((Reason::MalformedAuthority, None)),
        };
        let Err((reason, rule)) = decide(question.name) else { return Admission::Exists };
        let typed = self.typed(question.name);
        // The resolver tries its own domains first: the name itself comes next.
        if typed != question.name && decide(typed).is_ok() {
            return Admission::Unknown;
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = match refused.note(typed, Instant::now()) {
            Noted::Again => return Admission::Unknown,
            Noted::TooMany => return Admission::Silence,
            Noted::New { missed } => missed,
        };
        let mut record = refusal(rules, question, reason);
        record.rule = rule;
        if missed > 0 {
            let more = format!("; {missed} questions before it were too many to be answered");
            record.detail = record.detail.map(|detail| (detail.into_string() + &more).into());
        }
        match self.journal.append(&record) {
            Ok(_) => Admission::Unknown,
            Err(error) => {
                tracing::debug!(%error, "the refusal of a name cannot be put on record");
                refused.forget(typed, missed);
                Admission::Silence
            }
        }
    }

    fn answered(&self, how: How) {
        self.telemetry.dns(how.as_str());
    }
}

fn refusal(rules: &Ruleset, question: &Question<'_>, reason: Reason) -> DecisionRecord {
    let (agents, now) = (&rules.agents, wall());
    let source = question.source.to_string();
    let origin = Origin { source: Some(&source), ..Origin::unknown(now) };
    let caller = agents.identify_fields(&Fields::default(), false, &origin).ok().flatten();
    let mut record = DecisionRecord {
        agent: caller.as_ref().map(|caller| agents.name(caller.agent).clone()),
        identity: caller.as_ref().map(|caller| caller.how.as_str().into()),
        source: Some(source.into()),
        method: "DNS".into(),
        host: question.name.into(),
        reason: Some(reason.as_str().into()),
        detail: Some(format!("asked for {}", question.kind).into()),
        ..DecisionRecord::new(unique("dns"), now, Verdict::Deny, rules.revision.clone())
    };
    let agent = caller.map(|caller| caller.agent).or(agents.fixed());
    Words::from(&mut record).leave_out(|text| rules.finds(agent, text));
    record
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The names that were refused lately.
struct Refused {
    names: HashMap<Box<str>, Instant>,
    /// Records that may be made now.
    tokens: u32,
    filled: Instant,
    /// Questions that were not answered since the last record.
    missed: u64,
}

/// What to do about a refused name.
#[derive(Debug, PartialEq, Eq)]
enum Noted {
    /// It goes on record, with how many did not before it.
    New { missed: u64 },
    /// It is on record already.
    Again,
    /// There are too many.
    TooMany,
}

impl Refused {
    fn new(now: Instant) -> Self {
        Self { names: HashMap::new(), tokens: BURST, filled: now, missed: 0 }
    }

    fn note(&mut self, name: &str, now: Instant) -> Noted {
        if self.names.get(name).is_some_and(|since| now.saturating_duration_since(*since) < ONE_ATTEMPT) {
            return Noted::Again;
        }
        let seconds = now.saturating_duration_since(self.filled).as_secs();
        if seconds > 0 {
            let more = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(RATE);
            self.tokens = self.tokens.saturating_add(more).min(BURST);
            self.filled += Duration::from_secs(seconds);
            // No more than a burst and what came in the time of one attempt.
            self.names.retain(|_, since| now.saturating_duration_since(*since) < ONE_ATTEMPT);
        }
        let Some(left) = self.tokens.checked_sub(1) else {
            self.missed += 1;
            return Noted::TooMany;
        };
        self.tokens = left;
        self.names.insert(name.into(), now);
        Noted::New { missed: std::mem::take(&mut self.missed) }
    }

    /// The record of a new name could not be made: neither it nor those that were missed before it are on record.
    fn forget(&mut self, name: &str, missed: u64) {
        self.names.remove(name);
        self.missed += missed + 1;
    }
}

/// Answers agents' questions for names on these addresses.
pub async fn start(
    addresses: &[SocketAddr],
    names: Stub,
    stop: &tokio::sync::watch::Receiver<bool>,
) -> Result<(), super::ServeError> {
    let stub = crate::dns_stub::Stub::bind(addresses).await;
    let stub =
        stub.map_err(|(address, source)| super::ServeError::Listen { address: format!("{address} (DNS)"), source })?;
    let names: Arc<dyn Names> = Arc::new(names);
    stub.serve(&names, stop);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_attempt_however_often_it_is_asked_for() {
        let begin = Instant::now();
        let mut refused = Refused::new(begin);
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(refused.note("a.example", begin), Noted::New { missed: 0 });
        assert_eq!(refused.note("a.example", after(9)), Noted::Again);
        assert_eq!(refused.note("b.example", after(9)), Noted::New { missed: 0 });
        assert_eq!(refused.note("a.example", after(10)), Noted::New { missed: 0 });
    }

    #[test]
    fn a_name_without_its_record_is_a_new_one_when_it_is_asked_for_again() {
        let begin = Instant::now();
        let mut refused = Refused::new(begin);
        assert_eq!(refused.note("a.example", begin), Noted::New { missed: 0 });
        refused.forget("a.example", 0);
        assert_eq!(refused.note("a.example", begin), Noted::New { missed: 1 });
        assert_eq!(refused.note("a.example", begin), Noted::Again);
    }

    #[test]
    fn a_flood_of_names_is_a_trickle_of_records_that_say_how_many_there_were() {
        let begin = Instant::now();
        let mut refused = Refused::new(begin);
        let mut asked = 0..;
        let mut ask = |at| {
            let name = format!("{}.evil.example", asked.next().unwrap());
            refused.note(&name, begin + Duration::from_millis(at))
        };
        assert!((0..BURST).all(|_| ask(0) == Noted::New { missed: 0 }));
        assert!((0..1000).all(|_| ask(999) == Noted::TooMany));
        assert_eq!(ask(1000), Noted::New { missed: 1000 });
        assert!((1..RATE).all(|_| ask(1000) == Noted::New { missed: 0 }));
        assert_eq!(ask(1000), Noted::TooMany);
        assert_eq!(ask(60_000), Noted::New { missed: 1 });
        assert!(refused.names.len() <= 2, "{}", refused.names.len());
    }
}
