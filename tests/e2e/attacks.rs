//! What a hostile agent sends to break out, to be somebody else, or to take the proxy away from others.

mod bombs;
mod certificates;
mod environment;
mod frames;
mod fronting;
mod guessing;
mod notations;
mod redirects;
mod said;
mod secrets;
mod smuggling;
mod spoofing;
mod verdicts;

use std::sync::Arc;

use hyper::body::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ClientConnection;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::support::{Ask, Attache, Ca, Collector, PROTOCOLS, Upstream, ca, collector, script, tunnel, until, within};

/// Bytes that are no text cannot be named in an answer to Envoy; they must not cost others theirs.
#[tokio::test]
async fn a_server_name_that_is_no_text_takes_nothing_from_the_names_of_others() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up("allowedDomains: [api.example.com]").resolve("api.example.com", &upstream).start().await;
    let mut stream = tunnel::connect(attache.proxy(), "api.example.com:443", &[]).await.unwrap();
    stream.write_all(&client_hello(b"\xff\xfe.example.com")).await.unwrap();
    attache.wait_log(|record| record["reason"] == "sni_invalid").await;

    // Nobody has asked for this name yet.
    let answer = attache.curl(["https://api.example.com/"]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Prepares another bootstrap, which leads out, where attaché keeps its own, be it by putting another directory in the
/// place of the one it cannot touch; ends both processes, and asks what comes up then.
const TAKEOVER: &str = "
import json, os, requests, signal, time
state = os.path.dirname(os.environ['CURL_CA_BUNDLE'])
ready = json.load(open(os.path.join(state, 'state.json')))
print(sorted(os.listdir(state)))
bundle = open(os.environ['CURL_CA_BUNDLE']).read()
above = os.path.dirname(state)
os.rename(above, above + '.moved')
os.makedirs(state)
for place in [state, state.replace(above, above + '.moved')]:
    for name in ['envoy.yaml', 'service.sock', 'upstream-ca.pem']:
        with open(os.path.join(place, name), 'w') as file:
            file.write('{}')
with open('bundle.pem', 'w') as file:
    file.write(bundle)
for pid in [ready['envoyPid'], ready['servicePid']]:
    os.kill(pid, signal.SIGKILL)
deadline = time.time() + 25
while time.time() < deadline:
    try:
        answer = requests.get('https://api.example.com/after', verify='bundle.pem')
        if answer.status_code == 200:
            print('after', answer.status_code)
            break
    except requests.RequestException:
        pass
    time.sleep(0.1)
";

#[tokio::test]
async fn an_isolated_agent_cannot_have_another_envoy_started_in_place_of_ours() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let place = tempfile::tempdir().unwrap();
    let work = format!("--chdir={}", place.path().display());
    let ran = Attache::up("allowedDomains: [api.example.com]")
        .resolve("api.example.com", &upstream)
        .state_dir(&place.path().join("above/state"))
        .flags(["--isolate"])
        .through(["env".to_owned(), work])
        .run(script::python(TAKEOVER))
        .await;
    assert_eq!(ran.stdout, "['bundle.p12', 'bundle.pem', 'ca.pem', 'state.json']\nafter 200\n", "{}", ran.stderr);
    let seen: Vec<_> = upstream.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(seen, ["/after"]);
}

/// Tunnels of several agents as streams of one connection to the proxy.
#[tokio::test]
async fn tunnels_that_share_a_connection_do_not_share_an_identity() {
    const POLICY: &str = "
agents:
  ann: {identity: [{token: {env: ANN}}], allowedDomains: [{pattern: api.example.com, httpRestrictions: [{method: GET, path: /ann}]}]}
  bob: {identity: [{token: {env: BOB}}], allowedDomains: [{pattern: api.example.com, httpRestrictions: [{method: GET, path: /bob}]}]}
";
    let upstream = Upstream::https(["api.example.com"]).await;
    let setup = Attache::up(POLICY).env("ANN", "the-token-of-ann").env("BOB", "the-token-of-bob");
    let attache = setup.resolve("api.example.com", &upstream).start().await;
    let proxy = tunnel::h2(TcpStream::connect(attache.proxy()).await.unwrap()).await;
    let ca = attache.ca_pem();
    let asks = (0..40).map(async |number| {
        let agent = ["ann", "bob"][number % 2];
        let request = http::Request::connect("api.example.com:443")
            .header("proxy-authorization", format!("Bearer the-token-of-{agent}"))
            .body(())
            .unwrap();
        let mut proxy = within("a stream", proxy.clone().ready()).await.unwrap();
        let (answer, to) = proxy.send_request(request, false).unwrap();
        let answer = within("the tunnel", answer).await.unwrap();
        assert_eq!(answer.status(), 200);
        let stream = spoken(to, answer.into_body());
        let mut stream = tunnel::tls(stream, Some("api.example.com"), &ca, &["http/1.1"]).await.unwrap();
        let answer = tunnel::raw(&mut stream, b"GET /ann HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
        let expected = if agent == "ann" { "HTTP/1.1 200" } else { "HTTP/1.1 403" };
        assert!(answer.starts_with(expected), "{agent}: {answer}");
    });
    futures_util::future::join_all(asks).await;
    assert_eq!(upstream.requests().len(), 20);
    for record in attache.records() {
        assert_eq!(record["decision"], if record["agent"] == "ann" { "allow" } else { "deny" }, "{record}");
    }
}

/// What is spoken inside a stream of HTTP/2.
fn spoken(mut to: h2::SendStream<Bytes>, mut from: h2::RecvStream) -> tokio::io::DuplexStream {
    let (ours, theirs) = tokio::io::duplex(65536);
    let (mut read, mut write) = tokio::io::split(theirs);
    tokio::spawn(async move {
        let mut buffer = [0; 16384];
        while let Ok(length @ 1..) = read.read(&mut buffer).await {
            if to.send_data(Bytes::copy_from_slice(&buffer[..length]), false).is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(Ok(data)) = from.data().await {
            let _ = from.flow_control().release_capacity(data.len());
            if write.write_all(&data).await.is_err() {
                return;
            }
        }
    });
    ours
}

/// Envoy keeps connections by address. One that was opened for a host is not another's whom its certificate does not name.
#[tokio::test]
async fn a_connection_to_one_host_is_not_used_for_another_at_the_same_address() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up("allowedDomains: [api.example.com, other.example.com, 'http://plain.example.com']")
        .resolve("api.example.com", &upstream)
        .resolve("other.example.com", &upstream)
        .resolve_port("plain.example.com", 80, &upstream)
        .start()
        .await;
    for _ in 0..2 {
        assert_eq!(attache.curl(["https://api.example.com/"]).await.status, 200);
        for other in ["https://other.example.com/", "http://plain.example.com/"] {
            let answer = attache.curl([other]).await;
            assert_ne!(answer.status, 200, "{other}: {answer:?}");
        }
    }
    assert_eq!(upstream.requests().len(), 2);
}

/// No header of ours or Envoy's decides anything where an agent wrote it, nor does `Connection` take one out.
#[tokio::test]
async fn headers_that_steer_the_proxy_are_not_the_agents_to_write() {
    const POLICY: &str = "
allowedDomains: [api.example.com]
credentials:
  - {name: key, envVarKey: KEY, injections: [{domain: api.example.com, headerName: X-Key, headerFormat: '{value}'}]}
";
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(POLICY).env("KEY", "s3cret").resolve("api.example.com", &upstream).start().await;
    let steering = [
        "X-Attache-Int-Route: plain",
        "x-attache-anything: 1",
        "X-Envoy-Original-Dst-Host: 127.0.0.1:9",
        "x-envoy-upstream-rq-timeout-ms: 1",
        "x-envoy-attempt-count: 2",
        "x-request-id: second",
        "x-forwarded-proto: http",
        "X-Key: mine",
        "Connection: x-key, x-attache-int-route, keep-alive",
    ];
    for url in ["https://api.example.com/", "http://api.example.com:443/"] {
        let headers = steering.iter().flat_map(|header| ["-H", header]);
        let answer = attache.curl(["--http1.1", url].into_iter().chain(headers)).await;
        assert_eq!(answer.status, 200, "{url}: {answer:?}");
        let seen = upstream.requests().pop().unwrap();
        assert_eq!(seen.header_values("x-key"), ["s3cret"], "{url}");
        for (name, _) in &seen.headers {
            let name = name.as_str();
            let left = ["x-attache-", "x-envoy-", "x-request-id", "x-forwarded-", "connection"];
            assert!(!left.iter().any(|left| name.starts_with(left)), "{url}: {name}");
        }
    }
}

#[tokio::test]
async fn a_transfer_coding_that_nobody_knows_is_malformed_and_on_record() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up("allowedDomains: [api.example.com]").resolve("api.example.com", &upstream).start().await;
    let stream = tunnel::connect(attache.proxy(), "api.example.com:443", &[]).await.unwrap();
    let stream = tunnel::tls(stream, Some("api.example.com"), &attache.ca_pem(), &["http/1.1"]).await;
    let request = b"POST / HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked, identity\r\n\r\n";
    let answer = tunnel::raw(&mut stream.unwrap(), request).await;
    assert!(answer.contains(r#""reason":"malformed_request""#), "{answer}");
    let record = attache.wait_log(|record| record["reason"] == "malformed_request").await;
    assert!(answer.contains(record["requestId"].as_str().unwrap()), "{answer} {record}");
    assert_eq!(upstream.requests().len(), 0);
}

/// An upstream that does not switch reads what follows as its next request, which nobody judged.
#[tokio::test]
async fn what_follows_a_websocket_that_was_not_opened_does_not_leave() {
    const POLICY: &str = "
dlp: {profiles: {default: {webSockets: allow}}}
allowedDomains: [{pattern: api.example.com, upgrades: [websocket], httpRestrictions: [{method: GET, path: '/status/**'}]}]
";
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(POLICY).resolve("api.example.com", &upstream).start().await;
    for status in ["200", "426"] {
        let stream = tunnel::connect(attache.proxy(), "api.example.com:443", &[]).await.unwrap();
        let stream = tunnel::tls(stream, Some("api.example.com"), &attache.ca_pem(), &["http/1.1"]).await;
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 7";
        let requests = format!(
            "GET /status/{status} HTTP/1.1\r\nHost: api.example.com\r\n{upgrade}\r\n\r\n\
             GET /smuggled HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
        );
        let mut stream = stream.unwrap();
        let answer = tunnel::raw(&mut stream, requests.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    let seen: Vec<_> = upstream.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(seen, ["/status/200", "/status/426"]);
}

/// Envoy reports every outcome on one stream.
#[tokio::test]
async fn bytes_that_are_no_text_leave_the_record_whole() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up("allowedDomains: [api.example.com]").resolve("api.example.com", &upstream).start().await;
    for protocol in PROTOCOLS {
        for (number, target) in [&b"/a"[..], b"/\xff", b"/?\xff"].into_iter().enumerate() {
            let ask = Ask::get(protocol, "https://api.example.com/").target(target);
            ask.header("user-agent", b"\xff").header("referer", b"\xfe").send_bytes(&attache).await;
            let after = format!("/after-{protocol:?}-{number}");
            assert_eq!(attache.curl([format!("https://api.example.com{after}")]).await.status, 200);
            attache.wait_log(|record| record["path"] == *after && record["status"] == 200).await;
        }
    }
    let records = attache.logs(&[]).await;
    assert_eq!(records.len(), 12, "{records:?}");
}

/// Envoy puts what an agent wrote into its spans, and sends several agents' spans together.
#[tokio::test]
async fn a_header_that_is_no_text_costs_nobody_a_span() {
    let (upstream, collector) = (Upstream::https(["api.example.com"]).await, Collector::start().await);
    let attache = Attache::up("allowedDomains: [api.example.com]")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
        .resolve("api.example.com", &upstream)
        .start()
        .await;
    until("Envoy's first span", async || {
        attache.curl(["https://api.example.com/"]).await;
        collector.spans().iter().any(|span| span.service == "attache-envoy").then_some(())
    })
    .await;
    let begin = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    // Without what the agent wrote, one is like another.
    let is_request = |received: &&collector::Received| {
        let collector::Received { span, .. } = received;
        let is_new = u128::from(span.start_time_unix_nano) > begin;
        is_new && span.name == "ingress" && received.attribute("http.method") == Some("GET")
    };
    let stream = tunnel::connect(attache.proxy(), "api.example.com:443", &[]).await.unwrap();
    let stream = tunnel::tls(stream, Some("api.example.com"), &attache.ca_pem(), &["http/1.1"]).await;
    let mut stream = stream.unwrap();
    for number in 0..20 {
        let mut request = format!("GET /{number} HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: ").into_bytes();
        request.extend_from_slice(if number % 2 == 0 { b"\xff\xfe" } else { b"text" });
        request.extend_from_slice(b"\r\n\r\n");
        assert!(tunnel::raw(&mut stream, &request).await.starts_with("HTTP/1.1 200"));
    }
    collector
        .wait_until("a span of Envoy's for each request", |spans| spans.iter().filter(is_request).count() == 20)
        .await;
}

/// A TLS handshake's first message that names these bytes.
fn client_hello(name: &[u8]) -> Vec<u8> {
    let stand_in = "x".repeat(name.len() - 8) + ".invalid";
    let server = ServerName::try_from(stand_in.clone()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(ca::client(Ca::shared().pem(), &[])), server).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    let at = hello.windows(name.len()).position(|bytes| bytes == stand_in.as_bytes()).unwrap();
    hello[at..at + name.len()].copy_from_slice(name);
    hello
}
