//! Tells people what waits for them.

use std::time::Duration;

use crate::ext_proc::Herald;
use crate::pipeline::approval::{Petition, Ticket};
use crate::pipeline::audit::DecisionRecord;

/// Says it in the service's own log.
pub struct Crier;

impl Herald for Crier {
    fn asked(&self, ticket: &Ticket, petition: &Petition, expires: Duration) {
        let about = &petition.about;
        tracing::info!(
            %ticket, agent = %about.agent, method = %about.method, host = %about.host, path = %about.path,
            expires = ?expires, "a request waits for approval: `attache approvals approve {ticket}`"
        );
    }

    fn decided(&self, _: &DecisionRecord) {}
}
