//! Envoy asks here for a certificate when a client names a host for the first time (delta ADS, one stream).
//!
//! A name that policy could never allow gets none, and the handshake fails; or, where that is wanted, a few get one so
//! that the client can be told in HTTP. Envoy bounds nothing itself and goes on serving what has expired, so this side
//! counts what it gave out, takes back the oldest, and replaces each certificate in time. On the same stream Envoy
//! learns whether to trace (RTDS).

mod subscriptions;
#[cfg(test)]
mod tests;
mod wire;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use envoy_types::pb::envoy::service::runtime::v3::Runtime;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Any, Struct, Value};
use futures_util::stream::BoxStream;
use prost::{Message, Name};
use tokio::sync::watch;
use tonic::{Status, Streaming};

use self::subscriptions::{Batch, Subscriptions, escaped};
use self::wire::DeltaRequest;
pub use self::wire::DiscoveryServer;
use super::Minter;

/// Whether policy could ever allow a name.
///
/// Called on the stream's own task for every name Envoy asks for: it must not block.
pub trait NameGate: Send + Sync + 'static {
    /// Whether there is to be a certificate.
    fn admit(&self, name: ServerName<'_>) -> Admission;

    /// Told of a refused attempt. `name` is empty where the client sent none, and escaped where it was no host name.
    fn refused(&self, name: &str, reason: &'static str);

    /// Told of a name that is no text, escaped. It cannot be answered at all: the handshake hangs until Envoy's patience
    /// ends, and Envoy's log does not tell of it.
    fn unanswerable(&self, name: &str);

    /// Told what was done with a certificate.
    fn issued(&self, _what: Issued) {}

    /// Changes whenever [`NameGate::admit`] may answer differently: every name given out is then asked about again.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// What is done with certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issued {
    /// A first one for a name.
    Minted,
    /// Another for the same name, in time or since policy has changed.
    Rotated,
    /// Taken back to make room.
    Evicted,
}

/// The name a client sent in its TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerName<'a> {
    /// A host name: lower-case, not an address, at most 253 bytes.
    Named(&'a str),
    /// None, as with a client that calls an address.
    Absent,
}

/// What [`NameGate::admit`] answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// A certificate for the name.
    Mint,
    /// A certificate for these addresses.
    MintAddresses(Vec<IpAddr>),
    /// None, with the reason for the record.
    Refuse(&'static str),
}

/// The discovery service.
#[derive(Clone)]
pub struct Discovery {
    shared: Arc<Shared>,
}

impl Discovery {
    /// Certificates from `minter` for the names `gate` admits.
    pub fn new(minter: Minter, gate: Arc<dyn NameGate>, options: Options) -> Discovery {
        Discovery { shared: Arc::new(Shared { minter, gate, options }) }
    }

    /// As a service to add to a tonic server.
    pub fn into_service(self) -> DiscoveryServer {
        DiscoveryServer::new(self)
    }

    /// What one Envoy is told on its stream.
    fn converse(
        &self,
        requests: Streaming<DeltaRequest>,
    ) -> BoxStream<'static, Result<DeltaDiscoveryResponse, Status>> {
        let conversation = Conversation {
            changes: Some(self.shared.gate.changes()),
            subscriptions: Subscriptions::new(self.shared.options.capacity, self.shared.options.denied),
            runtime: None,
            nonce: 0,
            requests,
            shared: Arc::clone(&self.shared),
        };
        // No task of its own: what Envoy asks, the clock and policy are waited for by the reply stream itself.
        Box::pin(futures_util::stream::unfold(conversation, Conversation::next))
    }
}

/// How to serve.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The most names one Envoy holds at a time. Each takes it about 32 KB.
    pub capacity: usize,
    /// How many names that are refused get a certificate all the same, at a time and a minute: the client can then be
    /// told in HTTP why. 0: it gets a TLS alert.
    pub denied: usize,
    /// What percentage of requests Envoy traces: 0 or 100.
    pub trace_percent: u8,
}

impl Default for Options {
    fn default() -> Options {
        Options { capacity: 1000, denied: 0, trace_percent: 0 }
    }
}

/// The name Envoy's `sni` certificate mapper uses where the client sent none (`default_value` in the bootstrap).
pub const NO_SERVER_NAME: &str = "__nosni__";
/// The RTDS layer of the bootstrap.
const RUNTIME_LAYER: &str = "attache";
const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const RUNTIME: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
/// How long a renewal may be overdue after the machine slept: timers stand still meanwhile, certificates do not.
const LONGEST_NAP: Duration = Duration::from_secs(60);

struct Shared {
    minter: Minter,
    gate: Arc<dyn NameGate>,
    options: Options,
}

/// One Envoy's stream.
struct Conversation {
    shared: Arc<Shared>,
    requests: Streaming<DeltaRequest>,
    /// None once policy can no longer change.
    changes: Option<watch::Receiver<u64>>,
    subscriptions: Subscriptions,
    runtime: Option<DeltaDiscoveryResponse>,
    nonce: u64,
}

impl Conversation {
    async fn next(mut self) -> Option<(Result<DeltaDiscoveryResponse, Status>, Conversation)> {
        // An Envoy that reconnects asks for a thousand names at once: requests get their turn between the batches.
        tokio::task::yield_now().await;
        loop {
            if let Some(response) = self.runtime.take() {
                return Some(self.say(response));
            }
            let Shared { minter, gate, .. } = &*self.shared;
            let now = SystemTime::now();
            if let Some(batch) = self.subscriptions.next_batch(minter, gate.as_ref(), now) {
                return Some(self.say(secrets(batch)));
            }
            let nap = self
                .subscriptions
                .next_renewal()
                .map(|renewal| renewal.duration_since(now).unwrap_or_default().min(LONGEST_NAP));
            tokio::select! {
                message = self.requests.message() => match message {
                    Ok(Some(request)) => self.hear(request),
                    Ok(None) | Err(_) => return None,
                },
                changed = changed(&mut self.changes) => match changed {
                    Ok(()) => self.subscriptions.policy_changed(),
                    Err(_) => self.changes = None,
                },
                () = tokio::time::sleep(nap.unwrap_or_default()), if nap.is_some() => {}
            }
        }
    }

    fn hear(&mut self, request: DeltaRequest) {
        if let Some(error) = &request.error {
            // Sending the same again would be refused again: whoever reads the log has to act.
            tracing::warn!(
                type_url = request.type_url,
                nonce = request.nonce,
                error = error.message,
                "Envoy rejected what discovery sent"
            );
        }
        let subscribe = self.texts(request.subscribe);
        match request.type_url.as_str() {
            SECRET => {
                let unsubscribe: Vec<_> =
                    request.unsubscribe.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect();
                self.subscriptions.hear(&subscribe, &unsubscribe, request.initial_versions);
            }
            RUNTIME if !subscribe.is_empty() => {
                self.runtime = Some(runtime(self.shared.options.trace_percent, &subscribe));
            }
            RUNTIME => {}
            other => {
                tracing::warn!(type_url = other, "Envoy asked for a type that discovery does not serve");
            }
        }
    }

    /// The names that are text. One that is not cannot even be refused, since an answer would have to name it: the
    /// handshake ends when Envoy's patience does.
    fn texts(&self, names: Vec<Vec<u8>>) -> Vec<String> {
        let text = |name| match String::from_utf8(name) {
            Ok(name) => Some(name),
            Err(other) => {
                self.shared.gate.unanswerable(&escaped(&String::from_utf8_lossy(other.as_bytes())));
                None
            }
        };
        names.into_iter().filter_map(text).collect()
    }

    fn say(mut self, mut response: DeltaDiscoveryResponse) -> (Result<DeltaDiscoveryResponse, Status>, Conversation) {
        self.nonce += 1;
        response.nonce = self.nonce.to_string();
        (Ok(response), self)
    }
}

async fn changed(changes: &mut Option<watch::Receiver<u64>>) -> Result<(), watch::error::RecvError> {
    match changes {
        Some(changes) => changes.changed().await,
        None => std::future::pending().await,
    }
}

fn secrets(batch: Batch) -> DeltaDiscoveryResponse {
    let resources = batch.given.into_iter().map(|given| resource(&given.secret, given.name, given.version));
    DeltaDiscoveryResponse {
        type_url: SECRET.to_owned(),
        resources: resources.collect(),
        removed_resources: batch.removed,
        ..DeltaDiscoveryResponse::default()
    }
}

fn runtime(trace_percent: u8, asked: &[String]) -> DeltaDiscoveryResponse {
    let object = |key: &str, kind| Struct { fields: [(key.to_owned(), Value { kind: Some(kind) })].into() };
    let tracing = object("random_sampling", Kind::NumberValue(f64::from(trace_percent)));
    let layer = Runtime { name: RUNTIME_LAYER.to_owned(), layer: Some(object("tracing", Kind::StructValue(tracing))) };
    let (ours, others): (Vec<_>, Vec<_>) = asked.iter().cloned().partition(|name| name == RUNTIME_LAYER);
    let version = format!("trace-{trace_percent}");
    DeltaDiscoveryResponse {
        type_url: RUNTIME.to_owned(),
        resources: ours.into_iter().map(|name| resource(&layer, name, version.clone())).collect(),
        removed_resources: others,
        ..DeltaDiscoveryResponse::default()
    }
}

fn resource<M: Message + Name>(message: &M, name: String, version: String) -> Resource {
    Resource {
        name,
        version,
        resource: Some(Any { type_url: M::type_url(), value: message.encode_to_vec() }),
        ..Resource::default()
    }
}
