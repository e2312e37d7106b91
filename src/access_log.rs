//! Envoy's Access Log Service: what became of each exchange.

mod handshake;
mod wire;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use envoy_types::pb::envoy::config::core::v3::RequestMethod;
use envoy_types::pb::envoy::data::accesslog::v3::ResponseFlags;
use prost::bytes::Bytes;
use tonic::{Status, Streaming};

use crate::journal::Journal;
use crate::live::Live;
use crate::pipeline::address::socket_text;
use crate::pipeline::answer::SUMMED;
use crate::pipeline::audit::{OutcomeRecord, Record};
use crate::reconcile::{Asked, Ledger, Report, is_named, unnamed};
use crate::resolver::Resolver;
use crate::telemetry::Telemetry;
pub use wire::{AccessLogServer, Logged, each_entry};
use wire::{Common, Entry};

/// How long an outcome may wait for others to be written together with: a write is most of what one costs. Nobody waits
/// for outcomes, as Envoy does for a decision, which is written before its answer.
const GATHER: Duration = Duration::from_millis(20);
/// How many do not wait for more.
const MANY: usize = 256;

/// The service: outcomes go to the journal, failed connections to the resolver.
pub struct AccessLog {
    /// Where outcomes are put on record.
    pub journal: Arc<Journal>,
    /// Knows whose outcomes they are.
    pub ledger: Arc<Ledger>,
    /// The policy in force.
    pub live: Arc<Live>,
    /// Learns which addresses do not answer.
    pub resolver: Arc<Resolver>,
    /// Where failed handshakes are shown.
    pub telemetry: Telemetry,
}

impl AccessLog {
    /// Takes what one Envoy reports, until it stops.
    async fn read(&self, mut messages: Streaming<Bytes>) -> Result<(), Status> {
        let mut gathered =
            Gathered { journal: &self.journal, ledger: &self.ledger, records: Vec::new(), urgent: false };
        let mut due = pin!(tokio::time::sleep(GATHER));
        loop {
            let message = tokio::select! {
                biased;
                message = messages.message() => message?,
                () = &mut due, if !gathered.records.is_empty() => {
                    gathered.write();
                    continue;
                }
            };
            let Some(message) = message else { return Ok(()) };
            if gathered.records.is_empty() {
                due.as_mut().reset(tokio::time::Instant::now() + GATHER);
            }
            each_entry(&message, |logged| match logged {
                Logged::Request(entry) => self.take(&entry, &mut gathered),
                Logged::Handshake(handshake) => self.refuse(&handshake, &mut gathered),
            })
            .map_err(|malformed| Status::internal(malformed.to_string()))?;
            if gathered.urgent || gathered.records.len() >= MANY {
                gathered.write();
            }
        }
    }

    fn take(&self, entry: &Entry<'_>, gathered: &mut Gathered<'_>) {
        let common = &entry.common;
        // A tunnel that was opened is no exchange of its own: what passes through it is. What was summed up is on record.
        let is_summed = common.id == Some(SUMMED) && common.decision == Some("deny") && common.upstream.is_none();
        if common.decision == Some("tunnel") || is_summed {
            return;
        }
        if let Some(address) = unreachable(common) {
            self.resolver.failed(address, Instant::now());
        }
        let asked = &entry.request;
        let method = match RequestMethod::try_from(asked.request_method) {
            Ok(RequestMethod::MethodUnspecified) | Err(_) => "",
            Ok(method) => method.as_str_name(),
        };
        let report = Report {
            outcome: outcome(entry),
            decision: common.decision,
            protocol_error: common.response_flags.downstream_protocol_error,
            asked: Asked {
                method,
                scheme: asked.scheme,
                authority: asked.authority,
                path: asked.path,
                source: common.downstream,
            },
        };
        gathered.urgent |= self.ledger.take(report, &mut gathered.records);
    }
}

/// Outcomes on their way to the journal. What is left when Envoy goes, or this service, is written then.
struct Gathered<'a> {
    journal: &'a Journal,
    ledger: &'a Ledger,
    records: Vec<Record>,
    /// There is a request among them that nothing else has on record.
    urgent: bool,
}

impl Gathered<'_> {
    fn write(&mut self) {
        match self.journal.append_all(&self.records) {
            Ok(_) => self.ledger.written(&self.records),
            Err(error) => {
                // The journal says it loudly; the file brings them again.
                tracing::debug!(%error, "outcomes cannot be put on record now");
                self.ledger.lost(&self.records);
            }
        }
        self.records.clear();
        self.urgent = false;
    }
}

impl Drop for Gathered<'_> {
    fn drop(&mut self) {
        self.write();
    }
}

fn outcome(entry: &Entry<'_>) -> OutcomeRecord {
    let Entry { common, request, response } = entry;
    let status = response.response_code.unwrap_or(0);
    let named =
        Some(request.request_id).filter(|id| !id.is_empty() && is_named(status, response.response_code_details));
    let duration = common.duration.or(common.time_to_last_downstream_tx_byte).unwrap_or_default();
    OutcomeRecord {
        request_id: common.id.or(named).map_or_else(|| unnamed(common.start_time).into(), Into::into),
        time: SystemTime::now(),
        status,
        bytes_sent: request.request_body_bytes,
        bytes_received: response.response_body_bytes,
        duration_ms: duration.as_secs() as f64 * 1e3 + f64::from(duration.subsec_nanos()) / 1e6,
        upstream: common.upstream.map(socket_text),
        flags: short(&common.response_flags),
        details: response.response_code_details.to_owned(),
        known: true,
    }
}

/// The address that did not take a connection. Envoy names only the last one it tried: where that is another than
/// the first, the first has failed before it.
fn unreachable(common: &Common<'_>) -> Option<SocketAddr> {
    match (common.pinned, common.upstream) {
        (Some(first), Some(last)) if first != last => Some(first),
        (first, last) => last.or(first).filter(|_| common.response_flags.upstream_connection_failure),
    }
}

/// Envoy's short names (*Access logging*, `%RESPONSE_FLAGS%`).
fn short(flags: &ResponseFlags) -> String {
    let names = [
        (flags.failed_local_healthcheck, "LH"),
        (flags.no_healthy_upstream, "UH"),
        (flags.upstream_request_timeout, "UT"),
        (flags.local_reset, "LR"),
        (flags.upstream_remote_reset, "UR"),
        (flags.upstream_connection_failure, "UF"),
        (flags.upstream_connection_termination, "UC"),
        (flags.upstream_overflow, "UO"),
        (flags.no_route_found, "NR"),
        (flags.unauthorized_details.is_some(), "UAEX"),
        (flags.downstream_connection_termination, "DC"),
        (flags.upstream_retry_limit_exceeded, "URX"),
        (flags.stream_idle_timeout, "SI"),
        (flags.invalid_envoy_request_headers, "IH"),
        (flags.downstream_protocol_error, "DPE"),
        (flags.upstream_max_stream_duration_reached, "UMSDR"),
        (flags.duration_timeout, "DT"),
        (flags.upstream_protocol_error, "UPE"),
        (flags.no_cluster_found, "NC"),
        (flags.overload_manager, "OM"),
        (flags.downstream_remote_reset, "DR"),
    ];
    names.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_took_no_connection_is_known_by_what_envoy_tried_last() {
        let [one, two] = [1, 2].map(|last| SocketAddr::from(([192, 0, 2, last], 443)));
        for (pinned, upstream, failure, expected) in [
            (Some(one), Some(one), false, None),
            (Some(one), Some(one), true, Some(one)),
            // A second attempt, whether it worked or not.
            (Some(one), Some(two), false, Some(one)),
            (Some(one), Some(two), true, Some(one)),
            (Some(one), None, true, Some(one)),
            (None, Some(two), true, Some(two)),
            (None, None, true, None),
            (Some(one), None, false, None),
        ] {
            let response_flags = ResponseFlags { upstream_connection_failure: failure, ..Default::default() };
            let common = Common { pinned, upstream, response_flags, ..Common::default() };
            assert_eq!(unreachable(&common), expected, "{pinned:?} {upstream:?} {failure}");
        }
    }
}
