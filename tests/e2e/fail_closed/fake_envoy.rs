//! What no Envoy sends: each is answered with an error or a refusal, never with a verdict that lets through.

use std::collections::HashMap;
use std::path::Path;

use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};
use envoy_types::pb::envoy::service::ext_proc::v3::processing_request::Request as Part;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_response::Response as Reply;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    HttpBody, HttpHeaders, HttpTrailers, ProcessingRequest, ProcessingResponse,
};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use futures_util::{StreamExt, stream};
use hyper_util::rt::TokioIo;
use prost::Message;
use prost::bytes::{Buf, BufMut};
use tokio::net::UnixStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

use crate::support::process::Running;
use crate::support::{Upstream, attache, within};

#[tokio::test]
async fn what_is_no_exchange_gets_no_verdict() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.yaml");
    // Where nothing is looked for, no part of a message is asked for but the head.
    let text = "allowedDomains: [api.example.com]\ndlp: {profiles: {default: {requests: {credentials: off, crypto: off, custom: off, pii: off}}}}";
    std::fs::write(&policy, text).unwrap();
    let mut command = attache::attache(directory.path());
    command.arg("serve").arg("--policy").arg(policy).arg("--state-dir").arg(directory.path());
    command.args(["--metrics", "off", "--resolve", &format!("api.example.com:443:{}", upstream.address())]);
    let mut service = Running::start("attache serve", command);
    service.line().await;
    let channel = connect(&directory.path().join("service.sock")).await;

    let good = || head(&[]).encode_to_vec();
    let body = Part::RequestBody(HttpBody { body: b"x".to_vec(), ..HttpBody::default() });
    let session = |text: &str| {
        head(&[("filter_state['attache.session']", text), ("connection.requested_server_name", "api.example.com")])
    };
    let invalid = Answer::Error(Code::InvalidArgument);
    for (case, door, messages, expected) in [
        ("a request as it should be", Some("proxy"), vec![good()], vec![Answer::Verdict("allow")]),
        ("no door", None, vec![good()], vec![invalid]),
        ("an unknown door", Some("side"), vec![good()], vec![invalid]),
        ("a body before the head", Some("proxy"), vec![encoded(body.clone())], vec![invalid]),
        (
            "trailers before the head",
            Some("proxy"),
            vec![encoded(Part::RequestTrailers(HttpTrailers::default()))],
            vec![invalid],
        ),
        (
            "a response before the head",
            Some("proxy"),
            vec![encoded(Part::ResponseHeaders(HttpHeaders::default()))],
            vec![invalid],
        ),
        ("no part at all", Some("proxy"), vec![vec![]], vec![invalid]),
        (
            "a head without a map",
            Some("proxy"),
            vec![encoded(Part::RequestHeaders(HttpHeaders::default()))],
            vec![invalid],
        ),
        ("no request id", Some("proxy"), vec![without("x-request-id")], vec![invalid]),
        ("a second head", Some("proxy"), vec![good(), good()], vec![Answer::Verdict("allow"), invalid]),
        (
            "a body nobody asked for",
            Some("proxy"),
            vec![good(), encoded(body)],
            vec![Answer::Verdict("allow"), invalid],
        ),
        (
            "trailers nobody asked for",
            Some("proxy"),
            vec![good(), encoded(Part::RequestTrailers(HttpTrailers::default()))],
            vec![Answer::Verdict("allow"), invalid],
        ),
        (
            "a response nobody asked for",
            Some("proxy"),
            vec![good(), encoded(response())],
            vec![Answer::Verdict("allow"), invalid],
        ),
        (
            "a response's body nobody asked for",
            Some("proxy"),
            vec![good(), encoded(Part::ResponseBody(HttpBody::default()))],
            vec![Answer::Verdict("allow"), invalid],
        ),
        ("no authority", Some("proxy"), vec![without(":authority")], vec![Answer::Verdict("deny")]),
        ("no method", Some("proxy"), vec![without(":method")], vec![Answer::Verdict("deny")]),
        ("no path", Some("proxy"), vec![without(":path")], vec![Answer::Verdict("deny")]),
        ("a tunnelled request without its session", Some("tls"), vec![good()], vec![Answer::Verdict("deny")]),
        ("a garbage session", Some("tls"), vec![session("garbage").encode_to_vec()], vec![Answer::Verdict("deny")]),
        ("an empty session", Some("tls"), vec![session("").encode_to_vec()], vec![Answer::Verdict("deny")]),
        (
            "a cut session",
            Some("plain"),
            vec![session("{\"authority\":").encode_to_vec()],
            vec![Answer::Verdict("deny")],
        ),
    ] {
        assert_eq!(converse(channel.clone(), door, messages).await, expected, "{case}");
    }
    for garbage in [vec![0xff; 64], vec![0x12, 0x7f], b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0x12, 0x02, 0x0a, 0x7f]]
    {
        let answers = converse(channel.clone(), Some("proxy"), vec![garbage.clone()]).await;
        assert!(matches!(answers[..], [Answer::Error(code)] if code != Code::Ok), "{garbage:?}: {answers:?}");
    }
    // Envoy closes its side without having said anything: nobody waits for a verdict.
    assert_eq!(converse(channel.clone(), Some("proxy"), vec![]).await, []);
    assert_eq!(converse(channel, Some("proxy"), vec![good()]).await, [Answer::Verdict("allow")], "it goes on");
    assert!(upstream.connections().is_empty());
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Verdict(&'static str),
    Error(Code),
}

/// Says these messages on one stream, each once the one before has been answered, and then closes it.
async fn converse(channel: Channel, door: Option<&'static str>, messages: Vec<Vec<u8>>) -> Vec<Answer> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let (send, said) = tokio::sync::mpsc::channel(1);
    let said = stream::unfold(said, async |mut said| said.recv().await.map(|message| (message, said)));
    let mut request = tonic::Request::new(said.boxed());
    if let Some(door) = door {
        request.metadata_mut().insert("x-attache-door", door.parse().unwrap());
    }
    let path = PathAndQuery::from_static("/envoy.service.ext_proc.v3.ExternalProcessor/Process");
    let mut replies = match within("the stream", client.streaming(request, path, Raw)).await {
        Ok(response) => response.into_inner(),
        Err(status) => return vec![Answer::Error(status.code())],
    };
    let mut answers = Vec::new();
    for message in messages {
        send.send(message).await.unwrap();
        match within("an answer", replies.message()).await {
            Ok(Some(reply)) => answers.push(Answer::Verdict(verdict(&reply))),
            Ok(None) => panic!("the stream ended with OK before Envoy closed it"),
            Err(status) => {
                answers.push(Answer::Error(status.code()));
                return answers;
            }
        }
    }
    drop(send);
    assert!(within("the end", replies.message()).await.unwrap().is_none());
    answers
}

/// The verdict that Envoy's gate would read, and whether the reply itself agrees.
fn verdict(reply: &[u8]) -> &'static str {
    let reply = ProcessingResponse::decode(reply).unwrap();
    let Some(Kind::StructValue(ours)) =
        reply.dynamic_metadata.as_ref().and_then(|all| all.fields.get("attache")?.kind.clone())
    else {
        panic!("no metadata: {reply:?}");
    };
    let Some(Kind::StringValue(decision)) = ours.fields.get("decision").and_then(|value| value.kind.clone()) else {
        panic!("no decision: {reply:?}");
    };
    match (decision.as_str(), &reply.response) {
        ("allow", Some(Reply::RequestHeaders(_))) => "allow",
        ("deny", Some(Reply::ImmediateResponse(refusal))) => {
            assert!(refusal.status.as_ref().unwrap().code >= 400);
            "deny"
        }
        other => panic!("{other:?}"),
    }
}

const HEAD: [(&str, &str); 5] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "api.example.com"),
    (":path", "/"),
    ("x-request-id", "5a7e5ff4-0d9c-4c6c-8d0c-5f3f2b7d8a11"),
];

fn head(attributes: &[(&str, &str)]) -> ProcessingRequest {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let fields = attributes.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect();
    ProcessingRequest {
        request: Some(fields_of(&HEAD)),
        attributes: HashMap::from([("envoy.filters.http.ext_proc".to_owned(), Struct { fields })]),
        ..ProcessingRequest::default()
    }
}

/// The head of a response as Envoy shows it.
fn response() -> Part {
    let Part::RequestHeaders(head) = fields_of(&[(":status", "200")]) else { unreachable!() };
    Part::ResponseHeaders(head)
}

fn without(name: &str) -> Vec<u8> {
    let left: Vec<_> = HEAD.into_iter().filter(|(other, _)| *other != name).collect();
    encoded(fields_of(&left))
}

fn fields_of(fields: &[(&str, &str)]) -> Part {
    let headers = fields.iter().map(|(name, value)| HeaderValue {
        key: (*name).to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..HeaderValue::default()
    });
    Part::RequestHeaders(HttpHeaders {
        headers: Some(HeaderMap { headers: headers.collect() }),
        ..HttpHeaders::default()
    })
}

fn encoded(part: Part) -> Vec<u8> {
    ProcessingRequest { request: Some(part), ..ProcessingRequest::default() }.encode_to_vec()
}

async fn connect(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://attache").connect_with_connector(connector).await.unwrap()
}

/// Messages as the bytes they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; from.remaining()];
        from.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
