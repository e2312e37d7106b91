//! What a tunnel's requests inherit, as it comes back from Envoy's filter state.
#![no_main]

use attache::pipeline::session::Session;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some(session) = Session::decode(text) else { return };
    let again = Session::decode(&session.encode());
    assert_eq!(again.as_ref(), Some(&session));
});
