//! Responses that are looked into: what must not reach the agent does not, and what may is not kept waiting.

use hyper::body::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::service::{HOST, Stage};
use super::watcher::{FORBIDDEN, PANICS, REPLACED, REPLACEMENT};
use crate::support::tunnel::raw;
use crate::support::within;

/// What the upstream says: it echoes the request's body.
fn echoing(stage: &Stage, text: &str, fields: &[&str]) -> Vec<u8> {
    let length = format!("Content-Length: {}", text.len());
    let mut request = stage.head("POST", "/echo", &[&[&*length, "Connection: close"], fields].concat());
    request.extend(text.bytes());
    request
}

#[tokio::test]
async fn a_response_is_replaced_refused_or_passed() {
    for stage in [Stage::new().await, Stage::http1().await] {
        for way in ["x-response: now", "x-response: hold"] {
            let answer = raw(&mut stage.connect().await, &echoing(&stage, "clean", &[way])).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("clean"), "{answer}");
            let head = answer.split("\r\n\r\n").next().unwrap();
            assert!(!head.contains("content-length"), "{answer}");
            let answer = raw(&mut stage.connect().await, &echoing(&stage, REPLACED, &[way])).await;
            assert!(answer.contains(REPLACEMENT) && !answer.contains(REPLACED), "{answer}");
        }
        // Before the head has gone on it becomes an answer.
        let answer = raw(&mut stage.connect().await, &echoing(&stage, FORBIDDEN, &["x-response: hold"])).await;
        assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("response_blocked"), "{answer}");
        let answer = raw(&mut stage.connect().await, &echoing(&stage, PANICS, &["x-response: hold"])).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("scan_failed"), "{answer}");
        let found = stage.inspections();
        let blocked = found.iter().find(|found| found.reason.as_deref() == Some("response_blocked")).unwrap();
        assert_eq!((blocked.status, blocked.findings.len()), (Some(502), 1), "{found:?}");
        // And afterwards the end of the connection: a whole answer ends with the last chunk.
        for text in [FORBIDDEN, PANICS] {
            let answer = raw(&mut stage.connect().await, &echoing(&stage, text, &["x-response: now"])).await;
            // Envoy lets a head go with the first part of the body if that is there already.
            let instead = answer.starts_with("HTTP/1.1 50");
            assert!(!answer.contains(text) && (instead || !answer.ends_with("0\r\n\r\n")), "{answer}");
        }
    }
}

#[tokio::test]
async fn an_answer_over_http2_that_must_not_go_on_is_reset() {
    let stage = Stage::new().await;
    for (way, text) in [("now", FORBIDDEN), ("hold", FORBIDDEN), ("now", "clean"), ("hold", "clean")] {
        let mut client = stage.h2().await;
        let request = http::Request::post(format!("http://{HOST}/echo")).header("x-response", way).body(()).unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from(text), true).unwrap();
        let mut received = Vec::new();
        let mut whole = true;
        let status = match within("an answer", answer).await {
            Ok(answer) => {
                let (head, mut body) = answer.into_parts();
                while let Some(data) = within("the rest", body.data()).await {
                    match data {
                        Ok(data) => received.extend(data),
                        Err(_) => whole = false,
                    }
                }
                head.status.as_u16()
            }
            Err(_) => {
                whole = false;
                0
            }
        };
        let text = String::from_utf8_lossy(&received);
        match (way, text.contains("clean")) {
            (_, true) => assert!(status == 200 && whole, "{way} {status} {text}"),
            ("hold", _) => {
                assert!(status == 502 && whole && text.contains("response_blocked"), "{way} {status} {text}")
            }
            // Envoy lets a head go with the first part of the body if that is there already.
            _ => assert!((!whole || status == 502) && !text.contains(FORBIDDEN), "{way} {status} {text}"),
        }
    }
}

#[tokio::test]
async fn answers_without_a_body_are_left_alone() {
    let stage = Stage::new().await;
    for way in ["x-response: now", "x-response: hold"] {
        for status in [204, 304] {
            let head = stage.head("GET", &format!("/status/{status}"), &[way, "Connection: close"]);
            let answer = raw(&mut stage.connect().await, &head).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.ends_with("\r\n\r\n"), "{answer}");
        }
    }
    assert!(stage.inspections().is_empty());
    // Over HTTP/2, the upstream's library sends a body even to HEAD.
    let stage = Stage::http1().await;
    for way in ["x-response: now", "x-response: hold"] {
        let head = stage.head("HEAD", "/big/1234", &[way, "Connection: close"]);
        let answer = raw(&mut stage.connect().await, &head).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("content-length: 1234"), "{answer}");
    }
    assert!(stage.inspections().is_empty());
}

#[tokio::test]
async fn events_reach_the_agent_as_they_come() {
    let stage = Stage::new().await;
    for way in ["x-response: now", "x-response: hold"] {
        let mut stream = stage.connect().await;
        stream.write_all(&stage.head("GET", "/sse-open", &[way])).await.unwrap();
        let mut answer = Vec::new();
        let mut buffer = [0; 1024];
        while !String::from_utf8_lossy(&answer).contains("data: event 0") {
            let count = within("an event", stream.read(&mut buffer)).await.unwrap();
            assert_ne!(count, 0);
            answer.extend_from_slice(&buffer[..count]);
        }
    }
}

#[tokio::test]
async fn a_head_waits_only_where_it_is_told_to_and_then_as_long_as_it_takes() {
    let stage = Stage::new().await;
    let mut stream = stage.connect().await;
    stream.write_all(&stage.head("GET", "/silent/3600000", &["x-response: now"])).await.unwrap();
    let mut head = [0; 15];
    within("the head alone", stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    // Longer than `message_timeout`, which does not count here.
    let head = stage.head("GET", "/silent/6000", &["x-response: hold", "Connection: close"]);
    let answer = raw(&mut stage.connect().await, &head).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("at last"), "{answer}");
}

#[tokio::test]
async fn a_large_response_passes_whole() {
    let stage = Stage::new().await;
    let head = stage.head("GET", "/big/3000000", &["x-response: hold", "Connection: close"]);
    let answer = raw(&mut stage.connect().await, &head).await;
    assert_eq!(answer.matches('x').count() / 3_000_000, 1, "{} bytes", answer.len());
}

#[tokio::test]
async fn what_envoy_answers_itself_passes_as_it_is() {
    let stage = Stage::new().await;
    for way in ["x-response: now", "x-response: hold"] {
        let answer = raw(&mut stage.connect().await, &stage.head("GET", "/reset", &[way, "Connection: close"])).await;
        assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("upstream_reset"), "{answer}");
    }
    // An answer that breaks off is no whole one.
    let head = stage.head("GET", "/reset-midway", &["x-response: now", "Connection: close"]);
    let answer = raw(&mut stage.connect().await, &head).await;
    assert!(answer.contains("begun") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}
