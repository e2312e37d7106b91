//! Which TLS names there are certificates for: those that policy could allow. Other attempts are on record.

use std::sync::Arc;

use tokio::sync::watch;

use super::record::{record_alone, wall};
use crate::certificates::discovery::{Admission, Issued, NameGate, ServerName};
use crate::journal::Journal;
use crate::live::Live;
use crate::pipeline::audit::{DecisionRecord, Verdict};
use crate::pipeline::message::Host;
use crate::pipeline::policy::Reason;
use crate::pipeline::untold::Words;
use crate::telemetry::Telemetry;

/// Asks the policy in force.
pub struct Gate {
    pub live: Arc<Live>,
    pub journal: Arc<Journal>,
    pub telemetry: Telemetry,
}

impl NameGate for Gate {
    fn admit(&self, name: ServerName<'_>) -> Admission {
        let rules = &self.live.load().rules;
        match name {
            ServerName::Named(name) => match Host::parse(name) {
                Ok(host) if rules.may_intercept(&host) => Admission::Mint,
                _ => Admission::Refuse(Reason::CertificateRefused.as_str()),
            },
            ServerName::Absent => match rules.literal_hosts() {
                none if none.is_empty() => Admission::Refuse(Reason::CertificateRefused.as_str()),
                addresses => Admission::MintAddresses(addresses),
            },
        }
    }

    fn refused(&self, name: &str, reason: &'static str) {
        self.telemetry.certificate("refused");
        let live = self.live.load();
        let agents = &live.rules.agents;
        // Envoy asks for a name, not for a caller: only a sidecar of one agent knows whose handshake it was.
        let agent = agents.fixed();
        let mut record = DecisionRecord {
            agent: agent.map(|id| agents.name(id).clone()),
            method: "TLS".into(),
            scheme: Some("https".into()),
            host: name.into(),
            reason: Some(reason.into()),
            ..DecisionRecord::new(
                format!("tls-{}", unique()).into(),
                wall(),
                Verdict::Deny,
                live.rules.revision.clone(),
            )
        };
        Words::from(&mut record).leave_out(|text| live.rules.finds(agent, text));
        record_alone(&self.journal, record);
    }

    fn issued(&self, what: Issued) {
        self.telemetry.certificate(match what {
            Issued::Minted => "minted",
            Issued::Rotated => "rotated",
            Issued::Evicted => "evicted",
        });
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.live.changes()
    }
}

/// An id that no other record of this process has, nor of another by all likelihood.
fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let micros = jiff::Timestamp::now().as_microsecond();
    format!("{micros:x}-{:x}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
