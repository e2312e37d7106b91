//! Makes text of what should be text in an encoded protobuf message, without a change of its length.

/// What a field holds.
pub enum Kind {
    /// A `string`.
    Text,
    /// A message, of which these fields matter.
    Message(&'static [Field]),
}

/// A field's number and what it holds.
pub type Field = (u64, Kind);

/// Where `ExportTraceServiceRequest` of OTLP has text that comes from requests: names, states and attributes of spans.
pub const TRACES: &[Field] = &[(1, Kind::Message(&[(2, Kind::Message(&[(2, Kind::Message(SPAN))]))]))];
const SPAN: &[Field] = &[
    (3, Kind::Text),
    (5, Kind::Text),
    (9, Kind::Message(&[(1, Kind::Text), (2, Kind::Message(&[(1, Kind::Text)]))])),
    (15, Kind::Message(&[(2, Kind::Text)])),
];

/// Puts `?` for each byte that is not part of a character. What is no message is left to its decoder to refuse.
pub fn scrub(message: &mut [u8], fields: &[Field]) {
    // None at the message's end, or where it is none.
    let _ = scrub_fields(message, fields);
}

fn scrub_fields(mut rest: &mut [u8], fields: &[Field]) -> Option<()> {
    loop {
        let key = varint(&mut rest)?;
        // Wire types (protobuf encoding): variable, 64 bits, with a length, 32 bits.
        let length = match key & 7 {
            0 => {
                varint(&mut rest)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut rest)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (content, after) = rest.split_at_mut_checked(length)?;
        match fields.iter().find(|(number, _)| key & 7 == 2 && *number == key >> 3) {
            Some((_, Kind::Text)) => scrub_text(content),
            Some((_, Kind::Message(fields))) => scrub(content, fields),
            None => {}
        }
        rest = after;
    }
}

fn scrub_text(mut text: &mut [u8]) {
    while let Err(error) = std::str::from_utf8(text) {
        let (valid, length) = (error.valid_up_to(), error.error_len().unwrap_or(text.len()));
        let Some(invalid) = text.get_mut(valid..) else { return };
        let length = length.min(invalid.len());
        let (invalid, after) = invalid.split_at_mut(length);
        invalid.fill(b'?');
        text = after;
    }
}

fn varint(rest: &mut &mut [u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = std::mem::take(rest).split_first_mut()?;
        *rest = after;
        value |= u64::from(*byte & 0x7f) << shift;
        if *byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn spans(text: &str) -> Vec<u8> {
        let value = Some(AnyValue { value: Some(any_value::Value::StringValue(text.into())) });
        let span = Span {
            trace_id: vec![0xff; 16],
            trace_state: text.into(),
            name: text.into(),
            start_time_unix_nano: u64::MAX,
            attributes: vec![KeyValue { key: text.into(), value, ..Default::default() }],
            status: Some(Status { message: text.into(), code: 1 }),
            ..Default::default()
        };
        let scope_spans = vec![ScopeSpans { spans: vec![span.clone(), span], ..Default::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..Default::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    /// What is said with `marker` in it, with these bytes in the marker's place.
    fn with_bytes(marker: &str, bytes: &[u8]) -> Vec<u8> {
        let mut message = spans(marker);
        while let Some(at) = message.windows(marker.len()).position(|window| window == marker.as_bytes()) {
            message[at..at + marker.len()].copy_from_slice(bytes);
        }
        message
    }

    #[test]
    fn what_is_no_text_becomes_one_and_all_else_stays() {
        let mut message = with_bytes("MARKED", b"a\xffb\xc3\xa9\xe2");
        assert!(ExportTraceServiceRequest::decode(message.as_slice()).is_err());
        scrub(&mut message, TRACES);
        let expected = spans("a?b\u{e9}?");
        assert_eq!(message, expected);
    }

    proptest! {
        #[test]
        fn anything_is_read_without_a_panic_and_text_unchanged(bytes: Vec<u8>, text: String) {
            let mut any = bytes.clone();
            scrub(&mut any, TRACES);
            prop_assert_eq!(any.len(), bytes.len());
            let mut message = spans(&text);
            scrub(&mut message, TRACES);
            prop_assert_eq!(message, spans(&text));
        }
    }
}
