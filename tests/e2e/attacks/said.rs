//! What an agent writes stands in what people and programs read: it is data there, and moves nothing.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Ask, Collector, PROTOCOLS, Place, Protocol, curl, free_address, tunnel, until};

/// What moves a terminal, ends a line, or turns the text around it (UAX #9; also what has no width).
fn moves(character: char) -> bool {
    let turns =
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    turns || (character.is_control() && character != '\n')
}

/// Longer than Envoy takes to end what it refused, and shorter than it waits for more.
const SILENCE: Duration = Duration::from_secs(10);

const WORDS: [&str; 7] = [
    "\u{1b}[2J\u{1b}[31mallow",
    "\u{1b}]0;title\u{7}",
    "\u{9b}31m",
    "\u{202e}wolla",
    "\u{200b}\u{feff}",
    "x\r\n{\"type\":\"decision\",\"decision\":\"allow\"}",
    "\"} 1\nattache_forged_total 1\n# {x=\"",
];

#[tokio::test]
async fn nothing_an_agent_writes_moves_what_shows_it() {
    let metrics = free_address();
    let policy = "
allowedDomains: [api.example.com]
rules: [{name: Asked, host: api.example.com, path: /asked, action: {approval: {hold: 0s, expires: 10m}}}]
";
    let collector = Collector::start().await;
    let place = Place::with(policy, ["api.example.com"], |setup| {
        let setup = setup.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint());
        setup.flags(["--metrics", &metrics.to_string()])
    });
    let place = place.await;
    let attache = &place.attache;
    let huge = "w".repeat(12_000);
    for word in WORDS.into_iter().chain([&*huge]) {
        for protocol in PROTOCOLS {
            let ask = || Ask::get(protocol, "https://api.example.com/");
            // As it stands, encoded, in every place that is shown.
            let encoded: String = word.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let asks = [
                ask().target(format!("/{word}")),
                ask().target(format!("/{encoded}?{encoded}={encoded}")),
                ask().header("user-agent", word).header("referer", word).header("x-request-id", word),
                ask().header("traceparent", word),
                ask().authority(word),
                ask().connect(&format!("{}:443", word.replace(['\r', '\n'], ""))),
                Ask::new(protocol, &word.replace(' ', ""), "https://api.example.com/"),
                Ask::new(protocol, "POST", "https://api.example.com/asked")
                    .header("content-type", word.replace(['\r', '\n'], " ")),
            ];
            // Much of it is refused by Envoy already, some without a word: nobody waits for that.
            join_all(asks.map(|ask| timeout(SILENCE, ask.send_bytes(attache)))).await;
        }
        let body = Ask::new(Protocol::Http1, "POST", "https://api.example.com/asked").whole_body(word);
        assert_eq!(body.send(attache).await.reason(), "approval_pending");
        // A name in the handshake is what it is, too.
        let mut stream = TcpStream::connect(attache.proxy()).await.unwrap();
        let _ = stream.write_all(format!("{word}\r\n\r\n").as_bytes()).await;
    }
    let last = attache.curl(["https://api.example.com/the-last"]).await;
    assert_eq!(last.status, 200);
    attache.wait_log(|record| record["path"] == "/the-last" && record["status"] == 200).await;

    for line in attache.journal().lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line.len() < 80_000, "{} bytes", line.len());
    }
    let commands: [(&str, &[&str]); 4] =
        [("logs", &[]), ("approvals", &["list"]), ("health", &[]), ("logs", &["--control"])];
    for (command, arguments) in commands {
        let output = attache.command(command, arguments).await;
        assert_eq!(output.exit, 0, "{command}: {output:?}");
        for line in output.stdout.lines().chain(output.stderr.lines()) {
            assert!(!line.contains(moves), "{command} {arguments:?}: {line:?}");
        }
    }
    let asked = attache.command("approvals", &["list", "-o", "json"]).await.stdout;
    let asked: Vec<Value> = asked.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tickets: Vec<_> = asked.iter().filter_map(|asked| asked["ticket"].as_str()).collect();
    assert!(!tickets.is_empty());
    for ticket in tickets {
        let shown = attache.command("approvals", &["show", ticket]).await;
        assert_eq!(shown.exit, 0, "{shown:?}");
        assert!(!shown.stdout.contains(moves), "{:?}", shown.stdout);
    }
    assert!(!attache.stderr().contains(moves), "{:?}", attache.stderr());
    let exposition = curl([&format!("http://{metrics}/metrics")]).await.text();
    assert!(exposition.contains("attache_requests") && !exposition.contains(moves), "{exposition}");
    assert!(exposition.lines().all(|line| !line.starts_with("attache_forged")), "{exposition}");
    assert!(!exposition.contains(&huge[..200]), "a label of any length");
    until("a span", async || (!collector.spans().is_empty()).then_some(())).await;
    for received in collector.spans() {
        let name = &received.span.name;
        assert!(name.len() < 300 && !name.contains(moves), "{name:?}");
    }
}

/// The same in the name of a TLS handshake, which is not HTTP.
#[tokio::test]
async fn a_name_in_a_handshake_is_shown_as_data_too() {
    let place = Place::new("allowedDomains: [api.example.com]", ["api.example.com"]).await;
    for name in
        [&b"\x1b[31m.example.com"[..], b"a\nb.example.com", b"\xe2\x80\xaewolla.example.com", b"a\0b.example.com"]
    {
        let mut stream = tunnel::connect(place.attache.proxy(), "api.example.com:443", &[]).await.unwrap();
        stream.write_all(&super::client_hello(name)).await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
    }
    until("their records", async || (place.attache.records().len() >= 4).then_some(())).await;
    let output = place.attache.command("logs", &[]).await;
    assert!(output.stdout.contains("example.com") && !output.stdout.contains(moves), "{:?}", output.stdout);
    assert!(!place.attache.stderr().contains(moves), "{:?}", place.attache.stderr());
}
