//! How long it takes from `exec` of `attache serve` to its first verdict.
//!
//! ```text
//! cargo bench --bench start
//! cargo bench --bench start -- --quick
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[allow(dead_code, reason = "each benchmark uses a part of it")]
mod support;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};
use envoy_types::pb::envoy::service::ext_proc::v3::external_processor_client::ExternalProcessorClient;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    HttpHeaders, ProcessingRequest, processing_request, processing_response,
};
use futures_util::{StreamExt, stream};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;

use support::goals::say;
use support::load::TOKEN;
use support::stand::{self, Kind, Policy, Process};
use support::turns::{machine, median};

#[derive(Parser)]
#[command(about = "How long it takes to the first verdict")]
struct Options {
    /// Too little to compare: enough to see that it runs.
    #[arg(long)]
    quick: bool,
    /// How often each is started.
    #[arg(long, default_value_t = 20)]
    times: usize,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut options = Options::parse();
    if options.quick {
        options.times = 2;
    }
    println!("{}", machine());
    println!("{} starts each, alternated\n", options.times);
    println!("{:20} {:>9} {:>9} {:>9}", "ms", "median", "least", "most");
    let policies = [("one entry", 1), ("1,000 entries", 1000)];
    let mut took = [const { Vec::new() }; 2];
    for _ in 0..options.times {
        for ((_, rules), took) in policies.iter().zip(&mut took) {
            took.push(first_verdict(Policy { rules: *rules, credential: true }).await.as_secs_f64() * 1e3);
        }
    }
    for ((name, _), took) in policies.iter().zip(&took) {
        let bound = |of: fn(f64, f64) -> f64| took.iter().copied().reduce(of).unwrap_or(f64::NAN);
        let middle = median(took.iter().copied());
        println!("{name:20} {middle:9.1} {:9.1} {:9.1}", bound(f64::min), bound(f64::max));
    }
    println!();
    let [small, large] = took.map(|took| median(took.into_iter()));
    say("P12", large, format!("{small:.1} with a policy of one entry; medians of {} starts", options.times));
}

async fn first_verdict(policy: Policy) -> Duration {
    let directory = tempfile::tempdir().expect("a directory");
    let upstream = SocketAddr::from(([127, 0, 0, 1], 9));
    let command = Kind::Attache(policy).service(directory.path(), upstream, upstream, None).expect("it is a service");
    let socket = stand::socket(directory.path());
    let started = Instant::now();
    let service = Process::start(command);
    let connection = connect(&socket).await;
    let mut connection = Some(connection);
    let connector = tower::service_fn(move |_| {
        let connection = connection.take();
        async move { connection.map(TokioIo::new).ok_or_else(|| std::io::Error::other("only once")) }
    });
    let channel = Endpoint::from_static("http://attache").connect_with_connector(connector).await.expect("it answers");
    let mut request = tonic::Request::new(stream::once(async move { head(upstream) }).chain(stream::pending()));
    request.metadata_mut().insert("x-attache-door", "proxy".parse().expect("a word"));
    let answers = ExternalProcessorClient::new(channel).process(request).await.expect("it answers");
    let answer = answers.into_inner().message().await.expect("it answers").expect("a verdict");
    let took = started.elapsed();
    // It would wait for what it is still asked.
    service.kill();
    let allowed = matches!(answer.response, Some(processing_response::Response::RequestHeaders(_)));
    assert!(allowed, "policy allows that: {answer:?}");
    took
}

async fn connect(socket: &PathBuf) -> UnixStream {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match UnixStream::connect(socket).await {
            Ok(connection) => return connection,
            Err(error) => assert!(Instant::now() < deadline, "the service is not up: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn head(upstream: SocketAddr) -> ProcessingRequest {
    let fields = [
        (":method", "GET".to_owned()),
        (":scheme", "http".to_owned()),
        (":authority", stand::authority(upstream)),
        (":path", "/v1/items/42?limit=10".to_owned()),
        ("proxy-authorization", format!("Bearer {TOKEN}")),
        ("x-request-id", "6c2d4a52-2b8e-4d1c-9a53-0f8d6e3b7a10".to_owned()),
    ];
    let headers = fields.into_iter().map(|(key, value)| HeaderValue {
        key: key.to_owned(),
        raw_value: value.into_bytes(),
        ..HeaderValue::default()
    });
    let head = HttpHeaders {
        headers: Some(HeaderMap { headers: headers.collect() }),
        end_of_stream: true,
        ..HttpHeaders::default()
    };
    ProcessingRequest {
        request: Some(processing_request::Request::RequestHeaders(head)),
        ..ProcessingRequest::default()
    }
}
