//! Discovery as Envoy meets it: first what it is told (no I/O), then over a socket.

use std::collections::HashMap;
use std::sync::Mutex;

use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Endpoint;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::super::{Authority, Subject};
use super::*;

/// Admits what it is told to, and keeps what it was told.
struct Gate {
    admitted: Mutex<HashMap<&'static str, Admission>>,
    refusals: Mutex<Vec<(String, &'static str)>>,
    generation: watch::Sender<u64>,
}

impl Gate {
    fn admitting(names: &[&'static str]) -> Arc<Gate> {
        let admitted = names.iter().map(|&name| (name, Admission::Mint)).collect();
        Arc::new(Gate { admitted: Mutex::new(admitted), refusals: Mutex::default(), generation: watch::channel(0).0 })
    }

    fn now_admits(&self, name: &'static str, admission: Admission) {
        self.admitted.lock().unwrap().insert(name, admission);
        self.generation.send_modify(|generation| *generation += 1);
    }

    fn refusals(&self) -> Vec<(String, &'static str)> {
        std::mem::take(&mut *self.refusals.lock().unwrap())
    }
}

impl NameGate for Gate {
    fn admit(&self, name: ServerName<'_>) -> Admission {
        let name = match name {
            ServerName::Named(name) => name,
            ServerName::Absent => "",
        };
        let admitted = self.admitted.lock().unwrap();
        admitted.get(name).cloned().unwrap_or(Admission::Refuse("host_not_allowed"))
    }

    fn refused(&self, name: &str, reason: &'static str) {
        self.refusals.lock().unwrap().push((name.to_owned(), reason));
    }

    fn unanswerable(&self, name: &str) {
        self.refused(name, "unanswerable");
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}

fn minter() -> Minter {
    Minter::new(Authority::generate(SystemTime::now()).unwrap(), Minter::LIFETIME)
}

/// One Envoy's subscriptions, without a stream.
struct Bench {
    subscriptions: Subscriptions,
    minter: Minter,
    gate: Arc<Gate>,
    now: SystemTime,
}

impl Bench {
    fn new(capacity: usize, names: &[&'static str]) -> Bench {
        Bench {
            subscriptions: Subscriptions::new(capacity, 0),
            minter: minter(),
            gate: Gate::admitting(names),
            now: SystemTime::now(),
        }
    }

    /// One that gives a few certificates for names that are refused.
    fn telling(capacity: usize, denied: usize, names: &[&'static str]) -> Bench {
        Bench { subscriptions: Subscriptions::new(capacity, denied), ..Bench::new(capacity, names) }
    }

    fn subscribe(&mut self, names: &[&str]) -> (Vec<String>, Vec<String>) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        self.subscriptions.hear(&names, &[], HashMap::new());
        self.told()
    }

    /// Everything there is to tell: names given and names removed.
    fn told(&mut self) -> (Vec<String>, Vec<String>) {
        let (mut given, mut removed) = (Vec::new(), Vec::new());
        while let Some(batch) = self.batch() {
            given.extend(batch.given.into_iter().map(|given| given.name));
            removed.extend(batch.removed);
        }
        (given, removed)
    }

    fn batch(&mut self) -> Option<Batch> {
        self.subscriptions.next_batch(&self.minter, self.gate.as_ref(), self.now)
    }
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

fn leaf_names(secret: &Secret) -> Vec<String> {
    let Some(secret::Type::TlsCertificate(certificate)) = &secret.r#type else { panic!("no certificate") };
    let Some(envoy_types::pb::envoy::config::core::v3::data_source::Specifier::InlineString(chain)) =
        &certificate.certificate_chain.as_ref().unwrap().specifier
    else {
        panic!("not inline")
    };
    let der = x509_parser::pem::parse_x509_pem(chain.as_bytes()).unwrap().1.contents;
    let parsed = X509Certificate::from_der(&der).unwrap().1;
    let alternatives = parsed.subject_alternative_name().unwrap().unwrap();
    alternatives.value.general_names.iter().map(ToString::to_string).collect()
}

#[test]
fn an_admitted_name_is_given_as_it_was_spelt_and_minted_as_it_is() {
    let mut bench = Bench::new(10, &["api.example.com"]);
    bench.subscriptions.hear(&names(&["API.Example.com"]), &[], HashMap::new());
    let batch = bench.batch().unwrap();
    assert_eq!(batch.given[0].name, "API.Example.com");
    assert_eq!(batch.given[0].secret.name, "API.Example.com");
    assert_eq!(leaf_names(&batch.given[0].secret), ["DNSName(api.example.com)"]);
    assert!(bench.batch().is_none());
    assert!(bench.gate.refusals().is_empty());
}

#[test]
fn a_refused_name_is_removed_and_every_attempt_is_on_record() {
    let mut bench = Bench::new(10, &[]);
    for _ in 0..2 {
        assert_eq!(bench.subscribe(&["evil.example"]), (vec![], names(&["evil.example"])));
        assert_eq!(bench.gate.refusals(), [("evil.example".to_owned(), "host_not_allowed")]);
    }
}

#[test]
fn a_few_refused_names_get_a_certificate_for_being_told() {
    let mut bench = Bench::telling(10, 2, &["api.example"]);
    assert_eq!(bench.subscribe(&["a.evil", "api.example"]), (names(&["a.evil", "api.example"]), vec![]));
    assert_eq!(bench.subscribe(&["b.evil"]), (names(&["b.evil"]), vec![]));
    assert!(bench.gate.refusals().is_empty());
    // A minute has as many as there may be at a time.
    assert_eq!(bench.subscribe(&["c.evil"]), (vec![], names(&["c.evil"])));
    assert_eq!(bench.gate.refusals(), [("c.evil".to_owned(), "host_not_allowed")]);
    bench.now += Duration::from_secs(60);
    assert_eq!(bench.subscribe(&["c.evil"]), (names(&["c.evil"]), names(&["a.evil"])), "the oldest makes room");
    // Nothing changes for those that Envoy has when policy does, unless they are allowed now.
    bench.gate.now_admits("b.evil", Admission::Mint);
    bench.subscriptions.policy_changed();
    assert_eq!(bench.told(), (vec![], vec![]));
    assert_eq!(bench.subscribe(&["d.evil"]), (names(&["d.evil"]), vec![]), "one of the two has become allowed");
    assert_eq!(bench.subscribe(&["not a name"]), (vec![], names(&["not a name"])));
}

#[test]
fn what_is_given_for_refused_names_is_not_renewed_and_pushes_out_no_other() {
    let mut bench = Bench::telling(3, 3, &["a.example", "b.example"]);
    bench.subscribe(&["a.evil", "a.example", "b.example"]);
    assert_eq!(bench.subscribe(&["b.evil"]), (names(&["b.evil"]), names(&["a.evil"])));
    let renewal = bench.subscriptions.next_renewal().unwrap();
    bench.now = renewal + Duration::from_secs(1);
    let (given, removed) = bench.told();
    assert_eq!((given.len(), removed), (2, names(&["b.evil"])));
    bench.gate.now_admits("a.example", Admission::Refuse("blocked"));
    bench.subscriptions.policy_changed();
    assert_eq!(bench.told(), (vec![], names(&["a.example"])), "an allowed name that is refused now has no grace");
}

#[test]
fn what_is_no_server_name_is_refused_before_policy_sees_it() {
    let long = format!("{}example", "abcdefg.".repeat(31));
    assert!(long.len() > 253);
    let label = format!("{}.example", "a".repeat(64));
    let bad = [
        "",
        ".",
        "a..example",
        "a.example.",
        "192.0.2.7",
        "2001:db8::1",
        "*.example.com",
        "a b.example",
        "a\nb.example",
        "bücher.example",
        "a/b",
        &long,
        &label,
    ];
    for raw in bad {
        let mut bench = Bench::new(10, &[]);
        assert_eq!(bench.subscribe(&[raw]), (vec![], names(&[raw])), "{raw:?}");
        let refusals = bench.gate.refusals();
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0].1, "sni_invalid", "{raw:?}");
        assert!(refusals[0].0.chars().all(|char| char.is_ascii_graphic() || char == ' '), "{refusals:?}");
    }
}

#[test]
fn without_a_server_name_the_certificate_is_for_addresses_or_there_is_none() {
    let mut bench = Bench::new(10, &[]);
    assert_eq!(bench.subscribe(&[NO_SERVER_NAME]), (vec![], names(&[NO_SERVER_NAME])));
    assert_eq!(bench.gate.refusals(), [(String::new(), "host_not_allowed")]);
    // Neither a certificate for no name nor one for no address.
    for admission in [Admission::Mint, Admission::MintAddresses(vec![])] {
        bench.gate.now_admits("", admission);
        assert_eq!(bench.subscribe(&[NO_SERVER_NAME]), (vec![], names(&[NO_SERVER_NAME])));
        assert_eq!(bench.gate.refusals(), [(String::new(), "sni_without_subject")]);
    }
    bench.gate.now_admits("", Admission::MintAddresses(vec!["192.0.2.7".parse().unwrap()]));
    bench.subscriptions.hear(&names(&[NO_SERVER_NAME]), &[], HashMap::new());
    assert_eq!(leaf_names(&bench.batch().unwrap().given[0].secret), ["IPAddress(c0:00:02:07)"]);
}

#[test]
fn the_least_recently_subscribed_name_is_taken_back_refusals_first() {
    let mut bench = Bench::new(3, &["a.example", "b.example", "c.example", "d.example"]);
    bench.subscribe(&["a.example", "b.example"]);
    bench.subscribe(&["evil.example"]);
    let (given, removed) = bench.subscribe(&["c.example"]);
    assert_eq!((given, removed), (names(&["c.example"]), names(&["evil.example"])));
    bench.subscribe(&["a.example"]);
    let (given, removed) = bench.subscribe(&["d.example"]);
    assert_eq!((given, removed), (names(&["d.example"]), names(&["b.example"])));
    // What was taken back is given again when it is asked for again, and is then not also removed.
    let (given, removed) = bench.subscribe(&["b.example"]);
    assert_eq!((given, removed), (names(&["b.example"]), names(&["c.example"])));
}

#[test]
fn a_name_taken_back_and_asked_for_again_at_once_is_given() {
    let mut bench = Bench::new(2, &["a.example", "b.example", "c.example"]);
    let (given, removed) = bench.subscribe(&["a.example", "b.example", "c.example", "a.example"]);
    assert_eq!((given, removed), (names(&["a.example", "c.example"]), names(&["b.example"])));
}

#[test]
fn a_certificate_is_replaced_after_two_thirds_of_its_life() {
    let mut bench = Bench::new(10, &["a.example", "b.example"]);
    bench.subscribe(&["a.example"]);
    let renewal = bench.subscriptions.next_renewal().unwrap();
    let life = renewal.duration_since(bench.now).unwrap();
    assert!(life > Minter::LIFETIME * 2 / 3 - Duration::from_secs(2) && life <= Minter::LIFETIME * 2 / 3, "{life:?}");
    bench.now = renewal - Duration::from_secs(1);
    assert_eq!(bench.subscribe(&["b.example"]), (names(&["b.example"]), vec![]));
    bench.now = renewal;
    assert_eq!(bench.told(), (names(&["a.example"]), vec![]));
    assert!(bench.subscriptions.next_renewal().unwrap() > renewal);
}

#[test]
fn an_expired_authority_takes_its_certificates_back_once() {
    let mut bench = Bench::new(10, &["a.example"]);
    bench.now = bench.minter.authority().expires() - Duration::from_secs(600);
    bench.subscribe(&["a.example"]);
    let end = bench.minter.authority().expires();
    assert_eq!(bench.subscriptions.next_renewal(), Some(end), "the next one would end then too");
    bench.now = end;
    assert_eq!(bench.told(), (vec![], names(&["a.example"])));
    assert_eq!(bench.subscriptions.next_renewal(), None);
    assert_eq!(bench.subscribe(&["a.example"]), (vec![], names(&["a.example"])));
    assert_eq!(bench.gate.refusals(), [("a.example".to_owned(), "certificate_unavailable")]);
}

#[test]
fn a_policy_change_takes_back_what_it_forbids_and_gives_what_it_allows() {
    let mut bench = Bench::new(10, &["a.example", "b.example"]);
    bench.subscribe(&["a.example", "b.example", "c.example"]);
    bench.gate.refusals();
    bench.gate.now_admits("a.example", Admission::Refuse("host_blocked"));
    bench.gate.now_admits("c.example", Admission::Mint);
    bench.subscriptions.policy_changed();
    assert_eq!(bench.told(), (names(&["c.example"]), names(&["a.example"])));
    // Nobody attempted anything, and nothing more is to be said.
    assert!(bench.gate.refusals().is_empty());
    bench.subscriptions.policy_changed();
    assert_eq!(bench.told(), (vec![], vec![]));
}

#[test]
fn other_addresses_mean_another_certificate() {
    let mut bench = Bench::new(10, &[]);
    bench.gate.now_admits("", Admission::MintAddresses(vec!["192.0.2.7".parse().unwrap()]));
    bench.subscribe(&[NO_SERVER_NAME]);
    bench.gate.now_admits("", Admission::MintAddresses(vec!["192.0.2.8".parse().unwrap()]));
    bench.subscriptions.policy_changed();
    assert_eq!(bench.told(), (names(&[NO_SERVER_NAME]), vec![]));
}

#[test]
fn an_envoy_that_reconnects_keeps_only_what_is_still_right() {
    let all = ["good.example", "old.example", "forbidden.example", "strange.example", "new.example", "gone.example"];
    let mut bench = Bench::new(10, &["good.example", "old.example", "strange.example", "new.example"]);
    let version = |name, expires| bench.minter.version(Subject::Name(name), expires);
    let fresh = bench.now + Minter::LIFETIME;
    let versions = HashMap::from([
        ("good.example".to_owned(), version("good.example", fresh)),
        ("old.example".to_owned(), version("old.example", bench.now + Duration::from_secs(3600))),
        ("forbidden.example".to_owned(), version("forbidden.example", fresh)),
        ("strange.example".to_owned(), minter().version(Subject::Name("strange.example"), fresh)),
        ("gone.example".to_owned(), "nonsense".to_owned()),
        ("dropped.example".to_owned(), version("dropped.example", fresh)),
    ]);
    bench.subscriptions.hear(&names(&all), &[], versions);
    let (given, removed) = bench.told();
    assert_eq!(given, ["old.example", "strange.example", "new.example"]);
    assert_eq!(removed, ["dropped.example", "forbidden.example", "gone.example"]);
    assert!(bench.gate.refusals().is_empty(), "no client attempted anything");
    let renewal = bench.subscriptions.next_renewal().unwrap();
    assert!(renewal > bench.now, "what is kept is renewed in its time");
}

#[test]
fn what_is_unsubscribed_is_forgotten() {
    let mut bench = Bench::new(10, &["a.example"]);
    bench.subscribe(&["a.example"]);
    bench.subscriptions.hear(&[], &names(&["a.example", "never.example"]), HashMap::new());
    assert_eq!(bench.subscriptions.next_renewal(), None);
    bench.gate.now_admits("a.example", Admission::Refuse("host_blocked"));
    bench.subscriptions.policy_changed();
    assert_eq!(bench.told(), (vec![], vec![]));
}

#[test]
fn a_thousand_names_come_in_batches() {
    let mut bench = Bench::new(1000, &[]);
    let many: Vec<String> = (0..1000).map(|number| format!("{number}.example")).collect();
    bench.subscriptions.hear(&many, &[], HashMap::new());
    let first = bench.batch().unwrap();
    assert_eq!(first.removed.len(), 32);
    assert_eq!(bench.told().1.len(), 968);
}

/// A served discovery and a client stream to it.
struct Live {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    replies: Streaming<DeltaDiscoveryResponse>,
    client: AggregatedDiscoveryServiceClient<tonic::transport::Channel>,
    server: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Live {
    async fn start(gate: &Arc<Gate>, minter: Minter, options: Options) -> Live {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("service.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let service = Discovery::new(minter, Arc::clone(gate) as Arc<dyn NameGate>, options).into_service();
        let server = tokio::spawn(async move {
            let (connection, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service);
            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // A client that leaves mid-stream ends the connection with an error, which is the test's own doing.
            let _ = http2.serve_connection(TokioIo::new(connection), service).await;
        });
        let channel = Endpoint::try_from(format!("unix://{}", path.display())).unwrap().connect().await.unwrap();
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let (requests, receiver) = mpsc::channel(8);
        let replies = client.delta_aggregated_resources(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Live { requests, replies, client, server, _directory: directory }
    }

    async fn send(&self, request: DeltaDiscoveryRequest) {
        self.requests.send(request).await.unwrap();
    }

    async fn subscribe(&self, type_url: &str, list: &[&str]) {
        self.send(DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names_subscribe: names(list),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }

    async fn reply(&mut self) -> DeltaDiscoveryResponse {
        let reply = tokio::time::timeout(Duration::from_secs(10), self.replies.message());
        reply.await.expect("no reply in time").unwrap().expect("the stream ended")
    }
}

#[tokio::test]
async fn over_a_socket_names_are_given_refused_and_taken_back() {
    let gate = Gate::admitting(&["api.example.com"]);
    let mut live = Live::start(&gate, minter(), Options::default()).await;
    live.subscribe(SECRET, &["api.example.com", "evil.example"]).await;
    let reply = live.reply().await;
    assert_eq!(reply.type_url, SECRET);
    assert_eq!(reply.removed_resources, ["evil.example"]);
    assert_eq!(reply.resources[0].name, "api.example.com");
    let any = reply.resources[0].resource.clone().unwrap();
    assert_eq!(any.type_url, SECRET);
    assert_eq!(leaf_names(&Secret::decode(any.value.as_slice()).unwrap()), ["DNSName(api.example.com)"]);
    // An acknowledgement is not answered; a policy change is the next thing said.
    live.send(DeltaDiscoveryRequest {
        type_url: SECRET.to_owned(),
        response_nonce: reply.nonce.clone(),
        ..Default::default()
    })
    .await;
    gate.now_admits("api.example.com", Admission::Refuse("host_blocked"));
    let change = live.reply().await;
    assert_eq!(change.removed_resources, ["api.example.com"]);
    assert_ne!(change.nonce, reply.nonce);
}

#[tokio::test]
async fn a_rejection_is_not_answered_with_the_same_again() {
    let gate = Gate::admitting(&["a.example", "b.example"]);
    let mut live = Live::start(&gate, minter(), Options::default()).await;
    live.subscribe(SECRET, &["a.example"]).await;
    let reply = live.reply().await;
    live.send(DeltaDiscoveryRequest {
        type_url: SECRET.to_owned(),
        response_nonce: reply.nonce,
        error_detail: Some(rpc::Status { code: 3, message: "bad key".to_owned(), ..rpc::Status::default() }),
        ..DeltaDiscoveryRequest::default()
    })
    .await;
    live.subscribe(SECRET, &["b.example"]).await;
    let next = live.reply().await;
    assert_eq!(next.resources.iter().map(|resource| resource.name.as_str()).collect::<Vec<_>>(), ["b.example"]);
}

#[tokio::test]
async fn certificates_are_replaced_on_a_quiet_stream() {
    let gate = Gate::admitting(&["a.example"]);
    let minter = Minter::new(Authority::generate(SystemTime::now()).unwrap(), Duration::from_secs(3));
    let mut live = Live::start(&gate, minter, Options::default()).await;
    live.subscribe(SECRET, &["a.example"]).await;
    let first = live.reply().await;
    let second = live.reply().await;
    assert_eq!(second.resources[0].name, "a.example");
    assert_ne!(first.resources[0].version, second.resources[0].version);
}

#[tokio::test]
async fn a_reader_learns_whether_to_trace() {
    let gate = Gate::admitting(&[]);
    let mut live = Live::start(&gate, minter(), Options { trace_percent: 100, ..Options::default() }).await;
    live.subscribe(RUNTIME, &["attache", "other"]).await;
    let reply = live.reply().await;
    assert_eq!(reply.type_url, RUNTIME);
    assert_eq!(reply.removed_resources, ["other"]);
    let layer = Runtime::decode(reply.resources[0].resource.clone().unwrap().value.as_slice()).unwrap();
    let tracing = layer.layer.unwrap().fields["tracing"].clone();
    let Some(Kind::StructValue(tracing)) = tracing.kind else { panic!("not an object") };
    assert_eq!(tracing.fields["random_sampling"].kind, Some(Kind::NumberValue(100.0)));
}

#[tokio::test]
async fn the_stream_ends_when_envoy_ends_it_and_state_of_the_world_is_not_served() {
    let gate = Gate::admitting(&[]);
    let mut live = Live::start(&gate, minter(), Options::default()).await;
    let (sender, receiver) = mpsc::channel::<DiscoveryRequest>(1);
    let refusal = live.client.stream_aggregated_resources(ReceiverStream::new(receiver)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unimplemented);
    drop(sender);
    live.requests = mpsc::channel(1).0;
    let end = tokio::time::timeout(Duration::from_secs(10), live.replies.message()).await.unwrap();
    assert!(end.unwrap().is_none());
}
