//! The least a service must do to stand behind `envoy/envoy.yaml`: it answers every stream with the
//! same verdict and judges nothing.
//!
//! It is a baseline of the benchmarks (what an ext_proc service costs before it does any work; `noop_raw` and `noop_h2`
//! cost less) and a stand-in for trying the bootstrap by hand:
//!
//! ```text
//! cargo run --example noop_ext_proc -- --socket S --ca-out CA.pem --upstream 127.0.0.1:8443 --log
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use clap::{Parser, ValueEnum};
use envoy_types::pb::envoy::config::core::v3::{
    DataSource, HeaderValue, HeaderValueOption, data_source::Specifier, header_value_option::HeaderAppendAction,
};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, TlsCertificate, secret};
use envoy_types::pb::envoy::service::accesslog::v3::{
    StreamAccessLogsMessage, StreamAccessLogsResponse,
    access_log_service_server::{AccessLogService, AccessLogServiceServer},
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
    aggregated_discovery_service_server::{AggregatedDiscoveryService, AggregatedDiscoveryServiceServer},
};
use envoy_types::pb::envoy::service::ext_proc::v3::{
    CommonResponse, HeaderMutation, HeadersResponse, ImmediateResponse, ProcessingRequest, ProcessingResponse,
    external_processor_server::{ExternalProcessor, ExternalProcessorServer},
    processing_request, processing_response,
};
use envoy_types::pb::envoy::service::runtime::v3::Runtime;
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::{Any, Struct, Value, value::Kind};
use futures_util::{Stream, StreamExt, stream};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::codegen::Service;
use tonic::{Request, Response, Status, Streaming};

const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const RUNTIME: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";

/// What it is told.
#[derive(Parser, Clone)]
pub struct Options {
    /// Unix socket to listen on.
    #[arg(long)]
    pub socket: PathBuf,
    /// Where to write the CA (certificate, and the key beside it as `.key`); read if it is there.
    #[arg(long)]
    pub ca_out: PathBuf,
    /// The address every allowed request is pinned to.
    #[arg(long)]
    pub upstream: SocketAddr,
    /// The address of the second attempt; the first one if absent.
    #[arg(long)]
    upstream2: Option<SocketAddr>,
    /// Send allowed requests out in plain text.
    #[arg(long)]
    plain: bool,
    /// Put this token into the requests that go out in plain text, and take the proxy's own out, as attaché would.
    #[arg(long)]
    pub credential: Option<String>,
    #[arg(long, value_enum, default_value_t = Verdict::Allow)]
    verdict: Verdict,
    /// A name to refuse a certificate for.
    #[arg(long)]
    deny_sni: Option<String>,
    /// `tracing.random_sampling` in percent, told to Envoy over RTDS.
    #[arg(long)]
    sampling: Option<f64>,
    /// Print what arrives.
    #[arg(long)]
    log: bool,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Verdict {
    Allow,
    Deny,
    /// End the stream with OK and no verdict: Envoy's fail-open trap.
    EndOk,
    /// End the stream with an error.
    EndError,
    /// Never answer.
    Hang,
    /// Allow without naming an address.
    AllowUnpinned,
    /// Let every request pass as if it were a CONNECT.
    Tunnel,
}

/// attaché's own allocator: what differs is to be the service.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// The benchmark, which has this file as a module, has its own.
#[allow(dead_code)]
fn main() {
    run(std::env::args_os());
}

/// Serves until it is killed.
pub fn run(arguments: impl Iterator<Item = OsString>) {
    run_as(arguments, serve);
}

/// The same, by another server: one thread, which answers while it reads.
pub fn run_as<F: Future<Output = ()>>(arguments: impl Iterator<Item = OsString>, serve: impl FnOnce(Options) -> F) {
    let options = Options::parse_from(arguments);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(serve(options));
}

async fn serve(options: Options) {
    let ca = Arc::new(Ca::load_or_make(&options.ca_out));
    let _ = std::fs::remove_file(&options.socket);
    let listener = UnixListener::bind(&options.socket).expect("the socket is free");
    tonic::transport::Server::builder()
        // hyper's default of 200 streams would cap the requests in flight.
        .max_concurrent_streams(100_000)
        .serve_with_incoming(services(options, ca).await, UnixListenerStream::new(listener))
        .await
        .expect("the server runs");
}

/// All that Envoy asks for.
pub async fn services(
    options: Options,
    ca: Arc<Ca>,
) -> impl Service<HttpRequest, Response = HttpResponse, Error = Infallible, Future = Answer> + Clone + Send + 'static {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    let shared = Arc::new(options);
    Services {
        verdicts: ExternalProcessorServer::new(Verdicts(shared.clone())).max_decoding_message_size(16 << 20),
        health: health_service,
        outcomes: AccessLogServiceServer::new(Outcomes(shared.clone())),
        spans: TraceServiceServer::new(Spans(shared.clone())),
        discovery: AggregatedDiscoveryServiceServer::new(Discovery { options: shared, ca }),
    }
}

/// The services by their names; tonic's own router would bring a web framework along.
#[derive(Clone)]
struct Services<H> {
    verdicts: ExternalProcessorServer<Verdicts>,
    health: H,
    outcomes: AccessLogServiceServer<Outcomes>,
    spans: TraceServiceServer<Spans>,
    discovery: AggregatedDiscoveryServiceServer<Discovery>,
}

/// What hyper gives and takes.
pub type HttpRequest = http::Request<tonic::body::Body>;
/// The same.
pub type HttpResponse = http::Response<tonic::body::Body>;
/// A call on its way.
pub type Answer = Pin<Box<dyn Future<Output = Result<HttpResponse, Infallible>> + Send>>;

impl<H> Service<HttpRequest> for Services<H>
where
    H: Service<HttpRequest, Response = HttpResponse, Error = Infallible, Future = Answer>,
{
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest) -> Answer {
        let path = request.uri().path();
        let service = path.trim_start_matches('/').split('/').next();
        match service.unwrap_or_default() {
            "envoy.service.ext_proc.v3.ExternalProcessor" => self.verdicts.call(request),
            "envoy.service.accesslog.v3.AccessLogService" => self.outcomes.call(request),
            "envoy.service.discovery.v3.AggregatedDiscoveryService" => self.discovery.call(request),
            "opentelemetry.proto.collector.trace.v1.TraceService" => self.spans.call(request),
            "grpc.health.v1.Health" => self.health.call(request),
            _ => Box::pin(async { Ok(Status::unimplemented("no such service").into_http()) }),
        }
    }
}

// ── ext_proc ─────────────────────────────────────────────────────────────────────────────────────

struct Verdicts(Arc<Options>);

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ExternalProcessor for Verdicts {
    type ProcessStream = Replies<ProcessingResponse>;

    /// The reply stream polls the request stream itself: no task, no channel, and it ends only
    /// after Envoy has closed its side.
    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let options = self.0.clone();
        let door = header(request.metadata(), "x-attache-door");
        if options.log {
            let traceparent = header(request.metadata(), "traceparent");
            eprintln!("ext_proc door={door} traceparent={traceparent}");
        }
        if options.verdict == Verdict::EndOk {
            return Ok(Response::new(Box::pin(stream::empty())));
        }
        let replies = request.into_inner().filter_map(move |message| {
            let reply = match message {
                Ok(message) => reply_to(&options, &door, message),
                Err(status) => Some(Err(status)),
            };
            let hangs = options.verdict == Verdict::Hang;
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                reply
            }
        });
        Ok(Response::new(Box::pin(replies)))
    }
}

fn header(metadata: &tonic::metadata::MetadataMap, name: &str) -> String {
    metadata.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned()
}

fn reply_to(options: &Options, door: &str, message: ProcessingRequest) -> Option<Result<ProcessingResponse, Status>> {
    let Some(processing_request::Request::RequestHeaders(head)) = &message.request else {
        return Some(Err(Status::invalid_argument("only request heads are expected")));
    };
    let headers = head.headers.as_ref().map(|map| &map.headers[..]).unwrap_or_default();
    let find =
        |name: &str| headers.iter().find(|h| h.key == name).map(|h| String::from_utf8_lossy(&h.raw_value).into_owned());
    let is_connect = find(":method").as_deref() == Some("CONNECT");
    if options.log {
        let attributes = message
            .attributes
            .get("envoy.filters.http.ext_proc")
            .map(|fields| show(&fields.fields))
            .unwrap_or_default();
        let headers: Vec<_> =
            headers.iter().map(|h| format!("{}={}", h.key, String::from_utf8_lossy(&h.raw_value))).collect();
        eprintln!("head door={door} {} attributes={attributes}", headers.join(" "));
    }
    let allow = |decision: &str, fields: &[(&str, String)]| {
        let mut metadata = BTreeMap::from([("decision", decision.to_owned())]);
        metadata.extend(fields.iter().cloned());
        let mut set = vec![match &options.credential {
            Some(token) => set_header("authorization", &format!("Bearer {token}")),
            None => set_header("x-noop", "1"),
        }];
        if options.plain {
            set.push(set_header("x-attache-int-route", "plain"));
        }
        let remove = options.credential.as_ref().map(|_| "proxy-authorization".to_owned());
        Some(Ok(ProcessingResponse {
            dynamic_metadata: Some(in_namespace(metadata)),
            response: Some(processing_response::Response::RequestHeaders(HeadersResponse {
                response: Some(CommonResponse {
                    header_mutation: Some(HeaderMutation {
                        set_headers: set,
                        remove_headers: remove.into_iter().collect(),
                    }),
                    clear_route_cache: options.plain && !is_connect,
                    ..Default::default()
                }),
            })),
            ..Default::default()
        }))
    };
    let id = ("id", find("x-request-id").unwrap_or_default());
    match options.verdict {
        Verdict::Allow if is_connect => {
            allow("tunnel", &[id, ("session", format!("session-of {}", find(":authority").unwrap_or_default()))])
        }
        Verdict::Allow => allow(
            "allow",
            &[
                id,
                ("upstream", options.upstream.to_string()),
                ("upstream2", options.upstream2.unwrap_or(options.upstream).to_string()),
            ],
        ),
        Verdict::AllowUnpinned => allow("allow", &[id]),
        Verdict::Tunnel => allow("tunnel", &[id]),
        Verdict::Deny => Some(Ok(ProcessingResponse {
            dynamic_metadata: Some(in_namespace(BTreeMap::from([("decision", "deny".to_owned())]))),
            response: Some(processing_response::Response::ImmediateResponse(ImmediateResponse {
                status: Some(HttpStatus { code: 403 }),
                headers: Some(HeaderMutation {
                    set_headers: vec![set_header("content-type", "application/json")],
                    remove_headers: vec![],
                }),
                body: br#"{"error":"denied","reason":"noop"}"#.to_vec(),
                ..Default::default()
            })),
            ..Default::default()
        })),
        Verdict::EndError => Some(Err(Status::internal("asked to fail"))),
        Verdict::EndOk | Verdict::Hang => None,
    }
}

fn in_namespace(fields: BTreeMap<&str, String>) -> Struct {
    let text = |value: String| Value { kind: Some(Kind::StringValue(value)) };
    let inner = Struct { fields: fields.into_iter().map(|(key, value)| (key.to_owned(), text(value))).collect() };
    Struct { fields: [("attache".to_owned(), Value { kind: Some(Kind::StructValue(inner)) })].into() }
}

fn set_header(key: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: key.to_owned(), raw_value: value.as_bytes().to_vec(), ..Default::default() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
        ..Default::default()
    }
}

fn show<'a>(fields: impl IntoIterator<Item = (&'a String, &'a Value)>) -> String {
    let each: Vec<_> = fields.into_iter().map(|(key, value)| format!("{key}={:?}", value.kind)).collect();
    format!("[{}]", each.join(", "))
}

// ── access log, spans ────────────────────────────────────────────────────────────────────────────

struct Outcomes(Arc<Options>);

#[tonic::async_trait]
impl AccessLogService for Outcomes {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let mut messages = request.into_inner();
        while let Some(message) = messages.message().await? {
            if self.0.log {
                eprintln!("outcome {message:?}");
            }
        }
        Ok(Response::new(StreamAccessLogsResponse::default()))
    }
}

struct Spans(Arc<Options>);

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if self.0.log {
            for span in request
                .into_inner()
                .resource_spans
                .iter()
                .flat_map(|resource| &resource.scope_spans)
                .flat_map(|scope| &scope.spans)
            {
                eprintln!("span {span:?}");
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

// ── delta ADS ────────────────────────────────────────────────────────────────────────────────────

struct Discovery {
    options: Arc<Options>,
    ca: Arc<Ca>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type StreamAggregatedResourcesStream = Replies<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Replies<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("only delta ADS is served"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (options, ca) = (self.options.clone(), self.ca.clone());
        let replies = request.into_inner().filter_map(move |message| {
            let reply = match message {
                Ok(message) => discover(&options, &ca, message).map(Ok),
                Err(status) => Some(Err(status)),
            };
            async move { reply }
        });
        Ok(Response::new(Box::pin(replies)))
    }
}

/// The answer to a request for certificates or runtime settings.
pub fn discover(options: &Options, ca: &Ca, request: DeltaDiscoveryRequest) -> Option<DeltaDiscoveryResponse> {
    if options.log {
        eprintln!(
            "discovery {} subscribe={:?} unsubscribe={:?} initial={:?} nonce={} error={:?}",
            request.type_url,
            request.resource_names_subscribe,
            request.resource_names_unsubscribe,
            request.initial_resource_versions,
            request.response_nonce,
            request.error_detail,
        );
    }
    if request.resource_names_subscribe.is_empty() {
        return None;
    }
    let mut reply =
        DeltaDiscoveryResponse { type_url: request.type_url.clone(), nonce: "1".into(), ..Default::default() };
    for name in request.resource_names_subscribe {
        let resource = match request.type_url.as_str() {
            SECRET if options.deny_sni.as_ref() == Some(&name) => {
                reply.removed_resources.push(name);
                continue;
            }
            SECRET => Any { type_url: SECRET.into(), value: ca.secret(&name).encode_to_vec() },
            RUNTIME => Any {
                type_url: RUNTIME.into(),
                value: Runtime {
                    name: name.clone(),
                    layer: Some(Struct {
                        fields: options
                            .sampling
                            .map(|percent| {
                                let kind = Some(Kind::NumberValue(percent));
                                ("tracing.random_sampling".to_owned(), Value { kind })
                            })
                            .into_iter()
                            .collect(),
                    }),
                }
                .encode_to_vec(),
            },
            _ => continue,
        };
        reply.resources.push(Resource { name, version: "1".into(), resource: Some(resource), ..Default::default() });
    }
    Some(reply)
}

/// A CA that lives in two files, so that a restart keeps the trust of running clients.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    leaf_key: KeyPair,
}

impl Ca {
    /// Reads it, or makes it and writes it.
    pub fn load_or_make(path: &PathBuf) -> Ca {
        let key_path = path.with_extension("key");
        let key = match std::fs::read_to_string(&key_path) {
            Ok(pem) => KeyPair::from_pem(&pem).expect("the CA key parses"),
            Err(_) => KeyPair::generate().expect("a key"),
        };
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "noop CA");
        let certificate = params.self_signed(&key).expect("the CA signs itself");
        if !path.exists() {
            std::fs::write(path, certificate.pem()).expect("the CA can be written");
            std::fs::write(&key_path, key.serialize_pem()).expect("the key can be written");
        }
        Ca { issuer: Issuer::new(params, key), leaf_key: KeyPair::generate().expect("a key") }
    }

    fn secret(&self, name: &str) -> Secret {
        let leaf = CertificateParams::new(vec![name.to_owned()])
            .and_then(|params| params.signed_by(&self.leaf_key, &self.issuer))
            .expect("a leaf for any name that is a name");
        let inline =
            |pem: String| Some(DataSource { specifier: Some(Specifier::InlineString(pem)), ..Default::default() });
        Secret {
            name: name.to_owned(),
            r#type: Some(secret::Type::TlsCertificate(TlsCertificate {
                certificate_chain: inline(leaf.pem()),
                private_key: inline(self.leaf_key.serialize_pem()),
                ..Default::default()
            })),
        }
    }
}
