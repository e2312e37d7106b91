//! gRPC, both ways: what a message must not carry it does not, and nobody waits for more than the message that comes.

use hyper::body::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::{HELD, INJECTED, KEY, RULE, assert_untold, finding, gzip};
use crate::support::upstream::Answer;
use crate::support::{Ask, Place, Protocol, grpc, tunnel, until, within};

const HOST: &str = "api.example.com";
const UNARY: &str = "/attache.test.Echo/Unary";

async fn place() -> Place {
    Place::with(INJECTED, [HOST], |setup| setup.env("KEY", HELD)).await
}

fn channel(place: &Place) -> tonic::transport::Channel {
    grpc::channel(place.attache.proxy(), &format!("{HOST}:443"), &place.attache.ca_pem())
}

#[tokio::test]
async fn a_conversation_is_live_both_ways_and_tells_no_credential() {
    let place = place().await;
    let channel = channel(&place);
    let (send, messages) = mpsc::channel(1);
    let mut echoes = grpc::chat(channel.clone(), ReceiverStream::new(messages)).await.unwrap();
    for message in ["one", "two held-", "", "held-7Fq2m", "ghp_", "three"] {
        send.send(message.to_owned()).await.unwrap();
        let echoed = within("an echo, while the stream is open", echoes.message()).await.unwrap();
        assert_eq!(echoed.as_deref(), Some(message));
    }
    for _ in 0..2 {
        send.send(grpc::WHOAMI.to_owned()).await.unwrap();
        let told = within("an answer", echoes.message()).await.unwrap().unwrap();
        // A message states its length: what stands in the place of a value is as long.
        assert_eq!(told.len(), format!("Bearer {HELD}").len(), "{told}");
        assert!(told.starts_with("Bearer [REDACTED:") && !told.contains(&HELD[..8]), "{told}");
    }
    send.send("four".to_owned()).await.unwrap();
    assert_eq!(within("an echo", echoes.message()).await.unwrap().as_deref(), Some("four"), "it goes on");
    send.send(format!("five {KEY}")).await.unwrap();
    within("the end", echoes.message()).await.unwrap_err();
    assert_eq!(grpc::unary(channel, grpc::WHOAMI).await.unwrap().len(), format!("Bearer {HELD}").len());
    let record = place.attache.wait_record("the refusal", |record| record["reason"] == "dlp_blocked").await;
    assert_eq!(finding(&record, RULE)["action"], "block", "{record}");
    let known = finding(&record, "known-secret:key");
    assert_eq!((&known["category"], &known["action"]), (&"knownSecret".into(), &"redact".into()), "{record}");
    assert!(place.arrived().iter().all(|seen| !seen.text().contains("five")));
    assert_untold(&place, &[HELD, KEY]);
}

/// In a status that comes as a head alone, and in one that comes behind messages.
#[tokio::test]
async fn a_status_tells_no_credential() {
    let place = place().await;
    let channel = channel(&place);
    let refused = grpc::unary(channel.clone(), grpc::REFUSE).await.unwrap_err();
    assert!(!format!("{refused:?}").contains(&HELD[..8]), "{refused:?}");
    let (send, messages) = mpsc::channel(1);
    let mut echoes = grpc::chat(channel.clone(), ReceiverStream::new(messages)).await.unwrap();
    for message in ["one", grpc::REFUSE] {
        send.send(message.to_owned()).await.unwrap();
        match within("an answer", echoes.message()).await {
            Ok(echoed) => assert_eq!((echoed.as_deref(), message), (Some("one"), "one")),
            Err(status) => {
                assert_eq!(message, grpc::REFUSE);
                assert!(!format!("{status:?}").contains(&HELD[..8]), "{status:?}");
            }
        }
    }
    // What says nothing of it arrives as it is.
    assert_eq!(grpc::unary(channel, "NotFound").await.unwrap_err().code(), Code::NotFound);
    until("both findings", async || {
        let found = place.attache.records();
        let found = found.iter().filter(|record| !finding(record, "known-secret:key").is_null()).count();
        (found >= 2).then_some(())
    })
    .await;
    assert_untold(&place, &[HELD]);
}

/// Nothing can be replaced in what is compressed: it does not come at all.
#[tokio::test]
async fn a_compressed_message_tells_no_credential() {
    let place = place().await;
    let clean = frame(1, &gzip(b"\x0a\x05hello"));
    let told = frame(1, &gzip(format!("\x0a\x26Bearer {HELD}")));
    for (body, passes) in [(clean, true), (told, false)] {
        let answer = Answer::new("application/grpc", &body).field("grpc-encoding", "gzip").trailer("grpc-status", "0");
        place.upstream.tell(UNARY, answer);
        let (heard, ended_well) = call(&place, "application/grpc", &frame(0, b"\x0a\x02hi")).await;
        assert_eq!((heard == body, ended_well), (passes, passes), "{heard:?}");
        assert!(passes || heard.is_empty(), "{heard:?}");
    }
    // And the other way round.
    place.upstream.tell(UNARY, Answer::new("application/grpc", frame(0, b"\x0a\x02hi")).trailer("grpc-status", "0"));
    let before = place.arrived().len();
    let said = frame(1, &gzip(format!("\x0a\x1ait is {KEY}")));
    let ask = Ask::new(Protocol::Http2, "POST", &format!("https://{HOST}{UNARY}"));
    let ask = ask.header("content-type", "application/grpc").header("grpc-encoding", "gzip").body(&said);
    let reply = ask.send(&place.attache).await;
    // The head may have gone on: it is no request without its message.
    assert_eq!(reply.header("grpc-status"), Some("7"), "{reply:?}");
    assert!(place.arrived()[before..].iter().all(|seen| !seen.complete && seen.body.is_empty()));
    assert_untold(&place, &[HELD, KEY]);
}

/// gRPC-Web ends its answers with a frame of trailers.
#[tokio::test]
async fn grpc_web_is_read_as_what_it_is() {
    let place = place().await;
    let kind = "application/grpc-web+proto";
    let trailers = |text: String| frame(0x80, text.as_bytes());
    let hello = frame(0, b"\x0a\x05hello");
    let clean = [hello.clone(), trailers("grpc-status: 0\r\n".to_owned())].concat();
    let told = [hello, trailers(format!("grpc-status: 16\r\ngrpc-message: {HELD}\r\n"))].concat();
    for (body, is_clean) in [(clean, true), (told, false)] {
        place.upstream.tell(UNARY, Answer::new(kind, &body).cut(7));
        let (heard, ended_well) = call(&place, kind, &frame(0, b"\x0a\x02hi")).await;
        assert!(ended_well && heard.len() == body.len() && (heard == body) == is_clean, "{heard:?}");
        assert!(!String::from_utf8_lossy(&heard).contains(&HELD[..8]), "{heard:?}");
    }
    assert_untold(&place, &[HELD]);
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let place = place().await;
    for body in [frame(2, b"x"), frame(0, b"hello")[..7].to_vec(), frame(1, b"no gzip"), b"{}".to_vec()] {
        let ask = Ask::new(Protocol::Http2, "POST", &format!("https://{HOST}{UNARY}"));
        let ask = ask.header("content-type", "application/grpc").header("grpc-encoding", "gzip").body(&body);
        let reply = ask.send(&place.attache).await;
        assert_eq!(reply.header("grpc-status"), Some("7"), "{body:?} {reply:?}");
        let message = reply.header("grpc-message").unwrap_or_default().to_owned();
        assert!(message.contains("undecodable"), "{body:?} {message}");
    }
    assert!(place.arrived().iter().all(|seen| !seen.complete));
}

/// What came of a call, byte for byte, and whether it came to an end.
async fn call(place: &Place, kind: &str, message: &[u8]) -> (Vec<u8>, bool) {
    let url = format!("https://{HOST}{UNARY}");
    let stream = Ask::new(Protocol::Http2, "POST", &url).open(&place.attache).await.unwrap();
    let mut client = tunnel::h2(stream).await;
    let request = http::Request::post(url).header("content-type", kind).header("te", "trailers").body(()).unwrap();
    let (answer, mut body) = client.send_request(request, false).unwrap();
    body.send_data(Bytes::copy_from_slice(message), true).unwrap();
    let Ok(answer) = within("an answer", answer).await else { return (Vec::new(), false) };
    let is_refused = answer.headers().get("grpc-status").is_some_and(|status| status != "0");
    let mut body = answer.into_body();
    let mut heard = Vec::new();
    while let Some(data) = within("the rest", body.data()).await {
        let Ok(data) = data else { return (heard, false) };
        heard.extend(data);
    }
    let trailers = within("the trailers", body.trailers()).await;
    (heard, trailers.is_ok() && !is_refused)
}

/// A message as it goes over the wire (gRPC over HTTP2, "Length-Prefixed-Message").
fn frame(flags: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flags][..], &length, message].concat()
}
