use super::record::record;
use super::*;
use crate::journal::follow::Cursor;

fn item(line: &str) -> Item {
    Item { line: line.into(), chain: "c1".into(), seq: Some(7), after: Cursor::default() }
}

fn text(value: &AnyValue) -> String {
    match value.value.as_ref().unwrap() {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        any_value::Value::ArrayValue(array) => array.values.iter().map(text).collect::<Vec<_>>().join("|"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_decision_says_in_attributes_what_people_ask_for_and_is_its_own_body() {
    let line = r#"{"type":"decision","requestId":"r1","time":"2026-11-20T10:00:00.000001Z","agent":"ann \"x\"","method":"GET","scheme":"https","host":"a.example","port":443,"path":"/p","decision":"deny","reason":"domain_not_allowed","rule":null,"credential":["k1","k2"],"findings":[{"rule":"f"}],"policyRevision":"abc","status":403,"decisionMicros":7,"seq":7,"hash":"00"}"#;
    let record = record(&item(line));
    assert_eq!(text(record.body.as_ref().unwrap()), line, "byte for byte: its hash is over these");
    assert_eq!(record.event_name, "attache.decision");
    assert_eq!(record.time_unix_nano, 1_795_168_800_000_001_000);
    assert_eq!(record.observed_time_unix_nano, record.time_unix_nano);
    assert_eq!((record.severity_number, &*record.severity_text), (13, "WARN"));
    let attributes: Vec<_> =
        record.attributes.iter().map(|a| format!("{}={}", a.key, text(a.value.as_ref().unwrap()))).collect();
    let expected = [
        "attache.audit.chain=c1",
        "attache.request.id=r1",
        "gen_ai.agent.name=ann \"x\"",
        "http.request.method=GET",
        "url.scheme=https",
        "server.address=a.example",
        "url.path=/p",
        "attache.decision=deny",
        "attache.reason=domain_not_allowed",
        "attache.policy.revision=abc",
        "attache.audit.seq=7",
        "server.port=443",
        "http.response.status_code=403",
        "attache.findings=1",
        "attache.credential.name=k1|k2",
    ];
    assert_eq!(attributes, expected);
}

#[test]
fn how_grave_a_record_is_follows_from_what_it_says() {
    for (line, name, severity) in [
        (r#"{"type":"decision","decision":"allow"}"#, "attache.decision", "INFO"),
        (r#"{"type":"decision","decision":"pending"}"#, "attache.decision", "WARN"),
        (r#"{"type":"decision","decision":"error"}"#, "attache.decision", "ERROR"),
        (r#"{"type":"outcome","status":500}"#, "attache.outcome", "INFO"),
        (r#"{"type":"outcome","status":0,"known":false}"#, "attache.outcome", "WARN"),
        (r#"{"type":"inspection","action":"redacted"}"#, "attache.inspection", "WARN"),
        (r#"{"type":"inspection","action":"monitored"}"#, "attache.inspection", "INFO"),
        (r#"{"type":"approval","event":"asked"}"#, "attache.approval", "INFO"),
        (r#"{"type":"checkpoint"}"#, "attache.checkpoint", "INFO"),
        (r#"{"type":"clock"}"#, "attache.clock", "WARN"),
        ("no json", "attache.unreadable", "WARN"),
    ] {
        let record = record(&item(line));
        assert_eq!((&*record.event_name, &*record.severity_text), (name, severity), "{line}");
        assert!(record.observed_time_unix_nano > 0, "{line}");
    }
}

#[test]
fn a_refusal_means_later_or_less_and_never_lost() {
    let retry = |seconds: i64| {
        let info = RetryInfo { retry_delay: Some(Delay { seconds, nanos: 0 }) }.encode_to_vec();
        let any = Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value: info };
        RpcStatus { details: vec![any] }.encode_to_vec()
    };
    let status = |code, details: Vec<u8>| Status::with_details(code, "what was sent: hunter2", details.into());
    for (status, expected) in [
        (status(Code::Unavailable, Vec::new()), Some(0)),
        (status(Code::Unavailable, retry(7)), Some(7)),
        (status(Code::ResourceExhausted, retry(3)), Some(3)),
        (status(Code::ResourceExhausted, retry(3_000)), Some(300)),
        (status(Code::ResourceExhausted, Vec::new()), None),
        (status(Code::InvalidArgument, Vec::new()), None),
        (status(Code::Unauthenticated, Vec::new()), Some(0)),
        (status(Code::Unimplemented, Vec::new()), Some(0)),
        (status(Code::DeadlineExceeded, vec![0xff]), Some(0)),
    ] {
        let found = match verdict(&status) {
            Verdict::Later(wish) => Some(wish.as_secs()),
            Verdict::Smaller => None,
        };
        assert_eq!(found, expected, "{status:?}");
        assert!(!said(&status).contains("hunter2"), "{}", said(&status));
    }
}
