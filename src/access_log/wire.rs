//! Envoy's Access Log Service, with the parts of its messages that are read and no others.
//!
//! Envoy says some sixty things about every request. Nothing is copied of what is not read, and of what is, only what
//! goes on record. Names and numbers are those of `envoy.service.accesslog.v3` and `envoy.data.accesslog.v3`; a test
//! holds them against Envoy's own.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use envoy_types::pb::envoy::data::accesslog::v3::ResponseFlags;
use envoy_types::pb::envoy::service::accesslog::v3::StreamAccessLogsResponse;
use prost::Message;
use prost::bytes::Bytes;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::server::{ClientStreamingService, Grpc};
use tonic::{Request, Response, Status, Streaming};

use super::AccessLog;
use crate::grpc::BytesCodec;
use crate::protobuf::{Malformed, Value, entry, fields, string_value, text};

const METHOD: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";

/// The service for a server.
#[derive(Clone)]
pub struct AccessLogServer(Arc<AccessLog>);

impl AccessLogServer {
    /// Serves `log`.
    pub fn new(log: AccessLog) -> Self {
        Self(Arc::new(log))
    }
}

impl<B> Service<http::Request<B>> for AccessLogServer
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let log = Self(self.0.clone());
        Box::pin(async move {
            if request.uri().path() != METHOD {
                return Ok(Status::unimplemented("the access log service has no such method").into_http());
            }
            Ok(Grpc::new(BytesCodec::default()).client_streaming(log, request).await)
        })
    }
}

impl ClientStreamingService<Bytes> for AccessLogServer {
    type Response = StreamAccessLogsResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let log = self.0.clone();
        Box::pin(async move {
            log.read(request.into_inner()).await?;
            Ok(Response::new(StreamAccessLogsResponse {}))
        })
    }
}

/// A request that has ended (`HTTPAccessLogEntry`).
#[derive(Debug, Default, PartialEq)]
pub struct Entry<'a> {
    /// What Envoy knows of the connections and the time.
    pub common: Common<'a>,
    /// What the agent asked.
    pub request: Asked<'a>,
    /// What the agent was answered.
    pub response: Answered<'a>,
}

/// `AccessLogCommon`.
#[derive(Debug, Default, PartialEq)]
pub struct Common<'a> {
    /// Where the agent called from.
    pub downstream: Option<SocketAddr>,
    /// Where Envoy connected to.
    pub upstream: Option<SocketAddr>,
    /// Since 1970.
    pub start_time: Duration,
    /// Until the last byte went to the agent.
    pub time_to_last_downstream_tx_byte: Option<Duration>,
    /// Until all was over.
    pub duration: Option<Duration>,
    /// What went wrong.
    pub response_flags: ResponseFlags,
    /// What attaché itself said about the request, come back as dynamic metadata: its id,
    pub id: Option<&'a str>,
    /// the decision,
    pub decision: Option<&'a str>,
    /// and the address to connect to first.
    pub pinned: Option<SocketAddr>,
}

/// `HTTPRequestProperties`.
#[derive(Debug, Default, PartialEq)]
pub struct Asked<'a> {
    /// A `RequestMethod`.
    pub request_method: i32,
    pub scheme: &'a str,
    pub authority: &'a str,
    pub path: &'a str,
    pub request_id: &'a str,
    pub request_body_bytes: u64,
}

/// `HTTPResponseProperties`.
#[derive(Debug, Default, PartialEq)]
pub struct Answered<'a> {
    pub response_code: Option<u16>,
    pub response_body_bytes: u64,
    pub response_code_details: &'a str,
}

/// A TLS handshake that failed, from the log of connections (`TCPAccessLogEntry`).
#[derive(Debug, Default, PartialEq)]
pub struct Handshake<'a> {
    /// When the connection began, since 1970.
    pub start_time: Duration,
    /// The name that was asked for.
    pub server_name: &'a str,
    /// What attaché learnt when the tunnel was opened (`pipeline::session`).
    pub session: Option<&'a str>,
    /// Where the connection came from, where that is an address of a socket.
    pub downstream: Option<SocketAddr>,
    /// Where it was to go: what the agent dialled, where it was redirected.
    pub destination: Option<SocketAddr>,
    /// What went wrong, in BoringSSL's words.
    pub failure: &'a str,
    /// How much came through it, in bytes: where it was anything, the handshake had been a success.
    pub received: u64,
}

/// What a message tells of.
#[allow(clippy::large_enum_variant, reason = "it is handed over at once and never kept")]
pub enum Logged<'a> {
    /// A request.
    Request(Entry<'a>),
    /// A connection that never carried one.
    Handshake(Handshake<'a>),
}

/// Reads the entries of a `StreamAccessLogsMessage`: `http_logs` and `tcp_logs`.
pub fn each_entry(message: &[u8], mut take: impl FnMut(Logged<'_>)) -> Result<(), Malformed> {
    for field in fields(message) {
        let (kind, Value::Bytes(logs)) = field? else { continue };
        for field in fields(logs) {
            let (1, Value::Bytes(log_entry)) = field? else { continue };
            match kind {
                2 => take(Logged::Request(Entry::read(log_entry)?)),
                3 => take(Logged::Handshake(Handshake::read(log_entry)?)),
                _ => {}
            }
        }
    }
    Ok(())
}

impl<'a> Handshake<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut read = Self::default();
        for field in fields(message) {
            let (number, Value::Bytes(part)) = field? else { continue };
            if number == 2 {
                for field in fields(part) {
                    if let (1, Value::Varint(received_bytes)) = field? {
                        read.received = received_bytes;
                    }
                }
            }
            if number != 1 {
                continue;
            }
            for field in fields(part) {
                match field? {
                    (2, Value::Bytes(address)) => read.downstream = socket_address(address)?,
                    (3, Value::Bytes(address)) => read.destination = socket_address(address)?,
                    (4, Value::Bytes(tls_properties)) => {
                        for field in fields(tls_properties) {
                            if let (3, Value::Bytes(name)) = field? {
                                read.server_name = text(name)?;
                            }
                        }
                    }
                    (5, Value::Bytes(time)) => read.start_time = duration(time)?,
                    (21, Value::Bytes(filter_state)) => {
                        let (name, object) = entry(filter_state)?;
                        if name == "attache.session" {
                            read.session = packed_text(object);
                        }
                    }
                    (28, Value::Bytes(failure)) => read.failure = text(failure)?,
                    _ => {}
                }
            }
        }
        Ok(read)
    }
}

/// The text of a `google.protobuf.StringValue` in an `Any`: a message within a message. If it cannot be read there is
/// none, and the rest is on record.
fn packed_text(any: &[u8]) -> Option<&str> {
    let (mut kind, mut value) = ("", &[][..]);
    for field in fields(any) {
        match field.ok()? {
            (1, Value::Bytes(url)) => kind = text(url).ok()?,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    let mut found = None;
    if kind.ends_with("/google.protobuf.StringValue") {
        for field in fields(value) {
            if let (1, Value::Bytes(bytes)) = field.ok()? {
                found = Some(text(bytes).ok()?);
            }
        }
    }
    found
}

impl<'a> Entry<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut read = Self::default();
        for field in fields(message) {
            match field? {
                (1, Value::Bytes(common_properties)) => read.common = Common::read(common_properties)?,
                (3, Value::Bytes(request)) => read.request = Asked::read(request)?,
                (4, Value::Bytes(response)) => read.response = Answered::read(response)?,
                _ => {}
            }
        }
        Ok(read)
    }
}

impl<'a> Common<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut read = Self::default();
        for field in fields(message) {
            match field? {
                (2, Value::Bytes(address)) => read.downstream = socket_address(address)?,
                (5, Value::Bytes(time)) => read.start_time = duration(time)?,
                (12, Value::Bytes(time)) => read.time_to_last_downstream_tx_byte = Some(duration(time)?),
                (13, Value::Bytes(address)) => read.upstream = socket_address(address)?,
                (16, Value::Bytes(flags)) => {
                    read.response_flags = ResponseFlags::decode(flags).map_err(|_| Malformed)?;
                }
                (17, Value::Bytes(metadata)) => read.read_metadata(metadata)?,
                (23, Value::Bytes(time)) => read.duration = Some(duration(time)?),
                _ => {}
            }
        }
        Ok(read)
    }

    fn read_metadata(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        for field in fields(message) {
            let (1, Value::Bytes(filter_metadata)) = field? else { continue };
            let (namespace, of_filter) = entry(filter_metadata)?;
            if namespace != "attache" {
                continue;
            }
            for field in fields(of_filter) {
                let (1, Value::Bytes(field)) = field? else { continue };
                match entry(field)? {
                    ("id", value) => self.id = string_value(value)?,
                    ("decision", value) => self.decision = string_value(value)?,
                    ("upstream", value) => self.pinned = string_value(value)?.and_then(|text| text.parse().ok()),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

impl<'a> Asked<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut read = Self::default();
        for field in fields(message) {
            match field? {
                // An enumeration is 32 bits of what may be 64 on the wire.
                (1, Value::Varint(method)) => read.request_method = method as i32,
                (2, Value::Bytes(scheme)) => read.scheme = text(scheme)?,
                (3, Value::Bytes(authority)) => read.authority = text(authority)?,
                (5, Value::Bytes(path)) => read.path = text(path)?,
                (9, Value::Bytes(id)) => read.request_id = text(id)?,
                (12, Value::Varint(bytes)) => read.request_body_bytes = bytes,
                _ => {}
            }
        }
        Ok(read)
    }
}

impl<'a> Answered<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut read = Self::default();
        for field in fields(message) {
            match field? {
                (1, Value::Bytes(code)) => read.response_code = u16::try_from(unsigned(code)?).ok(),
                (3, Value::Varint(bytes)) => read.response_body_bytes = bytes,
                (6, Value::Bytes(details)) => read.response_code_details = text(details)?,
                _ => {}
            }
        }
        Ok(read)
    }
}

/// A `google.protobuf.UInt32Value`.
fn unsigned(message: &[u8]) -> Result<u64, Malformed> {
    let mut read = 0;
    for field in fields(message) {
        if let (1, Value::Varint(value)) = field? {
            read = value;
        }
    }
    Ok(read)
}

/// A `google.protobuf.Duration` or `Timestamp`; zero where it is before zero, which no time of Envoy's is.
fn duration(message: &[u8]) -> Result<Duration, Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in fields(message) {
        match field? {
            (1, Value::Varint(value)) => seconds = value as i64,
            (2, Value::Varint(value)) => nanos = value as i64,
            _ => {}
        }
    }
    let whole = Duration::from_secs(seconds.try_into().unwrap_or_default());
    Ok(whole + Duration::from_nanos(nanos.clamp(0, 999_999_999) as u64))
}

/// An `Address`, where it is one of a socket.
fn socket_address(message: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
    let mut found = None;
    for field in fields(message) {
        let (1, Value::Bytes(socket)) = field? else { continue };
        let (mut address, mut port) = (None, None);
        for field in fields(socket) {
            match field? {
                (2, Value::Bytes(ip)) => address = text(ip)?.parse::<IpAddr>().ok(),
                (3, Value::Varint(value)) => port = u16::try_from(value).ok(),
                _ => {}
            }
        }
        found = address.zip(port).map(SocketAddr::from);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use envoy_types::pb::envoy::config::core::v3 as core;
    use envoy_types::pb::envoy::config::core::v3::address::Address as Place;
    use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
    use envoy_types::pb::envoy::data::accesslog::v3 as data;
    use envoy_types::pb::envoy::service::accesslog::v3 as service;
    use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message as message;
    use envoy_types::pb::google::protobuf as google;

    use super::*;

    #[test]
    fn what_is_read_is_what_envoy_writes() {
        let address = |ip: &str, port| {
            let socket = core::SocketAddress {
                address: ip.into(),
                port_specifier: Some(PortSpecifier::PortValue(port)),
                ..Default::default()
            };
            core::Address { address: Some(Place::SocketAddress(socket)) }
        };
        let seconds = |seconds| google::Duration { seconds, nanos: 1 };
        let flags = ResponseFlags { no_route_found: true, ..Default::default() };
        let text = |text: &str| google::Value { kind: Some(google::value::Kind::StringValue(text.into())) };
        let ours = HashMap::from([
            ("id".to_owned(), text("r1")),
            ("decision".to_owned(), text("allow")),
            ("upstream".to_owned(), text("192.0.2.1:443")),
            ("upstream2".to_owned(), text("other")),
        ]);
        let common = data::AccessLogCommon {
            downstream_remote_address: Some(address("192.0.2.1", 5)),
            downstream_local_address: Some(address("192.0.2.2", 6)),
            time_to_last_downstream_tx_byte: Some(seconds(12)),
            upstream_remote_address: Some(address("2001:db8::1", 443)),
            upstream_local_address: Some(address("192.0.2.3", 7)),
            upstream_cluster: "cluster".into(),
            response_flags: Some(flags),
            metadata: Some(core::Metadata {
                filter_metadata: HashMap::from([
                    ("attache".into(), google::Struct { fields: ours }),
                    ("other".into(), google::Struct { fields: HashMap::from([("id".into(), text("no"))]) }),
                ]),
                ..Default::default()
            }),
            route_name: "route".into(),
            duration: Some(seconds(23)),
            start_time: Some(google::Timestamp { seconds: 5, nanos: 50 }),
            ..Default::default()
        };
        let request = data::HttpRequestProperties {
            request_method: core::RequestMethod::Put as i32,
            scheme: "https".into(),
            authority: "a.example".into(),
            path: "/path".into(),
            user_agent: "agent".into(),
            request_id: "id".into(),
            original_path: "/original".into(),
            request_headers_bytes: 11,
            request_body_bytes: 12,
            ..Default::default()
        };
        let response = data::HttpResponseProperties {
            response_code: Some(google::UInt32Value { value: 204 }),
            response_headers_bytes: 2,
            response_body_bytes: 3,
            response_code_details: "via_upstream".into(),
            ..Default::default()
        };
        let entry = data::HttpAccessLogEntry {
            common_properties: Some(common),
            protocol_version: 2,
            request: Some(request),
            response: Some(response),
        };
        let written = service::StreamAccessLogsMessage {
            identifier: Some(message::Identifier { log_name: "proxy".into(), ..Default::default() }),
            log_entries: Some(message::LogEntries::HttpLogs(message::HttpAccessLogEntries {
                log_entry: vec![entry.clone(), entry],
            })),
        };

        let mut read = 0;
        let expected = Entry {
            common: Common {
                downstream: Some("192.0.2.1:5".parse().unwrap()),
                upstream: Some("[2001:db8::1]:443".parse().unwrap()),
                start_time: Duration::new(5, 50),
                time_to_last_downstream_tx_byte: Some(Duration::new(12, 1)),
                duration: Some(Duration::new(23, 1)),
                response_flags: flags,
                id: Some("r1"),
                decision: Some("allow"),
                pinned: Some(SocketAddr::from(([192, 0, 2, 1], 443))),
            },
            request: Asked {
                request_method: core::RequestMethod::Put as i32,
                scheme: "https",
                authority: "a.example",
                path: "/path",
                request_id: "id",
                request_body_bytes: 12,
            },
            response: Answered {
                response_code: Some(204),
                response_body_bytes: 3,
                response_code_details: "via_upstream",
            },
        };
        each_entry(&written.encode_to_vec(), |logged| {
            let Logged::Request(entry) = logged else { panic!("it is a request") };
            assert_eq!(entry, expected);
            read += 1;
        })
        .unwrap();
        assert_eq!(read, 2);
    }

    #[test]
    fn a_failed_handshake_is_read_as_envoy_writes_it() {
        let session = google::Any {
            type_url: "type.googleapis.com/google.protobuf.StringValue".into(),
            value: google::StringValue { value: "2;a.example:443;127.0.0.1:5;;;".into() }.encode_to_vec(),
        };
        let other = google::Any { type_url: "type.googleapis.com/other".into(), value: vec![10, 1, b'x'] };
        let dialled = core::SocketAddress {
            address: "192.0.2.2".into(),
            port_specifier: Some(PortSpecifier::PortValue(443)),
            ..Default::default()
        };
        let common = data::AccessLogCommon {
            downstream_local_address: Some(core::Address { address: Some(Place::SocketAddress(dialled)) }),
            tls_properties: Some(data::TlsProperties { tls_sni_hostname: "a.example".into(), ..Default::default() }),
            start_time: Some(google::Timestamp { seconds: 5, nanos: 50 }),
            filter_state_objects: HashMap::from([("attache.session".into(), session), ("other".into(), other)]),
            downstream_transport_failure_reason: "TLS_error".into(),
            ..Default::default()
        };
        let properties = data::ConnectionProperties { received_bytes: 7, sent_bytes: 8 };
        let entry =
            data::TcpAccessLogEntry { common_properties: Some(common), connection_properties: Some(properties) };
        let written = service::StreamAccessLogsMessage {
            identifier: None,
            log_entries: Some(message::LogEntries::TcpLogs(message::TcpAccessLogEntries { log_entry: vec![entry] })),
        };
        let mut read = 0;
        each_entry(&written.encode_to_vec(), |logged| {
            let Logged::Handshake(handshake) = logged else { panic!("it is a connection") };
            let expected = Handshake {
                start_time: Duration::new(5, 50),
                server_name: "a.example",
                session: Some("2;a.example:443;127.0.0.1:5;;;"),
                downstream: None,
                destination: Some(SocketAddr::from(([192, 0, 2, 2], 443))),
                failure: "TLS_error",
                received: 7,
            };
            assert_eq!(handshake, expected);
            read += 1;
        })
        .unwrap();
        assert_eq!(read, 1);
    }

    #[test]
    fn what_cannot_be_read_within_an_any_is_none() {
        let any = |url: &str, value: &[u8]| google::Any { type_url: url.into(), value: value.into() }.encode_to_vec();
        let url = "type.googleapis.com/google.protobuf.StringValue";
        for value in [&b"\x0a\x02\xff\xfe"[..], b"\x0a\x09short", b"\xff"] {
            assert_eq!(packed_text(&any(url, value)), None, "{value:?}");
        }
        assert_eq!(packed_text(&any(url, b"\x0a\x01x")), Some("x"));
        assert_eq!(packed_text(&any("type.googleapis.com/other", b"\x0a\x01x")), None);
    }

    #[test]
    fn what_is_no_address_of_a_socket_is_none() {
        let pipe = core::Address { address: Some(Place::Pipe(core::Pipe { path: "path".into(), mode: 0 })) };
        let named = core::SocketAddress {
            address: "a.example".into(),
            port_specifier: Some(PortSpecifier::PortValue(1)),
            ..Default::default()
        };
        let named = core::Address { address: Some(Place::SocketAddress(named)) };
        for address in [pipe, named, core::Address::default()] {
            assert_eq!(socket_address(&address.encode_to_vec()), Ok(None), "{address:?}");
        }
    }
}
