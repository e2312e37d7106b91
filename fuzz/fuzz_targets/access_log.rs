//! What Envoy reports of requests and handshakes, against another reader of the same messages.
#![no_main]

use attache::access_log::{Logged, each_entry};
use envoy_types::pb::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|message: &[u8]| {
    let _ = each_entry(message, |logged| {
        if let Logged::Request(entry) = logged {
            let _ = (entry.common.id, entry.request.path, entry.response.response_code);
        }
    });
    let Ok(theirs) = StreamAccessLogsMessage::decode(message) else { return };
    // As it would be written: of fields that come twice, another reader takes them together.
    let written = theirs.encode_to_vec();
    let mut seen = 0;
    let read = each_entry(&written, |logged| {
        match (logged, &theirs.log_entries) {
            (Logged::Request(ours), Some(LogEntries::HttpLogs(logs))) => {
                let theirs = &logs.log_entry[seen];
                let request = theirs.request.clone().unwrap_or_default();
                assert_eq!(
                    (ours.request.scheme, ours.request.authority, ours.request.path, ours.request.request_id),
                    (&*request.scheme, &*request.authority, &*request.path, &*request.request_id)
                );
                assert_eq!(ours.request.request_method, request.request_method);
                assert_eq!(ours.request.request_body_bytes, request.request_body_bytes);
                let response = theirs.response.clone().unwrap_or_default();
                let code = response.response_code.and_then(|code| u16::try_from(code.value).ok());
                assert_eq!(ours.response.response_code, code);
                assert_eq!(ours.response.response_code_details, response.response_code_details);
                let flags = theirs.common_properties.as_ref().and_then(|common| common.response_flags.clone());
                assert_eq!(ours.common.response_flags, flags.unwrap_or_default());
            }
            (Logged::Handshake(ours), Some(LogEntries::TcpLogs(logs))) => {
                let theirs = &logs.log_entry[seen];
                let common = theirs.common_properties.clone().unwrap_or_default();
                let tls = common.tls_properties.unwrap_or_default();
                assert_eq!(ours.server_name, tls.tls_sni_hostname);
                assert_eq!(ours.failure, common.downstream_transport_failure_reason);
                let bytes = theirs.connection_properties.as_ref().map_or(0, |properties| properties.received_bytes);
                assert_eq!(ours.received, bytes);
            }
            (_, other) => panic!("the message has {other:?}"),
        }
        seen += 1;
    });
    assert!(read.is_ok(), "a message that another reader takes is refused");
    let there = match &theirs.log_entries {
        Some(LogEntries::HttpLogs(logs)) => logs.log_entry.len(),
        Some(LogEntries::TcpLogs(logs)) => logs.log_entry.len(),
        None => 0,
    };
    assert_eq!(seen, there, "a request that Envoy reports is passed over");
});
