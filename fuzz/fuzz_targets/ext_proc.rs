//! Envoy's messages, and the heads in them at every door.
#![no_main]

use attache::ext_proc::{Part, ProcessingRequest};
use attache::pipeline::message::{Door, RequestHead};
use attache::pipeline::session::Session;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let Ok(message) = ProcessingRequest::read(message) else { return };
    let _ = message.attributes.session.as_deref().and_then(Session::decode);
    let Some(Part::RequestHeaders(head)) = message.part else { return };
    for door in [Door::Proxy, Door::Tls, Door::Plain] {
        match RequestHead::parse(door, head.fields.clone()) {
            Ok(head) => {
                assert!(head.is_connect() || head.path.starts_with('/'));
                let _ = head.upgrades().count();
            }
            Err((malformed, fields)) => {
                let _ = malformed.to_string();
                assert_eq!(
                    fields.iter().count(),
                    head.fields.iter().count(),
                    "what is refused is on record as it came"
                );
            }
        }
    }
});
