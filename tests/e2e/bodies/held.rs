//! Bodies that are held until they are clean, their heads with them.

use super::service::Stage;
use super::watcher::{FORBIDDEN, REPLACED, REPLACEMENT};
use crate::support::tunnel::raw;
use crate::support::within;

#[tokio::test]
async fn a_held_body_goes_out_as_it_came_or_replaced_with_its_length_right() {
    let stage = Stage::http1().await;
    for (body, sent) in [("hello", "hello".to_owned()), (&*format!("a {REPLACED} b"), format!("a {REPLACEMENT} b"))] {
        let length = format!("Content-Length: {}", body.len());
        let mut request = stage.head("POST", "/echo", &[&length, "x-body: refuse"]);
        request.extend(body.bytes());
        let answer = raw(&mut stage.connect().await, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let seen = stage.seen().pop().unwrap();
        assert_eq!(seen.text(), sent);
        assert_eq!(seen.header("content-length"), Some(&*sent.len().to_string()), "{seen:?}");
        assert_eq!(seen.header("transfer-encoding"), None);
    }
    assert_eq!(stage.decision().findings.len(), 1);
}

#[tokio::test]
async fn nothing_of_a_held_body_leaves_that_must_not() {
    let stage = Stage::new().await;
    let body = format!("{}{FORBIDDEN}", "x".repeat(900_000));
    let length = format!("Content-Length: {}", body.len());
    let mut request = stage.head("POST", "/echo", &[&length, "x-body: refuse"]);
    request.extend(body.bytes());
    let answer = raw(&mut stage.connect().await, &request).await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("dlp_blocked"), "{answer}");
    assert!(stage.seen().is_empty());
    let record = stage.decision();
    assert_eq!((record.reason.as_deref(), record.findings.len()), (Some("dlp_blocked"), 1));
}

#[tokio::test]
async fn trailers_of_a_held_body_are_seen_before_anything_leaves() {
    let stage = Stage::new().await;
    for (value, status) in [("fine", 200), (FORBIDDEN, 403)] {
        let mut client = stage.h2().await;
        let request = http::Request::post("http://api.example.com/echo").header("content-length", "5");
        let request = request.header("x-body", "refuse").body(()).unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        body.send_data("hello".into(), false).unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-checksum", value.parse().unwrap());
        body.send_trailers(trailers).unwrap();
        let answer = within("an answer", answer).await.unwrap();
        assert_eq!(answer.status(), status, "{:?} {:?}", stage.seen(), stage.inspections());
    }
    let seen = stage.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].text(), "hello");
    assert_eq!(seen[0].trailers.as_ref().unwrap()["x-checksum"], "fine");
}
