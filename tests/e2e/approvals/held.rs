//! A request is held until a person answers, and goes out once or never.

use std::io::Write;

use attache::control::api::Verdict;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::{ORIGIN, Place};
use crate::support::{Collector, curl, free_address, grpc, script, until};

#[tokio::test]
async fn what_a_person_approves_goes_out_once_and_whole() {
    let place = Place::new().await;
    let mut sent = Vec::new();
    for (number, (protocol, size)) in
        [("--http1.1", 0), ("--http2", 0), ("--http1.1", 1), ("--http2", 1), ("--http1.1", 900), ("--http2", 900 << 10)]
            .into_iter()
            .enumerate()
    {
        // 900 KiB over HTTP/1 too, in chunks without a length.
        let (size, chunked) = if size == 900 { (900 << 10, true) } else { (size, false) };
        let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(&body).unwrap();
        let data = format!("@{}", file.path().display());
        let mut arguments = vec![protocol, "--request", "POST", "--header", "Content-Type: application/x-test"];
        if chunked {
            arguments.extend(["--header", "Transfer-Encoding: chunked"]);
        }
        arguments.extend(["--data-binary", &data]);
        let path = format!("/held/{number}?q={number}");
        let answer = place.approved(&path, &arguments).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        sent.push((path, body));
    }
    let seen = place.upstream.wait_for(sent.len()).await;
    assert_eq!(seen.len(), sent.len(), "{:?}", place.reached());
    for (seen, (path, body)) in seen.iter().zip(&sent) {
        assert_eq!((seen.method.as_str(), &seen.path), ("POST", path));
        assert!(seen.body == *body, "{path}: {} bytes of {}", seen.body.len(), body.len());
        assert_eq!(seen.header("x-key"), Some("s3cret"), "{path}");
    }

    let uid = rustix::process::getuid().as_raw();
    for record in place.attache.records() {
        assert_eq!(record["decision"], "allow", "{record}");
        let approval = &record["approval"];
        assert_eq!(approval["why"], "it is fine");
        let by = approval["by"].as_str().unwrap();
        assert!(by.starts_with("ann (") && by.ends_with(&format!("uid {uid})")), "{by}");
        let events = place.events_of(approval["ticket"].as_str().unwrap(), 2).await;
        let mut kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["approved", "asked"]);
        let asked = events.iter().find(|event| event["event"] == "asked").unwrap();
        let approved = events.iter().find(|event| event["event"] == "approved").unwrap();
        assert_eq!(asked["query"], "q=***");
        assert_eq!((&approved["by"], &approved["why"]), (&approval["by"], &approval["why"]));
        assert_eq!(asked["fingerprint"].as_str().unwrap().len(), 64);
        assert_eq!(asked["fingerprint"], approved["fingerprint"]);
        assert_eq!((&asked["rules"][0], &asked["path"]), (&"rules[Held]".into(), &record["path"]));
    }
    assert_eq!(place.open().await, [], "what was used is gone");
}

/// An agent in Python, plain and encrypted, with a body it makes as it goes.
#[tokio::test]
async fn a_python_agent_waits_as_well() {
    let place = Place::new().await;
    let agent = "
import os, requests
def parts():
    for part in ['a', 'b' * 70000, 'c']:
        yield part.encode()
for url in ['https://api.example.com/held/py', 'http://api.example.com/held/py']:
    answer = requests.post(url, data=parts(), headers={'content-type': 'text/plain'})
    print(answer.status_code, answer.json().get('reason'), len(answer.json().get('body', '')))
";
    let proxy = format!("http://{}", place.attache.proxy());
    let bundle = place.attache.ready().bundle.to_str().unwrap().to_owned();
    let variables = [("HTTP_PROXY", &*proxy), ("HTTPS_PROXY", &*proxy), ("REQUESTS_CA_BUNDLE", &*bundle)];
    let (output, ()) = tokio::join!(script::run(script::python(agent), &variables), async {
        let first = place.question("/held/py", 1).await;
        assert_eq!(first.body_bytes, 70_002);
        place.approve(&first.ticket).await;
        place.upstream.wait_for(1).await;
        // By either spelling it is the same request, and has to be asked for again.
        let second = place.question("/held/py", 1).await;
        assert_ne!(first.ticket, second.ticket);
        assert_eq!((second.scheme.as_str(), second.body_sha256), ("https", first.body_sha256));
        place.answer(&second.ticket, Verdict::Refuse, "once is enough").await.unwrap();
    });
    assert_eq!(output.stdout, "200 None 70002\n403 approval_refused 0\n", "{output:?}");
    assert_eq!(place.upstream.requests().len(), 1);
}

#[tokio::test]
async fn what_a_person_refuses_never_goes_out_and_the_agent_learns_why() {
    let place = Place::new().await;
    let url = format!("{ORIGIN}/held/no");
    for protocol in ["--http1.1", "--http2"] {
        let (answer, ()) = tokio::join!(place.attache.curl([protocol, "--data", "x", &url]), async {
            if protocol == "--http1.1" {
                let question = place.question("/held/no", 1).await;
                place.answer(&question.ticket, Verdict::Refuse, "not without an order number").await.unwrap();
            }
        });
        // The second one is not even held: it has been answered.
        assert_eq!(answer.status, 403, "{answer:?}");
        let json = answer.json();
        assert_eq!((&json["error"], &json["reason"]), (&"denied".into(), &"approval_refused".into()));
        assert!(json["message"].as_str().unwrap().contains("not without an order number"), "{json}");
        assert_eq!(json["rule"], "rules[Held]");
    }
    assert!(place.upstream.connections().is_empty());
    let records = place.attache.records();
    assert_eq!(records.len(), 2);
    for record in records {
        assert_eq!((&record["decision"], &record["reason"]), (&"deny".into(), &"approval_refused".into()));
        assert_eq!(record["approval"]["why"], "not without an order number");
    }
    assert_eq!(place.events().len(), 2, "asked and refused: {:?}", place.events());
}

/// A gRPC client gets a status on which it does not try again by itself, and a sentence.
#[tokio::test]
async fn a_grpc_agent_is_told_too() {
    let policy = r#"
allowedDomains: [api.example.com]
rules:
  - {name: Echo, host: api.example.com, path: "/attache.test.Echo/Unary", action: {approval: {hold: 0s, expires: 10m}}}
"#;
    let place = Place::with(policy, |setup| setup).await;
    let call = async || {
        let channel = grpc::channel(place.attache.proxy(), "api.example.com:443", &place.attache.ca_pem());
        grpc::unary(channel, "hello").await
    };
    let pending = call().await.unwrap_err();
    assert_eq!(pending.code(), tonic::Code::FailedPrecondition, "{pending:?}");
    assert!(pending.message().contains("approval_pending"), "{pending:?}");
    assert!(place.upstream.connections().is_empty());
    let question = place.question("/attache.test.Echo/Unary", 0).await;
    assert_eq!(question.content_type.as_deref(), Some("application/grpc"));
    place.approve(&question.ticket).await;
    assert!(call().await.unwrap().contains("hello"));
    let third = call().await.unwrap_err();
    assert_eq!(third.code(), tonic::Code::FailedPrecondition, "{third:?}");
    assert_eq!(place.reached().len(), 1);
}

const BRIEF: &str = r#"
allowedDomains: [api.example.com]
rules:
  - {name: Brief, host: api.example.com, path: "/brief/**", action: {approval: {hold: 1s, expires: 10m}}}
  - {name: Short, host: api.example.com, path: "/short/**", action: {approval: {hold: 0s, expires: 1s}}}
"#;

#[tokio::test]
async fn who_comes_again_after_the_hold_gets_through_once() {
    let metrics = free_address();
    let collector = Collector::start().await;
    let place = Place::with(BRIEF, |setup| {
        let setup = setup.flags(["--metrics", &metrics.to_string()]);
        setup.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint()).env("OTEL_BSP_SCHEDULE_DELAY", "50")
    })
    .await;
    let metric = async |name: &str| -> Option<f64> {
        let text = curl([&format!("http://{metrics}/metrics")]).await.text();
        text.lines().find(|line| line.starts_with(name))?.rsplit(' ').next()?.parse().ok()
    };
    for protocol in ["--http1.1", "--http2"] {
        let url = format!("{ORIGIN}/brief/{protocol}?a=1");
        let get = async || place.attache.curl([protocol, &url]).await;
        let first = get().await;
        let ticket = Place::ticket(&first);
        let json = first.json();
        assert_eq!((&json["error"], &json["status"]), (&"pending".into(), &"approval_pending".into()), "{json}");
        assert_eq!((first.header("retry-after"), &json["retryAfterSeconds"]), (Some("5"), &5.into()));
        assert_eq!(json["rule"], "rules[Brief]");
        assert_eq!(Place::ticket(&get().await), ticket, "the same question");
        until("the gauge", async || (metric("attache_approvals_pending").await == Some(1.0)).then_some(())).await;
        assert!(metric("attache_approvals_oldest_seconds").await > Some(0.5));

        place.approve(&ticket).await;
        assert_eq!(get().await.status, 200);
        let third = Place::ticket(&get().await);
        assert_ne!(third, ticket, "one approval is for one request");
        place.answer(&third, Verdict::Refuse, "").await.unwrap();
        until("the gauge", async || (metric("attache_approvals_pending").await == Some(0.0)).then_some(())).await;
        assert_eq!(metric("attache_approvals_oldest_seconds").await, Some(0.0));

        let spans = collector.wait_until("a span with the question", |spans| {
            spans.iter().any(|span| span.attribute("attache.approval.id") == Some(&*ticket))
        });
        let spans = spans.await;
        let of_it = |span: &&_| -> bool {
            let span: &crate::support::collector::Received = span;
            span.attribute("attache.approval.id") == Some(&*ticket)
        };
        let decisions: Vec<_> = spans.iter().filter(of_it).map(|span| span.attribute("attache.decision")).collect();
        assert!(decisions.contains(&Some("pending")), "{decisions:?}");
    }
    assert_eq!(place.reached().len(), 2, "{:?}", place.reached());
    let pending = "attache_requests_total{agent=\"default\",decision=\"pending\"";
    let text = curl([&format!("http://{metrics}/metrics")]).await.text();
    assert!(text.lines().any(|line| line.starts_with(pending) && line.ends_with(" 6")), "{text}");
}

#[tokio::test]
async fn a_question_nobody_answers_expires_and_is_asked_anew() {
    let place = Place::with(BRIEF, |setup| setup).await;
    let get = async || place.attache.curl([format!("{ORIGIN}/short/x")]).await;
    let ticket = Place::ticket(&get().await);
    let events = place.events_of(&ticket, 2).await;
    assert_eq!(events[1]["event"], "expired", "{events:?}");
    let late = place.answer(&ticket, Verdict::Approve, "").await.unwrap_err();
    assert!(matches!(late.code(), tonic::Code::DeadlineExceeded | tonic::Code::NotFound), "{late}");
    let second = Place::ticket(&get().await);
    assert_ne!(second, ticket);

    // An approval that nobody comes for ends as well.
    place.approve(&second).await;
    let events = place.events_of(&second, 3).await;
    assert_eq!(events[2]["event"], "expired", "{events:?}");
    assert_ne!(Place::ticket(&get().await), second);
    assert!(place.upstream.connections().is_empty());
    let kinds: Vec<Value> = place.events().into_iter().map(|event| event["event"].clone()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "asked").count(), 3, "{kinds:?}");
}

/// A real hold, as long as a person takes who was at lunch.
#[tokio::test]
async fn a_request_is_held_for_three_minutes() {
    let policy = super::POLICY.replace("hold: 25s", "hold: 200s");
    let place = Place::with(&policy, |setup| setup).await;
    let clients = ["--http1.1", "--http2"].map(|protocol| {
        let mut command = tokio::process::Command::new("curl");
        command.args(["--disable", "--silent", "--show-error", "--max-time", "240", protocol, "--data", "x"]);
        command.args(["--write-out", " %{http_code}"]);
        command.arg("--proxy").arg(format!("http://{}", place.attache.proxy()));
        command.arg("--cacert").arg(&place.attache.ready().bundle).arg(format!("{ORIGIN}/held/{protocol}"));
        tokio::spawn(async move { command.kill_on_drop(true).output().await.unwrap() })
    });
    let questions = [place.question("/held/--http1.1", 1).await, place.question("/held/--http2", 1).await];
    tokio::time::sleep(std::time::Duration::from_secs(180)).await;
    assert!(place.upstream.connections().is_empty());
    for question in questions {
        place.approve(&question.ticket).await;
    }
    for client in clients {
        let output = client.await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.ends_with(" 200"), "{text} {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(place.reached().len(), 2);
}
