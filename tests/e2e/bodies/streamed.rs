//! Request bodies that are not held: what has been cleared goes on at once, and nothing else does.

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use super::service::{HOST, Stage};
use super::watcher::{FORBIDDEN, PANICS, REPLACED, REPLACEMENT};
use crate::support::tunnel::raw;
use crate::support::{grpc, until, within};

const CHUNKED: &str = "Transfer-Encoding: chunked";

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

#[tokio::test]
async fn a_body_of_unknown_length_passes_and_what_is_found_in_it_is_replaced() {
    for stage in [Stage::new().await, Stage::http1().await] {
        let mut request = stage.head("POST", "/echo", &[CHUNKED, "x-body: any-length"]);
        for text in ["one REP", "LACE-ME two FORB", "ear"] {
            request.extend(chunk(text));
        }
        request.extend(b"0\r\n\r\n");
        let answer = raw(&mut stage.connect().await, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(stage.seen()[0].text(), format!("one {REPLACEMENT} two FORBear"));
        let found = stage.inspections();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].bytes, found[0].findings.len()), (26, 1), "{found:?}");
    }
}

#[tokio::test]
async fn what_must_not_leave_ends_the_request_and_nothing_behind_it_left() {
    for stage in [Stage::new().await, Stage::http1().await] {
        let mut stream = stage.connect().await;
        let mut request = stage.head("POST", "/echo", &[CHUNKED, "x-body: any-length"]);
        request.extend(chunk("harmless"));
        stream.write_all(&request).await.unwrap();
        // It has gone on while the rest is still to come.
        stage.upstream().wait_until("the first bytes", |seen| seen.iter().any(|seen| seen.body == b"harmless")).await;
        let answer = raw(&mut stream, &chunk(&format!(" then {FORBIDDEN} and more"))).await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("dlp_blocked"), "{answer}");
        let seen = &stage.seen()[0];
        assert!(!seen.complete && !seen.text().contains("FOR") && !seen.text().contains("more"), "{seen:?}");
        let found = stage.inspections();
        assert_eq!((found.len(), found[0].status, found[0].reason.as_deref()), (1, Some(403), Some("dlp_blocked")));
    }
}

#[tokio::test]
async fn a_panic_in_the_middle_of_a_body_ends_its_request() {
    let stage = Stage::new().await;
    let mut request = stage.head("POST", "/echo", &[CHUNKED, "x-body: any-length"]);
    request.extend(chunk(&format!("harmless {PANICS}")));
    let answer = raw(&mut stage.connect().await, &request).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("scan_failed"), "{answer}");
    assert!(stage.seen().iter().all(|seen| !seen.complete && !seen.text().contains("PANIC")));
    assert_eq!(stage.inspections()[0].reason.as_deref(), Some("scan_failed"));
}

#[tokio::test]
async fn a_body_of_known_length_keeps_it() {
    let stage = Stage::http1().await;
    let body = "x".repeat(2_000_000);
    let length = format!("Content-Length: {}", body.len());
    let mut request = stage.head("POST", "/echo", &[&length, "x-body: stream"]);
    request.extend(body.bytes());
    let answer = raw(&mut stage.connect().await, &request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = &stage.seen()[0];
    assert_eq!((seen.header("content-length"), seen.body.len()), (Some("2000000"), 2_000_000));

    let mut request = stage.head("POST", "/echo", &[&length, "x-body: refuse"]);
    request.extend(body.bytes());
    let answer = raw(&mut stage.connect().await, &request).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"), "{answer}");
    assert_eq!(stage.seen().len(), 1);
}

#[tokio::test]
async fn who_waits_for_an_answer_in_the_middle_of_a_body_gets_it() {
    let stage = Stage::new().await;
    let channel = plain_channel(&stage);
    let (send, messages) = mpsc::channel(1);
    let mut echoes = grpc_chat(channel.clone(), ReceiverStream::new(messages)).await.unwrap();
    for message in ["one", "two FORBear", "three FORGET"] {
        send.send(message.to_owned()).await.unwrap();
        let echoed = within("an echo", echoes.message()).await.unwrap();
        assert_eq!(echoed.as_deref(), Some(message), "while the stream is open");
    }
    send.send(format!("four {FORBIDDEN}")).await.unwrap();
    let status = within("the end", echoes.message()).await.unwrap_err();
    assert!(!format!("{:?}", stage.seen()).contains("four"), "{status:?}");
    assert_eq!(stage.inspections().last().unwrap().reason.as_deref(), Some("dlp_blocked"));
    assert_eq!(grpc::unary(channel, "hello").await.unwrap(), "hello");
}

#[tokio::test]
async fn trailers_are_seen_before_they_go_on() {
    let stage = Stage::new().await;
    for (value, status) in [("fine", 200), (FORBIDDEN, 403)] {
        let mut client = stage.h2().await;
        let request = http::Request::post("http://api.example.com/echo").header("x-body", "any-length");
        let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data("hello".into(), false).unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-checksum", value.parse().unwrap());
        body.send_trailers(trailers).unwrap();
        assert_eq!(within("an answer", answer).await.unwrap().status(), status, "{:?}", stage.inspections());
    }
    let seen = stage.seen();
    assert_eq!(seen[0].text(), "hello");
    assert_eq!(seen[0].trailers.as_ref().unwrap()["x-checksum"], "fine");
    assert!(seen.iter().skip(1).all(|seen| seen.trailers.is_none() && !seen.complete), "{seen:?}");
}

#[tokio::test]
async fn an_upstream_that_answers_early_is_heard() {
    let stage = Stage::new().await;
    let mut stream = stage.connect().await;
    let mut request = stage.head("POST", "/early/418", &[CHUNKED, "x-body: any-length"]);
    request.extend(chunk("harmless"));
    let answer = raw(&mut stream, &request).await;
    assert!(answer.starts_with("HTTP/1.1 418"), "{answer}");
}

#[tokio::test]
async fn who_asks_for_leave_to_send_gets_it() {
    let stage = Stage::http1().await;
    for (kind, body) in
        [(CHUNKED.to_owned(), b"5\r\nhello\r\n0\r\n\r\n".to_vec()), ("Content-Length: 5".to_owned(), b"hello".to_vec())]
    {
        let mut stream = stage.connect().await;
        let head = stage.head("POST", "/echo", &[&kind, "x-body: any-length", "Expect: 100-continue"]);
        stream.write_all(&head).await.unwrap();
        let mut leave = [0; 25];
        within("leave", stream.read_exact(&mut leave)).await.unwrap();
        assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
        let answer = raw(&mut stream, &body).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(stage.seen().pop().unwrap().text(), "hello");
    }
}

#[tokio::test]
async fn what_was_found_is_on_record_when_the_agent_goes_away() {
    let stage = Stage::new().await;
    let mut stream = stage.connect().await;
    let mut request = stage.head("POST", "/echo", &[CHUNKED, "x-body: any-length"]);
    request.extend(chunk(&format!("a {REPLACED} b")));
    stream.write_all(&request).await.unwrap();
    stage.upstream().wait_until("the first bytes", |seen| seen.iter().any(|seen| seen.text().contains("RED"))).await;
    drop(stream);
    until("the record", async || (!stage.inspections().is_empty()).then_some(())).await;
    assert_eq!(stage.inspections()[0].findings.len(), 1);
}

/// gRPC ends every answer with trailers.
#[tokio::test]
async fn both_sides_of_a_conversation_are_looked_into_without_keeping_either_waiting() {
    let stage = Stage::new().await;
    for way in ["now", "hold"] {
        let told = [("x-body", "any-length"), ("x-response", way)];
        let (send, messages) = mpsc::channel(1);
        let chat = grpc::chat_with(plain_channel(&stage), ReceiverStream::new(messages), &told);
        let first = send.send("one".to_owned());
        let (opened, said) = tokio::join!(within("the answer", chat), first);
        said.unwrap();
        let mut echoes = opened.unwrap();
        assert_eq!(within("an echo", echoes.message()).await.unwrap().as_deref(), Some("one"));
        for message in ["two", "three"] {
            send.send(message.to_owned()).await.unwrap();
            assert_eq!(within("an echo", echoes.message()).await.unwrap().as_deref(), Some(message));
        }
        drop(send);
        assert_eq!(within("the end", echoes.message()).await.unwrap(), None, "{way}");
    }
    assert!(stage.inspections().is_empty());
}

fn plain_channel(stage: &Stage) -> tonic::transport::Channel {
    let proxy = stage.proxy();
    let endpoint = Endpoint::try_from(format!("http://{HOST}")).unwrap();
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_| async move {
        TcpStream::connect(proxy).await.map(TokioIo::new)
    }))
}

async fn grpc_chat(
    channel: tonic::transport::Channel,
    messages: impl futures_util::Stream<Item = String> + Send + 'static,
) -> Result<tonic::Streaming<String>, tonic::Status> {
    grpc::chat_with(channel, messages, &[("x-body", "any-length")]).await
}
