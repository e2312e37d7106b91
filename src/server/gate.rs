//! Which TLS names there are certificates for: those that policy could allow. Envoy's log of failed handshakes says who
//! asked for another, and where: that is the record of it.

use std::sync::Arc;

use tokio::sync::watch;

use super::record::{unique, wall};
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

    fn refused(&self, _name: &str, _reason: &'static str) {
        self.telemetry.certificate("refused");
    }

    fn unanswerable(&self, name: &str) {
        self.telemetry.certificate("refused");
        let live = self.live.load();
        // Envoy asks for a name, not for a caller: only a sidecar of one agent knows whose handshake it was.
        let agent = live.rules.agents.fixed();
        let mut record = DecisionRecord {
            agent: agent.map(|id| live.rules.agents.name(id).clone()),
            method: "TLS".into(),
            scheme: Some("https".into()),
            host: name.into(),
            reason: Some("sni_invalid".into()),
            ..DecisionRecord::new(unique("tls"), wall(), Verdict::Deny, live.rules.revision.clone())
        };
        Words::from(&mut record).leave_out(|text| live.rules.finds(agent, text));
        if let Err(error) = self.journal.append(&record) {
            tracing::error!(%error, "a refusal cannot be put on record");
        }
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
